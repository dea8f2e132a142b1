/* Labels of internationalised host names. Owns nothing. Refuses nothing: a label is one that IDNA 2008 registers, or
 * not.
 *
 * Idea: a label is a short row of code points; "xn--" labels are decoded first, so both forms meet the same rules: the
 * derived property of RFC 5892 from Unicode's own properties, its contextual rules, the bidi rule of RFC 5893. Where
 * the joining types of letters matter (the zero-width non-joiner), the letters of Arabic are known; that is where it is
 * used. */
#include "constrain/idn.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <utf8proc.h>

#define MAX_LABEL 63u
#define MAX_NAME 253u

typedef struct label {
    uint32_t cp[MAX_LABEL];
    size_t n;
    bool ascii; /* as it was written */
} label;

typedef struct range {
    uint32_t lo, hi;
} range;

static bool in_ranges(uint32_t cp, const range *r, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (cp >= r[i].lo && cp <= r[i].hi)
            return true;
    return false;
}
#define IN(cp, ranges) in_ranges(cp, ranges, ARRAY_LEN(ranges))

/* ---- Punycode (RFC 3492, 6) ---- */
#define BASE 36u
static uint32_t adapt(uint32_t delta, uint32_t n_points, bool first) {
    uint32_t k = 0;
    delta = first ? delta / 700 : delta / 2;
    delta += delta / n_points;
    for (; delta > ((BASE - 1) * 26) / 2; k += BASE)
        delta /= BASE - 1;
    return k + BASE * delta / (delta + 38);
}

static uint32_t threshold(uint32_t k, uint32_t bias) {
    return k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
}

static bool punycode_decode(const char *p, size_t n, label *out) {
    size_t at = 0, basic = n;
    while (basic > 0 && p[basic - 1] != '-')
        basic--;
    out->n = 0;
    for (; at + 1 < basic; at++)
        out->cp[out->n++] = (uint8_t)(p[at] >= 'A' && p[at] <= 'Z' ? p[at] + 32 : p[at]);
    at = basic;
    uint32_t code = 0x80, i = 0, bias = 72;
    while (at < n) {
        uint32_t before = i, weight = 1;
        for (uint32_t k = BASE;; k += BASE) {
            if (at >= n)
                return false;
            char c = p[at++];
            uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') + 26 : (uint32_t)((c | 32) - 'a');
            if (digit >= BASE || digit > (UINT32_MAX - i) / weight)
                return false;
            i += digit * weight;
            uint32_t t = threshold(k, bias);
            if (digit < t)
                break;
            if (weight > UINT32_MAX / (BASE - t))
                return false;
            weight *= BASE - t;
        }
        uint32_t n_points = (uint32_t)out->n + 1;
        bias = adapt(i - before, n_points, before == 0);
        if (out->n == MAX_LABEL || i / n_points > 0x10FFFF - code)
            return false;
        code += i / n_points;
        i %= n_points;
        memmove(out->cp + i + 1, out->cp + i, (out->n - i) * sizeof *out->cp);
        out->cp[i++] = code;
        out->n++;
    }
    return true;
}

static char digit_of(uint32_t d) {
    return (char)(d < 26 ? 'a' + d : '0' + d - 26);
}

/* Without "xn--"; 0: longer than a label may be. */
static size_t punycode_encode(const label *l, char out[MAX_LABEL]) {
    size_t n = 0, done = 0;
    for (size_t i = 0; i < l->n; i++)
        if (l->cp[i] < 0x80)
            out[n++] = (char)l->cp[i];
    done = n;
    if (n > 0 && n < MAX_LABEL)
        out[n++] = '-';
    uint32_t code = 0x80, delta = 0, bias = 72;
    for (bool first = true; done < l->n; delta++, code++) {
        uint32_t next = UINT32_MAX;
        for (size_t i = 0; i < l->n; i++)
            if (l->cp[i] >= code && l->cp[i] < next)
                next = l->cp[i];
        delta += (next - code) * (uint32_t)(done + 1); /* at most 0x10FFFF * 63 */
        code = next;
        for (size_t i = 0; i < l->n; i++) {
            delta += l->cp[i] < code;
            if (l->cp[i] != code)
                continue;
            uint32_t q = delta;
            for (uint32_t k = BASE;; k += BASE) {
                uint32_t t = threshold(k, bias);
                if (n == MAX_LABEL)
                    return 0;
                out[n++] = digit_of(q < t ? q : t + (q - t) % (BASE - t));
                if (q < t)
                    break;
                q = (q - t) / (BASE - t);
            }
            bias = adapt(delta, (uint32_t)++done, first);
            first = false;
            delta = 0;
        }
    }
    return n;
}

