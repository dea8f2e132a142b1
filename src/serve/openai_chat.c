/* POST /v1/chat/completions (docs/openai.md). Owns the body's table and the order of things: everything that is wrong
 * with a request is said before the model computes, so that a stream begins only once the prompt does. */
#include "serve/agents.h"
#include "serve/openai.h"

typedef struct wanted {
    openai_asked a;
    const json_t *messages, *tools, *tool_choice, *format;
    const char *effort;
    int64_t max_completion_tokens;
    uint32_t top_logprobs;
    bool parallel, logprobs;
} wanted;

static const field fields[] = {
    OPENAI_FIELDS(wanted),
    {"messages", FIELD_ARRAY, FIELD_AT(wanted, messages), 1, 65536, NULL, true},
    {"tools", FIELD_ARRAY, FIELD_AT(wanted, tools), 0, 1024, NULL, false},
    {"tool_choice", FIELD_JSON, FIELD_AT(wanted, tool_choice), 0, 0, NULL, false},
    {"parallel_tool_calls", FIELD_BOOL, FIELD_AT(wanted, parallel), 0, 0, NULL, false},
    {"response_format", FIELD_OBJECT, FIELD_AT(wanted, format), 0, 0, NULL, false},
    {"reasoning_effort", FIELD_STRING, FIELD_AT(wanted, effort), 0, 32, NULL, false},
    {"max_completion_tokens", FIELD_I64, FIELD_AT(wanted, max_completion_tokens), 1, OPENAI_MAX_TOKENS, NULL, false},
    {"logprobs", FIELD_BOOL, FIELD_AT(wanted, logprobs), 0, 0, NULL, false},
    {"top_logprobs", FIELD_U32, FIELD_AT(wanted, top_logprobs), 0, 20, NULL, false},
    {"store", FIELD_REFUSED, 0, 0, 0, "false", false},
    {"modalities", FIELD_REFUSED, 0, 0, 0, "[\"text\"]", false},
    {"verbosity", FIELD_REFUSED, 0, 0, 0, "\"medium\"", false},
    {"audio", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"prediction", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"web_search_options", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"moderation", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"functions", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"function_call", FIELD_REFUSED, 0, 0, 0, "\"none\"", false},
};

/* A request that is being answered. */
typedef struct chatting chatting;
typedef struct stream_choice {
    chatting *of;
    uint32_t index;
    json_t *tokens; /* log-probabilities of those that haven't gone out */
    bool failed;    /* memory was out for one of them */
} stream_choice;
struct chatting {
    call *c;
    wanted w;
    json_t *messages, *schema, *tools; /* made of the body's */
    chat ch;
    openai_chunks chunks;
    chat_choice choices[CHAT_MAX_CHOICES];
    stream_choice streams[CHAT_MAX_CHOICES];
};

/* ---- reading ---- */

static bool read_limits(call *c, wanted *w) {
    int64_t tokens = w->a.s.max_tokens, completion = w->max_completion_tokens;
    if (tokens > 0 && completion > 0 && tokens != completion)
        return call_fail(c, 400, "max_completion_tokens", "invalid_value",
                         "max_tokens and max_completion_tokens mean the same and differ; leave one out");
    if (completion > 0)
        w->a.s.max_tokens = completion;
    if (w->top_logprobs > 0 && !w->logprobs)
        return call_fail(c, 400, "top_logprobs", "invalid_value", "top_logprobs needs \"logprobs\": true");
    return true;
}

static bool read_body(chatting *t, llm_request *q) {
    call *c = t->c;
    wanted *w = &t->w;
    return call_read(c, c->body, "", fields, ARRAY_LEN(fields), w) && read_limits(c, w) &&
           chat_read_allowed(c, &w->tools, &w->tool_choice, &t->tools) &&
           chat_read_tools(c, w->tools, w->tool_choice, w->parallel, q) &&
           chat_read_format(c, w->format, q, &t->schema) && openai_read_rest(c, &w->a, q) &&
           openai_read_effort(c, w->effort, "reasoning_effort", q) &&
           chat_read_messages(c, w->messages, "messages", &t->messages);
}

/* ---- streaming ---- */

static bool begin_stream(chatting *t) {
    if (t->c->streams)
        return true;
    bool ok = call_events_begin(t->c);
    for (uint32_t i = 0; ok && i < t->w.a.n; i++)
        ok = openai_chunk_role(&t->chunks, i);
    return ok;
}

static bool on_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    (void)n_done;
    (void)n_prompt;
    return begin_stream(((stream_choice *)ctx)->of);
}

