/* If this fails, a server can't rely on what it asks of a model: a client that left keeps its place, raw prompts are
 * read otherwise than as the model's own tokenizer reads them, a bias makes a schema impossible, or evidence of such a
 * request doesn't replay. */
#include "support/llm_fixture.h"

#include "base/mem.h"
#include "llm/local.h"
#include "os/os.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

static llm_request request_with_ids(const json_t *messages) {
    llm_request q = request_of(messages);
    q.want_ids = true;
    return q;
}

static void assert_refused(llm *m, const llm_request *q, muga_status st, const char *part) {
    llm_reply r;
    muga_error err = {0};
    assert_status(llm_complete(m, q, &r, &err), st, &err, part);
}

static void assert_replays(llm *m, const llm_reply *r) {
    muga_error err = {0};
    assert_ok(llm_replay(m, r->evidence, &err), &err);
}

/* ---- cancelling by a flag ---- */

typedef struct watcher watcher;
struct watcher {
    atomic_bool flag;
    uint32_t n_prompt, n_text, set_at;
    local *l;
    watcher *other;
    pthread_t thread;
};

static bool set_in_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    watcher *w = ctx;
    (void)n_done;
    (void)n_prompt;
    w->n_prompt++;
    atomic_store(&w->flag, true);
    return true;
}

static bool set_in_text(void *ctx, const char *p, size_t n) {
    watcher *w = ctx;
    (void)p;
    (void)n;
    if (++w->n_text == w->set_at)
        atomic_store(&w->flag, true);
    return true;
}

static json_t *long_message(void) {
    str text = STR_INIT;
    for (int i = 0; i < 90; i++)
        str_printf(&text, "order %d is late. ", i);
    json_t *v = one_message(str_get(&text));
    str_release(&text);
    return v;
}

static void a_flag_ends_a_prompt_between_two_steps(void **state) {
    (void)state;
    llm *m = open_tiny();
    watcher w = {.n_prompt = 0};
    json_t *messages = long_message();
    llm_request q = request_with_ids(messages);
    q.cancelled = &w.flag;
    q.on_prompt = set_in_prompt;
    q.on_prompt_ctx = &w;
    assert_refused(m, &q, MUGA_E_CANCELLED, "interrupted");
    assert_int_equal(w.n_prompt, 1);
    assert_refused(m, &q, MUGA_E_CANCELLED, "interrupted"); /* set before: nothing begins */
    assert_int_equal(w.n_prompt, 1);
    assert_int_equal(engine_get_kv_counts(((local *)m)->engine).in_use, 0);
    json_decref(messages);
    llm_free(m);
}

static void a_flag_ends_an_answer_and_its_evidence_replays(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *messages = one_message("where is my order?");
    llm_request q = request_with_ids(messages);
    q.sampling.seed = 3;
    llm_reply whole = complete(m, &q);
    for (uint32_t at = 1; at < 8; at++) {
        watcher w = {.set_at = at};
        q.cancelled = &w.flag;
        q.on_text = set_in_text;
        q.on_text_ctx = &w;
        llm_reply r = complete(m, &q);
        assert_int_equal(r.finish, LLM_FINISH_CANCELLED);
        assert_true(r.n_ids > 0 && r.n_ids < whole.n_ids);
        assert_memory_equal(r.ids, whole.ids, r.n_ids * sizeof *r.ids);
        assert_memory_equal(str_get(&r.text), str_get(&whole.text), r.text.len);
        assert_int_equal(json_get_int(r.evidence, "cancelled_at", 0), (int)r.n_ids);
        assert_replays(m, &r);
        llm_reply_release(&r);
    }
    q.regex = "(abcabc){40}[a-z]{30}"; /* forced text stands before the prompt is read */
    q.max_tokens = 0;
    watcher w = {.set_at = 1};
    q.cancelled = &w.flag;
    q.on_text_ctx = &w;
    llm_reply r = complete(m, &q);
    assert_int_equal(r.finish, LLM_FINISH_CANCELLED);
    assert_replays(m, &r);
    llm_reply_release(&r);
    llm_reply_release(&whole);
    json_decref(messages);
    llm_free(m);
}

