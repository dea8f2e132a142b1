/* One bounded cursor for all parsing of binary bytes from outside (GGUF, safetensors, saved sessions).
 * Little-endian. Every take checks the bound first; on failure the cursor does not move and the function
 * returns false. Never reads outside [base, base + size). */
#ifndef MUGA_BASE_CURSOR_H
#define MUGA_BASE_CURSOR_H

#include "base/str.h"

typedef struct cursor {
    const uint8_t *base;
    uint64_t size, at; /* bytes; at <= size */
} cursor;

static inline cursor cursor_of(const void *p, uint64_t size) {
    cursor c = {(const uint8_t *)p, size, 0};
    return c;
}
static inline uint64_t cursor_left(const cursor *c) {
    return c->size - c->at;
}
bool cursor_take(cursor *c, uint64_t n, const uint8_t **out); /* borrow n bytes */
bool cursor_take_u8(cursor *c, uint8_t *out);
bool cursor_take_u16(cursor *c, uint16_t *out);
bool cursor_take_u32(cursor *c, uint32_t *out);
bool cursor_take_u64(cursor *c, uint64_t *out);
bool cursor_take_string(cursor *c, uint64_t len, span *out);
bool cursor_align(cursor *c, uint64_t alignment); /* alignment a power of two; false if past the end */

#endif
