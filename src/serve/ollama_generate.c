/* POST /api/generate and /api/chat: one answer, as lines while it comes or as one object.
 *
 * Nothing is sent before the first piece of the answer is there, so that what is wrong with a request is a status, not
 * a line in a stream. */
#include "serve/keys.h"
#include "serve/ollama.h"
#include "serve/settings.h"

typedef struct wanted {
    const char *model, *prompt, *system;
    const json_t *messages, *tools, *tool_choice, *context, *options, *format, *think, *keep_alive;
    bool stream, raw, logprobs;
    uint32_t top_logprobs;
} wanted;

#define COMMON_FIELDS                                                                                                  \
    {"model", FIELD_STRING, FIELD_AT(wanted, model), 0, 512, NULL, true},                                              \
        {"options", FIELD_OBJECT, FIELD_AT(wanted, options), 0, 0, NULL, false},                                       \
        {"format", FIELD_JSON, FIELD_AT(wanted, format), 0, 0, NULL, false},                                           \
        {"think", FIELD_JSON, FIELD_AT(wanted, think), 0, 0, NULL, false},                                             \
        {"keep_alive", FIELD_JSON, FIELD_AT(wanted, keep_alive), 0, 0, NULL, false},                                   \
        {"stream", FIELD_BOOL, FIELD_AT(wanted, stream), 0, 0, NULL, false},                                           \
        {"logprobs", FIELD_BOOL, FIELD_AT(wanted, logprobs), 0, 0, NULL, false},                                       \
        {"top_logprobs", FIELD_U32, FIELD_AT(wanted, top_logprobs), 0, 20, NULL, false},                               \
        {"truncate", FIELD_ACCEPTED, 0, 0, 0, "true or false", false}, {                                               \
        "shift", FIELD_ACCEPTED, 0, 0, 0, "true or false", false                                                       \
    }

static const field generate_fields[] = {
    COMMON_FIELDS,
    {"prompt", FIELD_STRING, FIELD_AT(wanted, prompt), 0, 0, NULL, false},
    {"system", FIELD_STRING, FIELD_AT(wanted, system), 0, 0, NULL, false},
    {"context", FIELD_ARRAY, FIELD_AT(wanted, context), 0, 0, NULL, false},
    {"raw", FIELD_BOOL, FIELD_AT(wanted, raw), 0, 0, NULL, false},
    {"suffix", FIELD_REFUSED, 0, 0, 0, "\"\"", false},
    {"template", FIELD_REFUSED, 0, 0, 0, "\"\"", false}, /* of a model, by its Modelfile; never of a request */
    {"images", FIELD_REFUSED, 0, 0, 0, "[]", false},
};

static const field chat_fields[] = {
    COMMON_FIELDS,
    {"messages", FIELD_ARRAY, FIELD_AT(wanted, messages), 0, 4096, NULL, false},
    {"tools", FIELD_ARRAY, FIELD_AT(wanted, tools), 0, 1024, NULL, false},
    {"tool_choice", FIELD_JSON, FIELD_AT(wanted, tool_choice), 0, 0, NULL, false},
};

/* ---- lines ---- */

typedef struct lines {
    call *c;
    const wanted *w;
    bool is_chat;
    bool begun;
    str arguments; /* of the call that is being written */
    char *id, *name;
    json_t *logprobs; /* of the tokens since the last line, or of all where it isn't streamed; NULL: not wanted */
} lines;

static json_t *new_line(const lines *l) {
    char now[32];
    ollama_now(now);
    return json_pack("{s:s, s:s}", "model", l->w->model, "created_at", now);
}

/* A line with one part of the answer: "content" or "thinking" of the message, or the calls. */
static json_t *part_line(const lines *l, const char *content, const char *thinking, size_t n, json_t *calls) {
    json_t *line = new_line(l), *message = l->is_chat ? json_object() : line;
    json_t *text = json_stringn_nocheck(content ? content : "", content ? n : 0);
    bool whole = line && message && text;
    if (l->is_chat)
        whole = whole && json_object_set_new(message, "role", json_string("assistant")) == 0;
    whole = whole && json_object_set(message, l->is_chat ? "content" : "response", text) == 0;
    if (thinking)
        whole = whole && json_object_set_new(message, "thinking", json_stringn_nocheck(thinking, n)) == 0;
    if (calls)
        whole = whole && json_object_set(message, "tool_calls", calls) == 0;
    if (l->is_chat)
        whole = whole && json_object_set(line, "message", message) == 0;
    whole = whole && json_object_set_new(line, "done", json_false()) == 0;
    json_decref(text);
    json_decref(calls);
    if (l->is_chat)
        json_decref(message);
    if (whole)
        return line;
    json_decref(line);
    return NULL;
}

