/* JSON out, digests over it, members. Owns: the two written forms. Reading is json_parse.c.
 *
 * Idea: writing is ours, because a digest over canonical JSON (RFC 8785) must not depend on a library's version or on
 * the locale. */
#include "base/json.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- strings and numbers ---- */

static void write_escaped(str *out, unsigned char c) {
    static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (c == '"' || c == '\\') {
        str_append_c(out, '\\');
        str_append_c(out, (char)c);
    } else if (c < sizeof letters && letters[c]) {
        str_append_c(out, '\\');
        str_append_c(out, letters[c]);
    } else {
        str_printf(out, "\\u%04x", c);
    }
}

void json_write_string(str *out, const char *p, size_t n) {
    str_append_c(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x20 || c == '"' || c == '\\') { /* ASCII, so never inside a character: parts are replaced apart */
            utf8_append_replaced(out, p + from, i - from);
            write_escaped(out, c);
            from = i + 1;
        }
    }
    if (from < n) {
        utf8_append_replaced(out, p + from, n - from);
    }
    str_append_c(out, '"');
}

/* Decimal digits d1 d2 ... dk and exponent e: the value is d1.d2...dk * 10^e. */
typedef struct decimal {
    char digits[20];
    int n_digit, exponent;
} decimal;

/* v > 0, correctly rounded to n digits; trailing zeros dropped. The decimal point is skipped whatever the locale. */
static decimal decimal_of(double v, int n) {
    char text[48];
    decimal d = {.n_digit = 0};
    snprintf(text, sizeof text, "%.*e", n - 1, v);
    const char *c = text;
    for (; *c && *c != 'e'; c++) {
        if (*c >= '0' && *c <= '9') {
            d.digits[d.n_digit++] = *c;
        }
    }
    d.exponent = atoi(c + 1);
    while (d.n_digit > 1 && d.digits[d.n_digit - 1] == '0') {
        d.n_digit--;
    }
    return d;
}

static bool decimal_reads_back(const decimal *d, double v) {
    char text[48];
    /* digits as an integer with its own exponent: no decimal point, so no locale */
    snprintf(text, sizeof text, "%.*se%d", d->n_digit, d->digits, d->exponent - (d->n_digit - 1));
    return strtod(text, NULL) == v;
}

/* The next larger decimal of n digits. */
static decimal decimal_up(double v, int n) {
    decimal d = decimal_of(v, n);
    while (d.n_digit < n) {
        d.digits[d.n_digit++] = '0';
    }
    int i = n - 1;
    while (i >= 0 && d.digits[i] == '9') {
        d.digits[i--] = '0';
    }
    if (i >= 0) {
        d.digits[i]++;
    } else {
        d.digits[0] = '1';
        d.exponent++;
    }
    while (d.n_digit > 1 && d.digits[d.n_digit - 1] == '0') {
        d.n_digit--;
    }
    return d;
}

/* Fewest digits that read back as v > 0 and, among those, the nearest to it. Any decimal of 15 digits survives the
 * way through a normal double, so there 15 is where to begin. Just above a power of two the doubles lie twice as
 * wide as below it: there the decimal above may read back where the nearest one does not. */
static decimal decimal_shortest(double v) {
    int exponent;
    bool power_of_two = frexp(v, &exponent) == 0.5;
    for (int n = v >= DBL_MIN ? 15 : 1; n < 17; n++) {
        decimal d = decimal_of(v, n);
        if (decimal_reads_back(&d, v)) {
            return d;
        }
        if (power_of_two) {
            d = decimal_up(v, n);
            if (decimal_reads_back(&d, v)) {
                return d;
            }
        }
    }
    return decimal_of(v, 17);
}

