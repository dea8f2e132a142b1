/* Nearest examples by their words (retrieve.h). Owns: features, likeness, the votes. Refuses: more examples or labels
 * than the bounds. */
#include "agent/retrieve.h"

#include "agent/internal.h"
#include "base/hash.h"
#include "base/mem.h"

#include <math.h>
#include <utf8proc.h>

#define LAMBDA 0.2     /* by leaving out each customer-service example; 0.1 to 0.3 differ by under 2 % */
#define MAX_WORDS 1024 /* of one text; the rest says nothing new */

typedef struct feature {
    uint64_t key;
    double weight;
} feature;

typedef struct bag {
    feature *f; /* by key */
    size_t n;
} bag;

typedef struct class_word {
    uint64_t word, name; /* hashes */
} class_word;

struct retrieve {
    size_t n, n_labels;
    class_word *classes; /* by word */
    size_t n_classes;
    bag *bags;     /* [n] */
    double *chol;  /* [n][n] lower triangle of the Cholesky factor of K + lambda I */
    double *votes; /* [n][n_labels] */
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

static uint64_t pair_key(span a, span b) {
    return hash64(b.p, b.n, hash64(a.p, a.n, 2));
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

/* Sum what is equal, take roots, scale to length 1. */
static void finish_bag(bag *b) {
    if (b->n > 0) {
        qsort(b->f, b->n, sizeof *b->f, by_key);
    }
    size_t n = 0;
    double sum = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (n > 0 && b->f[n - 1].key == b->f[i].key) {
            b->f[n - 1].weight += 1;
        } else {
            b->f[n++] = b->f[i];
        }
    }
    b->n = n;
    for (size_t i = 0; i < n; i++) {
        sum += b->f[i].weight;
    }
    for (size_t i = 0; i < n; i++) {
        b->f[i].weight = sqrt(b->f[i].weight / sum);
    }
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
        st = add(out, &cap, pair_key(i ? words[i - 1] : edge[0], i < n_words ? words[i] : edge[1]));
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

static double likeness(const bag *a, const bag *b) {
    double sum = 0;
    for (size_t i = 0, k = 0; i < a->n && k < b->n;) {
        if (a->f[i].key == b->f[k].key) {
            sum += a->f[i++].weight * b->f[k++].weight;
        } else if (a->f[i].key < b->f[k].key) {
            i++;
        } else {
            k++;
        }
    }
    return sum;
}

/* ---- votes ---- */

typedef double lanes __attribute__((vector_size(32)));

/* In eight interleaved sums, so that additions don't wait for each other; the order is fixed. */
static double dot(const double *a, const double *b, size_t n) {
    lanes s[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}}, x[2], y[2];
    size_t k = 0;
    for (; k + 8 <= n; k += 8) {
        memcpy(x, a + k, sizeof x);
        memcpy(y, b + k, sizeof y);
        s[0] += x[0] * y[0];
        s[1] += x[1] * y[1];
    }
    s[0] += s[1];
    double rest = 0;
    for (; k < n; k++) {
        rest += a[k] * b[k];
    }
    return (s[0][0] + s[0][1]) + (s[0][2] + s[0][3]) + rest;
}

typedef struct posting {
    uint64_t key;
    double weight;
    size_t i;
} posting;

static int by_key_and_place(const void *a, const void *b) {
    const posting *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : x->i < y->i ? -1 : x->i > y->i;
}

/* K's lower triangle, feature by feature: only examples that share one meet. The sums run in the order of the keys, as
 * in likeness(). */
static muga_status fill_likenesses(retrieve *r, muga_error *err) {
    size_t n = 0, at = 0;
    for (size_t i = 0; i < r->n; i++) {
        n += r->bags[i].n;
    }
    posting *list = mem_alloc_array(n, sizeof *list);
    if (!list) {
        return error_nomem(err, "the examples");
    }
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; k < r->bags[i].n; k++) {
            list[at++] = (posting){r->bags[i].f[k].key, r->bags[i].f[k].weight, i};
        }
    }
    qsort(list, n, sizeof *list, by_key_and_place);
    for (size_t from = 0, end; from < n; from = end) {
        for (end = from; end < n && list[end].key == list[from].key; end++) {
            double *row = r->chol + list[end].i * r->n;
            for (size_t k = from; k <= end; k++) {
                row[list[k].i] += list[end].weight * list[k].weight;
            }
        }
    }
    free(list);
    return MUGA_OK;
}

/* L L' = K + lambda I, in place of K's lower triangle. K is positive semidefinite, so the pivots are at least lambda
 * up to rounding. */
