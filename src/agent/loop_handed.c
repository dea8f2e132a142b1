/* After a hand-off (nested.h): the person's messages go to the other agent's session, and its answers come back as this
 * session's. Owns: nothing; the call in the history says who has the person now. */
#include "agent/executor_internal.h"
#include "agent/loop_internal.h"
#include "agent/nested.h"

#include <stdio.h>

const json_t *loop_handed(const agent_loop *l) {
    const json_t *history = session_history(l->p.session);
    for (size_t i = json_array_size(history); i-- > 0;) {
        const json_t *entry = json_array_get(history, i);
        const char *name = json_get_string(entry, "tool"), *outcome = json_get_string(entry, "outcome");
        const manifest_tool *tool = name ? manifest_tool_find(l->p.manifest, name) : NULL;
        if (tool && tool->kind->then == TOOL_HANDS_OFF && outcome && strcmp(outcome, "finished") == 0) {
            return entry;
        }
    }
    return NULL;
}

bool loop_handed_unfinished(const agent_loop *l, const json_t *call) {
    char id[AGENT_ID_SIZE];
    store_row *r = NULL;
    bool has = false, left = false;
    nested_id(json_get_string(call, "call"), id);
    if (store_query(l->p.session->store, &r, NULL,
                    "SELECT role <> 'assistant' FROM history WHERE session = ? ORDER BY n DESC LIMIT 1", "s",
                    id) == MUGA_OK &&
        store_step(r, &has, NULL) == MUGA_OK) {
        left = has && store_int(r, 0);
    }
    store_done(r);
    return left;
}

static muga_status run_inner(agent_loop *l, const json_t *call, const char *text, size_t n, turn_result *out,
                             muga_error *err) {
    agent_session *outer = l->p.session, *inner = NULL;
    const manifest_tool *tool = manifest_tool_find(l->p.manifest, json_get_string(call, "tool"));
    void *other = NULL;
    muga_status st = executor_open_tool(outer, tool, &other, err);
    st = st == MUGA_OK ? nested_session(other, outer, json_get_string(call, "call"), false, &inner, err) : st;
    st = st == MUGA_OK ? nested_turn(other, inner, l->p.model, &l->p.watch, text, n, out, err) : st;
    if (st == MUGA_OK) {
        l->n_tokens += out->n_tokens;
    }
    session_close(inner);
    return st;
}

/* What was said stands in this session, too, and passes its guards. */
static muga_status record(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err) {
    agent_session *s = l->p.session;
    muga_status st = text ? session_add_user(s, text, n, err) : MUGA_OK;
    if (st != MUGA_OK || out->outcome == TURN_HELD) {
        return st;
    }
    st = loop_guard_answer(l, &out->outcome, &out->text, err);
    const char *kind = turn_outcome_name(out->outcome);
    st = st == MUGA_OK ? session_add_answer(s, kind, str_get(&out->text), err) : st;
    return st == MUGA_OK && out->outcome == TURN_ESCALATE ? session_end(s, kind, err) : st;
}

muga_status loop_handed_turn(agent_loop *l, const json_t *call, const char *text, size_t n, turn_result *out,
                             muga_error *err) {
    muga_status st = run_inner(l, call, text, n, out, err);
    return st == MUGA_OK ? record(l, text, n, out, err) : st;
}

muga_status loop_handed_first(agent_loop *l, const json_t *call, turn_result *out, muga_error *err) {
    const json_t *history = session_history(l->p.session), *said = NULL;
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *entry = json_array_get(history, i);
        said = strcmp(json_get_string(entry, "role"), "user") == 0 ? json_object_get(entry, "content") : said;
    }
    turn_result r = {.text = STR_INIT};
    muga_status st = said ? run_inner(l, call, json_string_value(said), json_string_length(said), &r, err)
                          : error_set(err, MUGA_E_INPUT, "nobody said a thing that another agent could go on with");
    st = st == MUGA_OK ? record(l, NULL, 0, &r, err) : st;
    if (st == MUGA_OK) {
        str_append_s(&out->text, out->text.len > 0 && r.text.len > 0 ? " " : "");
        str_append(&out->text, str_get(&r.text), r.text.len);
        out->outcome = r.outcome;
        out->done = r.done;
        memcpy(out->call, r.call, sizeof out->call);
        memcpy(out->approval, r.approval, sizeof out->approval);
        st = str_status(&out->text, err, "an answer");
    }
    turn_result_release(&r);
    return st;
}
