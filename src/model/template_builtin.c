/* Global functions, filters and tests of the template language. An unknown name is an error where it is reached.
 * Source: the Jinja template designer documentation ("List of Builtin Filters", "List of Builtin Tests"), and the
 * functions that transformers adds (raise_exception, strftime_now, tojson without HTML escapes). */
#include "model/template_internal.h"

#include <time.h>

bool call_has(const call_args *a, size_t i, const char *name) {
    if (i < a->n)
        return true;
    for (size_t k = 0; name && k < a->n_named; k++)
        if (!strcmp(a->names[k], name))
            return true;
    return false;
}

tv call_arg(const call_args *a, size_t i, const char *name, tv otherwise) {
    if (i < a->n)
        return a->v[i];
    for (size_t k = 0; name && k < a->n_named; k++)
        if (!strcmp(a->names[k], name))
            return a->named[k];
    return otherwise;
}

static int64_t arg_int(interp *in, const call_args *a, size_t i, const char *name, int64_t otherwise) {
    tv v = call_arg(a, i, name, tv_int(otherwise));
    if (v.kind == TV_INT)
        return v.u.i;
    if (v.kind == TV_BOOL)
        return v.u.b;
    interp_fail(in, MUGA_E_INPUT, "argument '%s' must be an integer, not %s", name ? name : "", tv_kind_name(v));
    return otherwise;
}

static const char *text_z(interp *in, tv v) /* NUL-terminated copy */
{
    tv copy = v.kind == TV_STRING ? tv_text(in, v.u.s, v.n_str) : tv_borrow("", 0);
    return interp_failed(in) ? "" : copy.u.s;
}

/* ---- functions ---- */

static tv call_method(interp *in, tv self, const char *name, const call_args *args) {
    tv_method m = {self, name};
    return template_method_call(in, &m, args);
}

static tv fn_namespace(interp *in, const call_args *a) {
    tv ns = tv_dict_new(in, a->n_named);
    if (interp_failed(in))
        return TV_UNDEF;
    if (a->n == 1 && a->v[0].kind == TV_DICT)
        for (size_t i = 0; i < a->v[0].u.dict->n; i++)
            tv_dict_set(in, ns.u.dict, a->v[0].u.dict->keys[i], a->v[0].u.dict->values[i]);
    for (size_t i = 0; i < a->n_named; i++)
        tv_dict_set(in, ns.u.dict, tv_borrow(a->names[i], strlen(a->names[i])), a->named[i]);
    ns.kind = TV_NAMESPACE;
    return ns;
}

static tv fn_dict(interp *in, const call_args *a) {
    tv d = fn_namespace(in, a);
    if (!interp_failed(in))
        d.kind = TV_DICT;
    return d;
}

static tv fn_raise(interp *in, const call_args *a) {
    tv message = tv_to_text(in, call_arg(a, 0, "message", tv_borrow("", 0)));
    if (!interp_failed(in))
        in->status =
            error_set(in->err, MUGA_E_INPUT, "template: raised: %.*s", (int)MIN(message.n_str, 200u), message.u.s);
    return TV_UNDEF;
}

static tv fn_range(interp *in, const call_args *a) {
    int64_t from = 0, to, by = 1;
    if (a->n == 0 || a->n > 3)
        return interp_fail(in, MUGA_E_INPUT, "range takes one to three integers");
    to = arg_int(in, a, a->n > 1 ? 1 : 0, NULL, 0);
    if (a->n > 1)
        from = arg_int(in, a, 0, NULL, 0);
    if (a->n > 2)
        by = arg_int(in, a, 2, NULL, 1);
    if (interp_failed(in))
        return TV_UNDEF;
    if (by == 0)
        return interp_fail(in, MUGA_E_INPUT, "range() arg 3 must not be zero");
    uint64_t distance = by > 0 ? (to > from ? (uint64_t)to - (uint64_t)from : 0)
                               : (from > to ? (uint64_t)from - (uint64_t)to : 0);
    uint64_t step = by > 0 ? (uint64_t)by : 0 - (uint64_t)by, n = distance / step + (distance % step != 0);
    if (n > 100000)
        return interp_fail(in, MUGA_E_LIMIT, "range of %llu is longer than 100000", (unsigned long long)n);
    tv list = tv_list_new(in, TV_LIST, (size_t)n);
    for (uint64_t i = 0; i < n && !interp_failed(in); i++)
        list.u.list->v[i] = tv_int(from + (int64_t)i * by);
    return list;
}

