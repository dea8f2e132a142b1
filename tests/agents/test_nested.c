/* Agents within agents, on a scripted model. If this failed, agents could call one another without end, one would see
 * session values that nobody mapped, a model could launder an id through another agent, a hold within would be lost on
 * its way out, or a call would be made twice. */
#include "agent/internal.h"
#include "agents/plan_fixture.h"

#define INNER_HEAD                                                                                                     \
    "version: 1\n"                                                                                                     \
    "agent: inner\n"                                                                                                   \
    "kind: goal\n"                                                                                                     \
    "model: scripted\n"                                                                                                \
    "goal: {statement: Do what is asked.}\n"                                                                           \
    "plan: {mode: step}\n"

static const char inner_manifest[] = INNER_HEAD
    "session: {person: {type: integer}}\n"
    "tools:\n"
    "  - name: look\n"
    "    description: Look up an order.\n"
    "    parameters: {type: object, properties: {order_id: {type: string, pattern: '^A[0-9]{5}$', from:"
    " conversation}}, required: [order_id], additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT status FROM orders WHERE id = :order_id AND customer ="
    " :session_person'}\n"
    "    effect: read\n"
    "  - name: reset\n"
    "    description: Reset the password.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO resets(customer) VALUES (:session_person)'}\n"
    "    effect: write\n"
    "    approval: always\n";

#define OUTER_HEAD                                                                                                     \
    "version: 1\n"                                                                                                     \
    "agent: outer\n"                                                                                                   \
    "kind: goal\n"                                                                                                     \
    "model: scripted\n"                                                                                                \
    "session: {customer: {type: integer}, secret: {type: string, default: hush}}\n"                                    \
    "goal: {statement: Help.}\n"                                                                                       \
    "escalation: {to: human}\n"                                                                                        \
    "guards: {output: {grounded: ids_and_numbers}}\n"                                                                  \
    "plan: {mode: step, replans: 0, failed: A colleague will help.}\n"                                                 \
    "limits: {tokens: 100000}\n"
#define REQUEST                                                                                                        \
    "    parameters: {type: object, properties: {request: {type: string, maxLength: 200}}, required: [request],"       \
    " additionalProperties: false}\n"
#define NOTHING "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
#define TOOL "tools:\n  - name: other\n    description: Another agent.\n"
#define WRITES "    effect: write\n    approval: never\n"

static const char outer_manifest[] = OUTER_HEAD TOOL REQUEST
    "    agent: {dir: inner, session: {person: customer}}\n" WRITES;
static const char handing_manifest[] = OUTER_HEAD TOOL NOTHING
    "    hand_off: {dir: inner, session: {person: customer}, say: One moment.}\n" WRITES;

#define REQUESTS(text) CALLS("other", "{\\\"request\\\":\\\"" text "\\\"}")
#define LOOKS(id) CALLS("look", "{\\\"order_id\\\":\\\"" id "\\\"}")
#define RAW_LOOKS(id) RAW_CALLS("look", "{\\\"order_id\\\":\\\"" id "\\\"}")

static void write_inner(const agent_fixture *f, const char *dir, const char *manifest_text) {
    char path[1024];
    muga_error err;
    snprintf(path, sizeof path, "%s/%s", f->dir, dir);
    assert_ok(f->env.files->mkdirs(f->env.files->self, path, &err), &err);
    snprintf(path, sizeof path, "%s/agent.yaml", dir);
    fixture_write(f, path, manifest_text);
}

static void shop_of_inner(const plan_fixture *x, char path[1024]) {
    snprintf(path, 1024, "%s/inner/shop.db", x->f.dir);
}

