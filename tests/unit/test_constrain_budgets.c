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

static const constrain_form call_form = {.trigger = "<call>",
                                         .start = "",
                                         .before = "{\"name\":\"",
                                         .middle = "\",\"arguments\":",
                                         .after = "}",
                                         .end = "</call>"};

/* An answer that may call tool_0 to tool_(n-1), with this schema: # is the number of the tool. */
static muga_status compile_answer(const char *schema, int n, constrain_grammar **g, muga_error *err) {
    json_t *schemas = json_array();
    constrain_call *calls = mem_alloc_array((size_t)n, sizeof *calls);
    char(*names)[24] = mem_alloc_array((size_t)n, sizeof *names);
    str s = STR_INIT;
    assert_true(schemas && calls && names);
    for (int i = 0; i < n; i++) {
        json_t *v;
        str_truncate(&s, 0);
        for (const char *p = schema; *p; p++)
            *p == '#' ? str_printf(&s, "%d", i) : str_append_c(&s, *p);
        assert_ok(json_parse(str_get(&s), s.len, "test", &v, err), err);
        assert_int_equal(json_array_append_new(schemas, v), 0);
        snprintf(names[i], sizeof names[i], "tool_%d", i);
        calls[i] = (constrain_call){names[i], v};
    }
    constrain_answer a = {.forms = &call_form, .n_forms = 1, .calls = calls, .n_calls = (size_t)n};
    muga_status st = constrain_compile_answer(&a, g, err);
    json_decref(schemas);
    free(calls);
    free(names);
    str_release(&s);
    return st;
}

static bool takes_call(const constrain_grammar *g, int tool, const char *arguments) {
    muga_error err = {0};
    constrain_state *at;
    bool yes = false;
    str s = STR_INIT;
    str_printf(&s, "I see.<call>{\"name\":\"tool_%d\",\"arguments\":%s}</call>", tool, arguments);
    assert_ok(constrain_state_new(g, &at, &err), &err);
    assert_ok(constrain_advance(at, str_get(&s), s.len, &yes, &err), &err);
    yes = yes && constrain_is_complete(at);
    constrain_state_free(at);
    str_release(&s);
    return yes;
}

/* It compiles; the last tool takes the arguments, which hold its number, and no tool beside the list does. */
static void check_answer(const char *schema, int n, const char *arguments) {
    muga_error err = {0};
    constrain_grammar *g = NULL;
    muga_status st = compile_answer(schema, n, &g, &err);
    if (st)
        fail_msg("%d of %.80s: %s", n, schema, err.message);
    if (!takes_call(g, n - 1, arguments))
        fail_msg("%d of %.80s: not %s", n, schema, arguments);
    if (takes_call(g, n, arguments))
        fail_msg("%d of %.80s: a tool that isn't there", n, schema);
    constrain_grammar_free(g);
}

/* It doesn't; the error has these words. */
static void refuse_answer(const char *schema, int n, const char *tool, const char *says) {
    muga_error err = {0};
    constrain_grammar *g = NULL;
    muga_status st = compile_answer(schema, n, &g, &err);
    if ((st != MUGA_E_LIMIT && st != MUGA_E_INPUT) || !strstr(err.message, tool) || !strstr(err.message, says))
        fail_msg("%d of %.80s: %d %s, wanted %s", n, schema, (int)st, err.message, says);
    assert_null(g);
}

static void answers_of_many_tools(void **state) {
    (void)state;
    static const char usual[] =
        "{\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"string\", \"pattern\": \"^[A-Z]{2}#$\"}, "
        "\"n\": {\"type\": \"integer\", \"minimum\": #}, \"when\": {\"type\": \"string\", \"format\": \"date-time\"}, "
        "\"tags\": {\"type\": \"array\", \"items\": {\"enum\": [\"a\", \"b#\"]}}, \"note\": {\"type\": \"string\"}}, "
        "\"required\": [\"id\"]}";
    static const char open_objects[] = "{\"type\": \"object\", \"properties\": {\"id\": {\"const\": #}}}";
    static const int counts[] = {1, 2, 64, 65, 300};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char text[100];
        int last = counts[i] - 1;
        snprintf(text, sizeof text, "{\"id\":\"AB%d\",\"n\":%d,\"tags\":[\"b%d\"],\"more\":1}", last, last + 1, last);
        check_answer(usual, counts[i], text);
    }
    check_answer(open_objects, 300, "{\"id\":299,\"x\":{}}");
    check_answer("{\"type\": \"object\", \"additionalProperties\": false}", 10000, "{}");
    refuse_answer("{\"type\": \"object\", \"additionalProperties\": false}", 19000, "answer with 19000 tools",
                  "grammar: more than 600000 nodes");
    check_answer("{\"const\": {\"k\": #}}", 10000, "{\"k\":9999}");
    refuse_answer(usual, 10000, "tool tool_", "with those before it: grammar: more than 600000 nodes");
}

