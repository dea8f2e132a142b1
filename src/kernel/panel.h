/* Private to kernel/: how packed weights and quantised activations lie in memory. pack.c writes panels, panel.c reads
 * them back; every matmul reads them. A change here changes pack.c, panel.c and the products of every instruction set
 * together.
 *
 * WEIGHTS. A panel is 16 output rows over all columns; panels follow each other without gaps. One 64-byte vector holds,
 * for each of the 16 rows (lanes), four bytes of consecutive k: what one int8 dot instruction takes. The last panel's
 * missing rows are zero weights.
 *
 *   F32         [k][16 f32]
 *   F16, BF16   [k][16 u16]
 *
 * Quantised types, per block of 32 k, whose eight groups of four k are g = 0..7. Codes of n bits are n vectors:
 *   bytes       8 vectors v[g]: byte (row, i) holds element 4g + i
 *   nibbles     4 vectors v[j]: byte (row, i) holds element 4j + i (group j) below and 16 + 4j + i (group j + 4) above
 *   twos        2 vectors v[h]: byte (row, i), bits 2j and 2j + 1: two bits of element 16h + 4j + i (group 4h + j)
 *   ones        1 vector: byte (row, i), bit g: one bit of element 4g + i
 *   2 bits: twos; 3: twos, then ones for the bit above; 4: nibbles; 5: nibbles, then ones; 6: nibbles, then twos;
 *   8: bytes
 *
 *   [block] { scales, minima, codes }, where the type has a head [super-block] { head, 8 x block }
 *
 * Scales are 16 numbers, one a row, for 32 elements or twice 16 numbers, for elements 0..15 and for 16..31 (`halves`);
 * minima likewise. The value of code q: scale * (q - offset), scale * q + minimum, or scale * level[q].
 *
 *   type                   head        scales; minima     code   value                      bits a weight
 *   Q4_0                               f16 d              4 bits d * (q - 8)                4.5
 *   Q4_1                               f16 d; f16 m       4      d * q + m                  5
 *   Q5_0                               f16 d              5      d * (q - 16)               5.5
 *   Q5_1                               f16 d; f16 m       5      d * q + m                  6
 *   Q8_0                               f16 d              8      d * (q - 128)              8.5
 *   Q2_K                   f16 d, dmin halves: i8 s; i8 n 2      d * s * q - dmin * n       3.125
 *   Q3_K                   f16 d       halves: i8 s       3      d * s * (q - 4)            3.5625
 *   Q4_K                   f16 d, dmin i8 s; i8 n         4      d * s * q - dmin * n       4.625
 *   Q5_K                   f16 d, dmin i8 s; i8 n         5      d * s * q - dmin * n       5.625
 *   Q6_K                   f16 d       halves: i8 s       6      d * s * (q - 32)           6.5625
 *   IQ4_NL                             f16 d              4      d * level[q]               4.5
 *   IQ4_XS, IQ3_S, IQ3_XXS f16 d       i8 s               4      d * factor * s * level[q]  4.3125
 *   IQ2_XXS, IQ1_S         f16 d       i8 s               3      d * factor * s * level[q]  3.3125
 *   IQ2_XS, IQ2_S, IQ1_M   f16 d       halves: i8 s       3      d * factor * s * level[q]  3.5625
 *   TQ1_0, TQ2_0           f16 d                          2      d * (q - 1)                2.0625
 *   MXFP4                              bf16 d             4      d * level[q]               4.5
 *   NVFP4                              halves: f16 d      4      d * level[q]               5
 *
 * All codes are unsigned, so that they can be the unsigned side of u8 x s8 instructions; the offset of the type, or the
 * one that a product puts on levels, is taken off the exact integer sum:
 * sum((q - offset) x) = sum(q x) - offset * sum(x).
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
    PANEL_LAYOUT = 1, /* raised by every change of what panels look like: files keep them (kernel/test_layout) */
    PANEL_ROWS = KERNEL_PANEL_ROWS,
    PANEL_VECTOR = 64,      /* bytes: 16 rows x 4 k */
    PANEL_SUPER_BLOCKS = 8, /* blocks of 32 in a super-block of 256 */
    TILE_BLOCK_BYTES = 48,  /* a token's share of one block */
    TILE_CODES = 16         /* a token's bytes before the codes */
};

typedef enum panel_scale {
    PANEL_SCALE_F16,   /* in the block: 16 f16 */
    PANEL_SCALE_BF16,  /* in the block: 16 bf16 */
    PANEL_SCALE_SUPER, /* 16 f16 in the head times 16 i8 in the block */
    PANEL_SCALE_HEAD   /* 16 f16 in the head */
} panel_scale;

/* What a product must know when it is compiled: layout and arithmetic. Types of one shape share their products. */
typedef struct panel_shape {
    uint8_t code_bits; /* 2 3 4 5 6 8, and so many vectors a block */
    uint8_t offset;    /* a code stands for code - offset, where it isn't an index of a level */
    uint8_t level_max; /* codes are indices of 16 levels of at most this magnitude; 0: they are numbers */
    bool halves;       /* elements 0..15 and 16..31 have scales, and minima, of their own */
    bool min;
    panel_scale scale;
} panel_shape;

