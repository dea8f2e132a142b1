/* The keywords of numbers, strings, arrays and objects. Owns: the patterns compiled in a run. Refuses: keywords of a
 * wrong type (MUGA_E_INPUT). Idea: each function reads its keywords in a fixed order; what they evaluate of an array or
 * object is marked in the call's seen-set. */
#include "base/mem.h"
#include "base/utf8.h"
#include "constrain/format.h"
#include "constrain/idn.h"
#include "constrain/matcher.h"
#include "constrain/validate.h"

struct validate_compiled {
    const char *pattern; /* by address: the schema outlives the run */
    matcher *m;
};

/* ---- patterns ---- */

static muga_status grow_patterns(validate_run *r) {
    uint32_t cap = r->cap_patterns ? r->cap_patterns * 2 : 16;
    struct validate_compiled *v = mem_alloc_array(cap, sizeof *v);
    if (!v)
        return error_nomem(r->err, "a pattern");
    for (uint32_t i = 0; i < r->cap_patterns; i++)
        if (r->patterns[i].pattern) {
            uint64_t h = (uint64_t)(uintptr_t)r->patterns[i].pattern * 0x9E3779B97F4A7C15u >> 16;
            while (v[h & (cap - 1)].pattern)
                h++;
            v[h & (cap - 1)] = r->patterns[i];
        }
    free(r->patterns);
    r->patterns = v;
    r->cap_patterns = cap;
    return MUGA_OK;
}

static muga_status pattern_get(validate_run *r, const char *pattern, size_t n, regex_mode mode, const matcher **out) {
    muga_status st = r->n_patterns * 2 >= r->cap_patterns ? grow_patterns(r) : MUGA_OK;
    if (st != MUGA_OK)
        return st;
    uint64_t h = (uint64_t)(uintptr_t)pattern * 0x9E3779B97F4A7C15u >> 16;
    for (; r->patterns[h & (r->cap_patterns - 1)].pattern; h++)
        if (r->patterns[h & (r->cap_patterns - 1)].pattern == pattern) {
            *out = r->patterns[h & (r->cap_patterns - 1)].m;
            return MUGA_OK;
        }
    matcher *m = NULL;
    st = matcher_new(pattern, n, mode, &r->pattern_work, &m, r->err);
    if (st != MUGA_OK)
        return error_prefix(r->err, st, "schema: \"%.60s\"", pattern);
    r->patterns[h & (r->cap_patterns - 1)] = (struct validate_compiled){pattern, m};
    r->n_patterns++;
    *out = m;
    return MUGA_OK;
}

/* Is `pattern` found in (whole mode: all of) the text? */
muga_status validate_pattern(validate_run *r, span pattern, regex_mode mode, const char *s, size_t n, bool *yes) {
    const matcher *m = NULL;
    muga_status st = pattern_get(r, pattern.p, pattern.n, mode, &m);
    return st == MUGA_OK ? matcher_test(m, s, n, &r->match_work, yes, r->err) : st;
}

span validate_span(const json_t *v) {
    return span_of(json_string_value(v), json_string_length(v));
}

void validate_release_patterns(validate_run *r) {
    for (uint32_t i = 0; i < r->cap_patterns; i++)
        matcher_free(r->patterns[i].m);
    free(r->patterns);
}

/* ---- numbers and strings ---- */

muga_status validate_number(validate_run *r, const validate_call *c) {
    static const struct {
        const char *keyword, *why;
        int refuse_a, refuse_b; /* outcomes of compare(data, bound) that are invalid */
    } bounds[] = {{"minimum", "too small", -1, -1},
                  {"maximum", "too large", 1, 1},
                  {"exclusiveMinimum", "too small", -1, 0},
                  {"exclusiveMaximum", "too large", 1, 0}};
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        const json_t *v = json_object_get(c->schema, bounds[i].keyword);
        if (!v)
            continue;
        if (!json_is_number(v))
            return validate_unusable(r, bounds[i].keyword, "must be a number");
        int o = number_compare(c->data, v);
        o = o < 0 ? -1 : o > 0;
        if (o == bounds[i].refuse_a || o == bounds[i].refuse_b)
            return validate_invalid(r, c, bounds[i].keyword, bounds[i].why);
    }
    const json_t *v = json_object_get(c->schema, "multipleOf");
    if (!v)
        return MUGA_OK;
    if (!json_is_number(v) || json_number_value(v) <= 0)
        return validate_unusable(r, "multipleOf", "must be a number above 0");
    return number_is_multiple(c->data, v) ? MUGA_OK : validate_invalid(r, c, "multipleOf", "not a multiple");
}

