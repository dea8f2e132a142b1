/* An answer under a constraint: compiled once and kept for later requests, decoded, and, where no mask can say all that
 * the schema says (constrain_rechecks), kept back until the whole of it was found valid; else it is decoded again as
 * the next attempt.
 *
 * Each attempt is a request of its own, with its own `attempt` in the sampler's key, and the evidence is that of the
 * one that stood: it replays by itself. A greedy request would give the same answer again, so from its second attempt
 * on it is drawn, each time from a wider choice. */
#include "llm/constrained.h"

#include "base/mem.h"
#include "llm/grammars.h"
#include "llm/tokens.h"

static muga_status compile(void *ctx, constrain_grammar **out, muga_error *err) {
    const llm_request *q = ctx;
    constrain_options o = {.sources = q->sources, .n_sources = q->n_sources, .plain_integers = true};
    return q->schema  ? constrain_compile_schema(q->schema, &o, out, err)
           : q->regex ? constrain_compile_regex(q->regex, out, err)
                      : constrain_compile_gbnf(q->gbnf, strlen(q->gbnf), out, err);
}

static void make_key(const llm_request *q, grammars_key *k) {
    constrain_options o = {.sources = q->sources, .n_sources = q->n_sources};
    grammars_key_init(k);
    grammars_key_schema(k, q->schema, &o);
    grammars_key_text(k, q->regex);
    grammars_key_text(k, q->gbnf);
}

/* What is kept back says nothing, but may be cancelled. */
static bool keep_back(void *ctx, const char *p, size_t n) {
    const llm_request *q = ctx;
    (void)p;
    (void)n;
    return !q->on_text || q->on_text(q->on_text_ctx, "", 0);
}

llm_request constrained_attempt(const llm_request *q, uint32_t i) {
    llm_request r = *q;
    r.sampling.attempt += i;
    if (i > 0 && q->sampling.temperature == 0.0f)
        r.sampling.temperature = 0.5f + 0.1f * (float)i;
    return r;
}

void constrained_begin_again(llm_reply *out, llm_reply *before) {
    llm_reply_release(before);
    *out = (llm_reply){0};
}

void constrained_add_up(llm_reply *out, const llm_reply *before, uint32_t n_attempts) {
    out->n_attempts = n_attempts;
    out->n_generated += before->n_generated;
    out->n_forced += before->n_forced;
    out->n_drafted += before->n_drafted;
    out->n_accepted += before->n_accepted;
    out->prompt_us += before->prompt_us;
    out->generate_us += before->generate_us;
}

/* The text that was found valid, with its tokens. */
static muga_status give_out(const llm_request *q, token_queue *tokens, llm_reply *out, muga_error *err) {
    if (q->on_token)
        token_queue_give(tokens, 0, SIZE_MAX, q);
    if (q->on_text && out->text.len > 0 && !q->on_text(q->on_text_ctx, out->text.data, out->text.len))
        out->finish = LLM_FINISH_CANCELLED;
    return token_queue_finish(tokens, q, err);
}

static muga_status attempt(llm *m, const llm_request *q, uint32_t i, token_queue *tokens, llm_reply *out,
                           muga_error *err) {
    llm_request r = constrained_attempt(q, i);
    llm_reply before = *out;
    r.on_text = keep_back;
    r.on_text_ctx = (void *)(uintptr_t)q;
    r.on_token = q->on_token ? token_queue_push : NULL;
    r.on_token_ctx = tokens;
    token_queue_clear(tokens);
    constrained_begin_again(out, &before);
    muga_status st = m->table->complete(m, &r, out, err);
    constrained_add_up(out, &before, i + 1);
    return st;
}

static muga_status decode_and_check(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    muga_error why = {0};
    token_queue tokens = {0};
    muga_status st = MUGA_E_NEGATIVE;
    for (uint32_t i = 0; i < CONSTRAINED_ATTEMPTS && st == MUGA_E_NEGATIVE; i++) {
        if ((st = attempt(m, q, i, &tokens, out, err)))
            break;
        if (out->finish == LLM_FINISH_CANCELLED) { /* nobody has found it valid */
            str_truncate(&out->text, 0);
            break;
        }
        st = constrain_recheck(q->grammar, str_get(&out->text), out->text.len, &why);
        if (!st)
            st = give_out(q, &tokens, out, err);
        else if (st != MUGA_E_NEGATIVE)
            st = error_set(err, st, "%s", why.message);
    }
    token_queue_release(&tokens);
    if (st != MUGA_E_NEGATIVE)
        return st;
    return error_set(err, MUGA_E_LIMIT, "no valid answer in %u attempts: %.150s", CONSTRAINED_ATTEMPTS, why.message);
}

muga_status constrained_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    constrain_grammar *g = NULL;
    grammars_key key;
    llm_request r = *q;
    make_key(q, &key);
    muga_status st = grammars_take(m->grammars, &key, compile, &r, &g, err);
    if (st)
        return st;
    r.grammar = g;
    st = constrain_rechecks(g) ? decode_and_check(m, &r, out, err) : m->table->complete(m, &r, out, err);
    grammars_give_back(m->grammars, g);
    return st;
}
