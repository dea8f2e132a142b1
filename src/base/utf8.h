/* UTF-8 (RFC 3629): strict decoding, and holding back of incomplete characters in a stream. */
#ifndef MUGA_BASE_UTF8_H
#define MUGA_BASE_UTF8_H

#include "base/str.h"

/* Decode one code point from [p, p+n). Returns its length in bytes (1-4), or 0 when n == 0 or the bytes are not
 * well-formed (overlong, surrogate, beyond U+10FFFF, truncated). */
size_t utf8_decode(const char *p, size_t n, uint32_t *cp);
size_t utf8_encode(uint32_t cp, char out[4]); /* bytes written; 0 for a surrogate or beyond U+10FFFF */
bool utf8_valid(const char *p, size_t n);
/* How many bytes at the end of [p, p+n) are the proper beginning of a character that is not complete: 0-3. */
size_t utf8_incomplete_tail(const char *p, size_t n);
/* Append the bytes, each maximal ill-formed part replaced by U+FFFD. */
void utf8_append_replaced(str *out, const char *p, size_t n);
size_t utf8_count(const char *p, size_t n); /* code points; ill-formed bytes count one each */

#endif
