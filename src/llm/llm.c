/* The face of llm/: dispatch to the implementation, and what all of them check.
 *
 * A role is a word of small letters: templates write it between control marks, where other text could forge one. */
#include "base/utf8.h"
#include "llm/answer.h"
#include "llm/constrained.h"
#include "llm/only.h"
#include "llm/toolcall.h"

#include <string.h>

void llm_reply_release(llm_reply *r) {
    str_release(&r->text);
    str_release(&r->reasoning);
    toolcall_calls_free(r->calls, r->n_calls);
    r->calls = NULL;
    r->n_calls = 0;
    free(r->prompt_ids);
    free(r->ids);
    r->prompt_ids = r->ids = NULL;
    r->n_ids = 0;
    json_decref(r->evidence);
    r->evidence = NULL;
}

void llm_score_reply_release(llm_score_reply *r) {
    free(r->logprob);
    free(r->n_tokens);
    json_decref(r->evidence);
    *r = (llm_score_reply){0};
}

static muga_status check_messages(const json_t *messages, muga_error *err) {
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return error_set(err, MUGA_E_INPUT, "messages must be an array of at least one message");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const char *role = json_get_string(json_array_get(messages, i), "role");
        if (!role || !*role || strlen(role) > 32 || strspn(role, "abcdefghijklmnopqrstuvwxyz_") != strlen(role))
            return error_set(err, MUGA_E_INPUT, "message %zu has no role such as system, user, assistant or tool", i);
    }
    return MUGA_OK;
}

bool llm_is_cancelled(const llm_request *q) {
    return q->cancelled && atomic_load(q->cancelled);
}

static muga_status check_prompt(const llm_request *q, muga_error *err) {
    bool raw = q->prompt_text.p != NULL || (!q->messages && q->n_prompt_ids > 0);
    if (!raw)
        return check_messages(q->messages, err);
    if (q->messages || q->tools || q->prefix || answer_is_split(q))
        return error_set(err, MUGA_E_USAGE,
                         "a raw prompt has no template: neither messages nor tools nor the beginning of an answer go "
                         "with it, and the answer isn't split");
    if (q->prompt_text.p && !utf8_valid(q->prompt_text.p, q->prompt_text.n))
        return error_set(err, MUGA_E_INPUT, "the prompt is not UTF-8");
    return MUGA_OK;
}

static muga_status check_bias(const llm_request *q, muga_error *err) {
    if (q->n_logit_bias > LLM_MAX_BIAS)
        return error_set(err, MUGA_E_USAGE, "%zu logit biases; at most %d are taken", q->n_logit_bias, LLM_MAX_BIAS);
    for (size_t i = 0; i < q->n_logit_bias; i++)
        if (!(q->logit_bias[i].bias >= -100.0f && q->logit_bias[i].bias <= 100.0f))
            return error_set(err, MUGA_E_USAGE, "the logit bias of token %d is %g; it must be from -100 to 100",
                             q->logit_bias[i].id, (double)q->logit_bias[i].bias);
    return MUGA_OK;
}

static muga_status check_request(const llm_request *q, muga_error *err) {
    if ((q->schema != NULL) + (q->regex != NULL) + (q->gbnf != NULL) > 1)
        return error_set(err, MUGA_E_USAGE,
                         "an answer is constrained by a schema, a regex or a grammar, not by several");
    if (q->priority > LLM_MAX_PRIORITY || q->priority < -LLM_MAX_PRIORITY)
        return error_set(err, MUGA_E_USAGE, "priority %d; it goes from %d to %d", q->priority, -LLM_MAX_PRIORITY,
                         LLM_MAX_PRIORITY);
    if (q->top_logprobs > LLM_MAX_TOP)
        return error_set(err, MUGA_E_USAGE, "the %u likeliest tokens; at most %d are told", q->top_logprobs,
                         LLM_MAX_TOP);
    muga_status st = check_bias(q, err);
    if (!st)
        st = check_prompt(q, err);
    if (!st && llm_is_cancelled(q))
        st = error_set(err, MUGA_E_CANCELLED, "interrupted");
    return st;
}

