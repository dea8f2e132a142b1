/* The server's log. If this failed, a full disk or a closed pipe would stop the server, a client could forge lines or
 * move the operator's cursor, what people write would lie in the log unasked, or one fault in a loop would fill it. */
#include "support/support.h"

#include "base/mem.h"
#include "serve/log.h"

#include <pthread.h>
#include <stdio.h>

typedef struct sink {
    pthread_mutex_t lock;
    pthread_cond_t open;
    bool closed, fails;
    int n_waiting;
    str text;
} sink;

static bool take(void *ctx, const char *p, size_t n) {
    sink *s = ctx;
    pthread_mutex_lock(&s->lock);
    s->n_waiting++;
    pthread_cond_broadcast(&s->open);
    while (s->closed)
        pthread_cond_wait(&s->open, &s->lock);
    s->n_waiting--;
    if (!s->fails)
        str_append(&s->text, p, n);
    bool ok = !s->fails;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static int64_t now_ms = 1795685400123; /* 2026-11-26T09:30:00.123Z */
static int64_t get_now(void *self) {
    (void)self;
    return now_ms;
}
static uint64_t get_monotonic(void *self) {
    (void)self;
    return (uint64_t)now_ms * 1000;
}
static const os_clock test_clock = {get_now, get_monotonic, NULL, NULL};

static serve_log *fresh(sink *s, log_format f) {
    serve_log *l;
    muga_error err;
    *s = (sink){.text = STR_INIT};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->open, NULL);
    log_options o = {LOG_INFO, f, false, &test_clock, take, s};
    assert_ok(log_new(&o, &l, &err), &err);
    return l;
}

/* What was written; the log is freed. */
static const char *end(serve_log *l, sink *s) {
    log_free(l);
    return str_get(&s->text);
}

static void set_closed(sink *s, bool closed) {
    pthread_mutex_lock(&s->lock);
    s->closed = closed;
    pthread_cond_broadcast(&s->open);
    pthread_mutex_unlock(&s->lock);
}

static size_t count_of(const char *text, const char *part) {
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part))
        n++;
    return n;
}

static void a_request_is_one_line_without_contents(void **state) {
    (void)state;
    sink s;
    serve_log *l = fresh(&s, LOG_JSON);
    json_t *body = json_pack("{s:s}", "prompt", "my secret is 4711");
    log_request r = {.id = "req_1",
                     .key = "key_abc",
                     .method = "POST",
                     .route = "/v1/chat/completions",
                     .status = 200,
                     .model = "tiny:latest",
                     .finish = "stop",
                     .n_prompt = 31,
                     .n_generated = 4,
                     .load_us = 1500,
                     .total_us = 812440,
                     .body = body};
    log_request_end(l, &r);
    log_set(l, LOG_INFO, LOG_JSON, true);
    log_request_end(l, &r);
    const char *text = end(l, &s);
    static const char first[] =
        "{\"time\":\"2026-11-26T09:30:00.123Z\",\"level\":\"info\",\"event\":\"request\",\"id\":\"req_1\","
        "\"key\":\"key_abc\",\"method\":\"POST\",\"route\":\"/v1/chat/completions\",\"status\":200,"
        "\"model\":\"tiny:latest\",\"prompt\":31,\"cached\":0,\"generated\":4,\"finish\":\"stop\","
        "\"load_ms\":1.5,\"ms\":812.4}\n";
    assert_memory_equal(text, first, sizeof first - 1);
    assert_int_equal(count_of(text, "4711"), 1); /* of the line that was asked for */
    assert_int_equal(count_of(text, "\n"), 2);
    str_release(&s.text);
    json_decref(body);
}

static void what_moves_a_cursor_or_ends_a_line_is_escaped(void **state) {
    (void)state;
    for (int f = LOG_JSON; f <= LOG_TEXT; f++) {
        sink s;
        serve_log *l = fresh(&s, (log_format)f);
        log_field fields[] = {LOG_S("path", "/a\r\n{\"forged\":1}\x1b[2J\x7f\xc2\x9b\xe2\x80\xae\xff")};
        log_write(l, LOG_INFO, "odd", "two\nlines", fields, 1);
        const char *text = end(l, &s);
        assert_int_equal(count_of(text, "\n"), 1);
        for (const char *p = text; *p && *p != '\n'; p++)
            assert_false((unsigned char)*p < ' ' || *p == 0x7f);
        assert_null(strstr(text, "\xc2\x9b"));
        assert_null(strstr(text, "\xe2\x80\xae"));
        assert_non_null(strstr(text, "\\u001b[2J\\u007f\\u009b\\u202e"));
        if (f == LOG_JSON) {
            json_t *v;
            muga_error err;
            assert_ok(json_parse(text, strlen(text), "log", &v, &err), &err);
            assert_string_equal(json_get_string(v, "path"),
                                "/a\r\n{\"forged\":1}\x1b[2J\x7f\xc2\x9b\xe2\x80\xae\xef\xbf\xbd");
            json_decref(v);
        }
        str_release(&s.text);
    }
}

