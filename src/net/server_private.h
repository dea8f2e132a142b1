/* Private to net/server*.c: the parts of a server.
 *
 *     server      the loop, listeners, connections            server's thread
 *     connection  a client: bytes in, bytes out, time          server's thread
 *     exchange    a request and its answer                     server's thread and the handler's
 *     mail        what other threads leave for the loop        any thread
 *
 * A connection's life, and the function of each arrow (server_conn.c; reading, answering and lingering are `state`):
 *
 *     accept -> READING -- on_whole_request --> ANSWERING -- connection_finish --> READING ...
 *                  |                               |   \---- close after it ----> LINGERING --> dead
 *                  \-- connection_refuse ----------/                                             ^
 *     any of them -- connection_drop (the client left, or its time is over) ---------------------/
 *
 * Invariants
 * 1. Only the server's thread touches connections, sockets and exchange.conn. Other threads append to exchange.out
 * under
 *    exchange.lock and leave the exchange in mail.dirty; the loop takes it from there (exchange_deliver).
 * 2. An exchange lives while its connection or its handler holds it (refs), and while it lies in mail.dirty.
 * 3. A dead connection is freed when the loop's callback ends (server_settle), so no caller up the stack holds a freed
 *    one; every callback of the loop ends in server_settle.
 * 4. No request is parsed while one is being answered: what came meanwhile waits in connection.ahead, so that answers
 * are
 *    in order. The socket is read on all the same, so that a client that leaves is seen.
 * 5. The socket is watched by edges: whoever stops reading before EAGAIN pokes the watch when it can go on. */
#ifndef MUGA_NET_SERVER_PRIVATE_H
#define MUGA_NET_SERVER_PRIVATE_H

#include "base/mem.h"
#include "net/address.h"
#include "net/request.h"
#include "net/server_loop.h"
#include "net/server_tls.h"

#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#define AHEAD_MAX ((size_t)64 << 10)   /* bytes of next requests that wait */
#define HEAD_MAX ((size_t)64 << 10)    /* of a request's head in all, if its lines' limits allow more */
#define READ_BYTES ((size_t)64 << 10)  /* read at once */
#define TURN_BYTES ((size_t)256 << 10) /* read from one connection before others get their turn */
#define SOCKET_BYTES (128 << 10)       /* what the kernel keeps of unsent bytes: the rest is ours to count */
#define KEEP_BYTES ((size_t)4 << 10)   /* a buffer of a stream that is kept for its next piece */
#define LINGER_MS 3000                 /* after a refusal, until the client has read it */
#define LINGER_BYTES ((size_t)16 << 20)
#define PROBE_S 20      /* without a word from a client's kernel until it is asked whether it is there, and again */
#define REFUSED_MAX 64  /* connections past the limit that are told so at the same time */
#define SLOW_BYTES 4096 /* taking fewer than these isn't progress, unless it is all there is */

typedef struct posted posted;
typedef struct connection connection;

typedef struct mail {
    atomic_int refs; /* the server's and each exchange's */
    int wake_fd;
    _Atomic(exchange *) dirty; /* stacks: the newest first */
    _Atomic(posted *) posts;
    atomic_bool in_loop; /* `thread` is set and runs the loop */
    pthread_t thread;
    atomic_bool is_stopping;
    _Atomic uint32_t drain_ms;
    pthread_mutex_t date_lock;
    time_t date_at;
    char date[40];
    _Atomic uint64_t n_accepted, n_refused, n_requests, n_gone;
    _Atomic uint32_t n_connections, n_exchanges;
    _Atomic int64_t unsent_bytes;
} mail;

struct posted {
    posted *next;
    void (*fn)(void *ctx);
    void *ctx;
    uint64_t at_ms; /* 0: now */
    server *s;      /* of one that waits */
    loop_watch *timer;
};

/* Up to where the request has come. */
enum { STAGE_HEAD, STAGE_BODY, STAGE_WHOLE };

struct exchange {
    mail *mail;
    atomic_int refs;
    exchange *next_dirty;
    atomic_bool is_queued, gone;
    /* the server's thread alone */
    connection *conn; /* NULL once it is over there */
    request in;
    char peer[ADDRESS_TEXT_SIZE];
    str body;
    int stage;
    bool is_told;       /* on_request was called */
    exchange_sink sink; /* on_piece NULL: the body is kept */
    size_t n_sunk;
    /* written before the handler's first call */
    const char *origin; /* to be allowed in the answer; NULL */
    size_t max_output;
    void *data;
    atomic_bool close_after; /* the connection can't be used again */
    /* shared, under lock */
    pthread_mutex_t lock;
    str out;
    bool is_started, is_chunked, is_ended, is_cut, is_over, is_held, keeps_alive;
    atomic_size_t n_unsent; /* taken from out, not yet taken by the socket */
    /* on_gone and exchange_release exclude each other */
    pthread_mutex_t telling;
    bool is_released;
};

