/* A request and its answer, as the handler's threads see it. They write into a buffer of the exchange and leave it in
 * the mail; the loop's thread takes what has gathered since it last looked, so that many small pieces become one
 * write. */
#include "net/server_private.h"

#include <stdio.h>
#include <strings.h>

#define RETRY_AFTER_S "5"

/* ---- life ---- */

exchange *exchange_new(connection *c) {
    exchange *x = mem_alloc_array(1, sizeof *x);
    pthread_mutexattr_t again;
    if (!x)
        return NULL;
    const server_limits *l = &c->s->o.limits;
    request_limits limits = {.line_bytes = l->header_line_bytes,
                             .n_headers = l->n_headers,
                             .target_bytes = l->target_bytes,
                             .head_bytes = MAX(HEAD_MAX, l->header_line_bytes)};
    /* on_gone may release the exchange in the same thread */
    bool made = pthread_mutexattr_init(&again) == 0 &&
                pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE) == 0 &&
                pthread_mutex_init(&x->telling, &again) == 0 && pthread_mutex_init(&x->lock, NULL) == 0;
    if (!made) {
        free(x);
        return NULL;
    }
    pthread_mutexattr_destroy(&again);
    request_init(&x->in, &limits, l->body_bytes);
    str_init(&x->body, l->body_bytes + 1);
    str_init(&x->out, 0);
    x->conn = c;
    x->mail = c->s->mail;
    x->max_output = l->output_bytes;
    memcpy(x->peer, c->address, sizeof x->peer); /* the connection may end before the exchange */
    x->in.head.peer = x->peer;
    atomic_init(&x->refs, 1);
    mail_hold(x->mail);
    return x;
}

void exchange_hold(exchange *x) {
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
}

void exchange_drop(exchange *x) {
    if (atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    request_release(&x->in);
    str_release(&x->body);
    str_release(&x->out);
    pthread_mutex_destroy(&x->lock);
    pthread_mutex_destroy(&x->telling);
    mail_drop(x->mail);
    free(x);
}

/* ---- a head ---- */

const char *exchange_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } known[] = {{100, "Continue"},
                 {200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {304, "Not Modified"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].status == status)
            return known[i].reason;
    return status < 300 ? "OK" : status < 500 ? "Refused" : "Failed";
}