static void on_token(void *ctx, const llm_token *t) {
    stream_choice *s = ctx;
    if (!s->tokens)
        s->tokens = json_array();
    if (json_array_append_new(s->tokens, openai_token_json(t)))
        s->failed = true;
}

/* Of what goes out next; moved out. */
static json_t *take_logprobs(stream_choice *s) {
    json_t *tokens = s->tokens;
    s->tokens = NULL;
    return openai_logprobs_json(tokens);
}

static bool on_event(void *ctx, const llm_event *e) {
    stream_choice *s = ctx;
    bool is_content = e->kind == LLM_EVENT_CONTENT;
    if (s->failed || !begin_stream(s->of))
        return false;
    return (e->n == 0 && (is_content || e->kind == LLM_EVENT_REASONING)) ||
           openai_chunk_event(&s->of->chunks, s->index, e, is_content ? take_logprobs(s) : NULL);
}

static void end_stream(chatting *t) {
    bool ok = begin_stream(t);
    openai_usage u = openai_usage_of(t->ch.lent.m, t->choices, t->w.a.n);
    call_ends(t->c);
    for (uint32_t i = 0; ok && i < t->w.a.n; i++)
        ok = openai_chunk_finish(&t->chunks, i, t->choices[i].reply.finish, take_logprobs(&t->streams[i]));
    if (ok && t->w.a.with_usage)
        ok = openai_chunk_usage(&t->chunks, &u);
    if (ok && call_event_text(t->c, "[DONE]"))
        call_events_end(t->c);
}

/* ---- the answer ---- */

static json_t *logprobs_of(chatting *t, uint32_t i) {
    stream_choice *s = &t->streams[i];
    if (t->w.logprobs && !s->tokens)
        s->tokens = json_array();
    return take_logprobs(s);
}

static void reply(chatting *t) {
    json_t *choices = json_array();
    openai_usage u = openai_usage_of(t->ch.lent.m, t->choices, t->w.a.n);
    bool ok = choices != NULL;
    for (uint32_t i = 0; ok && i < t->w.a.n; i++)
        ok = !t->streams[i].failed &&
             json_array_append_new(choices, openai_chat_choice(i, &t->choices[i].reply, logprobs_of(t, i))) == 0;
    if (!ok) {
        json_decref(choices);
        choices = NULL;
    }
    call_reply(t->c, 200, choices ? openai_chat_json(&t->chunks.head, choices, &u) : NULL);
}

static void answer(chatting *t, const llm_request *read) {
    call *c = t->c;
    llm_request *q = &t->ch.q;
    openai_apply(read, q);
    q->split = true;
    t->chunks = (openai_chunks){.head = openai_head_of(c, "chatcmpl-", t->w.a.model, q->now_ms),
                                .sink = {openai_send_event, c},
                                .with_usage = t->w.a.with_usage};
    for (uint32_t i = 0; i < t->w.a.n; i++) {
        t->streams[i] = (stream_choice){.of = t, .index = i};
        t->choices[i].ctx = &t->streams[i];
    }
    if (t->w.logprobs) {
        q->on_token = on_token;
        q->top_logprobs = t->w.top_logprobs;
    }
    if (t->w.a.stream) {
        q->on_event = on_event;
        q->on_prompt = on_prompt;
    }
    if (openai_complete(c, &t->ch, t->choices, t->w.a.n)) {
        c->finish = chat_finish_name(t->choices[0].reply.finish);
        if (t->w.a.stream)
            end_stream(t);
        else
            reply(t);
    }
    for (uint32_t i = 0; i < t->w.a.n; i++) {
        llm_reply_release(&t->choices[i].reply);
        json_decref(t->streams[i].tokens);
    }
}

static void run(call *c) {
    if (agents_is_model(c->body)) {
        agents_chat(c);
        return;
    }
    chatting *t = arena_alloc(&c->mem, sizeof *t);
    llm_request read = {0};
    if (!t) {
        call_no_memory(c);
        return;
    }
    t->c = c;
    t->w = (wanted){.a = OPENAI_UNSAID, .max_completion_tokens = -1, .parallel = true};
    if (read_body(t, &read) && chat_open(c, t->w.a.model, t->messages, &t->w.a.s, &CHAT_DEFAULTS_OPENAI, &t->ch))
        answer(t, &read);
    chat_close(&t->ch);
    json_decref(t->messages);
    json_decref(t->schema);
    json_decref(t->tools);
}

serve_routes openai_chat_routes(void) {
    static const call_route routes[] = {
        {.method = "POST",
         .path = "/v1/chat/completions",
         .family = CALL_OPENAI,
         .right = CALL_ANY_KEY,
         .generates = true,
         .run = run},
    };
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
