/* A value against a schema, with the place in the file. Owns: finding the deepest misfit and saying it for people.
 *
 * Idea: constrain_validate is the only judge. Where it says no, the same question is asked of each member with its own
 * subschema, down to the one that is really wrong; only the wording is decided here. Works for schemas without $ref,
 * which is how ours is written. */
#include "agent/internal.h"

#include "base/utf8.h"

#include <stdio.h>

void check_write_key(const char *pointer, char *out, size_t size) {
    size_t n = 0;
    while (*pointer == '/' && n + 4 < size) {
        const char *token = ++pointer;
        size_t len = strcspn(token, "/");
        bool index = len > 0 && strspn(token, "0123456789") == len;
        if (index) {
            out[n++] = '[';
        } else if (n > 0) {
            out[n++] = '.';
        }
        for (size_t i = 0; i < len && n + 4 < size; i++) {
            bool escaped = token[i] == '~' && i + 1 < len;
            out[n++] = escaped ? (token[++i] == '0' ? '~' : '/') : token[i];
        }
        if (index) {
            out[n++] = ']';
        }
        pointer += len;
    }
    out[n] = '\0';
}

void check_write_place(const check_place *at, const char *pointer, char *out, size_t size) {
    char known[256];
    int n = snprintf(known, sizeof known, "%s", pointer);
    while (n > 0 && !json_object_get(at->places, known)) {
        char *last = strrchr(known, '/');
        n = last ? (int)(last - known) : 0;
        known[n] = '\0';
    }
    snprintf(out, size, "%.120s:%lld:%lld", at->file, (long long)yaml_line(at->places, known),
             (long long)yaml_column(at->places, known));
}

muga_status check_fail(const check_place *at, muga_status status, const char *pointer, muga_error *err,
                       const char *format, ...) {
    char text[256], key[120], place[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    check_write_key(pointer, key, sizeof key);
    check_write_place(at, pointer, place, sizeof place);
    return key[0] ? error_set(err, status, "%s: key %s: %s", place, key, text)
                  : error_set(err, status, "%s: %s", place, text);
}

/* ---- did you mean ---- */

/* Letters changed, left out, put in, or exchanged with their neighbour. */
static size_t edit_distance(const char *a, const char *b) {
    enum { MAX_KEY = 48 };
    size_t n_a = strlen(a), n_b = strlen(b), rows[3][MAX_KEY + 1]; /* row i lies at i % 3 */
    if (n_a > MAX_KEY || n_b > MAX_KEY) {
        return MAX_KEY;
    }
    for (size_t j = 0; j <= n_b; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= n_a; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            row[j] = MIN(above[j - 1] + (a[i - 1] != b[j - 1]), MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = MIN(row[j], two_above[j - 2] + 1);
            }
        }
    }
    return rows[n_a % 3][n_b];
}

static void nearer(const char *typed, const char *candidate, const char **best, size_t *best_distance) {
    size_t d = edit_distance(typed, candidate);
    if (d < *best_distance) {
        *best_distance = d;
        *best = candidate;
    }
}

static const char *nearest_key(const json_t *properties, const char *typed) {
    const char *best = NULL, *key;
    size_t distance = MAX(strlen(typed) / 3, 1) + 1; /* must be below it */
    json_t *v;
    json_object_foreach(json_borrow(properties), key, v) {
        nearer(typed, key, &best, &distance);
    }
    return best;
}

const char *check_nearest(const json_t *values, const char *typed) {
    const char *best = NULL;
    size_t distance = MAX(strlen(typed) / 3, 1) + 1, i;
    json_t *v;
    json_array_foreach(json_borrow(values), i, v) {
        if (json_is_string(v)) {
            nearer(typed, json_string_value(v), &best, &distance);
        }
    }
    return best;
}

/* ---- wording ---- */

static const char *type_name(const json_t *v) {
    static const char *const names[] = {
        [JSON_OBJECT] = "a mapping", [JSON_ARRAY] = "a list", [JSON_STRING] = "text", [JSON_INTEGER] = "a whole number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    return names[json_typeof(v)];
}

static const char *wanted_name(const char *type) {
    static const char *const names[][2] = {
        {"object", "a mapping"}, {"array", "a list"},          {"string", "text"}, {"integer", "a whole number"},
        {"number", "a number"},  {"boolean", "true or false"}, {"null", "null"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i][0], type) == 0) {
            return names[i][1];
        }
    }
    return type;
}

