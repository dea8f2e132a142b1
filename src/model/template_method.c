/* Methods of dicts, lists, tuples, ranges, loops, cyclers and numbers that a template may call, and the way to those of
 * strings. Only those that change nothing: the sandbox of transformers refuses append, pop, update and their like, and
 * so does this table, by name. */
#include "model/template_internal.h"

#include <math.h>

typedef enum {
    M_UNSAFE,
    M_ITEMS,
    M_KEYS,
    M_VALUES,
    M_GET,
    M_COPY,
    M_INDEX,
    M_COUNT,
    M_CYCLE,
    M_CHANGED,
    M_NEXT,
    M_RESET,
    M_IS_INTEGER,
    M_BIT_LENGTH
} method_id;

typedef struct method_row {
    const char *name, *parameters; /* NULL: the method looks at its arguments itself */
    size_t required;
    method_id id;
} method_row;

static const method_row dict_methods[] = {
    {"items", "", 0, M_ITEMS},        {"keys", "", 0, M_KEYS},         {"values", "", 0, M_VALUES},
    {"get", "key default", 1, M_GET}, {"copy", "", 0, M_COPY},         {"pop", NULL, 0, M_UNSAFE},
    {"popitem", NULL, 0, M_UNSAFE},   {"update", NULL, 0, M_UNSAFE},   {"setdefault", NULL, 0, M_UNSAFE},
    {"clear", NULL, 0, M_UNSAFE},     {"fromkeys", NULL, 0, M_UNSAFE}, {NULL, NULL, 0, 0}};
static const method_row list_methods[] = {{"index", "value start stop", 1, M_INDEX},
                                          {"count", "value", 1, M_COUNT},
                                          {"copy", "", 0, M_COPY},
                                          {"append", NULL, 0, M_UNSAFE},
                                          {"extend", NULL, 0, M_UNSAFE},
                                          {"insert", NULL, 0, M_UNSAFE},
                                          {"remove", NULL, 0, M_UNSAFE},
                                          {"pop", NULL, 0, M_UNSAFE},
                                          {"sort", NULL, 0, M_UNSAFE},
                                          {"reverse", NULL, 0, M_UNSAFE},
                                          {"clear", NULL, 0, M_UNSAFE},
                                          {NULL, NULL, 0, 0}};
static const method_row tuple_methods[] = {
    {"index", "value start stop", 1, M_INDEX}, {"count", "value", 1, M_COUNT}, {NULL, NULL, 0, 0}};
static const method_row loop_methods[] = {
    {"cycle", NULL, 0, M_CYCLE}, {"changed", NULL, 0, M_CHANGED}, {NULL, NULL, 0, 0}};
static const method_row cycler_methods[] = {{"next", "", 0, M_NEXT}, {"reset", "", 0, M_RESET}, {NULL, NULL, 0, 0}};
static const method_row float_methods[] = {{"is_integer", "", 0, M_IS_INTEGER}, {NULL, NULL, 0, 0}};
static const method_row int_methods[] = {{"bit_length", "", 0, M_BIT_LENGTH}, {NULL, NULL, 0, 0}};

static const method_row *methods_of(tv v) {
    switch (v.kind) {
    case TV_DICT: return dict_methods;
    case TV_LIST: return list_methods;
    case TV_TUPLE:
    case TV_RANGE: return tuple_methods;
    case TV_LOOP: return loop_methods;
    case TV_CYCLER: return cycler_methods;
    case TV_FLOAT: return float_methods;
    case TV_BOOL:
    case TV_INT: return int_methods;
    default: return NULL;
    }
}

bool template_method_find(interp *in, tv self, const char *name, tv *out) {
    const method_row *rows = methods_of(self);
    int id = self.kind == TV_STRING ? template_text_method_find(name) : -1;
    for (int i = 0; rows && rows[i].name && id < 0; i++)
        if (!strcmp(rows[i].name, name))
            id = i;
    if (id < 0)
        return false;
    if (rows && rows[id].id == M_UNSAFE) {
        *out = tv_missing_of(in, self, tv_literal(name), FORM_UNSAFE);
        return true;
    }
    tv_method *m = interp_alloc(in, sizeof *m);
    if (!m)
        return false;
    *m = (tv_method){self, id};
    *out = (tv){.kind = TV_METHOD, .u.method = m};
    return true;
}

static tv view(tv dict, uint8_t form) {
    return (tv){.kind = TV_VIEW, .form = form, .u.dict = dict.u.dict};
}

