/* Admission (admission.h). Owns: the queues of keys, the order among them, what runs. Refuses: more than the bounds.
 *
 *               ask                    begin                   leave
 *     (caller) -----> WAITING in queue ------> RUNNING (counted) ----> (caller)
 *                        |   cancel, displaced, drained
 *                        +----------------------> (caller)
 *
 * Every ask goes through the queue, and `dispatch` is the only place where anything begins; so there is one order.
 *
 * Invariants, while the lock is free:
 *   1. a key stands in the heap exactly when it has something waiting and its own limit lets it run
 *   2. n_running, n_waiting and running_bytes are the sums over keys and jobs
 *   3. the heap has room for every key, so putting one in can't fail
 *   4. nothing that could begin is waiting (what has its share can't): whoever makes room dispatches before letting go
 *      of the lock
 *
 * Virtual time. `had` of a key is the tokens that it was given, per weight. A key that begins to wait is put level with
 * those that are being served (clock[class]); that is what makes an absence worth nothing. */
#include "serve/admission.h"

#include "base/hash.h"
#include "base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

enum { IDLE, WAITING, RUNNING };
#define BUCKETS 256u
#define SCALE 1000u /* of virtual time: tokens * SCALE / weight */
#define CLASSES 3
#define MEAN_SHIFT 4 /* the mean time of a request moves by a sixteenth */

typedef struct admission_key {
    char name[ADMISSION_KEY_MAX + 1];
    uint32_t concurrency, weight;
    int class;
    uint32_t n_running, n_waiting;
    admission_job *first, *last;
    uint64_t had;
    size_t at; /* in the heap, from 1; 0: not in it */
    struct admission_key *next, *next_aside;
} queue;

struct admission {
    pthread_mutex_t lock;
    admission_options o;
    queue *buckets[BUCKETS];
    queue **heap; /* [1 .. n_heap] */
    size_t n_heap, cap_heap;
    uint64_t clock[CLASSES];
    uint64_t mean_us; /* how long a request runs */
    bool draining;
    admission_counts n;
};

/* ---- the heap of keys that may run: the one that is next is on top ---- */

static bool goes_before(const queue *x, const queue *y) {
    if (x->class != y->class) {
        return x->class > y->class;
    }
    if (x->had != y->had) {
        return x->had < y->had;
    }
    return x->first->asked_us < y->first->asked_us;
}

static void put(admission *a, size_t at, queue *q) {
    a->heap[at] = q;
    q->at = at;
}

static void sift_up(admission *a, size_t at) {
    queue *q = a->heap[at];
    for (; at > 1 && goes_before(q, a->heap[at / 2]); at /= 2) {
        put(a, at, a->heap[at / 2]);
    }
    put(a, at, q);
}

static void sift_down(admission *a, size_t at) {
    queue *q = a->heap[at];
    for (size_t child; (child = 2 * at) <= a->n_heap; at = child) {
        child += child < a->n_heap && goes_before(a->heap[child + 1], a->heap[child]);
        if (!goes_before(a->heap[child], q)) {
            break;
        }
        put(a, at, a->heap[child]);
    }
    put(a, at, q);
}

static void take_out(admission *a, queue *q) {
    size_t at = q->at;
    queue *last = a->heap[a->n_heap--];
    q->at = 0;
    if (last != q) {
        put(a, at, last);
        sift_up(a, at);
        sift_down(a, last->at);
    }
}

/* After anything of a key has changed: invariant 1, and its place. */
static void settle(admission *a, queue *q) {
    bool may = q->n_waiting > 0 && (q->concurrency == 0 || q->n_running < q->concurrency);
    if (q->at && !may) {
        take_out(a, q);
    } else if (q->at) {
        sift_up(a, q->at);
        sift_down(a, q->at);
    } else if (may) {
        put(a, ++a->n_heap, q);
        sift_up(a, q->at);
    }
}

/* ---- keys ---- */

static queue **bucket_of(admission *a, const char *name) {
    return &a->buckets[hash64(name, strlen(name), 0) % BUCKETS];
}

