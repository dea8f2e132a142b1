/* Every allocation failed in turn while the server begins, reads requests, answers and streams. If this failed, a
 * machine short of memory would take the server down, leak, or leave a connection that nobody owns: one client may be
 * cut off, the others and the next must be served. */
#include "support/faultmalloc.h"
#include "support/server_fixture.h"

#define CLOSE "Host: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\n\r\n"

static const char *const asks[] = {"GET /a HTTP/1.1\r\n" CLOSE,
                                   "POST /b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "5\r\nhello\r\n0\r\n\r\nGET /c HTTP/1.1\r\n" CLOSE,
                                   "POST /d HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n" CLOSE "hello",
                                   "GET / HTTP/9.9\r\n" CLOSE, "GET /stream HTTP/1.1\r\n" CLOSE};

static void on_request(void *ctx, exchange *x, const server_request *q) {
    (void)ctx;
    if (strcmp(q->path, "/stream") != 0) {
        fixture_reply(x, 200, q->path);
    } else {
        exchange_start(x, 200, &(exchange_headers){.content_type = "text/plain"});
        for (int i = 0; i < 50; i++)
            exchange_write(x, "piece of the stream", 19);
        exchange_end(x);
    }
    exchange_release(x);
}

/* All in one thread: the client writes first, then the loop runs until all connections have ended, then it reads. */
static void stop_when_done(void *ctx) {
    server *s = ctx;
    if (server_get_counts(s).n_accepted >= ARRAY_LEN(asks) && server_get_counts(s).n_connections == 0)
        server_stop(s, 0);
    else if (!server_post_later(s, 1, stop_when_done, s))
        server_stop(s, 0);
}

static muga_status serve(size_t *n_answered, muga_error *err) {
    fixture f = {
        .o = {.limits = SERVER_LIMITS_DEFAULT, .handler = {.on_request = on_request, .refuse = fixture_refuse}}};
    int fd[ARRAY_LEN(asks)];
    *n_answered = 0;
    muga_status st = server_new(&f.o, &f.s, err);
    if (!st)
        st = server_listen(f.s, &(server_address){.where = "127.0.0.1:0"}, &f.port, err);
    if (st) {
        server_free(f.s);
        return st;
    }
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        fd[i] = client_open(&f);
        client_say(fd[i], asks[i]);
        shutdown(fd[i], SHUT_WR); /* or the server would wait for it after its last word */
    }
    stop_when_done(f.s);
    st = server_run(f.s, err);
    assert_int_equal(server_get_counts(f.s).n_connections, 0);
    assert_int_equal(server_get_counts(f.s).n_exchanges, 0);
    assert_int_equal(server_get_counts(f.s).unsent_bytes, 0);
    server_free(f.s);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        char bytes[16384];
        ssize_t n = recv(fd[i], bytes, sizeof bytes - 1, MSG_DONTWAIT);
        *n_answered += n > 12 && memcmp(bytes, "HTTP/1.1 ", 9) == 0;
        close(fd[i]);
    }
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    size_t n_answered, n = 1;
    bool reached = true;
    fixture f = {.o = {.handler = {.on_request = on_request}}};
    fixture_new(&f); /* skips where there is none */
    server_free(f.s);
    assert_ok(serve(&n_answered, &err), &err);
    assert_int_equal(n_answered, ARRAY_LEN(asks));
    for (; reached; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = serve(&n_answered, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (st && (st != MUGA_E_NOMEM || !reached || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
        if (fault_live() != live)
            fail_msg("allocation %zu: %ld blocks leaked", n, fault_live() - live);
        if (!st && !reached)
            assert_int_equal(n_answered, ARRAY_LEN(asks));
    }
    print_message("%zu allocations\n", n - 2);
    assert_in_range(n, 50, 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
