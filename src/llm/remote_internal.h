/* Private to remote*.c. */
#ifndef MUGA_LLM_REMOTE_INTERNAL_H
#define MUGA_LLM_REMOTE_INTERNAL_H

#include "llm/remote.h"
#include "llm/remote_answer.h"
#include "llm/toolcall.h"

typedef struct remote {
    llm base;
    llm_remote_options o; /* url, model, key: copies below */
    char *url, *model, *key;
    char place[300]; /* host and port, for messages */
    llm_remote_usage usage;
    uint64_t n_drawn; /* of the jitter */
} remote;

/* ---- remote_request.c ---- */
/* The body of a request, new. E_USAGE: asks for what a remote model can't do. */
MUGA_MUST_USE muga_status remote_request_body(const remote *r, const llm_request *q, const toolcall_tools *tools,
                                              json_t **out, muga_error *err);

/* ---- remote_check.c ---- */
/* E_NEGATIVE: the answer is not what was asked for; err says why. Else content and calls move into out, the content of
 * a schema in its compact form. */
MUGA_MUST_USE muga_status remote_check(const llm_request *q, const toolcall_tools *tools, remote_answer *a,
                                       llm_reply *out, muga_error *err);

/* ---- remote_ask.c ---- */
/* One answer, asked for until a whole one came: retries, waits. live: pieces go to the request's callbacks at once.
 * *cancelled: they said so. until_us: monotonic. */
typedef struct remote_ask {
    const llm_request *q;
    const str *body;
    bool live;
    uint64_t until_us;
    remote_answer answer; /* to be released, whatever comes out */
    bool cancelled;
    bool told; /* text went out, so nothing can be asked anew */
} remote_ask;
MUGA_MUST_USE muga_status remote_ask_once_more(remote *r, remote_ask *x, muga_error *err);
/* What stands in the message of the key, 8 bytes of it or more, is blotted out. */
void remote_blot_key(const remote *r, muga_error *err);

#endif
