/* Host names with letters of all scripts: IDNA 2008 (RFC 5890 to 5893, Punycode RFC 3492). */
#ifndef MUGA_CONSTRAIN_IDN_H
#define MUGA_CONSTRAIN_IDN_H

#include "base/str.h"

/* A host name of letters, digits and hyphens (its form is checked elsewhere): are its "xn--" labels what IDNA makes? */
bool idn_ascii_hostname(const char *p, size_t n);
/* A host name whose labels may hold other letters, and be divided by the full stops of East Asia. p is UTF-8. */
bool idn_hostname(const char *p, size_t n);
#endif
