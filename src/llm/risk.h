/* When to say nothing: the threshold on confidence above which answers are wrong no more often than wanted.
 *
 * From judged examples (how sure, and was it right). For each of 16 shares of them, the surest first, the error rate's
 * upper bound by Clopper and Pearson (1934) at 1 - 0.1 / 16; the largest share whose bound keeps to the wanted risk
 * gives the threshold. With texts like the examples, and nine times in ten over the choice of examples, at most that
 * share of the answers is wrong (selection with guaranteed risk, Geifman and El-Yaniv 2017, with the union bound over
 * fixed shares in place of their search). */
#ifndef MUGA_LLM_RISK_H
#define MUGA_LLM_RISK_H

#include "base/error.h"

#define RISK_DOUBT 0.1 /* how often, over the choice of examples, the promise may fail */
#define RISK_SHARES 16

typedef struct risk_case {
    double confidence;
    bool right;
} risk_case;

typedef struct risk_choice {
    double threshold;          /* answers whose confidence is this or more */
    size_t n, n_kept, n_wrong; /* examples; answered; answered wrongly */
} risk_choice;

/* cases are sorted here, the surest first. E_INPUT: no share of so few, or such, examples shows so low a risk; the
 * message says which one they show. wanted: 0..1, both excluded. */
MUGA_MUST_USE muga_status risk_choose(risk_case *cases, size_t n, double wanted, risk_choice *out, muga_error *err);

/* The largest error rate that n trials of which n_wrong failed leave possible with probability `doubt`; 1 where
 * all failed. */
double risk_upper_bound(size_t n, size_t n_wrong, double doubt);

#endif
