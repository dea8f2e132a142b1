/* Turns kept to learn from. If this failed, turns would be kept without the operator's consent, or with what tells of
 * a person in them; a person's rows could not be found, or would come back after they were dropped; a full disk would
 * cost a turn; or rows would be read, changed or dropped without a word in the audit chain. */
#include "loop_fixture.h"

#include "agent/interactions.h"
#include "base/mem.h"

#define DAY_MS INT64_C(86400000)

static void give(loop_fixture *x) {
    muga_error err;
    assert_ok(consent_give(&x->f.env, x->f.store, x->f.m, false, "operator", &err), &err);
}

static turn_outcome say(loop_fixture *x, const char *text) {
    muga_error err;
    turn_result r;
    x->f.world.now_ms += 1000;
    assert_ok(loop_turn(x->loop, text, strlen(text), &r, &err), &err);
    turn_outcome o = r.outcome;
    turn_result_release(&r);
    return o;
}

/* A new session of customer `customer`, in the place of the one that was open. */
static void begin_session(loop_fixture *x, int64_t customer) {
    muga_error err;
    json_t *values = json_pack("{s:I}", "customer", (json_int_t)customer);
    loop_free(x->loop);
    session_close(x->f.session);
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    json_decref(values);
    loop_begin(x);
}

/* ---- rows as JSON ---- */

static muga_status collect(void *ctx, const interaction *row, muga_error *err) {
    (void)err;
    json_t *entry = json_pack("{s:s, s:I, s:s, s:i, s:b, s:O, s:O*, s:s, s:s*}", "session", row->session, "turn",
                              (json_int_t)row->turn, "outcome", row->outcome, "rating", row->rating, "masked",
                              (int)row->masked, "content", row->content, "correction", row->correction, "subject",
                              row->subject, "note", row->note);
    assert_int_equal(json_array_append_new(ctx, entry), 0);
    return MUGA_OK;
}

static json_t *rows(loop_fixture *x, const interaction_filter *f) {
    muga_error err;
    int64_t n;
    json_t *list = json_array();
    assert_ok(interactions_read(&x->f.env, x->f.store, f, "listed", NULL, collect, list, &n, &err), &err);
    assert_int_equal(n, json_array_size(list));
    return list;
}

static size_t count(loop_fixture *x, const interaction_filter *f) {
    json_t *list = rows(x, f);
    size_t n = json_array_size(list);
    json_decref(list);
    return n;
}

static const interaction_filter all = {.agent = NULL};

static void assert_outcomes(loop_fixture *x, const char *want) {
    json_t *list = rows(x, &all);
    str got = STR_INIT;
    for (size_t i = 0; i < json_array_size(list); i++) {
        str_printf(&got, "%s%s", i ? " " : "", json_get_string(json_array_get(list, i), "outcome"));
    }
    assert_string_equal(str_get(&got), want);
    str_release(&got);
    json_decref(list);
}

static void assert_chain_whole(loop_fixture *x) {
    muga_error err;
    audit_report r;
    assert_ok(audit_verify(x->f.store, &r, &err), &err);
}

/* How often the chain tells of this use. */
static size_t uses(loop_fixture *x, const char *use) {
    muga_error err;
    json_t *log = NULL;
    size_t n = 0;
    assert_ok(audit_log(x->f.store, NULL, &log, &err), &err);
    for (size_t i = 0; i < json_array_size(log); i++) {
        const json_t *r = json_array_get(log, i);
        const char *what = json_get_string(json_object_get(r, "payload"), "use");
        n += strcmp(json_get_string(r, "kind"), "data") == 0 && what && strcmp(what, use) == 0;
    }
    json_decref(log);
    return n;
}

static int64_t in_file(loop_fixture *x, const char *needle) {
    char sql[300];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM interactions WHERE instr(content, '%s') > 0", needle);
    return fixture_count(x->f.store_path, sql);
}

/* ---- consent ---- */

static void nothing_is_kept_without_consent(void **state) {
    (void)state;
    muga_error err;
    int64_t n;
    loop_fixture x;
    loop_open(&x, "no-consent", "[]");
    say(&x, "where is my order A10001");
    assert_int_equal(count(&x, &all), 0);
    give(&x);
    say(&x, "status of A10001");
    assert_int_equal(count(&x, &all), 1); /* not the turn before */
    assert_ok(consent_withdraw(&x.f.env, x.f.store, "test-shop", "operator", &n, &err), &err);
    assert_int_equal(n, 1);
    say(&x, "status of A10001");
    assert_int_equal(count(&x, &all), 1);
    give(&x);
    say(&x, "hello there");
    assert_int_equal(count(&x, &all), 2); /* nor the one in between */
    assert_status(consent_withdraw(&x.f.env, x.f.store, "test-shoq", "operator", &n, &err), MUGA_E_NOT_FOUND, &err,
                  "test-shoq");
    assert_chain_whole(&x);
    loop_close(&x);
}

