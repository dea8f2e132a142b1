/* Nearest examples by their words (retrieve.h). Owns: features, likeness, the votes. Refuses: more examples or labels
 * than the bounds. */
#include "agent/retrieve.h"

#include "agent/internal.h"
#include "base/hash.h"
#include "base/mem.h"

#include <math.h>
#include <utf8proc.h>

#define LAMBDA 0.2     /* by cross-checking the customer-service examples; 0.1 to 0.4 differ by under 1 % */
#define MAX_WORDS 1024 /* of one text; the rest says nothing new */
#define MAX_ROUNDS 200 /* of the solver; 4,800 examples take about 70 */
#define SOLVED 1e-12   /* squared residual, relative to what is to be solved */

typedef struct feature {
    uint64_t key;
    double weight;
} feature;

typedef struct bag {
    feature *f; /* by key */
    size_t n;
} bag;

typedef struct entry {
    uint32_t i; /* of the feature */
    double weight;
} entry;

typedef struct class_word {
    uint64_t word, name; /* hashes */
} class_word;

struct retrieve {
    size_t n, n_labels;
    class_word *classes; /* by word */
    size_t n_classes;
    uint64_t *keys; /* [n_features], ascending: every feature of an example */
    double *rarity; /* [n_features]; unseen: that of a feature no example has */
    double unseen;
    size_t n_features;
    size_t *start;  /* [n + 1]: example i has entries start[i] .. start[i + 1] */
    entry *entries; /* each example's scaled to length 1 */
    double *weight; /* [n_features][n_labels]: what each feature says for each label */
};

/* ---- features ---- */

/* Folded to lower case and compatibility forms, curly apostrophes straight. malloc'ed. */
static char *fold(const char *text, size_t n) {
    str clean = STR_INIT;
    for (size_t i = 0; i < n; i++) {
        bool curly = n - i >= 3 && memcmp(text + i, "\xE2\x80\x99", 3) == 0;
        str_append_c(&clean, curly ? '\'' : text[i] == '\0' ? ' ' : text[i]);
        i += curly ? 2 : 0;
    }
    char *folded = clean.failed ? NULL : (char *)utf8proc_NFKC_Casefold((const utf8proc_uint8_t *)str_get(&clean));
    if (!folded && !clean.failed) {
        folded = mem_copy_string(str_get(&clean)); /* not UTF-8 */
    }
    str_release(&clean);
    return folded;
}

