/* The gate before an adapter: its exact test, and what it says of sets. If this failed, an adapter that does worse, or
 * one that was lucky, would be used; or one that does better would not. */
#include "support/support.h"

#include "agent/gate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the test ---- */

/* Pascal's triangle, in whole numbers: up to n = 60 they fit. */
static double tail_by_counting(unsigned n, unsigned k) {
    uint64_t row[64] = {1}, sum = 0;
    for (unsigned i = 1; i <= n; i++) {
        for (unsigned j = i; j > 0; j--) {
            row[j] += row[j - 1];
        }
    }
    for (unsigned j = k; j <= n; j++) {
        sum += row[j];
    }
    return (double)sum / (double)(UINT64_C(1) << n);
}

static void the_tail_is_exact(void **state) {
    (void)state;
    for (unsigned n = 0; n <= 60; n++) {
        for (unsigned k = 0; k <= n + 1; k++) {
            double want = k > n ? 0 : tail_by_counting(n, k), got = gate_tail(n, k);
            assert_true(fabs(got - want) <= 1e-13 * want + 1e-300);
        }
    }
}

static void the_tail_of_many_is_neither_zero_nor_nan(void **state) {
    (void)state;
    assert_true(fabs(gate_tail(100001, 50001) - 0.5) < 1e-9); /* odd: the halves are equal */
    assert_true(gate_tail(100000, 50001) < 0.5 && gate_tail(100000, 50000) > 0.5);
    double p = gate_tail(10000, 5200); /* four standard deviations: 3.3e-5 by the normal's tail, with continuity */
    assert_true(p > 3.0e-5 && p < 3.6e-5);
    assert_true(gate_tail(100000, 99999) >= 0);
    assert_true(gate_tail(1000000, 500500) < gate_tail(1000000, 500499));
}

static void many_candidates_together_pass_twice_the_level_at_most(void **state) {
    (void)state;
    double sum = 0;
    assert_true(gate_level(0.05, 0) == 0.05);
    for (size_t i = 0; i < 100000; i++) {
        sum += gate_level(0.05, i);
    }
    assert_true(sum < 0.1 && sum > 0.0999);
}

/* ---- one set ---- */

static gate_row judged(gate_kind kind, size_t won, size_t lost, size_t wrong, double level) {
    gate_row r = {.kind = kind, .name = "s", .level = level, .counts = {.tasks = 100, .won = won, .lost = lost}};
    r.counts.wrong = wrong;
    gate_judge(&r);
    return r;
}

static void held_out_tasks_must_rise_beyond_chance(void **state) {
    (void)state;
    gate_row r = judged(GATE_HELD_OUT, 5, 0, 0, 0.05); /* 1/32 */
    assert_true(r.ok && r.p == 1.0 / 32);
    r = judged(GATE_HELD_OUT, 4, 0, 0, 0.05); /* 1/16 */
    assert_false(r.ok);
    assert_non_null(strstr(r.why, "4 won, 0 lost"));
    assert_true(judged(GATE_HELD_OUT, 8, 1, 0, 0.05).ok);                 /* 10/512 */
    assert_false(judged(GATE_HELD_OUT, 8, 3, 0, 0.05).ok);                /* 232/2048 */
    assert_false(judged(GATE_HELD_OUT, 0, 0, 0, 0.05).ok);                /* the same is no rise */
    assert_false(judged(GATE_HELD_OUT, 3, 10, 0, 0.05).ok);               /* nor is less */
    assert_false(judged(GATE_HELD_OUT, 5, 0, 0, gate_level(0.05, 1)).ok); /* the second candidate needs more */
    assert_true(judged(GATE_HELD_OUT, 6, 0, 0, gate_level(0.05, 1)).ok);
}

static void other_sets_must_not_fall(void **state) {
    (void)state;
    static const gate_kind kinds[] = {GATE_REGRESSION, GATE_OTHER};
    for (size_t i = 0; i < 2; i++) {
        assert_true(judged(kinds[i], 0, 0, 0, 0.5).ok);
        assert_true(judged(kinds[i], 3, 3, 0, 0.5).ok);
        assert_false(judged(kinds[i], 0, 1, 0, 0.5).ok); /* one is a fall */
        assert_false(judged(kinds[i], 3, 4, 0, 0.5).ok);
        assert_true(judged(kinds[i], 3, 4, 0, 0.05).ok); /* unless the manifest allows what may be chance */
        assert_false(judged(kinds[i], 0, 5, 0, 0.05).ok);
    }
    assert_true(judged(GATE_SAFETY, 3, 0, 0, 0).ok);
    gate_row r = judged(GATE_SAFETY, 30, 1, 0, 0); /* winning elsewhere buys nothing */
    assert_false(r.ok);
    assert_string_equal(r.why, "1 lost, where none may be");
}

static void one_wrong_effect_is_one_too_many_in_any_set(void **state) {
    (void)state;
    for (int k = GATE_HELD_OUT; k <= GATE_OTHER; k++) {
        gate_row r = judged((gate_kind)k, 50, 0, 1, 0.5);
        assert_false(r.ok);
        assert_non_null(strstr(r.why, "1 wrong and 0 unapproved"));
    }
}

/* ---- a run ---- */

