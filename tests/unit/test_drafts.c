/* If this fails, drafts change an answer: they may only change how long it takes. Each answer is made without drafts,
 * with n-gram look-up, and with draft models that guess always right, never right and now and then; ids, text, pieces
 * of text, finish and the bits of every row a choice was made from are the same.
 * ctest: unthreaded */
#include "support/engine_fixture.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "os/os.h"
#include "support/make_tiny.h"

#define N_CTX 400

typedef struct answer {
    engine_generated made;
    muga_status status;
    uint32_t n_rows, n_texts;
    uint32_t cancel_at; /* piece of text; 0 = never */
    sha256 rows;
    char digest[SHA256_HEX];
    uint32_t n_vocab;
} answer;

static bool on_text(void *ctx, const char *p, size_t n) {
    answer *a = ctx;
    assert_true(n > 0 && p != NULL);
    return ++a->n_texts != a->cancel_at;
}

static void on_choice(void *ctx, uint32_t pos, const float *logits) {
    answer *a = ctx;
    sha256_update(&a->rows, &pos, sizeof pos);
    sha256_update(&a->rows, logits, a->n_vocab * sizeof *logits);
    a->n_rows++;
}

/* What an answer is made of; everything but the drafts. */
typedef struct setting {
    engine *e;
    const int32_t *prompt;
    uint32_t n_prompt, n_ctx;
    sampler_settings sampling;
    uint32_t max_tokens, cancel_at;
    const char *const *stop;
    size_t n_stop;
    const constrain_grammar *grammar; /* NULL = free text */
} setting;

static answer ask(const setting *v, engine_drafts drafts) {
    muga_error err = {0};
    engine_session *s = session_of(v->e, v->n_ctx);
    constrain_state *state = NULL;
    answer a = {.cancel_at = v->cancel_at, .n_vocab = engine_params(v->e)->n_vocab};
    sha256_init(&a.rows);
    if (v->grammar)
        assert_ok(constrain_state_new(v->grammar, &state, &err), &err);
    feed(s, v->prompt, v->n_prompt);
    engine_generate_args args = {.session = s,
                                 .sampling = &v->sampling,
                                 .max_tokens = v->max_tokens,
                                 .stop = v->stop,
                                 .n_stop = v->n_stop,
                                 .constraint = state,
                                 .drafts = drafts,
                                 .on_text = on_text,
                                 .on_text_ctx = &a,
                                 .on_choice = on_choice,
                                 .on_choice_ctx = &a};
    a.status = engine_generate(&args, &a.made, &err);
    uint8_t digest[SHA256_BYTES];
    sha256_final(&a.rows, digest);
    hex_write(digest, sizeof digest, a.digest);
    uint32_t n = engine_session_count(s), n_all = v->n_prompt + (uint32_t)a.made.ids.n;
    if (a.status == MUGA_OK) {
        assert_true(n <= n_all); /* no guess is left behind */
        assert_memory_equal(engine_session_ids(s) + v->n_prompt, a.made.ids.ids, (n - v->n_prompt) * sizeof(int32_t));
    }
    engine_session_free(s);
    constrain_state_free(state);
    return a;
}

static void assert_same(const answer *a, const answer *b) {
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->made.ids.n, b->made.ids.n);
    if (a->made.ids.n)
        assert_memory_equal(a->made.ids.ids, b->made.ids.ids, a->made.ids.n * sizeof *a->made.ids.ids);
    assert_string_equal(str_get(&a->made.text), str_get(&b->made.text));
    assert_int_equal(a->made.finish, b->made.finish);
    assert_int_equal(a->made.n_forced, b->made.n_forced);
    assert_int_equal(a->n_texts, b->n_texts);
    assert_int_equal(a->n_rows, b->n_rows);
    assert_string_equal(a->digest, b->digest);
}

/* ---- prompts and settings by seed ---- */

