/* A tool that is one SQL statement. Owns: its connection, its statement, its binds. Refuses at load: several
 * statements, binds that are neither a parameter nor a session value, writing under `effect: read`, ATTACH, PRAGMA,
 * transactions, schema changes, load_extension, muga's own store. Bounds at run time: rows, bytes, virtual-machine
 * steps, time.
 *
 * Idea of exactly_once (on by default for writes): the tool's database can't be in one transaction with muga.db, so the
 * call's id goes into the tool's own database, table muga_calls, in the transaction of the effect. After a crash the
 * question "did it run?" is answered by looking, and running again is a no-op that returns the first result. */
#include "agent/internal.h"

#include <ctype.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>

#define STEPS_MAX                                                                                                      \
    INT64_C(200000000) /* VM instructions of one run: some seconds; a bound where the clock is simulated */
#define STEPS_BETWEEN_LOOKS 2000
#define CELL_MAX_BYTES (32 << 20)
#define ROWS_DEFAULT 100
#define ROWS_LONG_DEFAULT 100000 /* where what is long is shown as an extract */
#define PREFIX "session_"

typedef struct tool_sql {
    const agent_env *env;
    const manifest_tool *def;
    sqlite3 *db;
    sqlite3_stmt *stmt;
    char *path;
    bool exec, exactly_once;
    int64_t max_rows;
    bool own_statement;        /* the authorizer lets our own statements pass */
    bool denied, changes_rows; /* what it saw since the tool was opened */
    uint64_t deadline_us;
    int64_t n_steps;
    bool out_of_time;
} tool_sql;

/* ---- what a statement may do ---- */

static bool may(const tool_sql *t, int action, const char *a, const char *b) {
    bool own_table = a && sqlite3_stricmp(a, "muga_calls") == 0;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE: return true;
    case SQLITE_READ: return !own_table;
    case SQLITE_FUNCTION: return !b || sqlite3_stricmp(b, "load_extension") != 0;
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE: return !own_table && t->def->effect == EFFECT_WRITE;
    default: return false; /* ATTACH, PRAGMA, transactions, schema changes, and what comes to SQLite later */
    }
}

static int authorize(void *ctx, int action, const char *a, const char *b, const char *db, const char *trigger) {
    tool_sql *t = ctx;
    (void)db;
    (void)trigger;
    if (t->own_statement || may(t, action, a, b)) {
        t->changes_rows |= action == SQLITE_INSERT || action == SQLITE_UPDATE || action == SQLITE_DELETE;
        return SQLITE_OK;
    }
    t->denied = true; /* not every denial comes back as SQLITE_AUTH */
    return SQLITE_DENY;
}

static int look_at_clock(void *ctx) {
    tool_sql *t = ctx;
    t->n_steps += STEPS_BETWEEN_LOOKS;
    const os_clock *clock = t->env->clock;
    t->out_of_time = t->n_steps > STEPS_MAX || clock->monotonic_us(clock->self) > t->deadline_us;
    return t->out_of_time;
}

static void start_clock(tool_sql *t) {
    const os_clock *clock = t->env->clock;
    t->deadline_us = clock->monotonic_us(clock->self) + (uint64_t)t->def->timeout_ms * 1000;
    t->n_steps = 0;
    t->out_of_time = false;
}

/* ---- opening ---- */

static muga_status open_failed(tool_sql *t, int rc, muga_error *err) {
    if ((rc & 0xFF) == SQLITE_NOMEM) {
        return error_nomem(err, t->path);
    }
    if ((rc & 0xFF) == SQLITE_CANTOPEN) {
        return error_set(err, MUGA_E_ENV, "database %s can't be opened; make it, or check its rights", t->path);
    }
    return error_set(err, MUGA_E_INPUT, "database %s: %s", t->path, t->db ? sqlite3_errmsg(t->db) : sqlite3_errstr(rc));
}

