/* Operators of the template language: arithmetic, concatenation, comparison. Semantics are Python's, but integers have
 * 64 bits: beyond them is an error by name. */
#include "model/template_internal.h"

#include <math.h>

/* ---- arithmetic ---- */

static tv overflow(interp *in) {
    return interp_fail(in, MUGA_E_INPUT, "integer overflow: a result is beyond 64 bits");
}

static tv float_power(interp *in, double a, double b) {
    if (a == 0 && b < 0)
        return interp_fail(in, MUGA_E_INPUT, "zero cannot be raised to a negative power");
    if (a < 0 && b != floor(b))
        return interp_fail(in, MUGA_E_INPUT, "a negative number to a fractional power is not supported");
    double r = pow(a, b);
    if (isinf(r) && !isinf(a) && !isinf(b))
        return interp_fail(in, MUGA_E_INPUT, "numerical result out of range");
    return tv_float(r);
}

static tv power(interp *in, tv a, tv b) {
    if (a.kind == TV_FLOAT || b.kind == TV_FLOAT || tv_integer(b) < 0)
        return float_power(in, tv_number(a), tv_number(b));
    int64_t r = 1, base = tv_integer(a), e = tv_integer(b);
    while (e > 0) {
        if ((e & 1) && __builtin_mul_overflow(r, base, &r))
            return overflow(in);
        e >>= 1;
        if (e && __builtin_mul_overflow(base, base, &base))
            return overflow(in);
    }
    return tv_int(r);
}

/* Python's float divmod: the remainder has the divisor's sign. */
static tv float_division(int op, double x, double y) {
    double mod = fmod(x, y), div = (x - mod) / y;
    if (mod != 0) {
        if ((y < 0) != (mod < 0)) {
            mod += y;
            div -= 1;
        }
    } else {
        mod = copysign(0.0, y);
    }
    if (op == T_MOD)
        return tv_float(mod);
    if (div == 0)
        return tv_float(copysign(0.0, x / y));
    double whole = floor(div);
    return tv_float(div - whole > 0.5 ? whole + 1 : whole);
}

static tv float_arithmetic(interp *in, int op, double x, double y) {
    static const int bits = 32; /* of the quotient that fmod's long division makes for a step */
    switch (op) {
    case T_ADD: return tv_float(x + y);
    case T_SUB: return tv_float(x - y);
    case T_MUL: return tv_float(x * y);
    default:
        if (y == 0)
            return interp_fail(in, MUGA_E_INPUT, "division by zero");
        if (op == T_DIV)
            return tv_float(x / y);
        if (isfinite(x) && isfinite(y) && x != 0)
            interp_charge(in, 1 + (uint64_t)MAX(ilogb(x) - ilogb(y), 0) / bits);
        return float_division(op, x, y);
    }
}

static tv integer_division(interp *in, int op, int64_t x, int64_t y) {
    if (y == 0)
        return interp_fail(in, MUGA_E_INPUT, "division by zero");
    if (x == INT64_MIN && y == -1)
        return op == T_MOD ? tv_int(0) : overflow(in);
    int64_t q = x / y, m = x % y;
    if (m && (m < 0) != (y < 0)) {
        q--;
        m += y;
    }
    return tv_int(op == T_MOD ? m : q);
}

static tv arithmetic(interp *in, int op, tv a, tv b) {
    if (op == T_POW)
        return power(in, a, b);
    if (a.kind == TV_FLOAT || b.kind == TV_FLOAT || op == T_DIV)
        return float_arithmetic(in, op, tv_number(a), tv_number(b));
    int64_t x = tv_integer(a), y = tv_integer(b), r;
    if (op == T_FLOORDIV || op == T_MOD)
        return integer_division(in, op, x, y);
    bool over = op == T_ADD   ? __builtin_add_overflow(x, y, &r)
                : op == T_SUB ? __builtin_sub_overflow(x, y, &r)
                              : __builtin_mul_overflow(x, y, &r);
    return over ? overflow(in) : tv_int(r);
}

