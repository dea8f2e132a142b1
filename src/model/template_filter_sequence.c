/* Filters of the template language on sequences. What Python evaluates lazily gives an iterator here too: it can be
 * gone through once. Source: the Jinja template designer documentation ("List of Builtin Filters"). */
#include "model/template_internal.h"

static bool is_given(tv v) {
    return v.kind != TV_MISSING;
}

static bool is_set(interp *in, tv v) {
    return v.kind != TV_MISSING && tv_truth(in, v);
}

/* The first n elements of a list as an iterator. */
static tv as_iterator(const interp *in, tv list, size_t n) {
    if (interp_failed(in))
        return TV_UNDEF;
    list.kind = TV_ITERATOR;
    list.u.list->n = n;
    return list;
}

static tv copy_list(interp *in, tv v) {
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    tv list = tv_list_new(in, TV_LIST, items.n);
    if (!interp_failed(in) && items.n)
        memcpy(list.u.list->v, items.v, items.n * sizeof(tv));
    return list;
}

/* What sorting and comparing look at: a part of the element, its case folded. */
static tv sort_key(interp *in, tv v, tv attribute, bool exact) {
    v = template_get_path(in, v, attribute, (tv){.kind = TV_MISSING});
    return !exact && v.kind == TV_STRING ? template_text_case(in, v, CASE_LOWER) : v;
}

/* ---- sorting ---- */

typedef struct sorting {
    interp *in;
    tv *values, *keys, *room_values, *room_keys;
    bool reverse, listed; /* listed: keys stand in lists, where what is equal needs no order */
} sorting;

/* Stable in both directions, as sorted(reverse=True) is. */
static bool goes_before(const sorting *s, tv a, tv b) {
    bool plain = (tv_is_number(a) && tv_is_number(b)) || (a.kind == TV_STRING && b.kind == TV_STRING);
    if (s->listed && !plain && tv_equal(s->in, a, b))
        return false;
    int c = tv_compare(s->in, a, b, "<");
    return s->reverse ? c == 1 : c == -1;
}

static void merge_sort(const sorting *s, size_t from, size_t to) {
    if (to - from < 2 || interp_failed(s->in))
        return;
    size_t mid = from + (to - from) / 2, i = from, k = mid;
    merge_sort(s, from, mid);
    merge_sort(s, mid, to);
    for (size_t w = from; w < to && !interp_failed(s->in); w++) {
        bool right = i == mid || (k < to && goes_before(s, s->keys[k], s->keys[i]));
        size_t take = right ? k++ : i++;
        s->room_values[w] = s->values[take];
        s->room_keys[w] = s->keys[take];
    }
    if (interp_failed(s->in))
        return;
    memcpy(s->values + from, s->room_values + from, (to - from) * sizeof(tv));
    memcpy(s->keys + from, s->room_keys + from, (to - from) * sizeof(tv));
}

static void sort_by(interp *in, tv_list *l, tv *keys, bool reverse, bool listed) {
    sorting s = {.in = in, .values = l->v, .keys = keys, .reverse = reverse, .listed = listed};
    s.room_values = interp_alloc(in, l->n * sizeof(tv));
    s.room_keys = interp_alloc(in, l->n * sizeof(tv));
    if (!interp_failed(in))
        merge_sort(&s, 0, l->n);
}

/* The key of "a,b.c": a list of parts. */
static tv multi_key(interp *in, tv v, tv attribute, bool exact) {
    if (attribute.kind != TV_STRING || !memchr(attribute.u.s, ',', attribute.n_str))
        return sort_key(in, v, attribute, exact);
    tv parts = template_text_split(in, attribute, tv_literal(","), -1, false);
    tv key = interp_failed(in) ? TV_UNDEF : tv_list_new(in, TV_LIST, parts.u.list->n);
    for (size_t i = 0; !interp_failed(in) && i < parts.u.list->n; i++)
        key.u.list->v[i] = sort_key(in, v, parts.u.list->v[i], exact);
    return key;
}

static tv sorted(interp *in, tv v, bool reverse, bool exact, tv attribute) {
    tv list = copy_list(in, v);
    if (interp_failed(in))
        return TV_UNDEF;
    tv_list *l = list.u.list;
    tv *keys = interp_alloc(in, l->n * sizeof *keys);
    for (size_t i = 0; keys && i < l->n && !interp_failed(in); i++)
        keys[i] = multi_key(in, l->v[i], attribute, exact);
    if (!interp_failed(in))
        sort_by(in, l, keys, reverse, true);
    return list;
}

static tv filter_sort(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    return sorted(in, v, is_set(in, a[0]), is_set(in, a[1]), a[2]);
}

