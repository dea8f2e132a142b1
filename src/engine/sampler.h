/* Choosing a token from logits. The order of the steps is fixed:
 *
 *   1. constraint mask      a token whose bit is clear does not exist
 *   2. logit bias           added; SAMPLER_NEVER: the token does not exist either, where others are left
 *   3. repeat penalty       logit of a token in the window: / penalty where positive, * penalty where negative
 *      presence, frequency  - presence - frequency * count in the window
 *   4. temperature 0:       the largest logit, ties to the lower id; done
 *   5. top-k                the k largest, ties to the lower id
 *   6. temperature, softmax over what is left
 *   7. typical-p            the smallest set of those whose surprise -log p is nearest to the mean surprise, whose sum
 *                           reaches typical_p (at least one); equally near: the lower id. What is left sums to 1 again.
 *                           Source: Meister et al. 2022, Locally Typical Sampling, section 3
 *   8. top-p                the smallest set of the most likely whose sum reaches p (at least one)
 *   9. min-p                those at least min_p times as likely as the first
 *  10. draw                 u from Philox, key (seed, choice, attempt), counter position; of what is left, by
 *                           ascending id, the first whose running sum passes u times the total
 *
 * The same logits, settings and position give the same token on every machine. One thread at a time; picking doesn't
 * allocate. */
#ifndef MUGA_ENGINE_SAMPLER_H
#define MUGA_ENGINE_SAMPLER_H

#include "kernel/kernel.h"

#include <math.h>

#define SAMPLER_NEVER (-INFINITY)
#define SAMPLER_MAX_WINDOW (1u << 20)

typedef struct sampler_bias {
    int32_t id;
    float bias; /* -1e6..1e6, or SAMPLER_NEVER */
} sampler_bias;

typedef struct sampler_settings {
    float temperature;                                         /* 0 = greedy */
    uint32_t top_k;                                            /* 0 = off */
    float top_p, min_p;                                        /* 1 and 0 = off */
    float repeat_penalty, presence_penalty, frequency_penalty; /* 1, 0, 0 = off */
    uint32_t penalty_last_n;                                   /* window, in tokens; 0 = penalties off */
    uint64_t seed;
    uint32_t choice, attempt;
    const sampler_bias *bias; /* copied */
    size_t n_bias;            /* at most 1024 */
    float typical_p;          /* 1 and 0 = off */
} sampler_settings;
#define SAMPLER_GREEDY ((sampler_settings){.top_p = 1.0f, .repeat_penalty = 1.0f})

/* OK, or MUGA_E_USAGE naming the setting that is out of range (NaN, negative, ...). */
MUGA_MUST_USE muga_status sampler_check(const sampler_settings *s, uint32_t n_vocab, muga_error *err);

typedef struct sampler sampler;
MUGA_MUST_USE muga_status sampler_new(const sampler_settings *s, const kernel_table *kernels, uint32_t n_vocab,
                                      sampler **out, muga_error *err);
void sampler_free(sampler *s);
/* A token that now stands in the text: it enters the penalties' window. */
void sampler_accept(sampler *s, int32_t id);
/* logits [n_vocab], finite. mask: bit i = token i may be chosen; NULL = all. position: index of the chosen token in its
 * sequence. MUGA_E_LIMIT when the mask admits nothing; MUGA_E_NONFINITE for a bias or a penalty that overflowed. */
MUGA_MUST_USE muga_status sampler_pick(sampler *s, const float *logits, const uint64_t *mask, uint64_t position,
                                       int32_t *out, muga_error *err);

/* log(sum(exp(logits))) in nats: logits[id] minus it is the token's log-probability. The same bits on every instruction
 * set. work [n_vocab] is overwritten. */
double sampler_log_partition(const kernel_table *kernels, const float *logits, uint32_t n_vocab, float *work);

#endif
