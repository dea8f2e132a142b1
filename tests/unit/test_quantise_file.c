/* Quantising files. Were this to fail, a quantised model could lack a key or a tensor, differ from machine to machine,
 * hold numbers that stand for nothing, or lie half written where a whole one is expected.
 *
 * The input is built here: a model in name only, with a tensor for each case. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "convert/quantise_file.h"

#include <math.h>
#include <stdio.h>

typedef struct tensor_spec {
    const char *name;
    tensor_type type;
    uint32_t n_dims;
    uint64_t dims[4];
} tensor_spec;

/* An own value for each tensor's each element; F32 ones may be spoiled. */
static const tensor_spec specs[] = {
    {"token_embd.weight", TENSOR_F32, 2, {256, 40, 1, 1}},
    {"output.weight", TENSOR_F32, 2, {256, 40, 1, 1}},
    {"output_norm.weight", TENSOR_F32, 1, {256, 1, 1, 1}},
    {"blk.0.attn_norm.weight", TENSOR_BF16, 1, {256, 1, 1, 1}},
    {"blk.0.attn_q.weight", TENSOR_F16, 2, {256, 8, 1, 1}},
    {"blk.0.attn_v.weight", TENSOR_F32, 2, {256, 8, 1, 1}},
    {"blk.0.attn_q.bias", TENSOR_F32, 1, {8, 1, 1, 1}},
    {"blk.0.ffn_down.weight", TENSOR_F32, 2, {96, 5, 1, 1}},     /* rows of 32-blocks only */
    {"blk.0.ffn_up.weight", TENSOR_F32, 2, {50, 3, 1, 1}},       /* no blocks at all */
    {"blk.1.ffn_up_exps.weight", TENSOR_F32, 3, {256, 2, 3, 1}}, /* a stack of matrices */
    {"blk.1.ffn_gate_inp.weight", TENSOR_F32, 2, {256, 3, 1, 1}},
    {"blk.2.attn_v.weight", TENSOR_Q8_0, 2, {256, 8, 1, 1}},
    {"blk.2.ffn_down.weight", TENSOR_F32, 2, {131072 + 512, 2, 1, 1}}, /* rows cut into pieces */
    {"rope_freqs.weight", TENSOR_F32, 1, {16, 1, 1, 1}},
    {"positions", TENSOR_I32, 2, {7, 2, 1, 1}},
};

static uint64_t elems_of(const tensor_spec *s) {
    return s->dims[0] * s->dims[1] * s->dims[2] * s->dims[3];
}

typedef struct model_file {
    str bytes;
    gguf_file *file;
    void *data[ARRAY_LEN(specs)];
} model_file;

static void *make_data(const tensor_spec *s, rng *r) {
    uint64_t n = elems_of(s);
    const tensor_traits *t = tensor_type_traits(s->type);
    float *values = mem_alloc_array((size_t)n, sizeof *values);
    uint8_t *data = mem_alloc_array((size_t)n, 4);
    assert_true(values && data);
    for (uint64_t i = 0; i < n; i++)
        values[i] = (float)rng_below(r, 1 << 20) * 0x1p-19f - 1.0f;
    if (t->quantise)
        t->quantise(values, data, (size_t)n);
    free(values);
    return data;
}

static model_file build(size_t spoil, uint64_t at, float value) {
    model_file m = {0};
    rng r = {7};
    muga_error err = {0};
    const span words[] = {{"a", 1}, {"b\xff", 2}};
    gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_writer_add_string(w, "general.architecture", "llama");
    gguf_writer_add_u32(w, "general.file_type", 0);
    gguf_writer_add_u32(w, "llama.block_count", 3);
    gguf_writer_add_u32(w, "llama.attention.head_count", 8);
    gguf_writer_add_u32(w, "llama.attention.head_count_kv", 2);
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", words, 2);
    gguf_writer_add_bool(w, "own.flag", true);
    gguf_writer_add_u32(w, "split.tensors.count", ARRAY_LEN(specs));
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        m.data[i] = make_data(&specs[i], &r);
        if (i == spoil)
            ((float *)m.data[i])[at] = value;
        gguf_writer_add_tensor(w, specs[i].name, specs[i].type, specs[i].dims, specs[i].n_dims, m.data[i]);
    }
    assert_ok(gguf_writer_finish(w, &m.bytes, &err), &err);
    gguf_writer_free(w);
    assert_ok(gguf_open_memory(m.bytes.data, m.bytes.len, &m.file, &err), &err);
    return m;
}

