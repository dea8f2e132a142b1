/* An HTTP client, behind a table, so that tests can play any server. One request at a time, no redirects, no
 * cookies, no proxy from the environment, TLS always verified.
 *
 * Threads: a client belongs to one thread at a time. The caller ignores SIGPIPE (the program does). */
#ifndef MUGA_NET_HTTP_H
#define MUGA_NET_HTTP_H

#include "os/os.h"

/* How an exchange ended. */
typedef enum {
    HTTP_WHOLE,     /* the server's whole answer came, whatever its status says */
    HTTP_CONNECT,   /* no connection: name, route, port, or the time for it is over */
    HTTP_PRIVATE,   /* public_only, and the name has no public address: nothing was connected to */
    HTTP_TLS,       /* the server is not who it says, or TLS failed */
    HTTP_CUT,       /* the connection ended in the middle */
    HTTP_IDLE,      /* nothing came for idle_ms */
    HTTP_LATE,      /* total_ms is over */
    HTTP_SIZE,      /* header or body longer than allowed */
    HTTP_STOPPED,   /* on_body said so */
    HTTP_CANCELLED, /* on_wait said so */
    HTTP_BROKEN     /* not HTTP; memory; anything else */
} http_end;

typedef struct http_reply {
    http_end end;
    int status;             /* 0: none came */
    char content_type[64];  /* small letters, without parameters; "" */
    char location[128];     /* of a redirect, the beginning; from outside */
    int64_t retry_after_ms; /* -1: not said */
    size_t body_bytes;
} http_reply;

typedef struct http_request {
    const char *url;
    const char *unix_path; /* of a Unix socket, to which it goes wherever the URL leads; NULL: none */
    const char *method;    /* NULL: POST */
    /* Only addresses that are the internet's own (net/address.h). Looked at for the very address that is connected to,
     * so a name that answers anew between a look and the use changes nothing. */
    bool public_only;
    const char *const *headers; /* [n_headers] "Name: value" */
    size_t n_headers;
    const char *bearer; /* Authorization; in no message, wiped from what is copied; NULL: none */
    const void *body;   /* NULL: none */
    size_t n_body;
    uint32_t connect_ms, idle_ms, total_ms; /* above 0 */
    size_t max_header_bytes, max_body_bytes;
    /* Pieces of the body; r has status and headers already. false: stop. */
    bool (*on_body)(void *ctx, const http_reply *r, const char *p, size_t n);
    /* At least every 100 ms. false: cancel. May be NULL. */
    bool (*on_wait)(void *ctx);
    void *ctx;
} http_request;

typedef struct http_client {
    /* MUGA_OK only with HTTP_WHOLE and HTTP_STOPPED. Else E_ENV (connection, TLS, time), E_LIMIT (size), E_CANCELLED,
     * E_NOMEM; out->end says more. */
    muga_status (*exchange)(void *self, const http_request *q, http_reply *out, muga_error *err);
    void *self;
} http_client;

typedef struct http_options {
    const os_clock *clock;
    const char *ca_file; /* certificates to trust instead of the system's; NULL */
    const char *proxy;   /* http://host:port; NULL or "": none. The environment is never asked */
} http_options;

/* Over libcurl, which is loaded here and not before. MUGA_E_ENV: it isn't there, or muga was built without its headers;
 * the message says what to install. */
MUGA_MUST_USE muga_status http_open(const http_options *o, http_client *out, muga_error *err);
void http_close(http_client *c); /* harmless on a zeroed one and twice */

#endif
