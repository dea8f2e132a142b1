/* Keys and values as pages keep them, over 16 lanes: reading, asking for them ahead, storing. Specification:
 * ref_attention.c; layout: kernel.h. */
#ifndef MUGA_KERNEL_LANES_KV_H
#define MUGA_KERNEL_LANES_KV_H

#include "kernel/internal.h"

#include <math.h>
#include <string.h>

enum { BLOCK = KERNEL_KV_BLOCK, BLOCK_VECS = BLOCK / 16 };

/* The cache lines that begin in elements [i, i + n) of memory that begins with a line. */
LANES_INLINE void element_prefetch(const uint8_t *base, size_t i, size_t n, const kernel_kv_type type) {
    size_t at = i * kv_element_bytes(type), end = at + n * kv_element_bytes(type);
    if (type == KERNEL_KV_Q8) /* 16 of them are less than a line */
        at = (at + 63) / 64 * 64;
#pragma GCC unroll 8
    for (; at < end; at += 64)
        __builtin_prefetch(base + at, 0, 3);
}

/* 16 elements; codes of q8 as they are. */
LANES_INLINE v16 element_load(const uint8_t *base, size_t i, const kernel_kv_type type) {
    const uint8_t *p = base + i * kv_element_bytes(type);
    return type == KERNEL_KV_Q8    ? v_load_i8((const int8_t *)p)
           : type == KERNEL_KV_F16 ? v_load_f16((const uint16_t *)(const void *)p)
                                   : v_load((const float *)(const void *)p);
}
LANES_INLINE v16 element_load_n(const uint8_t *base, size_t i, size_t n, const kernel_kv_type type) {
    const uint8_t *p = base + i * kv_element_bytes(type);
    return type == KERNEL_KV_Q8    ? v_load_i8_n((const int8_t *)p, n)
           : type == KERNEL_KV_F16 ? v_load_f16_n((const uint16_t *)(const void *)p, n)
                                   : v_load_n((const float *)(const void *)p, n);
}

/* 16 values, one to each row of a K page. Read back four at a time: single ones would wait for the vector's store. */
LANES_INLINE void store_apart(uint16_t *to, const uint16_t x[16]) {
    uint64_t four[4];
    memcpy(four, x, sizeof four);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        to[i * BLOCK] = (uint16_t)(four[i / 4] >> (16 * (i % 4)));
}
LANES_INLINE void store_codes_apart(uint8_t *to, const int8_t x[16]) {
    uint64_t eight[2];
    memcpy(eight, x, sizeof eight);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        to[i * BLOCK] = (uint8_t)(eight[i / 8] >> (8 * (i % 8)));
}

/* The codes of n <= 32 elements of a key or value, and their scale. */
LANES_INLINE uint16_t block_quantise(const float *x, size_t n, int8_t codes[KV_SCALE_BLOCK]) {
    v16 a = n >= 16 ? v_load(x) : v_load_n(x, n);
    v16 b = n == 32 ? v_load(x + 16) : n > 16 ? v_load_n(x + 16, n - 16) : v_zero();
    v16 size_a = v_abs(a), size_b = v_abs(b), infinity = v_set(INFINITY);
    if ((v_mask_bits(v_less(size_a, infinity)) & v_mask_bits(v_less(size_b, infinity))) != 0xFFFF) {
        memset(codes, 0, KV_SCALE_BLOCK);
        return KV_SCALE_NAN;
    }
    uint16_t scale = kv_scale_of(v_largest(v_max(size_a, size_b)));
    if (scale == 0) {
        memset(codes, 0, KV_SCALE_BLOCK);
        return 0;
    }
    v16 step = v_set(bf16_to_f32(scale));
    v_store_i8(codes, v_div(a, step));
    v_store_i8(codes + 16, v_div(b, step));
    return scale;
}

LANES_INLINE void store_q8(size_t dim, size_t slot, const float *k, const float *v, uint8_t *head_k, uint8_t *head_v) {
    size_t scales = kv_scale_offset(KERNEL_KV_Q8, dim) + slot * sizeof(uint16_t);
    for (size_t d = 0; d < dim; d += KV_SCALE_BLOCK, scales += BLOCK * sizeof(uint16_t)) {
        int8_t of_k[KV_SCALE_BLOCK], of_v[KV_SCALE_BLOCK];
        size_t n = dim - d < KV_SCALE_BLOCK ? dim - d : KV_SCALE_BLOCK;
        uint16_t scale_k = block_quantise(k + d, n, of_k), scale_v = block_quantise(v + d, n, of_v);
        memcpy(head_k + scales, &scale_k, sizeof scale_k);
        memcpy(head_v + scales, &scale_v, sizeof scale_v);
        memcpy(head_v + slot * dim + d, of_v, n);
        size_t i = 0;
        for (; i + 16 <= n; i += 16)
            store_codes_apart(head_k + (d + i) * BLOCK + slot, of_k + i);
        for (; i < n; i++)
            head_k[(d + i) * BLOCK + slot] = (uint8_t)of_k[i];
    }
}

LANES_INLINE void store_f16(size_t dim, size_t slot, const float *k, const float *v, uint16_t *head_k,
                            uint16_t *head_v) {
    uint16_t *to_k = head_k + slot, *to_v = head_v + slot * dim;
    for (size_t d = 0; d < dim; d += 16) {
        uint16_t of_k[16], of_v[16];
        size_t n = dim - d < 16 ? dim - d : 16;
        v_store_f16(of_k, n == 16 ? v_load(k + d) : v_load_n(k + d, n));
        v_store_f16(of_v, n == 16 ? v_load(v + d) : v_load_n(v + d, n));
        memcpy(to_v + d, of_v, n * sizeof *of_v);
        if (n == 16)
            store_apart(to_k + d * BLOCK, of_k);
        else
            for (size_t i = 0; i < n; i++)
                to_k[(d + i) * BLOCK] = of_k[i];
    }
}

LANES_INLINE void store_f32(size_t dim, size_t slot, const float *k, const float *v, float *head_k, float *head_v) {
    for (size_t d = 0; d < dim; d++)
        head_k[d * BLOCK + slot] = k[d];
    memcpy(head_v + slot * dim, v, dim * sizeof *v);
}

void LANES_NAME(kv_store)(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim, const kernel_kv *kv, uint32_t pos,
                          const float *k, const float *v) {
    size_t dim = head_dim, head_bytes = kv_head_bytes(type, dim), slot = pos % BLOCK;
    uint8_t *head_k = (uint8_t *)kv->pages[pos / BLOCK] + kv->layer_offset, *head_v = head_k + head_bytes * n_head_kv;
    for (size_t h = 0; h < n_head_kv; h++, k += dim, v += dim, head_k += head_bytes, head_v += head_bytes) {
        if (type == KERNEL_KV_Q8)
            store_q8(dim, slot, k, v, head_k, head_v);
        else if (type == KERNEL_KV_F16)
            store_f16(dim, slot, k, v, (uint16_t *)(void *)head_k, (uint16_t *)(void *)head_v);
        else
            store_f32(dim, slot, k, v, (float *)(void *)head_k, (float *)(void *)head_v);
    }
}

#endif
