/* What a body of /v1/messages says, in the words of llm.h. Owns the conversion of blocks: results of tools become
 * messages of their own, and what the model thought, said and called in one turn is one message of the assistant.
 * Refuses blocks that no model here reads, and tools that Anthropic runs itself, by name. */
#include "serve/anthropic_read.h"

#include "serve/openai.h"

#include <string.h>

static bool nomem(call *c, const char *param) {
    return call_fail(c, 503, param, NULL, "not enough memory for the request");
}

static const char *type_of(const json_t *v) {
    const char *type = json_get_string(v, "type");
    return type ? type : "";
}

/* ---- blocks ---- */

typedef struct block {
    const char *type, *id, *name, *tool_use_id;
    const json_t *text, *thinking, *input, *content;
} block;
static const field block_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(block, type), 0, 64, NULL, true},
    {"text", FIELD_JSON, FIELD_AT(block, text), 0, 0, NULL, false},
    {"thinking", FIELD_JSON, FIELD_AT(block, thinking), 0, 0, NULL, false},
    {"id", FIELD_STRING, FIELD_AT(block, id), 0, 256, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(block, name), 0, 128, NULL, false},
    {"input", FIELD_JSON, FIELD_AT(block, input), 0, 0, NULL, false},
    {"tool_use_id", FIELD_STRING, FIELD_AT(block, tool_use_id), 0, 256, NULL, false},
    {"content", FIELD_JSON, FIELD_AT(block, content), 0, 0, NULL, false},
    {"is_error", FIELD_ACCEPTED, 0, 0, 0, "true or false", false}, /* the content says so, too */
    {"signature", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"data", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
    {"citations", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
    {"cache_control", FIELD_ACCEPTED, 0, 0, 0, "an object", false},
    {"caller", FIELD_ACCEPTED, 0, 0, 0, NULL, false},
};

/* One message, as its blocks are read. */
typedef struct turn {
    call *c;
    json_t *messages;
    bool is_assistant;
    bool is_said; /* a result, or thinking that nobody reads */
    str text, thinking;
    json_t *calls;
} turn;

static void add_line(str *to, const json_t *text) {
    if (to->len > 0)
        str_append_c(to, '\n');
    str_append(to, json_string_value(text), json_string_length(text));
}

static bool add_call(turn *t, const block *b, const char *where) {
    json_t *arguments = NULL;
    char at[96];
    snprintf(at, sizeof at, "%s.%s", where, b->id ? "name" : "id");
    if (!b->id || !b->name)
        return call_fail(t->c, 400, at, NULL, "%s is missing", at);
    snprintf(at, sizeof at, "%s.input", where);
    if (!chat_read_arguments(t->c, b->input, at, &arguments))
        return false;
    if (!t->calls)
        t->calls = json_array();
    json_t *made = json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", b->id, "type", "function", "function", "name", b->name,
                             "arguments", arguments);
    return json_array_append_new(t->calls, made) == 0 || nomem(t->c, where);
}

static bool add_result(turn *t, const block *b, const char *where) {
    json_t *text = NULL;
    char at[96];
    snprintf(at, sizeof at, "%s.tool_use_id", where);
    if (!b->tool_use_id)
        return call_fail(t->c, 400, at, NULL, "%s is missing", at);
    snprintf(at, sizeof at, "%s.content", where);
    if (!b->content)
        text = json_string("");
    else if (!chat_read_text(t->c, b->content, at, &text))
        return false;
    t->is_said = true;
    json_t *m = json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", b->tool_use_id, "content", text);
    return json_array_append_new(t->messages, m) == 0 || nomem(t->c, where);
}

static bool add_text(turn *t, str *to, const json_t *text, const char *where, const char *member) {
    if (json_is_string(text)) {
        add_line(to, text);
        return true;
    }
    char at[96];
    snprintf(at, sizeof at, "%s.%s", where, member);
    return call_fail(t->c, 400, at, NULL, "%s must be a string", at);
}