/* The key's queue, made where it is missing; NULL: memory is out. */
static queue *queue_of(admission *a, const admission_who *who) {
    queue **bucket = bucket_of(a, who->key), *q = *bucket;
    while (q && strcmp(q->name, who->key) != 0) {
        q = q->next;
    }
    if (!q) {
        if (a->n.n_keys + 2 > a->cap_heap) { /* [0] isn't used */
            size_t more = MAX(a->cap_heap * 2, (size_t)64);
            queue **heap = mem_resize_array(a->heap, more, sizeof(queue *));
            if (!heap) {
                return NULL;
            }
            a->heap = heap;
            a->cap_heap = more;
        }
        q = calloc(1, sizeof *q);
        if (!q) {
            return NULL;
        }
        snprintf(q->name, sizeof q->name, "%s", who->key);
        q->next = *bucket;
        *bucket = q;
        a->n.n_keys++;
    }
    q->concurrency = who->concurrency;
    q->weight = MAX(who->weight, 1u);
    q->class = MIN(MAX(who->priority, -1), 1) + 1;
    return q;
}

/* A key that has nothing here, and had no more than those being served, is as good as new; and all are where nothing
 * is to be done. */
static void forget_idle(admission *a) {
    bool all = a->n.n_waiting == 0 && a->n.n_running == 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        for (queue **at = &a->buckets[b]; *at;) {
            queue *q = *at;
            if (all || (q->n_waiting == 0 && q->n_running == 0 && q->had <= a->clock[q->class])) {
                *at = q->next;
                free(q);
                a->n.n_keys--;
            } else {
                at = &q->next;
            }
        }
    }
}

/* ---- jobs ---- */

static uint64_t share(const queue *q, uint64_t tokens) {
    return MIN(tokens, (uint64_t)UINT32_MAX) * SCALE / q->weight;
}

static void enqueue(admission *a, queue *q, admission_job *job) {
    if (q->n_waiting == 0) {
        q->had = MAX(q->had, a->clock[q->class]);
    }
    job->of = q;
    job->state = WAITING;
    job->before = q->last;
    job->after = NULL;
    *(q->last ? &q->last->after : &q->first) = job;
    q->last = job;
    q->n_waiting++;
    a->n.n_waiting++;
    settle(a, q);
}

static void unqueue(admission *a, admission_job *job) {
    queue *q = job->of;
    *(job->before ? &job->before->after : &q->first) = job->after;
    *(job->after ? &job->after->before : &q->last) = job->before;
    job->state = IDLE;
    job->before = job->after = NULL;
    q->n_waiting--;
    a->n.n_waiting--;
    settle(a, q);
}

static void begin(admission *a, admission_job *job, uint64_t now_us) {
    queue *q = job->of;
    a->clock[q->class] = MAX(a->clock[q->class], q->had);
    job->given = share(q, MAX(job->tokens, 1u));
    q->had += job->given;
    q->n_running++;
    a->n.n_running++;
    a->n.running_bytes += job->bytes;
    a->n.n_admitted++;
    a->n.waited_us += now_us - MIN(job->asked_us, now_us);
    job->begun_us = now_us;
    unqueue(a, job);
    job->state = RUNNING;
}

/* ---- refusing ---- */

/* When `n_before` requests, of which n_at_once run at a time, will be done. */
static uint32_t retry_after(const admission *a, uint64_t n_before, uint32_t n_at_once) {
    uint64_t s = (n_before * (a->mean_us / 1000) / MAX(n_at_once, 1u) + 999) / 1000;
    return (uint32_t)MIN(MAX(s, (uint64_t)1), (uint64_t)60);
}

static admission_answer refuse(admission *a, int status, uint32_t retry_s, const char *why) {
    *(status == 429 ? &a->n.n_429 : &a->n.n_503) += 1;
    return (admission_answer){ADMISSION_REFUSED, status, MAX(retry_s, 1u), why};
}

static admission_answer refuse_busy(admission *a) {
    return refuse(a, 503, retry_after(a, (uint64_t)a->n.n_waiting + 1, a->o.n_running),
                  "too many requests are waiting; come again later");
}

static admission_answer refuse_memory(admission *a) {
    return refuse(a, 503, retry_after(a, (uint64_t)a->n.n_waiting + 1, a->n.n_running),
                  "there is not enough memory for this request now; come again later, or ask for less");
}

/* ---- turns ---- */

/* Those whose turn came, or who are refused after waiting: told when the lock is free again. */
typedef struct turns {
    admission_job *first, *last;
    const admission_job *own; /* of who asks: is answered, not told */
} turns;

static void add_turn(turns *t, admission_job *job, admission_answer answer) {
    job->answer = answer;
    job->after = NULL;
    if (job == t->own) {
        return;
    }
    *(t->last ? &t->last->after : &t->first) = job;
    t->last = job;
}

static void tell(const admission *a, const turns *t) {
    for (admission_job *job = t->first, *next; job; job = next) {
        admission_answer answer = job->answer;
        next = job->after;
        a->o.on_turn(job->ctx, &answer); /* the job may be gone after it */
    }
}

