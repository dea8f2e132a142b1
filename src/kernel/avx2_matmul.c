/* The matrix product with AVX2: its entry, and the product of float activations. The int8 products are in
 * avx2_int8_*.c. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#include "kernel/avx2_matmul.h"

/* ---- one fma chain a row ---- */

INLINE __m256 load_weights(const tensor_type type, const uint8_t *w, uint64_t i) {
    if (type == TENSOR_F32)
        return _mm256_loadu_ps((const float *)(const void *)(w + i * 4));
    return type == TENSOR_F16 ? load_f16(w + i * 2) : load_bf16(w + i * 2);
}

/* n_panel whole panels side by side, 2 n_panel width chains; n_row: rows that exist from panel p on */
INLINE void f32_panels(const matmul_stretch *s, uint64_t p, const int n_panel, const tensor_type type,
                       const int width) {
    __m256 acc[2 * TILE];
    const uint8_t *w = s->weights + p * s->panel_stride;
    const size_t row_bytes = PANEL_ROWS * (type == TENSOR_F32 ? 4 : 2);
    const float *x = s->tile;
    float *y = s->y + p * PANEL_ROWS;
    uint64_t n_row = s->n_row - p * PANEL_ROWS;
    UNROLL
    for (int i = 0; i < 2 * n_panel; i++)
        sums_load(s, y + i * HALF, rows_mask(n_row, i), acc + i * width, width);
    for (uint64_t k = 0; k < s->n_k; k++, x += width) {
        if (s->stream) {
            UNROLL
            for (int i = 0; i < n_panel; i++)
                matmul_fetch_ahead(w + (size_t)i * s->panel_stride + k * row_bytes, 1);
        }
        if (n_panel == 1) { /* tokens outside: two registers of weights stay, one of x passes */
            __m256 low = load_weights(type, w, k * PANEL_ROWS), high = load_weights(type, w, k * PANEL_ROWS + HALF);
            UNROLL
            for (int t = 0; t < width; t++) {
                __m256 v = _mm256_set1_ps(x[t]);
                acc[t] = _mm256_fmadd_ps(low, v, acc[t]);
                acc[width + t] = _mm256_fmadd_ps(high, v, acc[width + t]);
            }
            continue;
        }
        UNROLL
        for (int i = 0; i < 2 * n_panel; i++) {
            __m256 v =
                load_weights(type, w + (size_t)(i / 2) * s->panel_stride, k * PANEL_ROWS + (uint64_t)(i % 2) * HALF);
            UNROLL
            for (int t = 0; t < width; t++)
                acc[i * width + t] = _mm256_fmadd_ps(v, _mm256_set1_ps(x[t]), acc[i * width + t]);
        }
    }
    UNROLL
    for (int i = 0; i < 2 * n_panel; i++)
        sums_store(s, y + i * HALF, rows_mask(n_row, i), acc + i * width, width);
}

INLINE void f32_width(const matmul_stretch *s, const tensor_type type, const int width) {
    uint64_t p = 0;
    if (width == 1)
        for (; p + 4 <= s->n_panel; p += 4)
            f32_panels(s, p, 4, type, width);
    if (width <= 3)
        for (; p + 2 <= s->n_panel; p += 2)
            f32_panels(s, p, 2, type, width);
    for (; p < s->n_panel; p++)
        f32_panels(s, p, 1, type, width);
}

#define F32_TYPE(name, type)                                                                                           \
    static void name(const matmul_stretch *s) {                                                                        \
        switch (s->width) {                                                                                            \
        case 1: f32_width(s, type, 1); break;                                                                          \
        case 2: f32_width(s, type, 2); break;                                                                          \
        case 3: f32_width(s, type, 3); break;                                                                          \
        case 4: f32_width(s, type, 4); break;                                                                          \
        case 5: f32_width(s, type, 5); break;                                                                          \
        default: f32_width(s, type, TILE); break;                                                                      \
        }                                                                                                              \
    }
F32_TYPE(f32_f32, TENSOR_F32)
F32_TYPE(f32_f16, TENSOR_F16)
F32_TYPE(f32_bf16, TENSOR_BF16)

void avx2_f32(const matmul_stretch *s) {
    switch (s->type) {
    case TENSOR_F32: f32_f32(s); break;
    case TENSOR_F16: f32_f16(s); break;
    default: f32_bf16(s); break;
    }
}

void avx2_matmul(const kernel_matmul_args *a, os_pool *pool) {
    static matmul_product *const int8[] = MATMUL_INT8_TABLE(avx2);
    static const matmul_isa isa = {TILE, TILE, NULL, avx2_quantise, int8, avx2_f32};
    matmul_run(&isa, a, pool);
}

TARGET_END
#endif
