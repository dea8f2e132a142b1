/* The scheduler: many requests computed in common steps of one engine.
 *
 *     sched_submit ...                    from any thread
 *     while (sched_step(s)) {}            one thread at a time; or sched_start, which does it in a thread of its own
 *
 * A step computes the next rows of every running answer and, with them or after them, a bounded piece of the prompts
 * that are being read in, so the time between two tokens of an answer has a limit whatever arrives. Requests of one
 * tenant that begin alike read what they have in common once, also when they come at the same time.
 *
 * Order: by rank = priority * SCHED_AGE - the number of the step at which it came; so a request waits for those of a
 * priority one higher that come up to SCHED_AGE steps after it, and for none that come later: nobody starves. A
 * request is admitted when its pages fit beside those of the running ones; it pre-empts running ones of lower rank.
 * When pages run out, the lowest in rank gives up its own and is computed again later. What comes out of a request are
 * the bits that it gives alone.
 *
 * Forks: a request may go on from what another one has computed, over the same pages: several answers to one prompt, or
 * branches of an answer that is being written. */
#ifndef MUGA_ENGINE_SCHED_H
#define MUGA_ENGINE_SCHED_H

#include "engine/engine.h"

typedef struct sched sched;

#define SCHED_AGE 256          /* steps */
#define SCHED_MAX_PRIORITY 100 /* and its negative */

typedef struct sched_options {
    uint32_t max_running;  /* requests that hold pages at the same time; 0 = 64 */
    uint32_t max_waiting;  /* 0 = 1024 */
    uint32_t prefill_rows; /* rows of prompts in a step with those of answers; 0 = the engine's n_batch. Rows of running
                              answers count, but a block of 64 goes on in any case */
    /* Measures steps, so that prompts are read between those of running answers only for as long as lets them take
     * less than three times as long as before (pace.h). NULL: as above. Borrowed. It changes no answer. */
    const os_clock *clock;
} sched_options;

typedef struct sched_result {
    muga_status status;
    const char *message;      /* of the error; "" */
    engine_generated *answer; /* may be moved from; empty after an error */
    uint32_t n_prompt;        /* tokens before the answer; of a fork: with what it went on from */
    uint32_t n_adopted;       /* of them, those that needn't be computed when it was first read */
    uint32_t n_preempted;     /* times it lost its pages */
} sched_result;

typedef struct sched_request {
    /* `prompt` given. All it points to is borrowed until on_done returns. session: usually NULL, the request makes its
     * own. Else it is computed in that one, which is cut back to what it has in common with the prompt, and n_ctx,
     * tenant and adapter are the session's (0, NULL here); it isn't forked. */
    engine_generate_args generate;
    uint32_t n_ctx;          /* as engine_session_new */
    const char *tenant;      /* NULL: shares nothing; else borrowed likewise */
    engine_adapter *adapter; /* NULL: none; borrowed until on_done returns */
    float adapter_scale;
    int priority; /* higher goes first; -SCHED_MAX_PRIORITY .. SCHED_MAX_PRIORITY */
    /* Before each piece of the prompt that is computed, from a step; n_done tokens of it are. It begins again where the
     * pages were lost. false ends the request with MUGA_E_CANCELLED. May be NULL. */
    bool (*on_prompt)(void *ctx, uint32_t n_done, uint32_t n_prompt);
    void *on_prompt_ctx;
    /* Called once, from a step (or sched_free), after its pages are given back; it may submit and cancel. A cancelled
     * request is no error: its answer is what there was, its finish ENGINE_CANCELLED. */
    void (*on_done)(void *ctx, const sched_result *r);
    void *on_done_ctx;
} sched_request;

typedef struct sched_counts {
    uint32_t n_waiting, n_running;
    uint64_t n_steps, n_done, n_failed, n_cancelled, n_preempted;
    uint64_t step_rows[13];                 /* steps by their rows: 1, 2, up to 4, up to 8 .. 2048, more */
    uint64_t n_decode_rows, n_prefill_rows; /* computed */
    uint64_t n_part_rows;                   /* times layers, of a piece that isn't whole yet, so not counted there */
    uint64_t n_prompt;                      /* tokens of the prompts that were begun */
    uint64_t n_adopted;                     /* rows of prompts that needn't be computed */
} sched_counts;

MUGA_MUST_USE muga_status sched_new(engine *e, const sched_options *o, sched **out,
                                    muga_error *err); /* o may be NULL */
/* Cancels all that is left, after sched_stop. NULL is fine. */
void sched_free(sched *s);

/* MUGA_E_USAGE; MUGA_E_LIMIT when max_waiting wait already; E_NOMEM. What is wrong with the request itself comes by
 * on_done. *id may be NULL. */
MUGA_MUST_USE muga_status sched_submit(sched *s, const sched_request *r, uint64_t *id, muga_error *err);
/* A request that goes on from where request `of` is. Its prompt is the prompt of that one, or that and the tokens it
 * has taken when the next step begins (or it ends, where that is before), and then r's own prompt, which may be empty.
 * Else r is as for sched_submit: what is sampled, what ends it and where it goes. Tenant, adapter and context are those
 * of `of` (NULL and 0 here), whose tenant and adapter are borrowed until the last fork has ended. What both have in
 * common is computed once and its pages are shared; a fork waits while `of` reads its prompt. From any thread,
 * callbacks too. MUGA_E_NOT_FOUND: there is no such request any more. */
typedef enum { SCHED_FORK_PROMPT, SCHED_FORK_ANSWER } sched_fork_from;
MUGA_MUST_USE muga_status sched_fork(sched *s, uint64_t of, sched_fork_from from, const sched_request *r, uint64_t *id,
                                     muga_error *err);
/* From any thread. Its pages are free when the next step begins; false: there is no such request any more. */
bool sched_cancel(sched *s, uint64_t id);
/* One step. Whether anything is left to do. */
bool sched_step(sched *s);
sched_counts sched_get_counts(sched *s); /* from any thread */

/* A thread that steps while there is something to do, and sleeps otherwise. */
MUGA_MUST_USE muga_status sched_start(sched *s, muga_error *err);
void sched_stop(sched *s); /* after the step it is in; what is left waits for the next start */

#endif
