/* What tells of a person, by its form (personal.h). Owns: e-mail addresses, telephone numbers, bank accounts, cards, IP
 * addresses. Knows forms and checksums only. Where a form is loose (telephone numbers), a date is not taken for one;
 * else more is found rather than less.
 *
 * Idea: a finder looks at one place and gives the length of what begins there; personal_find tries the places in order,
 * and only those where a word or a number may begin, so that a text is read in time that grows with its length. */
#include "agent/personal.h"

#include "base/mem.h"

#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool is_alnum(char c) {
    return is_digit(c) || is_letter(c);
}

/* Nothing goes on at i: what ends there is whole. */
static bool ends_at(const char *p, size_t n, size_t i) {
    return i == n || !is_alnum(p[i]);
}

/* ---- cards, bank accounts ---- */

static bool luhn(const int *digits, size_t n) {
    int sum = 0;
    for (size_t k = 0; k < n; k++) {
        int d = digits[n - 1 - k] << (k & 1);
        sum += d > 9 ? d - 9 : d;
    }
    return sum % 10 == 0;
}

size_t personal_card_at(const char *p, size_t n) {
    int digits[19];
    size_t n_digits = 0, best = 0;
    for (size_t i = 0; i < n; i++) {
        bool gap = (p[i] == ' ' || p[i] == '-') && i > 0 && is_digit(p[i - 1]) && i + 1 < n && is_digit(p[i + 1]);
        if (gap) {
            continue;
        }
        if (!is_digit(p[i]) || n_digits == ARRAY_LEN(digits)) {
            break;
        }
        digits[n_digits++] = p[i] - '0';
        if (n_digits >= 13 && ends_at(p, n, i + 1) && luhn(digits, n_digits)) {
            best = i + 1;
        }
    }
    return best;
}

/* The first four characters count last. */
static bool iban_checks(const char *compact, size_t n) {
    unsigned rest = 0;
    for (size_t k = 0; k < n; k++) {
        char c = compact[(k + 4) % n];
        rest = is_digit(c) ? (rest * 10 + (unsigned)(c - '0')) % 97 : (rest * 100 + (unsigned)(c - 'a') + 10) % 97;
    }
    return rest == 1;
}

size_t personal_iban_at(const char *p, size_t n) {
    char compact[34];
    size_t n_compact = 0, best = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 'a' - 'A') : p[i];
        if ((c == ' ' || c == '-') && n_compact > 0 && n_compact % 4 == 0 && is_alnum(p[i - 1])) {
            continue;
        }
        bool fits = n_compact < 2 ? c >= 'a' && c <= 'z' : n_compact < 4 ? is_digit(c) : is_alnum(c);
        if (!fits || c == PERSONAL_LETTER || (unsigned char)c >= 0x80 || n_compact == sizeof compact) {
            break;
        }
        compact[n_compact++] = c;
        if (n_compact >= 15 && ends_at(p, n, i + 1) && iban_checks(compact, n_compact)) {
            best = i + 1;
        }
    }
    return best;
}

/* ---- telephone numbers ---- */

typedef struct groups {
    size_t n, len[16];           /* runs of digits */
    char before[16];             /* what stands before the run: the last separator, or 0 */
    size_t n_digits, first, end; /* first: where the first run begins */
} groups;

static bool is_phone_gap(char c) {
    return c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')';
}

/* Runs of digits from p on, parted by one or two separators, at most 17 digits; only whole runs. */
static groups read_groups(const char *p, size_t n) {
    groups g = {.n = 0};
    size_t i = 0;
    char before = 0;
    while (g.n < ARRAY_LEN(g.len)) {
        size_t from = i;
        for (; i - from < 3 && i < n && is_phone_gap(p[i]); i++) {
            before = p[i];
        }
        size_t run = 0;
        while (i + run < n && is_digit(p[i + run])) {
            run++;
        }
        if (run == 0 || g.n_digits + run > 17 || !ends_at(p, n, i + run) || (g.n > 0 && from == i)) {
            break;
        }
        g.first = g.n == 0 ? i : g.first;
        g.before[g.n] = before;
        g.len[g.n++] = run;
        g.n_digits += run;
        i += run;
        g.end = i;
    }
    return g;
}

/* 5.1.2024, 05-01-2024, 2024-01-05 at the beginning. */
static bool begins_with_date(const groups *g) {
    bool marked = g->n >= 3 && g->before[1] == g->before[2] && strchr("./-", g->before[1]);
    return marked && ((g->len[0] <= 2 && g->len[1] <= 2 && (g->len[2] == 4 || g->len[2] == 2)) ||
                      (g->len[0] == 4 && g->len[1] <= 2 && g->len[2] <= 2));
}

