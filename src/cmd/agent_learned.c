/* Which of the adapters that an agent has learned its model runs with (agent.h). */
#include "cmd/agent.h"

#include "gguf/gguf.h"

muga_status agent_base_digest(const char *model, char hex[SHA256_HEX], muga_error *err) {
    hub h = {.files = &os_system()->files};
    char *path = NULL;
    gguf_file *f = NULL;
    muga_status st = hub_is_path(model) ? MUGA_OK : cmd_hub(&h, err);
    if (!st)
        st = hub_resolve(&h, model, &path, err);
    const char *vouched = st || hub_is_path(model) ? NULL : hub_vouched_sha256(&h, path);
    if (vouched)
        snprintf(hex, SHA256_HEX, "%.64s", vouched);
    else if (!st)
        st = gguf_open(path, &f, err);
    if (f)
        gguf_digest(f, hex);
    gguf_close(f);
    free(path);
    hub_close(&h);
    return st;
}

/* Without a store nothing was learned. */
muga_status agent_find_version(const manifest *m, int64_t version, adapter_version *out, muga_error *err) {
    const agent_env env = cmd_agent_env();
    char base[SHA256_HEX];
    store *s = NULL;
    char *home = NULL;
    *out = (adapter_version){0};
    if (!m->learning || version == 0)
        return MUGA_OK;
    muga_status st = cmd_open_store(true, &s, err);
    if (st == MUGA_E_NOT_FOUND)
        return MUGA_OK;
    if (!st)
        st = cmd_home(&home, err);
    const versions v = {&env, s, home, m->name};
    if (!st)
        st = versions_find(&v, version, out, err);
    if (!st && out->version > 0)
        st = agent_base_digest(m->model, base, err);
    if (!st && out->version > 0)
        st = versions_check(&v, out, base, err);
    store_close(s);
    free(home);
    return st;
}

muga_status agent_listen(agent_opened *o, store *s, muga_error *err) {
    if (!o->intent)
        return MUGA_OK;
    muga_status st = learning_load_examples(&o->env, s, o->intent, o->m, &o->learned, err);
    if (!st)
        intent_listen(o->intent, o->learned);
    return st;
}

json_t *agent_version_record(const agent_opened *o) {
    return o->version.version > 0
               ? json_pack("{s:I, s:s}", "version", (json_int_t)o->version.version, "sha256", o->version.sha256)
               : NULL;
}
