/* If this fails, two agents with two experts need their model twice, an answer depends on which other adapters are
 * asked at the same time, or a handle goes and takes what others still use. */
#include "support/support.h"

#include "base/mem.h"
#include "llm/local.h"
#include "llm/meter.h"

#include <pthread.h>
#include <stdio.h>

enum { N_HANDLES = 3, N_ASKS = 6 };

static const char *model_file(void) {
    return source_path("tests/data/tiny.gguf");
}

static llm *open_alone(int i) {
    static char adapter[1024];
    llm *m = NULL;
    muga_error err = {0};
    snprintf(adapter, sizeof adapter, "%s", source_path("tests/data/tiny-adapter.gguf"));
    llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 512};
    if (i > 0) {
        o.adapter = adapter;
        o.adapter_scale = i == 1 ? 1.0f : 0.5f;
    }
    assert_ok(llm_local_open(model_file(), "tiny", &o, &m, &err), &err);
    return m;
}

/* [0] without an adapter, [1] with one, [2] with the same one half as strong: one model. */
static void open_handles(llm *m[N_HANDLES]) {
    static char adapter[1024];
    muga_error err = {0};
    snprintf(adapter, sizeof adapter, "%s", source_path("tests/data/tiny-adapter.gguf"));
    m[0] = open_alone(0);
    assert_ok(llm_local_adapt(m[0], adapter, 1.0f, &m[1], &err), &err);
    assert_ok(llm_local_adapt(m[1], adapter, 0.5f, &m[2], &err), &err);
}

typedef struct caller {
    llm *m;
    pthread_t thread;
    llm_reply reply[N_ASKS];
    llm_score_reply scores[N_ASKS];
} caller;

static json_t *messages_of(int i) {
    char text[80];
    snprintf(text, sizeof text, "%s, order number %d", i % 2 ? "where is it" : "please send it back", i);
    json_t *v = json_pack("[{s:s, s:s}]", "role", "user", "content", text);
    assert_non_null(v);
    return v;
}

static void *call(void *ctx) {
    static const char *const labels[] = {"yes", "no", "later today"};
    caller *c = ctx;
    muga_error err = {0};
    for (int i = 0; i < N_ASKS; i++) {
        json_t *messages = messages_of(i);
        llm_request q = {
            .messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 16, .want_evidence = true};
        llm_score_request s = {
            .messages = messages, .labels = labels, .n_labels = ARRAY_LEN(labels), .want_evidence = true};
        assert_ok(llm_complete(c->m, &q, &c->reply[i], &err), &err);
        assert_ok(llm_score(c->m, &s, &c->scores[i], &err), &err);
        assert_ok(llm_replay(c->m, c->reply[i].evidence, &err), &err);
        json_decref(messages);
    }
    return NULL;
}

static void release(caller *c) {
    for (int i = 0; i < N_ASKS; i++) {
        llm_reply_release(&c->reply[i]);
        llm_score_reply_release(&c->scores[i]);
    }
}

static void handles_answer_side_by_side_as_each_alone(void **state) {
    (void)state;
    llm *m[N_HANDLES];
    caller c[N_HANDLES] = {0};
    open_handles(m);
    for (int h = 0; h < N_HANDLES; h++) {
        c[h].m = m[h];
        assert_int_equal(m[h]->has_adapter, h > 0);
        assert_int_equal(pthread_create(&c[h].thread, NULL, call, &c[h]), 0);
    }
    for (int h = 0; h < N_HANDLES; h++)
        pthread_join(c[h].thread, NULL);
    for (int h = 0; h < N_HANDLES; h++) {
        caller alone = {.m = open_alone(h)};
        call(&alone);
        for (int i = 0; i < N_ASKS; i++) {
            assert_true(json_equal(alone.reply[i].evidence, c[h].reply[i].evidence));
            assert_true(json_equal(alone.scores[i].evidence, c[h].scores[i].evidence));
            assert_string_equal(str_get(&alone.reply[i].text), str_get(&c[h].reply[i].text));
        }
        release(&alone);
        llm_free(alone.m);
    }
    bool same = true; /* the adapter does something */
    for (int i = 0; i < N_ASKS; i++)
        same &= !memcmp(c[0].scores[i].logprob, c[1].scores[i].logprob, 3 * sizeof(double));
    assert_false(same);
    for (int h = 0; h < N_HANDLES; h++)
        release(&c[h]);
    for (int h = 0; h < N_HANDLES; h++)
        llm_free(m[h]);
}

