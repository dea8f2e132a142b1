/* Schemas as constraints: what may be written, what is left to re-validation, and what is refused by name. If this
 * failed, a keyword would be accepted and not enforced. */
#include "support/support.h"

#include "base/mem.h"
#include "constrain/constrain.h"

#include <stdio.h>

static json_t *parse(const char *text, size_t n) {
    muga_error err = {0};
    json_t *v = NULL;
    assert_ok(json_parse(text, n, "test", &v, &err), &err);
    return v;
}

static muga_status compile(const char *schema, const constrain_options *o, constrain_grammar **g, muga_error *err) {
    json_t *s = parse(schema, strlen(schema));
    muga_status st = constrain_compile_schema(s, o, g, err);
    json_decref(s);
    return st;
}

static bool may_be_written(const constrain_grammar *g, const char *text) {
    muga_error err = {0};
    constrain_state *s;
    bool yes = false;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, text, strlen(text), &yes, &err), &err);
    yes = yes && constrain_is_complete(s);
    constrain_state_free(s);
    return yes;
}

static bool accepts(const constrain_grammar *g, const char *text) {
    muga_error err = {0};
    if (!may_be_written(g, text))
        return false;
    muga_status st = constrain_recheck(g, text, strlen(text), &err);
    if (st != MUGA_OK)
        assert_status(st, MUGA_E_NEGATIVE, &err, "");
    return st == MUGA_OK;
}

static void assert_texts_by(const constrain_options *o, const char *schema, const char *const *yes,
                            const char *const *no) {
    muga_error err = {0};
    constrain_grammar *g = NULL;
    assert_ok(compile(schema, o, &g, &err), &err);
    for (; *yes; yes++)
        if (!accepts(g, *yes))
            fail_msg("%s should allow %s", schema, *yes);
    for (; *no; no++)
        if (accepts(g, *no))
            fail_msg("%s should not allow %s", schema, *no);
    constrain_grammar_free(g);
}

