/* Schemas in other words: what `not` means, and what dependencies mean. Owns: the schemas made (through the front).
 * Refuses by name: the opposite of grounded values. Left to re-validation: that of unevaluated*.
 *
 * Idea: not (a and b) is (not a) or (not b), so the opposite of a schema is one alternative a keyword, in the terms the
 * rest of the front end has: not {minimum: 5} is {type: number, exclusiveMaximum: 5}. Only one keyword deep: schemas
 * inside are wrapped in `not` and looked at when their goal comes, so nothing is made that no value needs. Keywords
 * without such a term stay as {type, not: {keyword}}, marked for the builder of the type (KEY_OPPOSITE), and the
 * validator reads those as they are. */
#include "constrain/front.h"

#define MAX_DEPENDENCIES 8u /* of one schema: each doubles the cases */

/* jansson takes no const, and only counts. */
static json_t *shared(const json_t *v) {
    return json_borrow(v);
}

static bool add(json_t *cases, json_t *made) {
    return made && json_array_append_new(cases, made) == 0;
}

/* {"type": type, "not": keywords, KEY_OPPOSITE: true}; takes `keywords`. */
static bool add_opposite(json_t *cases, const char *type, json_t *keywords) {
    json_t *made = keywords ? json_pack("{s:o,s:b}", "not", keywords, KEY_OPPOSITE, 1) : NULL;
    return made && (!type || json_object_set_new(made, "type", json_string(type)) == 0) ? add(cases, made)
                                                                                        : (json_decref(made), false);
}

static bool opposite_type(json_t *cases, const json_t *x) {
    static const char *const names[] = {"null", "boolean", "integer", TYPE_FRACTION, "string", "array", "object"};
    uint32_t bits = logic_types(x);
    json_t *rest = json_array();
    bool ok = rest != NULL;
    for (uint32_t i = 0; ok && i < ARRAY_LEN(names); i++)
        if (!(bits & 1u << i))
            ok = json_array_append_new(rest, json_string(names[i])) == 0;
    if (ok && json_array_size(rest) == 0) { /* every type is allowed: the opposite has no such case */
        json_decref(rest);
        return true;
    }
    if (!ok) {
        json_decref(rest);
        return false;
    }
    return add(cases, json_pack("{s:o}", "type", rest));
}

static bool opposite_numbers(json_t *cases, const json_t *x) {
    static const char *const opposite[][2] = {{"minimum", "exclusiveMaximum"},
                                              {"exclusiveMinimum", "maximum"},
                                              {"maximum", "exclusiveMinimum"},
                                              {"exclusiveMaximum", "minimum"}};
    for (size_t i = 0; i < ARRAY_LEN(opposite); i++) {
        const json_t *v = json_object_get(x, opposite[i][0]);
        if (v && !add(cases, json_pack("{s:s,s:O}", "type", "number", opposite[i][1], shared(v))))
            return false;
    }
    const json_t *v = json_object_get(x, "multipleOf");
    return !v || add_opposite(cases, "number", json_pack("{s:O}", "multipleOf", shared(v)));
}

static bool opposite_sizes(json_t *cases, const json_t *x) {
    static const char *const sizes[][3] = {{"minLength", "maxLength", "string"},
                                           {"minItems", "maxItems", "array"},
                                           {"minProperties", "maxProperties", "object"}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        double lo = json_number_value(json_object_get(x, sizes[i][0]));
        const json_t *hi = json_object_get(x, sizes[i][1]);
        if (lo > 0 && !add(cases, json_pack("{s:s,s:f}", "type", sizes[i][2], sizes[i][1], lo - 1)))
            return false;
        if (hi && !add(cases, json_pack("{s:s,s:f}", "type", sizes[i][2], sizes[i][0], json_number_value(hi) + 1)))
            return false;
    }
    return true;
}

static bool opposite_strings(json_t *cases, const json_t *x) {
    static const char *const keywords[] = {"pattern", "format"};
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        const json_t *v = json_object_get(x, keywords[i]);
        if (v && !add_opposite(cases, "string", json_pack("{s:O}", keywords[i], shared(v))))
            return false;
    }
    return true;
}

/* ---- values ---- */

