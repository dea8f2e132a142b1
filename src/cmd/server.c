/* Asking a running server. */
#include "cmd/server.h"

#include "cmd/remote.h"
#include "net/url.h"

#define ANSWER_MAX_BYTES ((size_t)16 << 20)

static const char *host_of(const cmd_server *s) {
    const char *env = getenv("MUGA_HOST");
    return s->host ? s->host : env && *env ? env : SERVER_DEFAULT_HOST;
}

static bool is_unix(span a) {
    return a.n >= 5 && !memcmp(a.p, "unix:", 5);
}

/* $MUGA_HOST is also what a server listens on: several, with commas between. The first that isn't a Unix socket, which
 * its owner alone may use; the first of all where there is none. */
static span first_address(const char *host) {
    for (const char *at = host;; at += strcspn(at, ",") + 1) {
        span a = span_of(at, strcspn(at, ","));
        if (!is_unix(a))
            return a;
        if (!at[a.n])
            return span_of(host, strcspn(host, ","));
    }
}

/* "http://host:port" of what was given; the port is 8484 where neither it nor a scheme says another. Of a Unix socket
 * its path goes to `path`, which else stays empty. */
static muga_status base_url(const char *host, str *out, str *path, muga_error *err) {
    url u;
    span a = first_address(host);
    if (is_unix(a)) {
        str_append(path, a.p + 5, a.n - 5);
        str_append_s(out, "http://localhost");
        if (a.n < 7 || a.p[5] != '/')
            return error_set(err, MUGA_E_USAGE, "%.100s is no Unix socket: unix: and a full path", host);
        return out->failed ? str_status(out, err, "the server's address")
                           : str_status(path, err, "the server's address");
    }
    const char *colon = memchr(a.p, ':', a.n), *bracket = memrchr(a.p, ']', a.n);
    bool many = colon && memchr(colon + 1, ':', a.n - (size_t)(colon + 1 - a.p)), bare = many && a.p[0] != '[';
    bool has_port = bracket ? bracket + 1 < a.p + a.n : colon && !bare;
    if (memmem(a.p, a.n, "://", 3))
        str_append(out, a.p, a.n);
    else
        str_printf(out, "http://%s%.*s%s%s", bare ? "[" : "", (int)MIN(a.n, (size_t)URL_MAX_BYTES), a.p,
                   bare ? "]" : "", has_port ? "" : ":8484");
    muga_status st = str_status(out, err, "the server's address");
    return st ? st : url_parse(str_get(out), &u, err);
}

static bool on_body(void *ctx, const http_reply *r, const char *p, size_t n) {
    (void)r;
    str_append(ctx, p, n);
    return true;
}

static bool on_wait(void *ctx) {
    (void)ctx;
    return !cmd_interrupted();
}

typedef struct place {
    str url, path; /* path: of a Unix socket, else empty */
} place;

static muga_status exchange(const place *to, const char *method, const char *key, const str *body, http_reply *reply,
                            str *answer, muga_error *err) {
    static const char *const headers[] = {"Content-Type: application/json"};
    http_options h = {.clock = &os_system()->clock};
    http_client c = {0};
    http_request q = {.url = str_get(&to->url),
                      .unix_path = to->path.len ? str_get(&to->path) : NULL,
                      .method = method,
                      .headers = headers,
                      .n_headers = 1,
                      .bearer = key,
                      .body = body ? str_get(body) : NULL,
                      .n_body = body ? body->len : 0,
                      .connect_ms = 5000,
                      .idle_ms = 60000,
                      .total_ms = 60000,
                      .max_header_bytes = 64 << 10,
                      .max_body_bytes = ANSWER_MAX_BYTES,
                      .on_body = on_body,
                      .on_wait = on_wait,
                      .ctx = answer};
    muga_status st = http_open(&h, &c, err);
    if (!st)
        st = c.exchange(c.self, &q, reply, err);
    if (st && reply->end == HTTP_CONNECT)
        st = error_set(err, MUGA_E_ENV,
                       "no server answers at %s%.120s; start one with `muga serve`, or name another with --host",
                       q.unix_path ? "unix:" : "", q.unix_path ? q.unix_path : q.url);
    http_close(&c);
    return st ? st : str_status(answer, err, "the server's answer");
}

muga_status cmd_server_ask(const cmd_server *s, const char *method, const char *path, const json_t *body, int *status,
                           json_t **out, muga_error *err) {
    place to = {STR_INIT, STR_INIT};
    str key = STR_INIT, text = STR_INIT, answer = STR_INIT;
    http_reply reply = {.status = 0};
    muga_error ignored;
    *out = NULL;
    muga_status st = base_url(host_of(s), &to.url, &to.path, err);
    while (to.url.len && str_get(&to.url)[to.url.len - 1] == '/')
        str_truncate(&to.url, to.url.len - 1);
    str_append_s(&to.url, path);
    if (!st && s->key_file && s->key_env)
        st = error_set(err, MUGA_E_USAGE, "--key-file and --key-env contradict each other");
    if (!st && (s->key_file || s->key_env))
        st = cmd_read_key(s->key_file, s->key_env, &key, err);
    if (body)
        json_write(body, &text);
    if (!st)
        st = exchange(&to, method, key.len ? str_get(&key) : NULL, body ? &text : NULL, &reply, &answer, err);
    if (!st && json_parse(str_get(&answer), answer.len, "the server's answer", out, &ignored))
        *out = NULL;
    *status = reply.status;
    if (key.data)
        explicit_bzero(key.data, key.cap);
    str_release(&to.url);
    str_release(&to.path);
    str_release(&key);
    str_release(&text);
    str_release(&answer);
    return st;
}

muga_status cmd_server_refused(int status, const json_t *body, muga_error *err) {
    const json_t *error = json_object_get(body, "error");
    const char *said = json_is_string(error) ? json_string_value(error) : json_get_string(error, "message");
    muga_status st = status == 404                    ? MUGA_E_NOT_FOUND
                     : status == 401 || status == 403 ? MUGA_E_POLICY
                     : status >= 500                  ? MUGA_E_ENV
                                                      : MUGA_E_INPUT;
    if (!said)
        return error_set(err, st, "the server answers with status %d and no reason that muga knows", status);
    return error_set(err, st, "the server says: %.200s%s", said,
                     status == 401 ? " (here: --key-file FILE or --key-env NAME)" : "");
}
