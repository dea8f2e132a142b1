/* The audit chain. Owns: appending, walking, listing, replaying (audit_erase.c: erasing). Refuses: to append outside a
 * transaction, so that a record and the change it tells of are both there or both not.
 *
 * A record's body is canonical JSON, and its hash is SHA-256 of the body's bytes:
 *
 *   {"at_ms": .., "kind": "call", "n": 7, "payload": H(salt || payload), "prev": hash of n - 1, "session": id, "v": 1}
 *        |                                   |
 *        +-- audit(n, body, hash)            +-- audit_payload(n, salt, payload): may be erased, salt and all
 *
 * Invariants
 *  1. n runs 1, 2, 3 ... without gaps; prev of 1 is 64 zeros; audit_head holds the last n and hash.
 *  2. A salt is 32 random bytes used once, so a digest says nothing about an erased payload, however short it was.
 *  3. A missing payload is followed by a record of kind erasure that names its session; else the chain is broken.
 *  4. What the chain says of sessions, history, calls and approvals is what their tables say, unless erased
 *     (audit_tables.c).
 * Altering a record, its order, its payload, or cutting the tail breaks one of them; a signed checkpoint, which is what
 * tells against someone who recomputes the whole chain, comes with signing. */
#include "agent/internal.h"

#include <stdio.h>

#define SALT_BYTES 32
#define FORMAT 1

/* ---- append ---- */

/* *found false: the row is gone, or no longer holds a hash. */
static muga_status head_find(store *s, int64_t *n, uint8_t hash[SHA256_BYTES], bool *found, muga_error *err) {
    store_row *r;
    bool has = false;
    muga_status st = store_query(s, &r, err, "SELECT n, hash FROM audit_head WHERE one = 1", "");
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    *found = st == MUGA_OK && has && store_blob(r, 1).n == SHA256_BYTES;
    if (*found) {
        *n = store_int(r, 0);
        memcpy(hash, store_blob(r, 1).p, SHA256_BYTES);
    }
    store_done(r);
    return st;
}

static muga_status head_read(store *s, int64_t *n, uint8_t hash[SHA256_BYTES], muga_error *err) {
    bool found;
    muga_status st = head_find(s, n, hash, &found, err);
    return st != MUGA_OK || found
               ? st
               : error_set(err, MUGA_E_ENV, "%s: the audit chain has lost its head; restore a copy", store_path(s));
}

static void digest_payload(const uint8_t salt[SALT_BYTES], span payload, char hex[SHA256_HEX]) {
    uint8_t digest[SHA256_BYTES];
    sha256 h;
    sha256_init(&h);
    sha256_update(&h, salt, SALT_BYTES);
    sha256_update(&h, payload.p, payload.n);
    sha256_final(&h, digest);
    hex_write(digest, SHA256_BYTES, hex);
}

typedef struct record {
    int64_t n, at_ms;
    const char *kind, *session;
    uint8_t salt[SALT_BYTES];
} record;

static muga_status write_body(const record *x, const char *payload_hex, const uint8_t prev[SHA256_BYTES], str *out,
                              muga_error *err) {
    char prev_hex[SHA256_HEX];
    hex_write(prev, SHA256_BYTES, prev_hex);
    json_t *body = json_pack("{s:i, s:I, s:I, s:s, s:s?, s:s, s:s}", "v", FORMAT, "n", (json_int_t)x->n, "at_ms",
                             (json_int_t)x->at_ms, "kind", x->kind, "session", x->session, "prev", prev_hex, "payload",
                             payload_hex);
    if (!body) {
        return error_nomem(err, "an audit record");
    }
    json_write_canonical(body, out);
    json_decref(body);
    return str_status(out, err, "an audit record");
}

static muga_status insert_record(store *s, const record *x, const str *body, const str *payload, muga_error *err) {
    uint8_t hash[SHA256_BYTES];
    sha256_of(str_get(body), body->len, hash);
    muga_status st =
        store_exec(s, NULL, err, "INSERT INTO audit(n, body, hash, at_ms, kind, session) VALUES (?, ?, ?, ?, ?, ?)",
                   "itbiss", x->n, str_get(body), body->len, hash, sizeof hash, x->at_ms, x->kind, x->session);
    if (st == MUGA_OK) {
        st = store_exec(s, NULL, err, "INSERT INTO audit_payload(n, salt, payload) VALUES (?, ?, ?)", "ibt", x->n,
                        x->salt, sizeof x->salt, str_get(payload), payload->len);
    }
    if (st == MUGA_OK) {
        st = store_exec(s, NULL, err, "UPDATE audit_head SET n = ?, hash = ? WHERE one = 1", "ib", x->n, hash,
                        sizeof hash);
    }
    return st;
}

