/* Scoring: log P(continuation | session) for several continuations at once.
 *
 * The first token of each is read off the session's own logits; the rest is computed over forks, several in one step,
 * so that all labels share the prompt's pages and one pass over the weights. A fork copies at most one page. */
#include "engine/internal.h"

#define FORKS_AT_ONCE 16

typedef struct scored {
    const engine_score_args *a;
    const engine *e;
    const token_list *continuation;
    uint32_t n_prompt;
    float *work; /* [n_vocab] */
    double *logprob;
} scored;

static void add_row(scored *s, uint32_t pos, const float *logits) {
    double z = sampler_log_partition(s->e->kernels, logits, engine_params(s->e)->n_vocab, s->work);
    *s->logprob += (double)logits[s->continuation->ids[pos + 1 - s->n_prompt]] - z;
    if (s->a->on_choice)
        s->a->on_choice(s->a->on_choice_ctx, pos, logits);
}

static void on_row(void *ctx, uint32_t pos, const float *logits) {
    add_row(ctx, pos, logits);
}

static muga_status score_group(const engine_score_args *a, uint32_t from, uint32_t n, float *work, double *logprob,
                               muga_error *err) {
    engine *e = engine_session_engine(a->session);
    engine_session *forks[FORKS_AT_ONCE] = {0};
    engine_item items[FORKS_AT_ONCE];
    scored rows[FORKS_AT_ONCE];
    muga_status st = MUGA_OK;
    uint32_t n_items = 0;
    for (uint32_t i = from; i < from + n && !st; i++) {
        const token_list *c = &a->continuations[i];
        if (c->n < 2)
            continue;
        rows[n_items] = (scored){a, e, c, engine_session_count(a->session), work, &logprob[i]};
        st = engine_session_fork(a->session, &forks[n_items], err);
        items[n_items] = (engine_item){.session = forks[n_items],
                                       .ids = c->ids,
                                       .n = (uint32_t)c->n - 1,
                                       .want = ENGINE_LOGITS_ALL,
                                       .on_logits = on_row,
                                       .on_logits_ctx = &rows[n_items]};
        n_items += st == MUGA_OK;
    }
    if (!st && n_items > 0)
        st = engine_step_beside(e, items, n_items, err);
    for (uint32_t i = 0; i < n_items; i++)
        engine_session_free(forks[i]);
    return st;
}

muga_status engine_score(const engine_score_args *a, double *logprob, muga_error *err) {
    const engine *e = engine_session_engine(a->session);
    const float *logits = engine_session_logits(a->session);
    uint32_t n_vocab = engine_params(e)->n_vocab, n_prompt = engine_session_count(a->session);
    if (!logits)
        return error_set(err, MUGA_E_USAGE, "nothing was fed to this session, so there is nothing to score after");
    for (uint32_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->continuations[i].n; j++)
            if (a->continuations[i].ids[j] < 0 || (uint32_t)a->continuations[i].ids[j] >= n_vocab)
                return error_set(err, MUGA_E_INPUT, "token id %d is not in the vocabulary of %u",
                                 a->continuations[i].ids[j], n_vocab);
    float *work = mem_alloc_aligned(n_vocab * sizeof *work, 64);
    if (!work)
        return error_nomem(err, "scoring");
    double z = sampler_log_partition(e->kernels, logits, n_vocab, work);
    if (a->on_choice)
        a->on_choice(a->on_choice_ctx, n_prompt - 1, logits);
    for (uint32_t i = 0; i < a->n; i++)
        logprob[i] = a->continuations[i].n ? (double)logits[a->continuations[i].ids[0]] - z : 0.0;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < a->n && !st; i += FORKS_AT_ONCE)
        st = score_group(a, i, MIN(a->n - i, (uint32_t)FORKS_AT_ONCE), work, logprob, err);
    free(work);
    return st;
}
