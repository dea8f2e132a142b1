/* Words, features, and the set: for each feature the texts that have it, so a search looks only at texts that share
 * something. */
#include "agent/wording.h"

#include "base/hash.h"
#include "base/mem.h"

/* ---- words ---- */

static bool is_letter(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}

/* An apostrophe, straight or curled (U+2019), inside a word; its bytes. */
static size_t apostrophe(const char *p, size_t n) {
    if (n > 0 && *p == '\'')
        return 1;
    return n > 2 && memcmp(p, "\xE2\x80\x99", 3) == 0 ? 3 : 0;
}

static bool is_word_byte(unsigned char c) {
    return is_letter(c) || is_digit(c);
}

/* A letter or digit, a slot, or a '#' that stands alone: a number that was masked. */
static bool begins_word(const char *p, const char *end) {
    if (*p == '#')
        return p + 1 == end || !is_word_byte((unsigned char)p[1]);
    return *p == '{' || (is_word_byte((unsigned char)*p) && apostrophe(p, (size_t)(end - p)) == 0);
}

/* The next word, small, without apostrophes; "#" for one with a digit and for a slot. false: there is none. */
static bool next_word(const char **at, const char *end, str *word) {
    const char *p = *at;
    bool number = false;
    str_clear(word);
    while (p < end && !begins_word(p, end))
        p += MAX(apostrophe(p, (size_t)(end - p)), (size_t)1);
    if (p == end)
        return false;
    if (*p == '{' || *p == '#') {
        const char *close = *p == '{' ? memchr(p, '}', (size_t)(end - p)) : NULL;
        *at = close ? close + 1 : p + 1;
        str_append_c(word, '#');
        return true;
    }
    while (p < end) {
        size_t skip = apostrophe(p, (size_t)(end - p));
        unsigned char c = (unsigned char)*p;
        if (!skip && !is_word_byte(c))
            break;
        number = number || is_digit(c);
        if (!skip)
            str_append_c(word, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
        p += skip ? skip : 1;
    }
    *at = p;
    if (number) {
        str_clear(word);
        str_append_c(word, '#');
    }
    return true;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The k-th of equal features becomes another one, so that a set of them counts like a bag. */
static void number_equal(uint64_t *f, uint32_t n) {
    qsort(f, n, sizeof *f, compare);
    uint64_t before = 0;
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        k = i > 0 && f[i] == before ? k + 1 : 0;
        before = f[i];
        if (k > 0)
            f[i] = hash64(&k, sizeof k, before);
    }
    qsort(f, n, sizeof *f, compare);
}

static muga_status make_features(const uint64_t *words, wording *w, muga_error *err) {
    uint32_t n = w->n_words;
    w->features = mem_alloc_array(2 * (size_t)n + 1, sizeof *w->features);
    w->grams = mem_alloc_array((size_t)n + 1, sizeof *w->grams);
    if (!w->features || !w->grams)
        return error_nomem(err, "a text's words");
    for (uint32_t i = 0; i < n; i++) {
        w->features[w->n_features++] = words[i];
        if (i + 1 < n)
            w->features[w->n_features++] = hash64(&words[i], 2 * sizeof *words, 2);
        if (i + WORDING_GRAM <= n)
            w->grams[w->n_grams++] = hash64(&words[i], WORDING_GRAM * sizeof *words, 4);
    }
    w->whole = hash64(words, n * sizeof *words, 1);
    qsort(w->grams, w->n_grams, sizeof *w->grams, compare);
    uint32_t n_again = 0;
    for (uint32_t i = 1; i < w->n_grams; i++)
        n_again += w->grams[i] == w->grams[i - 1];
    w->repeats = n_again > 2 && n_again * 3 >= w->n_grams;
    number_equal(w->features, w->n_features);
    return MUGA_OK;
}

muga_status wording_of(const char *text, size_t n, wording *out, muga_error *err) {
    const char *at = text, *end = text + n;
    str word = STR_INIT;
    uint64_t words[WORDING_MAX_WORDS], before = 0;
    const uint64_t number = hash64("#", 1, 1);
    *out = (wording){.is_empty = true};
    while (out->n_words < WORDING_MAX_WORDS && next_word(&at, end, &word)) {
        uint64_t h = hash64(str_get(&word), word.len, 1);
        if (h != number || before != number)
            words[out->n_words++] = h;
        out->is_empty = out->is_empty && h == number;
        before = h;
    }
    muga_status st = str_status(&word, err, "a word");
    str_release(&word);
    return st ? st : make_features(words, out, err);
}

void wording_release(wording *w) {
    free(w->features);
    free(w->grams);
    *w = (wording){.n_words = 0};
}

/* ---- the set ---- */

typedef struct posting {
    uint64_t key; /* 0: empty slot */
    uint32_t *texts;
    uint32_t n, cap;
} posting;

typedef struct table {
    posting *slots;
    uint32_t n, cap; /* cap a power of two, or 0 */
} table;

struct wording_set {
    table features, wholes, grams; /* the last two without texts */
    uint32_t *sizes, *shared;      /* [cap] features of each text; features in common while a search runs */
    uint32_t *touched;             /* [cap] */
    uint32_t n, cap;
};

static posting *slot_of(const table *t, uint64_t key) {
    uint32_t i = (uint32_t)(key ^ key >> 32) & (t->cap - 1);
    while (t->slots[i].key && t->slots[i].key != key)
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static const posting *table_find(const table *t, uint64_t key) {
    const posting *p = t->cap ? slot_of(t, key ? key : 1) : NULL;
    return p && p->key ? p : NULL;
}

static bool table_grow(table *t) {
    table wider = {.n = t->n, .cap = t->cap ? t->cap * 2 : 64};
    if (t->cap > UINT32_MAX / 4 || !(wider.slots = mem_alloc_array(wider.cap, sizeof *wider.slots)))
        return false;
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->slots[i].key)
            *slot_of(&wider, t->slots[i].key) = t->slots[i];
    free(t->slots);
    *t = wider;
    return true;
}

/* NULL: out of memory. */
static posting *table_add(table *t, uint64_t key) {
    if (t->n >= t->cap / 2 && !table_grow(t))
        return NULL;
    key = key ? key : 1;
    posting *p = slot_of(t, key);
    t->n += p->key == 0;
    p->key = key;
    return p;
}

static void table_release(table *t) {
    for (uint32_t i = 0; i < t->cap; i++)
        free(t->slots[i].texts);
    free(t->slots);
}

static bool posting_push(posting *p, uint32_t text) {
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 2;
        uint32_t *more = mem_resize_array(p->texts, cap, sizeof *more);
        if (!more)
            return false;
        p->texts = more;
        p->cap = cap;
    }
    p->texts[p->n++] = text;
    return true;
}

