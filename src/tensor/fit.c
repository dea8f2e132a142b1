/* Least squares over one block (fit.h). The closed forms: with S1 = sum w, Sq = sum w q and so on,
 *
 *   ranged  minimise sum w (s q + o - x)^2:  s = (S1 Sxq - Sx Sq) / (S1 Sqq - Sq^2),  o = (Sqq Sx - Sq Sxq) / same,
 *           and where o may not be above 0 but would be: o = 0, s = Sxq / Sqq
 *   scaled  minimise sum w (s v - x)^2:      s = Sxv / Svv, which takes Sxv^2 / Svv off the error */
#include "tensor/fit.h"

#include <math.h>
#include <string.h>

typedef int32_t fit_mask __attribute__((vector_size(16)));

#define ALTERNATIONS 2 /* a third gains under 0.1 % of the error */
/* Grids go from small scales to large, and a larger one must be worth it: in a block of one outlier many do as well,
 * and the largest scale of a super-block is what makes all of them coarse. */
#define WORTH 0.99f

static inline fit_lanes splat(float v) {
    return (fit_lanes){v, v, v, v};
}

static inline fit_lanes choose(fit_mask m, fit_lanes a, fit_lanes b) {
    return (fit_lanes)((m & (fit_mask)a) | (~m & (fit_mask)b));
}

static inline float total(fit_lanes v) {
    return (v[0] + v[1]) + (v[2] + v[3]);
}

/* Nearest integer, halves to even: adding 1.5 * 2^23 leaves no bits for a fraction. Far values stay far. */
static inline fit_lanes nearest(fit_lanes v) {
    return (v + splat(0x1.8p23f)) - splat(0x1.8p23f);
}

/* NaN becomes low. */
static inline fit_lanes clamp(fit_lanes v, float low, float high) {
    v = choose(v > splat(low), v, splat(low));
    return choose(v < splat(high), v, splat(high));
}

int fit_round(float v, int low, int high) {
    if (!(v > (float)low))
        return low;
    return v < (float)high ? (int)lrintf(v) : high;
}

void fit_load(fit_block *b, const float *x, const float *w, int n) {
    fit_lanes sum_w = splat(0), sum_wx = splat(0), sum_wxx = splat(0);
    b->n_lanes = n / 4;
    for (int i = 0; i < b->n_lanes; i++) {
        memcpy(&b->x[i], x + 4 * i, sizeof b->x[i]);
        b->w[i] = splat(1);
        if (w)
            memcpy(&b->w[i], w + 4 * i, sizeof b->w[i]);
        fit_lanes wx = b->w[i] * b->x[i];
        sum_w += b->w[i];
        sum_wx += wx;
        sum_wxx += wx * b->x[i];
    }
    b->sum_w = total(sum_w);
    b->sum_wx = total(sum_wx);
    b->sum_wxx = total(sum_wxx);
    b->low = b->high = x[0];
    for (int i = 1; i < n; i++) {
        b->low = x[i] < b->low ? x[i] : b->low;
        b->high = x[i] > b->high ? x[i] : b->high;
    }
}

/* ---- ranged ---- */

static inline fit_lanes ranged_codes(const fit_block *b, int i, float min, float inverse, int max) {
    return clamp(nearest((b->x[i] + splat(min)) * splat(inverse)), 0, (float)max);
}

static inline float inverse_of(float scale) {
    return scale != 0 ? 1.0f / scale : 0;
}

fit_sums fit_ranged_sums(const fit_block *b, float scale, float min, int max) {
    float inverse = inverse_of(scale);
    fit_lanes sq = splat(0), sqq = splat(0), sxq = splat(0), error = splat(0);
    for (int i = 0; i < b->n_lanes; i++) {
        fit_lanes q = ranged_codes(b, i, min, inverse, max), wq = b->w[i] * q;
        fit_lanes d = (splat(scale) * q - splat(min)) - b->x[i];
        sq += wq;
        sqq += wq * q;
        sxq += wq * b->x[i];
        error += b->w[i] * d * d;
    }
    return (fit_sums){total(sq), total(sqq), total(sxq), total(error)};
}

void fit_ranged_codes(const fit_block *b, float scale, float min, int max, uint8_t *codes) {
    float inverse = inverse_of(scale);
    for (int i = 0; i < b->n_lanes; i++) {
        fit_lanes q = ranged_codes(b, i, min, inverse, max);
        for (int j = 0; j < 4; j++)
            codes[4 * i + j] = (uint8_t)q[j];
    }
}

/* Scale and min for given codes, and the error that leaves. */
static float ranged_solve(const fit_block *b, const fit_sums *t, bool signed_min, float *scale, float *min) {
    float det = b->sum_w * t->qq - t->q * t->q, s = 0, o = 0;
    bool one_code = !(det > 1e-6f * b->sum_w * t->qq); /* then any line through it will do: one through 0 */
    if (!one_code) {
        s = (b->sum_w * t->xq - b->sum_wx * t->q) / det;
        o = (t->qq * b->sum_wx - t->q * t->xq) / det;
    }
    if (one_code || (o > 0 && !signed_min)) {
        o = 0;
        s = t->qq > 0 ? t->xq / t->qq : 0;
    }
    if (!(s > 0)) {
        s = 0;
        o = b->sum_wx / b->sum_w;
        o = o > 0 && !signed_min ? 0 : o;
    }
    *scale = s;
    *min = -o;
    return b->sum_wxx + s * s * t->qq + o * o * b->sum_w + 2 * (s * o * t->q - s * t->xq - o * b->sum_wx);
}