static void open_two(plan_fixture *x, const char *name, const char *outer, const char *script) {
    muga_error err;
    char path[1024];
    json_t *list = NULL, *values = fixture_json("{'customer': 1}");
    *x = (plan_fixture){.loop = NULL};
    fixture_prepare(&x->f, name, outer);
    write_inner(&x->f, "inner", inner_manifest);
    shop_of_inner(x, path);
    fixture_sql(path, fixture_shop);
    assert_ok(manifest_load(&x->f.env, x->f.dir, NULL, &x->f.m, &err), &err);
    assert_ok(store_open(x->f.store_path, NULL, &x->f.store, &err), &err);
    assert_ok(json_parse(script, strlen(script), "script", &list, &err), &err);
    assert_ok(llm_scripted_new(list, &x->model, &err), &err);
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    json_decref(list);
    json_decref(values);
    plan_begin(x);
}

static int64_t n_resets(const plan_fixture *x) {
    char path[1024];
    shop_of_inner(x, path);
    return fixture_count(path, "SELECT count(*) FROM resets");
}

static void another_agent_answers_a_request(void **state) {
    (void)state;
    plan_fixture x;
    open_two(&x, "asks", outer_manifest,
             "[" REQUESTS("How is A10001?") ", " LOOKS("A10001") ", " SAYS("It is shipped.") ", " SAYS("Shipped!") "]");
    plan_say_only(&x, "where is my order A10001", TURN_ANSWER, "Shipped!");
    const json_t *call = json_array_get(session_history(x.f.session), 1);
    assert_string_equal(json_get_string(json_object_get(call, "content"), "answer"), "It is shipped.");
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM sessions WHERE agent = 'inner'"), 1);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM sessions WHERE agent = 'inner' AND"
                                                   " session_values = '{\"person\":1}' AND ended_ms IS NOT NULL"),
                     1);
    /* the person's words within go with those without */
    char id[AGENT_ID_SIZE];
    int64_t n;
    muga_error err;
    snprintf(id, sizeof id, "%s", session_id(x.f.session));
    session_close(x.f.session);
    x.f.session = NULL;
    assert_ok(audit_erase(&x.f.env, x.f.store, id, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM history"), 0);
    plan_close(&x);
}

static void a_request_brings_no_id_into_the_world(void **state) {
    (void)state;
    plan_fixture x;
    open_two(&x, "launders", outer_manifest, "[" REQUESTS("How is A10002?") "]");
    plan_say_only(&x, "where is my order A10001", TURN_ESCALATE, "A colleague will help.");
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM sessions WHERE agent = 'inner'"), 0);
    plan_close(&x);
    /* what the request says was not written by the person, and grounds nothing within */
    open_two(
        &x, "launders-words", outer_manifest,
        "[" REQUESTS("Look it up.") ", " RAW_LOOKS("A10002") ", " SAYS("Nothing found.") ", " SAYS("Nothing.") "]");
    plan_say_only(&x, "where is my order A10001", TURN_ANSWER, "Nothing.");
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM calls WHERE tool = 'look' AND state ="
                                                   " 'invalid'"),
                     1);
    plan_close(&x);
}

static void a_hold_within_comes_out_and_goes_on_in_another_process(void **state) {
    (void)state;
    plan_fixture x;
    muga_error err;
    open_two(&x, "hold", outer_manifest,
             "[" REQUESTS("Reset it.") ", " CALLS("reset", "{}") ", " SAYS("It is reset.") ", " SAYS("Done.") "]");
    turn_result r = plan_say(&x, "reset my password", TURN_HELD, "waits");
    assert_true(r.approval[0] != '\0');
    assert_int_equal(n_resets(&x), 0);
    /* not decided yet: it waits on */
    turn_result again;
    assert_ok(loop_resume(x.loop, &again, &err), &err);
    assert_int_equal(again.outcome, TURN_HELD);
    assert_string_equal(again.approval, r.approval);
    turn_result_release(&again);
    loop_free(x.loop);
    fixture_reopen(&x.f);
    plan_begin(&x);
    assert_ok(approval_decide_within(&x.f.env, x.f.store, x.f.m, r.approval, true, "test", &err), &err);
    turn_result_release(&r);
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_int_equal(r.outcome, TURN_ANSWER);
    assert_string_equal(str_get(&r.text), "Done.");
    turn_result_release(&r);
    assert_int_equal(n_resets(&x), 1);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM calls WHERE state = 'finished'"), 2);
    audit_report report;
    assert_ok(audit_verify(x.f.store, &report, &err), &err);
    plan_close(&x);
}