static void people_get_a_short_line(void **state) {
    (void)state;
    sink s;
    serve_log *l = fresh(&s, LOG_TEXT);
    log_field fields[] = {LOG_S("model", "tiny:latest"), LOG_N("bytes", 12),    LOG_US("ms", 250),
                          LOG_B("pinned", true),         LOG_S("absent", NULL), LOG_S("why", "two words")};
    log_write(l, LOG_INFO, "model_loaded", NULL, fields, ARRAY_LEN(fields));
    log_write(l, LOG_DEBUG, "not_wanted", NULL, NULL, 0);
    assert_string_equal(end(l, &s), "09:30:00.123 info    model_loaded model=tiny:latest bytes=12 ms=0.2 pinned=true "
                                    "why=\"two words\"\n");
    str_release(&s.text);
}

static void the_same_error_is_not_written_again_and_again(void **state) {
    (void)state;
    sink s;
    serve_log *l = fresh(&s, LOG_JSON);
    muga_error err = {.status = MUGA_E_ENV, .message = "the disk is full"};
    for (int i = 0; i < 1000; i++)
        log_error(l, LOG_ERROR, "store", MUGA_E_ENV, &err);
    log_write(l, LOG_ERROR, "store", "another", NULL, 0);
    for (int i = 0; i < 20; i++)
        log_write(l, LOG_INFO, "request", NULL, NULL, 0); /* no error: each one */
    assert_int_equal(log_get_counts(l).n_repeated, 1000 - LOG_REPEATS);
    now_ms += LOG_REPEAT_MS;
    log_error(l, LOG_ERROR, "store", MUGA_E_ENV, &err);
    const char *text = end(l, &s);
    assert_int_equal(count_of(text, "the disk is full"), LOG_REPEATS + 1);
    assert_int_equal(count_of(text, "\"repeated\":995"), 1);
    assert_int_equal(count_of(text, "another"), 1);
    assert_int_equal(count_of(text, "\"request\""), 20);
    str_release(&s.text);
}

static void who_logs_never_waits_for_the_disk(void **state) {
    (void)state;
    sink s;
    serve_log *l = fresh(&s, LOG_JSON);
    char big[1000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_field f = LOG_S("big", big);
    set_closed(&s, true);
    log_write(l, LOG_INFO, "first", NULL, NULL, 0);
    pthread_mutex_lock(&s.lock);
    while (!s.n_waiting) /* the writer hangs */
        pthread_cond_wait(&s.open, &s.lock);
    pthread_mutex_unlock(&s.lock);
    for (int i = 0; i < 3000; i++)
        log_write(l, LOG_INFO, "more", NULL, &f, 1);
    uint64_t n_lost = log_get_counts(l).n_lost;
    assert_true(n_lost > 1800 && n_lost < 2100);
    set_closed(&s, false);
    while (log_get_counts(l).n_written < 3000 - n_lost)
        os_system()->clock.sleep_ms(os_system()->clock.self, 1);
    log_write(l, LOG_INFO, "last", NULL, NULL, 0);
    const char *text = end(l, &s);
    char told[32];
    snprintf(told, sizeof told, "\"lines\":%llu", (unsigned long long)n_lost);
    assert_int_equal(count_of(text, told), 1);
    assert_int_equal(count_of(text, "\"last\""), 1);
    for (const char *p = text; *p; p = strchr(p, '\n') + 1) /* whole lines, in order */
        assert_int_equal(*p, '{');
    str_release(&s.text);
}

static void a_write_that_fails_is_counted(void **state) {
    (void)state;
    sink s;
    serve_log *l = fresh(&s, LOG_JSON);
    s.fails = true;
    log_write(l, LOG_INFO, "gone", NULL, NULL, 0);
    while (!log_get_counts(l).n_lost)
        os_system()->clock.sleep_ms(os_system()->clock.self, 1);
    pthread_mutex_lock(&s.lock);
    s.fails = false;
    pthread_mutex_unlock(&s.lock);
    log_write(l, LOG_INFO, "here", NULL, NULL, 0);
    const char *text = end(l, &s);
    assert_null(strstr(text, "gone"));
    assert_non_null(strstr(text, "\"event\":\"log_lost\""));
    assert_non_null(strstr(text, "here"));
    str_release(&s.text);
    log_write(NULL, LOG_ERROR, "nobody", NULL, NULL, 0);
    log_free(NULL);
}

static void a_line_too_long_is_cut_and_says_so(void **state) {
    (void)state;
    sink s;
    serve_log *l = fresh(&s, LOG_JSON);
    char *big = calloc(1, LOG_LINE_BYTES * 2);
    assert_non_null(big);
    memset(big, '\x01', LOG_LINE_BYTES * 2 - 1);
    log_field f = LOG_S("big", big);
    log_write(l, LOG_INFO, "long", NULL, &f, 1);
    free(big);
    const char *text = end(l, &s);
    assert_non_null(strstr(text, "\"event\":\"long\",\"cut\":true}\n"));
    str_release(&s.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_one_line_without_contents),
        cmocka_unit_test(what_moves_a_cursor_or_ends_a_line_is_escaped),
        cmocka_unit_test(people_get_a_short_line),
        cmocka_unit_test(the_same_error_is_not_written_again_and_again),
        cmocka_unit_test(who_logs_never_waits_for_the_disk),
        cmocka_unit_test(a_write_that_fails_is_counted),
        cmocka_unit_test(a_line_too_long_is_cut_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
