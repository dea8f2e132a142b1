/* Quantising rows, with the squared error of each element weighted where one knows what it costs.
 *
 *   F16 BF16 F32 Q8_0           round to nearest; weights change nothing
 *   Q4_0 Q4_1 Q5_0 Q5_1         without weights round to nearest of a block's range, the same bytes as the format's
 *                               reference; with weights a search
 *   Q2_K Q3_K Q4_K Q5_K Q6_K    a search for the scales and minima with the least squared error
 *   IQ4_NL IQ4_XS               the same, over the format's 16 levels
 *
 * The bytes depend on the row and its weights alone: not on threads, processor or build. Input is finite. A value
 * beyond what the type's scales can hold makes its block dequantise to infinity or NaN; the caller looks. */
#ifndef MUGA_TENSOR_QUANTISE_H
#define MUGA_TENSOR_QUANTISE_H

#include "tensor/tensor.h"

bool tensor_can_quantise(tensor_type type);
/* in [n], n a multiple of the type's block; weights [n], finite and above 0, about 1 on the average; NULL = all 1.
 * The type must be one that can be quantised. */
void tensor_quantise(tensor_type type, const float *in, const float *weights, void *blocks, size_t n);

#endif