static void *ask_and_leave(void *ctx) {
    watcher *w = ctx;
    json_t *messages = one_message("hello");
    llm_request q = request_with_ids(messages);
    q.cancelled = &w->flag;
    q.on_prompt = set_in_prompt;
    q.on_prompt_ctx = w;
    assert_refused(&w->l->base, &q, MUGA_E_CANCELLED, "interrupted");
    json_decref(messages);
    return NULL;
}

/* Holds a step until another request has come, whose owner leaves then. */
static bool wait_for_another(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    watcher *w = ctx;
    struct timespec ms = {0, 1000000};
    (void)n_prompt;
    if (n_done > 0 || atomic_load(&w->other->flag))
        return true;
    assert_int_equal(pthread_create(&w->other->thread, NULL, ask_and_leave, w->other), 0);
    while (sched_get_counts(w->l->shared->sched).n_waiting == 0)
        nanosleep(&ms, NULL);
    atomic_store(&w->other->flag, true);
    return true;
}

static void who_waits_while_another_computes_leaves_before_the_next_step(void **state) {
    (void)state;
    llm *m = open_tiny();
    watcher waits = {.l = (local *)m}, computes = {.l = (local *)m, .other = &waits};
    json_t *messages = one_message("where is my order?");
    llm_request q = request_with_ids(messages);
    q.on_prompt = wait_for_another;
    q.on_prompt_ctx = &computes;
    llm_reply r = complete(m, &q);
    pthread_join(waits.thread, NULL);
    assert_int_equal(waits.n_prompt, 0);
    llm_reply_release(&r);
    json_decref(messages);
    llm_free(m);
}

/* ---- many ---- */

enum { N_CALLERS = 500, N_KINDS = 10 };

typedef struct caller {
    llm *m;
    json_t *messages;
    uint32_t kind;
    llm_reply reply;
    pthread_t thread;
} caller;

static llm_request request_of_kind(const caller *c) {
    llm_request q = request_with_ids(c->messages);
    q.max_tokens = 6;
    q.sampling.seed = c->kind;
    q.priority = (int)c->kind % 3;
    q.want_evidence = false;
    return q;
}

static void *call(void *ctx) {
    caller *c = ctx;
    llm_request q = request_of_kind(c);
    c->reply = complete(c->m, &q);
    return NULL;
}

static void five_hundred_at_once_get_what_each_gets_alone(void **state) {
    (void)state;
    llm *m = open_tiny(), *alone = open_tiny();
    caller *c = mem_alloc_array(N_CALLERS, sizeof *c);
    json_t *messages[N_KINDS];
    llm_reply want[N_KINDS];
    for (uint32_t k = 0; k < N_KINDS; k++) {
        messages[k] = one_message(k % 2 ? "where is my order?" : "hello");
        caller one = {.messages = messages[k], .kind = k};
        llm_request q = request_of_kind(&one);
        want[k] = complete(alone, &q);
    }
    for (uint32_t i = 0; i < N_CALLERS; i++) {
        c[i] = (caller){.m = m, .messages = json_deep_copy(messages[i % N_KINDS]), .kind = i % N_KINDS};
        assert_int_equal(pthread_create(&c[i].thread, NULL, call, &c[i]), 0);
    }
    for (uint32_t i = 0; i < N_CALLERS; i++) {
        pthread_join(c[i].thread, NULL);
        const llm_reply *w = &want[c[i].kind];
        assert_int_equal(c[i].reply.n_ids, w->n_ids);
        assert_memory_equal(c[i].reply.ids, w->ids, w->n_ids * sizeof *w->ids);
        assert_string_equal(str_get(&c[i].reply.text), str_get(&w->text));
        llm_reply_release(&c[i].reply);
        json_decref(c[i].messages);
    }
    for (uint32_t k = 0; k < N_KINDS; k++) {
        json_decref(messages[k]);
        llm_reply_release(&want[k]);
    }
    free(c);
    llm_free(alone);
    llm_free(m);
}

static void a_priority_has_a_range(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *messages = one_message("hello");
    llm_request q = request_with_ids(messages);
    q.priority = LLM_MAX_PRIORITY + 1;
    assert_refused(m, &q, MUGA_E_USAGE, "-100 to 100");
    json_decref(messages);
    llm_free(m);
}

/* ---- raw prompts ---- */

