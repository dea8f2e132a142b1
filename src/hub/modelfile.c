/* Reading Modelfiles, and writing them. The grammar is in docs/modelfile.md; where it is loose, what Ollama's reader
 * takes is taken, but nothing is dropped: an instruction given twice, or of a kind that isn't here, is refused.
 *
 * One idea: a value ends at the first line end at which it is closed (close_of), so reading and writing agree on what
 * can be said: the writer tries a form and reads it back. */
#include "hub/modelfile.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "hub/hub.h"
#include "hub/modelfile_template.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>

typedef struct reader {
    const char *p, *end;
    uint32_t line;
    const char *what;
    modelfile *m;
    muga_error *err;
    uint32_t requires_line;
} reader;

__attribute__((format(printf, 3, 4))) static muga_status bad(const reader *r, uint32_t line, const char *format, ...) {
    char text[224];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(r->err, MUGA_E_INPUT, "%.40s:%u: %s", r->what, line, text);
}

/* ---- values ---- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* How a value is closed that begins like this. */
static size_t quotes_of(const char *p, size_t n) {
    return n >= 3 && !memcmp(p, "\"\"\"", 3) ? 3 : n >= 1 && *p == '"' ? 1 : 0;
}

/* Is [p, p + n), without white space around it, a whole value? */
static bool is_closed(const char *p, size_t n) {
    size_t q = quotes_of(p, n);
    return n >= 2 * q && !memcmp(p + n - q, "\"\"\"", q);
}

/* The value that begins at p (not white space): *out without its quotes, *next behind its last line. The line in which
 * it ends is *n_lines further. false: it has no end. */
static bool read_value(const char *p, const char *end, span *out, const char **next, uint32_t *n_lines) {
    const char *last = p; /* behind the last byte that isn't white space */
    *n_lines = 0;
    for (const char *at = p; at <= end; at++) {
        if (at == end || *at == '\n') {
            size_t n = (size_t)(last - p), q = quotes_of(p, n);
            if (is_closed(p, n)) {
                *out = span_of(p + q, n - 2 * q);
                *next = at;
                return true;
            }
            if (at < end)
                ++*n_lines;
        } else if (!is_blank(*at)) {
            last = at + 1;
        }
    }
    return false;
}

static void skip_blanks(reader *r) {
    while (r->p < r->end && is_blank(*r->p))
        r->p++;
}

static span take_word(reader *r) {
    const char *from = r->p;
    while (r->p < r->end && !is_blank(*r->p) && *r->p != '\n')
        r->p++;
    return span_of(from, (size_t)(r->p - from));
}

/* What stands behind an instruction; *out is malloc'ed. */
static muga_status take_value(reader *r, const char *instruction, char **out) {
    uint32_t line = r->line, n_lines;
    span v;
    skip_blanks(r);
    if (r->p == r->end || *r->p == '\n')
        return bad(r, line, "%s has no value; it stands behind the word, on the same line", instruction);
    if (!read_value(r->p, r->end, &v, &r->p, &n_lines)) {
        bool three = quotes_of(r->p, (size_t)(r->end - r->p)) == 3;
        return bad(r, line, "the value of %s begins with %s and no line after it ends with %s", instruction,
                   three ? "three quotes" : "a quote", three ? "three" : "one");
    }
    r->line += n_lines;
    *out = mem_copy_bytes(v.p, v.n);
    return *out ? MUGA_OK : error_nomem(r->err, "Modelfile");
}

/* ---- instructions ---- */

static muga_status take_once(reader *r, const char *instruction, char **to, uint32_t *line) {
    if (*to)
        return bad(r, r->line, "a second %s; the first is on line %u", instruction, *line);
    *line = r->line;
    return take_value(r, instruction, to);
}

static muga_status take_from(reader *r) {
    if (r->m->from)
        return bad(r, r->line,
                   "a second FROM; the first is on line %u (the parts of a GGUF file become one with `muga quantize`)",
                   r->m->from_line);
    muga_status st = take_once(r, "FROM", &r->m->from, &r->m->from_line);
    return st || *r->m->from ? st : bad(r, r->m->from_line, "FROM names nothing");
}

static muga_status take_template(reader *r) {
    muga_error why = {0};
    modelfile *m = r->m;
    muga_status st = take_once(r, "TEMPLATE", &m->template, &m->template_line);
    if (st || !(st = modelfile_check_template(m->template, m->template_line, &why)))
        return st;
    return error_set(r->err, st, "%.40s:%s", r->what, why.message);
}

