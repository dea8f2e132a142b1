/* Private to tensor/: least squares over one block of 16 or 32 elements, what the searching quantisers are made of.
 *
 * Two models of a block's values x with codes q, weights w:
 *   ranged  x = scale * q - min,  q in 0..max                  (a type with a minimum)
 *   scaled  x = scale * level(q)                               (a type without)
 * For given codes the best scale and min have a closed form; for given scale and min the best codes are the nearest.
 * A fit takes the best of a small grid of scales and then alternates the two.
 *
 * Four virtual lanes, added up in a fixed order, so the same bits on every processor. NaN never arises from finite
 * input below 2^60; where it would, comparisons send it to code 0. */
#ifndef MUGA_TENSOR_FIT_H
#define MUGA_TENSOR_FIT_H

#include <stdbool.h>
#include <stdint.h>

#define FIT_MAX_BLOCK 32

typedef float fit_lanes __attribute__((vector_size(16)));

typedef struct fit_block {
    fit_lanes x[FIT_MAX_BLOCK / 4], w[FIT_MAX_BLOCK / 4];
    int n_lanes; /* elements / 4 */
    float sum_w, sum_wx, sum_wxx;
    float low, high; /* of x */
} fit_block;

/* Weighted sums over a block for one choice of codes. */
typedef struct fit_sums {
    float q, qq, xq; /* of q, q^2, x q; scaled: of levels, q unset */
    float error;     /* weighted squared error with the scale and min that chose the codes */
} fit_sums;

/* n is 16 or 32; w NULL = all 1. */
void fit_load(fit_block *b, const float *x, const float *w, int n);

/* ---- ranged ---- */
/* The best scale >= 0 and min. signed_min: any min, as in Q4_1; else min >= 0, as in the super-block types. */
void fit_ranged(const fit_block *b, int max, bool signed_min, float *scale, float *min);
fit_sums fit_ranged_sums(const fit_block *b, float scale, float min, int max);
void fit_ranged_codes(const fit_block *b, float scale, float min, int max, uint8_t *codes);

/* ---- scaled ---- */
/* What codes stand for: code - zero for codes 0..2 * zero - 1; or, where level isn't NULL, level[code], 16 of them,
 * ascending. */
typedef struct fit_alphabet {
    int zero;
    const int8_t *level;
} fit_alphabet;
/* The best scale, of either sign; 0 where all is 0. */
float fit_scaled(const fit_block *b, fit_alphabet a);
fit_sums fit_scaled_sums(const fit_block *b, float scale, fit_alphabet a);
void fit_scaled_codes(const fit_block *b, float scale, fit_alphabet a, uint8_t *codes);

/* v clamped to [low, high] and rounded to nearest; NaN gives low. */
int fit_round(float v, int low, int high);

#endif
