/* POST /v1/messages and /v1/messages/count_tokens (docs/anthropic.md). Owns the body's table and the order of things;
 * what is wrong with a request is said before the model computes. */
#include "serve/anthropic_blocks.h"
#include "serve/anthropic_read.h"
#include "serve/openai.h"

typedef struct wanted {
    const char *model;
    chat_sampling s;
    const json_t *messages, *system, *tools, *tool_choice, *stop, *thinking, *config, *format;
    bool stream;
} wanted;

#define COMMON_FIELDS                                                                                                  \
    {"model", FIELD_STRING, FIELD_AT(wanted, model), 0, 255, NULL, true},                                              \
        {"messages", FIELD_ARRAY, FIELD_AT(wanted, messages), 1, 65536, NULL, true},                                   \
        {"system", FIELD_JSON, FIELD_AT(wanted, system), 0, 0, NULL, false},                                           \
        {"tools", FIELD_ARRAY, FIELD_AT(wanted, tools), 0, 1024, NULL, false},                                         \
        {"tool_choice", FIELD_OBJECT, FIELD_AT(wanted, tool_choice), 0, 0, NULL, false},                               \
        {"thinking", FIELD_OBJECT, FIELD_AT(wanted, thinking), 0, 0, NULL, false},                                     \
        {"output_config", FIELD_OBJECT, FIELD_AT(wanted, config), 0, 0, NULL, false},                                  \
        {"output_format", FIELD_OBJECT, FIELD_AT(wanted, format), 0, 0, NULL, false},                                  \
        {"cache_control", FIELD_ACCEPTED, 0, 0, 0, "an object", false},                                                \
        {"mcp_servers", FIELD_REFUSED, 0, 0, 0, "[]", false}, {                                                        \
        "context_management", FIELD_REFUSED, 0, 0, 0, NULL, false                                                      \
    }

static const field fields[] = {
    COMMON_FIELDS,
    {"max_tokens", FIELD_I64, FIELD_AT(wanted, s.max_tokens), 1, OPENAI_MAX_TOKENS, NULL, true},
    {"temperature", FIELD_F32, FIELD_AT(wanted, s.temperature), 0, 1, NULL, false},
    {"top_p", FIELD_F32, FIELD_AT(wanted, s.top_p), 0, 1, NULL, false},
    {"top_k", FIELD_I64, FIELD_AT(wanted, s.top_k), 0, OPENAI_MAX_TOKENS, NULL, false},
    {"stop_sequences", FIELD_ARRAY, FIELD_AT(wanted, stop), 0, OPENAI_MAX_STOPS, NULL, false},
    {"stream", FIELD_BOOL, FIELD_AT(wanted, stream), 0, 0, NULL, false},
    {"metadata", FIELD_ACCEPTED, 0, 0, 0, "an object", false},
    {"service_tier", FIELD_ACCEPTED, 0, 0, 0, "auto|standard_only", false},
    {"inference_geo", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"container", FIELD_REFUSED, 0, 0, 0, NULL, false},
};
static const field count_fields[] = {COMMON_FIELDS};

typedef struct asking {
    call *c;
    wanted w;
    json_t *messages, *last, *tools; /* made of the body's; last: what the answer goes on from */
    chat ch;
    const char *id;
    uint32_t n_prompt, n_cached;
    anthropic_blocks blocks;
    chat_choice choice;
} asking;

/* ---- reading ---- */

static bool check(const asking *t, const llm_request *q) {
    call *c = t->c;
    if (q->schema && json_array_size(t->w.stop) > 0)
        return call_fail(c, 400, "stop_sequences", NULL,
                         "stop_sequences could cut what must be whole; leave them out "
                         "where the form of the answer is given");
    bool calls = q->tool_choice != LLM_TOOLS_SHOWN && q->tool_choice != LLM_TOOLS_NONE;
    if (t->last && (calls || q->schema || q->thinking == LLM_THINKING_ON))
        return call_fail(c, 400, "messages", NULL,
                         "messages: the last one may be the assistant's only without tools, "
                         "thinking and a form of the answer");
    return true;
}

static bool read_rest(asking *t, llm_request *q) {
    call *c = t->c;
    const wanted *w = &t->w;
    return anthropic_read_tools(c, w->tools, w->tool_choice, q, &t->tools) &&
           anthropic_read_thinking(c, w->thinking, w->s.max_tokens, q) &&
           anthropic_read_format(c, w->config, w->format, q) && openai_read_stop(c, w->stop, "stop_sequences") &&
           anthropic_read_messages(c, w->system, w->messages, &t->messages, &t->last) && check(t, q);
}

/* ---- counting ---- */

/* Tokens of the prompt as text. Names of control tokens in what was said count as these here. */
static muga_status count_rendered(llm *m, const llm_request *q, size_t *n, muga_error *err) {
    str text = STR_INIT;
    int32_t *ids = NULL;
    muga_status st = llm_render(m, q, &text, err);
    if (!st)
        st = llm_tokenize(m, span_of(str_get(&text), text.len), false, true, &ids, n, err);
    free(ids);
    str_release(&text);
    return st;
}

