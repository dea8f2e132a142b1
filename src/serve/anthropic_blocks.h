/* Private to serve/: an answer in the words of Anthropic's clients: a message of blocks that grow as events come, and
 * what is told of them meanwhile. Values in, JSON out; nothing here knows a connection.
 *
 *   event        block     told
 *   REASONING    thinking  content_block_start, thinking_delta ..., signature_delta, content_block_stop
 *   CONTENT      text      content_block_start, text_delta ..., content_block_stop
 *   CALL_*       tool_use  content_block_start, input_json_delta ..., content_block_stop */
#ifndef MUGA_SERVE_ANTHROPIC_BLOCKS_H
#define MUGA_SERVE_ANTHROPIC_BLOCKS_H

#include "serve/openai_json.h"

typedef enum { BLOCK_NONE, BLOCK_THINKING, BLOCK_TEXT, BLOCK_TOOL } block_kind;

typedef struct anthropic_blocks {
    openai_sink sink; /* send NULL: nothing is told */
    block_kind open;
    str text; /* of the open block */
    char *call_id, *call_name;
    json_t *content; /* the closed ones */
    bool failed;     /* memory is out */
} anthropic_blocks;

bool anthropic_blocks_init(anthropic_blocks *t, openai_sink sink);
void anthropic_blocks_release(anthropic_blocks *t);
bool anthropic_blocks_event(anthropic_blocks *t, const llm_event *e);
bool anthropic_blocks_end(anthropic_blocks *t); /* closes what is open */

/* {"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"}: what was found in a
 * cache isn't among the input tokens. */
json_t *anthropic_usage_json(uint64_t n_prompt, uint64_t n_cached, uint64_t n_generated);
/* "end_turn", "max_tokens", "stop_sequence", "tool_use" */
const char *anthropic_stop_reason(const llm_reply *r);
/* The message, with the blocks so far; r NULL: it is being computed. usage is stolen. */
json_t *anthropic_message_json(const anthropic_blocks *t, const char *id, const char *model, const llm_reply *r,
                               json_t *usage);
/* message_start (and a ping), message_delta and message_stop; message and usage are stolen. */
bool anthropic_tell_start(const openai_sink *s, json_t *message);
bool anthropic_tell_end(const openai_sink *s, const llm_reply *r, json_t *usage);

#endif
