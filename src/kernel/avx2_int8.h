/* Private to avx2_int8_*.c and avx_vnni_int8_*.c: the int8 product of half a panel of any shape (panel.h), to be
 * compiled for one shape and one width of tile at a time.
 *
 * With AVX-VNNI vpdpbusd takes unsigned codes of any size and adds four products in 32 bits. Without it:
 *
 * Idea: maddubs multiplies unsigned weight codes by signed activation codes and adds pairs in 16 bits, saturating. So
 * it is used only where no sum can leave 16 bits. A group of four k adds at most 2 * 127 * code there:
 *
 *   codes up to 32    four groups are added before they are widened: 4 * 2 * 127 * 32 = 32,512
 *   up to 64          two groups: 32,512
 *   up to 129         one group: 32,766
 *   larger            one group of |w| * (x with w's sign): 2 * 128 * 127 = 32,512
 *
 * Four groups (two of the large ones) of one token go before the next token, so that their sums need no registers. */
#ifndef MUGA_KERNEL_AVX2_INT8_H
#define MUGA_KERNEL_AVX2_INT8_H

#include "kernel/avx2_matmul.h"

#if defined(KERNEL_AVX_VNNI)
enum { VNNI = 1 };
#else
enum { VNNI = 0 };
#endif

/* What makes the levels of a shape unsigned; 0: they go in with their sign. */
INLINE int level_bias(const panel_shape f) {
    if (VNNI)
        return f.level_max ? 128 : 0;
    return f.level_max == 0 || f.level_max > 64 ? 0 : f.level_max > 16 ? 64 : 16;
}
/* Codes are signed here: of bytes, and of large levels. */
INLINE bool is_signed(const panel_shape f) {
    return !VNNI && (f.code_bits == 8 || f.level_max > 64);
}
INLINE int largest_code(const panel_shape f) {
    return f.level_max ? f.level_max + level_bias(f) : (1 << f.code_bits) - 1;
}
/* Groups of four k whose products can be added in 16 bits. */
INLINE int groups_in_16_bits(const panel_shape f) {
    const int code = largest_code(f);
    return code <= 32 ? 4 : code <= 64 ? 2 : 1;
}
/* log2 of the offset of codes; -1: there is none */
INLINE int offset_power(const panel_shape f) {
    const int offset = is_signed(f) ? 0 : f.level_max ? level_bias(f) : f.offset;
    return offset ? __builtin_ctz((unsigned)offset) : -1;
}

/* ---- codes ---- */