/* A size limit is a non-negative integer; 2.0 is one. *has false: the keyword is not there. */
static muga_status read_size(validate_run *r, const json_t *schema, const char *keyword, uint64_t *out, bool *has) {
    const json_t *v = json_object_get(schema, keyword);
    *has = v != NULL;
    if (!v)
        return MUGA_OK;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || !number_is_integer(v))
        return validate_unusable(r, keyword, "must be a whole number, 0 or more");
    *out = json_is_integer(v) ? (uint64_t)json_integer_value(v) : d >= 1e18 ? UINT64_MAX : (uint64_t)d;
    return MUGA_OK;
}

static muga_status check_size(validate_run *r, const validate_call *c, const char *min_key, const char *max_key,
                              uint64_t n) {
    uint64_t limit;
    bool has;
    if (!c->asserts)
        return MUGA_OK;
    muga_status st = read_size(r, c->schema, min_key, &limit, &has);
    if (st == MUGA_OK && has && n < limit)
        return validate_invalid(r, c, min_key, "too few or too short");
    if (st == MUGA_OK)
        st = read_size(r, c->schema, max_key, &limit, &has);
    if (st == MUGA_OK && has && n > limit)
        return validate_invalid(r, c, max_key, "too many or too long");
    return st;
}

static muga_status check_format(validate_run *r, const validate_call *c, const char *name) {
    const char *p = json_string_value(c->data);
    size_t n = json_string_length(c->data);
    if (strcmp(name, "regex") == 0) {
        muga_error ignored = {0};
        muga_status st = matcher_check(p, n, &r->pattern_work, &ignored);
        if (st == MUGA_E_NOMEM)
            return error_nomem(r->err, "a pattern");
        return st == MUGA_E_INPUT ? validate_invalid(r, c, "format", "not a regex") : MUGA_OK;
    }
    bool known, ok = false;
    const char *pattern = format_pattern(name, &known);
    if (!pattern && strcmp(name, "idn-hostname") == 0)
        return idn_hostname(p, n) ? MUGA_OK : validate_invalid(r, c, "format", "not a valid idn-hostname");
    if (!pattern)
        return MUGA_OK;
    str text = STR_INIT;
    format_normalise(name, p, n, &text);
    muga_status st = str_status(&text, r->err, "a validation");
    if (st == MUGA_OK && n <= format_max_bytes(name))
        st = validate_pattern(r, span_of_string(pattern), REGEX_WHOLE, str_get(&text), text.len, &ok);
    str_release(&text);
    if (ok && strcmp(name, "hostname") == 0)
        ok = idn_ascii_hostname(p, n);
    if (st == MUGA_OK && !ok) {
        char why[80];
        snprintf(why, sizeof why, "not a valid %.60s", name);
        st = validate_invalid(r, c, "format", why);
    }
    return st;
}

muga_status validate_string(validate_run *r, const validate_call *c) {
    const char *p = json_string_value(c->data);
    size_t n = json_string_length(c->data);
    muga_status st = validate_spend(r, n / 16);
    if (st == MUGA_OK)
        st = check_size(r, c, "minLength", "maxLength", utf8_count(p, n));
    const json_t *v = c->asserts ? json_object_get(c->schema, "pattern") : NULL;
    if (st == MUGA_OK && v) {
        bool found = false;
        if (!json_is_string(v))
            return validate_unusable(r, "pattern", "must be a string");
        st = validate_pattern(r, validate_span(v), REGEX_SEARCH, p, n, &found);
        if (st == MUGA_OK && !found) {
            char why[120];
            snprintf(why, sizeof why, "does not match %.90s", json_string_value(v));
            st = validate_invalid(r, c, "pattern", why);
        }
    }
    const char *format = json_get_string(c->schema, "format");
    bool asserted = r->formats || r->index->resources[c->scope->resource].asserts_formats;
    return st == MUGA_OK && asserted && format ? check_format(r, c, format) : st;
}

