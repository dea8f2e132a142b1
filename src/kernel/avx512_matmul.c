/* The matrix product with AVX-512 and VNNI: the inner functions that matmul.c calls. A register is 16 output rows; for
 * each of the tile's tokens there is one register of integer sums (a block) and one of f32 sums (all blocks).
 *
 * Idea: weights of a group of four k are loaded once and meet every token of the tile, each token's four codes
 * broadcast from the tile. 12 tokens are 24 registers of sums, 12 independent chains: enough to hide every latency.
 * vpdpbusd does not saturate; the offset of unsigned codes is the sums' initial value, so it costs nothing. */
#include "kernel/internal.h"
#include "kernel/matmul.h"

#if KERNEL_HAVE_X86

#include <assert.h>
#include <math.h>

#define AVX512_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target(AVX512_TARGET))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum {
    TILE = 12,   /* tokens: 12 integer sums, 12 f32 sums, weights, scales and a broadcast fill 32 registers */
    TILE_F32 = 8 /* tokens: two panels, 16 chains, more than an fma's latency times two a cycle */
};

/* ---- activations: four tokens at a time, one in each 32-bit lane where a number belongs to a token ---- */

/* Lane t: the largest of the 16 magnitudes (as bits) of v[t]. */
INLINE __m128i max_of_tokens(const __m512i v[4]) {
    __m128i q[4];
    UNROLL
    for (int t = 0; t < 4; t++) {
        __m256i half = _mm256_max_epu32(_mm512_castsi512_si256(v[t]), _mm512_extracti64x4_epi64(v[t], 1));
        q[t] = _mm_max_epu32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    }
    __m128i ab = _mm_max_epu32(_mm_unpacklo_epi32(q[0], q[1]), _mm_unpackhi_epi32(q[0], q[1]));
    __m128i cd = _mm_max_epu32(_mm_unpacklo_epi32(q[2], q[3]), _mm_unpackhi_epi32(q[2], q[3]));
    return _mm_max_epu32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
}

/* Lane t: the sum of token t's 16 codes; groups: 128-bit lane j holds group j of the four tokens. */
INLINE __m128i sum_of_tokens(__m512i groups) {
    __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), groups);
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE void store_lanes(uint8_t *p, __m128i v) {
    _mm_storeu_si128((__m128i *)(void *)p, v);
}

/* One block of four tokens at x[0..3], into their lanes of a tile's block of `width` tokens. */
INLINE void quantise_four(const float *const x[4], uint32_t width, uint8_t *block) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const __m128 limit = _mm_set1_ps(127.0f);
    __m512 lo[4], hi[4];
    __m512i bits[4], words[4];
    UNROLL
    for (int t = 0; t < 4; t++) {
        lo[t] = _mm512_loadu_ps(x[t]);
        hi[t] = _mm512_loadu_ps(x[t] + 16);
        bits[t] = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(lo[t]), magnitude),
                                   _mm512_and_si512(_mm512_castps_si512(hi[t]), magnitude));
    }
    __m128i amax_bits = max_of_tokens(bits);
    __m128 amax = _mm_castsi128_ps(amax_bits);
    __m128 large = _mm_cmp_ps(amax, _mm_set1_ps(0x1p-120f), _CMP_GE_OQ);
    __m128 scale = _mm_and_ps(_mm_div_ps(amax, limit), large), inverse = _mm_and_ps(_mm_div_ps(limit, amax), large);
    __m128i bad = _mm_cmpgt_epi32(amax_bits, _mm_set1_epi32(0x7f7fffff));
    uint32_t i_bad = (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(bad));
    if (__builtin_expect(i_bad != 0, 0)) { /* not finite: scale NaN, codes 0 */
        scale = _mm_blendv_ps(scale, _mm_set1_ps(NAN), _mm_castsi128_ps(bad));
        for (int t = 0; t < 4; t++)
            if (i_bad >> t & 1)
                lo[t] = hi[t] = _mm512_setzero_ps();
    }
    float inverses[4];
    _mm_storeu_ps(inverses, inverse);
    UNROLL
    for (int t = 0; t < 4; t++) { /* 128-bit lane j: groups j and j + 4, in 16 bits */
        __m512 factor = _mm512_set1_ps(i_bad >> t & 1 ? 0 : inverses[t]);
        words[t] = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(lo[t], factor)),
                                      _mm512_cvtps_epi32(_mm512_mul_ps(hi[t], factor)));
    }
    __m512 ab = _mm512_castsi512_ps(_mm512_packs_epi16(words[0], words[1]));
    __m512 cd = _mm512_castsi512_ps(_mm512_packs_epi16(words[2], words[3]));
    __m512i low = _mm512_castps_si512(_mm512_shuffle_ps(ab, cd, 0x88));  /* lane j: group j of four tokens */
    __m512i high = _mm512_castps_si512(_mm512_shuffle_ps(ab, cd, 0xdd)); /* lane j: group j + 4 */
    __m128i sum_low = sum_of_tokens(low), sum = _mm_add_epi32(sum_low, sum_of_tokens(high)), zero = _mm_setzero_si128();
    store_lanes(block, _mm_castps_si128(scale));
    store_lanes(block + 4 * width, _mm_castps_si128(_mm_mul_ps(scale, _mm_cvtepi32_ps(sum))));
    store_lanes(block + 8 * width, _mm_sub_epi32(zero, _mm_slli_epi32(sum, 3)));
    store_lanes(block + 12 * width, _mm_sub_epi32(zero, _mm_slli_epi32(sum_low, 5)));
    uint8_t *codes = block + TILE_CODES * width;
    store_lanes(codes, _mm512_castsi512_si128(low));
    store_lanes(codes + 4 * width, _mm512_extracti32x4_epi32(low, 1));
    store_lanes(codes + 8 * width, _mm512_extracti32x4_epi32(low, 2));
    store_lanes(codes + 12 * width, _mm512_extracti32x4_epi32(low, 3));
    store_lanes(codes + 16 * width, _mm512_castsi512_si128(high));
    store_lanes(codes + 20 * width, _mm512_extracti32x4_epi32(high, 1));
    store_lanes(codes + 24 * width, _mm512_extracti32x4_epi32(high, 2));
    store_lanes(codes + 28 * width, _mm512_extracti32x4_epi32(high, 3));
}

