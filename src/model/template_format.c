/* str.format and format specifications, as Python has them; and how both they and "%" write numbers. Fields reach into
 * values by the sandbox's own rules. Widths and precisions come from the template and are checked before use.
 * Source: the Python library reference, "Format String Syntax", "Format Specification Mini-Language". */
#include "base/utf8.h"
#include "model/template_internal.h"

#include <inttypes.h>
#include <math.h>

#define MAX_PRECISION 4096

/* ---- numbers ---- */

/* The digits, grouped from the right; `width`: zeros are put before until there are so many characters. */
static void append_grouped(const char *digits, size_t n, char separator, size_t every, int64_t width, str *out) {
    size_t zeros = 0, total = n;
    if (separator)
        total = n + (n - 1) / every;
    while ((int64_t)total < width) {
        zeros++;
        total = n + zeros + (separator ? (n + zeros - 1) / every : 0);
    }
    size_t left = n + zeros;
    for (size_t i = 0; i < n + zeros; i++, left--) {
        if (i && separator && left % every == 0)
            str_append_c(out, separator);
        str_append_c(out, i < zeros ? '0' : digits[i - zeros]);
    }
}

static void append_sign(bool negative, char sign, str *out) {
    if (negative)
        str_append_c(out, '-');
    else if (sign == '+' || sign == ' ')
        str_append_c(out, sign);
}

void template_write_integer(interp *in, int64_t i, const number_style *s, str *out) {
    char digits[72];
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned base = (s->type | 0x20) == 'x' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10;
    const char *letters = s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    size_t at = sizeof digits;
    do {
        digits[--at] = letters[u % base];
        u /= base;
    } while (u);
    int64_t before = (i < 0 || s->sign == '+' || s->sign == ' ') + (s->alternate && base != 10 ? 2 : 0);
    int64_t width = s->zero ? s->width - before : 0;
    width = MAX(MAX(width, s->precision), 0);
    if (!interp_has_room(in, (uint64_t)width) || !interp_charge(in, 2 * TEMPLATE_STEPS_PRINTED + (uint64_t)width / 4))
        return;
    append_sign(i < 0, s->sign, out);
    if (s->alternate && base != 10)
        str_printf(out, "0%c", s->type);
    append_grouped(digits + at, sizeof digits - at, s->grouping, base == 10 ? 3 : 4, width, out);
}

/* repr's digits for no type and no precision; with one, like 'g' but never without a digit behind the point. */
static void append_general(double d, int64_t precision, str *out) {
    if (precision < 0) {
        tv_write_float(d, out);
        return;
    }
    char text[MAX_PRECISION + 64];
    int p = (int)MAX(precision, 1);
    (void)snprintf(text, sizeof text, "%.*e", p - 1, d);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= p) {
        (void)snprintf(text, sizeof text, "%.*g", p, d);
        str_append_s(out, text);
        return;
    }
    (void)snprintf(text, sizeof text, "%.*f", MAX(p - 1 - exponent, 0), d);
    size_t n = strlen(text);
    if (strchr(text, '.'))
        while (n > 1 && text[n - 1] == '0' && text[n - 2] != '.')
            n--;
    str_append(out, text, n);
    if (!strchr(text, '.'))
        str_append_s(out, ".0");
}

/* The magnitude, without sign. */
static void append_magnitude(double d, const number_style *s, str *out) {
    char text[MAX_PRECISION + 400], format[16];
    int precision = s->precision < 0 ? 6 : (int)s->precision;
    if (d != d || d - d != 0) {
        bool capital = s->type == 'E' || s->type == 'F' || s->type == 'G';
        str_append_s(out, d != d ? (capital ? "NAN" : "nan") : (capital ? "INF" : "inf"));
        if (s->type == '%')
            str_append_c(out, '%');
        return;
    }
    if (!s->type) {
        append_general(d, s->precision, out);
        return;
    }
    char type = s->type == '%' ? 'f' : s->type;
    (void)snprintf(format, sizeof format, "%%%s.*%c", s->alternate ? "#" : "", type);
    (void)snprintf(text, sizeof text, format, precision, s->type == '%' ? d * 100 : d);
    str_append_s(out, text);
    if (s->type == '%')
        str_append_c(out, '%');
}