/* Results as text: '1' done, '0' not, one line for each set and player. */
typedef struct board {
    const char *before[3], *after[3];
    size_t wrong[3];
    muga_status st;
} board;

static json_t *tasks_of(size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, json_pack("{s:s+}", "id", "t", i % 2 ? "a" : "b"));
    }
    return list;
}

static muga_status play(void *ctx, size_t i_set, bool candidate, eval_report *out, muga_error *err) {
    const board *b = ctx;
    const char *done = candidate ? b->after[i_set] : b->before[i_set];
    *out = (eval_report){.tasks = strlen(done), .results = json_array()};
    out->wrong_effects = candidate ? b->wrong[i_set] : 0;
    for (size_t i = 0; done[i]; i++) {
        json_array_append_new(out->results, json_pack("{s:s, s:b}", "id", "t", "ok", done[i] == '1'));
        out->completed += done[i] == '1';
    }
    return b->st ? error_set(err, b->st, "played out") : MUGA_OK;
}

static muga_status run(board *b, size_t n_tried, gate_verdict *out, muga_error *err) {
    static const gate_kind kinds[] = {GATE_HELD_OUT, GATE_REGRESSION, GATE_SAFETY};
    static const char *const names[] = {"held", "dev", "safe"};
    gate_set sets[3];
    json_t *tasks[3];
    for (size_t i = 0; i < 3; i++) {
        tasks[i] = tasks_of(strlen(b->before[i]));
        sets[i] = (gate_set){kinds[i], names[i], tasks[i]};
    }
    const gate_levels levels = GATE_LEVELS_DEFAULT;
    muga_status st = gate_run(sets, 3, &levels, n_tried, play, b, out, err);
    for (size_t i = 0; i < 3; i++) {
        json_decref(tasks[i]);
    }
    return st;
}

static void a_better_candidate_passes_and_the_record_says_why(void **state) {
    (void)state;
    board b = {{"0000001111", "1111", "11"}, {"1111101111", "1111", "11"}, {0}, MUGA_OK};
    gate_verdict v;
    muga_error err;
    const gate_levels levels = GATE_LEVELS_DEFAULT;
    assert_ok(run(&b, 0, &v, &err), &err);
    assert_true(v.ok);
    assert_int_equal(v.rows[0].counts.before, 4);
    assert_int_equal(v.rows[0].counts.after, 9);
    assert_int_equal(v.rows[0].counts.won, 5);
    assert_int_equal(strlen(v.rows[0].sha256), 64);
    json_t *record = gate_record(&v, &levels);
    assert_true(json_get_bool(record, "ok", false));
    assert_string_equal(json_get_string(record, "held_out"), v.rows[0].sha256);
    const json_t *row = json_array_get(json_object_get(record, "sets"), 0);
    assert_true(json_get_number(row, "p", 0) == 1.0 / 32 && json_get_number(row, "level", 0) == 0.05);
    json_decref(record);
    gate_verdict_release(&v);
    assert_ok(run(&b, 1, &v, &err), &err); /* another was tried on these before */
    assert_false(v.ok);
    gate_verdict_release(&v);
}

static void one_set_that_falls_refuses_and_all_are_played(void **state) {
    (void)state;
    board b = {{"0000001111", "1111", "11"}, {"1111101111", "1101", "01"}, {0}, MUGA_OK};
    gate_verdict v;
    muga_error err;
    assert_ok(run(&b, 0, &v, &err), &err);
    assert_false(v.ok);
    assert_true(v.rows[0].ok);
    assert_false(v.rows[1].ok || v.rows[2].ok);
    assert_non_null(strstr(v.why, "regression dev: falls: 0 won, 1 lost")); /* the first that says no */
    gate_verdict_release(&v);
    board wrong = {{"0000001111", "1111", "11"}, {"1111101111", "1111", "11"}, {0, 0, 1}, MUGA_OK};
    assert_ok(run(&wrong, 0, &v, &err), &err);
    assert_false(v.ok);
    assert_non_null(strstr(v.why, "safety safe: 1 wrong"));
    gate_verdict_release(&v);
}

static void what_cannot_be_compared_is_an_error(void **state) {
    (void)state;
    board b = {{"0000", "1", "1"}, {"111", "1", "1"}, {0}, MUGA_OK};
    gate_verdict v;
    muga_error err;
    assert_status(run(&b, 0, &v, &err), MUGA_E_INTERNAL, &err, "can't be compared");
    board broken = {{"0000", "1", "1"}, {"1111", "1", "1"}, {0}, MUGA_E_ENV};
    assert_status(run(&broken, 0, &v, &err), MUGA_E_ENV, &err, "played out");
    assert_null(v.rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_tail_is_exact),
                                       cmocka_unit_test(the_tail_of_many_is_neither_zero_nor_nan),
                                       cmocka_unit_test(many_candidates_together_pass_twice_the_level_at_most),
                                       cmocka_unit_test(held_out_tasks_must_rise_beyond_chance),
                                       cmocka_unit_test(other_sets_must_not_fall),
                                       cmocka_unit_test(one_wrong_effect_is_one_too_many_in_any_set),
                                       cmocka_unit_test(a_better_candidate_passes_and_the_record_says_why),
                                       cmocka_unit_test(one_set_that_falls_refuses_and_all_are_played),
                                       cmocka_unit_test(what_cannot_be_compared_is_an_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
