/* See leak.h. Idea: a text is squeezed to its letters and digits, folded, with the places where a word begins and ends
 * remembered; so case, separators and marks make no difference. What may be an encoding is decoded, and the result is
 * looked through in the same way. */
#include "agent/leak.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <utf8proc.h>

#define FORMS_MAX_BYTES ((size_t)2 << 20) /* of all spellings of one value together */
#define FORMS_MAX 4096
#define DEPTH_MAX 3
#define SHORTEST 4   /* letters and digits of a secret that is looked for at all */
#define WHOLE_WORD 8 /* a shorter one counts only as whole words */
#define ID_SHORTEST 5
#define RUN_SHORTEST 6 /* digits of base64 or hex that are decoded */
#define WINDOW 16

enum { WORD_BEGINS = 1, WORD_ENDS = 2 };

typedef struct squeezed {
    char *p;
    uint8_t *edges; /* [n] */
    size_t n;
} squeezed;

static void squeezed_release(squeezed *s) {
    free(s->p);
    free(s->edges);
    *s = (squeezed){.p = NULL};
}

static bool is_word(utf8proc_int32_t cp) {
    if (cp < 0x80) {
        return (cp >= '0' && cp <= '9') || (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
    }
    utf8proc_category_t c = utf8proc_category(cp);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) ||
           (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
}

/* Compatibility forms, case and marks folded, what can't be seen left out. New; NULL: memory is out. */
static char *fold(const char *p, size_t n, size_t *n_out) {
    str clean = STR_INIT;
    utf8proc_uint8_t *out = NULL;
    utf8_append_replaced(&clean, p, n);
    utf8proc_ssize_t got = clean.failed ? -1
                                        : utf8proc_map((const utf8proc_uint8_t *)str_get(&clean),
                                                       (utf8proc_ssize_t)clean.len, &out,
                                                       UTF8PROC_COMPAT | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD |
                                                           UTF8PROC_IGNORE | UTF8PROC_STRIPMARK);
    str_release(&clean);
    *n_out = got > 0 ? (size_t)got : 0;
    return got >= 0 ? (char *)out : NULL;
}

static bool squeeze(const char *p, size_t n, squeezed *out) {
    size_t n_folded = 0;
    char *folded = fold(p, n, &n_folded);
    *out = (squeezed){.p = malloc(n_folded + 1), .edges = calloc(n_folded + 1, 1)};
    if (!folded || !out->p || !out->edges) {
        free(folded);
        squeezed_release(out);
        return false;
    }
    bool in_word = false;
    for (size_t i = 0; i < n_folded;) {
        uint32_t cp = 0;
        size_t k = utf8_decode(folded + i, n_folded - i, &cp);
        k = k ? k : 1;
        if (is_word((utf8proc_int32_t)cp)) {
            memcpy(out->p + out->n, folded + i, k);
            out->edges[out->n] = in_word ? 0 : WORD_BEGINS;
            out->n += k;
            in_word = true;
        } else if (in_word) {
            out->edges[out->n - 1] |= WORD_ENDS;
            in_word = false;
        }
        i += k;
    }
    if (in_word) {
        out->edges[out->n - 1] |= WORD_ENDS;
    }
    free(folded);
    return true;
}

static bool stands_in(const squeezed *text, const squeezed *q, bool whole_words) {
    size_t from = 0;
    while (q->n > 0 && text->n >= q->n && from <= text->n - q->n) {
        const char *at = memmem(text->p + from, text->n - from, q->p, q->n);
        if (!at) {
            return false;
        }
        size_t i = (size_t)(at - text->p);
        if (!whole_words || ((text->edges[i] & WORD_BEGINS) && (text->edges[i + q->n - 1] & WORD_ENDS))) {
            return true;
        }
        from = i + 1;
    }
    return false;
}

/* ---- the spellings of a value ---- */

typedef struct forms {
    squeezed *list;
    size_t n, cap, bytes;
    muga_status status;
} forms;

static void forms_release(forms *f) {
    for (size_t i = 0; i < f->n; i++) {
        squeezed_release(&f->list[i]);
    }
    free(f->list);
}

static bool add_form(forms *f, const char *p, size_t n) {
    if (f->status != MUGA_OK) {
        return false;
    }
    f->bytes += n;
    if (f->bytes > FORMS_MAX_BYTES || f->n == FORMS_MAX) {
        f->status = MUGA_E_LIMIT;
        return false;
    }
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        squeezed *grown = realloc(f->list, cap * sizeof *grown);
        if (!grown) {
            f->status = MUGA_E_NOMEM;
            return false;
        }
        f->list = grown;
        f->cap = cap;
    }
    if (!squeeze(p, n, &f->list[f->n])) {
        f->status = MUGA_E_NOMEM;
        return false;
    }
    f->n++;
    return true;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int base64_digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

static void look_through(forms *f, const char *p, size_t n, int depth);

static void look_at_percent(forms *f, const char *p, size_t n, int depth) {
    str out = STR_INIT;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        bool coded = p[i] == '%' && i + 2 < n && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0;
        str_append_c(&out, coded ? (char)(hex_digit(p[i + 1]) * 16 + hex_digit(p[i + 2])) : p[i]);
        i += coded ? 2 : 0;
        any = any || coded;
    }
    if (out.failed) {
        f->status = MUGA_E_NOMEM;
    } else if (any) {
        look_through(f, str_get(&out), out.len, depth + 1);
    }
    str_release(&out);
}

