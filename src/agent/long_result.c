/* Long results. Owns: what is read of one (`long: summary`), and the pieces in which the rest can be read. Refuses:
 * to choose by anything but the rule, so the same result gives the same extract on every machine. The whole stays in
 * the journal.
 *
 *   rows     {"rows": [first ...], "last": last, other members, "long": {call, unit: "rows", of, shown, bytes, digest}}
 *   a list   {"items": [first ...], "last": last, "long": {...}}
 *   text     {"head": "...", "tail": "...", "long": {call, unit: "bytes", of, lines, digest}}; so is anything else, and
 *            a list whose first item does not fit, by its JSON
 *
 * A piece: {"call", "unit", "offset", "of", "rows" | "items" | "text", "next": offset or null}. */
#include "agent/internal.h"

#include "base/utf8.h"

#include <stdio.h>

#define HEAD_SHARE(n) ((n) / 4 * 3)

static size_t written(const json_t *v) {
    str text = STR_INIT;
    json_write(v, &text);
    size_t n = text.failed || !v ? SIZE_MAX : text.len;
    str_release(&text);
    return n;
}

/* ---- what it consists of ---- */

typedef struct parts {
    const json_t *list; /* NULL: text */
    const char *name;   /* of the list: "rows", "items" */
    str text;           /* the string itself, else the JSON */
} parts;

static muga_status take_apart(const json_t *result, parts *out, muga_error *err) {
    const json_t *rows = json_object_get(result, "rows");
    *out = (parts){.text = STR_INIT};
    out->list = json_is_array(result) ? result : json_is_array(rows) ? rows : NULL;
    out->name = json_is_array(result) ? "items" : "rows";
    if (json_is_string(result)) {
        str_append(&out->text, json_string_value(result), json_string_length(result));
    } else {
        json_write(result, &out->text);
    }
    return str_status(&out->text, err, "a result");
}

/* The first n bytes of text and the last m, at the bounds of characters. */
static size_t cut_head(const str *text, size_t n) {
    n = MIN(n, text->len);
    return n < text->len ? n - utf8_incomplete_tail(text->data, n) : n;
}

static size_t cut_tail(const str *text, size_t m) {
    size_t from = text->len - MIN(m, text->len);
    while (from < text->len && ((unsigned char)text->data[from] & 0xC0) == 0x80) {
        from++;
    }
    return text->len - from;
}

/* ---- the extract ---- */

static json_t *describe(const parts *x, const char *call, size_t of, const char *unit) {
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256_of(str_get(&x->text), x->text.len, digest);
    hex_write(digest, SHA256_BYTES, hex);
    hex[16] = '\0';
    return json_pack("{s:s, s:s, s:I, s:I, s:s}", "call", call, "unit", unit, "of", (json_int_t)of, "bytes",
                     (json_int_t)x->text.len, "digest", hex);
}

static json_t *text_extract(const parts *x, const char *call, size_t keep) {
    size_t n_head = cut_head(&x->text, HEAD_SHARE(keep)), n_tail = cut_tail(&x->text, keep - HEAD_SHARE(keep)),
           n_lines = 1;
    for (size_t i = 0; i < x->text.len; i++) {
        n_lines += x->text.data[i] == '\n' && i + 1 < x->text.len;
    }
    json_t *about = describe(x, call, x->text.len, "bytes");
    if (about) {
        json_object_set_new(about, "lines", json_integer((json_int_t)n_lines));
    }
    return json_pack("{s:s%, s:s%, s:o}", "head", x->text.data, n_head, "tail", x->text.data + x->text.len - n_tail,
                     n_tail, "long", about);
}

/* Every byte left out makes it at least one shorter, so it fits after one correction. */
static json_t *fit_text(const parts *x, const char *call, size_t max_bytes) {
    json_t *v = NULL;
    for (size_t keep = max_bytes;;) {
        v = text_extract(x, call, keep);
        size_t n = written(v);
        if (!v || n <= max_bytes || keep == 0) {
            return v;
        }
        keep -= MIN(keep, n - max_bytes);
        json_decref(v);
    }
}

static json_t *list_extract(const parts *x, const json_t *result, const char *call, size_t shown) {
    size_t n = json_array_size(x->list);
    json_t *first = json_array(), *about = describe(x, call, n, x->name),
           *v = json_is_object(result) ? json_clone_shallow(result) : json_object();
    bool ok = first && about && v && json_object_set_new(about, "shown", json_integer((json_int_t)shown)) == 0;
    for (size_t i = 0; ok && i < shown; i++) {
        ok = json_array_append(first, json_array_get(x->list, i)) == 0;
    }
    ok = ok && json_object_set(v, x->name, first) == 0 &&
         json_object_set(v, "last", json_array_get(x->list, n - 1)) == 0 && json_object_set(v, "long", about) == 0;
    json_decref(first);
    json_decref(about);
    if (!ok) {
        json_decref(v);
        return NULL;
    }
    return v;
}