/* v shifted left by `up` bits (right where negative) in 16 bits, then `mask` of every byte */
INLINE __m256i field(__m256i v, const int up, const int mask) {
    v = up > 0 ? _mm256_slli_epi16(v, up) : up < 0 ? _mm256_srli_epi16(v, -up) : v;
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* Codes of group g of 8 rows; vectors: of the half panel; levels: the shape's, with their bias, where it has some. */
INLINE __m256i code_half(const panel_shape f, const uint8_t *vectors, const int g, __m256i levels) {
    __m256i code;
    if (f.code_bits == 8) {
        code = load_half(vectors + g * PANEL_VECTOR);
        return VNNI ? code : _mm256_xor_si256(code, _mm256_set1_epi8(-128));
    }
    if (f.code_bits >= 4)
        code = field(load_half(vectors + g % 4 * PANEL_VECTOR), g / 4 * -4, 15);
    else
        code = field(load_half(vectors + g / 4 * PANEL_VECTOR), g % 4 * -2, 3);
    if (f.code_bits == 6) {
        __m256i twos = load_half(vectors + (4 + g / 4) * PANEL_VECTOR);
        code = _mm256_or_si256(code, field(twos, 4 - 2 * (g % 4), 0x30));
    }
    if (f.code_bits == 3 || f.code_bits == 5) {
        const int top = f.code_bits - 1;
        code = _mm256_or_si256(code, field(load_half(vectors + top * PANEL_VECTOR), top - g, 1 << top));
    }
    return f.level_max ? _mm256_shuffle_epi8(levels, code) : code;
}

/* ---- sums of n groups from `first` on, onto sums[t]; at: the tile's codes ---- */

#if defined(KERNEL_AVX_VNNI)
INLINE void dot_groups(const panel_shape f, const uint8_t *vectors, const int first, const int n, __m256i levels,
                       const uint8_t *at, __m256i *sums, const int width) {
    const bool nibbles = n == 8 && (f.code_bits == 4 || f.code_bits == 5);
    UNROLL
    for (int i = 0; i < n; i++) {
        const int g = nibbles ? i % 2 * 4 + i / 2 : first + i; /* both groups of a vector of nibbles at once */
        const __m256i code = code_half(f, vectors, g, levels);
        UNROLL
        for (int t = 0; t < width; t++)
            sums[t] = _mm256_dpbusd_avx_epi32(sums[t], code, broadcast_i32(at + 4 * (g * width + t)));
    }
}
#else
INLINE __m256i widen(__m256i pairs) {
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* *sum += a, here and now: compilers would rather hold the products of all groups and add them up in the end, for which
 * there are no registers. */
INLINE void add_now(__m256i *sum, __m256i a) {
    *sum = _mm256_add_epi32(*sum, a);
    __asm__("" : "+x"(*sum));
}

/* Four groups, all of them for one token before the next, so that no 16-bit sums wait. */
INLINE void dot_four(const panel_shape f, const uint8_t *vectors, const int first, __m256i levels, const uint8_t *at,
                     __m256i *sums, const int width) {
    __m256i code[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        code[i] = code_half(f, vectors, first + i, levels);
    UNROLL
    for (int t = 0; t < width; t++) {
        const uint8_t *x = at + 4 * (first * width + t);
        __m256i a = _mm256_add_epi16(_mm256_maddubs_epi16(code[0], broadcast_i32(x)),
                                     _mm256_maddubs_epi16(code[1], broadcast_i32(x + 4 * width)));
        __m256i b = _mm256_add_epi16(_mm256_maddubs_epi16(code[2], broadcast_i32(x + 8 * width)),
                                     _mm256_maddubs_epi16(code[3], broadcast_i32(x + 12 * width)));
        __m256i sum = groups_in_16_bits(f) == 4 ? widen(_mm256_add_epi16(a, b)) : _mm256_add_epi32(widen(a), widen(b));
        add_now(&sums[t], sum);
    }
}

/* Large codes, which fill 16 bits alone: two groups, for one token before the next. */
INLINE void dot_two(const panel_shape f, const uint8_t *vectors, const int first, __m256i levels, const uint8_t *at,
                    __m256i *sums, const int width) {
    const __m256i code[2] = {code_half(f, vectors, first, levels), code_half(f, vectors, first + 1, levels)};
    __m256i size[2];
    UNROLL
    for (int i = 0; i < 2; i++)
        size[i] = is_signed(f) ? _mm256_abs_epi8(code[i]) : code[i];
    UNROLL
    for (int t = 0; t < width; t++) {
        __m256i x[2], pairs[2];
        UNROLL
        for (int i = 0; i < 2; i++) {
            x[i] = broadcast_i32(at + 4 * ((first + i) * width + t));
            pairs[i] = _mm256_maddubs_epi16(size[i], is_signed(f) ? _mm256_sign_epi8(x[i], code[i]) : x[i]);
        }
        add_now(&sums[t], _mm256_add_epi32(widen(pairs[0]), widen(pairs[1])));
    }
}

INLINE void dot_groups(const panel_shape f, const uint8_t *vectors, const int first, const int n, __m256i levels,
                       const uint8_t *at, __m256i *sums, const int width) {
    const int step = is_signed(f) || groups_in_16_bits(f) == 1 ? 2 : 4;
    UNROLL
    for (int g = first; g < first + n; g += step)
        if (step == 2)
            dot_two(f, vectors, g, levels, at, sums, width);
        else
            dot_four(f, vectors, g, levels, at, sums, width);
}

#endif

/* ---- a block of 8 rows; w points at the panel's block, half is 0 or 32, the rows' bytes in a vector ---- */

/* acc[t] = fma(sums[t], scale * d_x[t], acc[t]) */
INLINE void add_scaled(__m256 *acc, const __m256i *sums, __m256 scale, const uint8_t *block, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[t]), _mm256_mul_ps(scale, broadcast_f32(block + 4 * t)), acc[t]);
}

/* acc[t] = fma(min, d_x[t] * sum_x[t], acc[t]); product: the tokens' d_x * sum_x */
INLINE void add_min(__m256 *acc, __m256 min, const uint8_t *product, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] = _mm256_fmadd_ps(min, broadcast_f32(product + 4 * t), acc[t]);
}

