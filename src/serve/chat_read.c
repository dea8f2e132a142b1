/* What the families read alike: messages, tools, the form of the answer. Owns the checks that name a place in the body;
 * schemas themselves are judged where they are compiled. Refuses what no model here can take (images, sound, files) by
 * name, and never lets a constraint pass unread. */
#include "serve/chat.h"

#include "base/utf8.h"

#include <ctype.h>
#include <string.h>

/* ---- texts ---- */

/* Parts of a content that are text, and the member that holds it. */
static const struct {
    const char *type, *member;
} parts[] = {{"text", "text"},         {"input_text", "text"},     {"output_text", "text"},
             {"summary_text", "text"}, {"reasoning_text", "text"}, {"refusal", "refusal"}};

static const json_t *text_of_part(const json_t *part) {
    const char *type = json_get_string(part, "type");
    for (size_t i = 0; type && i < ARRAY_LEN(parts); i++)
        if (strcmp(type, parts[i].type) == 0)
            return json_object_get(part, parts[i].member);
    return NULL;
}

static bool add_part(call *c, const json_t *part, const char *where, size_t i, str *out) {
    const char *type = json_get_string(part, "type");
    const json_t *text = json_is_string(part) ? part : text_of_part(part);
    char at[160];
    snprintf(at, sizeof at, "%s[%zu]", where, i);
    if (json_is_string(text)) {
        if (i > 0)
            str_append_c(out, '\n');
        str_append(out, json_string_value(text), json_string_length(text));
        return true;
    }
    if (!type)
        return call_fail(c, 400, at, "invalid_type", "%s must be a part of a message: an object with a \"type\"", at);
    for (size_t k = 0; k < ARRAY_LEN(parts); k++)
        if (strcmp(type, parts[k].type) == 0)
            return call_fail(c, 400, at, "invalid_type", "%s.%s must be a string", at, parts[k].member);
    return call_fail(c, 400, at, "unsupported_content",
                     "%s is of type \"%.40s\"; models here read text, and no images, sound or files", at, type);
}

bool chat_read_text(call *c, const json_t *content, const char *where, json_t **out) {
    *out = NULL;
    if (json_is_string(content)) {
        *out = json_incref(json_borrow(content));
        return true;
    }
    if (!json_is_array(content))
        return call_fail(c, 400, where, "invalid_type", "%s must be a string or an array of parts", where);
    str text;
    str_init(&text, JSON_MAX_BYTES);
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(content); i++)
        ok = add_part(c, json_array_get(content, i), where, i, &text);
    if (ok && !text.failed)
        *out = json_stringn(str_get(&text), text.len);
    str_release(&text);
    return ok && (*out || call_no_memory(c));
}

/* ---- messages ---- */

typedef struct message {
    const char *role, *name, *call_id;
    const json_t *content, *calls, *reasoning;
} message;
static const field message_fields[] = {
    {"role", FIELD_STRING, FIELD_AT(message, role), 0, 32, NULL, true},
    {"content", FIELD_JSON, FIELD_AT(message, content), 0, 0, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(message, name), 0, 256, NULL, false},
    {"tool_calls", FIELD_ARRAY, FIELD_AT(message, calls), 0, 1024, NULL, false},
    {"tool_call_id", FIELD_STRING, FIELD_AT(message, call_id), 0, 256, NULL, false},
    {"reasoning_content", FIELD_JSON, FIELD_AT(message, reasoning), 0, 0, NULL, false},
    {"reasoning", FIELD_JSON, FIELD_AT(message, reasoning), 0, 0, NULL, false},
    {"refusal", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"annotations", FIELD_ACCEPTED, 0, 0, 0, "an array", false},
    {"audio", FIELD_REFUSED, 0, 0, 0, NULL, false},
    {"function_call", FIELD_REFUSED, 0, 0, 0, NULL, false},
};

typedef struct called {
    const char *id, *type, *name;
    const json_t *function, *arguments;
} called;
static const field called_fields[] = {
    {"id", FIELD_STRING, FIELD_AT(called, id), 0, 256, NULL, true},
    {"type", FIELD_STRING, FIELD_AT(called, type), 0, 32, NULL, false},
    {"function", FIELD_OBJECT, FIELD_AT(called, function), 0, 0, NULL, true},
    {"index", FIELD_ACCEPTED, 0, 0, 0, "an integer", false},
};
static const field function_fields[] = {
    {"name", FIELD_STRING, FIELD_AT(called, name), 0, 128, NULL, true},
    {"arguments", FIELD_JSON, FIELD_AT(called, arguments), 0, 0, NULL, false},
};

