/* The keys of a schema that a person wrote. Owns: the list of what JSON Schema (draft 7 and 2020-12) and muga know.
 * Refuses: any other key. JSON Schema itself passes over what it does not know, which is right for schemas that come
 * from elsewhere; in a manifest it would turn a slip of the keyboard into a rule that is not there. */
#include "agent/internal.h"

#include <stdio.h>

/* How a keyword holds other schemas. */
typedef enum { PLAIN, SCHEMA, LIST, MAP } holds;

static const struct {
    const char *name;
    holds holds;
} keywords[] = {{"$anchor", PLAIN},
                {"$comment", PLAIN},
                {"$defs", MAP},
                {"$dynamicAnchor", PLAIN},
                {"$dynamicRef", PLAIN},
                {"$id", PLAIN},
                {"$ref", PLAIN},
                {"$schema", PLAIN},
                {"$vocabulary", PLAIN},
                {"additionalItems", SCHEMA},
                {"allOf", LIST},
                {"anyOf", LIST},
                {"const", PLAIN},
                {"contains", SCHEMA},
                {"contentEncoding", PLAIN},
                {"contentMediaType", PLAIN},
                {"contentSchema", PLAIN},
                {"default", PLAIN},
                {"definitions", MAP},
                {"dependencies", MAP},
                {"dependentRequired", PLAIN},
                {"dependentSchemas", MAP},
                {"deprecated", PLAIN},
                {"description", PLAIN},
                {"else", SCHEMA},
                {"enum", PLAIN},
                {"examples", PLAIN},
                {"exclusiveMaximum", PLAIN},
                {"exclusiveMinimum", PLAIN},
                {"fold", PLAIN},
                {"format", PLAIN},
                {"from", PLAIN},
                {"if", SCHEMA},
                {"items", LIST},
                {"maxContains", PLAIN},
                {"maxItems", PLAIN},
                {"maxLength", PLAIN},
                {"maxProperties", PLAIN},
                {"maximum", PLAIN},
                {"minContains", PLAIN},
                {"minItems", PLAIN},
                {"minLength", PLAIN},
                {"minProperties", PLAIN},
                {"minimum", PLAIN},
                {"multipleOf", PLAIN},
                {"normalise", PLAIN},
                {"not", SCHEMA},
                {"oneOf", LIST},
                {"pattern", PLAIN},
                {"patternProperties", MAP},
                {"prefixItems", LIST},
                {"properties", MAP},
                {"propertyNames", SCHEMA},
                {"readOnly", PLAIN},
                {"required", PLAIN},
                {"then", SCHEMA},
                {"title", PLAIN},
                {"type", PLAIN},
                {"unevaluatedItems", SCHEMA},
                {"uniqueItems", PLAIN},
                {"unevaluatedProperties", SCHEMA},
                {"writeOnly", PLAIN},
                {"additionalProperties", SCHEMA}};

static muga_status unknown(const check_place *at, const char *key, const char *pointer, muga_error *err) {
    json_t *names = json_array();
    bool ok = names != NULL;
    for (size_t i = 0; ok && i < ARRAY_LEN(keywords); i++) {
        ok = json_array_append_new(names, json_string(keywords[i].name)) == 0;
    }
    const char *near = ok ? check_nearest(names, key) : NULL;
    muga_status st =
        !ok    ? error_nomem(err, "a schema")
        : near ? check_fail(at, MUGA_E_INPUT, pointer, err, "unknown key; did you mean '%s'?", near)
               : check_fail(at, MUGA_E_INPUT, pointer, err, "no key of JSON Schema; remove it, or begin it with x-");
    json_decref(names);
    return st;
}

static muga_status walk(const check_place *at, const json_t *schema, str *pointer, int depth, muga_error *err);

/* normalise.c reads a tool's own parameters, /tools/N/parameters/properties/NAME/normalise, and no others. */
static bool is_read(const char *key, const char *pointer) {
    size_t n = 0;
    for (const char *c = pointer; *c; c++) {
        n += *c == '/';
    }
    return strcmp(key, "normalise") != 0 || (n == 6 && strncmp(pointer, "/tools/", 7) == 0);
}

static muga_status walk_part(const check_place *at, const json_t *part, const char *token, str *pointer, int depth,
                             muga_error *err) {
    size_t len = pointer->len;
    check_push_token(pointer, token);
    muga_status st = walk(at, part, pointer, depth + 1, err);
    str_truncate(pointer, MIN(len, pointer->len));
    return st;
}

/* What a keyword holds: a schema, a list of them, or a mapping to them. `items` is the one or the other. */
static muga_status walk_held(const check_place *at, holds how, const json_t *v, str *pointer, int depth,
                             muga_error *err) {
    muga_status st = MUGA_OK;
    const char *name;
    json_t *part;
    if (json_is_array(v)) {
        for (size_t i = 0; st == MUGA_OK && how == LIST && i < json_array_size(v); i++) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            st = walk_part(at, json_array_get(v, i), index, pointer, depth, err);
        }
    } else if (how == MAP) {
        json_object_foreach(json_borrow(v), name, part) {
            st = st == MUGA_OK ? walk_part(at, part, name, pointer, depth, err) : st;
        }
    } else if (how != PLAIN) {
        st = walk(at, v, pointer, depth + 1, err);
    }
    return st;
}

static muga_status walk(const check_place *at, const json_t *schema, str *pointer, int depth, muga_error *err) {
    const char *key;
    json_t *v;
    muga_status st = str_status(pointer, err, "a schema");
    if (!json_is_object(schema) || depth > JSON_MAX_DEPTH) {
        return st;
    }
    json_object_foreach(json_borrow(schema), key, v) {
        size_t i = 0, len = pointer->len;
        while (i < ARRAY_LEN(keywords) && strcmp(keywords[i].name, key) != 0) {
            i++;
        }
        if (st != MUGA_OK || strncmp(key, "x-", 2) == 0) {
            continue;
        }
        check_push_token(pointer, key);
        st = !is_read(key, str_get(pointer)) ? check_fail(at, MUGA_E_INPUT, str_get(pointer), err,
                                                          "is read on a tool's own parameters only; move it there")
             : i == ARRAY_LEN(keywords)      ? unknown(at, key, str_get(pointer), err)
                                             : walk_held(at, keywords[i].holds, v, pointer, depth, err);
        str_truncate(pointer, MIN(len, pointer->len));
    }
    return st;
}

muga_status check_keywords(const check_place *at, const json_t *schema, const char *pointer, muga_error *err) {
    str place = STR_INIT;
    str_append_s(&place, pointer);
    muga_status st = walk(at, schema, &place, 0, err);
    str_release(&place);
    return st;
}
