/* Requests out of bytes. Its one idea: a line is copied until it is whole, and judged whole, so that nothing depends on
 * how the bytes came; names and values are then cut out of that copy in place, and pointers are made when it grows no
 * more. The body is handed on without a copy. */
#include "net/request.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <strings.h>

enum { AT_START, AT_LINE, AT_FIELD, AT_LENGTH, AT_SIZE, AT_CHUNK, AT_CHUNK_END, AT_TRAILER, AT_DONE, AT_BAD };

#define METHOD_MAX 16
#define CHUNK_LINE_MAX 1024
#define FIRST_FIELDS 16 /* as many as most have; grows by doubling */

/* ---- characters ---- */

static bool is_letter(unsigned char c) {
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}
static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}
static bool is_token_char(unsigned char c) {
    return is_letter(c) || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}
/* Unreserved, delimiters and '%' of RFC 3986, '/' and '?' with them. */
static bool is_target_char(unsigned char c) {
    return is_letter(c) || is_digit(c) || (c && strchr("-._~%!$&'()*+,;=:@/?", c));
}
static int hex_value(unsigned char c) {
    return is_digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}
static bool has_control(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

bool request_is_token(const char *text) {
    const char *p = text;
    while (is_token_char((unsigned char)*p))
        p++;
    return p > text && !*p;
}

bool request_list_has(const char *list, const char *word) {
    size_t n_word = strlen(word);
    for (const char *p = list; *p;) {
        p += strspn(p, " \t,");
        size_t n = strcspn(p, ","), bare = n;
        while (bare > 0 && (p[bare - 1] == ' ' || p[bare - 1] == '\t'))
            bare--;
        if (bare == n_word && strncasecmp(p, word, n_word) == 0)
            return true;
        p += n;
    }
    return false;
}

/* ---- life ---- */

void request_init(request *r, const request_limits *limits, size_t body_bytes) {
    *r = (request){.limits = *limits, .max_body = body_bytes};
    r->head.body = "";
    str_init(&r->text, limits->head_bytes + limits->target_bytes + 64);
    str_init(&r->line, MAX(limits->line_bytes, (size_t)CHUNK_LINE_MAX) + 2);
}

void request_release(request *r) {
    str_release(&r->text);
    str_release(&r->line);
    free(r->path);
    free(r->fields);
    free(r->headers);
    r->path = NULL;
    r->fields = NULL;
    r->headers = NULL;
    r->head = (server_request){.body = ""};
    r->host = NULL;
}

void request_limit_body(request *r, uint64_t bytes) {
    r->max_body = bytes;
}

bool request_has_body(const request *r) {
    return r->state == AT_SIZE || (r->state == AT_LENGTH && r->n_left > 0);
}

bool request_has_begun(const request *r) {
    return r->state != AT_START || r->text.len > 0;
}

static request_step bad(request *r, int status, const char *why) {
    r->state = AT_BAD;
    r->status = status;
    r->why = why;
    return REQUEST_BAD;
}

static request_step bad_memory(request *r) {
    return bad(r, 503, "no memory for this request; ask again later");
}

/* ---- lines ---- */

/* The limit of a line that hasn't ended, its CRLF left out, with what is said when it is passed. */
typedef struct bound {
    size_t bytes;
    int status;
    const char *why;
} bound;

/* Appends to *to up to the line's end. REQUEST_DONE: the line is whole; [*line, +*n_line) without CRLF, terminated. */
static request_step take_line(request *r, str *to, size_t from, bound b, span *in, span *line) {
    const char *end = memchr(in->p, '\n', in->n);
    size_t n = end ? (size_t)(end - in->p) + 1 : in->n;
    /* what the line may still take before its limit is passed: a CR may stand behind it, and the LF */
    size_t have = to->len - from, room = b.bytes + 2 - have;
    if (n > room || (n == room && !end)) {
        in->p += MIN(n, room);
        in->n -= MIN(n, room);
        return bad(r, b.status, b.why);
    }
    str_append(to, in->p, n);
    in->p += n;
    in->n -= n;
    if (to->failed)
        return bad_memory(r);
    if (!end)
        return REQUEST_MORE;
    size_t len = to->len - from;
    char *p = to->data + from;
    if (len < 2 || p[len - 2] != '\r')
        return bad(r, 400, "a line that ends in LF alone; lines end in CRLF");
    p[len - 2] = 0;
    *line = span_of(p, len - 2);
    if (has_control(p, len - 2))
        return bad(r, 400, "a control character in the request's head");
    return REQUEST_DONE;
}

/* ---- the request line ---- */

/* Decodes [p, p+n) into r->path; false: it isn't a path that is served, and why is set. */
static bool decode_path(request *r, const char *p, size_t n) {
    char *out = malloc(n + 1);
    size_t k = 0;
    if (!out) {
        bad_memory(r);
        return false;
    }
    r->path = out;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)p[i];
        if (c == '%') {
            int high = i + 2 < n ? hex_value((unsigned char)p[i + 1]) : -1;
            int low = i + 2 < n ? hex_value((unsigned char)p[i + 2]) : -1;
            if (high < 0 || low < 0) {
                bad(r, 400, "'%' without two hexadecimal digits in the target");
                return false;
            }
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f) {
            bad(r, 400, "a control character in the target");
            return false;
        }
        out[k++] = (char)c;
    }
    out[k] = 0;
    if (!utf8_valid(out, k)) {
        bad(r, 400, "a target that is not UTF-8");
        return false;
    }
    for (const char *part = out; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t len = strcspn(part, "/");
        if ((len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.')) {
            bad(r, 400, "'.' or '..' in the target");
            return false;
        }
    }
    r->head.path = out;
    return true;
}

