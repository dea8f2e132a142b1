/* If this fails, text is generated otherwise than engine.h says: past a limit, through a stop string, with half a
 * character, or against its constraint. All of it runs on tests/data/tiny.gguf, whose texts are nonsense: every byte
 * comes up, alone and in every company. */
#include "support/engine_fixture.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "engine/generation.h"

#include <stdio.h>

typedef struct stream {
    str text;
    uint32_t n_calls, cancel_at;
} stream;

static bool on_text(void *ctx, const char *p, size_t n) {
    stream *s = ctx;
    assert_true(n > 0 && utf8_valid(p, n));
    str_append(&s->text, p, n);
    return ++s->n_calls != s->cancel_at;
}

static sampler_settings warm(uint64_t seed) {
    sampler_settings set = SAMPLER_GREEDY;
    set.temperature = 1.0f;
    set.seed = seed;
    return set;
}

static void text_streams_in_whole_characters_up_to_the_limit(void **state) {
    (void)state;
    engine *e = open_plain();
    for (uint64_t seed = 0; seed < 20; seed++) {
        engine_session *s = prompted(e, "where is my order");
        sampler_settings set = warm(seed);
        stream out = {0};
        engine_generated g;
        muga_error err = {0};
        engine_generate_args a = {.session = s,
                                  .sampling = &set,
                                  .max_tokens = 60,
                                  .ignore_end = true,
                                  .on_text = on_text,
                                  .on_text_ctx = &out};
        assert_ok(engine_generate(&a, &g, &err), &err);
        assert_int_equal(g.finish, ENGINE_LENGTH);
        assert_int_equal(g.ids.n, 60);
        assert_string_equal(str_get(&out.text), str_get(&g.text));
        str_release(&out.text);
        engine_generated_release(&g);
        engine_session_free(s);
    }
    engine_free(e);
}

static void a_stop_string_ends_the_text_wherever_tokens_cut_it(void **state) {
    (void)state;
    engine *e = open_plain();
    engine_session *s = prompted(e, "where is my order"), *again;
    sampler_settings set = warm(3);
    muga_error err = {0};
    engine_generated whole, cut;
    assert_ok(engine_session_fork(s, &again, &err), &err);
    engine_generate_args a = {.session = s, .sampling = &set, .max_tokens = 60, .ignore_end = true};
    assert_ok(engine_generate(&a, &whole, &err), &err);
    assert_true(whole.text.len > 40);
    uint32_t n_checked = 0;
    for (size_t at = 0; at + 6 < whole.text.len; at += 5) {
        char stop[8] = {0};
        memcpy(stop, whole.text.data + at, 6);
        if (strlen(stop) != 6 || !utf8_valid(stop, 6) || strstr(stop, "\xEF\xBF\xBD"))
            continue;
        n_checked++;
        const char *stops[] = {"never to be seen", stop};
        stream out = {0};
        engine_session *t;
        assert_ok(engine_session_fork(again, &t, &err), &err);
        a = (engine_generate_args){.session = t,
                                   .sampling = &set,
                                   .max_tokens = 60,
                                   .ignore_end = true,
                                   .stop = stops,
                                   .n_stop = 2,
                                   .on_text = on_text,
                                   .on_text_ctx = &out};
        assert_ok(engine_generate(&a, &cut, &err), &err);
        assert_int_equal(cut.finish, ENGINE_STOP);
        assert_int_equal(cut.text.len, (size_t)(strstr(whole.text.data, stop) - whole.text.data));
        assert_memory_equal(str_get(&cut.text), whole.text.data, cut.text.len);
        assert_string_equal(str_get(&out.text), str_get(&cut.text));
        str_release(&out.text);
        engine_generated_release(&cut);
        engine_session_free(t);
    }
    assert_true(n_checked >= 5);
    engine_generated_release(&whole);
    engine_session_free(s);
    engine_session_free(again);
    engine_free(e);
}

/* ---- the text, by its definition: the tokens' bytes one after another, up to the first stop string that is there ----
 */

typedef struct stop_set {
    char text[3][16];
    const char *p[3];
    size_t n;
} stop_set;

