/* Private to kernel/: how a product is cut into work, once for every instruction set but ref. matmul.c walks tiles,
 * panels and stretches of columns; an instruction set brings three inner functions that compute one stretch for some
 * panels. */
#ifndef MUGA_KERNEL_MATMUL_H
#define MUGA_KERNEL_MATMUL_H

#include "kernel/panel.h"

/* One tile of a stretch, at the stretch's first block. */
typedef struct matmul_tile {
    const void *at;
    uint32_t width;
    float *y; /* the first panel's first row, the tile's first token */
} matmul_tile;

/* n_panel consecutive panels times one tile of `width` tokens, or a set of tiles, over one stretch of columns. y holds
 * the sums of the stretches before (unless first); each y[t][row] is one chain, so cutting columns changes no bit. */
typedef struct matmul_stretch {
    tensor_type type;
    const uint8_t *weights; /* the first panel's bytes, at the stretch's first column */
    size_t panel_stride;    /* bytes from a panel to the next */
    uint64_t n_panel;
    const void *tile; /* int8: panel.h's tile, at the stretch's first block; f32: [k][width] floats */
    uint32_t width;
    uint64_t n_k; /* columns in the stretch; int8: a multiple of 32 (256 for K-quants) */
    float *y;     /* the first panel's first row, the tile's first token */
    size_t y_stride;
    uint64_t n_row;           /* rows that exist from the first panel on; at least 16 (n_panel - 1) + 1 */
    const matmul_tile *tiles; /* int8: the set, whose first is tile, width and y; one tile without set_from */
    uint32_t n_tile;
    bool first, last; /* stretch of the columns: sums begin at 0; NaN becomes the canonical one */
    bool stream;      /* the chunk reads these weights for the first time, so from memory: worth fetching ahead */
} matmul_stretch;

#define MATMUL_MAX_TILE 16

/* Tiles of a set: 11 of 12 tokens are what the engine computes at a time. */
#define MATMUL_MOST_TILES 12

/* Bytes: about what one core reads in the time that memory takes to answer, and past the 4 KB page at which the
 * processor's own prefetch stops. */
#define MATMUL_AHEAD 8192

/* Ask for what lies MATMUL_AHEAD behind a block of a panel; past the last panel nothing comes of it. */
static inline __attribute__((always_inline)) void matmul_fetch_ahead(const uint8_t *w, const size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const void *)((uintptr_t)w + MATMUL_AHEAD + i));
}

typedef void matmul_product(const matmul_stretch *s);

typedef struct matmul_isa {
    uint32_t tile, tile_f32; /* most tokens of a tile; <= MATMUL_MAX_TILE */
    /* The number of tiles from which an int8 product is faster with sets of up to MATMUL_MOST_TILES of them than with
     * one after the other; NULL: it takes one. */
    uint64_t (*set_from)(tensor_type type, uint64_t cols);
    void (*quantise)(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile);
    matmul_product *const *int8; /* by tensor_type */
    matmul_product *f32;         /* type F32, F16 or BF16 */
} matmul_isa;

void matmul_run(const matmul_isa *isa, const kernel_matmul_args *a, os_pool *pool);

/* An instruction set's int8 products, one for each shape of panel.h, and which types they serve. */
#define MATMUL_INT8_DECLARE(isa)                                                                                       \
    matmul_product isa##_int8_q4_0, isa##_int8_q4_1, isa##_int8_q5_0, isa##_int8_q5_1, isa##_int8_q8_0,                \
        isa##_int8_q2_k, isa##_int8_q3_k, isa##_int8_q4_k, isa##_int8_q5_k, isa##_int8_q6_k, isa##_int8_iq4_nl,        \
        isa##_int8_iq4_xs, isa##_int8_iq3, isa##_int8_iq2_32, isa##_int8_iq2_16, isa##_int8_tq, isa##_int8_mxfp4,      \
        isa##_int8_nvfp4
#define MATMUL_INT8_TABLE(isa)                                                                                         \
    {                                                                                                                  \
        [TENSOR_Q4_0] = isa##_int8_q4_0, [TENSOR_Q4_1] = isa##_int8_q4_1, [TENSOR_Q5_0] = isa##_int8_q5_0,             \
        [TENSOR_Q5_1] = isa##_int8_q5_1, [TENSOR_Q8_0] = isa##_int8_q8_0, [TENSOR_Q2_K] = isa##_int8_q2_k,             \
        [TENSOR_Q3_K] = isa##_int8_q3_k, [TENSOR_Q4_K] = isa##_int8_q4_k, [TENSOR_Q5_K] = isa##_int8_q5_k,             \
        [TENSOR_Q6_K] = isa##_int8_q6_k, [TENSOR_IQ4_NL] = isa##_int8_iq4_nl, [TENSOR_IQ4_XS] = isa##_int8_iq4_xs,     \
        [TENSOR_IQ3_XXS] = isa##_int8_iq3, [TENSOR_IQ3_S] = isa##_int8_iq3, [TENSOR_IQ2_XXS] = isa##_int8_iq2_32,      \
        [TENSOR_IQ1_S] = isa##_int8_iq2_32, [TENSOR_IQ2_XS] = isa##_int8_iq2_16, [TENSOR_IQ2_S] = isa##_int8_iq2_16,   \
        [TENSOR_IQ1_M] = isa##_int8_iq2_16, [TENSOR_TQ1_0] = isa##_int8_tq, [TENSOR_TQ2_0] = isa##_int8_tq,            \
        [TENSOR_MXFP4] = isa##_int8_mxfp4, [TENSOR_NVFP4] = isa##_int8_nvfp4,                                          \
    }

#endif