static tv filter_dictsort(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    bool by_value = is_given(a[1]) && tv_is_text(a[1], "value");
    if (is_given(a[1]) && !by_value && !tv_is_text(a[1], "key"))
        return interp_fail(in, MUGA_E_INPUT, "dictsort: you can only sort by either \"key\" or \"value\"");
    if (v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (v.kind != TV_DICT)
        return interp_fail(in, MUGA_E_INPUT, "dictsort needs a mapping, not %s", tv_kind_name(v));
    v.kind = TV_VIEW;
    v.form = FORM_ITEMS;
    tv list = copy_list(in, v);
    if (interp_failed(in))
        return TV_UNDEF;
    tv_list *l = list.u.list;
    tv *keys = interp_alloc(in, l->n * sizeof *keys);
    for (size_t i = 0; keys && i < l->n; i++)
        keys[i] = sort_key(in, l->v[i].u.list->v[by_value], TV_NULL, is_set(in, a[0]));
    if (!interp_failed(in))
        sort_by(in, l, keys, is_set(in, a[2]), false);
    return list;
}

static tv filter_groupby(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    bool exact = is_set(in, a[2]);
    tv otherwise = a[1].kind == TV_NONE ? (tv){.kind = TV_MISSING} : a[1], list = copy_list(in, v);
    if (interp_failed(in))
        return TV_UNDEF;
    tv_list *l = list.u.list;
    tv *keys = interp_alloc(in, l->n * sizeof *keys), groups = tv_list_new(in, TV_LIST, l->n);
    for (size_t i = 0; !interp_failed(in) && i < l->n; i++) {
        keys[i] = template_get_path(in, l->v[i], a[0], otherwise);
        if (!exact && keys[i].kind == TV_STRING)
            keys[i] = template_text_case(in, keys[i], CASE_LOWER);
    }
    if (interp_failed(in))
        return TV_UNDEF;
    sort_by(in, l, keys, false, false);
    size_t n = 0;
    for (size_t i = 0, end; i < l->n && !interp_failed(in); i = end) {
        for (end = i + 1; end < l->n && tv_equal(in, keys[end], keys[i]);)
            end++;
        tv members = tv_list_new(in, TV_LIST, end - i);
        if (interp_failed(in))
            return TV_UNDEF;
        memcpy(members.u.list->v, l->v + i, (end - i) * sizeof(tv));
        groups.u.list->v[n] = tv_pair(in, template_get_path(in, l->v[i], a[0], otherwise), members);
        groups.u.list->v[n++].form = FORM_GROUP;
    }
    if (interp_failed(in))
        return TV_UNDEF;
    groups.u.list->n = n;
    return groups;
}

/* ---- picking ---- */

static tv extreme(interp *in, tv v, const tv *a, bool largest) {
    tv_list items;
    bool exact = is_set(in, a[0]);
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    if (items.n == 0)
        return tv_undefined_hint("no aggregated item, the sequence was empty");
    tv best = items.v[0], best_key = sort_key(in, best, a[1], exact);
    for (size_t i = 1; i < items.n && !interp_failed(in); i++) {
        tv key = sort_key(in, items.v[i], a[1], exact);
        int c = tv_compare(in, key, best_key, largest ? ">" : "<");
        if (c == (largest ? 1 : -1)) {
            best = items.v[i];
            best_key = key;
        }
    }
    return best;
}

static tv filter_min(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    return extreme(in, v, a, false);
}

static tv filter_max(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    return extreme(in, v, a, true);
}

static tv filter_first(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    tv_list items;
    if (v.kind == TV_ITERATOR && v.u.list->n) {
        v.u.list->n--;
        return *v.u.list->v++;
    }
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    return items.n ? items.v[0] : tv_undefined_hint("no first item, the sequence was empty");
}

/* What reversed() takes. */
static bool is_reversible(tv v) {
    return v.kind == TV_STRING || v.kind == TV_LIST || v.kind == TV_TUPLE || v.kind == TV_DICT || v.kind == TV_VIEW ||
           v.kind == TV_RANGE;
}

static tv filter_last(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    tv_list items;
    if (v.kind != TV_UNDEFINED && !is_reversible(v))
        return interp_fail(in, MUGA_E_INPUT, "'%s' object is not reversible; put |list before |last", tv_kind_name(v));
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    return items.n ? items.v[items.n - 1] : tv_undefined_hint("no last item, the sequence was empty");
}

static tv filter_random(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)v;
    (void)a;
    (void)raw;
    return interp_fail(in, MUGA_E_INPUT, "random is not supported: a template gives the same text every time");
}

