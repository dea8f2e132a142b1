/* Training data: JSON lines in the chat format, rendered through the model's own template, as token ids with a mask.
 *
 *   {"messages": [{"role": "system|user|assistant|tool", "content": "..."}, ...], "tools": [...]}
 *   {"prompt": "...", "completion": "..."}      the same as a user's message and its answer
 *
 * Targets are the assistant's answers, each with the token that ends it, and nothing else. Where an answer stands is
 * found by rendering: the text before it, open for an answer, must be the beginning of the text with it, and that of
 * the whole; a template for which it isn't is refused. No text in a message can spell a control token (prompt.c).
 * Calls and results of tools are written as llm_complete writes them: as the template does, or where it doesn't, as
 * text. Nothing is cut and no line is left out: what can't be used is an error that names the line. docs/training.md.
 */
#ifndef MUGA_LLM_DATASET_H
#define MUGA_LLM_DATASET_H

#include "base/hash.h"
#include "engine/engine.h"

/* Renders as the local engine does for a chat: template, tokenizer, and the form that the model's tool calls have
 * (docs/tools.md). The engine is borrowed. */
typedef struct prompter prompter;
MUGA_MUST_USE muga_status prompter_new(engine *e, prompter **out, muga_error *err);
void prompter_free(prompter *p);

#define DATASET_MAX_BYTES ((size_t)1 << 30)
#define DATASET_MAX_SAMPLES (1u << 22)

typedef struct dataset_sample {
    int32_t *ids;    /* [n] */
    uint8_t *target; /* [n] 1 = an answer's token; target[0] is 0 */
    uint32_t n, n_target;
    uint64_t line;                /* from 1 */
    uint8_t sha256[SHA256_BYTES]; /* of ids and targets: equal samples have equal ones */
    uint64_t answer;              /* a digest of the targets' ids alone */
} dataset_sample;

typedef struct dataset {
    dataset_sample *samples; /* [n], in the file's order */
    uint32_t n, cap;
    uint64_t n_tok, n_target;
    uint32_t longest;    /* tokens */
    uint32_t n_answers;  /* different ones; 1 = every line wants the same */
    uint32_t n_repeated; /* samples that another one equals */
} dataset;

typedef struct dataset_options {
    uint32_t max_tok; /* a longer sample is refused */
    int64_t now_ms;   /* what a template that asks for the date is told */
} dataset_options;

/* text[0, n): the file, called `what` in errors ("data.jsonl, line 7: ..."). Empty lines are passed over. */
MUGA_MUST_USE muga_status dataset_read(prompter *p, const char *text, size_t n, const char *what,
                                       const dataset_options *o, dataset *out, muga_error *err);
void dataset_release(dataset *d); /* after a failed read, too */
/* Over the samples in order: what a run's results depend on. */
void dataset_digest(const dataset *d, char hex[SHA256_HEX]);

/* Which samples are kept aside. By seed and content, not by place: the same lines in another order, with others among
 * them, mostly fall as before, and equal samples fall on one side. */
typedef struct dataset_split {
    uint32_t *train, *held; /* indices into samples, ascending */
    uint32_t n_train, n_held;
} dataset_split;
/* share in [0, 1): of the samples, rounded; at least one sample stays for training. */
MUGA_MUST_USE muga_status dataset_split_new(const dataset *d, double share, uint64_t seed, dataset_split *out,
                                            muga_error *err);
void dataset_split_release(dataset_split *s);
/* order [n] = 0 .. n - 1 shuffled: another order for each epoch, the same one whenever it is asked for. Each `group`
 * (at least 1) numbers from 0 on, the last ones fewer, stay together as they are; only groups change places. */
void dataset_shuffle(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t group, uint32_t *order);

#endif
