/* If this failed, probabilities of labels would not mean what they say: the fit would stop elsewhere than at the
 * likelihood's maximum, or the threshold for a wanted risk would let through more wrong answers than promised. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "llm/logit.h"
#include "llm/risk.h"

#include <math.h>
#include <string.h>

enum { CASES = 40, CHOICES = 5, FEATURES = 2, N = FEATURES + CHOICES };

static double uniform(rng *r) {
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

typedef struct sample {
    double x[CASES * CHOICES * FEATURES];
    uint32_t y[CASES];
    logit_data d;
} sample;

static void make_sample(sample *s, uint64_t seed, double size) {
    rng r = {seed};
    for (size_t i = 0; i < ARRAY_LEN(s->x); i++)
        s->x[i] = size * (uniform(&r) - 0.5);
    for (size_t i = 0; i < CASES; i++)
        s->y[i] = rng_below(&r, CHOICES - 1); /* the last choice is never made */
    s->d = (logit_data){CASES, CHOICES, FEATURES, s->x, s->y};
}

/* ---- a second implementation: dense, in long double, by the C library's exp and log ---- */

typedef struct reference {
    long double value, gradient[N], hessian[N][N];
} reference;

static long double z_of(const logit_data *d, size_t i, size_t l, size_t k) {
    return k < FEATURES ? (long double)d->x[(i * CHOICES + l) * FEATURES + k] : k - FEATURES == l;
}

static void evaluate(const logit_data *d, const long double *theta, const long double *start, long double ridge,
                     reference *r) {
    *r = (reference){0};
    for (size_t k = 0; k < N; k++) {
        r->value += ridge / 2 * (theta[k] - start[k]) * (theta[k] - start[k]);
        r->gradient[k] = ridge * (theta[k] - start[k]);
        r->hessian[k][k] = ridge;
    }
    for (size_t i = 0; i < d->n; i++) {
        long double p[CHOICES], sum = 0, mean[N] = {0};
        for (size_t l = 0; l < CHOICES; l++) {
            long double u = 0;
            for (size_t k = 0; k < N; k++)
                u += theta[k] * z_of(d, i, l, k);
            sum += p[l] = expl(u);
        }
        for (size_t l = 0; l < CHOICES; l++)
            p[l] /= sum;
        r->value -= logl(p[d->y[i]]);
        for (size_t k = 0; k < N; k++) {
            for (size_t l = 0; l < CHOICES; l++)
                mean[k] += p[l] * z_of(d, i, l, k);
            r->gradient[k] += mean[k] - z_of(d, i, d->y[i], k);
        }
        for (size_t a = 0; a < N; a++)
            for (size_t b = 0; b < N; b++)
                for (size_t l = 0; l < CHOICES; l++)
                    r->hessian[a][b] += p[l] * (z_of(d, i, l, a) - mean[a]) * (z_of(d, i, l, b) - mean[b]);
    }
}

/* Gauss: a x = b, x in b. */
static void eliminate(long double a[N][N], long double b[N]) {
    for (size_t k = 0; k < N; k++)
        for (size_t i = k + 1; i < N; i++) {
            long double f = a[i][k] / a[k][k];
            for (size_t j = k; j < N; j++)
                a[i][j] -= f * a[k][j];
            b[i] -= f * b[k];
        }
    for (size_t k = N; k-- > 0;) {
        for (size_t j = k + 1; j < N; j++)
            b[k] -= a[k][j] * b[j];
        b[k] /= a[k][k];
    }
}

static void find_minimum(const logit_data *d, long double ridge, const long double *start, long double *theta) {
    reference r, at;
    memcpy(theta, start, N * sizeof *theta);
    for (int step = 0; step < 100; step++) {
        evaluate(d, theta, start, ridge, &r);
        eliminate(r.hessian, r.gradient);
        long double length = 1, next[N];
        for (int i = 0; i < 50; i++, length /= 2) {
            for (size_t k = 0; k < N; k++)
                next[k] = theta[k] - length * r.gradient[k];
            evaluate(d, next, start, ridge, &at);
            if (at.value <= r.value)
                break;
        }
        memcpy(theta, next, sizeof next);
    }
}

static void the_fit_is_that_of_a_second_implementation(void **state) {
    (void)state;
    static const double ridges[] = {1e-6, 0.01, 1, 100}, sizes[] = {0.01, 3, 100};
    for (size_t i = 0; i < ARRAY_LEN(ridges) * ARRAY_LEN(sizes); i++) {
        sample s;
        muga_error err = {0};
        double bias[CHOICES] = {0}, ridge = ridges[i % ARRAY_LEN(ridges)];
        const long double start[N] = {1, -1};
        long double theta[N];
        logit m = {CHOICES, FEATURES, {1, -1}, bias};
        make_sample(&s, i + 1, sizes[i / ARRAY_LEN(ridges)]);
        assert_ok(logit_fit(&s.d, ridge, &m, &err), &err);
        find_minimum(&s.d, (long double)ridge, start, theta);
        for (size_t k = 0; k < N; k++) {
            long double got = (long double)(k < FEATURES ? m.weight[k] : bias[k - FEATURES]);
            if (!(fabsl(got - theta[k]) <= 1e-7L * (1 + fabsl(theta[k]))))
                fail_msg("sample %zu, number %zu: %.12Lg, not %.12Lg", i, k, got, theta[k]);
        }
    }
}

