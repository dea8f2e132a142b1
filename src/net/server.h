/* An HTTP/1.1 server: one thread that reads and writes for all connections, over libevent.
 *
 *     server_new -> server_listen ... -> server_run (until server_stop) -> server_free
 *
 * It owns connections, framing, time and size limits, who may come in by Host and Origin, CORS and TLS. It knows no
 * route and no model. Requests go to one handler, as an `exchange`: a request and its answer.
 *
 * Refused here, before the handler sees anything, with the connection closed afterwards: whatever is not exactly RFC
 * 9112 (a bare LF or CR, a folded line, blanks before a colon, two Content-Lengths or one beside Transfer-Encoding, a
 * coding other than chunked, a control character, a version other than 1.0 and 1.1, no Host or two), a header line or
 * a number of them past the limits (431), a target past its limit (414), a body past its limit (413), a Host or an
 * Origin that isn't allowed (403), a request that takes too long to come (408). The body of these answers is made by
 * `refuse`.
 *
 * Threads: the handler runs in the server's thread and must not block. What is said to be from any thread may come from
 * any thread at any time between the handler's call and exchange_release. */
#ifndef MUGA_NET_SERVER_H
#define MUGA_NET_SERVER_H

#include "base/str.h"

#include <stdatomic.h>

typedef struct server server;
typedef struct exchange exchange;

typedef struct server_header {
    const char *name, *value; /* the name in small letters; the value without blanks around it, no control characters */
} server_header;

typedef struct server_request {
    const char *method; /* "GET", as it came: letters alone */
    const char *path;   /* of the target, percent-decoded, begins with '/'; no "." or ".." part, no NUL */
    const char *query;  /* behind '?', as it came; "" */
    const server_header *headers;
    size_t n_headers;
    const char *body; /* [n_body], NUL-terminated besides; "" while only the headers are there */
    size_t n_body;
    const char *peer; /* address of who asks, "unix" of a Unix socket */
    bool is_tls, is_unix;
    uint64_t n_content; /* what Content-Length said; UINT64_MAX: chunked */
} server_request;
const char *server_request_header(const server_request *q, const char *name); /* small letters; NULL: it isn't there */

typedef struct server_limits {
    size_t header_line_bytes, n_headers, target_bytes, body_bytes;
    size_t output_bytes;                        /* unsent bytes of a streamed answer past which it is cancelled */
    uint32_t n_connections, n_connections_peer; /* of all, of one address; a new one past them gets a 503 */
    uint32_t header_ms; /* from the first byte of a request (or from the connection) to the end of its headers */
    uint32_t body_ms;   /* from there to the end of its body, plus a second for each 64 KiB of it */
    uint32_t idle_ms;   /* between requests of one connection */
    uint32_t write_ms;  /* without a byte taken by the client while there are some to send */
} server_limits;
#define SERVER_LIMITS_DEFAULT                                                                                          \
    ((server_limits){8192, 100, 8192, (size_t)32 << 20, (size_t)4 << 20, 4096, 2048, 10000, 30000, 75000, 30000})

typedef struct server_handler {
    /* The headers are there, the body isn't read yet: may answer at once (401, 404, 429), and then the body is not
     * waited for; may lower the bytes it may have with exchange_limit_body. May be NULL. */
    void (*on_headers)(void *ctx, exchange *x, const server_request *q);
    /* The whole request; q and what it points to live until exchange_release. */
    void (*on_request)(void *ctx, exchange *x, const server_request *q);
    /* The client left, or its output limit or time was passed, before the answer's end; exchange_gone is true from just
     * before. At most once, only between on_request and exchange_release. May be NULL. */
    void (*on_gone)(void *ctx, exchange *x);
    /* The JSON body of an answer that the server itself gives: appended to out. q may be half read: NULL fields. */
    void (*refuse)(void *ctx, const server_request *q, int status, const char *why, str *out);
    void *ctx;
} server_handler;

typedef struct server_options {
    server_limits limits;
    server_handler handler;
    /* Host header's allowed names, without port; "*" = any. Names of loopback and literal addresses are always allowed:
     * a page of another site can make its own name point here, but not an address. Not asked of a Unix socket.
     * Borrowed while the server lives; server_allow replaces them. */
    const char *const *hosts;
    size_t n_hosts;
    /* Origins that may call from a browser: "https://a.example", "app://" and a star (any of that scheme), or "*";
     * those of loopback names, and the server's own, are always allowed. Another one is refused, and is never named in
     * an Access-Control-Allow-Origin. */
    const char *const *origins;
    size_t n_origins;
} server_options;

/* Raises the process's soft limit of open descriptors to what n_connections need and 256 besides; where it goes no
 * further, fewer connections are let in. MUGA_E_NOMEM, MUGA_E_ENV. */
