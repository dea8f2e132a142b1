/* Private to llm/: an answer under a constraint. */
#ifndef MUGA_LLM_CONSTRAINED_H
#define MUGA_LLM_CONSTRAINED_H

#include "llm/llm.h"

/* How often an answer is decoded before it is given up, where only the whole of it can be judged. */
#define CONSTRAINED_ATTEMPTS 8u

/* llm_complete of a request with a schema, regex or grammar. MUGA_E_LIMIT: no attempt was valid; nothing went out. */
MUGA_MUST_USE muga_status constrained_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err);

/* The i-th attempt of a request, from 0: a request of its own. */
llm_request constrained_attempt(const llm_request *q, uint32_t i);
/* `before` was *out: it is given back, but its numbers stay until what all attempts took is added up in *out. */
void constrained_begin_again(llm_reply *out, llm_reply *before);
void constrained_add_up(llm_reply *out, const llm_reply *before, uint32_t n_attempts);

#endif
