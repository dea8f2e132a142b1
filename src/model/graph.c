/* What graphs are made of: the working memory of a batch, and steps over its rows.
 *
 * Rows are tokens. Every step computes each row by itself, in an order that no other row changes; so chunking, batching
 * and threads can't change a bit. Steps over elements are spread over the pool in chunks of rows when a batch is large
 * enough to pay; matrix products and attention spread themselves. */
#include "model/arch.h"

#include <assert.h>

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

static void *act_new(uint32_t n_tok, uint64_t cols, bool *ok) {
    void *p = mem_alloc_aligned(MAX(kernel_act_bytes(n_tok, cols), (size_t)64), 64);
    *ok = *ok && p != NULL;
    return p;
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
    r->cos = rows_new(n * MAX(m->n_ropes, 1u), r->s_rot, &ok); /* at most 4096 x 2 rows */
    r->sin = rows_new(n * MAX(m->n_ropes, 1u), r->s_rot, &ok);
    if (!o->no_logits)
        r->logits = rows_new(MIN(n, MODEL_LOGIT_ROWS), stride_of(p->n_vocab), &ok);
    r->act = act_new(n, p->n_embd, &ok);
    r->act_att = act_new(n, (uint64_t)p->n_head * p->head_dim, &ok);
    r->act_ff = act_new(n, p->n_ff, &ok);
    r->kv = mem_alloc_array(o->max_seq, sizeof *r->kv);
    r->pos = mem_alloc_array(n, sizeof *r->pos);
    r->i_seq = mem_alloc_array(n, sizeof *r->i_seq);
    r->i_tok = mem_alloc_array(n, sizeof *r->i_tok);
    r->last = mem_alloc_array(n, sizeof *r->last);
    r->adapters = mem_alloc_array(o->max_seq, sizeof *r->adapters);
    r->i_adapter = mem_alloc_array(o->max_seq, sizeof *r->i_adapter);
    ok = ok && r->kv && r->pos && r->i_seq && r->i_tok && r->last && r->adapters && r->i_adapter;
    if (!ok) {
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
    void *owned[] = {r->x,         r->xn,         r->q,          r->att,        r->gate,
                     r->cos,       r->sin,        r->logits,     r->act,        r->kv,
                     r->pos,       r->i_seq,      r->i_tok,      r->last,       (void *)r->adapters,
                     r->i_adapter, r->adapted[0], r->adapted[1], r->adapted[2], r->act_att,
                     r->act_ff};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    free(r);
}

/* ---- rows over the pool ---- */
typedef struct rows_job {
    model_run *r;
    const model_layer *layer;
    const model_norm *norm;
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
/* True: the step was noted, and isn't to be computed. */
static bool noted(model_run *r, model_step_kind kind, const model_norm *norm) {
    if (!r->steps)
        return false;
    assert(r->n_steps < MODEL_MAX_STEPS);
    r->steps[r->n_steps++] = (model_step){kind, norm};
    return true;
}

uint32_t model_layer_steps(const model *m, uint32_t i_layer, model_step out[MODEL_MAX_STEPS]) {
    model_run r = {.m = m, .steps = out};
    m->arch->layer(&r, &m->layers[i_layer]);
    return r.n_steps;
}

bool model_has_layer_norms(const model *m) {
    return m->arch->layer_norm;
}

bool model_rope_pairs(const model *m) {
    return m->arch->rope_pairs;
}

/* Row i of a table in the file. */
static void table_row(const gguf_tensor *t, uint32_t i, float *out) {
    const tensor_traits *traits = tensor_type_traits(t->type);
    size_t row_bytes = (size_t)(t->dims[0] / traits->block_elems) * traits->block_bytes;
    traits->dequantise((const uint8_t *)t->data + i * row_bytes, out, (size_t)t->dims[0]);
}

static void norm(const model_run *r, const float *x, const model_norm *w, uint32_t n, float *out) {
    if (r->m->arch->layer_norm)
        r->o.kernels->layer_norm(x, w->w, w->b, r->m->p.norm_eps, n, out);
    else
        r->o.kernels->rms_norm(x, w->w, r->m->p.norm_eps, n, out);
}

static void look_up_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    const model *m = r->m;
    uint32_t id = (uint32_t)r->batch->ids[i];
    float *x = r->x + (size_t)i * r->s_embd;
    if (m->tied)
        kernel_weights_row(&m->output, id, x);
    else
        table_row(m->embd, id, x);
}

/* From a token's embedding to what the first layer takes. */
static void begin_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    const model *m = r->m;
    const model_params *p = &m->p;
    float *x = r->x + (size_t)i * r->s_embd, *xn = r->xn + (size_t)i * r->s_embd;
    if (m->type_embd) {
        table_row(m->type_embd, 0, xn);
        r->o.kernels->add(x, xn, p->n_embd, x);
    }
    if (m->position_embd) {
        table_row(m->position_embd, r->pos[i], xn);
        r->o.kernels->add(x, xn, p->n_embd, x);
    }
    if (m->embd_norm.w) {
        norm(r, x, &m->embd_norm, p->n_embd, x);
        memcpy(xn, x, p->n_embd * sizeof *x);
    }
    if (p->embd_scale != 1.0f)
        r->o.kernels->scale(x, p->embd_scale, p->n_embd, x);
    for (uint32_t k = 0; k < m->n_ropes; k++) {
        const model_rope *rope = &m->ropes[k];
        bool is_long = rope->freq_long && r->batch->n_ctx[r->i_seq[i]] > rope->n_ctx_short;
        size_t at = ((size_t)k * r->o.max_tok + i) * r->s_rot;
        kernel_rope_angles(r->pos[i], is_long ? rope->freq_long : rope->freq, p->n_rot / 2, rope->mscale, r->cos + at,
                           r->sin + at);
    }
}