void template_write_real(interp *in, double d, const number_style *s, str *out) {
    str text;
    bool negative = signbit(d) && d == d;
    if (s->precision > MAX_PRECISION) {
        interp_fail(in, MUGA_E_LIMIT, "format: a precision is more than %d", MAX_PRECISION);
        return;
    }
    if (!interp_charge_real(in, d, MAX(s->precision, 0)))
        return;
    str_init(&text, 2 * MAX_PRECISION);
    append_magnitude(negative ? -d : d, s, &text);
    const char *p = str_get(&text);
    size_t n = strspn(p, "0123456789");
    int64_t taken = (negative || s->sign == '+' || s->sign == ' ') + (int64_t)(text.len - n);
    int64_t width = s->zero ? s->width - taken : 0;
    if (interp_has_room(in, (uint64_t)MAX(width, 0)) && interp_charge(in, ((uint64_t)MAX(width, 0) + n) / 4)) {
        append_sign(negative, s->sign, out);
        if (n)
            append_grouped(p, n, s->grouping, 3, width, out);
        str_append(out, p + n, text.len - n);
    }
    str_release(&text);
}

/* ---- format specifications ---- */

typedef struct format_spec {
    const char *fill; /* one character */
    size_t n_fill;
    char align; /* < > = ^ or 0 */
    number_style number;
} format_spec;

static bool take_number(const char **p, const char *end, int64_t *out) {
    int64_t i = 0;
    if (*p == end || **p < '0' || **p > '9')
        return true;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p)
        if (i > INT32_MAX || (i = i * 10 + (**p - '0')) > INT32_MAX)
            return false;
    *out = i;
    return true;
}

/* [[fill]align][sign][z][#][0][width][grouping][.precision][type] */
static bool parse_spec(interp *in, const char *p, size_t n, format_spec *f) {
    const char *end = p + n;
    uint32_t cp;
    *f = (format_spec){.fill = " ", .n_fill = 1, .number = {.width = 0, .precision = -1}};
    size_t k = n ? template_first_char(p, n, &cp) : 0;
    if (k && k < n && p[k] && strchr("<>=^", p[k])) {
        f->fill = p;
        f->n_fill = k;
        f->align = p[k];
        p += k + 1;
    } else if (n && *p && strchr("<>=^", *p)) {
        f->align = *p++;
    }
    if (p < end && *p && strchr("+- ", *p))
        f->number.sign = *p++;
    if (p < end && *p == '#')
        f->number.alternate = *p++ == '#';
    if (p < end && *p == '0') {
        p++;
        if (!f->align) {
            f->fill = "0";
            f->align = '=';
        }
    }
    bool ok = take_number(&p, end, &f->number.width);
    if (ok && p < end && (*p == ',' || *p == '_'))
        f->number.grouping = *p++;
    if (ok && p < end && *p == '.') {
        p++;
        const char *digits = p;
        ok = take_number(&p, end, &f->number.precision) && p > digits;
    }
    if (ok && p < end)
        f->number.type = *p++;
    if (ok && p == end)
        return !interp_failed(in);
    interp_fail(in, MUGA_E_INPUT, "format: invalid format specifier");
    return false;
}

static void append_padded(interp *in, const format_spec *f, const char *p, size_t n, char align, str *out) {
    int64_t pad = f->number.width > 0 && interp_charge_scan(in, n) ? f->number.width - (int64_t)utf8_count(p, n) : 0;
    int64_t before = pad <= 0 || align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    tv_append_fill(in, out, f->fill, f->n_fill, before);
    str_append(out, p, n);
    tv_append_fill(in, out, f->fill, f->n_fill, pad - before);
}

static void format_text(interp *in, tv v, const format_spec *f, str *out) {
    tv text = v;
    if ((f->number.type && f->number.type != 's') || f->align == '=' || f->number.sign || f->number.alternate ||
        f->number.grouping) {
        interp_fail(in, MUGA_E_INPUT, "format: this format specifier is not allowed for 'str'");
        return;
    }
    if (f->number.precision >= 0)
        text = tv_slice(in, v, TV_NULL, tv_int(f->number.precision), TV_NULL);
    if (!interp_failed(in))
        append_padded(in, f, text.u.s, text.n_str, f->align ? f->align : '<', out);
}

