/* Answers that a schema and its grounded values settle. If this failed, a value would be taken without asking the model
 * that the model could have written otherwise, or that is not valid; or the record of one could be forged. */
#include "support/support.h"

#include "base/mem.h"
#include "llm/llm.h"

#include <string.h>

static const char order[] = "{'type': 'object', 'properties': {'order_id': {'type': 'string', 'pattern': '^A[0-9]{5}$',"
                            " 'from': 'conversation'}%s}, 'required': ['order_id'%s], 'additionalProperties': false}";

static json_t *parse(const char *text) {
    json_t *v = NULL;
    muga_error err = {0};
    char *copy = mem_copy_bytes(text, strlen(text));
    assert_non_null(copy);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    assert_ok(json_parse(copy, strlen(copy), "test", &v, &err), &err);
    free(copy);
    return v;
}

typedef struct found {
    json_t *schema, *value, *evidence;
} found;

static found find(const char *schema, const char *said) {
    const span text = span_of_string(said);
    const constrain_source source = {"conversation", &text, 1};
    found f = {.schema = parse(schema)};
    muga_error err = {0};
    assert_ok(llm_only_value(f.schema, &source, 1, &f.value, &f.evidence, &err), &err);
    assert_true((f.value == NULL) == (f.evidence == NULL));
    return f;
}

static void release(found *f) {
    json_decref(f->schema);
    json_decref(f->value);
    json_decref(f->evidence);
}

/* expected NULL: a model is to be asked. */
static void gives(const char *schema, const char *said, const char *expected) {
    found f = find(schema, said);
    str got = STR_INIT;
    muga_error err = {0};
    if (f.value)
        json_write(f.value, &got);
    if (!expected)
        assert_null(f.value);
    else
        assert_string_equal(str_get(&got), expected);
    if (f.value) {
        assert_false(llm_needs_model(f.evidence));
        assert_ok(llm_replay(NULL, f.evidence, &err), &err);
    }
    str_release(&got);
    release(&f);
}

static void order_with(const char *more, const char *required, const char *said, const char *expected) {
    str schema = STR_INIT;
    str_printf(&schema, order, more, required);
    gives(str_get(&schema), said, expected);
    str_release(&schema);
}

static void one_value_is_taken(void **state) {
    (void)state;
    order_with("", "", "where is A12345?", "{\"order_id\":\"A12345\"}");
    order_with("", "", "A12345, I said A12345", "{\"order_id\":\"A12345\"}");
    order_with("", "", "A12345 or A12346", NULL);
}

/* Each parameter beside it: what it may be decides. */
static void every_other_parameter_counts(void **state) {
    (void)state;
    const char *said = "A12345, 2 lamps for \"ada@example.org\"";
    order_with(", 'kind': {'const': 'read'}", ", 'kind'", said, "{\"order_id\":\"A12345\",\"kind\":\"read\"}");
    order_with(", 'kind': {'const': 'read'}", "", said, NULL); /* it may be left out */
    order_with(", 'kind': {'enum': ['a', 'b']}", ", 'kind'", said, NULL);
    order_with(", 'note': {'type': 'string'}", "", said, NULL);
    order_with(", 'sure': {'type': 'boolean'}", ", 'sure'", said, NULL);
    order_with(", 'iban': {'type': 'string', 'pattern': '^DE[0-9]{20}$', 'from': 'conversation'}", "", said,
               "{\"order_id\":\"A12345\"}"); /* no text holds one, so it can't be written */
    order_with(", 'mail': {'type': 'string', 'pattern': '[a-z]+@[a-z]+[.][a-z]+', 'from': 'conversation'}", ", 'mail'",
               said, "{\"order_id\":\"A12345\",\"mail\":\"ada@example.org\"}");
}

static void what_can_be_written_in_several_ways_is_the_models(void **state) {
    (void)state;
    gives("{'type': 'string', 'maxLength': 0}", "", "\"\"");
    gives("{'type': 'array', 'items': {'const': 1}, 'minItems': 2, 'maxItems': 2}", "", "[1,1]"); /* not 1.0 */
    gives("{'type': 'array', 'items': {'const': 'x'}, 'minItems': 2, 'maxItems': 2}", "", "[\"x\",\"x\"]");
    gives("{'type': 'array', 'items': {'const': 'x'}, 'minItems': 1}", "", NULL); /* it could go on */
    gives("{'enum': ['ab', 'abc']}", "", NULL);
    gives("{}", "", NULL);
}

