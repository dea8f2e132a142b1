/* The constraint over a real tokenizer's vocabulary. If this failed, what a model may write token by token would not be
 * what its schema allows byte by byte, or a value could be left open when the tokens run out. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "constrain/constrain.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

static tokenizer *tok;
static constrain_trie *trie;
static uint32_t n_vocab;
static uint64_t *mask;

static int open_vocabulary(void **state) {
    (void)state;
    muga_error err = {0};
    gguf_file *file;
    assert_ok(gguf_open(source_path("tests/data/tiny.gguf"), &file, &err), &err);
    assert_ok(tokenizer_open(file, &tok, &err), &err);
    gguf_close(file);
    n_vocab = (uint32_t)tokenizer_count(tok);
    assert_ok(constrain_trie_new(&(constrain_vocab){.n = n_vocab, .pieces = tokenizer_text_pieces(tok)}, &trie, &err),
              &err);
    mask = mem_alloc_array(n_vocab / 64 + 1, sizeof *mask);
    return mask == NULL;
}

static int close_vocabulary(void **state) {
    (void)state;
    constrain_trie_free(trie);
    tokenizer_free(tok);
    free(mask);
    return 0;
}

static const char *const schemas[] = {
    "{\"type\": \"object\", \"properties\": {\"order_id\": {\"type\": \"string\", \"pattern\": \"^A[0-9]{5}$\"}, "
    "\"reason\": "
    "{\"type\": \"string\"}}, \"required\": [\"order_id\", \"reason\"], \"additionalProperties\": false}",
    "{\"type\": \"object\", \"properties\": {\"order\": {\"type\": \"integer\"}, \"order_id\": {\"type\": "
    "\"integer\"}}, "
    "\"required\": [\"order\", \"name\"], \"minProperties\": 4}",
    "{\"type\": \"object\", \"patternProperties\": {\"^(order|order_id|where)$\": {\"type\": \"boolean\"}}, "
    "\"additionalProperties\": false, \"minProperties\": 2}",
    "{\"enum\": [\"where is my order\", \"where is\", \"order\", 12345, 1.5, [1, {\"order\": null}], \"caf\\u00e9\"]}",
    "{\"oneOf\": [{\"type\": \"number\", \"multipleOf\": 0.25}, {\"type\": \"number\", \"minimum\": 3}, {\"type\": "
    "\"array\", "
    "\"contains\": {\"type\": \"string\"}, \"maxItems\": 3}]}",
    "{\"type\": \"array\", \"items\": {\"type\": \"string\", \"minLength\": 2, \"maxLength\": 6}, \"minItems\": 1, "
    "\"maxItems\": 3}",
    "{\"type\": \"string\", \"format\": \"date-time\"}",
    "{\"$ref\": \"#/$defs/t\", \"$defs\": {\"t\": {\"anyOf\": [{\"type\": \"null\"}, {\"type\": \"object\", "
    "\"properties\": {\"l\": "
    "{\"$ref\": \"#/$defs/t\"}, \"r\": {\"$ref\": \"#/$defs/t\"}}, \"required\": [\"l\", \"r\"], "
    "\"additionalProperties\": "
    "false}]}}}",
    "{}"};

static json_t *parse(const char *text, size_t n) {
    muga_error err = {0};
    json_t *v = NULL;
    return json_parse(text, n, "test", &v, &err) == MUGA_OK ? v : NULL;
}

static constrain_grammar *compile(const json_t *schema) {
    muga_error err = {0};
    constrain_grammar *g = NULL;
    assert_ok(constrain_compile_schema(schema, NULL, &g, &err), &err);
    return g;
}

static bool admitted(uint32_t id) {
    return mask[id / 64] >> id % 64 & 1;
}

/* Asked about one token, the constraint says what its mask says; of some tokens by chance and of `chosen`. */
static void check_single(constrain_state *s, rng *r, uint32_t left, uint32_t chosen) {
    muga_error err = {0};
    for (int i = 0; i < 20 && constrain_tells_tokens(s); i++) {
        uint32_t id = i ? rng_below(r, n_vocab) : chosen;
        span piece = tokenizer_text_pieces(tok)[id];
        bool admits;
        assert_ok(constrain_admits(s, trie, left, piece, &admits, &err), &err);
        assert_int_equal(admits, admitted(id));
    }
}

