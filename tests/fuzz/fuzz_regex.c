/* Patterns: the grammar of a whole match, the automata of the validator and PCRE2 must agree on every text; nothing may
 * crash, leak or run on. The pattern ends at the first newline, the text follows. */
#include "base/mem.h"
#include "base/utf8.h"
#include "constrain/constrain.h"
#include "constrain/matcher.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A back-reference to nothing makes the pattern irregular, so PCRE2 evaluates it. */
static void check_against_pcre2(const char *pattern, const char *text, size_t n_text, regex_mode mode, bool matched) {
    muga_error err = {0};
    str irregular = STR_INIT;
    matcher *m = NULL;
    uint64_t work = 8u << 20;
    bool yes = false;
    str_printf(&irregular, "()\\1(?:%s)", pattern);
    if (matcher_new(str_get(&irregular), irregular.len, mode, &work, &m, &err) == MUGA_OK &&
        matcher_test(m, text, n_text, &work, &yes, &err) == MUGA_OK && yes != matched)
        abort();
    matcher_free(m);
    str_release(&irregular);
}

static void check_grammar(const constrain_grammar *g, const char *text, size_t n_text, bool matched) {
    muga_error err = {0};
    constrain_state *s = NULL;
    bool accepted = false;
    if (constrain_state_new(g, &s, &err) == MUGA_OK && constrain_advance(s, text, n_text, &accepted, &err) == MUGA_OK &&
        (accepted && constrain_is_complete(s)) != matched)
        abort();
    constrain_state_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, '\n', size);
    size_t n = end ? (size_t)(end - data) : size;
    const char *text = end ? (const char *)end + 1 : "";
    size_t n_text = end ? size - n - 1 : 0;
    constrain_grammar *g = NULL;
    muga_error err = {0};
    dfa *whole = NULL, *search = NULL;
    uint64_t work = 4u << 20;
    if (memchr(data, 0, n))
        return 0;
    char *pattern = mem_copy_bytes(data, n);
    if (!pattern)
        return 0;
    if (regex_compile(pattern, n, REGEX_WHOLE, &work, &whole, &err) == MUGA_OK &&
        regex_compile(pattern, n, REGEX_SEARCH, &work, &search, &err) == MUGA_OK && utf8_valid(text, n_text)) {
        bool in_whole = dfa_match(whole, text, n_text), in_search = dfa_match(search, text, n_text);
        if (in_whole && !in_search)
            abort(); /* a whole match is a match */
        if (constrain_compile_regex(pattern, &g, &err) == MUGA_OK)
            check_grammar(g, text, n_text, in_whole);
        else if (in_whole)
            abort();
        check_against_pcre2(pattern, text, n_text, REGEX_WHOLE, in_whole);
        check_against_pcre2(pattern, text, n_text, REGEX_SEARCH, in_search);
    }
    dfa_free(whole);
    dfa_free(search);
    constrain_grammar_free(g);
    free(pattern);
    return 0;
}
