/* Approvals: bound to one call, once, for a time. If this failed, a yes given to one thing could be spent on another,
 * twice, too late, or after the thing had changed. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static muga_status yes(agent_fixture *f, const char *id, muga_error *err) {
    *err = (muga_error){0};
    return approval_decide(&f->env, f->store, f->m, id, true, "ada", err);
}

static int64_t n_refunds(agent_fixture *f) {
    return fixture_count(f->shop_path, "SELECT count(*) FROM refunds");
}

static void ids_are_read_as_people_type_them(void **state) {
    (void)state;
    char id[AGENT_ID_SIZE];
    static const char *const good[] = {"h4kd-9t2m", "H4KD-9T2M", "h4kd9t2m", " h4kd 9t2m", "h-4-k-d9t2m"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(id_read(good[i], id));
        assert_string_equal(id, "h4kd-9t2m");
    }
    assert_true(id_read("OIL1-0000", id));
    assert_string_equal(id, "0111-0000");
    static const char *const bad[] = {"", "h4kd-9t2", "h4kd-9t2mm", "h4kd_9t2m", "h4kd-9t2u", "'; DROP TABLE", "\xff"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(id_read(bad[i], id));
    }
    uint8_t binding[SHA256_BYTES] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xAA};
    id_of_binding(binding, id);
    assert_string_equal(id, "zzzz-zzzy");
    assert_true(approval_same_id("0111-0000", "oili0000"));
    assert_false(approval_same_id("0111-0000", "0111-0001"));
}

/* Every field takes part: whatever is changed, the binding is another. */
static void the_binding_covers_every_field(void **state) {
    (void)state;
    muga_error err;
    uint8_t base[SHA256_BYTES], other[SHA256_BYTES];
    journal_call c = {.id = "c-1", .session = "s-1", .tool = (char[]){"refund"}, .attempt = 1};
    c.arguments = fixture_json("{'amount': 51, 'note': 'x'}");
    json_t *same = fixture_json("{'note': 'x', 'amount': 51}"),
           *more = fixture_json("{'amount': 51, 'note': 'x', 'y': null}");
    assert_ok(approval_bind(&c, 1000, base, &err), &err);
    for (int i = 0; i < 9; i++) {
        journal_call d = c;
        int64_t expires_ms = 1000;
        char tool[] = "reset";
        switch (i) {
        case 0: d.id[2] = '2'; break;
        case 1: d.session[2] = '2'; break;
        case 2: d.tool = tool; break;
        case 3: d.attempt = 2; break;
        case 4: d.tool_digest[31] ^= 1; break;
        case 5: d.policy_digest[0] ^= 1; break;
        case 6: d.arguments = more; break;
        case 7: expires_ms = 1001; break;
        default: d.arguments = same; break; /* the order of keys is no difference */
        }
        assert_ok(approval_bind(&d, expires_ms, other, &err), &err);
        assert_int_equal(memcmp(base, other, sizeof base) == 0, i == 8);
    }
    json_decref(c.arguments);
    json_decref(same);
    json_decref(more);
}

static void an_approval_expires(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    json_t *list;
    fixture_open(&f, "expires", NULL);
    fixture_begin(&f, 1, "refund");
    call_result late = fixture_hold_refund(&f, 60), later = fixture_hold_refund(&f, 61),
                unasked = fixture_hold_refund(&f, 62);
    assert_ok(yes(&f, later.approval, &err), &err);
    f.world.now_ms = late.expires_ms - 1;
    assert_ok(approval_list(&f.env, f.store, &list, &err), &err);
    assert_int_equal(json_array_size(list), 2);
    json_decref(list);
    f.world.now_ms = late.expires_ms;
    assert_status(yes(&f, late.approval, &err), MUGA_E_POLICY, &err, "expired");
    assert_status(yes(&f, late.approval, &err), MUGA_E_POLICY, &err, "expired");
    assert_int_equal(fixture_resume(&f, late.call), CALL_REFUSED);
    assert_int_equal(fixture_resume(&f, later.call), CALL_REFUSED); /* approved in time, used too late */
    assert_ok(approval_list(&f.env, f.store, &list, &err), &err);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    assert_int_equal(fixture_resume(&f, unasked.call), CALL_REFUSED);
    assert_int_equal(n_refunds(&f), 0);
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    call_result_release(&late);
    call_result_release(&later);
    call_result_release(&unasked);
    fixture_close(&f);
}

