/* Masking (mask.h). Owns: the folded view of a text, known values, what is put in their place. Refuses: more known
 * values than MASK_MAX_KNOWN.
 *
 * Idea: a text is looked at through a shadow, in which every character is one small ASCII letter, digit, space, dash or
 * sign, or stands for some other letter: so full-width digits, accents and no-break spaces hide nothing. Each place of
 * the shadow knows its byte in the text. Known values are sequences of words of such shadows, by their hashes. */
#include "agent/mask.h"

#include "agent/internal.h"
#include "agent/personal.h"
#include "base/utf8.h"

#include <stdio.h>
#include <utf8proc.h>

#define KIND_NAME 64 /* beside the bits of personal.h */
#define KIND_ADDRESS 128
#define KIND_PERSONAL 256
#define KIND_REDACTED 512
#define VALUES KIND_NAME /* "values" in a policy */

#define NAME_REACH 3 /* words before a short number in which the name of the session value must stand */
#define WORD_GAP 4   /* characters that may part the words of a known value */

static const struct {
    unsigned kind;
    const char *name;
} kind_names[] = {{PERSONAL_EMAIL, "email"}, {PERSONAL_PHONE, "phone"}, {PERSONAL_IBAN, "iban"},
                  {PERSONAL_CARD, "card"},   {PERSONAL_IP, "ip"},       {PERSONAL_NATIONAL_ID, "national_id"},
                  {VALUES, "values"}};

typedef struct known {
    uint64_t first; /* its first word: the key */
    uint64_t after; /* the word that must stand before, or 0 */
    size_t from, n; /* its words */
    unsigned kind;
} known;

struct mask {
    const json_t *policy;
    json_t *subject; /* name -> value: what of the session names the person */
    unsigned kinds;
    uint64_t *words;
    size_t n_words, cap_words;
    known *list;
    size_t n, cap;
    bool sorted;
};

/* ---- life ---- */

muga_status mask_new(const json_t *policy, mask **out, muga_error *err) {
    mask *m = calloc(1, sizeof *m);
    const json_t *list = json_object_get(policy, "mask");
    if (!m) {
        return error_nomem(err, "a mask");
    }
    m->policy = policy;
    m->subject = json_object();
    if (!m->subject) {
        free(m);
        return error_nomem(err, "a mask");
    }
    for (size_t k = 0; k < ARRAY_LEN(kind_names); k++) {
        bool on = !json_is_array(list);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *name = json_string_value(json_array_get(list, i));
            on = on || (name && strcmp(name, kind_names[k].name) == 0);
        }
        m->kinds |= on ? kind_names[k].kind : 0;
    }
    *out = m;
    return MUGA_OK;
}

void mask_free(mask *m) {
    if (m) {
        json_decref(m->subject);
        free(m->words);
        free(m->list);
        free(m);
    }
}

static const char *placeholder(unsigned kind) {
    switch (kind) {
    case PERSONAL_EMAIL: return "[email]";
    case PERSONAL_PHONE: return "[phone]";
    case PERSONAL_IBAN: return "[iban]";
    case PERSONAL_CARD: return "[card]";
    case PERSONAL_NATIONAL_ID: return "[id]";
    case PERSONAL_IP: return "[ip]";
    case KIND_NAME: return "[name]";
    case KIND_ADDRESS: return "[address]";
    case KIND_REDACTED: return "[redacted]";
    default: return "[personal]";
    }
}

/* ---- the shadow ---- */

typedef struct shadow {
    char *c;      /* as personal.h wants it */
    uint32_t *cp; /* folded: small, without accents */
    size_t *at;   /* [n + 1] byte in the text; at[n] = its length */
    size_t n, cap;
} shadow;

static void shadow_release(shadow *s) {
    free(s->c);
    free(s->cp);
    free(s->at);
    *s = (shadow){NULL, NULL, NULL, 0, 0};
}