/* Not this array, or object: of another type, of another size, or with another part. */
static bool opposite_structure(front *f, json_t *cases, const json_t *v, muga_status *st) {
    bool array = json_is_array(v);
    const char *type = array ? "array" : "object";
    double n = (double)(array ? json_array_size(v) : json_object_size(v));
    json_t *like = json_pack("{s:s}", "type", type);
    bool ok = like && opposite_type(cases, like);
    json_decref(like);
    ok = ok && add(cases, json_pack("{s:s,s:f}", "type", type, array ? "minItems" : "minProperties", n + 1));
    if (ok && n > 0)
        ok = add(cases, json_pack("{s:s,s:f}", "type", type, array ? "maxItems" : "maxProperties", n - 1));
    for (size_t i = 0; array && ok && i < json_array_size(v); i++) {
        json_t *prefix = json_array();
        for (size_t k = 0; ok && k < i; k++)
            ok = prefix && json_array_append_new(prefix, json_true()) == 0;
        ok = ok && prefix &&
             json_array_append_new(prefix, json_pack("{s:{s:O}}", "not", "const", shared(json_array_get(v, i)))) == 0;
        ok = ok &&
             add(cases, json_pack("{s:s,s:I,s:O}", "type", type, "minItems", (json_int_t)i + 1, "prefixItems", prefix));
        json_decref(prefix);
    }
    void *it = array ? NULL : json_object_iter(shared(v));
    for (; it && ok; it = json_object_iter_next(shared(v), it)) {
        const char *key = json_object_iter_key(it);
        ok = add(cases, json_pack("{s:s,s:{s:b}}", "type", type, "properties", key, 0)) &&
             add(cases, json_pack("{s:s,s:[s],s:{s:{s:{s:O}}}}", "type", type, "required", key, "properties", key,
                                  "not", "const", json_object_iter_value(it)));
    }
    *st = front_spend(f, 20 * (uint64_t)(n + 1) * (uint64_t)(n + 1));
    return ok && *st == MUGA_OK;
}

/* None of several values: scalars together; arrays and objects each by itself. */
static bool opposite_list(json_t *cases, const json_t *list) {
    json_t *scalars = json_array(), *all = json_array();
    bool ok = scalars && all;
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        json_t *v = json_array_get(list, i);
        ok = json_is_array(v) || json_is_object(v) ? add(all, json_pack("{s:{s:O}}", "not", "const", v))
                                                   : json_array_append(scalars, v) == 0;
    }
    json_t *made = ok ? json_pack("{s:{s:O},s:b,s:O}", "not", "enum", scalars, KEY_OPPOSITE, 1, "allOf", all) : NULL;
    json_decref(scalars);
    json_decref(all);
    return add(cases, made);
}

static bool opposite_values(front *f, json_t *cases, const json_t *x, muga_status *st) {
    const json_t *constant = json_object_get(x, "const"), *list = json_object_get(x, "enum");
    if (constant && (json_is_array(constant) || json_is_object(constant))) {
        if (!opposite_structure(f, cases, constant, st))
            return false;
    } else if (constant && !add_opposite(cases, NULL, json_pack("{s:[O]}", "enum", shared(constant)))) {
        return false;
    }
    return !list || opposite_list(cases, list);
}

/* ---- arrays ---- */

/* Some item from the n-th on doesn't fit. */
static bool opposite_items(json_t *cases, size_t n, const json_t *schema) {
    json_t *prefix = json_array();
    bool ok = prefix != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = json_array_append_new(prefix, json_true()) == 0;
    ok = ok && add_opposite(cases, "array", json_pack("{s:O,s:O}", "prefixItems", prefix, "items", shared(schema)));
    json_decref(prefix);
    return ok;
}

static bool opposite_prefix(front *f, json_t *cases, const json_t *prefix, muga_status *st) {
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(prefix); i++) {
        const json_t *wrapped;
        json_t *made = json_array();
        *st = opposite_wrap(f, json_array_get(prefix, i), &wrapped);
        ok = *st == MUGA_OK && made;
        for (size_t k = 0; ok && k < i; k++)
            ok = json_array_append_new(made, json_true()) == 0;
        ok =
            ok && json_array_append(made, shared(wrapped)) == 0 &&
            add(cases, json_pack("{s:s,s:I,s:O}", "type", "array", "minItems", (json_int_t)i + 1, "prefixItems", made));
        json_decref(made);
    }
    return ok;
}

