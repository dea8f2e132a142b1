/* 10,000 attempts on approvals: forged, replayed, swapped, too late, raced for. If this failed, a yes could be made up,
 * spent twice, or spent on something else than what a person was shown. Each attempt is counted, and so is every row
 * that the tool wrote: there are as many as there were real approvals, each started once.
 * ctest: slow */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_FORGED = 4000, N_REPLAYED = 3000, N_SWAPPED = 1000, N_EXPIRED = 1000, N_RACED = 500 }; /* a race: two tries */

static muga_status decide(agent_fixture *f, const char *id) {
    muga_error err;
    return approval_decide(&f->env, f->store, f->m, id, true, "ada", &err);
}

static int64_t n_refunds(agent_fixture *f) {
    return fixture_count(f->shop_path, "SELECT count(*) FROM refunds");
}

static void begin(agent_fixture *f, const char *name) {
    fixture_open(f, name, NULL);
    fixture_begin(f, 1, "refund");
}

static void end(agent_fixture *f, int64_t n_real) {
    muga_error err;
    audit_report report;
    assert_int_equal(n_refunds(f), n_real);
    assert_ok(audit_verify(f->store, &report, &err), &err);
    fixture_close(f);
}

/* Ids made up, one character off, and of bindings made of the call's own fields with another expiry. */
static void forged(void **state) {
    (void)state;
    agent_fixture f;
    rng random = {11};
    begin(&f, "forged");
    call_result r = fixture_hold_refund(&f, 60);
    for (int i = 0; i < N_FORGED; i++) {
        char id[AGENT_ID_SIZE];
        uint8_t binding[SHA256_BYTES];
        if (i % 3 == 0) {
            for (size_t b = 0; b < sizeof binding; b++) {
                binding[b] = (uint8_t)rng_below(&random, 256);
            }
            id_of_binding(binding, id);
        } else if (i % 3 == 1) {
            size_t at = rng_below(&random, 8);
            memcpy(id, r.approval, sizeof id);
            id[at + (at > 3)] = id[at + (at > 3)] == '7' ? '3' : '7';
        } else {
            muga_error err;
            journal_call c;
            assert_ok(journal_read(f.store, r.call, &c, &err), &err);
            assert_ok(approval_bind(&c, r.expires_ms + 1 + i, binding, &err), &err);
            id_of_binding(binding, id);
            journal_call_release(&c);
        }
        assert_int_equal(decide(&f, id), MUGA_E_NOT_FOUND);
    }
    assert_int_equal(fixture_resume(&f, r.call), CALL_HELD);
    call_result_release(&r);
    end(&f, 0);
}

/* A yes again, and the call again, after it ran. */
static void replayed(void **state) {
    (void)state;
    agent_fixture f;
    begin(&f, "replayed");
    call_result calls[4];
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        calls[i] = fixture_hold_refund(&f, 60 + (int64_t)i);
        assert_int_equal(decide(&f, calls[i].approval), MUGA_OK);
        assert_int_equal(fixture_resume(&f, calls[i].call), CALL_FINISHED);
    }
    for (int i = 0; i < N_REPLAYED; i++) {
        const call_result *r = &calls[(size_t)i % ARRAY_LEN(calls)];
        assert_int_equal(decide(&f, r->approval), MUGA_E_POLICY);
        assert_int_equal(fixture_resume(&f, r->call), CALL_FINISHED); /* its stored result */
    }
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM approvals WHERE state = 'used'"),
                     (int)ARRAY_LEN(calls));
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        call_result_release(&calls[i]);
    }
    end(&f, (int64_t)ARRAY_LEN(calls));
}