static bool shadow_grow(shadow *s, size_t cap) {
    char *c = realloc(s->c, cap);
    s->c = c ? c : s->c;
    uint32_t *cp = realloc(s->cp, cap * sizeof *cp);
    s->cp = cp ? cp : s->cp;
    size_t *at = realloc(s->at, (cap + 1) * sizeof *at);
    s->at = at ? at : s->at;
    s->cap = c && cp && at ? cap : s->cap;
    return c && cp && at;
}

/* Zeros of the scripts whose digits people type. */
static uint32_t fold_digit(uint32_t cp) {
    static const uint32_t zeros[] = {0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6,
                                     0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0,
                                     0x0F20, 0x1040, 0x17E0, 0x1810, 0x1946, 0xA620, 0xABF0};
    for (size_t i = 0; i < ARRAY_LEN(zeros); i++) {
        if (cp >= zeros[i] && cp < zeros[i] + 10) {
            return '0' + cp - zeros[i];
        }
    }
    return cp;
}

/* The sign that stands for a folded character; 0: none does (an accent). */
static char sign_of(uint32_t cp) {
    if (cp < 0x80) {
        return cp ? (char)cp : 1;
    }
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF: return 0;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return ' ';
    case UTF8PROC_CATEGORY_PD: return '-';
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return PERSONAL_LETTER;
    default: return 1;
    }
}

static bool shadow_put(shadow *s, uint32_t cp, size_t at) {
    cp = fold_digit(cp);
    char c = sign_of(cp);
    if (c == 0) {
        return true;
    }
    if (s->n == s->cap && !shadow_grow(s, s->cap ? s->cap * 2 : 256)) {
        return false;
    }
    s->c[s->n] = c;
    s->cp[s->n] = cp;
    s->at[s->n++] = at;
    return true;
}

static muga_status shadow_new(const char *text, size_t n, shadow *out, muga_error *err) {
    *out = (shadow){NULL, NULL, NULL, 0, 0};
    bool ok = shadow_grow(out, MIN(n, (size_t)1 << 20) + 1);
    for (size_t i = 0; ok && i < n;) {
        uint32_t cp;
        utf8proc_int32_t parts[32];
        size_t len = utf8_decode(text + i, n - i, &cp);
        if (len <= 1) { /* ASCII, or a byte that is no text */
            char c = len == 0 ? 1 : text[i];
            ok = shadow_put(out, (uint32_t)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c), i);
            i++;
            continue;
        }
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, ARRAY_LEN(parts),
                                                     UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD, NULL);
        if (k < 0 || (size_t)k > ARRAY_LEN(parts)) {
            k = 1;
            parts[0] = (utf8proc_int32_t)cp;
        }
        for (utf8proc_ssize_t j = 0; ok && j < k; j++) {
            ok = shadow_put(out, (uint32_t)parts[j], i);
        }
        i += len;
    }
    if (!ok) {
        shadow_release(out);
        return error_nomem(err, "a masked text");
    }
    out->at[out->n] = n;
    return MUGA_OK;
}

static bool is_word(const shadow *s, size_t i) {
    char c = s->c[i];
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == PERSONAL_LETTER;
}

typedef struct word {
    uint64_t hash;
    size_t from, to; /* places of the shadow */
} word;

static bool next_word(const shadow *s, size_t at, word *out) {
    while (at < s->n && !is_word(s, at)) {
        at++;
    }
    size_t to = at;
    while (to < s->n && is_word(s, to)) {
        to++;
    }
    *out = (word){at < s->n ? hash64(s->cp + at, (to - at) * sizeof *s->cp, 0) : 0, at, to};
    return at < s->n;
}

static bool is_number(const shadow *s, const word *w) {
    for (size_t i = w->from; i < w->to; i++) {
        if (s->c[i] < '0' || s->c[i] > '9') {
            return false;
        }
    }
    return true;
}

/* ---- personal names ---- */

