/* If this fails, a server gives other vectors than the model makes of a text, cuts a text without being asked, holds up
 * answers while it embeds, or tells wrong things of a model: its tokens, its template, its memory. */
#include "support/llm_fixture.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/internal.h"
#include "llm/local.h"
#include "os/os.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

static llm_embed_reply embed(llm *m, const llm_embed_request *q) {
    llm_embed_reply r;
    muga_error err = {0};
    assert_ok(llm_embed(m, q, &r, &err), &err);
    return r;
}

/* ---- vectors ---- */

typedef struct rows {
    double sum[4096];
    uint32_t n;
} rows;

static void on_row(void *ctx, uint32_t i_item, uint32_t pos, const float *hidden) {
    rows *r = ctx;
    (void)i_item;
    (void)pos;
    for (uint32_t i = 0; i < r->n; i++)
        r->sum[i] += (double)hidden[i];
}

/* The mean of the rows after the last norm, token by token, brought to length 1. */
static void assert_mean(llm *m, const int32_t *ids, uint32_t n, const float *vector) {
    engine *e = ((local *)m)->engine;
    static rows r;
    muga_error err = {0};
    r = (rows){.n = engine_params(e)->n_embd};
    engine_session *s = NULL;
    assert_ok(engine_session_new(e, 1024, &s, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        engine_item it = {.session = s, .ids = ids + i, .n = 1, .want = ENGINE_LOGITS_ALL};
        assert_ok(engine_step_rows(e, &it, 1, on_row, &r, &err), &err);
    }
    double square = 0, length = 0;
    for (uint32_t i = 0; i < r.n; i++)
        square += r.sum[i] * r.sum[i];
    for (uint32_t i = 0; i < r.n; i++) {
        assert_true(fabs(r.sum[i] / sqrt(square) - (double)vector[i]) < 1e-6);
        length += (double)vector[i] * (double)vector[i];
    }
    assert_true(fabs(length - 1) < 1e-5);
    engine_session_free(s);
}

static void fill_ids(int32_t *ids, size_t n, uint64_t seed) {
    rng r = {seed};
    for (size_t i = 0; i < n; i++)
        ids[i] = 3 + (int32_t)rng_below(&r, 200);
}

static void a_chat_model_embeds_by_the_mean_of_its_rows(void **state) {
    (void)state;
    llm *m = open_tiny();
    enum { N = 7, LONG = 300 };
    static const uint32_t lengths[N] = {1, 5, LONG, 128, 60, 64, 129};
    int32_t ids[N][LONG];
    llm_ids texts[N];
    for (int i = 0; i < N; i++) {
        fill_ids(ids[i], lengths[i], (uint64_t)i);
        texts[i] = (llm_ids){ids[i], lengths[i]};
    }
    llm_embed_reply r = embed(m, &(llm_embed_request){.ids = texts, .n = N});
    for (int i = 0; i < N; i++) {
        assert_int_equal(r.n_tokens[i], lengths[i]);
        assert_mean(m, ids[i], lengths[i], r.vectors + (size_t)i * r.n_dims);
        llm_embed_reply alone = embed(m, &(llm_embed_request){.ids = &texts[i], .n = 1});
        assert_memory_equal(alone.vectors, r.vectors + (size_t)i * r.n_dims, r.n_dims * sizeof *r.vectors);
        llm_embed_reply_release(&alone);
    }
    assert_int_equal(engine_get_kv_counts(((local *)m)->engine).in_use, 0);
    llm_embed_reply_release(&r);
    llm_free(m);
}

static void texts_are_tokenized_as_the_model_wants(void **state) {
    (void)state;
    llm *m = open_tiny();
    const span texts[] = {span_of_string("where is my order?"), span_of_string("hello")};
    llm_embed_reply r = embed(m, &(llm_embed_request){.texts = texts, .n = 2});
    for (int i = 0; i < 2; i++) {
        int32_t *ids;
        size_t n;
        muga_error err = {0};
        assert_ok(llm_tokenize(m, texts[i], true, false, &ids, &n, &err), &err);
        assert_int_equal(r.n_tokens[i], n);
        assert_mean(m, ids, (uint32_t)n, r.vectors + (size_t)i * r.n_dims);
        free(ids);
    }
    llm_embed_reply_release(&r);
    llm_free(m);
}

static void a_text_too_long_is_named_or_cut(void **state) {
    (void)state;
    llm *m = open_tiny();
    int32_t ids[1100];
    fill_ids(ids, ARRAY_LEN(ids), 9);
    const llm_ids text = {ids, ARRAY_LEN(ids)}, most = {ids, 1024};
    llm_embed_request q = {.ids = &text, .n = 1};
    llm_embed_reply r;
    muga_error err = {0};
    assert_status(llm_embed(m, &q, &r, &err), MUGA_E_LIMIT, &err, "1100 tokens, more than the 1024");
    q.truncate = true;
    r = embed(m, &q);
    llm_embed_reply want = embed(m, &(llm_embed_request){.ids = &most, .n = 1});
    assert_int_equal(r.n_truncated, 1);
    assert_int_equal(r.n_tokens[0], 1024);
    assert_int_equal(want.n_truncated, 0);
    assert_memory_equal(r.vectors, want.vectors, r.n_dims * sizeof *r.vectors);
    llm_embed_reply_release(&want);
    llm_embed_reply_release(&r);
    llm_free(m);
}

static void what_can_not_be_embedded_is_named(void **state) {
    (void)state;
    llm *m = open_tiny(), *adapted = NULL, *scripted = NULL;
    const span empty = span_of_string("");
    const int32_t bad[] = {4, 1 << 22};
    const llm_ids ids = {bad, 2};
    llm_embed_reply r;
    muga_error err = {0};
    assert_status(llm_embed(m, &(llm_embed_request){0}, &r, &err), MUGA_E_INPUT, &err, "no texts");
    assert_status(llm_embed(m, &(llm_embed_request){.texts = &empty, .n = 1}, &r, &err), MUGA_E_INPUT, &err, "empty");
    assert_status(llm_embed(m, &(llm_embed_request){.ids = &ids, .n = 1}, &r, &err), MUGA_E_INPUT, &err,
                  "token 1 of a text is 4194304");
    atomic_bool gone = true;
    const span text = span_of_string("hello");
    assert_status(llm_embed(m, &(llm_embed_request){.texts = &text, .n = 1, .cancelled = &gone}, &r, &err),
                  MUGA_E_CANCELLED, &err, "interrupted");
    json_t *script = json_array();
    assert_ok(llm_scripted_new(script, &scripted, &err), &err);
    assert_status(llm_embed(scripted, &(llm_embed_request){.texts = &text, .n = 1}, &r, &err), MUGA_E_USAGE, &err,
                  "no vectors");
    assert_ok(llm_local_adapt(m, source_path("tests/data/tiny-adapter.gguf"), 1.0f, &adapted, &err), &err);
    assert_status(llm_embed(adapted, &(llm_embed_request){.texts = &text, .n = 1}, &r, &err), MUGA_E_USAGE, &err,
                  "has an adapter");
    json_decref(script);
    llm_free(scripted);
    llm_free(adapted);
    llm_free(m);
}

/* ---- beside answers ---- */

typedef struct embedder {
    llm *m;
    atomic_bool stop;
    uint32_t n_made;
    float *want;
    pthread_t thread;
} embedder;

static int32_t long_text[900];

static void *embed_on_and_on(void *ctx) {
    embedder *e = ctx;
    const llm_ids text = {long_text, ARRAY_LEN(long_text)};
    while (!atomic_load(&e->stop)) {
        llm_embed_reply r = embed(e->m, &(llm_embed_request){.ids = &text, .n = 1});
        assert_memory_equal(r.vectors, e->want, r.n_dims * sizeof *r.vectors);
        llm_embed_reply_release(&r);
        e->n_made++;
    }
    return NULL;
}

static void answers_and_vectors_take_turns_and_change_nothing(void **state) {
    (void)state;
    llm *m = open_tiny();
    fill_ids(long_text, ARRAY_LEN(long_text), 3);
    const llm_ids text = {long_text, ARRAY_LEN(long_text)};
    llm_embed_reply want = embed(m, &(llm_embed_request){.ids = &text, .n = 1});
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "where is my order?");
    llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 60};
    llm_reply alone, r;
    muga_error err = {0};
    assert_ok(llm_complete(m, &q, &alone, &err), &err);
    embedder e = {.m = m, .want = want.vectors};
    assert_int_equal(pthread_create(&e.thread, NULL, embed_on_and_on, &e), 0);
    for (int i = 0; i < 5; i++) {
        assert_ok(llm_complete(m, &q, &r, &err), &err);
        assert_string_equal(str_get(&r.text), str_get(&alone.text));
        llm_reply_release(&r);
    }
    atomic_store(&e.stop, true);
    pthread_join(e.thread, NULL);
    llm_reply_release(&alone);
    llm_embed_reply_release(&want);
    json_decref(messages);
    llm_free(m);
}