/* An object as text, or text that holds one; some clients send nothing for none. New; NULL: err says why. */
static json_t *read_arguments(const json_t *v, muga_error *err) {
    json_t *parsed = NULL, *out = NULL;
    bool is_text = json_is_string(v) && json_string_length(v) > 0;
    if (is_text) {
        if (json_parse(json_string_value(v), json_string_length(v), "arguments", &parsed, err))
            return NULL;
        out = json_is_object(parsed) ? json_incref(json_borrow(v)) : NULL;
        json_decref(parsed);
    } else if (json_is_object(v)) {
        str text = STR_INIT;
        json_write(v, &text);
        out = text.failed ? NULL : json_stringn(str_get(&text), text.len);
        str_release(&text);
    } else if (!v || json_is_null(v) || json_is_string(v)) {
        out = json_string("{}");
    } else {
        is_text = true; /* nor anything else that could be meant */
    }
    if (!out)
        error_set(err, is_text ? MUGA_E_INPUT : MUGA_E_NOMEM, "it is something else");
    return out;
}

bool chat_read_arguments(call *c, const json_t *v, const char *where, json_t **out) {
    muga_error err = {0};
    *out = read_arguments(v, &err);
    if (!*out && err.status == MUGA_E_NOMEM)
        return call_no_memory(c);
    return *out || call_fail(c, 400, where, "invalid_value", "%s must be the JSON text of an object: %.80s", where,
                             err.message);
}

static bool read_call(call *c, const json_t *v, const char *where, json_t *out) {
    called x = {0};
    char at[160];
    json_t *arguments = NULL;
    snprintf(at, sizeof at, "%s.", where);
    if (!json_is_object(v))
        return call_fail(c, 400, where, "invalid_type", "%s must be an object", where);
    if (!call_read(c, v, at, called_fields, ARRAY_LEN(called_fields), &x))
        return false;
    if (x.type && strcmp(x.type, "function") != 0)
        return call_fail(c, 400, where, "unsupported_value", "%s.type must be \"function\", not \"%s\"", where, x.type);
    snprintf(at, sizeof at, "%s.function.", where);
    if (!call_read(c, x.function, at, function_fields, ARRAY_LEN(function_fields), &x))
        return false;
    snprintf(at, sizeof at, "%s.function.arguments", where);
    if (!chat_read_arguments(c, x.arguments, at, &arguments))
        return false;
    if (json_array_append_new(out, json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", x.id, "type", "function", "function",
                                             "name", x.name, "arguments", arguments)))
        return call_no_memory(c);
    return true;
}

static bool read_calls(call *c, const json_t *calls, const char *where, json_t *to) {
    json_t *list = json_array();
    bool ok = list != NULL;
    if (json_object_set_new(to, "tool_calls", list))
        return call_no_memory(c);
    for (size_t i = 0; ok && i < json_array_size(calls); i++) {
        char at[112];
        snprintf(at, sizeof at, "%s.tool_calls[%zu]", where, i);
        ok = read_call(c, json_array_get(calls, i), at, list);
    }
    return ok;
}

static bool is_one_of(const char *s, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, names[i]) == 0)
            return true;
    return false;
}

static bool check_message(call *c, const message *m, const char *where, bool is_tool, bool is_assistant) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    char at[72];
    snprintf(at, sizeof at, "%s.%s", where, is_tool ? "tool_call_id" : is_assistant ? "content" : "tool_calls");
    if (!is_one_of(m->role, roles, ARRAY_LEN(roles))) {
        snprintf(at, sizeof at, "%s.role", where);
        return call_fail(c, 400, at, "invalid_value",
                         "%s must be system, developer, user, assistant or tool, not \"%s\"", at, m->role);
    }
    if (is_tool && !m->call_id)
        return call_fail(c, 400, at, "missing_required_parameter", "%s is missing: which call is this the result of?",
                         at);
    if (is_assistant && !m->content && json_array_size(m->calls) == 0)
        return call_fail(c, 400, at, "missing_required_parameter", "%s is missing: a message needs it, or tool_calls",
                         at);
    if (!is_assistant && json_array_size(m->calls) > 0)
        return call_fail(c, 400, at, "invalid_value", "%s may only stand in what the assistant said", at);
    return true;
}