muga_status audit_write(const agent_env *env, store *s, const char *session, const char *kind, const json_t *payload,
                        muga_error *err) {
    record x = {.at_ms = env->clock->now_ms(env->clock->self), .kind = kind, .session = session};
    uint8_t prev[SHA256_BYTES];
    char payload_hex[SHA256_HEX];
    str text = STR_INIT, body = STR_INIT;
    if (!store_in_transaction(s)) {
        return error_set(err, MUGA_E_INTERNAL, "an audit record outside a transaction");
    }
    if (json_is_deeper(payload, JSON_MAX_DEPTH)) { /* could be written, and not be read again */
        return error_set(err, MUGA_E_LIMIT, "an audit record nested deeper than %d", JSON_MAX_DEPTH);
    }
    json_write_canonical(payload, &text);
    muga_status st = str_status(&text, err, "an audit record");
    if (st == MUGA_OK) {
        st = env->random(env->random_self, x.salt, sizeof x.salt, err);
    }
    if (st == MUGA_OK) {
        st = head_read(s, &x.n, prev, err);
    }
    if (st == MUGA_OK) {
        x.n++;
        digest_payload(x.salt, span_of(str_get(&text), text.len), payload_hex);
        st = write_body(&x, payload_hex, prev, &body, err);
    }
    if (st == MUGA_OK) {
        st = insert_record(s, &x, &body, &text, err);
    }
    str_release(&body);
    str_release(&text);
    return st;
}

muga_status audit_append(agent_session *s, const char *kind, const json_t *payload, const json_t *evidence,
                         muga_error *err) {
    static const char *const kinds[] = {"decision", "guard", "escalation", "note"};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        known = known || strcmp(kinds[i], kind) == 0;
    }
    if (!known || !json_is_object(payload)) {
        return error_set(err, MUGA_E_INTERNAL, "audit_append: '%s' is not for callers, or its payload no object", kind);
    }
    json_t *whole = json_clone(payload);
    if (!whole || (evidence && json_object_set(whole, "evidence", json_borrow(evidence)) != 0)) {
        json_decref(whole);
        return error_nomem(err, "an audit record");
    }
    muga_status st = store_begin(s->store, err);
    if (st == MUGA_OK) {
        st = audit_write(&s->env, s->store, s->id, kind, whole, err);
        store_end(s->store, &st, err);
    }
    json_decref(whole);
    return st;
}

/* ---- walking ---- */

typedef struct walker {
    store *s;
    audit_report *report;
    uint8_t prev[SHA256_BYTES];
    const audit_filter *filter;
    audit_replay_fn replay; /* NULL: verify only */
    void *replay_ctx;
    muga_error *err;
} walker;

static muga_status broken(walker *w, int64_t n, const char *what) {
    w->report->broken = n;
    return error_set(w->err, MUGA_E_NEGATIVE, "%s: audit record %lld: %s", store_path(w->s), (long long)n, what);
}

static bool in_filter(const audit_filter *f, int64_t n, const char *session) {
    return !f || ((!f->session || (session && strcmp(f->session, session) == 0)) && n >= f->from);
}

static muga_status check_erased(walker *w, int64_t n, const char *session) {
    store_row *r = NULL;
    bool has = false;
    w->report->n_erased++;
    muga_status st = store_query(w->s, &r, w->err,
                                 "SELECT 1 FROM audit WHERE session = ? AND n > ? AND kind = 'erasure' LIMIT 1", "si",
                                 session, n);
    if (st == MUGA_OK) {
        st = store_step(r, &has, w->err);
    }
    store_done(r);
    return st != MUGA_OK ? st : has ? MUGA_OK : broken(w, n, "its payload is missing, and no erasure was recorded");
}

