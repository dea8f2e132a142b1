/* Opening an agent for a request: its folder as the command line finds it, its data, its model from the pool.
 *
 * A store, and all that is made with it, belongs to one thread; so each request has its own. */
#include "serve/hosted.h"
#include "agent/dataset.h"
#include "agent/learning.h"
#include "agent/sessions.h"
#include "kernel/kernel.h"
#include "serve/keys.h"
#include "serve/live.h"

#include <stdio.h>

static bool no_agent(call *c, const char *name) {
    return call_fail(c, 404, "agent", "agent_not_found", "there is no agent called %.60s", name);
}

bool hosted_store(call *c, store **out) {
    muga_error err = {0};
    muga_status st = store_open(c->serve->options->database, NULL, out, &err);
    return st == MUGA_OK || call_fail_with(c, st, &err, NULL);
}

void hosted_who(const call *c, char out[80]) {
    if (c->key && key_id(c->key)[0])
        key_write_approver(c->key, out);
    else
        snprintf(out, 80, "anonymous");
}

/* The folder's last name, under which its working data lies in the store, as with `muga agent run`. */
static muga_status prepare_data(hosted *h, muga_error *err) {
    const char *slash = strrchr(h->dir, '/');
    str path = STR_INIT;
    str_printf(&path, "%s/data/%s", h->c->serve->options->home, slash ? slash + 1 : h->dir);
    h->data_dir = str_take(&path);
    return h->data_dir ? dataset_prepare(&h->env, h->dir, h->data_dir, err) : error_nomem(err, "a path");
}

static bool may_use(void *self, const char *agent, const char *tool) {
    return key_may_tool(((const call *)self)->key, agent, tool);
}

bool hosted_open(call *c, const char *name, hosted *out) {
    const serve_agents *a = c->serve->options->agents;
    muga_error err = {0};
    *out = (hosted){.c = c};
    if (!a || strchr(name, '/') || a->find(a->ctx, name, &out->dir, &err))
        return no_agent(c, name);
    if (c->key && !key_may_agent(c->key, name))
        return call_fail(c, 403, "agent", "not_allowed", "this key may not run the agent %.60s", name);
    out->env = *a->env;
    out->env.tenant = c->tenant;
    out->env.may_use = c->key ? may_use : NULL;
    out->env.may_use_self = c;
    muga_status st = prepare_data(out, &err);
    if (!st)
        st = manifest_load(&out->env, out->dir, out->data_dir, &out->m, &err);
    if (!st)
        st = intent_new(&out->env, out->m, &out->intent, &err);
    if (!st)
        st = store_open(c->serve->options->database, NULL, &out->store, &err);
    return st == MUGA_OK || call_fail_with(c, st == MUGA_E_INPUT ? MUGA_E_INTERNAL : st, &err, NULL);
}

static muga_status find_version(hosted *h, const char *session, muga_error *err) {
    hub_model stored = {0};
    int64_t version = VERSIONS_IN_USE;
    const versions v = {&h->env, h->store, h->c->serve->options->home, h->m->name};
    if (!h->m->learning)
        return MUGA_OK;
    muga_status st = session ? versions_of_session(h->store, session, &version, err) : MUGA_OK;
    if (!st && version != 0)
        st = versions_find(&v, version, &h->version, err);
    if (!st && h->version.version > 0)
        st = hub_load(h->c->serve->options->hub, h->m->model, &stored, err);
    if (!st && h->version.version > 0)
        st = versions_check(&v, &h->version, stored.sha256, err);
    hub_model_release(&stored);
    return st;
}

static muga_status take_model(hosted *h, muga_error *err) {
    kernel_kv_type kv;
    const manifest *m = h->m;
    bool learned_one = h->version.version > 0;
    pool_variant v = {.adapter = learned_one ? h->version.path : m->adapter,
                      .scale = learned_one ? 1 : (float)m->adapter_scale};
    v.has_kv = m->kv && kernel_kv_parse(m->kv, &kv);
    v.kv = v.has_kv ? (int)kv : 0;
    if (!v.adapter)
        v.scale = 0;
    return pool_take(h->c->serve->pool, m->model, &v, call_cancelled(h->c), &h->lent, err);
}

/* As with any other request to the model. */
static void begin_counting(hosted *h) {
    call *c = h->c;
    h->model = llm_meter_init(&h->meter, h->lent.m);
    h->meter.cancelled = live_is_ending(c->serve->live); /* who leaves ends no turn, the server's end does */
    c->model = arena_copy_string(&c->mem, h->lent.name);
    c->load_us = h->lent.load_us;
    metrics_begin(c->serve->metrics, &c->metrics, c->begin_us);
    metrics_model(&c->metrics, h->lent.name, c->tenant);
    metrics_run(&c->metrics, call_now_us());
}

void hosted_use(hosted *h) {
    call *c = h->c;
    c->n_prompt = (uint32_t)MIN(h->meter.n_prompt, (uint64_t)UINT32_MAX);
    c->n_cached = (uint32_t)MIN(h->meter.n_cached, (uint64_t)UINT32_MAX);
    c->n_generated = (uint32_t)MIN(h->meter.n_generated, (uint64_t)UINT32_MAX);
    c->prefill_us = h->meter.read_us;
    c->decode_us = h->meter.write_us;
}

bool hosted_open_model(hosted *h, const char *session) {
    muga_error err = {0};
    const manifest *m = h->m;
    if (m->kind != MANIFEST_GOAL && (!h->intent || !m->model) && !loop_scope_is_scored(m))
        return true; /* rules decide */
    muga_status st = find_version(h, session, &err);
    if (!st)
        st = take_model(h, &err);
    if (!st && h->intent)
        st = learning_load_examples(&h->env, h->store, h->intent, m, &h->learned, &err);
    if (!st && h->intent)
        intent_listen(h->intent, h->learned);
    if (st == MUGA_E_NOT_FOUND)
        return call_fail(h->c, 503, NULL, "model_not_found", "agent %.60s: %s", m->name, err.message);
    if (!st)
        begin_counting(h);
    return st == MUGA_OK || call_fail_with(h->c, st, &err, NULL);
}

