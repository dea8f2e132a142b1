/* Letter case and classes of characters, as Python's str methods know them: full mappings, where one letter may become
 * several, from Unicode's SpecialCasing; the simple ones are utf8proc's.
 * Source: the Unicode Standard, 3.13 "Default Case Algorithms". */
#include "base/utf8.h"
#include "model/template_internal.h"

#include <utf8proc.h>

typedef struct special_case {
    uint32_t cp, upper[3], title[3]; /* title[0] 0: the same as upper */
} special_case;

/* clang-format off */
static const special_case special_cases[] = {
    {0x00DF, {0x0053, 0x0053}, {0x0053, 0x0073}}, {0x0149, {0x02BC, 0x004E}, {0}}, {0x01F0, {0x004A, 0x030C}, {0}},
    {0x0390, {0x0399, 0x0308, 0x0301}, {0}}, {0x03B0, {0x03A5, 0x0308, 0x0301}, {0}},
    {0x0587, {0x0535, 0x0552}, {0x0535, 0x0582}}, {0x1E96, {0x0048, 0x0331}, {0}}, {0x1E97, {0x0054, 0x0308}, {0}},
    {0x1E98, {0x0057, 0x030A}, {0}}, {0x1E99, {0x0059, 0x030A}, {0}}, {0x1E9A, {0x0041, 0x02BE}, {0}},
    {0x1F50, {0x03A5, 0x0313}, {0}}, {0x1F52, {0x03A5, 0x0313, 0x0300}, {0}},
    {0x1F54, {0x03A5, 0x0313, 0x0301}, {0}}, {0x1F56, {0x03A5, 0x0313, 0x0342}, {0}},
    {0x1F80, {0x1F08, 0x0399}, {0x1F88}}, {0x1F81, {0x1F09, 0x0399}, {0x1F89}}, {0x1F82, {0x1F0A, 0x0399}, {0x1F8A}},
    {0x1F83, {0x1F0B, 0x0399}, {0x1F8B}}, {0x1F84, {0x1F0C, 0x0399}, {0x1F8C}}, {0x1F85, {0x1F0D, 0x0399}, {0x1F8D}},
    {0x1F86, {0x1F0E, 0x0399}, {0x1F8E}}, {0x1F87, {0x1F0F, 0x0399}, {0x1F8F}}, {0x1F88, {0x1F08, 0x0399}, {0x1F88}},
    {0x1F89, {0x1F09, 0x0399}, {0x1F89}}, {0x1F8A, {0x1F0A, 0x0399}, {0x1F8A}}, {0x1F8B, {0x1F0B, 0x0399}, {0x1F8B}},
    {0x1F8C, {0x1F0C, 0x0399}, {0x1F8C}}, {0x1F8D, {0x1F0D, 0x0399}, {0x1F8D}}, {0x1F8E, {0x1F0E, 0x0399}, {0x1F8E}},
    {0x1F8F, {0x1F0F, 0x0399}, {0x1F8F}}, {0x1F90, {0x1F28, 0x0399}, {0x1F98}}, {0x1F91, {0x1F29, 0x0399}, {0x1F99}},
    {0x1F92, {0x1F2A, 0x0399}, {0x1F9A}}, {0x1F93, {0x1F2B, 0x0399}, {0x1F9B}}, {0x1F94, {0x1F2C, 0x0399}, {0x1F9C}},
    {0x1F95, {0x1F2D, 0x0399}, {0x1F9D}}, {0x1F96, {0x1F2E, 0x0399}, {0x1F9E}}, {0x1F97, {0x1F2F, 0x0399}, {0x1F9F}},
    {0x1F98, {0x1F28, 0x0399}, {0x1F98}}, {0x1F99, {0x1F29, 0x0399}, {0x1F99}}, {0x1F9A, {0x1F2A, 0x0399}, {0x1F9A}},
    {0x1F9B, {0x1F2B, 0x0399}, {0x1F9B}}, {0x1F9C, {0x1F2C, 0x0399}, {0x1F9C}}, {0x1F9D, {0x1F2D, 0x0399}, {0x1F9D}},
    {0x1F9E, {0x1F2E, 0x0399}, {0x1F9E}}, {0x1F9F, {0x1F2F, 0x0399}, {0x1F9F}}, {0x1FA0, {0x1F68, 0x0399}, {0x1FA8}},
    {0x1FA1, {0x1F69, 0x0399}, {0x1FA9}}, {0x1FA2, {0x1F6A, 0x0399}, {0x1FAA}}, {0x1FA3, {0x1F6B, 0x0399}, {0x1FAB}},
    {0x1FA4, {0x1F6C, 0x0399}, {0x1FAC}}, {0x1FA5, {0x1F6D, 0x0399}, {0x1FAD}}, {0x1FA6, {0x1F6E, 0x0399}, {0x1FAE}},
    {0x1FA7, {0x1F6F, 0x0399}, {0x1FAF}}, {0x1FA8, {0x1F68, 0x0399}, {0x1FA8}}, {0x1FA9, {0x1F69, 0x0399}, {0x1FA9}},
    {0x1FAA, {0x1F6A, 0x0399}, {0x1FAA}}, {0x1FAB, {0x1F6B, 0x0399}, {0x1FAB}}, {0x1FAC, {0x1F6C, 0x0399}, {0x1FAC}},
    {0x1FAD, {0x1F6D, 0x0399}, {0x1FAD}}, {0x1FAE, {0x1F6E, 0x0399}, {0x1FAE}}, {0x1FAF, {0x1F6F, 0x0399}, {0x1FAF}},
    {0x1FB2, {0x1FBA, 0x0399}, {0x1FBA, 0x0345}}, {0x1FB3, {0x0391, 0x0399}, {0x1FBC}},
    {0x1FB4, {0x0386, 0x0399}, {0x0386, 0x0345}}, {0x1FB6, {0x0391, 0x0342}, {0}},
    {0x1FB7, {0x0391, 0x0342, 0x0399}, {0x0391, 0x0342, 0x0345}}, {0x1FBC, {0x0391, 0x0399}, {0x1FBC}},
    {0x1FC2, {0x1FCA, 0x0399}, {0x1FCA, 0x0345}}, {0x1FC3, {0x0397, 0x0399}, {0x1FCC}},
    {0x1FC4, {0x0389, 0x0399}, {0x0389, 0x0345}}, {0x1FC6, {0x0397, 0x0342}, {0}},
    {0x1FC7, {0x0397, 0x0342, 0x0399}, {0x0397, 0x0342, 0x0345}}, {0x1FCC, {0x0397, 0x0399}, {0x1FCC}},
    {0x1FD2, {0x0399, 0x0308, 0x0300}, {0}}, {0x1FD3, {0x0399, 0x0308, 0x0301}, {0}},
    {0x1FD6, {0x0399, 0x0342}, {0}}, {0x1FD7, {0x0399, 0x0308, 0x0342}, {0}},
    {0x1FE2, {0x03A5, 0x0308, 0x0300}, {0}}, {0x1FE3, {0x03A5, 0x0308, 0x0301}, {0}},
    {0x1FE4, {0x03A1, 0x0313}, {0}}, {0x1FE6, {0x03A5, 0x0342}, {0}}, {0x1FE7, {0x03A5, 0x0308, 0x0342}, {0}},
    {0x1FF2, {0x1FFA, 0x0399}, {0x1FFA, 0x0345}}, {0x1FF3, {0x03A9, 0x0399}, {0x1FFC}},
    {0x1FF4, {0x038F, 0x0399}, {0x038F, 0x0345}}, {0x1FF6, {0x03A9, 0x0342}, {0}},
    {0x1FF7, {0x03A9, 0x0342, 0x0399}, {0x03A9, 0x0342, 0x0345}}, {0x1FFC, {0x03A9, 0x0399}, {0x1FFC}},
    {0xFB00, {0x0046, 0x0046}, {0x0046, 0x0066}}, {0xFB01, {0x0046, 0x0049}, {0x0046, 0x0069}},
    {0xFB02, {0x0046, 0x004C}, {0x0046, 0x006C}}, {0xFB03, {0x0046, 0x0046, 0x0049}, {0x0046, 0x0066, 0x0069}},
    {0xFB04, {0x0046, 0x0046, 0x004C}, {0x0046, 0x0066, 0x006C}}, {0xFB05, {0x0053, 0x0054}, {0x0053, 0x0074}},
    {0xFB06, {0x0053, 0x0054}, {0x0053, 0x0074}}, {0xFB13, {0x0544, 0x0546}, {0x0544, 0x0576}},
    {0xFB14, {0x0544, 0x0535}, {0x0544, 0x0565}}, {0xFB15, {0x0544, 0x053B}, {0x0544, 0x056B}},
    {0xFB16, {0x054E, 0x0546}, {0x054E, 0x0576}}, {0xFB17, {0x0544, 0x053D}, {0x0544, 0x056D}},
};
/* clang-format on */

