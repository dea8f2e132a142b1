/* What the server tells of itself. A request is counted and logged when it has ended; gauges are looked up when
 * somebody asks for them, so that nobody pays for metrics that nobody reads. */
#include "serve/seen.h"
#include "kernel/kernel.h"
#include "os/service.h"
#include "serve/keys.h"
#include "serve/live.h"
#include "serve/settings.h"

#include <stdio.h>

/* ---- a request ---- */

static const char *method_of(const server_request *q) {
    static const char *const known[] = {"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (!strcmp(q->method, known[i]))
            return known[i];
    return "other";
}

static void count_http(serve *s, const server_request *q, const char *route, int status, uint64_t us) {
    char code[12];
    snprintf(code, sizeof code, "%d", status);
    metrics_add(s->metrics, METRIC_HTTP_REQUESTS, METRIC_LABELS(route, method_of(q), code), 1);
    metrics_observe(s->metrics, METRIC_HTTP_SECONDS, METRIC_LABELS(route), us);
}

void seen_call(call *c) {
    serve *s = c->serve;
    bool gone = atomic_load(call_gone(c)), failed = c->status >= 400 || c->message[0];
    int status = gone && c->status == 0 ? 499 : c->status;
    const char *finish = gone || atomic_load(call_cancelled(c)) ? "abort" : failed ? NULL : c->finish;
    uint64_t now = call_now_us();
    metrics_end(&c->metrics, now,
                &(metrics_ended){.finish = c->model && !failed && !finish ? "stop" : finish,
                                 .n_prompt = c->n_prompt,
                                 .n_cached = c->n_cached,
                                 .n_generated = c->n_generated,
                                 .prefill_us = c->prefill_us,
                                 .decode_us = c->decode_us});
    count_http(s, c->q, c->route->path, status, now - c->begin_us);
    if (status == 429 || (status == 503 && c->retry_after_s))
        metrics_add(s->metrics, METRIC_REFUSED, METRIC_LABELS(status == 429 ? "limit" : "busy"), 1);
    log_request_end(s->options->log, &(log_request){.id = c->id,
                                                    .key = c->key && *key_id(c->key) ? key_id(c->key) : NULL,
                                                    .method = c->q->method,
                                                    .route = c->route->path,
                                                    .peer = c->peer,
                                                    .model = c->model,
                                                    .finish = finish,
                                                    .message = c->message,
                                                    .status = status,
                                                    .n_prompt = c->n_prompt,
                                                    .n_cached = c->n_cached,
                                                    .n_generated = c->n_generated,
                                                    .queue_us = c->queue_us,
                                                    .load_us = c->load_us,
                                                    .total_us = now - c->begin_us,
                                                    .body = c->body});
}

void seen_refused(serve *s, const server_request *q, const char *route, int status, const char *reason) {
    count_http(s, q, route, status, 0);
    if (status == 401 || status == 403)
        metrics_add(s->metrics, METRIC_REFUSED, METRIC_LABELS(status == 401 ? "key" : "right"), 1);
    else if (status == 503)
        metrics_add(s->metrics, METRIC_REFUSED, METRIC_LABELS("busy"), 1);
    log_request_end(
        s->options->log,
        &(log_request){.method = method_of(q), .route = route, .peer = q->peer, .message = reason, .status = status});
}

/* ---- gauges ---- */

static void set(serve *s, metric id, double v) {
    metrics_set(s->metrics, id, NULL, v);
}

static const char *kv_type(serve *s, const char *model) {
    const serve_config *c = settings_now(s);
    int kv = s->options->kv;
    for (size_t i = 0; c && i < c->n_models; i++)
        if (settings_is_same(c->models[i].name, model))
            kv = c->models[i].settings.kv;
    return kernel_kv_name((kernel_kv_type)kv);
}

static void sample_model(void *ctx, const char *name, llm *m) {
    metrics *to = ((serve *)ctx)->metrics;
    llm_counts n = llm_get_counts(m);
    char blocks[24];
    double used = n.kv_bytes > n.kv_idle_bytes ? (double)(n.kv_bytes - n.kv_idle_bytes) : 0;
    snprintf(blocks, sizeof blocks, "%llu",
             (unsigned long long)(n.kv_page_bytes ? n.kv_max_bytes / n.kv_page_bytes : 0));
    metrics_set(to, METRIC_RUNNING, METRIC_LABELS(name), n.n_running);
    metrics_set(to, METRIC_WAITING, METRIC_LABELS(name), n.n_waiting);
    metrics_set(to, METRIC_KV_USAGE, METRIC_LABELS(name), n.kv_max_bytes ? used / (double)n.kv_max_bytes : 0);
    metrics_set_total(to, METRIC_PREEMPTIONS, METRIC_LABELS(name), n.n_preempted);
    metrics_set(to, METRIC_MODEL_BYTES, METRIC_LABELS(name), (double)llm_memory_bytes(m));
    metrics_set(to, METRIC_CACHE_INFO, METRIC_LABELS(name, "64", kv_type(ctx, name), blocks), 1);
    metrics_set_steps(to, METRIC_LABELS(name), n.step_rows, n.n_prompt_rows + n.n_answer_rows);
}

typedef struct adapted {
    str running, waiting; /* names of models with an adapter, with commas between */
    uint32_t n;
} adapted;

static void sample_adapter(void *ctx, const char *name, llm *m) {
    adapted *a = ctx;
    llm_counts n = llm_get_counts(m);
    if (!m->has_adapter)
        return;
    a->n++;
    if (n.n_running)
        str_printf(&a->running, "%s%s", a->running.len ? "," : "", name);
    if (n.n_waiting)
        str_printf(&a->waiting, "%s%s", a->waiting.len ? "," : "", name);
}

static void sample_adapters(serve *s) {
    adapted a = {.running = STR_INIT, .waiting = STR_INIT};
    const os_clock *clock = &os_system()->clock;
    char n[12];
    metrics_clear(s->metrics, METRIC_LORA_INFO);
    pool_visit(s->pool, sample_adapter, &a);
    snprintf(n, sizeof n, "%u", a.n);
    metrics_set(s->metrics, METRIC_LORA_INFO, METRIC_LABELS(str_get(&a.running), str_get(&a.waiting), n),
                (double)(clock->now_ms(clock->self) / 1000));
    str_release(&a.running);
    str_release(&a.waiting);
}

static void sample_models(serve *s) {
    static const metric gone[] = {METRIC_RUNNING, METRIC_WAITING, METRIC_KV_USAGE, METRIC_MODEL_BYTES,
                                  METRIC_CACHE_INFO};
    for (size_t i = 0; i < ARRAY_LEN(gone); i++)
        metrics_clear(s->metrics, gone[i]);
    pool_visit(s->pool, sample_model, s);
    /* those that have no model yet: they wait for their turn */
    metrics_set(s->metrics, METRIC_WAITING, METRIC_LABELS(""), live_get_counts(s->live).n_waiting);
    const serve_config *c = settings_now(s);
    uint64_t most = c && c->memory_bytes ? c->memory_bytes : os_memory_bytes() / 4 * 3;
    set(s, METRIC_MODEL_MEMORY_MAX, (double)most);
}

static int64_t ask_store(store *db, const char *sql) {
    store_row *row = NULL;
    muga_error ignored;
    bool has = false;
    int64_t n = 0;
    if (!store_query(db, &row, &ignored, sql, "") && !store_step(row, &has, &ignored) && has)
        n = store_int(row, 0);
    store_done(row);
    return n;
}

static void sample_store(serve *s) {
    static const char *const ends[] = {"", "-wal"};
    const char *path = s->options->database;
    const os_clock *clock = &os_system()->clock;
    store *db = NULL;
    muga_error ignored;
    double bytes = 0;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        char name[4096];
        os_stat info;
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        if (!os_system()->files.stat(os_system()->files.self, name, &info, &ignored))
            bytes += (double)info.size;
    }
    set(s, METRIC_STORE_BYTES, bytes);
    uint64_t size = 0, room = 0;
    if (!os_disk_space(path, &size, &room, &ignored)) {
        set(s, METRIC_DISK_SIZE, (double)size);
        set(s, METRIC_DISK_FREE, (double)room);
    }
    if (store_open(path, &(store_options){.must_exist = true, .busy_ms = 200}, &db, &ignored))
        return;
    int64_t waiting = ask_store(db, "SELECT count(*) FROM approvals WHERE state = 'pending'");
    int64_t oldest = ask_store(db, "SELECT min(created_ms) FROM approvals WHERE state = 'pending'");
    store_close(db);
    set(s, METRIC_APPROVALS_WAITING, (double)waiting);
    set(s, METRIC_APPROVALS_OLDEST, waiting ? (double)(clock->now_ms(clock->self) - oldest) / 1000 : 0);
}

