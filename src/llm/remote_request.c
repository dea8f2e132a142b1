/* What is sent: the request in the words of chat completions, and no member that a server needn't know unless it was
 * asked for. */
#include "llm/answer.h"
#include "llm/remote_internal.h"

static muga_status refuse(muga_error *err, const char *what, const char *remedy) {
    return error_set(err, MUGA_E_USAGE, "a remote model can't be held to %s; %s", what, remedy);
}

static muga_status check_possible(const llm_request *q, muga_error *err) {
    if (q->regex || q->gbnf)
        return refuse(err, "a regex or a grammar", "use a schema, or a local model");
    if (q->prefix && *q->prefix)
        return refuse(err, "the beginning of its answer", "use a local model");
    if (q->prompt_text.p || q->n_prompt_ids)
        return refuse(err, "a raw prompt", "send messages, or use a local model");
    if (q->n_logit_bias)
        return refuse(err, "biases of tokens, whose ids are its own", "leave them out, or use a local model");
    if (q->sampling.typical_p > 0 && q->sampling.typical_p < 1)
        return refuse(err, "typical_p", "leave it out, or use a local model");
    if (q->on_token)
        return refuse(err, "telling how likely its tokens are", "use a local model");
    if (q->want_ids)
        return refuse(err, "telling its tokens", "use a local model");
    if (q->reasoning_tokens)
        return refuse(err, "a number of tokens of reasoning", "leave it out, or use a local model");
    return MUGA_OK;
}

/* OpenAI's strict mode takes objects only that list all their members as required and allow no others. */
static bool is_strict(const json_t *schema, int depth) {
    const json_t *members = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    const json_t *items = json_object_get(schema, "items");
    const char *type = json_get_string(schema, "type"), *key;
    json_t *member;
    if (depth > 8 || !json_is_object(schema))
        return false;
    if (items && !is_strict(items, depth + 1))
        return false;
    if (type && strcmp(type, "object") != 0)
        return true;
    if (!type)
        return json_is_array(json_object_get(schema, "enum"));
    if (!json_is_false(json_object_get(schema, "additionalProperties")) ||
        json_array_size(required) != json_object_size(members))
        return false;
    json_object_foreach(json_borrow(members), key, member) {
        if (!is_strict(member, depth + 1))
            return false;
    }
    return true;
}

/* false: out of memory. */
static bool set(json_t *o, const char *key, json_t *v) {
    return json_object_set_new(o, key, v) == 0;
}

static bool add_sampling(json_t *o, const llm_request *q) {
    const llm_sampling *s = &q->sampling;
    uint64_t seed = (s->seed + s->attempt * 0x9E3779B9u + s->choice * 0x85EBCA6Bu) & 0x7FFFFFFF;
    bool ok = set(o, "temperature", json_real((double)s->temperature)) &&
              set(o, "seed", json_integer((json_int_t)seed));
    if (s->top_p < 1)
        ok = ok && set(o, "top_p", json_real((double)s->top_p));
    if (s->presence_penalty != 0)
        ok = ok && set(o, "presence_penalty", json_real((double)s->presence_penalty));
    if (s->frequency_penalty != 0)
        ok = ok && set(o, "frequency_penalty", json_real((double)s->frequency_penalty));
    if (s->top_k)
        ok = ok && set(o, "top_k", json_integer(s->top_k));
    if (s->min_p > 0)
        ok = ok && set(o, "min_p", json_real((double)s->min_p));
    if (s->repeat_penalty != 1)
        ok = ok && set(o, "repeat_penalty", json_real((double)s->repeat_penalty));
    if (q->max_tokens)
        ok = ok && set(o, "max_tokens", json_integer(q->max_tokens));
    return ok;
}

static bool add_stop(json_t *o, const llm_request *q) {
    json_t *a = q->n_stop ? json_array() : NULL;
    for (size_t i = 0; i < q->n_stop; i++)
        if (!a || json_array_append_new(a, json_string(q->stop[i]))) {
            json_decref(a);
            return false;
        }
    return !a || set(o, "stop", a);
}

static json_t *choice_of(const llm_request *q) {
    switch (q->tool_choice) {
    case LLM_TOOLS_AUTO: return json_string("auto");
    case LLM_TOOLS_REQUIRED: return json_string("required");
    case LLM_TOOLS_NAMED: return json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", q->tool_name);
    case LLM_TOOLS_SHOWN:
    case LLM_TOOLS_NONE: break;
    }
    return json_string("none");
}

static bool add_tools(json_t *o, const llm_request *q, const toolcall_tools *tools) {
    return tools->n == 0 || (json_object_set(o, "tools", tools->shown) == 0 && set(o, "tool_choice", choice_of(q)) &&
                             (!q->one_call || set(o, "parallel_tool_calls", json_false())));
}

static bool add_format(json_t *o, const llm_request *q) {
    if (!q->schema)
        return true;
    json_t *f =
        json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name", "answer", "schema", q->schema);
    if (f && is_strict(q->schema, 0) && !set(json_object_get(f, "json_schema"), "strict", json_true())) {
        json_decref(f);
        return false;
    }
    return f && set(o, "response_format", f);
}

muga_status remote_request_body(const remote *r, const llm_request *q, const toolcall_tools *tools, json_t **out,
                                muga_error *err) {
    muga_status st = check_possible(q, err);
    if (st)
        return st;
    json_t *o = json_pack("{s:s, s:O, s:b, s:{s:b}}", "model", r->model, "messages", q->messages, "stream", 1,
                          "stream_options", "include_usage", 1);
    bool ok = o && add_sampling(o, q) && add_stop(o, q) && add_tools(o, q, tools) && add_format(o, q);
    if (ok && q->thinking != LLM_THINKING_DEFAULT)
        ok = set(o, "chat_template_kwargs",
                 json_pack("{s:b}", "enable_thinking", (int)(q->thinking == LLM_THINKING_ON)));
    if (!ok) {
        json_decref(o);
        return error_nomem(err, "a request");
    }
    *out = o;
    return MUGA_OK;
}