static void one_base_serves_all_handles(void **state) {
    (void)state;
    llm *m[N_HANDLES];
    open_handles(m);
    const local *base = (const local *)m[0];
    for (int h = 1; h < N_HANDLES; h++) {
        const local *l = (const local *)m[h];
        assert_ptr_equal(l->engine, base->engine); /* weights, pages and prefix cache */
        assert_ptr_equal(l->shared, base->shared);
        assert_int_equal(m[h]->n_ctx, m[0]->n_ctx);
    }
    for (int h = 0; h < N_HANDLES; h++)
        llm_free(m[h]);
}

static void handles_go_in_any_order(void **state) {
    (void)state;
    static const int orders[][N_HANDLES] = {{0, 1, 2}, {2, 0, 1}, {1, 2, 0}};
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        llm *m[N_HANDLES];
        open_handles(m);
        for (int k = 0; k < N_HANDLES; k++) {
            caller c = {.m = m[orders[i][k]]};
            call(&c);
            release(&c);
            llm_free(c.m);
        }
    }
}

/* What an agent within another asks by its own adapter is part of what the turn used. */
static void a_meter_counts_what_its_adapted_handles_are_asked(void **state) {
    (void)state;
    llm *m = open_alone(0), *other = NULL;
    llm_meter meter;
    muga_error err = {0};
    atomic_bool cancelled = false;
    llm *metered = llm_meter_init(&meter, m);
    assert_ok(llm_local_adapt(metered, source_path("tests/data/tiny-adapter.gguf"), 1, &other, &err), &err);
    assert_true(other->has_adapter && !metered->has_adapter);
    meter.cancelled = &cancelled;
    caller own = {.m = metered}, adapted = {.m = other};
    uint64_t n_prompt = 0, n_generated = 0;
    caller *const both[] = {&own, &adapted};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        call(both[i]);
        for (int k = 0; k < N_ASKS; k++) {
            n_prompt += both[i]->reply[k].n_prompt + both[i]->scores[k].n_prompt;
            n_generated += both[i]->reply[k].n_generated;
        }
        release(both[i]);
        assert_int_equal(meter.n_prompt, n_prompt);
        assert_int_equal(meter.n_generated, n_generated);
    }
    assert_true(n_generated > 0 && meter.n_cached < meter.n_prompt);
    atomic_store(&cancelled, true);
    json_t *messages = messages_of(1);
    const llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 4};
    llm_reply r = {.text = STR_INIT};
    assert_int_equal(llm_complete(other, &q, &r, &err), MUGA_E_CANCELLED);
    llm_reply_release(&r);
    json_decref(messages);
    llm_free(other);
    llm_free(m);
}

static void what_is_no_adapter_is_refused(void **state) {
    (void)state;
    llm *m = open_alone(0), *other = NULL, *scripted = NULL;
    json_t *script = json_array();
    muga_error err = {0};
    assert_status(llm_local_adapt(m, "/nowhere/a.gguf", 1, &other, &err), MUGA_E_NOT_FOUND, &err, "/nowhere/a.gguf");
    assert_status(llm_local_adapt(m, model_file(), 1, &other, &err), MUGA_E_INPUT, &err, "tiny.gguf");
    assert_ok(llm_scripted_new(script, &scripted, &err), &err);
    assert_status(llm_local_adapt(scripted, model_file(), 1, &other, &err), MUGA_E_USAGE, &err, "runs here");
    assert_null(other);
    llm_free(scripted);
    json_decref(script);
    caller c = {.m = m}; /* the model is as it was */
    call(&c);
    release(&c);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_answer_side_by_side_as_each_alone),
        cmocka_unit_test(one_base_serves_all_handles),
        cmocka_unit_test(handles_go_in_any_order),
        cmocka_unit_test(a_meter_counts_what_its_adapted_handles_are_asked),
        cmocka_unit_test(what_is_no_adapter_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
