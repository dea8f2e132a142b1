/* The index's file and its search. Owns: the SQLite file, what is up to date in it, the ranking. Refuses: a file that
 * is no index, links, files that are not text.
 *
 * Idea: the file system is looked at first and the index written only when something changed, in one transaction; so a
 * search in an unchanged folder only reads, and an interrupted update leaves the index as it was. Ranks are fused, not
 * scores: BM25 and cosines have no common scale. Source: Cormack, Clarke, Buettcher 2009, reciprocal rank fusion. */
#include "agent/search_index.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "os/sandbox.h"

#include <ctype.h>
#include <sqlite3.h>
#include <stdlib.h>

#define APPLICATION_ID "1836279396" /* "mshd" */
#define FORM "1"
enum { MAX_WORDS = 32, RANK_BASE = 60, BUSY_MS = 5000 };

struct search_index {
    sqlite3 *db;
    search_source source;
    char *path;
    uint32_t n_dim; /* of a vector; 0 without a model */
    char model_id[SHA256_HEX];
    muga_status fault; /* of a question whose answer can't tell one: the first; settle() reports it */
    muga_error why;
};

static const char schema[] =
    "PRAGMA application_id = " APPLICATION_ID "; PRAGMA user_version = " FORM ";"
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE files(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, digest BLOB NOT NULL, is_text INTEGER NOT NULL);"
    "CREATE TABLE chunks(id INTEGER PRIMARY KEY, file INTEGER NOT NULL, line_from INTEGER NOT NULL,"
    " line_to INTEGER NOT NULL, heading TEXT NOT NULL, text TEXT NOT NULL, vector BLOB);"
    "CREATE INDEX chunks_of_file ON chunks(file);"
    "CREATE VIRTUAL TABLE words USING fts5(heading, text, content='chunks', content_rowid='id',"
    " tokenize=\"unicode61 remove_diacritics 2\");";

/* ---- SQLite ---- */

static muga_status failed(const search_index *x, muga_error *err) {
    int code = sqlite3_errcode(x->db) & 0xFF;
    if (code == SQLITE_NOMEM) {
        return error_nomem(err, "a search index");
    }
    bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    return error_set(err, damaged ? MUGA_E_INPUT : MUGA_E_ENV, "search index %.100s: %.80s; %s", x->path,
                     sqlite3_errmsg(x->db), damaged ? "delete it, and it is made again" : "check disk and rights");
}

/* Did the statement give a row? A fault is kept for settle(): no row must not be read as an answer then. */
static bool has_row(search_index *x, sqlite3_stmt *s) {
    int rc = s ? sqlite3_step(s) : SQLITE_ERROR;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE && x->fault == MUGA_OK) {
        x->fault = failed(x, &x->why);
    }
    return rc == SQLITE_ROW;
}

/* `st`, or the fault that was kept. */
static muga_status settle(search_index *x, muga_status st, muga_error *err) {
    if (st == MUGA_OK && x->fault != MUGA_OK) {
        st = error_set(err, x->fault, "%s", x->why.message);
    }
    x->fault = MUGA_OK;
    return st;
}

static muga_status exec(search_index *x, const char *sql, muga_error *err) {
    return sqlite3_exec(x->db, sql, NULL, NULL, NULL) == SQLITE_OK ? MUGA_OK : failed(x, err);
}

/* A statement with its values: t span | i int64_t | b (const void *, int). They must live until it is finalized. */
static sqlite3_stmt *prepare(search_index *x, const char *sql, const char *types, ...) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(x->db, sql, -1, &s, NULL) != SQLITE_OK) {
        return NULL;
    }
    va_list args;
    va_start(args, types);
    for (int i = 0; types[i]; i++) {
        if (types[i] == 't') {
            span t = va_arg(args, span);
            sqlite3_bind_text(s, i + 1, t.n > 0 ? t.p : "", (int)t.n, SQLITE_STATIC);
        } else if (types[i] == 'b') {
            const void *p = va_arg(args, const void *);
            sqlite3_bind_blob(s, i + 1, p, va_arg(args, int), SQLITE_STATIC);
        } else {
            sqlite3_bind_int64(s, i + 1, va_arg(args, int64_t));
        }
    }
    va_end(args);
    return s;
}

