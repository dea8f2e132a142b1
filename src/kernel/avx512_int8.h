/* Private to avx512_int8_*.c: the int8 product of a panel of any shape (panel.h), to be compiled for one shape and one
 * width of tile at a time. */
#ifndef MUGA_KERNEL_AVX512_INT8_H
#define MUGA_KERNEL_AVX512_INT8_H

#include "kernel/avx512_matmul.h"

enum { LEVEL_BIAS = 128 }; /* added to levels, so that they are unsigned */

/* Unsigned codes of group g of a block; levels: the shape's, biased, where it has some. */
INLINE __m512i code_vector(const panel_shape f, const uint8_t *vectors, const int g, __m512i levels) {
    __m512i code, high;
    if (f.code_bits == 8)
        return load_vector(vectors + g * PANEL_VECTOR);
    if (f.code_bits >= 4) {
        code = load_vector(vectors + g % 4 * PANEL_VECTOR);
        code = _mm512_and_si512(g < 4 ? code : _mm512_srli_epi16(code, 4), _mm512_set1_epi8(15));
    } else {
        code = load_vector(vectors + g / 4 * PANEL_VECTOR);
        code = _mm512_and_si512(g % 4 ? _mm512_srli_epi16(code, (unsigned)(2 * (g % 4))) : code, _mm512_set1_epi8(3));
    }
    if (f.code_bits == 6) { /* two bits, from where they are to 4 and 5 */
        const int up = 4 - 2 * (g % 4);
        high = load_vector(vectors + (4 + g / 4) * PANEL_VECTOR);
        high = up >= 0 ? _mm512_slli_epi16(high, (unsigned)up) : _mm512_srli_epi16(high, (unsigned)-up);
        code = _mm512_or_si512(code, _mm512_and_si512(high, _mm512_set1_epi8(0x30)));
    }
    if (f.code_bits == 3 || f.code_bits == 5) { /* one bit, from g to the top */
        const int top = f.code_bits - 1, up = top - g;
        high = load_vector(vectors + top * PANEL_VECTOR);
        high = up >= 0 ? _mm512_slli_epi16(high, (unsigned)up) : _mm512_srli_epi16(high, (unsigned)-up);
        code = _mm512_or_si512(code, _mm512_and_si512(high, _mm512_set1_epi8((char)(1 << top))));
    }
    return f.level_max ? _mm512_shuffle_epi8(levels, code) : code;
}

/* sums[t] += codes of one group x the tokens' codes of that group; at: the tile's group */
INLINE void dot_group(__m512i *sums, __m512i codes, const uint8_t *at, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        sums[t] = _mm512_dpbusd_epi32(sums[t], codes, broadcast_i32(at + 4 * t));
}

/* acc[t] = fma(sums[t], scale * d_x[t], acc[t]) */
INLINE void add_scaled(__m512 *acc, const __m512i *sums, __m512 scale, const uint8_t *block, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t]), _mm512_mul_ps(scale, broadcast_f32(block + 4 * t)), acc[t]);
}

/* acc[t] = fma(min, d_x[t] * sum_x[t], acc[t]); product: the tokens' d_x * sum_x */
INLINE void add_min(__m512 *acc, __m512 min, const uint8_t *product, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] = _mm512_fmadd_ps(min, broadcast_f32(product + 4 * t), acc[t]);
}

/* Scale and minimum of half h (0 where there are no halves); d, dmin: from the head, factor and sign applied. */
INLINE __m512 block_scale(const panel_shape f, const uint8_t *w, const int h, __m512 d) {
    if (f.scale == PANEL_SCALE_HEAD)
        return d;
    if (f.scale == PANEL_SCALE_SUPER)
        return _mm512_mul_ps(d, load_i8(w + h * PANEL_ROWS));
    return f.scale == PANEL_SCALE_F16 ? load_f16(w + 2 * h * PANEL_ROWS) : load_bf16(w + 2 * h * PANEL_ROWS);
}
INLINE __m512 block_min(const panel_shape f, const uint8_t *w, const int h, __m512 dmin) {
    const int i = (f.halves ? 2 : 1) + h;
    return f.scale == PANEL_SCALE_SUPER ? _mm512_mul_ps(dmin, load_i8(w + i * PANEL_ROWS))
                                        : load_f16(w + 2 * i * PANEL_ROWS);
}

