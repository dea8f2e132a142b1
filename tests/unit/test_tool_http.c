/* The tool that asks servers. If this failed, a model could reach a host that nobody allowed (by a value, a redirect or
 * a name that stands for a neighbour's address), put headers of its own into a request, learn the key, or be given half
 * an answer as a whole one. The servers here are on paper, or a bounded one on this machine's loopback. */
#include "support/support.h"

#include "base/mem.h"
#include "net/http.h"
#include "support/tool_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define X "x: {type: string}, n: {type: integer}, l: {type: array, items: {type: integer}}"
#define GET(url) "    effect: read\n    http: {url: '" url "', allow: [a.example]}\n"

/* ---- a server on paper ---- */

typedef struct paper {
    http_client client;
    http_reply reply;
    const char *body;
    muga_status st;
    str asked;       /* METHOD URL\nheader\n...body; the last one */
    char first[160]; /* and the first */
    int n_asked;
    bool public_only;
} paper;

static muga_status exchange(void *self, const http_request *q, http_reply *out, muga_error *err) {
    paper *p = self;
    *out = p->reply;
    str_clear(&p->asked);
    str_printf(&p->asked, "%s %s\n", q->method, q->url);
    for (size_t i = 0; i < q->n_headers; i++) {
        str_printf(&p->asked, "%s\n", q->headers[i]);
    }
    str_append(&p->asked, q->body, q->n_body);
    if (p->n_asked++ == 0) {
        snprintf(p->first, sizeof p->first, "%s", str_get(&p->asked));
    }
    p->public_only = q->public_only;
    if (p->st == MUGA_OK && p->body) {
        out->body_bytes = strlen(p->body);
        assert_true(q->on_body(q->ctx, out, p->body, strlen(p->body)));
    }
    return p->st == MUGA_OK ? MUGA_OK : error_set(err, p->st, "the paper says no");
}

static void open_paper(agent_fixture *f, paper *p, const char *name, const char *keys) {
    *p = (paper){.client = {exchange, NULL},
                 .reply = {.end = HTTP_WHOLE, .status = 200, .content_type = "application/json"},
                 .body = "{\"a\":1}"};
    p->client.self = p;
    fixture_prepare(f, name, NULL);
    fixture_write(f, "key", "s3cret-key\n");
    f->env.http = &p->client;
    tool_begin(f, X, keys);
}

static void close_paper(agent_fixture *f, paper *p) {
    fixture_close(f);
    str_release(&p->asked);
}

static void values_are_written_as_their_place_demands(void **state) {
    (void)state;
    agent_fixture f;
    paper p;
    open_paper(&f, &p, "values",
               "    effect: write\n    http: {url: 'https://a.example:8443/v1/:x/orders?q=:x&n=:n&c=:session_customer',"
               " allow: [A.example], method: PUT, headers: {X-Trace: 'id=:n'}, body: {n: ':n', both: 'no. :n', list:"
               " [':l', 1, null], left: ':x'}}\n");
    tool_expect_result(&f, "{'x': 'a b&c=d/\\u00e9?#%', 'n': 7, 'l': [1, 2]}", "{'status': 200, 'body': {'a': 1}}");
    assert_string_equal(str_get(&p.asked),
                        "PUT https://a.example:8443/v1/a%20b%26c%3Dd%2F%C3%A9%3F%23%25/orders"
                        "?q=a%20b%26c%3Dd%2F%C3%A9%3F%23%25&n=7&c=1\nX-Trace: id=7\nContent-Type: application/json\n"
                        "{\"n\":7,\"both\":\"no. 7\",\"list\":[[1,2],1,null],\"left\":\"a b&c=d/\xC3\xA9?#%\"}");
    assert_true(p.public_only);
    close_paper(&f, &p);
}