static const struct {
    unsigned kind;
    const char *words; /* each between spaces */
} name_words[] = {
    {PERSONAL_EMAIL, " email emails mail mails correo courriel "},
    {PERSONAL_PHONE, " phone phones tel telephone telefon telefono mobile mobil cell cellphone fax handy whatsapp "},
    {KIND_NAME, " name names firstname lastname middlename fullname forename surname givenname familyname nickname"
                " username vorname nachname nombre apellido apellidos prenom cognome nome sobrenome naam voornaam"
                " achternaam imie nazwisko contact recipient addressee holder "},
    {KIND_ADDRESS, " address addresses addr street road house city town village zip zipcode postcode postal postalcode"
                   " plz ort strasse straße hausnummer adresse stadt rue ville calle ciudad via indirizzo citta adres"
                   " latitude longitude lat lon lng "},
    {KIND_PERSONAL,
     " birth birthday birthdate dob born geburtstag geburtsdatum ssn passport iban card password passwort"
     " secret pin token "},
    {PERSONAL_IP, " ip ipaddress "}};

static unsigned kind_of_word(const char *p, size_t n) {
    char key[34];
    if (n + 2 >= sizeof key) {
        return 0;
    }
    snprintf(key, sizeof key, " %.*s ", (int)n, p);
    for (char *c = key; *c; c++) {
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 'a' - 'A') : *c;
    }
    for (size_t i = 0; i < ARRAY_LEN(name_words); i++) {
        if (strstr(name_words[i].words, key)) {
            return name_words[i].kind;
        }
    }
    return 0;
}

