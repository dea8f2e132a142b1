/* The specification of the vector operations of arithmetic 1, in plain C, one element at a time. Every other
 * instruction set gives these bits (tests/kernel/test_ops.c). A sum is kept in 16 lanes: element i goes to lane i mod
 * 16, each lane adds in ascending order, and the lanes are added as a tree 16 -> 8 -> 4 -> 2 -> 1. Where an expression
 * has a product inside a sum the fma is written out, so no compiler has anything left to contract. */
#include "kernel/internal.h"
#include "kernel/math.h"

#include <math.h>

enum { LANES = 16 };

/* lane l += lane l + width, for width 8, 4, 2, 1 */
static float lanes_sum(float lane[LANES]) {
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] = lane[l] + lane[l + width];
    return lane[0];
}

void ref_rms_norm(const float *x, const float *w, float eps, uint64_t n, float *out) {
    float lane[LANES] = {0};
    for (uint64_t i = 0; i < n; i++)
        lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    float mean = lanes_sum(lane) / (float)n;
    float inverse = 1.0f / sqrtf(mean + eps);
    for (uint64_t i = 0; i < n; i++) {
        float y = x[i] * inverse;
        out[i] = w != NULL ? y * w[i] : y;
    }
}

void ref_layer_norm(const float *x, const float *w, const float *b, float eps, uint64_t n, float *out) {
    float lane[LANES] = {0};
    for (uint64_t i = 0; i < n; i++)
        lane[i % LANES] = lane[i % LANES] + x[i];
    float mean = lanes_sum(lane) / (float)n;
    float square[LANES] = {0};
    for (uint64_t i = 0; i < n; i++) {
        float d = x[i] - mean;
        square[i % LANES] = fmaf(d, d, square[i % LANES]);
    }
    float variance = lanes_sum(square) / (float)n;
    float inverse = 1.0f / sqrtf(variance + eps);
    for (uint64_t i = 0; i < n; i++) {
        float y = (x[i] - mean) * inverse;
        float weight = w != NULL ? w[i] : 1.0f;
        out[i] = b != NULL ? fmaf(y, weight, b[i]) : y * weight;
    }
}

void ref_add(const float *a, const float *b, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

void ref_mul(const float *a, const float *b, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

void ref_scale(const float *a, float s, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = a[i] * s;
}

void ref_silu_mul(const float *gate, const float *up, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + kernel_expf(-gate[i])) * up[i];
}

/* 0.5 x (1 + tanh u) = x / (1 + e^-2u): one exponential, and no cancellation for negative x. */
void ref_gelu_mul(const float *gate, const float *up, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++) {
        float x = gate[i];
        float u2 = fmaf(MATH_GELU_CUBE * (x * x), x, x) * MATH_GELU_TWICE_ROOT;
        out[i] = x / (1.0f + kernel_expf(-u2)) * up[i];
    }
}

void ref_add_scaled(const float *a, const float *b, float s, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = fmaf(s, b[i], a[i]);
}

void ref_relu_square(const float *x, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = x[i] < 0 ? 0 : x[i] * x[i]; /* a NaN stays one */
}

/* Phi(-a) of a >= 0: the share of the normal distribution below -a */
static float normal_tail(float a) {
    static const float c[] = {MATH_PHI_C0, MATH_PHI_C1, MATH_PHI_C2, MATH_PHI_C3, MATH_PHI_C4,
                              MATH_PHI_C5, MATH_PHI_C6, MATH_PHI_C7, MATH_PHI_C8, MATH_PHI_C9};
    float t = 1.0f / fmaf(MATH_PHI_SHRINK, a, 1.0f), r = c[9];
    for (int i = 8; i >= 0; i--)
        r = fmaf(r, t, c[i]);
    return r * kernel_expf(-0.5f * (a * a));
}

/* x Phi(x); for positive x as x - x Phi(-x), so that neither side cancels. */
void ref_gelu_erf(const float *x, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++) {
        float tail = normal_tail(fabsf(x[i]));
        out[i] = x[i] < 0 ? x[i] * tail : fmaf(-x[i], tail, x[i]);
    }
}

void ref_softcap(const float *x, float cap, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = cap * kernel_tanhf(x[i] / cap);
}

void ref_rope(float *x, uint32_t n_head, uint32_t head_dim, uint32_t n_rot, const float *cos, const float *sin,
              bool pairs) {
    uint32_t half = n_rot / 2, step = pairs ? 2 : 1, apart = pairs ? 1 : half;
    for (uint32_t h = 0; h < n_head; h++, x += head_dim)
        for (uint32_t i = 0; i < half; i++) {
            float *a = x + (size_t)i * step, *b = a + apart;
            float a0 = *a, b0 = *b;
            *a = fmaf(a0, cos[i], -(b0 * sin[i]));
            *b = fmaf(b0, cos[i], a0 * sin[i]);
        }
}

void ref_softmax(float *x, uint64_t n) {
    float max = -INFINITY;
    for (uint64_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    float lane[LANES] = {0};
    for (uint64_t i = 0; i < n; i++) {
        x[i] = kernel_expf(x[i] - max);
        lane[i % LANES] = lane[i % LANES] + x[i];
    }
    float sum = lanes_sum(lane);
    for (uint64_t i = 0; i < n; i++)
        x[i] = x[i] / sum;
}

uint64_t ref_argmax(const float *x, uint64_t n, bool *finite) {
    float best = -INFINITY;
    uint64_t i_best = 0;
    *finite = true;
    for (uint64_t i = 0; i < n; i++) {
        if (!(fabsf(x[i]) < INFINITY))
            *finite = false;
        if (x[i] > best) {
            best = x[i];
            i_best = i;
        }
    }
    return i_best;
}