static void assert_texts(const char *schema, const char *const *yes, const char *const *no) {
    assert_texts_by(NULL, schema, yes, no);
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void keys_come_in_the_order_of_the_schema(void **state) {
    (void)state;
    assert_texts("{\"type\": \"object\", \"properties\": {\"b\": {}, \"a\": {}}, \"required\": [\"a\", \"z\"]}",
                 TEXTS("{\"b\":1,\"a\":2,\"z\":3}", "{\"a\":2,\"z\":3,\"y\":4}", "{\"a\":2,\"y\":4,\"z\":3}"),
                 TEXTS("{\"a\":2,\"b\":1,\"z\":3}", "{\"b\":1,\"z\":3}", "{\"a\":1}", "{\"a\": 2,\"z\":3}",
                       "{\"a\":2,\"z\":3,\"y\":1,\"y\":1}"));
}

static void strings_have_one_spelling(void **state) {
    (void)state;
    assert_texts(
        "{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 2}",
        TEXTS("\"a\"", "\"\xF0\x9F\x98\x80\xC3\xA9\"", "\"\\n\\\"\"", "\"\\u001f\\u001F\"", "\"\x7F/\""),
        TEXTS("\"\"", "\"abc\"", "\"\\u0061\"", "\"\\/\"", "\"\\u000a\"", "\"\n\"", "\"\xED\xA0\x80\"", "\"\xFF\""));
}

/* What the mask would let through, and what isn't let through because the whole answer is validated. */
static void what_no_mask_can_say_is_validated_afterwards(void **state) {
    (void)state;
    static const struct {
        const char *schema, *name, *valid, *invalid;
    } cases[] = {
        {"{\"type\": \"array\", \"uniqueItems\": true}", "uniqueItems", "[1,2]", "[1,2,1.0]"},
        {"{\"type\": \"array\", \"not\": {\"uniqueItems\": true}}", "not", "[1,1]", "[1,2]"},
        {"{\"type\": \"string\", \"pattern\": \"^(?!a).\\\\b\"}", "look-around", "\"b\"", "\"a\""},
        {"{\"type\": \"string\", \"not\": {\"pattern\": \"^(?!a).\\\\b\"}}", "look-around", "\"a\"", "\"b\""},
        {"{\"type\": \"string\", \"pattern\": \"^(a|b)\\\\1$\"}", "back-ref", "\"aa\"", "\"ab\""},
        {"{\"type\": \"string\", \"format\": \"idn-hostname\"}", "idn-hostname", "\"b\xC3\xBC.de\"", "\"-.de\""},
        {"{\"type\": \"string\", \"format\": \"regex\"}", "regex", "\"a(b)\"", "\"a(b\""},
        {"{\"type\": \"string\", \"format\": \"hostname\"}", "IDNA", "\"xn--bcher-kva.a\"", "\"xn--X\""},
        {"{\"type\": \"number\", \"multipleOf\": 0.123456789}", "multipleOf", "0.246913578", "0.2"},
        {"{\"not\": {\"multipleOf\": 0.123456789}, \"type\": \"number\"}", "multipleOf", "0.2", "0.123456789"},
        {"{\"type\": \"object\", \"not\": {\"unevaluatedProperties\": false}}", "unevaluatedProperties", "{\"a\":1}",
         "{}"},
        {"{\"properties\": {\"a\": {}}, \"anyOf\": [{\"properties\": {\"b\": {\"const\": 1}}}, true], "
         "\"unevaluatedProperties\": false, \"type\": \"object\"}",
         "unevaluatedProperties", "{\"a\":1,\"b\":1}", "{\"a\":1,\"b\":2}"},
        {"{\"contains\": {\"type\": \"string\"}, \"unevaluatedItems\": {\"type\": \"null\"}, \"type\": \"array\"}",
         "unevaluatedItems", "[\"a\",null]", "[\"a\",1]"},
        {"{\"type\": \"array\", \"contains\": {\"const\": 1}, \"minContains\": 2, \"maxItems\": 9000}", "contains",
         "[1,2,1]", "[1,2]"},
        {"{\"type\": \"object\", \"patternProperties\": {\"^()\\\\1a\": {\"type\": \"null\"}}, "
         "\"additionalProperties\": {\"type\": \"integer\"}}",
         "back-ref", "{\"b\":1,\"a\":null}", "{\"a\":1}"},
        {"{\"type\": \"object\", \"propertyNames\": {\"not\": {\"pattern\": \"^()\\\\1a\"}}}", "back-ref", "{\"b\":1}",
         "{\"a\":1}"},
        {"{\"type\": \"object\", \"patternProperties\": {\"^[ab]$\": {}}, \"additionalProperties\": false, "
         "\"not\": {\"patternProperties\": {\"^[ab]$\": {\"type\": \"null\"}}}}",
         "not", "{\"b\":1}", "{\"b\":null}"},
        {"{\"$id\": \"urn:a\", \"$ref\": \"urn:t\", \"$defs\": {\"t\": {\"$id\": \"urn:t\", \"$dynamicAnchor\": \"n\", "
         "\"items\": {\"$dynamicRef\": \"#n\"}}, \"s\": {\"$dynamicAnchor\": \"n\", \"type\": [\"array\", \"null\"], "
         "\"$ref\": \"urn:t\"}}}",
         "dynamicRef", "[null,[null]]", "[1]"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err = {0};
        constrain_grammar *g = NULL;
        assert_ok(compile(cases[i].schema, NULL, &g, &err), &err);
        const char *why = constrain_rechecks(g);
        if (!why || !strstr(why, cases[i].name))
            fail_msg("%s: %s, wanted %s", cases[i].schema, why ? why : "needs no validation", cases[i].name);
        if (!accepts(g, cases[i].valid) || !may_be_written(g, cases[i].invalid) || accepts(g, cases[i].invalid))
            fail_msg("%s: %s or %s", cases[i].schema, cases[i].valid, cases[i].invalid);
        constrain_grammar_free(g);
    }
}

static void nothing_is_left_out_that_validation_ignores(void **state) {
    (void)state;
    muga_error err = {0};
    constrain_grammar *g = NULL;
    const char *grounded = "\"properties\": {\"id\": {\"type\": \"integer\", \"from\": \"tools\"}}";
    str text = STR_INIT;
    str_printf(&text, "{\"anyOf\": [{%s}, true], \"unevaluatedProperties\": false}", grounded);
    assert_status(compile(str_get(&text), NULL, &g, &err), MUGA_E_INPUT, &err, "from");
    str_truncate(&text, 0);
    str_printf(&text, "{\"not\": {%s}}", grounded);
    assert_status(compile(str_get(&text), NULL, &g, &err), MUGA_E_INPUT, &err, "from");
    str_truncate(&text, 0);
    str_printf(&text, "{%s, \"patternProperties\": {\"^()\\\\1a\": {}}}", grounded);
    assert_status(compile(str_get(&text), NULL, &g, &err), MUGA_E_INPUT, &err, "from");
    str_release(&text);
}

static void what_a_schema_evaluates_for_sure_is_decoded(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "{\"type\": \"object\", \"allOf\": [{\"$ref\": \"#/$defs/b\"}, {\"properties\": {\"a\": {}}}], "
        "\"unevaluatedProperties\": false, \"$defs\": {\"b\": {\"properties\": {\"b\": {\"type\": \"null\"}}, "
        "\"patternProperties\": {\"^x\": {}}}}, \"anyOf\": [{\"required\": [\"a\"]}, {\"required\": [\"b\"]}]}",
        "{\"type\": \"array\", \"allOf\": [{\"prefixItems\": [{\"const\": 1}]}], \"prefixItems\": [true, {\"type\": "
        "\"null\"}], \"unevaluatedItems\": {\"type\": \"string\"}}"};
    assert_texts(schemas[0], TEXTS("{\"b\":null,\"a\":1,\"xy\":1}", "{\"a\":2}"),
                 TEXTS("{\"a\":1,\"c\":1}", "{\"b\":1}", "{\"xy\":1}"));
    assert_texts(schemas[1], TEXTS("[1,null,\"a\"]", "[1]"), TEXTS("[1,null,1]", "[2]"));
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        muga_error err = {0};
        constrain_grammar *g = NULL;
        assert_ok(compile(schemas[i], NULL, &g, &err), &err);
        assert_null(constrain_rechecks(g));
        constrain_grammar_free(g);
    }
}

