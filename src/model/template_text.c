/* Methods of strings, as Python has them. None changes its string. Where a string is marked as markup, so is what comes
 * of it, and what is put into it is escaped first.
 * Source: the Python library reference, "String Methods". */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem, memrchr */
#endif
#include "base/utf8.h"
#include "model/template_internal.h"

static tv like(tv v, const char *p, size_t n) {
    return (tv){.kind = TV_STRING, .form = v.form, .n_str = (uint32_t)n, .u.s = p};
}

static tv text_like(interp *in, tv v, str *s) {
    tv text = tv_from_str(in, s);
    if (text.kind == TV_STRING)
        text.form = v.form;
    return text;
}

/* ---- stripping and padding ---- */

static bool in_set(tv set, uint32_t cp) {
    uint32_t c;
    for (size_t i = 0; i < set.n_str;) {
        i += template_first_char(set.u.s + i, set.n_str - i, &c);
        if (c == cp)
            return true;
    }
    return false;
}

static bool strips(interp *in, tv set, uint32_t cp) {
    if (set.kind != TV_STRING)
        return template_is_space(cp) && !interp_failed(in);
    return interp_charge(in, 1 + set.n_str / 8) && in_set(set, cp);
}

tv template_text_strip(interp *in, tv v, tv set, bool left, bool right) {
    const char *p = v.u.s;
    size_t n = v.n_str, n_gone = 0, k;
    uint32_t cp;
    if (set.kind != TV_STRING && set.kind != TV_NONE && set.kind != TV_MISSING)
        return interp_fail(in, MUGA_E_INPUT, "strip arg must be None or str, not %s", tv_kind_name(set));
    if (interp_failed(in) || !interp_charge(in, n / TEMPLATE_STEP_BYTES))
        return TV_UNDEF;
    while (left && n && (k = template_first_char(p, n, &cp), strips(in, set, cp))) {
        p += k;
        n -= k;
        interp_charge(in, ++n_gone % TEMPLATE_STEP_MAPPED == 0);
    }
    while (right && n && (k = template_last_char(p, n, &cp), strips(in, set, cp))) {
        n -= k;
        interp_charge(in, ++n_gone % TEMPLATE_STEP_MAPPED == 0);
    }
    return like(v, p, n);
}

tv template_text_pad(interp *in, tv v, int64_t width, tv fill, int align) {
    str s;
    int64_t n, pad;
    if (interp_failed(in) || !tv_length(in, v, &n))
        return TV_UNDEF;
    pad = width > n ? width - n : 0;
    if (fill.kind != TV_STRING || fill.n_str > 4 || tv_text_length(fill) != 1)
        return interp_fail(in, MUGA_E_INPUT, "the fill character must be exactly one character long");
    int64_t before = align > 0 ? pad : align < 0 ? 0 : pad / 2 + (pad & width & 1);
    interp_str_init(in, &s);
    tv_append_fill(in, &s, fill.u.s, fill.n_str, before);
    tv_append(in, &s, v);
    tv_append_fill(in, &s, fill.u.s, fill.n_str, pad - before);
    return text_like(in, v, &s);
}

static tv zero_fill(interp *in, tv v, int64_t width) {
    bool sign = v.n_str && (v.u.s[0] == '-' || v.u.s[0] == '+');
    tv digits = like(v, v.u.s + sign, v.n_str - sign);
    tv filled = template_text_pad(in, digits, width > INT64_MIN ? width - sign : width, tv_literal("0"), 1);
    return sign ? interp_binary(in, T_ADD, like(v, v.u.s, 1), filled) : filled;
}

static tv expand_tabs(interp *in, tv v, int64_t size) {
    str s;
    int64_t column = 0;
    interp_str_init(in, &s);
    interp_charge_scan(in, v.n_str);
    for (size_t i = 0; i < v.n_str && !interp_failed(in); i++) {
        char c = v.u.s[i];
        int64_t n = c == '\t' && size > 0 ? size - column % size : 0;
        if (c == '\t') {
            tv_append_fill(in, &s, " ", 1, n);
            column += n;
        } else {
            str_append_c(&s, c);
            column = c == '\n' || c == '\r' ? 0 : column + (((uint8_t)c & 0xC0) != 0x80);
        }
    }
    return text_like(in, v, &s);
}

/* ---- splitting ---- */

static void push(interp *in, tv *list, size_t *cap, tv item) {
    if (interp_failed(in))
        return;
    tv_list *l = list->u.list;
    if (l->n == *cap) {
        *cap = *cap ? *cap * 2 : 8;
        tv *v = interp_alloc(in, *cap * sizeof *v);
        if (!v)
            return;
        if (l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
    }
    l->v[l->n++] = item;
}

static void turn_round(tv_list *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        tv t = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = t;
    }
}

