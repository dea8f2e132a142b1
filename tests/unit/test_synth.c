/* If this fails, a training message says another order number than its call has, one that lacks the number holds it all
 * the same, the same wording comes twice, a task of the evaluation gets into the training data, a grammar with a fault
 * is taken, or a model's answer becomes a line unchecked. */
#include "support/synth_agent.h"

#include "agent/phrases.h"
#include "agent/synth_ask.h"
#include "agent/wording.h"
#include "base/mem.h"

static agent_env env;
static manifest *m;
static intent *x;

static int open_agent(void **state) {
    (void)state;
    env = agent_env_system();
    synth_agent_open(&env, &m, &x);
    return 0;
}

static int close_agent(void **state) {
    (void)state;
    intent_free(x);
    manifest_free(m);
    return 0;
}

static json_t *by;

static synth *open_synth(synth_target target, double near) {
    muga_error err = {0};
    synth *s = NULL;
    by = by ? by : json_pack("{s:s}", "model", "big");
    const synth_options o = {target, near, 1, by};
    assert_ok(synth_new(&env, m, x, &o, &s, &err), &err);
    return s;
}

static synth_verdict add(synth *s, size_t label, const char *text, bool missing, const json_t *values, json_t **line) {
    muga_error err = {0};
    synth_verdict v;
    json_t *mine = NULL;
    synth_message q = {.labels = {label}, .n_labels = 1, .text = text, .n = strlen(text), .missing = missing};
    q.values = values;
    assert_ok(synth_add(s, &q, &mine, &v, &err), &err);
    assert_int_equal(mine != NULL, v == SYNTH_NEW);
    if (line)
        *line = mine;
    else
        json_decref(mine);
    return v;
}

static const json_t *message(const json_t *line, size_t i) {
    return json_array_get(json_object_get(line, "messages"), i);
}

/* ---- lines ---- */

static void an_argument_is_the_number_that_the_text_says(void **state) {
    (void)state;
    synth *s = open_synth(SYNTH_CALLS, 2);
    bool otherwise = false;
    char text[64];
    for (int i = 0; i < 200; i++) {
        json_t *line = NULL, *arguments = NULL;
        muga_error err = {0};
        snprintf(text, sizeof text, "word%c%c where is {order_id} please", 'a' + i % 26, 'a' + i / 26);
        assert_int_equal(add(s, ORDER, text, false, NULL, &line), SYNTH_NEW);
        const char *said = json_get_string(message(line, 1), "content");
        const json_t *call = json_array_get(json_object_get(message(line, 2), "tool_calls"), 0);
        const char *given = json_get_string(json_object_get(call, "function"), "arguments");
        assert_ok(json_parse(given, strlen(given), "arguments", &arguments, &err), &err);
        const char *id = json_get_string(arguments, "order_id");
        assert_non_null(strstr(said, id + 1)); /* its digits */
        otherwise = otherwise || !strstr(said, id);
        json_decref(arguments);
        json_decref(line);
    }
    assert_true(otherwise); /* not only as it is */
    synth_free(s);
}

static void two_numbers_are_two_calls(void **state) {
    (void)state;
    json_t *line = NULL;
    synth *s = open_synth(SYNTH_CALLS, 2);
    assert_int_equal(add(s, ORDER, "where are {order_id} and {order_id2}", false, NULL, &line), SYNTH_NEW);
    assert_int_equal(json_array_size(json_object_get(message(line, 2), "tool_calls")), 2);
    json_decref(line);
    assert_int_equal(add(s, ORDER, "only {order_id2} here", false, NULL, NULL), SYNTH_UNFIT);
    synth_free(s);
}

static void what_is_missing_is_asked_for(void **state) {
    (void)state;
    json_t *line = NULL;
    synth *s = open_synth(SYNTH_CALLS, 2);
    assert_int_equal(add(s, ORDER, "where is my parcel", true, NULL, &line), SYNTH_NEW);
    assert_string_equal(json_get_string(message(line, 2), "content"), "Which number?");
    assert_null(json_object_get(message(line, 2), "tool_calls"));
    json_decref(line);
    assert_int_equal(add(s, ORDER, "my parcel 12345 is late", true, NULL, NULL), SYNTH_UNFIT);
    assert_int_equal(add(s, ORDER, "my parcel {order_id} is late", true, NULL, NULL), SYNTH_UNFIT);
    synth_free(s);
}

