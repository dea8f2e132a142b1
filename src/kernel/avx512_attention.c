/* Attention of arithmetic 1 on AVX-512; the functions are those of lanes_attention.h. */
#if defined(__x86_64__)
#include "kernel/target_avx512.h"

#include "kernel/lanes_avx512.h"

#include "kernel/lanes_attention.h"
TARGET_END
#else
typedef int kernel_avx512_attention_absent;
#endif
