/* The judge of evaluation tasks, on a scripted model. If this failed, an agent would pass that did too
 * little, or too much. */
#include "agents/loop_fixture.h"

#include <string.h>

/* Plays one task (JSON) with a script to the fixture's agent. */
static void judge(const char *name, const char *script, const char *task, eval_report *out) {
    loop_fixture x = {.loop = NULL};
    muga_error err;
    char scratch[1024], data[1100];
    json_t *tasks = NULL;
    loop_open(&x, name, script);
    snprintf(scratch, sizeof scratch, "%s", scratch_path(name));
    snprintf(data, sizeof data, "%s/eval", scratch);
    assert_ok(eval_read_tasks(task, strlen(task), "tasks.jsonl", &tasks, &err), &err);
    const eval_spec spec = {.env = &x.f.env, .dir = x.f.dir, .data_dir = x.f.dir, .scratch = data, .model = x.model};
    assert_ok(x.f.env.files->mkdirs(x.f.env.files->self, data, &err), &err);
    assert_ok(eval_run(&spec, tasks, out, &err), &err);
    /* the agent's own data are untouched */
    assert_int_equal(fixture_count(x.f.shop_path, "SELECT count(*) FROM resets"), 0);
    json_decref(tasks);
    loop_close(&x);
}

static const char *why(const eval_report *r) {
    return json_get_string(json_array_get(r->results, 0), "why");
}

#define TASK(session, message, approver, expect)                                                                       \
    "{\"id\": \"t\", \"now\": \"2026-09-14T10:30:00Z\", \"session\": {\"customer\": " session                          \
    "}, \"messages\": [\"" message "\"], \"approver\": \"" approver "\", \"expect\": " expect "}"
#define RESET_ROWS(rows) "\"state\": [{\"sql\": \"SELECT customer FROM resets\", \"rows\": " rows "}]"
#define RESET_CALL "\"calls\": [{\"tool\": \"reset\", \"arguments\": {}}]"

static void what_is_done_as_listed_is_done(void **state) {
    (void)state;
    eval_report r;
    judge("done", "[]",
          TASK("2", "reset my password", "expected",
               "{\"outcome\": \"answer\", " RESET_CALL ", " RESET_ROWS("[[2]]") "}"),
          &r);
    assert_string_equal(why(&r), "");
    assert_int_equal(r.completed, 1);
    assert_int_equal(r.wrong_effects + r.unapproved, 0);
    eval_report_release(&r);
    judge("facts", "[]", TASK("1", "status of A10001", "expected", "{\"answer_has\": [\"a10001\", \"SHIPPED\"]}"), &r);
    assert_int_equal(r.completed, 1);
    eval_report_release(&r);
}

static void what_is_missing_or_too_much_is_not(void **state) {
    (void)state;
    eval_report r;
    judge("fact", "[]", TASK("1", "status of A10001", "expected", "{\"answer_has\": [\"delivered\"]}"), &r);
    assert_non_null(strstr(why(&r), "lacks \"delivered\""));
    assert_int_equal(r.completed, 0);
    eval_report_release(&r);
    judge("call", "[]", TASK("1", "status of A10001", "expected", "{" RESET_CALL "}"), &r);
    assert_non_null(strstr(why(&r), "reset was not called"));
    eval_report_release(&r);
    judge("outcome", "[]", TASK("1", "let me talk to a human", "expected", "{\"outcome\": [\"answer\", \"ask\"]}"), &r);
    assert_non_null(strstr(why(&r), "outcome is escalate"));
    assert_int_equal(r.escalated, 1);
    eval_report_release(&r);
    judge("state", "[]", TASK("2", "reset my password", "expected", "{" RESET_CALL ", " RESET_ROWS("[[1]]") "}"), &r);
    assert_non_null(strstr(why(&r), "state differs"));
    eval_report_release(&r);
}

static void the_approver_allows_only_what_is_listed(void **state) {
    (void)state;
    eval_report r;
    judge("unlisted", "[]", TASK("2", "reset my password", "expected", "{" RESET_ROWS("[]") "}"), &r);
    assert_string_equal(why(&r), ""); /* asked for leave, got none, did nothing */
    assert_int_equal(r.wrong_effects + r.unapproved, 0);
    eval_report_release(&r);
    judge("deny", "[]",
          TASK("2", "reset my password", "deny", "{\"outcome\": \"refuse\", " RESET_CALL ", " RESET_ROWS("[]") "}"),
          &r);
    assert_string_equal(why(&r), "");
    eval_report_release(&r);
    judge("none", "[]",
          TASK("2", "reset my password", "none", "{\"outcome\": \"answer\", " RESET_CALL ", " RESET_ROWS("[]") "}"),
          &r);
    assert_string_equal(why(&r), ""); /* still held */
    eval_report_release(&r);
}

/* A manifest that asks for no approval: the same message is then a write that nobody listed. */
static void an_unlisted_write_is_a_wrong_effect(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    muga_error err;
    eval_report r;
    json_t *tasks = NULL;
    const char *task = TASK("2", "reset my password", "expected", "{\"outcome\": \"answer\"}");
    char *careless = strdup(loop_manifest), scratch[1024];
    memcpy(strstr(careless, "approval: always"), "approval: never ", 16);
    loop_open(&x, "careless", "[]");
    fixture_write(&x.f, "agent.yaml", careless);
    snprintf(scratch, sizeof scratch, "%s", scratch_path("careless-eval"));
    assert_ok(x.f.env.files->mkdirs(x.f.env.files->self, scratch, &err), &err);
    assert_ok(eval_read_tasks(task, strlen(task), "tasks.jsonl", &tasks, &err), &err);
    const eval_spec spec = {.env = &x.f.env, .dir = x.f.dir, .data_dir = x.f.dir, .scratch = scratch, .model = x.model};
    assert_ok(eval_run(&spec, tasks, &r, &err), &err);
    assert_int_equal(r.wrong_effects, 1);
    assert_int_equal(r.completed, 0);
    eval_report_release(&r);
    json_decref(tasks);
    free(careless);
    loop_close(&x);
}

static void tasks_out_of_format_are_refused_by_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {{"{\"id\": \"a\", \"messages\": [\"x\"], \"expect\": {}}\n{\"id\": 1}", "t:2"},
               {"{\"id\": \"a\", \"messages\": [], \"expect\": {}}", "t:1"},
               {"{\"id\": \"a\", \"messages\": [\"x\"], \"expect\": {\"outcome\": \"won\"}}", "t:1"},
               {"{\"id\": \"a\", \"now\": \"yesterday\", \"messages\": [\"x\"], \"expect\": {}}", "is not a time"},
               {"\n\n", "holds no task"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        muga_error err;
        json_t *tasks = NULL;
        assert_status(eval_read_tasks(bad[i].text, strlen(bad[i].text), "t", &tasks, &err), MUGA_E_INPUT, &err,
                      bad[i].part);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_done_as_listed_is_done),
                                       cmocka_unit_test(what_is_missing_or_too_much_is_not),
                                       cmocka_unit_test(the_approver_allows_only_what_is_listed),
                                       cmocka_unit_test(an_unlisted_write_is_a_wrong_effect),
                                       cmocka_unit_test(tasks_out_of_format_are_refused_by_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