static bool add_block(turn *t, const json_t *v, const char *where) {
    block b = {0};
    char at[80];
    snprintf(at, sizeof at, "%s.", where);
    if (!json_is_object(v))
        return call_fail(t->c, 400, where, NULL, "%s must be an object", where);
    if (!call_read(t->c, v, at, block_fields, ARRAY_LEN(block_fields), &b))
        return false;
    if (strcmp(b.type, "text") == 0)
        return add_text(t, &t->text, b.text, where, "text");
    if (strcmp(b.type, "thinking") == 0 && t->is_assistant)
        return add_text(t, &t->thinking, b.thinking, where, "thinking");
    if (strcmp(b.type, "redacted_thinking") == 0 && t->is_assistant) {
        t->is_said = true; /* nobody but Anthropic can read it */
        return true;
    }
    if (strcmp(b.type, "tool_use") == 0 && t->is_assistant)
        return add_call(t, &b, where);
    if (strcmp(b.type, "tool_result") == 0 && !t->is_assistant)
        return add_result(t, &b, where);
    snprintf(at, sizeof at, "%s.type", where);
    return call_fail(t->c, 400, at, NULL, "%s: a message of the %s can't have a block of type \"%s\" here", at,
                     t->is_assistant ? "assistant" : "user", b.type);
}

/* ---- messages ---- */

static bool set_text(json_t *m, const char *key, const str *s) {
    return !s->failed && json_object_set_new(m, key, json_stringn(str_get(s), s->len)) == 0;
}

static bool end_turn(turn *t, const char *where) {
    if (!t->is_assistant && t->text.len == 0 && json_array_size(t->messages) > 0 && !t->text.failed) {
        const json_t *last = json_array_get(t->messages, json_array_size(t->messages) - 1);
        if (strcmp(json_get_string(last, "role"), "tool") == 0)
            return true; /* results alone */
    }
    json_t *m = json_pack("{s:s}", "role", t->is_assistant ? "assistant" : "user");
    bool ok = m && set_text(m, "content", &t->text);
    if (ok && (t->thinking.len > 0 || t->thinking.failed))
        ok = set_text(m, "reasoning_content", &t->thinking);
    if (ok && t->calls)
        ok = json_object_set(m, "tool_calls", t->calls) == 0;
    if (ok)
        ok = json_array_append(t->messages, m) == 0;
    json_decref(m);
    return ok || nomem(t->c, where);
}

typedef struct message {
    const char *role;
    const json_t *content;
} message;
static const field message_fields[] = {
    {"role", FIELD_STRING, FIELD_AT(message, role), 0, 32, NULL, true},
    {"content", FIELD_JSON, FIELD_AT(message, content), 0, 0, NULL, true},
};

static bool read_message(call *c, const json_t *v, size_t i, bool is_last, json_t *out) {
    message m = {0};
    char where[48], at[64];
    snprintf(where, sizeof where, "messages[%zu]", i);
    snprintf(at, sizeof at, "%s.", where);
    if (!json_is_object(v))
        return call_fail(c, 400, where, NULL, "%s must be an object", where);
    if (!call_read(c, v, at, message_fields, ARRAY_LEN(message_fields), &m))
        return false;
    snprintf(at, sizeof at, "%s.role", where);
    bool is_assistant = strcmp(m.role, "assistant") == 0;
    if (!is_assistant && strcmp(m.role, "user") != 0)
        return call_fail(c, 400, at, NULL,
                         "%s must be user or assistant, not \"%s\"; what the system says stands in "
                         "\"system\"",
                         at, m.role);
    snprintf(at, sizeof at, "%s.content", where);
    if (!json_is_string(m.content) && !json_is_array(m.content))
        return call_fail(c, 400, at, NULL, "%s must be a string or an array of blocks", at);
    turn t = {.c = c, .messages = out, .is_assistant = is_assistant};
    str_init(&t.text, JSON_MAX_BYTES);
    str_init(&t.thinking, JSON_MAX_BYTES);
    bool ok = true;
    if (json_is_string(m.content))
        add_line(&t.text, m.content);
    for (size_t k = 0; ok && json_is_array(m.content) && k < json_array_size(m.content); k++) {
        snprintf(at, sizeof at, "%.40s.content[%zu]", where, k % 1000000000u);
        ok = add_block(&t, json_array_get(m.content, k), at);
    }
    bool empty = t.text.len + t.thinking.len == 0 && !t.text.failed && !t.thinking.failed && !t.calls && !t.is_said;
    if (ok && empty && !(is_assistant && is_last)) {
        snprintf(at, sizeof at, "%s.content", where);
        ok = call_fail(c, 400, at, NULL, "%s must not be empty", at);
    }
    ok = ok && end_turn(&t, where);
    str_release(&t.text);
    str_release(&t.thinking);
    json_decref(t.calls);
    return ok;
}