/* "PATH" or "PATH:SCALE": what follows the last colon is a scale where it begins like a number. */
static muga_status split_scale(char *text, float *scale, muga_error *err) {
    char *colon = strrchr(text, ':'), *end;
    *scale = 1;
    if (!colon || hub_is_digest(text) || !strchr("+-.0123456789", colon[1]) || strchr(colon, '/'))
        return MUGA_OK;
    *scale = strtof(colon + 1, &end);
    if (end == colon + 1 || *end || !isfinite(*scale))
        return error_set(err, MUGA_E_INPUT, "what follows the last ':' is the adapter's scale, a finite number");
    *colon = 0;
    return MUGA_OK;
}

static muga_status add_adapter(modelfile *m, char *from, float scale, muga_error *err) {
    modelfile_adapter *more = mem_resize_array(m->adapters, m->n_adapters + 1, sizeof *more);
    if (!more) {
        free(from);
        return error_nomem(err, "adapters");
    }
    m->adapters = more;
    m->adapters[m->n_adapters++] = (modelfile_adapter){from, scale};
    return MUGA_OK;
}

static muga_status take_adapter(reader *r) {
    uint32_t line = r->line;
    char *text = NULL;
    float scale = 1;
    muga_error why = {0};
    if (r->m->n_adapters)
        return bad(r, line, "a second ADAPTER; a model has one (`muga merge` folds one into its weights)");
    muga_status st = take_value(r, "ADAPTER", &text);
    if (!st && split_scale(text, &scale, &why))
        st = bad(r, line, "ADAPTER: %s", why.message);
    if (!st && !*text)
        st = bad(r, line, "ADAPTER names nothing");
    if (st) {
        free(text);
        return st;
    }
    r->m->adapter_line = line;
    return add_adapter(r->m, text, scale, r->err);
}

/* NULL, or another array of that: created when it is first needed. */
static bool append_to(json_t **array, json_t *v) {
    if (!*array)
        *array = json_array();
    return !json_array_append_new(*array, v); /* takes v, also where it fails */
}

/* stop is a list; another name is there once. E_INPUT: it is there already, or one too many. */
static muga_status add_parameter(modelfile *m, const char *name, json_t *value, muga_error *err) {
    bool is_list = !strcmp(name, "stop");
    if (!m->parameters && !(m->parameters = json_object())) {
        json_decref(value);
        return error_nomem(err, "parameters");
    }
    json_t *there = json_object_get(m->parameters, name);
    if (there && (!is_list || json_array_size(there) >= MODELFILE_MAX_STOPS)) {
        json_decref(value);
        return is_list ? error_set(err, MUGA_E_INPUT, "more than %d stop texts", MODELFILE_MAX_STOPS)
                       : error_set(err, MUGA_E_INPUT, "parameter %.40s is given twice", name);
    }
    if (there)
        return json_array_append_new(there, value) ? error_nomem(err, "parameters") : MUGA_OK;
    json_t *list = is_list ? json_array() : NULL;
    if (is_list && json_array_append_new(list, value)) {
        json_decref(list);
        return error_nomem(err, "parameters");
    }
    return json_object_set_new(m->parameters, name, is_list ? list : value) ? error_nomem(err, "parameters") : MUGA_OK;
}

static muga_status take_parameter(reader *r) {
    uint32_t line = r->line;
    char name[64], *text = NULL;
    json_t *value = NULL;
    muga_error why = {0};
    skip_blanks(r);
    span word = take_word(r);
    if (word.n == 0 || word.n >= sizeof name)
        return bad(r, line, word.n ? "there is no parameter of so long a name" : "PARAMETER has no name and no value");
    snprintf(name, sizeof name, "%.*s", (int)word.n, word.p);
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    muga_status st = take_value(r, name, &text);
    if (!st) {
        st = hub_parameter_parse(name, text, &value, &why);
        if (!st)
            st = add_parameter(r->m, name, value, &why);
        if (st)
            st = st == MUGA_E_NOMEM ? error_nomem(r->err, name) : bad(r, line, "%s", why.message);
    }
    free(text);
    return st;
}

static muga_status take_license(reader *r) {
    uint32_t line = r->line;
    char *text = NULL;
    muga_status st = take_value(r, "LICENSE", &text);
    if (!st && !*text)
        st = bad(r, line, "LICENSE is empty");
    if (!st && json_array_size(r->m->license) >= MODELFILE_MAX_LICENSES)
        st = bad(r, line, "more than %d licences", MODELFILE_MAX_LICENSES);
    if (!st && !append_to(&r->m->license, json_string(text)))
        st = error_nomem(r->err, "licences");
    free(text);
    return st;
}

static bool is_role(const char *role) {
    return !strcmp(role, "user") || !strcmp(role, "assistant") || !strcmp(role, "system");
}

