/* Pre-tokenizers, against the regular expressions they stand for, run by PCRE2. Were this to fail, some text would be
 * cut into other words than the model was trained on.
 *
 * The patterns here are those of the models' own tokenizer files, pass by pass. Texts are random over an alphabet in
 * which every class of character and every special case of the patterns is common. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "model/pretokenize.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTRACTION "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define WORDS(contraction, letter, numbers, tail)                                                                      \
    contraction "[^\\r\\n\\p{L}\\p{N}]?" letter "+|" numbers "| ?" tail "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PUNCT "[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UP "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOW "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(contraction, numbers)                                                                                    \
    "[^\\r\\n\\p{L}\\p{N}]?" UP "*" LOW "+" contraction "|[^\\r\\n\\p{L}\\p{N}]?" UP "+" LOW "*" contraction           \
    "|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK3                                                                                                      \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"               \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CJK_HANGUL "[一-龥ࠀ-一가-퟿]+"
#define DEEPSEEK_LETTERS                                                                                               \
    "\\s?["                                                                                                            \
    "\\x{41}-\\x{5a}\\x{61}-\\x{7a}\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"             \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"             \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}"   \
    "\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                  \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"                  \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}"          \
    "\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}"         \
    "\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"                   \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}"                    \
    "\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"                    \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}"                   \
    "\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}"                  \
    "\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"                \
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"        \
    "\\x{1e900}-\\x{1e943}"                                                                                            \
    "]+"

typedef struct reference {
    const char *name;
    const char *passes[7];
} reference;

static const reference references[] = {
    {"gpt-2", {GPT2}},
    {"smollm", {"\\p{N}", GPT2}},
    {"llama-bpe", {WORDS("(?:" CONTRACTION ")|", "\\p{L}", "\\p{N}{1,3}", PUNCT)}},
    {"qwen2", {WORDS("(?:" CONTRACTION ")|", "\\p{L}", "\\p{N}", PUNCT)}},
    {"qwen35", {WORDS("(?:" CONTRACTION ")|", "[\\p{L}\\p{M}]", "\\p{N}", "[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*")}},
    {"seed-coder", {WORDS("(?:" CONTRACTION ")|", "\\p{L}", "\\p{N}", "[^\\s\\p{L}\\p{N}\\r\\n]+")}},
    {"ufakzeka", {WORDS("", "\\p{L}", "\\p{N}", PUNCT)}},
    {"minicpm5", {"\\p{N}{1,3}", WORDS("(?:" CONTRACTION ")|", "\\p{L}", "\\p{N}+", PUNCT)}},
    {"bailingmoe",
     {"(?:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
      "\\s+(?!\\S)|\\s+"}},
    {"laguna", {"[^\\n]+|[\\n]+", WORDS("(?:" CONTRACTION ")|", "\\p{L}", "\\p{N}", PUNCT)}},
    {"gpt-4o", {CASED("(?:" CONTRACTION ")?", "\\p{N}{1,3}")}},
    {"tekken", {CASED("", "\\p{N}")}},
    {"deepseek-llm", {"[\\r\\n]", DEEPSEEK_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", CJK_HANGUL, "\\p{N}+"}},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_HANGUL, "\\p{N}"}},
    {"deepseek-v3", {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3}},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gemma4", {"[^\\n]+|[\\n]+"}},
};

/* What random texts are made of. */
static const char *const atoms[] = {"a",
                                    "b",
                                    "s",
                                    "t",
                                    "re",
                                    "Z",
                                    "S",
                                    "Camel",
                                    "XML",
                                    "'",
                                    "'s",
                                    "'LL",
                                    "'d",
                                    " ",
                                    " ",
                                    "  ",
                                    "\n",
                                    "\r\n",
                                    "\t",
                                    "0",
                                    "7",
                                    "42",
                                    "123",
                                    ".",
                                    ",",
                                    "!",
                                    "/",
                                    "-",
                                    "$",
                                    "+",
                                    "`",
                                    "~",
                                    "_",
                                    "(",
                                    "é",
                                    "É",
                                    "ß",
                                    "ǅ",
                                    "ж",
                                    "Ж",
                                    "ª",
                                    "中",
                                    "文",
                                    "ひ",
                                    "ア",
                                    "한",
                                    "ა",
                                    "क",
                                    "ि",
                                    "́",
                                    "ः",
                                    "٣",
                                    "½",
                                    "Ⅷ",
                                    "。",
                                    "　",
                                    "\xC2\xA0",
                                    "\xC2\x85",
                                    "\xE2\x80\xA8",
                                    "‘",
                                    "～",
                                    "😀",
                                    "\xE2\x80\x8D",
                                    "\x01",
                                    "\x7F",
                                    "ͅ",
                                    "ʰ",
                                    "𝐀",
                                    "ℂ",
                                    "ﬁ",
                                    "𐐀",
                                    "€",
                                    "©",
                                    "ꜥ",
                                    "ꟊ",
                                    "\v"};

typedef struct words {
    span v[512];
    size_t n;
} words;

static bool take_word(void *ctx, const char *p, size_t n) {
    words *w = ctx;
    assert_true(w->n < ARRAY_LEN(w->v) && n > 0);
    w->v[w->n++] = span_of(p, n);
    return true;
}

static pcre2_code *compile(const char *pattern) {
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
    if (!re)
        fail_msg("pattern at %zu: %s", (size_t)at, pattern);
    return re;
}

