/* Private to kernel/: how a product is cut into work, once for every instruction set but ref. matmul.c walks tiles,
 * panels and stretches of columns; an instruction set brings three inner functions that compute one stretch for some
 * panels. */
#ifndef MUGA_KERNEL_MATMUL_H
#define MUGA_KERNEL_MATMUL_H

#include "kernel/panel.h"

/* n_panel consecutive panels times one tile of `width` tokens over one stretch of columns. y holds the sums of the
 * stretches before (unless first); each y[t][row] is one chain, so cutting columns changes no bit. */
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
    uint64_t n_row;   /* rows that exist from the first panel on; at least 16 (n_panel - 1) + 1 */
    bool first, last; /* stretch of the columns: sums begin at 0; NaN becomes the canonical one */
} matmul_stretch;

#define MATMUL_MAX_TILE 16

typedef struct matmul_isa {
    uint32_t tile, tile_f32; /* most tokens of a tile; <= MATMUL_MAX_TILE */
    void (*quantise)(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile);
    void (*int8)(const matmul_stretch *s);
    void (*f32)(const matmul_stretch *s); /* type F32, F16 or BF16 */
} matmul_isa;

void matmul_run(const matmul_isa *isa, const kernel_matmul_args *a, os_pool *pool);

#endif
