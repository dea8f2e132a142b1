/* The thread pool. Owns: handing out chunks of one job, sleeping, waking. Refuses: two jobs at once, cancelling.
 *
 * Idea: every thread has a share, a run of chunks beside each other, in a cache line of its own; it takes chunks from
 * its share and, when that is empty, from the others'. So as long as all are equally fast nobody disturbs anybody, and
 * whoever is put aside by the system is relieved chunk by chunk. A share's 64-bit ticket holds the job's number and how
 * many of its chunks are still to be taken. Taking a chunk is a compare-and-swap of the ticket, so a worker that slept
 * through any number of jobs can't take a chunk of one job with the parameters of another, and nobody waits for a
 * worker that is put aside between two chunks: a job is over when its chunks are done, not when every worker has said
 * so. Only a worker that is put aside within a chunk makes others wait; so one that has had its core for a while offers
 * it between two chunks, and where somebody else wants the core the system takes it there.
 *
 * Invariants:
 *  1. A share's fn, ctx and end are written only while its ticket says 0 left, after the job before is over.
 *  2. A thread reads them before its swap. The swap succeeds only if the ticket still had chunks left, so the job was
 *     not over, so by 1 they belong to it.
 *  3. Sleeping: a worker counts itself into n_asleep and then looks at its ticket again; the caller writes the tickets
 *     and then looks at n_asleep. Both sequentially consistent, so one of them sees the other; the same for the caller
 *     waiting for n_open. A worker whose share begins empty needn't wake. What would be missed for good, the caller's
 *     wait, is announced by an exchange: emulators order that with the look after it even where, like QEMU's of 64-bit
 *     ARM, they let a sequentially consistent load pass a sequentially consistent store.
 *  4. What a chunk wrote is visible to the caller after the job (release on n_open) and to every chunk of the next job
 *     (release on the tickets; the swaps of other threads continue that release sequence). */
#include "base/mem.h"
#include "os/os_private.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define SPIN_US 50    /* before sleeping: a few times what waking costs */
#define KEEP_US 4     /* of that without offering the core to others */
#define OFFER_US 1800 /* a worker keeps its core before it offers it: less than the system lets it run undisturbed */
#define CHUNKS_PER_LOOK 4
#define MAX_THREADS 1024
#define CACHE_LINE 64

typedef void chunk_fn(void *ctx, int i_chunk);

typedef struct share {
    _Alignas(64) _Atomic uint64_t ticket; /* job number << 32 | chunks not yet taken */
    _Atomic(chunk_fn *) fn;
    _Atomic(void *) ctx;
    _Atomic int end;            /* the chunk behind its last one */
    _Atomic uintptr_t ahead;    /* where its thread reads next; 0 = not known, or fetched */
    _Atomic size_t ahead_bytes; /* may be another's than ahead for a moment: nothing is read there */
} share;

struct os_pool {
    _Alignas(64) _Atomic int n_open;   /* chunks of the job not yet done */
    _Alignas(64) _Atomic int n_asleep; /* workers in cond_wait on work, or about to be */
    _Atomic int n_started;             /* workers that know their number */
    _Atomic bool caller_waits, stop;
    int n_thread; /* with the caller */
    int n_share;
    uint64_t job; /* the caller's */
    uint64_t spin_us;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t *threads; /* n_thread - 1, behind the shares */
    share shares[];     /* the caller's is the first */
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline uint32_t chunks_left(share *s) {
    return (uint32_t)atomic_load(&s->ticket);
}

static void chunks_done(os_pool *p, int n) {
    if (atomic_fetch_sub(&p->n_open, n) == n && atomic_load(&p->caller_waits)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->lock);
    }
}

/* Let others have the core, where there are some, if this worker has had it for a while; it holds no chunk. */
static void offer_core(uint64_t *since_us) {
    uint64_t now_us = os_clock_monotonic_us(NULL);
    if (now_us - *since_us >= OFFER_US) {
        sched_yield();
        *since_us = os_clock_monotonic_us(NULL);
    }
}

/* Take and run chunks of a share until there is none left; how many. since_us: of a worker, NULL of the caller. */
static int take_from(share *s, uint64_t *since_us) {
    int n = 0;
    uint64_t ticket = atomic_load(&s->ticket);
    while ((uint32_t)ticket > 0) {
        chunk_fn *fn = atomic_load_explicit(&s->fn, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&s->ctx, memory_order_relaxed);
        int end = atomic_load_explicit(&s->end, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&s->ticket, &ticket, ticket - 1)) {
            fn(ctx, end - (int)(uint32_t)ticket);
            if (++n % CHUNKS_PER_LOOK == 0 && since_us)
                offer_core(since_us);
            ticket = atomic_load(&s->ticket);
        }
    }
    return n;
}

/* Chunks of the own share, then of the others' in turn. */
static void work_off(os_pool *p, int i_self, uint64_t *since_us) {
    int n = 0;
    for (int i = 0; i < p->n_share; i++) {
        int at = i_self + i;
        n += take_from(&p->shares[at < p->n_share ? at : at - p->n_share], since_us);
    }
    if (n > 0)
        chunks_done(p, n);
}

static bool worker_has_news(os_pool *p, int i_self) {
    return chunks_left(&p->shares[i_self]) > 0 || atomic_load(&p->stop);
}

static bool job_is_over(os_pool *p, int i_self) {
    (void)i_self;
    return atomic_load(&p->n_open) == 0;
}

/* Look for a while, and meanwhile fetch what was said to be read next; true when it came. Soon between looks the core
 * is offered to others: where threads share one, the one that is waited for may be waiting for this very core. */
