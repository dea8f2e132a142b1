/* Pre-tokenizers, written out by hand. Owns the table of names and the matchers of their patterns. Refuses nothing:
 * every text is cut somehow, and no byte is lost.
 *
 * Idea: the patterns in use are a few families with small differences. Each is an ordered choice of runs of character
 * classes, so a matcher that looks at most one run ahead does what a backtracking engine would, in linear time, without
 * its limits. A pattern stands beside its matcher as the specification.
 *
 * Invariants of a matcher match(t, at): it looks only at [t.p, t.p + t.n), the piece that the pass before left, so
 * look-ahead sees an end there; it gives the length of the match that begins at `at`, or 0. */
#include "model/pretokenize.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "model/pretokenize_class.h"

/* ---- characters ---- */

typedef struct text {
    const char *p;
    size_t n;
} text;

typedef struct character {
    uint32_t cp;
    uint16_t cls;
    uint8_t len; /* bytes; 0 at the end of the text */
} character;

static inline character at_byte(text t, size_t at) {
    if (at >= t.n)
        return (character){0, 0, 0};
    uint8_t c = (uint8_t)t.p[at];
    if (c < 0x80)
        return (character){c, class_of_ascii[c], 1};
    uint32_t cp;
    size_t len = utf8_decode(t.p + at, t.n - at, &cp);
    if (len == 0)
        return (character){UINT32_MAX, 0, 1};
    return (character){cp, class_of(cp), (uint8_t)len};
}

/* End of the longest run from `at` of characters with a class in `any` and none in `not`. */
static size_t run_any(text t, size_t at, uint16_t any) {
    for (;;) {
        character c = at_byte(t, at);
        if (!(c.cls & any))
            return at;
        at += c.len;
    }
}

static size_t run_none(text t, size_t at, uint16_t none) {
    for (;;) {
        character c = at_byte(t, at);
        if (c.len == 0 || (c.cls & none))
            return at;
        at += c.len;
    }
}

/* ---- shared pieces of patterns ---- */

