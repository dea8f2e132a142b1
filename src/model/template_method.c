/* Methods of strings, dicts, lists and loops that a template may call. Only those that change nothing: the sandbox
 * of transformers refuses append, pop, update and their like, and so does this table, by name. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem, memrchr */
#endif
#include "base/utf8.h"
#include "model/template_internal.h"

#include <utf8proc.h>

static bool listed(const char *const *names, const char *name) {
    for (; *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

static const char *const text_methods[] = {
    "split",   "rsplit",       "strip",        "lstrip",     "rstrip",     "startswith", "endswith", "replace",
    "upper",   "lower",        "title",        "capitalize", "format",     "join",       "find",     "rfind",
    "index",   "count",        "splitlines",   "isdigit",    "isalpha",    "isalnum",    "isspace",  "isupper",
    "islower", "removeprefix", "removesuffix", "partition",  "rpartition", "zfill",      NULL};
static const char *const dict_methods[] = {"items", "keys", "values", "get", "copy", NULL};
static const char *const dict_unsafe[] = {"pop", "popitem", "update", "setdefault", "clear", NULL};
static const char *const list_methods[] = {"index", "count", "copy", NULL};
static const char *const list_unsafe[] = {"append", "extend",  "insert", "remove", "pop",
                                          "sort",   "reverse", "clear",  NULL};
static const char *const loop_methods[] = {"cycle", "changed", NULL};

bool template_has_method(tv v, const char *name) {
    switch (v.kind) {
    case TV_STRING: return listed(text_methods, name);
    case TV_DICT: return listed(dict_methods, name) || listed(dict_unsafe, name);
    case TV_LIST: return listed(list_methods, name) || listed(list_unsafe, name);
    case TV_TUPLE: return listed(list_methods, name);
    case TV_LOOP: return listed(loop_methods, name);
    default: return false;
    }
}

static size_t char_at(const char *p, size_t n, uint32_t *cp) {
    size_t k = utf8_decode(p, n, cp);
    if (k)
        return k;
    *cp = (unsigned char)*p;
    return 1;
}

static bool space(uint32_t cp) {
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP || cp == 0x85;
}

static bool in_set(tv set, uint32_t cp) {
    for (size_t i = 0; i < set.n_str;) {
        uint32_t c;
        i += char_at(set.u.s + i, set.n_str - i, &c);
        if (c == cp)
            return true;
    }
    return false;
}

/* strip: characters of `set` (a string) or white space (none) from the chosen ends. */
static tv strip(interp *in, tv v, tv set, bool left, bool right) {
    const char *p = v.u.s;
    size_t n = v.n_str;
    if (set.kind != TV_STRING && set.kind != TV_NONE)
        return interp_fail(in, MUGA_E_INPUT, "strip arg must be None or str, not %s", tv_kind_name(set));
    interp_charge(in, n / 64);
    while (left && n) {
        uint32_t cp;
        size_t k = char_at(p, n, &cp);
        if (set.kind == TV_STRING ? !in_set(set, cp) : !space(cp))
            break;
        p += k;
        n -= k;
    }
    while (right && n) {
        size_t k = 1;
        uint32_t cp;
        while (k < n && k < 4 && ((unsigned char)p[n - k] & 0xc0) == 0x80)
            k++;
        if (char_at(p + n - k, k, &cp) != k) {
            k = 1;
            cp = (unsigned char)p[n - 1];
        }
        if (set.kind == TV_STRING ? !in_set(set, cp) : !space(cp))
            break;
        n -= k;
    }
    return tv_borrow(p, n);
}

static void push(interp *in, tv *list, size_t *cap, tv item) {
    tv_list *l = list->u.list;
    if (interp_failed(in))
        return;
    if (l->n == *cap) {
        *cap = *cap ? *cap * 2 : 8;
        tv *v = interp_alloc(in, *cap * sizeof *v);
        if (!v)
            return;
        memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
    }
    l->v[l->n++] = item;
}

static tv split_space(interp *in, tv v, int64_t max) {
    tv list = tv_list_new(in, TV_LIST, 0);
    size_t cap = 0, i = 0;
    while (i < v.n_str && !interp_failed(in)) {
        uint32_t cp;
        size_t k = char_at(v.u.s + i, v.n_str - i, &cp);
        if (space(cp)) {
            i += k;
            continue;
        }
        size_t from = i;
        if (max >= 0 && (int64_t)list.u.list->n == max) {
            push(in, &list, &cap, strip(in, tv_borrow(v.u.s + from, v.n_str - from), TV_NULL, false, true));
            break;
        }
        while (i < v.n_str && (k = char_at(v.u.s + i, v.n_str - i, &cp), !space(cp)))
            i += k;
        push(in, &list, &cap, tv_borrow(v.u.s + from, i - from));
    }
    return list;
}

static const char *find_last(const char *p, size_t n, tv needle) {
    for (size_t i = n >= needle.n_str ? n - needle.n_str + 1 : 0; i-- > 0;)
        if (!memcmp(p + i, needle.u.s, needle.n_str))
            return p + i;
    return NULL;
}

static tv split(interp *in, tv v, tv separator, int64_t max, bool from_right) {
    if (separator.kind == TV_NONE && !from_right)
        return split_space(in, v, max);
    if (separator.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "must be str or None, not %s", tv_kind_name(separator));
    if (separator.n_str == 0)
        return interp_fail(in, MUGA_E_INPUT, "empty separator");
    tv list = tv_list_new(in, TV_LIST, 0);
    size_t cap = 0, n = v.n_str;
    const char *p = v.u.s, *hit;
    interp_charge(in, n / 32);
    while (!interp_failed(in) && max != 0) {
        hit = from_right ? find_last(p, n, separator) : memmem(p, n, separator.u.s, separator.n_str);
        if (!hit)
            break;
        size_t before = (size_t)(hit - p), skip = before + separator.n_str;
        push(in, &list, &cap, from_right ? tv_borrow(p + skip, n - skip) : tv_borrow(p, before));
        if (!from_right)
            p += skip;
        n = from_right ? before : n - skip;
        if (max > 0)
            max--;
    }
    push(in, &list, &cap, tv_borrow(p, n));
    for (size_t i = 0; from_right && !interp_failed(in) && i < list.u.list->n / 2; i++) {
        tv *a = &list.u.list->v[i], *b = &list.u.list->v[list.u.list->n - 1 - i], t = *a;
        *a = *b;
        *b = t;
    }
    return list;
}

static tv split_lines(interp *in, tv v) {
    tv list = tv_list_new(in, TV_LIST, 0);
    size_t cap = 0, from = 0;
    for (size_t i = 0; i < v.n_str && !interp_failed(in); i++) {
        char c = v.u.s[i];
        if (c != '\n' && c != '\r')
            continue;
        push(in, &list, &cap, tv_borrow(v.u.s + from, i - from));
        if (c == '\r' && i + 1 < v.n_str && v.u.s[i + 1] == '\n')
            i++;
        from = i + 1;
    }
    if (from < v.n_str)
        push(in, &list, &cap, tv_borrow(v.u.s + from, v.n_str - from));
    return list;
}

static bool affix_one(tv v, tv affix, bool start) {
    if (affix.n_str > v.n_str)
        return false;
    return !memcmp(start ? v.u.s : v.u.s + v.n_str - affix.n_str, affix.u.s, affix.n_str);
}

static tv has_affix(interp *in, tv v, tv affix, bool start) {
    if (affix.kind == TV_STRING)
        return tv_bool(affix_one(v, affix, start));
    if (affix.kind != TV_TUPLE)
        return interp_fail(in, MUGA_E_INPUT, "first arg must be str or a tuple of str, not %s", tv_kind_name(affix));
    for (size_t i = 0; i < affix.u.list->n; i++)
        if (affix.u.list->v[i].kind == TV_STRING && affix_one(v, affix.u.list->v[i], start))
            return tv_bool(true);
    return tv_bool(false);
}

static tv replace(interp *in, tv v, tv from, tv to, int64_t max) {
    if (from.kind != TV_STRING || to.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "replace arguments must be str");
    str s;
    str_init(&s, in->limits.memory_bytes);
    size_t i = 0;
    interp_charge(in, v.n_str / 16);
    while (i <= v.n_str && max != 0 && !interp_failed(in)) {
        const char *hit = from.n_str ? memmem(v.u.s + i, v.n_str - i, from.u.s, from.n_str) : v.u.s + i;
        if (!hit)
            break;
        str_append(&s, v.u.s + i, (size_t)(hit - v.u.s) - i);
        str_append(&s, to.u.s, to.n_str);
        interp_charge(in, 1 + to.n_str / 64);
        i = (size_t)(hit - v.u.s) + from.n_str;
        if (!from.n_str) {
            if (i < v.n_str)
                str_append_c(&s, v.u.s[i]);
            i++;
        }
        if (max > 0)
            max--;
    }
    if (i < v.n_str)
        str_append(&s, v.u.s + i, v.n_str - i);
    return tv_from_str(in, &s);
}

typedef enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL } letter_case;

static tv change_case(interp *in, tv v, letter_case how) {
    str s;
    str_init(&s, in->limits.memory_bytes);
    bool word = false;
    interp_charge(in, v.n_str / 16);
    for (size_t i = 0; i < v.n_str;) {
        uint32_t cp;
        char text[4];
        size_t k = char_at(v.u.s + i, v.n_str - i, &cp);
        bool upper = how == CASE_UPPER || (how == CASE_TITLE && !word) || (how == CASE_CAPITAL && i == 0);
        utf8proc_int32_t c = (utf8proc_int32_t)cp;
        uint32_t changed = (uint32_t)(upper ? utf8proc_toupper(c) : utf8proc_tolower(c));
        utf8proc_category_t category = utf8proc_category(c);
        word = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
        size_t n = cp < 0x80 || k > 1 ? utf8_encode(changed, text) : 0;
        if (n)
            str_append(&s, text, n);
        else
            str_append(&s, v.u.s + i, k);
        i += k;
    }
    return tv_from_str(in, &s);
}

static tv join(interp *in, tv separator, tv iterable) {
    tv_list items;
    str s;
    if (!tv_iterate(in, iterable, &items))
        return TV_UNDEF;
    str_init(&s, in->limits.memory_bytes);
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        if (items.v[i].kind != TV_STRING)
            interp_fail(in, MUGA_E_INPUT, "sequence item %zu: expected str instance, %s found", i,
                        tv_kind_name(items.v[i]));
        if (i)
            str_append(&s, separator.u.s, separator.n_str);
        str_append(&s, items.v[i].u.s, items.v[i].kind == TV_STRING ? items.v[i].n_str : 0);
        interp_charge(in, 1 + (separator.n_str + items.v[i].n_str) / 64);
    }
    return tv_from_str(in, &s);
}

