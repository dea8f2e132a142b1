/* Rows of turns (interactions.h): reading, writing, choosing. Owns: a row's digest, and that it is in the chain with
 * every change. Refuses: to hand out a row whose digest is not that of its columns.
 *
 * digest = SHA-256 of salt, then the canonical JSON of all other columns. The salt goes with the row, so that what the
 * chain says of a dropped row can't be guessed back. */
#include "agent/interactions_internal.h"
#include "agent/interactions_select.h"

#include <stdio.h>

void data_row_release(data_row *r) {
    free(r->agent);
    free(r->note);
    json_decref(r->content);
    json_decref(r->correction);
    *r = (data_row){.agent = NULL};
}

const char *row_outcome_name(unsigned bit) {
    for (size_t i = 0; i < N_OUTCOMES; i++) {
        if (bit == 1u << i) {
            return interaction_outcomes[i];
        }
    }
    return "";
}

static unsigned outcome_bit(const char *name) {
    for (size_t i = 0; name && i < N_OUTCOMES; i++) {
        if (strcmp(interaction_outcomes[i], name) == 0) {
            return 1u << i;
        }
    }
    return 0;
}

/* ---- one row ---- */

muga_status data_row_digest(const data_row *r, uint8_t out[SHA256_BYTES], muga_error *err) {
    str text = STR_INIT;
    json_t *v = json_pack("{s:s, s:I, s:s, s:I, s:s, s:i, s:b, s:b, s:O, s:O?, s:s?}", "session", r->session, "turn",
                          (json_int_t)r->turn, "agent", r->agent, "at_ms", (json_int_t)r->at_ms, "outcome",
                          row_outcome_name(r->outcome), "rating", r->rating, "masked", (int)r->masked, "redacted",
                          (int)r->redacted, "content", r->content, "correction", r->correction, "note", r->note);
    if (!v) {
        return error_nomem(err, "a row");
    }
    json_write_canonical(v, &text);
    json_decref(v);
    muga_status st = str_status(&text, err, "a row");
    if (st == MUGA_OK) {
        sha256 h;
        sha256_init(&h);
        sha256_update(&h, r->salt, sizeof r->salt);
        sha256_update(&h, str_get(&text), text.len);
        sha256_final(&h, out);
    }
    str_release(&text);
    return st;
}

static muga_status damaged(store *s, const char *session, int64_t turn, muga_error *err) {
    return error_set(err, MUGA_E_ENV,
                     "%s: turn %lld of session %.24s is not what was kept; restore a copy, or drop it with `muga data"
                     " drop --session %.24s --turn %lld`",
                     store_path(s), (long long)turn, session, session, (long long)turn);
}

static muga_status read_json(store_row *at, int column, json_t **out, bool *bad, muga_error *err) {
    span text = store_text(at, column);
    muga_status st = json_parse(text.p, text.n, "", out, err);
    *bad = *bad || st == MUGA_E_INPUT;
    return st == MUGA_E_INPUT ? MUGA_OK : st;
}

