/* The items of a response, as they grow. Owns their order, their ids and the numbers of the events; what the response
 * around them says is openai_responses.c's. */
#include "serve/openai_items.h"

#include "base/mem.h"
#include "serve/chat.h"

#include <stdio.h>

bool openai_items_init(openai_items *t, const char *id, openai_sink sink, bool with_logprobs) {
    *t = (openai_items){.sink = sink, .id = id, .with_logprobs = with_logprobs, .output = json_array()};
    str_init(&t->text, JSON_MAX_BYTES);
    return t->output && id;
}

void openai_items_release(openai_items *t) {
    str_release(&t->text);
    free(t->call_id);
    free(t->call_name);
    json_decref(t->logprobs);
    json_decref(t->fresh);
    json_decref(t->output);
    *t = (openai_items){0};
}

/* Sends an event with the members that all of them have. json is stolen; NULL: memory is out. */
static bool tell(openai_items *t, const char *type, json_t *json) {
    if (!t->sink.send) {
        json_decref(json);
        return true;
    }
    if (json && (json_object_set_new(json, "type", json_string(type)) ||
                 json_object_set_new(json, "sequence_number", json_integer((json_int_t)t->sequence++)))) {
        json_decref(json);
        json = NULL;
    }
    return t->sink.send(t->sink.ctx, type, json);
}

/* The same of an event about the open item. */
static bool tell_item(openai_items *t, const char *type, json_t *json) {
    if (json && (json_object_set_new(json, "item_id", json_string(t->item_id)) ||
                 json_object_set_new(json, "output_index", json_integer((json_int_t)json_array_size(t->output))))) {
        json_decref(json);
        json = NULL;
    }
    return tell(t, type, json);
}

bool openai_items_tell(openai_items *t, const char *type, json_t *response) {
    return tell(t, type, json_pack("{s:o}", "response", response));
}

json_t *openai_items_error(openai_items *t, json_t *error) {
    static const char *const members[] = {"code", "message", "param"};
    const json_t *said = json_object_get(error, "error");
    bool ok = error && json_object_set_new(error, "type", json_string("error")) == 0 &&
              json_object_set_new(error, "sequence_number", json_integer((json_int_t)t->sequence++)) == 0;
    for (size_t i = 0; ok && i < ARRAY_LEN(members); i++) {
        json_t *v = json_object_get(said, members[i]);
        ok = json_object_set_new(error, members[i], v ? json_incref(v) : json_null()) == 0;
    }
    if (ok)
        return error;
    json_decref(error);
    return NULL;
}

/* ---- the open item as JSON ---- */

static json_t *logprobs_of(const openai_items *t, json_t *list) {
    return list && t->with_logprobs ? json_incref(list) : json_array();
}

static json_t *part(const openai_items *t, const char *text, size_t n, json_t *logprobs) {
    if (t->open == ITEM_REASONING)
        return json_pack("{s:s, s:o}", "type", "reasoning_text", "text", openai_text(text, n));
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", openai_text(text, n), "annotations",
                     "logprobs", logprobs_of(t, logprobs));
}

/* content is stolen; of a call it is NULL. */
static json_t *item(const openai_items *t, const char *status, json_t *content) {
    switch (t->open) {
    case ITEM_REASONING:
        return json_pack("{s:s, s:s, s:[], s:o, s:s}", "id", t->item_id, "type", "reasoning", "summary", "content",
                         content, "status", status);
    case ITEM_MESSAGE:
        return json_pack("{s:s, s:s, s:s, s:o, s:s}", "id", t->item_id, "type", "message", "role", "assistant",
                         "content", content, "status", status);
    case ITEM_CALL:
    case ITEM_NONE: break;
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s}", "id", t->item_id, "type", "function_call", "call_id", t->call_id,
                     "name", t->call_name, "arguments", openai_text(str_get(&t->text), t->text.len), "status", status);
}

/* ---- opening and closing ---- */

static bool begin(openai_items *t, item_kind kind) {
    static const char *const prefix[] = {"", "rs_", "msg_", "fc_"};
    t->open = kind;
    str_clear(&t->text);
    snprintf(t->item_id, sizeof t->item_id, "%s%.40s%zu", prefix[kind], t->id, json_array_size(t->output));
    json_t *added = item(t, "in_progress", kind == ITEM_CALL ? NULL : json_array());
    return tell(t, "response.output_item.added",
                json_pack("{s:I, s:o}", "output_index", (json_int_t)json_array_size(t->output), "item", added)) &&
           (kind == ITEM_CALL || tell_item(t, "response.content_part.added",
                                           json_pack("{s:i, s:o}", "content_index", 0, "part", part(t, "", 0, NULL))));
}

