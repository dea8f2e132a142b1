/* 16 lanes of f32 in two AVX2 registers: lanes 0-7 in a, 8-15 in b. The includer has named its instruction set (pragma
 * GCC target avx2, fma, f16c). The same names as lanes_avx512.h. */
#ifndef MUGA_KERNEL_LANES_H
#define MUGA_KERNEL_LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES_NAME(f) avx2_##f
#define LANES_REGISTERS 8 /* v16 the register file holds */
#define LANES_INLINE static inline __attribute__((always_inline))

typedef struct v16 {
    __m256 a, b;
} v16;
typedef v16 v16_mask; /* all bits of a lane */

LANES_INLINE v16 v_zero(void) {
    return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
LANES_INLINE v16 v_set(float f) {
    return (v16){_mm256_set1_ps(f), _mm256_set1_ps(f)};
}
LANES_INLINE v16 v_load(const float *p) {
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
LANES_INLINE void v_store(float *p, v16 x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
LANES_INLINE v16 v_add(v16 x, v16 y) {
    return (v16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
LANES_INLINE v16 v_sub(v16 x, v16 y) {
    return (v16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
LANES_INLINE v16 v_mul(v16 x, v16 y) {
    return (v16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
LANES_INLINE v16 v_div(v16 x, v16 y) {
    return (v16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
LANES_INLINE v16 v_fma(v16 x, v16 y, v16 z) {
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
LANES_INLINE v16 v_fms(v16 x, v16 y, v16 z) {
    return (v16){_mm256_fmsub_ps(x.a, y.a, z.a), _mm256_fmsub_ps(x.b, y.b, z.b)};
}
/* x > y ? x : y, so a NaN in x is passed over */
LANES_INLINE v16 v_max(v16 x, v16 y) {
    return (v16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
LANES_INLINE v16 v_abs(v16 x) {
    __m256 bit = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(bit, x.a), _mm256_andnot_ps(bit, x.b)};
}
LANES_INLINE v16 v_neg(v16 x) {
    __m256 bit = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_xor_ps(x.a, bit), _mm256_xor_ps(x.b, bit)};
}
LANES_INLINE v16 v_copysign(v16 size, v16 sign) {
    __m256 bit = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_or_ps(_mm256_andnot_ps(bit, size.a), _mm256_and_ps(bit, sign.a)),
                 _mm256_or_ps(_mm256_andnot_ps(bit, size.b), _mm256_and_ps(bit, sign.b))};
}

LANES_INLINE v16_mask v_less(v16 x, v16 y) {
    return (v16){_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
}
LANES_INLINE v16_mask v_equal(v16 x, v16 y) {
    return (v16){_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ)};
}
LANES_INLINE v16_mask v_mask(uint32_t bits) { /* bit l for lane l */
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i a = _mm256_set1_epi32((int)bits), b = _mm256_set1_epi32((int)(bits >> 8));
    return (v16){_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(a, bit), bit)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(b, bit), bit))};
}
LANES_INLINE uint32_t v_mask_bits(v16_mask m) {
    return (uint32_t)_mm256_movemask_ps(m.a) | (uint32_t)_mm256_movemask_ps(m.b) << 8;
}
LANES_INLINE v16 v_select(v16_mask m, v16 yes, v16 no) {
    return (v16){_mm256_blendv_ps(no.a, yes.a, m.a), _mm256_blendv_ps(no.b, yes.b, m.b)};
}

/* The first n lanes, 0 < n <= 16; the others read as +0 and are not written. */
LANES_INLINE v16 v_load_n(const float *p, size_t n) {
    v16_mask m = v_mask(0xFFFFu >> (16 - n));
    v16 x = {_mm256_maskload_ps(p, _mm256_castps_si256(m.a)), _mm256_setzero_ps()};
    if (n > 8)
        x.b = _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.b));
    return x;
}
LANES_INLINE void v_store_n(float *p, v16 x, size_t n) {
    v16_mask m = v_mask(0xFFFFu >> (16 - n));
    _mm256_maskstore_ps(p, _mm256_castps_si256(m.a), x.a);
    if (n > 8)
        _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.b), x.b);
}

/* f16: exact one way, to nearest even the other */
LANES_INLINE v16 v_load_f16(const uint16_t *p) {
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
LANES_INLINE v16 v_load_f16_n(const uint16_t *p, size_t n) {
    uint16_t whole[16] = {0};
    memcpy(whole, p, n * sizeof *p);
    return v_load_f16(whole);
}
LANES_INLINE void v_store_f16(uint16_t *p, v16 x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* int8, exact one way, to nearest even the other (of -127.5 .. 127.5); bf16, exact */
LANES_INLINE __m256 v8_load_i8(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
LANES_INLINE v16 v_load_i8(const int8_t *p) {
    return (v16){v8_load_i8(p), v8_load_i8(p + 8)};
}
LANES_INLINE v16 v_load_i8_n(const int8_t *p, size_t n) {
    int8_t whole[16] = {0};
    memcpy(whole, p, n);
    return v_load_i8(whole);
}
LANES_INLINE void v_store_i8(int8_t *p, v16 x) {
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)); /* a0-3 b0-3 a4-7 b4-7 */
    words = _mm256_permute4x64_epi64(words, 0xD8);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
LANES_INLINE __m256 v8_load_bf16(const uint16_t *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
LANES_INLINE v16 v_load_bf16(const uint16_t *p) {
    return (v16){v8_load_bf16(p), v8_load_bf16(p + 8)};
}

/* p * 2^n as 2p * 2^(n - 1), since 2^128 is no f32; t = n + 1.5 * 2^23 (see kernel_expf) */
LANES_INLINE __m256 v8_scale_exp(__m256 p, __m256 t) {
    __m256i e = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3F000000));
    return _mm256_mul_ps(_mm256_add_ps(p, p), _mm256_castsi256_ps(e));
}
LANES_INLINE v16 v_scale_exp(v16 p, v16 t, v16 n) {
    (void)n;
    return (v16){v8_scale_exp(p.a, t.a), v8_scale_exp(p.b, t.b)};
}
/* +0 where x < bound, else y; a NaN x gives y */
LANES_INLINE v16 v_zero_below(v16 y, v16 x, v16 bound) {
    return (v16){_mm256_andnot_ps(_mm256_cmp_ps(x.a, bound.a, _CMP_LT_OQ), y.a),
                 _mm256_andnot_ps(_mm256_cmp_ps(x.b, bound.b, _CMP_LT_OQ), y.b)};
}

/* The tree 16 -> 8 -> 4 -> 2 -> 1: lane l += lane l + width. */
LANES_INLINE float v_sum(v16 x) {
    __m256 b = _mm256_add_ps(x.a, x.b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
/* The largest lane; no lane may be NaN. */
LANES_INLINE float v_largest(v16 x) {
    __m256 b = _mm256_max_ps(x.a, x.b);
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

/* 16 floats a0 b0 a1 b1 ... into 8 and 8. */
LANES_INLINE void v8_load_pairs(const float *p, __m256 *a, __m256 *b) {
    __m256 lo = _mm256_loadu_ps(p), hi = _mm256_loadu_ps(p + 8);
    __m256 even = _mm256_shuffle_ps(lo, hi, 0x88), odd = _mm256_shuffle_ps(lo, hi, 0xDD);
    *a = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xD8));
    *b = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xD8));
}
LANES_INLINE void v8_store_pairs(float *p, __m256 a, __m256 b) {
    __m256 low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
    _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
    _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}
/* 32 floats a0 b0 a1 b1 ... apart, and together again. */
LANES_INLINE void v_load_pairs(const float *p, v16 *a, v16 *b) {
    v8_load_pairs(p, &a->a, &b->a);
    v8_load_pairs(p + 16, &a->b, &b->b);
}
LANES_INLINE void v_store_pairs(float *p, v16 a, v16 b) {
    v8_store_pairs(p, a.a, b.a);
    v8_store_pairs(p + 16, a.b, b.b);
}

#endif
