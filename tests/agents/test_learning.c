/* From kept turns to what is learned of them: which turns count, whose they are, and that nothing is read without
 * consent or unrecorded. If this failed, an agent would learn from what failed, from what a person said no to, or from
 * turns that it may not use. */
#include "agents/loop_fixture.h"

#include "agent/interactions.h"
#include "agent/learning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char learning_part[] = "learning: {subject: [customer], examples: {weight: 0.4}}\n";
static const char own_part[] = "learning: {subject: [customer]}\n"; /* of the fixture's manifest */
static loop_fixture x;

/* The fixture's agent with this learning: in its manifest; no session yet. */
static void open_agent(const char *name, const char *more) {
    char text[sizeof loop_manifest + 400];
    muga_error err;
    x = (loop_fixture){.loop = NULL};
    const char *at = strstr(loop_manifest, own_part);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - loop_manifest), loop_manifest, more, at + strlen(own_part));
    fixture_open(&x.f, name, text);
    fixture_write(&x.f, "examples.jsonl", loop_examples);
    assert_ok(intent_new(&x.f.env, x.f.m, &x.intent, &err), &err);
}

static void agree(void) {
    muga_error err;
    assert_ok(consent_give(&x.f.env, x.f.store, x.f.m, false, "the operator", &err), &err);
}

/* One message in a session of its own; its id. */
static const char *say(int64_t customer, const char *message, const char *script) {
    static char id[AGENT_ID_SIZE];
    muga_error err;
    turn_result r;
    json_t *list = NULL, *values = json_pack("{s:I}", "customer", (json_int_t)customer);
    assert_ok(json_parse(script, strlen(script), "script", &list, &err), &err);
    assert_ok(llm_scripted_new(list, &x.model, &err), &err);
    assert_ok(session_new(&x.f.env, x.f.store, x.f.m, values, NULL, &x.f.session, &err), &err);
    snprintf(id, sizeof id, "%s", session_id(x.f.session));
    loop_begin(&x);
    assert_ok(loop_turn(x.loop, message, strlen(message), &r, &err), &err);
    if (!session_ended(x.f.session)) {
        record_outcome kept;
        assert_ok(session_end(x.f.session, turn_outcome_name(r.outcome), &err), &err);
        assert_ok(interactions_record(&x.f.env, x.f.store, x.f.m, id, &kept, &err), &err);
    }
    turn_result_release(&r);
    loop_free(x.loop);
    session_close(x.f.session);
    llm_free(x.model);
    x.loop = NULL;
    x.f.session = NULL;
    x.model = NULL;
    json_decref(list);
    json_decref(values);
    return id;
}

static void correct(const char *session, const char *correction) {
    muga_error err;
    json_t *v = fixture_json(correction);
    assert_ok(interactions_correct(&x.f.env, x.f.store, x.f.m, session, 1, v, NULL, &err), &err);
    json_decref(v);
}

static json_t *read_turns(size_t most) {
    muga_error err;
    json_t *turns = NULL;
    assert_ok(learning_read_turns(&x.f.env, x.f.store, x.f.m, most, "trained", NULL, &turns, &err), &err);
    return turns;
}

static const char *text_of(const json_t *turns, size_t i) {
    return json_get_string(json_array_get(turns, i), "text");
}

static void only_what_went_well_or_was_corrected_is_learned(void **state) {
    (void)state;
    muga_error err;
    int64_t n;
    open_agent("which", learning_part);
    agree();
    say(1, "where is my order A10001", "[]");
    say(1, "the latest one I ordered", "[]");
    say(1, "let me talk to a human", "[]"); /* escalated */
    say(2, "reset my password", "[]");      /* held: open */
    say(2, "gimme the whereabouts", "[]");  /* asked back */
    const char *disliked = say(2, "status of A10002", "[]");
    assert_ok(interactions_rate(&x.f.env, x.f.store, disliked, 1, -1, NULL, &n, &err), &err);
    correct(say(1, "gimme what I paid for, mail me at jane@example.org", "[]"), "{'labels': ['order']}");
    correct(say(1, "the latest one and my parcel", "[]"), "{'answer': 'Nothing.'}"); /* tells of no label */
    json_t *turns = read_turns(0);
    assert_int_equal(json_array_size(turns), 3);
    assert_string_equal(text_of(turns, 0), "where is my order A10001");
    assert_string_equal(text_of(turns, 1), "the latest one I ordered");
    assert_string_equal(text_of(turns, 2), "gimme what I paid for, mail me at [email]");
    assert_true(json_get_bool(json_array_get(turns, 2), "corrected", false));
    const char *one = json_get_string(json_array_get(turns, 0), "source");
    assert_string_equal(one, json_get_string(json_array_get(turns, 1), "source")); /* the same customer */
    assert_true(strlen(one) > 8);
    json_decref(turns);
    turns = read_turns(2); /* the newest two; one of them tells of no label */
    assert_int_equal(json_array_size(turns), 1);
    assert_non_null(strstr(text_of(turns, 0), "gimme"));
    json_decref(turns);
    audit_report report;
    assert_ok(audit_verify(x.f.store, &report, &err), &err);
    loop_close(&x);
}

