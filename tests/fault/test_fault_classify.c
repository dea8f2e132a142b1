/* Every allocation failed in turn while labels are read, a classifier is fitted to examples, its calibration written,
 * read again and used. If this failed, a machine short of memory would crash, leak, or give a label that nothing was
 * computed for. */
#include "support/support.h"

#include "llm/classify.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <string.h>

static json_t *script; /* made before memory is short */

static const classify_example examples[] = {{{"a", 1}, 0, 1},
                                            {{"b", 1}, 1, 2},
                                            {{"c", 1}, 0, 3},
                                            {{"d", 1}, 1, 4},
                                            {{"e", 1}, 0, 5},
                                            {{"f", 1}, 1, 6},
                                            {{"g", 1}, CLASSIFY_NONE, 7}};

static muga_status add(classify_labels *labels, const char *name, muga_error *err) {
    return classify_labels_add(labels, span_of_string(name), span_of("", 0), err);
}

static muga_status use(llm *m, const classify_labels *labels, uint32_t *best, muga_error *err) {
    const classify_form form = {.listed = true};
    classifier *c = NULL, *again = NULL;
    classify_fit f;
    classify_answer a = {0};
    json_t *v = NULL;
    risk_choice r;
    muga_status st = classifier_new(m, labels, &form, &c, err);
    st = st ? st : classifier_fit(c, examples, sizeof examples / sizeof *examples, NULL, NULL, &f, err);
    st = st ? st : classifier_write(c, &v, err);
    st = st ? st : classifier_new(m, labels, &form, &again, err);
    st = st ? st : classifier_read(again, v, err);
    st = st ? st : classifier_set_risk(again, 0.9, &r, err);
    st = st ? st : classifier_answer(again, span_of_string("h"), &a, err);
    *best = a.best;
    json_decref(v);
    classifier_free(c);
    classifier_free(again);
    return st;
}

static muga_status run(uint32_t *best, muga_error *err) {
    classify_labels labels = {0};
    llm *m = NULL;
    muga_status st = llm_scripted_new(script, &m, err);
    st = st ? st : add(&labels, "left", err);
    st = st ? st : add(&labels, "right", err);
    st = st ? st : classify_labels_check(&labels, err);
    st = st ? st : use(m, &labels, best, err);
    llm_free(m);
    classify_labels_release(&labels);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    muga_error err = {0};
    uint32_t best = 0;
    size_t n = 0;
    script = json_array();
    for (size_t i = 0; i < 10; i++) /* the prior, then examples */
        json_array_append_new(script, json_pack("{s:[f,f]}", "scores", i > 2 && i % 2 ? 2.0 : 0.0, 1.0));
    json_array_append_new(script, json_pack("{s:[f,f]}", "scores", 0.0, 4.0));
    assert_ok(run(&best, &err), &err);
    assert_int_equal(best, 1);
    for (bool reached = true; reached; n += reached) {
        long live = fault_live();
        best = 1;
        fault_fail_at(n + 1);
        muga_status st = run(&best, &err);
        reached = fault_hit();
        fault_fail_at(0);
        if (fault_live() != live)
            fail_msg("allocation %zu (status %d): %ld blocks leaked", n + 1, st, fault_live() - live);
        if (st ? !reached || st != MUGA_E_NOMEM || !*err.message : best != 1)
            fail_msg("allocation %zu: status %d, label %u: %s", n + 1, st, best, err.message);
    }
    assert_true(n > 100);
    json_decref(script);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
