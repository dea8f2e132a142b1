/* Private to serve/: what a body of /v1/messages says, as llm.h has it. */
#ifndef MUGA_SERVE_ANTHROPIC_READ_H
#define MUGA_SERVE_ANTHROPIC_READ_H

#include "serve/internal.h"

/* system (a string or text blocks) and messages. New. Where the last is the assistant's, its text is *prefix, what the
 * answer goes on from, borrowed from *last; else both are NULL. false: the 400 has gone out. */
bool anthropic_read_messages(call *c, const json_t *system, const json_t *messages, json_t **out, json_t **last);
/* tools and tool_choice into q; *out is new, what q.tools points to. */
bool anthropic_read_tools(call *c, const json_t *tools, const json_t *choice, llm_request *q, json_t **out);
/* thinking into q; max_tokens: of the whole answer. */
bool anthropic_read_thinking(call *c, const json_t *thinking, int64_t max_tokens, llm_request *q);
/* output_config or output_format into q. */
bool anthropic_read_format(call *c, const json_t *config, const json_t *format, llm_request *q);

#endif
