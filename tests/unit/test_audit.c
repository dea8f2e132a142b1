/* The audit chain. If this failed, someone could change, drop, reorder or insert a record and nobody would know; or a
 * person's data could not be erased without breaking the chain. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>

static void call(agent_fixture *f, const char *tool, const char *arguments) {
    muga_error err;
    call_result r;
    json_t *v = fixture_json(arguments);
    assert_ok(executor_call(f->session, tool, v, &r, &err), &err);
    json_decref(v);
    call_result_release(&r);
}

/* A session with every kind of record. */
static void fill(agent_fixture *f, const char *name) {
    muga_error err;
    fixture_open(f, name, NULL);
    fixture_begin(f, 1, "Order A10001 please");
    call(f, "order_status", "{'order_id': 'A10001'}");
    call(f, "reset", "{}");
    json_t *decision = fixture_json("{'step': 1, 'decided': 'order_status'}"),
           *evidence = fixture_json("{'ids': [1, 2]}");
    assert_ok(audit_append(f->session, "decision", decision, evidence, &err), &err);
    assert_null(json_object_get(decision, "evidence")); /* the caller's own is left alone */
    json_decref(decision);
    json_decref(evidence);
    assert_ok(session_add_answer(f->session, "answer", "Shipped.", &err), &err);
    assert_ok(session_end(f->session, "answer", &err), &err);
}

static audit_report verify_ok(agent_fixture *f) {
    muga_error err;
    audit_report r;
    assert_ok(audit_verify(f->store, &r, &err), &err);
    return r;
}

static void verify_broken(agent_fixture *f, int64_t n, const char *part) {
    muga_error err;
    audit_report r;
    assert_status(audit_verify(f->store, &r, &err), MUGA_E_NEGATIVE, &err, part);
    assert_int_equal(r.broken, n);
}

static void the_kinds_come_in_order(void **state) {
    (void)state;
    static const char *const kinds[] = {"session_start", "message", "call", "call",     "call",   "call",
                                        "call",          "call",    "call", "decision", "answer", "session_end"};
    static const char *const states[] = {NULL,       NULL,        "proposed", "validated", "started", "finished",
                                         "proposed", "validated", "held",     NULL,        NULL,      NULL};
    agent_fixture f;
    muga_error err;
    json_t *list, *r;
    size_t i;
    fill(&f, "kinds");
    assert_ok(audit_log(f.store, NULL, &list, &err), &err);
    assert_int_equal(json_array_size(list), ARRAY_LEN(kinds));
    json_array_foreach(list, i, r) {
        const char *told = json_get_string(json_object_get(r, "payload"), "state");
        assert_int_equal(json_get_int(r, "n", 0), i + 1);
        assert_string_equal(json_get_string(r, "kind"), kinds[i]);
        assert_int_equal(told != NULL, states[i] != NULL);
        if (told) {
            assert_string_equal(told, states[i]);
        }
    }
    json_decref(list);
    audit_filter filter = {session_id(f.session), 3, 2};
    assert_ok(audit_log(f.store, &filter, &list, &err), &err);
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_get_int(json_array_get(list, 0), "n", 0), 3);
    json_decref(list);
    filter = (audit_filter){"s-nobody", 1, 0};
    assert_ok(audit_log(f.store, &filter, &list, &err), &err);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    audit_report report = verify_ok(&f);
    assert_int_equal(report.n_records, ARRAY_LEN(kinds));
    fixture_close(&f);
}

