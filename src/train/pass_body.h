/* Template: a model's steps as operations of a tape, and one pass there and back (tape.h).
 *
 * The steps of a layer come from its architecture's own file (model_layer_steps). Layers that are kept are computed
 * with notes at once; of the others only what they take stays, and they are computed once more, with notes, on the way
 * back. Gradients inside a layer stand in memory for one layer at a time either way. */
typedef struct graph {
    const pass_args *a;
    tape t;
    const model *m;
} graph;

static tensor_view view_of(const gguf_tensor *w) {
    return (tensor_view){w->type, w->dims[0], w->dims[1], w->data};
}

static var *graph_linear(graph *g, const model_linear *l, var *x) {
    const train_layout *layout = g->a->layout;
    tape_linear_args a = {.n_w = l->n_parts, .bias = l->bias};
    for (uint32_t i = 0; i < l->n_parts; i++) {
        const train_place *p = &layout->places[(size_t)l->i_linear * MODEL_MAX_PARTS + i];
        a.w[i] = view_of(l->parts[i]);
        if (p->a == TRAIN_NO_PAIR)
            continue;
        a.pair[i] = (tape_pair){.a = g->a->params + p->a,
                                .b = g->a->params + p->b,
                                .ga = g->a->grads ? g->a->grads + p->a : NULL,
                                .gb = g->a->grads ? g->a->grads + p->b : NULL,
                                .rank = layout->rank,
                                .scale = (real)layout->scale};
    }
    return tape_linear(&g->t, x, &a);
}

static var *graph_normed(graph *g, const model_norm *w, uint32_t n_head, var *x) {
    tape_norm_args a = {w->w, w->b, g->m->p.norm_eps, model_has_layer_norms(g->m), n_head};
    return tape_norm(&g->t, x, &a);
}

static var *graph_turned(graph *g, const model_layer *y, uint32_t n_head, var *x) {
    const model_params *p = &g->m->p;
    if (y->i_rope == MODEL_NO_ROPE)
        return x;
    const train_pass *pass = g->a->pass;
    tape_rope_args a = {pass->cos[y->i_rope],  pass->sin[y->i_rope], n_head, p->head_dim, p->n_rot,
                        model_rope_pairs(g->m)};
    return tape_rope(&g->t, x, &a);
}

/* Of the last layer only rows that predict something: nobody looks at what others become after attention. */
static var *graph_needed(graph *g, const model_layer *y, var *x) {
    const train_pass *pass = g->a->pass;
    return y == &g->m->layers[g->m->p.n_layer - 1] ? tape_rows(&g->t, x, pass->last, pass->n_last) : x;
}

static var *graph_attend(graph *g, const model_layer *y, var *xn) {
    const model_params *p = &g->m->p;
    uint32_t n_q = p->n_head * p->head_dim, n_kv = p->n_head_kv * p->head_dim;
    var *qkv = graph_linear(g, &y->qkv, xn);
    var *q = tape_columns(&g->t, qkv, 0, n_q), *k = tape_columns(&g->t, qkv, n_q, n_kv);
    var *v = tape_columns(&g->t, qkv, n_q + n_kv, n_kv);
    if (y->q_norm.w)
        q = graph_normed(g, &y->q_norm, p->n_head, q);
    if (y->k_norm.w)
        k = graph_normed(g, &y->k_norm, p->n_head_kv, k);
    q = graph_turned(g, y, p->n_head, q);
    k = graph_turned(g, y, p->n_head_kv, k);
    tape_attention_args a = {p->n_head,   p->n_head_kv, p->head_dim,          p->attn_scale,
                             p->attn_cap, y->window,    &g->a->pass->segments};
    return graph_linear(g, &y->o, graph_needed(g, y, tape_attention(&g->t, q, k, v, &a)));
}

static var *graph_layer(graph *g, uint32_t i_layer, var *x) {
    const model_layer *y = &g->m->layers[i_layer];
    model_step steps[MODEL_MAX_STEPS];
    uint32_t n = model_layer_steps(g->m, i_layer, steps);
    var *xn = x;
    for (uint32_t i = 0; i < n; i++) {
        const model_norm *norm = steps[i].norm;
        switch (steps[i].kind) {
        case MODEL_STEP_NORM: xn = graph_normed(g, norm, 1, x); break;
        case MODEL_STEP_ADD:
            xn = norm ? graph_normed(g, norm, 1, xn) : xn;
            x = tape_add(&g->t, x, xn, g->m->p.residual_scale);
            break;
        case MODEL_STEP_ATTENTION:
            xn = graph_attend(g, y, xn);
            x = graph_needed(g, y, x);
            break;
        case MODEL_STEP_GATED_SILU:
        case MODEL_STEP_GATED_GELU:
            xn = tape_gated(&g->t, graph_linear(g, &y->gate_up, xn), steps[i].kind == MODEL_STEP_GATED_GELU);
            xn = graph_linear(g, &y->down, xn);
            break;
        case MODEL_STEP_RELU_SQUARE:
            xn = graph_linear(g, &y->down, tape_relu_square(&g->t, graph_linear(g, &y->gate_up, xn)));
            break;
        case MODEL_STEP_POST_NORM:
        case MODEL_STEP_GELU: return NULL; /* of encoders, which train_new refuses */
        }
    }
    return x;
}

