/* Chats by the public header, on the tiny model of the tree. Would break: an answer that was cut passes for a whole
 * one, a stopped answer stays in the history, or a schema that can't be enforced is taken. */
#include "support/support.h"

#include <string.h>

typedef struct heard {
    size_t n, calls, most;
} heard;

static int listen(void *ctx, const char *text, size_t n) {
    heard *h = ctx;
    assert_non_null(text);
    h->n += n;
    return ++h->calls < h->most;
}

static muga_model *open_tiny(void) {
    muga_model *m;
    muga_error err;
    assert_ok(muga_model_open(source_path("tests/data/tiny.gguf"), &(muga_model_options){.n_ctx = 256, .n_threads = 1},
                              &m, &err),
              &err);
    return m;
}

static void what_was_cut_is_told(void **state) {
    (void)state;
    muga_model *m = open_tiny();
    muga_chat *c;
    muga_error err;
    const char *answer;
    heard h = {.most = 1000};
    assert_ok(muga_chat_new(m, &(muga_chat_options){.max_tokens = 4}, &c, &err), &err);
    assert_int_equal(muga_chat_was_cut(c), 0);
    assert_ok(muga_chat_ask(c, "hello", listen, &h, &answer, &err), &err);
    assert_int_equal(strlen(answer), h.n);
    assert_int_equal(muga_chat_was_cut(c), 1);
    muga_chat_free(c);

    const char *schema = "{\"enum\": [\"red\", \"blue\"]}";
    assert_ok(muga_chat_new(m, &(muga_chat_options){.schema = schema, .max_tokens = 64}, &c, &err), &err);
    assert_ok(muga_chat_ask(c, "a colour", NULL, NULL, &answer, &err), &err);
    assert_true(!strcmp(answer, "\"red\"") || !strcmp(answer, "\"blue\""));
    assert_int_equal(muga_chat_was_cut(c), 0);
    muga_chat_free(c);
    muga_model_free(m);
}

static void a_stopped_answer_leaves_no_trace(void **state) {
    (void)state;
    muga_model *m = open_tiny();
    muga_chat *c, *other;
    muga_error err;
    const char *answer;
    char first[4096];
    heard h = {.most = 1};
    assert_ok(muga_chat_new(m, &(muga_chat_options){.max_tokens = 8}, &c, &err), &err);
    assert_status(muga_chat_ask(c, "hello", listen, &h, &answer, &err), MUGA_E_CANCELLED, &err, "on_text returned 0");
    assert_null(answer);
    assert_int_equal(h.calls, 1);
    assert_ok(muga_chat_ask(c, "what now", NULL, NULL, &answer, &err), &err);
    assert_true(strlen(answer) < sizeof first);
    strcpy(first, answer);
    assert_ok(muga_chat_new(m, &(muga_chat_options){.max_tokens = 8}, &other, &err), &err);
    assert_ok(muga_chat_ask(other, "what now", NULL, NULL, &answer, &err), &err);
    assert_string_equal(answer, first);
    muga_chat_free(other);
    muga_chat_free(c);
    muga_model_free(m);
}

static void what_can_not_be_done_is_refused(void **state) {
    (void)state;
    muga_model *m = open_tiny();
    muga_chat *c;
    muga_error err;
    const char *answer;
    assert_status(muga_chat_new(m, &(muga_chat_options){.schema = "{\"not\": {}, \"type\": \"strin\"}"}, &c, &err),
                  MUGA_E_INPUT, &err, "");
    assert_null(c);
    assert_ok(muga_chat_new(m, NULL, &c, &err), &err);
    assert_status(muga_chat_ask(c, "\xff\xfe", NULL, NULL, &answer, &err), MUGA_E_INPUT, &err, "UTF-8");
    muga_chat_free(c);
    muga_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_cut_is_told),
                                       cmocka_unit_test(a_stopped_answer_leaves_no_trace),
                                       cmocka_unit_test(what_can_not_be_done_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
