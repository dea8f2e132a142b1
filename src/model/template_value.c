/* Values of the template language: making and comparing them. Semantics are Python's, as Jinja has them.
 * All memory comes from the render's arena, so nothing here is freed and nothing outlives the render. */
#include "model/template_internal.h"

const tv TV_UNDEF = {.kind = TV_UNDEFINED};
const tv TV_NULL = {.kind = TV_NONE};

/* ---- making ---- */

tv tv_bool(bool b) {
    return (tv){.kind = TV_BOOL, .u.b = b};
}
tv tv_int(int64_t i) {
    return (tv){.kind = TV_INT, .u.i = i};
}
tv tv_float(double d) {
    return (tv){.kind = TV_FLOAT, .u.d = d};
}
tv tv_borrow(const char *p, size_t n) {
    return (tv){.kind = TV_STRING, .n_str = (uint32_t)n, .u.s = p};
}
tv tv_literal(const char *s) {
    return tv_borrow(s, strlen(s));
}
tv tv_undefined(const char *name) {
    return (tv){.kind = TV_UNDEFINED, .u.s = name};
}
tv tv_undefined_hint(const char *message) {
    return (tv){.kind = TV_UNDEFINED, .form = FORM_HINT, .u.s = message};
}

tv tv_missing_of(interp *in, tv owner, tv key, uint8_t form) {
    tv v = {.kind = TV_UNDEFINED, .form = form, .n_str = owner.kind};
    if (key.kind == TV_STRING) {
        size_t n = MIN(key.n_str, 60u);
        char *name = interp_alloc(in, n + 1);
        if (!name)
            return TV_UNDEF;
        memcpy(name, key.u.s, n);
        v.u.s = name;
    } else if (tv_is_integer(key)) {
        v.form = FORM_ELEMENT;
        v.u.i = tv_integer(key);
    } else {
        v.form = FORM_ATTRIBUTE;
        v.u.s = tv_kind_name(key);
    }
    return v;
}

void *interp_alloc(interp *in, size_t bytes) {
    if (interp_failed(in) || !interp_charge(in, 1 + bytes / TEMPLATE_STEP_BYTES))
        return NULL;
    void *p = arena_alloc(&in->mem, bytes);
    if (p)
        return p;
    if (in->limits.memory_bytes && in->mem.used_bytes + bytes > in->limits.memory_bytes)
        interp_fail(in, MUGA_E_LIMIT, "values take more than %zu bytes", in->limits.memory_bytes);
    else
        interp_fail(in, MUGA_E_NOMEM, "out of memory");
    return NULL;
}

void interp_str_init(const interp *in, str *s) {
    str_init(s, in->limits.memory_bytes);
}

bool interp_has_room(interp *in, uint64_t n) {
    if (interp_failed(in))
        return false;
    if (!in->limits.memory_bytes || n <= in->limits.memory_bytes)
        return interp_charge_bytes(in, (size_t)n);
    interp_fail(in, MUGA_E_LIMIT, "values take more than %zu bytes", in->limits.memory_bytes);
    return false;
}

tv tv_text(interp *in, const char *p, size_t n) {
    if (n > UINT32_MAX)
        return interp_fail(in, MUGA_E_LIMIT, "a string is longer than 4 GiB");
    char *copy = interp_alloc(in, n + 1);
    if (!copy)
        return TV_UNDEF;
    if (n)
        memcpy(copy, p, n);
    return tv_borrow(copy, n);
}

tv tv_from_str(interp *in, str *s) {
    muga_error e;
    muga_status st = str_status(s, &e, "template string");
    tv v = st ? interp_fail(in, st, "%s", e.message) : tv_text(in, str_get(s), s->len);
    str_release(s);
    return v;
}

tv tv_list_new(interp *in, tv_kind kind, size_t n) {
    tv_list *l = interp_alloc(in, sizeof *l);
    tv *v = interp_alloc(in, n * sizeof *v);
    if (!l || !v)
        return TV_UNDEF;
    l->n = n;
    l->v = v;
    return (tv){.kind = (uint8_t)kind, .u.list = l};
}

