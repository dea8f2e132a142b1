/* If this fails, a merged model is another than the base with its adapter, a key or a matrix gets lost on the way, or
 * an adapter is folded into a model that it wasn't made for.
 *
 * The bound: in F32, with exact arithmetic, logits of the merged model lie within 2e-4 of the largest logit of those
 * that the engine computes with the adapter; and its weights are, to the bit, W + s B A in double, rounded once. */
#include "support/make_adapter.h"
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "convert/quantise_file.h"
#include "engine/engine.h"

#include <math.h>
#include <stdio.h>

#define N_IDS 70
#define VOCAB MAKE_ARCH_VOCAB

static const char *const archs[] = {"llama",  "qwen2",  "qwen3",   "phi3",   "nemotron",
                                    "gemma2", "gemma3", "granite", "smollm3"};
static int32_t ids[N_IDS];

static int make_ids(void **state) {
    (void)state;
    rng r = {5};
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)rng_below(&r, VOCAB);
    return 0;
}

static const char *keep_file(const char *name, str *bytes) {
    const char *path = scratch_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, bytes->len, f), bytes->len);
    assert_int_equal(fclose(f), 0);
    str_release(bytes);
    return path;
}

static gguf_file *open_file(const char *name) {
    muga_error err = {0};
    gguf_file *f = NULL;
    assert_ok(gguf_open(scratch_path(name), &f, &err), &err);
    return f;
}

static void make_files(const char *arch, make_adapter_options o) {
    str bytes = STR_INIT;
    assert_true(make_arch(arch, NULL, &bytes));
    (void)keep_file("base.gguf", &bytes);
    gguf_file *base = open_file("base.gguf");
    assert_true(make_adapter(base, &o, &bytes));
    gguf_close(base);
    (void)keep_file("a.gguf", &bytes);
}

/* base.gguf and a.gguf into out.gguf. */
static muga_status merge_files(const char *type, merge_options m, int threads, quantise_report *report,
                               muga_error *err) {
    gguf_file *base = open_file("base.gguf"), *adapter = open_file("a.gguf");
    quantise_options o = {.kind = mixture_find(type), .files = &os_system()->files};
    muga_status st = os_pool_new(threads, &o.pool, err);
    if (!st)
        st = merge_new(base, adapter, &m, &o.merge, err);
    if (!st)
        st = quantise_file(base, scratch_path("out.gguf"), &o, report, err);
    merge_free(o.merge);
    os_pool_free(o.pool);
    gguf_close(adapter);
    gguf_close(base);
    return st;
}

static void merge_ok(const char *type, float scale, int threads, quantise_report *report) {
    muga_error err = {0};
    assert_ok(merge_files(type, (merge_options){.scale = scale}, threads, report, &err), &err);
}

/* ---- logits ---- */

typedef struct rows {
    float v[N_IDS][VOCAB];
    uint32_t n;
} rows;

static void keep(void *ctx, uint32_t pos, const float *logits) {
    rows *r = ctx;
    assert_int_equal(pos, r->n);
    memcpy(r->v[r->n++], logits, sizeof r->v[0]);
}

static void run_model(const char *file, const char *adapter, float scale, rows *r) {
    engine *e = NULL;
    engine_adapter *a = NULL;
    engine_session *s = NULL;
    muga_error err = {0};
    engine_options o = {.isa = -1, .exact = true, .kv = KERNEL_KV_F32, .ids_only = true};
    assert_ok(engine_open(scratch_path(file), &o, &e, &err), &err);
    if (adapter)
        assert_ok(engine_adapter_load(e, scratch_path(adapter), &a, &err), &err);
    assert_ok(engine_session_new(e, 256, &s, &err), &err);
    assert_ok(engine_session_set_adapter(s, a, scale, &err), &err);
    r->n = 0;
    engine_item it = {
        .session = s, .ids = ids, .n = N_IDS, .want = ENGINE_LOGITS_ALL, .on_logits = keep, .on_logits_ctx = r};
    assert_ok(engine_step(e, &it, 1, &err), &err);
    engine_session_free(s);
    engine_adapter_drop(a);
    engine_free(e);
}

static double difference(const rows *a, const rows *b) {
    double most = 0, size = 0;
    for (uint32_t i = 0; i < N_IDS; i++)
        for (int j = 0; j < VOCAB; j++) {
            double apart = fabs((double)a->v[i][j] - (double)b->v[i][j]), here = fabs((double)b->v[i][j]);
            most = apart > most ? apart : most;
            size = here > size ? here : size;
        }
    return most / size;
}