static bool in_word(unsigned char c) {
    return c >= 0x80 || c == '\'' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Words in place: digits become 0, ! and ? and the mask are words of their own. */
static size_t split_words(char *text, span words[MAX_WORDS]) {
    size_t n = 0;
    for (char *p = text; *p && n < MAX_WORDS;) {
        char *begin = p;
        while (in_word((unsigned char)*p)) {
            *p = *p >= '0' && *p <= '9' ? '0' : *p;
            p++;
        }
        if (p == begin && *p++ != '!' && *begin != '?' && *begin != '\x01') {
            continue;
        }
        words[n++] = span_of(begin, (size_t)(p - begin));
    }
    return n;
}

static int by_key(const void *a, const void *b) {
    const feature *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static muga_status add(bag *b, size_t *cap, uint64_t key) {
    if (b->n == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        feature *f = mem_resize_array(b->f, more, sizeof *f);
        if (!f) {
            return MUGA_E_NOMEM;
        }
        b->f = f;
        *cap = more;
    }
    b->f[b->n++] = (feature){key, 1};
    return MUGA_OK;
}

static muga_status add_word(bag *b, size_t *cap, span word) {
    char padded[66];
    size_t len = MIN(word.n, sizeof padded - 2);
    padded[0] = padded[len + 1] = '_';
    memcpy(padded + 1, word.p, len);
    muga_status st = add(b, cap, hash64(word.p, word.n, 1));
    for (size_t k = 3; k <= 4; k++) {
        for (size_t i = 0; st == MUGA_OK && i + k <= len + 2; i++) {
            st = add(b, cap, hash64(padded + i, k, k));
        }
    }
    return st;
}

static uint64_t pair_key(span a, span b, uint64_t kind) {
    return hash64(b.p, b.n, hash64(a.p, a.n, kind));
}

/* ---- classes of words ---- */

static int by_word(const void *a, const void *b) {
    const class_word *x = a, *y = b;
    return x->word < y->word ? -1 : x->word > y->word;
}

static muga_status read_classes(retrieve *r, const json_t *classes, muga_error *err) {
    const char *name;
    json_t *words;
    json_object_foreach(json_borrow(classes), name, words) {
        const char *p = json_string_value(words);
        while (p && *(p += strspn(p, " \n\t"))) {
            size_t n = strcspn(p, " \n\t");
            class_word *more = mem_resize_array(r->classes, r->n_classes + 1, sizeof *more);
            if (!more) {
                return error_nomem(err, "word classes");
            }
            r->classes = more;
            more[r->n_classes++] = (class_word){hash64(p, n, 5), hash64(name, strlen(name), 6)};
            p += n;
        }
    }
    if (r->n_classes > 0) {
        qsort(r->classes, r->n_classes, sizeof *r->classes, by_word);
    }
    return MUGA_OK;
}

/* 0: the word is in no class. */
static uint64_t class_of(const retrieve *r, span word) {
    size_t n[3] = {word.n, word.n, word.n};
    n[1] -= word.n > 2 && memcmp(word.p + word.n - 2, "'s", 2) == 0 ? 2 : 0;
    n[2] -= word.n > 1 && word.p[word.n - 1] == 's' ? 1 : 0;
    for (size_t i = 0; i < ARRAY_LEN(n) && r->n_classes > 0; i++) {
        const class_word key = {hash64(word.p, n[i], 5), 0};
        const class_word *found = bsearch(&key, r->classes, r->n_classes, sizeof key, by_word);
        if (found) {
            return found->name;
        }
    }
    return 0;
}

/* A word's class counts twice, and so does each pair of neighbours of which one has a class. */
static muga_status add_classes(const retrieve *r, bag *b, size_t *cap, const span *words, size_t n) {
    muga_status st = MUGA_OK;
    uint64_t before = hash64("^", 1, 5), before_class = 0;
    for (size_t i = 0; st == MUGA_OK && n > 0 && i <= n; i++) {
        uint64_t c = i < n ? class_of(r, words[i]) : 0;
        uint64_t me = c ? c : i < n ? hash64(words[i].p, words[i].n, 5) : hash64("$", 1, 5);
        for (int twice = 0; st == MUGA_OK && c && twice < 2; twice++) {
            st = add(b, cap, hash64(&c, sizeof c, 7));
        }
        const uint64_t pair[2] = {before, me};
        for (int twice = 0; st == MUGA_OK && (c || before_class) && twice < 2; twice++) {
            st = add(b, cap, hash64(pair, sizeof pair, 8));
        }
        before = me;
        before_class = c;
    }
    return st;
}

/* Sum what is equal. */
static void finish_bag(bag *b) {
    if (b->n > 0) {
        qsort(b->f, b->n, sizeof *b->f, by_key);
    }
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (n > 0 && b->f[n - 1].key == b->f[i].key) {
            b->f[n - 1].weight += 1;
        } else {
            b->f[n++] = b->f[i];
        }
    }
    b->n = n;
}

static muga_status make_bag(const retrieve *r, const char *text, size_t n, bag *out, muga_error *err) {
    span *words = mem_alloc_array(MAX_WORDS, sizeof *words);
    char *folded = fold(text, n);
    muga_status st = words && folded ? MUGA_OK : MUGA_E_NOMEM;
    size_t cap = 0, n_words = st == MUGA_OK ? split_words(folded, words) : 0;
    const span edge[2] = {span_of("^", 1), span_of("$", 1)};
    for (size_t i = 0; st == MUGA_OK && i < n_words; i++) {
        st = add_word(out, &cap, words[i]);
    }
    for (size_t i = 0; st == MUGA_OK && n_words > 0 && i <= n_words; i++) {
        span before = i ? words[i - 1] : edge[0];
        st = add(out, &cap, pair_key(before, i < n_words ? words[i] : edge[1], 2));
        if (st == MUGA_OK && i < n_words) {
            st = add(out, &cap, pair_key(before, i + 1 < n_words ? words[i + 1] : edge[1], 9));
        }
    }
    st = st == MUGA_OK ? add_classes(r, out, &cap, words, n_words) : st;
    free(words);
    free(folded);
    if (st != MUGA_OK) {
        return error_nomem(err, "the examples");
    }
    finish_bag(out);
    return MUGA_OK;
}

/* ---- the examples as a matrix ---- */

/* x^(1/8), so that a word of one example in a thousand weighs some twice what a word of them all does. */
static double rarity_of(size_t n_with, size_t n) {
    return sqrt(sqrt(sqrt((double)n / (double)n_with)));
}

static int by_number(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static muga_status make_vocabulary(retrieve *r, const bag *bags, muga_error *err) {
    size_t n = 0, at = 0;
    for (size_t i = 0; i < r->n; i++) {
        n += bags[i].n;
    }
    uint64_t *keys = mem_alloc_array(n, sizeof *keys);
    r->start = mem_alloc_array(r->n + 1, sizeof *r->start);
    r->entries = mem_alloc_array(n, sizeof *r->entries);
    if (!keys || !r->start || !r->entries) {
        free(keys);
        return error_nomem(err, "the examples");
    }
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; k < bags[i].n; k++) {
            keys[at++] = bags[i].f[k].key;
        }
    }
    qsort(keys, n, sizeof *keys, by_number);
    for (size_t i = 0; i < n; i++) {
        r->n_features += i == 0 || keys[i] != keys[i - 1];
    }
    r->keys = mem_alloc_array(r->n_features, sizeof *r->keys);
    r->rarity = mem_alloc_array(r->n_features, sizeof *r->rarity);
    muga_status st = r->keys && r->rarity ? MUGA_OK : error_nomem(err, "the examples");
    at = 0;
    for (size_t from = 0, end; st == MUGA_OK && from < n; from = end) {
        for (end = from; end < n && keys[end] == keys[from]; end++) {}
        r->keys[at] = keys[from];
        r->rarity[at++] = rarity_of(end - from, r->n);
    }
    r->unseen = rarity_of(1, r->n);
    free(keys);
    return st;
}

