/* Texts to vectors: rows of the model's last layer, pooled and brought to length 1.
 *
 * Texts go through in groups of at most a batch of tokens; each is a session of its own, so no text sees another. One
 * that is longer goes through by itself, piece after piece; an encoder's never is (check_text). Sums are over rows in
 * ascending order, in f64, rounded once at the end. */
#include "engine/internal.h"

#include <math.h>

typedef struct pool {
    engine *e;
    const engine_embed_args *a;
    const token_list *texts; /* of the group */
    uint32_t n_dims;
    model_pooling how;
    double *sum; /* [n_dims] of the text being read */
    float *out;  /* of the group's first text */
} pool;

uint32_t engine_embed_dims(const engine *e) {
    const model_params *p = engine_params(e);
    return p->pooling == MODEL_POOL_NONE ? 0 : p->n_embd;
}

uint32_t engine_embed_limit(const engine *e) {
    const model_params *p = engine_params(e);
    return p->encoder ? MIN(p->n_ctx_train, e->o.n_batch) : p->n_ctx_train;
}

/* The text's last row is in: a vector of length 1. All zero stays all zero. */
static void finish_text(const pool *p, uint32_t i_text) {
    float *out = p->out + (size_t)i_text * p->n_dims;
    double square = 0;
    for (uint32_t i = 0; i < p->n_dims; i++)
        square += p->sum[i] * p->sum[i];
    double length = sqrt(square);
    for (uint32_t i = 0; i < p->n_dims; i++)
        out[i] = length > 0 ? (float)(p->sum[i] / length) : 0.0f;
}

static void on_row(void *ctx, uint32_t i_text, uint32_t pos, const float *hidden) {
    const pool *p = ctx;
    bool last = pos + 1 == p->texts[i_text].n;
    bool counts = p->how == MODEL_POOL_MEAN || (p->how == MODEL_POOL_CLS && pos == 0) ||
                  (p->how == MODEL_POOL_LAST && last);
    for (uint32_t i = 0; i < p->n_dims; i++)
        p->sum[i] = (pos > 0 ? p->sum[i] : 0.0) + (counts ? (double)hidden[i] : 0.0);
    if (last)
        finish_text(p, i_text);
}

static muga_status check_text(const engine *e, const token_list *text, uint32_t i, muga_error *err) {
    uint32_t n_max = engine_embed_limit(e);
    if (text->n == 0)
        return error_set(err, MUGA_E_USAGE, "text %u has no tokens to embed", i);
    if (text->n > n_max)
        return error_set(err, MUGA_E_LIMIT, "text %u has %zu tokens, more than the %u this model embeds; split it", i,
                         text->n, n_max);
    return MUGA_OK;
}

/* Rows of the next step: an encoder's texts can't be cut, so it has a batch. */
static uint32_t step_rows(const pool *p) {
    bool yields = !engine_params(p->e)->encoder && turns_busy(&p->e->step_turns);
    return yields ? MIN(p->e->o.n_batch, ENGINE_ROWS_BESIDE) : p->e->o.n_batch;
}

static muga_status run(pool *p, engine_item *items, uint32_t n, muga_error *err) {
    if (p->a->on_step && !p->a->on_step(p->a->on_step_ctx))
        return error_set(err, MUGA_E_CANCELLED, "interrupted");
    return engine_step_rows(p->e, items, n, on_row, p, err);
}

/* A text in one or several steps. */
static muga_status run_text(pool *p, engine_item *item, muga_error *err) {
    const token_list *text = p->texts;
    muga_status st = MUGA_OK;
    for (uint32_t at = 0; at < text->n && !st; at += item->n) {
        item->ids = text->ids + at;
        item->n = MIN((uint32_t)text->n - at, step_rows(p));
        st = run(p, item, 1, err);
    }
    return st;
}

/* Texts that fit into one step together, or one. */
static muga_status embed_group(pool *p, uint32_t n, muga_error *err) {
    engine_item *items = mem_alloc_array(n, sizeof *items);
    muga_status st = items ? MUGA_OK : error_nomem(err, "the texts to embed");
    uint32_t n_made = 0;
    for (; !st && n_made < n; n_made += !st) {
        const token_list *text = &p->texts[n_made];
        items[n_made] = (engine_item){.ids = text->ids, .n = (uint32_t)text->n, .want = ENGINE_LOGITS_ALL};
        st = engine_session_make(p->e, (uint32_t)text->n, &items[n_made].session, err);
    }
    if (!st)
        st = n == 1 ? run_text(p, items, err) : run(p, items, n, err);
    for (uint32_t i = 0; i < n_made; i++)
        engine_session_free(items[i].session);
    free(items);
    return st;
}

muga_status engine_embed_each(engine *e, const engine_embed_args *a, float *out, muga_error *err) {
    const model_params *params = engine_params(e);
    pool p = {.e = e, .a = a, .n_dims = params->n_embd, .how = params->pooling};
    if (p.how == MODEL_POOL_NONE && !a->any_model)
        return error_set(err, MUGA_E_INPUT,
                         "this %s model doesn't say how to pool its rows (%s.pooling_type); use an embedding model",
                         model_arch_name(e->model), model_arch_name(e->model));
    if (p.how == MODEL_POOL_NONE)
        p.how = MODEL_POOL_MEAN;
    for (uint32_t i = 0; i < a->n; i++) {
        muga_status st = check_text(e, &a->texts[i], i, err);
        if (st)
            return st;
    }
    p.sum = mem_alloc_array(p.n_dims, sizeof *p.sum);
    muga_status st = p.sum ? MUGA_OK : error_nomem(err, "a vector");
    for (uint32_t from = 0, to; from < a->n && !st; from = to) {
        size_t n_tok = a->texts[from].n, most = step_rows(&p);
        for (to = from + 1; to < a->n && n_tok + a->texts[to].n <= most; to++)
            n_tok += a->texts[to].n;
        p.texts = a->texts + from;
        p.out = out + (size_t)from * p.n_dims;
        st = embed_group(&p, to - from, err);
    }
    free(p.sum);
    return st;
}

muga_status engine_embed_ids(engine *e, const token_list *texts, uint32_t n, float *out, muga_error *err) {
    return engine_embed_each(e, &(engine_embed_args){.texts = texts, .n = n}, out, err);
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
