/* Private to serve/: what the routes under /api/ have in common. Source: Ollama's OpenAPI and its API page. */
#ifndef MUGA_SERVE_OLLAMA_H
#define MUGA_SERVE_OLLAMA_H

#include "serve/internal.h"

/* "options": all that Ollama defines, in their ranges, into what is said of sampling. false: the 400 has gone out. */
bool ollama_read_options(call *c, const json_t *options, chat_sampling *out);
/* Seconds, or "5m", "1h30m", "-1"; negative: forever. NULL leaves *ms. */
bool ollama_read_keep_alive(call *c, const json_t *v, int64_t *ms);
/* "json" or a schema; *made is new where it had to be made. NULL and "": free text. */
bool ollama_read_format(call *c, const json_t *v, llm_request *q, json_t **made);
/* true, false, "low", "medium", "high", "max". NULL: as the model does. */
bool ollama_read_think(call *c, const json_t *v, llm_request *q);
/* Ollama's messages as llm.h has them. New. */
bool ollama_read_messages(call *c, const json_t *messages, json_t **out);

/* "2026-11-26T11:04:23.123Z". */
void ollama_time(int64_t ms, char out[32]);
void ollama_now(char out[32]);
/* {"format", "family", ...} of a stored model; new. */
json_t *ollama_details(const hub_details *d);
/* POST /api/show. */
void ollama_show(call *c);

#endif