/* Random admitted tokens to an end, within `left` of them. */
static void walk(const constrain_grammar *g, rng *r, uint32_t left, str *out) {
    muga_error err = {0};
    constrain_state *s;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    for (;; left--) {
        bool may_end = false, accepted = false;
        uint32_t chosen = 0, n = 0;
        assert_ok(constrain_mask(s, trie, left, mask, &may_end, &err), &err);
        for (uint32_t i = 0; i < n_vocab; i++)
            if (admitted(i) && rng_below(r, ++n) == 0)
                chosen = i;
        assert_int_equal(may_end, constrain_is_complete(s));
        check_single(s, r, left, chosen);
        if (n == 0 || (may_end && rng_below(r, 3) == 0)) {
            assert_true(may_end);
            break;
        }
        assert_true(tokenizer_is_text(tok, (int32_t)chosen));
        span piece = tokenizer_piece(tok, (int32_t)chosen);
        assert_ok(constrain_advance(s, piece.p, piece.n, &accepted, &err), &err);
        assert_true(accepted);
        str_append(out, piece.p, piece.n);
    }
    constrain_state_free(s);
}

static bool accepts_bytes(const constrain_grammar *g, const str *text) {
    muga_error err = {0};
    constrain_state *s;
    bool yes = false;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, str_get(text), text->len, &yes, &err), &err);
    yes = yes && constrain_is_complete(s);
    constrain_state_free(s);
    return yes;
}

static bool accepts_tokens(const constrain_grammar *g, const str *text) {
    muga_error err = {0};
    constrain_state *s;
    token_list ids = TOKEN_LIST_INIT;
    bool fits = true, may_end = false;
    assert_ok(tokenizer_encode(tok, str_get(text), text->len, (tokenizer_flags){0}, &ids, &err), &err);
    assert_ok(constrain_state_new(g, &s, &err), &err);
    for (size_t i = 0; i <= ids.n && fits; i++) {
        assert_ok(constrain_mask(s, trie, 100000, mask, &may_end, &err), &err);
        if (i == ids.n)
            break;
        span piece = tokenizer_piece(tok, ids.ids[i]);
        fits = admitted((uint32_t)ids.ids[i]);
        if (fits)
            assert_ok(constrain_advance(s, piece.p, piece.n, &fits, &err), &err);
    }
    constrain_state_free(s);
    token_list_release(&ids);
    return fits && may_end;
}

static uint32_t least_tokens(const constrain_grammar *g) {
    muga_error err = {0};
    constrain_state *s;
    bool may_end;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    uint32_t least = constrain_tokens_to_close(s, trie);
    assert_true(least > 0 && least < 100);
    assert_ok(constrain_mask(s, trie, least, mask, &may_end, &err), &err);
    constrain_state_free(s);
    return least;
}

static void every_value_is_closed_within_the_limit(void **state) {
    (void)state;
    rng r = {99};
    for (size_t k = 0; k < ARRAY_LEN(schemas); k++) {
        json_t *schema = parse(schemas[k], strlen(schemas[k]));
        constrain_grammar *g = compile(schema);
        uint32_t least = least_tokens(g);
        for (uint32_t i = 0; i < 150; i++) {
            muga_error err = {0};
            str text = STR_INIT;
            walk(g, &r, least + (i % 3 ? rng_below(&r, 20) : 0), &text);
            json_t *v = parse(str_get(&text), text.len);
            assert_non_null(v);
            assert_ok(constrain_validate(schema, v, &(constrain_validate_options){.formats = true}, &err), &err);
            json_decref(v);
            str_release(&text);
        }
        constrain_grammar_free(g);
        json_decref(schema);
    }
}

/* What is asked for at least is exact but where keys are open: there a lucky token may save one, and the value is
 * closed all the same. */
