/* One client: bytes in, bytes out, and how long either may take. The states are drawn in server_private.h. */
#include "net/server_private.h"

#include "net/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static void start_state(connection *c, connection_state state) {
    c->state = state;
    c->since_ms = c->s->now_ms;
    server_ring(c->s, connection_deadline(c));
}

static bool has_unsent(const connection *c) {
    return c->out.len > c->out_at;
}

/* ---- time ---- */

static uint64_t reading_deadline(const connection *c) {
    const server_limits *l = &c->s->o.limits;
    if (!c->x || !request_has_begun(&c->x->in))
        return c->since_ms + (c->is_fresh ? l->header_ms : l->idle_ms);
    if (c->x->stage == STAGE_HEAD)
        return c->since_ms + l->header_ms;
    return c->since_ms + l->body_ms + (uint64_t)(c->x->body.len >> 16) * 1000;
}

uint64_t connection_deadline(const connection *c) {
    uint64_t at = UINT64_MAX;
    if (c->state == CONNECTION_READING)
        at = reading_deadline(c);
    else if (c->state == CONNECTION_LINGERING)
        at = c->since_ms + LINGER_MS;
    if (has_unsent(c))
        at = MIN(at, c->write_ms + c->s->o.limits.write_ms);
    return at;
}

bool connection_is_idle(const connection *c) {
    return c->state == CONNECTION_READING && !has_unsent(c) && (!c->x || !request_has_begun(&c->x->in));
}

/* ---- the end ---- */

void connection_drop(connection *c, bool reset) {
    server *s = c->s;
    if (c->state == CONNECTION_DEAD)
        return;
    exchange *x = c->x;
    bool was_asked = x && x->stage == STAGE_WHOLE;
    c->state = CONNECTION_DEAD;
    c->x = NULL;
    loop_unwatch(c->watch);
    c->watch = NULL;
    tls_close(c->tls);
    c->tls = NULL;
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1, .l_linger = 0}, sizeof(struct linger));
    close(c->fd);
    c->fd = -1;
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    c->next_dead = s->dead;
    s->dead = c;
    atomic_fetch_sub(&s->mail->unsent_bytes, (int64_t)(c->out.len - c->out_at));
    if (c->is_past_limit)
        s->n_past_limit--;
    else
        atomic_fetch_sub(&s->mail->n_connections, 1);
    if (c->peer)
        peer_drop(s, c->peer);
    c->peer = NULL;
    if (!s->is_accepting)
        listeners_pause(s, false);
    if (was_asked)
        atomic_fetch_add(&s->mail->n_gone, 1);
    if (x)
        exchange_leave(x, true);
}

void connection_free(connection *c) {
    str_release(&c->ahead);
    str_release(&c->out);
    free(c);
}

/* The answer is out and nothing more is wanted of this client. What it still sends is read away for a while: closing a
 * socket with unread bytes resets it, and the client might never see the answer. */
static void linger(connection *c) {
    str_release(&c->ahead);
    if (c->has_eof) {
        connection_drop(c, false);
        return;
    }
    tls_close(c->tls);
    c->tls = NULL;
    shutdown(c->fd, SHUT_WR);
    start_state(c, CONNECTION_LINGERING);
    loop_poke(c->watch, LOOP_READ);
}

void connection_expire(connection *c) {
    bool is_reading = c->state == CONNECTION_READING && c->x && request_has_begun(&c->x->in);
    bool is_slow_reader = has_unsent(c) && c->write_ms + c->s->o.limits.write_ms <= c->s->now_ms;
    if (is_slow_reader || !is_reading) {
        connection_drop(c, is_slow_reader);
        return;
    }
    start_state(c, CONNECTION_ANSWERING);
    atomic_fetch_add(&c->s->mail->n_refused, 1);
    exchange_answer_error(c->x, 408, "the request took too long to come", &c->s->o.handler);
}

/* ---- bytes out ---- */

static ssize_t send_some(connection *c, const char *p, size_t n) {
    return c->tls ? tls_write(c->tls, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);
}

