/* Keys, tokens and passwords by their form (guard_internal.h). Owns: the forms that issuers give their keys;
 * "password: X"; words that only a machine writes. Refuses nothing by itself.
 *
 * Three ways, from the surest to the least: a known beginning with the right signs and length behind it; a word that
 * says "secret" with a value behind it; and a long word of mixed signs without a pattern (Shannon's entropy). What is
 * public by its form (certificates, public keys, hashes in hex, addresses of pages) is left. */
#include "agent/guard_internal.h"

#include <math.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}
static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}
static bool is_alnum(char c) {
    return is_digit(c) || is_upper(c) || is_lower(c);
}
static char small(char c) {
    return is_upper(c) ? (char)(c + 'a' - 'A') : c;
}

static bool begins(const char *p, size_t n, const char *word) {
    size_t k = strlen(word);
    return k <= n && memcmp(p, word, k) == 0;
}

/* ---- by beginning ---- */

typedef enum { SIGNS_WORD, SIGNS_DASHED, SIGNS_UPPER, SIGNS_HEX, SIGNS_DOTTED } signs;

/* word: letters, digits and _; dashed: - as well; dotted: . as well */
static bool is_sign(signs s, char c) {
    switch (s) {
    case SIGNS_UPPER: return is_upper(c) || is_digit(c);
    case SIGNS_HEX: return is_digit(c) || (c >= 'a' && c <= 'f');
    case SIGNS_DOTTED: return is_alnum(c) || c == '_' || c == '-' || c == '.';
    case SIGNS_DASHED: return is_alnum(c) || c == '_' || c == '-';
    default: return is_alnum(c) || c == '_';
    }
}

static const struct {
    const char *begins;
    size_t least; /* signs behind the beginning */
    signs signs;
    bool digit; /* one of them is a digit: else it may be plain words */
} forms[] = {{"AKIA", 16, SIGNS_UPPER, false},
             {"ASIA", 16, SIGNS_UPPER, true},
             {"ghp_", 20, SIGNS_WORD, false},
             {"gho_", 20, SIGNS_WORD, false},
             {"ghu_", 20, SIGNS_WORD, false},
             {"ghs_", 20, SIGNS_WORD, false},
             {"ghr_", 20, SIGNS_WORD, false},
             {"github_pat_", 20, SIGNS_WORD, true},
             {"glpat-", 16, SIGNS_DASHED, false},
             {"gldt-", 16, SIGNS_DASHED, true},
             {"xoxa-", 8, SIGNS_DASHED, false},
             {"xoxb-", 8, SIGNS_DASHED, false},
             {"xoxe-", 8, SIGNS_DASHED, true},
             {"xoxp-", 8, SIGNS_DASHED, false},
             {"xoxr-", 8, SIGNS_DASHED, false},
             {"xoxs-", 8, SIGNS_DASHED, false},
             {"xapp-", 8, SIGNS_DASHED, true},
             {"sk_live_", 12, SIGNS_WORD, false},
             {"sk_test_", 12, SIGNS_WORD, false},
             {"rk_live_", 12, SIGNS_WORD, false},
             {"rk_test_", 12, SIGNS_WORD, false},
             {"whsec_", 16, SIGNS_WORD, true},
             {"sk-ant-", 16, SIGNS_DASHED, false},
             {"sk-proj-", 16, SIGNS_DASHED, false},
             {"sk-", 20, SIGNS_DASHED, true},
             {"AIza", 30, SIGNS_DASHED, true},
             {"ya29.", 20, SIGNS_DASHED, true},
             {"GOCSPX-", 20, SIGNS_DASHED, false},
             {"SG.", 30, SIGNS_DOTTED, true},
             {"npm_", 30, SIGNS_WORD, true},
             {"hf_", 28, SIGNS_WORD, true},
             {"shpat_", 32, SIGNS_HEX, true},
             {"shpss_", 32, SIGNS_HEX, true},
             {"dop_v1_", 60, SIGNS_HEX, true},
             {"dckr_pat_", 20, SIGNS_DASHED, true},
             {"lin_api_", 30, SIGNS_WORD, true},
             {"figd_", 30, SIGNS_DASHED, true},
             {"PMAK-", 40, SIGNS_DASHED, true},
             {"EAACEdEose0cBA", 8, SIGNS_WORD, false},
             {"AGE-SECRET-KEY-1", 40, SIGNS_UPPER, true},
             {"sq0csp-", 30, SIGNS_DASHED, true},
             {"NRAK-", 25, SIGNS_UPPER, true},
             {"gsk_", 40, SIGNS_WORD, true},
             {"r8_", 30, SIGNS_WORD, true},
             {"tskey-", 16, SIGNS_DASHED, true},
             {"hvs.", 20, SIGNS_DASHED, true},
             {"eyJ", 30, SIGNS_DOTTED, true}};

