/* The qwen3 architecture: dense Qwen 3 models.
 *
 * The layer is llama's, except that each head of q and k is normed before rope turns it:
 *     q = rope(rms_norm(Wq n)),  k = rope(rms_norm(Wk n))       one norm of head_dim weights for all heads
 * No biases; rope turns (i, i + n_rot/2). Source: Yang et al. 2025 (Qwen3), 2. */
#include "model/arch.h"

static void load(model_loader *l, model_layer *y) {
    llama_load(l, y);
    weights_norm(l, "attn_q_norm", l->m->p.head_dim, &y->q_norm);
    weights_norm(l, "attn_k_norm", l->m->p.head_dim, &y->k_norm);
}

const model_arch model_arch_qwen3 = {.name = "qwen3", .load = load, .layer = llama_layer};