static void bounds_are_exact(void **state) {
    (void)state;
    assert_texts("{\"type\": \"number\", \"minimum\": -0.5, \"exclusiveMaximum\": 12.25}",
                 TEXTS("-0.5", "0", "12.2499", "12", "0.000", "-0.4999"),
                 TEXTS("-0.51", "12.25", "13", "-1", "12.250", "-0", "1e0", "01"));
    assert_texts("{\"type\": \"integer\", \"exclusiveMinimum\": 9, \"multipleOf\": 15}",
                 TEXTS("15", "30", "105", "15.0"), TEXTS("0", "9", "20", "15.5", "-15"));
    assert_texts("{\"const\": 9007199254740993}", TEXTS("9007199254740993"),
                 TEXTS("9007199254740993.0", "9007199254740992"));
}

/* What clients read into an int: no point, no exponent, wherever the schema asks for an integer or lists one. */
static void integers_can_be_plain(void **state) {
    (void)state;
    static const struct {
        const char *schema, *plain, *pointed;
    } cases[] = {{"{\"type\": \"integer\"}", "9", "9.0"},
                 {"{\"type\": \"integer\"}", "123456789012345678", "1e3"},
                 {"{\"type\": [\"integer\", \"null\"], \"minimum\": -3}", "-3", "-3.0"},
                 {"{\"type\": \"number\", \"multipleOf\": 5}", "15", "15.0"},
                 {"{\"type\": \"integer\", \"maximum\": 5.0, \"not\": {\"enum\": [3]}}", "4", "4.0"},
                 {"{\"const\": 5.0}", "5", "5.0"},
                 {"{\"enum\": [1, \"a\"]}", "1", "1.0"},
                 {"{\"const\": {\"a\": [7]}}", "{\"a\":[7]}", "{\"a\":[7.0]}"}};
    const constrain_options o = {.plain_integers = true};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_texts_by(&o, cases[i].schema, TEXTS(cases[i].plain), TEXTS(cases[i].pointed));
        if (strchr(cases[i].pointed, '.')) /* else as a validator has it */
            assert_texts(cases[i].schema, TEXTS(cases[i].plain, cases[i].pointed), TEXTS("0.5"));
    }
    assert_texts_by(&o, "{\"type\": \"number\"}", TEXTS("9", "9.0", "9.5", "9e3"), TEXTS("x"));
}