static bool opposite_contains(json_t *cases, const json_t *x, bool draft7) {
    const json_t *v = json_object_get(x, "contains");
    const json_t *lo = draft7 ? NULL : json_object_get(x, "minContains"),
                 *hi = draft7 ? NULL : json_object_get(x, "maxContains");
    double min = lo ? json_number_value(lo) : 1;
    if (v && min > 0 &&
        !add(cases, json_pack("{s:s,s:O,s:i,s:f}", "type", "array", "contains", shared(v), "minContains", 0,
                              "maxContains", min - 1)))
        return false;
    return !v || !hi ||
           add(cases, json_pack("{s:s,s:O,s:f}", "type", "array", "contains", shared(v), "minContains",
                                json_number_value(hi) + 1));
}

static bool opposite_arrays(front *f, json_t *cases, const json_t *x, muga_status *st) {
    constrain_draft d = f->index.resources[schema_index_resource(&f->index, x)].draft;
    const json_t *prefix = json_object_get(x, "prefixItems"), *rest = json_object_get(x, "items");
    if (d == CONSTRAIN_DRAFT_7 || json_is_array(rest)) {
        prefix = json_is_array(rest) ? rest : NULL;
        rest = prefix ? json_object_get(x, "additionalItems") : rest;
    }
    if (rest && !opposite_items(cases, json_array_size(prefix), rest))
        return false;
    if (json_is_true(json_object_get(x, "uniqueItems")) &&
        !add_opposite(cases, "array", json_pack("{s:b}", "uniqueItems", 1)))
        return false;
    return opposite_prefix(f, cases, prefix, st) && opposite_contains(cases, x, d == CONSTRAIN_DRAFT_7);
}

/* ---- objects ---- */

static bool opposite_required(json_t *cases, const char *present, const json_t *names) {
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        json_t *made = json_pack("{s:s,s:{s:b}}", "type", "object", "properties", name ? name : "", 0);
        if (made && present && json_object_set_new(made, "required", json_pack("[s]", present)) != 0) {
            json_decref(made);
            made = NULL;
        }
        if (!name || !add(cases, made))
            return false;
    }
    return true;
}

static bool opposite_properties(front *f, json_t *cases, const json_t *x, muga_status *st) {
    const json_t *v = json_object_get(x, "properties"), *wrapped;
    void *it = v ? json_object_iter(shared(v)) : NULL;
    bool ok = true;
    for (; it && ok; it = json_object_iter_next(shared(v), it)) {
        const char *key = json_object_iter_key(it);
        *st = opposite_wrap(f, json_object_iter_value(it), &wrapped);
        ok = *st == MUGA_OK && add(cases, json_pack("{s:s,s:[s],s:{s:O}}", "type", "object", "required", key,
                                                    "properties", key, shared(wrapped)));
    }
    return ok;
}

/* Some member that nobody lists, or whose key matches, has a value that doesn't fit; or some key itself doesn't. */
static bool opposite_members(json_t *cases, const json_t *x) {
    const json_t *others = json_object_get(x, "additionalProperties"),
                 *patterns = json_object_get(x, "patternProperties");
    const json_t *names = json_object_get(x, "propertyNames"), *props = json_object_get(x, "properties");
    if (names && !add_opposite(cases, "object", json_pack("{s:O}", "propertyNames", shared(names))))
        return false;
    void *it = patterns ? json_object_iter(shared(patterns)) : NULL;
    for (; it; it = json_object_iter_next(shared(patterns), it))
        if (!add_opposite(
                cases, "object",
                json_pack("{s:{s:O}}", "patternProperties", json_object_iter_key(it), json_object_iter_value(it))))
            return false;
    if (!others)
        return true;
    json_t *listed = json_object(), *matched = json_object();
    bool ok = listed && matched;
    it = props ? json_object_iter(shared(props)) : NULL;
    for (; it && ok; it = json_object_iter_next(shared(props), it))
        ok = json_object_set_new(listed, json_object_iter_key(it), json_true()) == 0;
    it = patterns ? json_object_iter(shared(patterns)) : NULL;
    for (; it && ok; it = json_object_iter_next(shared(patterns), it))
        ok = json_object_set_new(matched, json_object_iter_key(it), json_true()) == 0;
    ok = ok && add_opposite(cases, "object",
                            json_pack("{s:O,s:O,s:O}", "additionalProperties", shared(others), "properties", listed,
                                      "patternProperties", matched));
    json_decref(listed);
    json_decref(matched);
    return ok;
}

