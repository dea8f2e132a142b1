/* Sets of code points and their UTF-8 spelling. Owns: the ranges. Refuses: nothing; a failed allocation is remembered
 * in the set. Idea: a range of code points is a few sequences of byte ranges, found by splitting where the length of
 * the encoding or a lead byte changes. */
#include "constrain/dfa.h"

#include "base/mem.h"

void cp_add(cp_set *s, uint32_t lo, uint32_t hi) {
    if (s->failed || lo > hi)
        return;
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 8;
        cp_range *r = mem_resize_array(s->r, cap, sizeof *r);
        if (!r) {
            s->failed = true;
            return;
        }
        s->r = r;
        s->cap = cap;
    }
    s->r[s->n++] = (cp_range){lo, hi};
}

void cp_add_set(cp_set *s, const cp_set *from) {
    for (size_t i = 0; i < from->n; i++)
        cp_add(s, from->r[i].lo, from->r[i].hi);
    if (from->failed)
        s->failed = true;
}

static int range_compare(const void *x, const void *y) {
    const cp_range *a = x, *b = y;
    return a->lo < b->lo ? -1 : a->lo > b->lo;
}

void cp_normalise(cp_set *s) {
    if (s->n < 2)
        return;
    qsort(s->r, s->n, sizeof *s->r, range_compare);
    size_t w = 0;
    for (size_t i = 1; i < s->n; i++) {
        if (s->r[i].lo <= s->r[w].hi || s->r[i].lo == s->r[w].hi + 1)
            s->r[w].hi = MAX(s->r[w].hi, s->r[i].hi);
        else
            s->r[++w] = s->r[i];
    }
    s->n = w + 1;
}

void cp_negate(cp_set *s) {
    cp_add(s, 0xD800, 0xDFFF);
    cp_normalise(s);
    cp_set out = {0};
    uint32_t at = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->r[i].lo > at)
            cp_add(&out, at, s->r[i].lo - 1);
        at = s->r[i].hi + 1;
    }
    if (at <= CP_MAX)
        cp_add(&out, at, CP_MAX);
    out.failed |= s->failed;
    free(s->r);
    *s = out;
}

void cp_release(cp_set *s) {
    free(s->r);
    memset(s, 0, sizeof *s);
}

static size_t encode(uint32_t cp, uint8_t out[4]) {
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xC0 | cp >> 6);
        out[1] = (uint8_t)(0x80 | (cp & 63));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (uint8_t)(0xE0 | cp >> 12);
        out[1] = (uint8_t)(0x80 | (cp >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | cp >> 18);
    out[1] = (uint8_t)(0x80 | (cp >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (cp >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (cp & 63));
    return 4;
}

/* lo and hi have the same length of encoding. Recursion at most 3 deep a side: each level aligns one more byte. */
static bool split_same_length(uint32_t lo, uint32_t hi, size_t n, bool (*each)(void *, const utf8_seq *), void *ctx) {
    for (size_t i = 1; i < n; i++) {
        uint32_t low_bits = (1u << (6 * i)) - 1;
        if ((lo & ~low_bits) == (hi & ~low_bits))
            continue;
        if ((lo & low_bits) != 0)
            return split_same_length(lo, lo | low_bits, n, each, ctx) &&
                   split_same_length((lo | low_bits) + 1, hi, n, each, ctx);
        if ((hi & low_bits) != low_bits)
            return split_same_length(lo, (hi & ~low_bits) - 1, n, each, ctx) &&
                   split_same_length(hi & ~low_bits, hi, n, each, ctx);
    }
    utf8_seq q = {.n = (uint8_t)n};
    encode(lo, q.lo);
    encode(hi, q.hi);
    return each(ctx, &q);
}

bool utf8_split(uint32_t lo, uint32_t hi, bool (*each)(void *ctx, const utf8_seq *q), void *ctx) {
    static const cp_range lengths[] = {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, CP_MAX}};
    static const uint8_t n_bytes[] = {1, 2, 3, 3, 4};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        uint32_t a = MAX(lo, lengths[i].lo), b = MIN(hi, lengths[i].hi);
        if (a <= b && !split_same_length(a, b, n_bytes[i], each, ctx))
            return false;
    }
    return true;
}
