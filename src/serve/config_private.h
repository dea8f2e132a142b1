/* Private to config*.c: the settings by number, their values as JSON, reading one. */
#ifndef MUGA_SERVE_CONFIG_PRIVATE_H
#define MUGA_SERVE_CONFIG_PRIVATE_H

#include "serve/config.h"

#include "base/mem.h"

/* The rows of the table, in its order. */
enum {
    SET_LISTEN,
    SET_HOSTS,
    SET_ORIGINS,
    SET_DRAIN,
    SET_CERTIFICATE,
    SET_PRIVATE_KEY,
    SET_HEADER_BYTES,
    SET_HEADERS,
    SET_TARGET_BYTES,
    SET_BODY_BYTES,
    SET_OUTPUT_BYTES,
    SET_CONNECTIONS,
    SET_CONNECTIONS_PEER,
    SET_HEADER_TIME,
    SET_BODY_TIME,
    SET_IDLE_TIME,
    SET_WRITE_TIME,
    SET_RUNNING,
    SET_WAITING,
    SET_SHARED,
    SET_MEMORY,
    SET_KEEP_ALIVE,
    SET_CONTEXT,
    SET_THREADS,
    SET_KV,
    SET_EXACT,
    SET_DRAFTS,
    SET_PACKED,
    SET_MODEL,
    SET_PINNED,
    SET_ALIASES,
    SET_OPTIONS,
    SET_AGENTS,
    SET_ANONYMOUS,
    SET_USAGE_DAYS,
    SET_LOG_LEVEL,
    SET_LOG_FORMAT,
    SET_LOG_CONTENTS,
    SET_METRICS,
    SET_METRICS_OPEN,
    CONFIG_N
};

#define CONFIG_MAX_TEXTS 64u
#define CONFIG_MAX_NAMES 1000u /* aliases; models with options */
#define CONFIG_MAX_TEXT 1000u
#define CONFIG_FOREVER_MS INT64_MAX

typedef enum { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_FLAG } config_source;

/* A value in its one form: TEXT, CHOICE: string; BOOL; COUNT, BYTES: integer; TIME: integer ms, -1 forever; TEXTS:
 * array; ALIASES: object of strings; MODELS: object of objects with members of that form. NULL: nothing. */
typedef struct config_value {
    json_t *v;
    config_source source;
    char *origin; /* "muga.yaml:12", "MUGA_HOST", "--listen"; NULL: the default */
} config_value;

struct config_parts {
    config_value v[CONFIG_N];
    arena mem; /* of the lists of a serve_config */
};

/* ---- config_value.c ---- why: what a value that doesn't fit should be, for people. */
typedef struct config_why {
    char text[160];
} config_why;
/* As a variable or a flag says it. MUGA_E_INPUT with *why; E_NOMEM. */
MUGA_MUST_USE muga_status config_read_text(const config_setting *s, const char *text, json_t **out, config_why *why);
/* As the file has it, after the schema let it through; not of MODELS. */
MUGA_MUST_USE muga_status config_read_json(const config_setting *s, const json_t *v, json_t **out, config_why *why);
/* The members of models.options.NAME: settings of their own. */
const config_setting *config_model_settings(size_t *n);
/* A value as people write it: "32MiB", "5m", forever; lists and objects likewise. New. */
json_t *config_show(const config_setting *s, const json_t *v);

#endif
