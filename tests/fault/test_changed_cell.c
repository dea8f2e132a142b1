/* One byte changed in any cell of any table of muga.db. If this failed, someone who can write the file could change
 * what was said, asked, allowed or done, and `muga audit verify` would call it whole. */
#include "support/support.h"

#include "agent/interactions.h"
#include "agent/internal.h"
#include "agent/versions.h"
#include "serve/keys.h"
#include "support/agent_fixture.h"
#include "support/small_adapter.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Times are not compared: a record of the chain has its own. */
static const char *const not_compared[] = {"created_ms", "changed_ms", "ended_ms", "decided_ms", "run_us"};

static json_t *call(agent_fixture *f, const char *tool, const char *arguments, char approval[AGENT_ID_SIZE]) {
    muga_error err;
    call_result r;
    json_t *v = fixture_json(arguments), *id;
    assert_ok(executor_call(f->session, tool, v, &r, &err), &err);
    snprintf(approval, AGENT_ID_SIZE, "%s", r.approval);
    id = json_string(r.call);
    call_result_release(&r);
    json_decref(v);
    return id;
}

/* Two adapters: one promoted, one refused. */
static void learn(agent_fixture *f) {
    static const char base[] = "0000000000000000000000000000000000000000000000000000000000000000";
    const versions v = {&f->env, f->store, f->dir, f->m->name};
    char path[1024];
    muga_error err;
    for (int64_t i = 1; i <= 2; i++) {
        int64_t version;
        snprintf(path, sizeof path, "%s/adapter.gguf", f->dir);
        small_adapter_write(path, (uint32_t)i, base);
        assert_ok(versions_add(&v, path, base, NULL, &version, &err), &err);
        json_t *gate = json_pack("{s:b, s:s}", "ok", i == 1, "held_out", "h");
        assert_ok(versions_decide(&v, version, i - 1, gate, &err), &err);
        json_decref(gate);
    }
}

/* Consent, a turn kept to learn from, and what people said of it. */
static void fill_data(agent_fixture *f) {
    muga_error err;
    record_outcome kept;
    int64_t n;
    json_t *correction = fixture_json("{'answer': 'Sent.'}");
    const char *id = session_id(f->session);
    assert_ok(interactions_record(&f->env, f->store, f->m, id, &kept, &err), &err);
    assert_int_equal(kept, RECORD_UP_TO_DATE);
    assert_ok(interactions_rate(&f->env, f->store, id, 1, 1, "quick", &n, &err), &err);
    assert_ok(interactions_correct(&f->env, f->store, f->m, id, 1, correction, NULL, &err), &err);
    json_decref(correction);
}

/* A key of the server with two secrets, and one that is revoked. What they used isn't compared, nor is there any. */
static void make_keys(agent_fixture *f) {
    static const char *const names[] = {"kept", "revoked"};
    const key_operator by = {&f->env, "the owner"};
    char id[KEY_ID_SIZE], text[KEY_TEXT_SIZE];
    muga_error err;
    for (size_t i = 0; i < 2; i++) {
        const key_spec spec = {.name = names[i], .tenant = "shop", .tokens_day = 1000};
        assert_ok(keys_create(f->store, &by, &spec, id, text, &err), &err);
    }
    assert_ok(keys_rotate(f->store, &by, "kept", 1000, id, text, &err), &err);
    assert_ok(keys_revoke(f->store, &by, "revoked", false, &err), &err);
}

/* A yes that was used, a no, one that waits, a read, a call that was invalid, an answer, a state, an end; two
 * adapters; a turn kept to learn from; keys. */
static void fill(agent_fixture *f) {
    static char manifest_text[8192];
    snprintf(manifest_text, sizeof manifest_text, "%slearning: {subject: [customer]}\n", fixture_manifest);
    muga_error err;
    call_result r;
    char approval[AGENT_ID_SIZE];
    fixture_open(f, "cells", manifest_text);
    assert_ok(consent_give(&f->env, f->store, f->m, false, "the owner", &err), &err);
    fixture_begin(f, 1, "Order A10001 please");
    json_decref(call(f, "order_status", "{'order_id': 'A10001'}", approval));
    json_decref(call(f, "order_status", "{'order_id': 'A10002'}", approval));
    json_t *id = call(f, "reset", "{}", approval);
    assert_ok(approval_decide(&f->env, f->store, f->m, approval, true, "the owner", &err), &err);
    assert_ok(executor_resume(f->session, json_string_value(id), &r, &err), &err);
    assert_int_equal(r.outcome, CALL_FINISHED);
    call_result_release(&r);
    json_decref(id);
    json_decref(call(f, "reset", "{}", approval));
    assert_ok(approval_decide(&f->env, f->store, f->m, approval, false, "the owner", &err), &err);
    json_decref(call(f, "reset", "{}", approval));
    assert_ok(session_add_answer(f->session, "answer", "Shipped.", &err), &err);
    assert_ok(session_end(f->session, "answer", &err), &err);
    fill_data(f);
    learn(f);
    make_keys(f);
    session_close(f->session);
    f->session = NULL;
    assert_ok(store_checkpoint(f->store, &err), &err);
    store_close(f->store);
    f->store = NULL;
    fixture_sql(f->store_path, "DROP TRIGGER audit_update; DROP TRIGGER audit_delete; PRAGMA wal_checkpoint(TRUNCATE)");
}

/* ---- cells ---- */

typedef struct cell {
    char table[32], column[32], key[400]; /* key: the WHERE that names the row */
} cell;

static json_t *query(sqlite3 *db, const char *sql) {
    sqlite3_stmt *stmt;
    json_t *list = json_array();
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        json_array_append_new(list, json_string((const char *)sqlite3_column_text(stmt, 0)));
    }
    sqlite3_finalize(stmt);
    return list;
}