tv tv_pair(interp *in, tv a, tv b) {
    tv pair = tv_list_new(in, TV_TUPLE, 2);
    if (interp_failed(in))
        return TV_UNDEF;
    pair.u.list->v[0] = a;
    pair.u.list->v[1] = b;
    return pair;
}

/* ---- dicts ---- */

tv tv_dict_new(interp *in, size_t cap) {
    tv_dict *d = interp_alloc(in, sizeof *d);
    if (!d)
        return TV_UNDEF;
    d->cap = cap;
    d->keys = interp_alloc(in, cap * sizeof *d->keys);
    d->values = interp_alloc(in, cap * sizeof *d->values);
    return interp_failed(in) ? TV_UNDEF : (tv){.kind = TV_DICT, .u.dict = d};
}

static bool find_key(interp *in, const tv_dict *d, tv key, size_t *at) {
    for (size_t i = 0; i < d->n && !interp_failed(in); i++) {
        const tv *k = &d->keys[i];
        if (k->kind == TV_STRING && key.kind == TV_STRING) {
            if (k->n_str != key.n_str || !interp_charge(in, key.n_str / TEMPLATE_STEP_BYTES) ||
                memcmp(k->u.s, key.u.s, key.n_str) != 0)
                continue;
        } else if (!tv_equal(in, *k, key)) {
            continue;
        }
        *at = i;
        return interp_charge(in, i / 8);
    }
    interp_charge(in, d->n / 8);
    return false;
}

bool tv_dict_get(interp *in, const tv_dict *d, tv key, tv *out) {
    size_t at;
    if (!find_key(in, d, key, &at))
        return false;
    *out = d->values[at];
    return true;
}

bool tv_dict_get_name(interp *in, const tv_dict *d, const char *name, tv *out) {
    return tv_dict_get(in, d, tv_literal(name), out);
}

void tv_dict_set(interp *in, tv_dict *d, tv key, tv value) {
    size_t at;
    if (find_key(in, d, key, &at)) {
        d->values[at] = value;
        return;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 8;
        tv *keys = interp_alloc(in, cap * sizeof *keys), *values = interp_alloc(in, cap * sizeof *values);
        if (!keys || !values)
            return;
        if (d->n) {
            memcpy(keys, d->keys, d->n * sizeof *keys);
            memcpy(values, d->values, d->n * sizeof *values);
        }
        d->keys = keys;
        d->values = values;
        d->cap = cap;
    }
    d->keys[d->n] = key;
    d->values[d->n++] = value;
}

/* ---- from JSON ---- */

static tv list_from_json(interp *in, const json_t *v) {
    tv list = tv_list_new(in, TV_LIST, json_array_size(v));
    for (size_t i = 0; !interp_failed(in) && i < list.u.list->n; i++)
        list.u.list->v[i] = tv_from_json(in, json_array_get(v, i));
    return list;
}

static tv dict_from_json(interp *in, const json_t *v) {
    tv dict = tv_dict_new(in, json_object_size(v));
    const char *key;
    json_t *item;
    if (interp_failed(in))
        return TV_UNDEF;
    json_object_foreach(json_borrow(v), key, item) { /* keys are unique already */
        tv_dict *d = dict.u.dict;
        d->keys[d->n] = tv_literal(key);
        d->values[d->n++] = tv_from_json(in, item);
    }
    return dict;
}

/* Strings are borrowed from the JSON value, which outlives the render. Depth was bounded when it was parsed. */
tv tv_from_json(interp *in, const json_t *v) {
    if (interp_failed(in))
        return TV_UNDEF;
    switch (json_typeof(v)) {
    case JSON_NULL: return TV_NULL;
    case JSON_TRUE: return tv_bool(true);
    case JSON_FALSE: return tv_bool(false);
    case JSON_INTEGER: return tv_int(json_integer_value(v));
    case JSON_REAL: return tv_float(json_real_value(v));
    case JSON_STRING: return tv_borrow(json_string_value(v), json_string_length(v));
    case JSON_ARRAY: return list_from_json(in, v);
    case JSON_OBJECT: return dict_from_json(in, v);
    }
    return TV_UNDEF;
}