/* ECMAScript 2024, 6.1.6.1.20 Number::toString; n there is point here: the position of the decimal point. */
void json_write_double(str *out, double v) {
    if (!isfinite(v)) {
        str_append_s(out, "null");
        return;
    }
    if (v == 0) {
        str_append_c(out, '0'); /* also for -0 */
        return;
    }
    if (v < 0) {
        str_append_c(out, '-');
        v = -v;
    }
    static const char zeros[] = "00000000000000000000";
    decimal d = decimal_shortest(v);
    int k = d.n_digit, point = d.exponent + 1;
    if (k <= point && point <= 21) {
        str_append(out, d.digits, (size_t)k);
        str_append(out, zeros, (size_t)(point - k));
    } else if (0 < point && point <= 21) {
        str_printf(out, "%.*s.%.*s", point, d.digits, k - point, d.digits + point);
    } else if (-6 < point && point <= 0) {
        str_printf(out, "0.%.*s%.*s", -point, zeros, k, d.digits);
    } else {
        str_append_c(out, d.digits[0]);
        if (k > 1) {
            str_printf(out, ".%.*s", k - 1, d.digits + 1);
        }
        str_printf(out, "e%+d", d.exponent);
    }
}

/* ---- values ---- */

typedef struct member {
    const char *key;
    size_t n_key;
    const json_t *value;
} member;

/* Next UTF-16 code unit of a UTF-8 string; *low holds the second half of a pair between calls. */
static uint32_t next_unit(const char **p, size_t *n, uint32_t *low) {
    if (*low) {
        uint32_t unit = *low;
        *low = 0;
        return unit;
    }
    uint32_t cp = 0xFFFD;
    size_t len = utf8_decode(*p, *n, &cp);
    len = MAX(len, 1);
    *p += len;
    *n -= len;
    if (cp < 0x10000) {
        return cp;
    }
    *low = 0xDC00 + ((cp - 0x10000) & 0x3FF);
    return 0xD800 + ((cp - 0x10000) >> 10);
}

static int member_compare(const void *x, const void *y) {
    const member *mx = x, *my = y;
    const char *a = mx->key, *b = my->key;
    size_t n_a = mx->n_key, n_b = my->n_key;
    uint32_t low_a = 0, low_b = 0;
    while ((n_a > 0 || low_a) && (n_b > 0 || low_b)) {
        uint32_t u = next_unit(&a, &n_a, &low_a), v = next_unit(&b, &n_b, &low_b);
        if (u != v) {
            return u < v ? -1 : 1;
        }
    }
    bool more_a = n_a > 0 || low_a, more_b = n_b > 0 || low_b;
    return more_a - more_b;
}

static void write_value(const json_t *v, str *out, bool canonical, int depth);

static void write_member(const member *m, str *out, bool canonical, int depth, bool first) {
    if (!first) {
        str_append_c(out, ',');
    }
    json_write_string(out, m->key, m->n_key);
    str_append_c(out, ':');
    write_value(m->value, out, canonical, depth);
}

static member member_at(void *iter) {
    return (member){json_object_iter_key(iter), json_object_iter_key_len(iter), json_object_iter_value(iter)};
}

/* json_object_iter wants json_t *, though it only reads: jansson has no const form. */
static json_t *unconst(const json_t *v) {
    union {
        const json_t *in;
        json_t *out;
    } u = {v};
    return u.out;
}

static void write_object(const json_t *v, str *out, bool canonical, int depth) {
    json_t *object = unconst(v);
    size_t n = json_object_size(v), i = 0;
    member *sorted = NULL;
    str_append_c(out, '{');
    if (canonical && n > 1) {
        sorted = mem_alloc_array(n, sizeof *sorted);
        if (!sorted) {
            out->failed = true;
            return;
        }
    }
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it), i++) {
        member m = member_at(it);
        if (sorted) {
            sorted[i] = m;
        } else {
            write_member(&m, out, canonical, depth, i == 0);
        }
    }
    if (sorted) {
        qsort(sorted, n, sizeof *sorted, member_compare);
        for (i = 0; i < n; i++) {
            write_member(&sorted[i], out, canonical, depth, i == 0);
        }
        free(sorted);
    }
    str_append_c(out, '}');
}

static void write_array(const json_t *v, str *out, bool canonical, int depth) {
    str_append_c(out, '[');
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i > 0) {
            str_append_c(out, ',');
        }
        write_value(json_array_get(v, i), out, canonical, depth);
    }
    str_append_c(out, ']');
}

/* A real that is a whole number of 64 bits stands there as that integer, digit by digit. The shortest digits would do
 * up to 2^53; past it they may be those of another integer: 2^60 would read 1152921504606847000. */
