/* Every allocation failed in turn while an agent hears its past successes and makes training data of its turns. If this
 * failed, a machine short of memory could learn half of a turn, decide by half a voice, crash or leak. */
#include "support/support.h"

#include "agent/interactions.h"
#include "agent/learning.h"
#include "agents/loop_fixture.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static loop_fixture x;
static json_t *tasks;

static void say(const char *message) {
    muga_error err;
    turn_result r;
    record_outcome kept;
    char id[AGENT_ID_SIZE];
    json_t *values = fixture_json("{'customer': 1}");
    assert_ok(session_new(&x.f.env, x.f.store, x.f.m, values, NULL, &x.f.session, &err), &err);
    loop_begin(&x);
    snprintf(id, sizeof id, "%s", session_id(x.f.session));
    assert_ok(loop_turn(x.loop, message, strlen(message), &r, &err), &err);
    assert_ok(session_end(x.f.session, turn_outcome_name(r.outcome), &err), &err);
    assert_ok(interactions_record(&x.f.env, x.f.store, x.f.m, id, &kept, &err), &err);
    turn_result_release(&r);
    loop_free(x.loop);
    session_close(x.f.session);
    x.loop = NULL;
    x.f.session = NULL;
    json_decref(values);
}

static void prepare(void) {
    muga_error err;
    static const char own[] = "learning: {subject: [customer]}\n",
                      more[] = "learning: {subject: [customer], examples: {weight: 0.4}, adapter: {at_least: 2}}\n";
    char text[sizeof loop_manifest + sizeof more];
    const char *at = strstr(loop_manifest, own);
    json_t *none = json_array();
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - loop_manifest), loop_manifest, more, at + strlen(own));
    fixture_open(&x.f, "fault", text);
    fixture_write(&x.f, "examples.jsonl", loop_examples);
    assert_ok(intent_new(&x.f.env, x.f.m, &x.intent, &err), &err);
    assert_ok(llm_scripted_new(none, &x.model, &err), &err);
    assert_ok(consent_give(&x.f.env, x.f.store, x.f.m, false, "the operator", &err), &err);
    say("the latest one I ordered please");
    say("the latest thing I ordered");
    say("where is the latest one I ordered");
    tasks = fixture_json("[{'messages': ['the latest thing I ordered']}]");
    json_decref(none);
    store_close(x.f.store); /* each run opens it anew */
    x.f.store = NULL;
}

static muga_status run(muga_error *err) {
    static const char message[] = "the latest one that I ordered";
    learned *m = NULL;
    learning_data d = {.lines = STR_INIT};
    intent_decision decision = {0};
    store *s = NULL;
    muga_status st = store_open(x.f.store_path, NULL, &s, err);
    if (!st)
        st = learning_load_examples(&x.f.env, s, x.intent, x.f.m, &m, err);
    intent_listen(x.intent, m);
    if (!st)
        st = intent_decide(x.intent, NULL, message, sizeof message - 1, &decision, err);
    if (!st)
        assert_non_null(decision.learned);
    intent_decision_release(&decision);
    intent_listen(x.intent, NULL);
    learned_free(m);
    if (!st) { /* two turns, of one kind: refused, and memory that ran out before is said */
        st = learning_make_data(&x.f.env, s, x.intent, x.f.m, tasks, &d, err);
        assert_true(st == MUGA_E_NOMEM || (st == MUGA_E_INPUT && d.n_turns == 2 && d.n_kept_out == 1));
        st = st == MUGA_E_INPUT ? MUGA_OK : st;
    }
    str_release(&d.lines);
    store_close(s);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err;
    prepare();
    assert_ok(run(&err), &err); /* what libraries allocate once is no leak */
    fault_fail_at(0);
    assert_ok(run(&err), &err);
    size_t n_allocations = fault_count();
    print_message("a run makes %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, 500, 1000000);
    for (size_t n = 1; n <= n_allocations; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = run(&err);
        bool reached = fault_hit();
        fault_fail_at(0);
        if (fault_live() != live)
            fail_msg("allocation %zu (status %d): %ld blocks leaked", n, st, fault_live() - live);
        if (st != MUGA_OK && (!reached || st != MUGA_E_NOMEM || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    }
    json_decref(tasks);
    llm_free(x.model);
    intent_free(x.intent);
    fixture_close(&x.f);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* thousands of runs, each with synced commits */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
