/* Addresses that are listened on, and who is let in from them: limits of all connections and of each address, and what
 * happens when descriptors run out. */
#include "net/server_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS 64 /* in one turn */
#define RETRY_MS 100
#define BACKLOG 512
#define ADDRESSES_MAX 8 /* of one name */
#define LOCK_NAME_SIZE (sizeof((struct sockaddr_un *)NULL)->sun_path + sizeof ".lock")

/* ---- peers ---- */

/* An IPv6 client has a network of 64 bits to choose its address from. */
static void peer_address(const struct sockaddr *a, uint8_t out[16]) {
    memset(out, 0, 16);
    if (a->sa_family == AF_INET) {
        out[10] = out[11] = 0xff;
        memcpy(out + 12, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
    } else if (a->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
        memcpy(out, v6, IN6_IS_ADDR_V4MAPPED(v6) ? 16 : 8);
    }
}

static peer **peer_bucket(server *s, const uint8_t address[16]) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < 16; i++)
        h = (h ^ address[i]) * 16777619u;
    return &s->peers[h % s->n_peer_buckets];
}

/* One more connection of this address; NULL: memory. */
static peer *peer_take(server *s, const struct sockaddr *a) {
    uint8_t address[16];
    peer_address(a, address);
    peer **bucket = peer_bucket(s, address), *p = *bucket;
    while (p && memcmp(p->address, address, 16) != 0)
        p = p->next;
    if (!p) {
        p = mem_alloc_array(1, sizeof *p);
        if (!p)
            return NULL;
        memcpy(p->address, address, 16);
        p->next = *bucket;
        *bucket = p;
    }
    p->n++;
    return p;
}

void peer_drop(server *s, peer *p) {
    if (--p->n > 0)
        return;
    peer **at = peer_bucket(s, p->address);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free(p);
}

/* ---- accepting ---- */

void listeners_pause(server *s, bool is_paused) {
    s->is_accepting = !is_paused;
    for (listener *l = s->listeners; l; l = l->next)
        if (!loop_pause(l->watch, is_paused))
            s->is_accepting = false; /* the timer tries again */
}

static void on_retry(void *ctx, unsigned what) {
    server *s = ctx;
    (void)what;
    server_begin(s);
    if (!s->is_accepting)
        listeners_pause(s, false);
    if (!s->is_accepting)
        (void)loop_timer_set(s->retry, RETRY_MS);
    server_settle(s);
}

/* Without a descriptor to accept with, the listener would ring without end: it sleeps, until a connection closes or for
 * a while. */
static void rest(server *s) {
    if (loop_timer_set(s->retry, RETRY_MS))
        listeners_pause(s, true);
}

static void let_in(server *s, const listener *l, int fd, const struct sockaddr *a, size_t n_a) {
    const server_limits *limits = &s->o.limits;
    peer *p = peer_take(s, a);
    atomic_fetch_add(&s->mail->n_accepted, 1);
    bool past_limit = !p || p->n > limits->n_connections_peer ||
                      atomic_load(&s->mail->n_connections) >= limits->n_connections;
    if (past_limit && s->n_past_limit >= REFUSED_MAX) {
        atomic_fetch_add(&s->mail->n_refused, 1);
        if (p)
            peer_drop(s, p);
        close(fd);
        return;
    }
    connection_new(s, l, fd, a, n_a, p, past_limit);
}

static void on_accept(void *ctx, unsigned what) {
    listener *l = ctx;
    server *s = l->s;
    (void)what;
    server_begin(s);
    for (int i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
        socklen_t n = sizeof a;
        int fd = accept4(l->fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            let_in(s, l, fd, (struct sockaddr *)&a, n);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            rest(s);
            break;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        }
    }
    server_settle(s);
}

/* ---- addresses ---- */

typedef struct place {
    bool is_unix;
    const char *path; /* of a Unix socket */
    char host[256], port[8];
} place;

