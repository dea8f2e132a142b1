/* muga serve: models and agents over HTTP. */
#include "serve/serve.h"
#include "agent/agent.h"
#include "cmd/cmd.h"
#include "cmd/config.h"
#include "os/service.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

typedef struct served {
    const server_address *listen;
    cmd_config *given;
} served;

static void on_ready(void *ctx, const uint16_t *ports, size_t n) {
    const served *a = ctx;
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

static muga_status find_embedder(void *self, const char *model, muga_error *err) {
    shared_embedder *e = self;
    return e->one->find(e->one->self, model, err); /* of files alone: nothing is shared */
}

/* ---- the keeper: systemd, or whoever set NOTIFY_SOCKET ---- */

static void notify(void *ctx, const char *state) {
    const char *socket = getenv("NOTIFY_SOCKET");
    muga_error err;
    (void)ctx;
    if (socket && *socket && os_notify(socket, state, &err))
        cmd_say(err.message); /* the server goes on */
}

static muga_status reload(void *ctx, const serve_config *now, serve_config **out, json_t **changes, muga_error *err) {
    return config_reload(now, &((served *)ctx)->given->sources, out, changes, err);
}

/* ---- the log: lines on stderr ---- */

static bool write_log(void *ctx, const char *p, size_t n) {
    (void)ctx;
    while (n > 0) {
        ssize_t done = write(STDERR_FILENO, p, n);
        if (done < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        if (done < 0 && errno == EAGAIN)
            (void)poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, 1000);
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

static muga_status open_log(const serve_config *c, serve_log **out, muga_error *err) {
    bool text = c->log_format == CONFIG_LOG_TEXT ||
                (c->log_format == CONFIG_LOG_AUTO && cmd_is_terminal(STDERR_FILENO));
    const log_options o = {.level = c->log_level,
                           .format = text ? LOG_TEXT : LOG_JSON,
                           .contents = c->log_contents,
                           .clock = &os_system()->clock,
                           .write = write_log};
    return log_new(&o, out, err);
}

/* ---- the server ---- */

/* One that isn't there is a slip of the operator's, said before anybody is served without its agents. */
static muga_status check_folders(const config_texts *folders, muga_error *err) {
    const os_files *f = &os_system()->files;
    os_stat info;
    for (size_t i = 0; i < folders->n; i++) {
        muga_status st = f->stat(f->self, folders->v[i], &info, err);
        if (!st && info.type != OS_TYPE_DIR)
            st = error_set(err, MUGA_E_NOT_FOUND, "'%s' is no folder; name one that has agents in it", folders->v[i]);
        if (st)
            return error_prefix(err, st, "agents.folders (--agents)");
    }
    return MUGA_OK;
}

/* Under the agents' folders of the configuration first. */
static muga_status find_agent(void *ctx, const char *name, char **dir, muga_error *err) {
    const config_texts *folders = ctx;
    str path = STR_INIT;
    os_stat info;
    bool plain = *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    for (size_t i = 0; plain && i < folders->n; i++) {
        str_clear(&path);
        str_printf(&path, "%s/%s/agent.yaml", folders->v[i], name);
        if (path.failed || os_system()->files.stat(os_system()->files.self, str_get(&path), &info, err) ||
            info.type != OS_TYPE_FILE)
            continue;
        str_truncate(&path, path.len - strlen("/agent.yaml"));
        *dir = str_take(&path);
        return *dir ? MUGA_OK : error_nomem(err, "a path");
    }
    str_release(&path);
    return cmd_agent_dir(name, dir, err);
}

typedef struct visit_folder {
    const char *folder;
    muga_status (*visit)(void *ctx, const char *name, const char *dir);
    void *ctx;
} visit_folder;

static muga_status visit_one(void *ctx, const char *name) {
    const visit_folder *v = ctx;
    os_stat info;
    str path = STR_INIT;
    str_printf(&path, "%s/%s/agent.yaml", v->folder, name);
    muga_status st = str_status(&path, NULL, "a path");
    if (!st)
        st = os_system()->files.stat(os_system()->files.self, str_get(&path), &info, NULL);
    if (!st && info.type == OS_TYPE_FILE) {
        str_truncate(&path, path.len - strlen("/agent.yaml"));
        st = v->visit(v->ctx, name, str_get(&path));
    }
    str_release(&path);
    return st;
}

static muga_status each_agent(void *ctx, muga_status (*visit)(void *visit_ctx, const char *name, const char *dir),
                              void *visit_ctx, muga_error *err) {
    const config_texts *folders = ctx;
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < folders->n && !st; i++) {
        visit_folder v = {folders->v[i], visit, visit_ctx};
        st = os_system()->files.list(os_system()->files.self, v.folder, visit_one, &v, err);
        st = st == MUGA_E_NOT_FOUND ? MUGA_OK : st; /* removed since the start: its agents are gone with it */
    }
    return st ? st : cmd_agent_visit(visit, visit_ctx, err);
}

static muga_status serve_all(const serve_options *o, muga_error *err) {
    serve *s = NULL;
    /* what they are before the server runs and when it has ended: none breaks off the end, and what was counted is
     * kept */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    muga_status st = serve_open(o, &s, err);
    if (!st)
        st = serve_run(s, err);
    serve_close(s);
    return st;
}

static muga_status run(cmd_config *given, const serve_config *c, const hub *h, muga_error *err) {
    server_address *listen = mem_alloc_array(c->listen.n, sizeof *listen);
    served ctx = {listen, given};
    str database = STR_INIT;
    serve_log *log = NULL;
    agent_env env = cmd_agent_env();
    shared_embedder embedder = {.face = {open_embedder, embed, &embedder, find_embedder}, .one = env.embedder};
    pthread_mutex_init(&embedder.lock, NULL);
    env.embedder = &embedder.face;
    config_texts folders = c->agents;
    const serve_agents agents = {&env, find_agent, each_agent, &folders};
    str_printf(&database, "%s/muga.db", h->home);
    for (size_t i = 0; listen && i < c->listen.n; i++)
        listen[i] = (server_address){c->listen.v[i], c->certificate, c->private_key};
    muga_status st = listen ? str_status(&database, err, "a path") : error_nomem(err, "the addresses");
    if (!st)
        st = open_log(c, &log, err);
    serve_options o = {.hub = h,
                       .agents = &agents,
                       .home = h->home,
                       .database = str_get(&database),
                       .version = MUGA_VERSION,
                       .listen = listen,
                       .n_listen = c->listen.n,
                       .n_jobs = c->n_running + 64, /* short requests beside those that generate */
                       .n_running = c->n_running,
                       .n_waiting = c->n_waiting,
                       .n_shared = c->n_shared,
                       .drain_ms = c->drain_ms,
                       .memory_bytes = c->memory_bytes,
                       .keep_alive_ms = c->all.keep_alive_ms,
                       .n_ctx = c->all.n_ctx,
                       .n_threads = c->all.n_threads,
                       .kv = c->all.kv,
                       .packed = c->packed,
                       .anonymous = c->anonymous,
                       .config = c,
                       .log = log,
                       .reload = reload,
                       .notify = notify,
                       .on_ready = on_ready,
                       .ctx = &ctx};
    if (!st)
        st = serve_all(&o, err);
    log_free(log);
    pthread_mutex_destroy(&embedder.lock);
    str_release(&database);
    free(listen);
    return st;
}

int cmd_serve(int argc, char **argv) {
    cmd_config given = {0};
    cmd_option options[CONFIG_MAX_OPTIONS];
    serve_config *c = NULL;
    hub h;
    muga_error err = {0};
    cmd_positional p = {.max = 0};
    int code = cmd_parse("serve", options, cmd_config_options(&given, options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = cmd_config_gather(&given, &err);
    if (!st)
        st = config_load(&given.sources, &c, &err);
    if (!st)
        st = check_folders(&c->agents, &err);
    if (!st && !(st = cmd_hub(&h, &err))) {
        st = os_system()->files.mkdirs(os_system()->files.self, h.home, &err); /* the first command there may be this */
        if (!st)
            st = run(&given, c, &h, &err);
        hub_close(&h);
    }
    config_free(c);
    cmd_config_release(&given);
    return st ? cmd_fail(&err) : cmd_finish_output(0);
}
