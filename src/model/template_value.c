/* Values of the template language: making, comparing, printing, slicing. Semantics are Python's, as Jinja has them.
 * All memory comes from the render's arena, so nothing here is freed and nothing outlives the render. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "base/utf8.h"
#include "model/template_internal.h"

#include <inttypes.h>

const tv TV_UNDEF = {.kind = TV_UNDEFINED};
const tv TV_NULL = {.kind = TV_NONE};

tv tv_bool(bool b) {
    return (tv){.kind = TV_BOOL, .u.b = b};
}
tv tv_int(int64_t i) {
    return (tv){.kind = TV_INT, .u.i = i};
}
tv tv_float(double d) {
    return (tv){.kind = TV_FLOAT, .u.d = d};
}
tv tv_borrow(const char *p, size_t n) {
    return (tv){.kind = TV_STRING, .n_str = (uint32_t)n, .u.s = p};
}
tv tv_undefined(const char *name) {
    return (tv){.kind = TV_UNDEFINED, .u.s = name};
}

void *interp_alloc(interp *in, size_t bytes) {
    if (interp_failed(in) || !interp_charge(in, 1 + bytes / 256))
        return NULL;
    void *p = arena_alloc(&in->mem, bytes);
    if (p)
        return p;
    if (in->limits.memory_bytes && in->mem.used_bytes + bytes > in->limits.memory_bytes)
        interp_fail(in, MUGA_E_LIMIT, "values take more than %zu bytes", in->limits.memory_bytes);
    else
        interp_fail(in, MUGA_E_NOMEM, "out of memory");
    return NULL;
}

tv tv_text(interp *in, const char *p, size_t n) {
    if (n > UINT32_MAX)
        return interp_fail(in, MUGA_E_LIMIT, "a string is longer than 4 GiB");
    char *copy = interp_alloc(in, n + 1);
    if (!copy)
        return TV_UNDEF;
    if (n)
        memcpy(copy, p, n);
    return tv_borrow(copy, n);
}

tv tv_from_str(interp *in, str *s) {
    muga_error e;
    muga_status st = str_status(s, &e, "template string");
    tv v = st ? interp_fail(in, st, "%s", e.message) : tv_text(in, str_get(s), s->len);
    str_release(s);
    return v;
}

tv tv_list_new(interp *in, tv_kind kind, size_t n) {
    tv_list *l = interp_alloc(in, sizeof *l);
    tv *v = interp_alloc(in, n * sizeof *v);
    if (!l || !v)
        return TV_UNDEF;
    l->n = n;
    l->v = v;
    return (tv){.kind = kind, .u.list = l};
}

tv tv_dict_new(interp *in, size_t cap) {
    tv_dict *d = interp_alloc(in, sizeof *d);
    if (!d)
        return TV_UNDEF;
    d->cap = cap;
    d->keys = interp_alloc(in, cap * sizeof *d->keys);
    d->values = interp_alloc(in, cap * sizeof *d->values);
    return interp_failed(in) ? TV_UNDEF : (tv){.kind = TV_DICT, .u.dict = d};
}

bool tv_dict_get(interp *in, const tv_dict *d, tv key, tv *out) {
    interp_charge(in, 1 + d->n / 8);
    for (size_t i = 0; i < d->n; i++)
        if (tv_equal(in, d->keys[i], key)) {
            *out = d->values[i];
            return true;
        }
    return false;
}

bool tv_dict_get_name(interp *in, const tv_dict *d, const char *name, tv *out) {
    return tv_dict_get(in, d, tv_borrow(name, strlen(name)), out);
}

void tv_dict_set(interp *in, tv_dict *d, tv key, tv value) {
    interp_charge(in, 1 + d->n / 8);
    for (size_t i = 0; i < d->n; i++)
        if (tv_equal(in, d->keys[i], key)) {
            d->values[i] = value;
            return;
        }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 8;
        tv *keys = interp_alloc(in, cap * sizeof *keys), *values = interp_alloc(in, cap * sizeof *values);
        if (!keys || !values)
            return;
        if (d->n) {
            memcpy(keys, d->keys, d->n * sizeof *keys);
            memcpy(values, d->values, d->n * sizeof *values);
        }
        d->keys = keys;
        d->values = values;
        d->cap = cap;
    }
    d->keys[d->n] = key;
    d->values[d->n++] = value;
}

/* Strings are borrowed from the JSON value, which outlives the render. Depth was bounded when it was parsed. */
tv tv_from_json(interp *in, const json_t *v) {
    if (interp_failed(in))
        return TV_UNDEF;
    switch (json_typeof(v)) {
    case JSON_NULL: return TV_NULL;
    case JSON_TRUE: return tv_bool(true);
    case JSON_FALSE: return tv_bool(false);
    case JSON_INTEGER: return tv_int(json_integer_value(v));
    case JSON_REAL: return tv_float(json_real_value(v));
    case JSON_STRING: return tv_borrow(json_string_value(v), json_string_length(v));
    case JSON_ARRAY: {
        tv list = tv_list_new(in, TV_LIST, json_array_size(v));
        for (size_t i = 0; !interp_failed(in) && i < list.u.list->n; i++)
            list.u.list->v[i] = tv_from_json(in, json_array_get(v, i));
        return list;
    }
    case JSON_OBJECT: {
        tv dict = tv_dict_new(in, json_object_size(v));
        const char *key;
        json_t *item;
        if (interp_failed(in))
            return TV_UNDEF;
        json_object_foreach((json_t *)(uintptr_t)v, key, item) { /* keys are unique already */
            tv_dict *d = dict.u.dict;
            d->keys[d->n] = tv_borrow(key, strlen(key));
            d->values[d->n++] = tv_from_json(in, item);
        }
        return dict;
    }
    }
    return TV_UNDEF;
}

