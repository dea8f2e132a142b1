/* The matrix product with AVX2 and FMA: the inner functions that matmul.c calls. A panel is two halves of 8 rows, one
 * register each, computed one after the other.
 *
 * Idea: maddubs multiplies unsigned weight codes by signed activation codes and adds pairs in 16 bits, saturating. So
 * it is used only where no sum can leave 16 bits: 4-bit codes   a block's 8 groups of pairs are at most 8 * 2 * 15 *
 * 127 = 30,480: summed in 16 bits, widened once 6-bit codes   two groups: 2 * 2 * 63 * 127 = 32,004: widened every two
 * groups 8-bit codes   |w| * (x with w's sign): a pair is at most 2 * 128 * 127 = 32,512: widened every group */
#include "kernel/internal.h"
#include "kernel/matmul.h"

#if KERNEL_HAVE_X86

#include <assert.h>
#include <math.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum {
    TILE = 6,   /* tokens: 6 integer sums, 6 f32 sums, weights and scratch in 16 registers */
    NARROW = 2, /* tokens of a tile whose two halves of a panel go together */
    HALF = 8    /* rows */
};

/* ---- activations: four tokens at a time, one in each 32-bit lane where a number belongs to a token ---- */

/* Lane t: the largest of the 8 magnitudes (as bits) of v[t]. */
INLINE __m128i max_of_tokens(const __m256i v[4]) {
    __m128i q[4];
    UNROLL
    for (int t = 0; t < 4; t++)
        q[t] = _mm_max_epu32(_mm256_castsi256_si128(v[t]), _mm256_extracti128_si256(v[t], 1));
    __m128i ab = _mm_max_epu32(_mm_unpacklo_epi32(q[0], q[1]), _mm_unpackhi_epi32(q[0], q[1]));
    __m128i cd = _mm_max_epu32(_mm_unpacklo_epi32(q[2], q[3]), _mm_unpackhi_epi32(q[2], q[3]));
    return _mm_max_epu32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
}

/* Lane t: the sum of token t's 16 codes; a, b: two groups of the four tokens each. */
INLINE __m128i sum_of_tokens(__m256i a, __m256i b) {
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(ones, a), _mm256_maddubs_epi16(ones, b));
    __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

INLINE void store_lanes(uint8_t *p, __m128i v) {
    _mm_storeu_si128((__m128i *)(void *)p, v);
}
INLINE void store_two(uint8_t *p, size_t step, __m256i v) {
    store_lanes(p, _mm256_castsi256_si128(v));
    store_lanes(p + step, _mm256_extracti128_si256(v, 1));
}

/* The 32 codes at p; dwords of the low 128 bits: groups 0 2 4 6, of the high: 1 3 5 7. */
INLINE __m256i codes_of(const float *p, float inverse) {
    __m256 factor = _mm256_set1_ps(inverse);
    __m256i v[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(p + 8 * i), factor));
    return _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
}

