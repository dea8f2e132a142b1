/* Who may come in: Host against DNS rebinding, Origin against pages of other sites, and CORS for those that may. */
#include "net/server_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

/* ---- names ---- */

/* The name of "name", "name:port", "[address]", "[address]:port", without a last dot; false: it doesn't fit. */
static bool cut_port(const char *authority, char out[256]) {
    const char *from = authority, *end = authority + strcspn(authority, ":");
    if (*from == '[') {
        from++;
        end = from + strcspn(from, "]");
    }
    size_t n = (size_t)(end - from);
    if (n == 0 || n >= 256)
        return false;
    memcpy(out, from, n);
    out[n] = 0;
    if (out[n - 1] == '.')
        out[n - 1] = 0;
    return true;
}

/* A page can make its own name point here, but not an address: with one, the browser asked for this machine itself. */
static bool is_address(const char *name) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool is_loopback(const char *name) {
    unsigned char v4[4], v6[16];
    size_t n = strlen(name);
    if (strcasecmp(name, "localhost") == 0 || (n > 10 && strcasecmp(name + n - 10, ".localhost") == 0))
        return true;
    if (inet_pton(AF_INET, name, v4) == 1)
        return v4[0] == 127;
    return inet_pton(AF_INET6, name, v6) == 1 && memcmp(v6, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16) == 0;
}

static bool host_is_allowed(const server *s, const char *host) {
    char name[256];
    if (!cut_port(host, name))
        return false;
    if (is_loopback(name) || is_address(name))
        return true;
    for (size_t i = 0; i < s->o.n_hosts; i++)
        if (strcmp(s->o.hosts[i], "*") == 0 || strcasecmp(s->o.hosts[i], name) == 0)
            return true;
    return false;
}

/* "https://a.example:8443" as it is listed; "app://" and what follows for an entry "app://" and a star. */
static bool origin_matches(const char *entry, const char *origin) {
    size_t n = strlen(entry);
    if (strcmp(entry, "*") == 0)
        return true;
    if (n > 4 && strcmp(entry + n - 4, "://*") == 0)
        return strncasecmp(entry, origin, n - 1) == 0;
    return strcasecmp(entry, origin) == 0;
}

/* A page that this server gave out itself names the Host it was asked by, which is allowed or it wouldn't be here. */
static bool origin_is_allowed(const server *s, const char *origin, const char *host) {
    char name[256];
    const char *authority = strncasecmp(origin, "http://", 7) == 0    ? origin + 7
                            : strncasecmp(origin, "https://", 8) == 0 ? origin + 8
                                                                      : NULL;
    if (authority && strcspn(authority, "/?#@ ,") == strlen(authority)) {
        if (cut_port(authority, name) && is_loopback(name))
            return true;
        if (host && strcasecmp(authority, host) == 0)
            return true;
    }
    for (size_t i = 0; i < s->o.n_origins; i++)
        if (origin_matches(s->o.origins[i], origin))
            return true;
    return false;
}

static bool is_preflight(const exchange *x) {
    const server_request *q = &x->in.head;
    return strcmp(q->method, "OPTIONS") == 0 && server_request_header(q, "origin") &&
           server_request_header(q, "access-control-request-method");
}

const char *access_refuses(const server *s, exchange *x, bool is_unix) {
    const char *origin = server_request_header(&x->in.head, "origin");
    if (x->in.host && !is_unix && !host_is_allowed(s, x->in.host))
        return "this Host is not allowed here; name it in the server's list of hosts";
    if (!origin)
        return NULL;
    if (origin_is_allowed(s, origin, x->in.host))
        x->origin = origin;
    else if (!is_preflight(x))
        return "this Origin is not allowed here; name it in the server's list of origins";
    return NULL;
}

/* ---- CORS ---- */

/* Names of headers with commas between: safe to repeat. */
static bool is_list_of_names(const char *p) {
    for (; *p; p++)
        if (*p != ',' && *p != ' ' && *p != '-' && *p != '_' && !(*p >= '0' && *p <= '9') &&
            !((*p | 32) >= 'a' && (*p | 32) <= 'z'))
            return false;
    return true;
}

/* A preflight asks whether the browser may send the request itself, and is answered without the handler. From an origin
 * that isn't allowed the answer names another that is, this server's own: the browser compares, and sends nothing. */
bool access_preflight(exchange *x) {
    const server_request *q = &x->in.head;
    const char *method = NULL, *headers = NULL;
    if (!is_preflight(x))
        return false;
    method = server_request_header(q, "access-control-request-method");
    headers = server_request_header(q, "access-control-request-headers");
    server_header more[6];
    size_t n = 0;
    char own[300];
    if (!x->origin) {
        snprintf(own, sizeof own, "%s://%.256s", q->is_tls ? "https" : "http", x->in.host ? x->in.host : "localhost");
        more[n++] = (server_header){"access-control-allow-origin", own};
        more[n++] = (server_header){"vary", "origin"};
    } else {
        if (request_is_token(method))
            more[n++] = (server_header){"access-control-allow-methods", method};
        if (headers && is_list_of_names(headers))
            more[n++] = (server_header){"access-control-allow-headers", headers};
        if (server_request_header(q, "access-control-request-private-network"))
            more[n++] = (server_header){"access-control-allow-private-network", "true"};
        more[n++] = (server_header){"access-control-max-age", "600"};
    }
    exchange_reply(x, 204, &(exchange_headers){.more = more, .n_more = n}, NULL, 0);
    return true;
}

void access_headers(const exchange *x, str *out) {
    if (!x->origin)
        return;
    str_append_s(out, "access-control-allow-origin: ");
    str_append_s(out, x->origin);
    str_append_s(out, "\r\naccess-control-expose-headers: *\r\nvary: origin\r\n");
}