/* The format itself: whoever reads docs/audit.md must be able to recompute it with any SHA-256. */
static void a_record_hashes_as_documented(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fill(&f, "format");
    store_row *r;
    bool has;
    uint8_t hash[SHA256_BYTES], digest[SHA256_BYTES];
    char hex[SHA256_HEX], want[512];
    assert_ok(
        store_query(
            f.store, &r, &err,
            "SELECT a.body, a.hash, p.salt, p.payload, a.at_ms FROM audit a JOIN audit_payload p ON p.n = a.n WHERE"
            " a.n = 1",
            ""),
        &err);
    assert_ok(store_step(r, &has, &err), &err);
    str salted = STR_INIT;
    span salt = store_blob(r, 2), payload = store_text(r, 3), body = store_text(r, 0);
    str_append(&salted, salt.p, salt.n);
    str_append(&salted, payload.p, payload.n);
    sha256_of(salted.data, salted.len, digest);
    hex_write(digest, sizeof digest, hex);
    snprintf(want, sizeof want,
             "{\"at_ms\":%lld,\"kind\":\"session_start\",\"n\":1,\"payload\":\"%s\",\"prev\":\"%064d\","
             "\"session\":\"%s\",\"v\":1}",
             (long long)store_int(r, 4), hex, 0, session_id(f.session));
    assert_true(span_equal_string(body, want));
    sha256_of(body.p, body.n, hash);
    assert_memory_equal(store_blob(r, 1).p, hash, sizeof hash);
    store_done(r);
    str_release(&salted);
    fixture_close(&f);
}

#define UNLOCK "DROP TRIGGER audit_update; DROP TRIGGER audit_delete; PRAGMA foreign_keys = OFF; "

static void every_change_is_found(void **state) {
    (void)state;
    static const struct {
        const char *sql;
        int64_t n;
        const char *part;
    } changes[] = {
        {"UPDATE audit_payload SET payload = replace(payload, 'A10001', 'A10002') WHERE n = 2", 2,
         "payload was changed"},
        {"UPDATE audit_payload SET payload = payload || ' ' WHERE n = 5", 5, "payload was changed"},
        {"UPDATE audit_payload SET salt = zeroblob(32) WHERE n = 5", 5, "payload was changed"},
        {"UPDATE audit_payload SET salt = zeroblob(31) WHERE n = 5", 5, "salt has a wrong length"},
        {"DELETE FROM audit_payload WHERE n = 6", 6, "payload is missing, and no erasure was recorded"},
        {"UPDATE audit SET body = replace(body, 'session_end', 'session_und') WHERE n = 12", 12, "body was changed"},
        {"UPDATE audit SET hash = zeroblob(32) WHERE n = 4", 4, "body was changed"},
        {"UPDATE audit SET hash = x'' WHERE n = 4", 4, "body was changed"},
        {"UPDATE audit SET at_ms = at_ms + 1 WHERE n = 7", 7, "time, kind or session was changed"},
        {"UPDATE audit SET session = NULL WHERE n = 7", 7, "time, kind or session was changed"},
        {"UPDATE audit SET kind = 'note' WHERE n = 7", 7, "time, kind or session was changed"},
        {"DELETE FROM audit WHERE n = 3", 3, "missing"},
        {"DELETE FROM audit WHERE n = 12", 12, "does not match its head"},
        {"DELETE FROM audit", 1, "does not match its head"},
        {"UPDATE audit SET n = -3 WHERE n = 3", 1, "missing"},
        {"INSERT INTO audit SELECT 13, body, hash, at_ms, kind, session FROM audit WHERE n = 12", 13, "not a record"},
        {"UPDATE audit_head SET n = 11", 12, "does not match its head"},
        {"UPDATE audit_head SET hash = zeroblob(32)", 13, "does not match its head"},
        {"UPDATE calls SET state = 'finished' WHERE state = 'held'", 12,
         "state is \"finished\" in the tables, \"held\" in the audit chain"},
        {"INSERT INTO calls SELECT 'c-new', session, 99, tool, tool_digest, policy_digest, arguments, 'finished',"
         " 1, NULL, NULL, 0, 0, 0, NULL FROM calls LIMIT 1",
         12, "absent in the audit chain"},
        {"UPDATE calls SET arguments = '{\"order_id\":\"A10002\"}' WHERE n = 1", 12,
         "arguments.order_id is \"A10002\" in the"},
        {"UPDATE calls SET arguments = '{' WHERE n = 1", 12, "arguments is \"{\" in the tables"},
        {"UPDATE calls SET label = 'trusted public' WHERE n = 1", 12, "label is \"trusted public\" in the tables"},
        {"UPDATE calls SET result = NULL WHERE n = 1", 12, "result is null in the tables"},
        {"UPDATE calls SET reason = 'because' WHERE n = 1", 12, "reason is \"because\" in the tables"},
        {"UPDATE calls SET attempt = 7 WHERE n = 1", 12, "attempt is 7 in the tables, 1 in"},
        {"UPDATE calls SET n = 3 WHERE n = 1", 12, ".n is 3 in the tables, 1 in"},
        {"UPDATE calls SET tool_digest = zeroblob(32) WHERE n = 1", 12, "definition is"},
        {"DELETE FROM calls WHERE n = 1", 12, "is absent in the tables"},
        {"UPDATE history SET content = 'Order A10002 please' WHERE n = 1", 12, "history[1].content is"},
        {"UPDATE history SET role = 'assistant' WHERE n = 1", 12, "history[1].role is"},
        {"UPDATE history SET call = NULL WHERE n = 2", 12, "history[2].call is null in the tables"},
        {"DELETE FROM history WHERE n = 3", 12, "history[3] is absent in the tables"},
        {"UPDATE sessions SET session_values = '{\"customer\":2}'", 12, "values.customer is 2 in the tables"},
        {"UPDATE sessions SET ended_ms = NULL, outcome = NULL", 12, "outcome is null in the tables"},
        {"UPDATE sessions SET data_dir = '/elsewhere'", 12, "data_dir is \"/elsewhere\" in the tables"},
        {"DELETE FROM sessions", 12, "absent in the tables"},
        {"UPDATE approvals SET state = 'approved', approver = 'me'", 12, "state is \"approved\" in the tables"},
        {"UPDATE approvals SET expires_ms = expires_ms + 1", 12, "expires_ms is"},
        {"UPDATE approvals SET binding = zeroblob(32)", 12, "binding is \"0000"},
        {"UPDATE approvals SET attempt = 2", 12, "attempt is 2 in the tables"},
        {"UPDATE approvals SET id = 'aaaa-aaaa'", 12, "is absent in the tables"},
        {"DELETE FROM approvals", 12, "is absent in the tables"},
        {"UPDATE session_origins SET parent = 's-other'", 12, "within is \"s-other\" in the tables, null in"},
        {"UPDATE session_origins SET requester = 'me'", 12, "requester is \"me\" in the tables, null in"},
        {"UPDATE session_origins SET session = 's-other'", 12, "within is"},
        {"DELETE FROM session_origins", 12, "within is absent in the tables, null in"},
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        agent_fixture f;
        char name[32], sql[1024];
        snprintf(name, sizeof name, "change-%zu", i);
        fill(&f, name);
        verify_ok(&f);
        snprintf(sql, sizeof sql, UNLOCK "%s", changes[i].sql);
        fixture_sql(f.store_path, sql);
        verify_broken(&f, changes[i].n, changes[i].part);
        fixture_close(&f);
    }
}