static void slots_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "no number here", "it is {order_id} or {order_id}", "{order_id} {other}", "{order_id} and 54321",
        "{order_id",      "order_id} {order_id}",           "{} {order_id}",      ""};
    synth *s = open_synth(SYNTH_CALLS, 2);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(add(s, ORDER, bad[i], false, NULL, NULL), SYNTH_UNFIT);
    assert_int_equal(synth_n_verdicts(s, SYNTH_UNFIT), ARRAY_LEN(bad));
    assert_int_equal(synth_n_lines(s), 0);
    synth_free(s);
}

static void a_value_that_the_writer_chose_must_be_said(void **state) {
    (void)state;
    json_t *values = json_pack("{s:s}", "note", "ring twice"), *line = NULL;
    synth *s = open_synth(SYNTH_CALLS, 2);
    assert_int_equal(add(s, NOTE, "tell them to knock", false, values, NULL), SYNTH_UNFIT);
    assert_int_equal(add(s, NOTE, "the note is: ring twice", false, NULL, NULL), SYNTH_UNFIT);
    assert_int_equal(add(s, NOTE, "the note is: ring twice", false, values, &line), SYNTH_NEW);
    const json_t *call = json_array_get(json_object_get(message(line, 2), "tool_calls"), 0);
    assert_string_equal(json_get_string(json_object_get(call, "function"), "arguments"), "{\"note\":\"ring twice\"}");
    json_decref(line);
    json_decref(values);
    synth_free(s);
}

static void what_is_handed_over_and_what_is_said(void **state) {
    (void)state;
    json_t *line = NULL;
    synth *s = open_synth(SYNTH_CALLS, 2);
    assert_int_equal(add(s, ANGRY, "the lamp from {order_id} is in pieces", false, NULL, &line), SYNTH_NEW);
    const json_t *call = json_array_get(json_object_get(message(line, 2), "tool_calls"), 0);
    assert_string_equal(json_get_string(json_object_get(call, "function"), "name"), "hand_over");
    assert_string_equal(json_get_string(json_object_get(line, "by"), "model"), "big");
    assert_int_equal(json_array_size(json_object_get(line, "tools")), 3);
    json_decref(line);
    assert_int_equal(add(s, THANKS, "much obliged", false, NULL, &line), SYNTH_NEW);
    assert_string_equal(json_get_string(message(line, 2), "content"), "You are welcome.");
    json_decref(line);
    synth_free(s);
}

static void labels_are_learned_under_the_loops_own_instruction(void **state) {
    (void)state;
    json_t *line = NULL;
    synth *s = open_synth(SYNTH_LABEL, 2);
    assert_int_equal(add(s, THANKS, "much obliged", false, NULL, &line), SYNTH_NEW);
    assert_string_equal(json_get_string(message(line, 0), "content"), "Sort the message.");
    assert_string_equal(json_get_string(message(line, 2), "content"), "thanks");
    json_decref(line);
    synth_free(s);
}

static void wording_comes_once_and_never_from_the_evaluation(void **state) {
    (void)state;
    synth *s = open_synth(SYNTH_TEXT, 0.8);
    assert_int_equal(synth_n_tasks(s), 3);
    assert_int_equal(add(s, ORDER, "where has {order_id} got to, my friends?", false, NULL, NULL), SYNTH_NEW);
    assert_int_equal(add(s, ORDER, "Where has {order_id} got to my friends", false, NULL, NULL), SYNTH_SAME);
    assert_int_equal(add(s, ORDER, "where has {order_id} got to, my dear friends?", false, NULL, NULL), SYNTH_NEAR);
    assert_int_equal(add(s, ORDER, "Tell me how far along {order_id} is today!", false, NULL, NULL), SYNTH_OF_TASK);
    assert_int_equal(add(s, ORDER, "please tell me how far along {order_id} is today", false, NULL, NULL),
                     SYNTH_OF_TASK);
    assert_int_equal(add(s, ANGRY, "i want a refund", false, NULL, NULL), SYNTH_OF_TASK);
    assert_int_equal(add(s, ANGRY, "no no no no no no no no no no no no no no", false, NULL, NULL), SYNTH_UNFIT);
    synth_free(s);
}

