/* Sequences of the template language: iterating, membership, code points of strings, slices. Semantics are Python's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "base/utf8.h"
#include "model/template_internal.h"

/* ---- iterating ---- */

tv tv_range_at(const tv_range *r, int64_t i) {
    return tv_int(r->from + i * r->step);
}

static bool iterate_text(interp *in, tv v, tv_list *out) {
    uint32_t cp;
    if (!interp_charge_scan(in, v.n_str))
        return false;
    tv list = tv_list_new(in, TV_LIST, tv_text_length(v));
    if (interp_failed(in))
        return false;
    size_t at = 0;
    for (size_t i = 0; i < list.u.list->n; i++) {
        size_t k = template_first_char(v.u.s + at, v.n_str - at, &cp);
        list.u.list->v[i] = tv_borrow(v.u.s + at, k);
        at += k;
    }
    *out = *list.u.list;
    return true;
}

static bool iterate_view(interp *in, tv v, tv_list *out) {
    const tv_dict *d = v.u.dict;
    if (v.form != FORM_ITEMS) {
        *out = (tv_list){.n = d->n, .v = v.form == FORM_KEYS ? d->keys : d->values};
        return true;
    }
    tv list = tv_list_new(in, TV_LIST, d->n);
    for (size_t i = 0; i < d->n && !interp_failed(in); i++)
        list.u.list->v[i] = tv_pair(in, d->keys[i], d->values[i]);
    if (!interp_failed(in))
        *out = *list.u.list;
    return !interp_failed(in);
}

static bool iterate_range(interp *in, const tv_range *r, tv_list *out) {
    tv list = tv_list_new(in, TV_LIST, (size_t)r->n);
    if (interp_failed(in))
        return false;
    for (int64_t i = 0; i < r->n; i++)
        list.u.list->v[i] = tv_range_at(r, i);
    *out = *list.u.list;
    return true;
}

bool tv_is_iterable(tv v) {
    return v.kind == TV_UNDEFINED || v.kind == TV_LOOP || (v.kind >= TV_STRING && v.kind <= TV_ITERATOR);
}

bool tv_iterate(interp *in, tv v, tv_list *out) {
    *out = (tv_list){0};
    bool ok = !interp_failed(in);
    switch (v.kind) {
    case TV_UNDEFINED: break;
    case TV_LIST:
    case TV_TUPLE: *out = *v.u.list; break;
    case TV_ITERATOR:
        *out = *v.u.list;
        v.u.list->n = 0;
        break;
    case TV_DICT: *out = (tv_list){.n = v.u.dict->n, .v = v.u.dict->keys}; break;
    case TV_VIEW: ok = ok && iterate_view(in, v, out); break;
    case TV_RANGE: ok = ok && iterate_range(in, v.u.range, out); break;
    case TV_STRING: ok = ok && iterate_text(in, v, out); break;
    default: interp_fail(in, MUGA_E_INPUT, "'%s' object is not iterable", tv_kind_name(v)); return false;
    }
    return ok && interp_charge(in, out->n / 16);
}

/* An iterator is used up to the first that is equal. */
static bool contains_element(interp *in, tv container, tv item) {
    tv_list items;
    tv_list *left = container.kind == TV_ITERATOR ? container.u.list : NULL;
    if (left)
        items = *left;
    else if (!tv_iterate(in, container, &items))
        return false;
    size_t i = 0;
    bool found = false;
    while (i < items.n && !found && !interp_failed(in))
        found = tv_equal(in, items.v[i++], item);
    if (left) {
        left->v += i;
        left->n -= i;
    }
    return found;
}

bool tv_contains(interp *in, tv container, tv item) {
    tv found;
    if (container.kind == TV_STRING) {
        if (item.kind != TV_STRING) {
            interp_fail(in, MUGA_E_INPUT, "'in <string>' requires string as left operand, not %s", tv_kind_name(item));
            return false;
        }
        if (!interp_charge_search(in, container.n_str, item.n_str))
            return false;
        return item.n_str == 0 || memmem(container.u.s, container.n_str, item.u.s, item.n_str) != NULL;
    }
    if (!tv_is_iterable(container)) {
        interp_fail(in, MUGA_E_INPUT, "argument of type '%s' is not iterable", tv_kind_name(container));
        return false;
    }
    bool by_key = container.kind == TV_DICT || (container.kind == TV_VIEW && container.form == FORM_KEYS);
    if (by_key && !tv_hashable(item)) {
        interp_fail(in, MUGA_E_INPUT, "unhashable type: '%s'", tv_kind_name(item));
        return false;
    }
    return by_key ? tv_dict_get(in, container.u.dict, item, &found) : contains_element(in, container, item);
}

/* ---- strings by code point ---- */

static bool is_ascii(tv v) {
    for (size_t i = 0; i < v.n_str; i++)
        if ((uint8_t)v.u.s[i] >= 0x80)
            return false;
    return true;
}

size_t tv_text_length(tv v) {
    return utf8_count(v.u.s, v.n_str);
}

size_t tv_byte_offset(tv v, size_t i) {
    size_t at = 0;
    uint32_t cp;
    while (i-- > 0 && at < v.n_str)
        at += template_first_char(v.u.s + at, v.n_str - at, &cp);
    return at;
}

