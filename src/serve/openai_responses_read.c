/* What a body of /v1/responses says, in the words of chat completions. Owns the conversion of items to messages: what
 * the model thought, said and called in one turn is one message of the assistant. Refuses items of tools that OpenAI
 * runs itself, and references to what only OpenAI keeps. */
#include "serve/openai_responses.h"

#include <string.h>

static bool nomem(call *c, const char *param) {
    return call_fail(c, 503, param, NULL, "not enough memory for the request");
}

/* ---- input ---- */

typedef struct item {
    const char *type, *role, *call_id, *name;
    const json_t *content, *arguments, *output, *summary;
} item;
static const field item_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(item, type), 0, 64, NULL, false},
    {"role", FIELD_STRING, FIELD_AT(item, role), 0, 32, NULL, false},
    {"content", FIELD_JSON, FIELD_AT(item, content), 0, 0, NULL, false},
    {"call_id", FIELD_STRING, FIELD_AT(item, call_id), 0, 256, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(item, name), 0, 128, NULL, false},
    {"arguments", FIELD_JSON, FIELD_AT(item, arguments), 0, 0, NULL, false},
    {"output", FIELD_JSON, FIELD_AT(item, output), 0, 0, NULL, false},
    {"summary", FIELD_JSON, FIELD_AT(item, summary), 0, 0, NULL, false},
    {"id", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"status", FIELD_ACCEPTED, 0, 0, 0, "in_progress|completed|incomplete", false},
    {"phase", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"caller", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"encrypted_content", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
};

/* Where the items have been read to. */
typedef struct reading {
    call *c;
    json_t *messages;
    json_t *turn; /* the assistant's message that further items belong to; borrowed from messages */
} reading;

static bool append(reading *r, json_t *message) {
    return json_array_append_new(r->messages, message) == 0 || nomem(r->c, "input");
}

/* The assistant's message that goes on, or a new one. NULL: the 503 has gone out. */
static json_t *turn_of(reading *r) {
    if (!r->turn) {
        json_t *m = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        if (!append(r, m))
            return NULL;
        r->turn = m;
    }
    return r->turn;
}

static bool set(reading *r, json_t *to, const char *key, json_t *v) {
    return json_object_set_new(to, key, v) == 0 || nomem(r->c, "input");
}

static bool add_message(reading *r, const item *x, const char *where) {
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    char at[80];
    bool known = false;
    for (size_t i = 0; x->role && i < ARRAY_LEN(roles); i++)
        known = known || strcmp(x->role, roles[i]) == 0;
    snprintf(at, sizeof at, "%s.role", where);
    if (!known)
        return call_fail(r->c, 400, at, "invalid_value", "%s must be user, assistant, system or developer", at);
    json_t *content = NULL;
    snprintf(at, sizeof at, "%s.content", where);
    if (!chat_read_text(r->c, x->content, at, &content))
        return false;
    if (strcmp(x->role, "assistant") == 0) {
        const char *said = r->turn ? json_get_string(r->turn, "content") : NULL;
        if (said && (*said || json_object_get(r->turn, "tool_calls")))
            r->turn = NULL; /* another answer behind the one before */
        json_t *to = turn_of(r);
        if (to)
            return set(r, to, "content", content);
        json_decref(content);
        return false;
    }
    r->turn = NULL;
    return append(
        r, json_pack("{s:s, s:o}", "role", strcmp(x->role, "developer") == 0 ? "system" : x->role, "content", content));
}

static bool add_call(reading *r, const item *x, const char *where) {
    char at[80];
    json_t *list, *arguments = NULL;
    snprintf(at, sizeof at, "%s.%s", where, x->call_id ? "name" : "call_id");
    if (!x->call_id || !x->name)
        return call_fail(r->c, 400, at, "missing_required_parameter", "%s is missing", at);
    snprintf(at, sizeof at, "%s.arguments", where);
    if (!chat_read_arguments(r->c, x->arguments, at, &arguments))
        return false;
    json_t *to = turn_of(r), *made = json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", x->call_id, "type", "function",
                                               "function", "name", x->name, "arguments", arguments);
    if (to && !json_object_get(to, "tool_calls") && !set(r, to, "tool_calls", json_array()))
        to = NULL;
    list = json_object_get(to, "tool_calls");
    if (!to) {
        json_decref(made);
        return false;
    }
    return json_array_append_new(list, made) == 0 || nomem(r->c, where);
}

