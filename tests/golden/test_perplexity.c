/* If this fails, the default arithmetic (int8 activations, f16 KV) has become worse on real text than it may be: the
 * perplexity of the real model must be within 0.5 % of that computed in float from its dequantised weights (24.973441);
 * or float activations (--exact) no longer give what float arithmetic gives.
 *
 * The text, its tokens and the windows are those of ../shared/golden/real/smollm2-135m-instruct-q4_1.json: the first
 * 4096 tokens of Debian's common-licenses/GPL-3 in windows of 512, each with an empty cache, scored from the second
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
    json_t *all;
    const json_t *ppl;
} facts;

static facts read_facts(void) {
    str text = STR_INIT;
    facts f = {0};
    muga_error err = {0};
    assert_ok(os_read_file(&os_system()->files, shared_path("golden/real/smollm2-135m-instruct-q4_1.json"), 1 << 20,
                           &text, &err),
              &err);
    assert_ok(json_parse(text.data, text.len, "facts", &f.all, &err), &err);
    f.ppl = json_object_get(f.all, "ppl");
    str_release(&text);
    return f;
}

static measure_result measure(const facts *f, bool exact, uint32_t n_windows) {
    muga_error err = {0};
    engine_options o = {.isa = -1, .exact = exact, .kv_f32 = exact};
    engine *e = NULL;
    measure_options m = {.window = WINDOW, .max_windows = n_windows};
    measure_result r;
    assert_ok(engine_open(model_path(), &o, &e, &err), &err);
    token_list ids = read_tokens(e, f->ppl);
    ids.n = N_TOKENS;
    assert_ok(measure_text(e, NULL, &ids, &m, &r, &err), &err);
    token_list_release(&ids);
    engine_free(e);
    return r;
}

static void perplexity_is_within_half_a_percent(void **state) {
    (void)state;
    facts f = read_facts();
    measure_result r = measure(&f, false, 0);
    double exact = json_get_number(f.ppl, "exact", 0);
    print_message("perplexity %.6f, exact %.6f (%+.3f %%), %u tokens scored\n", r.perplexity, exact,
                  100 * (r.perplexity / exact - 1), (unsigned)r.n_scored);
    assert_int_equal(r.n_scored, json_get_int(f.ppl, "tokens_scored", 0));
    assert_false(r.bos);
    assert_true(fabs(r.perplexity / exact - 1) < 0.005);
    measure_result_release(&r);
    json_decref(f.all);
}

static void exact_arithmetic_gives_the_exact_figures(void **state) {
    (void)state;
    facts f = read_facts();
    measure_result r = measure(&f, true, 2);
    for (uint32_t i = 0; i < r.n_windows; i++) {
        double exact = json_number_value(json_array_get(json_object_get(f.ppl, "window_nll_exact"), i));
        print_message("window %u: %.5f, exact %.5f\n", i, r.window_nll[i], exact);
        assert_true(fabs(r.window_nll[i] / exact - 1) < 1e-4);
    }
    measure_result_release(&r);
    json_decref(f.all);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(perplexity_is_within_half_a_percent),
                                       cmocka_unit_test(exact_arithmetic_gives_the_exact_figures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