static void answers_with_hostile_tools(void **state) {
    (void)state;
    str s = STR_INIT, text = STR_INIT;
    check_answer("{\"type\": \"object\", \"properties\": {\"next\": {\"$ref\": \"\\u0023\"}}}", 300,
                 "{\"next\":{\"next\":{\"other\":1}}}");
    refuse_answer("{\"allOf\": [{\"$id\": \"urn:a\", \"$ref\": \"urn:a\"}]}", 300, "tool tool_0", "without end");
    refuse_answer("{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"\\u0023\"}}, \"required\": [\"a\"]}",
                  300, "tool tool_0", "no finite arguments");
    for (int i = 0; i < 60; i++) { /* as deep as the JSON reader goes */
        str_append_s(&s, "{\"type\": \"object\", \"required\": [\"a\"], \"properties\": {\"a\": ");
        str_append_s(&text, "{\"a\":");
    }
    str_append_s(&s, "{}");
    str_append_s(&text, "1");
    for (int i = 0; i < 60; i++) {
        str_append_s(&s, "}}");
        str_append_s(&text, "}");
    }
    check_answer(str_get(&s), 30, str_get(&text));
    refuse_answer(str_get(&s), 1000, "tool tool_", "with those before it: grammar: more than");
    str_truncate(&s, 0);
    str_append_s(&s, "{\"enum\": [{}");
    for (int i = 0; i < 10000; i++)
        str_printf(&s, ", {\"a\": {\"b\": %d}}", i);
    str_append_s(&s, ", {\"c\": #}]}");
    check_answer(str_get(&s), 2, "{\"c\":1}");
    refuse_answer(str_get(&s), 20, "tool tool_", "grammar: more than");
    str_truncate(&s, 0);
    str_append_s(&s, "{\"pattern\": \"");
    repeat(&s, "(", 60000);
    str_append_s(&s, "\"}");
    refuse_answer(str_get(&s), 2, "tool tool_0", "nest deeper than 200");
    str_release(&s);
    str_release(&text);
}

/* A pattern too large for an automaton is left to the validator, and whether that can have it counts as well: the same
 * pattern once, others until the budget is used up. */
static void answers_with_exploding_patterns(void **state) {
    (void)state;
    static const char same[] = "{\"properties\": {\"q\": {\"pattern\": \"^[\\\\p{L}\\\\p{N}]{1,200}$\"}}, "
                               "\"type\": \"object\", \"required\": [\"q\"]}";
    static const char other[] = "{\"properties\": {\"q\": {\"pattern\": \"^[\\\\p{L}\\\\p{N}#]{1,200}$\"}}, "
                                "\"type\": \"object\", \"required\": [\"q\"]}";
    static const char long_one[] = "{\"properties\": {\"q\": {\"pattern\": \"^[a-z]{60000}#$\"}}, "
                                   "\"type\": \"object\", \"required\": [\"q\"]}";
    check_answer(same, 1000, "{\"q\":\"word\"}");
    check_answer("{\"properties\": {\"q\": {\"type\": \"string\", \"pattern\": \"^(a|b)*a(a|b){18}$\"}}}", 1000,
                 "{\"q\":\"abbbbbbbbbbbbbbbbbb\"}");
    check_answer(other, 10, "{\"q\":\"word\"}");
    refuse_answer(other, 300, "tool tool_", "\"/properties/q\"");
    refuse_answer(long_one, 10000, "tool tool_", "budget");
}

static void what_multiplies_is_counted(void **state) {
    (void)state;
    check_list("allOf", "{\"anyOf\": [{\"required\": [\"a#\"]}, {\"required\": [\"b#\"]}, {\"required\": [\"c#\"]}]}",
               16, "50000 cases", NULL);
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
        cmocka_unit_test(alternatives_keep_their_texts), cmocka_unit_test(answers_of_many_tools),
        cmocka_unit_test(answers_with_hostile_tools),    cmocka_unit_test(answers_with_exploding_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, stayed_small);
}
