/* What a rule loop learns (loop_rules.h). Owns: the way of observations into the state, and the record of which calls
 * were observed and which are held. Refuses: a state that its schema doesn't allow; it stays as it was, and the record
 * says why.
 *
 * Invariants
 *   1. Nothing but observe: rules writes the members that a manifest declares: not a rule, not a model's answer.
 *   2. A call of the history is observed once: state.calls.seen moves in the transaction of what is observed. */
#include "agent/loop_rules.h"

#include "agent/manifest_rules.h"

#include <stdio.h>

/* ---- the context ---- */

static json_t *or_null(const json_t *v) {
    return v ? json_incref(json_borrow(v)) : json_null();
}

json_t *loop_context(const agent_loop *l, const json_t *percept, const json_t *message, muga_error *err) {
    const os_clock *clock = l->p.env->clock;
    json_t *c = json_pack("{s:o, s:o, s:{}, s:O, s:O, s:n, s:n, s:n, s:n, s:I}", "percept", or_null(percept), "message",
                          or_null(message), "match", "session", session_values(l->p.session), "state",
                          session_state(l->p.session), "tool", "arguments", "outcome", "result", "now",
                          (json_int_t)(clock->now_ms(clock->self) / 1000));
    if (!c) {
        (void)!error_nomem(err, "a context");
    }
    return c;
}

muga_status loop_context_set_call(json_t *context, const char *tool, const json_t *arguments, const char *outcome,
                                  const json_t *result, muga_error *err) {
    bool ok = json_object_set_new(context, "tool", json_string(tool)) == 0 &&
              json_object_set_new(context, "arguments", or_null(arguments)) == 0 &&
              json_object_set_new(context, "outcome", json_string(outcome)) == 0 &&
              json_object_set_new(context, "result", or_null(result)) == 0;
    return ok ? MUGA_OK : error_nomem(err, "a context");
}

/* ---- observing ---- */

/* A copy of the state, with `calls` in it. */
static json_t *begin_state(const agent_loop *l, const json_t *calls) {
    json_t *state = json_clone(session_state(l->p.session));
    if (state && calls && json_object_set(state, STATE_CALLS, json_borrow(calls)) != 0) {
        json_decref(state);
        return NULL;
    }
    return state;
}

muga_status loop_observe(agent_loop *l, observe_event event, const char *tool, const char *outcome, json_t *context,
                         const json_t *calls, json_t *observed, char problem[RULES_PROBLEM_SIZE], json_t **next,
                         muga_error *err) {
    const manifest *m = l->p.manifest;
    muga_error why = {0};
    json_t *state = begin_state(l, calls);
    *next = NULL;
    muga_status st = state && json_object_set(context, "state", json_borrow(session_state(l->p.session))) == 0
                         ? MUGA_OK
                         : error_nomem(err, "a state");
    if (st == MUGA_OK) {
        muga_status verdict = rules_observe(m->rules, event, tool, outcome, context, state, observed, &why);
        verdict = verdict == MUGA_OK ? constrain_validate(m->state_schema, state, NULL, &why) : verdict;
        if (verdict == MUGA_E_NOMEM) {
            st = error_nomem(err, "a state");
        } else if (verdict != MUGA_OK) { /* as it was */
            snprintf(problem, RULES_PROBLEM_SIZE, "state: %.200s", why.message);
            json_array_clear(observed);
            json_decref(state);
            state = begin_state(l, calls);
            st = state && json_object_set(context, "state", state) == 0 ? MUGA_OK : error_nomem(err, "a state");
        }
    }
    st = st == MUGA_OK ? session_write_state(l->p.session, state, err) : st;
    if (st == MUGA_OK) {
        *next = state;
    } else {
        json_decref(state);
    }
    return st;
}

/* state.calls with one more call seen; or without the entry of `call` in held, or with `entry` in its place. A call
 * that is seen stays in held, where it is: what came of it has not been said yet (loop_forget_held). */
static json_t *change_calls(const agent_loop *l, const char *call, bool seen, const json_t *entry) {
    json_t *calls = json_clone(json_object_get(session_state(l->p.session), STATE_CALLS)),
           *held = json_object_get(calls, "held");
    bool ok = calls != NULL;
    for (size_t i = seen ? 0 : json_array_size(held); i-- > 0;) {
        if (strcmp(json_get_string(json_array_get(held, i), "call"), call) == 0) {
            json_array_remove(held, i);
        }
    }
    if (ok && seen) {
        ok = json_object_set_new(calls, "seen", json_integer(json_get_int(calls, "seen", 0) + 1)) == 0;
    }
    if (ok && entry) {
        ok = json_array_append(held, json_borrow(entry)) == 0;
    }
    if (!ok) {
        json_decref(calls);
        return NULL;
    }
    return calls;
}

