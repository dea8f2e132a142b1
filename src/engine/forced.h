/* Private to engine/: how the tokenizer itself divides text that a constraint forces (generate.c). */
#ifndef MUGA_ENGINE_FORCED_H
#define MUGA_ENGINE_FORCED_H

#include "model/tokenizer.h"

/* Appends the ids of `text`, which follows the tokens before[0, n): those that the tokenizer gives it in that place,
 * where one of them begins with it; else the ones it gives the text by itself. Their bytes are the text's; no ids: the
 * tokenizer can't spell it so. */
MUGA_MUST_USE muga_status forced_encode(const tokenizer *t, const int32_t *before, uint32_t n, span text,
                                        token_list *ids, muga_error *err);

#endif
