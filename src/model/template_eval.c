/* Evaluator of chat templates, expressions: names, attributes, elements, calls. Walks the tree; every node, element and
 * some bytes of text cost a step. Refuses what would change a value or reveal the machine, as transformers' sandbox
 * does. Statements are in template_exec.c, operators in template_operator.c. */
#include "model/template_internal.h"

/* ---- failing and counting ---- */

tv interp_fail(interp *in, muga_status status, const char *format, ...) {
    if (interp_failed(in))
        return TV_UNDEF;
    char text[192];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    in->status = error_set(in->err, status, "template line %u: %s", in->line, text);
    return TV_UNDEF;
}

tv interp_fail_undefined(interp *in, tv v) {
    const char *name = v.u.s ? v.u.s : "value";
    const tv owner = {.kind = (uint8_t)v.n_str};
    bool none = owner.kind == TV_NONE;
    const char *kind = none ? "None" : tv_kind_name(owner), *object = none ? "" : " object";
    switch (v.form) {
    case FORM_ATTRIBUTE: return interp_fail(in, MUGA_E_INPUT, "'%s%s' has no attribute '%s'", kind, object, name);
    case FORM_ELEMENT: return interp_fail(in, MUGA_E_INPUT, "%s%s has no element %lld", kind, object, (long long)v.u.i);
    case FORM_UNSAFE:
        return interp_fail(in, MUGA_E_INPUT, "access to attribute '%s' of '%s' object is unsafe", name, kind);
    case FORM_HINT: return interp_fail(in, MUGA_E_INPUT, "%s", name);
    default: return interp_fail(in, MUGA_E_INPUT, "'%s' is undefined", name);
    }
}

bool interp_charge(interp *in, uint64_t n) {
    if (interp_failed(in))
        return false;
    if (n <= in->limits.steps && in->steps <= in->limits.steps - n) {
        in->steps += n;
        return true;
    }
    interp_fail(in, MUGA_E_LIMIT, "more than %llu steps; the template is too expensive",
                (unsigned long long)in->limits.steps);
    return false;
}

bool interp_enter(interp *in) {
    if (interp_failed(in))
        return false;
    if (++in->depth <= in->limits.depth * 2)
        return true; /* a level of source is at most two of evaluation */
    interp_fail(in, MUGA_E_LIMIT, "calls nest too deeply (limit %u)", in->limits.depth);
    return false;
}

/* ---- names ---- */

/* The context is converted where it is used, each variable once. */
tv interp_context_value(interp *in, uint32_t name) {
    tv *known = &in->context_values[name];
    if (known->kind != TV_MISSING)
        return *known;
    const char *text = in->t->names[name];
    const json_t *value = json_object_get(in->context, text);
    int function = value ? -1 : template_function_find(text);
    if (value)
        *known = tv_from_json(in, value);
    else if (function >= 0 && in->calls_allowed)
        *known = (tv){.kind = TV_FUNCTION, .u.function = function};
    else
        *known = tv_undefined(text);
    return *known;
}

static tv *name_slot(const interp *in, const node *n) {
    frame *f = in->frame;
    for (uint32_t up = n->up; up > 0; up--)
        f = f->parent;
    return &f->slots[n->slot];
}

static tv eval_name(interp *in, const node *n) {
    tv v = interp_charge(in, n->up / TEMPLATE_STEP_FRAMES) ? *name_slot(in, n) : TV_UNDEF;
    return v.kind == TV_MISSING ? tv_undefined(n->name) : v;
}

/* ---- attributes and elements ---- */

static bool loop_attr(interp *in, const tv_loop *l, const char *name, tv *out) {
    static const char *const names[] = {"index", "index0", "revindex", "revindex0", "first",
                                        "last",  "length", "depth",    "depth0",    NULL};
    const tv values[] = {
        tv_int(l->i + 1),          tv_int(l->i), tv_int(l->n - l->i),  tv_int(l->n - l->i - 1), tv_bool(l->i == 0),
        tv_bool(l->i == l->n - 1), tv_int(l->n), tv_int(l->depth + 1), tv_int(l->depth)};
    for (size_t i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) {
            *out = values[i];
            return true;
        }
    if (!strcmp(name, "previtem"))
        *out = l->i > 0 ? l->items[l->i - 1] : tv_undefined_hint("there is no previous item");
    else if (!strcmp(name, "nextitem"))
        *out = l->i + 1 < l->n ? l->items[l->i + 1] : tv_undefined_hint("there is no next item");
    else
        return template_method_find(in, (tv){.kind = TV_LOOP, .u.loop = (tv_loop *)(uintptr_t)l}, name, out);
    return true;
}

