/* A server on loopback in a thread of its own, with a handler whose routes do what tests need, and a client over plain
 * sockets that shows the bytes. Whatever is waited for comes, or the test fails after WAIT_S. */
#ifndef TESTS_SERVER_FIXTURE_H
#define TESTS_SERVER_FIXTURE_H

#include "support/support.h"

#include "base/mem.h"
#include "net/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WAIT_S 60
#define HELD_MAX 64

typedef struct fixture {
    server *s;
    server_options o;
    uint16_t port;
    pthread_t thread;
    bool is_running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    exchange *held[HELD_MAX]; /* what /hold keeps until the test takes it */
    size_t n_held, n_gone, n_requests, n_headers, n_sunk, n_lost;
    bool stops_sink;
    muga_status ran;
    bool refuses_headers; /* set before the start */
} fixture;

#define fixture_wait(f, condition)                                                                                     \
    do {                                                                                                               \
        struct timespec until_;                                                                                        \
        clock_gettime(CLOCK_REALTIME, &until_);                                                                        \
        until_.tv_sec += WAIT_S;                                                                                       \
        pthread_mutex_lock(&(f)->lock);                                                                                \
        while (!(condition))                                                                                           \
            if (pthread_cond_timedwait(&(f)->changed, &(f)->lock, &until_) != 0)                                       \
                fail_msg("waited in vain for " #condition);                                                            \
        pthread_mutex_unlock(&(f)->lock);                                                                              \
    } while (0)

static inline void fixture_count(fixture *f, size_t *what) {
    pthread_mutex_lock(&f->lock);
    (*what)++;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static inline size_t fixture_get(fixture *f, const size_t *what) {
    pthread_mutex_lock(&f->lock);
    size_t n = *what;
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* ---- handler ---- */

static inline bool fixture_reply(exchange *x, int status, const char *text) {
    return exchange_reply(x, status, &(exchange_headers){.content_type = "text/plain"}, text, strlen(text));
}

static inline bool fixture_on_piece(void *ctx, const void *p, size_t n) {
    fixture *f = ctx;
    (void)p;
    pthread_mutex_lock(&f->lock);
    f->n_sunk += n;
    bool more = !f->stops_sink;
    pthread_mutex_unlock(&f->lock);
    return more;
}

static inline void fixture_on_lost(void *ctx) {
    fixture *f = ctx;
    fixture_count(f, &f->n_lost);
}

static inline void fixture_on_headers(void *ctx, exchange *x, const server_request *q) {
    fixture *f = ctx;
    fixture_count(f, &f->n_headers);
    if (f->refuses_headers)
        fixture_reply(x, 401, "who are you?");
    if (strcmp(q->path, "/small") == 0)
        exchange_limit_body(x, 4);
    if (strcmp(q->path, "/sink") == 0)
        exchange_take_body(x, &(exchange_sink){fixture_on_piece, fixture_on_lost, f, 1 << 20});
}

static inline void fixture_echo(exchange *x, const server_request *q) {
    str s = STR_INIT;
    str_printf(&s, "%s %s%s%s [%zu] %.*s", q->method, q->path, *q->query ? "?" : "", q->query, q->n_body,
               (int)MIN(q->n_body, (size_t)40), q->body);
    assert_true(strlen(q->body) <= q->n_body);
    exchange_reply(x, 200, &(exchange_headers){.content_type = "text/plain"}, str_get(&s), s.len);
    str_release(&s);
    exchange_release(x);
}

static inline void fixture_on_request(void *ctx, exchange *x, const server_request *q) {
    fixture *f = ctx;
    fixture_count(f, &f->n_requests);
    if (strcmp(q->path, "/hold") != 0) {
        fixture_echo(x, q);
        return;
    }
    pthread_mutex_lock(&f->lock);
    assert_true(f->n_held < HELD_MAX);
    f->held[f->n_held++] = x;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static inline void fixture_on_gone(void *ctx, exchange *x) {
    fixture *f = ctx;
    assert_true(atomic_load(exchange_gone(x)));
    fixture_count(f, &f->n_gone);
}

static inline void fixture_refuse(void *ctx, const server_request *q, int status, const char *why, str *out) {
    (void)ctx, (void)q;
    str_printf(out, "{\"status\":%d,\"why\":\"%s\"}", status, why);
}

/* ---- life ---- */

static inline void *fixture_run(void *ctx) {
    fixture *f = ctx;
    muga_error err;
    f->ran = server_run(f->s, &err);
    return NULL;
}

static inline void fixture_init(fixture *f) {
    *f = (fixture){.o = {.limits = SERVER_LIMITS_DEFAULT,
                         .handler = {fixture_on_headers, fixture_on_request, fixture_on_gone, fixture_refuse, f}}};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
}

/* A build without libevent's headers has no server (that of 64-bit ARM: Debian's libevent-dev is there for one
 * processor at a time): the calling test is skipped. */
static inline void fixture_new(fixture *f) {
    muga_error err = {0};
    muga_status st = server_new(&f->o, &f->s, &err);
    if (st == MUGA_E_ENV && strstr(err.message, "this build is without it"))
        skip();
    assert_ok(st, &err);
}

static inline void fixture_start(fixture *f) {
    muga_error err = {0};
    fixture_new(f);
    assert_ok(server_listen(f->s, &(server_address){.where = "127.0.0.1:0"}, &f->port, &err), &err);
    assert_int_equal(pthread_create(&f->thread, NULL, fixture_run, f), 0);
    f->is_running = true;
}

/* With nothing else than by default. */
static inline void fixture_open(fixture *f) {
    fixture_init(f);
    fixture_start(f);
}

static inline void fixture_join(fixture *f) {
    pthread_join(f->thread, NULL);
    f->is_running = false;
    assert_int_equal(f->ran, MUGA_OK);
}

static inline void fixture_stop(fixture *f) {
    if (f->is_running) {
        server_stop(f->s, 0);
        fixture_join(f);
    }
    server_free(f->s);
    f->s = NULL;
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
}

/* The nth exchange that /hold keeps, once it is there. */
static inline exchange *fixture_held(fixture *f, size_t n) {
    fixture_wait(f, f->n_held > n);
    return f->held[n];
}

/* ---- client ---- */

static inline int client_open(const fixture *f) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static inline void client_send(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return; /* the server has closed: what it said is read */
        p += k;
        n -= (size_t)k;
    }
}

static inline void client_say(int fd, const char *text) {
    client_send(fd, text, strlen(text));
}

/* A connection of its own on which that has been said. */
static inline int client_begin(const fixture *f, const char *text) {
    int fd = client_open(f);
    client_say(fd, text);
    return fd;
}

/* Appends what comes next; false at the end (or a reset). */
static inline bool client_more(int fd, str *out) {
    char bytes[16384];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, WAIT_S * 1000) != 1)
        fail_msg("no byte came");
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n > 0)
        str_append(out, bytes, (size_t)n);
    return n > 0;
}

