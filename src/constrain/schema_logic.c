/* What can be said of two schemas without a value: that they exclude each other. Owns nothing. Refuses nothing: an
 * honest "don't know" costs only the cases that the caller then has to make. */
#include "constrain/front.h"

#define LOGIC_MAX_DEPTH 8

/* ---- disjoint ---- */

bool logic_only_ref(const front *f, const json_t *x) { /* draft 7 reads nothing beside $ref */
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
        if (!logic_only_ref(f, x) && json_object_size(x) > 1 && !json_object_get(target, "type"))
            break;
        x = target;
    }
    return logic_only_ref(f, x) ? NULL : x;
}

uint32_t logic_types(const json_t *x) {
    static const char *const names[] = {"null", "boolean", "integer", TYPE_FRACTION, "string", "array", "object"};
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

static uint32_t type_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_NULL: return T_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return T_BOOLEAN;
    case JSON_STRING: return T_STRING;
    case JSON_ARRAY: return T_ARRAY;
    case JSON_OBJECT: return T_OBJECT;
    default: return number_is_integer(v) ? T_INTEGER : T_FRACTION;
    }
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
    uint32_t types = logic_types(a) & logic_types(b);
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

static int word_order(const void *x, const void *y) {
    const span *a = x, *b = y;
    int o = memcmp(a->p, b->p, MIN(a->n, b->n));
    return o ? o : a->n < b->n ? -1 : a->n > b->n;
}

/* Lists of values share none: equal values would stand side by side when sorted. false: one is no list, or two share a
 * value, or memory ran out. */