/* ---- tokens ---- */

static void texts_become_tokens_and_texts_again(void **state) {
    (void)state;
    llm *m = open_tiny();
    static const char text[] = "order <|im_end|> of J\xC3\xB6rg";
    muga_error err = {0};
    for (int special = 0; special < 2; special++) {
        int32_t *ids;
        size_t n;
        str back = STR_INIT, without = STR_INIT;
        assert_ok(llm_tokenize(m, span_of_string(text), false, special, &ids, &n, &err), &err);
        assert_ok(llm_detokenize(m, ids, n, true, &back, &err), &err);
        assert_ok(llm_detokenize(m, ids, n, false, &without, &err), &err);
        assert_string_equal(str_get(&back), text);
        assert_string_equal(str_get(&without), special ? "order  of J\xC3\xB6rg" : text);
        str_release(&back);
        str_release(&without);
        free(ids);
    }
    const int32_t bad[] = {-7};
    str out = STR_INIT;
    assert_status(llm_detokenize(m, bad, 1, true, &out, &err), MUGA_E_INPUT, &err, "token 0 of the list is -7");
    int32_t *ids;
    size_t n;
    assert_ok(llm_tokenize(m, span_of_string(""), true, true, &ids, &n, &err), &err);
    assert_non_null(ids);
    assert_int_equal(n, 0);
    free(ids);
    llm_free(m);
}