static void opposites_are_enforced_where_they_can_be_said(void **state) {
    (void)state;
    assert_texts("{\"type\": \"string\", \"not\": {\"enum\": [\"a\", \"b\"]}, \"maxLength\": 2}",
                 TEXTS("\"c\"", "\"ab\"", "\"\""), TEXTS("\"a\"", "\"b\"", "\"abc\""));
    assert_texts(
        "{\"type\": \"object\", \"properties\": {\"k\": {\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}}, "
        "\"if\": {\"properties\": {\"k\": {\"pattern\": \"^x\"}}, \"required\": [\"k\"]}, "
        "\"then\": {\"required\": [\"n\"]}, "
        "\"additionalProperties\": false}",
        TEXTS("{}", "{\"k\":\"y\"}", "{\"k\":\"x\",\"n\":1}"), TEXTS("{\"k\":\"x\"}"));
}

static void keys_of_alternatives_come_after_those_beside_them(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) { /* whatever the addresses of the schemas are */
        void *block = mem_alloc_array(1000u + 5000u * (unsigned)i, 1);
        assert_texts("{\"anyOf\": [{\"properties\": {\"z\": {}}, \"required\": [\"z\"]}, {\"$ref\": \"#/$defs/y\"}], "
                     "\"properties\": {\"b\": {}, \"a\": {}}, \"$defs\": {\"y\": {\"properties\": {\"y\": {}}, "
                     "\"required\": [\"y\"], \"anyOf\": [{\"properties\": {\"x\": {}}, \"required\": [\"x\"]}]}}}",
                     TEXTS("{\"b\":1,\"a\":2,\"z\":3}", "{\"a\":2,\"y\":3,\"x\":4}"),
                     TEXTS("{\"a\":2,\"b\":1,\"z\":3}", "{\"a\":2,\"x\":4,\"y\":3}"));
        free(block);
    }
}

static void a_list_of_values_hides_nothing_that_stands_beside_it(void **state) {
    (void)state;
    assert_texts("{\"enum\": [{\"a\": {\"a\": 5}}, 3, {\"a\": 3}], \"properties\": {\"a\": {\"$ref\": \"#\"}}}",
                 TEXTS("3", "{\"a\":3}"), TEXTS("{\"a\":{\"a\":5}}", "5"));
    assert_texts("{\"properties\": {\"foo\": {}, \"bar\": {}}, \"propertyNames\": {\"enum\": [\"bar\"]}}",
                 TEXTS("{}", "{\"bar\":1}"), TEXTS("{\"foo\":1}", "{\"baz\":1}"));
    assert_texts("{\"anyOf\": [{\"const\": 1, \"enum\": [2, 3]}, {\"const\": 2, \"enum\": [2, 3]}]}", TEXTS("2"),
                 TEXTS("1", "3"));
}

static void draft_7_reads_nothing_beside_a_reference(void **state) {
    (void)state;
    static const char *const texts[][3] = {
        {"\"enum\": [true], \"$ref\": \"#/definitions/b\"", "false", "\"true\""},
        {"\"not\": {\"const\": true, \"$ref\": \"#/definitions/b\"}", "\"x\"", "false"},
        {"\"oneOf\": [{\"const\": \"a\", \"$ref\": \"#/definitions/b\"}, {\"type\": \"string\"}]", "true", "null"}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char schema[400];
        snprintf(schema, sizeof schema,
                 "{\"$schema\": \"http://json-schema.org/draft-07/schema#\", %s, "
                 "\"definitions\": {\"b\": {\"type\": \"boolean\"}}}",
                 texts[i][0]);
        assert_texts(schema, TEXTS(texts[i][1]), TEXTS(texts[i][2]));
    }
}

