/* JSON in (RFC 8259). Owns: the limits on what is read. Refuses: depth past JSON_MAX_DEPTH, more than JSON_MAX_BYTES,
 * duplicate keys, NUL in keys, ill-formed UTF-8, lone surrogates, numbers that fit neither int64 nor a finite double.
 *
 * Idea: recursive descent into jansson's values, with the depth counted. jansson's own parser is not used because it
 * goes on over exhausted memory: a lost byte of an escape then ends in an assertion or a write past a buffer.
 *
 * Every parse_* returns a new reference, or NULL with the error set; `at` then stands at the fault. */
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <limits.h>
#include <math.h>

typedef struct parser {
    const char *begin, *at, *end;
    const char *what; /* source, for messages */
    str scratch;      /* text of the string or number being read */
    int depth;
    muga_status status;
    muga_error *err;
} parser;

static json_t *parse_value(parser *r);

/* Line and column of `at` (from 1; columns in characters) and what is wrong there. */
static json_t *fail(parser *r, const char *wrong) {
    int line = 1;
    const char *line_from = r->begin;
    for (const char *c = r->begin; c < r->at; c++) {
        if (*c == '\n') {
            line++;
            line_from = c + 1;
        }
    }
    size_t column = 1 + utf8_count(line_from, (size_t)(r->at - line_from));
    r->status = error_set(r->err, MUGA_E_INPUT, "%s: line %d column %zu: %s", r->what, line, column, wrong);
    return NULL;
}

static json_t *fail_nomem(parser *r) {
    r->status = error_nomem(r->err, r->what);
    return NULL;
}

static void skip_blanks(parser *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) {
        r->at++;
    }
}

static bool skip_char(parser *r, char c) {
    bool there = r->at < r->end && *r->at == c;
    r->at += there;
    return there;
}

/* ---- strings ---- */

/* Four hexadecimal digits, as in \u20ac; -1 when they are not there. */
static int32_t take_hex4(parser *r) {
    uint8_t bytes[2];
    if (r->end - r->at < 4 || !hex_parse(r->at, 4, bytes)) {
        return -1;
    }
    r->at += 4;
    return bytes[0] << 8 | bytes[1];
}

/* After \u: one code point, of two escapes where the first is a high surrogate. -1 when it is none. */
static int32_t take_code_point(parser *r) {
    int32_t unit = take_hex4(r);
    if (unit < 0xD800 || unit > 0xDFFF) {
        return unit;
    }
    if (unit > 0xDBFF || !skip_char(r, '\\') || !skip_char(r, 'u')) {
        return -1;
    }
    int32_t low = take_hex4(r);
    return low >= 0xDC00 && low <= 0xDFFF ? 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00) : -1;
}

/* After the backslash; appends what the escape stands for. */
static bool take_escape(parser *r) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (skip_char(r, 'u')) {
        int32_t cp = take_code_point(r);
        char bytes[4];
        if (cp < 0) {
            return false;
        }
        str_append(&r->scratch, bytes, utf8_encode((uint32_t)cp, bytes));
        return true;
    }
    const char *letter = r->at < r->end && *r->at ? strchr(letters, *r->at) : NULL;
    if (!letter) {
        return false;
    }
    r->at++;
    str_append_c(&r->scratch, meanings[letter - letters]);
    return true;
}

/* After the opening quote, into scratch. */
static bool take_string(parser *r) {
    str_clear(&r->scratch);
    for (;;) {
        const char *from = r->at;
        while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= 0x20) {
            r->at++;
        }
        size_t n = (size_t)(r->at - from);
        if (!utf8_valid(from, n)) {
            fail(r, "the string before this is not UTF-8");
            return false;
        }
        str_append(&r->scratch, from, n);
        if (skip_char(r, '"')) {
            break;
        }
        if (!skip_char(r, '\\')) {
            fail(r, r->at == r->end ? "the string has no end" : "a control character in a string; escape it");
            return false;
        }
        if (!take_escape(r)) {
            fail(r, "no such escape in a string");
            return false;
        }
    }
    if (r->scratch.failed) {
        fail_nomem(r);
        return false;
    }
    return true;
}

