/* The constraint as a generator sees it: masks, budgets, forced bytes, copies, grammars. If this failed, a model under
 * constraint could write what its schema forbids, or be left in the middle of a value when its tokens run out. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "constrain/constrain.h"

#include <stdio.h>

static json_t *parse(const char *text) {
    muga_error err = {0};
    json_t *v = NULL;
    assert_ok(json_parse(text, strlen(text), "test", &v, &err), &err);
    return v;
}

static constrain_grammar *compile(const char *schema) {
    muga_error err = {0};
    constrain_grammar *g = NULL;
    json_t *v = parse(schema);
    assert_ok(constrain_compile_schema(v, NULL, &g, &err), &err);
    json_decref(v);
    return g;
}

static bool accepts(const constrain_grammar *g, const char *text, size_t n) {
    muga_error err = {0};
    constrain_state *s;
    bool yes = false;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, text, n, &yes, &err), &err);
    yes = yes && constrain_is_complete(s);
    constrain_state_free(s);
    return yes;
}

/* ---- a small vocabulary: every byte but 0x04, a control token, and pieces that cross what JSON keeps apart ---- */
#define N_VOCAB (1 + 256 + 40)
static const char *const pieces[40] = {"{\"",
                                       "\":",
                                       "\",\"",
                                       "\"}",
                                       "\":\"",
                                       "true",
                                       "false",
                                       "null",
                                       "[\"",
                                       "[[",
                                       "]]",
                                       "}}",
                                       "},{",
                                       ",\"",
                                       "\"]",
                                       "12",
                                       "00",
                                       "-1",
                                       ".5",
                                       "e1",
                                       "name",
                                       "id",
                                       "order",
                                       " the",
                                       "\\n",
                                       "\\u00",
                                       "\xC3\xA9",
                                       "\xE2\x82",
                                       "\x82\xAC",
                                       "\":true",
                                       "\",\"a\":",
                                       "A1",
                                       "ab",
                                       "abc",
                                       "abcd",
                                       "\"\":",
                                       "{}",
                                       "[]",
                                       "{\"a\":{\"a\":",
                                       "order_id\":\"A"};

static constrain_trie *small_vocabulary(span out[N_VOCAB]) {
    static char bytes[256];
    muga_error err = {0};
    constrain_trie *t = NULL;
    out[0] = span_of(NULL, 0);
    for (int b = 0; b < 256; b++) {
        bytes[b] = (char)b;
        out[1 + b] = span_of(&bytes[b], b == 4 ? 0 : 1);
    }
    for (size_t i = 0; i < 40; i++)
        out[257 + i] = span_of_string(pieces[i]);
    assert_ok(constrain_trie_new(&(constrain_vocab){.n = N_VOCAB, .pieces = out}, &t, &err), &err);
    return t;
}

static bool bit(const uint64_t *mask, uint32_t i) {
    return mask[i / 64] >> i % 64 & 1;
}