MUGA_MUST_USE muga_status server_new(const server_options *o, server **out, muga_error *err);
/* "host:port" (port 0: any), "[::1]:port", or "unix:/path" (made with mode 0600; one that a dead server left is
 * replaced, a living one's is MUGA_E_ENV). certificate and key: PEM files, both or neither; TLS 1.2 and later. *port:
 * the one that was taken; may be NULL. MUGA_E_ENV names address and reason. */
typedef struct server_address {
    const char *where, *certificate, *key;
} server_address;
MUGA_MUST_USE muga_status server_listen(server *s, const server_address *a, uint16_t *port, muga_error *err);
/* Whether an address is of loopback alone (or a Unix socket): the judge of "keys are needed". MUGA_E_USAGE: not one. */
MUGA_MUST_USE muga_status server_is_local(const char *where, bool *is_local, muga_error *err);
/* Serves in this thread until server_stop has been called and the last answer has ended, or `drain_ms` after it. */
MUGA_MUST_USE muga_status server_run(server *s, muga_error *err);
/* From any thread and from a signal handler (it writes one byte): answers say "Connection: close", and those that are
 * running may end until drain_ms is over and are cut then. Until the last one has ended, requests are taken as ever, on
 * new connections, too: the handler says what becomes of them, and who looks whether the server is ready is told. Then
 * nothing is listened on any more, and idle connections are closed. */
void server_stop(server *s, uint32_t drain_ms);
/* From any thread: fn(ctx) runs in the server's thread soon; and after delay_ms. false: memory. */
MUGA_MUST_USE bool server_post(server *s, void (*fn)(void *ctx), void *ctx);
MUGA_MUST_USE bool server_post_later(server *s, uint32_t delay_ms, void (*fn)(void *ctx), void *ctx);
/* A signal seen in the server's thread (SIGINT, SIGTERM, SIGHUP). */
MUGA_MUST_USE muga_status server_on_signal(server *s, int signal, void (*fn)(void *ctx), void *ctx, muga_error *err);
/* In the server's thread: other lists from now on, borrowed like the first. */
void server_allow(server *s, const char *const *hosts, size_t n_hosts, const char *const *origins, size_t n_origins);
typedef struct server_counts {
    uint64_t n_accepted, n_refused, n_requests, n_gone; /* since the start */
    uint32_t n_connections, n_exchanges;                /* now */
    uint64_t unsent_bytes;
} server_counts;
server_counts server_get_counts(server *s); /* from any thread */
/* Exchanges that handlers still hold are then gone, and live until they are released. */
void server_free(server *s);

/* ---- an answer ----
 * Either exchange_reply, or exchange_start, exchange_write ..., exchange_end. All from any thread, of one exchange by
 * one thread at a time. After the client has gone they do nothing and say false. HEAD: the body is left out. Date,
 * Connection, framing, CORS and X-Content-Type-Options are the server's, and Retry-After of a 429 or 503 where `more`
 * has none. */
typedef struct exchange_headers {
    const char *content_type;  /* NULL: none */
    const server_header *more; /* [n_more]; copied */
    size_t n_more;
} exchange_headers;
bool exchange_reply(exchange *x, int status, const exchange_headers *h, const void *body, size_t n);
/* A body whose length isn't known: chunked (HTTP/1.0: until the connection closes). Each exchange_write is sent at
 * once. */
bool exchange_start(exchange *x, int status, const exchange_headers *h);
bool exchange_write(exchange *x, const void *p, size_t n);
bool exchange_end(exchange *x);
/* What is said from here on goes out with exchange_release: whoever has the whole answer finds the handler done with
 * it, what it counts and what it gives back. */
void exchange_keep_back(exchange *x);
/* Ends an answer that was started without its end: the connection is cut, so that nobody takes it for whole. */
void exchange_cut(exchange *x);
/* True from when the client has gone; becomes so within 100 ms of it. Lives as long as the exchange. */
const atomic_bool *exchange_gone(const exchange *x);
void exchange_limit_body(exchange *x, size_t bytes); /* in on_headers */
/* In on_headers: a body that may be longer than memory (an upload of a model) goes to on_piece, in the server's
 * thread, as it comes, and isn't kept; body_ms then counts the time between pieces. on_piece false: the rest isn't
 * wanted, the body ends there. Then on_request, with body "" and n_body the bytes that on_piece took. Where the
 * client leaves before, or more than max_bytes come (413), on_lost is called instead of on_request. */
typedef struct exchange_sink {
    bool (*on_piece)(void *ctx, const void *p, size_t n);
    void (*on_lost)(void *ctx);
    void *ctx;
    uint64_t max_bytes; /* 0: no limit */
} exchange_sink;
void exchange_take_body(exchange *x, const exchange_sink *sink);
/* What the handler keeps with it. */
void exchange_set(exchange *x, void *data);
void *exchange_get(const exchange *x);
const server_request *exchange_request(const exchange *x);
/* The handler is done with it; once, from any thread, after the answer has ended or has been cut. An exchange that
 * on_request was not called for is released by the server. */
void exchange_release(exchange *x);

#endif
