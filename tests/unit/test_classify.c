/* If this failed, `muga classify` and what builds on it would give a label that isn't the likeliest, take labels that
 * can't be told apart, give a label where it was told not to, or use what was fitted for another model or labels. */
#include "support/support.h"

#include "base/mem.h"
#include "llm/classify.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static json_t *parse(const char *text) {
    json_t *v = NULL;
    muga_error err = {0};
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static classify_labels make_labels(const char *const *names, size_t n) {
    classify_labels l = {0};
    muga_error err = {0};
    for (size_t i = 0; i < n; i++)
        assert_ok(classify_labels_add(&l, span_of_string(names[i]), span_of("", 0), &err), &err);
    assert_ok(classify_labels_check(&l, &err), &err);
    return l;
}

static classifier *make_classifier(llm *m, const classify_labels *labels) {
    classifier *c = NULL;
    muga_error err = {0};
    const classify_form form = {.listed = true};
    assert_ok(classifier_new(m, labels, &form, &c, &err), &err);
    return c;
}

/* ---- a scripted model: the first three scores are those of texts that say nothing ---- */

static const char *const three[] = {"red", "green", "blue"};

/* `n` answers after the prior's; answer i favours label i % 3 by `size` nats. */
static llm *make_script(size_t n, double size) {
    llm *m = NULL;
    muga_error err = {0};
    json_t *script = json_array();
    for (size_t i = 0; i < 3; i++)
        json_array_append_new(script, json_pack("{s:[f,f,f]}", "scores", -1.0, -2.0, -9.0));
    for (size_t i = 0; i < n; i++) {
        double z[3] = {-1, -2, -9};
        z[i % 3] += size;
        json_array_append_new(script, json_pack("{s:[f,f,f]}", "scores", z[0], z[1], z[2]));
    }
    assert_ok(llm_scripted_new(script, &m, &err), &err);
    json_decref(script);
    return m;
}

static classify_answer answer(classifier *c) {
    classify_answer a;
    muga_error err = {0};
    assert_ok(classifier_answer(c, span_of_string("a text"), &a, &err), &err);
    return a;
}

static void the_prior_is_taken_off(void **state) {
    (void)state;
    classify_labels labels = make_labels(three, 3);
    llm *m = make_script(6, 2);
    classifier *c = make_classifier(m, &labels);
    for (uint32_t i = 0; i < 3; i++) {
        classify_answer a = answer(c);
        assert_int_equal(a.best, i);
        assert_true(fabs(a.p[i] - exp(2) / (exp(2) + 2)) < 1e-12);
        assert_false(a.abstained);
    }
    classifier_set_raw(c, true);
    assert_int_equal(answer(c).best, 0);
    assert_int_equal(answer(c).best, 1); /* 0 against -1 */
    assert_int_equal(answer(c).best, 0); /* the favourite, against -7 */
    classifier_free(c);
    llm_free(m);
    classify_labels_release(&labels);
}

static void the_prompt_has_instruction_labels_and_text_once(void **state) {
    (void)state;
    classify_labels labels = {0};
    muga_error err = {0};
    assert_ok(classify_labels_add(&labels, span_of_string("r"), span_of_string("the colour red"), &err), &err);
    assert_ok(classify_labels_add(&labels, span_of_string("g"), span_of("", 0), &err), &err);
    assert_ok(classify_labels_check(&labels, &err), &err);
    llm *m = NULL;
    json_t *script = parse("[{\"scores\":[0,0]},{\"scores\":[0,0]},{\"scores\":[0,0]},{\"scores\":[0,1]}]");
    assert_ok(llm_scripted_new(script, &m, &err), &err);
    classifier *c = NULL;
    const classify_form form = {.instruction = "Which?", .listed = true};
    assert_ok(classifier_new(m, &labels, &form, &c, &err), &err);
    answer(c);
    const json_t *q = json_array_get(llm_scripted_requests(m), 3);
    json_t *expected = parse("{\"messages\":[{\"role\":\"user\",\"content\":\"Which?\\n- the colour red\\n- g\\n\\n"
                             "Text: a text\"}],\"tools\":null,\"prefix\":null,\"labels\":[\"the colour red\",\"g\"]}");
    assert_true(json_equal(json_object_get(q, "messages"), json_object_get(expected, "messages")));
    assert_true(json_equal(json_object_get(q, "labels"), json_object_get(expected, "labels")));
    json_decref(expected);
    json_decref(script);
    classifier_free(c);
    llm_free(m);
    classify_labels_release(&labels);
}