/* A bag's known features with their weights, the whole bag scaled to length 1. out: [b->n]; returns how many. */
static size_t weigh(const retrieve *r, const bag *b, entry *out) {
    size_t n = 0;
    double sum = 0;
    for (size_t i = 0; i < b->n; i++) {
        const uint64_t *found = bsearch(&b->f[i].key, r->keys, r->n_features, sizeof *r->keys, by_number);
        double rarity = found ? r->rarity[found - r->keys] : r->unseen;
        sum += b->f[i].weight * rarity * rarity;
        if (found) {
            out[n++] = (entry){(uint32_t)(found - r->keys), sqrt(b->f[i].weight) * rarity};
        }
    }
    double length = sqrt(sum);
    for (size_t i = 0; i < n; i++) {
        out[i].weight /= length;
    }
    return n;
}

/* out[n_features][n_labels] = X' v, v [n][n_labels] */
static void spread(const retrieve *r, const double *v, double *out) {
    size_t n_labels = r->n_labels;
    memset(out, 0, r->n_features * n_labels * sizeof *out);
    for (size_t i = 0; i < r->n; i++) {
        const double *from = v + i * n_labels;
        for (size_t k = r->start[i]; k < r->start[i + 1]; k++) {
            double *to = out + r->entries[k].i * n_labels, w = r->entries[k].weight;
            for (size_t l = 0; l < n_labels; l++) {
                to[l] += w * from[l];
            }
        }
    }
}

