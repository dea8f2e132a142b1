/* The table of settings. The schema, `muga config`, the options of `muga serve` and docs/serve-config.md are made of
 * it. Settings of a section stand together. */
#include "serve/config_private.h"

#define KIB 1024.0
#define MIB (KIB * 1024)
#define TIB (MIB * 1024 * 1024)
#define DAY 86400.0

static const config_setting table[] = {
    {"listen", "MUGA_HOST", "--listen", CONFIG_TEXTS, "127.0.0.1:8484", 0, 0, NULL,
     "addresses: host:port, [::1]:port, unix:/path; without a port 8484", true},
    {"hosts", "MUGA_ALLOWED_HOSTS", "--allow-host", CONFIG_TEXTS, NULL, 0, 0, NULL,
     "names that a request's Host may have besides loopback's and the addresses listened on; \"*\" is any", false},
    {"origins", "MUGA_ORIGINS", "--allow-origin", CONFIG_TEXTS, NULL, 0, 0, NULL,
     "pages that may call from a browser (CORS), https://host; \"*\" is any; loopback's always may", false},
    {"drain", "MUGA_DRAIN", "--drain", CONFIG_TIME, "30s", 0, 3600, NULL,
     "how long running answers may go on after a stop", true},

    {"tls.certificate", "MUGA_TLS_CERTIFICATE", "--tls-cert", CONFIG_TEXT, NULL, 0, 0, NULL,
     "PEM file of the certificate and its chain", true},
    {"tls.key", "MUGA_TLS_KEY", "--tls-key", CONFIG_TEXT, NULL, 0, 0, NULL, "PEM file of its private key", true},

    {"limits.header_bytes", NULL, NULL, CONFIG_BYTES, "8KiB", 256, MIB, NULL, "one header line of a request", true},
    {"limits.headers", NULL, NULL, CONFIG_COUNT, "100", 8, 10000, NULL, "header lines of a request", true},
    {"limits.target_bytes", NULL, NULL, CONFIG_BYTES, "8KiB", 256, MIB, NULL, "path and query of a request", true},
    {"limits.body_bytes", "MUGA_LIMIT_BODY", NULL, CONFIG_BYTES, "32MiB", KIB, 4096 * MIB, NULL,
     "the body of a request; uploads of models have no limit", true},
    {"limits.output_bytes", NULL, NULL, CONFIG_BYTES, "4MiB", 16 * KIB, 4096 * MIB, NULL,
     "of an answer that its client doesn't take, before it is cancelled", true},
    {"limits.connections", "MUGA_LIMIT_CONNECTIONS", NULL, CONFIG_COUNT, "4096", 1, 1000000, NULL, "open connections",
     true},
    {"limits.connections_per_address", NULL, NULL, CONFIG_COUNT, "2048", 1, 1000000, NULL, "of one address", true},
    {"limits.header_time", NULL, NULL, CONFIG_TIME, "10s", 0.1, 3600, NULL, "until a request's headers are there",
     true},
    {"limits.body_time", NULL, NULL, CONFIG_TIME, "30s", 0.1, 3600, NULL,
     "until its body is there, and a second more for each 64 KiB", true},
    {"limits.idle_time", NULL, NULL, CONFIG_TIME, "75s", 0.1, DAY, NULL, "between two requests of a connection", true},
    {"limits.write_time", NULL, NULL, CONFIG_TIME, "30s", 0.1, DAY, NULL,
     "without a byte taken by a client that has some to take", true},
    {"limits.running", "MUGA_LIMIT_RUNNING", NULL, CONFIG_COUNT, "512", 1, 4096, NULL,
     "requests that are answered at the same time", true},
    {"limits.waiting", "MUGA_LIMIT_WAITING", NULL, CONFIG_COUNT, "512", 0, 100000, NULL,
     "requests that wait for that; past them 503", true},
    {"limits.shared", NULL, NULL, CONFIG_COUNT, "64", 1, 4096, NULL,
     "requests from which on keys that compete get their weights' parts of them: what is computed well at once", true},

    {"models.memory", "MUGA_MEMORY", "--memory", CONFIG_BYTES, "0", 0, 1024 * TIB, NULL,
     "of all models together; 0: three quarters of what this process may use", true},
    {"models.keep_alive", "MUGA_KEEP_ALIVE", "--keep-alive", CONFIG_TIME, "5m", -1, 3650 * DAY, NULL,
     "a model stays in memory so long after its last use; 0, or forever", true},
    {"models.context", "MUGA_CONTEXT", "--ctx", CONFIG_COUNT, "0", 0, 16777216, NULL,
     "context in tokens; 0: what its Modelfile says, else the model's own, at most 32768", true},
    {"models.threads", "MUGA_THREADS", "--threads", CONFIG_COUNT, "0", 0, 1024, NULL,
     "threads of a model; 0: cores this process may use", true},
    {"models.kv", "MUGA_KV", "--kv", CONFIG_CHOICE, "f16", 0, 0, "f16 f32 q8",
     "how keys and values are kept; q8 takes half of f16", true},
    {"models.exact", NULL, NULL, CONFIG_BOOL, "false", 0, 0, NULL, "activations in f32 instead of int8", true},
    {"models.drafts", "MUGA_DRAFTS", NULL, CONFIG_CHOICE, "ngram", 0, 0, "ngram off",
     "guesses at the next tokens, which change no answer", true},
    {"models.packed", NULL, NULL, CONFIG_BOOL, "true", 0, 0, NULL, "packed copies of weights are kept and used", true},
    {"models.default", "MUGA_MODEL", "--model", CONFIG_TEXT, NULL, 0, 0, NULL, "the model where a request names none",
     false},
    {"models.pinned", "MUGA_PINNED", "--pin", CONFIG_TEXTS, NULL, 0, 0, NULL,
     "models that are loaded at the start and stay", true},
    {"models.aliases", "MUGA_ALIASES", "--alias", CONFIG_ALIASES, NULL, 0, 0, NULL,
     "other names of models: gpt-4o: smollm2", false},
    {"models.options", NULL, NULL, CONFIG_MODELS, NULL, 0, 0, NULL,
     "by a model's name: context, threads, kv, exact, drafts, keep_alive, adapter (FILE or FILE:SCALE)", true},

    {"agents.folders", "MUGA_AGENTS", "--agents", CONFIG_TEXTS, NULL, 0, 0, NULL,
     "folders of agents, before those of `muga agent list`", true},
    {"keys.anonymous", "MUGA_ANONYMOUS", "--anonymous", CONFIG_TEXT, NULL, 0, 0, NULL,
     "what may be done without a key while there are none: scopes of `muga key create`; all unless set", true},
    {"keys.usage_days", NULL, NULL, CONFIG_COUNT, "400", 0, 36500, NULL,
     "days for which the store keeps what a key used, today among them; 0: for ever", false},

    {"log.level", "MUGA_LOG_LEVEL", "--log-level", CONFIG_CHOICE, "info", 0, 0, "debug info warning error off",
     "what is logged, and what is worse", false},
    {"log.format", "MUGA_LOG_FORMAT", "--log-format", CONFIG_CHOICE, "auto", 0, 0, "auto json text",
     "auto: text on a terminal, else JSON lines", false},
    {"log.contents", "MUGA_LOG_CONTENTS", NULL, CONFIG_BOOL, "false", 0, 0, NULL,
     "bodies of requests stand in the log: what people write", false},
    {"metrics.serve", "MUGA_METRICS", NULL, CONFIG_BOOL, "true", 0, 0, NULL, "/metrics answers", false},
    {"metrics.open", "MUGA_METRICS_OPEN", NULL, CONFIG_BOOL, "false", 0, 0, NULL,
     "/metrics needs no key; else one with the scope metrics, once there are keys", false},
};

_Static_assert(sizeof table / sizeof table[0] == CONFIG_N, "config_private.h names each row");

const config_setting *config_settings(size_t *n) {
    *n = CONFIG_N;
    return table;
}
