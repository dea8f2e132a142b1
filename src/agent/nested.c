/* Agents within agents (nested.h). Owns: loading the other agent, its session and its turns. Refuses: cycles, depth,
 * values that the manifest doesn't map, an agent that writes behind a tool that says it reads.
 *
 * What the agent around asks is a model's words. They are the message of the inner session, and ground nothing: values
 * `from: conversation` are those that the person wrote (session.c, collect_spoken). */
#include "agent/nested.h"

#include "agent/dataset.h"

#include <stdio.h>

struct nested {
    agent_env env; /* with `nest` */
    agent_nest nest;
    char *around; /* nest.dir */
    manifest *m;
    intent *intent;
    const json_t *map; /* its session value -> this agent's */
};

/* ---- places ---- */

/* "a/./b/../c" -> "a/c", by the text alone: links are followed by who opens it. */
static void tidy(const char *path, str *out) {
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        bool up = n == 2 && p[0] == '.' && p[1] == '.';
        if (up && out->len > 0 && out->data[out->len - 1] != '/') {
            size_t at = out->len;
            while (at > 0 && out->data[at - 1] != '/') {
                at--;
            }
            str_truncate(out, at > 1 ? at - 1 : at);
        } else if (n > 0 && !(n == 1 && p[0] == '.')) {
            str_append_s(out, out->len > 0 && out->data[out->len - 1] != '/' ? "/" : "");
            str_append(out, p, n);
        } else if (p == path && n == 0) {
            str_append_c(out, '/');
        }
        p += n;
        p += *p == '/';
    }
}

/* Its data lie beside this agent's: in the folder itself where this agent's do. */
static void data_place(const manifest *m, const char *dir, str *out) {
    const char *own = strrchr(m->data_dir, '/'), *name = strrchr(dir, '/');
    if (strcmp(m->data_dir, m->dir) == 0 || !own || !name) {
        str_append_s(out, dir);
        return;
    }
    str_append(out, m->data_dir, (size_t)(own - m->data_dir));
    str_append_s(out, name);
}

/* ---- loading ---- */

static muga_status refuse_cycle(tool_setup *s, const agent_nest *nest, const char *dir, muga_error *err) {
    for (const agent_nest *n = nest; n; n = n->around) {
        if (strcmp(n->dir, dir) == 0) {
            return tool_fault(s, "", err,
                              "%.120s is around this agent already; agents can't call one another in a ring", dir);
        }
    }
    if (nest->depth >= NESTED_MAX_DEPTH) {
        return tool_fault(s, "", err, "agents call one another more than %d deep", NESTED_MAX_DEPTH);
    }
    return MUGA_OK;
}

static muga_status load(nested *t, tool_setup *s, const char *relative, muga_error *err) {
    str joined = STR_INIT, dir = STR_INIT, data = STR_INIT, around = STR_INIT;
    str_printf(&joined, "%s/%s", s->m->dir, relative);
    tidy(str_get(&joined), &dir);
    tidy(s->m->dir, &around);
    data_place(s->m, str_get(&dir), &data);
    bool whole = !joined.failed && !dir.failed && !data.failed;
    t->around = str_take(&around);
    t->env = *s->env;
    t->nest = (agent_nest){t->around, s->env->nest, s->env->nest ? s->env->nest->depth + 1 : 1};
    t->env.nest = &t->nest;
    muga_status st = whole && t->around ? refuse_cycle(s, &t->nest, str_get(&dir), err) : error_nomem(err, "an agent");
    if (st == MUGA_OK && strcmp(str_get(&data), str_get(&dir)) != 0) {
        st = dataset_prepare(&t->env, str_get(&dir), str_get(&data), err);
    }
    st = st == MUGA_OK ? manifest_load(&t->env, str_get(&dir), str_get(&data), &t->m, err) : st;
    st = st == MUGA_OK ? intent_new(&t->env, t->m, &t->intent, err) : st;
    if (st != MUGA_OK && st != MUGA_E_NOMEM && t->nest.depth < NESTED_MAX_DEPTH) {
        st = error_prefix(err, st, "%.60s", relative);
    }
    str_release(&data);
    str_release(&dir);
    str_release(&joined);
    return st;
}

/* ---- what must fit together ---- */

static muga_status check_map(tool_setup *s, const nested *t, muga_error *err) {
    const json_t *theirs = json_object_get(t->m->session_schema, "properties");
    const json_t *ours = json_object_get(s->m->session_schema, "properties");
    const char *name;
    json_t *v;
    json_object_foreach(json_borrow(t->map), name, v) {
        if (!json_object_get(theirs, name)) {
            return tool_fault(s, "", err, "session: %.60s is no session value of %.60s", name, t->m->name);
        }
        if (!json_object_get(ours, json_string_value(v))) {
            return tool_fault(s, "", err, "session: %.60s is no session value of this agent", json_string_value(v));
        }
    }
    json_object_foreach(json_borrow(theirs), name, v) {
        if (!json_object_get(t->map, name) && !json_object_get(v, "default")) {
            return tool_fault(s, "", err, "%.60s needs the session value %.60s; map it: session: {%.60s: ...}",
                              t->m->name, name, name);
        }
    }
    return MUGA_OK;
}

static muga_status check_tools(tool_setup *s, const nested *t, muga_error *err) {
    bool writes = false;
    for (size_t i = 0; i < t->m->n_tools; i++) {
        writes = writes || t->m->tools[i].effect == EFFECT_WRITE;
        s->leaves_machine = s->leaves_machine || t->m->tools[i].leaves_machine;
    }
    if (writes && s->def->effect == EFFECT_READ) {
        return tool_fault(s, "/effect", err, "%.60s has tools that write; say effect: write", t->m->name);
    }
    const char *model = json_get_string(s->m->json, "model");
    if (t->m->model && (!model || strcmp(model, t->m->model) != 0)) {
        return tool_fault(s, "", err, "%.60s runs on %.60s, this agent on %.60s; an agent within shares the model",
                          t->m->name, t->m->model, model ? model : "none");
    }
    return MUGA_OK;
}