static void consent_is_to_terms(void **state) {
    (void)state;
    muga_error err;
    record_outcome kept;
    loop_fixture x;
    loop_open(&x, "terms", "[]");
    give(&x);
    say(&x, "hello there");
    json_object_set_new(x.f.m->data_policy, "keep_days", json_integer(36500)); /* as an author may */
    assert_ok(interactions_record(&x.f.env, x.f.store, x.f.m, session_id(x.f.session), &kept, &err), &err);
    assert_int_equal(kept, RECORD_STALE);
    say(&x, "hello there");
    assert_int_equal(count(&x, &all), 1);
    give(&x);
    say(&x, "hello there");
    assert_int_equal(count(&x, &all), 2);
    json_t *none = x.f.m->data_policy;
    x.f.m->data_policy = NULL;
    assert_status(consent_give(&x.f.env, x.f.store, x.f.m, false, "operator", &err), MUGA_E_POLICY, &err, "learning");
    x.f.m->data_policy = none;
    loop_close(&x);
}

/* ---- what is kept ---- */

static void outcomes_tell_how_it_went(void **state) {
    (void)state;
    muga_error err;
    int64_t n;
    char approval[AGENT_ID_SIZE];
    turn_result r;
    loop_fixture x;
    loop_open(&x, "outcomes", "[]");
    give(&x);
    assert_int_equal(say(&x, "where is my order"), TURN_ASK);
    assert_outcomes(&x, "asked");
    assert_int_equal(say(&x, "A10001"), TURN_ANSWER);
    assert_outcomes(&x, "completed completed");
    x.f.world.now_ms += 1000;
    assert_ok(loop_turn(x.loop, "reset my password", 17, &r, &err), &err);
    snprintf(approval, sizeof approval, "%s", r.approval);
    turn_result_release(&r);
    assert_outcomes(&x, "completed completed open");
    assert_ok(approval_decide(&x.f.env, x.f.store, x.f.m, approval, false, "boss", &err), &err);
    record_outcome kept; /* as muga approve does; the session may never be resumed */
    assert_ok(interactions_record(&x.f.env, x.f.store, NULL, session_id(x.f.session), &kept, &err), &err);
    assert_outcomes(&x, "completed completed denied");
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    turn_result_release(&r);
    assert_outcomes(&x, "completed completed denied");
    say(&x, "let me talk to a human");
    assert_outcomes(&x, "completed completed denied escalated");
    json_t *label = fixture_json("{'labels': ['order']}");
    assert_ok(interactions_correct(&x.f.env, x.f.store, x.f.m, session_id(x.f.session), 4, label, "no", &err), &err);
    assert_outcomes(&x, "completed completed denied corrected");
    const interaction_filter f = {.outcomes = OUTCOME_CORRECTED | OUTCOME_DENIED};
    json_t *list = rows(&x, &f);
    assert_int_equal(json_array_size(list), 2);
    const json_t *denied = json_object_get(json_array_get(list, 0), "content"),
                 *call = json_array_get(json_object_get(denied, "calls"), 0);
    assert_string_equal(json_get_string(call, "tool"), "reset");
    assert_string_equal(json_get_string(call, "approval"), "no");
    assert_string_equal(json_get_string(denied, "message"), "reset my password");
    assert_true(json_equal(json_object_get(json_array_get(list, 1), "correction"), label));
    json_decref(list);
    json_decref(label);
    assert_ok(interactions_rate(&x.f.env, x.f.store, session_id(x.f.session), 0, -1, "rude", &n, &err), &err);
    assert_int_equal(n, 4);
    const interaction_filter good = {.not_rated_down = true};
    assert_int_equal(count(&x, &good), 1); /* the corrected one */
    assert_chain_whole(&x);
    loop_close(&x);
}

