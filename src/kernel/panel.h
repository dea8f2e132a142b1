/* Private to kernel/: how packed weights and quantised activations lie in memory. pack.c writes panels; every matmul
 * reads them. A change here changes pack.c, ref_matmul.c, avx2_matmul.c, avx512_matmul.c together.
 *
 * WEIGHTS. A panel is 16 output rows over all columns; panels follow each other without gaps. One 64-byte vector holds,
 * for each of the 16 rows (lanes), four bytes of consecutive k: what one int8 dot instruction takes. The last panel's
 * missing rows are zero weights.
 *
 *   F32         [k][16 f32]
 *   F16, BF16   [k][16 u16]
 *
 * Quantised types, per block of 32 k, whose eight groups of four k are g = 0..7:
 *   nibbles     4 vectors v[j]: byte (row, i) holds element 4j + i (group j) below and 16 + 4j + i (group j + 4) above
 *   bytes       8 vectors v[g]: byte (row, i) holds element 4g + i
 *
 *   Q4_1        [block] { 16 f16 d, 16 f16 m, nibbles }                              320 bytes   value d * q + m
 *   Q4_0        [block] { 16 f16 d, nibbles }                                        288         d * (q - 8)
 *   Q8_0        [block] { 16 f16 d, bytes q + 128 }                                  544         d * (q - 128)
 *   Q4_K        [super-block] { 16 f16 d, 16 f16 dmin,
 *                               8 x { 16 u8 scale, 16 u8 min, nibbles } }           2368         d * s * q - dmin * min
 *   Q6_K        [super-block] { 16 f16 d,
 *                               8 x { 2 x 16 i8 scale, nibbles, 2 high vectors } }  3360         d * s * (q - 32)
 *               high vector h, byte (row, i): bits 2j, 2j + 1 are bits 4, 5 of element 16h + 4j + i
 *
 * All codes are unsigned, so that they can be the unsigned side of u8 x s8 instructions; the offset of the type (8,
 * 128, 32) is taken off the exact integer sum: sum((q - offset) x) = sum(q x) - offset * sum(x).
 *
 * ACTIVATIONS. Tokens are grouped in tiles of up to `tile` tokens, as even as they go (tile_span). A tile of w tokens,
 * per block of 32 k, 48 w bytes, no padding:
 *   w f32  d_x             scale: amax / 127; 0 or NaN as the specification says
 *   w f32  d_x * sum_x     rounded once
 *   w i32  -8 * sum_x
 *   w i32  -32 * (sum of the first 16 codes)
 *   8 groups x w tokens x 4 int8 codes
 * Groups outside, tokens inside: a product walks the tile forwards, each token its own chain of sums. */
#ifndef MUGA_KERNEL_PANEL_H
#define MUGA_KERNEL_PANEL_H

#include "kernel/kernel.h"

#include <string.h>

enum {
    PANEL_ROWS = KERNEL_PANEL_ROWS,
    PANEL_VECTOR = 64, /* bytes: 16 rows x 4 k */
    PANEL_SCALES = 32, /* bytes: 16 f16 */
    PANEL_NIBBLES = 4 * PANEL_VECTOR,
    PANEL_Q4_0_BYTES = PANEL_SCALES + PANEL_NIBBLES,
    PANEL_Q4_1_BYTES = 2 * PANEL_SCALES + PANEL_NIBBLES,
    PANEL_Q8_0_BYTES = PANEL_SCALES + 8 * PANEL_VECTOR,
    PANEL_Q4_K_HEAD = 2 * PANEL_SCALES,
    PANEL_Q4_K_BLOCK = 2 * PANEL_ROWS + PANEL_NIBBLES,
    PANEL_Q4_K_BYTES = PANEL_Q4_K_HEAD + 8 * PANEL_Q4_K_BLOCK,
    PANEL_Q6_K_HEAD = PANEL_SCALES,
    PANEL_Q6_K_BLOCK = 2 * PANEL_ROWS + 6 * PANEL_VECTOR,
    PANEL_Q6_K_BYTES = PANEL_Q6_K_HEAD + 8 * PANEL_Q6_K_BLOCK,
    PANEL_SUPER_BLOCKS = 8, /* blocks of 32 in a super-block of 256 */
    TILE_BLOCK_BYTES = 48,  /* a token's share of one block */
    TILE_CODES = 16         /* a token's bytes before the codes */
};

static inline bool panel_is_plain(tensor_type t) {
    return t == TENSOR_F32 || t == TENSOR_F16 || t == TENSOR_BF16;
}

/* Bytes of `n_k` columns of one panel; n_k a multiple of the type's block. Both sides of a column split are thus known.
 */
static inline size_t panel_bytes(tensor_type type, uint64_t n_k) {
    switch (type) {
    case TENSOR_F32: return n_k * PANEL_ROWS * 4;
    case TENSOR_F16:
    case TENSOR_BF16: return n_k * PANEL_ROWS * 2;
    case TENSOR_Q4_0: return n_k / 32 * PANEL_Q4_0_BYTES;
    case TENSOR_Q4_1: return n_k / 32 * PANEL_Q4_1_BYTES;
    case TENSOR_Q8_0: return n_k / 32 * PANEL_Q8_0_BYTES;
    case TENSOR_Q4_K: return n_k / 256 * PANEL_Q4_K_BYTES;
    case TENSOR_Q6_K: return n_k / 256 * PANEL_Q6_K_BYTES;
    default: return 0;
    }
}

/* Bytes of one block of 32 columns of 16 rows, and of what stands before eight of them in a super-block. */
static inline size_t panel_block_bytes(tensor_type type) {
    return type == TENSOR_Q4_K   ? PANEL_Q4_K_BLOCK
           : type == TENSOR_Q6_K ? PANEL_Q6_K_BLOCK
                                 : panel_bytes(type, KERNEL_BLOCK);
}
static inline size_t panel_super_head(tensor_type type) {
    return type == TENSOR_Q4_K ? PANEL_Q4_K_HEAD : type == TENSOR_Q6_K ? PANEL_Q6_K_HEAD : 0;
}

static inline const uint8_t *panel_at(const kernel_weights *w, uint64_t i_panel) {
    return (const uint8_t *)w->panels + i_panel * panel_bytes(w->type, w->cols);
}

/* One block of 32 columns of a quantised panel: integer codes with their offset taken off, and what scales them. Q6_K
 * scales each half by itself; elsewhere scale[0] == scale[1]. min is 0 where the type has none. */
typedef struct panel_block {
    int32_t code[KERNEL_BLOCK][PANEL_ROWS];
    float scale[2][PANEL_ROWS], min[PANEL_ROWS]; /* value = scale * code + min */
} panel_block;
void panel_block_get(tensor_type type, const uint8_t *panel, uint64_t i_block, panel_block *out);

/* Columns [k0, k0 + n_k) of a panel as f32 in [k][16], bits as the type's codec gives; k0 and n_k multiples of 32. */
void panel_dequantise(tensor_type type, const uint8_t *panel, uint64_t k0, uint64_t n_k, float *out);

/* Tile i of `n_tok` tokens in tiles of at most `tile`: its first token and its width. */
static inline uint64_t tile_count(uint64_t n_tok, uint32_t tile) {
    return (n_tok + tile - 1) / tile;
}
static inline void tile_span(uint64_t n_tok, uint64_t n_tile, uint64_t i, uint64_t *first, uint32_t *width) {
    uint64_t base = n_tok / n_tile, longer = n_tok % n_tile;
    *first = i * base + (i < longer ? i : longer);
    *width = (uint32_t)(base + (i < longer));
}

#endif
