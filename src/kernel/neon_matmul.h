/* Private to neon_*.c: what the matrix products on NEON are made of. Three products share everything but the dot
 * instruction: neon (every 64-bit ARM), neon_dotprod (SDOT), neon_i8mm (SMMLA). A file that includes this has named its
 * instruction set.
 *
 * A panel is two halves of 8 rows, two registers of 4 rows each, computed one after the other: for 4 tokens that is 8
 * registers of integer sums (16 without dot instructions) and 8 of f32 sums. */
#ifndef MUGA_KERNEL_NEON_MATMUL_H
#define MUGA_KERNEL_NEON_MATMUL_H

#include "kernel/internal.h"
#include "kernel/matmul.h"

#include <arm_neon.h>

void neon_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile);
matmul_product neon_f32;

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum {
    TILE = 4,  /* tokens */
    QUADS = 2, /* registers of 4 rows in a half */
    HALF = 8   /* rows */
};

/* ---- loads ---- */

INLINE float32x4_t load_f16(const uint8_t *p) {
    uint64_t four;
    memcpy(&four, p, sizeof four);
    return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(four)));
}
INLINE float32x4_t load_bf16(const uint8_t *p) {
    uint64_t four;
    memcpy(&four, p, sizeof four);
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u64(vcreate_u64(four)), 16));
}
INLINE float32x4_t load_i8(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    int16x8_t wide = vmovl_s8(vreinterpret_s8_u64(vcreate_u64(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}
INLINE int32_t load_i32(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE float load_f32(const uint8_t *p) {
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- sums between stretches: acc[t * QUADS + i], rows 4i .. 4i + 3 of the half ---- */

INLINE void sums_load(const matmul_stretch *s, const float *y, uint64_t n_row, float32x4_t *acc, const int width) {
    UNROLL
    for (int t = 0; t < width; t++) {
        float half[HALF] = {0};
        if (!s->first)
            memcpy(half, y + (size_t)t * s->y_stride, (n_row < HALF ? n_row : HALF) * sizeof *half);
        acc[t * QUADS] = vld1q_f32(half);
        acc[t * QUADS + 1] = vld1q_f32(half + 4);
    }
}

INLINE void sums_store(const matmul_stretch *s, float *y, uint64_t n_row, const float32x4_t *acc, const int width) {
    const float32x4_t nan = vreinterpretq_f32_u32(vdupq_n_u32(0x7fc00000));
    UNROLL
    for (int t = 0; t < width; t++) {
        float half[HALF];
        UNROLL
        for (int i = 0; i < QUADS; i++) {
            float32x4_t v = acc[t * QUADS + i];
            vst1q_f32(half + 4 * i, s->last ? vbslq_f32(vceqq_f32(v, v), v, nan) : v);
        }
        memcpy(y + (size_t)t * s->y_stride, half, (n_row < HALF ? n_row : HALF) * sizeof *half);
    }
}

#endif
