/* The validator: drafts 7 and 2020-12 over jansson values. Owns: one run (references, compiled patterns, what was
 * evaluated). Refuses: schemas that can't be read (wrong type of a keyword, a reference that leads nowhere, what is no
 * pattern), references that never end, and runs past VALIDATE_MAX_WORK steps.
 *
 * Idea: one function per family of keywords, each reading its keywords in a fixed order. `$ref` and the applicators
 * call back into validate_at with the same value. What unevaluated* must know is carried in a seen-set per value,
 * kept only where the document holds such a keyword. Inside anyOf, not, if and contains a failure is an answer, not an
 * error, so no message is made there (quiet > 0). */
#include "base/mem.h"
#include "base/utf8.h"
#include "constrain/format.h"
#include "constrain/front.h"
#include "constrain/idn.h"
#include "constrain/matcher.h"

#define VALIDATE_MAX_WORK 20000000u
#define VALIDATE_MAX_DEPTH 1200

typedef struct place {
    const struct place *parent;
    const char *key; /* NULL: an index */
    size_t index;
} place;

/* Which properties (in iteration order) or items of one value have been evaluated. NULL: nobody asks. */
typedef struct seen {
    bool *at;
    size_t n;
} seen;

typedef struct scope { /* resources entered, innermost first */
    const struct scope *outer;
    uint32_t resource;
} scope;

typedef struct compiled {
    const char *pattern; /* by address: the schema outlives the run */
    matcher *m;
} compiled;

typedef struct run {
    schema_index *index;
    bool candidate; /* the opposites that the front end made count */
    uint32_t done;  /* what is dealt with of the outermost schema (front.h) */
    bool formats;
    int quiet, depth;
    uint64_t work, pattern_work, match_work;
    compiled *patterns; /* open addressing */
    uint32_t n_patterns, cap_patterns;
    muga_error *err;
} run;

typedef struct call {
    const json_t *schema, *data;
    const place *at;
    const scope *scope;
    seen *seen;
    bool draft7;
    bool asserts; /* false: its vocabulary leaves validation out */
} call;

static muga_status validate_at(run *r, const json_t *schema, const json_t *data, const place *at, const scope *sc,
                               seen *se);

/* ---- messages ---- */

static void write_pointer(const place *at, str *out) {
    const place *chain[JSON_MAX_DEPTH + 2];
    int n = 0;
    for (; at && at->parent && n < (int)ARRAY_LEN(chain); at = at->parent)
        chain[n++] = at;
    while (n-- > 0) {
        str_append_c(out, '/');
        if (!chain[n]->key)
            str_printf(out, "%zu", chain[n]->index);
        for (const char *p = chain[n]->key; p && *p; p++) {
            if (*p == '~' || *p == '/')
                str_append_s(out, *p == '~' ? "~0" : "~1");
            else
                str_append_c(out, *p);
        }
    }
}

static muga_status invalid(run *r, const call *c, const char *keyword, const char *why) {
    if (r->quiet > 0)
        return MUGA_E_NEGATIVE;
    str p = STR_INIT;
    write_pointer(c->at, &p);
    muga_status st = error_set(r->err, MUGA_E_NEGATIVE, "at \"%s\": %s: %s", str_get(&p), keyword, why);
    str_release(&p);
    return st;
}

static muga_status unusable(run *r, const char *keyword, const char *why) {
    return error_set(r->err, MUGA_E_INPUT, "schema: \"%s\" %s", keyword, why);
}

/* ---- patterns ---- */

