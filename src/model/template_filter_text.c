/* Filters of the template language on text. Their input is made text first, as soft_str does.
 * Source: the Jinja template designer documentation ("List of Builtin Filters"). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memrchr */
#endif
#include "base/utf8.h"
#include "model/template_internal.h"

#include <utf8proc.h>

static int64_t width_of(interp *in, tv v, int64_t otherwise) {
    if (v.kind == TV_MISSING)
        return otherwise;
    if (!tv_is_integer(v))
        interp_fail(in, MUGA_E_INPUT, "'%s' object cannot be interpreted as an integer", tv_kind_name(v));
    return tv_integer(v);
}

static tv unmarked(tv v) {
    if (v.kind == TV_STRING)
        v.form = FORM_PLAIN;
    return v;
}

/* ---- case and white space ---- */

static tv filter_upper(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    return template_text_case(in, tv_to_text(in, v), CASE_UPPER);
}
static tv filter_lower(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    return template_text_case(in, tv_to_text(in, v), CASE_LOWER);
}
static tv filter_capitalize(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    return template_text_case(in, tv_to_text(in, v), CASE_CAPITAL);
}

/* Each word's first letter in capitals, the rest in small letters; words end at white space, - ( { [ and <. */
static tv filter_title(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    tv text = unmarked(tv_to_text(in, v));
    str s;
    bool first = true;
    size_t from = 0;
    if (interp_failed(in) || !interp_charge_scan(in, text.n_str))
        return TV_UNDEF;
    interp_str_init(in, &s);
    for (size_t i = 0; i < text.n_str && !interp_failed(in);) {
        uint32_t cp;
        size_t k = template_first_char(text.u.s + i, text.n_str - i, &cp);
        bool gap = template_is_space(cp) || cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<';
        if (gap || first) {
            tv_append(in, &s, template_text_case(in, tv_borrow(text.u.s + from, i - from), CASE_LOWER));
            tv_append(in, &s, template_text_case(in, tv_borrow(text.u.s + i, k), CASE_UPPER));
            from = i + k;
        }
        first = gap;
        i += k;
    }
    tv_append(in, &s, template_text_case(in, tv_borrow(text.u.s + from, text.n_str - from), CASE_LOWER));
    return tv_from_str(in, &s);
}

static tv filter_trim(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    return template_text_strip(in, tv_to_text(in, v), a[0].kind == TV_MISSING ? TV_NULL : a[0], true, true);
}

static tv filter_center(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    return template_text_pad(in, tv_to_text(in, v), width_of(in, a[0], 80), tv_literal(" "), 0);
}

/* ---- replacing and joining ---- */

static tv filter_replace(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv from = unmarked(tv_to_text(in, a[0])), to = unmarked(tv_to_text(in, a[1]));
    int64_t max = a[2].kind == TV_NONE ? -1 : width_of(in, a[2], -1);
    return template_text_replace(in, unmarked(tv_to_text(in, v)), from, to, max);
}

static tv filter_join(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv separator = a[0].kind == TV_MISSING ? tv_literal("") : tv_to_text(in, a[0]);
    tv_list items;
    str s;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    interp_str_init(in, &s);
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        if (i)
            tv_append(in, &s, separator);
        tv_write(in, template_get_path(in, items.v[i], a[1], (tv){.kind = TV_MISSING}), &s);
        interp_charge(in, 1);
    }
    return tv_from_str(in, &s);
}

static tv filter_format(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    tv text = tv_to_text(in, v);
    if (interp_failed(in))
        return TV_UNDEF;
    if (raw->n && raw->n_named)
        return interp_fail(in, MUGA_E_INPUT, "format takes positional or named arguments, not both");
    if (raw->n_named) {
        tv d = tv_dict_new(in, raw->n_named);
        for (size_t i = 0; !interp_failed(in) && i < raw->n_named; i++)
            tv_dict_set(in, d.u.dict, tv_literal(raw->names[i]), raw->named[i]);
        return template_percent(in, text, d, true);
    }
    tv args = tv_list_new(in, TV_TUPLE, raw->n);
    if (interp_failed(in))
        return TV_UNDEF;
    if (raw->n)
        memcpy(args.u.list->v, raw->v, raw->n * sizeof(tv));
    return template_percent(in, text, args, false);
}

