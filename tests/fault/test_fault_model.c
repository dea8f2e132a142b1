/* Every allocation failed in turn while a model loads and a turn runs. If this failed, a machine short of memory would
 * crash, leak, or quietly give another answer; it must say that memory is out, and leave nothing behind.
 *
 * A run is: load the model, write a constrained answer with evidence, score labels, free all. It is repeated with its
 * nth allocation failing, n = 1, 2, ... until none is reached any more; whatever library the allocation is in. Where a
 * library does without (a regular expression that isn't compiled to machine code), the answer must be the same. */
#include "support/support.h"

#include "support/faultmalloc.h"

#include "base/json.h"
#include "base/mem.h"
#include "llm/llm.h"

#include <stdio.h>

static const char messages_text[] = "[{\"role\": \"system\", \"content\": \"You answer in JSON.\"},"
                                    " {\"role\": \"user\", \"content\": \"Where is order A10023? \\u00fc\"}]";
static const char schema_text[] =
    "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"tool\", \"id\"], \"properties\": {"
    "\"tool\": {\"enum\": [\"status\", \"reset\"]}, \"id\": {\"type\": \"string\", \"pattern\": \"^A[0-9]{5}$\"}}}";
static const char *const labels[] = {"order", "password", "other"};

/* What a run gives when nothing fails; the texts are kept in fixed buffers so that they are no allocations. */
typedef struct outcome {
    char text[400];
    double logprob[ARRAY_LEN(labels)];
} outcome;

typedef struct inputs {
    char model[400];
    json_t *messages, *schema;
} inputs;

static muga_status answer(llm *m, const inputs *in, outcome *out, muga_error *err) {
    llm_reply reply = {0};
    llm_request q = {.messages = in->messages,
                     .schema = in->schema,
                     .sampling = LLM_SAMPLING_GREEDY,
                     .max_tokens = 40,
                     .want_evidence = true};
    q.sampling.temperature = 0.8f;
    q.sampling.seed = 7;
    muga_status st = llm_complete(m, &q, &reply, err);
    if (st == MUGA_OK) {
        snprintf(out->text, sizeof out->text, "%s", str_get(&reply.text));
        st = llm_replay(m, reply.evidence, err);
    }
    llm_reply_release(&reply);
    return st;
}

static muga_status score(llm *m, const inputs *in, outcome *out, muga_error *err) {
    llm_score_reply reply = {0};
    llm_score_request q = {.messages = in->messages, .labels = labels, .n_labels = ARRAY_LEN(labels), .with_end = true};
    muga_status st = llm_score(m, &q, &reply, err);
    if (st == MUGA_OK) {
        memcpy(out->logprob, reply.logprob, sizeof out->logprob);
    }
    llm_score_reply_release(&reply);
    return st;
}

static muga_status run(const inputs *in, outcome *out, muga_error *err) {
    llm *m = NULL;
    llm_local_options o = {.n_ctx = 512, .n_threads = 1, .isa = -1};
    muga_status st = llm_local_open(in->model, "tiny", &o, &m, err);
    if (st == MUGA_OK) {
        st = answer(m, in, out, err);
    }
    if (st == MUGA_OK) {
        st = score(m, in, out, err);
    }
    llm_free(m);
    return st;
}

static json_t *parse(const char *text) {
    json_t *v;
    muga_error err;
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static void assert_run_with_failure(const inputs *in, const outcome *expected, size_t n) {
    muga_error err = {0};
    outcome now = {0};
    long live = fault_live();
    fault_fail_at(n);
    muga_status st = run(in, &now, &err);
    bool reached = fault_hit();
    fault_fail_at(0);
    if (st == MUGA_OK) {
        if (memcmp(&now, expected, sizeof now) != 0) {
            fail_msg("allocation %zu: another answer: %s", n, now.text);
        }
    } else if (!reached || st != MUGA_E_NOMEM || !*err.message) {
        fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    }
    if (fault_live() != live) {
        fail_msg("allocation %zu (status %d): %ld blocks leaked", n, st, fault_live() - live);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    inputs in = {.messages = parse(messages_text), .schema = parse(schema_text)};
    snprintf(in.model, sizeof in.model, "%s", source_path("tests/data/tiny.gguf"));
    muga_error err;
    outcome expected = {0}, again = {0};
    assert_ok(run(&in, &expected, &err), &err); /* what libraries allocate once is no leak */

    long live = fault_live();
    fault_fail_at(0);
    assert_ok(run(&in, &again, &err), &err);
    size_t n_allocations = fault_count();
    assert_int_equal(fault_live(), live);
    assert_memory_equal(&again, &expected, sizeof again);
    print_message("a run makes %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, 500, 1000000);

    for (size_t n = 1; n <= n_allocations; n++) {
        assert_run_with_failure(&in, &expected, n);
    }
    json_decref(in.messages);
    json_decref(in.schema);
}

static void a_turn_after_a_failed_turn_is_as_good_as_any(void **state) {
    (void)state;
    inputs in = {.messages = parse(messages_text), .schema = parse(schema_text)};
    snprintf(in.model, sizeof in.model, "%s", source_path("tests/data/tiny.gguf"));
    muga_error err;
    outcome expected = {0}, now = {0};
    llm *m;
    llm_local_options o = {.n_ctx = 512, .n_threads = 1, .isa = -1};
    assert_ok(llm_local_open(in.model, "tiny", &o, &m, &err), &err);
    assert_ok(answer(m, &in, &expected, &err), &err);
    fault_fail_at(0);
    assert_ok(answer(m, &in, &now, &err), &err);
    size_t n_allocations = fault_count();
    for (size_t n = 1; n <= n_allocations; n += 1 + n_allocations / 200) {
        fault_fail_at(n);
        muga_status st = answer(m, &in, &now, &err);
        fault_fail_at(0);
        assert_true(st == MUGA_OK || st == MUGA_E_NOMEM);
        now = (outcome){0};
        assert_ok(answer(m, &in, &now, &err), &err);
        assert_string_equal(now.text, expected.text);
    }
    llm_free(m);
    json_decref(in.messages);
    json_decref(in.schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_turn_after_a_failed_turn_is_as_good_as_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
