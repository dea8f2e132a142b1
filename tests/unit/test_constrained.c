/* Answers under a constraint, as a caller gets them: whole and valid, or an error with a name. If this failed, an
 * answer that its schema forbids would reach a caller or a tool, in part or in full, or the record would tell of
 * another attempt than the one that stood. */
#include "support/support.h"

#include "base/mem.h"
#include "gguf/gguf.h"
#include "llm/llm.h"
#include "os/os.h"

#include <math.h>

static json_t *parse(const char *text) {
    json_t *v = NULL;
    muga_error err = {0};
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static const char pairs[] = "{\"type\": \"array\", \"items\": {\"enum\": [1, 2, 3]}, \"uniqueItems\": true, "
                            "\"minItems\": 2, \"maxItems\": 2}";

/* What a caller is given. */
typedef struct listener {
    str text;
    uint32_t n_calls, cancel_at; /* 0: never */
} listener;

static bool hear(void *ctx, const char *p, size_t n) {
    listener *l = ctx;
    str_append(&l->text, p, n);
    return ++l->n_calls != l->cancel_at;
}

typedef struct fixture {
    json_t *messages, *schema;
    llm_request q;
    listener heard;
} fixture;

static void begin(fixture *f, const char *schema) {
    *f = (fixture){.messages = parse("[{\"role\": \"user\", \"content\": \"two numbers\"}]"), .schema = parse(schema)};
    f->q = (llm_request){.messages = f->messages,
                         .schema = f->schema,
                         .sampling = LLM_SAMPLING_GREEDY,
                         .max_tokens = 24,
                         .want_evidence = true,
                         .on_text = hear,
                         .on_text_ctx = &f->heard};
}

static void end(fixture *f) {
    str_release(&f->heard.text);
    json_decref(f->messages);
    json_decref(f->schema);
}

static llm *scripted(const char *script) {
    muga_error err = {0};
    json_t *v = parse(script);
    llm *m = NULL;
    assert_ok(llm_scripted_new(v, &m, &err), &err);
    json_decref(v);
    return m;
}

static llm *open_with(const char *path, uint32_t n_ctx) {
    llm *m = NULL;
    muga_error err = {0};
    llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = n_ctx};
    assert_ok(llm_local_open(path, "tiny", &o, &m, &err), &err);
    return m;
}

static llm *open_tiny(void) {
    return open_with(source_path("tests/data/tiny.gguf"), 512);
}

/* The same model with one weight that is not a number: so is every logit. */
static const char *spoilt(void) {
    str bytes = STR_INIT;
    muga_error err = {0};
    gguf_file *f;
    assert_ok(os_read_file(&os_system()->files, source_path("tests/data/tiny.gguf"), 1 << 24, &bytes, &err), &err);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    const gguf_tensor *t = gguf_tensor_find(f, "output_norm.weight");
    assert_non_null(t);
    assert_int_equal(t->type, TENSOR_F32);
    float value = NAN;
    memcpy(bytes.data + ((const char *)t->data - bytes.data), &value, sizeof value);
    gguf_close(f);
    const char *path = scratch_path("not-a-number.gguf");
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    return path;
}

