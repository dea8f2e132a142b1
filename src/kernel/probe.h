/* What the machine can do at most, measured in the same run as what is compared with it: reading memory, which bounds
 * decode, and multiplying small integers, which bounds prefill. Uses the threads of the pool. */
#ifndef MUGA_KERNEL_PROBE_H
#define MUGA_KERNEL_PROBE_H

#include "kernel/kernel.h"

/* Bytes a second at which the pool reads `bytes` bytes that are read over and over, as decode reads a model's: so take
 * as many as are read for one token (what fits in a cache is faster). The best of several passes, without and with
 * software prefetch. Allocates that much for the time. */
MUGA_MUST_USE muga_status kernel_probe_bandwidth(size_t bytes, os_pool *pool, double *bytes_per_s, muga_error *err);

/* Multiply-adds of 8-bit integers a second, on all threads of the pool, by the instruction that the set's products use,
 * on registers alone. 0 where it isn't known (ref, ARM, or this processor lacks the set). */
double kernel_probe_integer_peak(kernel_isa isa, os_pool *pool);
/* The same of f32: fused multiply-adds by the set's vectors, which bound training. */
double kernel_probe_float_peak(kernel_isa isa, os_pool *pool);

#endif