/* A store of a muga that did not keep where sessions come from: the chain says it. */
static void an_older_store_learns_its_origins_from_the_chain(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fill(&f, "older");
    json_t *values = fixture_json("{'customer': 1}"),
           *info = json_pack("{s:s, s:s, s:i}", "within", session_id(f.session), "requester", "me", "other", 7),
           *odd = json_pack("{s:i, s:{}}", "within", 7, "requester");
    session_close(f.session);
    assert_ok(session_new(&f.env, f.store, f.m, values, info, &f.session, &err), &err);
    session_close(f.session);
    assert_ok(session_new(&f.env, f.store, f.m, values, odd, &f.session, &err), &err);
    json_decref(values);
    json_decref(info);
    json_decref(odd);
    fixture_sql(f.store_path, "DELETE FROM session_origins");
    verify_broken(&f, fixture_count(f.store_path, "SELECT n FROM audit_head"), "absent in the tables");
    /* back to schema 7: what later ones made goes */
    fixture_sql(f.store_path, "DROP INDEX session_origins_parent; ALTER TABLE session_origins DROP COLUMN tenant;"
                              " DROP TABLE api_key_secrets; DROP TABLE api_key_usage; DROP TABLE api_keys; DROP TABLE"
                              " api_key_changes; PRAGMA user_version = 7");
    fixture_reopen(&f);
    verify_ok(&f);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM session_origins"), 3);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM session_origins WHERE parent IN (SELECT id FROM"
                                                 " sessions) AND requester = 'me'"),
                     1);
    fixture_close(&f);
}

