/* Private to net/: requests of HTTP/1.1 and 1.0 out of bytes, by RFC 9112 and nothing beside it. No I/O.
 *
 * What is ambiguous is refused, since two programs that read it differently (a proxy and this one) can be played
 * against each other: a bare LF or CR, a folded line, a blank before a colon, Content-Length twice or beside
 * Transfer-Encoding, a coding that isn't "chunked", a chunk size with a sign, "0x" or a blank. docs/http.md has the
 * list.
 *
 *     request_init -> request_feed ... -> request_release
 *
 * The result doesn't depend on how the bytes are cut: each line is judged when it is whole or too long. */
#ifndef MUGA_NET_REQUEST_H
#define MUGA_NET_REQUEST_H

#include "net/server.h"

typedef struct request_limits {
    size_t line_bytes, n_headers, target_bytes; /* as in server_limits */
    size_t head_bytes;                          /* request line and all headers together; trailers get as much again */
} request_limits;

typedef enum request_step {
    REQUEST_MORE, /* all bytes were taken, and it isn't whole */
    REQUEST_HEAD, /* request->head is there, but for its body; call again, with what is left */
    REQUEST_BODY, /* *piece is the next of the body, borrowed from the bytes given */
    REQUEST_DONE, /* whole; bytes that weren't taken belong to the next one */
    REQUEST_BAD   /* status and why say what with; stays so */
} request_step;

typedef struct request_field { /* offsets into text */
    uint32_t name, value;
} request_field;

typedef struct request {
    server_request head; /* after REQUEST_HEAD; method, path and query sooner, NULL until they are there */
    const char *host;    /* what Host or an absolute target said; NULL: neither came (HTTP/1.0) */
    bool is_old;         /* HTTP/1.0 */
    bool keep_alive, expects_continue;
    int status; /* of REQUEST_BAD; 0 before */
    const char *why;
    /* private */
    request_limits limits;
    int state;
    bool skipped_line;
    str text, line; /* the head; a line of a chunked body */
    char *path;
    request_field *fields;
    server_header *headers;
    size_t n_fields, line_at;
    size_t n_trailers, n_extra; /* bytes of chunk extensions and trailers */
    uint64_t n_left;            /* of the body, or of the chunk */
    uint64_t n_body, max_body;
} request;

void request_init(request *r, const request_limits *limits, size_t body_bytes);
/* Takes bytes of [p, p+n), n may be 0, and says how many. */
request_step request_feed(request *r, const char *p, size_t n, size_t *n_used, span *piece);
/* Between REQUEST_HEAD and the next request_feed: a body that is longer is REQUEST_BAD with 413. */
void request_limit_body(request *r, uint64_t bytes);
bool request_has_body(const request *r);  /* after REQUEST_HEAD */
bool request_has_begun(const request *r); /* bytes of it have come, besides an empty line */
void request_release(request *r);

/* Whether text is a token (RFC 9110, 5.6.2), which names of headers are. */
bool request_is_token(const char *text);
/* Whether a comma-separated list holds a word, whatever its case. */
bool request_list_has(const char *list, const char *word);

#endif
