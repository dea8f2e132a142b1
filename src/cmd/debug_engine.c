/* Options, ids and engine of the verbs that work on token ids. */
#include "cmd/debug_engine.h"

#include <errno.h>

static int parse_ids(debug_engine *d, const char *verb) {
    const char *p = d->ids_text;
    if (!p || !*p)
        return cmd_error(MUGA_E_USAGE, "muga %s needs --ids 1,2,3", verb);
    for (;;) {
        char *end;
        errno = 0;
        long v = strtol(p, &end, 10);
        if (!strchr("-0123456789", *p) || end == p || errno || v < INT32_MIN || v > INT32_MAX || (*end && *end != ','))
            return cmd_error(MUGA_E_USAGE,
                             "--ids takes whole numbers such as 1,2,3; \"%.40s\" doesn't begin with a token id", p);
        if (!token_list_push(&d->ids, (int32_t)v))
            return cmd_error(MUGA_E_NOMEM, "out of memory for the ids");
        if (!*end)
            return -1;
        p = end + 1;
    }
}

int debug_engine_settings(const debug_engine *d, engine_options *o) {
    int code = cmd_parse_kv(d->kv, &o->kv);
    if (code >= 0)
        return code;
    o->exact = d->exact;
    o->ids_only = true;
    o->overrides = d->overrides.v;
    o->n_overrides = d->overrides.n;
    if (d->threads > 1024)
        return cmd_error(MUGA_E_USAGE, "--threads is at most 1024");
    o->n_threads = (int)d->threads;
    kernel_isa isa;
    if (!d->isa)
        return -1;
    if (!kernel_isa_parse(d->isa, &isa))
        return cmd_error(MUGA_E_USAGE, "--isa is ref, avx2, avx-vnni, avx512 or neon, not \"%.40s\"", d->isa);
    if (!kernel_isa_available(isa))
        return cmd_error(MUGA_E_USAGE, "instruction set %s isn't there on this processor or in this build", d->isa);
    o->isa = (int)isa;
    return -1;
}

int debug_engine_load_adapter(debug_engine *d) {
    char *path = NULL;
    muga_error err = {0};
    int code = cmd_parse_adapter(d->adapter_text, &path, &d->adapter_scale);
    if (code < 0 && path && engine_adapter_load(d->engine, path, &d->adapter, &err))
        code = cmd_fail(&err);
    free(path);
    return code;
}

int debug_engine_open(debug_engine *d, const char *verb, const char *name, bool with_ids) {
    muga_error err = {0};
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    int code = with_ids ? parse_ids(d, verb) : -1;
    if (code < 0)
        code = debug_engine_settings(d, &o);
    if (code >= 0)
        return code;
    char *path = NULL;
    muga_status st = cmd_resolve(name, &path, &err);
    if (!st)
        st = engine_open(path, &o, &d->engine, &err);
    if (!st)
        st = engine_session_new(d->engine, d->ctx, &d->session, &err);
    free(path);
    code = st ? cmd_fail(&err) : debug_engine_load_adapter(d);
    if (code < 0 && engine_session_set_adapter(d->session, d->adapter, d->adapter_scale, &err))
        code = cmd_fail(&err);
    return code;
}

void debug_engine_close(debug_engine *d) {
    engine_session_free(d->session);
    engine_adapter_drop(d->adapter);
    engine_free(d->engine);
    token_list_release(&d->ids);
}
