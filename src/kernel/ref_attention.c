/* The specification of attention and of the key and value pages, in plain C. For each query row on its own:
 *
 *   for each block of 64 absolute positions that has a visible one, ascending:
 *     s_j   = fma chain over ascending d of q[d] K[d][j], from +0 (q8: of codes, one for each block of 32 d, then a
 *             chain of chain times scale); times the scale of scores; soft cap
 *     m'    = max(m, visible s_j)          a = exp(m - m')          p_j = exp(s_j - m'), 0 where not visible
 *     l     = fma(l, a, sum of p_j)        sum over 16 lanes, lane j mod 16, tree
 *     o[d]  = o[d] a, then fma(p_j, V[j][d], o[d]) over the visible j, ascending (q8: p_j times the scale, and codes)
 *   out[d] = o[d] / l
 *
 * Nothing here depends on pages, on the other rows, or on how a batch was cut. A key or value that is not visible is
 * not part of any operation, so what lies in such a slot is of no account. */
#include "kernel/internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { BLOCK = KERNEL_KV_BLOCK, LANES = 16 };

size_t kernel_kv_page_bytes(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim) {
    return 2 * kv_head_bytes(type, head_dim) * n_head_kv;
}

void kernel_kv_clear(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim, void *layer, uint32_t from,
                     uint32_t to) {
    size_t dim = head_dim, element = kv_element_bytes(type), head_bytes = kv_head_bytes(type, dim);
    size_t n_scale = (head_bytes - kv_scale_offset(type, dim)) / (BLOCK * sizeof(uint16_t)), n = to - from;
    for (size_t h = 0; h < 2 * (size_t)n_head_kv; h++) { /* K of all heads, then V of all */
        uint8_t *base = (uint8_t *)layer + h * head_bytes, *scales = base + kv_scale_offset(type, dim);
        if (h >= n_head_kv)
            memset(base + from * dim * element, 0, n * dim * element);
        else
            for (size_t d = 0; d < dim; d++)
                memset(base + (d * BLOCK + from) * element, 0, n * element);
        for (size_t i = 0; i < n_scale; i++)
            memset(scales + (i * BLOCK + from) * sizeof(uint16_t), 0, n * sizeof(uint16_t));
    }
}

/* Element i of a head's K or V; codes of q8 as they are. */
static float element_get(const uint8_t *base, kernel_kv_type type, size_t i) {
    if (type == KERNEL_KV_Q8)
        return (float)(int8_t)base[i];
    if (type == KERNEL_KV_F16) {
        uint16_t h;
        memcpy(&h, base + 2 * i, sizeof h);
        return f16_to_f32(h);
    }
    float f;
    memcpy(&f, base + 4 * i, sizeof f);
    return f;
}

/* The scale of the block that d is in, of the key or value in slot j; 1 where there are none. */
static float scale_get(const uint8_t *head, kernel_kv_type type, size_t dim, size_t d, size_t j) {
    if (type != KERNEL_KV_Q8)
        return 1;
    uint16_t scale;
    memcpy(&scale, head + kv_scale_offset(type, dim) + (d / KV_SCALE_BLOCK * BLOCK + j) * sizeof scale, sizeof scale);
    return bf16_to_f32(scale);
}

static void element_set(uint8_t *base, kernel_kv_type type, size_t i, float f) {
    uint16_t h = f32_to_f16(f);
    if (type == KERNEL_KV_F16)
        memcpy(base + 2 * i, &h, sizeof h);
    else
        memcpy(base + 4 * i, &f, sizeof f);
}

/* One key or value of one head in q8; element d lies at head[d * stride + at]. */
static void row_quantise(const float *x, size_t dim, uint8_t *head, size_t stride, size_t at, uint32_t slot) {
    uint8_t *scales = head + kv_scale_offset(KERNEL_KV_Q8, dim);
    for (size_t d = 0; d < dim; d += KV_SCALE_BLOCK) {
        size_t n = dim - d < KV_SCALE_BLOCK ? dim - d : KV_SCALE_BLOCK;
        float largest = 0;
        bool finite = true;
        for (size_t i = 0; i < n; i++) {
            finite = finite && isfinite(x[d + i]);
            largest = fabsf(x[d + i]) > largest ? fabsf(x[d + i]) : largest;
        }
        uint16_t scale = finite ? kv_scale_of(largest) : KV_SCALE_NAN;
        memcpy(scales + (d / KV_SCALE_BLOCK * BLOCK + slot) * sizeof scale, &scale, sizeof scale);
        for (size_t i = 0; i < n; i++) {
            float code = finite && scale != 0 ? x[d + i] / bf16_to_f32(scale) : 0;
            head[(d + i) * stride + at] = (uint8_t)(int8_t)((code + 12582912.0f) - 12582912.0f); /* nearest, even */
        }
    }
}