static tv fn_strftime_now(interp *in, const call_args *a) {
    static const char allowed[] = "aAbBcdDeFgGhHIjmMnprRStTuUVwWxXyYzZ%-";
    tv f = call_arg(a, 0, "format", TV_UNDEF);
    if (f.kind != TV_STRING || f.n_str > 200)
        return interp_fail(in, MUGA_E_INPUT, "strftime_now needs a format of at most 200 bytes");
    const char *format = text_z(in, f);
    for (const char *p = strchr(format, '%'); p; p = strchr(p, '%')) {
        if (!p[1] || !strchr(allowed, p[1]))
            return interp_fail(in, MUGA_E_INPUT, "strftime_now: conversion %%%c is not supported", p[1] ? p[1] : ' ');
        p += 2;
    }
    time_t seconds = (time_t)(in->now_ms / 1000);
    struct tm tm;
    char text[1024];
    if (!gmtime_r(&seconds, &tm))
        return interp_fail(in, MUGA_E_INPUT, "strftime_now: the time is out of range");
    return tv_text(in, text, strftime(text, sizeof text, format, &tm));
}

static tv fn_joiner_refused(interp *in, const call_args *a) {
    (void)a;
    return interp_fail(in, MUGA_E_INPUT, "joiner, cycler and lipsum are not supported");
}

static const struct {
    const char *name;
    tv (*call)(interp *, const call_args *);
} functions[] = {{"namespace", fn_namespace},       {"dict", fn_dict},
                 {"raise_exception", fn_raise},     {"range", fn_range},
                 {"strftime_now", fn_strftime_now}, {"joiner", fn_joiner_refused},
                 {"cycler", fn_joiner_refused}};

int template_function_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (!strcmp(functions[i].name, name))
            return (int)i;
    return -1;
}

tv template_function_call(interp *in, int function, const call_args *args) {
    return functions[function].call(in, args);
}

/* ---- filters ---- */

static tv filter_tojson(interp *in, tv v, const call_args *a) {
    tv ascii = call_arg(a, 0, "ensure_ascii", tv_bool(false)), indent = call_arg(a, 1, "indent", TV_NULL);
    tv separators = call_arg(a, 2, "separators", TV_NULL), sorted = call_arg(a, 3, "sort_keys", tv_bool(false));
    const char *item = NULL, *key = NULL;
    if (separators.kind == TV_TUPLE || separators.kind == TV_LIST) {
        if (separators.u.list->n != 2)
            return interp_fail(in, MUGA_E_INPUT, "separators must be two strings");
        item = text_z(in, separators.u.list->v[0]);
        key = text_z(in, separators.u.list->v[1]);
    }
    str s;
    str_init(&s, in->limits.memory_bytes);
    int level = indent.kind == TV_INT ? (int)MIN(MAX(indent.u.i, 0), 32) : -1;
    template_write_json(in, v, tv_truth(ascii), level, tv_truth(sorted), item, key, &s);
    return tv_from_str(in, &s);
}

static tv filter_length(interp *in, tv v, const call_args *a) {
    (void)a;
    switch (v.kind) {
    case TV_STRING: return tv_int((int64_t)tv_text_length(v));
    case TV_LIST:
    case TV_TUPLE: return tv_int((int64_t)v.u.list->n);
    case TV_DICT: return tv_int((int64_t)v.u.dict->n);
    case TV_UNDEFINED: return tv_int(0);
    default: return interp_fail(in, MUGA_E_INPUT, "object of type '%s' has no len()", tv_kind_name(v));
    }
}