static muga_status replay_one(walker *w, int64_t n, const char *session, const json_t *payload) {
    const json_t *evidence = json_object_get(payload, "evidence");
    if (!w->replay || !evidence || !in_filter(w->filter, n, session)) {
        return MUGA_OK;
    }
    w->report->n_evidence++;
    muga_status st = w->replay(w->replay_ctx, n, payload, evidence, w->err);
    if (st == MUGA_E_NEGATIVE) {
        w->report->broken = n;
        return error_prefix(w->err, st, "audit record %lld", (long long)n);
    }
    w->report->n_replayed += st == MUGA_OK;
    return st;
}

static muga_status check_payload(walker *w, store_row *r, int64_t n, const char *session, const char *want) {
    char hex[SHA256_HEX];
    span salt = store_blob(r, 3), text = store_text(r, 4);
    if (salt.n != SALT_BYTES) {
        return broken(w, n, "its salt has a wrong length");
    }
    digest_payload((const uint8_t *)salt.p, text, hex);
    if (strcmp(hex, want) != 0) {
        return broken(w, n, "its payload was changed");
    }
    json_t *payload = NULL;
    if (json_parse(text.p, text.n, "payload", &payload, NULL) != MUGA_OK) {
        return broken(w, n, "its payload is not JSON");
    }
    muga_status st = replay_one(w, n, session, payload);
    json_decref(payload);
    return st;
}

/* The columns to search by say what the body says. */
static bool columns_agree(store_row *r, const json_t *body, const char *kind, const char *session) {
    const char *column = store_string(r, 7);
    return store_int(r, 5) == json_get_int(body, "at_ms", -1) && strcmp(store_string(r, 6), kind) == 0 &&
           (column && session ? strcmp(column, session) == 0 : !column && !session);
}

/* Columns: n, body, hash, salt, payload, at_ms, kind, session. */
static muga_status check_record(walker *w, store_row *r) {
    int64_t n = store_int(r, 0), expected = w->report->n_records + 1;
    span body_text = store_text(r, 1), stored = store_blob(r, 2);
    uint8_t hash[SHA256_BYTES];
    char prev_hex[SHA256_HEX];
    if (n != expected) {
        return broken(w, expected, "missing");
    }
    sha256_of(body_text.p, body_text.n, hash);
    if (stored.n != sizeof hash || memcmp(stored.p, hash, sizeof hash) != 0) {
        return broken(w, n, "its body was changed");
    }
    json_t *body = NULL;
    if (json_parse(body_text.p, body_text.n, "body", &body, NULL) != MUGA_OK) {
        return broken(w, n, "its body is not JSON");
    }
    hex_write(w->prev, SHA256_BYTES, prev_hex);
    const char *prev = json_get_string(body, "prev"), *kind = json_get_string(body, "kind"),
               *payload = json_get_string(body, "payload"), *session = json_get_string(body, "session");
    muga_status st = MUGA_OK;
    if (json_get_int(body, "v", 0) != FORMAT || json_get_int(body, "n", 0) != n || !prev || !kind || !payload) {
        st = broken(w, n, "its body is not a record of this format");
    } else if (!columns_agree(r, body, kind, session)) {
        st = broken(w, n, "its time, kind or session was changed");
    } else if (strcmp(prev, prev_hex) != 0) {
        st = broken(w, n, "it does not follow the record before it");
    } else {
        st = store_is_null(r, 4) ? check_erased(w, n, session ? session : "")
                                 : check_payload(w, r, n, session, payload);
    }
    json_decref(body);
    memcpy(w->prev, hash, sizeof hash);
    w->report->n_records = n;
    return st;
}

static muga_status check_head(walker *w) {
    int64_t n;
    uint8_t hash[SHA256_BYTES];
    bool found;
    muga_status st = head_find(w->s, &n, hash, &found, w->err);
    if (st == MUGA_OK && !found) {
        st = broken(w, w->report->n_records + 1, "the chain has lost its head, which says where it ends");
    } else if (st == MUGA_OK && (n != w->report->n_records || memcmp(hash, w->prev, sizeof hash) != 0)) {
        st = broken(w, MAX(MIN(n, w->report->n_records) + 1, 1), "missing: the chain's end does not match its head");
    }
    hex_write(w->prev, SHA256_BYTES, w->report->head);
    return st;
}

