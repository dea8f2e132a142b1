/* SQLite behind a small face. Owns: the connection, its settings, migrations, the cache of prepared statements.
 * Refuses: a store of a newer program, a database of another program, anything less than WAL with full sync.
 *
 * Idea: every failure of SQLite passes through store_fail, which knows what a person can do about it, so that no caller
 * ever prints an SQLite code. */
#include "store/store.h"

#include "base/mem.h"
#include "store/claims.h"
#include "store/schema.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#define BUSY_MS_DEFAULT 5000
#define STATEMENTS_MAX 96          /* distinct SQL texts kept prepared */
#define VALUE_MAX_BYTES (80 << 20) /* one text or blob; a result and its wrapping fit */

struct store_row {
    store *owner;
    sqlite3_stmt *stmt;
    const char *sql; /* the literal's address: the key */
    bool busy, kept;
};

struct store {
    sqlite3 *db;
    char *path;
    claims *claims; /* NULL: none was taken yet */
    bool in_transaction;
    void (*watch)(void *ctx, store_moment m);
    void *watch_ctx;
    muga_status lost; /* in a transaction: why SQLite has rolled it back by itself, or MUGA_OK */
    int n_rows;
    store_row rows[STATEMENTS_MAX];
};

/* ---- errors ---- */

static bool is_full(store *s, int rc) {
    int e = sqlite3_system_errno(s->db);
    return (rc & 0xFF) == SQLITE_FULL || ((rc & 0xFF) == SQLITE_IOERR && (e == ENOSPC || e == EDQUOT || e == EFBIG));
}

static muga_status store_fail(store *s, int rc, muga_error *err) {
    const char *p = s->path;
    switch (rc & 0xFF) {
    case SQLITE_NOMEM: return error_nomem(err, p);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, MUGA_E_ENV, "%s: locked by another program; wait for it or end it, then try again", p);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return error_set(err, MUGA_E_ENV, "%s: read-only; give this user the right to write it and its folder", p);
    case SQLITE_CANTOPEN:
        return error_set(err, MUGA_E_ENV, "%s: can't be opened; check that its folder exists and can be written", p);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(err, MUGA_E_ENV,
                         "%s: damaged or not a database; restore a copy, or move it away to begin anew", p);
    default: break;
    }
    if (is_full(s, rc)) {
        return error_set(err, MUGA_E_ENV, "%s: the disk is full; free space, then try again (nothing was lost)", p);
    }
    if ((rc & 0xFF) == SQLITE_IOERR) {
        int why = sqlite3_system_errno(s->db); /* 0 where a later call went well, as when a limit cut a write short */
        return error_set(err, MUGA_E_ENV, "%s: the disk failed (%s); check it, then try again", p,
                         why ? strerror(why) : "or a limit on the size of files, ulimit -f");
    }
    if ((rc & 0xFF) == SQLITE_TOOBIG) {
        return error_set(err, MUGA_E_LIMIT, "%s: a value is longer than the %d MiB a record may hold", p,
                         VALUE_MAX_BYTES >> 20);
    }
    if ((rc & 0xFF) ==
        SQLITE_ERROR) { /* our own statements are right: what they name is gone or other than we made it */
        return error_set(err, MUGA_E_ENV, "%s: damaged (%.120s); restore a copy, or move it away to begin anew", p,
                         sqlite3_errmsg(s->db));
    }
    return error_set(err, MUGA_E_INTERNAL, "%s: %s", p, sqlite3_errmsg(s->db));
}

/* ---- opening ---- */

static muga_status run_script(store *s, const char *sql, muga_error *err) {
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? MUGA_OK : store_fail(s, rc, err);
}

/* One integer from a statement without parameters; not cached. */
static muga_status read_int(store *s, const char *sql, int64_t *out, muga_error *err) {
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? MUGA_OK : store_fail(s, rc, err);
}

/* Switching to WAL needs the file alone for a moment and may not wait by itself. */
static muga_status set_wal(store *s, int64_t busy_ms, muga_error *err) {
    int rc = SQLITE_BUSY;
    for (int64_t waited = 0; waited <= busy_ms; waited += 20) {
        sqlite3_stmt *stmt = NULL;
        bool wal = false;
        rc = sqlite3_prepare_v2(s->db, "PRAGMA journal_mode=WAL", -1, &stmt, NULL);
        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }
        if (rc == SQLITE_ROW) {
            const unsigned char *mode = sqlite3_column_text(stmt, 0);
            wal = mode && strcmp((const char *)mode, "wal") == 0;
        }
        sqlite3_finalize(stmt);
        if (rc == SQLITE_ROW) {
            return wal ? MUGA_OK
                       : error_set(err, MUGA_E_ENV,
                                   "%s: this file system can't hold a WAL database; keep it on a local disk", s->path);
        }
        if ((rc & 0xFF) != SQLITE_BUSY) {
            break;
        }
        sqlite3_sleep(20);
    }
    return store_fail(s, rc, err);
}

