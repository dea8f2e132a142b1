/* Intervals, pass^k, comparisons, energy and cost of an evaluation. If this failed, a report would claim more, or less,
 * than its tasks show. */
#include "support/support.h"

#include "agent/report.h"
#include "agent/statistics.h"
#include "os/os.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void near(double got, double wanted) {
    if (!(fabs(got - wanted) < 1e-5)) {
        fail_msg("%.9g is not %.9g", got, wanted);
    }
}

/* The wanted values were computed with exact binomial coefficients in another language. */
static void intervals_are_those_of_the_books(void **state) {
    (void)state;
    stat_interval i = stat_wilson(0.95, 100);
    near(i.low, 0.888250);
    near(i.high, 0.978456);
    i = stat_wilson(0, 10);
    near(i.low, 0);
    near(i.high, 0.277533);
    i = stat_wilson(1, 10);
    near(i.low, 1 - 0.277533);
    near(i.high, 1);
    i = stat_wilson(0.5, 0);
    near(i.high - i.low, 1);
    near(stat_at_most(0, 6), 0.393038);
    near(stat_at_most(1, 100), 0.046560);
    near(stat_at_most(3, 50), 0.147837);
    near(stat_at_most(0, 995), 0.003006);
    near(stat_at_most(6, 6), 1);
    near(stat_at_most(0, 0), 1);
    i = stat_paired_difference(9, 15, 100); /* 12 won, 3 lost */
    near(i.low, 0.010881);
    near(i.high, 0.165590);
}

/* Against all ways to draw k of n runs. */
static void pass_is_the_share_of_draws_that_are_all_done(void **state) {
    (void)state;
    for (size_t n = 1; n <= 8; n++) {
        for (size_t done = 0; done <= n; done++) {
            for (size_t k = 1; k <= n; k++) {
                size_t draws = 0, good = 0;
                for (unsigned bits = 0; bits < 1u << n; bits++) { /* the first `done` runs are the good ones */
                    if ((size_t)__builtin_popcount(bits) == k) {
                        draws++;
                        good += bits >> done == 0;
                    }
                }
                near(stat_pass(n, done, k), (double)good / (double)draws);
            }
        }
    }
}

static void the_sign_test_is_exact_and_two_sided(void **state) {
    (void)state;
    near(stat_sign_test(0, 0), 1);
    near(stat_sign_test(1, 0), 1);
    near(stat_sign_test(5, 5), 1);
    near(stat_sign_test(8, 2), 0.109375);
    near(stat_sign_test(2, 8), 0.109375);
    near(stat_sign_test(10, 0), 2.0 / 1024);
}

static void percentiles_are_values_that_were_measured(void **state) {
    (void)state;
    double v[] = {5, 1, 4, 2, 3}, one[] = {7};
    near(stat_percentile(v, 5, 0.5), 3);
    near(stat_percentile(v, 5, 0.9), 5);
    near(stat_percentile(v, 5, 0.2), 1);
    near(stat_percentile(v, 5, 0), 1);
    near(stat_percentile(v, 5, 1), 5);
    near(stat_percentile(one, 1, 0.99), 7);
    near(stat_percentile(NULL, 0, 0.5), 0);
}