static muga_status walk_records(walker *w) {
    store_row *r = NULL;
    *w->report = (audit_report){0};
    muga_status st = store_query(w->s, &r, w->err,
                                 "SELECT a.n, a.body, a.hash, p.salt, p.payload, a.at_ms, a.kind, a.session FROM"
                                 " audit a LEFT JOIN audit_payload p ON p.n = a.n ORDER BY a.n",
                                 "");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, w->err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = check_record(w, r);
    }
    store_done(r);
    if (st == MUGA_OK) {
        st = check_head(w);
    }
    if (st == MUGA_OK) {
        st = audit_check_tables(w->s, w->err);
        w->report->broken = st == MUGA_E_NEGATIVE ? w->report->n_records : 0;
    }
    return st;
}

/* In one view of the store: another process may be adding to it. */
static muga_status walk(walker *w) {
    muga_status st = store_begin_read(w->s, w->err);
    if (st == MUGA_OK) {
        st = walk_records(w);
        store_end(w->s, &st, w->err);
    }
    return st;
}

muga_status audit_verify(store *s, audit_report *out, muga_error *err) {
    walker w = {.s = s, .report = out, .err = err};
    return walk(&w);
}

muga_status audit_check_head(store *s, const char *hex, muga_error *err) {
    static const uint8_t empty[SHA256_BYTES] = {0};
    uint8_t hash[SHA256_BYTES];
    store_row *r;
    bool has = false;
    if (strlen(hex) != 2 * sizeof hash || !hex_parse(hex, 2 * sizeof hash, hash)) {
        return error_set(err, MUGA_E_USAGE, "a head is 64 hexadecimal digits, as `muga audit verify` prints it");
    }
    if (memcmp(hash, empty, sizeof hash) == 0) {
        return MUGA_OK;
    }
    muga_status st = store_query(s, &r, err, "SELECT 1 FROM audit WHERE hash = ?", "b", hash, sizeof hash);
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    store_done(r);
    return st != MUGA_OK || has ? st
                                : error_set(err, MUGA_E_NEGATIVE,
                                            "%s: no record has the head that was kept: what it stood for was cut off"
                                            " or written anew",
                                            store_path(s));
}

muga_status audit_replay(store *s, const audit_filter *f, audit_replay_fn replay, void *ctx, audit_report *out,
                         muga_error *err) {
    walker w = {.s = s, .report = out, .filter = f, .replay = replay, .replay_ctx = ctx, .err = err};
    return walk(&w);
}

/* ---- listing ---- */

static muga_status list_one(store_row *r, json_t *out, muga_error *err) {
    char hex[SHA256_HEX] = "";
    span hash = store_blob(r, 4);
    if (hash.n == SHA256_BYTES) {
        hex_write(hash.p, hash.n, hex);
    }
    json_t *entry = json_pack("{s:I, s:I, s:s, s:s?, s:s}", "n", (json_int_t)store_int(r, 0), "at_ms",
                              (json_int_t)store_int(r, 1), "kind", store_string(r, 2), "session", store_string(r, 3),
                              "hash", hex);
    json_t *payload = NULL;
    muga_status st = entry ? store_json(r, 5, &payload, err) : error_nomem(err, "the log");
    if (st == MUGA_OK) {
        bool erased = store_is_null(r, 5);
        int rc = erased ? json_object_set_new(entry, "erased", json_true())
                        : json_object_set(entry, "payload", payload);
        st = rc == 0 && json_array_append(out, entry) == 0 ? MUGA_OK : error_nomem(err, "the log");
    }
    json_decref(payload);
    json_decref(entry);
    return st;
}

muga_status audit_log(store *s, const audit_filter *f, json_t **out, muga_error *err) {
    static const char sql[] =
        "SELECT a.n, a.at_ms, a.kind, a.session, a.hash, p.payload FROM audit a LEFT JOIN audit_payload p ON p.n = a.n"
        " WHERE (?1 IS NULL OR a.session = ?1) AND a.n >= ?2 ORDER BY a.n LIMIT ?3";
    store_row *r = NULL;
    json_t *list = json_array();
    int64_t from = f ? f->from : 1, max = f && f->max > 0 ? f->max : INT64_MAX;
    muga_status st = list ? MUGA_OK : error_nomem(err, "the log");
    if (st == MUGA_OK) {
        st = store_query(s, &r, err, sql, "sii", f ? f->session : NULL, from, max);
    }
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = list_one(r, list, err);
    }
    store_done(r);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
        *out = NULL;
    }
    return st;
}
