/* Leave to run one call, given by a person. Owns: the binding, its single use, its end. Refuses: a yes to anything but
 * exactly what was held.
 *
 *   binding = SHA-256 over canonical JSON (RFC 8785) of
 *             {"approval": 1, "call", "attempt", "session", "tool", "definition", "arguments", "policy", "expires_ms"}
 *   id      = the first 40 bits of the binding in base 32
 *
 * Invariants
 *  1. The binding is computed anew from the journal's row and the manifest as they stand, when a person decides and
 *     again when the call starts; it must equal the stored one, and the id must be its beginning. So changing the
 *     arguments, the tool, the policy or the expiry in between voids the approval, and the id a person types names
 *     what they were shown.
 *  2. pending -> approved | denied | expired, approved -> used | expired: each is one UPDATE that names the state
 *     it leaves.
 *  3. used happens in the transaction in which the call becomes started, so an approval starts one call, once.
 *  4. One approval per (call, attempt).
 *  5. A yes takes a person who may say it (approvers.c); one who may not changes nothing, and is on the record.
 *  6. A session whose call expired is open only as long as a process drives it: else it is escalated. */
#include "agent/approvers.h"

#include <stdio.h>

muga_status approval_bind(const journal_call *c, int64_t expires_ms, uint8_t out[SHA256_BYTES], muga_error *err) {
    char definition[SHA256_HEX], policy[SHA256_HEX];
    hex_write(c->tool_digest, SHA256_BYTES, definition);
    hex_write(c->policy_digest, SHA256_BYTES, policy);
    json_t *v = json_pack("{s:i, s:s, s:I, s:s, s:s, s:s, s:O, s:s, s:I}", "approval", 1, "call", c->id, "attempt",
                          (json_int_t)c->attempt, "session", c->session, "tool", c->tool, "definition", definition,
                          "arguments", c->arguments, "policy", policy, "expires_ms", (json_int_t)expires_ms);
    muga_status st = v ? json_digest(v, out, err) : error_nomem(err, "an approval");
    json_decref(v);
    return st;
}

/* ---- rows ---- */

static muga_status read_row(store *s, store_row *r, approval_row *out, muga_error *err) {
    const char *id = store_string(r, 0), *state = store_string(r, 2);
    span binding = store_blob(r, 1);
    if (!id || !state || binding.n != SHA256_BYTES) {
        return error_set(err, MUGA_E_ENV, "%s: an approval is damaged; restore a copy", store_path(s));
    }
    snprintf(out->id, sizeof out->id, "%s", id);
    snprintf(out->state, sizeof out->state, "%s", state);
    memcpy(out->binding, binding.p, SHA256_BYTES);
    out->expires_ms = store_int(r, 3);
    return MUGA_OK;
}

muga_status approval_read(store *s, const journal_call *c, approval_row *out, muga_error *err) {
    store_row *r;
    bool has = false;
    muga_status st = store_query(s, &r, err,
                                 "SELECT id, binding, state, expires_ms FROM approvals WHERE call = ? AND attempt = ?",
                                 "si", c->id, c->attempt);
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    if (st == MUGA_OK) {
        st = has ? read_row(s, r, out, err) : error_set(err, MUGA_E_NOT_FOUND, "call %s waits for no approval", c->id);
    }
    store_done(r);
    return st;
}

/* The call that an approval is for; "" when there is none. */
static muga_status find_call(store *s, const char *id, char call[AGENT_ID_SIZE], muga_error *err) {
    store_row *r;
    bool has = false;
    call[0] = '\0';
    muga_status st = store_query(s, &r, err, "SELECT call FROM approvals WHERE id = ?", "s", id);
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    if (st == MUGA_OK && has) {
        snprintf(call, AGENT_ID_SIZE, "%s", store_string(r, 0));
    }
    store_done(r);
    return st;
}

