/* If this fails, a client that left holds on to what computes for it, one that is slow, endless or many keeps the
 * others waiting or fills memory, or the server doesn't end when it is told to. Waits in here end when the thing
 * happens; the short limits of time only make it happen soon.
 * ctest: threads */
#include "support/server_fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n"
#define POST(path) "POST " path " HTTP/1.1\r\nHost: localhost\r\n"

/* ---- system calls that are counted, and can fail ---- */

static atomic_int n_accept_calls, n_accepts_to_fail, n_sends;

int accept4(int fd, __SOCKADDR_ARG a, socklen_t *n, int flags) {
    atomic_fetch_add(&n_accept_calls, 1);
    if (atomic_load(&n_accepts_to_fail) > 0) {
        atomic_fetch_sub(&n_accepts_to_fail, 1);
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, a.__sockaddr__, n, flags);
}

ssize_t send(int fd, const void *p, size_t n, int flags) {
    atomic_fetch_add(&n_sends, 1);
    return syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

/* ---- clients that leave ---- */

static void reset(int fd) {
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
}

/* Nothing was written to it yet: a write isn't what finds out. */
static void a_client_that_leaves_is_seen_before_its_answer_begins(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    for (size_t i = 0; i < 3; i++) {
        int fd = client_open(&f);
        client_say(fd, GET("/hold") "\r\n");
        exchange *x = fixture_held(&f, i);
        assert_false(atomic_load(exchange_gone(x)));
        if (i == 0)
            close(fd);
        else if (i == 1)
            reset(fd);
        else
            shutdown(fd, SHUT_WR);
        fixture_wait(&f, f.n_gone == i + 1);
        assert_true(atomic_load(exchange_gone(x)));
        assert_false(exchange_start(x, 200, NULL));
        assert_false(exchange_write(x, "x", 1));
        assert_false(exchange_end(x));
        exchange_release(x);
        if (i == 2)
            close(fd);
    }
    assert_int_equal(server_get_counts(f.s).n_gone, 3);
    assert_int_equal(server_get_counts(f.s).n_exchanges, 0);
    fixture_stop(&f);
}

/* More than may wait, or than sockets hold: only who reads on sees the end. */
static void a_client_that_leaves_is_seen_behind_its_next_requests(void **state) {
    (void)state;
    static char many[4 << 20];
    fixture f;
    fixture_open(&f);
    memset(many, 'x', sizeof many);
    for (size_t i = 0; i < 2; i++) {
        int fd = client_open(&f);
        client_say(fd, GET("/hold") "\r\n");
        exchange *x = fixture_held(&f, i);
        client_send(fd, many, sizeof many);
        if (i == 0)
            close(fd);
        else
            reset(fd);
        fixture_wait(&f, f.n_gone == i + 1);
        exchange_release(x);
    }
    fixture_stop(&f);
}

static void what_was_ended_is_sent_to_a_client_that_closed_its_half(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int fd = client_begin(&f, GET("/a") "\r\n");
    shutdown(fd, SHUT_WR);
    char *got = client_rest(fd);
    assert_has(got, "GET /a [0] ");
    free(got);
    assert_int_equal(fixture_get(&f, &f.n_gone), 0);
    fixture_stop(&f);
}

static void an_exchange_outlives_its_server(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int fd = client_begin(&f, GET("/hold") "\r\n");
    exchange *x = fixture_held(&f, 0);
    fixture_stop(&f);
    assert_true(atomic_load(exchange_gone(x)));
    assert_string_equal(exchange_request(x)->path, "/hold");
    assert_false(fixture_reply(x, 200, "late"));
    exchange_release(x);
    close(fd);
}

/* ---- clients that don't read ---- */

static void an_answer_that_nobody_reads_is_given_up(void **state) {
    (void)state;
    static char piece[16 << 10];
    fixture f;
    fixture_init(&f);
    f.o.limits.output_bytes = 1 << 20;
    fixture_start(&f);
    int fd = client_open(&f), other = client_open(&f);
    client_say(fd, GET("/hold") "\r\n");
    exchange *x = fixture_held(&f, 0);
    assert_true(exchange_start(x, 200, NULL));
    size_t n = 0;
    while (exchange_write(x, piece, sizeof piece) && n < 4096)
        n++;
    /* its limit, and what the kernel keeps at both ends */
    assert_in_range(n * sizeof piece, 1 << 19, 32 << 20);
    fixture_wait(&f, f.n_gone == 1);
    exchange_release(x);
    str s = STR_INIT;
    client_say(other, GET("/a") "\r\n");
    client_until(other, &s, "GET /a [0] ");
    str_release(&s);
    while (server_get_counts(f.s).unsent_bytes > 0) /* counted just after it was sent */
        sched_yield();
    close(fd);
    close(other);
    fixture_stop(&f);
}

/* A reply may be longer than that limit: its handler made it, and it is sent as the client takes it. */
static void reply_at_length(uint32_t write_ms, bool is_read) {
    size_t n_big = 24 << 20;
    char *big = mem_alloc_array(1, n_big);
    fixture f;
    fixture_init(&f);
    f.o.limits.output_bytes = 1 << 20;
    f.o.limits.write_ms = write_ms;
    fixture_start(&f);
    assert_non_null(big);
    int fd = client_open(&f);
    str s = STR_INIT;
    client_say(fd, GET("/hold") "Connection: close\r\n\r\n");
    exchange *x = fixture_held(&f, 0);
    assert_true(exchange_reply(x, 200, NULL, big, n_big));
    while (is_read && client_more(fd, &s))
        ;
    while (!is_read && server_get_counts(f.s).n_connections > 0)
        sched_yield();
    if (is_read)
        assert_true(s.len > n_big);
    exchange_release(x);
    close(fd);
    str_release(&s);
    free(big);
    fixture_stop(&f);
}

static void a_long_reply_is_sent_as_it_is_taken(void **state) {
    (void)state;
    reply_at_length(60000, true);
}

static void a_client_that_takes_nothing_is_dropped(void **state) {
    (void)state;
    reply_at_length(100, false);
}

/* ---- requests that take too long, or are too long ---- */

static void sizes_have_limits(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    str s = STR_INIT;
    str_append_s(&s, GET("/") "X: ");
    for (int i = 0; i < 200000; i++)
        str_append_c(&s, 'a');
    str_append_s(&s, "\r\n\r\n");
    assert_answer(&f, s.data, "431", "{\"status\":431,\"why\":\"a header line is too long\"}");
    str_clear(&s);
    str_append_s(&s, "GET /");
    for (int i = 0; i < 10000; i++)
        str_append_c(&s, 'a');
    str_append_s(&s, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_answer(&f, s.data, "414", "connection: close");
    assert_answer(&f, POST("/small") "Content-Length: 5\r\n\r\nhello", "413", "too large");
    assert_answer(&f, POST("/small") "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "413",
                  "large");
    assert_answer(&f, POST("/small") "Content-Length: 4\r\nConnection: close\r\n\r\nhell", "200", "[4] hell");
    assert_answer(&f, POST("/") "Content-Length: 99999999999\r\n\r\n", "413", "too large");
    assert_int_equal(server_get_counts(f.s).n_refused, 5);
    str_release(&s);
    fixture_stop(&f);
}

/* What the server says to it; again where we came too late with all of it, which a loaded machine can make of us. */
static char *ask_in_time(const fixture *f, const char *text) {
    char *got = client_ask(f, text);
    for (int i = 0; i < 100 && !*got; i++) {
        free(got);
        got = client_ask(f, text);
    }
    return got;
}

static void times_have_limits(void **state) {
    (void)state;
    static const char *const halves[] = {"GET / HT", GET("/"), POST("/") "Content-Length: 5\r\n\r\nhel"};
    fixture f;
    fixture_init(&f);
    f.o.limits.header_ms = f.o.limits.body_ms = f.o.limits.idle_ms = 100;
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        char *got = ask_in_time(&f, halves[i]);
        assert_has(got, "HTTP/1.1 408 ");
        assert_has(got, "too long to come");
        free(got);
    }
    char *got = client_ask(&f, "");
    assert_string_equal(got, "");
    free(got);
    got = ask_in_time(&f, GET("/a") "\r\n");
    assert_has(got, "GET /a [0] ");
    assert_lacks(got, "connection: close");
    free(got);
    fixture_stop(&f);
}

/* ---- many clients ---- */

static void connections_past_the_limit_are_told(void **state) {
    (void)state;
    fixture f;
    for (int i = 0; i < 2; i++) { /* of all; of one address */
        fixture_init(&f);
        f.o.limits.n_connections = i == 0 ? 4 : 100;
        f.o.limits.n_connections_peer = i == 0 ? 100 : 4;
        fixture_start(&f);
        int fd[4];
        str s = STR_INIT;
        for (int k = 0; k < 4; k++) {
            fd[k] = client_open(&f);
            str_clear(&s);
            client_say(fd[k], GET("/a") "\r\n");
            client_until(fd[k], &s, "GET /a");
        }
        assert_answer(&f, "", "503", "retry-after: 5\r\n");
        assert_answer(&f, "", "503", "too many connections");
        close(fd[0]);
        while (server_get_counts(f.s).n_connections == 4)
            sched_yield();
        assert_answer(&f, GET("/b") "Connection: close\r\n\r\n", "200", "GET /b");
        for (int k = 1; k < 4; k++)
            close(fd[k]);
        str_release(&s);
        fixture_stop(&f);
    }
}

/* Without descriptors a listener stays readable: asking it again and again would take a core. */
static void running_out_of_descriptors_is_waited_out(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int first = client_open(&f);
    str s = STR_INIT;
    client_say(first, GET("/a") "\r\n");
    client_until(first, &s, "GET /a");
    int before = atomic_load(&n_accept_calls);
    atomic_store(&n_accepts_to_fail, 3);
    assert_answer(&f, GET("/b") "Connection: close\r\n\r\n", "200", "GET /b");
    assert_int_equal(atomic_load(&n_accepts_to_fail), 0);
    assert_in_range(atomic_load(&n_accept_calls) - before, 4, 12);
    str_clear(&s);
    client_say(first, GET("/c") "\r\n");
    client_until(first, &s, "GET /c");
    close(first);
    str_release(&s);
    fixture_stop(&f);
}

/* Models and journals need descriptors, too: connections are limited before they take the last. The server is a process
 * of its own, since a hard limit can't be taken back. */
static void serve_with_few_descriptors(int say_port) {
    fixture f;
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){60, 80});
    fixture_open(&f);
    struct rlimit now;
    getrlimit(RLIMIT_NOFILE, &now);
    uint16_t port = now.rlim_cur == 80 ? f.port : 0; /* raised as far as it goes */
    if (write(say_port, &port, sizeof port) != sizeof port)
        _exit(1);
    fixture_join(&f);
}