/* Scale and minimum of the block's half h (0 where there are none); d, dmin: from the head, factor and sign applied. */
INLINE __m256 block_scale(const panel_shape f, const uint8_t *w, const int half, const int h, __m256 d) {
    const uint8_t *words = w + 2 * h * PANEL_ROWS + half / 2;
    if (f.scale == PANEL_SCALE_HEAD)
        return d;
    if (f.scale == PANEL_SCALE_SUPER)
        return _mm256_mul_ps(d, load_i8(w + h * PANEL_ROWS + half / 4));
    return f.scale == PANEL_SCALE_F16 ? load_f16(words) : load_bf16(words);
}
INLINE __m256 block_min(const panel_shape f, const uint8_t *w, const int half, const int h, __m256 dmin) {
    const int i = (f.halves ? 2 : 1) + h;
    return f.scale == PANEL_SCALE_SUPER ? _mm256_mul_ps(dmin, load_i8(w + i * PANEL_ROWS + half / 4))
                                        : load_f16(w + 2 * i * PANEL_ROWS + half / 2);
}

/* v * 2^power for integers that allow it */
INLINE __m256i times_power(__m256i v, const int power) {
    return power >= 0 ? _mm256_slli_epi32(v, power) : _mm256_srai_epi32(v, -power);
}

INLINE void block_whole(const panel_shape f, const uint8_t *w, const int half, __m256 d, __m256 dmin, __m256i levels,
                        const uint8_t *block, __m256 *acc, const int width) {
    const int power = offset_power(f);
    __m256i sums[TILE];
    UNROLL
    for (int t = 0; t < width; t++) /* from -8 sum_x */
        sums[t] = power < 0 ? _mm256_setzero_si256() : times_power(broadcast_i32(block + 8 * width + 4 * t), power - 3);
    dot_groups(f, w + panel_scale_bytes(f) + half, 0, 8, levels, block + TILE_CODES * width, sums, width);
    add_scaled(acc, sums, block_scale(f, w, half, 0, d), block, width);
    if (f.min)
        add_min(acc, block_min(f, w, half, 0, dmin), block + 4 * width, width);
}

/* What the two halves of a block of the tile need, by token. */
typedef struct half_sums {
    _Alignas(32) int32_t offset[2][HALF]; /* -offset * sum of the half's codes */
    _Alignas(32) float product[2][HALF];  /* d_x * that sum */
} half_sums;

INLINE void sums_of_halves(const panel_shape f, const uint8_t *block, half_sums *out, const int width) {
    const int power = offset_power(f);
    const int *words = (const int *)(const void *)block;
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(width), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i sum[2], all = _mm256_maskload_epi32(words + 2 * width, mask); /* -8 sum_x */
    sum[0] = _mm256_maskload_epi32(words + 3 * width, mask);              /* -32 * sum */
    sum[1] = _mm256_sub_epi32(_mm256_slli_epi32(all, 2), sum[0]);
    UNROLL
    for (int h = 0; h < 2; h++) {
        if (power >= 0)
            _mm256_store_si256((__m256i *)(void *)out->offset[h], times_power(sum[h], power - 5));
        if (f.min) {
            __m256 n = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_setzero_si256(), _mm256_srai_epi32(sum[h], 5)));
            __m256 scale = _mm256_castsi256_ps(_mm256_maskload_epi32(words, mask));
            _mm256_store_ps(out->product[h], _mm256_mul_ps(scale, n));
        }
    }
}

/* Each half of 16 elements has its own scale, so its own sums. */
INLINE void block_halves(const panel_shape f, const uint8_t *w, const int half, __m256 d, __m256 dmin, __m256i levels,
                         const uint8_t *block, const half_sums *of, __m256 *acc, const int width) {
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i sums[TILE];
        UNROLL
        for (int t = 0; t < width; t++)
            sums[t] = offset_power(f) < 0 ? _mm256_setzero_si256() : _mm256_set1_epi32(of->offset[h][t]);
        dot_groups(f, w + panel_scale_bytes(f) + half, 4 * h, 4, levels, block + TILE_CODES * width, sums, width);
        add_scaled(acc, sums, block_scale(f, w, half, h, d), block, width);
        if (f.min)
            add_min(acc, block_min(f, w, half, h, dmin), (const uint8_t *)of->product[h], width);
    }
}

