/* Admission: which request runs now, which waits, which is refused, and in what order those that wait get their turn.
 *
 *     admission_ask -> RUN: answer it, then admission_leave
 *                      WAIT: on_turn comes later with RUN or REFUSED, unless admission_cancel said true
 *                      REFUSED: 429 or 503, and when to come again
 *
 * Order. Each key has a queue of its own, first come first served. A turn goes to the highest priority of which anybody
 * may run; among those to the key that has had the least for its weight (start-time fair queueing: Goyal, Vin, Cheng
 * 1996, 2.1), counted in tokens: what a request is expected to take when it begins, put right when it has ended. So of
 * two keys that always have something waiting, one of weight 3 gets three times the tokens of one of weight 1, and a
 * single request of a quiet key goes before the hundred of a busy one. What a key didn't use while it was away it
 * doesn't get later. A lower priority gets a turn when no higher one can use it.
 *
 * Shares. What runs is computed in common steps, a row an answer, so a key's part of the machine is its part of what
 * runs. Where n_shared run already, which is all that a step computes well, and other keys of its priority have
 * something running or waiting, a key waits that has its weight's part of n_shared: it gets no more until it has less,
 * or the others are gone. One key alone may have all of n_running.
 *
 * Bounds. At most n_running run. A key's own limit of concurrent requests makes the others wait, n_waiting_key of them,
 * then 429; a key that has used up its tokens gets 429 until it has some. At most n_waiting wait in all: past it, the
 * newest of the longest queue (for its weight) gets 503, so that who floods the server crowds out himself. What doesn't
 * fit in memory now waits for what runs to end, at the head of its queue and of all others, so that it gets its turn;
 * while memory is at risk (room 0), or what is asked doesn't fit at all: 503.
 *
 * Threads: all of it from any thread; nothing here blocks. on_turn is called outside of locks, by whoever made room, so
 * it must only hand the job on. A job is the caller's memory: what waits can't be lost to want of it. */
#ifndef MUGA_SERVE_ADMISSION_H
#define MUGA_SERVE_ADMISSION_H

#include "os/os.h"

typedef struct admission admission;

typedef enum { ADMISSION_RUN, ADMISSION_WAIT, ADMISSION_REFUSED } admission_verdict;
typedef struct admission_answer {
    admission_verdict verdict;
    int status;       /* of REFUSED: 429 or 503 */
    uint32_t retry_s; /* Retry-After, at least 1 */
    const char *why;  /* for who asks; static */
} admission_answer;

/* Who asks. What it says of limits holds from now on for all of this key's requests that wait. */
typedef struct admission_who {
    const char *key;      /* copied; at most ADMISSION_KEY_MAX bytes; "" is one as any other */
    uint32_t concurrency; /* 0: no limit */
    uint32_t weight;      /* 1 .. 1000 */
    int priority;         /* -1, 0, 1 */
} admission_who;
#define ADMISSION_KEY_MAX 31u

/* A request. Filled in by the caller before admission_ask: ctx, tokens, bytes. It stays where it is until it has been
 * refused, cancelled, or admission_leave has returned. */
typedef struct admission_job {
    void *ctx;
    uint32_t tokens; /* prompt and answer together, as far as can be told; 0 counts as 1 */
    uint64_t bytes;  /* of memory it needs besides what is loaded already */
    /* private */
    struct admission_key *of;
    struct admission_job *before, *after;
    uint64_t asked_us, begun_us, given;
    int state;
    admission_answer answer;
} admission_job;

/* What is said to who comes while the server stops: how long until another one is there. */
#define ADMISSION_STOP_RETRY_S 10u
#define ADMISSION_STOP_TEXT "the server is stopping"

typedef struct admission_options {
    const os_clock *clock;  /* borrowed */
    uint32_t n_running;     /* 0: 512 */
    uint32_t n_waiting;     /* of all keys; 0: 512 */
    uint32_t n_waiting_key; /* of one key that is at its own limit; 0: 128 */
    uint32_t n_shared;      /* 0: 64 */
    /* All three are called by whoever calls here; room and spent under the lock, so they must be short and not call
     * back. */
    void (*on_turn)(void *job_ctx, const admission_answer *a);
    uint64_t (*room)(void *ctx); /* bytes that all running requests may use together; 0: memory is at risk; NULL: any */
    uint32_t (*spent)(void *ctx, void *job_ctx); /* seconds until the job's key has tokens again; 0: it has; NULL: 0 */
    void *ctx;
} admission_options;

MUGA_MUST_USE muga_status admission_new(const admission_options *o, admission **out, muga_error *err);
void admission_free(admission *a); /* nothing waits or runs */

admission_answer admission_ask(admission *a, const admission_who *who, admission_job *job);
/* It has ended: `tokens` is what it really took. */
void admission_leave(admission *a, admission_job *job, uint64_t tokens);
/* true: it was waiting, and waits no more; on_turn will not come. false: it has or had its turn. Takes O(log keys). */
bool admission_cancel(admission *a, admission_job *job);
/* Looks at memory again, and forgets keys that have been away. Once a second. */
void admission_tick(admission *a);
/* From now on all is refused, what waits too. What runs goes on. */
void admission_drain(admission *a);
/* Other bounds from now on; 0 as above. What waits already stays. */
void admission_set_bounds(admission *a, uint32_t n_running, uint32_t n_waiting, uint32_t n_waiting_key);

typedef struct admission_counts {
    uint32_t n_running, n_waiting, n_keys;          /* now; keys that are remembered */
    uint64_t n_admitted, n_429, n_503, n_cancelled; /* since the start */
    uint64_t waited_us, running_bytes;              /* of all that were admitted; now */
} admission_counts;
admission_counts admission_get_counts(admission *a);

#endif
