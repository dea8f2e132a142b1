/* The llama architecture: SmolLM2, Llama 2 and 3, Mistral, DeepSeek's distillations into Llama, and many more.
 *
 * Per layer:  x += Wo attention(rope(Wq n), rope(Wk n), Wv n)   with n = rms_norm(x)
 *             x += Wdown (silu(Wgate n) * Wup n)                with n = rms_norm(x)
 * Rope turns adjacent pairs (2i, 2i+1); Llama 3's rope_freqs.weight divides each frequency. Mistral's window is the
 * same in every layer. The output matrix is the embedding where the file has no output.weight. Source: Touvron et al.
 * 2023; Grattafiori et al. 2024, 3.2; Jiang et al. 2023 (Mistral). */
#include "model/arch.h"

void llama_load(model_loader *l, model_layer *y) {
    weights_norm(l, "attn_norm", l->m->p.n_embd, &y->attn_norm);
    weights_attention(l, y);
    weights_norm(l, "ffn_norm", l->m->p.n_embd, &y->ffn_norm);
    weights_gated(l, y);
}

void llama_layer(model_run *r, const model_layer *y) {
    graph_norm(r, &y->attn_norm);
    graph_attention(r, y);
    graph_add(r);
    graph_norm(r, &y->ffn_norm);
    graph_gated_silu(r, y);
    graph_add(r);
}

const model_arch model_arch_llama = {
    .name = "llama",
    .keys = MODEL_KEY_WINDOW,
    .rope_pairs = true,
    .load = llama_load,
    .layer = llama_layer,
};
