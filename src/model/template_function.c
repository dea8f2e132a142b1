/* Global functions of the template language, and its tests. Refuses lipsum, which writes random text.
 * Source: the Jinja template designer documentation ("List of Global Functions", "List of Builtin Tests"), and the
 * functions that transformers adds (raise_exception, strftime_now). */
#include "model/template_internal.h"

#include <math.h>
#include <time.h>

#define MAX_RANGE 100000 /* elements, as in Jinja's sandbox */

/* ---- functions ---- */

/* dict(mapping or pairs, name=value...) */
static tv fn_dict(interp *in, const call_args *a) {
    tv d = tv_dict_new(in, a->n_named), source = a->n ? a->v[0] : TV_NULL;
    tv_list items = {0};
    if (a->n > 1)
        return interp_fail(in, MUGA_E_INPUT, "dict takes one mapping and named values");
    if (interp_failed(in) || (a->n && source.kind != TV_NAMESPACE && !tv_iterate(in, source, &items)))
        return TV_UNDEF;
    for (size_t i = 0; i < items.n && !interp_failed(in); i++) {
        tv_list pair;
        if (source.kind == TV_DICT) {
            tv_dict_set(in, d.u.dict, source.u.dict->keys[i], source.u.dict->values[i]);
            continue;
        }
        if (!tv_iterate(in, items.v[i], &pair))
            return TV_UNDEF;
        if (pair.n != 2 || !tv_hashable(pair.v[0]))
            return interp_fail(in, MUGA_E_INPUT, "dict: element %zu is not a pair of a key and a value", i);
        tv_dict_set(in, d.u.dict, pair.v[0], pair.v[1]);
    }
    for (size_t i = 0; i < a->n_named && !interp_failed(in); i++)
        tv_dict_set(in, d.u.dict, tv_literal(a->names[i]), a->named[i]);
    return d;
}

static tv fn_namespace(interp *in, const call_args *a) {
    tv ns = fn_dict(in, a);
    if (!interp_failed(in))
        ns.kind = TV_NAMESPACE;
    return ns;
}

static tv fn_raise(interp *in, const call_args *a) {
    tv message;
    if (!template_bind(in, "raise_exception", "message", 1, a, &message))
        return TV_UNDEF;
    message = tv_to_text(in, message);
    if (interp_failed(in) || !interp_charge_mapping(in, message.n_str))
        return TV_UNDEF;
    if (in->raised)
        str_append(in->raised, message.u.s, message.n_str);
    in->status = error_set(in->err, MUGA_E_INPUT, "template: raised: %.*s", (int)MIN(message.n_str, 200u), message.u.s);
    return TV_UNDEF;
}

static tv fn_range(interp *in, const call_args *a) {
    int64_t part[3] = {0, 0, 1};
    if (a->n == 0 || a->n > 3 || a->n_named)
        return interp_fail(in, MUGA_E_INPUT, "range takes one to three integers");
    for (size_t i = 0; i < a->n; i++) {
        if (!tv_is_integer(a->v[i]))
            return interp_fail(in, MUGA_E_INPUT, "'%s' object cannot be interpreted as an integer",
                               tv_kind_name(a->v[i]));
        part[a->n == 1 ? 1 : i] = tv_integer(a->v[i]);
    }
    int64_t from = part[0], to = part[1], by = part[2];
    if (by == 0)
        return interp_fail(in, MUGA_E_INPUT, "range() arg 3 must not be zero");
    uint64_t distance = by > 0 ? (to > from ? (uint64_t)to - (uint64_t)from : 0)
                               : (from > to ? (uint64_t)from - (uint64_t)to : 0);
    uint64_t step = by > 0 ? (uint64_t)by : 0 - (uint64_t)by, n = distance / step + (distance % step != 0);
    if (n > MAX_RANGE)
        return interp_fail(in, MUGA_E_LIMIT, "range of %llu is longer than %d", (unsigned long long)n, MAX_RANGE);
    tv_range *r = interp_alloc(in, sizeof *r);
    if (!r)
        return TV_UNDEF;
    *r = (tv_range){from, to, by, (int64_t)n};
    return (tv){.kind = TV_RANGE, .u.range = r};
}

