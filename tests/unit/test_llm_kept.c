/* What was computed of a conversation is kept between its turns, as far as the limit goes. If this failed, each turn
 * would read its whole session again although there is room; or a limit would be passed, or would change an answer.
 * Counted in tokens and pages. */
#include "support/llm_fixture.h"

#include "base/mem.h"
#include "llm/llm.h"

#include <string.h>

#define PAGE 64 /* tokens */
#define SESSIONS 4
#define TURNS 3

static void add(json_t *messages, const char *role, const char *content) {
    assert_int_equal(json_array_append_new(messages, json_pack("{s:s, s:s}", "role", role, "content", content)), 0);
}

/* Each session of its own, and longer than two pages. */
static json_t *begin(int session) {
    str text = STR_INIT;
    json_t *messages = json_array();
    assert_non_null(messages);
    for (int i = 0; i < 12; i++) {
        str_printf(&text, "%c: rule %d of session %d says no. ", 'A' + session, i, session);
    }
    add(messages, "system", str_get(&text));
    str_release(&text);
    return messages;
}

typedef struct played {
    char *said[SESSIONS][TURNS];
    uint32_t n_prompt[SESSIONS][TURNS], n_cached[SESSIONS][TURNS];
    llm_counts kept;
} played;

/* Turn by turn, each session in its turn. */
static void play(llm *m, played *p) {
    json_t *all[SESSIONS];
    for (int s = 0; s < SESSIONS; s++) {
        all[s] = begin(s);
    }
    for (int t = 0; t < TURNS; t++) {
        for (int s = 0; s < SESSIONS; s++) {
            muga_error err = {0};
            llm_reply r;
            add(all[s], "user", t == 0 ? "where is it" : t == 1 ? "and the other" : "thanks");
            const llm_request q = {
                .messages = all[s], .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 12, .tenant = "shop"};
            assert_ok(llm_complete(m, &q, &r, &err), &err);
            p->said[s][t] = mem_copy_string(str_get(&r.text));
            p->n_prompt[s][t] = r.n_prompt;
            p->n_cached[s][t] = r.n_prompt_cached;
            add(all[s], "assistant", p->said[s][t]);
            llm_reply_release(&r);
            p->kept = llm_get_counts(m);
            assert_true(p->kept.kv_idle_bytes <= p->kept.kv_max_bytes);
        }
    }
    for (int s = 0; s < SESSIONS; s++) {
        json_decref(all[s]);
    }
}

static void release(played *p) {
    for (int s = 0; s < SESSIONS; s++) {
        for (int t = 0; t < TURNS; t++) {
            free(p->said[s][t]);
        }
    }
}

static uint64_t n_taken(const played *p) {
    uint64_t n = 0;
    for (int s = 0; s < SESSIONS; s++) {
        for (int t = 0; t < TURNS; t++) {
            n += p->n_cached[s][t];
        }
    }
    return n;
}

static void pages_survive_between_turns_within_the_limit(void **state) {
    (void)state;
    played roomy = {0}, tight = {0};
    llm *m = open_tiny_with((llm_local_options){.kv_bytes = 0});
    play(m, &roomy);
    llm_free(m);
    for (int s = 0; s < SESSIONS; s++) {
        assert_true(roomy.n_cached[s][0] < PAGE); /* the form's first words */
        for (int t = 1; t < TURNS; t++) {
            assert_true(roomy.n_cached[s][t] >= roomy.n_prompt[s][t - 1]);
        }
    }
    assert_int_equal(roomy.kept.kv_evicted, 0);
    assert_int_equal(roomy.kept.kv_taken, n_taken(&roomy));
    /* Room for one of the four to work with; a quarter of it is for what nobody uses. */
    uint64_t pages = roomy.n_prompt[1][TURNS - 1] / PAGE + 2;
    m = open_tiny_with((llm_local_options){.kv_bytes = pages * roomy.kept.kv_page_bytes});
    play(m, &tight);
    llm_free(m);
    assert_int_equal(tight.kept.kv_max_bytes, pages * roomy.kept.kv_page_bytes);
    assert_true(tight.kept.kv_idle_bytes <= tight.kept.kv_max_bytes / 4);
    assert_true(tight.kept.kv_evicted > 0);
    assert_int_equal(tight.kept.kv_taken, n_taken(&tight));
    assert_true(n_taken(&tight) < n_taken(&roomy)); /* what was given up is computed anew, */
    for (int s = 0; s < SESSIONS; s++) {
        for (int t = 0; t < TURNS; t++) { /* and nobody can tell by what is said */
            assert_string_equal(tight.said[s][t], roomy.said[s][t]);
            assert_int_equal(tight.n_prompt[s][t], roomy.n_prompt[s][t]);
        }
    }
    release(&tight);
    release(&roomy);
}

/* Where the share that is kept has room for one session, the one that goes on has its pages still. */
static void the_session_that_goes_on_keeps_its_pages(void **state) {
    (void)state;
    uint32_t n_before = 0;
    llm *m = open_tiny_with((llm_local_options){.kv_bytes = 0});
    llm_counts kept;
    kept = llm_get_counts(m);
    llm_free(m);
    m = open_tiny_with((llm_local_options){.kv_bytes = 40 * kept.kv_page_bytes});
    json_t *one = begin(0);
    for (int t = 0; t < TURNS; t++) {
        muga_error err = {0};
        llm_reply r;
        add(one, "user", "go on");
        const llm_request q = {.messages = one, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 12};
        assert_ok(llm_complete(m, &q, &r, &err), &err);
        assert_true(t == 0 || r.n_prompt_cached >= n_before);
        n_before = r.n_prompt;
        add(one, "assistant", str_get(&r.text));
        llm_reply_release(&r);
    }
    kept = llm_get_counts(m);
    assert_int_equal(kept.kv_evicted, 0);
    json_decref(one);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pages_survive_between_turns_within_the_limit),
                                       cmocka_unit_test(the_session_that_goes_on_keeps_its_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