/* ---- arrays ---- */

static int span_order(const void *x, const void *y) {
    const span *a = x, *b = y;
    int o = memcmp(a->p, b->p, MIN(a->n, b->n));
    return o ? o : a->n < b->n ? -1 : a->n > b->n;
}

/* Equal values have one canonical text; equal texts stand side by side when sorted. */
static muga_status check_unique(validate_run *r, const validate_call *c) {
    size_t n = json_array_size(c->data);
    if (n < 2)
        return MUGA_OK;
    str text = STR_INIT;
    size_t *from = mem_alloc_array(n + 1, sizeof *from);
    span *words = mem_alloc_array(n, sizeof *words);
    muga_status st = from && words ? MUGA_OK : error_nomem(r->err, "a validation");
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        from[i] = text.len;
        json_write_canonical(json_array_get(c->data, i), &text);
    }
    if (st == MUGA_OK)
        st = str_status(&text, r->err, "a validation");
    if (st == MUGA_OK)
        st = validate_spend(r, text.len / 8);
    if (st == MUGA_OK) {
        from[n] = text.len;
        for (size_t i = 0; i < n; i++)
            words[i] = span_of(text.data + from[i], from[i + 1] - from[i]);
        qsort(words, n, sizeof *words, span_order);
        for (size_t i = 1; i < n && st == MUGA_OK; i++)
            if (span_equal(words[i - 1], words[i]))
                st = validate_invalid(r, c, "uniqueItems", "two items are equal");
    }
    free(from);
    free(words);
    str_release(&text);
    return st;
}

static muga_status check_contains(validate_run *r, const validate_call *c) {
    const json_t *v = json_object_get(c->schema, "contains");
    if (!v)
        return MUGA_OK;
    uint64_t min = 1, max = UINT64_MAX, n = 0;
    bool has;
    muga_status st = MUGA_OK;
    if (!c->draft7 && c->asserts) {
        st = read_size(r, c->schema, "minContains", &min, &has);
        if (st == MUGA_OK)
            st = read_size(r, c->schema, "maxContains", &max, &has);
        if (st != MUGA_OK)
            return st;
    }
    for (size_t i = 0; i < json_array_size(c->data); i++) {
        r->quiet++;
        st = validate_item(r, c, v, i);
        r->quiet--;
        if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
            return st;
        n += st == MUGA_OK;
    }
    if (n < min)
        return validate_invalid(r, c, "contains", "too few items fit");
    return n > max ? validate_invalid(r, c, "maxContains", "too many items fit") : MUGA_OK;
}

static muga_status check_items(validate_run *r, const validate_call *c) {
    const json_t *prefix = json_object_get(c->schema, "prefixItems"), *rest = json_object_get(c->schema, "items");
    if (c->draft7 || json_is_array(rest)) { /* the array form of `items` is read in every draft */
        prefix = json_is_array(rest) ? rest : NULL;
        rest = prefix ? json_object_get(c->schema, "additionalItems") : rest;
    }
    size_t n = json_array_size(c->data), n_prefix = json_array_size(prefix);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = i < n_prefix ? json_array_get(prefix, i) : rest;
        muga_status st = v ? validate_item(r, c, v, i) : MUGA_OK;
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

muga_status validate_array(validate_run *r, const validate_call *c) {
    muga_status st = check_size(r, c, "minItems", "maxItems", json_array_size(c->data));
    if (st == MUGA_OK)
        st = check_items(r, c);
    if (st == MUGA_OK)
        st = check_contains(r, c);
    if (st == MUGA_OK && c->asserts && json_is_true(json_object_get(c->schema, "uniqueItems")))
        st = check_unique(r, c);
    return st;
}

/* ---- objects ---- */

static muga_status check_required(validate_run *r, const validate_call *c, const json_t *names, const char *keyword) {
    if (!names || !c->asserts)
        return MUGA_OK;
    if (!json_is_array(names))
        return validate_unusable(r, keyword, "must be an array of names");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *name = json_array_get(names, i);
        if (!json_is_string(name))
            return validate_unusable(r, keyword, "must be an array of names");
        if (!json_object_getn(c->data, json_string_value(name), json_string_length(name))) {
            char why[120];
            snprintf(why, sizeof why, "\"%.90s\" is missing", json_string_value(name));
            return validate_invalid(r, c, keyword, why);
        }
    }
    return MUGA_OK;
}

