/* The bounded cursor. Owns: every bound check on binary bytes from outside. Refuses: moving when a take fails.
 *
 * Idea: cursor_take compares against what is left, never at + n, so no stated length can overflow. Integers are put
 * together byte by byte: any alignment, any host byte order. */
#include "base/cursor.h"

bool cursor_take(cursor *c, uint64_t n, const uint8_t **out) {
    if (n > cursor_left(c)) {
        return false;
    }
    *out = c->base ? c->base + c->at : NULL;
    c->at += n;
    return true;
}

static bool take_little(cursor *c, unsigned n, uint64_t *out) {
    const uint8_t *p;
    if (!cursor_take(c, n, &p)) {
        return false;
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    *out = v;
    return true;
}

bool cursor_take_u8(cursor *c, uint8_t *out) {
    uint64_t v;
    bool ok = take_little(c, 1, &v);
    if (ok) {
        *out = (uint8_t)v;
    }
    return ok;
}

bool cursor_take_u16(cursor *c, uint16_t *out) {
    uint64_t v;
    bool ok = take_little(c, 2, &v);
    if (ok) {
        *out = (uint16_t)v;
    }
    return ok;
}

bool cursor_take_u32(cursor *c, uint32_t *out) {
    uint64_t v;
    bool ok = take_little(c, 4, &v);
    if (ok) {
        *out = (uint32_t)v;
    }
    return ok;
}

bool cursor_take_u64(cursor *c, uint64_t *out) {
    return take_little(c, 8, out);
}

bool cursor_take_string(cursor *c, uint64_t len, span *out) {
    const uint8_t *p;
    if (!cursor_take(c, len, &p)) {
        return false;
    }
    *out = span_of((const char *)p, (size_t)len);
    return true;
}

bool cursor_align(cursor *c, uint64_t alignment) {
    uint64_t past = c->at & (alignment - 1);
    const uint8_t *skipped;
    return past == 0 || cursor_take(c, alignment - past, &skipped);
}