static void format_number(interp *in, tv v, format_spec *f, str *out) {
    number_style *s = &f->number;
    bool real = v.kind == TV_FLOAT || (s->type && strchr("eEfFgG%", s->type));
    str text;
    interp_str_init(in, &text);
    s->zero = f->align == '=' && f->n_fill == 1 && *f->fill == '0';
    if (s->type == 'n')
        s->type = real ? 'g' : 'd';
    if (s->type == 'c' && !real) {
        char c[4];
        int64_t cp = tv_integer(v);
        str_append(&text, c, cp >= 0 && cp <= 0x10FFFF ? utf8_encode((uint32_t)cp, c) : 0);
    } else if (real ? s->type && !strchr("eEfFgG%", s->type) : s->type && !strchr("bdoxX", s->type)) {
        interp_fail(in, MUGA_E_INPUT, "format: unknown format code '%c' for object of type '%s'", s->type,
                    tv_kind_name(v));
    } else if (real) {
        template_write_real(in, tv_number(v), s, &text);
    } else if (s->precision >= 0) {
        interp_fail(in, MUGA_E_INPUT, "format: precision not allowed in integer format specifier");
    } else {
        template_write_integer(in, tv_integer(v), s, &text);
    }
    const char *p = str_get(&text);
    size_t sign = text.len && (*p == '-' || *p == '+' || *p == ' ') ? 1 : 0;
    if (f->align == '=' && !s->zero) { /* padding goes between sign and digits */
        str_append(out, p, sign);
        s->width -= (int64_t)sign;
        append_padded(in, f, p + sign, text.len - sign, '>', out);
    } else if (!interp_failed(in)) {
        append_padded(in, f, p, text.len, f->align && f->align != '=' ? f->align : '>', out);
    }
    str_release(&text);
}

/* format(v, spec) */
static void format_value(interp *in, tv v, const char *spec, size_t n, str *out) {
    format_spec f;
    if (n == 0) {
        tv_write(in, v, out);
        return;
    }
    if (v.kind != TV_STRING && !tv_is_number(v)) {
        interp_fail(in, MUGA_E_INPUT, "unsupported format string passed to %s.__format__", tv_kind_name(v));
        return;
    }
    if (!parse_spec(in, spec, n, &f))
        return;
    if (v.kind == TV_STRING)
        format_text(in, v, &f, out);
    else
        format_number(in, v, &f, out);
}

/* ---- str.format ---- */

typedef struct formatter {
    interp *in;
    const call_args *args;
    int64_t automatic; /* next "{}"; -1 once fields are numbered */
    bool numbered, safe;
    str *out;
} formatter;

/* A field's first name: a number, nothing (the next in turn), or a keyword. */
static tv field_base(formatter *f, const char *p, size_t n) {
    interp *in = f->in;
    int64_t i = 0;
    bool digits = true;
    for (size_t k = 0; k < n; k++) {
        digits &= p[k] >= '0' && p[k] <= '9';
        i = digits && i < INT32_MAX ? i * 10 + (p[k] - '0') : i;
    }
    if (n && !digits) {
        interp_charge(in, f->args->n_named / TEMPLATE_STEP_NAMES);
        for (size_t k = 0; k < f->args->n_named; k++)
            if (strlen(f->args->names[k]) == n && memcmp(f->args->names[k], p, n) == 0)
                return f->args->named[k];
        return interp_fail(in, MUGA_E_INPUT, "format: no argument named '%.*s'", (int)MIN(n, (size_t)60), p);
    }
    if (n ? f->automatic > 0 : f->numbered)
        return interp_fail(in, MUGA_E_INPUT, "format: {} and {0} can't be mixed");
    if (n)
        f->numbered = true;
    else
        i = f->automatic++;
    if (i >= (int64_t)f->args->n)
        return interp_fail(in, MUGA_E_INPUT, "format: no argument for field %lld", (long long)i);
    return f->args->v[i];
}