static muga_status move_row(const agent_env *env, store *s, approval_row *a, const char *to, const char *approver,
                            muga_error *err) {
    int64_t n_changed = 0;
    muga_status st = store_exec(s, &n_changed, err,
                                "UPDATE approvals SET state = ?, decided_ms = coalesce(decided_ms, ?), approver ="
                                " coalesce(approver, ?) WHERE id = ? AND state = ?",
                                "sisss", to, env->clock->now_ms(env->clock->self), approver, a->id, a->state);
    if (st == MUGA_OK && n_changed != 1) {
        st = error_set(err, MUGA_E_POLICY, "approval %s is no longer %s", a->id, a->state);
    }
    if (st == MUGA_OK) {
        snprintf(a->state, sizeof a->state, "%s", to);
    }
    return st;
}

/* Two approvals whose 40 bits agree would share an id: a millisecond more gives another. */
muga_status approval_create(const agent_env *env, store *s, const journal_call *c, int64_t expires_ms,
                            approval_row *out, muga_error *err) {
    char taken[AGENT_ID_SIZE];
    muga_status st;
    for (;; expires_ms++) {
        st = approval_bind(c, expires_ms, out->binding, err);
        if (st != MUGA_OK) {
            return st;
        }
        id_of_binding(out->binding, out->id);
        st = find_call(s, out->id, taken, err);
        if (st != MUGA_OK) {
            return st;
        }
        if (!taken[0]) {
            break;
        }
    }
    out->expires_ms = expires_ms;
    snprintf(out->state, sizeof out->state, "pending");
    return store_exec(s, NULL, err,
                      "INSERT INTO approvals(id, call, attempt, binding, state, created_ms, expires_ms)"
                      " VALUES (?, ?, ?, ?, 'pending', ?, ?)",
                      "ssibii", out->id, c->id, c->attempt, out->binding, sizeof out->binding,
                      env->clock->now_ms(env->clock->self), expires_ms);
}

/* ---- checks ---- */

/* Invariant 1. `what` changed is named, since the remedy differs. */
static muga_status check_binding(const manifest *m, const journal_call *c, const approval_row *a, muga_error *err) {
    uint8_t binding[SHA256_BYTES];
    char id[AGENT_ID_SIZE];
    const manifest_tool *t = m ? manifest_tool_find(m, c->tool) : NULL;
    if (!t || memcmp(t->digest, c->tool_digest, SHA256_BYTES) != 0) {
        return error_set(err, MUGA_E_POLICY,
                         "approval %s: tool %.60s changed since the call was held; have it proposed anew", a->id,
                         c->tool);
    }
    if (memcmp(m->policy_digest, c->policy_digest, SHA256_BYTES) != 0) {
        return error_set(err, MUGA_E_POLICY,
                         "approval %s: the agent's policy changed since the call was held; have it"
                         " proposed anew",
                         a->id);
    }
    muga_status st = approval_bind(c, a->expires_ms, binding, err);
    if (st != MUGA_OK) {
        return st;
    }
    id_of_binding(binding, id);
    if (!bytes_equal_ct(binding, a->binding, sizeof binding) || strcmp(id, a->id) != 0) {
        return error_set(err, MUGA_E_POLICY, "approval %s is not for this call as it now stands; have it proposed anew",
                         a->id);
    }
    return MUGA_OK;
}

static bool is_over(const agent_env *env, const approval_row *a) {
    return env->clock->now_ms(env->clock->self) >= a->expires_ms;
}

muga_status approval_use(const agent_env *env, store *s, const manifest *m, const journal_call *c, muga_error *err) {
    approval_row a;
    muga_status st = approval_read(s, c, &a, err);
    if (st != MUGA_OK) {
        return st == MUGA_E_NOT_FOUND ? error_set(err, MUGA_E_POLICY, "call %s was never approved", c->id) : st;
    }
    if (strcmp(a.state, "approved") != 0) {
        return error_set(err, MUGA_E_POLICY, "approval %s is %s, not approved", a.id, a.state);
    }
    if (is_over(env, &a)) {
        return error_set(err, MUGA_E_POLICY, "approval %s has expired", a.id);
    }
    st = check_binding(m, c, &a, err);
    return st == MUGA_OK ? move_row(env, s, &a, "used", NULL, err) : st;
}

