/* Tools on the command line. */
#include "cmd/tools.h"

#define TOOLS_MAX_BYTES ((size_t)16 << 20)

static bool is(const char *text, const char *word) {
    return text && strcmp(text, word) == 0;
}

int cmd_tools_read(cmd_tools *t) {
    str text = STR_INIT;
    muga_error err = {0};
    if (!t->file && (t->choice || t->format || t->one_call))
        return cmd_error(MUGA_E_USAGE, "--tool-choice, --tool-format and --one-call need --tools");
    if (!t->file)
        return -1;
    muga_status st = cmd_read_input(t->file, TOOLS_MAX_BYTES, &text, &err);
    if (!st)
        st = json_parse(str_get(&text), text.len, t->file, &t->list, &err);
    str_release(&text);
    return st ? cmd_fail(&err) : -1;
}

void cmd_tools_release(cmd_tools *t) {
    json_decref(t->list);
    t->list = NULL;
}

bool cmd_tools_split(const cmd_tools *t) {
    return t->list || t->think || t->reasoning_tokens;
}

void cmd_tools_apply(const cmd_tools *t, llm_request *q) {
    q->split = cmd_tools_split(t);
    q->thinking = is(t->think, "on") ? LLM_THINKING_ON : is(t->think, "off") ? LLM_THINKING_OFF : LLM_THINKING_DEFAULT;
    q->reasoning_tokens = t->reasoning_tokens;
    if (!t->list)
        return;
    q->tools = t->list;
    q->tool_choice = !t->choice || is(t->choice, "auto") ? LLM_TOOLS_AUTO
                     : is(t->choice, "required")         ? LLM_TOOLS_REQUIRED
                     : is(t->choice, "none")             ? LLM_TOOLS_NONE
                                                         : LLM_TOOLS_NAMED;
    q->tool_name = q->tool_choice == LLM_TOOLS_NAMED ? t->choice : NULL;
    q->tool_format = t->format;
    q->one_call = t->one_call;
}

muga_status cmd_print_calls(const llm_reply *r, muga_error *err) {
    for (size_t i = 0; i < r->n_calls; i++) {
        json_t *v = json_pack("{s:s, s:s, s:O}", "id", r->calls[i].id, "name", r->calls[i].name, "arguments",
                              r->calls[i].value);
        if (!v)
            return error_nomem(err, "the calls");
        cmd_print_json(v);
        json_decref(v);
    }
    return MUGA_OK;
}

json_t *cmd_calls_message(const llm_reply *r) {
    json_t *calls = json_array();
    for (size_t i = 0; i < r->n_calls && calls; i++) {
        const llm_call *c = &r->calls[i];
        if (json_array_append_new(calls, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", c->id, "type", "function",
                                                   "function", "name", c->name, "arguments", c->arguments))) {
            json_decref(calls);
            calls = NULL;
        }
    }
    return json_pack("{s:s, s:s%, s:o}", "role", "assistant", "content", str_get(&r->text), r->text.len, "tool_calls",
                     calls);
}
