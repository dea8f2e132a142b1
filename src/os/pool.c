/* The thread pool. Owns: handing out chunks of one job, sleeping, waking. Refuses: two jobs at once, cancelling.
 *
 * Idea: one 64-bit ticket holds the job's number and how many of its chunks are still to be taken. Taking a chunk is a
 * compare-and-swap of the ticket, so a worker that slept through any number of jobs can't take a chunk of one job with
 * the parameters of another, and nobody waits for a worker that the system has put aside: a job is over when its
 * chunks are done, not when every worker has said so.
 *
 * Invariants:
 *  1. fn, ctx and n_chunk are written only while ticket says 0 left, after the job before is over.
 *  2. A worker reads them before its swap. The swap succeeds only if the ticket still had chunks left, so the job was
 *     not over, so by 1 they belong to it.
 *  3. Sleeping: a worker counts itself into n_asleep and then looks at the ticket again; the caller writes the ticket
 *     and then looks at n_asleep. Both sequentially consistent, so one of them sees the other; the same for the caller
 *     waiting for n_open.
 *  4. What a chunk wrote is visible to the caller after the job (release on n_open) and to every chunk of the next job
 *     (release on ticket; the swaps of other workers continue that release sequence). */
#include "base/mem.h"
#include "os/os_private.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define SPIN_US 50 /* before sleeping: a few times what waking costs */
#define MAX_THREADS 1024

typedef void chunk_fn(void *ctx, int i_chunk);

struct os_pool {
    _Alignas(64) _Atomic uint64_t ticket; /* job number << 32 | chunks not yet taken */
    _Alignas(64) _Atomic int n_open;      /* chunks of the job not yet done */
    _Alignas(64) _Atomic(chunk_fn *) fn;
    _Atomic(void *) ctx;
    _Atomic int n_chunk;
    _Atomic int n_asleep; /* workers in cond_wait on work, or about to be */
    _Atomic bool caller_waits, stop;
    int n_thread; /* with the caller */
    uint64_t spin_us;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t threads[]; /* n_thread - 1 */
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline uint32_t chunks_left(os_pool *p) {
    return (uint32_t)atomic_load(&p->ticket);
}

static void chunk_done(os_pool *p) {
    if (atomic_fetch_sub(&p->n_open, 1) == 1 && atomic_load(&p->caller_waits)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->lock);
    }
}

/* Take and run chunks until there is none left. */
static void work_off(os_pool *p) {
    uint64_t ticket = atomic_load(&p->ticket);
    while ((uint32_t)ticket > 0) {
        chunk_fn *fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&p->ctx, memory_order_relaxed);
        int n_chunk = atomic_load_explicit(&p->n_chunk, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&p->ticket, &ticket, ticket - 1)) {
            fn(ctx, n_chunk - (int)(uint32_t)ticket);
            chunk_done(p);
            ticket = atomic_load(&p->ticket);
        }
    }
}

static bool worker_has_news(os_pool *p) {
    return chunks_left(p) > 0 || atomic_load(&p->stop);
}

static bool job_is_over(os_pool *p) {
    return atomic_load(&p->n_open) == 0;
}

/* Look for a while; true when it came. */
static bool spin_until(os_pool *p, bool (*condition)(os_pool *)) {
    uint64_t end_us = p->spin_us > 0 ? os_clock_monotonic_us(NULL) + p->spin_us : 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (condition(p)) {
                return true;
            }
            pause_briefly();
        }
    } while (end_us > 0 && os_clock_monotonic_us(NULL) < end_us);
    return false;
}

static void sleep_until_news(os_pool *p) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while (!worker_has_news(p)) {
        pthread_cond_wait(&p->work, &p->lock);
    }
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker(void *argument) {
    os_pool *p = argument;
    while (!atomic_load(&p->stop)) {
        work_off(p);
        if (!spin_until(p, worker_has_news)) {
            sleep_until_news(p);
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
    if (spin_until(p, job_is_over)) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_waits, true);
    while (!job_is_over(p)) {
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
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->ctx, ctx, memory_order_relaxed);
    atomic_store_explicit(&p->n_chunk, n_chunk, memory_order_relaxed);
    atomic_store(&p->n_open, n_chunk);
    uint64_t job = (atomic_load(&p->ticket) >> 32) + 1;
    atomic_store(&p->ticket, job << 32 | (uint32_t)n_chunk);
    wake_workers(p);
    work_off(p);
    wait_for_job(p);
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
    os_pool *p = mem_alloc_aligned(sizeof *p + (size_t)(n_thread - 1) * sizeof p->threads[0], 64);
    if (!p) {
        return error_nomem(err, "the thread pool");
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    p->spin_us = n_thread <= os_cpu_count() ? SPIN_US : 0; /* where cores are short, spinning takes them from work */
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