/* The ends of the range tried, in steps inside of the ends of the block: a little beyond as well, where one code serves
 * both sides of an end; but not with few codes, where a wider range mostly makes the scales of a super-block coarse. */
#define RANGED_GRID 5
#define RANGED_STEP 0.4f
#define RANGED_FIRST -0.7f
#define FEW_CODES 3

static void ranged_keep(fit_sums t, const fit_block *b, bool signed_min, float worth, float *best, float *scale,
                        float *min) {
    float s, m, error = ranged_solve(b, &t, signed_min, &s, &m);
    if (error < *best * worth) {
        *best = error;
        *scale = s;
        *min = m;
    }
}

void fit_ranged(const fit_block *b, int max, bool signed_min, float *scale, float *min) {
    float low = b->low < 0 || signed_min ? b->low : 0, step = (b->high - low) / (float)max, best = INFINITY;
    float first = max > FEW_CODES ? RANGED_FIRST : 0;
    *scale = 0;
    *min = -low;
    if (!(step > 0))
        return;
    for (int i = 0; i < RANGED_GRID * RANGED_GRID; i++) {
        float from = low + (first + (float)(RANGED_GRID - 1 - i / RANGED_GRID) * RANGED_STEP) * step;
        float to = b->high - (first + (float)(RANGED_GRID - 1 - i % RANGED_GRID) * RANGED_STEP) * step;
        if (low == 0 && !signed_min) { /* the low end is fixed: all of the grid for the high one */
            from = 0;
            to = b->high - (first + (float)(RANGED_GRID * RANGED_GRID - 1 - i) * RANGED_STEP / RANGED_GRID) * step;
        }
        from = from > 0 && !signed_min ? 0 : from;
        if (to > from)
            ranged_keep(fit_ranged_sums(b, (to - from) / (float)max, -from, max), b, signed_min, WORTH, &best, scale,
                        min);
    }
    for (int i = 0; i < ALTERNATIONS; i++)
        ranged_keep(fit_ranged_sums(b, *scale, *min, max), b, signed_min, 1, &best, scale, min);
}

/* ---- scaled ---- */

#define N_LEVELS 16

/* Also level by level, since a vector has no table to look into: each midpoint passed adds a step. */
static inline fit_lanes nearest_level(fit_lanes v, fit_alphabet a) {
    if (!a.level)
        return clamp(nearest(v), (float)-a.zero, (float)(a.zero - 1));
    fit_lanes level = splat(a.level[0]);
    for (int i = 1; i < N_LEVELS; i++) {
        float step = (float)(a.level[i] - a.level[i - 1]);
        fit_mask above = v > splat((float)a.level[i - 1] + step / 2);
        level += (fit_lanes)(above & (fit_mask)splat(step));
    }
    return level;
}

fit_sums fit_scaled_sums(const fit_block *b, float scale, fit_alphabet a) {
    float inverse = inverse_of(scale);
    fit_lanes sqq = splat(0), sxq = splat(0), error = splat(0);
    for (int i = 0; i < b->n_lanes; i++) {
        fit_lanes v = nearest_level(b->x[i] * splat(inverse), a), wv = b->w[i] * v;
        fit_lanes d = splat(scale) * v - b->x[i];
        sqq += wv * v;
        sxq += wv * b->x[i];
        error += b->w[i] * d * d;
    }
    return (fit_sums){.qq = total(sqq), .xq = total(sxq), .error = total(error)};
}

static uint8_t code_of_level(int v, fit_alphabet a) {
    int code = 0;
    if (!a.level)
        return (uint8_t)(v + a.zero);
    while (a.level[code] < v)
        code++;
    return (uint8_t)code;
}

void fit_scaled_codes(const fit_block *b, float scale, fit_alphabet a, uint8_t *codes) {
    float inverse = inverse_of(scale);
    for (int i = 0; i < b->n_lanes; i++) {
        fit_lanes v = nearest_level(b->x[i] * splat(inverse), a);
        for (int j = 0; j < 4; j++)
            codes[4 * i + j] = code_of_level((int)v[j], a);
    }
}

/* The value of largest magnitude lies at either end of the levels, or up to a step inside or beyond. */
#define SCALED_GRID 7

static void scaled_keep(fit_sums t, const fit_block *b, float worth, float *best, float *scale) {
    if (!(t.qq > 0))
        return;
    float s = t.xq / t.qq, error = b->sum_wxx - s * t.xq;
    if (error < *best * worth) {
        *best = error;
        *scale = s;
    }
}

float fit_scaled(const fit_block *b, fit_alphabet a) {
    float extreme = -b->low > b->high ? b->low : b->high, best = b->sum_wxx, scale = 0;
    float first = a.level ? a.level[0] : (float)-a.zero, last = a.level ? a.level[N_LEVELS - 1] : (float)(a.zero - 1);
    float step = (last - first) / (a.level ? N_LEVELS - 1 : (float)(2 * a.zero - 1)) * 2 / (SCALED_GRID - 1);
    if (extreme == 0)
        return 0;
    for (int i = 0; i < 2 * SCALED_GRID; i++) {
        float shift = (float)(SCALED_GRID / 2 - i / 2) * step;
        scaled_keep(fit_scaled_sums(b, extreme / (i % 2 ? last + shift : first - shift), a), b, WORTH, &best, &scale);
    }
    for (int i = 0; i < ALTERNATIONS && scale != 0; i++)
        scaled_keep(fit_scaled_sums(b, scale, a), b, 1, &best, &scale);
    return scale;
}
