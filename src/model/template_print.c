/* Values as text: Python's str() and repr(). Owns the shortest digits of a float. Refuses nothing but what is endless.
 */
#include "base/utf8.h"
#include "model/template_internal.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <utf8proc.h>

bool interp_charge_real(interp *in, double d, int64_t n_digits) {
    int binary = d - d == 0 && d != 0 ? ilogb(d) : 0, before = abs(binary) / 3;
    return interp_charge(in, TEMPLATE_STEPS_FLOAT + (uint64_t)before + (uint64_t)MAX(n_digits, 0) / 2);
}

/* repr(float): shortest digits that read back, ".0" on integers, an exponent from 1e16 on and below 1e-4. */
void tv_write_float(double d, str *out) {
    if (d != d) {
        str_append_s(out, "nan");
        return;
    }
    if (d - d != 0) {
        str_append_s(out, d < 0 ? "-inf" : "inf");
        return;
    }
    char text[40];
    /* Up to 15 digits come back from any normal number, so what 15 say without their last zeros is the shortest. */
    for (int precision = fabs(d) < DBL_MIN ? 1 : DBL_DIG; precision <= 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision - 1, d);
        if (strtod(text, NULL) == d)
            break;
    }
    char *e = strchr(text, 'e'), *end = e;
    int exponent = atoi(e + 1);
    while (end > text && end[-1] == '0' && memchr(text, '.', (size_t)(end - text)))
        end--;
    end -= end > text && end[-1] == '.';
    memmove(end, e, strlen(e) + 1);
    e = end;
    if (exponent >= -4 && exponent < 16) {
        int digits = (int)(e - text) - (text[0] == '-') - (strchr(text, '.') ? 1 : 0);
        int decimals = digits - 1 - exponent;
        str_printf(out, "%.*f", decimals > 1 ? decimals : 1, d);
        return;
    }
    *e = 0;
    str_printf(out, "%se%c%02d", text, exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
}

static bool is_printable(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c != UTF8PROC_CATEGORY_CN && (c < UTF8PROC_CATEGORY_ZS || cp == ' ');
}

static void write_character(interp *in, uint32_t cp, char quote, bool ascii, const char *p, size_t k, str *out) {
    static const char plain[] = "\n\r\t", letters[] = "nrt";
    const char *f = cp && cp < 0x20 ? strchr(plain, (int)cp) : NULL;
    if (f)
        str_append(out, (const char[]){'\\', letters[f - plain]}, 2);
    else if (cp == '\\' || cp == (uint32_t)quote)
        str_append(out, (const char[]){'\\', (char)cp}, 2);
    else if (cp < 0x80 ? cp >= 0x20 && cp != 0x7F : !ascii && is_printable(cp))
        str_append(out, p, k);
    else if (!interp_charge(in, TEMPLATE_STEPS_PRINTED))
        return;
    else if (cp < 0x100)
        str_printf(out, "\\x%02x", cp);
    else if (cp < 0x10000)
        str_printf(out, "\\u%04x", cp);
    else
        str_printf(out, "\\U%08x", cp);
}

static void write_text_repr(interp *in, tv v, bool ascii, str *out) {
    bool single = memchr(v.u.s, '\'', v.n_str) != NULL, twice = memchr(v.u.s, '"', v.n_str) != NULL;
    char quote = single && !twice ? '"' : '\'';
    if (!interp_charge_mapping(in, v.n_str))
        return;
    if (v.form == FORM_SAFE)
        str_append_s(out, "Markup(");
    str_append_c(out, quote);
    for (size_t i = 0; i < v.n_str && !interp_failed(in);) {
        uint32_t cp;
        size_t k = template_first_char(v.u.s + i, v.n_str - i, &cp);
        write_character(in, cp, quote, ascii, v.u.s + i, k, out);
        i += k;
    }
    str_append_c(out, quote);
    if (v.form == FORM_SAFE)
        str_append_c(out, ')');
}

static void write_repr(interp *in, tv v, bool ascii, str *out);

static void write_elements(interp *in, const tv *v, size_t n, bool ascii, str *out) {
    for (size_t i = 0; i < n && !interp_failed(in); i++) {
        if (i)
            str_append_s(out, ", ");
        write_repr(in, v[i], ascii, out);
    }
}

static void write_dict(interp *in, const tv_dict *d, bool ascii, str *out) {
    str_append_c(out, '{');
    for (size_t i = 0; i < d->n && !interp_failed(in); i++) {
        if (i)
            str_append_s(out, ", ");
        write_repr(in, d->keys[i], ascii, out);
        str_append_s(out, ": ");
        write_repr(in, d->values[i], ascii, out);
    }
    str_append_c(out, '}');
}

