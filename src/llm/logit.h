/* The conditional logit model (McFadden 1974): which of several was chosen, from what is known of each.
 *
 *   P(choice l of case i) = exp(u[i][l]) / sum over m of exp(u[i][m])
 *   u[i][l] = sum over f of weight[f] x[i][l][f]  +  bias[l]
 *
 * One feature and no bias is temperature scaling; with a bias for each choice it is vector scaling (Guo et al. 2017).
 * Fitted by maximum likelihood with a ridge: sum over i of -log P(y[i]), plus ridge / 2 times the squares of the biases
 * and of the weights' distances from where they began. Convex, and strictly so by the ridge: there is one minimum,
 * whatever the examples. IEEE + - * / sqrt, kernel_exp and kernel_log in a fixed order: the same bits on every machine.
 */
#ifndef MUGA_LLM_LOGIT_H
#define MUGA_LLM_LOGIT_H

#include "base/error.h"

#define LOGIT_MAX_FEATURES 4u
#define LOGIT_MAX_NUMBERS ((size_t)1 << 25) /* cases x choices */

typedef struct logit_data {
    size_t n, n_choices, n_features;
    const double *x;   /* [n][n_choices][n_features], finite */
    const uint32_t *y; /* [n], the choice of each case */
} logit_data;

typedef struct logit {
    size_t n_choices, n_features;
    double weight[LOGIT_MAX_FEATURES];
    double *bias; /* [n_choices], of the caller; NULL: none, for logit_predict */
} logit;

/* In: the weights and biases to begin at; the weights are also what the ridge (above 0) draws to. Out: the minimum.
 * Newton steps, each by conjugate gradients and halved until it descends. E_NONFINITE: x holds an infinity or NaN.
 * E_LIMIT: past LOGIT_MAX_NUMBERS. E_INTERNAL: no minimum was reached; nothing is known that gives this. */
MUGA_MUST_USE muga_status logit_fit(const logit_data *d, double ridge, logit *m, muga_error *err);

/* Probabilities p[n_choices] of the choices of one case x[n_choices][n_features]. */
void logit_predict(const logit *m, const double *x, double *p);

#endif
