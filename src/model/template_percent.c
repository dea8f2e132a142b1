/* format % arguments, as Python has it. Widths and precisions come from the template and are checked before use.
 * Source: the Python library reference, "printf-style String Formatting". */
#include "base/utf8.h"
#include "model/template_internal.h"

typedef struct percent {
    interp *in;
    const tv *args; /* what is left of the tuple */
    size_t n_args;
    const tv_dict *named; /* "%(name)s"; NULL where the argument is no mapping */
    bool mapping;         /* arguments that are left over are no error */
    bool safe;            /* what is put in is escaped */
    str *out;
} percent;

typedef struct conversion {
    bool left, plus, space, zero, alternate;
    int64_t width, precision; /* precision -1: none */
    char type;
    tv key; /* TV_MISSING: the next argument */
} conversion;

static tv next_argument(percent *f) {
    if (f->n_args == 0)
        return interp_fail(f->in, MUGA_E_INPUT, "not enough arguments for format string");
    f->n_args--;
    return *f->args++;
}

/* A number or "*", which takes it from the arguments. */
static bool take_size(percent *f, const char **p, const char *end, int64_t *out) {
    if (*p < end && **p == '*') {
        ++*p;
        tv v = next_argument(f);
        if (!tv_is_integer(v))
            interp_fail(f->in, MUGA_E_INPUT, "* wants int");
        *out = tv_integer(v);
        return !interp_failed(f->in) && *out > -INT32_MAX && *out < INT32_MAX;
    }
    for (*out = 0; *p < end && **p >= '0' && **p <= '9'; ++*p)
        if ((*out = *out * 10 + (**p - '0')) > INT32_MAX)
            return false;
    return true;
}

static bool take_key(percent *f, const char **p, const char *end, conversion *c) {
    const char *from = ++*p;
    int open = 1;
    for (; *p < end && open; ++*p)
        open += **p == '(' ? 1 : **p == ')' ? -1 : 0;
    if (open) {
        interp_fail(f->in, MUGA_E_INPUT, "incomplete format key");
        return false;
    }
    if (!f->named) {
        interp_fail(f->in, MUGA_E_INPUT, "format requires a mapping");
        return false;
    }
    c->key = tv_borrow(from, (size_t)(*p - 1 - from));
    return true;
}

static bool take_conversion(percent *f, const char **p, const char *end, conversion *c) {
    *c = (conversion){.precision = -1, .key = {.kind = TV_MISSING}};
    if (*p < end && **p == '(' && !take_key(f, p, end, c))
        return false;
    for (; *p < end && **p && strchr("-+ 0#", **p); ++*p) {
        c->left |= **p == '-';
        c->plus |= **p == '+';
        c->space |= **p == ' ';
        c->zero |= **p == '0';
        c->alternate |= **p == '#';
    }
    bool ok = take_size(f, p, end, &c->width);
    if (ok && *p < end && **p == '.') {
        ++*p;
        ok = take_size(f, p, end, &c->precision);
        c->precision = MAX(c->precision, 0);
    }
    if (c->width < 0) {
        c->left = true;
        c->width = -c->width;
    }
    while (ok && *p < end && **p && strchr("hlL", **p))
        ++*p;
    if (ok && *p < end) {
        c->type = *(*p)++;
        return true;
    }
    interp_fail(f->in, MUGA_E_INPUT, ok ? "incomplete format" : "format: a width or precision is too large");
    return false;
}

/* ---- writing ---- */

static void append_padded(percent *f, const conversion *c, const char *p, size_t n) {
    int64_t pad = c->width > 0 && interp_charge_scan(f->in, n) ? c->width - (int64_t)utf8_count(p, n) : 0;
    tv_append_fill(f->in, f->out, " ", 1, c->left ? 0 : pad);
    str_append(f->out, p, n);
    tv_append_fill(f->in, f->out, " ", 1, c->left ? pad : 0);
}

static void write_text(percent *f, const conversion *c, tv v) {
    interp *in = f->in;
    str s;
    interp_str_init(in, &s);
    if (c->type == 's')
        tv_write(in, v, &s);
    else if (c->type == 'r')
        tv_write_repr(in, v, &s);
    else
        tv_write_ascii(in, v, &s);
    tv text = tv_from_str(in, &s);
    if (f->safe && !interp_failed(in)) {
        text.form = c->type == 's' && v.kind == TV_STRING ? v.form : FORM_PLAIN;
        text = template_escape(in, text);
    }
    if (c->precision >= 0 && !interp_failed(in))
        text = tv_slice(in, text, TV_NULL, tv_int(c->precision), TV_NULL);
    if (!interp_failed(in))
        append_padded(f, c, text.u.s, text.n_str);
}

