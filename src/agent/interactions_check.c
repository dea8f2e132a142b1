/* Do rows and consents hold what the chain tells of them? Part of audit_verify, in its view of the store.
 *
 *   chain   recorded, rated, corrected, redacted {rows: [{turn, digest}]}   the row's digest from here on
 *           dropped {rows: {session: [turns]}}, erasure                     the row is gone
 *           consent {agent, consent, policy}                                the agent's consent from here on
 *
 * A row that is not what was kept has another digest than the chain says, or than its own columns give. */
#include "agent/interactions_internal.h"

#include <stdio.h>

typedef struct told {
    json_t *sessions; /* session -> {turn as text: digest} */
    json_t *consents; /* agent -> {"state", "since", "policy"} */
    bool ok;          /* false: memory is out */
} told;

static void turn_key(int64_t turn, char out[24]) {
    snprintf(out, 24, "%lld", (long long)turn);
}

static void tell_rows(told *t, const char *session, const json_t *rows) {
    json_t *turns = json_object_get(t->sessions, session);
    if (!turns) {
        turns = json_object();
        t->ok = t->ok && json_object_set_new(t->sessions, session, turns) == 0;
    }
    for (size_t i = 0; t->ok && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        char key[24];
        turn_key(json_get_int(row, "turn", 0), key);
        json_t *digest = json_object_get(row, "digest");
        t->ok = json_object_set(turns, key, digest) == 0;
    }
}

static void tell_dropped(told *t, const json_t *rows) {
    const char *session;
    json_t *turns;
    json_object_foreach(json_borrow(rows), session, turns) {
        json_t *known = json_object_get(t->sessions, session);
        for (size_t i = 0; known && i < json_array_size(turns); i++) {
            char key[24];
            turn_key(json_integer_value(json_array_get(turns, i)), key);
            json_object_del(known, key);
        }
    }
}

static void tell(told *t, int64_t n, const char *kind, const char *session, const json_t *payload) {
    const json_t *rows = json_object_get(payload, "rows");
    const char *agent = json_get_string(payload, "agent");
    if (strcmp(kind, "erasure") == 0 && session) {
        json_object_del(t->sessions, session);
    } else if (strcmp(kind, "consent") == 0 && agent) {
        json_t *entry = json_pack("{s:O*, s:I, s:O*}", "state", json_object_get(payload, "consent"), "since",
                                  (json_int_t)n, "policy", json_object_get(payload, "policy"));
        t->ok = t->ok && json_object_set_new(t->consents, agent, entry) == 0;
    } else if (session && json_is_array(rows)) {
        tell_rows(t, session, rows);
    } else if (json_is_object(rows)) {
        tell_dropped(t, rows);
    }
}

static muga_status read_chain(store *s, told *t, muga_error *err) {
    store_row *r;
    muga_status st = store_query(s, &r, err,
                                 "SELECT a.n, a.kind, a.session, p.payload FROM audit a LEFT JOIN audit_payload p ON"
                                 " p.n = a.n WHERE a.kind IN ('data', 'consent', 'erasure') ORDER BY a.n",
                                 "");
    for (bool has = true; st == MUGA_OK;) {
        json_t *payload = NULL;
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = store_json(r, 3, &payload, err);
        if (st == MUGA_OK) {
            tell(t, store_int(r, 0), store_string(r, 1), store_string(r, 2), payload);
        }
        json_decref(payload);
        st = st == MUGA_OK && !t->ok ? error_nomem(err, "the chain") : st;
    }
    store_done(r);
    return st;
}

/* ---- rows ---- */

static muga_status differs(store *s, const char *session, const char *turn, const char *how, muga_error *err) {
    return error_set(err, MUGA_E_NEGATIVE, "%s: kept turn %.24s of session %.24s %s", store_path(s), turn, session,
                     how);
}

/* Takes the row off what was told, so that what is left is missing. */
static muga_status check_row(store *s, store_row *at, told *t, muga_error *err) {
    char key[24], hex[SHA256_HEX];
    data_row r;
    muga_status st = data_row_read(s, at, &r, err);
    if (st == MUGA_E_ENV) {
        const muga_error what = *err;
        return error_set(err, MUGA_E_NEGATIVE, "%s", what.message);
    }
    if (st != MUGA_OK) {
        return st;
    }
    turn_key(r.turn, key);
    hex_write(r.digest, sizeof r.digest, hex);
    json_t *turns = json_object_get(t->sessions, r.session);
    const char *want = json_get_string(turns, key);
    if (!want || strcmp(want, hex) != 0) {
        st = differs(s, r.session, key, want ? "is another than the audit chain tells" : "is not in the audit chain",
                     err);
    }
    json_object_del(turns, key);
    data_row_release(&r);
    return st;
}

static muga_status check_rows(store *s, told *t, muga_error *err) {
    store_row *at = NULL;
    const char *session, *turn;
    json_t *turns, *digest;
    muga_status st = store_query(s, &at, err, "SELECT " ROW_COLUMNS " FROM interactions i", "");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(at, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = check_row(s, at, t, err);
    }
    store_done(at);
    json_object_foreach(t->sessions, session, turns) {
        json_object_foreach(turns, turn, digest) {
            st = st == MUGA_OK ? differs(s, session, turn, "is missing, and no record says that it was dropped", err)
                               : st;
        }
    }
    return st;
}

/* ---- consents ---- */

static muga_status check_consents(store *s, const told *t, muga_error *err) {
    store_row *at = NULL;
    json_t *said = json_object(), *entry;
    const char *agent = NULL;
    muga_status st = said ? store_query(s, &at, err, "SELECT agent, state, since, policy FROM consents", "")
                          : error_nomem(err, "consents");
    for (bool has = true; st == MUGA_OK;) {
        json_t *policy = NULL;
        st = store_step(at, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        span text = store_text(at, 3);
        if (json_parse(text.p, text.n, "", &policy, NULL) != MUGA_OK) {
            policy = json_stringn_nocheck(text.p, text.n);
        }
        span name = store_text(at, 0), state = store_text(at, 1);
        entry = json_pack("{s:o, s:I, s:o}", "state", json_stringn_nocheck(state.p, state.n), "since",
                          (json_int_t)store_int(at, 2), "policy", policy);
        st = entry && json_object_setn_new_nocheck(said, name.p, name.n, entry) == 0 ? MUGA_OK
                                                                                     : error_nomem(err, "consents");
    }
    store_done(at);
    if (st == MUGA_OK && !json_equal(said, t->consents)) {
        json_object_foreach(t->consents, agent, entry) {
            if (!json_equal(entry, json_object_get(said, agent))) {
                break;
            }
        }
        st = error_set(err, MUGA_E_NEGATIVE,
                       "%s: the consent to keep turns of agent %.64s is not what the audit chain"
                       " tells",
                       store_path(s), agent ? agent : "(another)");
    }
    json_decref(said);
    return st;
}

muga_status interactions_check_tables(store *s, muga_error *err) {
    told t = {.sessions = json_object(), .consents = json_object(), .ok = true};
    muga_status st = t.sessions && t.consents ? read_chain(s, &t, err) : error_nomem(err, "the chain");
    st = st == MUGA_OK ? check_rows(s, &t, err) : st;
    st = st == MUGA_OK ? check_consents(s, &t, err) : st;
    json_decref(t.sessions);
    json_decref(t.consents);
    return st;
}
