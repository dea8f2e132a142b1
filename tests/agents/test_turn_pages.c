/* What the questions of an agent's turns have in common is read once: the labels of a session's next message, and after
 * a plan its steps' arguments and the answer. If this failed, an agent would read its instructions, its tools and its
 * conversation again for every question. Counted in tokens by the trace. */
#include "agent/loop_internal.h"
#include "agents/loop_fixture.h"
#include "agents/plan_fixture.h"
#include "base/mem.h"

#define PAGE 64 /* tokens */

typedef struct seen {
    json_t *steps; /* of the last turn: those that ask the model */
    int64_t taken, evicted;
} seen;

static void keep(void *ctx, const char *kind, const json_t *d) {
    seen *x = ctx;
    if (strcmp(kind, "trace") != 0) {
        return;
    }
    const json_t *steps = json_object_get(d, "steps"), *kept = json_object_get(d, "kept");
    json_decref(x->steps);
    x->steps = json_array();
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *s = json_array_get(steps, i);
        if (json_object_get(s, "read")) {
            json_array_append(x->steps, s);
        }
    }
    x->taken = json_get_int(kept, "taken", -1);
    x->evicted = json_get_int(kept, "evicted", -1);
}

static int64_t of_step(const seen *x, size_t i, const char *key) {
    return json_get_int(json_array_get(x->steps, i), key, -1);
}

static llm *open_tiny(void) {
    llm *m = NULL;
    muga_error err = {0};
    llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 2048};
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err), &err);
    return m;
}

/* loop_manifest with a model that scores, and an instruction longer than a page. */
static char *scoring_manifest(void) {
    str text = STR_INIT;
    const char *at = strstr(loop_manifest, "  model_weight: 0\n");
    assert_non_null(at);
    str_append(&text, loop_manifest, (size_t)(at - loop_manifest));
    str_append_s(&text, "  model_weight: 0.2\n  instruction: ");
    for (int i = 0; i < 12; i++) {
        str_printf(&text, "%s look at the words of the message, not at its spelling, and say which of these it is",
                   i ? ";" : "");
    }
    str_append_s(&text, at + strlen("  model_weight: 0"));
    return str_take(&text);
}

static void a_sessions_next_message_is_scored_over_pages_that_are_there(void **state) {
    (void)state;
    loop_fixture x = {.loop = NULL};
    seen s = {.steps = NULL};
    turn_result r;
    muga_error err;
    char *yaml = scoring_manifest();
    loop_open_as(&x, "scores", yaml, "[]");
    llm *scripted = x.model;
    loop_free(x.loop);
    x.model = open_tiny();
    loop_begin(&x);
    assert_ok(loop_trace(x.loop, &err), &err);
    x.loop->p.watch = (loop_watch){keep, &s};
    static const char *const says[] = {"where is my order A10001", "where is my order A10002"};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(loop_turn(x.loop, says[i], strlen(says[i]), &r, &err), &err);
        turn_result_release(&r);
        assert_true(json_array_size(s.steps) >= 1);
        int64_t cached = of_step(&s, 0, "cached"), read = of_step(&s, 0, "read");
        assert_true(i == 0 ? cached == 0 : cached >= PAGE && cached > read);
        assert_int_equal(s.evicted, 0);
        assert_true(i == 0 || s.taken >= cached);
    }
    json_decref(s.steps);
    llm_free(scripted);
    loop_close(&x);
    free(yaml);
}

/* The script's model is put aside: the tiny one plans, as well as it can. */
static void a_plan_its_steps_and_the_answer_go_on_from_one_prefix(void **state) {
    (void)state;
    plan_fixture x;
    seen s = {.steps = NULL};
    turn_result r;
    muga_error err;
    static const char message[] = "where is my order A10001?";
    plan_open(&x, "plans", PLANS, "called.order_status is defined", "[]");
    llm *scripted = x.model;
    loop_free(x.loop);
    x.model = open_tiny();
    plan_begin(&x);
    assert_ok(loop_trace(x.loop, &err), &err);
    x.loop->p.watch = (loop_watch){keep, &s};
    assert_ok(loop_turn(x.loop, message, strlen(message), &r, &err), &err);
    turn_result_release(&r);
    size_t n = json_array_size(s.steps);
    int64_t plan = of_step(&s, 0, "read");
    assert_true(of_step(&s, 0, "cached") == 0 && plan > 2 * PAGE);
    size_t n_asked = 0;
    for (size_t i = 1; i < n; i++) {
        bool settled = of_step(&s, i, "read") == 0; /* an order's number: there is nothing to ask the model for */
        n_asked += !settled;
        if (!settled && of_step(&s, i, "cached") + PAGE < plan) {
            fail_msg("question %zu took %lld of the plan's %lld tokens, and read %lld", i,
                     (long long)of_step(&s, i, "cached"), (long long)plan, (long long)of_step(&s, i, "read"));
        }
    }
    assert_true(n_asked >= 1);
    json_decref(s.steps);
    llm_free(scripted);
    plan_close(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_sessions_next_message_is_scored_over_pages_that_are_there),
                                       cmocka_unit_test(a_plan_its_steps_and_the_answer_go_on_from_one_prefix)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