void seen_sample(serve *s) {
    server_counts n = server_get_counts(s->server);
    log_counts lines = log_get_counts(s->options->log);
    const serve_config *c = settings_now(s);
    set(s, METRIC_CONNECTIONS, n.n_connections);
    set(s, METRIC_CONNECTIONS_MAX, c ? c->limits.n_connections : SERVER_LIMITS_DEFAULT.n_connections);
    set(s, METRIC_UNSENT_BYTES, (double)n.unsent_bytes);
    metrics_set_total(s->metrics, METRIC_CONNECTIONS_REFUSED, NULL, n.n_refused);
    metrics_set_total(s->metrics, METRIC_HTTP_GONE, NULL, n.n_gone);
    metrics_set_total(s->metrics, METRIC_LOG_LINES, METRIC_LABELS("written"), lines.n_written);
    metrics_set_total(s->metrics, METRIC_LOG_LINES, METRIC_LABELS("lost"), lines.n_lost);
    metrics_set_total(s->metrics, METRIC_LOG_LINES, METRIC_LABELS("repeated"), lines.n_repeated);
    set(s, METRIC_UP_SINCE, (double)s->begin_ms / 1000);
    set(s, METRIC_READY, atomic_load(&s->ready) && !atomic_load(&s->draining));
    set(s, METRIC_RESIDENT_BYTES, (double)os_resident_memory_bytes());
    metrics_set(s->metrics, METRIC_BUILD_INFO, METRIC_LABELS(s->options->version), 1);
    sample_models(s);
    sample_adapters(s);
    sample_store(s);
}

/* ---- the route ---- */

bool seen_is_open(serve *s) {
    const serve_config *c = settings_now(s);
    return c && c->metrics_open;
}

void seen_metrics(call *c) {
    serve *s = c->serve;
    const serve_config *conf = settings_now(s);
    str text = STR_INIT;
    muga_error err = {0};
    if (conf && !conf->metrics) {
        (void)call_fail(c, 404, NULL, "unknown_url", "metrics.serve is false in the configuration");
        return;
    }
    metrics_format f = metrics_choose(server_request_header(c->q, "accept"));
    seen_sample(s);
    muga_status st = metrics_write(s->metrics, f, &text, &err);
    if (st)
        (void)call_fail_with(c, st, &err, NULL);
    else
        (void)call_reply_text(c, 200, metrics_content_type(f), str_get(&text), text.len);
    str_release(&text);
}
