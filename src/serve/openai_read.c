/* What OpenAI's bodies that ask for text say alike. Owns the checks that a table of fields can't say. A constraint is
 * applied or refused, never left out. */
#include "serve/openai.h"

#include <errno.h>
#include <string.h>

bool openai_read_stop(call *c, const json_t *stop, const char *param) {
    size_t n = json_is_array(stop) ? json_array_size(stop) : 1;
    if (!stop || json_is_null(stop))
        return true;
    if (!json_is_array(stop) && !json_is_string(stop))
        return call_fail(c, 400, param, "invalid_type", "%s must be a string or an array of strings", param);
    if (n > OPENAI_MAX_STOPS)
        return call_fail(c, 400, param, "invalid_value", "%s has %zu entries; at most %d are taken", param, n,
                         OPENAI_MAX_STOPS);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(s))
            return call_fail(c, 400, param, "invalid_type", "%s[%zu] must be a string", param, i);
        if (json_string_length(s) == 0 || strlen(json_string_value(s)) != json_string_length(s))
            return call_fail(c, 400, param, "invalid_value", "%s[%zu] must be text of at least one character", param,
                             i);
    }
    return true;
}

/* ---- constraints of other servers' clients ---- */

static bool set_schema(call *c, const json_t *v, const char *param, llm_request *q, int *n) {
    if (!v)
        return true;
    *n += 1;
    if (!json_is_object(v) && !json_is_boolean(v))
        return call_fail(c, 400, param, "invalid_type", "%s must be a JSON Schema, an object", param);
    q->schema = v;
    return true;
}

/* A stop string would end a value in its middle. */
static bool check_whole(call *c, const openai_asked *a, const llm_request *q) {
    bool stops = json_is_string(a->s.stop) || json_array_size(a->s.stop) > 0;
    return !stops || !(q->schema || q->regex || q->gbnf) ||
           call_fail(c, 400, "stop", "invalid_value",
                     "stop could cut what must be whole; leave it out where the form of the answer is given");
}

static bool read_constraint(call *c, const openai_asked *a, llm_request *q) {
    int n = q->schema ? 1 : 0;
    if (!set_schema(c, a->json_schema, "json_schema", q, &n) || !set_schema(c, a->guided_json, "guided_json", q, &n))
        return false;
    if (a->grammar && *a->grammar) {
        q->gbnf = a->grammar;
        n++;
    }
    if (a->guided_regex) {
        q->regex = a->guided_regex;
        n++;
    }
    const char *param = a->guided_regex  ? "guided_regex"
                        : q->gbnf        ? "grammar"
                        : a->guided_json ? "guided_json"
                                         : "json_schema";
    if (n > 1)
        return call_fail(c, 400, param, "invalid_value", "%s: an answer has one constraint, not %d", param, n);
    if ((q->gbnf || q->regex) && q->tool_choice != LLM_TOOLS_SHOWN && q->tool_choice != LLM_TOOLS_NONE)
        return call_fail(c, 400, param, "invalid_value",
                         "%s is for the whole answer; leave out the tools, or use a schema", param);
    if (q->gbnf || q->regex) {
        q->tool_choice = LLM_TOOLS_SHOWN;
        q->tools = NULL;
    }
    return true;
}

/* ---- thinking ---- */

bool openai_read_effort(call *c, const char *effort, const char *param, llm_request *q) {
    static const char *const on[] = {"low", "medium", "high", "xhigh", "max"};
    if (!effort)
        return true;
    if (strcmp(effort, "none") == 0 || strcmp(effort, "minimal") == 0) {
        q->thinking = LLM_THINKING_OFF;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(on); i++)
        if (strcmp(effort, on[i]) == 0) {
            q->thinking = LLM_THINKING_ON;
            return true;
        }
    return call_fail(c, 400, param, "invalid_value",
                     "%s must be none, minimal, low, medium, high or xhigh, not \"%.40s\"", param, effort);
}

typedef struct kwargs {
    bool enable_thinking, thinking;
} kwargs;
static const field kwargs_fields[] = {
    {"enable_thinking", FIELD_BOOL, FIELD_AT(kwargs, enable_thinking), 0, 0, NULL, false},
    {"thinking", FIELD_BOOL, FIELD_AT(kwargs, thinking), 0, 0, NULL, false},
};