muga_status data_row_read(store *s, store_row *at, data_row *out, muga_error *err) {
    const char *session = store_string(at, 0), *agent = store_string(at, 2), *note = store_string(at, 10);
    span salt = store_blob(at, 11), digest = store_blob(at, 12);
    uint8_t now[SHA256_BYTES];
    bool bad = !session || !agent || salt.n != ROW_SALT_BYTES || digest.n != SHA256_BYTES;
    bad = bad || store_int(at, 6) >> 1 || store_int(at, 7) >> 1; /* 0 or 1 */
    *out = (data_row){.turn = store_int(at, 1),
                      .at_ms = store_int(at, 3),
                      .outcome = outcome_bit(store_string(at, 4)),
                      .rating = (int)store_int(at, 5),
                      .masked = store_int(at, 6) != 0,
                      .redacted = store_int(at, 7) != 0};
    snprintf(out->session, sizeof out->session, "%s", session ? session : "");
    muga_status st = MUGA_OK;
    if (!bad) {
        memcpy(out->salt, salt.p, salt.n);
        memcpy(out->digest, digest.p, digest.n);
        out->agent = mem_copy_string(agent);
        out->note = note ? mem_copy_string(note) : NULL;
        st = out->agent && (!note || out->note) ? MUGA_OK : error_nomem(err, "a row");
        st = st == MUGA_OK ? read_json(at, 8, &out->content, &bad, err) : st;
        if (st == MUGA_OK && !store_is_null(at, 9)) {
            st = read_json(at, 9, &out->correction, &bad, err);
        }
    }
    if (st == MUGA_OK && !bad) {
        st = data_row_digest(out, now, err);
        bad = st == MUGA_OK && memcmp(now, out->digest, sizeof now) != 0;
    }
    if (st == MUGA_OK && bad) {
        st = damaged(s, out->session, out->turn, err);
    }
    if (st != MUGA_OK) {
        data_row_release(out);
    }
    return st;
}

muga_status data_row_write(const agent_env *env, store *s, data_row *r, bool is_new, json_t *told, muga_error *err) {
    static const char insert[] =
        "INSERT INTO interactions(session, turn, agent, at_ms, outcome, rating, masked, redacted, content, correction,"
        " note, salt, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    static const char update[] =
        "UPDATE interactions SET agent = ?3, at_ms = ?4, outcome = ?5, rating = ?6, masked = ?7, redacted = ?8,"
        " content = ?9, correction = ?10, note = ?11, salt = ?12, digest = ?13 WHERE session = ?1 AND turn = ?2";
    char hex[SHA256_HEX];
    muga_status st = env->random(env->random_self, r->salt, sizeof r->salt, err); /* of what it was, nothing stays */
    st = st == MUGA_OK ? data_row_digest(r, r->digest, err) : st;
    if (st == MUGA_OK) {
        st = store_exec(s, NULL, err, is_new ? insert : update, "sisisiiijjsbb", r->session, r->turn, r->agent,
                        r->at_ms, row_outcome_name(r->outcome), (int64_t)r->rating, (int64_t)r->masked,
                        (int64_t)r->redacted, r->content, r->correction, r->note, r->salt, sizeof r->salt, r->digest,
                        sizeof r->digest);
    }
    if (st == MUGA_OK) {
        hex_write(r->digest, sizeof r->digest, hex);
        json_t *entry = json_pack("{s:I, s:s, s:s}", "turn", (json_int_t)r->turn, "outcome",
                                  row_outcome_name(r->outcome), "digest", hex);
        st = entry && json_array_append_new(told, entry) == 0 ? MUGA_OK : error_nomem(err, "a row");
    }
    return st;
}

muga_status data_audit_rows(const agent_env *env, store *s, const char *session, const char *use, json_t *told,
                            const json_t *detail, muga_error *err) {
    json_t *payload = json_pack("{s:s, s:O}", "use", use, "rows", told);
    muga_status st = payload ? MUGA_OK : error_nomem(err, "a record");
    if (st == MUGA_OK && detail && json_object_update(payload, json_borrow(detail)) != 0) {
        st = error_nomem(err, "a record");
    }
    st = st == MUGA_OK ? audit_write(env, s, session, "data", payload, err) : st;
    json_decref(payload);
    return st;
}

muga_status data_row_find(store *s, const char *session, int64_t turn, data_row *out, muga_error *err) {
    store_row *at = NULL;
    bool has = false;
    *out = (data_row){.agent = NULL};
    muga_status st = store_query(
        s, &at, err, "SELECT " ROW_COLUMNS " FROM interactions i WHERE session = ? AND turn = ?", "si", session, turn);
    st = st == MUGA_OK ? store_step(at, &has, err) : st;
    if (st == MUGA_OK) {
        st = has ? data_row_read(s, at, out, err)
                 : error_set(err, MUGA_E_NOT_FOUND, "session %.24s: turn %lld was not kept; see muga data list",
                             session, (long long)turn);
    }
    store_done(at);
    return st;
}

