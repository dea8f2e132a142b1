/* Super-block types: 256 elements in blocks of 16 or 32, whose scales (and minima) are small integers times one f16.
 *
 * Each block is fitted by itself first. Then, round by round: integers for the scales are chosen around what the fits
 * ask for by the error they leave, and, with the codes that follow, the f16 factors are the solution of least squares
 * over all 256 elements. The best round is kept. Layouts: codec_k.c. */
#include "tensor/codec.h"
#include "tensor/fit.h"
#include "tensor/quantise_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SUPER = 256, MAX_BLOCKS = 16 };
#define ROUNDS 4 /* a fifth gains under 0.1 % of the error */

static float f16_of(float v) {
    return f16_to_f32(f32_to_f16(v));
}

/* The factor of which `largest` is at most `steps` times: not 0 unless nothing is left of `largest`. */
static float factor_of(float largest, int steps) {
    float d = f16_of(largest / (float)steps), smallest = 0x1p-24f;
    return d == 0 && fabsf(largest) > smallest / 2 ? copysignf(smallest, largest / (float)steps) : d;
}

/* ---- with minima ---- */

typedef struct ranged_type {
    int n_blocks, max_code, max_scale; /* scales and minima are 0..max_scale */
} ranged_type;

typedef struct ranged_super {
    float d, dmin, error;
    int scale[MAX_BLOCKS], min[MAX_BLOCKS];
} ranged_super;

/* Sums of the least squares over the super-block: x = d * scale q - dmin * min. */
typedef struct ranged_normal {
    double aa, ab, bb, ax, bx;
} ranged_normal;

/* The best of the nine pairs around (scale, min), which are replaced. */
static fit_sums ranged_choose(const fit_block *b, const ranged_type *t, float d, float dmin, int *scale, int *min) {
    fit_sums best = {.error = INFINITY};
    int s0 = *scale, m0 = *min;
    for (int i = 0; i < 9; i++) {
        int s = s0 + i / 3 - 1, m = m0 + i % 3 - 1;
        if (s < 0 || m < 0 || s > t->max_scale || m > t->max_scale)
            continue;
        fit_sums sums = fit_ranged_sums(b, d * (float)s, dmin * (float)m, t->max_code);
        if (sums.error < best.error) {
            best = sums;
            *scale = s;
            *min = m;
        }
    }
    return best;
}

static void ranged_round(const fit_block *b, const ranged_type *t, ranged_super *r, ranged_normal *n) {
    *n = (ranged_normal){0};
    r->error = 0;
    for (int j = 0; j < t->n_blocks; j++) {
        fit_sums sums = ranged_choose(&b[j], t, r->d, r->dmin, &r->scale[j], &r->min[j]);
        double s = r->scale[j], m = r->min[j];
        r->error += sums.error;
        n->aa += s * s * sums.qq;
        n->ab -= s * m * sums.q;
        n->bb += m * m * b[j].sum_w;
        n->ax += s * sums.xq;
        n->bx -= m * b[j].sum_wx;
    }
}

/* false: nothing to gain. */
static bool ranged_refit(const ranged_normal *n, ranged_super *r) {
    double det = n->aa * n->bb - n->ab * n->ab, d = r->d, dmin = r->dmin;
    if (det > 1e-9 * n->aa * n->bb) {
        d = (n->ax * n->bb - n->bx * n->ab) / det;
        dmin = (n->aa * n->bx - n->ab * n->ax) / det;
    } else if (n->aa > 0) {
        d = (n->ax - dmin * n->ab) / n->aa;
    }
    float d16 = f16_of((float)d), dmin16 = f16_of((float)dmin);
    if (!(d16 >= 0 && dmin16 >= 0) || isinf(d16) || isinf(dmin16) || (d16 == r->d && dmin16 == r->dmin))
        return false;
    r->d = d16;
    r->dmin = dmin16;
    return true;
}