/* The last message is what the answer goes on from, where it is the assistant's, says something and calls nothing. */
static bool take_last(json_t *messages, json_t **last) {
    size_t n = json_array_size(messages);
    json_t *m = json_array_get(messages, n - 1);
    const char *role = json_get_string(m, "role"), *text = json_get_string(m, "content");
    if (!role || strcmp(role, "assistant") != 0 || json_object_get(m, "tool_calls") || !text || !*text)
        return true;
    *last = json_incref(json_object_get(m, "content"));
    return json_array_remove(messages, n - 1) == 0;
}

bool anthropic_read_messages(call *c, const json_t *system, const json_t *messages, json_t **out, json_t **last) {
    json_t *list = json_array(), *text = NULL;
    *out = *last = NULL;
    bool ok = list || nomem(c, "messages");
    if (ok && system)
        ok = chat_read_text(c, system, "system", &text);
    if (ok && text && json_string_length(text) > 0)
        ok = json_array_append_new(list, json_pack("{s:s, s:O}", "role", "system", "content", text)) == 0 ||
             nomem(c, "system");
    for (size_t i = 0; ok && i < json_array_size(messages); i++)
        ok = read_message(c, json_array_get(messages, i), i, i + 1 == json_array_size(messages), list);
    json_decref(text);
    ok = ok && take_last(list, last);
    if (!ok) {
        json_decref(list);
        return false;
    }
    *out = list;
    return true;
}

/* ---- tools ---- */

typedef struct tool_said {
    const char *type, *name, *description;
    const json_t *schema;
} tool_said;
static const field tool_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(tool_said, type), 0, 64, NULL, false},
    {"name", FIELD_STRING, FIELD_AT(tool_said, name), 0, 128, NULL, true},
    {"description", FIELD_STRING, FIELD_AT(tool_said, description), 0, 0, NULL, false},
    {"input_schema", FIELD_OBJECT, FIELD_AT(tool_said, schema), 0, 0, NULL, true},
    {"cache_control", FIELD_ACCEPTED, 0, 0, 0, "an object", false},
    {"strict", FIELD_ACCEPTED, 0, 0, 0, "true or false", false}, /* it always is */
    {"eager_input_streaming", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
    {"input_examples", FIELD_ACCEPTED, 0, 0, 0, "an array", false},
    {"allowed_callers", FIELD_ACCEPTED, 0, 0, 0, "an array", false}, /* there is one: the model */
    {"defer_loading", FIELD_REFUSED, 0, 0, 0, "false", false},
};

/* In OpenAI's form; new. NULL: the error has gone out. */
static json_t *tool_of(call *c, const json_t *v, size_t i, const json_t *before) {
    char at[48];
    tool_said t = {0};
    snprintf(at, sizeof at, "tools[%zu]", i);
    if (!json_is_object(v)) {
        call_fail(c, 400, at, NULL, "%s must be an object", at);
        return NULL;
    }
    snprintf(at, sizeof at, "tools[%zu].type", i);
    if (*type_of(v) && strcmp(type_of(v), "custom") != 0) {
        call_fail(c, 400, at, NULL, "%s: no tool of type \"%.60s\" is known; only those that the client runs itself",
                  at, type_of(v));
        return NULL;
    }
    snprintf(at, sizeof at, "tools[%zu].", i);
    if (!call_read(c, v, at, tool_fields, ARRAY_LEN(tool_fields), &t))
        return NULL;
    snprintf(at, sizeof at, "tools[%zu].name", i);
    if (!chat_check_tool_name(c, before, i, t.name, at))
        return NULL;
    json_t *f = json_pack("{s:s, s:O}", "name", t.name, "parameters", t.schema);
    if (f && t.description && json_object_set_new(f, "description", json_string(t.description))) {
        json_decref(f);
        f = NULL;
    }
    json_t *out = json_pack("{s:s, s:o}", "type", "function", "function", f);
    if (!out)
        nomem(c, at);
    return out;
}

typedef struct choice {
    const char *type, *name;
    bool one;
} choice;
static const field choice_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(choice, type), 0, 32, NULL, true},
    {"name", FIELD_STRING, FIELD_AT(choice, name), 0, 128, NULL, false},
    {"disable_parallel_tool_use", FIELD_BOOL, FIELD_AT(choice, one), 0, 0, NULL, false},
};

