/* 16 lanes of f32 in four NEON registers, lanes 4i .. 4i + 3 in r[i]. The same names as lanes_avx512.h. */
#ifndef MUGA_KERNEL_LANES_H
#define MUGA_KERNEL_LANES_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES_NAME(f) neon_##f
#define LANES_REGISTERS 8 /* v16 the register file holds */
#define LANES_INLINE static inline __attribute__((always_inline))

typedef struct v16 {
    float32x4_t r[4];
} v16;
typedef struct v16_mask { /* all bits of a lane */
    uint32x4_t r[4];
} v16_mask;

#define LANES_4(type, of)                                                                                              \
    (type) {                                                                                                           \
        { of(0), of(1), of(2), of(3) }                                                                                 \
    }

LANES_INLINE v16 v_set(float f) {
    float32x4_t x = vdupq_n_f32(f);
    return (v16){{x, x, x, x}};
}
LANES_INLINE v16 v_zero(void) {
    return v_set(0.0f);
}
LANES_INLINE v16 v_load(const float *p) {
#define ONE(i) vld1q_f32(p + 4 * (i))
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE void v_store(float *p, v16 x) {
    for (int i = 0; i < 4; i++)
        vst1q_f32(p + 4 * i, x.r[i]);
}
LANES_INLINE v16 v_add(v16 x, v16 y) {
#define ONE(i) vaddq_f32(x.r[i], y.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_sub(v16 x, v16 y) {
#define ONE(i) vsubq_f32(x.r[i], y.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_mul(v16 x, v16 y) {
#define ONE(i) vmulq_f32(x.r[i], y.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_div(v16 x, v16 y) {
#define ONE(i) vdivq_f32(x.r[i], y.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_fma(v16 x, v16 y, v16 z) {
#define ONE(i) vfmaq_f32(z.r[i], x.r[i], y.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_abs(v16 x) {
#define ONE(i) vabsq_f32(x.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_neg(v16 x) {
#define ONE(i) vnegq_f32(x.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_fms(v16 x, v16 y, v16 z) {
    return v_fma(x, y, v_neg(z));
}
LANES_INLINE v16 v_copysign(v16 size, v16 sign) {
    const uint32x4_t bit = vdupq_n_u32(0x80000000u);
#define ONE(i) vbslq_f32(bit, sign.r[i], size.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}

LANES_INLINE v16_mask v_less(v16 x, v16 y) {
#define ONE(i) vcltq_f32(x.r[i], y.r[i])
    return LANES_4(v16_mask, ONE);
#undef ONE
}
LANES_INLINE v16_mask v_equal(v16 x, v16 y) {
#define ONE(i) vceqq_f32(x.r[i], y.r[i])
    return LANES_4(v16_mask, ONE);
#undef ONE
}
LANES_INLINE v16 v_select(v16_mask m, v16 yes, v16 no) {
#define ONE(i) vbslq_f32(m.r[i], yes.r[i], no.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE uint32x4_t v4_bits(int i) { /* one bit a lane: that of lane 4i + l */
    const uint32_t first[4] = {1, 2, 4, 8};
    return vshlq_u32(vld1q_u32(first), vdupq_n_s32(4 * i));
}
LANES_INLINE v16_mask v_mask(uint32_t bits) { /* bit l for lane l */
    const uint32x4_t all = vdupq_n_u32(bits);
#define ONE(i) vtstq_u32(all, v4_bits(i))
    return LANES_4(v16_mask, ONE);
#undef ONE
}
LANES_INLINE uint32_t v_mask_bits(v16_mask m) {
    uint32x4_t bits = vandq_u32(m.r[0], v4_bits(0));
    for (int i = 1; i < 4; i++)
        bits = vorrq_u32(bits, vandq_u32(m.r[i], v4_bits(i)));
    return vaddvq_u32(bits);
}
/* x > y ? x : y, so a NaN in x is passed over */
LANES_INLINE float32x4_t v4_max(float32x4_t x, float32x4_t y) {
    return vbslq_f32(vcgtq_f32(x, y), x, y);
}
LANES_INLINE v16 v_max(v16 x, v16 y) {
#define ONE(i) v4_max(x.r[i], y.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}

/* The first n lanes, 0 < n <= 16; the others read as +0 and are not written. */
LANES_INLINE v16 v_load_n(const float *p, size_t n) {
    float whole[16] = {0};
    memcpy(whole, p, n * sizeof *p);
    return v_load(whole);
}
LANES_INLINE void v_store_n(float *p, v16 x, size_t n) {
    float whole[16];
    v_store(whole, x);
    memcpy(p, whole, n * sizeof *p);
}

/* f16: exact one way, to nearest even the other. Both are in every 64-bit ARM. */
LANES_INLINE v16 v_load_f16(const uint16_t *p) {
#define ONE(i) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * (i))))
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_load_f16_n(const uint16_t *p, size_t n) {
    uint16_t whole[16] = {0};
    memcpy(whole, p, n * sizeof *p);
    return v_load_f16(whole);
}
LANES_INLINE void v_store_f16(uint16_t *p, v16 x) {
    for (int i = 0; i < 4; i++)
        vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.r[i])));
}

/* int8, exact one way, to nearest even the other (of -127.5 .. 127.5); bf16, exact */
LANES_INLINE v16 v_load_i8(const int8_t *p) {
    int8x16_t x = vld1q_s8(p);
    int16x8_t half[2] = {vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x)};
#define ONE(i) vcvtq_f32_s32((i) % 2 ? vmovl_high_s16(half[(i) / 2]) : vmovl_s16(vget_low_s16(half[(i) / 2])))
    return LANES_4(v16, ONE);
#undef ONE
}
LANES_INLINE v16 v_load_i8_n(const int8_t *p, size_t n) {
    int8_t whole[16] = {0};
    memcpy(whole, p, n);
    return v_load_i8(whole);
}
LANES_INLINE void v_store_i8(int8_t *p, v16 x) {
    int16x4_t w[4];
    for (int i = 0; i < 4; i++)
        w[i] = vmovn_s32(vcvtnq_s32_f32(x.r[i]));
    vst1_s8(p, vmovn_s16(vcombine_s16(w[0], w[1])));
    vst1_s8(p + 8, vmovn_s16(vcombine_s16(w[2], w[3])));
}
LANES_INLINE v16 v_load_bf16(const uint16_t *p) {
#define ONE(i) vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * (i)), 16))
    return LANES_4(v16, ONE);
#undef ONE
}

