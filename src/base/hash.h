/* SHA-256 (FIPS 180-4), a 64-bit hash for tables, hex, and comparison in constant time. No system calls. */
#ifndef MUGA_BASE_HASH_H
#define MUGA_BASE_HASH_H

#include "base/error.h"

#define SHA256_BYTES 32
#define SHA256_HEX 65 /* with the NUL */

typedef struct sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
} sha256;
void sha256_init(sha256 *h);
void sha256_update(sha256 *h, const void *p, size_t n);
void sha256_final(sha256 *h, uint8_t out[SHA256_BYTES]);
void sha256_of(const void *p, size_t n, uint8_t out[SHA256_BYTES]);

void hex_write(const void *p, size_t n, char *out);          /* out: 2n + 1 bytes, lower case */
bool hex_parse(const char *hex, size_t n_hex, uint8_t *out); /* n_hex even; false on a non-hex digit */

uint64_t hash64(const void *p, size_t n, uint64_t seed);     /* for hash tables only, not for security */
bool bytes_equal_ct(const void *a, const void *b, size_t n); /* time independent of content */

#endif