static muga_status grow_patterns(run *r) {
    uint32_t cap = r->cap_patterns ? r->cap_patterns * 2 : 16;
    compiled *v = mem_alloc_array(cap, sizeof *v);
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

static muga_status pattern_get(run *r, const char *pattern, size_t n, regex_mode mode, const matcher **out) {
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
    r->patterns[h & (r->cap_patterns - 1)] = (compiled){pattern, m};
    r->n_patterns++;
    *out = m;
    return MUGA_OK;
}

/* Is `pattern` found in (whole mode: all of) the text? */
static muga_status pattern_test(run *r, span pattern, regex_mode mode, const char *s, size_t n, bool *yes) {
    const matcher *m = NULL;
    muga_status st = pattern_get(r, pattern.p, pattern.n, mode, &m);
    return st == MUGA_OK ? matcher_test(m, s, n, &r->match_work, yes, r->err) : st;
}

static span json_span(const json_t *v) {
    return span_of(json_string_value(v), json_string_length(v));
}

/* ---- seen-sets ---- */

static size_t size_of(const json_t *v) {
    return json_is_array(v) ? json_array_size(v) : json_is_object(v) ? json_object_size(v) : 0;
}

static muga_status seen_new(run *r, const call *c, seen *out) {
    out->n = size_of(c->data);
    out->at = mem_alloc_array(out->n, 1);
    return out->at ? MUGA_OK : error_nomem(r->err, "a validation");
}

static void seen_add(seen *to, const seen *from) {
    for (size_t i = 0; to && i < to->n && i < from->n; i++)
        to->at[i] |= from->at[i];
}

/* The subschema on the same value. What it evaluated counts only if it is valid. */
static muga_status apply_in_place(run *r, const call *c, const json_t *schema) {
    if (!c->seen)
        return validate_at(r, schema, c->data, c->at, c->scope, NULL);
    seen own;
    muga_status st = seen_new(r, c, &own);
    if (st != MUGA_OK)
        return st;
    st = validate_at(r, schema, c->data, c->at, c->scope, &own);
    if (st == MUGA_OK)
        seen_add(c->seen, &own);
    free(own.at);
    return st;
}

static muga_status apply_quietly(run *r, const call *c, const json_t *schema) {
    r->quiet++;
    muga_status st = apply_in_place(r, c, schema);
    r->quiet--;
    return st;
}

static muga_status apply_to_item(run *r, const call *c, const json_t *schema, size_t i) {
    place at = {c->at, NULL, i};
    muga_status st = validate_at(r, schema, json_array_get(c->data, i), &at, c->scope, NULL);
    if (st == MUGA_OK && c->seen)
        c->seen->at[i] = true;
    return st;
}

/* ---- references ---- */

/* Of the outermost schema, and of no other place where it is referred to. */
static bool dealt_with(const run *r, uint32_t flag) {
    return r->depth == 1 && r->done & flag;
}

static muga_status check_refs(run *r, const call *c, bool *stop) {
    static const char *const keywords[] = {"$ref", "$dynamicRef"};
    *stop = false;
    if (dealt_with(r, DONE_REFS) && !c->seen)
        return MUGA_OK;
    for (int k = 0; k < (c->draft7 ? 1 : 2); k++) {
        const json_t *v = json_object_get(c->schema, keywords[k]);
        if (!v)
            continue;
        if (!json_is_string(v))
            return unusable(r, keywords[k], "must be a string");
        const json_t *target;
        const char *anchor;
        muga_status st =
            schema_index_resolve(r->index, c->scope->resource, json_string_value(v), &target, &anchor, r->err);
        if (st != MUGA_OK)
            return st;
        if (k == 1 && anchor) /* the outermost resource that has this dynamic anchor */
            for (const scope *s = c->scope; s; s = s->outer) {
                const json_t *outer = schema_index_dynamic(r->index, s->resource, anchor);
                if (outer)
                    target = outer;
            }
        st = apply_in_place(r, c, target);
        if (st != MUGA_OK)
            return st;
        *stop = c->draft7;
    }
    return MUGA_OK;
}

/* ---- any value ---- */

static bool type_is(const json_t *data, const char *type, bool *known) {
    *known = true;
    if (strcmp(type, "null") == 0)
        return json_is_null(data);
    if (strcmp(type, "boolean") == 0)
        return json_is_boolean(data);
    if (strcmp(type, "integer") == 0)
        return json_is_number(data) && number_is_integer(data);
    if (strcmp(type, "number") == 0)
        return json_is_number(data);
    if (strcmp(type, "string") == 0)
        return json_is_string(data);
    if (strcmp(type, "array") == 0)
        return json_is_array(data);
    if (strcmp(type, "object") == 0)
        return json_is_object(data);
    *known = false;
    return false;
}

static const char *type_name(const json_t *v) {
    static const char *const names[] = {"object", "array", "string", "integer", "number", "boolean", "boolean", "null"};
    return names[json_typeof(v)];
}

static muga_status check_type(run *r, const call *c) {
    const json_t *v = json_object_get(c->schema, "type");
    if (!v)
        return MUGA_OK;
    bool any = false;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        bool known = false;
        any |= json_is_string(one) && type_is(c->data, json_string_value(one), &known);
        if (!known)
            return unusable(r, "type", "names no JSON type");
    }
    if (any)
        return MUGA_OK;
    char why[120];
    snprintf(why, sizeof why, "expected %.60s, found %s",
             n == 1 && json_is_string(v) ? json_string_value(v) : "another", type_name(c->data));
    return invalid(r, c, "type", why);
}

