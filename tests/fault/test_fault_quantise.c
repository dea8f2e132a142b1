/* Every allocation failed in turn while a model is calibrated, measured and quantised. If this failed, a machine short
 * of memory would crash, leak, or quietly write a model quantised with half of what calibration gathered. */
#include "support/support.h"

#include "support/faultmalloc.h"

#include "base/mem.h"
#include "convert/quantise_file.h"
#include "engine/measure.h"

#include <stdio.h>
#include <unistd.h>

static char source[400], out[400];
static token_list ids = TOKEN_LIST_INIT;

static void on_input(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols) {
    importance_add(ctx, tensor, x, x_stride, n_tok, cols);
}

static muga_status calibrate(importance *imp, double *kl, muga_error *err) {
    engine *e = NULL, *base = NULL;
    engine_options o = {.isa = -1, .n_threads = 1, .n_batch = 16, .on_input = on_input, .on_input_ctx = imp};
    engine_options plain = {.isa = -1, .n_threads = 1, .n_batch = 16, .exact = true};
    measure_options m = {.window = 16};
    measure_result r = {0};
    muga_status st = engine_open(source, &o, &e, err);
    if (!st)
        st = engine_open(source, &plain, &base, err);
    if (!st)
        st = measure_text(e, base, &ids, &m, &r, err);
    *kl = st ? 0 : r.kl_mean;
    if (!st)
        st = importance_status(imp, err);
    measure_result_release(&r);
    engine_free(e);
    engine_free(base);
    return st;
}

static muga_status quantise(const importance *imp, muga_error *err) {
    gguf_file *in = NULL;
    quantise_report report;
    quantise_options o = {.kind = mixture_find("Q4_K_M"), .importance = imp, .files = &os_system()->files};
    muga_status st = gguf_open(source, &in, err);
    if (!st)
        st = quantise_file(in, out, &o, &report, err);
    gguf_close(in);
    return st;
}

static muga_status run(double *kl, muga_error *err) {
    importance *imp = importance_new();
    muga_status st = imp ? calibrate(imp, kl, err) : error_nomem(err, "calibration");
    if (!st)
        st = quantise(imp, err);
    importance_free(imp);
    return st;
}

static str read_out(void) {
    str s = STR_INIT;
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, out, 1 << 28, &s, &err), &err);
    return s;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    double kl, again;
    snprintf(source, sizeof source, "%s", source_path("tests/data/tiny.gguf"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    for (int32_t i = 0; i < 20; i++)
        assert_true(token_list_push(&ids, 40 + 7 * i));
    assert_ok(run(&kl, &err), &err); /* what libraries allocate once is no leak */
    str whole = read_out();
    long live = fault_live();
    fault_fail_at(0);
    assert_ok(run(&again, &err), &err);
    size_t n_allocations = fault_count();
    assert_int_equal(fault_live(), live);
    print_message("a run makes %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, 100, 100000);
    for (size_t n = 1; n <= n_allocations; n++) {
        remove(out);
        live = fault_live();
        fault_fail_at(n);
        muga_status st = run(&again, &err);
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
        if ((st == MUGA_OK && again != kl) || now.len != whole.len || memcmp(now.data, whole.data, now.len) != 0)
            fail_msg("allocation %zu: status %d, and another result", n, st);
        str_release(&now);
    }
    str_release(&whole);
    token_list_release(&ids);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* hundreds of runs, each with a synced file */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
