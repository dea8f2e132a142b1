/* Private to avx512_int8_*.c: the int8 product of panels of any shape (panel.h), to be compiled for one shape and one
 * number of tokens at a time.
 *
 * Idea: vpdpbusd, products and fma share two of the processor's four vector units, so a block of 32 columns can't take
 * less than (8 + 2) x panels x tokens / 2 cycles, one fma more with a minimum, twice the 2 where halves have scales.
 * Whatever else there is to do must go to the other units, be rare, or hide: two panels share each load of a token's
 * numbers (of which there are two a cycle), and what costs work in a panel's block is worked out once for a whole set
 * of tiles. */
#ifndef MUGA_KERNEL_AVX512_INT8_H
#define MUGA_KERNEL_AVX512_INT8_H

#include "base/mem.h"
#include "kernel/avx512_matmul.h"

#include <assert.h>

enum {
    LEVEL_BIAS = 128, /* added to levels, so that they are unsigned */
    MOST_PANELS = 2,
    MOST_TOKENS = TILE / 2,
    MOST_SUMS = MOST_PANELS * MOST_TOKENS, /* TILE, too */
    PIECE = 16 /* blocks unpacked at a time, whole super-blocks: 20 KB, not half a first-level cache */
};

/* Unsigned codes of group g of a block; levels: the shape's, biased, where it has some. */
INLINE __m512i code_vector(const panel_shape f, const uint8_t *vectors, const int g, __m512i levels) {
    __m512i code, high;
    if (f.code_bits == 8)
        return load_vector(vectors + g * PANEL_VECTOR);
    if (f.code_bits >= 4) {
        code = load_vector(vectors + g % 4 * PANEL_VECTOR);
        code = _mm512_and_si512(g < 4 ? code : _mm512_srli_epi16(code, 4), _mm512_set1_epi8(15));
    } else {
        code = load_vector(vectors + g / 4 * PANEL_VECTOR);
        code = _mm512_and_si512(g % 4 ? _mm512_srli_epi16(code, (unsigned)(2 * (g % 4))) : code, _mm512_set1_epi8(3));
    }
    if (f.code_bits == 6) { /* two bits, from where they are to 4 and 5 */
        const int up = 4 - 2 * (g % 4);
        high = load_vector(vectors + (4 + g / 4) * PANEL_VECTOR);
        high = up >= 0 ? _mm512_slli_epi16(high, (unsigned)up) : _mm512_srli_epi16(high, (unsigned)-up);
        code = _mm512_or_si512(code, _mm512_and_si512(high, _mm512_set1_epi8(0x30)));
    }
    if (f.code_bits == 3 || f.code_bits == 5) { /* one bit, from g to the top */
        const int top = f.code_bits - 1, up = top - g;
        high = load_vector(vectors + top * PANEL_VECTOR);
        high = up >= 0 ? _mm512_slli_epi16(high, (unsigned)up) : _mm512_srli_epi16(high, (unsigned)-up);
        code = _mm512_or_si512(code, _mm512_and_si512(high, _mm512_set1_epi8((char)(1 << top))));
    }
    return f.level_max ? _mm512_shuffle_epi8(levels, code) : code;
}

/* Tokens of a tile's block, all of them or some that lie side by side. */
typedef struct tile_part {
    const uint8_t *block; /* the first token's d_x */
    size_t row;           /* bytes from a row of the block to the next: 4 x the tile's tokens */
} tile_part;

INLINE const uint8_t *part_products(const tile_part *x) {
    return x->block + x->row;
}
INLINE const uint8_t *part_offsets(const tile_part *x) {
    return x->block + 2 * x->row;
}
INLINE const uint8_t *part_firsts(const tile_part *x) {
    return x->block + 3 * x->row;
}
INLINE const uint8_t *part_codes(const tile_part *x, const int g) {
    return x->block + (size_t)(4 + g) * x->row;
}

/* What follows is for n_panel panels at once, each token's numbers loaded once for all: sums[i * width + t] and
 * acc[i * width + t] belong to panel i and token t. */

