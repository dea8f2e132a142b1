/* What a call needs from the model, and what is said of its result. Owns: scopes of grounded values, the arguments'
 * decoding, rendering of answers. Refuses: to make an argument up; an answer with a value nobody gave.
 *
 * Scope: a person who writes "cancel A1, and where is A2" means A2 by the second clause. So values are looked for in
 * the clause, then in the messages from the newest to the oldest; the first text that gives all that the tool requires
 * is the one they are taken from. Where that leaves one value for the arguments, no model is asked for them. */
#include "agent/loop_internal.h"
#include "agent/trace.h"

#define ARGUMENT_TOKENS 256

static const char *role_of(const json_t *entry) {
    const char *role = json_get_string(entry, "role");
    return role ? role : "";
}

/* ---- scopes ---- */

typedef struct scope {
    json_t *texts; /* the text, and what it also means (normalise.h) */
    span *spans;
    constrain_source source;
} scope;

static void scope_release(scope *s) {
    free(s->spans);
    json_decref(s->texts);
    *s = (scope){.texts = NULL};
}

static muga_status scope_of(const agent_loop *l, const char *text, scope *out, muga_error *err) {
    *out = (scope){.texts = json_pack("[s]", text)};
    muga_status st = out->texts ? normaliser_values(intent_normaliser(l->p.intent), text, strlen(text), out->texts, err)
                                : error_nomem(err, "a scope");
    size_t n = json_array_size(out->texts);
    out->spans = st == MUGA_OK ? mem_alloc_array(n, sizeof(span)) : NULL;
    if (st == MUGA_OK && !out->spans) {
        st = error_nomem(err, "a scope");
    }
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        const json_t *v = json_array_get(out->texts, i);
        out->spans[i] = span_of(json_string_value(v), json_string_length(v));
    }
    out->source = (constrain_source){"conversation", out->spans, n};
    if (st != MUGA_OK) {
        scope_release(out);
    }
    return st;
}

