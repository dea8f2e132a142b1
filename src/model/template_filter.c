/* Filters of the template language: the table, and those on single values. An unknown name is an error where it is
 * reached. Those on text and on sequences have files of their own.
 * Source: the Jinja template designer documentation ("List of Builtin Filters"); tojson as transformers has it. */
#include "model/template_internal.h"

#include <errno.h>
#include <math.h>

static int64_t integer_of(interp *in, tv v, int64_t otherwise) {
    if (v.kind == TV_MISSING)
        return otherwise;
    if (!tv_is_integer(v))
        interp_fail(in, MUGA_E_INPUT, "'%s' object cannot be interpreted as an integer", tv_kind_name(v));
    return tv_integer(v);
}

/* ---- numbers ---- */

/* Digits of any script, sign, underscores between digits: what int() and float() read, as ASCII into out. */
static bool plain_number(interp *in, tv v, char *out, size_t cap) {
    size_t n = 0;
    uint32_t cp;
    for (size_t i = 0; i < v.n_str;) {
        size_t k = template_first_char(v.u.s + i, v.n_str - i, &cp);
        if (cp >= 0x80 && !interp_charge(in, 8))
            return false;
        int digit = cp < 0x80 ? -1 : template_digit_value(cp);
        i += k;
        if (cp == '_') {
            bool between = n > 0 && out[n - 1] != '_' && i < v.n_str;
            if (!between)
                return false;
            continue;
        }
        if (n + 1 >= cap || (cp >= 0x80 && digit < 0) || cp == 0)
            return false;
        out[n++] = digit >= 0 ? (char)('0' + digit) : (char)cp;
    }
    out[n] = 0;
    return n > 0;
}

/* Python's int(text, base). */
static bool parse_integer(const char *p, int64_t base, int64_t *out) {
    bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    char mark = p[0] == '0' ? (char)(p[1] | 0x20) : 0;
    int64_t prefix = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (prefix && (base == prefix || base == 0)) {
        base = prefix;
        p += 2;
    } else if (base == 0) {
        if (p[0] == '0' && strspn(p, "0") != strlen(p))
            return false;
        base = 10;
    }
    if (!*p || base < 2 || base > 36 || *p == '-' || *p == '+' || *p == ' ')
        return false;
    char *end;
    errno = 0;
    long long i = strtoll(p, &end, (int)base);
    if (*end || errno)
        return false;
    *out = negative ? -i : i;
    return true;
}

/* Python's float(text): no hexadecimal, no more than a number. */
static bool parse_float(const char *p, double *out) {
    const char *digits = p + (*p == '-' || *p == '+');
    static const char *const words[] = {"inf", "infinity", "nan"};
    bool word = false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        word |= !strcasecmp(digits, words[i]);
    if (!word && (!*digits || strspn(digits, "0123456789.eE+-") != strlen(digits)))
        return false;
    char *end;
    *out = strtod(p, &end);
    return end != p && !*end;
}

static bool float_of_text(interp *in, tv v, double *out) {
    char text[400];
    tv bare = template_text_strip(in, v, TV_NULL, true, true);
    return interp_charge(in, TEMPLATE_STEPS_FLOAT / 2 + MIN(bare.n_str, sizeof text) / 2) &&
           plain_number(in, bare, text, sizeof text) && parse_float(text, out);
}

/* An int of a float; false where Python raises. */
static bool whole_of(double d, int64_t *out) {
    if (d != d || d >= 9223372036854775808.0 || d < -9223372036854775808.0)
        return false;
    *out = (int64_t)d;
    return true;
}