static tv filter_default(interp *in, tv v, const call_args *a) {
    (void)in;
    bool use = v.kind == TV_UNDEFINED || (tv_truth(call_arg(a, 1, "boolean", tv_bool(false))) && !tv_truth(v));
    return use ? call_arg(a, 0, "default_value", tv_borrow("", 0)) : v;
}

/* The value a path such as "a.b" or an index leads to. */
static tv get_path(interp *in, tv v, tv path) {
    if (path.kind != TV_STRING)
        return interp_get_item(in, v, path);
    const char *p = text_z(in, path);
    while (!interp_failed(in)) {
        size_t n = strcspn(p, ".");
        tv key = tv_borrow(p, n), number;
        bool digits = n > 0 && strspn(p, "0123456789") == n && n < 10;
        number = tv_int(digits ? strtol(p, NULL, 10) : 0);
        v = interp_get_item(in, v, digits ? number : key);
        if (!p[n])
            break;
        p += n + 1;
    }
    return v;
}

static tv filter_join(interp *in, tv v, const call_args *a) {
    tv separator = tv_to_text(in, call_arg(a, 0, "d", tv_borrow("", 0))),
       attribute = call_arg(a, 1, "attribute", TV_NULL);
    tv_list items;
    str s;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    str_init(&s, in->limits.memory_bytes);
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        if (i)
            str_append(&s, separator.u.s, separator.n_str);
        interp_charge(in, 1 + separator.n_str / 64);
        tv_write(in, attribute.kind == TV_NONE ? items.v[i] : get_path(in, items.v[i], attribute), &s);
    }
    return tv_from_str(in, &s);
}

static tv filter_list(interp *in, tv v, const call_args *a) {
    (void)a;
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    tv list = tv_list_new(in, TV_LIST, items.n);
    if (!interp_failed(in) && items.n)
        memcpy(list.u.list->v, items.v, items.n * sizeof(tv));
    return list;
}

static tv filter_items(interp *in, tv v, const call_args *a) {
    if (v.kind == TV_UNDEFINED)
        return tv_list_new(in, TV_LIST, 0);
    if (v.kind != TV_DICT)
        return interp_fail(in, MUGA_E_INPUT, "Can only get item pairs from a mapping.");
    return call_method(in, v, "items", a);
}

/* Insertion into order, stable; the step budget bounds the quadratic case. */
static void sort_values(interp *in, tv *values, tv *keys, size_t n, bool reverse) {
    for (size_t i = 1; i < n && !interp_failed(in); i++) {
        tv value = values[i], key = keys[i];
        size_t k = i;
        while (k > 0 && (reverse ? tv_compare(in, keys[k - 1], key) < 0 : tv_compare(in, keys[k - 1], key) > 0)) {
            values[k] = values[k - 1];
            keys[k] = keys[k - 1];
            k--;
        }
        values[k] = value;
        keys[k] = key;
    }
}

static tv fold_case(interp *in, tv v) {
    return v.kind == TV_STRING ? call_method(in, v, "lower", &(call_args){0}) : v;
}

static tv filter_sort(interp *in, tv v, const call_args *a) {
    tv list = filter_list(in, v, a), attribute = call_arg(a, 2, "attribute", TV_NULL);
    bool reverse = tv_truth(call_arg(a, 0, "reverse", tv_bool(false))),
         exact = tv_truth(call_arg(a, 1, "case_sensitive", tv_bool(false)));
    if (interp_failed(in))
        return TV_UNDEF;
    tv_list *l = list.u.list;
    tv *keys = interp_alloc(in, l->n * sizeof *keys);
    for (size_t i = 0; keys && i < l->n; i++) {
        keys[i] = attribute.kind == TV_NONE ? l->v[i] : get_path(in, l->v[i], attribute);
        if (!exact)
            keys[i] = fold_case(in, keys[i]);
    }
    if (!interp_failed(in))
        sort_values(in, l->v, keys, l->n, reverse);
    return list;
}