/* 212-555-0123, (212) 555-0123, 1 212 555 0123; or as many countries write it: 612 345 678, 20 7946 0958. */
static bool is_grouped_phone(const groups *g) {
    size_t k = g->n == 4 && g->len[0] == 1 ? 1 : 0;
    if (g->n - k == 3 && g->len[k] == 3 && g->len[k + 1] == 3 && g->len[k + 2] == 4) {
        return true;
    }
    for (size_t i = 0; i < g->n; i++) {
        if (g->len[i] < 2 || g->len[i] > 4 || (i > 0 && g->before[i] == '.')) {
            return false;
        }
    }
    return g->n >= 3 && g->n_digits >= 9 && g->n_digits <= 12;
}

static size_t phone_at(const char *p, size_t n) {
    size_t head = p[0] == '+' ? 1 : 0;
    while (head > 0 && head < n && head < 3 && (p[head] == ' ' || p[head] == '(')) {
        head++;
    }
    groups g = read_groups(p + head, n - head);
    if (g.n == 0 || begins_with_date(&g)) {
        return 0;
    }
    bool international = head > 0, national = p[head + g.first] == '0';
    if (international ? g.n_digits >= 7 : national ? g.n_digits >= 8 : is_grouped_phone(&g)) {
        return head + g.end;
    }
    return 0;
}

/* ---- e-mail addresses ---- */

static bool is_local(char c) {
    return is_alnum(c) || (c != '\0' && strchr(".!#$%&'*+/=?^_`{|}~-", c));
}

static size_t email_at(const char *p, size_t n) {
    size_t i = 0, n_labels = 0, end = 0;
    while (i < n && is_local(p[i])) {
        i++;
    }
    if (i == 0 || i == n || p[i] != '@') {
        return 0;
    }
    for (size_t at = i + 1; at < n && is_alnum(p[at]);) {
        size_t to = at;
        bool digits = true;
        while (to < n && (is_alnum(p[to]) || p[to] == '-')) {
            digits = is_digit(p[to++]) && digits;
        }
        n_labels++;
        end = n_labels > 1 && to - at >= 2 && !digits ? to : end;
        if (to == n || p[to] != '.') {
            break;
        }
        at = to + 1;
    }
    return end;
}

/* ---- IP addresses ---- */

static size_t ipv4_at(const char *p, size_t n) {
    size_t i = 0;
    for (int part = 0; part < 4; part++) {
        unsigned value = 0;
        size_t from = i;
        while (i < n && i - from < 4 && is_digit(p[i])) {
            value = value * 10 + (unsigned)(p[i++] - '0');
        }
        if (i == from || i - from > 3 || value > 255 || (part < 3 && (i == n || p[i++] != '.'))) {
            return 0;
        }
    }
    bool more = i + 1 < n && p[i] == '.' && is_digit(p[i + 1]);
    return ends_at(p, n, i) && !more ? i : 0;
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Eight groups, or fewer around one "::"; the last two may be an IPv4 address (RFC 4291, 2.2). */
static size_t ipv6_at(const char *p, size_t n) {
    size_t i = 0, n_groups = 0, n_hex = 0;
    bool gap = false;
    if (n < 3 || (p[0] == ':' && p[1] != ':')) {
        return 0;
    }
    for (;;) {
        if (i + 1 < n && p[i] == ':' && p[i + 1] == ':' && !gap) {
            gap = true;
            i += 2;
        } else if (n_groups > 0 && i + 1 < n && p[i] == ':' && is_hex(p[i + 1])) {
            i++;
        } else if (n_groups > 0) {
            break;
        }
        size_t run = 0, v4 = ipv4_at(p + i, n - i);
        if (v4 > 0 && n_groups + 2 <= 8) {
            n_groups += 2;
            n_hex++;
            i += v4;
            break;
        }
        while (i + run < n && is_hex(p[i + run])) {
            run++;
        }
        if (run == 0) {
            break;
        }
        if (run > 4 || n_groups == 8) {
            return 0;
        }
        n_hex++;
        n_groups++;
        i += run;
    }
    bool whole = ends_at(p, n, i) && (n_groups == 8 ? !gap : gap && n_groups < 8);
    return whole && n_hex > 0 ? i : 0;
}

static size_t ip_at(const char *p, size_t n) {
    size_t v4 = ipv4_at(p, n);
    return v4 > 0 ? v4 : ipv6_at(p, n);
}

/* ---- national numbers ---- */

#define CUE_REACH 48 /* bytes before and after a number in which a word may say what it is */

static bool is_cue(const char *p, size_t n) {
    static const char cues[] = " bsn tfn sin nif nhs ssn tin oib sofi cpf uid idnr aadhaar aadhar mynumber tax taxpayer"
                               " taxfile social insurance national citizen identity identification passport"
                               " burgerservicenummer burgerservice contribuinte fiscal steuer steuernummer zehut ";
    char key[24];
    if (n + 2 >= sizeof key) {
        return false;
    }
    key[0] = key[n + 1] = ' ';
    for (size_t i = 0; i < n; i++) {
        key[i + 1] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 'a' - 'A') : p[i];
    }
    key[n + 2] = '\0';
    return strstr(cues, key) != NULL;
}