/* ---- calibration ---- */

enum { EXAMPLES = 60 };

static void fit(classifier *c, size_t n, uint32_t shift, classify_fit *f) {
    classify_example e[EXAMPLES];
    muga_error err = {0};
    for (size_t i = 0; i < n; i++)
        e[i] = (classify_example){span_of_string("x"), (uint32_t)(i + shift) % 3, i + 1};
    e[n - 1].label = CLASSIFY_NONE;
    assert_ok(classifier_fit(c, e, n, NULL, NULL, f, &err), &err);
}

static void examples_fit_and_what_was_fitted_is_kept(void **state) {
    (void)state;
    classify_labels labels = make_labels(three, 3);
    llm *m = make_script(EXAMPLES + 3, 2), *other = make_script(3, 2);
    classifier *c = make_classifier(m, &labels), *again = make_classifier(other, &labels);
    classify_fit f;
    muga_error err = {0};
    json_t *v = NULL;
    risk_choice r;
    assert_status(classifier_write(c, &v, &err), MUGA_E_USAGE, &err, "nothing was fitted");
    assert_status(classifier_set_risk(c, 0.1, &r, &err), MUGA_E_USAGE, &err, "without examples");
    fit(c, EXAMPLES, 0, &f);
    assert_int_equal(f.n, EXAMPLES - 1);
    assert_int_equal(f.n_none, 1);
    assert_true(f.right == 1 && f.nll < f.nll_before);
    assert_ok(classifier_write(c, &v, &err), &err);
    str text = STR_INIT;
    json_write(v, &text);
    json_decref(v);
    v = parse(str_get(&text));
    str_release(&text);
    assert_ok(classifier_read(again, v, &err), &err);
    double p[3];
    memcpy(p, answer(c).p, sizeof p); /* favours red by 2 nats */
    answer(again);                    /* says nothing: the prior is read, so this is the other script's first line */
    answer(again);
    answer(again);
    assert_memory_equal(p, answer(again).p, sizeof p);
    assert_ok(classifier_set_risk(c, 0.2, &r, &err), &err);
    assert_int_equal(r.n, EXAMPLES);
    risk_choice s;
    assert_ok(classifier_set_risk(again, 0.2, &s, &err), &err);
    assert_memory_equal(&r, &s, sizeof r);
    json_decref(v);
    classifier_free(c);
    classifier_free(again);
    llm_free(m);
    llm_free(other);
    classify_labels_release(&labels);
}

/* Scores that say the wrong label each time: the fit turns them round. */
static void a_fit_follows_the_examples_not_the_model(void **state) {
    (void)state;
    classify_labels labels = make_labels(three, 3);
    llm *m = make_script(EXAMPLES + 3, 2);
    classifier *c = make_classifier(m, &labels);
    classify_fit f;
    fit(c, EXAMPLES, 1, &f);
    classify_answer a = answer(c);
    assert_true(a.p[0] < 0.34);
    assert_true(f.nll < f.nll_before);
    classifier_free(c);
    llm_free(m);
    classify_labels_release(&labels);
}

