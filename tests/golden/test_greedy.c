/* If this fails, the engine chooses other tokens than the model does: an error that grows over the steps of a sequence
 * (KV cache, positions), or logits that are too far off to keep a clear choice.
 *
 * Small models: the steps that the reference data calls firm must come out, in float mode and in the default one. The
 * real model: it is led along the exact answer, and wherever the exact margin between the first and the second token is
 * clear, ours must be the same token; near ties are judged by nothing.
 *
 * ctest: slow (under sanitizers test_logits and the engine's unit tests run instead) */
#include "golden.h"

#define CLEAR_EXACT 0.02 /* float mode: logits agree to better than half of this */
#define CLEAR_INT8 1.5   /* default mode: llama.cpp's own largest deviation here is 0.94 */

static int32_t best(engine_session *s) {
    const engine *e = engine_session_engine(s);
    bool finite;
    int32_t id = (int32_t)engine_kernels(e)->argmax(engine_session_logits(s), engine_params(e)->n_vocab, &finite);
    assert_true(finite);
    return id;
}

static engine_session *feed(engine *e, uint32_t n_ctx, const token_list *ids) {
    engine_session *s = NULL;
    muga_error err = {0};
    assert_ok(engine_session_new(e, n_ctx, &s, &err), &err);
    assert_ok(engine_session_feed(s, ids->ids, (uint32_t)ids->n, &err), &err);
    return s;
}

static void check_firm_steps(const golden_table *prompts, const golden_table *greedy, golden_case c, bool exact) {
    engine *e = golden_open(c.model, exact, exact, -1);
    size_t n = 0;
    for (size_t i = 0; i < greedy->n_rows; i++) {
        const golden_row *r = &greedy->rows[i];
        if (!golden_matches(greedy, r, "model", c.model) || !golden_matches(greedy, r, "n_ctx", c.n_ctx) ||
            !golden_matches(greedy, r, "source", "exact"))
            continue;
        const golden_row *prompt = golden_find(prompts, c.model, c.n_ctx, golden_cell(greedy, r, "prompt"));
        token_list ids = golden_ids(golden_cell(prompts, prompt, "ids")),
                   want = golden_ids(golden_cell(greedy, r, "ids"));
        size_t firm = strtoul(golden_cell(greedy, r, "firm_steps"), NULL, 10);
        engine_session *s = feed(e, (uint32_t)strtoul(c.n_ctx, NULL, 10), &ids);
        for (size_t step = 0; step < (exact ? want.n : firm); step++) {
            int32_t id = best(s);
            muga_error err = {0};
            if (id != want.ids[step])
                fail_msg("%s at %s, %s, step %zu: %d instead of %d", c.model, c.n_ctx, exact ? "float" : "int8", step,
                         id, want.ids[step]);
            assert_ok(engine_session_feed(s, &id, 1, &err), &err);
        }
        engine_session_free(s);
        token_list_release(&ids);
        token_list_release(&want);
        n++;
    }
    assert_int_equal(n, 2); /* prompts */
    engine_free(e);
}

static void firm_steps_come_out(void **state) {
    (void)state;
    golden_table prompts = golden_table_read("golden/prompts.tsv"), greedy = golden_table_read("golden/greedy.tsv");
    golden_table deviation = golden_table_read("golden/deviation.tsv");
    golden_case c;
    for (size_t i = 0; golden_case_at(&deviation, i, &c); i++) {
        check_firm_steps(&prompts, &greedy, c, true);
        check_firm_steps(&prompts, &greedy, c, false);
    }
    golden_table_free(&prompts);
    golden_table_free(&greedy);
    golden_table_free(&deviation);
}

/* Leads the model along the exact answers. */
static void follow_exact(bool exact, double clear) {
    golden_table chat = golden_table_read("golden/real/smollm2-135m-instruct-q4_1.chat.tsv");
    engine_options o = {.isa = -1, .exact = exact, .kv_f32 = exact, .n_threads = 2};
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(model_path(), &o, &e, &err), &err);
    size_t n_clear = 0, n_same = 0, n_steps = 0;
    for (size_t i = 0; i < chat.n_rows; i++) {
        const golden_row *r = &chat.rows[i];
        token_list ids = golden_ids(golden_cell(&chat, r, "prompt_ids"));
        token_list want = golden_ids(golden_cell(&chat, r, "exact_ids"));
        const char *margins = golden_cell(&chat, r, "exact_margins");
        engine_session *s = feed(e, 256, &ids);
        for (size_t step = 0; step < want.n; step++) {
            char *end;
            double margin = strtod(margins, &end);
            margins = end;
            int32_t id = best(s);
            n_steps++;
            n_same += id == want.ids[step];
            n_clear += margin > clear;
            if (id != want.ids[step] && margin > clear)
                fail_msg("case %zu, step %zu: %d instead of %d, exact margin %.3f", i, step, id, want.ids[step],
                         margin);
            assert_ok(engine_session_feed(s, &want.ids[step], 1, &err), &err);
        }
        engine_session_free(s);
        token_list_release(&ids);
        token_list_release(&want);
    }
    print_message("%s: %zu of %zu tokens as exact, %zu of them clear\n", exact ? "float" : "int8", n_same, n_steps,
                  n_clear);
    assert_true(n_clear > n_steps / 4); /* the bound must have had something to bind */
    engine_free(e);
    golden_table_free(&chat);
}

static void real_model_in_float_mode_follows_exact(void **state) {
    (void)state;
    follow_exact(true, CLEAR_EXACT);
}

static void real_model_in_default_mode_keeps_clear_choices(void **state) {
    (void)state;
    follow_exact(false, CLEAR_INT8);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(firm_steps_come_out),
                                       cmocka_unit_test(real_model_in_float_mode_follows_exact),
                                       cmocka_unit_test(real_model_in_default_mode_keeps_clear_choices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
