/* Patterns: the grammar of a whole match and the automaton of the validator must agree on every text; nothing may
 * crash, leak or run on. The pattern ends at the first newline, the text follows. */
#include "base/mem.h"
#include "base/utf8.h"
#include "constrain/constrain.h"
#include "constrain/dfa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, '\n', size);
    size_t n = end ? (size_t)(end - data) : size;
    const char *text = end ? (const char *)end + 1 : "";
    size_t n_text = end ? size - n - 1 : 0;
    constrain_grammar *g = NULL;
    constrain_state *s = NULL;
    muga_error err = {0};
    dfa *whole = NULL, *search = NULL;
    uint64_t work = 4u << 20;
    if (memchr(data, 0, n))
        return 0;
    char *pattern = mem_copy_bytes(data, n);
    if (!pattern)
        return 0;
    muga_status st = constrain_compile_regex(pattern, &g, &err);
    if (regex_compile(pattern, n, REGEX_WHOLE, &work, &whole, &err) == MUGA_OK &&
        regex_compile(pattern, n, REGEX_SEARCH, &work, &search, &err) == MUGA_OK && st == MUGA_OK &&
        utf8_valid(text, n_text)) {
        bool accepted = false;
        if (constrain_state_new(g, &s, &err) == MUGA_OK &&
            constrain_advance(s, text, n_text, &accepted, &err) == MUGA_OK) {
            accepted = accepted && constrain_is_complete(s);
            if (accepted != dfa_match(whole, text, n_text))
                abort();
            if (accepted && !dfa_match(search, text, n_text))
                abort(); /* a whole match is a match */
        }
        constrain_state_free(s);
    }
    dfa_free(whole);
    dfa_free(search);
    constrain_grammar_free(g);
    free(pattern);
    return 0;
}
