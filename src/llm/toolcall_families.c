/* The families: what a template's text tells, and the literals of each. Owns the table; docs/tools.md shows it.
 *
 * The first family whose signs are all there counts, so the more particular ones stand first. "generic" has none: it is
 * for templates that know nothing of tools, whose models are told of them in the system message. */
#define _GNU_SOURCE /* memmem */
#include "llm/toolcall.h"

#define C(name) "\xFF" name "\xFF"
#define DS(name) "\xFF<\xEF\xBD\x9Ctool\xE2\x96\x81" name "\xEF\xBD\x9C>\xFF" /* DeepSeek: fullwidth bars, low blocks */
#define DS_SIGN                                                                                                        \
    "tool\xE2\x96\x81"                                                                                                 \
    "call\xE2\x96\x81"                                                                                                 \
    "begin"
#define DS_CALLS "calls\xE2\x96\x81"
#define DS_CALL "call\xE2\x96\x81"
#define OBJECT_START "\x01{\x01\"name\"\x01:" /* TOOLCALL_BLANK where white space may stand */

static const toolcall_family families[] = {
    {"functionary",
     {"<function=", "</function>"},
     {"<parameter"},
     {{TOOLCALL_NAMED, false, "<function=", "", "", ">", "</function>", "<function=", "", NULL, NULL}}},
    {"nemotron",
     {"<TOOLCALL>"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("<TOOLCALL>"), "[", "", NULL, "", ", ", "]" C("</TOOLCALL>"), "arguments", NULL}}},
    {"mistral-args",
     {"[TOOL_CALLS]", "[ARGS]"},
     {NULL},
     {{TOOLCALL_NAMED, false, C("[TOOL_CALLS]"), "", "", C("[ARGS]"), "", C("[TOOL_CALLS]"), "", NULL,
       C("[CALL_ID]")}}},
    {"mistral",
     {"[TOOL_CALLS]"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("[TOOL_CALLS]"), "[", "", NULL, "", ", ", "]", "arguments", NULL}}},
    {"deepseek", /* R1 and V3 */
     {DS_SIGN, "```json"},
     {NULL},
     {{TOOLCALL_NAMED, false, DS(DS_CALLS "begin"), "", DS(DS_CALL "begin") "function" DS("sep"), "\n```json\n",
       "\n```" DS(DS_CALL "end"), "\n", DS(DS_CALLS "end"), NULL, NULL}}},
    {"deepseek-v3.1",
     {DS_SIGN},
     {NULL},
     {{TOOLCALL_NAMED, false, DS(DS_CALLS "begin"), "", DS(DS_CALL "begin"), DS("sep"), DS(DS_CALL "end"), "",
       DS(DS_CALLS "end"), NULL, NULL}}},
    {"apertus",
     {"<|tools_prefix|>", "<|tools_suffix|>"},
     {NULL},
     {{TOOLCALL_NAMED, false, C("<|tools_prefix|>"), "[", "{\"", "\": ", "}", ", ", "]" C("<|tools_suffix|>"), NULL,
       NULL}}},
    {"phi-4-mini",
     {"<|tool_call|>", "<|/tool_call|>"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("<|tool_call|>"), "[", "", NULL, "", ", ", "]" C("<|/tool_call|>"), "arguments",
       NULL}}},
    {"phi-4-mini",
     {"<|tool|>", "<|/tool|>"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("<|tool_call|>"), "[", "", NULL, "", ", ", "]" C("<|/tool_call|>"), "arguments",
       NULL}}},
    {"granite",
     {"<|tool_call|>"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("<|tool_call|>"), "[", "", NULL, "", ", ", "]", "arguments", NULL}}},
    {"functools",
     {"functools["},
     {NULL},
     {{TOOLCALL_OBJECT, false, "functools[", "", "", NULL, "", ", ", "]", "arguments", NULL}}},
    {"minimax",
     {"<tool_calls>", "<tools>"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("<tool_calls>"), "\n", "", NULL, "", "\n", "\n" C("</tool_calls>"), "arguments",
       NULL}}},
    {"apriel",
     {"<tool_calls>"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("<tool_calls>"), "[", "", NULL, "", ", ", "]" C("</tool_calls>"), "arguments", NULL}}},
    {"hermes", /* and Qwen 2.5, Qwen 3, Granite 4 */
     {"<tool_call>", "arguments"},
     {"<arg_key>", "<function="},
     {{TOOLCALL_OBJECT, false, C("<tool_call>"), "", "\n", NULL, "\n" C("</tool_call>"), "\n" C("<tool_call>"), "",
       "arguments", NULL}}},
    {"llama", /* 3.1 to 3.3: a bare object, or one behind the python tag */
     {"<|python_tag|>", "\"parameters\""},
     {NULL},
     {{TOOLCALL_OBJECT, true, OBJECT_START, "", "", NULL, "", NULL, "", "parameters", NULL},
      {TOOLCALL_OBJECT, false, C("<|python_tag|>"), "", "", NULL, "", NULL, "", "parameters", NULL}}},
    {"llama",
     {"<|start_header_id|>", "\"parameters\""},
     {NULL},
     {{TOOLCALL_OBJECT, true, OBJECT_START, "", "", NULL, "", NULL, "", "parameters", NULL},
      {TOOLCALL_OBJECT, false, C("<|python_tag|>"), "", "", NULL, "", NULL, "", "parameters", NULL}}},
    {"smollm3",
     {"reasoning_mode", "named SmolLM"},
     {NULL},
     {{TOOLCALL_OBJECT, false, C("<tool_call>"), "", "\n", NULL, "\n" C("</tool_call>"), "\n" C("<tool_call>"), "",
       "arguments", NULL}}},
    {"smollm2",
     {"named SmolLM", "<|im_start|>"},
     {"reasoning_mode"},
     {{TOOLCALL_OBJECT, false, "<tool_call>", "[", "", NULL, "", ", ", "]</tool_call>", "arguments", NULL}}},
    {"generic", {NULL}, {NULL}, {{TOOLCALL_OBJECT, true, OBJECT_START, "", "", NULL, "", "\n", "", "arguments", NULL}}},
};

