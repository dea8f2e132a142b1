/* Reflex and model-based agents. If this failed, an agent would act on a rule that doesn't hold or can't be told, a
 * percept outside its schema would reach a rule, a state would be written by something else than an observation, lost
 * over a restart, or counted twice after a crash, or a held call would stop the world. */
#include "agent/intent.h"
#include "agent/internal.h"
#include "agent/loop.h"
#include "muga.h"
#include "support/agent_fixture.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

#define HEAD                                                                                                           \
    "version: 1\n"                                                                                                     \
    "agent: test-shop\n"                                                                                               \
    "session: {customer: {type: integer}}\n"                                                                           \
    "percept: {type: object, properties: {event: {enum: [sold, arrived, look]},"                                       \
    " item: {type: string, maxLength: 20}, count: {type: integer}}, required: [event], additionalProperties: false}\n" \
    "tools:\n"                                                                                                         \
    "  - name: buy\n"                                                                                                  \
    "    description: Buy.\n"                                                                                          \
    "    parameters: {type: object, properties: {amount: {type: integer, minimum: 1}}, required: [amount],"            \
    " additionalProperties: false}\n"                                                                                  \
    "    sql: {database: shop.db, exec: 'INSERT INTO refunds(customer, amount) VALUES"                                 \
    " (:session_customer, :amount)'}\n"                                                                                \
    "    effect: write\n"                                                                                              \
    "    approval: {when: arguments.amount > 50}\n"

static const char reflex[] = HEAD
    "kind: reflex\n"
    "rules:\n"
    "  - {name: few, when: percept.count < 5, answer: 'few {{ percept.item }}'}\n"
    "  - {name: odd, when: percept.count == 13, priority: 2, ask: 'thirteen?'}\n"
    "  - {name: order, when: percept.count > 5, tool: buy, arguments: {amount: percept.count * 2}, answer: 'bought"
    " {{ arguments.amount }}', held: wait, denied: no}\n"
    "  - {name: five, nothing: true}\n"
    "  - {name: named, match: '^buy (?<n>[0-9]{1,3})(?<more> more)?$', when: match.n | int > 1, tool: buy,"
    " arguments: {amount: match.n | int}, answer: 'ok{{ match.more or \"\" }}'}\n"
    "  - {name: slow, match: '^(a+)+$', answer: matched}\n"
    "  - {name: bye, on: message, escalate: A person takes over.}\n";

static const char keeper[] = HEAD
    "kind: model\n"
    "state:\n"
    "  levels: {type: object, additionalProperties: {type: integer, minimum: 0}, default: {}, scope: agent}\n"
    "  coming: {type: integer, default: 0, scope: agent}\n"
    "  seen: {type: integer, default: 0}\n"
    "observe:\n"
    "  - {set: {seen: state.seen + 1}}\n"
    "  - {name: in, when: percept.event == 'arrived', set: {levels: {at: percept.item, to: '(state.levels"
    "[percept.item] or 0) + percept.count'}, coming: 0}}\n"
    "  - {name: out, when: percept.event == 'sold', set: {levels: {at: percept.item, to: 'state.levels"
    "[percept.item] - percept.count'}}}\n"
    "  - {tool: buy, outcome: [finished, held], set: {coming: arguments.amount}}\n"
    "  - {tool: buy, outcome: [refused, failed], set: {coming: 0}}\n"
    "rules:\n"
    "  - {name: low, when: 'percept.event == \"sold\" and state.levels[percept.item] < 10 and state.coming == 0',"
    " tool: buy, arguments: {amount: percept.count * 10}, answer: 'bought {{ state.coming }}', held: wait}\n"
    "  - {name: tell, match: 'how many (?<item>[a-z]+)', answer: '{{ state.levels[match.item] or 0 }}'}\n";

typedef struct rule_fixture {
    agent_fixture f;
    agent_loop *loop;
} rule_fixture;

static void begin(rule_fixture *x) {
    muga_error err;
    const loop_parts parts = {&x->f.env, x->f.m, NULL, NULL, x->f.session, {NULL, NULL}, NULL};
    assert_ok(loop_new(&parts, &x->loop, &err), &err);
}

static void new_session(rule_fixture *x) {
    muga_error err;
    json_t *values = fixture_json("{'customer': 1}");
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    json_decref(values);
    begin(x);
}