static bool is_order(const learned *m, const char *text) {
    muga_error err;
    intent_decision d;
    intent_listen(x.intent, m);
    assert_ok(intent_decide(x.intent, NULL, text, strlen(text), &d, &err), &err);
    bool yes = d.sure && strcmp(intent_get_label(x.intent, d.requests[0].label)->name, "order") == 0;
    intent_decision_release(&d);
    intent_listen(x.intent, NULL);
    return yes;
}

static void a_correction_is_heard_by_the_next_session(void **state) {
    (void)state;
    static const char strange[] = "gimme the whereabouts of that thing";
    muga_error err;
    learned *m = NULL;
    open_agent("heard", learning_part);
    agree();
    const char *session = say(1, strange, "[]");
    assert_ok(learning_load_examples(&x.f.env, x.f.store, x.intent, x.f.m, &m, &err), &err);
    assert_int_equal(learned_count(m), 0);
    assert_false(is_order(m, strange));
    learned_free(m);
    correct(session, "{'labels': ['order']}");
    assert_ok(learning_load_examples(&x.f.env, x.f.store, x.intent, x.f.m, &m, &err), &err);
    assert_int_equal(learned_count(m), 1);
    assert_true(is_order(m, strange));
    learned_free(m);
    loop_close(&x);
}

static void without_consent_nothing_is_read(void **state) {
    (void)state;
    muga_error err;
    learned *m = NULL;
    json_t *turns = NULL;
    int64_t n;
    open_agent("consent", learning_part);
    assert_status(learning_read_turns(&x.f.env, x.f.store, x.f.m, 0, "trained", NULL, &turns, &err), MUGA_E_POLICY,
                  &err, "consent");
    assert_ok(learning_load_examples(&x.f.env, x.f.store, x.intent, x.f.m, &m, &err), &err);
    assert_null(m);
    agree();
    say(1, "the latest one I ordered", "[]");
    assert_ok(learning_load_examples(&x.f.env, x.f.store, x.intent, x.f.m, &m, &err), &err);
    assert_non_null(m);
    learned_free(m);
    assert_ok(consent_withdraw(&x.f.env, x.f.store, x.f.m->name, "the operator", &n, &err), &err);
    assert_int_equal(n, 1); /* kept until it is dropped, and not used */
    assert_ok(learning_load_examples(&x.f.env, x.f.store, x.intent, x.f.m, &m, &err), &err);
    assert_null(m);
    assert_status(learning_read_turns(&x.f.env, x.f.store, x.f.m, 0, "trained", NULL, &turns, &err), MUGA_E_POLICY,
                  &err, "consent");
    loop_close(&x);
}

static void an_agent_that_is_to_learn_nothing_reads_nothing(void **state) {
    (void)state;
    muga_error err;
    learned *m = NULL;
    open_agent("nothing", own_part);
    agree();
    say(1, "the latest one I ordered", "[]");
    int64_t before = fixture_count(x.f.store_path, "SELECT n FROM audit_head");
    assert_ok(learning_load_examples(&x.f.env, x.f.store, x.intent, x.f.m, &m, &err), &err);
    assert_null(m);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT n FROM audit_head"), before);
    loop_close(&x);
}

/* ---- training data ---- */

static muga_status make_data(const char *tasks_text, learning_data *d, muga_error *err) {
    json_t *tasks = fixture_json(tasks_text);
    muga_status st = learning_make_data(&x.f.env, x.f.store, x.intent, x.f.m, tasks, d, err);
    json_decref(tasks);
    return st;
}

