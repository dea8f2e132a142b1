/* Private to serve/: what the server counts, and its text for Prometheus.
 *
 * Every metric is a row of one table (metrics_table): name, type, labels, meaning. Those with a name of vLLM's have
 * vLLM's meaning, under `muga:` (docs/metrics.md says it of each). Routes tell of a request with metrics_begin ...
 * metrics_end; all else is metrics_add, metrics_set and metrics_observe.
 *
 * Labels come from outside, so each metric has at most METRICS_MAX_SERIES sets of them; what comes later is counted
 * under the label value "other". A series costs memory until the end; values are atomic, and the lock is held for a
 * look-up alone.
 *
 * Threads: all of it from any thread. A NULL metrics takes everything and counts nothing. */
#ifndef MUGA_SERVE_METRICS_H
#define MUGA_SERVE_METRICS_H

#include "base/str.h"

#define METRICS_MAX_SERIES 512u
#define METRICS_MAX_LABELS 4u
#define METRICS_LABEL_BYTES 128u /* of one value; longer ones are cut at a character */

typedef struct metrics metrics;

typedef enum {
    /* requests of a model, as vLLM counts them; label model_name */
    METRIC_RUNNING,
    METRIC_WAITING,
    METRIC_KV_USAGE,
    METRIC_PREFIX_QUERIES,
    METRIC_PREFIX_HITS,
    METRIC_PREEMPTIONS,
    METRIC_PROMPT_TOKENS,
    METRIC_GENERATION_TOKENS,
    METRIC_SUCCESS, /* finished_reason: stop, length, abort */
    METRIC_FIRST_TOKEN,
    METRIC_INTER_TOKEN,
    METRIC_E2E,
    METRIC_QUEUE_TIME,
    METRIC_PREFILL_TIME,
    METRIC_DECODE_TIME,
    METRIC_REQUEST_PROMPT,
    METRIC_REQUEST_GENERATION,
    METRIC_ITERATION_TOKENS,
    METRIC_LORA_INFO,
    METRIC_CACHE_INFO,
    /* models */
    METRIC_MODEL_LOADS,      /* model_name, outcome: ok, failed */
    METRIC_MODEL_LOAD_TIME,  /* model_name */
    METRIC_MODEL_BYTES,      /* model_name */
    METRIC_MODEL_MEMORY_MAX, /* bytes that all of them may have */
    /* whose: tenant, kind: prompt, generation */
    METRIC_TENANT_TOKENS,
    METRIC_TENANT_REQUESTS, /* tenant */
    METRIC_REFUSED,         /* reason: busy, limit, key, right */
    /* agents; label agent */
    METRIC_AGENT_TURNS,   /* agent, outcome */
    METRIC_AGENT_STEPS,   /* agent */
    METRIC_AGENT_SECONDS, /* agent */
    METRIC_AGENT_CALLS,   /* agent, tool, state */
    METRIC_AGENT_GUARDS,  /* agent, guard, verdict */
    METRIC_APPROVALS_WAITING,
    METRIC_APPROVALS_OLDEST,
    METRIC_APPROVALS_DECIDED, /* decision: approved, denied */
    /* HTTP */
    METRIC_HTTP_REQUESTS, /* route, method, status */
    METRIC_HTTP_SECONDS,  /* route */
    METRIC_HTTP_GONE,
    METRIC_CONNECTIONS,
    METRIC_CONNECTIONS_MAX,
    METRIC_CONNECTIONS_REFUSED,
    METRIC_UNSENT_BYTES,
    /* the process and its disk */
    METRIC_UP_SINCE,
    METRIC_READY,
    METRIC_RESIDENT_BYTES,
    METRIC_STORE_BYTES,
    METRIC_DISK_FREE,
    METRIC_DISK_SIZE,
    METRIC_LOG_LINES,      /* outcome: written, lost, repeated */
    METRIC_CONFIG_RELOADS, /* outcome: ok, failed */
    METRIC_BUILD_INFO,     /* version */
    N_METRICS
} metric;

typedef enum { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } metric_type;
typedef struct metric_row {
    const char *name; /* without "muga:"; a counter's ends in _total */
    metric_type type;
    const char *labels[METRICS_MAX_LABELS]; /* names; NULL ends them */
    enum {
        METRIC_ONES,
        METRIC_MICROSECONDS
    } unit;                /* of what is observed or added; microseconds are shown as seconds */
    const double *buckets; /* of a histogram: upper bounds as shown */
    size_t n_buckets;
    const char *help; /* its meaning */
} metric_row;
const metric_row *metrics_table(void); /* [N_METRICS] */

MUGA_MUST_USE muga_status metrics_new(metrics **out, muga_error *err);
void metrics_free(metrics *m);

/* values: as many as the metric has labels, NULL is "". */
void metrics_add(metrics *m, metric id, const char *const *values, uint64_t n);       /* a counter; or a gauge's ones */
void metrics_set(metrics *m, metric id, const char *const *values, double v);         /* a gauge */
void metrics_set_total(metrics *m, metric id, const char *const *values, uint64_t n); /* a counter kept elsewhere */
void metrics_observe(metrics *m, metric id, const char *const *values, uint64_t value); /* a histogram */
/* llm_counts.step_rows, and the rows of all steps. */
#define METRICS_N_STEP_SIZES 13u
void metrics_set_steps(metrics *m, const char *const *values, const uint64_t in_bucket[METRICS_N_STEP_SIZES],
                       uint64_t sum);
/* All series of a gauge go, before those that are there now are set (models in memory). */
void metrics_clear(metrics *m, metric id);
#define METRIC_LABELS(...) ((const char *const[]){__VA_ARGS__})

/* ---- a request to a model ---- one thread at a time; times are monotonic microseconds.
 *
 *     metrics_begin(m, &r, arrived)
 *     metrics_model(&r, model, tenant)         once both are known, and the store has that model
 *     metrics_run(&r, now)                     it is given to the model
 *     metrics_token(&r, now)                   each piece of text, reasoning or arguments that comes out
 *     metrics_end(&r, now, &end)               once, whatever became of it; harmless on a zeroed one
 */
typedef struct metrics_request {
    metrics *m;
    struct metrics_model *model;
    uint64_t begin_us, run_us, token_us;
    char tenant[METRICS_LABEL_BYTES + 1];
} metrics_request;
typedef struct metrics_ended {
    const char *finish; /* "length", "abort" (the client left); all else counts as "stop"; NULL: an error */
    uint32_t n_prompt, n_cached, n_generated;
    uint64_t prefill_us, decode_us; /* llm_reply's */
} metrics_ended;
void metrics_begin(metrics *m, metrics_request *r, uint64_t now_us);
void metrics_model(metrics_request *r, const char *model, const char *tenant);
void metrics_run(metrics_request *r, uint64_t now_us);
void metrics_token(metrics_request *r, uint64_t now_us);
void metrics_end(metrics_request *r, uint64_t now_us, const metrics_ended *e);

/* ---- out ---- OPENMETRICS: version 1.0.0, where Accept asks for it. Appends. */
typedef enum { METRICS_PROMETHEUS, METRICS_OPENMETRICS } metrics_format;
metrics_format metrics_choose(const char *accept); /* of a header; NULL: it wasn't there */
const char *metrics_content_type(metrics_format f);
MUGA_MUST_USE muga_status metrics_write(metrics *m, metrics_format f, str *out, muga_error *err);

#endif
