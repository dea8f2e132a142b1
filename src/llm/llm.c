/* The face of llm/: dispatch to the implementation, and what all of them check.
 *
 * A role is a word of small letters: templates write it between control marks, where other text could forge one. */
#include "llm/answer.h"
#include "llm/constrained.h"
#include "llm/toolcall.h"

#include <string.h>

void llm_reply_release(llm_reply *r) {
    str_release(&r->text);
    str_release(&r->reasoning);
    toolcall_calls_free(r->calls, r->n_calls);
    r->calls = NULL;
    r->n_calls = 0;
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

muga_status llm_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err) {
    *out = (llm_reply){0};
    if ((q->schema != NULL) + (q->regex != NULL) + (q->gbnf != NULL) > 1)
        return error_set(err, MUGA_E_USAGE,
                         "an answer is constrained by a schema, a regex or a grammar, not by several");
    muga_status st = check_messages(q->messages, err);
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

muga_status llm_replay(llm *m, const json_t *evidence, muga_error *err) {
    if (!json_is_object(evidence))
        return error_set(err, MUGA_E_INPUT, "evidence must be an object");
    return m->table->replay(m, evidence, err);
}

muga_status llm_identify(llm *m, json_t **out, muga_error *err) {
    return m->table->identify(m, out, err);
}

void llm_free(llm *m) {
    if (m)
        m->table->free(m);
}
