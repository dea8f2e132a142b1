/* If this fails, --calibrate doesn't do what it is for: a model quantised with what flows through it on one text must
 * predict another text nearer to its source than one quantised without.
 *
 * The real model in Q4_0, calibrated on pages of our own docs, measured on the start of Debian's common-licenses/GPL-3.
 *
 * ctest: slow (under sanitizers unit/test_quantise_file and fault/test_fault_quantise run instead) */
#include "golden.h"

#include "convert/quantise_file.h"
#include "engine/measure.h"

static void on_input(void *ctx, const char *tensor, const float *x, size_t x_stride, uint32_t n_tok, uint32_t cols) {
    importance_add(ctx, tensor, x, x_stride, n_tok, cols);
}

static engine *open_model(const char *path, importance *imp) {
    engine *e = NULL;
    muga_error err = {0};
    engine_options o = {.isa = -1, .on_input = imp ? on_input : NULL, .on_input_ctx = imp};
    assert_ok(engine_open(path, &o, &e, &err), &err);
    return e;
}

static token_list ids_of(const engine *e, const char *path) {
    str text = STR_INIT;
    token_list ids = TOKEN_LIST_INIT;
    muga_error err = {0};
    assert_ok(os_read_file(&os_system()->files, path, 1 << 20, &text, &err), &err);
    assert_ok(tokenizer_encode(engine_tokenizer(e), text.data, text.len, (tokenizer_flags){0}, &ids, &err), &err);
    str_release(&text);
    return ids;
}

static measure_result read_text(engine *e, engine *base, const char *path, uint32_t n_windows) {
    token_list ids = ids_of(e, path);
    measure_options o = {.window = 256, .max_windows = n_windows};
    measure_result r;
    muga_error err = {0};
    assert_ok(measure_text(e, base, &ids, &o, &r, &err), &err);
    measure_result_release(&r);
    token_list_release(&ids);
    return r;
}

static double distance(const importance *imp) {
    gguf_file *in = NULL;
    quantise_report report;
    muga_error err = {0};
    quantise_options o = {.kind = mixture_find("Q4_0"), .pure = true, .importance = imp, .files = &os_system()->files};
    assert_ok(os_pool_new(2, &o.pool, &err), &err);
    assert_ok(gguf_open(model_path(), &in, &err), &err);
    assert_ok(quantise_file(in, scratch_path("out.gguf"), &o, &report, &err), &err);
    assert_int_equal(report.n_unweighted, 0);
    gguf_close(in);
    os_pool_free(o.pool);
    engine *e = open_model(scratch_path("out.gguf"), NULL), *base = open_model(model_path(), NULL);
    measure_result r = read_text(e, base, "/usr/share/common-licenses/GPL-3", 3);
    engine_free(e);
    engine_free(base);
    return r.kl_mean;
}

static void calibrating_brings_a_model_nearer_to_its_source(void **state) {
    (void)state;
    importance *imp = importance_new();
    muga_error err = {0};
    assert_non_null(imp);
    engine *source = open_model(model_path(), imp);
    (void)read_text(source, NULL, source_path("docs/engine.md"), 5);
    engine_free(source);
    assert_ok(importance_status(imp, &err), &err);
    double calibrated = distance(imp), plain = distance(NULL);
    print_message("KL %.4f calibrated, %.4f plain\n", calibrated, plain);
    assert_true(calibrated < 0.8 * plain);
    importance_free(imp);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(calibrating_brings_a_model_nearer_to_its_source)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