static void open_agent(rule_fixture *x, const char *name, const char *manifest_text) {
    fixture_open(&x->f, name, manifest_text);
    new_session(x);
}

static void restart(rule_fixture *x) {
    loop_free(x->loop);
    fixture_reopen(&x->f);
    begin(x);
}

static void end(rule_fixture *x) {
    muga_error err;
    audit_report report;
    assert_ok(audit_verify(x->f.store, &report, &err), &err);
    loop_free(x->loop);
    fixture_close(&x->f);
}

/* A percept (a JSON object, single quotes) or a message gives this. */
static void takes(rule_fixture *x, const char *input, turn_outcome outcome, const char *text) {
    turn_result r;
    muga_error err;
    json_t *percept = input[0] == '{' ? fixture_json(input) : NULL;
    muga_status st = percept ? loop_percept(x->loop, percept, &r, &err)
                             : loop_turn(x->loop, input, strlen(input), &r, &err);
    assert_ok(st, &err);
    if (r.outcome != outcome || strcmp(str_get(&r.text), text) != 0) {
        fail_msg("%s gave %s \"%s\", not %s \"%s\"", input, turn_outcome_name(r.outcome), str_get(&r.text),
                 turn_outcome_name(outcome), text);
    }
    turn_result_release(&r);
    json_decref(percept);
}

static int64_t n_bought(const rule_fixture *x) {
    return fixture_count(x->f.shop_path, "SELECT count(*) FROM refunds");
}

static void state_is(const rule_fixture *x, const char *key, const char *value) {
    json_t *wanted = fixture_json(value);
    const json_t *got = json_object_get(session_state(x->f.session), key);
    if (!json_equal(json_borrow(got), wanted)) {
        str text = STR_INIT;
        json_write(got, &text);
        fail_msg("state.%s is %s, not %s", key, str_get(&text), value);
    }
    json_decref(wanted);
}

/* The last record of a kind in the chain; new. */
static json_t *last_record(const rule_fixture *x, const char *kind) {
    json_t *log = NULL, *found = NULL;
    muga_error err;
    assert_ok(audit_log(x->f.store, NULL, &log, &err), &err);
    for (size_t i = 0; i < json_array_size(log); i++) {
        const json_t *r = json_array_get(log, i);
        found = strcmp(json_get_string(r, "kind"), kind) == 0 ? json_object_get(r, "payload") : found;
    }
    assert_non_null(found);
    json_incref(found);
    json_decref(log);
    return found;
}

static void decide(rule_fixture *x, bool yes) {
    json_t *list = NULL;
    muga_error err;
    assert_ok(approval_list(&x->f.env, x->f.store, &list, &err), &err);
    assert_int_equal(json_array_size(list), 1);
    assert_ok(approval_decide(&x->f.env, x->f.store, x->f.m, json_get_string(json_array_get(list, 0), "approval"), yes,
                              "tester", &err),
              &err);
    json_decref(list);
}

/* ---- rules ---- */

static void the_first_rule_that_holds_is_followed(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "first", reflex);
    takes(&x, "{'event': 'look', 'count': 3, 'item': 'tea'}", TURN_ANSWER, "few tea");
    takes(&x, "{'event': 'look', 'count': 13}", TURN_ASK, "thirteen?"); /* a higher priority comes before */
    takes(&x, "{'event': 'look', 'count': 6}", TURN_ANSWER, "bought 12");
    takes(&x, "{'event': 'look', 'count': 5}", TURN_ANSWER, "");
    assert_int_equal(n_bought(&x), 1);
    json_t *record = last_record(&x, "decision"), *wanted = fixture_json("{'event': 'look', 'count': 5}");
    assert_string_equal(json_get_string(record, "rule"), "five");
    assert_true(json_equal(json_object_get(record, "percept"), wanted));
    json_decref(record);
    json_decref(wanted);
    end(&x);
}

static void a_pattern_gives_values(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "pattern", reflex);
    takes(&x, "buy 7 more", TURN_ANSWER, "ok more");
    takes(&x, "buy 8", TURN_ANSWER, "ok");
    assert_int_equal(fixture_count(x.f.shop_path, "SELECT sum(amount) FROM refunds"), 15);
    takes(&x, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", TURN_ANSWER, "matched");
    takes(&x, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", TURN_ESCALATE, /* would search for ages */
          "This could not be done by rule, so a person takes over.");
    assert_true(session_ended(x.f.session));
    json_t *record = last_record(&x, "escalation");
    assert_non_null(strstr(json_get_string(record, "problem"), "rule slow: the pattern took more than"));
    json_decref(record);
    end(&x);
}