static bool macro_attr(interp *in, const node *def, const char *name, tv *out) {
    if (!strcmp(name, "name")) {
        *out = tv_literal(def->name);
    } else if (!strcmp(name, "arguments")) {
        *out = tv_list_new(in, TV_TUPLE, def->n_keys);
        for (size_t i = 0; !interp_failed(in) && i < def->n_keys; i++)
            out->u.list->v[i] = tv_literal(def->names[i]);
    } else if (!strcmp(name, "catch_kwargs")) {
        *out = tv_bool(def->kwargs_slot >= 0);
    } else if (!strcmp(name, "catch_varargs")) {
        *out = tv_bool(def->varargs_slot >= 0);
    } else if (!strcmp(name, "caller")) {
        *out = tv_bool(def->caller_slot >= 0);
    } else {
        return false;
    }
    return true;
}

static bool number_attr(tv v, const char *name, tv *out) {
    bool real = !strcmp(name, "real"), whole = tv_is_integer(v);
    if (real || (whole && !strcmp(name, "numerator")))
        *out = whole ? tv_int(tv_integer(v)) : v;
    else if (!strcmp(name, "imag"))
        *out = whole ? tv_int(0) : tv_float(0);
    else if (whole && !strcmp(name, "denominator"))
        *out = tv_int(1);
    else
        return false;
    return true;
}

static bool cycler_attr(tv v, const char *name, tv *out) {
    const tv_list *l = v.u.list;
    if (strcmp(name, "current") != 0)
        return false;
    *out = l->v[l->at];
    return true;
}

static bool range_attr(const tv_range *r, const char *name, tv *out) {
    if (!strcmp(name, "start"))
        *out = tv_int(r->from);
    else if (!strcmp(name, "stop"))
        *out = tv_int(r->stop);
    else if (!strcmp(name, "step"))
        *out = tv_int(r->step);
    else
        return false;
    return true;
}

static bool group_attr(tv v, const char *name, tv *out) {
    if (v.form != FORM_GROUP || (strcmp(name, "grouper") != 0 && strcmp(name, "list") != 0))
        return false;
    *out = v.u.list->v[name[0] == 'l'];
    return true;
}

bool interp_find_attr(interp *in, tv object, const char *name, tv *out) {
    if (name[0] == '_' && name[1] == '_' && object.kind != TV_NAMESPACE) {
        size_t n = strlen(name); /* every value has some of these in Python; none is given out */
        if (n > 4 && name[n - 1] == '_' && name[n - 2] == '_') {
            *out = tv_missing_of(in, object, tv_literal(name), FORM_UNSAFE);
            return true;
        }
    }
    switch (object.kind) {
    case TV_NAMESPACE: return tv_dict_get_name(in, object.u.dict, name, out);
    case TV_LOOP: return loop_attr(in, object.u.loop, name, out);
    case TV_MACRO: return macro_attr(in, object.u.macro->def, name, out);
    case TV_TUPLE: return group_attr(object, name, out) || template_method_find(in, object, name, out);
    case TV_RANGE: return range_attr(object.u.range, name, out) || template_method_find(in, object, name, out);
    case TV_CYCLER: return cycler_attr(object, name, out) || template_method_find(in, object, name, out);
    case TV_BOOL:
    case TV_INT:
    case TV_FLOAT: return number_attr(object, name, out) || template_method_find(in, object, name, out);
    default: return template_method_find(in, object, name, out);
    }
}

tv interp_get_attr(interp *in, tv object, const char *name) {
    tv v;
    if (interp_failed(in))
        return TV_UNDEF;
    if (object.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, object);
    if (interp_find_attr(in, object, name, &v))
        return v;
    if (object.kind == TV_DICT && tv_dict_get_name(in, object.u.dict, name, &v))
        return v;
    return tv_missing_of(in, object, tv_literal(name), FORM_ATTRIBUTE);
}

