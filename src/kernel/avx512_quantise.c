/* Activations to int8 with AVX-512, into the tiles of panel.h: four tokens at a time, one in each 32-bit lane where a
 * number belongs to a token. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#include "kernel/avx512_matmul.h"

#include <math.h>

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

#include "kernel/quantise_tokens.h"

void avx512_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
    quantise_tokens(x, x_stride, width, n_block, tile);
}

TARGET_END
#endif
