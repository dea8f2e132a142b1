/* Agents over HTTP: which there are, a turn of one with its events, its sessions. What an agent may do is its
 * manifest's and its operator's affair: nothing in a request widens it. */
#include "agent/sessions.h"
#include "serve/hosted.h"
#include "serve/keys.h"

#include <stdio.h>

/* ---- which there are ---- */

typedef struct listing {
    call *c;
    json_t *list;
} listing;

static muga_status list_one(void *ctx, const char *name, const char *dir) {
    listing *l = ctx;
    json_t *v = NULL;
    str path = STR_INIT, text = STR_INIT;
    muga_error ignored;
    if (l->c->key && !key_may_agent(l->c->key, name))
        return MUGA_OK;
    str_printf(&path, "%s/agent.yaml", dir);
    muga_status st = os_read_file(&os_system()->files, str_get(&path), (size_t)1 << 20, &text, &ignored);
    if (!st)
        st = yaml_parse(str_get(&text), text.len, "agent.yaml", &v, NULL, &ignored);
    json_t *entry = json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:b}", "id", name, "object", "agent", "kind",
                              json_get_string(v, "kind"), "model", json_get_string(v, "model"), "description",
                              json_get_string(v, "description"), "readable", st == MUGA_OK);
    json_decref(v);
    str_release(&path);
    str_release(&text);
    return json_array_append_new(l->list, entry) == 0 ? MUGA_OK : MUGA_E_NOMEM;
}

static void list_agents(call *c) {
    const serve_agents *a = c->serve->options->agents;
    muga_error err = {0};
    listing l = {c, json_array()};
    muga_status st = !l.list ? error_nomem(&err, "agents") : a ? a->each(a->ctx, list_one, &l, &err) : MUGA_OK;
    (void)call_answer_list(c, st, &err, l.list);
}

static json_t *tools_json(const manifest *m) {
    static const char *const approvals[] = {"never", "always", "when"};
    json_t *list = json_array();
    bool whole = list != NULL;
    for (size_t i = 0; whole && i < m->n_tools; i++) {
        const manifest_tool *t = &m->tools[i];
        whole = json_array_append_new(list,
                                      json_pack("{s:s, s:s?, s:s, s:s, s:O}", "name", t->name, "description",
                                                t->description, "effect", t->effect == EFFECT_READ ? "read" : "write",
                                                "approval", approvals[t->approval], "parameters", t->parameters)) == 0;
    }
    if (whole)
        return list;
    json_decref(list);
    return NULL;
}

static void show_agent(call *c) {
    hosted h;
    if (hosted_open(c, c->arg[0], &h))
        (void)call_reply(c, 200,
                         json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:o, s:O, s:O?}", "id", c->arg[0], "object", "agent",
                                   "kind", json_get_string(h.m->json, "kind"), "model", h.m->model, "description",
                                   json_get_string(h.m->json, "description"), "tools", tools_json(h.m),
                                   "session_values", h.m->session_schema, "percept", h.m->percept));
    hosted_close(&h);
}

/* ---- a turn ---- */

typedef struct wanted {
    span input;
    const char *session;
    const json_t *values, *percept;
    bool stream, dry;
} wanted;

static const field run_fields[] = {
    {"input", FIELD_TEXT, FIELD_AT(wanted, input), 0, 1 << 20, NULL, false},
    {"percept", FIELD_OBJECT, FIELD_AT(wanted, percept), 0, 0, NULL, false},
    {"session", FIELD_STRING, FIELD_AT(wanted, session), 0, AGENT_ID_SIZE, NULL, false},
    {"session_values", FIELD_OBJECT, FIELD_AT(wanted, values), 0, 0, NULL, false},
    {"stream", FIELD_BOOL, FIELD_AT(wanted, stream), 0, 0, NULL, false},
    {"dry", FIELD_BOOL, FIELD_AT(wanted, dry), 0, 0, NULL, false},
};

/* With the first event: what fails before anything has happened has a status of its own. */
static bool begin_stream(hosted *h) {
    return h->c->streams == CALL_EVENTS ||
           (call_events_begin(h->c) && call_event(h->c, "session", json_pack("{s:s}", "session", h->c->session)));
}

/* An event goes out as it happens. That the client has left ends nothing: the turn is the session's, and its answer is
 * there when it is asked for. */
static void on_event(void *ctx, const char *kind, const json_t *data) {
    hosted *h = ctx;
    if (begin_stream(h))
        (void)call_event(h->c, kind, json_incref(json_borrow(data)));
}

static json_t *turn_json(const hosted *h, const turn_result *r) {
    const call *c = h->c;
    json_int_t total = (json_int_t)c->n_prompt + c->n_generated;
    return json_pack("{s:s, s:s, s:s, s:s%, s:b, s:s?, s:s?, s:s, s:{s:I, s:I, s:I, s:I, s:I}}", "object", "agent.turn",
                     "session", session_id(h->session), "outcome", turn_outcome_name(r->outcome), "text",
                     str_get(&r->text), r->text.len, "done", (int)r->done, "call", r->call[0] ? r->call : NULL,
                     "approval", r->approval[0] ? r->approval : NULL, "agent", h->m->name, "usage", "prompt_tokens",
                     (json_int_t)c->n_prompt, "cached_tokens", (json_int_t)c->n_cached, "completion_tokens",
                     (json_int_t)c->n_generated, "total_tokens", total, "microseconds", (json_int_t)r->us);
}

/* What is to be done, in this order: what the session left open, where nothing is said; else what is said. */
static muga_status take_turn(hosted *h, const wanted *w, turn_result *r, muga_error *err) {
    if (w->percept)
        return loop_percept(h->loop, w->percept, r, err);
    if (w->input.p)
        return loop_turn(h->loop, w->input.p, w->input.n, r, err);
    return loop_resume(h->loop, r, err);
}

