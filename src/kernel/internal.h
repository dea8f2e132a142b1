/* Private to kernel/: the functions of each instruction set, gathered into tables by dispatch.c.
 *
 * One row of functions per instruction set, named <isa>_<function>. ref_* is the specification; every other one gives
 * the same bits. A file names its instruction set in the source (pragma GCC target), never by compiler flags, so that
 * the engine builds in one plain compiler line. Contracts are those of kernel_table in kernel/kernel.h. */
#ifndef MUGA_KERNEL_INTERNAL_H
#define MUGA_KERNEL_INTERNAL_H

#include "kernel/kernel.h"

#include <string.h>

#if defined(__x86_64__)
#define KERNEL_HAVE_X86 1
#else
#define KERNEL_HAVE_X86 0
#endif
#if defined(__aarch64__)
#define KERNEL_HAVE_NEON 1
#else
#define KERNEL_HAVE_NEON 0
#endif

/* ---- pages of keys and values (layout: kernel.h) ---- */
#define KV_SCALE_BLOCK 32 /* elements of a key or value that share a scale */

static inline size_t kv_element_bytes(kernel_kv_type type) {
    return type == KERNEL_KV_F32 ? 4 : type == KERNEL_KV_F16 ? 2 : 1;
}
/* Where a head's scales begin, in its K or V: behind its elements. */
static inline size_t kv_scale_offset(kernel_kv_type type, size_t head_dim) {
    return kv_element_bytes(type) * KERNEL_KV_BLOCK * head_dim;
}
/* K of one head; V takes as much. */
static inline size_t kv_head_bytes(kernel_kv_type type, size_t head_dim) {
    size_t n_scale = type == KERNEL_KV_Q8 ? (head_dim + KV_SCALE_BLOCK - 1) / KV_SCALE_BLOCK * KERNEL_KV_BLOCK : 0;
    return kv_scale_offset(type, head_dim) + n_scale * sizeof(uint16_t);
}

#define KV_SCALE_NAN 0x7FC0 /* of a block that holds a value that is not finite */
/* The scale of a block whose largest absolute value is `largest`, which is finite: a 127th of it as bf16, rounded up so
 * that no code passes 127. */
static inline uint16_t kv_scale_of(float largest) {
    float step = largest / 127.0f;
    uint32_t bits;
    memcpy(&bits, &step, sizeof bits);
    return (uint16_t)((bits + 0xFFFF) >> 16);
}

#define KERNEL_DECLARE(isa)                                                                                            \
    void isa##_matmul(const kernel_matmul_args *a, os_pool *pool);                                                     \
    void isa##_attention(const kernel_attn_args *a, os_pool *pool);                                                    \
    void isa##_kv_store(kernel_kv_type type, uint32_t n_head_kv, uint32_t head_dim, const kernel_kv *kv, uint32_t pos, \
                        const float *k, const float *v);                                                               \
    void isa##_rms_norm(const float *x, const float *w, float eps, uint64_t n, float *out);                            \
    void isa##_layer_norm(const float *x, const float *w, const float *b, float eps, uint64_t n, float *out);          \
    void isa##_add(const float *a, const float *b, uint64_t n, float *out);                                            \
    void isa##_mul(const float *a, const float *b, uint64_t n, float *out);                                            \
    void isa##_scale(const float *a, float s, uint64_t n, float *out);                                                 \
    void isa##_silu_mul(const float *gate, const float *up, uint64_t n, float *out);                                   \
    void isa##_gelu_mul(const float *gate, const float *up, uint64_t n, float *out);                                   \
    void isa##_add_scaled(const float *a, const float *b, float s, uint64_t n, float *out);                            \
    void isa##_relu_square(const float *x, uint64_t n, float *out);                                                    \
    void isa##_gelu_erf(const float *x, uint64_t n, float *out);                                                       \
    void isa##_softcap(const float *x, float cap, uint64_t n, float *out);                                             \
    void isa##_rope(float *x, uint32_t n_head, uint32_t head_dim, uint32_t n_rot, const float *cos, const float *sin,  \
                    bool pairs);                                                                                       \
    void isa##_softmax(float *x, uint64_t n);                                                                          \
    uint64_t isa##_argmax(const float *x, uint64_t n, bool *finite);

KERNEL_DECLARE(ref)
#if KERNEL_HAVE_X86
KERNEL_DECLARE(avx2)
KERNEL_DECLARE(avx512)
void avx_vnni_matmul(const kernel_matmul_args *a, os_pool *pool);
#endif
#if KERNEL_HAVE_NEON
KERNEL_DECLARE(neon)
void neon_dotprod_matmul(const kernel_matmul_args *a, os_pool *pool);
void neon_i8mm_matmul(const kernel_matmul_args *a, os_pool *pool);
#endif

#endif
