/* The int8 products of the types whose codes are looked up, and of the ternary ones, with AVX-VNNI. */
#include "kernel/internal.h"

#if KERNEL_HAVE_X86
#define KERNEL_AVX_VNNI
#include "kernel/avx2_int8.h"

INT8_PRODUCT(iq4_nl, PANEL_IQ4_NL)
INT8_PRODUCT(iq4_xs, PANEL_IQ4_XS)
INT8_PRODUCT(iq3, PANEL_IQ3)
INT8_PRODUCT(iq2_32, PANEL_IQ2_32)
INT8_PRODUCT(iq2_16, PANEL_IQ2_16)
INT8_PRODUCT(tq, PANEL_TQ)
INT8_PRODUCT(mxfp4, PANEL_MXFP4)
INT8_PRODUCT(nvfp4, PANEL_NVFP4)

TARGET_END
#endif