/* Nobody decided, and nobody drives the session: it doesn't stay open for ever. */
static void what_nobody_decided_is_escalated(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    json_t *list;
    fixture_open(&f, "escalates", NULL);
    fixture_begin(&f, 1, "refund");
    call_result r = fixture_hold_refund(&f, 60);
    f.world.now_ms = r.expires_ms;
    assert_ok(approval_list(&f.env, f.store, &list, &err), &err);
    json_decref(list);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM sessions WHERE ended_ms IS NULL"), 1);
    session_close(f.session);
    f.session = NULL;
    for (int i = 0; i < 2; i++) { /* once, however often one looks */
        assert_ok(approval_list(&f.env, f.store, &list, &err), &err);
        json_decref(list);
        assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM sessions WHERE outcome = 'escalate'"), 1);
        assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM audit WHERE kind = 'escalation'"), 1);
    }
    assert_int_equal(n_refunds(&f), 0);
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    call_result_release(&r);
    fixture_close(&f);
}

/* Rows changed behind our back, before the yes and after it. */
static void a_changed_row_voids_the_approval(void **state) {
    (void)state;
    static const char *const changes[] = {
        "UPDATE calls SET arguments = '{\"amount\":99999}' WHERE id = '%s'",
        "UPDATE calls SET tool = 'reset' WHERE id = '%s'",
        "UPDATE calls SET policy_digest = zeroblob(32) WHERE id = '%s'",
        "UPDATE calls SET tool_digest = zeroblob(32) WHERE id = '%s'",
        "UPDATE approvals SET expires_ms = expires_ms + 1000000 WHERE call = '%s'",
        "UPDATE approvals SET binding = zeroblob(32) WHERE call = '%s'",
        "UPDATE approvals SET id = '0000-0000' WHERE call = '%s'",
    };
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "changed", NULL);
    fixture_begin(&f, 1, "refund");
    for (size_t i = 0; i < 2 * ARRAY_LEN(changes); i++) {
        char sql[256];
        call_result r = fixture_hold_refund(&f, 60);
        bool before = i % 2 == 0;
        if (!before) {
            assert_ok(yes(&f, r.approval, &err), &err);
        }
        snprintf(sql, sizeof sql, changes[i / 2], r.call);
        fixture_sql(f.store_path, sql);
        if (before) {
            const char *id = strstr(sql, "0000-0000") ? "0000-0000" : r.approval;
            muga_status st = yes(&f, id, &err);
            assert_int_equal(st, MUGA_E_POLICY);
        }
        call_outcome outcome = fixture_resume(&f, r.call);
        assert_int_equal(outcome, before ? CALL_HELD : CALL_REFUSED);
        fixture_sql(f.store_path, "UPDATE approvals SET id = hex(randomblob(8)) WHERE id = '0000-0000'");
        call_result_release(&r);
    }
    assert_int_equal(n_refunds(&f), 0);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 0);
    fixture_close(&f);
}

/* 10,000 tries by someone who guesses, replays, swaps: only the real yes is taken, and once. */
static void forged_and_doubled_approvals_are_refused(void **state) {
    (void)state;
    enum { N_TRIES = 10000, N_CALLS = 20 };
    agent_fixture f;
    muga_error err;
    rng random = {7};
    call_result calls[N_CALLS];
    bool approved[N_CALLS] = {false};
    int64_t n_approved = 0;
    fixture_open(&f, "forged", NULL);
    fixture_begin(&f, 1, "refund");
    fixture_sql(f.store_path, "PRAGMA wal_checkpoint");
    for (int i = 0; i < N_CALLS; i++) {
        calls[i] = fixture_hold_refund(&f, 100 + i);
    }
    for (int i = 0; i < N_TRIES; i++) {
        char id[AGENT_ID_SIZE];
        uint32_t k = rng_below(&random, N_CALLS);
        if (i % 500 == 499) { /* now and then a real one */
            muga_status st = yes(&f, calls[k].approval, &err);
            assert_int_equal(st, approved[k] ? MUGA_E_POLICY : MUGA_OK);
            n_approved += !approved[k];
            approved[k] = true;
            assert_int_equal(fixture_resume(&f, calls[k].call), CALL_FINISHED);
        } else if (i % 2) { /* a used one, or one character off */
            snprintf(id, sizeof id, "%s", calls[k].approval);
            if (!approved[k]) {
                size_t at = rng_below(&random, 8);
                char *c = &id[at + (at > 3)];
                *c = *c == '7' ? '3' : '7';
            }
            muga_status st = yes(&f, id, &err);
            assert_true(st == MUGA_E_NOT_FOUND || (st == MUGA_E_POLICY && approved[k]));
        } else { /* a guess */
            uint8_t bytes[SHA256_BYTES];
            for (size_t b = 0; b < 5; b++) {
                bytes[b] = (uint8_t)rng_below(&random, 256);
            }
            id_of_binding(bytes, id);
            assert_status(yes(&f, id, &err), MUGA_E_NOT_FOUND, &err, "");
        }
        assert_int_equal(fixture_resume(&f, calls[k].call), approved[k] ? CALL_FINISHED : CALL_HELD);
    }
    assert_int_equal(n_refunds(&f), n_approved);
    assert_in_range(n_approved, 5, N_CALLS);
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    for (int i = 0; i < N_CALLS; i++) {
        call_result_release(&calls[i]);
    }
    fixture_close(&f);
}

