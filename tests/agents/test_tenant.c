/* For whom an agent runs. If this failed, one tenant of the server could find in the prompt cache what an agent read
 * for another, or a key could have an agent use a tool that it may not. */
#include "agents/loop_fixture.h"
#include "agents/plan_fixture.h"

#define EXPERT "  expert: {instruction: Sort., mask: '#', together: 2, logprob: 1, votes: 0, sure: 0.6}\n"

/* Every request that the model got was for this tenant, and there were some. */
static void assert_asked_for(const llm *m, const char *tenant, size_t n_least) {
    const json_t *asked = llm_scripted_requests(m);
    for (size_t i = 0; i < json_array_size(asked); i++) {
        const char *of = json_get_string(json_array_get(asked, i), "tenant");
        if (!of || strcmp(of, tenant) != 0) {
            fail_msg("request %zu was asked for %s", i, of ? of : "nobody");
        }
    }
    assert_true(json_array_size(asked) >= n_least);
}

/* loop_open_as for a tenant, as a key that may use what `may` says. */
static void open_for(loop_fixture *x, const char *name, const char *yaml, const char *script, const char *tenant,
                     bool (*may)(void *self, const char *agent, const char *tool)) {
    muga_error err;
    json_t *list = NULL, *values = fixture_json("{'customer': 1}");
    fixture_open(&x->f, name, yaml);
    fixture_write(&x->f, "examples.jsonl", loop_examples);
    x->f.env.tenant = tenant;
    x->f.env.may_use = may;
    assert_ok(intent_new(&x->f.env, x->f.m, &x->intent, &err), &err);
    assert_ok(json_parse(script, strlen(script), "script", &list, &err), &err);
    assert_ok(llm_scripted_new(list, &x->model, &err), &err);
    x->model->has_adapter = strstr(yaml, "expert:") != NULL;
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    json_decref(list);
    json_decref(values);
    loop_begin(x);
}

static void every_way_of_asking_says_for_whom(void **state) {
    (void)state;
    static const char script[] = "[" GIVES_ID("A10001") "]";
    loop_fixture x = {.loop = NULL};
    open_for(&x, "arguments", LOOP_MANIFEST(LOOP_DETAIL), script, "shop", NULL);
    loop_say(&x, "where is my order A10001", TURN_ANSWER, "shipped");
    assert_asked_for(x.model, "shop", 1);
    loop_close(&x);

    str yaml = STR_INIT;
    const char *at = strstr(loop_manifest, "model_weight: 0");
    str_append(&yaml, loop_manifest, (size_t)(at - loop_manifest));
    str_printf(&yaml, "model_weight: 1%s", at + strlen("model_weight: 0"));
    open_for(&x, "labels", str_get(&yaml), "[{\"scores\": [-0.1, -9, -9, -9, -9, -9]}]", "shop", NULL);
    loop_say(&x, "where is my order A10001", TURN_ANSWER, "shipped");
    assert_asked_for(x.model, "shop", 1);
    loop_close(&x);

    str_clear(&yaml);
    str_printf(&yaml, "%s%s", loop_manifest, EXPERT);
    open_for(&x, "expert", str_get(&yaml), "[{\"scores\": [-0.1, -9, -9, -9, -9, -9, -9, -50, -50, -50]}]", "shop",
             NULL);
    loop_say(&x, "where is my order A10001", TURN_ANSWER, "shipped");
    assert_asked_for(x.model, "shop", 1);
    loop_close(&x);
    str_release(&yaml);
}

static void a_planning_agent_says_so_too(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    plan_open(&x, "plans", PLANS, NULL,
              "[" PLAN("latest") ", " CALLS("latest", "{}") ", " ANSWERS("It is A10001.") "]");
    x.f.env.tenant = "shop"; /* the loop reads it when it asks */
    plan_say_only(&x, "Which is my latest order?", TURN_ANSWER, "A10001");
    assert_asked_for(x.model, "shop", 2);
    loop_free(x.loop);
    llm_free(x.model);
    fixture_close(&x.f);
}

static bool all_but_orders(void *self, const char *agent, const char *tool) {
    (void)self;
    assert_string_equal(agent, "test-shop");
    return strcmp(tool, "order_status") != 0;
}

static void a_tool_that_whoever_asks_may_not_use_is_not_called(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    muga_error err;
    turn_result r;
    open_for(&x, "rights", loop_manifest, "[]", NULL, all_but_orders);
    static const char says[] = "where is my order A10001";
    assert_ok(loop_turn(x.loop, says, strlen(says), &r, &err), &err);
    assert_null(strstr(str_get(&r.text), "shipped"));
    turn_result_release(&r);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM calls WHERE tool = 'order_status' AND state ="
                                                   " 'refused' AND reason LIKE '%no right to order_status%'"),
                     1);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM calls WHERE state = 'started'"), 0);
    loop_close(&x);
    open_for(&x, "rights2", loop_manifest, "[]", NULL, all_but_orders);
    loop_say(&x, "the latest one I ordered", TURN_ANSWER, "It is A");
    loop_close(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_way_of_asking_says_for_whom),
                                       cmocka_unit_test(a_planning_agent_says_so_too),
                                       cmocka_unit_test(a_tool_that_whoever_asks_may_not_use_is_not_called)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