/* Every piece of `in` into the pattern's matches and the gaps between them. */
static void split_by(const pcre2_code *re, const words *in, words *out) {
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(re, NULL);
    assert_non_null(match);
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        span piece = in->v[i];
        size_t at = 0;
        while (at < piece.n && pcre2_match(re, (PCRE2_SPTR)piece.p, piece.n, at, 0, match, NULL) > 0) {
            const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(match);
            assert_true(ends[1] > ends[0]);
            if (ends[0] > at)
                take_word(out, piece.p + at, ends[0] - at);
            take_word(out, piece.p + ends[0], ends[1] - ends[0]);
            at = ends[1];
        }
        if (at < piece.n)
            take_word(out, piece.p + at, piece.n - at);
    }
    pcre2_match_data_free(match);
}

static void show(const char *what, const words *w) {
    str line = STR_INIT;
    for (size_t i = 0; i < w->n; i++)
        str_printf(&line, "[%.*s]", (int)w->v[i].n, w->v[i].p);
    print_message("  %s %s\n", what, str_get(&line));
    str_release(&line);
}

static bool same_words(const words *a, const words *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        if (a->v[i].p != b->v[i].p || a->v[i].n != b->v[i].n)
            return false;
    }
    return true;
}

static size_t compare(const reference *r, pcre2_code *const *passes, span text) {
    static words got, wanted, next;
    got.n = 0;
    wanted.n = 0;
    take_word(&wanted, text.p, text.n);
    for (size_t i = 0; passes[i]; i++) {
        split_by(passes[i], &wanted, &next);
        wanted = next;
    }
    assert_true(pretokenize_run(pretokenize_find(r->name, strlen(r->name)), text.p, text.n, take_word, &got));
    if (same_words(&got, &wanted))
        return 0;
    print_message("%s\n", r->name);
    show("wanted", &wanted);
    show("got   ", &got);
    return 1;
}

static void each_cuts_as_its_pattern_does(void **state) {
    (void)state;
    rng random = {4};
    for (size_t i = 0; i < ARRAY_LEN(references); i++) {
        pcre2_code *passes[8] = {0};
        size_t n_wrong = 0;
        for (size_t k = 0; references[i].passes[k]; k++)
            passes[k] = compile(references[i].passes[k]);
        for (int round = 0; round < 4000 && n_wrong < 3; round++) {
            str text = STR_INIT;
            uint32_t n = 1 + rng_below(&random, 24);
            for (uint32_t k = 0; k < n; k++)
                str_append_s(&text, atoms[rng_below(&random, ARRAY_LEN(atoms))]);
            n_wrong += compare(&references[i], passes, span_of(text.data, text.len));
            str_release(&text);
        }
        for (size_t k = 0; passes[k]; k++)
            pcre2_code_free(passes[k]);
        assert_int_equal(n_wrong, 0);
    }
}

/* Whatever the bytes, the words are the text, in order and whole. */
static void no_byte_is_lost(void **state) {
    (void)state;
    rng random = {5};
    for (size_t i = 0; i < ARRAY_LEN(references); i++) {
        const pretokenizer *t = pretokenize_find(references[i].name, strlen(references[i].name));
        assert_non_null(t);
        for (int round = 0; round < 500; round++) {
            static words w;
            char text[64];
            size_t n = rng_below(&random, sizeof text), at = 0;
            for (size_t k = 0; k < n; k++)
                text[k] = (char)rng_next(&random);
            w.n = 0;
            assert_true(pretokenize_run(t, text, n, take_word, &w));
            for (size_t k = 0; k < w.n; k++) {
                assert_ptr_equal(w.v[k].p, text + at);
                at += w.v[k].n;
            }
            assert_int_equal(at, n);
        }
    }
}

static bool count_bytes(void *ctx, const char *p, size_t n) {
    (void)p;
    *(size_t *)ctx += n;
    return true;
}

/* Half a megabyte of anything, with and without another character at its end, ends long before the watchdog. */
static void long_runs_are_cut_in_linear_time(void **state) {
    (void)state;
    enum { BYTES = 1 << 19, WATCHDOG_SECONDS = 300 };
    char *text = malloc(BYTES + 8);
    assert_non_null(text);
    (void)alarm(WATCHDOG_SECONDS);
    for (size_t i = 0; i < ARRAY_LEN(references); i++) {
        const pretokenizer *t = pretokenize_find(references[i].name, strlen(references[i].name));
        for (size_t k = 0; k < ARRAY_LEN(atoms); k += 1 + i % 3) {
            size_t unit = strlen(atoms[k]), n = 0;
            for (; n + unit <= BYTES; n += unit)
                memcpy(text + n, atoms[k], unit);
            memcpy(text + n, "中", k % 2 ? 3 : 0);
            n += k % 2 ? 3 : 0;
            size_t seen = 0;
            assert_true(pretokenize_run(t, text, n, count_bytes, &seen));
            assert_int_equal(seen, n);
        }
    }
    (void)alarm(0);
    free(text);
}

static bool refuse_word(void *ctx, const char *p, size_t n) {
    (void)p;
    (void)n;
    return --*(int *)ctx > 0;
}

static void a_word_refused_ends_the_run(void **state) {
    (void)state;
    int left = 2;
    assert_false(pretokenize_run(pretokenize_find("smollm", 6), "one 2 three", 11, refuse_word, &left));
    assert_int_equal(left, 0);
    assert_null(pretokenize_find("nosuch", 6));
    assert_null(pretokenize_find("smollm2", 7));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_cuts_as_its_pattern_does),
        cmocka_unit_test(no_byte_is_lost),
        cmocka_unit_test(long_runs_are_cut_in_linear_time),
        cmocka_unit_test(a_word_refused_ends_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
