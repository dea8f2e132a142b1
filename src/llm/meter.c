/* Counting questions and tokens (meter.h). Owns: the counts. All else is the inner model's, its table included, so that
 * a metered model answers, splits and replays as it does bare. */
#include "llm/meter.h"

#include "base/mem.h"

static llm_meter *meter_of(llm *m) {
    return (llm_meter *)m;
}

static llm_meter *outermost(llm_meter *m) {
    while (m->of) {
        m = m->of;
    }
    return m;
}

static void tell(llm_meter *m, const llm_meter_question *q) {
    m = outermost(m);
    if (m->on_question) {
        m->on_question(m->on_question_ctx, q);
    }
}

static void count(llm_meter *m, const llm_meter_question *q, uint64_t read_us, uint64_t write_us) {
    tell(m, q);
    for (; m; m = m->of) {
        m->n_asked++;
        m->n_prompt += q->n_prompt;
        m->n_cached += q->n_cached;
        m->n_generated += q->n_generated;
        m->read_us += read_us;
        m->write_us += write_us;
    }
}

static void count_reply(llm_meter *m, const llm_reply *r) {
    count(m,
          &(llm_meter_question){true, false, r->n_prompt, r->n_prompt_cached, r->n_generated,
                                r->n_generated > 0 && r->n_forced == r->n_generated},
          r->prompt_us, r->generate_us);
}

static llm_request with_flag(llm_meter *m, const llm_request *q) {
    llm_request r = *q;
    r.cancelled = q->cancelled ? q->cancelled : outermost(m)->cancelled;
    return r;
}

static muga_status meter_complete(llm *l, const llm_request *q, llm_reply *out, muga_error *err) {
    llm_meter *m = meter_of(l);
    const llm_request r = with_flag(m, q);
    tell(m, &(llm_meter_question){.scores = false});
    muga_status st = m->inner->table->complete(m->inner, &r, out, err);
    count_reply(m, out);
    return st;
}

static muga_status meter_complete_split(llm *l, const llm_request *q, llm_reply *out, muga_error *err) {
    llm_meter *m = meter_of(l);
    const llm_request r = with_flag(m, q);
    tell(m, &(llm_meter_question){.scores = false});
    muga_status st = m->inner->table->complete_split(m->inner, &r, out, err);
    count_reply(m, out);
    return st;
}

static muga_status meter_score(llm *l, const llm_score_request *q, llm_score_reply *out, muga_error *err) {
    llm_meter *m = meter_of(l);
    const atomic_bool *cancelled = outermost(m)->cancelled;
    if (cancelled && atomic_load(cancelled)) {
        return error_set(err, MUGA_E_CANCELLED, "the question was cancelled");
    }
    tell(m, &(llm_meter_question){.scores = true});
    muga_status st = m->inner->table->score(m->inner, q, out, err);
    count(m, &(llm_meter_question){true, true, out->n_prompt, out->n_prompt_cached, 0, false}, out->total_us, 0);
    return st;
}

static muga_status meter_count(llm *l, const json_t *messages, const json_t *tools, uint32_t *n_tok, muga_error *err) {
    llm *inner = meter_of(l)->inner;
    return inner->table->count(inner, messages, tools, n_tok, err);
}

static muga_status meter_replay(llm *l, const json_t *evidence, muga_error *err) {
    llm *inner = meter_of(l)->inner;
    return inner->table->replay(inner, evidence, err);
}

static muga_status meter_identify(llm *l, json_t **out, muga_error *err) {
    llm *inner = meter_of(l)->inner;
    return inner->table->identify(inner, out, err);
}

static muga_status meter_form(llm *l, const struct toolcall_model **out, muga_error *err) {
    llm *inner = meter_of(l)->inner;
    return inner->table->form(inner, out, err);
}

static muga_status meter_render(llm *l, const llm_request *q, str *out, muga_error *err) {
    llm *inner = meter_of(l)->inner;
    return inner->table->render(inner, q, out, err);
}

static void meter_get_counts(llm *l, llm_counts *out) {
    llm *inner = meter_of(l)->inner;
    inner->table->get_counts(inner, out);
}

static void meter_free(llm *l) {
    (void)l;
}

/* ---- a handle with another adapter ---- */

static void adapted_free(llm *l) {
    llm_meter *m = meter_of(l);
    llm_free(m->inner);
    free(m);
}

static muga_status meter_adapt(llm *l, const char *adapter, float scale, llm **out, muga_error *err) {
    llm_meter *of = meter_of(l), *m = mem_alloc_array(1, sizeof *m);
    llm *inner = NULL;
    muga_status st = m ? of->inner->table->adapt(of->inner, adapter, scale, &inner, err)
                       : error_nomem(err, "the model with its adapter");
    if (st) {
        free(m);
        return st;
    }
    *out = llm_meter_init(m, inner);
    m->table.free = adapted_free;
    m->of = of;
    return MUGA_OK;
}

llm *llm_meter_init(llm_meter *m, llm *inner) {
    const llm_table *t = inner->table; /* what it can't do, the meter can't, either */
    *m = (llm_meter){.base = *inner, .inner = inner};
    m->table = (llm_table){.complete = t->complete ? meter_complete : NULL,
                           .score = t->score ? meter_score : NULL,
                           .count = t->count ? meter_count : NULL,
                           .replay = t->replay ? meter_replay : NULL,
                           .identify = t->identify ? meter_identify : NULL,
                           .free = meter_free,
                           .form = t->form ? meter_form : NULL,
                           .render = t->render ? meter_render : NULL,
                           .complete_split = t->complete_split ? meter_complete_split : NULL,
                           .get_counts = t->get_counts ? meter_get_counts : NULL,
                           .adapt = t->adapt ? meter_adapt : NULL};
    m->base.table = &m->table;
    return &m->base;
}

void llm_meter_reset(llm_meter *m) {
    m->n_asked = m->n_prompt = m->n_cached = m->n_generated = m->read_us = m->write_us = 0;
}