muga_status nested_open(tool_setup *s, const json_t *own, nested **out, muga_error *err) {
    nested *t = calloc(1, sizeof *t);
    if (!t) {
        return error_nomem(err, "an agent");
    }
    t->map = json_object_get(own, "session");
    muga_status st = load(t, s, json_get_string(own, "dir"), err);
    st = st == MUGA_OK ? check_map(s, t, err) : st;
    st = st == MUGA_OK ? check_tools(s, t, err) : st;
    if (st == MUGA_OK) { /* no more than the agent around may use in a turn, which knows its own limits by now */
        const json_t *limits = json_object_get(s->m->json, "limits");
        t->m->max_tokens = MIN(t->m->max_tokens, json_get_int(limits, "tokens", t->m->max_tokens));
        t->m->max_seconds = MIN(t->m->max_seconds, json_get_int(limits, "seconds", t->m->max_seconds));
        memcpy(s->material, t->m->digest, SHA256_BYTES);
        *out = t;
    } else {
        nested_close(t);
    }
    return st;
}

void nested_close(nested *t) {
    if (t) {
        intent_free(t->intent);
        manifest_free(t->m);
        free(t->around);
        free(t);
    }
}

const char *nested_name(const nested *t) {
    return t->m->name;
}

bool nested_is_ready(const nested *t, const agent_session *outer) {
    return !t->m->model || outer->model;
}

/* ---- its session ---- */

static json_t *values_for(const nested *t, const agent_session *outer) {
    json_t *values = json_object(), *v;
    const char *name;
    json_object_foreach(json_borrow(t->map), name, v) {
        json_t *given = json_object_get(session_values(outer), json_string_value(v));
        if (!values || (given && json_object_set(values, name, given) != 0)) {
            json_decref(values);
            return NULL;
        }
    }
    return values;
}

void nested_id(const char *call, char out[AGENT_ID_SIZE]) {
    snprintf(out, AGENT_ID_SIZE, "s%s", call[0] ? call + 1 : "");
}

muga_status nested_session(const nested *t, agent_session *outer, const char *call, bool is_asked, agent_session **out,
                           muga_error *err) {
    char id[AGENT_ID_SIZE];
    muga_error why = {0};
    nested_id(call, id);
    muga_status st = session_open(&t->env, outer->store, t->m, id, out, &why);
    if (st == MUGA_E_NOT_FOUND) {
        json_t *values = values_for(t, outer),
               *info = json_pack("{s:s, s:s}", "within", session_id(outer), "call", call);
        st = values && info ? session_new_as(&t->env, outer->store, t->m, id, values, info, out, &why)
                            : error_nomem(&why, "a session");
        json_decref(values);
        json_decref(info);
    }
    if (st != MUGA_OK) {
        return error_set(err, st, "%s", why.message);
    }
    (*out)->outer = outer;
    (*out)->is_asked = is_asked;
    return MUGA_OK;
}

/* ---- its turns ---- */

/* A handle of the model with the other agent's adapter, or without this one's. NULL: the model as it is. */
static muga_status model_for(const nested *t, llm *model, llm **own, muga_error *err) {
    *own = NULL;
    if (!model || (!t->m->adapter && !model->has_adapter)) {
        return MUGA_OK;
    }
    return llm_local_adapt(model, t->m->adapter, (float)t->m->adapter_scale, own, err);
}

muga_status nested_turn(const nested *t, agent_session *inner, llm *model, const loop_watch *watch, const char *text,
                        size_t n, turn_result *out, muga_error *err) {
    llm *own = NULL;
    agent_loop *loop = NULL;
    muga_status st = model_for(t, model, &own, err);
    *out = (turn_result){.text = STR_INIT};
    if (st == MUGA_OK) {
        const loop_parts parts = {.env = &t->env,
                                  .manifest = t->m,
                                  .intent = t->intent,
                                  .model = own ? own : model,
                                  .session = inner,
                                  .watch = watch ? *watch : (loop_watch){NULL, NULL}};
        st = loop_new(&parts, &loop, err);
    }
    if (st == MUGA_OK) {
        st = text ? loop_turn(loop, text, n, out, err) : loop_resume(loop, out, err);
    }
    loop_free(loop);
    llm_free(own);
    return st;
}

/* ---- approvals ---- */

static muga_status load_for(const agent_env *env, store *s, const char *approval, const manifest *m, manifest **other,
                            muga_error *err) {
    json_t *list = NULL;
    muga_status st = approval_list(env, s, &list, err);
    *other = NULL;
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(list); i++) {
        const json_t *a = json_array_get(list, i);
        const char *dir = json_get_string(a, "dir"), *data = json_get_string(a, "data_dir");
        if (dir && data && approval_same_id(json_get_string(a, "approval"), approval) && strcmp(dir, m->dir) != 0) {
            st = manifest_load(env, dir, data, other, err);
        }
    }
    json_decref(list);
    return st;
}

muga_status approval_decide_within(const agent_env *env, store *s, const manifest *m, const char *approval, bool yes,
                                   const char *approver, muga_error *err) {
    manifest *other = NULL;
    muga_status st = load_for(env, s, approval, m, &other, err);
    if (st == MUGA_OK) {
        st = approval_decide(env, s, other ? other : m, approval, yes, approver, err);
    }
    manifest_free(other);
    return st;
}
