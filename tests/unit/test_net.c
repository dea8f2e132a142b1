/* If this fails, an address with a password in it is used, a host that isn't this machine passes for it, or a stream of
 * events is read differently when the network cuts it elsewhere. */
#include "support/support.h"

#include "base/mem.h"
#include "net/sse.h"
#include "net/url.h"

#include <stdio.h>
#include <string.h>

/* ---- addresses ---- */

static void check_url(const char *text, bool tls, bool loopback, const char *host, unsigned port, const char *path) {
    muga_error err = {0};
    url u;
    assert_ok(url_parse(text, &u, &err), &err);
    assert_int_equal(u.tls, tls);
    assert_int_equal(u.loopback, loopback);
    assert_true(span_equal_string(u.host, host));
    assert_true(span_equal_string(u.path, path));
    assert_int_equal(u.port, port);
}

static void addresses_are_taken_apart(void **state) {
    (void)state;
    check_url("https://api.example.com/v1", true, false, "api.example.com", 443, "/v1");
    check_url("http://127.0.0.1:8080", false, true, "127.0.0.1", 8080, "");
    check_url("http://localhost/v1/", false, true, "localhost", 80, "/v1/");
    check_url("http://[::1]:11434/v1", false, true, "::1", 11434, "/v1");
    check_url("https://[2001:db8::2]", true, false, "2001:db8::2", 443, "");
}

static void only_this_machine_is_this_machine(void **state) {
    (void)state;
    check_url("http://127.0.0.1.example.com", false, false, "127.0.0.1.example.com", 80, "");
    check_url("http://127.1", false, false, "127.1", 80, "");
    check_url("http://127.0.0.1.", false, false, "127.0.0.1.", 80, "");
    check_url("http://1270.0.0.1", false, false, "1270.0.0.1", 80, "");
    check_url("http://127.0.0.256", false, false, "127.0.0.256", 80, "");
    check_url("http://localhost.example.com", false, false, "localhost.example.com", 80, "");
    check_url("http://127.255.0.3", false, true, "127.255.0.3", 80, "");
}

static void what_is_no_plain_address_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "api.example.com",
                                      "ftp://a",
                                      "http://",
                                      "http:///v1",
                                      "http://a:0",
                                      "http://a:65536",
                                      "http://a:8o/",
                                      "http://a:999999/",
                                      "http://[::1",
                                      "http://[::1]x",
                                      "http://a b/",
                                      "http://a/\n",
                                      "http://a/v1?key=x",
                                      "http://a/#x",
                                      "http://a\\b/",
                                      "http://\xC3\xA4.example",
                                      "HTTP://a"};
    muga_error err = {0};
    url u;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_status(url_parse(bad[i], &u, &err), MUGA_E_USAGE, &err, "address");
    char longest[URL_MAX_BYTES + 16] = "http://a/";
    memset(longest + 9, 'x', URL_MAX_BYTES);
    assert_status(url_parse(longest, &u, &err), MUGA_E_USAGE, &err, "more than");
}

static void a_password_in_an_address_is_refused_and_not_repeated(void **state) {
    (void)state;
    muga_error err = {0};
    url u;
    assert_status(url_parse("https://me:s3cret@host/v1", &u, &err), MUGA_E_USAGE, &err, "'@'");
    assert_null(strstr(err.message, "s3cret"));
}

/* ---- events ---- */

static muga_status note(void *ctx, const char *p, size_t n, muga_error *err) {
    (void)err;
    assert_int_equal(p[n], 0);
    str_append_c(ctx, '[');
    str_append(ctx, p, n);
    str_append_c(ctx, ']');
    return MUGA_OK;
}

static void check_events(const char *bytes, size_t n, const char *expected) {
    for (size_t step = 1; step <= n; step++) {
        str got = STR_INIT;
        muga_error err = {0};
        sse s;
        sse_init(&s, 1024, note, &got);
        for (size_t i = 0; i < n; i += step)
            assert_ok(sse_feed(&s, bytes + i, MIN(step, n - i), &err), &err);
        assert_string_equal(str_get(&got), expected);
        sse_release(&s);
        str_release(&got);
    }
}
#define CHECK_EVENTS(bytes, expected) check_events(bytes, sizeof(bytes) - 1, expected)

static void events_are_the_same_however_they_were_cut(void **state) {
    (void)state;
    CHECK_EVENTS("data: a\n\ndata:b\n\n", "[a][b]");
    CHECK_EVENTS("data: a\r\n\r\ndata: b\r\rdata: c\n\r\n", "[a][b][c]");
    CHECK_EVENTS("data: a\ndata: b\n\n", "[a\nb]");
    CHECK_EVENTS(": comment\nevent: x\nid: 1\nretry: 5\ndata:  two\n\n", "[ two]");
    CHECK_EVENTS("\xEF\xBB\xBF"
                 "data: a\n\n",
                 "[a]");
    CHECK_EVENTS("\xEF\xBB"
                 "data: a\n\ndata: b\n\n",
                 "[b]");
    CHECK_EVENTS("data\n\ndata:\n\n", "[][]");
    CHECK_EVENTS("datax: a\n\nevent: y\n\n\n", "");
    CHECK_EVENTS("data: never ended\n", "");
}

static void a_long_line_and_a_long_event_are_refused(void **state) {
    (void)state;
    muga_error err = {0};
    str got = STR_INIT;
    char line[64];
    memset(line, 'x', sizeof line);
    sse s;
    sse_init(&s, 100, note, &got);
    assert_ok(sse_feed(&s, line, sizeof line, &err), &err);
    assert_status(sse_feed(&s, line, sizeof line, &err), MUGA_E_LIMIT, &err, "line of the stream");
    sse_release(&s);
    sse_init(&s, 100, note, &got);
    muga_status st = MUGA_OK;
    for (int i = 0; i < 100 && !st; i++)
        st = sse_feed(&s, "data: xxxxxxxx\n", 15, &err);
    assert_status(st, MUGA_E_LIMIT, &err, "event of the stream");
    assert_string_equal(str_get(&got), "");
    sse_release(&s);
    str_release(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(addresses_are_taken_apart),
                                       cmocka_unit_test(only_this_machine_is_this_machine),
                                       cmocka_unit_test(what_is_no_plain_address_is_refused),
                                       cmocka_unit_test(a_password_in_an_address_is_refused_and_not_repeated),
                                       cmocka_unit_test(events_are_the_same_however_they_were_cut),
                                       cmocka_unit_test(a_long_line_and_a_long_event_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
