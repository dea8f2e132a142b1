/* A text taken apart for the guards (guard_internal.h). Owns: which characters can't be seen and have no honest use
 * where they stand, words that mix alphabets, the text as it is read.
 *
 * Idea: what can't be seen is told from what may be there by its neighbours. A joiner between two emoji, or in a
 * script that needs it, is writing; between Latin letters it is not. Tag characters spell a flag after a black flag,
 * and nothing elsewhere. Marks of direction belong beside letters that run from right to left; overrides nowhere. */
#include "agent/guard_internal.h"
#include "base/utf8.h"

#include <utf8proc.h>

#define MARKS_MAX 4 /* accents on one letter; the most that a living orthography stacks, and one more */

muga_status guard_add(guard_list *l, size_t from, size_t to, unsigned guard, const char *what, muga_error *err) {
    guard_found *last = l->n > 0 ? &l->v[l->n - 1] : NULL;
    if (last && last->guard == guard && last->to == from && strcmp(last->what, what) == 0) {
        last->to = to;
        return MUGA_OK;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        guard_found *v = mem_resize_array(l->v, cap, sizeof *v);
        if (!v) {
            return error_nomem(err, "what a guard found");
        }
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = (guard_found){from, to, guard, what};
    return MUGA_OK;
}

/* ---- kinds of characters ---- */

static bool in(uint32_t cp, uint32_t from, uint32_t to) {
    return cp >= from && cp <= to;
}

static utf8proc_category_t category(uint32_t cp) {
    return cp < GUARD_NO_CHAR ? utf8proc_category((utf8proc_int32_t)cp) : UTF8PROC_CATEGORY_CN;
}

static bool is_letter(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

static bool is_mark(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

bool guard_is_letter(const guard_text *t, size_t i) {
    return is_letter(t->cp[i]);
}

static bool is_right_to_left(uint32_t cp) {
    return in(cp, 0x0590, 0x08FF) || in(cp, 0xFB1D, 0xFDFF) || in(cp, 0xFE70, 0xFEFC);
}

static bool is_emoji(uint32_t cp) {
    return in(cp, 0x2190, 0x2BFF) || in(cp, 0x1F000, 0x1FAFF) || cp == 0x3030 || cp == 0x303D || cp == 0xA9 ||
           cp == 0xAE || cp == 0x203C || cp == 0x2049 || cp == 0x3297 || cp == 0x3299;
}

/* Scripts whose letters change by a joiner or its opposite: Arabic and its neighbours, those of India, Mongolian. */
static bool uses_joiners(uint32_t cp) {
    return in(cp, 0x0600, 0x08FF) || in(cp, 0x0900, 0x0DFF) || in(cp, 0x0E00, 0x109F) || in(cp, 0x1780, 0x18AF) ||
           in(cp, 0xFB50, 0xFDFF) || in(cp, 0xFE70, 0xFEFC) || in(cp, 0xA840, 0xAAFF);
}

static bool is_invisible(uint32_t cp) {
    return category(cp) == UTF8PROC_CATEGORY_CF || in(cp, 0xFE00, 0xFE0F) || in(cp, 0xE0000, 0xE0FFF) ||
           in(cp, 0x180B, 0x180F) || cp == 0x034F || cp == 0x115F || cp == 0x1160 || cp == 0x3164 || cp == 0xFFA0 ||
           in(cp, 0xF0000, 0x10FFFF) || cp == 0x2800;
}

static uint32_t before(const guard_text *t, size_t i) {
    return i > 0 ? t->cp[i - 1] : 0;
}

static uint32_t after(const guard_text *t, size_t i) {
    return i + 1 < t->n_cp ? t->cp[i + 1] : 0;
}

static bool is_near_right_to_left(const guard_text *t, size_t i) {
    for (size_t k = i > 24 ? i - 24 : 0; k < MIN(t->n_cp, i + 24); k++) {
        if (is_right_to_left(t->cp[k])) {
            return true;
        }
    }
    return false;
}

/* A black flag, then three to six small letters or digits, then the end of tags (Unicode Technical Standard 51). */
static bool is_in_flag(const guard_text *t, size_t i) {
    size_t from = i, to = i;
    while (from > 0 && i - from < 8 && in(t->cp[from - 1], 0xE0061, 0xE007A)) {
        from--;
    }
    while (to < t->n_cp && to - i < 8 && t->cp[to] != 0xE007F) {
        to++;
    }
    bool small = in(t->cp[i], 0xE0030, 0xE0039) || in(t->cp[i], 0xE0061, 0xE007A) || t->cp[i] == 0xE007F;
    return small && from > 0 && t->cp[from - 1] == 0x1F3F4 && to < t->n_cp && t->cp[to] == 0xE007F && to - from >= 3 &&
           to - from <= 6;
}

/* What this invisible character would have to be for, or NULL where it may stand. */
static const char *hidden_kind(const guard_text *t, size_t i) {
    uint32_t cp = t->cp[i], b = before(t, i), a = after(t, i);
    if (cp == 0x200C || cp == 0x200D) {
        bool emoji = cp == 0x200D && (is_emoji(b) || b == 0xFE0F || in(b, 0x1F3FB, 0x1F3FF)) && is_emoji(a);
        return emoji || (uses_joiners(b) && (uses_joiners(a) || !is_invisible(a))) ? NULL
                                                                                   : "holds zero-width characters";
    }
    if (cp == 0xFEFF && i == 0) {
        return NULL; /* the mark that some programs begin a file with */
    }
    if (cp == 0xAD) { /* where a long word may be broken */
        return is_letter(b) && is_letter(a) ? NULL : "holds zero-width characters";
    }
    if (in(cp, 0xFE00, 0xFE0F)) {
        bool shown = is_emoji(b) || in(b, '0', '9') || b == '#' || b == '*';
        return !is_invisible(b) && (shown || is_letter(b) || category(b) == UTF8PROC_CATEGORY_SM)
                   ? NULL
                   : "holds variation selectors that vary nothing";
    }
    if (in(cp, 0xE0100, 0xE01EF)) {
        return in(b, 0x2E80, 0x9FFF) || in(b, 0xF900, 0xFAFF) || in(b, 0x20000, 0x3FFFF)
                   ? NULL
                   : "holds variation selectors that vary nothing";
    }
    if (in(cp, 0xE0000, 0xE0FFF)) {
        return is_in_flag(t, i) ? NULL : "holds tag characters";
    }
    if (in(cp, 0x202D, 0x202E)) {
        return "overrides the direction of writing";
    }
    if (cp == 0x200E || cp == 0x200F || cp == 0x061C || in(cp, 0x202A, 0x202C) || in(cp, 0x2066, 0x2069)) {
        return is_near_right_to_left(t, i) ? NULL : "holds marks of direction";
    }
    if (in(cp, 0x180B, 0x180F)) {
        return in(b, 0x1800, 0x18AF) ? NULL : "holds zero-width characters";
    }
    if (in(cp, 0x115F, 0x1160)) {
        return in(b, 0x1100, 0x11FF) || in(a, 0x1100, 0x11FF) ? NULL : "holds letters that can't be seen";
    }
    if (cp == 0x3164 || cp == 0xFFA0) {
        return "holds letters that can't be seen";
    }
    if (cp == 0x2800) {
        return in(b, 0x2801, 0x28FF) || in(a, 0x2801, 0x28FF) ? NULL : "holds letters that can't be seen";
    }
    if (in(cp, 0x0600, 0x0605) || cp == 0x06DD || cp == 0x070F || cp == 0x08E2 || in(cp, 0x110BD, 0x110CD) ||
        in(cp, 0x13430, 0x1343F)) {
        return NULL; /* signs that are seen */
    }
    return in(cp, 0xF0000, 0x10FFFF) ? "holds private characters" : "holds zero-width characters";
}

static const char *control_kind(uint32_t cp) {
    if (cp == GUARD_NO_CHAR) {
        return "holds bytes that are no text";
    }
    if (cp < 0x20 ? cp != '\t' && cp != '\n' && cp != '\r' : in(cp, 0x7F, 0x9F)) {
        return "holds control characters";
    }
    return in(cp, 0xFDD0, 0xFDEF) || (cp & 0xFFFE) == 0xFFFE ? "holds characters that are none" : NULL;
}

/* ---- letters that look like others ---- */

/* Pairs: the letter, the Latin one it looks like. */
static const uint16_t cyrillic[][2] = {
    {0x430, 'a'}, {0x435, 'e'}, {0x43E, 'o'}, {0x440, 'p'}, {0x441, 'c'}, {0x443, 'y'}, {0x445, 'x'}, {0x456, 'i'},
    {0x458, 'j'}, {0x455, 's'}, {0x4BB, 'h'}, {0x501, 'd'}, {0x51B, 'q'}, {0x51D, 'w'}, {0x43A, 'k'}, {0x4CF, 'l'},
    {0x442, 't'}, {0x43C, 'm'}, {0x432, 'b'}, {0x43D, 'h'}, {0x4AF, 'y'}, {0x475, 'v'}, {0x410, 'A'}, {0x412, 'B'},
    {0x415, 'E'}, {0x41A, 'K'}, {0x41C, 'M'}, {0x41D, 'H'}, {0x41E, 'O'}, {0x420, 'P'}, {0x421, 'C'}, {0x422, 'T'},
    {0x423, 'Y'}, {0x425, 'X'}, {0x406, 'I'}, {0x408, 'J'}, {0x405, 'S'}, {0x4AE, 'Y'}, {0x50C, 'G'}, {0x4C0, 'I'}};
static const uint16_t greek[][2] = {{0x3BF, 'o'}, {0x3B1, 'a'}, {0x3BD, 'v'}, {0x3C1, 'p'}, {0x3C5, 'u'}, {0x3B9, 'i'},
                                    {0x3BA, 'k'}, {0x3C7, 'x'}, {0x3C4, 't'}, {0x3B3, 'y'}, {0x3C9, 'w'}, {0x3B5, 'e'},
                                    {0x3B7, 'n'}, {0x3F2, 'c'}, {0x3F3, 'j'}, {0x391, 'A'}, {0x392, 'B'}, {0x395, 'E'},
                                    {0x396, 'Z'}, {0x397, 'H'}, {0x399, 'I'}, {0x39A, 'K'}, {0x39C, 'M'}, {0x39D, 'N'},
                                    {0x39F, 'O'}, {0x3A1, 'P'}, {0x3A4, 'T'}, {0x3A5, 'Y'}, {0x3A7, 'X'}};
static const uint16_t armenian[][2] = {{0x585, 'o'}, {0x57D, 'u'}, {0x578, 'n'}, {0x570, 'h'}, {0x561, 'w'},
                                       {0x581, 'g'}, {0x566, 'q'}, {0x555, 'O'}, {0x54D, 'U'}, {0x53C, 'L'}};
static const char latin_as_cyrillic[] = "aceopxyijsktmbhABCEHKMOPTXYIJS";

typedef enum { SCRIPT_OTHER, SCRIPT_LATIN, SCRIPT_CYRILLIC, SCRIPT_GREEK, SCRIPT_ARMENIAN } script;

static script script_of(uint32_t cp) {
    if (in(cp, 'A', 'Z') || in(cp, 'a', 'z') || in(cp, 0xC0, 0x24F) || in(cp, 0x1E00, 0x1EFF)) {
        return cp == 0xD7 || cp == 0xF7 ? SCRIPT_OTHER : SCRIPT_LATIN;
    }
    return in(cp, 0x0400, 0x052F) || in(cp, 0xA640, 0xA69F) ? SCRIPT_CYRILLIC
           : in(cp, 0x0370, 0x03FF)                         ? SCRIPT_GREEK
           : in(cp, 0x0530, 0x058F)                         ? SCRIPT_ARMENIAN
                                                            : SCRIPT_OTHER;
}

/* The Latin letter it looks like, or 0. */
static uint32_t look_alike(uint32_t cp) {
    const uint16_t(*list)[2] = script_of(cp) == SCRIPT_CYRILLIC ? cyrillic
                               : script_of(cp) == SCRIPT_GREEK  ? greek
                                                                : armenian;
    size_t n = list == cyrillic ? ARRAY_LEN(cyrillic) : list == greek ? ARRAY_LEN(greek) : ARRAY_LEN(armenian);
    for (size_t i = 0; i < n; i++) {
        if (list[i][0] == cp) {
            return list[i][1];
        }
    }
    return 0;
}

/* Code points [from, to) are one word. Mixed: it has Latin letters and those of one other alphabet, and all of one kind
 * look like the other's. "QR-код" and "Δt" are words; "pаypal" with a Cyrillic a is not. */
static bool is_mixed(const guard_text *t, size_t from, size_t to) {
    size_t n_latin = 0, n_other = 0, n_like_latin = 0, n_like_other = 0;
    script other = SCRIPT_OTHER;
    for (size_t i = from; i < to; i++) {
        script s = script_of(t->cp[i]);
        if (s == SCRIPT_LATIN) {
            n_latin++;
            n_like_other += t->cp[i] < 0x80 && strchr(latin_as_cyrillic, (int)t->cp[i]) != NULL;
        } else if (s != SCRIPT_OTHER) {
            other = s;
            n_other++;
            n_like_latin += look_alike(t->cp[i]) != 0;
        }
    }
    if (n_latin == 0 || n_other == 0 || n_latin + n_other < 3) {
        return false;
    }
    return n_like_latin == n_other || (other == SCRIPT_CYRILLIC && n_other > n_latin && n_like_other == n_latin);
}

/* ---- taking apart ---- */

static muga_status decode(guard_text *t, muga_error *err) {
    t->cp = mem_alloc_array(t->n + 1, sizeof *t->cp);
    t->at = mem_alloc_array(t->n + 1, sizeof *t->at);
    t->plain = malloc(t->n + 1);
    t->plain_at = mem_alloc_array(t->n + 1, sizeof *t->plain_at);
    if (!t->cp || !t->at || !t->plain || !t->plain_at) {
        return error_nomem(err, "a text to guard");
    }
    for (size_t i = 0; i < t->n;) {
        uint32_t cp = (unsigned char)t->p[i];
        size_t len = utf8_decode(t->p + i, t->n - i, &cp);
        t->cp[t->n_cp] = len == 0 ? GUARD_NO_CHAR : cp;
        t->at[t->n_cp++] = i;
        i += len ? len : 1;
    }
    t->at[t->n_cp] = t->n;
    return MUGA_OK;
}

/* What a reader takes an ornamental or full-width letter for; itself where it is neither. Never longer in bytes. */
static uint32_t plain_of(uint32_t cp) {
    utf8proc_int32_t part[4];
    if (in(cp, 0xFF01, 0xFF5E)) {
        return cp - 0xFEE0;
    }
    if (cp == 0xA0 || cp == 0x202F || cp == 0x3000 || in(cp, 0x2000, 0x200A)) {
        return ' ';
    }
    if (in(cp, 0x1D400, 0x1D7FF) || in(cp, 0x24B6, 0x24E9) || in(cp, 0x2100, 0x214F)) {
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)cp, part, ARRAY_LEN(part),
                                                     UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, NULL);
        return k == 1 ? (uint32_t)part[0] : cp;
    }
    return in(cp, 0x1F130, 0x1F149) ? 'A' + cp - 0x1F130 : in(cp, 0x1F170, 0x1F189) ? 'A' + cp - 0x1F170 : cp;
}

static void put_plain(guard_text *t, size_t i, bool mixed) {
    char bytes[4];
    uint32_t cp = plain_of(t->cp[i]), like = mixed && script_of(cp) > SCRIPT_LATIN ? look_alike(cp) : 0;
    size_t room = t->at[i + 1] - t->at[i], n = cp == GUARD_NO_CHAR ? 0 : utf8_encode(like ? like : cp, bytes);
    for (size_t k = 0; k < n && n <= room; k++) {
        t->plain_at[t->n_plain] = t->at[i];
        t->plain[t->n_plain++] = bytes[k];
    }
}

/* One word, or one character that is in none; returns where it ends. */
static size_t read_word(guard_text *t, size_t i, guard_list *found, muga_status *st, muga_error *err) {
    size_t to = i, n_marks = 0;
    while (to < t->n_cp && (is_letter(t->cp[to]) || is_mark(t->cp[to]) || (to > i && is_invisible(t->cp[to])))) {
        to++;
    }
    to = MAX(to, i + 1);
    bool mixed = to - i > 1 && is_mixed(t, i, to);
    if (mixed && found) {
        *st = guard_add(found, t->at[i], t->at[to], GUARD_MIXED, "mixes alphabets within a word", err);
    }
    for (size_t k = i; *st == MUGA_OK && k < to; k++) {
        const char *control = control_kind(t->cp[k]);
        bool unseen = !control && is_invisible(t->cp[k]);
        const char *hidden = unseen ? hidden_kind(t, k) : NULL;
        n_marks = is_mark(t->cp[k]) && !unseen ? n_marks + 1 : 0;
        hidden = n_marks > MARKS_MAX ? "stacks accents" : hidden;
        if (found && (control || hidden)) {
            *st = guard_add(found, t->at[k], t->at[k + 1], control ? GUARD_CONTROL : GUARD_HIDDEN,
                            control ? control : hidden, err);
        }
        if (!control && !unseen && n_marks <= MARKS_MAX) {
            put_plain(t, k, mixed);
        }
    }
    return to;
}

muga_status guard_text_new(const char *p, size_t n, guard_text *out, guard_list *found, muga_error *err) {
    *out = (guard_text){.p = p, .n = n};
    muga_status st = decode(out, err);
    for (size_t i = 0; st == MUGA_OK && i < out->n_cp;) {
        i = read_word(out, i, found, &st, err);
    }
    if (st == MUGA_OK) {
        out->plain_at[out->n_plain] = n;
        out->plain[out->n_plain] = '\0';
    } else {
        guard_text_release(out);
    }
    return st;
}

void guard_text_release(guard_text *t) {
    free(t->cp);
    free(t->at);
    free(t->plain);
    free(t->plain_at);
    *t = (guard_text){.p = NULL};
}
