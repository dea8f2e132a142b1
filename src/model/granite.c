/* The granite architecture: dense Granite 3 models.
 *
 * The layer is llama's with scales the file gives: embeddings times embedding_scale, what a block adds times
 * residual_scale, scores times attention.scale in place of 1 / sqrt(head_dim), logits divided by logit_scale. A false
 * rope.scaling.finetuned means no rope at all. Rope turns adjacent pairs. Source: Granite Team 2024; the scales come
 * from Yang et al. 2022 (muP). */
#include "model/arch.h"

static void params(model_loader *l, model *m) {
    key_f32(l, "logit_scale", KEY_REQUIRED_ABOVE_0, 1e6f, &m->p.logit_scale);
}

static void load(model_loader *l, model_layer *y) {
    bool rope = true;
    key_bool(l, "rope.scaling.finetuned", &rope);
    if (!rope)
        y->i_rope = MODEL_NO_ROPE;
    llama_load(l, y);
}

const model_arch model_arch_granite = {
    .name = "granite",
    .keys = MODEL_KEY_ATTN_SCALE | MODEL_KEY_LOGIT_SCALE | MODEL_KEY_RESIDUAL_SCALE | MODEL_KEY_EMBD_SCALE,
    .rope_pairs = true,
    .params = params,
    .load = load,
    .layer = llama_layer,
};