/* The keywords of schemas that the front end made as the opposite of others; read for candidates only. */
static muga_status check_opposites(run *r, const call *c) {
    const json_t *none = json_object_get(c->schema, KEY_NOT_VALUES), *p = json_object_get(c->schema, KEY_NOT_PATTERN);
    for (size_t i = 0; i < json_array_size(none); i++)
        if (json_same(json_array_get(none, i), c->data))
            return invalid(r, c, "not", "an excluded value");
    if (!json_is_string(p) || !json_is_string(c->data))
        return MUGA_OK;
    bool found;
    span text = json_span(c->data);
    muga_status st = pattern_test(r, json_span(p), REGEX_SEARCH, text.p, text.n, &found);
    return st == MUGA_OK && found ? invalid(r, c, "not", "an excluded pattern") : st;
}

static muga_status check_values(run *r, const call *c) {
    muga_status st = r->candidate ? check_opposites(r, c) : MUGA_OK;
    if (st != MUGA_OK || dealt_with(r, DONE_VALUES))
        return st;
    const json_t *v = json_object_get(c->schema, "enum");
    if (v && !json_is_array(v))
        return unusable(r, "enum", "must be an array");
    bool any = v == NULL;
    for (size_t i = 0; v && !any && i < json_array_size(v); i++) {
        any = json_same(json_array_get(v, i), c->data);
        r->work -= MIN(r->work, 1);
    }
    if (!any)
        return invalid(r, c, "enum", "none of the allowed values");
    v = json_object_get(c->schema, "const");
    return v && !json_same(v, c->data) ? invalid(r, c, "const", "not the required value") : MUGA_OK;
}

static muga_status check_combined(run *r, const call *c) {
    static const char *const keywords[] = {"allOf", "anyOf", "oneOf"};
    static const uint32_t flags[] = {DONE_REFS, DONE_ANY, DONE_ONE};
    for (int k = 0; k < 3; k++) {
        const json_t *v = json_object_get(c->schema, keywords[k]);
        if (!v || (dealt_with(r, flags[k]) && !c->seen))
            continue;
        if (!json_is_array(v))
            return unusable(r, keywords[k], "must be an array");
        size_t n_valid = 0;
        for (size_t i = 0; i < json_array_size(v); i++) {
            const json_t *sub = json_array_get(v, i);
            muga_status st = k == 0 ? apply_in_place(r, c, sub) : apply_quietly(r, c, sub);
            if (st != MUGA_OK && (st != MUGA_E_NEGATIVE || k == 0))
                return st;
            n_valid += st == MUGA_OK;
            if (n_valid == 1 && k == 1 && !c->seen)
                break; /* nobody asks what the others evaluate */
        }
        if (k == 1 && n_valid == 0)
            return invalid(r, c, "anyOf", "no alternative fits");
        if (k == 2 && n_valid != 1)
            return invalid(r, c, "oneOf", n_valid ? "more than one alternative fits" : "no alternative fits");
    }
    return MUGA_OK;
}

static muga_status check_conditions(run *r, const call *c) {
    const json_t *v = json_object_get(c->schema, "not");
    if (v) {
        call alone = *c; /* what `not` evaluates never counts */
        alone.seen = NULL;
        muga_status st = apply_quietly(r, &alone, v);
        if (st == MUGA_OK)
            return invalid(r, c, "not", "it fits what it must not fit");
        if (st != MUGA_E_NEGATIVE)
            return st;
    }
    v = json_object_get(c->schema, "if");
    if (!v)
        return MUGA_OK;
    muga_status st = apply_quietly(r, c, v);
    if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
        return st;
    v = json_object_get(c->schema, st == MUGA_OK ? "then" : "else");
    return v ? apply_in_place(r, c, v) : MUGA_OK;
}