/* One block of four tokens at x[0..3], into their lanes of a tile's block of `width` tokens. */
INLINE void quantise_four(const float *const x[4], uint32_t width, uint8_t *block) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    const __m128 limit = _mm_set1_ps(127.0f);
    __m256i bits[4], codes[4];
    UNROLL
    for (int t = 0; t < 4; t++) {
        bits[t] = _mm256_setzero_si256();
        UNROLL
        for (int i = 0; i < 4; i++) {
            __m256i v = _mm256_castps_si256(_mm256_loadu_ps(x[t] + 8 * i));
            bits[t] = _mm256_max_epu32(bits[t], _mm256_and_si256(v, magnitude));
        }
    }
    __m128i amax_bits = max_of_tokens(bits);
    __m128 amax = _mm_castsi128_ps(amax_bits);
    __m128 large = _mm_cmp_ps(amax, _mm_set1_ps(0x1p-120f), _CMP_GE_OQ);
    __m128 scale = _mm_and_ps(_mm_div_ps(amax, limit), large), inverse = _mm_and_ps(_mm_div_ps(limit, amax), large);
    __m128i bad = _mm_cmpgt_epi32(amax_bits, _mm_set1_epi32(0x7f7fffff));
    uint32_t i_bad = (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(bad));
    scale = _mm_blendv_ps(scale, _mm_set1_ps(NAN), _mm_castsi128_ps(bad)); /* not finite: scale NaN, codes 0 */
    float inverses[4];
    _mm_storeu_ps(inverses, inverse);
    UNROLL
    for (int t = 0; t < 4; t++)
        codes[t] = i_bad >> t & 1 ? _mm256_setzero_si256() : codes_of(x[t], inverses[t]);
    __m256i ab_low = _mm256_unpacklo_epi32(codes[0], codes[1]), ab_high = _mm256_unpackhi_epi32(codes[0], codes[1]);
    __m256i cd_low = _mm256_unpacklo_epi32(codes[2], codes[3]), cd_high = _mm256_unpackhi_epi32(codes[2], codes[3]);
    __m256i group_01 = _mm256_unpacklo_epi64(ab_low, cd_low), group_23 = _mm256_unpackhi_epi64(ab_low, cd_low);
    __m256i group_45 = _mm256_unpacklo_epi64(ab_high, cd_high), group_67 = _mm256_unpackhi_epi64(ab_high, cd_high);
    __m128i sum_low = sum_of_tokens(group_01, group_23), zero = _mm_setzero_si128();
    __m128i sum = _mm_add_epi32(sum_low, sum_of_tokens(group_45, group_67));
    store_lanes(block, _mm_castps_si128(scale));
    store_lanes(block + 4 * width, _mm_castps_si128(_mm_mul_ps(scale, _mm_cvtepi32_ps(sum))));
    store_lanes(block + 8 * width, _mm_sub_epi32(zero, _mm_slli_epi32(sum, 3)));
    store_lanes(block + 12 * width, _mm_sub_epi32(zero, _mm_slli_epi32(sum_low, 5)));
    uint8_t *out = block + TILE_CODES * width;
    size_t step = 4 * (size_t)width;
    store_two(out, step, group_01);
    store_two(out + 2 * step, step, group_23);
    store_two(out + 4 * step, step, group_45);
    store_two(out + 6 * step, step, group_67);
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
static void avx2_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
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

/* ---- int8: w points at the half's own bytes of a panel's vectors and scales ---- */

INLINE __m256 load_f16(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
INLINE __m256 load_u8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
INLINE __m256 load_i8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
INLINE __m256i load_half(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
INLINE __m256i broadcast_i32(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}
INLINE __m256 broadcast_f32(const uint8_t *p) {
    float v;
    memcpy(&v, p, 4);
    return _mm256_set1_ps(v);
}
INLINE __m256i widen(__m256i pairs) {
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* pairs[t] += codes of one group x the tokens' codes of that group, in 16 bits */
INLINE void dot_group(__m256i *pairs, __m256i codes, const uint8_t *at, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        pairs[t] = _mm256_add_epi16(pairs[t], _mm256_maddubs_epi16(codes, broadcast_i32(at + 4 * t)));
}

/* acc[t] = fma(sums[t], scale * d_x[t], acc[t]) */
INLINE void add_scaled(__m256 *acc, const __m256i *sums, __m256 scale, const uint8_t *block, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[t]), _mm256_mul_ps(scale, broadcast_f32(block + 4 * t)), acc[t]);
}

INLINE void block_q4(const tensor_type type, const uint8_t *w, __m256 scale, __m256 min, const uint8_t *block,
                     __m256 *acc, const int width) {
    const __m256i low = _mm256_set1_epi8(15);
    const uint8_t *codes = block + TILE_CODES * width;
    __m256i sums[TILE];
    UNROLL
    for (int t = 0; t < width; t++)
        sums[t] = _mm256_setzero_si256();
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m256i v = load_half(w + j * PANEL_VECTOR);
        dot_group(sums, _mm256_and_si256(v, low), codes + 4 * j * width, width);
        dot_group(sums, _mm256_and_si256(_mm256_srli_epi16(v, 4), low), codes + 4 * (j + 4) * width, width);
    }
    UNROLL
    for (int t = 0; t < width; t++) {
        sums[t] = widen(sums[t]);
        if (type == TENSOR_Q4_0)
            sums[t] = _mm256_add_epi32(sums[t], broadcast_i32(block + 8 * width + 4 * t));
    }
    add_scaled(acc, sums, scale, block, width);
    if (type == TENSOR_Q4_0)
        return;
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] = _mm256_fmadd_ps(min, broadcast_f32(block + 4 * width + 4 * t), acc[t]);
}