static const char *const words[] = {"order", " status", " the",   " account", " password", " number",  " is", " and",
                                    " I",    " you",    ", ",     ". ",       "\n",        "{\"a\": ", "}",   " 1",
                                    " 23",   "\u00fc",  "\u4e16", " please",  " Order",    "?",        "\"",  " it"};

/* A few words over and over, as texts that are quoted from are. */
static void write_prompt(rng *r, uint32_t n_words, str *out) {
    uint32_t n = 0;
    while (n < n_words) {
        size_t from = out->len;
        uint32_t part = 2 + rng_below(r, 8);
        for (uint32_t i = 0; i < part; i++)
            str_append_s(out, words[rng_below(r, ARRAY_LEN(words))]);
        n += part;
        while (rng_below(r, 2) && n < n_words) {
            str again = STR_INIT;
            str_append(&again, out->data + from, out->len - from);
            from = out->len;
            str_append(out, again.data, again.len);
            str_release(&again);
            n += part;
        }
    }
}

static sampler_settings random_sampling(rng *r) {
    sampler_settings set = SAMPLER_GREEDY;
    if (rng_below(r, 2))
        return set;
    set.temperature = 0.2f + 0.2f * (float)rng_below(r, 5);
    set.top_k = rng_below(r, 2) ? 1 + rng_below(r, 40) : 0;
    set.top_p = rng_below(r, 2) ? 0.9f : 1.0f;
    set.min_p = rng_below(r, 3) ? 0.0f : 0.05f;
    set.seed = rng_next(r);
    if (rng_below(r, 2)) {
        set.repeat_penalty = 1.1f;
        set.frequency_penalty = 0.1f;
        set.penalty_last_n = 1 + rng_below(r, 64);
    }
    return set;
}

static const char *const schemas[] = {
    "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"tool\", \"note\", \"n\"],"
    " \"properties\": {\"tool\": {\"enum\": [\"order_status\", \"reset_password\"]},"
    " \"note\": {\"type\": \"string\", \"maxLength\": 30}, \"n\": {\"type\": \"integer\"}}}",
    "{\"type\": \"array\", \"maxItems\": 6, \"items\": {\"enum\": [\"order\", \"order status\", \"account\"]}}",
    "{\"type\": \"string\", \"maxLength\": 40}",
    "{\"const\": \"order status password account\"}",
};

typedef struct counts {
    uint64_t drafted, accepted, answers;
} counts;

/* The same answer with each of the drafts as without. */
static void compare(const setting *v, const engine_drafts *drafts, size_t n, counts *c) {
    answer plain = ask(v, (engine_drafts){0});
    assert_int_equal(plain.made.n_drafted, 0);
    for (size_t i = 0; i < n; i++) {
        answer a = ask(v, drafts[i]);
        assert_same(&plain, &a);
        assert_true(a.made.n_accepted <= a.made.n_drafted);
        c[i].drafted += a.made.n_drafted;
        c[i].accepted += a.made.n_accepted;
        c[i].answers++;
        engine_generated_release(&a.made);
    }
    engine_generated_release(&plain.made);
}

/* A prompt of its own, warm or cold, in a shape of its own. */
static void random_answer(engine *e, uint64_t seed, constrain_grammar *const *grammars, const engine_drafts *drafts,
                          size_t n, counts *c) {
    static const char *const stops[] = {"er", "\n", "st", "00"};
    rng r = {seed};
    str text = STR_INIT;
    token_list ids = TOKEN_LIST_INIT;
    muga_error err = {0};
    write_prompt(&r, 8 + rng_below(&r, 60), &text);
    assert_ok(tokenizer_encode(engine_tokenizer(e), text.data, text.len, (tokenizer_flags){0}, &ids, &err), &err);
    setting v = {.e = e, .prompt = ids.ids, .n_prompt = (uint32_t)MIN(ids.n, (size_t)N_CTX - 150), .n_ctx = N_CTX};
    v.sampling = random_sampling(&r);
    v.max_tokens = 20 + rng_below(&r, 60);
    if (rng_below(&r, 2)) {
        v.grammar = grammars[rng_below(&r, ARRAY_LEN(schemas))];
    } else if (rng_below(&r, 2)) {
        v.stop = stops;
        v.n_stop = 1 + rng_below(&r, ARRAY_LEN(stops));
    }
    if (rng_below(&r, 4) == 0)
        v.cancel_at = 1 + rng_below(&r, 20);
    compare(&v, drafts, n, c);
    token_list_release(&ids);
    str_release(&text);
}

