/* The server's life, and the way of a request: headers -> route and right; body -> job -> answer -> log.
 *
 * The server's thread never waits: it looks at headers, hands whole requests to jobs, and runs only routes that are
 * at_once. */
#include "serve/admission.h"
#include "serve/internal.h"
#include "serve/jobs.h"
#include "serve/keys.h"
#include "serve/live.h"
#include "serve/routes.h"
#include "serve/seen.h"
#include "serve/settings.h"
#include "serve/talks.h"

#include <signal.h>
#include <stdio.h>

#define JOBS 512u
#define DRAIN_MS 30000u
#define KEEP_ALIVE_MS (5 * 60 * 1000)
#define TICK_MS 1000u
#define LAST_WORDS_MS 3000u /* of the drain's time: streams that go on are ended with their last event */

void serve_note(serve *s, const char *event, const muga_error *what) {
    log_error(s->options->log, LOG_ERROR, event, what->status, what);
}

void serve_notify(serve *s, const char *state) {
    if (s->options->notify)
        s->options->notify(s->options->ctx, state);
}

static void tick_soon(void *ctx);

/* ---- what the server hands over ---- */

static void refuse(void *ctx, const server_request *q, int status, const char *why, str *out) {
    (void)ctx;
    json_t *error = call_error_json(q && q->path ? routes_family(q->path) : CALL_OPENAI, status, NULL, NULL, why);
    if (error)
        json_write(error, out);
    json_decref(error);
}

/* header NULL: none besides. */
static void refuse_with(exchange *x, const server_request *q, int status, const char *header, const char *value,
                        const char *code, const char *why) {
    str text = STR_INIT;
    server_header more = {header, value};
    exchange_headers h = {"application/json", &more, header != NULL};
    json_t *error = call_error_json(routes_family(q->path), status, NULL, code, why);
    if (error)
        json_write(error, &text);
    json_decref(error);
    (void)exchange_reply(x, status, &h, str_get(&text), text.len);
    str_release(&text);
}

/* ---- who asks ---- */

/* The key as clients send it: OpenAI's and Ollama's in Authorization, Anthropic's in x-api-key. NULL: none. */
static const char *sent_key(const server_request *q) {
    const char *bearer = server_request_header(q, "authorization"), *plain = server_request_header(q, "x-api-key");
    if (bearer && !strncasecmp(bearer, "bearer ", 7))
        return bearer + 7 + strspn(bearer + 7, " ");
    return plain ? plain : server_request_header(q, "api-key");
}

static bool may(const struct key *k, call_right right) {
    static const scope_kind scopes[] = {
        [CALL_ADMIN] = SCOPE_ADMIN, [CALL_AUDIT] = SCOPE_AUDIT, [CALL_METRICS] = SCOPE_METRICS};
    return right == CALL_OPEN || right == CALL_ANY_KEY || key_may(k, scopes[right]);
}

/* false: who asks isn't known, or may not, and that has been said. *out is to be released, also where it is NULL. */
static bool find_key(serve *s, exchange *x, const server_request *q, const call_route *route, const struct key **out) {
    *out = NULL;
    keys_verdict verdict = keys_check(s->keys, sent_key(q), out);
    if (route->right == CALL_METRICS && seen_is_open(s))
        return true;
    if (verdict != KEYS_GOOD && route->right != CALL_OPEN) {
        seen_refused(s, q, route->path, 401, keys_verdict_text(verdict));
        refuse_with(x, q, 401, "www-authenticate", "Bearer", "invalid_api_key", keys_verdict_text(verdict));
        return false;
    }
    if (*out && !may(*out, route->right)) {
        seen_refused(s, q, route->path, 403, "the key's scopes");
        refuse_with(x, q, 403, NULL, NULL, "not_allowed", "this key may not do that; it takes another scope");
        key_release(*out);
        *out = NULL;
        return false;
    }
    return true;
}

/* What would generate, take an upload or change the store has no time left. */
static bool refuses_stopping(serve *s, exchange *x, const server_request *q, const call_route *route) {
    char retry[12];
    if (!atomic_load(&s->draining) || (!route->generates && !route->begin && route->right != CALL_ADMIN))
        return false;
    snprintf(retry, sizeof retry, "%u", ADMISSION_STOP_RETRY_S);
    seen_refused(s, q, route->path, 503, ADMISSION_STOP_TEXT);
    refuse_with(x, q, 503, "retry-after", retry, "overloaded", ADMISSION_STOP_TEXT);
    return true;
}

/* A route that takes its body in pieces. */
static void begin_body(serve *s, exchange *x, const server_request *q, const routes_match *m) {
    char arg[256];
    muga_error err = {0};
    size_t n = MIN(m->arg[0].n, sizeof arg - 1);
    memcpy(arg, m->arg[0].p ? m->arg[0].p : "", n);
    arg[n] = '\0';
    muga_status st = m->route->begin(s, x, arg, &err);
    if (st)
        refuse_with(x, q, st == MUGA_E_INPUT || st == MUGA_E_USAGE ? 400 : 503, NULL, NULL, "invalid_value",
                    err.message);
}

