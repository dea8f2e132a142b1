/* If this fails, an answer depends on who else asks the same model at the same time, callers wait for one another
 * instead of sharing steps, one tenant's prompts are told from another's cache, or what was computed before is computed
 * again. */
#include "support/llm_fixture.h"

#include "base/mem.h"
#include "llm/local.h"
#include "os/os.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

static llm *open_drafting(llm_drafts drafts) {
    return open_tiny_with((llm_local_options){.drafts = drafts, .draft_path = source_path("tests/data/tiny.gguf")});
}

static json_t *conversation(const char *system, const char *user) {
    json_t *v =
        json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content", system, "role", "user", "content", user);
    assert_non_null(v);
    return v;
}

/* ---- many callers ---- */

enum { N_THREADS = 5, N_ASKS = 6 };

typedef struct ask {
    json_t *messages;
    llm_request q;
    llm_score_request score;
    uint32_t cancel_after, n_texts; /* 0 = never */
    llm_reply reply;
    llm_score_reply scores;
} ask;

typedef struct caller {
    llm *m;
    ask asks[N_ASKS];
    pthread_t thread;
} caller;

static uint32_t n_called; /* callbacks come one after another, of all callers: it needs no lock */

static bool on_text(void *ctx, const char *p, size_t n) {
    ask *a = ctx;
    (void)p;
    assert_true(n > 0);
    n_called++;
    return ++a->n_texts != a->cancel_after;
}

static bool on_prompt(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    (void)ctx;
    n_called++;
    return n_done < n_prompt;
}

static const char *const labels[] = {"yes", "no", "later today"};

/* Every kind of request, some of whose prompts begin alike. */
static void make_ask(ask *a, int i) {
    static const char *const tenants[] = {NULL, "", "a", "b"};
    char text[80];
    snprintf(text, sizeof text, "%s, order number %d", i % 2 ? "where is it" : "please send it back", i * 7 % 11);
    a->messages = conversation(
        i % 3 ? "You help customers of a shop with their orders, politely and in few words." : "You answer.", text);
    a->q = (llm_request){.messages = a->messages,
                         .sampling = LLM_SAMPLING_GREEDY,
                         .max_tokens = 20 + (uint32_t)i % 7,
                         .want_evidence = true,
                         .tenant = tenants[i % 4]};
    a->q.sampling.temperature = i % 5 ? 1.0f : 0.0f;
    a->q.sampling.seed = (uint64_t)i;
    if (i % 6 == 1)
        a->q.regex = "[a-z]{3,9}( [a-z]{2,4}){2}";
    if (i % 6 == 2)
        a->cancel_after = 3;
    a->score = (llm_score_request){.messages = a->messages,
                                   .labels = labels,
                                   .n_labels = ARRAY_LEN(labels),
                                   .want_evidence = true,
                                   .tenant = tenants[i % 4]};
}

static void answer(llm *m, ask *a, int i) {
    muga_error err = {0};
    uint32_t n_tok = 0;
    a->n_texts = 0;
    a->q.on_text = on_text;
    a->q.on_text_ctx = a;
    a->q.on_prompt = on_prompt;
    assert_ok(llm_complete(m, &a->q, &a->reply, &err), &err);
    if (i % 2) {
        assert_ok(llm_score(m, &a->score, &a->scores, &err), &err);
        assert_ok(llm_count(m, a->messages, NULL, &n_tok, &err), &err);
        assert_int_equal(n_tok, a->reply.n_prompt);
    }
    if (i % 4 == 0)
        assert_ok(llm_replay(m, a->reply.evidence, &err), &err);
}

static void *call(void *ctx) {
    caller *c = ctx;
    for (int i = 0; i < N_ASKS; i++)
        answer(c->m, &c->asks[i], i);
    return NULL;
}

static void assert_as_alone(const ask *a, int k, int i) {
    llm *alone = open_drafting(LLM_DRAFTS_OFF);
    ask want = {0};
    make_ask(&want, k);
    answer(alone, &want, i);
    assert_true(json_equal(want.reply.evidence, a->reply.evidence));
    assert_string_equal(str_get(&want.reply.text), str_get(&a->reply.text));
    assert_int_equal(want.n_texts, a->n_texts);
    assert_true(json_equal(want.scores.evidence, a->scores.evidence) || !want.scores.evidence);
    llm_reply_release(&want.reply);
    llm_score_reply_release(&want.scores);
    json_decref(want.messages);
    llm_free(alone);
}

static void callers_at_the_same_time_answer_as_alone(void **state) {
    (void)state;
    caller *c = mem_alloc_array(N_THREADS, sizeof *c);
    for (int drafts = 0; drafts < 3; drafts += 2) { /* by look-up; by a model that one of them has */
        llm *m = open_drafting((llm_drafts)drafts);
        for (int t = 0; t < N_THREADS; t++) {
            c[t] = (caller){.m = m};
            for (int i = 0; i < N_ASKS; i++)
                make_ask(&c[t].asks[i], t * N_ASKS + i);
            assert_int_equal(pthread_create(&c[t].thread, NULL, call, &c[t]), 0);
        }
        for (int t = 0; t < N_THREADS; t++)
            pthread_join(c[t].thread, NULL);
        for (int t = 0; t < N_THREADS; t++)
            for (int i = 0; i < N_ASKS; i++) {
                ask *a = &c[t].asks[i];
                assert_as_alone(a, t * N_ASKS + i, i);
                llm_reply_release(&a->reply);
                llm_score_reply_release(&a->scores);
                json_decref(a->messages);
            }
        assert_true(n_called > N_THREADS * N_ASKS);
        assert_int_equal(engine_get_kv_counts(((local *)m)->engine).in_use, 0);
        llm_free(m);
    }
    free(c);
}