static size_t form_at(const char *p, size_t n) {
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (p[0] != forms[i].begins[0] || !begins(p, n, forms[i].begins)) {
            continue;
        }
        size_t from = strlen(forms[i].begins), k = from, n_dots = 0;
        bool digit = !forms[i].digit;
        while (k < n && is_sign(forms[i].signs, p[k])) {
            digit = digit || is_digit(p[k]);
            n_dots += p[k++] == '.';
        }
        bool token = strcmp(forms[i].begins, "eyJ") != 0 || n_dots >= 2; /* a JWT: three parts */
        if (k - from >= forms[i].least && digit && token) {
            return k;
        }
    }
    return 0;
}

/* -----BEGIN ... -----END ...-----, but for what is public; cut off: to the end of the text. */
static size_t armour_at(const char *p, size_t n) {
    size_t line = 0, end;
    if (!begins(p, n, "-----BEGIN ")) {
        return 0;
    }
    while (line < n && p[line] != '\n') {
        line++;
    }
    for (size_t i = 0; i < line; i++) {
        if (begins(p + i, line - i, "PUBLIC") || begins(p + i, line - i, "CERTIFICATE") ||
            begins(p + i, line - i, "MESSAGE") || begins(p + i, line - i, "SIGNATURE")) {
            return 0;
        }
    }
    for (end = 11; end < n && !begins(p + end, n - end, "-----END "); end++) {}
    while (end < n && p[end] != '\n') {
        end++;
    }
    return end;
}

/* scheme://user:password@host; only the password. */
static size_t login_at(const char *p, size_t n, size_t *from) {
    size_t i = 3, colon = 0;
    if (!begins(p, n, "://")) {
        return 0;
    }
    for (; i < n && !strchr(" \n\t/\"'<>@", p[i]) && p[i]; i++) {
        colon = colon == 0 && p[i] == ':' ? i : colon;
    }
    *from = colon + 1;
    return colon > 3 && i < n && p[i] == '@' && i > colon + 1 ? i : 0;
}

/* ---- "password: X" ---- */

static const char *const names[] = {"password",
                                    "passwd",
                                    "passphrase",
                                    "passcode",
                                    "pwd",
                                    "secret",
                                    "client_secret",
                                    "client secret",
                                    "api key",
                                    "api_key",
                                    "api-key",
                                    "apikey",
                                    "api token",
                                    "access key",
                                    "access_key",
                                    "access token",
                                    "access_token",
                                    "secret key",
                                    "secret_key",
                                    "private key",
                                    "private_key",
                                    "auth token",
                                    "auth_token",
                                    "bearer",
                                    "token",
                                    "credentials",
                                    "passwort",
                                    "kennwort",
                                    "mot de passe",
                                    "contrase\xC3\xB1"
                                    "a",
                                    "contrasena",
                                    "senha",
                                    "parola",
                                    "password \xC3\xA8",
                                    "wachtwoord",
                                    "has\xC5\x82o",
                                    "l\xC3\xB6senord",
                                    "\xD0\xBF\xD0\xB0\xD1\x80\xD0\xBE\xD0\xBB\xD1\x8C"};
static const char *const links[] = {" is ",       " is: ", " ist ", " est ", " es ", " \xC3\xA8 ",
                                    " \xC3\xA9 ", " to ",  " = ",   " : ",   ": ",   "=",
                                    ":",          "='",    "=\"",   " => ",  " - ",  " "};

