/* The nemotron architecture: Nemotron-Mini 4B and its relatives.
 *
 * Per layer:  x += Wo attention(rope(Wq n), rope(Wk n), Wv n)   with n = layer_norm(x)
 *             x += Wdown max(Wup n, 0)^2                        with n = layer_norm(x)
 * Norms have biases; there is no gate. Rope turns (i, i + n_rot/2) of the first n_rot elements of a head. Source:
 * Parmar et al. 2024 (Nemotron-4 15B), 2; So et al. 2021 for the squared ReLU. */
#include "model/arch.h"

static void load(model_loader *l, model_layer *y) {
    weights_norm(l, "attn_norm", l->m->p.n_embd, &y->attn_norm);
    weights_attention(l, y);
    weights_norm(l, "ffn_norm", l->m->p.n_embd, &y->ffn_norm);
    weights_ungated(l, y);
}

static void layer(model_run *r, const model_layer *y) {
    graph_norm(r, &y->attn_norm);
    graph_attention(r, y);
    graph_add(r);
    graph_norm(r, &y->ffn_norm);
    graph_relu_square(r, y);
    graph_add(r);
}

const model_arch model_arch_nemotron = {.name = "nemotron", .layer_norm = true, .load = load, .layer = layer};
