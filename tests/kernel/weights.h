/* Random and extreme weight matrices in the file's layout, for the kernel tests. */
#ifndef TESTS_KERNEL_WEIGHTS_H
#define TESTS_KERNEL_WEIGHTS_H

#include "base/rng.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

/* Codes: random bits, all set, all clear, 0x80 in every byte. Scales: random finite ones; tiny: zero and the smallest
 * that the type has; nonfinite (where the type can say it): one in twenty is an infinity or a NaN. */
typedef enum {
    WEIGHTS_RANDOM,
    WEIGHTS_ALL_ONES,
    WEIGHTS_ALL_ZERO,
    WEIGHTS_SMALLEST_CODE,
    WEIGHTS_TINY,
    WEIGHTS_NONFINITE,
    WEIGHTS_KINDS
} weights_kind;

/* Every type that has a codec, and where a block has its f16 fields. IQ1_M spreads its own, MXFP4 and NVFP4 have bytes.
 */
typedef struct weights_type {
    tensor_type type;
    int n_f16, f16_at[2];
} weights_type;
static const weights_type weights_all[] = {
    {TENSOR_F32, 0, {0}},       {TENSOR_F16, 1, {0}},    {TENSOR_BF16, 0, {0}},    {TENSOR_Q4_0, 1, {0}},
    {TENSOR_Q4_1, 2, {0, 2}},   {TENSOR_Q5_0, 1, {0}},   {TENSOR_Q5_1, 2, {0, 2}}, {TENSOR_Q8_0, 1, {0}},
    {TENSOR_Q2_K, 2, {80, 82}}, {TENSOR_Q3_K, 1, {108}}, {TENSOR_Q4_K, 2, {0, 2}}, {TENSOR_Q5_K, 2, {0, 2}},
    {TENSOR_Q6_K, 1, {208}},    {TENSOR_IQ4_NL, 1, {0}}, {TENSOR_IQ4_XS, 1, {0}},  {TENSOR_IQ2_XXS, 1, {0}},
    {TENSOR_IQ2_XS, 1, {0}},    {TENSOR_IQ2_S, 1, {0}},  {TENSOR_IQ3_XXS, 1, {0}}, {TENSOR_IQ3_S, 1, {0}},
    {TENSOR_IQ1_S, 1, {0}},     {TENSOR_IQ1_M, 0, {0}},  {TENSOR_TQ1_0, 1, {52}},  {TENSOR_TQ2_0, 1, {64}},
    {TENSOR_MXFP4, 0, {0}},     {TENSOR_NVFP4, 0, {0}},
};

enum { WEIGHTS_N_TYPE = sizeof weights_all / sizeof weights_all[0] };

static inline uint16_t weights_f16(weights_kind kind, rng *r) {
    static const uint16_t tiny[] = {0, 0x8000, 1, 0x8001, 2, 0x3ff, 0x400},
                          nonfinite[] = {0x7c00, 0xfc00, 0x7c01, 0xfe00};
    if (kind == WEIGHTS_TINY)
        return tiny[rng_below(r, 7)];
    if (kind == WEIGHTS_NONFINITE && rng_below(r, 20) == 0)
        return nonfinite[rng_below(r, 4)];
    uint32_t exponent = rng_below(r, 23), rest = rng_below(r, 2048); /* up to 2^8, denormals too */
    return (uint16_t)((rest & 1024) << 5 | exponent << 10 | (rest & 1023));
}

static inline void weights_put_u16(uint8_t *p, uint16_t h) {
    memcpy(p, &h, 2);
}

/* Scales of a block whose codes are there, so that they are what `kind` says. */
static inline void weights_put_scales(const weights_type *w, uint8_t *b, weights_kind kind, rng *r) {
    for (int i = 0; i < w->n_f16; i++)
        weights_put_u16(b + w->f16_at[i], weights_f16(kind, r));
    if (w->type == TENSOR_F32) {
        float f = f16_to_f32(weights_f16(kind, r)) * 1.1f;
        memcpy(b, &f, 4);
    } else if (w->type == TENSOR_BF16) {
        weights_put_u16(b, f32_to_bf16(f16_to_f32(weights_f16(kind, r))));
    } else if (w->type == TENSOR_IQ1_M) { /* a nibble on top of each of four words */
        uint16_t d = weights_f16(kind, r);
        for (int i = 0; i < 4; i++)
            b[49 + 2 * i] = (uint8_t)((b[49 + 2 * i] & 15) | (d >> 4 * i & 15) << 4);
    } else if (w->type == TENSOR_MXFP4) { /* 255: 2^127, so that levels above 3 overflow */
        b[0] = (uint8_t)(kind == WEIGHTS_TINY        ? rng_below(r, 3)
                         : kind == WEIGHTS_NONFINITE ? 255 - rng_below(r, 3)
                                                     : 100 + rng_below(r, 40));
    } else if (w->type == TENSOR_NVFP4) {
        for (int i = 0; i < 4; i++)
            b[i] = (uint8_t)(kind == WEIGHTS_TINY        ? rng_below(r, 9)
                             : kind == WEIGHTS_NONFINITE ? 0x7d + rng_below(r, 5)
                                                         : rng_next(r));
    }
}

static inline void weights_put_nan(const weights_type *w, uint8_t *b) {
    for (int i = 0; i < w->n_f16; i++)
        weights_put_u16(b + w->f16_at[i], 0x7c01);
    if (w->type == TENSOR_F32 || w->type == TENSOR_BF16)
        weights_put_u16(b + (w->type == TENSOR_F32 ? 2 : 0), 0x7f81);
    for (int i = 0; w->type == TENSOR_IQ1_M && i < 4; i++)
        b[49 + 2 * i] = (uint8_t)((b[49 + 2 * i] & 15) | (0x7c01 >> 4 * i & 15) << 4);
}

/* rows x cols, malloc'ed. */
static inline uint8_t *weights_new(const weights_type *w, uint64_t rows, uint64_t cols, weights_kind kind,
                                   uint64_t seed) {
    static const int fill[WEIGHTS_KINDS] = {-1, 0xff, 0, 0x80, -1, -1};
    const tensor_traits *t = tensor_type_traits((uint32_t)w->type);
    size_t n_block = (size_t)(rows * cols / t->block_elems);
    uint8_t *data = malloc(n_block * t->block_bytes);
    rng r = {seed};
    for (size_t i = 0; data && i < n_block * t->block_bytes; i++)
        data[i] = fill[kind] < 0 ? (uint8_t)rng_next(&r) : (uint8_t)fill[kind];
    for (size_t i = 0; data && i < n_block; i++)
        weights_put_scales(w, data + i * t->block_bytes, kind, &r);
    return data;
}

#endif
