/* The llama architecture: SmolLM2, Llama 2 and 3, and the many models that share their graph.
 *
 * Per layer:  x += Wo attention(rope(Wq n), rope(Wk n), Wv n)   with n = rms_norm(x)
 *             x += Wdown (silu(Wgate n) * Wup n)                with n = rms_norm(x)
 * Rope turns adjacent pairs (2i, 2i+1); Llama 3's rope_freqs.weight divides each frequency. The output matrix is the
 * embedding where the file has no output.weight. Source: Touvron et al. 2023; Grattafiori et al. 2024, 3.2.
 *
 * Refuses mixtures of experts and rope scalings other than linear. */
#include "model/arch.h"

static muga_status load_layer(model_loader *l, const model_params *p, uint32_t i, model_layer *y, muga_error *err) {
    uint32_t n_q = p->n_head * p->head_dim, n_kv = p->n_head_kv * p->head_dim;
    const weights_part qkv[] = {{"attn_q", n_q}, {"attn_k", n_kv}, {"attn_v", n_kv}}, o = {"attn_output", p->n_embd};
    const weights_part gate_up[] = {{"ffn_gate", p->n_ff}, {"ffn_up", p->n_ff}}, down = {"ffn_down", p->n_embd};
    muga_status st = weights_layer_vector(l, i, "attn_norm.weight", p->n_embd, &y->attn_norm, err);
    if (!st)
        st = weights_linear(l, i, qkv, 3, p->n_embd, &y->qkv, err);
    if (!st)
        st = weights_linear(l, i, &o, 1, n_q, &y->o, err);
    if (!st)
        st = weights_layer_vector(l, i, "ffn_norm.weight", p->n_embd, &y->ffn_norm, err);
    if (!st)
        st = weights_linear(l, i, gate_up, 2, p->n_embd, &y->gate_up, err);
    if (!st)
        st = weights_linear(l, i, &down, 1, p->n_ff, &y->down, err);
    return st;
}

static muga_status load(model_loader *l, model *m, muga_error *err) {
    const model_params *p = &m->p;
    muga_status st;
    if (weights_present(l, "rope_freqs.weight") &&
        (st = weights_vector(l, "rope_freqs.weight", p->n_rot / 2, &m->rope_factors, err)))
        return st;
    for (uint32_t i = 0; i < p->n_layer; i++)
        if ((st = load_layer(l, p, i, &m->layers[i], err)))
            return st;
    return MUGA_OK;
}

static void forward(const model *m, model_run *r, const model_batch *b) {
    graph_begin(r, b);
    graph_norm(r, m->layers[0].attn_norm);
    for (uint32_t i = 0; i < m->p.n_layer; i++) {
        const model_layer *y = &m->layers[i];
        bool last = i + 1 == m->p.n_layer;
        graph_linear(r, &y->qkv, r->xn, r->s_embd, r->q, r->s_qkv);
        graph_rope_store(r, i, true);
        if (last)
            graph_keep_wanted(r, b);
        if (r->n == 0)
            return;
        graph_attention(r, i);
        graph_linear(r, &y->o, r->att, r->s_att, r->xn, r->s_embd);
        graph_add_norm(r, y->ffn_norm);
        graph_linear(r, &y->gate_up, r->xn, r->s_embd, r->gate, r->s_ff);
        graph_silu_mul(r);
        graph_linear(r, &y->down, r->gate, r->s_ff, r->xn, r->s_embd);
        graph_add_norm(r, last ? m->output_norm : m->layers[i + 1].attn_norm);
    }
    graph_project(r, b);
}

const model_arch model_arch_llama = {"llama", load, forward};