/* Inside a transaction, so that version and tables are of one moment. */
static muga_status check_owner(store *s, int64_t *version, muga_error *err) {
    int64_t id, n_tables;
    muga_status st = read_int(s, "PRAGMA application_id", &id, err);
    st = st == MUGA_OK ? read_int(s, "PRAGMA user_version", version, err) : st;
    st = st == MUGA_OK ? read_int(s, "SELECT count(*) FROM sqlite_schema", &n_tables, err) : st;
    if (st == MUGA_OK && id != STORE_APPLICATION_ID && (id != 0 || n_tables > 0)) {
        st = error_set(err, MUGA_E_ENV, "%s: a database of another program; name another place for muga's", s->path);
    }
    /* a version that its tables belie: running migrations would fail half-way, or stamp what was never made */
    if (st == MUGA_OK && (*version < 0 || (*version == 0) != (n_tables == 0))) {
        return error_set(err, MUGA_E_ENV,
                         "%s: damaged (schema %lld with %lld tables); restore a copy, or move it away to begin anew",
                         s->path, (long long)*version, (long long)n_tables);
    }
    if (st == MUGA_OK && *version > (int64_t)store_n_migrations) {
        st = error_set(err, MUGA_E_ENV, "%s: written by a newer muga (schema %lld, this one knows %zu); update muga",
                       s->path, (long long)*version, store_n_migrations);
    }
    return st;
}

/* Says whether this is a database at all, and ours, before anything is written. */
static muga_status look_first(store *s, int64_t *version, muga_error *err) {
    muga_status st = store_begin_read(s, err);
    if (st == MUGA_OK) {
        st = check_owner(s, version, err);
        store_end(s, &st, err);
    }
    return st;
}

/* All steps in one transaction; the version is read again inside it, since another process may have been first. */
static muga_status migrate(store *s, muga_error *err) {
    int64_t version = 0;
    muga_status st = store_begin(s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = check_owner(s, &version, err);
    for (size_t i = (size_t)version; st == MUGA_OK && i < store_n_migrations; i++) {
        st = run_script(s, store_migrations[i], err);
    }
    if (st == MUGA_OK) {
        char stamp[96];
        snprintf(stamp, sizeof stamp, "PRAGMA application_id=%d; PRAGMA user_version=%zu", STORE_APPLICATION_ID,
                 store_n_migrations);
        st = run_script(s, stamp, err);
    }
    store_end(s, &st, err);
    return st;
}

static muga_status configure(store *s, int64_t busy_ms, muga_error *err) {
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, (int)MIN(busy_ms, INT64_C(3600000)));
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, VALUE_MAX_BYTES);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (sqlite3_db_readonly(s->db, "main") == 1) {
        return store_fail(s, SQLITE_READONLY, err);
    }
    int64_t version = 0;
    muga_status st = look_first(s, &version, err);
    if (st == MUGA_OK) {
        st = set_wal(s, busy_ms, err);
    }
    if (st == MUGA_OK) {
        st = run_script(s, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON", err);
    }
    return st == MUGA_OK && version < (int64_t)store_n_migrations ? migrate(s, err) : st;
}

/* A new file is for its owner alone, and SQLite gives its log the same rights. Only where there is none: closing a
 * descriptor of a database that is open would drop its locks. A failure shows when SQLite opens it. */
static void create_private(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    }
}

muga_status store_open(const char *path, const store_options *options, store **out, muga_error *err) {
    *out = NULL;
    store *s = calloc(1, sizeof *s);
    char *copy = mem_copy_string(path);
    if (!s || !copy) {
        free(s);
        free(copy);
        return error_nomem(err, path);
    }
    s->path = copy;
    int64_t busy_ms = options && options->busy_ms > 0 ? options->busy_ms : BUSY_MS_DEFAULT;
    muga_status st;
    if (options && options->must_exist && access(path, F_OK) != 0) {
        st = error_set(err, MUGA_E_NOT_FOUND, "%s: not there; nothing has been recorded yet", path);
    } else {
        create_private(path);
        int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        st = rc == SQLITE_OK ? configure(s, busy_ms, err) : store_fail(s, rc, err);
    }
    if (st != MUGA_OK) {
        store_close(s);
        return st;
    }
    *out = s;
    return MUGA_OK;
}

void store_close(store *s) {
    if (!s) {
        return;
    }
    for (int i = 0; i < s->n_rows; i++) {
        sqlite3_finalize(s->rows[i].stmt);
    }
    sqlite3_close(s->db);
    claims_close(s->claims);
    free(s->path);
    free(s);
}