void model_forward_begin(model_run *r, const model_batch *b) {
    r->batch = b;
    r->adding = false;
    r->n = b->n_tok;
    memcpy(r->pos, b->pos, b->n_tok * sizeof *r->pos);
    memcpy(r->i_seq, b->i_seq, b->n_tok * sizeof *r->i_seq);
    memcpy(r->last, b->pos, b->n_tok * sizeof *r->last);
    for (uint32_t i = 0; i < b->n_tok; i++)
        r->i_tok[i] = i;
    for (uint32_t i = b->n_tok - 1; r->m->p.encoder && i-- > 0;)
        if (r->i_seq[i] == r->i_seq[i + 1])
            r->last[i] = r->last[i + 1];
    adapt_begin(r);
    rows_run((rows_job){.r = r, .row = look_up_row});
    adapt_embedding(r);
    rows_run((rows_job){.r = r, .row = begin_row});
}

static void norm_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    const kernel_table *kt = r->o.kernels;
    const model_params *p = &r->m->p;
    float *x = r->x + (size_t)i * r->s_embd, *xn = r->xn + (size_t)i * r->s_embd;
    if (r->adding && r->adding_norm)
        norm(r, xn, r->adding_norm, p->n_embd, xn);
    if (r->adding && p->residual_scale != 1.0f)
        kt->add_scaled(x, xn, p->residual_scale, p->n_embd, x);
    else if (r->adding)
        kt->add(x, xn, p->n_embd, x);
    norm(r, x, j->norm, p->n_embd, xn);
}

void graph_norm(model_run *r, const model_norm *w) {
    if (noted(r, MODEL_STEP_NORM, w))
        return;
    rows_run((rows_job){.r = r, .norm = w, .row = norm_row});
    r->adding = false;
}

void graph_add_normed(model_run *r, const model_norm *w) {
    if (noted(r, MODEL_STEP_ADD, w))
        return;
    r->adding = true;
    r->adding_norm = w;
}

void graph_add(model_run *r) {
    graph_add_normed(r, NULL);
}

static void post_norm_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    uint32_t n = r->m->p.n_embd;
    float *x = r->x + (size_t)i * r->s_embd, *xn = r->xn + (size_t)i * r->s_embd;
    r->o.kernels->add(x, xn, n, x);
    norm(r, x, j->norm, n, x);
    memcpy(xn, x, n * sizeof *x);
}