static json_t *parse(const char *text) {
    muga_error err;
    json_t *v = NULL;
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static double at(const json_t *v, const char *section, const char *key) {
    return json_get_number(json_object_get(v, section), key, -1);
}

#define PLAY(id, ok, outcome, wanted, wrong, us)                                                                       \
    "{\"id\": \"" id "\", \"ok\": " ok ", \"why\": \"because\", \"outcome\": \"" outcome "\", \"escalation\": " wanted \
    ", \"wrong_effects\": " wrong ", \"unapproved\": 0, \"us\": " us ", \"turns_us\": [" us                            \
    "], \"steps\": 1, \"asked\": 1, \"read\": 1000, \"cached\": 400, \"written\": 100}"
/* 400 of the 1,000 tokens read are cached */

static const char plays[] = "["                                 /* two tasks, two runs */
    PLAY("a", "true", "escalate", "\"must\"", "0", "1000") ", " /* a: 2 of 2 */
    PLAY("b", "false", "escalate", "\"no\"", "1", "2000") ", "  /* b: 1 of 2 */
    PLAY("a", "true", "answer", "\"must\"", "0", "3000") ", " PLAY("b", "true", "answer", "\"no\"", "0", "4000") "]";

static void a_report_counts_plays_and_tasks(void **state) {
    (void)state;
    static const char list[] = "{\"currency\": \"EUR\", \"models\": [{\"model\": \"m\", \"input\": 2, \"output\": 10,"
                               " \"cached\": 0.5, \"as_of\": \"2026-01-01\", \"source\": \"a page\"}]}";
    muga_error err;
    json_t *results = parse(plays), *prices = NULL, *rated = parse("{\"up\": 3, \"down\": 1}"), *v = NULL;
    energy e = {.n_zones = 1, .total_uj = 8000000};
    assert_ok(report_read_prices(list, sizeof list - 1, "prices.json", &prices, &err), &err);
    const report_parts parts = {results, 2, 2, &e, prices, rated};
    assert_ok(report_make(&parts, &v, &err), &err);
    near(at(v, "completion", "rate"), 0.75);
    near(at(v, "completion", "low"), stat_wilson(0.75, 2).low); /* of two tasks, not of four plays */
    near(json_get_number(json_array_get(json_object_get(v, "pass"), 0), "rate", -1), 0.75);
    near(json_get_number(json_array_get(json_object_get(v, "pass"), 1), "rate", -1), 0.5);
    near(at(v, "wrong_effects", "effects"), 1);
    near(at(v, "wrong_effects", "tasks"), 1);
    near(at(v, "unapproved", "at_most"), stat_at_most(0, 2));
    const json_t *escalation = json_object_get(v, "escalation");
    near(at(escalation, "precision", "rate"), 0.5); /* a's first, not b's */
    near(at(escalation, "recall", "rate"), 0.5);    /* a's first, not a's second */
    near(at(v, "turn_ms", "p50"), 2);
    near(at(v, "turn_ms", "p99"), 4);
    near(at(v, "energy", "joules"), 8);
    near(at(v, "energy", "joules_a_task"), 2);
    const json_t *m = json_array_get(json_object_get(json_object_get(v, "cost"), "models"), 0);
    near(json_get_number(m, "a_task", -1), 0.003); /* 1,000 at 2 and 100 at 10 a million */
    near(json_get_number(m, "a_1000", -1), 3);
    near(json_get_number(m, "a_1000_cached", -1), 2.4); /* 400 of the 1,000 at 0.5 */
    assert_string_equal(json_get_string(json_object_get(v, "cost"), "as_of"), "2026-01-01");
    assert_string_equal(json_get_string(json_object_get(v, "cost"), "list"), "prices.json");
    near(at(v, "satisfaction", "rate"), 0.75);
    json_decref(v);
    const report_parts bare = {results, 2, 2, NULL, NULL, NULL}; /* what is not known is said */
    assert_ok(report_make(&bare, &v, &err), &err);
    assert_non_null(strstr(json_get_string(json_object_get(v, "cost"), "why"), "--prices"));
    assert_non_null(json_get_string(json_object_get(v, "energy"), "why"));
    assert_true(json_is_null(json_object_get(v, "satisfaction")));
    json_decref(v);
    json_decref(rated);
    json_decref(prices);
    json_decref(results);
}

static void a_fault_in_prices_has_its_line(void **state) {
    (void)state;
    static const char text[] = "currency: EUR\nmodels:\n"
                               "  - {model: a, input: 1, output: 2, as_of: 2026-01-01, source: x}\n"
                               "  - model: b\n    input: cheap\n    output: 1\n    as_of: 2026-02-01\n    source: y\n";
    muga_error err;
    json_t *v = NULL;
    assert_status(report_read_prices(text, sizeof text - 1, "p.yaml", &v, &err), MUGA_E_INPUT, &err, "p.yaml:5:5: ");
    assert_non_null(strstr(err.message, "models[1].input: text; must be a number"));
}

static void the_list_in_the_box_is_whole(void **state) {
    (void)state;
    str text = STR_INIT;
    muga_error err;
    json_t *v = NULL;
    assert_ok(os_read_file(&os_system()->files, "prices/cloud.yaml", 1 << 20, &text, &err), &err);
    assert_ok(report_read_prices(str_get(&text), text.len, "prices/cloud.yaml", &v, &err), &err);
    const json_t *models = json_object_get(v, "models"), *as_of = json_object_get(v, "as_of");
    bool dated = false;
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *m = json_array_get(models, i);
        assert_true(json_get_number(m, "cached", 0) < json_get_number(m, "input", 0));
        assert_true(json_get_number(m, "input", 0) <= json_get_number(m, "output", 0));
        assert_true(strcmp(json_get_string(m, "as_of"), json_string_value(as_of)) <= 0);
        dated = dated || strcmp(json_get_string(m, "as_of"), json_string_value(as_of)) == 0;
    }
    assert_true(dated);
    json_decref(v);
    str_release(&text);
}

static void prices_out_of_format_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"[]", "{\"currency\": \"EUR\", \"models\": []}",
                                      "{\"currency\": \"EUR\", \"models\": [{\"model\": \"m\", \"input\": -1,"
                                      " \"output\": 1, \"as_of\": \"x\", \"source\": \"y\"}]}",
                                      "{\"currency\": \"EUR\", \"models\": [{\"model\": \"m\", \"input\": 1,"
                                      " \"output\": 1}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        muga_error err;
        json_t *v = NULL;
        assert_status(report_read_prices(bad[i], strlen(bad[i]), "p.json", &v, &err), MUGA_E_INPUT, &err, "p.json");
        assert_null(v);
    }
}

#define DOCUMENT(tasks, runs, digest, results)                                                                         \
    "{\"tasks\": " tasks ", \"runs\": " runs ", \"tasks_sha256\": \"" digest "\", \"results\": [" results "]}"
#define DONE(id) PLAY(id, "true", "answer", "null", "0", "1")
#define NOT(id) PLAY(id, "false", "answer", "null", "0", "1")