/* Every cell of every table, with SQL that finds its row by the values of the table's key. */
static size_t list_cells(const char *path, cell *out, size_t max) {
    sqlite3 *db;
    size_t n = 0, i, k, l;
    json_t *t, *c, *row;
    char sql[1200];
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    json_t *tables = query(db, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    json_array_foreach(tables, i, t) {
        const char *table = json_string_value(t);
        if (!strcmp(table, "api_key_changes")) /* a counter for servers that run */
            continue;
        snprintf(sql, sizeof sql, "SELECT name FROM pragma_table_info('%s')", table);
        json_t *columns = query(db, sql);
        snprintf(sql, sizeof sql,
                 "SELECT group_concat('''' || name || ' = '' || quote(' || name || ')', ' || '' AND '' || ') FROM"
                 " pragma_table_info('%s') WHERE pk > 0",
                 table);
        json_t *key = query(db, sql);
        snprintf(sql, sizeof sql, "SELECT %s FROM %s", json_string_value(json_array_get(key, 0)), table);
        json_t *rows = query(db, sql);
        json_array_foreach(rows, k, row) {
            json_array_foreach(columns, l, c) {
                bool compared = strcmp(table, "history") != 0 || strcmp(json_string_value(c), "at_ms") != 0;
                for (size_t x = 0; x < ARRAY_LEN(not_compared); x++) {
                    compared = compared && strcmp(json_string_value(c), not_compared[x]) != 0;
                }
                if (compared) {
                    assert_true(n < max);
                    snprintf(out[n].table, sizeof out[n].table, "%s", table);
                    snprintf(out[n].column, sizeof out[n].column, "%s", json_string_value(c));
                    snprintf(out[n++].key, sizeof out[n].key, "%s", json_string_value(row));
                }
            }
        }
        json_decref(rows);
        json_decref(key);
        json_decref(columns);
    }
    json_decref(tables);
    sqlite3_close(db);
    return n;
}

/* The cell's value with one byte or one number changed, bound to `update`. */
static void bind_changed(sqlite3_stmt *update, sqlite3_stmt *value, rng *random) {
    char bytes[8192];
    size_t n = (size_t)sqlite3_column_bytes(value, 0);
    int type = sqlite3_column_type(value, 0);
    if (type == SQLITE_INTEGER) {
        sqlite3_bind_int64(update, 1, sqlite3_column_int64(value, 0) + 1000);
        return;
    }
    if (type == SQLITE_NULL || n == 0) { /* what should not be there */
        sqlite3_bind_text(update, 1, "1", 1, SQLITE_STATIC);
        return;
    }
    assert_true(n < sizeof bytes);
    memcpy(bytes, sqlite3_column_blob(value, 0), n);
    bytes[rng_below(random, (uint32_t)n)] ^= (char)(1 << rng_below(random, 7));
    if (type == SQLITE_TEXT) {
        sqlite3_bind_text(update, 1, bytes, (int)n, SQLITE_TRANSIENT);
    } else {
        sqlite3_bind_blob(update, 1, bytes, (int)n, SQLITE_TRANSIENT);
    }
}

static void change(const char *path, const cell *c, rng *random) {
    sqlite3 *db;
    sqlite3_stmt *value, *update;
    char sql[600];
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA ignore_check_constraints=ON", NULL, NULL, NULL);
    snprintf(sql, sizeof sql, "SELECT %s FROM %s WHERE %s", c->column, c->table, c->key);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &value, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(value), SQLITE_ROW);
    snprintf(sql, sizeof sql, "UPDATE %s SET %s = ? WHERE %s", c->table, c->column, c->key);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &update, NULL), SQLITE_OK);
    bind_changed(update, value, random);
    sqlite3_reset(value);
    if (sqlite3_step(update) != SQLITE_DONE) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    assert_int_equal(sqlite3_changes(db), 1);
    sqlite3_finalize(value);
    sqlite3_finalize(update);
    sqlite3_close(db);
}

static void put_back(const char *path, const str *bytes) {
    char wal[1100];
    snprintf(wal, sizeof wal, "%s-wal", path);
    remove(wal);
    snprintf(wal, sizeof wal, "%s-shm", path);
    remove(wal);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(str_get(bytes), 1, bytes->len, f), bytes->len);
    fclose(f);
}

static void a_byte_changed_in_any_cell_is_found(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    audit_report report;
    rng random = {20260914};
    str whole = STR_INIT;
    static cell cells[1000];
    fill(&f);
    assert_ok(os_read_file(&os_system()->files, f.store_path, 1 << 26, &whole, &err), &err);
    size_t n = list_cells(f.store_path, cells, ARRAY_LEN(cells)), n_missed = 0;
    for (size_t i = 0; i < n; i++) {
        store *s = NULL;
        put_back(f.store_path, &whole);
        change(f.store_path, &cells[i], &random);
        assert_ok(store_open(f.store_path, NULL, &s, &err), &err);
        muga_status st = audit_verify(s, &report, &err);
        store_close(s);
        if (st != MUGA_E_NEGATIVE) {
            print_message("missed: %s.%s where %s\n", cells[i].table, cells[i].column, cells[i].key);
            n_missed++;
        }
    }
    assert_true(n > 200);
    assert_int_equal(n_missed, 0);
    put_back(f.store_path, &whole);
    store *s = NULL;
    assert_ok(store_open(f.store_path, NULL, &s, &err), &err);
    assert_ok(audit_verify(s, &report, &err), &err);
    store_close(s);
    print_message("%zu cells\n", n);
    str_release(&whole);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_byte_changed_in_any_cell_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
