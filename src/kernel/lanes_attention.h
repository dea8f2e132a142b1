/* Attention over 16 lanes, written once for every register width. Specification: ref_attention.c.
 *
 * The idea: a row (one token, one head) is a chain of its own, so rows that read the same keys (the heads of one KV
 * group, tokens of one sequence that follow each other) go through a block together. A vector of K, loaded once, serves
 * up to GROUP_ROWS rows; so does one of V. No score leaves the stack, nothing is allocated.
 *
 *   chunk = slice of tokens x KV head [x part of its query heads]          handed out by the pool
 *     run of tokens of one sequence -> at most TILE_ROWS rows
 *       block of 64 positions, ascending: K and V of the block stay in the first-level cache
 *         group of GROUP_ROWS rows: scores -> softmax -> values
 */
#ifndef MUGA_KERNEL_LANES_ATTENTION_H
#define MUGA_KERNEL_LANES_ATTENTION_H

#include "kernel/internal.h"
#include "kernel/lanes_kv.h"
#include "kernel/lanes_math.h"

#include <assert.h>
#include <string.h>

enum {
    GROUP_ROWS = 6, /* 6 x 4 sums of 16 lanes fill 32 registers, 6 x 1 fill 8 */
    TILE_ROWS = 48  /* a block is read once for so many rows */
};
/* Work below so many multiply-adds is done by the caller alone: waking the pool would cost more. */
#define ATTENTION_INLINE_WORK (1u << 16)

typedef struct attn_row {
    const float *q;      /* [head_dim] */
    float *out;          /* [head_dim]: the sum of values so far */
    uint32_t first, pos; /* visible keys: first .. pos */
    float m, l;          /* largest score, sum of exp(score - m) so far */
} attn_row;

/* The keys and values of one KV head in one block, and those that come next: each row of a block asks for the same row
 * of the next one, since hardware prefetch stops where a head's stretch of a page ends. */
typedef struct attn_block {
    const uint8_t *k, *v, *next_k, *next_v;
    size_t dim, bytes;                   /* of k, and of v */
    const uint16_t *k_scales, *v_scales; /* [blocks of 32 d][64], of q8 */
} attn_block;

/* For d in [d, d_end) sum[r] = chain of q_r[d] K[d][j ..]: s[r][j ..] becomes it, or with scales fma(it, scale, s[r][j
 * ..]). Lanes are positions. */