static void compile_schemas(constrain_grammar **out) {
    muga_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        json_t *schema;
        assert_ok(json_parse(schemas[i], strlen(schemas[i]), "schema", &schema, &err), &err);
        assert_ok(constrain_compile_schema(schema, &(constrain_options){0}, &out[i], &err), &err);
        json_decref(schema);
    }
}

static void free_grammars(constrain_grammar **g) {
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++)
        constrain_grammar_free(g[i]);
}

/* A draft model that is the tiny model with a key changed: the same vocabulary, other thoughts. */
static engine *open_overridden(const char *override) {
    const char *const v[] = {override};
    return open_with((engine_options){.isa = -1, .n_threads = 1, .overrides = v, .n_overrides = override ? 1 : 0});
}

static void report(const char *name, const counts *c) {
    print_message("%s: %llu of %llu guesses stood, %llu answers\n", name, (unsigned long long)c->accepted,
                  (unsigned long long)c->drafted, (unsigned long long)c->answers);
}

static void answers_are_the_same_with_and_without_drafts(void **state) {
    (void)state;
    constrain_grammar *grammars[ARRAY_LEN(schemas)];
    engine *e = open_plain(), *now_and_then = open_overridden("llama.rope.freq_base=9000"),
           *never = open_overridden("llama.attention.layer_norm_rms_epsilon=0.3");
    engine_session *same_model = session_of(e, N_CTX), *near = session_of(now_and_then, N_CTX),
                   *far = session_of(never, N_CTX), *small = session_of(e, 90);
    const engine_drafts drafts[] = {
        {.kind = ENGINE_DRAFTS_NGRAM},
        {.kind = ENGINE_DRAFTS_NGRAM, .max = 16, .eager = true},
        {.kind = ENGINE_DRAFTS_MODEL, .session = same_model, .eager = true},
        {.kind = ENGINE_DRAFTS_MODEL, .session = near, .max = 3, .eager = true},
        {.kind = ENGINE_DRAFTS_MODEL, .session = far, .max = 16, .eager = true},
        {.kind = ENGINE_DRAFTS_MODEL, .session = small, .max = 1},
    };
    static const char *const names[] = {"look-up",       "look-up, 16",      "same model",
                                        "like model, 3", "unlike model, 16", "small context, 1"};
    counts c[ARRAY_LEN(drafts)] = {0};
    muga_error err = {0};
    assert_ok(engine_draft_check(e, now_and_then, &err), &err);
    compile_schemas(grammars);
    for (uint64_t seed = 0; seed < (SANITIZED ? 50 : 200); seed++)
        random_answer(e, seed, grammars, drafts, ARRAY_LEN(drafts), c);
    for (size_t i = 0; i < ARRAY_LEN(drafts); i++) {
        report(names[i], &c[i]);
        assert_true(c[i].accepted > 0);
        assert_true(c[i].drafted > c[i].accepted); /* both ways are walked */
    }
    assert_true(c[2].accepted * 10 > c[2].drafted * 8);
    free_grammars(grammars);
    engine_session *all[] = {same_model, near, far, small};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        engine_session_free(all[i]);
    engine_free(now_and_then);
    engine_free(never);
    engine_free(e);
}