/* ---- the model ---- */

static bool has(const json_t *list, const char *text) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return true;
    return false;
}

static void a_model_is_described(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *d = NULL;
    muga_error err = {0};
    assert_ok(llm_describe(m, &d, &err), &err);
    const model_params *p = engine_params(((local *)m)->engine);
    const gguf_file *f = engine_file(((local *)m)->engine);
    assert_string_equal(json_get_string(d, "architecture"), "llama");
    assert_int_equal(json_get_int(d, "n_vocab", 0), p->n_vocab);
    assert_int_equal(json_get_int(d, "n_embd", 0), p->n_embd);
    assert_int_equal(json_get_int(d, "n_ctx", 0), 1024);
    assert_true(has(json_object_get(d, "capabilities"), "completion"));
    assert_false(has(json_object_get(d, "capabilities"), "embedding"));
    const json_t *tensors = json_object_get(d, "tensors"), *metadata = json_object_get(d, "metadata");
    assert_int_equal(json_array_size(tensors), gguf_tensor_count(f));
    uint64_t n_values = 0;
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        uint64_t n = 1;
        const json_t *shape = json_object_get(json_array_get(tensors, i), "shape");
        for (size_t k = 0; k < json_array_size(shape); k++)
            n *= (uint64_t)json_integer_value(json_array_get(shape, k));
        n_values += n;
    }
    assert_int_equal(json_get_int(d, "parameters", 0), n_values);
    assert_string_equal(json_get_string(metadata, "general.architecture"), "llama");
    assert_int_equal(json_get_int(metadata, "llama.block_count", 0), p->n_layer);
    assert_true(json_is_null(json_object_get(metadata, "tokenizer.ggml.tokens")));
    assert_true(json_is_real(json_object_get(metadata, "llama.attention.layer_norm_rms_epsilon")));
    json_decref(d);
    llm_free(m);
}

static char *render(llm *m, const llm_request *q) {
    str out = STR_INIT;
    muga_error err = {0};
    assert_ok(llm_render(m, q, &out, &err), &err);
    return str_take(&out);
}

