/* If this fails, bytes that two programs read differently are taken for a request (so one may be smuggled past a
 * proxy), a request that RFC 9112 allows is refused, or what is read depends on how the network cut it. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "net/request.h"

#include <stdio.h>
#include <string.h>

static const request_limits limits = {.line_bytes = 256, .n_headers = 8, .target_bytes = 128, .head_bytes = 1024};
#define BODY_MAX 64

/* What bytes give, request after request: "POST /a?q [5] hello; 400". */
typedef struct reading {
    request r;
    str out, body;
    bool is_over;
} reading;

static void begin(reading *g) {
    request_init(&g->r, &limits, BODY_MAX);
    str_clear(&g->body);
}

static void describe(reading *g, request_step step) {
    const request *r = &g->r;
    if (step == REQUEST_HEAD) {
        str_printf(&g->out, "%s %s%s%s%s%s%s", r->head.method, r->head.path, *r->head.query ? "?" : "", r->head.query,
                   r->is_old ? " 1.0" : "", r->keep_alive ? "" : " close", r->expects_continue ? " continue" : "");
    } else if (step == REQUEST_BAD) {
        assert_non_null(r->why);
        assert_true(strlen(r->why) > 8);
        str_printf(&g->out, "%s%d", g->out.len > 0 && g->out.data[g->out.len - 1] != ' ' ? " " : "", r->status);
        g->is_over = true;
    } else {
        if (g->body.len > 0)
            str_printf(&g->out, " [%.*s]", (int)g->body.len, g->body.data);
        str_append_s(&g->out, "; ");
    }
}

static void give(reading *g, const char *p, size_t n) {
    while (!g->is_over) {
        size_t used;
        span piece;
        request_step step = request_feed(&g->r, p, n, &used, &piece);
        assert_true(used <= n);
        p += used;
        n -= used;
        if (step == REQUEST_MORE) {
            assert_int_equal(n, 0);
            return;
        }
        if (step == REQUEST_BODY)
            str_append(&g->body, piece.p, piece.n);
        else
            describe(g, step);
        if (step == REQUEST_DONE) {
            request_release(&g->r);
            begin(g);
        }
    }
}

/* Exactly the bytes given, so that a sanitizer sees one too many read. */
static void give_copy(reading *g, const char *p, size_t n) {
    char *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    give(g, copy, n);
    free(copy);
}

typedef enum { WHOLE, BYTES, RANDOM } cutting;

static char *read_all(const char *p, size_t n, cutting how, rng *random) {
    reading g = {.out = STR_INIT};
    begin(&g);
    for (size_t at = 0; at < n;) {
        size_t k = how == WHOLE ? n : how == BYTES ? 1 : (size_t)rng_below(random, 9);
        k = MIN(k, n - at);
        give_copy(&g, p + at, k);
        at += k;
    }
    request_release(&g.r);
    str_release(&g.body);
    char *text = str_take(&g.out);
    assert_non_null(text);
    return text;
}

typedef struct expectation {
    const char *bytes;
    size_t n;
    const char *result;
} expectation;
#define CASE(bytes, result)                                                                                            \
    { bytes, sizeof(bytes) - 1, result }

static void check(const expectation *e, size_t n) {
    rng random = {9112};

    for (size_t i = 0; i < n; i++) {
        for (int round = 0; round < 12; round++) {
            char *got = read_all(e[i].bytes, e[i].n, round < 2 ? (cutting)round : RANDOM, &random);
            if (strcmp(got, e[i].result) != 0)
                fail_msg("%s, cut in way %d, gave \"%s\" and not \"%s\"", e[i].bytes, round, got, e[i].result);
            free(got);
        }
    }
}

#define GET "GET / HTTP/1.1\r\n"
#define POST "POST /a HTTP/1.1\r\nHost: h\r\n"
#define HOST "Host: h\r\n"

