/* A tool that asks a server. Owns: how values become part of an address, a header or a body; which server may be asked;
 * what an answer may be. Refuses: an address whose host is not in `allow`, hosts in private networks unless named,
 * plain http unless said, redirects, answers that are neither JSON nor text, an answer that repeats the key.
 *
 * A write that is `idempotent` carries its call's id, the same in each attempt and after a crash, so that a server can
 * tell a repetition.
 *
 * The host is a literal of the definition, so no value can choose another; and the address that the host's name stands
 * for is looked at when it is connected to (net/http.c), so a name can't become a neighbour's between look and use. */
#include "agent/internal.h"
#include "agent/tool_text.h"

#include "base/utf8.h"
#include "net/http.h"
#include "net/url.h"

#include <stdio.h>
#include <strings.h>

#define HEADER_MAX_BYTES ((size_t)32 << 10)
#define KEY_MAX_BYTES ((size_t)4096)
#define MAX_HEADERS 16
#define CONNECT_MS 10000
#define IDEMPOTENCY_KEY "Idempotency-Key"

typedef struct http_header {
    const char *name;
    tool_text value;
} http_header;

typedef struct tool_http {
    const agent_env *env;
    const manifest *m;
    const manifest_tool *def;
    const char *method;
    const json_t *body; /* as in the definition; NULL: none */
    char *base;         /* scheme, host, port */
    tool_text url;      /* what follows */
    http_header headers[MAX_HEADERS];
    size_t n_headers;
    bool public_only, sends_id;
    char *key_path; /* NULL: none */
    const char *key_header, *key_prefix;
    http_client own; /* libcurl, opened at the first call where the environment has no client */
} tool_http;

static bool is_plain_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

/* ---- the address ---- */

/* A value of "..", also in pieces ("a/../b"), would name another place on servers that take %2F for a slash. */
static bool has_dots(const char *p, size_t n) {
    for (const char *end = p + n; p <= end;) {
        const char *part = p;
        while (p < end && *p != '/' && *p != '\\') {
            p++;
        }
        if ((p - part == 1 && part[0] == '.') || (p - part == 2 && part[0] == '.' && part[1] == '.')) {
            return true;
        }
        p++;
    }
    return false;
}

static bool encode_value(const char *name, const str *value, bool in_path, str *out, tool_run *run) {
    const char *p = str_get(value);
    if (!utf8_valid(p, value->len) || memchr(p, '\0', value->len)) {
        return tool_fail(run, "%.80s holds a NUL, which no address has", name);
    }
    if (in_path && value->len == 0) {
        return tool_fail(run, "%.80s is empty, and would name another place", name);
    }
    if (in_path && has_dots(p, value->len)) {
        return tool_fail(run, "%.80s holds '.' or '..' as a part, and would name another place", name);
    }
    for (size_t i = 0; i < value->len; i++) {
        if (is_plain_byte(p[i])) {
            str_append_c(out, p[i]);
        } else {
            str_printf(out, "%%%02X", (unsigned)(uint8_t)p[i]);
        }
    }
    return true;
}

static bool make_url(const tool_http *t, const tool_call *c, str *out, tool_run *run) {
    bool in_path = true, ok = true;
    str_append_s(out, t->base);
    for (size_t i = 0; ok && i < t->url.n_parts; i++) {
        const tool_text_part *p = &t->url.parts[i];
        str value = STR_INIT;
        str_append(out, p->literal.p, p->literal.n);
        in_path = in_path && !memchr(p->literal.p, '?', p->literal.n);
        if (p->name) {
            ok = tool_text_write_value(p, c, &value, run) && encode_value(p->name, &value, in_path, out, run);
        }
        ok = ok && (!value.failed || tool_fail(run, "out of memory"));
        str_release(&value);
    }
    if (!ok) {
        return false;
    }
    const char *path = str_get(out) + MIN(strlen(t->base), out->len);
    if (has_dots(path, strcspn(path, "?"))) { /* two values beside one another: ":a:b" */
        return tool_fail(run, "the address holds '.' or '..' as a part, and would name another place");
    }
    return out->failed ? tool_fail(run, "out of memory")
           : out->len > URL_MAX_BYTES
               ? tool_fail(run, "the address has more than %d bytes; shorten the values", URL_MAX_BYTES)
               : true;
}

