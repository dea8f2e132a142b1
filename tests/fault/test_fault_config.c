/* Every allocation failed in turn while the configuration is read, listed and read anew, and while metrics are counted
 * and written. If this failed, a machine short of memory would go on with half a configuration, leak at each SIGHUP, or
 * fall over when Prometheus asks. */
#include "support/faultmalloc.h"
#include "support/support.h"

#include "base/mem.h"
#include "os/os.h"
#include "serve/config.h"
#include "serve/metrics.h"

static const char *file;

static muga_status read_all(muga_error *err) {
    const config_given env[] = {{"models.aliases", "a=b,c=d", "MUGA_ALIASES"}, {"hosts", "x,y", "MUGA_ALLOWED_HOSTS"}},
                       flags[] = {{"listen", "::1", "--listen"}, {"listen", "localhost", "--listen"}};
    const config_sources s = {&os_system()->files, file, true, env, flags, ARRAY_LEN(env), ARRAY_LEN(flags)};
    serve_config *c = NULL, *next = NULL;
    json_t *list = NULL, *changes = NULL;
    muga_status st = config_load(&s, &c, err);
    if (!st)
        st = config_list(c, &list, err);
    if (!st)
        st = config_reload(c, &s, &next, &changes, err);
    if (!st) {
        assert_int_equal(json_array_size(changes), 0);
        assert_int_equal(next->n_aliases, 2);
        assert_int_equal(next->listen.n, 2);
        assert_int_equal(next->n_models, 2);
    }
    json_decref(list);
    json_decref(changes);
    config_free(next);
    config_free(c);
    return st;
}

static muga_status count_all(muga_error *err) {
    metrics *m = NULL;
    metrics_request r;
    str out = STR_INIT;
    muga_status st = metrics_new(&m, err);
    if (st)
        return st;
    metrics_begin(m, &r, 1);
    metrics_model(&r, "tiny", "tenant");
    metrics_run(&r, 2);
    metrics_token(&r, 3);
    metrics_end(&r, 4, &(metrics_ended){.finish = "stop", .n_prompt = 1, .n_generated = 1});
    metrics_add(m, METRIC_HTTP_REQUESTS, METRIC_LABELS("/", "GET", "200"), 1);
    st = metrics_write(m, METRICS_OPENMETRICS, &out, err);
    str_release(&out);
    metrics_free(m);
    return st;
}

static void fail_each(muga_status (*run)(muga_error *err), size_t least) {
    muga_error err = {0};
    assert_ok(run(&err), &err); /* what libraries keep for good is there from now on */
    fault_fail_at(0);
    assert_ok(run(&err), &err);
    size_t n = fault_count();
    assert_true(n >= least);
    for (size_t i = 1; i <= n; i++) {
        long live = fault_live();
        fault_fail_at(i);
        muga_status st = run(&err);
        fault_fail_at(0);
        if (fault_live() != live)
            fail_msg("allocation %zu of %zu: %ld blocks leak", i, n, fault_live() - live);
        if (st != MUGA_OK && st != MUGA_E_NOMEM)
            fail_msg("allocation %zu of %zu: status %d, %s", i, n, st, err.message);
    }
}

static void reading_is_whole_or_fails(void **state) {
    (void)state;
    static const char yaml[] = "listen: [a, b]\nmodels:\n  pinned: [p]\n  options: {q: {kv: q8, adapter: /x:0.5}}\n"
                               "limits: {body_bytes: 1MiB}\nhosts: [h]\ndrain: 10\n";
    muga_error err;
    file = scratch_path("muga.yaml");
    assert_ok(os_write_file_atomic(&os_system()->files, file, yaml, sizeof yaml - 1, &err), &err);
    fail_each(read_all, 500);
}

static void counting_never_fails(void **state) {
    (void)state;
    fail_each(count_all, 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_is_whole_or_fails),
        cmocka_unit_test(counting_never_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
