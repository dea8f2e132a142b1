/* The tools that end a turn with a person. If this failed, a manifest would load whose question nobody wrote, or whose
 * escalation took arguments that go nowhere; or what they return would hold the model's words. */
#include "base/mem.h"
#include "support/agent_fixture.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static const char manifest_head[] = "version: 1\n"
                                    "agent: test-asker\n"
                                    "kind: goal\n"
                                    "model: scripted\n"
                                    "session: {customer: {type: integer}}\n"
                                    "goal: {statement: Help.}\n"
                                    "tools:\n"
                                    "  - name: person\n"
                                    "    description: x\n";

static muga_status load(agent_fixture *f, const char *name, const char *tool, muga_error *err) {
    char text[2048];
    snprintf(text, sizeof text, "%s%s", manifest_head, tool);
    fixture_prepare(f, name, text);
    return manifest_load(&f->env, f->dir, NULL, &f->m, err);
}

#define NO_PARAMETERS "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
#define ONE(name, type)                                                                                                \
    "    parameters: {type: object, properties: {" name ": {type: " type "}}, additionalProperties: false}\n"

static void what_could_ask_nothing_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *tool, *part;
    } wrong[] = {
        {NO_PARAMETERS "    ask_person: {}\n    effect: read\n", "agent.yaml:11:5: key tools[0].ask_person"},
        {ONE("question", "integer") "    ask_person: {}\n    effect: read\n", "question, of type: string"},
        {ONE("words", "string") "    ask_person: {question: Which?}\n    effect: read\n", "tools[0].parameters"},
        {ONE("question", "string") "    ask_person: {}\n    effect: write\n", "say effect: read"},
        {ONE("why", "string") "    escalate: {}\n    effect: read\n", "one parameter, reason"},
        {NO_PARAMETERS "    escalate: {to: x}\n    effect: read\n", "tools[0].escalate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        agent_fixture f;
        muga_error err;
        char name[24];
        snprintf(name, sizeof name, "wrong-%zu", i);
        assert_status(load(&f, name, wrong[i].tool, &err), MUGA_E_INPUT, &err, wrong[i].part);
        fixture_close(&f);
    }
}

static void runs(const char *name, const char *tool, const char *arguments, const char *result) {
    agent_fixture f;
    muga_error err;
    call_result r;
    assert_ok(load(&f, name, tool, &err), &err);
    assert_ok(store_open(f.store_path, NULL, &f.store, &err), &err);
    fixture_begin(&f, 1, "hello");
    json_t *given = fixture_json(arguments), *wanted = fixture_json(result);
    assert_ok(executor_call(f.session, "person", given, &r, &err), &err);
    assert_int_equal(r.outcome, CALL_FINISHED);
    assert_true(json_equal(r.result, wanted));
    call_result_release(&r);
    json_decref(given);
    json_decref(wanted);
    fixture_close(&f);
}

static void a_result_holds_no_word_of_the_model(void **state) {
    (void)state;
    runs("ask", ONE("question", "string") "    ask_person: {}\n    effect: read\n", "{'question': 'Is it A10001?'}",
         "{'asked': true}");
    runs("fixed", NO_PARAMETERS "    ask_person: {question: Which?}\n    effect: read\n", "{}", "{'asked': true}");
    runs("escalate", ONE("reason", "string") "    escalate: {}\n    effect: read\n", "{'reason': 'A10001'}",
         "{'handed_over': true}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_could_ask_nothing_is_refused),
        cmocka_unit_test(a_result_holds_no_word_of_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