static bool close_text(openai_items *t) {
    bool is_message = t->open == ITEM_MESSAGE;
    const char *text = str_get(&t->text);
    size_t n = t->text.len;
    json_t *done = json_pack("{s:i, s:o}", "content_index", 0, "text", openai_text(text, n));
    if (done && is_message && json_object_set_new(done, "logprobs", logprobs_of(t, t->logprobs))) {
        json_decref(done);
        done = NULL;
    }
    return tell_item(t, is_message ? "response.output_text.done" : "response.reasoning_text.done", done) &&
           tell_item(t, "response.content_part.done",
                     json_pack("{s:i, s:o}", "content_index", 0, "part", part(t, text, n, t->logprobs)));
}

static bool close_item(openai_items *t, const char *status) {
    bool ok = true;
    json_t *content = NULL;
    if (t->open == ITEM_NONE)
        return true;
    if (t->open == ITEM_CALL)
        ok = tell_item(
            t, "response.function_call_arguments.done",
            json_pack("{s:o, s:s}", "arguments", openai_text(str_get(&t->text), t->text.len), "name", t->call_name));
    else {
        ok = close_text(t);
        content = json_pack("[o]", part(t, str_get(&t->text), t->text.len, t->logprobs));
    }
    json_t *closed = item(t, status, content);
    if (!closed || t->text.failed)
        t->failed = true;
    ok = ok && !t->failed &&
         tell(t, "response.output_item.done",
              json_pack("{s:I, s:O}", "output_index", (json_int_t)json_array_size(t->output), "item", closed));
    if (json_array_append_new(t->output, closed))
        t->failed = true;
    json_decref(t->logprobs);
    t->logprobs = NULL;
    t->open = ITEM_NONE;
    return ok && !t->failed;
}

/* ---- events ---- */

/* The tokens that come with the next delta; new. */
static json_t *take_fresh(openai_items *t) {
    json_t *out = t->fresh ? t->fresh : json_array();
    t->fresh = NULL;
    if (t->with_logprobs && !t->logprobs)
        t->logprobs = json_array();
    if (t->with_logprobs && json_array_extend(t->logprobs, out))
        t->failed = true;
    return out;
}

static bool add_text(openai_items *t, item_kind kind, const llm_event *e) {
    if (e->n == 0)
        return true;
    if (t->open != kind && !(close_item(t, "completed") && begin(t, kind)))
        return false;
    str_append(&t->text, e->p, e->n);
    if (kind == ITEM_REASONING)
        return tell_item(t, "response.reasoning_text.delta",
                         json_pack("{s:i, s:o}", "content_index", 0, "delta", openai_text(e->p, e->n)));
    return tell_item(
        t, "response.output_text.delta",
        json_pack("{s:i, s:o, s:o}", "content_index", 0, "delta", openai_text(e->p, e->n), "logprobs", take_fresh(t)));
}

static bool begin_call(openai_items *t, const llm_event *e) {
    if (!close_item(t, "completed"))
        return false;
    if (!chat_keep_call(e, &t->call_id, &t->call_name)) {
        t->failed = true;
        return false;
    }
    return begin(t, ITEM_CALL);
}

bool openai_items_event(openai_items *t, const llm_event *e) {
    if (t->failed)
        return false;
    switch (e->kind) {
    case LLM_EVENT_CONTENT: return add_text(t, ITEM_MESSAGE, e);
    case LLM_EVENT_REASONING: return add_text(t, ITEM_REASONING, e);
    case LLM_EVENT_CALL_BEGIN: return begin_call(t, e);
    case LLM_EVENT_ARGUMENTS:
        str_append(&t->text, e->p, e->n);
        return tell_item(t, "response.function_call_arguments.delta",
                         json_pack("{s:o}", "delta", openai_text(e->p, e->n)));
    case LLM_EVENT_CALL_END: break;
    }
    return close_item(t, "completed");
}

void openai_items_token(openai_items *t, const llm_token *token) {
    if (!t->fresh)
        t->fresh = json_array();
    if (json_array_append_new(t->fresh, openai_token_json(token)))
        t->failed = true;
}

bool openai_items_end(openai_items *t, bool complete) {
    if (t->failed)
        return false;
    if (t->open == ITEM_NONE && json_array_size(t->output) == 0 && !begin(t, ITEM_MESSAGE))
        return false;
    if (t->open == ITEM_MESSAGE)
        json_decref(take_fresh(t)); /* a last token without a text of its own */
    return close_item(t, complete ? "completed" : "incomplete");
}
