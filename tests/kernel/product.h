/* A matrix product with inputs of every kind, run by every instruction set and compared with the specification. */
#ifndef TESTS_KERNEL_PRODUCT_H
#define TESTS_KERNEL_PRODUCT_H

#include "support/support.h"

#include "base/mem.h"
#include "kernel/kernel.h"
#include "weights.h"

#include <math.h>

typedef enum { X_NORMAL, X_EXTREME, X_ZERO, X_TINY, X_MIXED, X_NONFINITE, X_KINDS } x_kind;

static inline float x_value(x_kind kind, uint64_t t, uint64_t k, rng *r) {
    float u = (float)((double)rng_next(r) / 0x1p63 - 1);
    switch (kind) {
    case X_NORMAL: return u;
    case X_EXTREME: return t % 3 == 0 ? 3.0f : t % 3 == 1 ? -3.0f : k % 2 ? 3.0f : -3.0f; /* every code is +-127 */
    case X_ZERO: return k % 2 ? 0.0f : -0.0f;
    case X_TINY: return u * (k / 32 % 3 == 0 ? 0x1p-148f : k / 32 % 3 == 1 ? 0x1p-120f : 0x1.8p-119f);
    case X_MIXED: return u * ldexpf(1, (int)(rng_below(r, 80)) - 40);
    default: return t % 2 == 0 && k == 33 ? (t % 4 == 0 ? INFINITY : NAN) : u;
    }
}

typedef struct product {
    kernel_weights w;
    uint64_t n_tok;
    float *x, *y, *expected;
    void *scratch;
    size_t x_stride, y_stride;
} product;

enum { PAD = 5 }; /* floats after each row of x and y that must not matter and must not change */

static inline void product_init(product *p, const weights_type *type, uint64_t rows, uint64_t cols, uint64_t n_tok,
                                weights_kind w_kind, x_kind kind) {
    uint8_t *data = weights_new(type, rows, cols, w_kind, rows * 1000 + n_tok);
    assert_non_null(data);
    tensor_view view = {type->type, cols, rows, data};
    muga_error err;
    assert_ok(kernel_pack(&view, NULL, &p->w, &err), &err);
    free(data);
    p->n_tok = n_tok;
    p->x_stride = cols + PAD;
    p->y_stride = rows + PAD;
    p->x = mem_alloc_array(n_tok * p->x_stride, sizeof *p->x);
    p->y = mem_alloc_array(n_tok * p->y_stride, sizeof *p->y);
    p->expected = mem_alloc_array(n_tok * p->y_stride, sizeof *p->expected);
    p->scratch = mem_alloc_aligned(kernel_act_bytes(n_tok, cols) + 64, 64);
    assert_true(p->x && p->y && p->expected && p->scratch);
    rng r = {rows + 77 * n_tok + (uint64_t)kind};
    for (uint64_t t = 0; t < n_tok; t++)
        for (uint64_t k = 0; k < p->x_stride; k++)
            p->x[t * p->x_stride + k] = k < cols ? x_value(kind, t, k, &r) : NAN;
}

static inline void product_release(product *p) {
    kernel_weights_release(&p->w);
    free(p->x);
    free(p->y);
    free(p->expected);
    free(p->scratch);
}

static inline void product_run(product *p, kernel_isa isa, kernel_act act, os_pool *pool, bool reuse, float *y) {
    for (uint64_t i = 0; !reuse && i < p->n_tok * p->y_stride; i++)
        y[i] = -123.0f;
    kernel_matmul_args a = {.w = &p->w,
                            .x = p->x,
                            .x_stride = p->x_stride,
                            .y = y,
                            .y_stride = p->y_stride,
                            .n_tok = p->n_tok,
                            .scratch = p->scratch,
                            .reuse = reuse,
                            .act = act,
                            .next = reuse ? &p->w : NULL};
    kernel_table_get(isa)->matmul(&a, pool);
}

static inline void same_as_ref(product *p, kernel_act act, os_pool *pool) {
    product_run(p, KERNEL_ISA_REF, act, NULL, false, p->expected);
    for (int isa = KERNEL_ISA_REF; isa < KERNEL_ISA_COUNT; isa++) {
        if (!kernel_isa_available((kernel_isa)isa))
            continue;
        if (isa != KERNEL_ISA_REF || pool) {
            product_run(p, (kernel_isa)isa, act, pool, false, p->y);
            assert_memory_equal(p->y, p->expected, p->n_tok * p->y_stride * sizeof *p->y);
        }
        memset(p->y, 0x55, p->n_tok * p->y_stride * sizeof *p->y); /* again with the codes that are there */
        for (uint64_t t = 0; t < p->n_tok; t++)
            for (uint64_t i = p->w.rows; i < p->y_stride; i++)
                p->y[t * p->y_stride + i] = -123.0f;
        product_run(p, (kernel_isa)isa, act, pool, true, p->y);
        assert_memory_equal(p->y, p->expected, p->n_tok * p->y_stride * sizeof *p->y);
    }
}

/* Columns: one block, and more than a stretch of the loops (1024). */
static inline uint64_t few_columns(tensor_type type) {
    uint32_t block = tensor_type_traits((uint32_t)type)->block_elems;
    return block == 1 ? 43 : block == 32 ? 96 : 256;
}
static inline uint64_t many_columns(tensor_type type) {
    uint32_t block = tensor_type_traits((uint32_t)type)->block_elems;
    return block == 1 ? 300 : block == 32 ? 1024 + 96 : 1024 + 256;
}

#endif