/* Characters that count as digits without being decimal: superscripts, circled ones and the like. */
typedef uint32_t range[2]; /* first and last */
static const range other_digits[] = {{0x00B2, 0x00B3},   {0x00B9, 0x00B9},   {0x1369, 0x1371},   {0x19DA, 0x19DA},
                                     {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
                                     {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
                                     {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
                                     {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
/* Letters and marks with case that are no capitals and no small letters by category. */
static const range other_lower[] = {{0x00AA, 0x00AA}, {0x00BA, 0x00BA}, {0x02B0, 0x02B8}, {0x02C0, 0x02C1},
                                    {0x02E0, 0x02E4}, {0x0345, 0x0345}, {0x037A, 0x037A}, {0x1D2C, 0x1D6A},
                                    {0x1D78, 0x1D78}, {0x1D9B, 0x1DBF}, {0x2071, 0x2071}, {0x207F, 0x207F},
                                    {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9}, {0x2C7C, 0x2C7D},
                                    {0xA69C, 0xA69D}, {0xA770, 0xA770}, {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}};
static const range other_upper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

static bool in_ranges(uint32_t cp, const range *r, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (cp >= r[i][0] && cp <= r[i][1])
            return true;
    return false;
}

static utf8proc_category_t category_of(uint32_t cp) {
    return utf8proc_category((utf8proc_int32_t)cp);
}
static bool is_upper(uint32_t cp) {
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z';
    return category_of(cp) == UTF8PROC_CATEGORY_LU || in_ranges(cp, other_upper, ARRAY_LEN(other_upper));
}
static bool is_lower(uint32_t cp) {
    if (cp < 0x80)
        return cp >= 'a' && cp <= 'z';
    return category_of(cp) == UTF8PROC_CATEGORY_LL || in_ranges(cp, other_lower, ARRAY_LEN(other_lower));
}
static bool is_title(uint32_t cp) {
    return cp >= 0x80 && category_of(cp) == UTF8PROC_CATEGORY_LT;
}
static bool is_cased(uint32_t cp) {
    return is_upper(cp) || is_lower(cp) || is_title(cp);
}

/* ---- mapping ---- */

static const special_case *find_special(uint32_t cp) {
    size_t from = 0, to = ARRAY_LEN(special_cases);
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (special_cases[mid].cp == cp)
            return &special_cases[mid];
        if (special_cases[mid].cp < cp)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

static void append_character(str *out, uint32_t cp) {
    char bytes[4];
    str_append(out, bytes, utf8_encode(cp, bytes));
}

static void append_upper(uint32_t cp, bool title, str *out) {
    const special_case *s = find_special(cp);
    if (!s) {
        utf8proc_int32_t c = (utf8proc_int32_t)cp;
        append_character(out, (uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)));
        return;
    }
    const uint32_t *to = title && s->title[0] ? s->title : s->upper;
    for (int i = 0; i < 3 && to[i]; i++)
        append_character(out, to[i]);
}

/* Passed over when it is asked whether a letter ends a word. */
static bool is_case_ignorable(uint32_t cp) {
    static const uint32_t others[] = {'\'', '.', ':', 0xB7, 0x387, 0x55F, 0x5F4, 0x2018, 0x2019, 0x2024, 0x2027};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (cp == others[i])
            return true;
    utf8proc_category_t c = category_of(cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK;
}

/* A capital sigma at byte `at` ends its word: a letter comes before it and none after it. */
static bool ends_word(interp *in, tv v, size_t at, size_t after) {
    uint32_t cp = 0;
    bool cased = false;
    for (size_t i = at; i > 0 && !cased && interp_charge(in, 1);) {
        i -= template_last_char(v.u.s, i, &cp);
        if (is_case_ignorable(cp))
            continue;
        if (!is_cased(cp))
            return false;
        cased = true;
    }
    for (size_t i = after; cased && i < v.n_str && interp_charge(in, 1);) {
        i += template_first_char(v.u.s + i, v.n_str - i, &cp);
        if (!is_case_ignorable(cp))
            return !is_cased(cp);
    }
    return cased;
}

static void append_lower(interp *in, tv v, size_t at, size_t k, uint32_t cp, str *out) {
    if (cp == 0x130) /* capital I with a dot above */
        str_append_s(out, "i\xCC\x87");
    else if (cp == 0x3A3)
        append_character(out, ends_word(in, v, at, at + k) ? 0x3C2 : 0x3C3);
    else
        append_character(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

static void append_folded(uint32_t cp, str *out) {
    utf8proc_int32_t parts[8];
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 8, UTF8PROC_CASEFOLD, NULL);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
        append_character(out, (uint32_t)parts[i]);
}

static void append_cased(interp *in, tv v, size_t at, size_t k, uint32_t cp, letter_case how, bool in_word, str *out) {
    switch (how) {
    case CASE_UPPER: append_upper(cp, false, out); break;
    case CASE_LOWER: append_lower(in, v, at, k, cp, out); break;
    case CASE_FOLD: append_folded(cp, out); break;
    case CASE_SWAP:
        if (is_upper(cp))
            append_lower(in, v, at, k, cp, out);
        else if (is_lower(cp))
            append_upper(cp, false, out);
        else
            str_append(out, v.u.s + at, k);
        break;
    case CASE_TITLE:
    case CASE_CAPITAL:
        if (in_word)
            append_lower(in, v, at, k, cp, out);
        else
            append_upper(cp, true, out);
    }
}

static void append_ascii(char c, letter_case how, bool in_word, str *out) {
    bool up = how == CASE_UPPER || ((how == CASE_TITLE || how == CASE_CAPITAL) && !in_word);
    bool turn = how == CASE_SWAP ? is_cased((uint8_t)c) : up ? is_lower((uint8_t)c) : is_upper((uint8_t)c);
    str_append_c(out, turn ? (char)(c ^ 0x20) : c);
}

tv template_text_case(interp *in, tv v, letter_case how) {
    str s;
    bool in_word = false;
    if (interp_failed(in) || !interp_charge_mapping(in, v.n_str))
        return TV_UNDEF;
    interp_str_init(in, &s);
    for (size_t i = 0; i < v.n_str;) {
        uint32_t cp = (uint8_t)v.u.s[i];
        size_t k = cp < 0x80 ? 1 : utf8_decode(v.u.s + i, v.n_str - i, &cp);
        if (cp < 0x80)
            append_ascii((char)cp, how, in_word, &s);
        else if (!interp_charge(in, 2))
            break;
        else if (k)
            append_cased(in, v, i, k, cp, how, in_word, &s);
        else
            str_append(&s, v.u.s + i, 1);
        in_word = how == CASE_CAPITAL || (k && is_cased(cp));
        i += k ? k : 1;
    }
    tv text = tv_from_str(in, &s);
    if (text.kind == TV_STRING)
        text.form = v.form;
    return text;
}

/* ---- classes ---- */

bool template_text_is_cased(tv v, bool upper) {
    bool any = false;
    for (size_t i = 0; i < v.n_str;) {
        uint32_t cp;
        i += template_first_char(v.u.s + i, v.n_str - i, &cp);
        if (is_title(cp) || (upper ? is_lower(cp) : is_upper(cp)))
            return false;
        any |= upper ? is_upper(cp) : is_lower(cp);
    }
    return any;
}

/* istitle: capitals only after what has no case, small letters only after what has. */
static bool is_titled(tv v) {
    bool any = false, previous = false;
    for (size_t i = 0; i < v.n_str;) {
        uint32_t cp;
        i += template_first_char(v.u.s + i, v.n_str - i, &cp);
        bool capital = is_upper(cp) || is_title(cp), small = is_lower(cp);
        if ((capital && previous) || (small && !previous))
            return false;
        previous = capital || small;
        any |= previous;
    }
    return any;
}

/* Decimal digits stand in rows of ten; several rows may follow each other. */
int template_digit_value(uint32_t cp) {
    if (category_of(cp) != UTF8PROC_CATEGORY_ND)
        return -1;
    if (cp < 0x80)
        return (int)(cp - '0');
    uint32_t first = cp;
    while (cp - first < 60 && category_of(first - 1) == UTF8PROC_CATEGORY_ND)
        first--;
    return (int)((cp - first) % 10);
}

static bool is_digit(uint32_t cp) {
    return category_of(cp) == UTF8PROC_CATEGORY_ND || in_ranges(cp, other_digits, ARRAY_LEN(other_digits));
}

static bool is_numeric(uint32_t cp) {
    utf8proc_category_t c = category_of(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

static bool is_alpha(uint32_t cp) {
    utf8proc_category_t c = category_of(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

static bool is_identifier_part(uint32_t cp) {
    utf8proc_category_t c = category_of(cp);
    return is_alpha(cp) || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC ||
           c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_PC;
}

static bool is_printable(uint32_t cp) {
    utf8proc_category_t c = category_of(cp);
    return c != UTF8PROC_CATEGORY_CN && (c < UTF8PROC_CATEGORY_ZS || cp == ' ');
}

static bool is_decimal(uint32_t cp) {
    return category_of(cp) == UTF8PROC_CATEGORY_ND;
}
static bool is_alphanumeric(uint32_t cp) {
    return is_alpha(cp) || is_numeric(cp);
}
static bool is_ascii(uint32_t cp) {
    return cp < 0x80;
}
static bool is_identifier_start(uint32_t cp) {
    return is_alpha(cp) || category_of(cp) == UTF8PROC_CATEGORY_NL || cp == '_';
}

/* What every character is, and the first one, too. */
static const struct text_class {
    const char *name;
    bool (*every)(uint32_t), (*first)(uint32_t), empty;
} classes[] = {{"isdigit", is_digit, is_digit, false},
               {"isdecimal", is_decimal, is_decimal, false},
               {"isnumeric", is_numeric, is_numeric, false},
               {"isalpha", is_alpha, is_alpha, false},
               {"isalnum", is_alphanumeric, is_alphanumeric, false},
               {"isspace", template_is_space, template_is_space, false},
               {"isascii", is_ascii, is_ascii, true},
               {"isprintable", is_printable, is_printable, true},
               {"isidentifier", is_identifier_part, is_identifier_start, false}};

bool template_text_is_digits(tv v) {
    return template_text_class(v, "isdigit");
}

bool template_text_class(tv v, const char *name) {
    if (!strcmp(name, "isupper") || !strcmp(name, "islower"))
        return template_text_is_cased(v, name[2] == 'u');
    if (!strcmp(name, "istitle"))
        return is_titled(v);
    const struct text_class *class = classes;
    while (strcmp(class->name, name) != 0)
        class ++;
    if (v.n_str == 0)
        return class->empty;
    for (size_t i = 0; i < v.n_str;) {
        uint32_t cp;
        size_t k = template_first_char(v.u.s + i, v.n_str - i, &cp);
        if (!class->every(cp) || (i == 0 && !class->first(cp)))
            return false;
        i += k;
    }
    return true;
}