static tv filter_int(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv otherwise = a[0].kind == TV_MISSING ? tv_int(0) : a[0];
    int64_t base = integer_of(in, a[1], 10), i;
    double d;
    char text[400];
    if (v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (tv_is_integer(v))
        return tv_int(tv_integer(v));
    if (v.kind == TV_FLOAT)
        return whole_of(v.u.d, &i) ? tv_int(i) : otherwise;
    if (v.kind != TV_STRING)
        return otherwise;
    tv bare = template_text_strip(in, v, TV_NULL, true, true);
    if (interp_charge(in, MIN(bare.n_str, sizeof text) / 4) && plain_number(in, bare, text, sizeof text) &&
        parse_integer(text, base, &i))
        return tv_int(i);
    return float_of_text(in, v, &d) && whole_of(d, &i) ? tv_int(i) : otherwise;
}

static tv filter_float(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    double d;
    if (v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (tv_is_number(v))
        return tv_float(tv_number(v));
    if (v.kind == TV_STRING && float_of_text(in, v, &d))
        return tv_float(d);
    return a[0].kind == TV_MISSING ? tv_float(0) : a[0];
}

static tv filter_abs(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    if (v.kind == TV_FLOAT)
        return tv_float(fabs(v.u.d));
    if (!tv_is_integer(v))
        return interp_fail(in, MUGA_E_INPUT, "bad operand type for abs(): '%s'", tv_kind_name(v));
    return tv_integer(v) < 0 ? interp_sign(in, true, v) : tv_int(tv_integer(v));
}

/* round(x, digits): half to even, on the exact decimal value. */
static tv round_common(interp *in, tv v, int64_t digits) {
    if (tv_is_integer(v)) {
        int64_t i = tv_integer(v), unit = 1;
        for (; digits < 0 && unit < INT64_MAX / 10; digits++)
            unit *= 10;
        if (digits < 0)
            return tv_int(0);
        int64_t rest = i % unit, down = i - rest;
        rest = rest < 0 ? -rest : rest;
        bool away = rest > unit - rest || (rest == unit - rest && (down / unit) % 2 != 0);
        int64_t r = down;
        if (away && unit > 1 && __builtin_add_overflow(down, i < 0 ? -unit : unit, &r))
            return interp_fail(in, MUGA_E_INPUT, "integer overflow in round");
        return tv_int(r);
    }
    char text[400];
    if (digits > 300 || !isfinite(v.u.d))
        return v;
    if (digits < 0) {
        double unit = pow(10, (double)MIN(-digits, 309)), q = v.u.d / unit;
        return tv_float(isfinite(unit) ? nearbyint(q) * unit : copysign(0.0, v.u.d));
    }
    if (!interp_charge_real(in, v.u.d, digits))
        return TV_UNDEF;
    (void)snprintf(text, sizeof text, "%.*f", (int)MIN(digits, 330), v.u.d);
    return tv_float(strtod(text, NULL));
}

static tv filter_round(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    int64_t digits = integer_of(in, a[0], 0);
    tv method = a[1].kind == TV_MISSING ? tv_literal("common") : a[1];
    bool up = tv_is_text(method, "ceil"), down = tv_is_text(method, "floor");
    if (interp_failed(in))
        return TV_UNDEF;
    if (!up && !down && !tv_is_text(method, "common"))
        return interp_fail(in, MUGA_E_INPUT, "round: method must be common, ceil or floor");
    if (v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (!tv_is_number(v))
        return interp_fail(in, MUGA_E_INPUT, "type %s doesn't define __round__ method", tv_kind_name(v));
    if (!up && !down)
        return round_common(in, v, digits);
    double unit = pow(10, (double)digits), scaled = tv_number(v) * unit;
    if (!isfinite(scaled) || unit == 0)
        return interp_fail(in, MUGA_E_INPUT, "round: the number is out of range");
    return tv_float(((up ? ceil(scaled) : floor(scaled)) + 0.0) / unit); /* an integer's zero has no sign */
}

/* ---- any value ---- */

static tv filter_default(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    bool use = v.kind == TV_UNDEFINED || (a[1].kind != TV_MISSING && tv_truth(in, a[1]) && !tv_truth(in, v));
    if (!use)
        return v;
    return a[0].kind == TV_MISSING ? tv_literal("") : a[0];
}

static tv filter_length(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    int64_t n;
    if (tv_length(in, v, &n))
        return tv_int(n);
    return interp_fail(in, MUGA_E_INPUT, "object of type '%s' has no len()", tv_kind_name(v));
}

static tv filter_attr(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv found;
    if (a[0].kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "attr needs a name, not %s", tv_kind_name(a[0]));
    tv name = tv_text(in, a[0].u.s, a[0].n_str);
    if (interp_failed(in) || v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    return interp_find_attr(in, v, name.u.s, &found) ? found : tv_missing_of(in, v, name, FORM_ATTRIBUTE);
}

tv template_get_path(interp *in, tv v, tv path, tv otherwise) {
    if (path.kind == TV_NONE || path.kind == TV_MISSING)
        return v;
    if (path.kind != TV_STRING) {
        v = interp_get_item(in, v, path);
        return v.kind == TV_UNDEFINED && otherwise.kind != TV_MISSING ? otherwise : v;
    }
    for (size_t at = 0; at <= path.n_str && interp_charge(in, 2);) {
        const char *p = path.u.s + at, *dot = memchr(p, '.', path.n_str - at);
        size_t n = dot ? (size_t)(dot - p) : path.n_str - at;
        tv key = tv_borrow(p, n);
        char digits[20];
        int64_t i;
        if (n && n < sizeof digits && template_text_is_digits(key) && plain_number(in, key, digits, sizeof digits) &&
            parse_integer(digits, 10, &i))
            key = tv_int(i);
        v = interp_get_item(in, v, key);
        if (v.kind == TV_UNDEFINED && otherwise.kind != TV_MISSING)
            v = otherwise;
        at += n + 1;
    }
    return v;
}

/* ---- JSON ---- */

static const char *json_text(interp *in, tv v, const char *what) {
    if (v.kind != TV_STRING) {
        interp_fail(in, MUGA_E_INPUT, "tojson: %s must be text, not %s", what, tv_kind_name(v));
        return "";
    }
    tv copy = tv_text(in, v.u.s, v.n_str);
    return interp_failed(in) ? "" : copy.u.s;
}

static const char *json_indent(interp *in, tv v) {
    static const char blanks[] = "                                ";
    if (v.kind == TV_MISSING || v.kind == TV_NONE)
        return NULL;
    if (!tv_is_integer(v))
        return json_text(in, v, "indent");
    int64_t n = MAX(tv_integer(v), 0);
    if (n >= (int64_t)sizeof blanks) {
        interp_fail(in, MUGA_E_LIMIT, "tojson: indent is more than %zu", sizeof blanks - 1);
        return NULL;
    }
    return blanks + sizeof blanks - 1 - n;
}

static tv filter_tojson(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv_list pair = {0};
    json_style style = {.ascii = a[0].kind != TV_MISSING && tv_truth(in, a[0]),
                        .indent = json_indent(in, a[1]),
                        .sort_keys = a[3].kind != TV_MISSING && tv_truth(in, a[3])};
    style.item = style.indent ? "," : ", ";
    style.key = ": ";
    if (a[2].kind != TV_MISSING && a[2].kind != TV_NONE) {
        if (!tv_iterate(in, a[2], &pair))
            return TV_UNDEF;
        if (pair.n != 2)
            return interp_fail(in, MUGA_E_INPUT, "tojson: separators must be two strings");
        style.item = json_text(in, pair.v[0], "a separator");
        style.key = json_text(in, pair.v[1], "a separator");
    }
    str s;
    interp_str_init(in, &s);
    template_write_json(in, v, &style, 0, &s);
    return tv_from_str(in, &s);
}

/* ---- the table ---- */

static const filter_row value_filters[] = {{"tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson},
                                           {"default", "default_value boolean", 0, filter_default},
                                           {"d", "default_value boolean", 0, filter_default},
                                           {"length", "", 0, filter_length},
                                           {"count", "", 0, filter_length},
                                           {"int", "default base", 0, filter_int},
                                           {"float", "default", 0, filter_float},
                                           {"round", "precision method", 0, filter_round},
                                           {"abs", "", 0, filter_abs},
                                           {"attr", "name", 1, filter_attr},
                                           {NULL, NULL, 0, NULL}};

static const filter_row *const tables[] = {value_filters, template_text_filters, template_sequence_filters};

/* Rows are counted through all tables. */
static const filter_row *row_at(int index) {
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const filter_row *row = tables[t]; row->name; row++)
            if (index-- == 0)
                return row;
    return NULL;
}

int template_filter_find(const char *name) {
    int index = 0;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const filter_row *row = tables[t]; row->name; row++, index++)
            if (!strcmp(row->name, name))
                return index;
    return -1;
}

tv template_filter(interp *in, int index, tv input, const call_args *args) {
    const filter_row *row = row_at(index);
    tv bound[TEMPLATE_MAX_PARAMETERS];
    if (interp_failed(in) ||
        (row->parameters && !template_bind(in, row->name, row->parameters, row->required, args, bound)))
        return TV_UNDEF;
    return row->apply(in, input, bound, args);
}

tv template_filter_by_name(interp *in, tv name, tv input, const call_args *args) {
    char text[64] = "";
    if (name.kind == TV_STRING && name.n_str < sizeof text)
        memcpy(text, name.u.s, name.n_str);
    int index = template_filter_find(text);
    if (index >= 0 && interp_charge(in, TEMPLATE_STEPS_NAMED))
        return template_filter(in, index, input, args);
    return interp_fail(in, MUGA_E_INPUT, "no filter named '%.60s'", text);
}