/* A value that is known to be personal only later is masked in turns before it, too. */
static void what_tells_of_a_person_is_masked(void **state) {
    (void)state;
    loop_fixture x;
    json_t *list;
    loop_open(&x, "masks", "[]");
    json_object_set_new(x.f.m->data_policy, "personal", json_pack("[s]", "note"));
    give(&x);
    say(&x, "hello there, I'm ada@example.com and want to RING twice");
    assert_int_equal(in_file(&x, "RING"), 1); /* nobody knows yet that this is personal */
    assert_int_equal(in_file(&x, "ada@"), 0);
    say(&x, "where is my order A10001"); /* its note says "ring twice" */
    assert_int_equal(in_file(&x, "RING"), 0);
    assert_int_equal(in_file(&x, "ring twice"), 0);
    list = rows(&x, &all);
    const json_t *first = json_object_get(json_array_get(list, 0), "content");
    assert_string_equal(json_get_string(first, "message"), "hello there, I'm [email] and want to [personal]");
    const json_t *call =
        json_array_get(json_object_get(json_object_get(json_array_get(list, 1), "content"), "calls"), 0);
    assert_string_equal(json_get_string(json_object_get(call, "arguments"), "order_id"), "A10001");
    json_decref(list);
    assert_chain_whole(&x);
    loop_close(&x);
}

static void plain_rows_are_masked_when_read(void **state) {
    (void)state;
    muga_error err;
    int64_t n;
    loop_fixture x;
    loop_open(&x, "plain", "[]");
    json_object_set_new(x.f.m->data_policy, "store", json_string("plain"));
    give(&x);
    say(&x, "hello there, ada@example.com");
    assert_int_equal(in_file(&x, "ada@"), 1);
    json_t *list = rows(&x, &all);
    assert_string_equal(json_get_string(json_object_get(json_array_get(list, 0), "content"), "message"),
                        "hello there, [email]");
    json_decref(list);
    interaction_filter f = {.raw = true};
    list = json_array();
    assert_status(interactions_read(&x.f.env, x.f.store, &f, "exported", NULL, collect, list, &n, &err), MUGA_E_POLICY,
                  &err, "--raw");
    assert_ok(consent_give(&x.f.env, x.f.store, x.f.m, true, "operator", &err), &err);
    assert_ok(interactions_read(&x.f.env, x.f.store, &f, "exported", NULL, collect, list, &n, &err), &err);
    assert_string_equal(json_get_string(json_object_get(json_array_get(list, 0), "content"), "message"),
                        "hello there, ada@example.com");
    json_decref(list);
    json_t *values = fixture_json("['hello']");
    assert_ok(interactions_redact(&x.f.env, x.f.store, &all, values, &n, &err), &err);
    json_decref(values);
    assert_int_equal(in_file(&x, "ada@"), 0);
    assert_int_equal(in_file(&x, "hello"), 0);
    say(&x, "hello there"); /* the chain doesn't bring back what was redacted */
    assert_int_equal(in_file(&x, "ada@"), 0);
    assert_chain_whole(&x);
    loop_close(&x);
}

/* ---- dropping ---- */

static void a_subject_is_forgotten(void **state) {
    (void)state;
    muga_error err;
    int64_t n;
    loop_fixture x;
    loop_open(&x, "subject", "[]");
    give(&x);
    say(&x, "hello there");
    begin_session(&x, 2);
    say(&x, "hello there");
    say(&x, "hello there");
    json_t *two = fixture_json("{'customer': '2'}"), *wrong = fixture_json("{'custmer': 2}"), *list = rows(&x, &all);
    const char *a = json_get_string(json_array_get(list, 0), "subject"),
               *b = json_get_string(json_array_get(list, 1), "subject"),
               *c = json_get_string(json_array_get(list, 2), "subject");
    assert_string_not_equal(a, b);
    assert_string_equal(b, c);
    json_decref(list);
    interaction_filter f = {.subject = wrong};
    assert_status(interactions_drop(&x.f.env, x.f.store, &f, "subject", &n, &err), MUGA_E_NOT_FOUND, &err, "custmer");
    f.subject = two;
    assert_int_equal(count(&x, &f), 2);
    assert_ok(interactions_drop(&x.f.env, x.f.store, &f, "subject", &n, &err), &err);
    assert_int_equal(n, 2);
    say(&x, "hello there"); /* the next turn is kept; the dropped ones don't come back */
    assert_int_equal(count(&x, &f), 1);
    assert_int_equal(count(&x, &all), 2);
    json_decref(wrong);
    json_decref(two);
    assert_int_equal(uses(&x, "dropped"), 1);
    assert_chain_whole(&x);
    loop_close(&x);
}

static void an_erased_session_keeps_no_rows(void **state) {
    (void)state;
    muga_error err;
    char id[AGENT_ID_SIZE];
    loop_fixture x;
    loop_open(&x, "erased", "[]");
    give(&x);
    say(&x, "hello there");
    snprintf(id, sizeof id, "%s", session_id(x.f.session));
    begin_session(&x, 2);
    say(&x, "hello there");
    assert_ok(audit_erase(&x.f.env, x.f.store, id, NULL, &err), &err);
    assert_int_equal(count(&x, &all), 1);
    assert_chain_whole(&x);
    loop_close(&x);
}