/* host[:port] as a URI has it: a name, an IPv4 address, or an IPv6 one in brackets. Nothing else is told from it
 * here. */
static bool is_authority(const char *p, size_t n) {
    size_t i = 0;
    if (n > 0 && p[0] == '[') {
        for (i = 1; i < n && (hex_value((unsigned char)p[i]) >= 0 || p[i] == ':' || p[i] == '.'); i++)
            ;
        if (i < 4 || i == n || p[i++] != ']')
            return false;
    } else {
        while (i < n && (is_letter((unsigned char)p[i]) || is_digit((unsigned char)p[i]) || strchr("-._~", p[i])))
            i++;
        if (i == 0)
            return false;
    }
    if (i < n && p[i++] != ':')
        return false;
    size_t port = i;
    while (i < n && is_digit((unsigned char)p[i]))
        i++;
    return i == n && i - port <= 5;
}

/* "http://authority/path" -> "/path", the authority kept as host. */
static bool strip_authority(request *r, char **target) {
    char *p = *target;
    p += strncasecmp(p, "https://", 8) == 0 ? 8 : 7;
    size_t n = strcspn(p, "/?");
    if (!is_authority(p, n)) {
        bad(r, 400, "a target that is neither a path nor a URL of http");
        return false;
    }
    /* it moves to the left by one, so that there is room for its end */
    memmove(p - 1, p, n);
    p[n - 1] = 0;
    r->host = p - 1;
    *target = p + n;
    return true;
}

static bool read_target(request *r, char *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool bracket = (target[i] == '[' || target[i] == ']') && target[0] != '/';
        if (!is_target_char((unsigned char)target[i]) && !bracket) {
            bad(r, 400, "a character in the target that must be percent-encoded");
            return false;
        }
    }
    if (strcmp(target, "*") == 0 && strcmp(r->head.method, "OPTIONS") == 0) {
        r->head.path = "*";
        r->head.query = "";
        return true;
    }
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        if (!strip_authority(r, &target))
            return false;
    } else if (target[0] != '/') {
        bad(r, 400, "a target that is neither a path nor a URL of http");
        return false;
    }
    size_t n_path = strcspn(target, "?");
    r->head.query = target[n_path] ? target + n_path + 1 : "";
    if (n_path == 0)
        return decode_path(r, "/", 1);
    return decode_path(r, target, n_path);
}