static bool lists(const mask *m, const char *key, const char *name) {
    const json_t *list = json_object_get(m->policy, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

/* What a member of this name says of a person, by the words in it: customer_name, lastName, home-address. 0: nothing.
 */
static unsigned kind_of_name(const mask *m, const char *name) {
    unsigned kind = kind_of_word(name, strlen(name));
    if (!(m->kinds & VALUES) || lists(m, "public", name)) {
        return 0;
    }
    for (size_t from = 0, i = 0; !kind && i <= strlen(name); i++) {
        bool upper = name[i] >= 'A' && name[i] <= 'Z', after_lower = i > 0 && name[i - 1] >= 'a' && name[i - 1] <= 'z';
        bool sep = !name[i] || strchr("_-. ", name[i]);
        if (sep || (upper && after_lower)) {
            kind = i > from ? kind_of_word(name + from, i - from) : 0;
            from = sep ? i + 1 : i;
        }
    }
    return kind ? kind : lists(m, "personal", name) ? KIND_PERSONAL : 0;
}

/* ---- known values ---- */

static muga_status add_known(mask *m, const uint64_t *words, size_t n, uint64_t after, unsigned kind, muga_error *err) {
    if (m->n == MASK_MAX_KNOWN) {
        return error_set(err, MUGA_E_LIMIT, "more than %d personal values in one session", MASK_MAX_KNOWN);
    }
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 64;
        known *list = realloc(m->list, cap * sizeof *list);
        if (!list) {
            return error_nomem(err, "a mask");
        }
        m->list = list;
        m->cap = cap;
    }
    if (m->n_words + n > m->cap_words) {
        size_t cap = (m->n_words + n) * 2;
        uint64_t *w = realloc(m->words, cap * sizeof *w);
        if (!w) {
            return error_nomem(err, "a mask");
        }
        m->words = w;
        m->cap_words = cap;
    }
    memcpy(m->words + m->n_words, words, n * sizeof *words);
    m->list[m->n++] = (known){words[0], after, m->n_words, n, kind};
    m->n_words += n;
    m->sorted = false;
    return MUGA_OK;
}

/* The value whole; and each of its words that can stand for it. `after`: names a value too short to be told by itself,
 * or 0. */
static muga_status learn_text(mask *m, const char *text, size_t n_text, unsigned kind, uint64_t after,
                              muga_error *err) {
    shadow s;
    word w;
    uint64_t words[64];
    size_t n = 0;
    muga_status st = shadow_new(text, n_text, &s, err);
    if (st != MUGA_OK) {
        return st;
    }
    for (size_t at = 0; st == MUGA_OK && n < ARRAY_LEN(words) && next_word(&s, at, &w); at = w.to) {
        size_t len = w.to - w.from, least = is_number(&s, &w) ? 4 : 3;
        words[n++] = w.hash;
        if (kind != KIND_REDACTED && len >= least) {
            st = add_known(m, &w.hash, 1, 0, kind, err);
        } else if (after) {
            st = add_known(m, &w.hash, 1, after, kind, err);
        }
    }
    bool enough = n > 1 || (n == 1 && s.n > 1 && (kind == KIND_REDACTED || !is_number(&s, &w)));
    if (st == MUGA_OK && enough) {
        st = add_known(m, words, n, 0, kind, err);
    }
    shadow_release(&s);
    return st;
}

static muga_status write_scalar(const json_t *v, str *out, muga_error *err) {
    if (json_is_string(v)) {
        str_append(out, json_string_value(v), json_string_length(v));
    } else {
        json_write(v, out);
    }
    return str_status(out, err, "a masked value");
}

/* kind 0: not below a personal name so far. */
static muga_status learn_value(mask *m, const json_t *v, unsigned kind, uint64_t after, muga_error *err) {
    const char *key;
    json_t *sub;
    muga_status st = MUGA_OK;
    if (kind && (json_is_string(v) || json_is_number(v))) {
        str text = STR_INIT;
        st = write_scalar(v, &text, err);
        st = st == MUGA_OK ? learn_text(m, str_get(&text), text.len, kind, after, err) : st;
        str_release(&text);
    }
    json_object_foreach(json_borrow(v), key, sub) {
        st = st == MUGA_OK ? learn_value(m, sub, kind ? kind : kind_of_name(m, key), after, err) : st;
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
        st = learn_value(m, json_array_get(v, i), kind, after, err);
    }
    return st;
}

muga_status mask_learn(mask *m, const json_t *v, muga_error *err) {
    return m->kinds & VALUES ? learn_value(m, v, 0, 0, err) : MUGA_OK;
}

muga_status mask_learn_session(mask *m, const json_t *values, muga_error *err) {
    const char *key;
    json_t *v;
    muga_status st = MUGA_OK;
    json_object_foreach(json_borrow(values), key, v) {
        bool subject = lists(m, "subject", key);
        unsigned kind = kind_of_name(m, key);
        if (st != MUGA_OK || !(m->kinds & VALUES) || (!subject && !kind)) {
            continue;
        }
        shadow s;
        word w = {0, 0, 0};
        st = !subject || json_object_set(m->subject, key, v) == 0 ? shadow_new(key, strlen(key), &s, err)
                                                                  : error_nomem(err, "a mask");
        if (st == MUGA_OK) {
            next_word(&s, 0, &w);
            st = learn_value(m, v, kind ? kind : KIND_PERSONAL, subject ? w.hash : 0, err);
            shadow_release(&s);
        }
    }
    return st;
}

muga_status mask_learn_value(mask *m, const char *value, muga_error *err) {
    return learn_text(m, value, strlen(value), KIND_REDACTED, 0, err);
}

/* By first word, then the longest first. */
static int compare_known(const void *a, const void *b) {
    const known *x = a, *y = b;
    if (x->first != y->first) {
        return x->first < y->first ? -1 : 1;
    }
    return x->n != y->n ? (x->n > y->n ? -1 : 1) : (x->from > y->from) - (x->from < y->from);
}

static void sort_known(mask *m) {
    if (!m->sorted && m->n > 0) {
        qsort(m->list, m->n, sizeof *m->list, compare_known);
    }
    m->sorted = true;
}

static size_t first_known(const mask *m, uint64_t first) {
    size_t lo = 0, hi = m->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->list[mid].first < first) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* ---- what is masked ---- */

typedef struct range {
    size_t from, to; /* bytes of the text */
    unsigned kind;
} range;

typedef struct ranges {
    range *list;
    size_t n, cap;
} ranges;

/* Places of the shadow to whole characters of the text. */
static muga_status add_range(ranges *r, const shadow *s, size_t from, size_t to, unsigned kind, muga_error *err) {
    while (to < s->n && s->at[to] == s->at[to - 1]) {
        to++;
    }
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 32;
        range *list = realloc(r->list, cap * sizeof *list);
        if (!list) {
            return error_nomem(err, "a masked text");
        }
        r->list = list;
        r->cap = cap;
    }
    r->list[r->n++] = (range){s->at[from], s->at[to], kind};
    return MUGA_OK;
}

