/* POST /v1/responses, without anything kept (docs/openai.md). Owns the response object around the items and the order
 * of the events: created, in_progress, what the items tell, completed or incomplete. */
#include "serve/openai_responses.h"

#include "serve/openai_items.h"

#include <string.h>

typedef struct wanted {
    openai_asked a;
    const json_t *input, *tools, *tool_choice, *text, *reasoning, *include;
    const char *instructions;
    int64_t max_output_tokens;
    uint32_t top_logprobs;
    bool parallel;
} wanted;

static const field fields[] = {
    OPENAI_FIELDS(wanted),
    {"input", FIELD_JSON, FIELD_AT(wanted, input), 0, 0, NULL, true},
    {"instructions", FIELD_STRING, FIELD_AT(wanted, instructions), 0, 0, NULL, false},
    {"tools", FIELD_ARRAY, FIELD_AT(wanted, tools), 0, 1024, NULL, false},
    {"tool_choice", FIELD_JSON, FIELD_AT(wanted, tool_choice), 0, 0, NULL, false},
    {"parallel_tool_calls", FIELD_BOOL, FIELD_AT(wanted, parallel), 0, 0, NULL, false},
    {"text", FIELD_OBJECT, FIELD_AT(wanted, text), 0, 0, NULL, false},
    {"reasoning", FIELD_OBJECT, FIELD_AT(wanted, reasoning), 0, 0, NULL, false},
    {"include", FIELD_ARRAY, FIELD_AT(wanted, include), 0, 64, NULL, false},
    {"max_output_tokens", FIELD_I64, FIELD_AT(wanted, max_output_tokens), 16, OPENAI_MAX_TOKENS, NULL, false},
    {"top_logprobs", FIELD_U32, FIELD_AT(wanted, top_logprobs), 0, 20, NULL, false},
    {"store", FIELD_ACCEPTED, 0, 0, 0, "true or false",
     false}, /* true is what it is by default; the answer says false */
    {"max_tool_calls", FIELD_ACCEPTED, 0, 0, 0, "an integer",
     false}, /* of tools that the server runs: there are none */
    {"background", FIELD_REFUSED, 0, 0, 0, "false", false},
    {"truncation", FIELD_REFUSED, 0, 0, 0, "\"disabled\"", false},
    {"previous_response_id", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"conversation", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"context_management", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"prompt", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"moderation", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"response_format", FIELD_REFUSED, 0, 0, 0, NULL, false},
};