bool tv_truth(tv v) {
    switch (v.kind) {
    case TV_UNDEFINED:
    case TV_NONE: return false;
    case TV_BOOL: return v.u.b;
    case TV_INT: return v.u.i != 0;
    case TV_FLOAT: return v.u.d != 0;
    case TV_STRING: return v.n_str != 0;
    case TV_LIST:
    case TV_TUPLE: return v.u.list->n != 0;
    case TV_DICT: return v.u.dict->n != 0;
    default: return true;
    }
}

bool tv_is_number(tv v) {
    return v.kind == TV_INT || v.kind == TV_FLOAT || v.kind == TV_BOOL;
}

double tv_number(tv v) {
    return v.kind == TV_FLOAT ? v.u.d : v.kind == TV_BOOL ? (double)v.u.b : v.kind == TV_INT ? (double)v.u.i : 0.0;
}

static int64_t tv_integer(tv v) {
    return v.kind == TV_BOOL ? v.u.b : v.u.i;
}

bool tv_is_text(tv v, const char *s) {
    return v.kind == TV_STRING && strlen(s) == v.n_str && memcmp(v.u.s, s, v.n_str) == 0;
}

bool tv_equal(interp *in, tv a, tv b) {
    if (!interp_charge(in, 1))
        return false;
    if (tv_is_number(a) && tv_is_number(b)) {
        if (a.kind == TV_FLOAT || b.kind == TV_FLOAT)
            return tv_number(a) == tv_number(b);
        return tv_integer(a) == tv_integer(b);
    }
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case TV_UNDEFINED:
    case TV_NONE: return true;
    case TV_STRING: return a.n_str == b.n_str && (a.u.s == b.u.s || memcmp(a.u.s, b.u.s, a.n_str) == 0);
    case TV_LIST:
    case TV_TUPLE:
        if (a.u.list->n != b.u.list->n)
            return false;
        for (size_t i = 0; i < a.u.list->n; i++)
            if (!tv_equal(in, a.u.list->v[i], b.u.list->v[i]))
                return false;
        return true;
    case TV_DICT:
        if (a.u.dict->n != b.u.dict->n)
            return false;
        for (size_t i = 0; i < a.u.dict->n; i++) {
            tv other;
            if (!tv_dict_get(in, b.u.dict, a.u.dict->keys[i], &other) || !tv_equal(in, a.u.dict->values[i], other))
                return false;
        }
        return true;
    case TV_NAMESPACE: return a.u.dict == b.u.dict;
    case TV_MACRO: return a.u.macro == b.u.macro;
    case TV_LOOP: return a.u.loop == b.u.loop;
    case TV_FUNCTION: return a.u.function == b.u.function;
    default: return false;
    }
}

