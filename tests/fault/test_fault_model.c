/* Every allocation failed in turn while a model loads and a turn runs. If this failed, a machine short of memory would
 * crash, leak, or quietly give another answer; it must say that memory is out, and leave nothing behind.
 *
 * A run is: load the model, write a constrained answer with evidence, score labels, free all; or: chat. It is repeated
 * with its nth allocation failing, n = 1, 2, ... until none is reached any more; whatever library the allocation is in.
 * Where a library does without (a regular expression that isn't compiled to machine code), the answer must be the same.
 */
#include "support/support.h"

#include "support/faultmalloc.h"

#include "base/json.h"
#include "base/mem.h"
#include "engine/engine.h"
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

typedef struct inputs inputs;
struct inputs {
    char model[400];
    json_t *messages, *schema;
    muga_status (*run)(const inputs *in, outcome *out, muga_error *err);
};

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

static muga_status decide(const inputs *in, outcome *out, muga_error *err) {
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

static bool run_with_failure(const inputs *in, const outcome *expected, size_t n) {
    muga_error err = {0};
    outcome now = {0};
    long live = fault_live();
    fault_fail_at(n);
    muga_status st = in->run(in, &now, &err);
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
    return reached;
}

/* Threads give back what they used a moment after they were joined. */
static void settle(const inputs *in) {
    outcome ignored = {0};
    muga_error err;
    for (int i = 0; i < 2; i++)
        assert_ok(in->run(in, &ignored, &err), &err);
}

static void fail_each(const inputs *in, size_t n_least) {
    muga_error err;
    outcome expected = {0}, again = {0};
    settle(in); /* what libraries allocate once is no leak */
    assert_ok(in->run(in, &expected, &err), &err);
    long live = fault_live();
    assert_ok(in->run(in, &again, &err), &err);
    assert_int_equal(fault_live(), live);
    assert_memory_equal(&again, &expected, sizeof again);
    size_t n = 1;
    while (run_with_failure(in, &expected, n))
        n++;
    print_message("a run makes %zu allocations\n", n - 1);
    assert_in_range(n, n_least, 1000000);
}

static void a_decision_survives_any_failed_allocation(void **state) {
    (void)state;
    inputs in = {.messages = parse(messages_text), .schema = parse(schema_text), .run = decide};
    snprintf(in.model, sizeof in.model, "%s", source_path("tests/data/tiny.gguf"));
    fail_each(&in, 500);
    json_decref(in.messages);
    json_decref(in.schema);
}

/* A free answer under every setting of the sampler, streamed, a stop string, a draft model, on two threads; and then
 * the same prompt again, which goes on from the session that is there. */
typedef struct streamed {
    char text[400];
    size_t n;
} streamed;

static bool take_text(void *ctx, const char *p, size_t n) {
    streamed *s = ctx;
    n = MIN(n, sizeof s->text - 1 - s->n);
    memcpy(s->text + s->n, p, n);
    s->n += n;
    return true;
}

static muga_status chat(const inputs *in, outcome *out, muga_error *err) {
    static const char *const stops[] = {"zq", "never"};
    llm *m = NULL;
    llm_local_options o = {.n_ctx = 512, .n_threads = 2, .isa = -1, .exact = true, .kv = KERNEL_KV_F32};
    o.drafts = LLM_DRAFTS_MODEL;
    o.draft_path = in->model;
    muga_status st = llm_local_open(in->model, "tiny", &o, &m, err);
    for (int turn = 0; turn < 2 && !st; turn++) {
        streamed stream = {.n = 0};
        llm_reply reply = {0};
        llm_request q = {
            .messages = in->messages,
            .prefix = turn ? "well" : NULL,
            .sampling = {.temperature = 0.9f,
                         .top_k = 50,
                         .top_p = 0.9f,
                         .min_p = 0.01f,
                         .repeat_penalty = 1.1f,
                         .presence_penalty = 0.1f,
                         .frequency_penalty = 0.1f,
                         .penalty_last_n = 64,
                         .seed = 3},
            .max_tokens = 24,
            .stop = stops,
            .n_stop = 2,
            .on_text = take_text,
            .on_text_ctx = &stream,
        };
        st = llm_complete(m, &q, &reply, err);
        if (!st)
            snprintf(out->text + turn * 200, 200, "%.190s", stream.text);
        llm_reply_release(&reply);
    }
    llm_free(m);
    return st;
}

static void a_chat_survives_any_failed_allocation(void **state) {
    (void)state;
    inputs in = {.messages = parse(messages_text), .run = chat};
    snprintf(in.model, sizeof in.model, "%s", source_path("tests/data/tiny.gguf"));
    fail_each(&in, 150);
    json_decref(in.messages);
}

/* Memory that runs out while a file is being refused: the refusal, or "out of memory", and nothing left behind. */
static muga_status refuse(const inputs *in, outcome *out, muga_error *err) {
    engine *e = NULL;
    engine_options o = {.isa = -1, .n_threads = 1};
    (void)out;
    muga_status st = engine_open(in->model, &o, &e, err);
    engine_free(e);
    return st;
}

/* A broken file with its nth allocation failing; false when there is no nth. */
static bool refuse_with_failure(const inputs *in, size_t n) {
    muga_error err = {0};
    long live = fault_live();
    fault_fail_at(n);
    muga_status st = refuse(in, NULL, &err);
    bool reached = fault_hit();
    fault_fail_at(0);
    if (fault_live() != live)
        fail_msg("%s, allocation %zu: %ld blocks leaked", in->model, n, fault_live() - live);
    if (st != MUGA_OK && ((st != MUGA_E_INPUT && (st != MUGA_E_NOMEM || !reached)) || !*err.message))
        fail_msg("%s, allocation %zu: status %d: %s", in->model, n, st, err.message);
    return reached;
}

static muga_status refuse_one(void *ctx, const char *name) {
    inputs in = {.run = refuse};
    char relative[128];
    muga_error err = {0};
    os_stat info;
    size_t *n_files = ctx, n = 1;
    if (!strstr(name, ".gguf"))
        return MUGA_OK;
    snprintf(relative, sizeof relative, "golden/malformed/%s", name);
    snprintf(in.model, sizeof in.model, "%s", shared_path(relative));
    assert_ok(os_system()->files.stat(NULL, in.model, &info, &err), &err);
    fault_fail_at(0);
    muga_status st = refuse(&in, NULL, &err);
    size_t bytes = fault_bytes();
    if (st && bytes > 16 * info.size + ((size_t)1 << 20)) /* what no byte of the file answers for */
        fail_msg("%s: %zu bytes were allocated for a file of %zu", name, bytes, (size_t)info.size);
    while (refuse_with_failure(&in, n))
        n++;
    ++*n_files;
    return MUGA_OK;
}

static void refusing_survives_any_failed_allocation(void **state) {
    (void)state;
    char folder[400];
    size_t n_files = 0;
    muga_error err = {0};
    snprintf(folder, sizeof folder, "%s", shared_path("golden/malformed"));
    assert_ok(os_system()->files.list(NULL, folder, refuse_one, &n_files, &err), &err);
    assert_int_equal(n_files, 82);
}

/* What a session holds is made before the first token; after that a token costs no memory. */
static void decoding_allocates_nothing(void **state) {
    (void)state;
    muga_error err;
    engine *e = NULL;
    engine_session *s = NULL;
    engine_options o = {.isa = -1, .n_threads = 1};
    assert_ok(engine_open(source_path("tests/data/tiny.gguf"), &o, &e, &err), &err);
    assert_ok(engine_session_new(e, 512, &s, &err), &err);
    assert_ok(engine_session_reserve(s, 300, &err), &err);
    fault_fail_at(0);
    for (int32_t i = 0; i < 300; i++)
        assert_ok(engine_session_feed(s, &i, 1, &err), &err);
    assert_int_equal(fault_count(), 0);
    engine_session_free(s);
    engine_free(e);
}

/* The same constraint, but one that no grammar was kept of yet. */
static void make_new(const inputs *in, size_t n) {
    json_object_set_new(in->schema, "$comment", json_integer((json_int_t)n));
}

/* Also where the grammar that the failed one compiled, and was learning its masks, is the next one's. */
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
    make_new(&in, 0);
    fault_fail_at(0);
    assert_ok(answer(m, &in, &now, &err), &err);
    size_t n_allocations = fault_count();
    for (size_t n = 1; n <= n_allocations; n += 1 + n_allocations / 200) {
        make_new(&in, n);
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
        cmocka_unit_test(a_decision_survives_any_failed_allocation),
        cmocka_unit_test(a_chat_survives_any_failed_allocation),
        cmocka_unit_test(refusing_survives_any_failed_allocation),
        cmocka_unit_test(decoding_allocates_nothing),
        cmocka_unit_test(a_turn_after_a_failed_turn_is_as_good_as_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