const toolcall_family *toolcall_families(size_t *n) {
    *n = ARRAY_LEN(families);
    return families;
}

const toolcall_family *toolcall_family_named(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

static bool holds(span text, const char *part) {
    return text.n > 0 && memmem(text.p, text.n, part, strlen(part)) != NULL;
}

const toolcall_family *toolcall_family_of(span source) {
    for (size_t i = 0; i < ARRAY_LEN(families) - 1; i++) {
        const toolcall_family *f = &families[i];
        bool all = true;
        for (size_t k = 0; k < ARRAY_LEN(f->has) && f->has[k]; k++)
            all = all && holds(source, f->has[k]);
        for (size_t k = 0; k < ARRAY_LEN(f->no) && f->no[k]; k++)
            all = all && !holds(source, f->no[k]);
        if (all)
            return f;
    }
    return &families[ARRAY_LEN(families) - 1];
}

static const toolcall_thinking thinkings[] = {
    {"think", C("<think>"), C("</think>")},
    {"mistral", C("[THINK]"), C("[/THINK]")},
    {"apertus", C("<|inner_prefix|>"), C("<|inner_suffix|>")},
};

const toolcall_thinking *toolcall_thinking_of(span source) {
    for (size_t i = 0; i < ARRAY_LEN(thinkings); i++) {
        char name[32];
        size_t n = strlen(thinkings[i].close) - 2;
        memcpy(name, thinkings[i].close + 1, n);
        name[n] = 0;
        if (holds(source, name))
            return &thinkings[i];
    }
    return NULL;
}

char *toolcall_bind_literal(const char *literal, toolcall_is_control is_control, const void *ctx, arena *a) {
    char *out = arena_alloc(a, strlen(literal) + 1);
    size_t n = 0;
    for (const char *p = literal; out && *p;) {
        const char *end = *p == TOOLCALL_CONTROL ? strchr(p + 1, TOOLCALL_CONTROL) : NULL;
        if (!end) {
            out[n++] = *p++;
            continue;
        }
        size_t len = (size_t)(end - p) + 1;
        bool marked = is_control && is_control(ctx, p + 1, len - 2);
        memcpy(out + n, marked ? p : p + 1, marked ? len : len - 2);
        n += marked ? len : len - 2;
        p = end + 1;
    }
    return out;
}

bool toolcall_bind(const toolcall_form *form, toolcall_is_control is_control, const void *ctx, arena *a,
                   toolcall_form *out) {
    *out = *form;
    const char **literals[] = {&out->trigger, &out->start,     &out->before, &out->middle,
                               &out->after,   &out->separator, &out->end,    &out->id_mark};
    for (size_t i = 0; i < ARRAY_LEN(literals); i++)
        if (*literals[i] && !(*literals[i] = toolcall_bind_literal(*literals[i], is_control, ctx, a)))
            return false;
    return true;
}

void toolcall_object_head(str *out) {
    str_append_s(out, "{\"name\": \"");
}

void toolcall_object_middle(const toolcall_form *f, str *out) {
    str_printf(out, "\", \"%s\": ", f->key);
}

bool toolcall_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-./:", c));
}
