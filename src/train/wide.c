/* Which pass an instruction set runs (wide.h). */
#include "train/wide.h"

train_pass_fn *train_pass_for(kernel_isa isa) {
#if defined(__x86_64__)
    if (isa == KERNEL_ISA_AVX512)
        return train_pass_run_avx512;
    if (isa == KERNEL_ISA_AVX2 || isa == KERNEL_ISA_AVX_VNNI)
        return train_pass_run_avx2;
#endif
    (void)isa;
    return train_pass_run_f32;
}