int tv_compare(interp *in, tv a, tv b) {
    if (!interp_charge(in, 1))
        return 0;
    if (tv_is_number(a) && tv_is_number(b)) {
        if (a.kind == TV_FLOAT || b.kind == TV_FLOAT) {
            double x = tv_number(a), y = tv_number(b);
            return x < y ? -1 : x > y;
        }
        int64_t x = tv_integer(a), y = tv_integer(b);
        return x < y ? -1 : x > y;
    }
    if (a.kind == TV_STRING && b.kind == TV_STRING) {
        int c = memcmp(a.u.s, b.u.s, MIN(a.n_str, b.n_str)); /* UTF-8 keeps code point order */
        return c ? (c < 0 ? -1 : 1) : a.n_str < b.n_str ? -1 : a.n_str > b.n_str;
    }
    if (a.kind == b.kind && (a.kind == TV_LIST || a.kind == TV_TUPLE)) {
        size_t n = MIN(a.u.list->n, b.u.list->n);
        for (size_t i = 0; i < n && !interp_failed(in); i++)
            if (!tv_equal(in, a.u.list->v[i], b.u.list->v[i]))
                return tv_compare(in, a.u.list->v[i], b.u.list->v[i]);
        return a.u.list->n < b.u.list->n ? -1 : a.u.list->n > b.u.list->n;
    }
    interp_fail(in, MUGA_E_INPUT, "'<' not supported between '%s' and '%s'", tv_kind_name(a), tv_kind_name(b));
    return 0;
}

const char *tv_kind_name(tv v) {
    static const char *const names[] = {"Undefined", "NoneType", "bool",   "int",         "float",
                                        "str",       "list",     "tuple",  "dict",        "Namespace",
                                        "Macro",     "function", "method", "LoopContext", "generator"};
    return names[v.kind];
}

/* repr(float): shortest digits, ".0" on integers, exponent from 1e16 and below 1e-4 with two digits at least. */
static void tv_write_float(double d, str *out) {
    if (d != d) {
        str_append_s(out, "nan");
        return;
    }
    if (d > 1.7976931348623157e308 || d < -1.7976931348623157e308) {
        str_append_s(out, d < 0 ? "-inf" : "inf");
        return;
    }
    char text[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, d);
        if (strtod(text, NULL) == d)
            break;
    }
    char *e = strchr(text, 'e');
    int exponent = atoi(e + 1);
    if (exponent >= -4 && exponent < 16) {
        int digits = (int)(e - text) - (text[0] == '-') - (strchr(text, '.') ? 1 : 0);
        int decimals = digits - 1 - exponent;
        str_printf(out, "%.*f", decimals > 1 ? decimals : 1, d);
        return;
    }
    *e = 0;
    str_printf(out, "%se%c%02d", text, exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
}

static void tv_write_text_repr(tv v, str *out) {
    bool single = memchr(v.u.s, '\'', v.n_str) != NULL, twice = memchr(v.u.s, '"', v.n_str) != NULL;
    char quote = single && !twice ? '"' : '\'';
    str_append_c(out, quote);
    for (size_t i = 0; i < v.n_str; i++) {
        char c = v.u.s[i];
        if (c == '\n')
            str_append_s(out, "\\n");
        else if (c == '\r')
            str_append_s(out, "\\r");
        else if (c == '\t')
            str_append_s(out, "\\t");
        else if (c == '\\' || c == quote) {
            str_append_c(out, '\\');
            str_append_c(out, c);
        } else if ((unsigned char)c < 0x20 || c == 0x7f)
            str_printf(out, "\\x%02x", (unsigned char)c);
        else
            str_append_c(out, c);
    }
    str_append_c(out, quote);
}

