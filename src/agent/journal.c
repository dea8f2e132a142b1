/* The call journal: one row of `calls` for every call a model ever proposed. Owns: the states and the only function
 * that changes one. Refuses: a change the table does not have, and a change that someone else was quicker to make.
 *
 *   from       to          who                                     durable
 *   -          proposed    executor_call                           with the next one that commits
 *   proposed   invalid     executor_call: schema, grounding        at once; nothing ran
 *   proposed   validated   executor_call                           with the next
 *   validated  refused     executor_call: policy says deny         at once; nothing ran
 *   validated  held        executor_call: policy says ask          at once, with its approval
 *   validated  started     executor_call: policy says allow        before the effect
 *   held       approved    approval_decide: a person's yes         at once
 *   held       denied      approval_decide: a person's no          at once
 *   held       expired     approval_expire                         at once
 *   approved   started     executor_resume, using the approval     before the effect
 *   approved   expired     approval_expire                         at once
 *   approved   refused     executor_resume: tool, policy or        at once; nothing ran
 *                          arguments are not what was approved
 *   started    finished    executor: the tool gave a result        before the next step
 *   started    failed      executor: it did not                    before the next step
 *   started    started     executor_recover: proven not to have    before the effect
 *                          run, or idempotent: run again; or
 *                          executor_run: it failed and is retried;
 *                          or tool_prepare: what it will give
 *   started    in_doubt    executor_recover, or cut off: may have  at once, with a new approval
 *                          run, can't be told
 *   in_doubt   approved    approval_decide: run it again           at once
 *   in_doubt   denied      approval_decide: leave it               at once
 *   in_doubt   expired     approval_expire                         at once
 *
 * Invariants
 *  1. A tool runs only while its call's row says `started`, and that row was durable before.
 *  2. Every change of state is one UPDATE that names the state it leaves, in one transaction with its audit record:
 *     of two who try, one changes nothing and is told so.
 *  3. `attempt` counts the permissions to run: a call that was in doubt needs a new one.
 *  4. A `started` call has a result only by tool_prepare: its effect was in that transaction, or was to follow it.
 *  5. From invalid, refused, denied, expired, finished, failed nothing leads on. */
#include "agent/internal.h"

#include <stdio.h>

static const char *const state_names[N_CALL_STATES] = {"proposed", "invalid",  "validated", "refused",
                                                       "held",     "approved", "denied",    "expired",
                                                       "started",  "in_doubt", "finished",  "failed"};

const char *call_state_name(call_state s) {
    return state_names[s];
}

static bool state_of_name(const char *name, call_state *out) {
    for (int i = 0; name && i < N_CALL_STATES; i++) {
        if (strcmp(state_names[i], name) == 0) {
            *out = (call_state)i;
            return true;
        }
    }
    return false;
}

bool call_state_may_follow(call_state from, call_state to) {
    static const unsigned next[N_CALL_STATES] = {
        [STATE_PROPOSED] = 1u << STATE_INVALID | 1u << STATE_VALIDATED,
        [STATE_VALIDATED] = 1u << STATE_REFUSED | 1u << STATE_HELD | 1u << STATE_STARTED,
        [STATE_HELD] = 1u << STATE_APPROVED | 1u << STATE_DENIED | 1u << STATE_EXPIRED,
        [STATE_APPROVED] = 1u << STATE_STARTED | 1u << STATE_EXPIRED | 1u << STATE_REFUSED,
        [STATE_STARTED] = 1u << STATE_FINISHED | 1u << STATE_FAILED | 1u << STATE_STARTED | 1u << STATE_IN_DOUBT,
        [STATE_IN_DOUBT] = 1u << STATE_APPROVED | 1u << STATE_DENIED | 1u << STATE_EXPIRED,
    };
    return next[from] >> to & 1;
}

void journal_call_release(journal_call *c) {
    free(c->tool);
    json_decref(c->arguments);
    json_decref(c->result);
    *c = (journal_call){.tool = NULL};
}

/* ---- reading ---- */

static muga_status damaged(store *s, const char *id, muga_error *err) {
    return error_set(err, MUGA_E_ENV, "%s: call %s is damaged; run muga audit verify, and restore a copy",
                     store_path(s), id);
}

static muga_status read_row(store *s, store_row *r, journal_call *c, muga_error *err) {
    const char *session = store_string(r, 0), *tool = store_string(r, 1), *reason = store_string(r, 7);
    span tool_digest = store_blob(r, 2), policy_digest = store_blob(r, 3);
    if (!session || !tool || tool_digest.n != SHA256_BYTES || policy_digest.n != SHA256_BYTES ||
        !state_of_name(store_string(r, 5), &c->state)) {
        return damaged(s, c->id, err);
    }
    snprintf(c->session, sizeof c->session, "%s", session);
    snprintf(c->reason, sizeof c->reason, "%s", reason ? reason : "");
    memcpy(c->tool_digest, tool_digest.p, SHA256_BYTES);
    memcpy(c->policy_digest, policy_digest.p, SHA256_BYTES);
    c->attempt = store_int(r, 6);
    c->tool = mem_copy_string(tool);
    muga_status st = c->tool ? store_json(r, 4, &c->arguments, err) : error_nomem(err, "a call");
    if (st == MUGA_OK && !store_is_null(r, 8)) {
        st = store_json(r, 8, &c->result, err);
    }
    return st;
}