static void write_real(double v, str *out) {
    if (v >= -0x1p63 && v < 0x1p63 && v == (double)(int64_t)v) {
        str_printf(out, "%" PRId64, (int64_t)v);
    } else {
        json_write_double(out, v);
    }
}

/* Deeper than what json_parse lets in only when built in memory; then it is past a maximum like any other. */
static void write_value(const json_t *v, str *out, bool canonical, int depth) {
    if (depth > 2 * JSON_MAX_DEPTH) {
        out->failed = out->past_max = true;
    }
    if (out->failed) {
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT: write_object(v, out, canonical, depth + 1); break;
    case JSON_ARRAY: write_array(v, out, canonical, depth + 1); break;
    case JSON_STRING: json_write_string(out, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: str_printf(out, "%" PRId64, (int64_t)json_integer_value(v)); break;
    case JSON_REAL: write_real(json_real_value(v), out); break;
    case JSON_TRUE: str_append_s(out, "true"); break;
    case JSON_FALSE: str_append_s(out, "false"); break;
    case JSON_NULL: str_append_s(out, "null"); break;
    }
}

void json_write(const json_t *v, str *out) {
    write_value(v, out, false, 0);
}

void json_write_canonical(const json_t *v, str *out) {
    write_value(v, out, true, 0);
}

muga_status json_digest(const json_t *v, uint8_t out[32], muga_error *err) {
    str text = STR_INIT;
    json_write_canonical(v, &text);
    muga_status st = str_status(&text, err, "canonical JSON");
    if (st == MUGA_OK) {
        sha256_of(str_get(&text), text.len, out);
    }
    str_release(&text);
    return st;
}

/* ---- copies ---- */

static json_t *clone_object(const json_t *v) {
    json_t *object = unconst(v), *copy = json_object();
    for (void *it = json_object_iter(object); copy && it; it = json_object_iter_next(object, it)) {
        member m = member_at(it);
        json_t *value = json_clone(m.value);
        if (!value || json_object_setn_new_nocheck(copy, m.key, m.n_key, value) != 0) {
            json_decref(copy);
            copy = NULL;
        }
    }
    return copy;
}

static json_t *clone_array(const json_t *v) {
    json_t *copy = json_array();
    for (size_t i = 0; copy && i < json_array_size(v); i++) {
        json_t *value = json_clone(json_array_get(v, i));
        if (!value || json_array_append_new(copy, value) != 0) {
            json_decref(copy);
            copy = NULL;
        }
    }
    return copy;
}

json_t *json_clone_shallow(const json_t *v) {
    json_t *copy = json_copy(unconst(v));
    if (copy && (json_object_size(copy) != json_object_size(v) || json_array_size(copy) != json_array_size(v))) {
        json_decref(copy);
        copy = NULL;
    }
    return copy;
}

json_t *json_clone(const json_t *v) {
    if (!v) {
        return NULL;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT: return clone_object(v);
    case JSON_ARRAY: return clone_array(v);
    case JSON_STRING: return json_stringn_nocheck(json_string_value(v), json_string_length(v));
    case JSON_INTEGER: return json_integer(json_integer_value(v));
    case JSON_REAL: return json_real(json_real_value(v));
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL: break;
    }
    return unconst(v); /* one of a kind, not counted */
}

/* ---- members ---- */

bool json_is_deeper(const json_t *v, int max) {
    bool object = json_is_object(v), deeper = false;
    if (!object && !json_is_array(v)) {
        return false;
    }
    if (max <= 0) {
        return true;
    }
    union { /* iteration knows no const */
        const json_t *in;
        json_t *out;
    } at = {v};
    const char *key;
    json_t *sub;
    json_object_foreach(at.out, key, sub) {
        deeper = deeper || json_is_deeper(sub, max - 1);
    }
    for (size_t i = 0; !object && !deeper && i < json_array_size(v); i++) {
        deeper = json_is_deeper(json_array_get(v, i), max - 1);
    }
    return deeper;
}

const char *json_get_string(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

int64_t json_get_int(const json_t *object, const char *key, int64_t otherwise) {
    const json_t *v = json_object_get(object, key);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : otherwise;
}

bool json_get_bool(const json_t *object, const char *key, bool otherwise) {
    const json_t *v = json_object_get(object, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

double json_get_number(const json_t *object, const char *key, double otherwise) {
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}
