/* Requests of HTTP: however the bytes are cut, the same comes out of them; what comes out is within its limits, its
 * names are tokens, its values hold no control characters, its path is clean; and written out plainly it is read as
 * the same request again. The first byte says how to cut. */
#include "base/rng.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "net/request.h"

static const request_limits limits = {.line_bytes = 200, .n_headers = 12, .target_bytes = 100, .head_bytes = 800};
#define BODY_MAX 300

/* All that was read: each request written out plainly, and how it ended. */
typedef struct reading {
    request r;
    str out, body;
    bool is_over;
} reading;

static void check_head(const request *r) {
    const server_request *q = &r->head;
    fuzz_need(request_is_token(q->method) && q->n_headers <= limits.n_headers);
    fuzz_need(q->path[0] == '/' || strcmp(q->path, "*") == 0);
    fuzz_need(utf8_valid(q->path, strlen(q->path)) && !strstr(q->path, "/../") && !strstr(q->path, "/./"));
    fuzz_need(strlen(q->path) + strlen(q->query) <= limits.target_bytes);
    fuzz_need(r->host || r->is_old);
    for (size_t i = 0; i < q->n_headers; i++) {
        fuzz_need(request_is_token(q->headers[i].name) && strlen(q->headers[i].value) <= limits.line_bytes);
        for (const unsigned char *p = (const unsigned char *)q->headers[i].value; *p; p++)
            fuzz_need((*p >= 0x20 || *p == '\t') && *p != 0x7f);
    }
}

static void write_plainly(reading *g) {
    const request *r = &g->r;
    const server_request *q = &r->head;
    str_printf(&g->out, "%s ", q->method);
    for (const unsigned char *p = (const unsigned char *)q->path; *p; p++)
        if (*p == '/' || *p == '*' || (*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z'))
            str_append_c(&g->out, (char)*p);
        else
            str_printf(&g->out, "%%%02x", *p);
    str_printf(&g->out, "%s%s HTTP/1.%c\r\n", *q->query ? "?" : "", q->query, r->is_old ? '0' : '1');
    for (size_t i = 0; i < q->n_headers; i++)
        if (strcmp(q->headers[i].name, "content-length") != 0 && strcmp(q->headers[i].name, "transfer-encoding") != 0)
            str_printf(&g->out, "%s:%s\r\n", q->headers[i].name, q->headers[i].value);
    str_printf(&g->out, "content-length:%zu\r\n\r\n", g->body.len);
    str_append(&g->out, str_get(&g->body), g->body.len);
}

static void begin(reading *g) {
    request_init(&g->r, &limits, BODY_MAX);
    str_clear(&g->body);
}

static void give(reading *g, const char *p, size_t n) {
    while (!g->is_over) {
        size_t used;
        span piece;
        request_step step = request_feed(&g->r, p, n, &used, &piece);
        fuzz_need(used <= n && (step != REQUEST_MORE || used == n));
        p += used;
        n -= used;
        if (step == REQUEST_MORE)
            return;
        if (step == REQUEST_HEAD) {
            check_head(&g->r);
        } else if (step == REQUEST_BODY) {
            fuzz_need(piece.n > 0);
            str_append(&g->body, piece.p, piece.n);
            fuzz_need(g->body.len <= BODY_MAX);
        } else if (step == REQUEST_DONE) {
            write_plainly(g);
            request_release(&g->r);
            begin(g);
        } else {
            fuzz_need(g->r.status >= 400 && g->r.status < 600 && strlen(g->r.why) > 8);
            g->is_over = true;
        }
    }
}

/* Where it was refused, status and reason follow in `end`. */
static str read_all(const char *p, size_t n, uint64_t seed, str *end) {
    reading g = {.out = STR_INIT};
    rng random = {seed};
    begin(&g);
    for (size_t at = 0; at < n;) {
        size_t k = seed == 0 ? n : seed == 1 ? 1 : rng_below(&random, 20) + 1;
        k = MIN(k, n - at);
        char *copy = fuzz_copy(p + at, k);
        give(&g, copy, k);
        free(copy);
        at += k;
    }
    str_printf(end, "%d %s", g.r.status, g.r.why ? g.r.why : "");
    request_release(&g.r);
    str_release(&g.body);
    fuzz_need(!g.out.failed && !end->failed);
    return g.out;
}

static bool same(const str *a, const str *b) {
    return a->len == b->len && memcmp(str_get(a), str_get(b), a->len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > 8192)
        return 0;
    const char *p = (const char *)data + 1;
    str end = STR_INIT, other_end = STR_INIT;
    str whole = read_all(p, size - 1, 0, &end), cut = read_all(p, size - 1, data[0] + 1u, &other_end);
    fuzz_need(same(&whole, &cut) && same(&end, &other_end));
    str_release(&cut);
    /* a plain request may be longer than it was: a path's bytes are written with '%', and then it may be refused */
    str_clear(&other_end);
    cut = read_all(str_get(&whole), whole.len, 0, &other_end);
    fuzz_need(strncmp(str_get(&other_end), "4", 1) == 0 || same(&whole, &cut));
    str_release(&whole);
    str_release(&cut);
    str_release(&end);
    str_release(&other_end);
    return 0;
}