/* What strftime does not know or would take from the machine: microseconds and the zone of a time without one. */
static bool expand_directive(char c, str *out) {
    if (c == 'f')
        str_append_s(out, "000000");
    return c == 'f' || c == 'z' || c == 'Z';
}

static tv fn_strftime_now(interp *in, const call_args *a) {
    static const char allowed[] = "aAbBcCdDeFgGhHIjklmMnpPrRStTuUVwWxXyY%";
    tv f;
    if (!template_bind(in, "strftime_now", "format", 1, a, &f))
        return TV_UNDEF;
    if (f.kind != TV_STRING || f.n_str > 200)
        return interp_fail(in, MUGA_E_INPUT, "strftime_now needs a format of at most 200 bytes");
    time_t seconds = (time_t)(in->now_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return interp_fail(in, MUGA_E_INPUT, "strftime_now: the time is out of range");
    str out;
    str_init(&out, 4096);
    interp_charge(in, 16);
    for (size_t i = 0; i < f.n_str && !interp_failed(in); i++) {
        char directive[4] = "%", text[64];
        size_t k = 1;
        if (f.u.s[i] != '%') {
            str_append_c(&out, f.u.s[i]);
            continue;
        }
        if (i + 1 < f.n_str && f.u.s[i + 1] && strchr("-_0^#", f.u.s[i + 1]))
            directive[k++] = f.u.s[++i];
        char c = i + 1 < f.n_str ? f.u.s[++i] : 0;
        directive[k] = c;
        if (k == 1 && expand_directive(c, &out))
            continue;
        if (!c || !strchr(allowed, c))
            interp_fail(in, MUGA_E_INPUT, "strftime_now: conversion %%%c is not supported", c ? c : ' ');
        else if (interp_charge(in, 16))
            str_append(&out, text, strftime(text, sizeof text, directive, &tm));
    }
    return tv_from_str(in, &out);
}

static tv fn_cycler(interp *in, const call_args *a) {
    if (a->n == 0 || a->n_named)
        return interp_fail(in, MUGA_E_INPUT, "cycler: at least one item has to be provided");
    tv c = tv_list_new(in, TV_CYCLER, a->n);
    if (!interp_failed(in))
        memcpy(c.u.list->v, a->v, a->n * sizeof(tv));
    return c;
}

static tv fn_joiner(interp *in, const call_args *a) {
    tv separator, j = tv_list_new(in, TV_JOINER, 1);
    if (interp_failed(in) || !template_bind(in, "joiner", "sep", 0, a, &separator))
        return TV_UNDEF;
    j.u.list->v[0] = separator.kind == TV_MISSING ? tv_literal(", ") : separator;
    return j;
}

static tv fn_lipsum(interp *in, const call_args *a) {
    (void)a;
    return interp_fail(in, MUGA_E_INPUT, "lipsum is not supported: it writes random text");
}

static const struct {
    const char *name, *repr;
    tv (*call)(interp *, const call_args *);
} functions[] = {{"namespace", "<class 'jinja2.utils.Namespace'>", fn_namespace},
                 {"dict", "<class 'dict'>", fn_dict},
                 {"raise_exception", "<function raise_exception>", fn_raise},
                 {"range", "<class 'range'>", fn_range},
                 {"strftime_now", "<function strftime_now>", fn_strftime_now},
                 {"cycler", "<class 'jinja2.utils.Cycler'>", fn_cycler},
                 {"joiner", "<class 'jinja2.utils.Joiner'>", fn_joiner},
                 {"lipsum", "<function lipsum>", fn_lipsum}};

int template_function_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (!strcmp(functions[i].name, name))
            return (int)i;
    return -1;
}

