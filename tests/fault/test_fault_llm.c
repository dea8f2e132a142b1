/* Every allocation failed in turn in what a server asks of a local model: raw prompts with biases and
 * log-probabilities, split answers that are checked again, vectors, tokens, descriptions, templates. If this failed,
 * one request short of memory would crash the server, leak, be told something else than that memory is out, or answer
 * otherwise. */
#include "support/support.h"

#include "support/faultmalloc.h"

#include "base/mem.h"
#include "engine/internal.h"
#include "llm/local.h"

/* What a run gave: told apart by a digest. */
typedef struct outcome {
    sha256 hash;
    llm *m;
} outcome;

static void on_token(void *ctx, const llm_token *t) {
    outcome *o = ctx;
    sha256_update(&o->hash, t->p, t->n);
    sha256_update(&o->hash, &t->logprob, sizeof t->logprob);
    for (size_t i = 0; i < t->n_top; i++)
        sha256_update(&o->hash, &t->top[i].id, sizeof t->top[i].id);
}

static muga_status ask(outcome *o, const llm_request *q, muga_error *err) {
    llm_reply r;
    muga_status st = llm_complete(o->m, q, &r, err);
    if (st)
        return st;
    sha256_update(&o->hash, str_get(&r.text), r.text.len);
    sha256_update(&o->hash, r.ids, r.n_ids * sizeof *r.ids);
    llm_reply_release(&r);
    return MUGA_OK;
}

static muga_status ask_raw(outcome *o, muga_error *err) {
    static const int32_t before[] = {40, 41, 42};
    static const llm_bias bias[] = {{50, -100.0f}, {60, 1.0f}};
    llm_request q = {.prompt_text = span_of_string("the order"),
                     .prompt_ids = before,
                     .n_prompt_ids = ARRAY_LEN(before),
                     .sampling = LLM_SAMPLING_GREEDY,
                     .logit_bias = bias,
                     .n_logit_bias = ARRAY_LEN(bias),
                     .max_tokens = 12,
                     .on_token = on_token,
                     .on_token_ctx = o,
                     .top_logprobs = 5,
                     .want_ids = true,
                     .want_evidence = true};
    q.sampling.temperature = 1.0f;
    q.sampling.typical_p = 0.9f;
    return ask(o, &q, err);
}

static json_t *messages, *schema, *tools;

static muga_status ask_split(outcome *o, muga_error *err) {
    const llm_request q = {.messages = messages,
                           .schema = schema,
                           .split = true,
                           .sampling = LLM_SAMPLING_GREEDY,
                           .max_tokens = 40,
                           .on_token = on_token,
                           .on_token_ctx = o,
                           .top_logprobs = 2,
                           .want_ids = true};
    return ask(o, &q, err);
}

static muga_status embed(outcome *o, muga_error *err) {
    const span texts[] = {span_of_string("where is my order?"), span_of_string("hello")};
    llm_embed_reply r;
    muga_status st = llm_embed(o->m, &(llm_embed_request){.texts = texts, .n = ARRAY_LEN(texts)}, &r, err);
    if (st)
        return st;
    sha256_update(&o->hash, r.vectors, ARRAY_LEN(texts) * r.n_dims * sizeof *r.vectors);
    llm_embed_reply_release(&r);
    return MUGA_OK;
}

static muga_status tokens(outcome *o, muga_error *err) {
    int32_t *ids;
    size_t n;
    str text = STR_INIT;
    muga_status st = llm_tokenize(o->m, span_of_string("an order of <|im_end|>"), true, true, &ids, &n, err);
    if (!st)
        st = llm_detokenize(o->m, ids, n, true, &text, err);
    free(ids);
    sha256_update(&o->hash, str_get(&text), text.len);
    str_release(&text);
    return st;
}

static muga_status describe(outcome *o, muga_error *err) {
    json_t *d = NULL;
    muga_status st = llm_describe(o->m, &d, err);
    if (!st) {
        size_t n = json_object_size(d) + json_array_size(json_object_get(d, "tensors")) +
                   json_array_size(json_object_get(d, "capabilities")) +
                   json_object_size(json_object_get(d, "metadata"));
        sha256_update(&o->hash, &n, sizeof n);
    }
    json_decref(d);
    return st;
}

static muga_status render(outcome *o, muga_error *err) {
    str text = STR_INIT;
    const llm_request q = {.messages = messages, .tools = tools, .tool_choice = LLM_TOOLS_AUTO};
    muga_status st = llm_render(o->m, &q, &text, err);
    sha256_update(&o->hash, str_get(&text), st ? 0 : text.len);
    str_release(&text);
    return st;
}

