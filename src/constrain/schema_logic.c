/* What can be said of schemas without a value: that two exclude each other, and what the opposite of one is.
 * Owns nothing. Refuses nothing: an honest "don't know" (not disjoint, no opposite) lets the caller refuse by name.
 *
 * Idea of the opposite: not (a and b) is (not a) or (not b), one alternative a keyword, each in the terms the rest of
 * the front end already has: not {minimum: 5} is {type: number, exclusiveMaximum: 5}. */
#include "constrain/front.h"

#define LOGIC_MAX_DEPTH 8

/* ---- disjoint ---- */

static bool only_ref(const front *f, const json_t *x) { /* draft 7 reads nothing beside $ref */
    return json_get_string(x, "$ref") && schema_index_is_draft7(&f->index, schema_index_resource(&f->index, x));
}

/* What a reference leads to, where that says more than what stands beside it. NULL: nothing is known of x. */
static const json_t *follow(front *f, const json_t *x) {
    for (int i = 0; i < LOGIC_MAX_DEPTH && json_get_string(x, "$ref"); i++) {
        const json_t *target;
        const char *anchor;
        muga_error ignored;
        if (schema_index_follow(&f->index, x, SCHEMA_REF, &target, &anchor, &ignored) != MUGA_OK)
            break;
        if (!only_ref(f, x) && json_object_size(x) > 1 && !json_object_get(target, "type"))
            break;
        x = target;
    }
    return only_ref(f, x) ? NULL : x;
}

static uint32_t types_of(const json_t *x) {
    static const char *const names[] = {"null", "boolean", "integer", "fraction", "string", "array", "object"};
    const json_t *v = json_object_get(x, "type");
    uint32_t bits = 0;
    if (!v)
        return T_ALL;
    for (size_t k = 0; k < (json_is_array(v) ? json_array_size(v) : 1); k++) {
        const char *t = json_string_value(json_is_array(v) ? json_array_get(v, k) : v);
        for (uint32_t i = 0; t && i < ARRAY_LEN(names); i++)
            bits |= strcmp(t, names[i]) == 0 ? 1u << i : 0;
        bits |= t && strcmp(t, "number") == 0 ? T_NUMBER : 0;
    }
    return bits;
}

static size_t n_values(const json_t *x) {
    return json_object_get(x, "const") ? 1 : json_array_size(json_object_get(x, "enum"));
}
static const json_t *value_at(const json_t *x, size_t i) {
    const json_t *c = json_object_get(x, "const");
    return c ? c : json_array_get(json_object_get(x, "enum"), i);
}
static bool has_values(const json_t *x) {
    return json_object_get(x, "const") || json_object_get(x, "enum");
}

static bool values_disjoint(front *f, const json_t *a, const json_t *b) {
    for (size_t i = 0; i < n_values(a); i++) {
        if (has_values(b)) {
            for (size_t k = 0; k < n_values(b); k++)
                if (json_same(value_at(a, i), value_at(b, k)))
                    return false;
        } else {
            muga_error ignored;
            if (validate_candidate(&f->index, b, 0, value_at(a, i), &f->work, &ignored) != MUGA_E_NEGATIVE)
                return false;
        }
    }
    return true;
}

static bool ranges_disjoint(const json_t *a, const json_t *b) { /* all of a below all of b */
    const json_t *hi = json_object_get(a, "maximum"), *open_hi = json_object_get(a, "exclusiveMaximum");
    const json_t *lo = json_object_get(b, "minimum"), *open_lo = json_object_get(b, "exclusiveMinimum");
    if (json_is_number(hi) && json_is_number(lo) && number_compare(hi, lo) < 0)
        return true;
    const json_t *top = json_is_number(open_hi) ? open_hi : hi, *bottom = json_is_number(open_lo) ? open_lo : lo;
    return json_is_number(top) && json_is_number(bottom) && (json_is_number(open_hi) || json_is_number(open_lo)) &&
           number_compare(top, bottom) <= 0;
}

static bool requires(const json_t *x, const char *key) {
    const json_t *v = json_object_get(x, "required");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (json_is_string(json_array_get(v, i)) && strcmp(json_string_value(json_array_get(v, i)), key) == 0)
            return true;
    return false;
}

/* A member that one requires and the other forbids, or that both require with schemas that exclude each other. */
static bool members_disjoint(front *f, const json_t *a, const json_t *b, int depth) {
    const json_t *required = json_object_get(a, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *key = json_string_value(json_array_get(required, i));
        if (!key)
            continue;
        const json_t *in_a = json_object_get(json_object_get(a, "properties"), key);
        const json_t *in_b = json_object_get(json_object_get(b, "properties"), key);
        bool closed = json_is_false(json_object_get(b, "additionalProperties")) &&
                      json_object_size(json_object_get(b, "patternProperties")) == 0;
        if ((!in_b && closed) || json_is_false(in_b))
            return true;
        if (requires(b, key) && in_a && in_b && logic_disjoint(f, in_a, in_b, depth + 1))
            return true;
    }
    return false;
}

