/* Does every id and number of an answer stand in what was given (guard.h)? Owns: what an id, a number and a date are,
 * and the writings in which two are the same. docs/guards.md defines it; this file and that page are one text.
 *
 * Idea: what was given is read once into a set of keys, generously: a number in every way it can be meant ("1.234" is
 * one thousand and something, and one and something). The answer is read strictly: the longest date or number at a
 * place must stand as it is written, or have its one meaning in the set. A date counts whole, so the right day of
 * another month does not pass. */
#include "agent/guard_internal.h"
#include "base/utf8.h"

#include <stdio.h>
#include <utf8proc.h>

#define KEY_MAX 64 /* bytes of a key; a longer number stands as it is written or not at all */

typedef struct keys {
    char list[4][KEY_MAX];
    size_t n, len; /* len: bytes of the text that say it; 0: nothing here */
} keys;

/* ---- characters ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char small(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* Bytes of the letter, digit or accent at p; 0: something else stands there. */
static size_t word_char(const char *p, size_t n) {
    uint32_t cp;
    if (n > 0 && (unsigned char)p[0] < 0x80) {
        return is_digit(p[0]) || (small(p[0]) >= 'a' && small(p[0]) <= 'z');
    }
    size_t len = utf8_decode(p, n, &cp);
    utf8proc_category_t c = len ? utf8proc_category((utf8proc_int32_t)cp) : UTF8PROC_CATEGORY_CN;
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NO ? len : 0;
}

static bool word_before(const char *p, size_t at) {
    size_t back = 1;
    while (back < 4 && back < at && ((unsigned char)p[at - back] & 0xC0) == 0x80) {
        back++;
    }
    return at > 0 && word_char(p + at - back, back) == back;
}

static size_t digits_at(const char *p, size_t n) {
    size_t k = 0;
    while (k < n && is_digit(p[k])) {
        k++;
    }
    return k;
}

static bool ends_at(const char *p, size_t n, size_t at) {
    return at == n || word_char(p + at, n - at) == 0;
}

/* ---- numbers ---- */

/* A space or apostrophe that parts thousands: its bytes, or 0. */
static size_t thin_gap(const char *p, size_t n) {
    static const char *const gaps[] = {" ", "'", "\xC2\xA0", "\xE2\x80\xAF", "\xE2\x80\x89", "\xE2\x80\x99"};
    for (size_t i = 0; i < ARRAY_LEN(gaps); i++) {
        size_t k = strlen(gaps[i]);
        if (k <= n && memcmp(p, gaps[i], k) == 0) {
            return k;
        }
    }
    return 0;
}

static void add_key(keys *k, char kind, const char *text) {
    if (k->n < ARRAY_LEN(k->list)) {
        snprintf(k->list[k->n++], KEY_MAX, "%c:%.*s", kind, KEY_MAX - 4, text);
    }
}

/* "0041" + "10" -> "41.1"; nothing where it is too long. */
static void add_number(keys *k, const char *whole, size_t n_whole, const char *part, size_t n_part) {
    char text[KEY_MAX - 4];
    while (n_whole > 1 && whole[0] == '0') {
        whole++;
        n_whole--;
    }
    while (n_part > 0 && part[n_part - 1] == '0') {
        n_part--;
    }
    if (n_whole + n_part + 2 < sizeof text) {
        snprintf(text, sizeof text, "%.*s%s%.*s", (int)n_whole, whole, n_part ? "." : "", (int)n_part, part);
        add_key(k, 'n', text);
    }
}

typedef struct figures {
    char digit[KEY_MAX]; /* all digits */
    size_t n, n_groups, len, group[16];
    char mark[16]; /* before each group but the first: . , or ' for a gap */
} figures;

static bool read_figures(const char *p, size_t n, bool gaps, figures *f) {
    *f = (figures){.n = 0};
    for (size_t at = 0;;) {
        size_t k = digits_at(p + at, n - at);
        if (k == 0 || f->n + k > sizeof f->digit || f->n_groups == ARRAY_LEN(f->group)) {
            break;
        }
        memcpy(f->digit + f->n, p + at, k);
        f->n += k;
        f->group[f->n_groups++] = k;
        f->len = at += k;
        if (f->n_groups == ARRAY_LEN(f->group)) {
            break;
        }
        size_t gap = at < n && (p[at] == '.' || p[at] == ',') ? 1 : gaps ? thin_gap(p + at, n - at) : 0;
        bool three = gap > 0 && digits_at(p + at + gap, n - at - gap) == 3;
        if (gap == 0 || (p[at] != '.' && p[at] != ',' && !three)) {
            break;
        }
        f->mark[f->n_groups] = p[at] == '.' || p[at] == ',' ? p[at] : '\'';
        at += gap;
    }
    return f->n > 0;
}

