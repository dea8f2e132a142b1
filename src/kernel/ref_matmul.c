/* The specification of the matrix product, in plain C: what docs/arithmetic.md says in words. Every other instruction
 * set's product has the same bits. Nothing here is meant to be fast; what matters is that the order of every rounding
 * can be read off.
 *
 * scratch is [token][block] of ref_block here, not the tiles of panel.h: a layout of its own makes it an independent
 * witness. */
#include "kernel/internal.h"
#include "kernel/panel.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>

typedef struct ref_block {
    float scale;
    int8_t code[KERNEL_BLOCK];
} ref_block;

static uint32_t magnitude_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits & 0x7fffffff;
}

/* amax < 2^-120: scale 0, codes 0. Not finite: scale NaN, codes 0, so that every output of the token is NaN. */
static void ref_quantise_block(const float *x, ref_block *out) {
    uint32_t amax_bits = 0;
    for (int i = 0; i < KERNEL_BLOCK; i++)
        amax_bits = MAX(amax_bits, magnitude_bits(x[i]));
    float amax;
    memcpy(&amax, &amax_bits, 4);
    memset(out, 0, sizeof *out);
    if (amax_bits >= 0x7f800000) {
        out->scale = NAN;
    } else if (amax >= 0x1p-120f) {
        float inverse = 127.0f / amax;
        out->scale = amax / 127.0f;
        for (int i = 0; i < KERNEL_BLOCK; i++) /* 1.5 * 2^23: the sum's last bit is 1, so the addition rounds to even */
            out->code[i] = (int8_t)((x[i] * inverse + 12582912.0f) - 12582912.0f);
    }
}

static int32_t sum_products(const int16_t *w, const int8_t *x, int n) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += w[i] * x[i];
    return sum;
}

static int32_t sum_codes(const int8_t *x) {
    int32_t sum = 0;
    for (int i = 0; i < KERNEL_BLOCK; i++)
        sum += x[i];
    return sum;
}

static float ref_dot_int8(tensor_type type, const uint8_t *panel, uint32_t lane, const ref_block *x, uint64_t n_block) {
    float acc = 0;
    for (uint64_t b = 0; b < n_block; b++) {
        panel_block w;
        panel_block_get(type, panel, b, lane, &w);
        if (type == TENSOR_Q6_K) {
            for (int h = 0; h < 2; h++)
                acc = fmaf((float)sum_products(w.code + 16 * h, x[b].code + 16 * h, 16), w.scale[h] * x[b].scale, acc);
        } else {
            acc = fmaf((float)sum_products(w.code, x[b].code, KERNEL_BLOCK), w.scale[0] * x[b].scale, acc);
            if (type == TENSOR_Q4_1 || type == TENSOR_Q4_K)
                acc = fmaf(w.min, x[b].scale * (float)sum_codes(x[b].code), acc);
        }
    }
    return acc;
}

static float canonical(float f) { return f == f ? f : NAN; }

typedef struct ref_job {
    const kernel_matmul_args *a;
    bool int8;
} ref_job;

static void ref_panel(void *ctx, int i_panel) {
    const ref_job *job = ctx;
    const kernel_matmul_args *a = job->a;
    const kernel_weights *w = a->w;
    const uint8_t *panel = panel_at(w, (uint64_t)i_panel);
    uint64_t row0 = (uint64_t)i_panel * PANEL_ROWS, n_row = MIN(w->rows - row0, PANEL_ROWS);
    if (job->int8) {
        uint64_t n_block = w->cols / KERNEL_BLOCK;
        for (uint64_t t = 0; t < a->n_tok; t++)
            for (uint32_t r = 0; r < n_row; r++)
                a->y[t * a->y_stride + row0 + r] =
                    canonical(ref_dot_int8(w->type, panel, r, (const ref_block *)a->scratch + t * n_block, n_block));
        return;
    }
    for (uint64_t t = 0; t < a->n_tok; t++)
        for (uint32_t r = 0; r < n_row; r++)
            a->y[t * a->y_stride + row0 + r] = 0;
    for (uint64_t k0 = 0; k0 < w->cols; k0 += 256) { /* in stretches only so that the weights fit on the stack */
        float value[256 * PANEL_ROWS];
        uint64_t n_k = MIN(w->cols - k0, 256);
        panel_dequantise(w->type, panel, k0, n_k, value);
        for (uint64_t t = 0; t < a->n_tok; t++)
            for (uint32_t r = 0; r < n_row; r++) {
                float acc = a->y[t * a->y_stride + row0 + r];
                for (uint64_t k = 0; k < n_k; k++)
                    acc = fmaf(value[k * PANEL_ROWS + r], a->x[t * a->x_stride + k0 + k], acc);
                a->y[t * a->y_stride + row0 + r] = acc;
            }
    }
    for (uint64_t t = 0; t < a->n_tok; t++)
        for (uint32_t r = 0; r < n_row; r++)
            a->y[t * a->y_stride + row0 + r] = canonical(a->y[t * a->y_stride + row0 + r]);
}

void ref_matmul(const kernel_matmul_args *a, os_pool *pool) {
    static_assert(sizeof(ref_block) <= TILE_BLOCK_BYTES, "scratch is sized for the tiles of panel.h");
    ref_job job = {a, a->act == KERNEL_ACT_INT8 && !panel_is_plain(a->w->type)};
    uint64_t n_block = a->w->cols / KERNEL_BLOCK;
    if (job.int8 && !a->reuse)
        for (uint64_t t = 0; t < a->n_tok; t++)
            for (uint64_t b = 0; b < n_block; b++)
                ref_quantise_block(a->x + t * a->x_stride + b * KERNEL_BLOCK, (ref_block *)a->scratch + t * n_block + b);
    os_pool_run(pool, (int)((a->w->rows + PANEL_ROWS - 1) / PANEL_ROWS), ref_panel, &job);
}