/* One run of digits of 6 bits (base64) or 4 (hex), from every place where a byte may begin in it. */
static void decode_run(const char *digits, size_t n, unsigned bits, str *out, size_t n_out) {
    for (size_t skip = 0; skip < n_out; skip++) {
        uint32_t acc = 0;
        unsigned held = 0;
        for (size_t i = skip; i < n; i++) {
            acc = acc << bits | (uint32_t)(bits == 6 ? base64_digit(digits[i]) : hex_digit(digits[i]));
            held += bits;
            if (held >= 8) {
                held -= 8;
                str_append_c(&out[skip], (char)(acc >> held & 0xFF));
            }
        }
        str_append_c(&out[skip], '\n');
    }
}

/* Every run of such digits; what `passed_over` holds may stand between two of them. */
static void look_at_runs(forms *f, const char *p, size_t n, unsigned bits, const char *passed_over, int depth) {
    str run = STR_INIT, out[4] = {STR_INIT, STR_INIT, STR_INIT, STR_INIT};
    size_t n_out = bits == 6 ? 4 : 2;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && (bits == 6 ? base64_digit(p[i]) : hex_digit(p[i])) >= 0) {
            str_append_c(&run, p[i]);
        } else if (i == n || !p[i] || !strchr(passed_over, p[i])) {
            if (run.len >= RUN_SHORTEST) {
                decode_run(str_get(&run), run.len, bits, out, n_out);
            }
            f->status = run.failed ? MUGA_E_NOMEM : f->status;
            str_clear(&run);
        }
    }
    for (size_t k = 0; k < n_out; k++) {
        if (out[k].failed) {
            f->status = MUGA_E_NOMEM;
        } else {
            look_through(f, str_get(&out[k]), out[k].len, depth + 1);
        }
        str_release(&out[k]);
    }
    str_release(&run);
}

static void look_through(forms *f, const char *p, size_t n, int depth) {
    if (f->status != MUGA_OK || n < SHORTEST || !add_form(f, p, n) || depth >= DEPTH_MAX) {
        return;
    }
    look_at_percent(f, p, n, depth);
    look_at_runs(f, p, n, 6, "\r\n", depth);
    look_at_runs(f, p, n, 4, "\r\n :-.,_", depth);
}

static void append_leaf(const json_t *v, str *out) {
    if (json_is_string(v)) {
        str_append(out, json_string_value(v), json_string_length(v));
    } else if (json_is_number(v)) {
        json_write(v, out);
    }
}

/* Each leaf by itself; `all` gets them one behind the other. */
static void add_leaves(forms *f, const json_t *v, str *all) {
    const char *key;
    json_t *sub;
    json_object_foreach(json_borrow(v), key, sub) {
        look_through(f, key, strlen(key), 0);
        add_leaves(f, sub, all);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        add_leaves(f, json_array_get(v, i), all);
    }
    str leaf = STR_INIT;
    append_leaf(v, &leaf);
    look_through(f, str_get(&leaf), leaf.len, 0);
    str_append(all, str_get(&leaf), leaf.len);
    if (leaf.failed || all->failed) {
        f->status = MUGA_E_NOMEM;
    }
    str_release(&leaf);
}