/* Tiles of four and more: four tokens at once; the last four may overlap those before. */
static void quantise_wide(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
    for (uint32_t t = 0; t < width; t += 4) {
        uint32_t first = t + 4 <= width ? t : width - 4;
        uint8_t *block = tile + 4 * first;
        const float *rows[4];
        for (uint32_t i = 0; i < 4; i++)
            rows[i] = x + (first + i) * x_stride;
        for (uint64_t b = 0; b < n_block; b++, block += width * TILE_BLOCK_BYTES) {
            quantise_four(rows, width, block);
            for (int i = 0; i < 4; i++)
                rows[i] += KERNEL_BLOCK;
        }
    }
}

/* Fewer tokens: four blocks of one token at once, as if they were four tokens, then each to its own place; past the
 * last block the last is repeated. */
static void avx512_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
    if (width >= 4) {
        quantise_wide(x, x_stride, width, n_block, tile);
        return;
    }
    for (uint32_t t = 0; t < width; t++, x += x_stride)
        for (uint64_t b = 0; b < n_block; b += 4) {
            uint64_t n = n_block - b < 4 ? n_block - b : 4;
            uint32_t four[4 * TILE_BLOCK_BYTES / 4];
            const float *blocks[4];
            for (uint64_t i = 0; i < 4; i++)
                blocks[i] = x + (b + (i < n ? i : n - 1)) * KERNEL_BLOCK;
            quantise_four(blocks, 4, (uint8_t *)four);
            for (uint64_t i = 0; i < n; i++) {
                uint32_t *out = (uint32_t *)(void *)(tile + (b + i) * width * TILE_BLOCK_BYTES) + t;
                for (uint32_t word = 0; word < TILE_BLOCK_BYTES / 4; word++)
                    out[word * width] = four[4 * word + i];
            }
        }
}

/* ---- int8 ---- */

INLINE __m512 load_f16(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE __m512 load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
INLINE __m512 load_i8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
INLINE __m512i load_vector(const uint8_t *p) {
    return _mm512_loadu_si512(p);
}
INLINE __m512i broadcast_i32(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}
INLINE __m512 broadcast_f32(const uint8_t *p) {
    float v;
    memcpy(&v, p, 4);
    return _mm512_set1_ps(v);
}

/* sums[t] += codes of one group x the tokens' codes of that group; at: the tile's group */
INLINE void dot_group(__m512i *sums, __m512i codes, const uint8_t *at, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        sums[t] = _mm512_dpbusd_epi32(sums[t], codes, broadcast_i32(at + 4 * t));
}

/* Groups j and j + 4 of nibble vector j; high: bits to put above (Q6_K), where the type has them. */
INLINE void dot_nibbles(__m512i *sums, const uint8_t *vectors, const uint8_t *codes, const int width) {
    const __m512i low = _mm512_set1_epi8(15);
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i v = load_vector(vectors + j * PANEL_VECTOR);
        dot_group(sums, _mm512_and_si512(v, low), codes + 4 * j * width, width);
        dot_group(sums, _mm512_and_si512(_mm512_srli_epi16(v, 4), low), codes + 4 * (j + 4) * width, width);
    }
}