void tv_write_repr(interp *in, tv v, str *out) {
    if (!interp_charge(in, 1))
        return;
    switch (v.kind) {
    case TV_STRING: tv_write_text_repr(v, out); break;
    case TV_LIST:
    case TV_TUPLE:
        str_append_c(out, v.kind == TV_LIST ? '[' : '(');
        for (size_t i = 0; i < v.u.list->n; i++) {
            if (i)
                str_append_s(out, ", ");
            tv_write_repr(in, v.u.list->v[i], out);
        }
        if (v.kind == TV_TUPLE && v.u.list->n == 1)
            str_append_c(out, ',');
        str_append_c(out, v.kind == TV_LIST ? ']' : ')');
        break;
    case TV_DICT:
        str_append_c(out, '{');
        for (size_t i = 0; i < v.u.dict->n; i++) {
            if (i)
                str_append_s(out, ", ");
            tv_write_repr(in, v.u.dict->keys[i], out);
            str_append_s(out, ": ");
            tv_write_repr(in, v.u.dict->values[i], out);
        }
        str_append_c(out, '}');
        break;
    case TV_UNDEFINED: str_append_s(out, "Undefined"); break;
    default: tv_write(in, v, out);
    }
}

void tv_write(interp *in, tv v, str *out) {
    switch (v.kind) {
    case TV_UNDEFINED: break;
    case TV_NONE: str_append_s(out, "None"); break;
    case TV_BOOL: str_append_s(out, v.u.b ? "True" : "False"); break;
    case TV_INT: str_printf(out, "%" PRId64, v.u.i); break;
    case TV_FLOAT: tv_write_float(v.u.d, out); break;
    case TV_STRING:
        interp_charge(in, v.n_str / 256);
        str_append(out, v.u.s, v.n_str);
        break;
    case TV_LIST:
    case TV_TUPLE:
    case TV_DICT: tv_write_repr(in, v, out); break;
    default: interp_fail(in, MUGA_E_INPUT, "a %s cannot be printed", tv_kind_name(v));
    }
}

tv tv_to_text(interp *in, tv v) {
    if (v.kind == TV_STRING)
        return v;
    str s;
    str_init(&s, in->limits.memory_bytes);
    tv_write(in, v, &s);
    return tv_from_str(in, &s);
}

/* ---- strings by code point ---- */

static bool tv_is_ascii(tv v) {
    for (size_t i = 0; i < v.n_str; i++)
        if ((unsigned char)v.u.s[i] >= 0x80)
            return false;
    return true;
}

size_t tv_text_length(tv v) {
    return utf8_count(v.u.s, v.n_str);
}

static size_t tv_char_bytes(const char *p, size_t n) {
    uint32_t cp;
    size_t k = utf8_decode(p, n, &cp);
    return k ? k : 1;
}

/* Byte offset of code point i (i <= length). */
static size_t tv_offset(tv v, size_t i) {
    size_t at = 0;
    while (i-- > 0 && at < v.n_str)
        at += tv_char_bytes(v.u.s + at, v.n_str - at);
    return at;
}

tv tv_text_at(interp *in, tv v, int64_t i) {
    bool ascii = tv_is_ascii(v);
    int64_t n = ascii ? (int64_t)v.n_str : (int64_t)tv_text_length(v);
    interp_charge(in, v.n_str / 64);
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return TV_UNDEF;
    size_t at = ascii ? (size_t)i : tv_offset(v, (size_t)i);
    return tv_borrow(v.u.s + at, tv_char_bytes(v.u.s + at, v.n_str - at));
}

bool tv_iterate(interp *in, tv v, tv_list *out) {
    *out = (tv_list){0};
    if (v.kind == TV_LIST || v.kind == TV_TUPLE || v.kind == TV_GENERATOR) {
        *out = *v.u.list;
    } else if (v.kind == TV_DICT) {
        *out = (tv_list){v.u.dict->n, v.u.dict->keys};
    } else if (v.kind == TV_STRING) {
        tv list = tv_list_new(in, TV_LIST, tv_text_length(v));
        if (interp_failed(in))
            return false;
        size_t at = 0;
        for (size_t i = 0; i < list.u.list->n; i++) {
            size_t k = tv_char_bytes(v.u.s + at, v.n_str - at);
            list.u.list->v[i] = tv_borrow(v.u.s + at, k);
            at += k;
        }
        *out = *list.u.list;
    } else if (v.kind != TV_UNDEFINED) {
        interp_fail(in, MUGA_E_INPUT, "'%s' object is not iterable", tv_kind_name(v));
        return false;
    }
    return interp_charge(in, out->n / 16);
}

