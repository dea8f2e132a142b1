/* Prompts of models with tools: what a template makes of tools, calls and results is found by trying; what it leaves
 * out is written into the messages, in the form of the model's family. Owns nothing. Refuses nothing. */
#define _GNU_SOURCE /* memmem */
#include "base/hash.h"
#include "llm/toolcall.h"

#define CALL "muga_probe_call"
#define KEY "muga_probe_key"
#define RESULT "muga_probe_result"
#define TOOL "muga_probe_tool"
#define SYSTEM "muga_probe_system"

/* ---- trying ---- */

typedef struct probe {
    toolcall_render render;
    void *ctx;
    bool nomem;
} probe;

/* Whether the parts stand in what becomes of the messages. Takes both references. A template that refuses says no. */
static bool shows(probe *p, json_t *messages, json_t *tools, const char *const *parts, size_t n_parts) {
    str text = STR_INIT;
    muga_error ignored;
    p->nomem = p->nomem || !messages;
    muga_status st = messages ? p->render(p->ctx, messages, tools, &text, &ignored) : MUGA_E_NOMEM;
    bool all = st == MUGA_OK;
    for (size_t i = 0; i < n_parts && all; i++)
        all = text.len > 0 && memmem(text.data, text.len, parts[i], strlen(parts[i]));
    p->nomem = p->nomem || st == MUGA_E_NOMEM;
    json_decref(messages);
    json_decref(tools);
    str_release(&text);
    return all;
}

static json_t *call_messages(bool text_arguments) {
    json_t *arguments = text_arguments ? json_string("{\"" KEY "\": 1}") : json_pack("{s:i}", KEY, 1);
    return json_pack("[{s:s, s:s}, {s:s, s:s, s:[{s:s, s:s, s:{s:s, s:o}}]}, {s:s, s:s, s:s, s:s}]", "role", "user",
                     "content", "x", "role", "assistant", "content", "", "tool_calls", "id", "abcdefghi", "type",
                     "function", "function", "name", CALL, "arguments", arguments, "role", "tool", "tool_call_id",
                     "abcdefghi", "name", CALL, "content", RESULT);
}

static json_t *probe_tools(void) {
    return json_pack("[{s:s, s:{s:s, s:s, s:{s:s, s:{s:{s:s, s:s}}, s:[s]}}}]", "type", "function", "function", "name",
                     TOOL, "description", "x", "parameters", "type", "object", "properties", "a", "type", "string",
                     "description", "x", "required", "a");
}

static json_t *plain_messages(const char *role, const char *content) {
    return json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", role, "content", content, "role", "user", "content", "x");
}

static json_t *result_messages(void) {
    return json_pack("[{s:s, s:s}, {s:s, s:s}, {s:s, s:s, s:s, s:s}]", "role", "user", "content", "x", "role",
                     "assistant", "content", "x", "role", "tool", "tool_call_id", "abcdefghi", "name", CALL, "content",
                     RESULT);
}

muga_status toolcall_model_probe(span source, toolcall_render render, void *ctx, toolcall_model *out, muga_error *err) {
    probe p = {.render = render, .ctx = ctx};
    const char *call[] = {CALL, "\"" KEY "\":"}, *result[] = {RESULT}, *tool[] = {TOOL};
    const char *system[] = {SYSTEM};
    *out = (toolcall_model){.family = toolcall_family_of(source), .thinking = toolcall_thinking_of(source)};
    out->shows_tools = shows(&p, plain_messages("system", "x"), probe_tools(), tool, 1) ||
                       shows(&p, json_pack("[{s:s, s:s}]", "role", "user", "content", "x"), probe_tools(), tool, 1);
    out->takes_system = shows(&p, plain_messages("system", SYSTEM), NULL, system, 1);
    if (out->family->has[0]) { /* a template whose form we don't know shows calls in vain */
        out->shows_calls = shows(&p, call_messages(false), NULL, call, 2);
        if (!out->shows_calls)
            out->text_arguments = out->shows_calls = shows(&p, call_messages(true), NULL, call, 2);
    }
    json_t *results = out->shows_calls ? call_messages(out->text_arguments) : result_messages();
    out->shows_results = shows(&p, results, NULL, result, 1);
    return p.nomem ? error_nomem(err, "the form of tool calls") : MUGA_OK;
}

/* ---- the messages ---- */

typedef struct rewrite {
    const toolcall_model *m;
    const toolcall_form *form;
    bool calls_as_text, results_as_text, short_ids;
    muga_error *err;
} rewrite;

/* A literal without the marks around control tokens' names. */
static void write_plain(str *out, const char *literal) {
    for (; literal && *literal; literal++)
        if (*literal != TOOLCALL_CONTROL)
            str_append_c(out, *literal);
}

static void write_call(str *out, const toolcall_form *f, const char *name, const char *arguments) {
    bool object = f->shape == TOOLCALL_OBJECT;
    write_plain(out, f->before);
    if (object)
        toolcall_object_head(out);
    str_append_s(out, name);
    if (object)
        toolcall_object_middle(f, out);
    else
        write_plain(out, f->middle);
    str_append_s(out, arguments);
    if (object)
        str_append_c(out, '}');
    write_plain(out, f->after);
}

