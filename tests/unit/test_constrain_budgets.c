/* Constraints from hostile or careless hands. If this failed, one schema, pattern or grammar could stop the machine for
 * seconds, take its memory, or overflow a stack: each must compile, or be an error that says which budget it is past.
 * Work is counted, not timed; what a whole compile may count is worth about 200 ms. */
#include "support/support.h"

#include "base/mem.h"
#include "constrain/constrain.h"

#include <sys/resource.h>

#define MAX_RSS_KIB (1u << 20) /* of this process, sanitizers included; it takes a tenth without */

static void repeat(str *out, const char *text, int n) {
    for (int i = 0; i < n; i++)
        str_append_s(out, text);
}

static bool accepts(const constrain_grammar *g, const char *text) {
    muga_error err = {0};
    constrain_state *s;
    bool yes = false;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, text, strlen(text), &yes, &err), &err);
    yes = yes && constrain_is_complete(s);
    constrain_state_free(s);
    return yes && constrain_recheck(g, text, strlen(text), &err) == MUGA_OK;
}

/* says NULL: it compiles, and takes the text. Else: an error with these words. */
static void check_schema(const str *schema, const char *says, const char *text) {
    muga_error err = {0};
    constrain_grammar *g = NULL;
    json_t *v = NULL;
    assert_ok(json_parse(str_get(schema), schema->len, "test", &v, &err), &err);
    muga_status st = constrain_compile_schema(v, NULL, &g, &err);
    if (says) {
        if ((st != MUGA_E_LIMIT && st != MUGA_E_INPUT) || !strstr(err.message, says))
            fail_msg("%.80s: %d %s, wanted %s", str_get(schema), (int)st, err.message, says);
    } else if (st != MUGA_OK || !accepts(g, text)) {
        fail_msg("%.80s: %s", str_get(schema), st ? err.message : text);
    }
    constrain_grammar_free(g);
    json_decref(v);
}

/* {"KEYWORD": [one, one, ...]}, where # is the number of the one. */
static void check_list(const char *keyword, const char *one, int n, const char *says, const char *text) {
    str s = STR_INIT;
    str_printf(&s, "{\"%s\": [", keyword);
    for (int i = 0; i < n; i++) {
        str_append_s(&s, i ? "," : "");
        for (const char *p = one; *p; p++)
            *p == '#' ? str_printf(&s, "%d", i) : str_append_c(&s, *p);
    }
    str_append_s(&s, "]}");
    check_schema(&s, says, text);
    str_release(&s);
}

static void lists_of_ten_thousand(void **state) {
    (void)state;
    static const char object[] = "{\"type\": \"object\", \"properties\": {\"k\": {\"const\": \"v#\"}, \"x\": {}}, "
                                 "\"required\": [\"k\"], \"additionalProperties\": false}";
    static const char open_object[] =
        "{\"type\": \"object\", \"properties\": {\"k\": {\"const\": \"v#\"}}, \"required\": [\"k\"]}";
    check_list("enum", "\"value number #\"", 10000, NULL, "\"value number 77\"");
    static const char *const keywords[] = {"anyOf", "oneOf"};
    for (int i = 0; i < 2; i++) {
        check_list(keywords[i], "{\"const\": \"v#\"}", 10000, NULL, "\"v9999\"");
        check_list(keywords[i], "{\"type\": \"string\", \"enum\": [\"v#\", \"w#\"]}", 10000, NULL, "\"w77\"");
        check_list(keywords[i], "{\"enum\": [[#], {\"a\": #}]}", 1000, NULL, "{\"a\":77}");
        check_list(keywords[i], object, 10000, NULL, "{\"k\":\"v77\",\"x\":[]}");
        check_list(keywords[i], open_object, 10000, NULL, "{\"k\":\"v77\",\"y\":[]}");
        check_list(keywords[i], object, 30000, "50000 cases", NULL);
        check_list(keywords[i], "{\"minimum\": #, \"maximum\": 10#}", 10000, "", NULL);
    }
    check_list("anyOf", "{\"type\": \"string\", \"pattern\": \"^a#[0-9]$\"}", 10000, NULL, "\"a771\"");
    check_list("enum", "{\"a\": #, \"b\": [1, true, \"x\"]}", 10000, NULL, "{\"a\":77,\"b\":[1.0,true,\"x\"]}");
    check_list("enum", "{\"name\": \"n\", \"list\": [1, 2, {\"z\": #}]}", 10000, NULL,
               "{\"name\":\"n\",\"list\":[1.0,2,{\"z\":9999}]}");
    check_list("enum", "[#, \"a#\"], {\"k\": #}, \"s#\", #, 0.5#", 2000, NULL, "[77,\"a77\"]");
}