static inline bool client_has_more(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

/* All until the server closes. Freed by the caller. */
static inline char *client_rest(int fd) {
    str s = STR_INIT;
    while (client_more(fd, &s))
        ;
    close(fd);
    return str_take(&s);
}

/* Until `text` has come; released by the caller. */
static inline void client_until(int fd, str *s, const char *text) {
    while (!strstr(str_get(s), text))
        if (!client_more(fd, s))
            fail_msg("closed before \"%s\": %s", text, str_get(s));
}

/* One connection: says text and gives all that comes until it is closed. */
static inline char *client_ask(const fixture *f, const char *text) {
    int fd = client_begin(f, text);
    return client_rest(fd);
}

static inline void assert_has(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static inline void assert_lacks(const char *text, const char *part) {
    if (strstr(text, part))
        fail_msg("\"%s\" is in \"%s\"", part, text);
}

/* The answer begins with this status, and holds part. */
static inline void assert_answer(const fixture *f, const char *text, const char *status, const char *part) {
    char *got = client_ask(f, text), begin[32];
    snprintf(begin, sizeof begin, "HTTP/1.1 %s ", status);
    if (strncmp(got, begin, strlen(begin)) != 0)
        fail_msg("not %s: \"%s\"", status, got);
    assert_has(got, part);
    free(got);
}

#endif