/* Two records swapped, each with a body that says its new number: the links give it away. */
static void a_record_moved_with_its_hash_recomputed_is_found(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fill(&f, "moved");
    store_row *r;
    bool has;
    uint8_t hash[SHA256_BYTES];
    assert_ok(store_query(f.store, &r, &err, "SELECT body FROM audit WHERE n = 5", ""), &err);
    assert_ok(store_step(r, &has, &err), &err);
    str body = STR_INIT;
    str_append_s(&body, store_string(r, 0));
    store_done(r);
    char *at = strstr(body.data, "\"kind\":\"call\"");
    memcpy(at, "\"kind\":\"note\"", 13); /* a change, its hash made right again */
    sha256_of(body.data, body.len, hash);
    fixture_sql(f.store_path, "DROP TRIGGER audit_update");
    assert_ok(store_exec(f.store, NULL, &err, "UPDATE audit SET body = ?, hash = ?, kind = 'note' WHERE n = 5", "tb",
                         body.data, body.len, hash, sizeof hash),
              &err);
    verify_broken(&f, 6, "does not follow the record before it");
    str_release(&body);
    fixture_close(&f);
}

static int64_t n_seen;

static muga_status count_replay(void *ctx, int64_t n, const json_t *payload, const json_t *evidence, muga_error *err) {
    const char *want = ctx;
    assert_non_null(json_object_get(evidence, "ids"));
    assert_string_equal(json_get_string(payload, "decided"), "order_status");
    n_seen++;
    assert_int_equal(n, 10);
    return want ? error_set(err, MUGA_E_NEGATIVE, "%s", want) : MUGA_OK;
}

static void replay_gets_each_evidence_once(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    audit_report r;
    fill(&f, "replay");
    n_seen = 0;
    assert_ok(audit_replay(f.store, NULL, count_replay, NULL, &r, &err), &err);
    assert_int_equal(n_seen, 1);
    assert_int_equal(r.n_replayed, 1);
    char differs[] = "token 3 differs";
    assert_status(audit_replay(f.store, NULL, count_replay, differs, &r, &err), MUGA_E_NEGATIVE, &err,
                  "audit record 10: token 3 differs");
    assert_int_equal(r.broken, 10);
    audit_filter other = {"s-other", 1, 0};
    assert_ok(audit_replay(f.store, &other, count_replay, NULL, &r, &err), &err);
    assert_int_equal(r.n_evidence, 0);
    fixture_close(&f);
}

static bool file_holds(const char *path, const char *text) {
    str bytes = STR_INIT;
    muga_error err;
    if (os_read_file(&os_system()->files, path, 1 << 26, &bytes, &err) != MUGA_OK) {
        return false;
    }
    bool found = memmem(str_get(&bytes), bytes.len, text, strlen(text)) != NULL;
    str_release(&bytes);
    return found;
}