/* v * 2^power for integers that allow it */
INLINE __m512i times_power(__m512i v, const int power) {
    return power >= 0 ? _mm512_slli_epi32(v, (unsigned)power) : _mm512_srai_epi32(v, (unsigned)-power);
}

/* log2 of the offset of codes, or of the levels' bias; -1: there is none */
INLINE int offset_power(const panel_shape f) {
    const int offset = f.level_max ? LEVEL_BIAS : f.offset;
    return offset ? __builtin_ctz((unsigned)offset) : -1;
}

INLINE void block_whole(const panel_shape f, const uint8_t *w, __m512 d, __m512 dmin, __m512i levels,
                        const uint8_t *block, __m512 *acc, const int width) {
    const uint8_t *codes = block + TILE_CODES * width, *vectors = w + panel_scale_bytes(f);
    const int power = offset_power(f);
    const bool nibbles = f.code_bits == 4 || f.code_bits == 5;
    const __m512 scale = block_scale(f, w, 0, d), min = f.min ? block_min(f, w, 0, dmin) : dmin;
    __m512i sums[TILE];
    UNROLL
    for (int t = 0; t < width; t++) /* from -8 sum_x */
        sums[t] = power < 0 ? _mm512_setzero_si512() : times_power(broadcast_i32(block + 8 * width + 4 * t), power - 3);
    UNROLL
    for (int i = 0; i < 8; i++) {
        const int g = nibbles ? i % 2 * 4 + i / 2 : i; /* both groups of a vector of nibbles while it is at hand */
        dot_group(sums, code_vector(f, vectors, g, levels), codes + 4 * g * width, width);
    }
    add_scaled(acc, sums, scale, block, width);
    if (f.min)
        add_min(acc, min, block + 4 * width, width);
}

/* What the two halves of a block of the tile need, by token: worth computing apart from three tokens on. */
typedef struct half_sums {
    _Alignas(64) int32_t offset[2][PANEL_ROWS]; /* -offset * sum of the half's codes */
    _Alignas(64) float product[2][PANEL_ROWS];  /* d_x * that sum */
} half_sums;

INLINE void sums_of_halves(const panel_shape f, const uint8_t *block, half_sums *out, const int width) {
    const __mmask16 mask = (__mmask16)((1u << width) - 1);
    const int power = offset_power(f);
    __m512i sum[2], all = _mm512_maskz_loadu_epi32(mask, block + 8 * width); /* -8 sum_x */
    sum[0] = _mm512_maskz_loadu_epi32(mask, block + 12 * width);             /* -32 * sum */
    sum[1] = _mm512_sub_epi32(_mm512_slli_epi32(all, 2), sum[0]);
    UNROLL
    for (int h = 0; h < 2; h++) {
        if (power >= 0)
            _mm512_store_si512(out->offset[h], times_power(sum[h], power - 5));
        if (f.min) {
            __m512 n = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_setzero_si512(), _mm512_srai_epi32(sum[h], 5)));
            _mm512_store_ps(out->product[h], _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, block), n));
        }
    }
}

/* Of one token: -offset * sum of half h's codes, and d_x * that sum */
INLINE __m512i half_offset(const panel_shape f, const uint8_t *block, const int h, const int t, const int width) {
    __m512i sum = broadcast_i32(block + 12 * width + 4 * t); /* -32 * sum of the first */
    if (h == 1)
        sum = _mm512_sub_epi32(_mm512_slli_epi32(broadcast_i32(block + 8 * width + 4 * t), 2), sum);
    return times_power(sum, offset_power(f) - 5);
}

/* Each half of 16 has its own scale, so its own sums. */
INLINE void block_halves(const panel_shape f, const uint8_t *w, __m512 d, __m512 dmin, __m512i levels,
                         const uint8_t *block, __m512 *acc, const int width) {
    const uint8_t *codes = block + TILE_CODES * width, *vectors = w + panel_scale_bytes(f);
    const bool few = width < 3 && !f.min;
    half_sums half;
    if (!few)
        sums_of_halves(f, block, &half, width);
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i sums[TILE];
        UNROLL
        for (int t = 0; t < width; t++)
            sums[t] = offset_power(f) < 0 ? _mm512_setzero_si512()
                      : few               ? half_offset(f, block, h, t, width)
                                          : _mm512_set1_epi32(half.offset[h][t]);
        UNROLL
        for (int g = 4 * h; g < 4 * h + 4; g++)
            dot_group(sums, code_vector(f, vectors, g, levels), codes + 4 * g * width, width);
        add_scaled(acc, sums, block_scale(f, w, h, d), block, width);
        if (f.min)
            add_min(acc, block_min(f, w, h, dmin), (const uint8_t *)half.product[h], width);
        __asm__ volatile("" ::: "memory"); /* the halves interleaved would need twice the registers */
    }
}