/* Tensor by tensor the bytes of a model merged by the test's own code. */
static void check_weights(double scale) {
    str bytes = STR_INIT;
    gguf_file *base = open_file("base.gguf"), *adapter = open_file("a.gguf"), *got = open_file("out.gguf"), *want;
    muga_error err = {0};
    assert_true(make_merged(base, adapter, scale, &bytes));
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &want, &err), &err);
    for (uint64_t i = 0; i < gguf_tensor_count(got); i++) {
        const gguf_tensor *g = gguf_tensor_at(got, i), *w = gguf_tensor_find(want, g->name);
        if (!w || w->type != g->type || w->bytes != g->bytes || memcmp(w->data, g->data, (size_t)w->bytes) != 0)
            fail_msg("%s is not what it should be", g->name);
    }
    /* The test's code gives every tied model its output; ours only where the adapter changes the embedding. */
    bool own = gguf_tensor_find(want, "output.weight") && !gguf_tensor_find(got, "output.weight");
    assert_int_equal(gguf_tensor_count(got) + own, gguf_tensor_count(want));
    gguf_close(want);
    str_release(&bytes);
    gguf_close(got);
    gguf_close(adapter);
    gguf_close(base);
}

static void check(const char *arch, make_adapter_options o, float user, double scale) {
    static rows base, adapted, merged;
    quantise_report report;
    make_files(arch, o);
    merge_ok("F32", user, 2, &report);
    check_weights(scale);
    run_model("base.gguf", NULL, 1, &base);
    run_model("base.gguf", "a.gguf", user, &adapted);
    run_model("out.gguf", NULL, 1, &merged);
    double near = difference(&merged, &adapted), far = difference(&base, &merged);
    if (!(near < 2e-4 && far > 100 * near))
        fail_msg("%s: %.1e from the model with its adapter, which is %.1e from the plain one", arch, near, far);
}

static void a_merged_model_is_the_model_with_its_adapter(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
        check(archs[i], (make_adapter_options){.rank = 5, .alpha = 4, .seed = 21, .embedding = true}, 1, 0.8);
        check(archs[i], (make_adapter_options){.rank = 3, .alpha = 6, .seed = 22}, 0.5f, 1);
    }
}

static void types_of_adapters_scales_and_single_matrices(void **state) {
    (void)state;
    check("llama", (make_adapter_options){.rank = 4, .alpha = -1, .seed = 24}, -0.5f, -0.5);
    check("llama", (make_adapter_options){.rank = 4, .alpha = 0, .seed = 24}, 0.5f, 0.5);
    const tensor_type types[] = {TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        check("smollm3",
              (make_adapter_options){.rank = 32, .alpha = 16, .seed = 25, .type = types[i], .embedding = true}, 1, 0.5);
    check("llama", (make_adapter_options){.rank = 3, .alpha = 6, .seed = 26, .only = "output.weight"}, 1, 2);
    check("phi3", (make_adapter_options){.rank = 3, .alpha = 6, .seed = 27, .only = "attn_qkv"}, 1, 2);
}

/* ---- the file ---- */

static str read_out(void) {
    str s = STR_INIT;
    muga_error err = {0};
    assert_ok(os_read_file(&os_system()->files, scratch_path("out.gguf"), 1 << 28, &s, &err), &err);
    return s;
}

static void every_type_can_be_written_and_threads_change_nothing(void **state) {
    (void)state;
    quantise_report report;
    make_files("llama", (make_adapter_options){.rank = 5, .alpha = 4, .seed = 31, .embedding = true});
    for (size_t i = 0; mixture_at(i); i++) {
        merge_ok(mixture_at(i)->name, 1, 1, &report);
        str one = read_out();
        merge_ok(mixture_at(i)->name, 1, 3, &report);
        str three = read_out();
        assert_int_equal(one.len, three.len);
        assert_memory_equal(one.data, three.data, one.len);
        assert_int_equal(report.bytes_out, one.len);
        str_release(&one);
        str_release(&three);
    }
}

/* What the adapter doesn't change is what quantising alone gives, byte for byte; keys are kept. */
static void what_the_adapter_leaves_is_left(void **state) {
    (void)state;
    muga_error err = {0};
    quantise_report report;
    make_files("llama", (make_adapter_options){.rank = 5, .alpha = 4, .seed = 32, .only = "blk.0.attn_q"});
    gguf_file *base = open_file("base.gguf"), *plain, *merged;
    quantise_options o = {.kind = mixture_find("Q8_0"), .files = &os_system()->files};
    assert_ok(quantise_file(base, scratch_path("plain.gguf"), &o, &report, &err), &err);
    merge_ok("Q8_0", 1, 1, &report);
    plain = open_file("plain.gguf");
    merged = open_file("out.gguf");
    assert_int_equal(gguf_key_count(merged), gguf_key_count(plain));
    for (uint64_t i = 0; i < gguf_key_count(plain); i++) {
        assert_string_equal(gguf_key_name(merged, i, NULL), gguf_key_name(plain, i, NULL));
        assert_true(span_equal(gguf_key_bytes(merged, i), gguf_key_bytes(plain, i)));
    }
    uint32_t n_changed = 0;
    for (uint64_t i = 0; i < gguf_tensor_count(plain); i++) {
        const gguf_tensor *a = gguf_tensor_at(plain, i), *b = gguf_tensor_at(merged, i);
        bool same = memcmp(a->data, b->data, (size_t)a->bytes) == 0;
        n_changed += !same;
        assert_true(same || !strcmp(a->name, "blk.0.attn_q.weight"));
    }
    assert_int_equal(n_changed, 1);
    gguf_close(plain);
    gguf_close(merged);
    gguf_close(base);
}

/* ---- refusals ---- */

static void refused(const char *arch, make_adapter_options o, const char *digest, const char *pattern) {
    muga_error err = {0};
    quantise_report report;
    str bytes = STR_INIT;
    make_files("llama", (make_adapter_options){.rank = 1});
    gguf_file *base;
    assert_true(make_arch(arch, NULL, &bytes));
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &base, &err), &err);
    str adapter = STR_INIT;
    assert_true(make_adapter(base, &o, &adapter));
    gguf_close(base);
    str_release(&bytes);
    (void)keep_file("a.gguf", &adapter);
    merge_options m = {.scale = 1, .sha256 = digest};
    assert_status(merge_files("F16", m, 1, &report, &err), MUGA_E_INPUT, &err, pattern);
}