static void old_rows_are_dropped(void **state) {
    (void)state;
    loop_fixture x;
    loop_open(&x, "age", "[]");
    give(&x);
    say(&x, "hello there");
    x.f.world.now_ms += 100 * DAY_MS;
    say(&x, "hello there");
    assert_int_equal(count(&x, &all), 2);
    x.f.world.now_ms += 100 * DAY_MS; /* keep_days is 180 */
    assert_int_equal(count(&x, &all), 1);
    assert_int_equal(uses(&x, "dropped"), 1);
    x.f.world.now_ms += 100 * DAY_MS;
    say(&x, "hello there");
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM interactions"), 1);
    muga_error err;
    int64_t n;
    assert_ok(consent_withdraw(&x.f.env, x.f.store, "test-shop", "operator", &n, &err), &err);
    x.f.world.now_ms += 200 * DAY_MS; /* nothing more is kept, and what was grows old */
    say(&x, "hello there");
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM interactions"), 0);
    assert_chain_whole(&x);
    loop_close(&x);
}

/* ---- faults ---- */

/* Keeping fails, the turn doesn't; the next one keeps both. */
static void a_turn_is_worth_more_than_its_row(void **state) {
    (void)state;
    loop_fixture x;
    loop_open(&x, "fails", "[]");
    give(&x);
    fixture_sql(x.f.store_path,
                "CREATE TRIGGER full BEFORE INSERT ON interactions BEGIN SELECT raise(ABORT, 'x'); END");
    assert_int_equal(say(&x, "hello there"), TURN_ASK);
    assert_int_equal(count(&x, &all), 0);
    fixture_sql(x.f.store_path, "DROP TRIGGER full");
    say(&x, "hello there");
    assert_int_equal(count(&x, &all), 2);
    assert_int_equal(uses(&x, "recorded"), 1);
    assert_chain_whole(&x);
    loop_close(&x);
}

static void damaged_rows_are_named(void **state) {
    (void)state;
    static const char *const damage[] = {"content = replace(content, 'hello', 'jello')",
                                         "outcome = 'denied'",
                                         "rating = 1",
                                         "content = 'x'",
                                         "digest = x'00'",
                                         "at_ms = at_ms - 1",
                                         "note = 'n'",
                                         "salt = zeroblob(32)",
                                         "agent = 'other'"};
    muga_error err;
    audit_report r;
    int64_t n;
    loop_fixture x;
    loop_open(&x, "damaged", "[]");
    give(&x);
    say(&x, "hello there");
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        char sql[200];
        snprintf(sql, sizeof sql, "CREATE TABLE copy AS SELECT * FROM interactions; UPDATE interactions SET %s",
                 damage[i]);
        fixture_sql(x.f.store_path, sql);
        json_t *list = json_array();
        assert_status(interactions_read(&x.f.env, x.f.store, &all, "listed", NULL, collect, list, &n, &err), MUGA_E_ENV,
                      &err, "muga data drop --session");
        assert_int_equal(json_array_size(list), 0);
        json_decref(list);
        assert_int_equal(audit_verify(x.f.store, &r, &err), MUGA_E_NEGATIVE);
        fixture_sql(x.f.store_path,
                    "DELETE FROM interactions; INSERT INTO interactions SELECT * FROM copy; DROP TABLE copy");
    }
    assert_chain_whole(&x);
    fixture_sql(x.f.store_path, "DELETE FROM interactions");
    assert_status(audit_verify(x.f.store, &r, &err), MUGA_E_NEGATIVE, &err, "missing");
    loop_close(&x);
}

static void consents_are_held_against_the_chain(void **state) {
    (void)state;
    static const char *const damage[] = {"UPDATE consents SET state = 'off'", "UPDATE consents SET since = 0",
                                         "UPDATE consents SET policy = '{}'", "UPDATE consents SET agent = 'x'",
                                         "DELETE FROM consents"};
    muga_error err;
    audit_report r;
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        loop_fixture x;
        char name[24];
        snprintf(name, sizeof name, "consents-%zu", i);
        loop_open(&x, name, "[]");
        give(&x);
        assert_chain_whole(&x);
        fixture_sql(x.f.store_path, damage[i]);
        assert_status(audit_verify(x.f.store, &r, &err), MUGA_E_NEGATIVE, &err, "consent");
        loop_close(&x);
    }
}