/* "name.attribute[element]" */
static tv field_value(formatter *f, const char *p, size_t n) {
    interp *in = f->in;
    size_t at = 0;
    while (at < n && p[at] != '.' && p[at] != '[')
        at++;
    tv v = field_base(f, p, at);
    while (at < n && !interp_failed(in)) {
        bool element = p[at++] == '[';
        size_t from = at;
        while (at < n && (element ? p[at] != ']' : p[at] != '.' && p[at] != '['))
            at++;
        tv key = tv_text(in, p + from, at - from);
        if (at == from || (element && at == n))
            return interp_fail(in, MUGA_E_INPUT, "format: empty or unclosed part of a field");
        at += element;
        size_t n_digits = interp_failed(in) ? 0 : strspn(key.u.s, "0123456789");
        if (element && n_digits && n_digits == key.n_str && n_digits < 18)
            v = interp_get_item(in, v, tv_int(strtoll(key.u.s, NULL, 10)));
        else if (!interp_failed(in))
            v = element ? interp_get_item(in, v, key) : interp_get_attr(in, v, key.u.s);
    }
    return v;
}

static void expand(formatter *f, const char *p, size_t n, int level);

/* {name!conversion:spec}, the braces taken off. */
static void expand_field(formatter *f, const char *p, size_t n, int level) {
    interp *in = f->in;
    size_t name = 0, brackets = 0;
    while (name < n && ((p[name] != '!' && p[name] != ':') || brackets)) {
        brackets += p[name] == '[';
        brackets -= p[name] == ']' && brackets;
        name++;
    }
    char conversion = 0;
    size_t at = name;
    if (at < n && p[at] == '!') {
        conversion = at + 1 < n ? p[at + 1] : 0;
        at += 2;
        if (at > n || (at < n && p[at] != ':') || !conversion || !strchr("rsa", conversion)) {
            interp_fail(in, MUGA_E_INPUT, "format: a conversion must be !r, !s or !a");
            return;
        }
    }
    tv v = field_value(f, p, name);
    str converted, spec, *outer = f->out;
    interp_str_init(in, &converted);
    interp_str_init(in, &spec);
    if (conversion == 's')
        tv_write(in, v, &converted);
    else if (conversion == 'r')
        tv_write_repr(in, v, &converted);
    else if (conversion == 'a')
        tv_write_ascii(in, v, &converted);
    if (conversion)
        v = tv_from_str(in, &converted);
    f->out = &spec;
    if (at < n && !interp_failed(in))
        expand(f, p + at + 1, n - at - 1, level + 1);
    f->out = outer;
    if (f->safe && v.kind == TV_STRING)
        v = template_escape(in, v);
    if (!interp_failed(in))
        format_value(in, v, str_get(&spec), spec.len, f->out);
    str_release(&converted);
    str_release(&spec);
}

static void expand(formatter *f, const char *p, size_t n, int level) {
    interp *in = f->in;
    if (level > 1) {
        interp_fail(in, MUGA_E_INPUT, "format: fields nest too deeply");
        return;
    }
    for (size_t i = 0; i < n && interp_charge(in, 1);) {
        size_t plain = i;
        while (i < n && p[i] != '{' && p[i] != '}')
            i++;
        str_append(f->out, p + plain, i - plain);
        if (i == n)
            break;
        if (i + 1 < n && p[i + 1] == p[i] && level == 0) {
            str_append_c(f->out, p[i]);
            i += 2;
            continue;
        }
        size_t from = i + 1, open = p[i] == '{' ? 1 : 0;
        for (i = from; i < n && open; i++)
            open = p[i] == '{' ? open + 1 : p[i] == '}' ? open - 1 : open;
        if (open || from == i) {
            interp_fail(in, MUGA_E_INPUT, "format: single '{' or '}' in the format string");
            return;
        }
        expand_field(f, p + from, i - 1 - from, level);
    }
}

tv template_format(interp *in, tv format, const call_args *args) {
    str s;
    interp_str_init(in, &s);
    formatter f = {.in = in, .args = args, .safe = format.form == FORM_SAFE, .out = &s};
    interp_charge_bytes(in, format.n_str);
    expand(&f, format.u.s, format.n_str, 0);
    tv text = tv_from_str(in, &s);
    if (text.kind == TV_STRING)
        text.form = format.form;
    return text;
}
