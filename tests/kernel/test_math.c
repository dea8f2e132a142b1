/* Were this broken, every probability, norm and position would be a little wrong, or right on one machine and different
 * on the next, and no recorded decision could be replayed. The functions are compared with libm for accuracy, and
 * digests of their bits over a sweep of arguments pin arithmetic 1: a digest that changes is a new arithmetic. */
#include "kernel/kernel.h"
#include "kernel/math.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Of the outputs listed in bits_are_those_of_arithmetic_1. */
#define DIGEST_EXPF 0xb6b64397d46b87adu
#define DIGEST_TANHF 0x2a909550ae640431u
#define DIGEST_DOUBLE 0xe0a1442dda970d37u
#define DIGEST_ROPE 0x54419e25dea75a0cu

static float f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t bits_of_f32(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* Distance of got from the true value in units of got's last place. */
static double ulps_f32(float got, double want) {
    float size = fabsf(got);
    double unit = (double)(nextafterf(size, INFINITY) - size);
    return fabs((double)got - want) / unit;
}

static void digest_add(uint64_t *h, const void *p, size_t n) { /* FNV-1a, 64 bits */
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++)
        *h = (*h ^ c[i]) * 0x100000001B3u;
}

static void expf_is_within_one_unit_and_exact_at_its_ends(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t u = 0; u < 0x100000000u; u += 1009) {
        float x = f32_of_bits((uint32_t)u), y = kernel_expf(x);
        if (isnan(x)) {
            assert_true(isnan(y));
        } else if (x < -86.5f) {
            assert_int_equal(bits_of_f32(y), 0);
        } else if (x > 88.72283f) {
            assert_true(y == INFINITY);
        } else {
            double e = ulps_f32(y, exp((double)x));
            worst = e > worst ? e : worst;
        }
    }
    print_message("expf: at most %.3f units in the last place\n", worst);
    assert_true(worst <= 1.0);
    assert_true(kernel_expf(0.0f) == 1.0f && kernel_expf(-0.0f) == 1.0f);
    assert_true(kernel_expf(88.72283f) < INFINITY);
    assert_true(kernel_expf(-86.5f) > 0x1p-126f);
    assert_int_equal(bits_of_f32(kernel_expf(-INFINITY)), 0);
}

static void tanhf_is_within_two_units_odd_and_saturates(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t u = 0; u <= 0x7F800000u; u += 501) {
        float x = f32_of_bits((uint32_t)u), y = kernel_tanhf(x);
        assert_int_equal(bits_of_f32(kernel_tanhf(-x)), bits_of_f32(-y));
        double e = ulps_f32(y, tanh((double)x));
        worst = e > worst ? e : worst;
    }
    print_message("tanhf: at most %.3f units in the last place\n", worst);
    assert_true(worst <= 2.0);
    assert_true(kernel_tanhf(INFINITY) == 1.0f && kernel_tanhf(-INFINITY) == -1.0f && kernel_tanhf(10.0f) == 1.0f);
    assert_true(isnan(kernel_tanhf(NAN)));
    assert_int_equal(bits_of_f32(kernel_tanhf(-0.0f)), 0x80000000u);
}

static void exp_and_log_agree_with_libm(void **state) {
    (void)state;
    double worst_exp = 0, worst_log = 0;
    for (int i = -70000; i <= 70000; i++) {
        double x = i * 0.01 + 1e-5 * (i % 7), e = fabs(kernel_exp(x) / exp(x) - 1);
        worst_exp = e > worst_exp ? e : worst_exp;
        double y = exp(x), l = log(y), d = fabs(kernel_log(y) - l) / fmax(fabs(l), 1e-3);
        worst_log = d > worst_log ? d : worst_log;
    }
    for (int i = 1; i < 2000; i++) { /* near 1, where the logarithm is small */
        double y = 1 + (i - 1000) * 1e-6, l = log(y);
        double d = l == 0 ? fabs(kernel_log(y)) : fabs(kernel_log(y) / l - 1);
        worst_log = d > worst_log ? d : worst_log;
    }
    print_message("exp: relative %.2e, log: relative %.2e\n", worst_exp, worst_log);
    assert_true(worst_exp < 6e-16);
    assert_true(worst_log < 6e-16);
    assert_true(kernel_exp(0) == 1 && kernel_exp(-800) == 0 && kernel_exp(710) == INFINITY && isnan(kernel_exp(NAN)));
    assert_true(kernel_exp(-740) > 0 && fabs(kernel_exp(-740) / exp(-740) - 1) < 1e-2); /* below the normal range */
    assert_true(kernel_log(1) == 0 && kernel_log(0) == -INFINITY && kernel_log(INFINITY) == INFINITY);
    assert_true(isnan(kernel_log(-1)) && isnan(kernel_log(NAN)));
    assert_true(fabs(kernel_log(0x1p-1070) / log(0x1p-1070) - 1) < 1e-15);
}

static void sine_and_cosine_hold_for_every_position(void **state) {
    (void)state;
    double worst = 0;
    for (int i = 0; i < 400000; i++) {
        double x = i < 100000 ? i * 1e-4 : i < 300000 ? (i - 100000) * 5.0003 : (i - 300000) * 42949.01;
        double s, c;
        math_sincos(x, &s, &c);
        double e = fmax(fabs(s - sin(x)), fabs(c - cos(x)));
        worst = e > worst ? e : worst;
    }
    print_message("sin, cos: absolute %.2e up to 2^32\n", worst);
    assert_true(worst < 1e-12);
    double s, c;
    math_sincos(0, &s, &c);
    assert_true(s == 0 && c == 1);
    math_sincos(INFINITY, &s, &c);
    assert_true(isnan(s) && isnan(c));
}