/* A body that is encoded would be read as what it isn't. */
static bool is_plain(serve *s, exchange *x, const server_request *q, const call_route *route) {
    const char *coding = server_request_header(q, "content-encoding");
    if (!coding || !*coding || !strcasecmp(coding, "identity"))
        return true;
    static const char why[] = "bodies are taken as they are, without a content-encoding";
    seen_refused(s, q, route->path, 415, why);
    refuse_with(x, q, 415, "accept-encoding", "identity", "unsupported_encoding", why);
    return false;
}

static void on_headers(void *ctx, exchange *x, const server_request *q) {
    char why[320], meant[ROUTES_MEANT_BYTES];
    const struct key *key;
    routes_match m = routes_find(q->method, q->path);
    if (m.route && !is_plain(ctx, x, q, m.route))
        return;
    if (m.route) {
        if (find_key(ctx, x, q, m.route, &key) && !refuses_stopping(ctx, x, q, m.route) && m.route->begin)
            begin_body(ctx, x, q, &m);
        key_release(key);
        return;
    }
    bool is_path = m.allow[0] != '\0';
    if (is_path)
        snprintf(why, sizeof why, "%.100s takes %s, not %.20s", q->path, m.allow, q->method);
    else if (routes_meant(q->method, q->path, meant))
        snprintf(why, sizeof why, "there is no %.100s here; did you mean %s? See the base URL of the client", q->path,
                 meant);
    else
        snprintf(why, sizeof why, "there is no %.100s here", q->path);
    seen_refused(ctx, q, "none", is_path ? 405 : 404, why);
    refuse_with(x, q, is_path ? 405 : 404, is_path ? "allow" : NULL, is_path ? m.allow : NULL,
                is_path ? "method_not_allowed" : "unknown_url", why);
}

static void on_request(void *ctx, exchange *x, const server_request *q) {
    serve *s = ctx;
    const struct key *key = NULL;
    if (!atomic_exchange(&s->ticking, true))
        tick_soon(s);
    routes_match m = routes_find(q->method, q->path);
    bool looked = m.route->begin != NULL;               /* when the body began, which is the exchange's now */
    if (!looked && !find_key(s, x, q, m.route, &key)) { /* it ended while the body came */
        exchange_release(x);
        return;
    }
    if (live_begin(s->live, x, q, &m, key))
        return;
    refuse_with(x, q, 503, NULL, NULL, "unavailable", "out of memory; try again later");
    key_release(key);
    exchange_release(x);
}

static void on_gone(void *ctx, exchange *x) {
    live_gone(((serve *)ctx)->live, x);
}

/* ---- every second: models that nobody uses, keys that changed ---- */

/* Where there is no memory for it, the next request begins it anew. */
static void tick_after(serve *s, uint32_t ms) {
    if (!atomic_load(&s->draining) && !server_post_later(s->server, ms, tick_soon, s))
        atomic_store(&s->ticking, false);
}

static void tick(void *ctx) {
    serve *s = ctx;
    muga_error err = {0};
    uint32_t next_ms = pool_sweep(s->pool);
    const serve_config *c = settings_now(s);
    muga_status st = keys_tick(s->keys, &err);
    if (!st && c)
        st = keys_forget_usage(s->keys, c->usage_days, &err);
    if (st)
        serve_note(s, "keys", &err);
    live_tick(s->live);
    tick_after(s, MIN(next_ms, TICK_MS));
}

static void tick_soon(void *ctx) {
    serve *s = ctx;
    muga_error ignored;
    if (jobs_run_first(s->jobs, tick, s, &ignored))
        tick_after(s, TICK_MS);
}

/* ---- life ---- */

static void on_load(void *ctx, const char *name, uint64_t us, muga_status st) {
    serve *s = ctx;
    metrics_add(s->metrics, METRIC_MODEL_LOADS, METRIC_LABELS(name, st ? "failed" : "ok"), 1);
    if (!st)
        metrics_observe(s->metrics, METRIC_MODEL_LOAD_TIME, METRIC_LABELS(name), us);
}

static muga_status open_pool(serve *s, muga_error *err) {
    const serve_options *o = s->options;
    pool_options po = {.hub = o->hub,
                       .clock = &os_system()->clock,
                       .memory_bytes = o->memory_bytes,
                       .all = {.n_ctx = o->n_ctx,
                               .n_threads = o->n_threads,
                               .kv = o->kv,
                               .exact = o->config && o->config->all.exact,
                               .drafts = o->config ? o->config->all.drafts : LLM_DRAFTS_NGRAM,
                               .keep_alive_ms = o->keep_alive_ms < 0 ? KEEP_ALIVE_MS : o->keep_alive_ms},
                       .packed = o->packed,
                       .on_load = on_load,
                       .ctx = s};
    return pool_new(&po, &s->pool, err);
}

