/* The executor: what runs, what waits, what is refused, and what a crash in the middle leaves. If this failed, a model
 * could cause an effect nobody allowed, or an allowed effect could happen twice or unrecorded. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>

static call_result call(agent_fixture *f, const char *tool, const char *arguments) {
    muga_error err;
    call_result r;
    json_t *v = fixture_json(arguments);
    assert_ok(executor_call(f->session, tool, v, &r, &err), &err);
    json_decref(v);
    return r;
}

static call_result resume(agent_fixture *f, const char *id) {
    muga_error err;
    call_result r;
    assert_ok(executor_resume(f->session, id, &r, &err), &err);
    return r;
}

static void expect(call_result *r, call_outcome outcome, const char *reason_part) {
    if (r->outcome != outcome || !strstr(r->reason, reason_part)) {
        fail_msg("%s: %s; expected %s: ...%s...", call_outcome_name(r->outcome), r->reason, call_outcome_name(outcome),
                 reason_part);
    }
    call_result_release(r);
}

static void assert_chain_whole(agent_fixture *f) {
    muga_error err;
    audit_report report;
    assert_ok(audit_verify(f->store, &report, &err), &err);
    assert_true(report.n_records > 0);
}

static void a_read_runs_and_is_recorded(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "read", NULL);
    fixture_begin(&f, 1, "Where is my order A10001?");
    call_result r = call(&f, "order_status", "{'order_id': 'A10001'}");
    assert_int_equal(r.outcome, CALL_FINISHED);
    json_t *want = fixture_json("{'rows': [{'status': 'shipped', 'note': 'ring twice'}]}");
    assert_true(json_equal(r.result, want));
    json_decref(want);
    call_result_release(&r);
    const json_t *entry = json_array_get(session_history(f.session), 1);
    assert_string_equal(json_get_string(entry, "tool"), "order_status");
    assert_string_equal(json_get_string(entry, "outcome"), "finished");
    assert_chain_whole(&f);
    fixture_close(&f);
}

/* Of a call that was found valid the record says which words of which message each grounded value is. */
static void the_record_says_where_a_value_came_from(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    json_t *list, *r;
    size_t i, n_found = 0;
    fixture_open(&f, "places", NULL);
    fixture_begin(&f, 1, "Where is my order A10001?");
    call_result done = call(&f, "order_status", "{'order_id': 'A10001'}");
    expect(&done, CALL_FINISHED, "");
    done = call(&f, "order_status", "{'order_id': 'A10002'}");
    expect(&done, CALL_INVALID, "was not given");
    assert_ok(audit_log(f.store, NULL, &list, &err), &err);
    json_t *want =
        fixture_json("[{'argument': 'order_id', 'source': 'conversation', 'text': 0, 'from': 18, 'to': 24}]");
    json_array_foreach(list, i, r) {
        const json_t *payload = json_object_get(r, "payload"), *places = json_object_get(payload, "grounded");
        if (places) {
            assert_string_equal(json_get_string(payload, "state"), "validated");
            assert_true(json_equal(places, want));
            n_found++;
        }
    }
    assert_int_equal(n_found, 1);
    json_decref(want);
    json_decref(list);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void values_that_nobody_gave_are_invalid(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "grounded", NULL);
    fixture_begin(&f, 1, "Where is my order A10001x or B-A10003?");
    call_result r = call(&f, "order_status", "{'order_id': 'A10002'}");
    expect(&r, CALL_INVALID, "order_id: this value was not given by the person");
    r = call(&f, "order_status", "{'order_id': 'A10001'}"); /* it is part of a longer word */
    expect(&r, CALL_INVALID, "was not given by the person");
    r = call(&f, "order_status", "{'order_id': 'A10003'}");
    expect(&r, CALL_FINISHED, "");
    muga_error err;
    assert_ok(session_add_answer(f.session, "ask", "Do you mean A10001?", &err), &err);
    r = call(&f, "order_status", "{'order_id': 'A10001'}"); /* the agent's own words don't count */
    expect(&r, CALL_INVALID, "was not given by the person");
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void bad_calls_run_nothing(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "bad", NULL);
    fixture_begin(&f, 1, "A10001");
    call_result r = call(&f, "drop_everything", "{}");
    expect(&r, CALL_INVALID, "no tool is called drop_everything");
    r = call(&f, "note", "{'text': 7}");
    expect(&r, CALL_INVALID, "arguments: ");
    r = call(&f, "note", "{'text': 'x', 'session_customer': 2}");
    expect(&r, CALL_INVALID, "arguments: ");
    r = call(&f, "note", "[]");
    expect(&r, CALL_INVALID, "arguments: ");
    r = call(&f, "note\n\x1b[2J", "null");
    expect(&r, CALL_INVALID, "no tool is called note??[2J");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 0);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void arguments_too_long_are_invalid(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    call_result r;
    fixture_open(&f, "long", NULL);
    fixture_begin(&f, 1, "hi");
    char *text = malloc(AGENT_MAX_ARGUMENT_BYTES + 1);
    memset(text, 'x', AGENT_MAX_ARGUMENT_BYTES);
    text[AGENT_MAX_ARGUMENT_BYTES] = '\0';
    json_t *v = json_pack("{s:s}", "text", text);
    assert_ok(executor_call(f.session, "note", v, &r, &err), &err);
    expect(&r, CALL_INVALID, "longer than");
    json_decref(v);
    free(text);
    fixture_close(&f);
}