muga_status approval_expire(const agent_env *env, store *s, journal_call *c, bool *expired, muga_error *err) {
    approval_row a;
    *expired = false;
    muga_status st = approval_read(s, c, &a, err);
    bool open = st == MUGA_OK && (strcmp(a.state, "pending") == 0 || strcmp(a.state, "approved") == 0);
    if (!open || !is_over(env, &a)) {
        return st;
    }
    st = move_row(env, s, &a, "expired", NULL, err);
    if (st == MUGA_OK) {
        snprintf(c->reason, sizeof c->reason, "approval %s expired", a.id);
        st = journal_move(env, s, c, STATE_EXPIRED, NULL, err);
    }
    *expired = st == MUGA_OK;
    return st;
}

/* ---- a person decides ---- */

static muga_status record_decision(const agent_env *env, store *s, const journal_call *c, const approval_row *a,
                                   bool yes, const char *approver, muga_error *err) {
    char binding[SHA256_HEX];
    hex_write(a->binding, SHA256_BYTES, binding);
    json_t *payload = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "approval", a->id, "call", c->id, "decision",
                                yes ? "yes" : "no", "approver", approver, "binding", binding, "expires_ms",
                                (json_int_t)a->expires_ms);
    muga_status st = payload ? audit_write(env, s, c->session, "approval", payload, err)
                             : error_nomem(err, "an approval");
    json_decref(payload);
    return st;
}

/* A yes by who may not say it: the call goes on waiting. */
static muga_status record_barred(const agent_env *env, store *s, const journal_call *c, const approval_row *a,
                                 const char *approver, const char *why, muga_error *err) {
    json_t *payload =
        json_pack("{s:s, s:s, s:s, s:s}", "approval", a->id, "call", c->id, "barred", approver, "why", why);
    muga_status st = payload ? audit_write(env, s, c->session, "note", payload, err) : error_nomem(err, "an approval");
    json_decref(payload);
    return st;
}

static muga_status decide_in_time(const agent_env *env, store *s, const manifest *m, journal_call *c, approval_row *a,
                                  bool yes, const char *approver, muga_error *barred, muga_error *err) {
    muga_status st = yes ? check_binding(m, c, a, err) : MUGA_OK;
    muga_status may = st == MUGA_OK && yes ? approvers_check(env, s, m, c, approver, barred) : MUGA_OK;
    if (may == MUGA_E_POLICY) {
        return record_barred(env, s, c, a, approver, barred->message, err);
    }
    st = may != MUGA_OK ? error_set(err, may, "%s", barred->message) : st;
    st = st == MUGA_OK ? move_row(env, s, a, yes ? "approved" : "denied", approver, err) : st;
    st = st == MUGA_OK ? record_decision(env, s, c, a, yes, approver, err) : st;
    if (st == MUGA_OK) {
        snprintf(c->reason, sizeof c->reason, "%s by %.120s", yes ? "approved" : "denied", approver);
        st = journal_move(env, s, c, yes ? STATE_APPROVED : STATE_DENIED, NULL, err);
    }
    return st;
}

/* Inside a transaction. *late: its time was over; barred->status MUGA_E_POLICY: by whom may not; either is recorded, so
 * the transaction commits. */
