/* Every allocation failed in turn while an adapter is folded into a model. If this failed, a machine short of memory
 * would crash, leak, or write a model with a part of its adapter. */
#include "support/support.h"

#include "support/faultrun.h"
#include "support/make_adapter.h"

#include "base/mem.h"
#include "convert/quantise_file.h"

#include <stdio.h>
#include <unistd.h>

static char source[400], adapter_path[400], out[400];

static muga_status run(void *ctx, muga_error *err) {
    (void)ctx;
    gguf_file *base = NULL, *adapter = NULL;
    quantise_report report;
    merge_options m = {.scale = 0.5f};
    quantise_options o = {.kind = mixture_find("Q8_0"), .files = &os_system()->files};
    muga_status st = gguf_open(source, &base, err);
    if (!st)
        st = gguf_open(adapter_path, &adapter, err);
    if (!st)
        st = merge_new(base, adapter, &m, &o.merge, err);
    if (!st)
        st = quantise_file(base, out, &o, &report, err);
    merge_free(o.merge);
    gguf_close(adapter);
    gguf_close(base);
    return st;
}

static void write_adapter(void) {
    gguf_file *base;
    str bytes = STR_INIT;
    muga_error err = {0};
    assert_ok(gguf_open(source, &base, &err), &err);
    assert_true(
        make_adapter(base, &(make_adapter_options){.rank = 4, .alpha = 4, .seed = 81, .embedding = true}, &bytes));
    gguf_close(base);
    assert_ok(os_write_file_atomic(&os_system()->files, adapter_path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    snprintf(source, sizeof source, "%s", source_path("tests/data/tiny.gguf"));
    snprintf(adapter_path, sizeof adapter_path, "%s", scratch_path("a.gguf"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    write_adapter();
    fault_every_allocation(&(fault_run){.out = out, .run = run, .least = 50});
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* many runs, each with a synced file */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