const char *template_function_repr(int function) {
    return functions[function].repr;
}

tv template_function_call(interp *in, int function, const call_args *args) {
    return functions[function].call(in, args);
}

/* ---- tests ---- */

static bool is_kind(interp *in, tv v, const char *name) {
    (void)in;
    static const struct {
        const char *name;
        tv_kind kind;
    } table[] = {{"undefined", TV_UNDEFINED}, {"none", TV_NONE},     {"boolean", TV_BOOL}, {"integer", TV_INT},
                 {"float", TV_FLOAT},         {"string", TV_STRING}, {"mapping", TV_DICT}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (!strcmp(table[i].name, name))
            return (tv_kind)v.kind == table[i].kind;
    return false;
}

/* value % divisor == rest, with Python's remainder. */
static bool has_rest(interp *in, tv v, tv divisor, double rest) {
    if (v.kind == TV_STRING) /* "%" formats a string */
        return (void)interp_binary(in, T_MOD, v, divisor), false;
    tv r = interp_binary(in, T_MOD, v, divisor);
    return !interp_failed(in) && tv_number(r) == rest;
}

static bool is_sequence(tv v) {
    return v.kind == TV_STRING || v.kind == TV_LIST || v.kind == TV_TUPLE || v.kind == TV_DICT || v.kind == TV_RANGE ||
           v.kind == TV_UNDEFINED;
}

static bool is_callable(tv v) {
    return v.kind == TV_UNDEFINED || v.kind == TV_MACRO || v.kind == TV_FUNCTION || v.kind == TV_METHOD ||
           v.kind == TV_JOINER || v.kind == TV_LOOP;
}

/* The same object, as far as values without an identity can tell. */
static bool is_same(interp *in, tv a, tv b) {
    if (a.kind != b.kind)
        return false;
    if (a.kind >= TV_LIST && a.kind != TV_FUNCTION)
        return a.u.list == b.u.list;
    return tv_equal(in, a, b);
}

static bool named_exists(tv v, int (*find)(const char *)) {
    char name[64];
    if (v.kind != TV_STRING || v.n_str >= sizeof name)
        return false;
    memcpy(name, v.u.s, v.n_str);
    name[v.n_str] = 0;
    return find(name) >= 0;
}

static bool test_case(interp *in, tv v, bool upper) {
    tv text = tv_to_text(in, v);
    return !interp_failed(in) && interp_charge_mapping(in, text.n_str) && template_text_is_cased(text, upper);
}

typedef enum {
    TEST_KIND,
    TEST_DEFINED,
    TEST_NUMBER,
    TEST_TRUE,
    TEST_FALSE,
    TEST_SEQUENCE,
    TEST_ITERABLE,
    TEST_CALLABLE,
    TEST_SAME,
    TEST_ESCAPED,
    TEST_ODD,
    TEST_EVEN,
    TEST_DIVISIBLE,
    TEST_UPPER,
    TEST_LOWER,
    TEST_FILTER,
    TEST_TEST,
    TEST_IN,
    TEST_COMPARE
} test_id;

static const struct {
    const char *name;
    test_id id;
    int n_args, op;
} tests[] = {{"defined", TEST_DEFINED, 0, 0},
             {"undefined", TEST_KIND, 0, 0},
             {"none", TEST_KIND, 0, 0},
             {"boolean", TEST_KIND, 0, 0},
             {"integer", TEST_KIND, 0, 0},
             {"float", TEST_KIND, 0, 0},
             {"string", TEST_KIND, 0, 0},
             {"mapping", TEST_KIND, 0, 0},
             {"number", TEST_NUMBER, 0, 0},
             {"true", TEST_TRUE, 0, 0},
             {"false", TEST_FALSE, 0, 0},
             {"sequence", TEST_SEQUENCE, 0, 0},
             {"iterable", TEST_ITERABLE, 0, 0},
             {"callable", TEST_CALLABLE, 0, 0},
             {"escaped", TEST_ESCAPED, 0, 0},
             {"odd", TEST_ODD, 0, 0},
             {"even", TEST_EVEN, 0, 0},
             {"upper", TEST_UPPER, 0, 0},
             {"lower", TEST_LOWER, 0, 0},
             {"filter", TEST_FILTER, 0, 0},
             {"test", TEST_TEST, 0, 0},
             {"sameas", TEST_SAME, 1, 0},
             {"divisibleby", TEST_DIVISIBLE, 1, 0},
             {"in", TEST_IN, 1, T_IN},
             {"==", TEST_COMPARE, 1, T_EQ},
             {"eq", TEST_COMPARE, 1, T_EQ},
             {"equalto", TEST_COMPARE, 1, T_EQ},
             {"!=", TEST_COMPARE, 1, T_NE},
             {"ne", TEST_COMPARE, 1, T_NE},
             {">", TEST_COMPARE, 1, T_GT},
             {"gt", TEST_COMPARE, 1, T_GT},
             {"greaterthan", TEST_COMPARE, 1, T_GT},
             {">=", TEST_COMPARE, 1, T_GE},
             {"ge", TEST_COMPARE, 1, T_GE},
             {"<", TEST_COMPARE, 1, T_LT},
             {"lt", TEST_COMPARE, 1, T_LT},
             {"lessthan", TEST_COMPARE, 1, T_LT},
             {"<=", TEST_COMPARE, 1, T_LE},
             {"le", TEST_COMPARE, 1, T_LE}};

int template_test_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        if (!strcmp(tests[i].name, name))
            return (int)i;
    return -1;
}