static bool add_output(reading *r, const item *x, const char *where) {
    char at[80];
    json_t *text = NULL;
    snprintf(at, sizeof at, "%s.call_id", where);
    if (!x->call_id)
        return call_fail(r->c, 400, at, "missing_required_parameter", "%s is missing", at);
    snprintf(at, sizeof at, "%s.output", where);
    if (!chat_read_text(r->c, x->output, at, &text))
        return false;
    r->turn = NULL;
    return append(r, json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", x->call_id, "content", text));
}

static bool add_reasoning(reading *r, const item *x, const char *where) {
    char at[80];
    json_t *text = NULL;
    const json_t *from = json_array_size(x->content) > 0 ? x->content : x->summary;
    if (json_array_size(from) == 0)
        return true;
    snprintf(at, sizeof at, "%s.%s", where, from == x->content ? "content" : "summary");
    if (!chat_read_text(r->c, from, at, &text))
        return false;
    r->turn = NULL; /* thinking begins a turn */
    json_t *to = turn_of(r);
    if (to)
        return set(r, to, "reasoning_content", text);
    json_decref(text);
    return false;
}

static bool add_item(reading *r, const json_t *v, size_t i) {
    item x = {0};
    char where[48], at[64];
    snprintf(where, sizeof where, "input[%zu]", i);
    snprintf(at, sizeof at, "%s.", where);
    if (!json_is_object(v))
        return call_fail(r->c, 400, where, "invalid_type", "%s must be an object", where);
    if (!call_read(r->c, v, at, item_fields, ARRAY_LEN(item_fields), &x))
        return false;
    if (!x.type || strcmp(x.type, "message") == 0)
        return add_message(r, &x, where);
    if (strcmp(x.type, "function_call") == 0)
        return add_call(r, &x, where);
    if (strcmp(x.type, "function_call_output") == 0)
        return add_output(r, &x, where);
    if (strcmp(x.type, "reasoning") == 0)
        return add_reasoning(r, &x, where);
    snprintf(at, sizeof at, "%s.type", where);
    if (strcmp(x.type, "item_reference") == 0)
        return call_fail(r->c, 400, at, "unsupported_value",
                         "%s: nothing is kept that an item_reference could lead to; send the item itself", at);
    return call_fail(r->c, 400, at, "unsupported_value",
                     "%s must be message, function_call, function_call_output or reasoning, not \"%s\"", at, x.type);
}

bool responses_read_input(call *c, const json_t *input, const char *instructions, json_t **out) {
    *out = NULL;
    reading r = {.c = c, .messages = json_array()};
    bool ok = r.messages || nomem(c, "input");
    if (ok && instructions)
        ok = append(&r, json_pack("{s:s, s:s}", "role", "system", "content", instructions));
    if (ok && json_is_string(input))
        ok = append(&r, json_pack("{s:s, s:O}", "role", "user", "content", input));
    else if (ok && (!json_is_array(input) || json_array_size(input) == 0))
        ok = call_fail(c, 400, "input", "invalid_type", "input must be a string or an array of at least one item");
    for (size_t i = 0; ok && json_is_array(input) && i < json_array_size(input); i++)
        ok = add_item(&r, json_array_get(input, i), i);
    if (ok && json_array_size(r.messages) == 0)
        ok = call_fail(c, 400, "input", "invalid_value", "input holds nothing to answer");
    if (!ok) {
        json_decref(r.messages);
        return false;
    }
    *out = r.messages;
    return true;
}

/* ---- tools ---- */

static const char *kind_of(const json_t *v) {
    const char *type = json_get_string(v, "type");
    return type ? type : "";
}

typedef struct tool_said {
    const char *type, *name;
    const json_t *parameters;
} tool_said;
static const field tool_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(tool_said, type), 0, 64, NULL, true},
    {"name", FIELD_STRING, FIELD_AT(tool_said, name), 0, 128, NULL, true},
    {"description", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"parameters", FIELD_OBJECT, FIELD_AT(tool_said, parameters), 0, 0, NULL, false},
    {"strict", FIELD_ACCEPTED, 0, 0, 0, "true or false", false}, /* it always is */
    {"defer_loading", FIELD_REFUSED, 0, 0, 0, "false", false},
    {"output_schema", FIELD_ACCEPTED, 0, 0, 0, "an object", false},
    {"allowed_callers", FIELD_ACCEPTED, 0, 0, 0, "an array", false}, /* there is one: the model */
};