static void an_earlier_run_counts(void **state) {
    (void)state;
    muga_error err = {0};
    int64_t request = 0;
    synth *s = open_synth(SYNTH_CALLS, 0.8);
    json_t *line =
        json_loads("{\"messages\":[{\"role\":\"user\",\"content\":\"much obliged\"}],\"labels\":[\"thanks\"],"
                   "\"request\":7}",
                   0, NULL);
    assert_ok(synth_recall(s, line, &request, &err), &err);
    assert_int_equal(request, 7);
    assert_int_equal(synth_n_of(s, THANKS), 1);
    assert_int_equal(add(s, THANKS, "Much obliged!", false, NULL, NULL), SYNTH_SAME);
    json_object_del(line, "request");
    assert_status(synth_recall(s, line, &request, &err), MUGA_E_INPUT, &err, "not a line");
    json_object_set_new(line, "labels", json_pack("[s]", "other"));
    assert_status(synth_recall(s, line, &request, &err), MUGA_E_INPUT, &err, "label");
    json_decref(line);
    synth_free(s);
}

/* ---- a model ---- */

static muga_status note(void *ctx, const json_t *line, muga_error *err) {
    (void)err;
    (void)json_array_append(ctx, (json_t *)(uintptr_t)line);
    return MUGA_OK;
}

static synth_ask_result ask(synth *s, const char *script, synth_ask_options o, muga_status expected, json_t *lines) {
    muga_error err = {0};
    llm *model = NULL;
    synth_ask_result got;
    json_t *v = json_loads(script, 0, NULL);
    assert_non_null(v);
    assert_ok(llm_scripted_new(v, &model, &err), &err);
    o.per_request = o.per_request ? o.per_request : 2;
    muga_status st = synth_ask(s, m, x, model, 3, &o, note, lines, &got, &err);
    if (st != expected)
        fail_msg("status %d: %s", st, err.message);
    const json_t *asked = json_array_get(llm_scripted_requests(model), 0);
    if (!st && asked) {
        const json_t *user = json_array_get(json_object_get(asked, "messages"), 1);
        assert_null(strstr(json_get_string(user, "content"), "A55555"));
    }
    json_decref(v);
    llm_free(model);
    return got;
}

/* The beginning of a script: two texts. */
#define ANSWER(a, b) "[{\"text\":\"{\\\"messages\\\":[{\\\"text\\\":\\\"" a "\\\"},{\\\"text\\\":\\\"" b "\\\"}]}\"}"

static void a_model_writes_texts_and_no_more(void **state) {
    (void)state;
    const size_t only[] = {THANKS};
    synth *s = open_synth(SYNTH_CALLS, 2);
    json_t *lines = json_array();
    synth_ask_result got = ask(s, ANSWER("ever so kind of you", "cheers mate") "]",
                               (synth_ask_options){.only = only, .n_only = 1}, MUGA_OK, lines);
    assert_int_equal(got.n_texts, 2);
    assert_int_equal(got.n_new, 2);
    assert_int_equal(json_array_size(lines), 2);
    assert_int_equal(json_get_int(json_array_get(lines, 0), "request", -1), 3);
    assert_non_null(json_get_string(json_array_get(lines, 0), "voice"));
    json_decref(lines);
    synth_free(s);
}

static void an_answer_of_another_form_is_no_line(void **state) {
    (void)state;
    const size_t only[] = {THANKS};
    synth *s = open_synth(SYNTH_CALLS, 2);
    json_t *lines = json_array();
    ask(s, "[{\"text\":\"hello\"}]", (synth_ask_options){.only = only, .n_only = 1}, MUGA_E_INPUT, lines);
    assert_int_equal(json_array_size(lines), 0);
    json_decref(lines);
    synth_free(s);
}

static void a_check_drops_what_the_model_itself_takes_for_another_label(void **state) {
    (void)state;
    const size_t only[] = {THANKS};
    synth *s = open_synth(SYNTH_CALLS, 2);
    json_t *lines = json_array();
    synth_ask_result got =
        ask(s,
            ANSWER("ever so kind of you",
                   "my lamp broke") ","
                                    "{\"text\":\"{\\\"labels\\\":[\\\"thanks\\\",\\\"angry\\\"]}\"}]",
            (synth_ask_options){.only = only, .n_only = 1, .check = true}, MUGA_OK, lines);
    assert_int_equal(got.n_doubted, 1);
    assert_int_equal(json_array_size(lines), 1);
    json_decref(lines);
    synth_free(s);
}

