/* The types whose codes are looked up: IQ1, IQ2, IQ3 (256 elements a block), the ternary TQ1_0 and TQ2_0, and the
 * 4-bit float types MXFP4 and NVFP4.
 *
 * Idea: every one of them is an integer level times a scale, so a block is taken apart into codes (indices of at most
 * 16 levels), one integer scale for each 16 elements, and d. The packer of kernel/ needs just these integers; the codec
 * here multiplies them. All products of scales are exact in f32 (11 bits of d times 5), so their order doesn't show. */
#include "tensor/codec.h"

#include "base/mem.h"

#include <string.h>

enum { SUPER = 256, GROUP = 16, N_GROUP = SUPER / GROUP };

static uint32_t load_u32(const uint8_t *p) {
    return codec_load_u16(p) | (uint32_t)codec_load_u16(p + 2) << 16;
}

/* Eight codes: 2 bits each from a codebook's entry, bit 2 from `high`. */
static void put_eight(uint8_t *code, uint16_t entry, uint32_t high) {
    for (int i = 0; i < 8; i++)
        code[i] = (uint8_t)((entry >> 2 * i & 3) | (high >> i & 1) << 2);
}

/* Four codes: 3 bits each from a codebook's entry, bit 3 from `high`. */
static void put_four(uint8_t *code, uint16_t entry, uint32_t high) {
    for (int i = 0; i < 4; i++)
        code[i] = (uint8_t)((entry >> 4 * i & 7) | (high >> i & 1) << 3);
}