/* Pieces of what is going to be said (any bytes of it, half characters too), and some that may never come. */
static void choose_stops(stop_set *out, rng *r, const str *said) {
    out->n = rng_below(r, 4) % 3 + 1;
    for (size_t i = 0; i < out->n; i++) {
        size_t len = 1 + rng_below(r, 12), at = rng_below(r, said->len - len);
        memcpy(out->text[i], said->data + at, len);
        out->text[i][len] = 0;
        for (size_t k = 0; k < len; k++)
            out->text[i][k] = out->text[i][k] ? out->text[i][k] : 'x';
        if (rng_below(r, 3) == 0)
            out->text[i][len - 1] ^= 1; /* nearly there, and then not */
        if (!out->text[i][len - 1])
            out->text[i][len - 1] = 'y';
        out->p[i] = out->text[i];
    }
}

/* Where the stops cut `raw`, or its length. */
static size_t first_stop(const str *raw, const stop_set *v) {
    size_t cut = raw->len;
    for (size_t i = 0; i < v->n; i++)
        for (size_t at = 0, n = strlen(v->p[i]); at + n <= raw->len && at < cut; at++)
            if (memcmp(raw->data + at, v->p[i], n) == 0)
                cut = at;
    return cut;
}

/* The text that these tokens are, and how many of them it takes to know. */
static void expected_text(const engine *e, const token_list *ids, const stop_set *v, str *text, size_t *n_ids) {
    str raw = STR_INIT;
    size_t cut = 0;
    for (*n_ids = 0; *n_ids < ids->n && cut == raw.len;) {
        int32_t id = ids->ids[(*n_ids)++];
        span piece = tokenizer_piece(engine_tokenizer(e), id);
        if (tokenizer_is_text(engine_tokenizer(e), id))
            str_append(&raw, piece.p, piece.n);
        cut = first_stop(&raw, v);
    }
    utf8_append_replaced(text, raw.data, cut);
    str_release(&raw);
}

static void generate(engine *e, uint64_t seed, const stop_set *v, engine_generated *g, stream *out) {
    engine_session *s = prompted(e, "where is my order");
    sampler_settings set = warm(seed);
    muga_error err = {0};
    engine_generate_args a = {.session = s,
                              .sampling = &set,
                              .max_tokens = 80,
                              .ignore_end = true,
                              .stop = v ? v->p : NULL,
                              .n_stop = v ? v->n : 0,
                              .on_text = on_text,
                              .on_text_ctx = out};
    assert_ok(engine_generate(&a, g, &err), &err);
    engine_session_free(s);
}

static void text_is_the_tokens_bytes_up_to_a_stop(void **state) {
    (void)state;
    engine *e = open_plain();
    rng r = {23};
    size_t n_stopped = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        engine_generated whole, g;
        stream first = {0}, out = {0};
        stop_set v, none = {.n = 0};
        str raw = STR_INIT, want = STR_INIT;
        size_t n_ids;
        generate(e, seed, NULL, &whole, &first);
        for (size_t i = 0; i < whole.ids.n; i++) {
            span piece = tokenizer_piece(engine_tokenizer(e), whole.ids.ids[i]);
            str_append(&raw, piece.p, piece.n);
        }
        choose_stops(&v, &r, &raw);
        generate(e, seed, &v, &g, &out);
        expected_text(e, &whole.ids, &v, &want, &n_ids);
        assert_int_equal(g.ids.n, n_ids);
        assert_string_equal(str_get(&g.text), str_get(&want));
        assert_string_equal(str_get(&out.text), str_get(&want));
        n_stopped += g.finish == ENGINE_STOP;
        str_truncate(&want, 0);
        expected_text(e, &whole.ids, &none, &want, &n_ids);
        assert_string_equal(str_get(&whole.text), str_get(&want));
        assert_string_equal(str_get(&first.text), str_get(&want));
        str_release(&first.text);
        str_release(&out.text);
        str_release(&raw);
        str_release(&want);
        engine_generated_release(&whole);
        engine_generated_release(&g);
    }
    assert_in_range(n_stopped, 75, 149); /* both happen */
    engine_free(e);
}

static void cancelling_keeps_what_was_given(void **state) {
    (void)state;
    engine *e = open_plain();
    engine_session *s = prompted(e, "hello");
    sampler_settings set = warm(1);
    stream out = {.cancel_at = 3};
    engine_generated g;
    muga_error err = {0};
    engine_generate_args a = {
        .session = s, .sampling = &set, .ignore_end = true, .on_text = on_text, .on_text_ctx = &out};
    assert_ok(engine_generate(&a, &g, &err), &err);
    assert_int_equal(g.finish, ENGINE_CANCELLED);
    assert_int_equal(out.n_calls, 3);
    assert_string_equal(str_get(&out.text), str_get(&g.text));
    str_release(&out.text);
    engine_generated_release(&g);
    engine_session_free(s);
    engine_free(e);
}