static void a_rule_that_cannot_be_told_is_not_passed_over(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "told", reflex);
    takes(&x, "{'event': 'look', 'item': 'tea'}", TURN_ESCALATE,
          "This could not be done by rule, so a person takes over.");
    assert_int_equal(n_bought(&x), 0);
    assert_false(session_ended(x.f.session)); /* percepts go on */
    takes(&x, "{'event': 'look', 'count': 6}", TURN_ANSWER, "bought 12");
    end(&x);
}

static void a_percept_outside_its_schema_reaches_no_rule(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "schema", reflex);
    static const char *const bad[] = {"{}", "{'event': 'burn', 'count': 6}", "{'event': 'look', 'count': '6'}",
                                      "{'event': 'look', 'count': 6, 'more': 1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        turn_result r;
        muga_error err;
        json_t *percept = fixture_json(bad[i]);
        assert_ok(loop_percept(x.loop, percept, &r, &err), &err);
        assert_int_equal(r.outcome, TURN_REFUSE);
        turn_result_release(&r);
        json_decref(percept);
    }
    assert_int_equal(n_bought(&x), 0);
    json_t *record = last_record(&x, "guard");
    assert_string_equal(json_get_string(record, "guard"), "percept");
    json_decref(record);
    end(&x);
}

/* By the public header, without a model. */
static void an_embedder_needs_no_model(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    muga_agent *a;
    const char *answer;
    fixture_prepare(&f, "embedded", reflex);
    const muga_agent_options o = {.home = f.dir, .session = "{\"customer\": 1}", .data_dir = f.dir};
    assert_ok(muga_agent_open(f.dir, NULL, &o, &a, &err), &err);
    assert_ok(muga_agent_say(a, "{\"event\": \"look\", \"count\": 6}", NULL, NULL, &answer, &err), &err);
    assert_string_equal(answer, "bought 12");
    assert_ok(muga_agent_say(a, "{\"event\": \"look\", \"count\": 5}", NULL, NULL, &answer, &err), &err);
    assert_string_equal(answer, "");
    assert_status(muga_agent_say(a, "{\"event\": \"look\", \"count\": 60}", NULL, NULL, &answer, &err), MUGA_E_POLICY,
                  &err, "is held");
    assert_ok(muga_agent_approve(a, 1, "tester", &err), &err);
    assert_ok(muga_agent_resume(a, NULL, NULL, &answer, &err), &err);
    assert_string_equal(answer, "bought 120");
    /* The program ends while a call is held; the next one takes the session up. */
    assert_status(muga_agent_say(a, "{\"event\": \"look\", \"count\": 70}", NULL, NULL, &answer, &err), MUGA_E_POLICY,
                  &err, "is held");
    char session[64];
    snprintf(session, sizeof session, "%s", muga_agent_session(a));
    muga_agent_free(a);
    muga_agent_options later = o;
    later.resume = "s-nosuch";
    assert_status(muga_agent_open(f.dir, NULL, &later, &a, &err), MUGA_E_NOT_FOUND, &err, "s-nosuch");
    later.resume = session;
    assert_ok(muga_agent_open(f.dir, NULL, &later, &a, &err), &err);
    assert_string_equal(muga_agent_session(a), session);
    assert_status(muga_agent_resume(a, NULL, NULL, &answer, &err), MUGA_E_POLICY, &err, "is held");
    assert_ok(muga_agent_approve(a, 0, "tester", &err), &err);
    assert_ok(muga_agent_resume(a, NULL, NULL, &answer, &err), &err);
    assert_status(muga_agent_resume(a, NULL, NULL, &answer, &err), MUGA_E_NOT_FOUND, &err, "");
    muga_agent_free(a);
    fixture_write(&f, "agent.yaml", fixture_manifest);
    assert_status(muga_agent_open(f.dir, NULL, &o, &a, &err), MUGA_E_USAGE, &err, "needs a model");
    fixture_close(&f);
}

