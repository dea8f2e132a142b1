/* Private to llm/: the texts that grounded values come from, as evidence keeps them. */
#ifndef MUGA_LLM_SOURCES_H
#define MUGA_LLM_SOURCES_H

#include "base/mem.h"
#include "llm/llm.h"

/* [{"name", "texts": [...]}, ...]; a new array. NULL: out of memory. */
json_t *sources_write(const constrain_source *sources, size_t n);
/* Into q->sources, which borrow from v and stand in the arena. */
MUGA_MUST_USE muga_status sources_read(arena *a, const json_t *v, llm_request *q, muga_error *err);
/* MUGA_E_INPUT: `what` isn't as evidence has it. */
muga_status evidence_malformed(muga_error *err, const char *what);

#endif