/* The last norm and the loss of what the last layer gives. */
static void graph_end(graph *g, var *x) {
    const train_pass *pass = g->a->pass;
    const model *m = g->m;
    tape_loss_args a = {.w = view_of(m->tied ? m->embd : gguf_tensor_find(m->file, "output.weight")),
                        .logit_scale = m->p.logit_scale,
                        .logit_cap = m->p.logit_cap,
                        .n = pass->n_target,
                        .row = pass->row,
                        .label = pass->label,
                        .weight = g->a->weight,
                        .loss = g->a->loss,
                        .logits = g->a->logits};
    tape_loss(&g->t, graph_normed(g, &m->output_norm, 1, x), &a);
}

static var *graph_begin(graph *g) {
    tensor_view table = view_of(g->m->embd);
    return tape_embedding(&g->t, &table, g->a->pass->ids, g->a->pass->n_tok, g->m->p.embd_scale);
}

static void copy_rows(real *to, const real *from, const var *x) {
    memcpy(to, from, (size_t)x->rows * x->cols * sizeof *to);
}

/* What a layer takes, and where it was computed with notes at once: these, and what was made. */
typedef struct layer_input {
    var *x;
    void *notes;
    var *vars;
} layer_input;

/* One layer without notes: what it takes and gives stays, what is between is gone. */
static void graph_pass_by(graph *g, layer_input *input, uint32_t i) {
    const train_pass *pass = g->a->pass;
    g->t.recording = false;
    input[i + 1].x = tape_var(&g->t, i + 1 < g->m->p.n_layer ? pass->n_tok : pass->n_last, g->m->p.n_embd, false);
    tape_mark mark = tape_memory_mark(g->a->memory);
    var *x = graph_layer(g, i, input[i].x);
    if (x && input[i + 1].x)
        copy_rows(input[i + 1].x->v, x->v, x);
    tape_memory_rewind(g->a->memory, mark);
}

/* One with notes; the gradients inside have no memory yet. */
static void graph_note(graph *g, layer_input *input, uint32_t i) {
    g->t.recording = g->t.late = true;
    g->t.vars = NULL;
    g->t.last = NULL;
    input[i].x->wanted = i > 0;
    input[i + 1].x = graph_layer(g, i, input[i].x);
    input[i].notes = g->t.last;
    input[i].vars = g->t.vars;
    g->t.late = false;
}

/* The first layers with notes, as many as the limit has room for; the last, too: it is gone back through at once. */
static void graph_forward(graph *g, layer_input *input) {
    uint64_t kept = 0, most = 0;
    uint32_t n_layer = g->m->p.n_layer;
    input[0].x = graph_begin(g);
    for (uint32_t i = 0; i < n_layer && !g->t.failed; i++) {
        if (!g->a->grads || (i + 1 < n_layer && (kept >= g->a->keep_bytes || most > g->a->keep_bytes - kept))) {
            graph_pass_by(g, input, i);
            continue;
        }
        size_t before = tape_memory_used(g->a->memory);
        graph_note(g, input, i);
        most = MAX(most, tape_memory_used(g->a->memory) - before);
        kept += tape_memory_used(g->a->memory) - before;
    }
}

/* Layer by layer from the last to the first; those without notes are computed once more. grad [2]: room for the
 * gradients of two streams. */
static void graph_back(graph *g, layer_input *input, real *const grad[2]) {
    uint32_t n_layer = g->m->p.n_layer;
    size_t bytes = (size_t)input[0].x->rows * input[0].x->cols * sizeof(real);
    tape_mark mark = tape_memory_mark(g->a->memory);
    g->t.recording = true;
    input[n_layer].x->g = memset(grad[n_layer % 2], 0, bytes);
    input[n_layer].x->wanted = true;
    g->t.last = NULL;
    graph_end(g, input[n_layer].x);
    tape_backward(&g->t);
    tape_memory_rewind(g->a->memory, mark);
    for (uint32_t i = n_layer; i-- > 0 && !g->t.failed;) {
        input[i].x->g = i > 0 ? memset(grad[i % 2], 0, bytes) : NULL;
        input[i].x->wanted = i > 0;
        if (input[i].notes) {
            g->t.last = input[i].notes;
            g->t.vars = input[i].vars;
            tape_give(&g->t);
        } else {
            var *x = graph_layer(g, i, input[i].x);
            (*g->a->n_again)++;
            if (x && x->g)
                copy_rows(x->g, input[i + 1].x->g, x);
        }
        tape_backward(&g->t);
        tape_memory_rewind(g->a->memory, mark);
    }
}

bool train_pass_run(const pass_args *a) {
    graph g = {.a = a, .t = {.memory = a->memory, .pool = a->pool}, .m = a->layout->m};
    uint32_t n_layer = g.m->p.n_layer;
    size_t n = (size_t)a->pass->n_tok * g.m->p.n_embd;
    tape_memory_reset(a->memory);
    layer_input *input = tape_get(&g.t, n_layer + 1, sizeof *input);
    real *grad[2] = {tape_get(&g.t, n, sizeof(real)), tape_get(&g.t, n, sizeof(real))};
    if (g.t.failed)
        return false;
    memset(input, 0, (n_layer + 1) * sizeof *input);
    graph_forward(&g, input);
    if (!g.t.failed && a->grads)
        graph_back(&g, input, grad);
    else if (!g.t.failed)
        graph_end(&g, input[n_layer].x);
    return !g.t.failed;
}