static void parentheses_without_end(void **state) {
    (void)state;
    static const struct {
        const char *before, *open, *middle, *close, *after, *says;
    } schemas[] = {{"{\"pattern\": \"", "(", "", "", "\"}", "nest deeper than 200"},
                   {"{\"pattern\": \"", "(", "a", ")", "\"}", "nest deeper than 200"},
                   {"{\"pattern\": \"", "(?:a|", "b", ")*", "\"}", ""},
                   {"{\"pattern\": \"", "(?=", "a", ")", "\"}", ""},
                   {"{\"pattern\": \"", "[", "", "", "\"}", "not closed"},
                   {"{\"pattern\": \"", "a{1,9}", "", "", "\"}", "pattern"},
                   {"{\"patternProperties\": {\"", "(", "", "", "\": {}}}", "nest deeper than 200"},
                   {"{\"propertyNames\": {\"pattern\": \"", "(", "", "", "\"}}", "nest deeper than 200"},
                   {"{\"not\": {\"pattern\": \"", "(", "", "", "\"}}", "nest deeper than 200"}};
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        str s = STR_INIT;
        str_append_s(&s, schemas[i].before);
        repeat(&s, schemas[i].open, *schemas[i].close ? 30000 : 60000);
        str_append_s(&s, schemas[i].middle);
        repeat(&s, schemas[i].close, 30000);
        str_append_s(&s, schemas[i].after);
        check_schema(&s, schemas[i].says, NULL);
        str_release(&s);
    }
    static const char *const opens[] = {"(", "[", "(\"a\" | ", "\"", "x ::= (", "(root"};
    for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
        muga_error err = {0};
        constrain_grammar *g = NULL;
        str s = STR_INIT;
        str_append_s(&s, "root ::= ");
        repeat(&s, opens[i], 60000);
        muga_status st = constrain_compile_gbnf(str_get(&s), s.len, &g, &err);
        if (*opens[i] == '"') { /* thirty thousand times nothing */
            assert_ok(st, &err);
            assert_true(accepts(g, ""));
            constrain_grammar_free(g);
            g = NULL;
        } else {
            assert_true(st == MUGA_E_LIMIT || st == MUGA_E_INPUT);
            assert_status(st, st, &err, "grammar");
        }
        assert_true(constrain_compile_regex(str_get(&s) + 9, &g, &err) != MUGA_OK || g);
        constrain_grammar_free(g);
        str_release(&s);
    }
}