static void factor(double *a, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double *row = a + i * n;
        for (size_t j = 0; j <= i; j++) {
            const double *other = a + j * n;
            double sum = row[j] - dot(row, other, j);
            row[j] = i == j ? sqrt(sum) : sum / other[j];
        }
    }
}

/* Solve L L' x = b in place; b has the given stride. */
static void solve(const double *l, size_t n, double *b, size_t stride) {
    for (size_t i = 0; i < n; i++) {
        double sum = b[i * stride];
        for (size_t k = 0; k < i; k++) {
            sum -= l[i * n + k] * b[k * stride];
        }
        b[i * stride] = sum / l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        double sum = b[i * stride];
        for (size_t k = i + 1; k < n; k++) {
            sum -= l[k * n + i] * b[k * stride];
        }
        b[i * stride] = sum / l[i * n + i];
    }
}

muga_status retrieve_new(const retrieve_example *examples, size_t n, size_t n_labels, const json_t *classes,
                         retrieve **out, muga_error *err) {
    if (n == 0 || n > RETRIEVE_MAX_EXAMPLES || n_labels == 0 || n_labels > RETRIEVE_MAX_LABELS) {
        return error_set(err, MUGA_E_LIMIT, "%zu examples for %zu labels; 1 to %u and 1 to %u are possible", n,
                         n_labels, RETRIEVE_MAX_EXAMPLES, RETRIEVE_MAX_LABELS);
    }
    retrieve *r = calloc(1, sizeof *r);
    if (!r) {
        return error_nomem(err, "the examples");
    }
    *r = (retrieve){.n = n,
                    .n_labels = n_labels,
                    .bags = mem_alloc_array(n, sizeof(bag)),
                    .chol = mem_alloc_array(n * n, sizeof(double)),
                    .votes = mem_alloc_array(n * n_labels, sizeof(double))};
    muga_status st = r->bags && r->chol && r->votes ? read_classes(r, classes, err) : error_nomem(err, "the examples");
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        st = make_bag(r, examples[i].text, strlen(examples[i].text), &r->bags[i], err);
        for (size_t l = 0; st == MUGA_OK && l < n_labels; l++) {
            r->votes[i * n_labels + l] = examples[i].labels >> l & 1 ? 1 : 0;
        }
    }
    st = st == MUGA_OK ? fill_likenesses(r, err) : st;
    if (st == MUGA_OK) {
        for (size_t i = 0; i < n; i++) {
            r->chol[i * n + i] += LAMBDA;
        }
        factor(r->chol, n);
        for (size_t l = 0; l < n_labels; l++) {
            solve(r->chol, n, r->votes + l, n_labels);
        }
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
    for (size_t i = 0; r->bags && i < r->n; i++) {
        free(r->bags[i].f);
    }
    free(r->bags);
    free(r->classes);
    free(r->chol);
    free(r->votes);
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

muga_status retrieve_score(const retrieve *r, const char *text, size_t n, double *scores, retrieve_hit *hits,
                           size_t *n_hits, muga_error *err) {
    bag b = {0};
    size_t max = *n_hits;
    muga_status st = make_bag(r, text, n, &b, err);
    *n_hits = 0;
    for (size_t l = 0; l < r->n_labels; l++) {
        scores[l] = 0;
    }
    for (size_t i = 0; st == MUGA_OK && i < r->n; i++) {
        double like = likeness(&b, &r->bags[i]);
        insert_hit(hits, n_hits, max, (retrieve_hit){i, like});
        for (size_t l = 0; like > 0 && l < r->n_labels; l++) {
            scores[l] += like * r->votes[i * r->n_labels + l];
        }
    }
    free(b.f);
    return st;
}

/* With (K + lambda I)^-1 = C, the score of i without i is y_i - a_i / C_ii. */
muga_status retrieve_leave_out(const retrieve *r, double *scores, muga_error *err) {
    double *unit = mem_alloc_array(r->n, sizeof *unit);
    if (!unit) {
        return error_nomem(err, "the examples");
    }
    for (size_t i = 0; i < r->n; i++) {
        memset(unit, 0, r->n * sizeof *unit);
        unit[i] = 1;
        solve(r->chol, r->n, unit, 1);
        for (size_t l = 0; l < r->n_labels; l++) {
            /* y = (K + lambda I) a, and K a is the score with i: so y - a / C_ii without it. */
            double with = 0;
            for (size_t k = 0; k < r->n; k++) {
                double like = k == i ? 1 : likeness(&r->bags[i], &r->bags[k]);
                with += like * r->votes[k * r->n_labels + l];
            }
            double vote = r->votes[i * r->n_labels + l];
            scores[i * r->n_labels + l] = with + LAMBDA * vote - vote / unit[i];
        }
    }
    free(unit);
    return MUGA_OK;
}