/* Weights of the class's keys that have something running or waiting. */
static uint64_t active_weight(const admission *a, int class) {
    uint64_t sum = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        for (const queue *q = a->buckets[b]; q; q = q->next) {
            sum += q->class == class && q->n_running + q->n_waiting > 0 ? q->weight : 0;
        }
    }
    return sum;
}

/* sums: of active_weight, 0 where it isn't known yet. */
static bool has_its_share(const admission *a, const queue *q, uint64_t sums[CLASSES]) {
    if (a->n.n_running < a->o.n_shared || q->n_running == 0) {
        return false;
    }
    uint64_t *sum = &sums[q->class];
    *sum = *sum ? *sum : active_weight(a, q->class);
    return *sum > q->weight && q->n_running * *sum >= (uint64_t)a->o.n_shared * q->weight;
}

/* Everything that may begin begins: invariant 4. */
static void dispatch(admission *a, turns *t) {
    uint64_t now_us = a->o.clock->monotonic_us(a->o.clock->self), sums[CLASSES] = {0};
    uint64_t room = a->n_heap && a->o.room ? a->o.room(a->o.ctx) : UINT64_MAX;
    queue *aside = NULL; /* those that have their share: out of the heap for as long as this takes */
    while (a->n_heap > 0 && a->n.n_running < a->o.n_running) {
        if (has_its_share(a, a->heap[1], sums)) {
            a->heap[1]->next_aside = aside;
            aside = a->heap[1];
            take_out(a, aside);
            continue;
        }
        admission_job *job = a->heap[1]->first;
        uint32_t spent_s = a->o.spent ? a->o.spent(a->o.ctx, job->ctx) : 0;
        if (spent_s > 0) {
            unqueue(a, job);
            add_turn(t, job, refuse(a, 429, spent_s, "this API key has used up its tokens for today"));
        } else if (a->n.running_bytes <= room && job->bytes <= room - a->n.running_bytes) {
            begin(a, job, now_us);
            add_turn(t, job, (admission_answer){.verdict = ADMISSION_RUN});
        } else if (a->n.n_running == 0) { /* nothing will end and make room */
            unqueue(a, job);
            add_turn(t, job, refuse_memory(a));
        } else {
            break;
        }
    }
    for (; aside; aside = aside->next_aside) {
        settle(a, aside);
    }
}

/* The newest of the queue that is longest for its weight, where that is longer than `of` is. */
static admission_job *find_displaced(const admission *a, const queue *of) {
    const queue *longest = of;
    for (size_t b = 0; b < BUCKETS; b++) {
        for (const queue *q = a->buckets[b]; q; q = q->next) {
            if ((uint64_t)q->n_waiting * longest->weight > (uint64_t)longest->n_waiting * q->weight) {
                longest = q;
            }
        }
    }
    return longest == of ? NULL : longest->last;
}

/* The job waits: may it? Else it is taken out again, or another for it. */
static admission_answer wait_or_refuse(admission *a, admission_job *job, turns *t) {
    const queue *q = job->of;
    bool at_limit = q->concurrency > 0 && q->n_running >= q->concurrency;
    if (at_limit && q->n_waiting > a->o.n_waiting_key) {
        uint32_t retry_s = retry_after(a, q->n_waiting, q->concurrency);
        unqueue(a, job);
        return refuse(a, 429, retry_s, "this API key has too many requests running and waiting at once");
    }
    if (a->n.n_waiting > a->o.n_waiting) {
        admission_job *other = find_displaced(a, q);
        unqueue(a, other ? other : job);
        if (!other) {
            return refuse_busy(a);
        }
        add_turn(t, other, refuse_busy(a));
    }
    return (admission_answer){.verdict = ADMISSION_WAIT};
}

static admission_answer ask(admission *a, const admission_who *who, admission_job *job, turns *t) {
    uint32_t spent_s = a->o.spent ? a->o.spent(a->o.ctx, job->ctx) : 0;
    uint64_t room = a->o.room ? a->o.room(a->o.ctx) : UINT64_MAX;
    if (a->draining) {
        return refuse(a, 503, ADMISSION_STOP_RETRY_S, ADMISSION_STOP_TEXT);
    }
    if (spent_s > 0) {
        return refuse(a, 429, spent_s, "this API key has used up its tokens for today");
    }
    queue *q = room == 0 || job->bytes > room ? NULL : queue_of(a, who);
    if (!q) {
        return refuse_memory(a);
    }
    job->asked_us = a->o.clock->monotonic_us(a->o.clock->self);
    enqueue(a, q, job);
    dispatch(a, t);
    return job->state == WAITING ? wait_or_refuse(a, job, t) : job->answer;
}

