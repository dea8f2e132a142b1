/* The manifest's scope: as a guard, on scripted models. If this failed, a message outside of what an agent is for would
 * be planned for and acted on; a message within, or an answer to the agent's own question, would be turned away; or
 * nobody could see afterwards why. */
#include "agents/loop_fixture.h"
#include "agents/plan_fixture.h"

#define SCORES(domain, other) "{\"scores\": [" #domain ", " #other "]}"
#define BIAS SCORES(-10, -10) ", " SCORES(-11, -9) ", " SCORES(-9, -11) ", " /* the mean: 0 */
#define OUTSIDE BIAS SCORES(-20, -10)                                        /* by 10 nats */
#define UNSURE BIAS SCORES(-12, -10)
#define SCOPE(more) PLANS "scope: {domain: orders of a shop" more "}\n"
#define DONE PLAN("order_status") ", " ANSWERS("Order A10001 is shipped.")

/* Records of the guard with this action. */
static int64_t n_records(const agent_fixture *f, const char *action) {
    char sql[400];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM audit a JOIN audit_payload p ON p.n = a.n WHERE a.kind = 'guard' AND"
             " json_extract(p.payload, '$.guard') = 'scope' AND json_extract(p.payload, '$.action') = '%s'",
             action);
    return fixture_count(f->store_path, sql);
}

static const json_t *asked_of(const plan_fixture *x, size_t i) {
    return json_array_get(llm_scripted_requests(x->model), i);
}

static void what_is_outside_is_refused_before_anything_is_planned(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    plan_open(&x, "refused", SCOPE(", otherwise: refuse"), NULL, "[" OUTSIDE ", " SCORES(-3, -9) ", " DONE "]");
    turn_result r = plan_say(&x, "who won the cup", TURN_REFUSE, "I deal with orders of a shop only");
    assert_true(r.n_tokens > 0);
    turn_result_release(&r);
    assert_int_equal(json_array_size(llm_scripted_requests(x.model)), 4);
    assert_string_equal(json_string_value(json_array_get(json_object_get(asked_of(&x, 3), "labels"), 0)),
                        "orders of a shop");
    assert_int_equal(n_records(&x.f, "refuse"), 1);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM audit WHERE kind = 'message'"), 0);
    plan_say_only(&x, "where is my order A10001", TURN_ANSWER, "shipped"); /* the bias is known by then */
    assert_int_equal(n_records(&x.f, "pass"), 1);
    plan_close(&x);
}

static void what_is_outside_goes_to_a_person(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    plan_open(&x, "handed", SCOPE(", say: Not mine."), NULL, "[" OUTSIDE "]");
    plan_say_only(&x, "who won the cup", TURN_ESCALATE, "Not mine.");
    assert_true(session_ended(x.f.session));
    assert_int_equal(n_records(&x.f, "escalate"), 1);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM audit WHERE kind = 'escalation'"), 1);
    plan_close(&x);
}

static void what_comes_after_the_scopes_own_question_is_looked_at_again(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    plan_open(&x, "asked", SCOPE(", otherwise: ask"), NULL, "[" OUTSIDE ", " SCORES(-20, -10) "]");
    plan_say_only(&x, "who won the cup", TURN_ASK, "in other words");
    plan_say_only(&x, "the cup, I mean", TURN_ASK, "in other words");
    assert_int_equal(n_records(&x.f, "ask"), 2);
    plan_close(&x);
}

static void in_doubt_a_message_goes_on_and_the_margin_is_the_manifests(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    plan_open(&x, "doubt", SCOPE(""), NULL, "[" UNSURE ", " DONE "]");
    plan_say_only(&x, "where is my order A10001", TURN_ANSWER, "shipped");
    plan_close(&x);
    plan_fixture y = {.loop = NULL};
    plan_open(&y, "strict", SCOPE(", margin: 1.5, otherwise: refuse"), NULL, "[" UNSURE "]");
    plan_say_only(&y, "where is my order A10001", TURN_REFUSE, "orders of a shop");
    plan_close(&y);
}

static void an_answer_to_the_agents_question_is_not_looked_at(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    plan_open(&x, "question", SCOPE(", otherwise: refuse"), NULL,
              "[" BIAS SCORES(-1, -9) ", " PLAN("ask_which") ", " ASKS("Which order?") ", " DONE "]");
    plan_say_only(&x, "where is my order", TURN_ASK, "Which order?");
    plan_say_only(&x, "A10001", TURN_ANSWER, "shipped");
    assert_int_equal(n_records(&x.f, "pass"), 1);
    plan_close(&x);
}