static bool read_message(call *c, const json_t *v, const char *where, json_t *out) {
    message m = {0};
    char at[72];
    snprintf(at, sizeof at, "%s.", where);
    if (!json_is_object(v))
        return call_fail(c, 400, where, "invalid_type", "%s must be an object", where);
    if (!call_read(c, v, at, message_fields, ARRAY_LEN(message_fields), &m))
        return false;
    bool is_tool = strcmp(m.role, "tool") == 0, is_assistant = strcmp(m.role, "assistant") == 0;
    json_t *content = NULL, *to = NULL;
    if (!check_message(c, &m, where, is_tool, is_assistant))
        return false;
    snprintf(at, sizeof at, "%s.content", where);
    if (json_is_array(m.content) && json_array_size(m.content) == 0 && !is_assistant)
        return call_fail(c, 400, at, "invalid_value", "%s must have at least one part", at);
    if (!m.content && is_assistant)
        content = json_string("");
    else if (!chat_read_text(c, m.content, at, &content))
        return false;
    to = json_pack("{s:s, s:o}", "role", strcmp(m.role, "developer") == 0 ? "system" : m.role, "content", content);
    bool ok = to && json_array_append_new(out, to) == 0;
    if (ok && m.name)
        ok = json_object_set_new(to, "name", json_string(m.name)) == 0;
    if (ok && is_tool)
        ok = json_object_set_new(to, "tool_call_id", json_string(m.call_id)) == 0;
    if (ok && is_assistant && json_is_string(m.reasoning))
        ok = json_object_set(to, "reasoning_content", json_borrow(m.reasoning)) == 0;
    if (!ok)
        return call_no_memory(c);
    return json_array_size(m.calls) == 0 || read_calls(c, m.calls, where, to);
}

bool chat_read_messages(call *c, const json_t *messages, const char *where, json_t **out) {
    *out = NULL;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return call_fail(c, 400, where, "invalid_value", "%s must be an array of at least one message", where);
    json_t *list = json_array();
    bool ok = list || call_no_memory(c);
    for (size_t i = 0; ok && i < json_array_size(messages); i++) {
        char at[48];
        snprintf(at, sizeof at, "%.20s[%zu]", where, i);
        ok = read_message(c, json_array_get(messages, i), at, list);
    }
    if (!ok) {
        json_decref(list);
        return false;
    }
    *out = list;
    return true;
}

/* ---- tools ---- */

static const char *name_of_tool(const json_t *tool) {
    return json_get_string(json_object_get(tool, "function"), "name");
}

typedef struct tool_said {
    const char *type, *name;
    const json_t *function, *parameters;
} tool_said;
static const field tool_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(tool_said, type), 0, 64, NULL, false},
    {"function", FIELD_OBJECT, FIELD_AT(tool_said, function), 0, 0, NULL, true},
};
static const field function_said_fields[] = {
    {"name", FIELD_STRING, FIELD_AT(tool_said, name), 0, 128, NULL, true},
    {"description", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"parameters", FIELD_OBJECT, FIELD_AT(tool_said, parameters), 0, 0, NULL, false},
    {"strict", FIELD_ACCEPTED, 0, 0, 0, "true or false", false}, /* it always is */
};

static bool is_tool_name(const char *s) {
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_-./:", *p))
            return false;
    return *s != '\0';
}

bool chat_check_tool_name(call *c, const json_t *tools, size_t i, const char *name, const char *at) {
    if (!is_tool_name(name))
        return call_fail(c, 400, at, "invalid_value", "%s must be 1 to 128 letters, digits and \"_-./:\"", at);
    for (size_t k = 0; k < i; k++)
        if (strcmp(name_of_tool(json_array_get(tools, k)), name) == 0)
            return call_fail(c, 400, at, "invalid_value", "%s: there are two tools called \"%.64s\"", at, name);
    return true;
}

static bool check_tool(call *c, const json_t *tools, size_t i) {
    const json_t *tool = json_array_get(tools, i);
    tool_said t = {0};
    char at[64];
    snprintf(at, sizeof at, "tools[%zu]", i);
    if (!json_is_object(tool))
        return call_fail(c, 400, at, "invalid_type", "%s must be an object", at);
    const char *type = json_get_string(tool, "type");
    snprintf(at, sizeof at, "tools[%zu].type", i);
    if (!type || strcmp(type, "function") != 0)
        return call_fail(c, 400, at, "unsupported_value", "%s must be \"function\"%s%.40s%s; no other tools are known",
                         at, type ? ", not \"" : "", type ? type : "", type ? "\"" : "");
    snprintf(at, sizeof at, "tools[%zu].", i);
    if (!call_read(c, tool, at, tool_fields, ARRAY_LEN(tool_fields), &t))
        return false;
    snprintf(at, sizeof at, "tools[%zu].function.", i);
    if (!call_read(c, t.function, at, function_said_fields, ARRAY_LEN(function_said_fields), &t))
        return false;
    snprintf(at, sizeof at, "tools[%zu].function.name", i);
    return chat_check_tool_name(c, tools, i, t.name, at);
}

