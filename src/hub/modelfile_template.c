/* Templates of Modelfiles: Jinja, as models' files have it. One in Go's language, which Ollama takes, is known by what
 * isn't Jinja, and the first such thing is answered with its Jinja. */
#include "hub/modelfile_template.h"

#include "base/mem.h"
#include "model/template.h"

#include <ctype.h>
#include <stdio.h>

/* What an action begins with, and what stands for it. */
static const struct {
    const char *go, *jinja;
} advice[] = {
    {".System", "the message whose role is 'system', in {% for m in messages %}"},
    {".Prompt", "{% for m in messages %}{{ m.content }}{% endfor %}"},
    {".Response", "nothing: the prompt ends with {% if add_generation_prompt %}...{% endif %}"},
    {".Messages", "messages"},
    {".Content", "{{ m.content }} in {% for m in messages %}"},
    {".Role", "{{ m.role }} in {% for m in messages %}"},
    {".ToolCalls", "m.tool_calls"},
    {".Tools", "tools"},
    {"if", "{% if ... %}...{% endif %}"},
    {"range", "{% for m in messages %}...{% endfor %}"},
    {"else", "{% else %}"},
    {"end", "{% endif %} or {% endfor %}"},
    {"with", "{% set x = ... %}"},
    {"block", "{% macro ... %}"},
    {"define", "{% macro ... %}"},
    {"template", "{% macro ... %}"},
    {"$", "{% set x = ... %}"},
    {".", "the name itself, as in {{ m.content }}"},
    {"/*", "{# ... #}"},
};

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static bool begins_with(const char *p, const char *go) {
    size_t n = strlen(go);
    return !strncmp(p, go, n) && (!is_word(go[n - 1]) || !is_word(p[n]));
}

/* Jinja has variables of any name, so a word alone proves nothing: what follows it must be what Jinja has no use for.
 * */
static bool is_surely_go(const char *p, const char *go) {
    if (!isalpha((unsigned char)go[0]))
        return true;
    const char *rest = p + strlen(go), *next = rest + strspn(rest, " \t\r\n");
    return next > rest && (*next == '.' || *next == '$' || *next == '"' || isalpha((unsigned char)*next)) &&
           strcmp(go, "else") && strcmp(go, "end") && strncmp(next, "if ", 3) && strncmp(next, "else ", 5) &&
           strncmp(next, "is ", 3) && strncmp(next, "in ", 3) && strncmp(next, "and ", 4) && strncmp(next, "or ", 3) &&
           strncmp(next, "not ", 4);
}

/* The first action of Go's language in the text, and what to write for it; NULL: there is none. surely: only what can't
 * be Jinja. */
static const char *find_go(const char *text, bool surely, const char **jinja) {
    for (const char *at = strchr(text, '{'); at; at = strchr(at + 1, '{')) {
        const char *end = at[1] == '#' ? strstr(at, "#}") : NULL, *p = at + 2;
        if (end)
            at = end;
        if (end || at[1] != '{')
            continue;
        p += *p == '-';
        while (isspace((unsigned char)*p))
            p++;
        for (size_t i = 0; i < ARRAY_LEN(advice); i++)
            if (begins_with(p, advice[i].go) && (!surely || is_surely_go(p, advice[i].go))) {
                *jinja = advice[i].jinja;
                return at;
            }
    }
    return NULL;
}

static void write_place(uint32_t line, char out[16]) {
    snprintf(out, 16, line ? "%u: " : "", line);
}

static muga_status advise(const char *text, const char *at, const char *jinja, uint32_t line, muga_error *err) {
    const char *close = strstr(at, "}}");
    char shown[40] = "", place[16] = "";
    size_t n = close ? (size_t)(close + 2 - at) : strlen(at);
    snprintf(shown, sizeof shown, "%.*s", (int)MIN(n, (size_t)32), at);
    shown[strcspn(shown, "\r\n")] = 0;
    for (const char *p = text; line && p < at; p++)
        line += *p == '\n';
    write_place(line, place);
    return error_set(
        err, MUGA_E_INPUT,
        "%sTEMPLATE: '%s' is Go's template language, and muga's is Jinja: write %s; or leave TEMPLATE out, "
        "and the model's own is used",
        place, shown, jinja);
}

muga_status modelfile_check_template(const char *text, uint32_t line, muga_error *err) {
    template *t = NULL;
    muga_error why = {0};
    const char *jinja = NULL;
    if (!*text)
        return MUGA_OK;
    char place[16];
    const char *go = find_go(text, true, &jinja);
    if (go)
        return advise(text, go, jinja, line, err);
    muga_status st = template_compile(text, strlen(text), &t, &why);
    template_free(t);
    if (!st || st == MUGA_E_NOMEM)
        return st ? error_nomem(err, "template") : MUGA_OK;
    go = find_go(text, false, &jinja);
    if (go)
        return advise(text, go, jinja, line, err);
    write_place(line, place);
    return error_set(err, MUGA_E_INPUT, "%sTEMPLATE: %.180s", place, why.message);
}
