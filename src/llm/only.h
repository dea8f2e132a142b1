/* Private to llm/: replay of an answer that no model gave (llm_only_value). */
#ifndef MUGA_LLM_ONLY_H
#define MUGA_LLM_ONLY_H

#include "llm/llm.h"

MUGA_MUST_USE muga_status only_replay(const json_t *evidence, muga_error *err);

#endif
