/* If this fails, a file that we quantise isn't the file that others make of it: a key changed, a tensor of another type
 * than the mixture of that name gives it elsewhere, or other bytes where rounding leaves no choice.
 *
 * The models of ../shared/golden/models were quantised by others: sweep-* are one model's matrices all in one type,
 * *-q4_k_m the common mixture. Whole files are compared. */
#include "golden.h"

#include "convert/quantise_file.h"

#include <ctype.h>
#include <math.h>

/* The quantised file's bytes. */
static str quantise(const char *model_name, const char *kind, bool pure) {
    char path[128];
    str bytes = STR_INIT;
    gguf_file *in = NULL;
    quantise_report report;
    muga_error err = {0};
    quantise_options o = {.kind = mixture_find(kind), .pure = pure, .files = &os_system()->files};
    snprintf(path, sizeof path, "golden/models/%s.gguf", model_name);
    assert_non_null(o.kind);
    assert_ok(gguf_open(shared_path(path), &in, &err), &err);
    assert_ok(quantise_file(in, scratch_path("out.gguf"), &o, &report, &err), &err);
    gguf_close(in);
    assert_ok(os_read_file(o.files, scratch_path("out.gguf"), (size_t)1 << 28, &bytes, &err), &err);
    assert_int_equal(bytes.len, report.bytes_out);
    return bytes;
}

static void assert_is_file(const str *bytes, const char *model_name) {
    char path[128];
    str theirs = STR_INIT;
    muga_error err = {0};
    snprintf(path, sizeof path, "golden/models/%s.gguf", model_name);
    assert_ok(os_read_file(&os_system()->files, shared_path(path), (size_t)1 << 28, &theirs, &err), &err);
    if (bytes->len != theirs.len || memcmp(bytes->data, theirs.data, theirs.len) != 0)
        fail_msg("%s: %zu bytes of ours, %zu of theirs, and they differ", model_name, bytes->len, theirs.len);
    str_release(&theirs);
}

static void nearest_types_give_the_same_file(void **state) {
    (void)state;
    static const char *const kinds[] = {"F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char name[32] = "sweep-";
        str bytes = quantise("sweep-f32", kinds[i], true);
        for (const char *c = kinds[i]; *c; c++)
            name[strlen(name)] = (char)tolower((unsigned char)*c);
        assert_is_file(&bytes, name);
        str_release(&bytes);
    }
}

/* A file of the mixture has its types already, so quantising it to that mixture copies it. */
static void the_common_mixture_is_ours(void **state) {
    (void)state;
    static const char *const models[] = {"llama-q4_k_m", "qwen2-q4_k_m",    "qwen3-q4_k_m",
                                         "phi3-q4_k_m",  "nemotron-q4_k_m", "gemma3-q4_k_m"};
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        str bytes = quantise(models[i], "Q4_K_M", false);
        assert_is_file(&bytes, models[i]);
        str_release(&bytes);
    }
}

static double mean_kl(engine *e, const golden_rows *exact, const token_list *ids) {
    golden_rows rows = golden_logits(e, 256, ids, true);
    double kl = 0;
    assert_int_equal(rows.n, exact->n);
    for (size_t r = 0; r < rows.n; r++) {
        const float *a = exact->v + r * rows.n_vocab, *b = rows.v + r * rows.n_vocab;
        double za = 0, zb = 0;
        for (uint32_t i = 0; i < rows.n_vocab; i++) {
            za += exp((double)a[i]);
            zb += exp((double)b[i]);
        }
        for (uint32_t i = 0; i < rows.n_vocab; i++)
            kl += exp((double)a[i]) / za * ((double)a[i] - (double)b[i] - log(za) + log(zb));
    }
    free(rows.v);
    return kl / (double)exact->n;
}

static engine *open_exact(const char *path) {
    engine_options o = {.isa = -1, .exact = true, .kv = KERNEL_KV_F32, .n_threads = 1, .ids_only = true};
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(path, &o, &e, &err), &err);
    return e;
}

/* What we make of a model is as near to it as what others make of it, all matrices in one type. */
static void predictions_stay_as_near_as_others(void **state) {
    (void)state;
    static const char *const kinds[] = {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"};
    golden_table prompts = golden_table_read("golden/prompts.tsv");
    token_list ids = golden_ids(golden_cell(&prompts, golden_find(&prompts, "sweep-f32", "256", "long"), "ids"));
    engine *source = open_exact(shared_path("golden/models/sweep-f32.gguf"));
    golden_rows exact = golden_logits(source, 256, &ids, true);
    engine_free(source);
    double ours_sum = 0, theirs_sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char name[64] = "golden/models/sweep-";
        const char *type = strcmp(kinds[i], "Q3_K") == 0 ? "Q3_K_S" : kinds[i];
        for (const char *c = kinds[i]; *c; c++)
            name[strlen(name)] = (char)tolower((unsigned char)*c);
        strcat(name, ".gguf");
        str bytes = quantise("sweep-f32", type, true);
        engine *mine = open_exact(scratch_path("out.gguf")), *other = open_exact(shared_path(name));
        double ours = mean_kl(mine, &exact, &ids), theirs = mean_kl(other, &exact, &ids);
        print_message("%s: KL %.5f, others %.5f\n", kinds[i], ours, theirs);
        ours_sum += log(ours);
        theirs_sum += log(theirs);
        engine_free(mine);
        engine_free(other);
        str_release(&bytes);
    }
    assert_true(ours_sum < theirs_sum);
    free(exact.v);
    token_list_release(&ids);
    golden_table_free(&prompts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_types_give_the_same_file),
        cmocka_unit_test(the_common_mixture_is_ours),
        cmocka_unit_test(predictions_stay_as_near_as_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
