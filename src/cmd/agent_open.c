/* Opening an agent and its model (agent.h). */
#include "cmd/agent.h"

#include "agent/dataset.h"

#include <unistd.h>

void agent_close(agent_opened *o) {
    llm_free(o->model);
    adapter_version_release(&o->version);
    learned_free(o->learned);
    intent_free(o->intent);
    manifest_free(o->m);
    free(o->dir);
    free(o->data_dir);
}

/* The folder's last name, under which its working data lies in the store. */
static muga_status make_data_dir(agent_opened *o, muga_error *err) {
    char *home = NULL;
    str path = STR_INIT;
    size_t end = strlen(o->dir);
    while (end > 1 && o->dir[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && o->dir[from - 1] != '/')
        from--;
    muga_status st = cmd_home(&home, err);
    if (!st) {
        str_printf(&path, "%s/data/%.*s", home, (int)(end - from), o->dir + from);
        o->data_dir = str_take(&path);
        st = o->data_dir ? MUGA_OK : error_nomem(err, "a path");
    }
    free(home);
    return st ? st : dataset_prepare(&o->env, o->dir, o->data_dir, err);
}

int agent_parse_choice(agent_choice *c) {
    int code = cmd_parse_kv(c->kv, &c->kv_type);
    if (code < 0 && c->threads > 1024)
        code = cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    return code < 0 ? cmd_parse_adapter(c->adapter, &c->adapter_path, &c->adapter_scale) : code;
}

void agent_choice_release(agent_choice *c) {
    free(c->adapter_path);
    c->adapter_path = NULL;
}

muga_status agent_open_model(agent_opened *o, agent_choice *c, muga_error *err) {
    const char *name = c->name ? c->name : o->m->model;
    if (o->m->kind != MANIFEST_GOAL && (!o->intent || !name) && !loop_scope_is_scored(o->m))
        return MUGA_OK; /* rules and examples decide */
    cmd_progress progress = {.what = "loading"};
    muga_status st = MUGA_OK;
    if (!c->kv && o->m->kv)
        kernel_kv_parse(o->m->kv, &c->kv_type); /* one of its names: the manifest's schema says so */
    llm_local_options options = {.isa = -1,
                                 .n_threads = (int)c->threads,
                                 .kv = (int)c->kv_type,
                                 .adapter = c->adapter_path,
                                 .adapter_scale = c->adapter_scale,
                                 .any_base = c->any_base,
                                 .on_progress = cmd_progress_show,
                                 .on_progress_ctx = &progress};
    if (!c->adapter_path && !c->name) {
        st = agent_find_version(o->m, c->version, &o->version, err);
        bool has = o->version.version > 0;
        options.adapter = has ? o->version.path : o->m->adapter;
        options.adapter_scale = has ? 1 : (float)o->m->adapter_scale;
    }
    if (!st)
        st = cmd_open_llm(name, name, !c->no_cache, &options, &o->model, err);
    cmd_progress_finish(&progress);
    return st;
}

muga_status agent_open(agent_opened *o, const char *name, muga_error *err) {
    *o = (agent_opened){.env = cmd_agent_env()};
    muga_status st = cmd_agent_dir(name, &o->dir, err);
    if (!st)
        st = make_data_dir(o, err);
    if (!st)
        st = manifest_load(&o->env, o->dir, o->data_dir, &o->m, err);
    if (!st)
        st = intent_new(&o->env, o->m, &o->intent, err);
    return st;
}

muga_status agent_open_intent(agent_opened *o, const char *name, muga_error *err) {
    muga_status st = agent_open(o, name, err);
    if (!st && !o->intent)
        st = error_set(err, MUGA_E_INPUT, "%.64s has no intent:, so there are no labels to read messages for",
                       o->m->name);
    return st;
}