static void an_adapter_of_another_model_is_refused_by_name(void **state) {
    (void)state;
    const make_adapter_options plain = {.rank = 4, .alpha = 4, .seed = 41};
    make_adapter_options o = plain;
    refused("qwen3", plain, NULL, "\"qwen3\", not \"llama\"; the adapter was made for another model");
    const make_change kind[] = {{MAKE_STRING, "adapter.type", 0, "control"}, {0}};
    o.changes = kind;
    refused("llama", o, NULL, "adapter.type");
    const make_change bias[] = {{MAKE_TENSOR, "blk.0.attn_norm.weight", 64, NULL}, {0}};
    o.changes = bias;
    refused("llama", o, NULL, "blk.0.attn_norm.weight");
    const make_change half[] = {{MAKE_NO_TENSOR, "blk.1.attn_k.weight.lora_b", 0, NULL}, {0}};
    o.changes = half;
    refused("llama", o, NULL, "\"blk.1.attn_k.weight.lora_b\" is missing");
    const make_change layer[] = {{MAKE_TENSOR, "blk.9.attn_q.weight.lora_a", 64, NULL}, {0}};
    o.changes = layer;
    refused("llama", o, NULL, "no matrix \"blk.9.attn_q.weight\"");
    const make_change norm[] = {{MAKE_TENSOR, "blk.0.attn_norm.weight.lora_a", 64, NULL}, {0}};
    o.changes = norm;
    refused("llama", o, NULL, "no matrix \"blk.0.attn_norm.weight\"");
    const make_change alpha[] = {{MAKE_F32, "adapter.lora.alpha", INFINITY, NULL}, {0}};
    o.changes = alpha;
    refused("llama", o, NULL, "adapter.lora.alpha");
    const make_change based[] = {{MAKE_STRING, "muga.base_sha256", 0, "00000000000000001111"}, {0}};
    o.changes = based;
    refused("llama", o, "22222222222222223333", "0000000000000000, this one has 2222222222222222");
}

static void the_base_that_an_adapter_names_is_taken(void **state) {
    (void)state;
    muga_error err = {0};
    quantise_report report;
    char digest[SHA256_HEX];
    make_files("llama", (make_adapter_options){.rank = 1});
    gguf_file *base = open_file("base.gguf");
    gguf_digest(base, digest);
    const make_change based[] = {{MAKE_STRING, "muga.base_sha256", 0, digest}, {0}};
    str bytes = STR_INIT;
    assert_true(make_adapter(base, &(make_adapter_options){.rank = 2, .changes = based}, &bytes));
    gguf_close(base);
    (void)keep_file("a.gguf", &bytes);
    assert_ok(merge_files("F16", (merge_options){.scale = 1, .sha256 = digest}, 1, &report, &err), &err);
}

static void a_scale_that_leaves_the_numbers_is_refused(void **state) {
    (void)state;
    muga_error err = {0};
    quantise_report report;
    make_files("llama", (make_adapter_options){.rank = 4, .alpha = 4000, .seed = 41});
    assert_status(merge_files("F32", (merge_options){.scale = INFINITY}, 1, &report, &err), MUGA_E_INPUT, &err,
                  "the scale is not a finite number");
    (void)remove(scratch_path("out.gguf"));
    assert_status(merge_files("BF16", (merge_options){.scale = 3e38f}, 1, &report, &err), MUGA_E_INPUT, &err,
                  "use a smaller scale");
    assert_status(merge_files("F16", (merge_options){.scale = 1e9f}, 1, &report, &err), MUGA_E_INPUT, &err,
                  "more than F16 can hold");
    os_stat info;
    assert_ok(os_system()->files.stat(NULL, scratch_path("out.gguf"), &info, &err), &err);
    assert_int_equal(info.type, OS_TYPE_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_merged_model_is_the_model_with_its_adapter),
                                       cmocka_unit_test(types_of_adapters_scales_and_single_matrices),
                                       cmocka_unit_test(every_type_can_be_written_and_threads_change_nothing),
                                       cmocka_unit_test(what_the_adapter_leaves_is_left),
                                       cmocka_unit_test(an_adapter_of_another_model_is_refused_by_name),
                                       cmocka_unit_test(the_base_that_an_adapter_names_is_taken),
                                       cmocka_unit_test(a_scale_that_leaves_the_numbers_is_refused)};
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