typedef struct reasoning {
    const char *effort;
} reasoning;
static const field reasoning_fields[] = {
    {"effort", FIELD_STRING, FIELD_AT(reasoning, effort), 0, 32, NULL, false},
    {"summary", FIELD_ACCEPTED, 0, 0, 0, "auto|concise|detailed", false}, /* what was thought is in the item whole */
    {"generate_summary", FIELD_ACCEPTED, 0, 0, 0, "auto|concise|detailed", false},
    {"context", FIELD_ACCEPTED, 0, 0, 0, "auto|current_turn|all_turns", false},
    {"mode", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
};

typedef struct responding {
    call *c;
    wanted w;
    json_t *messages, *tools, *schema; /* made of the body's */
    chat ch;
    openai_head head;
    openai_items items;
    chat_choice choice;
} responding;

/* ---- reading ---- */

#define LOGPROBS "message.output_text.logprobs"

/* What OpenAI's API can include; all but the log-probabilities is of what isn't here, so there is none of it. */
static bool is_includable(const char *name) {
    static const char *const names[] = {LOGPROBS,
                                        "reasoning.encrypted_content",
                                        "file_search_call.results",
                                        "web_search_call.results",
                                        "web_search_call.action.sources",
                                        "message.input_image.image_url",
                                        "computer_call_output.output.image_url",
                                        "code_interpreter_call.outputs"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool wants_logprobs(const wanted *w) {
    for (size_t i = 0; i < json_array_size(w->include); i++) {
        const char *name = json_string_value(json_array_get(w->include, i));
        if (name && strcmp(name, LOGPROBS) == 0)
            return true;
    }
    return w->top_logprobs > 0;
}

static bool check(call *c, wanted *w) {
    if (w->a.n != 1)
        return call_fail(c, 400, "n", "unsupported_value", "n: a response is one answer");
    if (w->max_output_tokens > 0)
        w->a.s.max_tokens = w->max_output_tokens;
    for (size_t i = 0; i < json_array_size(w->include); i++) {
        const char *name = json_string_value(json_array_get(w->include, i));
        if (!name)
            return call_fail(c, 400, "include", "invalid_type", "include[%zu] must be a string", i);
        if (!is_includable(name))
            return call_fail(c, 400, "include", "invalid_value", "include[%zu]: there is no \"%.60s\" to include", i,
                             name);
    }
    return true;
}

static bool read_body(responding *t, llm_request *q) {
    call *c = t->c;
    wanted *w = &t->w;
    reasoning r = {0};
    return call_read(c, c->body, "", fields, ARRAY_LEN(fields), w) && check(c, w) &&
           (!w->reasoning ||
            call_read(c, w->reasoning, "reasoning.", reasoning_fields, ARRAY_LEN(reasoning_fields), &r)) &&
           responses_read_tools(c, w->tools, w->tool_choice, w->parallel, q, &t->tools) &&
           responses_read_text(c, w->text, q, &t->schema) && openai_read_rest(c, &w->a, q) &&
           openai_read_effort(c, r.effort, "reasoning.effort", q) &&
           responses_read_input(c, w->input, w->instructions, &t->messages);
}

/* ---- the response object ---- */

/* As it was asked, with the members that a tool has. New. */
static json_t *tools_shown(const json_t *tools) {
    json_t *out = json_array();
    for (size_t i = 0; out && i < json_array_size(tools); i++) {
        json_t *tool = json_clone_shallow(json_array_get(tools, i));
        bool ok = tool != NULL;
        if (ok && !json_object_get(tool, "strict"))
            ok = json_object_set_new(tool, "strict", json_true()) == 0;
        if (ok && !json_object_get(tool, "parameters"))
            ok = json_object_set_new(tool, "parameters", json_null()) == 0;
        if (json_array_append_new(out, tool) || !ok) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *shown(const json_t *v, json_t *otherwise) {
    if (!v || json_is_null(v))
        return otherwise;
    json_decref(otherwise);
    return json_incref(json_borrow(v));
}

static json_t *text_shown(const wanted *w) {
    const json_t *format = json_object_get(w->text, "format");
    return json_pack("{s:o, s:s}", "format", shown(format, json_pack("{s:s}", "type", "text")), "verbosity", "medium");
}

/* What was asked, as the response repeats it. */
static json_t *asked(const responding *t) {
    const wanted *w = &t->w;
    const llm_sampling *s = &t->ch.q.sampling;
    return json_pack("{s:s?, s:o, s:n, s:s, s:b, s:n, s:o, s:s, s:b, s:f, s:f, s:o, s:o, s:o, s:i, s:s, s:o, s:b}",
                     "instructions", w->instructions, "max_output_tokens",
                     w->a.s.max_tokens > 0 ? json_integer(w->a.s.max_tokens) : json_null(), "max_tool_calls", "model",
                     w->a.model, "parallel_tool_calls", (int)w->parallel, "previous_response_id", "reasoning",
                     shown(w->reasoning, json_pack("{s:n, s:n}", "effort", "summary")), "service_tier", "default",
                     "store", 0, "temperature", (double)s->temperature, "top_p", (double)s->top_p, "text",
                     text_shown(w), "tool_choice", shown(w->tool_choice, json_string("auto")), "tools",
                     tools_shown(w->tools), "top_logprobs", (int)w->top_logprobs, "truncation", "disabled", "metadata",
                     shown(json_object_get(t->c->body, "metadata"), json_object()), "background", 0);
}

/* What nothing depends on here and clients look for again: as it was said. */
static bool repeat(const call *c, json_t *to) {
    static const char *const names[] = {"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
                                        "max_tool_calls"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        json_t *v = json_object_get(c->body, names[i]);
        if (v && !json_is_null(v) && json_object_set(to, names[i], v))
            return false;
    }
    return true;
}

static json_t *usage_json(llm *m, const llm_reply *r) {
    return json_pack("{s:I, s:{s:I, s:i}, s:I, s:{s:I}, s:I}", "input_tokens", (json_int_t)r->n_prompt,
                     "input_tokens_details", "cached_tokens", (json_int_t)r->n_prompt_cached, "cache_write_tokens", 0,
                     "output_tokens", (json_int_t)r->n_generated, "output_tokens_details", "reasoning_tokens",
                     (json_int_t)openai_reasoning_tokens(m, r), "total_tokens",
                     (json_int_t)r->n_prompt + (json_int_t)r->n_generated);
}

/* r NULL: it is being computed. */
static json_t *response_json(const responding *t, const llm_reply *r) {
    bool cut = r && r->finish == LLM_FINISH_LENGTH;
    json_t *out = json_pack("{s:s, s:s, s:I, s:s, s:n, s:o, s:O}", "id", t->head.id, "object", "response", "created_at",
                            (json_int_t)t->head.created, "status",
                            !r    ? "in_progress"
                            : cut ? "incomplete"
                                  : "completed",
                            "error", "incomplete_details",
                            cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(), "output",
                            t->items.output);
    json_t *rest = asked(t);
    bool ok = out && rest && json_object_update(out, rest) == 0 && repeat(t->c, out);
    if (ok && r)
        ok = json_object_set_new(out, "usage", usage_json(t->ch.lent.m, r)) == 0;
    json_decref(rest);
    if (!ok) {
        json_decref(out);
        return NULL;
    }
    return out;
}

/* ---- the answer ---- */

static bool begin_stream(responding *t) {
    if (!t->w.a.stream || t->c->streams)
        return true;
    return call_events_begin(t->c) && openai_items_tell(&t->items, "response.created", response_json(t, NULL)) &&
           openai_items_tell(&t->items, "response.in_progress", response_json(t, NULL));
}

static json_t *error_event(void *ctx, json_t *error) {
    return openai_items_error(&((responding *)ctx)->items, error);
}

static bool on_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    (void)n_done;
    (void)n_prompt;
    return begin_stream(ctx);
}

static bool on_event(void *ctx, const llm_event *e) {
    responding *t = ctx;
    return begin_stream(t) && openai_items_event(&t->items, e);
}

static void on_token(void *ctx, const llm_token *token) {
    openai_items_token(&((responding *)ctx)->items, token);
}

static void end(responding *t) {
    call *c = t->c;
    const llm_reply *r = &t->choice.reply;
    bool cut = r->finish == LLM_FINISH_LENGTH;
    if (!begin_stream(t))
        return;
    if (!openai_items_end(&t->items, !cut)) {
        if (t->items.failed)
            call_no_memory(c);
        return;
    }
    c->finish = chat_finish_name(r->finish);
    json_t *whole = response_json(t, r);
    call_ends(c);
    if (!t->w.a.stream)
        call_reply(c, 200, whole);
    else if (openai_items_tell(&t->items, cut ? "response.incomplete" : "response.completed", whole))
        call_events_end(c);
}

static void answer(responding *t, const llm_request *read) {
    call *c = t->c;
    llm_request *q = &t->ch.q;
    openai_apply(read, q);
    q->split = true;
    t->head = openai_head_of(c, "resp_", t->w.a.model, q->now_ms);
    openai_sink sink = {t->w.a.stream ? openai_send_event : NULL, c};
    if (!openai_items_init(&t->items, openai_id(c, ""), sink, wants_logprobs(&t->w))) {
        call_no_memory(c);
        return;
    }
    c->error_event = error_event;
    c->error_ctx = t;
    q->on_event = on_event;
    q->on_prompt = on_prompt;
    if (t->items.with_logprobs) {
        q->on_token = on_token;
        q->top_logprobs = t->w.top_logprobs;
    }
    t->choice.ctx = t;
    if (openai_complete(c, &t->ch, &t->choice, 1))
        end(t);
    llm_reply_release(&t->choice.reply);
}

static void run(call *c) {
    responding *t = arena_alloc(&c->mem, sizeof *t);
    llm_request read = {0};
    if (!t) {
        call_no_memory(c);
        return;
    }
    t->c = c;
    t->w = (wanted){.a = OPENAI_UNSAID, .max_output_tokens = -1, .parallel = true};
    if (read_body(t, &read) && chat_open(c, t->w.a.model, t->messages, &t->w.a.s, &CHAT_DEFAULTS_OPENAI, &t->ch))
        answer(t, &read);
    chat_close(&t->ch);
    openai_items_release(&t->items);
    json_decref(t->messages);
    json_decref(t->tools);
    json_decref(t->schema);
}

serve_routes openai_responses_routes(void) {
    static const call_route routes[] = {
        {.method = "POST",
         .path = "/v1/responses",
         .family = CALL_OPENAI,
         .right = CALL_ANY_KEY,
         .generates = true,
         .run = run},
    };
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
