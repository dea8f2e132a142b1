/* Retries, rates, circles, and calls of one step that run at the same time. If this failed, a write could be repeated,
 * a restart could forget how often a tool was called, an agent could go round in a circle until its limits, or the
 * journal could depend on which of two threads was faster (threads: os_pool_new). */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define WAIT_STEPS 60000 /* of 1 ms: a watchdog, not a bar */

/* clang-format off */
#define TOOL(name, more) \
    "  - name: " name "\n    description: d\n    parameters: {type: object, properties: {n: {type: integer}}," \
    " required: [n], additionalProperties: false}\n    command: [./program]\n    unsandboxed: true\n" \
    "    labels: {trust: trusted}\n" more
/* clang-format on */

static const char run_manifest[] =
    "version: 1\nagent: test-shop\nkind: goal\nmodel: scripted\nsession: {customer: {type: integer}}\n"
    "goal: {statement: Help.}\nlearning: {subject: [customer]}\nlimits: {steps: 50, repeats: 4}\ntools:\n" /**/
    TOOL("plain", "    effect: read\n")                                                                    /**/
    TOOL("tries", "    effect: read\n    retry: {times: 3, first_ms: 100}\n")                              /**/
    TOOL("again", "    effect: write\n    approval: never\n    idempotent: true\n    retry: {times: 1}\n") /**/
    TOOL("write", "    effect: write\n    approval: never\n")                                              /**/
    TOOL("rated", "    effect: read\n    rate: {calls: 3, seconds: 60}\n")                                 /**/
    TOOL("person", "    effect: read\n    rate: {calls: 2, seconds: 60, per: subject}\n")                  /**/
    TOOL("asked", "    effect: write\n    rate: {calls: 1, seconds: 60, per: agent}\n");

/* ---- a program that does what the test says ---- */

typedef struct program {
    os_children seam;
    int n_fail; /* so many runs fail, then they succeed */
    bool same;  /* gives the same whatever it was asked */
    int n_meet; /* so many runs must be under way before the first of them ends; 0: none waits */
    atomic_int n_runs, n_inside, n_most;
    bool all_met;
} program;

static muga_status run_program(void *self, const os_child_spec *spec, os_child_result *out, muga_error *err) {
    program *p = self;
    json_t *in = NULL;
    *out = (os_child_result){.end = OS_CHILD_EXITED, .out = STR_INIT, .err_out = STR_INIT};
    int n_before = atomic_fetch_add(&p->n_runs, 1), n_inside = atomic_fetch_add(&p->n_inside, 1) + 1;
    for (int i = 0; i < WAIT_STEPS && atomic_load(&p->n_runs) < p->n_meet; i++) {
        usleep(1000);
    }
    int most = atomic_load(&p->n_most);
    while (most < n_inside && !atomic_compare_exchange_weak(&p->n_most, &most, n_inside)) {}
    muga_status st = json_parse(spec->in, spec->n_in, "in", &in, err);
    out->code = n_before < p->n_fail;
    if (out->code) {
        str_append_s(&out->err_out, "busy");
    } else {
        int64_t n = json_get_int(json_object_get(in, "arguments"), "n", 0);
        str_printf(&out->out, "{\"n\": %lld}", p->same ? 0LL : (long long)n);
    }
    json_decref(in);
    atomic_fetch_sub(&p->n_inside, 1);
    return st;
}

static void open_with(agent_fixture *f, program *p, const char *name) {
    muga_error err;
    fixture_prepare(f, name, run_manifest);
    fixture_write(f, "program", "#!/bin/false\n");
    p->seam = (os_children){run_program, p};
    f->env.children = &p->seam;
    assert_ok(manifest_load(&f->env, f->dir, NULL, &f->m, &err), &err);
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    fixture_begin(f, 1, "go");
}

static call_result call(agent_fixture *f, const char *tool, int n) {
    muga_error err;
    call_result r;
    json_t *v = json_pack("{s:i}", "n", n);
    assert_ok(executor_call(f->session, tool, v, &r, &err), &err);
    json_decref(v);
    return r;
}

static void expect(agent_fixture *f, const char *tool, int n, call_outcome outcome, const char *reason_part) {
    call_result r = call(f, tool, n);
    if (r.outcome != outcome || !strstr(r.reason, reason_part)) {
        fail_msg("%s: %s: %s; expected %s: ...%s...", tool, call_outcome_name(r.outcome), r.reason,
                 call_outcome_name(outcome), reason_part);
    }
    call_result_release(&r);
}

static void say(agent_fixture *f) {
    muga_error err;
    assert_ok(session_add_user(f->session, "go on", 5, &err), &err);
}

static void assert_chain_whole(agent_fixture *f) {
    muga_error err;
    audit_report report;
    assert_ok(audit_verify(f->store, &report, &err), &err);
}

