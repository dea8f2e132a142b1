/* National identification numbers (personal.h). Owns: their forms and check digits, country by country, as the issuing
 * offices publish them. A number is one if any country's rules hold for all of it; where it holds a date of birth, the
 * date must be possible. A country whose numbers have no check digit is not here, with one exception: the number of
 * US social security, which its three groups give away.
 *
 * Idea: a number is read once, without its separators; a row of the table says which form it has and which function
 * checks it. In a form 'd' is a digit, 'l' a letter, 'x' either. Where the check is one digit of a number that holds no
 * date, one number in ten passes it (a nine-digit one passes some country's in two of five cases), so such a row is
 * `common`: personal.c wants more before it believes it. */
#include "agent/personal.h"

#include "base/mem.h"

#include <string.h>

#define ID_MAX 18

typedef struct id_number {
    char c[ID_MAX + 1]; /* small letters and digits */
    int d[ID_MAX];      /* digits; 0 where a letter stands */
    size_t n;
} id_number;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* ---- sums ---- */

/* Digits [0, n) times weights. */
static int weigh(const id_number *x, const int *weights, size_t n) {
    int sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x->d[i] * weights[i];
    }
    return sum;
}

static int64_t number_of(const id_number *x, size_t from, size_t n) {
    int64_t v = 0;
    for (size_t i = from; i < from + n; i++) {
        v = v * 10 + x->d[i];
    }
    return v;
}

static bool luhn(const id_number *x, size_t from) {
    int sum = 0;
    for (size_t i = from; i < x->n; i++) {
        int d = x->d[i] << ((x->n - 1 - i) & 1);
        sum += d > 9 ? d - 9 : d;
    }
    return sum % 10 == 0;
}

/* ISO 7064 mod 11,10 over all digits. */
static bool mod_11_10(const id_number *x) {
    int p = 10;
    for (size_t i = 0; i + 1 < x->n; i++) {
        p = (p + x->d[i]) % 10;
        p = (p ? p : 10) * 2 % 11;
    }
    return (11 - p) % 10 == x->d[x->n - 1];
}

static bool is_date(int64_t month, int64_t day) {
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static bool all_equal(const id_number *x) {
    return strspn(x->c, (char[2]){x->c[0], '\0'}) == x->n;
}

/* ---- countries ---- */

static bool austria(const id_number *x) { /* SVNR: check digit fourth, then DDMMYY */
    static const int w[] = {3, 7, 9, 0, 5, 8, 4, 2, 1, 6};
    return x->d[0] > 0 && weigh(x, w, 10) % 11 == x->d[3] && is_date(number_of(x, 6, 2), number_of(x, 4, 2));
}

static bool australia(const id_number *x) { /* TFN */
    static const int w[] = {1, 4, 3, 7, 5, 8, 6, 9, 10};
    return weigh(x, w, 9) % 11 == 0 && !all_equal(x);
}

static bool belgium(const id_number *x) { /* YYMMDD, counter, 97 - rest; from 2000 on with a 2 before */
    int64_t n = number_of(x, 0, 9), check = number_of(x, 9, 2);
    return is_date(number_of(x, 2, 2), number_of(x, 4, 2)) &&
           (97 - n % 97 == check || 97 - (n + INT64_C(2000000000)) % 97 == check);
}

static bool brazil(const id_number *x) { /* CPF */
    static const int w[] = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2};
    int first = weigh(x, w + 1, 9) * 10 % 11 % 10, second = weigh(x, w, 10) * 10 % 11 % 10;
    return first == x->d[9] && second == x->d[10] && !all_equal(x);
}

static bool bulgaria(const id_number *x) { /* EGN: month + 20 or + 40 for other centuries */
    static const int w[] = {2, 4, 8, 5, 10, 9, 7, 3, 6};
    return is_date(number_of(x, 2, 2) % 20, number_of(x, 4, 2)) && weigh(x, w, 9) % 11 % 10 == x->d[9];
}

static bool luhn_of_nine(const id_number *x) { /* Canada's SIN, Israel's number */
    return luhn(x, 0) && !all_equal(x);
}

static bool china(const id_number *x) { /* ISO 7064 mod 11-2, YYYYMMDD from the seventh on */
    static const int w[] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
    return is_date(number_of(x, 10, 2), number_of(x, 12, 2)) && "10x98765432"[weigh(x, w, 17) % 11] == x->c[17];
}