/* ---- stretches of a longer text ---- */

typedef struct windows {
    uint64_t *slots; /* 0 = free */
    size_t mask;
} windows;

static uint64_t window_hash(const char *p) {
    uint64_t a, b;
    memcpy(&a, p, 8);
    memcpy(&b, p + 8, 8);
    uint64_t h = (a * UINT64_C(0x9E3779B97F4A7C15)) ^ (b + UINT64_C(0xD6E8FEB86659FD93));
    h = (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 29 ? h ^ h >> 29 : 1;
}

static bool windows_have(const windows *w, uint64_t h) {
    for (size_t i = h & w->mask; w->slots[i]; i = (i + 1) & w->mask) {
        if (w->slots[i] == h) {
            return true;
        }
    }
    return false;
}

static bool windows_init(windows *w, const forms *f) {
    size_t n = 0, size = 64;
    for (size_t i = 0; i < f->n; i++) {
        n += f->list[i].n;
    }
    while (size < 2 * n + 1) {
        size *= 2;
    }
    *w = (windows){mem_alloc_array(size, sizeof *w->slots), size - 1};
    for (size_t i = 0; w->slots && i < f->n; i++) {
        for (size_t k = 0; k + WINDOW <= f->list[i].n; k++) {
            uint64_t h = window_hash(f->list[i].p + k);
            size_t at = h & w->mask;
            while (w->slots[at] && w->slots[at] != h) {
                at = (at + 1) & w->mask;
            }
            w->slots[at] = h;
        }
    }
    return w->slots != NULL;
}

/* ---- the search ---- */

static bool in_any(const forms *f, const squeezed *q, bool whole_words) {
    for (size_t i = 0; i < f->n; i++) {
        if (stands_in(&f->list[i], q, whole_words)) {
            return true;
        }
    }
    return false;
}

/* The words of a secret that say who or what: with a digit or an @ in them. */
static muga_status find_words(const forms *f, const char *p, size_t n, bool *found) {
    static const char blanks[] = " \t\r\n\v\f";
    for (size_t i = 0, end; i < n && !*found; i = end + 1) {
        bool telling = false;
        for (end = i; end < n && p[end] && !strchr(blanks, p[end]); end++) {
            telling = telling || p[end] == '@' || (p[end] >= '0' && p[end] <= '9');
        }
        squeezed word;
        if (!telling) {
            continue;
        }
        if (!squeeze(p + i, end - i, &word)) {
            return MUGA_E_NOMEM;
        }
        *found = word.n >= ID_SHORTEST && in_any(f, &word, word.n < WHOLE_WORD);
        squeezed_release(&word);
    }
    return MUGA_OK;
}

static muga_status find_secret(const forms *f, const windows *w, const char *p, size_t n, bool *found) {
    squeezed q;
    if (!squeeze(p, n, &q)) {
        return MUGA_E_NOMEM;
    }
    *found = q.n >= SHORTEST && in_any(f, &q, q.n < WHOLE_WORD);
    for (size_t i = 0; !*found && i + WINDOW <= q.n; i++) {
        *found = windows_have(w, window_hash(q.p + i));
    }
    squeezed_release(&q);
    return *found ? MUGA_OK : find_words(f, p, n, found);
}

muga_status leak_find(const json_t *secrets, const json_t *value, bool *found, muga_error *err) {
    forms f = {.status = MUGA_OK};
    windows w = {NULL, 0};
    str all = STR_INIT;
    *found = false;
    add_leaves(&f, value, &all);
    look_through(&f, str_get(&all), all.len, 0);
    muga_status st = f.status == MUGA_OK && !windows_init(&w, &f) ? MUGA_E_NOMEM : f.status;
    for (size_t i = 0; st == MUGA_OK && !*found && i < json_array_size(secrets); i++) {
        const json_t *v = json_array_get(secrets, i);
        st = find_secret(&f, &w, json_string_value(v), json_string_length(v), found);
    }
    free(w.slots);
    forms_release(&f);
    str_release(&all);
    return st == MUGA_OK        ? MUGA_OK
           : st == MUGA_E_LIMIT ? error_set(err, st, "more spellings of the arguments than are looked through")
                                : error_nomem(err, "a search");
}
