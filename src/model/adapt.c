/* What adapters add to a batch: y = fma(scale, B (A x), y), after W x is complete.
 *
 * Rows with the same adapter are computed together, wherever their sequences stand in the batch, up to
 * MODEL_ADAPTED_ROWS at a time; a row's numbers hang on its own x, adapter and scale alone. A row without an adapter is
 * not touched. A x and B (A x) are products with float activations whatever the types (docs/arithmetic.md). */
#include "model/arch.h"

#define SMALL_WORK (1u << 15) /* multiply-adds below which waking others costs more than it saves */

enum { GATHERED, INNER, OUTER }; /* of model_run.adapted */

static uint32_t stride_of(uint32_t n) {
    return (n + 15) & ~15u;
}

muga_status model_run_prepare(model_run *r, const model_adapter *a, muga_error *err) {
    const size_t want[] = {[GATHERED] = (size_t)MODEL_ADAPTED_ROWS * stride_of(a->widest_in),
                           [INNER] = (size_t)MODEL_ADAPTED_ROWS * stride_of(a->widest_inner),
                           [OUTER] = (size_t)a->widest_out};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        if (want[i] <= r->adapted_n[i])
            continue;
        float *p = mem_alloc_aligned(want[i] * sizeof *p, 64);
        if (!p)
            return error_nomem(err, "the working memory of an adapter");
        free(r->adapted[i]);
        r->adapted[i] = p;
        r->adapted_n[i] = want[i];
    }
    return MUGA_OK;
}

void adapt_begin(model_run *r) {
    const model_batch *b = r->batch;
    r->n_adapters = 0;
    for (uint32_t i = 0; b->adapters && i < b->n_seq; i++) {
        const model_adapter *a = b->adapters[i].adapter;
        uint32_t k = 0;
        while (k < r->n_adapters && r->adapters[k] != a)
            k++;
        r->i_adapter[i] = a ? k : MODEL_NO_ADAPTER;
        if (a && k == r->n_adapters)
            r->adapters[r->n_adapters++] = a;
    }
}

/* Some rows of the batch that have one adapter. */
typedef struct group {
    model_run *r;
    const model_adapter *adapter;
    uint32_t rows[MODEL_ADAPTED_ROWS]; /* among those alive, ascending */
    uint32_t n;
    /* What is being added: y += scale B inner. y is of row i_row. */
    const adapter_part *parts;
    uint32_t n_parts;
    float *y;
    uint32_t i_row, y_stride;
    size_t inner_stride;
} group;

/* The next rows from *at on, before end, that have the k-th adapter; false when there is none. */
static bool next_group(model_run *r, uint32_t k, uint32_t *at, uint32_t end, group *g) {
    *g = (group){.r = r, .adapter = r->adapters[k]};
    for (; *at < end && g->n < MODEL_ADAPTED_ROWS; ++*at)
        if (r->i_adapter[r->i_seq[*at]] == k)
            g->rows[g->n++] = *at;
    return g->n > 0;
}

static void product(const group *g, const kernel_weights *w, const float *x, size_t x_stride, float *y, size_t y_stride,
                    os_pool *pool) {
    kernel_matmul_args a = {
        .w = w, .x = x, .x_stride = x_stride, .y = y, .y_stride = y_stride, .n_tok = g->n, .act = KERNEL_ACT_F32};
    g->r->o.kernels->matmul(&a, pool);
}

/* ---- B (A x), in pieces of outputs ----
 * A piece is MODEL_ADAPTED_OUTPUTS outputs of one part, for all rows of the group: its sums are added while they are
 * near, and pieces are what threads take. */

static uint32_t pieces_of(const adapter_part *part) {
    return (uint32_t)((part->b.rows + MODEL_ADAPTED_OUTPUTS - 1) / MODEL_ADAPTED_OUTPUTS);
}

/* Rounded twice: user * alpha, then / rank. */
static float scale_of(const group *g, const adapter_part *part, uint32_t i_row) {
    float user = g->r->batch->adapters[g->r->i_seq[i_row]].scale;
    return g->adapter->alpha != 0 ? user * g->adapter->alpha / (float)part->b.cols : user;
}