bool logic_disjoint(front *f, const json_t *a, const json_t *b, int depth) {
    if (json_is_false(a) || json_is_false(b))
        return true;
    if (depth > LOGIC_MAX_DEPTH || !json_is_object(a) || !json_is_object(b))
        return false;
    a = follow(f, a);
    b = follow(f, b);
    if (!json_is_object(a) || !json_is_object(b))
        return false;
    uint32_t types = types_of(a) & types_of(b);
    if (types == 0)
        return true;
    if (has_values(a) && values_disjoint(f, a, b))
        return true;
    if (has_values(b) && values_disjoint(f, b, a))
        return true;
    if ((types & ~(uint32_t)T_NUMBER) == 0 && (ranges_disjoint(a, b) || ranges_disjoint(b, a)))
        return true;
    return (types & ~(uint32_t)T_OBJECT) == 0 && (members_disjoint(f, a, b, depth) || members_disjoint(f, b, a, depth));
}

static muga_status keep_synthetic(front *f, json_t *made, const json_t **out) {
    if (!made || json_array_append_new(f->synthetic, made) != 0)
        return error_nomem(f->err, "a schema");
    *out = made;
    return MUGA_OK;
}

static int word_order(const void *x, const void *y) {
    const span *a = x, *b = y;
    int o = memcmp(a->p, b->p, MIN(a->n, b->n));
    return o ? o : a->n < b->n ? -1 : a->n > b->n;
}

/* Alternatives that are lists of values share none: equal values would stand side by side when sorted. false: some
 * alternative is no list, or two share a value, or memory ran out; then pairs are looked at one by one. */
bool logic_lists_disjoint(front *f, const json_t *alternatives) {
    str text = STR_INIT;
    size_t n = 0, w = 0, n_alternatives = json_array_size(alternatives);
    for (size_t i = 0; i < n_alternatives; i++) {
        const json_t *x = follow(f, json_array_get(alternatives, i));
        if (!has_values(x))
            return false;
        n += n_values(x);
    }
    size_t *from = mem_alloc_array(n + 1, sizeof *from);
    span *words = mem_alloc_array(n, sizeof *words);
    bool disjoint = from && words && front_spend(f, 4 * n) == MUGA_OK;
    for (size_t i = 0; disjoint && i < n_alternatives; i++) {
        const json_t *x = follow(f, json_array_get(alternatives, i));
        for (size_t k = 0; k < n_values(x); k++) {
            from[w++] = text.len;
            json_write_canonical(value_at(x, k), &text);
        }
    }
    disjoint = disjoint && !text.failed;
    for (size_t i = 0; disjoint && i < n; i++)
        words[i] = span_of(str_get(&text) + from[i], (i + 1 < n ? from[i + 1] : text.len) - from[i]);
    if (disjoint)
        qsort(words, n, sizeof *words, word_order);
    for (size_t i = 1; disjoint && i < n; i++)
        disjoint = !span_equal(words[i - 1], words[i]);
    str_release(&text);
    free(from);
    free(words);
    return disjoint;
}

muga_status logic_merge_lists(front *f, const json_t *alternatives, const json_t **out) {
    *out = NULL;
    for (size_t i = 0; i < json_array_size(alternatives); i++) {
        const json_t *x = json_array_get(alternatives, i);
        size_t plain = (json_object_get(x, "const") || json_object_get(x, "enum")) +
                       (json_object_get(x, "title") != NULL) + (json_object_get(x, "description") != NULL);
        if (!has_values(x) || json_object_size(x) != plain)
            return MUGA_OK;
    }
    json_t *made = json_object(), *list = json_array();
    bool ok = made && list && json_array_size(alternatives) > 1;
    for (size_t i = 0; ok && i < json_array_size(alternatives); i++) {
        const json_t *x = json_array_get(alternatives, i);
        for (size_t k = 0; ok && k < n_values(x); k++)
            ok = json_array_append(list, (json_t *)(uintptr_t)value_at(x, k)) == 0;
    }
    ok = ok && json_object_set(made, "enum", list) == 0;
    json_decref(list);
    if (!ok) {
        json_decref(made);
        return MUGA_OK;
    }
    return keep_synthetic(f, made, out);
}

/* ---- opposite ---- */