static muga_status find_database(tool_sql *t, const manifest *m, muga_error *err) {
    const char *name = json_get_string(json_object_get(t->def->json, "sql"), "database");
    str path = STR_INIT;
    if (name[0] == '/' || strstr(name, "..")) {
        return error_set(err, MUGA_E_INPUT, "database %s must lie in the agent's folder", name);
    }
    str_printf(&path, "%s/%s", m->data_dir, name);
    t->path = str_take(&path);
    if (!t->path) {
        return error_nomem(err, name);
    }
    os_stat info;
    muga_status st = t->env->files->stat(t->env->files->self, t->path, &info, err);
    if (st == MUGA_OK && info.type == OS_TYPE_NONE) {
        st = error_set(err, MUGA_E_NOT_FOUND, "database %s is not there; make it first", t->path);
    } else if (st == MUGA_OK && info.type != OS_TYPE_FILE) {
        st = error_set(err, MUGA_E_INPUT, "database %s is not a file", t->path);
    }
    return st;
}

static muga_status open_connection(tool_sql *t, muga_error *err) {
    int flags = t->def->effect == EFFECT_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    int rc = sqlite3_open_v2(t->path, &t->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        return open_failed(t, rc, err);
    }
    sqlite3_extended_result_codes(t->db, 1);
    sqlite3_db_config(t->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0); /* 48 KiB a connection, of every idle agent */
    sqlite3_busy_timeout(t->db, (int)MIN(t->def->timeout_ms, 5000));
    sqlite3_limit(t->db, SQLITE_LIMIT_LENGTH, CELL_MAX_BYTES);
    sqlite3_limit(t->db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(t->db, SQLITE_LIMIT_SQL_LENGTH, 200000);
    sqlite3_db_config(t->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(t->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(t->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_progress_handler(t->db, STEPS_BETWEEN_LOOKS, look_at_clock, t);
    sqlite3_set_authorizer(t->db, authorize, t);
    start_clock(t);
    return MUGA_OK;
}

/* Our own statements, past the authorizer. */
static int run_own(tool_sql *t, const char *sql) {
    t->own_statement = true;
    int rc = sqlite3_exec(t->db, sql, NULL, NULL, NULL);
    t->own_statement = false;
    return rc;
}

/* muga.db says so in its header. */
static muga_status refuse_own_store(tool_sql *t, muga_error *err) {
    sqlite3_stmt *stmt = NULL;
    t->own_statement = true;
    int rc = sqlite3_prepare_v2(t->db, "PRAGMA application_id", -1, &stmt, NULL);
    t->own_statement = false;
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    bool own = rc == SQLITE_ROW && sqlite3_column_int(stmt, 0) == 0x6d756761; /* store/schema.h */
    sqlite3_finalize(stmt);
    if (rc != SQLITE_ROW) {
        return open_failed(t, rc, err);
    }
    return own ? error_set(err, MUGA_E_INPUT, "database %s is muga's own record, which no tool may touch", t->path)
               : MUGA_OK;
}

/* Nothing but white space, semicolons and comments may follow. */
static bool tail_is_empty(tool_sql *t, const char *tail) {
    sqlite3_stmt *second = NULL;
    while (*tail) {
        const char *next = NULL;
        int rc = sqlite3_prepare_v2(t->db, tail, -1, &second, &next);
        sqlite3_finalize(second);
        if (rc != SQLITE_OK || second) {
            return false;
        }
        if (next == tail) {
            break;
        }
        tail = next;
    }
    return true;
}

static muga_status check_names(tool_sql *t, const manifest *m, muga_error *err) {
    const json_t *parameters = json_object_get(t->def->parameters, "properties");
    const json_t *session = json_object_get(m->session_schema, "properties");
    for (int i = 1; i <= sqlite3_bind_parameter_count(t->stmt); i++) {
        const char *name = sqlite3_bind_parameter_name(t->stmt, i);
        if (!name || name[0] != ':') {
            return error_set(err, MUGA_E_INPUT, "value %d has no name; write :name, a parameter or :session_name", i);
        }
        bool of_session = strncmp(name + 1, PREFIX, strlen(PREFIX)) == 0;
        if (of_session ? !json_object_get(session, name + 1 + strlen(PREFIX))
                       : !json_object_get(parameters, name + 1)) {
            return error_set(err, MUGA_E_INPUT, "%s is neither a parameter of the tool nor a value of session:", name);
        }
    }
    return MUGA_OK;
}

static muga_status check_columns(tool_sql *t, muga_error *err) {
    int n = sqlite3_column_count(t->stmt);
    if (!t->exec && n == 0) {
        return error_set(err, MUGA_E_INPUT, "query gives no rows; use exec");
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++) {
            const char *a = sqlite3_column_name(t->stmt, i), *b = sqlite3_column_name(t->stmt, k);
            if (!a || !b) {
                return error_nomem(err, "a column");
            }
            if (strcmp(a, b) == 0) {
                return error_set(err, MUGA_E_INPUT, "two columns are called %s; name one with AS", a);
            }
        }
    }
    return MUGA_OK;
}

static muga_status prepare(tool_sql *t, const char *sql, muga_error *err) {
    const char *tail = "";
    int rc = sqlite3_prepare_v3(t->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &t->stmt, &tail);
    if (rc != SQLITE_OK && t->denied) {
        return error_set(err, MUGA_E_INPUT, "%s under effect: %s; a tool works on rows, through one statement",
                         sqlite3_errmsg(t->db), t->def->effect == EFFECT_WRITE ? "write" : "read");
    }
    if (rc != SQLITE_OK) {
        return open_failed(t, rc, err);
    }
    if (!t->stmt) {
        return error_set(err, MUGA_E_INPUT, "holds no statement");
    }
    if (!tail_is_empty(t, tail)) {
        return error_set(err, MUGA_E_INPUT, "holds more than one statement; a tool is one");
    }
    if (sqlite3_stmt_isexplain(t->stmt)) {
        return error_set(err, MUGA_E_INPUT, "EXPLAIN is no tool");
    }
    bool reads = sqlite3_stmt_readonly(t->stmt);
    if (!reads && !t->changes_rows) { /* VACUUM asks nobody */
        return error_set(err, MUGA_E_INPUT, "changes no rows; a tool works on rows");
    }
    if (!reads && t->def->effect == EFFECT_READ) {
        return error_set(err, MUGA_E_INPUT, "changes data; say effect: write");
    }
    return MUGA_OK;
}

static void close_tool(void *tool) {
    tool_sql *t = tool;
    if (t) {
        sqlite3_finalize(t->stmt);
        sqlite3_close(t->db);
        free(t->path);
        free(t);
    }
}

static muga_status check_keys(tool_setup *s, const json_t *sql, muga_error *err) {
    bool query = json_object_get(sql, "query"), exec = json_object_get(sql, "exec");
    snprintf(s->place, sizeof s->place, "/sql%s", exec ? "/exec" : query ? "/query" : "");
    if (query == exec) {
        return error_set(err, MUGA_E_INPUT, "needs either query or exec");
    }
    if (exec && s->def->effect == EFFECT_READ) {
        return error_set(err, MUGA_E_INPUT, "exec changes data; say effect: write, or use query");
    }
    return MUGA_OK;
}

/* Everything that SQLite can say of the statement before it runs. */
static muga_status prepare_all(tool_sql *t, const manifest *m, const char *text, muga_error *err) {
    muga_status st = find_database(t, m, err);
    if (st == MUGA_OK) {
        st = open_connection(t, err);
    }
    if (st == MUGA_OK) {
        st = refuse_own_store(t, err);
    }
    if (st == MUGA_OK) {
        st = prepare(t, text, err);
    }
    if (st == MUGA_OK) {
        st = check_names(t, m, err);
    }
    if (st == MUGA_OK) {
        st = check_columns(t, err);
    }
    if (st == MUGA_OK && t->def->effect == EFFECT_WRITE && sqlite3_db_readonly(t->db, "main") == 1) {
        st = error_set(err, MUGA_E_ENV, "database %s is read-only; give this user the right to write it", t->path);
    }
    return st;
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    const json_t *sql = json_object_get(s->def->json, "sql");
    muga_status st = check_keys(s, sql, err);
    tool_sql *t = st == MUGA_OK ? calloc(1, sizeof *t) : NULL;
    if (!t) {
        return st == MUGA_OK ? error_nomem(err, "a tool") : st;
    }
    const char *exec = json_get_string(sql, "exec");
    t->env = s->env;
    t->def = s->def;
    t->exec = exec != NULL;
    t->exactly_once = t->def->effect == EFFECT_WRITE && json_get_bool(sql, "exactly_once", true);
    bool long_is_fine = t->def->shown_bytes < t->def->max_result_bytes;
    t->max_rows = json_get_int(sql, "max_rows", long_is_fine ? ROWS_LONG_DEFAULT : ROWS_DEFAULT);
    st = prepare_all(t, s->m, exec ? exec : json_get_string(sql, "query"), err);
    if (st == MUGA_OK) {
        *out = t;
    } else {
        close_tool(t);
    }
    return st;
}

/* ---- binding ---- */

static int bind_value(tool_sql *t, int i, const json_t *v) {
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_STRING:
        return sqlite3_bind_text64(t->stmt, i, json_string_value(v), json_string_length(v), SQLITE_TRANSIENT,
                                   SQLITE_UTF8);
    case JSON_INTEGER: return sqlite3_bind_int64(t->stmt, i, json_integer_value(v));
    case JSON_REAL: return sqlite3_bind_double(t->stmt, i, json_real_value(v));
    case JSON_TRUE: return sqlite3_bind_int(t->stmt, i, 1);
    case JSON_FALSE: return sqlite3_bind_int(t->stmt, i, 0);
    case JSON_NULL: return sqlite3_bind_null(t->stmt, i);
    default: break;
    }
    str text = STR_INIT; /* an object or array: JSON text, for json_each and friends */
    json_write_canonical(v, &text);
    int rc = text.failed ? SQLITE_NOMEM
                         : sqlite3_bind_text64(t->stmt, i, str_get(&text), text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
    str_release(&text);
    return rc;
}

static int bind_all(tool_sql *t, const json_t *arguments, const json_t *session) {
    int rc = sqlite3_reset(t->stmt);
    sqlite3_clear_bindings(t->stmt);
    rc = SQLITE_OK;
    for (int i = 1; rc == SQLITE_OK && i <= sqlite3_bind_parameter_count(t->stmt); i++) {
        const char *name = sqlite3_bind_parameter_name(t->stmt, i) + 1;
        bool of_session = strncmp(name, PREFIX, strlen(PREFIX)) == 0;
        rc = bind_value(
            t, i, of_session ? json_object_get(session, name + strlen(PREFIX)) : json_object_get(arguments, name));
    }
    return rc;
}

/* ---- results ---- */

static bool fail_sql(tool_sql *t, tool_run *out, int rc) {
    if (t->out_of_time) {
        return tool_fail(out, "stopped after %lld ms (timeout_ms); make the statement cheaper or the time longer",
                         (long long)t->def->timeout_ms);
    }
    switch (rc & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return tool_fail(out, "database %.120s is locked by another program; try again later", t->path);
    case SQLITE_FULL: return tool_fail(out, "database %.120s: the disk is full; free space", t->path);
    case SQLITE_READONLY: return tool_fail(out, "database %.120s is read-only", t->path);
    case SQLITE_NOMEM: return tool_fail(out, "out of memory");
    default: return tool_fail(out, "database: %.200s", sqlite3_errmsg(t->db));
    }
}

/* A cell that JSON can't hold faithfully is an error by name, never something that looks like data. */
static json_t *read_cell(tool_sql *t, int i, tool_run *out) {
    const char *name = sqlite3_column_name(t->stmt, i), *p;
    json_t *v = NULL;
    switch (sqlite3_column_type(t->stmt, i)) {
    case SQLITE_INTEGER: v = json_integer(sqlite3_column_int64(t->stmt, i)); break;
    case SQLITE_FLOAT:
        if (!isfinite(sqlite3_column_double(t->stmt, i))) {
            tool_fail(out, "column %.80s is infinite, which JSON can't say", name);
            return NULL;
        }
        v = json_real(sqlite3_column_double(t->stmt, i));
        break;
    case SQLITE_TEXT:
        p = (const char *)sqlite3_column_text(t->stmt, i);
        v = p ? json_stringn(p, (size_t)sqlite3_column_bytes(t->stmt, i)) : NULL;
        if (p && !v) {
            tool_fail(out, "column %.80s is not UTF-8 text; select hex() of it", name);
            return NULL;
        }
        break;
    case SQLITE_BLOB: tool_fail(out, "column %.80s holds bytes, not text; select hex() of it", name); return NULL;
    default: v = json_null(); break;
    }
    if (!v) {
        tool_fail(out, "out of memory");
    }
    return v;
}

static bool read_row(tool_sql *t, json_t *rows, size_t *n_bytes, tool_run *out) {
    if ((int64_t)json_array_size(rows) >= t->max_rows) {
        return tool_fail(out, "more than %lld rows (sql.max_rows); narrow the statement", (long long)t->max_rows);
    }
    json_t *row = json_object();
    if (!row || json_array_append_new(rows, row) != 0) {
        return tool_fail(out, "out of memory");
    }
    for (int i = 0; i < sqlite3_column_count(t->stmt); i++) {
        *n_bytes += (size_t)sqlite3_column_bytes(t->stmt, i) + strlen(sqlite3_column_name(t->stmt, i)) + 4;
        if (*n_bytes > t->def->max_result_bytes) {
            return tool_fail(out, "the result is longer than %zu bytes (max_result_bytes); narrow the statement",
                             t->def->max_result_bytes);
        }
        json_t *v = read_cell(t, i, out);
        if (!v) {
            return false;
        }
        if (json_object_set_new(row, sqlite3_column_name(t->stmt, i), v) != 0) {
            return tool_fail(out, "a column's name is not UTF-8");
        }
    }
    return true;
}

/* {"rows": [...]}, and for a write {"changed": n}. */
static bool run_statement(tool_sql *t, const json_t *arguments, const json_t *session, tool_run *out) {
    json_t *rows = json_array();
    size_t n_bytes = 0;
    int64_t before = sqlite3_total_changes64(t->db);
    int rc = rows ? bind_all(t, arguments, session) : SQLITE_NOMEM;
    bool ok = rc == SQLITE_OK || fail_sql(t, out, rc);
    while (ok && (rc = sqlite3_step(t->stmt)) == SQLITE_ROW) {
        ok = read_row(t, rows, &n_bytes, out);
    }
    if (ok && rc != SQLITE_DONE) {
        ok = fail_sql(t, out, rc);
    }
    sqlite3_reset(t->stmt);
    if (ok) {
        json_int_t changed = sqlite3_total_changes64(t->db) - before;
        out->result = t->def->effect == EFFECT_READ ? json_pack("{s:O}", "rows", rows)
                      : t->exec && json_array_size(rows) == 0
                          ? json_pack("{s:I}", "changed", changed)
                          : json_pack("{s:I, s:O}", "changed", changed, "rows", rows);
        ok = out->result ? true : tool_fail(out, "out of memory");
    }
    json_decref(rows);
    return ok;
}

/* ---- exactly once ---- */

#define NOTE_TABLE "CREATE TABLE IF NOT EXISTS muga_calls(call TEXT PRIMARY KEY NOT NULL, result TEXT NOT NULL)"

/* The result noted for a call: SQLITE_ROW and *result, or SQLITE_DONE, or an error. A database without the table has
 * no calls. */
static int read_note(tool_sql *t, const char *call, json_t **result) {
    sqlite3_stmt *stmt = NULL;
    t->own_statement = true;
    int rc = sqlite3_prepare_v2(t->db, "SELECT 1 FROM sqlite_schema WHERE name='muga_calls'", -1, &stmt, NULL);
    rc = rc == SQLITE_OK ? sqlite3_step(stmt) : rc;
    sqlite3_finalize(stmt);
    stmt = NULL;
    if (rc == SQLITE_ROW) {
        rc = sqlite3_prepare_v2(t->db, "SELECT result FROM muga_calls WHERE call=?", -1, &stmt, NULL);
        rc = rc == SQLITE_OK ? sqlite3_bind_text(stmt, 1, call, -1, SQLITE_TRANSIENT) : rc;
        rc = rc == SQLITE_OK ? sqlite3_step(stmt) : rc;
        if (rc == SQLITE_ROW) {
            const char *p = (const char *)sqlite3_column_text(stmt, 0);
            if (!p || json_parse(p, (size_t)sqlite3_column_bytes(stmt, 0), "muga_calls", result, NULL) != MUGA_OK) {
                rc = SQLITE_CORRUPT;
            }
        }
        sqlite3_finalize(stmt);
    }
    t->own_statement = false;
    return rc;
}

static int write_note(tool_sql *t, const char *call, const json_t *result) {
    str text = STR_INIT;
    json_write(result, &text);
    sqlite3_stmt *stmt = NULL;
    t->own_statement = true;
    int rc = text.failed
                 ? SQLITE_NOMEM
                 : sqlite3_prepare_v2(t->db, "INSERT INTO muga_calls(call, result) VALUES (?, ?)", -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_text(stmt, 1, call, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text64(stmt, 2, str_get(&text), text.len, SQLITE_TRANSIENT, SQLITE_UTF8);
        rc = sqlite3_step(stmt);
        rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
    }
    sqlite3_finalize(stmt);
    t->own_statement = false;
    str_release(&text);
    return rc;
}

/* One transaction: look, run, note, commit. Any failure before the commit leaves the database as it was. */
static bool run_write(tool_sql *t, const char *call, const json_t *arguments, const json_t *session, tool_run *out) {
    int rc = run_own(t, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) {
        return fail_sql(t, out, rc);
    }
    bool ok = true, ran = false;
    if (t->exactly_once) {
        rc = run_own(t, NOTE_TABLE);
        rc = rc == SQLITE_OK ? read_note(t, call, &out->result) : rc;
        ran = rc == SQLITE_ROW;
        ok = ran || rc == SQLITE_DONE || fail_sql(t, out, rc);
    }
    if (ok && !ran) {
        ok = run_statement(t, arguments, session, out);
        rc = ok && t->exactly_once ? write_note(t, call, out->result) : SQLITE_OK;
        ok = ok && (rc == SQLITE_OK || fail_sql(t, out, rc));
    }
    if (ok) {
        rc = run_own(t, "COMMIT");
        ok = rc == SQLITE_OK || fail_sql(t, out, rc);
    }
    if (!ok) {
        if (!sqlite3_get_autocommit(t->db)) {
            sqlite3_progress_handler(t->db, 0, NULL, NULL); /* out of time or not, the rollback is not stopped */
            run_own(t, "ROLLBACK");
            sqlite3_progress_handler(t->db, STEPS_BETWEEN_LOOKS, look_at_clock, t);
        }
        json_decref(out->result);
        out->result = NULL;
    }
    return ok;
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    tool_sql *t = tool;
    start_clock(t);
    out->ok = t->def->effect == EFFECT_WRITE ? run_write(t, c->id, c->arguments, c->values, out)
                                             : run_statement(t, c->arguments, c->values, out);
    sqlite3_db_release_memory(t->db); /* pages: 80 KiB of an agent that may be idle for hours */
}

/* Only where the statement can't write or exactly_once is on: the others are never settled. */
static muga_status settle_call(void *tool, const tool_call *c, const json_t *prepared, tool_settled *settled,
                               json_t **result, muga_error *err) {
    tool_sql *t = tool;
    (void)prepared; /* the note in its own database tells */
    *result = NULL;
    *settled = SETTLED_UNKNOWN;
    if (t->def->effect == EFFECT_READ) {
        *settled = SETTLED_NOT_RUN; /* it could change nothing */
        return MUGA_OK;
    }
    if (!t->exactly_once) {
        return MUGA_OK;
    }
    start_clock(t);
    int rc = read_note(t, c->id, result);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return open_failed(t, rc, err);
    }
    *settled = rc == SQLITE_ROW ? SETTLED_RAN : SETTLED_NOT_RUN;
    return MUGA_OK;
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char sql_schema[] =
    "{\n"
    "            \"type\": \"object\", \"required\": [\"database\"], \"additionalProperties\": false,\n"
    "            \"properties\": {\n"
    "              \"database\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, "
    "\"description\": \"an SQLite file in the agent's folder\"},\n"
    "              \"query\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 100000},\n"
    "              \"exec\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 100000},\n"
    "              \"exactly_once\": {\"type\": \"boolean\"},\n"
    "              \"max_rows\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 100000}\n"
    "            }\n"
    "          }";

const tool_kind tool_kind_sql = {.keys = {{"sql", sql_schema}},
                                 .concurrent = true,
                                 .open = open_tool,
                                 .run = run_call,
                                 .settle = settle_call,
                                 .close = close_tool};