/* Trickling doesn't count as taking. */
static void note_taken(connection *c, size_t n) {
    c->n_taken += n;
    if (c->n_taken < SLOW_BYTES && has_unsent(c))
        return;
    c->n_taken = 0;
    c->write_ms = c->s->now_ms;
}

static void flush(connection *c) {
    size_t before = c->out_at;
    ssize_t n = 0;
    while (has_unsent(c) && (n = send_some(c, c->out.data + c->out_at, c->out.len - c->out_at)) > 0)
        c->out_at += (size_t)n;
    size_t sent = c->out_at - before;
    atomic_fetch_sub(&c->s->mail->unsent_bytes, (int64_t)sent);
    if (c->x)
        atomic_fetch_sub_explicit(&c->x->n_unsent, MIN(sent, atomic_load(&c->x->n_unsent)), memory_order_relaxed);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        connection_drop(c, true);
        return;
    }
    note_taken(c, sent);
    if (has_unsent(c)) {
        server_ring(c->s, connection_deadline(c));
        return;
    }
    if (c->x && c->out.cap <= KEEP_BYTES)
        str_clear(&c->out);
    else
        str_release(&c->out);
    c->out_at = 0;
    if (c->closes)
        linger(c);
}

/* Where nothing waits, bytes move in, and out comes the buffer that was emptied. */
void connection_write(connection *c, str *bytes) {
    atomic_fetch_add(&c->s->mail->unsent_bytes, (int64_t)bytes->len);
    if (has_unsent(c)) {
        if (c->out_at > c->out.len / 2) { /* what was sent is dropped once it is the larger part */
            memmove(c->out.data, c->out.data + c->out_at, c->out.len - c->out_at);
            str_truncate(&c->out, c->out.len - c->out_at);
            c->out_at = 0;
        }
        str_append(&c->out, bytes->data, bytes->len);
        if (c->out.failed) {
            atomic_fetch_sub(&c->s->mail->unsent_bytes, (int64_t)bytes->len);
            connection_drop(c, true);
            return;
        }
    } else {
        str emptied = c->out;
        c->out = *bytes;
        *bytes = emptied;
        c->out_at = 0;
        c->write_ms = c->s->now_ms;
        c->n_taken = 0;
    }
    flush(c);
}

/* ---- bytes in ---- */

static void pump(connection *c);

static void refuse(connection *c, int status, const char *why) {
    start_state(c, CONNECTION_ANSWERING);
    atomic_fetch_add(&c->s->mail->n_refused, 1);
    exchange_answer_error(c->x, status, why, &c->s->o.handler);
}

/* The headers are there: who may not come in is refused, and the handler may answer at once. */
static void on_head(connection *c) {
    exchange *x = c->x;
    server *s = c->s;
    bool has_body = request_has_body(&x->in);
    x->in.head.is_tls = c->tls != NULL;
    x->in.head.is_unix = c->is_unix;
    const char *why = access_refuses(s, x, c->is_unix);
    if (why) {
        refuse(c, 403, why);
        return;
    }
    atomic_fetch_add(&s->mail->n_requests, 1);
    x->stage = STAGE_BODY;
    start_state(c, CONNECTION_READING);
    if (has_body)
        x->close_after = true; /* until the body has been read */
    if (access_preflight(x)) {
        start_state(c, CONNECTION_ANSWERING);
        return;
    }
    if (s->o.handler.on_headers)
        s->o.handler.on_headers(s->o.handler.ctx, x, &x->in.head);
    if (exchange_is_answered(x)) {
        start_state(c, CONNECTION_ANSWERING);
        return;
    }
    if (x->in.expects_continue) {
        str go_on = STR_INIT;
        str_append_s(&go_on, "HTTP/1.1 100 Continue\r\n\r\n");
        if (!go_on.failed)
            connection_write(c, &go_on);
        str_release(&go_on);
    }
}

