/* 16 lanes of f32 in one AVX-512 register. The includer has named its instruction set (pragma GCC target f, bw, dq,
 * vl). The same names as lanes_avx2.h; lanes_math.h, lanes_ops.h and lanes_attention.h are written once over them. */
#ifndef MUGA_KERNEL_LANES_H
#define MUGA_KERNEL_LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES_NAME(f) avx512_##f
#define LANES_REGISTERS 32 /* v16 the register file holds */
#define LANES_INLINE static inline __attribute__((always_inline))

typedef __m512 v16;
typedef __mmask16 v16_mask;

LANES_INLINE v16 v_zero(void) {
    return _mm512_setzero_ps();
}
LANES_INLINE v16 v_set(float f) {
    return _mm512_set1_ps(f);
}
LANES_INLINE v16 v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
LANES_INLINE void v_store(float *p, v16 a) {
    _mm512_storeu_ps(p, a);
}
LANES_INLINE v16 v_add(v16 a, v16 b) {
    return _mm512_add_ps(a, b);
}
LANES_INLINE v16 v_sub(v16 a, v16 b) {
    return _mm512_sub_ps(a, b);
}
LANES_INLINE v16 v_mul(v16 a, v16 b) {
    return _mm512_mul_ps(a, b);
}
LANES_INLINE v16 v_div(v16 a, v16 b) {
    return _mm512_div_ps(a, b);
}
LANES_INLINE v16 v_fma(v16 a, v16 b, v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}
LANES_INLINE v16 v_fms(v16 a, v16 b, v16 c) {
    return _mm512_fmsub_ps(a, b, c);
}
/* a > b ? a : b, so a NaN in a is passed over */
LANES_INLINE v16 v_max(v16 a, v16 b) {
    return _mm512_max_ps(a, b);
}
LANES_INLINE v16 v_abs(v16 a) {
    return _mm512_abs_ps(a);
}
LANES_INLINE v16 v_neg(v16 a) {
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}
LANES_INLINE v16 v_copysign(v16 size, v16 sign) {
    v16 bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, size), _mm512_and_ps(bit, sign));
}

LANES_INLINE v16_mask v_less(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
LANES_INLINE v16_mask v_equal(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
LANES_INLINE v16_mask v_mask(uint32_t bits) {
    return (v16_mask)bits;
} /* bit l for lane l */
LANES_INLINE uint32_t v_mask_bits(v16_mask m) {
    return m;
}
LANES_INLINE v16 v_select(v16_mask m, v16 yes, v16 no) {
    return _mm512_mask_blend_ps(m, no, yes);
}

/* The first n lanes, 0 < n <= 16; the others read as +0 and are not written. */
LANES_INLINE v16 v_load_n(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)(0xFFFFu >> (16 - n)), p);
}
LANES_INLINE void v_store_n(float *p, v16 a, size_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)(0xFFFFu >> (16 - n)), a);
}

/* f16: exact one way, to nearest even the other */
LANES_INLINE v16 v_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
LANES_INLINE v16 v_load_f16_n(const uint16_t *p, size_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)(0xFFFFu >> (16 - n)), p));
}
LANES_INLINE void v_store_f16(uint16_t *p, v16 a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* int8, exact one way, to nearest even the other (of -127.5 .. 127.5); bf16, exact */
LANES_INLINE v16 v_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
LANES_INLINE v16 v_load_i8_n(const int8_t *p, size_t n) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8((__mmask16)(0xFFFFu >> (16 - n)), p)));
}
LANES_INLINE void v_store_i8(int8_t *p, v16 a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}
LANES_INLINE v16 v_load_bf16(const uint16_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* p * 2^n, which is no subnormal; t = n + 1.5 * 2^23 (see kernel_expf) */
LANES_INLINE v16 v_scale_exp(v16 p, v16 t, v16 n) {
    (void)t;
    return _mm512_scalef_ps(p, n);
}
/* +0 where x < bound, else y; a NaN x gives y */
LANES_INLINE v16 v_zero_below(v16 y, v16 x, v16 bound) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), y);
}

/* The tree 16 -> 8 -> 4 -> 2 -> 1: lane l += lane l + width. */
LANES_INLINE float v_sum(v16 a) {
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
/* The largest lane; no lane may be NaN. */
LANES_INLINE float v_largest(v16 a) {
    return _mm512_reduce_max_ps(a);
}

/* 32 floats a0 b0 a1 b1 ... apart, and together again. */
LANES_INLINE void v_load_pairs(const float *p, v16 *a, v16 *b) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    v16 lo = v_load(p), hi = v_load(p + 16);
    *a = _mm512_permutex2var_ps(lo, even, hi);
    *b = _mm512_permutex2var_ps(lo, _mm512_add_epi32(even, _mm512_set1_epi32(1)), hi);
}
LANES_INLINE void v_store_pairs(float *p, v16 a, v16 b) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    v_store(p, _mm512_permutex2var_ps(a, low, b));
    v_store(p + 16, _mm512_permutex2var_ps(a, _mm512_add_epi32(low, _mm512_set1_epi32(8)), b));
}

#endif