static bool lists_disjoint(front *f, const json_t *const *lists, size_t n_alternatives) {
    str text = STR_INIT;
    size_t n = 0, w = 0;
    for (size_t i = 0; i < n_alternatives; i++) {
        if (!has_values(lists[i]))
            return false;
        n += n_values(lists[i]);
    }
    size_t *from = mem_alloc_array(n + 1, sizeof *from);
    span *words = mem_alloc_array(n, sizeof *words);
    bool disjoint = from && words && front_spend(f, 4 * n) == MUGA_OK;
    for (size_t i = 0; disjoint && i < n_alternatives; i++) {
        for (size_t k = 0; k < n_values(lists[i]); k++) {
            from[w++] = text.len;
            json_write_canonical(value_at(lists[i], k), &text);
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

/* Under this key every alternative that is an object requires a value of its own. */
static bool told_apart_by(front *f, const json_t *alternatives, const char *key) {
    size_t n = json_array_size(alternatives);
    const json_t **lists = mem_alloc_array(n, sizeof *lists);
    bool apart = lists != NULL;
    for (size_t i = 0; apart && i < n; i++) {
        const json_t *x = follow(f, json_array_get(alternatives, i));
        lists[i] = follow(f, json_object_get(json_object_get(x, "properties"), key));
        apart = logic_types(x) == T_OBJECT && requires(x, key) && has_values(lists[i]);
    }
    apart = apart && lists_disjoint(f, lists, n);
    free(lists);
    return apart;
}

/* No two alternatives can both hold, because each is a list of values of its own, or an object that is told apart by
 * one key. false: that isn't known, and pairs are looked at one by one. */
bool logic_lists_disjoint(front *f, const json_t *alternatives) {
    size_t n = json_array_size(alternatives);
    const json_t **lists = mem_alloc_array(n, sizeof *lists);
    bool apart = lists != NULL;
    for (size_t i = 0; apart && i < n; i++)
        lists[i] = follow(f, json_array_get(alternatives, i));
    apart = apart && lists_disjoint(f, lists, n);
    free(lists);
    const json_t *required = json_object_get(follow(f, json_array_get(alternatives, 0)), "required");
    for (size_t i = 0; !apart && n > 1 && i < MIN(json_array_size(required), (size_t)LOGIC_MAX_DEPTH); i++)
        if (json_is_string(json_array_get(required, i)) && front_spend(f, n) == MUGA_OK)
            apart = told_apart_by(f, alternatives, json_string_value(json_array_get(required, i)));
    return apart;
}

/* A list of values, and nothing beside it but their type. */
static bool is_plain_list(const json_t *x) {
    static const char *const others[] = {"title", "description", "type"};
    size_t n = json_object_get(x, "const") || json_object_get(x, "enum");
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        n += json_object_get(x, others[i]) != NULL;
    bool plain = has_values(x) && json_object_size(x) == n;
    for (size_t k = 0; plain && json_object_get(x, "type") && k < n_values(x); k++)
        plain = logic_types(x) & type_of(value_at(x, k));
    return plain;
}

muga_status logic_merge_lists(front *f, const json_t *alternatives, const json_t **out) {
    *out = NULL;
    for (size_t i = 0; i < json_array_size(alternatives); i++)
        if (!is_plain_list(json_array_get(alternatives, i)))
            return MUGA_OK;
    json_t *made = json_object(), *list = json_array();
    bool ok = made && list && json_array_size(alternatives) > 1;
    for (size_t i = 0; ok && i < json_array_size(alternatives); i++) {
        const json_t *x = json_array_get(alternatives, i);
        for (size_t k = 0; ok && k < n_values(x); k++)
            ok = json_array_append(list, json_borrow(value_at(x, k))) == 0;
    }
    ok = ok && json_object_set(made, "enum", list) == 0;
    json_decref(list);
    if (!ok) {
        json_decref(made);
        return MUGA_OK;
    }
    return front_keep(f, made, out);
}

/* ---- how many cases an opposite has ---- */

#define LOGIC_MAX_ALTERNATIVES 256u
#define LOGIC_MAX_CASES 1000u
#define LOGIC_MAX_OVERLAPS 1600u /* pairs of alternatives */

/* Ways for a value of these types not to be valid under x, roughly. */
static uint64_t opposite_size(front *f, const json_t *x, uint32_t types, int depth) {
    static const char *const one_way[] = {"enum",
                                          "const",
                                          "not",
                                          "if",
                                          "additionalProperties",
                                          "additionalItems",
                                          "items",
                                          "pattern",
                                          "format",
                                          "minimum",
                                          "maximum",
                                          "exclusiveMinimum",
                                          "uniqueItems",
                                          "oneOf",
                                          "minLength",
                                          "maxLength",
                                          "exclusiveMaximum",
                                          "multipleOf",
                                          "maxItems",
                                          "anyOf",
                                          "minItems",
                                          "contains",
                                          "propertyNames",
                                          "minProperties",
                                          "maxProperties",
                                          "dependencies"};
    static const char *const ways[] = {"properties",        "patternProperties", "required",
                                       "dependentRequired", "dependentSchemas",  "prefixItems"};
    x = follow(f, x);
    if (!json_is_object(x) || depth > LOGIC_MAX_DEPTH)
        return 1;
    uint64_t n = (types & ~logic_types(x)) != 0;
    for (size_t i = 0; i < ARRAY_LEN(one_way); i++)
        n += json_object_get(x, one_way[i]) != NULL;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        const json_t *v = json_object_get(x, ways[i]);
        n += json_is_array(v) ? json_array_size(v) : json_object_size(v);
    }
    const json_t *all = json_object_get(x, "allOf");
    for (size_t i = 0; i < json_array_size(all); i++)
        n += opposite_size(f, json_array_get(all, i), types, depth + 1);
    return MIN(MAX(n, (uint64_t)1), (uint64_t)LOGIC_MAX_CASES);
}

bool logic_many_cases(front *f, const json_t *alternatives, uint32_t types) {
    size_t n = json_array_size(alternatives);
    uint64_t sum = 0, overlaps = 0;
    if (n > LOGIC_MAX_ALTERNATIVES)
        return true;
    for (size_t a = 0; a < n && sum <= LOGIC_MAX_CASES; a++) {
        const json_t *x = json_array_get(alternatives, a);
        uint64_t cases = 1;
        for (size_t b = 0; b < n && cases <= LOGIC_MAX_CASES; b++)
            if (b != a && front_spend(f, 80) == MUGA_OK && !logic_disjoint(f, x, json_array_get(alternatives, b), 0)) {
                cases *= opposite_size(f, json_array_get(alternatives, b), logic_types(x) & types, 0);
                overlaps++;
            }
        sum += cases;
    }
    return sum > LOGIC_MAX_CASES || overlaps > LOGIC_MAX_OVERLAPS;
}
