/* Choosing one of several labels for a text: all are scored in one batch behind the shared prompt (llm_score), and the
 * scores become probabilities that mean what they say, and a threshold under which no label is given.
 *
 *   z[l]   log P(words of l, end of turn | prompt with the text)
 *   z0[l]  the same for texts that say nothing, the mean over a few: how much the model favours l in any case
 *   P(l)   in proportion to exp(weight[0] z[l] + weight[1] z0[l] + bias[l])                            (llm/logit.h)
 *
 * Without examples weight is (1, -1) and bias 0: what is left after the label's prior (Zhao et al. 2021). Examples fit
 * all of them by maximum likelihood; how sure and how right it would have been on each, fitted without it and a fifth
 * of the others, gives the threshold for a wanted risk (llm/risk.h). What was fitted is a small JSON object, good for
 * this model, these labels and this prompt alone (docs/classify.md).
 */
#ifndef MUGA_LLM_CLASSIFY_H
#define MUGA_LLM_CLASSIFY_H

#include "llm/llm.h"
#include "llm/risk.h"

#define CLASSIFY_MAX_LABELS ((size_t)10000)
#define CLASSIFY_MAX_LABEL_BYTES ((size_t)1000)
#define CLASSIFY_MAX_EXAMPLES ((size_t)100000)
#define CLASSIFY_NONE UINT32_MAX /* label of an example that none fits */

/* ---- labels ---- */
typedef struct classify_labels {
    char **names, **words; /* [n] what it is called; what the model is to say for it */
    uint32_t *by_name;     /* [n] indices, after classify_labels_check */
    size_t n, cap;
} classify_labels;
/* words.n == 0: as the name. E_INPUT: empty, not UTF-8, a control character or one that is no character, too long. */
MUGA_MUST_USE muga_status classify_labels_add(classify_labels *l, span name, span words, muga_error *err);
/* After the last: at least two, and none like another. */
MUGA_MUST_USE muga_status classify_labels_check(classify_labels *l, muga_error *err);
uint32_t classify_labels_find(const classify_labels *l, span name); /* CLASSIFY_NONE: there is none of that name */
void classify_labels_release(classify_labels *l);

/* ---- classifier ---- */
typedef struct classify_form {
    const char *instruction; /* what the model is told; NULL: classify_instruction */
    bool listed;             /* with the labels after it */
} classify_form;
extern const char classify_instruction[];

typedef struct classifier classifier; /* one thread */
/* Model, labels (checked) and form are borrowed for its life. */
MUGA_MUST_USE muga_status classifier_new(llm *m, const classify_labels *labels, const classify_form *form,
                                         classifier **out, muga_error *err);
void classifier_free(classifier *c);

typedef struct classify_answer {
    uint32_t best;
    bool abstained;              /* less sure than the threshold */
    const double *p, *logprob;   /* [n_labels] of the classifier, until its next answer */
    uint32_t n_prompt, n_cached; /* tokens */
} classify_answer;
/* E_INPUT: the text is empty or not UTF-8. E_LIMIT: longer than the context. */
MUGA_MUST_USE muga_status classifier_answer(classifier *c, span text, classify_answer *out, muga_error *err);
/* Raw: P(l) in proportion to exp(z[l]), the model's own word, whatever was fitted. */
void classifier_set_raw(classifier *c, bool raw);

/* ---- calibration ---- */
typedef struct classify_example {
    span text;
    uint32_t label; /* or CLASSIFY_NONE */
    size_t line;    /* named in errors */
} classify_example;
typedef struct classify_fit {
    size_t n, n_none;       /* examples with a label; that none fits */
    double right;           /* share of the n whose label was found by what the others fitted */
    double nll_before, nll; /* mean -log P of the right one: with weight (1, -1); fitted by the others */
} classify_fit;
/* Score every example and fit. At least two with a label. on_progress (0..1) may be NULL. */
MUGA_MUST_USE muga_status classifier_fit(classifier *c, const classify_example *examples, size_t n,
                                         void (*on_progress)(void *ctx, double done), void *ctx, classify_fit *out,
                                         muga_error *err);
/* What was fitted. New reference. */
MUGA_MUST_USE muga_status classifier_write(classifier *c, json_t **out, muga_error *err);
/* Take it up. E_INPUT: damaged, or of another model, other labels or another prompt, which the message names. */
MUGA_MUST_USE muga_status classifier_read(classifier *c, const json_t *calibration, muga_error *err);
/* Answer where no more than this share of the answers is wrong; needs a calibration. */
MUGA_MUST_USE muga_status classifier_set_risk(classifier *c, double wanted, risk_choice *out, muga_error *err);

#endif
