/* The code points of \p{...}. Owns nothing that lasts. Refuses: properties that neither utf8proc nor PCRE2 know, and
 * those that ECMA-262 doesn't have.
 * Idea: general categories are looked up one code point at a time; for scripts and binary properties PCRE2 goes once
 * over a text of all characters, and its matches are the set. */
#include "base/utf8.h"
#include "constrain/regex.h"

#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

/* General categories by their short and long names; a one-letter name takes in all that begin with it. */
static bool category_mask(span name, uint32_t *mask) {
    static const char *const short_names[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                              "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                              "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
    static const char long_names[] =
        " Letter L Cased_Letter LC Uppercase_Letter Lu Lowercase_Letter Ll Titlecase_Letter Lt Modifier_Letter Lm "
        "Other_Letter Lo Mark M Combining_Mark M Nonspacing_Mark Mn Spacing_Mark Mc Enclosing_Mark Me Number N "
        "Decimal_Number Nd digit Nd Letter_Number Nl Other_Number No Punctuation P punct P Connector_Punctuation Pc "
        "Dash_Punctuation Pd Open_Punctuation Ps Close_Punctuation Pe Initial_Punctuation Pi Final_Punctuation Pf "
        "Other_Punctuation Po Symbol S Math_Symbol Sm Currency_Symbol Sc Modifier_Symbol Sk Other_Symbol So "
        "Separator Z Space_Separator Zs Line_Separator Zl Paragraph_Separator Zp Other C Control Cc cntrl Cc "
        "Format Cf Surrogate Cs Private_Use Co Unassigned Cn ";
    char word[64];
    snprintf(word, sizeof word, " %.*s ", (int)MIN(name.n, sizeof word - 4), name.p);
    const char *found = name.n > 2 && !memchr(name.p, ' ', name.n) ? strstr(long_names, word) : NULL;
    if (found) {
        found += strlen(word);
        name = span_of(found, strcspn(found, " "));
    }
    *mask = 0;
    for (size_t i = 0; i < ARRAY_LEN(short_names); i++)
        if ((name.n == 1 && name.p[0] == short_names[i][0]) || span_equal_string(name, short_names[i]))
            *mask |= 1u << i;
    if (span_equal_string(name, "LC"))
        *mask = 1u << UTF8PROC_CATEGORY_LU | 1u << UTF8PROC_CATEGORY_LL | 1u << UTF8PROC_CATEGORY_LT;
    return *mask != 0;
}

/* Between these planes nothing is assigned, and behind them all is for private use but the last two of each plane. */
#define ASSIGNED_END 0x40000u
#define TAGS_BEGIN 0xE0000u
#define PRIVATE_BEGIN 0xF0000u

static uint32_t category_of(uint32_t cp) {
    return (uint32_t)utf8proc_category((utf8proc_int32_t)cp);
}

static void add_categories(cp_set *s, uint32_t mask) {
    for (uint32_t cp = 0; cp < PRIVATE_BEGIN;) {
        uint32_t from = cp;
        bool in = mask >> category_of(cp) & 1;
        while (cp < PRIVATE_BEGIN && (mask >> category_of(cp) & 1) == in)
            cp = cp == ASSIGNED_END ? TAGS_BEGIN : cp + 1;
        if (in)
            cp_add(s, from, cp - 1);
    }
    for (uint32_t plane = PRIVATE_BEGIN; plane < CP_MAX; plane += 0x10000) {
        if (mask >> category_of(plane) & 1)
            cp_add(s, plane, plane + 0xFFFD);
        if (mask >> category_of(plane + 0xFFFE) & 1)
            cp_add(s, plane + 0xFFFE, plane + 0xFFFF);
    }
}

/* ---- scripts and binary properties ---- */

/* ECMA-262, table "Binary Unicode property aliases"; Any, ASCII, Assigned and noncharacters
 * are answered before. */
static bool is_binary_property(span name) {
    static const char names[] =
        " ASCII_Hex_Digit AHex Alphabetic Alpha Bidi_Control Bidi_C Bidi_Mirrored Bidi_M Case_Ignorable CI Cased "
        "Changes_When_Casefolded CWCF Changes_When_Casemapped CWCM Changes_When_Lowercased CWL "
        "Changes_When_Titlecased CWT Changes_When_Uppercased CWU Dash Default_Ignorable_Code_Point DI Deprecated "
        "Dep Diacritic Dia Emoji Emoji_Component EComp Emoji_Modifier EMod Emoji_Modifier_Base EBase "
        "Emoji_Presentation EPres Extended_Pictographic ExtPict Extender Ext Grapheme_Base Gr_Base Grapheme_Extend "
        "Gr_Ext Hex_Digit Hex IDS_Binary_Operator IDSB IDS_Trinary_Operator IDST ID_Continue IDC ID_Start IDS "
        "Ideographic Ideo Join_Control Join_C Logical_Order_Exception LOE Lowercase Lower Math "
        "Pattern_Syntax Pat_Syn Pattern_White_Space Pat_WS Quotation_Mark QMark "
        "Radical Regional_Indicator RI Sentence_Terminal STerm Soft_Dotted SD Terminal_Punctuation Term "
        "Unified_Ideograph UIdeo Uppercase Upper Variation_Selector VS White_Space space XID_Continue XIDC "
        "XID_Start XIDS ";
    char word[64];
    snprintf(word, sizeof word, " %.*s ", (int)MIN(name.n, sizeof word - 4), name.p);
    return strstr(names, word) != NULL;
}

/* "+" of the property, as PCRE2 writes it; false: not one that ECMA-262 has. */
static bool property_pattern(span name, char out[80]) {
    static const char *const scripts[][2] = {
        {"Script=", "sc"}, {"sc=", "sc"}, {"Script_Extensions=", "scx"}, {"scx=", "scx"}};
    if (name.n > 50)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!((name.p[i] | 32) >= 'a' && (name.p[i] | 32) <= 'z') && name.p[i] != '_' && name.p[i] != '=')
            return false;
    if (name.n >= 7 && memcmp(name.p + name.n - 7, "Unknown", 7) == 0)
        return false; /* the script of what is not assigned */
    if (is_binary_property(name)) {
        snprintf(out, 80, "\\p{%.*s}+", (int)name.n, name.p);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        size_t k = strlen(scripts[i][0]);
        if (name.n > k && memcmp(name.p, scripts[i][0], k) == 0) {
            snprintf(out, 80, "\\p{%s:%.*s}+", scripts[i][1], (int)(name.n - k), name.p + k);
            return true;
        }
    }
    return false;
}

