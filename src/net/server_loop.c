/* The event loop. What libevent gives: one wait for descriptors, timers and signals, by epoll with edges. Its buffers
 * and its HTTP server aren't used: a bufferevent that is told to read no more sees no close, and evhttp takes what
 * RFC 9112 forbids. */
#include "net/server_loop.h"

#include "base/mem.h"

#ifdef MUGA_HAVE_EVENT

#include <dlfcn.h>
#include <event2/event.h>

#define LIBRARY "libevent_core-2.1.so.7"

#define FUNCTIONS(X)                                                                                                   \
    X(config_new)                                                                                                      \
    X(config_free)                                                                                                     \
    X(config_set_flag)                                                                                                 \
    X(config_require_features)                                                                                         \
    X(set_log_callback)                                                                                                \
    X(base_new_with_config)                                                                                            \
    X(base_free)                                                                                                       \
    X(base_loop)                                                                                                       \
    X(base_loopbreak)                                                                                                  \
    X(new)                                                                                                             \
    X(free)                                                                                                            \
    X(add)                                                                                                             \
    X(del)                                                                                                             \
    X(active)
#define DECLARE(f) __typeof__(event_##f) *f;

struct loop {
    struct event_base *base;
    FUNCTIONS(DECLARE)
};

struct loop_watch {
    loop *l;
    struct event *event;
    loop_fn *fn;
    void *ctx;
};

static muga_status load(loop *l, muga_error *err) {
    void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *lacks = NULL;
    if (!lib)
        return error_set(err, MUGA_E_ENV,
                         "serving needs libevent, and " LIBRARY " is not here; install it (Debian: "
                         "libevent-core-2.1-7)");
#define LOAD(f)                                                                                                        \
    *(void **)&l->f = dlsym(lib, "event_" #f);                                                                         \
    lacks = l->f ? lacks : "event_" #f;
    FUNCTIONS(LOAD)
    dlclose(lib);
    return lacks ? error_set(err, MUGA_E_ENV, "this " LIBRARY " has no %s; install libevent 2.1", lacks) : MUGA_OK;
}

/* What goes wrong is told by return values; the library would print it besides. */
static void stay_silent(int severity, const char *message) {
    (void)severity, (void)message;
}

muga_status server_loop_new(loop **out, muga_error *err) {
    loop *l = mem_alloc_array(1, sizeof *l);
    *out = NULL;
    if (!l)
        return error_nomem(err, "the server's loop");
    muga_status st = load(l, err);
    if (st)
        goto out;
    l->set_log_callback(stay_silent);
    struct event_config *c = l->config_new();
    if (c && l->config_require_features(c, EV_FEATURE_ET) == 0 &&
        l->config_set_flag(c, EVENT_BASE_FLAG_IGNORE_ENV) == 0)
        l->base = l->base_new_with_config(c);
    if (c)
        l->config_free(c);
    if (!l->base)
        st = error_nomem(err, "the server's loop");
out:
    if (st)
        server_loop_free(l);
    else
        *out = l;
    return st;
}

void server_loop_free(loop *l) {
    if (l && l->base)
        l->base_free(l->base);
    free(l);
}

static void on_event(evutil_socket_t fd, short what, void *ctx) {
    loop_watch *w = ctx;
    (void)fd;
    w->fn(w->ctx, (what & EV_READ ? LOOP_READ : 0) | (what & EV_WRITE ? LOOP_WRITE : 0));
}

static loop_watch *watch(loop *l, int fd, short what, bool add, loop_fn *fn, void *ctx) {
    loop_watch *w = mem_alloc_array(1, sizeof *w);
    if (!w)
        return NULL;
    *w = (loop_watch){l, NULL, fn, ctx};
    w->event = l->new (l->base, fd, what, on_event, w);
    if (!w->event || (add && l->add(w->event, NULL) != 0)) {
        loop_unwatch(w);
        return NULL;
    }
    return w;
}

loop_watch *loop_watch_fd(loop *l, int fd, unsigned what, bool edges, loop_fn *fn, void *ctx) {
    short events = EV_PERSIST;
    events =
        (short)(events | (what & LOOP_READ ? EV_READ : 0) | (what & LOOP_WRITE ? EV_WRITE : 0) | (edges ? EV_ET : 0));
    return watch(l, fd, events, true, fn, ctx);
}

loop_watch *loop_watch_signal(loop *l, int number, loop_fn *fn, void *ctx) {
    return watch(l, number, EV_SIGNAL | EV_PERSIST, true, fn, ctx);
}

loop_watch *loop_watch_timer(loop *l, loop_fn *fn, void *ctx) {
    return watch(l, -1, 0, false, fn, ctx);
}

bool loop_timer_set(loop_watch *w, uint64_t ms) {
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    return w->l->add(w->event, &tv) == 0;
}

bool loop_pause(loop_watch *w, bool is_paused) {
    return (is_paused ? w->l->del(w->event) : w->l->add(w->event, NULL)) == 0;
}

void loop_poke(loop_watch *w, unsigned what) {
    w->l->active(w->event, what & LOOP_WRITE ? EV_WRITE : EV_READ, 0);
}

void loop_unwatch(loop_watch *w) {
    if (w && w->event)
        w->l->free(w->event);
    free(w);
}

bool loop_run(loop *l) {
    return l->base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0;
}

void loop_stop(loop *l) {
    l->base_loopbreak(l->base);
}

#else /* without libevent's headers */

muga_status server_loop_new(loop **out, muga_error *err) {
    *out = NULL;
    return error_set(err, MUGA_E_ENV,
                     "serving needs libevent, and this build is without it; install its headers "
                     "(Debian: libevent-dev) and build again");
}
void server_loop_free(loop *l) {
    (void)l;
}
loop_watch *loop_watch_fd(loop *l, int fd, unsigned what, bool edges, loop_fn *fn, void *ctx) {
    (void)l, (void)fd, (void)what, (void)edges, (void)fn, (void)ctx;
    return NULL;
}
loop_watch *loop_watch_signal(loop *l, int number, loop_fn *fn, void *ctx) {
    (void)l, (void)number, (void)fn, (void)ctx;
    return NULL;
}
loop_watch *loop_watch_timer(loop *l, loop_fn *fn, void *ctx) {
    (void)l, (void)fn, (void)ctx;
    return NULL;
}
bool loop_timer_set(loop_watch *w, uint64_t ms) {
    (void)w, (void)ms;
    return false;
}
bool loop_pause(loop_watch *w, bool is_paused) {
    (void)w, (void)is_paused;
    return false;
}
void loop_poke(loop_watch *w, unsigned what) {
    (void)w, (void)what;
}
void loop_unwatch(loop_watch *w) {
    (void)w;
}
bool loop_run(loop *l) {
    (void)l;
    return false;
}
void loop_stop(loop *l) {
    (void)l;
}

#endif