static void turns_become_lines_once_and_without_the_gates_tasks(void **state) {
    (void)state;
    muga_error err;
    learning_data d, again;
    open_agent("data", "learning: {subject: [customer], adapter: {at_least: 2, beside: own.jsonl}}\n");
    agree();
    fixture_write(&x.f, "own.jsonl",
                  "{\"prompt\": \"a\", \"completion\": \"b\"}\n\n{\"prompt\": \"c\", \"completion\": \"d\"}");
    say(1, "where is my order A10001", "[]");
    say(2, "Where is my order, A10002?", "[]"); /* the same words, another number */
    say(1, "the latest one I ordered", "[]");
    correct(say(1, "gimme what I paid for", "[]"), "{'labels': ['order']}");
    correct(say(1, "gimme a colleague", "[]"), "{'labels': ['person']}");
    correct(say(1, "gimme both of them", "[]"), "{'labels': ['order', 'latest']}"); /* no answer says two */
    assert_ok(make_data("[{'messages': ['THE LATEST one, I ordered!']}]", &d, &err), &err);
    assert_int_equal(d.n_turns, 3);
    assert_int_equal(d.n_beside, 2);
    assert_int_equal(d.n_kept_out, 1);
    assert_int_equal(d.n_repeated, 1);
    assert_int_equal(d.n_unsayable, 1);
    assert_int_equal(d.n_labels, 2);
    const char *text = str_get(&d.lines), *own = strstr(text, "\"completion\": \"d\"}\n");
    assert_non_null(own);
    assert_true(strncmp(text, "{\"prompt\": \"a\"", 14) == 0); /* its lines keep their numbers */
    assert_non_null(strstr(own, "{\"role\":\"user\",\"content\":\"gimme a colleague\"},{\"role\":\"assistant\","
                                "\"content\":\"person\"}]}\n"));
    assert_null(strstr(text, "latest one"));
    assert_true(strstr(text, "a colleague") < strstr(text, "where is my order") ||
                strstr(text, "a colleague") < strstr(text, "Where is my order")); /* corrections first */
    assert_ok(make_data("[{'messages': ['the latest one I ordered']}]", &again, &err), &err);
    assert_string_equal(d.sha256, again.sha256); /* so that a run can go on */
    str_release(&d.lines);
    str_release(&again.lines);
    loop_close(&x);
}

static void too_little_and_all_of_one_kind_is_refused(void **state) {
    (void)state;
    muga_error err;
    learning_data d;
    open_agent("little", "learning: {subject: [customer], adapter: {at_least: 2}}\n");
    assert_status(make_data("[]", &d, &err), MUGA_E_POLICY, &err, "consent");
    str_release(&d.lines);
    agree();
    assert_status(make_data("[]", &d, &err), MUGA_E_INPUT, &err, "0 turns to learn from, and 2 are needed");
    str_release(&d.lines);
    correct(say(1, "gimme a colleague", "[]"), "{'labels': ['person']}");
    correct(say(1, "gimme a person", "[]"), "{'labels': ['person']}");
    assert_status(make_data("[]", &d, &err), MUGA_E_INPUT, &err, "all 2 turns have the answer 'person'");
    str_release(&d.lines);
    assert_status(make_data("[{'messages': ['gimme a person']}]", &d, &err), MUGA_E_INPUT, &err, "1 turns to learn");
    str_release(&d.lines);
    loop_close(&x);
    open_agent("elsewhere", "learning: {subject: [customer], adapter: {beside: ../x.jsonl}}\n");
    assert_status(make_data("[]", &d, &err), MUGA_E_INPUT, &err, "key learning.adapter.beside: the data must lie");
    str_release(&d.lines);
    loop_close(&x);
    open_agent("absent", "learning: {subject: [customer], adapter: {beside: x.jsonl}}\n");
    assert_status(make_data("[]", &d, &err), MUGA_E_NOT_FOUND, &err, "x.jsonl");
    str_release(&d.lines);
    loop_close(&x);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) { /* each turn syncs its journal several times */
        setenv("TMPDIR", "/dev/shm", 1);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_what_went_well_or_was_corrected_is_learned),
                                       cmocka_unit_test(a_correction_is_heard_by_the_next_session),
                                       cmocka_unit_test(without_consent_nothing_is_read),
                                       cmocka_unit_test(an_agent_that_is_to_learn_nothing_reads_nothing),
                                       cmocka_unit_test(turns_become_lines_once_and_without_the_gates_tasks),
                                       cmocka_unit_test(too_little_and_all_of_one_kind_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