static muga_status find_forms(const mask *m, const shadow *s, unsigned kinds, ranges *r, muga_error *err) {
    personal_found found = {0, 0, 0};
    muga_status st = MUGA_OK;
    while (st == MUGA_OK && personal_find(s->c, s->n, found.to, kinds & m->kinds, &found)) {
        st = add_range(r, s, found.from, found.to, found.kind, err);
    }
    return st;
}

/* Where the known value's last word, from the word at `first` on, ends; 0: it does not stand here. */
static size_t match_known(const mask *m, const known *k, const shadow *s, const word *first) {
    word w = *first;
    for (size_t i = 1; i < k->n; i++) {
        size_t before = w.to;
        if (!next_word(s, before, &w) || w.from - before > WORD_GAP || w.hash != m->words[k->from + i]) {
            return 0;
        }
    }
    return w.to;
}

static muga_status find_known(const mask *m, const shadow *s, ranges *r, muga_error *err) {
    uint64_t before[NAME_REACH] = {0};
    word w;
    muga_status st = MUGA_OK;
    for (size_t at = 0, n_read = 0; st == MUGA_OK && m->n > 0 && next_word(s, at, &w);) {
        size_t to = 0;
        for (size_t i = first_known(m, w.hash); !to && i < m->n && m->list[i].first == w.hash; i++) {
            const known *k = &m->list[i];
            bool named = !k->after;
            for (size_t j = 0; j < NAME_REACH; j++) {
                named = named || before[j] == k->after;
            }
            to = named ? match_known(m, k, s, &w) : 0;
            if (to) {
                st = add_range(r, s, w.from, to, k->kind, err);
            }
        }
        before[n_read++ % NAME_REACH] = w.hash;
        at = to ? to : w.to;
    }
    return st;
}

static int compare_ranges(const void *a, const void *b) {
    const range *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : (x->to < y->to) - (x->to > y->to);
}

static bool only_gap(const char *text, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        if (!strchr(" ,.-", text[i]) || !text[i]) {
            return false;
        }
    }
    return to - from <= 3;
}

/* Overlapping ranges become one, of the longer one's kind; so do neighbours of one kind. */
static void merge_ranges(ranges *r, const char *text) {
    size_t n = 0;
    if (r->n > 1) {
        qsort(r->list, r->n, sizeof *r->list, compare_ranges);
    }
    for (size_t i = 0; i < r->n; i++) {
        range *last = n > 0 ? &r->list[n - 1] : NULL, x = r->list[i];
        if (last && (x.from < last->to || (x.kind == last->kind && only_gap(text, last->to, x.from)))) {
            last->kind = x.to - x.from > last->to - last->from ? x.kind : last->kind;
            last->to = MAX(last->to, x.to);
        } else {
            r->list[n++] = x;
        }
    }
    r->n = n;
}

