/* The journal's arrows, and the policy's table. If this failed, a call could skip a state that was to protect it (run
 * without having been validated, started after a no), or a rule could allow what it was to ask. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>

/* ---- states ---- */

/* The table at the top of journal.c, once more and by hand. */
static void only_the_arrows_of_the_table_exist(void **state) {
    (void)state;
    static const call_state arrows[][2] = {
        {STATE_PROPOSED, STATE_INVALID},  {STATE_PROPOSED, STATE_VALIDATED}, {STATE_VALIDATED, STATE_REFUSED},
        {STATE_VALIDATED, STATE_HELD},    {STATE_VALIDATED, STATE_STARTED},  {STATE_HELD, STATE_APPROVED},
        {STATE_HELD, STATE_DENIED},       {STATE_HELD, STATE_EXPIRED},       {STATE_APPROVED, STATE_STARTED},
        {STATE_APPROVED, STATE_EXPIRED},  {STATE_APPROVED, STATE_REFUSED},   {STATE_STARTED, STATE_FINISHED},
        {STATE_STARTED, STATE_FAILED},    {STATE_STARTED, STATE_STARTED},    {STATE_STARTED, STATE_IN_DOUBT},
        {STATE_IN_DOUBT, STATE_APPROVED}, {STATE_IN_DOUBT, STATE_DENIED},    {STATE_IN_DOUBT, STATE_EXPIRED},
    };
    for (int from = 0; from < N_CALL_STATES; from++) {
        for (int to = 0; to < N_CALL_STATES; to++) {
            bool expected = false;
            for (size_t i = 0; i < ARRAY_LEN(arrows); i++) {
                expected = expected || ((int)arrows[i][0] == from && (int)arrows[i][1] == to);
            }
            assert_int_equal(call_state_may_follow((call_state)from, (call_state)to), expected);
        }
    }
}

static void propose(agent_fixture *f, journal_call *c) {
    muga_error err;
    *c = (journal_call){.tool = mem_copy_string("note"), .arguments = fixture_json("{'text': 'x'}"), .attempt = 1};
    assert_ok(id_new(&f->env, "c-", c->id, &err), &err);
    snprintf(c->session, sizeof c->session, "%s", session_id(f->session));
    muga_status st = store_begin(f->store, &err);
    assert_ok(st, &err);
    st = journal_propose(&f->env, f->store, c, &err);
    store_end(f->store, &st, &err);
    assert_ok(st, &err);
}

static muga_status move(agent_fixture *f, journal_call *c, call_state to, muga_error *err) {
    muga_status st = store_begin(f->store, err);
    if (st == MUGA_OK) {
        st = journal_move(&f->env, f->store, c, to, NULL, err);
        store_end(f->store, &st, err);
    }
    return st;
}

static void a_step_that_is_none_changes_nothing(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    journal_call c;
    fixture_open(&f, "steps", NULL);
    fixture_begin(&f, 1, "hi");
    propose(&f, &c);
    assert_status(move(&f, &c, STATE_STARTED, &err), MUGA_E_INTERNAL, &err, "from proposed to started is no step");
    assert_ok(move(&f, &c, STATE_VALIDATED, &err), &err);
    assert_ok(move(&f, &c, STATE_HELD, &err), &err);
    assert_status(move(&f, &c, STATE_FINISHED, &err), MUGA_E_INTERNAL, &err, "no step");
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM calls WHERE state = 'held'"), 1);
    journal_call_release(&c);
    fixture_close(&f);
}

static void of_two_who_move_a_call_one_is_told(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    journal_call a, b;
    fixture_open(&f, "two", NULL);
    fixture_begin(&f, 1, "hi");
    propose(&f, &a);
    assert_ok(journal_read(f.store, a.id, &b, &err), &err);
    assert_string_equal(b.tool, "note");
    assert_true(json_equal(a.arguments, b.arguments));
    assert_ok(move(&f, &a, STATE_VALIDATED, &err), &err);
    assert_status(move(&f, &b, STATE_INVALID, &err), MUGA_E_POLICY, &err,
                  "no longer proposed: someone else moved it first");
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err); /* the loser left no record */
    journal_call_release(&a);
    journal_call_release(&b);
    assert_status(journal_read(f.store, "c-nothing", &a, &err), MUGA_E_NOT_FOUND, &err, "c-nothing");
    fixture_close(&f);
}

static void a_damaged_row_is_named(void **state) {
    (void)state;
    static const char *const damage[] = {"UPDATE calls SET tool_digest = x'00'", "UPDATE calls SET policy_digest = x''",
                                         "UPDATE calls SET arguments = '{'"};
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        agent_fixture f;
        muga_error err;
        journal_call c;
        char name[16], id[AGENT_ID_SIZE];
        snprintf(name, sizeof name, "damage-%zu", i);
        fixture_open(&f, name, NULL);
        fixture_begin(&f, 1, "hi");
        propose(&f, &c);
        snprintf(id, sizeof id, "%s", c.id);
        journal_call_release(&c);
        fixture_sql(f.store_path, damage[i]);
        assert_status(journal_read(f.store, id, &c, &err), MUGA_E_ENV, &err, "damaged");
        fixture_close(&f);
    }
}

/* A full disk between `started` and `finished`: the effect is found again, not repeated. */
static void what_could_not_be_finished_is_found_later(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    call_result r;
    fixture_open(&f, "unfinished", NULL);
    fixture_begin(&f, 1, "note");
    fixture_sql(f.store_path,
                "CREATE TRIGGER full BEFORE UPDATE ON calls WHEN new.state = 'finished' BEGIN SELECT raise(ABORT,"
                " 'full'); END");
    json_t *v = fixture_json("{'text': 'x'}");
    assert_status(executor_call(f.session, "note", v, &r, &err), MUGA_E_INTERNAL, &err, "full");
    json_decref(v);
    assert_null(r.result);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 1);
    fixture_sql(f.store_path, "DROP TRIGGER full");
    fixture_reopen(&f);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 1);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM calls WHERE state = 'finished'"), 1);
    assert_int_equal(json_array_size(session_history(f.session)), 2);
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    fixture_close(&f);
}

/* No audit, no side effect. */
static void without_an_audit_record_nothing_runs(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    call_result r;
    fixture_open(&f, "no-audit", NULL);
    fixture_begin(&f, 1, "note");
    fixture_sql(f.store_path, "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'full'); END");
    json_t *v = fixture_json("{'text': 'x'}");
    assert_status(executor_call(f.session, "note", v, &r, &err), MUGA_E_INTERNAL, &err, "full");
    json_decref(v);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 0);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM calls"), 0);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_arrows_of_the_table_exist),
        cmocka_unit_test(a_step_that_is_none_changes_nothing),
        cmocka_unit_test(of_two_who_move_a_call_one_is_told),
        cmocka_unit_test(a_damaged_row_is_named),
        cmocka_unit_test(what_could_not_be_finished_is_found_later),
        cmocka_unit_test(without_an_audit_record_nothing_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