bool hosted_begin(hosted *h, const json_t *values, bool dry) {
    muga_error err = {0};
    char who[80];
    hosted_who(h->c, who);
    json_t *adapter = h->version.version > 0 ? json_pack("{s:I, s:s}", "version", (json_int_t)h->version.version,
                                                         "sha256", h->version.sha256)
                                             : NULL;
    json_t *info = json_pack("{s:s, s:s?, s:b, s:s, s:s, s:o*}", "program", "muga", "model",
                             h->model ? h->model->name : NULL, "dry", (int)dry, "requester", who, "tenant",
                             h->c->tenant, "adapter", adapter);
    json_t *none = values ? NULL : json_object();
    muga_status st = info && (values || none)
                         ? session_new(&h->env, h->store, h->m, values ? values : none, info, &h->session, &err)
                         : error_nomem(&err, "a session");
    json_decref(info);
    json_decref(none);
    if (st == MUGA_E_INPUT)
        return call_fail(h->c, 400, "session_values", "invalid_value",
                         "%s; session values come as session_values, or as metadata of a chat", err.message);
    return st == MUGA_OK || call_fail_with(h->c, st, &err, "session_values");
}

bool hosted_go_on(hosted *h, const char *session, bool dry) {
    muga_error err = {0};
    bool is = false, is_dry = false;
    muga_status st = sessions_is_of(h->store, session, h->c->tenant, &is, &err);
    if (!st && is)
        st = session_check_id(h->store, h->m, session, &is_dry, &err);
    if (!st && is && dry && !is_dry)
        return call_fail(h->c, 400, "dry", "invalid_value",
                         "session %.40s isn't a dry run, and can't become one; begin one without session", session);
    if (!st && is)
        st = session_open(&h->env, h->store, h->m, session, &h->session, &err);
    if (st == MUGA_E_NOT_FOUND || (!st && !is))
        return call_fail(h->c, 404, "session", "session_not_found", "there is no session %.40s", session);
    if (st == MUGA_E_ENV)
        return call_fail(h->c, 409, "session", "session_busy", "%s", err.message);
    return st == MUGA_OK || call_fail_with(h->c, st, &err, "session");
}

/* For metrics: steps, calls, what guards found. Then the route's own watch. */
static void count_event(void *ctx, const char *kind, const json_t *data) {
    hosted *h = ctx;
    metrics *m = h->c->serve->metrics;
    const char *agent = h->m->name, *tool = json_get_string(data, "tool");
    if (!strcmp(kind, "call") && tool)
        snprintf(h->tool, sizeof h->tool, "%s", tool);
    if (!strcmp(kind, "decision") || !strcmp(kind, "rule"))
        metrics_add(m, METRIC_AGENT_STEPS, METRIC_LABELS(agent), 1);
    else if (!strcmp(kind, "result"))
        metrics_add(m, METRIC_AGENT_CALLS, METRIC_LABELS(agent, h->tool, json_get_string(data, "outcome")), 1);
    else if (!strcmp(kind, "held"))
        metrics_add(m, METRIC_AGENT_CALLS, METRIC_LABELS(agent, tool, "held"), 1);
    else if (!strcmp(kind, "guard"))
        metrics_add(m, METRIC_AGENT_GUARDS,
                    METRIC_LABELS(agent, json_get_string(data, "guard"), json_get_string(data, "action")), 1);
    if (h->watch.event)
        h->watch.event(h->watch.ctx, kind, data);
}

void hosted_count(hosted *h, const turn_result *r) {
    metrics *m = h->c->serve->metrics;
    metrics_add(m, METRIC_AGENT_TURNS, METRIC_LABELS(h->m->name, turn_outcome_name(r->outcome)), 1);
    metrics_observe(m, METRIC_AGENT_SECONDS, METRIC_LABELS(h->m->name), r->us);
}

bool hosted_fail_turn(hosted *h, muga_status st, const turn_result *r, const muga_error *err) {
    if (st == MUGA_E_POLICY && r->approval[0])
        return call_fail(h->c, 409, "session", "approval_pending", "%s", err->message);
    if (st == MUGA_E_POLICY && h->ended)
        return call_fail(h->c, 409, "session", "session_ended", "%s", err->message);
    return call_fail_with(h->c, st, err, NULL);
}

bool hosted_watch(hosted *h, const loop_watch *watch) {
    muga_error err = {0};
    h->watch = *watch;
    const loop_watch counted = {count_event, h};
    const loop_parts parts = {&h->env, h->m, h->intent, h->model, h->session, counted, NULL};
    muga_status st = loop_new(&parts, &h->loop, &err);
    return st == MUGA_OK || call_fail_with(h->c, st, &err, NULL);
}

void hosted_leave(hosted *h) {
    h->ended = h->session ? session_ended(h->session) : h->ended;
    loop_free(h->loop);
    session_close(h->session);
    h->loop = NULL;
    h->session = NULL;
}

void hosted_close(hosted *h) {
    if (!h->c)
        return;
    hosted_leave(h);
    pool_give(h->c->serve->pool, &h->lent, -1);
    store_close(h->store);
    adapter_version_release(&h->version);
    learned_free(h->learned);
    intent_free(h->intent);
    manifest_free(h->m);
    free(h->dir);
    free(h->data_dir);
    *h = (hosted){0};
}
