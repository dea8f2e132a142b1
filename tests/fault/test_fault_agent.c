/* Every allocation failed in turn while an agent works: manifest, store, session, a read, a held write, its approval,
 * its execution, the audit. If this failed, a machine short of memory could run a tool that the journal doesn't know
 * of, run one twice, break the audit chain, crash or leak, or it would tell a model that its arguments are wrong. */
#include "support/support.h"

#include "support/agent_fixture.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How far one run came. */
typedef struct progress {
    call_outcome read, write; /* the last verdict about each */
    bool has_read, has_write;
} progress;

static json_t *values, *order, *nothing; /* inputs, made before memory is short */

static muga_status call(agent_session *s, const char *tool, const json_t *arguments, call_outcome *out, char *approval,
                        char *id, muga_error *err) {
    call_result r = {0};
    muga_status st = executor_call(s, tool, arguments, &r, err);
    if (st == MUGA_OK) {
        *out = r.outcome;
        snprintf(approval, AGENT_ID_SIZE, "%s", r.approval);
        snprintf(id, AGENT_ID_SIZE, "%s", r.call);
        call_result_release(&r);
    }
    return st;
}

static muga_status approve_and_resume(agent_fixture *f, const char *approval, const char *id, progress *p,
                                      muga_error *err) {
    call_result r = {0};
    muga_status st = approval_decide(&f->env, f->store, f->m, approval, true, "test", err);
    if (st == MUGA_OK) {
        st = executor_resume(f->session, id, &r, err);
    }
    if (st == MUGA_OK) {
        p->write = r.outcome;
        call_result_release(&r);
    }
    return st;
}

static muga_status work(agent_fixture *f, progress *p, muga_error *err) {
    static const char message[] = "Where is A10001? And I forgot my password.";
    char approval[AGENT_ID_SIZE] = "", id[AGENT_ID_SIZE] = "";
    muga_status st = session_add_user(f->session, message, strlen(message), err);
    if (st == MUGA_OK) {
        st = call(f->session, "order_status", order, &p->read, approval, id, err);
        p->has_read = st == MUGA_OK;
    }
    if (st == MUGA_OK) {
        st = call(f->session, "reset", nothing, &p->write, approval, id, err);
        p->has_write = st == MUGA_OK;
    }
    if (st == MUGA_OK && p->write == CALL_HELD) {
        st = approve_and_resume(f, approval, id, p, err);
    }
    if (st == MUGA_OK) {
        st = session_add_answer(f->session, "answer", "Done.", err);
    }
    return st == MUGA_OK ? session_end(f->session, "answer", err) : st;
}

static muga_status run(agent_fixture *f, progress *p, muga_error *err) {
    *p = (progress){0};
    muga_status st = manifest_load(&f->env, f->dir, NULL, &f->m, err);
    if (st == MUGA_OK) {
        st = store_open(f->store_path, NULL, &f->store, err);
    }
    if (st == MUGA_OK) {
        st = session_new(&f->env, f->store, f->m, values, NULL, &f->session, err);
    }
    if (st == MUGA_OK) {
        st = work(f, p, err);
    }
    fixture_let_go(f);
    return st;
}

static int64_t count_resets(const agent_fixture *f) {
    return fixture_count(f->shop_path, "SELECT count(*) FROM resets");
}

static void assert_run_with_failure(agent_fixture *f, size_t n) {
    muga_error err = {0};
    progress p;
    int64_t before = count_resets(f);
    long live = fault_live();
    fault_fail_at(n);
    muga_status st = run(f, &p, &err);
    bool reached = fault_hit();
    fault_fail_at(0);
    if (fault_live() != live) {
        fail_msg("allocation %zu (status %d): %ld blocks leaked", n, st, fault_live() - live);
    }
    if (st != MUGA_OK && (!reached || st != MUGA_E_NOMEM || !*err.message)) {
        fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    }
    if ((p.has_read && p.read == CALL_INVALID) || (p.has_write && p.write == CALL_INVALID)) {
        fail_msg("allocation %zu: what no memory was had for is told as a fault of the arguments", n);
    }
    int64_t effects = count_resets(f) - before;
    bool finished = p.has_write && p.write == CALL_FINISHED;
    if (effects > 1 || (finished && effects != 1) || (st == MUGA_OK && !finished && effects != 0)) {
        fail_msg("allocation %zu: %d effects, status %d, verdict %s", n, (int)effects, st, call_outcome_name(p.write));
    }
    if (!reached && !finished) {
        fail_msg("allocation %zu was not reached, yet the verdict is %s", n, call_outcome_name(p.write));
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "fault", NULL);
    values = fixture_json("{'customer': 1}");
    order = fixture_json("{'order_id': 'A10001'}");
    nothing = fixture_json("{}");
    muga_error err;
    progress p;
    assert_ok(run(&f, &p, &err), &err); /* makes the store; what libraries allocate once is no leak */
    assert_int_equal(p.read, CALL_FINISHED);
    assert_int_equal(p.write, CALL_FINISHED);
    fault_fail_at(0);
    assert_ok(run(&f, &p, &err), &err);
    size_t n_allocations = fault_count();
    print_message("a run makes %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, 200, 1000000);
    for (size_t n = 1; n <= n_allocations; n++) {
        assert_run_with_failure(&f, n);
        if (n % 100 == 0) {
            fixture_assert_chain_whole(&f);
        }
    }
    fixture_assert_chain_whole(&f);
    json_decref(values);
    json_decref(order);
    json_decref(nothing);
    fixture_close(&f);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) { /* thousands of runs, each with several synced commits */
        setenv("TMPDIR", "/dev/shm", 1);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
