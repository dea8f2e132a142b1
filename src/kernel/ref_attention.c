/* The specification of attention and of the key and value pages, in plain C. For each query row on its own:
 *
 *   for each block of 64 absolute positions that has a visible one, ascending:
 *     s_j   = fma chain over ascending d of q[d] K[d][j], from +0; times scale; soft cap
 *     m'    = max(m, visible s_j)          a = exp(m - m')          p_j = exp(s_j - m'), 0 where not visible
 *     l     = fma(l, a, sum of p_j)        sum over 16 lanes, lane j mod 16, tree
 *     o[d]  = o[d] a, then fma(p_j, V[j][d], o[d]) over the visible j, ascending
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
    size_t element = type == KERNEL_KV_F16 ? 2 : 4;
    return 2 * element * KERNEL_KV_BLOCK * (size_t)n_head_kv * head_dim;
}

static float element_get(const uint8_t *base, kernel_kv_type type, size_t i) {
    if (type == KERNEL_KV_F16) {
        uint16_t h;
        memcpy(&h, base + 2 * i, sizeof h);
        return f16_to_f32(h);
    }
    float f;
    memcpy(&f, base + 4 * i, sizeof f);
    return f;
}

static void element_set(uint8_t *base, kernel_kv_type type, size_t i, float f) {
    uint16_t h = f32_to_f16(f);
    if (type == KERNEL_KV_F16)
        memcpy(base + 2 * i, &h, sizeof h);
    else
        memcpy(base + 4 * i, &f, sizeof f);
}

void ref_kv_store(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim, const kernel_kv *kv, uint32_t pos,
                  const float *k, const float *v) {
    uint8_t *page_k = (uint8_t *)kv->pages[pos / BLOCK] + kv->layer_offset;
    uint8_t *page_v = page_k + kernel_kv_page_bytes(type, n_head_kv, head_dim) / 2;
    for (size_t h = 0; h < n_head_kv; h++)
        for (size_t d = 0; d < head_dim; d++) {
            element_set(page_k, type, (h * head_dim + d) * BLOCK + pos % BLOCK, k[h * head_dim + d]);
            element_set(page_v, type, (h * BLOCK + pos % BLOCK) * head_dim + d, v[h * head_dim + d]);
        }
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
    size_t v_offset = kernel_kv_page_bytes(a->type, a->n_head_kv, a->head_dim) / 2;
    const float *q = a->q + i_tok * a->q_stride + head * dim;
    float *o = a->out + i_tok * a->out_stride + head * dim;
    uint32_t pos = a->pos[i_tok], first = a->window != 0 && pos >= a->window ? pos - a->window + 1 : 0;
    float m = -INFINITY, l = 0;
    for (size_t d = 0; d < dim; d++)
        o[d] = 0;
    for (uint32_t b = first / BLOCK; b <= pos / BLOCK; b++) {
        const uint8_t *k = (const uint8_t *)kv->pages[b] + kv->layer_offset, *v = k + v_offset;
        uint32_t from = b == first / BLOCK ? first % BLOCK : 0, to = b == pos / BLOCK ? pos % BLOCK + 1 : BLOCK;
        float s[BLOCK];
        for (uint32_t j = from; j < to; j++) {
            s[j] = 0;
            for (size_t d = 0; d < dim; d++)
                s[j] = fmaf(q[d], element_get(k, a->type, (head_kv * dim + d) * BLOCK + j), s[j]);
            s[j] = s[j] * a->scale;
            if (a->softcap != 0)
                s[j] = a->softcap * kernel_tanhf(s[j] / a->softcap);
        }
        float rescale = block_softmax(s, from, to, &m, &l);
        for (size_t d = 0; d < dim; d++) {
            o[d] = o[d] * rescale;
            for (uint32_t j = from; j < to; j++)
                o[d] = fmaf(s[j], element_get(v, a->type, (head_kv * BLOCK + j) * dim + d), o[d]);
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
