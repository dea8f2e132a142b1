/* Grammars: parse, read the rest of the input as text, and write a text of the grammar by its masks, which must end
 * within the token limit; nothing may crash, leak or run on. The grammar ends at the first NUL. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "constrain/constrain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_TOKENS 256u
static char bytes[N_TOKENS];

static constrain_trie *make_trie(void) {
    span pieces[N_TOKENS];
    constrain_trie *t = NULL;
    muga_error err;
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        bytes[i] = (char)i;
        pieces[i] = span_of(&bytes[i], 1);
    }
    return constrain_trie_new(&(constrain_vocab){.n = N_TOKENS, .pieces = pieces}, &t, &err) == MUGA_OK ? t : NULL;
}

static void read_text(const constrain_grammar *g, const uint8_t *p, size_t n) {
    constrain_state *s = NULL;
    muga_error err = {0};
    str forced = STR_INIT;
    bool accepted = true;
    if (constrain_state_new(g, &s, &err) != MUGA_OK)
        return;
    for (size_t i = 0; i < n && accepted; i++)
        if (constrain_advance(s, (const char *)p + i, 1, &accepted, &err) != MUGA_OK)
            break;
    constrain_forced(s, 64, &forced);
    str_release(&forced);
    constrain_state_free(s);
}

static void write_text(const constrain_grammar *g, rng *r) {
    constrain_state *s = NULL;
    constrain_trie *t = make_trie();
    muga_error err = {0};
    if (!t || constrain_state_new(g, &s, &err) != MUGA_OK) {
        constrain_trie_free(t);
        return;
    }
    uint32_t left = constrain_tokens_to_close(s, t);
    bool go_on = left < 2000;
    left += rng_below(r, 30);
    while (go_on) {
        uint64_t mask[N_TOKENS / 64];
        char choices[N_TOKENS];
        uint32_t n = 0;
        bool may_end, accepted = false;
        muga_status st = constrain_mask(s, t, left--, mask, &may_end, &err);
        if (st != MUGA_OK && (st != MUGA_E_LIMIT || !strstr(err.message, "ambiguous")))
            abort();
        for (uint32_t i = 0; st == MUGA_OK && i < N_TOKENS; i++)
            if (mask[i / 64] >> i % 64 & 1)
                choices[n++] = (char)i;
        go_on = n > 0 && !(may_end && rng_below(r, 3) == 0);
        if (go_on && (constrain_advance(s, &choices[rng_below(r, n)], 1, &accepted, &err) != MUGA_OK || !accepted))
            abort();
    }
    constrain_state_free(s);
    constrain_trie_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    size_t n = end ? (size_t)(end - data) : size;
    constrain_grammar *g = NULL;
    muga_error err = {0};
    rng r = {hash64(data, size, 7)};
    if (constrain_compile_gbnf((const char *)data, n, &g, &err) == MUGA_OK) {
        if (end)
            read_text(g, end + 1, size - n - 1);
        write_text(g, &r);
    }
    constrain_grammar_free(g);
    return 0;
}