/* ---- retries ---- */

static void a_read_that_failed_is_tried_again_with_growing_waits(void **state) {
    (void)state;
    agent_fixture f;
    program p = {.n_fail = 3};
    open_with(&f, &p, "retry");
    int64_t from_ms = f.world.now_ms;
    expect(&f, "tries", 1, CALL_FINISHED, "");
    assert_int_equal(p.n_runs, 4);
    assert_int_equal(f.world.now_ms - from_ms, 100 + 200 + 400);
    /* each attempt is in the journal, with why the one before it failed */
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM audit_payload WHERE json_extract(payload,"
                                                 " '$.retry') > 0 AND json_extract(payload, '$.reason') LIKE '%busy%'"),
                     3);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM calls WHERE reason IS NULL"), 1);
    p.n_fail = 1000;
    expect(&f, "tries", 2, CALL_FAILED, "busy");
    assert_int_equal(p.n_runs, 8);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void only_what_may_be_repeated_is(void **state) {
    (void)state;
    agent_fixture f;
    program p = {.n_fail = 1000};
    open_with(&f, &p, "repeated");
    expect(&f, "plain", 1, CALL_FAILED, "busy"); /* nobody said retry */
    assert_int_equal(p.n_runs, 1);
    expect(&f, "write", 1, CALL_FAILED, "busy");
    assert_int_equal(p.n_runs, 2);
    expect(&f, "again", 1, CALL_FAILED, "busy"); /* idempotent */
    assert_int_equal(p.n_runs, 4);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void a_retry_of_a_write_is_refused_by_line(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    manifest *m;
    str text = STR_INIT;
    str_printf(&text, "%s" TOOL("bad", "    effect: write\n    retry: {times: 1}\n"), run_manifest);
    fixture_prepare(&f, "refused", str_get(&text));
    fixture_write(&f, "program", "#!/bin/false\n");
    assert_status(manifest_load(&f.env, f.dir, NULL, &m, &err), MUGA_E_INPUT, &err, "retry: a write that failed may");
    str_truncate(&text, 0);
    str_append_s(&text, "version: 1\nagent: a\nkind: goal\nmodel: m\ngoal: {statement: Help.}\ntools:\n" TOOL(
                            "bad", "    effect: read\n    rate: {calls: 1, seconds: 1, per: subject}\n"));
    fixture_write(&f, "agent.yaml", str_get(&text));
    assert_status(manifest_load(&f.env, f.dir, NULL, &m, &err), MUGA_E_INPUT, &err, "per: learning.subject must name");
    str_release(&text);
    fixture_close(&f);
}

/* ---- rates ---- */

static void a_rate_holds_over_turns_and_restarts_until_its_time_is_over(void **state) {
    (void)state;
    agent_fixture f;
    program p = {.n_fail = 1};
    open_with(&f, &p, "rate");
    expect(&f, "rated", 1, CALL_FAILED, ""); /* what failed has been asked, too */
    f.world.now_ms += 10000;
    expect(&f, "rated", 2, CALL_FINISHED, "");
    say(&f);
    fixture_reopen(&f);
    expect(&f, "rated", 3, CALL_FINISHED, "");
    expect(&f, "rated", 4, CALL_REFUSED,
           "rate: 3 calls of rated in 60 s are all that this session may make; again in 51 s");
    expect(&f, "plain", 4, CALL_FINISHED, ""); /* another tool's rate is another's */
    f.world.now_ms += 49000;
    expect(&f, "rated", 5, CALL_REFUSED, "again in 2 s");
    f.world.now_ms += 1001;
    expect(&f, "rated", 6, CALL_FINISHED, "");
    expect(&f, "rated", 7, CALL_REFUSED, "rate");
    assert_int_equal(p.n_runs, 5);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void begin_again(agent_fixture *f, int64_t customer) {
    session_close(f->session);
    fixture_begin(f, customer, "go");
}

static void a_person_s_rate_holds_in_all_of_their_sessions(void **state) {
    (void)state;
    agent_fixture f;
    program p = {.n_fail = 0};
    open_with(&f, &p, "person");
    expect(&f, "person", 1, CALL_FINISHED, "");
    expect(&f, "rated", 1, CALL_FINISHED, "");
    begin_again(&f, 1);
    expect(&f, "person", 2, CALL_FINISHED, "");
    expect(&f, "person", 3, CALL_REFUSED, "this person");
    begin_again(&f, 2);
    expect(&f, "person", 4, CALL_FINISHED, "");
    expect(&f, "asked", 1, CALL_HELD, "");
    begin_again(&f, 3);
    f.world.now_ms += 3600000;
    expect(&f, "asked", 2, CALL_REFUSED, "this agent"); /* what waits for a person is reserved */
    assert_chain_whole(&f);
    fixture_close(&f);
}

/* ---- circles ---- */

static void a_call_that_gives_the_same_again_and_again_is_refused(void **state) {
    (void)state;
    agent_fixture f;
    program p = {.same = true};
    open_with(&f, &p, "circle");
    for (int i = 0; i < 4; i++) {
        expect(&f, "plain", 1, CALL_FINISHED, "");
    }
    expect(&f, "plain", 1, CALL_REFUSED, "limits.repeats: this call gave the same result 4 times");
    fixture_reopen(&f);
    expect(&f, "plain", 1, CALL_REFUSED, "limits.repeats");
    expect(&f, "plain", 2, CALL_FINISHED, ""); /* other arguments */
    expect(&f, "write", 1, CALL_FINISHED, ""); /* another tool */
    say(&f);
    expect(&f, "plain", 1, CALL_FINISHED, ""); /* asked anew */
    p.n_fail = 1000;
    expect(&f, "plain", 1, CALL_FAILED, "");
    p.n_fail = 0;
    for (int i = 0; i < 4; i++) {
        expect(&f, "plain", 1, CALL_FINISHED, ""); /* something else came between */
    }
    expect(&f, "plain", 1, CALL_REFUSED, "limits.repeats");
    assert_int_equal(p.n_runs, 12);
    fixture_close(&f);
}

/* ---- at the same time ---- */

static void call_many(agent_fixture *f, const char *const *tools, size_t n, call_result *out) {
    muga_error err;
    call_request list[16] = {{.tool = NULL}};
    json_t *arguments[16];
    for (size_t i = 0; i < n; i++) {
        arguments[i] = json_pack("{s:i}", "n", (int)i);
        list[i] = (call_request){tools[i], arguments[i]};
    }
    assert_ok(executor_call_many(f->session, list, n, out, &err), &err);
    for (size_t i = 0; i < n; i++) {
        json_decref(arguments[i]);
    }
}

static void reads_of_one_step_run_at_once_and_are_settled_in_order(void **state) {
    (void)state;
    static const char *const tools[] = {"plain", "tries", "plain", "plain"};
    agent_fixture f;
    call_result r[4];
    program p = {.n_meet = 4};
    open_with(&f, &p, "at-once");
    call_many(&f, tools, 4, r);
    assert_int_equal(p.n_most, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r[i].outcome, CALL_FINISHED);
        assert_int_equal(json_get_int(r[i].result, "n", -1), i);
        const json_t *entry = json_array_get(session_history(f.session), (size_t)i + 1);
        assert_string_equal(json_get_string(entry, "call"), r[i].call);
        call_result_release(&r[i]);
    }
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void a_write_runs_alone_between_what_comes_before_and_after(void **state) {
    (void)state;
    static const char *const tools[] = {"plain", "plain", "write", "nosuch", "plain", "asked", "plain", "plain"};
    static const call_outcome want[] = {CALL_FINISHED, CALL_FINISHED, CALL_FINISHED, CALL_INVALID,
                                        CALL_FINISHED, CALL_HELD,     CALL_FINISHED, CALL_FINISHED};
    agent_fixture f;
    call_result r[8];
    program p = {.n_meet = 2};
    open_with(&f, &p, "barrier");
    call_many(&f, tools, 8, r);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(r[i].outcome, want[i]);
        call_result_release(&r[i]);
    }
    assert_true(p.n_most <= 2);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM calls"), 8);
    assert_chain_whole(&f);
    fixture_close(&f);
}

static void of_calls_at_once_those_that_failed_are_tried_again(void **state) {
    (void)state;
    static const char *const tools[] = {"tries", "tries", "tries"};
    agent_fixture f;
    call_result r[3];
    program p = {.n_fail = 3};
    open_with(&f, &p, "rounds");
    call_many(&f, tools, 3, r);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r[i].outcome, CALL_FINISHED);
        call_result_release(&r[i]);
    }
    assert_int_equal(p.n_runs, 6);
    assert_int_equal(f.world.now_ms, INT64_C(1790000000100)); /* they waited together */
    assert_chain_whole(&f);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_that_failed_is_tried_again_with_growing_waits),
        cmocka_unit_test(only_what_may_be_repeated_is),
        cmocka_unit_test(a_retry_of_a_write_is_refused_by_line),
        cmocka_unit_test(a_rate_holds_over_turns_and_restarts_until_its_time_is_over),
        cmocka_unit_test(a_person_s_rate_holds_in_all_of_their_sessions),
        cmocka_unit_test(a_call_that_gives_the_same_again_and_again_is_refused),
        cmocka_unit_test(reads_of_one_step_run_at_once_and_are_settled_in_order),
        cmocka_unit_test(a_write_runs_alone_between_what_comes_before_and_after),
        cmocka_unit_test(of_calls_at_once_those_that_failed_are_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