/* NULL: not even one item fits. */
static json_t *fit_list(const parts *x, const json_t *result, const char *call, size_t max_bytes) {
    size_t fits = 0, too_many = 1, n = 0;
    json_t *best = NULL;
    while (too_many < json_array_size(x->list) && n <= max_bytes) {
        n += written(json_array_get(x->list, too_many++ - 1)) + 1;
    }
    while (fits + 1 < too_many) {
        size_t half = fits + (too_many - fits) / 2;
        json_t *v = list_extract(x, result, call, half);
        if (written(v) <= max_bytes) {
            json_decref(best);
            best = v;
            fits = half;
        } else {
            json_decref(v);
            too_many = half;
        }
    }
    return best;
}

muga_status long_result_extract(const json_t *result, const char *call, size_t max_bytes, json_t **out,
                                muga_error *err) {
    parts x;
    *out = NULL;
    if (written(result) <= max_bytes) {
        *out = json_incref(json_borrow(result));
        return MUGA_OK;
    }
    muga_status st = take_apart(result, &x, err);
    if (st == MUGA_OK) {
        *out = x.list ? fit_list(&x, result, call, max_bytes) : NULL;
        *out = *out ? *out : fit_text(&x, call, max_bytes);
        st = *out ? MUGA_OK : error_nomem(err, "a result");
    }
    str_release(&x.text);
    return st;
}

bool long_result_same(const json_t *a, const json_t *b) {
    const char *p = json_get_string(json_object_get(a, "long"), "digest"),
               *q = json_get_string(json_object_get(b, "long"), "digest");
    return p && q ? strcmp(p, q) == 0 : json_equal(json_borrow(a), json_borrow(b));
}

/* ---- pieces ---- */

static json_t *piece_of(const char *call, const char *unit, int64_t offset, size_t of, const char *name, json_t *what,
                        size_t next) {
    return json_pack("{s:s, s:s, s:I, s:I, s:o, s:o}", "call", call, "unit", unit, "offset", (json_int_t)offset, "of",
                     (json_int_t)of, name, what, "next", next < of ? json_integer((json_int_t)next) : json_null());
}

static json_t *text_piece(const parts *x, const char *call, size_t from, size_t max_bytes) {
    for (size_t keep = max_bytes;;) {
        while (from < x->text.len && ((unsigned char)x->text.data[from] & 0xC0) == 0x80) {
            from++;
        }
        const str rest = {.data = x->text.data + from, .len = x->text.len - from};
        size_t n = cut_head(&rest, keep);
        json_t *v = piece_of(call, "bytes", (int64_t)from, x->text.len, "text", json_stringn(rest.data, n), from + n);
        size_t n_written = written(v);
        if (!v || n_written <= max_bytes || keep <= 4) { /* one character at least: it goes on */
            return v;
        }
        keep -= MIN(keep - 4, n_written - max_bytes);
        json_decref(v);
    }
}

static json_t *list_piece(const parts *x, const char *call, size_t from, size_t max_bytes) {
    size_t n = json_array_size(x->list), to = from, n_written = 0;
    json_t *items = json_array();
    while (items && to < n && (n_written += written(json_array_get(x->list, to)) + 1) + 160 <= max_bytes) {
        if (json_array_append(items, json_array_get(x->list, to++)) != 0) {
            json_decref(items);
            return NULL;
        }
    }
    if (items && to == from && to < n) { /* longer than a piece by itself: its two ends */
        parts one;
        json_t *ends = NULL;
        if (take_apart(json_array_get(x->list, to), &one, NULL) == MUGA_OK) {
            ends = fit_text(&one, call, max_bytes - MIN(max_bytes, 160));
        }
        str_release(&one.text);
        if (!ends || json_array_append_new(items, ends) != 0) {
            json_decref(items);
            return NULL;
        }
        to++;
    }
    return items ? piece_of(call, x->name, (int64_t)from, n, x->name, items, to) : NULL;
}

muga_status long_result_piece(const json_t *result, const char *call, int64_t offset, size_t max_bytes, json_t **out,
                              muga_error *err) {
    parts x;
    *out = NULL;
    muga_status st = take_apart(result, &x, err);
    size_t of = x.list ? json_array_size(x.list) : x.text.len;
    if (st == MUGA_OK && (offset < 0 || (uint64_t)offset > of)) {
        st = error_set(err, MUGA_E_INPUT, "offset %lld is past the end: the result has %zu %s", (long long)offset, of,
                       x.list ? x.name : "bytes");
    } else if (st == MUGA_OK) {
        *out = x.list ? list_piece(&x, call, (size_t)offset, max_bytes)
                      : text_piece(&x, call, (size_t)offset, max_bytes);
        st = *out ? MUGA_OK : error_nomem(err, "a result");
    }
    str_release(&x.text);
    return st;
}
