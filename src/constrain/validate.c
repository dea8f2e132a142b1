/* The validator: drafts 7 and 2020-12 over jansson values. Owns: one run (references, compiled patterns, what was
 * evaluated). Refuses: schemas that can't be read (wrong type of a keyword, a reference that leads nowhere, what is no
 * pattern), references that never end, and runs past VALIDATE_MAX_WORK steps.
 *
 * Idea: one function per family of keywords, each reading its keywords in a fixed order. `$ref` and the applicators
 * call back into validate_at with the same value. What unevaluated* must know is carried in a seen-set per value,
 * kept only where the document holds such a keyword. Inside anyOf, not, if and contains a failure is an answer, not an
 * error, so no message is made there (quiet > 0). */
#include "constrain/validate.h"

#include "base/mem.h"

#define VALIDATE_MAX_WORK 8000000u
#define VALIDATE_MAX_DEPTH 1200

/* ---- messages ---- */

static void write_pointer(const validate_place *at, str *out) {
    const validate_place *chain[JSON_MAX_DEPTH + 2];
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

muga_status validate_invalid(validate_run *r, const validate_call *c, const char *keyword, const char *why) {
    if (r->quiet > 0)
        return MUGA_E_NEGATIVE;
    str p = STR_INIT;
    write_pointer(c->at, &p);
    muga_status st = error_set(r->err, MUGA_E_NEGATIVE, "at \"%s\": %s: %s", str_get(&p), keyword, why);
    str_release(&p);
    return st;
}

muga_status validate_unusable(validate_run *r, const char *keyword, const char *why) {
    return error_set(r->err, MUGA_E_INPUT, "schema: \"%s\" %s", keyword, why);
}

muga_status validate_spend(validate_run *r, uint64_t n) {
    r->work -= MIN(r->work, n);
    if (r->work > 0)
        return MUGA_OK;
    return error_set(r->err, MUGA_E_LIMIT, "schema: validation takes more than %u steps; simplify the schema",
                     VALIDATE_MAX_WORK);
}

/* ---- seen-sets ---- */

static size_t size_of(const json_t *v) {
    return json_is_array(v) ? json_array_size(v) : json_is_object(v) ? json_object_size(v) : 0;
}

static muga_status seen_new(validate_run *r, const validate_call *c, validate_seen *out) {
    out->n = size_of(c->data);
    muga_status st = validate_spend(r, out->n / 32);
    out->at = st == MUGA_OK ? mem_alloc_array(out->n, 1) : NULL;
    return st != MUGA_OK || out->at ? st : error_nomem(r->err, "a validation");
}

static void seen_add(validate_seen *to, const validate_seen *from) {
    for (size_t i = 0; to && i < to->n && i < from->n; i++)
        to->at[i] |= from->at[i];
}

/* The subschema on the same value. What it evaluated counts only if it is valid. */
muga_status validate_in_place(validate_run *r, const validate_call *c, const json_t *schema) {
    if (!c->seen)
        return validate_at(r, schema, c->data, c->at, c->scope, NULL);
    validate_seen own;
    muga_status st = seen_new(r, c, &own);
    if (st != MUGA_OK)
        return st;
    st = validate_at(r, schema, c->data, c->at, c->scope, &own);
    if (st == MUGA_OK)
        seen_add(c->seen, &own);
    free(own.at);
    return st;
}

static muga_status apply_quietly(validate_run *r, const validate_call *c, const json_t *schema) {
    r->quiet++;
    muga_status st = validate_in_place(r, c, schema);
    r->quiet--;
    return st;
}

muga_status validate_item(validate_run *r, const validate_call *c, const json_t *schema, size_t i) {
    validate_place at = {c->at, NULL, i};
    muga_status st = validate_at(r, schema, json_array_get(c->data, i), &at, c->scope, NULL);
    if (st == MUGA_OK && c->seen)
        c->seen->at[i] = true;
    return st;
}

muga_status validate_member_value(validate_run *r, const validate_call *c, const validate_member *m,
                                  const json_t *schema) {
    validate_place at = {c->at, m->key, 0};
    muga_status st = validate_at(r, schema, m->value, &at, c->scope, NULL);
    if (st == MUGA_OK && c->seen)
        c->seen->at[m->index] = true;
    return st;
}

/* ---- references ---- */

/* Of the outermost schema, and of no other place where it is referred to. */
static bool dealt_with(const validate_run *r, uint32_t flag) {
    return r->depth == 1 && r->done & flag;
}

static muga_status check_refs(validate_run *r, const validate_call *c, bool *stop) {
    *stop = false;
    if (dealt_with(r, DONE_REFS) && !c->seen)
        return MUGA_OK;
    for (schema_ref_kind k = SCHEMA_REF; k <= (c->draft7 ? SCHEMA_REF : SCHEMA_DYNAMIC_REF); k++) {
        const json_t *target;
        const char *anchor;
        muga_status st = schema_index_follow(r->index, c->schema, k, &target, &anchor, r->err);
        if (st != MUGA_OK)
            return st;
        if (!target)
            continue;
        if (k == SCHEMA_DYNAMIC_REF && anchor) /* the outermost resource that has this dynamic anchor */
            for (const validate_scope *s = c->scope; s; s = s->outer) {
                const json_t *outer = schema_index_dynamic(r->index, s->resource, anchor);
                if (outer)
                    target = outer;
            }
        st = validate_in_place(r, c, target);
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
    if (strcmp(type, TYPE_FRACTION) == 0)
        return json_is_number(data) && !number_is_integer(data);
    *known = false;
    return false;
}

static const char *type_name(const json_t *v) {
    static const char *const names[] = {"object", "array", "string", "integer", "number", "boolean", "boolean", "null"};
    return names[json_typeof(v)];
}

static muga_status check_type(validate_run *r, const validate_call *c) {
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
            return validate_unusable(r, "type", "names no JSON type");
    }
    if (any)
        return MUGA_OK;
    char why[120];
    snprintf(why, sizeof why, "expected %.60s, found %s",
             n == 1 && json_is_string(v) ? json_string_value(v) : "another", type_name(c->data));
    return validate_invalid(r, c, "type", why);
}

static muga_status check_values(validate_run *r, const validate_call *c) {
    if (dealt_with(r, DONE_VALUES))
        return MUGA_OK;
    const json_t *v = json_object_get(c->schema, "enum");
    if (v && !json_is_array(v))
        return validate_unusable(r, "enum", "must be an array");
    bool any = v == NULL;
    for (size_t i = 0; v && !any && i < json_array_size(v); i++)
        any = json_same_within(json_array_get(v, i), c->data, &r->work);
    const json_t *constant = json_object_get(c->schema, "const");
    bool same = !constant || json_same_within(constant, c->data, &r->work);
    muga_status st = validate_spend(r, 0);
    if (st == MUGA_OK && !any)
        return validate_invalid(r, c, "enum", "none of the allowed values");
    return st == MUGA_OK && !same ? validate_invalid(r, c, "const", "not the required value") : st;
}

static muga_status check_combined(validate_run *r, const validate_call *c) {
    static const char *const keywords[] = {"allOf", "anyOf", "oneOf"};
    static const uint32_t flags[] = {DONE_REFS, DONE_ANY, DONE_ONE};
    for (int k = 0; k < 3; k++) {
        const json_t *v = json_object_get(c->schema, keywords[k]);
        if (!v || (dealt_with(r, flags[k]) && !c->seen))
            continue;
        if (!json_is_array(v))
            return validate_unusable(r, keywords[k], "must be an array");
        size_t n_valid = 0;
        for (size_t i = 0; i < json_array_size(v); i++) {
            const json_t *sub = json_array_get(v, i);
            muga_status st = k == 0 ? validate_in_place(r, c, sub) : apply_quietly(r, c, sub);
            if (st != MUGA_OK && (st != MUGA_E_NEGATIVE || k == 0))
                return st;
            n_valid += st == MUGA_OK;
            if (n_valid == 1 && k == 1 && !c->seen)
                break; /* nobody asks what the others evaluate */
        }
        if (k == 1 && n_valid == 0)
            return validate_invalid(r, c, "anyOf", "no alternative fits");
        if (k == 2 && n_valid != 1)
            return validate_invalid(r, c, "oneOf", n_valid ? "more than one alternative fits" : "no alternative fits");
    }
    return MUGA_OK;
}

static muga_status check_conditions(validate_run *r, const validate_call *c) {
    const json_t *v = json_object_get(c->schema, "not");
    if (v) {
        validate_call alone = *c; /* what `not` evaluates never counts */
        alone.seen = NULL;
        muga_status st = apply_quietly(r, &alone, v);
        if (st == MUGA_OK)
            return validate_invalid(r, c, "not", "it fits what it must not fit");
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
    return v ? validate_in_place(r, c, v) : MUGA_OK;
}

/* After everything else on this value has said what it evaluated. */
static muga_status check_unevaluated(validate_run *r, const validate_call *c) {
    if (!c->seen || c->draft7)
        return MUGA_OK;
    const json_t *items = json_object_get(c->schema, "unevaluatedItems");
    const json_t *props = json_object_get(c->schema, "unevaluatedProperties");
    muga_status st = MUGA_OK;
    for (size_t i = 0; json_is_array(c->data) && items && i < c->seen->n && st == MUGA_OK; i++)
        if (!c->seen->at[i])
            st = validate_item(r, c, items, i);
    validate_member m = {0};
    void *it = json_is_object(c->data) && props ? json_object_iter(json_borrow(c->data)) : NULL;
    for (; it && st == MUGA_OK; it = json_object_iter_next(json_borrow(c->data), it), m.index++) {
        m.key = json_object_iter_key(it);
        m.value = json_object_iter_value(it);
        if (!c->seen->at[m.index])
            st = validate_member_value(r, c, &m, props);
    }
    return st;
}

/* ---- one schema, one value ---- */

static muga_status check_by_type(validate_run *r, const validate_call *c, uint32_t has) {
    if (json_is_number(c->data))
        return has & HAS_NUMBER && c->asserts ? validate_number(r, c) : MUGA_OK;
    if (json_is_string(c->data))
        return has & HAS_STRING ? validate_string(r, c) : MUGA_OK;
    if (json_is_array(c->data))
        return has & HAS_ARRAY ? validate_array(r, c) : MUGA_OK;
    return json_is_object(c->data) && has & HAS_OBJECT ? validate_object(r, c) : MUGA_OK;
}

static muga_status check_all(validate_run *r, const validate_call *c) {
    uint32_t has = schema_index_has(r->index, c->schema);
    bool stop = false;
    muga_status st = has & HAS_REF ? check_refs(r, c, &stop) : MUGA_OK;
    if (st != MUGA_OK || stop)
        return st;
    if (has & HAS_TYPE && c->asserts)
        st = check_type(r, c);
    if (st == MUGA_OK && has & HAS_VALUES && c->asserts)
        st = check_values(r, c);
    if (st == MUGA_OK)
        st = check_by_type(r, c, has);
    if (st == MUGA_OK && has & HAS_COMBINED)
        st = check_combined(r, c);
    if (st == MUGA_OK && has & HAS_CONDITION)
        st = check_conditions(r, c);
    return st == MUGA_OK && has & HAS_UNEVALUATED ? check_unevaluated(r, c) : st;
}

muga_status validate_at(validate_run *r, const json_t *schema, const json_t *data, const validate_place *at,
                        const validate_scope *sc, validate_seen *se) {
    validate_call c = {.schema = schema, .data = data, .at = at, .scope = sc, .seen = se};
    if (json_is_boolean(schema))
        return json_is_true(schema) ? MUGA_OK : validate_invalid(r, &c, "false", "nothing is allowed here");
    if (!json_is_object(schema))
        return error_set(r->err, MUGA_E_INPUT, "schema: a subschema must be an object or a boolean");
    muga_status st = validate_spend(r, 1);
    if (st != MUGA_OK)
        return st;
    if (r->depth >= VALIDATE_MAX_DEPTH)
        return error_set(r->err, MUGA_E_INPUT, "schema: references lead into each other without end");
    r->depth++;
    uint32_t resource = schema_index_resource(r->index, schema);
    validate_scope inner = {sc, resource};
    if (!sc || sc->resource != resource)
        c.scope = &inner;
    c.draft7 = schema_index_is_draft7(r->index, resource);
    c.asserts = !r->index->resources[resource].asserts_nothing;
    validate_seen own = {0};
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

#define VALIDATE_PATTERN_WORK (8u << 20)
#define VALIDATE_MATCH_WORK (8u << 20) /* steps of patterns that aren't regular */

muga_status constrain_validate(const json_t *schema, const json_t *data, const constrain_validate_options *options,
                               muga_error *err) {
    schema_index index;
    validate_run r = {.index = &index,
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
    validate_place root = {NULL, NULL, 0};
    st = validate_at(&r, schema, data, &root, NULL, NULL);
    validate_release_patterns(&r);
    schema_index_release(&index);
    return st;
}

muga_status validate_candidate(schema_index *x, const json_t *schema, uint32_t done, const json_t *data, uint64_t *work,
                               muga_error *err) {
    validate_run r = {.index = x,
                      .formats = !x->note_formats,
                      .work = *work,
                      .pattern_work = *work,
                      .match_work = *work,

                      .done = done,
                      .err = err};
    validate_place root = {NULL, NULL, 0};
    muga_status st = validate_at(&r, schema, data, &root, NULL, NULL);
    uint64_t left = MIN(r.work, MIN(r.pattern_work, r.match_work));
    *work = left > 8 ? left - 8 : 0;
    validate_release_patterns(&r);
    return st;
}
