/* Answers and errors of one request, in the form that its family's clients know. */
#include "serve/call.h"
#include "base/utf8.h"
#include "os/os.h"
#include "serve/admission.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define IGNORED_MAX 1024 /* bytes of x-muga-ignored */

uint64_t call_now_us(void) {
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

const atomic_bool *call_gone(const call *c) {
    return exchange_gone(c->x);
}

const atomic_bool *call_cancelled(const call *c) {
    return &c->cancelled;
}

/* ---- errors ---- */

/* What a status is called. */
static const char *openai_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static const char *anthropic_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

json_t *call_error_json(call_family f, int status, const char *param, const char *code, const char *message) {
    if (f == CALL_OLLAMA)
        return json_pack("{s:s}", "error", message);
    if (f == CALL_ANTHROPIC)
        return json_pack("{s:s, s:{s:s, s:s}}", "type", "error", "error", "type", anthropic_type(status), "message",
                         message);
    return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", message, "type", openai_type(status), "param",
                     param, "code", code);
}

bool call_fail(call *c, int status, const char *param, const char *code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(c->message, sizeof c->message, format, args);
    va_end(args);
    json_t *error = call_error_json(c->route ? c->route->family : CALL_OPENAI, status, param, code, c->message);
    if (error && c->route && c->route->family == CALL_ANTHROPIC)
        (void)json_object_set_new(error, "request_id", json_string(c->id)); /* said in a header, too */
    if (c->streams == CALL_EVENTS) {
        bool named = c->error_event || c->route->family == CALL_ANTHROPIC;
        c->status = status;
        call_ends(c);
        (void)call_event(c, named ? "error" : NULL, c->error_event ? c->error_event(c->error_ctx, error) : error);
        (void)call_events_end(c);
    } else if (c->streams == CALL_LINES) {
        c->status = status;
        call_ends(c);
        (void)call_line(c, error);
        (void)call_lines_end(c);
    } else {
        (void)call_reply(c, status, error);
    }
    return false;
}

bool call_fail_with(call *c, muga_status st, const muga_error *err, const char *param) {
    switch (st) {
    case MUGA_E_INPUT:
    case MUGA_E_USAGE: return call_fail(c, 400, param, "invalid_value", "%s", err->message);
    case MUGA_E_LIMIT: return call_fail(c, 400, param, "limit_exceeded", "%s", err->message);
    case MUGA_E_NOT_FOUND: return call_fail(c, 404, param, "not_found", "%s", err->message);
    case MUGA_E_POLICY: return call_fail(c, 403, param, "refused", "%s", err->message);
    case MUGA_E_NOMEM:
    case MUGA_E_ENV: return call_fail(c, 503, NULL, "unavailable", "%s", err->message);
    case MUGA_E_CANCELLED:
        if (!atomic_load(call_gone(c))) {
            c->retry_after_s = ADMISSION_STOP_RETRY_S;
            return call_fail(c, 503, NULL, "unavailable", ADMISSION_STOP_TEXT);
        }
        if (c->status == 0)
            c->status = 499;
        return false;
    default: return call_fail(c, 500, NULL, "internal_error", "%s", err->message);
    }
}

/* ---- answers ---- */

#define COMMON_HEADERS 3
/* The headers that every answer has. */
static size_t common_headers(const call *c, server_header out[COMMON_HEADERS]) {
    size_t n = 0;
    out[n++] = (server_header){"x-request-id", c->id};
    if (c->ignored.len)
        out[n++] = (server_header){"x-muga-ignored", str_get(&c->ignored)};
    if (c->session)
        out[n++] = (server_header){"x-muga-session", c->session};
    return n;
}

bool call_reply_text(call *c, int status, const char *content_type, const char *p, size_t n) {
    server_header more[COMMON_HEADERS + 1];
    exchange_headers h = {content_type, more, common_headers(c, more)};
    if ((status == 429 || status == 503) && c->retry_after_s) {
        snprintf(c->retry_after, sizeof c->retry_after, "%u", c->retry_after_s);
        more[h.n_more++] = (server_header){"retry-after", c->retry_after};
    }
    c->status = status;
    call_ends(c);
    return exchange_reply(c->x, status, &h, p, n);
}