static void a_template_of_ones_own_stands_in_the_evidence(void **state) {
    (void)state;
    static const char source[] = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}";
    llm *plain = open_tiny(), *m = open_tiny_with((llm_local_options){.template_source = source}), *broken = NULL;
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hello <|im_end|>");
    llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 5, .want_evidence = true};
    char *text = render(m, &q);
    assert_string_equal(text, "[user] hello <|im_end|>\n");
    free(text);
    text = render(plain, &q);
    assert_non_null(strstr(text, "<|im_start|>user\nhello <|im_end|><|im_end|>\n"));
    free(text);
    llm_reply r;
    muga_error err = {0};
    assert_ok(llm_complete(m, &q, &r, &err), &err);
    assert_ok(llm_replay(m, r.evidence, &err), &err);
    assert_status(llm_replay(plain, r.evidence, &err), MUGA_E_NEGATIVE, &err, "template_sha256");
    llm_reply_release(&r);
    llm_local_options o = {.isa = -1, .n_threads = 1, .template_source = "{% for m in %}"};
    assert_status(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &broken, &err), MUGA_E_INPUT, &err,
                  "template");
    json_decref(messages);
    llm_free(plain);
    llm_free(m);
}

static void a_prompt_with_tools_is_shown_as_the_model_gets_it(void **state) {
    (void)state;
    llm *m = open_tiny();
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hello");
    json_t *tools = json_pack("[{s:s, s:s, s:{s:s, s:{}}}]", "name", "look_up", "description", "finds things",
                              "parameters", "type", "object", "properties");
    llm_request q = {.messages = messages, .tools = tools, .tool_choice = LLM_TOOLS_AUTO};
    char *text = render(m, &q);
    assert_non_null(strstr(text, "look_up"));
    free(text);
    q = (llm_request){.prompt_text = span_of_string("as it is")};
    text = render(m, &q);
    assert_string_equal(text, "as it is");
    free(text);
    json_decref(tools);
    json_decref(messages);
    llm_free(m);
}

static void counts_and_memory_are_told(void **state) {
    (void)state;
    llm *m = open_tiny_with((llm_local_options){.kv_bytes = 4 << 20});
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "where is my order? it is late, very late");
    llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 5};
    llm_counts before = llm_get_counts(m);
    assert_int_equal(before.kv_max_bytes, 4 << 20);
    assert_int_equal(before.n_done, 0);
    assert_true(before.weight_bytes > 0);
    uint32_t n_prompt = 0, n_cached = 0;
    for (int i = 0; i < 2; i++) {
        llm_reply r;
        muga_error err = {0};
        assert_ok(llm_complete(m, &q, &r, &err), &err);
        n_prompt += r.n_prompt;
        n_cached += r.n_prompt_cached;
        llm_reply_release(&r);
    }
    llm_counts n = llm_get_counts(m);
    assert_int_equal(n.n_done, 2);
    assert_int_equal(n.n_running + n.n_waiting, 0);
    assert_int_equal(n.n_prompt, n_prompt);
    assert_int_equal(n.n_adopted, n_cached);
    assert_true(n_cached > 0 && n.kv_bytes > 0 && n.kv_bytes <= n.kv_max_bytes);
    assert_int_equal(llm_memory_bytes(m), n.weight_bytes + n.kv_bytes);
    json_decref(messages);
    llm_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_model_embeds_by_the_mean_of_its_rows),
        cmocka_unit_test(texts_are_tokenized_as_the_model_wants),
        cmocka_unit_test(a_text_too_long_is_named_or_cut),
        cmocka_unit_test(what_can_not_be_embedded_is_named),
        cmocka_unit_test(answers_and_vectors_take_turns_and_change_nothing),
        cmocka_unit_test(texts_become_tokens_and_texts_again),
        cmocka_unit_test(a_model_is_described),
        cmocka_unit_test(a_template_of_ones_own_stands_in_the_evidence),
        cmocka_unit_test(a_prompt_with_tools_is_shown_as_the_model_gets_it),
        cmocka_unit_test(counts_and_memory_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
