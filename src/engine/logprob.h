/* Private to engine/: how likely the tokens of an answer were, kept until their text goes out (generate.c). */
#ifndef MUGA_ENGINE_LOGPROB_H
#define MUGA_ENGINE_LOGPROB_H

#include "engine/engine.h"

typedef struct logprobs logprobs;

/* on_token and n_top of `a`, which is borrowed. */
MUGA_MUST_USE muga_status logprobs_new(const engine *e, const engine_generate_args *a, logprobs **out, muga_error *err);
void logprobs_free(logprobs *l); /* NULL is fine */
/* The token at `pos` was chosen from this row. */
void logprobs_choose(logprobs *l, uint32_t pos, int32_t id, const float *logits);
/* The token at `pos` stands, its bytes are raw[from, to) of the answer. One that was not chosen from the last row was
 * forced. false: out of memory. */
MUGA_MUST_USE bool logprobs_take(logprobs *l, uint32_t pos, int32_t id, size_t from, size_t to);
/* raw[given, end) goes out, to stand from text[at] on: tokens that end there are told of. */
void logprobs_give(logprobs *l, const char *raw, size_t given, size_t end, size_t at);
/* The answer's bytes end at `end`: what its tokens have behind it isn't theirs. */
void logprobs_cut(logprobs *l, size_t end);

#endif