static model_file build_good(void) {
    return build(SIZE_MAX, 0, 0);
}

static void release(model_file *m) {
    gguf_close(m->file);
    str_release(&m->bytes);
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        free(m->data[i]);
}

static quantise_options options(const char *kind) {
    return (quantise_options){.kind = mixture_find(kind), .files = &os_system()->files};
}

static muga_status run(const model_file *m, const quantise_options *o, str *out, quantise_report *report,
                       muga_error *err) {
    muga_status st = quantise_file(m->file, scratch_path("out.gguf"), o, report, err);
    if (!st)
        st = os_read_file(o->files, scratch_path("out.gguf"), (size_t)1 << 28, out, err);
    return st;
}

static const gguf_tensor *tensor_of(const gguf_file *f, const char *name) {
    const gguf_tensor *t = gguf_tensor_find(f, name);
    assert_non_null(t);
    return t;
}

static void every_tensor_gets_its_type_and_every_key_stays(void **state) {
    (void)state;
    static const tensor_type expected[] = {TENSOR_Q4_K, TENSOR_Q6_K, TENSOR_F32,  TENSOR_F32, TENSOR_Q4_K,
                                           TENSOR_Q4_K, TENSOR_F32,  TENSOR_Q5_0, TENSOR_F16, TENSOR_Q4_K,
                                           TENSOR_F32,  TENSOR_Q6_K, TENSOR_Q6_K, TENSOR_F32, TENSOR_I32};
    model_file m = build_good();
    quantise_options o = options("Q4_K_M");
    quantise_report report;
    str bytes = STR_INIT;
    muga_error err = {0};
    gguf_file *f;
    uint32_t v = 0;
    assert_ok(run(&m, &o, &bytes, &report, &err), &err);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    assert_int_equal(gguf_tensor_count(f), ARRAY_LEN(specs));
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i), *s = gguf_tensor_at(m.file, i);
        assert_string_equal(t->name, specs[i].name);
        if (t->type != expected[i])
            fail_msg("%s: %s", t->name, tensor_type_traits(t->type)->name);
        assert_int_equal(t->n_dims, s->n_dims);
        assert_memory_equal(t->dims, s->dims, sizeof t->dims);
        if (t->type == s->type)
            assert_memory_equal(t->data, s->data, t->bytes);
    }
    assert_int_equal(gguf_key_count(f), gguf_key_count(m.file)); /* quantization_version for split.tensors.count */
    for (uint64_t i = 0; i + 1 < gguf_key_count(m.file); i++) {
        span a = gguf_key_bytes(m.file, i), b = gguf_key_bytes(f, i);
        const char *name = gguf_key_name(m.file, i, NULL);
        assert_string_equal(gguf_key_name(f, i, NULL), name);
        assert_true(span_equal(a, b) != (strcmp(name, "general.file_type") == 0));
    }
    assert_ok(gguf_get_u32(f, "general.file_type", &v, &err), &err);
    assert_int_equal(v, 15);
    assert_ok(gguf_get_u32(f, "general.quantization_version", &v, &err), &err);
    assert_int_equal(v, 2);
    assert_int_equal(report.bytes_out, bytes.len);
    assert_int_equal(report.n_fell_back, 2);
    assert_int_equal(report.coarsest, TENSOR_Q8_0);
    double error = sqrt(report.square_error / report.square_sum);
    assert_true(error > 0.001 && error < 0.1);
    gguf_close(f);
    str_release(&bytes);
    release(&m);
}

/* Each kind's layers: 24 of them, so that eighths and sixteenths are something. */
static tensor_type chosen(const char *kind, const char *name, bool shared, bool weighted) {
    mixture mix = {.kind = mixture_find(kind), .n_layer = 24, .n_share = shared ? 4 : 1, .weighted = weighted};
    gguf_tensor t = {.name = name, .type = TENSOR_F32, .n_dims = 2, .dims = {512, 4, 1, 1}};
    bool fell_back;
    assert_non_null(mix.kind);
    return mixture_choose(&mix, &t, &fell_back);
}