/* Which of the three dependency keywords the draft of x knows. */
static bool dependencies_count(const front *f, const json_t *x, int k) {
    constrain_draft d = f->index.resources[schema_index_resource(&f->index, x)].draft;
    return k == 0 ? d != CONSTRAIN_DRAFT_2020_12 : d != CONSTRAIN_DRAFT_7;
}
static const char *const dependency_keywords[] = {"dependencies", "dependentRequired", "dependentSchemas"};

static bool opposite_dependent(front *f, json_t *cases, const json_t *x, muga_status *st) {
    for (int k = 0; k < 3; k++) {
        const json_t *v = dependencies_count(f, x, k) ? json_object_get(x, dependency_keywords[k]) : NULL, *wrapped;
        void *it = v ? json_object_iter(shared(v)) : NULL;
        for (; it; it = json_object_iter_next(shared(v), it)) {
            const char *key = json_object_iter_key(it);
            const json_t *then = json_object_iter_value(it);
            bool ok = true;
            if (json_is_array(then)) {
                ok = opposite_required(cases, key, then);
            } else {
                *st = opposite_wrap(f, then, &wrapped);
                ok = *st == MUGA_OK && add(cases, json_pack("{s:s,s:[s],s:[O]}", "type", "object", "required", key,
                                                            "allOf", shared(wrapped)));
            }
            if (!ok)
                return false;
        }
    }
    return true;
}

static muga_status make_dependencies(front *f, const json_t *x, const json_t **out) {
    static const char *const others[] = {"null", "boolean", "number", "string", "array"};
    json_t *all = json_array(), *not_object = json_array();
    bool ok = all && not_object;
    *out = NULL;
    for (size_t i = 0; ok && i < ARRAY_LEN(others); i++)
        ok = json_array_append_new(not_object, json_string(others[i])) == 0;
    for (int k = 0; k < 3; k++) {
        const json_t *v = dependencies_count(f, x, k) ? json_object_get(x, dependency_keywords[k]) : NULL;
        if (v && !json_is_object(v)) {
            json_decref(all);
            json_decref(not_object);
            return front_refuse(f, x, dependency_keywords[k], "must be an object");
        }
        void *it = v ? json_object_iter(shared(v)) : NULL;
        for (; it && ok; it = json_object_iter_next(shared(v), it)) {
            const char *key = json_object_iter_key(it);
            const json_t *then = json_object_iter_value(it);
            json_t *present = json_is_array(then)
                                  ? json_pack("{s:[s],s:[{s:O}]}", "required", key, "allOf", "required", shared(then))
                                  : json_pack("{s:[s],s:[O]}", "required", key, "allOf", shared(then));
            ok = present && add(all, json_pack("{s:[{s:{s:b}},O]}", "anyOf", "properties", key, 0, present));
            json_decref(present);
        }
    }
    bool any = json_array_size(all) > 0;
    json_t *made = ok && any
                       ? json_pack("{s:[{s:O},{s:s,s:O}]}", "anyOf", "type", not_object, "type", "object", "allOf", all)
                       : NULL;
    json_decref(all);
    json_decref(not_object);
    if (ok && !any)
        return MUGA_OK;
    return front_keep(f, made, out);
}

/* ---- logic ---- */

/* All of them wrapped in `not`, as {"allOf": [...]}. */
static bool none_of(front *f, json_t *cases, const json_t *alternatives, muga_status *st) {
    json_t *all = json_array();
    bool ok = all != NULL;
    for (size_t i = 0; ok && i < json_array_size(alternatives); i++) {
        const json_t *wrapped;
        *st = opposite_wrap(f, json_array_get(alternatives, i), &wrapped);
        ok = *st == MUGA_OK && json_array_append(all, shared(wrapped)) == 0;
    }
    ok = ok && add(cases, json_pack("{s:O}", "allOf", all));
    json_decref(all);
    return ok;
}