static bool choose_named(call *c, const json_t *tools, const json_t *choice, llm_request *q) {
    const char *type = json_get_string(choice, "type"), *name = name_of_tool(choice);
    if (!type || strcmp(type, "function") != 0 || !name)
        return call_fail(c, 400, "tool_choice", "unsupported_value",
                         "tool_choice must be \"none\", \"auto\", \"required\", {\"type\": \"function\", "
                         "\"function\": {\"name\": ...}} or {\"type\": \"allowed_tools\", \"allowed_tools\": ...}");
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (strcmp(name_of_tool(json_array_get(tools, i)), name) == 0) {
            q->tool_choice = LLM_TOOLS_NAMED;
            q->tool_name = name;
            q->one_call = true;
            return true;
        }
    return call_fail(c, 400, "tool_choice", "invalid_value", "tool_choice: \"%.80s\" is not among the tools", name);
}

typedef struct allowed {
    const char *mode;
    const json_t *tools;
} allowed;
static const field allowed_fields[] = {
    {"mode", FIELD_STRING, FIELD_AT(allowed, mode), 0, 16, NULL, true},
    {"tools", FIELD_ARRAY, FIELD_AT(allowed, tools), 1, 1024, NULL, true},
    {"type", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
};

static const char *allowed_name(const json_t *entry, bool nested) {
    const char *type = json_get_string(entry, "type");
    const char *name = nested ? name_of_tool(entry) : json_get_string(entry, "name");
    return type && !strcmp(type, "function") ? name : NULL;
}

static bool is_named(const json_t *list, bool nested, const char *name) {
    bool is = false;
    for (size_t i = 0; !is && i < json_array_size(list); i++)
        is = !strcmp(nested ? name_of_tool(json_array_get(list, i)) : json_get_string(json_array_get(list, i), "name"),
                     name);
    return is;
}

bool chat_allow_tools(call *c, const json_t *said, const char *where, bool nested, json_t *tools) {
    allowed a = {0};
    char at[80];
    if (!call_read(c, said, where, allowed_fields, ARRAY_LEN(allowed_fields), &a))
        return false;
    snprintf(at, sizeof at, "%.40smode", where);
    if (strcmp(a.mode, "auto") != 0 && strcmp(a.mode, "required") != 0)
        return call_fail(c, 400, at, "invalid_value", "%s must be \"auto\" or \"required\", not \"%.16s\"", at, a.mode);
    for (size_t i = 0; i < json_array_size(a.tools); i++) {
        const char *name = allowed_name(json_array_get(a.tools, i), nested);
        snprintf(at, sizeof at, "%.40stools[%zu]", where, i);
        if (!name)
            return call_fail(c, 400, at, "invalid_value", "%s must be {\"type\": \"function\", %s}", at,
                             nested ? "\"function\": {\"name\": ...}" : "\"name\": ...");
        if (!is_named(tools, true, name))
            return call_fail(c, 400, at, "invalid_value", "%s: \"%.80s\" is not among the tools", at, name);
    }
    for (size_t k = json_array_size(tools); k > 0; k--)
        if (!is_named(a.tools, nested, name_of_tool(json_array_get(tools, k - 1))))
            json_array_remove(tools, k - 1);
    return true;
}

bool chat_read_allowed(call *c, const json_t **tools, const json_t **choice, json_t **made) {
    const char *type = json_get_string(*choice, "type");
    const json_t *said = json_object_get(*choice, "allowed_tools");
    *made = NULL;
    if (!type || strcmp(type, "allowed_tools") != 0)
        return true;
    if (!json_is_object(said))
        return call_fail(c, 400, "tool_choice.allowed_tools", "missing_required_parameter",
                         "tool_choice.allowed_tools must be an object with \"mode\" and \"tools\"");
    for (size_t i = 0; i < json_array_size(*tools); i++)
        if (!check_tool(c, *tools, i))
            return false;
    *made = *tools ? json_copy(json_borrow(*tools)) : json_array();
    if (!*made)
        return call_no_memory(c);
    *tools = *made;
    *choice = json_object_get(said, "mode");
    return chat_allow_tools(c, said, "tool_choice.allowed_tools.", true, *made);
}

bool chat_read_tools(call *c, const json_t *tools, const json_t *tool_choice, bool parallel, llm_request *q) {
    static const struct {
        const char *name;
        llm_tool_choice choice;
    } choices[] = {{"none", LLM_TOOLS_NONE}, {"auto", LLM_TOOLS_AUTO}, {"required", LLM_TOOLS_REQUIRED}};
    size_t n = json_array_size(tools);
    for (size_t i = 0; i < n; i++)
        if (!check_tool(c, tools, i))
            return false;
    q->tools = n > 0 ? tools : NULL;
    q->one_call = !parallel;
    q->tool_choice = n > 0 ? LLM_TOOLS_AUTO : LLM_TOOLS_SHOWN;
    if (!tool_choice || json_is_null(tool_choice))
        return true;
    if (!json_is_string(tool_choice))
        return choose_named(c, tools, tool_choice, q);
    for (size_t i = 0; i < ARRAY_LEN(choices); i++)
        if (strcmp(json_string_value(tool_choice), choices[i].name) == 0) {
            if (n > 0)
                q->tool_choice = choices[i].choice;
            else if (choices[i].choice == LLM_TOOLS_REQUIRED)
                return call_fail(c, 400, "tool_choice", "invalid_value", "tool_choice: there are no tools to call");
            return true;
        }
    return call_fail(c, 400, "tool_choice", "invalid_value",
                     "tool_choice must be \"none\", \"auto\" or \"required\", not \"%.40s\"",
                     json_string_value(tool_choice));
}

/* ---- the form of the answer ---- */

typedef struct format_said {
    const json_t *schema;
} format_said;
static const field named_fields[] = {
    {"schema", FIELD_JSON, FIELD_AT(format_said, schema), 0, 0, NULL, false},
    {"name", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"description", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"strict", FIELD_ACCEPTED, 0, 0, 0, "true or false", false}, /* it always is */
};

bool chat_read_format(call *c, const json_t *format, llm_request *q, json_t **schema) {
    const char *type = json_get_string(format, "type");
    *schema = NULL;
    if (!format || json_is_null(format))
        return true;
    if (!type)
        return call_fail(c, 400, "response_format.type", "missing_required_parameter",
                         "response_format.type must be \"text\", \"json_object\" or \"json_schema\"");
    if (strcmp(type, "text") == 0)
        return true;
    format_said f = {0};
    const json_t *named = json_object_get(format, "json_schema"), *given = json_object_get(format, "schema");
    bool any = strcmp(type, "json_object") == 0; /* some servers take a schema there, and their clients send it */
    if (!any && strcmp(type, "json_schema") != 0)
        return call_fail(c, 400, "response_format.type", "unsupported_value",
                         "response_format.type must be \"text\", \"json_object\" or \"json_schema\", not \"%.40s\"",
                         type);
    const char *at = any ? "response_format.schema" : "response_format.json_schema.schema";
    if (!any) {
        if (!json_is_object(named))
            return call_fail(c, 400, "response_format.json_schema", "missing_required_parameter",
                             "response_format.json_schema must be an object with \"name\" and \"schema\"");
        if (!call_read(c, named, "response_format.json_schema.", named_fields, ARRAY_LEN(named_fields), &f))
            return false;
        given = f.schema;
    }
    if (given && !json_is_object(given) && !json_is_boolean(given) && !(any && json_is_null(given)))
        return call_fail(c, 400, at, "invalid_type", "%s must be a JSON Schema, an object", at);
    if (!given && !any)
        return call_fail(c, 400, at, "missing_required_parameter", "%s is missing", at);
    if (given && !json_is_null(given)) {
        q->schema = given;
        return true;
    }
    *schema = json_pack("{s:s}", "type", "object");
    q->schema = *schema;
    return *schema || call_no_memory(c);
}

/* ---- token ids ---- */

bool chat_read_ids(call *c, const json_t *list, const char *where, llm_ids *out) {
    size_t i, n = json_array_size(list);
    const json_t *v;
    int32_t *ids = n <= SIZE_MAX / 8 / sizeof *ids ? arena_alloc(&c->mem, MAX(n, 1) * sizeof *ids) : NULL;
    if (!ids)
        return call_fail(c, 400, where, "too_long", "%s has too many entries: %zu", where, n);
    json_array_foreach(list, i, v) {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
            return call_fail(c, 400, where, "invalid_value", "%s[%zu] must be the id of a token", where, i);
        ids[i] = (int32_t)id;
    }
    *out = (llm_ids){ids, n};
    return true;
}

/* ---- calls of an answer ---- */

bool chat_keep_call(const llm_event *e, char **id, char **name) {
    free(*id);
    free(*name);
    *id = mem_copy_string(e->id);
    *name = mem_copy_string(e->name);
    return *id && *name;
}