static void a_no_within_is_a_no(void **state) {
    (void)state;
    plan_fixture x;
    muga_error err;
    open_two(&x, "no", outer_manifest,
             "[" REQUESTS("Reset it.") ", " CALLS("reset", "{}") ", " SAYS("Not allowed.") ", " SAYS("No.") "]");
    turn_result r = plan_say(&x, "reset my password", TURN_HELD, "waits");
    assert_ok(approval_decide_within(&x.f.env, x.f.store, x.f.m, r.approval, false, "test", &err), &err);
    turn_result_release(&r);
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "No.");
    turn_result_release(&r);
    assert_int_equal(n_resets(&x), 0);
    plan_close(&x);
}

/* The process dies between the other agent's hold and this one's word of it. */
static void a_hold_that_nobody_was_told_of_is_found(void **state) {
    (void)state;
    plan_fixture x;
    muga_error err;
    open_two(&x, "untold", outer_manifest,
             "[" REQUESTS("Reset it.") ", " CALLS("reset", "{}") ", " SAYS("It is reset.") ", " SAYS("Done.") "]");
    turn_result r = plan_say(&x, "reset my password", TURN_HELD, "waits");
    json_t *empty = json_object();
    assert_ok(session_set_state(x.f.session, empty, &err), &err);
    json_decref(empty);
    loop_free(x.loop);
    fixture_reopen(&x.f);
    plan_begin(&x);
    assert_ok(approval_decide_within(&x.f.env, x.f.store, x.f.m, r.approval, true, "test", &err), &err);
    turn_result_release(&r);
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "Done.");
    turn_result_release(&r);
    assert_int_equal(n_resets(&x), 1);
    plan_close(&x);
}

static void tokens_within_count_without(void **state) {
    (void)state;
    plan_fixture x;
    open_two(&x, "tokens", outer_manifest,
             "[" REQUESTS("How is A10001?") ", " LOOKS("A10001") ", " SAYS("It is shipped.") ", " SAYS("Shipped!") "]");
    turn_result r = plan_say(&x, "where is my order A10001", TURN_ANSWER, "Shipped!");
    assert_true(x.f.session->n_nested_tokens > 0);
    assert_true(r.n_tokens > x.f.session->n_nested_tokens);
    turn_result_release(&r);
    plan_close(&x);
}

/* ---- handing off ---- */

static void the_other_agent_goes_on_with_the_person(void **state) {
    (void)state;
    plan_fixture x;
    muga_error err;
    open_two(&x, "hands-off", handing_manifest,
             "[" CALLS("other", "{}") ", " LOOKS("A10001") ", " SAYS("It is shipped.") ", " CALLS(
                 "reset", "{}") ", " SAYS("It is reset.") "]");
    plan_say_only(&x, "where is my order A10001", TURN_ANSWER, "One moment. It is shipped.");
    turn_result r = plan_say(&x, "now reset my password", TURN_HELD, "waits");
    loop_free(x.loop);
    fixture_reopen(&x.f);
    plan_begin(&x);
    assert_ok(approval_decide_within(&x.f.env, x.f.store, x.f.m, r.approval, true, "test", &err), &err);
    turn_result_release(&r);
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "It is reset.");
    turn_result_release(&r);
    assert_int_equal(n_resets(&x), 1);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM sessions WHERE agent = 'inner'"), 1);
    plan_close(&x);
}

