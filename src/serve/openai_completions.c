/* POST /v1/completions: text that goes on (docs/openai.md). A prompt is text or ids of tokens, one or several; answers
 * to several prompts come one prompt after another, numbered prompt by prompt. Refuses what it can't say: a suffix,
 * more tries than answers, an echo of ids. */
#include "serve/openai.h"

#define MAX_PROMPTS 128

typedef struct wanted {
    openai_asked a;
    const json_t *prompt;
    const json_t *format;
    int64_t logprobs; /* likeliest tokens told with each; -1: none are wanted */
    uint32_t best_of;
    bool echo;
} wanted;

static const field fields[] = {
    OPENAI_FIELDS(wanted),
    {"prompt", FIELD_JSON, FIELD_AT(wanted, prompt), 0, 0, NULL, true},
    {"logprobs", FIELD_I64, FIELD_AT(wanted, logprobs), 0, 5, NULL, false},
    {"best_of", FIELD_U32, FIELD_AT(wanted, best_of), 1, OPENAI_MAX_CHOICES, NULL, false},
    {"echo", FIELD_BOOL, FIELD_AT(wanted, echo), 0, 0, NULL, false},
    {"response_format", FIELD_OBJECT, FIELD_AT(wanted, format), 0, 0, NULL, false},
    {"suffix", FIELD_REFUSED, 0, 0, 0, "\"\"", false},
    {"tools", FIELD_REFUSED, 0, 0, 0, "[]", false},
    {"tool_choice", FIELD_REFUSED, 0, 0, 0, "\"none\"", false},
};

typedef struct prompt {
    span text;
    int32_t *ids; /* or these */
    size_t n_ids;
} prompt;

typedef struct completing completing;
typedef struct stream_choice {
    completing *of;
    uint32_t index;
    json_t *tokens; /* log-probabilities of those that haven't gone out */
    size_t offset;
    bool failed; /* memory was out for one of them */
} stream_choice;
struct completing {
    call *c;
    wanted w;
    prompt prompts[MAX_PROMPTS];
    size_t n_prompts;
    chat ch;
    openai_head head;
    json_t *list, *schema; /* of choices, where it isn't streamed; made of the body's */
    openai_usage usage;
    chat_choice choices[CHAT_MAX_CHOICES];
    stream_choice streams[CHAT_MAX_CHOICES];
};

/* ---- prompts ---- */

static bool read_ids(call *c, const json_t *v, prompt *out) {
    size_t n = json_array_size(v);
    out->ids = arena_alloc(&c->mem, n * sizeof *out->ids);
    if (!out->ids)
        return call_no_memory(c);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return call_fail(c, 400, "prompt", "invalid_value", "prompt: what stands at %zu is not the id of a token",
                             i);
        out->ids[i] = (int32_t)json_integer_value(id);
    }
    out->n_ids = n;
    return true;
}

static bool read_prompt(completing *t, const json_t *v) {
    call *c = t->c;
    prompt *p = &t->prompts[t->n_prompts];
    if (t->n_prompts == MAX_PROMPTS)
        return call_fail(c, 400, "prompt", "invalid_value", "prompt: at most %d are taken in one request", MAX_PROMPTS);
    t->n_prompts++;
    if (json_is_array(v) && json_array_size(v) > 0)
        return read_ids(c, v, p);
    if (!json_is_string(v))
        return call_fail(c, 400, "prompt", "invalid_type",
                         "prompt must be a string, an array of strings, an array of token ids, or an array of such "
                         "arrays, none of them empty");
    p->text = span_of(json_string_value(v), json_string_length(v));
    return true;
}

static bool read_prompts(completing *t) {
    const json_t *v = t->w.prompt, *first = json_array_get(v, 0);
    if (!json_is_array(v) || json_is_integer(first))
        return read_prompt(t, v);
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(v); i++)
        ok = read_prompt(t, json_array_get(v, i));
    if (ok && t->n_prompts == 0)
        return call_fail(t->c, 400, "prompt", "invalid_value", "prompt is an empty array");
    return ok;
}