static const char *const walked[] = {
    "{\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^(a|bcdefgh)$\"}, \"additionalProperties\": {\"type\": "
    "\"null\"}, "
    "\"minProperties\": 2}",
    "{\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^[ab]{1,2}$\"}, \"additionalProperties\": {\"const\": "
    "true}, "
    "\"minProperties\": 5}",
    "{\"type\": \"array\", \"items\": {\"type\": \"object\", \"minProperties\": 2, \"maxProperties\": 3, "
    "\"additionalProperties\": "
    "{\"type\": \"object\", \"minProperties\": 1, \"patternProperties\": {\"^(name|id)$\": {\"type\": \"null\"}}, "
    "\"additionalProperties\": false}}, \"minItems\": 2, \"maxItems\": 2}",
    "{\"anyOf\": [{\"type\": \"object\", \"properties\": {\"ab\": {\"type\": \"null\"}, \"abc\": {\"type\": "
    "\"null\"}}, \"required\": "
    "[\"ab\", \"abc\"], \"additionalProperties\": false}, {\"type\": \"object\", \"minProperties\": 3, "
    "\"additionalProperties\": "
    "{\"type\": \"boolean\"}}]}",
    "{\"type\": \"object\", \"properties\": {\"order\": {\"type\": \"integer\"}, \"order_id\": {\"type\": "
    "\"integer\"}}, \"required\": "
    "[\"order\", \"order_id\", \"name\"]}",
    "{}",
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"string\"}}, "
    "\"required\": [\"b\"], \"additionalProperties\": false}",
    "{\"type\": \"object\", \"properties\": {\"order_id\": {\"type\": \"string\", \"pattern\": \"^A[0-9]{5}$\"}}, "
    "\"required\": [\"order_id\"], \"additionalProperties\": false}",
    "{\"type\": \"object\"}",
    "{\"type\": \"object\", \"properties\": {\"abc\": {\"const\": 1}, \"abd\": {\"type\": \"null\"}}, "
    "\"additionalProperties\": {\"type\": \"integer\"}, \"minProperties\": 2, \"maxProperties\": 4}",
    "{\"type\": \"object\", \"patternProperties\": {\"^a\": {\"type\": \"integer\"}, \"b$\": {\"minimum\": 3}}}",
    "{\"type\": \"object\", \"propertyNames\": {\"enum\": [\"a\", \"ab\", \"abc\"]}, \"minProperties\": 3}",
    "{\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^[ab]{1,2}$\"}, \"required\": [\"zz\"], "
    "\"not\": {\"required\": [\"zz\"]}, \"anyOf\": [{}]}",
    "{\"type\": \"array\", \"items\": {\"type\": [\"string\", \"null\"], \"maxLength\": 2}, \"minItems\": 1, "
    "\"maxItems\": 4}",
    "{\"type\": \"array\", \"prefixItems\": [{\"type\": \"integer\"}, {\"enum\": [\"a\", \"b\"]}], \"items\": false, "
    "\"minItems\": 2}",
    "{\"enum\": [\"red\", \"amber\", 3, 2.5, null, [1, {\"k\": \"v\"}], \"caf\\u00e9\", \"a\\\"b\\\\c\\n\\u0001\"]}",
    "{\"type\": \"number\", \"minimum\": -1.5, \"exclusiveMaximum\": 1000.25}",
    "{\"type\": \"integer\", \"minimum\": 17, \"maximum\": 90210, \"multipleOf\": 7}",
    "{\"type\": \"number\"}",
    "{\"type\": \"string\", \"minLength\": 3, \"maxLength\": 5}",
    "{\"type\": \"string\", \"pattern\": \"caf\\u00e9|\\\\d+ \\u20ac|\\\\n$\"}",
    "{\"type\": \"string\", \"format\": \"date-time\"}",
    "{\"type\": \"string\", \"format\": \"email\"}",
    "{\"anyOf\": [{\"type\": \"string\", \"maxLength\": 4}, {\"type\": \"object\", "
    "\"properties\": {\"a\": {\"$ref\": \"#\"}}, \"required\": [\"a\"], \"additionalProperties\": false}]}",
    "{\"$ref\": \"#/$defs/tree\", \"$defs\": {\"tree\": {\"type\": \"object\", "
    "\"properties\": {\"v\": {\"type\": \"integer\"}, \"kids\": {\"type\": \"array\", "
    "\"items\": {\"$ref\": \"#/$defs/tree\"}}}, \"required\": [\"v\", \"kids\"], \"additionalProperties\": false}}}",
    "{\"oneOf\": [{\"type\": \"object\", \"properties\": {\"tool\": {\"const\": \"a\"}, "
    "\"x\": {\"type\": \"integer\"}}, \"required\": [\"tool\", \"x\"], \"additionalProperties\": false}, "
    "{\"type\": \"object\", \"properties\": {\"tool\": {\"const\": \"abc\"}, \"y\": {\"type\": \"boolean\"}}, "
    "\"required\": [\"tool\"], \"additionalProperties\": false}]}",
    "{\"type\": \"object\", \"properties\": {\"k\": {\"enum\": [\"a\", \"b\"]}, \"n\": {\"type\": \"integer\", "
    "\"minimum\": 0, \"maximum\": 9}}, \"required\": [\"k\"], \"if\": {\"properties\": {\"k\": {\"const\": \"a\"}}}, "
    "\"then\": {\"required\": [\"n\"]}, \"else\": {\"properties\": {\"n\": false}}, \"additionalProperties\": false}",
    "{\"type\": \"object\", \"propertyNames\": {\"maxLength\": 1}, \"additionalProperties\": {\"type\": \"integer\", "
    "\"maximum\": 0}}",
    "{\"type\": \"object\", \"patternProperties\": {\"^[ab]$\": {\"type\": \"null\"}}, "
    "\"additionalProperties\": false}",
    "{\"not\": {\"anyOf\": [{\"type\": [\"string\", \"object\", \"array\"]}, {\"minimum\": 5}]}}",
    "{\"allOf\": [{\"type\": \"string\", \"minLength\": 2}, {\"pattern\": \"^[a-f]*$\"}, {\"maxLength\": 6}]}",
};

