/* Private to serve/: what the files of OpenAI's routes share. */
#ifndef MUGA_SERVE_OPENAI_H
#define MUGA_SERVE_OPENAI_H

#include "serve/internal.h"
#include "serve/openai_json.h"

#define OPENAI_MAX_STOPS 16
#define OPENAI_MAX_TOKENS 2147483647.0

/* What bodies that ask for text have in common. */
typedef struct openai_asked {
    const char *model;
    chat_sampling s;
    uint32_t n;
    bool stream;
    const json_t *stream_options, *logit_bias;
    /* of other servers, whose clients send them: constraints, and how a model is to think */
    const json_t *guided_json, *json_schema;
    const char *grammar, *guided_regex;
    const json_t *template_kwargs, *think;
    bool with_usage; /* made of stream_options */
} openai_asked;
#define OPENAI_UNSAID ((openai_asked){.s = CHAT_SAMPLING_UNSAID, .n = 1})

/* Their fields, for tables; T's first member `a` is an openai_asked. */
#define OPENAI_FIELDS(T)                                                                                               \
    {"model", FIELD_STRING, FIELD_AT(T, a.model), 0, 255, NULL, true},                                                 \
        {"temperature", FIELD_F32, FIELD_AT(T, a.s.temperature), 0, 2, NULL, false},                                   \
        {"top_p", FIELD_F32, FIELD_AT(T, a.s.top_p), 0, 1, NULL, false},                                               \
        {"presence_penalty", FIELD_F32, FIELD_AT(T, a.s.presence_penalty), -2, 2, NULL, false},                        \
        {"frequency_penalty", FIELD_F32, FIELD_AT(T, a.s.frequency_penalty), -2, 2, NULL, false},                      \
        {"seed", FIELD_I64, FIELD_AT(T, a.s.seed), -9223372036854775808.0, 9223372036854775807.0, NULL, false},        \
        {"max_tokens", FIELD_I64, FIELD_AT(T, a.s.max_tokens), 1, OPENAI_MAX_TOKENS, NULL, false},                     \
        {"stop", FIELD_JSON, FIELD_AT(T, a.s.stop), 0, 0, NULL, false},                                                \
        {"n", FIELD_U32, FIELD_AT(T, a.n), 1, OPENAI_MAX_CHOICES, NULL, false},                                        \
        {"logit_bias", FIELD_OBJECT, FIELD_AT(T, a.logit_bias), 0, 0, NULL, false},                                    \
        {"stream", FIELD_BOOL, FIELD_AT(T, a.stream), 0, 0, NULL, false},                                              \
        {"stream_options", FIELD_OBJECT, FIELD_AT(T, a.stream_options), 0, 0, NULL, false},                            \
        {"top_k", FIELD_I64, FIELD_AT(T, a.s.top_k), -1, OPENAI_MAX_TOKENS, NULL, false},                              \
        {"min_p", FIELD_F32, FIELD_AT(T, a.s.min_p), 0, 1, NULL, false},                                               \
        {"typical_p", FIELD_F32, FIELD_AT(T, a.s.typical_p), 0, 1, NULL, false},                                       \
        {"repeat_penalty", FIELD_F32, FIELD_AT(T, a.s.repeat_penalty), 0.01, 100, NULL, false},                        \
        {"repetition_penalty", FIELD_F32, FIELD_AT(T, a.s.repeat_penalty), 0.01, 100, NULL, false},                    \
        {"repeat_last_n", FIELD_I64, FIELD_AT(T, a.s.repeat_last_n), -1, 1048576, NULL, false},                        \
        {"grammar", FIELD_STRING, FIELD_AT(T, a.grammar), 0, 0, NULL, false},                                          \
        {"json_schema", FIELD_JSON, FIELD_AT(T, a.json_schema), 0, 0, NULL, false},                                    \
        {"guided_json", FIELD_JSON, FIELD_AT(T, a.guided_json), 0, 0, NULL, false},                                    \
        {"guided_regex", FIELD_STRING, FIELD_AT(T, a.guided_regex), 0, 0, NULL, false},                                \
        {"format", FIELD_REFUSED, 0, 0, 0, NULL, false}, {"guided_choice", FIELD_REFUSED, 0, 0, 0, NULL, false},       \
        {"guided_grammar", FIELD_REFUSED, 0, 0, 0, NULL, false},                                                       \
        {"structured_outputs", FIELD_REFUSED, 0, 0, 0, NULL, false},                                                   \
        {"chat_template", FIELD_REFUSED, 0, 0, 0, NULL, false},                                                        \
        {"chat_template_kwargs", FIELD_OBJECT, FIELD_AT(T, a.template_kwargs), 0, 0, NULL, false},                     \
        {"think", FIELD_JSON, FIELD_AT(T, a.think), 0, 0, NULL, false},                                                \
        {"user", FIELD_ACCEPTED, 0, 0, 0, "a string", false}, {"metadata", FIELD_ACCEPTED, 0, 0, 0, "texts", false},   \
        {"service_tier", FIELD_ACCEPTED, 0, 0, 0, "auto|default|flex|scale|priority|fast|ultrafast", false},           \
        {"safety_identifier", FIELD_ACCEPTED, 0, 0, 64, "a string", false},                                            \
        {"prompt_cache_key", FIELD_ACCEPTED, 0, 0, 0, "a string", false},                                              \
        {"prompt_cache_retention", FIELD_ACCEPTED, 0, 0, 0, "in_memory|in-memory|24h", false}, {                       \
        "prompt_cache_options", FIELD_ACCEPTED, 0, 0, 0, "an object", false                                            \
    }

/* What is left to check and to read of it, into q: the constraint (one of them, and none where q has a schema already),
 * thinking, biases, stops. false: the 400 has gone out. */
bool openai_read_rest(call *c, openai_asked *a, llm_request *q);
/* A string, or at most OPENAI_MAX_STOPS of them, none of them empty. */
bool openai_read_stop(call *c, const json_t *stop, const char *param);
/* "none" to "xhigh": whether a model that can think is to. NULL: nothing is said. */
bool openai_read_effort(call *c, const char *effort, const char *param, llm_request *q);
/* What bodies say goes beside what chat_open filled in: tools, constraint, thinking, biases. */
void openai_apply(const llm_request *read, llm_request *q);

/* An id of the call: prefix + the digits of its own; in its arena. NULL: memory, and then no JSON is made of it. */
const char *openai_id(call *c, const char *prefix);
openai_head openai_head_of(call *c, const char *prefix, const char *model, int64_t now_ms);
/* Of all choices: the prompt once, and what all generated. m: what counts the tokens of reasoning. */
openai_usage openai_usage_of(llm *m, const chat_choice *choices, uint32_t n);
/* Tokens of what was thought, by the model's tokenizer; 0 where it has none. */
uint32_t openai_reasoning_tokens(llm *m, const llm_reply *r);
/* What went wrong while an answer was computed. q: as it was asked. Always false. */
bool openai_fail(call *c, muga_status st, const muga_error *err, const llm_request *q);
/* chat_complete of ch->q. false: what went wrong has been said (where some choice was cancelled though the client is
 * there, that the server ends), or the client has gone. The choices' replies are to be released all the same. */
bool openai_complete(call *c, chat *ch, chat_choice *choices, uint32_t n);

/* SSE of a call: ctx is the call. */
bool openai_send_event(void *ctx, const char *name, json_t *json);

#endif