static bool check(completing *t) {
    call *c = t->c;
    const wanted *w = &t->w;
    if (w->best_of && w->best_of != w->a.n)
        return call_fail(c, 400, "best_of", "unsupported_value", "best_of may only be the same as n (%u), not %u",
                         w->a.n, w->best_of);
    if (w->echo && w->logprobs >= 0)
        return call_fail(c, 400, "logprobs", "unsupported_value",
                         "logprobs of the prompt, which echo asks for, are not "
                         "made; leave one of the two out");
    for (size_t i = 0; i < t->n_prompts; i++)
        if (w->echo && t->prompts[i].ids)
            return call_fail(c, 400, "echo", "unsupported_value", "echo needs a prompt that is text, not token ids");
    return true;
}

/* ---- answers ---- */

/* has_usage: usage is to be in it; it is stolen. NULL: memory, also where one of the two is NULL for want of it. */
static json_t *object_of(const completing *t, json_t *choices, bool has_usage, json_t *usage) {
    json_t *out = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", t->head.id, "object", "text_completion", "created",
                            (json_int_t)t->head.created, "model", t->head.model, "system_fingerprint",
                            t->head.fingerprint, "choices", choices);
    if (has_usage && json_object_set_new(out, "usage", usage)) { /* which lets go of it where there is no object */
        json_decref(out);
        return NULL;
    }
    return out;
}

static json_t *take_logprobs(stream_choice *s) {
    json_t *out = s->tokens;
    s->tokens = NULL;
    return out;
}

static bool send(stream_choice *s, const char *p, size_t n, const char *finish) {
    completing *t = s->of;
    json_t *choice = openai_completion_choice(s->index, p, n, take_logprobs(s), finish);
    return call_event(
        t->c, NULL, object_of(t, json_pack("[o]", choice), t->w.a.with_usage, t->w.a.with_usage ? json_null() : NULL));
}

static bool begin_stream(completing *t) {
    return t->c->streams || call_events_begin(t->c);
}

static bool on_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    (void)n_done;
    (void)n_prompt;
    return begin_stream(((stream_choice *)ctx)->of);
}

static bool on_text(void *ctx, const char *p, size_t n) {
    stream_choice *s = ctx;
    return !s->failed && begin_stream(s->of) && (n == 0 || send(s, p, n, NULL));
}

static void on_token(void *ctx, const llm_token *t) {
    stream_choice *s = ctx;
    if (!s->tokens)
        s->tokens = openai_legacy_new();
    if (!s->tokens || !openai_legacy_add(s->tokens, t, &s->offset))
        s->failed = true;
}

/* What prompt i's answers begin with. */
static span echo_of(const completing *t, size_t i) {
    return t->w.echo ? t->prompts[i].text : span_of("", 0);
}

static bool add_choice(completing *t, size_t i_prompt, uint32_t i) {
    const llm_reply *r = &t->choices[i].reply;
    span echo = echo_of(t, i_prompt);
    str text = STR_INIT;
    stream_choice *s = &t->streams[i];
    if (t->w.logprobs >= 0 && !s->tokens)
        s->tokens = openai_legacy_new();
    str_append(&text, echo.p, echo.n);
    str_append(&text, str_get(&r->text), r->text.len);
    json_t *choice = text.failed || s->failed ? NULL
                                              : openai_completion_choice(s->index, str_get(&text), text.len,
                                                                         take_logprobs(s), chat_finish_name(r->finish));
    str_release(&text);
    return json_array_append_new(t->list, choice) == 0 || call_no_memory(t->c);
}

static void add_usage(completing *t) {
    openai_usage u = openai_usage_of(t->ch.lent.m, t->choices, t->w.a.n);
    t->usage.n_prompt += u.n_prompt;
    t->usage.n_cached += u.n_cached;
    t->usage.n_generated += u.n_generated;
}

