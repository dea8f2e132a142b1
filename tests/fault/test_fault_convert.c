/* Every allocation failed in turn while a folder is converted. If this failed, a machine short of memory would crash,
 * leak, or write a model with a part of its vocabulary, keys or tensors. */
#include "support/support.h"

#include "support/faultmalloc.h"
#include "support/hf_folder.h"

#include "base/mem.h"
#include "convert/convert.h"
#include "convert/quantise_file.h"

#include <stdio.h>
#include <unistd.h>

static char dir[400], out[400], source[400];

static muga_status run(muga_error *err) {
    convert_report report;
    convert_options o = {.type = "Q8_0", .files = &os_system()->files};
    return convert_folder(dir, out, &o, &report, err);
}

static str read_out(void) {
    str s = STR_INIT;
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, out, 1 << 28, &s, &err), &err);
    return s;
}

static void make_folder(void) {
    gguf_file *f = NULL;
    muga_error err = {0};
    quantise_report report;
    quantise_options o = {.kind = mixture_find("F16"), .files = &os_system()->files};
    snprintf(dir, sizeof dir, "%s", scratch_path("folder"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(source, sizeof source, "%s", scratch_path("source.gguf"));
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &f, &err), &err);
    assert_ok(quantise_file(f, source, &o, &report, &err), &err);
    gguf_close(f);
    hf_folder_write(source, dir, &(hf_folder_options){.n_shards = 2, .merges_as_lists = true});
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    make_folder();
    assert_ok(run(&err), &err); /* what libraries allocate once is no leak */
    str whole = read_out();
    long live = fault_live();
    fault_fail_at(0);
    assert_ok(run(&err), &err);
    size_t n_allocations = fault_count();
    assert_int_equal(fault_live(), live);
    print_message("a run makes %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, 500, 100000);
    for (size_t n = 1; n <= n_allocations; n++) {
        remove(out);
        live = fault_live();
        fault_fail_at(n);
        muga_status st = run(&err);
        bool reached = fault_hit();
        fault_fail_at(0);
        if (fault_live() != live)
            fail_msg("allocation %zu (status %d): %ld blocks leaked", n, st, fault_live() - live);
        if (st != MUGA_OK && (!reached || st != MUGA_E_NOMEM || !*err.message))
            fail_msg("allocation %zu: status %d: %s", n, st, err.message);
        if (st != MUGA_OK && access(out, F_OK) != 0)
            continue;
        /* It is there, even if its folder could not be synced any more: then it is whole. */
        str now = read_out();
        if (now.len != whole.len || memcmp(now.data, whole.data, now.len) != 0)
            fail_msg("allocation %zu: status %d, and another file", n, st);
        str_release(&now);
    }
    str_release(&whole);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* thousands of runs, each with a synced file */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