/* Groups [1, to) are thousands, or two by two up to the last as in 12,34,567, all parted alike. */
static bool are_thousands(const figures *f, size_t to) {
    for (size_t i = 1; i < to; i++) {
        bool last = i + 1 == to;
        if (f->mark[i] != f->mark[1] || !(f->group[i] == 3 || (!last && f->group[i] == 2 && f->mark[1] == ','))) {
            return false;
        }
    }
    return f->group[0] <= 3;
}

/* The number that begins at p: in how many ways it can be meant. */
static keys read_number(const char *p, size_t n, bool gaps) {
    keys k = {.n = 0};
    figures f;
    if (!read_figures(p, n, gaps, &f)) {
        return k;
    }
    size_t last = f.n_groups - 1, whole = f.n - f.group[last];
    k.len = f.len;
    if (f.n_groups == 1) {
        add_number(&k, f.digit, f.n, "", 0);
        return k;
    }
    if (are_thousands(&f, f.n_groups)) {
        add_number(&k, f.digit, f.n, "", 0);
    }
    bool decimal = f.mark[last] != '\'' && (last == 1 || (f.mark[last] != f.mark[1] && are_thousands(&f, last)));
    if (decimal) {
        add_number(&k, f.digit, whole, f.digit + whole, f.group[last]);
    }
    return k;
}

/* ---- dates ---- */

static const char months[] = /* each between spaces, with its number; accents left out */
    " 1january 1jan 1januar 1janvier 1enero 1gennaio 1janeiro 1januari 2february 2feb 2februar 2fevrier 2febrero"
    " 2febbraio 2fevereiro 2februari 3march 3mar 3marz 3mars 3marzo 3marco 3maart 4april 4apr 4avril 4abril 4aprile"
    " 5may 5mai 5mayo 5maggio 5maio 5mei 6june 6jun 6juni 6juin 6junio 6giugno 6junho 7july 7jul 7juli 7juillet"
    " 7julio 7luglio 7julho 8august 8aug 8aout 8agosto 8augustus 9september 9sep 9sept 9septembre 9septiembre"
    " 9settembre 9setembro :october :oct :oktober :okt :octobre :octubre :ottobre :outubro ;november ;nov ;novembre"
    " ;noviembre ;novembro <december <dec <dezember <dez <decembre <diciembre <dicembre <dezembro ";

/* A month's name at p, as bytes read; *month: 1 to 12. */
static size_t month_at(const char *p, size_t n, int *month) {
    char key[16] = "  ";
    size_t i = 0, k = 2;
    while (i < n && k + 2 < sizeof key) {
        utf8proc_int32_t part[4];
        uint32_t cp;
        size_t len = word_char(p + i, n - i);
        if (len == 0 || utf8_decode(p + i, n - i, &cp) == 0) {
            break;
        }
        utf8proc_ssize_t c = utf8proc_decompose_char((utf8proc_int32_t)cp, part, ARRAY_LEN(part),
                                                     UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD, NULL);
        if (c < 1 || part[0] < 'a' || part[0] > 'z') {
            return 0;
        }
        key[k++] = (char)part[0];
        i += len;
    }
    if (k < 5 || !ends_at(p, n, i)) {
        return 0;
    }
    key[k] = ' ';
    key[k + 1] = '\0';
    for (*month = 1; *month <= 12; (*month)++) {
        key[1] = (char)('0' + *month);
        if (strstr(months, key)) {
            return i + (i < n && p[i] == '.');
        }
    }
    return 0;
}

static void add_date(keys *k, int year, int month, int day) {
    char text[40];
    if (month < 1 || month > 12 || day < 0 || day > 31) {
        return;
    }
    if (year > 0 && day > 0) {
        snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, day);
    } else {
        snprintf(text, sizeof text, year > 0 ? "%04d-%02d" : "%02d/%02d", year > 0 ? year : month,
                 year > 0 ? month : day);
    }
    add_key(k, 'd', text);
}

static int value_of(const char *p, size_t n) {
    int v = 0;
    for (size_t i = 0; i < MIN(n, (size_t)4); i++) {
        v = v * 10 + p[i] - '0';
    }
    return v;
}

static int full_year(const char *p, size_t n) {
    return value_of(p, n) + (n == 2 ? 2000 : 0);
}