static bool send_line(lines *l, json_t *line) {
    if (!l->begun) {
        l->begun = true;
        if (!call_lines_begin(l->c)) {
            json_decref(line);
            return false;
        }
    }
    if (line && l->logprobs && json_array_size(l->logprobs)) {
        if (json_object_set_new(line, "logprobs", l->logprobs) != 0) {
            json_decref(line);
            line = NULL;
        }
        l->logprobs = json_array();
    }
    return call_line(l->c, line);
}

/* ---- how likely tokens were ---- */

static json_t *token_json(const char *p, size_t n, double logprob) {
    json_t *bytes = json_array(), *text = json_stringn(p, n);
    bool whole = bytes != NULL;
    for (size_t i = 0; whole && i < n; i++)
        whole = json_array_append_new(bytes, json_integer((unsigned char)p[i])) == 0;
    if (!text)
        text = json_string("\xEF\xBF\xBD"); /* part of a character */
    if (whole && text)
        return json_pack("{s:o, s:f, s:o}", "token", text, "logprob", logprob, "bytes", bytes);
    json_decref(bytes);
    json_decref(text);
    return NULL;
}

static void on_token(void *ctx, const llm_token *t) {
    lines *l = ctx;
    json_t *entry = token_json(t->p, t->n, t->logprob), *top = json_array();
    for (size_t i = 0; top && i < t->n_top; i++)
        (void)json_array_append_new(top, token_json(t->top[i].p, t->top[i].n, t->top[i].logprob));
    if (entry && top && (t->n_top == 0 || json_object_set(entry, "top_logprobs", top) == 0))
        (void)json_array_append(l->logprobs, entry);
    json_decref(entry);
    json_decref(top);
}

static json_t *call_json(const char *id, const char *name, json_t *arguments) {
    return json_pack("{s:s, s:{s:s, s:o}}", "id", id, "function", "name", name, "arguments", arguments);
}

static bool end_call(lines *l) {
    muga_error err = {0};
    json_t *arguments = NULL;
    if (json_parse(str_get(&l->arguments), l->arguments.len, "arguments", &arguments, &err))
        return false;
    json_t *calls = json_pack("[o]", call_json(l->id, l->name, arguments));
    return calls && send_line(l, part_line(l, "", NULL, 0, calls));
}

static bool begin_call(lines *l, const llm_event *e) {
    str_clear(&l->arguments);
    return chat_keep_call(e, &l->id, &l->name);
}

static bool on_event(void *ctx, const llm_event *e) {
    lines *l = ctx;
    switch (e->kind) {
    case LLM_EVENT_CONTENT: return send_line(l, part_line(l, e->p, NULL, e->n, NULL));
    case LLM_EVENT_REASONING: return send_line(l, part_line(l, "", e->p, e->n, NULL));
    case LLM_EVENT_CALL_BEGIN: return begin_call(l, e);
    case LLM_EVENT_ARGUMENTS: str_append(&l->arguments, e->p, e->n); return true;
    case LLM_EVENT_CALL_END: return end_call(l);
    }
    return true;
}

static bool on_text(void *ctx, const char *p, size_t n) {
    lines *l = ctx;
    return n == 0 || send_line(l, part_line(l, p, NULL, n, NULL));
}

/* ---- the end ---- */

static json_t *ids_json(const llm_reply *r) {
    json_t *list = json_array();
    bool whole = list != NULL;
    for (size_t i = 0; whole && r->prompt_ids && i < r->n_prompt; i++)
        whole = json_array_append_new(list, json_integer(r->prompt_ids[i])) == 0;
    for (size_t i = 0; whole && r->ids && i < r->n_ids; i++)
        whole = json_array_append_new(list, json_integer(r->ids[i])) == 0;
    if (whole)
        return list;
    json_decref(list);
    return NULL;
}

static bool set_int(json_t *v, const char *key, uint64_t n) {
    return json_object_set_new(v, key, json_integer((json_int_t)n)) == 0;
}

/* What the last line, or the only one, says of how it went. `line` is stolen; NULL on failure. */
static json_t *add_end(const lines *l, const chat *ch, const llm_reply *r, json_t *line) {
    uint64_t total = call_now_us() - l->c->begin_us;
    bool whole =
        line && json_object_set_new(line, "done", json_true()) == 0 &&
        json_object_set_new(line, "done_reason", json_string(r->finish == LLM_FINISH_LENGTH ? "length" : "stop")) ==
            0 &&
        set_int(line, "total_duration", total * 1000) && set_int(line, "load_duration", ch->lent.load_us * 1000) &&
        set_int(line, "prompt_eval_count", r->n_prompt) && set_int(line, "prompt_eval_duration", r->prompt_us * 1000) &&
        set_int(line, "eval_count", r->n_generated) && set_int(line, "eval_duration", MAX(r->generate_us, 1) * 1000);
    if (!l->is_chat && !l->w->raw)
        whole = whole && json_object_set_new(line, "context", ids_json(r)) == 0;
    if (whole)
        return line;
    json_decref(line);
    return NULL;
}