static muga_status take_message(reader *r) {
    uint32_t line = r->line;
    char role[16], *text = NULL;
    skip_blanks(r);
    span word = take_word(r);
    snprintf(role, sizeof role, "%.*s", (int)MIN(word.n, sizeof role - 1), word.p);
    for (char *p = role; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    if (!is_role(role))
        return bad(r, line, "MESSAGE has a role, user, assistant or system, and then its text; not '%s'", role);
    muga_status st = take_value(r, "MESSAGE", &text);
    if (!st && json_array_size(r->m->messages) >= MODELFILE_MAX_MESSAGES)
        st = bad(r, line, "more than %d messages", MODELFILE_MAX_MESSAGES);
    if (!st && !append_to(&r->m->messages, json_pack("{s:s, s:s}", "role", role, "content", text)))
        st = error_nomem(r->err, "messages");
    free(text);
    return st;
}

/* "0.14.0", "v0.14": two numbers at least, of which major and minor count. */
static bool read_version(const char *text, unsigned out[2]) {
    int used = 0;
    text += *text == 'v';
    if (!isdigit((unsigned char)*text) || sscanf(text, "%4u.%4u%n", &out[0], &out[1], &used) != 2 || !used)
        return false;
    const char *rest = text + used;
    return (*rest == 0 || *rest == '.' || *rest == '-') && strlen(rest) < 32;
}

static muga_status take_requires(reader *r) {
    unsigned wanted[2], here[2];
    muga_status st = take_once(r, "REQUIRES", &r->m->requires, &r->requires_line);
    if (st)
        return st;
    if (!read_version(r->m->requires, wanted))
        return bad(r, r->requires_line, "REQUIRES is a version of Ollama such as 0.14.0, not '%.30s'", r->m->requires);
    if (read_version(MODELFILE_VERSION, here) && (wanted[0] > here[0] || (wanted[0] == here[0] && wanted[1] > here[1])))
        return bad(r, r->requires_line,
                   "REQUIRES %.30s: this muga reads Modelfiles as Ollama %s does; a later one may mean something else",
                   r->m->requires, MODELFILE_VERSION);
    return MUGA_OK;
}

static muga_status take_system(reader *r) {
    return take_once(r, "SYSTEM", &r->m->system, &r->m->system_line);
}

static const struct {
    const char *name;
    muga_status (*take)(reader *r);
    const char *why; /* it isn't here */
} instructions[] = {
    {"FROM", take_from, NULL},
    {"PARAMETER", take_parameter, NULL},
    {"TEMPLATE", take_template, NULL},
    {"SYSTEM", take_system, NULL},
    {"ADAPTER", take_adapter, NULL},
    {"LICENSE", take_license, NULL},
    {"MESSAGE", take_message, NULL},
    {"REQUIRES", take_requires, NULL},
    {"RENDERER", NULL, "the template alone says how a prompt is written"},
    {"PARSER", NULL, "how calls and reasoning are read follows from the template"},
    {"DRAFT", NULL, "a draft model is named when the model is run (--draft)"},
    {"CAPABILITY", NULL, "what a model can do follows from its file and template"},
};

static muga_status take_instruction(reader *r) {
    span word = take_word(r);
    for (size_t i = 0; i < ARRAY_LEN(instructions); i++) {
        if (strlen(instructions[i].name) != word.n || strncasecmp(instructions[i].name, word.p, word.n))
            continue;
        if (instructions[i].take)
            return instructions[i].take(r);
        return bad(r, r->line, "%s isn't here: %s; leave it out", instructions[i].name, instructions[i].why);
    }
    char shown[48];
    snprintf(shown, sizeof shown, "%.*s", (int)MIN(word.n, (size_t)40), word.p);
    return bad(r, r->line,
               "'%s' is no instruction; there are FROM, PARAMETER, TEMPLATE, SYSTEM, ADAPTER, LICENSE, MESSAGE, "
               "REQUIRES (text of several lines stands between three quotes)",
               shown);
}

static muga_status read_all(reader *r) {
    muga_status st = MUGA_OK;
    while (!st && r->p < r->end) {
        skip_blanks(r);
        if (r->p < r->end && *r->p == '#')
            while (r->p < r->end && *r->p != '\n')
                r->p++;
        if (r->p < r->end && *r->p == '\n') {
            r->p++;
            r->line++;
        } else if (r->p < r->end) {
            st = take_instruction(r);
        }
    }
    if (!st && !r->m->from)
        st = bad(r, r->line, "no FROM: it names the model that this one is made of");
    return st;
}

/* ---- the text ---- */

static uint32_t line_of(const char *text, size_t at) {
    uint32_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
}

static muga_status check_text(const reader *r, const char *text, size_t n) {
    if (n > MODELFILE_MAX_BYTES)
        return error_set(r->err, MUGA_E_INPUT, "%.80s: longer than %zu MiB; a Modelfile is a short text", r->what,
                         MODELFILE_MAX_BYTES >> 20);
    if (n >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
        return bad(r, 1, "this is UTF-16; save it as UTF-8");
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t len = utf8_decode(text + at, n - at, &cp);
        if (len == 0 || cp == 0)
            return bad(r, line_of(text, at), len ? "a byte 0; a Modelfile is text" : "this is not UTF-8; save it so");
        at += len;
    }
    return MUGA_OK;
}

/* Where each line ends in CR LF, the file is of that kind, and the CRs aren't part of its texts. */
static bool has_crlf_lines(const char *text, size_t n) {
    size_t lines = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n')
            continue;
        if (i == 0 || text[i - 1] != '\r')
            return false;
        lines++;
    }
    return lines > 0;
}