static const char schema_text[] =
    "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"tool\", \"note\", \"n\"],"
    " \"properties\": {\"tool\": {\"enum\": [\"order_status\", \"reset_password\"]},"
    " \"note\": {\"type\": \"string\", \"maxLength\": 300}, \"n\": {\"type\": \"integer\"}}}";

/* One constrained text; MUGA_OK or what generate said. */
static muga_status constrained(engine *e, const json_t *schema, uint64_t seed, uint32_t max_tokens, engine_generated *g,
                               muga_error *err) {
    constrain_grammar *grammar;
    constrain_state *state;
    assert_ok(constrain_compile_schema(schema, &(constrain_options){0}, &grammar, err), err);
    assert_ok(constrain_state_new(grammar, &state, err), err);
    engine_session *s = prompted(e, "<|im_start|>user\nwhere is it<|im_end|>\n<|im_start|>assistant\n");
    sampler_settings set = warm(seed);
    engine_generate_args a = {.session = s, .sampling = &set, .max_tokens = max_tokens, .constraint = state};
    muga_status st = engine_generate(&a, g, err);
    engine_session_free(s);
    constrain_state_free(state);
    constrain_grammar_free(grammar);
    return st;
}

static void constrained_text_is_valid_at_every_token_limit(void **state) {
    (void)state;
    engine *e = open_plain();
    json_t *schema;
    muga_error err = {0};
    assert_ok(json_parse(schema_text, strlen(schema_text), "schema", &schema, &err), &err);
    uint32_t shortest = 0, n_forced = 0;
    for (uint32_t limit = 1; limit < 120; limit++) {
        engine_generated g = {0};
        json_t *value = NULL;
        muga_status st = constrained(e, schema, limit, limit, &g, &err);
        if (st) {
            assert_int_equal(st, MUGA_E_LIMIT); /* below the shortest answer, by name */
            assert_int_equal(shortest, 0);
            continue;
        }
        shortest = shortest ? shortest : limit;
        n_forced = MAX(n_forced, g.n_forced);
        assert_int_equal(g.finish, ENGINE_STOP);
        assert_true(g.ids.n <= limit);
        assert_ok(json_parse(g.text.data, g.text.len, "answer", &value, &err), &err);
        assert_ok(constrain_validate(schema, value, &(constrain_validate_options){0}, &err), &err);
        json_decref(value);
        engine_generated_release(&g);
    }
    print_message("shortest answer within %u tokens; up to %u tokens forced\n", shortest, n_forced);
    assert_in_range(shortest, 5, 60);
    assert_true(n_forced > 3); /* the keys are no choice of the model's */
    json_decref(schema);
    engine_free(e);
}

static void forced_tokens_are_the_tokenizers_own(void **state) {
    (void)state;
    engine *e = open_plain();
    json_t *schema;
    muga_error err = {0};
    static const char text[] = "{\"const\": \"order status password account\"}";
    static const char value[] = "\"order status password account\"";
    assert_ok(json_parse(text, strlen(text), "schema", &schema, &err), &err);
    engine_generated g = {0};
    token_list want = TOKEN_LIST_INIT;
    assert_ok(constrained(e, schema, 1, 40, &g, &err), &err);
    assert_ok(tokenizer_encode(engine_tokenizer(e), value, strlen(value), (tokenizer_flags){0}, &want, &err), &err);
    assert_string_equal(str_get(&g.text), value);
    assert_int_equal(g.ids.n, want.n);
    assert_memory_equal(g.ids.ids, want.ids, want.n * sizeof *want.ids);
    assert_int_equal(g.n_forced, want.n);
    engine_generated_release(&g);
    token_list_release(&want);
    json_decref(schema);
    engine_free(e);
}