/* sums += codes of one group x the tokens' codes of that group */
INLINE void dot_group(__m512i *sums, const __m512i *codes, const uint8_t *at, const int n_panel, const int width) {
    UNROLL
    for (int t = 0; t < width; t++) {
        __m512i x = broadcast_i32(at + 4 * t);
        UNROLL
        for (int i = 0; i < n_panel; i++)
            sums[i * width + t] = _mm512_dpbusd_epi32(sums[i * width + t], codes[i], x);
    }
}

/* acc = fma(sums, scale * d_x, acc) */
INLINE void add_scaled(__m512 *acc, const __m512i *sums, const __m512 *scale, const uint8_t *d_x, const int n_panel,
                       const int width) {
    UNROLL
    for (int t = 0; t < width; t++) {
        __m512 x = broadcast_f32(d_x + 4 * t);
        UNROLL
        for (int i = 0, j = t; i < n_panel; i++, j += width)
            acc[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[j]), _mm512_mul_ps(scale[i], x), acc[j]);
    }
}

/* acc = fma(min, d_x * sum_x, acc); product: the tokens' d_x * sum_x */
INLINE void add_min(__m512 *acc, const __m512 *min, const uint8_t *product, const int n_panel, const int width) {
    UNROLL
    for (int t = 0; t < width; t++) {
        __m512 x = broadcast_f32(product + 4 * t);
        UNROLL
        for (int i = 0, j = t; i < n_panel; i++, j += width)
            acc[j] = _mm512_fmadd_ps(min[i], x, acc[j]);
    }
}

/* Scale and minimum of half h (0 where there are no halves); d, dmin: from the head, factor and sign applied. */
INLINE __m512 block_scale(const panel_shape f, const uint8_t *w, const int h, __m512 d) {
    if (f.scale == PANEL_SCALE_HEAD)
        return d;
    if (f.scale == PANEL_SCALE_SUPER)
        return _mm512_mul_ps(d, load_i8(w + h * PANEL_ROWS));
    return f.scale == PANEL_SCALE_F16 ? load_f16(w + 2 * h * PANEL_ROWS) : load_bf16(w + 2 * h * PANEL_ROWS);
}
INLINE __m512 block_min(const panel_shape f, const uint8_t *w, const int h, __m512 dmin) {
    const int i = (f.halves ? 2 : 1) + h;
    return f.scale == PANEL_SCALE_SUPER ? _mm512_mul_ps(dmin, load_i8(w + i * PANEL_ROWS))
                                        : load_f16(w + 2 * i * PANEL_ROWS);
}

/* v * 2^power for integers that allow it */
INLINE __m512i times_power(__m512i v, const int power) {
    return power >= 0 ? _mm512_slli_epi32(v, (unsigned)power) : _mm512_srai_epi32(v, (unsigned)-power);
}

/* log2 of the offset of codes, or of the levels' bias; -1: there is none */
INLINE int offset_power(const panel_shape f) {
    const int offset = f.level_max ? LEVEL_BIAS : f.offset;
    return offset ? __builtin_ctz((unsigned)offset) : -1;
}

/* ---- what a product takes of a block's weights: from a panel, or from a piece unpacked before ---- */

/* A piece of two panels, unpacked for all tokens of a stretch: codes in bytes, scales and minima worked out. */
typedef struct piece {
    _Alignas(64) uint8_t code[PIECE][8][MOST_PANELS][PANEL_VECTOR];
    _Alignas(64) float scale[PIECE][2][MOST_PANELS][PANEL_ROWS];
    _Alignas(64) float min[PIECE][2][MOST_PANELS][PANEL_ROWS];
} piece;

/* One panel's block as it is packed, or two panels' in a piece. */
typedef struct block_source {
    const uint8_t *w;
    __m512 d, dmin; /* of its super-block */
    __m512i levels;
    const piece *from;
    uint64_t i;
} block_source;

