/* Which quantiser serves which type; and the searching ones of the types whose blocks of 32 have their own f16 scale.
 * Layouts: codec_plain.c. */
#include "tensor/quantise.h"

#include "tensor/codec.h"
#include "tensor/fit.h"
#include "tensor/quantise_private.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32, HALF = 16 };

static void put_nibbles(const uint8_t *codes, uint8_t *out) {
    for (int i = 0; i < HALF; i++)
        out[i] = (uint8_t)((codes[i] & 15) | codes[i + HALF] << 4);
}

static void put_fifth_bits(const uint8_t *codes, uint8_t *out) {
    memset(out, 0, 4);
    for (int i = 0; i < BLOCK; i++)
        out[i / 8] |= (uint8_t)((codes[i] >> 4) << i % 8);
}

/* Rounded to what is stored before the codes are chosen. */
static float store_f16(uint8_t *out, float v) {
    uint16_t h = f32_to_f16(v);
    codec_store_u16(out, h);
    return f16_to_f32(h);
}

static void scaled_block(const float *x, const float *w, fit_alphabet a, uint8_t *d, uint8_t *codes) {
    fit_block b;
    fit_load(&b, x, w, BLOCK);
    fit_scaled_codes(&b, store_f16(d, isfinite(b.sum_wxx) ? fit_scaled(&b, a) : INFINITY), a, codes);
}

static void ranged_block(const float *x, const float *w, int max, uint8_t *d_min, uint8_t *codes) {
    fit_block b;
    float scale, min;
    fit_load(&b, x, w, BLOCK);
    fit_ranged(&b, max, true, &scale, &min);
    scale = store_f16(d_min, isfinite(b.sum_wxx) ? scale : INFINITY);
    min = -store_f16(d_min + 2, -min);
    fit_ranged_codes(&b, scale, min, max, codes);
}

static void quantise_q4_0(const float *in, const float *weights, void *blocks, size_t n) {
    uint8_t *b = blocks, codes[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK, b += 18) {
        scaled_block(in + i, weights + i, (fit_alphabet){8, NULL}, b, codes);
        put_nibbles(codes, b + 2);
    }
}

static void quantise_q5_0(const float *in, const float *weights, void *blocks, size_t n) {
    uint8_t *b = blocks, codes[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK, b += 22) {
        scaled_block(in + i, weights + i, (fit_alphabet){16, NULL}, b, codes);
        put_fifth_bits(codes, b + 2);
        put_nibbles(codes, b + 6);
    }
}

static void quantise_q4_1(const float *in, const float *weights, void *blocks, size_t n) {
    uint8_t *b = blocks, codes[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK, b += 20) {
        ranged_block(in + i, weights + i, 15, b, codes);
        put_nibbles(codes, b + 4);
    }
}

static void quantise_q5_1(const float *in, const float *weights, void *blocks, size_t n) {
    uint8_t *b = blocks, codes[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK, b += 24) {
        ranged_block(in + i, weights + i, 31, b, codes);
        put_fifth_bits(codes, b + 4);
        put_nibbles(codes, b + 8);
    }
}

static void quantise_iq4_nl(const float *in, const float *weights, void *blocks, size_t n) {
    const fit_alphabet a = {0, tensor_type_levels(TENSOR_IQ4_NL)->level};
    uint8_t *b = blocks, codes[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK, b += 18) {
        scaled_block(in + i, weights ? weights + i : NULL, a, b, codes);
        put_nibbles(codes, b + 2);
    }
}

typedef void quantiser(const float *in, const float *weights, void *blocks, size_t n);

static quantiser *searching(tensor_type type, bool weighted) {
    switch (type) {
    case TENSOR_Q4_0: return weighted ? quantise_q4_0 : NULL;
    case TENSOR_Q4_1: return weighted ? quantise_q4_1 : NULL;
    case TENSOR_Q5_0: return weighted ? quantise_q5_0 : NULL;
    case TENSOR_Q5_1: return weighted ? quantise_q5_1 : NULL;
    case TENSOR_Q2_K: return quantise_q2_k;
    case TENSOR_Q3_K: return quantise_q3_k;
    case TENSOR_Q4_K: return quantise_q4_k;
    case TENSOR_Q5_K: return quantise_q5_k;
    case TENSOR_Q6_K: return quantise_q6_k;
    case TENSOR_IQ4_NL: return quantise_iq4_nl;
    case TENSOR_IQ4_XS: return quantise_iq4_xs;
    default: return NULL;
    }
}

bool tensor_can_quantise(tensor_type type) {
    const tensor_traits *t = tensor_type_traits(type);
    return t && (t->quantise || searching(type, false));
}

void tensor_quantise(tensor_type type, const float *in, const float *weights, void *blocks, size_t n) {
    quantiser *search = searching(type, weights != NULL);
    if (search)
        search(in, weights, blocks, n);
    else
        tensor_type_traits(type)->quantise(in, blocks, n);
}
