/* ctest: slow
 * The goal loop that plans, on the real model of 135 million parameters. If this failed, a small model's poor plan
 * would not reach a goal that two calls reach, would call what nobody named, or would not replay to the bit. */
#include "agent/dataset.h"
#include "agent/loop.h"
#include "support/agent_fixture.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static muga_status replay(void *ctx, int64_t n, const json_t *payload, const json_t *evidence, muga_error *err) {
    (void)n;
    (void)payload;
    return llm_replay(ctx, evidence, err);
}

static void write_manifest(const char *dir, const char *mode) {
    muga_error err;
    agent_env env = agent_env_system();
    char path[1024];
    str text = STR_INIT;
    assert_ok(os_read_file(env.files, source_path("tests/agents/planner/agent.yaml"), 65536, &text, &err), &err);
    char *at = strstr(text.data, "\nplan:");
    assert_non_null(at);
    str_truncate(&text, (size_t)(at - text.data));
    str_printf(&text, "\nplan: {mode: %s}\n", mode);
    snprintf(path, sizeof path, "%s/agent.yaml", dir);
    assert_ok(os_write_file_atomic(env.files, path, text.data, text.len, &err), &err);
    str_release(&text);
}

static void plays(const char *mode) {
    agent_env env = agent_env_system();
    char dir[512], path[1024];
    muga_error err;
    manifest *m = NULL;
    store *s = NULL;
    llm *model = NULL;
    agent_session *session = NULL;
    agent_loop *loop = NULL;
    turn_result r;
    audit_report report;
    const llm_local_options options = {.isa = -1};
    static const char message[] = "where is my order A10001?";
    snprintf(dir, sizeof dir, "%s", scratch_path(mode));
    assert_ok(env.files->mkdirs(env.files->self, dir, &err), &err);
    write_manifest(dir, mode);
    assert_ok(dataset_prepare(&env, source_path("tests/agents/planner"), dir, &err), &err);
    assert_ok(llm_local_open(model_path(), "smollm2-135m-instruct", &options, &model, &err), &err);
    assert_ok(manifest_load(&env, dir, NULL, &m, &err), &err);
    snprintf(path, sizeof path, "%s/muga.db", dir);
    assert_ok(store_open(path, NULL, &s, &err), &err);
    json_t *values = fixture_json("{'customer': 7}");
    assert_ok(session_new(&env, s, m, values, NULL, &session, &err), &err);
    json_decref(values);
    const loop_parts parts = {.env = &env, .manifest = m, .model = model, .session = session};
    assert_ok(loop_new(&parts, &loop, &err), &err);
    assert_ok(loop_turn(loop, message, strlen(message), &r, &err), &err);
    assert_int_equal(r.outcome, TURN_ANSWER);
    assert_true(r.done);
    assert_non_null(strstr(str_get(&r.text), "shipped"));
    turn_result_release(&r);
    snprintf(path, sizeof path, "%s/shop.db", dir);
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM notes WHERE customer = 7"), 1);
    assert_ok(audit_replay(s, NULL, replay, model, &report, &err), &err);
    assert_true(report.n_replayed >= 3);
    loop_free(loop);
    session_close(session);
    store_close(s);
    manifest_free(m);
    llm_free(model);
}

static void a_small_model_reaches_the_goal_by_a_plan(void **state) {
    (void)state;
    plays("plan");
}

static void a_small_model_reaches_the_goal_step_by_step(void **state) {
    (void)state;
    plays("step");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_model_reaches_the_goal_by_a_plan),
        cmocka_unit_test(a_small_model_reaches_the_goal_step_by_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