void toolcall_write_calls(str *out, const toolcall_form *f, const json_t *calls) {
    if (!f->at_start)
        write_plain(out, f->trigger);
    write_plain(out, f->start);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *item = json_array_get(calls, i), *f_item = json_object_get(item, "function");
        const json_t *call = f_item ? f_item : item;
        const json_t *arguments = json_object_get(call, "arguments");
        const char *name = json_get_string(call, "name");
        str text = STR_INIT;
        if (json_is_string(arguments))
            str_append(&text, json_string_value(arguments), json_string_length(arguments));
        else if (arguments)
            json_write(arguments, &text);
        if (i > 0)
            write_plain(out, f->separator ? f->separator : "\n");
        write_call(out, f, name ? name : "", text.len ? str_get(&text) : "{}");
        out->failed = out->failed || text.failed;
        str_release(&text);
    }
    write_plain(out, f->end);
}

/* Mistral's templates insist on ids of nine letters and digits; others' ids become such, the same ones alike. */
static json_t *short_id(const json_t *id) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    const char *p = json_string_value(id);
    char text[TOOLCALL_ID_BYTES + 1];
    size_t n = p ? strlen(p) : 0, good = 0;
    while (good < n && toolcall_name_byte(p[good]) && !strchr("_-./:", p[good]))
        good++;
    if (good == TOOLCALL_ID_BYTES && good == n)
        return json_incref(json_borrow(id));
    uint64_t h = hash64(p ? p : "", n, 0);
    for (size_t i = 0; i < TOOLCALL_ID_BYTES; i++, h /= 36)
        text[i] = letters[h % 36];
    text[TOOLCALL_ID_BYTES] = 0;
    return json_string(text);
}

/* A call with arguments as the template wants them. NULL: out of memory. */
static json_t *convert_call(const rewrite *r, const json_t *call) {
    json_t *out = json_clone(call), *f = json_object_get(out, "function"), *arguments = json_object_get(f, "arguments");
    bool ok = out != NULL;
    if (ok && r->short_ids)
        ok = json_object_set_new(out, "id", short_id(json_object_get(call, "id"))) == 0;
    if (!ok) {
        json_decref(out);
        return NULL;
    }
    if (!json_is_object(f))
        return out;
    if (r->m->text_arguments && arguments && !json_is_string(arguments)) {
        str text = STR_INIT;
        json_write(arguments, &text);
        ok = !text.failed && json_object_set_new(f, "arguments", json_stringn(str_get(&text), text.len)) == 0;
        str_release(&text);
    } else if (!r->m->text_arguments && (!arguments || json_is_string(arguments))) {
        json_t *v = NULL;
        muga_error ignored;
        const char *p = arguments ? json_string_value(arguments) : "";
        size_t n = arguments ? json_string_length(arguments) : 0;
        muga_status st = n ? json_parse(p, n, "arguments", &v, &ignored) : MUGA_E_INPUT;
        bool stays = st && st != MUGA_E_NOMEM && n > 0; /* text that is no JSON */
        if (n == 0)
            v = json_object();
        ok = stays || json_object_set_new(f, "arguments", v) == 0;
    }
    if (!ok)
        json_decref(out);
    return ok ? out : NULL;
}

static json_t *convert_calls(const rewrite *r, const json_t *calls) {
    json_t *out = json_array();
    for (size_t i = 0; out && i < json_array_size(calls); i++)
        if (json_array_append_new(out, convert_call(r, json_array_get(calls, i)))) {
            json_decref(out);
            return NULL;
        }
    return out;
}

static bool set_text(json_t *message, const char *key, const str *text) {
    return !text->failed && json_object_set_new(message, key, json_stringn(str_get(text), text->len)) == 0;
}

static json_t *convert_assistant(const rewrite *r, const json_t *message, const json_t *calls) {
    json_t *out = json_clone_shallow(message);
    const json_t *content = json_object_get(message, "content");
    bool ok = out != NULL;
    if (ok && !json_is_string(content) && !json_is_array(content))
        ok = json_object_set_new(out, "content", json_string("")) == 0;
    if (ok && r->calls_as_text) {
        str text = STR_INIT;
        if (json_string_length(content) > 0) {
            str_append(&text, json_string_value(content), json_string_length(content));
            str_append_c(&text, '\n');
        }
        toolcall_write_calls(&text, r->form, calls);
        ok = set_text(out, "content", &text) && json_object_del(out, "tool_calls") == 0;
        str_release(&text);
    } else if (ok) {
        ok = json_object_set_new(out, "tool_calls", convert_calls(r, calls)) == 0;
    }
    if (!ok)
        json_decref(out);
    return ok ? out : NULL;
}