/* Tools that end a turn by themselves say their own words where the rule has none. */
static void a_tool_may_end_the_turn(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "ends",
               "version: 1\nagent: test-shop\nkind: reflex\nsession: {customer: {type: integer}}\n"
               "rules:\n  - {name: which, match: order, tool: question}\n"
               "  - {name: over, match: human, tool: over}\n"
               "tools:\n  - {name: question, description: Ask., effect: read, ask_person: {question: Which one?},\n"
               "     parameters: {type: object, properties: {}, additionalProperties: false}}\n"
               "  - {name: over, description: Hand over., effect: read, escalate: {say: A colleague takes over.},\n"
               "     parameters: {type: object, properties: {}, additionalProperties: false}}\n");
    takes(&x, "an order", TURN_ASK, "Which one?");
    takes(&x, "a human", TURN_ESCALATE, "A colleague takes over.");
    assert_true(session_ended(x.f.session));
    end(&x);
}

/* ---- held calls ---- */

static void a_held_call_does_not_stop_the_world(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "held", reflex);
    takes(&x, "{'event': 'look', 'count': 30}", TURN_HELD, "wait");
    takes(&x, "{'event': 'look', 'count': 6}", TURN_ANSWER, "bought 12");
    restart(&x);
    takes(&x, "{'event': 'look', 'count': 7}", TURN_ANSWER, "bought 14");
    decide(&x, true);
    takes(&x, "{'event': 'look', 'count': 5}", TURN_ANSWER, "bought 60"); /* gone on with when the next one comes */
    assert_int_equal(n_bought(&x), 3);
    takes(&x, "{'event': 'look', 'count': 40}", TURN_HELD, "wait");
    decide(&x, false);
    takes(&x, "{'event': 'look', 'count': 5}", TURN_REFUSE, "no");
    takes(&x, "{'event': 'look', 'count': 5}", TURN_ANSWER, "");
    takes(&x, "{'event': 'look', 'count': 41}", TURN_HELD, "wait");
    x.f.world.now_ms += (int64_t)2 * 86400 * 1000; /* nobody decides in time */
    takes(&x, "{'event': 'look', 'count': 5}", TURN_ESCALATE,
          "This could not be done by rule, so a person takes over."); /* no person said no */
    assert_int_equal(fixture_count(x.f.store_path, LATE_RECORDS), 1);
    takes(&x, "{'event': 'look', 'count': 5}", TURN_ANSWER, "");
    assert_int_equal(n_bought(&x), 3);
    assert_false(loop_is_unfinished(x.loop));
    end(&x);
}

static void what_is_resumed_has_its_words(void **state) {
    (void)state;
    rule_fixture x;
    turn_result r;
    muga_error err;
    open_agent(&x, "resumed", keeper);
    takes(&x, "{'event': 'arrived', 'item': 'tea', 'count': 12}", TURN_ANSWER, "");
    takes(&x, "{'event': 'sold', 'item': 'tea', 'count': 6}", TURN_HELD, "wait");
    state_is(&x, "coming", "60"); /* so that it isn't bought twice */
    takes(&x, "{'event': 'sold', 'item': 'tea', 'count': 1}", TURN_ANSWER, "");
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_int_equal(r.outcome, TURN_HELD);
    turn_result_release(&r);
    decide(&x, true);
    restart(&x);
    assert_true(loop_is_unfinished(x.loop));
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_int_equal(r.outcome, TURN_ANSWER);
    assert_string_equal(str_get(&r.text), "bought 60");
    turn_result_release(&r);
    assert_int_equal(n_bought(&x), 1);
    assert_status(loop_resume(x.loop, &r, &err), MUGA_E_NOT_FOUND, &err, "nothing is held");
    end(&x);
}

/* ---- the state ---- */

static void the_state_outlives_sessions_and_restarts(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "state", keeper);
    takes(&x, "{'event': 'arrived', 'item': 'tea', 'count': 30}", TURN_ANSWER, "");
    takes(&x, "{'event': 'sold', 'item': 'tea', 'count': 4}", TURN_ANSWER, "");
    restart(&x);
    state_is(&x, "levels", "{'tea': 26}");
    state_is(&x, "seen", "2");
    takes(&x, "how many tea", TURN_ANSWER, "26");
    loop_free(x.loop);
    session_close(x.f.session);
    new_session(&x); /* its own begins anew, the agent's goes on */
    state_is(&x, "levels", "{'tea': 26}");
    state_is(&x, "seen", "0");
    takes(&x, "{'event': 'sold', 'item': 'tea', 'count': 5}", TURN_ANSWER, "");
    state_is(&x, "levels", "{'tea': 21}");
    end(&x);
}

