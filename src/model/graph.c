/* What graphs are made of: the working memory of a batch, and steps over its rows.
 *
 * Rows are tokens. Every step computes each row by itself, in an order that no other row changes; so chunking, batching
 * and threads can't change a bit. Steps over elements are spread over the pool in chunks of rows when a batch is large
 * enough to pay; matrix products and attention spread themselves. */
#include "model/arch.h"

#define ROWS_PER_CHUNK 4

static uint32_t stride_of(uint32_t n) {
    return (n + 15) & ~15u;
}

static float *rows_new(uint32_t n_row, uint32_t stride, bool *ok) {
    size_t bytes;
    float *p = size_mul((size_t)n_row * sizeof(float), stride, &bytes) ? mem_alloc_aligned(bytes, 64) : NULL;
    *ok = *ok && p != NULL;
    return p;
}

static size_t act_bytes(const model_params *p, uint32_t n_tok) {
    uint64_t cols = MAX(MAX((uint64_t)p->n_embd, (uint64_t)p->n_ff), (uint64_t)p->n_head * p->head_dim);
    return MAX(kernel_act_bytes(n_tok, cols), (size_t)64);
}

muga_status model_run_new(const model *m, const model_run_options *o, model_run **out, muga_error *err) {
    model_run *r = mem_alloc_array(1, sizeof *r);
    if (!r)
        return error_nomem(err, "a run of the model");
    const model_params *p = &m->p;
    uint32_t n = o->max_tok;
    r->o = *o;
    r->m = m;
    r->s_embd = stride_of(p->n_embd);
    r->s_qkv = stride_of((p->n_head + 2 * p->n_head_kv) * p->head_dim);
    r->s_att = stride_of(p->n_head * p->head_dim);
    r->s_ff = stride_of(2 * p->n_ff);
    r->s_rot = stride_of(p->n_rot / 2);
    bool ok = true;
    r->x = rows_new(n, r->s_embd, &ok);
    r->xn = rows_new(n, r->s_embd, &ok);
    r->q = rows_new(n, r->s_qkv, &ok);
    r->att = rows_new(n, r->s_att, &ok);
    r->gate = rows_new(n, r->s_ff, &ok);
    r->cos = rows_new(n, r->s_rot, &ok);
    r->sin = rows_new(n, r->s_rot, &ok);
    r->logits = rows_new(MIN(n, MODEL_LOGIT_ROWS), stride_of(p->n_vocab), &ok);
    r->act = mem_alloc_aligned(act_bytes(p, n), 64);
    r->kv = mem_alloc_array(o->max_seq, sizeof *r->kv);
    r->pos = mem_alloc_array(n, sizeof *r->pos);
    r->i_seq = mem_alloc_array(n, sizeof *r->i_seq);
    r->i_tok = mem_alloc_array(n, sizeof *r->i_tok);
    if (!ok || !r->act || !r->kv || !r->pos || !r->i_seq || !r->i_tok) {
        model_run_free(r);
        return error_nomem(err, "the working memory of a batch");
    }
    r->k = r->q + p->n_head * p->head_dim;
    r->v = r->k + p->n_head_kv * p->head_dim;
    r->up = r->gate + p->n_ff;
    *out = r;
    return MUGA_OK;
}

void model_run_free(model_run *r) {
    if (!r)
        return;
    void *owned[] = {r->x,      r->xn,  r->q,  r->att, r->gate,  r->cos,  r->sin,
                     r->logits, r->act, r->kv, r->pos, r->i_seq, r->i_tok};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    free(r);
}

void model_forward(const model *m, model_run *r, const model_batch *b) {
    m->arch->forward(m, r, b);
}

/* ---- rows over the pool ---- */
typedef struct rows_job {
    model_run *r;
    const void *arg;
    uint32_t i_layer;
    bool flag;
    void (*row)(const struct rows_job *j, uint32_t i);
} rows_job;

static void rows_chunk(void *ctx, int i_chunk) {
    const rows_job *j = ctx;
    uint32_t from = (uint32_t)i_chunk * ROWS_PER_CHUNK, to = MIN(from + ROWS_PER_CHUNK, j->r->n);
    for (uint32_t i = from; i < to; i++)
        j->row(j, i);
}

