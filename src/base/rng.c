/* Random numbers that need no memory: Philox 4x32-10 for sampling, SplitMix64 for generators. Owns: the bit-exact
 * stream that audit records rely on ("arithmetic 1"); a change here is a new arithmetic. Refuses: hidden state.
 *
 * Sources: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3 (Philox);
 * Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64);
 * Lemire, "Fast random integer generation in an interval", ACM TOMACS 2019 (rng_below). */
#include "base/rng.h"

#define PHILOX_ROUNDS 10

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

float rng_uniform(uint64_t seed, uint32_t choice, uint32_t attempt, uint64_t position) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), choice, attempt};
    uint32_t bits[4];
    philox4x32(counter, key, bits);
    return (float)(bits[0] >> 8) * 0x1p-24f;
}

uint64_t rng_next(rng *r) {
    uint64_t z = r->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint32_t rng_below(rng *r, uint32_t n) {
    uint32_t rejected_below = (0u - n) % n; /* 2^32 mod n: the low parts that some results would get once too often */
    uint64_t product;
    do {
        product = (rng_next(r) >> 32) * n;
    } while ((uint32_t)product < rejected_below);
    return (uint32_t)(product >> 32);
}
