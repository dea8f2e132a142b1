/* Private to tensor/: the searching quantisers that quantise.c names. n elements, a multiple of the type's block;
 * weights [n], or NULL for all 1. */
#ifndef MUGA_TENSOR_QUANTISE_PRIVATE_H
#define MUGA_TENSOR_QUANTISE_PRIVATE_H

#include <stddef.h>

void quantise_q2_k(const float *in, const float *weights, void *blocks, size_t n);
void quantise_q3_k(const float *in, const float *weights, void *blocks, size_t n);
void quantise_q4_k(const float *in, const float *weights, void *blocks, size_t n);
void quantise_q5_k(const float *in, const float *weights, void *blocks, size_t n);
void quantise_q6_k(const float *in, const float *weights, void *blocks, size_t n);
void quantise_iq4_xs(const float *in, const float *weights, void *blocks, size_t n);

#endif
