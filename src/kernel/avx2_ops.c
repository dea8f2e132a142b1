/* The vector operations of arithmetic 1 on AVX2; the functions are those of lanes_ops.h. */
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#include "kernel/lanes_avx2.h"

#include "kernel/lanes_ops.h"
#else
typedef int kernel_avx2_ops_absent;
#endif
