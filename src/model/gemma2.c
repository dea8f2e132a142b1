/* The gemma2 architecture: Gemma 2.
 *
 * Embeddings are multiplied by sqrt(n_embd). Per layer:
 *     x += rms_norm(Wo attention(rope(Wq n), rope(Wk n), Wv n))   with n = rms_norm(x)
 *     x += rms_norm(Wdown (gelu(Wgate n) * Wup n))                with n = rms_norm(x)
 * Layers 0, 2, 4, ... have a window. Scores and logits have soft caps. Scores are scaled by 1 / sqrt(head_dim), in the
 * 27B model by 1 / sqrt(n_embd / n_head), and no key of the file says so. Rope turns (i, i + n_rot/2); GELU is its tanh
 * form. The 1 of the paper's "1 + w" is in the norms' weights already. Source: Gemma Team 2024 (Gemma 2), 2. */
#include "model/arch.h"

#include <math.h>

#define N_LAYER_27B 46

void gemma2_scales(model_loader *l, uint32_t n_layer_27b) {
    model_params *p = &l->m->p;
    p->embd_scale = sqrtf((float)p->n_embd);
    if (p->n_layer == n_layer_27b && !key_f32(l, "attention.scale", KEY_FROM_0, 1e6f, &p->attn_scale))
        p->attn_scale = 1.0f / sqrtf((float)p->n_embd / (float)p->n_head);
}

static void params(model_loader *l, model *m) {
    gemma2_scales(l, N_LAYER_27B);
    m->p.window_period = 2;
    /* Files from before these keys existed leave them out. */
    key_u32(l, "attention.sliding_window", 4096, 0, UINT32_MAX, &m->p.window);
    float cap;
    if (!key_f32(l, "attn_logit_softcapping", KEY_FROM_0, 1e6f, &cap))
        m->p.attn_cap = 50.0f;
    if (!key_f32(l, "final_logit_softcapping", KEY_FROM_0, 1e6f, &cap))
        m->p.logit_cap = 30.0f;
}

void gemma2_load(model_loader *l, model_layer *y) {
    uint32_t n_embd = l->m->p.n_embd;
    weights_norm(l, "attn_norm", n_embd, &y->attn_norm);
    weights_attention(l, y);
    weights_norm(l, "post_attention_norm", n_embd, &y->attn_post_norm);
    weights_norm(l, "ffn_norm", n_embd, &y->ffn_norm);
    weights_gated(l, y);
    weights_norm(l, "post_ffw_norm", n_embd, &y->ffn_post_norm);
}

void gemma2_layer(model_run *r, const model_layer *y) {
    graph_norm(r, &y->attn_norm);
    graph_attention(r, y);
    graph_add_normed(r, &y->attn_post_norm);
    graph_norm(r, &y->ffn_norm);
    graph_gated_gelu(r, y);
    graph_add_normed(r, &y->ffn_post_norm);
}

const model_arch model_arch_gemma2 = {
    .name = "gemma2",
    .keys = MODEL_KEY_WINDOW | MODEL_KEY_ATTN_SCALE | MODEL_KEY_ATTN_CAP | MODEL_KEY_LOGIT_CAP,
    .params = params,
    .load = gemma2_load,
    .layer = gemma2_layer,
};
