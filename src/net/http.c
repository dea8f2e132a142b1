/* The client over libcurl. The library is loaded when a client is opened: it brings some twenty others along, and a run
 * that asks no server shall neither wait for them nor need them.
 *
 * What is decided here and nowhere else: only http and https, no redirect is followed, certificates and names are
 * verified, no proxy but the one given, no .netrc, no cookies, HTTP/1.1. */
#include "net/http.h"

#include "base/mem.h"
#include "net/address.h"

static const char missing[] = "asking a server needs libcurl";

#ifdef MUGA_HAVE_CURL

#include <curl/curl.h>
#include <dlfcn.h>
#include <sys/socket.h>

#define LIBRARY "libcurl.so.4"
#define OLDEST 0x075800 /* 7.88 */

#define FUNCTIONS(X)                                                                                                   \
    X(global_init)                                                                                                     \
    X(global_cleanup)                                                                                                  \
    X(version_info)                                                                                                    \
    X(getdate)                                                                                                         \
    X(easy_init)                                                                                                       \
    X(easy_cleanup)                                                                                                    \
    X(easy_setopt)                                                                                                     \
    X(easy_strerror)                                                                                                   \
    X(easy_reset)                                                                                                      \
    X(multi_init)                                                                                                      \
    X(multi_cleanup)                                                                                                   \
    X(multi_add_handle)                                                                                                \
    X(multi_remove_handle)                                                                                             \
    X(multi_perform)                                                                                                   \
    X(multi_poll)                                                                                                      \
    X(multi_info_read)                                                                                                 \
    X(slist_append)                                                                                                    \
    X(slist_free_all)
#define DECLARE(f) __typeof__(curl_##f) *f;

typedef struct client {
    const os_clock *clock;
    char *ca_file, *proxy;
    CURL *easy;
    CURLM *multi;
    bool is_global;
    FUNCTIONS(DECLARE)
} client;

/* ---- the library ---- */

static muga_status load(client *c, muga_error *err) {
    /* It stays loaded: OpenSSL can't be unloaded in order. */
    void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!lib)
        return error_set(err, MUGA_E_ENV, "%s, and " LIBRARY " is not here; install it (Debian: libcurl4)", missing);
    const char *lacks = NULL;
#define LOAD(f)                                                                                                        \
    *(void **)&c->f = dlsym(lib, "curl_" #f);                                                                          \
    lacks = c->f ? lacks : "curl_" #f;
    FUNCTIONS(LOAD)
    dlclose(lib);
    if (lacks)
        return error_set(err, MUGA_E_ENV, "%s, and this " LIBRARY " has no %s; install 7.88 or later", missing, lacks);
    const curl_version_info_data *v = c->version_info(CURLVERSION_NOW);
    if (!v || v->version_num < OLDEST || !(v->features & CURL_VERSION_SSL))
        return error_set(err, MUGA_E_ENV, "%s 7.88 or later with TLS, and this one is %s", missing,
                         v && v->version ? v->version : "another");
    c->is_global = c->global_init(CURL_GLOBAL_ALL) == CURLE_OK;
    c->easy = c->is_global ? c->easy_init() : NULL;
    c->multi = c->is_global ? c->multi_init() : NULL;
    return c->easy && c->multi ? MUGA_OK : error_nomem(err, "the HTTP client");
}

/* ---- one exchange ---- */

typedef struct exchange {
    client *c;
    const http_request *q;
    http_reply *out;
    size_t header_bytes;
    uint64_t begun_us, heard_us;
    struct curl_slist *headers;
    char refused[ADDRESS_TEXT_SIZE]; /* an address that was not public; "" */
    char error[CURL_ERROR_SIZE];
} exchange;

static uint64_t now_us(const client *c) {
    return c->clock->monotonic_us(c->clock->self);
}

