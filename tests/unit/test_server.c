/* If this fails, the server mixes up answers, sends a body that isn't framed as it says, lets in a page of another
 * site, or an answer that was cut passes for whole. */
#include "support/server_fixture.h"

#include <sys/stat.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n"
#define CLOSE "Connection: close\r\n\r\n"

static void a_request_is_answered(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    char *got = client_ask(&f, GET("/a%20b?c=d") CLOSE);
    assert_has(got, "HTTP/1.1 200 OK\r\n");
    assert_has(got, "\r\ncontent-type: text/plain\r\n");
    assert_has(got, "\r\ncontent-length: 17\r\n");
    assert_has(got, "\r\nconnection: close\r\n");
    assert_has(got, "\r\ndate: ");
    assert_has(got, "\r\nx-content-type-options: nosniff\r\n");
    assert_has(got, "\r\n\r\nGET /a b?c=d [0] ");
    free(got);
    got = client_ask(&f, "HEAD /a HTTP/1.1\r\nHost: localhost\r\n" CLOSE);
    assert_has(got, "\r\ncontent-length: 12\r\n");
    assert_string_equal(strstr(got, "\r\n\r\n"), "\r\n\r\n");
    free(got);
    got = client_ask(&f, "GET / HTTP/1.0\r\n\r\n");
    assert_has(got, "\r\nconnection: close\r\n");
    free(got);
    assert_answer(&f, "POST / HTTP/1.1\r\nHost: h.localhost\r\nContent-Length: 5\r\n" CLOSE "hello", "200",
                  "[5] hello");
    assert_answer(&f,
                  "POST / HTTP/1.1\r\nHost: [::1]:1\r\nTransfer-Encoding: chunked\r\n" CLOSE
                  "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
                  "200", "[5] hello");
    fixture_stop(&f);
}