/* All choices of one prompt. false: it has ended. */
static bool answer(completing *t, size_t i_prompt) {
    call *c = t->c;
    uint32_t n = t->w.a.n;
    const prompt *p = &t->prompts[i_prompt];
    t->ch.q.prompt_text = p->text;
    t->ch.q.prompt_ids = p->ids;
    t->ch.q.n_prompt_ids = p->n_ids;
    bool ok = true;
    for (uint32_t i = 0; i < n; i++) {
        t->streams[i] = (stream_choice){.of = t, .index = (uint32_t)i_prompt * n + i};
        t->choices[i] = (chat_choice){.ctx = &t->streams[i]};
        if (t->w.a.stream && t->w.echo)
            ok = ok && begin_stream(t) && send(&t->streams[i], p->text.p, p->text.n, NULL);
    }
    ok = ok && openai_complete(c, &t->ch, t->choices, n);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = t->w.a.stream
                 ? begin_stream(t) && send(&t->streams[i], "", 0, chat_finish_name(t->choices[i].reply.finish))
                 : add_choice(t, i_prompt, i);
    if (ok)
        add_usage(t);
    c->finish = ok ? chat_finish_name(t->choices[0].reply.finish) : NULL;
    for (uint32_t i = 0; i < n; i++) {
        llm_reply_release(&t->choices[i].reply);
        json_decref(take_logprobs(&t->streams[i]));
    }
    return ok;
}

static void end(completing *t) {
    call *c = t->c;
    if (!t->w.a.stream) {
        call_reply(c, 200, object_of(t, t->list, true, openai_usage_json(&t->usage)));
        t->list = NULL;
        return;
    }
    call_ends(c);
    bool ok = !t->w.a.with_usage || call_event(c, NULL, object_of(t, json_array(), true, openai_usage_json(&t->usage)));
    if (ok && call_event_text(c, "[DONE]"))
        call_events_end(c);
}

static void answer_all(completing *t, const llm_request *read) {
    call *c = t->c;
    llm_request *q = &t->ch.q;
    openai_apply(read, q);
    if (q->max_tokens == 0)
        q->max_tokens = 16; /* what OpenAI's documents say of this route */
    t->head = openai_head_of(c, "cmpl-", t->w.a.model, q->now_ms);
    if (t->w.logprobs >= 0) {
        q->on_token = on_token;
        q->top_logprobs = (uint32_t)t->w.logprobs;
    }
    if (t->w.a.stream) {
        q->on_text = on_text;
        q->on_prompt = on_prompt;
    } else {
        t->list = json_array();
    }
    bool ok = true;
    for (size_t i = 0; ok && i < t->n_prompts; i++)
        ok = answer(t, i);
    if (ok)
        end(t);
}

static void run(call *c) {
    completing *t = arena_alloc(&c->mem, sizeof *t);
    llm_request read = {0};
    if (!t) {
        call_no_memory(c);
        return;
    }
    t->c = c;
    t->w = (wanted){.a = OPENAI_UNSAID, .logprobs = -1};
    if (call_read(c, c->body, "", fields, ARRAY_LEN(fields), &t->w) &&
        chat_read_format(c, t->w.format, &read, &t->schema) && openai_read_rest(c, &t->w.a, &read) && read_prompts(t) &&
        check(t) && chat_open(c, t->w.a.model, NULL, &t->w.a.s, &CHAT_DEFAULTS_OPENAI, &t->ch))
        answer_all(t, &read);
    chat_close(&t->ch);
    json_decref(t->list);
    json_decref(t->schema);
}

serve_routes openai_completions_routes(void) {
    static const call_route routes[] = {
        {.method = "POST",
         .path = "/v1/completions",
         .family = CALL_OPENAI,
         .right = CALL_ANY_KEY,
         .generates = true,
         .run = run},
    };
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
