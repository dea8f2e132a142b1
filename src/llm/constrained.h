/* Private to llm/: an answer under a constraint. */
#ifndef MUGA_LLM_CONSTRAINED_H
#define MUGA_LLM_CONSTRAINED_H

#include "llm/llm.h"

/* How often an answer is decoded before it is given up, where only the whole of it can be judged. */
#define CONSTRAINED_ATTEMPTS 8u

/* llm_complete of a request with a schema, regex or grammar. MUGA_E_LIMIT: no attempt was valid; nothing went out. */
MUGA_MUST_USE muga_status constrained_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err);

#endif