static muga_status mask_kinds(mask *m, const char *text, size_t n, unsigned kinds, str *out, muga_error *err) {
    shadow s;
    ranges r = {NULL, 0, 0};
    sort_known(m);
    muga_status st = shadow_new(text, n, &s, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = find_forms(m, &s, kinds, &r, err);
    st = st == MUGA_OK ? find_known(m, &s, &r, err) : st;
    if (st == MUGA_OK) {
        size_t at = 0;
        merge_ranges(&r, text);
        for (size_t i = 0; i < r.n; i++) {
            str_append(out, text + at, r.list[i].from - at);
            str_append_s(out, placeholder(r.list[i].kind));
            at = r.list[i].to;
        }
        str_append(out, text + at, n - at);
        st = str_status(out, err, "a masked text");
    }
    free(r.list);
    shadow_release(&s);
    return st;
}

muga_status mask_find_forms(const char *text, size_t n, unsigned kinds, mask_visit visit, void *ctx, muga_error *err) {
    shadow s;
    personal_found found = {0, 0, 0};
    muga_status st = shadow_new(text, n, &s, err);
    if (st != MUGA_OK) {
        return st;
    }
    while (st == MUGA_OK && personal_find(s.c, s.n, found.to, kinds, &found)) {
        size_t to = found.to;
        while (to < s.n && s.at[to] == s.at[to - 1]) {
            to++;
        }
        st = visit(ctx, s.at[found.from], s.at[to], found.kind);
    }
    shadow_release(&s);
    return st;
}

muga_status mask_text(mask *m, const char *text, size_t n, str *out, muga_error *err) {
    return mask_kinds(m, text, n, ~0u, out, err);
}

/* ---- JSON ---- */

/* A number becomes text only where it is a card's or a known value: others are amounts more often than persons. */
static muga_status mask_scalar(mask *m, const json_t *v, json_t **out, muga_error *err) {
    str text = STR_INIT, masked = STR_INIT;
    muga_status st = write_scalar(v, &text, err);
    if (st == MUGA_OK) {
        st = mask_kinds(m, str_get(&text), text.len, json_is_string(v) ? ~0u : PERSONAL_CARD, &masked, err);
    }
    if (st == MUGA_OK) {
        bool same = masked.len == text.len && memcmp(str_get(&masked), str_get(&text), text.len) == 0;
        *out = same ? json_incref(json_borrow(v)) : json_stringn(str_get(&masked), masked.len);
        st = *out ? MUGA_OK : error_nomem(err, "a masked value");
    }
    str_release(&masked);
    str_release(&text);
    return st;
}

/* The person's own number in a result: {"customer": 7}, and {"id": 7}, where 7 says who it is. */
static unsigned kind_of_member(const mask *m, const char *key, const json_t *v) {
    const char *name;
    json_t *subject;
    json_object_foreach(m->subject, name, subject) {
        size_t n = strlen(name);
        bool named = strcmp(key, "id") == 0 || (strncmp(key, name, n) == 0 && (!key[n] || strcmp(key + n, "_id") == 0));
        if (named && json_equal(subject, json_borrow(v))) {
            return KIND_PERSONAL;
        }
    }
    return kind_of_name(m, key);
}

static muga_status mask_value(mask *m, const json_t *v, unsigned kind, json_t **out, muga_error *err) {
    if (json_is_string(v) || json_is_number(v)) {
        if (!kind) {
            return mask_scalar(m, v, out, err);
        }
        *out = json_string(placeholder(kind));
        return *out ? MUGA_OK : error_nomem(err, "a masked value");
    }
    const char *key;
    json_t *sub;
    muga_status st = MUGA_OK;
    *out = json_is_object(v) ? json_object() : json_is_array(v) ? json_array() : json_incref(json_borrow(v));
    st = *out ? MUGA_OK : error_nomem(err, "a masked value");
    json_object_foreach(json_borrow(v), key, sub) {
        json_t *masked = NULL;
        st = st == MUGA_OK ? mask_value(m, sub, kind ? kind : kind_of_member(m, key, sub), &masked, err) : st;
        if (st == MUGA_OK && json_object_set_new(*out, key, masked) != 0) {
            st = error_nomem(err, "a masked value");
        }
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(v); i++) {
        json_t *masked = NULL;
        st = mask_value(m, json_array_get(v, i), kind, &masked, err);
        if (st == MUGA_OK && json_array_append_new(*out, masked) != 0) {
            st = error_nomem(err, "a masked value");
        }
    }
    if (st != MUGA_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

muga_status mask_json(mask *m, const json_t *v, json_t **out, muga_error *err) {
    return mask_value(m, v, 0, out, err);
}
