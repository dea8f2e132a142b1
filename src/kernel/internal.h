/* Private to kernel/: the functions of each instruction set, gathered into tables by dispatch.c.
 *
 * One row of functions per instruction set, named <isa>_<function>. ref_* is the specification; every other one gives
 * the same bits. A file names its instruction set in the source (pragma GCC target), never by compiler flags, so that
 * the engine builds in one plain compiler line. Contracts are those of kernel_table in kernel/kernel.h. */
#ifndef MUGA_KERNEL_INTERNAL_H
#define MUGA_KERNEL_INTERNAL_H

#include "kernel/kernel.h"

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
#endif
#if KERNEL_HAVE_NEON
KERNEL_DECLARE(neon)
void neon_dotprod_matmul(const kernel_matmul_args *a, os_pool *pool);
void neon_i8mm_matmul(const kernel_matmul_args *a, os_pool *pool);
#endif

#endif