/* ---- lines and length ---- */

static tv indent_unit(interp *in, tv width) {
    if (width.kind == TV_STRING)
        return width;
    int64_t n = width_of(in, width, 4);
    return template_text_pad(in, tv_literal(""), MAX(n, 0), tv_literal(" "), -1);
}

static tv filter_indent(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    if (v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (v.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "indent needs text, not %s", tv_kind_name(v));
    tv unit = indent_unit(in, a[0]), with_end = interp_binary(in, T_ADD, unmarked(v), tv_literal("\n"));
    tv lines = interp_failed(in) ? TV_UNDEF : template_text_lines(in, with_end, false);
    bool first = a[1].kind != TV_MISSING && tv_truth(in, a[1]), blank = a[2].kind != TV_MISSING && tv_truth(in, a[2]);
    str s;
    if (interp_failed(in))
        return TV_UNDEF;
    interp_str_init(in, &s);
    for (size_t i = 0; i < lines.u.list->n && !interp_failed(in); i++) {
        tv line = lines.u.list->v[i];
        if (i)
            str_append_c(&s, '\n');
        if (i ? blank || line.n_str > 0 : first)
            tv_append(in, &s, unit);
        tv_append(in, &s, line);
        interp_charge(in, 1);
    }
    tv text = tv_from_str(in, &s);
    if (text.kind == TV_STRING)
        text.form = v.form;
    return text;
}

static tv filter_truncate(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    if (v.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "truncate needs text, not %s", tv_kind_name(v));
    tv end = a[2].kind == TV_MISSING ? tv_literal("...") : tv_to_text(in, a[2]);
    int64_t length = width_of(in, a[0], 255), leeway = a[3].kind == TV_NONE ? 5 : width_of(in, a[3], 5);
    if (interp_failed(in))
        return TV_UNDEF;
    int64_t n, n_end;
    (void)tv_length(in, v, &n);
    (void)tv_length(in, end, &n_end);
    if (length < n_end || leeway < 0)
        return interp_fail(in, MUGA_E_INPUT, "truncate: the length must hold the end mark, and leeway be 0 or more");
    if (leeway > INT64_MAX - length || n <= length + leeway)
        return v;
    tv cut = tv_slice(in, v, TV_NULL, tv_int(length - n_end), TV_NULL);
    if (a[1].kind == TV_MISSING || !tv_truth(in, a[1])) {
        const char *gap = interp_failed(in) || !cut.n_str ? NULL : memrchr(cut.u.s, ' ', cut.n_str);
        if (gap)
            cut.n_str = (uint32_t)(gap - cut.u.s);
    }
    return interp_binary(in, T_ADD, cut, end);
}

static bool is_word_character(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    bool number = c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
    return cp == '_' || number || (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO);
}

static tv filter_wordcount(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    tv text = tv_to_text(in, v);
    int64_t n = 0;
    bool in_word = false;
    if (interp_failed(in) || !interp_charge_mapping(in, text.n_str))
        return TV_UNDEF;
    for (size_t i = 0; i < text.n_str;) {
        uint32_t cp;
        i += template_first_char(text.u.s + i, text.n_str - i, &cp);
        bool word = is_word_character(cp);
        n += word && !in_word;
        in_word = word;
    }
    return tv_int(n);
}

/* ---- markup ---- */

tv template_escape(interp *in, tv v) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    tv text = tv_to_text(in, v);
    str s;
    if (interp_failed(in) || text.form == FORM_SAFE || !interp_charge_scan(in, text.n_str))
        return text;
    interp_str_init(in, &s);
    for (size_t i = 0; i < text.n_str && interp_charge(in, 1); i++) {
        size_t plain = i;
        while (i < text.n_str && !(text.u.s[i] <= '>' && text.u.s[i] > 0 && strchr(from, text.u.s[i])))
            i++;
        str_append(&s, text.u.s + plain, i - plain);
        if (i < text.n_str)
            str_append_s(&s, to[strchr(from, text.u.s[i]) - from]);
    }
    tv escaped = tv_from_str(in, &s);
    if (escaped.kind == TV_STRING)
        escaped.form = FORM_SAFE;
    return escaped;
}

