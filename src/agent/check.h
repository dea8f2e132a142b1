/* A value from a YAML file against a JSON Schema, with the place in the file and the nearest name (check.c). */
#ifndef MUGA_AGENT_CHECK_H
#define MUGA_AGENT_CHECK_H

#include "base/json.h"

/* Where things stand in a file. Pointers are JSON pointers. */
typedef struct check_place {
    const char *file;
    const json_t *places; /* yaml_parse_places's */
} check_place;
/* "file:LINE:COLUMN"; what has no place of its own is where it belongs. */
void check_write_place(const check_place *at, const char *pointer, char *out, size_t size);
void check_write_key(const char *pointer, char *out, size_t size); /* "/tools/1/effect" -> "tools[1].effect" */
/* "file:LINE:COLUMN: key a.b[1]: " + text; returns status. */
muga_status check_fail(const check_place *at, muga_status status, const char *pointer, muga_error *err,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));
/* `value` against `schema`; the message names the deepest place that does not fit. */
muga_status check_schema(const check_place *at, const json_t *schema, const json_t *value, muga_error *err);

void check_push_token(str *pointer, const char *token); /* "/token", escaped as RFC 6901 says */
/* The text of an array that `typed` was probably meant to be, or NULL. */
const char *check_nearest(const json_t *values, const char *typed);
/* Refuses a key that JSON Schema does not know, in a schema and all that it holds: there a misspelt `from` or
 * `required` would say nothing. `pointer` is where the schema stands. */
muga_status check_keywords(const check_place *at, const json_t *schema, const char *pointer, muga_error *err);

#endif