static bool croatia(const id_number *x) { /* OIB */
    return mod_11_10(x);
}

static bool czechia(const id_number *x) { /* and Slovakia: month + 50 for women, + 20 where numbers ran out */
    return is_date(number_of(x, 2, 2) % 50 % 20, number_of(x, 4, 2)) && number_of(x, 0, 10) % 11 == 0;
}

static bool denmark(const id_number *x) { /* CPR, those with a check digit */
    static const int w[] = {4, 3, 2, 7, 6, 5, 4, 3, 2, 1};
    return is_date(number_of(x, 2, 2), number_of(x, 0, 2)) && weigh(x, w, 10) % 11 == 0;
}

static bool estonia(const id_number *x) { /* and Lithuania: century, YYMMDD */
    static const int w1[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1}, w2[] = {3, 4, 5, 6, 7, 8, 9, 1, 2, 3};
    int check = weigh(x, w1, 10) % 11;
    check = check < 10 ? check : weigh(x, w2, 10) % 11 % 10;
    return x->d[0] >= 1 && x->d[0] <= 8 && is_date(number_of(x, 3, 2), number_of(x, 5, 2)) && check == x->d[10];
}

static char finland_check(int64_t n) {
    return "0123456789abcdefhjklmnprstuvwxy"[n % 31];
}

static bool finland(const id_number *x) { /* HETU with a dash: DDMMYY-NNNC */
    return is_date(number_of(x, 2, 2), number_of(x, 0, 2)) && finland_check(number_of(x, 0, 9)) == x->c[9];
}

static bool finland_letter(const id_number *x) { /* with a letter for the century */
    int64_t n = number_of(x, 0, 6) * 1000 + number_of(x, 7, 3);
    return is_date(number_of(x, 2, 2), number_of(x, 0, 2)) && finland_check(n) == x->c[10];
}

static bool france(const id_number *x) { /* NIR; Corsica's 2A and 2B count as 19 and 18 */
    int64_t n = number_of(x, 0, 13), month = number_of(x, 3, 2);
    if (x->c[6] == 'a' || x->c[6] == 'b') {
        n = number_of(x, 0, 5) * 100000000 + (x->c[6] == 'a' ? 19 : 18) * INT64_C(1000000) + number_of(x, 7, 6);
    } else if (!is_digit(x->c[6])) {
        return false;
    }
    bool month_ok = (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50;
    return x->d[0] > 0 && month_ok && 97 - n % 97 == number_of(x, 13, 2);
}

static bool germany(const id_number *x) { /* IdNr: of the first ten digits one stands twice or three times */
    int count[10] = {0}, n_again = 0;
    for (size_t i = 0; i < 10; i++) {
        count[x->d[i]]++;
    }
    for (int i = 0; i < 10; i++) {
        n_again += count[i] > 1;
        if (count[i] > 3) {
            return false;
        }
    }
    return x->d[0] > 0 && n_again == 1 && mod_11_10(x);
}

static bool greece(const id_number *x) { /* AMKA: DDMMYY */
    return is_date(number_of(x, 2, 2), number_of(x, 0, 2)) && luhn(x, 0);
}

static bool india(const id_number *x) { /* Aadhaar: Verhoeff's scheme over the dihedral group of order ten */
    static const uint8_t turn[8][10] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 5, 7, 6, 2, 8, 3, 0, 9, 4},
                                        {5, 8, 0, 3, 7, 9, 6, 1, 4, 2}, {8, 9, 1, 6, 0, 4, 3, 5, 2, 7},
                                        {9, 4, 5, 3, 1, 2, 6, 8, 7, 0}, {4, 2, 8, 6, 5, 7, 3, 9, 0, 1},
                                        {2, 7, 9, 3, 8, 0, 6, 4, 1, 5}, {7, 0, 4, 6, 9, 1, 3, 2, 5, 8}};
    int c = 0;
    for (size_t i = 0; i < x->n; i++) { /* c times the turned digit: 0-4 are rotations, 5-9 reflections */
        int d = turn[i % 8][x->d[x->n - 1 - i]];
        c = c < 5 ? (d < 5 ? (c + d) % 5 : 5 + (c + d) % 5) : (d < 5 ? 5 + (c - d) % 5 : (c - d + 5) % 5);
    }
    return x->d[0] >= 2 && c == 0;
}

