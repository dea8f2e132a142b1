/* Texts to vectors by the local engine, beside whatever else it computes: its steps take turns with the scheduler's. */
#include "base/mem.h"
#include "llm/local.h"
#include "os/os.h"

/* A text as tokens, cut to `most` where that is asked for. An end that the model's file asks for stays the last. */
static muga_status encode(const local *l, const llm_embed_request *q, size_t i, uint32_t most, token_list *out,
                          bool *cut, muga_error *err) {
    const tokenizer *t = engine_tokenizer(l->engine);
    muga_status st = MUGA_OK;
    if (q->texts) {
        st = tokenizer_encode(t, q->texts[i].p, q->texts[i].n, (tokenizer_flags){.add_special = true}, out, err);
    } else {
        st = local_check_ids(l, q->ids[i].ids, q->ids[i].n, "a text", err);
        for (size_t k = 0; k < q->ids[i].n && !st; k++)
            if (!token_list_push(out, q->ids[i].ids[k]))
                st = error_nomem(err, "a text's tokens");
    }
    if (st)
        return st;
    if (out->n == 0)
        return error_set(err, MUGA_E_INPUT, "text %zu is empty, so there is nothing to embed", i);
    *cut = out->n > most;
    if (*cut && !q->truncate)
        return error_set(err, MUGA_E_LIMIT, "text %zu has %zu tokens, more than the %u this model embeds; split it", i,
                         out->n, most);
    if (*cut && q->texts && tokenizer_is_control(t, out->ids[out->n - 1]))
        out->ids[most - 1] = out->ids[out->n - 1];
    out->n = MIN(out->n, (size_t)most);
    return MUGA_OK;
}

static bool goes_on(void *ctx) {
    const llm_embed_request *q = ctx;
    return !q->cancelled || !atomic_load(q->cancelled);
}

static muga_status embed(local *l, const llm_embed_request *q, token_list *ids, llm_embed_reply *out, muga_error *err) {
    uint32_t most = MIN(l->base.n_ctx, engine_embed_limit(l->engine));
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < q->n && !st; i++) {
        bool cut = false;
        st = goes_on((void *)(uintptr_t)q) ? encode(l, q, i, most, &ids[i], &cut, err)
                                           : error_set(err, MUGA_E_CANCELLED, "interrupted");
        out->n_tokens[i] = (uint32_t)ids[i].n;
        out->n_truncated += cut;
    }
    engine_embed_args a = {
        .texts = ids, .n = (uint32_t)q->n, .any_model = true, .on_step = goes_on, .on_step_ctx = (void *)(uintptr_t)q};
    return st ? st : engine_embed_each(l->engine, &a, out->vectors, err);
}

muga_status local_embed(llm *m, const llm_embed_request *q, llm_embed_reply *out, muga_error *err) {
    local *l = (local *)m;
    const os_clock *clock = &os_system()->clock;
    uint64_t begin = clock->monotonic_us(clock->self);
    if (l->adapter)
        return error_set(err, MUGA_E_USAGE,
                         "%.80s has an adapter, and vectors are made without one; name the model "
                         "without it",
                         l->name);
    size_t n_values;
    out->n_dims = engine_params(l->engine)->n_embd;
    if (q->n > UINT32_MAX || !size_mul(q->n, out->n_dims, &n_values))
        return error_set(err, MUGA_E_LIMIT, "%zu texts to embed are too many", q->n);
    token_list *ids = mem_alloc_array(q->n, sizeof *ids);
    out->vectors = mem_alloc_array(n_values, sizeof *out->vectors);
    out->n_tokens = mem_alloc_array(q->n, sizeof *out->n_tokens);
    muga_status st = ids && out->vectors && out->n_tokens ? embed(l, q, ids, out, err)
                                                          : error_nomem(err, "the vectors");
    for (size_t i = 0; ids && i < q->n; i++)
        token_list_release(&ids[i]);
    free(ids);
    out->total_us = clock->monotonic_us(clock->self) - begin;
    return st;
}
