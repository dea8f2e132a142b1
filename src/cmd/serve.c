/* muga serve: models and agents over HTTP. */
#include "serve/serve.h"
#include "agent/agent.h"
#include "cmd/cmd.h"

#include <pthread.h>

#define DEFAULT_ADDRESS "127.0.0.1:8484"
#define MAX_ADDRESSES 16u

typedef struct wanted {
    cmd_values listen;
    const char *certificate, *key, *kv, *memory, *keep_alive;
    uint32_t n_ctx, n_threads;
    bool no_cache;
} wanted;

typedef struct announced {
    const server_address *listen;
} announced;

static void on_ready(void *ctx, const uint16_t *ports, size_t n) {
    const announced *a = ctx;
    for (size_t i = 0; i < n; i++) {
        const server_address *l = &a->listen[i];
        const char *colon = strrchr(l->where, ':');
        if (!strncmp(l->where, "unix:", 5))
            printf("listening on %s\n", l->where);
        else
            printf("listening on http%s://%.*s:%u\n", l->certificate ? "s" : "", (int)(colon - l->where), l->where,
                   ports[i]);
    }
    fflush(stdout);
}

/* ---- agents ---- */

/* The program's embedder belongs to one thread at a time; requests come from many. */
typedef struct shared_embedder {
    agent_embedder face;
    const agent_embedder *one;
    pthread_mutex_t lock;
} shared_embedder;

static muga_status open_embedder(void *self, const char *model, uint32_t *n_dim, char id[SHA256_HEX], muga_error *err) {
    shared_embedder *e = self;
    pthread_mutex_lock(&e->lock);
    muga_status st = e->one->open(e->one->self, model, n_dim, id, err);
    pthread_mutex_unlock(&e->lock);
    return st;
}

static muga_status embed(void *self, const char *model, span text, float *vector, muga_error *err) {
    shared_embedder *e = self;
    pthread_mutex_lock(&e->lock);
    muga_status st = e->one->embed(e->one->self, model, text, vector, err);
    pthread_mutex_unlock(&e->lock);
    return st;
}

static muga_status find_agent(void *ctx, const char *name, char **dir, muga_error *err) {
    (void)ctx;
    return cmd_agent_dir(name, dir, err);
}

static muga_status each_agent(void *ctx, muga_status (*visit)(void *visit_ctx, const char *name, const char *dir),
                              void *visit_ctx, muga_error *err) {
    (void)ctx;
    return cmd_agent_visit(visit, visit_ctx, err);
}

/* ---- the server ---- */

static size_t addresses(const wanted *w, server_address out[MAX_ADDRESSES]) {
    size_t n = 0;
    for (; n < w->listen.n && n < MAX_ADDRESSES; n++)
        out[n] = (server_address){w->listen.v[n], w->certificate, w->key};
    if (n == 0)
        out[n++] = (server_address){DEFAULT_ADDRESS, w->certificate, w->key};
    return n;
}

static int run(const wanted *w, const hub *h, kernel_kv_type kv) {
    server_address listen[MAX_ADDRESSES];
    announced a = {listen};
    muga_error err = {0};
    serve *s = NULL;
    str database = STR_INIT;
    agent_env env = cmd_agent_env();
    shared_embedder embedder = {.face = {open_embedder, embed, &embedder}, .one = env.embedder};
    pthread_mutex_init(&embedder.lock, NULL);
    env.embedder = &embedder.face;
    const serve_agents agents = {&env, find_agent, each_agent, NULL};
    str_printf(&database, "%s/muga.db", h->home);
    serve_options o = {.hub = h,
                       .agents = &agents,
                       .home = h->home,
                       .database = str_get(&database),
                       .version = MUGA_VERSION,
                       .listen = listen,
                       .n_listen = addresses(w, listen),
                       .keep_alive_ms = -1,
                       .n_ctx = w->n_ctx,
                       .n_threads = (int)w->n_threads,
                       .kv = kv,
                       .packed = !w->no_cache,
                       .on_ready = on_ready,
                       .ctx = &a};
    muga_status st = str_status(&database, &err, "a path");
    if (!st)
        st = serve_open(&o, &s, &err);
    if (!st)
        st = serve_run(s, &err);
    serve_close(s);
    pthread_mutex_destroy(&embedder.lock);
    str_release(&database);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}

int cmd_serve(int argc, char **argv) {
    wanted w = {0};
    hub h;
    muga_error err = {0};
    kernel_kv_type kv = KERNEL_KV_F16;
    const cmd_option options[] = {
        {"--listen", 0, CMD_REPEAT, &w.listen, "ADDRESS", "host:port or unix:/path (default " DEFAULT_ADDRESS ")"},
        {"--tls-cert", 0, CMD_STRING, &w.certificate, "FILE", "certificate chain (PEM) for https"},
        {"--tls-key", 0, CMD_STRING, &w.key, "FILE", "its key"},
        {"--ctx", 0, CMD_U32, &w.n_ctx, "N", "tokens of context (default: the model's own, at most 8192)"},
        {"--threads", 0, CMD_U32, &w.n_threads, "N", "threads that compute (default: the cores)"},
        KV_OPTION(&w.kv),
        NO_CACHE_OPTION(&w.no_cache),
    };
    cmd_positional p = {.max = 0};
    int code = cmd_parse("serve", options, ARRAY_LEN(options), argc, argv, &p);
    if (code < 0)
        code = cmd_parse_kv(w.kv, &kv);
    if (code >= 0)
        return code;
    muga_status st = cmd_hub(&h, &err);
    if (st)
        return cmd_fail(&err);
    code = run(&w, &h, kv);
    hub_close(&h);
    return code;
}