static bool same_small(const char *p, size_t n, const char *word) {
    size_t k = strlen(word);
    for (size_t i = 0; i < k; i++) {
        if (i == n || small(p[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

/* How the value is tied to the word: by a space, by a word (is, to), by a sign (: =). */
typedef enum { TIE_SPACE, TIE_WORD, TIE_SIGN } tie;

/* A value that was made up, not a word of the sentence; the looser the tie, the more it must look like one. */
static bool is_value(const char *p, size_t n, tie how) {
    size_t n_digits = 0, n_upper = 0, n_lower = 0, n_signs = 0;
    for (size_t i = 0; i < n; i++) {
        n_digits += is_digit(p[i]);
        n_upper += is_upper(p[i]);
        n_lower += is_lower(p[i]);
        n_signs += p[i] && strchr("!@#$%^&*?+=/~|_", p[i]) != NULL;
    }
    size_t n_letters = n_upper + n_lower;
    bool both = n_letters > 0 && n_digits > 0, three = both && (n_signs > 0 || (n_upper > 0 && n_lower > 0));
    switch (how) {
    case TIE_SIGN: return n >= 6 && (both || (n_signs > 0 && n_letters > 0) || n_digits >= 6);
    case TIE_WORD: return (n >= 6 && three) || (n >= 7 && both);
    default: return n >= 8 && three;
    }
}

/* The value behind a word at p that names a secret: [*from, returned), or 0. */
static size_t named_at(const char *p, size_t n, size_t *from) {
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t k = strlen(names[i]);
        for (size_t j = 0; same_small(p, n, names[i]) && j < ARRAY_LEN(links); j++) {
            if (!same_small(p + k, n - k, links[j])) {
                continue;
            }
            size_t at = k + strlen(links[j]);
            tie how = strpbrk(links[j], ":=") ? TIE_SIGN : strlen(links[j]) > 1 ? TIE_WORD : TIE_SPACE;
            while (at < n && strchr(" \"'`", p[at]) && p[at]) {
                at++;
            }
            size_t end = at;
            while (end < n && !strchr(" \n\t\"'`,;<>()", p[end]) && p[end]) {
                end++;
            }
            while (end > at && strchr(".?!", p[end - 1])) {
                end--;
            }
            bool address = end - at > 8 && (begins(p + at, end - at, "http") || begins(p + at, end - at, "www."));
            if (!address && is_value(p + at, end - at, how)) {
                *from = at;
                return end;
            }
        }
    }
    return 0;
}

/* ---- words that only a machine writes ---- */

#define RANDOM_LEAST 24
#define RANDOM_MOST 512
#define RANDOM_BITS 3.7 /* of entropy a sign; prose written as one word has less, base 64 of random bytes more */

static bool is_random(const char *p, size_t n) {
    size_t count[256] = {0}, n_digits = 0, n_upper = 0, n_lower = 0, n_changes = 0;
    double bits = 0;
    for (size_t i = 0; i < n; i++) {
        count[(unsigned char)p[i]]++;
        n_digits += is_digit(p[i]);
        n_upper += is_upper(p[i]);
        n_lower += is_lower(p[i]);
        n_changes += i > 0 && (is_digit(p[i]) != is_digit(p[i - 1]) || is_upper(p[i]) != is_upper(p[i - 1]));
    }
    if (n < RANDOM_LEAST || n > RANDOM_MOST || n_digits < 2 || n_upper < 3 || n_lower < 3 || n_changes * 4 < n) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(count); i++) {
        double share = (double)count[i] / (double)n;
        bits -= count[i] ? share * log2(share) : 0;
    }
    return bits >= RANDOM_BITS;
}

/* Signs of base 64 from p on, where a word begins; 0: not random. */
static size_t random_at(const char *p, size_t n) {
    size_t k = 0;
    while (k < n && (is_alnum(p[k]) || strchr("+/_-=", p[k])) && p[k]) {
        k++;
    }
    bool more = k < n && (p[k] == '.' || p[k] == '@' || p[k] == ':') && k + 1 < n && is_alnum(p[k + 1]);
    return !more && is_random(p, k) ? k : 0;
}

/* ---- all of them ---- */

static muga_status found_here(const char *p, size_t n, size_t i, bool in_address, size_t *to, guard_list *found,
                              muga_error *err) {
    static const char key[] = "holds a key or an access token", password[] = "holds a password";
    bool begins_word = i == 0 || !(is_alnum(p[i - 1]) || p[i - 1] == '_');
    size_t from = 0, len = p[i] == '-' ? armour_at(p + i, n - i) : 0;
    const char *what = key;
    if (len == 0 && begins_word) {
        len = form_at(p + i, n - i);
    }
    if (len == 0 && p[i] == ':') {
        len = login_at(p + i, n - i, &from);
        what = password;
    }
    if (len == 0 && begins_word) {
        from = 0;
        len = named_at(p + i, n - i, &from);
        what = password;
    }
    if (len == 0 && begins_word && !in_address) {
        from = 0;
        len = random_at(p + i, n - i);
        what = key;
    }
    *to = len > 0 ? i + len : i + 1;
    return len > 0 ? guard_add(found, i + from, i + len, GUARD_SECRETS, what, err) : MUGA_OK;
}

muga_status guard_find_secrets(const char *p, size_t n, guard_list *found, muga_error *err) {
    muga_status st = MUGA_OK;
    bool in_address = false; /* after a "://" up to the next space: long random parts are what pages are called */
    for (size_t i = 0, to; st == MUGA_OK && i < n; i = to) {
        in_address = strchr(" \n\t\"'<>", p[i]) ? false : in_address || begins(p + i, n - i, "://");
        st = found_here(p, n, i, in_address, &to, found, err);
    }
    return st;
}
