/* Files and disk failing while an adapter is added, promoted and rolled back. If this failed, a full or dying disk
 * could leave half an adapter in use, one that the audit chain doesn't know of, or none where there was one. */
#include "support/support.h"

#include "agent/versions.h"
#include "support/agent_fixture.h"
#include "support/faultfiles.h"
#include "support/faultmalloc.h"
#include "support/small_adapter.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BASE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static agent_fixture f;
static char adapter_path[1024];
static json_t *yes;
static uint32_t seed; /* of the newest adapter: each trial adds another */

static void prepare(const char *name) {
    fixture_open(&f, name, NULL);
    store_close(f.store);
    f.store = NULL;
    manifest_free(f.m);
    f.m = NULL;
    snprintf(adapter_path, sizeof adapter_path, "%s/adapter.gguf", f.dir);
    yes = json_pack("{s:b, s:s}", "ok", 1, "held_out", "h");
    assert_non_null(yes);
}

static void finish(void) {
    json_decref(yes);
    fixture_close(&f);
}

typedef struct progress {
    int64_t before, version, now; /* in use at first; the one added; in use after what came back as done */
    bool promoted, rolled_back;
} progress;

/* Add, promote, roll back. */
static muga_status run(progress *p, muga_error *err) {
    versions v = {&f.env, NULL, f.dir, "shop"};
    adapter_version x = {0};
    *p = (progress){0};
    muga_status st = store_open(f.store_path, NULL, &v.store, err);
    if (!st)
        st = versions_find(&v, VERSIONS_IN_USE, &x, err);
    p->before = p->now = x.version;
    adapter_version_release(&x);
    if (!st)
        st = versions_add(&v, adapter_path, BASE, NULL, &p->version, err);
    if (!st)
        st = versions_decide(&v, p->version, p->before, yes, err);
    p->promoted = !st;
    p->now = p->promoted ? p->version : p->now;
    if (!st)
        st = versions_rollback(&v, -1, &p->now, err);
    p->rolled_back = p->promoted && !st;
    store_close(v.store);
    return st;
}

/* What came back as done is done, what failed isn't or, where the failure came after the commit, is; the version in use
 * has its file, and the chain tells the same. */
static void check(const progress *p, const char *what) {
    muga_error err;
    audit_report report;
    adapter_version x;
    versions v = {&f.env, NULL, f.dir, "shop"};
    assert_ok(store_open(f.store_path, NULL, &v.store, &err), &err);
    if (audit_verify(v.store, &report, &err) != MUGA_OK)
        fail_msg("%s: %s", what, err.message);
    assert_ok(versions_find(&v, VERSIONS_IN_USE, &x, &err), &err);
    if (versions_check(&v, &x, BASE, &err) != MUGA_OK)
        fail_msg("%s: %s", what, err.message);
    if (x.version != p->now && x.version != p->before && x.version != p->version)
        fail_msg("%s: version %lld is in use", what, (long long)x.version);
    if (p->rolled_back && x.version != p->before)
        fail_msg("%s: rolled back, yet version %lld is in use", what, (long long)x.version);
    adapter_version_release(&x);
    store_close(v.store);
}

/* ---- operations ---- */

static bool run_with_failure(size_t n, int number, bool for_good) {
    progress p;
    muga_error err = {0};
    faultfiles_trial t;
    small_adapter_write(adapter_path, ++seed, BASE);
    faultfiles_begin(&t, n, number, for_good);
    muga_status st = run(&p, &err);
    faultfiles_end(&t);
    faultfiles_check(&t);
    if (st != MUGA_OK && (!t.reached || strlen(err.message) < 20))
        fail_msg("%s: status %d: %s", t.what, st, err.message);
    check(&p, t.what);
    return t.reached;
}

static void every_operation_may_fail(void **state) {
    (void)state;
    static const int numbers[] = {EIO, ENOSPC, EACCES};
    muga_error err;
    progress p;
    prepare("operations");
    small_adapter_write(adapter_path, ++seed, BASE);
    assert_ok(run(&p, &err), &err);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (int for_good = 0; for_good < 2; for_good++) {
            size_t n = 1;
            while (run_with_failure(n, numbers[i], for_good))
                n++;
            assert_in_range(n, 15, 1000);
        }
    finish();
}

/* ---- a full disk: no file may grow past a limit ---- */

static void limit_files(rlim_t bytes) {
    struct rlimit now;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &now), 0);
    now.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

static void a_disk_that_fills_at_any_point(void **state) {
    (void)state;
    muga_error err;
    progress p;
    bool added = false, promoted = false, whole = false;
    prepare("full");
    signal(SIGXFSZ, SIG_IGN); /* as the program does: then it is an error of the write */
    small_adapter_write(adapter_path, ++seed, BASE);
    assert_ok(run(&p, &err), &err);
    for (rlim_t limit = 0; !whole; limit += 1024) {
        char what[40];
        snprintf(what, sizeof what, "a limit of %llu bytes", (unsigned long long)limit);
        assert_true(limit < (1 << 20));
        small_adapter_write(adapter_path, ++seed, BASE);
        limit_files(limit);
        muga_status st = run(&p, &err);
        limit_files(RLIM_INFINITY);
        whole = st == MUGA_OK;
        added = added || (p.version > 0 && !p.promoted);
        promoted = promoted || (p.promoted && !p.rolled_back);
        if (!whole && (st != MUGA_E_ENV || strlen(err.message) < 20))
            fail_msg("%s: status %d: %s", what, st, err.message);
        check(&p, what);
    }
    assert_true(added && promoted); /* it was full at the promotion, and at the rollback */
    finish();
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* a few hundred runs, each with synced writes */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_operation_may_fail),
                                       cmocka_unit_test(a_disk_that_fills_at_any_point)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
