/* The matrix product with AVX-VNNI: its entry. The int8 products are in avx_vnni_int8_*.c; all else is AVX2's. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#include "kernel/avx2_matmul.h"

void avx_vnni_matmul(const kernel_matmul_args *a, os_pool *pool) {
    static matmul_product *const int8[] = MATMUL_INT8_TABLE(avx_vnni);
    static const matmul_isa isa = {TILE, TILE, NULL, avx2_quantise, int8, avx2_f32};
    matmul_run(&isa, a, pool);
}

TARGET_END
#endif