INLINE __m512i source_codes(const panel_shape f, const block_source *b, const int g, const int i, const int n_panel) {
    return n_panel == 1 ? code_vector(f, b->w + panel_scale_bytes(f), g, b->levels)
                        : load_vector(b->from->code[b->i][g][i]);
}
INLINE __m512 source_scale(const panel_shape f, const block_source *b, const int h, const int i, const int n_panel) {
    return n_panel == 1 ? block_scale(f, b->w, h, b->d) : _mm512_load_ps(b->from->scale[b->i][h][i]);
}
INLINE __m512 source_min(const panel_shape f, const block_source *b, const int h, const int i, const int n_panel) {
    return n_panel == 1 ? block_min(f, b->w, h, b->dmin) : _mm512_load_ps(b->from->min[b->i][h][i]);
}

INLINE void dot_codes(const panel_shape f, const block_source *b, const int g, const tile_part *x, __m512i *sums,
                      const int n_panel, const int width) {
    __m512i codes[MOST_PANELS];
    UNROLL
    for (int i = 0; i < n_panel; i++)
        codes[i] = source_codes(f, b, g, i, n_panel);
    dot_group(sums, codes, part_codes(x, g), n_panel, width);
}

/* The end of a block or half h of it: sums to acc; product: the tokens' d_x * sum_x */
INLINE void add_sums(const panel_shape f, const block_source *b, const int h, const tile_part *x,
                     const uint8_t *product, const __m512i *sums, __m512 *acc, const int n_panel, const int width) {
    __m512 factor[MOST_PANELS];
    UNROLL
    for (int i = 0; i < n_panel; i++)
        factor[i] = source_scale(f, b, h, i, n_panel);
    add_scaled(acc, sums, factor, x->block, n_panel, width);
    if (f.min) {
        UNROLL
        for (int i = 0; i < n_panel; i++)
            factor[i] = source_min(f, b, h, i, n_panel);
        add_min(acc, factor, product, n_panel, width);
    }
}

INLINE void block_whole(const panel_shape f, const block_source *b, const tile_part *x, __m512 *acc, const int n_panel,
                        const int width) {
    const int power = offset_power(f);
    const bool nibbles = f.code_bits == 4 || f.code_bits == 5;
    __m512i sums[MOST_SUMS];
    UNROLL
    for (int t = 0; t < width; t++) { /* from -8 sum_x */
        __m512i from = power < 0 ? _mm512_setzero_si512()
                                 : times_power(broadcast_i32(part_offsets(x) + 4 * t), power - 3);
        UNROLL
        for (int i = 0; i < n_panel; i++)
            sums[i * width + t] = from;
    }
    UNROLL
    for (int i = 0; i < 8; i++) /* both groups of a vector of nibbles while it is at hand */
        dot_codes(f, b, nibbles && n_panel == 1 ? i % 2 * 4 + i / 2 : i, x, sums, n_panel, width);
    add_sums(f, b, 0, x, part_products(x), sums, acc, n_panel, width);
}

/* d_x * the sum of each half's codes, by token */
INLINE void products_of_halves(const tile_part *x, float out[2][PANEL_ROWS], const int width) {
    const __mmask16 mask = (__mmask16)((1u << width) - 1);
    const __m512i zero = _mm512_setzero_si512();
    __m512i sum[2], all = _mm512_maskz_loadu_epi32(mask, part_offsets(x)); /* -8 sum_x */
    sum[0] = _mm512_maskz_loadu_epi32(mask, part_firsts(x));               /* -32 * sum */
    sum[1] = _mm512_sub_epi32(_mm512_slli_epi32(all, 2), sum[0]);
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m512 n = _mm512_cvtepi32_ps(_mm512_sub_epi32(zero, _mm512_srai_epi32(sum[h], 5)));
        _mm512_store_ps(out[h], _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x->block), n));
    }
    __asm__ volatile("" ::: "memory"); /* read back by broadcasts, not by shuffles of a register */
}

/* Of one token: -offset * sum of half h's codes */
INLINE __m512i half_offset(const panel_shape f, const tile_part *x, const int h, const int t) {
    __m512i sum = broadcast_i32(part_firsts(x) + 4 * t); /* -32 * sum of the first */
    if (h == 1)
        sum = _mm512_sub_epi32(_mm512_slli_epi32(broadcast_i32(part_offsets(x) + 4 * t), 2), sum);
    return times_power(sum, offset_power(f) - 5);
}