static void labels_with_few_lines_come_more_often(void **state) {
    (void)state;
    const size_t only[] = {THANKS, ANGRY};
    int n_angry = 0;
    for (int i = 0; i < 40; i++) {
        synth *s = open_synth(SYNTH_CALLS, 2);
        json_t *lines = json_array();
        add(s, THANKS, "much obliged", false, NULL, NULL);
        ask(s, ANSWER("my lamp broke", "it stinks") "]",
            (synth_ask_options){.only = only, .n_only = 2, .seed = (uint64_t)i}, MUGA_OK, lines);
        n_angry += synth_n_of(s, ANGRY) > 0;
        json_decref(lines);
        synth_free(s);
    }
    assert_in_range(n_angry, 22, 39); /* three of four in the mean */
}

/* ---- grammars ---- */

static muga_status read_grammar(const char *text, phrases **g, muga_error *err) {
    return phrases_read(text, strlen(text), "g.yaml", g, err);
}

static void alternatives_rules_and_slots_are_drawn(void **state) {
    (void)state;
    muga_error err = {0};
    phrases *g = NULL;
    bool seen[4] = {false};
    assert_ok(read_grammar("version: 1\nrules: {who: [ann, {text: bob, weight: 3}]}\n"
                           "messages: [{labels: [a], text: '<who>  (is|(was|) ) {slot} \\<x\\> .'}]\n",
                           &g, &err),
              &err);
    rng r = {1};
    for (int i = 0; i < 200; i++) {
        str out = STR_INIT;
        assert_ok(phrases_draw(g, phrases_choose(g, &r), &r, &out, &err), &err);
        const char *t = str_get(&out);
        assert_true(strncmp(t, "ann ", 4) == 0 || strncmp(t, "bob ", 4) == 0);
        assert_string_equal(t + out.len - 12, " {slot} <x>.");
        seen[0] = seen[0] || *t == 'a';
        seen[1] = seen[1] || strstr(t, " is ");
        seen[2] = seen[2] || strstr(t, " was ");
        seen[3] = seen[3] || strlen(t) == 4 + 11;
        str_release(&out);
    }
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        assert_true(seen[i]);
    phrases_free(g);
}

static void noise_leaves_slots_alone(void **state) {
    (void)state;
    muga_error err = {0};
    phrases *g = NULL;
    assert_ok(read_grammar("version: 1\nmessages: [{labels: [a], text: \"Don't lose {Order_id} Order_id please.\"}]\n"
                           "paraphrase: [{from: order_id, to: it, chance: 1}]\n"
                           "noise: {small: 1, no_end: 1, no_apostrophes: 1, typos: 1}\n",
                           &g, &err),
              &err);
    rng r = {1};
    for (int i = 0; i < 100; i++) {
        str out = STR_INIT;
        assert_ok(phrases_draw(g, 0, &r, &out, &err), &err);
        assert_non_null(strstr(str_get(&out), " {Order_id} it "));
        assert_null(strchr(str_get(&out), '\''));
        assert_true(str_get(&out)[out.len - 1] != '.');
        str_release(&out);
    }
    phrases_free(g);
}

static void faults_of_a_grammar_are_named_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"version: 1\nmessages: []\n", "g.yaml:2"},
        {"version: 1\nmessages:\n  - {labels: [a], text: '<who>'}\n",
         "g.yaml:3:19: key messages[0].text: there is no rule who"},
        {"version: 1\nrules:\n  a: '<b>'\n  b: 'x <a>'\nmessages: [{labels: [a], text: y}]\n", "leads back to itself"},
        {"version: 1\nmessages:\n  - {labels: [a], text: '(a|b'}\n", "a '(' without ')'"},
        {"version: 1\nmessages:\n  - {labels: [a], text: 'a)'}\n", "a ')' without '('"},
        {"version: 1\nmessages:\n  - {labels: [a], text: 'a|b'}\n", "outside of ( )"},
        {"version: 1\nmessages:\n  - {labels: [a], text: '{x'}\n", "a '{' without"},
        {"version: 1\nmessages:\n  - {labels: [a], text: '<x'}\n", "there is no rule"},
        {"version: 1\nmessages:\n  - {labels: [a], text: 'a <'}\n", "there is no rule"},
        {"version: 1\nmessages:\n  - {labels: [a], text: 'a\\'}\n", "ends with a backslash"},
        {"version: 1\nmessages:\n  - {labels: [a], txt: 'a'}\n", "txt"},
        {"version: 1\nnoise: {typos: 3}\nmessages: [{labels: [a], text: y}]\n", "g.yaml:2"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err = {0};
        phrases *g = NULL;
        assert_status(read_grammar(cases[i].text, &g, &err), MUGA_E_INPUT, &err, cases[i].says);
        assert_null(g);
    }
}