static void mixtures_are_what_their_names_mean(void **state) {
    (void)state;
    static const struct {
        const char *kind, *name;
        bool shared, weighted;
        tensor_type type;
    } rows[] = {
        {"Q4_0", "blk.1.ffn_down.weight", false, false, TENSOR_Q4_0},
        {"Q4_0", "blk.1.ffn_down.weight", false, true, TENSOR_Q4_1},
        {"Q4_0", "blk.3.ffn_down.weight", false, true, TENSOR_Q4_0},
        {"Q5_0", "blk.2.ffn_down.weight", false, true, TENSOR_Q5_1},
        {"Q8_0", "token_embd.weight", false, false, TENSOR_Q8_0},
        {"Q4_1", "token_embd.weight", false, false, TENSOR_Q6_K},
        {"F16", "token_embd.weight", false, false, TENSOR_F16},
        {"Q2_K", "blk.9.attn_v.weight", false, false, TENSOR_Q3_K},
        {"Q2_K", "blk.9.attn_v.weight", true, false, TENSOR_Q4_K},
        {"Q2_K", "blk.9.attn_output.weight", false, false, TENSOR_Q3_K},
        {"Q2_K", "blk.9.attn_q.weight", true, false, TENSOR_Q2_K},
        {"Q3_K_S", "blk.0.attn_v.weight", true, false, TENSOR_Q3_K},
        {"Q3_K_M", "blk.1.attn_v.weight", false, false, TENSOR_Q5_K},
        {"Q3_K_M", "blk.2.attn_qkv.weight", false, false, TENSOR_Q4_K},
        {"Q3_K_M", "blk.0.ffn_down.weight", false, false, TENSOR_Q5_K},
        {"Q3_K_M", "blk.1.ffn_down.weight", false, false, TENSOR_Q4_K},
        {"Q3_K_M", "blk.1.ffn_gate.weight", false, false, TENSOR_Q3_K},
        {"Q3_K_L", "blk.20.ffn_down.weight", false, false, TENSOR_Q5_K},
        {"Q4_K_S", "blk.3.attn_v.weight", false, false, TENSOR_Q5_K},
        {"Q4_K_S", "blk.4.attn_v.weight", false, false, TENSOR_Q4_K},
        {"Q4_K_S", "blk.2.ffn_down.weight", false, false, TENSOR_Q5_K},
        {"Q4_K_M", "blk.2.ffn_down.weight", false, false, TENSOR_Q6_K},
        {"Q4_K_M", "blk.4.ffn_down.weight", false, false, TENSOR_Q4_K},
        {"Q4_K_M", "blk.5.ffn_down.weight", false, false, TENSOR_Q6_K},
        {"Q4_K_M", "blk.21.attn_v.weight", false, false, TENSOR_Q6_K},
        {"Q4_K_M", "blk.21.attn_k.weight", false, false, TENSOR_Q4_K},
        {"Q5_K_S", "blk.0.attn_v.weight", false, false, TENSOR_Q5_K},
        {"Q5_K_M", "blk.0.attn_v.weight", false, false, TENSOR_Q6_K},
        {"Q6_K", "blk.0.attn_v.weight", false, false, TENSOR_Q6_K},
        {"IQ4_NL", "blk.9.attn_v.weight", true, false, TENSOR_Q5_K},
        {"IQ4_XS", "blk.0.ffn_down.weight", true, false, TENSOR_Q5_K},
        {"IQ4_XS", "blk.0.ffn_down.weight", true, true, TENSOR_IQ4_XS},
        {"IQ4_XS", "blk.0.ffn_down_shexp.weight", true, false, TENSOR_IQ4_XS},
        {"q4_k_m", "vision.weight", false, false, TENSOR_Q4_K},
        {"Q4_K", "blk.0.attn_v.weight", false, false, TENSOR_Q6_K}, /* the medium one */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        tensor_type type = chosen(rows[i].kind, rows[i].name, rows[i].shared, rows[i].weighted);
        if (type != rows[i].type)
            fail_msg("%s %s: %s", rows[i].kind, rows[i].name, tensor_type_traits(type)->name);
    }
    assert_null(mixture_find("Q9_K"));
    assert_null(mixture_find(""));
    assert_null(mixture_find("Q4_K_M_and_a_very_long_name"));
}

