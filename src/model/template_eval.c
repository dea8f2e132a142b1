/* Evaluator of chat templates. Walks the tree; every node, element and 256 bytes of text cost a step.
 *
 * Scopes: the template, each loop iteration, macro call, with-block and block-set open one; "if" does not. Assignment
 * writes to the innermost scope, look-up goes outward, so a loop cannot change an outer variable except through a
 * namespace. */
#include "model/template_internal.h"

tv interp_fail(interp *in, muga_status status, const char *format, ...) {
    if (interp_failed(in))
        return TV_UNDEF;
    char text[192];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    in->status = error_set(in->err, status, "template line %u: %s", in->line, text);
    return TV_UNDEF;
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

static bool interp_enter(interp *in) {
    if (interp_failed(in))
        return false;
    if (++in->depth <= in->limits.depth * 2)
        return true; /* a level of source is at most two of evaluation */
    interp_fail(in, MUGA_E_LIMIT, "calls nest too deeply (limit %u)", in->limits.depth);
    return false;
}

/* ---- variables ---- */

static scope *scope_push(interp *in, scope *parent) {
    scope *s = interp_alloc(in, sizeof *s);
    if (s)
        s->parent = parent;
    return s;
}

static void scope_set(interp *in, scope *s, const char *name, tv value) {
    for (var *v = s->vars; v; v = v->next)
        if (!strcmp(v->name, name)) {
            v->value = value;
            return;
        }
    var *v = interp_alloc(in, sizeof *v);
    if (!v)
        return;
    *v = (var){name, value, s->vars};
    s->vars = v;
}

static tv scope_get(interp *in, const char *name) {
    uint64_t looked = 0;
    for (scope *s = in->scope; s; s = s->parent)
        for (var *v = s->vars; v; v = v->next, looked++)
            if (!strcmp(v->name, name)) {
                interp_charge(in, looked / 16);
                return v->value;
            }
    interp_charge(in, looked / 16);
    int f = template_function_find(name);
    if (f >= 0)
        return (tv){.kind = TV_FUNCTION, .u.function = f};
    return tv_undefined(name);
}

static void assign(interp *in, const node *target, tv value) {
    if (interp_failed(in))
        return;
    if (target->kind == N_NAME) {
        scope_set(in, in->scope, target->name, value);
    } else if (target->kind == N_ATTR) {
        tv object = interp_eval(in, target->a);
        if (object.kind != TV_NAMESPACE) {
            interp_fail(in, MUGA_E_INPUT, "cannot assign attribute '%s' on a non-namespace object", target->name);
            return;
        }
        tv_dict_set(in, object.u.dict, tv_borrow(target->name, strlen(target->name)), value);
    } else {
        tv_list items;
        if (!tv_iterate(in, value, &items))
            return;
        if (items.n != target->n_items) {
            interp_fail(in, MUGA_E_INPUT, "cannot unpack %zu values into %zu names", items.n, target->n_items);
            return;
        }
        for (size_t i = 0; i < items.n; i++)
            assign(in, target->items[i], items.v[i]);
    }
}

/* ---- attributes and items ---- */

static tv loop_attr(interp *in, const tv_loop *l, const char *name) {
    (void)in;
    if (!strcmp(name, "index"))
        return tv_int(l->i + 1);
    if (!strcmp(name, "index0"))
        return tv_int(l->i);
    if (!strcmp(name, "first"))
        return tv_bool(l->i == 0);
    if (!strcmp(name, "last"))
        return tv_bool(l->i == l->n - 1);
    if (!strcmp(name, "length"))
        return tv_int(l->n);
    if (!strcmp(name, "revindex"))
        return tv_int(l->n - l->i);
    if (!strcmp(name, "revindex0"))
        return tv_int(l->n - l->i - 1);
    if (!strcmp(name, "depth"))
        return tv_int(l->depth);
    if (!strcmp(name, "depth0"))
        return tv_int(l->depth - 1);
    if (!strcmp(name, "previtem"))
        return l->i > 0 ? l->items[l->i - 1] : tv_undefined("loop.previtem");
    if (!strcmp(name, "nextitem"))
        return l->i + 1 < l->n ? l->items[l->i + 1] : tv_undefined("loop.nextitem");
    return tv_undefined(name);
}

tv interp_get_attr(interp *in, tv object, const char *name) {
    tv v;
    if (object.kind == TV_UNDEFINED)
        return interp_fail(in, MUGA_E_INPUT, "'%s' is undefined", object.u.s ? object.u.s : name);
    if (object.kind == TV_LOOP) {
        v = loop_attr(in, object.u.loop, name);
        if (v.kind != TV_UNDEFINED || !template_has_method(object, name))
            return v;
    }
    if (template_has_method(object, name)) {
        tv_method *m = interp_alloc(in, sizeof *m);
        if (!m)
            return TV_UNDEF;
        *m = (tv_method){object, name};
        return (tv){.kind = TV_METHOD, .u.method = m};
    }
    if ((object.kind == TV_DICT || object.kind == TV_NAMESPACE) && tv_dict_get_name(in, object.u.dict, name, &v))
        return v;
    if (object.kind == TV_MACRO && !strcmp(name, "name"))
        return tv_borrow(object.u.macro->def->name, strlen(object.u.macro->def->name));
    return tv_undefined(name);
}

tv interp_get_item(interp *in, tv object, tv key) {
    tv v;
    if (object.kind == TV_UNDEFINED)
        return interp_fail(in, MUGA_E_INPUT, "'%s' is undefined", object.u.s ? object.u.s : "value");
    if (object.kind == TV_DICT && tv_dict_get(in, object.u.dict, key, &v))
        return v;
    if (key.kind == TV_INT || key.kind == TV_BOOL) {
        int64_t i = key.kind == TV_INT ? key.u.i : key.u.b;
        if (object.kind == TV_STRING)
            return tv_text_at(in, object, i);
        if (object.kind == TV_LIST || object.kind == TV_TUPLE) {
            int64_t n = (int64_t)object.u.list->n;
            if (i < 0)
                i += n;
            if (i >= 0 && i < n)
                return object.u.list->v[i];
            return tv_undefined("list element");
        }
    }
    if (key.kind == TV_STRING) {
        char *name = interp_alloc(in, key.n_str + 1);
        if (!name)
            return TV_UNDEF;
        memcpy(name, key.u.s, key.n_str);
        if (object.kind == TV_DICT && !template_has_method(object, name))
            return tv_undefined(name);
        return interp_get_attr(in, object, name);
    }
    return tv_undefined("item");
}

/* ---- calls ---- */

static bool eval_args(interp *in, const node *n, call_args *out) {
    tv *v = interp_alloc(in, (n->n_items + n->n_keys) * sizeof *v);
    if (!v)
        return false;
    for (size_t i = 0; i < n->n_items; i++)
        v[i] = interp_eval(in, n->items[i]);
    for (size_t i = 0; i < n->n_keys; i++)
        v[n->n_items + i] = interp_eval(in, n->keys[i]);
    *out = (call_args){v, n->n_items, n->names, v + n->n_items, n->n_keys};
    return !interp_failed(in);
}

static size_t macro_parameter(const node *def, const char *name) {
    for (size_t i = 0; i < def->n_keys; i++)
        if (!strcmp(def->names[i], name))
            return i;
    return SIZE_MAX;
}

/* Bind arguments to a macro's parameters; extra ones go to varargs and kwargs. */
static void macro_bind(interp *in, const node *def, const call_args *args) {
    scope *s = in->scope;
    for (size_t i = 0; i < def->n_keys && i < args->n; i++)
        scope_set(in, s, def->names[i], args->v[i]);
    tv kwargs = tv_dict_new(in, args->n_named),
       varargs = tv_list_new(in, TV_TUPLE, args->n > def->n_keys ? args->n - def->n_keys : 0);
    if (interp_failed(in))
        return;
    for (size_t i = 0; i < varargs.u.list->n; i++)
        varargs.u.list->v[i] = args->v[def->n_keys + i];
    bool *given = interp_alloc(in, def->n_keys * sizeof *given);
    if (!given)
        return;
    for (size_t i = 0; i < args->n_named; i++) {
        size_t k = macro_parameter(def, args->names[i]);
        if (k == SIZE_MAX) {
            if (!strcmp(args->names[i], "caller"))
                scope_set(in, s, "caller", args->named[i]);
            else
                tv_dict_set(in, kwargs.u.dict, tv_borrow(args->names[i], strlen(args->names[i])), args->named[i]);
        } else if (k < args->n) {
            interp_fail(in, MUGA_E_INPUT, "macro '%s' got two values for '%s'", def->name, args->names[i]);
        } else {
            scope_set(in, s, def->names[k], args->named[i]);
            given[k] = true;
        }
    }
    for (size_t k = args->n; k < def->n_keys; k++)
        if (!given[k])
            scope_set(in, s, def->names[k], def->keys[k] ? interp_eval(in, def->keys[k]) : tv_undefined(def->names[k]));
    scope_set(in, s, "varargs", varargs);
    scope_set(in, s, "kwargs", kwargs);
}

static tv exec_captured(interp *in, const node *body) {
    str captured, *outer = in->out;
    str_init(&captured, in->limits.output_bytes);
    in->out = &captured;
    interp_exec(in, body);
    in->out = outer;
    return tv_from_str(in, &captured);
}

static tv call_macro(interp *in, const tv_macro *m, const call_args *args) {
    scope *outer = in->scope;
    int64_t loop_depth = in->loop_depth;
    if (!interp_enter(in))
        return TV_UNDEF;
    in->scope = scope_push(in, m->closure);
    tv result = TV_UNDEF;
    if (in->scope) {
        if (m->has_caller)
            scope_set(in, in->scope, "caller", m->caller);
        macro_bind(in, m->def, args);
        in->loop_depth = 0;
        result = exec_captured(in, m->def->d);
    }
    in->scope = outer;
    in->loop_depth = loop_depth;
    in->depth--;
    return result;
}

tv interp_call(interp *in, tv callee, const call_args *args) {
    if (interp_failed(in))
        return TV_UNDEF;
    switch (callee.kind) {
    case TV_MACRO: return call_macro(in, callee.u.macro, args);
    case TV_FUNCTION: return template_function_call(in, callee.u.function, args);
    case TV_METHOD: return template_method_call(in, callee.u.method, args);
    case TV_UNDEFINED: return interp_fail(in, MUGA_E_INPUT, "'%s' is undefined", callee.u.s ? callee.u.s : "function");
    default: return interp_fail(in, MUGA_E_INPUT, "'%s' object is not callable", tv_kind_name(callee));
    }
}

/* ---- operators ---- */

static tv integer_power(interp *in, tv a, tv b) {
    if (b.kind != TV_INT || b.u.i < 0 || !tv_is_number(a))
        return interp_fail(in, MUGA_E_INPUT, "** is supported for exponents that are integers from 0 up");
    if (a.kind == TV_FLOAT) {
        double r = 1;
        for (int64_t i = 0; i < b.u.i && interp_charge(in, 1); i++)
            r *= a.u.d;
        return tv_float(r);
    }
    int64_t r = 1, base = a.kind == TV_INT ? a.u.i : a.u.b;
    for (int64_t i = 0; i < b.u.i && interp_charge(in, 1); i++)
        if (__builtin_mul_overflow(r, base, &r))
            return interp_fail(in, MUGA_E_INPUT, "integer overflow in **");
    return tv_int(r);
}

static double floor_double(double x) {
    if (x >= 9007199254740992.0 || x <= -9007199254740992.0 || x != x)
        return x;
    double t = (double)(int64_t)x;
    return t > x ? t - 1 : t;
}

static tv arithmetic(interp *in, int op, tv a, tv b) {
    if (op == T_POW)
        return integer_power(in, a, b);
    bool real = a.kind == TV_FLOAT || b.kind == TV_FLOAT || op == T_DIV;
    if ((op == T_DIV || op == T_FLOORDIV || op == T_MOD) && tv_number(b) == 0)
        return interp_fail(in, MUGA_E_INPUT, "division by zero");
    if (real) {
        double x = tv_number(a), y = tv_number(b);
        switch (op) {
        case T_ADD: return tv_float(x + y);
        case T_SUB: return tv_float(x - y);
        case T_MUL: return tv_float(x * y);
        case T_DIV: return tv_float(x / y);
        case T_FLOORDIV: return tv_float(floor_double(x / y));
        default: return tv_float(x - y * floor_double(x / y));
        }
    }
    int64_t x = a.kind == TV_BOOL ? a.u.b : a.u.i, y = b.kind == TV_BOOL ? b.u.b : b.u.i, r;
    bool overflow;
    if (op == T_FLOORDIV || op == T_MOD) {
        if (x == INT64_MIN && y == -1)
            return interp_fail(in, MUGA_E_INPUT, "integer overflow");
        int64_t q = x / y, m = x % y;
        if (m && (m < 0) != (y < 0)) {
            q--;
            m += y;
        }
        return tv_int(op == T_MOD ? m : q);
    }
    overflow = op == T_ADD   ? __builtin_add_overflow(x, y, &r)
               : op == T_SUB ? __builtin_sub_overflow(x, y, &r)
                             : __builtin_mul_overflow(x, y, &r);
    return overflow ? interp_fail(in, MUGA_E_INPUT, "integer overflow") : tv_int(r);
}

static tv join_texts(interp *in, tv a, tv b) {
    size_t n = (size_t)a.n_str + b.n_str;
    char *p = n > UINT32_MAX ? NULL : interp_alloc(in, n + 1);
    if (!p)
        return interp_fail(in, MUGA_E_LIMIT, "a string is longer than 4 GiB");
    memcpy(p, a.u.s, a.n_str);
    memcpy(p + a.n_str, b.u.s, b.n_str);
    return tv_borrow(p, n);
}

static tv join_lists(interp *in, tv a, tv b) {
    tv list = tv_list_new(in, a.kind, a.u.list->n + b.u.list->n);
    if (interp_failed(in))
        return TV_UNDEF;
    memcpy(list.u.list->v, a.u.list->v, a.u.list->n * sizeof(tv));
    memcpy(list.u.list->v + a.u.list->n, b.u.list->v, b.u.list->n * sizeof(tv));
    return list;
}

static tv repeat(interp *in, tv a, int64_t times) {
    size_t n = a.kind == TV_STRING ? a.n_str : a.u.list->n * sizeof(tv), total;
    if (times < 0)
        times = 0;
    if (!size_mul(n, (size_t)times, &total) || (in->limits.memory_bytes && total > in->limits.memory_bytes))
        return interp_fail(in, MUGA_E_LIMIT, "values take more than %zu bytes", in->limits.memory_bytes);
    char *p = interp_alloc(in, total + 1);
    if (!p)
        return TV_UNDEF;
    for (int64_t i = 0; i < times && n; i++)
        memcpy(p + (size_t)i * n, a.kind == TV_STRING ? (const void *)a.u.s : a.u.list->v, n);
    if (a.kind == TV_STRING)
        return tv_text(in, p, total);
    tv list = tv_list_new(in, a.kind, total / sizeof(tv));
    if (!interp_failed(in))
        memcpy(list.u.list->v, p, total);
    return list;
}

static tv eval_binary(interp *in, const node *n) {
    tv a = interp_eval(in, n->a), b = interp_eval(in, n->b);
    if (interp_failed(in))
        return TV_UNDEF;
    if (a.kind == TV_UNDEFINED || b.kind == TV_UNDEFINED) {
        tv u = a.kind == TV_UNDEFINED ? a : b;
        return interp_fail(in, MUGA_E_INPUT, "'%s' is undefined", u.u.s ? u.u.s : "operand");
    }
    if (tv_is_number(a) && tv_is_number(b))
        return arithmetic(in, n->op, a, b);
    bool sequence_a = a.kind == TV_STRING || a.kind == TV_LIST || a.kind == TV_TUPLE;
    if (n->op == T_ADD && a.kind == TV_STRING && b.kind == TV_STRING)
        return join_texts(in, a, b);
    if (n->op == T_ADD && a.kind == b.kind && sequence_a)
        return join_lists(in, a, b);
    if (n->op == T_MUL && sequence_a && (b.kind == TV_INT || b.kind == TV_BOOL))
        return repeat(in, a, (int64_t)tv_number(b));
    if (n->op == T_MUL && a.kind == TV_INT && (b.kind == TV_STRING || b.kind == TV_LIST))
        return repeat(in, b, a.u.i);
    if (n->op == T_MOD && a.kind == TV_STRING)
        return template_filter(
            in, "format", a,
            &(call_args){.v = b.kind == TV_TUPLE ? b.u.list->v : &b, .n = b.kind == TV_TUPLE ? b.u.list->n : 1});
    if (n->op == T_ADD && a.kind == TV_STRING)
        return interp_fail(in, MUGA_E_INPUT, "can only concatenate str (not \"%s\") to str", tv_kind_name(b));
    return interp_fail(in, MUGA_E_INPUT, "unsupported operand types: '%s' and '%s'", tv_kind_name(a), tv_kind_name(b));
}

static bool compare_pair(interp *in, int op, tv a, tv b) {
    switch (op) {
    case T_EQ: return tv_equal(in, a, b);
    case T_NE: return !tv_equal(in, a, b);
    case T_IN: return tv_contains(in, b, a);
    case T_NOT_IN: return !tv_contains(in, b, a);
    case T_LT: return tv_compare(in, a, b) < 0;
    case T_LE: return tv_compare(in, a, b) <= 0;
    case T_GT: return tv_compare(in, a, b) > 0;
    default: return tv_compare(in, a, b) >= 0;
    }
}

static tv eval_comparison(interp *in, const node *n) {
    tv left = interp_eval(in, n->items[0]);
    for (size_t i = 1; i < n->n_items && !interp_failed(in); i++) {
        tv right = interp_eval(in, n->items[i]);
        if (interp_failed(in))
            return TV_UNDEF;
        bool ordered = left.kind == TV_FLOAT && left.u.d != left.u.d ? false : true;
        if (!ordered && n->ops[i - 1] != T_NE && n->ops[i - 1] != T_IN && n->ops[i - 1] != T_NOT_IN)
            return tv_bool(false);
        if (!compare_pair(in, n->ops[i - 1], left, right))
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
        tv key = interp_eval(in, n->keys[i]);
        if (key.kind == TV_LIST || key.kind == TV_DICT || key.kind == TV_UNDEFINED)
            return interp_fail(in, MUGA_E_INPUT, "unhashable key of type '%s'", tv_kind_name(key));
        tv value = interp_eval(in, n->items[i]);
        if (!interp_failed(in))
            tv_dict_set(in, dict.u.dict, key, value);
    }
    return dict;
}

static tv eval_concat(interp *in, const node *n) {
    str s;
    str_init(&s, in->limits.memory_bytes);
    for (size_t i = 0; i < n->n_items && !interp_failed(in); i++)
        tv_write(in, interp_eval(in, n->items[i]), &s);
    return tv_from_str(in, &s);
}

/* The last value that decided, as Python's and/or give it. */
static tv eval_logic(interp *in, const node *n) {
    tv v = TV_UNDEF;
    for (size_t i = 0; i < n->n_items && !interp_failed(in); i++) {
        v = interp_eval(in, n->items[i]);
        if (tv_truth(v) == (n->kind == N_OR))
            break;
    }
    return v;
}

static tv eval_sign(interp *in, const node *n) {
    tv v = interp_eval(in, n->a);
    if (interp_failed(in))
        return v;
    if (!tv_is_number(v))
        return interp_fail(in, MUGA_E_INPUT, "bad operand type for unary sign: '%s'", tv_kind_name(v));
    if (v.kind == TV_FLOAT)
        return tv_float(n->kind == N_NEG ? -v.u.d : v.u.d);
    int64_t i = v.kind == TV_BOOL ? v.u.b : v.u.i;
    if (n->kind == N_NEG && i == INT64_MIN)
        return interp_fail(in, MUGA_E_INPUT, "integer overflow");
    return tv_int(n->kind == N_NEG ? -i : i);
}

static tv apply_filters(interp *in, const node *n, tv innermost) {
    call_args args = {0};
    tv input = n->a ? (n->a->kind == N_FILTER ? apply_filters(in, n->a, innermost) : interp_eval(in, n->a)) : innermost;
    if (interp_failed(in) || !eval_args(in, n, &args))
        return TV_UNDEF;
    in->line = n->line;
    return template_filter(in, n->name, input, &args);
}

static tv eval_call(interp *in, const node *n) {
    call_args args = {0};
    if (!in->calls_allowed)
        return interp_fail(in, MUGA_E_INPUT, "calls are not allowed in this expression");
    tv callee = interp_eval(in, n->a);
    if (interp_failed(in) || !eval_args(in, n, &args))
        return TV_UNDEF;
    in->line = n->line;
    return interp_call(in, callee, &args);
}

static tv eval_test(interp *in, const node *n) {
    call_args args = {0};
    tv input = interp_eval(in, n->a);
    if (interp_failed(in) || !eval_args(in, n, &args))
        return TV_UNDEF;
    return tv_bool(template_test(in, n->name, input, &args) != (n->op == 1));
}

static tv eval_node(interp *in, const node *n) {
    tv a;
    switch (n->kind) {
    case N_CONST: return n->value;
    case N_NAME: return scope_get(in, n->name);
    case N_ATTR: a = interp_eval(in, n->a); return interp_failed(in) ? a : interp_get_attr(in, a, n->name);
    case N_ITEM: {
        a = interp_eval(in, n->a);
        tv key = interp_eval(in, n->b);
        return interp_failed(in) ? a : interp_get_item(in, a, key);
    }
    case N_SLICE: {
        a = interp_eval(in, n->a);
        tv from = n->b ? interp_eval(in, n->b) : TV_NULL, to = n->c ? interp_eval(in, n->c) : TV_NULL;
        tv step = n->d ? interp_eval(in, n->d) : TV_NULL;
        return interp_failed(in) ? a : tv_slice(in, a, from, to, step);
    }
    case N_CALL: return eval_call(in, n);
    case N_FILTER: return apply_filters(in, n, TV_UNDEF);
    case N_TEST: return eval_test(in, n);
    case N_LIST: return eval_sequence(in, n, TV_LIST);
    case N_TUPLE: return eval_sequence(in, n, TV_TUPLE);
    case N_DICT: return eval_dict(in, n);
    case N_NOT: return tv_bool(!tv_truth(interp_eval(in, n->a)));
    case N_NEG:
    case N_POS: return eval_sign(in, n);
    case N_BINARY: return eval_binary(in, n);
    case N_COMPARE: return eval_comparison(in, n);
    case N_AND:
    case N_OR: return eval_logic(in, n);
    case N_CONCAT: return eval_concat(in, n);
    case N_COND:
        if (tv_truth(interp_eval(in, n->a)))
            return interp_eval(in, n->b);
        return n->c ? interp_eval(in, n->c) : tv_undefined("inline if without else");
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

/* ---- statements ---- */

/* Elements that pass the loop's own "if". The condition sees the target, not the loop variable. */
static bool filter_items(interp *in, const node *n, tv_list *items) {
    tv kept = tv_list_new(in, TV_LIST, items->n);
    scope *outer = in->scope;
    size_t k = 0;
    for (size_t i = 0; i < items->n && !interp_failed(in); i++) {
        in->scope = scope_push(in, outer);
        if (!in->scope)
            break;
        assign(in, n->a, items->v[i]);
        if (tv_truth(interp_eval(in, n->c)) && !interp_failed(in))
            kept.u.list->v[k++] = items->v[i];
    }
    in->scope = outer;
    if (interp_failed(in))
        return false;
    *items = (tv_list){k, kept.u.list->v};
    return true;
}

static void exec_for(interp *in, const node *n) {
    tv_list items;
    tv iterable = interp_eval(in, n->b);
    if (interp_failed(in) || !tv_iterate(in, iterable, &items) || (n->c && !filter_items(in, n, &items)))
        return;
    scope *outer = in->scope;
    tv_loop *loop = interp_alloc(in, sizeof *loop);
    if (!loop)
        return;
    *loop = (tv_loop){0, (int64_t)items.n, ++in->loop_depth, items.v};
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        in->scope = scope_push(in, outer);
        if (!in->scope)
            break;
        loop->i = (int64_t)i;
        scope_set(in, in->scope, "loop", (tv){.kind = TV_LOOP, .u.loop = loop});
        assign(in, n->a, items.v[i]);
        interp_exec(in, n->d);
        int control = in->loop_control;
        in->loop_control = 0;
        if (control == N_BREAK)
            break;
    }
    in->scope = outer;
    in->loop_depth--;
    if (items.n == 0 && n->n_items)
        interp_exec(in, n->items[0]);
}

static void exec_if(interp *in, const node *n) {
    for (size_t i = 0; i + 1 < n->n_items; i += 2) {
        bool yes = tv_truth(interp_eval(in, n->items[i]));
        if (interp_failed(in))
            return;
        if (yes) {
            interp_exec(in, n->items[i + 1]);
            return;
        }
    }
    if (n->c)
        interp_exec(in, n->c);
}

/* The body in a scope of its own, captured, through the filters of n->b. */
static tv exec_block_value(interp *in, const node *n) {
    scope *outer = in->scope;
    in->scope = scope_push(in, outer);
    tv text = in->scope ? exec_captured(in, n->c) : TV_UNDEF;
    in->scope = outer;
    return n->b && !interp_failed(in) ? apply_filters(in, n->b, text) : text;
}

static tv make_macro(interp *in, const node *n) {
    tv_macro *m = interp_alloc(in, sizeof *m);
    if (!m)
        return TV_UNDEF;
    *m = (tv_macro){.def = n, .closure = in->scope};
    return (tv){.kind = TV_MACRO, .u.macro = m};
}

static void exec_call_block(interp *in, const node *n) {
    call_args args = {0};
    tv caller = make_macro(in, n), callee = interp_eval(in, n->a->a);
    if (interp_failed(in) || !eval_args(in, n->a, &args))
        return;
    if (callee.kind != TV_MACRO) {
        interp_fail(in, MUGA_E_INPUT, "'call' needs a macro, not '%s'", tv_kind_name(callee));
        return;
    }
    tv_macro with_caller = *callee.u.macro;
    with_caller.has_caller = true;
    with_caller.caller = caller;
    tv_write(in, call_macro(in, &with_caller, &args), in->out);
}

static void exec_with(interp *in, const node *n) {
    scope *outer = in->scope, *inner = scope_push(in, outer);
    for (size_t i = 0; inner && i < n->n_keys; i++)
        scope_set(in, inner, n->names[i], interp_eval(in, n->keys[i]));
    if (interp_failed(in))
        return;
    in->scope = inner;
    interp_exec(in, n->d);
    in->scope = outer;
}

static void check_output(interp *in) {
    if (in->out->failed && !interp_failed(in)) {
        muga_error e;
        muga_status st = str_status(in->out, &e, "template output");
        interp_fail(in, st, "%s", e.message);
    }
}

static void exec_body(interp *in, const node *n) {
    for (size_t i = 0; i < n->n_items && !interp_failed(in) && !in->loop_control; i++)
        interp_exec(in, n->items[i]);
}

static void exec_node(interp *in, const node *n) {
    switch (n->kind) {
    case N_BODY: exec_body(in, n); break;
    case N_DATA:
        tv_write(in, n->value, in->out);
        check_output(in);
        break;
    case N_OUTPUT: {
        tv v = interp_eval(in, n->a);
        if (!interp_failed(in))
            tv_write(in, v, in->out);
        check_output(in);
        break;
    }
    case N_IF: exec_if(in, n); break;
    case N_FOR: exec_for(in, n); break;
    case N_SET: assign(in, n->a, interp_eval(in, n->b)); break;
    case N_SET_BLOCK: assign(in, n->a, exec_block_value(in, n)); break;
    case N_FILTER_BLOCK:
        tv_write(in, exec_block_value(in, n), in->out);
        check_output(in);
        break;
    case N_MACRO: scope_set(in, in->scope, n->name, make_macro(in, n)); break;
    case N_CALL_BLOCK:
        exec_call_block(in, n);
        check_output(in);
        break;
    case N_WITH: exec_with(in, n); break;
    case N_BREAK:
    case N_CONTINUE: in->loop_control = (int)n->kind; break;
    default: interp_fail(in, MUGA_E_INTERNAL, "expression where a statement was expected");
    }
}

void interp_exec(interp *in, const node *n) {
    if (!interp_charge(in, 1) || !interp_enter(in))
        return;
    in->line = n->line;
    exec_node(in, n);
    in->depth--;
}
