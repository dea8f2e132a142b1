/* If this fails, the default arithmetic (int8 activations, f16 KV) has become worse on real text than it may be: the
 * perplexity of a real model must be within 0.5 % of that computed in float from its dequantised weights, with int8
 * keys and values (--kv q8) too; or float activations (--exact) no longer give what float arithmetic gives.
 *
 * The text, its tokens and the windows are those of ../shared/golden/real/MODEL.json: the first 4096 tokens of Debian's
 * common-licenses/GPL-3 in windows of 512, each with an empty cache and the model's start token, scored from the second
 * token on.
 *
 * ctest: slow (under sanitizers test_logits and the engine's unit tests run instead) */
#include "golden.h"

#include "base/hash.h"
#include "base/json.h"
#include "engine/measure.h"

#include <math.h>

#define TEXT "/usr/share/common-licenses/GPL-3"
#define N_TOKENS 4096u
#define WINDOW 512u

static token_list read_tokens(const engine *e, const json_t *ppl) {
    str text = STR_INIT;
    muga_error err = {0};
    token_list ids = TOKEN_LIST_INIT;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    assert_ok(os_read_file(&os_system()->files, TEXT, 1 << 20, &text, &err), &err);
    sha256_of(text.data, text.len, digest);
    hex_write(digest, sizeof digest, hex);
    assert_string_equal(hex, json_get_string(ppl, "text_sha256"));
    assert_ok(tokenizer_encode(engine_tokenizer(e), text.data, text.len, (tokenizer_flags){0}, &ids, &err), &err);
    assert_true(ids.n >= N_TOKENS);
    sha256_of(ids.ids, N_TOKENS * sizeof *ids.ids, digest);
    hex_write(digest, sizeof digest, hex);
    assert_string_equal(hex, json_get_string(ppl, "ids_sha256_le_i32"));
    str_release(&text);
    return ids;
}

typedef struct facts {
    const char *path; /* of the model */
    json_t *all;
    const json_t *ppl;
} facts;

static facts read_facts(const char *model_name, const char *path) {
    str text = STR_INIT;
    char file[96];
    facts f = {.path = path};
    muga_error err = {0};
    snprintf(file, sizeof file, "golden/real/%s.json", model_name);
    assert_ok(os_read_file(&os_system()->files, shared_path(file), 1 << 20, &text, &err), &err);
    assert_ok(json_parse(text.data, text.len, "facts", &f.all, &err), &err);
    f.ppl = json_object_get(f.all, "ppl");
    str_release(&text);
    return f;
}

static measure_result measure(const facts *f, bool exact, kernel_kv_type kv, uint32_t n_windows) {
    muga_error err = {0};
    engine_options o = {.isa = -1, .exact = exact, .kv = kv};
    engine *e = NULL;
    measure_options m = {.window = WINDOW, .max_windows = n_windows};
    measure_result r;
    assert_ok(engine_open(f->path, &o, &e, &err), &err);
    token_list ids = read_tokens(e, f->ppl);
    ids.n = N_TOKENS;
    assert_ok(measure_text(e, NULL, &ids, &m, &r, &err), &err);
    token_list_release(&ids);
    engine_free(e);
    return r;
}

static void check_default(const char *model_name, const char *path, kernel_kv_type kv) {
    facts f = read_facts(model_name, path);
    measure_result r = measure(&f, false, kv, 0);
    double exact = json_get_number(f.ppl, "exact", 0);
    print_message("%s: perplexity %.6f, exact %.6f (%+.3f %%), %u tokens scored\n", kernel_kv_name(kv), r.perplexity,
                  exact, 100 * (r.perplexity / exact - 1), (unsigned)r.n_scored);
    assert_int_equal(r.n_scored, json_get_int(f.ppl, "tokens_scored", 0));
    assert_int_equal(r.bos, json_is_true(json_object_get(f.ppl, "bos_prepended")));
    assert_true(fabs(r.perplexity / exact - 1) < 0.005);
    measure_result_release(&r);
    json_decref(f.all);
}

static void check_exact(const char *model_name, const char *path) {
    facts f = read_facts(model_name, path);
    measure_result r = measure(&f, true, KERNEL_KV_F32, 2);
    for (uint32_t i = 0; i < r.n_windows; i++) {
        double exact = json_number_value(json_array_get(json_object_get(f.ppl, "window_nll_exact"), i));
        print_message("window %u: %.5f, exact %.5f\n", i, r.window_nll[i], exact);
        assert_true(fabs(r.window_nll[i] / exact - 1) < 1e-4);
    }
    measure_result_release(&r);
    json_decref(f.all);
}

static void smollm2_is_within_half_a_percent(void **state) {
    (void)state;
    check_default("smollm2-135m-instruct-q4_1", model_path(), KERNEL_KV_F16);
}

static void smollm2_with_int8_keys_is_too(void **state) {
    (void)state;
    check_default("smollm2-135m-instruct-q4_1", model_path(), KERNEL_KV_Q8);
}

static void smollm2_in_float_mode_gives_the_exact_figures(void **state) {
    (void)state;
    check_exact("smollm2-135m-instruct-q4_1", model_path());
}

static void gemma3_is_within_half_a_percent(void **state) {
    (void)state;
    check_default("gemma3-270m-q4_k_m", gemma_path(), KERNEL_KV_F16);
}

static void gemma3_with_int8_keys_is_too(void **state) {
    (void)state;
    check_default("gemma3-270m-q4_k_m", gemma_path(), KERNEL_KV_Q8);
}

static void gemma3_in_float_mode_gives_the_exact_figures(void **state) {
    (void)state;
    check_exact("gemma3-270m-q4_k_m", gemma_path());
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(smollm2_is_within_half_a_percent),
                                       cmocka_unit_test(smollm2_with_int8_keys_is_too),
                                       cmocka_unit_test(smollm2_in_float_mode_gives_the_exact_figures),
                                       cmocka_unit_test(gemma3_is_within_half_a_percent),
                                       cmocka_unit_test(gemma3_with_int8_keys_is_too),
                                       cmocka_unit_test(gemma3_in_float_mode_gives_the_exact_figures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