/* acc[t] = fma(sums[t], scale * d_x[t], acc[t]) */
INLINE void add_scaled(__m512 *acc, const __m512i *sums, __m512 scale, const uint8_t *block, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t]), _mm512_mul_ps(scale, broadcast_f32(block + 4 * t)), acc[t]);
}

/* acc[t] = fma(min, d_x[t] * sum_x[t], acc[t]) */
INLINE void add_min(__m512 *acc, __m512 min, const uint8_t *block, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] = _mm512_fmadd_ps(min, broadcast_f32(block + 4 * width + 4 * t), acc[t]);
}

INLINE void block_q4(const tensor_type type, const uint8_t *w, __m512 scale, __m512 min, const uint8_t *block,
                     __m512 *acc, const int width) {
    __m512i sums[TILE];
    UNROLL
    for (int t = 0; t < width; t++)
        sums[t] = type == TENSOR_Q4_0 ? broadcast_i32(block + 8 * width + 4 * t) : _mm512_setzero_si512();
    dot_nibbles(sums, w, block + TILE_CODES * width, width);
    add_scaled(acc, sums, scale, block, width);
    if (type != TENSOR_Q4_0)
        add_min(acc, min, block, width);
}

INLINE void block_q8_0(const uint8_t *w, const uint8_t *block, __m512 *acc, const int width) {
    const uint8_t *codes = block + TILE_CODES * width;
    __m512i sums[TILE];
    UNROLL
    for (int t = 0; t < width; t++) /* -128 sum_x */
        sums[t] = _mm512_slli_epi32(broadcast_i32(block + 8 * width + 4 * t), 4);
    UNROLL
    for (int g = 0; g < 8; g++)
        dot_group(sums, load_vector(w + PANEL_SCALES + g * PANEL_VECTOR), codes + 4 * g * width, width);
    add_scaled(acc, sums, load_f16(w), block, width);
}

/* Each half of 16 has its own scale, so its own sums; scale: d of the 16 rows */
INLINE void block_q6_k(const uint8_t *w, __m512 d, const uint8_t *block, __m512 *acc, const int width) {
    const uint8_t *codes = block + TILE_CODES * width, *vectors = w + 2 * PANEL_ROWS;
    const __m512i low = _mm512_set1_epi8(15), two = _mm512_set1_epi8(0x30);
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i sums[TILE], high = load_vector(vectors + PANEL_NIBBLES + h * PANEL_VECTOR);
        UNROLL
        for (int t = 0; t < width; t++) { /* -32 sum of the first half; of the second: -32 sum_x less that */
            __m512i first = broadcast_i32(block + 12 * width + 4 * t);
            sums[t] = first;
            if (h == 1)
                sums[t] = _mm512_sub_epi32(_mm512_slli_epi32(broadcast_i32(block + 8 * width + 4 * t), 2), first);
        }
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512i v = load_vector(vectors + j * PANEL_VECTOR);
            v = _mm512_and_si512(h == 0 ? v : _mm512_srli_epi16(v, 4), low);
            __m512i bits = j < 2 ? _mm512_slli_epi16(high, (unsigned)(4 - 2 * j))
                                 : _mm512_srli_epi16(high, (unsigned)(2 * j - 4));
            v = _mm512_or_si512(v, _mm512_and_si512(bits, two));
            dot_group(sums, v, codes + 4 * (4 * h + j) * width, width);
        }
        add_scaled(acc, sums, _mm512_mul_ps(d, load_i8(w + h * PANEL_ROWS)), block, width);
        __asm__ volatile("" ::: "memory"); /* the halves interleaved would need twice the registers */
    }
}