static request_step read_version(request *r, const char *v) {
    if (strcmp(v, "HTTP/1.1") == 0 || strcmp(v, "HTTP/1.0") == 0) {
        r->is_old = v[7] == '0';
        return REQUEST_DONE;
    }
    if (strncmp(v, "HTTP/", 5) == 0 && is_digit((unsigned char)v[5]) && v[6] == '.' && is_digit((unsigned char)v[7]) &&
        !v[8])
        return bad(r, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    return bad(r, 400, "a first line that is not 'METHOD target HTTP/1.1'");
}

/* The line lies at the beginning of text, which grows later: pointers into it are made again in finish_head, by the
 * offsets that target_at and the method's length give. */
static request_step read_request_line(request *r, span line) {
    char *p = r->text.data, *first = memchr(p, ' ', line.n), *last = first ? strrchr(p, ' ') : NULL;
    size_t n_method = 0;
    while (is_letter((unsigned char)p[n_method]))
        n_method++;
    if (!first || last == first || p + n_method != first || memchr(first + 1, ' ', (size_t)(last - first - 1)) ||
        last == first + 1)
        return bad(r, 400, "a first line that is not 'METHOD target HTTP/1.1'");
    if (n_method > METHOD_MAX)
        return bad(r, 501, "a method that is not known here");
    if ((size_t)(last - first - 1) > r->limits.target_bytes)
        return bad(r, 414, "the target is too long");
    if (read_version(r, last + 1) == REQUEST_BAD)
        return REQUEST_BAD;
    *first = 0;
    *last = 0;
    r->state = AT_FIELD;
    r->line_at = r->text.len;
    if (strcmp(p, "CONNECT") == 0)
        return bad(r, 501, "this server is no proxy: CONNECT is not known here");
    return REQUEST_DONE;
}

/* ---- headers ---- */

static bool grow_fields(request *r) {
    size_t cap = r->n_fields < FIRST_FIELDS ? FIRST_FIELDS : 2 * r->n_fields;
    if (r->n_fields != 0 && (r->n_fields < FIRST_FIELDS || (r->n_fields & (r->n_fields - 1)) != 0))
        return true;
    request_field *f = mem_resize_array(r->fields, cap, sizeof *f);
    if (f)
        r->fields = f;
    return f != NULL;
}

/* "Name: value" is cut in place: the name in small letters, the value without blanks around it, both terminated. */
static bool cut_field(request *r, char *p, size_t n, char **value) {
    char *colon = memchr(p, ':', n);
    if (p[0] == ' ' || p[0] == '\t') {
        bad(r, 400, "a folded header line");
        return false;
    }
    if (!colon || colon == p) {
        bad(r, 400, "a header line without a name and a colon");
        return false;
    }
    *colon = 0;
    if (!request_is_token(p)) {
        bad(r, 400, "a header's name with a blank or another character that names don't have");
        return false;
    }
    for (char *c = p; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
    char *from = colon + 1, *end = p + n;
    from += strspn(from, " \t");
    while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = 0;
    *value = from;
    return true;
}

static request_step read_field(request *r, span line) {
    char *p = r->text.data + r->line_at, *value = NULL;
    if (r->n_fields == r->limits.n_headers)
        return bad(r, 431, "too many headers");
    if (!cut_field(r, p, line.n, &value))
        return REQUEST_BAD;
    if (!grow_fields(r))
        return bad_memory(r);
    r->fields[r->n_fields++] =
        (request_field){.name = (uint32_t)(p - r->text.data), .value = (uint32_t)(value - r->text.data)};
    r->line_at = r->text.len;
    return REQUEST_DONE;
}

/* ---- the whole head ---- */

/* A header that means something only once: its value, NULL where it is missing; false where there are two. */
static bool get_single(const request *r, const char *name, const char **value) {
    *value = NULL;
    for (size_t i = 0; i < r->n_fields; i++) {
        if (strcmp(r->headers[i].name, name) != 0)
            continue;
        if (*value)
            return false;
        *value = r->headers[i].value;
    }
    return true;
}

static request_step read_length(request *r, const char *v) {
    uint64_t n = 0;
    const char *p = v;
    for (; is_digit((unsigned char)*p); p++)
        if (!u64_mul(n, 10, &n) || !u64_add(n, (uint64_t)(*p - '0'), &n))
            return bad(r, 413, "the body is too large");
    if (p == v || *p)
        return bad(r, 400, "a Content-Length that is not a number");
    if (n == UINT64_MAX)
        return bad(r, 413, "the body is too large");
    r->head.n_content = r->n_left = n;
    return REQUEST_DONE;
}

static request_step read_coding(request *r, const char *v) {
    if (r->is_old)
        return bad(r, 400, "Transfer-Encoding in a request of HTTP/1.0");
    if (strcasecmp(v, "chunked") != 0)
        return request_list_has(v, "chunked") || !*v ? bad(r, 400, "a Transfer-Encoding other than 'chunked' alone")
                                                     : bad(r, 501, "a Transfer-Encoding other than 'chunked'");
    r->head.n_content = UINT64_MAX;
    return REQUEST_DONE;
}

static request_step read_framing(request *r) {
    const char *length = NULL, *coding = NULL;
    if (!get_single(r, "content-length", &length))
        return bad(r, 400, "two Content-Lengths");
    if (!get_single(r, "transfer-encoding", &coding))
        return bad(r, 400, "two Transfer-Encodings");
    if (length && coding)
        return bad(r, 400, "Content-Length beside Transfer-Encoding");
    r->state = AT_LENGTH;
    if (length && read_length(r, length) == REQUEST_BAD)
        return REQUEST_BAD;
    if (coding && read_coding(r, coding) == REQUEST_BAD)
        return REQUEST_BAD;
    if (coding)
        r->state = AT_SIZE;
    return REQUEST_DONE;
}

static request_step read_host(request *r) {
    const char *host = NULL;
    if (!get_single(r, "host", &host))
        return bad(r, 400, "two Host headers");
    if (!host && !r->is_old)
        return bad(r, 400, "no Host header");
    if (host && !is_authority(host, strlen(host)))
        return bad(r, 400, "a Host header that names no host");
    if (host && r->host && strcasecmp(host, r->host) != 0)
        return bad(r, 400, "a Host header that is another than the target's host");
    r->host = host ? host : r->host;
    return REQUEST_DONE;
}

static request_step read_connection(request *r) {
    const char *expect = NULL, *once = NULL;
    static const char *const single[] = {"origin", "authorization", "content-type", "access-control-request-method"};
    r->keep_alive = !r->is_old;
    for (size_t i = 0; i < r->n_fields; i++)
        if (strcmp(r->headers[i].name, "connection") == 0 && r->is_old)
            r->keep_alive |= request_list_has(r->headers[i].value, "keep-alive");
    for (size_t i = 0; i < r->n_fields; i++)
        if (strcmp(r->headers[i].name, "connection") == 0 && request_list_has(r->headers[i].value, "close"))
            r->keep_alive = false;
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        if (!get_single(r, single[i], &once))
            return bad(r, 400, "a header twice that may come once");
    if (!get_single(r, "expect", &expect) || (expect && strcasecmp(expect, "100-continue") != 0))
        return bad(r, 417, "an Expect other than 100-continue");
    r->expects_continue = expect && !r->is_old && request_has_body(r);
    return REQUEST_DONE;
}

/* text is whole: pointers into it last now. */
static request_step finish_head(request *r) {
    char *method = r->text.data, *target = method + strlen(method) + 1;
    size_t n_target = strlen(target);
    r->headers = mem_alloc_array(r->n_fields, sizeof *r->headers);
    if (!r->headers)
        return bad_memory(r);
    for (size_t i = 0; i < r->n_fields; i++)
        r->headers[i] = (server_header){method + r->fields[i].name, method + r->fields[i].value};
    r->head.headers = r->headers;
    r->head.n_headers = r->n_fields;
    r->head.method = method;
    if (!read_target(r, target, n_target) || read_host(r) == REQUEST_BAD || read_framing(r) == REQUEST_BAD ||
        read_connection(r) == REQUEST_BAD)
        return REQUEST_BAD;
    return REQUEST_HEAD;
}

static request_step feed_head(request *r, span *in) {
    static const bound line_bound = {0, 414, "the first line is too long"};
    static const bound field_bound = {0, 431, "a header line is too long"};
    span line = {NULL, 0};
    bound b = r->state == AT_LINE ? line_bound : field_bound;
    b.bytes = r->state == AT_LINE ? r->limits.target_bytes + METHOD_MAX + 16 : r->limits.line_bytes;
    if (r->state == AT_FIELD) {
        size_t left = r->line_at < r->limits.head_bytes ? r->limits.head_bytes - r->line_at : 0;
        if (left < b.bytes)
            b = (bound){left, 431, "the headers are too long together"};
    }
    request_step step = take_line(r, &r->text, r->line_at, b, in, &line);
    if (step != REQUEST_DONE)
        return step;
    if (r->state == AT_LINE)
        return read_request_line(r, line);
    return line.n == 0 ? finish_head(r) : read_field(r, line);
}

/* An empty line before a request is skipped, once (RFC 9112, 2.2). */
static request_step feed_start(request *r, span *in) {
    while (in->n > 0) {
        char c = *in->p;
        if (r->text.len == 0 && is_letter((unsigned char)c)) {
            r->state = AT_LINE;
            return REQUEST_DONE;
        }
        if (r->text.len == 0 && (c != '\r' || r->skipped_line))
            return bad(r, 400, "a first line that is not 'METHOD target HTTP/1.1'");
        if (r->text.len == 1 && c != '\n')
            return bad(r, 400, "a CR without an LF");
        in->p++;
        in->n--;
        if (r->text.len == 1) {
            str_clear(&r->text);
            r->skipped_line = true;
        } else {
            str_append_c(&r->text, c);
        }
        if (r->text.failed)
            return bad_memory(r);
    }
    return REQUEST_MORE;
}

/* ---- the body ---- */

static request_step give_body(request *r, span *in, span *piece) {
    size_t n = r->n_left < in->n ? (size_t)r->n_left : in->n;
    *piece = span_of(in->p, n);
    in->p += n;
    in->n -= n;
    r->n_left -= n;
    return REQUEST_BODY;
}

/* chunk-size [ chunk-ext ]: hexadecimal digits and nothing else before ';' or the line's end. */
static request_step read_chunk_size(request *r, span line) {
    uint64_t n = 0;
    size_t i = 0;
    for (; i < line.n && hex_value((unsigned char)line.p[i]) >= 0; i++)
        if (!u64_mul(n, 16, &n) || !u64_add(n, (uint64_t)hex_value((unsigned char)line.p[i]), &n))
            return bad(r, 413, "the body is too large");
    if (i == 0 || (i < line.n && line.p[i] != ';'))
        return bad(r, 400, "a chunk size that is not a hexadecimal number");
    r->n_extra += line.n - i;
    if (r->n_extra > r->limits.head_bytes)
        return bad(r, 400, "too many chunk extensions");
    if (!u64_add(r->n_body, n, &r->n_body) || r->n_body > r->max_body)
        return bad(r, 413, "the body is too large");
    r->n_left = n;
    r->state = n > 0 ? AT_CHUNK : AT_TRAILER;
    return REQUEST_DONE;
}

/* Trailers are judged like headers and dropped. */
static request_step read_trailer(request *r, span line) {
    char *value = NULL;
    if (line.n == 0) {
        r->state = AT_DONE;
        return REQUEST_DONE;
    }
    r->n_extra += line.n;
    if (++r->n_trailers > r->limits.n_headers || r->n_extra > r->limits.head_bytes)
        return bad(r, 431, "too many trailers");
    return cut_field(r, r->line.data, line.n, &value) ? REQUEST_DONE : REQUEST_BAD;
}

static request_step feed_chunk_line(request *r, span *in) {
    span line = {NULL, 0};
    bound size_bound = {CHUNK_LINE_MAX, 400, "a chunk's first line is too long"};
    bound trailer_bound = {r->limits.line_bytes, 431, "a trailer is too long"};
    request_step step = take_line(r, &r->line, 0, r->state == AT_SIZE ? size_bound : trailer_bound, in, &line);
    if (step != REQUEST_DONE)
        return step;
    step = r->state == AT_SIZE ? read_chunk_size(r, line) : read_trailer(r, line);
    str_clear(&r->line);
    return step;
}

static request_step feed_chunk_end(request *r, span *in) {
    static const char crlf[] = "\r\n";
    for (; in->n > 0 && r->line.len < 2; in->p++, in->n--) {
        if (*in->p != crlf[r->line.len])
            return bad(r, 400, "a chunk that doesn't end where its size says");
        str_append_c(&r->line, *in->p);
        if (r->line.failed)
            return bad_memory(r);
    }
    if (r->line.len < 2)
        return REQUEST_MORE;
    str_clear(&r->line);
    r->state = AT_SIZE;
    return REQUEST_DONE;
}

static request_step feed_length(request *r, span *in, span *piece) {
    if (r->n_body == 0 && r->n_left > r->max_body)
        return bad(r, 413, "the body is too large");
    r->n_body = r->head.n_content;
    if (r->n_left == 0)
        r->state = AT_DONE;
    else if (in->n == 0)
        return REQUEST_MORE;
    else
        return give_body(r, in, piece);
    return REQUEST_DONE;
}

static request_step feed_chunk(request *r, span *in, span *piece) {
    if (r->n_left == 0) {
        r->state = AT_CHUNK_END;
        return REQUEST_DONE;
    }
    return in->n > 0 ? give_body(r, in, piece) : REQUEST_MORE;
}

static request_step feed_once(request *r, span *in, span *piece) {
    switch (r->state) {
    case AT_START: return feed_start(r, in);
    case AT_LINE:
    case AT_FIELD: return in->n > 0 ? feed_head(r, in) : REQUEST_MORE;
    case AT_LENGTH: return feed_length(r, in, piece);
    case AT_SIZE:
    case AT_TRAILER: return in->n > 0 ? feed_chunk_line(r, in) : REQUEST_MORE;
    case AT_CHUNK: return feed_chunk(r, in, piece);
    case AT_CHUNK_END: return feed_chunk_end(r, in);
    case AT_DONE: return REQUEST_DONE;
    default: return REQUEST_BAD;
    }
}

request_step request_feed(request *r, const char *p, size_t n, size_t *n_used, span *piece) {
    span in = {p, n};
    request_step step = REQUEST_DONE;
    *piece = span_of(p, 0);
    while (step == REQUEST_DONE && r->state != AT_DONE)
        step = feed_once(r, &in, piece);
    *n_used = n - in.n;
    return step;
}
