/* The operator's consent to keeping an agent's turns. Owns: the table consents. Refuses: consent to an agent whose
 * manifest doesn't say what may be kept.
 *
 * Consent is bound to what was read when it was given: the manifest's data policy lies beside it, whole. An author who
 * changes it later (keeps longer, masks less) finds that nothing is kept until the operator has said yes anew. */
#include "agent/interactions_internal.h"

#include <stdio.h>

void consent_row_release(consent_row *c) {
    json_decref(c->policy);
    c->policy = NULL;
}

muga_status consent_read(store *s, const char *agent, consent_row *out, muga_error *err) {
    store_row *r;
    bool has = false;
    *out = (consent_row){CONSENT_NONE, 0, NULL};
    muga_status st = store_query(s, &r, err, "SELECT state, since, policy FROM consents WHERE agent = ?", "s", agent);
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    if (st == MUGA_OK && has) {
        out->state = strcmp(store_string(r, 0), "on") == 0 ? CONSENT_ON : CONSENT_OFF;
        out->since = store_int(r, 1);
        st = store_json(r, 2, &out->policy, err);
    }
    store_done(r);
    return st;
}

bool consent_covers(const consent_row *c, const json_t *data_policy) {
    json_t *given = json_clone(c->policy);
    if (given) {
        json_object_del(given, "raw");
    }
    bool same = given && data_policy && json_equal(given, json_borrow(data_policy));
    json_decref(given);
    return c->state == CONSENT_ON && same;
}

/* Inside a transaction: the record, and the row that names it. */
static muga_status write_consent(const agent_env *env, store *s, const char *agent, bool on, const char *by,
                                 json_t *policy, muga_error *err) {
    json_t *payload =
        json_pack("{s:s, s:s, s:s, s:O}", "agent", agent, "consent", on ? "on" : "off", "by", by, "policy", policy);
    muga_status st = payload ? audit_write(env, s, NULL, "consent", payload, err) : error_nomem(err, "a consent");
    if (st == MUGA_OK) {
        st = store_exec(s, NULL, err,
                        "INSERT INTO consents(agent, state, since, policy) VALUES (?1, ?2, (SELECT n FROM audit_head),"
                        " ?3) ON CONFLICT(agent) DO UPDATE SET state = ?2, since = (SELECT n FROM audit_head),"
                        " policy = ?3",
                        "ssj", agent, on ? "on" : "off", policy);
    }
    json_decref(payload);
    return st;
}

muga_status consent_give(const agent_env *env, store *s, const manifest *m, bool raw, const char *by, muga_error *err) {
    if (!m->data_policy) {
        return error_set(err, MUGA_E_POLICY,
                         "agent %s: its manifest %s; add learning: with subject:, then give consent", m->name,
                         m->learning ? "says learning.consent: never" : "has no learning:, so nothing may be kept");
    }
    json_t *policy = json_clone(m->data_policy);
    if (!policy || json_object_set_new(policy, "raw", json_boolean(raw)) != 0) {
        json_decref(policy);
        return error_nomem(err, "a consent");
    }
    muga_status st = store_begin(s, err);
    if (st == MUGA_OK) {
        st = write_consent(env, s, m->name, true, by, policy, err);
        store_end(s, &st, err);
    }
    json_decref(policy);
    return st;
}

static muga_status count_rows(store *s, const char *agent, int64_t *n, muga_error *err) {
    store_row *r;
    bool has = false;
    muga_status st = store_query(s, &r, err, "SELECT count(*) FROM interactions WHERE agent = ?", "s", agent);
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    *n = st == MUGA_OK && has ? store_int(r, 0) : 0;
    store_done(r);
    return st;
}

muga_status consent_withdraw(const agent_env *env, store *s, const char *agent, const char *by, int64_t *n_kept,
                             muga_error *err) {
    consent_row c = {CONSENT_NONE, 0, NULL};
    *n_kept = 0;
    muga_status st = store_begin(s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = consent_read(s, agent, &c, err);
    if (st == MUGA_OK && c.state == CONSENT_NONE) {
        st = error_set(err, MUGA_E_NOT_FOUND, "agent %.64s: no consent was ever given; see muga data consent", agent);
    }
    if (st == MUGA_OK && c.state == CONSENT_ON) {
        st = write_consent(env, s, agent, false, by, c.policy, err);
    }
    st = st == MUGA_OK ? count_rows(s, agent, n_kept, err) : st;
    store_end(s, &st, err);
    consent_row_release(&c);
    return st;
}

static muga_status list_one(store_row *r, json_t *list, muga_error *err) {
    json_t *policy = NULL, *entry = NULL;
    muga_status st = store_json(r, 3, &policy, err);
    if (st == MUGA_OK) {
        entry = json_pack("{s:s, s:s, s:I, s:O, s:I}", "agent", store_string(r, 0), "consent", store_string(r, 1),
                          "since_ms", (json_int_t)store_int(r, 2), "policy", policy, "rows",
                          (json_int_t)store_int(r, 4));
        st = entry && json_array_append_new(list, entry) == 0 ? MUGA_OK : error_nomem(err, "consents");
    }
    json_decref(policy);
    return st;
}

muga_status consent_list(store *s, json_t **out, muga_error *err) {
    static const char sql[] =
        "SELECT c.agent, c.state, coalesce(a.at_ms, 0), c.policy, (SELECT count(*) FROM interactions i WHERE i.agent ="
        " c.agent) FROM consents c LEFT JOIN audit a ON a.n = c.since ORDER BY c.agent";
    store_row *r = NULL;
    json_t *list = json_array();
    muga_status st = list ? store_query(s, &r, err, sql, "") : error_nomem(err, "consents");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = list_one(r, list, err);
    }
    store_done(r);
    *out = st == MUGA_OK ? list : NULL;
    if (st != MUGA_OK) {
        json_decref(list);
    }
    return st;
}