static inline bool spin_until(os_pool *p, int i_self, bool (*condition)(os_pool *, int)) {
    share *own = &p->shares[i_self];
    uintptr_t ahead = atomic_load_explicit(&own->ahead, memory_order_relaxed);
    size_t left = ahead != 0 ? atomic_load_explicit(&own->ahead_bytes, memory_order_relaxed) : 0;
    if (ahead != 0)
        atomic_store_explicit(&own->ahead, 0, memory_order_relaxed);
    uint64_t begin_us = p->spin_us > 0 ? os_clock_monotonic_us(NULL) : 0, spent_us = 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (condition(p, i_self)) {
                return true;
            }
            if (left >= CACHE_LINE) {
                __builtin_prefetch((const void *)ahead, 0, 2); /* second level: more than the first holds */
                ahead += CACHE_LINE;
                left -= CACHE_LINE;
            } else {
                pause_briefly();
            }
        }
        if (spent_us >= KEEP_US) {
            sched_yield();
        }
        spent_us = p->spin_us > 0 ? os_clock_monotonic_us(NULL) - begin_us : 0;
    } while (spent_us < p->spin_us);
    return false;
}

static void sleep_until_news(os_pool *p, int i_self) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while (!worker_has_news(p, i_self)) {
        pthread_cond_wait(&p->work, &p->lock);
    }
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker(void *argument) {
    os_pool *p = argument;
    int i_self = atomic_fetch_add(&p->n_started, 1) + 1;
    uint64_t since_us = os_clock_monotonic_us(NULL);
    while (!atomic_load(&p->stop)) {
        work_off(p, i_self, &since_us);
        offer_core(&since_us);
        if (!spin_until(p, i_self, worker_has_news)) {
            sleep_until_news(p, i_self);
            since_us = os_clock_monotonic_us(NULL);
        }
    }
    return NULL;
}

static void wake_workers(os_pool *p) {
    if (atomic_load(&p->n_asleep) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->work);
        pthread_mutex_unlock(&p->lock);
    }
}

static void wait_for_job(os_pool *p) {
    if (spin_until(p, 0, job_is_over)) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    (void)atomic_exchange(&p->caller_waits, true);
    while (!job_is_over(p, 0)) {
        pthread_cond_wait(&p->done, &p->lock);
    }
    atomic_store(&p->caller_waits, false);
    pthread_mutex_unlock(&p->lock);
}

void os_pool_run(os_pool *p, int n_chunk, void (*fn)(void *ctx, int i_chunk), void *ctx) {
    if (!p || p->n_thread == 1 || n_chunk <= 1) {
        for (int i = 0; i < n_chunk; i++) {
            fn(ctx, i);
        }
        return;
    }
    atomic_store(&p->n_open, n_chunk);
    p->job++;
    int from = 0;
    for (int i = 0; i < p->n_share; i++) {
        share *s = &p->shares[i];
        int end = (int)((int64_t)n_chunk * (i + 1) / p->n_share);
        atomic_store_explicit(&s->fn, fn, memory_order_relaxed);
        atomic_store_explicit(&s->ctx, ctx, memory_order_relaxed);
        atomic_store_explicit(&s->end, end, memory_order_relaxed);
        atomic_store(&s->ticket, p->job << 32 | (uint32_t)(end - from));
        from = end;
    }
    wake_workers(p);
    work_off(p, 0, NULL);
    wait_for_job(p);
}

void os_pool_read_ahead(os_pool *p, int i_thread, const void *from, size_t bytes) {
    share *s = &p->shares[i_thread];
    atomic_store_explicit(&s->ahead_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&s->ahead, (uintptr_t)from, memory_order_relaxed);
}

/* Threads of the pool take no signals: those belong to the host program. A fault of the thread itself (a lost page of a
 * mapping) goes to the program's handler, too; blocked, it would kill without a word. */
static int start_worker(os_pool *p, int i) {
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t k = 0; k < ARRAY_LEN(faults); k++)
        sigdelset(&all, faults[k]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&p->threads[i], NULL, worker, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return number;
}

muga_status os_pool_new(int n_thread, os_pool **out, muga_error *err) {
    *out = NULL;
    if (n_thread < 1 || n_thread > MAX_THREADS) {
        return error_set(err, MUGA_E_USAGE, "%d threads: choose 1 to %d", n_thread, MAX_THREADS);
    }
    size_t shares = (size_t)n_thread * sizeof(share), threads = (size_t)(n_thread - 1) * sizeof(pthread_t);
    os_pool *p = mem_alloc_aligned(sizeof *p + shares + threads, 64);
    if (!p) {
        return error_nomem(err, "the thread pool");
    }
    p->threads = (pthread_t *)(void *)((uint8_t *)(p->shares) + shares);
    p->n_share = n_thread;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    p->spin_us = n_thread <= os_cpu_threads() ? SPIN_US : 0; /* where cores are short, spinning takes them from work */
    p->n_thread = 1;
    for (int i = 0; i < n_thread - 1; i++) {
        int number = start_worker(p, i);
        if (number != 0) {
            os_pool_free(p);
            return os_error(err, number, "start", "a thread of the pool");
        }
        p->n_thread++;
    }
    *out = p;
    return MUGA_OK;
}

void os_pool_free(os_pool *p) {
    if (!p) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_thread - 1; i++) {
        pthread_join(p->threads[i], NULL);
    }
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int os_pool_threads(const os_pool *p) {
    return p ? p->n_thread : 1;
}