/* ---- headers, key, body ---- */

static bool is_header_text(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)p[i] < 0x20 || (uint8_t)p[i] >= 0x7F) {
            return false;
        }
    }
    return true;
}

static bool make_header(const http_header *h, const tool_call *c, str *out, tool_run *run) {
    str_printf(out, "%s: ", h->name);
    size_t from = out->len;
    for (size_t i = 0; i < h->value.n_parts; i++) {
        const tool_text_part *p = &h->value.parts[i];
        str_append(out, p->literal.p, p->literal.n);
        if (p->name && !tool_text_write_value(p, c, out, run)) {
            return false;
        }
    }
    if (out->failed) {
        return tool_fail(run, "out of memory");
    }
    return is_header_text(out->data + from, out->len - from) ||
           tool_fail(run, "the header %.60s would hold what is no visible ASCII", h->name);
}

/* The file's one line. It is read anew for each call, so a new key needs no restart. */
static bool read_key(const tool_http *t, str *key, tool_run *run) {
    muga_error why;
    if (os_read_file(t->env->files, t->key_path, KEY_MAX_BYTES, key, &why) != MUGA_OK) {
        return tool_fail(run, "key_file: %s", why.message);
    }
    while (key->len > 0 && (key->data[key->len - 1] == '\n' || key->data[key->len - 1] == '\r')) {
        str_truncate(key, key->len - 1);
    }
    return (key->len > 0 && is_header_text(key->data, key->len)) ||
           tool_fail(run, "key_file %.150s must hold one line of visible ASCII: the key", t->key_path);
}

static void wipe(str *s) {
    if (s->data) {
        explicit_bzero(s->data, s->cap);
    }
    str_release(s);
}

/* The definition's body with each ":name" that is all of a text become the value itself, so numbers stay numbers; in a
 * longer text it is written out. NULL: failed, run says why. */
static json_t *make_body(const tool_http *t, const tool_call *c, const json_t *v, tool_run *run);

static json_t *make_text(const tool_http *t, const tool_call *c, const char *text, tool_run *run) {
    tool_setup setup = {.env = t->env, .m = t->m, .def = t->def};
    tool_text x;
    muga_error why;
    str out = STR_INIT;
    json_t *made = NULL;
    bool ok = tool_text_parse(&setup, "", text, &x, &why) == MUGA_OK || tool_fail(run, "%s", why.message);
    if (ok && tool_text_is_value(&x)) {
        const json_t *value = tool_text_value(&x.parts[0], c);
        made = value ? json_clone(value) : json_null();
    } else {
        for (size_t i = 0; ok && i < x.n_parts; i++) {
            str_append(&out, x.parts[i].literal.p, x.parts[i].literal.n);
            ok = !x.parts[i].name || tool_text_write_value(&x.parts[i], c, &out, run);
        }
        made = ok && !out.failed ? json_stringn(str_get(&out), out.len) : NULL;
    }
    if (ok && !made) {
        tool_fail(run, "out of memory");
    }
    str_release(&out);
    tool_text_release(&x);
    return made;
}

static json_t *make_members(const tool_http *t, const tool_call *c, const json_t *v, tool_run *run) {
    json_t *made = json_object();
    const char *key;
    json_t *sub;
    bool ok = made != NULL;
    json_object_foreach(json_borrow(v), key, sub) {
        ok = ok && json_object_set_new(made, key, make_body(t, c, sub, run)) == 0;
    }
    if (!ok) {
        json_decref(made);
        made = NULL;
    }
    return made;
}

static json_t *make_items(const tool_http *t, const tool_call *c, const json_t *v, tool_run *run) {
    json_t *made = json_array();
    bool ok = made != NULL;
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        ok = json_array_append_new(made, make_body(t, c, json_array_get(v, i), run)) == 0;
    }
    if (!ok) {
        json_decref(made);
        made = NULL;
    }
    return made;
}