muga_status journal_read(store *s, const char *id, journal_call *out, muga_error *err) {
    *out = (journal_call){.tool = NULL};
    snprintf(out->id, sizeof out->id, "%s", id);
    store_row *r;
    bool has = false;
    muga_status st =
        store_query(s, &r, err,
                    "SELECT session, tool, tool_digest, policy_digest, arguments, state, attempt, reason, result"
                    " FROM calls WHERE id = ?",
                    "s", id);
    if (st == MUGA_OK) {
        st = store_step(r, &has, err);
    }
    if (st == MUGA_OK) {
        st = has ? read_row(s, r, out, err) : error_set(err, MUGA_E_NOT_FOUND, "call %.40s: not there", id);
    }
    store_done(r);
    if (st != MUGA_OK) {
        journal_call_release(out);
    }
    return st;
}

muga_status journal_shown(const manifest *m, const journal_call *c, json_t **out, muga_error *err) {
    const manifest_tool *t = manifest_tool_find(m, c->tool);
    if (!c->result || !t || c->state != STATE_FINISHED) {
        *out = c->result ? json_incref(c->result) : json_null();
        return MUGA_OK;
    }
    return long_result_extract(c->result, c->id, t->shown_bytes, out, err);
}

/* ---- writing ---- */

static muga_status add(json_t *object, const char *key, json_t *value, muga_error *err) {
    return json_object_set_new(object, key, value) == 0 ? MUGA_OK : error_nomem(err, "an audit record");
}

/* {"call", "tool", "state", "attempt"} and what this state adds: arguments, result, reason, the caller's detail. */
static muga_status audit_state(const agent_env *env, store *s, const journal_call *c, const json_t *detail,
                               muga_error *err) {
    json_t *payload = json_pack("{s:s, s:s, s:s, s:I}", "call", c->id, "tool", c->tool, "state", state_names[c->state],
                                "attempt", (json_int_t)c->attempt);
    muga_status st = payload ? MUGA_OK : error_nomem(err, "an audit record");
    if (st == MUGA_OK && c->state == STATE_PROPOSED) {
        char definition[SHA256_HEX], policy[SHA256_HEX];
        hex_write(c->tool_digest, SHA256_BYTES, definition);
        hex_write(c->policy_digest, SHA256_BYTES, policy);
        st = add(payload, "arguments", json_incref(c->arguments), err);
        st = st == MUGA_OK ? add(payload, "definition", json_string(definition), err) : st;
        st = st == MUGA_OK ? add(payload, "policy", json_string(policy), err) : st;
    }
    bool is_over = c->state == STATE_FINISHED || c->state == STATE_FAILED;
    if (st == MUGA_OK && c->result && (is_over || c->state == STATE_STARTED)) {
        st = add(payload, "result", json_incref(c->result), err);
    }
    if (st == MUGA_OK && c->result && is_over) {
        st = add(payload, "label", json_string(c->label), err);
    }
    if (st == MUGA_OK && c->reason[0]) {
        st = add(payload, "reason", json_string(c->reason), err);
    }
    if (st == MUGA_OK && detail && json_object_update(payload, json_borrow(detail)) != 0) {
        st = error_nomem(err, "an audit record");
    }
    if (st == MUGA_OK) {
        st = audit_write(env, s, c->session, "call", payload, err);
    }
    json_decref(payload);
    return st;
}

muga_status journal_propose(const agent_env *env, store *s, const journal_call *c, muga_error *err) {
    int64_t now = env->clock->now_ms(env->clock->self);
    muga_status st =
        store_exec(s, NULL, err,
                   "INSERT INTO calls(id, session, n, tool, tool_digest, policy_digest, arguments, state, attempt,"
                   " created_ms, changed_ms) VALUES (?1, ?2, (SELECT coalesce(max(n), 0) + 1 FROM calls WHERE"
                   " session = ?2), ?3, ?4, ?5, ?6, 'proposed', ?7, ?8, ?8)",
                   "sssbbjii", c->id, c->session, c->tool, c->tool_digest, (size_t)SHA256_BYTES, c->policy_digest,
                   (size_t)SHA256_BYTES, c->arguments, c->attempt, now);
    return st == MUGA_OK ? audit_state(env, s, c, NULL, err) : st;
}

muga_status journal_move(const agent_env *env, store *s, journal_call *c, call_state to, const json_t *detail,
                         muga_error *err) {
    if (!call_state_may_follow(c->state, to)) {
        return error_set(err, MUGA_E_INTERNAL, "call %s: from %s to %s is no step of the journal", c->id,
                         state_names[c->state], state_names[to]);
    }
    int64_t n_changed = 0, now = env->clock->now_ms(env->clock->self);
    muga_status st =
        store_exec(s, &n_changed, err,
                   "UPDATE calls SET state = ?, attempt = ?, result = ?, reason = ?, changed_ms = ?, label = ?"
                   " WHERE id = ? AND state = ?",
                   "sijsisss", state_names[to], c->attempt, c->result, c->reason[0] ? c->reason : NULL, now,
                   c->label[0] ? c->label : NULL, c->id, state_names[c->state]);
    if (st == MUGA_OK && n_changed != 1) {
        st = error_set(err, MUGA_E_POLICY, "call %s is no longer %s: someone else moved it first", c->id,
                       state_names[c->state]);
    }
    if (st == MUGA_OK) {
        c->state = to;
        st = audit_state(env, s, c, detail, err);
    }
    return st;
}