INLINE void block_any(const panel_shape f, const uint8_t *w, __m512 d, __m512 dmin, __m512i levels,
                      const uint8_t *block, __m512 *acc, const int width) {
    if (f.halves)
        block_halves(f, w, d, dmin, levels, block, acc, width);
    else
        block_whole(f, w, d, dmin, levels, block, acc, width);
}

/* All blocks of a stretch of one panel. */
INLINE void walk_blocks(const matmul_stretch *s, const panel_shape f, const tensor_levels *l, const uint8_t *w,
                        __m512 *acc, const int width) {
    const uint8_t *block = s->tile;
    uint64_t n_block = s->n_k / KERNEL_BLOCK;
    const bool stream = s->stream;
    const size_t step = (size_t)(TILE_BLOCK_BYTES * width), bytes = panel_block_bytes(f), head = panel_head_bytes(f);
    __m512 d = _mm512_setzero_ps(), dmin = d;
    __m512i levels = _mm512_setzero_si512();
    if (f.level_max)
        levels = _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)l->level)),
                                  _mm512_set1_epi8((char)LEVEL_BIAS));
    if (head == 0) {
        for (; n_block > 0; n_block--, w += bytes, block += step) {
            if (stream)
                matmul_fetch_ahead(w, bytes);
            block_any(f, w, d, dmin, levels, block, acc, width);
        }
        return;
    }
    for (; n_block > 0; n_block -= PANEL_SUPER_BLOCKS) {
        d = load_f16(w);
        if (f.level_max)
            d = _mm512_mul_ps(d, _mm512_set1_ps(l->factor));
        if (f.min)
            dmin = _mm512_xor_ps(load_f16(w + 2 * PANEL_ROWS), _mm512_set1_ps(-0.0f));
        w += head;
        for (int i = 0; i < PANEL_SUPER_BLOCKS; i++, w += bytes, block += step) {
            if (stream)
                matmul_fetch_ahead(w, bytes);
            block_any(f, w, d, dmin, levels, block, acc, width);
        }
    }
}

INLINE void int8_panels(const matmul_stretch *s, const panel_shape f, const int width) {
    const tensor_levels *l = f.level_max ? tensor_type_levels(s->type) : NULL;
    for (uint64_t p = 0; p < s->n_panel; p++) {
        __mmask16 mask = rows_mask(s->n_row - p * PANEL_ROWS);
        float *y = s->y + p * PANEL_ROWS;
        __m512 acc[TILE];
        sums_load(s, y, mask, acc, width);
        walk_blocks(s, f, l, s->weights + p * s->panel_stride, acc, width);
        sums_store(s, y, mask, acc, width);
    }
}

/* One function per shape, holding one loop for each width of a tile. */
#define INT8_PRODUCT(name, shape)                                                                                      \
    void avx512_int8_##name(const matmul_stretch *s) {                                                                 \
        switch (s->width) {                                                                                            \
        case 1: int8_panels(s, shape, 1); break;                                                                       \
        case 2: int8_panels(s, shape, 2); break;                                                                       \
        case 3: int8_panels(s, shape, 3); break;                                                                       \
        case 4: int8_panels(s, shape, 4); break;                                                                       \
        case 5: int8_panels(s, shape, 5); break;                                                                       \
        case 6: int8_panels(s, shape, 6); break;                                                                       \
        case 7: int8_panels(s, shape, 7); break;                                                                       \
        case 8: int8_panels(s, shape, 8); break;                                                                       \
        case 9: int8_panels(s, shape, 9); break;                                                                       \
        case 10: int8_panels(s, shape, 10); break;                                                                     \
        case 11: int8_panels(s, shape, 11); break;                                                                     \
        default: int8_panels(s, shape, TILE); break;                                                                   \
        }                                                                                                              \
    }

#endif