static json_t *make_body(const tool_http *t, const tool_call *c, const json_t *v, tool_run *run) {
    json_t *made = json_is_string(v)   ? make_text(t, c, json_string_value(v), run)
                   : json_is_object(v) ? make_members(t, c, v, run)
                   : json_is_array(v)  ? make_items(t, c, v, run)
                                       : json_clone(v);
    if (!made && !run->reason[0]) {
        tool_fail(run, "out of memory");
    }
    return made;
}

/* ---- the answer ---- */

static bool take_piece(void *ctx, const http_reply *r, const char *p, size_t n) {
    str *body = ctx;
    (void)r;
    str_append(body, p, n);
    return !body->failed;
}

/* What a server says when it refuses, fit for one line. */
static void say_status(const http_reply *r, const str *body, tool_run *out) {
    bool later = r->status == 408 || r->status == 425 || r->status == 429 || r->status >= 500;
    char said[80];
    size_t n = 0;
    for (const char *p = str_get(body); n < sizeof said - 1 && *p && *p != '\n' && *p != '\r'; p++) {
        said[n++] = (uint8_t)*p >= 0x20 && (uint8_t)*p < 0x7F ? *p : '?';
    }
    said[n] = '\0';
    if (r->status >= 300 && r->status < 400) {
        tool_fail(out, "the server sends on (%d) to another address, and no redirect is followed; give that one",
                  r->status);
    } else {
        tool_fail(out, "the server answered %d%s%s", r->status, n ? ": " : "", said);
    }
    out->final = !later;
}

/* {"status": 200, "body": JSON or text} */
static bool read_answer(const tool_http *t, const http_reply *r, const str *body, tool_run *out) {
    const char *type = r->content_type;
    json_t *v = NULL;
    muga_error why;
    if (body->len == 0) {
        v = json_null();
    } else if (strcmp(type, "application/json") == 0 || string_ends_with(type, "+json")) {
        if (json_parse(str_get(body), body->len, "answer", &v, &why) != MUGA_OK) {
            return tool_fail(out, "the server's JSON can't be read: %.180s", why.message);
        }
    } else if (strncmp(type, "text/", 5) == 0) {
        if (!utf8_valid(str_get(body), body->len) || memchr(str_get(body), '\0', body->len)) {
            return tool_fail(out, "the server's text is not UTF-8");
        }
        v = json_stringn(str_get(body), body->len);
    } else {
        return tool_fail(out, "the server's answer is %.60s; only JSON and text are taken",
                         *type ? type : "of no type that it names");
    }
    json_t *result = v ? json_pack("{s:i, s:o}", "status", r->status, "body", v) : NULL;
    return tool_give(out, t->def, result);
}

/* A request that may have reached the server may have done its work. */
static bool may_have_run(const tool_http *t, http_end end) {
    return t->def->effect == EFFECT_WRITE && !t->def->idempotent && end != HTTP_CONNECT && end != HTTP_PRIVATE &&
           end != HTTP_TLS;
}

static void ask(tool_http *t, const http_client *client, http_request *q, const str *key, tool_run *out) {
    str body = STR_INIT;
    http_reply r;
    muga_error why;
    q->on_body = take_piece;
    q->ctx = &body;
    muga_status st = client->exchange(client->self, q, &r, &why);
    if (r.end == HTTP_PRIVATE) {
        tool_fail(out, "%.170s; name it in allow_private if that is meant", why.message);
        out->final = true;
    } else if (st != MUGA_OK || r.end != HTTP_WHOLE || body.failed) {
        tool_fail(out, "%s",
                  st == MUGA_E_LIMIT ? "the server's answer is too long (max_result_bytes)"
                  : st != MUGA_OK    ? why.message
                                     : "out of memory");
        out->in_doubt = may_have_run(t, r.end);
    } else if (key->len > 0 && memmem(str_get(&body), body.len, key->data, key->len)) {
        tool_fail(out, "the server's answer repeats the key, and is not kept");
        out->in_doubt = r.status < 300 && may_have_run(t, r.end);
        out->final = true;
    } else if (r.status < 200 || r.status > 299) {
        say_status(&r, &body, out);
    } else if (!read_answer(t, &r, &body, out)) {
        out->in_doubt = may_have_run(t, r.end);
        out->final = true;
    }
    wipe(&body);
}

/* ---- running ---- */