static json_t *calls_json(const llm_reply *r) {
    json_t *calls = json_array();
    bool whole = calls != NULL;
    for (size_t i = 0; whole && i < r->n_calls; i++)
        whole = json_array_append_new(calls,
                                      call_json(r->calls[i].id, r->calls[i].name, json_incref(r->calls[i].value))) == 0;
    if (whole)
        return calls;
    json_decref(calls);
    return NULL;
}

/* The whole answer in one object. */
static json_t *whole_line(const lines *l, const llm_reply *r) {
    json_t *line = part_line(l, str_get(&r->text), NULL, r->text.len, r->n_calls ? calls_json(r) : NULL);
    json_t *message = l->is_chat ? json_object_get(line, "message") : line;
    bool whole = line != NULL;
    if (r->reasoning.len)
        whole = whole && json_object_set_new(message, "thinking",
                                             json_stringn_nocheck(str_get(&r->reasoning), r->reasoning.len)) == 0;
    if (l->logprobs)
        whole = whole && json_object_set(line, "logprobs", l->logprobs) == 0;
    if (whole)
        return line;
    json_decref(line);
    return NULL;
}

/* ---- a request ---- */

static void answer(call *c, const wanted *w, chat *ch, bool is_chat) {
    lines l = {.c = c, .w = w, .is_chat = is_chat};
    chat_choice choice = {.ctx = &l};
    muga_error err = {0};
    if (w->stream) {
        ch->q.on_event = ch->q.split ? on_event : NULL;
        ch->q.on_text = ch->q.split ? NULL : on_text;
    }
    ch->q.want_ids = !is_chat && !w->raw;
    if (w->logprobs && !(l.logprobs = json_array())) {
        (void)call_no_memory(c);
        return;
    }
    ch->q.on_token = w->logprobs ? on_token : NULL;
    ch->q.top_logprobs = w->logprobs ? w->top_logprobs : 0;
    muga_status st = chat_complete(ch, &choice, 1, &err);
    if (st) {
        (void)call_fail_with(c, st, &err, NULL);
    } else if (choice.reply.finish == LLM_FINISH_CANCELLED) { /* the client has left, or the server ends */
        if (!atomic_load(call_gone(c)))
            (void)call_fail(c, 503, NULL, "unavailable", "the server is stopping");
    } else if (w->stream) {
        call_ends(c);
        if (send_line(&l, add_end(&l, ch, &choice.reply, part_line(&l, "", NULL, 0, NULL))))
            (void)call_lines_end(c);
    } else {
        (void)call_reply(c, 200, add_end(&l, ch, &choice.reply, whole_line(&l, &choice.reply)));
    }
    llm_reply_release(&choice.reply);
    str_release(&l.arguments);
    free(l.id);
    free(l.name);
    json_decref(l.logprobs);
}

/* Nothing to answer: the model is loaded, or with keep_alive 0 unloaded. */
static void load_only(call *c, const wanted *w, int64_t keep_alive_ms, bool is_chat) {
    lines l = {.c = c, .w = w, .is_chat = is_chat};
    muga_error err = {0};
    pool_lent lent;
    hub_model stored = {0};
    bool unload = keep_alive_ms == 0;
    pool_variant v;
    const char *model = settings_model(c->serve, w->model, &v); /* what an alias means */
    if (!model || (!key_may_model(c->key, model) && !key_may(c->key, SCOPE_ADMIN))) {
        (void)call_fail(c, 403, "model", "not_allowed", "this key may not ask the model %.100s", w->model);
        return;
    }
    muga_status st = unload ? hub_load(c->serve->options->hub, model, &stored, &err)
                            : pool_take(c->serve->pool, model, v.adapter ? &v : NULL, call_cancelled(c), &lent, &err);
    hub_model_release(&stored);
    if (st == MUGA_E_NOT_FOUND || st == MUGA_E_USAGE) {
        (void)call_fail(c, 404, "model", "model_not_found", "model '%.100s' not found", w->model);
        return;
    }
    if (st) {
        (void)call_fail_with(c, st, &err, "model");
        return;
    }
    if (unload)
        st = pool_unload(c->serve->pool, model, &err); /* not loaded: as wanted */
    else
        pool_give(c->serve->pool, &lent, keep_alive_ms);
    json_t *line = part_line(&l, "", NULL, 0, NULL);
    if (line && (json_object_set_new(line, "done", json_true()) ||
                 json_object_set_new(line, "done_reason", json_string(unload ? "unload" : "load")))) {
        json_decref(line);
        line = NULL;
    }
    if (w->stream && line) {
        call_ends(c);
        if (send_line(&l, line))
            (void)call_lines_end(c);
    } else {
        (void)call_reply(c, 200, line);
    }
}