static tv filter_escape(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    return template_escape(in, v);
}

static tv filter_force_escape(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    return template_escape(in, unmarked(tv_to_text(in, v)));
}

static tv filter_safe(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    tv text = tv_to_text(in, v);
    if (text.kind == TV_STRING)
        text.form = FORM_SAFE;
    return text;
}

static tv filter_string(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    return v.kind == TV_UNDEFINED ? tv_literal("") : tv_to_text(in, v);
}

/* Percent signs for all bytes but the unreserved ones and, outside queries, slashes; in queries a plus for a space. */
static void write_quoted(interp *in, tv v, bool query, str *out) {
    tv text = tv_to_text(in, v);
    if (interp_failed(in) || text.kind != TV_STRING || !interp_charge_scan(in, text.n_str))
        return;
    for (size_t i = 0; i < text.n_str; i++) {
        char c = text.u.s[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr("_.-~", c)) ||
                     (c == '/' && !query);
        if (plain)
            str_append_c(out, c);
        else if (c == ' ' && query)
            str_append_c(out, '+');
        else if (interp_charge(in, 4))
            str_printf(out, "%%%02X", (uint8_t)c);
    }
}

static tv filter_urlencode(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    tv_list items = {0}, pair;
    str s;
    interp_str_init(in, &s);
    if (v.kind == TV_STRING || !tv_is_iterable(v))
        write_quoted(in, v, false, &s);
    else if (v.kind == TV_DICT)
        (void)tv_iterate(in, (tv){.kind = TV_VIEW, .form = FORM_ITEMS, .u.dict = v.u.dict}, &items);
    else
        (void)tv_iterate(in, v, &items);
    for (size_t i = 0; i < items.n && tv_iterate(in, items.v[i], &pair); i++) {
        if (pair.n != 2) {
            interp_fail(in, MUGA_E_INPUT, "urlencode: element %zu is not a pair", i);
            break;
        }
        if (i)
            str_append_c(&s, '&');
        write_quoted(in, pair.v[0], true, &s);
        str_append_c(&s, '=');
        write_quoted(in, pair.v[1], true, &s);
    }
    return tv_from_str(in, &s);
}

const filter_row template_text_filters[] = {{"trim", "chars", 0, filter_trim},
                                            {"string", "", 0, filter_string},
                                            {"join", "d attribute", 0, filter_join},
                                            {"safe", "", 0, filter_safe},
                                            {"lower", "", 0, filter_lower},
                                            {"upper", "", 0, filter_upper},
                                            {"title", "", 0, filter_title},
                                            {"capitalize", "", 0, filter_capitalize},
                                            {"replace", "old new count", 2, filter_replace},
                                            {"indent", "width first blank", 0, filter_indent},
                                            {"center", "width", 0, filter_center},
                                            {"truncate", "length killwords end leeway", 0, filter_truncate},
                                            {"wordcount", "", 0, filter_wordcount},
                                            {"format", NULL, 0, filter_format},
                                            {"escape", "", 0, filter_escape},
                                            {"e", "", 0, filter_escape},
                                            {"forceescape", "", 0, filter_force_escape},
                                            {"urlencode", "", 0, filter_urlencode},
                                            {NULL, NULL, 0, NULL}};