static void alternatives_that_overlap_are_told_apart(void **state) {
    (void)state;
    assert_texts("{\"oneOf\": [{\"type\": \"integer\", \"minimum\": 2}, {\"type\": \"number\", \"maximum\": 5}]}",
                 TEXTS("1", "6", "-2.5", "1.5", "4.25"), TEXTS("2", "3.0", "5", "5.5", "\"x\""));
    assert_texts("{\"oneOf\": [{\"pattern\": \"a\"}, {\"maxLength\": 2}, {\"format\": \"date\"}], \"type\": "
                 "\"string\"}",
                 TEXTS("\"bc\"", "\"bcda\"", "\"2024-01-01\""), TEXTS("\"a\"", "\"bcd\""));
    assert_texts("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": "
                 "\"integer\"}}, "
                 "\"additionalProperties\": false, \"oneOf\": [{\"required\": [\"a\"]}, {\"required\": [\"b\"]}, "
                 "{\"properties\": "
                 "{\"a\": {\"const\": 5}}, \"required\": [\"a\"]}]}",
                 TEXTS("{\"a\":1}", "{\"b\":2}"), TEXTS("{}", "{\"a\":1,\"b\":2}", "{\"a\":5}", "{\"a\":5,\"b\":1}"));
}

static void dependencies_hold(void **state) {
    (void)state;
    assert_texts("{\"type\": [\"object\", \"null\"], \"properties\": {\"a\": {}, \"b\": {}, \"c\": {}}, "
                 "\"dependentRequired\": "
                 "{\"a\": [\"b\"]}, \"dependentSchemas\": {\"b\": {\"properties\": {\"c\": {\"type\": \"null\"}}, "
                 "\"required\": "
                 "[\"c\"]}}, \"additionalProperties\": false}",
                 TEXTS("{}", "null", "{\"c\":1}", "{\"a\":1,\"b\":2,\"c\":null}", "{\"b\":2,\"c\":null}"),
                 TEXTS("{\"a\":1}", "{\"a\":1,\"b\":2}", "{\"b\":1,\"c\":2}", "1"));
    assert_texts("{\"$schema\": \"http://json-schema.org/draft-07/schema#\", \"type\": \"object\", \"properties\": "
                 "{\"a\": {}, "
                 "\"b\": {}}, \"dependencies\": {\"a\": [\"b\"], \"b\": {\"maxProperties\": 1}}}",
                 TEXTS("{}", "{\"b\":1}", "{\"x\":1,\"y\":2}"),
                 TEXTS("{\"a\":1}", "{\"a\":1,\"b\":2}", "{\"b\":1,\"x\":2}"));
}

static void opposites_go_as_deep_as_the_schema(void **state) {
    (void)state;
    assert_texts("{\"type\": \"number\", \"not\": {\"type\": "
                 "\"integer\"}}",
                 TEXTS("1.5", "-0.25"), TEXTS("1", "1.0", "0"));
    assert_texts("{\"type\": \"number\", \"not\": {\"multipleOf\": 0.5}, \"minimum\": 0, \"maximum\": 3}",
                 TEXTS("0.25", "2.001", "0.000001"), TEXTS("0.50", "3", "1.5", "-0.1"));
    assert_texts("{\"type\": \"integer\", \"multipleOf\": 2, \"not\": {\"anyOf\": [{\"multipleOf\": 3}, {\"enum\": "
                 "[4, 10]}]}}",
                 TEXTS("2", "8", "-4"), TEXTS("6", "4", "10.0", "3", "0"));
    assert_texts("{\"type\": [\"array\", \"object\"], \"maxItems\": 2, \"maxProperties\": 1, \"not\": {\"enum\": [[1, "
                 "{}], {\"a\": 1}, "
                 "[]]}}",
                 TEXTS("[1]", "[1,[]]", "[2,{}]", "{}", "{\"a\":2}", "{\"b\":1}"),
                 TEXTS("[1,{}]", "[1.0,{}]", "{\"a\":1}", "[]"));
    assert_texts("{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"type\": \"object\", \"properties\": {\"x\": "
                 "{\"not\": {\"$ref\": "
                 "\"#/$defs/a\"}}}, \"required\": [\"x\"], \"additionalProperties\": {\"type\": \"integer\"}}}}",
                 TEXTS("{\"x\":1}", "{\"x\":{}}", "{\"x\":{\"x\":{\"x\":1}}}"), TEXTS("{}", "{\"x\":{\"x\":1}}"));
    assert_texts("{\"type\": \"string\", \"not\": {\"if\": {\"pattern\": \"^a\"}, \"then\": {\"maxLength\": 2}, "
                 "\"else\": "
                 "{\"format\": \"ipv4\"}}}",
                 TEXTS("\"abc\"", "\"bc\""), TEXTS("\"ab\"", "\"1.2.3.4\""));
}

