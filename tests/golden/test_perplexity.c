/* If this fails, the default arithmetic (int8 activations, f16 KV) has become worse on real text than it may be: the
 * perplexity of the real model must be within 0.5 % of that computed in float from its dequantised weights (24.973441).
 *
 * The text, its tokens and the windows are those of ../shared/golden/real/smollm2-135m-instruct-q4_1.json: the first
 * 4096 tokens of Debian's common-licenses/GPL-3 in windows of 512, each with an empty cache, scored from the second
 * token on.
 *
 * ctest: slow (under sanitizers test_logits and the engine's unit tests run instead) */
#include "golden.h"

#include "base/hash.h"
#include "base/json.h"

#include <math.h>

#define TEXT "/usr/share/common-licenses/GPL-3"
#define N_TOKENS 4096u
#define WINDOW 512u

typedef struct scorer {
    const engine *e;
    const int32_t *ids; /* of the window */
    float *work;
    double nll;
    uint32_t n;
} scorer;

static void score_row(void *ctx, uint32_t pos, const float *logits) {
    scorer *s = ctx;
    if (pos + 1 == WINDOW)
        return;
    uint32_t n_vocab = engine_params(s->e)->n_vocab;
    s->nll += sampler_log_partition(engine_kernels(s->e), logits, n_vocab, s->work) - (double)logits[s->ids[pos + 1]];
    s->n++;
}

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

static void perplexity_is_within_half_a_percent(void **state) {
    (void)state;
    str text = STR_INIT;
    json_t *facts = NULL;
    muga_error err = {0};
    assert_ok(os_read_file(&os_system()->files, shared_path("golden/real/smollm2-135m-instruct-q4_1.json"), 1 << 20,
                           &text, &err),
              &err);
    assert_ok(json_parse(text.data, text.len, "facts", &facts, &err), &err);
    const json_t *ppl = json_object_get(facts, "ppl");
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    engine *e = NULL;
    assert_ok(engine_open(model_path(), &o, &e, &err), &err);
    token_list ids = read_tokens(e, ppl);
    scorer s = {.e = e, .work = mem_alloc_aligned(engine_params(e)->n_vocab * sizeof(float), 64)};
    for (uint32_t at = 0; at < N_TOKENS; at += WINDOW) {
        engine_session *session = NULL;
        assert_ok(engine_session_new(e, WINDOW, &session, &err), &err);
        s.ids = ids.ids + at;
        engine_item it = {.session = session,
                          .ids = s.ids,
                          .n = WINDOW,
                          .want = ENGINE_LOGITS_ALL,
                          .on_logits = score_row,
                          .on_logits_ctx = &s};
        assert_ok(engine_step(e, &it, 1, &err), &err);
        engine_session_free(session);
    }
    double ours = exp(s.nll / s.n), exact = json_get_number(ppl, "exact", 0);
    print_message("perplexity %.6f, exact %.6f (%+.3f %%), %u tokens scored\n", ours, exact, 100 * (ours / exact - 1),
                  s.n);
    assert_int_equal(s.n, json_get_int(ppl, "tokens_scored", 0));
    assert_true(fabs(ours / exact - 1) < 0.005);
    free(s.work);
    token_list_release(&ids);
    engine_free(e);
    json_decref(facts);
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(perplexity_is_within_half_a_percent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