static void a_write_that_needs_leave_is_held_until_yes(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "held", NULL);
    fixture_begin(&f, 1, "reset my password");
    call_result held = call(&f, "reset", "{}");
    assert_int_equal(held.outcome, CALL_HELD);
    assert_int_equal(strlen(held.approval), 9);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 0);
    call_result r = resume(&f, held.call);
    expect(&r, CALL_HELD, "");
    assert_ok(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), &err);
    r = resume(&f, held.call);
    expect(&r, CALL_FINISHED, "");
    r = resume(&f, held.call); /* its result again, not its effect */
    expect(&r, CALL_FINISHED, "");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 1);
    assert_int_equal(fixture_count(f.shop_path, "SELECT customer FROM resets"), 1);
    assert_status(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), MUGA_E_POLICY, &err, "used");
    call_result_release(&held);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void a_no_ends_the_call(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "denied", NULL);
    fixture_begin(&f, 1, "reset my password");
    call_result held = call(&f, "reset", "{}");
    assert_ok(approval_decide(&f.env, f.store, f.m, held.approval, false, "ada", &err), &err);
    call_result r = resume(&f, held.call);
    expect(&r, CALL_REFUSED, "denied by ada");
    assert_status(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), MUGA_E_POLICY, &err,
                  "denied");
    r = resume(&f, held.call);
    expect(&r, CALL_REFUSED, "denied by ada");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 0);
    call_result_release(&held);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void a_rule_decides_by_the_arguments(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "when", NULL);
    fixture_begin(&f, 1, "refund");
    call_result r = call(&f, "refund", "{'amount': 50}");
    expect(&r, CALL_FINISHED, "");
    r = call(&f, "refund", "{'amount': 51}");
    expect(&r, CALL_HELD, "approval.when is true");
    assert_int_equal(fixture_count(f.shop_path, "SELECT sum(amount) FROM refunds"), 50);
    fixture_close(&f);
}

static void calls_per_turn_are_limited(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "limit", NULL);
    fixture_begin(&f, 1, "note it");
    for (int i = 0; i < 50; i++) {
        char text[32]; /* each says something else: the same again and again would be refused before */
        snprintf(text, sizeof text, "{'text': '%d'}", i);
        call_result r = call(&f, "note", text);
        expect(&r, CALL_FINISHED, "");
    }
    call_result r = call(&f, "note", "{'text': 'x'}");
    expect(&r, CALL_REFUSED, "limits.steps");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 50);
    assert_ok(session_add_user(f.session, "again", 5, &err), &err);
    r = call(&f, "note", "{'text': 'x'}");
    expect(&r, CALL_FINISHED, "");
    assert_ok(session_end(f.session, "answer", &err), &err);
    r = call(&f, "note", "{'text': 'x'}");
    expect(&r, CALL_REFUSED, "session has ended");
    assert_chain_whole(&f);
    fixture_close(&f);
}

/* The journal as a crash leaves it after `started` was durable: the row, and the effect or not. */
static void set_started(agent_fixture *f, const char *id) {
    muga_error err;
    journal_call c;
    assert_ok(journal_read(f->store, id, &c, &err), &err);
    muga_status st = store_begin(f->store, &err);
    st = st == MUGA_OK ? approval_use(&f->env, f->store, f->m, &c, &err) : st;
    st = st == MUGA_OK ? journal_move(&f->env, f->store, &c, STATE_STARTED, NULL, &err) : st;
    store_end(f->store, &st, &err);
    assert_ok(st, &err);
    journal_call_release(&c);
}

