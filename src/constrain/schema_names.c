/* What schemas say of strings alone, as automata: the keys of objects. Owns nothing. Refuses by name: references that
 * never end.
 * Idea: of a string every keyword, logic included, says something regular; so the schema is walked once and the
 * automata are combined as its keywords are. Where one of them is left to re-validation, all are. */
#include "constrain/front.h"

#define MAX_DEPTH 32

static muga_status of_schema(front *f, const json_t *x, int depth, dfa **out);

static muga_status none(front *f, dfa **out) {
    return dfa_of_literals(NULL, 0, &f->work, out, f->err);
}

/* *all := *all op the strings of x. */
static muga_status combine_schema(front *f, const json_t *x, int depth, dfa_op op, dfa **all) {
    dfa *one = NULL;
    muga_status st = of_schema(f, x, depth + 1, &one);
    return st == MUGA_OK ? strings_combine(f, all, one, op) : st;
}

static muga_status add_values(front *f, const json_t *x, dfa **all) {
    const json_t *constant = json_object_get(x, "const"), *list = json_object_get(x, "enum");
    for (int k = 0; k < 2; k++) {
        size_t n = 0, n_all = k ? json_array_size(list) : 1;
        dfa *one = NULL;
        if (!(k ? list : constant))
            continue;
        span *words = mem_alloc_array(n_all, sizeof *words);
        if (!words)
            return error_nomem(f->err, "a schema");
        for (size_t i = 0; i < n_all; i++) {
            const json_t *v = k ? json_array_get(list, i) : constant;
            if (json_is_string(v))
                words[n++] = span_of(json_string_value(v), json_string_length(v));
        }
        muga_status st = dfa_of_literals(words, n, &f->work, &one, f->err);
        free(words);
        if (st == MUGA_OK)
            st = strings_combine(f, all, one, DFA_AND);
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

/* Exactly one: what the next adds to "one so far", and takes from it. */
static muga_status of_one(front *f, const json_t *alternatives, int depth, dfa **out) {
    dfa *any = NULL, *one = NULL;
    muga_status st = none(f, &any);
    if (st == MUGA_OK)
        st = none(f, &one);
    for (size_t i = 0; i < json_array_size(alternatives) && st == MUGA_OK; i++) {
        const json_t *x = json_array_get(alternatives, i);
        dfa *only = NULL, *before = NULL;
        st = of_schema(f, x, depth + 1, &only);
        if (st == MUGA_OK) /* a copy: `any` goes on */
            st = dfa_combine(any, any, DFA_AND, &f->work, &before, f->err);
        if (st == MUGA_OK)
            st = strings_combine(f, &only, before, DFA_AND_NOT);
        if (st == MUGA_OK)
            st = combine_schema(f, x, depth, DFA_AND_NOT, &one);
        if (st == MUGA_OK)
            st = strings_combine(f, &one, only, DFA_OR);
        else
            dfa_free(only);
        if (st == MUGA_OK)
            st = combine_schema(f, x, depth, DFA_OR, &any);
    }
    dfa_free(any);
    if (st != MUGA_OK) {
        dfa_free(one);
        one = NULL;
    }
    *out = one;
    return st;
}

static muga_status of_condition(front *f, const json_t *x, int depth, dfa **out) {
    const json_t *cond = json_object_get(x, "if");
    dfa *yes = NULL, *no = NULL;
    muga_status st = of_schema(f, cond, depth + 1, &yes);
    if (st == MUGA_OK && json_object_get(x, "then"))
        st = combine_schema(f, json_object_get(x, "then"), depth, DFA_AND, &yes);
    if (st == MUGA_OK)
        st = combine_schema(f, cond, depth, DFA_AND_NOT, &no); /* NULL stands for any string */
    if (st == MUGA_OK && json_object_get(x, "else"))
        st = combine_schema(f, json_object_get(x, "else"), depth, DFA_AND, &no);
    if (st == MUGA_OK)
        st = strings_combine(f, &yes, no, DFA_OR);
    else
        dfa_free(no);
    if (st != MUGA_OK) {
        dfa_free(yes);
        yes = NULL;
    }
    *out = yes;
    return st;
}

static muga_status add_logic(front *f, const json_t *x, int depth, dfa **all) {
    const json_t *every = json_object_get(x, "allOf"), *any = json_object_get(x, "anyOf"),
                 *one = json_object_get(x, "oneOf");
    dfa *d = NULL;
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < json_array_size(every) && st == MUGA_OK; i++)
        st = combine_schema(f, json_array_get(every, i), depth, DFA_AND, all);
    if (st == MUGA_OK && any)
        st = none(f, &d);
    for (size_t i = 0; i < json_array_size(any) && st == MUGA_OK; i++)
        st = combine_schema(f, json_array_get(any, i), depth, DFA_OR, &d);
    if (st == MUGA_OK && any)
        st = strings_combine(f, all, d, DFA_AND);
    else
        dfa_free(d);
    if (st == MUGA_OK && one)
        st = of_one(f, one, depth, &d);
    if (st == MUGA_OK && one)
        st = strings_combine(f, all, d, DFA_AND);
    if (st == MUGA_OK && json_object_get(x, "not"))
        st = combine_schema(f, json_object_get(x, "not"), depth, DFA_AND_NOT, all);
    if (st == MUGA_OK && json_object_get(x, "if") && (json_object_get(x, "then") || json_object_get(x, "else"))) {
        st = of_condition(f, x, depth, &d);
        if (st == MUGA_OK)
            st = strings_combine(f, all, d, DFA_AND);
    }
    return st;
}

static muga_status of_schema(front *f, const json_t *x, int depth, dfa **out) {
    *out = NULL;
    if (json_is_false(x))
        return none(f, out);
    muga_status st = front_spend(f, 50);
    if (st != MUGA_OK || json_is_true(x))
        return st == MUGA_OK ? dfa_any(out, &f->work, f->err) : st;
    if (!json_is_object(x))
        return front_refuse(f, x, "propertyNames", "holds what is no schema");
    if (depth > MAX_DEPTH)
        return error_set(f->err, MUGA_E_LIMIT, "schema: what it says of keys nests deeper than %d", MAX_DEPTH);
    bool alone = logic_only_ref(f, x);
    st = dfa_any(out, &f->work, f->err);
    for (schema_ref_kind k = SCHEMA_REF; k <= (alone ? SCHEMA_REF : SCHEMA_DYNAMIC_REF) && st == MUGA_OK; k++) {
        const json_t *target;
        bool open;
        st = front_follow(f, x, k, &target, &open);
        if (st == MUGA_OK && target)
            st = combine_schema(f, target, depth, DFA_AND, out);
    }
    if (st == MUGA_OK && !alone && !(logic_types(x) & T_STRING)) {
        dfa_free(*out);
        return none(f, out);
    }
    if (st == MUGA_OK && !alone)
        st = add_values(f, x, out);
    if (st == MUGA_OK && !alone)
        st = strings_add(f, x, out);
    if (st == MUGA_OK && !alone)
        st = add_logic(f, x, depth, out);
    if (st != MUGA_OK) {
        dfa_free(*out);
        *out = NULL;
    }
    return st;
}

muga_status names_dfa(front *f, const json_t *schema, dfa **out) {
    uint32_t n_relaxed = f->n_relaxed;
    muga_status st = of_schema(f, schema, 0, out);
    if (st == MUGA_OK && f->n_relaxed > n_relaxed) { /* too large an automaton somewhere, and too small its opposite */
        dfa_free(*out);
        *out = NULL;
    }
    return st;
}