static void stop_strings_and_constraints_exclude_each_other(void **state) {
    (void)state;
    engine *e = open_plain();
    engine_session *s = prompted(e, "hello");
    constrain_grammar *grammar;
    constrain_state *c;
    json_t *schema = json_pack("{s:s}", "type", "integer");
    const char *stops[] = {"1"};
    muga_error err = {0};
    assert_ok(constrain_compile_schema(schema, &(constrain_options){0}, &grammar, &err), &err);
    assert_ok(constrain_state_new(grammar, &c, &err), &err);
    sampler_settings set = warm(1);
    engine_generated g;
    engine_generate_args a = {.session = s, .sampling = &set, .constraint = c, .stop = stops, .n_stop = 1};
    assert_status(engine_generate(&a, &g, &err), MUGA_E_USAGE, &err, "stop strings");
    json_decref(schema);
    constrain_state_free(c);
    constrain_grammar_free(grammar);
    engine_session_free(s);
    engine_free(e);
}

/* Feeds the plan in pieces of at most three tokens and cuts the session back now and then, as a scheduler that is short
 * of room does. */
static muga_status generate_in_pieces(const engine_generate_args *a, uint64_t seed, engine_generated *out,
                                      muga_error *err) {
    generation *g;
    rng r = {seed};
    muga_status st = generation_new(a, &g, err);
    while (!st && !generation_done(g)) {
        engine_item item;
        if ((st = generation_plan(g, &item, err)) || item.n == 0)
            break;
        uint32_t n = 1 + rng_below(&r, 3);
        if (n < item.n) {
            item.n = n;
            item.want = ENGINE_LOGITS_NONE;
        }
        st = engine_step(engine_session_engine(a->session), &item, 1, err);
        if (!st)
            st = generation_take(g, err);
        if (rng_below(&r, 8) == 0)
            engine_session_truncate(a->session, rng_below(&r, engine_session_count(a->session)));
    }
    if (!st)
        st = generation_finish(g, out, err);
    generation_free(g);
    return st;
}

static void count_row(void *ctx, uint32_t pos, const float *logits) {
    (void)logits;
    uint32_t *last = ctx;
    assert_true(pos > *last);
    *last = pos;
}

static void an_answer_is_the_same_computed_in_pieces_and_again(void **state) {
    (void)state;
    engine *e = open_plain();
    muga_error err = {0};
    for (uint64_t seed = 0; seed < 30; seed++) {
        engine_session *s = prompted(e, "where is my order"), *t;
        uint32_t n_prompt = engine_session_count(s), last = 0;
        sampler_settings set = warm(seed);
        set.repeat_penalty = 1.2f;
        set.penalty_last_n = 20;
        engine_generate_args a = {.session = s, .sampling = &set, .max_tokens = 60, .ignore_end = true};
        engine_generated whole, pieces;
        int32_t prompt[64];
        assert_true(n_prompt <= ARRAY_LEN(prompt));
        memcpy(prompt, engine_session_ids(s), n_prompt * sizeof *prompt);
        assert_ok(engine_generate(&a, &whole, &err), &err);
        assert_ok(engine_session_new(e, engine_session_ctx(s), &t, &err), &err);
        a.session = t;
        a.prompt = prompt;
        a.n_prompt = n_prompt;
        a.on_choice = count_row;
        a.on_choice_ctx = &last;
        assert_ok(generate_in_pieces(&a, seed, &pieces, &err), &err);
        assert_int_equal(pieces.ids.n, whole.ids.n);
        assert_memory_equal(pieces.ids.ids, whole.ids.ids, whole.ids.n * sizeof *whole.ids.ids);
        assert_string_equal(str_get(&pieces.text), str_get(&whole.text));
        engine_generated_release(&whole);
        engine_generated_release(&pieces);
        a.session = s;
        assert_status(engine_generate(&a, &pieces, &err), MUGA_E_USAGE, &err, "beginning of the prompt");
        engine_session_free(s);
        engine_session_free(t);
    }
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_streams_in_whole_characters_up_to_the_limit),
        cmocka_unit_test(a_stop_string_ends_the_text_wherever_tokens_cut_it),
        cmocka_unit_test(text_is_the_tokens_bytes_up_to_a_stop),
        cmocka_unit_test(cancelling_keeps_what_was_given),
        cmocka_unit_test(constrained_text_is_valid_at_every_token_limit),
        cmocka_unit_test(forced_tokens_are_the_tokenizers_own),
        cmocka_unit_test(stop_strings_and_constraints_exclude_each_other),
        cmocka_unit_test(an_answer_is_the_same_computed_in_pieces_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