void graph_post_norm(model_run *r, const model_norm *w) {
    if (noted(r, MODEL_STEP_POST_NORM, w))
        return;
    rows_run((rows_job){.r = r, .norm = w, .row = post_norm_row});
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

/* The weights of the product after part i of l; NULL where there is none. */
static const kernel_weights *weights_next(const model *m, const model_linear *l, uint32_t i) {
    uint32_t at = l->i_linear + 1;
    if (i + 1 < l->n_w)
        return &l->w[i + 1];
    if (at / MODEL_LINEARS == m->p.n_layer)
        return m->arch->encoder ? NULL : &m->output;
    const model_layer *y = &m->layers[at / MODEL_LINEARS];
    const model_linear *next[MODEL_LINEARS] = {&y->qkv, &y->o, &y->gate_up, &y->down};
    return &next[at % MODEL_LINEARS]->w[0];
}

/* y = W x + bias over the rows alive. */
static void linear(model_run *r, const model_linear *l, const float *x, uint32_t x_stride, float *y,
                   uint32_t y_stride) {
    for (uint32_t i = 0; i < l->n_parts; i++)
        show_input(r, l->parts[i]->name, &l->w[0], x, x_stride, r->n);
    size_t n_out = 0;
    void *act = x == r->att ? r->act_att : x == r->gate ? r->act_ff : r->act;
    bool quantised = false; /* act holds the codes of x */
    for (uint32_t i = 0; i < l->n_w; n_out += l->w[i++].rows) {
        kernel_matmul_args a = {.w = &l->w[i],
                                .x = x,
                                .x_stride = x_stride,
                                .y = y + n_out,
                                .y_stride = y_stride,
                                .n_tok = r->n,
                                .scratch = act,
                                .reuse = quantised,
                                .act = r->o.act,
                                .next = weights_next(r->m, l, i)};
        r->o.kernels->matmul(&a, r->o.pool);
        quantised = quantised || (r->o.act == KERNEL_ACT_INT8 && !is_plain(l->w[i].type));
    }
    adapt_linear(r, &(adapt_args){l->i_linear, 0, r->n, x, x_stride, y, y_stride});
    for (uint32_t i = 0; l->bias && i < r->n; i++)
        r->o.kernels->add(y + (size_t)i * y_stride, l->bias, n_out, y + (size_t)i * y_stride);
}

/* ---- attention ---- */
static void head_norms(const model_run *r, const model_norm *w, uint32_t n_head, float *x) {
    uint32_t dim = r->m->p.head_dim;
    for (uint32_t h = 0; w->w && h < n_head; h++)
        norm(r, x + (size_t)h * dim, w, dim, x + (size_t)h * dim);
}

static void store_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    const model_params *p = &r->m->p;
    const kernel_table *kt = r->o.kernels;
    const model_layer *y = j->layer;
    float *q = r->q + (size_t)i * r->s_qkv, *k = r->k + (size_t)i * r->s_qkv;
    head_norms(r, &y->q_norm, p->n_head, q);
    head_norms(r, &y->k_norm, p->n_head_kv, k);
    if (y->i_rope != MODEL_NO_ROPE) {
        size_t at = ((size_t)y->i_rope * r->o.max_tok + i) * r->s_rot;
        bool pairs = r->m->arch->rope_pairs;
        kt->rope(q, p->n_head, p->head_dim, p->n_rot, r->cos + at, r->sin + at, pairs);
        kt->rope(k, p->n_head_kv, p->head_dim, p->n_rot, r->cos + at, r->sin + at, pairs);
    }
    kt->kv_store(r->o.kv, p->n_head_kv, p->head_dim, &r->kv[r->i_seq[i]], r->pos[i], k, r->v + (size_t)i * r->s_qkv);
}

/* Drop the rows nobody wants logits of: after the last layer's keys are stored, only those are needed. */
static void keep_wanted(model_run *r) {
    const bool *wanted = r->batch->wanted;
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        if (!wanted || !wanted[i])
            continue;
        if (n != i) {
            memcpy(r->x + (size_t)n * r->s_embd, r->x + (size_t)i * r->s_embd, r->s_embd * sizeof(float));
            memcpy(r->q + (size_t)n * r->s_qkv, r->q + (size_t)i * r->s_qkv, r->s_att * sizeof(float));
        }
        r->pos[n] = r->pos[i];
        r->last[n] = r->last[i];
        r->i_seq[n] = r->i_seq[i];
        r->i_tok[n++] = i;
    }
    r->n = n;
}