static void an_erased_session_verifies_and_says_erased(void **state) {
    (void)state;
    static const char secret[] = "my name is Zebulon Quark";
    agent_fixture f;
    muga_error err;
    json_t *list;
    char id[AGENT_ID_SIZE], wal[600];
    fill(&f, "erased");
    session_close(f.session);
    fixture_begin(&f, 2, secret);
    call(&f, "note", "{'text': 'Zebulon Quark rang'}");
    call(&f, "reset", "{}");
    snprintf(id, sizeof id, "%s", session_id(f.session));
    assert_status(audit_erase(&f.env, f.store, id, NULL, &err), MUGA_E_ENV, &err, "in use");
    session_close(f.session);
    f.session = NULL;
    snprintf(wal, sizeof wal, "%s-wal", f.store_path);
    assert_true(file_holds(f.store_path, secret) || file_holds(wal, secret));
    assert_ok(audit_erase(&f.env, f.store, id, NULL, &err), &err);
    assert_false(file_holds(f.store_path, "Zebulon"));
    assert_false(file_holds(wal, "Zebulon"));
    audit_report report = verify_ok(&f);
    assert_int_equal(report.n_erased, 9); /* start, message, note's four, reset's three */
    audit_filter filter = {id, 1, 0};
    assert_ok(audit_log(f.store, &filter, &list, &err), &err);
    assert_true(json_get_bool(json_array_get(list, 0), "erased", false));
    assert_null(json_object_get(json_array_get(list, 0), "payload"));
    json_decref(list);
    assert_ok(approval_list(&f.env, f.store, &list, &err), &err);
    assert_int_equal(json_array_size(list), 1); /* the other session's */
    json_decref(list);
    assert_ok(audit_erase(&f.env, f.store, id, NULL, &err), &err); /* again: nothing more to do, nothing broken */
    verify_ok(&f);
    assert_status(audit_erase(&f.env, f.store, "s-nobody", NULL, &err), MUGA_E_NOT_FOUND, &err, "s-nobody");
    /* someone else's payload can't hide behind this erasure */
    fixture_sql(f.store_path, "DELETE FROM audit_payload WHERE n = 2");
    verify_broken(&f, 2, "no erasure was recorded");
    fixture_close(&f);
}

/* A tail that was cut off with its head corrected verifies; the head that someone kept does not let it pass. */
static void a_head_kept_elsewhere_tells_of_a_cut(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fill(&f, "kept");
    audit_report before = verify_ok(&f);
    char none[SHA256_HEX];
    memset(none, '0', sizeof none - 1);
    none[sizeof none - 1] = '\0';
    assert_ok(audit_check_head(f.store, before.head, &err), &err);
    assert_ok(audit_check_head(f.store, none, &err), &err);
    assert_status(audit_check_head(f.store, "12ab", &err), MUGA_E_USAGE, &err, "64 hexadecimal digits");
    fixture_sql(f.store_path, UNLOCK "DELETE FROM audit_payload WHERE n = 12; DELETE FROM audit WHERE n = 12; UPDATE"
                                     " audit_head SET n = 11, hash = (SELECT hash FROM audit WHERE n = 11);"
                                     " UPDATE sessions SET ended_ms = NULL, outcome = NULL");
    verify_ok(&f);
    assert_status(audit_check_head(f.store, before.head, &err), MUGA_E_NEGATIVE, &err, "cut off");
    fixture_close(&f);
}

static void callers_write_only_their_kinds(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "kinds-allowed", NULL);
    fixture_begin(&f, 1, "hi");
    json_t *payload = json_object(), *list = json_array();
    assert_status(audit_append(f.session, "call", payload, NULL, &err), MUGA_E_INTERNAL, &err, "not for callers");
    assert_status(audit_append(f.session, "approval", payload, NULL, &err), MUGA_E_INTERNAL, &err, "not for callers");
    assert_status(audit_append(f.session, "note", list, NULL, &err), MUGA_E_INTERNAL, &err, "no object");
    assert_ok(audit_append(f.session, "note", payload, NULL, &err), &err);
    assert_status(audit_write(&f.env, f.store, NULL, "note", payload, &err), MUGA_E_INTERNAL, &err,
                  "outside a transaction");
    json_decref(payload);
    json_decref(list);
    fixture_close(&f);
}

static void an_empty_store_is_whole(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "empty", NULL);
    audit_report r = verify_ok(&f);
    assert_int_equal(r.n_records, 0);
    assert_int_equal(strspn(r.head, "0"), 64);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kinds_come_in_order),
        cmocka_unit_test(a_record_hashes_as_documented),
        cmocka_unit_test(every_change_is_found),
        cmocka_unit_test(an_older_store_learns_its_origins_from_the_chain),
        cmocka_unit_test(a_record_moved_with_its_hash_recomputed_is_found),
        cmocka_unit_test(replay_gets_each_evidence_once),
        cmocka_unit_test(an_erased_session_verifies_and_says_erased),
        cmocka_unit_test(a_head_kept_elsewhere_tells_of_a_cut),
        cmocka_unit_test(callers_write_only_their_kinds),
        cmocka_unit_test(an_empty_store_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