static void undeclared_keys_come_in_any_order(void **state) {
    (void)state;
    assert_texts("{\"type\": \"object\", \"properties\": {\"d\": {}}, \"required\": [\"a\", \"b\"], "
                 "\"maxProperties\": 3}",
                 TEXTS("{\"a\":1,\"b\":2}", "{\"b\":1,\"a\":2}", "{\"b\":1,\"x\":3,\"a\":2}"),
                 TEXTS("{\"a\":1}", "{\"a\":1,\"b\":2,\"d\":3}", "{\"a\":1,\"x\":2,\"y\":3,\"b\":4}",
                       "{\"a\":1,\"b\":2,\"a\":3}"));
    assert_texts("{\"type\": \"object\", \"propertyNames\": {\"enum\": [\"a\", \"ab\", \"b\"]}, \"minProperties\": 2}",
                 TEXTS("{\"b\":1,\"a\":2}", "{\"ab\":1,\"a\":2,\"b\":3}"),
                 TEXTS("{\"a\":1}", "{\"a\":1,\"a\":2}", "{\"a\":1,\"c\":2}"));
    assert_texts("{\"type\": \"object\", \"propertyNames\": {\"oneOf\": [{\"pattern\": \"^a\"}, {\"maxLength\": 1, "
                 "\"not\": {\"const\": "
                 "\"c\"}}], \"if\": {\"minLength\": 3}, \"then\": {\"format\": \"date\"}}}",
                 TEXTS("{}", "{\"ab\":1,\"d\":2}"), TEXTS("{\"a\":1}", "{\"c\":1}", "{\"abc\":1}"));
}

static void some_member_is_not_as_the_others(void **state) {
    (void)state;
    assert_texts("{\"type\": \"object\", \"not\": {\"properties\": {\"a\": {\"type\": \"integer\"}}, "
                 "\"additionalProperties\": "
                 "{\"type\": \"string\"}}}",
                 TEXTS("{\"a\":\"x\"}", "{\"b\":1}", "{\"a\":1,\"c\":\"x\",\"b\":1}"),
                 TEXTS("{}", "{\"a\":1}", "{\"a\":1,\"b\":\"x\"}"));
    assert_texts("{\"type\": \"object\", \"properties\": {\"ab\": {}}, \"not\": {\"patternProperties\": {\"^a\": "
                 "{\"type\": "
                 "\"integer\"}}}}",
                 TEXTS("{\"ab\":\"x\"}", "{\"x\":1,\"ac\":null}", "{\"ab\":1,\"ac\":null}"),
                 TEXTS("{}", "{\"ab\":1}", "{\"x\":\"y\"}"));
    assert_texts("{\"type\": \"object\", \"not\": {\"propertyNames\": {\"maxLength\": "
                 "2}}}",
                 TEXTS("{\"abc\":1}", "{\"a\":1,\"bcd\":2}"), TEXTS("{}", "{\"a\":1}", "{\"ab\":1,\"cd\":2}"));
    assert_texts("{\"oneOf\": [{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}}, "
                 "\"additionalProperties\": false}, "
                 "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": "
                 "\"integer\"}}, "
                 "\"additionalProperties\": false}]}",
                 TEXTS("{\"b\":1}", "{\"a\":1,\"b\":2}"), TEXTS("{}", "{\"a\":1}"));
}