static bool has_type(const json_t *v, const char *type) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return strcmp(type, "object") == 0;
    case JSON_ARRAY: return strcmp(type, "array") == 0;
    case JSON_STRING: return strcmp(type, "string") == 0;
    case JSON_INTEGER: return strcmp(type, "integer") == 0 || strcmp(type, "number") == 0;
    case JSON_REAL: return strcmp(type, "number") == 0;
    case JSON_NULL: return strcmp(type, "null") == 0;
    default: return strcmp(type, "boolean") == 0;
    }
}

static muga_status say_choice(const check_place *at, const json_t *values, const json_t *v, const char *pointer,
                              muga_error *err) {
    str list = STR_INIT;
    size_t i;
    json_t *choice;
    json_array_foreach(json_borrow(values), i, choice) {
        str_append_s(&list, i > 0 ? ", " : "");
        str_append_s(&list, json_is_string(choice) ? json_string_value(choice) : "...");
    }
    const char *typed = json_string_value(v), *near = typed ? check_nearest(values, typed) : NULL;
    muga_status st = near ? check_fail(at, MUGA_E_INPUT, pointer, err, "'%.40s' is none of %.100s; did you mean '%s'?",
                                       typed, str_get(&list), near)
                          : check_fail(at, MUGA_E_INPUT, pointer, err, "%s%.40s%s is none of %.140s", typed ? "'" : "",
                                       typed ? typed : type_name(v), typed ? "'" : "", str_get(&list));
    str_release(&list);
    return st;
}

/* "0 to 1", "at least 1", "at most 64" of a schema's bounds; false: it has none of these two. */
static bool write_bounds(const json_t *schema, const char *low_key, const char *high_key, str *out) {
    const json_t *low = json_object_get(schema, low_key), *high = json_object_get(schema, high_key);
    if (!low && !high) {
        return false;
    }
    str_append_s(out, low && high ? "" : low ? "at least " : "at most ");
    if (low) {
        json_write(low, out);
    }
    str_append_s(out, low && high ? " to " : "");
    if (high) {
        json_write(high, out);
    }
    return true;
}

static bool out_of_bounds(const json_t *schema, const char *low_key, const char *high_key, double size) {
    return size < json_get_number(schema, low_key, size) || size > json_get_number(schema, high_key, size);
}

/* *said false: it is not the size that is wrong. */
static muga_status say_size(const check_place *at, const json_t *schema, const json_t *v, const char *pointer,
                            bool *said, muga_error *err) {
    static const struct {
        const char *low, *high, *unit;
    } kinds[] = {{"minimum", "maximum", ""},
                 {"minLength", "maxLength", " characters"},
                 {"minItems", "maxItems", " entries"},
                 {"minProperties", "maxProperties", " keys"}};
    size_t kind = json_is_number(v) ? 0 : json_is_string(v) ? 1 : json_is_array(v) ? 2 : 3;
    double size = json_is_number(v)   ? json_number_value(v)
                  : json_is_string(v) ? (double)utf8_count(json_string_value(v), json_string_length(v))
                  : json_is_array(v)  ? (double)json_array_size(v)
                                      : (double)json_object_size(v);
    str range = STR_INIT;
    muga_status st = MUGA_OK;
    *said = out_of_bounds(schema, kinds[kind].low, kinds[kind].high, size) &&
            write_bounds(schema, kinds[kind].low, kinds[kind].high, &range);
    if (*said) {
        st = kind == 0
                 ? check_fail(at, MUGA_E_INPUT, pointer, err, "%g is out of range; must be %s", size, str_get(&range))
                 : check_fail(at, MUGA_E_INPUT, pointer, err, "%.0f%s; must be %s", size, kinds[kind].unit,
                              str_get(&range));
    }
    str_release(&range);
    return st;
}