static size_t skip(const char *p, size_t n, bool spaces) {
    size_t i = 0;
    uint32_t cp;
    while (i < n) {
        size_t k = template_first_char(p + i, n - i, &cp);
        if (template_is_space(cp) != spaces)
            break;
        i += k;
    }
    return i;
}

static size_t skip_back(const char *p, size_t n, bool spaces) {
    uint32_t cp;
    while (n > 0) {
        size_t k = template_last_char(p, n, &cp);
        if (template_is_space(cp) != spaces)
            break;
        n -= k;
    }
    return n;
}

/* At white space; where max is reached the rest stays as it is. */
static tv split_space(interp *in, tv v, int64_t max, bool from_right) {
    tv list = tv_list_new(in, TV_LIST, 0);
    size_t cap = 0, from = 0, to = v.n_str;
    while (!interp_failed(in)) {
        if (from_right)
            to = skip_back(v.u.s + from, to - from, true) + from;
        else
            from += skip(v.u.s + from, to - from, true);
        if (from == to)
            break;
        if (max == 0) {
            push(in, &list, &cap, like(v, v.u.s + from, to - from));
            break;
        }
        size_t cut = from_right ? skip_back(v.u.s + from, to - from, false) + from
                                : skip(v.u.s + from, to - from, false) + from;
        push(in, &list, &cap, from_right ? like(v, v.u.s + cut, to - cut) : like(v, v.u.s + from, cut - from));
        if (from_right)
            to = cut;
        else
            from = cut;
        max -= max > 0;
    }
    if (from_right && !interp_failed(in))
        turn_round(list.u.list);
    return list;
}

static const char *find_first(const char *p, size_t n, tv needle) {
    return memmem(p, n, needle.u.s, needle.n_str);
}

/* A place where the ends agree is compared whole; that costs steps, since it may be everywhere. */
static const char *find_last(interp *in, const char *p, size_t n, tv needle) {
    size_t m = needle.n_str;
    if (m == 0)
        return p + n;
    for (size_t end = n; end >= m && interp_charge(in, 1);) {
        const char *last = memrchr(p + m - 1, needle.u.s[m - 1], end - m + 1);
        if (!last)
            return NULL;
        const char *from = last - (m - 1);
        if (*from == needle.u.s[0] && interp_charge(in, m / TEMPLATE_STEP_BYTES) && memcmp(from, needle.u.s, m) == 0)
            return from;
        end = (size_t)(last - p);
    }
    return NULL;
}

tv template_text_split(interp *in, tv v, tv separator, int64_t max, bool from_right) {
    if (interp_failed(in) || !interp_charge_scan(in, v.n_str))
        return TV_UNDEF;
    if (separator.kind == TV_NONE || separator.kind == TV_MISSING)
        return split_space(in, v, max, from_right);
    if (separator.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "must be str or None, not %s", tv_kind_name(separator));
    if (separator.n_str == 0)
        return interp_fail(in, MUGA_E_INPUT, "empty separator");
    tv list = tv_list_new(in, TV_LIST, 0);
    size_t cap = 0, n = v.n_str;
    const char *p = v.u.s;
    while (!interp_failed(in) && max != 0) {
        const char *hit = from_right ? find_last(in, p, n, separator) : find_first(p, n, separator);
        if (!hit)
            break;
        size_t before = (size_t)(hit - p), after = before + separator.n_str;
        push(in, &list, &cap, from_right ? like(v, p + after, n - after) : like(v, p, before));
        p += from_right ? 0 : after;
        n = from_right ? before : n - after;
        max -= max > 0;
    }
    push(in, &list, &cap, like(v, p, n));
    if (from_right && !interp_failed(in))
        turn_round(list.u.list);
    return list;
}