static muga_status decide(const agent_env *env, store *s, const manifest *m, const char *id, bool yes,
                          const char *approver, bool *late, muga_error *barred, muga_error *err) {
    char call[AGENT_ID_SIZE];
    journal_call c = {.tool = NULL};
    approval_row a = {.id = ""};
    muga_status st = find_call(s, id, call, err);
    if (st == MUGA_OK && !call[0]) {
        st = error_set(err, MUGA_E_NOT_FOUND, "approval %s: not there; see muga approve list", id);
    }
    if (st == MUGA_OK) {
        st = journal_read(s, call, &c, err);
    }
    if (st == MUGA_OK) {
        st = approval_read(s, &c, &a, err);
    }
    if (st == MUGA_OK && (strcmp(a.id, id) != 0 || strcmp(a.state, "pending") != 0)) {
        st = error_set(err, MUGA_E_POLICY, "approval %s was already %s", id,
                       strcmp(a.id, id) != 0 ? "replaced by a newer one" : a.state);
    }
    if (st == MUGA_OK) {
        st = approval_expire(env, s, &c, late, err);
    }
    if (st == MUGA_OK && !*late) {
        st = decide_in_time(env, s, m, &c, &a, yes, approver, barred, err);
    }
    journal_call_release(&c);
    return st;
}

muga_status approval_decide(const agent_env *env, store *s, const manifest *m, const char *typed, bool yes,
                            const char *approver, muga_error *err) {
    char id[AGENT_ID_SIZE];
    bool late = false;
    muga_error barred = {MUGA_OK, ""};
    if (!id_read(typed, id)) {
        return error_set(err, MUGA_E_NOT_FOUND, "'%.40s' is no approval; see muga approve list", typed);
    }
    muga_status st = store_begin(s, err);
    if (st == MUGA_OK) {
        st = decide(env, s, m, id, yes, approver, &late, &barred, err);
        store_end(s, &st, err);
    }
    if (st == MUGA_OK && barred.status != MUGA_OK) {
        return error_set(err, MUGA_E_POLICY, "approval %s: %.220s", id, barred.message);
    }
    return st == MUGA_OK && late ? error_set(err, MUGA_E_POLICY, "approval %s has expired", id) : st;
}

bool approval_same_id(const char *approval, const char *typed) {
    char id[AGENT_ID_SIZE];
    return id_read(typed, id) && strcmp(id, approval) == 0;
}

const json_t *approval_find(const json_t *list, const char *typed) {
    size_t i;
    const json_t *e;
    json_array_foreach(list, i, e) {
        if (approval_same_id(json_get_string(e, "approval"), typed)) {
            return e;
        }
    }
    return NULL;
}

/* ---- what nobody decided in time ---- */

/* Nobody came: the conversation is a person's now. Its last words are said here, since no process drives it. */
static muga_status escalate(const agent_env *env, store *s, const char *session, muga_error *err) {
    int64_t n_changed = 0;
    json_t *why = json_pack("{s:s}", "why", "approval_expired"), *end = json_pack("{s:s}", "outcome", "escalate");
    muga_status st = why && end ? store_begin(s, err) : error_nomem(err, "an escalation");
    if (st == MUGA_OK) {
        st = store_exec(s, &n_changed, err,
                        "UPDATE sessions SET ended_ms = ?, outcome = 'escalate' WHERE id = ? AND ended_ms IS NULL",
                        "is", env->clock->now_ms(env->clock->self), session);
        st = st == MUGA_OK && n_changed ? audit_write(env, s, session, "escalation", why, err) : st;
        st = st == MUGA_OK && n_changed ? audit_write(env, s, session, "session_end", end, err) : st;
        store_end(s, &st, err);
    }
    json_decref(why);
    json_decref(end);
    return st;
}