/* ---- common steps ---- */

typedef struct meeting {
    local *l;
    uint32_t n; /* requests that have to be there */
} meeting;

/* Holds the first step until all have come. */
static bool wait_for_all(void *ctx, uint32_t n_done, uint32_t n_prompt) {
    const meeting *m = ctx;
    struct timespec ms = {0, 1000000};
    (void)n_prompt;
    for (;;) {
        sched_counts n = sched_get_counts(m->l->shared->sched);
        if (n_done > 0 || n.n_waiting + n.n_running + n.n_done >= m->n)
            return true;
        nanosleep(&ms, NULL);
    }
}

static void *ask_once(void *ctx) {
    caller *c = ctx;
    muga_error err = {0};
    assert_ok(llm_complete(c->m, &c->asks[0].q, &c->asks[0].reply, &err), &err);
    return NULL;
}

static void callers_share_their_steps(void **state) {
    (void)state;
    enum { N = 6, N_OUT = 40 };
    llm *m = open_drafting(LLM_DRAFTS_OFF);
    caller *c = mem_alloc_array(N, sizeof *c);
    meeting all = {(local *)m, N};
    for (int t = 0; t < N; t++) {
        c[t].m = m;
        make_ask(&c[t].asks[0], 4);
        c[t].asks[0].q.regex = "[a-z]{200}"; /* all of them to the limit */
        c[t].asks[0].q.max_tokens = 0;
        c[t].asks[0].q.sampling.choice = (uint32_t)t;
        c[t].asks[0].q.on_prompt = wait_for_all;
        c[t].asks[0].q.on_prompt_ctx = &all;
        assert_int_equal(pthread_create(&c[t].thread, NULL, ask_once, &c[t]), 0);
    }
    uint64_t n_most = 0, n_all = 0;
    for (int t = 0; t < N; t++) {
        pthread_join(c[t].thread, NULL);
        n_all += c[t].asks[0].reply.n_generated;
        n_most = MAX(n_most, c[t].asks[0].reply.n_generated);
        llm_reply_release(&c[t].asks[0].reply);
        json_decref(c[t].asks[0].messages);
    }
    sched_counts n = sched_get_counts(((local *)m)->shared->sched);
    assert_true(n_most > N_OUT && n_all > 4 * n_most);
    assert_true(n.n_steps <= n_all / 2); /* how prompts are cut beside answers depends on the time */
    llm_free(m);
    free(c);
}

/* ---- what stays computed ---- */

static uint32_t cached(llm *m, const char *system, const char *user, const char *tenant, uint32_t *n_prompt) {
    json_t *messages = conversation(system, user);
    llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 2, .tenant = tenant};
    llm_reply r = {0};
    muga_error err = {0};
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    uint32_t n = r.n_prompt_cached;
    *n_prompt = r.n_prompt;
    llm_reply_release(&r);
    json_decref(messages);
    return n;
}

static void system_prompts_stay_computed_side_by_side(void **state) {
    (void)state;
    static const char *const systems[] = {
        "You help customers of a shop with their orders, politely and in few words.",
        "Sort each message: is it about an order, about an account or about something else entirely?",
        "Invoices: find the number, the date and the amount, and nothing else.",
        "You keep a calendar. Appointments last half an hour unless somebody says otherwise.",
        "Write the minutes of a meeting from notes. One line a decision, no adjectives.",
        "A glossary: explain one word at a time as to a child of ten years.",
    };
    llm *m = open_drafting(LLM_DRAFTS_NGRAM);
    uint32_t n_first[ARRAY_LEN(systems)], n;
    for (size_t i = 0; i < ARRAY_LEN(systems); i++)
        (void)cached(m, systems[i], "hello", NULL, &n_first[i]);
    for (size_t i = 0; i < ARRAY_LEN(systems); i++) { /* all but what stands after "hello", and that */
        uint32_t n_cached = cached(m, systems[i], "where is my order?", "", &n);
        assert_true(n_cached + 16 > n_first[i]);
        assert_int_equal(cached(m, systems[i], "where is my order?", "", &n), n - 1);
    }
    assert_int_equal(cached(m, systems[0], "where is my order?", "somebody else", &n), 0);
    assert_int_equal(cached(m, systems[0], "where is my order?", "somebody else", &n), n - 1);
    llm_free(m);
}

static void a_tenants_name_has_a_limit(void **state) {
    (void)state;
    llm *m = open_drafting(LLM_DRAFTS_OFF);
    char name[300];
    memset(name, 'x', sizeof name);
    name[256] = 0;
    json_t *messages = conversation("You answer.", "hello");
    llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 2, .tenant = name};
    llm_reply r = {0};
    muga_error err = {0};
    assert_status(llm_complete(m, &q, &r, &err), MUGA_E_USAGE, &err, "255");
    name[255] = 0;
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    llm_reply_release(&r);
    json_decref(messages);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_at_the_same_time_answer_as_alone),
        cmocka_unit_test(callers_share_their_steps),
        cmocka_unit_test(system_prompts_stay_computed_side_by_side),
        cmocka_unit_test(a_tenants_name_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