static void no_value_leads_elsewhere(void **state) {
    (void)state;
    static const char *const bad[] = {"..", ".", "", "a/../b", "../b", "b/..", "a\\\\..\\\\b", "a\\u0000"};
    agent_fixture f;
    paper p;
    open_paper(&f, &p, "paths", GET("https://a.example/v1/:x"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[64];
        snprintf(text, sizeof text, "{'x': '%s'}", bad[i]);
        tool_expect_failure(&f, text, "x ");
    }
    str longest = STR_INIT;
    str_append_s(&longest, "{'x': '");
    for (int i = 0; i < 700; i++) {
        str_append_s(&longest, "\\u00e4");
    }
    str_append_s(&longest, "'}");
    tool_expect_failure(&f, str_get(&longest), "more than 2048 bytes; shorten");
    tool_expect_failure(&f, "{}", "x was left out");
    assert_int_equal(p.asked.len, 0); /* nothing was asked */
    str_release(&longest);
    close_paper(&f, &p);
    open_paper(&f, &p, "beside", "    effect: read\n    http: {url: 'https://a.example/:x:n', allow: [a.example]}\n");
    tool_expect_failure(&f, "{'x': '..', 'n': 1}", "x holds");
    close_paper(&f, &p);
    open_paper(&f, &p, "header",
               "    effect: read\n    http: {url: 'https://a.example/', allow: [a.example], headers: {X-Q: ':x'}}\n");
    tool_expect_failure(&f, "{'x': 'a\\r\\nHost: evil'}", "no visible ASCII");
    tool_expect_failure(&f, "{'x': '\\u00e9'}", "no visible ASCII");
    close_paper(&f, &p);
}

static void a_key_goes_into_its_header_and_nowhere_else(void **state) {
    (void)state;
    agent_fixture f;
    paper p;
    open_paper(&f, &p, "key",
               "    effect: read\n    http: {url: 'https://a.example/', allow: [a.example], key_file: key}\n");
    tool_expect_result(&f, "{}", "{'status': 200, 'body': {'a': 1}}");
    assert_string_equal(str_get(&p.asked), "GET https://a.example/\nAuthorization: Bearer s3cret-key\n");
    p.body = "{\"you sent\": \"Bearer s3cret-key\"}";
    tool_expect_failure(&f, "{}", "repeats the key, and is not kept");
    p.reply.status = 403;
    tool_expect_failure(&f, "{}", "repeats the key");
    fixture_write(&f, "key", "two\nlines\n");
    tool_expect_failure(&f, "{}", "must hold one line");
    close_paper(&f, &p);
    open_paper(&f, &p, "key-other",
               "    effect: read\n    http: {url: 'https://a.example/', allow: [a.example], key_file: key, key_header:"
               " X-Api-Key}\n");
    tool_expect_result(&f, "{}", "{'status': 200, 'body': {'a': 1}}");
    assert_string_equal(str_get(&p.asked), "GET https://a.example/\nX-Api-Key: s3cret-key\n");
    close_paper(&f, &p);
}

static void only_whole_json_and_text_are_answers(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *type, *body, *part;
    } bad[] = {{200, "application/json", "{\"a\":", "JSON can't be read"},
               {200, "application/json", "{\"a\":1,\"a\":2}", "JSON can't be read"},
               {200, "image/png", "x", "the server's answer is image/png"},
               {200, "", "x", "of no type that it names"},
               {200, "text/plain", "\xFF", "not UTF-8"},
               {404, "text/plain", "no such\x1B[2J order\nmore", "answered 404: no such?[2J order"},
               {500, "text/html", "", "answered 500"},
               {302, "text/html", "", "no redirect is followed"}};
    agent_fixture f;
    paper p;
    open_paper(&f, &p, "answers", GET("https://a.example/"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        p.reply.status = bad[i].status;
        snprintf(p.reply.content_type, sizeof p.reply.content_type, "%s", bad[i].type);
        p.body = bad[i].body;
        tool_expect_failure(&f, "{}", bad[i].part);
    }
    p.reply.status = 200;
    snprintf(p.reply.content_type, sizeof p.reply.content_type, "text/plain");
    p.body = "caf\xC3\xA9";
    tool_expect_result(&f, "{}", "{'status': 200, 'body': 'caf\\u00e9'}");
    snprintf(p.reply.content_type, sizeof p.reply.content_type, "application/problem+json");
    p.body = "[1]";
    tool_expect_result(&f, "{}", "{'status': 200, 'body': [1]}");
    p.reply.status = 204;
    p.body = NULL;
    tool_expect_result(&f, "{}", "{'status': 204, 'body': null}");
    close_paper(&f, &p);
}

/* A request that may have reached the server is not called a failure that had no effect. */
static void a_write_that_was_cut_off_is_in_doubt(void **state) {
    (void)state;
    static const struct {
        http_end end;
        call_outcome outcome;
    } cases[] = {{HTTP_CONNECT, CALL_FAILED}, {HTTP_PRIVATE, CALL_FAILED}, {HTTP_TLS, CALL_FAILED},
                 {HTTP_CUT, CALL_IN_DOUBT},   {HTTP_LATE, CALL_IN_DOUBT},  {HTTP_SIZE, CALL_IN_DOUBT}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        agent_fixture f;
        paper p;
        char name[16];
        snprintf(name, sizeof name, "cut-%zu", i);
        open_paper(&f, &p, name,
                   "    effect: write\n    http: {url: 'https://a.example/', allow: [a.example], method: POST, body:"
                   " {}}\n");
        p.reply.end = cases[i].end;
        p.st = MUGA_E_ENV;
        call_result r = tool_call_run(&f, "{}");
        assert_int_equal(r.outcome, cases[i].outcome);
        call_result_release(&r);
        close_paper(&f, &p);
    }
}

/* So that a server can tell a repetition from a second wish. */
static void an_idempotent_write_carries_its_calls_id_in_each_attempt(void **state) {
    (void)state;
    agent_fixture f;
    paper p;
    char line[160];
    open_paper(&f, &p, "attempts",
               "    effect: write\n    idempotent: true\n    retry: {times: 1, first_ms: 1}\n    http: {url:"
               " 'https://a.example/', allow: [a.example], method: POST}\n");
    p.reply.status = 503;
    call_result r = tool_call_run(&f, "{}");
    assert_int_equal(r.outcome, CALL_FAILED);
    snprintf(line, sizeof line, "POST https://a.example/\nIdempotency-Key: %s\n", r.call);
    assert_int_equal(p.n_asked, 2);
    assert_string_equal(p.first, line);
    assert_string_equal(str_get(&p.asked), line);
    call_result_release(&r);
    close_paper(&f, &p);
    open_paper(
        &f, &p, "own-key",
        "    effect: write\n    idempotent: true\n    http: {url: 'https://a.example/', allow: [a.example], method:"
        " POST, headers: {idempotency-key: ':x'}}\n");
    tool_expect_result(&f, "{'x': 'mine'}", "{'status': 200, 'body': {'a': 1}}");
    assert_string_equal(str_get(&p.asked), "POST https://a.example/\nidempotency-key: mine\n");
    close_paper(&f, &p);
}

static void definitions_that_reach_too_far_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *http, *part;
    } cases[] = {
        {"{url: 'https://:x/', allow: [a.example]}", "host and port hold no values"},
        {"{url: 'https://a.example:n/', allow: [a.example]}", "host and port hold no values"},
        {"{url: 'https://a.example', allow: [b.example]}", "http.allow: does not hold the address's host, a.example"},
        {"{url: 'http://a.example/', allow: [a.example]}", "use https, or say plain: true"},
        {"{url: 'http://a.example/', allow: [a.example], plain: true, key_file: key}", "a key goes over https only"},
        {"{url: 'file:///etc/passwd', allow: [a.example]}", "does not begin with http:// or https://"},
        {"{url: 'https://u:p@a.example/', allow: [a.example]}", "holds an '@'"},
        {"{url: 'https://u@a.example/', allow: [a.example]}", "holds an '@'"},
        {"{url: 'https://a.example/ b', allow: [a.example]}", "holds a blank"},
        {"{url: 'https://a.example/#b', allow: [a.example]}", "holds a blank, a '#'"},
        {"{url: 'https://a.example/:y', allow: [a.example]}", ":y is neither a parameter"},
        {"{url: 'https://a.example/', allow: [a.example], method: DELETE}", "effect: method DELETE changes"},
        {"{url: 'https://a.example/', allow: [a.example], body: {a: 1}}", "a GET has no body"},
        {"{url: 'https://a.example/', allow: [a.example], method: POST, body: {a: ':y'}}", "http.body: :y is neither"},
        {"{url: 'https://a.example/', allow: [a.example], headers: {Host: b}}", "Host is set by muga"},
        {"{url: 'https://a.example/', allow: [a.example], headers: {'A B': b}}", "is no header's name"},
        {"{url: 'https://a.example/', allow: [a.example], key_header: X-Key}", "needs key_file"},
        {"{url: 'https://a.example/', allow: [a.example], key_file: ../key}", "must lie in"},
        {"{url: 'https://a.example/'}", "'allow' is missing"},
    };
    agent_fixture f;
    fixture_prepare(&f, "refused", NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char keys[300];
        snprintf(keys, sizeof keys, "    effect: read\n    http: %s\n", cases[i].http);
        tool_expect_refusal(&f, X, keys, cases[i].part);
    }
    fixture_close(&f);
}