/* Codes [256]. Where a factor, or the squares, would overflow: infinite d, codes 0. */
static void ranged_quantise(const float *x, const float *w, const ranged_type *t, ranged_super *out, uint8_t *codes) {
    int n = SUPER / t->n_blocks;
    fit_block b[MAX_BLOCKS];
    float scale[MAX_BLOCKS], min[MAX_BLOCKS], max_scale = 0, max_min = 0, whole = 0;
    for (int j = 0; j < t->n_blocks; j++) {
        fit_load(&b[j], x + j * n, w ? w + j * n : NULL, n);
        fit_ranged(&b[j], t->max_code, false, &scale[j], &min[j]);
        max_scale = scale[j] > max_scale ? scale[j] : max_scale;
        max_min = min[j] > max_min ? min[j] : max_min;
        whole += b[j].sum_wxx;
    }
    ranged_super r = {.d = factor_of(max_scale, t->max_scale), .dmin = factor_of(max_min, t->max_scale)};
    bool fits = isfinite(whole) && !isinf(r.d) && !isinf(r.dmin);
    *out = (ranged_super){.d = fits ? 0 : INFINITY, .error = whole}; /* zeros, which the rounds must better */
    memset(codes, 0, SUPER);
    if (!fits)
        return;
    for (int j = 0; j < t->n_blocks; j++) {
        r.scale[j] = r.d > 0 ? fit_round(scale[j] / r.d, 0, t->max_scale) : 0;
        r.min[j] = r.dmin > 0 ? fit_round(min[j] / r.dmin, 0, t->max_scale) : 0;
    }
    ranged_normal normal;
    for (int i = 0; i < ROUNDS; i++) {
        ranged_round(b, t, &r, &normal);
        if (!(r.error < out->error))
            break;
        *out = r;
        if (!ranged_refit(&normal, &r))
            break;
    }
    for (int j = 0; j < t->n_blocks; j++)
        fit_ranged_codes(&b[j], out->d * (float)out->scale[j], out->dmin * (float)out->min[j], t->max_code,
                         codes + j * n);
}

/* ---- without ---- */

typedef struct scaled_type {
    int n_blocks, min_scale, max_scale;
    fit_alphabet alphabet;
} scaled_type;

typedef struct scaled_super {
    float d, error;
    int scale[MAX_BLOCKS];
} scaled_super;

/* The best of `scale` and its neighbours, and of what the fit asks for with this d; it replaces scale. */
static fit_sums scaled_choose(const fit_block *b, const scaled_type *t, float d, float fitted, int *scale) {
    fit_sums best = {.error = INFINITY};
    int asked = d != 0 ? fit_round(fitted / d, t->min_scale, t->max_scale) : 0, s0 = *scale;
    for (int i = -1; i <= 2; i++) {
        int s = i == 2 ? asked : s0 + i;
        if (s < t->min_scale || s > t->max_scale || (i == 2 && abs(s - s0) <= 1))
            continue;
        fit_sums sums = fit_scaled_sums(b, d * (float)s, t->alphabet);
        if (sums.error < best.error) {
            best = sums;
            *scale = s;
        }
    }
    return best;
}

/* Rounds from one first guess of d; out is replaced by what is better. */
static void scaled_search(const fit_block *b, const scaled_type *t, const float *scale, float d, scaled_super *out) {
    scaled_super r = {.d = d};
    float before = INFINITY;
    for (int j = 0; j < t->n_blocks; j++)
        r.scale[j] = d != 0 ? fit_round(scale[j] / d, t->min_scale, t->max_scale) : 0;
    for (int i = 0; i < ROUNDS; i++, before = r.error) {
        double qq = 0, xq = 0;
        r.error = 0;
        for (int j = 0; j < t->n_blocks; j++) {
            fit_sums sums = scaled_choose(&b[j], t, r.d, scale[j], &r.scale[j]);
            double s = r.scale[j];
            r.error += sums.error;
            qq += s * s * sums.qq;
            xq += s * sums.xq;
        }
        if (r.error < out->error)
            *out = r;
        float next = qq > 0 ? f16_of((float)(xq / qq)) : r.d;
        if (!(r.error < before) || next == r.d || isinf(next))
            return;
        r.d = next;
    }
}