static void threads_change_no_byte(void **state) {
    (void)state;
    static const char *const kinds[] = {"Q4_K_M", "IQ4_XS", "Q8_0", "BF16"};
    model_file m = build_good();
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        str first = STR_INIT;
        for (int n_thread = 1; n_thread <= 5; n_thread += 2) {
            quantise_options o = options(kinds[k]);
            quantise_report report;
            str bytes = STR_INIT;
            muga_error err = {0};
            assert_ok(os_pool_new(n_thread, &o.pool, &err), &err);
            assert_ok(run(&m, &o, n_thread == 1 ? &first : &bytes, &report, &err), &err);
            if (n_thread > 1) {
                assert_int_equal(bytes.len, first.len);
                assert_memory_equal(bytes.data, first.data, first.len);
            }
            os_pool_free(o.pool);
            str_release(&bytes);
        }
        str_release(&first);
    }
    release(&m);
}

static void a_row_cut_into_pieces_is_the_row(void **state) {
    (void)state;
    model_file m = build_good();
    quantise_options o = options("Q4_0");
    quantise_report report;
    str bytes = STR_INIT;
    muga_error err = {0};
    gguf_file *f;
    assert_ok(run(&m, &o, &bytes, &report, &err), &err);
    assert_ok(gguf_open_memory(bytes.data, bytes.len, &f, &err), &err);
    const gguf_tensor *t = tensor_of(f, "blk.2.ffn_down.weight"), *s = tensor_of(m.file, "blk.2.ffn_down.weight");
    uint8_t *whole = mem_alloc_array((size_t)t->bytes, 1);
    tensor_type_traits(TENSOR_Q4_0)->quantise(s->data, whole, (size_t)(s->dims[0] * s->dims[1]));
    assert_memory_equal(t->data, whole, t->bytes);
    free(whole);
    gguf_close(f);
    str_release(&bytes);
    release(&m);
}

static void weights_of_columns_reach_their_rows(void **state) {
    (void)state;
    model_file m = build_good();
    quantise_options o = options("Q4_K_S");
    quantise_report report;
    str plain = STR_INIT, weighted = STR_INIT;
    muga_error err = {0};
    importance *imp = importance_new();
    float x[256];
    assert_non_null(imp);
    for (int i = 0; i < 256; i++)
        x[i] = i % 16 == 3 ? 8.0f : 0.5f;
    importance_add(imp, "blk.0.attn_q.weight", x, 256, 1, 256);
    assert_ok(importance_status(imp, &err), &err);
    assert_ok(run(&m, &o, &plain, &report, &err), &err);
    assert_int_equal(report.n_unweighted, 0);
    o.importance = imp;
    assert_ok(run(&m, &o, &weighted, &report, &err), &err);
    assert_true(report.n_unweighted > 0);
    gguf_file *f[2];
    assert_ok(gguf_open_memory(plain.data, plain.len, &f[0], &err), &err);
    assert_ok(gguf_open_memory(weighted.data, weighted.len, &f[1], &err), &err);
    float in[2048], out[2][2048];
    tensor_type_traits(TENSOR_F16)->dequantise(tensor_of(m.file, "blk.0.attn_q.weight")->data, in, 2048);
    for (int k = 0; k < 2; k++) {
        const gguf_tensor *t = tensor_of(f[k], "blk.0.attn_q.weight");
        tensor_type_traits(t->type)->dequantise(t->data, out[k], 2048);
    }
    double error[2] = {0};
    for (int k = 0; k < 2; k++)
        for (int i = 3; i < 2048; i += 16)
            error[k] += pow((double)in[i] - (double)out[k][i], 2);
    assert_true(error[1] < 0.2 * error[0]);
    const gguf_tensor *a = tensor_of(f[0], "blk.1.ffn_up_exps.weight"),
                      *b = tensor_of(f[1], "blk.1.ffn_up_exps.weight");
    assert_memory_equal(a->data, b->data, a->bytes); /* nothing is known of this one */
    gguf_close(f[0]);
    gguf_close(f[1]);
    importance_free(imp);
    str_release(&plain);
    str_release(&weighted);
    release(&m);
}

