/* Random and extreme weight matrices in the file's layout, for the kernel tests. */
#ifndef TESTS_KERNEL_WEIGHTS_H
#define TESTS_KERNEL_WEIGHTS_H

#include "base/rng.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

typedef enum { WEIGHTS_RANDOM, WEIGHTS_ALL_ONES, WEIGHTS_ALL_ZERO, WEIGHTS_SMALLEST_CODE, WEIGHTS_KINDS } weights_kind;

static const tensor_type weights_types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0,
                                            TENSOR_Q4_1, TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q6_K};
enum { WEIGHTS_N_TYPE = sizeof weights_types / sizeof weights_types[0] };

/* A finite f16: any sign, denormals and zero among them, exponents up to 2^8. */
static inline uint16_t weights_f16(rng *r) {
    return (uint16_t)(rng_below(r, 2) << 15 | rng_below(r, 23) << 10 | rng_below(r, 1024));
}

static inline void weights_put_f16(uint8_t *p, rng *r) {
    uint16_t h = weights_f16(r);
    memcpy(p, &h, 2);
}

/* rows x cols, malloc'ed. Codes are random bits, all set, all clear, or the most negative value; scales are random f16.
 */
static inline uint8_t *weights_new(tensor_type type, uint64_t rows, uint64_t cols, weights_kind kind, uint64_t seed) {
    const tensor_traits *t = tensor_type_traits((uint32_t)type);
    size_t n_block = (size_t)(rows * cols / t->block_elems);
    uint8_t *data = malloc(n_block * t->block_bytes);
    rng r = {seed};
    static const uint8_t fill[WEIGHTS_KINDS] = {0, 0xff, 0, 0x80};
    for (size_t i = 0; data && i < n_block * t->block_bytes; i++)
        data[i] = kind == WEIGHTS_RANDOM ? (uint8_t)rng_next(&r) : fill[kind];
    for (size_t i = 0; data && i < n_block; i++) {
        uint8_t *b = data + i * t->block_bytes;
        if (type == TENSOR_F32) {
            float f = kind == WEIGHTS_ALL_ZERO ? 0 : f16_to_f32(weights_f16(&r)) * (float)(1 + rng_below(&r, 9));
            memcpy(b, &f, 4);
        } else if (type == TENSOR_F16) {
            weights_put_f16(b, &r);
        } else if (type == TENSOR_BF16) {
            uint16_t h = f32_to_bf16(f16_to_f32(weights_f16(&r)));
            memcpy(b, &h, 2);
        } else if (type == TENSOR_Q6_K) {
            weights_put_f16(b + 208, &r);
        } else {
            weights_put_f16(b, &r);
        }
        if (type == TENSOR_Q4_1 || type == TENSOR_Q4_K)
            weights_put_f16(b + 2, &r);
    }
    return data;
}

#endif