/* Held in the very turn of the hand-off: what resumes the session has to see that something is left. */
static void a_hold_in_the_turn_of_the_hand_off_is_unfinished(void **state) {
    (void)state;
    plan_fixture x;
    muga_error err;
    open_two(&x, "hands-off-held", handing_manifest,
             "[" CALLS("other", "{}") ", " CALLS("reset", "{}") ", " SAYS("It is reset.") "]");
    turn_result r = plan_say(&x, "reset my password", TURN_HELD, "One moment.");
    loop_free(x.loop);
    fixture_reopen(&x.f);
    plan_begin(&x);
    assert_true(loop_is_unfinished(x.loop));
    assert_ok(approval_decide_within(&x.f.env, x.f.store, x.f.m, r.approval, true, "test", &err), &err);
    turn_result_release(&r);
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "It is reset.");
    turn_result_release(&r);
    assert_false(loop_is_unfinished(x.loop));
    plan_close(&x);
}

/* ---- what is refused at load ---- */

static void refuses(const char *name, const char *outer, const char *inner, const char *part) {
    agent_fixture f;
    muga_error err;
    char path[1024];
    fixture_prepare(&f, name, outer);
    write_inner(&f, "inner", inner);
    snprintf(path, sizeof path, "%s/inner/shop.db", f.dir);
    fixture_sql(path, fixture_shop);
    assert_status(manifest_load(&f.env, f.dir, NULL, &f.m, &err), MUGA_E_INPUT, &err, part);
    fixture_close(&f);
}

static void what_can_not_work_is_refused(void **state) {
    (void)state;
    refuses("ring", outer_manifest,
            INNER_HEAD "session: {person: {type: integer}}\n" TOOL REQUEST "    agent: {dir: ..}\n" WRITES, "ring");
    refuses("itself", OUTER_HEAD TOOL REQUEST "    agent: {dir: .}\n" WRITES, inner_manifest, "ring");
    refuses("unmapped", OUTER_HEAD TOOL REQUEST "    agent: {dir: inner}\n" WRITES, inner_manifest,
            "needs the session value person");
    refuses("strange", OUTER_HEAD TOOL REQUEST "    agent: {dir: inner, session: {x: customer}}\n" WRITES,
            inner_manifest, "x is no session value of inner");
    refuses("own", OUTER_HEAD TOOL REQUEST "    agent: {dir: inner, session: {person: x}}\n" WRITES, inner_manifest,
            "x is no session value of this agent");
    refuses("reads", OUTER_HEAD TOOL REQUEST "    agent: {dir: inner, session: {person: customer}}\n    effect: read\n",
            inner_manifest, "say effect: write");
    refuses("parameters", OUTER_HEAD TOOL NOTHING "    agent: {dir: inner, session: {person: customer}}\n" WRITES,
            inner_manifest, "one parameter, request");
    refuses("model", outer_manifest,
            "version: 1\nagent: inner\nkind: goal\nmodel: another\ngoal: {statement: x}\n"
            "session: {person: {type: integer}}\n",
            "shares the model");
}

static void agents_go_only_so_deep(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    char dir[128] = "inner";
    fixture_prepare(&f, "deep", outer_manifest);
    for (int i = 0; i < 8; i++) {
        write_inner(&f, dir,
                    INNER_HEAD "session: {person: {type: integer}}\n" TOOL REQUEST
                               "    agent: {dir: inner, session: {person: person}}\n" WRITES);
        strcat(dir, "/inner");
    }
    write_inner(&f, dir, INNER_HEAD "session: {person: {type: integer}}\n");
    assert_status(manifest_load(&f.env, f.dir, NULL, &f.m, &err), MUGA_E_INPUT, &err, "more than 4 deep");
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_agent_answers_a_request),
        cmocka_unit_test(a_request_brings_no_id_into_the_world),
        cmocka_unit_test(a_hold_within_comes_out_and_goes_on_in_another_process),
        cmocka_unit_test(a_no_within_is_a_no),
        cmocka_unit_test(a_hold_that_nobody_was_told_of_is_found),
        cmocka_unit_test(tokens_within_count_without),
        cmocka_unit_test(the_other_agent_goes_on_with_the_person),
        cmocka_unit_test(a_hold_in_the_turn_of_the_hand_off_is_unfinished),
        cmocka_unit_test(what_can_not_work_is_refused),
        cmocka_unit_test(agents_go_only_so_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