/* The characters of the planes where something is assigned, in order; where the one at a byte offset is which follows
 * from the lengths. Nothing that is asked for holds of unassigned planes or of those for private use. */
#define TAGS_END (TAGS_BEGIN + 0x1000u)
#define TWO_BYTES 0x80u
#define THREE_BYTES (TWO_BYTES + 2u * 0x780u)
#define FOUR_BYTES (THREE_BYTES + 3u * 0xF000u) /* without the 0x800 surrogates */
#define TAGS_BYTES (FOUR_BYTES + 4u * (ASSIGNED_END - 0x10000u))
#define TEXT_BYTES (TAGS_BYTES + 4u * (TAGS_END - TAGS_BEGIN))

static uint32_t code_point_at(size_t at) {
    if (at < TWO_BYTES)
        return (uint32_t)at;
    if (at < THREE_BYTES)
        return (uint32_t)(0x80 + (at - TWO_BYTES) / 2);
    if (at < FOUR_BYTES) {
        uint32_t cp = (uint32_t)(0x800 + (at - THREE_BYTES) / 3);
        return cp < 0xD800 ? cp : cp + 0x800;
    }
    return at < TAGS_BYTES ? (uint32_t)(0x10000 + (at - FOUR_BYTES) / 4)
                           : (uint32_t)(TAGS_BEGIN + (at - TAGS_BYTES) / 4);
}

static uint32_t next_code_point(uint32_t cp) {
    return cp == 0xD7FF ? 0xE000 : cp + 1 == ASSIGNED_END ? TAGS_BEGIN : cp + 1;
}

/* A match is a run of neighbours in the text, and the text jumps twice. */
static void add_run(cp_set *s, uint32_t lo, uint32_t hi) {
    if (lo < ASSIGNED_END && hi >= TAGS_BEGIN) {
        cp_add(s, lo, ASSIGNED_END - 1);
        lo = TAGS_BEGIN;
    }
    cp_add(s, lo, hi);
}

static muga_status add_matches(cp_set *s, const char *pattern, muga_error *err) {
    size_t n = TEXT_BYTES, at = 0;
    int code;
    PCRE2_SIZE where;
    muga_status st = MUGA_OK;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &where, NULL);
    if (!compiled)
        return code == PCRE2_ERROR_HEAP_FAILED ? error_nomem(err, "a pattern") : MUGA_E_NOT_FOUND;
    char *text = mem_alloc_array(n, 1);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!text || !data)
        st = error_nomem(err, "a pattern");
    for (uint32_t cp = 0; st == MUGA_OK && cp < TAGS_END; cp = next_code_point(cp))
        at += utf8_encode(cp, text + at);
    for (at = 0; st == MUGA_OK && at < n;) {
        code = pcre2_match(compiled, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, data, NULL);
        if (code == PCRE2_ERROR_NOMATCH)
            break;
        if (code < 0) {
            st = error_nomem(err, "a pattern");
            break;
        }
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(data);
        add_run(s, code_point_at(v[0]), code_point_at(v[1] - 1));
        at = v[1];
    }
    pcre2_match_data_free(data);
    pcre2_code_free(compiled);
    free(text);
    return st;
}

muga_status regex_property(const char *name, size_t n, cp_set *s, muga_error *err) {
    static const char *const prefixes[] = {"General_Category=", "gc="};
    span is = span_of(name, n);
    uint32_t mask = 0;
    char pattern[80];
    muga_status st = MUGA_E_NOT_FOUND;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t k = strlen(prefixes[i]);
        if (is.n > k && memcmp(is.p, prefixes[i], k) == 0)
            is = span_of(is.p + k, is.n - k);
    }
    if (span_equal_string(is, "Any")) {
        cp_add(s, 0, CP_MAX);
        return MUGA_OK;
    }
    if (span_equal_string(is, "ASCII")) {
        cp_add(s, 0, 0x7F);
        return MUGA_OK;
    }
    if (span_equal_string(is, "Assigned")) {
        add_categories(s, ~1u);
        return MUGA_OK;
    }
    if (span_equal_string(is, "Noncharacter_Code_Point") || span_equal_string(is, "NChar")) {
        cp_add(s, 0xFDD0, 0xFDEF);
        for (uint32_t plane = 0; plane < CP_MAX; plane += 0x10000)
            cp_add(s, plane + 0xFFFE, plane + 0xFFFF);
        return MUGA_OK;
    }
    if (category_mask(is, &mask)) {
        add_categories(s, mask);
        return MUGA_OK;
    }
    if (is.p == name && property_pattern(is, pattern))
        st = add_matches(s, pattern, err);
    return st == MUGA_E_NOT_FOUND
               ? error_set(err, MUGA_E_INPUT, "property \"%.*s\" is not known", (int)MIN(n, (size_t)40), name)
               : st;
}
