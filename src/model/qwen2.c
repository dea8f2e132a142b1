/* The qwen2 architecture: Qwen 2 and 2.5, DeepSeek's distillations into Qwen.
 *
 * The layer is llama's, with biases on q, k and v; rope turns (i, i + n_rot/2). Source: Yang et al. 2024 (Qwen2), 2.2.
 */
#include "model/arch.h"

static void load(model_loader *l, model_layer *y) {
    weights_require(l, "attn_q", "bias");
    weights_require(l, "attn_k", "bias");
    weights_require(l, "attn_v", "bias");
    llama_load(l, y);
}

const model_arch model_arch_qwen2 = {.name = "qwen2", .load = load, .layer = llama_layer};
