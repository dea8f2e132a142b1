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

static int32_t sum_products(const panel_block *w, uint32_t row, const int8_t *x, int from, int to) {
    int32_t sum = 0;
    for (int i = from; i < to; i++)
        sum += w->code[i][row] * x[i];
    return sum;
}

static int32_t sum_codes(const int8_t *x, int from, int to) {
    int32_t sum = 0;
    for (int i = from; i < to; i++)
        sum += x[i];
    return sum;
}

/* acc after one more block: the heart of arithmetic 1. A type with scales of 16 takes two steps a block. */
static float ref_block_step(panel_shape shape, const panel_block *w, uint32_t row, const ref_block *x, float acc) {
    int step = shape.halves ? KERNEL_BLOCK / 2 : KERNEL_BLOCK;
    for (int k = 0; k < KERNEL_BLOCK; k += step) {
        int h = k / 16;
        acc = fmaf((float)sum_products(w, row, x->code, k, k + step), w->scale[h][row] * x->scale, acc);
        if (shape.min)
            acc = fmaf(w->min[h][row], x->scale * (float)sum_codes(x->code, k, k + step), acc);
    }
    return acc;
}

static float canonical(float f) {
    return f == f ? f : NAN;
}

typedef struct ref_job {
    const kernel_matmul_args *a;
    bool int8;
} ref_job;

/* The panel's outputs, token t, are y + t * y_stride; they hold the chains' values between blocks. */
static void panel_int8(const kernel_matmul_args *a, const uint8_t *panel, float *y, uint64_t n_row) {
    const panel_format *format = panel_format_get(a->w->type);
    uint64_t n_block = a->w->cols / KERNEL_BLOCK;
    for (uint64_t b = 0; b < n_block; b++) {
        panel_block w;
        panel_block_get(format, panel, b, &w);
        for (uint64_t t = 0; t < a->n_tok; t++) {
            const ref_block *x = (const ref_block *)a->scratch + t * n_block + b;
            for (uint32_t r = 0; r < n_row; r++)
                y[t * a->y_stride + r] = ref_block_step(format->shape, &w, r, x, y[t * a->y_stride + r]);
        }
    }
}

static void panel_f32(const kernel_matmul_args *a, const uint8_t *panel, float *y, uint64_t n_row) {
    for (uint64_t k0 = 0; k0 < a->w->cols; k0 += KERNEL_BLOCK) {
        float w[KERNEL_BLOCK * PANEL_ROWS];
        uint64_t n_k = MIN(a->w->cols - k0, KERNEL_BLOCK);
        panel_dequantise(a->w->type, panel, k0, n_k, w);
        for (uint64_t t = 0; t < a->n_tok; t++)
            for (uint32_t r = 0; r < n_row; r++) {
                float acc = y[t * a->y_stride + r];
                for (uint64_t k = 0; k < n_k; k++)
                    acc = fmaf(w[k * PANEL_ROWS + r], a->x[t * a->x_stride + k0 + k], acc);
                y[t * a->y_stride + r] = acc;
            }
    }
}

static void ref_panel(void *ctx, int i_panel) {
    const ref_job *job = ctx;
    const kernel_matmul_args *a = job->a;
    const uint8_t *panel = panel_at(a->w, (uint64_t)i_panel);
    uint64_t row0 = (uint64_t)i_panel * PANEL_ROWS, n_row = MIN(a->w->rows - row0, PANEL_ROWS);
    float *y = a->y + row0;
    for (uint64_t t = 0; t < a->n_tok; t++)
        memset(y + t * a->y_stride, 0, n_row * sizeof *y);
    (job->int8 ? panel_int8 : panel_f32)(a, panel, y, n_row);
    for (uint64_t t = 0; t < a->n_tok; t++)
        for (uint32_t r = 0; r < n_row; r++)
            y[t * a->y_stride + r] = canonical(y[t * a->y_stride + r]);
}

void ref_matmul(const kernel_matmul_args *a, os_pool *pool) {
    static_assert(sizeof(ref_block) <= TILE_BLOCK_BYTES, "scratch is sized for the tiles of panel.h");
    ref_job job = {a, a->act == KERNEL_ACT_INT8 && !panel_is_plain(a->w->type)};
    uint64_t n_block = a->w->cols / KERNEL_BLOCK;
    if (job.int8 && !a->reuse)
        for (uint64_t t = 0; t < a->n_tok; t++)
            for (uint64_t b = 0; b < n_block; b++)
                ref_quantise_block(a->x + t * a->x_stride + b * KERNEL_BLOCK,
                                   (ref_block *)a->scratch + t * n_block + b);
    os_pool_run(pool, (int)((a->w->rows + PANEL_ROWS - 1) / PANEL_ROWS), ref_panel, &job);
}