/* Follows random admitted tokens to an end; `left` tokens at most. Returns the number written. */
static uint32_t walk(const constrain_grammar *g, const constrain_trie *t, const span *vocab, rng *r, uint32_t left,
                     bool greedy_end, str *out) {
    muga_error err = {0};
    constrain_state *s;
    uint64_t mask[(N_VOCAB + 63) / 64];
    uint32_t used = 0;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    for (;;) {
        bool may_end = false, accepted = false;
        uint32_t choices[N_VOCAB], n = 0;
        assert_ok(constrain_mask(s, t, left - used, mask, &may_end, &err), &err);
        for (uint32_t i = 0; i < N_VOCAB; i++)
            if (bit(mask, i))
                choices[n++] = i;
        assert_false(bit(mask, 0)); /* a control token */
        assert_int_equal(may_end, constrain_is_complete(s));
        if (n == 0 || (may_end && (greedy_end || rng_below(r, 4) == 0))) {
            assert_true(may_end);
            break;
        }
        span piece = vocab[choices[rng_below(r, n)]];
        assert_ok(constrain_advance(s, piece.p, piece.n, &accepted, &err), &err);
        assert_true(accepted);
        str_append(out, piece.p, piece.n);
        used++;
    }
    constrain_state_free(s);
    assert_true(used <= left);
    return used;
}

static void whatever_the_mask_admits_is_valid_at_every_budget(void **state) {
    (void)state;
    span vocab[N_VOCAB];
    constrain_trie *t = small_vocabulary(vocab);
    rng r = {12345};
    for (size_t k = 0; k < ARRAY_LEN(walked); k++) {
        muga_error err = {0};
        json_t *schema = parse(walked[k]);
        constrain_grammar *g = NULL;
        constrain_state *s;
        muga_status st = constrain_compile_schema(schema, NULL, &g, &err);
        if (st == MUGA_E_INPUT && strstr(err.message, "no finite text")) { /* one of them is meant to be impossible */
            json_decref(schema);
            continue;
        }
        assert_ok(st, &err);
        assert_ok(constrain_state_new(g, &s, &err), &err);
        uint32_t least = constrain_tokens_to_close(s, t);
        constrain_state_free(s);
        assert_true(least > 0 && least < 200);
        for (int i = 0; i < 120; i++) {
            uint32_t left = i % 3 == 0 ? least : i % 3 == 1 ? least + rng_below(&r, 12) : least + 200;
            str text = STR_INIT;
            json_t *v = NULL;
            walk(g, t, vocab, &r, left, i % 2, &text);
            if (json_parse(str_get(&text), text.len, "walk", &v, &err) != MUGA_OK ||
                constrain_validate(schema, v, &(constrain_validate_options){.formats = true}, &err) != MUGA_OK)
                fail_msg("schema %s\n gave %s\n %s", walked[k], str_get(&text), err.message);
            assert_true(accepts(g, str_get(&text), text.len));
            json_decref(v);
            str_release(&text);
        }
        constrain_grammar_free(g);
        json_decref(schema);
    }
    constrain_trie_free(t);
}

