/* Tensor types of GGUF, their block layouts, and row codecs.
 * Source: the ggml type table (type ids and block layouts are part of the GGUF format). */
#ifndef MUGA_TENSOR_H
#define MUGA_TENSOR_H

#include "base/error.h"

/* Ids are GGUF's. */
typedef enum tensor_type {
    TENSOR_F32 = 0,
    TENSOR_F16 = 1,
    TENSOR_Q4_0 = 2,
    TENSOR_Q4_1 = 3,
    TENSOR_Q5_0 = 6,
    TENSOR_Q5_1 = 7,
    TENSOR_Q8_0 = 8,
    TENSOR_Q2_K = 10,
    TENSOR_Q3_K = 11,
    TENSOR_Q4_K = 12,
    TENSOR_Q5_K = 13,
    TENSOR_Q6_K = 14,
    TENSOR_IQ2_XXS = 16,
    TENSOR_IQ2_XS = 17,
    TENSOR_IQ3_XXS = 18,
    TENSOR_IQ1_S = 19,
    TENSOR_IQ4_NL = 20,
    TENSOR_IQ3_S = 21,
    TENSOR_IQ2_S = 22,
    TENSOR_IQ4_XS = 23,
    TENSOR_I8 = 24,
    TENSOR_I16 = 25,
    TENSOR_I32 = 26,
    TENSOR_I64 = 27,
    TENSOR_F64 = 28,
    TENSOR_IQ1_M = 29,
    TENSOR_BF16 = 30,
    TENSOR_TQ1_0 = 34,
    TENSOR_TQ2_0 = 35,
    TENSOR_MXFP4 = 39,
    TENSOR_NVFP4 = 40
} tensor_type;

typedef struct tensor_traits {
    const char *name;     /* "Q4_1" */
    uint32_t block_elems; /* elements a block; 1 for plain types */
    uint32_t block_bytes;
    /* Row codec: n elements, a multiple of block_elems. NULL where this version has none. Bit-equal to the format's
     * reference; quantise rounds to nearest (tensor/quantise.h has the types that search). */
    void (*dequantise)(const void *blocks, float *out, size_t n);
    void (*quantise)(const float *in, void *blocks, size_t n);
} tensor_traits;

/* NULL for an id that GGUF does not define. */
const tensor_traits *tensor_type_traits(uint32_t type);

/* A super-block of 256 elements of a type whose codes are indices of levels, taken apart. */
typedef struct tensor_codes {
    uint16_t d;        /* f16 */
    int8_t scale[16];  /* of 16 elements each; equal pairs where the type scales by 32 */
    uint8_t code[256]; /* < 16 */
} tensor_codes;

/* How codes become values: element e is d * factor * scale[e / 16] * level[code[e]]; factor is a power of two. */
typedef struct tensor_levels {
    int8_t level[16];
    float factor;
    void (*take_apart)(const uint8_t *block,
                       tensor_codes *out); /* NULL: IQ4 and FP4, whose blocks hold plain nibbles */
} tensor_levels;

/* NULL for types whose codes are the levels (less an offset). */
const tensor_levels *tensor_type_levels(tensor_type type);

/* What the scale bytes of MXFP4 (E8M0, exact in bf16) and NVFP4 (E4M3, exact in f16) multiply levels by. */
float mxfp4_scale_to_f32(uint8_t e);
float nvfp4_scale_to_f32(uint8_t s);

float f16_to_f32(uint16_t h); /* exact */
uint16_t f32_to_f16(float f); /* round to nearest even; NaN stays NaN */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f); /* round to nearest even; NaN stays quiet NaN */

/* A borrowed 2-D view: `rows` rows of `cols` elements each, contiguous. 1-D tensors have rows == 1. */
typedef struct tensor_view {
    tensor_type type;
    uint64_t cols, rows;
    const void *data; /* rows * cols / block_elems * block_bytes bytes */
} tensor_view;
#endif
