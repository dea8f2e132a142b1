/* Texts to vectors: rows of the model's last layer, pooled and brought to length 1.
 *
 * Texts go through in groups of at most a batch of tokens; each is a session of its own, so no text sees another. Sums
 * are over rows in ascending order, in f64, rounded once at the end. */
#include "engine/internal.h"

#include <math.h>

typedef struct pool {
    const engine *e;
    const token_list *texts; /* of the group */
    double *sum;             /* [n_dims] of the text being read */
    float *out;              /* of the group's first text */
} pool;

uint32_t engine_embed_dims(const engine *e) {
    const model_params *p = engine_params(e);
    return p->pooling == MODEL_POOL_NONE ? 0 : p->n_embd;
}

/* The text's last row is in: a vector of length 1. All zero stays all zero. */
static void finish_text(const pool *p, uint32_t i_text) {
    uint32_t n = engine_embed_dims(p->e);
    float *out = p->out + (size_t)i_text * n;
    double square = 0;
    for (uint32_t i = 0; i < n; i++)
        square += p->sum[i] * p->sum[i];
    double length = sqrt(square);
    for (uint32_t i = 0; i < n; i++)
        out[i] = length > 0 ? (float)(p->sum[i] / length) : 0.0f;
}

static void on_row(void *ctx, uint32_t i_text, uint32_t pos, const float *hidden) {
    const pool *p = ctx;
    uint32_t n = engine_embed_dims(p->e);
    model_pooling how = engine_params(p->e)->pooling;
    bool last = pos + 1 == p->texts[i_text].n;
    bool counts = how == MODEL_POOL_MEAN || (how == MODEL_POOL_CLS && pos == 0) || (how == MODEL_POOL_LAST && last);
    for (uint32_t i = 0; i < n; i++)
        p->sum[i] = (pos > 0 ? p->sum[i] : 0.0) + (counts ? (double)hidden[i] : 0.0);
    if (last)
        finish_text(p, i_text);
}

static muga_status check_text(const engine *e, const token_list *text, uint32_t i, muga_error *err) {
    uint32_t n_max = MIN(engine_params(e)->n_ctx_train, e->o.n_batch);
    if (text->n == 0)
        return error_set(err, MUGA_E_USAGE, "text %u has no tokens to embed", i);
    if (text->n > n_max)
        return error_set(err, MUGA_E_LIMIT, "text %u has %zu tokens, more than the %u this model embeds; split it", i,
                         text->n, n_max);
    return MUGA_OK;
}

/* Texts that fit into one batch together. */
static muga_status embed_group(engine *e, pool *p, uint32_t n, muga_error *err) {
    engine_item *items = mem_alloc_array(n, sizeof *items);
    muga_status st = items ? MUGA_OK : error_nomem(err, "the texts to embed");
    uint32_t n_made = 0;
    for (; !st && n_made < n; n_made += !st) {
        const token_list *text = &p->texts[n_made];
        items[n_made] = (engine_item){.ids = text->ids, .n = (uint32_t)text->n, .want = ENGINE_LOGITS_ALL};
        st = engine_session_make(e, (uint32_t)text->n, &items[n_made].session, err);
    }
    if (!st)
        st = engine_step_rows(e, items, n, on_row, p, err);
    for (uint32_t i = 0; i < n_made; i++)
        engine_session_free(items[i].session);
    free(items);
    return st;
}

muga_status engine_embed_ids(engine *e, const token_list *texts, uint32_t n, float *out, muga_error *err) {
    uint32_t n_dims = engine_embed_dims(e);
    if (n_dims == 0)
        return error_set(err, MUGA_E_INPUT,
                         "this %s model doesn't say how to pool its rows (%s.pooling_type); use an embedding model",
                         model_arch_name(e->model), model_arch_name(e->model));
    for (uint32_t i = 0; i < n; i++) {
        muga_status st = check_text(e, &texts[i], i, err);
        if (st)
            return st;
    }
    pool p = {.e = e, .sum = mem_alloc_array(n_dims, sizeof *p.sum)};
    muga_status st = p.sum ? MUGA_OK : error_nomem(err, "a vector");
    for (uint32_t from = 0, to; from < n && !st; from = to) {
        size_t n_tok = texts[from].n;
        for (to = from + 1; to < n && n_tok + texts[to].n <= e->o.n_batch; to++)
            n_tok += texts[to].n;
        p.texts = texts + from;
        p.out = out + (size_t)from * n_dims;
        st = embed_group(e, &p, to - from, err);
    }
    free(p.sum);
    return st;
}

muga_status engine_embed(engine *e, const span *texts, uint32_t n, float *out, muga_error *err) {
    if (!e->tok)
        return error_set(err, MUGA_E_INPUT, "this model's tokenizer is not supported, so it can't embed text");
    token_list *ids = mem_alloc_array(n, sizeof *ids);
    muga_status st = ids ? MUGA_OK : error_nomem(err, "the texts to embed");
    for (uint32_t i = 0; i < n && !st; i++)
        st = tokenizer_encode(e->tok, texts[i].p, texts[i].n, (tokenizer_flags){.add_special = true}, &ids[i], err);
    if (!st)
        st = engine_embed_ids(e, ids, n, out, err);
    for (uint32_t i = 0; ids && i < n; i++)
        token_list_release(&ids[i]);
    free(ids);
    return st;
}
