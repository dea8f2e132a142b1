/* Private to serve/: agents as models, for the routes of OpenAI's. */
#ifndef MUGA_SERVE_AGENTS_H
#define MUGA_SERVE_AGENTS_H

#include "serve/call.h"

bool agents_is_model(const json_t *body);             /* does it ask "agent:NAME"? */
bool agents_is_name(const char *model);               /* is it "agent:NAME"? */
bool agents_has_model(const call *c, const char *id); /* is there such an agent, that the key may run? */
void agents_chat(call *c);                            /* its answer: a chat completion */
/* Appends what `entry` makes of each agent that the key may run. false: they can't be listed, and c is answered. */
bool agents_list_models(call *c, json_t *(*entry)(const call *c, const char *id, int64_t modified_ms), json_t *list);

#endif