static bool ireland(const id_number *x) { /* PPS: seven digits, check letter, maybe another letter */
    static const int w[] = {8, 7, 6, 5, 4, 3, 2};
    int sum = weigh(x, w, 7) + (x->n == 9 ? (x->c[8] == 'w' ? 0 : x->c[8] - 'a' + 1) * 9 : 0);
    return "wabcdefghijklmnopqrstuv"[sum % 23] == x->c[7];
}

static bool italy(const id_number *x) { /* codice fiscale */
    static const int odd[] = {1,  0,  5, 7, 9, 13, 15, 17, 19, 21, 2,  4,  18,
                              20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    static const uint8_t digits[] = {6, 7, 9, 10, 12, 13, 14};
    int sum = 0, n_digits = 0;
    for (size_t i = 0; i < ARRAY_LEN(digits); i++) { /* some may be letters, where two people would share a code */
        char c = x->c[digits[i]];
        n_digits += is_digit(c);
        if (!is_digit(c) && !strchr("lmnpqrstuv", c)) {
            return false;
        }
    }
    for (size_t i = 0; i < 15; i++) {
        int v = is_digit(x->c[i]) ? x->d[i] : x->c[i] - 'a';
        sum += i % 2 == 0 ? odd[v] : v;
    }
    return n_digits > 0 && strchr("abcdehlmprst", x->c[8]) && sum % 26 == x->c[15] - 'a';
}

static bool japan(const id_number *x) { /* My Number */
    static const int w[] = {6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2};
    int rest = weigh(x, w, 11) % 11;
    return (rest <= 1 ? 0 : 11 - rest) == x->d[11] && !all_equal(x);
}

static bool korea(const id_number *x) { /* RRN: YYMMDD */
    static const int w[] = {2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5};
    return is_date(number_of(x, 2, 2), number_of(x, 4, 2)) && (11 - weigh(x, w, 12) % 11) % 10 == x->d[12];
}

static bool netherlands(const id_number *x) { /* BSN */
    static const int w[] = {9, 8, 7, 6, 5, 4, 3, 2, -1};
    return weigh(x, w, 9) % 11 == 0 && number_of(x, 0, 9) > 0;
}

static bool norway(const id_number *x) { /* fødselsnummer, D numbers (day + 40) */
    static const int w1[] = {3, 7, 6, 1, 8, 9, 4, 5, 2, 1}, w2[] = {5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1};
    return is_date(number_of(x, 2, 2) % 40, number_of(x, 0, 2) % 40) && weigh(x, w1, 10) % 11 == 0 &&
           weigh(x, w2, 11) % 11 == 0;
}

static bool poland(const id_number *x) { /* PESEL: month + 20 a century */
    static const int w[] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1};
    return is_date(number_of(x, 2, 2) % 20, number_of(x, 4, 2)) && weigh(x, w, 11) % 10 == 0;
}

static bool portugal(const id_number *x) { /* NIF */
    static const int w[] = {9, 8, 7, 6, 5, 4, 3, 2};
    int rest = weigh(x, w, 8) % 11;
    return x->d[0] > 0 && (rest <= 1 ? 0 : 11 - rest) == x->d[8];
}

static bool romania(const id_number *x) { /* CNP: sex and century, YYMMDD */
    static const int w[] = {2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9};
    int rest = weigh(x, w, 12) % 11;
    return x->d[0] > 0 && is_date(number_of(x, 3, 2), number_of(x, 5, 2)) && (rest == 10 ? 1 : rest) == x->d[12];
}

static bool spain(const id_number *x) { /* DNI; NIE with x, y or z for the first digit */
    int64_t first = is_digit(x->c[0]) ? x->d[0] : x->c[0] - 'x';
    return first >= 0 && first <= 9 &&
           "trwagmyfpdxbnjzsqvhlcke"[(first * 10000000 + number_of(x, 1, 7)) % 23] == x->c[8];
}

static bool sweden(const id_number *x) { /* (YY)YYMMDD; day + 60 for coordination numbers */
    size_t from = x->n - 10;
    return is_date(number_of(x, from + 2, 2), number_of(x, from + 4, 2) % 60) && luhn(x, from);
}

static bool switzerland(const id_number *x) { /* AHV: EAN-13 of country 756 */
    static const int w[] = {1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1};
    return number_of(x, 0, 3) == 756 && weigh(x, w, 13) % 10 == 0;
}

static bool turkey(const id_number *x) { /* TCKN */
    static const int w[] = {7, -1, 7, -1, 7, -1, 7, -1, 7}, ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    return x->d[0] > 0 && (weigh(x, w, 9) % 10 + 10) % 10 == x->d[9] && weigh(x, ones, 10) % 10 == x->d[10];
}

