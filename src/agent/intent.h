/* What does the person want? Labels, examples, and the decision over them. Private to agent/; the manifest's `intent:`.
 *
 * A label is an intention and what follows from it: a tool, an answer, a question back, an escalation, a refusal. A
 * message is scored against every label twice: by the votes of the examples that are like it (retrieve.h), and by the
 * model, which reads the nearest examples and gives each label's probability (llm_score). The sum decides; where the
 * best action does not stand out, the decision says so (`sure` false) and the loop asks. Where the manifest declares an
 * expert and the model runs with an adapter, the adapter reads the message alone and its probabilities count instead
 * (expert.h). */
#ifndef MUGA_AGENT_INTENT_H
#define MUGA_AGENT_INTENT_H

#include "agent/agent.h"
#include "agent/normalise.h"
#include "agent/retrieve.h"

typedef enum { ACT_TOOL, ACT_ANSWER, ACT_ASK, ACT_ESCALATE, ACT_REFUSE } intent_act;

typedef struct intent_label {
    const char *name, *about;
    double bias; /* nats by which the model favours this word in any case */
    intent_act act;
    bool outside;                    /* out_of_scope: what scope: is about (loop_scope.c) */
    const manifest_tool *tool;       /* ACT_TOOL */
    const char *words;               /* ACT_TOOL: the answer's template; else what is said */
    template *answer;                /* words, compiled */
    const char *ask, *held, *denied; /* ACT_TOOL: a value is missing, a person must agree, a person did not */
} intent_label;

typedef struct intent intent;
typedef struct expert expert;
typedef struct learned learned;
/* Reads and checks manifest intent: and its examples. MUGA_E_INPUT names agent.yaml or the file and line. An agent that
 * decides in another way (loop_kinds.h) has none: *out is NULL, and has no labels, no examples, no expert, no ears. */
MUGA_MUST_USE muga_status intent_new(const agent_env *env, const manifest *m, intent **out, muga_error *err);
const char *intent_tenant(const intent *x); /* env's */
void intent_free(intent *x);
size_t intent_n_labels(const intent *x);
const intent_label *intent_get_label(const intent *x, size_t i);
bool intent_same_wish(const intent *x, size_t a, size_t b); /* one of them `excludes` the other */
size_t intent_n_examples(const intent *x);                  /* the file's, and each label's about */
const char *intent_get_example(const intent *x, size_t i);
const json_t *intent_words(const intent *x); /* classes of words, or NULL */
const normaliser *intent_normaliser(const intent *x);
/* From now on past successes have a voice, too (learned.h); borrowed. NULL: none. */
void intent_listen(intent *x, const learned *m);
const expert *intent_expert(const intent *x); /* NULL: the manifest declares none */
const char *intent_unsure(const intent *x);   /* what to ask then */
const char *intent_failed(const intent *x);   /* what to say when a tool or the model failed, or limits are reached */

/* The share of single-label examples whose action is right by the votes of the others: each of n_parts (2 or more) is
 * decided by the examples of all other parts. */
MUGA_MUST_USE muga_status intent_cross_check(const intent *x, size_t n_parts, double *right, muga_error *err);

#define INTENT_MAX_REQUESTS 4
typedef struct intent_request {
    size_t label;
    size_t from, n; /* the bytes of the message that say so */
} intent_request;
typedef struct intent_decision {
    intent_request requests[INTENT_MAX_REQUESTS]; /* in the order of the message */
    size_t n;                                     /* at least 1 */
    bool sure;
    bool doubtful;        /* an expert is less sure than it should be: what is said ends with a question back */
    double score, margin; /* of the best label; over the best label with another action. An expert's: probabilities */
    json_t *record;       /* for the audit: scores, examples, margin */
    json_t *learned;      /* part of the record: what past successes said; NULL: nothing */
    json_t *evidence;     /* of the model, or NULL */
    uint32_t n_tokens;    /* the model read */
} intent_decision;
void intent_decision_release(intent_decision *d);
/* {"text": "...", "labels": ["...", ...]}: the text, malloc'ed; bit l: label l. */
MUGA_MUST_USE muga_status intent_read_example(const intent *x, const json_t *v, char **text, uint64_t *labels,
                                              muga_error *err);
/* What a model is to learn of a message with these labels, as a line of training data (llm/dataset.h): the prompt that
 * decisions use, an expert's where one is declared, and the answer. *out NULL: no answer says these labels. */
MUGA_MUST_USE muga_status intent_sample(const intent *x, const char *text, uint64_t labels, json_t **out,
                                        muga_error *err);
/* Bit l: label l, of an array of names; 0 where one of them is no label, or there is none. */
uint64_t intent_find_labels(const intent *x, const json_t *names);
/* votes[n_labels] of the examples. */
MUGA_MUST_USE muga_status intent_vote(const intent *x, const char *text, size_t n, double *votes, muga_error *err);
/* `model` NULL: by examples alone. */
MUGA_MUST_USE muga_status intent_decide(const intent *x, llm *model, const char *text, size_t n, intent_decision *out,
                                        muga_error *err);
#endif
