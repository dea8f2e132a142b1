/* Private to neon_int8*.c: the int8 product of a panel of any shape (panel.h), compiled for one shape and one width of
 * tile at a time. The includer has defined NEON_ISA and one of NEON_DOT_NONE, NEON_DOT_SDOT, NEON_DOT_SMMLA.
 *
 * Codes are made signed (offset taken off, or levels looked up), so sums need no correction. */
#ifndef MUGA_KERNEL_NEON_INT8_H
#define MUGA_KERNEL_NEON_INT8_H

#include "kernel/neon_matmul.h"

/* ---- codes ---- */

/* bits [from, from + n) of each byte, moved to bit `to` */
INLINE uint8x16_t take_bits(uint8x16_t v, const int from, const int n, const int to) {
    uint8x16_t moved = vshlq_u8(v, vdupq_n_s8((int8_t)(to - from))); /* to the right where negative */
    return vandq_u8(moved, vdupq_n_u8((uint8_t)(((1 << n) - 1) << to)));
}

/* Signed codes of group g of 4 rows; vectors: of the block, at the rows' bytes. */
INLINE int8x16_t code_vector(const panel_shape f, const uint8_t *vectors, const int g, int8x16_t levels) {
    const int top = f.code_bits - 1;
    uint8x16_t code;
    if (f.code_bits == 8)
        return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(vectors + g * PANEL_VECTOR), vdupq_n_u8(128)));
    if (f.code_bits >= 4)
        code = take_bits(vld1q_u8(vectors + g % 4 * PANEL_VECTOR), g / 4 * 4, 4, 0);
    else
        code = take_bits(vld1q_u8(vectors + g / 4 * PANEL_VECTOR), g % 4 * 2, 2, 0);
    if (f.code_bits == 6)
        code = vorrq_u8(code, take_bits(vld1q_u8(vectors + (4 + g / 4) * PANEL_VECTOR), g % 4 * 2, 2, 4));
    if (f.code_bits == 3 || f.code_bits == 5)
        code = vorrq_u8(code, take_bits(vld1q_u8(vectors + top * PANEL_VECTOR), g, 1, top));
    if (f.level_max)
        return vqtbl1q_s8(levels, code);
    return vsubq_s8(vreinterpretq_s8_u8(code), vdupq_n_s8((int8_t)f.offset));
}

/* ---- exact sums: groups [g0, g1) of a half's rows with the tile's tokens; out[t * QUADS + i] ---- */

#if defined(NEON_DOT_SDOT) || defined(NEON_DOT_SMMLA)
INLINE void dot_groups(const panel_shape f, const uint8_t *vectors, int8x16_t levels, const uint8_t *codes,
                       const int g0, const int g1, int32x4_t *out, const int width) {
    UNROLL
    for (int i = 0; i < width * QUADS; i++)
        out[i] = vdupq_n_s32(0);
    UNROLL
    for (int g = g0; g < g1; g++) {
        UNROLL
        for (int i = 0; i < QUADS; i++) {
            int8x16_t w = code_vector(f, vectors + 16 * i, g, levels);
            UNROLL
            for (int t = 0; t < width; t++) {
                int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(load_i32(codes + 4 * (g * width + t))));
                out[t * QUADS + i] = vdotq_s32(out[t * QUADS + i], w, x);
            }
        }
    }
}
#else
/* A product of two codes is at most 128 * 127 and fits 16 bits; pairs of products are widened as they are added. */
INLINE void dot_groups(const panel_shape f, const uint8_t *vectors, int8x16_t levels, const uint8_t *codes,
                       const int g0, const int g1, int32x4_t *out, const int width) {
    int32x4_t pairs[TILE * QUADS][2]; /* of rows 0 and 1, of rows 2 and 3: two sums a row */
    UNROLL
    for (int i = 0; i < width * QUADS; i++)
        pairs[i][0] = pairs[i][1] = vdupq_n_s32(0);
    UNROLL
    for (int g = g0; g < g1; g++) {
        UNROLL
        for (int i = 0; i < QUADS; i++) {
            int8x16_t w = code_vector(f, vectors + 16 * i, g, levels);
            UNROLL
            for (int t = 0; t < width; t++) {
                int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(load_i32(codes + 4 * (g * width + t))));
                int32x4_t *p = pairs[t * QUADS + i];
                p[0] = vpadalq_s16(p[0], vmull_s8(vget_low_s8(w), vget_low_s8(x)));
                p[1] = vpadalq_s16(p[1], vmull_high_s8(w, x));
            }
        }
    }
    UNROLL
    for (int i = 0; i < width * QUADS; i++)
        out[i] = vpaddq_s32(pairs[i][0], pairs[i][1]);
}
#endif

