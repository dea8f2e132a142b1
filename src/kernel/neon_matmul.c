/* What the products on NEON share: quantising activations, and the product of float activations. The int8 products are
 * in neon_int8.c, neon_dotprod.c and neon_i8mm.c. */
#include "kernel/internal.h"

#if KERNEL_HAVE_NEON
#include "kernel/neon_matmul.h"

#include <math.h>

/* ---- activations ---- */

/* One block of one token; block: the tile's, at the token's lane. */
static void quantise_block(const float *x, uint32_t width, uint8_t *block) {
    uint32x4_t bits = vdupq_n_u32(0);
    for (int i = 0; i < KERNEL_BLOCK; i += 4)
        bits = vmaxq_u32(bits, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffff)));
    uint32_t amax_bits = vmaxvq_u32(bits);
    float amax, scale = 0;
    memcpy(&amax, &amax_bits, sizeof amax);
    int8_t code[KERNEL_BLOCK] = {0};
    if (amax_bits >= 0x7f800000) {
        scale = NAN;
    } else if (amax >= 0x1p-120f) {
        scale = amax / 127.0f;
        float32x4_t inverse = vdupq_n_f32(127.0f / amax);
        for (int i = 0; i < KERNEL_BLOCK; i += 8) {
            int32x4_t a = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + i), inverse));
            int32x4_t b = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + i + 4), inverse));
            vst1_s8(code + i, vmovn_s16(vcombine_s16(vmovn_s32(a), vmovn_s32(b))));
        }
    }
    int32_t low = vaddlvq_s8(vld1q_s8(code)), all = low + vaddlvq_s8(vld1q_s8(code + 16));
    float product = scale * (float)all;
    int32_t of_all = -8 * all, of_low = -32 * low;
    memcpy(block, &scale, 4);
    memcpy(block + 4 * width, &product, 4);
    memcpy(block + 8 * width, &of_all, 4);
    memcpy(block + 12 * width, &of_low, 4);
    for (uint32_t g = 0; g < 8; g++)
        memcpy(block + (TILE_CODES + 4 * g) * width, code + 4 * g, 4);
}

void neon_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
    for (uint64_t b = 0; b < n_block; b++, tile += TILE_BLOCK_BYTES * width)
        for (uint32_t t = 0; t < width; t++)
            quantise_block(x + t * x_stride + b * KERNEL_BLOCK, width, tile + 4 * t);
}

/* ---- one fma chain a row ---- */

/* 4 rows of column k. */
INLINE float32x4_t load_weights(const tensor_type type, const uint8_t *w, uint64_t k, const int row) {
    if (type == TENSOR_F32)
        return vld1q_f32((const float *)(const void *)w + k * PANEL_ROWS + row);
    w += (k * PANEL_ROWS + (uint64_t)row) * 2;
    return type == TENSOR_F16 ? load_f16(w) : load_bf16(w);
}

INLINE void f32_panels(const matmul_stretch *s, const tensor_type type, const int width) {
    for (uint64_t p = 0; p < s->n_panel; p++)
        for (int row = 0; row < PANEL_ROWS && p * PANEL_ROWS + (uint64_t)row < s->n_row; row += HALF) {
            const uint8_t *w = s->weights + p * s->panel_stride;
            const float *x = s->tile;
            uint64_t n_row = s->n_row - p * PANEL_ROWS - (uint64_t)row;
            float *y = s->y + p * PANEL_ROWS + row;
            float32x4_t acc[TILE * QUADS];
            sums_load(s, y, n_row, acc, width);
            for (uint64_t k = 0; k < s->n_k; k++, x += width) {
                UNROLL
                for (int i = 0; i < QUADS; i++) {
                    float32x4_t v = load_weights(type, w, k, row + 4 * i);
                    UNROLL
                    for (int t = 0; t < width; t++)
                        acc[t * QUADS + i] = vfmaq_n_f32(acc[t * QUADS + i], v, x[t]);
                }
            }
            sums_store(s, y, n_row, acc, width);
        }
}

#define F32_TYPE(name, type)                                                                                           \
    static void name(const matmul_stretch *s) {                                                                        \
        switch (s->width) {                                                                                            \
        case 1: f32_panels(s, type, 1); break;                                                                         \
        case 2: f32_panels(s, type, 2); break;                                                                         \
        case 3: f32_panels(s, type, 3); break;                                                                         \
        default: f32_panels(s, type, TILE); break;                                                                     \
        }                                                                                                              \
    }
F32_TYPE(f32_f32, TENSOR_F32)
F32_TYPE(f32_f16, TENSOR_F16)
F32_TYPE(f32_bf16, TENSOR_BF16)

void neon_f32(const matmul_stretch *s) {
    switch (s->type) {
    case TENSOR_F32: f32_f32(s); break;
    case TENSOR_F16: f32_f16(s); break;
    default: f32_bf16(s); break;
    }
}
#endif
