/* jansson with our rules: depth and duplicate-key checks on, NUL allowed in strings, sizes bounded; and canonical
 * JSON (RFC 8785), over which digests are taken. json_t ownership is jansson's: "new" must be json_decref'ed. */
#ifndef MUGA_BASE_JSON_H
#define MUGA_BASE_JSON_H

#include "base/str.h"

#include <jansson.h>

#define JSON_MAX_DEPTH 128
#define JSON_MAX_BYTES ((size_t)64 << 20)

/* New reference in *out. Any JSON value. Errors name line and column. Depth past JSON_MAX_DEPTH is E_INPUT.
 * `what` names the source in messages. An integer past 64 bits is E_INPUT, unless json_write_double gives just its
 * digits: then it is that double. */
MUGA_MUST_USE muga_status json_parse(const char *p, size_t n, const char *what, json_t **out, muga_error *err);

/* Deep copy: whole, or NULL when memory is out. (jansson's json_copy and json_deep_copy leave out what did not fit.)
 * New reference; NULL of NULL. */
json_t *json_clone(const json_t *v);
/* The same of the outermost level alone; what it holds is shared. */
json_t *json_clone_shallow(const json_t *v);

/* Compact, keys in insertion order, UTF-8 unescaped, "/" not escaped. Appends to out; check str_status. What is written
 * reads back as the same numbers, exactly: a whole number that fits 64 bits has all its digits, integer or real. */
void json_write(const json_t *v, str *out);
/* RFC 8785: keys sorted by UTF-16 code units, numbers as ECMAScript prints them. One deviation, and only past +-2^53,
 * where I-JSON (RFC 7493, 2.2) promises nothing: a whole number that fits 64 bits keeps its exact digits. So numbers
 * have one form exactly when they are equal (1, 1.0 and 1e0; 2^60 as integer and as double), and two different
 * arguments never share a digest. Strings are taken to be UTF-8, as json_parse lets in nothing else. */
void json_write_canonical(const json_t *v, str *out);
/* SHA-256 over the canonical form. */
MUGA_MUST_USE muga_status json_digest(const json_t *v, uint8_t out[32], muga_error *err);

/* Append `p` as a JSON string with quotes; ill-formed UTF-8 becomes U+FFFD. */
void json_write_string(str *out, const char *p, size_t n);
/* A double as ECMAScript's Number::toString (shortest that reads back); a non-finite one, which JSON can't say,
 * becomes null. Independent of the locale. */
void json_write_double(str *out, double v);

/* jansson has no const form of iteration and reference counting; neither changes the value. */
static inline json_t *json_borrow(const json_t *v) {
    union {
        const json_t *in;
        json_t *out;
    } u = {v};
    return u.out;
}

/* Is anything in it nested deeper than `max` levels (a string has 0, an array of strings 1)? */
bool json_is_deeper(const json_t *v, int max);

/* Member access that never crashes on a wrong type; NULL/default when absent or of another type. */
const char *json_get_string(const json_t *object, const char *key);
int64_t json_get_int(const json_t *object, const char *key, int64_t otherwise);
bool json_get_bool(const json_t *object, const char *key, bool otherwise);
double json_get_number(const json_t *object, const char *key, double otherwise);

#endif
