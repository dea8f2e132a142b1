/* Clients that do anything at any time against handlers that answer, stream, cut, forget or post at any time, in many
 * threads, and a server that is stopped in the midst of it. If this fails (it is made for the sanitizers), an
 * exchange is used after its end, leaks, or two threads write one thing. The order of events differs from run to run;
 * what must hold does not: every exchange is released, nothing is left, and the server still answers. */
#include "support/server_fixture.h"

#include "base/rng.h"

#include <sched.h>

#define N_WORKERS 4
#define N_CLIENTS 4
#define ROUNDS 150
#define QUEUE_MAX 4096

typedef struct queue {
    fixture f;
    exchange *jobs[QUEUE_MAX];
    size_t n, at, n_pieces, n_told;
    bool ends;
} queue;

static void on_request(void *ctx, exchange *x, const server_request *q) {
    queue *w = ctx;
    if (strcmp(q->path, "/now") == 0) {
        fixture_reply(x, 200, "now");
        exchange_release(x);
        return;
    }
    pthread_mutex_lock(&w->f.lock);
    assert_true(w->n < QUEUE_MAX);
    w->jobs[w->n++] = x;
    pthread_cond_broadcast(&w->f.changed);
    pthread_mutex_unlock(&w->f.lock);
}

static void on_gone(void *ctx, exchange *x) {
    queue *w = ctx;
    assert_string_equal(exchange_request(x)->path, "/x");
    fixture_count(&w->f, &w->n_told);
}

static bool on_piece(void *ctx, const void *p, size_t n) {
    queue *w = ctx;
    (void)p, (void)n;
    fixture_count(&w->f, &w->n_pieces);
    return true;
}

static void on_headers(void *ctx, exchange *x, const server_request *q) {
    if (q->n_content == 7)
        fixture_reply(x, 401, "no");
    else if (q->n_content == 9)
        exchange_take_body(x, &(exchange_sink){on_piece, NULL, ctx, 0});
}

/* ---- handlers ---- */

static void stream(exchange *x, rng *r) {
    char piece[3000];
    memset(piece, 'p', sizeof piece);
    exchange_start(x, 200, &(exchange_headers){.content_type = "text/plain"});
    for (uint32_t n = rng_below(r, 60); n > 0 && exchange_write(x, piece, rng_below(r, sizeof piece)); n--)
        if (rng_below(r, 4) == 0)
            sched_yield();
    if (rng_below(r, 3) == 0)
        exchange_cut(x);
    else if (rng_below(r, 3) > 0)
        exchange_end(x);
}

static exchange *take_job(queue *w) {
    exchange *x = NULL;
    pthread_mutex_lock(&w->f.lock);
    while (w->at == w->n && !w->ends)
        pthread_cond_wait(&w->f.changed, &w->f.lock);
    if (w->at < w->n)
        x = w->jobs[w->at++];
    pthread_mutex_unlock(&w->f.lock);
    return x;
}

static void *work(void *ctx) {
    queue *w = ctx;
    rng r = {(uint64_t)(uintptr_t)&r};
    for (exchange *x; (x = take_job(w)) != NULL; exchange_release(x)) {
        uint32_t what = rng_below(&r, 8);
        if (what < 3)
            fixture_reply(x, 200, exchange_request(x)->path);
        else if (what < 6)
            stream(x, &r);
        else if (what == 6) /* waits for the client's leaving, or the server's end */
            for (int i = 0; i < 2000 && !atomic_load(exchange_gone(x)); i++)
                sched_yield();
    }
    return NULL;
}

/* ---- clients ---- */

static const char *const asks[] = {
    "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /now HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nrefused",
    "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nin pieces",
    "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "GET /x HTTP/1.0\r\n\r\n",
    "HEAD /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "OPTIONS /x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    "nonsense\r\n\r\n"};

static void one_client(const queue *w, rng *r) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(w->f.port)};
    char bytes[65536];
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return; /* the server was stopped */
    }
    for (uint32_t n = rng_below(r, 4) + 1; n > 0; n--) {
        const char *ask = asks[rng_below(r, ARRAY_LEN(asks))];
        size_t len = strlen(ask), some = rng_below(r, 5) == 0 ? rng_below(r, (uint32_t)len) : len;
        client_send(fd, ask, some);
        if (rng_below(r, 2) == 0)
            (void)!recv(fd, bytes, sizeof bytes, rng_below(r, 2) ? MSG_DONTWAIT : 0);
        if (some < len)
            break;
    }
    if (rng_below(r, 3) == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
}

static void *visit(void *ctx) {
    queue *w = ctx;
    rng r = {(uint64_t)(uintptr_t)&r};
    for (int i = 0; i < ROUNDS; i++)
        one_client(w, &r);
    return NULL;
}

static void nothing_is_left_whatever_happens(void **state) {
    (void)state;
    pthread_t workers[N_WORKERS], clients[N_CLIENTS];
    queue *w = mem_alloc_array(1, sizeof *w);
    assert_non_null(w);
    fixture_init(&w->f);
    w->f.o.handler = (server_handler){on_headers, on_request, on_gone, fixture_refuse, w};
    w->f.o.limits.output_bytes = 20000;
    w->f.o.limits.header_ms = w->f.o.limits.body_ms = w->f.o.limits.idle_ms = 50;
    w->f.o.limits.write_ms = 50;
    w->f.o.limits.n_connections = 24;
    fixture_start(&w->f);
    for (int i = 0; i < N_WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, work, w), 0);
    for (int i = 0; i < N_CLIENTS; i++)
        assert_int_equal(pthread_create(&clients[i], NULL, visit, w), 0);
    for (int i = 0; i < N_CLIENTS - 1; i++)
        pthread_join(clients[i], NULL);
    server_stop(w->f.s, 20); /* beside the last client */
    fixture_join(&w->f);
    pthread_join(clients[N_CLIENTS - 1], NULL);
    pthread_mutex_lock(&w->f.lock);
    w->ends = true;
    pthread_cond_broadcast(&w->f.changed);
    pthread_mutex_unlock(&w->f.lock);
    for (int i = 0; i < N_WORKERS; i++)
        pthread_join(workers[i], NULL);
    server_counts n = server_get_counts(w->f.s);
    assert_int_equal(n.n_exchanges, 0);
    assert_int_equal(n.n_connections, 0);
    assert_int_equal(n.unsent_bytes, 0);
    assert_true(n.n_requests > 100);
    assert_int_equal(w->at, w->n);
    fixture_stop(&w->f);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_left_whatever_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