static void descriptors_are_left_for_the_rest(void **state) {
    (void)state;
    enum { N = 40 };
    fixture f = {.port = 0};
    int fd[N], ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        serve_with_few_descriptors(ends[1]);
    assert_true(child > 0);
    assert_int_equal(read(ends[0], &f.port, sizeof f.port), sizeof f.port);
    assert_true(f.port > 0);
    str s = STR_INIT;
    for (int i = 0; i < N; i++) {
        str_clear(&s);
        fd[i] = client_open(&f);
        client_say(fd[i], GET("/a") "\r\n");
        client_until(fd[i], &s, "GET /a");
    }
    assert_answer(&f, "", "503", "too many connections");
    for (int i = 0; i < N; i++)
        close(fd[i]);
    str_release(&s);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
}

/* Each drips a byte of its headers a round, and after each round a healthy client has its answer. */
static void clients_that_drip_leave_others_alone(void **state) {
    (void)state;
    enum { N = 300, ROUNDS = 40 };
    fixture f;
    int fd[N];
    fixture_init(&f);
    f.o.limits.header_ms = 3600000;
    fixture_start(&f);
    static const char head[] = GET("/") "X: 0123456789012345678901234567890123456789";
    for (int i = 0; i < N; i++)
        fd[i] = client_open(&f);
    int healthy = client_open(&f);
    str s = STR_INIT;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            client_send(fd[i], head + round, 1);
        str_clear(&s);
        client_say(healthy, GET("/a") "\r\n");
        client_until(healthy, &s, "GET /a [0] ");
    }
    assert_int_equal(server_get_counts(f.s).n_connections, N + 1);
    assert_int_equal(fixture_get(&f, &f.n_requests), ROUNDS);
    for (int i = 0; i < N; i++)
        close(fd[i]);
    close(healthy);
    str_release(&s);
    fixture_stop(&f);
}

