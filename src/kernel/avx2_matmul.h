/* Private to avx2_*.c and avx_vnni_*.c: what the matrix products with AVX2 and FMA are made of. Including it names the
 * instruction set for the rest of the file, which ends with TARGET_END: AVX2, or where the includer has defined
 * KERNEL_AVX_VNNI, AVX-VNNI. A panel is two halves of 8 rows, one register each. */
#ifndef MUGA_KERNEL_AVX2_MATMUL_H
#define MUGA_KERNEL_AVX2_MATMUL_H

#include "kernel/internal.h"
#include "kernel/matmul.h"

MATMUL_INT8_DECLARE(avx2);
MATMUL_INT8_DECLARE(avx_vnni);
void avx2_f32(const matmul_stretch *s);
void avx2_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile);

#if defined(KERNEL_AVX_VNNI)
#include "kernel/target_avx_vnni.h"
#else
#include "kernel/target_avx2.h"
#endif

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum {
    TILE = 6,   /* tokens: 6 integer sums, 6 f32 sums, weights and scratch in 16 registers */
    NARROW = 2, /* tokens of a tile whose two halves of a panel go together */
    HALF = 8    /* rows */
};

/* ---- loads ---- */

INLINE __m256 load_f16(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
INLINE __m256 load_bf16(const uint8_t *p) {
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
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

#endif
