/* The labels of a choice (classify.h). Refuses: what a person could not tell apart or read, what a terminal would act
 * on, and fewer than two. */
#include "base/mem.h"
#include "base/utf8.h"
#include "llm/classify.h"

/* A label in a message: its first bytes, a character not cut. */
static int shown(span label) {
    int n = (int)MIN(label.n, (size_t)60);
    return n - (int)utf8_incomplete_tail(label.p, (size_t)n);
}

static muga_status check_text(span text, const char *what, muga_error *err) {
    if (text.n == 0)
        return error_set(err, MUGA_E_INPUT, "the %s is empty; name it", what);
    if (span_equal_string(text, "-"))
        return error_set(err, MUGA_E_INPUT, "the %s is \"-\", which stands for no label; use a word", what);
    if (text.n > CLASSIFY_MAX_LABEL_BYTES)
        return error_set(err, MUGA_E_LIMIT, "the %s has %zu bytes; %zu are possible", what, text.n,
                         CLASSIFY_MAX_LABEL_BYTES);
    if (!utf8_valid(text.p, text.n))
        return error_set(err, MUGA_E_INPUT, "the %s is not UTF-8; write it so", what);
    for (size_t at = 0, n; at < text.n; at += n) {
        uint32_t cp;
        n = utf8_decode(text.p + at, text.n - at, &cp);
        if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || (cp & 0xfffe) == 0xfffe)
            return error_set(err, MUGA_E_INPUT, "the %s holds the control character U+%04X at byte %zu; leave it out",
                             what, (unsigned)cp, at);
    }
    return MUGA_OK;
}

static bool grow(classify_labels *l) {
    size_t cap = l->cap ? 2 * l->cap : 16;
    char **names = mem_resize_array(l->names, cap, sizeof *names);
    l->names = names ? names : l->names;
    char **words = mem_resize_array(l->words, cap, sizeof *words);
    l->words = words ? words : l->words;
    l->cap = names && words ? cap : l->cap;
    return names && words;
}

muga_status classify_labels_add(classify_labels *l, span name, span words, muga_error *err) {
    muga_status st = check_text(name, "label", err);
    if (!st && words.n > 0)
        st = check_text(words, "label's wording", err);
    if (st)
        return st;
    if (l->n == CLASSIFY_MAX_LABELS)
        return error_set(err, MUGA_E_LIMIT, "more than %zu labels; choose in two steps", CLASSIFY_MAX_LABELS);
    if (l->n == l->cap && !grow(l))
        return error_nomem(err, "the labels");
    char *a = mem_copy_bytes(name.p, name.n),
         *b = words.n ? mem_copy_bytes(words.p, words.n) : mem_copy_bytes(name.p, name.n);
    if (!a || !b) {
        free(a);
        free(b);
        return error_nomem(err, "the labels");
    }
    l->names[l->n] = a;
    l->words[l->n++] = b;
    return MUGA_OK;
}

static int by_text(const void *a, const void *b, void *texts) {
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    char *const *v = texts;
    int order = strcmp(v[i], v[j]);
    return order ? order : (i > j) - (i < j);
}

static muga_status check_different(uint32_t *order, size_t n, char **texts, const char *what, muga_error *err) {
    qsort_r(order, n, sizeof *order, by_text, texts);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(texts[order[i - 1]], texts[order[i]]))
            return error_set(err, MUGA_E_INPUT, "labels %u and %u have the same %s, \"%.*s\"; keep one of them",
                             order[i - 1] + 1, order[i] + 1, what, shown(span_of_string(texts[order[i]])),
                             texts[order[i]]);
    return MUGA_OK;
}

muga_status classify_labels_check(classify_labels *l, muga_error *err) {
    if (l->n < 2)
        return error_set(err, MUGA_E_INPUT, "%s to choose from; give at least two labels",
                         l->n ? "one label is nothing" : "there are no labels");
    uint32_t *order = mem_resize_array(l->by_name, l->n, sizeof *order);
    if (!order)
        return error_nomem(err, "the labels");
    l->by_name = order;
    for (size_t i = 0; i < l->n; i++)
        order[i] = (uint32_t)i;
    muga_status st = check_different(order, l->n, l->words, "wording", err);
    return st ? st : check_different(order, l->n, l->names, "name", err);
}

uint32_t classify_labels_find(const classify_labels *l, span name) {
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2, n = strlen(l->names[l->by_name[middle]]);
        int order = memcmp(l->names[l->by_name[middle]], name.p, MIN(n, name.n));
        if (order == 0 && n == name.n)
            return l->by_name[middle];
        if (order < 0 || (order == 0 && n < name.n))
            low = middle + 1;
        else
            high = middle;
    }
    return CLASSIFY_NONE;
}

void classify_labels_release(classify_labels *l) {
    for (size_t i = 0; i < l->n; i++) {
        free(l->names[i]);
        free(l->words[i]);
    }
    free(l->names);
    free(l->words);
    free(l->by_name);
    *l = (classify_labels){0};
}