static bool has_cue(const char *p, size_t from, size_t to) {
    for (size_t i = from; i < to;) {
        size_t k = i;
        while (k < to && is_letter(p[k])) {
            k++;
        }
        if (k > i && is_cue(p + i, k - i)) {
            return true;
        }
        i = k + 1;
    }
    return false;
}

/* 046 454 286, 943 476 5919, 2341 2341 2346 */
static bool is_grouped_id(const char *p, size_t n) {
    size_t runs[4] = {0}, k = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_digit(p[i])) {
            runs[k]++;
        } else if (++k == ARRAY_LEN(runs)) {
            return false;
        }
    }
    return k == 2 && runs[0] == runs[1] &&
           ((runs[0] == 3 && (runs[2] == 3 || runs[2] == 4)) || (runs[0] == 4 && runs[2] == 4));
}

static size_t id_in(const char *p, size_t n, size_t i) {
    bool common = false;
    size_t len = personal_id_at(p + i, n - i, &common);
    if (len == 0 || !common || is_grouped_id(p + i, len)) {
        return len;
    }
    size_t before = i, from = i + len, after = from;
    /* Another number has its own words, and so has one that is masked already. */
    while (before > 0 && i - before < CUE_REACH && !is_digit(p[before - 1]) && p[before - 1] != ']') {
        before--;
    }
    while (after < n && after - from < CUE_REACH && !is_digit(p[after]) && !strchr(".,;!?[\n", p[after])) {
        after++;
    }
    return has_cue(p, before, i) || has_cue(p, from, after) ? len : 0;
}

/* ---- all of them ---- */

typedef struct finder {
    unsigned kind;
    size_t (*at)(const char *p, size_t n); /* NULL: what stands around it counts, too */
} finder;

/* May something of this kind begin at i? */
static bool may_begin(unsigned kind, const char *p, size_t i) {
    char before = i > 0 ? p[i - 1] : ' ', c = p[i];
    bool in_number = (before == '.' || before == '-' || before == '/') && i > 1 && is_digit(p[i - 2]);
    switch (kind) {
    case PERSONAL_EMAIL: return is_local(c) && !is_local(before);
    case PERSONAL_CARD: return is_digit(c) && !is_digit(before);
    case PERSONAL_PHONE:
        return (is_digit(c) || c == '+' || c == '(') && !is_alnum(before) && before != '+' && !in_number;
    case PERSONAL_IP: return (is_hex(c) || c == ':') && !is_alnum(before) && before != ':' && !in_number;
    default: return is_alnum(c) && !is_alnum(before);
    }
}

bool personal_find(const char *p, size_t n, size_t at, unsigned kinds, personal_found *out) {
    static const finder finders[] = {{PERSONAL_EMAIL, email_at},
                                     {PERSONAL_IBAN, personal_iban_at},
                                     {PERSONAL_CARD, personal_card_at},
                                     {PERSONAL_NATIONAL_ID, NULL},
                                     {PERSONAL_IP, ip_at},
                                     {PERSONAL_PHONE, phone_at}};
    for (size_t i = at; i < n; i++) {
        *out = (personal_found){i, i, 0};
        for (size_t k = 0; k < ARRAY_LEN(finders); k++) {
            const finder *f = &finders[k];
            size_t len = !(kinds & f->kind) || !may_begin(f->kind, p, i) ? 0
                         : f->at                                         ? f->at(p + i, n - i)
                                                                         : id_in(p, n, i);
            if (len > out->to - i) {
                out->to = i + len;
                out->kind = f->kind;
            }
        }
        if (out->kind) {
            return true;
        }
    }
    return false;
}
