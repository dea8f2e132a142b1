/* Private to avx2_quantise.c and avx512_quantise.c: a tile of tokens by means of quantise_four, which the includer has
 * defined: one block of four tokens at x[0..3], into their lanes of a tile's block of `width` tokens. */
#ifndef MUGA_KERNEL_QUANTISE_TOKENS_H
#define MUGA_KERNEL_QUANTISE_TOKENS_H

#include "kernel/matmul.h"

/* Tiles of four and more: four tokens at once; the last four may overlap those before. */
static void quantise_wide(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
    for (uint32_t t = 0; t < width; t += 4) {
        uint32_t first = t + 4 <= width ? t : width - 4;
        uint8_t *block = tile + 4 * first;
        const float *rows[4];
        for (uint32_t i = 0; i < 4; i++)
            rows[i] = x + (first + i) * x_stride;
        for (uint64_t b = 0; b < n_block; b++, block += width * TILE_BLOCK_BYTES) {
            quantise_four(rows, width, block);
            for (int i = 0; i < 4; i++)
                rows[i] += KERNEL_BLOCK;
        }
    }
}

/* Fewer tokens: four blocks of one token at once, as if they were four tokens, then each to its own place; past the
 * last block the last is repeated. */
static void quantise_tokens(const float *x, size_t x_stride, uint32_t width, uint64_t n_block, uint8_t *tile) {
    if (width >= 4) {
        quantise_wide(x, x_stride, width, n_block, tile);
        return;
    }
    for (uint32_t t = 0; t < width; t++, x += x_stride)
        for (uint64_t b = 0; b < n_block; b += 4) {
            uint64_t n = n_block - b < 4 ? n_block - b : 4;
            uint32_t four[4 * TILE_BLOCK_BYTES / 4];
            const float *blocks[4];
            for (uint64_t i = 0; i < 4; i++)
                blocks[i] = x + (b + (i < n ? i : n - 1)) * KERNEL_BLOCK;
            quantise_four(blocks, 4, (uint8_t *)four);
            for (uint64_t i = 0; i < n; i++) {
                uint32_t *out = (uint32_t *)(void *)(tile + (b + i) * width * TILE_BLOCK_BYTES) + t;
                for (uint32_t word = 0; word < TILE_BLOCK_BYTES / 4; word++)
                    out[word * width] = four[4 * word + i];
            }
        }
}

#endif