/* to[n_labels] += x' u, x a row of entries */
static void gather(const retrieve *r, const entry *x, size_t n, const double *u, double *to) {
    for (size_t k = 0; k < n; k++) {
        const double *from = u + x[k].i * r->n_labels, w = x[k].weight;
        for (size_t l = 0; l < r->n_labels; l++) {
            to[l] += w * from[l];
        }
    }
}

/* ---- votes ---- */

/* out[l] = sum over i of a[i][l] b[i][l] */
static void dots(const double *a, const double *b, size_t n, size_t n_labels, double *out) {
    memset(out, 0, n_labels * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        for (size_t l = 0; l < n_labels; l++) {
            out[l] += a[i * n_labels + l] * b[i * n_labels + l];
        }
    }
}

/* (X X' + lambda I) a = y for every label at once, by conjugate gradients (Hestenes and Stiefel 1952). In: rest = p =
 * y, a = 0. Out: a. u [n_features][n_labels] and q [n][n_labels] are for its use. */
static void solve(const retrieve *r, double *a, double *rest, double *p, double *q, double *u) {
    double size[RETRIEVE_MAX_LABELS], first[RETRIEVE_MAX_LABELS], next[RETRIEVE_MAX_LABELS], step[RETRIEVE_MAX_LABELS];
    size_t n_labels = r->n_labels;
    bool done = false;
    dots(rest, rest, r->n, n_labels, size);
    memcpy(first, size, sizeof first);
    for (int round = 0; round < MAX_ROUNDS && !done; round++) {
        spread(r, p, u);
        for (size_t i = 0; i < r->n; i++) {
            double *to = q + i * n_labels;
            for (size_t l = 0; l < n_labels; l++) {
                to[l] = LAMBDA * p[i * n_labels + l];
            }
            gather(r, r->entries + r->start[i], r->start[i + 1] - r->start[i], u, to);
        }
        dots(p, q, r->n, n_labels, step);
        for (size_t l = 0; l < n_labels; l++) {
            step[l] = step[l] > 0 ? size[l] / step[l] : 0; /* a label without examples: nothing to solve */
        }
        for (size_t i = 0; i < r->n * n_labels; i++) {
            a[i] += step[i % n_labels] * p[i];
            rest[i] -= step[i % n_labels] * q[i];
        }
        dots(rest, rest, r->n, n_labels, next);
        done = true;
        for (size_t l = 0; l < n_labels; l++) {
            step[l] = size[l] > 0 ? next[l] / size[l] : 0;
            done = done && next[l] <= SOLVED * first[l];
            size[l] = next[l];
        }
        for (size_t i = 0; i < r->n * n_labels; i++) {
            p[i] = rest[i] + step[i % n_labels] * p[i];
        }
    }
}

static muga_status find_votes(retrieve *r, const retrieve_example *examples, muga_error *err) {
    size_t n = r->n * r->n_labels;
    double *a = mem_alloc_array(n, sizeof *a), *rest = mem_alloc_array(n, sizeof *rest),
           *p = mem_alloc_array(n, sizeof *p), *q = mem_alloc_array(n, sizeof *q);
    r->weight = mem_alloc_array(r->n_features * r->n_labels, sizeof *r->weight);
    bool ok = a && rest && p && q && r->weight;
    for (size_t i = 0; ok && i < n; i++) {
        a[i] = 0;
        rest[i] = p[i] = examples[i / r->n_labels].labels >> (i % r->n_labels) & 1 ? 1 : 0;
    }
    if (ok) {
        solve(r, a, rest, p, q, r->weight);
        spread(r, a, r->weight);
    }
    free(a);
    free(rest);
    free(p);
    free(q);
    return ok ? MUGA_OK : error_nomem(err, "the examples");
}