static tv dict_get(interp *in, tv dict, const tv *a) {
    tv found;
    if (!tv_hashable(a[0]))
        return interp_fail(in, MUGA_E_INPUT, "unhashable type: '%s'", tv_kind_name(a[0]));
    if (tv_dict_get(in, dict.u.dict, a[0], &found))
        return found;
    return a[1].kind == TV_MISSING ? TV_NULL : a[1];
}

static tv copy(interp *in, tv v) {
    if (v.kind == TV_LIST)
        return tv_slice(in, v, TV_NULL, TV_NULL, TV_NULL);
    tv d = tv_dict_new(in, v.u.dict->n);
    if (interp_failed(in))
        return TV_UNDEF;
    d.u.dict->n = v.u.dict->n;
    for (size_t i = 0; i < v.u.dict->n; i++) {
        d.u.dict->keys[i] = v.u.dict->keys[i];
        d.u.dict->values[i] = v.u.dict->values[i];
    }
    return d;
}

static tv count(interp *in, tv v, tv wanted) {
    tv_list items;
    int64_t n = 0;
    if (!tv_iterate(in, v, &items))
        return TV_UNDEF;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++)
        n += tv_equal(in, items.v[i], wanted);
    return tv_int(n);
}

static tv index_of(interp *in, tv v, const tv *a) {
    tv_list items;
    tv part =
        tv_slice(in, v, a[1].kind == TV_MISSING ? TV_NULL : a[1], a[2].kind == TV_MISSING ? TV_NULL : a[2], TV_NULL);
    int64_t n = 0, from = a[1].kind == TV_MISSING ? 0 : tv_integer(a[1]);
    if (!tv_length(in, v, &n) || !tv_iterate(in, part, &items))
        return TV_UNDEF;
    from = from < 0 ? MAX(from + n, 0) : from;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++)
        if (tv_equal(in, items.v[i], a[0]))
            return tv_int(from + (int64_t)i);
    return interp_fail(in, MUGA_E_INPUT, "value is not in %s", tv_kind_name(v));
}

/* loop.changed(values...): whether they differ from those of the call before. */
static tv loop_changed(interp *in, tv_loop *loop, const call_args *args) {
    bool same = loop->changed && loop->changed->n == args->n;
    if (args->n_named)
        return interp_fail(in, MUGA_E_INPUT, "changed takes no named arguments");
    for (size_t i = 0; same && i < args->n; i++)
        same = tv_equal(in, loop->changed->v[i], args->v[i]);
    if (same || interp_failed(in))
        return tv_bool(false);
    tv values = tv_list_new(in, TV_TUPLE, args->n);
    if (interp_failed(in))
        return TV_UNDEF;
    if (args->n)
        memcpy(values.u.list->v, args->v, args->n * sizeof(tv));
    loop->changed = values.u.list;
    return tv_bool(true);
}

static tv loop_cycle(interp *in, const tv_loop *loop, const call_args *args) {
    if (!args->n || args->n_named)
        return interp_fail(in, MUGA_E_INPUT, "no items for cycling given");
    return args->v[(size_t)loop->i % args->n];
}

static tv cycler_next(tv_list *c) {
    tv v = c->v[c->at];
    c->at = (c->at + 1) % c->n;
    return v;
}

static int64_t bit_length(int64_t i) {
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    int64_t n = 0;
    for (; u; u >>= 1)
        n++;
    return n;
}

tv template_method_call(interp *in, const tv_method *m, const call_args *args) {
    tv self = m->self, a[3] = {{.kind = TV_MISSING}, {.kind = TV_MISSING}, {.kind = TV_MISSING}};
    if (self.kind == TV_STRING)
        return template_text_method_call(in, self, m->id, args);
    const method_row *row = &methods_of(self)[m->id];
    if (row->parameters && !template_bind(in, row->name, row->parameters, row->required, args, a))
        return TV_UNDEF;
    switch (row->id) {
    case M_ITEMS: return view(self, FORM_ITEMS);
    case M_KEYS: return view(self, FORM_KEYS);
    case M_VALUES: return view(self, FORM_VALUES);
    case M_GET: return dict_get(in, self, a);
    case M_COPY: return copy(in, self);
    case M_INDEX: return index_of(in, self, a);
    case M_COUNT: return count(in, self, a[0]);
    case M_CYCLE: return loop_cycle(in, self.u.loop, args);
    case M_CHANGED: return loop_changed(in, self.u.loop, args);
    case M_NEXT: return cycler_next(self.u.list);
    case M_RESET: self.u.list->at = 0; return TV_NULL;
    case M_IS_INTEGER: return tv_bool(isfinite(self.u.d) && self.u.d == floor(self.u.d));
    case M_BIT_LENGTH: return tv_int(bit_length(tv_integer(self)));
    default: return interp_fail(in, MUGA_E_INTERNAL, "method of a value without methods");
    }
}