static void write_list(interp *in, tv v, bool ascii, str *out) {
    const tv_list *l = v.u.list;
    str_append_c(out, v.kind == TV_LIST ? '[' : '(');
    write_elements(in, l->v, l->n, ascii, out);
    if (v.kind == TV_TUPLE && l->n == 1)
        str_append_c(out, ',');
    str_append_c(out, v.kind == TV_LIST ? ']' : ')');
}

static void write_view(interp *in, tv v, bool ascii, str *out) {
    tv_list items;
    str_printf(out, "%s([", tv_kind_name(v));
    if (tv_iterate(in, v, &items))
        write_elements(in, items.v, items.n, ascii, out);
    str_append_s(out, "])");
}

static void write_range(const tv_range *r, str *out) {
    str_printf(out, "range(%" PRId64 ", %" PRId64, r->from, r->stop);
    if (r->step != 1)
        str_printf(out, ", %" PRId64, r->step);
    str_append_c(out, ')');
}

/* Kinds whose str() and repr() are the same; Python adds an address to some of them, which nobody can rely on. */
static void write_object(interp *in, tv v, bool ascii, str *out) {
    switch (v.kind) {
    case TV_NONE: str_append_s(out, "None"); break;
    case TV_BOOL: str_append_s(out, v.u.b ? "True" : "False"); break;
    case TV_INT: interp_charge(in, TEMPLATE_STEPS_PRINTED), str_printf(out, "%" PRId64, v.u.i); break;
    case TV_FLOAT: interp_charge(in, TEMPLATE_STEPS_FLOAT), tv_write_float(v.u.d, out); break;
    case TV_LIST:
    case TV_TUPLE: write_list(in, v, ascii, out); break;
    case TV_DICT: write_dict(in, v.u.dict, ascii, out); break;
    case TV_VIEW: write_view(in, v, ascii, out); break;
    case TV_RANGE: write_range(v.u.range, out); break;
    case TV_NAMESPACE:
        str_append_s(out, "<Namespace ");
        write_dict(in, v.u.dict, ascii, out);
        str_append_c(out, '>');
        break;
    case TV_LOOP: str_printf(out, "<LoopContext %" PRId64 "/%" PRId64 ">", v.u.loop->i + 1, v.u.loop->n); break;
    case TV_MACRO:
        if (v.u.macro->def->kind == N_CALL_BLOCK)
            str_append_s(out, "<Macro anonymous>");
        else
            str_printf(out, "<Macro '%s'>", v.u.macro->def->name);
        break;
    case TV_FUNCTION: str_append_s(out, template_function_repr(v.u.function)); break;
    default: str_printf(out, "<%s object>", tv_kind_name(v));
    }
}

static void write_repr(interp *in, tv v, bool ascii, str *out) {
    if (!interp_charge(in, 1) || !interp_enter(in))
        return;
    if (v.kind == TV_STRING)
        write_text_repr(in, v, ascii, out);
    else if (v.kind == TV_UNDEFINED)
        str_append_s(out, "Undefined");
    else
        write_object(in, v, ascii, out);
    in->depth--;
}

void tv_write_repr(interp *in, tv v, str *out) {
    write_repr(in, v, false, out);
}

void tv_write_ascii(interp *in, tv v, str *out) {
    write_repr(in, v, true, out);
}

void tv_append(interp *in, str *out, tv text) {
    if (text.kind == TV_STRING && interp_charge(in, text.n_str / TEMPLATE_STEP_BYTES))
        str_append(out, text.u.s, text.n_str);
}

void tv_append_fill(interp *in, str *out, const char *fill, size_t k, int64_t n) {
    char block[64];
    size_t many = sizeof block / k;
    if (n <= 0 || !interp_has_room(in, (uint64_t)n > UINT32_MAX ? UINT64_MAX : (uint64_t)n * k))
        return;
    for (size_t i = 0; i < MIN((size_t)n, many) * k; i++)
        block[i] = fill[i % k];
    for (; n > 0 && !out->failed; n -= (int64_t)many)
        str_append(out, block, MIN((size_t)n, many) * k);
}

void tv_write(interp *in, tv v, str *out) {
    if (interp_failed(in) || v.kind == TV_UNDEFINED)
        return;
    if (v.kind == TV_STRING)
        tv_append(in, out, v);
    else if (interp_enter(in)) {
        write_object(in, v, false, out);
        in->depth--;
    }
}

tv tv_to_text(interp *in, tv v) {
    if (v.kind == TV_STRING || interp_failed(in))
        return v;
    str s;
    interp_str_init(in, &s);
    tv_write(in, v, &s);
    return tv_from_str(in, &s);
}