static void the_unsure_is_left_without_a_label(void **state) {
    (void)state;
    classify_labels labels = make_labels(three, 3);
    muga_error err = {0};
    llm *m = NULL;
    json_t *script = json_array();
    for (size_t i = 0; i < 3; i++)
        json_array_append_new(script, json_pack("{s:[f,f,f]}", "scores", 0.0, 0.0, 0.0));
    for (size_t i = 0; i < EXAMPLES; i++) /* a third of them clear and right, the others say nothing */
        json_array_append_new(script, json_pack("{s:[f,f,f]}", "scores", i % 3 == 0 ? 9.0 : 0.0, 0.0, 0.0));
    json_array_append_new(script, json_pack("{s:[f,f,f]}", "scores", 9.0, 0.0, 0.0));
    json_array_append_new(script, json_pack("{s:[f,f,f]}", "scores", 0.0, 0.0, 0.0));
    assert_ok(llm_scripted_new(script, &m, &err), &err);
    classifier *c = make_classifier(m, &labels);
    classify_fit f;
    risk_choice r;
    fit(c, EXAMPLES, 0, &f);
    assert_status(classifier_set_risk(c, 0.01, &r, &err), MUGA_E_INPUT, &err, "can't be shown");
    assert_ok(classifier_set_risk(c, 0.3, &r, &err), &err);
    assert_true(r.n_kept >= 15 && r.n_kept < 30);
    assert_false(answer(c).abstained);
    assert_true(answer(c).abstained);
    json_decref(script);
    classifier_free(c);
    llm_free(m);
    classify_labels_release(&labels);
}

static void a_calibration_of_something_else_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *edit, *says; /* JSON merged over a good calibration */
    } cases[] = {
        {"{\"muga_calibration\":2}", "no calibration of version 1"},
        {"{\"model\":{\"sha256\":\"beef\"}}", "another model: sha256 is \"beef\" there, \"scripted\" here"},
        {"{\"model\":null}", "another model"},
        {"{\"labels\":[\"red\",\"green\"]}", "for 2 labels, not 3"},
        {"{\"labels\":[\"red\",\"blue\",\"green\"]}", "number 2 of its labels is \"blue\", not \"green\""},
        {"{\"words\":[\"red\",\"green\",1]}", "number 3 of its words is \"(none)\""},
        {"{\"instruction\":\"What?\"}", "its instruction is \"What?\""},
        {"{\"listed\":false}", "doesn't list the labels"},
        {"{\"prior\":[1,2]}", "\"prior\" is not 3 numbers"},
        {"{\"weight\":[1,1e300]}", "\"weight\" is not 2 numbers"},
        {"{\"bias\":[1,2,\"3\"]}", "\"bias\" is not 3 numbers"},
        {"{\"judged\":{}}", "\"judged\" has no list"},
        {"{\"judged\":{\"confidence\":[2],\"right\":[true]}}", "example 1 is not a probability"},
        {"{\"judged\":{\"confidence\":[1],\"right\":[1]}}", "example 1 is not a probability"},
    };
    classify_labels labels = make_labels(three, 3);
    llm *m = make_script(EXAMPLES, 2);
    classifier *c = make_classifier(m, &labels);
    classify_fit f;
    muga_error err = {0};
    json_t *good = NULL;
    fit(c, EXAMPLES, 0, &f);
    assert_ok(classifier_write(c, &good, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *v = json_deep_copy(good), *edit = parse(cases[i].edit);
        json_object_update(v, edit);
        assert_status(classifier_read(c, v, &err), MUGA_E_INPUT, &err, cases[i].says);
        json_decref(v);
        json_decref(edit);
    }
    json_t *v = parse("[1, 2]");
    assert_status(classifier_read(c, v, &err), MUGA_E_INPUT, &err, "no calibration");
    json_decref(v);
    json_decref(good);
    classifier_free(c);
    llm_free(m);
    classify_labels_release(&labels);
}