/* object[key] in Python; false where that is an error. */
static bool find_item(interp *in, tv object, tv key, tv *out) {
    if (object.kind == TV_DICT)
        return tv_hashable(key) && tv_dict_get(in, object.u.dict, key, out);
    if (!tv_is_integer(key))
        return false;
    int64_t i = tv_integer(key), n;
    if (object.kind == TV_STRING) {
        *out = tv_text_at(in, object, i);
        return out->kind != TV_MISSING;
    }
    if (object.kind != TV_LIST && object.kind != TV_TUPLE && object.kind != TV_RANGE)
        return false;
    (void)tv_length(in, object, &n);
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return false;
    *out = object.kind == TV_RANGE ? tv_range_at(object.u.range, i) : object.u.list->v[i];
    return true;
}

tv interp_get_item(interp *in, tv object, tv key) {
    tv v;
    if (interp_failed(in))
        return TV_UNDEF;
    if (object.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, object);
    if (find_item(in, object, key, &v))
        return v;
    if (key.kind == TV_STRING && !memchr(key.u.s, 0, key.n_str)) {
        tv name = tv_text(in, key.u.s, key.n_str);
        if (interp_failed(in))
            return TV_UNDEF;
        if (interp_find_attr(in, object, name.u.s, &v))
            return v;
    }
    return tv_missing_of(in, object, key, FORM_ATTRIBUTE);
}

/* ---- calls ---- */

/* *args and **kwargs, behind the arguments that are written out. */
static bool unpack_args(interp *in, const node *n, call_args *out) {
    tv_list more = {0};
    const tv_dict *named = NULL;
    tv star = n->star ? interp_eval(in, n->star) : TV_NULL, star2 = n->star2 ? interp_eval(in, n->star2) : TV_NULL;
    if (interp_failed(in) || (n->star && !tv_iterate(in, star, &more)))
        return false;
    if (n->star2 && star2.kind != TV_DICT) {
        interp_fail(in, MUGA_E_INPUT, "argument after ** must be a mapping, not %s", tv_kind_name(star2));
        return false;
    }
    if (n->star2)
        named = star2.u.dict;
    size_t n_named = out->n_named + (named ? named->n : 0);
    tv *v = interp_alloc(in, (out->n + more.n) * sizeof *v), *values = interp_alloc(in, n_named * sizeof *values);
    const char **names = interp_alloc(in, n_named * sizeof *names);
    if (!v || !values || !names)
        return false;
    for (size_t i = 0; i < out->n + more.n; i++)
        v[i] = i < out->n ? out->v[i] : more.v[i - out->n];
    for (size_t i = 0; i < n_named; i++) {
        const tv *key = i < out->n_named ? NULL : &named->keys[i - out->n_named];
        if (key && key->kind != TV_STRING) {
            interp_fail(in, MUGA_E_INPUT, "keywords must be strings, not %s", tv_kind_name(*key));
            return false;
        }
        interp_charge(in, key ? out->n_named / TEMPLATE_STEP_NAMES : 0);
        names[i] = key ? tv_text(in, key->u.s, key->n_str).u.s : out->names[i];
        values[i] = key ? named->values[i - out->n_named] : out->named[i];
        for (size_t k = 0; key && k < out->n_named && !interp_failed(in); k++)
            if (!strcmp(names[i], out->names[k]))
                interp_fail(in, MUGA_E_INPUT, "got multiple values for keyword argument '%.60s'", names[i]);
        if (interp_failed(in))
            return false;
    }
    *out = (call_args){v, out->n + more.n, names, values, n_named};
    return true;
}

bool interp_eval_args(interp *in, const node *n, call_args *out) {
    *out = (call_args){0};
    if (n->n_items + n->n_keys > 0) {
        tv *v = interp_alloc(in, (n->n_items + n->n_keys) * sizeof *v);
        if (!v)
            return false;
        for (size_t i = 0; i < n->n_items; i++)
            v[i] = interp_eval(in, n->items[i]);
        for (size_t i = 0; i < n->n_keys; i++)
            v[n->n_items + i] = interp_eval(in, n->keys[i]);
        *out = (call_args){v, n->n_items, n->names, v + n->n_items, n->n_keys};
    }
    if (n->star || n->star2)
        return unpack_args(in, n, out);
    return !interp_failed(in);
}

