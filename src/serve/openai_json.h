/* Private to serve/: answers in OpenAI's words. Nothing here knows a connection: values in, JSON out. */
#ifndef MUGA_SERVE_OPENAI_JSON_H
#define MUGA_SERVE_OPENAI_JSON_H

#include "base/json.h"
#include "llm/llm.h"

#define OPENAI_MAX_CHOICES 16u

/* What all objects of one answer say. */
typedef struct openai_head {
    const char *id;          /* with its prefix: "chatcmpl-..." */
    const char *model;       /* as it was asked for */
    const char *fingerprint; /* of what computed it */
    int64_t created;         /* seconds since 1970 */
} openai_head;

typedef struct openai_usage {
    uint64_t n_prompt, n_cached, n_generated, n_reasoning;
} openai_usage;

/* All that give json_t: new; NULL when memory is out. Text that isn't UTF-8 has U+FFFD in it. */
json_t *openai_text(const char *p, size_t n);
json_t *openai_usage_json(const openai_usage *u);
/* "stop", "length", "tool_calls". */
json_t *openai_finish_json(llm_finish f);
/* {"token", "logprob", "bytes", "top_logprobs"} */
json_t *openai_token_json(const llm_token *t);
/* {"content", "refusal"}; tokens is stolen; NULL gives NULL. */
json_t *openai_logprobs_json(json_t *tokens);
/* In the form of /v1/completions: one more token of what openai_legacy_new made. *offset: characters of the text so
 * far. */
json_t *openai_legacy_new(void);
bool openai_legacy_add(json_t *logprobs, const llm_token *t, size_t *offset);

/* chat.completion; choices is stolen. */
json_t *openai_chat_json(const openai_head *h, json_t *choices, const openai_usage *u);
/* One of its choices. logprobs is stolen; NULL: null. */
json_t *openai_chat_choice(uint32_t index, const llm_reply *r, json_t *logprobs);
/* [{"id", "type", "function": {"name", "arguments"}}] */
json_t *openai_calls_json(const llm_reply *r);

/* text_completion */
json_t *openai_completion_json(const openai_head *h, json_t *choices, const openai_usage *u);
json_t *openai_completion_choice(uint32_t index, const char *text, size_t n, json_t *logprobs, const char *finish);

/* ---- chat.completion.chunk ----
 * Events of one choice become chunks that go to the sink: the role first, then what the event says; at the end what it
 * finished with. */
typedef struct openai_sink {
    bool (*send)(void *ctx, const char *name, json_t *json); /* json is stolen and may be NULL; false: it has gone */
    void *ctx;
} openai_sink;
typedef struct openai_chunks {
    openai_head head;
    openai_sink sink;
    bool with_usage; /* each chunk has "usage": null, and one more at the end has it */
} openai_chunks;
bool openai_chunk_role(const openai_chunks *s, uint32_t index);
/* logprobs is stolen; NULL: none. */
bool openai_chunk_event(const openai_chunks *s, uint32_t index, const llm_event *e, json_t *logprobs);
bool openai_chunk_finish(const openai_chunks *s, uint32_t index, llm_finish f, json_t *logprobs);
bool openai_chunk_usage(const openai_chunks *s, const openai_usage *u);

#endif
