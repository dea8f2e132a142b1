/* Perplexity and the distance between two models' predictions. Were this to fail, a quantised model would be reported
 * as better or worse than it is, and everything decided by such figures would be decided wrongly.
 *
 * The figures are held against the definition, computed here in double from logits taken by themselves. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/measure.h"

#include <math.h>

enum { N_IDS = 150, WINDOW = 64 };

static token_list make_ids(size_t n) {
    token_list l = TOKEN_LIST_INIT;
    rng r = {9};
    for (size_t i = 0; i < n; i++)
        assert_true(token_list_push(&l, (int32_t)rng_below(&r, 400)));
    return l;
}

static engine *open_tiny(bool exact, uint32_t n_batch) {
    engine *e = NULL;
    muga_error err = {0};
    engine_options o = {.isa = -1, .n_threads = 1, .exact = exact, .n_batch = n_batch};
    assert_ok(engine_open(source_path("tests/data/tiny.gguf"), &o, &e, &err), &err);
    return e;
}

/* log p of every id after ids[0, pos], [n_vocab], by definition. */
static void log_probs(engine *e, const int32_t *ids, uint32_t n, double *out) {
    engine_session *s = NULL;
    muga_error err = {0};
    uint32_t n_vocab = engine_params(e)->n_vocab;
    double sum = 0, largest = -INFINITY;
    assert_ok(engine_session_new(e, WINDOW, &s, &err), &err);
    assert_ok(engine_session_feed(s, ids, n, &err), &err);
    const float *logits = engine_session_logits(s);
    for (uint32_t i = 0; i < n_vocab; i++)
        largest = fmax(largest, (double)logits[i]);
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - largest);
    for (uint32_t i = 0; i < n_vocab; i++)
        out[i] = (double)logits[i] - largest - log(sum);
    engine_session_free(s);
}

typedef struct naive {
    double nll[8], nll_squares, base_nll, kl, kl_squares, kl_max, change;
    uint32_t n_windows, n_scored, n_same;
} naive;

static uint32_t top_of(const double *p, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        best = p[i] > p[best] ? i : best;
    return best;
}

static naive measure_naively(engine *e, engine *base, const token_list *ids) {
    naive r = {0};
    uint32_t n_vocab = engine_params(e)->n_vocab;
    double *p = mem_alloc_array(n_vocab, sizeof *p), *q = mem_alloc_array(n_vocab, sizeof *q);
    for (size_t at = 0; at < ids->n; at += WINDOW, r.n_windows++)
        for (uint32_t i = 1; i < WINDOW && at + i < ids->n; i++) {
            int32_t next = ids->ids[at + i];
            double kl = 0;
            log_probs(e, ids->ids + at, i, p);
            log_probs(base, ids->ids + at, i, q);
            for (uint32_t k = 0; k < n_vocab; k++)
                kl += exp(q[k]) * (q[k] - p[k]);
            r.nll[r.n_windows] -= p[next];
            r.nll_squares += p[next] * p[next];
            r.base_nll -= q[next];
            r.kl += kl;
            r.kl_squares += kl * kl;
            r.kl_max = fmax(r.kl_max, kl);
            r.change += pow(exp(p[next]) - exp(q[next]), 2);
            r.n_same += top_of(p, n_vocab) == top_of(q, n_vocab);
            r.n_scored++;
        }
    free(p);
    free(q);
    return r;
}

static void assert_near(double a, double b, double relative) {
    if (!(fabs(a - b) <= relative * fmax(fabs(a), fabs(b))))
        fail_msg("%.9g is not %.9g", a, b);
}