/* One row of `parameters` for a name, or -1. */
static int parameter_index(const char *parameters, const char *name) {
    size_t n = strlen(name);
    int i = 0;
    for (const char *p = parameters; *p; i++) {
        size_t k = strcspn(p, " ");
        if (k == n && memcmp(p, name, n) == 0)
            return i;
        p += k;
        p += *p == ' ';
    }
    return -1;
}

static int parameter_count(const char *parameters) {
    int n = *parameters != 0;
    for (const char *p = parameters; *p; p++)
        n += *p == ' ';
    return n;
}

bool template_bind(interp *in, const char *who, const char *parameters, size_t required, const call_args *args,
                   tv *out) {
    size_t n = (size_t)parameter_count(parameters);
    for (size_t i = 0; i < n; i++)
        out[i] = i < args->n ? args->v[i] : (tv){.kind = TV_MISSING};
    if (args->n > n)
        interp_fail(in, MUGA_E_INPUT, "%s takes at most %zu arguments, %zu were given", who, n, args->n);
    for (size_t i = 0; i < args->n_named && !interp_failed(in); i++) {
        int at = parameter_index(parameters, args->names[i]);
        if (at < 0)
            interp_fail(in, MUGA_E_INPUT, "%s has no argument named '%.60s'", who, args->names[i]);
        else if (out[at].kind != TV_MISSING)
            interp_fail(in, MUGA_E_INPUT, "%s got two values for '%.60s'", who, args->names[i]);
        else
            out[at] = args->named[i];
    }
    for (size_t i = 0; i < required && !interp_failed(in); i++)
        if (out[i].kind == TV_MISSING)
            interp_fail(in, MUGA_E_INPUT, "%s needs at least %zu argument%s", who, required, required > 1 ? "s" : "");
    return !interp_failed(in);
}

static tv call_joiner(interp *in, tv_list *joiner, const call_args *args) {
    if (!template_bind(in, "joiner", "", 0, args, NULL))
        return TV_UNDEF;
    return joiner->at++ ? joiner->v[0] : tv_literal("");
}

tv interp_call(interp *in, tv callee, const call_args *args) {
    tv items;
    if (interp_failed(in))
        return TV_UNDEF;
    switch (callee.kind) {
    case TV_MACRO: return interp_call_macro(in, callee.u.macro, args);
    case TV_FUNCTION: return template_function_call(in, callee.u.function, args);
    case TV_METHOD: return template_method_call(in, callee.u.method, args);
    case TV_JOINER: return call_joiner(in, callee.u.list, args);
    case TV_LOOP:
        return template_bind(in, "loop", "iterable", 1, args, &items) ? interp_call_loop(in, callee.u.loop, items)
                                                                      : TV_UNDEF;
    case TV_UNDEFINED: return interp_fail_undefined(in, callee);
    default: return interp_fail(in, MUGA_E_INPUT, "'%s' object is not callable", tv_kind_name(callee));
    }
}

/* ---- expressions ---- */

static tv eval_comparison(interp *in, const node *n) {
    tv left = interp_eval(in, n->items[0]);
    for (size_t i = 1; i < n->n_items && !interp_failed(in); i++) {
        tv right = interp_eval(in, n->items[i]);
        if (!interp_compare(in, n->ops[i - 1], left, right))
            return tv_bool(false);
        left = right;
    }
    return tv_bool(true);
}

static tv eval_sequence(interp *in, const node *n, tv_kind kind) {
    tv list = tv_list_new(in, kind, n->n_items);
    for (size_t i = 0; i < n->n_items && !interp_failed(in); i++)
        list.u.list->v[i] = interp_eval(in, n->items[i]);
    return list;
}

static tv eval_dict(interp *in, const node *n) {
    tv dict = tv_dict_new(in, n->n_items);
    for (size_t i = 0; i < n->n_items && !interp_failed(in); i++) {
        tv key = interp_eval(in, n->keys[i]), value = interp_eval(in, n->items[i]);
        if (!tv_hashable(key))
            return interp_fail(in, MUGA_E_INPUT, "unhashable type: '%s'", tv_kind_name(key));
        if (!interp_failed(in))
            tv_dict_set(in, dict.u.dict, key, value);
    }
    return dict;
}

static tv eval_concat(interp *in, const node *n) {
    str s;
    interp_str_init(in, &s);
    for (size_t i = 0; i < n->n_items && !interp_failed(in); i++)
        tv_write(in, interp_eval(in, n->items[i]), &s);
    return tv_from_str(in, &s);
}

