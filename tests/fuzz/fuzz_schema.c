/* Schemas: whatever compiles must only let valid values be written, within the token limit; nothing may crash, leak or
 * run on. The first 8 bytes seed the walk, the rest is the schema. */
#include "base/mem.h"
#include "base/rng.h"
#include "constrain/constrain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_TOKENS 256u

static constrain_trie *bytes_trie(void) {
    static char bytes[N_TOKENS];
    span pieces[N_TOKENS];
    constrain_trie *t = NULL;
    muga_error err;
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        bytes[i] = (char)i;
        pieces[i] = span_of(&bytes[i], 1);
    }
    return constrain_trie_new(&(constrain_vocab){N_TOKENS, pieces}, &t, &err) == MUGA_OK ? t : NULL;
}

/* false: the walk met a stated limit. */
static bool walk(constrain_grammar *g, const constrain_trie *t, rng *r, str *out) {
    constrain_state *s;
    muga_error err;
    if (constrain_state_new(g, &s, &err) != MUGA_OK)
        return false;
    uint32_t left = constrain_tokens_to_close(s, t);
    bool done = false, ok = left < 4000;
    left += rng_below(r, 40);
    while (ok && !done) {
        uint64_t mask[N_TOKENS / 64];
        uint8_t choices[N_TOKENS];
        uint32_t n = 0;
        bool may_end, accepted = false;
        muga_status st = constrain_mask(s, t, left, mask, &may_end, &err);
        if (st != MUGA_OK) {
            if (st != MUGA_E_LIMIT || !strstr(err.message, "ambiguous"))
                abort(); /* the value could not be closed although the mask promised it */
            ok = false;
            break;
        }
        for (uint32_t i = 0; i < N_TOKENS; i++)
            if (mask[i / 64] >> i % 64 & 1)
                choices[n++] = (uint8_t)i;
        if (n == 0 || (may_end && rng_below(r, 3) == 0)) {
            done = true;
            break;
        }
        char c = (char)choices[rng_below(r, n)];
        if (constrain_advance(s, &c, 1, &accepted, &err) != MUGA_OK || !accepted)
            abort();
        str_append_c(out, c);
        left--;
    }
    constrain_state_free(s);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    rng r = {0};
    json_t *schema = NULL, *value = NULL;
    constrain_grammar *g = NULL;
    muga_error err = {0};
    if (size < 9)
        return 0;
    memcpy(&r.state, data, 8);
    if (json_parse((const char *)data + 8, size - 8, "schema", &schema, &err) != MUGA_OK)
        return 0;
    constrain_trie *t = bytes_trie();
    if (t && constrain_compile_schema(schema, NULL, &g, &err) == MUGA_OK) {
        for (int i = 0; i < 4; i++) {
            str text = STR_INIT;
            if (walk(g, t, &r, &text)) {
                constrain_validate_options o = {.formats = true};
                if (json_parse(str_get(&text), text.len, "value", &value, &err) != MUGA_OK)
                    abort();
                if (constrain_validate(schema, value, &o, &err) == MUGA_E_NEGATIVE)
                    abort();
                json_decref(value);
                value = NULL;
            }
            str_release(&text);
        }
    }
    constrain_grammar_free(g);
    constrain_trie_free(t);
    json_decref(schema);
    return 0;
}