static void a_budget_below_the_shortest_value_is_an_error(void **state) {
    (void)state;
    span vocab[N_VOCAB];
    constrain_trie *t = small_vocabulary(vocab);
    constrain_grammar *g =
        compile("{\"type\": \"object\", \"properties\": {\"order_id\": {\"type\": \"string\", \"pattern\": "
                "\"^A[0-9]{5}$\"}}, \"required\": [\"order_id\"], \"additionalProperties\": false}");
    constrain_state *s;
    muga_error err = {0};
    uint64_t mask[(N_VOCAB + 63) / 64];
    bool may_end;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    uint32_t least = constrain_tokens_to_close(s, t);
    assert_true(least <= 14); /* {" order _ id ": " A 1 2 3 4 5 " } and not 22 bytes */
    assert_ok(constrain_mask(s, t, least, mask, &may_end, &err), &err);
    assert_status(constrain_mask(s, t, least - 1, mask, &may_end, &err), MUGA_E_LIMIT, &err, "shortest valid value");
    assert_status(constrain_mask(s, t, 0, mask, &may_end, &err), MUGA_E_LIMIT, &err, "token limit");
    constrain_state_free(s);
    constrain_grammar_free(g);
    constrain_trie_free(t);
}

static void the_mask_is_exactly_what_can_be_advanced_over(void **state) {
    (void)state;
    span vocab[N_VOCAB];
    constrain_trie *t = small_vocabulary(vocab);
    rng r = {7};
    for (size_t k = 0; k < ARRAY_LEN(walked); k++) {
        muga_error err = {0};
        json_t *schema = parse(walked[k]);
        constrain_grammar *g = NULL;
        if (constrain_compile_schema(schema, NULL, &g, &err) == MUGA_OK) {
            constrain_state *s;
            assert_ok(constrain_state_new(g, &s, &err), &err);
            for (int step = 0; step < 12; step++) {
                uint64_t mask[(N_VOCAB + 63) / 64];
                uint32_t choices[N_VOCAB], n = 0;
                bool may_end, accepted;
                assert_ok(constrain_mask(s, t, 10000, mask, &may_end, &err), &err);
                for (uint32_t i = 0; i < N_VOCAB; i++) {
                    constrain_state *copy;
                    assert_ok(constrain_state_copy(s, &copy, &err), &err);
                    assert_ok(constrain_advance(copy, vocab[i].p, vocab[i].n, &accepted, &err), &err);
                    /* what can be written, but only into keys that the object has already, is not admitted */
                    bool dead_end = accepted && constrain_tokens_to_close(copy, t) > 100000;
                    if (vocab[i].n == 0)
                        assert_false(bit(mask, i));
                    else if ((accepted && !dead_end) != bit(mask, i))
                        fail_msg("schema %s, token %u", walked[k], i);
                    constrain_state_free(copy);
                    if (bit(mask, i))
                        choices[n++] = i;
                }
                if (n == 0)
                    break;
                span piece = vocab[choices[rng_below(&r, n)]];
                assert_ok(constrain_advance(s, piece.p, piece.n, &accepted, &err), &err);
            }
            constrain_state_free(s);
            constrain_grammar_free(g);
        }
        json_decref(schema);
    }
    constrain_trie_free(t);
}

/* ---- plain text, which masks take in large portions ---- */
#define N_PLAIN 900
static const char *const plain_schemas[] = {
    "{\"type\": \"string\"}",
    "{\"type\": \"string\", \"maxLength\": 7}",
    "{\"type\": \"string\", \"minLength\": 3, \"maxLength\": 60}",
    "{\"type\": \"string\", \"pattern\": \"^[^a]*$\"}",
    "{\"type\": \"string\", \"pattern\": \"^[a-e \\u00e9]{2,9}$\"}",
    "{\"type\": \"string\", \"pattern\": \"^.{3}abc.*z$\"}",
    "{\"anyOf\": [{\"type\": \"string\", \"maxLength\": 4}, {\"enum\": [\"abacus\", \"a\xC3\xA9\", \"abc\"]}]}",
    "{\"type\": \"string\", \"not\": {\"enum\": [\"abacus\", \"a\xC3\xA9\", \"bcd\"]}}",
    "{\"type\": \"array\", \"contains\": {\"const\": \"abc\"}, \"items\": {\"type\": \"string\"}}",
    "{\"type\": \"object\", \"properties\": {\"ab\": {}, \"a\xC3\xA9\": {\"type\": \"string\"}, \"bcd\": {}}}",
    "{\"type\": \"object\", \"patternProperties\": {\"^b\": {\"type\": \"string\"}}, \"minProperties\": 2}"};

