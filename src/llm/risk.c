/* The threshold for a wanted risk (risk.h). Owns: the binomial tail and its bound. */
#include "llm/risk.h"

#include "base/mem.h"
#include "kernel/kernel.h"

#define HALVINGS 60 /* of the interval that holds a bound */

/* P(at most k of n fail) > doubt, where each fails with probability r, 0 < r < 1: terms by their logarithms. */
static bool tail_exceeds(size_t n, size_t k, double r, double doubt) {
    double log_r = kernel_log(r), log_s = kernel_log(1 - r), term = (double)n * log_s, sum = kernel_exp(term);
    for (size_t j = 1; j <= k && sum <= doubt; j++) {
        term += kernel_log((double)(n - j + 1) / (double)j) + log_r - log_s;
        sum += kernel_exp(term);
    }
    return sum > doubt;
}

double risk_upper_bound(size_t n, size_t n_wrong, double doubt) {
    double low = 0, high = 1;
    for (int i = 0; i < HALVINGS && n_wrong < n; i++) {
        double middle = low + (high - low) / 2;
        if (middle <= 0 || middle >= 1)
            break;
        if (tail_exceeds(n, n_wrong, middle, doubt))
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* Wrong ones first among the equally sure, so that the order is one. */
static int by_confidence(const void *a, const void *b) {
    const risk_case *x = a, *y = b;
    if (x->confidence != y->confidence)
        return x->confidence < y->confidence ? 1 : -1;
    return (int)x->right - (int)y->right;
}

/* The n_kept of the surest share, with all that are as sure as its last. */
static size_t share_of(const risk_case *cases, size_t n, size_t i_share) {
    size_t kept = (n * i_share + RISK_SHARES - 1) / RISK_SHARES;
    while (kept > 0 && kept < n && cases[kept].confidence == cases[kept - 1].confidence)
        kept++;
    return kept;
}

static risk_choice choice_at(const risk_case *cases, size_t n, size_t i_share) {
    risk_choice c = {.n = n, .n_kept = share_of(cases, n, i_share)};
    for (size_t k = 0; k < c.n_kept; k++)
        c.n_wrong += !cases[k].right;
    c.threshold = cases[c.n_kept - 1].confidence;
    return c;
}

static muga_status none_found(const risk_case *cases, size_t n, double wanted, muga_error *err) {
    double lowest = 1;
    for (size_t i = 1; i <= RISK_SHARES && n > 0; i++) {
        risk_choice c = choice_at(cases, n, i);
        lowest = MIN(lowest, risk_upper_bound(c.n_kept, c.n_wrong, RISK_DOUBT / RISK_SHARES));
    }
    return error_set(err, MUGA_E_INPUT,
                     "a risk of %g can't be shown with these %zu examples, only one of %.3g; give more examples, or "
                     "allow more risk",
                     wanted, n, lowest);
}

muga_status risk_choose(risk_case *cases, size_t n, double wanted, risk_choice *out, muga_error *err) {
    risk_choice found = {0};
    if (!(wanted > 0 && wanted < 1))
        return error_set(err, MUGA_E_USAGE, "a risk is between 0 and 1, both excluded, not %g", wanted);
    if (n > 0)
        qsort(cases, n, sizeof *cases, by_confidence);
    for (size_t i = 1; i <= RISK_SHARES && n > 0; i++) {
        risk_choice c = choice_at(cases, n, i);
        if (c.n_wrong < c.n_kept && !tail_exceeds(c.n_kept, c.n_wrong, wanted, RISK_DOUBT / RISK_SHARES))
            found = c;
    }
    if (found.n == 0)
        return none_found(cases, n, wanted, err);
    *out = found;
    return MUGA_OK;
}
