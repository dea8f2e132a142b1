/* Evaluation of an agent that has agents within, on a scripted model. If this failed, one task would begin with what
 * another left in the data, state or memory of an agent within, or what such an agent does without leave would be no
 * wrong effect of the one that is measured. */
#include "agents/plan_fixture.h"

#include "agent/eval.h"

#include <string.h>

#define INNER(approval)                                                                                                \
    "version: 1\nagent: inner\nkind: goal\nmodel: scripted\ngoal: {statement: Do it.}\nplan: {mode: step}\n"           \
    "session: {person: {type: integer}}\n"                                                                             \
    "tools:\n"                                                                                                         \
    "  - name: reset\n    description: Reset the password.\n"                                                          \
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"                                    \
    "    sql: {database: inner.db, exec: 'INSERT INTO done(customer) VALUES (:session_person)'}\n"                     \
    "    effect: write\n    approval: " approval "\n"
#define OUTER(kind, properties)                                                                                        \
    "version: 1\nagent: outer\nkind: goal\nmodel: scripted\ngoal: {statement: Help.}\n"                                \
    "session: {customer: {type: integer}}\nescalation: {to: human}\n"                                                  \
    "plan: {mode: step, replans: 0, failed: A colleague will help.}\nlimits: {tokens: 100000}\n"                       \
    "tools:\n  - name: other\n    description: Another agent.\n    effect: write\n    approval: never\n"               \
    "    parameters: {type: object, properties: " properties ", additionalProperties: false}\n    " kind               \
    ": {dir: inner, session: {person: customer}}\n"

static const char asking[] = OUTER("agent", "{request: {type: string, maxLength: 200}}, required: [request]");
static const char handing[] = OUTER("hand_off", "{}");

#define TASK(id, approver, expect)                                                                                     \
    "{\"id\": \"" id "\", \"session\": {\"customer\": 1}, \"messages\": [\"reset my password\"], \"approver\": "       \
    "\"" approver "\", \"expect\": " expect "}\n"
#define RESET "\"calls\": [{\"tool\": \"reset\", \"arguments\": {}}]"
#define ROWS(rows) "\"state\": [{\"sql\": \"SELECT customer FROM done\", \"rows\": " rows "}]"
#define RESETS CALLS("other", "{\\\"request\\\":\\\"Reset it.\\\"}") ", " CALLS("reset", "{}")
#define ASKED RESETS ", " SAYS("It is reset.") ", " SAYS("Done.")

/* Plays the tasks to an agent with `inner` within, whose data then are as they were: none. */
static void play(const char *name, const char *outer, const char *inner, const char *script, const char *lines,
                 eval_report *out) {
    agent_fixture f;
    muga_error err;
    json_t *tasks = NULL, *list = NULL;
    llm *model = NULL;
    char path[1100], scratch[1100];
    fixture_prepare(&f, name, outer);
    snprintf(path, sizeof path, "%s/inner", f.dir);
    snprintf(scratch, sizeof scratch, "%s/eval", f.dir);
    assert_ok(f.env.files->mkdirs(f.env.files->self, path, &err), &err);
    assert_ok(f.env.files->mkdirs(f.env.files->self, scratch, &err), &err);
    fixture_write(&f, "inner/agent.yaml", inner);
    fixture_write(&f, "inner/inner.sql", "CREATE TABLE done(customer INTEGER);");
    assert_ok(eval_read_tasks(lines, strlen(lines), "tasks.jsonl", &tasks, &err), &err);
    assert_ok(json_parse(script, strlen(script), "script", &list, &err), &err);
    assert_ok(llm_scripted_new(list, &model, &err), &err);
    const eval_spec spec = {.env = &f.env, .dir = f.dir, .data_dir = f.dir, .scratch = scratch, .model = model};
    assert_ok(eval_run(&spec, tasks, out, &err), &err);
    snprintf(path, sizeof path, "%s/inner/inner.db", f.dir);
    os_stat info;
    assert_ok(f.env.files->stat(f.env.files->self, path, &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_NONE);
    llm_free(model);
    json_decref(list);
    json_decref(tasks);
    fixture_close(&f);
}

static const char *why(const eval_report *r, size_t i) {
    return json_get_string(json_array_get(r->results, i), "why");
}

static void expect_done(const eval_report *r, size_t n) {
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(why(r, i), "");
    }
    assert_int_equal(r->completed, n);
    assert_int_equal(r->wrong_effects + r->unapproved, 0);
}

static void tasks_do_not_see_each_others_data_within(void **state) {
    (void)state;
    eval_report r;
    play("two-tasks", asking, INNER("always"), "[" ASKED ", " ASKED "]",
         TASK("a", "expected", "{" RESET ", " ROWS("[[1]]") "}")
             TASK("b", "expected", "{" RESET ", " ROWS("[[1]]") "}"),
         &r);
    expect_done(&r, 2);
    eval_report_release(&r);
    play("two-handed", handing, INNER("always"),
         "[" CALLS("other", "{}") ", " CALLS("reset", "{}") ", " SAYS("It is reset.") ", " CALLS(
             "other", "{}") ", " CALLS("reset", "{}") ", " SAYS("It is reset.") "]",
         TASK("a", "expected", "{" RESET ", " ROWS("[[1]]") "}")
             TASK("b", "expected", "{" RESET ", " ROWS("[[1]]") "}"),
         &r);
    expect_done(&r, 2);
    eval_report_release(&r);
}

static void an_unlisted_write_within_is_a_wrong_effect(void **state) {
    (void)state;
    eval_report r;
    play("unlisted", asking, INNER("never"), "[" ASKED "]", TASK("a", "expected", "{\"outcome\": \"answer\"}"), &r);
    assert_int_equal(r.wrong_effects, 1);
    assert_int_equal(r.unapproved, 0);
    assert_non_null(strstr(why(&r, 0), "1 wrong and 0 unapproved"));
    eval_report_release(&r);
    /* to ask another agent is none by itself */
    play("harmless", asking, INNER("never"),
         "[" CALLS("other", "{\\\"request\\\":\\\"Hello.\\\"}") ", " SAYS("Hello.") ", " SAYS("Done.") "]",
         TASK("a", "expected", "{\"outcome\": \"answer\", " ROWS("[]") "}"), &r);
    expect_done(&r, 1);
    eval_report_release(&r);
}

static void what_is_not_listed_is_not_allowed_within(void **state) {
    (void)state;
    eval_report r;
    play("held", asking, INNER("always"), "[" RESETS ", " SAYS("No.") ", " SAYS("No.") "]",
         TASK("a", "expected", "{" ROWS("[]") "}"), &r);
    expect_done(&r, 1);
    eval_report_release(&r);
    play("denied", asking, INNER("never"), "[" ASKED "]", TASK("a", "deny", "{" RESET "}"), &r);
    assert_int_equal(r.wrong_effects, 0); /* nobody had to be asked */
    eval_report_release(&r);
    play("missing", asking, INNER("never"), "[" SAYS("Done.") "]", TASK("a", "expected", "{" RESET "}"), &r);
    assert_non_null(strstr(why(&r, 0), "reset was not called"));
    eval_report_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tasks_do_not_see_each_others_data_within),
                                       cmocka_unit_test(an_unlisted_write_within_is_a_wrong_effect),
                                       cmocka_unit_test(what_is_not_listed_is_not_allowed_within)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
