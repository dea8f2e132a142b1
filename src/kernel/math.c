/* exp, tanh, log, sin and cos with a fixed order of operations: the same bits on every machine with IEEE 754 arithmetic
 * and a correct fma. Nothing of libm is called but fma. The operations are listed one by one in
 * docs/arithmetic-attention.md; lanes_math.h repeats expf and tanhf over vectors, and must change with this file. */
#include "kernel/math.h"

#include "kernel/kernel.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of_f32(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint64_t bits_of_f64(double f) {
    uint64_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static double f64_of_bits(uint64_t u) {
    double f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float kernel_expf(float x) {
    if (x < MATH_EXPF_LOW)
        return 0.0f;
    if (x > MATH_EXPF_HIGH)
        return INFINITY;
    float t = fmaf(x, MATH_EXPF_LOG2E, MATH_EXPF_ROUND);
    float n = t - MATH_EXPF_ROUND;
    float r = fmaf(n, -MATH_EXPF_LN2_HI, x);
    r = fmaf(n, -MATH_EXPF_LN2_LO, r);
    float p = fmaf(MATH_EXPF_C6, r, MATH_EXPF_C5);
    p = fmaf(p, r, MATH_EXPF_C4);
    p = fmaf(p, r, MATH_EXPF_C3);
    p = fmaf(p, r, MATH_EXPF_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* 2p * 2^(n-1), since 2^128 is no f32. The low bits of t hold n; shifted up they are the exponent field. */
    return (p + p) * f32_of_bits((bits_of_f32(t) << 23) + 0x3F000000u);
}

float kernel_tanhf(float x) {
    float a = fabsf(x);
    float y;
    if (a < MATH_TANHF_LIMIT) {
        float x2 = x * x;
        float q = fmaf(MATH_TANHF_C4, x2, MATH_TANHF_C3);
        q = fmaf(q, x2, MATH_TANHF_C2);
        q = fmaf(q, x2, MATH_TANHF_C1);
        q = fmaf(q, x2, MATH_TANHF_C0);
        y = fmaf(q, a * x2, a);
    } else {
        y = 1.0f - 2.0f / (kernel_expf(a + a) + 1.0f);
    }
    return copysignf(y, x);
}

#define LN2_HI 0x1.62e42fefa3800p-1 /* 42 bits: n * LN2_HI is exact for |n| < 2^11 */
#define LN2_LO 0x1.ef35793c76730p-45
#define LOG2E 0x1.71547652b82fep+0
#define ROUND_F64 0x1.8p52 /* adding it rounds to an integer, to nearest even */

double kernel_exp(double x) {
    static const double inverse_factorial[14] = {
        1.0,
        1.0,
        1.0 / 2,
        1.0 / 6,
        1.0 / 24,
        1.0 / 120,
        1.0 / 720,
        1.0 / 5040.0,
        1.0 / 40320.0,
        1.0 / 362880.0,
        1.0 / 3628800.0,
        1.0 / 39916800.0,
        1.0 / 479001600.0,
        1.0 / 6227020800.0,
    };
    if (x != x)
        return x;
    if (x > 709.782712893384)
        return INFINITY;
    if (x < -745.2)
        return 0.0;
    double n = fma(x, LOG2E, ROUND_F64) - ROUND_F64;
    double r = fma(n, -LN2_HI, x);
    r = fma(n, -LN2_LO, r);
    double p = inverse_factorial[13];
    for (int i = 12; i >= 0; i--)
        p = fma(p, r, inverse_factorial[i]);
    /* Two factors, so that neither leaves the range of normal numbers. */
    int64_t k = (int64_t)n, half = k / 2;
    p *= f64_of_bits((uint64_t)(half + 1023) << 52);
    return p * f64_of_bits((uint64_t)(k - half + 1023) << 52);
}

double kernel_log(double x) {
    if (x != x || x < 0)
        return NAN;
    if (x == 0)
        return -INFINITY;
    if (x == INFINITY)
        return x;
    int64_t n = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        n = -54;
    }
    /* x = m 2^e with m in [sqrt(1/2), sqrt 2) */
    const uint64_t root_half = 0x3FE6A09E667F3BCDu;
    int64_t e = (int64_t)(bits_of_f64(x) - root_half) >> 52;
    double f = f64_of_bits(bits_of_f64(x) - ((uint64_t)e << 52)) - 1.0;
    double k = (double)(n + e);
    /* log(1 + f) = 2 atanh(s) = f - s (f - R), R = 2 (s^2/3 + s^4/5 + ...) */
    double s = f / (2.0 + f);
    double z = s * s;
    double series = 2.0 / 21.0;
    for (int d = 19; d >= 3; d -= 2)
        series = fma(series, z, 2.0 / d);
    double tail = s * fma(-series, z, f);
    tail = fma(k, -LN2_LO, tail);
    return fma(k, LN2_HI, f - tail);
}

#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define HALF_PI_HI 0x1.921fb54442d18p+0
#define HALF_PI_LO 0x1.1a62633145c07p-54

void math_sincos(double x, double *sin_out, double *cos_out) {
    /* 1/3!, 1/5!, ... 1/17! and 1/2!, 1/4!, ... 1/16!, signs alternating */
    static const double sin_c[8] = {-1.0 / 6,
                                    1.0 / 120,
                                    -1.0 / 5040,
                                    1.0 / 362880,
                                    -1.0 / 39916800.0,
                                    1.0 / 6227020800.0,
                                    -1.0 / 1307674368000.0,
                                    1.0 / 355687428096000.0};
    static const double cos_c[8] = {-1.0 / 2,         1.0 / 24,          -1.0 / 720,           1.0 / 40320,
                                    -1.0 / 3628800.0, 1.0 / 479001600.0, -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
    if (!(x >= 0 && x < 0x1p50)) {
        *sin_out = *cos_out = NAN;
        return;
    }
    double k = fma(x, TWO_OVER_PI, ROUND_F64) - ROUND_F64;
    double r = fma(k, -HALF_PI_HI, x);
    r = fma(k, -HALF_PI_LO, r);
    double z = r * r, s = sin_c[7], c = cos_c[7];
    for (int i = 6; i >= 0; i--) {
        s = fma(s, z, sin_c[i]);
        c = fma(c, z, cos_c[i]);
    }
    s = fma(s, r * z, r);
    c = fma(c, z, 1.0);
    switch ((uint64_t)k & 3) {
    case 0: *sin_out = s, *cos_out = c; break;
    case 1: *sin_out = c, *cos_out = -s; break;
    case 2: *sin_out = -s, *cos_out = -c; break;
    default: *sin_out = -c, *cos_out = s; break;
    }
}