/* Each half of 16 has its own scale, so its own sums. */
INLINE void block_halves(const panel_shape f, const block_source *b, const tile_part *x, __m512 *acc, const int n_panel,
                         const int width) {
    _Alignas(64) float products[2][PANEL_ROWS];
    if (f.min)
        products_of_halves(x, products, width);
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i sums[MOST_SUMS];
        UNROLL
        for (int t = 0; t < width; t++) {
            __m512i from = offset_power(f) < 0 ? _mm512_setzero_si512() : half_offset(f, x, h, t);
            UNROLL
            for (int i = 0; i < n_panel; i++)
                sums[i * width + t] = from;
        }
        UNROLL
        for (int g = 4 * h; g < 4 * h + 4; g++)
            dot_codes(f, b, g, x, sums, n_panel, width);
        add_sums(f, b, h, x, (const uint8_t *)products[h], sums, acc, n_panel, width);
        __asm__ volatile("" ::: "memory"); /* the halves interleaved would need twice the registers */
    }
}

INLINE void block_any(const panel_shape f, const block_source *b, const tile_part *x, __m512 *acc, const int n_panel,
                      const int width) {
    if (f.halves)
        block_halves(f, b, x, acc, n_panel, width);
    else
        block_whole(f, b, x, acc, n_panel, width);
}

INLINE __m512i biased_levels(const panel_shape f, const matmul_stretch *s) {
    if (!f.level_max)
        return _mm512_setzero_si512();
    const tensor_levels *l = tensor_type_levels(s->type);
    return _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)l->level)),
                            _mm512_set1_epi8((char)LEVEL_BIAS));
}

/* The numbers at the head of a super-block, factor and sign applied. */
INLINE void take_head(const panel_shape f, const matmul_stretch *s, const uint8_t *w, block_source *b) {
    b->d = load_f16(w);
    if (f.level_max)
        b->d = _mm512_mul_ps(b->d, _mm512_set1_ps(tensor_type_levels(s->type)->factor));
    if (f.min)
        b->dmin = _mm512_xor_ps(load_f16(w + 2 * PANEL_ROWS), _mm512_set1_ps(-0.0f));
}

/* ---- one tile: one panel after the other, weights used as they come ---- */

INLINE void int8_narrow(const matmul_stretch *s, const panel_shape f, const int width) {
    const size_t bytes = panel_block_bytes(f), head = panel_head_bytes(f);
    block_source b = {.levels = biased_levels(f, s)};
    for (uint64_t p = 0; p < s->n_panel; p++) {
        __mmask16 mask = rows_mask(s->n_row - p * PANEL_ROWS);
        float *y = s->y + p * PANEL_ROWS;
        __m512 acc[TILE];
        tile_part x = {s->tile, (size_t)width * 4};
        const uint8_t *w = s->weights + p * s->panel_stride;
        sums_load(s, y, mask, acc, width);
        for (uint64_t n_block = s->n_k / KERNEL_BLOCK, n; n_block > 0; n_block -= n) {
            n = head ? PANEL_SUPER_BLOCKS : n_block;
            if (head)
                take_head(f, s, w, &b);
            w += head;
            for (uint64_t i = 0; i < n; i++, w += bytes, x.block += TILE_BLOCK_BYTES * width) {
                if (s->stream)
                    matmul_fetch_ahead(w, bytes);
                b.w = w;
                block_any(f, &b, &x, acc, 1, width);
            }
        }
        sums_store(s, y, mask, acc, width);
    }
}

/* ---- many tokens: two panels, a piece of them unpacked for all ---- */

