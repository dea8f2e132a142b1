/* Metrics. If this failed, dashboards would show numbers that aren't so, a client that invents names would fill the
 * memory, or a label with a quotation mark in it would make the whole page unreadable for Prometheus. */
#include "support/support.h"

#include "base/mem.h"
#include "os/os.h"
#include "serve/metrics.h"

#include <pthread.h>
#include <stdio.h>

static metrics *fresh(void) {
    metrics *m;
    muga_error err;
    assert_ok(metrics_new(&m, &err), &err);
    return m;
}

/* Until the next call. */
static const char *text_of(metrics *m, metrics_format f) {
    static str out;
    muga_error err;
    str_clear(&out);
    assert_ok(metrics_write(m, f, &out, &err), &err);
    return str_get(&out);
}

static void assert_has_line(metrics *m, const char *line) {
    const char *text = text_of(m, METRICS_PROMETHEUS), *found = strstr(text, line);
    if (!found || (found > text && found[-1] != '\n') || found[strlen(line)] != '\n')
        fail_msg("no line \"%s\" in:\n%s", line, text);
}

static size_t count_of(const char *text, const char *part) {
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part))
        n++;
    return n;
}

static void the_table_is_whole_and_well_formed(void **state) {
    (void)state;
    const metric_row *rows = metrics_table();
    for (size_t i = 0; i < N_METRICS; i++) {
        const metric_row *r = &rows[i];
        assert_non_null(r->name);
        assert_non_null(r->help);
        size_t n = strlen(r->name);
        assert_int_equal(strspn(r->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), n);
        if (r->type == METRIC_COUNTER)
            assert_string_equal(r->name + n - 6, "_total");
        assert_int_equal(r->type == METRIC_HISTOGRAM, r->n_buckets > 0);
        for (size_t b = 1; b < r->n_buckets; b++)
            assert_true(r->buckets[b] > r->buckets[b - 1]);
        assert_null(strpbrk(r->help, "\\\n\""));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(rows[k].name, r->name);
    }
}

static void a_request_is_counted_as_it_goes(void **state) {
    (void)state;
    metrics *m = fresh();
    metrics_request r;
    metrics_begin(m, &r, 1000000);
    metrics_model(&r, "tiny:latest", "acme");
    metrics_run(&r, 1020000);
    metrics_token(&r, 1050000);
    metrics_token(&r, 1054000);
    metrics_token(&r, 1060000);
    metrics_ended e = {.finish = "tool_calls", .n_prompt = 30, .n_cached = 20, .n_generated = 3};
    e.prefill_us = 25000, e.decode_us = 10000;
    metrics_end(&r, 1061000, &e);
    metrics_end(&r, 1061000, &e); /* nothing more */
    assert_has_line(m, "muga:prompt_tokens_total{model_name=\"tiny:latest\"} 30");
    assert_has_line(m, "muga:generation_tokens_total{model_name=\"tiny:latest\"} 3");
    assert_has_line(m, "muga:prefix_cache_queries_total{model_name=\"tiny:latest\"} 30");
    assert_has_line(m, "muga:prefix_cache_hits_total{model_name=\"tiny:latest\"} 20");
    assert_has_line(m, "muga:request_success_total{model_name=\"tiny:latest\",finished_reason=\"stop\"} 1");
    assert_has_line(m, "muga:time_to_first_token_seconds_sum{model_name=\"tiny:latest\"} 0.050000");
    assert_has_line(m, "muga:time_to_first_token_seconds_bucket{model_name=\"tiny:latest\",le=\"0.04\"} 0");
    assert_has_line(m, "muga:time_to_first_token_seconds_bucket{model_name=\"tiny:latest\",le=\"0.06\"} 1");
    assert_has_line(m, "muga:inter_token_latency_seconds_sum{model_name=\"tiny:latest\"} 0.010000");
    assert_has_line(m, "muga:inter_token_latency_seconds_count{model_name=\"tiny:latest\"} 2");
    assert_has_line(m, "muga:request_queue_time_seconds_sum{model_name=\"tiny:latest\"} 0.020000");
    assert_has_line(m, "muga:e2e_request_latency_seconds_bucket{model_name=\"tiny:latest\",le=\"+Inf\"} 1");
    assert_has_line(m, "muga:tenant_tokens_total{tenant=\"acme\",model_name=\"tiny:latest\",kind=\"prompt\"} 30");
    metrics_free(m);
}

