/* expf, tanhf and the tail of the normal distribution over 16 lanes: on each lane the operations of kernel_expf,
 * kernel_tanhf (math.c) and normal_tail (ref_ops.c), in that order. */
#ifndef MUGA_KERNEL_LANES_MATH_H
#define MUGA_KERNEL_LANES_MATH_H

#include "kernel/math.h"

#include <math.h>

/* expf of x <= 0 (or NaN): no lane overflows. */
LANES_INLINE v16 v_exp_falling(v16 x) {
    v16 round = v_set(MATH_EXPF_ROUND);
    v16 t = v_fma(x, v_set(MATH_EXPF_LOG2E), round);
    v16 n = v_sub(t, round);
    v16 r = v_fma(n, v_set(-MATH_EXPF_LN2_HI), x);
    r = v_fma(n, v_set(-MATH_EXPF_LN2_LO), r);
    v16 p = v_fma(v_set(MATH_EXPF_C6), r, v_set(MATH_EXPF_C5));
    p = v_fma(p, r, v_set(MATH_EXPF_C4));
    p = v_fma(p, r, v_set(MATH_EXPF_C3));
    p = v_fma(p, r, v_set(MATH_EXPF_C2));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    return v_zero_below(v_scale_exp(p, t, n), x, v_set(MATH_EXPF_LOW));
}

LANES_INLINE v16 v_exp(v16 x) {
    return v_select(v_less(v_set(MATH_EXPF_HIGH), x), v_set(INFINITY), v_exp_falling(x));
}

LANES_INLINE v16 v_tanh(v16 x) {
    v16 a = v_abs(x);
    v16 x2 = v_mul(x, x);
    v16 q = v_fma(v_set(MATH_TANHF_C4), x2, v_set(MATH_TANHF_C3));
    q = v_fma(q, x2, v_set(MATH_TANHF_C2));
    q = v_fma(q, x2, v_set(MATH_TANHF_C1));
    q = v_fma(q, x2, v_set(MATH_TANHF_C0));
    v16 small = v_fma(q, v_mul(a, x2), a);
    v16 one = v_set(1.0f);
    v16 large = v_sub(one, v_div(v_set(2.0f), v_add(v_exp(v_add(a, a)), one)));
    return v_copysign(v_select(v_less(a, v_set(MATH_TANHF_LIMIT)), small, large), x);
}

/* Phi(-a) of a >= 0 */
LANES_INLINE v16 v_normal_tail(v16 a) {
    v16 t = v_div(v_set(1.0f), v_fma(v_set(MATH_PHI_SHRINK), a, v_set(1.0f)));
    v16 r = v_fma(v_set(MATH_PHI_C9), t, v_set(MATH_PHI_C8));
    r = v_fma(r, t, v_set(MATH_PHI_C7));
    r = v_fma(r, t, v_set(MATH_PHI_C6));
    r = v_fma(r, t, v_set(MATH_PHI_C5));
    r = v_fma(r, t, v_set(MATH_PHI_C4));
    r = v_fma(r, t, v_set(MATH_PHI_C3));
    r = v_fma(r, t, v_set(MATH_PHI_C2));
    r = v_fma(r, t, v_set(MATH_PHI_C1));
    r = v_fma(r, t, v_set(MATH_PHI_C0));
    return v_mul(r, v_exp_falling(v_mul(v_set(-0.5f), v_mul(a, a))));
}

#endif
