/* A call is made when its request is whole. What generates asks admission for its turn; the rest runs at once, on a
 * thread of its own or in the server's.
 *
 *   live_begin --at_once------------------------------------> run_call --> call_free
 *              --else, doesn't generate--> jobs ------------> run_call
 *              --generates--> admission: RUN --> jobs ------> run_call, admission_leave
 *                                        WAIT --on_turn-----> jobs, or refused
 *                                             --live_gone---> call_free
 *                                        REFUSED -----------> 429 or 503
 *
 * Invariant: a call is in the list of live ones from live_begin until call_free, and is freed by one thread: the one
 * that runs it, or the one that took it out of admission's queue. */
#include "serve/live.h"
#include "serve/admission.h"
#include "serve/internal.h"
#include "serve/jobs.h"
#include "serve/keys.h"
#include "serve/seen.h"
#include "serve/settings.h"

#include <pthread.h>
#include <stdio.h>

#define CALL_BYTES ((size_t)64 << 20) /* of a call's arena */
#define BODY_SHARE 8u                 /* of this process's memory: most that bodies being answered may take */
#define JSON_FACTOR 6u                /* a body's bytes, and what it takes once it is read */
#define TOKEN_BYTES 4u                /* of a body, about one token */
#define ANSWER_TOKENS 256u            /* expected of an answer */

typedef struct live_call {
    call c; /* first */
    struct live *owner;
    admission_job job;
    struct live_call *before, *after;
} live_call;

struct live {
    struct serve *s;
    admission *turns;
    _Atomic uint64_t room;
    pthread_mutex_t lock; /* guards the list */
    live_call *first;
    atomic_bool is_ending;
};

/* ---- life ---- */

static void make_id(call *c) {
    uint8_t random[11] = {0};
    muga_error ignored;
    snprintf(c->id, sizeof c->id, "req_");
    if (os_random(random, sizeof random, &ignored))
        memcpy(random, &c->begin_us, sizeof c->begin_us);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(c->id + 4 + 2 * i, 3, "%02x", random[i]);
}

static live_call *call_new(struct live *l, exchange *x, const server_request *q, const routes_match *m,
                           const struct key *key) {
    live_call *v = mem_alloc_array(1, sizeof *v);
    if (!v)
        return NULL;
    call *c = &v->c;
    v->owner = l;
    arena_init(&c->mem, CALL_BYTES);
    c->serve = l->s;
    c->x = x;
    c->q = q;
    c->route = m->route;
    c->key = key;
    c->tenant = key ? key_tenant(key) : "";
    c->begin_us = call_now_us();
    make_id(c);
    snprintf(c->peer, sizeof c->peer, "%s", q->peer);
    for (size_t i = 0; i < CALL_ARGS; i++)
        if (m->arg[i].p && !(c->arg[i] = arena_copy_bytes(&c->mem, m->arg[i].p, m->arg[i].n))) {
            arena_release(&c->mem);
            free(v);
            return NULL;
        }
    pthread_mutex_lock(&l->lock);
    v->after = l->first;
    if (l->first)
        l->first->before = v;
    l->first = v;
    pthread_mutex_unlock(&l->lock);
    return v;
}

static void call_free(live_call *v) {
    struct live *l = v->owner;
    call *c = &v->c;
    seen_call(c);
    exchange_release(c->x); /* from here on live_gone doesn't come */
    pthread_mutex_lock(&l->lock);
    if (v->before)
        v->before->after = v->after;
    else
        l->first = v->after;
    if (v->after)
        v->after->before = v->before;
    pthread_mutex_unlock(&l->lock);
    key_release(c->key);
    json_decref(c->body);
    str_release(&c->ignored);
    arena_release(&c->mem);
    free(v);
}

/* ---- running ---- */

/* Where a request that generates names no model: the configuration's. */
static bool name_model(call *c) {
    const char *model = c->route->generates ? settings_default_model(c->serve) : NULL;
    const json_t *said = json_object_get(c->body, "model");
    if (!model || (said && !json_is_null(said)) || !json_object_set_new(c->body, "model", json_string(model)))
        return true;
    return call_no_memory(c);
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
    return name_model(c);
}

static void run_call(void *ctx) {
    live_call *v = ctx;
    call *c = &v->c;
    c->queue_us = call_now_us() - c->begin_us;
    if (!atomic_load(call_gone(c)) && read_body(c))
        c->route->run(c);
    if (c->status == 0 && !atomic_load(call_gone(c)))
        (void)call_fail(c, 500, NULL, "internal_error", "%s %s gave no answer: a defect; please report it",
                        c->route->method, c->route->path);
    if (c->streams != CALL_WHOLE)
        exchange_cut(c->x);
    if (c->route->generates) { /* counted first, since whose turn comes next may depend on it */
        keys_charge(c->serve->keys, c->key, c->n_prompt, c->n_generated);
        admission_leave(v->owner->turns, &v->job, (uint64_t)c->n_prompt + c->n_generated);
    }
    call_free(v);
}