static void scaled_quantise(const float *x, const float *w, const scaled_type *t, scaled_super *out, uint8_t *codes) {
    int n = SUPER / t->n_blocks;
    fit_block b[MAX_BLOCKS];
    float scale[MAX_BLOCKS], extreme = 0, whole = 0;
    for (int j = 0; j < t->n_blocks; j++) {
        fit_load(&b[j], x + j * n, w ? w + j * n : NULL, n);
        scale[j] = fit_scaled(&b[j], t->alphabet);
        extreme = fabsf(scale[j]) > fabsf(extreme) ? scale[j] : extreme;
        whole += b[j].sum_wxx;
    }
    float d[2] = {factor_of(extreme, t->min_scale), factor_of(extreme, t->max_scale)};
    bool fits = isfinite(whole) && !isinf(d[0]);
    *out = (scaled_super){.d = fits ? 0 : INFINITY, .error = whole}; /* zeros, which the rounds must better */
    memset(codes, 0, SUPER);
    if (!fits)
        return;
    scaled_search(b, t, scale, d[0], out);
    if (!isinf(d[1]))
        scaled_search(b, t, scale, d[1], out);
    for (int j = 0; j < t->n_blocks; j++)
        fit_scaled_codes(&b[j], out->d * (float)out->scale[j], t->alphabet, codes + j * n);
}

/* ---- layouts ---- */

/* Two bits of each code: byte l of a half's 32 holds elements l, l + 32, l + 64, l + 96 of that half of 128. */
static void put_two_bits(const uint8_t *codes, int shift, uint8_t *out) {
    memset(out, 0, SUPER / 4);
    for (int e = 0; e < SUPER; e++)
        out[e / 128 * 32 + e % 32] |= (uint8_t)((codes[e] >> shift & 3) << e % 128 / 32 * 2);
}

/* Low nibbles: byte l of each 32 holds element l of block 2j below and of block 2j + 1 above. */
static void put_nibbles(const uint8_t *codes, uint8_t *out) {
    for (int e = 0; e < SUPER / 2; e++) {
        const uint8_t *pair = codes + e / 32 * 64 + e % 32;
        out[e] = (uint8_t)((pair[0] & 15) | (pair[32] & 15) << 4);
    }
}

/* The inverse of codec_k_scale_min. */
static void put_scales_and_minima(const ranged_super *r, uint8_t *out) {
    for (int j = 0; j < 4; j++) {
        int s = r->scale[j + 4], m = r->min[j + 4];
        out[j] = (uint8_t)(r->scale[j] | s >> 4 << 6);
        out[j + 4] = (uint8_t)(r->min[j] | m >> 4 << 6);
        out[j + 8] = (uint8_t)((s & 15) | (m & 15) << 4);
    }
}

void quantise_q2_k(const float *in, const float *weights, void *blocks, size_t n) {
    static const ranged_type type = {16, 3, 15};
    uint8_t *b = blocks, codes[SUPER];
    for (size_t i = 0; i < n; i += SUPER, b += 84) {
        ranged_super r;
        ranged_quantise(in + i, weights ? weights + i : NULL, &type, &r, codes);
        for (int j = 0; j < 16; j++)
            b[j] = (uint8_t)(r.scale[j] | r.min[j] << 4);
        put_two_bits(codes, 0, b + 16);
        codec_store_u16(b + 80, f32_to_f16(r.d));
        codec_store_u16(b + 82, f32_to_f16(r.dmin));
    }
}

void quantise_q4_k(const float *in, const float *weights, void *blocks, size_t n) {
    static const ranged_type type = {8, 15, 63};
    uint8_t *b = blocks, codes[SUPER];
    for (size_t i = 0; i < n; i += SUPER, b += 144) {
        ranged_super r;
        ranged_quantise(in + i, weights ? weights + i : NULL, &type, &r, codes);
        codec_store_u16(b, f32_to_f16(r.d));
        codec_store_u16(b + 2, f32_to_f16(r.dmin));
        put_scales_and_minima(&r, b + 4);
        put_nibbles(codes, b + 16);
    }
}