/* A yes given to one agent's manifest is no yes under another's. */
static void the_manifest_of_now_must_be_the_one_that_held(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "policy", NULL);
    fixture_begin(&f, 1, "refund");
    call_result r = fixture_hold_refund(&f, 60);
    str text = STR_INIT;
    str_printf(&text, "%sescalation: {to: human}\n", fixture_manifest);
    fixture_write(&f, "agent.yaml", str_get(&text));
    manifest *changed;
    assert_ok(manifest_load(&f.env, f.dir, NULL, &changed, &err), &err);
    assert_status(approval_decide(&f.env, f.store, changed, r.approval, true, "ada", &err), MUGA_E_POLICY, &err,
                  "policy changed since");
    assert_status(approval_decide(&f.env, f.store, NULL, r.approval, true, "ada", &err), MUGA_E_POLICY, &err,
                  "changed since");
    assert_ok(approval_decide(&f.env, f.store, NULL, r.approval, false, "ada", &err),
              &err); /* a no needs no manifest */
    assert_int_equal(fixture_resume(&f, r.call), CALL_REFUSED);
    manifest_free(changed);
    str_release(&text);
    call_result_release(&r);
    fixture_close(&f);
}

/* Eight processes say yes at once: one is the first. */
static void of_many_yeses_one_counts(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "race", NULL);
    fixture_begin(&f, 1, "refund");
    for (int round = 0; round < 5; round++) {
        call_result r = fixture_hold_refund(&f, 60);
        int n_first = 0;
        pid_t children[8];
        for (size_t i = 0; i < ARRAY_LEN(children); i++) {
            children[i] = fork();
            if (children[i] == 0) {
                store *mine;
                muga_error err;
                agent_env env = agent_env_system();
                env.clock = &f.world.clock;
                if (store_open(f.store_path, NULL, &mine, &err) != MUGA_OK) {
                    _exit(2);
                }
                muga_status st = approval_decide(&env, mine, f.m, r.approval, true, "ada", &err);
                _exit(st == MUGA_OK ? 0 : st == MUGA_E_POLICY ? 1 : 2);
            }
        }
        for (size_t i = 0; i < ARRAY_LEN(children); i++) {
            int status;
            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
            n_first += WEXITSTATUS(status) == 0;
        }
        assert_int_equal(n_first, 1);
        assert_int_equal(fixture_resume(&f, r.call), CALL_FINISHED);
        assert_int_equal(n_refunds(&f), round + 1);
        call_result_release(&r);
    }
    fixture_close(&f);
}

static void the_list_shows_what_a_person_must_know(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    json_t *list;
    fixture_open(&f, "list", NULL);
    fixture_begin(&f, 2, "refund");
    call_result r = fixture_hold_refund(&f, 60);
    assert_ok(approval_list(&f.env, f.store, &list, &err), &err);
    const json_t *e = json_array_get(list, 0);
    assert_string_equal(json_get_string(e, "approval"), r.approval);
    assert_string_equal(json_get_string(e, "call"), r.call);
    assert_string_equal(json_get_string(e, "session"), session_id(f.session));
    assert_string_equal(json_get_string(e, "agent"), "test-shop");
    assert_string_equal(json_get_string(e, "dir"), f.dir);
    assert_string_equal(json_get_string(e, "tool"), "refund");
    assert_string_equal(json_get_string(e, "state"), "held");
    assert_int_equal(json_get_int(json_object_get(e, "arguments"), "amount", 0), 60);
    assert_int_equal(json_get_int(json_object_get(e, "values"), "customer", 0), 2);
    assert_int_equal(json_get_int(e, "expires_ms", 0), r.expires_ms);
    json_decref(list);
    call_result_release(&r);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_read_as_people_type_them),
        cmocka_unit_test(the_binding_covers_every_field),
        cmocka_unit_test(an_approval_expires),
        cmocka_unit_test(what_nobody_decided_is_escalated),
        cmocka_unit_test(a_changed_row_voids_the_approval),
        cmocka_unit_test(forged_and_doubled_approvals_are_refused),
        cmocka_unit_test(the_manifest_of_now_must_be_the_one_that_held),
        cmocka_unit_test(of_many_yeses_one_counts),
        cmocka_unit_test(the_list_shows_what_a_person_must_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