muga_status wording_set_new(wording_set **out, muga_error *err) {
    *out = mem_alloc_array(1, sizeof **out);
    return *out ? MUGA_OK : error_nomem(err, "a set of texts");
}

void wording_set_free(wording_set *s) {
    if (!s)
        return;
    table_release(&s->features);
    table_release(&s->wholes);
    table_release(&s->grams);
    free(s->sizes);
    free(s->shared);
    free(s->touched);
    free(s);
}

static bool grow(wording_set *s) {
    uint32_t cap = s->cap ? s->cap * 2 : 64;
    uint32_t **arrays[] = {&s->sizes, &s->shared, &s->touched};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++) {
        uint32_t *more = mem_resize_array(*arrays[i], cap, sizeof *more);
        if (!more)
            return false;
        memset(more + s->cap, 0, (cap - s->cap) * sizeof *more);
        *arrays[i] = more;
    }
    s->cap = cap;
    return true;
}

muga_status wording_set_add(wording_set *s, const wording *w, muga_error *err) {
    bool ok = (s->n < s->cap || (s->cap < UINT32_MAX / 4 && grow(s))) && table_add(&s->wholes, w->whole);
    for (uint32_t i = 0; ok && i < w->n_grams; i++)
        ok = table_add(&s->grams, w->grams[i]) != NULL;
    for (uint32_t i = 0; ok && i < w->n_features; i++) {
        posting *p = table_add(&s->features, w->features[i]);
        ok = p && posting_push(p, s->n);
    }
    if (!ok)
        return error_nomem(err, "a set of texts");
    s->sizes[s->n++] = w->n_features;
    return MUGA_OK;
}

uint32_t wording_set_size(const wording_set *s) {
    return s->n;
}

wording_match wording_set_find(wording_set *s, const wording *w) {
    wording_match best = {.i = UINT32_MAX, .is_same = table_find(&s->wholes, w->whole) != NULL};
    uint32_t n_touched = 0;
    for (uint32_t i = 0; i < w->n_features; i++) {
        const posting *p = table_find(&s->features, w->features[i]);
        for (uint32_t k = 0; p && k < p->n && p->texts[k] < s->n; k++)
            if (s->shared[p->texts[k]]++ == 0)
                s->touched[n_touched++] = p->texts[k];
    }
    for (uint32_t k = 0; k < n_touched; k++) {
        uint32_t i = s->touched[k];
        double d = 2.0 * s->shared[i] / ((double)s->sizes[i] + w->n_features);
        if (d > best.likeness || (d == best.likeness && i < best.i))
            best = (wording_match){d, i, best.is_same};
        s->shared[i] = 0;
    }
    return best;
}

uint32_t wording_set_count_grams(const wording_set *s, const wording *w) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n_grams; i++)
        n += table_find(&s->grams, w->grams[i]) != NULL;
    return n;
}