static bool all_class(tv v, const char *name) {
    bool cased = false;
    if (!v.n_str)
        return false;
    for (size_t i = 0; i < v.n_str;) {
        uint32_t cp;
        i += char_at(v.u.s + i, v.n_str - i, &cp);
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        bool letter = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO, digit = c == UTF8PROC_CATEGORY_ND;
        if (!strcmp(name, "isupper") || !strcmp(name, "islower")) {
            bool upper = c == UTF8PROC_CATEGORY_LU, lower = c == UTF8PROC_CATEGORY_LL;
            if (name[2] == 'u' ? lower : upper)
                return false;
            cased |= upper || lower;
            continue;
        }
        if (!strcmp(name, "isdigit")   ? !digit
            : !strcmp(name, "isalpha") ? !letter
            : !strcmp(name, "isspace") ? !space(cp)
                                       : !(letter || digit))
            return false;
        cased = true;
    }
    return cased;
}

/* str.format with plain fields: {}, {0}, {name}, {{ and }}. Format specifications are refused by name. */
static tv format(interp *in, tv v, const call_args *args) {
    str s;
    size_t automatic = 0;
    str_init(&s, in->limits.memory_bytes);
    for (size_t i = 0; i < v.n_str && !interp_failed(in); i++) {
        char c = v.u.s[i];
        if ((c == '{' || c == '}') && i + 1 < v.n_str && v.u.s[i + 1] == c) {
            str_append_c(&s, c);
            i++;
            continue;
        }
        if (c != '{') {
            str_append_c(&s, c);
            continue;
        }
        const char *end = memchr(v.u.s + i, '}', v.n_str - i);
        size_t n = end ? (size_t)(end - (v.u.s + i)) - 1 : 0;
        char name[64];
        if (!end || n >= sizeof name) {
            interp_fail(in, MUGA_E_INPUT, "format: field is not closed");
            break;
        }
        memcpy(name, v.u.s + i + 1, n);
        name[n] = 0;
        if (strpbrk(name, ":!.[")) {
            interp_fail(in, MUGA_E_INPUT, "format: field '{%s}' is not supported", name);
            break;
        }
        size_t index = n ? strtoul(name, NULL, 10) : automatic++;
        bool numeric = n == 0 || (name[0] >= '0' && name[0] <= '9');
        if (!call_has(args, numeric ? index : SIZE_MAX, name)) {
            interp_fail(in, MUGA_E_INPUT, "format: no argument for field '{%s}'", name);
            break;
        }
        tv_write(in, call_arg(args, numeric ? index : SIZE_MAX, name, TV_UNDEF), &s);
        i += n + 1;
    }
    return tv_from_str(in, &s);
}

