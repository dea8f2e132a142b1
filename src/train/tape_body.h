/* Template: the tape itself, and rows over the pool (tape.h). */
#include "base/mem.h"
#include "kernel/math.h"

#include <math.h>

/* An operation noted: each begins with this. */
typedef struct note {
    void (*back)(tape *t, struct note *n);
    struct note *before;
} note;

static void *tape_get(tape *t, size_t n, size_t size) {
    void *p = t->failed ? NULL : tape_memory_get(t->memory, n, size);
    t->failed = t->failed || !p;
    return p;
}

/* Room for an operation of `size` bytes, noted where the tape records. NULL when memory is out. */
static void *tape_note(tape *t, size_t size, void (*back)(tape *, note *)) {
    note *n = tape_get(t, 1, size);
    if (!n)
        return NULL;
    *n = (note){back, t->last};
    if (t->recording)
        t->last = n;
    return n;
}

/* A zero gradient for x. False when memory is out. */
static bool var_give(tape *t, var *x) {
    size_t n = (size_t)x->rows * x->cols;
    x->g = tape_get(t, n, sizeof *x->g);
    if (x->g)
        memset(x->g, 0, n * sizeof *x->g);
    return x->g != NULL;
}

var *tape_var(tape *t, uint32_t rows, uint32_t cols, bool wanted) {
    var *x = tape_get(t, 1, sizeof *x);
    real *v = tape_get(t, (size_t)rows * cols, sizeof *v);
    if (!x || !v)
        return NULL;
    *x = (var){.v = v, .stride = cols, .rows = rows, .cols = cols, .wanted = t->recording && wanted, .before = t->vars};
    t->vars = x;
    return x->wanted && !t->late && !var_give(t, x) ? NULL : x;
}

void tape_give(tape *t) {
    for (var *x = t->vars; x && !t->failed; x = x->before) {
        var *whole = x->part_of ? x->part_of : x;
        if (whole->wanted && !whole->g && !var_give(t, whole))
            return;
        if (x->part_of && whole->g)
            x->g = whole->g + (x->v - whole->v);
    }
}

void tape_backward(tape *t) {
    for (note *n = t->failed ? NULL : t->last; n; n = n->before)
        n->back(t, n);
    t->last = NULL;
}

var *tape_columns(tape *t, var *x, uint32_t from, uint32_t n) {
    var *y = x ? tape_get(t, 1, sizeof *y) : NULL;
    if (!y)
        return NULL;
    *y = (var){x->v + from, x->g ? x->g + from : NULL, x->stride, x->rows, n, x->wanted, x, t->vars};
    t->vars = y;
    return y;
}

static real *row_v(const var *x, uint32_t i) {
    return x->v + i * x->stride;
}
static real *row_g(const var *x, uint32_t i) {
    return x->g + i * x->stride;
}

/* ---- rows over the pool ---- */
#define ROWS_PER_CHUNK 8
typedef struct rows_job {
    void (*row)(void *op, uint32_t i);
    void *op;
    uint32_t n;
} rows_job;

static void rows_chunk(void *ctx, int i_chunk) {
    const rows_job *j = ctx;
    uint32_t from = (uint32_t)i_chunk * ROWS_PER_CHUNK, to = MIN(from + ROWS_PER_CHUNK, j->n);
    for (uint32_t i = from; i < to; i++)
        j->row(j->op, i);
}

static void rows_run(tape *t, uint32_t n, void (*row)(void *op, uint32_t i), void *op) {
    rows_job j = {row, op, n};
    os_pool_run(t->pool, (int)((n + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK), rows_chunk, &j);
}

/* ---- numbers ---- */
#if TRAIN_REAL == 64
static real real_exp(real x) {
    return kernel_exp(x);
}
#else
/* kernel_expf without its branches, so that a compiler can compute several at once. */
static inline real real_exp(real x) {
    float in = x < MATH_EXPF_LOW ? MATH_EXPF_LOW : x > MATH_EXPF_HIGH ? MATH_EXPF_HIGH : x;
    float t = in * MATH_EXPF_LOG2E + MATH_EXPF_ROUND, n = t - MATH_EXPF_ROUND;
    float r = in - n * MATH_EXPF_LN2_HI - n * MATH_EXPF_LN2_LO;
    float p = MATH_EXPF_C6 * r + MATH_EXPF_C5;
    p = p * r + MATH_EXPF_C4;
    p = p * r + MATH_EXPF_C3;
    p = p * r + MATH_EXPF_C2;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + 0x3F000000u;
    memcpy(&t, &bits, sizeof t);
    p = (p + p) * t;
    return x < MATH_EXPF_LOW ? 0.0f : x > MATH_EXPF_HIGH ? INFINITY : x == x ? p : x;
}
#endif

static inline real real_tanh(real x) {
    return 1 - 2 / (real_exp(x + x) + 1);
}

/* Sixteen chains, then a tree: one order, whatever the width of a vector. */
#define LANES 16
#if defined(TRAIN_AVX512) || defined(TRAIN_AVX2)
#define real_fma __builtin_fmaf
#else
#define real_fma(a, b, c) ((a) * (b) + (c))
#endif
static inline real dot(const real *restrict a, const real *restrict b, uint32_t n) {
    real lane[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t l = 0; l < LANES; l++)
            lane[l] = real_fma(a[i + l], b[i + l], lane[l]);
    for (uint32_t l = 0; i + l < n; l++)
        lane[l] = real_fma(a[i + l], b[i + l], lane[l]);
    for (uint32_t width = LANES / 2; width > 0; width /= 2)
        for (uint32_t l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

static inline void add_times(real *restrict y, const real *restrict x, real s, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        y[i] = real_fma(s, x[i], y[i]);
}
