/* An agent as a model of OpenAI's chat completions: model "agent:NAME". What such clients say of sampling is the
 * agent's own affair and ignored, by name; what would make the answer another thing (tools, a form, several choices) is
 * refused.
 *
 * The conversation goes on in the session that it began: by the header x-muga-session, or, as these clients send all
 * that was said before, by that (talks.h). */
#include "serve/agents.h"
#include "serve/hosted.h"
#include "serve/keys.h"
#include "serve/openai.h"
#include "serve/talks.h"

#include <stdio.h>

#define PREFIX "agent:"

typedef struct wanted {
    const char *model;
    const json_t *messages, *metadata, *values, *stream_options;
    bool stream, with_usage;
} wanted;

static const field fields[] = {
    {"model", FIELD_STRING, FIELD_AT(wanted, model), 0, 255, NULL, true},
    {"messages", FIELD_ARRAY, FIELD_AT(wanted, messages), 1, 65536, NULL, true},
    {"metadata", FIELD_OBJECT, FIELD_AT(wanted, metadata), 0, 0, NULL, false},
    {"session_values", FIELD_OBJECT, FIELD_AT(wanted, values), 0, 0, NULL, false},
    {"stream", FIELD_BOOL, FIELD_AT(wanted, stream), 0, 0, NULL, false},
    {"stream_options", FIELD_OBJECT, FIELD_AT(wanted, stream_options), 0, 0, NULL, false},
    {"user", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"tools", FIELD_REFUSED, 0, 0, 0, "[]", false},
    {"functions", FIELD_REFUSED, 0, 0, 0, "[]", false},
    {"tool_choice", FIELD_REFUSED, 0, 0, 0, "\"none\"", false},
    {"response_format", FIELD_REFUSED, 0, 0, 0, "{\"type\": \"text\"}", false},
    {"logprobs", FIELD_REFUSED, 0, 0, 0, "false", false},
    {"n", FIELD_REFUSED, 0, 0, 0, "1", false},
};

bool agents_is_model(const json_t *body) {
    const char *model = json_get_string(body, "model");
    return model && agents_is_name(model);
}

bool agents_is_name(const char *model) {
    return !strncmp(model, PREFIX, strlen(PREFIX));
}

/* ---- session values ---- */

/* Metadata are texts; a value that the manifest wants as a number or a truth is read as one. */
static json_t *typed(const json_t *value, const json_t *schema) {
    const char *type = json_get_string(schema, "type"), *text = json_string_value(value);
    if (text && type && strcmp(type, "string") != 0) {
        json_t *read = json_loads(text, JSON_DECODE_ANY, NULL);
        if (read)
            return read;
    }
    return json_incref(json_borrow(value));
}

/* Of the metadata those that the session has a place for; new. */
static json_t *values_of(const manifest *m, const wanted *w) {
    const json_t *places = json_object_get(m->session_schema, "properties");
    const char *name;
    json_t *value;
    json_t *values = w->values ? json_clone(w->values) : json_object();
    json_object_foreach(json_borrow(w->metadata), name, value) {
        const json_t *schema = json_object_get(places, name);
        if (values && schema && !json_object_get(values, name) &&
            json_object_set_new(values, name, typed(value, schema)) != 0) {
            json_decref(values);
            return NULL;
        }
    }
    return values;
}

/* ---- which session ---- */

typedef struct talking {
    call *c;
    wanted w;
    const char *name;
    json_t *messages; /* as llm.h has them */
    size_t n_before;  /* of them, those before what is said now */
    hosted h;
    turn_result r;
} talking;

static bool find_said(talking *t, span *said) {
    size_t n = json_array_size(t->messages);
    const json_t *last = json_array_get(t->messages, n - 1), *content = json_object_get(last, "content");
    if (strcmp(json_get_string(last, "role"), "user") != 0 || !json_is_string(content))
        return call_fail(t->c, 400, "messages", "invalid_value", "the last message must be what the user says");
    t->n_before = n - 1;
    *said = span_of(json_string_value(content), json_string_length(content));
    return true;
}

static bool open_session(talking *t) {
    call *c = t->c;
    uint8_t digest[SHA256_BYTES];
    char session[AGENT_ID_SIZE];
    const char *named = server_request_header(c->q, "x-muga-session");
    talks_digest(c->tenant, t->name, t->messages, t->n_before, NULL, digest);
    bool known = named || (t->n_before > 0 && talks_find(c->serve->talks, digest, session));
    if (!hosted_open(c, t->name, &t->h) || !hosted_open_model(&t->h, named ? named : known ? session : NULL))
        return false;
    if (known)
        return hosted_go_on(&t->h, named ? named : session, false);
    json_t *values = values_of(t->h.m, &t->w);
    bool begun = values ? hosted_begin(&t->h, values, false) : call_no_memory(c);
    json_decref(values);
    return begun;
}

/* ---- the answer ---- */

static void describe(const talking *t, llm_reply *out) {
    *out = (llm_reply){.finish = LLM_FINISH_STOP};
    str_append(&out->text, str_get(&t->r.text), t->r.text.len);
}

