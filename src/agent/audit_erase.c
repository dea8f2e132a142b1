/* Forgetting sessions. Owns: the rows that hold what a session said, and which sessions go with it. Refuses: a session
 * that a process drives, and then all of them.
 *
 * A session that another began within itself (nested.h) holds the same person's words, and may have none of the values
 * by which that person is found: it goes with the one around it. All go in one transaction, under all their claims. A
 * claim is taken before it is asked what the session began: only who has it begins more. */
#include "agent/internal.h"

typedef struct doomed {
    json_t *ids; /* the first is the one that was named */
    store_claim **claims;
    size_t n_claims;
} doomed;

static void doomed_release(doomed *d) {
    for (size_t i = 0; i < d->n_claims; i++) {
        store_claim_release(d->claims[i]);
    }
    free(d->claims);
    json_decref(d->ids);
}

static const char *doomed_id(const doomed *d, size_t i) {
    return json_string_value(json_array_get(d->ids, i));
}

static muga_status claim(doomed *d, store *s, muga_error *err) {
    store_claim **more = mem_resize_array(d->claims, d->n_claims + 1, sizeof *more);
    if (!more) {
        return error_nomem(err, "an erasure");
    }
    d->claims = more;
    muga_status st = store_claim_take(s, doomed_id(d, d->n_claims), &more[d->n_claims], err);
    d->n_claims += st == MUGA_OK;
    return st;
}

static muga_status add_within(doomed *d, store *s, const char *session, muga_error *err) {
    store_row *r;
    muga_status st =
        store_query(s, &r, err, "SELECT session FROM session_origins WHERE parent = ? ORDER BY session", "s", session);
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        const char *id = store_string(r, 0);
        bool known = false; /* a damaged store could have them in a ring */
        for (size_t i = 0; i < json_array_size(d->ids) && !known; i++) {
            known = strcmp(doomed_id(d, i), id) == 0;
        }
        if (!known && json_array_append_new(d->ids, json_string(id)) != 0) {
            st = error_nomem(err, "an erasure");
        }
    }
    store_done(r);
    return st;
}

static muga_status gather(doomed *d, store *s, const char *session, muga_error *err) {
    *d = (doomed){.ids = json_pack("[s]", session)};
    muga_status st = d->ids ? MUGA_OK : error_nomem(err, "an erasure");
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(d->ids); i++) {
        st = claim(d, s, err);
        st = st == MUGA_OK ? add_within(d, s, doomed_id(d, i), err) : st;
    }
    return st;
}

/* Nothing may be left waiting: a held call whose arguments are gone can't be shown to anyone. */
static muga_status erase_rows(store *s, const char *session, muga_error *err) {
    static const char *const statements[] = {
        "UPDATE calls SET state = 'expired' WHERE session = ? AND state IN ('held', 'approved', 'in_doubt')",
        "DELETE FROM audit_payload WHERE n IN (SELECT n FROM audit WHERE session = ?)",
        "DELETE FROM history WHERE session = ?",
        "DELETE FROM interactions WHERE session = ?",
        "DELETE FROM facts WHERE session = ?",
        "UPDATE approvals SET state = 'expired' WHERE state IN ('pending', 'approved') AND call IN (SELECT id"
        " FROM calls WHERE session = ?)",
        "UPDATE calls SET arguments = 'null', result = NULL, reason = NULL WHERE session = ?",
        "UPDATE session_origins SET requester = NULL WHERE session = ?",
        "UPDATE sessions SET session_values = '{}', state = '{}' WHERE id = ?",
    };
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < ARRAY_LEN(statements); i++) {
        st = store_exec(s, NULL, err, statements[i], "s", session);
    }
    return st;
}

/* *was: it is there and was not erased before. */
static muga_status end_session(const agent_env *env, store *s, const char *session, bool *was, muga_error *err) {
    int64_t n_there = 0, n_changed = 0;
    muga_status st = store_exec(s, &n_changed, err,
                                "UPDATE sessions SET ended_ms = coalesce(ended_ms, ?), outcome = 'erased' WHERE id = ?"
                                " AND outcome IS NOT 'erased'",
                                "is", env->clock->now_ms(env->clock->self), session);
    *was = n_changed > 0;
    if (st == MUGA_OK && !*was) {
        st = store_exec(s, &n_there, err, "UPDATE sessions SET outcome = outcome WHERE id = ?", "s", session);
        if (st == MUGA_OK && n_there == 0) {
            st = error_set(err, MUGA_E_NOT_FOUND, "session %s: not there; `muga session list` shows those there are",
                           session);
        }
    }
    return st;
}

static muga_status erase_one(const agent_env *env, store *s, const char *session, int64_t *n, muga_error *err) {
    bool was = false;
    muga_status st = end_session(env, s, session, &was, err);
    if (st != MUGA_OK || !was) {
        return st;
    }
    json_t *payload = json_pack("{s:s}", "erased", session);
    st = payload ? erase_rows(s, session, err) : error_nomem(err, "an erasure");
    st = st == MUGA_OK ? audit_write(env, s, session, "erasure", payload, err) : st;
    json_decref(payload);
    *n += st == MUGA_OK;
    return st;
}

muga_status audit_erase(const agent_env *env, store *s, const char *session, int64_t *n, muga_error *err) {
    doomed d;
    int64_t n_erased = 0;
    muga_status st = gather(&d, s, session, err);
    st = st == MUGA_OK ? store_begin(s, err) : st;
    if (st == MUGA_OK) {
        for (size_t i = 0; st == MUGA_OK && i < json_array_size(d.ids); i++) {
            st = erase_one(env, s, doomed_id(&d, i), &n_erased, err);
        }
        store_end(s, &st, err);
        n_erased = st == MUGA_OK ? n_erased : 0;
    }
    if (st == MUGA_OK) {
        st = store_checkpoint(s, err); /* secure_delete zeroes the pages; the log must not keep them */
    }
    doomed_release(&d);
    if (n) {
        *n = n_erased;
    }
    return st;
}