/* 2026-09-14, 14.09.2026, 9/14/26 */
static keys read_numeric_date(const char *p, size_t n) {
    keys k = {.n = 0};
    size_t a = digits_at(p, n), b = 0, c = 0;
    char mark = a < n ? p[a] : '\0';
    if (mark != '-' && mark != '.' && mark != '/') {
        return k;
    }
    const char *q = p + a + 1;
    b = digits_at(q, n - a - 1);
    const char *r = q + b + 1;
    if (b < 1 || b > 2 || (size_t)(q - p) + b >= n || q[b] != mark) {
        return k;
    }
    c = digits_at(r, n - (size_t)(r - p));
    size_t len = (size_t)(r - p) + c;
    bool more = len + 1 < n && (p[len] == '.' || p[len] == '-') && is_digit(p[len + 1]);
    if (a == 4 && c >= 1 && c <= 2 && !more) {
        add_date(&k, value_of(p, a), value_of(q, b), value_of(r, c));
    } else if (a <= 2 && (c == 4 || c == 2) && !more) {
        add_date(&k, full_year(r, c), value_of(q, b), value_of(p, a));
        if (mark == '/') {
            add_date(&k, full_year(r, c), value_of(p, a), value_of(q, b));
        }
    }
    k.len = k.n > 0 ? len : 0;
    return k;
}

/* "14", "14.", "14th": the day; bytes read. */
static size_t day_at(const char *p, size_t n, int *day) {
    static const char *const ends[] = {"st", "nd", "rd", "th", "er", "."};
    size_t k = digits_at(p, n);
    *day = value_of(p, k);
    if (k < 1 || k > 2 || *day < 1 || *day > 31) {
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        size_t len = strlen(ends[i]);
        if (k + len <= n && memcmp(p + k, ends[i], len) == 0) {
            return k + len;
        }
    }
    return ends_at(p, n, k) ? k : 0;
}

/* Spaces, a comma, "of", "de": what may stand between the parts. */
static size_t between(const char *p, size_t n) {
    static const char *const words[] = {"of ", "de ", "do "};
    size_t i = 0;
    while (i < n && (p[i] == ' ' || (i == 0 && (p[i] == ',' || p[i] == '-')))) {
        i++;
    }
    for (size_t w = 0; i > 0 && w < ARRAY_LEN(words); w++) {
        if (n - i >= 3 && memcmp(p + i, words[w], 3) == 0) {
            return i + 3;
        }
    }
    return i;
}

static size_t year_at(const char *p, size_t n, int *year) {
    size_t gap = between(p, n), k = gap > 0 ? digits_at(p + gap, n - gap) : 0;
    *year = value_of(p + gap, k);
    return k == 4 && ends_at(p, n, gap + k) && *year >= 1000 ? gap + k : 0;
}

/* 14 September 2026, September 14th, 14. September, May 2026 */
static keys read_named_date(const char *p, size_t n) {
    keys k = {.n = 0};
    int day = 0, month = 0, year = 0;
    size_t at = day_at(p, n, &day), gap = at > 0 ? between(p + at, n - at) : 0, name = 0;
    if (at > 0) {
        name = gap > 0 ? month_at(p + at + gap, n - at - gap, &month) : 0;
        at += gap + name;
    } else {
        name = at = month_at(p, n, &month);
        gap = at > 0 ? between(p + at, n - at) : 0;
        size_t len = gap > 0 ? day_at(p + at + gap, n - at - gap, &day) : 0;
        day = len > 0 ? day : 0;
        at += len > 0 ? gap + len : 0;
    }
    size_t len = name > 0 ? year_at(p + at, n - at, &year) : 0;
    if (name == 0 || (day == 0 && len == 0)) {
        return k;
    }
    add_date(&k, len > 0 ? year : 0, month, day);
    k.len = k.n > 0 ? at + len : 0;
    return k;
}

/* The T between a date and a time of day (RFC 3339) is read with the date, so that hours begin a word. */
static keys read_date(const char *p, size_t n) {
    keys k = is_digit(p[0]) ? read_numeric_date(p, n) : (keys){.n = 0};
    if (k.len == 0) {
        return read_named_date(p, n);
    }
    bool timed = k.len + 1 < n && p[k.len] == 'T' && is_digit(p[k.len + 1]);
    k.len += timed ? 1 : 0;
    return k;
}

/* ---- words for numbers ---- */