static tv filter_dictsort(interp *in, tv v, const call_args *a) {
    tv pairs = filter_items(in, v, &(call_args){0});
    bool exact = tv_truth(call_arg(a, 0, "case_sensitive", tv_bool(false))),
         reverse = tv_truth(call_arg(a, 2, "reverse", tv_bool(false)));
    size_t by = tv_is_text(call_arg(a, 1, "by", tv_borrow("key", 3)), "value") ? 1 : 0;
    if (interp_failed(in))
        return TV_UNDEF;
    tv_list *l = pairs.u.list;
    tv *keys = interp_alloc(in, l->n * sizeof *keys);
    for (size_t i = 0; keys && i < l->n; i++)
        keys[i] = exact ? l->v[i].u.list->v[by] : fold_case(in, l->v[i].u.list->v[by]);
    if (!interp_failed(in))
        sort_values(in, l->v, keys, l->n, reverse);
    return pairs;
}

/* The first n elements as what Python's lazy filters give: iterable, without length, not serialisable. */
static tv as_generator(interp *in, tv list, size_t n) {
    if (interp_failed(in))
        return TV_UNDEF;
    list.kind = TV_GENERATOR;
    list.u.list->n = n;
    return list;
}

static tv filter_unique(interp *in, tv v, const call_args *a) {
    (void)a;
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    tv list = tv_list_new(in, TV_LIST, items.n), seen = tv_list_new(in, TV_LIST, items.n);
    size_t n = 0;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        tv key = fold_case(in, items.v[i]);
        size_t k = 0;
        while (k < n && !tv_equal(in, seen.u.list->v[k], key))
            k++;
        if (k < n)
            continue;
        seen.u.list->v[n] = key;
        list.u.list->v[n++] = items.v[i];
    }
    return as_generator(in, list, n);
}

static tv extreme(interp *in, tv v, bool largest) {
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    if (items.n == 0)
        return tv_undefined("an empty sequence");
    tv best = items.v[0];
    for (size_t i = 1; i < items.n && !interp_failed(in); i++) {
        int c = tv_compare(in, fold_case(in, items.v[i]), fold_case(in, best));
        if (largest ? c > 0 : c < 0)
            best = items.v[i];
    }
    return best;
}

/* select, reject, selectattr, rejectattr: keep where the test's verdict is `wanted`. */
static tv filter_by_test(interp *in, tv v, const call_args *a, bool by_attribute, bool wanted) {
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    size_t skip = by_attribute ? 1 : 0;
    if (by_attribute && a->n == 0)
        return interp_fail(in, MUGA_E_INPUT, "selectattr needs an attribute name");
    const char *test = a->n > skip ? text_z(in, a->v[skip]) : NULL;
    call_args rest = {.v = a->v + skip + 1, .n = a->n > skip + 1 ? a->n - skip - 1 : 0};
    tv list = tv_list_new(in, TV_LIST, items.n);
    size_t n = 0;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        tv value = by_attribute ? get_path(in, items.v[i], a->v[0]) : items.v[i];
        bool verdict = test ? template_test(in, test, value, &rest) : tv_truth(value);
        if (verdict == wanted)
            list.u.list->v[n++] = items.v[i];
    }
    return as_generator(in, list, n);
}

static tv filter_map(interp *in, tv v, const call_args *a) {
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    tv attribute = call_arg(a, SIZE_MAX, "attribute", TV_NULL);
    if (attribute.kind == TV_NONE && a->n == 0)
        return interp_fail(in, MUGA_E_INPUT, "map needs a filter name or attribute=");
    const char *name = attribute.kind == TV_NONE ? text_z(in, a->v[0]) : NULL;
    tv otherwise = call_arg(a, SIZE_MAX, "default", TV_UNDEF), list = tv_list_new(in, TV_LIST, items.n);
    call_args rest = {
        .v = a->v + 1, .n = a->n ? a->n - 1 : 0, .names = a->names, .named = a->named, .n_named = a->n_named};
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        tv got = name ? template_filter(in, name, items.v[i], &rest) : get_path(in, items.v[i], attribute);
        list.u.list->v[i] = !name && got.kind == TV_UNDEFINED && otherwise.kind != TV_UNDEFINED ? otherwise : got;
    }
    return as_generator(in, list, items.n);
}