INLINE void block_q8_0(const uint8_t *w, __m256 scale, const uint8_t *block, __m256 *acc, const int width) {
    const uint8_t *codes = block + TILE_CODES * width;
    __m256i sums[TILE];
    UNROLL
    for (int t = 0; t < width; t++)
        sums[t] = _mm256_setzero_si256();
    for (int g = 0; g < 8; g++) {
        __m256i code = _mm256_xor_si256(load_half(w + g * PANEL_VECTOR), _mm256_set1_epi8(-128));
        __m256i size = _mm256_abs_epi8(code);
        UNROLL
        for (int t = 0; t < width; t++) {
            __m256i x = _mm256_sign_epi8(broadcast_i32(codes + 4 * (g * width + t)), code);
            sums[t] = _mm256_add_epi32(sums[t], widen(_mm256_maddubs_epi16(size, x)));
        }
    }
    add_scaled(acc, sums, scale, block, width);
}

/* w: the panel's block; half: byte offset of this half in a vector */
INLINE void block_q6_k(const uint8_t *w, const int half, __m256 d, const uint8_t *block, __m256 *acc, const int width) {
    const __m256i low = _mm256_set1_epi8(15), two = _mm256_set1_epi8(0x30);
    const uint8_t *codes = block + TILE_CODES * width, *vectors = w + 2 * PANEL_ROWS + half;
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i sums[TILE], code[4], high = load_half(vectors + PANEL_NIBBLES + h * PANEL_VECTOR);
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m256i v = load_half(vectors + j * PANEL_VECTOR);
            v = _mm256_and_si256(h == 0 ? v : _mm256_srli_epi16(v, 4), low);
            __m256i bits = j < 2 ? _mm256_slli_epi16(high, 4 - 2 * j) : _mm256_srli_epi16(high, 2 * j - 4);
            code[j] = _mm256_or_si256(v, _mm256_and_si256(bits, two));
        }
        UNROLL
        for (int t = 0; t < width; t++) {
            const uint8_t *x = codes + 4 * (4 * h * width + t);
            __m256i first = _mm256_add_epi16(_mm256_maddubs_epi16(code[0], broadcast_i32(x)),
                                             _mm256_maddubs_epi16(code[1], broadcast_i32(x + 4 * width)));
            __m256i second = _mm256_add_epi16(_mm256_maddubs_epi16(code[2], broadcast_i32(x + 8 * width)),
                                              _mm256_maddubs_epi16(code[3], broadcast_i32(x + 12 * width)));
            /* -32 sum of the first half; of the second: -32 sum_x less that */
            __m256i offset = broadcast_i32(block + 12 * width + 4 * t);
            if (h == 1)
                offset = _mm256_sub_epi32(_mm256_slli_epi32(broadcast_i32(block + 8 * width + 4 * t), 2), offset);
            sums[t] = _mm256_add_epi32(offset, _mm256_add_epi32(widen(first), widen(second)));
        }
        add_scaled(acc, sums, _mm256_mul_ps(d, load_i8(w + h * PANEL_ROWS + half / 4)), block, width);
    }
}