muga_status llm_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    *out = (llm_reply){0};
    muga_status st = check_request(q, err);
    out->n_attempts = 1;
    if (!st)
        st = answer_is_split(q) && m->table->complete_split ? m->table->complete_split(m, q, out, err)
             : answer_is_split(q)                           ? answer_complete(m, q, out, err)
             : q->schema || q->regex || q->gbnf             ? constrained_complete(m, q, out, err)
                                                            : m->table->complete(m, q, out, err);
    if (st)
        llm_reply_release(out);
    return st;
}

muga_status llm_score(llm *m, const llm_score_request *q, llm_score_reply *out, muga_error *err) {
    *out = (llm_score_reply){0};
    if (q->n_labels == 0)
        return error_set(err, MUGA_E_USAGE, "no labels to score");
    muga_status st = check_messages(q->messages, err);
    if (!st)
        st = m->table->score(m, q, out, err);
    if (st)
        llm_score_reply_release(out);
    return st;
}

muga_status llm_count(llm *m, const json_t *messages, const json_t *tools, uint32_t *n_tok, muga_error *err) {
    muga_status st = check_messages(messages, err);
    return st ? st : m->table->count(m, messages, tools, n_tok, err);
}

muga_status llm_render(llm *m, const llm_request *q, str *out, muga_error *err) {
    llm_request r = *q;
    r.plain_prompt = true;
    muga_status st = check_request(&r, err);
    if (!st && !m->table->render)
        st = error_set(err, MUGA_E_USAGE, "%.80s has no template here", m->name);
    if (st)
        return st;
    return answer_is_split(q) ? answer_render(m, &r, out, err) : m->table->render(m, &r, out, err);
}

/* ---- what a model with a vocabulary can do ---- */

static muga_status not_here(const llm *m, const char *what, muga_error *err) {
    return error_set(err, MUGA_E_USAGE, "%.80s doesn't run here, so %s", m->name, what);
}

void llm_embed_reply_release(llm_embed_reply *r) {
    free(r->vectors);
    free(r->n_tokens);
    *r = (llm_embed_reply){0};
}

muga_status llm_embed(llm *m, const llm_embed_request *q, llm_embed_reply *out, muga_error *err) {
    *out = (llm_embed_reply){0};
    if (!m->table->embed)
        return not_here(m, "it makes no vectors", err);
    if (q->n == 0)
        return error_set(err, MUGA_E_INPUT, "no texts to embed");
    muga_status st = m->table->embed(m, q, out, err);
    if (st)
        llm_embed_reply_release(out);
    return st;
}

muga_status llm_tokenize(llm *m, span text, bool beginning, bool special, int32_t **ids, size_t *n, muga_error *err) {
    *ids = NULL;
    *n = 0;
    return m->table->tokenize ? m->table->tokenize(m, text, beginning, special, ids, n, err)
                              : not_here(m, "its tokens aren't known", err);
}

muga_status llm_detokenize(llm *m, const int32_t *ids, size_t n, bool special, str *out, muga_error *err) {
    return m->table->detokenize ? m->table->detokenize(m, ids, n, special, out, err)
                                : not_here(m, "its tokens aren't known", err);
}

muga_status llm_describe(llm *m, json_t **out, muga_error *err) {
    return m->table->describe ? m->table->describe(m, out, err) : not_here(m, "nothing is known of its file", err);
}

llm_counts llm_get_counts(llm *m) {
    llm_counts n = {0};
    if (m->table->get_counts)
        m->table->get_counts(m, &n);
    return n;
}

uint64_t llm_memory_bytes(llm *m) {
    llm_counts n = llm_get_counts(m);
    return n.weight_bytes + n.kv_bytes;
}

muga_status llm_replay(llm *m, const json_t *evidence, muga_error *err) {
    if (!json_is_object(evidence))
        return error_set(err, MUGA_E_INPUT, "evidence must be an object");
    if (!llm_needs_model(evidence))
        return only_replay(evidence, err);
    return m ? m->table->replay(m, evidence, err)
             : error_set(err, MUGA_E_USAGE, "this evidence is a model's; it is recomputed by that model");
}

muga_status llm_identify(llm *m, json_t **out, muga_error *err) {
    return m->table->identify(m, out, err);
}

void llm_free(llm *m) {
    if (m)
        m->table->free(m);
}
