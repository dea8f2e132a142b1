/* What the tests of training share: the small model, and samples for it. */
#ifndef TESTS_TRAIN_FIXTURE_H
#define TESTS_TRAIN_FIXTURE_H

#include "support/engine_fixture.h"

#include "base/rng.h"
#include "train/train.h"

enum { BED_SAMPLES = 4, BED_MOST = 20 };

typedef struct train_bed {
    int32_t ids[BED_SAMPLES][BED_MOST];
    uint8_t target[BED_SAMPLES][BED_MOST];
    train_sample samples[BED_SAMPLES];
} train_bed;

/* Samples of several lengths, their second halves targets, with ids 101, 102, ... */
static inline void train_bed_init(train_bed *b, uint32_t n_vocab) {
    static const uint32_t n_tok[BED_SAMPLES] = {12, BED_MOST, 7, 15};
    rng r = {29};
    for (uint32_t s = 0; s < BED_SAMPLES; s++) {
        b->samples[s] = (train_sample){b->ids[s], b->target[s], n_tok[s], 101 + s};
        for (uint32_t i = 0; i < BED_MOST; i++) {
            b->ids[s][i] = (int32_t)rng_below(&r, n_vocab);
            b->target[s][i] = i > n_tok[s] / 2;
        }
    }
}

/* Options under which the small model learns the samples by heart. */
static inline train_options train_bed_options(void) {
    train_options o = train_options_default();
    o.rank = 8;
    o.alpha = 16;
    o.lr = 2e-2f;
    o.n_steps = 60;
    o.n_warmup = 5;
    o.seed = 5;
    return o;
}

#endif
