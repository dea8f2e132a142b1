/* Grounded values. If this failed, a small model could put an id into a tool call that nobody wrote: one it copied
 * from an example, or half of another one. */
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

/* The values a schema may take from one text, as compact JSON. */
static void assert_values(const char *schema, const char *text, const char *expected) {
    muga_error err = {0};
    span t = span_of_string(text);
    constrain_source source = {"conversation", &t, 1};
    json_t *s = parse(schema), *out = json_array();
    str got = STR_INIT;
    assert_ok(constrain_grounded_values(s, &source, 1, out, &err), &err);
    json_write(out, &got);
    assert_string_equal(str_get(&got), expected);
    str_release(&got);
    json_decref(out);
    json_decref(s);
}

#define ORDER "{\"type\": \"string\", \"pattern\": \"^A[0-9]{5}$\", \"from\": \"conversation\"}"

static void strings_are_bounded_by_what_is_not_alphanumeric(void **state) {
    (void)state;
    assert_values(ORDER, "where is A12345?", "[\"A12345\"]");
    assert_values(ORDER, "A12345", "[\"A12345\"]");
    assert_values(ORDER, "(A12345),A00001;A12345", "[\"A12345\",\"A00001\"]");
    assert_values(ORDER, "BA12345 A123456 xA12345 A1234", "[]");
    assert_values(ORDER, "a12345", "[]");
    assert_values(ORDER,
                  "\xC3\xA9"
                  "A12345 A12345\xC3\xA9",
                  "[]"); /* e with acute is a letter */
    assert_values(ORDER,
                  "\xD9\xA3"
                  "A12345",
                  "[]"); /* an Arabic digit is a digit */
    assert_values(ORDER,
                  "\xE2\x82\xAC"
                  "A12345\xE2\x80\xA6",
                  "[\"A12345\"]");                /* euro sign, ellipsis */
    assert_values(ORDER, "A12345\xCC\x81", "[]"); /* a combining accent belongs to it */
    assert_values(ORDER,
                  "\xFF"
                  "A12345\xC3",
                  "[\"A12345\"]"); /* ill-formed bytes are no letters */
}

static void one_pattern_may_find_longer_and_shorter(void **state) {
    (void)state;
    assert_values("{\"type\": \"string\", \"pattern\": \"[a-z]+( [a-z]+)?\", \"from\": \"conversation\"}", "ab cd-e",
                  "[\"ab\",\"ab cd\",\"cd\",\"e\"]");
    assert_values("{\"type\": \"string\", \"format\": \"email\", \"from\": \"conversation\"}",
                  "write to a.b@example.org.", "[\"a.b@example\",\"a.b@example.org\",\"b@example\",\"b@example.org\"]");
    assert_values("{\"type\": \"string\", \"pattern\": \"^[0-9]+$\", \"minLength\": 3, \"from\": \"conversation\"}",
                  "12 345 6789", "[\"345\",\"6789\"]");
}

#define INTEGER "{\"type\": \"integer\", \"from\": \"conversation\"}"
#define NUMBER "{\"type\": \"number\", \"minimum\": -100, \"from\": \"conversation\"}"

static void numbers_count_as_written(void **state) {
    (void)state;
    assert_values(INTEGER, "I want 3 of them, not 12.", "[3,12]");
    assert_values(INTEGER, "3.14 is no integer, 1,000 is not one, 007 is no number", "[]");
    assert_values(INTEGER, "7,12 and 5, 6", "[7,12,5,6]");
    assert_values(INTEGER, "it was -5 degrees; A-17", "[-5,17]");
    assert_values(INTEGER, "3rd, x4, 5e", "[]");
    assert_values(NUMBER, "2.50 or -3.5 or 4 or -200", "[2.5,-3.5,4]");
    assert_values(NUMBER, "1.2.3", "[]");
    assert_values(INTEGER,
                  "\xE2\x88\x92"
                  "5 degrees, a\xE2\x88\x92"
                  "6, 1'000, 2\xC2\xA0"
                  "500, 3\xE2\x80\xAF"
                  "500 "
                  "000",
                  "[-5,6]");
    assert_values(NUMBER, ".5 and x.7, but 0.25.", "[7,0.25]");
    assert_values("{\"type\": \"integer\", \"minimum\": 10, \"from\": \"conversation\"}", "7 or 70", "[70]");
}