static tv filter_indent(interp *in, tv v, const call_args *a) {
    tv text = tv_to_text(in, v), width = call_arg(a, 0, "width", tv_int(4));
    bool first = tv_truth(call_arg(a, 1, "first", tv_bool(false))),
         blank = tv_truth(call_arg(a, 2, "blank", tv_bool(false)));
    str pad, s;
    if (interp_failed(in))
        return TV_UNDEF;
    str_init(&pad, 4096);
    str_init(&s, in->limits.memory_bytes);
    if (width.kind == TV_STRING)
        str_append(&pad, width.u.s, width.n_str);
    for (int64_t i = 0; width.kind == TV_INT && i < MIN(width.u.i, 1024); i++)
        str_append_c(&pad, ' ');
    for (size_t i = 0, line = 0; i <= text.n_str && interp_charge(in, 1 + pad.len / 64); line++) {
        const char *end = memchr(text.u.s + i, '\n', text.n_str - i);
        size_t n = end ? (size_t)(end - text.u.s) - i : text.n_str - i;
        if (line ? (blank || n > 0) : first)
            str_append(&s, str_get(&pad), pad.len);
        str_append(&s, text.u.s + i, n);
        if (!end)
            break;
        str_append_c(&s, '\n');
        i += n + 1;
    }
    str_release(&pad);
    return tv_from_str(in, &s);
}

static tv filter_int(interp *in, tv v, const call_args *a) {
    tv otherwise = call_arg(a, 0, "default", tv_int(0));
    int64_t base = arg_int(in, a, 1, "base", 10);
    if (v.kind == TV_INT)
        return v;
    if (v.kind == TV_BOOL)
        return tv_int(v.u.b);
    if (v.kind == TV_FLOAT)
        return v.u.d > -9e18 && v.u.d < 9e18 ? tv_int((int64_t)v.u.d) : otherwise;
    if (v.kind != TV_STRING || base < 2 || base > 36)
        return otherwise;
    const char *text = text_z(in, call_method(in, v, "strip", &(call_args){0}));
    char *end;
    long long i = strtoll(text, &end, (int)base);
    if (end != text && !*end)
        return tv_int(i);
    double d = strtod(text, &end);
    return end != text && !*end && d > -9e18 && d < 9e18 ? tv_int((int64_t)d) : otherwise;
}

static tv filter_float(interp *in, tv v, const call_args *a) {
    if (tv_is_number(v))
        return tv_float(tv_number(v));
    if (v.kind == TV_STRING) {
        const char *text = text_z(in, v);
        char *end;
        double d = strtod(text, &end);
        if (end != text && !*end)
            return tv_float(d);
    }
    return call_arg(a, 0, "default", tv_float(0));
}

static tv filter_round(interp *in, tv v, const call_args *a) {
    int64_t digits = arg_int(in, a, 0, "precision", 0);
    if (!tv_is_number(v))
        return interp_fail(in, MUGA_E_INPUT, "round needs a number, not %s", tv_kind_name(v));
    if (call_has(a, 1, "method"))
        return interp_fail(in, MUGA_E_INPUT, "round: method is not supported");
    if (digits < 0 || digits > 15)
        return interp_fail(in, MUGA_E_INPUT, "round: precision must be 0 to 15");
    char text[400];
    snprintf(text, sizeof text, "%.*f", (int)digits, tv_number(v));
    return tv_float(strtod(text, NULL));
}

static tv filter_reverse(interp *in, tv v, const call_args *a) {
    (void)a;
    if (v.kind == TV_STRING)
        return tv_slice(in, v, TV_NULL, TV_NULL, tv_int(-1));
    return tv_slice(in, filter_list(in, v, a), TV_NULL, TV_NULL, tv_int(-1));
}

