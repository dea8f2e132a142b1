/* Guessing by a smaller model of the same vocabulary. It chooses with the target's sampler settings and the same random
 * numbers, so that where the two distributions agree the two choices agree as well, warm or cold. Its session is cut
 * back to what it has in common with the sequence and fed the rest, so what was refused costs it nothing twice, and a
 * session kept by the caller starts the next turn where this one ended. */
#include "engine/draft.h"

#include "base/mem.h"
#include "engine/internal.h"

struct draft_model {
    engine_session *session;
    sampler *sampler;
    double cost;
    bool failed;
};

muga_status engine_draft_check(const engine *target, const engine *draft, muga_error *err) {
    const tokenizer *a = engine_tokenizer(target), *b = engine_tokenizer(draft);
    if (engine_params(draft)->encoder)
        return error_set(err, MUGA_E_INPUT, "the draft model makes embeddings, it doesn't write; use a language model");
    if (!a || !b)
        return error_set(err, MUGA_E_INPUT, "drafts need two models whose tokenizers are supported");
    if (tokenizer_count(a) != tokenizer_count(b))
        return error_set(err, MUGA_E_INPUT,
                         "the draft model has %d tokens, the model %d; use a draft model of the same vocabulary",
                         tokenizer_count(b), tokenizer_count(a));
    for (int32_t i = 0; i < tokenizer_count(a); i++) {
        span p = tokenizer_piece(a, i), q = tokenizer_piece(b, i);
        if (p.n != q.n || memcmp(p.p, q.p, p.n) != 0 || tokenizer_is_text(a, i) != tokenizer_is_text(b, i))
            return error_set(err, MUGA_E_INPUT,
                             "token %d is \"%.*s\" in the draft model, \"%.*s\" in the model; use a draft model of the "
                             "same vocabulary",
                             i, (int)MIN(q.n, (size_t)60), q.p, (int)MIN(p.n, (size_t)60), p.p);
    }
    return MUGA_OK;
}

muga_status draft_model_new(const engine_generate_args *a, draft_model **out, muga_error *err) {
    engine_session *s = a->drafts.session;
    const engine *e = engine_session_engine(s), *target = engine_session_engine(a->session);
    sampler_settings set = *a->sampling;
    set.penalty_last_n = 0; /* a guess needn't follow the window */
    draft_model *d = mem_alloc_array(1, sizeof *d);
    if (!d)
        return error_nomem(err, "the draft model");
    d->session = s;
    d->cost = (double)model_weight_bytes(e->model) / (double)model_weight_bytes(target->model);
    muga_status st = sampler_new(&set, engine_kernels(e), engine_params(e)->n_vocab, &d->sampler, err);
    if (st)
        draft_model_free(d);
    else
        *out = d;
    return st;
}

void draft_model_free(draft_model *d) {
    if (!d)
        return;
    sampler_free(d->sampler);
    free(d);
}

double draft_model_cost(const draft_model *d) {
    return d->cost;
}

/* The session holds seq[0, n) and the logits of the last. */
static muga_status catch_up(draft_model *d, const int32_t *seq, uint32_t n, muga_error *err) {
    engine_session *s = d->session;
    uint32_t common = engine_session_common(s, seq, n);
    if (common == n && engine_session_count(s) == n && engine_session_logits(s))
        return MUGA_OK;
    session_take_back(s, MIN(common, n - 1));
    uint32_t held = engine_session_count(s); /* less where that saw a page that was let go */
    return engine_session_feed(s, seq + held, n - held, err);
}

bool draft_model_guess(draft_model *d, const int32_t *seq, uint32_t n, const uint64_t *mask, int32_t *id) {
    muga_error ignored;
    if (d->failed || n >= engine_session_ctx(d->session))
        return false;
    d->failed = catch_up(d, seq, n, &ignored) ||
                sampler_pick(d->sampler, engine_session_logits(d->session), mask, n, id, &ignored);
    return !d->failed;
}
