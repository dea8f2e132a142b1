/* llama.cpp's own grammar and schema cases. If this failed, grammars that people bring with them would be read in
 * another sense. */
#include "support/support.h"

#include "base/mem.h"
#include "constrain/constrain.h"

#include <stdio.h>

static json_t *load(const char *relative) {
    const char *path = shared_path(relative);
    json_error_t e;
    json_t *v = json_load_file(path, JSON_ALLOW_NUL, &e);
    assert_non_null(v);
    return v;
}

static bool accepts(const constrain_grammar *g, const char *p, size_t n) {
    muga_error err = {0};
    constrain_state *s;
    bool yes = false;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, p, n, &yes, &err), &err);
    yes = yes && constrain_is_complete(s);
    constrain_state_free(s);
    return yes;
}

static int check_texts(const constrain_grammar *g, const json_t *one, const char *key, bool want) {
    const json_t *texts = json_object_get(one, key);
    for (size_t k = 0; k < json_array_size(texts); k++) {
        const json_t *t = json_array_get(texts, k);
        if (accepts(g, json_string_value(t), json_string_length(t)) != want)
            fail_msg("%s: \"%s\" should %s", json_get_string(one, "desc"), json_string_value(t), key);
    }
    return (int)json_array_size(texts);
}

static void grammars_match_as_in_llama_cpp(void **state) {
    (void)state;
    json_t *cases = load("conformance/json_schema/llamacpp_gbnf_match.json");
    int n = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        const char *text = json_get_string(one, "grammar");
        muga_error err = {0};
        constrain_grammar *g = NULL;
        if (json_get_bool(one, "uses_token_ids", false))
            continue; /* a grammar of bytes can't see token ids */
        assert_ok(constrain_compile_gbnf(text, strlen(text), &g, &err), &err);
        n += check_texts(g, one, "pass", true) + check_texts(g, one, "fail", false);
        constrain_grammar_free(g);
    }
    assert_true(n > 40);
    json_decref(cases);
}

static void grammars_parse_as_in_llama_cpp(void **state) {
    (void)state;
    json_t *cases = load("conformance/json_schema/llamacpp_gbnf_parse.json");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        const char *text = json_get_string(one, "grammar");
        muga_error err = {0};
        constrain_grammar *g = NULL;
        muga_status st = constrain_compile_gbnf(text, strlen(text), &g, &err);
        bool token_ids = strstr(text, "<[") != NULL;
        if ((st == MUGA_OK) != (json_get_bool(one, "ok", false) && !token_ids))
            fail_msg("%s: %s", text, st ? err.message : "accepted");
        constrain_grammar_free(g);
    }
    json_decref(cases);
}

static void schemas_compile_as_in_llama_cpp(void **state) {
    (void)state;
    json_t *cases = load("conformance/json_schema/llamacpp_schema_convert.json");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        const char *text = json_get_string(one, "schema_text");
        muga_error err = {0};
        constrain_grammar *g = NULL;
        json_t *schema = NULL;
        assert_ok(json_parse(text, strlen(text), "schema", &schema, &err), &err);
        muga_status st = constrain_compile_schema(schema, NULL, &g, &err);
        if ((st == MUGA_OK) != json_get_bool(one, "expect_ok", false))
            fail_msg("%s: %s", json_get_string(one, "name"), st ? err.message : "accepted");
        constrain_grammar_free(g);
        json_decref(schema);
    }
    json_decref(cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammars_match_as_in_llama_cpp),
        cmocka_unit_test(grammars_parse_as_in_llama_cpp),
        cmocka_unit_test(schemas_compile_as_in_llama_cpp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