/* ---- writes are gathered ---- */

static void write_pieces(void *ctx) {
    exchange *x = ctx;
    exchange_start(x, 200, NULL);
    for (int i = 0; i < 1000; i++)
        exchange_write(x, "piece", 5);
    exchange_end(x);
}

static void pieces_written_meanwhile_are_sent_at_once(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int fd = client_begin(&f, GET("/hold") "Connection: close\r\n\r\n");
    exchange *x = fixture_held(&f, 0);
    int before = atomic_load(&n_sends);
    assert_true(server_post(f.s, write_pieces, x)); /* the loop is busy in it until all is written */
    char *got = client_rest(fd);
    assert_has(got, "5\r\npiece\r\n0\r\n\r\n");
    assert_int_equal(atomic_load(&n_sends) - before, 1);
    free(got);
    exchange_release(x);
    fixture_stop(&f);
}

/* ---- posting and stopping ---- */

typedef struct note {
    fixture *f;
    size_t n;
} note;

static void take_note(void *ctx) {
    note *n = ctx;
    fixture_count(n->f, &n->n);
}

static void functions_are_run_in_the_loop(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    note n = {.f = &f};
    for (int i = 0; i < 100; i++) {
        assert_true(server_post(f.s, take_note, &n));
        assert_true(server_post_later(f.s, (uint32_t)i % 7, take_note, &n));
    }
    fixture_wait(&f, n.n == 200);
    assert_true(server_post_later(f.s, 3600000, take_note, &n));
    fixture_stop(&f);
    assert_int_equal(n.n, 200);
}

