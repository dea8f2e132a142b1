/* Every allocation failed in turn while an adapter is added, judged, promoted, listed and rolled back. If this failed,
 * a machine short of memory could use an adapter that the audit chain doesn't know of, crash or leak. */
#include "support/support.h"

#include "agent/gate.h"
#include "agent/versions.h"
#include "support/agent_fixture.h"
#include "support/faultmalloc.h"
#include "support/small_adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static agent_fixture f;
static char adapter_path[1024];
static json_t *tasks;

static muga_status play(void *ctx, size_t i_set, bool candidate, eval_report *out, muga_error *err) {
    (void)ctx;
    (void)i_set;
    *out = (eval_report){.tasks = 6, .results = json_array()};
    bool ok = out->results != NULL;
    for (size_t i = 0; ok && i < 6; i++)
        ok = json_array_append_new(out->results, json_pack("{s:s, s:b}", "id", "t", "ok", candidate)) == 0;
    return ok ? MUGA_OK : error_nomem(err, "results");
}

static muga_status judge(const versions *v, int64_t version, int64_t from, muga_error *err) {
    const gate_set set = {GATE_HELD_OUT, "held", tasks};
    const gate_levels levels = GATE_LEVELS_DEFAULT;
    gate_verdict verdict;
    size_t n_tried = 0;
    json_t *record = NULL;
    muga_status st = versions_count_tried(v, "held", "x", &n_tried, err);
    if (!st)
        st = gate_run(&set, 1, &levels, 0, play, NULL, &verdict, err);
    if (!st) {
        record = gate_record(&verdict, &levels);
        gate_verdict_release(&verdict);
        st = record ? MUGA_OK : error_nomem(err, "the verdict");
    }
    if (!st)
        st = versions_decide(v, version, from, record, err);
    json_decref(record);
    return st;
}

static muga_status run(int64_t *now, muga_error *err) {
    versions v = {&f.env, NULL, f.dir, "shop"};
    adapter_version x = {0};
    json_t *list = NULL;
    int64_t version = 0;
    *now = -1;
    muga_status st = store_open(f.store_path, NULL, &v.store, err);
    if (!st)
        st = versions_add(&v, adapter_path, BASE, NULL, &version, err);
    if (!st)
        st = versions_find(&v, VERSIONS_IN_USE, &x, err);
    if (!st)
        st = versions_check(&v, &x, BASE, err);
    if (!st)
        st = judge(&v, version, x.version, err);
    if (!st)
        st = versions_list(&v, &list, err);
    if (!st)
        st = versions_rollback(&v, 0, now, err);
    if (!st)
        st = versions_check_tables(v.store, err);
    json_decref(list);
    adapter_version_release(&x);
    store_close(v.store);
    return st;
}

/* Back to where every trial begins. */
static void reset(void) {
    versions v = {&f.env, NULL, f.dir, "shop"};
    muga_error err;
    audit_report report;
    adapter_version x;
    int64_t now;
    assert_ok(store_open(f.store_path, NULL, &v.store, &err), &err);
    assert_ok(audit_verify(v.store, &report, &err), &err);
    assert_ok(versions_find(&v, VERSIONS_IN_USE, &x, &err), &err);
    if (x.version > 0)
        assert_ok(versions_rollback(&v, 0, &now, &err), &err);
    adapter_version_release(&x);
    store_close(v.store);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err;
    int64_t now;
    fixture_prepare(&f, "fault", NULL);
    snprintf(adapter_path, sizeof adapter_path, "%s/adapter.gguf", f.dir);
    small_adapter_write(adapter_path, 1, BASE);
    tasks = fixture_json("[{'id': 't'}]");
    assert_ok(run(&now, &err), &err); /* makes the store; what libraries allocate once is no leak */
    assert_int_equal(now, 0);
    fault_fail_at(0);
    assert_ok(run(&now, &err), &err);
    size_t n_allocations = fault_count();
    print_message("a run makes %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, 200, 100000);
    for (size_t n = 1; n <= n_allocations; n++) {
        long live = fault_live();
        fault_fail_at(n);
        muga_status st = run(&now, &err);
        bool reached = fault_hit();
        fault_fail_at(0);
        if (fault_live() != live)
            fail_msg("allocation %zu (status %d): %ld blocks leaked", n, st, fault_live() - live);
        if (st != MUGA_OK && (!reached || st != MUGA_E_NOMEM || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
        if (st != MUGA_OK)
            reset();
    }
    json_decref(tasks);
    fixture_close(&f);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* a thousand runs, each with several synced commits */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