static void what_failed_is_no_success(void **state) {
    (void)state;
    metrics *m = fresh();
    metrics_request waits, runs, unknown;
    metrics_begin(m, &waits, 1);
    metrics_begin(m, &runs, 1);
    metrics_begin(m, &unknown, 1);
    metrics_model(&waits, "m", NULL);
    metrics_model(&runs, "m", NULL);
    metrics_run(&runs, 2);
    metrics_ended e = {0};
    metrics_end(&waits, 3, &e);
    metrics_end(&runs, 3, &e);
    metrics_end(&unknown, 3, &e);
    assert_null(strstr(text_of(m, METRICS_PROMETHEUS), "request_success"));
    metrics_begin(m, &runs, 1);
    metrics_model(&runs, "m", NULL);
    metrics_run(&runs, 2);
    e.finish = "abort";
    metrics_end(&runs, 3, &e);
    assert_has_line(m, "muga:request_success_total{model_name=\"m\",finished_reason=\"abort\"} 1");
    metrics_free(m);
}

static void names_from_outside_are_bounded(void **state) {
    (void)state;
    metrics *m = fresh();
    char name[32];
    for (int i = 0; i < 5000; i++) {
        metrics_request r;
        snprintf(name, sizeof name, "model-%d", i);
        metrics_begin(m, &r, 1);
        metrics_model(&r, name, name);
        metrics_run(&r, 2);
        metrics_ended e = {.finish = "stop", .n_prompt = 1};
        metrics_end(&r, 3, &e);
        metrics_add(m, METRIC_HTTP_REQUESTS, METRIC_LABELS(name, "GET", "200"), 1);
    }
    assert_has_line(m, "muga:prompt_tokens_total{model_name=\"model-511\"} 1");
    assert_has_line(m, "muga:prompt_tokens_total{model_name=\"other\"} 4488");
    assert_has_line(m, "muga:http_requests_total{route=\"other\",method=\"other\",status=\"other\"} 4488");
    assert_int_equal(count_of(text_of(m, METRICS_PROMETHEUS), "\nmuga:http_requests_total{"), 513);
    metrics_free(m);
}

static void labels_are_escaped_and_cut(void **state) {
    (void)state;
    metrics *m = fresh();
    metrics_add(m, METRIC_AGENT_STEPS, METRIC_LABELS("a\"b\\c\nd"), 2);
    assert_has_line(m, "muga:agent_steps_total{agent=\"a\\\"b\\\\c\\nd\"} 2");
    metrics_add(m, METRIC_AGENT_STEPS, METRIC_LABELS("\xff\xfe"), 1);
    assert_has_line(m, "muga:agent_steps_total{agent=\"\xEF\xBF\xBD\xEF\xBF\xBD\"} 1");
    char big[400] = "";
    for (size_t i = 0; i + 2 < sizeof big; i += 2)
        memcpy(big + i, "\xC3\xA4", 3);
    metrics_set(m, METRIC_BUILD_INFO, METRIC_LABELS(big), 1);
    const char *text = text_of(m, METRICS_PROMETHEUS);
    assert_int_equal(count_of(text, "\xC3\xA4"), METRICS_LABEL_BYTES / 2);
    metrics_free(m);
}

static void gauges_that_are_cleared_are_not_shown(void **state) {
    (void)state;
    metrics *m = fresh();
    metrics_set(m, METRIC_MODEL_BYTES, METRIC_LABELS("a"), 1.5e9);
    metrics_set(m, METRIC_MODEL_BYTES, METRIC_LABELS("b"), 2);
    metrics_clear(m, METRIC_MODEL_BYTES);
    assert_null(strstr(text_of(m, METRICS_PROMETHEUS), "model_memory"));
    metrics_set(m, METRIC_MODEL_BYTES, METRIC_LABELS("a"), 1.5e9);
    assert_has_line(m, "muga:model_memory_bytes{model_name=\"a\"} 1500000000");
    assert_null(strstr(text_of(m, METRICS_PROMETHEUS), "model_name=\"b\""));
    metrics_free(m);
    metrics_add(NULL, METRIC_HTTP_GONE, NULL, 1); /* nothing counts */
    metrics_request r;
    metrics_begin(NULL, &r, 1);
    metrics_model(&r, "a", NULL);
    metrics_token(&r, 1);
    metrics_end(&r, 1, &(metrics_ended){0});
}