static void rows_run(rows_job j) {
    os_pool *pool = j.r->n > 2 * ROWS_PER_CHUNK ? j.r->o.pool : NULL;
    os_pool_run(pool, (int)((j.r->n + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK), rows_chunk, &j);
}

/* ---- steps ---- */
static void begin_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    const model *m = r->m;
    const model_params *p = &m->p;
    const int32_t *ids = j->arg;
    float *x = r->x + (size_t)i * r->s_embd;
    if (m->tied) {
        kernel_weights_row(&m->output, (uint64_t)ids[i], x);
    } else {
        const tensor_traits *t = tensor_type_traits(m->embd->type);
        size_t row_bytes = p->n_embd / t->block_elems * (size_t)t->block_bytes;
        t->dequantise((const uint8_t *)m->embd->data + (size_t)ids[i] * row_bytes, x, p->n_embd);
    }
    kernel_rope_angles(r->pos[i], m->rope_freq, p->n_rot / 2, 1.0f, r->cos + (size_t)i * r->s_rot,
                       r->sin + (size_t)i * r->s_rot);
}

void graph_begin(model_run *r, const model_batch *b) {
    r->n = b->n_tok;
    memcpy(r->pos, b->pos, b->n_tok * sizeof *r->pos);
    memcpy(r->i_seq, b->i_seq, b->n_tok * sizeof *r->i_seq);
    for (uint32_t i = 0; i < b->n_tok; i++)
        r->i_tok[i] = i;
    for (uint32_t i = 0; i < b->n_seq; i++)
        r->kv[i].pages = b->pages[i];
    rows_run((rows_job){.r = r, .arg = b->ids, .row = begin_row});
}

static void norm_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    float *x = r->x + (size_t)i * r->s_embd, *xn = r->xn + (size_t)i * r->s_embd;
    if (j->flag)
        r->o.kernels->add(x, xn, r->m->p.n_embd, x);
    r->o.kernels->rms_norm(x, j->arg, r->m->p.norm_eps, r->m->p.n_embd, xn);
}

void graph_norm(model_run *r, const float *w) {
    rows_run((rows_job){.r = r, .arg = w, .row = norm_row});
}

void graph_add_norm(model_run *r, const float *w) {
    rows_run((rows_job){.r = r, .arg = w, .flag = true, .row = norm_row});
}

static bool is_plain(tensor_type t) {
    return t == TENSOR_F32 || t == TENSOR_F16 || t == TENSOR_BF16;
}

/* Show the input of a product to whoever watches. */
static void show_input(const model_run *r, const char *tensor, const kernel_weights *w, const float *x,
                       uint32_t x_stride, uint32_t n_tok) {
    if (r->o.on_input)
        r->o.on_input(r->o.on_input_ctx, tensor, x, x_stride, n_tok, (uint32_t)w->cols);
}

void graph_linear(model_run *r, const model_linear *l, const float *x, uint32_t x_stride, float *y, uint32_t y_stride) {
    for (uint32_t i = 0; i < l->n_parts; i++)
        show_input(r, l->parts[i]->name, &l->w[0], x, x_stride, r->n);
    size_t n_out = 0;
    bool quantised = false; /* act holds the codes of x */
    for (uint32_t i = 0; i < l->n_w; n_out += l->w[i++].rows) {
        kernel_matmul_args a = {.w = &l->w[i],
                                .x = x,
                                .x_stride = x_stride,
                                .y = y + n_out,
                                .y_stride = y_stride,
                                .n_tok = r->n,
                                .scratch = r->act,
                                .reuse = quantised,
                                .act = r->o.act};
        r->o.kernels->matmul(&a, r->o.pool);
        quantised = quantised || (r->o.act == KERNEL_ACT_INT8 && !is_plain(l->w[i].type));
    }
    for (uint32_t i = 0; l->bias && i < r->n; i++)
        r->o.kernels->add(y + (size_t)i * y_stride, l->bias, n_out, y + (size_t)i * y_stride);
}