static tv filter_sum(interp *in, tv v, const call_args *a) {
    tv_list items;
    tv attribute = call_arg(a, 0, "attribute", TV_NULL), total = call_arg(a, 1, "start", tv_int(0));
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    double real = tv_number(total);
    int64_t whole = total.kind == TV_INT ? total.u.i : 0;
    bool is_real = total.kind == TV_FLOAT;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        tv x = attribute.kind == TV_NONE ? items.v[i] : get_path(in, items.v[i], attribute);
        if (!tv_is_number(x))
            return interp_fail(in, MUGA_E_INPUT, "sum of a '%s'", tv_kind_name(x));
        is_real |= x.kind == TV_FLOAT;
        real += tv_number(x);
        if (__builtin_add_overflow(whole, x.kind == TV_INT ? x.u.i : (int64_t)(x.kind == TV_BOOL && x.u.b), &whole))
            return interp_fail(in, MUGA_E_INPUT, "integer overflow");
    }
    return is_real ? tv_float(real) : tv_int(whole);
}

/* "%s %d %f %r %%" with positional arguments. */
static tv filter_format(interp *in, tv v, const call_args *a) {
    str s;
    size_t k = 0;
    if (v.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "format needs a string");
    str_init(&s, in->limits.memory_bytes);
    for (size_t i = 0; i < v.n_str && !interp_failed(in); i++) {
        if (v.u.s[i] != '%') {
            str_append_c(&s, v.u.s[i]);
            continue;
        }
        size_t digits = i + 1;
        char spec[16] = "%";
        while (digits < v.n_str && digits - i < 8 && v.u.s[digits] && strchr("0123456789.-+", v.u.s[digits])) {
            spec[digits - i] = v.u.s[digits];
            digits++;
        }
        char c = digits < v.n_str ? v.u.s[digits] : 0;
        size_t at = digits - i;
        i = digits;
        if (c == '%') {
            str_append_c(&s, '%');
            continue;
        }
        if (k >= a->n) {
            interp_fail(in, MUGA_E_INPUT, "not enough arguments for format string");
            break;
        }
        tv arg = a->v[k++];
        if (c == 's' && at == 1)
            tv_write(in, arg, &s);
        else if (c == 'r' && at == 1)
            tv_write_repr(in, arg, &s);
        else if ((c == 'd' || c == 'i') && tv_is_number(arg)) {
            memcpy(spec + at, "lld", 4);
            str_printf(&s, spec, (long long)tv_number(arg));
        } else if (c == 'f' && tv_is_number(arg)) {
            memcpy(spec + at, "f", 2);
            str_printf(&s, spec, tv_number(arg));
        } else
            interp_fail(in, MUGA_E_INPUT, "format: %%%c is not supported for '%s'", c ? c : ' ', tv_kind_name(arg));
    }
    return tv_from_str(in, &s);
}

static tv filter_escape(interp *in, tv v, const call_args *a) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    (void)a;
    tv text = tv_to_text(in, v);
    str s;
    if (interp_failed(in))
        return TV_UNDEF;
    str_init(&s, in->limits.memory_bytes);
    for (size_t i = 0; i < text.n_str; i++) {
        const char *f = text.u.s[i] ? strchr(from, text.u.s[i]) : NULL;
        if (f)
            str_append_s(&s, to[f - from]);
        else
            str_append_c(&s, text.u.s[i]);
    }
    return tv_from_str(in, &s);
}