/* ---- the face ---- */

static void set_bounds(admission *a, uint32_t n_running, uint32_t n_waiting, uint32_t n_waiting_key) {
    a->o.n_running = n_running ? n_running : 512;
    a->o.n_waiting = n_waiting ? n_waiting : 512;
    a->o.n_waiting_key = n_waiting_key ? n_waiting_key : 128;
}

muga_status admission_new(const admission_options *o, admission **out, muga_error *err) {
    *out = NULL;
    admission *a = calloc(1, sizeof *a);
    if (!a) {
        return error_nomem(err, "admission");
    }
    pthread_mutex_init(&a->lock, NULL);
    a->o = *o;
    a->o.n_shared = o->n_shared ? o->n_shared : 64;
    a->mean_us = 1000000;
    set_bounds(a, o->n_running, o->n_waiting, o->n_waiting_key);
    *out = a;
    return MUGA_OK;
}

void admission_free(admission *a) {
    if (!a) {
        return;
    }
    assert(a->n.n_waiting == 0 && a->n.n_running == 0);
    forget_idle(a);
    pthread_mutex_destroy(&a->lock);
    free(a->heap);
    free(a);
}

admission_answer admission_ask(admission *a, const admission_who *who, admission_job *job) {
    turns t = {NULL, NULL, job};
    job->state = IDLE;
    pthread_mutex_lock(&a->lock);
    admission_answer answer = ask(a, who, job, &t);
    pthread_mutex_unlock(&a->lock);
    tell(a, &t);
    return answer;
}

void admission_leave(admission *a, admission_job *job, uint64_t tokens) {
    turns t = {NULL, NULL, NULL};
    pthread_mutex_lock(&a->lock);
    queue *q = job->of;
    assert(job->state == RUNNING);
    uint64_t now_us = a->o.clock->monotonic_us(a->o.clock->self), took = share(q, MAX(tokens, (uint64_t)1));
    uint64_t ran_us = MIN(now_us - MIN(job->begun_us, now_us), UINT64_C(3600000000));
    a->mean_us = a->mean_us - (a->mean_us >> MEAN_SHIFT) + (ran_us >> MEAN_SHIFT);
    q->had = q->had + took > job->given ? q->had + took - job->given : 0;
    q->n_running--;
    a->n.n_running--;
    a->n.running_bytes -= job->bytes;
    job->state = IDLE;
    job->of = NULL;
    settle(a, q);
    dispatch(a, &t);
    pthread_mutex_unlock(&a->lock);
    tell(a, &t);
}

bool admission_cancel(admission *a, admission_job *job) {
    turns t = {NULL, NULL, NULL};
    pthread_mutex_lock(&a->lock);
    bool waited = job->state == WAITING;
    if (waited) {
        unqueue(a, job);
        a->n.n_cancelled++;
        dispatch(a, &t); /* it may have been the one that memory was waited for */
    }
    pthread_mutex_unlock(&a->lock);
    tell(a, &t);
    return waited;
}

void admission_tick(admission *a) {
    turns t = {NULL, NULL, NULL};
    pthread_mutex_lock(&a->lock);
    dispatch(a, &t);
    forget_idle(a);
    pthread_mutex_unlock(&a->lock);
    tell(a, &t);
}

void admission_drain(admission *a) {
    turns t = {NULL, NULL, NULL};
    pthread_mutex_lock(&a->lock);
    a->draining = true;
    for (size_t b = 0; b < BUCKETS; b++) {
        for (queue *q = a->buckets[b]; q; q = q->next) {
            while (q->first) {
                admission_job *job = q->first;
                unqueue(a, job);
                add_turn(&t, job, refuse(a, 503, ADMISSION_STOP_RETRY_S, ADMISSION_STOP_TEXT));
            }
        }
    }
    pthread_mutex_unlock(&a->lock);
    tell(a, &t);
}

void admission_set_bounds(admission *a, uint32_t n_running, uint32_t n_waiting, uint32_t n_waiting_key) {
    turns t = {NULL, NULL, NULL};
    pthread_mutex_lock(&a->lock);
    set_bounds(a, n_running, n_waiting, n_waiting_key);
    dispatch(a, &t);
    pthread_mutex_unlock(&a->lock);
    tell(a, &t);
}

admission_counts admission_get_counts(admission *a) {
    pthread_mutex_lock(&a->lock);
    admission_counts n = a->n;
    pthread_mutex_unlock(&a->lock);
    return n;
}