static void after_a_crash_before_the_effect_it_runs_once(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "crash-before", NULL);
    fixture_begin(&f, 1, "reset");
    call_result held = call(&f, "reset", "{}");
    assert_ok(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), &err);
    set_started(&f, held.call);
    fixture_reopen(&f);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 1);
    call_result r = resume(&f, held.call);
    expect(&r, CALL_FINISHED, "");
    fixture_reopen(&f);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 1);
    call_result_release(&held);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void after_a_crash_behind_the_effect_it_is_found_done(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    char sql[256];
    fixture_open(&f, "crash-behind", NULL);
    fixture_begin(&f, 1, "reset");
    call_result held = call(&f, "reset", "{}");
    assert_ok(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), &err);
    set_started(&f, held.call);
    snprintf(sql, sizeof sql,
             "BEGIN; CREATE TABLE muga_calls(call TEXT PRIMARY KEY NOT NULL, result TEXT NOT NULL); INSERT INTO resets"
             " VALUES (1); INSERT INTO muga_calls VALUES ('%s', '{\"changed\":1}'); COMMIT",
             held.call);
    fixture_sql(f.shop_path, sql);
    fixture_reopen(&f);
    call_result r = resume(&f, held.call);
    assert_int_equal(json_get_int(r.result, "changed", 0), 1);
    expect(&r, CALL_FINISHED, "");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 1);
    call_result_release(&held);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static const char doubtful[] =
    "version: 1\nagent: test-shop\nkind: goal\nmodel: scripted\nsession: {customer: {type: integer}}\n"
    "goal: {statement: Help.}\n"
    "tools:\n"
    "  - name: reset\n"
    "    description: Reset the password.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO resets(customer) VALUES (:session_customer)', exactly_once:"
    " false}\n"
    "    effect: write\n";

static void in_doubt_is_shown_and_repeated_only_on_a_yes(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "doubt", doubtful);
    fixture_begin(&f, 1, "reset");
    call_result held = call(&f, "reset", "{}");
    assert_ok(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), &err);
    set_started(&f, held.call);
    fixture_reopen(&f);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 0);
    call_result doubt = resume(&f, held.call);
    assert_int_equal(doubt.outcome, CALL_IN_DOUBT);
    assert_string_not_equal(doubt.approval, held.approval);
    assert_status(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), MUGA_E_POLICY, &err,
                  "replaced");
    json_t *list;
    assert_ok(approval_list(&f.env, f.store, &list, &err), &err);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_get_string(json_array_get(list, 0), "state"), "in_doubt");
    json_decref(list);
    assert_ok(approval_decide(&f.env, f.store, f.m, doubt.approval, true, "ada", &err), &err);
    call_result r = resume(&f, held.call);
    expect(&r, CALL_FINISHED, "");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 1);
    call_result_release(&held);
    call_result_release(&doubt);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void a_changed_tool_is_not_run_after_a_crash(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "changed", doubtful);
    fixture_begin(&f, 1, "reset");
    call_result held = call(&f, "reset", "{}");
    assert_ok(approval_decide(&f.env, f.store, f.m, held.approval, true, "ada", &err), &err);
    manifest *before = f.m;
    char text[2048];
    snprintf(text, sizeof text, "%s    idempotent: true\n", doubtful);
    fixture_write(&f, "agent.yaml", text);
    char id[AGENT_ID_SIZE];
    snprintf(id, sizeof id, "%s", session_id(f.session));
    session_close(f.session);
    assert_ok(manifest_load(&f.env, f.dir, NULL, &f.m, &err), &err);
    assert_ok(session_open(&f.env, f.store, f.m, id, &f.session, &err), &err);
    call_result r = resume(&f, held.call);
    expect(&r, CALL_REFUSED, "tool reset changed since the call was held");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 0);
    call_result_release(&held);
    manifest_free(before);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void one_process_drives_a_session(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    agent_session *second;
    fixture_open(&f, "claim", NULL);
    fixture_begin(&f, 1, "hi");
    assert_status(session_open(&f.env, f.store, f.m, session_id(f.session), &second, &err), MUGA_E_ENV, &err, "in use");
    fixture_close(&f);
}