static void enums_must_have_been_said(void **state) {
    (void)state;
    assert_values("{\"enum\": [\"red\", \"green\", 5, true], \"from\": \"conversation\"}",
                  "a redder one, green, 5 pieces", "[\"green\",5]");
    assert_values("{\"const\": \"yes\", \"from\": \"conversation\"}", "yes!", "[\"yes\"]");
    assert_values("{\"enum\": [5, 3, 2.5, -4, \"7\", null], \"from\": \"conversation\"}",
                  "3.5 and 2.50, -4 of 15; "
                  "null 1,005",
                  "[2.5,-4,null]");
    assert_values("{\"enum\": [\"New York\", \"York\", \"new york\", \"\"], \"from\": \"conversation\"}",
                  "to New "
                  "York",
                  "[\"New York\",\"York\"]");
}

static void a_source_that_is_not_given_holds_nothing(void **state) {
    (void)state;
    assert_values("{\"type\": \"string\", \"pattern\": \"^A$\", \"from\": \"tools\"}", "A", "[]");
    muga_error err = {0};
    json_t *s = parse("{\"type\": \"string\", \"from\": \"conversation\"}"), *out = json_array();
    assert_status(constrain_grounded_values(s, NULL, 0, out, &err), MUGA_E_INPUT, &err, "pattern, format or enum");
    json_decref(s);
    s = parse("{\"type\": \"string\", \"pattern\": \"a\", \"from\": 3}");
    assert_status(constrain_grounded_values(s, NULL, 0, out, &err), MUGA_E_INPUT, &err, "name of a source");
    json_decref(s);
    json_decref(out);
}

static void texts_are_searched_one_by_one(void **state) {
    (void)state;
    muga_error err = {0};
    span texts[] = {span_of_string("A123"),
                    span_of_string("45 and "
                                   "A00007"),
                    span_of_string(""), span_of_string("A00007")};
    constrain_source sources[] = {{"tools", texts, 1}, {"conversation", texts, 4}, {"conversation", texts, 0}};
    json_t *s = parse(ORDER), *out = json_array(), *none = json_array();
    assert_ok(constrain_grounded_values(s, sources, 2, out, &err), &err);
    assert_int_equal(json_array_size(out), 1); /* nothing is put together from two texts, and nothing is found twice */
    assert_string_equal(json_string_value(json_array_get(out, 0)), "A00007");
    assert_ok(constrain_grounded_values(s, &sources[2], 1, none, &err), &err);
    assert_int_equal(json_array_size(none), 0);
    json_decref(none);
    json_decref(out);
    json_decref(s);
}

static void anchors_stand_at_the_ends_of_a_value(void **state) {
    (void)state;
    static const char *const patterns[] = {"^A[0-9]{5}$", "A[0-9]{5}", "^(?:A[0-9]{5})", "(^A|^B)[0-9]{5}$",
                                           "\\\\bA\\\\d{5}\\\\b"};
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        char schema[160];
        snprintf(schema, sizeof schema,
                 "{\"type\": \"string\", \"pattern\": \"%s\", \"from\": "
                 "\"conversation\"}",
                 patterns[i]);
        assert_values(schema, "A123456 xA12345 A12345-A54321", "[\"A12345\",\"A54321\"]");
    }
}

static muga_status compile(const char *schema, const char *text, constrain_grammar **g, muga_error *err) {
    span t = span_of_string(text);
    constrain_source source = {"conversation", &t, 1};
    constrain_options o = {.sources = &source, .n_sources = 1};
    json_t *s = parse(schema);
    muga_status st = constrain_compile_schema(s, &o, g, err);
    json_decref(s);
    return st;
}

static bool accepts(const constrain_grammar *g, const char *text) {
    muga_error err = {0};
    constrain_state *s;
    bool yes = false;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, text, strlen(text), &yes, &err), &err);
    yes = yes && constrain_is_complete(s);
    constrain_state_free(s);
    return yes;
}

#define CALL(REQUIRED)                                                                                                 \
    "{\"type\": \"object\", \"properties\": {\"order_id\": " ORDER                                                     \
    ", \"note\": {\"type\": \"string\"}}, \"required\": [" REQUIRED "], \"additionalProperties\": false}"