static void set_layer(model_run *r, uint32_t i_layer) {
    const model_params *p = &r->m->p;
    size_t offset = i_layer * kernel_kv_page_bytes(r->o.kv, p->n_head_kv, p->head_dim);
    for (uint32_t i = 0; i < r->o.max_seq; i++)
        r->kv[i].layer_offset = offset;
}

static void rope_store_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    const model_params *p = &r->m->p;
    const kernel_table *kt = r->o.kernels;
    const float *cos = r->cos + (size_t)i * r->s_rot, *sin = r->sin + (size_t)i * r->s_rot;
    float *k = r->k + (size_t)i * r->s_qkv;
    kt->rope(r->q + (size_t)i * r->s_qkv, p->n_head, p->head_dim, p->n_rot, cos, sin, j->flag);
    kt->rope(k, p->n_head_kv, p->head_dim, p->n_rot, cos, sin, j->flag);
    kt->kv_store(r->o.kv, p->n_head_kv, p->head_dim, &r->kv[r->i_seq[i]], r->pos[i], k, r->v + (size_t)i * r->s_qkv);
}

void graph_rope_store(model_run *r, uint32_t i_layer, bool pairs) {
    set_layer(r, i_layer);
    rows_run((rows_job){.r = r, .flag = pairs, .row = rope_store_row});
}

void graph_keep_wanted(model_run *r, const model_batch *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        if (!b->wanted || !b->wanted[i])
            continue;
        if (n != i) {
            memcpy(r->x + (size_t)n * r->s_embd, r->x + (size_t)i * r->s_embd, r->s_embd * sizeof(float));
            memcpy(r->q + (size_t)n * r->s_qkv, r->q + (size_t)i * r->s_qkv, r->s_att * sizeof(float));
        }
        r->pos[n] = r->pos[i];
        r->i_seq[n] = r->i_seq[i];
        r->i_tok[n++] = i;
    }
    r->n = n;
}

void graph_attention(model_run *r, uint32_t i_layer) {
    const model_params *p = &r->m->p;
    set_layer(r, i_layer);
    kernel_attn_args a = {.type = r->o.kv,
                          .n_head = p->n_head,
                          .n_head_kv = p->n_head_kv,
                          .head_dim = p->head_dim,
                          .scale = r->m->attn_scale,
                          .n_tok = r->n,
                          .kv = r->kv,
                          .i_seq = r->i_seq,
                          .pos = r->pos,
                          .q = r->q,
                          .q_stride = r->s_qkv,
                          .out = r->att,
                          .out_stride = r->s_att};
    r->o.kernels->attention(&a, r->o.pool);
}

static void silu_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    float *gate = r->gate + (size_t)i * r->s_ff;
    r->o.kernels->silu_mul(gate, r->up + (size_t)i * r->s_ff, r->m->p.n_ff, gate);
}

void graph_silu_mul(model_run *r) {
    rows_run((rows_job){.r = r, .row = silu_row});
}

void graph_project(model_run *r, const model_batch *b) {
    const model *m = r->m;
    uint32_t stride = stride_of(m->p.n_vocab), n = r->n;
    for (uint32_t at = 0; at < n; at += MODEL_LOGIT_ROWS) {
        uint32_t rows = MIN(n - at, (uint32_t)MODEL_LOGIT_ROWS);
        kernel_matmul_args a = {.w = &m->output,
                                .x = r->xn + (size_t)at * r->s_embd,
                                .x_stride = r->s_embd,
                                .y = r->logits,
                                .y_stride = stride,
                                .n_tok = rows,
                                .scratch = r->act,
                                .act = r->o.act};
        show_input(r, m->tied ? "token_embd.weight" : "output.weight", &m->output, a.x, r->s_embd, rows);
        r->o.kernels->matmul(&a, r->o.pool);
        for (uint32_t i = 0; i < rows; i++)
            b->on_logits(b->on_logits_ctx, r->i_tok[at + i], r->logits + (size_t)i * stride);
    }
}
