/* Guards (guard.h). Owns: finding secrets, card numbers and IBANs, and values nobody gave. Knows patterns and checksums
 * only; what a text means is not its business. */
#include "agent/guard.h"

#include "agent/internal.h"
#include "base/utf8.h"

#include <stdio.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_alnum(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool lists(const manifest *m, const char *side, const char *key, const char *word) {
    const json_t *list = json_object_get(json_object_get(m->guards, side), key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), word) == 0) {
            return true;
        }
    }
    return false;
}

/* Length of a card number at p: 13 to 19 digits in groups parted by single spaces or dashes, with a valid check digit
 * (ISO/IEC 7812-1); 0 for none. */
static size_t card_at(const char *p, size_t n) {
    int digits[19], n_digits = 0;
    size_t i = 0, end = 0;
    while (i < n && n_digits < 19) {
        bool gap = (p[i] == ' ' || p[i] == '-') && i > 0 && is_digit(p[i - 1]) && i + 1 < n && is_digit(p[i + 1]);
        if (is_digit(p[i])) {
            digits[n_digits++] = p[i] - '0';
            end = i + 1;
        } else if (!gap) {
            break;
        }
        i++;
    }
    int sum = 0;
    for (int k = 0; k < n_digits; k++) {
        int d = digits[n_digits - 1 - k] << (k & 1);
        sum += d > 9 ? d - 9 : d;
    }
    bool whole = end == n || !is_alnum(p[end]);
    return n_digits >= 13 && whole && sum % 10 == 0 ? end : 0;
}

/* Length of an IBAN at p: two letters, two digits, 11 to 30 letters or digits, in groups of four parted by spaces or
 * not at all, with ISO 7064 mod 97 = 1; 0 for none. */
static size_t iban_at(const char *p, size_t n) {
    char compact[34];
    size_t n_compact = 0, i = 0, end = 0;
    while (i < n && n_compact < sizeof compact) {
        bool upper = p[i] >= 'A' && p[i] <= 'Z';
        if (upper || is_digit(p[i])) {
            compact[n_compact++] = p[i];
            end = i + 1;
        } else if (p[i] != ' ' || n_compact == 0 || n_compact % 4 != 0) {
            break;
        }
        i++;
    }
    if (n_compact < 15 || is_digit(compact[0]) || is_digit(compact[1]) || !is_digit(compact[2]) ||
        !is_digit(compact[3]) || (end < n && is_alnum(p[end]))) {
        return 0;
    }
    unsigned rest = 0;
    for (size_t k = 0; k < n_compact; k++) {
        char c = compact[(k + 4) % n_compact];
        rest = is_digit(c) ? (rest * 10 + (unsigned)(c - '0')) % 97 : (rest * 100 + (unsigned)(c - 'A') + 10) % 97;
    }
    return rest == 1 ? end : 0;
}

/* The next card or IBAN from `at` on; false: none. */
static bool find_number(const char *p, size_t n, size_t at, bool cards, bool ibans, size_t *from, size_t *len) {
    for (size_t i = at; i < n; i++) {
        if (i > 0 && is_alnum(p[i - 1])) {
            continue;
        }
        *len = cards ? card_at(p + i, n - i) : 0;
        *len = *len == 0 && ibans ? iban_at(p + i, n - i) : *len;
        if (*len > 0) {
            *from = i;
            return true;
        }
    }
    return false;
}

const char *guard_input(const manifest *m, const char *text, size_t n) {
    size_t from, len;
    if (utf8_count(text, n) > (size_t)m->input_max_chars) {
        return "longer than guards.input.max_chars";
    }
    if (!lists(m, "input", "refuse", "secrets")) {
        return NULL;
    }
    if (find_number(text, n, 0, true, true, &from, &len)) {
        return "holds a card or bank account number";
    }
    span s = {text, n};
    static const char *const signs[] = {"-----BEGIN ", "AKIA", "ghp_", "xoxb-"};
    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        size_t k = strlen(signs[i]);
        for (size_t at = 0; at + k <= s.n; at++) {
            if (memcmp(s.p + at, signs[i], k) == 0) {
                return "holds a key or an access token";
            }
        }
    }
    return NULL;
}

muga_status guard_mask(const manifest *m, str *text, muga_error *err) {
    bool cards = lists(m, "output", "mask", "card"), ibans = lists(m, "output", "mask", "iban");
    size_t from, len, at = 0;
    (void)err;
    while ((cards || ibans) && find_number(str_get(text), text->len, at, cards, ibans, &from, &len)) {
        size_t n_left = 0;
        for (size_t i = from + len; i-- > from;) {
            if (is_alnum(text->data[i]) && n_left++ >= 4) {
                text->data[i] = '*';
            }
        }
        at = from + len;
    }
    return MUGA_OK;
}

static bool stands_in(const char *text, size_t n_text, const char *word, size_t n) {
    for (size_t at = 0; at + n <= n_text; at++) {
        if (memcmp(text + at, word, n) == 0 && (at == 0 || !is_alnum(text[at - 1])) &&
            (at + n == n_text || !is_alnum(text[at + n]))) {
            return true;
        }
    }
    return false;
}

bool guard_is_grounded(const manifest *m, const char *text, const json_t *texts, char which[64]) {
    const char *rule = json_get_string(json_object_get(m->guards, "output"), "grounded");
    for (const char *p = text; rule && *p;) {
        size_t n = 0;
        bool digit = false;
        while (is_alnum(p[n])) {
            digit |= is_digit(p[n++]);
        }
        bool found = !digit;
        for (size_t i = 0; !found && i < json_array_size(texts); i++) {
            const json_t *v = json_array_get(texts, i);
            found = stands_in(json_string_value(v), json_string_length(v), p, n);
        }
        if (!found) {
            snprintf(which, 64, "%.*s", (int)MIN(n, 63), p);
            return false;
        }
        p += n ? n : 1;
    }
    return true;
}