#if defined(NEON_DOT_SMMLA)
/* Whole tiles: two groups at a time, 2 rows x 8 k by 2 tokens x 8 k in one instruction. */
INLINE void matrix_groups(const panel_shape f, const uint8_t *vectors, int8x16_t levels, const uint8_t *codes,
                          const int g0, const int g1, int32x4_t *out) {
    int32x4_t sums[4][2]; /* rows 2p, 2p + 1 by tokens 2u, 2u + 1: r0t0 r0t1 r1t0 r1t1 */
    UNROLL
    for (int p = 0; p < 4; p++)
        sums[p][0] = sums[p][1] = vdupq_n_s32(0);
    UNROLL
    for (int g = g0; g < g1; g += 2) {
        int32x4_t a = vreinterpretq_s32_u8(vld1q_u8(codes + 16 * g));
        int32x4_t b = vreinterpretq_s32_u8(vld1q_u8(codes + 16 * (g + 1)));
        int8x16_t x0 = vreinterpretq_s8_s32(vzip1q_s32(a, b)), x1 = vreinterpretq_s8_s32(vzip2q_s32(a, b));
        UNROLL
        for (int i = 0; i < QUADS; i++) {
            int32x4_t c = vreinterpretq_s32_s8(code_vector(f, vectors + 16 * i, g, levels));
            int32x4_t d = vreinterpretq_s32_s8(code_vector(f, vectors + 16 * i, g + 1, levels));
            int8x16_t low = vreinterpretq_s8_s32(vzip1q_s32(c, d)), high = vreinterpretq_s8_s32(vzip2q_s32(c, d));
            sums[2 * i][0] = vmmlaq_s32(sums[2 * i][0], low, x0);
            sums[2 * i][1] = vmmlaq_s32(sums[2 * i][1], low, x1);
            sums[2 * i + 1][0] = vmmlaq_s32(sums[2 * i + 1][0], high, x0);
            sums[2 * i + 1][1] = vmmlaq_s32(sums[2 * i + 1][1], high, x1);
        }
    }
    UNROLL
    for (int i = 0; i < QUADS; i++) {
        UNROLL
        for (int u = 0; u < 2; u++) {
            out[2 * u * QUADS + i] = vuzp1q_s32(sums[2 * i][u], sums[2 * i + 1][u]);
            out[(2 * u + 1) * QUADS + i] = vuzp2q_s32(sums[2 * i][u], sums[2 * i + 1][u]);
        }
    }
}
#endif

INLINE void sum_groups(const panel_shape f, const uint8_t *vectors, int8x16_t levels, const uint8_t *codes,
                       const int g0, const int g1, int32x4_t *out, const int width) {
#if defined(NEON_DOT_SMMLA)
    if (width == TILE) {
        matrix_groups(f, vectors, levels, codes, g0, g1, out);
        return;
    }
#endif
    dot_groups(f, vectors, levels, codes, g0, g1, out, width);
}

/* ---- a block ---- */

/* Scale and minimum of half h of the columns, 4 rows from `row` on; d, dmin: from the head, factor and sign applied. */
INLINE float32x4_t block_scale(const panel_shape f, const uint8_t *w, const int h, const int row, float32x4_t d) {
    if (f.scale == PANEL_SCALE_HEAD)
        return d;
    if (f.scale == PANEL_SCALE_SUPER)
        return vmulq_f32(d, load_i8(w + h * PANEL_ROWS + row));
    w += 2 * (h * PANEL_ROWS + row);
    return f.scale == PANEL_SCALE_F16 ? load_f16(w) : load_bf16(w);
}
INLINE float32x4_t block_min(const panel_shape f, const uint8_t *w, const int h, const int row, float32x4_t dmin) {
    const int i = (f.halves ? 2 : 1) + h;
    return f.scale == PANEL_SCALE_SUPER ? vmulq_f32(dmin, load_i8(w + i * PANEL_ROWS + row))
                                        : load_f16(w + 2 * (i * PANEL_ROWS + row));
}

/* d_x times the sum of token t's codes in half h of the columns; of all of them without halves. */
INLINE float token_sum(const panel_shape f, const uint8_t *block, const int h, const int t, const int width) {
    if (!f.halves)
        return load_f32(block + 4 * width + 4 * t);
    int32_t first = -load_i32(block + 12 * width + 4 * t) / 32, all = -load_i32(block + 8 * width + 4 * t) / 8;
    return load_f32(block + 4 * t) * (float)(h == 0 ? first : all - first);
}

/* row: the half's first; heads[i]: d and dmin of its 4 rows i. */
INLINE void block_any(const panel_shape f, const uint8_t *w, const int row, const float32x4_t heads[QUADS][2],
                      int8x16_t levels, const uint8_t *block, float32x4_t *acc, const int width) {
    const uint8_t *codes = block + TILE_CODES * width, *vectors = w + panel_scale_bytes(f) + 4 * row;
    const int n_half = f.halves ? 2 : 1, n_group = 8 / n_half;
    UNROLL
    for (int h = 0; h < n_half; h++) {
        int32x4_t sums[TILE * QUADS];
        sum_groups(f, vectors, levels, codes, h * n_group, (h + 1) * n_group, sums, width);
        UNROLL
        for (int i = 0; i < QUADS; i++) {
            const float32x4_t scale = block_scale(f, w, h, row + 4 * i, heads[i][0]);
            UNROLL
            for (int t = 0; t < width; t++) {
                float32x4_t *a = &acc[t * QUADS + i];
                *a = vfmaq_f32(*a, vcvtq_f32_s32(sums[t * QUADS + i]), vmulq_n_f32(scale, load_f32(block + 4 * t)));
                if (f.min)
                    *a =
                        vfmaq_n_f32(*a, block_min(f, w, h, row + 4 * i, heads[i][1]), token_sum(f, block, h, t, width));
            }
        }
    }
}