tv interp_sign(interp *in, bool negative, tv v) {
    if (interp_failed(in))
        return v;
    if (v.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (!tv_is_number(v))
        return interp_fail(in, MUGA_E_INPUT, "bad operand type for unary %c: '%s'", negative ? '-' : '+',
                           tv_kind_name(v));
    if (v.kind == TV_FLOAT)
        return tv_float(negative ? -v.u.d : v.u.d);
    int64_t i = tv_integer(v);
    if (negative && i == INT64_MIN)
        return overflow(in);
    return tv_int(negative ? -i : i);
}

/* ---- sequences ---- */

/* Where one of the two is marked as markup, the other is escaped and the result is marked. */
static tv join_texts(interp *in, tv a, tv b) {
    uint8_t form = a.form == FORM_SAFE || b.form == FORM_SAFE ? FORM_SAFE : FORM_PLAIN;
    if (form == FORM_SAFE) {
        a = template_escape(in, a);
        b = template_escape(in, b);
    }
    size_t n = (size_t)a.n_str + b.n_str;
    if (n > UINT32_MAX)
        return interp_fail(in, MUGA_E_LIMIT, "a string is longer than 4 GiB");
    char *p = interp_has_room(in, n) ? interp_alloc(in, n + 1) : NULL;
    if (!p)
        return TV_UNDEF;
    memcpy(p, a.u.s, a.n_str);
    memcpy(p + a.n_str, b.u.s, b.n_str);
    return (tv){.kind = TV_STRING, .form = form, .n_str = (uint32_t)n, .u.s = p};
}

static tv join_lists(interp *in, tv a, tv b) {
    tv list = tv_list_new(in, (tv_kind)a.kind, a.u.list->n + b.u.list->n);
    if (interp_failed(in))
        return TV_UNDEF;
    if (a.u.list->n)
        memcpy(list.u.list->v, a.u.list->v, a.u.list->n * sizeof(tv));
    if (b.u.list->n)
        memcpy(list.u.list->v + a.u.list->n, b.u.list->v, b.u.list->n * sizeof(tv));
    return list;
}

/* The size is checked before anything is made: it comes from the template. */
static tv repeat(interp *in, tv a, int64_t times) {
    bool text = a.kind == TV_STRING;
    uint64_t unit = text ? a.n_str : a.u.list->n * sizeof(tv), total;
    times = MAX(times, 0);
    if (!u64_mul(unit, (uint64_t)times, &total))
        total = UINT64_MAX;
    if (!interp_has_room(in, total))
        return TV_UNDEF;
    if (!text) {
        size_t n = a.u.list->n;
        tv list = tv_list_new(in, (tv_kind)a.kind, n * (size_t)times);
        for (size_t i = 0; !interp_failed(in) && n && i < (size_t)times; i++)
            memcpy(list.u.list->v + i * n, a.u.list->v, n * sizeof(tv));
        return list;
    }
    char *p = interp_alloc(in, (size_t)total + 1);
    if (!p)
        return TV_UNDEF;
    for (size_t i = 0; i < (size_t)times && unit; i++)
        memcpy(p + i * (size_t)unit, a.u.s, (size_t)unit);
    return (tv){.kind = TV_STRING, .form = a.form, .n_str = (uint32_t)total, .u.s = p};
}

static bool is_sequence(tv v) {
    return v.kind == TV_STRING || v.kind == TV_LIST || v.kind == TV_TUPLE;
}

static const char *operator_name(int op) {
    switch (op) {
    case T_ADD: return "+";
    case T_SUB: return "-";
    case T_MUL: return "*";
    case T_DIV: return "/";
    case T_FLOORDIV: return "//";
    case T_MOD: return "%";
    default: return "** or pow()";
    }
}

tv interp_binary(interp *in, int op, tv a, tv b) {
    if (interp_failed(in))
        return TV_UNDEF;
    if (op == T_MOD && a.kind == TV_STRING)
        return template_percent(in, a, b, false);
    if (a.kind == TV_UNDEFINED || b.kind == TV_UNDEFINED)
        return interp_fail_undefined(in, a.kind == TV_UNDEFINED ? a : b);
    if (tv_is_number(a) && tv_is_number(b))
        return arithmetic(in, op, a, b);
    if (op == T_ADD && a.kind == TV_STRING && b.kind == TV_STRING)
        return join_texts(in, a, b);
    if (op == T_ADD && a.kind == b.kind && is_sequence(a))
        return join_lists(in, a, b);
    if (op == T_MUL && is_sequence(a) && tv_is_integer(b))
        return repeat(in, a, tv_integer(b));
    if (op == T_MUL && tv_is_integer(a) && is_sequence(b))
        return repeat(in, b, tv_integer(a));
    if (op == T_ADD && is_sequence(a))
        return interp_fail(in, MUGA_E_INPUT, "can only concatenate %s (not \"%s\") to %s", tv_kind_name(a),
                           tv_kind_name(b), tv_kind_name(a));
    return interp_fail(in, MUGA_E_INPUT, "unsupported operand type(s) for %s: '%s' and '%s'", operator_name(op),
                       tv_kind_name(a), tv_kind_name(b));
}

/* ---- comparison ---- */

/* No order holds between a number and one that is none. */
static bool ordered(interp *in, int op, tv a, tv b) {
    static const char *const names[] = {"<", "<=", ">", ">="};
    int c = tv_compare(in, a, b, names[op - T_LT]);
    if (interp_failed(in) || c == 2)
        return false;
    switch (op) {
    case T_LT: return c < 0;
    case T_LE: return c <= 0;
    case T_GT: return c > 0;
    default: return c >= 0;
    }
}

bool interp_compare(interp *in, int op, tv a, tv b) {
    if (interp_failed(in))
        return false;
    switch (op) {
    case T_EQ: return tv_equal(in, a, b);
    case T_NE: return !tv_equal(in, a, b);
    case T_IN: return tv_contains(in, b, a);
    case T_NOT_IN: return !tv_contains(in, b, a);
    default: return ordered(in, op, a, b);
    }
}
