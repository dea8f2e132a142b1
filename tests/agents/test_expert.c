/* An agent's expert: the adapter that reads its messages. If this failed, an agent would ask its adapter for what it
 * was not trained on, lose one of two requests, act on what is unlikely, or take weights for fitted that are not. */
#include "agent/expert_fit.h"
#include "agents/loop_fixture.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXPERT "  expert: {instruction: Sort., mask: '#', together: 2, logprob: 1, votes: 0, sure: 0.6}\n"

/* The answers, in this order: order, latest, lucky, reset, person, hello, order reset, latest lucky, latest reset,
 * lucky reset. */
#define SCORES(order, latest, lucky, reset, person, hello, order_reset)                                                \
    "{\"scores\": [" #order ", " #latest ", " #lucky ", " #reset ", " #person ", " #hello ", " #order_reset            \
    ", -50, -50, -50]}"

static void open_expert(loop_fixture *x, const char *name, const char *config, const char *script) {
    muga_error err;
    str text = STR_INIT;
    json_t *list = NULL, *values = fixture_json("{'customer': 1}");
    str_printf(&text, "%s%s", loop_manifest, config);
    fixture_open(&x->f, name, str_get(&text));
    fixture_write(&x->f, "examples.jsonl", loop_examples);
    assert_ok(intent_new(&x->f.env, x->f.m, &x->intent, &err), &err);
    assert_ok(json_parse(script, strlen(script), "script", &list, &err), &err);
    assert_ok(llm_scripted_new(list, &x->model, &err), &err);
    x->model->has_adapter = true;
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    json_decref(list);
    json_decref(values);
    str_release(&text);
    loop_begin(x);
}

static void it_reads_the_message_alone_with_numbers_masked(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    open_expert(&x, "reads", EXPERT, "[" SCORES(-0.1, -9, -9, -9, -9, -9, -9) "]");
    loop_say(&x, "where is a-10001?", TURN_ANSWER, "Order A10001 is shipped.");
    const json_t *asked = json_array_get(llm_scripted_requests(x.model), 0);
    json_t *messages =
        fixture_json("[{'role': 'system', 'content': 'Sort.'}, {'role': 'user', 'content': 'where is #?'}]");
    json_t *answers = fixture_json("['order', 'latest', 'lucky', 'reset', 'person', 'hello', 'order reset',"
                                   " 'latest lucky', 'latest reset', 'lucky reset']");
    assert_true(json_equal(json_object_get(asked, "messages"), messages));
    assert_true(json_equal(json_object_get(asked, "labels"), answers));
    json_decref(messages);
    json_decref(answers);
    loop_close(&x);
}