static tv filter_string(interp *in, tv v, const call_args *a) {
    (void)a;
    return tv_to_text(in, v);
}
static tv filter_safe(interp *in, tv v, const call_args *a) {
    (void)a;
    return tv_to_text(in, v);
}
static tv filter_trim(interp *in, tv v, const call_args *a) {
    return call_method(in, tv_to_text(in, v), "strip", a);
}
static tv filter_lower(interp *in, tv v, const call_args *a) {
    return call_method(in, tv_to_text(in, v), "lower", a);
}
static tv filter_upper(interp *in, tv v, const call_args *a) {
    return call_method(in, tv_to_text(in, v), "upper", a);
}
static tv filter_title(interp *in, tv v, const call_args *a) {
    return call_method(in, tv_to_text(in, v), "title", a);
}
static tv filter_capital(interp *in, tv v, const call_args *a) {
    return call_method(in, tv_to_text(in, v), "capitalize", a);
}
static tv filter_replace(interp *in, tv v, const call_args *a) {
    return call_method(in, tv_to_text(in, v), "replace", a);
}
static tv filter_min(interp *in, tv v, const call_args *a) {
    (void)a;
    return extreme(in, v, false);
}
static tv filter_max(interp *in, tv v, const call_args *a) {
    (void)a;
    return extreme(in, v, true);
}
static tv filter_select(interp *in, tv v, const call_args *a) {
    return filter_by_test(in, v, a, false, true);
}
static tv filter_reject(interp *in, tv v, const call_args *a) {
    return filter_by_test(in, v, a, false, false);
}
static tv filter_selectattr(interp *in, tv v, const call_args *a) {
    return filter_by_test(in, v, a, true, true);
}
static tv filter_rejectattr(interp *in, tv v, const call_args *a) {
    return filter_by_test(in, v, a, true, false);
}
static tv filter_attr(interp *in, tv v, const call_args *a) {
    return interp_get_attr(in, v, text_z(in, call_arg(a, 0, "name", TV_UNDEF)));
}

static tv filter_first(interp *in, tv v, const call_args *a) {
    (void)a;
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    return items.n ? items.v[0] : tv_undefined("first element");
}

static tv filter_last(interp *in, tv v, const call_args *a) {
    (void)a;
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    return items.n ? items.v[items.n - 1] : tv_undefined("last element");
}

static tv filter_abs(interp *in, tv v, const call_args *a) {
    (void)a;
    if (v.kind == TV_INT && v.u.i != INT64_MIN)
        return tv_int(v.u.i < 0 ? -v.u.i : v.u.i);
    if (v.kind == TV_FLOAT)
        return tv_float(v.u.d < 0 ? -v.u.d : v.u.d);
    return interp_fail(in, MUGA_E_INPUT, "bad operand type for abs(): '%s'", tv_kind_name(v));
}

static const struct {
    const char *name;
    tv (*apply)(interp *, tv, const call_args *);
} filters[] = {{"tojson", filter_tojson},
               {"length", filter_length},
               {"count", filter_length},
               {"trim", filter_trim},
               {"string", filter_string},
               {"default", filter_default},
               {"d", filter_default},
               {"join", filter_join},
               {"items", filter_items},
               {"list", filter_list},
               {"safe", filter_safe},
               {"dictsort", filter_dictsort},
               {"lower", filter_lower},
               {"upper", filter_upper},
               {"title", filter_title},
               {"capitalize", filter_capital},
               {"replace", filter_replace},
               {"map", filter_map},
               {"select", filter_select},
               {"reject", filter_reject},
               {"selectattr", filter_selectattr},
               {"rejectattr", filter_rejectattr},
               {"indent", filter_indent},
               {"int", filter_int},
               {"float", filter_float},
               {"round", filter_round},
               {"abs", filter_abs},
               {"unique", filter_unique},
               {"sort", filter_sort},
               {"min", filter_min},
               {"max", filter_max},
               {"first", filter_first},
               {"last", filter_last},
               {"reverse", filter_reverse},
               {"sum", filter_sum},
               {"format", filter_format},
               {"escape", filter_escape},
               {"e", filter_escape},
               {"attr", filter_attr}};

tv template_filter(interp *in, const char *name, tv input, const call_args *args) {
    if (interp_failed(in))
        return TV_UNDEF;
    for (size_t i = 0; i < ARRAY_LEN(filters); i++)
        if (!strcmp(filters[i].name, name))
            return filters[i].apply(in, input, args);
    return interp_fail(in, MUGA_E_INPUT, "no filter named '%.60s'", name);
}

