/* Guards around a turn, whatever the way an agent decides. Owns: what is said when a guard stops a message or an
 * answer, the records of guards. Refuses: to let a message in, or an answer out, that was not looked at.
 *
 *   message   pass, mask: the loop gets the text as it goes on; ask, refuse: said at once, the message is kept nowhere;
 *             escalate: said at once, and the session ends
 *   answer    pass, mask: said; refuse, escalate: the manifest's words instead */
#include "agent/guard.h"
#include "agent/loop_internal.h"
#include "agent/nested.h"
#include "agent/trace.h"

#define FOUND_MAX 20 /* findings told in one record */

muga_status loop_set_state(agent_loop *l, const char *key, const char *text, muga_error *err) {
    if (!json_object_get(json_object_get(l->p.manifest->state_schema, "properties"), key)) {
        return MUGA_OK;
    }
    json_t *state = json_clone(session_state(l->p.session));
    bool ok = state && json_object_set_new(state, key, text ? json_string(text) : json_null()) == 0;
    muga_status st = ok ? session_set_state(l->p.session, state, err) : error_nomem(err, "a state");
    json_decref(state);
    return st;
}

muga_status session_audit_guard(agent_session *s, const char *side, const char *action, const char *why,
                                const json_t *found, json_t **out, muga_error *err) {
    json_t *some = json_array();
    size_t n = json_array_size(found);
    bool ok = some != NULL;
    for (size_t i = 0; ok && i < MIN(n, (size_t)FOUND_MAX); i++) {
        ok = json_array_append(some, json_array_get(found, i)) == 0;
    }
    json_t *record = ok ? json_pack("{s:s, s:s, s:s?, s:O, s:I}", "guard", side, "action", action, "why", why, "found",
                                    some, "n_found", (json_int_t)n)
                        : NULL;
    muga_status st = record ? audit_append(s, "guard", record, NULL, err) : error_nomem(err, "a record");
    json_decref(some);
    if (st == MUGA_OK && out) {
        *out = record;
    } else {
        json_decref(record);
    }
    return st;
}

static muga_status record_verdict(const agent_loop *l, guard_side side, const guard_verdict *v, muga_error *err) {
    json_t *record = NULL;
    muga_status st = session_audit_guard(l->p.session, guard_side_name(side), guard_action_name(v->action), v->what,
                                         v->found, &record, err);
    loop_watch_event(l, "guard", record);
    return st;
}

static turn_outcome outcome_of(guard_action a) {
    return a == GUARD_ASK ? TURN_ASK : a == GUARD_ESCALATE ? TURN_ESCALATE : TURN_REFUSE;
}

static muga_status record_escalation(const agent_loop *l, const char *guard, muga_error *err) {
    str why = STR_INIT;
    str_printf(&why, "guard: %s", guard);
    json_t *record = why.failed ? NULL
                                : json_pack("{s:s, s:s?}", "why", str_get(&why), "to", l->p.manifest->escalation_to);
    muga_status st = record ? audit_append(l->p.session, "escalation", record, NULL, err)
                            : error_nomem(err, "a record");
    loop_watch_event(l, "escalation", record);
    str_release(&why);
    return st;
}

/* The person is told out->text, and the turn ends. */
static muga_status end_turn(agent_loop *l, const char *guard, turn_result *out, muga_error *err) {
    const char *name = turn_outcome_name(out->outcome);
    muga_status st = out->outcome == TURN_ESCALATE ? record_escalation(l, guard, err) : MUGA_OK;
    st = st == MUGA_OK ? session_add_answer(l->p.session, name, str_get(&out->text), err) : st;
    if (st == MUGA_OK && out->outcome != TURN_ASK) {
        st = loop_set_state(l, "resolution", name, err);
    }
    loop_watch_event(l, "answer", json_pack("{s:s, s:s}", "kind", name, "text", str_get(&out->text)));
    return st == MUGA_OK && out->outcome == TURN_ESCALATE ? session_end(l->p.session, name, err) : st;
}

static muga_status stop(agent_loop *l, const guard_verdict *v, turn_result *out, muga_error *err) {
    static const char *const words[] = {[GUARD_ASK] = "I can't read this message: it %s. Please write it without that.",
                                        [GUARD_ESCALATE] = "A person will look at this message: it %s.",
                                        [GUARD_REFUSE] = "I can't read this message: it %s."};
    out->outcome = outcome_of(v->action);
    if (v->say) {
        str_append_s(&out->text, v->say);
    } else {
        str_printf(&out->text, words[v->action], v->what);
    }
    muga_status st = str_status(&out->text, err, "an answer");
    return st == MUGA_OK ? end_turn(l, v->guard, out, err) : st;
}