static void two_requests_are_one_answer_and_each_finds_its_clause(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    turn_result r;
    muga_error err;
    const char *text = "I forgot my password. where is my order A10001";
    open_expert(&x, "both", EXPERT, "[" SCORES(-3, -9, -9, -3, -9, -9, -0.2) "]");
    assert_ok(loop_turn(x.loop, text, strlen(text), &r, &err), &err);
    assert_int_equal(r.outcome, TURN_HELD); /* the password came first */
    assert_ok(approval_decide(&x.f.env, x.f.store, x.f.m, r.approval, true, "test", &err), &err);
    turn_result_release(&r);
    assert_ok(loop_resume(x.loop, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "Done. Order A10001 is shipped.");
    turn_result_release(&r);
    loop_close(&x);
}

static void what_is_acted_on_alike_counts_together(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    /* order and lucky look up an order: 0.35 + 0.3 against 0.35 for the password, which no label of its own beats. */
    open_expert(&x, "alike", EXPERT, "[" SCORES(-1.04, -50, -1.2, -1.03, -50, -50, -50) "]");
    loop_say(&x, "A10001", TURN_ANSWER, "Order A10001 is shipped.");
    loop_close(&x);
}

static void what_it_is_not_sure_of_is_asked_about(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    open_expert(&x, "unsure", EXPERT,
                "[" SCORES(-9, -9, -9, -0.7, -0.7, -9, -9) ", " SCORES(-9, -9, -9, -0.7, -0.7, -9, -9) "]");
    loop_say(&x, "reset a human", TURN_ASK, "Order or password?");
    loop_say(&x, "reset a human", TURN_ESCALATE, "A colleague will help.");
    loop_close(&x);
}

static void in_doubt_it_hands_over_where_that_is_likelier_than_not(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    open_expert(&x, "likelier", EXPERT, "[" SCORES(-9, -9, -9, -0.8, -0.6, -9, -9) "]");
    loop_say(&x, "reset a human", TURN_ESCALATE, "A colleague takes over.");
    loop_close(&x);
}

#define DOUBTFUL_ORDER "{\"scores\": [-0.4, -9, -9, -1.5, -9, -9]}"
#define PLAIN_ORDER "{\"scores\": [-0.01, -9, -9, -9, -9, -9]}"
#define DOUBTFUL_RESET "{\"scores\": [-9, -9, -9, -0.4, -1.5, -9]}"

static void in_doubt_it_reads_and_asks_back_but_never_writes(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    const char *config = "  expert: {instruction: Sort., mask: '#', sure: 0.9, doubt: Is that it?}\n";
    const char *script = "[" DOUBTFUL_ORDER ", " PLAIN_ORDER ", " DOUBTFUL_RESET "]";
    open_expert(&x, "doubt", config, script);
    loop_say(&x, "A10001", TURN_ANSWER, "Order A10001 is shipped. Is that it?");
    turn_result r;
    muga_error err;
    assert_ok(loop_turn(x.loop, "A10001", 6, &r, &err), &err);
    assert_string_equal(str_get(&r.text), "Order A10001 is shipped.");
    turn_result_release(&r);
    loop_say(&x, "pw", TURN_ASK, "Order or password?");
    assert_int_equal(fixture_count(x.f.shop_path, "SELECT count(*) FROM resets"), 0);
    loop_close(&x);
}

static void votes_count_by_their_weight(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    const char *config = "  expert: {instruction: Sort., together: 2, logprob: 0.1, votes: 9, sure: 0.5}\n";
    open_expert(&x, "votes", config, "[" SCORES(-1, -2, -2, -2, -2, -2, -2) "]");
    loop_say(&x, "let me talk to a human", TURN_ESCALATE, "A colleague takes over.");
    loop_close(&x);
}

static void without_an_adapter_it_is_not_asked(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    open_expert(&x, "without", EXPERT, "[]");
    x.model->has_adapter = false;
    loop_say(&x, "let me talk to a human", TURN_ESCALATE, "A colleague takes over.");
    assert_int_equal(json_array_size(llm_scripted_requests(x.model)), 0);
    loop_close(&x);
}

static void a_wrong_declaration_is_refused_by_line(void **state) {
    (void)state;
    static const struct {
        const char *config, *says;
    } wrong[] = {{"  expert: {mask: '#'}\n", "instruction"},
                 {"  expert: {instruction: Sort., together: 4}\n", "together"},
                 {"  expert: {instruction: Sort., sure: 2}\n", "sure"},
                 {"  expert: {instruction: Sort., weight: 1}\n", "weight"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        agent_fixture f;
        intent *x = NULL;
        muga_error err = {0};
        char name[16];
        str text = STR_INIT;
        snprintf(name, sizeof name, "wrong%zu", i);
        str_printf(&text, "%s%s", loop_manifest, wrong[i].config);
        fixture_open(&f, name, str_get(&text));
        fixture_write(&f, "examples.jsonl", loop_examples);
        assert_int_equal(intent_new(&f.env, f.m, &x, &err), MUGA_E_INPUT);
        if (!strstr(err.message, wrong[i].says) || !strstr(err.message, "agent.yaml:")) {
            fail_msg("%s: %s", wrong[i].config, err.message);
        }
        str_release(&text);
        fixture_close(&f);
    }
}

/* ---- fitting ---- */

#define LINE(text, label) "{\"text\": \"" text "\", \"labels\": [\"" label "\"]}\n"

static const char fit_lines[] = LINE("aa", "order") LINE("bb", "reset") LINE("cc", "person") LINE("dd", "hello");
/* Right and sure, right and sure, right and less so, wrong and least so. */
#define SURE_ORDER SCORES(-0.1, -5, -5, -5, -5, -5, -9)
#define SURE_RESET SCORES(-5, -5, -5, -0.1, -5, -5, -9)
#define PERSON SCORES(-4, -4, -4, -4, -0.4, -4, -9)
#define NOT_HELLO SCORES(-3, -3, -3, -1, -3, -1.2, -9)
static const char fit_script[] = "[" SURE_ORDER ", " SURE_RESET ", " PERSON ", " NOT_HELLO "]";

static void a_fit_says_what_is_right_and_where_it_is_sure(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    expert_fit f;
    muga_error err;
    open_expert(&x, "fit", EXPERT, fit_script);
    const expert_fit_request q = {
        .x = x.intent, .model = x.model, .text = fit_lines, .n = strlen(fit_lines), .what = "lines", .risk = 0.1};
    assert_ok(expert_fit_new(&q, &f, &err), &err);
    assert_int_equal(f.n, 4);
    assert_int_equal(f.by_adapter, 3);
    assert_true(f.weight[0] > 1); /* what was right was likelier than it said */
    assert_true(isfinite(f.weight[1]));
    assert_int_equal(f.by_both, 3);
    assert_true(f.sure <= f.cases[2].confidence && f.sure > f.cases[3].confidence);
    assert_false(f.cases[3].right);
    expert_fit_release(&f);
    loop_close(&x);
}

static void what_can_not_be_fitted_is_refused(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    expert_fit f;
    muga_error err;
    const char *bad = LINE("aa", "order") LINE("bb", "nonsense");
    open_expert(&x, "misfit", EXPERT, fit_script);
    expert_fit_request q = {
        .x = x.intent, .model = x.model, .text = bad, .n = strlen(bad), .what = "lines", .risk = 0.1};
    assert_int_equal(expert_fit_new(&q, &f, &err), MUGA_E_INPUT);
    assert_non_null(strstr(err.message, "lines:2: label nonsense"));
    q.text = "\n";
    q.n = 1;
    assert_int_equal(expert_fit_new(&q, &f, &err), MUGA_E_INPUT);
    x.model->has_adapter = false;
    assert_int_equal(expert_fit_new(&q, &f, &err), MUGA_E_INPUT);
    assert_non_null(strstr(err.message, "without an adapter"));
    loop_close(&x);
    loop_open(&x, "undeclared", "[]");
    q.x = x.intent;
    q.model = x.model;
    assert_int_equal(expert_fit_new(&q, &f, &err), MUGA_E_INPUT);
    assert_non_null(strstr(err.message, "intent.expert is missing"));
    loop_close(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_reads_the_message_alone_with_numbers_masked),
                                       cmocka_unit_test(two_requests_are_one_answer_and_each_finds_its_clause),
                                       cmocka_unit_test(what_is_acted_on_alike_counts_together),
                                       cmocka_unit_test(what_it_is_not_sure_of_is_asked_about),
                                       cmocka_unit_test(in_doubt_it_hands_over_where_that_is_likelier_than_not),
                                       cmocka_unit_test(in_doubt_it_reads_and_asks_back_but_never_writes),
                                       cmocka_unit_test(votes_count_by_their_weight),
                                       cmocka_unit_test(without_an_adapter_it_is_not_asked),
                                       cmocka_unit_test(a_wrong_declaration_is_refused_by_line),
                                       cmocka_unit_test(a_fit_says_what_is_right_and_where_it_is_sure),
                                       cmocka_unit_test(what_can_not_be_fitted_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