static void a_call_can_only_carry_what_was_written(void **state) {
    (void)state;
    muga_error err = {0};
    constrain_grammar *g = NULL;
    assert_ok(compile(CALL("\"order_id\""), "A11111 or A22222", &g, &err), &err);
    assert_true(accepts(g, "{\"order_id\":\"A11111\"}"));
    assert_true(accepts(g, "{\"order_id\":\"A22222\",\"note\":\"A33333\"}"));
    assert_false(accepts(g, "{\"order_id\":\"A33333\"}"));
    constrain_grammar_free(g);
}

static void without_a_value_the_call_is_impossible(void **state) {
    (void)state;
    muga_error err = {0};
    constrain_grammar *g = NULL;
    assert_status(compile(CALL("\"order_id\""), "where is my order", &g, &err), MUGA_E_NEGATIVE, &err, "order_id");
    assert_ok(compile(CALL("\"note\""), "where is my order", &g, &err), &err); /* an optional one is left out */
    assert_true(accepts(g, "{\"note\":\"x\"}"));
    assert_false(accepts(g, "{\"order_id\":\"A11111\",\"note\":\"x\"}"));
    constrain_grammar_free(g);
    /* One tool of two needs an id that nobody gave: only the other can be called. */
    assert_ok(compile("{\"anyOf\": [" CALL("\"order_id\"") ", {\"const\": \"ask\"}]}", "hello", &g, &err), &err);
    assert_true(accepts(g, "\"ask\""));
    constrain_grammar_free(g);
}

static void many_values_are_told_apart_quickly(void **state) {
    (void)state;
    muga_error err = {0};
    str text = STR_INIT, words = STR_INIT;
    for (int i = 0; i < 60000; i++)
        str_printf(&text, "w%d %d ", i % 4000, i % 90);
    str_append_s(&words, "{\"from\": \"conversation\", \"enum\": [0");
    for (int i = 1; i < 3000; i++)
        str_printf(&words, ",\"w%d\",%d", i * 2, i);
    str_append_s(&words, "]}");
    span t = span_of(str_get(&text), text.len);
    constrain_source source = {"conversation", &t, 1};
    json_t *free_words = parse("{\"type\": \"string\", \"pattern\": \"^w[0-9]+$\", \"from\": \"conversation\"}");
    json_t *listed = parse(str_get(&words)), *out = json_array(), *both = json_array();
    assert_ok(constrain_grounded_values(free_words, &source, 1, out, &err), &err);
    assert_int_equal(json_array_size(out), 4000);
    assert_ok(constrain_grounded_values(listed, &source, 1, both, &err), &err);
    assert_int_equal(json_array_size(both), 1999 + 90);
    json_decref(free_words);
    json_decref(listed);
    json_decref(out);
    json_decref(both);
    str_release(&text);
    str_release(&words);
}

static void much_text_is_searched_within_a_budget(void **state) {
    (void)state;
    muga_error err = {0};
    str text = STR_INIT;
    for (int i = 0; i < 12000; i++)
        str_append_s(&text, "word a12 ");
    str_append_s(&text, "A54321");
    constrain_grammar *g = NULL;
    assert_true(text.len > 100000);
    assert_ok(compile(CALL("\"order_id\""), str_get(&text), &g, &err), &err);
    assert_true(accepts(g, "{\"order_id\":\"A54321\"}"));
    constrain_grammar_free(g);
    str_release(&text);
}

#define FOLD(what) "\"from\": \"conversation\", \"fold\": " what "}"

