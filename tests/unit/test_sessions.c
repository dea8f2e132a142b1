/* Sessions from outside: listed with their state, read, exported whole, deleted. If this failed, an operator could not
 * find what waits or was broken off, an export would lack something, or a person who asked to be forgotten would not
 * be. */
#include "support/support.h"

#include "agent/interactions.h"
#include "agent/sessions.h"
#include "base/mem.h"
#include "support/agent_fixture.h"

#include <stdio.h>

static void call(agent_fixture *f, const char *tool, const char *arguments, call_result *r) {
    muga_error err;
    json_t *v = fixture_json(arguments);
    assert_ok(executor_call(f->session, tool, v, r, &err), &err);
    json_decref(v);
}

static void do_call(agent_fixture *f, const char *tool, const char *arguments) {
    call_result r;
    call(f, tool, arguments, &r);
    call_result_release(&r);
}

static void leave(agent_fixture *f) {
    session_close(f->session);
    f->session = NULL;
}

static bool holds(const char *p, size_t n, const char *word) {
    size_t n_word = strlen(word);
    for (size_t i = 0; i + n_word <= n; i++) {
        if (memcmp(p + i, word, n_word) == 0) {
            return true;
        }
    }
    return false;
}

static json_t *list(agent_fixture *f, const sessions_filter *filter) {
    muga_error err;
    json_t *out;
    assert_ok(sessions_list(f->store, filter, &out, &err), &err);
    return out;
}

static void expect_state(agent_fixture *f, const char *state) {
    json_t *all = list(f, &(sessions_filter){.max = 1});
    assert_string_equal(json_get_string(json_array_get(all, 0), "state"), state);
    json_decref(all);
}

static void a_state_says_what_a_session_waits_for(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "states", NULL);
    fixture_begin(&f, 1, "hello");
    expect_state(&f, "running"); /* by this process */
    leave(&f);
    expect_state(&f, "broken_off");
    f.world.now_ms++;
    fixture_begin(&f, 1, "hello");
    assert_ok(session_add_answer(f.session, "answer", "Good day.", &err), &err);
    leave(&f);
    expect_state(&f, "open");
    f.world.now_ms++;
    fixture_begin(&f, 1, "reset my password");
    do_call(&f, "reset", "{}");
    leave(&f);
    expect_state(&f, "held");
    fixture_sql(f.store_path, "UPDATE calls SET state = 'started'");
    expect_state(&f, "interrupted");
    fixture_sql(f.store_path, "UPDATE calls SET state = 'in_doubt'");
    expect_state(&f, "in_doubt");
    f.world.now_ms++;
    fixture_begin(&f, 1, "bye");
    assert_ok(session_end(f.session, "answer", &err), &err);
    leave(&f);
    expect_state(&f, "ended");
    fixture_close(&f);
}

static void sessions_are_found_by_agent_state_and_person(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "found", NULL);
    for (int64_t customer = 1; customer <= 3; customer++) {
        fixture_begin(&f, customer, "hello");
        leave(&f);
        f.world.now_ms++;
    }
    json_t *second = fixture_json("{'customer': 2}"), *typed = fixture_json("{'customer': '2'}"),
           *nobody = fixture_json("{'client': 2}"), *found;
    const struct {
        sessions_filter filter;
        size_t n;
    } cases[] = {{{.max = 0}, 3},
                 {{.max = 2}, 2},
                 {{.agent = "test-shop"}, 3},
                 {{.agent = "other"}, 0},
                 {{.state = "broken_off"}, 3},
                 {{.state = "held"}, 0},
                 {{.subject = second}, 1},
                 {{.subject = typed}, 1},
                 {{.subject = nobody}, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        found = list(&f, &cases[i].filter);
        assert_int_equal(json_array_size(found), cases[i].n);
        json_decref(found);
    }
    found = list(&f, NULL);
    assert_int_equal(json_get_int(json_object_get(json_array_get(found, 0), "values"), "customer", 0), 3);
    json_decref(found);
    json_decref(second);
    json_decref(typed);
    json_decref(nobody);
    fixture_close(&f);
}