static void figures_are_those_of_the_definition(void **state) {
    (void)state;
    engine *e = open_tiny(false, 0), *base = open_tiny(true, 10); /* int8 against float: near, but not the same */
    token_list ids = make_ids(N_IDS);
    measure_options o = {.window = WINDOW};
    measure_result r;
    muga_error err = {0};
    naive n = measure_naively(e, base, &ids);
    assert_ok(measure_text(e, base, &ids, &o, &r, &err), &err);
    assert_int_equal(r.n_windows, 3);
    assert_int_equal(r.n_scored, n.n_scored);
    assert_int_equal(r.n_scored, N_IDS - 3);
    assert_false(r.bos);
    double nll = n.nll[0] + n.nll[1] + n.nll[2], count = n.n_scored;
    for (int i = 0; i < 3; i++)
        assert_near(r.window_nll[i], n.nll[i], 1e-6);
    assert_near(r.nll, nll, 1e-6);
    assert_near(r.perplexity, exp(nll / count), 1e-6);
    double variance = n.nll_squares / count - nll / count * (nll / count);
    assert_near(r.error, r.perplexity * sqrt(variance / (count - 1)), 1e-3);
    assert_true(r.compared);
    assert_near(r.base_perplexity, exp(n.base_nll / count), 1e-6);
    assert_true(n.kl / count > 1e-7); /* else the rest would say nothing */
    assert_near(r.kl_mean, n.kl / count, 0.02);
    assert_near(r.kl_max, n.kl_max, 0.02);
    assert_true(r.kl_median > 0 && r.kl_median <= r.kl_p99 && r.kl_p99 <= r.kl_max);
    assert_near(r.same_top, n.n_same / count, 1e-9);
    assert_near(r.rms_change, sqrt(n.change / count), 1e-3);
    measure_result_release(&r);
    engine_free(e);
    engine_free(base);
    token_list_release(&ids);
}

static void a_model_is_at_no_distance_from_itself(void **state) {
    (void)state;
    engine *e = open_tiny(false, 0), *base = open_tiny(false, 7);
    token_list ids = make_ids(N_IDS);
    measure_options o = {.window = WINDOW, .max_windows = 2};
    measure_result r;
    muga_error err = {0};
    assert_ok(measure_text(e, base, &ids, &o, &r, &err), &err);
    assert_int_equal(r.n_windows, 2);
    assert_int_equal(r.n_scored, 2 * (WINDOW - 1));
    assert_true(r.kl_max < 1e-6 && r.same_top == 1 && r.rms_change == 0);
    assert_near(r.perplexity, r.base_perplexity, 1e-12); /* one is a sum of sums */
    measure_result_release(&r);
    engine_free(e);
    engine_free(base);
    token_list_release(&ids);
}

static void a_window_is_512_tokens_by_default(void **state) {
    (void)state;
    engine *e = open_tiny(false, 0);
    token_list ids = make_ids(600);
    measure_options o = {0};
    measure_result r;
    muga_error err = {0};
    assert_true(engine_params(e)->n_ctx_train > 512);
    assert_ok(measure_text(e, NULL, &ids, &o, &r, &err), &err);
    assert_int_equal(r.window, 512);
    assert_int_equal(r.n_windows, 2);
    assert_int_equal(r.n_scored, 600 - 2);
    measure_result_release(&r);
    engine_free(e);
    token_list_release(&ids);
}

static bool stop_at_half(void *ctx, double done) {
    double *last = ctx;
    assert_true(done > *last && done <= 1);
    *last = done;
    return done < 0.5;
}

static void what_cannot_be_measured_is_said(void **state) {
    (void)state;
    engine *e = open_tiny(false, 0);
    token_list ids = make_ids(N_IDS), one = make_ids(1), none = make_ids(0);
    measure_result r;
    muga_error err = {0};
    double last = 0;
    measure_options o = {.window = WINDOW};
    assert_status(measure_text(e, NULL, &one, &o, &r, &err), MUGA_E_INPUT, &err, "1 tokens");
    assert_status(measure_text(e, NULL, &none, &o, &r, &err), MUGA_E_INPUT, &err, "0 tokens");
    o.window = 1;
    assert_status(measure_text(e, NULL, &ids, &o, &r, &err), MUGA_E_USAGE, &err, "window of 1");
    o.window = 1 << 20;
    assert_status(measure_text(e, NULL, &ids, &o, &r, &err), MUGA_E_LIMIT, &err, "1048576");
    o = (measure_options){.window = WINDOW, .on_progress = stop_at_half, .on_progress_ctx = &last};
    assert_status(measure_text(e, NULL, &ids, &o, &r, &err), MUGA_E_CANCELLED, &err, "interrupted");
    engine_free(e);
    token_list_release(&ids);
    token_list_release(&one);
    token_list_release(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_definition),
        cmocka_unit_test(a_model_is_at_no_distance_from_itself),
        cmocka_unit_test(a_window_is_512_tokens_by_default),
        cmocka_unit_test(what_cannot_be_measured_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
