/* A queue and threads that take from it.
 *
 * Invariants: while something waits, every thread that may take it is busy or has been woken, and no further one could
 * be started; at most n_max run what jobs_run was given, however many there are for jobs_run_first. */
#include "serve/jobs.h"
#include "base/mem.h"

#include <pthread.h>

#define STACK_BYTES ((size_t)1 << 20)
#define LINGER_S 10 /* a thread without work ends after so long */

typedef struct job {
    void (*run)(void *ctx);
    void *ctx;
    bool own; /* of jobs_run_first */
    struct job *next;
} job;

struct jobs {
    pthread_mutex_t lock; /* guards all */
    pthread_cond_t work, quiet;
    job *first, **last;
    uint32_t n_threads, n_idle, n_max;
    uint32_t n_running, n_own; /* of those, the server's own */
    bool closing;
};

muga_status jobs_new(uint32_t n_threads, jobs **out, muga_error *err) {
    jobs *j = mem_alloc_array(1, sizeof *j);
    if (!j)
        return error_nomem(err, "the server's threads");
    pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&j->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&j->quiet, NULL);
    j->last = &j->first;
    j->n_max = n_threads;
    *out = j;
    return MUGA_OK;
}

static bool has_work(const jobs *j) {
    return j->first && (j->first->own || j->n_running - j->n_own < j->n_max);
}

static job *take(jobs *j) {
    job *t = j->first;
    if (!(j->first = t->next))
        j->last = &j->first;
    j->n_running++;
    j->n_own += t->own;
    return t;
}

/* Until there is something to do; false: the thread is to end. With the lock held. */
static bool wait_for_work(jobs *j) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LINGER_S;
    j->n_idle++;
    int timed_out = 0;
    while (!has_work(j) && !j->closing && !timed_out)
        timed_out = pthread_cond_timedwait(&j->work, &j->lock, &until);
    j->n_idle--;
    return has_work(j);
}

static void *thread(void *arg) {
    jobs *j = arg;
    pthread_mutex_lock(&j->lock);
    while (has_work(j) || wait_for_work(j)) {
        job *t = take(j);
        pthread_mutex_unlock(&j->lock);
        t->run(t->ctx);
        pthread_mutex_lock(&j->lock);
        j->n_own -= t->own;
        free(t);
        if (--j->n_running == 0 && !j->first)
            pthread_cond_broadcast(&j->quiet);
    }
    j->n_threads--;
    pthread_cond_broadcast(&j->quiet);
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* With the lock held. */
static bool start_thread(jobs *j) {
    pthread_attr_t attr;
    pthread_t id;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    bool started = pthread_create(&id, &attr, thread, j) == 0;
    pthread_attr_destroy(&attr);
    j->n_threads += started;
    return started;
}

static void put(jobs *j, job *t) {
    if (t->own) {
        t->next = j->first;
        j->first = t;
        if (!t->next)
            j->last = &t->next;
    } else {
        *j->last = t;
        j->last = &t->next;
    }
    pthread_cond_signal(&j->work);
}

static muga_status add(jobs *j, void (*run)(void *ctx), void *ctx, bool own, muga_error *err) {
    job *t = mem_alloc_array(1, sizeof *t);
    if (!t)
        return error_nomem(err, "a request's job");
    *t = (job){run, ctx, own, NULL};
    pthread_mutex_lock(&j->lock);
    size_t n_waiting = 1;
    for (const job *w = j->first; w && n_waiting <= j->n_idle; w = w->next)
        n_waiting++;
    bool may_start = own || j->n_threads < j->n_max;
    bool served = n_waiting <= j->n_idle || (may_start && start_thread(j)) || j->n_threads > 0;
    if (served)
        put(j, t);
    pthread_mutex_unlock(&j->lock);
    if (served)
        return MUGA_OK;
    free(t);
    return error_set(err, MUGA_E_ENV, "no thread could be started; raise the limit of threads or lower the load");
}

muga_status jobs_run(jobs *j, void (*run)(void *ctx), void *ctx, muga_error *err) {
    return add(j, run, ctx, false, err);
}

muga_status jobs_run_first(jobs *j, void (*run)(void *ctx), void *ctx, muga_error *err) {
    return add(j, run, ctx, true, err);
}

void jobs_wait(jobs *j) {
    pthread_mutex_lock(&j->lock);
    while (j->first || j->n_running)
        pthread_cond_wait(&j->quiet, &j->lock);
    pthread_mutex_unlock(&j->lock);
}

void jobs_free(jobs *j) {
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->closing = true;
    pthread_cond_broadcast(&j->work);
    while (j->n_threads)
        pthread_cond_wait(&j->quiet, &j->lock);
    pthread_mutex_unlock(&j->lock);
    pthread_cond_destroy(&j->work);
    pthread_cond_destroy(&j->quiet);
    pthread_mutex_destroy(&j->lock);
    free(j);
}
