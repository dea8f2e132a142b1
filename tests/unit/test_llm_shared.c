/* Prompts that begin alike are computed once: two conversations under one preamble, a conversation's next turn, and a
 * question that is scored before it is answered. If this failed, every agent and every turn would read all of its
 * prompt again. Counted in tokens. */
#include "support/llm_fixture.h"

#include "llm/llm.h"
#include "os/os.h"

#include <stdio.h>

#define PAGE 64 /* tokens */

static void add(json_t *messages, const char *role, const char *content) {
    assert_int_equal(json_array_append_new(messages, json_pack("{s:s, s:s}", "role", role, "content", content)), 0);
}

/* A system message of some hundred tokens. */
static json_t *preamble(void) {
    str text = STR_INIT;
    json_t *messages = json_array();
    assert_non_null(messages);
    for (int i = 0; i < 24; i++) {
        str_printf(&text, "Rule %d: look up order %d before you answer. ", i, 100 + i);
    }
    add(messages, "system", str_get(&text));
    str_release(&text);
    return messages;
}

/* The answer's prompt: its tokens, and those of them that were there already. */
static void ask(llm *m, const json_t *messages, uint32_t *n_prompt, uint32_t *n_cached) {
    muga_error err = {0};
    llm_reply r = {0};
    const llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 4};
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    *n_prompt = r.n_prompt;
    *n_cached = r.n_prompt_cached;
    llm_reply_release(&r);
}

/* All of the preamble but its last page at most, and not all of the prompt. */
static void assert_shared(uint32_t cached, uint32_t n_alone, uint32_t n_prompt) {
    if (cached + PAGE < n_alone || cached >= n_prompt) {
        fail_msg("%u of a prompt of %u were there, %u of it a preamble", cached, n_prompt, n_alone);
    }
}

static void what_begins_alike_is_read_once(void **state) {
    (void)state;
    llm *m = open_tiny_with((llm_local_options){.n_ctx = 2048});
    json_t *alone = preamble(), *a = preamble(), *b = preamble();
    uint32_t n_alone, n, cached;
    muga_error err = {0};
    assert_ok(llm_count(m, alone, NULL, &n_alone, &err), &err);
    assert_true(n_alone > 2 * PAGE);
    add(a, "user", "where is my order");
    add(b, "user", "reset my password");
    ask(m, a, &n, &cached);
    assert_int_equal(cached, 0);
    ask(m, b, &n, &cached); /* another conversation */
    assert_shared(cached, n_alone, n);
    add(a, "assistant", "It has been shipped, and will be with you on Friday.");
    add(a, "user", "and the other one");
    ask(m, a, &n, &cached); /* the first one's next turn */
    assert_shared(cached, n_alone, n);
    json_decref(alone);
    json_decref(a);
    json_decref(b);
    llm_free(m);
}

static void a_question_is_scored_and_answered_over_one_prefix(void **state) {
    (void)state;
    llm *m = open_tiny_with((llm_local_options){.n_ctx = 2048});
    json_t *a = preamble();
    static const char *const labels[] = {"order", "password"};
    const llm_score_request q = {.messages = a, .labels = labels, .n_labels = 2, .with_end = true};
    llm_score_reply r = {0};
    muga_error err = {0};
    uint32_t n_alone, n, cached;
    assert_ok(llm_count(m, a, NULL, &n_alone, &err), &err);
    add(a, "user", "where is my order");
    assert_ok(llm_score(m, &q, &r, &err), &err);
    assert_int_equal(r.n_prompt_cached, 0);
    ask(m, a, &n, &cached);
    assert_int_equal(n, r.n_prompt);
    assert_shared(cached, n_alone, n);
    llm_score_reply_release(&r);
    assert_ok(llm_score(m, &q, &r, &err), &err); /* and the other way round */
    assert_shared(r.n_prompt_cached, n_alone, n);
    llm_score_reply_release(&r);
    json_decref(a);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_begins_alike_is_read_once),
                                       cmocka_unit_test(a_question_is_scored_and_answered_over_one_prefix)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