void ref_kv_store(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim, const kernel_kv *kv, uint32_t pos,
                  const float *k, const float *v) {
    size_t dim = head_dim, head_bytes = kv_head_bytes(type, dim);
    uint32_t slot = pos % BLOCK;
    uint8_t *head_k = (uint8_t *)kv->pages[pos / BLOCK] + kv->layer_offset, *head_v = head_k + head_bytes * n_head_kv;
    for (size_t h = 0; h < n_head_kv; h++, k += dim, v += dim, head_k += head_bytes, head_v += head_bytes) {
        if (type == KERNEL_KV_Q8) {
            row_quantise(k, dim, head_k, BLOCK, slot, slot);
            row_quantise(v, dim, head_v, 1, slot * dim, slot);
            continue;
        }
        for (size_t d = 0; d < dim; d++) {
            element_set(head_k, type, d * BLOCK + slot, k[d]);
            element_set(head_v, type, slot * dim + d, v[d]);
        }
    }
}

/* q K[.][j]: a chain over ascending d; with scales one for each block, and a chain over the blocks. */
static float row_score(const float *q, const uint8_t *k, kernel_kv_type type, size_t dim, size_t j) {
    float s = 0, sum = 0;
    for (size_t d = 0; d < dim; d++) {
        sum = fmaf(q[d], element_get(k, type, d * BLOCK + j), sum);
        if (type == KERNEL_KV_Q8 && (d + 1 == dim || (d + 1) % KV_SCALE_BLOCK == 0)) {
            s = fmaf(sum, scale_get(k, type, dim, d, j), s);
            sum = 0;
        }
    }
    return type == KERNEL_KV_Q8 ? s : sum;
}

/* The softmax of one block: s holds scores and becomes probabilities. Returns a = exp(m - m') and moves m and l. */
static float block_softmax(float s[BLOCK], uint32_t from, uint32_t to, float *m, float *l) {
    float max = *m;
    for (uint32_t j = from; j < to; j++)
        max = s[j] > max ? s[j] : max;
    float lane[LANES] = {0};
    for (uint32_t j = from; j < to; j++) {
        s[j] = kernel_expf(s[j] - max);
        lane[j % LANES] = lane[j % LANES] + s[j];
    }
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] = lane[i] + lane[i + width];
    float a = kernel_expf(*m - max);
    *l = fmaf(*l, a, lane[0]);
    *m = max;
    return a;
}

static void attend_row(const kernel_attn_args *a, uint64_t i_tok, uint32_t head) {
    const kernel_kv *kv = &a->kv[a->i_seq[i_tok]];
    size_t dim = a->head_dim, head_kv = head / (a->n_head / a->n_head_kv);
    size_t head_bytes = kv_head_bytes(a->type, dim), v_offset = head_bytes * a->n_head_kv;
    const float *q = a->q + i_tok * a->q_stride + head * dim;
    float *o = a->out + i_tok * a->out_stride + head * dim;
    uint32_t pos = a->pos[i_tok], first = a->window != 0 && pos >= a->window ? pos - a->window + 1 : 0;
    float m = -INFINITY, l = 0;
    for (size_t d = 0; d < dim; d++)
        o[d] = 0;
    for (uint32_t b = first / BLOCK; b <= pos / BLOCK; b++) {
        const uint8_t *k = (const uint8_t *)kv->pages[b] + kv->layer_offset + head_kv * head_bytes, *v = k + v_offset;
        uint32_t from = b == first / BLOCK ? first % BLOCK : 0, to = b == pos / BLOCK ? pos % BLOCK + 1 : BLOCK;
        float s[BLOCK];
        for (uint32_t j = from; j < to; j++) {
            s[j] = row_score(q, k, a->type, dim, j) * a->scale;
            if (a->softcap != 0)
                s[j] = a->softcap * kernel_tanhf(s[j] / a->softcap);
        }
        float rescale = block_softmax(s, from, to, &m, &l);
        for (size_t d = 0; d < dim; d++) {
            o[d] = o[d] * rescale;
            for (uint32_t j = from; j < to; j++)
                o[d] = fmaf(s[j] * scale_get(v, a->type, dim, d, j), element_get(v, a->type, j * dim + d), o[d]);
        }
    }
    for (size_t d = 0; d < dim; d++)
        o[d] = o[d] / l;
}

static void attend_token(void *ctx, int i_chunk) {
    const kernel_attn_args *a = ctx;
    for (uint32_t head = 0; head < a->n_head; head++)
        attend_row(a, (uint64_t)i_chunk, head);
}

void ref_attention(const kernel_attn_args *a, os_pool *pool) {
    assert(a->n_head_kv != 0 && a->n_head % a->n_head_kv == 0 && a->n_tok <= INT32_MAX);
    kernel_attn_args args = *a;
    os_pool_run(pool, (int)args.n_tok, attend_token, &args);
}
