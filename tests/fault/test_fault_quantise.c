/* Every allocation failed in turn while a model is calibrated, measured and quantised. If this failed, a machine short
 * of memory would crash, leak, or quietly write a model quantised with half of what calibration gathered. */
#include "support/support.h"

#include "support/faultrun.h"

#include "base/mem.h"
#include "convert/quantise_file.h"
#include "engine/measure.h"

#include <stdio.h>
#include <unistd.h>

static char source[400], out[400];
static token_list ids = TOKEN_LIST_INIT;
static double kl, first_kl; /* of the last run, and of the one that nothing failed in */

static void on_input(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols) {
    importance_add(ctx, tensor, x, x_stride, n_tok, cols);
}

static muga_status calibrate(importance *imp, double *kl_mean, muga_error *err) {
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
    *kl_mean = st ? 0 : r.kl_mean;
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

static muga_status run(void *ctx, muga_error *err) {
    (void)ctx;
    importance *imp = importance_new();
    muga_status st = imp ? calibrate(imp, &kl, err) : error_nomem(err, "calibration");
    if (!st)
        st = quantise(imp, err);
    importance_free(imp);
    return st;
}

static bool is_same(void *ctx) {
    (void)ctx;
    return kl == first_kl;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    snprintf(source, sizeof source, "%s", source_path("tests/data/tiny.gguf"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    for (int32_t i = 0; i < 20; i++)
        assert_true(token_list_push(&ids, 40 + 7 * i));
    assert_ok(run(NULL, &err), &err);
    first_kl = kl;
    fault_every_allocation(&(fault_run){.out = out, .run = run, .is_same = is_same, .least = 100});
    token_list_release(&ids);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* hundreds of runs, each with a synced file */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