static bool opposite_condition(front *f, json_t *cases, const json_t *x, muga_status *st) {
    const json_t *cond = json_object_get(x, "if"), *then = json_object_get(x, "then"),
                 *other = json_object_get(x, "else");
    const json_t *not_cond, *not_then;
    if (!cond)
        return true;
    if (then) {
        *st = opposite_wrap(f, then, &not_then);
        if (*st != MUGA_OK || !add(cases, json_pack("{s:[O,O]}", "allOf", shared(cond), shared(not_then))))
            return false;
    }
    if (!other)
        return true;
    *st = opposite_wrap(f, cond, &not_cond);
    if (*st == MUGA_OK)
        *st = opposite_wrap(f, other, &not_then);
    return *st == MUGA_OK && add(cases, json_pack("{s:[O,O]}", "allOf", shared(not_cond), shared(not_then)));
}

static bool opposite_logic(front *f, json_t *cases, const json_t *x, muga_status *st) {
    const json_t *all = json_object_get(x, "allOf"), *any = json_object_get(x, "anyOf"),
                 *one = json_object_get(x, "oneOf");
    const json_t *no = json_object_get(x, "not"), *wrapped;
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(all); i++) {
        *st = opposite_wrap(f, json_array_get(all, i), &wrapped);
        ok = *st == MUGA_OK && json_array_append(cases, shared(wrapped)) == 0;
    }
    ok = ok && (!any || none_of(f, cases, any, st)) && (!one || none_of(f, cases, one, st));
    for (size_t a = 0; ok && a < json_array_size(one); a++)
        for (size_t b = a + 1; ok && b < json_array_size(one); b++)
            ok = add(cases, json_pack("{s:[O,O]}", "allOf", json_array_get(one, a), json_array_get(one, b)));
    if (ok && no)
        ok = json_array_append(cases, shared(no)) == 0;
    return ok && opposite_condition(f, cases, x, st);
}

static bool opposite_refs(front *f, json_t *cases, const json_t *x, muga_status *st) {
    for (schema_ref_kind k = SCHEMA_REF; k <= (logic_only_ref(f, x) ? SCHEMA_REF : SCHEMA_DYNAMIC_REF); k++) {
        const json_t *target, *wrapped;
        bool open;
        *st = front_follow(f, x, k, &target, &open);
        if (*st == MUGA_OK && open && json_array_append_new(cases, json_true()) != 0)
            return false;
        if (*st == MUGA_OK && !target)
            continue;
        if (*st == MUGA_OK)
            *st = opposite_wrap(f, target, &wrapped);
        if (*st != MUGA_OK || json_array_append(cases, shared(wrapped)) != 0)
            return false;
    }
    return true;
}

/* ---- the whole ---- */

muga_status opposite_note(front *f, const json_t *x, struct negation **out) {
    if (f->n_negations * 2 >= f->cap_negations) {
        uint32_t cap = f->cap_negations ? f->cap_negations * 2 : 32;
        struct negation *v = mem_alloc_array(cap, sizeof *v);
        if (!v)
            return error_nomem(f->err, "a schema");
        for (uint32_t i = 0; i < f->cap_negations; i++)
            if (f->negations[i].of) {
                uint64_t h = (uint64_t)(uintptr_t)f->negations[i].of * 0x9E3779B97F4A7C15u >> 16;
                while (v[h & (cap - 1)].of)
                    h++;
                v[h & (cap - 1)] = f->negations[i];
            }
        free(f->negations);
        f->negations = v;
        f->cap_negations = cap;
    }
    uint64_t h = (uint64_t)(uintptr_t)x * 0x9E3779B97F4A7C15u >> 16;
    while (f->negations[h & (f->cap_negations - 1)].of && f->negations[h & (f->cap_negations - 1)].of != x)
        h++;
    *out = &f->negations[h & (f->cap_negations - 1)];
    f->n_negations += (*out)->of == NULL;
    (*out)->of = x;
    return MUGA_OK;
}

