/* The bert architecture: encoders that turn a text into one vector (all-MiniLM, BGE, E5 and their like).
 *
 *     x = layer_norm(token + position + first token type)
 * Per layer:  x = layer_norm(x + Wo attention(Wq x, Wk x, Wv x))   every position sees every other
 *             x = layer_norm(x + Wdown gelu(Wup x))
 * All matrices have biases; GELU is the exact form; positions are learned vectors, so no rope. There is no output
 * matrix: what comes out are the rows of the last layer, which engine/embed.c pools. Source: Devlin et al. 2019;
 * Reimers and Gurevych 2019 (Sentence-BERT). */
#include "model/arch.h"

static void shared(model_loader *l, model *m) {
    const model_params *p = &m->p;
    weights_rows(l, "position_embd.weight", p->n_ctx_train, p->n_embd, &m->position_embd);
    if (weights_present(l, "token_types.weight"))
        weights_rows(l, "token_types.weight", 0, p->n_embd, &m->type_embd);
    weights_norm(l, "token_embd_norm", p->n_embd, &m->embd_norm);
}

static void load(model_loader *l, model_layer *y) {
    y->i_rope = MODEL_NO_ROPE;
    weights_attention(l, y);
    weights_norm(l, "attn_output_norm", l->m->p.n_embd, &y->attn_post_norm);
    weights_ungated(l, y);
    weights_norm(l, "layer_output_norm", l->m->p.n_embd, &y->ffn_post_norm);
}

static void layer(model_run *r, const model_layer *y) {
    graph_attention(r, y);
    graph_post_norm(r, &y->attn_post_norm);
    graph_gelu(r, y);
    graph_post_norm(r, &y->ffn_post_norm);
}

const model_arch model_arch_bert = {
    .name = "bert",
    .encoder = true,
    .layer_norm = true,
    .shared = shared,
    .load = load,
    .layer = layer,
};