static void an_export_holds_all_and_is_a_record_itself(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    json_t *whole;
    char id[AGENT_ID_SIZE];
    fixture_open(&f, "export", NULL);
    fixture_begin(&f, 1, "Where is A10001?");
    snprintf(id, sizeof id, "%s", session_id(f.session));
    do_call(&f, "order_status", "{'order_id': 'A10001'}");
    do_call(&f, "reset", "{}");
    do_call(&f, "order_status", "{'order_id': 7}");
    assert_ok(session_add_answer(f.session, "answer", "It is shipped.", &err), &err);
    leave(&f);
    assert_ok(sessions_export(&f.env, f.store, id, "tester", &whole, &err), &err);
    const json_t *calls = json_object_get(whole, "calls"), *history = json_object_get(whole, "history"),
                 *audit = json_object_get(whole, "audit");
    assert_string_equal(json_get_string(json_object_get(whole, "session"), "session"), id);
    assert_int_equal(json_array_size(history), 3);
    assert_int_equal(json_array_size(calls), 3);
    assert_string_equal(json_get_string(json_array_get(calls, 0), "state"), "finished");
    assert_int_equal(json_array_size(json_object_get(json_object_get(json_array_get(calls, 0), "result"), "rows")), 1);
    assert_string_equal(json_get_string(json_array_get(calls, 2), "state"), "invalid");
    const json_t *asked = json_array_get(json_object_get(json_array_get(calls, 1), "approvals"), 0);
    assert_string_equal(json_get_string(asked, "state"), "pending");
    int64_t n = fixture_count(f.store_path, "SELECT count(*) FROM audit");
    assert_int_equal(json_array_size(audit), n);
    const json_t *last = json_array_get(audit, (size_t)n - 1);
    assert_string_equal(json_get_string(last, "kind"), "export");
    assert_string_equal(json_get_string(json_object_get(last, "payload"), "by"), "tester");
    json_decref(whole);
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    assert_status(sessions_export(&f.env, f.store, "s-nosuch", "tester", &whole, &err), MUGA_E_NOT_FOUND, &err,
                  "s-nosuch: not there");
    assert_null(whole);
    fixture_close(&f);
}

