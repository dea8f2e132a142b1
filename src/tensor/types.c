/* The table of GGUF's tensor types, and the two 16-bit float formats. A type without a codec still has its name and
 * size, so that a file that holds it can be listed, checked and refused by name. */
#include "tensor/codec.h"

#include "base/mem.h"

static const tensor_traits traits[] = {
    [TENSOR_F32] = {"F32", 1, 4, codec_f32_dequantise, codec_f32_quantise},
    [TENSOR_F16] = {"F16", 1, 2, codec_f16_dequantise, codec_f16_quantise},
    [TENSOR_Q4_0] = {"Q4_0", 32, 18, codec_q4_0_dequantise, codec_q4_0_quantise},
    [TENSOR_Q4_1] = {"Q4_1", 32, 20, codec_q4_1_dequantise, codec_q4_1_quantise},
    [TENSOR_Q5_0] = {"Q5_0", 32, 22, codec_q5_0_dequantise, codec_q5_0_quantise},
    [TENSOR_Q5_1] = {"Q5_1", 32, 24, codec_q5_1_dequantise, codec_q5_1_quantise},
    [TENSOR_Q8_0] = {"Q8_0", 32, 34, codec_q8_0_dequantise, codec_q8_0_quantise},
    [TENSOR_Q2_K] = {"Q2_K", 256, 84, codec_q2_k_dequantise, NULL},
    [TENSOR_Q3_K] = {"Q3_K", 256, 110, codec_q3_k_dequantise, NULL},
    [TENSOR_Q4_K] = {"Q4_K", 256, 144, codec_q4_k_dequantise, NULL},
    [TENSOR_Q5_K] = {"Q5_K", 256, 176, codec_q5_k_dequantise, NULL},
    [TENSOR_Q6_K] = {"Q6_K", 256, 210, codec_q6_k_dequantise, NULL},
    [TENSOR_IQ2_XXS] = {"IQ2_XXS", 256, 66, codec_iq2_xxs_dequantise, NULL},
    [TENSOR_IQ2_XS] = {"IQ2_XS", 256, 74, codec_iq2_xs_dequantise, NULL},
    [TENSOR_IQ3_XXS] = {"IQ3_XXS", 256, 98, codec_iq3_xxs_dequantise, NULL},
    [TENSOR_IQ1_S] = {"IQ1_S", 256, 50, codec_iq1_s_dequantise, NULL},
    [TENSOR_IQ4_NL] = {"IQ4_NL", 32, 18, codec_iq4_nl_dequantise, NULL},
    [TENSOR_IQ3_S] = {"IQ3_S", 256, 110, codec_iq3_s_dequantise, NULL},
    [TENSOR_IQ2_S] = {"IQ2_S", 256, 82, codec_iq2_s_dequantise, NULL},
    [TENSOR_IQ4_XS] = {"IQ4_XS", 256, 136, codec_iq4_xs_dequantise, NULL},
    [TENSOR_I8] = {"I8", 1, 1, NULL, NULL},
    [TENSOR_I16] = {"I16", 1, 2, NULL, NULL},
    [TENSOR_I32] = {"I32", 1, 4, NULL, NULL},
    [TENSOR_I64] = {"I64", 1, 8, NULL, NULL},
    [TENSOR_F64] = {"F64", 1, 8, NULL, NULL},
    [TENSOR_IQ1_M] = {"IQ1_M", 256, 56, codec_iq1_m_dequantise, NULL},
    [TENSOR_BF16] = {"BF16", 1, 2, codec_bf16_dequantise, codec_bf16_quantise},
    [TENSOR_TQ1_0] = {"TQ1_0", 256, 54, codec_tq1_0_dequantise, NULL},
    [TENSOR_TQ2_0] = {"TQ2_0", 256, 66, codec_tq2_0_dequantise, NULL},
    [TENSOR_MXFP4] = {"MXFP4", 32, 17, codec_mxfp4_dequantise, NULL},
    [TENSOR_NVFP4] = {"NVFP4", 64, 36, codec_nvfp4_dequantise, NULL},
};

const tensor_traits *tensor_type_traits(uint32_t type) {
    return type < ARRAY_LEN(traits) && traits[type].name ? &traits[type] : NULL;
}

static float bits_to_f32(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t f32_to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Normal numbers move to the wider exponent by integer arithmetic; a denormal m * 2^-24 is exact as a product. */
float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31)
        return bits_to_f32(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0)
        return bits_to_f32(sign | f32_to_bits((float)mantissa * 0x1p-24f));
    return bits_to_f32(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t f32_to_f16(float f) {
    uint32_t bits = f32_to_bits(f), magnitude = bits & 0x7fffffff;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x477ff000) /* 65520: halfway from the largest f16 to the next power of two */
        return sign | 0x7c00;
    if (magnitude < 0x38800000) /* below 2^-14: adding 1/2 leaves the multiple of 2^-24 in the low bits, rounded */
        return (uint16_t)(sign | (f32_to_bits(bits_to_f32(magnitude) + 0.5f) - f32_to_bits(0.5f)));
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - (112u << 23)) >> 13);
}

float bf16_to_f32(uint16_t h) {
    return bits_to_f32((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f) {
    uint32_t bits = f32_to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
