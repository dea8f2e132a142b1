/* Private to serve/: what all families' requests for text have in common, once their bodies are read: the model from
 * the pool, what its Modelfile says where the request says nothing, choices side by side, counting. */
#ifndef MUGA_SERVE_CHAT_H
#define MUGA_SERVE_CHAT_H

#include "serve/call.h"
#include "serve/pool.h"

#include <math.h>

/* What a request says of sampling; NAN and -1 are "it doesn't say", and then the model's Modelfile decides, and then
 * the family's default (chat_defaults). Options of all families end here. */
typedef struct chat_sampling {
    float temperature, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty;
    int64_t top_k, repeat_last_n, seed, max_tokens, n_ctx; /* seed -1: a new one, which the reply names */
    const json_t *stop;                                    /* array of strings, or a string, or NULL */
} chat_sampling;
#define CHAT_SAMPLING_UNSAID ((chat_sampling){NAN, NAN, NAN, NAN, NAN, NAN, NAN, -1, -1, -1, -1, -1, NULL})
/* What a family's clients take for granted where nobody says anything. */
typedef struct chat_defaults {
    float temperature, top_p, min_p, repeat_penalty;
    uint32_t top_k, repeat_last_n;
} chat_defaults;
#define CHAT_DEFAULTS_OPENAI ((chat_defaults){1.0f, 1.0f, 0.0f, 1.0f, 0, 64})
#define CHAT_DEFAULTS_OLLAMA ((chat_defaults){0.8f, 0.9f, 0.0f, 1.1f, 40, 64})

/* The model of a request and its answer's ingredients; chat_open ... chat_close. */
typedef struct chat {
    call *c;
    pool_lent lent;
    llm_request q;    /* tenant, cancelled, priority, now_ms, sampling, stop, max_tokens are filled in by chat_open */
    json_t *messages; /* new: the request's with the model's system and messages before them; q.messages */
    int64_t keep_alive_ms; /* set it where the request says something; -1 */
    bool stop_is_stored;   /* q.stop is the Modelfile's: it gives way to a constraint, which ends by itself */
    uint64_t seed;         /* that is used */
} chat;
/* Takes the model, and makes q of what is said, of the Modelfile, and of the defaults. messages: array, or NULL where
 * the prompt is raw (q.prompt_text or prompt_ids is then the caller's to set). false: the error has gone out. */
bool chat_open(call *c, const char *model, const json_t *messages, const chat_sampling *said, const chat_defaults *d,
               chat *out);
/* The model alone, for who asks it something else than text; give it back with pool_give. */
bool chat_take(call *c, const char *model, pool_lent *out);
void chat_close(chat *ch); /* harmless on a zeroed one */

/* n answers to one request, computed side by side over one prompt: choice i has sampling.choice i. Callbacks get the
 * i-th ctx. The status of the first one that failed, when all have ended. What was made is counted in the call's
 * numbers. The replies are released by the caller, after a failure, too. */
typedef struct chat_choice {
    llm_reply reply;
    void *ctx; /* of q's callbacks, in place of q's own */
} chat_choice;
#define CHAT_MAX_CHOICES 16u
MUGA_MUST_USE muga_status chat_complete(chat *ch, chat_choice *choices, uint32_t n, muga_error *err);

/* Keep which call begins, in place of the one before. false: out of memory. */
bool chat_keep_call(const llm_event *e, char **id, char **name);
/* "stop", "length", "tool_calls": as OpenAI calls it. */
const char *chat_finish_name(llm_finish f);

/* ---- what families read alike ---- */
/* An array of token ids, in the call's arena; NULL: none. */
bool chat_read_ids(call *c, const json_t *list, const char *where, llm_ids *out);
/* Messages in OpenAI's form as llm.h has them: roles checked (developer is system), content parts of text joined,
 * images and other parts refused by name, tool_calls with ids and arguments as text, tool results with tool_call_id.
 * New. */
bool chat_read_messages(call *c, const json_t *messages, const char *where, json_t **out);
/* OpenAI's tools and tool_choice ("none", "auto", "required", {"type":"function","function":{"name"}}) into q; schemas
 * are checked when the answer is begun. false: the 400 has gone out. */
bool chat_read_tools(call *c, const json_t *tools, const json_t *tool_choice, bool parallel, llm_request *q);
/* OpenAI's {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required", "tools": [...]}}, before
 * chat_read_tools: *tools becomes *made, new, the tools that are named, and *choice the mode. Other choices stay. */
bool chat_read_allowed(call *c, const json_t **tools, const json_t **choice, json_t **made);
/* The same of its inner object, whose names stand in "function" where they are nested: all but those leave the tools,
 * which have OpenAI's form. where: "tool_choice." and so on. */
bool chat_allow_tools(call *c, const json_t *said, const char *where, bool nested, json_t *tools);
/* A tool's name: its characters, and that none of tools[0..i), in OpenAI's form, has it. at: where it stands. */
bool chat_check_tool_name(call *c, const json_t *tools, size_t i, const char *name, const char *at);
/* The text of a content that is a string or an array of parts, which are joined by line ends; others are refused by
 * name. New. */
bool chat_read_text(call *c, const json_t *content, const char *where, json_t **out);
/* Arguments of a call in the history, which are JSON text, an object or nothing, as text that holds an object. New. */
bool chat_read_arguments(call *c, const json_t *v, const char *where, json_t **out);
/* {"type": "text" | "json_object" | "json_schema"} into q; *schema is new where it had to be made, else NULL. */
bool chat_read_format(call *c, const json_t *format, llm_request *q, json_t **schema);

#endif