const char *store_path(const store *s) {
    return s->path;
}

/* ---- transactions ---- */

void store_watch(store *s, void (*on)(void *ctx, store_moment m), void *ctx) {
    s->watch = on;
    s->watch_ctx = ctx;
}

static void tell(const store *s, store_moment m) {
    if (s->watch) {
        s->watch(s->watch_ctx, m);
    }
}

static muga_status begin_as(store *s, const char *sql, muga_error *err) {
    assert(!s->in_transaction);
    tell(s, STORE_BEGINS);
    muga_status st = run_script(s, sql, err);
    s->in_transaction = st == MUGA_OK;
    s->lost = MUGA_OK;
    if (st != MUGA_OK) {
        tell(s, STORE_ENDED);
    }
    return st;
}

/* What is written to a file without a name is gone with its last handle, however often it is synced. */
static muga_status check_place(store *s, muga_error *err) {
    int moved = 0;
    if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK || !moved)
        return MUGA_OK;
    return error_set(err, MUGA_E_ENV,
                     "%s: moved or removed while it was open; put it back, or start muga again to begin a new one",
                     s->path);
}

muga_status store_begin(store *s, muga_error *err) {
    muga_status st = begin_as(s, "BEGIN IMMEDIATE", err);
    if (st != MUGA_OK)
        return st;
    st = check_place(s, err);
    if (st != MUGA_OK)
        store_end(s, &st, err);
    return st;
}

muga_status store_begin_read(store *s, muga_error *err) {
    return begin_as(s, "BEGIN", err);
}

void store_end(store *s, muga_status *st, muga_error *err) {
    assert(s->in_transaction);
    s->in_transaction = false;
    if (*st == MUGA_OK && s->lost != MUGA_OK) {
        *st = error_set(err, s->lost, "%s: the transaction was given up (no memory, or the disk); try again", s->path);
    } else if (*st == MUGA_OK) {
        tell(s, STORE_COMMITS);
        *st = run_script(s, "COMMIT", err);
        tell(s, STORE_COMMITTED);
    }
    /* SQLite may have rolled back by itself (full disk, damage); then there is nothing to do. */
    if (*st != MUGA_OK && !sqlite3_get_autocommit(s->db)) {
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    }
    tell(s, STORE_ENDED);
}

bool store_in_transaction(const store *s) {
    return s->in_transaction;
}

