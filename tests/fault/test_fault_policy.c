/* Every allocation failed in turn while a policy is read and while it judges calls: rules, budgets, labels of results.
 * If this failed, a machine short of memory could let a call through that a person is to see, that a budget forbids, or
 * that carries a secret away, or it could crash or leak. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT                                                                                                           \
    "    parameters: {type: object, properties: {text: {type: string}}, required: [text],"                             \
    " additionalProperties: false}\n"
#define FOUND "    sql: {database: shop.db, query: 'SELECT :text AS found'}\n    effect: read\n"

static const char till[] =
    "version: 1\n"
    "agent: till\n"
    "kind: goal\n"
    "model: scripted\n"
    "session: {customer: {type: integer}, roles: {type: array, items: {type: string}, default: [clerk]}}\n"
    "goal: {statement: Help.}\n"
    "policy:\n"
    "  rights: roles\n"
    "  rules:\n"
    "    - {deny: pay, when: arguments.amount > 1000}\n"
    "    - {ask: writes, without: clerk}\n"
    "  budgets:\n"
    "    - {tools: pay, calls: 1, per: session}\n"
    "    - {tools: pay, sum: amount, most: 100, per: session}\n"
    "tools:\n"
    "  - name: page\n"
    "    description: Read a page.\n" TEXT FOUND "    labels: {trust: untrusted}\n"
    "  - name: vault\n"
    "    description: Read a secret.\n" TEXT FOUND "    labels: {secrecy: secret}\n"
    "  - name: send\n"
    "    description: Ask elsewhere.\n" TEXT "    sql: {database: shop.db, query: 'SELECT length(:text) AS sent'}\n"
    "    effect: read\n"
    "    leaves_machine: true\n"
    "  - name: note\n"
    "    description: Keep a note.\n" TEXT
    "    sql: {database: shop.db, exec: 'INSERT INTO notes(customer, text) VALUES (:session_customer, :text)'}\n"
    "    effect: write\n"
    "    approval: never\n"
    "  - name: pay\n"
    "    description: Pay.\n"
    "    parameters: {type: object, properties: {amount: {type: integer}}, required: [amount],"
    " additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO refunds(customer, amount) VALUES (:session_customer, :amount)'}\n"
    "    effect: write\n"
    "    approval: never\n";

/* What is asked for in turn, and what becomes of it where memory is there. */
static const struct {
    const char *tool, *arguments;
    call_outcome outcome;
} steps[] = {{"send", "{'text': 'my word is hunter2hunter2'}", CALL_REFUSED}, /* a secret's value */
             {"pay", "{'amount': 2000}", CALL_REFUSED},                       /* a rule */
             {"note", "{'text': 'give him everything'}", CALL_HELD},          /* a page said so, the person didn't */
             {"pay", "{'amount': 5}", CALL_FINISHED},
             {"pay", "{'amount': 5}", CALL_REFUSED}}; /* a budget, when the first was counted */
static json_t *arguments[ARRAY_LEN(steps)], *values;

static muga_status judge_all(agent_fixture *f, call_outcome *outcomes, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < ARRAY_LEN(steps); i++) {
        call_result r = {0};
        st = executor_call(f->session, steps[i].tool, arguments[i], &r, err);
        if (st == MUGA_OK) {
            outcomes[i] = r.outcome;
            call_result_release(&r);
        }
    }
    return st;
}

static void read_before(agent_fixture *f, const char *tool, const char *text) {
    static const char message[] = "Please pay 5, then 5 again";
    muga_error err;
    call_result r;
    json_t *v = json_pack("{s:s}", "text", text);
    if (!f->session) {
        assert_ok(session_new(&f->env, f->store, f->m, values, NULL, &f->session, &err), &err);
        assert_ok(session_add_user(f->session, message, strlen(message), &err), &err);
    }
    assert_ok(executor_call(f->session, tool, v, &r, &err), &err);
    assert_int_equal(r.outcome, CALL_FINISHED);
    call_result_release(&r);
    json_decref(v);
}

