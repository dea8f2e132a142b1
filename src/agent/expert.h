/* What an adapter that was trained for the agent says of a message. Private to agent/; the manifest's `intent.expert`.
 *
 * It was taught to answer with a label, or with the labels of two or three tools where a message wants several things:
 * "order_status reset_password". Every such answer is scored (llm_score), and the votes of the examples join in:
 *
 *   P(a) in proportion to exp(logprob * log p(a) + votes * sum over a's labels of (vote(l) - 1/2))
 *
 * Answers that the loop would act on alike (two labels that both hand over) are one deed, and the likeliest deed wins:
 * its probability is how sure the decision is. The two weights, and `sure`, come from messages that neither the
 * adapter nor the examples have (expert_fit.h). */
#ifndef MUGA_AGENT_EXPERT_H
#define MUGA_AGENT_EXPERT_H

#include "agent/intent.h" /* expert */

#define EXPERT_MAX_ANSWERS 256u
#define EXPERT_FEATURES 2u /* log p, votes */

/* config: intent.expert, valid by the schema; x: with its labels read. Both must outlive it. */
MUGA_MUST_USE muga_status expert_new(const intent *x, const json_t *config, expert **out, muga_error *err);
void expert_free(expert *e);

size_t expert_n_answers(const expert *e);
uint64_t expert_labels(const expert *e, size_t answer);   /* bit l: label l */
const char *expert_words(const expert *e, size_t answer); /* what the adapter writes */
size_t expert_deed(const expert *e, size_t answer);       /* the first answer that is acted on like this one */
size_t expert_find(const expert *e, uint64_t labels);     /* n_answers: not one of them */
double expert_sure(const expert *e);
const char *expert_doubt(const expert *e); /* the question back; NULL: none */

/* What the adapter reads for a message; new reference. */
MUGA_MUST_USE muga_status expert_prompt(const expert *e, const char *text, size_t n, json_t **messages,
                                        muga_error *err);
typedef struct expert_view {
    double logprob[EXPERT_MAX_ANSWERS];
    json_t *evidence; /* new reference */
    uint32_t n_tokens;
} expert_view;
void expert_view_release(expert_view *v);
MUGA_MUST_USE muga_status expert_ask(const expert *e, llm *model, const char *text, size_t n, expert_view *out,
                                     muga_error *err);
/* features[n_answers][EXPERT_FEATURES] */
void expert_features(const expert *e, const double *logprob, const double *votes, double *features);

typedef struct expert_choice {
    size_t answer;    /* the likeliest of the likeliest deed */
    double p, margin; /* of that deed; over the next one */
} expert_choice;
/* p[n_answers]: probabilities of the answers. */
expert_choice expert_choose(const expert *e, const double *p);
/* The same from features, by the manifest's weights; p as there. */
void expert_weigh(const expert *e, const double *features, double *p);
#endif