/* ---- choosing rows ---- */

void row_keys_release(row_keys *k) {
    free(k->list);
    *k = (row_keys){NULL, 0, 0};
}

static muga_status add_key(row_keys *k, store_row *at, muga_error *err) {
    if (k->n == k->cap) {
        size_t cap = k->cap ? k->cap * 2 : 64;
        row_key *list = realloc(k->list, cap * sizeof *list);
        if (!list) {
            return error_nomem(err, "rows");
        }
        k->list = list;
        k->cap = cap;
    }
    row_key *key = &k->list[k->n++];
    span digest = store_blob(at, 5);
    memset(key, 0, sizeof *key);
    snprintf(key->session, sizeof key->session, "%s", store_string(at, 0));
    key->turn = store_int(at, 1);
    memcpy(key->digest, digest.p, MIN(digest.n, sizeof key->digest));
    return MUGA_OK;
}

bool data_same_value(const json_t *a, const json_t *b) {
    str x = STR_INIT, y = STR_INIT;
    bool same = a && b && json_equal(json_borrow(a), json_borrow(b));
    if (a && b && !same && (json_is_string(a) != json_is_string(b))) {
        json_write_canonical(json_is_string(a) ? b : a, &x);
        str_append_s(&y, json_string_value(json_is_string(a) ? a : b));
        same = !x.failed && !y.failed && strcmp(str_get(&x), str_get(&y)) == 0;
    }
    str_release(&x);
    str_release(&y);
    return same;
}

static muga_status is_subject(store_row *at, const json_t *subject, bool *is, muga_error *err) {
    json_t *values = NULL, *v;
    const char *name;
    *is = true;
    if (!subject) {
        return MUGA_OK;
    }
    muga_status st = store_json(at, 6, &values, err);
    json_object_foreach(json_borrow(subject), name, v) {
        *is = *is && data_same_value(json_object_get(values, name), v);
    }
    json_decref(values);
    return st;
}

/* A misspelt name would find nobody, and look like somebody of whom nothing was kept. */
static muga_status check_subject(store *s, const interaction_filter *f, muga_error *err) {
    json_t *list = NULL, *v;
    const char *name;
    muga_status st = f->subject ? consent_list(s, &list, err) : MUGA_OK;
    json_object_foreach(json_borrow(f->subject), name, v) {
        bool declared = false;
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *entry = json_array_get(list, i),
                         *names = json_object_get(json_object_get(entry, "policy"), "subject");
            bool asked = !f->agent || strcmp(f->agent, json_get_string(entry, "agent")) == 0;
            for (size_t k = 0; asked && k < json_array_size(names); k++) {
                declared = declared || strcmp(json_string_value(json_array_get(names, k)), name) == 0;
            }
        }
        if (st == MUGA_OK && !declared) {
            st = error_set(err, MUGA_E_NOT_FOUND,
                           "no agent with consent names its subject by '%.60s'; `muga data consent` shows the names",
                           name);
        }
    }
    json_decref(list);
    return st;
}

#define SELECT_KEYS                                                                                                    \
    "SELECT i.session, i.turn, i.outcome, i.rating, i.correction IS NOT NULL, i.digest, s.session_values FROM"         \
    " interactions i LEFT JOIN sessions s ON s.id = i.session WHERE "
#define IN_ORDER " ORDER BY i.at_ms, i.session, i.turn"

