/* Adapters of an engine: loaded while others step, counted, freed with their last user.
 *
 * Invariants
 *   1. refs counts the loader's own reference and one for each session that has the adapter. At zero nobody can reach
 *      it any more, so it is freed without a lock, by whichever thread gave the last one back.
 *   2. The run's working memory serves every adapter that was ever loaded: it grows under the step lock, before the
 *      adapter is handed out, and never shrinks. So a step allocates nothing.
 *   3. The digest is that of the bytes that were packed: a file written to in between is an error. */
#include "engine/internal.h"

#include <stdatomic.h>

struct engine_adapter {
    atomic_uint refs;
    const engine *e; /* whose model it was checked against */
    model_adapter *m;
    char sha256[SHA256_HEX];
    char base[SHA256_HEX]; /* of the file it was trained on; "" = it names none */
};

/* Packed by this thread alone: the pool belongs to the steps of others. */
static muga_status read_file(engine *e, const char *path, engine_adapter *a, muga_error *err) {
    gguf_file *f = NULL;
    muga_status st = gguf_open(path, &f, err);
    if (st)
        return st;
    st = model_adapter_load(e->model, f, NULL, &a->m, err);
    if (!st) {
        span base = {0};
        gguf_digest(f, a->sha256);
        if (!gguf_get_string(f, MODEL_ADAPTER_BASE_KEY, &base, NULL))
            memcpy(a->base, base.p, MIN(base.n, sizeof a->base - 1)); /* of no digest, enough to be none */
        st = gguf_check_unchanged(f, path, err);
    } else {
        st = error_prefix(err, st, "%s", path);
    }
    gguf_close(f);
    return st;
}

muga_status engine_adapter_load(engine *e, const char *path, engine_adapter **out, muga_error *err) {
    if (engine_params(e)->encoder)
        return error_set(err, MUGA_E_INPUT, "a %s model makes embeddings; adapters are for language models",
                         model_arch_name(e->model));
    engine_adapter *a = mem_alloc_array(1, sizeof *a);
    if (!a)
        return error_nomem(err, "the adapter");
    atomic_init(&a->refs, 1);
    a->e = e;
    muga_status st = read_file(e, path, a, err);
    if (!st) {
        turns_take(&e->step_turns);
        st = model_run_prepare(e->run, a->m, err);
        turns_give(&e->step_turns);
    }
    if (st) {
        engine_adapter_drop(a);
        return st;
    }
    *out = a;
    return MUGA_OK;
}

void engine_adapter_drop(engine_adapter *a) {
    if (!a || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) > 1)
        return;
    model_adapter_free(a->m);
    free(a);
}

const char *engine_adapter_sha256(const engine_adapter *a) {
    return a->sha256;
}
const char *engine_adapter_base(const engine_adapter *a) {
    return a->base;
}
size_t engine_adapter_bytes(const engine_adapter *a) {
    return model_adapter_bytes(a->m);
}

/* ---- a session's choice ---- */

adapter_choice adapter_choice_copy(adapter_choice c) {
    if (c.adapter)
        atomic_fetch_add_explicit(&c.adapter->refs, 1, memory_order_relaxed);
    return c;
}

void adapter_choice_release(adapter_choice *c) {
    engine_adapter_drop(c->adapter);
    *c = (adapter_choice){0};
}

muga_status adapter_choice_set(adapter_choice *c, const engine *e, engine_adapter *a, float scale, muga_error *err) {
    if (a && a->e != e)
        return error_set(err, MUGA_E_USAGE, "the adapter was loaded for another engine");
    if (a && !model_adapter_scale_fits(a->m, scale))
        return error_set(err, MUGA_E_USAGE, "an adapter's scale must be a finite number, usually between 0 and 2");
    adapter_choice chosen = adapter_choice_copy((adapter_choice){a, a ? scale : 0});
    adapter_choice_release(c);
    *c = chosen;
    return MUGA_OK;
}

model_adapter_use adapter_choice_use(adapter_choice c) {
    return (model_adapter_use){c.adapter ? c.adapter->m : NULL, c.scale};
}
