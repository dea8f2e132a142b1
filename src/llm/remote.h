/* A larger model behind any endpoint that speaks the chat completions of OpenAI, as an llm. Nothing it says is taken
 * on trust: an answer under a schema, and the arguments of every call, pass our own validator or are asked for again,
 * and what doesn't come out right within the budget is an error. docs/remote.md.
 *
 * It has no probabilities (llm_score), no prompt of its own (prefix, regex, gbnf) and nothing to recompute
 * (llm_replay): such requests are refused by name. llm_count is an estimate from above for most texts: bytes / 3. */
#ifndef MUGA_LLM_REMOTE_H
#define MUGA_LLM_REMOTE_H

#include "llm/llm.h"
#include "net/http.h"

typedef struct llm_remote_options {
    const char *url;   /* of the API, as in https://host/v1; or of its /chat/completions. A bare host means its /v1 */
    const char *model; /* as the server calls it */
    const char *key;   /* NULL: none. Copied, wiped in the end, never in a message or in evidence. Without TLS it is
                        * sent to this machine alone */
    http_client http;  /* borrowed: what it points to outlives the model */
    const os_clock *clock;
    uint32_t connect_ms, idle_ms; /* 0: 10 s; 120 s without a byte */
    uint32_t total_ms;            /* of one llm_complete, whatever it takes; 0: 600 s */
    uint32_t retries;             /* after 408, 429, 5xx, connection failures; UINT32_MAX: 4 */
    uint32_t attempts;            /* answers asked for until one is valid; 0: 3 */
    size_t max_answer_bytes;      /* of one HTTP body; 0: 16 MiB */
    uint64_t jitter_seed;         /* of the waits between retries */
    void (*on_retry)(void *ctx, const char *why, int64_t wait_ms); /* may be NULL */
    void *on_retry_ctx;
} llm_remote_options;

/* MUGA_E_USAGE: an address that isn't one, or a key that would go in the open. E_INPUT: a key with blanks. */
MUGA_MUST_USE muga_status llm_remote_new(const llm_remote_options *o, llm **out, muga_error *err);

/* What was asked and used so far, as the server counts. */
typedef struct llm_remote_usage {
    uint64_t n_requests, n_retries, n_invalid; /* HTTP requests; of them after a failure; answers that weren't valid */
    uint64_t n_prompt, n_generated;            /* tokens */
    uint64_t n_uncounted;                      /* answers without a count: estimated, bytes / 4 */
} llm_remote_usage;
llm_remote_usage llm_remote_get_usage(const llm *m);

#endif