/* Appends {"type": type, key: value} (either may be left out) to the alternatives; takes `value`. */
static bool add_case(json_t *cases, const char *type, const char *key, json_t *value) {
    json_t *one = json_object();
    bool ok = one && (!type || json_object_set_new(one, "type", json_string(type)) == 0) &&
              (!key || json_object_set_new(one, key, value ? value : json_null()) == 0);
    if (!ok && !one)
        json_decref(value);
    ok = ok && json_array_append(cases, one) == 0;
    json_decref(one);
    return ok;
}

static json_t *shared(const json_t *v) {
    return json_incref((json_t *)(uintptr_t)v);
}

static bool negate_type(json_t *cases, const json_t *x) {
    static const char *const names[] = {"null", "boolean", "integer", "string", "array", "object"};
    uint32_t bits = types_of(x);
    if ((bits & T_NUMBER) == T_INTEGER)
        return false; /* "a number, but no integer" isn't enforceable here */
    json_t *rest = json_array();
    bool ok = rest != NULL;
    for (uint32_t i = 0; ok && i < ARRAY_LEN(names); i++) {
        uint32_t bit = i < 3 ? 1u << i : 1u << (i + 1);
        if (!(bits & bit))
            ok = json_array_append_new(rest, json_string(i == 2 ? "number" : names[i])) == 0;
    }
    if (ok && json_array_size(rest) == 0) {
        json_decref(rest);
        return true; /* every type is allowed: the opposite has no such case */
    }
    return ok && add_case(cases, NULL, "type", rest);
}

static bool negate_bound(json_t *cases, const json_t *x) {
    static const char *const opposite[][2] = {{"minimum", "exclusiveMaximum"},
                                              {"exclusiveMinimum", "maximum"},
                                              {"maximum", "exclusiveMinimum"},
                                              {"exclusiveMaximum", "minimum"}};
    for (size_t i = 0; i < ARRAY_LEN(opposite); i++) {
        const json_t *v = json_object_get(x, opposite[i][0]);
        if (v && (!json_is_number(v) || !add_case(cases, "number", opposite[i][1], shared(v))))
            return false;
    }
    return true;
}

static bool negate_size(json_t *cases, const json_t *x) {
    static const char *const sizes[][3] = {{"minLength", "maxLength", "string"},
                                           {"minItems", "maxItems", "array"},
                                           {"minProperties", "maxProperties", "object"}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const json_t *lo = json_object_get(x, sizes[i][0]), *hi = json_object_get(x, sizes[i][1]);
        if ((lo && !json_is_integer(lo)) || (hi && !json_is_integer(hi)))
            return false;
        if (json_integer_value(lo) > 0 &&
            !add_case(cases, sizes[i][2], sizes[i][1], json_integer(json_integer_value(lo) - 1)))
            return false;
        if (hi && !add_case(cases, sizes[i][2], sizes[i][0], json_integer(json_integer_value(hi) + 1)))
            return false;
    }
    return true;
}

static bool negate_required(json_t *cases, const json_t *x) {
    const json_t *v = json_object_get(x, "required");
    for (size_t i = 0; i < json_array_size(v); i++) {
        json_t *absent = json_object();
        const json_t *name = json_array_get(v, i);
        if (!absent || !json_is_string(name) ||
            json_object_setn_new(absent, json_string_value(name), json_string_length(name), json_false()) != 0 ||
            !add_case(cases, "object", "properties", absent))
            return false;
    }
    return true;
}

/* not {properties: {k: S}}: an object that has k, with a value that is not S. */
static bool negate_properties(front *f, json_t *cases, const json_t *x, int depth, muga_status *st) {
    const json_t *v = json_object_get(x, "properties");
    void *it = v ? json_object_iter((json_t *)(uintptr_t)v) : NULL;
    for (; it; it = json_object_iter_next((json_t *)(uintptr_t)v, it)) {
        const json_t *opposite;
        const char *key = json_object_iter_key(it);
        size_t n = json_object_iter_key_len(it);
        *st = logic_negate(f, json_object_iter_value(it), depth + 1, &opposite);
        if (*st != MUGA_OK || !opposite)
            return false;
        json_t *props = json_object(), *required = json_array();
        bool ok = props && required && json_object_setn(props, key, n, (json_t *)(uintptr_t)opposite) == 0;
        ok = ok && json_array_append_new(required, json_stringn(key, n)) == 0 &&
             add_case(cases, "object", "properties", json_incref(props)) &&
             json_object_set(json_array_get(cases, json_array_size(cases) - 1), "required", required) == 0;
        json_decref(props);
        json_decref(required);
        if (!ok)
            return false;
    }
    return true;
}

static bool negate_values(json_t *cases, const json_t *x) {
    if (!has_values(x))
        return true;
    json_t *none = json_array();
    bool ok = none != NULL;
    for (size_t i = 0; ok && i < n_values(x); i++)
        ok = json_array_append(none, (json_t *)(uintptr_t)value_at(x, i)) == 0;
    return ok && add_case(cases, NULL, KEY_NOT_VALUES, none);
}