static tv find(interp *in, tv v, tv needle, bool last, bool required) {
    if (needle.kind != TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "must be str, not %s", tv_kind_name(needle));
    const char *hit = last ? find_last(v.u.s, v.n_str, needle) : memmem(v.u.s, v.n_str, needle.u.s, needle.n_str);
    interp_charge(in, v.n_str / 32);
    if (!hit && required)
        return interp_fail(in, MUGA_E_INPUT, "substring not found");
    return tv_int(hit ? (int64_t)utf8_count(v.u.s, (size_t)(hit - v.u.s)) : -1);
}

static tv partition(interp *in, tv v, tv separator, bool last) {
    if (separator.kind != TV_STRING || !separator.n_str)
        return interp_fail(in, MUGA_E_INPUT, "empty separator");
    const char *hit = last ? find_last(v.u.s, v.n_str, separator)
                           : memmem(v.u.s, v.n_str, separator.u.s, separator.n_str);
    tv t = tv_list_new(in, TV_TUPLE, 3);
    if (interp_failed(in))
        return TV_UNDEF;
    tv empty = tv_borrow("", 0), *part = t.u.list->v;
    size_t before = hit ? (size_t)(hit - v.u.s) : 0;
    part[0] = hit ? tv_borrow(v.u.s, before) : last ? empty : v;
    part[1] = hit ? separator : empty;
    part[2] = hit ? tv_borrow(hit + separator.n_str, v.n_str - before - separator.n_str) : last ? v : empty;
    return t;
}