static void weights_average_one_and_none_is_nothing(void **state) {
    (void)state;
    importance *imp = importance_new();
    float x[2][4] = {{1, 0, 3, 0}, {1, 0, 1, 0}}, w[4], zeros[4] = {0};
    assert_non_null(imp);
    importance_add(imp, "a", x[0], 4, 2, 3); /* two rows of three, four floats apart */
    importance_add(imp, "b", zeros, 4, 1, 4);
    assert_true(importance_weights(imp, "a", 3, w));
    assert_true(fabsf(w[0] - 0.5f) < 1e-6f && w[1] > 0 && w[1] < 0.02f && fabsf(w[2] - 2.5f) < 1e-6f);
    assert_false(importance_weights(imp, "a", 4, w));
    assert_false(importance_weights(imp, "b", 4, w)); /* nothing flowed */
    assert_false(importance_weights(imp, "c", 3, w));
    importance_free(imp);
    importance_free(NULL);
}

static int count_files(void) {
    FILE *f = fopen(scratch_path("out.gguf"), "rb");
    if (f)
        fclose(f);
    return f != NULL;
}

static void values_that_stand_for_nothing_are_named(void **state) {
    (void)state;
    static const struct {
        size_t tensor;
        uint64_t at;
        float value;
        const char *kind, *part;
        muga_status status;
    } rows[] = {
        {5, 256 * 3 + 17, NAN, "Q4_K_M", "\"blk.0.attn_v.weight\", row 3, column 17: not a number", MUGA_E_NONFINITE},
        {5, 0, INFINITY, "Q8_0", "row 0, column 0: infinity", MUGA_E_NONFINITE},
        {12, 131072 + 512 + 131072 + 2, -INFINITY, "F16", "row 1, column 131074: infinity", MUGA_E_NONFINITE},
        {5, 256 * 2 + 1, 1e9f, "F16", "row 2, column 1: 1e+09 is more than F16 can hold", MUGA_E_INPUT},
        {5, 256 * 2 + 1, -1e9f, "Q4_0", "row 2, column 1: -1e+09 is more than Q4_0 can hold", MUGA_E_INPUT},
        {5, 256 * 2 + 1, 1e30f, "Q6_K", "row 2, column 1: 1e+30 is more than Q6_K can hold", MUGA_E_INPUT},
        {8, 50 + 49, NAN, "Q4_K_M", "\"blk.0.ffn_up.weight\", row 1, column 49", MUGA_E_NONFINITE},
    };
    remove(scratch_path("out.gguf"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        model_file m = build(rows[i].tensor, rows[i].at, rows[i].value);
        quantise_options o = options(rows[i].kind);
        quantise_report report;
        muga_error err = {0};
        assert_status(quantise_file(m.file, scratch_path("out.gguf"), &o, &report, &err), rows[i].status, &err,
                      rows[i].part);
        assert_int_equal(count_files(), 0);
        release(&m);
    }
    model_file m = build(5, 1, 1e9f); /* BF16 holds it */
    quantise_options o = options("BF16");
    quantise_report report;
    muga_error err = {0};
    assert_ok(quantise_file(m.file, scratch_path("out.gguf"), &o, &report, &err), &err);
    release(&m);
}

static bool stop_when_half_done(void *ctx, double done) {
    double *last = ctx;
    assert_true(done >= *last && done <= 1.0000001);
    *last = done;
    return done < 0.5;
}

static void a_cancelled_run_leaves_nothing(void **state) {
    (void)state;
    model_file m = build_good();
    quantise_options o = options("Q4_K_M");
    quantise_report report;
    muga_error err = {0};
    double last = 0;
    remove(scratch_path("out.gguf"));
    o.on_progress = stop_when_half_done;
    o.on_progress_ctx = &last;
    assert_status(quantise_file(m.file, scratch_path("out.gguf"), &o, &report, &err), MUGA_E_CANCELLED, &err,
                  "interrupted");
    assert_true(last >= 0.5 && last < 1);
    assert_int_equal(count_files(), 0);
    release(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_gets_its_type_and_every_key_stays),
        cmocka_unit_test(mixtures_are_what_their_names_mean),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(a_row_cut_into_pieces_is_the_row),
        cmocka_unit_test(weights_of_columns_reach_their_rows),
        cmocka_unit_test(weights_average_one_and_none_is_nothing),
        cmocka_unit_test(values_that_stand_for_nothing_are_named),
        cmocka_unit_test(a_cancelled_run_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
