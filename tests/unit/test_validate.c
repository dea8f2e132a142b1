/* The validator's verdicts and messages, without the public suite. If this failed, a manifest or a tool's arguments
 * would be judged wrongly, or a person couldn't find what is wrong with them. */
#include "support/support.h"

#include "base/mem.h"
#include "constrain/constrain.h"

#include <stdio.h>

static json_t *parse(const char *text) {
    muga_error err = {0};
    json_t *v = NULL;
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static muga_status check(const char *schema, const char *data, bool formats, muga_error *err) {
    constrain_validate_options o = {.formats = formats};
    json_t *s = parse(schema), *v = parse(data);
    muga_status st = constrain_validate(s, v, &o, err);
    json_decref(s);
    json_decref(v);
    return st;
}

static void an_error_names_place_and_keyword(void **state) {
    (void)state;
    muga_error err = {0};
    const char *schema = "{\"properties\": {\"a/b\": {\"items\": {\"type\": \"integer\", \"minimum\": 3}}, "
                         "\"s\": {\"pattern\": \"^x\"}}, \"required\": [\"s\"], \"additionalProperties\": false}";
    assert_ok(check(schema, "{\"a/b\": [3, 4.0], \"s\": \"xy\"}", false, &err), &err);
    assert_status(check(schema, "{\"a/b\": [3, 2], \"s\": \"x\"}", false, &err), MUGA_E_NEGATIVE, &err,
                  "\"/a~1b/1\": minimum");
    assert_status(check(schema, "{\"a/b\": [\"3\"], \"s\": \"x\"}", false, &err), MUGA_E_NEGATIVE, &err,
                  "expected integer");
    assert_status(check(schema, "{}", false, &err), MUGA_E_NEGATIVE, &err, "required: \"s\" is missing");
    assert_status(check(schema, "{\"s\": \"y\"}", false, &err), MUGA_E_NEGATIVE, &err, "pattern: does not match ^x");
    assert_status(check(schema, "{\"s\": \"x\", \"z\": 1}", false, &err), MUGA_E_NEGATIVE, &err,
                  "\"/z\": additionalProperties");
}

static void numbers_are_exact(void **state) {
    (void)state;
    muga_error err = {0};
    assert_ok(check("{\"multipleOf\": 0.01}", "19.99", false, &err), &err);
    assert_ok(check("{\"multipleOf\": 0.1}", "0.3", false, &err), &err);
    assert_int_equal(check("{\"multipleOf\": 0.01}", "19.995", false, &err), MUGA_E_NEGATIVE);
    assert_ok(check("{\"const\": 1}", "1.0", false, &err), &err);
    assert_int_equal(check("{\"const\": 9007199254740993}", "9007199254740992.0", false, &err), MUGA_E_NEGATIVE);
    assert_int_equal(check("{\"maximum\": 9007199254740992.0}", "9007199254740993", false, &err), MUGA_E_NEGATIVE);
    assert_int_equal(check("{\"uniqueItems\": true}", "[1, 1.0]", false, &err), MUGA_E_NEGATIVE);
    assert_ok(check("{\"uniqueItems\": true}", "[1, true, \"1\", [1], {\"a\": 1}]", false, &err), &err);
}

static void formats_count_only_when_asked(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"date", "2024-02-29", "2023-02-29"},
        {"time", "23:59:60Z", "12:00:60Z"},
        {"date-time", "1998-12-31T15:59:60.1-08:00", "1998-12-31T15:59:60"},
        {"email", "a.b@c.d", "a..b@c.d"},
        {"ipv4", "127.0.0.1", "127.0.0.256"},
        {"ipv6", "::ffff:1.2.3.4", "1::2::3"},
        {"uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08aa9811eab4aa73b441d16380"},
        {"duration", "P1Y2M3DT4H", "P1D2H"},
        {"hostname", "a-b.example", "-a.example"},
        {"hostname", "a.xn--bcher-kva", "xn--bcher-kv.a"},
        {"hostname", "XN--BCHER-KVA", "xn--abc-"},
        {"idn-hostname",
         "b\xC3\xBC"
         "cher\xE3\x80\x82"
         "example",
         "bu\xCC\x88"
         "cher.example"},
        {"idn-hostname", "l\xC2\xB7l", "a\xC2\xB7l"},
        {"idn-hostname",
         "\xD7\x90"
         "1",
         "a\xD7\x90"},
        {"idn-hostname", "\xD8\xA8\xE2\x80\x8C\xD8\xA8", "\xD8\xAF\xE2\x80\x8C\xD8\xA8"},
        {"idn-hostname", "xn--bcher-kva.xn--5db", "a..b"},
        {"idn-hostname", "\xE3\x82\xA2\xE3\x83\xBB", "\xE3\x83\xBB"},
        {"idn-hostname", "\xE0\xA4\x95\xE0\xA5\x8D\xE2\x80\x8D",
         "\xCC\x80"
         "a"},
        {"uri", "http://a.b/c?d#e", "//a.b"},
        {"json-pointer", "/a~1b", "/a~2"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char schema[80], data[120];
        muga_error err = {0};
        snprintf(schema, sizeof schema, "{\"format\": \"%s\"}", cases[i][0]);
        snprintf(data, sizeof data, "\"%s\"", cases[i][1]);
        assert_ok(check(schema, data, true, &err), &err);
        snprintf(data, sizeof data, "\"%s\"", cases[i][2]);
        assert_status(check(schema, data, true, &err), MUGA_E_NEGATIVE, &err, cases[i][0]);
        assert_ok(check(schema, data, false, &err), &err);
    }
}