/* Where the mask can't say all that the schema says, the one text it leaves may still be no valid one. */
static void what_is_not_valid_is_not_taken(void **state) {
    (void)state;
    gives("{'type': 'array', 'items': {'const': 'x'}, 'minItems': 2, 'maxItems': 2, 'uniqueItems': true}", "", NULL);
}

static void no_value_is_missing_by_name(void **state) {
    (void)state;
    str schema = STR_INIT;
    json_t *v = NULL, *value, *evidence;
    const span text = span_of_string("where is it?");
    const constrain_source source = {"conversation", &text, 1};
    muga_error err = {0};
    str_printf(&schema, order, "", "");
    v = parse(str_get(&schema));
    assert_status(llm_only_value(v, &source, 1, &value, &evidence, &err), MUGA_E_NEGATIVE, &err, "order_id");
    assert_true(!value && !evidence);
    json_decref(v);
    str_release(&schema);
}

/* What a model writes under the same schema is what was taken. */
static void a_model_would_have_written_it(void **state) {
    (void)state;
    str schema = STR_INIT, taken = STR_INIT;
    str_printf(&schema, order, ", 'kind': {'const': 'read'}", ", 'kind'");
    found f = find(str_get(&schema), "where is A12345?");
    const span text = span_of_string("where is A12345?");
    const constrain_source source = {"conversation", &text, 1};
    json_t *messages = parse("[{'role': 'user', 'content': 'where is A12345?'}]");
    llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 256};
    llm_request q = {.messages = messages,
                     .schema = f.schema,
                     .sources = &source,
                     .n_sources = 1,
                     .sampling = LLM_SAMPLING_GREEDY,
                     .max_tokens = 128};
    llm_reply reply;
    llm *m = NULL;
    muga_error err = {0};
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err), &err);
    assert_ok(llm_complete(m, &q, &reply, &err), &err);
    json_write(f.value, &taken);
    assert_string_equal(str_get(&reply.text), str_get(&taken));
    assert_status(llm_replay(m, json_object_get(f.evidence, "sources"), &err), MUGA_E_INPUT, &err, "object");
    assert_ok(llm_replay(m, f.evidence, &err), &err); /* whichever model is at hand */
    llm_reply_release(&reply);
    llm_free(m);
    json_decref(messages);
    str_release(&taken);
    str_release(&schema);
    release(&f);
}

/* Forged, or of an unknown kind: named, never passed. */
static void a_forged_record_is_found(void **state) {
    (void)state;
    static const struct {
        const char *key, *value;
        muga_status st;
        const char *says;
    } forged[] = {{"text", "'{}'", MUGA_E_NEGATIVE, "replay differs"},
                  {"text", "7", MUGA_E_INPUT, "\"text\""},
                  {"schema", "'{'", MUGA_E_INPUT, "schema"},
                  {"schema", "'{}'", MUGA_E_NEGATIVE, "one of several"},
                  {"schema", "{}", MUGA_E_INPUT, "\"schema\""},
                  {"sources", "[]", MUGA_E_NEGATIVE, "order_id"},
                  {"sources", "[7]", MUGA_E_INPUT, "sources"},
                  {"sources", "[{'name': 'conversation', 'texts': ['A12345 A12346']}]", MUGA_E_NEGATIVE, "several"},
                  {"sources", "[{'name': 'conversation', 'texts': [7]}]", MUGA_E_INPUT, "sources"},
                  {"kind", "'complete'", MUGA_E_USAGE, "that model"}};
    str schema = STR_INIT;
    str_printf(&schema, order, "", "");
    found f = find(str_get(&schema), "A12345");
    for (size_t i = 0; i < ARRAY_LEN(forged); i++) {
        json_t *copy = json_deep_copy(f.evidence);
        muga_error err = {0};
        json_object_set_new(copy, forged[i].key, parse(forged[i].value));
        assert_status(llm_replay(NULL, copy, &err), forged[i].st, &err, forged[i].says);
        json_decref(copy);
    }
    release(&f);
    str_release(&schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_value_is_taken),
                                       cmocka_unit_test(every_other_parameter_counts),
                                       cmocka_unit_test(what_can_be_written_in_several_ways_is_the_models),
                                       cmocka_unit_test(what_is_not_valid_is_not_taken),
                                       cmocka_unit_test(no_value_is_missing_by_name),
                                       cmocka_unit_test(a_model_would_have_written_it),
                                       cmocka_unit_test(a_forged_record_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