muga_status serve_open(const serve_options *o, serve **out, muga_error *err) {
    serve *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "the server");
    s->options = o;
    s->begin_ms = os_system()->clock.now_ms(os_system()->clock.self);
    const serve_config *c = o->config;
    server_options so = {
        .limits = c ? c->limits : SERVER_LIMITS_DEFAULT,
        .handler = {
            .on_headers = on_headers, .on_request = on_request, .on_gone = on_gone, .refuse = refuse, .ctx = s}};
    if (c) {
        so.hosts = c->hosts.v, so.n_hosts = c->hosts.n;
        so.origins = c->origins.v, so.n_origins = c->origins.n;
    }
    muga_status st = settings_open(s, err);
    if (!st)
        st = metrics_new(&s->metrics, err);
    if (!st)
        st = jobs_new(o->n_jobs ? o->n_jobs : JOBS, &s->jobs, err);
    if (!st)
        st = open_pool(s, err);
    if (!st)
        st = settings_apply_models(s, err);
    if (!st)
        st =
            keys_open(&(keys_options){.database = o->database, .clock = &os_system()->clock, .anonymous = o->anonymous},
                      &s->keys, err);
    if (!st)
        st = live_new(s, &s->live, err);
    if (!st)
        st = talks_new(&s->talks, err);
    if (!st)
        st = server_new(&so, &s->server, err);
    if (st)
        serve_close(s);
    else
        *out = s;
    return st;
}

static muga_status listen_all(serve *s, muga_error *err) {
    const serve_options *o = s->options;
    muga_status st = MUGA_OK;
    uint16_t *ports = mem_alloc_array(o->n_listen, sizeof *ports);
    if (!ports)
        return error_nomem(err, "the addresses");
    for (size_t i = 0; i < o->n_listen && !st; i++) {
        bool is_local = false;
        st = server_is_local(o->listen[i].where, &is_local, err);
        if (!st)
            st = keys_may_listen(o->listen[i].where, is_local, keys_any(s->keys), err);
        if (!st && !is_local)
            keys_require(s->keys);
        if (!st)
            st = server_listen(s->server, &o->listen[i], &ports[i], err);
    }
    if (!st && o->on_ready)
        o->on_ready(o->ctx, ports, o->n_listen);
    free(ports);
    return st;
}

static void say_last_words(void *ctx) {
    live_cancel(((serve *)ctx)->live);
}

/* In the server's thread. What runs may end by itself; what still runs when the time is nearly over is cancelled. */
static void stop(void *ctx) {
    serve *s = ctx;
    uint32_t ms = s->options->drain_ms ? s->options->drain_ms : DRAIN_MS;
    if (atomic_exchange(&s->draining, true)) {
        live_cancel(s->live); /* asked twice: at once */
        return;
    }
    serve_notify(s, "STOPPING=1");
    log_write(s->options->log, LOG_INFO, "stopping", NULL, NULL, 0);
    live_drain(s->live);
    if (!server_post_later(s->server, ms - MIN(ms / 2, LAST_WORDS_MS), say_last_words, s))
        live_cancel(s->live);
    server_stop(s->server, ms);
}

muga_status serve_run(serve *s, muga_error *err) {
    static const int signals[] = {SIGINT, SIGTERM};
    const serve_options *o = s->options;
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < ARRAY_LEN(signals) && !st; i++)
        st = server_on_signal(s->server, signals[i], stop, s, err);
    if (!st)
        st = server_on_signal(s->server, SIGHUP, settings_reload, s, err);
    if (!st)
        st = listen_all(s, err);
    if (!st && o->config && o->config->pinned.n)
        st = jobs_run(s->jobs, settings_warm, s, err);
    else if (!st)
        settings_warm(s); /* nothing to load */
    if (st)
        return st;
    log_write(s->options->log, LOG_INFO, "serving", NULL, NULL, 0);
    settings_check_models(s);
    atomic_store(&s->ticking, true);
    tick_soon(s);
    st = server_run(s->server, err);
    atomic_store(&s->draining, true);
    live_cancel(s->live); /* nobody is left to read it */
    pool_close(s->pool);
    jobs_wait(s->jobs);
    return st;
}

void serve_stop(serve *s) {
    if (!server_post(s->server, stop, s))
        server_stop(s->server, 0);
}

void serve_close(serve *s) {
    if (!s)
        return;
    if (s->jobs)
        jobs_wait(s->jobs);
    server_free(s->server);
    live_free(s->live);
    talks_free(s->talks);
    pool_free(s->pool);
    keys_close(s->keys);
    jobs_free(s->jobs);
    settings_free(s);
    metrics_free(s->metrics);
    free(s);
}