/* Words of a few letters, accents and digits, and now and then a quotation mark; every byte by itself. */
static constrain_trie *plain_vocabulary(span *v, char *bytes) {
    static const char *const letters[] = {
        "a", "b", "c", "d", "e", "z", " ", "\xC3\xA9", "\xE2\x82\xAC", "7", "\xF0\x9F\x98\x80"};
    rng r = {3};
    muga_error err = {0};
    constrain_trie *t = NULL;
    char *at = bytes;
    for (uint32_t i = 0; i < N_PLAIN; i++) {
        char *from = at;
        uint32_t n = 1 + rng_below(&r, i % 50 == 0 ? 45 : 6);
        if (i < 256)
            *at++ = (char)i;
        for (uint32_t k = 0; k < n && i >= 256; k++) {
            const char *p = letters[rng_below(&r, ARRAY_LEN(letters))];
            memcpy(at, p, strlen(p));
            at += strlen(p);
        }
        if (i >= 256 && i % 9 == 0)
            *at++ = i % 2 ? '"' : '\\';
        v[i] = span_of(from, (size_t)(at - from));
    }
    assert_ok(constrain_trie_new(&(constrain_vocab){.n = N_PLAIN, .pieces = v}, &t, &err), &err);
    return t;
}

static void plain_text_is_admitted_as_byte_by_byte(void **state) {
    (void)state;
    static char bytes[N_PLAIN * 200];
    span vocab[N_PLAIN];
    constrain_trie *t = plain_vocabulary(vocab, bytes);
    rng r = {11};
    uint32_t n_long = 0;
    for (size_t k = 0; k < ARRAY_LEN(plain_schemas) * 3; k++) {
        muga_error err = {0};
        constrain_grammar *g = compile(plain_schemas[k / 3]);
        constrain_state *s;
        assert_ok(constrain_state_new(g, &s, &err), &err);
        for (int step = 0; step < 14; step++) {
            uint64_t mask[(N_PLAIN + 63) / 64];
            uint32_t choices[N_PLAIN], n = 0, left = constrain_tokens_to_close(s, t) + 1 + rng_below(&r, 40);
            bool may_end, accepted;
            assert_ok(constrain_mask(s, t, left, mask, &may_end, &err), &err);
            for (uint32_t i = 0; i < N_PLAIN; i++) {
                constrain_state *copy;
                assert_ok(constrain_state_copy(s, &copy, &err), &err);
                assert_ok(constrain_advance(copy, vocab[i].p, vocab[i].n, &accepted, &err), &err);
                accepted = accepted && constrain_tokens_to_close(copy, t) < left;
                if (accepted != bit(mask, i))
                    fail_msg("schema %s, step %d, left %u, token \"%.*s\"", plain_schemas[k / 3], step, left,
                             (int)vocab[i].n, vocab[i].p);
                constrain_state_free(copy);
                if (bit(mask, i))
                    choices[n++] = i;
            }
            if (n == 0)
                break;
            uint32_t words = 0; /* rather than single bytes */
            while (words < n && choices[n - 1 - words] > 255)
                words++;
            span piece = vocab[words ? choices[n - 1 - rng_below(&r, words)] : choices[rng_below(&r, n)]];
            n_long += piece.n > 2;
            assert_ok(constrain_advance(s, piece.p, piece.n, &accepted, &err), &err);
        }
        constrain_state_free(s);
        constrain_grammar_free(g);
    }
    assert_true(n_long > 50);
    constrain_trie_free(t);
}

