/* Ollama's fields that several routes read. */
#include "serve/ollama.h"

#include <ctype.h>
#include <stdio.h>
#include <time.h>

#define NO_LIMIT 9e15

void ollama_time(int64_t ms, char out[32]) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    size_t n = strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &t);
    snprintf(out + n, 32 - n, ".%03dZ", (int)(ms % 1000));
}

void ollama_now(char out[32]) {
    const os_clock *c = &os_system()->clock;
    ollama_time(c->now_ms(c->self), out);
}

json_t *ollama_details(const hub_details *d) {
    return json_pack("{s:s, s:s, s:s, s:[s], s:s, s:s}", "parent_model", "", "format", HUB_FORMAT, "family", d->family,
                     "families", d->family, "parameter_size", d->parameter_size, "quantization_level",
                     d->quantization_level);
}

/* ---- options ---- */

typedef struct options {
    chat_sampling s;
    const json_t *stop;
} options;

#define SAMPLING(member) FIELD_AT(options, s.member)
static const field option_fields[] = {
    {"temperature", FIELD_F32, SAMPLING(temperature), 0, 100, NULL, false},
    {"top_k", FIELD_I64, SAMPLING(top_k), 0, INT32_MAX, NULL, false},
    {"top_p", FIELD_F32, SAMPLING(top_p), 0, 1, NULL, false},
    {"min_p", FIELD_F32, SAMPLING(min_p), 0, 1, NULL, false},
    {"typical_p", FIELD_F32, SAMPLING(typical_p), 0, 1, NULL, false},
    {"repeat_penalty", FIELD_F32, SAMPLING(repeat_penalty), 0.01, 100, NULL, false},
    {"presence_penalty", FIELD_F32, SAMPLING(presence_penalty), -2, 2, NULL, false},
    {"frequency_penalty", FIELD_F32, SAMPLING(frequency_penalty), -2, 2, NULL, false},
    {"repeat_last_n", FIELD_I64, SAMPLING(repeat_last_n), -1, INT32_MAX, NULL, false},
    {"seed", FIELD_I64, SAMPLING(seed), -NO_LIMIT, NO_LIMIT, NULL, false},
    {"num_predict", FIELD_I64, SAMPLING(max_tokens), -2, INT32_MAX, NULL, false},
    {"num_ctx", FIELD_I64, SAMPLING(n_ctx), 1, INT32_MAX, NULL, false},
    {"stop", FIELD_JSON, FIELD_AT(options, stop), 0, 0, NULL, false},
    /* where and how it is computed changes no answer, and is the server's own affair */
    {"num_keep", FIELD_ACCEPTED, 0, 0, 0, "an integer", false},
    {"num_batch", FIELD_ACCEPTED, 0, 0, 0, "an integer", false},
    {"num_gpu", FIELD_ACCEPTED, 0, 0, 0, "an integer", false},
    {"main_gpu", FIELD_ACCEPTED, 0, 0, 0, "an integer", false},
    {"num_thread", FIELD_ACCEPTED, 0, 0, 0, "an integer", false},
    {"use_mmap", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
    {"use_mlock", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
    {"numa", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
    {"low_vram", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
    {"f16_kv", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
    {"draft_num_predict", FIELD_ACCEPTED, 0, 0, 0, "an integer", false},
    {"penalize_newline", FIELD_REFUSED, 0, 0, 0, "true", false},
    {"mirostat", FIELD_REFUSED, 0, 0, 0, "0", false},
    {"mirostat_tau", FIELD_ACCEPTED, 0, 0, 0, "a number", false},
    {"mirostat_eta", FIELD_ACCEPTED, 0, 0, 0, "a number", false},
    {"tfs_z", FIELD_REFUSED, 0, 0, 0, "1", false},
    {"logits_all", FIELD_REFUSED, 0, 0, 0, "false", false},
    {"vocab_only", FIELD_REFUSED, 0, 0, 0, "false", false},
};

bool ollama_read_options(call *c, const json_t *given, chat_sampling *out) {
    options o = {.s = CHAT_SAMPLING_UNSAID};
    if (given && !call_read(c, given, "options.", option_fields, ARRAY_LEN(option_fields), &o))
        return false;
    o.s.stop = o.stop;
    *out = o.s;
    return true;
}

/* ---- keep_alive ---- */

/* A duration as Go writes it: "1h30m", "1.5s", "300ms", "-1m", "0". */
static bool parse_duration(const char *p, double *ms) {
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"us", 1e-3}, {"ns", 1e-6}, {"h", 3.6e6}, {"m", 6e4}, {"s", 1e3}};
    double sum = 0, sign = 1;
    if (*p == '-' || *p == '+')
        sign = *p++ == '-' ? -1 : 1;
    if (!*p)
        return false;
    while (*p) {
        if (!isdigit((unsigned char)*p) && *p != '.')
            return false;
        char *end;
        double v = strtod(p, &end);
        size_t i = 0;
        while (i < ARRAY_LEN(units) && strncmp(end, units[i].name, strlen(units[i].name)) != 0)
            i++;
        bool bare = !*end && sum == 0;
        if (end == p || (i == ARRAY_LEN(units) && !bare))
            return false;
        sum += v * (bare ? 1e3 : units[i].ms);
        p = bare ? end : end + strlen(units[i].name);
    }
    *ms = sum * sign;
    return true;
}

bool ollama_read_keep_alive(call *c, const json_t *v, int64_t *ms) {
    double wanted;
    if (!v || json_is_null(v))
        return true;
    if (json_is_number(v))
        wanted = json_number_value(v) * 1e3;
    else if (!json_is_string(v) || strlen(json_string_value(v)) > 64 || !parse_duration(json_string_value(v), &wanted))
        return call_fail(c, 400, "keep_alive", "invalid_value",
                         "keep_alive must be seconds, or a duration such as \"5m\" or \"1h30m\"; -1 is forever");
    *ms = wanted < 0 || wanted > 9e15 ? POOL_FOREVER : (int64_t)wanted;
    return true;
}

/* ---- format and thinking ---- */

bool ollama_read_format(call *c, const json_t *v, llm_request *q, json_t **made) {
    const char *name = json_string_value(v);
    if (!v || json_is_null(v) || (name && !*name))
        return true;
    if (json_is_object(v)) {
        q->schema = v;
        return true;
    }
    if (!name || strcmp(name, "json") != 0)
        return call_fail(c, 400, "format", "invalid_value", "format must be \"json\" or a JSON schema");
    *made = json_pack("{s:s}", "type", "object");
    if (!*made)
        return call_no_memory(c);
    q->schema = *made;
    return true;
}

bool ollama_read_think(call *c, const json_t *v, llm_request *q) {
    static const char *const levels[] = {"low", "medium", "high", "max"};
    const char *level = json_string_value(v);
    if (!v || json_is_null(v))
        return true;
    bool known = json_is_boolean(v);
    for (size_t i = 0; level && i < ARRAY_LEN(levels); i++)
        known = known || !strcmp(level, levels[i]);
    if (!known)
        return call_fail(c, 400, "think", "invalid_value",
                         "think must be true, false, \"low\", \"medium\", \"high\" or \"max\"");
    q->thinking = json_is_false(v) ? LLM_THINKING_OFF : LLM_THINKING_ON;
    return true;
}

/* ---- messages ---- */

typedef struct message {
    const char *role, *content, *thinking, *tool_name, *tool_call_id;
    const json_t *tool_calls;
} message;

static const field message_fields[] = {
    {"role", FIELD_STRING, FIELD_AT(message, role), 0, 32, NULL, true},
    {"content", FIELD_STRING, FIELD_AT(message, content), 0, 0, NULL, false},
    {"thinking", FIELD_STRING, FIELD_AT(message, thinking), 0, 0, NULL, false},
    {"tool_name", FIELD_STRING, FIELD_AT(message, tool_name), 0, 128, NULL, false},
    {"tool_call_id", FIELD_STRING, FIELD_AT(message, tool_call_id), 0, 128, NULL, false},
    {"tool_calls", FIELD_ARRAY, FIELD_AT(message, tool_calls), 0, 128, NULL, false},
    {"images", FIELD_REFUSED, 0, 0, 0, "[]", false},
};

static bool is_role(const char *role) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (!strcmp(role, roles[i]))
            return true;
    return false;
}

/* {"function": {"name", "arguments": object}} each; the same, checked. */
static bool check_calls(call *c, const char *where, const json_t *calls) {
    size_t i;
    const json_t *v;
    json_array_foreach(calls, i, v) {
        const json_t *f = json_object_get(v, "function");
        const char *name = json_get_string(f, "name");
        const json_t *arguments = json_object_get(f, "arguments");
        if (!name || !*name || (arguments && !json_is_object(arguments)))
            return call_fail(c, 400, "messages", "invalid_value",
                             "%stool_calls[%zu] must have a function with a name and an object of arguments", where, i);
    }
    return true;
}

static json_t *message_json(const message *m) {
    json_t *out = json_pack("{s:s, s:s}", "role", m->role, "content", m->content ? m->content : "");
    bool whole = out != NULL;
    if (whole && m->thinking)
        whole = json_object_set_new(out, "reasoning_content", json_string(m->thinking)) == 0;
    if (whole && m->tool_name)
        whole = json_object_set_new(out, "name", json_string(m->tool_name)) == 0;
    if (whole && m->tool_call_id)
        whole = json_object_set_new(out, "tool_call_id", json_string(m->tool_call_id)) == 0;
    if (whole && json_array_size(m->tool_calls))
        whole = json_object_set(out, "tool_calls", json_borrow(m->tool_calls)) == 0;
    if (whole)
        return out;
    json_decref(out);
    return NULL;
}

bool ollama_read_messages(call *c, const json_t *messages, json_t **out) {
    size_t i;
    const json_t *v;
    char where[40];
    json_t *list = json_array();
    json_array_foreach(messages, i, v) {
        message m = {0};
        snprintf(where, sizeof where, "messages[%zu].", i);
        bool read = json_is_object(v) ||
                    call_fail(c, 400, "messages", "invalid_type", "messages[%zu] must be an object", i);
        read = read && call_read(c, v, where, message_fields, ARRAY_LEN(message_fields), &m) &&
               check_calls(c, where, m.tool_calls);
        if (read && !is_role(m.role))
            read = call_fail(c, 400, "messages", "invalid_value",
                             "%srole must be system, user, assistant or tool, not \"%.32s\"", where, m.role);
        if (read && json_array_append_new(list, message_json(&m)) != 0)
            read = call_no_memory(c);
        if (!read) {
            json_decref(list);
            return false;
        }
    }
    *out = list;
    return list != NULL || call_no_memory(c);
}