/* A header's value from the handler can't end the line: control characters become blanks. */
static void append_header(str *out, const char *name, const char *value) {
    str_append_s(out, name);
    str_append(out, ": ", 2);
    for (const char *p = value; *p; p++)
        str_append_c(out, (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p);
    str_append(out, "\r\n", 2);
}

static bool has_no_body(int status) {
    return status < 200 || status == 204 || status == 304;
}

static bool is_head(const exchange *x) {
    return x->in.head.method && strcmp(x->in.head.method, "HEAD") == 0;
}

/* Who is told to come again is told when, also where the handler has nothing better to say. */
static void append_retry_after(str *out, int status, const exchange_headers *h) {
    bool said = status != 429 && status != 503;
    for (size_t i = 0; h && i < h->n_more; i++)
        said = said || !strcasecmp(h->more[i].name, "retry-after");
    if (!said)
        str_append_s(out, "retry-after: " RETRY_AFTER_S "\r\n");
}

/* n_body: UINT64_MAX where it isn't known. Called under the lock. */
static void append_head(exchange *x, int status, const exchange_headers *h, uint64_t n_body) {
    char date[40];
    str *out = &x->out;
    mail_date(x->mail, date);
    x->is_chunked = n_body == UINT64_MAX && !x->in.is_old && !has_no_body(status) && !is_head(x);
    x->keeps_alive = x->in.keep_alive && !x->close_after && !atomic_load(&x->mail->is_stopping) &&
                     (n_body != UINT64_MAX || !x->in.is_old || is_head(x));
    if (!x->keeps_alive)
        x->close_after = true;
    str_printf(out, "HTTP/1.1 %d %s\r\ndate: %s\r\n", status, exchange_reason(status), date);
    if (h && h->content_type)
        append_header(out, "content-type", h->content_type);
    for (size_t i = 0; h && i < h->n_more; i++)
        if (request_is_token(h->more[i].name))
            append_header(out, h->more[i].name, h->more[i].value);
    append_retry_after(out, status, h);
    if (n_body != UINT64_MAX && !has_no_body(status))
        str_printf(out, "content-length: %llu\r\n", (unsigned long long)n_body);
    else if (x->is_chunked)
        str_append_s(out, "transfer-encoding: chunked\r\n");
    if (!x->keeps_alive)
        str_append_s(out, "connection: close\r\n");
    else if (x->in.is_old)
        str_append_s(out, "connection: keep-alive\r\n");
    str_append_s(out, "x-content-type-options: nosniff\r\n");
    access_headers(x, out);
    str_append(out, "\r\n", 2);
}

/* ---- from any thread ---- */

/* Ends a change of the answer: without memory for it the client is cut off. Called under the lock, which it lets go. */
static bool commit(exchange *x) {
    if (x->out.failed)
        x->is_over = true;
    bool good = !x->is_over, waits = x->is_held && good && !x->is_cut;
    pthread_mutex_unlock(&x->lock);
    if (!waits)
        mail_push(x->mail, x);
    return good;
}

static bool is_lost(const exchange *x) {
    return atomic_load_explicit(&x->gone, memory_order_acquire) || x->is_over || x->is_cut || x->is_ended;
}

bool exchange_reply(exchange *x, int status, const exchange_headers *h, const void *body, size_t n) {
    pthread_mutex_lock(&x->lock);
    if (is_lost(x) || x->is_started) {
        pthread_mutex_unlock(&x->lock);
        return false;
    }
    append_head(x, status, h, n);
    if (n > 0 && !is_head(x) && !has_no_body(status))
        str_append(&x->out, body, n);
    x->is_started = x->is_ended = true;
    return commit(x);
}

bool exchange_start(exchange *x, int status, const exchange_headers *h) {
    pthread_mutex_lock(&x->lock);
    if (is_lost(x) || x->is_started) {
        pthread_mutex_unlock(&x->lock);
        return false;
    }
    append_head(x, status, h, UINT64_MAX);
    x->is_started = true;
    return commit(x);
}

static void append_piece(exchange *x, const void *p, size_t n) {
    char size[2 * sizeof n + 2], *at = size + sizeof size;
    if (!x->is_chunked) {
        str_append(&x->out, p, n);
        return;
    }
    *--at = '\n';
    *--at = '\r';
    for (size_t left = n; left > 0; left >>= 4)
        *--at = "0123456789abcdef"[left & 15];
    str_append(&x->out, at, (size_t)(size + sizeof size - at));
    str_append(&x->out, p, n);
    str_append(&x->out, "\r\n", 2);
}

bool exchange_write(exchange *x, const void *p, size_t n) {
    pthread_mutex_lock(&x->lock);
    if (is_lost(x) || !x->is_started) {
        pthread_mutex_unlock(&x->lock);
        return false;
    }
    if (n == 0 || is_head(x)) {
        pthread_mutex_unlock(&x->lock);
        return true;
    }
    size_t unsent = x->out.len + atomic_load_explicit(&x->n_unsent, memory_order_relaxed);
    if (unsent > x->max_output || n > x->max_output - unsent)
        x->is_over = true;
    else
        append_piece(x, p, n);
    return commit(x);
}

bool exchange_end(exchange *x) {
    pthread_mutex_lock(&x->lock);
    if (is_lost(x) || !x->is_started) {
        pthread_mutex_unlock(&x->lock);
        return false;
    }
    if (x->is_chunked)
        str_append(&x->out, "0\r\n\r\n", 5);
    x->is_ended = true;
    return commit(x);
}

void exchange_keep_back(exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->is_held = true;
    pthread_mutex_unlock(&x->lock);
}

static void let_go(exchange *x) {
    pthread_mutex_lock(&x->lock);
    bool was_held = x->is_held;
    x->is_held = false;
    pthread_mutex_unlock(&x->lock);
    if (was_held)
        mail_push(x->mail, x);
}

void exchange_cut(exchange *x) {
    pthread_mutex_lock(&x->lock);
    if (is_lost(x)) {
        pthread_mutex_unlock(&x->lock);
        return;
    }
    x->is_cut = true;
    commit(x);
}

const atomic_bool *exchange_gone(const exchange *x) {
    return &x->gone;
}

void exchange_limit_body(exchange *x, size_t bytes) {
    request_limit_body(&x->in, bytes);
}

void exchange_take_body(exchange *x, const exchange_sink *sink) {
    x->sink = *sink;
    request_limit_body(&x->in, sink->max_bytes > 0 ? sink->max_bytes : UINT64_MAX);
}

void exchange_set(exchange *x, void *data) {
    x->data = data;
}

void *exchange_get(const exchange *x) {
    return x->data;
}

const server_request *exchange_request(const exchange *x) {
    return &x->in.head;
}

const char *server_request_header(const server_request *q, const char *name) {
    for (size_t i = 0; i < q->n_headers; i++)
        if (strcmp(q->headers[i].name, name) == 0)
            return q->headers[i].value;
    return NULL;
}

/* An answer that never ended is cut; then the handler's part of the exchange is over. */
void exchange_release(exchange *x) {
    exchange_cut(x);
    let_go(x);
    pthread_mutex_lock(&x->telling);
    x->is_released = true;
    pthread_mutex_unlock(&x->telling);
    atomic_fetch_sub(&x->mail->n_exchanges, 1);
    exchange_drop(x);
}

/* ---- in the loop's thread ---- */

bool exchange_is_answered(exchange *x) {
    pthread_mutex_lock(&x->lock);
    bool yes = x->is_started || x->is_cut || x->is_over;
    pthread_mutex_unlock(&x->lock);
    return yes;
}

bool exchange_has_ended(exchange *x) {
    pthread_mutex_lock(&x->lock);
    bool yes = x->is_ended;
    pthread_mutex_unlock(&x->lock);
    return yes;
}

bool exchange_answer_error(exchange *x, int status, const char *why, const server_handler *h) {
    str body = STR_INIT;
    x->close_after = true;
    if (h->refuse)
        h->refuse(h->ctx, &x->in.head, status, why, &body);
    bool good = exchange_reply(x, status, &(exchange_headers){.content_type = "application/json"}, str_get(&body),
                               body.failed ? 0 : body.len);
    str_release(&body);
    return good;
}

/* The buffer that was emptied is filled with the next piece: a stream goes on without an allocation. */
static void give_back(exchange *x, str *emptied) {
    pthread_mutex_lock(&x->lock);
    if (!x->out.data) {
        str_clear(emptied);
        x->out = *emptied;
        str_init(emptied, 0);
    }
    pthread_mutex_unlock(&x->lock);
}

void exchange_deliver(exchange *x) {
    pthread_mutex_lock(&x->lock);
    str bytes = STR_INIT;
    bool is_over = x->is_over, is_cut = x->is_cut, waits = x->is_held && !is_over && !is_cut;
    bool is_ended = x->is_ended && !waits;
    if (!waits) {
        bytes = x->out;
        str_init(&x->out, 0);
    }
    atomic_fetch_add_explicit(&x->n_unsent, bytes.len, memory_order_relaxed);
    pthread_mutex_unlock(&x->lock);
    connection *c = x->conn;
    if (c && is_over)
        connection_drop(c, true);
    else if (c && bytes.len > 0)
        connection_write(c, &bytes);
    if (x->conn && is_cut)
        connection_drop(c, !x->is_chunked); /* without chunks a plain close looks like the end */
    else if (x->conn && is_ended)
        connection_finish(c);
    else if (x->conn && bytes.cap <= KEEP_BYTES)
        give_back(x, &bytes);
    str_release(&bytes);
}

/* The handler is told before the flag could be missed, and never after it has released the exchange. */
void exchange_leave(exchange *x, bool is_gone) {
    connection *c = x->conn;
    x->conn = NULL;
    if (x->sink.on_piece && !x->is_told && x->sink.on_lost)
        x->sink.on_lost(x->sink.ctx);
    if (is_gone) {
        const server_handler *h = &c->s->o.handler;
        atomic_store_explicit(&x->gone, true, memory_order_release);
        pthread_mutex_lock(&x->telling);
        if (x->is_told && !x->is_released && !exchange_has_ended(x) && h->on_gone)
            h->on_gone(h->ctx, x);
        pthread_mutex_unlock(&x->telling);
    }
    exchange_drop(x);
}
