/* Attention of arithmetic 1 on NEON; the functions are those of lanes_attention.h. */
#if defined(__aarch64__)
#include "kernel/lanes_neon.h"

#include "kernel/lanes_attention.h"
#else
typedef int kernel_neon_attention_absent;
#endif
