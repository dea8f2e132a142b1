/* Tools as a caller gives them, and the grammar of an answer that may call them. Refuses what no call could be made
 * of, by the tool's place in the list. */
#include "llm/toolcall.h"

/* ---- tools ---- */

static bool is_name(const char *s) {
    size_t n = s ? strlen(s) : 0;
    bool good = n > 0 && n <= TOOLCALL_MAX_NAME;
    for (size_t i = 0; i < n && good; i++)
        good = toolcall_name_byte(s[i]);
    return good;
}

/* Whether members that the schema doesn't list are of no interest to it. */
static bool lists_all(const json_t *schema) {
    static const char *const others[] = {"additionalProperties",
                                         "patternProperties",
                                         "unevaluatedProperties",
                                         "propertyNames",
                                         "minProperties",
                                         "dependencies",
                                         "dependentSchemas",
                                         "dependentRequired",
                                         "required",
                                         "allOf",
                                         "anyOf",
                                         "oneOf",
                                         "not",
                                         "if",
                                         "$ref",
                                         "$dynamicRef"};
    const json_t *listed = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    bool all = json_object_size(listed) > 0;
    for (size_t i = 0; i < ARRAY_LEN(others) && all; i++)
        all = strcmp(others[i], "required") == 0 || !json_object_get(schema, others[i]);
    for (size_t i = 0; i < json_array_size(required) && all; i++) {
        const char *key = json_string_value(json_array_get(required, i));
        all = key && json_object_get(listed, key);
    }
    return all;
}

static bool admits_object(const json_t *type) {
    bool found = !type || (json_is_string(type) && strcmp(json_string_value(type), "object") == 0);
    for (size_t i = 0; i < json_array_size(type) && !found; i++) {
        const char *one = json_string_value(json_array_get(type, i));
        found = one && strcmp(one, "object") == 0;
    }
    return found;
}

/* New reference: the schema of arguments; NULL: out of memory. */
static json_t *closed_schema(const json_t *parameters) {
    if (!parameters)
        return json_pack("{s:s, s:b}", "type", "object", "additionalProperties", 0);
    json_t *s = json_clone(parameters);
    bool ok = s && json_object_set_new(s, "type", json_string("object")) == 0;
    if (ok && lists_all(parameters))
        ok = json_object_set_new(s, "additionalProperties", json_false()) == 0;
    if (!ok)
        json_decref(s);
    return ok ? s : NULL;
}

static muga_status read_tool(const json_t *tool, size_t i, toolcall_tools *out, muga_error *err) {
    const json_t *f = json_object_get(tool, "function");
    const char *type = json_get_string(tool, "type");
    if (f && type && strcmp(type, "function") != 0)
        return error_set(err, MUGA_E_INPUT, "tool %zu is of type \"%.40s\"; only functions can be called", i + 1, type);
    f = f ? f : tool;
    const char *name = json_get_string(f, "name");
    const json_t *parameters = json_object_get(f, "parameters");
    if (!is_name(name))
        return error_set(err, MUGA_E_INPUT, "tool %zu has no \"name\" of 1 to %d letters, digits and \"_-./:\"", i + 1,
                         TOOLCALL_MAX_NAME);
    for (size_t k = 0; k < i; k++)
        if (strcmp(out->names[k], name) == 0)
            return error_set(err, MUGA_E_INPUT, "tools %zu and %zu are both called %s", k + 1, i + 1, name);
    if (json_is_null(parameters))
        parameters = NULL;
    if (parameters && (!json_is_object(parameters) || !admits_object(json_object_get(parameters, "type"))))
        return error_set(err, MUGA_E_INPUT, "tool %s: \"parameters\" must be a schema of type object", name);
    json_t *shown = json_clone(f);
    if (shown && !parameters) /* templates look into it */
        json_object_set_new(shown, "parameters", json_pack("{s:s, s:{}}", "type", "object", "properties"));
    json_t *whole = shown ? json_pack("{s:s, s:o}", "type", "function", "function", shown) : NULL;
    if (!whole || json_array_append_new(out->shown, whole))
        return error_nomem(err, "the tools");
    out->schemas[i] = closed_schema(parameters);
    out->names[i] = json_get_string(shown, "name");
    out->n = i + 1;
    return out->schemas[i] ? MUGA_OK : error_nomem(err, "the tools");
}

