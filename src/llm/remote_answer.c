/* Chat completions as they come in: everything is checked for its type, bounded, and kept as text; what it means is for
 * others to judge. Only the first choice counts; fields that nobody asked for are read past. */
#include "llm/remote_answer.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdio.h>

void remote_answer_init(remote_answer *a, size_t max) {
    *a = (remote_answer){0};
    str_init(&a->content, max);
    str_init(&a->reasoning, max);
    for (size_t i = 0; i < REMOTE_MAX_CALLS; i++) {
        str_init(&a->calls[i].id, REMOTE_MAX_NAME);
        str_init(&a->calls[i].name, REMOTE_MAX_NAME);
        str_init(&a->calls[i].arguments, max);
    }
}

void remote_answer_release(remote_answer *a) {
    str_release(&a->content);
    str_release(&a->reasoning);
    for (size_t i = 0; i < REMOTE_MAX_CALLS; i++) {
        str_release(&a->calls[i].id);
        str_release(&a->calls[i].name);
        str_release(&a->calls[i].arguments);
    }
}

static muga_status wrong(muga_error *err, const char *what) {
    return error_set(err, MUGA_E_INPUT, "the server's answer is not of this API: %s", what);
}

/* ---- errors ---- */

/* One line, at a character's end. */
static void copy_words(const char *p, size_t n, char *out, size_t size) {
    size_t k = 0;
    for (size_t i = 0; i < n && k + 1 < size; i++)
        out[k++] = (char)((unsigned char)p[i] < ' ' || p[i] == 0x7F ? ' ' : p[i]);
    out[k] = 0;
    while (k > 0 && !utf8_valid(out, k))
        out[--k] = 0;
}

static const json_t *words_of(const json_t *v) {
    const json_t *e = json_object_get(v, "error");
    const json_t *in[] = {json_object_get(e, "message"), e, json_object_get(v, "message"),
                          json_object_get(v, "detail")};
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        if (json_string_length(in[i]) > 0)
            return in[i];
    return NULL;
}

void remote_error_words(const char *p, size_t n, char *out, size_t size) {
    json_t *v = NULL;
    muga_error ignored;
    *out = 0;
    if (!json_parse(p, n, "error", &v, &ignored) && words_of(v))
        copy_words(json_string_value(words_of(v)), json_string_length(words_of(v)), out, size);
    else if (!json_is_object(v))
        copy_words(p, n, out, size);
    json_decref(v);
}

static bool take_error(remote_answer *a, const json_t *v) {
    const json_t *e = json_object_get(v, "error");
    if (!e || json_is_null(e))
        return false;
    const json_t *words = words_of(v);
    a->failed = true;
    copy_words(words ? json_string_value(words) : "an error without words", words ? json_string_length(words) : 22,
               a->message, sizeof a->message);
    return true;
}

/* ---- text ---- */

static muga_status add_text(remote_answer *a, bool is_reasoning, const json_t *v, muga_error *err) {
    if (!v || json_is_null(v))
        return MUGA_OK;
    if (!json_is_string(v))
        return wrong(err, "a text is not a string");
    size_t n = json_string_length(v);
    str *to = is_reasoning ? &a->reasoning : &a->content;
    str_append(to, json_string_value(v), n);
    muga_status st = str_status(to, err, "the server's answer");
    if (!st && n > 0 && a->on_text && !a->on_text(a->ctx, is_reasoning, json_string_value(v), n))
        a->stopped = true;
    return st;
}

static muga_status add_part(str *to, const json_t *v, const char *what, muga_error *err) {
    if (!v || json_is_null(v))
        return MUGA_OK;
    if (!json_is_string(v))
        return wrong(err, what);
    str_append(to, json_string_value(v), json_string_length(v));
    return str_status(to, err, "a call in the server's answer");
}