static bool is_required(const manifest_tool *t, const char *name) {
    const json_t *list = json_object_get(t->parameters, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

/* The required parameters that only the conversation can give: how many, and the first one's schema. */
static size_t grounded_parameters(const manifest_tool *t, const json_t **first) {
    const char *name;
    json_t *schema;
    size_t n = 0;
    *first = NULL;
    json_object_foreach(json_object_get(t->parameters, "properties"), name, schema) {
        const char *from = json_get_string(schema, "from");
        if (from && strcmp(from, "conversation") == 0 && is_required(t, name)) {
            *first = n++ ? *first : schema;
        }
    }
    return n;
}

/* The values each grounded parameter could take in `s`; *gives: there is one for every parameter. `values` gets those
 * of the first parameter. */
static muga_status scope_values(const manifest_tool *t, const scope *s, json_t *values, bool *gives, muga_error *err) {
    const char *name;
    json_t *schema;
    muga_status st = MUGA_OK;
    size_t n = 0;
    *gives = true;
    json_object_foreach(json_object_get(t->parameters, "properties"), name, schema) {
        const char *from = json_get_string(schema, "from");
        if (st != MUGA_OK || !from || strcmp(from, "conversation") != 0 || !is_required(t, name)) {
            continue;
        }
        json_t *list = json_array();
        st = list ? constrain_grounded_values(schema, &s->source, 1, list, err) : error_nomem(err, "a scope");
        *gives = *gives && json_array_size(list) > 0;
        if (st == MUGA_OK && n++ == 0 && json_array_extend(values, list) != 0) {
            st = error_nomem(err, "a scope");
        }
        json_decref(list);
    }
    *gives = *gives && n > 0;
    return st;
}

muga_status loop_text_gives(const agent_loop *l, const manifest_tool *t, const char *text, bool *gives,
                            muga_error *err) {
    scope s;
    json_t *values = json_array();
    muga_status st = values ? scope_of(l, text, &s, err) : error_nomem(err, "a scope");
    if (st == MUGA_OK) {
        st = scope_values(t, &s, values, gives, err);
        scope_release(&s);
    }
    json_decref(values);
    return st;
}

/* The clause, else the newest message that gives all. *found false: none does. */
static muga_status find_scope(const agent_loop *l, const request *r, scope *out, json_t *values, bool *found,
                              muga_error *err) {
    const json_t *history = session_history(l->p.session);
    const char *text = r->text;
    muga_status st = MUGA_OK;
    *found = false;
    for (size_t i = json_array_size(history) + 1; st == MUGA_OK && !*found && i-- > 0;) {
        json_array_clear(values);
        st = text ? scope_of(l, text, out, err) : MUGA_OK;
        if (st == MUGA_OK && text) {
            st = scope_values(r->label->tool, out, values, found, err);
            if (st != MUGA_OK || !*found) {
                scope_release(out);
            }
        }
        const json_t *entry = i > 0 ? json_array_get(history, i - 1) : NULL;
        text = strcmp(role_of(entry), "user") == 0 ? json_get_string(entry, "content") : NULL;
    }
    return st;
}

/* ---- arguments ---- */

static json_t *make_prompt(const request *r) {
    const manifest_tool *t = r->label->tool;
    str system = STR_INIT;
    str_printf(&system, "Give the arguments of the tool %s as JSON. %s", t->name, t->description);
    json_t *messages = system.failed ? NULL
                                     : json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content",
                                                 str_get(&system), "role", "user", "content", r->text);
    str_release(&system);
    return messages;
}

static muga_status decode(agent_loop *l, const request *r, const constrain_source *sources, size_t n_sources,
                          json_t **arguments, muga_error *err) {
    json_t *messages = make_prompt(r);
    if (!messages) {
        return error_nomem(err, "a prompt");
    }
    const llm_request q = {.messages = messages,
                           .schema = r->label->tool->parameters,
                           .sources = sources,
                           .n_sources = n_sources,
                           .sampling = LLM_SAMPLING_GREEDY,
                           .max_tokens = ARGUMENT_TOKENS,
                           .want_evidence = true,
                           .tenant = l->p.env->tenant};
    llm_reply reply = {0};
    muga_status st = llm_complete(l->p.model, &q, &reply, err);
    if (st == MUGA_OK) {
        l->n_tokens += (int64_t)reply.n_prompt + reply.n_generated;
        st = json_parse(str_get(&reply.text), reply.text.len, "arguments", arguments, err);
    }
    if (st == MUGA_OK && json_is_deeper(*arguments, AGENT_MAX_DEPTH)) {
        st = error_set(err, MUGA_E_INPUT, "the model's arguments for %s are nested deeper than %d",
                       r->label->tool->name, AGENT_MAX_DEPTH);
    }
    if (st == MUGA_OK) {
        json_t *record = json_pack("{s:s, s:s, s:O, s:I, s:I, s:I}", "decided", "arguments", "tool",
                                   r->label->tool->name, "arguments", *arguments, "tokens_in",
                                   (json_int_t)reply.n_prompt, "tokens_out", (json_int_t)reply.n_generated,
                                   "latency_us", (json_int_t)(reply.prompt_us + reply.generate_us));
        st = record ? audit_append(l->p.session, "decision", record, reply.evidence, err)
                    : error_nomem(err, "a record");
        json_decref(record);
    }
    llm_reply_release(&reply);
    json_decref(messages);
    return st;
}

/* One of several values: the others wait for the next call. */
static muga_status take_value(request *r, scope *s, json_t *values, muga_error *err) {
    json_t *rest = json_clone_shallow(values);
    if (!rest || json_array_remove(rest, 0) != 0) {
        json_decref(rest);
        return error_nomem(err, "values");
    }
    json_decref(r->values);
    r->values = rest;
    const json_t *value = json_array_get(values, 0);
    s->spans[0] = span_of(json_string_value(value), json_string_length(value));
    s->source.n_texts = 1;
    return MUGA_OK;
}

muga_status loop_take_only(agent_loop *l, const manifest_tool *t, const constrain_source *sources, size_t n_sources,
                           json_t **arguments, muga_error *err) {
    const os_clock *clock = l->p.env->clock;
    uint64_t began_us = clock->monotonic_us(clock->self);
    json_t *evidence = NULL, *record = NULL;
    muga_status st = llm_only_value(t->parameters, sources, n_sources, arguments, &evidence, err);
    if (st == MUGA_OK && *arguments) {
        record = json_pack("{s:s, s:s, s:O, s:s, s:i, s:i, s:I}", "decided", "only_value", "tool", t->name, "arguments",
                           *arguments, "why", "only one value was possible", "tokens_in", 0, "tokens_out", 0,
                           "latency_us", (json_int_t)(clock->monotonic_us(clock->self) - began_us));
        st = record ? audit_append(l->p.session, "decision", record, evidence, err) : error_nomem(err, "a record");
    }
    json_decref(record);
    json_decref(evidence);
    return st;
}

muga_status loop_argue(agent_loop *l, request *r, json_t **arguments, argue_outcome *outcome, muga_error *err) {
    const manifest_tool *t = r->label->tool;
    *outcome = ARGUE_OK;
    if (json_object_size(json_object_get(t->parameters, "properties")) == 0) {
        *arguments = json_object(); /* there is one value it can take */
        return *arguments ? MUGA_OK : error_nomem(err, "arguments");
    }
    if (loop_is_over(l)) {
        *outcome = ARGUE_OVER;
        return MUGA_OK;
    }
    const json_t *first = NULL;
    size_t n_grounded = grounded_parameters(t, &first);
    session_sources all = {.owner = NULL};
    scope s = {.texts = NULL};
    json_t *values = json_array();
    bool found = true;
    muga_status st = values ? session_get_sources(l->p.session, &all, err) : error_nomem(err, "values");
    if (st == MUGA_OK && n_grounded > 0 && json_array_size(r->values) > 0) {
        st = json_array_extend(values, r->values) == 0 ? scope_of(l, "", &s, err) : error_nomem(err, "values");
    } else if (st == MUGA_OK && n_grounded > 0) {
        st = find_scope(l, r, &s, values, &found, err);
    }
    if (st == MUGA_OK && found && n_grounded == 1) {
        st = take_value(r, &s, values, err);
    }
    if (st == MUGA_OK && found) {
        const constrain_source sources[2] = {n_grounded > 0 ? s.source : all.list[0], all.list[1]};
        st = loop_take_only(l, t, sources, 2, arguments, err);
        st = st == MUGA_OK && !*arguments ? decode(l, r, sources, 2, arguments, err) : st;
    }
    if (!found || st == MUGA_E_NEGATIVE) { /* no value for a required parameter */
        *outcome = ARGUE_MISSING;
        st = MUGA_OK;
    }
    scope_release(&s);
    session_sources_release(&all);
    json_decref(values);
    return st;
}

/* ---- what is said ---- */

static void trim(str *s) {
    size_t from = 0, end = s->len;
    while (end > 0 && strchr(" \n\t", s->data[end - 1])) {
        end--;
    }
    while (from < end && strchr(" \n\t", s->data[from])) {
        from++;
    }
    if (s->data) {
        memmove(s->data, s->data + from, end - from);
        str_truncate(s, end - from);
    }
}

/* Everything that a value in an answer may come from. */
static json_t *given_texts(const agent_loop *l, const intent_label *label, const json_t *arguments,
                           const json_t *result) {
    json_t *list = json_array();
    const json_t *history = session_history(l->p.session),
                 *sources[3] = {arguments, result, session_values(l->p.session)};
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < json_array_size(history); i++) {
        const json_t *entry = json_array_get(history, i);
        if (strcmp(role_of(entry), "user") == 0) {
            ok = json_array_append(list, json_object_get(entry, "content")) == 0;
        }
    }
    for (size_t i = 0; ok && i < ARRAY_LEN(sources); i++) {
        ok = loop_add_scalars(list, sources[i]);
    }
    if (ok && label->act != ACT_TOOL) { /* the author's own words, with nothing of a result in them */
        ok = json_array_append_new(list, json_string(label->words)) == 0;
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    return list;
}

muga_status loop_render(const agent_loop *l, const intent_label *label, const json_t *arguments, const json_t *result,
                        str *out, bool *ok, muga_error *err) {
    json_t *context = json_pack("{s:O?, s:O?, s:O, s:O}", "arguments", arguments, "result", result, "session",
                                session_values(l->p.session), "state", session_state(l->p.session));
    json_t *texts = context ? given_texts(l, label, arguments, result) : NULL;
    const os_clock *clock = l->p.env->clock;
    template_limits limits = TEMPLATE_LIMITS_DEFAULT;
    trace_enter(l->trace, TRACE_RENDER, label->name);
    muga_status st = texts ? template_render(label->answer, context, clock->now_ms(clock->self), &limits, out, err)
                           : error_nomem(err, "an answer");
    trace_leave(l->trace);
    if (st == MUGA_OK) {
        trim(out);
        st = loop_is_grounded(l, str_get(out), texts, ok, err);
    }
    json_decref(texts);
    json_decref(context);
    return st;
}

muga_status loop_find_waiting(const agent_loop *l, json_t **out, muga_error *err) {
    json_t *waiting = NULL;
    *out = NULL;
    if (json_object_get(l->work, "held")) {
        return MUGA_OK;
    }
    muga_status st = executor_waiting(l->p.session, &waiting, err);
    if (st == MUGA_OK && json_array_size(waiting) > 0) {
        *out = json_incref(json_array_get(waiting, 0));
        json_object_del(*out, "state");
    }
    json_decref(waiting);
    return st;
}

muga_status loop_call_expired(const agent_loop *l, const call_result *r, bool *expired, muga_error *err) {
    journal_call c;
    *expired = false;
    if (r->outcome != CALL_REFUSED || !r->call[0]) {
        return MUGA_OK;
    }
    muga_status st = journal_read(l->p.session->store, r->call, &c, err);
    *expired = st == MUGA_OK && c.state == STATE_EXPIRED;
    journal_call_release(&c);
    return st;
}