static void a_limit_below_the_shortest_value_is_an_error(void **state) {
    (void)state;
    rng r = {5};
    int n_errors = 0, n_lucky = 0;
    for (size_t k = 0; k < ARRAY_LEN(schemas); k++) {
        json_t *schema = parse(schemas[k], strlen(schemas[k]));
        constrain_grammar *g = compile(schema);
        uint32_t least = least_tokens(g);
        for (uint32_t left = 0; left < least; left++) {
            muga_error err = {0};
            constrain_state *s;
            bool may_end;
            assert_ok(constrain_state_new(g, &s, &err), &err);
            muga_status st = constrain_mask(s, trie, left, mask, &may_end, &err);
            constrain_state_free(s);
            if (st == MUGA_OK) {
                str text = STR_INIT;
                walk(g, &r, left, &text);
                str_release(&text);
                n_lucky++;
                continue;
            }
            assert_status(st, MUGA_E_LIMIT, &err, "token limit");
            n_errors++;
        }
        constrain_grammar_free(g);
        json_decref(schema);
    }
    print_message("%d limits refused, %d that one token saved\n", n_errors, n_lucky);
    assert_true(n_errors > 100 && n_lucky < 10);
}

static void tokens_and_bytes_accept_the_same_texts(void **state) {
    (void)state;
    static const char bytes[] = "{}[]\",:.-e0159aorder_id \\";
    rng r = {7};
    int n_yes = 0, n_no = 0;
    for (size_t k = 0; k < ARRAY_LEN(schemas); k++) {
        json_t *schema = parse(schemas[k], strlen(schemas[k]));
        constrain_grammar *g = compile(schema);
        uint32_t least = least_tokens(g);
        for (uint32_t i = 0; i < 100; i++) {
            str text = STR_INIT;
            walk(g, &r, least + rng_below(&r, 20), &text);
            for (uint32_t changes = 0; changes < 6; changes++) {
                bool yes = accepts_bytes(g, &text);
                if (accepts_tokens(g, &text) != yes)
                    fail_msg("%s: \"%s\" is %s", schemas[k], str_get(&text), yes ? "lost in tokens" : "only in tokens");
                n_yes += yes;
                n_no += !yes;
                text.data[rng_below(&r, (uint32_t)text.len)] = bytes[rng_below(&r, sizeof bytes - 1)];
            }
            str_release(&text);
        }
        constrain_grammar_free(g);
        json_decref(schema);
    }
    assert_true(n_yes > 800 && n_no > 800);
}

static void forced_bytes_leave_no_choice(void **state) {
    (void)state;
    rng r = {3};
    int n_forced = 0;
    for (size_t k = 0; k < ARRAY_LEN(schemas); k++) {
        json_t *schema = parse(schemas[k], strlen(schemas[k]));
        constrain_grammar *g = compile(schema);
        muga_error err = {0};
        str text = STR_INIT;
        constrain_state *s;
        walk(g, &r, least_tokens(g) + 10, &text);
        assert_ok(constrain_state_new(g, &s, &err), &err);
        for (size_t i = 0; i < text.len; i++) {
            str forced = STR_INIT;
            bool accepted;
            uint32_t n = 0;
            constrain_forced(s, 1, &forced);
            for (int b = 0; b < 256 && forced.len; b++) {
                constrain_state *copy;
                char c = (char)b;
                assert_ok(constrain_state_copy(s, &copy, &err), &err);
                assert_ok(constrain_advance(copy, &c, 1, &accepted, &err), &err);
                n += accepted;
                constrain_state_free(copy);
            }
            n_forced += (int)forced.len;
            assert_true(forced.len == 0 || (n == 1 && forced.data[0] == text.data[i] && !constrain_is_complete(s)));
            assert_ok(constrain_advance(s, text.data + i, 1, &accepted, &err), &err);
            assert_true(accepted);
            str_release(&forced);
        }
        constrain_state_free(s);
        str_release(&text);
        constrain_grammar_free(g);
        json_decref(schema);
    }
    assert_true(n_forced > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_closed_within_the_limit),
        cmocka_unit_test(a_limit_below_the_shortest_value_is_an_error),
        cmocka_unit_test(tokens_and_bytes_accept_the_same_texts),
        cmocka_unit_test(forced_bytes_leave_no_choice),
    };
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
