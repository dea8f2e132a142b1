/* The blocks of a message, as they grow. Owns their order and numbers, and the events around them. */
#include "serve/anthropic_blocks.h"

#include "base/mem.h"
#include "serve/chat.h"

bool anthropic_blocks_init(anthropic_blocks *t, openai_sink sink) {
    *t = (anthropic_blocks){.sink = sink, .content = json_array()};
    str_init(&t->text, JSON_MAX_BYTES);
    return t->content != NULL;
}

void anthropic_blocks_release(anthropic_blocks *t) {
    str_release(&t->text);
    free(t->call_id);
    free(t->call_name);
    json_decref(t->content);
    *t = (anthropic_blocks){0};
}

static bool tell(const openai_sink *s, const char *type, json_t *json) {
    if (!s->send) {
        json_decref(json);
        return true;
    }
    if (json && json_object_set_new(json, "type", json_string(type))) {
        json_decref(json);
        json = NULL;
    }
    return s->send(s->ctx, type, json);
}

/* The same of an event about the open block. */
static bool tell_block(const anthropic_blocks *t, const char *type, json_t *json) {
    if (json && json_object_set_new(json, "index", json_integer((json_int_t)json_array_size(t->content)))) {
        json_decref(json);
        json = NULL;
    }
    return tell(&t->sink, type, json);
}

static bool tell_delta(const anthropic_blocks *t, const char *type, const char *member, const char *p, size_t n) {
    return tell_block(t, "content_block_delta",
                      json_pack("{s:{s:s, s:o}}", "delta", "type", type, member, openai_text(p, n)));
}

/* input is stolen. */
static json_t *block_json(const anthropic_blocks *t, const char *p, size_t n, json_t *input) {
    switch (t->open) {
    case BLOCK_THINKING:
        return json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking", openai_text(p, n), "signature", "");
    case BLOCK_TOOL:
        return json_pack("{s:s, s:s, s:s, s:o}", "type", "tool_use", "id", t->call_id, "name", t->call_name, "input",
                         input);
    case BLOCK_TEXT:
    case BLOCK_NONE: break;
    }
    return json_pack("{s:s, s:o}", "type", "text", "text", openai_text(p, n));
}

static bool begin(anthropic_blocks *t, block_kind kind) {
    t->open = kind;
    str_clear(&t->text);
    json_t *block = block_json(t, "", 0, kind == BLOCK_TOOL ? json_object() : NULL);
    return tell_block(t, "content_block_start", json_pack("{s:o}", "content_block", block));
}

/* The arguments of a call that is whole; of one that was cut, nothing. NULL: memory. */
static json_t *input_of(const anthropic_blocks *t) {
    json_t *v = NULL;
    muga_error ignored;
    muga_status st = json_parse(str_get(&t->text), t->text.len, "arguments", &v, &ignored);
    if (!st && json_is_object(v))
        return v;
    json_decref(v);
    return st == MUGA_E_NOMEM ? NULL : json_object();
}

static bool close_block(anthropic_blocks *t) {
    bool ok = true;
    if (t->open == BLOCK_NONE)
        return true;
    if (t->open == BLOCK_THINKING) /* clients wait for one; there is nothing to sign for oneself */
        ok = tell_delta(t, "signature_delta", "signature", "", 0);
    json_t *block = block_json(t, str_get(&t->text), t->text.len, t->open == BLOCK_TOOL ? input_of(t) : NULL);
    ok = ok && tell_block(t, "content_block_stop", json_object());
    if (json_array_append_new(t->content, block) || t->text.failed)
        t->failed = true;
    t->open = BLOCK_NONE;
    return ok && !t->failed;
}

static bool add(anthropic_blocks *t, block_kind kind, const llm_event *e, const char *type, const char *member) {
    if (e->n == 0)
        return true;
    if (t->open != kind && !(close_block(t) && begin(t, kind)))
        return false;
    str_append(&t->text, e->p, e->n);
    return tell_delta(t, type, member, e->p, e->n);
}

static bool begin_call(anthropic_blocks *t, const llm_event *e) {
    if (!close_block(t))
        return false;
    if (!chat_keep_call(e, &t->call_id, &t->call_name)) {
        t->failed = true;
        return false;
    }
    return begin(t, BLOCK_TOOL);
}

bool anthropic_blocks_event(anthropic_blocks *t, const llm_event *e) {
    if (t->failed)
        return false;
    switch (e->kind) {
    case LLM_EVENT_CONTENT: return add(t, BLOCK_TEXT, e, "text_delta", "text");
    case LLM_EVENT_REASONING: return add(t, BLOCK_THINKING, e, "thinking_delta", "thinking");
    case LLM_EVENT_CALL_BEGIN: return begin_call(t, e);
    case LLM_EVENT_ARGUMENTS: return add(t, BLOCK_TOOL, e, "input_json_delta", "partial_json");
    case LLM_EVENT_CALL_END: break;
    }
    return close_block(t);
}

bool anthropic_blocks_end(anthropic_blocks *t) {
    return !t->failed && close_block(t);
}

/* ---- around the blocks ---- */

json_t *anthropic_usage_json(uint64_t n_prompt, uint64_t n_cached, uint64_t n_generated) {
    return json_pack("{s:I, s:i, s:I, s:I}", "input_tokens", (json_int_t)(n_prompt - MIN(n_cached, n_prompt)),
                     "cache_creation_input_tokens", 0, "cache_read_input_tokens", (json_int_t)n_cached, "output_tokens",
                     (json_int_t)n_generated);
}

const char *anthropic_stop_reason(const llm_reply *r) {
    return r->finish == LLM_FINISH_TOOL_CALLS ? "tool_use"
           : r->finish == LLM_FINISH_LENGTH   ? "max_tokens"
           : r->stopped_by                    ? "stop_sequence"
                                              : "end_turn";
}

/* stop_sequence is only said where it is the reason. */
static const char *stop_sequence(const llm_reply *r) {
    return r->finish == LLM_FINISH_STOP ? r->stopped_by : NULL;
}

json_t *anthropic_message_json(const anthropic_blocks *t, const char *id, const char *model, const llm_reply *r,
                               json_t *usage) {
    return json_pack("{s:s, s:s, s:s, s:s, s:O, s:s?, s:s?, s:o}", "id", id, "type", "message", "role", "assistant",
                     "model", model, "content", t->content, "stop_reason", r ? anthropic_stop_reason(r) : NULL,
                     "stop_sequence", r ? stop_sequence(r) : NULL, "usage", usage);
}

bool anthropic_tell_start(const openai_sink *s, json_t *message) {
    return tell(s, "message_start", json_pack("{s:o}", "message", message)) && tell(s, "ping", json_object());
}

bool anthropic_tell_end(const openai_sink *s, const llm_reply *r, json_t *usage) {
    return tell(s, "message_delta",
                json_pack("{s:{s:s, s:s?}, s:o}", "delta", "stop_reason", anthropic_stop_reason(r), "stop_sequence",
                          stop_sequence(r), "usage", usage)) &&
           tell(s, "message_stop", json_object());
}
