/* The vector operations of kernel_table over 16 lanes, written once for every register width; the includer has chosen
 * lanes_avx2.h or lanes_avx512.h and gets avx2_rms_norm, avx512_rms_norm and so on. Specification: ref_ops.c. */
#ifndef MUGA_KERNEL_LANES_OPS_H
#define MUGA_KERNEL_LANES_OPS_H

#include "kernel/internal.h"
#include "kernel/lanes_math.h"

/* The vector at p of which `left` > 0 elements remain; lanes past them read as +0 and are not written. */
LANES_INLINE v16 v_get(const float *p, uint64_t left) {
    return left >= 16 ? v_load(p) : v_load_n(p, (size_t)left);
}
LANES_INLINE void v_put(float *p, uint64_t left, v16 x) {
    if (left >= 16)
        v_store(p, x);
    else
        v_store_n(p, x, (size_t)left);
}
/* x in the lanes that remain, `other` past them. */
LANES_INLINE v16 v_keep(v16 x, uint64_t left, v16 other) {
    return left >= 16 ? x : v_select(v_mask(0xFFFFu >> (16 - left)), x, other);
}

void LANES_NAME(rms_norm)(const float *x, const float *w, float eps, uint64_t n, float *out) {
    v16 square = v_zero();
    for (uint64_t i = 0; i < n; i += 16) {
        v16 a = v_get(x + i, n - i);
        square = v_fma(a, a, square);
    }
    float mean = v_sum(square) / (float)n;
    v16 inverse = v_set(1.0f / sqrtf(mean + eps));
    for (uint64_t i = 0; i < n; i += 16) {
        v16 y = v_mul(v_get(x + i, n - i), inverse);
        v_put(out + i, n - i, w != NULL ? v_mul(y, v_get(w + i, n - i)) : y);
    }
}

void LANES_NAME(layer_norm)(const float *x, const float *w, const float *b, float eps, uint64_t n, float *out) {
    v16 sum = v_zero();
    for (uint64_t i = 0; i < n; i += 16)
        sum = v_add(sum, v_get(x + i, n - i));
    v16 mean = v_set(v_sum(sum) / (float)n);
    v16 square = v_zero();
    for (uint64_t i = 0; i < n; i += 16) {
        v16 d = v_keep(v_sub(v_get(x + i, n - i), mean), n - i, v_zero());
        square = v_fma(d, d, square);
    }
    float variance = v_sum(square) / (float)n;
    v16 inverse = v_set(1.0f / sqrtf(variance + eps));
    for (uint64_t i = 0; i < n; i += 16) {
        v16 y = v_mul(v_sub(v_get(x + i, n - i), mean), inverse);
        v16 weight = w != NULL ? v_get(w + i, n - i) : v_set(1.0f);
        y = b != NULL ? v_fma(y, weight, v_get(b + i, n - i)) : v_mul(y, weight);
        v_put(out + i, n - i, y);
    }
}

void LANES_NAME(add)(const float *a, const float *b, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i += 16)
        v_put(out + i, n - i, v_add(v_get(a + i, n - i), v_get(b + i, n - i)));
}

void LANES_NAME(mul)(const float *a, const float *b, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i += 16)
        v_put(out + i, n - i, v_mul(v_get(a + i, n - i), v_get(b + i, n - i)));
}

void LANES_NAME(scale)(const float *a, float s, uint64_t n, float *out) {
    v16 by = v_set(s);
    for (uint64_t i = 0; i < n; i += 16)
        v_put(out + i, n - i, v_mul(v_get(a + i, n - i), by));
}

void LANES_NAME(silu_mul)(const float *gate, const float *up, uint64_t n, float *out) {
    v16 one = v_set(1.0f);
    for (uint64_t i = 0; i < n; i += 16) {
        v16 x = v_get(gate + i, n - i);
        v16 y = v_div(x, v_add(one, v_exp(v_neg(x))));
        v_put(out + i, n - i, v_mul(y, v_get(up + i, n - i)));
    }
}

void LANES_NAME(gelu_mul)(const float *gate, const float *up, uint64_t n, float *out) {
    v16 one = v_set(1.0f);
    for (uint64_t i = 0; i < n; i += 16) {
        v16 x = v_get(gate + i, n - i);
        v16 cube = v_fma(v_mul(v_set(MATH_GELU_CUBE), v_mul(x, x)), x, x);
        v16 y = v_div(x, v_add(one, v_exp(v_neg(v_mul(cube, v_set(MATH_GELU_TWICE_ROOT))))));
        v_put(out + i, n - i, v_mul(y, v_get(up + i, n - i)));
    }
}