muga_status opposite_dependencies(front *f, const json_t *x, const json_t **out) {
    struct negation *n;
    *out = NULL;
    bool any = false, schemas = false;
    size_t n_all = 0;
    for (int k = 0; k < 3; k++) {
        const json_t *v = dependencies_count(f, x, k) ? json_object_get(x, dependency_keywords[k]) : NULL;
        any |= v != NULL;
        schemas |= v && k != 1;
        n_all += json_object_size(v);
    }
    if (n_all > MAX_DEPENDENCIES)
        return front_relax(f, x, "dependencies", "are too many to decode every case of", schemas);
    muga_status st = any ? opposite_note(f, x, &n) : MUGA_OK;
    if (st == MUGA_OK && any && !n->dependencies)
        st = make_dependencies(f, x, &n->dependencies); /* adds nothing to the table */
    if (st == MUGA_OK && any)
        *out = n->dependencies;
    return st;
}

muga_status opposite_wrap(front *f, const json_t *x, const json_t **out) {
    struct negation *n;
    muga_status st = front_spend(f, 20);
    *out = NULL;
    if (st == MUGA_OK)
        st = opposite_note(f, x, &n);
    if (st == MUGA_OK && !n->wrapped)
        st = front_keep(f, json_pack("{s:O}", "not", shared(x)), &n->wrapped);
    if (st == MUGA_OK)
        *out = n->wrapped;
    return st;
}

/* What no other words say. *any: so its opposite may be any value, as far as decoding knows. */
static muga_status check_unsayable(front *f, const json_t *x, bool *any) {
    static const char *const keywords[] = {"unevaluatedItems", "unevaluatedProperties"};
    constrain_draft d = f->index.resources[schema_index_resource(&f->index, x)].draft;
    muga_status st = MUGA_OK;
    *any = false;
    if (json_object_get(x, "from"))
        return front_refuse(f, x, "from", "can't be enforced inside \"not\", \"if\" or \"oneOf\"");
    for (size_t i = 0; i < ARRAY_LEN(keywords) && d != CONSTRAIN_DRAFT_7 && st == MUGA_OK; i++)
        if (json_object_get(x, keywords[i]) && !json_is_true(json_object_get(x, keywords[i]))) {
            st = front_relax(f, x, keywords[i], "has no opposite that could be decoded", true);
            *any = true;
        }
    return st;
}

muga_status opposite_cases(front *f, const json_t *x, const json_t **out) {
    struct negation *n;
    *out = NULL;
    if (!json_is_object(x))
        return json_is_boolean(x) ? front_keep(f, json_boolean(json_is_false(x)), out)
                                  : front_refuse(f, x, "not", "must be an object or a boolean");
    muga_status st = opposite_note(f, x, &n);
    if (st == MUGA_OK && n->is) {
        *out = n->is;
        return MUGA_OK;
    }
    bool alone = logic_only_ref(f, x), any = false;
    if (st == MUGA_OK)
        st = front_spend(f, 50 + 20 * (uint64_t)json_object_size(x));
    if (st == MUGA_OK && !alone)
        st = check_unsayable(f, x, &any);
    if (st != MUGA_OK)
        return st;
    json_t *cases = json_array();
    bool ok = cases && opposite_refs(f, cases, x, &st);
    if (ok && any)
        ok = json_array_append_new(cases, json_true()) == 0;
    if (ok && !alone)
        ok = (!json_object_get(x, "type") || opposite_type(cases, x)) && opposite_values(f, cases, x, &st) &&
             opposite_numbers(cases, x) && opposite_sizes(cases, x) && opposite_strings(cases, x) &&
             opposite_arrays(f, cases, x, &st) && opposite_required(cases, NULL, json_object_get(x, "required")) &&
             opposite_properties(f, cases, x, &st) && opposite_members(cases, x) &&
             opposite_dependent(f, cases, x, &st) && opposite_logic(f, cases, x, &st);
    json_t *made = ok ? json_pack("{s:O}", "anyOf", cases) : NULL;
    json_decref(cases);
    if (!ok && st != MUGA_OK)
        return st;
    st = front_keep(f, made, out);
    if (st == MUGA_OK)
        st = opposite_note(f, x, &n); /* the table may have grown */
    if (st == MUGA_OK)
        n->is = *out;
    return st;
}