typedef struct parts { /* of one request */
    str url, key, body, lines[MAX_HEADERS + 3];
    const char *headers[MAX_HEADERS + 3];
    size_t n_headers;
} parts;

static bool make_parts(const tool_http *t, const tool_call *c, parts *x, tool_run *run) {
    bool ok = make_url(t, c, &x->url, run);
    for (size_t i = 0; ok && i < t->n_headers; i++) {
        ok = make_header(&t->headers[i], c, &x->lines[x->n_headers++], run);
    }
    if (ok && t->key_path && (ok = read_key(t, &x->key, run))) {
        str_printf(&x->lines[x->n_headers++], "%s: %s%s", t->key_header, t->key_prefix, str_get(&x->key));
    }
    if (ok && t->sends_id) {
        str_printf(&x->lines[x->n_headers++], IDEMPOTENCY_KEY ": %s", c->id);
    }
    if (ok && t->body) {
        json_t *v = make_body(t, c, t->body, run);
        ok = v != NULL;
        if (ok) {
            json_write(v, &x->body);
            str_append_s(&x->lines[x->n_headers++], "Content-Type: application/json");
        }
        json_decref(v);
    }
    for (size_t i = 0; ok && i < x->n_headers; i++) {
        x->headers[i] = str_get(&x->lines[i]);
        ok = !x->lines[i].failed || tool_fail(run, "out of memory");
    }
    return ok && (!x->body.failed || tool_fail(run, "out of memory"));
}

static const http_client *find_client(tool_http *t, tool_run *run) {
    if (t->env->http) {
        return t->env->http;
    }
    muga_error why;
    http_options o = {.clock = t->env->clock};
    if (!t->own.exchange && http_open(&o, &t->own, &why) != MUGA_OK) {
        tool_fail(run, "%s", why.message);
        return NULL;
    }
    return &t->own;
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    tool_http *t = tool;
    parts x = {.n_headers = 0};
    const http_client *client = make_parts(t, c, &x, out) ? find_client(t, out) : NULL;
    out->final = !client; /* the same values would fail the same */
    if (client) {
        uint32_t total_ms = (uint32_t)t->def->timeout_ms;
        http_request q = {.url = str_get(&x.url),
                          .method = t->method,
                          .public_only = t->public_only,
                          .headers = x.headers,
                          .n_headers = x.n_headers,
                          .body = t->body ? str_get(&x.body) : NULL,
                          .n_body = x.body.len,
                          .connect_ms = MIN(total_ms, (uint32_t)CONNECT_MS),
                          .idle_ms = total_ms,
                          .total_ms = total_ms,
                          .max_header_bytes = HEADER_MAX_BYTES,
                          .max_body_bytes = t->def->max_result_bytes};
        ask(t, client, &q, &x.key, out);
    }
    str_release(&x.url);
    str_release(&x.body);
    wipe(&x.key);
    for (size_t i = 0; i < x.n_headers; i++) {
        wipe(&x.lines[i]);
    }
}

static muga_status settle_call(void *tool, const tool_call *c, const json_t *prepared, tool_settled *settled,
                               json_t **result, muga_error *err) {
    const tool_http *t = tool;
    if (t->def->effect == EFFECT_READ) {
        return tool_settle_read(tool, c, prepared, settled, result, err);
    }
    *result = NULL;
    *settled = SETTLED_UNKNOWN; /* only the server knows */
    return MUGA_OK;
}

/* ---- opening ---- */

static void close_tool(void *tool) {
    tool_http *t = tool;
    if (t) {
        http_close(&t->own);
        free(t->base);
        tool_text_release(&t->url);
        for (size_t i = 0; i < t->n_headers; i++) {
            tool_text_release(&t->headers[i].value);
        }
        free(t->key_path);
        free(t);
    }
}

static bool lists(const json_t *names, span host) {
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (strlen(name) == host.n && strncasecmp(name, host.p, host.n) == 0) {
            return true;
        }
    }
    return false;
}