/* ---- facts ---- */

bool tv_is_integer(tv v) {
    return v.kind == TV_INT || v.kind == TV_BOOL;
}
bool tv_is_number(tv v) {
    return tv_is_integer(v) || v.kind == TV_FLOAT;
}
int64_t tv_integer(tv v) {
    return v.kind == TV_BOOL ? v.u.b : v.kind == TV_INT ? v.u.i : 0;
}
double tv_number(tv v) {
    return v.kind == TV_FLOAT ? v.u.d : (double)tv_integer(v);
}

bool tv_is_text(tv v, const char *s) {
    return v.kind == TV_STRING && strlen(s) == v.n_str && memcmp(v.u.s, s, v.n_str) == 0;
}

const char *tv_kind_name(tv v) {
    static const char *const names[] = {"missing", "Undefined", "NoneType",  "bool",      "int",
                                        "float",   "str",       "list",      "tuple",     "dict",
                                        "dict",    "range",     "generator", "Namespace", "LoopContext",
                                        "Cycler",  "Joiner",    "Macro",     "function",  "builtin_function_or_method"};
    if (v.kind == TV_VIEW)
        return v.form == FORM_KEYS ? "dict_keys" : v.form == FORM_VALUES ? "dict_values" : "dict_items";
    return names[v.kind];
}

bool tv_length(interp *in, tv v, int64_t *n) {
    switch (v.kind) {
    case TV_UNDEFINED: *n = 0; return true;
    case TV_STRING: *n = interp_charge_scan(in, v.n_str) ? (int64_t)tv_text_length(v) : 0; return true;
    case TV_LIST:
    case TV_TUPLE: *n = (int64_t)v.u.list->n; return true;
    case TV_DICT:
    case TV_VIEW: *n = (int64_t)v.u.dict->n; return true;
    case TV_RANGE: *n = v.u.range->n; return true;
    case TV_LOOP: *n = v.u.loop->n; return true;
    default: return false;
    }
}

bool tv_truth(interp *in, tv v) {
    int64_t n;
    if (interp_failed(in))
        return false;
    switch (v.kind) {
    case TV_MISSING:
    case TV_UNDEFINED:
    case TV_NONE: return false;
    case TV_BOOL: return v.u.b;
    case TV_INT: return v.u.i != 0;
    case TV_FLOAT: return v.u.d != 0;
    case TV_STRING: return v.n_str != 0;
    default: return !tv_length(in, v, &n) || n != 0;
    }
}

/* What may be a key: whatever can't change. */
bool tv_hashable(tv v) {
    if (v.kind == TV_LIST || v.kind == TV_DICT || v.kind == TV_VIEW)
        return false;
    for (size_t i = 0; v.kind == TV_TUPLE && i < v.u.list->n; i++)
        if (!tv_hashable(v.u.list->v[i]))
            return false;
    return true;
}

/* ---- comparing ---- */

/* Order of an integer and a float, exactly: neither is rounded. 2 = unordered. */
static int compare_mixed(int64_t i, double d) {
    if (d != d)
        return 2;
    if (d >= 9223372036854775808.0)
        return -1;
    if (d < -9223372036854775808.0)
        return 1;
    int64_t whole = (int64_t)d;
    if (i != whole)
        return i < whole ? -1 : 1;
    double rest = d - (double)whole;
    return rest > 0 ? -1 : rest < 0;
}

static int compare_numbers(tv a, tv b) {
    if (a.kind == TV_FLOAT && b.kind == TV_FLOAT)
        return a.u.d < b.u.d ? -1 : a.u.d > b.u.d ? 1 : a.u.d == b.u.d ? 0 : 2;
    if (a.kind == TV_FLOAT) {
        int c = compare_mixed(tv_integer(b), a.u.d);
        return c == 2 ? 2 : -c;
    }
    if (b.kind == TV_FLOAT)
        return compare_mixed(tv_integer(a), b.u.d);
    int64_t x = tv_integer(a), y = tv_integer(b);
    return x < y ? -1 : x > y;
}