/* ---- which code points (RFC 5892) ---- */
typedef enum { PVALID, CONTEXT, DISALLOWED } derived;

/* Normalisation with compatibility and case folding changes it. */
static bool unstable(uint32_t cp) {
    utf8proc_int32_t out[20];
    const int options = UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, out, ARRAY_LEN(out), options, NULL);
    if (n < 1 || n > (utf8proc_ssize_t)ARRAY_LEN(out))
        return true;
    n = utf8proc_normalize_utf32(out, n, UTF8PROC_COMPOSE);
    return n != 1 || out[0] != (utf8proc_int32_t)cp;
}

static derived derive(uint32_t cp) {
    static const range valid[] = {{0xDF, 0xDF},     {0x3C2, 0x3C2}, {0x6FD, 0x6FE}, {0xF0B, 0xF0B},
                                  {0x3007, 0x3007}, {'a', 'z'},     {'0', '9'},     {'-', '-'}};
    static const range contextual[] = {{0xB7, 0xB7},   {0x375, 0x375},   {0x5F3, 0x5F4},  {0x660, 0x669},
                                       {0x6F0, 0x6F9}, {0x200C, 0x200D}, {0x30FB, 0x30FB}};
    static const range never[] = {{0x640, 0x640},   {0x7FA, 0x7FA},   {0x302E, 0x302F},   {0x3031, 0x3035},
                                  {0x303B, 0x303B}, {0x20D0, 0x20FF}, {0x1D100, 0x1D24F}, {0x1100, 0x11FF},
                                  {0xA960, 0xA97C}, {0xD7B0, 0xD7FB}};
    if (IN(cp, valid))
        return PVALID;
    if (IN(cp, contextual))
        return CONTEXT;
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)cp);
    if (IN(cp, never) || p->ignorable || unstable(cp))
        return DISALLOWED;
    switch (p->category) {
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND: return PVALID;
    default: return DISALLOWED;
    }
}

/* ---- contextual rules (RFC 5892, appendix A) ---- */
static bool is_virama(uint32_t cp) {
    return utf8proc_get_property((utf8proc_int32_t)cp)->combining_class == 9;
}

static bool joins_nothing_behind(uint32_t cp) { /* Arabic letters of joining types R and U */
    static const range letters[] = {{0x621, 0x625}, {0x627, 0x627}, {0x629, 0x629}, {0x62F, 0x632}, {0x648, 0x648},
                                    {0x671, 0x677}, {0x688, 0x699}, {0x6C0, 0x6C0}, {0x6C3, 0x6CB}, {0x6CD, 0x6CD},
                                    {0x6CF, 0x6CF}, {0x6D2, 0x6D5}, {0x6DD, 0x6DD}, {0x6EE, 0x6EF}, {0x759, 0x75B},
                                    {0x76B, 0x76C}, {0x771, 0x771}, {0x773, 0x774}, {0x778, 0x779}};
    return IN(cp, letters);
}

static bool arabic_letter(uint32_t cp) {
    static const range blocks[] = {{0x620, 0x64A}, {0x66E, 0x66F}, {0x671, 0x6D5},
                                   {0x6EE, 0x6EF}, {0x6FA, 0x6FF}, {0x750, 0x77F}};
    return IN(cp, blocks) && utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LO;
}

static bool transparent(uint32_t cp) {
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN;
}

static bool breaks_a_join(const label *l, size_t i) {
    size_t a = i, b = i + 1;
    while (a > 0 && transparent(l->cp[a - 1]))
        a--;
    while (b < l->n && transparent(l->cp[b]))
        b++;
    return a > 0 && b < l->n && arabic_letter(l->cp[a - 1]) && !joins_nothing_behind(l->cp[a - 1]) &&
           arabic_letter(l->cp[b]) && l->cp[b] != 0x621 && l->cp[b] != 0x674;
}