/* Steals json. false: memory. */
static bool write_json(json_t *json, str *out) {
    if (!json) {
        out->failed = true;
        return false;
    }
    json_write(json, out);
    json_decref(json);
    return !out->failed;
}

bool call_reply(call *c, int status, json_t *json) {
    static const char out_of_memory[] = "{\"error\":{\"message\":\"out of memory; try again later\",\"type\":"
                                        "\"server_error\",\"param\":null,\"code\":\"unavailable\"}}";
    str text = STR_INIT;
    bool sent;
    if (write_json(json, &text))
        sent = call_reply_text(c, status, "application/json", str_get(&text), text.len);
    else
        sent = call_reply_text(c, 503, "application/json", out_of_memory, sizeof out_of_memory - 1);
    str_release(&text);
    return sent;
}

bool call_no_memory(call *c) {
    return call_fail(c, 503, NULL, "unavailable", "out of memory; try again later");
}

bool call_answer(call *c, muga_status st, const muga_error *err, const char *param, json_t *json) {
    if (st == MUGA_OK)
        return call_reply(c, 200, json);
    json_decref(json);
    return call_fail_with(c, st, err, param);
}

bool call_answer_list(call *c, muga_status st, const muga_error *err, json_t *list) {
    bool whole = st == MUGA_OK && list;
    return call_answer(c, st, err, NULL, whole ? json_pack("{s:s, s:o}", "object", "list", "data", list) : list);
}

static bool begin(call *c, const char *content_type, int kind) {
    server_header more[COMMON_HEADERS + 1];
    exchange_headers h = {content_type, more, common_headers(c, more)};
    more[h.n_more++] = (server_header){"cache-control", "no-cache"};
    c->status = 200;
    c->streams = kind;
    return exchange_start(c->x, 200, &h);
}

void call_ends(call *c) {
    exchange_keep_back(c->x);
}

static bool end(call *c) {
    c->streams = CALL_WHOLE;
    return exchange_end(c->x);
}

/* What can't be said for want of memory ends the stream where everyone sees that it isn't whole. */
static bool send_piece(call *c, str *text) {
    bool sent = false;
    if (text->failed) {
        exchange_cut(c->x);
        c->status = 503;
    } else {
        sent = exchange_write(c->x, str_get(text), text->len);
    }
    str_release(text);
    return sent;
}

bool call_events_begin(call *c) {
    return begin(c, "text/event-stream", CALL_EVENTS);
}

bool call_event(call *c, const char *name, json_t *json) {
    str text = STR_INIT;
    if (name) {
        str_append_s(&text, "event: ");
        str_append_s(&text, name);
        str_append_c(&text, '\n');
    }
    str_append_s(&text, "data: ");
    (void)write_json(json, &text);
    str_append_s(&text, "\n\n");
    return send_piece(c, &text);
}

bool call_event_text(call *c, const char *data) {
    str text = STR_INIT;
    str_append_s(&text, "data: ");
    str_append_s(&text, data);
    str_append_s(&text, "\n\n");
    return send_piece(c, &text);
}

bool call_events_end(call *c) {
    return end(c);
}

bool call_lines_begin(call *c) {
    return begin(c, "application/x-ndjson", CALL_LINES);
}

bool call_line(call *c, json_t *json) {
    str text = STR_INIT;
    (void)write_json(json, &text);
    str_append_c(&text, '\n');
    return send_piece(c, &text);
}

bool call_lines_end(call *c) {
    return end(c);
}

/* ---- fields ---- */

/* A name that isn't defined, as a header can say it. */
static void note_ignored(call *c, const char *where, const char *name) {
    char plain[80];
    size_t n = 0;
    for (const char *p = where; *p && n < 30; p++)
        plain[n++] = *p;
    for (const char *p = name; *p && n < sizeof plain - 1; p++)
        plain[n++] = *p > ' ' && *p < 127 && *p != ',' ? *p : '?';
    plain[n] = '\0';
    if (c->ignored.len + n + 2 > IGNORED_MAX)
        return;
    if (c->ignored.len)
        str_append_s(&c->ignored, ", ");
    str_append(&c->ignored, plain, n);
}