static void a_real_models_answers_are_the_same(void **state) {
    (void)state;
    static const char *const prompts[] = {
        "<|im_start|>user\nRepeat this list twice: apples, pears, plums, figs, dates, olives.<|im_end|>\n"
        "<|im_start|>assistant\n",
        "<|im_start|>user\nWhat is the capital of Denmark?<|im_end|>\n<|im_start|>assistant\n",
        "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(",
        "Once upon a time",
    };
    engine *e = NULL;
    muga_error err = {0};
    constrain_grammar *grammars[ARRAY_LEN(schemas)];
    assert_ok(engine_open(model_path(), &(engine_options){.isa = -1}, &e, &err), &err);
    compile_schemas(grammars);
    engine_session *same_model = session_of(e, 512);
    const engine_drafts drafts[] = {{.kind = ENGINE_DRAFTS_NGRAM},
                                    {.kind = ENGINE_DRAFTS_MODEL, .session = same_model, .max = 4, .eager = true}};
    counts c[ARRAY_LEN(drafts)] = {0};
    for (size_t i = 0; i < (SANITIZED ? 3 : 2 * ARRAY_LEN(prompts)); i++) {
        const char *text = prompts[i / 2];
        token_list ids = TOKEN_LIST_INIT;
        tokenizer_flags flags = {.parse_special = true};
        assert_ok(tokenizer_encode(engine_tokenizer(e), text, strlen(text), flags, &ids, &err), &err);
        setting v = {.e = e, .prompt = ids.ids, .n_prompt = (uint32_t)ids.n, .n_ctx = 512, .max_tokens = 60};
        v.sampling = SAMPLER_GREEDY;
        v.sampling.temperature = i % 2 ? 0.7f : 0.0f;
        v.sampling.top_p = 0.95f;
        v.sampling.seed = i;
        compare(&v, drafts, ARRAY_LEN(drafts), c);
        v.grammar = grammars[i % 3];
        compare(&v, drafts, ARRAY_LEN(drafts), c);
        token_list_release(&ids);
    }
    report("look-up", &c[0]);
    report("same model", &c[1]);
    assert_true(c[0].accepted > 0 && c[1].accepted > c[1].drafted / 2);
    free_grammars(grammars);
    engine_session_free(same_model);
    engine_free(e);
}

/* ---- what goes wrong ---- */

static int32_t only_token(const engine *e, const char *text) {
    token_list ids = TOKEN_LIST_INIT;
    muga_error err = {0};
    assert_ok(tokenizer_encode(engine_tokenizer(e), text, strlen(text), (tokenizer_flags){0}, &ids, &err), &err);
    int32_t id = ids.ids[ids.n - 1];
    token_list_release(&ids);
    return id;
}

/* The constraint makes a token likely that the sampler never takes, and whose row would end the answer. */
static void a_guess_that_breaks_its_step_costs_only_the_drafts(void **state) {
    (void)state;
    static const char text[] = "{\"enum\": [\"orderA\", \"orderB\"]}";
    engine *plain = open_plain();
    int32_t bad = only_token(plain, "\"order");
    engine_free(plain);
    engine *e = open_spoiled(bad, (engine_options){.isa = -1, .n_threads = 1});
    json_t *schema;
    muga_error err = {0};
    constrain_grammar *grammar;
    assert_ok(json_parse(text, strlen(text), "schema", &schema, &err), &err);
    assert_ok(constrain_compile_schema(schema, &(constrain_options){0}, &grammar, &err), &err);
    const int32_t prompt[] = {5, 6, 7, 8};
    assert_true(bad > 8);
    const sampler_bias never = {bad, -1e6f};
    setting v = {.e = e, .prompt = prompt, .n_prompt = 4, .n_ctx = 64, .max_tokens = 40, .grammar = grammar};
    v.sampling = SAMPLER_GREEDY;
    v.sampling.bias = &never;
    v.sampling.n_bias = 1;
    answer without = ask(&v, (engine_drafts){0}), with = ask(&v, (engine_drafts){.kind = ENGINE_DRAFTS_NGRAM});
    assert_int_equal(without.status, MUGA_OK);
    assert_same(&without, &with);
    engine_generated_release(&without.made);
    engine_generated_release(&with.made);
    /* taken after all, it ends the answer with drafts as without */
    v.sampling.n_bias = 0;
    const sampler_bias always = {bad, 1e5f};
    v.sampling.bias = &always;
    v.sampling.n_bias = 1;
    without = ask(&v, (engine_drafts){0});
    with = ask(&v, (engine_drafts){.kind = ENGINE_DRAFTS_NGRAM});
    assert_int_equal(without.status, MUGA_E_NONFINITE);
    assert_same(&without, &with);
    json_decref(schema);
    constrain_grammar_free(grammar);
    engine_free(e);
}