/* One statement an index, so that keeping a turn doesn't read all that were kept. */
static const char *select_sql(const interaction_filter *f) {
    if (f->session) {
        return SELECT_KEYS "(?1 IS NULL OR i.agent = ?1) AND i.session = ?2 AND (?3 = 0 OR i.turn = ?3) AND (?4 = 0 OR"
                           " i.at_ms < ?4)" IN_ORDER;
    }
    if (f->agent && f->before_ms) {
        return SELECT_KEYS "i.agent = ?1 AND ?2 IS NULL AND (?3 = 0 OR i.turn = ?3) AND i.at_ms < ?4" IN_ORDER;
    }
    if (f->agent) {
        return SELECT_KEYS "i.agent = ?1 AND ?2 IS NULL AND (?3 = 0 OR i.turn = ?3) AND ?4 = 0" IN_ORDER;
    }
    return SELECT_KEYS "?1 IS NULL AND ?2 IS NULL AND (?3 = 0 OR i.turn = ?3) AND (?4 = 0 OR i.at_ms < ?4)" IN_ORDER;
}

muga_status rows_select(store *s, const interaction_filter *f, row_keys *out, muga_error *err) {
    store_row *at = NULL;
    *out = (row_keys){NULL, 0, 0};
    muga_status st = check_subject(s, f, err);
    if (st == MUGA_OK) {
        st = store_query(s, &at, err, select_sql(f), "ssii", f->agent, f->session, f->turn, f->before_ms);
    }
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(at, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        bool is = false, wanted = !f->outcomes || f->outcomes & outcome_bit(store_string(at, 2));
        wanted = wanted && !(f->not_rated_down && store_int(at, 3) < 0 && !store_int(at, 4));
        st = wanted ? is_subject(at, f->subject, &is, err) : MUGA_OK;
        st = st == MUGA_OK && wanted && is ? add_key(out, at, err) : st;
    }
    store_done(at);
    if (st == MUGA_OK && f->max > 0 && out->n > (size_t)f->max) {
        memmove(out->list, out->list + out->n - f->max, (size_t)f->max * sizeof *out->list);
        out->n = (size_t)f->max;
    }
    if (st != MUGA_OK) {
        row_keys_release(out);
    }
    return st;
}

/* ---- removing ---- */

/* {session: [turns]} */
static muga_status add_dropped(json_t *dropped, const row_key *key, muga_error *err) {
    json_t *turns = json_object_get(dropped, key->session);
    if (!turns) {
        turns = json_array();
        if (json_object_set_new(dropped, key->session, turns) != 0) {
            return error_nomem(err, "rows");
        }
    }
    return json_array_append_new(turns, json_integer(key->turn)) == 0 ? MUGA_OK : error_nomem(err, "rows");
}

muga_status rows_drop(const agent_env *env, store *s, const row_keys *k, const char *why, muga_error *err) {
    json_t *dropped = json_object(), *payload = NULL;
    muga_status st = dropped ? MUGA_OK : error_nomem(err, "rows");
    for (size_t i = 0; st == MUGA_OK && i < k->n; i++) {
        st = store_exec(s, NULL, err, "DELETE FROM interactions WHERE session = ? AND turn = ?", "si",
                        k->list[i].session, k->list[i].turn);
        st = st == MUGA_OK ? add_dropped(dropped, &k->list[i], err) : st;
    }
    if (st == MUGA_OK) {
        payload = json_pack("{s:s, s:s, s:O}", "use", "dropped", "why", why, "rows", dropped);
        st = payload ? audit_write(env, s, NULL, "data", payload, err) : error_nomem(err, "rows");
    }
    json_decref(payload);
    json_decref(dropped);
    return st;
}

muga_status data_expire_agent(const agent_env *env, store *s, const char *agent, int64_t before_ms, int64_t *n,
                              muga_error *err) {
    const interaction_filter f = {.agent = agent, .before_ms = MAX(before_ms, 1)};
    row_keys k;
    muga_status st = rows_select(s, &f, &k, err);
    *n = st == MUGA_OK ? (int64_t)k.n : 0;
    if (st == MUGA_OK && k.n > 0) {
        st = rows_drop(env, s, &k, "age", err);
    }
    row_keys_release(&k);
    return st;
}