/* Arguments, tool, definition, policy, expiry or id of the row changed, before the yes or between it and the start. */
static void swapped(void **state) {
    (void)state;
    static const char *const changes[] = {
        "UPDATE calls SET arguments = '{\"amount\":%d}' WHERE id = '%s'",
        "UPDATE calls SET tool = 'reset', reason = '%d' WHERE id = '%s'",
        "UPDATE calls SET policy_digest = zeroblob(32), reason = '%d' WHERE id = '%s'",
        "UPDATE calls SET tool_digest = zeroblob(32), reason = '%d' WHERE id = '%s'",
        "UPDATE approvals SET expires_ms = expires_ms + 1 + %d WHERE call = '%s'",
    };
    agent_fixture f;
    begin(&f, "swapped");
    for (int i = 0; i < N_SWAPPED; i++) {
        char sql[256];
        bool before = i % 2 == 0;
        call_result r = fixture_hold_refund(&f, 60);
        if (!before) {
            assert_int_equal(decide(&f, r.approval), MUGA_OK);
        }
        snprintf(sql, sizeof sql, changes[(size_t)i / 2 % ARRAY_LEN(changes)], 100 + i, r.call);
        fixture_sql(f.store_path, sql);
        if (before) {
            assert_int_equal(decide(&f, r.approval), MUGA_E_POLICY);
        }
        assert_int_equal(fixture_resume(&f, r.call), before ? CALL_HELD : CALL_REFUSED);
        call_result_release(&r);
    }
    assert_int_equal(n_refunds(&f), 0);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 0);
    fixture_close(&f);
}

/* At the last millisecond a yes counts, and a start; at the next, neither. */
static void expired(void **state) {
    (void)state;
    agent_fixture f;
    int64_t n_real = 0;
    begin(&f, "expired");
    for (int i = 0; i < N_EXPIRED; i++) {
        call_result r = fixture_hold_refund(&f, 60);
        int64_t border = r.expires_ms, yes_at = border - 1 + (i % 3 == 0), start_at = border - 1 + (i % 3 != 2);
        f.world.now_ms = yes_at;
        assert_int_equal(decide(&f, r.approval), yes_at < border ? MUGA_OK : MUGA_E_POLICY);
        f.world.now_ms = start_at;
        assert_int_equal(fixture_resume(&f, r.call), start_at < border ? CALL_FINISHED : CALL_REFUSED);
        n_real += start_at < border;
        call_result_release(&r);
    }
    assert_int_equal(n_real, N_EXPIRED / 3);
    end(&f, n_real);
}

/* One of two who say yes, round after round: reads an id from a pipe, answers with what became of it. */
static void say_yes_to_all(agent_fixture *f, int from, int to) {
    store *mine;
    muga_error err;
    char id[AGENT_ID_SIZE];
    if (store_open(f->store_path, NULL, &mine, &err) != MUGA_OK) {
        _exit(2);
    }
    while (read(from, id, sizeof id) == (ssize_t)sizeof id) {
        char st = (char)approval_decide(&f->env, mine, f->m, id, true, "ada", &err);
        if (write(to, &st, 1) != 1) {
            _exit(3);
        }
    }
    _exit(0);
}

static void raced(void **state) {
    (void)state;
    agent_fixture f;
    int ask[2][2], answer[2][2];
    pid_t children[2];
    begin(&f, "raced");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe(ask[i]), 0);
        assert_int_equal(pipe(answer[i]), 0);
        children[i] = fork();
        if (children[i] == 0) {
            close(ask[i][1]);
            if (i == 1) {
                close(ask[0][1]);
            }
            say_yes_to_all(&f, ask[i][0], answer[i][1]);
        }
    }
    for (int round = 0; round < N_RACED; round++) {
        call_result r = fixture_hold_refund(&f, 60);
        char id[AGENT_ID_SIZE] = "", st[2];
        snprintf(id, sizeof id, "%s", r.approval);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(write(ask[(i + round) % 2][1], id, sizeof id), (int)sizeof id);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(read(answer[i][0], &st[i], 1), 1);
        }
        assert_true((st[0] == MUGA_OK && st[1] == MUGA_E_POLICY) || (st[1] == MUGA_OK && st[0] == MUGA_E_POLICY));
        assert_int_equal(fixture_resume(&f, r.call), CALL_FINISHED);
        call_result_release(&r);
    }
    for (int i = 0; i < 2; i++) {
        int status;
        close(ask[i][1]);
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        close(ask[i][0]);
        close(answer[i][0]);
        close(answer[i][1]);
    }
    end(&f, N_RACED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forged),  cmocka_unit_test(replayed), cmocka_unit_test(swapped),
        cmocka_unit_test(expired), cmocka_unit_test(raced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
