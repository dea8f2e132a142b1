/* The few statistics that an evaluation's report needs. docs/evaluation.md says which is used for what, and why. */
#ifndef MUGA_AGENT_STATISTICS_H
#define MUGA_AGENT_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct stat_interval {
    double low, high;
} stat_interval;

/* Wilson's score interval, 95 %, of a share of n. `share` may lie between two whole counts (a mean over runs).
 * n 0: 0 to 1. Source: Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for any n. */
stat_interval stat_wilson(double share, size_t n);
/* Clopper and Pearson's exact upper bound, one-sided, 95 %: of so many, at most this share in the long run. It is for
 * what must be 0, where an interval's lower end says nothing; n 0: 1. */
double stat_at_most(size_t count, size_t n);
/* pass^k of one task that was done in n_done of n runs: the chance that k runs drawn of them, without putting back, are
 * all done: C(n_done, k) / C(n, k). Unbiased. 1 <= k <= n. Source: Yao et al. 2024 (tau-bench), 3. */
double stat_pass(size_t n, size_t n_done, size_t k);
/* Two-sided exact sign test of n = won + lost differing pairs (McNemar's exact test): the chance of a difference at
 * least this large if either way were equally likely. */
double stat_sign_test(size_t won, size_t lost);
/* The mean of n paired differences, each in [-1, 1], given their sum and the sum of their squares: 95 %, by the normal
 * approximation with one pair more on either side, so that a few pairs don't look sure. With differences of 0 and 1
 * alone it is the interval of Bonett and Price 2012. */
stat_interval stat_paired_difference(double sum, double squares, size_t n);

/* Sorts v. The value of rank ceil(share * n), which is one that was measured; 0 of none. */
double stat_percentile(double *v, size_t n, double share);
#endif
