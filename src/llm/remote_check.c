/* Whether an answer is what was asked for. The server may have held its model to the schema, or may say so only: our
 * validator decides, and for grounded values the same automaton that masks a local model's tokens. */
#include "llm/remote_internal.h"

#include <stdio.h>

#define NO(err, ...) error_set(err, MUGA_E_NEGATIVE, __VA_ARGS__)

/* The members in the schema's order, which is the automaton's. New; NULL: out of memory. */
static json_t *in_order(const json_t *schema, const json_t *value) {
    const json_t *members = json_object_get(schema, "properties");
    const char *key;
    json_t *of, *v;
    if (!json_is_object(value) || !json_is_object(members))
        return json_clone(value);
    json_t *o = json_object();
    json_object_foreach(json_borrow(members), key, of) {
        const json_t *member = json_object_get(value, key);
        if (o && member && json_object_set_new(o, key, in_order(of, member))) {
            json_decref(o);
            return NULL;
        }
    }
    json_object_foreach(json_borrow(value), key, v) {
        if (o && !json_object_get(o, key) && json_object_set_new(o, key, json_clone(v))) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static muga_status check_grounded(const llm_request *q, const json_t *schema, const json_t *value, muga_error *err) {
    constrain_options o = {.sources = q->sources, .n_sources = q->n_sources};
    constrain_grammar *g = NULL;
    constrain_state *state = NULL;
    bool accepted = false;
    str text = STR_INIT;
    json_t *ordered = in_order(schema, value);
    if (!ordered)
        return error_nomem(err, "an answer");
    json_write(ordered, &text);
    muga_status st = str_status(&text, err, "an answer");
    if (!st)
        st = constrain_compile_schema(schema, &o, &g, err);
    if (!st)
        st = constrain_state_new(g, &state, err);
    if (!st)
        st = constrain_advance(state, str_get(&text), text.len, &accepted, err);
    if (!st && !(accepted && constrain_is_complete(state)))
        st = NO(err, "a value was not said in the conversation: %.120s", str_get(&text));
    constrain_state_free(state);
    constrain_grammar_free(g);
    json_decref(ordered);
    str_release(&text);
    return st;
}

static muga_status check_value(const llm_request *q, const json_t *schema, const json_t *value, muga_error *err) {
    constrain_validate_options o = {.formats = true};
    muga_status st = constrain_validate(schema, value, &o, err);
    return !st && q->n_sources ? check_grounded(q, schema, value, err) : st;
}

/* JSON from outside: what doesn't parse is an answer that isn't valid, no fault of the request. */
static muga_status parse(const char *p, size_t n, const char *what, json_t **out, muga_error *err) {
    muga_error why;
    muga_status st = json_parse(p, n, what, out, &why);
    if (st)
        st = error_set(err, st == MUGA_E_NOMEM ? st : MUGA_E_NEGATIVE, "%s", why.message);
    return st;
}

/* ---- content ---- */

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Without white space around it, and without the fence that some models put around JSON. */
static span bare(const str *text) {
    const char *p = str_get(text), *end = p + text->len;
    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    if (end - p >= 6 && !memcmp(p, "```", 3) && !memcmp(end - 3, "```", 3)) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        if (line) {
            p = line + 1;
            end = MAX(p, end - 3);
        }
    }
    return span_of(p, (size_t)(end - p));
}

static muga_status take_value(const llm_request *q, const remote_answer *a, llm_reply *out, muga_error *err) {
    json_t *v = NULL;
    span text = bare(&a->content);
    muga_status st = parse(text.p, text.n, "the answer", &v, err);
    if (!st)
        st = check_value(q, q->schema, v, err);
    if (!st) {
        json_write(v, &out->text);
        st = str_status(&out->text, err, "the answer");
    }
    json_decref(v);
    return st;
}

/* Up to the first stop string. */
static muga_status take_content(const llm_request *q, const remote_answer *a, llm_reply *out, muga_error *err) {
    const char *p = str_get(&a->content);
    size_t n = a->content.len;
    for (size_t i = 0; i < q->n_stop; i++) {
        size_t k = strlen(q->stop[i]);
        const char *at = k > 0 ? memmem(p, n, q->stop[i], k) : NULL;
        n = at ? (size_t)(at - p) : n;
    }
    str_append(&out->text, p, n);
    return str_status(&out->text, err, "the answer");
}

/* ---- calls ---- */

static bool is_plain_id(const remote_answer *a, size_t i) {
    const char *id = str_get(&a->calls[i].id);
    size_t n = a->calls[i].id.len;
    if (n == 0 || n > 64 || strlen(id) != n)
        return false;
    for (size_t k = 0; k < n; k++)
        if (id[k] <= ' ' || id[k] >= 0x7F || id[k] == '"' || id[k] == '\\')
            return false;
    for (size_t k = 0; k < i; k++)
        if (strcmp(str_get(&a->calls[k].id), id) == 0)
            return false;
    return true;
}

static muga_status fill_call(const remote_answer *a, size_t i, const json_t *value, llm_call *c, muga_error *err) {
    char made[32];
    str arguments = STR_INIT;
    snprintf(made, sizeof made, "call_%zu", i);
    json_write_canonical(value, &arguments);
    c->id = mem_copy_string(is_plain_id(a, i) ? str_get(&a->calls[i].id) : made);
    c->name = mem_copy_string(str_get(&a->calls[i].name));
    c->arguments = arguments.len ? str_take(&arguments) : NULL;
    c->value = json_incref(json_borrow(value));
    str_release(&arguments);
    return c->id && c->name && c->arguments ? MUGA_OK : error_nomem(err, "a call");
}

static muga_status take_call(const llm_request *q, const toolcall_tools *tools, const remote_answer *a, size_t i,
                             llm_reply *out, muga_error *err) {
    const char *name = str_get(&a->calls[i].name);
    json_t *v = NULL;
    size_t k = 0;
    while (k < tools->n && strcmp(tools->names[k], name) != 0)
        k++;
    if (k == tools->n || strlen(name) != a->calls[i].name.len)
        return NO(err, "it calls \"%.60s\", and there is no such tool", name);
    if (q->tool_choice == LLM_TOOLS_NAMED && strcmp(name, q->tool_name) != 0)
        return NO(err, "it calls \"%.60s\" in place of \"%.60s\"", name, q->tool_name);
    const str *text = &a->calls[i].arguments;
    muga_status st = parse(text->len ? str_get(text) : "{}", text->len ? text->len : 2, "the arguments", &v, err);
    if (!st)
        st = check_value(q, tools->schemas[k], v, err);
    if (!st)
        st = fill_call(a, i, v, &out->calls[out->n_calls++], err);
    json_decref(v);
    return st;
}

static muga_status take_calls(const llm_request *q, const toolcall_tools *tools, const remote_answer *a, llm_reply *out,
                              muga_error *err) {
    bool may = q->tool_choice != LLM_TOOLS_SHOWN && q->tool_choice != LLM_TOOLS_NONE;
    bool must = q->tool_choice == LLM_TOOLS_REQUIRED || q->tool_choice == LLM_TOOLS_NAMED;
    muga_status st = MUGA_OK;
    if (a->n_calls && !may)
        return NO(err, "it calls a tool, and may not");
    if (!a->n_calls && must)
        return NO(err, "it calls no tool, and must");
    if (a->n_calls > 1 && q->one_call)
        return NO(err, "it makes %zu calls, and may make one", a->n_calls);
    if (a->n_calls && !(out->calls = mem_alloc_array(a->n_calls, sizeof *out->calls)))
        return error_nomem(err, "the calls");
    for (size_t i = 0; i < a->n_calls && !st; i++)
        st = take_call(q, tools, a, i, out, err);
    return st;
}

muga_status remote_check(const llm_request *q, const toolcall_tools *tools, remote_answer *a, llm_reply *out,
                         muga_error *err) {
    muga_status st = take_calls(q, tools, a, out, err);
    if (st)
        return st;
    st = q->schema && out->n_calls == 0 ? take_value(q, a, out, err) : take_content(q, a, out, err);
    if (!st) {
        str_append(&out->reasoning, str_get(&a->reasoning), a->reasoning.len);
        st = str_status(&out->reasoning, err, "the reasoning");
    }
    return st;
}
