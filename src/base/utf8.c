/* UTF-8, strictly (RFC 3629; Unicode 15, table 3-7). Owns: what is well-formed and how long an ill-formed part is.
 * Refuses: overlong forms, surrogates, code points past U+10FFFF.
 *
 * Idea: one scanner knows table 3-7. It tells how many bytes agree with the table, and whether they are a whole
 * character; decoding, replacing (one U+FFFD for each maximal part, Unicode 3.9) and holding back follow from that. */
#include "base/utf8.h"

typedef struct scan {
    size_t n;    /* bytes that agree with the table, at least 1 (a wrong first byte is a part of its own) */
    size_t need; /* length of the character that the first byte begins; 0 for a wrong first byte */
} scan;

/* n > 0. Whole character: n == need. */
static scan scan_character(const uint8_t *p, size_t n) {
    uint8_t first = p[0];
    uint8_t low = 0x80, high = 0xBF; /* bounds of the second byte */
    size_t need;
    if (first < 0x80) {
        return (scan){1, 1};
    } else if (first >= 0xC2 && first <= 0xDF) {
        need = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        need = 3;
        low = first == 0xE0 ? 0xA0 : low;
        high = first == 0xED ? 0x9F : high;
    } else if (first >= 0xF0 && first <= 0xF4) {
        need = 4;
        low = first == 0xF0 ? 0x90 : low;
        high = first == 0xF4 ? 0x8F : high;
    } else {
        return (scan){1, 0};
    }
    size_t i = 1;
    while (i < need && i < n && p[i] >= low && p[i] <= high) {
        low = 0x80;
        high = 0xBF;
        i++;
    }
    return (scan){i, need};
}

size_t utf8_decode(const char *p, size_t n, uint32_t *cp) {
    if (n == 0) {
        return 0;
    }
    const uint8_t *b = (const uint8_t *)p;
    scan s = scan_character(b, n);
    if (s.n != s.need) {
        return 0;
    }
    static const uint8_t first_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t v = b[0] & first_mask[s.need];
    for (size_t i = 1; i < s.need; i++) {
        v = v << 6 | (b[i] & 0x3F);
    }
    *cp = v;
    return s.need;
}

size_t utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) {
        return 0;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool utf8_valid(const char *p, size_t n) {
    const uint8_t *b = (const uint8_t *)p;
    for (size_t at = 0; at < n;) {
        scan s = scan_character(b + at, n - at);
        if (s.n != s.need) {
            return false;
        }
        at += s.n;
    }
    return true;
}

size_t utf8_incomplete_tail(const char *p, size_t n) {
    const uint8_t *b = (const uint8_t *)p;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        uint8_t c = b[n - back];
        if ((c & 0xC0) == 0x80) {
            continue; /* a continuation byte: the beginning is further left */
        }
        scan s = scan_character(b + n - back, back);
        return s.n == back && s.n < s.need ? back : 0;
    }
    return 0;
}

void utf8_append_replaced(str *out, const char *p, size_t n) {
    const uint8_t *b = (const uint8_t *)p;
    size_t good_from = 0;
    for (size_t at = 0; at < n;) {
        scan s = scan_character(b + at, n - at);
        if (s.n != s.need) {
            str_append(out, p + good_from, at - good_from);
            str_append(out, "\xEF\xBF\xBD", 3);
            good_from = at + s.n;
        }
        at += s.n;
    }
    if (good_from < n) {
        str_append(out, p + good_from, n - good_from);
    }
}

size_t utf8_count(const char *p, size_t n) {
    const uint8_t *b = (const uint8_t *)p;
    size_t count = 0;
    for (size_t at = 0; at < n; count++) {
        scan s = scan_character(b + at, n - at);
        at += s.n == s.need ? s.n : 1;
    }
    return count;
}