static bool fits_context(const label *l, size_t i) {
    static const range greek[] = {{0x370, 0x373},   {0x375, 0x377},   {0x37A, 0x37D},  {0x37F, 0x37F},
                                  {0x384, 0x384},   {0x386, 0x386},   {0x388, 0x3E1},  {0x3F0, 0x3FF},
                                  {0x1D26, 0x1D2A}, {0x1D5D, 0x1D61}, {0x1F00, 0x1FFE}};
    static const range hebrew[] = {{0x591, 0x5C7}, {0x5D0, 0x5EA}, {0x5EF, 0x5F4}, {0xFB1D, 0xFB4F}};
    static const range east_asian[] = {{0x2E80, 0x2FD5},   {0x3005, 0x3007},  {0x3021, 0x3029}, {0x3038, 0x303B},
                                       {0x3041, 0x3096},   {0x309D, 0x309F},  {0x30A1, 0x30FA}, {0x30FD, 0x30FF},
                                       {0x31F0, 0x31FF},   {0x3400, 0x4DBF},  {0x4E00, 0x9FFF}, {0xF900, 0xFAD9},
                                       {0x1B000, 0x1B167}, {0x20000, 0x323AF}};
    uint32_t cp = l->cp[i], before = i > 0 ? l->cp[i - 1] : 0, behind = i + 1 < l->n ? l->cp[i + 1] : 0;
    switch (cp) {
    case 0x200C: return is_virama(before) || breaks_a_join(l, i);
    case 0x200D: return is_virama(before);
    case 0xB7: return before == 'l' && behind == 'l';
    case 0x375: return IN(behind, greek);
    case 0x5F3:
    case 0x5F4: return IN(before, hebrew);
    default: break;
    }
    for (size_t k = 0; k < l->n; k++) {
        uint32_t other = l->cp[k];
        if (cp == 0x30FB && IN(other, east_asian))
            return true;
        if ((cp >= 0x660 && cp <= 0x669 && other >= 0x6F0 && other <= 0x6F9) ||
            (cp >= 0x6F0 && cp <= 0x6F9 && other >= 0x660 && other <= 0x669))
            return false;
    }
    return cp != 0x30FB;
}

/* ---- direction (RFC 5893) ---- */
#define BIDI(x) (1u << UTF8PROC_BIDI_CLASS_##x)
static uint32_t bidi(uint32_t cp) {
    return 1u << utf8proc_get_property((utf8proc_int32_t)cp)->bidi_class;
}

static bool has_right_to_left(const label *l) {
    bool any = false;
    for (size_t i = 0; i < l->n; i++)
        any |= (bidi(l->cp[i]) & (BIDI(R) | BIDI(AL) | BIDI(AN))) != 0;
    return any;
}

static bool fits_direction(const label *l) {
    const uint32_t both = BIDI(EN) | BIDI(ES) | BIDI(CS) | BIDI(ET) | BIDI(ON) | BIDI(BN) | BIDI(NSM);
    uint32_t first = bidi(l->cp[0]), all = 0;
    size_t end = l->n;
    for (size_t i = 0; i < l->n; i++)
        all |= bidi(l->cp[i]);
    while (end > 0 && bidi(l->cp[end - 1]) == BIDI(NSM))
        end--;
    uint32_t last = end > 0 ? bidi(l->cp[end - 1]) : 0;
    if (first == BIDI(L))
        return (all & ~(both | BIDI(L))) == 0 && (last & (BIDI(L) | BIDI(EN)));
    return (first & (BIDI(R) | BIDI(AL))) && (all & ~(both | BIDI(R) | BIDI(AL) | BIDI(AN))) == 0 &&
           (last & (BIDI(R) | BIDI(AL) | BIDI(EN) | BIDI(AN))) && !((all & BIDI(EN)) && (all & BIDI(AN)));
}

/* ---- labels and names ---- */

static bool is_mark(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

static bool is_composed(const label *l) {
    utf8proc_int32_t out[4 * MAX_LABEL];
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)l->cp[i], out + n,
                                                     (utf8proc_ssize_t)(ARRAY_LEN(out) - n), UTF8PROC_COMPOSE, NULL);
        if (k < 0 || (size_t)k > ARRAY_LEN(out) - n)
            return false;
        n += (size_t)k;
    }
    for (size_t i = 1; i < n; i++) /* canonical order: insertion by combining class */
        for (size_t k = i; k > 0; k--) {
            int a = utf8proc_get_property(out[k - 1])->combining_class,
                b = utf8proc_get_property(out[k])->combining_class;
            if (b == 0 || a <= b)
                break;
            utf8proc_int32_t swap = out[k];
            out[k] = out[k - 1];
            out[k - 1] = swap;
        }
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(out, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE);
    return composed == (utf8proc_ssize_t)l->n && memcmp(out, l->cp, l->n * sizeof *out) == 0;
}

