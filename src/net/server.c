/* The server as a whole: its loop, what other threads leave for it, time, stopping, counts. */
#include "net/server_private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define DESCRIPTORS_SPARE 256 /* for files of models, stores and tools */

/* ---- mail ---- */

static mail *mail_new(void) {
    mail *m = mem_alloc_array(1, sizeof *m);
    if (!m)
        return NULL;
    m->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->wake_fd < 0 || pthread_mutex_init(&m->date_lock, NULL) != 0) {
        if (m->wake_fd >= 0)
            close(m->wake_fd);
        free(m);
        return NULL;
    }
    atomic_init(&m->refs, 1);
    return m;
}

void mail_hold(mail *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

void mail_drop(mail *m) {
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    close(m->wake_fd);
    pthread_mutex_destroy(&m->date_lock);
    free(m);
}

/* The loop's own thread looks into the mail when its callback ends, and needs no waking. */
static void mail_wake(const mail *m) {
    uint64_t one = 1;
    if (atomic_load_explicit(&m->in_loop, memory_order_acquire) && pthread_equal(m->thread, pthread_self()))
        return;
    ssize_t n = write(m->wake_fd, &one, sizeof one);
    (void)n; /* full means that a wake is under way */
}

/* In the place of mail.dirty's first once there is no server: nobody would take it from there. */
static exchange *const nobody = (exchange *)(uintptr_t)1;

/* Who finds the stack empty wakes the loop; who doesn't, knows that it has been woken and hasn't looked yet. */
void mail_push(mail *m, exchange *x) {
    if (atomic_exchange(&x->is_queued, true))
        return;
    exchange_hold(x);
    exchange *first = atomic_load_explicit(&m->dirty, memory_order_relaxed);
    do {
        if (first == nobody) {
            exchange_drop(x);
            return;
        }
        x->next_dirty = first;
    } while (!atomic_compare_exchange_weak(&m->dirty, &first, x));
    if (!first)
        mail_wake(m);
}

void mail_date(mail *m, char out[40]) {
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm t;
    pthread_mutex_lock(&m->date_lock);
    if (now != m->date_at && gmtime_r(&now, &t)) {
        m->date_at = now;
        snprintf(m->date, sizeof m->date, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * t.tm_wday,
                 (unsigned)t.tm_mday % 100, months + 3 * t.tm_mon, (unsigned)(t.tm_year + 1900) % 10000,
                 (unsigned)t.tm_hour % 100, (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
    }
    memcpy(out, m->date, sizeof m->date);
    pthread_mutex_unlock(&m->date_lock);
}

static void deliver_exchanges(mail *m, exchange *then) {
    exchange *x = atomic_exchange(&m->dirty, then), *in_order = NULL;
    while (x) {
        exchange *next = x->next_dirty;
        x->next_dirty = in_order;
        in_order = x;
        x = next;
    }
    while (in_order) {
        x = in_order;
        in_order = x->next_dirty;
        atomic_store(&x->is_queued, false);
        exchange_deliver(x);
        exchange_drop(x);
    }
}

/* ---- posted functions ---- */

static void waiting_remove(posted *p) {
    posted **at = &p->s->waiting;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    loop_unwatch(p->timer);
}

static void on_posted_timer(void *ctx, unsigned what) {
    posted *p = ctx;
    server *s = p->s;
    (void)what;
    server_begin(s);
    waiting_remove(p);
    p->fn(p->ctx);
    free(p);
    server_settle(s);
}

/* Without memory for a timer it runs at once: sooner than asked is better than never. */
static void post_wait(server *s, posted *p) {
    p->s = s;
    p->timer = loop_watch_timer(s->loop, on_posted_timer, p);
    if (p->timer && loop_timer_set(p->timer, p->at_ms > s->now_ms ? p->at_ms - s->now_ms : 0)) {
        p->next = s->waiting;
        s->waiting = p;
        return;
    }
    loop_unwatch(p->timer);
    p->fn(p->ctx);
    free(p);
}

static void deliver_posts(server *s) {
    posted *p = atomic_exchange(&s->mail->posts, NULL), *in_order = NULL;
    while (p) {
        posted *next = p->next;
        p->next = in_order;
        in_order = p;
        p = next;
    }
    while (in_order) {
        p = in_order;
        in_order = p->next;
        if (p->at_ms > 0) {
            post_wait(s, p);
            continue;
        }
        p->fn(p->ctx);
        free(p);
    }
}

static uint64_t monotonic_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool post(server *s, uint64_t at_ms, void (*fn)(void *ctx), void *ctx) {
    posted *p = mem_alloc_array(1, sizeof *p);
    if (!p)
        return false;
    *p = (posted){.fn = fn, .ctx = ctx, .at_ms = at_ms};
    posted *first = atomic_load_explicit(&s->mail->posts, memory_order_relaxed);
    do
        p->next = first;
    while (!atomic_compare_exchange_weak(&s->mail->posts, &first, p));
    if (!first)
        mail_wake(s->mail);
    return true;
}

bool server_post(server *s, void (*fn)(void *ctx), void *ctx) {
    return post(s, 0, fn, ctx);
}

bool server_post_later(server *s, uint32_t delay_ms, void (*fn)(void *ctx), void *ctx) {
    return post(s, monotonic_ms() + delay_ms, fn, ctx);
}

/* ---- time ---- */

void server_begin(server *s) {
    s->now_ms = monotonic_ms();
}

/* One timer for all connections: it rings at the earliest deadline, looks at every one, and is set to the next. A
 * deadline that moves later isn't told: the ring finds it not yet due. */
void server_ring(server *s, uint64_t at_ms) {
    if (at_ms >= s->tick_ms)
        return;
    uint64_t wait = at_ms > s->now_ms ? at_ms - s->now_ms : 0;
    if (loop_timer_set(s->tick, MAX(wait, (uint64_t)5)))
        s->tick_ms = at_ms;
}

static void on_tick(void *ctx, unsigned what) {
    server *s = ctx;
    uint64_t next = UINT64_MAX;
    (void)what;
    server_begin(s);
    s->tick_ms = UINT64_MAX;
    for (connection *c = s->connections, *following; c; c = following) {
        following = c->next;
        if (connection_deadline(c) <= s->now_ms)
            connection_expire(c);
        if (c->state != CONNECTION_DEAD)
            next = MIN(next, connection_deadline(c));
    }
    if (s->is_closing && s->cut_ms > s->now_ms)
        next = MIN(next, s->cut_ms);
    server_ring(s, next);
    server_settle(s);
}

/* ---- stopping ---- */

void server_stop(server *s, uint32_t drain_ms) {
    uint64_t one = 1;
    atomic_store(&s->mail->drain_ms, drain_ms);
    atomic_store(&s->mail->is_stopping, true);
    ssize_t n = write(s->mail->wake_fd, &one, sizeof one);
    (void)n;
}

static void begin_closing(server *s) {
    s->is_closing = true;
    s->cut_ms = s->now_ms + atomic_load(&s->mail->drain_ms);
    server_ring(s, s->cut_ms);
}

static bool is_busy(const server *s) {
    const connection *c = s->connections;
    while (c && connection_is_idle(c))
        c = c->next;
    return c != NULL;
}

static void drop_all(server *s, bool reset) {
    for (connection *c = s->connections, *next; c; c = next) {
        next = c->next;
        connection_drop(c, reset);
    }
}

/* The last answer has ended, or the time is over. */
static void close_if_done(server *s) {
    bool is_late = s->now_ms >= s->cut_ms;
    if (!is_late && is_busy(s))
        return;
    listeners_close(s);
    drop_all(s, is_late);
}

/* ---- the end of a callback ---- */

static void free_dead(server *s) {
    while (s->dead) {
        connection *c = s->dead;
        s->dead = c->next_dead;
        connection_free(c);
    }
}

void server_settle(server *s) {
    mail *m = s->mail;
    while (atomic_load(&m->dirty) || atomic_load(&m->posts)) {
        deliver_posts(s);
        deliver_exchanges(m, NULL);
    }
    if (atomic_load(&m->is_stopping) && !s->is_closing)
        begin_closing(s);
    if (s->is_closing)
        close_if_done(s);
    free_dead(s);
    if (s->is_closing && !s->connections)
        loop_stop(s->loop);
}

static void on_wake(void *ctx, unsigned what) {
    server *s = ctx;
    uint64_t n;
    (void)what;
    server_begin(s);
    ssize_t got = read(s->mail->wake_fd, &n, sizeof n);
    (void)got;
    server_settle(s);
}

/* ---- signals ---- */

static void on_signal(void *ctx, unsigned what) {
    signal_watch *w = ctx;
    (void)what;
    server_begin(w->s);
    w->fn(w->ctx);
    server_settle(w->s);
}

muga_status server_on_signal(server *s, int signal, void (*fn)(void *ctx), void *ctx, muga_error *err) {
    signal_watch *w = mem_alloc_array(1, sizeof *w);
    if (!w)
        return error_nomem(err, "a signal's handler");
    *w = (signal_watch){s->signals, s, NULL, fn, ctx};
    w->watch = loop_watch_signal(s->loop, signal, on_signal, w);
    if (!w->watch) {
        free(w);
        return error_nomem(err, "a signal's handler");
    }
    s->signals = w;
    return MUGA_OK;
}

/* ---- life ---- */

/* Connections may not take the last descriptors: what answers them opens files. The soft limit is often 1,024. */
static void make_room(server *s) {
    struct rlimit r;
    rlim_t want = (rlim_t)s->o.limits.n_connections + DESCRIPTORS_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return;
    rlim_t had = r.rlim_cur;
    r.rlim_cur = MIN(want, r.rlim_max);
    if (setrlimit(RLIMIT_NOFILE, &r) != 0)
        r.rlim_cur = had;
    if (r.rlim_cur < want)
        s->o.limits.n_connections =
            (uint32_t)(r.rlim_cur > 2 * DESCRIPTORS_SPARE ? r.rlim_cur - DESCRIPTORS_SPARE : r.rlim_cur / 2);
}

muga_status server_new(const server_options *o, server **out, muga_error *err) {
    server *s = mem_alloc_array(1, sizeof *s);
    *out = NULL;
    if (!s)
        return error_nomem(err, "the server");
    s->o = *o;
    make_room(s);
    s->tick_ms = UINT64_MAX;
    s->is_accepting = true;
    s->n_peer_buckets = 256;
    muga_status st = server_loop_new(&s->loop, err);
    if (st)
        goto out;
    s->mail = mail_new();
    s->peers = mem_alloc_array(s->n_peer_buckets, sizeof *s->peers);
    s->scratch = malloc(READ_BYTES);
    if (s->mail && s->peers && s->scratch) {
        s->wake = loop_watch_fd(s->loop, s->mail->wake_fd, LOOP_READ, false, on_wake, s);
        s->tick = loop_watch_timer(s->loop, on_tick, s);
    }
    if (!s->wake || !s->tick)
        st = error_nomem(err, "the server");
out:
    if (st)
        server_free(s);
    else
        *out = s;
    return st;
}

/* A client that has gone is an error of the write, not a signal. Only this thread writes to sockets. */
static bool block_sigpipe(sigset_t *before) {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    return pthread_sigmask(SIG_BLOCK, &pipe, before) == 0;
}

static void restore_sigpipe(const sigset_t *before) {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!sigismember(before, SIGPIPE))
        while (sigtimedwait(&pipe, NULL, &(struct timespec){0}) == SIGPIPE)
            ;
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

muga_status server_run(server *s, muga_error *err) {
    sigset_t before;
    if (!block_sigpipe(&before))
        return error_set(err, MUGA_E_ENV, "SIGPIPE can't be blocked in the server's thread");
    s->mail->thread = pthread_self();
    atomic_store_explicit(&s->mail->in_loop, true, memory_order_release);
    server_begin(s);
    server_settle(s);
    bool ran = loop_run(s->loop);
    server_begin(s);
    drop_all(s, true);
    free_dead(s);
    atomic_store_explicit(&s->mail->in_loop, false, memory_order_release);
    restore_sigpipe(&before);
    return ran ? MUGA_OK : error_set(err, MUGA_E_ENV, "the server's loop can't wait for its clients any more");
}

server_counts server_get_counts(server *s) {
    mail *m = s->mail;
    int64_t unsent = atomic_load(&m->unsent_bytes);
    return (server_counts){.n_accepted = atomic_load(&m->n_accepted),
                           .n_refused = atomic_load(&m->n_refused),
                           .n_requests = atomic_load(&m->n_requests),
                           .n_gone = atomic_load(&m->n_gone),
                           .n_connections = atomic_load(&m->n_connections),
                           .n_exchanges = atomic_load(&m->n_exchanges),
                           .unsent_bytes = unsent > 0 ? (uint64_t)unsent : 0};
}

void server_allow(server *s, const char *const *hosts, size_t n_hosts, const char *const *origins, size_t n_origins) {
    s->o.hosts = hosts;
    s->o.n_hosts = n_hosts;
    s->o.origins = origins;
    s->o.n_origins = n_origins;
}

static void free_posts(server *s) {
    for (posted *p = s->mail ? atomic_exchange(&s->mail->posts, NULL) : NULL, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    for (posted *p = s->waiting, *next; p; p = next) {
        next = p->next;
        loop_unwatch(p->timer);
        free(p);
    }
}

/* Exchanges that handlers still hold live on with the mail, and are freed by exchange_release. */
void server_free(server *s) {
    if (!s)
        return;
    listeners_close(s);
    drop_all(s, true);
    free_dead(s);
    if (s->mail)
        deliver_exchanges(s->mail, nobody);
    free_posts(s);
    for (signal_watch *w = s->signals, *next; w; w = next) {
        next = w->next;
        loop_unwatch(w->watch);
        free(w);
    }
    loop_unwatch(s->wake);
    loop_unwatch(s->tick);
    loop_unwatch(s->retry);
    server_loop_free(s->loop);
    mail_drop(s->mail);
    free(s->peers);
    free(s->scratch);
    free(s);
}