/* All blocks of a stretch of one panel. */
INLINE void walk_blocks(const tensor_type type, const uint8_t *w, const uint8_t *block, uint64_t n_block, __m512 *acc,
                        const int width) {
    const size_t step = (size_t)(TILE_BLOCK_BYTES * width);
    const __m512 none = _mm512_setzero_ps(), minus = _mm512_set1_ps(-0.0f);
    if (type == TENSOR_Q4_0) {
        for (; n_block > 0; n_block--, w += PANEL_Q4_0_BYTES, block += step)
            block_q4(type, w + PANEL_SCALES, load_f16(w), none, block, acc, width);
    } else if (type == TENSOR_Q4_1) {
        for (; n_block > 0; n_block--, w += PANEL_Q4_1_BYTES, block += step)
            block_q4(type, w + 2 * PANEL_SCALES, load_f16(w), load_f16(w + PANEL_SCALES), block, acc, width);
    } else if (type == TENSOR_Q8_0) {
        for (; n_block > 0; n_block--, w += PANEL_Q8_0_BYTES, block += step)
            block_q8_0(w, block, acc, width);
    } else if (type == TENSOR_Q4_K) {
        for (; n_block > 0; n_block -= PANEL_SUPER_BLOCKS) {
            __m512 d = load_f16(w), dmin = _mm512_xor_ps(load_f16(w + PANEL_SCALES), minus);
            w += PANEL_Q4_K_HEAD;
            for (int i = 0; i < PANEL_SUPER_BLOCKS; i++, w += PANEL_Q4_K_BLOCK, block += step)
                block_q4(type, w + 2 * PANEL_ROWS, _mm512_mul_ps(d, load_u8(w)),
                         _mm512_mul_ps(dmin, load_u8(w + PANEL_ROWS)), block, acc, width);
        }
    } else {
        for (; n_block > 0; n_block -= PANEL_SUPER_BLOCKS) {
            __m512 d = load_f16(w);
            w += PANEL_Q6_K_HEAD;
            for (int i = 0; i < PANEL_SUPER_BLOCKS; i++, w += PANEL_Q6_K_BLOCK, block += step)
                block_q6_k(w, d, block, acc, width);
        }
    }
}

INLINE __mmask16 rows_mask(uint64_t n_row) {
    return (__mmask16)(n_row >= PANEL_ROWS ? 0xffff : (1u << n_row) - 1);
}

INLINE void sums_load(const matmul_stretch *s, const float *y, __mmask16 mask, __m512 *acc, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] = s->first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, y + (size_t)t * s->y_stride);
}

INLINE void sums_store(const matmul_stretch *s, float *y, __mmask16 mask, __m512 *acc, const int width) {
    const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
    UNROLL
    for (int t = 0; t < width; t++) {
        __mmask16 bad = _mm512_cmp_ps_mask(acc[t], acc[t], _CMP_UNORD_Q);
        __m512 v = s->last ? _mm512_mask_mov_ps(acc[t], bad, nan) : acc[t];
        _mm512_mask_storeu_ps(y + (size_t)t * s->y_stride, mask, v);
    }
}

INLINE void int8_panels(const matmul_stretch *s, const tensor_type type, const int width) {
    for (uint64_t p = 0; p < s->n_panel; p++) {
        __mmask16 mask = rows_mask(s->n_row - p * PANEL_ROWS);
        float *y = s->y + p * PANEL_ROWS;
        __m512 acc[TILE];
        sums_load(s, y, mask, acc, width);
        walk_blocks(type, s->weights + p * s->panel_stride, s->tile, s->n_k / KERNEL_BLOCK, acc, width);
        sums_store(s, y, mask, acc, width);
    }
}

/* One function per type, holding one loop for each width of a tile. */
#define INT8_TYPE(name, type)                                                                                          \
    static void name(const matmul_stretch *s) {                                                                        \
        switch (s->width) {                                                                                            \
        case 1: int8_panels(s, type, 1); break;                                                                        \
        case 2: int8_panels(s, type, 2); break;                                                                        \
        case 3: int8_panels(s, type, 3); break;                                                                        \
        case 4: int8_panels(s, type, 4); break;                                                                        \
        case 5: int8_panels(s, type, 5); break;                                                                        \
        case 6: int8_panels(s, type, 6); break;                                                                        \
        case 7: int8_panels(s, type, 7); break;                                                                        \
        case 8: int8_panels(s, type, 8); break;                                                                        \
        case 9: int8_panels(s, type, 9); break;                                                                        \
        case 10: int8_panels(s, type, 10); break;                                                                      \
        case 11: int8_panels(s, type, 11); break;                                                                      \
        default: int8_panels(s, type, TILE); break;                                                                    \
        }                                                                                                              \
    }