/* Blocks alive once the cache is empty, but for the slabs that pages lie in. */
static long live(llm *m) {
    engine *e = ((local *)m)->engine;
    while (prefix_evict(e->prefix)) {}
    assert_int_equal(engine_get_kv_counts(e).in_use, 0);
    long n_slab = 0;
    for (void *slab = e->pages.slabs; slab; n_slab++)
        memcpy(&slab, slab, sizeof slab);
    return fault_live() - n_slab;
}

static void finish(outcome *o, uint8_t digest[SHA256_BYTES]) {
    sha256_final(&o->hash, digest);
}

static void fail_each(llm *m, const char *name, muga_status (*run)(outcome *o, muga_error *err)) {
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
    muga_error err = {0};
    outcome o = {.m = m};
    long before = 0;
    for (int i = 0; i < 2; i++) { /* once more: what is made at first use and kept is there then */
        sha256_init(&o.hash);
        before = live(m);
        assert_ok(run(&o, &err), &err);
        finish(&o, want);
    }
    size_t n = 1;
    for (bool hit = true; hit; n++) {
        sha256_init(&o.hash);
        assert_ok(run(&o, &err), &err); /* what the model remembers of the last request is there again */
        before = live(m);
        sha256_init(&o.hash);
        err = (muga_error){0};
        fault_fail_at(n);
        muga_status st = run(&o, &err);
        hit = fault_hit();
        fault_fail_at(0);
        finish(&o, got);
        if (live(m) > before)
            fail_msg("%s, allocation %zu: %ld blocks leaked", name, n, live(m) - before);
        if (st == MUGA_OK)
            assert_memory_equal(got, want, sizeof got);
        else if (st != MUGA_E_NOMEM || !hit)
            fail_msg("%s, allocation %zu: status %d: %s", name, n, st, err.message);
    }
    print_message("%s: %zu allocations\n", name, n - 1);
    assert_true(n > 3);
}

static json_t *parse(const char *text) {
    json_t *v = NULL;
    muga_error err = {0};
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static void requests_survive_any_failed_allocation(void **state) {
    (void)state;
    static const struct {
        const char *name;
        muga_status (*run)(outcome *o, muga_error *err);
    } runs[] = {{"a raw prompt", ask_raw},   {"vectors", embed},         {"tokens", tokens},
                {"a description", describe}, {"a prompt shown", render}, {"a split answer", ask_split}};
    llm *m = NULL;
    muga_error err = {0};
    llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 512};
    messages = parse("[{\"role\": \"user\", \"content\": \"hello\"}]");
    schema = parse("{\"type\": \"array\", \"minItems\": 2, \"maxItems\": 2, \"uniqueItems\": true, "
                   "\"items\": {\"enum\": [1, 2, 3]}}");
    tools = parse("[{\"name\": \"look_up\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}]");
    assert_ok(llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        fail_each(m, runs[i].name, runs[i].run);
    llm_free(m);
    json_decref(messages);
    json_decref(schema);
    json_decref(tools);
}

/* Whether the nth allocation of opening was reached, and failed; *kept: blocks that are there afterwards. */
static bool open_without(size_t n, long *kept) {
    static const char source[] = "{% for m in messages %}{{ m.content }}{% endfor %}";
    const llm_local_options o = {.isa = -1, .n_threads = 1, .n_ctx = 512, .template_source = source};
    llm *m = NULL;
    muga_error err = {0};
    long before = fault_live();
    fault_fail_at(n);
    muga_status st = llm_local_open(source_path("tests/data/tiny.gguf"), "tiny", &o, &m, &err);
    bool hit = fault_hit();
    fault_fail_at(0);
    if (!st)
        llm_free(m);
    *kept = fault_live() - before;
    if (st && (st != MUGA_E_NOMEM || !hit))
        fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    return hit;
}

static void opening_with_a_template_survives_any_failed_allocation(void **state) {
    (void)state;
    long kept = 0;
    for (size_t n = 1; open_without(n, &kept); n += 1 + n / 64) { /* by leaps: thousands are of the vocabulary */
        if (kept)                                                 /* once, of the C library */
            (void)open_without(n, &kept);
        if (kept)
            fail_msg("allocation %zu: %ld blocks leaked", n, kept);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_survive_any_failed_allocation),
        cmocka_unit_test(opening_with_a_template_survives_any_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