static void requests_are_read(void **state) {
    (void)state;
    static const expectation cases[] = {
        CASE("GET /v1/models?a=b&c HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "GET /v1/models?a=b&c; "),
        CASE("\r\nGET / HTTP/1.1\r\nHost:h\r\n\r\n", "GET /; "),
        CASE("DELETE / HTTP/1.1\r\nHost: [::1]:80\r\nA:\r\nB:  x \t\r\n\r\n", "DELETE /; "),
        CASE(POST "Content-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nhOST: h\r\n\r\n", "POST /a [hello]; GET /b; "),
        CASE(POST "Content-Length: 0\r\n\r\n", "POST /a; "),
        CASE(POST "Content-Length: 00005\r\n\r\nhello", "POST /a [hello]; "),
        CASE(POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n00\r\n\r\n", "POST /a [hello!]; "),
        CASE(POST "Transfer-Encoding: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n" GET HOST "\r\n",
             "POST /a [0123456789]; GET /; "),
        CASE(POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", "POST /a continue [x]; "),
        CASE(POST "Expect: 100-continue\r\n\r\n", "POST /a; "),
        CASE(GET HOST "Connection: foo, Close\r\n\r\n", "GET / close; "),
        CASE("GET / HTTP/1.0\r\n\r\n", "GET / 1.0 close; "),
        CASE("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / 1.0; "),
        CASE("GET http://h/a?b HTTP/1.1\r\nHost: H\r\n\r\n", "GET /a?b; "),
        CASE("GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?b; "),
        CASE("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET /; "),
        CASE("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS *; "),
        CASE("GET /%61%2Fb%C3%A4/...x HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/b\xC3\xA4/...x; "),
        CASE(GET HOST "X: caf\xE9\r\n\r\n", "GET /; ")};
    check(cases, ARRAY_LEN(cases));
}

static void what_could_be_smuggled_is_refused(void **state) {
    (void)state;
    static const expectation cases[] = {
        /* two lengths, or one beside chunks */
        CASE(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400"),
        CASE(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400"),
        CASE(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
        CASE(POST "Content-Length: 5, 5\r\n\r\nhello", "400"),
        /* no number */
        CASE(POST "Content-Length: +5\r\n\r\nhello", "400"), CASE(POST "Content-Length: -5\r\n\r\nhello", "400"),
        CASE(POST "Content-Length: 0x5\r\n\r\nhello", "400"), CASE(POST "Content-Length: 5 5\r\n\r\nhello", "400"),
        CASE(POST "Content-Length:\r\n\r\n", "400"), CASE(POST "Content-Length: abc\r\n\r\n", "400"),
        CASE(POST "Content-Length: 5.0\r\n\r\nhello", "400"), CASE(POST "Content-Length: \xC2\xB5\r\n\r\n", "400"),
        CASE(POST "Content-Length: 99999999999999999999\r\n\r\n", "413"),
        CASE(POST "Content-Length: 18446744073709551615\r\n\r\n", "413"),
        CASE(POST "Content-Length: 18446744073709551621\r\n\r\n", "413"),
        /* codings */
        CASE(POST "Transfer-Encoding: xchunked\r\n\r\n", "501"),
        CASE(POST "Transfer-Encoding: gzip, chunked\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding: chunked, identity\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding: chunked, chunked\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding: identity\r\n\r\n", "501"),
        CASE(POST "Transfer-Encoding: \"chunked\"\r\n\r\n", "501"),
        CASE(POST "Transfer-Encoding: chunked;q=1\r\n\r\n", "501"),
        CASE(POST "Transfer-Encoding: \x0B"
                  "chunked\r\n\r\n",
             "400"),
        CASE(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", "400"),
        CASE(POST " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        CASE(POST "X: y\r\n Transfer-Encoding: chunked\r\n\r\n", "400"), CASE(POST "X: y\r\n\tfolded\r\n\r\n", "400"),
        CASE(POST "Transfer-Encoding:\r\n chunked\r\n\r\n", "400"), CASE(POST "Transfer-Encoding:\r\n\r\n", "400"),
        CASE("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        /* line ends */
        CASE("GET / HTTP/1.1\nHost: h\n\n", "400"), CASE("GET / HTTP/1.1\r\nHost: h\n\r\n", "400"),
        CASE("GET / HTTP/1.1\r\nHost: h\r\n\n", "400"), CASE("GET / HTTP/1.1\r\nHost: h\r\nX: a\rB: c\r\n\r\n", "400"),
        CASE("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", "400"), CASE("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", "400"),
        CASE("GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n", "400"),
        CASE("GET / HTTP/1.1\r\nHost: h\r\nX: a\x7F\r\n\r\n", "400"), CASE("\r\n\r\nGET / HTTP/1.1\r\n", "400"),
        CASE("\n", "400"), CASE("\rG", "400"),
        /* names */
        CASE(GET HOST "no colon\r\n\r\n", "400"), CASE(GET HOST ": x\r\n\r\n", "400"),
        CASE(GET HOST "a b: x\r\n\r\n", "400"), CASE(GET HOST "a(b): x\r\n\r\n", "400"),
        CASE(GET HOST "caf\xC3\xA9: x\r\n\r\n", "400")};
    check(cases, ARRAY_LEN(cases));
}

static void chunks_that_are_not_exact_are_refused(void **state) {
    (void)state;
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
    static const expectation cases[] = {
        CASE(CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", "POST /a 400"),
        CASE(CHUNKED "-5\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "+5\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED " 5\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "5 \r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "5 ;a\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED ";a\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "5_0\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "g\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "5\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "5\rhello\r\n", "POST /a 400"),
        CASE(CHUNKED "5\r\nhello!\r\n0\r\n\r\n", "POST /a 400"),
        CASE(CHUNKED "5\r\nhello\n0\r\n\r\n", "POST /a 400"),
        CASE(CHUNKED "5\r\nhello0\r\n\r\n", "POST /a 400"),
        CASE(CHUNKED "5;a\nb\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "5;a=\"\x01\"\r\nhello\r\n", "POST /a 400"),
        CASE(CHUNKED "ffffffffffffffff\r\n", "POST /a 413"),
        CASE(CHUNKED "10000000000000005\r\n", "POST /a 413"),
        CASE(CHUNKED "41\r\n", "POST /a 413"),
        CASE(CHUNKED "3f\r\n", "POST /a"),
        CASE(CHUNKED "0\r\nX y: z\r\n\r\n", "POST /a 400"),
        CASE(CHUNKED "0\r\nX: z\n\r\n", "POST /a 400"),
        CASE(CHUNKED "0\r\n X: z\r\n\r\n", "POST /a 400"),
        CASE(CHUNKED "0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\n", "POST /a; ")};
    check(cases, ARRAY_LEN(cases));
}

static void first_lines_that_are_not_exact_are_refused(void **state) {
    (void)state;
    static const expectation cases[] = {CASE("GET /\r\n", "400"), /* HTTP/0.9 */
                                        CASE("GET\r\n", "400"),
                                        CASE("GET / HTTP/2.0\r\n", "505"),
                                        CASE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
                                        CASE("GET / HTTP/1.2\r\n", "505"),
                                        CASE("GET / HTTP/0.9\r\n", "505"),
                                        CASE("GET / http/1.1\r\n", "400"),
                                        CASE("GET / HTTP/1.10\r\n", "400"),
                                        CASE("GET / HTTP/1\r\n", "400"),
                                        CASE("GET / HTTP/1.1 \r\n", "400"),
                                        CASE("GET  / HTTP/1.1\r\n", "400"),
                                        CASE("GET /  HTTP/1.1\r\n", "400"),
                                        CASE("GET\t/ HTTP/1.1\r\n", "400"),
                                        CASE("GET / a HTTP/1.1\r\n", "400"),
                                        CASE(" GET / HTTP/1.1\r\n", "400"),
                                        CASE("G@T / HTTP/1.1\r\n", "400"),
                                        CASE("\x16\x03\x01garbage\r\n\r\n", "400"),
                                        CASE("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", "501"),
                                        CASE("ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n", "501"),
                                        CASE("GET h/a HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET * HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET ftp://h/a HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET http:///a HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET http://u@h/a HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET http://other/a HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a%2 HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a%zz HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a%00b HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a%0d%0ab HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a%ff HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a\xC3\xA4 HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a#b HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a\\b HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /../etc HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a/%2e%2E HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a/..%2fb HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /./b HTTP/1.1\r\n" HOST "\r\n", "400"),
                                        CASE("GET /a\0b HTTP/1.1\r\n" HOST "\r\n", "400")};
    check(cases, ARRAY_LEN(cases));
}

static void heads_without_sense_are_refused(void **state) {
    (void)state;
    static const expectation cases[] = {CASE(GET "\r\n", "400"),
                                        CASE(GET HOST HOST "\r\n", "400"),
                                        CASE(GET "Host:\r\n\r\n", "400"),
                                        CASE(GET "Host: a b\r\n\r\n", "400"),
                                        CASE(GET "Host: a/b\r\n\r\n", "400"),
                                        CASE(GET "Host: u@h\r\n\r\n", "400"),
                                        CASE(GET "Host: h:8o\r\n\r\n", "400"),
                                        CASE(GET "Host: h:999999\r\n\r\n", "400"),
                                        CASE(GET "Host: [::1\r\n\r\n", "400"),
                                        CASE(GET "Host: h, g\r\n\r\n", "400"),
                                        CASE(GET HOST "Expect: 200-ok\r\n\r\n", "417"),
                                        CASE(GET HOST "Origin: a\r\nOrigin: b\r\n\r\n", "400"),
                                        CASE(GET HOST "Authorization: a\r\nAuthorization: b\r\n\r\n", "400"),
                                        CASE(POST "Content-Length: 65\r\n\r\n", "POST /a 413")};
    check(cases, ARRAY_LEN(cases));
}

/* ---- limits ---- */

static void repeat(str *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        str_append_s(out, text);
}

static void check_built(str *built, const char *result) {
    expectation e = {built->data, built->len, result};
    assert_false(built->failed);
    check(&e, 1);
    str_release(built);
}

static void limits_are_kept_to_the_byte(void **state) {
    (void)state;
    str s = STR_INIT;
    for (size_t over = 0; over < 2; over++) {
        str_append_s(&s, "GET /");
        repeat(&s, "a", limits.target_bytes - 1 + over);
        str_append_s(&s, " HTTP/1.1\r\n");
        check_built(&s, over ? "414" : "");
        str_append_s(&s, GET "X:");
        repeat(&s, "a", limits.line_bytes - 2 + over);
        str_append_s(&s, "\r\n");
        check_built(&s, over ? "431" : "");
        str_append_s(&s, GET);
        repeat(&s, "X: y\r\n", limits.n_headers + over);
        check_built(&s, over ? "431" : "");
    }
    str_append_s(&s, GET "X: ");
    repeat(&s, "never ends", 4096);
    check_built(&s, "431");
    repeat(&s, "GETGETGET", 4096);
    check_built(&s, "414");
    str_append_s(&s, GET);
    for (int i = 0; i < 8; i++) {
        str_append_s(&s, "X:");
        repeat(&s, "a", 200);
        str_append_s(&s, "\r\n");
    }
    check_built(&s, "431");
    str_append_s(&s, CHUNKED);
    repeat(&s, "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n", 60);
    check_built(&s, "POST /a 400");
    str_append_s(&s, CHUNKED "0\r\n");
    repeat(&s, "X: y\r\n", limits.n_headers + 1);
    check_built(&s, "POST /a 431");
    str_append_s(&s, CHUNKED "5;");
    repeat(&s, "a", 2000);
    check_built(&s, "POST /a 400");
    str_append_s(&s, CHUNKED);
    repeat(&s, "1\r\nx\r\n", BODY_MAX + 1);
    check_built(&s, "POST /a 413");
}

static void a_lower_limit_holds_for_the_body(void **state) {
    (void)state;
    request r;
    size_t used;
    span piece;
    static const char bytes[] = POST "Content-Length: 5\r\n\r\nhello";
    request_init(&r, &limits, BODY_MAX);
    assert_int_equal(request_feed(&r, bytes, sizeof bytes - 1, &used, &piece), REQUEST_HEAD);
    assert_true(request_has_body(&r));
    request_limit_body(&r, 4);
    assert_int_equal(request_feed(&r, bytes + used, sizeof bytes - 1 - used, &used, &piece), REQUEST_BAD);
    assert_int_equal(r.status, 413);
    assert_int_equal(request_feed(&r, "x", 1, &used, &piece), REQUEST_BAD);
    request_release(&r);
}

static void headers_are_cut_out(void **state) {
    (void)state;
    request r;
    size_t used;
    span piece;
    static const char bytes[] = GET "Host: h:80\r\nX-One:  a b\t \r\nx-TWO:\r\n\r\n";
    request_init(&r, &limits, BODY_MAX);
    assert_int_equal(request_feed(&r, bytes, sizeof bytes - 1, &used, &piece), REQUEST_HEAD);
    assert_string_equal(r.host, "h:80");
    assert_int_equal(r.head.n_headers, 3);
    assert_string_equal(r.head.headers[1].name, "x-one");
    assert_string_equal(r.head.headers[1].value, "a b");
    assert_string_equal(r.head.headers[2].name, "x-two");
    assert_string_equal(r.head.headers[2].value, "");
    request_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(requests_are_read),
                                       cmocka_unit_test(what_could_be_smuggled_is_refused),
                                       cmocka_unit_test(chunks_that_are_not_exact_are_refused),
                                       cmocka_unit_test(first_lines_that_are_not_exact_are_refused),
                                       cmocka_unit_test(heads_without_sense_are_refused),
                                       cmocka_unit_test(limits_are_kept_to_the_byte),
                                       cmocka_unit_test(a_lower_limit_holds_for_the_body),
                                       cmocka_unit_test(headers_are_cut_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
