/* What the server is told: one table of settings, where each value comes from, and reading anew while it serves.
 *
 *   built-in default  <  YAML file ($MUGA_HOME/muga.yaml, or --config)  <  environment  <  flags
 *
 * Each setting is a row of one table (config_settings): its key in the file, its variable, its flag, type, range and
 * default. The JSON Schema (docs/schema/serve.schema.json), `muga config`, help and docs/serve-config.md come from that
 * table. The file is YAML 1.2 (agent.h), checked by that schema with line numbers; an unknown key is refused with the
 * nearest name. Only cmd/ reads the environment: it hands over what it found.
 *
 * A config never changes once it is made: who reads it needs no lock. Texts in it live as long as it does. */
#ifndef MUGA_SERVE_CONFIG_H
#define MUGA_SERVE_CONFIG_H

#include "net/server.h"
#include "serve/log.h"
#include "serve/pool.h"

typedef struct config_texts {
    const char **v;
    size_t n;
} config_texts;
typedef struct config_alias {
    const char *name, *model;
} config_alias;
typedef struct config_model { /* what models.options says of one model, and models.* where it says nothing */
    const char *name;         /* as in the store, or an alias */
    pool_settings settings;
    const char *adapter; /* path of a LoRA adapter; NULL: none */
    float adapter_scale;
} config_model;

typedef struct serve_config {
    config_texts listen;                   /* "host:port", "unix:/path": as server_listen wants them */
    const char *certificate, *private_key; /* PEM files; NULL: no TLS */
    config_texts hosts, origins;           /* of server_options: whom a browser may bring here */
    server_limits limits;
    uint32_t n_running; /* requests that are computed at the same time */
    uint32_t n_waiting; /* that wait for it; past them 503 */
    uint32_t n_shared;  /* that keys share by weight, where several have some */
    uint32_t drain_ms;  /* of a graceful stop */

    uint64_t memory_bytes; /* of all models; 0: three quarters of what this process may use */
    pool_settings all;     /* of every model that models.options says nothing else of */
    bool packed;
    const char *model;     /* where a request names none; NULL: it must */
    config_texts pinned;   /* loaded at the start and never unloaded */
    config_alias *aliases; /* [n_aliases] */
    size_t n_aliases;
    config_model *models; /* [n_models] */
    size_t n_models;
    config_texts agents;   /* folders whose agents are served, besides those of `muga agent list` */
    const char *anonymous; /* what may be done without a key while there are none (keys.h: scopes); NULL: all */
    uint32_t usage_days;   /* for which what keys used is kept; 0: for ever */

    log_level log_level;
    enum { CONFIG_LOG_AUTO, CONFIG_LOG_JSON, CONFIG_LOG_TEXT } log_format; /* AUTO: text on a terminal */
    bool log_contents;
    bool metrics, metrics_open; /* served at all; without a key that has the right */

    struct config_parts *parts; /* private: each setting's value and origin */
} serve_config;

/* ---- settings ---- */
typedef enum {
    CONFIG_TEXT,
    CONFIG_BOOL,
    CONFIG_COUNT,   /* a whole number */
    CONFIG_BYTES,   /* a whole number of bytes, or "32MiB" */
    CONFIG_TIME,    /* seconds, or "500ms", "30s", "5m", "1h"; kept as ms. -1 or "forever" where forever makes sense */
    CONFIG_CHOICE,  /* one of `choices` */
    CONFIG_TEXTS,   /* a list; in variables and flags with commas between */
    CONFIG_ALIASES, /* name: model; in variables "a=b,c=d" */
    CONFIG_MODELS   /* models.options: in the file alone */
} config_kind;
typedef struct config_setting {
    const char *key;      /* "limits.body_bytes" */
    const char *variable; /* "MUGA_LIMIT_BODY"; NULL: none */
    const char *flag;     /* "--body-bytes"; NULL: none. Every setting but models.options can be --set KEY=VALUE */
    config_kind kind;
    const char *otherwise; /* the default, as a variable would say it; NULL: nothing */
    double min, max;       /* of COUNT and BYTES; of TIME in seconds */
    const char *choices;   /* of CHOICE, with blanks between */
    const char *help;      /* one line */
    bool restart;          /* a change of it takes effect at the next start */
} config_setting;
const config_setting *config_settings(size_t *n);

/* ---- reading ---- */
typedef struct config_given { /* from outside the file */
    const char *key;          /* of a setting */
    const char *value;
    const char *from; /* for people: "MUGA_HOST", "--listen" */
} config_given;
typedef struct config_sources {
    const os_files *files;
    const char *file;                        /* of the YAML; NULL: none */
    bool must_exist;                         /* somebody named it; else it may be missing */
    const config_given *environment, *flags; /* a TEXTS key given several times is one list */
    size_t n_environment, n_flags;
} config_sources;
/* MUGA_E_INPUT: "muga.yaml:12: key limits.body_bytes: ...", or of a variable its name; MUGA_E_USAGE of a flag. */
MUGA_MUST_USE muga_status config_load(const config_sources *s, serve_config **out, muga_error *err);
void config_free(serve_config *c);
/* Reads all sources anew. *out is what is in force from now on: of settings that need a restart it has what `now` has.
 * *changes: array of {"key", "from", "to", "origin", "restart"}, new, empty where nothing changed; a setting that waits
 * for a restart is in it each time. Where the sources are wrong `now` stays in force. */
MUGA_MUST_USE muga_status config_reload(const serve_config *now, const config_sources *s, serve_config **out,
                                        json_t **changes, muga_error *err);
/* Array of {"key", "value", "source": "default" | "file" | "environment" | "flag", "origin": "muga.yaml:12", ...,
 * "restart"}, new. */
MUGA_MUST_USE muga_status config_list(const serve_config *c, json_t **out, muga_error *err);
/* docs/schema/serve.schema.json; appends. */
MUGA_MUST_USE muga_status config_schema_write(str *out, muga_error *err);

/* The model that `name` stands for: what an alias says, else `name`. Borrowed. NULL: the default model, or NULL. */
const char *config_model_name(const serve_config *c, const char *name);

#endif
