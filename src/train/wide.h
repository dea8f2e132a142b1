/* One pass in float with the vectors of each instruction set. Private to train/. */
#ifndef MUGA_TRAIN_WIDE_H
#define MUGA_TRAIN_WIDE_H

#define TRAIN_REAL 32
#include "train/real.h"
#include "train/tape.h"

typedef bool train_pass_fn(const pass_args_f32 *a);
/* The widest that `isa` has; it must be available. Without one of its own: train_pass_run_f32. */
train_pass_fn *train_pass_for(kernel_isa isa);

#if defined(__x86_64__)
bool train_pass_run_avx2(const pass_args_f32 *a);
bool train_pass_run_avx512(const pass_args_f32 *a);
#endif

#endif
