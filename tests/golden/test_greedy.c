/* If this fails, the engine chooses other tokens than the model does: an error that grows over the steps of a sequence
 * (KV cache, positions), or logits that are too far off to keep a clear choice.
 *
 * Small models: the steps that the reference data calls firm must come out, in float mode and in the default one. Real
 * models: they are led along the exact answer, and wherever the exact margin between the first and the second token is
 * clear, ours must be the same token; near ties are judged by nothing. In float mode the five largest logits of every
 * step are the exact ones.
 *
 * ctest: slow (under sanitizers test_logits and the engine's unit tests run instead) */
#include "golden.h"

#define TOP5_BAR 2e-3    /* float mode: of logits about 20 large, computed in another order */
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

/* Of top5.tsv. */
static const golden_row *exact_step(const golden_table *top5, size_t i_case, size_t step) {
    char c[24], s[24];
    snprintf(c, sizeof c, "%zu", i_case);
    snprintf(s, sizeof s, "%zu", step);
    for (size_t i = 0; i < top5->n_rows; i++)
        if (golden_matches(top5, &top5->rows[i], "source", "exact") &&
            golden_matches(top5, &top5->rows[i], "case", c) && golden_matches(top5, &top5->rows[i], "step", s))
            return &top5->rows[i];
    fail_msg("no row for case %s, step %s", c, s);
    return NULL;
}

/* The largest distance of the five logits that a row of top5.tsv gives. */
static double top5_distance(const golden_table *top5, const golden_row *r, const float *logits) {
    double most = 0;
    for (int i = 1; i <= 5; i++) {
        char id[16], logit[24];
        snprintf(id, sizeof id, "id%d", i);
        snprintf(logit, sizeof logit, "logit%d", i);
        double want = strtod(golden_cell(top5, r, logit), NULL);
        double d = want - (double)logits[strtoul(golden_cell(top5, r, id), NULL, 10)];
        most = d > most ? d : -d > most ? -d : most;
    }
    return most;
}

/* Leads the model along the exact answers. */
static void follow_exact(const char *model_name, const char *path, bool exact, double clear) {
    char file[96];
    snprintf(file, sizeof file, "golden/real/%s.chat.tsv", model_name);
    golden_table chat = golden_table_read(file);
    snprintf(file, sizeof file, "golden/real/%s.top5.tsv", model_name);
    golden_table top5 = golden_table_read(file);
    engine_options o = {.isa = -1, .exact = exact, .kv = exact ? KERNEL_KV_F32 : KERNEL_KV_F16, .n_threads = 2};
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(path, &o, &e, &err), &err);
    size_t n_clear = 0, n_same = 0, n_steps = 0;
    double furthest = 0;
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
            double d = top5_distance(&top5, exact_step(&top5, i, step), engine_session_logits(s));
            furthest = d > furthest ? d : furthest;
            assert_ok(engine_session_feed(s, &want.ids[step], 1, &err), &err);
        }
        engine_session_free(s);
        token_list_release(&ids);
        token_list_release(&want);
    }
    print_message("%s: %zu of %zu tokens as exact, %zu of them clear; largest logits at most %.1e off\n",
                  exact ? "float" : "int8", n_same, n_steps, n_clear, furthest);
    assert_true(n_clear > n_steps / 4); /* the bound must have had something to bind */
    assert_true(!exact || furthest < TOP5_BAR);
    engine_free(e);
    golden_table_free(&chat);
    golden_table_free(&top5);
}

static void smollm2_in_float_mode_follows_exact(void **state) {
    (void)state;
    follow_exact("smollm2-135m-instruct-q4_1", model_path(), true, CLEAR_EXACT);
}

static void smollm2_in_default_mode_keeps_clear_choices(void **state) {
    (void)state;
    follow_exact("smollm2-135m-instruct-q4_1", model_path(), false, CLEAR_INT8);
}

static void gemma3_in_float_mode_follows_exact(void **state) {
    (void)state;
    follow_exact("gemma3-270m-q4_k_m", gemma_path(), true, CLEAR_EXACT);
}

static void gemma3_in_default_mode_keeps_clear_choices(void **state) {
    (void)state;
    follow_exact("gemma3-270m-q4_k_m", gemma_path(), false, CLEAR_INT8);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(firm_steps_come_out),
                                       cmocka_unit_test(smollm2_in_float_mode_follows_exact),
                                       cmocka_unit_test(smollm2_in_default_mode_keeps_clear_choices),
                                       cmocka_unit_test(gemma3_in_float_mode_follows_exact),
                                       cmocka_unit_test(gemma3_in_default_mode_keeps_clear_choices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