static void assert_prompt(llm *m, const llm_request *q, const token_list *want) {
    llm_reply r = complete(m, q);
    assert_int_equal(r.n_prompt, want->n);
    assert_memory_equal(r.prompt_ids, want->ids, want->n * sizeof *want->ids);
    assert_replays(m, &r);
    llm_reply_release(&r);
}

static void a_raw_prompt_is_the_text_and_no_template(void **state) {
    (void)state;
    llm *m = open_tiny();
    const tokenizer *t = engine_tokenizer(((local *)m)->engine);
    static const char text[] = "orders<|im_end|> are late";
    muga_error err = {0};
    for (int special = 0; special < 2; special++) {
        token_list want = TOKEN_LIST_INIT;
        assert_ok(tokenizer_encode(t, text, strlen(text), (tokenizer_flags){.parse_special = special}, &want, &err),
                  &err);
        llm_request q = request_with_ids(NULL);
        q.prompt_text = span_of_string(text);
        q.prompt_special = special;
        assert_prompt(m, &q, &want);
        q.prompt_text = (span){0}; /* the same as ids */
        q.prompt_ids = want.ids;
        q.n_prompt_ids = want.n;
        assert_prompt(m, &q, &want);
        token_list_release(&want);
    }
    llm_free(m);
}

static void ids_stand_before_text_and_messages(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *first = one_message("hello"), *second = one_message("where is my order?");
    llm_request q = request_with_ids(first);
    llm_reply r = complete(m, &q);
    token_list context = TOKEN_LIST_INIT;
    for (uint32_t i = 0; i < r.n_prompt + r.n_ids; i++)
        assert_true(token_list_push(&context, i < r.n_prompt ? r.prompt_ids[i] : r.ids[i - r.n_prompt]));
    llm_request plain = request_with_ids(second);
    llm_reply alone = complete(m, &plain);
    q.messages = second;
    q.prompt_ids = context.ids;
    q.n_prompt_ids = context.n;
    llm_reply both = complete(m, &q);
    assert_int_equal(both.n_prompt, context.n + alone.n_prompt);
    assert_memory_equal(both.prompt_ids, context.ids, context.n * sizeof *context.ids);
    assert_memory_equal(both.prompt_ids + context.n, alone.prompt_ids, alone.n_prompt * sizeof *alone.prompt_ids);
    assert_replays(m, &both);
    llm_reply_release(&both);
    llm_reply_release(&alone);
    llm_reply_release(&r);
    token_list_release(&context);
    json_decref(first);
    json_decref(second);
    llm_free(m);
}

static void what_is_no_raw_prompt_is_refused(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *messages = one_message("hello");
    const int32_t ids[] = {5, 1 << 20}, negative[] = {-1};
    llm_request q = request_with_ids(NULL);
    assert_refused(m, &q, MUGA_E_INPUT, "at least one message");
    q.prompt_ids = ids;
    q.n_prompt_ids = 2;
    assert_refused(m, &q, MUGA_E_INPUT, "token 1 of the prompt is 1048576");
    q.prompt_ids = negative;
    q.n_prompt_ids = 1;
    assert_refused(m, &q, MUGA_E_INPUT, "token 0 of the prompt is -1");
    q.n_prompt_ids = 0;
    q.prompt_text = span_of_string("\xff");
    assert_refused(m, &q, MUGA_E_INPUT, "not UTF-8");
    q.prompt_text = span_of_string("");
    assert_refused(m, &q, MUGA_E_INPUT, "no tokens");
    q.prompt_text = span_of_string("hello");
    q.prefix = "x";
    assert_refused(m, &q, MUGA_E_USAGE, "raw prompt");
    q.prefix = NULL;
    q.split = true;
    assert_refused(m, &q, MUGA_E_USAGE, "raw prompt");
    q.split = false;
    q.messages = messages;
    assert_refused(m, &q, MUGA_E_USAGE, "raw prompt");
    json_decref(messages);
    llm_free(m);
}

/* ---- biases ---- */

