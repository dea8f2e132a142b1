/* Schemas: whatever compiles must only let valid values be written and leave, within the token limit; nothing may
 * crash, leak or run on. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "constrain/constrain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every byte, and pieces that cross what JSON keeps apart. */
static const char *const pieces[] = {"{\"", "\":",   "\",\"", "\"}",     "\":\"", "true", "null",    "[[",
                                     "]]",  "},{",   ",\"",   "\"]",     "12",    "00",   "-1",      ".5",
                                     "e1",  "\\u00", "ab",    "{\"a\":", "{}",    "[]",   "\xC3\xA9"};
#define N_TOKENS (256u + (uint32_t)ARRAY_LEN(pieces))
static char bytes[256];
static span vocabulary[N_TOKENS];

static constrain_trie *make_trie(void) {
    constrain_trie *t = NULL;
    muga_error err;
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        if (i < 256)
            bytes[i] = (char)i;
        vocabulary[i] = i < 256 ? span_of(&bytes[i], 1) : span_of_string(pieces[i - 256]);
    }
    return constrain_trie_new(&(constrain_vocab){.n = N_TOKENS, .pieces = vocabulary}, &t, &err) == MUGA_OK ? t : NULL;
}

/* One token of the mask, or the end. false: the text is whole and ends here. */
static bool pick(rng *r, const uint64_t *mask, bool may_end, uint32_t *token) {
    uint32_t choices[N_TOKENS], n = 0;
    for (uint32_t i = 0; i < N_TOKENS; i++)
        if (mask[i / 64] >> i % 64 & 1)
            choices[n++] = i;
    if (n == 0 || (may_end && rng_below(r, 3) == 0))
        return false;
    *token = choices[rng_below(r, n)];
    return true;
}

/* false: the walk met a stated limit. */
static bool walk(constrain_grammar *g, const constrain_trie *t, rng *r, str *out) {
    constrain_state *s;
    muga_error err;
    if (constrain_state_new(g, &s, &err) != MUGA_OK)
        return false;
    uint32_t left = constrain_tokens_to_close(s, t);
    bool ok = left < 4000;
    left += rng_below(r, 2) ? rng_below(r, 40) : 0;
    while (ok) {
        uint64_t mask[(N_TOKENS + 63) / 64];
        uint32_t token;
        bool may_end, accepted = false;
        muga_status st = constrain_mask(s, t, left, mask, &may_end, &err);
        if (st != MUGA_OK) {
            if (st != MUGA_E_LIMIT || !strstr(err.message, "ambiguous"))
                abort(); /* the value could not be closed although the mask promised it */
            ok = false;
            break;
        }
        if (!pick(r, mask, may_end, &token))
            break;
        if (constrain_advance(s, vocabulary[token].p, vocabulary[token].n, &accepted, &err) != MUGA_OK || !accepted)
            abort();
        str_append(out, vocabulary[token].p, vocabulary[token].n);
        left--;
    }
    constrain_state_free(s);
    return ok;
}

/* What may leave is valid; what may not was left to re-validation. */
static void check_valid(const json_t *schema, const constrain_grammar *g, const str *text) {
    constrain_validate_options o = {.formats = true};
    json_t *value = NULL;
    muga_error err = {0};
    if (constrain_recheck(g, str_get(text), text->len, &err) != MUGA_OK) {
        if (!constrain_rechecks(g))
            abort();
        return;
    }
    if (json_parse(str_get(text), text->len, "value", &value, &err) != MUGA_OK)
        abort();
    if (constrain_validate(schema, value, &o, &err) == MUGA_E_NEGATIVE)
        abort();
    json_decref(value);
}

/* A text near to one that was written: if it is accepted, it must be valid too. */
static void check_neighbour(const json_t *schema, const constrain_grammar *g, rng *r, str *text) {
    constrain_state *s;
    muga_error err = {0};
    bool accepted = false;
    if (text->len == 0 || constrain_state_new(g, &s, &err) != MUGA_OK)
        return;
    text->data[rng_below(r, (uint32_t)text->len)] = "0159ab\"{}[],:.-e"[rng_below(r, 16)];
    if (constrain_advance(s, str_get(text), text->len, &accepted, &err) == MUGA_OK && accepted &&
        constrain_is_complete(s))
        check_valid(schema, g, text);
    constrain_state_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    rng r = {hash64(data, size, 7)};
    json_t *schema = NULL;
    constrain_grammar *g = NULL;
    muga_error err = {0};
    if (json_parse((const char *)data, size, "schema", &schema, &err) != MUGA_OK)
        return 0;
    constrain_trie *t = make_trie();
    if (t && constrain_compile_schema(schema, NULL, &g, &err) == MUGA_OK) {
        for (int i = 0; i < 4; i++) {
            str text = STR_INIT;
            if (walk(g, t, &r, &text)) {
                check_valid(schema, g, &text);
                for (int k = 0; k < 4; k++)
                    check_neighbour(schema, g, &r, &text);
            }
            str_release(&text);
        }
    }
    constrain_grammar_free(g);
    constrain_trie_free(t);
    json_decref(schema);
    return 0;
}