static void rope_follows_its_formula(void **state) {
    (void)state;
    static const uint32_t positions[] = {0, 1, 63, 64, 4095, 131071, 1000000};
    static const float factors[16] = {1, 1, 1, 1, 1.5f, 2, 3, 4, 8, 8, 8, 8, 8, 8, 8, 8};
    for (size_t k = 0; k < sizeof positions / sizeof *positions; k++)
        for (int scaled = 0; scaled < 2; scaled++) {
            kernel_rope r = {.base = scaled ? 500000.0f : 10000.0f, .n_rot = 32, .scale = scaled ? 0.25f : 1.0f};
            r.factors = scaled ? factors : NULL;
            float c[16], s[16], m = scaled ? 1.25f : 1;
            double freq[16];
            kernel_rope_frequencies(&r, freq);
            kernel_rope_angles(positions[k], freq, 16, m, c, s);
            for (int i = 0; i < 16; i++) {
                double angle = positions[k] * pow((double)r.base, -2.0 * i / 32) * (double)r.scale /
                               (double)(scaled ? factors[i] : 1);
                assert_true(fabs((double)c[i] - cos(angle) * (double)m) < 1e-7);
                assert_true(fabs((double)s[i] - sin(angle) * (double)m) < 1e-7);
            }
        }
}

/* Against the formulas of the paper: wavelengths, ramp, and interpolation by parts. */
static void yarn_keeps_fast_pairs_and_scales_slow_ones(void **state) {
    (void)state;
    kernel_rope r = {.base = 1e6f, .n_rot = 128, .scale = 0.25f, .yarn = 1, .beta_fast = 32, .beta_slow = 1};
    r.n_ctx_orig = 32768;
    double freq[64], plain[64];
    kernel_rope_frequencies(&r, freq);
    r.yarn = 0;
    r.scale = 1;
    kernel_rope_frequencies(&r, plain);
    double low = floor(128 * log(32768 / (32 * 2 * M_PI)) / (2 * log(1e6)));
    double high = ceil(128 * log(32768 / (2 * M_PI)) / (2 * log(1e6)));
    assert_true(low == 23 && high == 40);
    for (int i = 0; i < 64; i++) {
        double ramp = fmin(1, fmax(0, (i - low) / (high - low)));
        assert_true(fabs(freq[i] / (plain[i] * (1 - ramp) + plain[i] / 4 * ramp) - 1) < 1e-14);
        assert_true(i > low || freq[i] == plain[i]);
        assert_true(i < high || freq[i] == plain[i] * 0.25);
    }
    /* Nothing is fast or slow within a context of one position, and a base of 1 turns all pairs alike: still numbers.
     */
    r = (kernel_rope){
        .base = 1, .n_rot = 8, .scale = 0.5f, .yarn = 1, .beta_fast = 32, .beta_slow = 1, .n_ctx_orig = 1};
    kernel_rope_frequencies(&r, freq);
    for (int i = 0; i < 4; i++)
        assert_true(freq[i] >= 0.5 && freq[i] <= 1);
}

static void bits_are_those_of_arithmetic_1(void **state) {
    (void)state;
    uint64_t h_exp = 0xCBF29CE484222325u, h_tanh = h_exp, h_double = h_exp, h_rope = h_exp;
    for (uint32_t u = 0; u < 0x7F800000u; u += 40961)
        for (uint32_t sign = 0; sign < 2; sign++) {
            float x = f32_of_bits(u | sign << 31), e = kernel_expf(x), t = kernel_tanhf(x);
            digest_add(&h_exp, &e, sizeof e);
            digest_add(&h_tanh, &t, sizeof t);
        }
    for (int i = -7000; i < 7000; i++) {
        double y[4];
        y[0] = kernel_exp(i * 0.0625);
        y[1] = kernel_log(y[0]);
        math_sincos(fabs((double)i) * 97.03125, &y[2], &y[3]);
        digest_add(&h_double, y, sizeof y);
    }
    double freq[32];
    kernel_rope_frequencies(&(kernel_rope){.base = 100000.0f, .n_rot = 64, .scale = 1.0f}, freq);
    for (uint32_t pos = 0; pos < 4096; pos += 61) {
        float c[32], s[32];
        kernel_rope_angles(pos, freq, 32, 1.0f, c, s);
        digest_add(&h_rope, c, sizeof c);
        digest_add(&h_rope, s, sizeof s);
    }
    print_message("digests: %016llx %016llx %016llx %016llx\n", (unsigned long long)h_exp, (unsigned long long)h_tanh,
                  (unsigned long long)h_double, (unsigned long long)h_rope);
    assert_true(h_exp == DIGEST_EXPF);
    assert_true(h_tanh == DIGEST_TANHF);
    assert_true(h_double == DIGEST_DOUBLE);
    assert_true(h_rope == DIGEST_ROPE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expf_is_within_one_unit_and_exact_at_its_ends),
        cmocka_unit_test(tanhf_is_within_two_units_odd_and_saturates),
        cmocka_unit_test(exp_and_log_agree_with_libm),
        cmocka_unit_test(sine_and_cosine_hold_for_every_position),
        cmocka_unit_test(rope_follows_its_formula),
        cmocka_unit_test(yarn_keeps_fast_pairs_and_scales_slow_ones),
        cmocka_unit_test(bits_are_those_of_arithmetic_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