/* What is wrong with this very value, its members being right. */
static muga_status say(const check_place *at, const json_t *schema, const json_t *v, const char *pointer,
                       const char *verdict, muga_error *err) {
    const json_t *choices = json_object_get(schema, "enum");
    const char *type = json_get_string(schema, "type"), *hint = json_get_string(schema, "description");
    if (choices) {
        return say_choice(at, choices, v, pointer, err);
    }
    if (type && !has_type(v, type)) {
        return check_fail(at, MUGA_E_INPUT, pointer, err, "%s; must be %s", type_name(v), wanted_name(type));
    }
    bool said = false;
    muga_status st = say_size(at, schema, v, pointer, &said, err);
    if (said) {
        return st;
    }
    return hint ? check_fail(at, MUGA_E_INPUT, pointer, err, "does not fit: %s", hint)
                : check_fail(at, MUGA_E_INPUT, pointer, err, "%s", verdict);
}

/* ---- descent ---- */

static bool fits(const json_t *schema, const json_t *v, muga_status *st, muga_error *err) {
    *st = constrain_validate(schema, v, NULL, err);
    return *st == MUGA_OK;
}

static muga_status explain(const check_place *at, const json_t *schema, const json_t *v, str *pointer, muga_error *err);

void check_push_token(str *pointer, const char *token) {
    str_append_c(pointer, '/');
    for (const char *c = token; *c; c++) {
        str_append_s(pointer, *c == '~' ? "~0" : *c == '/' ? "~1" : (const char[]){*c, '\0'});
    }
}

/* OK: this member fits. */
static muga_status explain_member(const check_place *at, const json_t *schema, const json_t *v, const char *token,
                                  str *pointer, muga_error *err) {
    muga_status st;
    if (!json_is_object(schema) || fits(schema, v, &st, err)) {
        return MUGA_OK;
    }
    if (st != MUGA_E_NEGATIVE) {
        return st;
    }
    size_t len = pointer->len;
    check_push_token(pointer, token);
    st = explain(at, schema, v, pointer, err);
    str_truncate(pointer, MIN(len, pointer->len));
    return st;
}

static muga_status explain_object(const check_place *at, const json_t *schema, const json_t *v, str *pointer,
                                  muga_error *err) {
    const json_t *properties = json_object_get(schema, "properties"),
                 *others = json_object_get(schema, "additionalProperties");
    const char *key;
    json_t *member;
    json_object_foreach(json_borrow(v), key, member) {
        const json_t *sub = json_object_get(properties, key);
        if (!sub && json_is_false(others)) {
            const char *near = nearest_key(properties, key);
            check_push_token(pointer, key);
            return near ? check_fail(at, MUGA_E_INPUT, str_get(pointer), err, "unknown key; did you mean '%s'?", near)
                        : check_fail(at, MUGA_E_INPUT, str_get(pointer), err, "unknown key; remove it");
        }
        muga_status st = explain_member(at, sub ? sub : others, member, key, pointer, err);
        if (st != MUGA_OK) {
            return st;
        }
    }
    size_t i;
    json_t *required;
    json_array_foreach(json_object_get(schema, "required"), i, required) {
        if (!json_object_get(v, json_string_value(required))) {
            return check_fail(at, MUGA_E_INPUT, str_get(pointer), err, "key '%s' is missing; add it",
                              json_string_value(required));
        }
    }
    return MUGA_OK;
}

static muga_status explain(const check_place *at, const json_t *schema, const json_t *v, str *pointer,
                           muga_error *err) {
    muga_status st = str_status(pointer, err, at->file);
    if (st == MUGA_OK && json_is_object(v)) {
        st = explain_object(at, schema, v, pointer, err);
    } else if (st == MUGA_OK && json_is_array(v)) {
        for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            st = explain_member(at, json_object_get(schema, "items"), json_array_get(v, i), index, pointer, err);
        }
    }
    if (st != MUGA_OK) {
        return st;
    }
    muga_error verdict;
    if (fits(schema, v, &st, &verdict)) {
        return MUGA_OK;
    }
    return say(at, schema, v, str_get(pointer), verdict.message, err);
}

muga_status check_schema(const check_place *at, const json_t *schema, const json_t *value, muga_error *err) {
    muga_status st;
    if (fits(schema, value, &st, err) || st != MUGA_E_NEGATIVE) {
        return st;
    }
    str pointer = STR_INIT;
    st = explain(at, schema, value, &pointer, err);
    str_release(&pointer);
    return st;
}
