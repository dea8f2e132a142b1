/* Private to net/: TLS of the server, over OpenSSL, which is loaded when the first certificate is. */
#ifndef MUGA_NET_SERVER_TLS_H
#define MUGA_NET_SERVER_TLS_H

#include "base/error.h"

#include <sys/types.h>

typedef struct tls_identity tls_identity; /* a certificate and its key */
typedef struct tls_stream tls_stream;     /* one connection */

/* MUGA_E_ENV names the file and what is wrong with it. TLS 1.2 and 1.3, no renegotiation. */
MUGA_MUST_USE muga_status tls_identity_open(const char *certificate, const char *key, tls_identity **out,
                                            muga_error *err);
void tls_identity_close(tls_identity *t);
tls_stream *tls_accept(const tls_identity *t, int fd); /* fd doesn't block; NULL: memory */
/* As recv and send: bytes, 0 when the other side has closed, -1 with errno (EAGAIN, EPROTO). The handshake happens in
 * them. A tls_write that gave EAGAIN is repeated with at least the same bytes. May raise SIGPIPE. */
ssize_t tls_read(tls_stream *t, void *p, size_t n);
ssize_t tls_write(tls_stream *t, const void *p, size_t n);
void tls_close(tls_stream *t); /* says goodbye, without waiting; fd stays open */

#endif
