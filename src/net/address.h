/* Which addresses of a network are the world's, and which are this machine's or its neighbours'. */
#ifndef MUGA_NET_ADDRESS_H
#define MUGA_NET_ADDRESS_H

#include "base/error.h"

#include <sys/socket.h>

#define ADDRESS_TEXT_SIZE 48 /* an IPv6 address as text, with its NUL */

/* A unicast address that is routed in the internet (RFC 6890 and the registries it founded). Not: loopback, private,
 * link-local, shared, documentation, multicast, reserved; an IPv4 address inside an IPv6 one (mapped, translated, 6to4)
 * is judged as itself. Anything but IPv4 and IPv6 is not public. */
bool address_is_public(const struct sockaddr *a, size_t n);
void address_write(const struct sockaddr *a, size_t n, char out[ADDRESS_TEXT_SIZE]); /* "?" for what is neither */
#endif
