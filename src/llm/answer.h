/* Private to llm/: an answer that is split into reasoning, content and calls. */
#ifndef MUGA_LLM_ANSWER_H
#define MUGA_LLM_ANSWER_H

#include "llm/llm.h"

static inline bool answer_is_split(const llm_request *q) {
    return q->split || q->tool_choice != LLM_TOOLS_SHOWN;
}
/* llm_complete of such a request. MUGA_E_LIMIT: no attempt's arguments were valid; nothing went out. */
MUGA_MUST_USE muga_status answer_complete(llm *m, const llm_request *q, llm_reply *out, muga_error *err);

/* The prompt of a split answer as text, appended: the implementation renders what it is shown of the request. */
MUGA_MUST_USE muga_status answer_render(llm *m, const llm_request *q, str *out, muga_error *err);

#endif
