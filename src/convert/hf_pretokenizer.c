/* Which pre-tokenizer a tokenizer.json describes.
 *
 * It is read as a list of passes, each a regular expression: "Split" has its own, "Digits" is \p{N}, and "ByteLevel"
 * may have GPT-2's; what comes after that is applied to the bytes' spelling. Spellings of the same contractions are
 * made one. The list is then looked up: what isn't in the table is refused, since a text cut into other words gives
 * other tokens. */
#include "convert/hf_vocab.h"

#define MAX_PASSES 8u

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS(contraction, letter, numbers, rest)                                                                      \
    contraction "[^\\r\\n\\p{L}\\p{N}]?" letter "+|" numbers "| ?" rest "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define REST "[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(contraction, numbers)                                                                                    \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" contraction "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" contraction \
    "|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#define SPACED "\xC4\xA0"         /* a space in the bytes' spelling: U+0120 */
#define PUNCTUATION "punctuation" /* runs of Unicode's P and ASCII's S, as the step of that name cuts */
#define AFTER_BYTES "bytes: "     /* before a pattern that is applied to the bytes' spelling */
#define CJK_HANGUL "[一-龥ࠀ-一가-퟿]+"
/* clang-format off */
#define DEEPSEEK_LETTERS \
    "\\s?["\
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ" \
    "-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ" \
    "-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃" \
    "]+"
/* clang-format on */

/* The engine leaves out a pass that changes nothing for a vocabulary without such a piece; with one it is refused. */
typedef enum without {
    ANY,                   /* nothing is left out */
    WITHOUT_DIGIT_PAIRS,   /* a piece with two digits side by side */
    WITHOUT_SPACED_DIGITS, /* a piece with a digit after a space */
} without;

typedef struct known {
    const char *name;
    const char *passes[MAX_PASSES];
    bool ignore_merges; /* of the engine's pre-tokenizer of that name */
    without without;
} known;

