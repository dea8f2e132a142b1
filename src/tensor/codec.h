/* Private to tensor/: the row codecs that the traits table of types.c names. Each works on n elements, a multiple of
 * the type's block; blocks may lie at any address. */
#ifndef MUGA_TENSOR_CODEC_H
#define MUGA_TENSOR_CODEC_H

#include "tensor/tensor.h"

static inline uint16_t codec_load_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline void codec_store_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline float codec_load_f16(const uint8_t *p) {
    return f16_to_f32(codec_load_u16(p));
}

void codec_f32_dequantise(const void *blocks, float *out, size_t n);
void codec_f32_quantise(const float *in, void *blocks, size_t n);
void codec_f16_dequantise(const void *blocks, float *out, size_t n);
void codec_f16_quantise(const float *in, void *blocks, size_t n);
void codec_bf16_dequantise(const void *blocks, float *out, size_t n);
void codec_bf16_quantise(const float *in, void *blocks, size_t n);

void codec_q4_0_dequantise(const void *blocks, float *out, size_t n);
void codec_q4_0_quantise(const float *in, void *blocks, size_t n);
void codec_q4_1_dequantise(const void *blocks, float *out, size_t n);
void codec_q4_1_quantise(const float *in, void *blocks, size_t n);
void codec_q5_0_dequantise(const void *blocks, float *out, size_t n);
void codec_q5_0_quantise(const float *in, void *blocks, size_t n);
void codec_q5_1_dequantise(const void *blocks, float *out, size_t n);
void codec_q5_1_quantise(const float *in, void *blocks, size_t n);
void codec_q8_0_dequantise(const void *blocks, float *out, size_t n);
void codec_q8_0_quantise(const float *in, void *blocks, size_t n);

void codec_q2_k_dequantise(const void *blocks, float *out, size_t n);
void codec_q3_k_dequantise(const void *blocks, float *out, size_t n);
void codec_q4_k_dequantise(const void *blocks, float *out, size_t n);
void codec_q5_k_dequantise(const void *blocks, float *out, size_t n);
void codec_q6_k_dequantise(const void *blocks, float *out, size_t n);
void codec_iq4_nl_dequantise(const void *blocks, float *out, size_t n);
void codec_iq4_xs_dequantise(const void *blocks, float *out, size_t n);

void codec_iq2_xxs_dequantise(const void *blocks, float *out, size_t n);
void codec_iq2_xs_dequantise(const void *blocks, float *out, size_t n);
void codec_iq2_s_dequantise(const void *blocks, float *out, size_t n);
void codec_iq3_xxs_dequantise(const void *blocks, float *out, size_t n);
void codec_iq3_s_dequantise(const void *blocks, float *out, size_t n);
void codec_iq1_s_dequantise(const void *blocks, float *out, size_t n);
void codec_iq1_m_dequantise(const void *blocks, float *out, size_t n);
void codec_tq1_0_dequantise(const void *blocks, float *out, size_t n);
void codec_tq2_0_dequantise(const void *blocks, float *out, size_t n);
void codec_mxfp4_dequantise(const void *blocks, float *out, size_t n);
void codec_nvfp4_dequantise(const void *blocks, float *out, size_t n);

/* Codebooks: codec_iq_tables.c says how an entry holds its codes. */
extern const uint16_t codec_iq2_xxs_grid[256], codec_iq2_xs_grid[512], codec_iq2_s_grid[1024], codec_iq1_grid[2048];
extern const uint16_t codec_iq3_xxs_grid[256], codec_iq3_s_grid[512];

/* The 6-bit scale and minimum of block j (0..7) of a Q4_K or Q5_K super-block; s: its 12 packed bytes. */
static inline void codec_k_scale_min(const uint8_t *s, int j, uint8_t *scale, uint8_t *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (uint8_t)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
        *min = (uint8_t)((s[j + 4] >> 4) | (s[j] >> 6) << 4);
    }
}

#endif