static void forced_bytes_are_those_with_no_alternative(void **state) {
    (void)state;
    constrain_grammar *g =
        compile("{\"type\": \"object\", \"properties\": {\"order_id\": {\"type\": \"string\", \"pattern\": "
                "\"^A[0-9]{5}$\"}}, \"required\": [\"order_id\"], \"additionalProperties\": false}");
    constrain_state *s;
    muga_error err = {0};
    str out = STR_INIT;
    bool accepted;
    assert_ok(constrain_state_new(g, &s, &err), &err);
    constrain_forced(s, 100, &out);
    assert_string_equal(str_get(&out), "{\"order_id\":\"A");
    str_clear(&out);
    constrain_forced(s, 3, &out);
    assert_string_equal(str_get(&out), "{\"o");
    assert_ok(constrain_advance(s, "{\"order_id\":\"A12345", 19, &accepted, &err), &err);
    assert_true(accepted);
    str_clear(&out);
    constrain_forced(s, 100, &out);
    assert_string_equal(str_get(&out), "\"}");
    assert_ok(constrain_advance(s, "\"]", 2, &accepted, &err), &err);
    assert_false(accepted); /* and the state stands where it stood */
    assert_ok(constrain_advance(s, "\"}", 2, &accepted, &err), &err);
    assert_true(accepted && constrain_is_complete(s) && !constrain_can_continue(s));
    str_release(&out);
    constrain_state_free(s);
    constrain_grammar_free(g);
}

static void a_vocabulary_that_lacks_bytes_is_an_error(void **state) {
    (void)state;
    span vocab[27];
    static char letters[26];
    muga_error err = {0};
    constrain_trie *t = NULL;
    constrain_state *s = NULL;
    uint64_t mask[1];
    bool may_end;
    vocab[26] = span_of("", 0); /* it ends a text, and spells nothing */
    for (int i = 0; i < 26; i++) {
        letters[i] = (char)('a' + i);
        vocab[i] = span_of(&letters[i], 1);
    }
    assert_ok(constrain_trie_new(&(constrain_vocab){.n = 27, .pieces = vocab}, &t, &err), &err);
    static const char *const schemas[] = {"{\"type\": \"string\"}", "{\"enum\": [1, 2]}"};
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        constrain_grammar *g = compile(schemas[i]);
        assert_ok(constrain_state_new(g, &s, &err), &err);
        assert_status(constrain_mask(s, t, 100, mask, &may_end, &err), MUGA_E_INPUT, &err, "lacks bytes");
        constrain_state_free(s);
        constrain_grammar_free(g);
    }
    constrain_trie_free(t);
}

static void copies_go_their_own_ways(void **state) {
    (void)state;
    constrain_grammar *g = compile("{\"enum\": [\"ab\", \"ac\"]}");
    constrain_state *a, *b;
    muga_error err = {0};
    bool accepted;
    assert_ok(constrain_state_new(g, &a, &err), &err);
    assert_ok(constrain_advance(a, "\"a", 2, &accepted, &err), &err);
    assert_ok(constrain_state_copy(a, &b, &err), &err);
    assert_ok(constrain_advance(a, "b\"", 2, &accepted, &err), &err);
    assert_true(accepted);
    assert_ok(constrain_advance(b, "c\"", 2, &accepted, &err), &err);
    assert_true(accepted && constrain_is_complete(a) && constrain_is_complete(b));
    constrain_state_free(a);
    constrain_state_free(b);
    constrain_grammar_free(g);
}