static void what_was_said_comes_back_after_a_restart(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "history", NULL);
    fixture_begin(&f, 1, "Order A10001 \xc3\xa4?");
    call_result r = call(&f, "order_status", "{'order_id': 'A10001'}");
    call_result_release(&r);
    assert_ok(session_add_answer(f.session, "answer", "Shipped.", &err), &err);
    json_t *resolved = fixture_json("{'resolution': 'told'}"), *wrong = fixture_json("{'resolution': 3}");
    assert_ok(session_set_state(f.session, resolved, &err), &err);
    assert_status(session_set_state(f.session, wrong, &err), MUGA_E_INPUT, &err, "state");
    json_t *before = json_deep_copy(session_history(f.session));
    fixture_reopen(&f);
    assert_true(json_equal(before, json_borrow(session_history(f.session))));
    assert_true(json_equal(resolved, json_borrow(session_state(f.session))));
    assert_int_equal(json_array_size(before), 3);
    json_decref(before);
    json_decref(resolved);
    json_decref(wrong);
    assert_status(session_add_user(f.session, "\xff", 1, &err), MUGA_E_INPUT, &err, "UTF-8");
    fixture_close(&f);
}

static void session_values_must_fit(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    agent_session *s;
    fixture_open(&f, "values", NULL);
    const char *const wrong[] = {"{}", "{'customer': 'x'}", "{'customer': 1, 'admin': true}", "[]"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        json_t *v = fixture_json(wrong[i]);
        assert_status(session_new(&f.env, f.store, f.m, v, NULL, &s, &err), MUGA_E_INPUT, &err, "session");
        json_decref(v);
    }
    fixture_close(&f);
}

static void begin_dry(agent_fixture *f) {
    muga_error err;
    json_t *values = fixture_json("{'customer': 1}"), *info = fixture_json("{'dry': true}");
    assert_ok(session_new(&f->env, f->store, f->m, values, info, &f->session, &err), &err);
    assert_ok(session_add_user(f->session, "status of A10001", 16, &err), &err);
    json_decref(values);
    json_decref(info);
}

static void a_dry_run_reads_and_changes_nothing(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "dry", NULL);
    begin_dry(&f);
    call_result r = call(&f, "order_status", "{'order_id': 'A10001'}");
    expect(&r, CALL_FINISHED, "");
    r = call(&f, "note", "{'text': 'x'}");
    expect(&r, CALL_REFUSED, "dry run: it would run (approval: never)");
    r = call(&f, "reset", "{}");
    expect(&r, CALL_REFUSED, "dry run: it would wait for a person (approval: always)");
    r = call(&f, "note", "{'text': 7}");
    expect(&r, CALL_INVALID, "arguments");
    fixture_reopen(&f); /* it stays one */
    assert_true(session_is_dry(f.session));
    r = call(&f, "note", "{'text': 'x'}");
    expect(&r, CALL_REFUSED, "dry run");
    assert_int_equal(fixture_count(f.shop_path, "SELECT (SELECT count(*) FROM notes) + (SELECT count(*) FROM resets)"),
                     0);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM audit_payload WHERE json_extract(payload,"
                                                 " '$.dry') = 'run'"),
                     2);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM approvals"), 0);
    assert_chain_whole(&f);
    fixture_sql(f.store_path, "UPDATE sessions SET dry = 0");
    muga_error err;
    audit_report report;
    assert_status(audit_verify(f.store, &report, &err), MUGA_E_NEGATIVE, &err, "session.dry is 0");
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_runs_and_is_recorded),
        cmocka_unit_test(the_record_says_where_a_value_came_from),
        cmocka_unit_test(values_that_nobody_gave_are_invalid),
        cmocka_unit_test(bad_calls_run_nothing),
        cmocka_unit_test(arguments_too_long_are_invalid),
        cmocka_unit_test(a_write_that_needs_leave_is_held_until_yes),
        cmocka_unit_test(a_no_ends_the_call),
        cmocka_unit_test(a_rule_decides_by_the_arguments),
        cmocka_unit_test(calls_per_turn_are_limited),
        cmocka_unit_test(after_a_crash_before_the_effect_it_runs_once),
        cmocka_unit_test(after_a_crash_behind_the_effect_it_is_found_done),
        cmocka_unit_test(in_doubt_is_shown_and_repeated_only_on_a_yes),
        cmocka_unit_test(a_changed_tool_is_not_run_after_a_crash),
        cmocka_unit_test(one_process_drives_a_session),
        cmocka_unit_test(what_was_said_comes_back_after_a_restart),
        cmocka_unit_test(session_values_must_fit),
        cmocka_unit_test(a_dry_run_reads_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