LANES_INLINE void scores_chunk(const attn_row *rows, const int n_row, const int n_vec, const kernel_kv_type type,
                               const attn_block *b, size_t d, size_t d_end, const size_t j, float s[][BLOCK]) {
    v16 sum[GROUP_ROWS][BLOCK_VECS];
    const uint16_t *scales = b->k_scales + d / KV_SCALE_BLOCK * BLOCK + j;
    bool more = d != 0;
#pragma GCC unroll 8
    for (int r = 0; r < n_row; r++)
#pragma GCC unroll 8
        for (int i = 0; i < n_vec; i++)
            sum[r][i] = v_zero();
    for (; d < d_end; d++) {
        v16 k[BLOCK_VECS];
#pragma GCC unroll 8
        for (int i = 0; i < n_vec; i++)
            k[i] = element_load(b->k, d * BLOCK + j + 16 * (size_t)i, type);
        element_prefetch(b->next_k, d * BLOCK + j, 16 * (size_t)n_vec, type);
#pragma GCC unroll 8
        for (int r = 0; r < n_row; r++) {
            v16 x = v_set(rows[r].q[d]);
#pragma GCC unroll 8
            for (int i = 0; i < n_vec; i++)
                sum[r][i] = v_fma(x, k[i], sum[r][i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_vec; i++) {
        v16 scale = type == KERNEL_KV_Q8 ? v_load_bf16(scales + 16 * i) : v_zero();
#pragma GCC unroll 8
        for (int r = 0; r < n_row; r++) {
            float *to = &s[r][j + 16 * (size_t)i];
            v_store(to, type == KERNEL_KV_Q8 ? v_fma(sum[r][i], scale, more ? v_load(to) : v_zero()) : sum[r][i]);
        }
    }
}

/* s[r][j] = q_r K[.][j] for all 64 positions. n_row, n_vec and type are constants where this is inlined. */
LANES_INLINE void scores_rows(const attn_row *rows, const int n_row, const int n_vec, const kernel_kv_type type,
                              const attn_block *b, float s[][BLOCK]) {
    for (size_t j = 0; j < BLOCK; j += 16 * (size_t)n_vec) {
        if (type != KERNEL_KV_Q8)
            scores_chunk(rows, n_row, n_vec, type, b, 0, b->dim, j, s);
        for (size_t d = 0; type == KERNEL_KV_Q8 && d < b->dim; d += KV_SCALE_BLOCK)
            scores_chunk(rows, n_row, n_vec, type, b, d, d + KV_SCALE_BLOCK < b->dim ? d + KV_SCALE_BLOCK : b->dim, j,
                         s);
    }
}

/* out_r[d ..] = out_r[d ..] rescale[r], then += p[r][j] V[j][d ..] for j in [from, to), ascending; lanes are d. `left`
 * < 16 is the width of a last, partial vector (n_vec 1); 0 = whole vectors. With scales p is p times scale, and behind
 * it, in rows GROUP_ROWS on, that of the next 32 d. */
LANES_INLINE void values_chunk(const attn_row *rows, const int n_row, const int n_vec, const kernel_kv_type type,
                               size_t left, const attn_block *b, size_t d, const float p[][BLOCK], const float *rescale,
                               uint32_t from, uint32_t to) {
    v16 sum[GROUP_ROWS][BLOCK_VECS];
#pragma GCC unroll 8
    for (int r = 0; r < n_row; r++)
#pragma GCC unroll 8
        for (int i = 0; i < n_vec; i++) {
            float *o = rows[r].out + d + 16 * i;
            sum[r][i] = v_mul(left != 0 ? v_load_n(o, left) : v_load(o), v_set(rescale[r]));
        }
    for (uint32_t j = from; j < to; j++) {
        v16 v[BLOCK_VECS];
#pragma GCC unroll 8
        for (int i = 0; i < n_vec; i++) {
            size_t at = j * b->dim + d + 16 * (size_t)i;
            v[i] = left != 0 ? element_load_n(b->v, at, left, type) : element_load(b->v, at, type);
        }
        element_prefetch(b->next_v, j * b->dim + d, 16 * (size_t)n_vec, type);
#pragma GCC unroll 8
        for (int r = 0; r < n_row; r++) {
            v16 x[2] = {v_set(p[r][j]), type == KERNEL_KV_Q8 && n_vec > 2 ? v_set(p[GROUP_ROWS + r][j]) : v_zero()};
#pragma GCC unroll 8
            for (int i = 0; i < n_vec; i++)
                sum[r][i] = v_fma(x[type == KERNEL_KV_Q8 ? i / 2 : 0], v[i], sum[r][i]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_row; r++)
#pragma GCC unroll 8
        for (int i = 0; i < n_vec; i++) {
            float *o = rows[r].out + d + 16 * i;
            if (left != 0)
                v_store_n(o, sum[r][i], left);
            else
                v_store(o, sum[r][i]);
        }
}

/* p times the scales of values at [d, d + 16 n_vec), as values_chunk takes them; p itself where there are none. */
LANES_INLINE const float (*p_scaled(const int n_row, const int n_vec, const kernel_kv_type type, const attn_block *b,
                                    size_t d, const float p[][BLOCK], float to[][BLOCK]))[BLOCK] {
    if (type != KERNEL_KV_Q8)
        return p;
    for (size_t half = 0; half < (n_vec > 2 ? 2 : 1); half++)
#pragma GCC unroll 8
        for (int i = 0; i < BLOCK; i += 16) {
            v16 scale = v_load_bf16(b->v_scales + (d / KV_SCALE_BLOCK + half) * BLOCK + i);
#pragma GCC unroll 8
            for (int r = 0; r < n_row; r++)
                v_store(&to[half * GROUP_ROWS + (size_t)r][i], v_mul(v_load(&p[r][i]), scale));
        }
    return (const float(*)[BLOCK])to;
}

LANES_INLINE void values_rows(const attn_row *rows, const int n_row, const int n_vec, const kernel_kv_type type,
                              const attn_block *b, const float p[][BLOCK], const float *rescale, uint32_t from,
                              uint32_t to) {
    float scaled[2 * GROUP_ROWS][BLOCK];
    size_t d = 0, wide = 16 * (size_t)n_vec;
    for (; d + wide <= b->dim; d += wide)
        values_chunk(rows, n_row, n_vec, type, 0, b, d, p_scaled(n_row, n_vec, type, b, d, p, scaled), rescale, from,
                     to);
    for (; n_vec > 1 && d + 16 <= b->dim; d += 16)
        values_chunk(rows, n_row, 1, type, 0, b, d, p_scaled(n_row, 1, type, b, d, p, scaled), rescale, from, to);
    if (d < b->dim)
        values_chunk(rows, n_row, 1, type, b->dim - d, b, d, p_scaled(n_row, 1, type, b, d, p, scaled), rescale, from,
                     to);
}

/* Vectors of sums a row, so that rows x vectors fill the registers and leave room for K or V and one broadcast. */
#define VECS(n_row) (LANES_REGISTERS == 32 || (n_row) == 1 ? 4 : (n_row) == 2 ? 2 : 1)
#define EACH_ROW_COUNT(call, type) /* call(n, type) for n = n_row, a constant */                                       \
    switch (n_row) {                                                                                                   \
    case 1: call(1, type); break;                                                                                      \
    case 2: call(2, type); break;                                                                                      \
    case 3: call(3, type); break;                                                                                      \
    case 4: call(4, type); break;                                                                                      \
    case 5: call(5, type); break;                                                                                      \
    default: call(6, type); break;                                                                                     \
    }
#define EACH_TYPE(call)                                                                                                \
    switch (type) {                                                                                                    \
    case KERNEL_KV_F16: EACH_ROW_COUNT(call, KERNEL_KV_F16) break;                                                     \
    case KERNEL_KV_Q8: EACH_ROW_COUNT(call, KERNEL_KV_Q8) break;                                                       \
    default: EACH_ROW_COUNT(call, KERNEL_KV_F32) break;                                                                \
    }

static void scores(kernel_kv_type type, const attn_row *rows, int n_row, const attn_block *b, float s[][BLOCK]) {
#define SCORES(n, type) scores_rows(rows, n, VECS(n), type, b, s)
    EACH_TYPE(SCORES);
}

static void values(kernel_kv_type type, const attn_row *rows, int n_row, const attn_block *b, const float p[][BLOCK],
                   const float *rescale, uint32_t from, uint32_t to) {
#define VALUES(n, type) values_rows(rows, n, VECS(n), type, b, p, rescale, from, to)
    EACH_TYPE(VALUES);
}

/* Scores of one row, scaled and capped, -infinity outside [from, to); returns the largest of them and m. */
LANES_INLINE float row_scale(const kernel_attn_args *a, float *s, uint32_t from, uint32_t to, float m) {
    v16 scale = v_set(a->scale), largest = v_set(m);
    uint64_t seen = (UINT64_MAX >> (BLOCK - to)) & (UINT64_MAX << from);
#pragma GCC unroll 8
    for (int i = 0; i < BLOCK_VECS; i++) {
        v16 x = v_mul(v_load(s + 16 * i), scale);
        if (a->softcap != 0) {
            v16 cap = v_set(a->softcap);
            x = v_mul(cap, v_tanh(v_div(x, cap)));
        }
        if (seen != UINT64_MAX)
            x = v_select(v_mask((uint32_t)(seen >> (16 * i)) & 0xFFFF), x, v_set(-INFINITY));
        v_store(s + 16 * i, x);
        largest = v_max(x, largest);
    }
    return v_largest(largest);
}

enum { AHEAD_BYTES = 1024 }; /* asked for by the softmax of a row, so that memory is not idle meanwhile */

/* Scores to probabilities; returns their sum. */
LANES_INLINE float row_exp(float *s, float m, const uint8_t *ahead) {
    v16 lanes = v_zero(), max = v_set(m);
#pragma GCC unroll 8
    for (int i = 0; i < BLOCK_VECS; i++) {
        v16 p = v_exp_falling(v_sub(v_load(s + 16 * i), max));
        element_prefetch(ahead, AHEAD_BYTES / BLOCK_VECS / 4 * (size_t)i, AHEAD_BYTES / BLOCK_VECS / 4, KERNEL_KV_F32);
        lanes = v_add(lanes, p);
        v_store(s + 16 * i, p);
    }
    return v_sum(lanes);
}

/* The softmax of a block: s becomes probabilities, m and l move on, rescale[r] is what the values so far are to be
 * multiplied by. In three steps over all rows, so that the latency of one row's reductions hides behind the others. */
static void group_softmax(const kernel_attn_args *a, const attn_block *b, attn_row *rows, int n_row,
                          const uint32_t *from, const uint32_t *to, float s[][BLOCK], float rescale[16]) {
    float before[16] = {0}, m[16] = {0};
    for (int r = 0; r < n_row; r++)
        if (to[r] != 0) {
            before[r] = rows[r].m;
            m[r] = row_scale(a, s[r], from[r], to[r], rows[r].m);
        }
    v_store(rescale, v_exp_falling(v_sub(v_load(before), v_load(m))));
    for (int r = 0; r < n_row; r++)
        if (to[r] != 0) {
            const uint8_t *ahead = b->next_v + ((size_t)r * AHEAD_BYTES < b->bytes ? (size_t)r * AHEAD_BYTES : 0);
            rows[r].l = __builtin_fmaf(rows[r].l, rescale[r], row_exp(s[r], m[r], ahead));
            rows[r].m = m[r];
        }
}

/* One block for at most GROUP_ROWS rows. Where they do not see the same positions (the diagonal, a window's edge) the
 * common stretch goes together and each row's own before and after it, still in ascending order. */
static void group_block(const kernel_attn_args *a, attn_row *rows, int n_row, const attn_block *b, uint32_t base) {
    float s[GROUP_ROWS][BLOCK], rescale[16];
    uint32_t from[GROUP_ROWS], to[GROUP_ROWS], common_from = 0, common_to = BLOCK;
    bool any = false;
    for (int r = 0; r < n_row; r++) {
        uint32_t first = rows[r].first, pos = rows[r].pos;
        bool in = pos >= base && (first < base || first - base < BLOCK);
        from[r] = in && first > base ? first - base : 0;
        to[r] = !in ? 0 : pos - base >= BLOCK ? BLOCK : pos - base + 1;
        common_from = from[r] > common_from ? from[r] : common_from;
        common_to = to[r] < common_to ? to[r] : common_to;
        any = any || in;
    }
    if (!any)
        return;
    scores(a->type, rows, n_row, b, s);
    group_softmax(a, b, rows, n_row, from, to, s, rescale);
    bool common = common_from < common_to;
    for (int r = 0; r < n_row; r++) {
        uint32_t before = common ? common_from : to[r];
        if (from[r] < before) {
            values(a->type, &rows[r], 1, b, &s[r], &rescale[r], from[r], before);
            rescale[r] = 1.0f;
        }
    }
    if (!common)
        return;
    values(a->type, rows, n_row, b, s, rescale, common_from, common_to);
    static const float one = 1.0f;
    for (int r = 0; r < n_row; r++)
        if (common_to < to[r])
            values(a->type, &rows[r], 1, b, &s[r], &one, common_to, to[r]);
}

/* Rows of one sequence and one KV head, from the first visible block to the last. */
static void attend_rows(const kernel_attn_args *a, const kernel_kv *kv, uint32_t head_kv, attn_row *rows, int n_row) {
    size_t dim = a->head_dim, head_bytes = kv_head_bytes(a->type, dim), v_offset = head_bytes * a->n_head_kv;
    size_t scales = kv_scale_offset(a->type, dim);
    int n_group = (n_row + GROUP_ROWS - 1) / GROUP_ROWS, n_each = (n_row + n_group - 1) / n_group;
    uint32_t low = UINT32_MAX, high = 0, ahead = a->type == KERNEL_KV_Q8 ? 2 : 1; /* half the bytes, twice as far */
    for (int r = 0; r < n_row; r++) {
        low = rows[r].first / BLOCK < low ? rows[r].first / BLOCK : low;
        high = rows[r].pos / BLOCK > high ? rows[r].pos / BLOCK : high;
    }
    for (uint32_t i = low; i <= high; i++) {
        size_t offset = kv->layer_offset + head_bytes * head_kv;
        const uint8_t *k = (const uint8_t *)kv->pages[i] + offset;
        const uint8_t *next = (const uint8_t *)kv->pages[i + ahead < high ? i + ahead : high] + offset;
        attn_block b = {.k = k,
                        .v = k + v_offset,
                        .next_k = next,
                        .next_v = next + v_offset,
                        .dim = dim,
                        .bytes = head_bytes,
                        .k_scales = (const uint16_t *)(const void *)(k + scales),
                        .v_scales = (const uint16_t *)(const void *)(k + v_offset + scales)};
        for (int r = 0; r < n_row; r += n_each) /* 7 rows as 4 and 3: a row alone waits for its own sums */
            group_block(a, rows + r, n_row - r < n_each ? n_row - r : n_each, &b, i * BLOCK);
    }
    for (int r = 0; r < n_row; r++) {
        v16 l = v_set(rows[r].l);
        float *o = rows[r].out;
        size_t d = 0;
        for (; d + 16 <= dim; d += 16)
            v_store(o + d, v_div(v_load(o + d), l));
        if (d < dim)
            v_store_n(o + d, v_div(v_load_n(o + d, dim - d), l), dim - d);
    }
}

static attn_row row_begin(const kernel_attn_args *a, uint64_t i_tok, uint32_t head) {
    uint32_t pos = a->pos[i_tok];
    attn_row row = {
        .q = a->q + i_tok * a->q_stride + (size_t)head * a->head_dim,
        .out = a->out + i_tok * a->out_stride + (size_t)head * a->head_dim,
        .first = a->window != 0 && pos >= a->window ? pos - a->window + 1 : 0,
        .pos = pos,
        .m = -INFINITY,
    };
    memset(row.out, 0, a->head_dim * sizeof *row.out);
    return row;
}

/* Tokens [i_tok, i_end) by heads [head, head_end) of one KV head, cut where the sequence changes or a tile is full. */
static void attend_tokens(const kernel_attn_args *a, uint64_t i_tok, uint64_t i_end, uint32_t head_kv, uint32_t head,
                          uint32_t head_end) {
    attn_row rows[TILE_ROWS];
    int n_row = 0;
    for (uint64_t t = i_tok; t < i_end; t++) {
        for (uint32_t h = head; h < head_end; h++) {
            rows[n_row++] = row_begin(a, t, h);
            bool last = h + 1 == head_end && (t + 1 == i_end || a->i_seq[t + 1] != a->i_seq[t]);
            if (n_row == TILE_ROWS || last) {
                attend_rows(a, &a->kv[a->i_seq[t]], head_kv, rows, n_row);
                n_row = 0;
            }
        }
    }
}

typedef struct attn_plan {
    const kernel_attn_args *a;
    uint32_t n_group;   /* query heads a KV head */
    uint64_t slice_tok; /* tokens a slice */
    uint64_t n_thread, n_chunk;
    uint64_t n_whole; /* chunks of all heads of a group; besides them n_part chunks for each group */
    uint32_t n_part;
} attn_plan;

/* The pool gives thread t chunks [n_chunk t / n_thread, n_chunk (t + 1) / n_thread). It shall begin with whole groups,
 * as many as every other, and of its slices with the last: in a prompt they see most keys, and long chunks go first. */
static uint64_t chunk_in_turn(const attn_plan *p, uint64_t i) {
    uint64_t t = ((i + 1) * p->n_thread - 1) / p->n_chunk, k = i - p->n_chunk * t / p->n_thread;
    uint64_t whole = p->n_whole * t / p->n_thread, whole_end = p->n_whole * (t + 1) / p->n_thread;
    return k < whole_end - whole ? whole_end - 1 - k : p->n_whole + i - whole_end;
}

static void attend_chunk(void *ctx, int i_chunk) {
    const attn_plan *p = ctx;
    const kernel_attn_args *a = p->a;
    uint64_t i = chunk_in_turn(p, (uint64_t)i_chunk);
    uint32_t head = 0, head_end = p->n_group;
    if (i >= p->n_whole) {
        uint32_t part = (uint32_t)((i - p->n_whole) % p->n_part);
        head = p->n_group * part / p->n_part;
        head_end = p->n_group * (part + 1) / p->n_part;
        i = p->n_whole + (i - p->n_whole) / p->n_part;
    }
    uint64_t from = i / a->n_head_kv * p->slice_tok, to = from + p->slice_tok;
    uint32_t head_kv = (uint32_t)(i % a->n_head_kv), base = head_kv * p->n_group;
    attend_tokens(a, from, to < a->n_tok ? to : a->n_tok, head_kv, base + head, base + head_end);
}

void LANES_NAME(attention)(const kernel_attn_args *a, os_pool *pool) {
    assert(a->n_head_kv != 0 && a->n_head % a->n_head_kv == 0);
    uint64_t n_thread = pool != NULL ? (uint64_t)os_pool_threads(pool) : 1, n_key = 0;
    for (uint64_t t = 0; t < a->n_tok; t++)
        n_key += a->window != 0 && a->pos[t] >= a->window ? a->window : (uint64_t)a->pos[t] + 1;
    if (2 * n_key * a->n_head * a->head_dim < ATTENTION_INLINE_WORK)
        n_thread = 1;
    attn_plan plan = {.a = a, .n_group = a->n_head / a->n_head_kv, .n_thread = n_thread};
    /* Slices as wide as a tile, but four chunks a thread where that leaves whole groups of rows, and one anyway. */
    plan.slice_tok = plan.n_group < TILE_ROWS ? TILE_ROWS / plan.n_group : 1;
    while (plan.slice_tok > 1 && n_thread > 1) {
        uint64_t n = (a->n_tok + plan.slice_tok - 1) / plan.slice_tok * a->n_head_kv;
        if (n >= 4 * n_thread || (n >= n_thread && plan.slice_tok * plan.n_group <= GROUP_ROWS))
            break;
        plan.slice_tok = (plan.slice_tok + 1) / 2;
    }
    uint64_t n_chunk = (a->n_tok + plan.slice_tok - 1) / plan.slice_tok * a->n_head_kv;
    uint64_t n_rest = n_chunk < 4 * n_thread ? n_chunk % n_thread : 0;
    plan.n_whole = n_chunk - n_rest;
    if (n_rest != 0) { /* chunks that would leave threads idle are cut; the parts read the same keys at the same time */
        uint64_t n_part = (n_thread + n_rest - 1) / n_rest;
        plan.n_part = n_part < plan.n_group ? (uint32_t)n_part : plan.n_group;
        n_chunk = plan.n_whole + n_rest * plan.n_part;
    }
    assert(n_chunk <= INT32_MAX);
    plan.n_chunk = n_chunk;
    os_pool_run(n_thread > 1 ? pool : NULL, (int)n_chunk, attend_chunk, &plan);
}

#endif