static muga_status check_patterns(validate_run *r, const validate_call *c, const validate_member *m,
                                  const json_t *patterns, bool *matched) {
    for (void *it = json_object_iter(json_borrow(patterns)); it;
         it = json_object_iter_next(json_borrow(patterns), it)) {
        bool found = false;
        span pattern = span_of(json_object_iter_key(it), json_object_iter_key_len(it));
        muga_status st = validate_pattern(r, pattern, REGEX_SEARCH, m->key, m->n, &found);
        if (st == MUGA_OK && found) {
            *matched = true;
            st = validate_member_value(r, c, m, json_object_iter_value(it));
        }
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

static muga_status check_member(validate_run *r, const validate_call *c, const validate_member *m) {
    const json_t *declared = json_object_getn(json_object_get(c->schema, "properties"), m->key, m->n);
    const json_t *others = json_object_get(c->schema, "additionalProperties");
    const json_t *names = json_object_get(c->schema, "propertyNames");
    bool matched = declared != NULL;
    muga_status st = declared ? validate_member_value(r, c, m, declared) : MUGA_OK;
    if (st == MUGA_OK)
        st = check_patterns(r, c, m, json_object_get(c->schema, "patternProperties"), &matched);
    if (st == MUGA_OK && others && !matched) {
        if (json_is_false(others)) {
            validate_place at = {c->at, m->key, 0};
            validate_call named = *c;
            named.at = &at;
            return validate_invalid(r, &named, "additionalProperties", "a property that the schema doesn't have");
        }
        st = validate_member_value(r, c, m, others);
    }
    if (st == MUGA_OK && names) {
        json_t *name = json_stringn(m->key, m->n);
        if (!name)
            return error_nomem(r->err, "a validation");
        validate_place at = {c->at, m->key, 0};
        st = validate_at(r, names, name, &at, c->scope, NULL);
        json_decref(name);
    }
    return st;
}

static muga_status check_dependencies(validate_run *r, const validate_call *c) {
    static const char *const keywords[] = {"dependencies", "dependentRequired", "dependentSchemas"};
    for (int k = 0; k < 3; k++) {
        const json_t *v = json_object_get(c->schema, keywords[k]);
        if (!v || (k > 0 && c->draft7) ||
            (k == 0 && r->index->resources[c->scope->resource].draft == CONSTRAIN_DRAFT_2020_12))
            continue;
        for (void *it = json_object_iter(json_borrow(v)); it; it = json_object_iter_next(json_borrow(v), it)) {
            if (!json_object_getn(c->data, json_object_iter_key(it), json_object_iter_key_len(it)))
                continue;
            const json_t *then = json_object_iter_value(it);
            muga_status st = json_is_array(then) ? check_required(r, c, then, keywords[k])
                                                 : validate_in_place(r, c, then);
            if (st != MUGA_OK)
                return st;
        }
    }
    return MUGA_OK;
}

muga_status validate_object(validate_run *r, const validate_call *c) {
    static const char *const maps[] = {"properties", "patternProperties"};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        if (json_object_get(c->schema, maps[i]) && !json_is_object(json_object_get(c->schema, maps[i])))
            return validate_unusable(r, maps[i], "must be an object");
    muga_status st = check_size(r, c, "minProperties", "maxProperties", json_object_size(c->data));
    if (st == MUGA_OK)
        st = check_required(r, c, json_object_get(c->schema, "required"), "required");
    validate_member m = {0};
    for (void *it = json_object_iter(json_borrow(c->data)); it && st == MUGA_OK;
         it = json_object_iter_next(json_borrow(c->data), it), m.index++) {
        m.key = json_object_iter_key(it);
        m.n = json_object_iter_key_len(it);
        m.value = json_object_iter_value(it);
        st = check_member(r, c, &m);
    }
    return st == MUGA_OK ? check_dependencies(r, c) : st;
}