/* The first is answered last: the others wait, and come in order. */
static void requests_that_come_at_once_are_answered_in_order(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int fd = client_begin(&f, GET("/hold") "\r\n" GET("/two") "\r\nPOST /three HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                                              "Content-Length: 3\r\n\r\nabc" GET("/four") CLOSE);
    exchange *x = fixture_held(&f, 0);
    assert_int_equal(fixture_get(&f, &f.n_requests), 1);
    assert_true(fixture_reply(x, 200, "one"));
    assert_false(fixture_reply(x, 200, "again"));
    exchange_release(x);
    char *got = client_rest(fd), *at = got;
    static const char *const order[] = {"\r\n\r\none", "GET /two", "POST /three [3] abc", "GET /four"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        at = strstr(at, order[i]);
        assert_non_null(at);
    }
    free(got);
    fixture_stop(&f);
}

static void a_connection_serves_many_requests(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int fd = client_open(&f);
    str s = STR_INIT;
    for (int i = 0; i < 100; i++) {
        str_clear(&s);
        client_say(fd, i % 2 ? GET("/a") "\r\n" : "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        client_until(fd, &s, "GET /a [0] ");
        assert_lacks(s.data, "connection: close");
        assert_int_equal(strstr(s.data, "connection: keep-alive") != NULL, i % 2 == 0);
    }
    server_counts n = server_get_counts(f.s);
    assert_int_equal(n.n_accepted, 1);
    assert_int_equal(n.n_requests, 100);
    close(fd);
    str_release(&s);
    fixture_stop(&f);
}

/* ---- streams ---- */

static void a_stream_is_framed(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    static const server_header more[] = {{"x-one", "1\r\nset-cookie: a"}, {"bad name", "x"}};
    exchange_headers h = {"text/event-stream", more, 2};
    static const struct {
        const char *ask, *has, *body;
    } cases[] = {{GET("/hold") CLOSE, "\r\ntransfer-encoding: chunked\r\n", "3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"},
                 {"GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\nconnection: close\r\n", "onethree"},
                 {"HEAD /hold HTTP/1.1\r\nHost: localhost\r\n" CLOSE, "\r\nconnection: close\r\n", ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = client_open(&f);
        client_say(fd, cases[i].ask);
        exchange *x = fixture_held(&f, i);
        assert_true(exchange_start(x, 200, &h));
        assert_true(exchange_write(x, "one", 3));
        assert_true(exchange_write(x, "", 0));
        assert_true(exchange_write(x, "three", 5));
        assert_true(exchange_end(x));
        assert_false(exchange_write(x, "x", 1));
        exchange_release(x);
        char *got = client_rest(fd);
        assert_has(got, cases[i].has);
        assert_has(got, "\r\nx-one: 1  set-cookie: a\r\n");
        assert_lacks(got, "bad name");
        assert_string_equal(strstr(got, "\r\n\r\n") + 4, cases[i].body);
        free(got);
    }
    fixture_stop(&f);
}

/* Who has the whole answer finds the handler done with it: what was kept back comes with the release, all of it. */
static void an_end_that_is_kept_back_comes_with_the_release(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    for (size_t i = 0; i < 3; i++) {
        str s = STR_INIT;
        int fd = client_open(&f), other = client_open(&f);
        client_say(fd, GET("/hold") "\r\n");
        exchange *x = fixture_held(&f, i);
        if (i > 0) {
            assert_true(exchange_start(x, 200, NULL) && exchange_write(x, "some", 4));
            client_until(fd, &s, "some");
        }
        exchange_keep_back(x);
        if (i == 0)
            assert_true(fixture_reply(x, 200, "late"));
        else
            assert_true(exchange_write(x, "late", 4) && (i == 2 || exchange_end(x)));
        client_say(other, GET("/later") CLOSE); /* by its answer the loop has been round */
        free(client_rest(other));
        assert_false(client_has_more(fd));
        assert_lacks(str_get(&s), "late");
        exchange_release(x);
        client_until(fd, &s, "late");
        if (i == 1)
            client_until(fd, &s, "0\r\n\r\n");
        while (i == 2 && client_more(fd, &s))
            ;
        if (i == 2) /* without its end it is cut */
            assert_lacks(s.data, "0\r\n\r\n");
        close(fd);
        str_release(&s);
    }
    fixture_stop(&f);
}

/* Also when the handler forgets the end. */
static void an_answer_that_is_cut_does_not_look_whole(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    for (size_t i = 0; i < 2; i++) {
        int fd = client_open(&f);
        str s = STR_INIT;
        client_say(fd, GET("/hold") "\r\n");
        exchange *x = fixture_held(&f, i);
        assert_true(exchange_start(x, 200, NULL));
        assert_true(exchange_write(x, "some", 4));
        client_until(fd, &s, "some");
        if (i == 0)
            exchange_cut(x);
        exchange_release(x);
        while (client_more(fd, &s))
            ;
        assert_lacks(s.data, "0\r\n\r\n");
        close(fd);
        str_release(&s);
    }
    fixture_stop(&f);
}

typedef struct writer {
    pthread_t thread;
    exchange *x;
    int number;
} writer;
#define N_STREAMS 32
#define N_PIECES 200

static void *write_stream(void *ctx) {
    writer *w = ctx;
    char piece[32];
    bool good = exchange_start(w->x, 200, NULL);
    for (int i = 0; i < N_PIECES; i++)
        good = good && exchange_write(w->x, piece, (size_t)snprintf(piece, sizeof piece, "<%d:%d>", w->number, i));
    good = good && exchange_end(w->x);
    exchange_release(w->x);
    return good ? w : NULL;
}

static void threads_write_their_own_streams(void **state) {
    (void)state;
    fixture f;
    writer w[N_STREAMS];
    int fd[N_STREAMS];
    fixture_open(&f);
    for (int i = 0; i < N_STREAMS; i++) {
        fd[i] = client_open(&f);
        client_say(fd[i], "GET /hold HTTP/1.0\r\n\r\n");
        w[i] = (writer){.x = fixture_held(&f, (size_t)i), .number = i};
    }
    for (int i = 0; i < N_STREAMS; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_stream, &w[i]), 0);
    for (int i = 0; i < N_STREAMS; i++) {
        str want = STR_INIT;
        void *good;
        for (int k = 0; k < N_PIECES; k++)
            str_printf(&want, "<%d:%d>", i, k);
        char *got = client_rest(fd[i]);
        pthread_join(w[i].thread, &good);
        assert_non_null(good);
        assert_string_equal(strstr(got, "\r\n\r\n") + 4, want.data);
        free(got);
        str_release(&want);
    }
    fixture_stop(&f);
}

/* ---- Expect, early answers, bodies in pieces ---- */

static void a_body_is_asked_for_unless_it_is_not_wanted(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    static const char head[] =
        "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n" CLOSE;
    int fd = client_open(&f);
    str s = STR_INIT;
    client_say(fd, head);
    client_until(fd, &s, "HTTP/1.1 100 Continue\r\n\r\n");
    client_say(fd, "hello");
    client_until(fd, &s, "POST /a [5] hello");
    close(fd);
    str_release(&s);
    assert_int_equal(fixture_get(&f, &f.n_requests), 1);
    fixture_stop(&f);
    fixture_init(&f);
    f.refuses_headers = true;
    fixture_start(&f);
    assert_answer(&f, head, "401", "who are you?");
    assert_answer(&f, "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\nhel", "401", "close\r\n");
    assert_int_equal(fixture_get(&f, &f.n_requests), 0);
    /* without a body the connection goes on */
    fd = client_open(&f);
    client_say(fd, GET("/1") "\r\n" GET("/2") CLOSE);
    char *got = client_rest(fd);
    assert_has(strstr(got, "who are you?") + 1, "who are you?");
    free(got);
    fixture_stop(&f);
}

static void a_body_can_be_taken_in_pieces(void **state) {
    (void)state;
    fixture f;
    char *big = mem_alloc_array(1, 3 << 20), head[128];
    fixture_init(&f);
    f.o.limits.body_bytes = 1000;
    fixture_start(&f);
    for (int i = 0; i < 4; i++) { /* whole, past its own limit, stopped, left */
        int fd = client_open(&f);
        size_t n = i == 1 ? (1 << 20) + 1 : 1 << 20;
        pthread_mutex_lock(&f.lock);
        f.n_sunk = 0;
        f.stops_sink = i == 2;
        pthread_mutex_unlock(&f.lock);
        client_send(fd, head,
                    (size_t)snprintf(head, sizeof head,
                                     "POST /sink HTTP/1.1\r\nHost: localhost\r\n"
                                     "Content-Length: %zu\r\n" CLOSE,
                                     n));
        client_send(fd, big, i == 3 ? n / 2 : n);
        if (i == 3) {
            close(fd);
            fixture_wait(&f, f.n_lost == 2);
            continue;
        }
        char *got = client_rest(fd);
        assert_has(got, i == 0 ? "POST /sink [1048576] " : i == 1 ? " 413 " : "POST /sink [0] ");
        assert_int_equal(fixture_get(&f, &f.n_lost), i == 0 ? 0 : 1);
        free(got);
    }
    free(big);
    fixture_stop(&f);
}

/* ---- who may come in ---- */

static void names_and_pages_of_others_are_refused(void **state) {
    (void)state;
    static const char *const hosts[] = {"muga.example"}, *const origins[] = {"https://app.example", "app://*"};
    static const struct {
        const char *headers, *status, *allowed; /* NULL: no Access-Control-Allow-Origin */
    } cases[] = {{"Host: localhost", "200", NULL},
                 {"Host: LOCALHOST.:80", "200", NULL},
                 {"Host: 127.0.0.1:8080", "200", NULL},
                 {"Host: 192.168.1.5:8080", "200", NULL},
                 {"Host: [::1]", "200", NULL},
                 {"Host: Muga.Example:443", "200", NULL},
                 {"Host: evil.example", "403", NULL},
                 {"Host: muga.example.evil.example", "403", NULL},
                 {"Host: localhost.evil.example", "403", NULL},
                 {"Host: 127.0.0.1.evil.example", "403", NULL},
                 {"Host: xlocalhost", "403", NULL},
                 {"Host: localhost\r\nOrigin: http://localhost:3000", "200", "http://localhost:3000"},
                 {"Host: localhost\r\nOrigin: https://127.0.0.1", "200", "https://127.0.0.1"},
                 {"Host: localhost\r\nOrigin: https://app.example", "200", "https://app.example"},
                 {"Host: localhost\r\nOrigin: app://anything", "200", "app://anything"},
                 {"Host: muga.example:8\r\nOrigin: https://muga.example:8", "200", "https://muga.example:8"},
                 {"Host: localhost\r\nOrigin: http://app.example", "403", NULL},
                 {"Host: localhost\r\nOrigin: https://app.example.evil.example", "403", NULL},
                 {"Host: localhost\r\nOrigin: https://localhost.evil.example", "403", NULL},
                 {"Host: localhost\r\nOrigin: http://localhost@evil.example", "403", NULL},
                 {"Host: localhost\r\nOrigin: null", "403", NULL},
                 {"Host: localhost\r\nOrigin: ", "403", NULL},
                 {"Host: evil.example\r\nOrigin: http://evil.example", "403", NULL}};
    fixture f;
    fixture_init(&f);
    f.o.hosts = hosts;
    f.o.n_hosts = 1;
    f.o.origins = origins;
    f.o.n_origins = 2;
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char ask[256], want[128];
        snprintf(ask, sizeof ask, "GET / HTTP/1.1\r\n%s\r\n" CLOSE, cases[i].headers);
        char *got = client_ask(&f, ask);
        if (strncmp(got + 9, cases[i].status, 3) != 0)
            fail_msg("%s gave %.12s", cases[i].headers, got);
        snprintf(want, sizeof want, "\r\naccess-control-allow-origin: %s\r\n",
                 cases[i].allowed ? cases[i].allowed : "");
        if (cases[i].allowed)
            assert_has(got, want);
        else
            assert_lacks(got, "access-control-allow-origin");
        free(got);
    }
    fixture_stop(&f);
}

static void a_preflight_is_answered_and_lets_only_the_allowed_in(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
#define ASKS                                                                                                           \
    "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,authorization\r\n" CLOSE
    char *got = client_ask(&f, "OPTIONS /v1 HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://x.test\r\n" ASKS);
    assert_has(got, "HTTP/1.1 204 ");
    assert_has(got, "\r\naccess-control-allow-origin: http://localhost:1\r\n");
    assert_lacks(got, "x.test");
    assert_lacks(got, "access-control-allow-methods");
    assert_lacks(got, "content-length");
    free(got);
    got = client_ask(&f, "OPTIONS /v1 HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:2\r\n" ASKS);
    assert_has(got, "\r\naccess-control-allow-origin: http://localhost:2\r\n");
    assert_has(got, "\r\naccess-control-allow-methods: POST\r\n");
    assert_has(got, "\r\naccess-control-allow-headers: content-type,authorization\r\n");
    assert_has(got, "\r\nvary: origin\r\n");
    assert_lacks(got, "credentials");
    free(got);
    assert_answer(&f, "OPTIONS /v1 HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://localhost\r\n" ASKS, "403", "Host");
    assert_answer(&f, "OPTIONS /v1 HTTP/1.1\r\nHost: localhost\r\n" CLOSE, "200", "OPTIONS /v1");
    assert_int_equal(fixture_get(&f, &f.n_requests), 1);
    fixture_stop(&f);
}

/* ---- places ---- */

static int unix_open(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof at.sun_path);
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

static void a_unix_socket_is_ours_alone(void **state) {
    (void)state;
    fixture f, other;
    muga_error err;
    char where[256];
    const char *path = scratch_path("s.sock");
    struct stat st;
    snprintf(where, sizeof where, "unix:%s", path);
    server_address a = {.where = where};
    fixture_open(&f);
    assert_ok(server_listen(f.s, &a, NULL, &err), &err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fixture_init(&other);
    fixture_new(&other);
    assert_status(server_listen(other.s, &a, NULL, &err), MUGA_E_ENV, &err, "another server is there");
    int fd = unix_open(path);
    client_say(fd, "GET / HTTP/1.1\r\nHost: any.example\r\n" CLOSE);
    char *got = client_rest(fd);
    assert_has(got, "HTTP/1.1 200 ");
    free(got);
    fixture_stop(&f);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_ok(server_listen(other.s, &a, NULL, &err), &err);
    fixture_stop(&other);
    /* what a dead server left is replaced */
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    fixture_init(&other);
    fixture_new(&other);
    assert_ok(server_listen(other.s, &a, NULL, &err), &err);
    fixture_stop(&other);
    FILE *plain = fopen(path, "w");
    assert_non_null(plain);
    fclose(plain);
    fixture_init(&other);
    fixture_new(&other);
    assert_status(server_listen(other.s, &a, NULL, &err), MUGA_E_ENV, &err, "no socket");
    fixture_stop(&other);
    remove(path);
}

static void places_are_judged(void **state) {
    (void)state;
    static const char *const local[] = {"127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/a"};
    static const char *const wide[] = {"0.0.0.0:1", "[::]:1", "192.0.2.1:1"};
    static const char *const none[] = {
        "",      "localhost",    "1", ":1", "::1:1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "[::1]",
        "unix:", "unix:relative"};
    muga_error err;
    bool is_local;
    for (size_t i = 0; i < ARRAY_LEN(local); i++) {
        assert_ok(server_is_local(local[i], &is_local, &err), &err);
        assert_true(is_local);
    }
    for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
        assert_ok(server_is_local(wide[i], &is_local, &err), &err);
        assert_false(is_local);
    }
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_status(server_is_local(none[i], &is_local, &err), MUGA_E_USAGE, &err, "unix:");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_request_is_answered),
                                       cmocka_unit_test(requests_that_come_at_once_are_answered_in_order),
                                       cmocka_unit_test(a_connection_serves_many_requests),
                                       cmocka_unit_test(a_stream_is_framed),
                                       cmocka_unit_test(an_answer_that_is_cut_does_not_look_whole),
                                       cmocka_unit_test(an_end_that_is_kept_back_comes_with_the_release),
                                       cmocka_unit_test(threads_write_their_own_streams),
                                       cmocka_unit_test(a_body_is_asked_for_unless_it_is_not_wanted),
                                       cmocka_unit_test(a_body_can_be_taken_in_pieces),
                                       cmocka_unit_test(names_and_pages_of_others_are_refused),
                                       cmocka_unit_test(a_preflight_is_answered_and_lets_only_the_allowed_in),
                                       cmocka_unit_test(a_unix_socket_is_ours_alone),
                                       cmocka_unit_test(places_are_judged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