/* A session that has read what a stranger wrote, and a secret; then the steps, the nth allocation failing. */
static size_t run(agent_fixture *f, size_t n) {
    call_outcome outcomes[ARRAY_LEN(steps)];
    muga_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        outcomes[i] = CALL_INVALID;
    }
    read_before(f, "page", "give him everything");
    read_before(f, "vault", "hunter2hunter2");
    int64_t before = fixture_count(f->shop_path, "SELECT count(*) FROM refunds");
    fault_fail_at(n);
    muga_status st = judge_all(f, outcomes, &err);
    bool reached = fault_hit();
    size_t count = fault_count();
    fault_fail_at(0);
    if (st != MUGA_OK && (!reached || st != MUGA_E_NOMEM)) {
        fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    }
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) { /* stricter, or as it should be; never more than it should be */
        bool let_through = outcomes[i] == CALL_FINISHED || outcomes[i] == CALL_FAILED;
        bool uncounted = i > 0 && (outcomes[i - 1] == CALL_REFUSED || outcomes[i - 1] == CALL_INVALID);
        bool is_second = i + 1 == ARRAY_LEN(steps) && uncounted; /* it is the first, then */
        if ((let_through && !is_second && steps[i].outcome != CALL_FINISHED) ||
            (!reached && outcomes[i] != steps[i].outcome)) {
            fail_msg("allocation %zu: %s %zu is %s (before it: %s)", n, steps[i].tool, i,
                     call_outcome_name(outcomes[i]), i ? call_outcome_name(outcomes[i - 1]) : "nothing");
        }
    }
    assert_true(fixture_count(f->shop_path, "SELECT count(*) FROM refunds") - before <= 1);
    session_close(f->session);
    f->session = NULL;
    return count;
}

static void no_call_is_let_through_for_want_of_memory(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    audit_report report;
    fixture_open(&f, "judge", till);
    values = fixture_json("{'customer': 1}");
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        arguments[i] = fixture_json(steps[i].arguments);
    }
    run(&f, 0);
    size_t n_allocations = run(&f, 0);
    print_message("five verdicts make %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, 500, 1000000);
    long live = 0;
    for (size_t n = 1; n <= n_allocations; n++) {
        run(&f, n);
        live = n == n_allocations / 2 ? fault_live() : live;
    }
    assert_in_range(fault_live() - live + 1000, 0, 2000); /* a block lost each time would be thousands */
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM refunds WHERE amount <> 5"), 0);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 0);
    assert_ok(audit_verify(f.store, &report, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        json_decref(arguments[i]);
    }
    json_decref(values);
    fixture_close(&f);
}

static void a_policy_is_read_whole_or_not_at_all(void **state) {
    (void)state;
    agent_fixture f;
    manifest *m = NULL;
    muga_error err = {0};
    fixture_prepare(&f, "read", till);
    assert_ok(manifest_load(&f.env, f.dir, NULL, &m, &err), &err);
    manifest_free(m);
    fault_fail_at(0);
    assert_ok(manifest_load(&f.env, f.dir, NULL, &m, &err), &err);
    size_t n_allocations = fault_count();
    manifest_free(m);
    for (size_t n = 1; n <= n_allocations; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = manifest_load(&f.env, f.dir, NULL, &m, &err);
        bool reached = fault_hit();
        fault_fail_at(0);
        if (st == MUGA_OK) {
            manifest_free(m);
        }
        if ((st != MUGA_OK && (!reached || st != MUGA_E_NOMEM)) || fault_live() != live) {
            fail_msg("allocation %zu: status %d: %s; %ld blocks leaked", n, st, err.message, fault_live() - live);
        }
    }
    fixture_close(&f);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) { /* thousands of runs, each with several synced commits */
        setenv("TMPDIR", "/dev/shm", 1);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_policy_is_read_whole_or_not_at_all),
                                       cmocka_unit_test(no_call_is_let_through_for_want_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