static void write_number(percent *f, const conversion *c, tv v) {
    interp *in = f->in;
    char type = c->type == 'i' || c->type == 'u' ? 'd' : c->type;
    bool real = strchr("eEfFgG", type) != NULL;
    if (v.kind == TV_UNDEFINED) {
        interp_fail_undefined(in, v);
        return;
    }
    if (!tv_is_number(v) || (!real && type != 'd' && v.kind == TV_FLOAT)) {
        interp_fail(in, MUGA_E_INPUT, "%%%c format: %s is required, not %s", c->type,
                    real || type == 'd' ? "a real number" : "an integer", tv_kind_name(v));
        return;
    }
    number_style s = {.type = type,
                      .sign = c->plus    ? '+'
                              : c->space ? ' '
                                         : '-',
                      .alternate = c->alternate,
                      .zero = c->zero && !c->left,
                      .width = c->width,
                      .precision = c->precision};
    str text;
    interp_str_init(in, &text);
    if (real) {
        template_write_real(in, tv_number(v), &s, &text);
    } else if (v.kind == TV_FLOAT && !(v.u.d > -9223372036854775808.0 && v.u.d < 9223372036854775808.0)) {
        interp_fail(in, MUGA_E_INPUT, "%%d format: the number is beyond 64 bits");
    } else {
        template_write_integer(in, v.kind == TV_FLOAT ? (int64_t)v.u.d : tv_integer(v), &s, &text);
    }
    if (!interp_failed(in))
        append_padded(f, c, str_get(&text), text.len);
    str_release(&text);
}

static void write_character(percent *f, const conversion *c, tv v) {
    char bytes[4];
    size_t n = 0;
    int64_t cp = tv_is_integer(v) ? tv_integer(v) : -1;
    if (cp >= 0 && cp <= 0x10FFFF)
        n = utf8_encode((uint32_t)cp, bytes);
    if (v.kind == TV_STRING && v.n_str <= 4 && tv_text_length(v) == 1)
        append_padded(f, c, v.u.s, v.n_str);
    else if (n)
        append_padded(f, c, bytes, n);
    else
        interp_fail(f->in, MUGA_E_INPUT, "%%c requires an int that is a character, or one character");
}

static void write_conversion(percent *f, const conversion *c) {
    interp *in = f->in;
    tv v;
    if (c->type == '%') {
        str_append_c(f->out, '%');
        return;
    }
    if (c->key.kind == TV_MISSING)
        v = next_argument(f);
    else if (!tv_dict_get(in, f->named, c->key, &v))
        v = interp_fail(in, MUGA_E_INPUT, "format: no key '%.*s'", (int)MIN(c->key.n_str, 60u), c->key.u.s);
    if (interp_failed(in))
        return;
    if (c->type == 's' || c->type == 'r' || c->type == 'a')
        write_text(f, c, v);
    else if (c->type == 'c')
        write_character(f, c, v);
    else if (c->type && strchr("diuoxXeEfFgG", c->type))
        write_number(f, c, v);
    else
        interp_fail(in, MUGA_E_INPUT, "unsupported format character '%c'", c->type);
}

/* What is no string and no tuple but has elements counts as a mapping, even if only "%(name)s" could use it. */
static bool is_mapping(tv v) {
    return v.kind == TV_DICT || v.kind == TV_LIST || v.kind == TV_RANGE || v.kind == TV_UNDEFINED;
}

tv template_percent(interp *in, tv format, tv args, bool named) {
    str s;
    interp_str_init(in, &s);
    percent f = {.in = in,
                 .args = args.kind == TV_TUPLE ? args.u.list->v : &args,
                 .n_args = args.kind == TV_TUPLE ? args.u.list->n : 1,
                 .named = args.kind == TV_DICT ? args.u.dict : NULL,
                 .mapping = named || is_mapping(args),
                 .safe = format.form == FORM_SAFE,
                 .out = &s};
    const char *p = format.u.s, *end = p + format.n_str;
    interp_charge_bytes(in, format.n_str);
    while (p < end && interp_charge(in, 2)) {
        const char *mark = memchr(p, '%', (size_t)(end - p));
        conversion c;
        str_append(&s, p, (size_t)((mark ? mark : end) - p));
        if (!mark)
            break;
        p = mark + 1;
        if (take_conversion(&f, &p, end, &c) && interp_charge(in, (uint64_t)(p - mark) / 4))
            write_conversion(&f, &c);
    }
    if (f.n_args && !f.mapping)
        interp_fail(in, MUGA_E_INPUT, "not all arguments converted during string formatting");
    tv text = tv_from_str(in, &s);
    if (text.kind == TV_STRING)
        text.form = format.form;
    return text;
}