/* Scheme, host and port: up to the first '/' or '?' behind "://". No value is looked for there. */
static muga_status check_base(tool_setup *s, tool_http *t, const json_t *v, muga_error *err) {
    muga_error why;
    url u;
    muga_status st = url_parse(t->base, &u, &why);
    if (st != MUGA_OK) {
        return tool_fault(s, "/http/url", err, "%.180s; scheme, host and port hold no values", why.message);
    }
    if (!lists(json_object_get(v, "allow"), u.host)) {
        return tool_fault(s, "/http/allow", err, "does not hold the address's host, %.*s; add it",
                          (int)MIN(u.host.n, 100u), u.host.p);
    }
    t->public_only = !lists(json_object_get(v, "allow_private"), u.host);
    bool open_way = !u.tls && t->public_only;
    if (open_way && !json_get_bool(v, "plain", false)) {
        return tool_fault(s, "/http/url", err,
                          "plain http can be read and changed on the way; use https, or say plain: true");
    }
    return open_way && json_object_get(v, "key_file")
               ? tool_fault(s, "/http/key_file", err, "a key goes over https only")
               : MUGA_OK;
}

static muga_status check_url(tool_setup *s, tool_http *t, const json_t *v, muga_error *err) {
    const char *text = json_get_string(v, "url");
    for (const char *p = text; *p; p++) {
        if (*p <= ' ' || (uint8_t)*p >= 0x7F || strchr("\"\\#<>{}|^`", *p)) {
            return tool_fault(s, "/http/url", err,
                              "holds a blank, a '#' or another byte that no address has; write it "
                              "as %%20");
        }
    }
    const char *host = strstr(text, "://"), *rest = host ? host + 3 : text;
    rest += strcspn(rest, "/?");
    t->base = mem_copy_bytes(text, (size_t)(rest - text));
    if (!t->base) {
        return error_nomem(err, "a tool");
    }
    muga_status st = check_base(s, t, v, err);
    return st == MUGA_OK ? tool_text_parse(s, "/http/url", rest, &t->url, err) : st;
}

static muga_status check_headers(tool_setup *s, tool_http *t, const json_t *v, muga_error *err) {
    static const char *const ours[] = {
        "host", "content-length", "transfer-encoding", "connection", "expect", "content-type",
        "te",   "trailer",        "upgrade",           "cookie"};
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(v, "headers"), name, value) {
        for (const char *p = name; *p; p++) {
            if (!is_plain_byte(*p)) {
                return tool_fault(s, "/http/headers", err, "'%.60s' is no header's name", name);
            }
        }
        for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
            if (strcasecmp(name, ours[i]) == 0) {
                return tool_fault(s, "/http/headers", err, "%.60s is set by muga; remove it", name);
            }
        }
        http_header *h = &t->headers[t->n_headers++]; /* the schema holds them to MAX_HEADERS */
        h->name = name;
        t->sends_id = t->sends_id && strcasecmp(name, IDEMPOTENCY_KEY) != 0; /* the author's own */
        muga_status st = tool_text_parse(s, "/http/headers", json_string_value(value), &h->value, err);
        if (st != MUGA_OK) {
            return st;
        }
    }
    return MUGA_OK;
}

static muga_status check_key(tool_setup *s, tool_http *t, const json_t *v, muga_error *err) {
    const char *file = json_get_string(v, "key_file"), *header = json_get_string(v, "key_header"),
               *prefix = json_get_string(v, "key_prefix");
    if (!file) {
        return header || prefix ? tool_fault(s, header ? "/http/key_header" : "/http/key_prefix", err,
                                             "needs key_file: where the key is")
                                : MUGA_OK;
    }
    if (file[0] != '/' && strstr(file, "..")) {
        return tool_fault(s, "/http/key_file", err, "must lie in the agent's data folder, or be an absolute path");
    }
    t->key_header = header ? header : "Authorization";
    t->key_prefix = prefix ? prefix : header ? "" : "Bearer ";
    str path = STR_INIT;
    str_printf(&path, "%s%s%s", file[0] == '/' ? "" : s->m->data_dir, file[0] == '/' ? "" : "/", file);
    t->key_path = str_take(&path);
    return t->key_path ? MUGA_OK : error_nomem(err, "a path");
}