/* Sessions that are open though a call of theirs has expired. One that a process drives is left to it. */
static muga_status escalate_overdue(const agent_env *env, store *s, muga_error *err) {
    store_row *r = NULL;
    json_t *sessions = json_array();
    muga_status st = sessions ? store_query(s, &r, err,
                                            "SELECT DISTINCT c.session FROM approvals a JOIN calls c ON c.id = a.call"
                                            " JOIN sessions x ON x.id = c.session WHERE a.state = 'expired' AND c.state"
                                            " = 'expired' AND x.ended_ms IS NULL ORDER BY c.session",
                                            "")
                              : error_nomem(err, "approvals");
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = json_array_append_new(sessions, json_string(store_string(r, 0))) == 0 ? MUGA_OK
                                                                                   : error_nomem(err, "approvals");
    }
    store_done(r);
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(sessions); i++) {
        const char *id = json_string_value(json_array_get(sessions, i));
        store_claim *claim = NULL;
        st = store_claim_take(s, id, &claim, err);
        st = st == MUGA_OK ? escalate(env, s, id, err) : st == MUGA_E_ENV ? MUGA_OK : st;
        store_claim_release(claim);
    }
    json_decref(sessions);
    return st;
}

/* ---- listing ---- */

/* Ids of the calls whose pending approval is over. */
static muga_status overdue_calls(store *s, int64_t now, json_t *out, muga_error *err) {
    store_row *r;
    muga_status st =
        store_query(s, &r, err, "SELECT call FROM approvals WHERE state = 'pending' AND expires_ms <= ?", "i", now);
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = json_array_append_new(out, json_string(store_string(r, 0))) == 0 ? MUGA_OK : error_nomem(err, "approvals");
    }
    store_done(r);
    return st;
}

static muga_status expire_overdue(const agent_env *env, store *s, muga_error *err) {
    json_t *calls = json_array();
    muga_status st = calls ? overdue_calls(s, env->clock->now_ms(env->clock->self), calls, err)
                           : error_nomem(err, "approvals");
    if (st == MUGA_OK && json_array_size(calls) > 0) {
        st = store_begin(s, err);
        if (st == MUGA_OK) {
            for (size_t i = 0; st == MUGA_OK && i < json_array_size(calls); i++) {
                journal_call c;
                bool expired;
                st = journal_read(s, json_string_value(json_array_get(calls, i)), &c, err);
                st = st == MUGA_OK ? approval_expire(env, s, &c, &expired, err) : st;
                journal_call_release(&c);
            }
            store_end(s, &st, err);
        }
    }
    json_decref(calls);
    return st;
}

static muga_status list_one(store_row *r, json_t *out, muga_error *err) {
    json_t *arguments = NULL, *values = NULL;
    muga_status st = store_json(r, 6, &arguments, err);
    if (st == MUGA_OK) {
        st = store_json(r, 7, &values, err);
    }
    if (st == MUGA_OK) {
        json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:s, s:I, s:I, s:s}", "approval",
                                  store_string(r, 0), "call", store_string(r, 1), "session", store_string(r, 2),
                                  "agent", store_string(r, 3), "dir", store_string(r, 4), "tool", store_string(r, 5),
                                  "arguments", arguments, "values", values, "state", store_string(r, 8), "created_ms",
                                  (json_int_t)store_int(r, 9), "expires_ms", (json_int_t)store_int(r, 10), "data_dir",
                                  store_string(r, 11));
        st = entry && json_array_append_new(out, entry) == 0 ? MUGA_OK : error_nomem(err, "approvals");
    }
    json_decref(arguments);
    json_decref(values);
    return st;
}

muga_status approval_list(const agent_env *env, store *s, json_t **out, muga_error *err) {
    static const char sql[] =
        "SELECT a.id, c.id, c.session, s.agent, s.dir, c.tool, c.arguments, s.session_values, c.state, a.created_ms,"
        " a.expires_ms, s.data_dir FROM approvals a JOIN calls c ON c.id = a.call AND c.attempt = a.attempt"
        " JOIN sessions s ON s.id = c.session WHERE a.state = 'pending' ORDER BY a.created_ms, a.id";
    store_row *r = NULL;
    json_t *list = json_array();
    muga_status st = list ? expire_overdue(env, s, err) : error_nomem(err, "approvals");
    st = st == MUGA_OK ? escalate_overdue(env, s, err) : st;
    if (st == MUGA_OK) {
        st = store_query(s, &r, err, sql, "");
    }
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
