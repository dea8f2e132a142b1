/* The transcendental functions of arithmetic 1: constants shared by the scalar specification (math.c) and the forms
 * over lanes (lanes_math.h), which do the same operations in the same order on each lane. Precise to the bit in
 * docs/arithmetic-attention.md; a constant changed here is a new arithmetic. */
#ifndef MUGA_KERNEL_MATH_H
#define MUGA_KERNEL_MATH_H

#ifdef __FAST_MATH__
#error "kernel/ computes the same bits everywhere and can't be built with -ffast-math or -Ofast"
#endif

/* expf: n = round(x / ln 2), e^r by a polynomial of degree 6 in r = x - n ln 2, |r| <= 0.3466, times 2^n. */
#define MATH_EXPF_LOW (-86.5f)      /* below: exactly +0 */
#define MATH_EXPF_HIGH 88.72283f    /* above: +infinity */
#define MATH_EXPF_ROUND 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, to nearest even */
#define MATH_EXPF_LOG2E 0x1.715476p+0f
#define MATH_EXPF_LN2_HI 0x1.62e430p-1f
#define MATH_EXPF_LN2_LO (-0x1.05c610p-29f)
#define MATH_EXPF_C2 0x1.fffffcp-2f
#define MATH_EXPF_C3 0x1.555492p-3f
#define MATH_EXPF_C4 0x1.5558f0p-5f
#define MATH_EXPF_C5 0x1.1239f0p-7f
#define MATH_EXPF_C6 0x1.6a2710p-10f

/* tanhf: below the limit x + x^3 q(x^2), above it 1 - 2 / (e^2x + 1). */
#define MATH_TANHF_LIMIT 0.625f
#define MATH_TANHF_C0 (-0x1.555532p-2f)
#define MATH_TANHF_C1 0x1.110728p-3f
#define MATH_TANHF_C2 (-0x1.b83ca8p-5f)
#define MATH_TANHF_C3 0x1.5228bcp-6f
#define MATH_TANHF_C4 (-0x1.75ebd8p-8f)

/* gelu, tanh form: x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
#define MATH_GELU_CUBE 0.044715f
#define MATH_GELU_TWICE_ROOT 0x1.988454p+0f /* 2 sqrt(2/pi) */

/* gelu, exact form: x Phi(x). Phi(-a) = e^(-a^2/2) r(t), t = 1 / (1 + 0.35 a), r a polynomial of degree 9 fitted to the
 * scaled complementary error function; relative error 1.5e-7 with its rounding. */
#define MATH_PHI_SHRINK 0x1.666666p-2f /* 0.35 */
#define MATH_PHI_C0 (-0x1.77464ep-19f)
#define MATH_PHI_C1 0x1.1e119ap-3f
#define MATH_PHI_C2 0x1.1d4cb2p-3f
#define MATH_PHI_C3 0x1.f66c12p-4f
#define MATH_PHI_C4 0x1.8bf21cp-4f
#define MATH_PHI_C5 (-0x1.66c0b8p-8f)
#define MATH_PHI_C6 0x1.17dfa2p-3f
#define MATH_PHI_C7 (-0x1.e73ed2p-3f)
#define MATH_PHI_C8 0x1.169c4ap-3f
#define MATH_PHI_C9 (-0x1.c49804p-6f)

/* sin and cos of x, 0 <= x < 2^50, in f64; absolute error below 1e-12 for x up to 2^32. Past the range both are NaN. */
void math_sincos(double x, double *sin_out, double *cos_out);

#endif