static void add_piece(void *ctx, int i_piece) {
    const group *g = ctx;
    const adapter_part *part = g->parts;
    uint32_t i = (uint32_t)i_piece;
    while (i >= pieces_of(part))
        i -= pieces_of(part++);
    uint64_t row0 = (uint64_t)i * MODEL_ADAPTED_OUTPUTS, n = MIN(part->b.rows - row0, (uint64_t)MODEL_ADAPTED_OUTPUTS);
    kernel_weights b = kernel_weights_rows(&part->b, row0, n);
    float *outer = g->r->adapted[OUTER] + (size_t)i_piece * g->n * MODEL_ADAPTED_OUTPUTS;
    product(g, &b, g->r->adapted[INNER] + part->i_inner, g->inner_stride, outer, MODEL_ADAPTED_OUTPUTS, NULL);
    for (uint32_t k = 0; k < g->n; k++) {
        float *y = g->y + (size_t)(g->rows[k] - g->i_row) * g->y_stride + part->row0 + row0;
        g->r->o.kernels->add_scaled(y, outer + (size_t)k * MODEL_ADAPTED_OUTPUTS, scale_of(g, part, g->rows[k]), n, y);
    }
}

static void add_parts(group *g) {
    uint32_t n_piece = 0;
    uint64_t work = 0;
    for (uint32_t i = 0; i < g->n_parts; i++) {
        n_piece += pieces_of(&g->parts[i]);
        work += g->parts[i].b.rows * g->parts[i].b.cols * g->n;
    }
    os_pool_run(work < SMALL_WORK ? NULL : g->r->o.pool, (int)n_piece, add_piece, g);
}

/* ---- A x ---- */

static void adapt_group(group *g, const adapter_linear *l, const adapt_args *a) {
    const float *x = a->x + (size_t)(g->rows[0] - a->i_row) * a->x_stride;
    size_t x_stride = a->x_stride, cols = l->a[0].cols, n_inner = 0;
    if (g->rows[g->n - 1] - g->rows[0] + 1 != g->n) { /* not side by side */
        x_stride = stride_of((uint32_t)cols);
        for (uint32_t i = 0; i < g->n; i++)
            memcpy(g->r->adapted[GATHERED] + i * x_stride, a->x + (size_t)(g->rows[i] - a->i_row) * a->x_stride,
                   cols * sizeof *x);
        x = g->r->adapted[GATHERED];
    }
    for (uint32_t i = 0; i < l->n_a; i++)
        g->inner_stride += l->a[i].rows;
    g->inner_stride = stride_of((uint32_t)g->inner_stride);
    for (uint32_t i = 0; i < l->n_a; n_inner += l->a[i++].rows)
        product(g, &l->a[i], x, x_stride, g->r->adapted[INNER] + n_inner, g->inner_stride, g->r->o.pool);
    g->parts = l->parts;
    g->n_parts = l->n_parts;
    g->y = a->y;
    g->i_row = a->i_row;
    g->y_stride = a->y_stride;
    add_parts(g);
}

void adapt_linear(model_run *r, const adapt_args *a) {
    group g;
    for (uint32_t k = 0; k < r->n_adapters; k++) {
        const adapter_linear *l = &r->adapters[k]->linears[a->i_linear];
        uint32_t at = a->i_row;
        while (l->n_parts > 0 && next_group(r, k, &at, a->i_row + a->n, &g))
            adapt_group(&g, l, a);
    }
}

void adapt_embedding(model_run *r) {
    group g;
    for (uint32_t k = 0; k < r->n_adapters; k++) {
        const kernel_weights *a = &r->adapters[k]->embd_a;
        uint32_t at = 0;
        while (a->rows > 0 && next_group(r, k, &at, r->n, &g)) {
            g.inner_stride = stride_of((uint32_t)a->cols);
            for (uint32_t i = 0; i < g.n; i++)
                kernel_weights_row(a, (uint64_t)r->batch->ids[g.rows[i]], r->adapted[INNER] + i * g.inner_stride);
            g.parts = &r->adapters[k]->embd;
            g.n_parts = 1;
            g.y = r->x;
            g.y_stride = r->s_embd;
            add_parts(&g);
        }
    }
}