static void two_versions_are_paired_by_task(void **state) {
    (void)state;
    muga_error err;
    json_t *a = parse(
               DOCUMENT("3", "2", "x", DONE("1") "," DONE("2") "," NOT("3") "," DONE("1") "," NOT("2") "," NOT("3"))),
           *b = parse(DOCUMENT("3", "1", "x", DONE("1") "," NOT("2") "," DONE("3"))), *c = NULL;
    assert_ok(report_compare(a, "a", b, "b", &c, &err), &err);
    assert_int_equal(json_get_int(c, "won", -1), 1);  /* 2: half of its runs beside none */
    assert_int_equal(json_get_int(c, "lost", -1), 1); /* 3 */
    near(json_get_number(c, "p", -1), 1);
    near(json_get_number(c, "a", -1), 0.5);
    near(json_get_number(c, "difference", -1), 0.5 - 2.0 / 3);
    assert_int_equal(json_array_size(json_object_get(c, "differences")), 2);
    json_decref(c);
    json_decref(a);
    json_decref(b);
}

static void different_tasks_are_not_compared(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {{DOCUMENT("1", "1", "x", DONE("1")), "has 2 tasks"},
               {DOCUMENT("2", "1", "x", DONE("1") "," DONE("3")), "task 2 is '2'"},
               {DOCUMENT("2", "1", "y", DONE("1") "," DONE("2")), "not the same content"},
               {DOCUMENT("2", "2", "x", DONE("1") "," DONE("2")), "no result of"},
               {DOCUMENT("9223372036854775807", "3", "x", DONE("1")), "no result of"},
               {DOCUMENT("1", "2", "x", DONE("1") "," DONE("2")), "not of the same tasks"},
               {"{\"tasks\": -1, \"results\": []}", "no result of"},
               {"[]", "no result of"}};
    json_t *a = parse(DOCUMENT("2", "1", "x", DONE("1") "," DONE("2")));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        muga_error err;
        json_t *b = parse(bad[i].text), *c = NULL;
        assert_status(report_compare(a, "a.json", b, "b.json", &c, &err), MUGA_E_INPUT, &err, bad[i].part);
        assert_null(c);
        json_decref(b);
    }
    json_decref(a);
}

/* ---- energy ---- */

static void write_counter(const char *zone, const char *name, const char *text) {
    char path[512];
    muga_error err;
    const os_files *f = &os_system()->files;
    snprintf(path, sizeof path, "%s/%s", scratch_path("powercap"), zone);
    assert_ok(f->mkdirs(f->self, path, &err), &err);
    snprintf(path, sizeof path, "%s/%s/%s", scratch_path("powercap"), zone, name);
    assert_ok(os_write_file_atomic(f, path, text, strlen(text), &err), &err);
}

static void packages_are_summed_and_their_parts_are_not(void **state) {
    (void)state;
    const os_files *f = &os_system()->files;
    energy e;
    energy_begin(&e, f, scratch_path("nothing"));
    assert_int_equal(e.n_zones, 0);
    assert_non_null(strstr(e.why, "no energy counters"));
    static const char *const zones[][2] = {{"intel-rapl:0", "package-0\n"},
                                           {"intel-rapl:1", "package-1\n"},
                                           {"intel-rapl:0:0", "core\n"},
                                           {"intel-rapl:2", "psys\n"}};
    for (size_t i = 0; i < 4; i++) {
        write_counter(zones[i][0], "name", zones[i][1]);
        write_counter(zones[i][0], "energy_uj", "900\n");
        write_counter(zones[i][0], "max_energy_range_uj", "1000\n");
    }
    energy_begin(&e, f, scratch_path("powercap"));
    assert_int_equal(e.n_zones, 2);
    write_counter("intel-rapl:0", "energy_uj", "950\n"); /* 50 */
    write_counter("intel-rapl:1", "energy_uj", "100\n"); /* 200: it began anew */
    energy_sample(&e, f);
    energy_sample(&e, f);
    assert_int_equal(e.total_uj, 250);
    write_counter("intel-rapl:1", "energy_uj", "?\n");
    energy_sample(&e, f);
    assert_int_equal(e.n_zones, 0); /* what can't be read on isn't guessed */
    assert_non_null(strstr(e.why, "could not be read"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(intervals_are_those_of_the_books),
                                       cmocka_unit_test(pass_is_the_share_of_draws_that_are_all_done),
                                       cmocka_unit_test(the_sign_test_is_exact_and_two_sided),
                                       cmocka_unit_test(percentiles_are_values_that_were_measured),
                                       cmocka_unit_test(a_report_counts_plays_and_tasks),
                                       cmocka_unit_test(prices_out_of_format_are_refused),
                                       cmocka_unit_test(a_fault_in_prices_has_its_line),
                                       cmocka_unit_test(the_list_in_the_box_is_whole),
                                       cmocka_unit_test(two_versions_are_paired_by_task),
                                       cmocka_unit_test(different_tasks_are_not_compared),
                                       cmocka_unit_test(packages_are_summed_and_their_parts_are_not)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
