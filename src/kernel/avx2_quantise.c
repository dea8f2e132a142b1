/* Activations to int8 with AVX2, into the tiles of panel.h: four tokens at a time, one in each 32-bit lane where a
 * number belongs to a token. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#include "kernel/avx2_matmul.h"

#include <math.h>

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

#include "kernel/quantise_tokens.h"

void avx2_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
    quantise_tokens(x, x_stride, width, n_block, tile);
}

TARGET_END
#endif