/* The name of the tool that the call `id` was of; "" where none is found. */
static const char *name_of_call(const json_t *messages, const char *id) {
    for (size_t i = 0; id && i < json_array_size(messages); i++) {
        const json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            const json_t *call = json_array_get(calls, k);
            const char *other = json_get_string(call, "id"), *name;
            if (other && strcmp(other, id) == 0 && (name = json_get_string(json_object_get(call, "function"), "name")))
                return name;
        }
    }
    return "";
}

/* What a tool returned; said by the user where the template has no words for it. */
static json_t *convert_result(const rewrite *r, const json_t *messages, const json_t *message) {
    json_t *out = json_clone_shallow(message);
    const json_t *id = json_object_get(message, "tool_call_id"), *content = json_object_get(message, "content");
    const char *given = json_get_string(message, "name");
    const char *name = given ? given : name_of_call(messages, json_string_value(id));
    bool ok = out != NULL;
    if (ok && r->results_as_text && json_is_string(content)) {
        str text = STR_INIT;
        str_printf(&text, "Result of %s:\n", *name ? name : "the call");
        str_append(&text, json_string_value(content), json_string_length(content));
        ok = set_text(out, "content", &text) && json_object_set_new(out, "role", json_string("user")) == 0;
        str_release(&text);
    } else if (ok) {
        ok = (!id || !r->short_ids || json_object_set_new(out, "tool_call_id", short_id(id)) == 0) &&
             (given || !*name || json_object_set_new(out, "name", json_string(name)) == 0);
    }
    if (!ok)
        json_decref(out);
    return ok ? out : NULL;
}

/* ---- telling of the tools ---- */

static void write_telling(str *out, const toolcall_form *f, const toolcall_tools *tools, bool one_call) {
    str_append_s(out, "You can call functions. These are the ones there are, as JSON:\n");
    for (size_t i = 0; i < tools->n; i++) {
        json_write(json_object_get(json_array_get(tools->shown, i), "function"), out);
        str_append_c(out, '\n');
    }
    str_append_s(out, "\nTo call one, answer exactly like this, with its name and arguments:\n");
    json_t *example = json_pack("[{s:{s:s, s:{s:s}}}]", "function", "name", "NAME", "arguments", "ARGUMENT", "VALUE");
    toolcall_write_calls(out, f, example);
    out->failed = out->failed || !example;
    json_decref(example);
    if (!one_call && f->separator && tools->n > 0)
        str_append_s(out, "\nSeveral calls may stand one after another.");
    str_append_s(out, "\nWhere none of them helps, answer in words.");
}

/* Into the system message, or the first of the user where there can be none. */
static bool tell(const rewrite *r, const toolcall_tools *tools, bool one_call, json_t *messages) {
    json_t *first = json_array_get(messages, 0);
    const char *role = json_get_string(first, "role");
    bool system = role && strcmp(role, "system") == 0, into = system || !r->m->takes_system;
    const json_t *content = json_object_get(first, "content");
    str text = STR_INIT;
    bool ok = true;
    into = into && json_is_string(content);
    if (into && system) {
        str_append(&text, json_string_value(content), json_string_length(content));
        str_append_s(&text, "\n\n");
    }
    write_telling(&text, r->form, tools, one_call);
    if (into && !system) {
        str_append_s(&text, "\n\n");
        str_append(&text, json_string_value(content), json_string_length(content));
    }
    if (into) {
        json_t *copy = json_clone_shallow(first);
        ok = copy && set_text(copy, "content", &text) && json_array_set(messages, 0, copy) == 0;
        json_decref(copy);
    } else {
        json_t *message =
            text.failed ? NULL : json_pack("{s:s, s:s#}", "role", "system", "content", str_get(&text), (int)text.len);
        ok = message && json_array_insert_new(messages, 0, message) == 0;
    }
    str_release(&text);
    return ok;
}

muga_status toolcall_messages(const toolcall_model *m, const toolcall_form *f, const toolcall_tools *told,
                              bool one_call, const json_t *messages, json_t **out, muga_error *err) {
    rewrite r = {.m = m,
                 .form = f,
                 .calls_as_text = f && (told || !m->shows_calls),
                 .results_as_text = !m->shows_results,
                 .short_ids = strncmp(m->family->name, "mistral", 7) == 0};
    *out = json_array();
    bool ok = *out != NULL;
    for (size_t i = 0; i < json_array_size(messages) && ok; i++) {
        const json_t *message = json_array_get(messages, i), *calls = json_object_get(message, "tool_calls");
        const char *role = json_get_string(message, "role");
        json_t *one = json_array_size(calls) > 0          ? convert_assistant(&r, message, calls)
                      : role && strcmp(role, "tool") == 0 ? convert_result(&r, messages, message)
                                                          : json_incref(json_borrow(message));
        ok = one && json_array_append_new(*out, one) == 0;
    }
    if (ok && told && told->n > 0)
        ok = tell(&r, told, one_call, *out);
    if (ok)
        return MUGA_OK;
    json_decref(*out);
    *out = NULL;
    return error_nomem(err, "the messages");
}