static const struct {
    const char *word;
    int value;
    bool only_given; /* counts in what was given; in an answer it is an ordinary word */
} number_words[] = {
    {"one", 1, true},        {"first", 1, true},      {"once", 1, true},       {"second", 2, true},
    {"third", 3, true},      {"fourth", 4, true},     {"fifth", 5, true},      {"twice", 2, true},
    {"two", 2, false},       {"three", 3, false},     {"four", 4, false},      {"five", 5, false},
    {"six", 6, false},       {"seven", 7, false},     {"eight", 8, false},     {"nine", 9, false},
    {"ten", 10, false},      {"eleven", 11, false},   {"twelve", 12, false},   {"thirteen", 13, false},
    {"fourteen", 14, false}, {"fifteen", 15, false},  {"sixteen", 16, false},  {"seventeen", 17, false},
    {"eighteen", 18, false}, {"nineteen", 19, false}, {"twenty", 20, false},   {"thirty", 30, false},
    {"forty", 40, false},    {"fifty", 50, false},    {"sixty", 60, false},    {"seventy", 70, false},
    {"eighty", 80, false},   {"ninety", 90, false},   {"hundred", 100, false}, {"thousand", 1000, false},
    {"eins", 1, true},       {"zwei", 2, true},       {"drei", 3, true},       {"vier", 4, true},
    {"sechs", 6, true},      {"sieben", 7, true},     {"acht", 8, true},       {"neun", 9, true},
    {"zehn", 10, true},      {"deux", 2, true},       {"trois", 3, true},      {"quatre", 4, true},
    {"cinq", 5, true},       {"dos", 2, true},        {"tres", 3, true},       {"cuatro", 4, true},
    {"cinco", 5, true},      {"due", 2, true},        {"tre", 3, true},        {"quattro", 4, true}};

static size_t number_word(const char *p, size_t n, int *value, bool *only_given) {
    for (size_t i = 0; i < ARRAY_LEN(number_words); i++) {
        size_t k = strlen(number_words[i].word), j = 0;
        while (j < k && j < n && small(p[j]) == number_words[i].word[j]) {
            j++;
        }
        if (j == k && ends_at(p, n, k)) {
            *value = number_words[i].value;
            *only_given = number_words[i].only_given;
            return k;
        }
    }
    return 0;
}

/* two, twenty-three, three hundred, five thousand */
static keys read_words(const char *p, size_t n, bool given) {
    keys k = {.n = 0};
    char text[24];
    int value, more;
    bool only, only_more;
    size_t len = number_word(p, n, &value, &only);
    if (len == 0 || (only && !given)) {
        return k;
    }
    size_t next =
        len + 1 < n && (p[len] == '-' || p[len] == ' ') ? number_word(p + len + 1, n - len - 1, &more, &only_more) : 0;
    if (next > 0 && value >= 20 && value < 100 && more < 10) {
        value += more;
        len += 1 + next;
    } else if (next > 0 && value < 100 && more >= 100) {
        value *= more;
        len += 1 + next;
    }
    snprintf(text, sizeof text, "%d", value);
    add_key(&k, 'n', text);
    k.len = len;
    return k;
}

/* ---- what was given ---- */

static muga_status put(json_t *set, const keys *k, muga_error *err) {
    for (size_t i = 0; i < k->n; i++) {
        if (json_object_set_new(set, k->list[i], json_true()) != 0) {
            return error_nomem(err, "what was given");
        }
        if (k->list[i][0] == 'd' && strlen(k->list[i]) == 12) { /* a whole date gives its parts */
            int year = value_of(k->list[i] + 2, 4), month = value_of(k->list[i] + 7, 2),
                day = value_of(k->list[i] + 10, 2);
            keys parts = {.n = 0};
            char number[16];
            add_date(&parts, 0, month, day);
            add_date(&parts, year, month, 0);
            snprintf(number, sizeof number, "%d", year);
            add_key(&parts, 'n', number);
            snprintf(number, sizeof number, "%d", day);
            add_key(&parts, 'o', number);
            for (size_t j = 0; j < parts.n; j++) {
                if (json_object_set_new(set, parts.list[j], json_true()) != 0) {
                    return error_nomem(err, "what was given");
                }
            }
        }
    }
    return MUGA_OK;
}

static size_t word_length(const char *p, size_t n) {
    size_t i = 0;
    for (size_t k; i < n && (k = word_char(p + i, n - i)) > 0;) {
        i += k;
    }
    return i;
}

static muga_status read_given(const char *p, size_t n, json_t *set, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < n;) {
        size_t word = word_length(p + i, n - i);
        if (word == 0) {
            i++;
            continue;
        }
        keys all[4] = {read_date(p + i, n - i), read_words(p + i, n - i, true), read_number(p + i, n - i, true),
                       read_number(p + i, n - i, false)};
        for (size_t j = 0; st == MUGA_OK && j < ARRAY_LEN(all); j++) {
            st = put(set, &all[j], err);
        }
        bool whole = all[0].len > 0 || all[3].n > 0; /* the parts of a date, or of a number, are no numbers */
        keys plain = {.n = 0};
        add_number(&plain, p + i, digits_at(p + i, n - i), "", 0);
        if (st == MUGA_OK && is_digit(p[i]) && !whole) {
            st = put(set, &plain, err);
        }
        i += MAX(word, whole ? MAX(all[0].len, all[3].len) : 0);
    }
    return st;
}