static bool is_u_label(const label *l) {
    char text[MAX_LABEL];
    if (l->n == 0 || l->cp[0] == '-' || l->cp[l->n - 1] == '-' || is_mark(l->cp[0]) || !is_composed(l))
        return false;
    if (l->n > 3 && l->cp[2] == '-' && l->cp[3] == '-')
        return false;
    for (size_t i = 0; i < l->n; i++) {
        derived d = derive(l->cp[i]);
        if (d == DISALLOWED || (d == CONTEXT && !fits_context(l, i)))
            return false;
    }
    size_t n = punycode_encode(l, text);
    return n > 0 && n + 4 <= MAX_LABEL;
}

static bool is_prefixed(const char *p, size_t n) {
    return n >= 4 && (p[0] | 32) == 'x' && (p[1] | 32) == 'n' && p[2] == '-' && p[3] == '-';
}

/* An "xn--" label: what it stands for is a label, and has no other spelling. */
static bool a_label(const char *p, size_t n, label *l) {
    char again[MAX_LABEL];
    if (n > MAX_LABEL || !punycode_decode(p + 4, n - 4, l) || !is_u_label(l))
        return false;
    bool other = false;
    for (size_t i = 0; i < l->n; i++)
        other |= l->cp[i] >= 0x80;
    size_t k = punycode_encode(l, again);
    bool same = k == n - 4;
    for (size_t i = 0; i < k && same; i++)
        same = (p[4 + i] >= 'A' && p[4 + i] <= 'Z' ? p[4 + i] + 32 : p[4 + i]) == again[i];
    return other && same;
}

static bool ldh_label(const char *p, size_t n, label *l) {
    if (n == 0 || n > MAX_LABEL || p[0] == '-' || p[n - 1] == '-')
        return false;
    if (is_prefixed(p, n))
        return a_label(p, n, l);
    for (l->n = 0; l->n < n; l->n++) {
        char c = p[l->n];
        if (!(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z') && c != '-')
            return false;
        l->cp[l->n] = (uint8_t)c;
    }
    return true;
}

/* Divides the text; false: some label is none. *rtl: one of them reads from right to left. n_ascii: length in ASCII. */
static bool read_labels(const char *p, size_t n, bool check_direction, bool *rtl, size_t *n_ascii) {
    size_t from = 0;
    *n_ascii = 0;
    for (size_t at = 0; at <= n;) {
        uint32_t cp = 0;
        size_t k = at < n ? utf8_decode(p + at, n - at, &cp) : 1;
        if (k == 0)
            return false;
        if (at < n && cp != '.' && cp != 0x3002 && cp != 0xFF0E && cp != 0xFF61) {
            at += k;
            continue;
        }
        label l = {.ascii = true};
        char text[MAX_LABEL];
        size_t length = at - from;
        for (size_t i = from; i < at; i++)
            l.ascii &= (uint8_t)p[i] < 0x80;
        if (!l.ascii) {
            for (size_t i = from; i < at && l.n < MAX_LABEL; l.n++)
                i += utf8_decode(p + i, at - i, &l.cp[l.n]);
            length = is_u_label(&l) && utf8_count(p + from, at - from) == l.n ? punycode_encode(&l, text) + 4 : 0;
        } else if (!ldh_label(p + from, length, &l)) {
            length = 0;
        }
        if (length == 0 || (check_direction && !fits_direction(&l)))
            return false;
        *rtl |= has_right_to_left(&l);
        *n_ascii += length + (from > 0);
        at += k;
        from = at;
    }
    return true;
}

bool idn_hostname(const char *p, size_t n) {
    bool rtl = false;
    size_t n_ascii;
    if (n > 4 * MAX_NAME || !read_labels(p, n, false, &rtl, &n_ascii) || n_ascii > MAX_NAME)
        return false;
    return !rtl || read_labels(p, n, true, &rtl, &n_ascii);
}

bool idn_ascii_hostname(const char *p, size_t n) {
    for (size_t i = 0; i + 4 <= n; i++)
        if ((i == 0 || p[i - 1] == '.') && is_prefixed(p + i, n - i))
            return idn_hostname(p, n);
    return true;
}