/* select, reject, selectattr, rejectattr: keep where the test's verdict is `wanted`. */
static tv filter_by_test(interp *in, tv v, const call_args *a, bool by_attribute, bool wanted) {
    tv_list items = {0};
    if (tv_truth(in, v) && !tv_iterate(in, v, &items))
        return TV_UNDEF;
    size_t skip = by_attribute ? 1 : 0;
    if (items.n && a->n < skip)
        return interp_fail(in, MUGA_E_INPUT, "selectattr needs an attribute name");
    bool by_test = a->n > skip;
    call_args rest = {.v = by_test ? a->v + skip + 1 : NULL,
                      .n = by_test ? a->n - skip - 1 : 0,
                      .names = a->names,
                      .named = a->named,
                      .n_named = a->n_named};
    tv list = tv_list_new(in, TV_LIST, items.n);
    size_t n = 0;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        tv value = items.v[i];
        if (by_attribute)
            value = template_get_path(in, value, a->v[0], (tv){.kind = TV_MISSING});
        bool verdict = by_test ? template_test_by_name(in, a->v[skip], value, &rest) : tv_truth(in, value);
        if (verdict == wanted)
            list.u.list->v[n++] = items.v[i];
    }
    return as_iterator(in, list, n);
}

static tv filter_select(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    return filter_by_test(in, v, raw, false, true);
}
static tv filter_reject(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    return filter_by_test(in, v, raw, false, false);
}
static tv filter_selectattr(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    return filter_by_test(in, v, raw, true, true);
}
static tv filter_rejectattr(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    return filter_by_test(in, v, raw, true, false);
}

/* map(attribute=..., default=...) or map(filter, arguments...). */
static tv filter_map(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    tv_list items = {0};
    tv part[2] = {{.kind = TV_MISSING}, {.kind = TV_MISSING}};
    if (tv_truth(in, v) && !tv_iterate(in, v, &items))
        return TV_UNDEF;
    bool by_attribute = raw->n == 0;
    if (items.n && by_attribute && !template_bind(in, "map", "attribute default", 1, raw, part))
        return TV_UNDEF;
    if (part[1].kind == TV_NONE)
        part[1].kind = TV_MISSING;
    call_args rest = {.v = by_attribute ? NULL : raw->v + 1,
                      .n = by_attribute ? 0 : raw->n - 1,
                      .names = raw->names,
                      .named = raw->named,
                      .n_named = raw->n_named};
    tv list = tv_list_new(in, TV_LIST, items.n);
    for (size_t i = 0; i < items.n && !interp_failed(in); i++)
        list.u.list->v[i] = by_attribute ? template_get_path(in, items.v[i], part[0], part[1])
                                         : template_filter_by_name(in, raw->v[0], items.v[i], &rest);
    return as_iterator(in, list, items.n);
}

static tv filter_unique(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv_list items;
    bool exact = is_set(in, a[0]);
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    tv list = tv_list_new(in, TV_LIST, items.n), seen = tv_dict_new(in, items.n), other;
    size_t n = 0;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        tv key = sort_key(in, items.v[i], a[1], exact);
        if (!tv_hashable(key))
            return interp_fail(in, MUGA_E_INPUT, "unhashable type: '%s'", tv_kind_name(key));
        if (interp_failed(in) || tv_dict_get(in, seen.u.dict, key, &other))
            continue;
        tv_dict_set(in, seen.u.dict, key, TV_NULL);
        list.u.list->v[n++] = items.v[i];
    }
    return as_iterator(in, list, n);
}

/* ---- whole sequences ---- */

static tv filter_list(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    return copy_list(in, v);
}

static tv filter_items(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    tv list;
    if (v.kind == TV_UNDEFINED)
        list = tv_list_new(in, TV_LIST, 0);
    else if (v.kind != TV_DICT)
        return interp_fail(in, MUGA_E_INPUT, "Can only get item pairs from a mapping.");
    else
        list = copy_list(in, (tv){.kind = TV_VIEW, .form = FORM_ITEMS, .u.dict = v.u.dict});
    return as_iterator(in, list, interp_failed(in) ? 0 : list.u.list->n);
}

static tv filter_reverse(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)a;
    (void)raw;
    if (v.kind == TV_STRING)
        return tv_slice(in, v, TV_NULL, TV_NULL, tv_int(-1));
    tv list = tv_slice(in, copy_list(in, v), TV_NULL, TV_NULL, tv_int(-1));
    if (is_reversible(v) && !interp_failed(in))
        return as_iterator(in, list, list.u.list->n);
    return list;
}