/* ---- the answer ---- */

static bool stands_in(const char *text, size_t n_text, const char *word, size_t n) {
    for (size_t at = 0; at + n <= n_text; at++) {
        if (memcmp(text + at, word, n) == 0 && !word_before(text, at) && ends_at(text, n_text, at + n)) {
            return true;
        }
    }
    return false;
}

static bool is_given(const json_t *texts, const char *p, size_t n) {
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *v = json_array_get(texts, i);
        if (stands_in(json_string_value(v), json_string_length(v), p, n)) {
            return true;
        }
    }
    return false;
}

static bool in_set(const json_t *set, const keys *k) {
    for (size_t i = 0; i < k->n; i++) {
        if (json_object_get(set, k->list[i])) {
            return true;
        }
    }
    return false;
}

/* 14th, 3x, 5kg: digits with what is said of them; *ordinal: the first of these. */
static bool has_unit(const char *p, size_t n, bool *ordinal) {
    static const char units[] = " st nd rd th x kg g mg km m cm mm l ml min h s d am pm eur usd gbp chf gb mb kb w kw ";
    char key[8];
    size_t k = digits_at(p, n);
    if (k == 0 || k == n || n - k + 3 > sizeof key) {
        return false;
    }
    snprintf(key, sizeof key, " %.*s ", (int)(n - k), p + k);
    for (char *c = key; *c; c++) {
        *c = small(*c);
    }
    const char *at = strstr(units, key);
    *ordinal = at && at - units < 10;
    return at != NULL;
}

/* The id, number or date at p, where a word begins: its length, 0 where there is none. *ok: it was given. */
static size_t judge(const char *p, size_t n, const json_t *texts, const json_t *set, bool *ok) {
    size_t word = word_length(p, n), n_digits = digits_at(p, n);
    keys date = read_date(p, n), words = read_words(p, n, false);
    keys wide = read_number(p, n, true), number = read_number(p, n, false);
    *ok = true;
    if (date.len > 0) {
        *ok = in_set(set, &date) || is_given(texts, p, date.len);
        return date.len;
    }
    if (words.len > 0) {
        *ok = in_set(set, &words) || is_given(texts, p, words.len);
        return words.len;
    }
    if (n_digits == word && word > 0) { /* nothing but digits up to the first sign */
        if (wide.len > number.len && ends_at(p, n, wide.len) && (in_set(set, &wide) || is_given(texts, p, wide.len))) {
            return wide.len;
        }
        size_t len = ends_at(p, n, number.len) ? number.len : word;
        keys plain = {.n = 0};
        add_number(&plain, p, word, "", 0);
        *ok = len == word ? in_set(set, &plain) : in_set(set, &number) || is_given(texts, p, len);
        return len;
    }
    for (size_t i = 0; i < word; i++) {
        if (is_digit(p[i])) {
            keys plain = {.n = 0};
            bool ordinal = false, unit = has_unit(p, word, &ordinal);
            add_number(&plain, p, n_digits, "", 0);
            if (ordinal && plain.n == 1) { /* the day of a date, too */
                add_key(&plain, 'o', plain.list[0] + 2);
            }
            *ok = is_given(texts, p, word) || (unit && in_set(set, &plain));
            return word;
        }
    }
    return 0;
}

muga_status guard_numbers_stand(const char *text, const json_t *texts, bool *ok, char which[64], muga_error *err) {
    json_t *set = json_object();
    muga_status st = set ? MUGA_OK : error_nomem(err, "what was given");
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(texts); i++) {
        const json_t *v = json_array_get(texts, i);
        st = read_given(json_string_value(v), json_string_length(v), set, err);
    }
    size_t n = strlen(text);
    *ok = true;
    for (size_t i = 0; st == MUGA_OK && *ok && i < n;) {
        size_t word = word_length(text + i, n - i), len = word > 0 ? judge(text + i, n - i, texts, set, ok) : 0;
        if (!*ok) {
            snprintf(which, 64, "%.*s", (int)MIN(len, (size_t)63), text + i);
        }
        i += len > 0 ? len : MAX(word, (size_t)1);
    }
    json_decref(set);
    return st;
}