/* Every text of the body names what there is. */
static muga_status check_body(tool_setup *s, const json_t *v, muga_error *err) {
    const char *key;
    json_t *sub;
    muga_status st = MUGA_OK;
    if (json_is_string(v)) {
        tool_text x;
        st = strlen(json_string_value(v)) == json_string_length(v)
                 ? tool_text_parse(s, "/http/body", json_string_value(v), &x, err)
                 : tool_fault(s, "/http/body", err, "holds a NUL");
        if (strlen(json_string_value(v)) == json_string_length(v)) {
            tool_text_release(&x);
        }
    }
    json_object_foreach(json_borrow(v), key, sub) {
        st = st == MUGA_OK ? check_body(s, sub, err) : st;
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
        st = check_body(s, json_array_get(v, i), err);
    }
    return st;
}

static muga_status check_method(tool_setup *s, const tool_http *t, muga_error *err) {
    bool get = strcmp(t->method, "GET") == 0, post = strcmp(t->method, "POST") == 0;
    if (!get && !post && s->def->effect == EFFECT_READ) {
        return tool_fault(s, "/effect", err, "method %s changes something; say effect: write", t->method);
    }
    return get && t->body ? tool_fault(s, "/http/body", err, "a GET has no body; use POST, or values in the url")
                          : MUGA_OK;
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    const json_t *v = json_object_get(s->def->json, "http");
    const char *method = json_get_string(v, "method");
    tool_http *t = calloc(1, sizeof *t);
    if (!t) {
        return error_nomem(err, "a tool");
    }
    t->env = s->env;
    t->m = s->m;
    t->def = s->def;
    t->method = method ? method : "GET";
    t->body = json_object_get(v, "body");
    t->sends_id = s->def->effect == EFFECT_WRITE && s->def->idempotent;
    muga_status st = check_method(s, t, err);
    if (st == MUGA_OK) {
        st = check_url(s, t, v, err);
    }
    if (st == MUGA_OK) {
        st = check_headers(s, t, v, err);
    }
    if (st == MUGA_OK) {
        st = check_key(s, t, v, err);
    }
    if (st == MUGA_OK && t->body) {
        st = check_body(s, t->body, err);
    }
    if (st == MUGA_OK) {
        *out = t;
    } else {
        close_tool(t);
    }
    return st;
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char http_schema[] =
    "{\n"
    "            \"type\": \"object\", \"required\": [\"url\", \"allow\"], \"additionalProperties\": false,\n"
    "            \"properties\": {\n"
    "              \"url\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 2000, \"description\": "
    "\"https://host/path/:name?q=:session_name; values are percent-encoded\"},\n"
    "              \"method\": {\"enum\": [\"GET\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\"]},\n"
    "              \"allow\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 32, \"items\": {\"type\": "
    "\"string\", \"minLength\": 1, \"maxLength\": 253}, \"description\": \"the hosts that may be asked\"},\n"
    "              \"allow_private\": {\"type\": \"array\", \"maxItems\": 32, \"items\": {\"type\": \"string\", "
    "\"minLength\": 1, \"maxLength\": 253}, \"description\": \"those that may lie in this machine or a private "
    "network\"},\n"
    "              \"plain\": {\"type\": \"boolean\", \"description\": \"plain http to a public host\"},\n"
    "              \"headers\": {\"type\": \"object\", \"maxProperties\": 16, \"additionalProperties\": {\"type\": "
    "\"string\", \"maxLength\": 1000}},\n"
    "              \"key_file\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, \"description\": \"a "
    "file with the key, in the agent's data folder or by an absolute path\"},\n"
    "              \"key_header\": {\"type\": \"string\", \"pattern\": \"^[A-Za-z0-9-]{1,64}$\"},\n"
    "              \"key_prefix\": {\"type\": \"string\", \"pattern\": \"^[ -~]{0,64}$\"},\n"
    "              \"body\": {\"type\": [\"object\", \"array\"], \"description\": \"JSON; a text that is ':name' "
    "becomes that value\"}\n"
    "            }\n"
    "          }";

const tool_kind tool_kind_http = {.keys = {{"http", http_schema}},
                                  .leaves_machine = true,
                                  .untrusted = true,
                                  .open = open_tool,
                                  .run = run_call,
                                  .settle = settle_call,
                                  .close = close_tool};