/* The function in the older form; new. NULL: the error has gone out. */
static json_t *older_tool(call *c, const json_t *tool, size_t i, const json_t *before) {
    static const char *const members[] = {"name", "description", "parameters", "strict"};
    char at[48];
    tool_said said = {0};
    snprintf(at, sizeof at, "tools[%zu]", i);
    if (!json_is_object(tool)) {
        call_fail(c, 400, at, "invalid_type", "%s must be an object", at);
        return NULL;
    }
    snprintf(at, sizeof at, "tools[%zu].type", i);
    if (strcmp(kind_of(tool), "function") != 0) {
        call_fail(c, 400, at, "unsupported_value", "%s must be \"function\", not \"%.40s\"; no other tools are known",
                  at, kind_of(tool));
        return NULL;
    }
    snprintf(at, sizeof at, "tools[%zu].", i);
    if (!call_read(c, tool, at, tool_fields, ARRAY_LEN(tool_fields), &said))
        return NULL;
    snprintf(at, sizeof at, "tools[%zu].name", i);
    if (!chat_check_tool_name(c, before, i, said.name, at))
        return NULL;
    json_t *f = json_object(), *out;
    bool ok = f != NULL;
    for (size_t k = 0; ok && k < ARRAY_LEN(members); k++) {
        json_t *v = json_object_get(tool, members[k]);
        ok = !v || json_is_null(v) || json_object_set(f, members[k], v) == 0;
    }
    out = ok ? json_pack("{s:s, s:O}", "type", "function", "function", f) : NULL;
    json_decref(f);
    if (!out)
        nomem(c, at);
    return out;
}

/* The choice in the older form; new. NULL: the error has gone out. */
static json_t *older_choice(call *c, const json_t *choice, json_t *tools) {
    const char *name = json_get_string(choice, "name"), *mode = json_get_string(choice, "mode");
    json_t *out = NULL;
    if (!choice || !json_is_object(choice))
        out = choice ? json_incref(json_borrow(choice)) : json_string("auto");
    else if (strcmp(kind_of(choice), "function") == 0 && name)
        out = json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", name);
    else if (strcmp(kind_of(choice), "allowed_tools") == 0)
        return chat_allow_tools(c, choice, "tool_choice.", false, tools) ? json_string(mode) : NULL;
    else
        call_fail(c, 400, "tool_choice", "unsupported_value",
                  "tool_choice must be \"none\", \"auto\", \"required\", {\"type\": \"function\", \"name\": ...} or "
                  "allowed_tools");
    return out;
}

bool responses_read_tools(call *c, const json_t *tools, const json_t *choice, bool parallel, llm_request *q,
                          json_t **out) {
    bool ok = true;
    *out = json_array();
    if (!*out)
        return nomem(c, "tools");
    for (size_t i = 0; ok && i < json_array_size(tools); i++) {
        json_t *tool = older_tool(c, json_array_get(tools, i), i, *out);
        ok = tool && (json_array_append_new(*out, tool) == 0 || nomem(c, "tools"));
    }
    json_t *older = ok ? older_choice(c, choice, *out) : NULL;
    if (ok && !older && c->status == 0)
        nomem(c, "tool_choice");
    ok = older && chat_read_tools(c, *out, older, parallel, q);
    if (ok && q->tool_name) { /* it stands in what is let go */
        q->tool_name = arena_copy_string(&c->mem, q->tool_name);
        ok = q->tool_name || nomem(c, "tool_choice");
    }
    json_decref(older);
    return ok;
}

/* ---- text ---- */

typedef struct text_wanted {
    const json_t *format, *schema;
    const char *type;
} text_wanted;
static const field text_fields[] = {
    {"format", FIELD_OBJECT, FIELD_AT(text_wanted, format), 0, 0, NULL, false},
    {"verbosity", FIELD_REFUSED, 0, 0, 0, "\"medium\"", false},
};
static const field format_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(text_wanted, type), 0, 64, NULL, false},
    {"schema", FIELD_JSON, FIELD_AT(text_wanted, schema), 0, 0, NULL, false},
    {"name", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"description", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"strict", FIELD_ACCEPTED, 0, 0, 0, "true or false", false}, /* it always is */
};

bool responses_read_text(call *c, const json_t *text, llm_request *q, json_t **schema) {
    text_wanted w = {0};
    *schema = NULL;
    if (!text)
        return true;
    if (!call_read(c, text, "text.", text_fields, ARRAY_LEN(text_fields), &w))
        return false;
    if (!w.format)
        return true;
    if (!call_read(c, w.format, "text.format.", format_fields, ARRAY_LEN(format_fields), &w))
        return false;
    const char *type = w.type ? w.type : "";
    const json_t *given = w.schema;
    if (strcmp(type, "text") == 0)
        return true;
    if (strcmp(type, "json_object") == 0) {
        *schema = json_pack("{s:s}", "type", "object");
        q->schema = *schema;
        return *schema || nomem(c, "text.format");
    }
    if (strcmp(type, "json_schema") != 0)
        return call_fail(c, 400, "text.format.type", "unsupported_value",
                         "text.format.type must be \"text\", \"json_object\" or \"json_schema\", not \"%.40s\"", type);
    if (!json_is_object(given) && !json_is_boolean(given))
        return call_fail(c, 400, "text.format.schema", given ? "invalid_type" : "missing_required_parameter",
                         "text.format.schema must be a JSON Schema, an object");
    q->schema = given;
    return true;
}