tv tv_text_at(interp *in, tv v, int64_t i) {
    bool ascii = is_ascii(v);
    uint32_t cp;
    int64_t n = ascii ? (int64_t)v.n_str : (int64_t)tv_text_length(v);
    interp_charge(in, v.n_str / (ascii ? TEMPLATE_STEP_BYTES : TEMPLATE_STEP_SCANNED));
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return (tv){.kind = TV_MISSING};
    size_t at = ascii ? (size_t)i : tv_byte_offset(v, (size_t)i);
    return (tv){.kind = TV_STRING,
                .form = v.form,
                .n_str = (uint32_t)template_first_char(v.u.s + at, v.n_str - at, &cp),
                .u.s = v.u.s + at};
}

/* ---- slices ---- */

static bool check_index(interp *in, tv v) {
    if (v.kind == TV_NONE || v.kind == TV_MISSING || tv_is_integer(v))
        return true;
    interp_fail(in, MUGA_E_INPUT, "slice indices must be integers or None, not %s", tv_kind_name(v));
    return false;
}

/* Python's slice.indices() for one bound. */
static int64_t clamp_index(tv v, int64_t n, int64_t low, int64_t high, int64_t otherwise) {
    if (v.kind == TV_NONE || v.kind == TV_MISSING)
        return otherwise;
    int64_t x = tv_integer(v);
    if (x < 0)
        x = x < -n ? low : x + n;
    return x < low ? low : x > high ? high : x;
}

typedef struct bounds {
    int64_t from, to, by, count;
} bounds;

static bool slice_bounds(interp *in, int64_t n, tv start, tv stop, tv step, bounds *b) {
    if (!check_index(in, start) || !check_index(in, stop) || !check_index(in, step))
        return false;
    b->by = step.kind == TV_NONE ? 1 : tv_integer(step);
    if (b->by == 0) {
        interp_fail(in, MUGA_E_INPUT, "slice step cannot be zero");
        return false;
    }
    bool back = b->by < 0;
    int64_t low = back ? -1 : 0, high = back ? n - 1 : n;
    b->from = clamp_index(start, n, low, high, back ? high : low);
    b->to = clamp_index(stop, n, low, high, back ? low : high);
    uint64_t distance = back ? (b->from > b->to ? (uint64_t)(b->from - b->to) : 0)
                             : (b->to > b->from ? (uint64_t)(b->to - b->from) : 0);
    uint64_t by = back ? 0 - (uint64_t)b->by : (uint64_t)b->by;
    b->count = (int64_t)(distance ? (distance - 1) / by + 1 : 0);
    return true;
}

static tv slice_text(interp *in, tv v, const bounds *b) {
    if (!interp_charge_scan(in, v.n_str))
        return TV_UNDEF;
    if (b->by == 1) {
        size_t from = tv_byte_offset(v, (size_t)b->from),
               to = b->to > b->from ? tv_byte_offset(v, (size_t)b->to) : from;
        return (tv){.kind = TV_STRING, .form = v.form, .n_str = (uint32_t)(to - from), .u.s = v.u.s + from};
    }
    tv_list items;
    str s;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    interp_str_init(in, &s);
    for (int64_t k = 0; k < b->count; k++) {
        const tv *c = &items.v[b->from + k * b->by];
        str_append(&s, c->u.s, c->n_str);
    }
    interp_charge(in, (uint64_t)b->count / 4);
    tv text = tv_from_str(in, &s);
    text.form = v.form;
    return text;
}

static tv slice_range(interp *in, const tv_range *r, const bounds *b) {
    tv_range *cut = interp_alloc(in, sizeof *cut);
    if (!cut)
        return TV_UNDEF;
    int64_t step;
    if (__builtin_mul_overflow(r->step, b->by, &step))
        return interp_fail(in, MUGA_E_INPUT, "integer overflow in a slice of a range");
    *cut = (tv_range){r->from + b->from * r->step, r->from + b->to * r->step, step, b->count};
    return (tv){.kind = TV_RANGE, .u.range = cut};
}

tv tv_slice(interp *in, tv v, tv start, tv stop, tv step) {
    bounds b;
    int64_t n = 0;
    if (v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (v.kind != TV_STRING && v.kind != TV_LIST && v.kind != TV_TUPLE && v.kind != TV_RANGE)
        return interp_fail(in, MUGA_E_INPUT, "'%s' object cannot be sliced", tv_kind_name(v));
    (void)tv_length(in, v, &n);
    if (!slice_bounds(in, n, start, stop, step, &b))
        return TV_UNDEF;
    if (v.kind == TV_STRING)
        return slice_text(in, v, &b);
    if (v.kind == TV_RANGE)
        return slice_range(in, v.u.range, &b);
    tv list = tv_list_new(in, (tv_kind)v.kind, (size_t)b.count);
    for (int64_t k = 0; !interp_failed(in) && k < b.count; k++)
        list.u.list->v[k] = v.u.list->v[b.from + k * b.by];
    return list;
}

tv tv_text_window(interp *in, tv v, tv from, tv to, int64_t *n_before) {
    *n_before = 0;
    if (from.kind == TV_MISSING && to.kind == TV_MISSING)
        return v;
    if (!check_index(in, from) || !check_index(in, to))
        return TV_UNDEF;
    if (!interp_charge_scan(in, 2 * (size_t)v.n_str))
        return TV_UNDEF;
    int64_t n = (int64_t)tv_text_length(v), a = clamp_index(from, n, 0, INT64_MAX, 0), b = clamp_index(to, n, 0, n, n);
    *n_before = a;
    if (a > b) /* not even an empty string lies there */
        return (tv){.kind = TV_MISSING};
    size_t begin = tv_byte_offset(v, (size_t)a);
    return tv_borrow(v.u.s + begin, tv_byte_offset(v, (size_t)b) - begin);
}
