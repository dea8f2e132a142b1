/* Answers in OpenAI's words: whole ones and chunks. Owns the shape of the JSON and nothing else; every object that can
 * fail to be made is NULL, which whoever sends it takes for "memory is out". */
#include "serve/openai_json.h"

#include "base/mem.h"
#include "base/utf8.h"

json_t *openai_text(const char *p, size_t n) {
    str s = STR_INIT;
    if (n == 0 || utf8_valid(p, n))
        return json_stringn_nocheck(n ? p : "", n);
    utf8_append_replaced(&s, p, n);
    json_t *out = s.failed ? NULL : json_stringn_nocheck(str_get(&s), s.len);
    str_release(&s);
    return out;
}

json_t *openai_usage_json(const openai_usage *u) {
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:{s:I}}", "prompt_tokens", (json_int_t)u->n_prompt, "completion_tokens",
                     (json_int_t)u->n_generated, "total_tokens", (json_int_t)(u->n_prompt + u->n_generated),
                     "prompt_tokens_details", "cached_tokens", (json_int_t)u->n_cached, "completion_tokens_details",
                     "reasoning_tokens", (json_int_t)u->n_reasoning);
}

json_t *openai_finish_json(llm_finish f) {
    return json_string(f == LLM_FINISH_LENGTH ? "length" : f == LLM_FINISH_TOOL_CALLS ? "tool_calls" : "stop");
}

/* What is impossible has a log-probability of minus infinity, which JSON can't say. */
static double sayable(double logprob) {
    return logprob >= -9999 ? logprob : -9999;
}

static json_t *token_json(const char *bytes, size_t n, double logprob) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = json_array_append_new(list, json_integer((unsigned char)bytes[i])) == 0;
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:o, s:f, s:o}", "token", openai_text(bytes, n), "logprob", sayable(logprob), "bytes", list);
}

json_t *openai_token_json(const llm_token *t) {
    json_t *out = token_json(t->p, t->n, t->logprob), *top = json_array();
    bool ok = out && json_object_set_new(out, "top_logprobs", top) == 0;
    for (size_t i = 0; ok && i < t->n_top; i++)
        ok = json_array_append_new(top, token_json(t->top[i].p, t->top[i].n, t->top[i].logprob)) == 0;
    if (!ok) {
        if (!out)
            json_decref(top);
        json_decref(out);
        return NULL;
    }
    return out;
}

json_t *openai_logprobs_json(json_t *tokens) {
    return tokens ? json_pack("{s:o, s:n}", "content", tokens, "refusal") : NULL;
}

json_t *openai_legacy_new(void) {
    return json_pack("{s:[], s:[], s:[], s:[]}", "tokens", "token_logprobs", "top_logprobs", "text_offset");
}

/* Bytes that begin a character. */
static size_t characters(const char *p, size_t n) {
    size_t out = 0;
    for (size_t i = 0; i < n; i++)
        out += ((unsigned char)p[i] & 0xC0) != 0x80;
    return out;
}

bool openai_legacy_add(json_t *logprobs, const llm_token *t, size_t *offset) {
    json_t *top = json_object();
    bool ok = top != NULL;
    for (size_t i = 0; ok && i < t->n_top; i++) {
        json_t *name = openai_text(t->top[i].p, t->top[i].n);
        ok = name && (json_object_get(top, json_string_value(name)) || /* two that aren't text look the same */
                      json_object_set_new(top, json_string_value(name), json_real(sayable(t->top[i].logprob))) == 0);
        json_decref(name);
    }
    ok = ok && json_array_append_new(json_object_get(logprobs, "tokens"), openai_text(t->p, t->n)) == 0 &&
         json_array_append_new(json_object_get(logprobs, "token_logprobs"), json_real(sayable(t->logprob))) == 0 &&
         json_array_append_new(json_object_get(logprobs, "text_offset"), json_integer((json_int_t)*offset)) == 0 &&
         json_array_append(json_object_get(logprobs, "top_logprobs"), top) == 0;
    json_decref(top);
    *offset += characters(t->p, t->n);
    return ok;
}

static json_t *or_null(json_t *v) {
    return v ? v : json_null();
}

/* ---- whole answers ---- */

static json_t *whole(const openai_head *h, const char *object, json_t *choices, const openai_usage *u) {
    return json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:s}", "id", h->id, "object", object, "created",
                     (json_int_t)h->created, "model", h->model, "choices", choices, "usage", openai_usage_json(u),
                     "system_fingerprint", h->fingerprint);
}

