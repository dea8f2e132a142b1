/* Private to llm/: what a server of chat completions sends, gathered: the events of a stream, or one JSON body. */
#ifndef MUGA_LLM_REMOTE_ANSWER_H
#define MUGA_LLM_REMOTE_ANSWER_H

#include "base/str.h"

#define REMOTE_MAX_CALLS 64u
#define REMOTE_MAX_NAME 128u /* bytes of a call's id or name */

typedef struct remote_call {
    str id, name, arguments; /* arguments: as sent, not parsed */
} remote_call;

typedef struct remote_answer {
    str content, reasoning;
    remote_call calls[REMOTE_MAX_CALLS];
    size_t n_calls;
    char finish[32];   /* "": not said */
    bool done;         /* the stream said that nothing more comes */
    bool failed;       /* the server sent an error in place of an answer: */
    char message[256]; /* its words, cut */
    bool has_usage;
    uint32_t n_prompt, n_prompt_cached, n_generated;
    /* New text, as it comes: whole characters. false: stop (`stopped`). May be NULL. */
    bool (*on_text)(void *ctx, bool is_reasoning, const char *p, size_t n);
    void *ctx;
    bool stopped;
} remote_answer;

/* max: bytes of content, of reasoning, of one call's arguments. */
void remote_answer_init(remote_answer *a, size_t max);
void remote_answer_release(remote_answer *a);
/* The data of one event. MUGA_E_INPUT: no JSON, or not of this API; E_LIMIT: too much. */
MUGA_MUST_USE muga_status remote_answer_event(remote_answer *a, const char *p, size_t n, muga_error *err);
/* A whole body, of a server that doesn't stream. */
MUGA_MUST_USE muga_status remote_answer_body(remote_answer *a, const char *p, size_t n, muga_error *err);
/* The words in an error's body: {"error": {"message"}}, {"error": "..."}, {"message"}, {"detail"}, or its text; cut, in
 * one line. */
void remote_error_words(const char *p, size_t n, char *out, size_t size);

#endif
