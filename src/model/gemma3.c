/* The gemma3 architecture: Gemma 3, its text part.
 *
 * The layer is gemma2's without soft caps, and with norms of q and k before rope. Five layers with a window are
 * followed by one without. Layers with a window turn by a rope of base 10000, the others by the file's base and
 * scaling. In the 27B model scores are scaled as in gemma2's. Source: Gemma Team 2025 (Gemma 3), 2. */
#include "model/arch.h"

#define N_LAYER_27B 62
#define ROPE_GLOBAL 0 /* the one of the file's keys */
#define ROPE_LOCAL 1

static void params(model_loader *l, model *m) {
    float base = 10000.0f;
    gemma2_scales(l, N_LAYER_27B);
    key_u32(l, "attention.sliding_window", KEY_REQUIRED, 0, UINT32_MAX, &m->p.window);
    key_u32(l, "attention.sliding_window_pattern", 6, 1, 1024, &m->p.window_period);
    key_f32(l, "rope.freq_base_swa", KEY_ABOVE_0, 1e12f, &base);
    positions_add(l, base);
}

static void load(model_loader *l, model_layer *y) {
    uint32_t head_dim = l->m->p.head_dim, period = l->m->p.window_period;
    y->i_rope = l->i_layer % period == period - 1 ? ROPE_GLOBAL : ROPE_LOCAL;
    gemma2_load(l, y);
    weights_norm(l, "attn_q_norm", head_dim, &y->q_norm);
    weights_norm(l, "attn_k_norm", head_dim, &y->k_norm);
}

const model_arch model_arch_gemma3 = {
    .name = "gemma3",
    .keys = MODEL_KEY_WINDOW | MODEL_KEY_ATTN_SCALE | MODEL_KEY_LOGIT_CAP,
    .params = params,
    .load = load,
    .layer = gemma2_layer,
};