/* Runs it to its end, and finalizes it. */
static muga_status finish(search_index *x, sqlite3_stmt *s, muga_error *err) {
    int rc = s ? sqlite3_step(s) : SQLITE_ERROR;
    muga_status st = rc == SQLITE_DONE || rc == SQLITE_ROW ? MUGA_OK : failed(x, err);
    sqlite3_finalize(s);
    return st;
}

static int64_t first_int(search_index *x, const char *sql, int64_t otherwise) {
    sqlite3_stmt *s = prepare(x, sql, "");
    int64_t v = has_row(x, s) ? sqlite3_column_int64(s, 0) : otherwise;
    sqlite3_finalize(s);
    return v;
}

/* ---- opening ---- */

static bool meta_is(search_index *x, const char *key, const char *value) {
    sqlite3_stmt *s =
        prepare(x, "SELECT value = ?2 FROM meta WHERE key = ?1", "tt", span_of_string(key), span_of_string(value));
    bool is = has_row(x, s) && sqlite3_column_int(s, 0) == 1;
    sqlite3_finalize(s);
    return is;
}

static muga_status set_meta(search_index *x, const char *key, const char *value, muga_error *err) {
    return finish(
        x, prepare(x, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", "tt", span_of_string(key), span_of_string(value)),
        err);
}

/* Tables of this form, empty unless they are of this folder; vectors of this model alone. Inside a transaction. */
static muga_status make_tables(search_index *x, muga_error *err) {
    int64_t id = first_int(x, "PRAGMA application_id", -1), form = first_int(x, "PRAGMA user_version", -1);
    if (x->fault != MUGA_OK) {
        return settle(x, MUGA_OK, err);
    }
    if (first_int(x, "SELECT count(*) FROM sqlite_schema", 0) > 0 &&
        (id != atoll(APPLICATION_ID) || form != atoll(FORM))) {
        return error_set(err, MUGA_E_INPUT, "%.160s is no search index of this version; move it away", x->path);
    }
    muga_status st = id == 0 ? exec(x, schema, err) : MUGA_OK;
    if (st == MUGA_OK && !meta_is(x, "folder", x->source.folder)) {
        st = exec(x, "INSERT INTO words(words) VALUES ('delete-all'); DELETE FROM chunks; DELETE FROM files", err);
        if (st == MUGA_OK) {
            st = set_meta(x, "folder", x->source.folder, err);
        }
    }
    if (st == MUGA_OK && !meta_is(x, "model", x->model_id)) {
        st = exec(x, "UPDATE chunks SET vector = NULL WHERE vector IS NOT NULL", err);
        if (st == MUGA_OK) {
            st = set_meta(x, "model", x->model_id, err);
        }
    }
    return st;
}

static bool is_current(search_index *x) {
    return first_int(x, "PRAGMA application_id", 0) == atoll(APPLICATION_ID) &&
           first_int(x, "PRAGMA user_version", 0) == atoll(FORM) && meta_is(x, "folder", x->source.folder) &&
           meta_is(x, "model", x->model_id);
}

static muga_status end_transaction(search_index *x, muga_status st, muga_error *err) {
    st = settle(x, st, err);
    if (st == MUGA_OK) {
        return exec(x, "COMMIT", err);
    }
    sqlite3_exec(x->db, "ROLLBACK", NULL, NULL, NULL); /* the first fault is the one to report */
    return st;
}

muga_status search_index_open(const char *path, const search_source *source, search_index **out, muga_error *err) {
    search_index *x = calloc(1, sizeof *x);
    *out = NULL;
    if (!x) {
        return error_nomem(err, "a search index");
    }
    x->source = *source;
    x->path = mem_copy_string(path);
    muga_status st = x->path ? MUGA_OK : error_nomem(err, "a search index");
    if (st == MUGA_OK && source->embedder) {
        st = source->embedder->open(source->embedder->self, source->model, &x->n_dim, x->model_id, err);
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (st == MUGA_OK && sqlite3_open_v2(path, &x->db, flags, NULL) != SQLITE_OK) {
        st = x->db ? failed(x, err) : error_nomem(err, "a search index");
    }
    if (st == MUGA_OK) {
        sqlite3_busy_timeout(x->db, BUSY_MS);
        sqlite3_db_config(x->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(x->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    }
    if (st == MUGA_OK && !is_current(x)) {
        st = exec(x, "BEGIN IMMEDIATE", err);
        if (st == MUGA_OK) {
            st = end_transaction(x, make_tables(x, err), err);
        }
    }
    if (st != MUGA_OK) {
        search_index_close(x);
    } else {
        *out = x;
    }
    return st;
}

void search_index_close(search_index *x) {
    if (x) {
        sqlite3_close(x->db);
        free(x->path);
        free(x);
    }
}

/* ---- looking at the folder ---- */

typedef struct walk {
    search_index *x;
    json_t *found;   /* path -> true: all there are */
    json_t *changed; /* [[path, size, mtime_ns, ctime_ns]] */
    str path;        /* relative, of where we are */
    int depth;
    int64_t skipped;
    muga_error *err;
} walk;

static bool ends_right(const search_source *s, const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < s->n_ending; i++) {
        size_t k = strlen(s->endings[i]);
        if (n > k && strcmp(name + n - k, s->endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_known(search_index *x, const char *path, const os_stat *info) {
    sqlite3_stmt *s = prepare(x,
                              "SELECT 1 FROM files WHERE path = ?1 AND size = ?2 AND mtime_ns = ?3 AND ctime_ns = ?4",
                              "tiii", span_of_string(path), (int64_t)info->size, info->mtime_ns, info->ctime_ns);
    bool known = has_row(x, s);
    sqlite3_finalize(s);
    return known;
}

static muga_status visit(void *ctx, const char *name);

static muga_status visit_file(walk *w, const os_stat *info) {
    const char *path = str_get(&w->path);
    if (info->size > SEARCH_MAX_FILE_BYTES || !utf8_valid(path, w->path.len)) {
        w->skipped++;
        return MUGA_OK;
    }
    if (json_object_size(w->found) == SEARCH_MAX_FILES) {
        return error_set(w->err, MUGA_E_LIMIT, "search: %.120s holds more than %d files; name a smaller folder",
                         w->x->source.folder, SEARCH_MAX_FILES);
    }
    bool known = is_known(w->x, path, info);
    bool kept = json_object_set_new(w->found, path, json_true()) == 0 &&
                (known || json_array_append_new(w->changed, json_pack("[s, I, I, I]", path, (json_int_t)info->size,
                                                                      (json_int_t)info->mtime_ns,
                                                                      (json_int_t)info->ctime_ns)) == 0);
    return kept ? MUGA_OK : error_nomem(w->err, "a search");
}

/* Links are left out: one could lead out of the folder, or in a circle. */
static muga_status visit_place(walk *w, const char *name) {
    const os_files *f = w->x->source.files;
    str full = STR_INIT, real = STR_INIT;
    os_stat info;
    str_printf(&full, "%s/%s", w->x->source.folder, str_get(&w->path));
    muga_status st = f->stat(f->self, str_get(&full), &info, w->err);
    bool is_dir = st == MUGA_OK && info.type == OS_TYPE_DIR, is_file = st == MUGA_OK && info.type == OS_TYPE_FILE;
    if (st == MUGA_OK && (is_dir || (is_file && ends_right(&w->x->source, name)))) {
        st = os_real_path(str_get(&full), &real, w->err);
        if (st == MUGA_OK && strcmp(str_get(&real), str_get(&full)) != 0) {
            w->skipped++;
        } else if (st == MUGA_OK && is_dir && w->depth == SEARCH_MAX_DEPTH) {
            st = error_set(w->err, MUGA_E_LIMIT, "search: %.140s lies deeper than %d folders; name a smaller folder",
                           str_get(&full), SEARCH_MAX_DEPTH);
        } else if (st == MUGA_OK && is_dir) {
            w->depth++;
            st = f->list(f->self, str_get(&full), visit, w, w->err);
            w->depth--;
        } else if (st == MUGA_OK) {
            st = visit_file(w, &info);
        }
    }
    st = full.failed || real.failed || w->path.failed ? error_nomem(w->err, "a search") : st;
    str_release(&full);
    str_release(&real);
    return st == MUGA_E_NOT_FOUND ? MUGA_OK : st; /* it went away meanwhile, or is a link to nothing */
}

static muga_status visit(void *ctx, const char *name) {
    walk *w = ctx;
    size_t n = w->path.len;
    if (name[0] == '.') {
        return MUGA_OK;
    }
    str_printf(&w->path, "%s%s", n > 0 ? "/" : "", name);
    muga_status st = visit_place(w, name);
    str_truncate(&w->path, n);
    return st;
}

/* ---- bringing it up to date ---- */

static muga_status forget(search_index *x, const char *path, muga_error *err) {
    span p = span_of_string(path);
    static const char *const steps[] = {
        "INSERT INTO words(words, rowid, heading, text) SELECT 'delete', id, heading, text FROM chunks"
        " WHERE file = (SELECT id FROM files WHERE path = ?1)",
        "DELETE FROM chunks WHERE file = (SELECT id FROM files WHERE path = ?1)", "DELETE FROM files WHERE path = ?1"};
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < ARRAY_LEN(steps) && st == MUGA_OK; i++) {
        st = finish(x, prepare(x, steps[i], "t", p), err);
    }
    return st;
}

static muga_status add_chunks(search_index *x, int64_t file, const str *text, muga_error *err) {
    search_cursor c = search_begin(span_of(str_get(text), text->len));
    search_chunk k;
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && search_next(&c, &k)) {
        st =
            finish(x,
                   prepare(x, "INSERT INTO chunks(file, line_from, line_to, heading, text) VALUES (?1, ?2, ?3, ?4, ?5)",
                           "iiitt", file, k.line_from, k.line_to, k.heading, k.text),
                   err);
        if (st == MUGA_OK) {
            st = finish(x,
                        prepare(x, "INSERT INTO words(rowid, heading, text) VALUES (?1, ?2, ?3)", "itt",
                                (int64_t)sqlite3_last_insert_rowid(x->db), k.heading, k.text),
                        err);
        }
    }
    return st;
}

static bool same_digest(search_index *x, const char *path, const uint8_t digest[SHA256_BYTES]) {
    sqlite3_stmt *s =
        prepare(x, "SELECT digest = ?2 FROM files WHERE path = ?1", "tb", span_of_string(path), digest, SHA256_BYTES);
    bool same = has_row(x, s) && sqlite3_column_int(s, 0) == 1;
    sqlite3_finalize(s);
    return same;
}

/* One file, as the walk saw it. Gone since then: forgotten. */
static muga_status read_again(search_index *x, const json_t *seen, muga_error *err) {
    const char *path = json_string_value(json_array_get(seen, 0));
    int64_t size = json_integer_value(json_array_get(seen, 1)), mtime = json_integer_value(json_array_get(seen, 2)),
            ctime = json_integer_value(json_array_get(seen, 3));
    str full = STR_INIT, text = STR_INIT;
    uint8_t digest[SHA256_BYTES];
    str_printf(&full, "%s/%s", x->source.folder, path);
    muga_status st = str_status(&full, err, "a path");
    if (st == MUGA_OK) {
        st = os_read_file(x->source.files, str_get(&full), SEARCH_MAX_FILE_BYTES, &text, err);
    }
    if (st == MUGA_E_NOT_FOUND || st == MUGA_E_LIMIT) {
        st = forget(x, path, err);
    } else if (st == MUGA_OK) {
        sha256_of(str_get(&text), text.len, digest);
        if (same_digest(x, path, digest)) {
            st = finish(x,
                        prepare(x, "UPDATE files SET size = ?2, mtime_ns = ?3, ctime_ns = ?4 WHERE path = ?1", "tiii",
                                span_of_string(path), size, mtime, ctime),
                        err);
        } else {
            bool is_text = utf8_valid(str_get(&text), text.len) && !memchr(str_get(&text), '\0', text.len);
            st = forget(x, path, err);
            if (st == MUGA_OK) {
                st = finish(x,
                            prepare(x,
                                    "INSERT INTO files(path, size, mtime_ns, ctime_ns, digest, is_text)"
                                    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                                    "tiiibi", span_of_string(path), size, mtime, ctime, digest, SHA256_BYTES,
                                    (int64_t)is_text),
                            err);
            }
            if (st == MUGA_OK && is_text) {
                st = add_chunks(x, sqlite3_last_insert_rowid(x->db), &text, err);
            }
        }
    }
    str_release(&full);
    str_release(&text);
    return st;
}

/* Files that the index has and the folder hasn't: a list of paths. */
static muga_status find_gone(search_index *x, const json_t *found, json_t *gone, muga_error *err) {
    sqlite3_stmt *s = prepare(x, "SELECT path FROM files ORDER BY path", "");
    int rc = SQLITE_ERROR;
    bool kept = true;
    while (s && kept && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *path = (const char *)sqlite3_column_text(s, 0);
        kept = path && (json_object_get(found, path) || json_array_append_new(gone, json_string(path)) == 0);
    }
    muga_status st = !kept ? error_nomem(err, "a search") : rc == SQLITE_DONE ? MUGA_OK : failed(x, err);
    sqlite3_finalize(s);
    return st;
}

static bool is_late(const search_index *x) {
    return x->source.is_late && x->source.is_late(x->source.is_late_ctx);
}

static muga_status apply(search_index *x, const json_t *changed, const json_t *gone, search_report *out,
                         muga_error *err) {
    muga_status st = exec(x, "BEGIN IMMEDIATE", err);
    if (st != MUGA_OK) {
        return st;
    }
    for (size_t i = 0; i < json_array_size(gone) && st == MUGA_OK; i++) {
        st = forget(x, json_string_value(json_array_get(gone, i)), err);
    }
    for (size_t i = 0; i < json_array_size(changed) && st == MUGA_OK; i++) {
        if (is_late(x)) {
            out->left = (int64_t)(json_array_size(changed) - i);
            break;
        }
        st = read_again(x, json_array_get(changed, i), err);
        out->read++;
    }
    return end_transaction(x, st, err);
}

/* Of as much of the text's beginning as the model takes: passages are short, but a model may be, too. */
static muga_status embed_beginning(search_index *x, span text, float *vector, muga_error *err) {
    const agent_embedder *e = x->source.embedder;
    muga_status st;
    while ((st = e->embed(e->self, x->source.model, text, vector, err)) == MUGA_E_LIMIT && text.n > 64) {
        text.n /= 2;
        text.n -= utf8_incomplete_tail(text.p, text.n);
    }
    return st;
}

/* A vector for each passage that has none: of its heading and its text. */
static muga_status embed_new(search_index *x, search_report *out, muga_error *err) {
    int64_t n = first_int(x, "SELECT count(*) FROM chunks WHERE vector IS NULL", 0);
    float *vector = n > 0 ? mem_alloc_array(x->n_dim, sizeof *vector) : NULL;
    str text = STR_INIT;
    muga_status st = n > 0 && !vector ? error_nomem(err, "a vector") : MUGA_OK;
    for (; n > 0 && st == MUGA_OK && !is_late(x); n--) {
        sqlite3_stmt *s = prepare(x, "SELECT id, heading, text FROM chunks WHERE vector IS NULL LIMIT 1", "");
        int64_t id = -1;
        str_clear(&text);
        if (has_row(x, s)) {
            id = sqlite3_column_int64(s, 0);
            str_printf(&text, "%s\n%s", (const char *)sqlite3_column_text(s, 1),
                       (const char *)sqlite3_column_text(s, 2));
        }
        sqlite3_finalize(s);
        if (id < 0) {
            break; /* another process did it */
        }
        st = text.failed ? error_nomem(err, "a search")
                         : embed_beginning(x, span_of(str_get(&text), text.len), vector, err);
        if (st == MUGA_OK) {
            st = finish(x,
                        prepare(x, "UPDATE chunks SET vector = ?2 WHERE id = ?1", "ib", id, vector,
                                (int)(x->n_dim * sizeof *vector)),
                        err);
        }
    }
    out->left += n;
    str_release(&text);
    free(vector);
    return st;
}

muga_status search_index_update(search_index *x, search_report *out, muga_error *err) {
    const os_files *f = x->source.files;
    json_t *gone = json_array();
    walk w = {.x = x, .found = json_object(), .changed = json_array(), .path = STR_INIT, .err = err};
    *out = (search_report){0};
    memcpy(out->model_id, x->model_id, sizeof out->model_id);
    muga_status st = gone && w.found && w.changed ? f->list(f->self, x->source.folder, visit, &w, err)
                                                  : error_nomem(err, "a search");
    if (st == MUGA_OK) {
        st = find_gone(x, w.found, gone, err);
    }
    if (st == MUGA_OK && json_array_size(w.changed) + json_array_size(gone) > 0) {
        st = apply(x, w.changed, gone, out, err);
    }
    if (st == MUGA_OK && x->source.embedder) {
        st = embed_new(x, out, err);
    }
    out->n_file = first_int(x, "SELECT count(*) FROM files WHERE is_text", 0);
    out->n_chunk = first_int(x, "SELECT count(*) FROM chunks", 0);
    out->skipped = w.skipped + first_int(x, "SELECT count(*) FROM files WHERE NOT is_text", 0);
    str_release(&w.path);
    json_decref(w.found);
    json_decref(w.changed);
    json_decref(gone);
    return settle(x, st, err);
}

/* ---- searching ---- */

/* Letters, digits and everything past ASCII are words; FTS5 folds them. Each is quoted, so nothing a person writes is
 * an operator. False: no words. */
static bool match_of(const char *query, str *out) {
    int n = 0;
    for (const char *p = query; *p && n < MAX_WORDS;) {
        size_t k = 0;
        while (p[k] && (isalnum((unsigned char)p[k]) || (unsigned char)p[k] >= 0x80)) {
            k++;
        }
        if (k > 0) {
            str_printf(out, "%s\"%.*s\"", n++ > 0 ? " OR " : "", (int)k, p);
        }
        p += k > 0 ? k : 1;
    }
    return n > 0;
}

static void add_rank(search_hit *hits, size_t *n, int64_t id, int rank) {
    size_t i = 0;
    while (i < *n && hits[i].id != id) {
        i++;
    }
    if (i == *n) {
        hits[i] = (search_hit){.id = id, .order = (int)i};
        (*n)++;
    }
    hits[i].score += 1.0 / (RANK_BASE + rank);
}

static muga_status rank_words(search_index *x, const char *query, search_hit *hits, size_t *n, muga_error *err) {
    str match = STR_INIT;
    muga_status st = MUGA_OK;
    if (match_of(query, &match)) {
        sqlite3_stmt *s =
            prepare(x,
                    "SELECT w.rowid FROM words w JOIN chunks c ON c.id = w.rowid JOIN files f ON f.id = c.file"
                    " WHERE words MATCH ?1 ORDER BY bm25(words, 2.0, 1.0), f.path, c.line_from, c.id LIMIT ?2",
                    "ti", span_of(str_get(&match), match.len), (int64_t)SEARCH_LISTED);
        int rc = SQLITE_ERROR;
        for (int rank = 1; s && (rc = sqlite3_step(s)) == SQLITE_ROW; rank++) {
            add_rank(hits, n, sqlite3_column_int64(s, 0), rank);
        }
        st = rc == SQLITE_DONE ? MUGA_OK : failed(x, err);
        sqlite3_finalize(s);
    }
    st = match.failed ? error_nomem(err, "a search") : st;
    str_release(&match);
    return st;
}

/* The nearest of all vectors, by looking at each: a folder of a few thousand passages takes some milliseconds. */
static muga_status rank_meaning(search_index *x, const char *query, search_hit *hits, size_t *n, muga_error *err) {
    const agent_embedder *e = x->source.embedder;
    search_hit best[SEARCH_LISTED];
    int n_best = 0, rc = SQLITE_ERROR;
    float *q = mem_alloc_array(x->n_dim, sizeof *q);
    muga_status st = q ? e->embed(e->self, x->source.model, span_of_string(query), q, err)
                       : error_nomem(err, "a vector");
    sqlite3_stmt *s = st == MUGA_OK ? prepare(x,
                                              "SELECT c.id, c.vector FROM chunks c JOIN files f ON f.id = c.file"
                                              " WHERE c.vector IS NOT NULL ORDER BY f.path, c.line_from, c.id",
                                              "")
                                    : NULL;
    while (s && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const float *v = sqlite3_column_blob(s, 1);
        if ((size_t)sqlite3_column_bytes(s, 1) != x->n_dim * sizeof *v) {
            continue; /* a vector of another model: embed_new makes it again */
        }
        search_hit h = {.id = sqlite3_column_int64(s, 0)};
        for (uint32_t i = 0; i < x->n_dim; i++) {
            h.score += (double)q[i] * (double)v[i]; /* both of length 1 */
        }
        int at = n_best;
        while (at > 0 && best[at - 1].score < h.score) {
            at--;
        }
        if (at < SEARCH_LISTED) {
            n_best = MIN(n_best + 1, SEARCH_LISTED);
            memmove(best + at + 1, best + at, (size_t)(n_best - 1 - at) * sizeof *best);
            best[at] = h;
        }
    }
    st = st == MUGA_OK && rc != SQLITE_DONE ? failed(x, err) : st;
    sqlite3_finalize(s);
    free(q);
    for (int i = 0; i < n_best && st == MUGA_OK; i++) {
        add_rank(hits, n, best[i].id, i + 1);
    }
    return st;
}

static int by_score(const void *a, const void *b) {
    const search_hit *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : x->order - y->order;
}

muga_status search_index_find(search_index *x, const char *query, search_hit *hits, size_t *n, muga_error *err) {
    *n = 0;
    muga_status st = rank_words(x, query, hits, n, err);
    if (st == MUGA_OK && x->source.embedder) {
        st = rank_meaning(x, query, hits, n, err);
    }
    qsort(hits, *n, sizeof *hits, by_score);
    return st;
}

muga_status search_index_passage(search_index *x, int64_t id, json_t **out, muga_error *err) {
    sqlite3_stmt *s = prepare(x,
                              "SELECT f.path || ':' || c.line_from || '-' || c.line_to, c.heading, c.text FROM chunks c"
                              " JOIN files f ON f.id = c.file WHERE c.id = ?1",
                              "i", id);
    *out = NULL;
    bool found = s && sqlite3_step(s) == SQLITE_ROW;
    if (found) {
        *out = json_pack("{s:s, s:s, s:s}", "source", (const char *)sqlite3_column_text(s, 0), "heading",
                         (const char *)sqlite3_column_text(s, 1), "text", (const char *)sqlite3_column_text(s, 2));
    }
    sqlite3_finalize(s);
    return *out ? MUGA_OK : found ? error_nomem(err, "a search") : failed(x, err);
}