/* What the messages take, and what is added where the tools are told. */
static muga_status count_all(llm *m, const llm_request *with, uint32_t *n, muga_error *err) {
    size_t n_with = 0, n_without = 0;
    llm_request without = *with;
    without.tools = NULL;
    without.tool_choice = LLM_TOOLS_SHOWN;
    muga_status st = llm_count(m, with->messages, NULL, n, err);
    if (st || !with->tools)
        return st;
    st = count_rendered(m, with, &n_with, err);
    if (!st)
        st = count_rendered(m, &without, &n_without, err);
    if (!st && n_with > n_without)
        *n += (uint32_t)(n_with - n_without);
    return st;
}

/* ---- the answer ---- */

static bool begin_stream(asking *t) {
    if (!t->w.stream || t->c->streams)
        return true;
    json_t *usage = anthropic_usage_json(t->n_prompt, t->n_cached, 0);
    return call_events_begin(t->c) &&
           anthropic_tell_start(&t->blocks.sink, anthropic_message_json(&t->blocks, t->id, t->w.model, NULL, usage));
}

static bool on_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    asking *t = ctx;
    if (!t->c->streams) {
        t->n_prompt = n_prompt;
        t->n_cached = n_done;
    }
    return begin_stream(t);
}

static bool on_event(void *ctx, const llm_event *e) {
    asking *t = ctx;
    return begin_stream(t) && anthropic_blocks_event(&t->blocks, e);
}

static void end(asking *t) {
    call *c = t->c;
    const llm_reply *r = &t->choice.reply;
    if (!begin_stream(t))
        return;
    if (!anthropic_blocks_end(&t->blocks)) {
        if (t->blocks.failed)
            call_no_memory(c);
        return;
    }
    c->finish = chat_finish_name(r->finish);
    json_t *usage = anthropic_usage_json(r->n_prompt, r->n_prompt_cached, r->n_generated);
    call_ends(c);
    if (!t->w.stream)
        call_reply(c, 200, anthropic_message_json(&t->blocks, t->id, t->w.model, r, usage));
    else if (anthropic_tell_end(&t->blocks.sink, r, usage))
        call_events_end(c);
}

static void answer(asking *t, const llm_request *read) {
    call *c = t->c;
    llm_request *q = &t->ch.q;
    muga_error err = {0};
    openai_apply(read, q);
    q->split = true;
    q->prefix = json_string_value(t->last);
    t->id = openai_id(c, "msg_");
    openai_sink sink = {t->w.stream ? openai_send_event : NULL, c};
    if (!anthropic_blocks_init(&t->blocks, sink)) {
        call_no_memory(c);
        return;
    }
    q->on_event = on_event;
    q->on_prompt = on_prompt;
    t->choice.ctx = t;
    bool forced = q->schema || q->tool_choice == LLM_TOOLS_REQUIRED || q->tool_choice == LLM_TOOLS_NAMED;
    if (t->w.stream && forced && count_all(t->ch.lent.m, q, &t->n_prompt, &err))
        t->n_prompt = 0; /* what is forced goes out before the prompt is looked at; what is wrong is said below */
    if (openai_complete(c, &t->ch, &t->choice, 1))
        end(t);
    llm_reply_release(&t->choice.reply);
}

static void count(asking *t, const llm_request *read) {
    muga_error err = {0};
    uint32_t n = 0;
    openai_apply(read, &t->ch.q);
    t->ch.q.split = true;
    muga_status st = count_all(t->ch.lent.m, &t->ch.q, &n, &err);
    if (st)
        openai_fail(t->c, st, &err, &t->ch.q);
    else
        call_reply(t->c, 200, json_pack("{s:I}", "input_tokens", (json_int_t)n));
}

static void run(call *c, const field *table, size_t n, void (*then)(asking *t, const llm_request *read)) {
    asking *t = arena_alloc(&c->mem, sizeof *t);
    llm_request read = {0};
    if (!t) {
        call_no_memory(c);
        return;
    }
    t->c = c;
    t->w = (wanted){.s = CHAT_SAMPLING_UNSAID};
    if (call_read(c, c->body, "", table, n, &t->w) && read_rest(t, &read)) {
        t->w.s.stop = t->w.stop;
        if (chat_open(c, t->w.model, t->messages, &t->w.s, &CHAT_DEFAULTS_OPENAI, &t->ch))
            then(t, &read);
        chat_close(&t->ch);
    }
    anthropic_blocks_release(&t->blocks);
    json_decref(t->messages);
    json_decref(t->last);
    json_decref(t->tools);
}

static void run_messages(call *c) {
    run(c, fields, ARRAY_LEN(fields), answer);
}

static void run_count(call *c) {
    run(c, count_fields, ARRAY_LEN(count_fields), count);
}

serve_routes anthropic_routes(void) {
    static const call_route routes[] = {
        {.method = "POST",
         .path = "/v1/messages",
         .family = CALL_ANTHROPIC,
         .right = CALL_ANY_KEY,
         .generates = true,
         .run = run_messages},
        {.method = "POST",
         .path = "/v1/messages/count_tokens",
         .family = CALL_ANTHROPIC,
         .right = CALL_ANY_KEY,
         .generates = true,
         .run = run_count},
    };
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