static void a_bias_moves_choices_and_replays(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *messages = one_message("where is my order?");
    llm_request q = request_with_ids(messages);
    q.sampling.temperature = 0;
    llm_reply plain = complete(m, &q);
    llm_bias bias[] = {{plain.ids[0], -100.0f}, {300, 100.0f}};
    q.logit_bias = bias;
    q.n_logit_bias = 1;
    llm_reply r = complete(m, &q);
    for (size_t i = 0; i < r.n_ids; i++)
        assert_int_not_equal(r.ids[i], plain.ids[0]);
    assert_replays(m, &r);
    llm_reply_release(&r);
    q.n_logit_bias = 2;
    r = complete(m, &q);
    assert_int_equal(r.ids[0], 300);
    assert_replays(m, &r);
    assert_int_equal(json_object_del(json_object_get(r.evidence, "request"), "logit_bias"), 0);
    muga_error err = {0};
    assert_status(llm_replay(m, r.evidence, &err), MUGA_E_NEGATIVE, &err, "output_ids");
    llm_reply_release(&r);
    bias[0].bias = -100.5f;
    assert_refused(m, &q, MUGA_E_USAGE, "-100 to 100");
    bias[0] = (llm_bias){1 << 20, 1};
    assert_refused(m, &q, MUGA_E_USAGE, "token 1048576");
    llm_reply_release(&plain);
    json_decref(messages);
    llm_free(m);
}

static void a_constraint_wins_over_biases(void **state) {
    (void)state;
    llm *m = open_tiny();
    const tokenizer *t = engine_tokenizer(((local *)m)->engine);
    json_t *messages = one_message("where is my order?");
    llm_bias bias[LLM_MAX_BIAS];
    size_t n = 0;
    for (int32_t id = 0; id < tokenizer_count(t) && n < LLM_MAX_BIAS; id++) {
        span piece = tokenizer_piece(t, id); /* all that such an answer could be made of */
        bool letters = piece.n > 0;
        for (size_t i = 0; i < piece.n; i++)
            letters = letters && (piece.p[i] == 'x' || piece.p[i] == 'y');
        if (letters)
            bias[n++] = (llm_bias){id, -100.0f};
    }
    assert_true(n >= 2);
    for (int greedy = 0; greedy < 2; greedy++) {
        llm_request q = request_with_ids(messages);
        q.regex = "[xy]{5}";
        q.sampling.temperature = greedy ? 0.0f : 1.0f;
        q.logit_bias = bias;
        q.n_logit_bias = n;
        llm_reply r = complete(m, &q);
        assert_int_equal(r.text.len, 5);
        assert_int_equal(strspn(str_get(&r.text), "xy"), 5);
        assert_replays(m, &r);
        llm_reply_release(&r);
    }
    json_decref(messages);
    llm_free(m);
}

static void settings_of_sampling_replay(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *messages = one_message("where is my order?");
    llm_request q = request_with_ids(messages);
    q.sampling.typical_p = 0.4f;
    q.sampling.repeat_penalty = 1.3f;
    q.sampling.penalty_last_n = LLM_PENALTY_ALL;
    llm_reply r = complete(m, &q);
    assert_replays(m, &r);
    q.sampling.penalty_last_n = 1024; /* the context */
    llm_reply same = complete(m, &q);
    assert_int_equal(same.n_ids, r.n_ids);
    assert_memory_equal(same.ids, r.ids, r.n_ids * sizeof *r.ids);
    q.sampling.typical_p = 1.5f;
    assert_refused(m, &q, MUGA_E_USAGE, "typical_p");
    llm_reply_release(&same);
    llm_reply_release(&r);
    json_decref(messages);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_ends_a_prompt_between_two_steps),
        cmocka_unit_test(a_flag_ends_an_answer_and_its_evidence_replays),
        cmocka_unit_test(who_waits_while_another_computes_leaves_before_the_next_step),
        cmocka_unit_test(five_hundred_at_once_get_what_each_gets_alone),
        cmocka_unit_test(a_priority_has_a_range),
        cmocka_unit_test(a_raw_prompt_is_the_text_and_no_template),
        cmocka_unit_test(ids_stand_before_text_and_messages),
        cmocka_unit_test(what_is_no_raw_prompt_is_refused),
        cmocka_unit_test(a_bias_moves_choices_and_replays),
        cmocka_unit_test(a_constraint_wins_over_biases),
        cmocka_unit_test(settings_of_sampling_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