static void refuse_turn(live_call *v, const admission_answer *a) {
    v->c.retry_after_s = a->retry_s;
    (void)call_fail(&v->c, a->status, NULL, a->status == 429 ? "rate_limit_exceeded" : "overloaded", "%s", a->why);
    call_free(v);
}

/* On a thread, or if there is none, not at all. */
static void start(live_call *v) {
    muga_error err = {0};
    if (!jobs_run(v->c.serve->jobs, run_call, v, &err))
        return;
    (void)call_fail_with(&v->c, MUGA_E_ENV, &err, NULL);
    if (v->c.route->generates)
        admission_leave(v->owner->turns, &v->job, 0);
    call_free(v);
}

/* ---- turns ---- */

static void on_turn(void *ctx, const admission_answer *a) {
    if (a->verdict == ADMISSION_RUN)
        start(ctx);
    else
        refuse_turn(ctx, a);
}

static uint64_t room(void *ctx) {
    return atomic_load(&((struct live *)ctx)->room);
}

/* Seconds until the key has tokens again. */
static uint32_t spent(void *ctx, void *job_ctx) {
    struct keys *keys = ((struct live *)ctx)->s->keys;
    const struct key *k = ((const live_call *)job_ctx)->c.key;
    uint64_t limit = key_get_limits(k).tokens_day;
    return limit && keys_used_today(keys, k) >= limit ? keys_seconds_to_midnight(keys) : 0;
}

static void ask_turn(live_call *v) {
    call *c = &v->c;
    key_limits limits = key_get_limits(c->key);
    const admission_who who = {key_id(c->key), limits.concurrency, limits.weight, limits.priority};
    c->priority = limits.priority;
    v->job = (admission_job){.ctx = v,
                             .tokens = (uint32_t)(c->q->n_body / TOKEN_BYTES) + ANSWER_TOKENS,
                             .bytes = (uint64_t)c->q->n_body * JSON_FACTOR};
    admission_answer a = admission_ask(v->owner->turns, &who, &v->job);
    if (a.verdict == ADMISSION_RUN)
        start(v);
    else if (a.verdict == ADMISSION_REFUSED)
        refuse_turn(v, &a);
}

/* ---- the face ---- */

void live_tick(struct live *l) {
    /* A sixteenth is others'. Pages of models' files aren't counted: the system takes them back when it must. */
    uint64_t all = os_memory_bytes(), most = all - all / 16, used = os_own_memory_bytes();
    uint64_t left = most > used ? most - used + admission_get_counts(l->turns).running_bytes : 0;
    atomic_store(&l->room, MIN(left, all / BODY_SHARE));
    admission_tick(l->turns);
}

muga_status live_new(struct serve *s, struct live **out, muga_error *err) {
    struct live *l = mem_alloc_array(1, sizeof *l);
    if (!l)
        return error_nomem(err, "the table of requests");
    l->s = s;
    pthread_mutex_init(&l->lock, NULL);
    atomic_store(&l->room, os_memory_bytes() / BODY_SHARE);
    const admission_options o = {.clock = &os_system()->clock,
                                 .n_running = s->options->n_running,
                                 .n_waiting = s->options->n_waiting,
                                 .n_shared = s->options->n_shared,
                                 .on_turn = on_turn,
                                 .room = room,
                                 .spent = spent,
                                 .ctx = l};
    muga_status st = admission_new(&o, &l->turns, err);
    if (st)
        live_free(l);
    else
        *out = l;
    return st;
}

void live_free(struct live *l) {
    if (!l)
        return;
    admission_free(l->turns);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

bool live_begin(struct live *l, exchange *x, const server_request *q, const routes_match *m, const struct key *key) {
    live_call *v = call_new(l, x, q, m, key);
    if (!v)
        return false;
    if (!m->route->begin)
        exchange_set(x, v);
    if (m->route->at_once)
        run_call(v);
    else if (m->route->generates)
        ask_turn(v);
    else
        start(v);
    return true;
}

void live_gone(struct live *l, exchange *x) {
    const server_request *q = exchange_request(x);
    if (routes_find(q->method, q->path).route->begin)
        return; /* what is kept with it is the body's */
    live_call *v = exchange_get(x);
    if (!v)
        return;
    atomic_store(&v->c.cancelled, true);
    if (v->c.route->generates && admission_cancel(l->turns, &v->job))
        call_free(v);
}

void live_drain(struct live *l) {
    admission_drain(l->turns);
}

void live_cancel(struct live *l) {
    atomic_store(&l->is_ending, true);
    pthread_mutex_lock(&l->lock);
    for (live_call *v = l->first; v; v = v->after)
        atomic_store(&v->c.cancelled, true);
    pthread_mutex_unlock(&l->lock);
}

const atomic_bool *live_is_ending(const struct live *l) {
    return &l->is_ending;
}

live_counts live_get_counts(struct live *l) {
    admission_counts a = admission_get_counts(l->turns);
    return (live_counts){a.n_running, a.n_waiting, a.n_429, a.n_503};
}
