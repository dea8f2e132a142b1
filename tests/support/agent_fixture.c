/* See agent_fixture.h. */
#include "support/agent_fixture.h"

#include "base/mem.h"
#include "support/support.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char fixture_manifest[] =
    "version: 1\n"
    "agent: test-shop\n"
    "kind: goal\n"
    "model: scripted\n"
    "session: {customer: {type: integer}}\n"
    "state: {resolution: {type: [string, 'null'], default: null}}\n"
    "goal: {statement: Help., done: state.resolution is not none}\n"
    "tools:\n"
    "  - name: order_status\n"
    "    description: Look up an order.\n"
    "    parameters: {type: object, properties: {order_id: {type: string, pattern: '^A[0-9]{5}$', from: conversation}},"
    " required: [order_id], additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT status, note FROM orders WHERE id = :order_id AND customer ="
    " :session_customer'}\n"
    "    effect: read\n"
    "  - name: note\n"
    "    description: Keep a note.\n"
    "    parameters: {type: object, properties: {text: {type: string, maxLength: 200}}, required: [text],"
    " additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO notes(customer, text) VALUES (:session_customer, :text)'}\n"
    "    effect: write\n"
    "    approval: never\n"
    "  - name: reset\n"
    "    description: Reset the password.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO resets(customer) VALUES (:session_customer)'}\n"
    "    effect: write\n"
    "    approval: always\n"
    "  - name: refund\n"
    "    description: Pay money back.\n"
    "    parameters: {type: object, properties: {amount: {type: integer, minimum: 1}}, required: [amount],"
    " additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO refunds(customer, amount) VALUES (:session_customer, :amount)'}\n"
    "    effect: write\n"
    "    approval: {when: arguments.amount > 50}\n"
    "limits: {steps: 50}\n";

const char fixture_shop[] =
    "CREATE TABLE orders(id TEXT PRIMARY KEY, customer INTEGER, status TEXT, note TEXT);"
    "INSERT INTO orders VALUES ('A10001', 1, 'shipped', 'ring twice'), ('A10002', 2, 'lost', NULL);"
    "CREATE TABLE notes(customer INTEGER, text TEXT);"
    "CREATE TABLE resets(customer INTEGER);"
    "CREATE TABLE refunds(customer INTEGER, amount INTEGER);";

static int64_t now_ms(void *self) {
    return ((fixture_world *)self)->now_ms;
}

static uint64_t monotonic_us(void *self) {
    return ((fixture_world *)self)->monotonic_us;
}

static void sleep_ms(void *self, int64_t ms) {
    fixture_world *w = self;
    w->now_ms += ms;
    w->monotonic_us += (uint64_t)ms * 1000;
}

static muga_status random_bytes(void *self, void *p, size_t n, muga_error *err) {
    (void)err;
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)p)[i] = (uint8_t)(rng_next(&((fixture_world *)self)->random) >> 32);
    }
    return MUGA_OK;
}

void fixture_sql(const char *path, const char *sql) {
    sqlite3 *db = NULL;
    char *message = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", path, message);
    }
    sqlite3_close(db);
}

int64_t fixture_count(const char *path, const char *sql) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW) {
        fail_msg("%s: %s: %s", path, sql, sqlite3_errmsg(db));
    }
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

json_t *fixture_json(const char *text) {
    char *copy = mem_copy_string(text);
    for (char *c = copy; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    json_t *v = NULL;
    muga_error err;
    assert_ok(json_parse(copy, strlen(copy), "test", &v, &err), &err);
    free(copy);
    return v;
}

void fixture_write(const agent_fixture *f, const char *name, const char *text) {
    char path[1024];
    muga_error err;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_ok(os_write_file_atomic(f->env.files, path, text, strlen(text), &err), &err);
}

static char *join(const char *dir, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return mem_copy_string(path);
}

void fixture_prepare(agent_fixture *f, const char *name, const char *manifest_text) {
    muga_error err;
    *f = (agent_fixture){.world = {.now_ms = INT64_C(1790000000000), .random = {42}}};
    f->world.clock = (os_clock){now_ms, monotonic_us, sleep_ms, &f->world};
    f->env = agent_env_system();
    f->env.clock = &f->world.clock;
    f->env.random = random_bytes;
    f->env.random_self = &f->world;
    f->env.launcher = getenv("MUGA_PROGRAM");
    f->dir = mem_copy_string(scratch_path(name));
    assert_ok(f->env.files->mkdirs(f->env.files->self, f->dir, &err), &err);
    f->store_path = join(f->dir, "muga.db");
    f->shop_path = join(f->dir, "shop.db");
    fixture_sql(f->shop_path, fixture_shop);
    fixture_write(f, "agent.yaml", manifest_text ? manifest_text : fixture_manifest);
}

void fixture_open(agent_fixture *f, const char *name, const char *manifest_text) {
    muga_error err;
    fixture_prepare(f, name, manifest_text);
    assert_ok(manifest_load(&f->env, f->dir, NULL, &f->m, &err), &err);
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
}

void fixture_begin(agent_fixture *f, int64_t customer, const char *message) {
    muga_error err;
    json_t *values = json_pack("{s:I}", "customer", (json_int_t)customer);
    assert_ok(session_new(&f->env, f->store, f->m, values, NULL, &f->session, &err), &err);
    assert_ok(session_add_user(f->session, message, strlen(message), &err), &err);
    json_decref(values);
}

void fixture_reopen(agent_fixture *f) {
    muga_error err;
    char id[AGENT_ID_SIZE];
    snprintf(id, sizeof id, "%s", session_id(f->session));
    session_close(f->session);
    store_close(f->store);
    f->session = NULL;
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    assert_ok(session_open(&f->env, f->store, f->m, id, &f->session, &err), &err);
}

void fixture_let_go(agent_fixture *f) {
    session_close(f->session);
    store_close(f->store);
    manifest_free(f->m);
    f->session = NULL;
    f->store = NULL;
    f->m = NULL;
}

void fixture_close(agent_fixture *f) {
    fixture_let_go(f);
    free(f->dir);
    free(f->store_path);
    free(f->shop_path);
}

call_result fixture_hold_refund(agent_fixture *f, int64_t amount) {
    muga_error err;
    call_result r;
    json_t *v = json_pack("{s:I}", "amount", (json_int_t)amount);
    assert_ok(executor_call(f->session, "refund", v, &r, &err), &err);
    json_decref(v);
    assert_int_equal(r.outcome, CALL_HELD);
    assert_ok(session_add_user(f->session, "next", 4, &err), &err);
    return r;
}

call_outcome fixture_resume(agent_fixture *f, const char *call) {
    muga_error err;
    call_result r;
    assert_ok(executor_resume(f->session, call, &r, &err), &err);
    call_outcome outcome = r.outcome;
    call_result_release(&r);
    return outcome;
}

void fixture_assert_chain_whole(const agent_fixture *f) {
    muga_error err;
    audit_report report;
    store *s;
    assert_ok(store_open(f->store_path, NULL, &s, &err), &err);
    assert_ok(audit_verify(s, &report, &err), &err);
    store_close(s);
}