/* Python's slice.indices(): bounds for a sequence of length n. false when step is 0 or a part is not an integer. */
static bool tv_slice_bounds(interp *in, int64_t n, tv start, tv stop, tv step, int64_t *from, int64_t *to,
                            int64_t *by) {
    tv parts[3] = {start, stop, step};
    for (int i = 0; i < 3; i++)
        if (parts[i].kind != TV_NONE && parts[i].kind != TV_INT && parts[i].kind != TV_BOOL) {
            interp_fail(in, MUGA_E_INPUT, "slice indices must be integers, not %s", tv_kind_name(parts[i]));
            return false;
        }
    *by = step.kind == TV_NONE ? 1 : tv_integer(step);
    if (*by == 0) {
        interp_fail(in, MUGA_E_INPUT, "slice step cannot be zero");
        return false;
    }
    int64_t low = *by < 0 ? -1 : 0, high = *by < 0 ? n - 1 : n, bound[2] = {*by < 0 ? high : low, *by < 0 ? low : high};
    for (int i = 0; i < 2; i++) {
        if (parts[i].kind == TV_NONE)
            continue;
        int64_t x = tv_integer(parts[i]);
        if (x < 0)
            x = x < -n ? low : x + n;
        bound[i] = x < low ? low : x > high ? high : x;
    }
    *from = bound[0];
    *to = bound[1];
    return true;
}

tv tv_slice(interp *in, tv v, tv start, tv stop, tv step) {
    if (v.kind == TV_UNDEFINED)
        return interp_fail(in, MUGA_E_INPUT, "'%s' is undefined", v.u.s ? v.u.s : "value");
    if (v.kind != TV_STRING && v.kind != TV_LIST && v.kind != TV_TUPLE)
        return interp_fail(in, MUGA_E_INPUT, "'%s' object cannot be sliced", tv_kind_name(v));
    tv_list items = {0};
    int64_t n = v.kind == TV_STRING ? (int64_t)tv_text_length(v) : (int64_t)v.u.list->n, from, to, by;
    if (!tv_slice_bounds(in, n, start, stop, step, &from, &to, &by))
        return TV_UNDEF;
    if (v.kind == TV_STRING && by == 1) {
        size_t a = tv_offset(v, (size_t)from), b = to > from ? tv_offset(v, (size_t)to) : a;
        interp_charge(in, v.n_str / 64);
        return tv_borrow(v.u.s + a, b - a);
    }
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    size_t count = 0;
    for (int64_t i = from; by > 0 ? i < to : i > to; i = by > INT64_MAX - i ? to : i + by)
        count++;
    tv list = tv_list_new(in, v.kind == TV_TUPLE ? TV_TUPLE : TV_LIST, count);
    if (interp_failed(in))
        return TV_UNDEF;
    for (size_t k = 0; k < count; k++)
        list.u.list->v[k] = items.v[from + (int64_t)k * by];
    if (v.kind != TV_STRING)
        return list;
    str s;
    str_init(&s, in->limits.memory_bytes);
    for (size_t k = 0; k < count; k++)
        str_append(&s, list.u.list->v[k].u.s, list.u.list->v[k].n_str);
    return tv_from_str(in, &s);
}

bool tv_contains(interp *in, tv container, tv item) {
    if (container.kind == TV_STRING) {
        if (item.kind != TV_STRING) {
            interp_fail(in, MUGA_E_INPUT, "'in <string>' requires string as left operand, not %s", tv_kind_name(item));
            return false;
        }
        interp_charge(in, container.n_str / 32);
        return item.n_str == 0 || memmem(container.u.s, container.n_str, item.u.s, item.n_str) != NULL;
    }
    if (container.kind == TV_NONE || tv_is_number(container)) {
        interp_fail(in, MUGA_E_INPUT, "argument of type '%s' is not iterable", tv_kind_name(container));
        return false;
    }
    tv_list items;
    if (!tv_iterate(in, container, &items))
        return false;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++)
        if (tv_equal(in, items.v[i], item))
            return true;
    return false;
}