#define PANEL_Q4_0 ((panel_shape){.code_bits = 4, .offset = 8})
#define PANEL_Q4_1 ((panel_shape){.code_bits = 4, .min = true})
#define PANEL_Q5_0 ((panel_shape){.code_bits = 5, .offset = 16})
#define PANEL_Q5_1 ((panel_shape){.code_bits = 5, .min = true})
#define PANEL_Q8_0 ((panel_shape){.code_bits = 8, .offset = 128})
#define PANEL_Q2_K ((panel_shape){.code_bits = 2, .halves = true, .min = true, .scale = PANEL_SCALE_SUPER})
#define PANEL_Q3_K ((panel_shape){.code_bits = 3, .offset = 4, .halves = true, .scale = PANEL_SCALE_SUPER})
#define PANEL_Q4_K ((panel_shape){.code_bits = 4, .min = true, .scale = PANEL_SCALE_SUPER})
#define PANEL_Q5_K ((panel_shape){.code_bits = 5, .min = true, .scale = PANEL_SCALE_SUPER})
#define PANEL_Q6_K ((panel_shape){.code_bits = 6, .offset = 32, .halves = true, .scale = PANEL_SCALE_SUPER})
#define PANEL_IQ4_NL ((panel_shape){.code_bits = 4, .level_max = 127})
#define PANEL_IQ4_XS ((panel_shape){.code_bits = 4, .level_max = 127, .scale = PANEL_SCALE_SUPER})
#define PANEL_IQ3 ((panel_shape){.code_bits = 4, .level_max = 62, .scale = PANEL_SCALE_SUPER})
#define PANEL_IQ2_32 ((panel_shape){.code_bits = 3, .level_max = 43, .scale = PANEL_SCALE_SUPER}) /* XXS; IQ1_S */
#define PANEL_IQ2_16 ((panel_shape){.code_bits = 3, .level_max = 43, .halves = true, .scale = PANEL_SCALE_SUPER})
#define PANEL_TQ ((panel_shape){.code_bits = 2, .offset = 1, .scale = PANEL_SCALE_HEAD})
#define PANEL_MXFP4 ((panel_shape){.code_bits = 4, .level_max = 12, .scale = PANEL_SCALE_BF16})
#define PANEL_NVFP4 ((panel_shape){.code_bits = 4, .level_max = 12, .halves = true})

/* One type. pack: one file block (or super-block) of 16 rows, src[r] row r's, to the panel's block(s) at dst. */
typedef struct panel_format {
    tensor_type type;
    panel_shape shape;
    uint8_t plain_bytes; /* F32, F16, BF16: bytes an element; shape means nothing. Else 0 */
    void (*pack)(const struct panel_format *f, const uint8_t *const src[PANEL_ROWS], uint8_t *dst);
} panel_format;

/* NULL for a type without a kernel. */
const panel_format *panel_format_get(tensor_type type);

static inline bool panel_is_plain(tensor_type t) {
    return t == TENSOR_F32 || t == TENSOR_F16 || t == TENSOR_BF16;
}

/* Bytes before a block's codes, of a block, and of what stands before eight of them. */
static inline size_t panel_scale_bytes(panel_shape s) {
    size_t each = s.scale == PANEL_SCALE_HEAD ? 0 : s.scale == PANEL_SCALE_SUPER ? PANEL_ROWS : 2 * PANEL_ROWS;
    return each * (s.halves ? 2 : 1) * (s.min ? 2 : 1);
}
static inline size_t panel_block_bytes(panel_shape s) {
    return panel_scale_bytes(s) + (size_t)s.code_bits * PANEL_VECTOR;
}
static inline size_t panel_head_bytes(panel_shape s) {
    bool head = s.scale == PANEL_SCALE_SUPER || s.scale == PANEL_SCALE_HEAD;
    return head ? 2 * PANEL_ROWS * (s.min ? 2 : 1) : 0;
}

/* Bytes of `n_k` columns of one panel; n_k a multiple of the type's block. Both sides of a column split are thus known.
 */
static inline size_t panel_bytes(tensor_type type, uint64_t n_k) {
    const panel_format *f = panel_format_get(type);
    if (f->plain_bytes)
        return (size_t)n_k * PANEL_ROWS * f->plain_bytes;
    return (size_t)n_k / KERNEL_BLOCK * panel_block_bytes(f->shape) +
           (size_t)n_k / (KERNEL_BLOCK * PANEL_SUPER_BLOCKS) * panel_head_bytes(f->shape);
}

static inline const uint8_t *panel_at(const kernel_weights *w, uint64_t i_panel) {
    return (const uint8_t *)w->panels + i_panel * panel_bytes(w->type, w->cols);
}

/* One block of 32 columns of a quantised panel: integers, and what scales them. Without halves scale[0] == scale[1] and
 * min[0] == min[1]; min is 0 where the type has none. */
typedef struct panel_block {
    int32_t code[KERNEL_BLOCK][PANEL_ROWS];         /* offset taken off; or the level */
    float scale[2][PANEL_ROWS], min[2][PANEL_ROWS]; /* value = scale * code + min, of a half */
} panel_block;
void panel_block_get(const panel_format *f, const uint8_t *panel, uint64_t i_block, panel_block *out);

/* Columns [k0, k0 + n_k) of a panel as f32 in [k][16], bits as the type's codec gives; k0 and n_k multiples of 32. */
void panel_dequantise(tensor_type type, const uint8_t *panel, uint64_t k0, uint64_t n_k, float *out);

/* Tile i of n_tile: its first token and its width. Part i of k of the tiles holds part i of k of the tokens, where k
 * divides n_tile. */
static inline uint64_t tile_count(uint64_t n_tok, uint32_t tile) {
    return (n_tok + tile - 1) / tile;
}
static inline void tile_span(uint64_t n_tok, uint64_t n_tile, uint64_t i, uint64_t *first, uint32_t *width) {
    *first = n_tok * i / n_tile;
    *width = (uint32_t)(n_tok * (i + 1) / n_tile - *first);
}

#endif
