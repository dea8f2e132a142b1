/* Dequantisation of the super-block types (256 elements) and of the two non-linear 4-bit types. Formulas and operation
 * order are the GGUF format's reference: a scale is rounded to f32 once (d * scale), the product with the code once
 * more, the subtraction of a minimum once more. */
#include "tensor/codec.h"

#include "base/target_loops.h"

enum { SUPER = 256 };

/* Q2_K {scale4|min4<<4 [16]; codes2[64]; f16 d; f16 dmin}, blocks of 16. Byte l of a half's 32 holds, two bits each,
 * elements l, l + 32, l + 64, l + 96 of that half of 128. */
void codec_q2_k_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += SUPER, b += 84) {
        float d = codec_load_f16(b + 80), dmin = codec_load_f16(b + 82);
        for (int e = 0; e < SUPER; e++) {
            int half = e / 128, in_half = e % 128, code = b[16 + half * 32 + in_half % 32] >> in_half / 32 * 2 & 3;
            float scale = d * (float)(b[e / 16] & 15), min = dmin * (float)(b[e / 16] >> 4);
            out[i + (size_t)e] = scale * (float)code - min;
        }
    }
}

/* Q3_K {high bits[32]; codes2[64]; scale6 [12]; f16 d}, blocks of 16. Codes as in Q2_K; bit (e / 32) of high[e % 32]
 * clear means minus 4; scales stand for scale - 32. */
void codec_q3_k_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += SUPER, b += 110) {
        const uint8_t *high = b, *low = b + 32, *s = b + 96;
        float d = codec_load_f16(b + 108), scale[16];
        for (int j = 0; j < 16; j++) {
            int nibble = j < 8 ? s[j] & 15 : s[j - 8] >> 4;
            scale[j] = d * (float)((nibble | (s[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32);
        }
        for (int e = 0; e < SUPER; e++) {
            int half = e / 128, in_half = e % 128, code = low[half * 32 + in_half % 32] >> in_half / 32 * 2 & 3;
            code -= high[e % 32] >> e / 32 & 1 ? 0 : 4;
            out[i + (size_t)e] = scale[e / 16] * (float)code;
        }
    }
}

/* Q4_K {f16 d; f16 dmin; scales and minima [12]; nibbles[128]}, blocks of 32. Byte l of each 32 holds element l of
 * block 2j below and of block 2j + 1 above. */
void codec_q4_k_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += SUPER, b += 144) {
        float d = codec_load_f16(b), dmin = codec_load_f16(b + 2);
        for (int j = 0; j < 8; j++) {
            uint8_t s, m;
            codec_k_scale_min(b + 4, j, &s, &m);
            float scale = d * (float)s, min = dmin * (float)m;
            for (int l = 0; l < 32; l++)
                out[i + (size_t)(j * 32 + l)] = scale * (float)(b[16 + j / 2 * 32 + l] >> j % 2 * 4 & 15) - min;
        }
    }
}

/* Q5_K: Q4_K with high[32] before the nibbles; bit j of high[l] is bit 4 of element l of block j. */
void codec_q5_k_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += SUPER, b += 176) {
        float d = codec_load_f16(b), dmin = codec_load_f16(b + 2);
        for (int j = 0; j < 8; j++) {
            uint8_t s, m;
            codec_k_scale_min(b + 4, j, &s, &m);
            float scale = d * (float)s, min = dmin * (float)m;
            for (int l = 0; l < 32; l++) {
                int code = (b[48 + j / 2 * 32 + l] >> j % 2 * 4 & 15) | (b[16 + l] >> j & 1) << 4;
                out[i + (size_t)(j * 32 + l)] = scale * (float)code - min;
            }
        }
    }
}

/* Q6_K {nibbles[128]; high two bits[64]; int8 scale[16]; f16 d}, blocks of 16, codes stand for code - 32. In each half
 * of 128: element e has its nibble in byte e % 64 (below for e < 64), its high bits in byte e % 32 at 2 * (e / 32). */
void codec_q6_k_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += SUPER, b += 210) {
        float d = codec_load_f16(b + 208), scale[16];
        for (int j = 0; j < 16; j++)
            scale[j] = d * (float)(int8_t)b[192 + j];
        for (int e = 0; e < SUPER; e++) {
            int half = e / 128, in_half = e % 128;
            int nibble = b[half * 64 + in_half % 64] >> in_half / 64 * 4 & 15;
            int high = b[128 + half * 32 + in_half % 32] >> in_half / 32 * 2 & 3;
            out[i + (size_t)e] = scale[e / 16] * (float)((nibble | high << 4) - 32);
        }
    }
}

void codec_iq4_nl_dequantise(const void *blocks, float *out, size_t n) {
    const int8_t *level = tensor_type_levels(TENSOR_IQ4_NL)->level;
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += 32, b += 18) {
        float d = codec_load_f16(b);
        for (int l = 0; l < 32; l++)
            out[i + (size_t)l] = d * (float)level[b[2 + l % 16] >> l / 16 * 4 & 15];
    }
}

/* IQ4_XS {f16 d; u16 high scale bits; low scale nibbles[4]; nibbles[128]}, blocks of 32 laid out as IQ4_NL's. */
void codec_iq4_xs_dequantise(const void *blocks, float *out, size_t n) {
    const int8_t *level = tensor_type_levels(TENSOR_IQ4_XS)->level;
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += SUPER, b += 136) {
        float d = codec_load_f16(b);
        uint16_t high = codec_load_u16(b + 2);
        for (int j = 0; j < 8; j++) {
            int s = (b[4 + j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4;
            float scale = d * (float)(s - 32);
            for (int l = 0; l < 32; l++)
                out[i + (size_t)(j * 32 + l)] = scale * (float)level[b[8 + j * 16 + l % 16] >> l / 16 * 4 & 15];
        }
    }
}