static void the_format_is_chosen_by_accept(void **state) {
    (void)state;
    static const struct {
        const char *accept;
        metrics_format f;
    } cases[] = {
        {NULL, METRICS_PROMETHEUS},
        {"*/*", METRICS_PROMETHEUS},
        {"application/openmetrics-text", METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=0.2, text/plain;q=0.75", METRICS_PROMETHEUS},
        {"application/openmetrics-text;q=0", METRICS_PROMETHEUS},
        {"application/openmetrics-text;q=", METRICS_OPENMETRICS},
        {"text/html, application/openmetrics-textual", METRICS_PROMETHEUS},
        {",,,;q=", METRICS_PROMETHEUS}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (metrics_choose(cases[i].accept) != cases[i].f)
            fail_msg("Accept: %s", cases[i].accept);
    metrics *m = fresh();
    metrics_add(m, METRIC_HTTP_GONE, NULL, 3);
    metrics_observe(m, METRIC_HTTP_SECONDS, METRIC_LABELS("/x"), 1500000);
    const char *text = text_of(m, METRICS_OPENMETRICS);
    assert_non_null(strstr(text, "# TYPE muga:http_clients_gone counter\nmuga:http_clients_gone_total 3\n"));
    assert_non_null(strstr(text, "_bucket{route=\"/x\",le=\"1.0\"} 0\n"));
    assert_non_null(strstr(text, "_bucket{route=\"/x\",le=\"2.5\"} 1\n"));
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    assert_null(strstr(text_of(m, METRICS_PROMETHEUS), "# EOF"));
    metrics_free(m);
}

static void steps_of_an_engine_are_a_histogram(void **state) {
    (void)state;
    metrics *m = fresh();
    uint64_t steps[METRICS_N_STEP_SIZES] = {3, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    assert_int_equal(metrics_table()[METRIC_ITERATION_TOKENS].n_buckets + 1, METRICS_N_STEP_SIZES);
    metrics_set_steps(m, METRIC_LABELS("m"), steps, 4000);
    assert_has_line(m, "muga:iteration_tokens_total_bucket{model_name=\"m\",le=\"4.0\"} 5");
    assert_has_line(m, "muga:iteration_tokens_total_bucket{model_name=\"m\",le=\"2048.0\"} 6");
    assert_has_line(m, "muga:iteration_tokens_total_count{model_name=\"m\"} 7");
    assert_has_line(m, "muga:iteration_tokens_total_sum{model_name=\"m\"} 4000");
    metrics_free(m);
}

/* Every row in the page for people, which the files of deploy/ are held against. */
static void the_page_names_every_metric(void **state) {
    (void)state;
    static const char *const types[] = {"counter", "gauge", "histogram"};
    str page = STR_INIT, line = STR_INIT;
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, source_path("docs/metrics.md"), 1 << 20, &page, &err), &err);
    for (size_t i = 0; i < N_METRICS; i++) {
        const metric_row *r = &metrics_table()[i];
        str_clear(&line);
        str_printf(&line, "| `muga:%s` | %s | ", r->name, types[r->type]);
        for (size_t k = 0; k < METRICS_MAX_LABELS && r->labels[k]; k++)
            str_printf(&line, "%s%s", k ? ", " : "", r->labels[k]);
        str_printf(&line, " | %s |\n", r->help);
        if (!strstr(str_get(&page), str_get(&line)))
            fail_msg("docs/metrics.md has no row: %s", str_get(&line));
    }
    assert_int_equal(count_of(str_get(&page), "\n| `muga:"), N_METRICS);
    str_release(&page);
    str_release(&line);
}

static void *count_much(void *ctx) {
    metrics *m = ctx;
    for (int i = 0; i < 2000; i++) {
        metrics_request r;
        char name[8] = {(char)('a' + i % 7)};
        metrics_begin(m, &r, 1);
        metrics_model(&r, name, "t");
        metrics_run(&r, 2);
        metrics_token(&r, 3);
        metrics_end(&r, 4, &(metrics_ended){.finish = "stop", .n_prompt = 2});
        metrics_add(m, METRIC_HTTP_GONE, NULL, 1);
        if (i % 100 == 0) {
            str out = STR_INIT;
            muga_error err;
            assert_ok(metrics_write(m, METRICS_PROMETHEUS, &out, &err), &err);
            str_release(&out);
        }
    }
    return NULL;
}

static void nothing_is_lost_among_threads(void **state) {
    (void)state;
    metrics *m = fresh();
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, m), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_has_line(m, "muga:http_clients_gone_total 8000");
    assert_has_line(m, "muga:prompt_tokens_total{model_name=\"g\"} 2280"); /* 4 threads, 285 each, 2 tokens */
    metrics_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_whole_and_well_formed), cmocka_unit_test(a_request_is_counted_as_it_goes),
        cmocka_unit_test(what_failed_is_no_success),          cmocka_unit_test(names_from_outside_are_bounded),
        cmocka_unit_test(labels_are_escaped_and_cut),         cmocka_unit_test(gauges_that_are_cleared_are_not_shown),
        cmocka_unit_test(the_format_is_chosen_by_accept),     cmocka_unit_test(steps_of_an_engine_are_a_histogram),
        cmocka_unit_test(the_page_names_every_metric),        cmocka_unit_test(nothing_is_lost_among_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
