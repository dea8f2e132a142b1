/* Texts with values in them, taken apart when the manifest is loaded. */
#include "agent/tool_text.h"

#include "agent/internal.h"

#define PREFIX "session_"
#define MAX_PARTS 64

static bool is_name_byte(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static const char *find_value(const char *text) {
    for (; *text; text++) {
        if (text[0] == ':' && is_name_byte(text[1], true)) {
            return text;
        }
    }
    return NULL;
}

static muga_status check_name(tool_setup *s, const char *place, tool_text_part *p, muga_error *err) {
    const json_t *parameters = json_object_get(s->def->parameters, "properties");
    const json_t *session = json_object_get(s->m->session_schema, "properties");
    p->of_session = strncmp(p->name, PREFIX, strlen(PREFIX)) == 0;
    if (p->of_session ? json_object_get(session, p->name + strlen(PREFIX)) : json_object_get(parameters, p->name)) {
        p->name += p->of_session ? strlen(PREFIX) : 0;
        return MUGA_OK;
    }
    return tool_fault(s, place, err, ":%.80s is neither a parameter of the tool nor a value of session:", p->name);
}

muga_status tool_text_parse(tool_setup *s, const char *place, const char *text, tool_text *out, muga_error *err) {
    *out = (tool_text){.parts = NULL};
    size_t n = 1;
    for (const char *at = text; (at = find_value(at)); at++) {
        n++;
    }
    if (n > MAX_PARTS) {
        return tool_fault(s, place, err, "holds more than %d values; split the tool", MAX_PARTS - 1);
    }
    out->parts = mem_alloc_array(n, sizeof *out->parts);
    out->names = mem_copy_string(text); /* each name is terminated in place, over the byte behind it */
    if (!out->parts || !out->names) {
        return error_nomem(err, "a tool");
    }
    const char *at = text;
    for (size_t i = 0; i < n; i++) {
        tool_text_part *p = &out->parts[out->n_parts++];
        const char *colon = find_value(at), *end = colon ? colon + 1 : at + strlen(at);
        p->literal = span_of(at, (size_t)((colon ? colon : end) - at));
        if (colon) {
            while (is_name_byte(*end, false)) {
                end++;
            }
            p->name = out->names + (colon + 1 - text);
            out->names[end - text] = '\0';
            muga_status st = check_name(s, place, p, err);
            if (st != MUGA_OK) {
                return st;
            }
        }
        at = end;
    }
    return MUGA_OK;
}

void tool_text_release(tool_text *x) {
    free(x->parts);
    free(x->names);
    *x = (tool_text){.parts = NULL};
}

bool tool_text_is_value(const tool_text *x) {
    return x->n_parts == 2 && x->parts[0].literal.n == 0 && x->parts[1].literal.n == 0;
}

const json_t *tool_text_value(const tool_text_part *p, const tool_call *c) {
    return json_object_get(p->of_session ? c->values : c->arguments, p->name);
}

bool tool_text_write_value(const tool_text_part *p, const tool_call *c, str *out, tool_run *run) {
    const json_t *v = tool_text_value(p, c);
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_STRING: str_append(out, json_string_value(v), json_string_length(v)); return true;
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE: json_write(v, out); return true;
    case JSON_NULL: return tool_fail(run, "%.80s was left out, and the tool can't do without it", p->name);
    default: return tool_fail(run, "%.80s is a list or an object, which has no place in this text", p->name);
    }
}