static bool ends_line(uint32_t cp) {
    return (cp >= '\n' && cp <= '\r') || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

tv template_text_lines(interp *in, tv v, bool keep_ends) {
    tv list = tv_list_new(in, TV_LIST, 0);
    size_t cap = 0, from = 0;
    interp_charge_scan(in, v.n_str);
    for (size_t i = 0; i < v.n_str && !interp_failed(in);) {
        uint32_t cp;
        size_t k = template_first_char(v.u.s + i, v.n_str - i, &cp);
        if (!ends_line(cp)) {
            i += k;
            continue;
        }
        if (cp == '\r' && i + 1 < v.n_str && v.u.s[i + 1] == '\n')
            k = 2;
        push(in, &list, &cap, like(v, v.u.s + from, (keep_ends ? i + k : i) - from));
        i += k;
        from = i;
    }
    if (from < v.n_str)
        push(in, &list, &cap, like(v, v.u.s + from, v.n_str - from));
    return list;
}

static tv partition(interp *in, tv v, tv separator, bool last) {
    if (separator.kind != TV_STRING || !separator.n_str)
        return interp_fail(in, MUGA_E_INPUT, "the separator must be a string that isn't empty");
    interp_charge_bytes(in, v.n_str);
    const char *hit = last ? find_last(in, v.u.s, v.n_str, separator) : find_first(v.u.s, v.n_str, separator);
    tv t = tv_list_new(in, TV_TUPLE, 3);
    if (interp_failed(in))
        return TV_UNDEF;
    tv empty = like(v, "", 0), *part = t.u.list->v;
    size_t before = hit ? (size_t)(hit - v.u.s) : 0;
    part[0] = hit ? like(v, v.u.s, before) : last ? empty : v;
    part[1] = hit ? like(v, hit, separator.n_str) : empty;
    part[2] = hit ? like(v, hit + separator.n_str, v.n_str - before - separator.n_str) : last ? v : empty;
    return t;
}

/* ---- searching ---- */

static bool affix_one(tv v, tv affix, bool start) {
    if (affix.n_str > v.n_str)
        return false;
    return !memcmp(start ? v.u.s : v.u.s + v.n_str - affix.n_str, affix.u.s, affix.n_str);
}

static tv has_affix(interp *in, tv v, const tv *a, bool start) {
    int64_t before;
    tv affix = a[0], window = tv_text_window(in, v, a[1], a[2], &before);
    if (interp_failed(in))
        return TV_UNDEF;
    tv_list one = {.n = 1, .v = &affix};
    const tv_list *all = affix.kind == TV_TUPLE ? affix.u.list : &one;
    for (size_t i = 0; i < all->n && interp_charge(in, 1); i++) {
        if (all->v[i].kind != TV_STRING)
            return interp_fail(in, MUGA_E_INPUT, "first arg must be str or a tuple of str, not %s",
                               tv_kind_name(all->v[i]));
        if (window.kind == TV_STRING && interp_charge_bytes(in, all->v[i].n_str) && affix_one(window, all->v[i], start))
            return tv_bool(true);
    }
    return tv_bool(false);
}

static tv find(interp *in, tv v, const tv *a, bool last, bool required) {
    int64_t before;
    if (a[0].kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "must be str, not %s", tv_kind_name(a[0]));
    tv window = tv_text_window(in, v, a[1], a[2], &before);
    if (interp_failed(in) || !interp_charge_scan(in, v.n_str))
        return TV_UNDEF;
    const char *hit = NULL;
    if (window.kind == TV_STRING)
        hit = last ? find_last(in, window.u.s, window.n_str, a[0]) : find_first(window.u.s, window.n_str, a[0]);
    if (!hit && required)
        return interp_fail(in, MUGA_E_INPUT, "substring not found");
    return tv_int(hit ? before + (int64_t)utf8_count(window.u.s, (size_t)(hit - window.u.s)) : -1);
}

static tv count(interp *in, tv v, const tv *a) {
    int64_t before, n = 0;
    if (a[0].kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "must be str, not %s", tv_kind_name(a[0]));
    tv window = tv_text_window(in, v, a[1], a[2], &before);
    if (interp_failed(in) || window.kind != TV_STRING)
        return tv_int(0);
    if (!a[0].n_str) {
        (void)tv_length(in, window, &n);
        return tv_int(n + 1);
    }
    const char *p = window.u.s, *end = p + window.n_str;
    while (interp_charge(in, 1) && (p = find_first(p, (size_t)(end - p), a[0]))) {
        p += a[0].n_str;
        n++;
    }
    interp_charge_search(in, window.n_str, a[0].n_str);
    return tv_int(n);
}

/* ---- making ---- */

tv template_text_replace(interp *in, tv v, tv from, tv to, int64_t max) {
    if (interp_failed(in))
        return TV_UNDEF;
    if (from.kind != TV_STRING || to.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "replace() arguments must be str, not %s",
                           tv_kind_name(from.kind != TV_STRING ? from : to));
    if (v.form == FORM_SAFE)
        to = template_escape(in, to);
    str s;
    size_t i = 0;
    interp_str_init(in, &s);
    interp_charge_search(in, v.n_str, from.n_str);
    while (i <= v.n_str && max != 0 && interp_charge(in, 1)) {
        const char *hit = from.n_str ? find_first(v.u.s + i, v.n_str - i, from) : v.u.s + i;
        if (!hit)
            break;
        str_append(&s, v.u.s + i, (size_t)(hit - v.u.s) - i);
        tv_append(in, &s, to);
        i = (size_t)(hit - v.u.s) + from.n_str;
        if (!from.n_str) { /* between all characters */
            uint32_t cp;
            size_t k = i < v.n_str ? template_first_char(v.u.s + i, v.n_str - i, &cp) : 1;
            if (i < v.n_str)
                str_append(&s, v.u.s + i, k);
            i += k;
        }
        max -= max > 0;
    }
    if (i < v.n_str)
        str_append(&s, v.u.s + i, v.n_str - i);
    return text_like(in, v, &s);
}

static tv join(interp *in, tv separator, tv iterable) {
    tv_list items;
    str s;
    if (!tv_iterate(in, iterable, &items))
        return TV_UNDEF;
    interp_str_init(in, &s);
    for (size_t i = 0; i < items.n && interp_charge(in, 1); i++) {
        tv item = items.v[i];
        if (separator.form == FORM_SAFE)
            item = template_escape(in, item);
        else if (item.kind != TV_STRING)
            interp_fail(in, MUGA_E_INPUT, "sequence item %zu: expected str instance, %s found", i, tv_kind_name(item));
        if (i)
            tv_append(in, &s, separator);
        tv_append(in, &s, item);
    }
    return text_like(in, separator, &s);
}

static tv remove_affix(interp *in, tv v, tv affix, bool start) {
    if (affix.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "argument must be str, not %s", tv_kind_name(affix));
    if (!interp_charge_bytes(in, affix.n_str) || !affix_one(v, affix, start))
        return v;
    return like(v, start ? v.u.s + affix.n_str : v.u.s, v.n_str - affix.n_str);
}

/* ---- the table ---- */

typedef enum {
    M_SPLIT,
    M_RSPLIT,
    M_STRIP,
    M_LSTRIP,
    M_RSTRIP,
    M_STARTSWITH,
    M_ENDSWITH,
    M_REPLACE,
    M_FORMAT,
    M_JOIN,
    M_FIND,
    M_RFIND,
    M_INDEX,
    M_RINDEX,
    M_COUNT,
    M_SPLITLINES,
    M_REMOVEPREFIX,
    M_REMOVESUFFIX,
    M_PARTITION,
    M_RPARTITION,
    M_ZFILL,
    M_CENTER,
    M_LJUST,
    M_RJUST,
    M_EXPANDTABS,
    M_CASE,
    M_CLASS
} method_id;

static const struct {
    const char *name, *parameters; /* NULL: the method looks at its arguments itself */
    size_t required;
    method_id id;
    letter_case how;
} methods[] = {{"split", "sep maxsplit", 0, M_SPLIT, 0},
               {"strip", "chars", 0, M_STRIP, 0},
               {"lstrip", "chars", 0, M_LSTRIP, 0},
               {"rstrip", "chars", 0, M_RSTRIP, 0},
               {"startswith", "prefix start end", 1, M_STARTSWITH, 0},
               {"endswith", "suffix start end", 1, M_ENDSWITH, 0},
               {"replace", "old new count", 2, M_REPLACE, 0},
               {"format", NULL, 0, M_FORMAT, 0},
               {"join", "iterable", 1, M_JOIN, 0},
               {"rsplit", "sep maxsplit", 0, M_RSPLIT, 0},
               {"splitlines", "keepends", 0, M_SPLITLINES, 0},
               {"find", "sub start end", 1, M_FIND, 0},
               {"rfind", "sub start end", 1, M_RFIND, 0},
               {"index", "sub start end", 1, M_INDEX, 0},
               {"rindex", "sub start end", 1, M_RINDEX, 0},
               {"count", "sub start end", 1, M_COUNT, 0},
               {"removeprefix", "prefix", 1, M_REMOVEPREFIX, 0},
               {"removesuffix", "suffix", 1, M_REMOVESUFFIX, 0},
               {"partition", "sep", 1, M_PARTITION, 0},
               {"rpartition", "sep", 1, M_RPARTITION, 0},
               {"zfill", "width", 1, M_ZFILL, 0},
               {"center", "width fillchar", 1, M_CENTER, 0},
               {"ljust", "width fillchar", 1, M_LJUST, 0},
               {"rjust", "width fillchar", 1, M_RJUST, 0},
               {"expandtabs", "tabsize", 0, M_EXPANDTABS, 0},
               {"upper", "", 0, M_CASE, CASE_UPPER},
               {"lower", "", 0, M_CASE, CASE_LOWER},
               {"title", "", 0, M_CASE, CASE_TITLE},
               {"capitalize", "", 0, M_CASE, CASE_CAPITAL},
               {"swapcase", "", 0, M_CASE, CASE_SWAP},
               {"casefold", "", 0, M_CASE, CASE_FOLD},
               {"isdigit", "", 0, M_CLASS, 0},
               {"isdecimal", "", 0, M_CLASS, 0},
               {"isnumeric", "", 0, M_CLASS, 0},
               {"isalpha", "", 0, M_CLASS, 0},
               {"isalnum", "", 0, M_CLASS, 0},
               {"isspace", "", 0, M_CLASS, 0},
               {"isupper", "", 0, M_CLASS, 0},
               {"islower", "", 0, M_CLASS, 0},
               {"istitle", "", 0, M_CLASS, 0},
               {"isascii", "", 0, M_CLASS, 0},
               {"isprintable", "", 0, M_CLASS, 0},
               {"isidentifier", "", 0, M_CLASS, 0}};

int template_text_method_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (!strcmp(methods[i].name, name))
            return (int)i;
    return -1;
}

