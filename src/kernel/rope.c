/* Rotary positions: the table of cosines and sines of one position, in f64, rounded to f32 once at the end.
 * Source: Su et al. 2021, 3.2; scaling factors per frequency: Peng et al. 2023 and the `rope_freqs` tensor of GGUF. */
#include "kernel/kernel.h"
#include "kernel/math.h"

void kernel_rope_table(uint32_t pos, float base, uint32_t n_rot, float freq_scale, const float *factors, float mscale,
                       float *cos_out, float *sin_out) {
    double log_base = kernel_log((double)base);
    for (uint32_t i = 0; i < n_rot / 2; i++) {
        double freq = kernel_exp(-((double)(2 * i) / (double)n_rot) * log_base);
        if (factors != NULL)
            freq /= (double)factors[i];
        double s, c;
        math_sincos((double)pos * (freq * (double)freq_scale), &s, &c);
        cos_out[i] = (float)(c * (double)mscale);
        sin_out[i] = (float)(s * (double)mscale);
    }
}