static muga_status build(retrieve *r, const retrieve_example *examples, bag *bags, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < r->n; i++) {
        st = make_bag(r, examples[i].text, strlen(examples[i].text), &bags[i], err);
    }
    st = st == MUGA_OK ? make_vocabulary(r, bags, err) : st;
    for (size_t i = 0, at = 0; st == MUGA_OK && i < r->n; i++) {
        r->start[i] = at;
        at += weigh(r, &bags[i], r->entries + at);
        r->start[i + 1] = at;
    }
    return st == MUGA_OK ? find_votes(r, examples, err) : st;
}

muga_status retrieve_new(const retrieve_example *examples, size_t n, size_t n_labels, const json_t *classes,
                         retrieve **out, muga_error *err) {
    if (n == 0 || n > RETRIEVE_MAX_EXAMPLES || n_labels == 0 || n_labels > RETRIEVE_MAX_LABELS) {
        return error_set(err, MUGA_E_LIMIT, "%zu examples for %zu labels; 1 to %u and 1 to %u are possible", n,
                         n_labels, RETRIEVE_MAX_EXAMPLES, RETRIEVE_MAX_LABELS);
    }
    retrieve *r = calloc(1, sizeof *r);
    bag *bags = mem_alloc_array(n, sizeof *bags);
    muga_status st = r && bags ? MUGA_OK : error_nomem(err, "the examples");
    if (st == MUGA_OK) {
        *r = (retrieve){.n = n, .n_labels = n_labels};
        st = read_classes(r, classes, err);
    }
    st = st == MUGA_OK ? build(r, examples, bags, err) : st;
    for (size_t i = 0; bags && i < n; i++) {
        free(bags[i].f);
    }
    free(bags);
    if (st == MUGA_OK) {
        *out = r;
    } else {
        retrieve_free(r);
    }
    return st;
}

void retrieve_free(retrieve *r) {
    if (!r) {
        return;
    }
    free(r->classes);
    free(r->keys);
    free(r->rarity);
    free(r->start);
    free(r->entries);
    free(r->weight);
    free(r);
}

/* Keep the nearest: hits is sorted, one more comes in. */
static void insert_hit(retrieve_hit *hits, size_t *n, size_t max, retrieve_hit h) {
    size_t at = *n;
    while (at > 0 && hits[at - 1].likeness < h.likeness) {
        at--;
    }
    if (at >= max) {
        return;
    }
    *n = MIN(*n + 1, max);
    for (size_t k = *n - 1; k > at; k--) {
        hits[k] = hits[k - 1];
    }
    hits[at] = h;
}

static muga_status find_hits(const retrieve *r, const entry *x, size_t n, retrieve_hit *hits, size_t *n_hits,
                             muga_error *err) {
    size_t max = *n_hits;
    *n_hits = 0;
    double *dense = max ? mem_alloc_array(r->n_features, sizeof *dense) : NULL;
    if (max && !dense) {
        return error_nomem(err, "a message");
    }
    for (size_t k = 0; max && k < n; k++) {
        dense[x[k].i] = x[k].weight;
    }
    for (size_t i = 0; max && i < r->n; i++) {
        double like = 0;
        for (size_t k = r->start[i]; k < r->start[i + 1]; k++) {
            like += r->entries[k].weight * dense[r->entries[k].i];
        }
        insert_hit(hits, n_hits, max, (retrieve_hit){i, like});
    }
    free(dense);
    return MUGA_OK;
}

muga_status retrieve_score(const retrieve *r, const char *text, size_t n, double *scores, retrieve_hit *hits,
                           size_t *n_hits, muga_error *err) {
    bag b = {0};
    muga_status st = make_bag(r, text, n, &b, err);
    entry *x = st == MUGA_OK ? mem_alloc_array(b.n, sizeof *x) : NULL;
    if (st == MUGA_OK && !x) {
        st = error_nomem(err, "a message");
    }
    if (st == MUGA_OK) {
        size_t n_known = weigh(r, &b, x);
        memset(scores, 0, r->n_labels * sizeof *scores);
        gather(r, x, n_known, r->weight, scores);
        st = find_hits(r, x, n_known, hits, n_hits, err);
    }
    free(x);
    free(b.f);
    return st;
}
