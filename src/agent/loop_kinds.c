/* What every way to decide shares (loop_kinds.h). Owns: the choice of the way, the frame around a turn. */
#include "agent/loop_kinds.h"

#include "agent/interactions.h"
#include "agent/nested.h"
#include "agent/trace.h"

#include <stdio.h>

const char *turn_outcome_name(turn_outcome o) {
    static const char *const names[] = {"answer", "ask", "refuse", "escalate", "held"};
    return names[o];
}

void turn_result_release(turn_result *r) {
    str_release(&r->text);
    *r = (turn_result){.text = STR_INIT};
}

turn_outcome loop_outcome_of(const manifest_tool *t) {
    switch (t->kind->then) {
    case TOOL_ASKS: return TURN_ASK;
    case TOOL_ESCALATES: return TURN_ESCALATE;
    default: return TURN_ANSWER;
    }
}

void loop_watch_event(const agent_loop *l, const char *kind, json_t *data) {
    if (data && l->p.watch.event) {
        l->p.watch.event(l->p.watch.ctx, kind, data);
    }
    json_decref(data);
}

bool loop_is_over(const agent_loop *l) {
    const os_clock *clock = l->p.env->clock;
    const manifest *m = l->p.manifest;
    return l->n_tokens + l->p.session->n_nested_tokens >= m->max_tokens ||
           clock->monotonic_us(clock->self) - l->began_us >= (uint64_t)m->max_seconds * 1000000;
}

/* With the operator's consent the turn is kept to learn from. It has been taken, whatever becomes of that: what can't
 * be kept now is said, and kept with the next turn (interactions.h, invariant 3). */
static void keep_turn(const agent_loop *l) {
    muga_error why;
    record_outcome kept;
    const agent_session *s = l->p.session;
    if (s->dry) {
        return;
    }
    muga_status st = interactions_record(l->p.env, s->store, l->p.manifest, s->id, &kept, &why);
    const char *text = st != MUGA_OK ? why.message
                       : kept == RECORD_STALE
                           ? "consent was given to other terms than the manifest's learning: now has; give it anew"
                           : NULL;
    if (text) {
        loop_watch_event(l, "not_kept", json_pack("{s:s}", "why", text));
    }
}

muga_status loop_refuse_held(const json_t *held, turn_result *out, muga_error *err) {
    const char *call = json_get_string(held, "call"), *approval = json_get_string(held, "approval");
    snprintf(out->call, sizeof out->call, "%s", call ? call : "");
    snprintf(out->approval, sizeof out->approval, "%s", approval ? approval : "");
    return error_set(err, MUGA_E_POLICY,
                     "this session waits for approval %.40s, and takes no message before it is decided: muga approve "
                     "%.40s, or POST yes or no to /v1/approvals/%.40s",
                     out->approval, out->approval, out->approval);
}

static void begin(agent_loop *l, turn_result *out) {
    const os_clock *clock = l->p.env->clock;
    *out = (turn_result){.text = STR_INIT};
    l->n_tokens = 0;
    l->p.session->n_nested_tokens = 0;
    l->began_us = clock->monotonic_us(clock->self);
    trace_begin_turn(l->trace);
}

static muga_status finish(const agent_loop *l, muga_status st, turn_result *out) {
    const os_clock *clock = l->p.env->clock;
    out->n_tokens = (uint32_t)(l->n_tokens + l->p.session->n_nested_tokens);
    out->us = clock->monotonic_us(clock->self) - l->began_us;
    if (st != MUGA_OK) {
        str_release(&out->text);
    } else {
        keep_turn(l);
    }
    loop_watch_event(l, "trace", trace_end_turn(l->trace));
    return st;
}

muga_status loop_trace(agent_loop *l, muga_error *err) {
    muga_status st = trace_new(l->p.env->clock, &l->trace, err);
    if (st == MUGA_OK) {
        l->p.session->trace = l->trace;
        l->p.model = l->p.model ? trace_model(l->trace, l->p.model) : NULL;
        trace_store(l->trace, l->p.session->store);
    }
    return st;
}

muga_status loop_new(const loop_parts *parts, agent_loop **out, muga_error *err) {
    agent_loop *l = calloc(1, sizeof *l);
    if (!l) {
        return error_nomem(err, "a loop");
    }
    l->p = *parts;
    l->p.session->model = parts->model;
    l->kind = parts->manifest->kind != MANIFEST_GOAL ? &loop_kind_rules
              : parts->manifest->plan                ? &loop_kind_plan
                                                     : &loop_kind_intent;
    muga_status st = l->kind->open(l, err);
    if (st == MUGA_OK) {
        *out = l;
    } else {
        loop_free(l);
    }
    return st;
}

void loop_free(agent_loop *l) {
    if (l) {
        l->kind->close(l);
        if (l->trace) {
            l->p.session->trace = NULL;
            trace_store(NULL, l->p.session->store);
            trace_free(l->trace);
        }
        free(l);
    }
}

/* The other agent, when this one handed its person over in this turn. */
static muga_status then_handed(agent_loop *l, muga_status st, turn_result *out, muga_error *err) {
    const json_t *handed = st == MUGA_OK && out->outcome != TURN_HELD ? loop_handed(l) : NULL;
    return handed ? loop_handed_first(l, handed, out, err) : st;
}

muga_status loop_turn(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err) {
    str kept = STR_INIT;
    bool stopped = false;
    const json_t *handed = loop_handed(l);
    begin(l, out);
    muga_status st = loop_guard_message(l, text, n, &kept, out, &stopped, err);
    if (st == MUGA_OK && !stopped) {
        st = handed ? loop_handed_turn(l, handed, str_get(&kept), kept.len, out, err)
                    : then_handed(l, l->kind->turn(l, str_get(&kept), kept.len, out, err), out, err);
    }
    str_release(&kept);
    return finish(l, st, out);
}

muga_status loop_percept(agent_loop *l, const json_t *percept, turn_result *out, muga_error *err) {
    begin(l, out);
    if (!l->kind->percept) {
        return error_set(err, MUGA_E_INPUT, "agent %.64s takes messages, no percepts", l->p.manifest->name);
    }
    return finish(l, l->kind->percept(l, percept, out, err), out);
}

bool loop_is_unfinished(const agent_loop *l) {
    const json_t *handed = loop_handed(l);
    return handed                ? loop_handed_unfinished(l, handed)
           : l->kind->unfinished ? l->kind->unfinished(l)
                                 : loop_unanswered(l) != NULL;
}

muga_status loop_resume(agent_loop *l, turn_result *out, muga_error *err) {
    const json_t *handed = loop_handed(l);
    begin(l, out);
    muga_status st = handed ? loop_handed_turn(l, handed, NULL, 0, out, err)
                            : then_handed(l, l->kind->resume(l, out, err), out, err);
    return finish(l, st, out);
}