/* Seven sign bits; the eighth makes their number even. */
static uint32_t eight_signs(uint32_t seven) {
    uint32_t parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

/* A scale of s + 1/2, in halves. */
static int8_t half_scale(uint32_t s) {
    return (int8_t)(2 * s + 1);
}

/* IQ2_XXS {f16 d; 8 x {u8 index[4]; u32: four times 7 signs, 4 bits of scale}}, blocks of 32. */
static void iq2_xxs_codes(const uint8_t *b, tensor_codes *out) {
    for (int j = 0; j < 8; j++) {
        const uint8_t *index = b + 2 + 8 * j;
        uint32_t word = load_u32(index + 4);
        out->scale[2 * j] = out->scale[2 * j + 1] = half_scale(word >> 28);
        for (int i = 0; i < 4; i++)
            put_eight(out->code + 32 * j + 8 * i, codec_iq2_xxs_grid[index[i]], eight_signs(word >> 7 * i & 127));
    }
    out->d = codec_load_u16(b);
}

/* IQ2_XS {f16 d; u16 {9 bits of index, 7 signs} [32]; nibbles of scale[8]}, blocks of 16. */
static void iq2_xs_codes(const uint8_t *b, tensor_codes *out) {
    for (int i = 0; i < 32; i++) {
        uint16_t word = codec_load_u16(b + 2 + 2 * i);
        put_eight(out->code + 8 * i, codec_iq2_xs_grid[word & 511], eight_signs(word >> 9));
    }
    for (int g = 0; g < N_GROUP; g++)
        out->scale[g] = half_scale(b[66 + g / 2] >> g % 2 * 4 & 15);
    out->d = codec_load_u16(b);
}

/* IQ2_S {f16 d; low index bits[32]; signs[32]; high two index bits[8]; nibbles of scale[8]}, blocks of 16. */
static void iq2_s_codes(const uint8_t *b, tensor_codes *out) {
    for (int i = 0; i < 32; i++) {
        int index = b[2 + i] | (b[66 + i / 4] >> i % 4 * 2 & 3) << 8;
        put_eight(out->code + 8 * i, codec_iq2_s_grid[index], b[34 + i]);
    }
    for (int g = 0; g < N_GROUP; g++)
        out->scale[g] = half_scale(b[74 + g / 2] >> g % 2 * 4 & 15);
    out->d = codec_load_u16(b);
}

/* IQ3_XXS {f16 d; index[64]; u32 [8]: four times 7 signs, 4 bits of scale}, blocks of 32. */
static void iq3_xxs_codes(const uint8_t *b, tensor_codes *out) {
    for (int j = 0; j < 8; j++) {
        uint32_t word = load_u32(b + 66 + 4 * j);
        out->scale[2 * j] = out->scale[2 * j + 1] = half_scale(word >> 28);
        for (int i = 0; i < 8; i++)
            put_four(out->code + 32 * j + 4 * i, codec_iq3_xxs_grid[b[2 + 8 * j + i]],
                     eight_signs(word >> i / 2 * 7 & 127) >> i % 2 * 4);
    }
    out->d = codec_load_u16(b);
}

/* IQ3_S {f16 d; low index bits[64]; high index bit[8]; signs[32]; nibbles of scale[4]}, blocks of 32. */
static void iq3_s_codes(const uint8_t *b, tensor_codes *out) {
    for (int i = 0; i < 64; i++) {
        int index = b[2 + i] | (b[66 + i / 8] >> i % 8 & 1) << 8;
        put_four(out->code + 4 * i, codec_iq3_s_grid[index], b[74 + i / 2] >> i % 2 * 4);
    }
    for (int j = 0; j < 8; j++)
        out->scale[2 * j] = out->scale[2 * j + 1] = half_scale(b[106 + j / 2] >> j % 2 * 4 & 15);
    out->d = codec_load_u16(b);
}

/* IQ1_S {f16 d; low index bits[32]; u16 [8]: four times 3 high index bits, 3 bits of scale, the shift's sign}, blocks
 * of 32. A level is -1, 0 or 1 plus or minus 1/8; bit 2 of a code says which. */
static void iq1_s_codes(const uint8_t *b, tensor_codes *out) {
    for (int j = 0; j < 8; j++) {
        uint16_t word = codec_load_u16(b + 34 + 2 * j);
        out->scale[2 * j] = out->scale[2 * j + 1] = half_scale(word >> 12 & 7);
        for (int i = 0; i < 4; i++) {
            int index = b[2 + 4 * j + i] | (word >> 3 * i & 7) << 8;
            put_eight(out->code + 32 * j + 8 * i, codec_iq1_grid[index], word & 0x8000 ? 0xff : 0);
        }
    }
    out->d = codec_load_u16(b);
}

/* IQ1_M {low index bits[32]; nibbles[16] {3 high index bits, the shift's sign}; u16 [4]: four times 3 bits of scale, a
 * nibble of d}, scales of 16, shifts of 8. */
static void iq1_m_codes(const uint8_t *b, tensor_codes *out) {
    out->d = 0;
    for (int w = 0; w < 4; w++) {
        uint16_t word = codec_load_u16(b + 48 + 2 * w);
        out->d = (uint16_t)(out->d | word >> 12 << 4 * w);
        for (int g = 0; g < 4; g++)
            out->scale[4 * w + g] = half_scale(word >> 3 * g & 7);
    }
    for (int i = 0; i < 32; i++) {
        int nibble = b[32 + i / 2] >> i % 2 * 4 & 15;
        put_eight(out->code + 8 * i, codec_iq1_grid[b[i] | (nibble & 7) << 8], nibble & 8 ? 0xff : 0);
    }
}

/* TQ1_0 {bytes[48] of five elements; bytes[4] of four; f16 d}. A byte is a fraction of 256 whose base-3 digits, the
 * first one first, are the codes. Digit n of byte l of a run of w bytes is element n * w + l of that run. */
static void tq1_0_codes(const uint8_t *b, tensor_codes *out) {
    static const struct { int at, n_byte, n_digit; } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
    uint8_t *code = out->code;
    for (int r = 0; r < 3; r++)
        for (int l = 0; l < runs[r].n_byte; l++) {
            uint8_t rest = b[runs[r].at + l];
            for (int n = 0; n < runs[r].n_digit; n++, rest = (uint8_t)(rest * 3))
                code[n * runs[r].n_byte + l] = (uint8_t)(rest * 3 >> 8);
            if (l == runs[r].n_byte - 1)
                code += runs[r].n_byte * runs[r].n_digit;
        }
    memset(out->scale, 1, sizeof out->scale);
    out->d = codec_load_u16(b + 52);
}

/* TQ2_0 {codes2[64]; f16 d}: codes as in Q2_K. */
static void tq2_0_codes(const uint8_t *b, tensor_codes *out) {
    for (int e = 0; e < SUPER; e++)
        out->code[e] = b[e / 128 * 32 + e % 32] >> e % 128 / 32 * 2 & 3;
    memset(out->scale, 1, sizeof out->scale);
    out->d = codec_load_u16(b + 64);
}

/* Levels by code; those that no code has are 0. */
static const tensor_levels levels[] = {
    [TENSOR_IQ2_XXS] = {{8, 25, 43, 0, -8, -25, -43}, 0.125f, iq2_xxs_codes},
    [TENSOR_IQ2_XS] = {{8, 25, 43, 0, -8, -25, -43}, 0.125f, iq2_xs_codes},
    [TENSOR_IQ2_S] = {{8, 25, 43, 0, -8, -25, -43}, 0.125f, iq2_s_codes},
    [TENSOR_IQ1_S] = {{-7, 1, 9, 0, -9, -1, 7}, 0.125f, iq1_s_codes},
    [TENSOR_IQ1_M] = {{-7, 1, 9, 0, -9, -1, 7}, 0.125f, iq1_m_codes},
    [TENSOR_IQ3_XXS] = {{4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62}, 0.25f, iq3_xxs_codes},
    [TENSOR_IQ3_S] = {{1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15}, 1.0f, iq3_s_codes},
    [TENSOR_IQ4_NL] = {{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}, 1.0f, NULL},
    [TENSOR_IQ4_XS] = {{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}, 1.0f, NULL},
    [TENSOR_TQ1_0] = {{-1, 0, 1}, 1.0f, tq1_0_codes},
    [TENSOR_TQ2_0] = {{-1, 0, 1, 2}, 1.0f, tq2_0_codes},
    [TENSOR_MXFP4] = {{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}, 1.0f, NULL},
    [TENSOR_NVFP4] = {{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}, 1.0f, NULL},
};

const tensor_levels *tensor_type_levels(tensor_type type) {
    return (size_t)type < ARRAY_LEN(levels) && levels[type].factor != 0 ? &levels[type] : NULL;
}

static void dequantise(tensor_type type, const uint8_t *b, float *out, size_t n) {
    const tensor_levels *l = &levels[type];
    uint32_t block_bytes = tensor_type_traits((uint32_t)type)->block_bytes;
    tensor_codes codes;
    for (size_t i = 0; i < n; i += SUPER, b += block_bytes) {
        l->take_apart(b, &codes);
        float d = f16_to_f32(codes.d) * l->factor;
        for (size_t e = 0; e < SUPER; e++)
            out[i + e] = d * (float)codes.scale[e / GROUP] * (float)l->level[codes.code[e]];
    }
}

#define CODEC(name, type)                                                                                              \
    void codec_##name##_dequantise(const void *blocks, float *out, size_t n) {                                         \
        dequantise(type, blocks, out, n);                                                                              \
    }
