/* The matrix product with AVX-512: its entry, and the product of float activations. The int8 products are in
 * avx512_int8_*.c. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#include "kernel/avx512_matmul.h"

/* ---- one fma chain a row; several panels at once where tokens are too few to hide its latency ---- */

INLINE __m512 load_weights(const tensor_type type, const uint8_t *w, uint64_t k) {
    if (type == TENSOR_F32)
        return _mm512_loadu_ps(w + k * PANEL_ROWS * 4);
    w += k * PANEL_ROWS * 2;
    return type == TENSOR_F16 ? load_f16(w) : load_bf16(w);
}

INLINE void f32_panels(const matmul_stretch *s, uint64_t p, const int n_panel, const tensor_type type,
                       const int width) {
    __m512 acc[2 * TILE_F32];
    const uint8_t *w = s->weights + p * s->panel_stride;
    const size_t row_bytes = PANEL_ROWS * (type == TENSOR_F32 ? 4 : 2);
    const float *x = s->tile;
    float *y = s->y + p * PANEL_ROWS;
    uint64_t n_row = s->n_row - p * PANEL_ROWS;
    UNROLL
    for (int i = 0; i < n_panel; i++)
        sums_load(s, y + i * PANEL_ROWS, rows_mask(n_row - (uint64_t)i * PANEL_ROWS), acc + i * width, width);
    for (uint64_t k = 0; k < s->n_k; k++, x += width) {
        UNROLL
        for (int i = 0; i < n_panel; i++) {
            if (s->stream)
                matmul_fetch_ahead(w + (size_t)i * s->panel_stride + k * row_bytes, 1);
            __m512 v = load_weights(type, w + (size_t)i * s->panel_stride, k);
            UNROLL
            for (int t = 0; t < width; t++)
                acc[i * width + t] = _mm512_fmadd_ps(v, _mm512_set1_ps(x[t]), acc[i * width + t]);
        }
    }
    UNROLL
    for (int i = 0; i < n_panel; i++)
        sums_store(s, y + i * PANEL_ROWS, rows_mask(n_row - (uint64_t)i * PANEL_ROWS), acc + i * width, width);
}

INLINE void f32_width(const matmul_stretch *s, const tensor_type type, const int width) {
    uint64_t p = 0;
    if (width <= 4)
        for (; p + 4 <= s->n_panel; p += 4)
            f32_panels(s, p, 4, type, width);
    for (; p + 2 <= s->n_panel; p += 2)
        f32_panels(s, p, 2, type, width);
    if (p < s->n_panel)
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
        case 6: f32_width(s, type, 6); break;                                                                          \
        case 7: f32_width(s, type, 7); break;                                                                          \
        default: f32_width(s, type, TILE_F32); break;                                                                  \
        }                                                                                                              \
    }
F32_TYPE(f32_f32, TENSOR_F32)
F32_TYPE(f32_f16, TENSOR_F16)
F32_TYPE(f32_bf16, TENSOR_BF16)

static void avx512_f32(const matmul_stretch *s) {
    switch (s->type) {
    case TENSOR_F32: f32_f32(s); break;
    case TENSOR_F16: f32_f16(s); break;
    default: f32_bf16(s); break;
    }
}

/* Codes of four or eight bits take no work to unpack: what is left to gain is a load a token shared by two panels, and
 * short rows don't pay for the unpacked piece (measured, docs/SPEED.md). */
static uint64_t set_from(tensor_type type, uint64_t cols) {
    switch (type) {
    case TENSOR_Q4_0:
    case TENSOR_Q4_1:
    case TENSOR_Q8_0: return cols < 2048 ? UINT64_MAX : 8;
    default: return 5;
    }
}

void avx512_matmul(const kernel_matmul_args *a, os_pool *pool) {
    static matmul_product *const int8[] = MATMUL_INT8_TABLE(avx512);
    static const matmul_isa isa = {TILE, TILE_F32, set_from, avx512_quantise, int8, avx512_f32};
    matmul_run(&isa, a, pool);
}

TARGET_END
#endif