/* In OpenAI's form; new. NULL: the error has gone out. */
static json_t *choice_of(call *c, const choice *x) {
    json_t *out = NULL;
    if (strcmp(x->type, "auto") == 0 || strcmp(x->type, "none") == 0)
        out = json_string(x->type);
    else if (strcmp(x->type, "any") == 0)
        out = json_string("required");
    else if (strcmp(x->type, "tool") == 0 && x->name)
        out = json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", x->name);
    else
        call_fail(c, 400, "tool_choice", NULL, "tool_choice must be auto, any, none, or tool with a name");
    return out;
}

bool anthropic_read_tools(call *c, const json_t *tools, const json_t *given, llm_request *q, json_t **out) {
    choice x = {.type = "auto"};
    bool ok = true;
    *out = json_array();
    if (!*out)
        return nomem(c, "tools");
    for (size_t i = 0; ok && i < json_array_size(tools); i++) {
        json_t *tool = tool_of(c, json_array_get(tools, i), i, *out);
        ok = tool && (json_array_append_new(*out, tool) == 0 || nomem(c, "tools"));
    }
    if (ok && given)
        ok = call_read(c, given, "tool_choice.", choice_fields, ARRAY_LEN(choice_fields), &x);
    json_t *older = ok ? choice_of(c, &x) : NULL;
    if (ok && !older && c->status == 0)
        nomem(c, "tool_choice");
    ok = older && chat_read_tools(c, *out, older, !x.one, q);
    if (ok && q->tool_name) { /* it stands in what is let go */
        q->tool_name = arena_copy_string(&c->mem, q->tool_name);
        ok = q->tool_name || nomem(c, "tool_choice");
    }
    json_decref(older);
    return ok;
}

/* ---- thinking, and the form of the answer ---- */

typedef struct thinking {
    const char *type;
    int64_t budget;
} thinking;
static const field thinking_fields[] = {
    {"type", FIELD_STRING, FIELD_AT(thinking, type), 0, 32, NULL, true},
    {"budget_tokens", FIELD_I64, FIELD_AT(thinking, budget), 1, 2147483647.0, NULL, false},
    {"display", FIELD_ACCEPTED, 0, 0, 0, "a string", false},
};

bool anthropic_read_thinking(call *c, const json_t *given, int64_t max_tokens, llm_request *q) {
    thinking t = {.type = "disabled", .budget = -1};
    if (given && !call_read(c, given, "thinking.", thinking_fields, ARRAY_LEN(thinking_fields), &t))
        return false;
    if (strcmp(t.type, "disabled") == 0) {
        q->thinking = LLM_THINKING_OFF;
        return true;
    }
    bool enabled = strcmp(t.type, "enabled") == 0;
    if (!enabled && strcmp(t.type, "adaptive") != 0)
        return call_fail(c, 400, "thinking.type", NULL,
                         "thinking.type must be enabled, adaptive or disabled, not "
                         "\"%s\"",
                         t.type);
    if (enabled && t.budget < 0)
        return call_fail(c, 400, "thinking.budget_tokens", NULL, "thinking.budget_tokens is missing");
    if (max_tokens > 0 && t.budget >= max_tokens)
        return call_fail(c, 400, "thinking.budget_tokens", NULL,
                         "thinking.budget_tokens must be less than max_tokens (%lld)", (long long)max_tokens);
    q->thinking = LLM_THINKING_ON;
    q->reasoning_tokens = t.budget > 0 ? (uint32_t)t.budget : 0;
    return true;
}

typedef struct output_config {
    const char *effort;
    const json_t *format;
} output_config;
static const field config_fields[] = {
    {"effort", FIELD_STRING, FIELD_AT(output_config, effort), 0, 32, NULL, false},
    {"format", FIELD_OBJECT, FIELD_AT(output_config, format), 0, 0, NULL, false},
};

bool anthropic_read_format(call *c, const json_t *config, const json_t *format, llm_request *q) {
    output_config o = {.format = format};
    llm_request effort = {0};
    if (config && !call_read(c, config, "output_config.", config_fields, ARRAY_LEN(config_fields), &o))
        return false;
    if (o.effort && !openai_read_effort(c, o.effort, "output_config.effort", &effort))
        return false; /* how much is thought about; whether is thinking's to say */
    if (!o.format)
        return true;
    const json_t *schema = json_object_get(o.format, "schema");
    const char *param = config ? "output_config.format" : "output_format";
    if (strcmp(type_of(o.format), "json_schema") != 0 || !json_is_object(schema))
        return call_fail(c, 400, param, NULL, "%s must be {\"type\": \"json_schema\", \"schema\": {...}}", param);
    q->schema = schema;
    return true;
}