static void too_few_examples_are_refused(void **state) {
    (void)state;
    classify_labels labels = make_labels(three, 3);
    llm *m = make_script(2, 2);
    classifier *c = make_classifier(m, &labels);
    classify_example e[] = {{span_of_string("x"), 1, 1}, {span_of_string("y"), CLASSIFY_NONE, 2}};
    classify_fit f;
    muga_error err = {0};
    assert_status(classifier_fit(c, e, 0, NULL, NULL, &f, &err), MUGA_E_INPUT, &err, "0 examples with a label");
    assert_status(classifier_fit(c, e, 2, NULL, NULL, &f, &err), MUGA_E_INPUT, &err, "1 examples with a label");
    e[1].label = 0;
    e[1].text = span_of_string("");
    assert_status(classifier_fit(c, e, 2, NULL, NULL, &f, &err), MUGA_E_INPUT, &err, "line 2: the text is empty");
    classifier_free(c);
    llm_free(m);
    classify_labels_release(&labels);
}

/* ---- labels ---- */

static void labels_that_make_no_choice_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *p;
        size_t n;
        const char *says;
    } bad[] = {{"", 0, "is empty"},
               {"a\0b", 3, "U+0000 at byte 1"},
               {"\xff", 1, "not UTF-8"},
               {"a\nb", 3, "U+000A"},
               {"\xed\xa0\x80", 3, "not UTF-8"},
               {"\x1b[2J", 4, "U+001B"},
               {"\xc2\x9b", 2, "U+009B"},
               {"\xef\xbf\xbf", 3, "U+FFFF"},
               {"\xe2\x80\xa8", 3, "U+2028"},
               {"-", 1, "stands for no label"}};
    classify_labels l = {0};
    muga_error err = {0};
    char *long_one = mem_alloc_array(CLASSIFY_MAX_LABEL_BYTES + 2, 1);
    assert_non_null(long_one);
    memset(long_one, 'a', CLASSIFY_MAX_LABEL_BYTES + 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_status(classify_labels_add(&l, span_of(bad[i].p, bad[i].n), span_of("", 0), &err), MUGA_E_INPUT, &err,
                      bad[i].says);
    assert_status(classify_labels_add(&l, span_of_string(long_one), span_of("", 0), &err), MUGA_E_LIMIT, &err,
                  "1001 bytes");
    assert_status(classify_labels_add(&l, span_of_string("x"), span_of("\xff", 1), &err), MUGA_E_INPUT, &err,
                  "wording is not UTF-8");
    free(long_one);
    assert_status(classify_labels_check(&l, &err), MUGA_E_INPUT, &err, "there are no labels");
    assert_ok(classify_labels_add(&l, span_of_string("one"), span_of("", 0), &err), &err);
    assert_status(classify_labels_check(&l, &err), MUGA_E_INPUT, &err, "one label");
    assert_ok(classify_labels_add(&l, span_of_string("on"), span_of("", 0), &err), &err); /* its beginning */
    assert_ok(classify_labels_check(&l, &err), &err);
    assert_ok(classify_labels_add(&l, span_of_string("two"), span_of_string("one"), &err), &err);
    assert_status(classify_labels_check(&l, &err), MUGA_E_INPUT, &err, "labels 1 and 3 have the same wording");
    classify_labels_release(&l);
    assert_ok(classify_labels_add(&l, span_of_string("a"), span_of_string("b"), &err), &err);
    assert_ok(classify_labels_add(&l, span_of_string("a"), span_of_string("c"), &err), &err);
    assert_status(classify_labels_check(&l, &err), MUGA_E_INPUT, &err, "labels 1 and 2 have the same name");
    classify_labels_release(&l);
}

static void ten_thousand_labels_are_found_by_name_and_one_more_is_refused(void **state) {
    (void)state;
    classify_labels l = {0};
    muga_error err = {0};
    char name[16];
    for (size_t i = 0; i < CLASSIFY_MAX_LABELS; i++) {
        snprintf(name, sizeof name, "label %zu", i);
        assert_ok(classify_labels_add(&l, span_of_string(name), span_of("", 0), &err), &err);
    }
    assert_status(classify_labels_add(&l, span_of_string("more"), span_of("", 0), &err), MUGA_E_LIMIT, &err, "10000");
    assert_ok(classify_labels_check(&l, &err), &err);
    for (uint32_t i = 0; i < CLASSIFY_MAX_LABELS; i += 7) {
        snprintf(name, sizeof name, "label %u", i);
        assert_int_equal(classify_labels_find(&l, span_of_string(name)), i);
    }
    assert_int_equal(classify_labels_find(&l, span_of_string("label")), CLASSIFY_NONE);
    assert_int_equal(classify_labels_find(&l, span_of_string("label 10000")), CLASSIFY_NONE);
    assert_int_equal(classify_labels_find(&l, span_of("label 1\0", 8)), CLASSIFY_NONE);
    classify_labels_release(&l);
}