/* Where the scores say nothing, what is left is how often each label is right. */
static void biases_alone_give_the_frequencies(void **state) {
    (void)state;
    static const double x[10 * 2];
    static const uint32_t y[10] = {0, 1, 1, 1, 1, 0, 1, 1, 1, 1};
    const logit_data d = {10, 2, 1, x, y};
    double bias[2] = {0}, p[2];
    muga_error err = {0};
    logit m = {2, 1, {1}, bias};
    assert_ok(logit_fit(&d, 1e-9, &m, &err), &err);
    logit_predict(&m, x, p);
    assert_true(fabs(p[1] - 0.8) < 1e-8 && fabs(p[0] + p[1] - 1) < 1e-15);
    assert_true(fabs(m.weight[0] - 1) < 1e-12); /* nothing pulled at it */
}

static void what_the_scores_part_perfectly_has_a_minimum_too(void **state) {
    (void)state;
    static const double x[] = {1, 0, 0, 1, 1, 0, 0, 1};
    static const uint32_t y[] = {0, 1, 0, 1};
    const logit_data d = {4, 2, 1, x, y};
    double bias[2] = {0};
    muga_error err = {0};
    logit m = {2, 1, {1}, bias};
    assert_ok(logit_fit(&d, 1e-6, &m, &err), &err);
    assert_true(isfinite(m.weight[0]) && m.weight[0] > 5 && m.weight[0] < 100);
}

static void impossible_data_is_refused(void **state) {
    (void)state;
    double x[] = {1, INFINITY}, bias[2] = {0};
    static const uint32_t y[] = {0};
    muga_error err = {0};
    logit m = {2, 1, {1}, bias};
    logit_data d = {1, 2, 1, x, y};
    assert_status(logit_fit(&d, 1, &m, &err), MUGA_E_NONFINITE, &err, "example 0");
    x[1] = 0;
    assert_status(logit_fit(&d, 0, &m, &err), MUGA_E_USAGE, &err, "ridge");
    d.n = SIZE_MAX / 2 + 2;
    assert_status(logit_fit(&d, 1, &m, &err), MUGA_E_LIMIT, &err, "fewer examples");
}

/* ---- risk ---- */

static long double tail(size_t n, size_t k, long double r) {
    long double sum = 0;
    for (size_t j = 0; j <= k; j++)
        sum += expl(lgammal((long double)n + 1) - lgammal((long double)j + 1) - lgammal((long double)(n - j) + 1) +
                    (long double)j * logl(r) + (long double)(n - j) * log1pl(-r));
    return sum;
}

static void the_bound_is_the_binomial_tails(void **state) {
    (void)state;
    for (size_t n = 1; n < 3000; n = n * 3 + 1)
        for (size_t k = 0; k < n; k = k * 2 + 1) {
            double bound = risk_upper_bound(n, k, 0.05);
            assert_true(fabsl(tail(n, k, (long double)bound) - 0.05L) < 1e-9L);
        }
    assert_true(fabs(risk_upper_bound(10, 0, 0.05) - (1 - pow(0.05, 0.1))) < 1e-12);
    assert_true(risk_upper_bound(5, 5, 0.05) == 1);
    assert_true(risk_upper_bound(0, 0, 0.05) == 1);
}

/* An answer of confidence c is right with probability c, c anywhere in 0..1: from t on (1 - t) / 2 are wrong. */
static void the_promise_is_kept_nine_times_in_ten(void **state) {
    (void)state;
    rng r = {7};
    size_t n_chosen = 0, n_broken = 0;
    for (int trial = 0; trial < 400; trial++) {
        risk_case cases[300];
        risk_choice c;
        muga_error err = {0};
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            cases[i].confidence = uniform(&r);
            cases[i].right = uniform(&r) < cases[i].confidence;
        }
        if (risk_choose(cases, ARRAY_LEN(cases), 0.3, &c, &err))
            continue;
        n_chosen++;
        n_broken += (1 - c.threshold) / 2 > 0.3;
    }
    assert_true(n_chosen > 350); /* and it is of use */
    assert_true(n_broken * 10 <= n_chosen);
}

static void too_few_examples_show_no_low_risk(void **state) {
    (void)state;
    risk_case cases[20];
    risk_choice c = {0};
    muga_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cases[i] = (risk_case){0.9, true};
    assert_status(risk_choose(cases, 20, 0.01, &c, &err), MUGA_E_INPUT, &err, "more examples");
    assert_status(risk_choose(cases, 0, 0.5, &c, &err), MUGA_E_INPUT, &err, "0 examples");
    assert_status(risk_choose(cases, 20, 0, &c, &err), MUGA_E_USAGE, &err, "between 0 and 1");
    assert_status(risk_choose(cases, 20, NAN, &c, &err), MUGA_E_USAGE, &err, "between 0 and 1");
    assert_ok(risk_choose(cases, 20, 0.3, &c, &err), &err);
    assert_true(c.n_kept == 20 && c.n_wrong == 0 && c.threshold == 0.9); /* equally sure ones stay together */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fit_is_that_of_a_second_implementation),
        cmocka_unit_test(biases_alone_give_the_frequencies),
        cmocka_unit_test(what_the_scores_part_perfectly_has_a_minimum_too),
        cmocka_unit_test(impossible_data_is_refused),
        cmocka_unit_test(the_bound_is_the_binomial_tails),
        cmocka_unit_test(the_promise_is_kept_nine_times_in_ten),
        cmocka_unit_test(too_few_examples_show_no_low_risk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