static void a_draft_model_that_fails_is_done_without(void **state) {
    (void)state;
    engine *e = open_plain(), *spoiled = open_spoiled(40, (engine_options){.isa = -1, .n_threads = 1});
    engine_session *s = session_of(spoiled, N_CTX);
    const int32_t prompt[] = {5, 40, 7, 8};
    setting v = {.e = e, .prompt = prompt, .n_prompt = 4, .n_ctx = 128, .max_tokens = 40, .sampling = SAMPLER_GREEDY};
    answer without = ask(&v, (engine_drafts){0});
    answer with = ask(&v, (engine_drafts){.kind = ENGINE_DRAFTS_MODEL, .session = s});
    assert_same(&without, &with);
    assert_int_equal(with.made.n_drafted, 0);
    engine_generated_release(&without.made);
    engine_generated_release(&with.made);
    engine_session_free(s);
    engine_free(spoiled);
    engine_free(e);
}

static void wrong_drafts_are_refused_by_name(void **state) {
    (void)state;
    engine *e = open_plain();
    muga_error err = {0};
    engine_session *s = prompted(e, "hello");
    engine_generated g;
    sampler_settings set = SAMPLER_GREEDY;
    engine_generate_args a = {.session = s, .sampling = &set, .drafts = {.kind = ENGINE_DRAFTS_NGRAM, .max = 17}};
    assert_status(engine_generate(&a, &g, &err), MUGA_E_USAGE, &err, "17");
    a.drafts = (engine_drafts){.kind = ENGINE_DRAFTS_MODEL};
    assert_status(engine_generate(&a, &g, &err), MUGA_E_USAGE, &err, "draft model");
    a.drafts.session = s;
    assert_status(engine_generate(&a, &g, &err), MUGA_E_USAGE, &err, "of its own");
    engine_session_free(s);
    engine_free(e);
}

/* The tiny model with one of its tokens renamed. */
static void a_draft_model_has_the_same_vocabulary(void **state) {
    (void)state;
    engine *e = open_plain(), *other = NULL;
    str bytes = STR_INIT;
    muga_error err = {0};
    assert_ok(make_tiny(&bytes, &err), &err);
    static const char name[] = "<|im_end|>";
    char *at = NULL;
    for (size_t i = 0; i + sizeof name < bytes.len && !at; i++)
        if (memcmp(bytes.data + i, name, sizeof name - 1) == 0)
            at = bytes.data + i;
    assert_non_null(at);
    at[5] = 'E';
    const char *path = scratch_path("renamed.gguf");
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    str_release(&bytes);
    assert_ok(engine_open(path, &(engine_options){.isa = -1, .n_threads = 1}, &other, &err), &err);
    assert_ok(engine_draft_check(e, e, &err), &err);
    assert_status(engine_draft_check(e, other, &err), MUGA_E_INPUT, &err, "<|im_End|>");
    engine_free(other);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_same_with_and_without_drafts),
        cmocka_unit_test(a_real_models_answers_are_the_same),
        cmocka_unit_test(a_guess_that_breaks_its_step_costs_only_the_drafts),
        cmocka_unit_test(a_draft_model_that_fails_is_done_without),
        cmocka_unit_test(wrong_drafts_are_refused_by_name),
        cmocka_unit_test(a_draft_model_has_the_same_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
