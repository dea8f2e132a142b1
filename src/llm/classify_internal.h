/* Private to classify.c, calibration.c: what a classifier holds. */
#ifndef MUGA_LLM_CLASSIFY_INTERNAL_H
#define MUGA_LLM_CLASSIFY_INTERNAL_H

#include "llm/classify.h"
#include "llm/logit.h"

#define CLASSIFY_FEATURES 2 /* z, z0 */

struct classifier {
    llm *model;
    const classify_labels *labels;
    const char *instruction;
    bool listed, raw, has_prior, fitted;
    char *head;              /* the prompt up to the text */
    double *prior;           /* [n_labels] z0 */
    double *logprob, *p, *x; /* [n_labels] of the last text; x: [n_labels][CLASSIFY_FEATURES] */
    logit m;                 /* its bias: [n_labels] */
    double threshold;        /* 0: answers always */
    risk_case *cases;        /* [n_cases] examples as judged by what the others fitted */
    size_t n_cases;
};

/* z of one text into logprob[n_labels]. */
MUGA_MUST_USE muga_status classifier_score(classifier *c, span text, double *logprob, classify_answer *out,
                                           muga_error *err);
MUGA_MUST_USE muga_status classifier_need_prior(classifier *c, muga_error *err);
/* x[n_labels][CLASSIFY_FEATURES] of z[n_labels] */
void classifier_features(const classifier *c, const double *z, double *x);

#endif
