/* The weights of an expert beside the examples, and when it is sure: from messages that neither of them has. Private to
 * agent/.
 *
 * Weights are those of maximum likelihood with a small ridge (a conditional logit model of two features, llm/logit.h).
 * `sure` is where the largest share of the messages begins, the surest first, of which no more than `risk` are acted on
 * wrongly. */
#ifndef MUGA_AGENT_EXPERT_FIT_H
#define MUGA_AGENT_EXPERT_FIT_H

#include "agent/expert.h"

#define EXPERT_FIT_MAX_CASES 100000u

typedef struct expert_case {
    double confidence; /* of the deed, by the weights fitted */
    bool right;        /* it is the one that was wanted */
} expert_case;

typedef struct expert_fit {
    size_t n;
    double weight[EXPERT_FEATURES];
    double sure;        /* above 1 where not even the surest message is right */
    size_t by_adapter;  /* deeds right by the adapter's probabilities alone, */
    size_t by_votes;    /* by the votes alone, */
    size_t by_both;     /* by both as fitted */
    expert_case *cases; /* [n], the surest first */
} expert_fit;
void expert_fit_release(expert_fit *f);

/* text[0, n): JSON lines {"text": "...", "labels": ["...", ...]}, called `what` in errors. on_case may be NULL; it
 * returns false to stop (E_CANCELLED). E_INPUT: the manifest declares no expert, or the model has no adapter. */
typedef struct expert_fit_request {
    const intent *x;
    llm *model;
    const char *text, *what;
    size_t n;
    double risk; /* 0..1 */
    bool (*on_case)(void *ctx, size_t n_done, size_t n);
    void *ctx;
} expert_fit_request;
MUGA_MUST_USE muga_status expert_fit_new(const expert_fit_request *q, expert_fit *out, muga_error *err);

#endif