void quantise_q5_k(const float *in, const float *weights, void *blocks, size_t n) {
    static const ranged_type type = {8, 31, 63};
    uint8_t *b = blocks, codes[SUPER];
    for (size_t i = 0; i < n; i += SUPER, b += 176) {
        ranged_super r;
        ranged_quantise(in + i, weights ? weights + i : NULL, &type, &r, codes);
        codec_store_u16(b, f32_to_f16(r.d));
        codec_store_u16(b + 2, f32_to_f16(r.dmin));
        put_scales_and_minima(&r, b + 4);
        memset(b + 16, 0, 32);
        for (int e = 0; e < SUPER; e++)
            b[16 + e % 32] |= (uint8_t)((codes[e] >> 4) << e / 32);
        put_nibbles(codes, b + 48);
    }
}

void quantise_q3_k(const float *in, const float *weights, void *blocks, size_t n) {
    static const scaled_type type = {16, -32, 31, {4, NULL}};
    uint8_t *b = blocks, codes[SUPER];
    for (size_t i = 0; i < n; i += SUPER, b += 110) {
        scaled_super r;
        scaled_quantise(in + i, weights ? weights + i : NULL, &type, &r, codes);
        memset(b, 0, 32);
        for (int e = 0; e < SUPER; e++)
            b[e % 32] |= (uint8_t)((codes[e] >> 2) << e / 32);
        put_two_bits(codes, 0, b + 32);
        memset(b + 96, 0, 12);
        for (int j = 0; j < 16; j++) {
            int s = r.scale[j] + 32;
            b[96 + j % 8] |= (uint8_t)((s & 15) << j / 8 * 4);
            b[104 + j % 4] |= (uint8_t)(s >> 4 << j / 4 * 2);
        }
        codec_store_u16(b + 108, f32_to_f16(r.d));
    }
}

void quantise_q6_k(const float *in, const float *weights, void *blocks, size_t n) {
    static const scaled_type type = {16, -128, 127, {32, NULL}};
    uint8_t *b = blocks, codes[SUPER];
    for (size_t i = 0; i < n; i += SUPER, b += 210) {
        scaled_super r;
        scaled_quantise(in + i, weights ? weights + i : NULL, &type, &r, codes);
        for (int e = 0; e < SUPER / 2; e++) { /* elements e % 64 and e % 64 + 64 of each half of 128 */
            const uint8_t *pair = codes + e / 64 * 128 + e % 64;
            b[e] = (uint8_t)((pair[0] & 15) | (pair[64] & 15) << 4);
        }
        put_two_bits(codes, 4, b + 128);
        for (int j = 0; j < 16; j++)
            b[192 + j] = (uint8_t)r.scale[j];
        codec_store_u16(b + 208, f32_to_f16(r.d));
    }
}

void quantise_iq4_xs(const float *in, const float *weights, void *blocks, size_t n) {
    const scaled_type type = {8, -32, 31, {0, tensor_type_levels(TENSOR_IQ4_XS)->level}};
    uint8_t *b = blocks, codes[SUPER];
    for (size_t i = 0; i < n; i += SUPER, b += 136) {
        scaled_super r;
        scaled_quantise(in + i, weights ? weights + i : NULL, &type, &r, codes);
        unsigned high = 0;
        memset(b + 4, 0, 4);
        for (int j = 0; j < 8; j++) {
            unsigned s = (unsigned)(r.scale[j] + 32);
            b[4 + j / 2] |= (uint8_t)((s & 15) << j % 2 * 4);
            high |= s >> 4 << 2 * j;
        }
        codec_store_u16(b, f32_to_f16(r.d));
        codec_store_u16(b + 2, (uint16_t)high);
        for (int e = 0; e < SUPER / 2; e++) {
            const uint8_t *pair = codes + e / 16 * 32 + e % 16;
            b[8 + e] = (uint8_t)(pair[0] | pair[16] << 4);
        }
    }
}