static const char *type_name(const json_t *v) {
    static const char *const names[] = {"an object",     "an array", "a string", "an integer",
                                        "a real number", "true",     "false",    "null"};
    return names[json_typeof(v)];
}

static bool wrong_type(call *c, const char *full, const char *wanted, const json_t *v) {
    return call_fail(c, 400, full, "invalid_type", "%s must be %s, not %s", full, wanted, type_name(v));
}

static bool read_number(call *c, const char *full, const field *f, const json_t *v, void *to) {
    bool whole = f->kind != FIELD_F32;
    double value = json_number_value(v);
    if (!json_is_number(v))
        return wrong_type(c, full, whole ? "an integer" : "a number", v);
    if (whole && json_is_real(v) && !(value > -9e15 && value < 9e15 && value == (double)(int64_t)value))
        return wrong_type(c, full, "an integer", v);
    if (!(value >= f->min && value <= f->max))
        return call_fail(c, 400, full, "out_of_range", "%s must be between %.15g and %.15g, not %.15g", full, f->min,
                         f->max, value);
    if (f->kind == FIELD_F32)
        *(float *)to = (float)value;
    else if (f->kind == FIELD_U32)
        *(uint32_t *)to = json_is_real(v) ? (uint32_t)value : (uint32_t)json_integer_value(v);
    else
        *(int64_t *)to = json_is_real(v) ? (int64_t)value : json_integer_value(v);
    return true;
}

static bool read_text(call *c, const char *full, const field *f, const json_t *v, void *to) {
    if (!json_is_string(v))
        return wrong_type(c, full, "a string", v);
    const char *p = json_string_value(v);
    size_t n = json_string_length(v);
    if (f->max > 0 && (double)n > f->max)
        return call_fail(c, 400, full, "too_long", "%s has %zu bytes, more than the %.0f it may have", full, n, f->max);
    if (f->kind == FIELD_TEXT)
        *(span *)to = span_of(p, n);
    else if (strlen(p) != n)
        return call_fail(c, 400, full, "invalid_value", "%s holds a NUL character", full);
    else
        *(const char **)to = p;
    return true;
}

static bool read_array(call *c, const char *full, const field *f, const json_t *v, void *to) {
    size_t n = json_array_size(v);
    if (!json_is_array(v))
        return wrong_type(c, full, "an array", v);
    if ((double)n < f->min || (f->max > 0 && (double)n > f->max))
        return call_fail(c, 400, full, "out_of_range", "%s must have %.0f to %.0f entries, not %zu", full, f->min,
                         f->max > 0 ? f->max : 1e9, n);
    *(const json_t **)to = v;
    return true;
}

/* OpenAI's metadata: at most 16 pairs, keys of at most 64 characters, values of at most 512. */
static bool check_texts(call *c, const char *full, const json_t *v) {
    const char *key;
    json_t *text;
    if (!json_is_object(v))
        return wrong_type(c, full, "an object", v);
    if (json_object_size(v) > 16)
        return call_fail(c, 400, full, "too_long", "%s has %zu entries, more than the 16 it may have", full,
                         json_object_size(v));
    json_object_foreach(json_borrow(v), key, text) {
        if (!json_is_string(text))
            return call_fail(c, 400, full, "invalid_type", "%s.%.64s must be a string, not %s", full, key,
                             type_name(text));
        if (utf8_count(key, strlen(key)) > 64 || utf8_count(json_string_value(text), json_string_length(text)) > 512)
            return call_fail(c, 400, full, "too_long",
                             "%s.%.64s is too long; keys have at most 64 characters, values 512", full, key);
    }
    return true;
}

/* Whether s is one of the words between the bars. */
static bool is_among(const char *words, const char *s, size_t n) {
    for (const char *p = words; *p;) {
        size_t k = strcspn(p, "|");
        if (k == n && memcmp(p, s, n) == 0)
            return true;
        p += k + (p[k] == '|');
    }
    return false;
}

