/* The int8 products on NEON with SDOT (ARMv8.2 dotprod). */
#include "kernel/internal.h"

#if KERNEL_HAVE_NEON
#pragma GCC target("arch=armv8.2-a+dotprod")
#define NEON_ISA neon_dotprod
#define NEON_DOT_SDOT
#include "kernel/neon_int8.h"
#endif
