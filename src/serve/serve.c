/* The server's life, and the way of a request: headers -> route and right; body -> job -> answer -> log.
 *
 * The server's thread never waits: it looks at headers, hands whole requests to jobs, and runs only routes that are
 * at_once. */
#include "serve/internal.h"
#include "serve/jobs.h"
#include "serve/keys.h"
#include "serve/routes.h"

#include <stdio.h>

#define JOBS 512u
#define DRAIN_MS 30000u
#define KEEP_ALIVE_MS (5 * 60 * 1000)
#define TICK_MS 1000u
#define CALL_BYTES ((size_t)64 << 20) /* of a call's arena */

static uint64_t now_us(void) {
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

void serve_note(serve *s, const char *event, const muga_error *what) {
    (void)s; /* there is no log yet */
    (void)event;
    (void)what;
}

/* ---- one call ---- */

static call *call_new(serve *s, exchange *x, const server_request *q, const routes_match *m, const struct key *key) {
    uint8_t random[12];
    muga_error ignored;
    call *c = mem_alloc_array(1, sizeof *c);
    if (!c)
        return NULL;
    arena_init(&c->mem, CALL_BYTES);
    c->serve = s;
    c->x = x;
    c->q = q;
    c->route = m->route;
    c->key = key;
    c->tenant = key ? key_tenant(key) : "";
    c->begin_us = now_us();
    snprintf(c->id, sizeof c->id, "req_");
    if (!os_random(random, sizeof random, &ignored))
        for (size_t i = 0; i < sizeof random - 1; i++)
            snprintf(c->id + 4 + 2 * i, 3, "%02x", random[i]);
    for (size_t i = 0; i < CALL_ARGS; i++)
        if (m->arg[i].p)
            c->arg[i] = arena_copy_bytes(&c->mem, m->arg[i].p, m->arg[i].n);
    return c;
}

static void call_free(call *c) {
    if (c->key && c->route->generates)
        keys_charge(c->serve->keys, c->key, c->n_prompt, c->n_generated);
    exchange_release(c->x);
    key_release(c->key);
    json_decref(c->body);
    str_release(&c->ignored);
    arena_release(&c->mem);
    free(c);
}

/* The body as an object. false: the 400 has gone out. */
static bool read_body(call *c) {
    muga_error err = {0};
    muga_status st = MUGA_OK;
    if (c->route->takes_bytes)
        return true;
    if (c->q->n_body == 0 && strcmp(c->route->method, "POST") != 0)
        c->body = json_object();
    else
        st = json_parse(c->q->body, c->q->n_body, "the body", &c->body, &err);
    if (st == MUGA_E_NOMEM)
        return call_fail_with(c, st, &err, NULL);
    if (st)
        return call_fail(c, 400, NULL, "invalid_json", "%s", err.message);
    if (!json_is_object(c->body))
        return call_fail(c, 400, NULL, "invalid_json", "the body must be a JSON object");
    return true;
}

static void run_call(void *ctx) {
    call *c = ctx;
    if (!atomic_load(call_gone(c)) && read_body(c))
        c->route->run(c);
    if (c->status == 0 && !atomic_load(call_gone(c)))
        (void)call_fail(c, 500, NULL, "internal_error", "%s %s gave no answer: a defect; please report it",
                        c->route->method, c->route->path);
    if (c->streams != CALL_WHOLE)
        exchange_cut(c->x);
    call_free(c);
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
    if (verdict != KEYS_GOOD && route->right != CALL_OPEN) {
        refuse_with(x, q, 401, "www-authenticate", "Bearer", "invalid_api_key", keys_verdict_text(verdict));
        return false;
    }
    if (*out && !may(*out, route->right)) {
        refuse_with(x, q, 403, NULL, NULL, "not_allowed", "this key may not do that; it takes another scope");
        key_release(*out);
        *out = NULL;
        return false;
    }
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

static void on_headers(void *ctx, exchange *x, const server_request *q) {
    char why[160];
    const struct key *key;
    routes_match m = routes_find(q->method, q->path);
    if (m.route) {
        if (find_key(ctx, x, q, m.route, &key) && m.route->begin)
            begin_body(ctx, x, q, &m);
        key_release(key);
        return;
    }
    if (m.allow)
        snprintf(why, sizeof why, "%.100s takes %s, not %.20s", q->path, m.allow, q->method);
    else
        snprintf(why, sizeof why, "there is no %.100s here", q->path);
    refuse_with(x, q, m.allow ? 405 : 404, m.allow ? "allow" : NULL, m.allow,
                m.allow ? "method_not_allowed" : "unknown_url", why);
}

static void on_request(void *ctx, exchange *x, const server_request *q) {
    serve *s = ctx;
    muga_error err = {0};
    const struct key *key = NULL;
    if (!atomic_exchange(&s->ticking, true))
        tick_soon(s);
    routes_match m = routes_find(q->method, q->path);
    bool looked = m.route->begin != NULL;               /* when the body began, which is the exchange's now */
    if (!looked && !find_key(s, x, q, m.route, &key)) { /* it ended while the body came */
        exchange_release(x);
        return;
    }
    call *c = call_new(s, x, q, &m, key);
    if (!c) {
        refuse_with(x, q, 503, NULL, NULL, "unavailable", "out of memory; try again later");
        key_release(key);
        exchange_release(x);
        return;
    }
    if (c->route->at_once) {
        run_call(c);
    } else if (jobs_run(s->jobs, run_call, c, &err)) {
        (void)call_fail_with(c, MUGA_E_ENV, &err, NULL);
        call_free(c);
    }
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
    muga_status st = keys_tick(s->keys, &err);
    if (st)
        serve_note(s, "keys", &err);
    tick_after(s, MIN(next_ms, TICK_MS));
}

static void tick_soon(void *ctx) {
    serve *s = ctx;
    muga_error ignored;
    if (jobs_run(s->jobs, tick, s, &ignored))
        tick_after(s, TICK_MS);
}

/* ---- life ---- */

static muga_status open_pool(serve *s, muga_error *err) {
    const serve_options *o = s->options;
    pool_options po = {.hub = o->hub,
                       .clock = &os_system()->clock,
                       .memory_bytes = o->memory_bytes,
                       .all = {.n_ctx = o->n_ctx,
                               .n_threads = o->n_threads,
                               .kv = o->kv,
                               .keep_alive_ms = o->keep_alive_ms < 0 ? KEEP_ALIVE_MS : o->keep_alive_ms},
                       .packed = o->packed};
    return pool_new(&po, &s->pool, err);
}

muga_status serve_open(const serve_options *o, serve **out, muga_error *err) {
    serve *s = mem_alloc_array(1, sizeof *s);
    if (!s)
        return error_nomem(err, "the server");
    s->options = o;
    server_options so = {.limits = SERVER_LIMITS_DEFAULT,
                         .handler = {.on_headers = on_headers, .on_request = on_request, .refuse = refuse, .ctx = s}};
    muga_status st = jobs_new(o->n_jobs ? o->n_jobs : JOBS, &s->jobs, err);
    if (!st)
        st = open_pool(s, err);
    if (!st)
        st = keys_open(&(keys_options){.database = o->database, .clock = &os_system()->clock}, &s->keys, err);
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
        if (!st)
            st = server_listen(s->server, &o->listen[i], &ports[i], err);
    }
    if (!st && o->on_ready)
        o->on_ready(o->ctx, ports, o->n_listen);
    free(ports);
    return st;
}

muga_status serve_run(serve *s, muga_error *err) {
    muga_status st = listen_all(s, err);
    if (st)
        return st;
    atomic_store(&s->ready, true);
    atomic_store(&s->ticking, true);
    tick_soon(s);
    st = server_run(s->server, err);
    atomic_store(&s->draining, true);
    pool_close(s->pool);
    jobs_wait(s->jobs);
    return st;
}

void serve_stop(serve *s) {
    atomic_store(&s->draining, true);
    server_stop(s->server, s->options->drain_ms ? s->options->drain_ms : DRAIN_MS);
}

void serve_close(serve *s) {
    if (!s)
        return;
    if (s->jobs)
        jobs_wait(s->jobs);
    server_free(s->server);
    pool_free(s->pool);
    keys_close(s->keys);
    jobs_free(s->jobs);
    free(s);
}
