/* Rotary positions: the frequency of each pair, and the cosines and sines of one position, in f64; rounded to f32 once
 * at the end. Source: Su et al. 2021, 3.2; scaling by factors and YaRN: Peng et al. 2023, 3.2 and appendix A. */
#include "kernel/kernel.h"
#include "kernel/math.h"

/* The pair whose angle passes `turns` full turns within n_ctx_orig positions, in 0..n_rot - 1. */
static double pair_of_turns(const kernel_rope *r, double turns) {
    const double two_pi = 0x1.921fb54442d18p+2;
    double log_span = kernel_log((double)r->n_ctx_orig / (turns * two_pi));
    double pair = (double)r->n_rot * log_span / (2 * kernel_log((double)r->base)), last = (double)(r->n_rot - 1);
    return pair > last ? last : pair > 0 ? pair : 0; /* NaN: 0 */
}

void kernel_rope_frequencies(const kernel_rope *r, double *freq) {
    double log_base = kernel_log((double)r->base), scale = (double)r->scale, low = 0, high = 0;
    if (r->yarn != 0) {
        double slow = pair_of_turns(r, (double)r->beta_slow);
        low = (double)(uint32_t)pair_of_turns(r, (double)r->beta_fast); /* down */
        high = (double)(uint32_t)slow;
        high = high < slow ? high + 1 : high; /* up */
    }
    double width = high - low > 0.001 ? high - low : 0.001;
    for (uint32_t i = 0; i < r->n_rot / 2; i++) {
        double f = kernel_exp(-((double)(2 * i) / (double)r->n_rot) * log_base);
        if (r->factors != NULL)
            f /= (double)r->factors[i];
        double scaled = f * scale;
        if (r->yarn != 0) {
            double slowness = ((double)i - low) / width;
            slowness = slowness > 1 ? 1 : slowness > 0 ? slowness : 0;
            double keep = (1 - slowness) * (double)r->yarn;
            scaled = scaled * (1 - keep) + f * keep;
        }
        freq[i] = scaled;
    }
}

void kernel_rope_angles(uint32_t pos, const double *freq, uint32_t n, float mscale, float *cos_out, float *sin_out) {
    for (uint32_t i = 0; i < n; i++) {
        double s, c;
        math_sincos((double)pos * freq[i], &s, &c);
        cos_out[i] = (float)(c * (double)mscale);
        sin_out[i] = (float)(s * (double)mscale);
    }
}