typedef struct peer {
    struct peer *next;
    uint8_t address[16]; /* an IPv6 network of 64 bits, an IPv4 address mapped, zeros: Unix sockets */
    uint32_t n;
} peer;

typedef enum { CONNECTION_READING, CONNECTION_ANSWERING, CONNECTION_LINGERING, CONNECTION_DEAD } connection_state;

struct connection {
    server *s;
    connection *next, *prev, *next_dead;
    loop_watch *watch;
    tls_stream *tls; /* NULL: plain */
    int fd;
    connection_state state;
    bool is_unix, is_past_limit, has_eof;
    bool has_overrun; /* more came than may wait: what comes now is read away */
    bool is_fresh;    /* not a byte came yet */
    bool closes;      /* once all is sent */
    peer *peer;
    char address[ADDRESS_TEXT_SIZE];
    exchange *x; /* the request that is read or answered */
    str ahead, out;
    size_t out_at;
    uint64_t since_ms;  /* of the state's time limit */
    uint64_t write_ms;  /* when the client last took enough */
    size_t n_taken;     /* since write_ms */
    size_t n_discarded; /* while lingering */
};

typedef struct listener {
    struct listener *next;
    server *s;
    loop_watch *watch;
    tls_identity *tls;
    int fd, lock_fd;
    bool is_unix;
    char *path; /* of a Unix socket: removed at the end */
} listener;

typedef struct signal_watch {
    struct signal_watch *next;
    server *s;
    loop_watch *watch;
    void (*fn)(void *ctx);
    void *ctx;
} signal_watch;

struct server {
    server_options o;
    loop *loop;
    mail *mail;
    loop_watch *wake, *tick, *retry; /* retry: accept again after descriptors ran out */
    listener *listeners;
    connection *connections, *dead;
    signal_watch *signals;
    posted *waiting;
    peer **peers; /* [n_peer_buckets] */
    size_t n_peer_buckets;
    uint64_t now_ms, tick_ms; /* tick_ms: when tick rings; UINT64_MAX: not set */
    uint64_t cut_ms;          /* after server_stop: when the rest is cut */
    uint32_t n_past_limit;
    bool is_accepting, is_closing, is_settling; /* closing: server_stop was called */
    char *scratch;                              /* [READ_BYTES] */
};

/* ---- server.c ---- */
void server_begin(server *s); /* a callback of the loop begins: the time is taken */
void server_settle(
    server *s); /* it ends: mail is delivered, the dead are freed, and the loop stopped when all is done */
void server_ring(server *s, uint64_t at_ms);
void mail_push(mail *m, exchange *x);
void mail_hold(mail *m);
void mail_drop(mail *m);
void mail_date(mail *m, char out[40]);

/* ---- server_listen.c ---- */
void listeners_close(server *s);
void listeners_pause(server *s, bool is_paused);
void peer_drop(server *s, peer *p);

/* ---- server_conn.c ---- */
/* Takes fd, which it closes when it fails. */
void connection_new(server *s, const listener *l, int fd, const struct sockaddr *a, size_t n_a, peer *p,
                    bool past_limit);
/* The answer's bytes and what became of it; called by exchange_deliver. */
void connection_write(connection *c, str *bytes);
void connection_finish(connection *c);
void connection_drop(connection *c, bool reset);
uint64_t connection_deadline(const connection *c); /* UINT64_MAX: none */
void connection_expire(connection *c);
bool connection_is_idle(const connection *c);
void connection_free(connection *c);

/* ---- server_exchange.c ---- */
exchange *exchange_new(connection *c);
void exchange_hold(exchange *x);
void exchange_drop(exchange *x);
void exchange_deliver(exchange *x);             /* what other threads left of it goes to its connection */
void exchange_leave(exchange *x, bool is_gone); /* its connection has done with it */
bool exchange_is_answered(exchange *x);         /* or begun to be, or cut */
bool exchange_has_ended(exchange *x);
bool exchange_answer_error(exchange *x, int status, const char *why, const server_handler *h);
const char *exchange_reason(int status);

/* ---- server_access.c ---- */
/* NULL: may come in, and x->origin is set. Else why not. */
const char *access_refuses(const server *s, exchange *x, bool is_unix);
/* Whether it is a CORS preflight, which was answered then. */
bool access_preflight(exchange *x);
/* Appends the CORS headers of an answer. */
void access_headers(const exchange *x, str *out);

#endif