static tv filter_sum(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv_list items;
    tv total = is_given(a[1]) ? a[1] : tv_int(0);
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    if (total.kind == TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "sum() can't sum strings; use |join");
    for (size_t i = 0; i < items.n && !interp_failed(in); i++)
        total = interp_binary(in, T_ADD, total, template_get_path(in, items.v[i], a[0], (tv){.kind = TV_MISSING}));
    return total;
}

static tv sub_list(interp *in, const tv_list *l, size_t from, size_t n, size_t n_fill, tv fill) {
    tv part = tv_list_new(in, TV_LIST, n + n_fill);
    if (interp_failed(in))
        return TV_UNDEF;
    if (n)
        memcpy(part.u.list->v, l->v + from, n * sizeof(tv));
    for (size_t i = n; i < n + n_fill; i++)
        part.u.list->v[i] = fill;
    return part;
}

/* Rows of n, the last filled up. */
static tv filter_batch(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    bool fill = is_given(a[1]) && a[1].kind != TV_NONE;
    if (!tv_is_number(a[0]))
        return interp_fail(in, MUGA_E_INPUT, "batch needs a number of elements, not %s", tv_kind_name(a[0]));
    bool whole = tv_is_integer(a[0]) && tv_integer(a[0]) > 0 && (uint64_t)tv_integer(a[0]) < items.n;
    size_t per = whole ? (size_t)tv_integer(a[0]) : MAX(items.n, 1), n_rows = (items.n + per - 1) / per;
    tv rows = tv_list_new(in, TV_LIST, n_rows);
    for (size_t r = 0; r < n_rows && !interp_failed(in); r++) {
        size_t n = MIN(per, items.n - r * per), wanted = tv_is_integer(a[0]) ? (size_t)MAX(tv_integer(a[0]), 0) : n;
        size_t missing = fill && wanted > n ? wanted - n : 0;
        if (!interp_has_room(in, (uint64_t)missing * sizeof(tv)))
            return TV_UNDEF;
        rows.u.list->v[r] = sub_list(in, &items, r * per, n, missing, a[1]);
    }
    return as_iterator(in, rows, n_rows);
}

/* n columns, the first of them longer; the others filled up by one. */
static tv filter_slice(interp *in, tv v, const tv *a, const call_args *raw) {
    (void)raw;
    tv_list items;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    if (!tv_is_integer(a[0]) || tv_integer(a[0]) == 0)
        return interp_fail(in, MUGA_E_INPUT, "slice needs a number of columns that isn't zero");
    uint64_t n_columns = (uint64_t)MAX(tv_integer(a[0]), 0);
    if (!interp_has_room(in, n_columns > UINT32_MAX ? UINT64_MAX : n_columns * 64))
        return TV_UNDEF;
    size_t per = n_columns ? items.n / n_columns : 0, longer = n_columns ? items.n % n_columns : 0, at = 0;
    bool fill = is_given(a[1]) && a[1].kind != TV_NONE;
    tv columns = tv_list_new(in, TV_LIST, (size_t)n_columns);
    for (size_t c = 0; c < n_columns && !interp_failed(in); c++) {
        size_t n = per + (c < longer);
        columns.u.list->v[c] = sub_list(in, &items, at, n, fill && c >= longer ? 1 : 0, a[1]);
        at += n;
    }
    return as_iterator(in, columns, (size_t)n_columns);
}

const filter_row template_sequence_filters[] = {{"list", "", 0, filter_list},
                                                {"items", "", 0, filter_items},
                                                {"dictsort", "case_sensitive by reverse", 0, filter_dictsort},
                                                {"map", NULL, 0, filter_map},
                                                {"select", NULL, 0, filter_select},
                                                {"reject", NULL, 0, filter_reject},
                                                {"selectattr", NULL, 0, filter_selectattr},
                                                {"rejectattr", NULL, 0, filter_rejectattr},
                                                {"first", "", 0, filter_first},
                                                {"last", "", 0, filter_last},
                                                {"sort", "reverse case_sensitive attribute", 0, filter_sort},
                                                {"unique", "case_sensitive attribute", 0, filter_unique},
                                                {"min", "case_sensitive attribute", 0, filter_min},
                                                {"max", "case_sensitive attribute", 0, filter_max},
                                                {"reverse", "", 0, filter_reverse},
                                                {"sum", "attribute start", 0, filter_sum},
                                                {"groupby", "attribute default case_sensitive", 1, filter_groupby},
                                                {"batch", "linecount fill_with", 1, filter_batch},
                                                {"slice", "slices fill_with", 1, filter_slice},
                                                {"random", "", 0, filter_random},
                                                {NULL, NULL, 0, NULL}};
