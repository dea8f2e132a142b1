/* The int8 products on NEON with SMMLA (ARMv8.6 i8mm), and SDOT where a tile is not whole. */
#include "kernel/internal.h"

#if KERNEL_HAVE_NEON
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")
#define NEON_ISA neon_i8mm
#define NEON_DOT_SMMLA
#include "kernel/neon_int8.h"
#endif
