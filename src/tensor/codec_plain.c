/* Row codecs of the types whose block is 1 or 32 elements. Formulas and operation order are those of the GGUF format's
 * reference quantiser (round to nearest of a block's range), so that bytes and dequantised bits are the same.
 *
 * Block of 32, all little-endian; low nibbles hold elements 0..15, high nibbles 16..31; bit i of qh is bit 4 of
 * element i:
 *
 *   Q4_0   {f16 d; nibbles[16]}                 d * (q - 8)
 *   Q4_1   {f16 d; f16 m; nibbles[16]}          d * q + m
 *   Q5_0   {f16 d; qh[4]; nibbles[16]}          d * (q - 16)
 *   Q5_1   {f16 d; f16 m; qh[4]; nibbles[16]}   d * q + m
 *   Q8_0   {f16 d; int8 q[32]}                  d * q */
#include "tensor/codec.h"

#include <math.h>
#include <string.h>

#include "base/target_loops.h"

enum { BLOCK = 32, HALF = 16 };

void codec_f32_dequantise(const void *blocks, float *out, size_t n) {
    memcpy(out, blocks, n * sizeof *out);
}
void codec_f32_quantise(const float *in, void *blocks, size_t n) {
    memcpy(blocks, in, n * sizeof *in);
}

void codec_f16_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = codec_load_f16(b + 2 * i);
}

void codec_f16_quantise(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++)
        codec_store_u16(b + 2 * i, f32_to_f16(in[i]));
}

void codec_bf16_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = bf16_to_f32(codec_load_u16(b + 2 * i));
}

void codec_bf16_quantise(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i++)
        codec_store_u16(b + 2 * i, f32_to_bf16(in[i]));
}

/* The value of largest magnitude, with its sign; the first of equals. */
static float block_extreme(const float *x) {
    float extreme = 0;
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(x[i]) > fabsf(extreme))
            extreme = x[i];
    return extreme;
}

static void block_range(const float *x, float *min, float *max) {
    *min = *max = x[0];
    for (int i = 1; i < BLOCK; i++) {
        if (x[i] < *min)
            *min = x[i];
        if (x[i] > *max)
            *max = x[i];
    }
}

/* Truncate to 0..max; NaN gives 0. */
static uint8_t code_of(float v, int max) {
    return v >= (float)max ? (uint8_t)max : v > 0 ? (uint8_t)v : 0;
}

static float inverse_of(float d) {
    return d != 0 ? 1.0f / d : 0;
}

static void codes_write(const uint8_t code[BLOCK], uint8_t *nibbles, uint8_t *qh) {
    for (int i = 0; i < HALF; i++)
        nibbles[i] = (uint8_t)((code[i] & 15) | code[i + HALF] << 4);
    if (!qh)
        return;
    memset(qh, 0, 4);
    for (int i = 0; i < BLOCK; i++)
        qh[i / 8] |= (uint8_t)((code[i] >> 4 & 1) << i % 8);
}

static void codes_read(const uint8_t *nibbles, const uint8_t *qh, uint8_t code[BLOCK]) {
    for (int i = 0; i < HALF; i++) {
        code[i] = nibbles[i] & 15;
        code[i + HALF] = nibbles[i] >> 4;
    }
    if (!qh)
        return;
    for (int i = 0; i < BLOCK; i++)
        code[i] |= (uint8_t)((qh[i / 8] >> i % 8 & 1) << 4);
}

/* Types with a scale only: codes 0..2 * zero - 1 stand for code - zero. */
static void scaled_quantise(const float *x, uint8_t *d_out, uint8_t *nibbles, uint8_t *qh, int zero) {
    uint8_t code[BLOCK];
    float d = block_extreme(x) / (float)-zero, inverse = inverse_of(d);
    codec_store_u16(d_out, f32_to_f16(d));
    for (int i = 0; i < BLOCK; i++)
        code[i] = code_of(x[i] * inverse + ((float)zero + 0.5f), 2 * zero - 1);
    codes_write(code, nibbles, qh);
}

static void scaled_dequantise(const uint8_t *d_in, const uint8_t *nibbles, const uint8_t *qh, int zero, float *out) {
    uint8_t code[BLOCK];
    float d = codec_load_f16(d_in);
    codes_read(nibbles, qh, code);
    for (int i = 0; i < BLOCK; i++)
        out[i] = (float)(code[i] - zero) * d;
}

/* Types with a scale and a minimum: codes 0..max. */
static void ranged_quantise(const float *x, uint8_t *dm_out, uint8_t *nibbles, uint8_t *qh, int max) {
    uint8_t code[BLOCK];
    float low, high;
    block_range(x, &low, &high);
    float d = (high - low) / (float)max, inverse = inverse_of(d);
    codec_store_u16(dm_out, f32_to_f16(d));
    codec_store_u16(dm_out + 2, f32_to_f16(low));
    for (int i = 0; i < BLOCK; i++)
        code[i] = code_of((x[i] - low) * inverse + 0.5f, max);
    codes_write(code, nibbles, qh);
}

static void ranged_dequantise(const uint8_t *dm_in, const uint8_t *nibbles, const uint8_t *qh, float *out) {
    uint8_t code[BLOCK];
    float d = codec_load_f16(dm_in), m = codec_load_f16(dm_in + 2);
    codes_read(nibbles, qh, code);
    for (int i = 0; i < BLOCK; i++)
        out[i] = (float)code[i] * d + m;
}

void codec_q4_0_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 18)
        scaled_dequantise(b, b + 2, NULL, 8, out + i);
}

void codec_q4_0_quantise(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 18)
        scaled_quantise(in + i, b, b + 2, NULL, 8);
}

void codec_q4_1_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 20)
        ranged_dequantise(b, b + 4, NULL, out + i);
}

void codec_q4_1_quantise(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 20)
        ranged_quantise(in + i, b, b + 4, NULL, 15);
}

void codec_q5_0_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 22)
        scaled_dequantise(b, b + 6, b + 2, 16, out + i);
}

void codec_q5_0_quantise(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 22)
        scaled_quantise(in + i, b, b + 6, b + 2, 16);
}

void codec_q5_1_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 24)
        ranged_dequantise(b, b + 8, b + 4, out + i);
}

void codec_q5_1_quantise(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 24)
        ranged_quantise(in + i, b, b + 8, b + 4, 31);
}

void codec_q8_0_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 34) {
        float d = codec_load_f16(b);
        for (int j = 0; j < BLOCK; j++)
            out[i + (size_t)j] = (float)(int8_t)b[2 + j] * d;
    }
}

/* Nearest integer, halves away from zero, in -127..127; NaN gives 0. */
static int8_t code_of_signed(float v) {
    if (!(fabsf(v) < 127.0f))
        return v > 0 ? 127 : v < 0 ? -127 : 0;
    int whole = (int)v;
    float rest = v - (float)whole;
    return (int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
}

void codec_q8_0_quantise(const float *in, void *blocks, size_t n) {
    uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += BLOCK, b += 34) {
        float d = fabsf(block_extreme(in + i)) / 127.0f, inverse = inverse_of(d);
        codec_store_u16(b, f32_to_f16(d));
        for (int j = 0; j < BLOCK; j++)
            b[2 + j] = (uint8_t)code_of_signed(in[i + (size_t)j] * inverse);
    }
}