static void references_in_circles(void **state) {
    (void)state;
    static const struct {
        const char *schema, *says, *text;
    } cases[] = {
        {"{\"$ref\": \"#\"}", "without end", NULL},
        {"{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"allOf\": [{\"$ref\": \"#/$defs/b\"}]}, \"b\": {\"$ref\": "
         "\"#/$defs/a\"}}}",
         "without end", NULL},
        {"{\"not\": {\"$ref\": \"#\"}}", "no finite text", NULL},
        {"{\"anyOf\": [{\"$ref\": \"#\"}, {\"type\": \"string\"}]}", NULL, "\"a\""},
        {"{\"propertyNames\": {\"$ref\": \"#\"}}", NULL, "{\"a\":1}"},
        {"{\"if\": {\"$ref\": \"#\"}, \"then\": false, \"type\": \"null\"}", "no finite text", NULL},
        {"{\"items\": {\"$ref\": \"#\"}, \"minItems\": 1, \"type\": \"array\"}", "no finite text", NULL},
        {"{\"items\": {\"$ref\": \"#\"}, \"minItems\": 3, \"type\": [\"array\", \"null\"]}", NULL, "[null,null,null]"},
        {"{\"properties\": {\"a\": {\"$ref\": \"#\"}}, \"unevaluatedProperties\": {\"$ref\": \"#\"}, \"type\": "
         "\"object\"}",
         NULL, "{\"a\":{\"b\":{}}}"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        str s = STR_INIT;
        str_append_s(&s, cases[i].schema);
        check_schema(&s, cases[i].says, cases[i].text);
        str_release(&s);
    }
}

static void a_hundred_kilobytes_of_tools(void **state) {
    (void)state;
    str s = STR_INIT;
    str_append_s(&s, "{\"oneOf\": [");
    int n = 0;
    for (; s.len < 100000; n++) {
        str_printf(&s, "%s{\"type\": \"object\", \"properties\": {\"name\": {\"const\": \"tool_%d\"}, \"arguments\": {",
                   n ? "," : "", n);
        str_append_s(&s, "\"type\": \"object\", \"properties\": {");
        str_printf(&s, "\"id\": {\"type\": \"string\", \"pattern\": \"^[A-Z]{2}[0-9]{%d}$\"}, ", 3 + n % 7);
        str_printf(&s, "\"n\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": %d}, ", 10 + n);
        str_append_s(&s, "\"when\": {\"type\": \"string\", \"format\": \"date-time\"}, \"tags\": {\"type\": \"array\", "
                         "\"items\": {\"enum\": [\"a\", \"b\"]}, \"maxItems\": 5}, \"where\": {\"anyOf\": [{\"type\": "
                         "\"null\"}, {\"type\": \"object\", \"properties\": {\"lat\": {\"type\": \"number\"}, \"lon\": "
                         "{\"type\": \"number\"}}, \"required\": [\"lat\", \"lon\"]}]}}, \"required\": [\"id\"], "
                         "\"additionalProperties\": false}}, \"required\": [\"name\", \"arguments\"], "
                         "\"additionalProperties\": false}");
    }
    str_append_s(&s, "]}");
    assert_true(n > 100);
    check_schema(&s, NULL, "{\"name\":\"tool_77\",\"arguments\":{\"id\":\"AB123\",\"tags\":[\"a\"],\"where\":null}}");
    str_release(&s);
}

static void what_multiplies_is_counted(void **state) {
    (void)state;
    check_list("allOf", "{\"anyOf\": [{\"required\": [\"a#\"]}, {\"required\": [\"b#\"]}, {\"required\": [\"c#\"]}]}",
               16, "24000000 steps", NULL);
    check_list("allOf", "{\"type\": \"string\", \"pattern\": \"^([ab#]*c){3}$\"}", 60, NULL, "\"ccc\"");
    /* one alternative and none of the others: too many cases, so the answer is validated */
    static const char same[] =
        "{\"type\": \"object\", \"properties\": {\"a#\": {\"type\": \"integer\"}, \"b\": {\"type\": "
        "\"string\"}, \"c\": {}, \"d\": {\"enum\": [1]}, \"e\": {\"type\": \"null\"}}}";
    static const char other[] =
        "{\"a7\":1,\"a0\":\"x\",\"a1\":0.5,\"a2\":[],\"a3\":\"x\",\"a4\":{},\"a5\":true,\"a6\":null}";
    check_list("oneOf", same, 8, NULL, other);
    check_list("oneOf", "{\"minProperties\": #, \"maxProperties\": 10#}", 100, NULL, "{}");
    check_list("allOf", "{\"dependentRequired\": {\"a#\": [\"b#\"], \"c#\": [\"d#\"]}}", 20, "", NULL);
    static const struct {
        const char *schema, *says, *text;
    } cases[] = {{"{\"type\": \"string\", \"pattern\": \"^((a{1,100}){1,100}){1,100}$\"}", "unfold", NULL},
                 {"{\"type\": \"string\", \"pattern\": \"^[\\\\p{L}\\\\p{N}\\\\p{P}]{1,200}$\"}", NULL, "\"word\""},
                 {"{\"type\": \"string\", \"pattern\": \"^(a|b)*a(a|b){18}$\"}", NULL, "\"abbbbbbbbbbbbbbbbbb\""},
                 {"{\"type\": \"string\", \"pattern\": \"^[a-z]*$\", \"maxLength\": 1000000}", NULL, "\"word\""},
                 {"{\"type\": \"array\", \"minItems\": 1, \"maxItems\": 1000000000}", NULL, "[1]"},
                 {"{\"type\": \"object\", \"minProperties\": 1000000}", "too large to count", NULL},
                 {"{\"type\": \"array\", \"contains\": {\"const\": 1}, \"minContains\": 30000}", NULL, NULL}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        str s = STR_INIT;
        muga_error err = {0};
        constrain_grammar *g = NULL;
        str_append_s(&s, cases[i].schema);
        if (cases[i].says || cases[i].text) {
            check_schema(&s, cases[i].says, cases[i].text);
        } else { /* it compiles; its shortest value is too long to write here */
            json_t *v = NULL;
            assert_ok(json_parse(str_get(&s), s.len, "test", &v, &err), &err);
            assert_ok(constrain_compile_schema(v, NULL, &g, &err), &err);
            assert_non_null(constrain_rechecks(g));
            constrain_grammar_free(g);
            json_decref(v);
        }
        str_release(&s);
    }
}

/* BEFORE one | one | ... \nAFTER after after ..., where # is the number of the one. */
static void check_grammar(const char *before, const char *one, const char *behind, const char *after,
                          const char *text) {
    muga_error err = {0};
    constrain_grammar *g = NULL;
    str s = STR_INIT;
    str_append_s(&s, before);
    for (int i = 0; i < 10000; i++) {
        str_append_s(&s, i ? " | " : "");
        for (const char *p = one; *p; p++)
            *p == '#' ? str_printf(&s, "%d", i) : str_append_c(&s, *p);
    }
    str_append_s(&s, behind);
    for (int i = 0; i < 10000 && *after; i++)
        for (const char *p = after; *p; p++)
            *p == '#' ? str_printf(&s, "%d", i) : str_append_c(&s, *p);
    assert_ok(constrain_compile_gbnf(str_get(&s), s.len, &g, &err), &err);
    if (!accepts(g, text))
        fail_msg("%.60s: %s", str_get(&s), text);
    constrain_grammar_free(g);
    str_release(&s);
}

static void grammars_of_many_words(void **state) {
    (void)state;
    muga_error err = {0};
    constrain_grammar *g = NULL;
    check_grammar("root ::= ", "\"v#\"", "", "", "v77");
    check_grammar("root ::= ", "\"v#\"+", "", "", "v77v77");
    check_grammar("root ::= ", "a#", "\n", "a# ::= \"v#\" [a-z]*\n", "v77abc");
    check_grammar("root ::= ", "x a# y", "\nx ::= \"<\" | \"(\"\ny ::= \">\"\n", "a# ::= \"v#\"\n", "(v77>");
    check_grammar("root ::= \"[\" item (\",\" item)* \"]\"\nitem ::= (", "\"v#\"", ")", "", "[v77,v9]");
    assert_ok(constrain_compile_gbnf("root ::= ((\"a\" | \"b\")* \"c\"?){3}", 31, &g, &err), &err);
    assert_true(accepts(g, "abcabc"));
    constrain_grammar_free(g);
    g = NULL;
    static const char many[] = "root ::= (((\"a\"{100}){100}){100}){100}";
    assert_status(constrain_compile_gbnf(many, sizeof many - 1, &g, &err), MUGA_E_LIMIT, &err, "multiply");
}

/* Joining what begins alike adds no text and takes none: alternatives with empty, shared, nested and repeated parts. */
static void alternatives_keep_their_texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool taken;
    } cases[] = {{"ab", true},   {"ac", true},     {"a", false},     {"", true},         {"aab", true},
                 {"w12", true},  {"w12x", true},   {"w12xx", false}, {"w99", true},      {"w100", false},
                 {"wx", false},  {"r5r5", true},   {"r5r6", false},  {"r", false},       {"r99r", false},
                 {"r99", true},  {"n(n())", true}, {"n()", true},    {"n(n(r1))", true}, {"n(n(r1)", false},
                 {"n(ab)", true}};
    muga_error err = {0};
    constrain_grammar *g = NULL;
    str s = STR_INIT;
    str_append_s(&s, "root ::= | ab | \"a\" c | \"a\" ab | \"n(\" root \")\"");
    for (int i = 0; i < 100; i++)
        str_printf(&s, " | \"w%d\" (\"x\" | ) | (\"r%d\"){1,2}", i, i);
    str_append_s(&s, "\nab ::= \"ab\"\nc ::= [c-d]\n");
    assert_ok(constrain_compile_gbnf(str_get(&s), s.len, &g, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (accepts(g, cases[i].text) != cases[i].taken)
            fail_msg("%s", cases[i].text);
    constrain_grammar_free(g);
    str_release(&s);
}

static int stayed_small(void **state) {
    (void)state;
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    print_message("%ld MiB at most\n", use.ru_maxrss / 1024);
    return use.ru_maxrss > MAX_RSS_KIB;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_ten_thousand),         cmocka_unit_test(parentheses_without_end),
        cmocka_unit_test(references_in_circles),         cmocka_unit_test(a_hundred_kilobytes_of_tools),
        cmocka_unit_test(what_multiplies_is_counted),    cmocka_unit_test(grammars_of_many_words),
        cmocka_unit_test(alternatives_keep_their_texts),
    };
    return cmocka_run_group_tests(tests, NULL, stayed_small);
}