static void two_sessions_count_together(void **state) {
    (void)state;
    rule_fixture a, b;
    open_agent(&a, "together", keeper);
    takes(&a, "{'event': 'arrived', 'item': 'tea', 'count': 90}", TURN_ANSWER, "");
    b = a;
    new_session(&b);
    for (int i = 0; i < 5; i++) {
        takes(&a, "{'event': 'sold', 'item': 'tea', 'count': 1}", TURN_ANSWER, "");
        takes(&b, "{'event': 'sold', 'item': 'tea', 'count': 2}", TURN_ANSWER, "");
    }
    state_is(&b, "levels", "{'tea': 75}");
    state_is(&b, "seen", "5");
    loop_free(b.loop);
    session_close(b.f.session);
    end(&a);
}

/* A dry run counts for itself, and leaves nothing behind. */
static void a_dry_run_keeps_its_state_to_itself(void **state) {
    (void)state;
    rule_fixture x;
    muga_error err;
    open_agent(&x, "dry", keeper);
    takes(&x, "{'event': 'arrived', 'item': 'tea', 'count': 12}", TURN_ANSWER, "");
    loop_free(x.loop);
    session_close(x.f.session);
    json_t *values = fixture_json("{'customer': 1}"), *info = fixture_json("{'dry': true}");
    assert_ok(session_new(&x.f.env, x.f.store, x.f.m, values, info, &x.f.session, &err), &err);
    json_decref(values);
    json_decref(info);
    begin(&x);
    takes(&x, "{'event': 'sold', 'item': 'tea', 'count': 1}", TURN_ANSWER, "");
    takes(&x, "{'event': 'sold', 'item': 'tea', 'count': 1}", TURN_ANSWER, "");
    state_is(&x, "levels", "{'tea': 10}");
    turn_result r;
    json_t *sold = fixture_json("{'event': 'sold', 'item': 'tea', 'count': 2}");
    assert_ok(loop_percept(x.loop, sold, &r, &err), &err);
    assert_int_equal(r.outcome, TURN_REFUSE);
    assert_non_null(strstr(str_get(&r.text), "dry run: it would run"));
    turn_result_release(&r);
    json_decref(sold);
    assert_int_equal(n_bought(&x), 0);
    loop_free(x.loop);
    session_close(x.f.session);
    new_session(&x);
    state_is(&x, "levels", "{'tea': 12}");
    end(&x);
}

static void a_state_against_its_schema_is_not_taken(void **state) {
    (void)state;
    rule_fixture x;
    open_agent(&x, "invalid", keeper);
    takes(&x, "{'event': 'arrived', 'item': 'tea', 'count': 30}", TURN_ANSWER, "");
    takes(&x, "{'event': 'sold', 'item': 'tea', 'count': 31}", TURN_ESCALATE,
          "This could not be done by rule, so a person takes over.");
    takes(&x, "{'event': 'sold', 'item': 'jam', 'count': 1}", TURN_ESCALATE,
          "This could not be done by rule, so a person takes over.");
    state_is(&x, "levels", "{'tea': 30}");
    state_is(&x, "seen", "1");
    assert_int_equal(n_bought(&x), 0);
    end(&x);
}

/* A call that finished before a crash kept its observation from being written. */
static void what_a_crash_left_is_observed_once(void **state) {
    (void)state;
    rule_fixture x;
    muga_error err;
    call_result r;
    open_agent(&x, "crash", keeper);
    json_t *arguments = fixture_json("{'amount': 40}");
    assert_ok(executor_call(x.f.session, "buy", arguments, &r, &err), &err);
    assert_int_equal(r.outcome, CALL_FINISHED);
    call_result_release(&r);
    state_is(&x, "coming", "0");
    restart(&x);
    state_is(&x, "coming", "40");
    takes(&x, "{'event': 'arrived', 'item': 'tea', 'count': 12}", TURN_ANSWER, "");
    restart(&x);
    state_is(&x, "coming", "0"); /* and not a second time */
    json_object_set_new(arguments, "amount", json_integer(60));
    assert_ok(executor_call(x.f.session, "buy", arguments, &r, &err), &err);
    assert_int_equal(r.outcome, CALL_HELD);
    call_result_release(&r);
    restart(&x);
    state_is(&x, "coming", "60");
    json_decref(arguments);
    decide(&x, false);
    takes(&x, "how many tea", TURN_REFUSE, "denied by tester 12");
    state_is(&x, "coming", "0");
    end(&x);
}