static void two_vocabularies_may_share_a_grammar(void **state) {
    (void)state;
    span vocab[N_VOCAB], few[3] = {span_of_string("\""), span_of_string("ab"), span_of_string("x")};
    constrain_trie *t = small_vocabulary(vocab), *u = NULL;
    constrain_grammar *g = compile("{\"enum\": [\"ab\", \"x\"]}");
    constrain_state *s;
    muga_error err = {0};
    uint64_t mask[(N_VOCAB + 63) / 64];
    bool may_end, accepted;
    assert_ok(constrain_trie_new(&(constrain_vocab){.n = 3, .pieces = few}, &u, &err), &err);
    assert_ok(constrain_state_new(g, &s, &err), &err);
    assert_ok(constrain_advance(s, "\"", 1, &accepted, &err), &err);
    for (int i = 0; i < 4; i++) {
        assert_ok(constrain_mask(s, i % 2 ? u : t, 50, mask, &may_end, &err), &err);
        assert_true(i % 2 ? mask[0] == 6 : bit(mask, 1 + 'a') && bit(mask, 1 + 'x') && !bit(mask, 1 + 'b'));
        assert_int_equal(constrain_tokens_to_close(s, i % 2 ? u : t), 2);
    }
    constrain_state_free(s);
    constrain_grammar_free(g);
    constrain_trie_free(t);
    constrain_trie_free(u);
}

static void gbnf_says_what_it_says(void **state) {
    (void)state;
    static const struct {
        const char *grammar, *yes, *no;
    } cases[] = {
        {"root ::= \"a\"{2,3} [^b-d] .", "aaz\xE2\x82\xAC", "aabz"},
        {"root ::= x | y # which\nx ::= \"1\" (\n  \"2\"\n  | \"3\")+\ny ::= \"\\x41\\u00e9\"", "A\xC3\xA9", "1"},
        {"root ::= \"(\" root \")\" | \"\"", "((()))", "(()"},
        {"root ::= ([x]* \"y\"?)* \"z\"", "xxyyxz", "xx"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        muga_error err = {0};
        constrain_grammar *g = NULL;
        assert_ok(constrain_compile_gbnf(cases[i].grammar, strlen(cases[i].grammar), &g, &err), &err);
        assert_true(accepts(g, cases[i].yes, strlen(cases[i].yes)));
        assert_false(accepts(g, cases[i].no, strlen(cases[i].no)));
        constrain_grammar_free(g);
    }
    static const char *const refused[][2] = {{"root ::= root \"a\" | \"b\"", "left recursion"},
                                             {"root ::= a", "not defined"},
                                             {"x ::= \"a\"", "no rule \"root\""},
                                             {"root ::= <[12]>", "token ids"},
                                             {"root ::= \"a", "not closed"},
                                             {"root ::= \"a\" }", "end of the rule"}};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        muga_error err = {0};
        constrain_grammar *g = NULL;
        muga_status st = constrain_compile_gbnf(refused[i][0], strlen(refused[i][0]), &g, &err);
        assert_status(st, MUGA_E_INPUT, &err, refused[i][1]);
    }
}

static void a_regex_is_matched_whole(void **state) {
    (void)state;
    muga_error err = {0};
    constrain_grammar *g = NULL;
    assert_ok(constrain_compile_regex("a+(b|c)?", &g, &err), &err);
    assert_true(accepts(g, "aac", 3));
    assert_false(accepts(g, "xaac", 4));
    assert_false(accepts(g, "", 0));
    constrain_grammar_free(g);
    assert_ok(constrain_compile_regex("(?!.*xx)[a-x]+", &g, &err), &err);
    assert_true(accepts(g, "xax", 3));
    assert_false(accepts(g, "axx", 3));
    constrain_grammar_free(g);
    assert_status(constrain_compile_regex("(a)\\1", &g, &err), MUGA_E_INPUT, &err, "back-reference");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_mask_admits_is_valid_at_every_budget),
        cmocka_unit_test(a_budget_below_the_shortest_value_is_an_error),
        cmocka_unit_test(the_mask_is_exactly_what_can_be_advanced_over),
        cmocka_unit_test(plain_text_is_admitted_as_byte_by_byte),
        cmocka_unit_test(forced_bytes_are_those_with_no_alternative),
        cmocka_unit_test(a_vocabulary_that_lacks_bytes_is_an_error),
        cmocka_unit_test(copies_go_their_own_ways),
        cmocka_unit_test(two_vocabularies_may_share_a_grammar),
        cmocka_unit_test(gbnf_says_what_it_says),
        cmocka_unit_test(a_regex_is_matched_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