static bool united_kingdom(const id_number *x) { /* NHS number */
    static const int w[] = {10, 9, 8, 7, 6, 5, 4, 3, 2};
    return 11 - weigh(x, w, 9) % 11 == (x->d[9] ? x->d[9] : 11) && !all_equal(x);
}

static const struct {
    const char *form;
    bool (*check)(const id_number *x);
    bool common;
} forms[] = {
    {"dddddddl", ireland, false},       {"dddddddll", ireland, false},        {"xdddddddl", spain, false},
    {"ddddddddd", australia, true},     {"ddddddddd", luhn_of_nine, true},    {"ddddddddd", netherlands, true},
    {"ddddddddd", portugal, true},      {"dddddddddx", finland, false},       {"dddddddddd", austria, false},
    {"dddddddddd", bulgaria, false},    {"dddddddddd", czechia, false},       {"dddddddddd", denmark, false},
    {"dddddddddd", sweden, false},      {"dddddddddd", united_kingdom, true}, {"ddddddldddx", finland_letter, false},
    {"ddddddddddd", belgium, false},    {"ddddddddddd", brazil, false},       {"ddddddddddd", croatia, true},
    {"ddddddddddd", estonia, false},    {"ddddddddddd", germany, false},      {"ddddddddddd", greece, false},
    {"ddddddddddd", norway, false},     {"ddddddddddd", poland, false},       {"ddddddddddd", turkey, false},
    {"dddddddddddd", india, true},      {"dddddddddddd", japan, true},        {"dddddddddddd", sweden, false},
    {"ddddddddddddd", korea, false},    {"ddddddddddddd", romania, false},    {"ddddddddddddd", switzerland, false},
    {"ddddddxdddddddd", france, false}, {"llllllxxlxxlxxxl", italy, false},   {"dddddddddddddddddx", china, false}};

/* ---- reading ---- */

static bool has_form(const id_number *x, const char *form) {
    size_t i = 0;
    for (; form[i] && i < x->n; i++) {
        if (form[i] != 'x' && (form[i] == 'd') != is_digit(x->c[i])) {
            return false;
        }
    }
    return !form[i] && i == x->n;
}

static bool checks(const id_number *x, bool *common) {
    bool any = false;
    *common = true;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (has_form(x, forms[i].form) && forms[i].check(x)) {
            any = true;
            *common = *common && forms[i].common;
        }
    }
    return any;
}

/* 123-45-6789, but for the numbers that are never given. */
static size_t us_social_security_at(const char *p, size_t n) {
    static const char form[] = "ddd-dd-dddd";
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (i == n || (form[i] == 'd' ? !is_digit(p[i]) : p[i] != '-')) {
            return 0;
        }
    }
    bool more = n > 11 && (is_digit(p[11]) || (p[11] == '-' && n > 12 && is_digit(p[12])));
    bool never = p[0] == '9' || !memcmp(p, "000", 3) || !memcmp(p, "666", 3) || !memcmp(p + 4, "00", 2) ||
                 !memcmp(p + 7, "0000", 4);
    return more || never ? 0 : 11;
}

size_t personal_id_at(const char *p, size_t n, bool *common) {
    id_number x = {.n = 0};
    size_t best = us_social_security_at(p, n), n_gaps = 0;
    bool now;
    *common = false;
    for (size_t i = 0; i < n && x.n < ID_MAX; i++) {
        char c = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 'a' - 'A') : p[i];
        bool digit = is_digit(c), letter = c >= 'a' && c <= 'z';
        if (!digit && !letter) {
            if (x.n == 0 || !strchr(" -./+", c) || c == '\0' || strchr(" -./+", p[i - 1]) || ++n_gaps > 5) {
                break;
            }
            continue;
        }
        x.d[x.n] = digit ? c - '0' : 0;
        x.c[x.n++] = c;
        x.c[x.n] = '\0';
        bool ends = i + 1 == n || !(is_digit(p[i + 1]) || (p[i + 1] >= 'a' && p[i + 1] <= 'z') ||
                                    (p[i + 1] >= 'A' && p[i + 1] <= 'Z') || (unsigned char)p[i + 1] >= 0x80);
        if (ends && checks(&x, &now)) {
            best = i + 1;
            *common = now;
        }
    }
    return best;
}