CODEC(iq2_xxs, TENSOR_IQ2_XXS)
CODEC(iq2_xs, TENSOR_IQ2_XS)
CODEC(iq2_s, TENSOR_IQ2_S)
CODEC(iq3_xxs, TENSOR_IQ3_XXS)
CODEC(iq3_s, TENSOR_IQ3_S)
CODEC(iq1_s, TENSOR_IQ1_S)
CODEC(iq1_m, TENSOR_IQ1_M)
CODEC(tq1_0, TENSOR_TQ1_0)
CODEC(tq2_0, TENSOR_TQ2_0)

/* ---- 4-bit floats: levels are twice their values, so scales are half of what they say ---- */

/* E8M0, a power of two */
float mxfp4_scale_to_f32(uint8_t e) {
    return bf16_to_f32(e < 2 ? (uint16_t)(0x20 << e) : (uint16_t)((e - 1) << 7));
}

/* Unsigned E4M3; the top bit is ignored, except that 0x7f, its NaN, counts as 0 */
float nvfp4_scale_to_f32(uint8_t s) {
    int exponent = s >> 3 & 15;
    float mantissa = (float)(s & 7);
    if (s == 0x7f)
        return 0;
    return exponent == 0 ? mantissa * 0x1p-10f : (8 + mantissa) * (float)(1 << exponent) * 0x1p-11f;
}

/* MXFP4 {u8 scale; nibbles[16]}, nibbles as in Q4_0 */
void codec_mxfp4_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += 32, b += 17)
        for (size_t e = 0; e < 32; e++)
            out[i + e] = mxfp4_scale_to_f32(b[0]) * (float)levels[TENSOR_MXFP4].level[b[1 + e % 16] >> e / 16 * 4 & 15];
}

/* NVFP4 {u8 scale[4]; nibbles[4][8]}, blocks of 16: byte l of each 8 holds element l below and l + 8 above. */
void codec_nvfp4_dequantise(const void *blocks, float *out, size_t n) {
    const uint8_t *b = blocks;
    for (size_t i = 0; i < n; i += 64, b += 36)
        for (size_t e = 0; e < 64; e++) {
            int nibble = b[4 + e / 16 * 8 + e % 8] >> e % 16 / 8 * 4 & 15;
            out[i + e] = nvfp4_scale_to_f32(b[e / 16]) * (float)levels[TENSOR_NVFP4].level[nibble];
        }
}
