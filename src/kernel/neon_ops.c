/* The vector operations of arithmetic 1 on NEON; the functions are those of lanes_ops.h. */
#if defined(__aarch64__)
#include "kernel/lanes_neon.h"

#include "kernel/lanes_ops.h"
#else
typedef int kernel_neon_ops_absent;
#endif