/* 's 't 're 've 'm 'll 'd; with any_case also in capitals. Length, or 0. */
static size_t match_contraction(text t, size_t at, bool any_case) {
    if (at + 1 >= t.n || t.p[at] != '\'')
        return 0;
    char fold = any_case ? 0x20 : 0;
    char a = t.p[at + 1] | fold, b = at + 2 < t.n ? (char)(t.p[at + 2] | fold) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \p{N}{1,max}; max 0 = no bound. */
static size_t match_numbers(text t, size_t at, int max) {
    size_t end = at;
    for (int i = 0; max == 0 || i < max; i++) {
        character c = at_byte(t, end);
        if (!(c.cls & CLASS_NUMBER))
            break;
        end += c.len;
    }
    return end - at;
}

/* \s+(?!\S)|\s+ : all of a run of spaces, but the last of several is left to the word after it. */
static size_t match_spaces(text t, size_t at) {
    size_t end = at, last = at;
    for (;;) {
        character c = at_byte(t, end);
        if (!(c.cls & CLASS_SPACE))
            break;
        last = end;
        end += c.len;
    }
    if (end < t.n && last > at)
        return last - at;
    return end - at;
}

/* \s*[\r\n]+ : a run of spaces up to and with its last line end. */
static size_t match_line_end(text t, size_t at) {
    size_t end = at, after_newline = at;
    for (;;) {
        character c = at_byte(t, end);
        if (!(c.cls & CLASS_SPACE))
            break;
        end += c.len;
        if (c.cls & CLASS_NEWLINE)
            after_newline = end;
    }
    return after_newline - at;
}

/* ---- whole patterns ---- */

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t match_gpt2(text t, size_t at) {
    size_t len = match_contraction(t, at, false);
    if (len)
        return len;
    size_t from = at + (t.p[at] == ' ');
    character c = at_byte(t, from);
    if (c.len == 0 || (c.cls & CLASS_SPACE))
        return match_spaces(t, at);
    if (c.cls & CLASS_LETTER)
        return run_any(t, from, CLASS_LETTER) - at;
    if (c.cls & CLASS_NUMBER)
        return run_any(t, from, CLASS_NUMBER) - at;
    return run_none(t, from, CLASS_SPACE | CLASS_LETTER | CLASS_NUMBER) - at;
}

/* Differences within the family that began with cl100k. */
typedef struct words_rule {
    bool contractions;
    uint16_t letter; /* CLASS_LETTER, or CLASS_LETTER | CLASS_MARK */
    int numbers;     /* {1,numbers}; 0 = no bound */
    bool line_tail;  /* punctuation takes the line ends after it */
} words_rule;

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?CLASS_LETTER+|\p{N}{1,k}|
 * ?[^\sCLASS_LETTER\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ CLASS_LETTER is \p{L} or [\p{L}\p{M}]. */
static size_t match_words(text t, size_t at, words_rule r) {
    size_t len = r.contractions ? match_contraction(t, at, true) : 0;
    if (len)
        return len;
    character c = at_byte(t, at);
    if (!(c.cls & (CLASS_NEWLINE | CLASS_LETTER | CLASS_NUMBER))) {
        size_t end = run_any(t, at + c.len, r.letter);
        if (end > at + c.len)
            return end - at;
    }
    if (c.cls & r.letter)
        return run_any(t, at, r.letter) - at;
    if (c.cls & CLASS_NUMBER)
        return match_numbers(t, at, r.numbers);
    size_t from = at + (c.cp == ' ');
    size_t end = run_none(t, from, CLASS_SPACE | CLASS_NUMBER | r.letter);
    if (end > from) {
        if (!r.line_tail)
            return end - at;
        return run_any(t, end, CLASS_NEWLINE) - at;
    }
    if ((len = match_line_end(t, at)))
        return len;
    return match_spaces(t, at);
}

/* [\r\n/]* */
static size_t run_line_tail(text t, size_t at) {
    while (at < t.n && (t.p[at] == '\r' || t.p[at] == '\n' || t.p[at] == '/'))
        at++;
    return at;
}

/* UP*LOW+ with UP = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], LOW = [\p{Ll}\p{Lm}\p{Lo}\p{M}]. The classes share the caseless
 * letters, so where UP* took all, it gives back to the last caseless one. End of the match, or 0. */
static size_t match_up_low(text t, size_t at) {
    size_t up = at, after_caseless = 0;
    for (;;) {
        character c = at_byte(t, up);
        if (!(c.cls & (CLASS_LETTER | CLASS_MARK)) || (c.cls & CLASS_LOWER))
            break;
        up += c.len;
        if (!(c.cls & CLASS_UPPER))
            after_caseless = up;
    }
    size_t end = up;
    for (;;) {
        character c = at_byte(t, end);
        if (!(c.cls & (CLASS_LETTER | CLASS_MARK)) || (c.cls & CLASS_UPPER))
            break;
        end += c.len;
    }
    return end > up ? end : after_caseless;
}

/* [^\r\n\p{L}\p{N}]?UP*LOW+|[^\r\n\p{L}\p{N}]?UP+LOW* ; where the first choice fails there is no LOW, so the second is
 * a run of capitals. End of the match, or 0. */
static size_t match_cased(text t, size_t at) {
    character c = at_byte(t, at);
    size_t end, after = (c.cls & (CLASS_NEWLINE | CLASS_LETTER | CLASS_NUMBER)) ? at : at + c.len;
    if ((end = match_up_low(t, after)))
        return end;
    if (after > at && (end = match_up_low(t, at)))
        return end;
    end = run_any(t, after, CLASS_UPPER);
    return end > after ? end : 0;
}

/* [^\r\n\p{L}\p{N}]?(UP*LOW+|UP+LOW*)(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,k}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|
 * \s+(?!\S)|\s+ : o200k; tekken has no contractions. */
static size_t match_cased_words(text t, size_t at, int numbers, bool contractions) {
    character c = at_byte(t, at);
    size_t len, end = match_cased(t, at);
    if (end)
        return end + (contractions ? match_contraction(t, end, true) : 0) - at;
    if (c.cls & CLASS_NUMBER)
        return match_numbers(t, at, numbers);
    size_t from = at + (c.cp == ' ');
    end = run_none(t, from, CLASS_SPACE | CLASS_LETTER | CLASS_NUMBER);
    if (end > from)
        return run_line_tail(t, end) - at;
    if ((len = match_line_end(t, at)))
        return len;
    return match_spaces(t, at);
}

static bool is_ascii_letter(uint32_t cp) {
    return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
}

/* [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_deepseek3(text t, size_t at) {
    character c = at_byte(t, at);
    size_t end = at + c.len, len;
    if (c.cp < 0x80 && (c.cls & (CLASS_PUNCT | CLASS_SYMBOL)) && is_ascii_letter(at_byte(t, end).cp)) {
        while (is_ascii_letter(at_byte(t, end).cp))
            end++;
        return end - at;
    }
    if (!(c.cls & (CLASS_NEWLINE | CLASS_LETTER | CLASS_PUNCT | CLASS_SYMBOL))) {
        end = run_any(t, at + c.len, CLASS_LETTER | CLASS_MARK);
        if (end > at + c.len)
            return end - at;
    }
    if (c.cls & (CLASS_LETTER | CLASS_MARK))
        return run_any(t, at, CLASS_LETTER | CLASS_MARK) - at;
    size_t from = at + (c.cp == ' ');
    end = run_any(t, from, CLASS_PUNCT | CLASS_SYMBOL);
    if (end > from)
        return run_any(t, end, CLASS_NEWLINE) - at;
    if ((len = match_line_end(t, at)))
        return len;
    return match_spaces(t, at);
}

typedef uint32_t range[2]; /* first and last code point */

static bool in_ranges(uint32_t cp, const range *ranges, size_t n) {
    while (n > 0) {
        size_t mid = n / 2;
        if (cp < ranges[mid][0]) {
            n = mid;
        } else if (cp > ranges[mid][1]) {
            ranges += mid + 1;
            n -= mid + 1;
        } else {
            return true;
        }
    }
    return false;
}

/* DeepSeek's first tokenizers name the letters that have case by ranges, fixed at the Unicode of their day; so a
 * category would not do. Source: the pattern in their tokenizer.json. */
static bool is_deepseek_letter(character c) {
    /* clang-format off */
    static const range ranges[] = {
        {0x0041, 0x005A}, {0x0061, 0x007A}, {0x00B5, 0x00B5}, {0x00C0, 0x00D6}, {0x00D8, 0x00F6}, {0x00F8, 0x01BA},
        {0x01BC, 0x01BF}, {0x01C4, 0x0293}, {0x0295, 0x02AF}, {0x0370, 0x0373}, {0x0376, 0x0377}, {0x037B, 0x037D},
        {0x037F, 0x037F}, {0x0386, 0x0386}, {0x0388, 0x038A}, {0x038C, 0x038C}, {0x038E, 0x03A1}, {0x03A3, 0x03F5},
        {0x03F7, 0x0481}, {0x048A, 0x052F}, {0x0531, 0x0556}, {0x10A0, 0x10C5}, {0x13A0, 0x13F5}, {0x13F8, 0x13FD},
        {0x1C90, 0x1CBA}, {0x1CBD, 0x1CBF}, {0x1D00, 0x1D2B}, {0x1D6B, 0x1D77}, {0x1D79, 0x1D9A}, {0x1E00, 0x1F15},
        {0x1F18, 0x1F1D}, {0x1F20, 0x1F45}, {0x1F48, 0x1F4D}, {0x1F50, 0x1F57}, {0x1F59, 0x1F59}, {0x1F5B, 0x1F5B},
        {0x1F5D, 0x1F5D}, {0x1F5F, 0x1F7D}, {0x1F80, 0x1FB4}, {0x1FB6, 0x1FBC}, {0x1FBE, 0x1FBE}, {0x1FC2, 0x1FC4},
        {0x1FC6, 0x1FCC}, {0x1FD0, 0x1FD3}, {0x1FD6, 0x1FDB}, {0x1FE0, 0x1FEC}, {0x1FF2, 0x1FF4}, {0x1FF6, 0x1FFC},
        {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210A, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211D}, {0x2124, 0x2124},
        {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212A, 0x212D}, {0x212F, 0x2134}, {0x2139, 0x2139}, {0x213C, 0x213F},
        {0x2145, 0x2149}, {0x214E, 0x214E}, {0x2183, 0x2184}, {0x2C00, 0x2C7B}, {0x2C7E, 0x2CE4}, {0x2CEB, 0x2CEE},
        {0x2CF2, 0x2CF3}, {0xA640, 0xA66D}, {0xA680, 0xA69B}, {0xA722, 0xA76F}, {0xA771, 0xA787}, {0xA78B, 0xA78E},
        {0xAB70, 0xABBF}, {0xFB00, 0xFB06}, {0xFB13, 0xFB17}, {0xFF21, 0xFF3A}, {0xFF41, 0xFF5A}, {0x10400, 0x1044F},
        {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF},
        {0x1E900, 0x1E943}};
    /* clang-format on */
    return in_ranges(c.cp, ranges, ARRAY_LEN(ranges));
}

/* [!-/:-~！-／：-～‘-‟　-。] */
static bool is_deepseek_punct(character c) {
    uint32_t cp = c.cp;
    return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '~') || (cp >= 0xFF01 && cp <= 0xFF0F) ||
           (cp >= 0xFF1A && cp <= 0xFF5E) || (cp >= 0x2018 && cp <= 0x201F) || (cp >= 0x3000 && cp <= 0x3002);
}

static bool is_any_letter(character c) {
    return (c.cls & CLASS_LETTER) != 0;
}
static bool is_any_punct(character c) {
    return (c.cls & CLASS_PUNCT) != 0;
}

/* [一-龥ࠀ-一가-퟿] */
static bool is_cjk_hangul(character c) {
    static const range ranges[] = {{0x0800, 0x9FA5}, {0xAC00, 0xD7FF}};
    return in_ranges(c.cp, ranges, ARRAY_LEN(ranges));
}

/* [一-龥぀-ゟ゠-ヿ] */
static bool is_cjk_kana(character c) {
    static const range ranges[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
    return in_ranges(c.cp, ranges, ARRAY_LEN(ranges));
}

/* X+ */
static size_t match_run(text t, size_t at, bool (*is_member)(character)) {
    size_t end = at;
    for (;;) {
        character c = at_byte(t, end);
        if (c.len == 0 || !is_member(c))
            return end - at;
        end += c.len;
    }
}

/* \s?X+ ; a space may itself be an X */
static size_t match_spaced_run(text t, size_t at, bool (*is_member)(character)) {
    character c = at_byte(t, at);
    size_t len = (c.cls & CLASS_SPACE) ? match_run(t, at + c.len, is_member) : 0;
    return len ? c.len + len : match_run(t, at, is_member);
}

static bool follows_space(text t, size_t at) {
    size_t back = at;
    while (back > 0 && at - back < 4) {
        back--;
        if (((uint8_t)t.p[back] & 0xC0) != 0x80)
            break;
    }
    character c = at_byte(t, back);
    return at > 0 && back + c.len == at && (c.cls & CLASS_SPACE);
}

/* \s+$ ; only where a run of spaces begins: one that doesn't reach the end from there doesn't from further on either,
 * and trying would take a long run's square. */
static size_t match_spaces_at_end(text t, size_t at) {
    if (!(at_byte(t, at).cls & CLASS_SPACE) || follows_space(t, at))
        return 0;
    size_t end = run_any(t, at, CLASS_SPACE);
    return end == t.n ? end - at : 0;
}

/* [\p{P}$+<=>^~|`] */
static bool is_falcon_punct(character c) {
    return (c.cls & CLASS_PUNCT) || (c.cp < 0x80 && (c.cls & CLASS_SYMBOL));
}

/* [\p{P}$+<=>^~|] */
static bool is_default_punct(character c) {
    return is_falcon_punct(c) && c.cp != '`';
}

static size_t match_three_digits(text t, size_t at) {
    for (size_t i = at; i < at + 3; i++) {
        if (i >= t.n || t.p[i] < '0' || t.p[i] > '9')
            return 0;
    }
    return 3;
}

/* [^\n]+|[\n]+ */
static size_t match_lines(text t, size_t at) {
    bool newline = t.p[at] == '\n';
    size_t end = at;
    while (end < t.n && (t.p[end] == '\n') == newline)
        end++;
    return end - at;
}

/* ---- passes ---- */

enum {
    PASS_END,
    PASS_GPT2,
    PASS_LLAMA3,
    PASS_QWEN2,
    PASS_QWEN35,
    PASS_PLAIN_WORDS,
    PASS_SEED_CODER,
    PASS_MINICPM5,
    PASS_GPT4O,
    PASS_TEKKEN,
    PASS_DEEPSEEK3,
    PASS_NUMBER,
    PASS_NUMBERS_3,
    PASS_NUMBERS,
    PASS_NEWLINE,
    PASS_CASED_RUN,
    PASS_DEEPSEEK_PUNCT,
    PASS_LETTER_RUN,
    PASS_PUNCT_RUN,
    PASS_SPACES_AT_END,
    PASS_CJK_HANGUL,
    PASS_CJK_KANA,
    PASS_FALCON_PUNCT,
    PASS_DEFAULT_PUNCT,
    PASS_THREE_DIGITS,
    PASS_LINES
};

static size_t match_pass(int pass, text t, size_t at) {
    switch (pass) {
    case PASS_GPT2: return match_gpt2(t, at);
    case PASS_LLAMA3: return match_words(t, at, (words_rule){true, CLASS_LETTER, 3, true});
    case PASS_QWEN2: return match_words(t, at, (words_rule){true, CLASS_LETTER, 1, true});
    case PASS_QWEN35: return match_words(t, at, (words_rule){true, CLASS_LETTER | CLASS_MARK, 1, true});
    case PASS_PLAIN_WORDS: return match_words(t, at, (words_rule){false, CLASS_LETTER, 1, true});
    case PASS_SEED_CODER: return match_words(t, at, (words_rule){true, CLASS_LETTER, 1, false});
    case PASS_MINICPM5: return match_words(t, at, (words_rule){true, CLASS_LETTER, 0, true});
    case PASS_GPT4O: return match_cased_words(t, at, 3, true);
    case PASS_TEKKEN: return match_cased_words(t, at, 1, false);
    case PASS_DEEPSEEK3: return match_deepseek3(t, at);
    case PASS_NUMBER: return match_numbers(t, at, 1);
    case PASS_NUMBERS_3: return match_numbers(t, at, 3);
    case PASS_NUMBERS: return match_numbers(t, at, 0);
    case PASS_NEWLINE: return t.p[at] == '\r' || t.p[at] == '\n';
    case PASS_CASED_RUN: return match_spaced_run(t, at, is_deepseek_letter);
    case PASS_DEEPSEEK_PUNCT: return match_spaced_run(t, at, is_deepseek_punct);
    case PASS_LETTER_RUN: return match_spaced_run(t, at, is_any_letter);
    case PASS_PUNCT_RUN: return match_spaced_run(t, at, is_any_punct);
    case PASS_SPACES_AT_END: return match_spaces_at_end(t, at);
    case PASS_CJK_HANGUL: return match_run(t, at, is_cjk_hangul);
    case PASS_CJK_KANA: return match_run(t, at, is_cjk_kana);
    case PASS_FALCON_PUNCT: return match_run(t, at, is_falcon_punct);
    case PASS_DEFAULT_PUNCT: return match_run(t, at, is_default_punct);
    case PASS_THREE_DIGITS: return match_three_digits(t, at);
    case PASS_LINES: return match_lines(t, at);
    default: return 0;
    }
}

/* The pieces of t after passes[0], each through the passes that follow. As deep as there are passes. */
static bool run_passes(const uint8_t *passes, text t, pretokenize_word word, void *ctx) {
    if (passes[0] == PASS_END)
        return word(ctx, t.p, t.n);
    size_t at = 0, gap = 0;
    while (at < t.n) {
        size_t len = match_pass(passes[0], t, at);
        if (len == 0) {
            at += at_byte(t, at).len;
            if (at < t.n)
                continue;
        }
        size_t gap_end = len ? at : t.n;
        if (gap_end > gap && !run_passes(passes + 1, (text){t.p + gap, gap_end - gap}, word, ctx))
            return false;
        if (len && !run_passes(passes + 1, (text){t.p + at, len}, word, ctx))
            return false;
        at += len;
        gap = at;
    }
    return true;
}

bool pretokenize_run(const pretokenizer *t, const char *p, size_t n, pretokenize_word word, void *ctx) {
    return n == 0 || run_passes(t->passes, (text){p, n}, word, ctx);
}

/* ---- names ---- */

static const pretokenizer table[] = {
    {"gpt-2", {PASS_GPT2}, false, false},
    {"phi-2", {PASS_GPT2}, false, false},
    {"mpt", {PASS_GPT2}, false, false},
    {"olmo", {PASS_GPT2}, false, false},
    {"jais", {PASS_GPT2}, false, false},
    {"exaone4", {PASS_GPT2}, false, false},
    {"granite-docling", {PASS_GPT2}, false, false},
    {"modern-bert", {PASS_GPT2}, false, false},
    {"gigachat", {PASS_GPT2}, false, false},
    {"a.x-4.0", {PASS_GPT2}, false, false},
    {"mellum", {PASS_GPT2}, false, false},
    {"trillion", {PASS_GPT2}, false, false},
    {"smollm", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"starcoder", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"refact", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"command-r", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"codeshell", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"exaone", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"minerva-7b", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"mellum2", {PASS_NUMBER, PASS_GPT2}, false, false},
    {"llama3", {PASS_LLAMA3}, true, true},
    {"llama-v3", {PASS_LLAMA3}, true, true},
    {"llama-bpe", {PASS_LLAMA3}, true, true},
    {"falcon3", {PASS_LLAMA3}, true, true},
    {"falcon-h1", {PASS_LLAMA3}, true, true},
    {"pixtral", {PASS_LLAMA3}, true, true},
    {"lfm2", {PASS_LLAMA3}, true, true},
    {"midm-2.0", {PASS_LLAMA3}, true, true},
    {"jina-v5-nano", {PASS_LLAMA3}, true, true},
    {"dbrx", {PASS_LLAMA3}, false, false},
    {"smaug-bpe", {PASS_LLAMA3}, false, false},
    {"chatglm-bpe", {PASS_LLAMA3}, false, false},
    {"glm4", {PASS_LLAMA3}, true, false},
    {"glm5", {PASS_LLAMA3}, true, false},
    {"minicpm5", {PASS_NUMBERS_3, PASS_MINICPM5}, true, false},
    {"qwen2", {PASS_QWEN2}, false, false},
    {"deepseek-r1-qwen", {PASS_QWEN2}, false, false},
    {"stablelm2", {PASS_QWEN2}, false, false},
    {"hunyuan", {PASS_QWEN2}, false, false},
    {"megrez", {PASS_QWEN2}, false, false},
    {"grok-2", {PASS_QWEN2}, false, false},
    {"kormo", {PASS_QWEN2}, false, false},
    {"f2llmv2", {PASS_QWEN2}, false, false},
    {"solar-open", {PASS_QWEN2}, false, false},
    {"bailingmoe", {PASS_QWEN2}, false, false},
    {"bailingmoe2", {PASS_QWEN2}, false, false},
    {"llada-moe", {PASS_QWEN2}, false, false},
    {"laguna", {PASS_LINES, PASS_QWEN2}, false, false},
    {"qwen35", {PASS_QWEN35}, false, false},
    {"seed-coder", {PASS_SEED_CODER}, false, false},
    {"ufakzeka", {PASS_PLAIN_WORDS}, false, false},
    {"gpt-4o", {PASS_GPT4O}, false, false},
    {"llama4", {PASS_GPT4O}, false, false},
    {"kanana2", {PASS_GPT4O}, false, false},
    {"talkie", {PASS_GPT4O}, false, false},
    {"minimax-m2", {PASS_GPT4O}, false, false},
    {"tekken", {PASS_TEKKEN}, true, true},
    {"deepseek-llm",
     {PASS_NEWLINE, PASS_CASED_RUN, PASS_DEEPSEEK_PUNCT, PASS_SPACES_AT_END, PASS_CJK_HANGUL, PASS_NUMBERS},
     false,
     false},
    {"deepseek-coder", {PASS_NEWLINE, PASS_LETTER_RUN, PASS_PUNCT_RUN, PASS_CJK_HANGUL, PASS_NUMBER}, false, false},
    {"deepseek-v3", {PASS_NUMBERS_3, PASS_CJK_KANA, PASS_DEEPSEEK3}, false, false},
    {"joyai-llm", {PASS_NUMBERS_3, PASS_CJK_KANA, PASS_DEEPSEEK3}, false, false},
    {"hy_v4", {PASS_NUMBERS_3, PASS_CJK_KANA, PASS_DEEPSEEK3}, false, false},
    {"hunyuan-dense", {PASS_NUMBERS_3, PASS_CJK_KANA, PASS_DEEPSEEK3}, false, false},
    {"falcon", {PASS_FALCON_PUNCT, PASS_GPT2, PASS_THREE_DIGITS}, false, false},
    {"default", {PASS_DEFAULT_PUNCT, PASS_GPT2, PASS_NUMBERS, PASS_THREE_DIGITS}, false, false},
    {"gemma4", {PASS_LINES}, false, true},
};

const pretokenizer *pretokenize_find(const char *name, size_t n) {
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0)
            return &table[i];
    }
    return NULL;
}