static json_t *parse_string(parser *r) {
    if (!take_string(r)) {
        return NULL;
    }
    json_t *v = json_stringn_nocheck(str_get(&r->scratch), r->scratch.len);
    return v ? v : fail_nomem(r);
}

/* ---- numbers ---- */

static size_t skip_digits(parser *r) {
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        r->at++;
    }
    return (size_t)(r->at - from);
}

/* Past 64 bits a double is taken where it is written with these very digits: so what json_write makes of 1e20 can be
 * read, and no digit is lost. */
static json_t *make_long_integer(parser *r, const char *from) {
    str_clear(&r->scratch);
    str_append(&r->scratch, from, (size_t)(r->at - from));
    if (r->scratch.failed) {
        return fail_nomem(r);
    }
    double v = strtod(str_get(&r->scratch), NULL);
    str_clear(&r->scratch);
    json_write_double(&r->scratch, v);
    if (r->scratch.failed) {
        return fail_nomem(r);
    }
    if (!span_equal(span_of(from, (size_t)(r->at - from)), span_of(str_get(&r->scratch), r->scratch.len))) {
        return fail(r, "the integer before this does not fit 64 bits; write it as a string");
    }
    json_t *number = json_real(v);
    return number ? number : fail_nomem(r);
}

static json_t *make_integer(parser *r, const char *from) {
    bool negative = *from == '-';
    json_int_t v = 0;
    for (const char *c = from + negative; c < r->at; c++) {
        json_int_t digit = *c - '0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, negative ? -digit : digit, &v)) {
            return make_long_integer(r, from);
        }
    }
    json_t *number = json_integer(v);
    return number ? number : fail_nomem(r);
}

/* The decimal exponent after e, its sign included; far beyond any double it stays where it is. */
static long exponent_of(const char *c, const char *end) {
    bool negative = *c == '-';
    long v = 0;
    for (c += *c == '-' || *c == '+'; c < end; c++) {
        v = MIN(v * 10 + (*c - '0'), LONG_MAX / 100);
    }
    return negative ? -v : v;
}

/* from: sign and digits; point, e: where those are, or NULL. strtod gets all digits before an exponent and so no
 * decimal point, which it would expect as the locale has it. */
static json_t *make_real(parser *r, const char *from, const char *point, const char *e) {
    const char *digits_end = e ? e : r->at;
    long exponent = e ? exponent_of(e + 1, r->at) : 0;
    str_clear(&r->scratch);
    str_append(&r->scratch, from, (size_t)((point ? point : digits_end) - from));
    if (point) {
        str_append(&r->scratch, point + 1, (size_t)(digits_end - point - 1));
        exponent -= digits_end - point - 1;
    }
    str_printf(&r->scratch, "e%ld", exponent);
    if (r->scratch.failed) {
        return fail_nomem(r);
    }
    double v = strtod(str_get(&r->scratch), NULL);
    if (!isfinite(v)) {
        return fail(r, "the number before this is too large for a double; write it as a string");
    }
    json_t *number = json_real(v);
    return number ? number : fail_nomem(r);
}

static json_t *parse_number(parser *r) {
    const char *from = r->at, *point = NULL, *e = NULL;
    skip_char(r, '-');
    if (!skip_char(r, '0') && skip_digits(r) == 0) {
        return fail(r, "expected a value");
    }
    if (r->at < r->end && *r->at == '.') {
        point = r->at++;
        if (skip_digits(r) == 0) {
            return fail(r, "expected a digit after the decimal point");
        }
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        e = r->at++;
        if (!skip_char(r, '-')) {
            skip_char(r, '+');
        }
        if (skip_digits(r) == 0) {
            return fail(r, "expected a digit in the exponent");
        }
    }
    return point || e ? make_real(r, from, point, e) : make_integer(r, from);
}