/* What generate and chat read alike, and then the model. */
static bool open_chat(call *c, const wanted *w, const json_t *messages, int64_t keep_alive_ms, json_t **schema,
                      chat *ch) {
    chat_sampling said;
    if (!ollama_read_options(c, w->options, &said) ||
        !chat_open(c, w->model, messages, &said, &CHAT_DEFAULTS_OLLAMA, ch))
        return false;
    ch->keep_alive_ms = keep_alive_ms;
    if (!ollama_read_format(c, w->format, &ch->q, schema) || !ollama_read_think(c, w->think, &ch->q))
        return false;
    return !ch->q.schema || ch->q.n_stop == 0 || ch->stop_is_stored ||
           call_fail(c, 400, "options.stop", "invalid_value",
                     "options.stop could cut what must be whole; leave it out where there is a format");
}

static void run_chat(call *c) {
    wanted w = {.stream = true};
    chat ch = {0};
    json_t *messages = NULL, *schema = NULL, *tools = NULL;
    int64_t keep_alive_ms = -1;
    if (!call_read(c, c->body, "", chat_fields, ARRAY_LEN(chat_fields), &w) ||
        !ollama_read_keep_alive(c, w.keep_alive, &keep_alive_ms))
        return;
    if (json_array_size(w.messages) == 0) {
        load_only(c, &w, keep_alive_ms, true);
        return;
    }
    if (ollama_read_messages(c, w.messages, &messages) && open_chat(c, &w, messages, keep_alive_ms, &schema, &ch) &&
        chat_read_allowed(c, &w.tools, &w.tool_choice, &tools) &&
        chat_read_tools(c, w.tools, w.tool_choice, true, &ch.q)) {
        ch.q.split = true;
        answer(c, &w, &ch, true);
    }
    chat_close(&ch);
    json_decref(messages);
    json_decref(schema);
    json_decref(tools);
}

/* "context" of an earlier answer, as ids. */
static bool read_context(call *c, const json_t *context, chat *ch) {
    llm_ids ids = {0};
    if (!chat_read_ids(c, context, "context", &ids))
        return false;
    if (ids.n > 0) {
        ch->q.prompt_ids = ids.ids;
        ch->q.n_prompt_ids = ids.n;
    }
    return true;
}

static void run_generate(call *c) {
    wanted w = {.stream = true};
    chat ch = {0};
    json_t *messages = NULL, *schema = NULL;
    int64_t keep_alive_ms = -1;
    if (!call_read(c, c->body, "", generate_fields, ARRAY_LEN(generate_fields), &w) ||
        !ollama_read_keep_alive(c, w.keep_alive, &keep_alive_ms))
        return;
    if (!w.prompt || !*w.prompt) {
        load_only(c, &w, keep_alive_ms, false);
        return;
    }
    if (!w.raw)
        messages = w.system && *w.system ? json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content", w.system,
                                                     "role", "user", "content", w.prompt)
                                         : json_pack("[{s:s, s:s}]", "role", "user", "content", w.prompt);
    if (!w.raw && !messages)
        (void)call_no_memory(c);
    else if (open_chat(c, &w, messages, keep_alive_ms, &schema, &ch) && read_context(c, w.context, &ch)) {
        ch.q.prompt_text = w.raw ? span_of_string(w.prompt) : (span){0};
        ch.q.prompt_special = w.raw;
        ch.q.split = !w.raw;
        answer(c, &w, &ch, false);
    }
    chat_close(&ch);
    json_decref(messages);
    json_decref(schema);
}

static const call_route routes[] = {
    {.method = "POST",
     .path = "/api/generate",
     .family = CALL_OLLAMA,
     .right = CALL_ANY_KEY,
     .generates = true,
     .run = run_generate},
    {.method = "POST",
     .path = "/api/chat",
     .family = CALL_OLLAMA,
     .right = CALL_ANY_KEY,
     .generates = true,
     .run = run_chat},
};

serve_routes ollama_generate_routes(void) {
    return (serve_routes){routes, ARRAY_LEN(routes)};
}