/* ---- tests ---- */

static bool test_compare(interp *in, const char *name, tv v, tv other) {
    static const struct {
        const char *name;
        int op;
    } table[] = {{"eq", T_EQ}, {"equalto", T_EQ},     {"==", T_EQ}, {"ne", T_NE}, {"!=", T_NE},
                 {"lt", T_LT}, {"lessthan", T_LT},    {"<", T_LT},  {"le", T_LE}, {"<=", T_LE},
                 {"gt", T_GT}, {"greaterthan", T_GT}, {">", T_GT},  {"ge", T_GE}, {">=", T_GE}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].name, name))
            continue;
        if (table[i].op == T_EQ)
            return tv_equal(in, v, other);
        if (table[i].op == T_NE)
            return !tv_equal(in, v, other);
        int c = tv_compare(in, v, other);
        return table[i].op == T_LT ? c < 0 : table[i].op == T_LE ? c <= 0 : table[i].op == T_GT ? c > 0 : c >= 0;
    }
    interp_fail(in, MUGA_E_INPUT, "no test named '%.60s'", name);
    return false;
}

static bool test_number(interp *in, const char *name, tv v, tv other) {
    if (v.kind != TV_INT) {
        interp_fail(in, MUGA_E_INPUT, "test '%s' needs an integer, not %s", name, tv_kind_name(v));
        return false;
    }
    if (!strcmp(name, "odd"))
        return v.u.i % 2 != 0;
    if (!strcmp(name, "even"))
        return v.u.i % 2 == 0;
    if (other.kind != TV_INT || other.u.i == 0 || other.u.i == -1)
        return other.kind == TV_INT && other.u.i == -1;
    return v.u.i % other.u.i == 0;
}

bool template_test(interp *in, const char *name, tv v, const call_args *args) {
    tv other = call_arg(args, 0, NULL, TV_NULL);
    if (interp_failed(in))
        return false;
    if (!strcmp(name, "defined"))
        return v.kind != TV_UNDEFINED;
    if (!strcmp(name, "undefined"))
        return v.kind == TV_UNDEFINED;
    if (!strcmp(name, "none"))
        return v.kind == TV_NONE;
    if (!strcmp(name, "string"))
        return v.kind == TV_STRING;
    if (!strcmp(name, "mapping"))
        return v.kind == TV_DICT;
    if (!strcmp(name, "number"))
        return tv_is_number(v);
    if (!strcmp(name, "integer"))
        return v.kind == TV_INT;
    if (!strcmp(name, "float"))
        return v.kind == TV_FLOAT;
    if (!strcmp(name, "boolean"))
        return v.kind == TV_BOOL;
    if (!strcmp(name, "true"))
        return v.kind == TV_BOOL && v.u.b;
    if (!strcmp(name, "false"))
        return v.kind == TV_BOOL && !v.u.b;
    if (!strcmp(name, "sequence") || !strcmp(name, "iterable"))
        return v.kind == TV_STRING || v.kind == TV_LIST || v.kind == TV_TUPLE || v.kind == TV_DICT ||
               v.kind == TV_UNDEFINED || (v.kind == TV_GENERATOR && name[0] == 'i');
    if (!strcmp(name, "callable"))
        return v.kind == TV_MACRO || v.kind == TV_FUNCTION || v.kind == TV_METHOD;
    if (!strcmp(name, "in"))
        return tv_contains(in, other, v);
    if (!strcmp(name, "sameas"))
        return v.kind == other.kind && tv_equal(in, v, other);
    if (!strcmp(name, "odd") || !strcmp(name, "even") || !strcmp(name, "divisibleby"))
        return test_number(in, name, v, other);
    if (!strcmp(name, "upper") || !strcmp(name, "lower"))
        return tv_truth(call_method(in, tv_to_text(in, v), name[0] == 'u' ? "isupper" : "islower", &(call_args){0}));
    return test_compare(in, name, v, other);
}
