/* Attention of arithmetic 1 on AVX2; the functions are those of lanes_attention.h. */
#if defined(__x86_64__)
#include "kernel/target_avx2.h"

#include "kernel/lanes_avx2.h"

#include "kernel/lanes_attention.h"
TARGET_END
#else
typedef int kernel_avx2_attention_absent;
#endif