static bool check_accepted(call *c, const char *full, const field *f, const json_t *v) {
    const char *may = f->may;
    size_t n = json_string_length(v);
    if (!may)
        return true;
    if (strcmp(may, "texts") == 0)
        return check_texts(c, full, v);
    bool words = strchr(may, '|') != NULL, right = json_is_string(v);
    if (strcmp(may, "true or false") == 0)
        right = json_is_boolean(v);
    else if (strcmp(may, "an integer") == 0)
        right = json_is_number(v) && trunc(json_number_value(v)) == json_number_value(v);
    else if (strcmp(may, "a number") == 0)
        right = json_is_number(v);
    else if (strcmp(may, "an array") == 0)
        right = json_is_array(v);
    else if (strcmp(may, "an object") == 0)
        right = json_is_object(v);
    if (!right)
        return wrong_type(c, full, words ? "a string" : may, v);
    if (words && !is_among(may, json_string_value(v), n))
        return call_fail(c, 400, full, "invalid_value", "%s must be one of %s, not \"%.40s\"", full, may,
                         json_string_value(v));
    n = json_is_string(v) && f->max > 0 ? utf8_count(json_string_value(v), n) : 0;
    return (double)n <= f->max || call_fail(c, 400, full, "too_long",
                                            "%s has %zu characters, more than the %.0f it may have", full, n, f->max);
}

static bool read_refused(call *c, const char *full, const field *f, const json_t *v) {
    json_t *may = f->may ? json_loads(f->may, JSON_DECODE_ANY, NULL) : NULL;
    bool is_may = may && (json_is_number(may) && json_is_number(v) ? json_number_value(may) == json_number_value(v)
                                                                   : json_equal(may, v));
    json_decref(may);
    return is_may || call_fail(c, 400, full, "unsupported_parameter", "%s is not supported here%s%s", full,
                               f->may ? "; leave it out, or give " : "; leave it out", f->may ? f->may : "");
}

static bool read_field(call *c, const char *full, const field *f, const json_t *v, void *to) {
    switch (f->kind) {
    case FIELD_BOOL:
        if (!json_is_boolean(v))
            return wrong_type(c, full, "true or false", v);
        *(bool *)to = json_is_true(v);
        return true;
    case FIELD_U32:
    case FIELD_I64:
    case FIELD_F32: return read_number(c, full, f, v, to);
    case FIELD_STRING:
    case FIELD_TEXT: return read_text(c, full, f, v, to);
    case FIELD_ARRAY: return read_array(c, full, f, v, to);
    case FIELD_OBJECT:
        if (!json_is_object(v))
            return wrong_type(c, full, "an object", v);
        *(const json_t **)to = v;
        return true;
    case FIELD_JSON: *(const json_t **)to = v; return true;
    case FIELD_ACCEPTED: return check_accepted(c, full, f, v);
    case FIELD_REFUSED: return read_refused(c, full, f, v);
    }
    return true;
}

static const field *find_field(const field *table, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(table[i].name, name))
            return &table[i];
    return NULL;
}

bool call_read(call *c, const json_t *object, const char *where, const field *table, size_t n, void *out) {
    char full[128];
    const char *name;
    json_t *v;
    for (size_t i = 0; i < n; i++) {
        const json_t *given = json_object_get(object, table[i].name);
        if (!table[i].required || (given && !json_is_null(given)))
            continue;
        snprintf(full, sizeof full, "%s%s", where, table[i].name);
        return call_fail(c, 400, full, "missing_required_parameter", "%s is missing", full);
    }
    json_object_foreach(json_borrow(object), name, v) {
        const field *f = find_field(table, n, name);
        snprintf(full, sizeof full, "%s%.90s", where, name);
        if (!f)
            note_ignored(c, where, name);
        else if (!json_is_null(v) && !read_field(c, full, f, v, (char *)out + f->offset))
            return false;
    }
    return true;
}
