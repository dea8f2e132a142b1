/* Another agent as a tool: `agent` asks it and gets its answer, `hand_off` leaves it the person. Owns: what a call of
 * each gives. Refuses: a request that names an id or a number which neither the person nor a tool gave.
 *
 *   the other agent's turn   the call
 *   answer, ask, refuse      finished: {"answer", "outcome"}
 *   escalate                 failed: it handed over
 *   held                     stays started and waits for that approval; run again by executor_resume
 *
 * A call that is run again finds the session that it began, and goes on there; so it is never asked twice. */
#include "agent/guard.h"
#include "agent/nested.h"

#include <stdio.h>

static const char *role_of(const json_t *entry) {
    const char *role = json_get_string(entry, "role");
    return role ? role : "";
}

static muga_status check_parameters(tool_setup *s, muga_error *err) {
    const json_t *properties = json_object_get(s->def->parameters, "properties");
    const json_t *request = json_object_get(properties, "request");
    const json_t *required = json_object_get(s->def->parameters, "required");
    const char *type = json_get_string(request, "type"), *first = json_string_value(json_array_get(required, 0));
    if (json_object_size(properties) != 1 || !type || strcmp(type, "string") != 0 || !first ||
        strcmp(first, "request") != 0) {
        return tool_fault(s, "/parameters", err, "takes one parameter, request, of type: string, and requires it");
    }
    return MUGA_OK;
}

static muga_status open_agent(tool_setup *s, void **out, muga_error *err) {
    nested *t = NULL;
    muga_status st = check_parameters(s, err);
    st = st == MUGA_OK ? nested_open(s, json_object_get(s->def->json, "agent"), &t, err) : st;
    *out = t;
    return st;
}

static muga_status open_hand_off(tool_setup *s, void **out, muga_error *err) {
    nested *t = NULL;
    muga_status st = MUGA_OK;
    if (json_object_size(json_object_get(s->def->parameters, "properties")) > 0) {
        st = tool_fault(s, "/parameters", err, "the other agent reads the person's own message; write properties: {}");
    }
    st = st == MUGA_OK ? nested_open(s, json_object_get(s->def->json, "hand_off"), &t, err) : st;
    *out = t;
    return st;
}

static void close_tool(void *tool) {
    nested_close(tool);
}

/* ---- asking ---- */

/* The request goes on as words, and comes back in answers; so it must not bring an id into the world. */
static muga_status is_given(const agent_session *s, const char *request, bool *given, char which[64], muga_error *err) {
    session_sources sources;
    muga_status st = session_get_sources(s, &sources, err);
    if (st == MUGA_OK) {
        st = guard_is_grounded(s->m->guards, request, sources.owner, given, which, err);
        session_sources_release(&sources);
    }
    return st;
}

static void give(const tool_call *c, const manifest_tool *def, const turn_result *r, tool_run *out) {
    if (r->outcome == TURN_HELD) {
        out->waits = true;
        memcpy(out->approval, r->approval, sizeof out->approval);
        tool_fail(out, "waits for the approval of a call within");
    } else if (r->outcome == TURN_ESCALATE) {
        out->final = true;
        tool_fail(out, "the other agent handed over to a person");
    } else {
        tool_give(out, def,
                  json_pack("{s:s, s:s}", "answer", str_get(&r->text), "outcome", turn_outcome_name(r->outcome)));
    }
    (void)c;
}

/* What this session still has to do: all, the rest, or nothing but to tell. */
static muga_status go_on(const nested *t, const tool_call *c, agent_session *inner, turn_result *r, muga_error *err) {
    const json_t *history = session_history(inner), *last = json_array_get(history, json_array_size(history) - 1);
    const char *request = json_get_string(c->arguments, "request");
    if (!last) {
        return nested_turn(t, inner, c->session->model, NULL, request, strlen(request), r, err);
    }
    if (strcmp(role_of(last), "assistant") != 0) {
        return nested_turn(t, inner, c->session->model, NULL, NULL, 0, r, err);
    }
    *r = (turn_result){.text = STR_INIT, .outcome = session_ended(inner) ? TURN_ESCALATE : TURN_ANSWER};
    str_append_s(&r->text, json_get_string(last, "content"));
    return str_status(&r->text, err, "an answer");
}