static bool equal_lists(interp *in, const tv_list *a, const tv_list *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!tv_equal(in, a->v[i], b->v[i]))
            return false;
    return true;
}

static bool equal_dicts(interp *in, const tv_dict *a, const tv_dict *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        tv other;
        if (!tv_dict_get(in, b, a->keys[i], &other) || !tv_equal(in, a->values[i], other))
            return false;
    }
    return true;
}

static bool equal_ranges(const tv_range *a, const tv_range *b) {
    return a->n == b->n && (a->n == 0 || (a->from == b->from && (a->n == 1 || a->step == b->step)));
}

static bool same_kind_equal(interp *in, tv a, tv b) {
    switch (a.kind) {
    case TV_MISSING:
    case TV_UNDEFINED:
    case TV_NONE: return true;
    case TV_STRING:
        interp_charge(in, a.n_str / TEMPLATE_STEP_BYTES);
        return a.n_str == b.n_str && (a.u.s == b.u.s || memcmp(a.u.s, b.u.s, a.n_str) == 0);
    case TV_LIST:
    case TV_TUPLE: return a.u.list == b.u.list || equal_lists(in, a.u.list, b.u.list);
    case TV_DICT: return a.u.dict == b.u.dict || equal_dicts(in, a.u.dict, b.u.dict);
    case TV_RANGE: return equal_ranges(a.u.range, b.u.range);
    case TV_FUNCTION: return a.u.function == b.u.function;
    case TV_METHOD: return a.u.method == b.u.method;
    case TV_VIEW: return a.form == b.form && a.u.dict == b.u.dict;
    default: return a.u.list == b.u.list; /* themselves only: any pointer will do */
    }
}

bool tv_equal(interp *in, tv a, tv b) {
    if (!interp_charge(in, 1))
        return false;
    if (tv_is_number(a) && tv_is_number(b))
        return compare_numbers(a, b) == 0;
    if (a.kind != b.kind || !interp_enter(in))
        return false;
    bool equal = same_kind_equal(in, a, b);
    in->depth--;
    return equal && !interp_failed(in);
}

static int compare_texts(interp *in, tv a, tv b) {
    interp_charge(in, MIN(a.n_str, b.n_str) / TEMPLATE_STEP_BYTES);
    int c = memcmp(a.u.s, b.u.s, MIN(a.n_str, b.n_str)); /* UTF-8 keeps code point order */
    return c ? (c < 0 ? -1 : 1) : a.n_str < b.n_str ? -1 : a.n_str > b.n_str;
}

static int compare_lists(interp *in, const tv_list *a, const tv_list *b, const char *op) {
    size_t n = MIN(a->n, b->n);
    for (size_t i = 0; i < n && !interp_failed(in); i++) {
        if (tv_equal(in, a->v[i], b->v[i]))
            continue;
        if (!interp_enter(in))
            return 0;
        int c = tv_compare(in, a->v[i], b->v[i], op);
        in->depth--;
        return c;
    }
    return a->n < b->n ? -1 : a->n > b->n;
}

int tv_compare(interp *in, tv a, tv b, const char *op) {
    if (!interp_charge(in, 1))
        return 0;
    if (tv_is_number(a) && tv_is_number(b))
        return compare_numbers(a, b);
    if (a.kind == TV_STRING && b.kind == TV_STRING)
        return compare_texts(in, a, b);
    if (a.kind == b.kind && (a.kind == TV_LIST || a.kind == TV_TUPLE))
        return compare_lists(in, a.u.list, b.u.list, op);
    if (a.kind == TV_UNDEFINED || b.kind == TV_UNDEFINED)
        interp_fail_undefined(in, a.kind == TV_UNDEFINED ? a : b);
    else
        interp_fail(in, MUGA_E_INPUT, "'%s' not supported between '%s' and '%s'", op, tv_kind_name(a), tv_kind_name(b));
    return 0;
}
