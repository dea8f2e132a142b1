/* Guards (guard.h). Owns: finding secrets, card numbers and IBANs, and values nobody gave. Knows patterns and checksums
 * only; what a text means is not its business. */
#include "agent/guard.h"

#include "agent/internal.h"
#include "agent/personal.h"
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

/* The next card or IBAN from `at` on; false: none. */
static bool find_number(const char *p, size_t n, size_t at, bool cards, bool ibans, size_t *from, size_t *len) {
    for (size_t i = at; i < n; i++) {
        if (i > 0 && is_alnum(p[i - 1])) {
            continue;
        }
        *len = cards ? personal_card_at(p + i, n - i) : 0;
        *len = *len == 0 && ibans ? personal_iban_at(p + i, n - i) : *len;
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