static tv zero_fill(interp *in, tv v, tv width) {
    str s;
    int64_t n = (int64_t)tv_text_length(v), w = width.kind == TV_INT ? width.u.i : 0;
    bool sign = v.n_str && (v.u.s[0] == '-' || v.u.s[0] == '+');
    str_init(&s, in->limits.memory_bytes);
    if (sign)
        str_append_c(&s, v.u.s[0]);
    for (; n < w && interp_charge(in, 1); n++)
        str_append_c(&s, '0');
    str_append(&s, v.u.s + sign, v.n_str - sign);
    return tv_from_str(in, &s);
}

static int64_t count_text(interp *in, tv v, tv needle) {
    int64_t n = 0;
    interp_charge(in, v.n_str / 16);
    if (needle.kind != TV_STRING || !needle.n_str)
        return needle.kind == TV_STRING ? (int64_t)tv_text_length(v) + 1 : 0;
    for (const char *p = v.u.s, *end = v.u.s + v.n_str; (p = memmem(p, (size_t)(end - p), needle.u.s, needle.n_str));
         n++)
        p += needle.n_str;
    return n;
}

static tv text_method(interp *in, tv v, const char *name, const call_args *a) {
    tv first = call_arg(a, 0, NULL, TV_NULL), second = call_arg(a, 1, NULL, TV_NULL);
    if (!strcmp(name, "split") || !strcmp(name, "rsplit")) {
        tv max = call_arg(a, 1, "maxsplit", tv_int(-1));
        return split(in, v, call_arg(a, 0, "sep", TV_NULL), max.kind == TV_INT ? max.u.i : -1, name[0] == 'r');
    }
    if (!strcmp(name, "strip"))
        return strip(in, v, first, true, true);
    if (!strcmp(name, "lstrip"))
        return strip(in, v, first, true, false);
    if (!strcmp(name, "rstrip"))
        return strip(in, v, first, false, true);
    if (!strcmp(name, "startswith"))
        return has_affix(in, v, first, true);
    if (!strcmp(name, "endswith"))
        return has_affix(in, v, first, false);
    if (!strcmp(name, "replace")) {
        tv max = call_arg(a, 2, "count", tv_int(-1));
        return replace(in, v, first, second, max.kind == TV_INT ? max.u.i : -1);
    }
    if (!strcmp(name, "upper"))
        return change_case(in, v, CASE_UPPER);
    if (!strcmp(name, "lower"))
        return change_case(in, v, CASE_LOWER);
    if (!strcmp(name, "title"))
        return change_case(in, v, CASE_TITLE);
    if (!strcmp(name, "capitalize"))
        return change_case(in, v, CASE_CAPITAL);
    if (!strcmp(name, "format"))
        return format(in, v, a);
    if (!strcmp(name, "join"))
        return join(in, v, first);
    if (!strcmp(name, "find") || !strcmp(name, "index"))
        return find(in, v, first, false, name[0] == 'i');
    if (!strcmp(name, "rfind"))
        return find(in, v, first, true, false);
    if (!strcmp(name, "count"))
        return tv_int(count_text(in, v, first));
    if (!strcmp(name, "splitlines"))
        return split_lines(in, v);
    if (!strcmp(name, "removeprefix"))
        return first.kind == TV_STRING && affix_one(v, first, true)
                   ? tv_borrow(v.u.s + first.n_str, v.n_str - first.n_str)
                   : v;
    if (!strcmp(name, "removesuffix"))
        return first.kind == TV_STRING && affix_one(v, first, false) ? tv_borrow(v.u.s, v.n_str - first.n_str) : v;
    if (!strcmp(name, "partition") || !strcmp(name, "rpartition"))
        return partition(in, v, first, name[0] == 'r');
    if (!strcmp(name, "zfill"))
        return zero_fill(in, v, first);
    interp_charge(in, v.n_str / 16);
    return tv_bool(all_class(v, name));
}