static void what_the_model_cannot_read_goes_on_and_is_recorded(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    plan_open(&x, "unread", SCOPE(", otherwise: refuse"), NULL,
              "[" BIAS "{\"error\": \"limit\", \"message\": \"too long\"}, " DONE "]");
    plan_say_only(&x, "where is my order A10001", TURN_ANSWER, "shipped");
    assert_int_equal(n_records(&x.f, "pass"), 1);
    plan_close(&x);
}

static void the_record_holds_the_models_evidence(void **state) {
    (void)state;
    plan_fixture x = {.loop = NULL};
    muga_error err;
    audit_report report;
    plan_open(&x, "evidence", SCOPE(", otherwise: refuse"), NULL, "[" OUTSIDE "]");
    plan_say_only(&x, "who won the cup", TURN_REFUSE, "");
    assert_ok(audit_replay(x.f.store, NULL, plan_replay, x.model, &report, &err), &err);
    assert_int_equal(report.n_evidence, 1);
    assert_int_equal(report.n_replayed, 1);
    plan_close(&x);
}

static const char rules_manifest[] = "version: 1\nagent: r\nkind: reflex\n%s"
                                     "scope: {domain: heating, otherwise: refuse}\n"
                                     "rules:\n  - {name: warm, on: message, when: 'true', answer: It is warm.}\n";

static void rules_have_their_scope_looked_at_where_there_is_a_model(void **state) {
    (void)state;
    static const char *const models[] = {"model: scripted\n", ""};
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        plan_fixture x = {.loop = NULL};
        muga_error err;
        char text[600];
        json_t *list = NULL, *values = json_object();
        static const char script[] = "[" OUTSIDE "]";
        snprintf(text, sizeof text, rules_manifest, models[i]);
        fixture_open(&x.f, i == 0 ? "rules" : "rules-bare", text);
        assert_int_equal(loop_scope_is_scored(x.f.m), i == 0);
        assert_ok(json_parse(script, sizeof script - 1, "script", &list, &err), &err);
        assert_ok(llm_scripted_new(list, &x.model, &err), &err);
        assert_ok(session_new(&x.f.env, x.f.store, x.f.m, values, NULL, &x.f.session, &err), &err);
        plan_begin(&x);
        plan_say_only(&x, "who won the cup", i == 0 ? TURN_REFUSE : TURN_ANSWER, i == 0 ? "heating only" : "warm");
        json_decref(list);
        json_decref(values);
        plan_close(&x);
    }
}

static void the_label_out_of_scope_does_what_scope_says(void **state) {
    (void)state;
    static const struct {
        const char *name, *scope;
        turn_outcome outcome;
        const char *action;
    } cases[] = {{"label-refuse", "scope: {domain: orders, otherwise: refuse}\n", TURN_REFUSE, "refuse"},
                 {"label-ask", "scope: {domain: orders, otherwise: ask}\n", TURN_ASK, "ask"},
                 {"label-own", "scope: {domain: orders}\n", TURN_ESCALATE, "escalate"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        loop_fixture x;
        str text = STR_INIT;
        str_append_s(&text, cases[i].scope);
        str_append_s(&text, loop_manifest);
        str_append_s(&text, "    out_of_scope: {about: cup final sports weather, escalate: Orders only.}\n");
        loop_open_as(&x, cases[i].name, str_get(&text), "[]");
        loop_say(&x, "cup final sports weather", cases[i].outcome, "Orders only.");
        assert_int_equal(n_records(&x.f, cases[i].action), 1);
        str_release(&text);
        loop_close(&x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_outside_is_refused_before_anything_is_planned),
                                       cmocka_unit_test(what_is_outside_goes_to_a_person),
                                       cmocka_unit_test(what_comes_after_the_scopes_own_question_is_looked_at_again),
                                       cmocka_unit_test(in_doubt_a_message_goes_on_and_the_margin_is_the_manifests),
                                       cmocka_unit_test(an_answer_to_the_agents_question_is_not_looked_at),
                                       cmocka_unit_test(what_the_model_cannot_read_goes_on_and_is_recorded),
                                       cmocka_unit_test(the_record_holds_the_models_evidence),
                                       cmocka_unit_test(rules_have_their_scope_looked_at_where_there_is_a_model),
                                       cmocka_unit_test(the_label_out_of_scope_does_what_scope_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