/* One block of 8 rows; half: 0 or 32, their byte offset in a vector. super: where the super-block begins (K-quants). */
INLINE void block_any(const tensor_type type, const uint8_t *super, const uint8_t *w, const int half,
                      const uint8_t *block, __m256 *acc, const int width) {
    const int f16s = half / 2, bytes = half / 4;
    if (type == TENSOR_Q4_0) {
        block_q4(type, w + PANEL_SCALES + half, load_f16(w + f16s), _mm256_setzero_ps(), block, acc, width);
    } else if (type == TENSOR_Q4_1) {
        block_q4(type, w + 2 * PANEL_SCALES + half, load_f16(w + f16s), load_f16(w + PANEL_SCALES + f16s), block, acc,
                 width);
    } else if (type == TENSOR_Q8_0) {
        block_q8_0(w + PANEL_SCALES + half, load_f16(w + f16s), block, acc, width);
    } else if (type == TENSOR_Q4_K) {
        __m256 dmin = _mm256_xor_ps(load_f16(super + PANEL_SCALES + f16s), _mm256_set1_ps(-0.0f));
        block_q4(type, w + 2 * PANEL_ROWS + half, _mm256_mul_ps(load_f16(super + f16s), load_u8(w + bytes)),
                 _mm256_mul_ps(dmin, load_u8(w + PANEL_ROWS + bytes)), block, acc, width);
    } else {
        block_q6_k(w, half, load_f16(super + f16s), block, acc, width);
    }
}

/* All blocks of a stretch of `n_half` halves of a panel, from `half` on; the second half's sums follow the first's. */
INLINE void walk_blocks(const tensor_type type, const uint8_t *w, const int half, const int n_half,
                        const uint8_t *block, uint64_t n_block, __m256 *acc, const int width) {
    const size_t head = panel_super_head(type), bytes = panel_block_bytes(type),
                 step = (size_t)(TILE_BLOCK_BYTES * width);
    const uint8_t *super = w;
    for (uint64_t b = 0; b < n_block; b++, w += bytes, block += step) {
        if (head > 0 && b % PANEL_SUPER_BLOCKS == 0) {
            super = w;
            w += head;
        }
        UNROLL
        for (int h = 0; h < n_half; h++)
            block_any(type, super, w, half + 32 * h, block, acc + h * width, width);
    }
}

/* ---- sums between stretches ---- */

/* Lanes of the i-th half of rows that exist, of n_row from the first half on. */
INLINE __m256i rows_mask(uint64_t n_row, int i_half) {
    int n = n_row > 2 * TILE * HALF ? 2 * TILE * HALF : (int)n_row;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - i_half * HALF), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE void sums_load(const matmul_stretch *s, const float *y, __m256i mask, __m256 *acc, const int width) {
    UNROLL
    for (int t = 0; t < width; t++)
        acc[t] = s->first ? _mm256_setzero_ps() : _mm256_maskload_ps(y + (size_t)t * s->y_stride, mask);
}