static void a_changed_shared_state_breaks_the_audit(void **state) {
    (void)state;
    rule_fixture x;
    muga_error err;
    audit_report report;
    open_agent(&x, "tampered", keeper);
    takes(&x, "{'event': 'arrived', 'item': 'tea', 'count': 30}", TURN_ANSWER, "");
    assert_ok(audit_verify(x.f.store, &report, &err), &err);
    fixture_sql(x.f.store_path, "UPDATE agent_state SET state = replace(state, '30', '31')");
    assert_status(audit_verify(x.f.store, &report, &err), MUGA_E_NEGATIVE, &err, "agent test-shop share");
    fixture_sql(x.f.store_path, "UPDATE agent_state SET state = '{\"levels'");
    assert_status(audit_verify(x.f.store, &report, &err), MUGA_E_NEGATIVE, &err, "agent test-shop share");
    fixture_sql(x.f.store_path, "UPDATE agent_state SET agent = 'b'");
    assert_status(audit_verify(x.f.store, &report, &err), MUGA_E_NEGATIVE, &err, "that the sessions of agent");
    fixture_sql(x.f.store_path, "DELETE FROM agent_state");
    assert_status(audit_verify(x.f.store, &report, &err), MUGA_E_NEGATIVE, &err, "agent test-shop share");
    loop_free(x.loop);
    fixture_close(&x.f);
}

/* The session's own way to write its state leaves the agent's alone, whatever it is given. */
static void only_observations_write_what_is_shared(void **state) {
    (void)state;
    rule_fixture x;
    muga_error err;
    open_agent(&x, "own", keeper);
    takes(&x, "{'event': 'arrived', 'item': 'tea', 'count': 30}", TURN_ANSWER, "");
    json_t *wanted = json_deep_copy(session_state(x.f.session));
    json_object_set_new(wanted, "levels", json_object());
    json_object_set_new(wanted, "seen", json_integer(9));
    assert_ok(session_set_state(x.f.session, wanted, &err), &err);
    json_decref(wanted);
    state_is(&x, "levels", "{'tea': 30}");
    state_is(&x, "seen", "9");
    end(&x);
}

/* ---- with intentions, and a model ---- */

static const char talker[] =
    "version: 1\n"
    "agent: test-shop\n"
    "kind: model\n"
    "model: scripted\n"
    "session: {customer: {type: integer}}\n"
    "state: {asked: {type: integer, default: 0}, found: {type: string, default: nothing}}\n"
    "observe:\n"
    "  - {on: message, set: {asked: state.asked + 1}}\n"
    "  - {tool: order_status, set: {found: 'result.rows[0].status'}}\n"
    "rules:\n"
    "  - {name: greeting, intent: hello, when: state.asked > 1, answer: 'Hello again.'}\n"
    "  - {name: known, match: '^what do you know', answer: '{{ state.found }}'}\n"
    "tools:\n"
    "  - name: order_status\n"
    "    description: Look up an order.\n"
    "    parameters: {type: object, properties: {order_id: {type: string, pattern: '^A[0-9]{5}$', from: conversation},"
    " detail: {enum: [short, long]}}, required: [order_id], additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT status FROM orders WHERE id = :order_id'}\n"
    "    effect: read\n"
    "intent:\n"
    "  examples: examples.jsonl\n"
    "  model_weight: 0\n"
    "  floor: 0.3\n"
    "  margin: 0.05\n"
    "  unsure: Order?\n"
    "  failed: A colleague will help.\n"
    "  labels:\n"
    "    order: {about: an order, tool: order_status, ask: 'Which?', answer: 'It is {{ result.rows[0].status }}.'}\n"
    "    hello: {about: a greeting, answer: Hello.}\n";

