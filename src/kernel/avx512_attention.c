/* Attention of arithmetic 1 on AVX-512; the functions are those of lanes_attention.h. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#include "kernel/lanes_avx512.h"

#include "kernel/lanes_attention.h"
#else
typedef int kernel_avx512_attention_absent;
#endif