INLINE void sums_store(const matmul_stretch *s, float *y, __m256i mask, __m256 *acc, const int width) {
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    UNROLL
    for (int t = 0; t < width; t++) {
        __m256 v = acc[t];
        if (s->last)
            v = _mm256_blendv_ps(v, nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        _mm256_maskstore_ps(y + (size_t)t * s->y_stride, mask, v);
    }
}

/* A narrow tile leaves registers for both halves at once, so that weights stream from memory once. */
INLINE void int8_panels(const matmul_stretch *s, const tensor_type type, const int width) {
    const int n_half = width <= NARROW ? 2 : 1;
    for (uint64_t p = 0; p < s->n_panel; p++) {
        uint64_t n_row = s->n_row - p * PANEL_ROWS;
        for (int half = 0; half < 2 && (uint64_t)(half * HALF) < n_row; half += n_half) {
            float *y = s->y + p * PANEL_ROWS + half * HALF;
            __m256 acc[TILE];
            UNROLL
            for (int h = 0; h < n_half; h++)
                sums_load(s, y + h * HALF, rows_mask(n_row, half + h), acc + h * width, width);
            walk_blocks(type, s->weights + p * s->panel_stride, half * 32, n_half, s->tile, s->n_k / KERNEL_BLOCK, acc,
                        width);
            UNROLL
            for (int h = 0; h < n_half; h++)
                sums_store(s, y + h * HALF, rows_mask(n_row, half + h), acc + h * width, width);
        }
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
        default: int8_panels(s, type, TILE); break;                                                                    \
        }                                                                                                              \
    }
INT8_TYPE(int8_q4_0, TENSOR_Q4_0)
INT8_TYPE(int8_q4_1, TENSOR_Q4_1)
INT8_TYPE(int8_q8_0, TENSOR_Q8_0)
INT8_TYPE(int8_q4_k, TENSOR_Q4_K)
INT8_TYPE(int8_q6_k, TENSOR_Q6_K)

static void avx2_int8(const matmul_stretch *s) {
    switch (s->type) {
    case TENSOR_Q4_0: int8_q4_0(s); break;
    case TENSOR_Q4_1: int8_q4_1(s); break;
    case TENSOR_Q8_0: int8_q8_0(s); break;
    case TENSOR_Q4_K: int8_q4_k(s); break;
    case TENSOR_Q6_K: int8_q6_k(s); break;
    default: assert(!"type without an int8 product");
    }
}

/* ---- f32: one fma chain a row ---- */

INLINE __m256 load_weights(const tensor_type type, const uint8_t *w, uint64_t i) {
    if (type == TENSOR_F32)
        return _mm256_loadu_ps((const float *)(const void *)(w + i * 4));
    if (type == TENSOR_F16)
        return load_f16(w + i * 2);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(w + i * 2));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* n_panel whole panels side by side, 2 n_panel width chains; n_row: rows that exist from panel p on */
INLINE void f32_panels(const matmul_stretch *s, uint64_t p, const int n_panel, const tensor_type type,
                       const int width) {
    __m256 acc[2 * TILE];
    const uint8_t *w = s->weights + p * s->panel_stride;
    const float *x = s->tile;
    float *y = s->y + p * PANEL_ROWS;
    uint64_t n_row = s->n_row - p * PANEL_ROWS;
    UNROLL
    for (int i = 0; i < 2 * n_panel; i++)
        sums_load(s, y + i * HALF, rows_mask(n_row, i), acc + i * width, width);
    for (uint64_t k = 0; k < s->n_k; k++, x += width) {
        UNROLL
        for (int i = 0; i < 2 * n_panel; i++) {
            __m256 v =
                load_weights(type, w + (size_t)(i / 2) * s->panel_stride, k * PANEL_ROWS + (uint64_t)(i % 2) * HALF);
            UNROLL
            for (int t = 0; t < width; t++)
                acc[i * width + t] = _mm256_fmadd_ps(v, _mm256_set1_ps(x[t]), acc[i * width + t]);
        }
    }
    UNROLL
    for (int i = 0; i < 2 * n_panel; i++)
        sums_store(s, y + i * HALF, rows_mask(n_row, i), acc + i * width, width);
}

INLINE void f32_width(const matmul_stretch *s, const tensor_type type, const int width) {
    uint64_t p = 0;
    if (width == 1)
        for (; p + 4 <= s->n_panel; p += 4)
            f32_panels(s, p, 4, type, width);
    if (width <= 3)
        for (; p + 2 <= s->n_panel; p += 2)
            f32_panels(s, p, 2, type, width);
    for (; p < s->n_panel; p++)
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
        default: f32_width(s, type, TILE); break;                                                                      \
        }                                                                                                              \
    }
F32_TYPE(f32_f32, TENSOR_F32)
F32_TYPE(f32_f16, TENSOR_F16)
F32_TYPE(f32_bf16, TENSOR_BF16)

static void avx2_f32(const matmul_stretch *s) {
    switch (s->type) {
    case TENSOR_F32: f32_f32(s); break;
    case TENSOR_F16: f32_f16(s); break;
    default: f32_bf16(s); break;
    }
}

void avx2_matmul(const kernel_matmul_args *a, os_pool *pool) {
    static const matmul_isa isa = {TILE, TILE, avx2_quantise, avx2_int8, avx2_f32};
    matmul_run(&isa, a, pool);
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