/* n blocks of one panel from w on; the panel is the i_panel-th of the piece. Returns where it ends. */
INLINE const uint8_t *unpack_panel(const matmul_stretch *s, const panel_shape f, const uint8_t *w, __m512i levels,
                                   uint64_t n, int i_panel, piece *out) {
    const size_t bytes = panel_block_bytes(f), head = panel_head_bytes(f);
    block_source b = {.levels = levels};
    for (uint64_t i = 0; i < n; i++, w += bytes) {
        if (head && i % PANEL_SUPER_BLOCKS == 0) {
            take_head(f, s, w, &b);
            w += head;
        }
        matmul_fetch_ahead(w, bytes);
        b.w = w;
        UNROLL
        for (int g = 0; g < 8; g++)
            _mm512_store_si512(out->code[i][g][i_panel], source_codes(f, &b, g, 0, 1));
        UNROLL
        for (int h = 0; h < 2; h++) {
            if (h == 1 && !f.halves)
                continue;
            _mm512_store_ps(out->scale[i][h][i_panel], source_scale(f, &b, h, 0, 1));
            if (f.min)
                _mm512_store_ps(out->min[i][h][i_panel], source_min(f, &b, h, 0, 1));
        }
    }
    return w;
}

/* Some tokens of a tile and, between pieces, their sums for two panels. */
typedef struct tokens {
    tile_part x; /* the stretch's first block */
    uint32_t width;
    float *y; /* the first panel's first row, the first token */
    _Alignas(64) float acc[MOST_SUMS][PANEL_ROWS];
} tokens;

/* Blocks [k, k + n) of panels p and p + 1, where that exists. */
typedef struct step {
    const matmul_stretch *s;
    const piece *from;
    uint64_t p, k, n;
} step;

/* Sums of a step's panels, from y or to it; asks for what is to be written, which lies on a page of its own a token. */
INLINE void step_load(const step *st, const float *y, size_t y_stride, __m512 *acc, const int width) {
    const matmul_stretch *s = st->s;
    uint64_t n_row = s->n_row - st->p * PANEL_ROWS;
    sums_load(s, y, rows_mask(n_row), acc, width);
    sums_load(s, y + PANEL_ROWS, st->p + 1 < s->n_panel ? rows_mask(n_row - PANEL_ROWS) : 0, acc + width, width);
    for (int t = 0; t < width; t++) {
        __builtin_prefetch(y + (size_t)t * y_stride, 1);
        __builtin_prefetch(y + (size_t)t * y_stride + PANEL_ROWS, 1);
    }
}
INLINE void step_store(const step *st, float *y, __m512 *acc, const int width) {
    const matmul_stretch *s = st->s;
    uint64_t n_row = s->n_row - st->p * PANEL_ROWS;
    sums_store(s, y, rows_mask(n_row), acc, width);
    if (st->p + 1 < s->n_panel)
        sums_store(s, y + PANEL_ROWS, rows_mask(n_row - PANEL_ROWS), acc + width, width);
}

/* Between pieces */
INLINE void sums_take(__m512 *acc, float from[][PANEL_ROWS], const int width) {
    UNROLL
    for (int i = 0; i < MOST_PANELS * width; i++)
        acc[i] = _mm512_load_ps(from[i]);
}
INLINE void sums_keep(float to[][PANEL_ROWS], const __m512 *acc, const int width) {
    UNROLL
    for (int i = 0; i < MOST_PANELS * width; i++)
        _mm512_store_ps(to[i], acc[i]);
}

/* next: half a tile's piece, that a step to come will read, so fetched meanwhile */
INLINE void step_width(const panel_shape f, const step *st, tokens *t, const uint8_t *next, const int width) {
    const bool first = st->k == 0, last = st->k + st->n == st->s->n_k / KERNEL_BLOCK;
    const size_t bytes = (size_t)(TILE_BLOCK_BYTES / 4) * t->x.row;
    float *y = t->y + st->p * PANEL_ROWS;
    tile_part x = {t->x.block + st->k * bytes, t->x.row};
    block_source b = {.from = st->from};
    __m512 acc[MOST_SUMS];
    if (first)
        step_load(st, y, st->s->y_stride, acc, width);
    else
        sums_take(acc, t->acc, width);
    for (; b.i < st->n; b.i++, x.block += bytes, next += bytes / 2) {
        for (int i = 0; i < TILE * TILE_BLOCK_BYTES / 2; i += 64)
            __builtin_prefetch(next + i);
        block_any(f, &b, &x, acc, MOST_PANELS, width);
    }
    if (last)
        step_store(st, y, acc, width);
    else
        sums_keep(t->acc, acc, width);
}