static muga_status audit_observed(agent_session *s, const char *call, const json_t *observed, const char *problem,
                                  muga_error *err) {
    if (json_array_size(observed) == 0 && !problem[0]) {
        return MUGA_OK;
    }
    json_t *record = json_pack("{s:s, s:s, s:O}", "decided", "observation", "call", call, "observed", observed);
    bool ok = record && (!problem[0] || json_object_set_new(record, "problem", json_string(problem)) == 0);
    muga_status st = ok ? audit_write(&s->env, s->store, s->id, "decision", record, err) : error_nomem(err, "a record");
    json_decref(record);
    return st;
}

/* One call, in one transaction. */
static muga_status observe_one(agent_loop *l, const char *call, const char *outcome, json_t *context, bool seen,
                               const json_t *entry, char problem[RULES_PROBLEM_SIZE], muga_error *err) {
    agent_session *s = l->p.session;
    char own[RULES_PROBLEM_SIZE] = "";
    json_t *observed = json_array(), *calls = NULL, *next = NULL;
    muga_status st = observed ? store_begin(s->store, err) : error_nomem(err, "a record");
    if (st == MUGA_OK) {
        st = session_refresh(s, err);
        calls = change_calls(l, call, seen, entry);
        st = st == MUGA_OK && !calls ? error_nomem(err, "a state") : st;
        if (st == MUGA_OK) {
            st = loop_observe(l, OBSERVE_TOOL, json_get_string(context, "tool"), outcome, context, calls, observed, own,
                              &next, err);
        }
        st = st == MUGA_OK ? audit_observed(s, call, observed, own, err) : st;
        store_end(s->store, &st, err);
    }
    if (st == MUGA_OK) {
        session_take_state(s, next);
        if (own[0]) {
            memcpy(problem, own, sizeof own);
        }
    }
    json_decref(next);
    json_decref(calls);
    json_decref(observed);
    return st;
}

muga_status loop_observe_call(agent_loop *l, const call_result *r, const char *tool, const json_t *arguments,
                              const json_t *entry, char problem[RULES_PROBLEM_SIZE], muga_error *err) {
    const char *outcome = call_outcome_name(r->outcome);
    json_t *context = loop_context(l, json_object_get(entry, "percept"), json_object_get(entry, "message"), err);
    muga_status st = context ? loop_context_set_call(context, tool, arguments, outcome, r->result, err) : MUGA_E_NOMEM;
    st = st == MUGA_OK ? observe_one(l, r->call, outcome, context, false, entry, problem, err) : st;
    json_decref(context);
    return st;
}

muga_status loop_forget_held(agent_loop *l, const char *call, muga_error *err) {
    json_t *state = json_clone(session_state(l->p.session)), *calls = change_calls(l, call, false, NULL);
    bool ok = state && calls && json_object_set(state, STATE_CALLS, calls) == 0;
    muga_status st = ok ? session_set_state(l->p.session, state, err) : error_nomem(err, "a state");
    json_decref(calls);
    json_decref(state);
    return st;
}

muga_status loop_observe_history(agent_loop *l, char problem[RULES_PROBLEM_SIZE], muga_error *err) {
    const json_t *history = session_history(l->p.session);
    int64_t seen = json_get_int(json_object_get(session_state(l->p.session), STATE_CALLS), "seen", 0);
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && l->i_history < json_array_size(history)) {
        const json_t *h = json_array_get(history, l->i_history);
        const char *tool = json_get_string(h, "tool"), *outcome = json_get_string(h, "outcome");
        if (tool && outcome && l->n_calls++ >= seen) {
            json_t *context = loop_context(l, NULL, NULL, err);
            st = context ? loop_context_set_call(context, tool, json_object_get(h, "arguments"), outcome,
                                                 json_object_get(h, "content"), err)
                         : MUGA_E_NOMEM;
            st = st == MUGA_OK ? observe_one(l, json_get_string(h, "call"), outcome, context, true, NULL, problem, err)
                               : st;
            json_decref(context);
            l->n_calls -= st != MUGA_OK;
        }
        l->i_history += st == MUGA_OK;
    }
    return st;
}