/* ---- arrays, objects, values ---- */

static bool add_element(parser *r, json_t *array) {
    json_t *v = parse_value(r);
    if (v && json_array_append_new(array, v) != 0) { /* takes v also when it fails */
        fail_nomem(r);
    }
    return r->status == MUGA_OK;
}

static bool add_member(parser *r, json_t *object) {
    if (!skip_char(r, '"')) {
        fail(r, "expected a key in quotes");
        return false;
    }
    if (!take_string(r)) {
        return false;
    }
    if (strlen(str_get(&r->scratch)) != r->scratch.len) {
        fail(r, "NUL in the key before this");
        return false;
    }
    if (json_object_get(object, str_get(&r->scratch))) {
        fail(r, "duplicate key before this; remove one");
        return false;
    }
    char *key = str_take(&r->scratch); /* the value needs the scratch */
    if (!key) {
        fail_nomem(r);
        return false;
    }
    skip_blanks(r);
    json_t *v = skip_char(r, ':') ? parse_value(r) : fail(r, "expected ':' after the key");
    if (v && json_object_set_new_nocheck(object, key, v) != 0) { /* takes v also when it fails */
        fail_nomem(r);
    }
    free(key);
    return r->status == MUGA_OK;
}

/* After the opening bracket; `all` is the empty array or object, and ours. */
static json_t *parse_members(parser *r, json_t *all, char close, bool (*add)(parser *r, json_t *all)) {
    if (!all) {
        return fail_nomem(r);
    }
    if (++r->depth > JSON_MAX_DEPTH) {
        json_decref(all);
        return fail(r, "nested deeper than 128 levels; flatten it");
    }
    skip_blanks(r);
    bool more = !skip_char(r, close);
    while (more) {
        skip_blanks(r);
        if (!add(r, all)) {
            break;
        }
        skip_blanks(r);
        more = skip_char(r, ',');
        if (!more && !skip_char(r, close)) {
            fail(r, close == ']' ? "expected ',' or ']'" : "expected ',' or '}'");
        }
    }
    r->depth--;
    if (r->status != MUGA_OK) {
        json_decref(all);
        return NULL;
    }
    return all;
}
_Static_assert(JSON_MAX_DEPTH == 128, "the message above says so");

static bool skip_literal(parser *r, const char *literal) {
    size_t n = strlen(literal);
    bool there = (size_t)(r->end - r->at) >= n && memcmp(r->at, literal, n) == 0;
    r->at += there ? n : 0;
    return there;
}

static json_t *parse_value(parser *r) {
    skip_blanks(r);
    if (skip_char(r, '{')) {
        return parse_members(r, json_object(), '}', add_member);
    }
    if (skip_char(r, '[')) {
        return parse_members(r, json_array(), ']', add_element);
    }
    if (skip_char(r, '"')) {
        return parse_string(r);
    }
    if (skip_literal(r, "true")) {
        return json_true();
    }
    if (skip_literal(r, "false")) {
        return json_false();
    }
    return skip_literal(r, "null") ? json_null() : parse_number(r);
}

muga_status json_parse(const char *p, size_t n, const char *what, json_t **out, muga_error *err) {
    *out = NULL;
    if (n > JSON_MAX_BYTES) {
        return error_set(err, MUGA_E_INPUT, "%s: %zu bytes of JSON; at most %zu are taken", what, n, JSON_MAX_BYTES);
    }
    p = n > 0 ? p : "";
    parser r = {.begin = p, .at = p, .end = p + n, .what = what, .err = err};
    json_t *v = parse_value(&r);
    skip_blanks(&r);
    if (v && r.at != r.end) {
        json_decref(v);
        v = fail(&r, "expected the end; something follows the value");
    }
    str_release(&r.scratch);
    *out = v;
    return r.status;
}