void LANES_NAME(add_scaled)(const float *a, const float *b, float s, uint64_t n, float *out) {
    v16 by = v_set(s);
    for (uint64_t i = 0; i < n; i += 16)
        v_put(out + i, n - i, v_fma(by, v_get(b + i, n - i), v_get(a + i, n - i)));
}

void LANES_NAME(relu_square)(const float *x, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i += 16) {
        v16 a = v_get(x + i, n - i);
        v_put(out + i, n - i, v_zero_below(v_mul(a, a), a, v_zero()));
    }
}

void LANES_NAME(gelu_erf)(const float *x, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i += 16) {
        v16 a = v_get(x + i, n - i), tail = v_normal_tail(v_abs(a));
        v16 y = v_select(v_less(a, v_zero()), v_mul(a, tail), v_fma(v_neg(a), tail, a));
        v_put(out + i, n - i, y);
    }
}

void LANES_NAME(softcap)(const float *x, float cap, uint64_t n, float *out) {
    v16 c = v_set(cap);
    for (uint64_t i = 0; i < n; i += 16)
        v_put(out + i, n - i, v_mul(c, v_tanh(v_div(v_get(x + i, n - i), c))));
}

/* Pairs i .. i + 15 of one head: (a, b) by the angles at i. */
LANES_INLINE void rotate(v16 *a, v16 *b, v16 c, v16 s) {
    v16 a0 = *a, b0 = *b;
    *a = v_fms(a0, c, v_mul(b0, s));
    *b = v_fma(b0, c, v_mul(a0, s));
}

void LANES_NAME(rope)(float *x, uint32_t n_head, uint32_t head_dim, uint32_t n_rot, const float *cos, const float *sin,
                      bool pairs) {
    uint32_t half = n_rot / 2, step = pairs ? 2 : 1, apart = pairs ? 1 : half;
    for (uint32_t h = 0; h < n_head; h++, x += head_dim) {
        uint32_t i = 0;
        for (; i + 16 <= half; i += 16) {
            v16 c = v_load(cos + i), s = v_load(sin + i), a, b;
            if (pairs) {
                v_load_pairs(x + 2 * (size_t)i, &a, &b);
                rotate(&a, &b, c, s);
                v_store_pairs(x + 2 * (size_t)i, a, b);
            } else {
                a = v_load(x + i), b = v_load(x + half + i);
                rotate(&a, &b, c, s);
                v_store(x + i, a);
                v_store(x + half + i, b);
            }
        }
        for (; i < half; i++) {
            float *a = x + (size_t)i * step, *b = a + apart;
            float a0 = *a, b0 = *b;
            *a = __builtin_fmaf(a0, cos[i], -(b0 * sin[i]));
            *b = __builtin_fmaf(b0, cos[i], a0 * sin[i]);
        }
    }
}

void LANES_NAME(softmax)(float *x, uint64_t n) {
    v16 low = v_set(-INFINITY), largest = low;
    for (uint64_t i = 0; i < n; i += 16)
        largest = v_max(v_keep(v_get(x + i, n - i), n - i, low), largest);
    v16 max = v_set(v_largest(largest)), lanes = v_zero();
    for (uint64_t i = 0; i < n; i += 16) {
        v16 p = v_keep(v_exp(v_sub(v_get(x + i, n - i), max)), n - i, v_zero());
        lanes = v_add(lanes, p);
        v_put(x + i, n - i, p);
    }
    v16 sum = v_set(v_sum(lanes));
    for (uint64_t i = 0; i < n; i += 16)
        v_put(x + i, n - i, v_div(v_get(x + i, n - i), sum));
}

/* The largest value first, then the first place where it stands. */
uint64_t LANES_NAME(argmax)(const float *x, uint64_t n, bool *finite) {
    v16 low = v_set(-INFINITY), infinite = v_set(INFINITY), largest = low;
    uint32_t all = 0xFFFF;
    for (uint64_t i = 0; i < n; i += 16) {
        v16 a = v_get(x + i, n - i);
        all &= v_mask_bits(v_less(v_abs(a), infinite));
        largest = v_max(v_keep(a, n - i, low), largest);
    }
    *finite = all == 0xFFFF;
    float best = v_largest(largest);
    if (best == -INFINITY)
        return 0;
    for (uint64_t i = 0; i < n; i += 16) {
        uint32_t equal = v_mask_bits(v_equal(v_keep(v_get(x + i, n - i), n - i, low), v_set(best)));
        if (equal != 0)
            return i + (uint64_t)__builtin_ctz(equal);
    }
    return 0;
}

#endif
