/* Callers that are inside llm_complete at the same time, by whatever handles of a model, and who of them computes.
 *
 * There is no thread for it: one of the callers does the scheduler's steps, for all of them, until his own answer is
 * there; then he wakes another one, who goes on. One caller alone does his own steps and wakes nobody. Who steps looks
 * before each step at the flags of all, so that a caller nobody waits for any more ends, whoever computes.
 *
 * Invariant: while some caller's answer isn't over, one of those does steps, or has been woken to, or one whose answer
 * is over has been woken and will wake them. */
#include "llm/local.h"

struct local_caller {
    local_shared *l;
    pthread_cond_t wake;
    const atomic_bool *cancelled; /* its owner's flag, or NULL */
    bool was_cancelled;           /* and the scheduler knows */
    uint64_t id;
    bool is_over;
    local_answer *answer;
    muga_status status;
    muga_error *err;
    local_caller *next;
};

/* From a step, in whatever caller's thread. After the unlock `c` may be gone. */
static void on_done(void *ctx, const sched_result *r) {
    local_caller *c = ctx;
    local_shared *l = c->l;
    pthread_mutex_lock(&l->lock);
    c->answer->made = *r->answer;
    *r->answer = (engine_generated){0};
    c->answer->n_adopted = r->n_adopted;
    c->status = r->status ? error_set(c->err, r->status, "%s", r->message) : MUGA_OK;
    c->is_over = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&l->lock);
}

/* Whose owners don't want an answer any more: before a step, with the lock held. */
static void cancel_unwanted(local_shared *l) {
    for (local_caller *c = l->callers; c; c = c->next)
        if (!c->is_over && !c->was_cancelled && c->cancelled && atomic_load(c->cancelled)) {
            c->was_cancelled = true;
            (void)sched_cancel(l->sched, c->id);
        }
}

/* Steps, or waiting while somebody else does them, until it is over. With the lock held. */
static void wait_for(local_shared *l, local_caller *c) {
    c->next = l->callers;
    l->callers = c;
    while (!c->is_over)
        if (l->is_driven) {
            pthread_cond_wait(&c->wake, &l->lock);
        } else {
            l->is_driven = true;
            cancel_unwanted(l);
            pthread_mutex_unlock(&l->lock);
            (void)sched_step(l->sched);
            pthread_mutex_lock(&l->lock);
            l->is_driven = false;
        }
    local_caller **p = &l->callers, *next;
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    for (next = l->callers; next && next->is_over;)
        next = next->next;
    if (next && !l->is_driven)
        pthread_cond_signal(&next->wake);
}

muga_status local_run(local *l, const sched_request *request, const atomic_bool *cancelled, local_answer *out,
                      muga_error *err) {
    local_shared *shared = l->shared;
    local_caller c = {.l = shared, .cancelled = cancelled, .answer = out, .err = err};
    sched_request r = *request;
    *out = (local_answer){0};
    r.on_done = on_done;
    r.on_done_ctx = &c;
    pthread_cond_init(&c.wake, NULL);
    muga_status st = sched_submit(shared->sched, &r, &c.id, err);
    if (!st) {
        pthread_mutex_lock(&shared->lock);
        wait_for(shared, &c);
        pthread_mutex_unlock(&shared->lock);
        st = c.status;
    }
    if (!st && c.was_cancelled && out->made.finish == ENGINE_CANCELLED && out->made.ids.n == 0)
        st = error_set(err, MUGA_E_CANCELLED, "interrupted");
    pthread_cond_destroy(&c.wake);
    return st;
}