static void an_invalid_answer_is_asked_for_again_and_never_heard(void **state) {
    (void)state;
    fixture f;
    muga_error err = {0};
    llm_reply r;
    llm *m = scripted("[{\"text\": \"[1,1]\"}, {\"text\": \"[2,2]\"}, {\"text\": \"[2,3]\"}]");
    begin(&f, pairs);
    assert_ok(llm_complete(m, &f.q, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "[2,3]");
    assert_string_equal(str_get(&f.heard.text), "[2,3]");
    assert_int_equal(r.n_attempts, 3);
    assert_int_equal(r.n_generated, 6); /* of all three */
    for (int i = 0; i < 3; i++)
        assert_int_equal(json_get_int(json_array_get(llm_scripted_requests(m), (size_t)i), "attempt", -1), i);
    llm_reply_release(&r);
    llm_free(m);
    end(&f);
}

static void after_some_attempts_it_is_an_error_and_nothing_was_heard(void **state) {
    (void)state;
    fixture f;
    muga_error err = {0};
    llm_reply r;
    str script = STR_INIT;
    for (int i = 0; i < 20; i++)
        str_append_s(&script, i ? ",{\"text\": \"[1,1]\"}" : "[{\"text\": \"[1,1]\"}");
    str_append_c(&script, ']');
    llm *m = scripted(str_get(&script));
    begin(&f, pairs);
    assert_status(llm_complete(m, &f.q, &r, &err), MUGA_E_LIMIT, &err, "uniqueItems");
    assert_int_equal(r.text.len, 0);
    assert_null(r.evidence);
    assert_int_equal(f.heard.text.len, 0);
    assert_int_equal(json_array_size(llm_scripted_requests(m)), 8);
    llm_free(m);
    end(&f);
    str_release(&script);
}

/* A real model, also a greedy one, which would say the same thing again. */
static void the_attempt_that_stood_is_on_the_record_and_replays(void **state) {
    (void)state;
    llm *m = open_tiny();
    uint32_t most = 0;
    for (uint32_t seed = 0; seed < 12; seed++) {
        fixture f;
        muga_error err = {0};
        llm_reply r;
        begin(&f, pairs);
        f.q.sampling.seed = seed;
        f.q.sampling.temperature = seed < 6 ? 0.0f : 1.0f;
        assert_ok(llm_complete(m, &f.q, &r, &err), &err);
        json_t *v = parse(str_get(&r.text));
        assert_int_equal(json_array_size(v), 2);
        assert_false(json_equal(json_array_get(v, 0), json_array_get(v, 1)));
        assert_string_equal(str_get(&f.heard.text), str_get(&r.text));
        const json_t *sampling = json_object_get(json_object_get(r.evidence, "request"), "sampling");
        assert_int_equal(json_get_int(sampling, "attempt", -1), r.n_attempts - 1);
        assert_true(json_number_value(json_object_get(sampling, "temperature")) > 0 || r.n_attempts == 1);
        assert_ok(llm_replay(m, r.evidence, &err), &err);
        most = MAX(most, r.n_attempts);
        json_decref(v);
        llm_reply_release(&r);
        end(&f);
    }
    assert_true(most > 1);
    llm_free(m);
}

static void a_cancelled_one_gives_nothing_and_replays(void **state) {
    (void)state;
    fixture f;
    muga_error err = {0};
    llm_reply r;
    llm *m = open_tiny();
    begin(&f, pairs);
    f.heard.cancel_at = 2;
    assert_ok(llm_complete(m, &f.q, &r, &err), &err);
    assert_int_equal(r.finish, LLM_FINISH_CANCELLED);
    assert_int_equal(r.text.len + f.heard.text.len, 0);
    assert_ok(llm_replay(m, r.evidence, &err), &err);
    llm_reply_release(&r);
    llm_free(m);
    end(&f);
}

static void what_the_mask_says_whole_is_streamed(void **state) {
    (void)state;
    fixture f;
    muga_error err = {0};
    llm_reply r;
    llm *m = open_tiny();
    begin(&f, "{\"type\": \"string\", \"minLength\": 12, \"maxLength\": 12, \"pattern\": \"^[a-z]*$\"}");
    assert_ok(llm_complete(m, &f.q, &r, &err), &err);
    assert_int_equal(r.n_attempts, 1);
    assert_true(f.heard.n_calls > 2);
    llm_reply_release(&r);
    llm_free(m);
    end(&f);
}

/* The constraint as one of three, and nothing of a value, whatever kind of it ends the answer. */
static void assert_nothing_out(llm *m, const char *schema, const char *regex, const char *gbnf, muga_status expected,
                               const char *says) {
    fixture f;
    muga_error err = {0};
    llm_reply r;
    begin(&f, schema ? schema : "true");
    f.q.schema = schema ? f.schema : NULL;
    f.q.regex = regex;
    f.q.gbnf = gbnf;
    f.q.max_tokens = 0;
    assert_status(llm_complete(m, &f.q, &r, &err), expected, &err, says);
    assert_int_equal(r.text.len, 0);
    assert_int_equal(f.heard.text.len, 0);
    assert_null(r.evidence);
    end(&f);
}

static void logits_that_are_no_numbers_end_an_answer_by_name(void **state) {
    (void)state;
    llm *m = open_with(spoilt(), 512);
    assert_nothing_out(m, "{\"type\": \"integer\"}", NULL, NULL, MUGA_E_NONFINITE, "not-a-number");
    assert_nothing_out(m, pairs, NULL, NULL, MUGA_E_NONFINITE, "not-a-number");
    assert_nothing_out(m, NULL, "[0-9]+", NULL, MUGA_E_NONFINITE, "not-a-number");
    assert_nothing_out(m, NULL, NULL, "root ::= [a-z]+", MUGA_E_NONFINITE, "not-a-number");
    llm_free(m);
}

static void a_value_that_the_context_cannot_hold_is_not_begun(void **state) {
    (void)state;
    llm *m = open_with(source_path("tests/data/tiny.gguf"), 64);
    const char *says = "the shortest valid value needs";
    assert_nothing_out(m, "{\"type\": \"array\", \"minItems\": 200}", NULL, NULL, MUGA_E_LIMIT, says);
    assert_nothing_out(m, "{\"type\": \"array\", \"minItems\": 200, \"uniqueItems\": true}", NULL, NULL, MUGA_E_LIMIT,
                       says);
    assert_nothing_out(m, NULL, "([a-c][0-9]){200}", NULL, MUGA_E_LIMIT, says);
    assert_nothing_out(m, NULL, NULL, "root ::= ([a-c] [0-9]){200}", MUGA_E_LIMIT, says);
    llm_free(m);
}

static void where_the_context_ends_the_value_does_too(void **state) {
    (void)state;
    llm *m = open_with(source_path("tests/data/tiny.gguf"), 64);
    uint32_t most = 0;
    for (uint32_t seed = 0; seed < 8; seed++) {
        fixture f;
        muga_error err = {0};
        llm_reply r;
        begin(&f, "{\"type\": \"array\", \"items\": {\"type\": [\"string\", \"array\"]}, \"minItems\": 3}");
        f.q.max_tokens = 0;
        f.q.sampling.seed = seed;
        f.q.sampling.temperature = 1.5f;
        assert_ok(llm_complete(m, &f.q, &r, &err), &err);
        assert_int_equal(r.finish, LLM_FINISH_STOP);
        json_t *v = parse(str_get(&r.text));
        assert_ok(constrain_validate(f.schema, v, NULL, &err), &err);
        most = MAX(most, r.n_prompt + r.n_generated);
        json_decref(v);
        llm_reply_release(&r);
        end(&f);
    }
    assert_true(most >= 63);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_invalid_answer_is_asked_for_again_and_never_heard),
        cmocka_unit_test(after_some_attempts_it_is_an_error_and_nothing_was_heard),
        cmocka_unit_test(the_attempt_that_stood_is_on_the_record_and_replays),
        cmocka_unit_test(a_cancelled_one_gives_nothing_and_replays),
        cmocka_unit_test(what_the_mask_says_whole_is_streamed),
        cmocka_unit_test(logits_that_are_no_numbers_end_an_answer_by_name),
        cmocka_unit_test(a_value_that_the_context_cannot_hold_is_not_begun),
        cmocka_unit_test(where_the_context_ends_the_value_does_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