static tv dict_method(interp *in, tv v, const char *name, const call_args *a) {
    const tv_dict *d = v.u.dict;
    if (listed(dict_unsafe, name))
        return interp_fail(in, MUGA_E_INPUT, "access to attribute '%s' of 'dict' object is unsafe", name);
    if (!strcmp(name, "get")) {
        tv found;
        if (a->n == 0)
            return interp_fail(in, MUGA_E_INPUT, "get expected at least 1 argument");
        return tv_dict_get(in, d, a->v[0], &found) ? found : call_arg(a, 1, "default", TV_NULL);
    }
    if (!strcmp(name, "copy"))
        return v;
    tv list = tv_list_new(in, TV_LIST, d->n);
    for (size_t i = 0; i < d->n && !interp_failed(in); i++) {
        tv *slot = &list.u.list->v[i];
        if (!strcmp(name, "keys")) {
            *slot = d->keys[i];
            continue;
        }
        if (!strcmp(name, "values")) {
            *slot = d->values[i];
            continue;
        }
        *slot = tv_list_new(in, TV_TUPLE, 2);
        if (interp_failed(in))
            break;
        slot->u.list->v[0] = d->keys[i];
        slot->u.list->v[1] = d->values[i];
    }
    return list;
}

static tv list_method(interp *in, tv v, const char *name, const call_args *a) {
    if (listed(list_unsafe, name) && strcmp(name, "index") && strcmp(name, "count") && strcmp(name, "copy"))
        return interp_fail(in, MUGA_E_INPUT, "access to attribute '%s' of 'list' object is unsafe", name);
    if (!strcmp(name, "copy"))
        return v;
    int64_t count = 0;
    tv wanted = call_arg(a, 0, NULL, TV_NULL);
    for (size_t i = 0; i < v.u.list->n; i++) {
        if (!tv_equal(in, v.u.list->v[i], wanted))
            continue;
        if (name[0] == 'i')
            return tv_int((int64_t)i);
        count++;
    }
    return name[0] == 'i' ? interp_fail(in, MUGA_E_INPUT, "value is not in list") : tv_int(count);
}

tv template_method_call(interp *in, const tv_method *m, const call_args *args) {
    switch (m->self.kind) {
    case TV_STRING: return text_method(in, m->self, m->name, args);
    case TV_DICT: return dict_method(in, m->self, m->name, args);
    case TV_LIST:
    case TV_TUPLE: return list_method(in, m->self, m->name, args);
    case TV_LOOP:
        if (!strcmp(m->name, "cycle") && args->n)
            return args->v[(size_t)m->self.u.loop->i % args->n];
        return interp_fail(in, MUGA_E_INPUT, "loop.%s is not supported", m->name);
    default: return interp_fail(in, MUGA_E_INTERNAL, "method of a value without methods");
    }
}
