/* The int8 products of the types with scales of their own in each block of 32, with AVX-VNNI. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#define KERNEL_AVX_VNNI
#include "kernel/avx2_int8.h"

INT8_PRODUCT(q4_0, PANEL_Q4_0)
INT8_PRODUCT(q4_1, PANEL_Q4_1)
INT8_PRODUCT(q5_0, PANEL_Q5_0)
INT8_PRODUCT(q5_1, PANEL_Q5_1)
INT8_PRODUCT(q8_0, PANEL_Q8_0)

TARGET_END
#endif
