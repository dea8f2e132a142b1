/* Addresses of servers, as people give them: scheme, host, port, path; nothing else is taken. */
#ifndef MUGA_NET_URL_H
#define MUGA_NET_URL_H

#include "base/str.h"

#define URL_MAX_BYTES 2048

typedef struct url {
    bool tls;      /* https */
    bool loopback; /* localhost, 127.x.x.x or [::1]: nothing leaves the machine */
    span host;     /* without the brackets of an IPv6 address; borrowed from the text */
    uint16_t port; /* the scheme's own where none is given */
    span path;     /* "" or "/..." */
} url;

/* MUGA_E_USAGE: not http:// or https://, a user or password in it (it would show in lists of processes), a query, a
 * fragment, blanks, control or non-ASCII bytes, a port out of range. The message never holds the text after an '@'. */
MUGA_MUST_USE muga_status url_parse(const char *text, url *out, muga_error *err);

#endif