/* p * 2^n as 2p * 2^(n - 1), since 2^128 is no f32; t = n + 1.5 * 2^23 (see kernel_expf) */
LANES_INLINE float32x4_t v4_scale_exp(float32x4_t p, float32x4_t t) {
    uint32x4_t e = vaddq_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23), vdupq_n_u32(0x3F000000u));
    return vmulq_f32(vaddq_f32(p, p), vreinterpretq_f32_u32(e));
}
LANES_INLINE v16 v_scale_exp(v16 p, v16 t, v16 n) {
    (void)n;
#define ONE(i) v4_scale_exp(p.r[i], t.r[i])
    return LANES_4(v16, ONE);
#undef ONE
}
/* +0 where x < bound, else y; a NaN x gives y */
LANES_INLINE v16 v_zero_below(v16 y, v16 x, v16 bound) {
    return v_select(v_less(x, bound), v_zero(), y);
}

/* The tree 16 -> 8 -> 4 -> 2 -> 1: lane l += lane l + width. */
LANES_INLINE float v_sum(v16 x) {
    float32x4_t c = vaddq_f32(vaddq_f32(x.r[0], x.r[2]), vaddq_f32(x.r[1], x.r[3]));
    float32x2_t d = vadd_f32(vget_low_f32(c), vget_high_f32(c));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
/* The largest lane; no lane may be NaN. */
LANES_INLINE float v_largest(v16 x) {
    return vmaxvq_f32(v4_max(v4_max(x.r[0], x.r[2]), v4_max(x.r[1], x.r[3])));
}

/* 32 floats a0 b0 a1 b1 ... apart, and together again. */
LANES_INLINE void v_load_pairs(const float *p, v16 *a, v16 *b) {
    for (int i = 0; i < 4; i++) {
        float32x4x2_t ab = vld2q_f32(p + 8 * i);
        a->r[i] = ab.val[0];
        b->r[i] = ab.val[1];
    }
}
LANES_INLINE void v_store_pairs(float *p, v16 a, v16 b) {
    for (int i = 0; i < 4; i++)
        vst2q_f32(p + 8 * i, (float32x4x2_t){{a.r[i], b.r[i]}});
}

#undef LANES_4
#endif