static bool read_thinking(call *c, const openai_asked *a, llm_request *q) {
    kwargs k = {0};
    if (a->template_kwargs) {
        if (!call_read(c, a->template_kwargs, "chat_template_kwargs.", kwargs_fields, ARRAY_LEN(kwargs_fields), &k))
            return false;
        if (json_is_boolean(json_object_get(a->template_kwargs, "enable_thinking")))
            q->thinking = k.enable_thinking ? LLM_THINKING_ON : LLM_THINKING_OFF;
        else if (json_is_boolean(json_object_get(a->template_kwargs, "thinking")))
            q->thinking = k.thinking ? LLM_THINKING_ON : LLM_THINKING_OFF;
    }
    if (json_is_string(a->think))
        return openai_read_effort(c, json_string_value(a->think), "think", q);
    if (a->think && !json_is_boolean(a->think))
        return call_fail(c, 400, "think", "invalid_type", "think must be true, false, or an effort");
    if (a->think)
        q->thinking = json_is_true(a->think) ? LLM_THINKING_ON : LLM_THINKING_OFF;
    return true;
}

/* ---- the rest ---- */

static bool read_bias(call *c, const openai_asked *a, llm_request *q) {
    size_t n = json_object_size(a->logit_bias), i = 0;
    const char *key;
    json_t *v;
    if (n == 0)
        return true;
    if (n > LLM_MAX_BIAS)
        return call_fail(c, 400, "logit_bias", "invalid_value", "logit_bias has %zu entries; at most %d are taken", n,
                         LLM_MAX_BIAS);
    llm_bias *list = arena_alloc(&c->mem, n * sizeof *list);
    if (!list)
        return call_no_memory(c);
    json_object_foreach(json_borrow(a->logit_bias), key, v) {
        char *end = NULL;
        errno = 0;
        long id = strtol(key, &end, 10);
        if (*key < '0' || *key > '9' || *end || errno || id > INT32_MAX)
            return call_fail(c, 400, "logit_bias", "invalid_value", "logit_bias: \"%.40s\" is not the id of a token",
                             key);
        if (!json_is_number(v) || !(json_number_value(v) >= -100 && json_number_value(v) <= 100))
            return call_fail(c, 400, "logit_bias", "invalid_value",
                             "logit_bias: the bias of token %.40s must be a number between -100 and 100", key);
        list[i++] = (llm_bias){(int32_t)id, (float)json_number_value(v)};
    }
    q->logit_bias = list;
    q->n_logit_bias = n;
    return true;
}

typedef struct stream_options {
    bool include_usage;
} stream_options;
static const field stream_fields[] = {
    {"include_usage", FIELD_BOOL, FIELD_AT(stream_options, include_usage), 0, 0, NULL, false},
    {"include_obfuscation", FIELD_ACCEPTED, 0, 0, 0, "true or false", false},
};

static bool read_stream(call *c, openai_asked *a) {
    stream_options o = {0};
    if (!a->stream_options)
        return true;
    if (!a->stream)
        return call_fail(c, 400, "stream_options", "invalid_value",
                         "stream_options may only be given where stream is true");
    if (!call_read(c, a->stream_options, "stream_options.", stream_fields, ARRAY_LEN(stream_fields), &o))
        return false;
    a->with_usage = o.include_usage;
    return true;
}

bool openai_read_rest(call *c, openai_asked *a, llm_request *q) {
    if (a->s.top_k == -1 && json_object_get(c->body, "top_k"))
        a->s.top_k = json_is_integer(json_object_get(c->body, "top_k")) ? 0 : -1; /* vLLM's word for "off" */
    return openai_read_stop(c, a->s.stop, "stop") && read_stream(c, a) && read_constraint(c, a, q) &&
           check_whole(c, a, q) && read_thinking(c, a, q) && read_bias(c, a, q);
}

