/* The int8 products on NEON with multiplications and widening additions: every 64-bit ARM. */
#include "kernel/internal.h"

#if KERNEL_HAVE_NEON
#define NEON_ISA neon
#define NEON_DOT_NONE
#include "kernel/neon_int8.h"
#endif
