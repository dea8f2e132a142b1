/* Intervals, pass^k, the exact sign test, percentiles (statistics.h). Owns: the formulas. */
#include "agent/statistics.h"

#include "agent/gate.h"
#include "base/mem.h"

#include <math.h>

#define Z95 1.959963984540054 /* standard normal, two-sided 95 % */

stat_interval stat_wilson(double share, size_t n) {
    if (n == 0) {
        return (stat_interval){0, 1};
    }
    double m = (double)n, z2 = Z95 * Z95, middle = (share + z2 / (2 * m)) / (1 + z2 / m),
           half = Z95 / (1 + z2 / m) * sqrt(share * (1 - share) / m + z2 / (4 * m * m));
    return (stat_interval){share <= 0 ? 0 : MAX(middle - half, 0), share >= 1 ? 1 : MIN(middle + half, 1)};
}

/* P(X <= count) for X binomial (n, p), p in (0, 1). */
static double binomial_up_to(size_t count, size_t n, double p) {
    double sum = 0;
    for (size_t i = 0; i <= count; i++) {
        double log_choose = lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1);
        sum += exp(log_choose + (double)i * log(p) + (double)(n - i) * log1p(-p));
    }
    return sum;
}

/* The p at which so few would be seen in one of twenty; by bisection, since the sum falls as p grows. */
double stat_at_most(size_t count, size_t n) {
    double low = 0, high = 1;
    if (count >= n) {
        return 1;
    }
    for (int i = 0; i < 60; i++) {
        double p = (low + high) / 2;
        if (binomial_up_to(count, n, p) > 0.05) {
            low = p;
        } else {
            high = p;
        }
    }
    return high;
}

double stat_pass(size_t n, size_t n_done, size_t k) {
    double product = 1;
    for (size_t i = 0; i < k; i++) {
        product *= i < n_done ? (double)(n_done - i) / (double)(n - i) : 0;
    }
    return product;
}

double stat_sign_test(size_t won, size_t lost) {
    return MIN(1, 2 * gate_tail(won + lost, MAX(won, lost)));
}

stat_interval stat_paired_difference(double sum, double squares, size_t n) {
    double m = (double)n + 2, mean = sum / m, half = Z95 * sqrt(((squares + 2) / m - mean * mean) / m);
    return (stat_interval){MAX(mean - half, -1), MIN(mean + half, 1)};
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stat_percentile(double *v, size_t n, double share) {
    if (n == 0) {
        return 0;
    }
    qsort(v, n, sizeof *v, by_value);
    double rank = ceil(share * (double)n);
    return v[rank < 1 ? 0 : MIN((size_t)rank, n) - 1];
}
