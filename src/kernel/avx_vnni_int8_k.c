/* The int8 products of the super-block types Q2_K to Q6_K, with AVX-VNNI. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#define KERNEL_AVX_VNNI
#include "kernel/avx2_int8.h"

INT8_PRODUCT(q2_k, PANEL_Q2_K)
INT8_PRODUCT(q3_k, PANEL_Q3_K)
INT8_PRODUCT(q4_k, PANEL_Q4_K)
INT8_PRODUCT(q5_k, PANEL_Q5_K)
INT8_PRODUCT(q6_k, PANEL_Q6_K)

TARGET_END
#endif