static void a_person_is_forgotten_in_every_session(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    int64_t n;
    fixture_open(&f, "forget", NULL);
    for (int64_t i = 0; i < 4; i++) {
        fixture_begin(&f, 1 + i % 2, "My secret is marzipan");
        do_call(&f, "note", "{'text': 'marzipan'}");
        do_call(&f, "reset", "{}");
        leave(&f);
    }
    fixture_begin(&f, 1, "still talking of marzipan"); /* driven: can't be taken away from under it */
    json_t *who = fixture_json("{'customer': 1}");
    const sessions_filter filter = {.subject = who};
    assert_status(sessions_delete_subject(&f.env, f.store, &filter, &n, &err), MUGA_E_ENV, &err, "in use");
    assert_int_equal(n, 2);
    leave(&f);
    assert_ok(sessions_delete_subject(&f.env, f.store, &filter, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_ok(sessions_delete_subject(&f.env, f.store, &filter, &n, &err), &err);
    assert_int_equal(n, 0);
    json_t *all = list(&f, &(sessions_filter){.state = "erased"});
    assert_int_equal(json_array_size(all), 3);
    json_decref(all);
    json_decref(who);
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    assert_true(report.n_erased > 0);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM history"), 4); /* the other's */
    assert_int_equal(
        fixture_count(f.store_path, "SELECT count(*) FROM calls WHERE state = 'held' AND arguments = 'null'"), 0);
    who = fixture_json("{'customer': 2}");
    assert_ok(sessions_delete_subject(&f.env, f.store, &(sessions_filter){.subject = who}, &n, &err), &err);
    json_decref(who);
    store_close(f.store);
    f.store = NULL;
    str bytes = STR_INIT;
    assert_ok(os_read_file(f.env.files, f.store_path, (size_t)64 << 20, &bytes, &err), &err);
    assert_false(holds(str_get(&bytes), bytes.len, "marzipan")); /* and of nobody a byte is left */
    str_release(&bytes);
    fixture_close(&f);
}

/* A session of another agent's that `outer` began; its values say nothing of the person. */
static void begin_within(agent_fixture *f, const char *outer, char id[AGENT_ID_SIZE]) {
    muga_error err;
    json_t *values = fixture_json("{'customer': 99}"),
           *info = json_pack("{s:s, s:s}", "within", outer, "requester", "Marzipan's owner");
    f->world.now_ms++;
    assert_ok(session_new(&f->env, f->store, f->m, values, info, &f->session, &err), &err);
    snprintf(id, AGENT_ID_SIZE, "%s", session_id(f->session));
    assert_ok(session_add_user(f->session, "likes marzipan", 14, &err), &err);
    json_decref(values);
    json_decref(info);
    leave(f);
}

static void what_began_within_is_named_and_goes_with_it(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    char id[AGENT_ID_SIZE], inner[AGENT_ID_SIZE], innermost[AGENT_ID_SIZE], other[AGENT_ID_SIZE];
    int64_t n;
    json_t *whole;
    agent_session *driven;
    audit_report report;
    fixture_open(&f, "within", NULL);
    fixture_begin(&f, 1, "hello");
    snprintf(id, sizeof id, "%s", session_id(f.session));
    leave(&f);
    begin_within(&f, id, inner);
    begin_within(&f, inner, innermost);
    begin_within(&f, "s-another", other);
    assert_ok(sessions_export(&f.env, f.store, id, "tester", &whole, &err), &err);
    const json_t *head = json_object_get(whole, "session"), *nested = json_object_get(head, "nested");
    assert_int_equal(json_array_size(nested), 1);
    assert_string_equal(json_get_string(json_array_get(nested, 0), "session"), inner);
    assert_true(json_is_null(json_object_get(head, "within")));
    json_decref(whole);
    assert_ok(sessions_export(&f.env, f.store, innermost, "tester", &whole, &err), &err);
    assert_string_equal(json_get_string(json_object_get(whole, "session"), "within"), inner);
    json_decref(whole);
    /* while one of them is driven, none is half forgotten */
    assert_ok(session_open(&f.env, f.store, f.m, innermost, &driven, &err), &err);
    assert_status(audit_erase(&f.env, f.store, id, &n, &err), MUGA_E_ENV, &err, "in use");
    assert_int_equal(n, 0);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM sessions WHERE outcome = 'erased'"), 0);
    session_close(driven);
    assert_ok(audit_erase(&f.env, f.store, id, &n, &err), &err);
    assert_int_equal(n, 3);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM history"), 1); /* the other's */
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM session_origins WHERE requester IS NOT NULL"),
                     1);
    assert_ok(audit_verify(f.store, &report, &err), &err);
    assert_ok(audit_erase(&f.env, f.store, id, &n, &err), &err);
    assert_int_equal(n, 0);
    /* found by the person's values, which those within don't have */
    fixture_begin(&f, 1, "hello again");
    snprintf(id, sizeof id, "%s", session_id(f.session));
    leave(&f);
    begin_within(&f, id, inner);
    json_t *who = fixture_json("{'customer': 1}");
    assert_ok(sessions_delete_subject(&f.env, f.store, &(sessions_filter){.subject = who}, &n, &err), &err);
    assert_int_equal(n, 2);
    json_decref(who);
    assert_ok(audit_verify(f.store, &report, &err), &err);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_state_says_what_a_session_waits_for),
                                       cmocka_unit_test(sessions_are_found_by_agent_state_and_person),
                                       cmocka_unit_test(an_export_holds_all_and_is_a_record_itself),
                                       cmocka_unit_test(a_person_is_forgotten_in_every_session),
                                       cmocka_unit_test(what_began_within_is_named_and_goes_with_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