/* ---- a server on loopback, of few connections and some minutes ---- */

static void serve(int listener) {
    static const char json[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n"
                               "Connection: close\r\n\r\n{\"ok\":true}";
    static const char redirect[] = "HTTP/1.1 302 Found\r\nLocation: http://localhost/x\r\nContent-Length: 0\r\n"
                                   "Connection: close\r\n\r\n";
    static const char endless[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
    char request[4096], filler[1000];
    memset(filler, 'x', sizeof filler);
    alarm(500);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 16; i++) {
        int fd = accept(listener, NULL, NULL);
        size_t n = 0;
        for (ssize_t k = 1; k > 0 && n < sizeof request - 1; n += (size_t)k) {
            k = read(fd, request + n, sizeof request - 1 - n);
            k = k > 0 ? k : 0;
            request[n + (size_t)k] = 0;
            if (k == 0 || strstr(request, "\r\n\r\n")) {
                n += (size_t)k;
                break;
            }
        }
        bool is_redirect = strncmp(request, "GET /away ", 10) == 0, is_long = strncmp(request, "GET /long ", 10) == 0;
        const char *answer = is_redirect ? redirect : is_long ? endless : json;
        bool silent = strncmp(request, "GET /silent ", 12) == 0;
        ssize_t put = silent ? 0 : write(fd, answer, strlen(answer));
        for (int k = 0; is_long && put > 0 && k < 1000; k++) {
            put = write(fd, filler, sizeof filler);
        }
        if (silent) {
            put = read(fd, request, sizeof request); /* until the client gives up */
        }
        close(fd);
    }
    _exit(0);
}

static pid_t start_server(uint16_t *port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    pid_t child = fork();
    if (child == 0) {
        serve(listener);
    }
    close(listener);
    return child;
}

static void ask_within(unsigned ms, const char *name, const char *host, uint16_t port, const char *path,
                       const char *more, const char *result, const char *part) {
    agent_fixture f;
    char keys[400];
    bool v6 = strchr(host, ':') != NULL;
    fixture_prepare(&f, name, NULL);
    f.env.clock = &os_system()->clock;
    snprintf(keys, sizeof keys,
             "    effect: read\n    max_result_bytes: 2000\n    timeout_ms: %u\n    http: {url: 'http://%s%s%s:%u%s',"
             " allow: ['%s'], %s}\n",
             ms, v6 ? "[" : "", host, v6 ? "]" : "", (unsigned)port, path, host, more);
    tool_begin(&f, "", keys);
    if (result) {
        tool_expect_result(&f, "{}", result);
    } else {
        tool_expect_failure(&f, "{}", part);
    }
    fixture_close(&f);
}

static void ask_loopback(const char *name, const char *host, uint16_t port, const char *path, const char *more,
                         const char *result, const char *part) {
    ask_within(100000, name, host, port, path, more, result, part);
}

static void a_neighbour_is_asked_only_when_named(void **state) {
    (void)state;
    http_options o = {.clock = &os_system()->clock};
    http_client c;
    muga_error err;
    if (http_open(&o, &c, &err) != MUGA_OK) {
        print_message("skipped: %s\n", err.message);
        return;
    }
    http_close(&c);
    uint16_t port;
    pid_t child = start_server(&port);
    static const char ok[] = "{'status': 200, 'body': {'ok': true}}", named[] = "allow_private: [127.0.0.1]";
    ask_loopback("named", "127.0.0.1", port, "/v1", named, ok, NULL);
    ask_loopback("by-name", "localhost", port, "/v1", "allow_private: [localhost]", ok, NULL);
    ask_loopback("unnamed", "127.0.0.1", port, "/v1", "plain: true", NULL,
                 "the server's address is 127.0.0.1, which is this machine's or a private network's; name it in allow");
    ask_loopback("rebound", "localhost", port, "/v1", "plain: true", NULL, "name it in allow_private"); /* a name */
    ask_loopback("mapped", "::ffff:127.0.0.1", port, "/v1", "plain: true", NULL, "name it in allow_private");
    ask_loopback("decimal", "2130706433", port, "/v1", "plain: true", NULL, "name it in allow_private");
    ask_loopback("short", "127.1", port, "/v1", "plain: true", NULL, "name it in allow_private");
    ask_loopback("away", "127.0.0.1", port, "/away", named, NULL, "no redirect is followed");
    ask_loopback("long", "127.0.0.1", port, "/long", named, NULL, "too long (max_result_bytes)");
    ask_within(1000, "silent", "127.0.0.1", port, "/silent", named, NULL, "1 s");
    kill(child, SIGKILL);
    int end;
    assert_int_equal(waitpid(child, &end, 0), child);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_written_as_their_place_demands),
        cmocka_unit_test(no_value_leads_elsewhere),
        cmocka_unit_test(a_key_goes_into_its_header_and_nowhere_else),
        cmocka_unit_test(only_whole_json_and_text_are_answers),
        cmocka_unit_test(a_write_that_was_cut_off_is_in_doubt),
        cmocka_unit_test(an_idempotent_write_carries_its_calls_id_in_each_attempt),
        cmocka_unit_test(definitions_that_reach_too_far_are_refused),
        cmocka_unit_test(a_neighbour_is_asked_only_when_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