/* ---- a stretch ---- */

INLINE void walk_blocks(const panel_shape f, const tensor_levels *l, const uint8_t *w, const int row,
                        const uint8_t *block, uint64_t n_block, float32x4_t *acc, const int width) {
    const size_t step = (size_t)(TILE_BLOCK_BYTES * width), bytes = panel_block_bytes(f), head = panel_head_bytes(f);
    float32x4_t heads[QUADS][2] = {{vdupq_n_f32(0), vdupq_n_f32(0)}, {vdupq_n_f32(0), vdupq_n_f32(0)}};
    int8x16_t levels = f.level_max ? vld1q_s8(l->level) : vdupq_n_s8(0);
    for (uint64_t b = 0; b < n_block; b++, w += bytes, block += step) {
        if (head > 0 && b % PANEL_SUPER_BLOCKS == 0) {
            UNROLL
            for (int i = 0; i < QUADS; i++) {
                const uint8_t *at = w + 2 * (row + 4 * i);
                heads[i][0] = load_f16(at);
                if (f.level_max)
                    heads[i][0] = vmulq_n_f32(heads[i][0], l->factor);
                if (f.min)
                    heads[i][1] = vnegq_f32(load_f16(at + 2 * PANEL_ROWS));
            }
            w += head;
        }
        block_any(f, w, row, (const float32x4_t(*)[2])heads, levels, block, acc, width);
    }
}

INLINE void int8_panels(const matmul_stretch *s, const panel_shape f, const int width) {
    const tensor_levels *l = f.level_max ? tensor_type_levels(s->type) : NULL;
    for (uint64_t p = 0; p < s->n_panel; p++)
        for (int row = 0; row < PANEL_ROWS && p * PANEL_ROWS + (uint64_t)row < s->n_row; row += HALF) {
            uint64_t n_row = s->n_row - p * PANEL_ROWS - (uint64_t)row;
            float *y = s->y + p * PANEL_ROWS + row;
            float32x4_t acc[TILE * QUADS];
            sums_load(s, y, n_row, acc, width);
            walk_blocks(f, l, s->weights + p * s->panel_stride, row, s->tile, s->n_k / KERNEL_BLOCK, acc, width);
            sums_store(s, y, n_row, acc, width);
        }
}

#define NEON_JOIN(isa, name) isa##_##name
#define NEON_NAME(isa, name) NEON_JOIN(isa, name)
#define NEON_TABLE(isa) MATMUL_INT8_TABLE(isa)

/* One function per shape, holding one loop for each width of a tile. */
#define INT8_PRODUCT(name, shape)                                                                                      \
    static void NEON_NAME(NEON_ISA, int8_##name)(const matmul_stretch *s) {                                            \
        switch (s->width) {                                                                                            \
        case 1: int8_panels(s, shape, 1); break;                                                                       \
        case 2: int8_panels(s, shape, 2); break;                                                                       \
        case 3: int8_panels(s, shape, 3); break;                                                                       \
        default: int8_panels(s, shape, TILE); break;                                                                   \
        }                                                                                                              \
    }
INT8_PRODUCT(q4_0, PANEL_Q4_0)
INT8_PRODUCT(q4_1, PANEL_Q4_1)
INT8_PRODUCT(q5_0, PANEL_Q5_0)
INT8_PRODUCT(q5_1, PANEL_Q5_1)
INT8_PRODUCT(q8_0, PANEL_Q8_0)
INT8_PRODUCT(q2_k, PANEL_Q2_K)
INT8_PRODUCT(q3_k, PANEL_Q3_K)
INT8_PRODUCT(q4_k, PANEL_Q4_K)
INT8_PRODUCT(q5_k, PANEL_Q5_K)
INT8_PRODUCT(q6_k, PANEL_Q6_K)
INT8_PRODUCT(iq4_nl, PANEL_IQ4_NL)
INT8_PRODUCT(iq4_xs, PANEL_IQ4_XS)
INT8_PRODUCT(iq3, PANEL_IQ3)
INT8_PRODUCT(iq2_32, PANEL_IQ2_32)
INT8_PRODUCT(iq2_16, PANEL_IQ2_16)
INT8_PRODUCT(tq, PANEL_TQ)
INT8_PRODUCT(mxfp4, PANEL_MXFP4)
INT8_PRODUCT(nvfp4, PANEL_NVFP4)

void NEON_NAME(NEON_ISA, matmul)(const kernel_matmul_args *a, os_pool *pool) {
    static matmul_product *const int8[] = NEON_TABLE(NEON_ISA);
    static const matmul_isa isa = {TILE, TILE, NULL, neon_quantise, int8, neon_f32};
    matmul_run(&isa, a, pool);
}

#endif