static const known table[] = {
    {"gpt-2", {GPT2}, false, ANY},
    {"smollm", {"\\p{N}", GPT2}, false, ANY},
    {"llama-bpe", {WORDS(CONTRACTION "|", "\\p{L}", "\\p{N}{1,3}", REST)}, true, ANY},
    {"smaug-bpe", {WORDS(CONTRACTION "|", "\\p{L}", "\\p{N}{1,3}", REST)}, false, ANY},
    {"qwen2", {WORDS(CONTRACTION "|", "\\p{L}", "\\p{N}", REST)}, false, ANY},
    {"bailingmoe",
     {CONTRACTION
      "|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
     false,
     ANY},
    {"ufakzeka", {WORDS("", "\\p{L}", "\\p{N}", REST)}, false, ANY},
    {"laguna", {"[^\\n]+|[\\n]+", WORDS(CONTRACTION "|", "\\p{L}", "\\p{N}", REST)}, false, ANY},
    {"minicpm5", {"\\p{N}{1,3}", WORDS(CONTRACTION "|", "\\p{L}", "\\p{N}+", REST)}, true, ANY},
    {"qwen35", {WORDS(CONTRACTION "|", "[\\p{L}\\p{M}]", "\\p{N}", "[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*")}, false, ANY},
    {"seed-coder", {WORDS(CONTRACTION "|", "\\p{L}", "\\p{N}", "[^\\s\\p{L}\\p{N}\\r\\n]+")}, false, ANY},
    {"gpt-4o", {CASED(CONTRACTION "?", "\\p{N}{1,3}")}, false, ANY},
    {"tekken", {CASED("", "\\p{N}")}, true, ANY},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_HANGUL, "\\p{N}"}, false, ANY},
    {"deepseek-llm",
     {"[\\r\\n]", DEEPSEEK_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", CJK_HANGUL, "\\p{N}+"},
     false,
     ANY},
    {"deepseek-llm",
     {"[\\r\\n]", DEEPSEEK_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", CJK_HANGUL, "\\p{N}"},
     false,
     WITHOUT_DIGIT_PAIRS},
    {"falcon", {PUNCTUATION, GPT2, AFTER_BYTES "\\p{N}+", AFTER_BYTES "[0-9][0-9][0-9]"}, false, WITHOUT_SPACED_DIGITS},
    {"falcon", {PUNCTUATION, GPT2, AFTER_BYTES "[0-9][0-9][0-9]"}, false, ANY},
    {"deepseek-v3",
     {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
      " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     false,
     ANY},
};

typedef struct passes {
    hf_model *m;
    char *regex[MAX_PASSES];
    uint32_t n;
    bool byte_level;
} passes;

/* Other spellings of CONTRACTION. */
static const char *const same[] = {"'(?i:[sdmt]|ll|ve|re)",
                                   "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"};

/* Line ends may stand in a pattern as themselves. */
static char *canonical(const char *regex, bool after_bytes) {
    str s = STR_INIT;
    if (after_bytes)
        str_append_s(&s, AFTER_BYTES);
    while (*regex) {
        size_t i = 0;
        while (i < ARRAY_LEN(same) && strncmp(regex, same[i], strlen(same[i])) != 0)
            i++;
        if (i < ARRAY_LEN(same)) {
            str_append_s(&s, CONTRACTION);
            regex += strlen(same[i]);
        } else if (*regex == '\r' || *regex == '\n') {
            str_append_s(&s, *regex++ == '\r' ? "\\r" : "\\n");
        } else {
            str_append_c(&s, *regex++);
        }
    }
    return str_take(&s);
}

static void add_pass(passes *p, const char *regex) {
    if (p->m->st)
        return;
    if (p->n == MAX_PASSES) {
        hf_fail(p->m, "tokenizer.json: the pre-tokenizer has more steps than any that is known");
        return;
    }
    p->regex[p->n] = canonical(regex, p->byte_level);
    if (!p->regex[p->n])
        p->m->st = error_nomem(p->m->err, "the pre-tokenizer");
    else
        p->n++;
}

/* A pattern that covers all text cuts the same whether its matches or the gaps between them are called the pieces. */
static void add_split(passes *p, const json_t *step) {
    const json_t *pattern = json_object_get(step, "pattern");
    const char *regex = json_get_string(pattern, "Regex"), *behaviour = json_get_string(step, "behavior");
    bool invert = json_get_bool(step, "invert", false);
    bool keeps = behaviour && (!strcmp(behaviour, "Isolated") || (!strcmp(behaviour, "Removed") && invert));
    if (!regex || !keeps)
        hf_fail(p->m, "tokenizer.json: the pre-tokenizer's \"Split\" is of a form that is not known");
    else
        add_pass(p, regex);
}

static bool is_contiguous(const json_t *step) {
    const char *behaviour = json_get_string(step, "behavior");
    return behaviour && !strcmp(behaviour, "Contiguous");
}

static void add_step(passes *p, const json_t *step) {
    const char *type = json_get_string(step, "type");
    if (p->m->st)
        return;
    if (type && !strcmp(type, "Split")) {
        add_split(p, step);
    } else if (type && !strcmp(type, "Digits")) {
        add_pass(p, json_get_bool(step, "individual_digits", false) ? "\\p{N}" : "\\p{N}+");
    } else if (type && !strcmp(type, "Punctuation") && is_contiguous(step)) {
        add_pass(p, PUNCTUATION);
    } else if (type && !strcmp(type, "ByteLevel") && !p->byte_level) {
        if (json_get_bool(step, "add_prefix_space", true))
            hf_fail(p->m, "tokenizer.json: \"add_prefix_space\" of the pre-tokenizer is not followed by this version");
        if (json_get_bool(step, "use_regex", true))
            add_pass(p, GPT2);
        p->byte_level = true;
    } else {
        hf_fail(p->m, "tokenizer.json: the pre-tokenizer's step \"%.60s\" is not known", type ? type : "(no type)");
    }
}

static bool is_same(const passes *p, const known *k) {
    for (uint32_t i = 0; i < MAX_PASSES; i++) {
        const char *a = i < p->n ? p->regex[i] : NULL, *b = k->passes[i];
        if (!a != !b || (a && strcmp(a, b) != 0))
            return false;
    }
    return true;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* No merge could come to a piece that isn't there. */
static bool is_without(const json_t *vocab, without what) {
    const char *piece, *digit;
    json_t *id;
    json_object_foreach(json_borrow(vocab), piece, id) {
        for (digit = piece; what == WITHOUT_DIGIT_PAIRS && *digit; digit++)
            if (is_digit(digit[0]) && is_digit(digit[1]))
                return false;
        for (digit = piece; what == WITHOUT_SPACED_DIGITS && (digit = strstr(digit, SPACED)); digit++)
            if (is_digit(digit[strlen(SPACED)]))
                return false;
    }
    return true;
}

static const char *look_up(passes *p, const json_t *vocab, bool ignore_merges) {
    const char *name = NULL;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (!is_same(p, &table[i]) || !is_without(vocab, table[i].without))
            continue;
        name = table[i].name;
        if (table[i].ignore_merges == ignore_merges)
            return name;
    }
    if (name)
        hf_fail(p->m, "tokenizer.json: pre-tokenizer %s with \"ignore_merges\" %s is not known", name,
                ignore_merges ? "true" : "false");
    else
        hf_fail(p->m, "tokenizer.json: the pre-tokenizer is not known; its first pattern is \"%.120s\"",
                p->n ? p->regex[0] : "");
    return NULL;
}

const char *hf_find_pretokenizer(hf_model *m, const json_t *pre_tokenizer, const json_t *vocab, bool ignore_merges) {
    passes p = {.m = m};
    const char *type = json_get_string(pre_tokenizer, "type");
    if (type && !strcmp(type, "Sequence")) {
        const json_t *steps = json_object_get(pre_tokenizer, "pretokenizers");
        for (size_t i = 0; i < json_array_size(steps); i++)
            add_step(&p, json_array_get(steps, i));
    } else {
        add_step(&p, pre_tokenizer);
    }
    if (!p.byte_level)
        hf_fail(m, "tokenizer.json: the pre-tokenizer has no step \"ByteLevel\"");
    const char *name = m->st ? NULL : look_up(&p, vocab, ignore_merges);
    for (uint32_t i = 0; i < p.n; i++)
        free(p.regex[i]);
    return name;
}