static bool stream_answer(talking *t, const openai_head *head, const llm_reply *r, const openai_usage *u) {
    const openai_chunks chunks = {.head = *head, .sink = {openai_send_event, t->c}, .with_usage = t->w.with_usage};
    const llm_event e = {.kind = LLM_EVENT_CONTENT, .p = str_get(&r->text), .n = r->text.len};
    return call_events_begin(t->c) && openai_chunk_role(&chunks, 0) &&
           (e.n == 0 || openai_chunk_event(&chunks, 0, &e, NULL)) &&
           openai_chunk_finish(&chunks, 0, LLM_FINISH_STOP, NULL) &&
           (!t->w.with_usage || openai_chunk_usage(&chunks, u)) && call_event_text(t->c, "[DONE]") &&
           call_events_end(t->c);
}

/* The answer's object, with what the turn came to besides. */
static json_t *whole_answer(const talking *t, const openai_head *head, const llm_reply *r, const openai_usage *u) {
    json_t *choices = json_pack("[o]", openai_chat_choice(0, r, NULL));
    json_t *v = choices ? openai_chat_json(head, choices, u) : NULL;
    json_t *turn = json_pack("{s:s, s:s, s:b, s:s?}", "session", t->c->session, "outcome",
                             turn_outcome_name(t->r.outcome), "done", (int)t->r.done, "approval",
                             t->r.approval[0] ? t->r.approval : NULL);
    if (v && turn && json_object_set(v, "muga", turn) == 0) {
        json_decref(turn);
        return v;
    }
    json_decref(turn);
    json_decref(v);
    return NULL;
}

static void answer(talking *t) {
    call *c = t->c;
    uint8_t digest[SHA256_BYTES];
    llm_reply r;
    const os_clock *clock = &os_system()->clock;
    const openai_head head = openai_head_of(c, "chatcmpl-", t->w.model, clock->now_ms(clock->self));
    const openai_usage u = {.n_prompt = c->n_prompt, .n_cached = c->n_cached, .n_generated = c->n_generated};
    describe(t, &r);
    talks_digest(c->tenant, t->name, t->messages, t->n_before + 1, str_get(&r.text), digest);
    talks_remember(c->serve->talks, digest, c->session);
    c->finish = "stop";
    call_ends(c);
    if (t->w.stream)
        (void)stream_answer(t, &head, &r, &u);
    else
        (void)call_reply(c, 200, whole_answer(t, &head, &r, &u));
    str_release(&r.text);
}

static bool take_turn(talking *t, span said) {
    call *c = t->c;
    muga_error err = {0};
    const loop_watch nobody = {NULL, NULL};
    if (!hosted_watch(&t->h, &nobody))
        return false;
    c->session = arena_copy_string(&c->mem, session_id(t->h.session));
    muga_status st = loop_turn(t->h.loop, said.p, said.n, &t->r, &err);
    hosted_use(&t->h);
    if (!st)
        hosted_count(&t->h, &t->r);
    hosted_leave(&t->h);
    return c->session ? st == MUGA_OK || hosted_fail_turn(&t->h, st, &t->r, &err) : call_no_memory(c);
}

void agents_chat(call *c) {
    talking t = {.c = c, .r = {.text = STR_INIT}};
    span said = {0};
    if (!call_read(c, c->body, "", fields, ARRAY_LEN(fields), &t.w) ||
        !chat_read_messages(c, t.w.messages, "messages", &t.messages))
        return;
    t.name = t.w.model + strlen(PREFIX);
    t.w.with_usage = json_get_bool(t.w.stream_options, "include_usage", false);
    if (find_said(&t, &said) && open_session(&t) && take_turn(&t, said))
        answer(&t);
    turn_result_release(&t.r);
    hosted_close(&t.h);
    json_decref(t.messages);
}

/* ---- as models in the list ---- */

typedef struct listing {
    const call *c;
    json_t *(*entry)(const call *c, const char *id, int64_t modified_ms);
    json_t *list;
    muga_error *err;
} listing;

static muga_status list_one(void *ctx, const char *name, const char *dir) {
    listing *l = ctx;
    char id[HUB_NAME_BYTES];
    (void)dir;
    int n = snprintf(id, sizeof id, PREFIX "%s", name);
    if (n < 0 || n >= (int)sizeof id || (l->c->key && !key_may_agent(l->c->key, name)))
        return MUGA_OK;
    return json_array_append_new(l->list, l->entry(l->c, id, 0)) == 0 ? MUGA_OK : error_nomem(l->err, "the models");
}

bool agents_list_models(call *c, json_t *(*entry)(const call *c, const char *id, int64_t modified_ms), json_t *list) {
    const serve_agents *a = c->serve->options->agents;
    muga_error err = {0};
    listing l = {c, entry, list, &err};
    muga_status st = a ? a->each(a->ctx, list_one, &l, &err) : MUGA_OK;
    return !st || call_fail_with(c, st, &err, NULL);
}

bool agents_has_model(const call *c, const char *id) {
    const serve_agents *a = c->serve->options->agents;
    muga_error ignored;
    char *dir = NULL;
    const char *name = id + strlen(PREFIX);
    bool has = a && !strncmp(id, PREFIX, strlen(PREFIX)) && !strchr(name, '/') &&
               (!c->key || key_may_agent(c->key, name)) && a->find(a->ctx, name, &dir, &ignored) == MUGA_OK;
    free(dir);
    return has;
}