/* A piece of a call, or a whole one. Its name and id come once; some servers say them again with each piece. */
static muga_status add_call(remote_answer *a, const json_t *v, size_t i_default, muga_error *err) {
    int64_t i = json_get_int(v, "index", (int64_t)i_default);
    const json_t *f = json_object_get(v, "function"), *arguments = json_object_get(f, "arguments");
    if (!json_is_object(v) || i < 0 || i > (int64_t)a->n_calls)
        return wrong(err, "calls do not come one after another");
    if (i >= (int64_t)REMOTE_MAX_CALLS)
        return error_set(err, MUGA_E_LIMIT, "the server's answer has more than %u calls", REMOTE_MAX_CALLS);
    remote_call *c = &a->calls[i];
    a->n_calls = MAX(a->n_calls, (size_t)i + 1);
    muga_status st = c->id.len ? MUGA_OK : add_part(&c->id, json_object_get(v, "id"), "a call's id", err);
    if (!st && c->name.len == 0)
        st = add_part(&c->name, json_object_get(f, "name"), "a call's name", err);
    if (st)
        return st;
    if (!json_is_object(arguments))
        return add_part(&c->arguments, arguments, "arguments are neither text nor an object", err);
    json_write(arguments, &c->arguments);
    return str_status(&c->arguments, err, "a call in the server's answer");
}

/* "delta" of an event and "message" of a body are alike. */
static muga_status add_message(remote_answer *a, const json_t *m, muga_error *err) {
    const json_t *reasoning = json_object_get(m, "reasoning_content"), *calls = json_object_get(m, "tool_calls");
    muga_status st = add_text(a, true, reasoning ? reasoning : json_object_get(m, "reasoning"), err);
    if (!st)
        st = add_text(a, false, json_object_get(m, "content"), err);
    if (!st)
        st = add_text(a, false, json_object_get(m, "refusal"), err);
    if (!st && calls && !json_is_null(calls) && !json_is_array(calls))
        st = wrong(err, "\"tool_calls\" is not an array");
    for (size_t i = 0; i < json_array_size(calls) && !st; i++)
        st = add_call(a, json_array_get(calls, i), i, err);
    return st;
}

/* ---- whole objects ---- */

static uint32_t count_of(const json_t *o, const char *key) {
    int64_t v = json_get_int(o, key, 0);
    return (uint32_t)MIN(MAX(v, (int64_t)0), (int64_t)UINT32_MAX);
}

static void take_usage(remote_answer *a, const json_t *u) {
    if (!json_is_integer(json_object_get(u, "prompt_tokens")))
        return;
    a->has_usage = true;
    a->n_prompt = count_of(u, "prompt_tokens");
    a->n_generated = count_of(u, "completion_tokens");
    a->n_prompt_cached = MIN(count_of(json_object_get(u, "prompt_tokens_details"), "cached_tokens"), a->n_prompt);
}

static muga_status take_object(remote_answer *a, const json_t *v, const char *part, muga_error *err) {
    const json_t *choices = json_object_get(v, "choices");
    if (!json_is_object(v))
        return wrong(err, "it is no object");
    if (take_error(a, v))
        return MUGA_OK;
    take_usage(a, json_object_get(v, "usage"));
    if (!json_is_array(choices))
        return wrong(err, "it has no \"choices\"");
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *c = json_array_get(choices, i);
        const char *finish = json_get_string(c, "finish_reason");
        if (!json_is_object(c))
            return wrong(err, "a choice is no object");
        if (json_get_int(c, "index", 0) != 0)
            continue;
        muga_status st = add_message(a, json_object_get(c, part), err);
        if (st)
            return st;
        if (finish)
            snprintf(a->finish, sizeof a->finish, "%s", finish);
    }
    return MUGA_OK;
}

static muga_status take_text(remote_answer *a, const char *p, size_t n, const char *part, muga_error *err) {
    json_t *v = NULL;
    muga_status st = json_parse(p, n, "the server's answer", &v, err);
    if (!st)
        st = take_object(a, v, part, err);
    json_decref(v);
    return st;
}

muga_status remote_answer_event(remote_answer *a, const char *p, size_t n, muga_error *err) {
    if (a->done || a->stopped || a->failed) /* the rest of what came in one piece */
        return MUGA_OK;
    if (n == 6 && memcmp(p, "[DONE]", 6) == 0) {
        a->done = true;
        return MUGA_OK;
    }
    return take_text(a, p, n, "delta", err);
}

muga_status remote_answer_body(remote_answer *a, const char *p, size_t n, muga_error *err) {
    muga_status st = take_text(a, p, n, "message", err);
    a->done = !st;
    return st;
}