muga_status toolcall_tools_read(const json_t *tools, toolcall_tools *out, muga_error *err) {
    *out = (toolcall_tools){0};
    size_t n = json_array_size(tools);
    if (tools && !json_is_array(tools))
        return error_set(err, MUGA_E_INPUT, "tools must be an array");
    if (n > TOOLCALL_MAX_TOOLS)
        return error_set(err, MUGA_E_LIMIT, "%zu tools; at most %u are taken", n, TOOLCALL_MAX_TOOLS);
    out->names = mem_alloc_array(n, sizeof *out->names);
    out->schemas = mem_alloc_array(n, sizeof *out->schemas);
    out->shown = json_array();
    muga_status st = out->names && out->schemas && out->shown ? MUGA_OK : error_nomem(err, "the tools");
    for (size_t i = 0; i < n && !st; i++)
        st = read_tool(json_array_get(tools, i), i, out, err);
    if (st)
        toolcall_tools_release(out);
    return st;
}

void toolcall_tools_release(toolcall_tools *t) {
    for (size_t i = 0; i < t->n; i++)
        json_decref(t->schemas[i]);
    free(t->schemas);
    free(t->names);
    json_decref(t->shown);
    *t = (toolcall_tools){0};
}

/* ---- the grammar ---- */

/* An OBJECT call is a NAMED one with more text around. false: out of memory. */
static bool flatten(const toolcall_form *f, arena *a, constrain_form *out) {
    str head = STR_INIT, middle = STR_INIT;
    *out = (constrain_form){.trigger = f->trigger,
                            .at_start = f->at_start,
                            .start = f->start,
                            .before = f->before,
                            .middle = f->middle,
                            .after = f->after,
                            .separator = f->separator,
                            .end = f->end};
    if (f->shape == TOOLCALL_NAMED)
        return true;
    str_append_s(&head, f->before);
    toolcall_object_head(&head);
    toolcall_object_middle(f, &middle);
    out->before = head.failed ? NULL : arena_copy_string(a, str_get(&head));
    out->middle = middle.failed ? NULL : arena_copy_string(a, str_get(&middle));
    out->after = arena_printf(a, "}%s", f->after);
    str_release(&head);
    str_release(&middle);
    return out->before && out->middle && out->after;
}

/* The tools that may be called: all, one, none. */
static muga_status choose_tools(const toolcall_grammar *g, constrain_call *calls, size_t *n, muga_error *err) {
    *n = 0;
    if (g->choice == LLM_TOOLS_NONE || g->choice == LLM_TOOLS_SHOWN)
        return MUGA_OK;
    for (size_t i = 0; i < g->tools->n; i++)
        if (g->choice != LLM_TOOLS_NAMED || (g->tool_name && strcmp(g->tools->names[i], g->tool_name) == 0))
            calls[(*n)++] = (constrain_call){g->tools->names[i], g->tools->schemas[i]};
    if (*n == 0 && g->choice == LLM_TOOLS_NAMED)
        return error_set(err, MUGA_E_INPUT, "the tool that is to be called, \"%.80s\", is not among the tools",
                         g->tool_name ? g->tool_name : "");
    if (*n == 0 && g->choice == LLM_TOOLS_REQUIRED)
        return error_set(err, MUGA_E_INPUT, "a call is required, and there are no tools");
    return MUGA_OK;
}

muga_status toolcall_compile(const toolcall_grammar *g, constrain_grammar **out, muga_error *err) {
    constrain_form forms[TOOLCALL_FORMS];
    arena a;
    arena_init(&a, 0);
    size_t n_tools = g->tools ? g->tools->n : 0, n_calls = 0;
    constrain_call *calls = mem_alloc_array(n_tools, sizeof *calls);
    muga_status st = calls ? MUGA_OK : error_nomem(err, "the tools");
    for (size_t i = 0; i < g->n_forms && !st; i++)
        st = flatten(&g->forms[i], &a, &forms[i]) ? MUGA_OK : error_nomem(err, "the tools");
    if (!st && g->tools)
        st = choose_tools(g, calls, &n_calls, err);
    if (!st) {
        constrain_answer answer = {.forms = forms,
                                   .n_forms = g->n_forms,
                                   .calls = calls,
                                   .n_calls = n_calls,
                                   .must_call = g->choice == LLM_TOOLS_REQUIRED || g->choice == LLM_TOOLS_NAMED,
                                   .parallel = !g->one_call,
                                   .value = g->value,
                                   .think_open = g->think_open,
                                   .think_close = g->think_close,
                                   .thinking = g->thinking,
                                   .no_thinking = g->no_thinking,
                                   .think_tokens = g->think_tokens,
                                   .options = g->options};
        st = constrain_compile_answer(&answer, out, err);
    }
    free(calls);
    arena_release(&a);
    return st;
}
