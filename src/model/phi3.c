/* The phi3 architecture: Phi-3, Phi-3.5 and Phi-4 mini.
 *
 * The layer is llama's over fused matrices (q, k, v in one; gate and up in one). Rope turns (i, i + n_rot/2) of the
 * first n_rot elements of a head, with short or long factors by the context limit (positions.c). A window is the same
 * in every layer. Source: Abdin et al. 2024 (Phi-3), 2; Ding et al. 2024 (LongRoPE). */
#include "model/arch.h"

const model_arch model_arch_phi3 = {
    .name = "phi3",
    .keys = MODEL_KEY_WINDOW,
    .load = llama_load,
    .layer = llama_layer,
};