/* ---- numbers and strings ---- */

static muga_status check_number(run *r, const call *c) {
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
            return unusable(r, bounds[i].keyword, "must be a number");
        int o = number_compare(c->data, v);
        o = o < 0 ? -1 : o > 0;
        if (o == bounds[i].refuse_a || o == bounds[i].refuse_b)
            return invalid(r, c, bounds[i].keyword, bounds[i].why);
    }
    const json_t *v = json_object_get(c->schema, "multipleOf");
    if (!v)
        return MUGA_OK;
    if (!json_is_number(v) || json_number_value(v) <= 0)
        return unusable(r, "multipleOf", "must be a number above 0");
    return number_is_multiple(c->data, v) ? MUGA_OK : invalid(r, c, "multipleOf", "not a multiple");
}

/* A size limit is a non-negative integer; 2.0 is one. *has false: the keyword is not there. */
static muga_status read_size(run *r, const json_t *schema, const char *keyword, uint64_t *out, bool *has) {
    const json_t *v = json_object_get(schema, keyword);
    *has = v != NULL;
    if (!v)
        return MUGA_OK;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || !number_is_integer(v))
        return unusable(r, keyword, "must be a whole number, 0 or more");
    *out = json_is_integer(v) ? (uint64_t)json_integer_value(v) : d >= 1e18 ? UINT64_MAX : (uint64_t)d;
    return MUGA_OK;
}

static muga_status check_size(run *r, const call *c, const char *min_key, const char *max_key, uint64_t n) {
    uint64_t limit;
    bool has;
    if (!c->asserts)
        return MUGA_OK;
    muga_status st = read_size(r, c->schema, min_key, &limit, &has);
    if (st == MUGA_OK && has && n < limit)
        return invalid(r, c, min_key, "too few or too short");
    if (st == MUGA_OK)
        st = read_size(r, c->schema, max_key, &limit, &has);
    if (st == MUGA_OK && has && n > limit)
        return invalid(r, c, max_key, "too many or too long");
    return st;
}

static muga_status check_format(run *r, const call *c, const char *name) {
    const char *p = json_string_value(c->data);
    size_t n = json_string_length(c->data);
    if (strcmp(name, "regex") == 0) {
        muga_error ignored = {0};
        muga_status st = matcher_check(p, n, &r->pattern_work, &ignored);
        if (st == MUGA_E_NOMEM)
            return error_nomem(r->err, "a pattern");
        return st == MUGA_E_INPUT ? invalid(r, c, "format", "not a regex") : MUGA_OK;
    }
    bool known, ok = false;
    const char *pattern = format_pattern(name, &known);
    if (!pattern && strcmp(name, "idn-hostname") == 0)
        return idn_hostname(p, n) ? MUGA_OK : invalid(r, c, "format", "not a valid idn-hostname");
    if (!pattern)
        return MUGA_OK;
    str text = STR_INIT;
    format_normalise(name, p, n, &text);
    muga_status st = str_status(&text, r->err, "a validation");
    if (st == MUGA_OK && n <= format_max_bytes(name))
        st = pattern_test(r, span_of_string(pattern), REGEX_WHOLE, str_get(&text), text.len, &ok);
    str_release(&text);
    if (ok && strcmp(name, "hostname") == 0)
        ok = idn_ascii_hostname(p, n);
    if (st == MUGA_OK && !ok) {
        char why[80];
        snprintf(why, sizeof why, "not a valid %.60s", name);
        st = invalid(r, c, "format", why);
    }
    return st;
}