static const char *test_parameter(test_id id) {
    return id == TEST_SAME ? "other" : id == TEST_DIVISIBLE ? "num" : id == TEST_IN ? "seq" : "b";
}

bool template_test(interp *in, int index, tv v, const call_args *args) {
    tv other = TV_NULL;
    test_id id = tests[index].id;
    size_t n = (size_t)tests[index].n_args;
    if (!template_bind(in, tests[index].name, n ? test_parameter(id) : "", n, args, &other))
        return false;
    switch (id) {
    case TEST_KIND: return is_kind(in, v, tests[index].name);
    case TEST_DEFINED: return v.kind != TV_UNDEFINED;
    case TEST_NUMBER: return tv_is_number(v);
    case TEST_TRUE: return v.kind == TV_BOOL && v.u.b;
    case TEST_FALSE: return v.kind == TV_BOOL && !v.u.b;
    case TEST_SEQUENCE: return is_sequence(v);
    case TEST_ITERABLE: return tv_is_iterable(v);
    case TEST_CALLABLE: return is_callable(v);
    case TEST_SAME: return is_same(in, v, other);
    case TEST_ESCAPED: return v.kind == TV_STRING && v.form == FORM_SAFE;
    case TEST_ODD: return has_rest(in, v, tv_int(2), 1);
    case TEST_EVEN: return has_rest(in, v, tv_int(2), 0);
    case TEST_DIVISIBLE: return has_rest(in, v, other, 0);
    case TEST_UPPER: return test_case(in, v, true);
    case TEST_LOWER: return test_case(in, v, false);
    case TEST_FILTER: return named_exists(v, template_filter_find);
    case TEST_TEST: return named_exists(v, template_test_find);
    default: return interp_compare(in, tests[index].op, v, other);
    }
}

bool template_test_by_name(interp *in, tv name, tv input, const call_args *args) {
    char text[64] = "";
    if (name.kind == TV_STRING && name.n_str < sizeof text)
        memcpy(text, name.u.s, name.n_str);
    int index = template_test_find(text);
    if (index >= 0 && interp_charge(in, TEMPLATE_STEPS_NAMED))
        return template_test(in, index, input, args);
    interp_fail(in, MUGA_E_INPUT, "no test named '%.60s'", text);
    return false;
}