static muga_status read_place(const char *where, place *out, muga_error *err) {
    *out = (place){0};
    if (strncmp(where, "unix:", 5) == 0) {
        out->is_unix = true;
        out->path = where + 5;
        if (out->path[0] == '/' && strlen(out->path) < sizeof((struct sockaddr_un *)NULL)->sun_path)
            return MUGA_OK;
        return error_set(err, MUGA_E_USAGE,
                         "'%.150s' is no place for a Unix socket: 'unix:' and a full path of at most "
                         "107 bytes",
                         where);
    }
    const char *colon = strrchr(where, ':'), *from = where, *end = colon;
    if (colon && where[0] == '[' && colon > where && colon[-1] == ']') {
        from++;
        end--;
    } else if (colon && memchr(where, ':', (size_t)(colon - where))) {
        colon = NULL; /* an IPv6 address without brackets */
    }
    size_t n_port = colon ? strlen(colon + 1) : 0;
    if (!colon || end == from || (size_t)(end - from) >= sizeof out->host || n_port == 0 || n_port > 5 ||
        strspn(colon + 1, "0123456789") != n_port || strtoul(colon + 1, NULL, 10) > 65535)
        return error_set(err, MUGA_E_USAGE,
                         "'%.150s' is no address to listen on: 'host:port', '[::1]:port' or "
                         "'unix:/path'",
                         where);
    memcpy(out->host, from, (size_t)(end - from));
    memcpy(out->port, colon + 1, n_port);
    return MUGA_OK;
}

static muga_status look_up(const place *p, struct addrinfo **out, muga_error *err) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    int e = getaddrinfo(p->host, p->port, &hints, out);
    if (e == EAI_MEMORY)
        return error_nomem(err, "an address");
    if (e)
        return error_set(err, MUGA_E_ENV, "listening on '%s': %s; name an address of this machine", p->host,
                         gai_strerror(e));
    return MUGA_OK;
}

static bool is_loopback(const struct sockaddr *a) {
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

muga_status server_is_local(const char *where, bool *is_local, muga_error *err) {
    place p;
    struct addrinfo *all = NULL;
    muga_status st = read_place(where, &p, err);
    *is_local = false;
    if (st || p.is_unix) {
        *is_local = !st;
        return st;
    }
    st = look_up(&p, &all, err);
    if (st)
        return st;
    *is_local = true;
    for (const struct addrinfo *a = all; a; a = a->ai_next)
        *is_local = *is_local && is_loopback(a->ai_addr);
    freeaddrinfo(all);
    return MUGA_OK;
}

/* ---- listening ---- */

static void listener_close(listener *l) {
    loop_unwatch(l->watch);
    tls_identity_close(l->tls);
    if (l->path) {
        char name[LOCK_NAME_SIZE];
        snprintf(name, sizeof name, "%s.lock", l->path);
        unlink(l->path);
        unlink(name);
    }
    if (l->fd >= 0)
        close(l->fd);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    free(l->path);
    free(l);
}

void listeners_close(server *s) {
    while (s->listeners) {
        listener *l = s->listeners;
        s->listeners = l->next;
        listener_close(l);
    }
}

/* TLS streams that are open keep what they need of the identity: OpenSSL counts. */
static muga_status add_listener(server *s, int fd, int lock_fd, const place *p, const server_address *a,
                                muga_error *err) {
    listener *l = mem_alloc_array(1, sizeof *l);
    muga_status st = MUGA_OK;
    if (!l) {
        close(fd);
        if (lock_fd >= 0)
            close(lock_fd);
        return error_nomem(err, "a listener");
    }
    *l = (listener){.s = s, .fd = fd, .lock_fd = lock_fd, .is_unix = p->is_unix};
    if (p->is_unix && !(l->path = mem_copy_string(p->path)))
        st = error_nomem(err, "a listener");
    if (!st && a->certificate)
        st = tls_identity_open(a->certificate, a->key, &l->tls, err);
    if (!st && listen(fd, BACKLOG) != 0)
        st = error_set(err, MUGA_E_ENV, "listening on '%.150s': %s", a->where, strerror(errno));
    if (!st && !s->retry && !(s->retry = loop_watch_timer(s->loop, on_retry, s)))
        st = error_nomem(err, "a listener");
    if (!st && !(l->watch = loop_watch_fd(s->loop, fd, LOOP_READ, false, on_accept, l)))
        st = error_nomem(err, "a listener");
    if (st) {
        listener_close(l);
        return st;
    }
    l->next = s->listeners;
    s->listeners = l;
    return MUGA_OK;
}

static uint16_t taken_port(int fd) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
                                         : ((struct sockaddr_in *)(void *)&a)->sin_port);
}

