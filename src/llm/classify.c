/* Scores of labels and what they become (classify.h). Owns: the prompt, the prior, the probabilities.
 *
 * The prompt is one user message, since not every template knows a system message: what to do, the labels where they
 * are listed, a blank line, the text. Everything before the text is the same for all texts and is computed once. */
#include "llm/classify_internal.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>

const char classify_instruction[] = "Which label fits the text? Answer with the label alone.";

/* Texts that say nothing, for z0. */
static const char *const nothing[] = {"N/A", "...", "text"};

static char *make_head(const classifier *c) {
    str s = STR_INIT;
    str_append_s(&s, c->instruction);
    for (size_t i = 0; c->listed && i < c->labels->n; i++)
        str_printf(&s, "\n- %s", c->labels->words[i]);
    str_append_s(&s, "\n\nText: ");
    char *head = str_take(&s);
    str_release(&s);
    return head;
}

muga_status classifier_new(llm *m, const classify_labels *labels, const classify_form *form, classifier **out,
                           muga_error *err) {
    classifier *c = calloc(1, sizeof *c);
    if (!c)
        return error_nomem(err, "the classifier");
    size_t n = labels->n;
    *c = (classifier){.model = m,
                      .labels = labels,
                      .instruction = form->instruction ? form->instruction : classify_instruction,
                      .listed = form->listed,
                      .m = {n, CLASSIFY_FEATURES, {1, -1}, mem_alloc_array(n, sizeof *c->m.bias)},
                      .prior = mem_alloc_array(n, sizeof *c->prior),
                      .logprob = mem_alloc_array(n, sizeof *c->logprob),
                      .p = mem_alloc_array(n, sizeof *c->p),
                      .x = mem_alloc_array(n, CLASSIFY_FEATURES * sizeof *c->x)};
    c->head = make_head(c);
    if (!c->m.bias || !c->prior || !c->logprob || !c->p || !c->x || !c->head) {
        classifier_free(c);
        return error_nomem(err, "the classifier");
    }
    *out = c;
    return MUGA_OK;
}

void classifier_free(classifier *c) {
    if (!c)
        return;
    free(c->head);
    free(c->prior);
    free(c->logprob);
    free(c->p);
    free(c->x);
    free(c->m.bias);
    free(c->cases);
    free(c);
}

void classifier_set_raw(classifier *c, bool raw) {
    c->raw = raw;
}

static json_t *make_messages(const classifier *c, span text) {
    str s = STR_INIT;
    str_append_s(&s, c->head);
    str_append(&s, text.p, text.n);
    json_t *v = s.failed ? NULL
                         : json_pack("[{s:s, s:o}]", "role", "user", "content", json_stringn(str_get(&s), s.len));
    str_release(&s);
    return v;
}

muga_status classifier_score(classifier *c, span text, double *logprob, classify_answer *out, muga_error *err) {
    if (text.n == 0)
        return error_set(err, MUGA_E_INPUT, "the text is empty, so nothing can be said of it; leave it out");
    if (!utf8_valid(text.p, text.n))
        return error_set(err, MUGA_E_INPUT, "the text is not UTF-8; convert it");
    json_t *messages = make_messages(c, text);
    if (!messages)
        return error_nomem(err, "the text");
    const llm_score_request q = {.messages = messages,
                                 .labels = (const char *const *)c->labels->words,
                                 .n_labels = c->labels->n,
                                 .with_end = true};
    llm_score_reply reply;
    muga_status st = llm_score(c->model, &q, &reply, err);
    json_decref(messages);
    if (st)
        return st;
    memcpy(logprob, reply.logprob, c->labels->n * sizeof *logprob);
    out->n_prompt = reply.n_prompt;
    out->n_cached = reply.n_prompt_cached;
    llm_score_reply_release(&reply);
    for (size_t i = 0; i < c->labels->n; i++)
        if (!isfinite(logprob[i]))
            return error_set(err, MUGA_E_NONFINITE, "label %zu got a score that is not a finite number", i + 1);
    return MUGA_OK;
}

muga_status classifier_need_prior(classifier *c, muga_error *err) {
    classify_answer counts;
    muga_status st = MUGA_OK;
    if (c->has_prior)
        return st;
    memset(c->prior, 0, c->labels->n * sizeof *c->prior);
    for (size_t k = 0; k < ARRAY_LEN(nothing) && !st; k++) {
        st = classifier_score(c, span_of_string(nothing[k]), c->logprob, &counts, err);
        for (size_t i = 0; i < c->labels->n && !st; i++)
            c->prior[i] += c->logprob[i] / (double)ARRAY_LEN(nothing);
    }
    c->has_prior = st == MUGA_OK;
    return st;
}

void classifier_features(const classifier *c, const double *z, double *x) {
    for (size_t i = 0; i < c->labels->n; i++) {
        x[CLASSIFY_FEATURES * i] = z[i];
        x[CLASSIFY_FEATURES * i + 1] = c->prior[i];
    }
}

static void predict(classifier *c) {
    if (c->raw) {
        const logit own = {c->labels->n, 1, {1}, NULL};
        logit_predict(&own, c->logprob, c->p);
        return;
    }
    classifier_features(c, c->logprob, c->x);
    logit_predict(&c->m, c->x, c->p);
}

muga_status classifier_answer(classifier *c, span text, classify_answer *out, muga_error *err) {
    *out = (classify_answer){0};
    muga_status st = c->raw ? MUGA_OK : classifier_need_prior(c, err);
    if (!st)
        st = classifier_score(c, text, c->logprob, out, err);
    if (st)
        return st;
    predict(c);
    for (uint32_t i = 1; i < c->labels->n; i++)
        if (c->p[i] > c->p[out->best])
            out->best = i;
    out->abstained = c->p[out->best] < c->threshold;
    out->p = c->p;
    out->logprob = c->logprob;
    return MUGA_OK;
}
