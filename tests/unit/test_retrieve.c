/* Nearest examples and their votes. If this failed, an agent would take one wish for another, or decide differently on
 * another machine. */
#include "agent/retrieve.h"
#include "support/support.h"

#include <math.h>
#include <string.h>

static const retrieve_example examples[] = {
    {"where is my order", 1},    {"when does my parcel arrive", 1}, {"order \x01 is late", 1}, {"reset my password", 2},
    {"I forgot my password", 2}, {"my wife forgot hers", 4},        {"my wife's order", 4}};
enum { N = sizeof examples / sizeof *examples };

static retrieve *make(size_t n, const json_t *classes) {
    retrieve *r = NULL;
    muga_error err;
    assert_ok(retrieve_new(examples, n, 3, classes, &r, &err), &err);
    return r;
}

static size_t best(const retrieve *r, const char *text, double scores[3]) {
    muga_error err;
    retrieve_hit hits[2];
    size_t n_hits = 2, l = 0;
    assert_ok(retrieve_score(r, text, strlen(text), scores, hits, &n_hits, &err), &err);
    assert_int_equal(n_hits, 2);
    assert_true(hits[0].likeness >= hits[1].likeness && hits[0].likeness <= 1 + 1e-12);
    for (size_t i = 1; i < 3; i++) {
        l = scores[i] > scores[l] ? i : l;
    }
    return l;
}

static void every_example_gets_its_own_label_back(void **state) {
    (void)state;
    retrieve *r = make(N, NULL);
    double scores[3];
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(1u << best(r, examples[i].text, scores), examples[i].labels);
    }
    retrieve_free(r);
}

static void slips_case_and_punctuation_cost_little(void **state) {
    (void)state;
    retrieve *r = make(N, NULL);
    double scores[3];
    assert_int_equal(best(r, "RESET MY PASWORD!!", scores), 1);
    assert_int_equal(best(r, "wheres my ordr?", scores), 0);
    assert_int_equal(best(r, "i've forgotten my Passw\xC3\xB6rd", scores), 1);
    retrieve_free(r);
}

static void what_is_learned_of_a_word_holds_for_its_class(void **state) {
    (void)state;
    json_t *classes = json_pack("{s:s}", "kin", "wife husband grandpa");
    retrieve *with = make(N, classes), *without = make(N, NULL);
    double a[3], b[3];
    best(with, "grandpa's password", a);
    best(without, "grandpa's password", b);
    if (a[2] <= b[2] + 0.02) {
        fail_msg("%.3f with the class, %.3f without", a[2], b[2]);
    }
    retrieve_free(with);
    retrieve_free(without);
    json_decref(classes);
}

/* The votes are a solution: what each example scores is its labels less lambda times its own vote, and a label that no
 * example has is nobody's. */
static void a_label_without_examples_gets_no_vote(void **state) {
    (void)state;
    retrieve *r = NULL;
    muga_error err;
    double scores[4];
    size_t n_hits = 0;
    assert_ok(retrieve_new(examples, N, 4, NULL, &r, &err), &err);
    assert_ok(retrieve_score(r, "where is my order", 17, scores, NULL, &n_hits, &err), &err);
    assert_true(scores[3] == 0 && scores[0] > 0.5);
    retrieve_free(r);
}

/* (K + lambda I) a = y, checked on two texts that share nothing: each scores 1 / (1 + lambda) for its label. */
static void a_text_alone_scores_its_label_less_lambda(void **state) {
    (void)state;
    static const retrieve_example two[] = {{"alpha beta", 1}, {"qqqq zzz", 2}};
    retrieve *r = NULL;
    muga_error err;
    double scores[2];
    retrieve_hit hits[2];
    size_t n_hits = 2;
    assert_ok(retrieve_new(two, 2, 2, NULL, &r, &err), &err);
    assert_ok(retrieve_score(r, "alpha beta", 10, scores, hits, &n_hits, &err), &err);
    assert_true(fabs(hits[0].likeness - 1) < 1e-12 && hits[0].i == 0);
    assert_true(hits[1].likeness < 1e-12);
    assert_true(fabs(scores[0] - 1 / 1.2) < 1e-6 && fabs(scores[1]) < 1e-6);
    retrieve_free(r);
}

static void nothing_known_scores_nothing(void **state) {
    (void)state;
    retrieve *r = make(N, NULL);
    double scores[3];
    best(r, "", scores);
    assert_true(scores[0] == 0 && scores[1] == 0 && scores[2] == 0);
    best(r, "\xFF\xFE", scores); /* not UTF-8 */
    retrieve_free(r);
}

static void too_much_is_refused(void **state) {
    (void)state;
    retrieve *r = NULL;
    muga_error err;
    assert_status(retrieve_new(examples, 0, 3, NULL, &r, &err), MUGA_E_LIMIT, &err, "0 examples");
    assert_status(retrieve_new(examples, N, 65, NULL, &r, &err), MUGA_E_LIMIT, &err, "65 labels");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_example_gets_its_own_label_back),
                                       cmocka_unit_test(slips_case_and_punctuation_cost_little),
                                       cmocka_unit_test(what_is_learned_of_a_word_holds_for_its_class),
                                       cmocka_unit_test(a_label_without_examples_gets_no_vote),
                                       cmocka_unit_test(a_text_alone_scores_its_label_less_lambda),
                                       cmocka_unit_test(nothing_known_scores_nothing),
                                       cmocka_unit_test(too_much_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