static int bind_address(const struct addrinfo *a, uint16_t port) {
    int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_storage at = {0};
    if (fd < 0)
        return -1;
    memcpy(&at, a->ai_addr, MIN((size_t)a->ai_addrlen, sizeof at));
    if (port > 0 && a->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&at)->sin6_port = htons(port);
    else if (port > 0)
        ((struct sockaddr_in *)(void *)&at)->sin_port = htons(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, a->ai_addrlen) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

/* A name may have several addresses ("localhost" has two); one of them must be free, and gives the others their port.
 * */
static muga_status listen_tcp(server *s, const place *p, const server_address *a, uint16_t *port, muga_error *err) {
    struct addrinfo *all = NULL;
    muga_status st = look_up(p, &all, err);
    int n = 0, e = 0;
    uint16_t taken = 0;
    if (st)
        return st;
    for (const struct addrinfo *i = all; i && n < ADDRESSES_MAX && !st; i = i->ai_next) {
        int fd = bind_address(i, taken);
        if (fd < 0) {
            e = e == EADDRINUSE ? e : errno;
            continue;
        }
        taken = taken ? taken : taken_port(fd);
        st = add_listener(s, fd, -1, p, a, err);
        n++;
    }
    freeaddrinfo(all);
    if (!st && (n == 0 || (e == EADDRINUSE && strtoul(p->port, NULL, 10) > 0)))
        st = error_set(err, MUGA_E_ENV, "listening on '%.150s': %s%s", a->where, strerror(e),
                       e == EADDRINUSE ? "; end the other server or choose another port" : "");
    if (!st && port)
        *port = taken;
    return st;
}

/* The lock says that a server lives: a socket's file alone doesn't. The file may be removed by a server that ends just
 * now, so the one that was locked must still be there. */
static int take_lock(const char *path) {
    char name[LOCK_NAME_SIZE];
    struct stat held, there;
    snprintf(name, sizeof name, "%s.lock", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &held) == 0 && stat(name, &there) == 0 &&
        held.st_ino == there.st_ino)
        return fd;
    close(fd);
    errno = EWOULDBLOCK;
    return -1;
}

static muga_status listen_unix(server *s, const place *p, const server_address *a, muga_error *err) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat there;
    int lock_fd = take_lock(p->path), fd = -1;
    if (lock_fd < 0)
        return error_set(err, MUGA_E_ENV, "listening on '%.150s': %s", a->where,
                         errno == EWOULDBLOCK ? "another server is there; end it or choose another path"
                                              : strerror(errno));
    memcpy(at.sun_path, p->path, strlen(p->path));
    bool is_there = lstat(p->path, &there) == 0;
    if (is_there && !S_ISSOCK(there.st_mode)) {
        close(lock_fd);
        return error_set(err, MUGA_E_ENV,
                         "listening on '%.150s': a file that is no socket is there; remove it or choose "
                         "another path",
                         a->where);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && is_there && (connect(fd, (struct sockaddr *)&at, sizeof at) == 0 || errno == EAGAIN)) {
        close(fd);
        close(lock_fd);
        return error_set(err, MUGA_E_ENV,
                         "listening on '%.150s': another server is there; end it or choose another path", a->where);
    }
    if (is_there)
        unlink(p->path);
    /* the file gets the mode of the socket: never open to others, not even for a moment */
    if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        muga_status st = error_set(err, MUGA_E_ENV, "listening on '%.150s': %s", a->where, strerror(errno));
        if (fd >= 0)
            close(fd);
        close(lock_fd);
        return st;
    }
    return add_listener(s, fd, lock_fd, p, a, err);
}

muga_status server_listen(server *s, const server_address *a, uint16_t *port, muga_error *err) {
    place p;
    if (port)
        *port = 0;
    muga_status st = read_place(a->where, &p, err);
    if (st)
        return st;
    if (!a->certificate != !a->key)
        return error_set(err, MUGA_E_USAGE, "listening on '%.150s': a certificate and its key come together", a->where);
    return p.is_unix ? listen_unix(s, &p, a, err) : listen_tcp(s, &p, a, port, err);
}