/* All blocks of a stretch of `n_half` halves of a panel, from `half` on; the second half's sums follow the first's. */
INLINE void walk_blocks(const matmul_stretch *s, const panel_shape f, const tensor_levels *l, const uint8_t *w,
                        const int half, const int n_half, __m256 *acc, const int width) {
    const uint8_t *block = s->tile;
    const uint64_t n_block = s->n_k / KERNEL_BLOCK;
    const bool stream = s->stream && half == 0;
    const size_t head = panel_head_bytes(f), bytes = panel_block_bytes(f), step = (size_t)(TILE_BLOCK_BYTES * width);
    __m256 d[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, dmin[2] = {d[0], d[0]};
    __m256i levels = _mm256_setzero_si256();
    if (f.level_max)
        levels = _mm256_add_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)l->level)),
                                 _mm256_set1_epi8((char)level_bias(f)));
    for (uint64_t b = 0; b < n_block; b++, w += bytes, block += step) {
        if (head > 0 && b % PANEL_SUPER_BLOCKS == 0) {
            UNROLL
            for (int h = 0; h < n_half; h++) {
                d[h] = load_f16(w + half / 2 + h * 16);
                if (f.level_max)
                    d[h] = _mm256_mul_ps(d[h], _mm256_set1_ps(l->factor));
                if (f.min)
                    dmin[h] = _mm256_xor_ps(load_f16(w + 2 * PANEL_ROWS + half / 2 + h * 16), _mm256_set1_ps(-0.0f));
            }
            w += head;
        }
        if (stream)
            matmul_fetch_ahead(w, bytes);
        half_sums of;
        if (f.halves)
            sums_of_halves(f, block, &of, width);
        UNROLL
        for (int h = 0; h < n_half; h++)
            if (f.halves)
                block_halves(f, w, half + 32 * h, d[h], dmin[h], levels, block, &of, acc + h * width, width);
            else
                block_whole(f, w, half + 32 * h, d[h], dmin[h], levels, block, acc + h * width, width);
    }
}

/* A narrow tile leaves registers for both halves at once, so that weights stream from memory once. */
INLINE void int8_panels(const matmul_stretch *s, const panel_shape f, const int width) {
    const int n_half = width <= NARROW ? 2 : 1;
    const tensor_levels *l = f.level_max ? tensor_type_levels(s->type) : NULL;
    for (uint64_t p = 0; p < s->n_panel; p++) {
        uint64_t n_row = s->n_row - p * PANEL_ROWS;
        for (int half = 0; half < 2 && (uint64_t)(half * HALF) < n_row; half += n_half) {
            float *y = s->y + p * PANEL_ROWS + half * HALF;
            __m256 acc[TILE];
            UNROLL
            for (int h = 0; h < n_half; h++)
                sums_load(s, y + h * HALF, rows_mask(n_row, half + h), acc + h * width, width);
            walk_blocks(s, f, l, s->weights + p * s->panel_stride, half * 32, n_half, acc, width);
            UNROLL
            for (int h = 0; h < n_half; h++)
                sums_store(s, y + h * HALF, rows_mask(n_row, half + h), acc + h * width, width);
        }
    }
}

/* One function per shape, holding one loop for each width of a tile. */
#if defined(KERNEL_AVX_VNNI)
#define INT8_PRODUCT_NAME(name) avx_vnni_int8_##name
#else
#define INT8_PRODUCT_NAME(name) avx2_int8_##name
#endif
#define INT8_PRODUCT(name, shape)                                                                                      \
    void INT8_PRODUCT_NAME(name)(const matmul_stretch *s) {                                                            \
        switch (s->width) {                                                                                            \
        case 1: int8_panels(s, shape, 1); break;                                                                       \
        case 2: int8_panels(s, shape, 2); break;                                                                       \
        case 3: int8_panels(s, shape, 3); break;                                                                       \
        case 4: int8_panels(s, shape, 4); break;                                                                       \
        case 5: int8_panels(s, shape, 5); break;                                                                       \
        default: int8_panels(s, shape, TILE); break;                                                                   \
        }                                                                                                              \
    }

#endif