static void a_text_that_grows_past_its_limit_is_refused(void **state) {
    (void)state;
    muga_error err = {0};
    phrases *g = NULL;
    str out = STR_INIT;
    rng r = {1};
    assert_ok(read_grammar("version: 1\nrules: {a: aaaaaaaaaa, b: <a><a><a><a><a><a><a><a><a><a>,\n"
                           "  c: <b><b><b><b><b><b><b><b><b><b>, d: <c><c><c><c><c><c><c><c><c><c>}\n"
                           "messages: [{labels: [a], text: <d>}]\n",
                           &g, &err),
              &err);
    assert_status(phrases_draw(g, 0, &r, &out, &err), MUGA_E_LIMIT, &err, "drawn");
    str_release(&out);
    phrases_free(g);
}

/* ---- wording ---- */

static double likeness(const char *a, const char *b, bool *same) {
    muga_error err = {0};
    wording_set *s = NULL;
    wording w;
    assert_ok(wording_set_new(&s, &err), &err);
    assert_ok(wording_of(a, strlen(a), &w, &err), &err);
    assert_ok(wording_set_add(s, &w, &err), &err);
    wording_release(&w);
    assert_ok(wording_of(b, strlen(b), &w, &err), &err);
    wording_match found = wording_set_find(s, &w);
    wording_release(&w);
    wording_set_free(s);
    *same = found.is_same;
    return found.likeness;
}

static void words_are_what_is_compared(void **state) {
    (void)state;
    bool same;
    assert_true(likeness("Where's A10293?", "wheres {order_id}", &same) == 1 && same);
    assert_true(likeness("it\xE2\x80\x99s here", "ITS, HERE!", &same) == 1 && same);
    assert_true(likeness("a b", "b a", &same) == 2.0 * 2 / 6 && !same);
    assert_true(likeness("a a a", "a", &same) == 2.0 * 1 / 6 && !same);
    assert_true(likeness("one two", "three four", &same) == 0 && !same);
    assert_true(likeness("order # now", "order 55 66 now", &same) == 1 && same);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_argument_is_the_number_that_the_text_says),
        cmocka_unit_test(two_numbers_are_two_calls),
        cmocka_unit_test(what_is_missing_is_asked_for),
        cmocka_unit_test(slots_that_do_not_fit_are_refused),
        cmocka_unit_test(a_value_that_the_writer_chose_must_be_said),
        cmocka_unit_test(what_is_handed_over_and_what_is_said),
        cmocka_unit_test(labels_are_learned_under_the_loops_own_instruction),
        cmocka_unit_test(wording_comes_once_and_never_from_the_evaluation),
        cmocka_unit_test(an_earlier_run_counts),
        cmocka_unit_test(a_model_writes_texts_and_no_more),
        cmocka_unit_test(an_answer_of_another_form_is_no_line),
        cmocka_unit_test(a_check_drops_what_the_model_itself_takes_for_another_label),
        cmocka_unit_test(labels_with_few_lines_come_more_often),
        cmocka_unit_test(alternatives_rules_and_slots_are_drawn),
        cmocka_unit_test(noise_leaves_slots_alone),
        cmocka_unit_test(faults_of_a_grammar_are_named_with_their_line),
        cmocka_unit_test(a_text_that_grows_past_its_limit_is_refused),
        cmocka_unit_test(words_are_what_is_compared),
    };
    int code = cmocka_run_group_tests(tests, open_agent, close_agent);
    json_decref(by);
    return code;
}