static muga_status check_string(run *r, const call *c) {
    const char *p = json_string_value(c->data);
    size_t n = json_string_length(c->data);
    r->work -= MIN(r->work, n / 16);
    muga_status st = check_size(r, c, "minLength", "maxLength", utf8_count(p, n));
    const json_t *v = c->asserts ? json_object_get(c->schema, "pattern") : NULL;
    if (st == MUGA_OK && v) {
        bool found = false;
        if (!json_is_string(v))
            return unusable(r, "pattern", "must be a string");
        st = pattern_test(r, json_span(v), REGEX_SEARCH, p, n, &found);
        if (st == MUGA_OK && !found) {
            char why[120];
            snprintf(why, sizeof why, "does not match %.90s", json_string_value(v));
            st = invalid(r, c, "pattern", why);
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
static muga_status check_unique(run *r, const call *c) {
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
    if (st == MUGA_OK) {
        from[n] = text.len;
        for (size_t i = 0; i < n; i++)
            words[i] = span_of(text.data + from[i], from[i + 1] - from[i]);
        qsort(words, n, sizeof *words, span_order);
        for (size_t i = 1; i < n && st == MUGA_OK; i++)
            if (span_equal(words[i - 1], words[i]))
                st = invalid(r, c, "uniqueItems", "two items are equal");
    }
    r->work -= MIN(r->work, n);
    free(from);
    free(words);
    str_release(&text);
    return st;
}

static muga_status check_contains(run *r, const call *c) {
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
        st = apply_to_item(r, c, v, i);
        r->quiet--;
        if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
            return st;
        n += st == MUGA_OK;
    }
    if (n < min)
        return invalid(r, c, "contains", "too few items fit");
    return n > max ? invalid(r, c, "maxContains", "too many items fit") : MUGA_OK;
}

static muga_status check_items(run *r, const call *c) {
    const json_t *prefix = json_object_get(c->schema, "prefixItems"), *rest = json_object_get(c->schema, "items");
    if (c->draft7 || json_is_array(rest)) { /* the array form of `items` is read in every draft */
        prefix = json_is_array(rest) ? rest : NULL;
        rest = prefix ? json_object_get(c->schema, "additionalItems") : rest;
    }
    size_t n = json_array_size(c->data), n_prefix = json_array_size(prefix);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = i < n_prefix ? json_array_get(prefix, i) : rest;
        muga_status st = v ? apply_to_item(r, c, v, i) : MUGA_OK;
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

static muga_status check_array(run *r, const call *c) {
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

static muga_status check_required(run *r, const call *c, const json_t *names, const char *keyword) {
    if (!names || !c->asserts)
        return MUGA_OK;
    if (!json_is_array(names))
        return unusable(r, keyword, "must be an array of names");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *name = json_array_get(names, i);
        if (!json_is_string(name))
            return unusable(r, keyword, "must be an array of names");
        if (!json_object_getn(c->data, json_string_value(name), json_string_length(name))) {
            char why[120];
            snprintf(why, sizeof why, "\"%.90s\" is missing", json_string_value(name));
            return invalid(r, c, keyword, why);
        }
    }
    return MUGA_OK;
}

typedef struct member {
    const char *key;
    size_t n, index;
    const json_t *value;
} member;

static muga_status apply_to_member(run *r, const call *c, const member *m, const json_t *schema) {
    place at = {c->at, m->key, 0};
    muga_status st = validate_at(r, schema, m->value, &at, c->scope, NULL);
    if (st == MUGA_OK && c->seen)
        c->seen->at[m->index] = true;
    return st;
}

static muga_status check_patterns(run *r, const call *c, const member *m, const json_t *patterns, bool *matched) {
    for (void *it = json_object_iter((json_t *)(uintptr_t)patterns); it;
         it = json_object_iter_next((json_t *)(uintptr_t)patterns, it)) {
        bool found = false;
        span pattern = span_of(json_object_iter_key(it), json_object_iter_key_len(it));
        muga_status st = pattern_test(r, pattern, REGEX_SEARCH, m->key, m->n, &found);
        if (st == MUGA_OK && found) {
            *matched = true;
            st = apply_to_member(r, c, m, json_object_iter_value(it));
        }
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

static muga_status check_member(run *r, const call *c, const member *m) {
    const json_t *declared = json_object_getn(json_object_get(c->schema, "properties"), m->key, m->n);
    const json_t *others = json_object_get(c->schema, "additionalProperties");
    const json_t *names = json_object_get(c->schema, "propertyNames");
    bool matched = declared != NULL;
    muga_status st = declared ? apply_to_member(r, c, m, declared) : MUGA_OK;
    if (st == MUGA_OK)
        st = check_patterns(r, c, m, json_object_get(c->schema, "patternProperties"), &matched);
    if (st == MUGA_OK && others && !matched) {
        if (json_is_false(others)) {
            place at = {c->at, m->key, 0};
            call named = *c;
            named.at = &at;
            return invalid(r, &named, "additionalProperties", "a property that the schema doesn't have");
        }
        st = apply_to_member(r, c, m, others);
    }
    if (st == MUGA_OK && names) {
        json_t *name = json_stringn(m->key, m->n);
        if (!name)
            return error_nomem(r->err, "a validation");
        place at = {c->at, m->key, 0};
        st = validate_at(r, names, name, &at, c->scope, NULL);
        json_decref(name);
    }
    return st;
}

static muga_status check_dependencies(run *r, const call *c) {
    static const char *const keywords[] = {"dependencies", "dependentRequired", "dependentSchemas"};
    for (int k = 0; k < 3; k++) {
        const json_t *v = json_object_get(c->schema, keywords[k]);
        if (!v || (k > 0 && c->draft7) ||
            (k == 0 && r->index->resources[c->scope->resource].draft == CONSTRAIN_DRAFT_2020_12))
            continue;
        for (void *it = json_object_iter((json_t *)(uintptr_t)v); it;
             it = json_object_iter_next((json_t *)(uintptr_t)v, it)) {
            if (!json_object_getn(c->data, json_object_iter_key(it), json_object_iter_key_len(it)))
                continue;
            const json_t *then = json_object_iter_value(it);
            muga_status st = json_is_array(then) ? check_required(r, c, then, keywords[k]) : apply_in_place(r, c, then);
            if (st != MUGA_OK)
                return st;
        }
    }
    return MUGA_OK;
}

static muga_status check_object(run *r, const call *c) {
    static const char *const maps[] = {"properties", "patternProperties"};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        if (json_object_get(c->schema, maps[i]) && !json_is_object(json_object_get(c->schema, maps[i])))
            return unusable(r, maps[i], "must be an object");
    muga_status st = check_size(r, c, "minProperties", "maxProperties", json_object_size(c->data));
    if (st == MUGA_OK)
        st = check_required(r, c, json_object_get(c->schema, "required"), "required");
    member m = {0};
    for (void *it = json_object_iter((json_t *)(uintptr_t)c->data); it && st == MUGA_OK;
         it = json_object_iter_next((json_t *)(uintptr_t)c->data, it), m.index++) {
        m.key = json_object_iter_key(it);
        m.n = json_object_iter_key_len(it);
        m.value = json_object_iter_value(it);
        st = check_member(r, c, &m);
    }
    return st == MUGA_OK ? check_dependencies(r, c) : st;
}

/* After everything else on this value has said what it evaluated. */
static muga_status check_unevaluated(run *r, const call *c) {
    if (!c->seen || c->draft7)
        return MUGA_OK;
    const json_t *items = json_object_get(c->schema, "unevaluatedItems");
    const json_t *props = json_object_get(c->schema, "unevaluatedProperties");
    muga_status st = MUGA_OK;
    for (size_t i = 0; json_is_array(c->data) && items && i < c->seen->n && st == MUGA_OK; i++)
        if (!c->seen->at[i])
            st = apply_to_item(r, c, items, i);
    member m = {0};
    void *it = json_is_object(c->data) && props ? json_object_iter((json_t *)(uintptr_t)c->data) : NULL;
    for (; it && st == MUGA_OK; it = json_object_iter_next((json_t *)(uintptr_t)c->data, it), m.index++) {
        m.key = json_object_iter_key(it);
        m.value = json_object_iter_value(it);
        if (!c->seen->at[m.index])
            st = apply_to_member(r, c, &m, props);
    }
    return st;
}

/* ---- one schema, one value ---- */

static muga_status check_all(run *r, const call *c) {
    bool stop;
    muga_status st = check_refs(r, c, &stop);
    if (st != MUGA_OK || stop)
        return st;
    st = c->asserts ? check_type(r, c) : MUGA_OK;
    if (st == MUGA_OK && c->asserts)
        st = check_values(r, c);
    if (st == MUGA_OK && c->asserts && json_is_number(c->data))
        st = check_number(r, c);
    else if (st == MUGA_OK && json_is_string(c->data))
        st = check_string(r, c);
    else if (st == MUGA_OK && json_is_array(c->data))
        st = check_array(r, c);
    else if (st == MUGA_OK && json_is_object(c->data))
        st = check_object(r, c);
    if (st == MUGA_OK)
        st = check_combined(r, c);
    if (st == MUGA_OK)
        st = check_conditions(r, c);
    return st == MUGA_OK ? check_unevaluated(r, c) : st;
}

static muga_status validate_at(run *r, const json_t *schema, const json_t *data, const place *at, const scope *sc,
                               seen *se) {
    call c = {.schema = schema, .data = data, .at = at, .scope = sc, .seen = se};
    if (json_is_boolean(schema))
        return json_is_true(schema) ? MUGA_OK : invalid(r, &c, "false", "nothing is allowed here");
    if (!json_is_object(schema))
        return error_set(r->err, MUGA_E_INPUT, "schema: a subschema must be an object or a boolean");
    if (r->work == 0)
        return error_set(r->err, MUGA_E_LIMIT, "schema: validation takes more than %u steps; simplify the schema",
                         VALIDATE_MAX_WORK);
    if (r->depth >= VALIDATE_MAX_DEPTH)
        return error_set(r->err, MUGA_E_INPUT, "schema: references lead into each other without end");
    r->work--;
    r->depth++;
    uint32_t resource = schema_index_resource(r->index, schema);
    scope inner = {sc, resource};
    if (!sc || sc->resource != resource)
        c.scope = &inner;
    c.draft7 = schema_index_is_draft7(r->index, resource);
    c.asserts = !r->index->resources[resource].asserts_nothing;
    seen own = {0};
    muga_status st = MUGA_OK;
    if (!se && r->index->unevaluated && size_of(data) > 0) {
        st = seen_new(r, &c, &own);
        c.seen = &own;
    }
    if (st == MUGA_OK)
        st = check_all(r, &c);
    free(own.at);
    r->depth--;
    return st;
}

static void run_release(run *r) {
    for (uint32_t i = 0; i < r->cap_patterns; i++)
        matcher_free(r->patterns[i].m);
    free(r->patterns);
}

#define VALIDATE_PATTERN_WORK (8u << 20)
#define VALIDATE_MATCH_WORK (8u << 20) /* steps of patterns that aren't regular */

muga_status constrain_validate(const json_t *schema, const json_t *data, const constrain_validate_options *options,
                               muga_error *err) {
    schema_index index;
    run r = {.index = &index,
             .formats = options && options->formats,
             .work = VALIDATE_MAX_WORK,
             .pattern_work = VALIDATE_PATTERN_WORK,
             .match_work = VALIDATE_MATCH_WORK,
             .err = err};
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return error_set(err, MUGA_E_INPUT, "schema: must be an object or a boolean");
    muga_status st = schema_index_init(&index, schema, options ? options->draft : CONSTRAIN_DRAFT_AUTO,
                                       options ? options->documents : NULL, err);
    if (st != MUGA_OK)
        return st;
    place root = {NULL, NULL, 0};
    st = validate_at(&r, schema, data, &root, NULL, NULL);
    run_release(&r);
    schema_index_release(&index);
    return st;
}

muga_status validate_candidate(schema_index *x, const json_t *schema, uint32_t done, const json_t *data, uint64_t *work,
                               muga_error *err) {
    run r = {.index = x,
             .formats = true,
             .work = *work,
             .pattern_work = *work,
             .match_work = *work,
             .candidate = true,
             .done = done,
             .err = err};
    place root = {NULL, NULL, 0};
    muga_status st = validate_at(&r, schema, data, &root, NULL, NULL);
    uint64_t left = MIN(r.work, MIN(r.pattern_work, r.match_work));
    *work = left > 8 ? left - 8 : 0;
    run_release(&r);
    return st;
}
