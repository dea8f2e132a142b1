/* The vector operations of arithmetic 1 on AVX-512; the functions are those of lanes_ops.h. */
#if defined(__x86_64__)
#include "kernel/target_avx512.h"

#include "kernel/lanes_avx512.h"

#include "kernel/lanes_ops.h"
TARGET_END
#else
typedef int kernel_avx512_ops_absent;
#endif
