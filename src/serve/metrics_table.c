/* The table of metrics: the one place that says what there is. docs/metrics.md has its rows, and the dashboard and the
 * alerts in deploy/ may name nothing else (tests/deploy/test_files.py). */
#include "serve/metrics.h"

/* The bounds of vLLM's histograms, and smaller ones before them where small models are faster than those. */
static const double first_token[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                     1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
static const double inter_token[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
                                     0.4,   0.5,    0.75,  1,    2.5,   5,    7.5,   10,  20,   40,  80};
static const double request[] = {0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 1,   1.5, 2,   2.5, 5,    10,
                                 15,   20,   30,  40,  50,  60,  120, 240, 480, 960, 1920, 7680};
static const double load[] = {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100};
static const double http[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};
static const double tokens[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
static const double rows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048};

#define B(a) a, sizeof(a) / sizeof((a)[0])
#define COUNTER METRIC_COUNTER
#define GAUGE METRIC_GAUGE
#define HISTOGRAM METRIC_HISTOGRAM
#define ONES METRIC_ONES, NULL, 0
#define SECONDS(a) METRIC_MICROSECONDS, B(a)
#define MODEL "model_name"

static const metric_row table[N_METRICS] = {
    [METRIC_RUNNING] = {"num_requests_running", GAUGE, {MODEL}, ONES, "Requests that a model is computing."},
    [METRIC_WAITING] = {"num_requests_waiting", GAUGE, {MODEL}, ONES, "Requests that wait for their turn or model."},
    [METRIC_KV_USAGE] = {"kv_cache_usage_perc",
                         GAUGE,
                         {MODEL},
                         ONES,
                         "Share of the room for keys and values that is in use; 1 is all of it."},
    [METRIC_PREFIX_QUERIES] = {"prefix_cache_queries_total",
                               COUNTER,
                               {MODEL},
                               ONES,
                               "Tokens of prompts that were looked for in the prefix cache."},
    [METRIC_PREFIX_HITS] =
        {"prefix_cache_hits_total", COUNTER, {MODEL}, ONES, "Tokens of prompts that were found in the prefix cache."},
    [METRIC_PREEMPTIONS] = {"num_preemptions_total",
                            COUNTER,
                            {MODEL},
                            ONES,
                            "Times that a running request gave its room to another and was computed again."},
    [METRIC_PROMPT_TOKENS] = {"prompt_tokens_total", COUNTER, {MODEL}, ONES, "Tokens of prompts, cached ones too."},
    [METRIC_GENERATION_TOKENS] = {"generation_tokens_total", COUNTER, {MODEL}, ONES, "Tokens generated."},
    [METRIC_SUCCESS] = {"request_success_total",
                        COUNTER,
                        {MODEL, "finished_reason"},
                        ONES,
                        "Requests that ended without an error: stop, length, or abort where the client left."},
    [METRIC_FIRST_TOKEN] = {"time_to_first_token_seconds",
                            HISTOGRAM,
                            {MODEL},
                            SECONDS(first_token),
                            "From a request's arrival to its first token."},
    [METRIC_INTER_TOKEN] = {"inter_token_latency_seconds",
                            HISTOGRAM,
                            {MODEL},
                            SECONDS(inter_token),
                            "Between two tokens of an answer that follow each other."},
    [METRIC_E2E] =
        {"e2e_request_latency_seconds", HISTOGRAM, {MODEL}, SECONDS(request), "From a request's arrival to its end."},
    [METRIC_QUEUE_TIME] = {"request_queue_time_seconds",
                           HISTOGRAM,
                           {MODEL},
                           SECONDS(request),
                           "From a request's arrival to when its model began with it."},
    [METRIC_PREFILL_TIME] =
        {"request_prefill_time_seconds", HISTOGRAM, {MODEL}, SECONDS(request), "Reading a request's prompt."},
    [METRIC_DECODE_TIME] = {"request_decode_time_seconds",
                            HISTOGRAM,
                            {MODEL},
                            SECONDS(request),
                            "From a request's first token to its last."},
    [METRIC_REQUEST_PROMPT] =
        {"request_prompt_tokens", HISTOGRAM, {MODEL}, METRIC_ONES, B(tokens), "Tokens of a request's prompt."},
    [METRIC_REQUEST_GENERATION] =
        {"request_generation_tokens", HISTOGRAM, {MODEL}, METRIC_ONES, B(tokens), "Tokens generated for a request."},
    [METRIC_ITERATION_TOKENS] = {"iteration_tokens_total",
                                 HISTOGRAM,
                                 {MODEL},
                                 METRIC_ONES,
                                 B(rows),
                                 "Tokens computed in a step of the engine, of prompts and answers."},
    [METRIC_LORA_INFO] = {"lora_requests_info",
                          GAUGE,
                          {"running_lora_adapters", "waiting_lora_adapters", "max_lora"},
                          ONES,
                          "When adapters were last looked at (Unix time), and their names with commas between."},
    [METRIC_CACHE_INFO] = {"cache_config_info",
                           GAUGE,
                           {MODEL, "block_size", "cache_dtype", "num_gpu_blocks"},
                           ONES,
                           "The room for keys and values: positions of a page, their type, pages; the value is 1."},

    [METRIC_MODEL_LOADS] = {"model_loads_total", COUNTER, {MODEL, "outcome"}, ONES, "Loads of a model: ok or failed."},
    [METRIC_MODEL_LOAD_TIME] = {"model_load_seconds", HISTOGRAM, {MODEL}, SECONDS(load), "Loading a model."},
    [METRIC_MODEL_BYTES] =
        {"model_memory_bytes", GAUGE, {MODEL}, ONES, "Memory that a loaded model has: weights, keys and values."},
    [METRIC_MODEL_MEMORY_MAX] =
        {"model_memory_limit_bytes", GAUGE, {NULL}, ONES, "Memory that all models may have together."},
    [METRIC_TENANT_TOKENS] =
        {"tenant_tokens_total", COUNTER, {"tenant", MODEL, "kind"}, ONES, "Tokens of a tenant: prompt and generation."},
    [METRIC_TENANT_REQUESTS] = {"tenant_requests_total",
                                COUNTER,
                                {"tenant", MODEL},
                                ONES,
                                "Requests of a tenant that ended without an error."},
    [METRIC_REFUSED] = {"requests_refused_total",
                        COUNTER,
                        {"reason"},
                        ONES,
                        "Requests refused before they ran: busy, limit (of the key), key (none or not good), right."},

    [METRIC_AGENT_TURNS] =
        {"agent_turns_total", COUNTER, {"agent", "outcome"}, ONES, "Turns of an agent by how they ended."},
    [METRIC_AGENT_STEPS] =
        {"agent_steps_total", COUNTER, {"agent"}, ONES, "Decisions that an agent's turns took, and rules that held."},
    [METRIC_AGENT_SECONDS] = {"agent_turn_seconds", HISTOGRAM, {"agent"}, SECONDS(request), "A turn of an agent."},
    [METRIC_AGENT_CALLS] = {"agent_tool_calls_total",
                            COUNTER,
                            {"agent", "tool", "state"},
                            ONES,
                            "Calls of tools by what became of them: held, finished, failed, refused ..."},
    [METRIC_AGENT_GUARDS] = {"agent_guard_verdicts_total",
                             COUNTER,
                             {"agent", "guard", "verdict"},
                             ONES,
                             "What guards found, and what became of it."},
    [METRIC_APPROVALS_WAITING] = {"approvals_waiting", GAUGE, {NULL}, ONES, "Held calls that wait for a person."},
    [METRIC_APPROVALS_OLDEST] = {"approvals_oldest_seconds",
                                 GAUGE,
                                 {NULL},
                                 ONES,
                                 "How long the oldest of them has waited; 0 where none waits."},
    [METRIC_APPROVALS_DECIDED] =
        {"approvals_decided_total", COUNTER, {"decision"}, ONES, "Held calls decided over HTTP: approved, denied."},

    [METRIC_HTTP_REQUESTS] = {"http_requests_total",
                              COUNTER,
                              {"route", "method", "status"},
                              ONES,
                              "Answers by route, method and status; 499 where the client left before."},
    [METRIC_HTTP_SECONDS] = {"http_request_duration_seconds",
                             HISTOGRAM,
                             {"route"},
                             SECONDS(http),
                             "From a request's headers to the end of its answer."},
    [METRIC_HTTP_GONE] =
        {"http_clients_gone_total", COUNTER, {NULL}, ONES, "Clients that left before the end of their answer."},
    [METRIC_CONNECTIONS] = {"http_connections", GAUGE, {NULL}, ONES, "Open connections."},
    [METRIC_CONNECTIONS_MAX] = {"http_connections_limit", GAUGE, {NULL}, ONES, "Connections that may be open."},
    [METRIC_CONNECTIONS_REFUSED] = {"http_connections_refused_total",
                                    COUNTER,
                                    {NULL},
                                    ONES,
                                    "Connections and requests refused by the server itself."},
    [METRIC_UNSENT_BYTES] = {"http_unsent_bytes", GAUGE, {NULL}, ONES, "Bytes of answers that wait for their clients."},

    [METRIC_UP_SINCE] = {"process_start_time_seconds", GAUGE, {NULL}, ONES, "When the process began (Unix time)."},
    [METRIC_READY] = {"ready", GAUGE, {NULL}, ONES, "1 while /health/ready says yes; 0 while it starts or ends."},
    [METRIC_RESIDENT_BYTES] = {"process_resident_memory_bytes", GAUGE, {NULL}, ONES, "Resident memory."},
    [METRIC_STORE_BYTES] = {"store_bytes", GAUGE, {NULL}, ONES, "Size of muga.db and its log."},
    [METRIC_DISK_FREE] = {"disk_free_bytes", GAUGE, {NULL}, ONES, "Free bytes of the disk that the store is on."},
    [METRIC_DISK_SIZE] = {"disk_size_bytes", GAUGE, {NULL}, ONES, "Size of that disk."},
    [METRIC_LOG_LINES] =
        {"log_lines_total", COUNTER, {"outcome"}, ONES, "Lines of the log: written, lost, or left out as repeated."},
    [METRIC_CONFIG_RELOADS] =
        {"config_reloads_total", COUNTER, {"outcome"}, ONES, "Times the configuration was read anew: ok or failed."},
    [METRIC_BUILD_INFO] = {"build_info", GAUGE, {"version"}, ONES, "The program's version; the value is 1."},
};

const metric_row *metrics_table(void) {
    return table;
}