void graph_attention(model_run *r, const model_layer *y) {
    if (noted(r, MODEL_STEP_ATTENTION, NULL))
        return;
    const model_params *p = &r->m->p;
    uint32_t i_layer = (uint32_t)(y - r->m->layers);
    size_t offset = y->i_kind * kernel_kv_page_bytes(r->o.kv, p->n_head_kv, p->head_dim);
    for (uint32_t i = 0; i < r->batch->n_seq; i++)
        r->kv[i] = (kernel_kv){.pages = r->batch->pages[y->kind][i], .layer_offset = offset};
    linear(r, &y->qkv, r->xn, r->s_embd, r->q, r->s_qkv);
    rows_run((rows_job){.r = r, .layer = y, .row = store_row});
    if (i_layer + 1 == p->n_layer)
        keep_wanted(r);
    if (r->n == 0)
        return;
    kernel_attn_args a = {.type = r->o.kv,
                          .n_head = p->n_head,
                          .n_head_kv = p->n_head_kv,
                          .head_dim = p->head_dim,
                          .scale = p->attn_scale,
                          .softcap = p->attn_cap,
                          .window = y->window,
                          .n_tok = r->n,
                          .kv = r->kv,
                          .i_seq = r->i_seq,
                          .pos = r->last,
                          .q = r->q,
                          .q_stride = r->s_qkv,
                          .out = r->att,
                          .out_stride = r->s_att};
    r->o.kernels->attention(&a, r->o.pool);
    linear(r, &y->o, r->att, r->s_att, r->xn, r->s_embd);
}

/* ---- feed forward ---- */
static void silu_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    float *gate = r->gate + (size_t)i * r->s_ff;
    r->o.kernels->silu_mul(gate, r->up + (size_t)i * r->s_ff, r->m->p.n_ff, gate);
}

static void gated_gelu_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    float *gate = r->gate + (size_t)i * r->s_ff;
    r->o.kernels->gelu_mul(gate, r->up + (size_t)i * r->s_ff, r->m->p.n_ff, gate);
}

static void relu_square_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    float *up = r->gate + (size_t)i * r->s_ff;
    r->o.kernels->relu_square(up, r->m->p.n_ff, up);
}

static void gelu_row(const rows_job *j, uint32_t i) {
    model_run *r = j->r;
    float *up = r->gate + (size_t)i * r->s_ff;
    r->o.kernels->gelu_erf(up, r->m->p.n_ff, up);
}

static void feed_forward(model_run *r, const model_layer *y, model_step_kind kind, rows_job activation) {
    if (noted(r, kind, NULL) || r->n == 0)
        return;
    linear(r, &y->gate_up, r->xn, r->s_embd, r->gate, r->s_ff);
    rows_run(activation);
    linear(r, &y->down, r->gate, r->s_ff, r->xn, r->s_embd);
}

void graph_gated_silu(model_run *r, const model_layer *y) {
    feed_forward(r, y, MODEL_STEP_GATED_SILU, (rows_job){.r = r, .row = silu_row});
}

void graph_gated_gelu(model_run *r, const model_layer *y) {
    feed_forward(r, y, MODEL_STEP_GATED_GELU, (rows_job){.r = r, .row = gated_gelu_row});
}

void graph_relu_square(model_run *r, const model_layer *y) {
    feed_forward(r, y, MODEL_STEP_RELU_SQUARE, (rows_job){.r = r, .row = relu_square_row});
}

void graph_gelu(model_run *r, const model_layer *y) {
    feed_forward(r, y, MODEL_STEP_GELU, (rows_job){.r = r, .row = gelu_row});
}

/* ---- logits ---- */
static void finish_logits(const model_run *r, float *logits) {
    const model_params *p = &r->m->p;
    if (p->logit_scale != 1.0f)
        r->o.kernels->scale(logits, 1.0f / p->logit_scale, p->n_vocab, logits);
    if (p->logit_cap != 0)
        r->o.kernels->softcap(logits, p->logit_cap, p->n_vocab, logits);
}

static void project(model_run *r) {
    const model *m = r->m;
    const model_batch *b = r->batch;
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
        adapt_linear(r, &(adapt_args){MODEL_LINEARS * m->p.n_layer, at, rows, a.x, r->s_embd, r->logits, stride});
        for (uint32_t i = 0; i < rows; i++) {
            finish_logits(r, r->logits + (size_t)i * stride);
            b->on_logits(b->on_logits_ctx, r->i_tok[at + i], r->logits + (size_t)i * stride);
        }
    }
}

void model_forward_layer(const model *m, model_run *r, uint32_t i_layer) {
    m->arch->layer(r, &m->layers[i_layer]);
}

void model_forward(const model *m, model_run *r, const model_batch *b) {
    model_forward_begin(r, b);
    for (uint32_t i = 0; i < m->p.n_layer; i++)
        model_forward_layer(m, r, i);
    if (r->n == 0)
        return;
    if (m->output_norm.w)
        graph_norm(r, &m->output_norm);
    for (uint32_t i = 0; b->on_hidden && i < r->n; i++)
        b->on_hidden(b->on_logits_ctx, r->i_tok[i], r->xn + (size_t)i * r->s_embd);
    if (!b->on_hidden)
        project(r);
}