muga_status store_checkpoint(store *s, muga_error *err) {
    int rc = sqlite3_wal_checkpoint_v2(s->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK ? MUGA_OK : store_fail(s, rc, err);
}

/* ---- statements ---- */

static muga_status row_take(store *s, const char *sql, store_row **out, muga_error *err) {
    for (int i = 0; i < s->n_rows; i++) {
        if (s->rows[i].sql == sql && !s->rows[i].busy) {
            s->rows[i].busy = true;
            *out = &s->rows[i];
            return MUGA_OK;
        }
    }
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    if (rc != SQLITE_OK) {
        return store_fail(s, rc, err);
    }
    store_row *r;
    if (s->n_rows < STATEMENTS_MAX) {
        r = &s->rows[s->n_rows++];
        *r = (store_row){s, stmt, sql, true, true};
    } else { /* the cache is full: this one is prepared for this use only */
        r = malloc(sizeof *r);
        if (!r) {
            sqlite3_finalize(stmt);
            return error_nomem(err, "a statement");
        }
        *r = (store_row){s, stmt, sql, true, false};
    }
    *out = r;
    return MUGA_OK;
}

void store_done(store_row *r) {
    if (!r) {
        return;
    }
    if (!r->kept) {
        sqlite3_finalize(r->stmt);
        free(r);
        return;
    }
    sqlite3_reset(r->stmt);
    sqlite3_clear_bindings(r->stmt);
    r->busy = false;
}

static int bind_text(sqlite3_stmt *stmt, int i, const char *p, size_t n) {
    return p ? sqlite3_bind_text64(stmt, i, p, n, SQLITE_TRANSIENT, SQLITE_UTF8) : sqlite3_bind_null(stmt, i);
}

static int bind_json(sqlite3_stmt *stmt, int i, const json_t *v) {
    if (!v) {
        return sqlite3_bind_null(stmt, i);
    }
    str text = STR_INIT;
    json_write(v, &text);
    if (text.failed) {
        str_release(&text);
        return SQLITE_NOMEM;
    }
    size_t n = text.len;
    return sqlite3_bind_text64(stmt, i, str_take(&text), n, free, SQLITE_UTF8);
}

static int bind_all(sqlite3_stmt *stmt, const char *types, va_list args) {
    assert((int)strlen(types) == sqlite3_bind_parameter_count(stmt));
    int rc = SQLITE_OK;
    for (int i = 1; rc == SQLITE_OK && types[i - 1]; i++) {
        const char *s;
        const void *p;
        switch (types[i - 1]) {
        case 'i': rc = sqlite3_bind_int64(stmt, i, va_arg(args, int64_t)); break;
        case 'd': rc = sqlite3_bind_double(stmt, i, va_arg(args, double)); break;
        case 's':
            s = va_arg(args, const char *);
            rc = bind_text(stmt, i, s, s ? strlen(s) : 0);
            break;
        case 't':
            s = va_arg(args, const char *);
            rc = bind_text(stmt, i, s ? s : "", va_arg(args, size_t));
            break;
        case 'b':
            p = va_arg(args, const void *);
            rc = sqlite3_bind_blob64(stmt, i, p, va_arg(args, size_t), SQLITE_TRANSIENT);
            break;
        case 'j': rc = bind_json(stmt, i, va_arg(args, const json_t *)); break;
        case 'n': rc = sqlite3_bind_null(stmt, i); break;
        default: assert(!"unknown bind type");
        }
    }
    return rc;
}

static muga_status query_va(store *s, store_row **out, muga_error *err, const char *sql, const char *types,
                            va_list args) {
    *out = NULL;
    store_row *r = NULL;
    if (s->in_transaction && s->lost != MUGA_OK) { /* whoever passed over that error: alone this would be committed */
        return error_set(err, s->lost, "%s: the transaction was given up (no memory, or the disk); try again", s->path);
    }
    muga_status st = row_take(s, sql, &r, err);
    if (st != MUGA_OK) {
        return st;
    }
    int rc = bind_all(r->stmt, types, args);
    if (rc != SQLITE_OK) {
        store_done(r);
        return store_fail(s, rc, err);
    }
    *out = r;
    return MUGA_OK;
}

muga_status store_query(store *s, store_row **out, muga_error *err, const char *sql, const char *types, ...) {
    va_list args;
    va_start(args, types);
    muga_status st = query_va(s, out, err, sql, types, args);
    va_end(args);
    return st;
}

muga_status store_step(store_row *r, bool *has_row, muga_error *err) {
    int rc = sqlite3_step(r->stmt);
    *has_row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        return MUGA_OK;
    }
    muga_status st = store_fail(r->owner, rc, err);
    if (r->owner->in_transaction && sqlite3_get_autocommit(r->owner->db)) {
        r->owner->lost = st;
    }
    return st;
}

muga_status store_exec(store *s, int64_t *n_changed, muga_error *err, const char *sql, const char *types, ...) {
    store_row *r = NULL;
    va_list args;
    va_start(args, types);
    muga_status st = query_va(s, &r, err, sql, types, args);
    va_end(args);
    if (st != MUGA_OK) {
        return st;
    }
    bool has_row;
    st = store_step(r, &has_row, err);
    assert(!has_row);
    if (st == MUGA_OK && n_changed) {
        *n_changed = sqlite3_changes64(s->db);
    }
    store_done(r);
    return st;
}

int64_t store_int(store_row *r, int column) {
    return sqlite3_column_int64(r->stmt, column);
}

double store_double(store_row *r, int column) {
    return sqlite3_column_double(r->stmt, column);
}

bool store_is_null(store_row *r, int column) {
    return sqlite3_column_type(r->stmt, column) == SQLITE_NULL;
}

span store_text(store_row *r, int column) {
    const char *p = (const char *)sqlite3_column_text(r->stmt, column);
    return span_of(p ? p : "", p ? (size_t)sqlite3_column_bytes(r->stmt, column) : 0);
}

span store_blob(store_row *r, int column) {
    const void *p = sqlite3_column_blob(r->stmt, column);
    return span_of(p ? p : "", p ? (size_t)sqlite3_column_bytes(r->stmt, column) : 0);
}

const char *store_string(store_row *r, int column) {
    return (const char *)sqlite3_column_text(r->stmt, column);
}

muga_status store_json(store_row *r, int column, json_t **out, muga_error *err) {
    if (store_is_null(r, column)) {
        *out = json_null();
        return MUGA_OK;
    }
    span text = store_text(r, column);
    muga_status st = json_parse(text.p, text.n, r->owner->path, out, err);
    return st == MUGA_E_INPUT ? store_fail(r->owner, SQLITE_CORRUPT, err) : st;
}

/* ---- claims ---- */

muga_status store_claim_take(store *s, const char *name, store_claim **out, muga_error *err) {
    *out = NULL;
    muga_status st = s->claims ? MUGA_OK : claims_open(s->path, &s->claims, err);
    return st == MUGA_OK ? claims_take(s->claims, name, out, err) : st;
}