json_t *openai_calls_json(const llm_reply *r) {
    json_t *out = json_array();
    for (size_t i = 0; out && i < r->n_calls; i++) {
        const llm_call *c = &r->calls[i];
        if (json_array_append_new(out, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", c->id, "type", "function",
                                                 "function", "name", c->name, "arguments", c->arguments))) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

json_t *openai_chat_choice(uint32_t index, const llm_reply *r, json_t *logprobs) {
    json_t *content = r->text.len == 0 && r->n_calls > 0 ? json_null() : openai_text(str_get(&r->text), r->text.len);
    json_t *message = json_pack("{s:s, s:o, s:n}", "role", "assistant", "content", content, "refusal");
    bool ok = message != NULL;
    if (ok && r->reasoning.len > 0)
        ok = json_object_set_new(message, "reasoning_content", openai_text(str_get(&r->reasoning), r->reasoning.len)) ==
             0;
    if (ok && r->n_calls > 0)
        ok = json_object_set_new(message, "tool_calls", openai_calls_json(r)) == 0;
    if (!ok) {
        json_decref(message);
        json_decref(logprobs);
        return NULL;
    }
    return json_pack("{s:i, s:o, s:o, s:o}", "index", (int)index, "message", message, "logprobs", or_null(logprobs),
                     "finish_reason", openai_finish_json(r->finish));
}

json_t *openai_chat_json(const openai_head *h, json_t *choices, const openai_usage *u) {
    return whole(h, "chat.completion", choices, u);
}

json_t *openai_completion_json(const openai_head *h, json_t *choices, const openai_usage *u) {
    return whole(h, "text_completion", choices, u);
}

json_t *openai_completion_choice(uint32_t index, const char *text, size_t n, json_t *logprobs, const char *finish) {
    return json_pack("{s:o, s:i, s:o, s:s?}", "text", openai_text(text, n), "index", (int)index, "logprobs",
                     or_null(logprobs), "finish_reason", finish);
}

/* ---- chunks ---- */

static json_t *chunk(const openai_chunks *s, json_t *choices) {
    json_t *out = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", s->head.id, "object", "chat.completion.chunk",
                            "created", (json_int_t)s->head.created, "model", s->head.model, "system_fingerprint",
                            s->head.fingerprint, "choices", choices);
    if (out && s->with_usage && json_object_set_new(out, "usage", json_null())) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

static bool send_delta(const openai_chunks *s, uint32_t index, json_t *delta, json_t *logprobs, json_t *finish) {
    json_t *choice = json_pack("{s:i, s:o, s:o, s:o}", "index", (int)index, "delta", delta, "logprobs",
                               or_null(logprobs), "finish_reason", finish);
    return s->sink.send(s->sink.ctx, NULL, chunk(s, json_pack("[o]", choice)));
}

bool openai_chunk_role(const openai_chunks *s, uint32_t index) {
    json_t *delta = json_pack("{s:s, s:s, s:n}", "role", "assistant", "content", "", "refusal");
    return send_delta(s, index, delta, NULL, json_null());
}

bool openai_chunk_event(const openai_chunks *s, uint32_t index, const llm_event *e, json_t *logprobs) {
    json_t *delta = NULL;
    switch (e->kind) {
    case LLM_EVENT_CONTENT: delta = json_pack("{s:o}", "content", openai_text(e->p, e->n)); break;
    case LLM_EVENT_REASONING: delta = json_pack("{s:o}", "reasoning_content", openai_text(e->p, e->n)); break;
    case LLM_EVENT_CALL_BEGIN:
        delta = json_pack("{s:[{s:i, s:s, s:s, s:{s:s, s:s}}]}", "tool_calls", "index", (int)e->call, "id", e->id,
                          "type", "function", "function", "name", e->name, "arguments", "");
        break;
    case LLM_EVENT_ARGUMENTS:
        delta = json_pack("{s:[{s:i, s:{s:o}}]}", "tool_calls", "index", (int)e->call, "function", "arguments",
                          openai_text(e->p, e->n));
        break;
    case LLM_EVENT_CALL_END: json_decref(logprobs); return true;
    }
    return send_delta(s, index, delta, logprobs, json_null());
}

bool openai_chunk_finish(const openai_chunks *s, uint32_t index, llm_finish f, json_t *logprobs) {
    return send_delta(s, index, json_object(), logprobs, openai_finish_json(f));
}

bool openai_chunk_usage(const openai_chunks *s, const openai_usage *u) {
    json_t *out = chunk(s, json_array());
    if (out && json_object_set_new(out, "usage", openai_usage_json(u))) {
        json_decref(out);
        out = NULL;
    }
    return s->sink.send(s->sink.ctx, NULL, out);
}