static void case_and_white_space_make_no_difference_where_asked(void **state) {
    (void)state;
    static const char city[] = "{\"enum\": [\"New York\", \"Z\xC3\xBCrich\", \"York\"], ";
    static const char order[] = "{\"type\": \"string\", \"pattern\": \"^A[0-9]{5}$\", ";
    static const struct {
        const char *schema, *fold, *text, *expected;
    } cases[] = {
        {city, FOLD("\"case\""), "to new york, then Z\xC3\x9CRICH", "[\"New York\",\"Z\xC3\xBCrich\",\"York\"]"},
        {city, FOLD("\"case\""), "new  york", "[\"York\"]"},
        {city, FOLD("\"space\""), "New\n \xC2\xA0York", "[\"New York\",\"York\"]"},
        {city, FOLD("\"space\""), "new York", "[\"York\"]"},
        {city, FOLD("[\"case\", \"space\"]"), "NEW\t york", "[\"New York\",\"York\"]"},
        {city, FOLD("[]"), "new York", "[\"York\"]"},
        {city, FOLD("[\"case\"]"), "newyork yorker", "[]"},
        {order, FOLD("\"case\""), "a12345 A00001 xa12345", "[\"A00001\",\"A12345\"]"},
        {"{\"type\": \"string\", \"pattern\": \"^[a-z]+ [a-z]+$\", ", FOLD("[\"case\", \"space\"]"), "Ab  CD",
         "[\"ab cd\"]"},
        {"{\"type\": \"integer\", ", FOLD("\"case\""), "12 and 7", "[12,7]"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        str schema = STR_INIT;
        str_append_s(&schema, cases[i].schema);
        str_append_s(&schema, cases[i].fold);
        assert_values(str_get(&schema), cases[i].text, cases[i].expected);
        str_release(&schema);
    }
    muga_error err = {0};
    json_t *s = parse("{\"type\": \"integer\", \"from\": \"conversation\", \"fold\": \"Case\"}"), *out = json_array();
    assert_status(constrain_grounded_values(s, NULL, 0, out, &err), MUGA_E_INPUT, &err, "fold");
    json_decref(out);
    json_decref(s);
}

static void a_value_says_where_it_stands(void **state) {
    (void)state;
    static const char *const texts[] = {"nothing here",
                                        "it was A12345\xE2\x80\xA6 or \xE2\x88\x92"
                                        "7, New \n YORK",
                                        "A12345 7"};
    span v[3];
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        v[i] = span_of_string(texts[i]);
    const constrain_source sources[] = {{"tools", v, 1}, {"conversation", v, 3}};
    static const struct {
        const char *schema, *value, *text; /* text: what stands there; NULL: it may not be taken */
        size_t i_text;
    } cases[] = {{ORDER, "\"A12345\"", "A12345", 1},
                 {ORDER, "\"A12346\"", NULL, 0},
                 {"{\"type\": \"integer\", \"from\": \"conversation\"}", "-7",
                  "\xE2\x88\x92"
                  "7",
                  1},
                 {"{\"type\": \"integer\", \"from\": \"conversation\"}", "7", "7", 2},
                 {"{\"type\": \"integer\", \"from\": \"conversation\"}", "7.0", "7", 2},
                 {"{\"enum\": [\"New York\", 7], " FOLD("[\"case\", \"space\"]"), "\"New York\"", "New \n YORK", 1},
                 {"{\"enum\": [\"New York\", 7], " FOLD("[\"case\", \"space\"]"), "\"new york\"", NULL, 0},
                 {"{\"enum\": [\"New York\", 7], " FOLD("[]"), "7", "7", 2},
                 {"{\"type\": \"string\", \"pattern\": \"^[a-z]+$\", " FOLD("\"case\""), "\"york\"", "YORK", 1},
                 {"{\"type\": \"string\", \"pattern\": \"here\", \"from\": \"tools\"}", "\"here\"", "here", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err = {0};
        constrain_place at;
        json_t *schema = parse(cases[i].schema), *value = parse(cases[i].value);
        muga_status st = constrain_grounded_place(schema, value, sources, 2, &at, &err);
        if (!cases[i].text) {
            assert_status(st, MUGA_E_NEGATIVE, &err, "no text");
        } else {
            assert_ok(st, &err);
            assert_int_equal(at.text, cases[i].i_text);
            assert_int_equal(at.source, strstr(cases[i].schema, "tools") ? 0 : 1);
            if (at.to - at.from != strlen(cases[i].text) ||
                memcmp(v[at.text].p + at.from, cases[i].text, at.to - at.from) != 0)
                fail_msg("case %zu: [%zu, %zu)", i, at.from, at.to);
        }
        json_decref(schema);
        json_decref(value);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_bounded_by_what_is_not_alphanumeric),
        cmocka_unit_test(one_pattern_may_find_longer_and_shorter),
        cmocka_unit_test(numbers_count_as_written),
        cmocka_unit_test(enums_must_have_been_said),
        cmocka_unit_test(texts_are_searched_one_by_one),
        cmocka_unit_test(anchors_stand_at_the_ends_of_a_value),
        cmocka_unit_test(many_values_are_told_apart_quickly),
        cmocka_unit_test(a_source_that_is_not_given_holds_nothing),
        cmocka_unit_test(a_call_can_only_carry_what_was_written),
        cmocka_unit_test(without_a_value_the_call_is_impossible),
        cmocka_unit_test(much_text_is_searched_within_a_budget),
        cmocka_unit_test(case_and_white_space_make_no_difference_where_asked),
        cmocka_unit_test(a_value_says_where_it_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
