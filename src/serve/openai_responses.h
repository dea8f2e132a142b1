/* Private to serve/: what a body of /v1/responses says, in the words of chat completions. */
#ifndef MUGA_SERVE_OPENAI_RESPONSES_H
#define MUGA_SERVE_OPENAI_RESPONSES_H

#include "serve/openai.h"

/* input (a string, or items) behind instructions, as llm.h has messages. New. false: the 400 has gone out. */
bool responses_read_input(call *c, const json_t *input, const char *instructions, json_t **out);
/* tools and tool_choice, in OpenAI's newer form, into q; *tools is new, what q.tools points to. */
bool responses_read_tools(call *c, const json_t *tools, const json_t *choice, bool parallel, llm_request *q,
                          json_t **out);
/* text.format into q; *schema is new or NULL. */
bool responses_read_text(call *c, const json_t *text, llm_request *q, json_t **schema);

#endif
