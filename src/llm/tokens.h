/* Private to llm/: tokens of an answer that is told of later than it is computed, or only in part. */
#ifndef MUGA_LLM_TOKENS_H
#define MUGA_LLM_TOKENS_H

#include "llm/llm.h"

typedef struct kept_token {
    llm_token t;
    llm_top top[LLM_MAX_TOP];
    size_t begins; /* where its part of the content does, once the content has reached it */
    bool is_reached;
} kept_token;

/* All zero: empty. */
typedef struct token_queue {
    kept_token *v; /* [n] in the order of the text */
    size_t n, cap;
    size_t content_to; /* the content given so far ends here */
    bool failed;       /* out of memory: a token is lost */
} token_queue;
void token_queue_release(token_queue *q);
void token_queue_clear(token_queue *q);                 /* another attempt begins */
void token_queue_push(void *queue, const llm_token *t); /* llm_request.on_token */
/* text[from, to) is content and is going out: tells r of the tokens that end there. What lies before is none. */
void token_queue_give(token_queue *q, size_t from, size_t to, const llm_request *r);
/* No more content comes. */
MUGA_MUST_USE muga_status token_queue_finish(token_queue *q, const llm_request *r, muga_error *err);

#endif