static size_t drop_cr(char *text, size_t n) {
    size_t to = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\r' || i + 1 == n || text[i + 1] != '\n')
            text[to++] = text[i];
    return to;
}

muga_status modelfile_parse(const char *text, size_t n, const char *what, modelfile *out, muga_error *err) {
    *out = (modelfile){0};
    reader r = {.line = 1, .what = what, .m = out, .err = err};
    muga_status st = check_text(&r, text, n);
    if (st)
        return st;
    char *copy = mem_copy_bytes(text, n);
    if (!copy)
        return error_nomem(err, "Modelfile");
    if (has_crlf_lines(copy, n))
        n = drop_cr(copy, n);
    r.p = copy + (n >= 3 && !memcmp(copy, "\xef\xbb\xbf", 3) ? 3 : 0);
    r.end = copy + n;
    st = read_all(&r);
    free(copy);
    return st;
}

void modelfile_release(modelfile *m) {
    for (size_t i = 0; i < m->n_adapters; i++)
        free(m->adapters[i].from);
    free(m->adapters);
    free(m->from);
    free(m->system);
    free(m->template);
    free(m->requires);
    json_decref(m->files);
    json_decref(m->parameters);
    json_decref(m->license);
    json_decref(m->messages);
    *m = (modelfile){0};
}

/* ---- writing ---- */

/* `text` behind what is in `out`, in a form that reads back as it is. false: there is none, and nothing was written. */
static bool write_value(str *out, const char *text) {
    static const char *const forms[] = {"\"", "\"\"\""};
    size_t n = strlen(text), at = out->len;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        span back;
        const char *next;
        uint32_t n_lines;
        if (i == 0 && memchr(text, '\n', n))
            continue;
        str_printf(out, "%s", forms[i]);
        str_append(out, text, n);
        str_append_s(out, forms[i]);
        str_append_c(out, '\n');
        if (out->failed)
            return true; /* told by its status */
        const char *end = str_get(out) + out->len;
        if (read_value(str_get(out) + at, end, &back, &next, &n_lines) && next == end - 1 &&
            span_equal(back, span_of(text, n)))
            return true;
        str_truncate(out, at);
    }
    return false;
}

static void write_text(str *out, const char *instruction, const char *text, bool *whole) {
    size_t at = out->len;
    str_printf(out, "%s ", instruction);
    if (write_value(out, text))
        return;
    str_truncate(out, at);
    str_printf(out, "# %s can't be said here: a line of it ends in three quotes\n", instruction);
    *whole = false;
}

static void write_parameters(str *out, const json_t *parameters, bool *whole) {
    const char *name;
    json_t *v, *one;
    size_t i;
    json_object_foreach(json_borrow(parameters), name, v) {
        if (json_is_array(v)) {
            json_array_foreach(v, i, one) {
                char instruction[80];
                snprintf(instruction, sizeof instruction, "PARAMETER %.60s", name);
                write_text(out, instruction, json_string_value(one), whole);
            }
        } else {
            str_printf(out, "PARAMETER %s ", name);
            json_write(v, out);
            str_append_c(out, '\n');
        }
    }
}

void modelfile_write(const hub_model *m, str *out, bool *whole) {
    size_t i;
    json_t *v;
    *whole = true;
    str_printf(out, "# Modelfile of %s; to build on that model, write FROM %s\nFROM sha256:%s\n", m->name, m->name,
               m->sha256);
    for (i = 0; i < m->n_adapters; i++) {
        str_printf(out, "ADAPTER sha256:%s:", m->adapters[i].sha256);
        json_write_double(out, (double)m->adapters[i].scale);
        str_append_c(out, '\n');
    }
    write_parameters(out, m->parameters, whole);
    if (m->template)
        write_text(out, "TEMPLATE", m->template, whole);
    if (m->system)
        write_text(out, "SYSTEM", m->system, whole);
    json_array_foreach(m->messages, i, v) {
        char instruction[32];
        snprintf(instruction, sizeof instruction, "MESSAGE %.16s", json_get_string(v, "role"));
        write_text(out, instruction, json_get_string(v, "content"), whole);
    }
    json_array_foreach(m->license, i, v) write_text(out, "LICENSE", json_string_value(v), whole);
    if (m->requires)
        str_printf(out, "REQUIRES %s\n", m->requires);
}