static void schemas_that_cannot_be_read_are_the_schema_s_fault(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"{\"type\": \"kaboom\"}", "type"},
                                           {"{\"$ref\": \"#/nowhere\"}", "#/nowhere"},
                                           {"{\"$ref\": \"http://example.org/x\"}", "leads to no schema"},
                                           {"{\"$ref\": \"#\"}", "without end"},
                                           {"{\"pattern\": \"(?=a\"}", "not closed"},
                                           {"{\"pattern\": \"(?<=(a*)\\\\1)b\"}", "can't be evaluated"},
                                           {"{\"minLength\": -1}", "minLength"},
                                           {"{\"allOf\": [3]}", "object or a boolean"},
                                           {"[]", "object or a boolean"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err = {0};
        assert_status(check(cases[i][0], "\"abc\"", false, &err), MUGA_E_INPUT, &err, cases[i][1]);
    }
}

static void patterns_that_are_not_regular_are_evaluated_too(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"^(?!foo)[a-z]+$", "barfoo", "foobar"},
        {"(?<=a)b", "ab", "cb"},
        {"(?<!a)b", "cb", "ab"},
        {"^(?<q>['_]).*\\\\k<q>$", "'abc'", "'abc_"},
        {"^(a)?\\\\1b$", "aab", "aa"},
        {"(?=\\\\s)^.$", "\xC2\xA0", "x"},
        {"(?![x])[^]$", "\\n", ""},
        {"^(?!.*[]).$", "\xF0\x9F\x98\x80", "ab"},
        {"(?!x)\\\\D\\\\W[{}[]{2}$", "a {[", "a {x"},
        {"(a|b)*a(a|b){30}", "aabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char schema[120], data[80];
        muga_error err = {0};
        snprintf(schema, sizeof schema, "{\"pattern\": \"%s\"}", cases[i][0]);
        snprintf(data, sizeof data, "\"%s\"", cases[i][1]);
        assert_ok(check(schema, data, false, &err), &err);
        snprintf(data, sizeof data, "\"%s\"", cases[i][2]);
        assert_status(check(schema, data, false, &err), MUGA_E_NEGATIVE, &err, "pattern");
    }
}

static void steps_of_a_pattern_are_counted(void **state) {
    (void)state;
    muga_error err = {0};
    str data = STR_INIT;
    str_append_c(&data, '[');
    for (int i = 0; i < 1000; i++)
        str_append_s(&data, i ? ",\"aaaaaaaaaaaaaaaaaaaaa!\"" : "\"aaaaaaaaaaaaaaaaaaaaa!\"");
    str_append_c(&data, ']');
    assert_status(check("{\"items\": {\"pattern\": "
                        "\"^()\\\\1(a+)+$\"}}",
                        "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"]", false, &err),
                  MUGA_E_LIMIT, &err, "steps");
    assert_status(check("{\"items\": {\"not\": {\"pattern\": "
                        "\"^()\\\\1(a+)+$\"}}}",
                        str_get(&data), false, &err),
                  MUGA_E_LIMIT, &err, "steps");
    str_release(&data);
}

/* schema and documents -> verdict on data */
static muga_status check_with(const char *schema, const char *documents, const char *data, muga_error *err) {
    json_t *s = parse(schema), *d = parse(documents), *v = parse(data);
    constrain_validate_options o = {.documents = d};
    muga_status st = constrain_validate(s, v, &o, err);
    json_decref(s);
    json_decref(d);
    json_decref(v);
    return st;
}