static void stopping_lets_answers_end(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int idle = client_open(&f), silent = client_open(&f), busy = client_open(&f);
    client_say(busy, GET("/hold") "\r\n");
    exchange *x = fixture_held(&f, 0);
    server_stop(f.s, 3600000);
    char *got = client_ask(&f, GET("/new") "\r\n"); /* a probe, say */
    assert_has(got, "\r\nconnection: close\r\n");
    assert_has(got, "GET /new");
    free(got);
    client_say(idle, GET("/old") "\r\n");
    got = client_rest(idle);
    assert_has(got, "\r\nconnection: close\r\n");
    assert_has(got, "GET /old");
    free(got);
    assert_true(exchange_start(x, 200, NULL));
    assert_true(exchange_write(x, "last", 4));
    assert_true(exchange_end(x));
    exchange_release(x);
    got = client_rest(busy);
    assert_has(got, "\r\nconnection: close\r\n");
    assert_has(got, "4\r\nlast\r\n0\r\n\r\n");
    free(got);
    got = client_rest(silent);
    assert_string_equal(got, "");
    free(got);
    fixture_join(&f);
    assert_int_equal(fixture_get(&f, &f.n_gone), 0);
    fixture_stop(&f);
}

/* With nobody to wait for it ends at once, whoever has a connection open. */
static void stopping_an_idle_server_ends_it(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int asked = client_open(&f);
    str got = STR_INIT;
    client_say(asked, GET("/a") "\r\n");
    client_until(asked, &got, "GET /a");
    str_release(&got);
    server_stop(f.s, 3600000);
    fixture_join(&f);
    free(client_rest(asked));
    fixture_stop(&f);
}

static void stopping_cuts_what_does_not_end(void **state) {
    (void)state;
    fixture f;
    fixture_open(&f);
    int fd = client_begin(&f, GET("/hold") "\r\n");
    exchange *x = fixture_held(&f, 0);
    server_stop(f.s, 50);
    fixture_join(&f);
    assert_int_equal(f.n_gone, 1);
    assert_true(atomic_load(exchange_gone(x)));
    exchange_release(x);
    close(fd);
    fixture_stop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(descriptors_are_left_for_the_rest),
                                       cmocka_unit_test(a_client_that_leaves_is_seen_before_its_answer_begins),
                                       cmocka_unit_test(a_client_that_leaves_is_seen_behind_its_next_requests),
                                       cmocka_unit_test(what_was_ended_is_sent_to_a_client_that_closed_its_half),
                                       cmocka_unit_test(an_exchange_outlives_its_server),
                                       cmocka_unit_test(an_answer_that_nobody_reads_is_given_up),
                                       cmocka_unit_test(a_long_reply_is_sent_as_it_is_taken),
                                       cmocka_unit_test(a_client_that_takes_nothing_is_dropped),
                                       cmocka_unit_test(sizes_have_limits),
                                       cmocka_unit_test(times_have_limits),
                                       cmocka_unit_test(connections_past_the_limit_are_told),
                                       cmocka_unit_test(running_out_of_descriptors_is_waited_out),
                                       cmocka_unit_test(clients_that_drip_leave_others_alone),
                                       cmocka_unit_test(pieces_written_meanwhile_are_sent_at_once),
                                       cmocka_unit_test(functions_are_run_in_the_loop),
                                       cmocka_unit_test(stopping_lets_answers_end),
                                       cmocka_unit_test(stopping_an_idle_server_ends_it),
                                       cmocka_unit_test(stopping_cuts_what_does_not_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