/* No assertion without an opposite here. */
static bool only_known(const json_t *x) {
    static const char *const assertions[] = {"multipleOf",
                                             "format",
                                             "uniqueItems",
                                             "contains",
                                             "minContains",
                                             "maxContains",
                                             "items",
                                             "prefixItems",
                                             "additionalItems",
                                             "additionalProperties",
                                             "patternProperties",
                                             "propertyNames",
                                             "dependencies",
                                             "dependentRequired",
                                             "dependentSchemas",
                                             "oneOf",
                                             "if",
                                             "unevaluatedItems",
                                             "unevaluatedProperties",
                                             "$dynamicRef",
                                             "from"};
    for (size_t i = 0; i < ARRAY_LEN(assertions); i++)
        if (json_object_get(x, assertions[i]))
            return false;
    return true;
}

static bool negate_combined(front *f, json_t *cases, const json_t *x, int depth, muga_status *st) {
    const json_t *any = json_object_get(x, "anyOf"), *all = json_object_get(x, "allOf");
    const json_t *opposite;
    json_t *both = any ? json_array() : NULL;
    bool ok = !any || both;
    for (size_t i = 0; ok && i < json_array_size(any); i++) {
        *st = logic_negate(f, json_array_get(any, i), depth + 1, &opposite);
        ok = *st == MUGA_OK && opposite && json_array_append(both, (json_t *)(uintptr_t)opposite) == 0;
    }
    if (any && ok)
        ok = add_case(cases, NULL, "allOf", json_incref(both));
    json_decref(both);
    for (size_t i = 0; ok && i < json_array_size(all); i++) {
        *st = logic_negate(f, json_array_get(all, i), depth + 1, &opposite);
        ok = *st == MUGA_OK && opposite && json_array_append(cases, (json_t *)(uintptr_t)opposite) == 0;
    }
    return ok;
}

static bool negate_ref(front *f, json_t *cases, const json_t *x, int depth, muga_status *st) {
    const json_t *target, *opposite;
    const char *anchor;
    *st = schema_index_follow(&f->index, x, SCHEMA_REF, &target, &anchor, f->err);
    if (*st == MUGA_OK && !target)
        return true;
    if (*st == MUGA_OK)
        *st = logic_negate(f, target, depth + 1, &opposite);
    return *st == MUGA_OK && opposite && json_array_append(cases, (json_t *)(uintptr_t)opposite) == 0;
}

static bool negate_plain(json_t *cases, const json_t *x) {
    const json_t *pattern = json_object_get(x, "pattern"), *no = json_object_get(x, "not");
    return (!json_object_get(x, "type") || negate_type(cases, x)) && negate_bound(cases, x) && negate_size(cases, x) &&
           negate_required(cases, x) && negate_values(cases, x) &&
           (!pattern || add_case(cases, "string", KEY_NOT_PATTERN, shared(pattern))) &&
           (!no || json_array_append(cases, (json_t *)(uintptr_t)no) == 0);
}

/* One opposite a schema, so that goals over it meet again. */
static muga_status remember(front *f, const json_t *of, const json_t *is) {
    struct negation *v = mem_resize_array(f->negations, f->n_negations + 1, sizeof *v);
    if (!v)
        return error_nomem(f->err, "a schema");
    f->negations = v;
    v[f->n_negations++] = (struct negation){of, is};
    return front_spend(f, f->n_negations);
}

muga_status logic_negate(front *f, const json_t *x, int depth, const json_t **out) {
    muga_status st = front_spend(f, 50);
    *out = NULL;
    if (st != MUGA_OK)
        return st;
    if (json_is_boolean(x))
        return keep_synthetic(f, json_boolean(json_is_false(x)), out);
    if (!json_is_object(x) || depth > LOGIC_MAX_DEPTH || !only_known(x))
        return MUGA_OK;
    for (size_t i = 0; i < f->n_negations; i++)
        if (f->negations[i].of == x) {
            *out = f->negations[i].is;
            return MUGA_OK;
        }
    json_t *cases = json_array();
    bool ok = cases && negate_ref(f, cases, x, depth, &st);
    if (!only_ref(f, x))
        ok = ok && negate_plain(cases, x) && negate_properties(f, cases, x, depth, &st) &&
             negate_combined(f, cases, x, depth, &st);
    if (!ok) {
        json_decref(cases);
        return st == MUGA_OK ? remember(f, x, NULL) : st;
    }
    json_t *made = json_object();
    if (!made || json_object_set_new(made, "anyOf", cases) != 0) {
        json_decref(made);
        return error_nomem(f->err, "a schema");
    }
    st = keep_synthetic(f, made, out);
    return st == MUGA_OK ? remember(f, x, *out) : st;
}