const char *template_text_method_name(int id) {
    return methods[id].name;
}

static int64_t number(interp *in, tv v, int64_t otherwise) {
    if (v.kind == TV_MISSING)
        return otherwise;
    if (!tv_is_integer(v))
        interp_fail(in, MUGA_E_INPUT, "'%s' object cannot be interpreted as an integer", tv_kind_name(v));
    return tv_integer(v);
}

static tv pad(interp *in, tv v, const tv *a, int align) {
    int64_t width = number(in, a[0], 0);
    tv fill = a[1].kind == TV_MISSING ? tv_literal(" ") : a[1];
    return template_text_pad(in, v, width, v.form == FORM_SAFE ? template_escape(in, fill) : fill, align);
}

static tv call_other(interp *in, tv v, int id, const tv *a) {
    switch (methods[id].id) {
    case M_PARTITION:
    case M_RPARTITION: return partition(in, v, a[0], methods[id].id == M_RPARTITION);
    case M_ZFILL: return zero_fill(in, v, number(in, a[0], 0));
    case M_CENTER: return pad(in, v, a, 0);
    case M_LJUST: return pad(in, v, a, -1);
    case M_RJUST: return pad(in, v, a, 1);
    case M_EXPANDTABS: return expand_tabs(in, v, number(in, a[0], 8));
    case M_CASE: return template_text_case(in, v, methods[id].how);
    default: return tv_bool(interp_charge_mapping(in, v.n_str) && template_text_class(v, methods[id].name));
    }
}