/* No audit, no rows. */
static void every_use_is_on_the_chain(void **state) {
    (void)state;
    muga_error err;
    int64_t n;
    loop_fixture x;
    loop_open(&x, "uses", "[]");
    give(&x);
    say(&x, "hello there");
    assert_int_equal(count(&x, &all), 1);
    assert_int_equal(uses(&x, "listed"), 1);
    assert_ok(interactions_rate(&x.f.env, x.f.store, session_id(x.f.session), 1, 1, NULL, &n, &err), &err);
    assert_int_equal(uses(&x, "rated"), 1);
    assert_ok(interactions_redact(&x.f.env, x.f.store, &all, NULL, &n, &err), &err);
    assert_int_equal(uses(&x, "redacted"), 1);
    json_t *detail = json_pack("{s:s}", "adapter", "x");
    assert_ok(interactions_tell(&x.f.env, x.f.store, "trained", detail, &err), &err);
    assert_int_equal(uses(&x, "trained"), 1);
    json_decref(detail);
    fixture_sql(x.f.store_path, "CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'x'); END");
    json_t *list = json_array();
    assert_int_not_equal(interactions_read(&x.f.env, x.f.store, &all, "listed", NULL, collect, list, &n, &err),
                         MUGA_OK);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    assert_int_not_equal(interactions_drop(&x.f.env, x.f.store, &all, "all", &n, &err), MUGA_OK);
    assert_int_equal(fixture_count(x.f.store_path, "SELECT count(*) FROM interactions"), 1);
    loop_close(&x);
}

static void bad_corrections_are_refused(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"{}", "labels, calls or an answer"},
        {"{'label': 'order'}", "labels, calls or an answer"},
        {"{'labels': []}", "1 to 16"},
        {"{'labels': ['oder']}", "oder"},
        {"{'calls': [{'tool': 'ordr', 'arguments': {}}]}", "ordr"},
        {"{'calls': [{'tool': 'order_status', 'arguments': {'order_id': 'x'}}]}", "order_status"},
        {"{'calls': [{'tool': 'order_status'}]}", "arguments"},
        {"{'calls': []}", "empty"},
        {"{'answer': ''}", "empty"}};
    muga_error err;
    int64_t n;
    loop_fixture x;
    loop_open(&x, "corrections", "[]");
    give(&x);
    say(&x, "hello there");
    const char *id = session_id(x.f.session);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *c = fixture_json(bad[i][0]);
        assert_status(interactions_correct(&x.f.env, x.f.store, x.f.m, id, 1, c, NULL, &err), MUGA_E_INPUT, &err,
                      bad[i][1]);
        json_decref(c);
    }
    json_t *c = fixture_json("{'calls': [{'tool': 'order_status', 'arguments': {'order_id': 'A10001'}}]}"),
           *answer = fixture_json("{'answer': 'Mail ada@example.com'}");
    assert_status(interactions_correct(&x.f.env, x.f.store, x.f.m, id, 2, c, NULL, &err), MUGA_E_NOT_FOUND, &err,
                  "turn 2");
    assert_status(interactions_rate(&x.f.env, x.f.store, "s-none", 0, 1, NULL, &n, &err), MUGA_E_NOT_FOUND, &err,
                  "s-none");
    assert_ok(interactions_correct(&x.f.env, x.f.store, x.f.m, id, 1, c, "said bob@example.com", &err), &err);
    assert_ok(interactions_correct(&x.f.env, x.f.store, x.f.m, id, 1, answer, NULL, &err), &err);
    json_t *list = rows(&x, &all);
    const json_t *row = json_array_get(list, 0), *kept = json_object_get(row, "correction");
    assert_string_equal(json_get_string(kept, "answer"), "Mail [email]"); /* people's words are masked as well */
    assert_string_equal(json_get_string(row, "note"), "said [email]");
    assert_true(json_equal(json_object_get(kept, "calls"), json_object_get(c, "calls")));
    json_decref(list);
    json_decref(answer);
    json_decref(c);
    assert_chain_whole(&x);
    loop_close(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_kept_without_consent),     cmocka_unit_test(consent_is_to_terms),
        cmocka_unit_test(outcomes_tell_how_it_went),           cmocka_unit_test(what_tells_of_a_person_is_masked),
        cmocka_unit_test(plain_rows_are_masked_when_read),     cmocka_unit_test(a_subject_is_forgotten),
        cmocka_unit_test(an_erased_session_keeps_no_rows),     cmocka_unit_test(old_rows_are_dropped),
        cmocka_unit_test(a_turn_is_worth_more_than_its_row),   cmocka_unit_test(damaged_rows_are_named),
        cmocka_unit_test(consents_are_held_against_the_chain), cmocka_unit_test(every_use_is_on_the_chain),
        cmocka_unit_test(bad_corrections_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