static void references_lead_to_the_documents_given(void **state) {
    (void)state;
    static const char documents[] =
        "{\"http://e.org/a/b.json\": {\"$defs\": {\"n\": {\"$ref\": \"../c/d.json#here\"}}, \"$ref\": \"#/$defs/n\"}, "
        "\"http://e.org/c/d.json\": {\"$defs\": {\"i\": {\"$anchor\": \"here\", \"type\": \"integer\"}}}, "
        "\"http://e.org/x.json#\": {\"$id\": \"http://e.org/y/z.json\", \"$ref\": \"w.json\"}, "
        "\"http://e.org/y/w.json\": {\"type\": \"null\"}, \"http://e.org/loop\": {\"$ref\": \"loop\"}, "
        "\"http://e.org/bad\": 7}";
    static const struct {
        const char *schema, *yes, *no;
    } cases[] = {{"{\"$ref\": \"http://e.org/a/b.json\"}", "1", "\"x\""},
                 {"{\"$id\": \"http://e.org/a/me.json\", \"$ref\": \"b.json#/$defs/n\"}", "1", "\"x\""},
                 {"{\"$ref\": \"http://e.org/x.json\"}", "null", "1"}};
    muga_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_ok(check_with(cases[i].schema, documents, cases[i].yes, &err), &err);
        assert_int_equal(check_with(cases[i].schema, documents, cases[i].no, &err), MUGA_E_NEGATIVE);
    }
    assert_status(check_with("{\"$ref\": \"http://e.org/none\"}", documents, "1", &err), MUGA_E_INPUT, &err,
                  "no schema");
    assert_status(check_with("{\"$ref\": \"http://e.org/loop\"}", documents, "1", &err), MUGA_E_INPUT, &err,
                  "without end");
    assert_status(check_with("{\"$ref\": \"http://e.org/bad\"}", documents, "1", &err), MUGA_E_INPUT, &err,
                  "e.org/bad");
}

static void a_schema_of_schemas_says_which_keywords_assert(void **state) {
    (void)state;
    static const char documents[] =
        "{\"urn:notes\": {\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"$vocabulary\": "
        "{\"https://json-schema.org/draft/2020-12/vocab/applicator\": true, "
        "\"https://json-schema.org/draft/2020-12/vocab/format-assertion\": true, \"urn:other\": false}}, "
        "\"urn:strange\": {\"$vocabulary\": {\"urn:other\": true}}, "
        "\"urn:old\": {\"$schema\": \"http://json-schema.org/draft-07/schema#\"}}";
    muga_error err = {0};
    const char *notes =
        "{\"$schema\": \"urn:notes\", \"type\": \"null\", \"const\": 7, \"maximum\": 1, \"maxLength\": 1, "
        "\"maxItems\": 1, "
        "\"uniqueItems\": true, \"required\": [\"z\"], \"properties\": {\"no\": false}, \"format\": \"ipv4\", "
        "\"contains\": true, "
        "\"minContains\": 9}";
    static const char *const yes[] = {"5", "\"1.2.3.4\"", "[2, 2]", "{\"a\": 1, \"b\": 2}"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_ok(check_with(notes, documents, yes[i], &err), &err);
    assert_int_equal(check_with(notes, documents, "{\"no\": 1}", &err), MUGA_E_NEGATIVE);
    assert_int_equal(check_with(notes, documents, "\"1.2.3\"", &err), MUGA_E_NEGATIVE);
    assert_status(check_with("{\"$schema\": \"urn:strange\"}", documents, "1", &err), MUGA_E_INPUT, &err, "urn:other");
    assert_ok(check_with("{\"$schema\": \"urn:old\", \"items\": [{\"type\": \"null\"}]}", documents, "[null, 1]", &err),
              &err);
    assert_status(check_with("{\"$schema\": \"https://json-schema.org/draft/2019-09/schema\", "
                             "\"$recursiveRef\": \"#\"}",
                             documents, "1", &err),
                  MUGA_E_INPUT, &err, "$recursiveRef");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_names_place_and_keyword),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(formats_count_only_when_asked),
        cmocka_unit_test(schemas_that_cannot_be_read_are_the_schema_s_fault),
        cmocka_unit_test(patterns_that_are_not_regular_are_evaluated_too),
        cmocka_unit_test(steps_of_a_pattern_are_counted),
        cmocka_unit_test(references_lead_to_the_documents_given),
        cmocka_unit_test(a_schema_of_schemas_says_which_keywords_assert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