/* The other agent's scope counts once a person is handed over. */
static muga_status keep_to_scope(agent_loop *l, const str *text, turn_result *out, bool *stopped, muga_error *err) {
    muga_status st = loop_scope_message(l, str_get(text), text->len, &out->text, &out->outcome, stopped, err);
    return st == MUGA_OK && *stopped ? end_turn(l, "scope", out, err) : st;
}

muga_status loop_guard_message(agent_loop *l, const char *text, size_t n, str *kept, turn_result *out, bool *stopped,
                               muga_error *err) {
    guard_verdict v;
    *stopped = false;
    trace_enter(l->trace, TRACE_GUARD, "message");
    muga_status st = guard_check(l->p.manifest->guards, GUARD_INPUT, text, n, &v, err);
    trace_leave(l->trace);
    if (st != MUGA_OK) {
        return st;
    }
    if (v.action != GUARD_PASS) {
        st = record_verdict(l, GUARD_INPUT, &v, err);
    }
    *stopped = v.action > GUARD_MASK;
    if (st == MUGA_OK && *stopped) {
        st = stop(l, &v, out, err);
    } else if (st == MUGA_OK) {
        str_append(kept, str_get(&v.text), v.text.len);
        st = str_status(kept, err, "a message");
    }
    guard_verdict_release(&v);
    return st == MUGA_OK && !*stopped && !loop_handed(l) ? keep_to_scope(l, kept, out, stopped, err) : st;
}

muga_status loop_guard_answer(agent_loop *l, turn_outcome *kind, str *text, muga_error *err) {
    guard_verdict v;
    trace_enter(l->trace, TRACE_GUARD, "answer");
    muga_status st = guard_check(l->p.manifest->guards, GUARD_OUTPUT, str_get(text), text->len, &v, err);
    trace_leave(l->trace);
    if (st != MUGA_OK) {
        return st;
    }
    if (v.action != GUARD_PASS) {
        st = record_verdict(l, GUARD_OUTPUT, &v, err);
        str_truncate(text, 0);
    }
    if (v.action == GUARD_MASK) {
        str_append(text, str_get(&v.text), v.text.len);
    } else if (v.action != GUARD_PASS) {
        str_append_s(text, v.say                        ? v.say
                           : v.action == GUARD_ESCALATE ? "A person will answer this."
                                                        : "I must not say this.");
        *kind = outcome_of(v.action);
        if (st == MUGA_OK && v.action == GUARD_ESCALATE) {
            st = record_escalation(l, v.guard, err);
        }
    }
    guard_verdict_release(&v);
    return st == MUGA_OK ? str_status(text, err, "an answer") : st;
}

bool loop_add_scalars(json_t *list, const json_t *v) {
    const char *key;
    json_t *sub;
    bool ok = true;
    if (json_is_string(v)) {
        return json_array_append(list, json_borrow(v)) == 0;
    }
    if (json_is_number(v)) {
        str text = STR_INIT;
        json_write(v, &text);
        ok = !text.failed && json_array_append_new(list, json_stringn(str_get(&text), text.len)) == 0;
        str_release(&text);
    }
    json_object_foreach(json_borrow(v), key, sub) {
        ok = ok && json_array_append_new(list, json_string(key)) == 0 && loop_add_scalars(list, sub);
    }
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        ok = loop_add_scalars(list, json_array_get(v, i));
    }
    return ok;
}

muga_status loop_is_grounded(const agent_loop *l, const char *text, const json_t *texts, bool *ok, muga_error *err) {
    char which[64];
    trace_enter(l->trace, TRACE_GUARD, "numbers");
    muga_status st = guard_is_grounded(l->p.manifest->guards, text, texts, ok, which, err);
    trace_leave(l->trace);
    if (st == MUGA_OK && !*ok) {
        json_t *record = json_pack("{s:s, s:s}", "guard", "output.grounded", "value", which);
        st = record ? audit_append(l->p.session, "guard", record, NULL, err) : error_nomem(err, "a record");
        loop_watch_event(l, "guard", record);
    }
    return st;
}