static void run_agent(void *tool, const tool_call *c, tool_run *out) {
    const nested *t = tool;
    const manifest_tool *def = NULL;
    agent_session *inner = NULL;
    turn_result r = {.text = STR_INIT};
    bool given = true;
    char which[64];
    muga_error why = {0};
    for (size_t i = 0; i < c->session->m->n_tools; i++) {
        def = c->session->tools[i] == tool ? &c->session->m->tools[i] : def;
    }
    if (!nested_is_ready(t, c->session)) {
        out->waits = true;
        tool_fail(out, "waits until its session goes on");
        return;
    }
    muga_status st = is_given(c->session, json_get_string(c->arguments, "request"), &given, which, &why);
    if (st == MUGA_OK && !given) {
        out->final = true;
        tool_fail(out, "the request names %.60s, which neither the person nor a tool gave", which);
        return;
    }
    st = st == MUGA_OK ? nested_session(t, c->session, c->id, true, &inner, &why) : st;
    st = st == MUGA_OK ? go_on(t, c, inner, &r, &why) : st;
    if (st == MUGA_OK) {
        c->session->n_nested_tokens += r.n_tokens;
        give(c, def, &r, out);
    } else {
        out->final = true;
        tool_fail(out, "%s: %.180s", nested_name(t), why.message);
    }
    if (st == MUGA_OK && r.outcome != TURN_HELD && session_end(inner, turn_outcome_name(r.outcome), &why) != MUGA_OK) {
        json_decref(out->result);
        *out = (tool_run){.final = true};
        tool_fail(out, "%s: %.180s", nested_name(t), why.message);
    }
    turn_result_release(&r);
    session_close(inner);
}

/* ---- handing off ---- */

static void run_hand_off(void *tool, const tool_call *c, tool_run *out) {
    agent_session *inner = NULL;
    muga_error why;
    muga_status st = nested_session(tool, c->session, c->id, false, &inner, &why);
    if (st == MUGA_OK) {
        out->result = json_pack("{s:s, s:s}", "handed_to", nested_name(tool), "session", session_id(inner));
        out->ok = out->result || tool_fail(out, "out of memory");
    } else {
        tool_fail(out, "%s: %.180s", nested_name(tool), why.message);
    }
    session_close(inner);
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char agent_schema[] =
    "{\n"
    "            \"type\": \"object\", \"required\": [\"dir\"], \"additionalProperties\": false, \"description\": "
    "\"another agent answers the request\",\n"
    "            \"properties\": {\n"
    "              \"dir\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, \"description\": \"its "
    "folder, from this one\"},\n"
    "              \"session\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\", "
    "\"minLength\": 1}, \"description\": \"its session values -> this agent's\"}\n"
    "            }\n"
    "          }";
static const char hand_off_schema[] =
    "{\n"
    "            \"type\": \"object\", \"required\": [\"dir\"], \"additionalProperties\": false, \"description\": "
    "\"another agent goes on with the person\",\n"
    "            \"properties\": {\n"
    "              \"dir\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000},\n"
    "              \"session\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\", "
    "\"minLength\": 1}},\n"
    "              \"say\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000}\n"
    "            }\n"
    "          }";

const tool_kind tool_kind_agent = {.keys = {{"agent", agent_schema}},
                                   .untrusted = true,
                                   .resumes = true,
                                   .open = open_agent,
                                   .run = run_agent,
                                   .close = close_tool};
const tool_kind tool_kind_hand_off = {.keys = {{"hand_off", hand_off_schema}},
                                      .then = TOOL_HANDS_OFF,
                                      .resumes = true,
                                      .open = open_hand_off,
                                      .run = run_hand_off,
                                      .close = close_tool};