static void end_stream(call *c, json_t *turn) {
    call_ends(c);
    if (call_event(c, "turn", turn))
        (void)call_events_end(c);
}

static void run_turn(call *c, hosted *h, const wanted *w) {
    muga_error err = {0};
    turn_result r = {.text = STR_INIT};
    const loop_watch watch = {w->stream ? on_event : NULL, h};
    c->session = arena_copy_string(&c->mem, session_id(h->session));
    if (!c->session || !hosted_watch(h, &watch)) {
        (void)(c->session || call_no_memory(c));
        return;
    }
    muga_status st = take_turn(h, w, &r, &err);
    hosted_use(h);
    if (st == MUGA_E_NOT_FOUND)
        (void)error_set(&err, MUGA_E_INPUT, "input is missing, and session %s waits for nothing",
                        session_id(h->session));
    json_t *turn = st ? NULL : turn_json(h, &r);
    if (!st)
        hosted_count(h, &r);
    hosted_leave(h);
    if (st)
        (void)hosted_fail_turn(h, st == MUGA_E_NOT_FOUND ? MUGA_E_INPUT : st, &r, &err);
    else if (!w->stream)
        (void)call_reply(c, 200, turn);
    else if (!begin_stream(h))
        json_decref(turn);
    else
        end_stream(c, turn);
    turn_result_release(&r);
}

static bool check_wanted(call *c, const wanted *w) {
    if (w->percept && w->input.p)
        return call_fail(c, 400, "percept", "invalid_value", "input and percept don't go together");
    if (!w->percept && !w->input.p && !w->session)
        return call_fail(c, 400, "input", "missing_required_parameter", "input is missing: what is said to the agent");
    if (w->session && w->values)
        return call_fail(c, 400, "session_values", "invalid_value",
                         "session_values belong to a new session; %s has its own", w->session);
    return true;
}

static void run_agent(call *c) {
    wanted w = {.stream = false};
    hosted h = {0};
    if (!call_read(c, c->body, "", run_fields, ARRAY_LEN(run_fields), &w) || !check_wanted(c, &w))
        return;
    if (hosted_open(c, c->arg[0], &h) && hosted_open_model(&h, w.session) &&
        (w.session ? hosted_go_on(&h, w.session, w.dry) : hosted_begin(&h, w.values, w.dry)))
        run_turn(c, &h, &w);
    hosted_close(&h);
}

/* ---- sessions ---- */

static void list_sessions(call *c) {
    store *s = NULL;
    json_t *list = NULL;
    muga_error err = {0};
    if (!hosted_store(c, &s))
        return;
    const sessions_filter f = {.agent = c->arg[0], .max = 1000, .tenant = c->tenant};
    muga_status st = sessions_list(s, &f, &list, &err);
    (void)call_answer_list(c, st, &err, list);
    store_close(s);
}

/* The tenant's own session, or a 404. */
static bool open_own(call *c, const char *session, store **out) {
    bool is = false;
    muga_error err = {0};
    if (!hosted_store(c, out))
        return false;
    muga_status st = sessions_is_of(*out, session, c->tenant, &is, &err);
    if (st)
        return call_fail_with(c, st, &err, NULL);
    return is || call_fail(c, 404, "session", "session_not_found", "there is no session %.40s", session);
}

static void show_session(call *c) {
    store *s = NULL;
    json_t *v = NULL;
    muga_error err = {0};
    if (open_own(c, c->arg[0], &s)) {
        muga_status st = sessions_read(s, c->arg[0], &v, &err);
        json_t *about = json_object_get(v, "session");
        json_object_del(about, "dir"); /* where things lie on this machine is no client's affair */
        json_object_del(about, "data_dir");
        if (st)
            (void)call_fail_with(c, st, &err, "session");
        else
            (void)call_reply(c, 200, json_incref(v));
    }
    json_decref(v);
    store_close(s);
}

/* All that is held of it about a person; the chain stays whole. */
static void delete_session(call *c) {
    store *s = NULL;
    int64_t n = 0;
    muga_error err = {0};
    if (open_own(c, c->arg[0], &s)) {
        muga_status st = audit_erase(c->serve->options->agents->env, s, c->arg[0], &n, &err);
        if (st == MUGA_E_ENV)
            (void)call_fail(c, 409, "session", "session_busy", "%s", err.message);
        else if (st)
            (void)call_fail_with(c, st, &err, "session");
        else
            (void)call_reply(
                c, 200, json_pack("{s:s, s:s, s:b}", "session", c->arg[0], "object", "session.deleted", "deleted", 1));
    }
    store_close(s);
}

static const call_route routes[] = {
    {.method = "GET", .path = "/v1/agents", .family = CALL_MUGA, .right = CALL_ANY_KEY, .run = list_agents},
    {.method = "GET", .path = "/v1/agents/{name}", .family = CALL_MUGA, .right = CALL_ANY_KEY, .run = show_agent},
    {.method = "POST",
     .path = "/v1/agents/{name}/run",
     .family = CALL_MUGA,
     .right = CALL_ANY_KEY,
     .generates = true,
     .run = run_agent},
    {.method = "GET",
     .path = "/v1/agents/{name}/sessions",
     .family = CALL_MUGA,
     .right = CALL_ANY_KEY,
     .run = list_sessions},
    {.method = "GET", .path = "/v1/sessions/{id}", .family = CALL_MUGA, .right = CALL_ANY_KEY, .run = show_session},
    {.method = "DELETE",
     .path = "/v1/sessions/{id}",
     .family = CALL_MUGA,
     .right = CALL_ANY_KEY,
     .run = delete_session},
};

serve_routes agents_routes(void) {
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
