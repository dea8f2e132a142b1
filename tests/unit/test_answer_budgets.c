/* Whole answers with very many tools, or hostile ones. If this failed, a request's tools could stop the machine for
 * seconds or take its memory, one of them could make the others' calls impossible, or a refusal wouldn't say which it
 * was. Work is counted, not timed. */
#include "support/support.h"

#include "base/mem.h"
#include "constrain/constrain.h"

#include <sys/resource.h>

#define MAX_RSS_KIB (1u << 20) /* of this process, sanitizers included; it takes a tenth without */

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
    refuse_answer(usual, 1000, "tool tool_", "with those before it: grammar: more than 600000 nodes");
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
    refuse_answer(str_get(&s), 300, "tool tool_", "with those before it: grammar: more than");
    str_truncate(&s, 0);
    str_append_s(&s, "{\"enum\": [{}");
    for (int i = 0; i < 10000; i++)
        str_printf(&s, ", {\"a\": {\"b\": %d}}", i);
    str_append_s(&s, ", {\"c\": #}]}");
    check_answer(str_get(&s), 2, "{\"c\":1}");
    str_truncate(&s, 0);
    str_append_s(&s, "{\"enum\": [0");
    for (int i = 0; i < 10000; i++)
        str_printf(&s, ", \"%d%080d\"", i, 0);
    str_append_s(&s, "]}");
    refuse_answer(str_get(&s), 2, "tool tool_0: ", "grammar: more than 600000 nodes");
    str_truncate(&s, 0);
    str_append_s(&s, "{\"pattern\": \"");
    for (int i = 0; i < 60000; i++)
        str_append_c(&s, '(');
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
    refuse_answer(long_one, 1000, "tool tool_", "budget");
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
        cmocka_unit_test(answers_of_many_tools),
        cmocka_unit_test(answers_with_hostile_tools),
        cmocka_unit_test(answers_with_exploding_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, stayed_small);
}
