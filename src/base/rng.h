/* Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter-based
 * generator. The same (key, counter) gives the same bits on every machine; there is no state to save. */
#ifndef MUGA_BASE_RNG_H
#define MUGA_BASE_RNG_H

#include <stdint.h>

/* key = (seed, choice, attempt) folded: key[0..1] = seed; counter = {position lo, position hi, choice, attempt}. */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* One uniform in [0, 1) with 24 bits, exactly representable in f32. */
float rng_uniform(uint64_t seed, uint32_t choice, uint32_t attempt, uint64_t position);

/* A seeded stream for generators and tests (SplitMix64). Not for sampling. */
typedef struct rng {
    uint64_t state;
} rng;
uint64_t rng_next(rng *r);
uint32_t rng_below(rng *r, uint32_t n); /* uniform in [0, n), n > 0, unbiased */

#endif
