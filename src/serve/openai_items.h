/* Private to serve/: the output of a response (POST /v1/responses): items that grow as events come, and what is told of
 * them meanwhile. Values in, JSON out; nothing here knows a connection.
 *
 *   event        item       told
 *   REASONING    reasoning  output_item.added, content_part.added, reasoning_text.delta ...
 *   CONTENT      message    output_item.added, content_part.added, output_text.delta ...
 *   CALL_*       a call     output_item.added, function_call_arguments.delta ...
 *
 * One item is open at a time; another kind of event, or the end, closes it: *.done, content_part.done,
 * output_item.done. */
#ifndef MUGA_SERVE_OPENAI_ITEMS_H
#define MUGA_SERVE_OPENAI_ITEMS_H

#include "serve/openai_json.h"

typedef enum { ITEM_NONE, ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL } item_kind;

typedef struct openai_items {
    openai_sink sink; /* send NULL: nothing is told */
    const char *id;   /* of the request: item ids are made of it */
    bool with_logprobs;
    item_kind open;
    str text;         /* of the open item */
    char item_id[64]; /* its id */
    char *call_id, *call_name;
    json_t *logprobs; /* tokens of the open message */
    json_t *fresh;    /* those that no delta has told yet */
    json_t *output;   /* the closed ones */
    uint64_t sequence;
    bool failed; /* memory is out */
} openai_items;

/* output and logprobs are new; false: memory. Release it in any case. */
bool openai_items_init(openai_items *t, const char *id, openai_sink sink, bool with_logprobs);
void openai_items_release(openai_items *t);

/* An event of the response itself: {"type", "response", "sequence_number"}; response is stolen. */
bool openai_items_tell(openai_items *t, const char *type, json_t *response);
bool openai_items_event(openai_items *t, const llm_event *e);
/* The last event where it fails: the members of the specification beside {"error": {...}}, which is stolen, and is what
 * OpenAI's clients look for. New; NULL: memory. */
json_t *openai_items_error(openai_items *t, json_t *error);
void openai_items_token(openai_items *t, const llm_token *token);
/* Closes what is open, as complete or not, and makes an empty message where there is nothing. */
bool openai_items_end(openai_items *t, bool complete);

#endif