/* The value of a header line, where it is this header: without white space around it. */
static bool header_is(const char *p, size_t n, const char *name, span *value) {
    size_t k = strlen(name);
    if (n <= k || strncasecmp(p, name, k) != 0 || p[k] != ':')
        return false;
    const char *from = p + k + 1, *end = p + n;
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (end > from && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *value = span_of(from, (size_t)(end - from));
    return true;
}

static void copy_text(char *to, size_t size, span from) {
    size_t n = MIN(from.n, size - 1);
    memcpy(to, from.p, n);
    to[n] = 0;
}

static void read_content_type(http_reply *r, span v) {
    const char *end = memchr(v.p, ';', v.n);
    copy_text(r->content_type, sizeof r->content_type, end ? span_of(v.p, (size_t)(end - v.p)) : v);
    for (char *p = r->content_type; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    for (size_t n = strlen(r->content_type); n > 0 && r->content_type[n - 1] == ' ';)
        r->content_type[--n] = 0;
}

/* Seconds, or a date. */
static void read_retry_after(exchange *x, span v) {
    char text[64];
    copy_text(text, sizeof text, v);
    if (v.n > 0 && v.n < 10 && strspn(text, "0123456789") == v.n) {
        x->out->retry_after_ms = strtoll(text, NULL, 10) * 1000;
    } else if (v.n < sizeof text) {
        time_t at = x->c->getdate(text, NULL);
        int64_t now = x->c->clock->now_ms(x->c->clock->self);
        if (at > 0 && at < (time_t)1 << 40)
            x->out->retry_after_ms = MAX((int64_t)at * 1000 - now, (int64_t)0);
    }
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx) {
    exchange *x = ctx;
    n *= size;
    x->heard_us = now_us(x->c);
    x->header_bytes += n;
    if (x->header_bytes > x->q->max_header_bytes) {
        x->out->end = HTTP_SIZE;
        return 0;
    }
    span v;
    if (n >= 12 && memcmp(p, "HTTP/", 5) == 0) { /* the final answer, or one before it */
        const char *blank = memchr(p, ' ', n);
        x->out->status = blank && (size_t)(p + n - blank) > 3 ? (int)strtol(blank + 1, NULL, 10) : 0;
        x->out->content_type[0] = x->out->location[0] = 0;
        x->out->retry_after_ms = -1;
    } else if (header_is(p, n, "content-type", &v)) {
        read_content_type(x->out, v);
    } else if (header_is(p, n, "location", &v)) {
        copy_text(x->out->location, sizeof x->out->location, v);
    } else if (header_is(p, n, "retry-after", &v)) {
        read_retry_after(x, v);
    }
    return n;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx) {
    exchange *x = ctx;
    n *= size;
    x->heard_us = now_us(x->c);
    if (n > x->q->max_body_bytes - x->out->body_bytes) {
        x->out->end = HTTP_SIZE;
        return 0;
    }
    x->out->body_bytes += n;
    if (!x->q->on_body(x->q->ctx, x->out, p, n)) {
        x->out->end = HTTP_STOPPED;
        return n + 1;
    }
    return n;
}

static bool add_header(exchange *x, const char *text) {
    struct curl_slist *more = x->c->slist_append(x->headers, text);
    if (more)
        x->headers = more;
    return more != NULL;
}

/* A secret header is wiped here, and libcurl's copy in free_headers. */
static bool add_bearer(exchange *x, const char *key) {
    str text = STR_INIT;
    str_printf(&text, "Authorization: Bearer %s", key);
    bool ok = !text.failed && add_header(x, str_get(&text));
    if (text.data)
        explicit_bzero(text.data, text.cap);
    str_release(&text);
    return ok;
}

static void free_headers(exchange *x) {
    for (struct curl_slist *h = x->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    x->c->slist_free_all(x->headers);
    x->headers = NULL;
}

/* libcurl asks for a socket to each address that it is about to try. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
    exchange *x = ctx;
    (void)purpose;
    if (x->q->public_only && !address_is_public(&a->addr, a->addrlen)) {
        address_write(&a->addr, a->addrlen, x->refused);
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static CURLcode set_method(exchange *x) {
    client *c = x->c;
    const http_request *q = x->q;
    CURLcode r = c->easy_setopt(c->easy, q->body ? CURLOPT_POST : CURLOPT_HTTPGET, 1L);
    if (r == CURLE_OK && q->body)
        r = c->easy_setopt(c->easy, CURLOPT_POSTFIELDS, q->body);
    if (r == CURLE_OK && q->body)
        r = c->easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->n_body);
    if (r == CURLE_OK)
        r = c->easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, q->method ? q->method : "POST");
    return r;
}

static muga_status prepare(exchange *x, muga_error *err) {
    client *c = x->c;
    const http_request *q = x->q;
    bool ok = add_header(x, "Expect:"); /* no question before a long body */
    for (size_t i = 0; ok && i < q->n_headers; i++)
        ok = add_header(x, q->headers[i]);
    if (ok && q->bearer)
        ok = add_bearer(x, q->bearer);
    CURLcode r = ok ? CURLE_OK : CURLE_OUT_OF_MEMORY;
#define SET(option, value)                                                                                             \
    if (r == CURLE_OK)                                                                                                 \
    r = c->easy_setopt(c->easy, option, value)
    SET(CURLOPT_URL, q->url);
    SET(CURLOPT_UNIX_SOCKET_PATH, q->unix_path);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (c->ca_file) {
        SET(CURLOPT_CAINFO, c->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }
    SET(CURLOPT_PROXY, c->proxy ? c->proxy : "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)q->connect_ms);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, x);
    if (r == CURLE_OK)
        r = set_method(x);
    SET(CURLOPT_HTTPHEADER, x->headers);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_ERRORBUFFER, x->error);
#undef SET
    if (r == CURLE_OK)
        return MUGA_OK;
    return r == CURLE_OUT_OF_MEMORY
               ? error_nomem(err, "a request")
               : error_set(err, MUGA_E_ENV, "libcurl takes no such request: %.150s", c->easy_strerror(r));
}

static http_end end_of(CURLcode r) {
    switch (r) {
    case CURLE_OK: return HTTP_WHOLE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: return HTTP_CONNECT; /* the only time libcurl is told of */
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS: return HTTP_TLS;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE: return HTTP_CUT;
    default: return HTTP_BROKEN;
    }
}

/* Why to give up before the next look at the connection; HTTP_WHOLE: nothing. */
static http_end overdue(const exchange *x) {
    uint64_t now = now_us(x->c);
    if (x->q->on_wait && !x->q->on_wait(x->q->ctx))
        return HTTP_CANCELLED;
    if (now - x->begun_us > (uint64_t)x->q->total_ms * 1000)
        return HTTP_LATE;
    /* Until it is connected, the time for that counts. */
    uint64_t quiet_ms = MAX(x->q->idle_ms, x->out->status ? 0 : x->q->connect_ms);
    return now - x->heard_us > quiet_ms * 1000 ? HTTP_IDLE : HTTP_WHOLE;
}

static CURLcode run(exchange *x) {
    client *c = x->c;
    int n_running = 1, n_left;
    if (c->multi_add_handle(c->multi, c->easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    CURLcode r = CURLE_OK;
    while (n_running > 0) {
        if (c->multi_perform(c->multi, &n_running) != CURLM_OK) {
            r = CURLE_FAILED_INIT;
            break;
        }
        if (n_running == 0)
            break;
        http_end why = overdue(x);
        if (why != HTTP_WHOLE) {
            x->out->end = why;
            r = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
        if (c->multi_poll(c->multi, NULL, 0, 100, NULL) != CURLM_OK) {
            r = CURLE_FAILED_INIT;
            break;
        }
    }
    const CURLMsg *m;
    while ((m = c->multi_info_read(c->multi, &n_left)))
        if (m->msg == CURLMSG_DONE && r == CURLE_OK)
            r = m->data.result;
    (void)c->multi_remove_handle(c->multi, c->easy);
    return r;
}

static muga_status say(const exchange *x, CURLcode r, muga_error *err) {
    const char *why = x->error[0] ? x->error : x->c->easy_strerror(r);
    const http_request *q = x->q;
    switch (x->out->end) {
    case HTTP_WHOLE:
    case HTTP_STOPPED: return MUGA_OK;
    case HTTP_CANCELLED: return error_set(err, MUGA_E_CANCELLED, "cancelled");
    case HTTP_SIZE:
        return error_set(err, MUGA_E_LIMIT, "the server's answer is longer than %zu bytes of header or %zu of body",
                         q->max_header_bytes, q->max_body_bytes);
    case HTTP_LATE:
        return error_set(err, MUGA_E_ENV, "the answer was not whole after %.3g s", (q->total_ms + 5) / 10 / 100.0);
    case HTTP_IDLE: return error_set(err, MUGA_E_ENV, "nothing came from the server for %.3g s", q->idle_ms / 1000.0);
    case HTTP_CONNECT: return error_set(err, MUGA_E_ENV, "can't connect: %.180s", why);
    case HTTP_PRIVATE:
        return error_set(err, MUGA_E_POLICY,
                         "the server's address is %s, which is this machine's or a private network's", x->refused);
    case HTTP_TLS: return error_set(err, MUGA_E_ENV, "the server can't be trusted: %.160s", why);
    case HTTP_CUT: return error_set(err, MUGA_E_ENV, "the connection was cut: %.160s", why);
    case HTTP_BROKEN: break;
    }
    return r == CURLE_OUT_OF_MEMORY ? error_nomem(err, "a request")
                                    : error_set(err, MUGA_E_ENV, "the request failed: %.170s", why);
}

static muga_status exchange_once(void *self, const http_request *q, http_reply *out, muga_error *err) {
    client *c = self;
    exchange x = {.c = c, .q = q, .out = out};
    *out = (http_reply){.end = HTTP_WHOLE, .retry_after_ms = -1};
    x.begun_us = x.heard_us = now_us(c);
    muga_status st = prepare(&x, err);
    if (!st) {
        CURLcode r = run(&x);
        if (out->end == HTTP_WHOLE)
            out->end = end_of(r);
        if (out->end == HTTP_CONNECT && x.refused[0])
            out->end = HTTP_PRIVATE;
        st = say(&x, r, err);
    } else {
        out->end = HTTP_BROKEN;
    }
    c->easy_reset(c->easy); /* connections stay, settings go */
    free_headers(&x);
    return st;
}

muga_status http_open(const http_options *o, http_client *out, muga_error *err) {
    *out = (http_client){0};
    client *c = mem_alloc_array(1, sizeof *c);
    if (!c)
        return error_nomem(err, "the HTTP client");
    *out = (http_client){exchange_once, c};
    c->clock = o->clock;
    c->ca_file = o->ca_file ? mem_copy_string(o->ca_file) : NULL;
    c->proxy = o->proxy ? mem_copy_string(o->proxy) : NULL;
    muga_status st = (o->ca_file && !c->ca_file) || (o->proxy && !c->proxy) ? error_nomem(err, "the HTTP client")
                                                                            : load(c, err);
    if (st)
        http_close(out);
    return st;
}

void http_close(http_client *h) {
    client *c = h->self;
    if (!c)
        return;
    if (c->multi)
        (void)c->multi_cleanup(c->multi);
    if (c->easy)
        c->easy_cleanup(c->easy);
    if (c->is_global)
        c->global_cleanup();
    free(c->ca_file);
    free(c->proxy);
    free(c);
    *h = (http_client){0};
}

#else

muga_status http_open(const http_options *o, http_client *out, muga_error *err) {
    (void)o;
    *out = (http_client){0};
    return error_set(err, MUGA_E_ENV,
                     "%s, and this muga was built without its headers; install them (Debian: libcurl4-openssl-dev) "
                     "and build it again",
                     missing);
}

void http_close(http_client *h) {
    *h = (http_client){0};
}

#endif