static void on_whole_request(connection *c) {
    exchange *x = c->x;
    server *s = c->s;
    x->stage = STAGE_WHOLE;
    x->in.head.body = str_get(&x->body);
    x->in.head.n_body = x->sink.on_piece ? x->n_sunk : x->body.len;
    start_state(c, CONNECTION_ANSWERING);
    exchange_hold(x); /* the handler's */
    x->is_told = true;
    atomic_fetch_add(&s->mail->n_exchanges, 1);
    s->o.handler.on_request(s->o.handler.ctx, x, &x->in.head);
}

static void on_end(connection *c) {
    c->x->close_after = false;
    on_whole_request(c);
}

static void on_body(connection *c, span piece) {
    exchange *x = c->x;
    if (x->sink.on_piece) {
        c->since_ms = c->s->now_ms;
        if (x->sink.on_piece(x->sink.ctx, piece.p, piece.n))
            x->n_sunk += piece.n;
        else
            on_whole_request(c); /* the rest isn't read: the connection ends with the answer */
        return;
    }
    str_append(&x->body, piece.p, piece.n);
    if (x->body.failed)
        refuse(c, x->body.past_max ? 413 : 503, "the body is too large, or there is no memory for it now");
}

/* Feeds the request that is read; returns how many bytes it took: all but those of a next request. */
static size_t feed(connection *c, const char *p, size_t n) {
    size_t used = 0, k;
    span piece;
    if (!c->x)
        c->x = exchange_new(c);
    if (!c->x) {
        connection_drop(c, true);
        return n;
    }
    for (bool more = true; more && c->state == CONNECTION_READING;) {
        bool had_begun = request_has_begun(&c->x->in);
        request_step step = request_feed(&c->x->in, p + used, n - used, &k, &piece);
        used += k;
        if (!had_begun && request_has_begun(&c->x->in)) {
            c->is_fresh = false;
            start_state(c, CONNECTION_READING); /* the time of its headers begins */
        }
        more = step != REQUEST_MORE;
        if (step == REQUEST_HEAD)
            on_head(c);
        else if (step == REQUEST_BODY)
            on_body(c, piece);
        else if (step == REQUEST_DONE)
            on_end(c);
        else if (step == REQUEST_BAD)
            refuse(c, c->x->in.status, c->x->in.why);
    }
    return used;
}

/* Bytes that are of no use any more. */
static void discard(connection *c, size_t n) {
    c->n_discarded += n;
    if (c->n_discarded > LINGER_BYTES)
        connection_drop(c, true);
}

/* Bytes that came: to the request that is read, behind those that wait, or away. Where more comes than may wait, none
 * of it is answered and the connection ends with this answer: to stop reading would be not to see the client leave. */
static void take(connection *c, const char *p, size_t n) {
    if (c->state == CONNECTION_LINGERING || c->has_overrun) {
        discard(c, n);
        return;
    }
    size_t used = c->state == CONNECTION_READING ? feed(c, p, n) : 0;
    if (used == n || c->state == CONNECTION_DEAD)
        return;
    bool fits = n - used <= AHEAD_MAX - c->ahead.len;
    if (fits)
        str_append(&c->ahead, p + used, n - used);
    if (fits && !c->ahead.failed)
        return;
    str_release(&c->ahead);
    c->has_overrun = true;
    if (c->x)
        c->x->close_after = true;
}

/* Requests that came while another was answered. */
static void pump(connection *c) {
    while (c->state == CONNECTION_READING && c->ahead.len > 0) {
        str waiting = c->ahead;
        str_init(&c->ahead, 0);
        take(c, waiting.data, waiting.len);
        str_release(&waiting);
    }
}

/* The client sends no more. HTTP clients that close half a connection are rare, those that leave are not, and the two
 * look the same: an answer that hasn't ended is given up, one that has is still sent. */
static void on_eof(connection *c) {
    bool is_answered = c->x && exchange_has_ended(c->x);
    bool is_waiting = c->x && c->state == CONNECTION_ANSWERING && !is_answered;
    c->has_eof = true;
    if (c->state == CONNECTION_LINGERING || is_waiting || (!is_answered && !has_unsent(c)))
        connection_drop(c, false);
    else
        c->closes = true; /* by flush, or when the answer that lies in the mail is delivered */
}

