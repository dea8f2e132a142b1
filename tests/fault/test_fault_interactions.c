/* Every allocation failed in turn while turns are kept, read, rated, corrected, redacted, exported and dropped. If this
 * failed, a machine short of memory could keep a row that no record tells of, hand out rows that no record tells of,
 * lose one, crash or leak. */
#include "support/support.h"

#include "agent/interactions_export.h"
#include "base/mem.h"
#include "support/agent_fixture.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *order, *correction, *values, *customer; /* inputs, made before memory is short */
static char session[AGENT_ID_SIZE];

/* A session of one turn: what the loop does, without a model. */
static void take_turn(agent_fixture *f) {
    muga_error err;
    call_result r;
    json_t *labels = fixture_json("{'decided': ['order'], 'sure': true}");
    static const char message[] = "Where is A10001? Mail ada@example.com, Ada.";
    fixture_begin(f, 1, message);
    assert_ok(audit_append(f->session, "decision", labels, NULL, &err), &err);
    assert_ok(executor_call(f->session, "order_status", order, &r, &err), &err);
    assert_ok(session_add_answer(f->session, "answer", "It is shipped.", &err), &err);
    call_result_release(&r);
    json_decref(labels);
    snprintf(session, sizeof session, "%s", session_id(f->session));
    session_close(f->session);
    f->session = NULL;
}

/* ---- what may be done with rows ---- */

static const interaction_filter all = {.agent = NULL};
static size_t n_seen; /* rows that a reader got */

static muga_status see(void *ctx, const interaction *row, muga_error *err) {
    (void)ctx;
    (void)row;
    (void)err;
    n_seen++;
    return MUGA_OK;
}

static muga_status give(agent_fixture *f, muga_error *err) {
    return consent_give(&f->env, f->store, f->m, false, "operator", err);
}

static muga_status record(agent_fixture *f, muga_error *err) {
    record_outcome kept;
    return interactions_record(&f->env, f->store, f->m, session, &kept, err);
}

static muga_status rate(agent_fixture *f, muga_error *err) {
    int64_t n;
    return interactions_rate(&f->env, f->store, session, 1, 1, "Ada was glad", &n, err);
}

static muga_status correct(agent_fixture *f, muga_error *err) {
    return interactions_correct(&f->env, f->store, f->m, session, 1, correction, NULL, err);
}

static muga_status list(agent_fixture *f, muga_error *err) {
    const interaction_filter mine = {.subject = customer};
    int64_t n;
    return interactions_read(&f->env, f->store, &mine, "listed", NULL, see, NULL, &n, err);
}

static muga_status redact(agent_fixture *f, muga_error *err) {
    int64_t n;
    return interactions_redact(&f->env, f->store, &all, values, &n, err);
}

static muga_status export_chat(agent_fixture *f, muga_error *err) {
    export_report report;
    str text = STR_INIT;
    muga_status st = interactions_export(&f->env, f->store, f->m, &all, EXPORT_CHAT, "Help.", &text, &report, err);
    str_release(&text);
    return st;
}

static muga_status export_labels(agent_fixture *f, muga_error *err) {
    export_report report;
    str text = STR_INIT;
    muga_status st = interactions_export(&f->env, f->store, f->m, &all, EXPORT_LABELS, NULL, &text, &report, err);
    str_release(&text);
    return st;
}

static muga_status drop(agent_fixture *f, muga_error *err) {
    const interaction_filter mine = {.subject = customer};
    int64_t n;
    return interactions_drop(&f->env, f->store, &mine, "subject", &n, err);
}

static muga_status withdraw(agent_fixture *f, muga_error *err) {
    int64_t n;
    return consent_withdraw(&f->env, f->store, "test-shop", "operator", &n, err);
}

/* ---- each with its nth allocation failed ---- */

static void assert_whole(agent_fixture *f, const char *what, size_t n) {
    muga_error err;
    audit_report report;
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    if (audit_verify(f->store, &report, &err) != MUGA_OK) {
        fail_msg("%s, allocation %zu: %s", what, n, err.message);
    }
    store_close(f->store);
    f->store = NULL;
}

/* Until it makes fewer allocations than n. A store opened for each: what it keeps prepared is no leak. */
static void fail_each(agent_fixture *f, const char *what, muga_status (*op)(agent_fixture *f, muga_error *err)) {
    bool hit = true;
    size_t n = 0;
    while (hit) {
        muga_error err = {0};
        n_seen = 0;
        n++;
        long live = fault_live();
        assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
        fault_fail_at(n);
        muga_status st = op(f, &err);
        hit = fault_hit();
        fault_fail_at(0);
        store_close(f->store);
        f->store = NULL;
        if (fault_live() != live) {
            fail_msg("%s, allocation %zu (status %d): %ld blocks leaked", what, n, st, fault_live() - live);
        }
        if (st != MUGA_OK && (!hit || st != MUGA_E_NOMEM || !*err.message)) {
            fail_msg("%s, allocation %zu: status %d: %s", what, n, st, err.message);
        }
        if (n % 50 == 0 || !hit) {
            assert_whole(f, what, n);
        }
    }
    print_message("%s: %zu allocations\n", what, n - 1);
    assert_true(n > 20);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static const struct {
        const char *what;
        muga_status (*op)(agent_fixture *f, muga_error *err);
    } ops[] = {{"record", record},
               {"rate", rate},
               {"correct", correct},
               {"list", list},
               {"export as labels", export_labels},
               {"redact", redact},
               {"export as chat", export_chat},
               {"drop", drop},
               {"withdraw", withdraw}};
    static char manifest_text[8192];
    agent_fixture f;
    snprintf(manifest_text, sizeof manifest_text, "%slearning: {subject: [customer], personal: [note], store: plain}\n",
             fixture_manifest);
    fixture_open(&f, "fault-data", manifest_text);
    order = fixture_json("{'order_id': 'A10001'}");
    correction = fixture_json("{'labels': ['order'], 'answer': 'It is on its way.'}");
    values = fixture_json("['Ada']");
    customer = fixture_json("{'customer': 1}");
    store_close(f.store);
    f.store = NULL;
    fail_each(&f, "consent", give);
    muga_error err;
    assert_ok(store_open(f.store_path, NULL, &f.store, &err), &err);
    take_turn(&f);
    store_close(f.store);
    f.store = NULL;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        fail_each(&f, ops[i].what, ops[i].op);
    }
    json_decref(order);
    json_decref(correction);
    json_decref(values);
    json_decref(customer);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
