/* Pieces of prompts: a batch of one sequence that wants no row, kept from one layer to the next. Each call takes its
 * turn among those who compute (engine.step_turns), so that others compute between two calls, in a run of their own. */
#include "engine/piece.h"
#include "engine/internal.h"

struct piece {
    engine *e;
    model_run *run;
    engine_session *session; /* NULL: there's none */
    uint32_t i_layer;        /* the next */
    model_batch batch;
    int32_t ids[PIECE_ROWS];
    uint32_t pos[PIECE_ROWS], i_seq[PIECE_ROWS], n_ctx[1];
    void *const *lists[MODEL_MAX_KINDS][1];
    model_adapter_use adapters[1];
};

muga_status piece_new(engine *e, piece **out, muga_error *err) {
    piece *p = mem_alloc_array(1, sizeof *p);
    if (!p)
        return error_nomem(err, "a piece of a prompt");
    model_run_options o = {.kernels = e->kernels,
                           .pool = e->pool,
                           .act = e->o.exact ? KERNEL_ACT_F32 : KERNEL_ACT_INT8,
                           .kv = e->kv,
                           .max_tok = PIECE_ROWS,
                           .max_seq = 1,
                           .no_logits = true,
                           .on_input = e->o.on_input,
                           .on_input_ctx = e->o.on_input_ctx};
    muga_status st = model_run_new(e->model, &o, &p->run, err);
    if (st) {
        free(p);
        return st;
    }
    p->e = e;
    *out = p;
    return MUGA_OK;
}

void piece_free(piece *p) {
    if (!p)
        return;
    model_run_free(p->run);
    free(p);
}

muga_status piece_begin(piece *p, engine_session *s, const int32_t *ids, uint32_t n, muga_error *err) {
    uint32_t held = engine_session_count(s);
    muga_status st = session_check_rows(s, ids, n, err);
    p->adapters[0] = session_adapter_use(s);
    if (!st && p->adapters[0].adapter)
        st = model_run_prepare(p->run, p->adapters[0].adapter, err);
    if (st)
        return st;
    memcpy(p->ids, ids, n * sizeof *ids);
    for (uint32_t i = 0; i < n; i++)
        p->pos[i] = held + i;
    p->n_ctx[0] = engine_session_ctx(s);
    p->batch = (model_batch){.n_tok = n,
                             .ids = p->ids,
                             .pos = p->pos,
                             .i_seq = p->i_seq,
                             .n_ctx = p->n_ctx,
                             .n_seq = 1,
                             .adapters = p->adapters};
    for (uint32_t k = 0; k < model_kinds(p->e->model); k++) {
        p->lists[k][0] = session_write_pages(s, k, n);
        p->batch.pages[k] = p->lists[k];
    }
    p->session = s;
    p->i_layer = 0;
    return MUGA_OK;
}

uint32_t piece_rows(const piece *p) {
    return p->batch.n_tok;
}

bool piece_go_on(piece *p, bool (*more)(void *ctx), void *ctx) {
    engine *e = p->e;
    uint32_t n_layer = engine_params(e)->n_layer;
    turns_take(&e->step_turns);
    if (p->i_layer == 0)
        model_forward_begin(p->run, &p->batch);
    do
        model_forward_layer(e->model, p->run, p->i_layer++);
    while (more(ctx) && p->i_layer < n_layer);
    bool is_whole = p->i_layer == n_layer;
    if (is_whole) {
        session_append(p->session, p->ids, p->batch.n_tok);
        p->session = NULL;
    }
    turns_give(&e->step_turns);
    return is_whole;
}

void piece_drop(piece *p) {
    session_spoil(p->session);
    p->session = NULL;
}
