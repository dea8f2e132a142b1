/* Private to avx512_*.c: what the matrix products with AVX-512 and VNNI are made of. Including it names the instruction
 * set for the rest of the file, which ends with TARGET_END.
 *
 * A register is 16 output rows; for each of the tile's tokens there is one register of integer sums (a block) and one
 * of f32 sums (all blocks).
 *
 * Idea: weights of a group of four k are loaded once and meet every token of the tile, each token's four codes
 * broadcast from the tile. 12 tokens are 24 registers of sums, 12 independent chains: enough to hide every latency.
 * vpdpbusd does not saturate; the offset of unsigned codes is the sums' initial value, so it costs nothing. */
#ifndef MUGA_KERNEL_AVX512_MATMUL_H
#define MUGA_KERNEL_AVX512_MATMUL_H

#include "kernel/internal.h"
#include "kernel/matmul.h"

MATMUL_INT8_DECLARE(avx512);
void avx512_quantise(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile);

#include "kernel/target_avx512.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum {
    TILE = 12,   /* tokens: 12 integer sums, 12 f32 sums, weights, scales and a broadcast fill 32 registers */
    TILE_F32 = 8 /* tokens: two panels, 16 chains, more than an fma's latency times two a cycle */
};

/* ---- loads ---- */

INLINE __m512 load_f16(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE __m512 load_bf16(const uint8_t *p) {
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
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

/* ---- sums between stretches ---- */

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

#endif