static void items_are_found_and_counted(void **state) {
    (void)state;
    assert_texts("{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"contains\": {\"minimum\": 5}, "
                 "\"maxItems\": 3}",
                 TEXTS("[5]", "[1,7]", "[9,9,9]", "[1,2,5]"), TEXTS("[]", "[1]", "[1,2,3]", "[5,\"x\"]", "[5,1,1,1]"));
    assert_texts("{\"type\": \"array\", \"prefixItems\": [{\"type\": \"null\"}], \"contains\": {\"type\": \"string\"}, "
                 "\"minContains\": 2, \"maxContains\": 3, \"minItems\": 3}",
                 TEXTS("[null,\"a\",\"b\"]", "[null,1,\"a\",2,\"b\",\"c\"]"),
                 TEXTS("[null,\"a\",1]", "[null,\"a\",\"b\",\"c\",\"d\"]", "[\"a\",\"b\",\"c\"]"));
    assert_texts("{\"type\": \"array\", \"contains\": {\"type\": \"string\"}, \"minContains\": 0, \"maxContains\": 1, "
                 "\"not\": {\"prefixItems\": [{\"const\": 1}], \"items\": {\"type\": \"null\"}}}",
                 TEXTS("[2]", "[1,null,3]", "[1,\"x\"]"), TEXTS("[]", "[1]", "[1,null]", "[1,\"x\",\"y\"]"));
}

static void free_white_space_is_an_option(void **state) {
    (void)state;
    muga_error err = {0};
    constrain_options o = {.free_whitespace = true};
    constrain_grammar *g = NULL;
    assert_ok(compile("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"array\", "
                      "\"items\": {\"type\": \"integer\"}}}, \"additionalProperties\": false}",
                      &o, &g, &err),
              &err);
    assert_true(accepts(g, "{\n  \"a\": [1, 2]\n}"));
    assert_true(accepts(g, "{\"a\":[]}"));
    assert_false(accepts(g, "{\"a\" 1}"));
    constrain_grammar_free(g);
}

static void what_cannot_be_enforced_is_refused_by_name(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"type\": \"string\", \"pattern\": \"(a\"}", "pattern"},
        {"{\"type\": \"string\", \"pattern\": \"(?<=(a*)\\\\1)b\"}", "pattern"},
        {"{\"type\": \"object\", \"patternProperties\": {\"^a$\": {}, \"^b$\": {}}, \"additionalProperties\": false, "
         "\"minProperties\": 2}",
         "minProperties"},
        {"{\"type\": \"strin\"}", "type"},
        {"{\"$ref\": \"#\"}", "$ref"},
        {"{\"$ref\": \"other.json\"}", "other.json"},
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#\"}}, \"required\": [\"a\"]}", "no finite text"},
        {"false", "no finite text"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err = {0};
        constrain_grammar *g = NULL;
        assert_status(compile(cases[i][0], NULL, &g, &err), MUGA_E_INPUT, &err, cases[i][1]);
    }
    muga_error err = {0}; /* and says nothing where it has nothing to say */
    constrain_grammar *g = NULL;
    assert_ok(
        compile("{\"type\": \"string\", \"uniqueItems\": true, \"dependentRequired\": {\"a\": [\"b\"]}, \"x-key\": 1}",
                NULL, &g, &err),
        &err);
    constrain_grammar_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_in_the_order_of_the_schema),
        cmocka_unit_test(strings_have_one_spelling),
        cmocka_unit_test(what_no_mask_can_say_is_validated_afterwards),
        cmocka_unit_test(nothing_is_left_out_that_validation_ignores),
        cmocka_unit_test(what_a_schema_evaluates_for_sure_is_decoded),
        cmocka_unit_test(bounds_are_exact),
        cmocka_unit_test(integers_can_be_plain),
        cmocka_unit_test(opposites_are_enforced_where_they_can_be_said),
        cmocka_unit_test(keys_of_alternatives_come_after_those_beside_them),
        cmocka_unit_test(a_list_of_values_hides_nothing_that_stands_beside_it),
        cmocka_unit_test(draft_7_reads_nothing_beside_a_reference),
        cmocka_unit_test(alternatives_that_overlap_are_told_apart),
        cmocka_unit_test(dependencies_hold),
        cmocka_unit_test(opposites_go_as_deep_as_the_schema),
        cmocka_unit_test(undeclared_keys_come_in_any_order),
        cmocka_unit_test(some_member_is_not_as_the_others),
        cmocka_unit_test(items_are_found_and_counted),
        cmocka_unit_test(free_white_space_is_an_option),
        cmocka_unit_test(what_cannot_be_enforced_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