static const char talker_examples[] = "{\"text\": \"where is my order A10001\", \"labels\": [\"order\"]}\n"
                                      "{\"text\": \"status of A10005\", \"labels\": [\"order\"]}\n"
                                      "{\"text\": \"has my order been sent\", \"labels\": [\"order\"]}\n"
                                      "{\"text\": \"hello there\", \"labels\": [\"hello\"]}\n"
                                      "{\"text\": \"good morning\", \"labels\": [\"hello\"]}\n";

/* What a model says goes past every constraint here, and would like to be the state. */
static const char hijacked[] =
    "[{\"text\": \"{\\\"order_id\\\": \\\"A10001\\\", \\\"state\\\": {\\\"found\\\": \\\"gold\\\"}}\", \"raw\": true},"
    " {\"text\": \"{\\\"order_id\\\":\\\"A10001\\\"}\"}]";

static void open_talker(rule_fixture *x, const char *name, intent **labels, llm **model) {
    muga_error err;
    json_t *list = NULL, *values = fixture_json("{'customer': 1}");
    fixture_open(&x->f, name, talker);
    fixture_write(&x->f, "examples.jsonl", talker_examples);
    assert_ok(intent_new(&x->f.env, x->f.m, labels, &err), &err);
    if (model) {
        assert_ok(json_parse(hijacked, strlen(hijacked), "script", &list, &err), &err);
        assert_ok(llm_scripted_new(list, model, &err), &err);
    }
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    const loop_parts parts = {&x->f.env, x->f.m, *labels, model ? *model : NULL, x->f.session, {NULL, NULL}, NULL};
    assert_ok(loop_new(&parts, &x->loop, &err), &err);
    json_decref(list);
    json_decref(values);
}

static void rules_come_before_intentions(void **state) {
    (void)state;
    rule_fixture x;
    intent *labels;
    open_talker(&x, "talker", &labels, NULL); /* examples alone score; no model */
    takes(&x, "hello there", TURN_ANSWER, "Hello.");
    takes(&x, "good morning", TURN_ANSWER, "Hello again.");
    takes(&x, "what do you know", TURN_ANSWER, "nothing");
    state_is(&x, "asked", "3");
    loop_free(x.loop);
    intent_free(labels);
    fixture_close(&x.f);
}

static void what_a_model_says_never_becomes_the_state(void **state) {
    (void)state;
    rule_fixture x;
    intent *labels;
    llm *model;
    turn_result r;
    muga_error err;
    open_talker(&x, "hijacked-state", &labels, &model);
    static const char asks[] = "where is my order A10001";
    assert_ok(loop_turn(x.loop, asks, strlen(asks), &r, &err), &err); /* arguments against the schema */
    turn_result_release(&r);
    state_is(&x, "found", "'nothing'");
    takes(&x, asks, TURN_ANSWER, "It is shipped.");
    state_is(&x, "found", "'shipped'"); /* the tool said so */
    state_is(&x, "asked", "2");
    takes(&x, "what do you know", TURN_ANSWER, "shipped");
    audit_report report;
    assert_ok(audit_verify(x.f.store, &report, &err), &err);
    loop_free(x.loop);
    llm_free(model);
    intent_free(labels);
    fixture_close(&x.f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_rule_that_holds_is_followed),
                                       cmocka_unit_test(a_pattern_gives_values),
                                       cmocka_unit_test(a_rule_that_cannot_be_told_is_not_passed_over),
                                       cmocka_unit_test(a_percept_outside_its_schema_reaches_no_rule),
                                       cmocka_unit_test(an_embedder_needs_no_model),
                                       cmocka_unit_test(a_tool_may_end_the_turn),
                                       cmocka_unit_test(a_held_call_does_not_stop_the_world),
                                       cmocka_unit_test(what_is_resumed_has_its_words),
                                       cmocka_unit_test(the_state_outlives_sessions_and_restarts),
                                       cmocka_unit_test(two_sessions_count_together),
                                       cmocka_unit_test(a_dry_run_keeps_its_state_to_itself),
                                       cmocka_unit_test(a_state_against_its_schema_is_not_taken),
                                       cmocka_unit_test(what_a_crash_left_is_observed_once),
                                       cmocka_unit_test(a_changed_shared_state_breaks_the_audit),
                                       cmocka_unit_test(only_observations_write_what_is_shared),
                                       cmocka_unit_test(rules_come_before_intentions),
                                       cmocka_unit_test(what_a_model_says_never_becomes_the_state)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