tv template_text_method_call(interp *in, tv v, int id, const call_args *args) {
    tv a[3] = {{.kind = TV_MISSING}, {.kind = TV_MISSING}, {.kind = TV_MISSING}};
    if (methods[id].parameters &&
        !template_bind(in, methods[id].name, methods[id].parameters, methods[id].required, args, a))
        return TV_UNDEF;
    switch (methods[id].id) {
    case M_SPLIT:
    case M_RSPLIT: return template_text_split(in, v, a[0], number(in, a[1], -1), methods[id].id == M_RSPLIT);
    case M_STRIP: return template_text_strip(in, v, a[0], true, true);
    case M_LSTRIP: return template_text_strip(in, v, a[0], true, false);
    case M_RSTRIP: return template_text_strip(in, v, a[0], false, true);
    case M_STARTSWITH: return has_affix(in, v, a, true);
    case M_ENDSWITH: return has_affix(in, v, a, false);
    case M_REPLACE: return template_text_replace(in, v, a[0], a[1], number(in, a[2], -1));
    case M_FORMAT: return template_format(in, v, args);
    case M_JOIN: return join(in, v, a[0]);
    case M_FIND: return find(in, v, a, false, false);
    case M_RFIND: return find(in, v, a, true, false);
    case M_INDEX: return find(in, v, a, false, true);
    case M_RINDEX: return find(in, v, a, true, true);
    case M_COUNT: return count(in, v, a);
    case M_SPLITLINES: return template_text_lines(in, v, a[0].kind != TV_MISSING && tv_truth(in, a[0]));
    case M_REMOVEPREFIX: return remove_affix(in, v, a[0], true);
    case M_REMOVESUFFIX: return remove_affix(in, v, a[0], false);
    default: return call_other(in, v, id, a);
    }
}