/* ---- a real model, small ---- */

static llm *open_tiny(uint32_t n_ctx) {
    llm *m = NULL;
    muga_error err = {0};
    const llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = n_ctx};
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err), &err);
    return m;
}

static void hostile_texts_and_prefixes(void **state) {
    (void)state;
    static const char *const names[] = {"a", "ab", "abc", "abc d"};
    classify_labels labels = make_labels(names, 4);
    llm *m = open_tiny(256);
    classifier *c = make_classifier(m, &labels);
    classify_answer a;
    muga_error err = {0};
    char long_text[4000];
    memset(long_text, 'x', sizeof long_text);
    assert_status(classifier_answer(c, span_of("", 0), &a, &err), MUGA_E_INPUT, &err, "the text is empty");
    assert_status(classifier_answer(c, span_of("a\xff", 2), &a, &err), MUGA_E_INPUT, &err, "not UTF-8");
    assert_status(classifier_answer(c, span_of(long_text, sizeof long_text), &a, &err), MUGA_E_LIMIT, &err,
                  "more than the context of 256");
    assert_ok(classifier_answer(c, span_of("a\0b <|im_end|>", 14), &a, &err), &err);
    double sum = 0;
    for (size_t i = 0; i < 4; i++)
        sum += a.p[i];
    assert_true(fabs(sum - 1) < 1e-12);
    classifier_free(c);
    llm_free(m);
    classify_labels_release(&labels);
}

static void a_calibration_names_the_model_it_is_of(void **state) {
    (void)state;
    classify_labels labels = make_labels(three, 3);
    llm *m = open_tiny(512), *scripted = make_script(3, 1);
    classifier *c = make_classifier(m, &labels), *other = make_classifier(scripted, &labels);
    const classify_example e[] = {{span_of_string("rouge"), 0, 1}, {span_of_string("bleu"), 2, 2}};
    classify_fit f;
    muga_error err = {0};
    json_t *v = NULL;
    assert_ok(classifier_fit(c, e, 2, NULL, NULL, &f, &err), &err);
    assert_ok(classifier_write(c, &v, &err), &err);
    assert_int_equal(strlen(json_get_string(json_object_get(v, "model"), "sha256")), 64);
    assert_ok(classifier_read(c, v, &err), &err);
    assert_status(classifier_read(other, v, &err), MUGA_E_INPUT, &err, "it is of another model: sha256 is");
    json_decref(v);
    classifier_free(c);
    classifier_free(other);
    llm_free(m);
    llm_free(scripted);
    classify_labels_release(&labels);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prior_is_taken_off),
        cmocka_unit_test(the_prompt_has_instruction_labels_and_text_once),
        cmocka_unit_test(examples_fit_and_what_was_fitted_is_kept),
        cmocka_unit_test(a_fit_follows_the_examples_not_the_model),
        cmocka_unit_test(the_unsure_is_left_without_a_label),
        cmocka_unit_test(a_calibration_of_something_else_is_refused_by_name),
        cmocka_unit_test(too_few_examples_are_refused),
        cmocka_unit_test(labels_that_make_no_choice_are_refused),
        cmocka_unit_test(ten_thousand_labels_are_found_by_name_and_one_more_is_refused),
        cmocka_unit_test(hostile_texts_and_prefixes),
        cmocka_unit_test(a_calibration_names_the_model_it_is_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
