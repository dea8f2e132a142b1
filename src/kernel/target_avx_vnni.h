/* Makes AVX-VNNI, AVX2, FMA and F16C the instruction set of the rest of the file, in the words of either compiler; the
 * file ends with TARGET_END. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#define TARGET_END _Pragma("clang attribute pop")
#else
#pragma GCC target("avx2,fma,f16c,avxvnni")
#define TARGET_END
#endif