void openai_apply(const llm_request *read, llm_request *q) {
    q->tools = read->tools;
    q->tool_choice = read->tool_choice;
    q->tool_name = read->tool_name;
    q->one_call = read->one_call;
    q->schema = read->schema;
    q->regex = read->regex;
    q->gbnf = read->gbnf;
    if (q->schema || q->regex || q->gbnf) { /* those of the model's file would cut what must be whole */
        q->stop = NULL;
        q->n_stop = 0;
    }
    q->reasoning_tokens = read->reasoning_tokens;
    if (read->thinking != LLM_THINKING_DEFAULT)
        q->thinking = read->thinking;
    q->logit_bias = read->logit_bias;
    q->n_logit_bias = read->n_logit_bias;
}

/* ---- answers ---- */

const char *openai_id(call *c, const char *prefix) {
    const char *bare = strrchr(c->id, '_');
    return arena_printf(&c->mem, "%s%s", prefix, bare ? bare + 1 : c->id);
}

openai_head openai_head_of(call *c, const char *prefix, const char *model, int64_t now_ms) {
    const char *version = c->serve && c->serve->options ? c->serve->options->version : NULL;
    const char *fingerprint = arena_printf(&c->mem, "muga-%s", version ? version : "0");
    return (openai_head){openai_id(c, prefix), model, fingerprint, now_ms / 1000};
}

uint32_t openai_reasoning_tokens(llm *m, const llm_reply *r) {
    int32_t *ids = NULL;
    size_t n = 0;
    muga_error ignored;
    if (r->reasoning.len == 0 ||
        llm_tokenize(m, span_of(str_get(&r->reasoning), r->reasoning.len), false, false, &ids, &n, &ignored))
        return 0;
    free(ids);
    return (uint32_t)MIN(n, (size_t)r->n_generated);
}

openai_usage openai_usage_of(llm *m, const chat_choice *choices, uint32_t n) {
    openai_usage u = {.n_prompt = choices[0].reply.n_prompt, .n_cached = choices[0].reply.n_prompt_cached};
    for (uint32_t i = 0; i < n; i++) {
        u.n_generated += choices[i].reply.n_generated;
        u.n_reasoning += openai_reasoning_tokens(m, &choices[i].reply);
    }
    return u;
}

/* Which of these fields the body has; the last, where none. */
static const char *given_of(const call *c, const char *const names[4]) {
    size_t i = 0;
    while (i < 3 && !json_object_get(c->body, names[i]))
        i++;
    return names[i];
}

static const char *prompt_of(const call *c) {
    static const char *const names[] = {"messages", "input", "prompt", "model"};
    return given_of(c, names);
}

/* What of the body an error of the model is about, by what its message begins with. NULL: not known. */
static const char *blamed(const call *c, const muga_error *err, const llm_request *q) {
    static const char *const schemas[] = {"json_schema", "guided_json", "response_format", "text.format"};
    static const struct {
        const char *prefix, *param;
    } known[] = {{"tool ", "tools"}, {"tools ", "tools"}, {"logit bias", "logit_bias"}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strncmp(err->message, known[i].prefix, strlen(known[i].prefix)) == 0)
            return known[i].param;
    if (q->schema)
        return given_of(c, schemas);
    return q->gbnf ? "grammar" : q->regex ? "guided_regex" : prompt_of(c);
}

bool openai_fail(call *c, muga_status st, const muga_error *err, const llm_request *q) {
    if (st == MUGA_E_LIMIT && strstr(err->message, "context"))
        return call_fail(c, 400, prompt_of(c), "context_length_exceeded", "%s", err->message);
    bool of_body = st == MUGA_E_INPUT || st == MUGA_E_LIMIT || st == MUGA_E_USAGE;
    return call_fail_with(c, st, err, of_body ? blamed(c, err, q) : NULL);
}

static bool was_cut(call *c, const chat_choice *choices, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (choices[i].reply.finish == LLM_FINISH_CANCELLED) {
            call_fail(c, 503, NULL, "cancelled", "the answer was cut off, because the server ends or needs the room");
            return true;
        }
    return false;
}

bool openai_complete(call *c, chat *ch, chat_choice *choices, uint32_t n) {
    muga_error err = {0};
    muga_status st = chat_complete(ch, choices, n, &err);
    if (st)
        return openai_fail(c, st, &err, &ch->q);
    return !atomic_load(call_gone(c)) && !was_cut(c, choices, n);
}

bool openai_send_event(void *ctx, const char *name, json_t *json) {
    return call_event(ctx, name, json);
}
