/* A growable byte string with a maximum.
 *
 * Invariants: data is NUL-terminated at len whenever data is not NULL; len <= max. The first failure (memory,
 * or past max) sets `failed` and turns every later append into a no-op, so a writer checks once at the end.
 * May hold NUL bytes. Life cycle: str_init or STR_INIT -> append... -> str_take or str_release. */
#ifndef MUGA_BASE_STR_H
#define MUGA_BASE_STR_H

#include "base/error.h"

typedef struct str {
    char *data;
    size_t len, cap, max;  /* bytes; max 0 means STR_DEFAULT_MAX */
    bool failed, past_max; /* past_max: the failure was the maximum, not memory */
} str;
#define STR_INIT ((str){0})
#define STR_DEFAULT_MAX ((size_t)1 << 30)

void str_init(str *s, size_t max);
void str_append(str *s, const void *p, size_t n);
void str_append_c(str *s, char c);
void str_append_s(str *s, const char *text);
void str_printf(str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_truncate(str *s, size_t len); /* len <= s->len; also clears nothing but length */
void str_clear(str *s);                /* len = 0, failed = false, memory kept */
void str_release(str *s);              /* frees; the str may be used again */
char *str_take(str *s);                /* moves the buffer out ("" is allocated too); NULL if failed */
const char *str_get(const str *s);     /* borrowed; "" when empty, never NULL */
muga_status str_status(const str *s, muga_error *err, const char *what); /* OK, E_NOMEM or E_LIMIT */

/* Borrowed bytes. Not terminated. */
typedef struct span {
    const char *p;
    size_t n;
} span;
static inline span span_of(const char *p, size_t n) {
    span v = {p, n};
    return v;
}
span span_of_string(const char *s);
bool span_equal(span a, span b);
bool span_equal_string(span a, const char *s);
bool string_ends_with(const char *s, const char *end);

#endif