INLINE void step_product(const panel_shape f, const step *st, tokens *t, const uint8_t *next) {
    switch (t->width) {
    case 3: step_width(f, st, t, next, 3); break;
    case 4: step_width(f, st, t, next, 4); break;
    case 5: step_width(f, st, t, next, 5); break;
    default: step_width(f, st, t, next, MOST_TOKENS); break;
    }
}

/* The tokens of a stretch in parts of at most MOST_TOKENS. */
static inline int cut_tiles(const matmul_stretch *s, tokens *out) {
    int n = 0;
    for (uint32_t i = 0; i < s->n_tile; i++) {
        const matmul_tile *tile = &s->tiles[i];
        uint32_t half = (tile->width + 1) / 2;
        for (uint32_t t0 = 0; t0 < tile->width; t0 += half, n++) {
            out[n].x = (tile_part){(const uint8_t *)tile->at + 4 * t0, (size_t)tile->width * 4};
            out[n].width = MIN(half, tile->width - t0);
            out[n].y = tile->y + t0 * s->y_stride;
            assert(out[n].width >= 3); /* tiles of a set are even, so more than half full */
        }
    }
    return n;
}

INLINE void int8_wide(const matmul_stretch *s, const panel_shape f) {
    const __m512i levels = biased_levels(f, s);
    const uint64_t n_block = s->n_k / KERNEL_BLOCK;
    tokens parts[2 * MATMUL_MOST_TILES];
    piece from;
    int n_part = cut_tiles(s, parts);
    for (uint64_t p = 0; p < s->n_panel; p += MOST_PANELS) {
        const uint8_t *w0 = s->weights + p * s->panel_stride;
        const uint8_t *w1 = p + 1 < s->n_panel ? w0 + s->panel_stride : w0;
        for (uint64_t k = 0, n; k < n_block; k += n) {
            n = MIN(n_block - k, PIECE);
            w0 = unpack_panel(s, f, w0, levels, n, 0, &from);
            w1 = unpack_panel(s, f, w1, levels, n, 1, &from);
            const step st = {s, &from, p, k, n};
            for (int i = 0; i < n_part; i++) {
                bool here = i + 2 < n_part; /* the next tile's piece; else the first's next */
                const tile_part *x = &parts[here ? i / 2 * 2 + 2 : 0].x;
                uint64_t k_next = here ? k : k + n < n_block ? k + n : 0, halves = k_next * 2 + (uint64_t)(i % 2) * n;
                step_product(f, &st, &parts[i], x->block + halves * (TILE_BLOCK_BYTES / 8) * x->row);
            }
        }
    }
}

/* One function per shape, holding one loop for each width. */
#define INT8_PRODUCT(name, shape)                                                                                      \
    void avx512_int8_##name(const matmul_stretch *s) {                                                                 \
        switch (s->n_tile > 1 ? 0 : s->width) {                                                                        \
        case 1: int8_narrow(s, shape, 1); break;                                                                       \
        case 2: int8_narrow(s, shape, 2); break;                                                                       \
        case 3: int8_narrow(s, shape, 3); break;                                                                       \
        case 4: int8_narrow(s, shape, 4); break;                                                                       \
        case 5: int8_narrow(s, shape, 5); break;                                                                       \
        case 6: int8_narrow(s, shape, 6); break;                                                                       \
        case 7: int8_narrow(s, shape, 7); break;                                                                       \
        case 8: int8_narrow(s, shape, 8); break;                                                                       \
        case 9: int8_narrow(s, shape, 9); break;                                                                       \
        case 10: int8_narrow(s, shape, 10); break;                                                                     \
        case 11: int8_narrow(s, shape, 11); break;                                                                     \
        case TILE: int8_narrow(s, shape, TILE); break;                                                                 \
        default: int8_wide(s, shape); break;                                                                           \
        }                                                                                                              \
    }

#endif