/* The last value that decided, as Python's and/or give it. */
static tv eval_logic(interp *in, const node *n) {
    tv v = TV_UNDEF;
    for (size_t i = 0; i < n->n_items && !interp_failed(in); i++) {
        v = interp_eval(in, n->items[i]);
        if (tv_truth(in, v) == (n->kind == N_OR))
            break;
    }
    return v;
}

tv interp_filters(interp *in, const node *n, tv innermost) {
    call_args args;
    tv input = n->a ? (n->a->kind == N_FILTER ? interp_filters(in, n->a, innermost) : interp_eval(in, n->a))
                    : innermost;
    if (interp_failed(in) || !interp_eval_args(in, n, &args))
        return TV_UNDEF;
    in->line = n->line;
    if (n->index < 0)
        return interp_fail(in, MUGA_E_INPUT, "no filter named '%.60s'", n->name);
    return template_filter(in, n->index, input, &args);
}

static tv eval_call(interp *in, const node *n) {
    call_args args;
    if (!in->calls_allowed)
        return interp_fail(in, MUGA_E_INPUT, "calls are not allowed in this expression");
    tv callee = interp_eval(in, n->a);
    if (interp_failed(in) || !interp_eval_args(in, n, &args))
        return TV_UNDEF;
    in->line = n->line;
    return interp_call(in, callee, &args);
}

static tv eval_test(interp *in, const node *n) {
    call_args args;
    tv input = interp_eval(in, n->a);
    if (interp_failed(in) || !interp_eval_args(in, n, &args))
        return TV_UNDEF;
    if (n->index < 0)
        return interp_fail(in, MUGA_E_INPUT, "no test named '%.60s'", n->name);
    return tv_bool(template_test(in, n->index, input, &args) != (n->op == 1));
}

static tv eval_slice(interp *in, const node *n) {
    tv object = interp_eval(in, n->a), from = n->b ? interp_eval(in, n->b) : TV_NULL;
    tv to = n->c ? interp_eval(in, n->c) : TV_NULL, step = n->d ? interp_eval(in, n->d) : TV_NULL;
    return interp_failed(in) ? TV_UNDEF : tv_slice(in, object, from, to, step);
}

static tv eval_condition(interp *in, const node *n) {
    if (tv_truth(in, interp_eval(in, n->a)))
        return interp_eval(in, n->b);
    if (n->c)
        return interp_eval(in, n->c);
    return tv_undefined_hint("the inline if-expression was false and has no else");
}

static tv eval_pair(interp *in, const node *n) {
    tv a = interp_eval(in, n->a), b = interp_eval(in, n->b);
    return n->kind == N_ITEM ? interp_get_item(in, a, b) : interp_binary(in, n->op, a, b);
}

static tv eval_node(interp *in, const node *n) {
    switch (n->kind) {
    case N_CONST: return n->value;
    case N_NAME: return eval_name(in, n);
    case N_ATTR: return interp_get_attr(in, interp_eval(in, n->a), n->name);
    case N_ITEM:
    case N_BINARY: return eval_pair(in, n);
    case N_SLICE: return eval_slice(in, n);
    case N_CALL: return eval_call(in, n);
    case N_FILTER: return interp_filters(in, n, TV_UNDEF);
    case N_TEST: return eval_test(in, n);
    case N_LIST: return eval_sequence(in, n, TV_LIST);
    case N_TUPLE: return eval_sequence(in, n, TV_TUPLE);
    case N_DICT: return eval_dict(in, n);
    case N_NOT: return tv_bool(!tv_truth(in, interp_eval(in, n->a)));
    case N_NEG:
    case N_POS: return interp_sign(in, n->kind == N_NEG, interp_eval(in, n->a));
    case N_COMPARE: return eval_comparison(in, n);
    case N_AND:
    case N_OR: return eval_logic(in, n);
    case N_CONCAT: return eval_concat(in, n);
    case N_COND: return eval_condition(in, n);
    default: return interp_fail(in, MUGA_E_INTERNAL, "statement where an expression was expected");
    }
}

tv interp_eval(interp *in, const node *n) {
    if (!interp_charge(in, 1) || !interp_enter(in))
        return TV_UNDEF;
    in->line = n->line;
    tv v = eval_node(in, n);
    in->depth--;
    return v;
}