static void read_all(connection *c) {
    size_t turn = 0;
    while (c->state != CONNECTION_DEAD && !c->has_eof) {
        char *p = c->s->scratch;
        ssize_t n = c->tls ? tls_read(c->tls, p, READ_BYTES) : recv(c->fd, p, READ_BYTES, 0);
        if (n > 0) {
            take(c, p, (size_t)n);
            turn += (size_t)n;
        } else if (n == 0) {
            on_eof(c);
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            connection_drop(c, true);
            return;
        }
        if (turn >= TURN_BYTES && c->state != CONNECTION_DEAD) {
            loop_poke(c->watch, LOOP_READ);
            return;
        }
    }
}

static void on_io(void *ctx, unsigned what) {
    connection *c = ctx;
    server *s = c->s;
    server_begin(s);
    (void)what;
    if (has_unsent(c))
        flush(c);
    if (c->state != CONNECTION_DEAD)
        read_all(c);
    server_settle(s);
}

/* ---- answers ---- */

void connection_finish(connection *c) {
    exchange *x = c->x;
    bool close_after = x->close_after || !x->keeps_alive || atomic_load(&c->s->mail->is_stopping);
    c->x = NULL;
    exchange_leave(x, false);
    if (c->state == CONNECTION_DEAD)
        return;
    if (close_after || c->closes) {
        c->closes = true;
        if (!has_unsent(c))
            linger(c);
        else
            server_ring(c->s, connection_deadline(c));
        return;
    }
    if (!has_unsent(c))
        str_release(&c->out);
    start_state(c, CONNECTION_READING);
    pump(c);
}

/* ---- a new one ---- */

static void name_peer(connection *c, const struct sockaddr *a, size_t n_a) {
    if (c->is_unix)
        memcpy(c->address, "unix", 5);
    else
        address_write(a, n_a, c->address);
}

/* A client without a word is noticed by the kernel; small pieces aren't held back. */
static void set_options(const connection *c) {
    int on = 1, size = SOCKET_BYTES, quiet_s = PROBE_S,
        write_ms = (int)MIN(c->s->o.limits.write_ms, (uint32_t)INT32_MAX);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (c->is_unix)
        return;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &quiet_s, sizeof quiet_s);
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &quiet_s, sizeof quiet_s);
    setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &write_ms, sizeof write_ms);
}

void connection_new(server *s, const listener *l, int fd, const struct sockaddr *a, size_t n_a, peer *p,
                    bool past_limit) {
    connection *c = mem_alloc_array(1, sizeof *c);
    if (c && l->tls)
        c->tls = tls_accept(l->tls, fd);
    if (c)
        c->watch = loop_watch_fd(s->loop, fd, LOOP_READ | LOOP_WRITE, true, on_io, c);
    if (!c || !c->watch || (l->tls && !c->tls)) {
        if (c) {
            tls_close(c->tls);
            loop_unwatch(c->watch);
        }
        free(c);
        close(fd);
        if (p)
            peer_drop(s, p);
        return;
    }
    c->s = s;
    c->fd = fd;
    c->is_unix = l->is_unix;
    c->is_past_limit = past_limit;
    c->is_fresh = true;
    c->peer = p;
    str_init(&c->ahead, 0);
    str_init(&c->out, 0);
    name_peer(c, a, n_a);
    set_options(c);
    c->next = s->connections;
    if (c->next)
        c->next->prev = c;
    s->connections = c;
    if (past_limit)
        s->n_past_limit++;
    else
        atomic_fetch_add(&s->mail->n_connections, 1);
    start_state(c, CONNECTION_READING);
    if (!past_limit)
        return;
    c->x = exchange_new(c);
    if (c->x)
        refuse(c, 503, "too many connections; close some, or try again later");
    else
        connection_drop(c, true);
}
