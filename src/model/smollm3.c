/* The smollm3 architecture: SmolLM3.
 *
 * The layer is llama's, but every fourth one (3, 7, ...) has no rope. Rope turns adjacent pairs. Source: Bakouch et al.
 * 2025 (SmolLM3); Yang et al. 2025 for layers without positions. */
#include "model/arch.h"

static void load(model_loader *l, model_layer *y) {
    if (l->i_layer % 4 == 3)
        y->i_rope = MODEL_NO_ROPE;
    llama_load(l, y);
}

const model_arch model_arch_smollm3 = {.name = "smollm3", .rope_pairs = true, .load = load, .layer = llama_layer};