INT8_TYPE(int8_q4_0, TENSOR_Q4_0)
INT8_TYPE(int8_q4_1, TENSOR_Q4_1)
INT8_TYPE(int8_q8_0, TENSOR_Q8_0)
INT8_TYPE(int8_q4_k, TENSOR_Q4_K)
INT8_TYPE(int8_q6_k, TENSOR_Q6_K)

static void avx512_int8(const matmul_stretch *s) {
    switch (s->type) {
    case TENSOR_Q4_0: int8_q4_0(s); break;
    case TENSOR_Q4_1: int8_q4_1(s); break;
    case TENSOR_Q8_0: int8_q8_0(s); break;
    case TENSOR_Q4_K: int8_q4_k(s); break;
    case TENSOR_Q6_K: int8_q6_k(s); break;
    default: assert(!"type without an int8 product");
    }
}

/* ---- f32: one fma chain a row; several panels at once where tokens are too few to hide its latency ---- */

INLINE __m512 load_weights(const tensor_type type, const uint8_t *w, uint64_t k) {
    if (type == TENSOR_F32)
        return _mm512_loadu_ps(w + k * PANEL_ROWS * 4);
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)(w + k * PANEL_ROWS * 2));
    if (type == TENSOR_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

INLINE void f32_panels(const matmul_stretch *s, uint64_t p, const int n_panel, const tensor_type type,
                       const int width) {
    __m512 acc[2 * TILE_F32];
    const uint8_t *w = s->weights + p * s->panel_stride;
    const float *x = s->tile;
    float *y = s->y + p * PANEL_ROWS;
    uint64_t n_row = s->n_row - p * PANEL_ROWS;
    UNROLL
    for (int i = 0; i < n_panel; i++)
        sums_load(s, y + i * PANEL_ROWS, rows_mask(n_row - (uint64_t)i * PANEL_ROWS), acc + i * width, width);
    for (uint64_t k = 0; k < s->n_k; k++, x += width) {
        UNROLL
        for (int i = 0; i < n_panel; i++) {
            __m512 v = load_weights(type, w + (size_t)i * s->panel_stride, k);
            UNROLL
            for (int t = 0; t < width; t++)
                acc[i * width + t] = _mm512_fmadd_ps(v, _mm512_set1_ps(x[t]), acc[i * width + t]);
        }
    }
    UNROLL
    for (int i = 0; i < n_panel; i++)
        sums_store(s, y + i * PANEL_ROWS, rows_mask(n_row - (uint64_t)i * PANEL_ROWS), acc + i * width, width);
}

INLINE void f32_width(const matmul_stretch *s, const tensor_type type, const int width) {
    uint64_t p = 0;
    if (width <= 4)
        for (; p + 4 <= s->n_panel; p += 4)
            f32_panels(s, p, 4, type, width);
    for (; p + 2 <= s->n_panel; p += 2)
        f32_panels(s, p, 2, type, width);
    if (p < s->n_panel)
        f32_panels(s, p, 1, type, width);
}

#define F32_TYPE(name, type)                                                                                           \
    static void name(const matmul_stretch *s) {                                                                        \
        switch (s->width) {                                                                                            \
        case 1: f32_width(s, type, 1); break;                                                                          \
        case 2: f32_width(s, type, 2); break;                                                                          \
        case 3: f32_width(s, type, 3); break;                                                                          \
        case 4: f32_width(s, type, 4); break;                                                                          \
        case 5: f32_width(s, type, 5); break;                                                                          \
        case 6: f32_width(s, type, 6); break;                                                                          \
        case 7: f32_width(s, type, 7); break;                                                                          \
        default: f32_width(s, type, TILE_F32); break;                                                                  \
        }                                                                                                              \
    }
F32_TYPE(f32_f32, TENSOR_F32)
F32_TYPE(f32_f16, TENSOR_F16)
F32_TYPE(f32_bf16, TENSOR_BF16)

static void avx512_f32(const matmul_stretch *s) {
    switch (s->type) {
    case TENSOR_F32: f32_f32(s); break;
    case TENSOR_F16: f32_f16(s); break;
    default: f32_bf16(s); break;
    }
}

void avx512_matmul(const kernel_matmul_args *a, os_pool *pool) {
    static const matmul_isa isa = {TILE, TILE_F32, avx512_quantise, avx512_int8, avx512_f32};
    matmul_run(&isa, a, pool);
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
