/* The growable byte string. Owns: growth and the maximum. Refuses: a partial append; what does not fit is not begun.
 *
 * Idea: errors are sticky. A writer appends without looking and asks str_status once at the end. */
#include "base/str.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>

void str_init(str *s, size_t max) {
    *s = (str){.max = max};
}

static size_t str_max(const str *s) {
    return s->max > 0 ? s->max : STR_DEFAULT_MAX;
}

/* Room for n more bytes and the NUL. On failure sets the flags and returns false. */
static bool str_reserve(str *s, size_t n) {
    if (s->failed) {
        return false;
    }
    if (n > str_max(s) - MIN(s->len, str_max(s))) {
        s->failed = s->past_max = true;
        return false;
    }
    size_t need;
    if (!size_add(s->len + 1, n, &need)) {
        s->failed = true;
        return false;
    }
    if (need <= s->cap) {
        return true;
    }
    size_t cap = MAX(s->cap + s->cap / 2, 32); /* can't overflow: cap is at most max + max / 2 */
    cap = MAX(MIN(cap, str_max(s) + 1), need);
    char *data = realloc(s->data, cap);
    if (!data) {
        s->failed = true;
        return false;
    }
    s->data = data;
    s->cap = cap;
    return true;
}

void str_append(str *s, const void *p, size_t n) {
    if (!str_reserve(s, n)) {
        return;
    }
    if (n > 0) {
        memcpy(s->data + s->len, p, n);
    }
    s->len += n;
    s->data[s->len] = '\0';
}

void str_append_c(str *s, char c) {
    str_append(s, &c, 1);
}

void str_append_s(str *s, const char *text) {
    str_append(s, text, strlen(text));
}

void str_printf(str *s, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n < 0) {
        s->failed = true;
    } else if (str_reserve(s, (size_t)n)) {
        vsnprintf(s->data + s->len, (size_t)n + 1, format, again);
        s->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void str_truncate(str *s, size_t len) {
    assert(len <= s->len);
    if (len < s->len) {
        s->len = len;
        s->data[len] = '\0';
    }
}

void str_clear(str *s) {
    str_truncate(s, 0);
    s->failed = s->past_max = false;
}

void str_release(str *s) {
    free(s->data);
    *s = (str){.max = s->max};
}

char *str_take(str *s) {
    str_append(s, "", 0); /* an empty string has a buffer too */
    char *data = NULL;
    if (!s->failed) {
        data = s->data;
        s->data = NULL;
    }
    str_release(s);
    return data;
}

const char *str_get(const str *s) {
    return s->data ? s->data : "";
}

muga_status str_status(const str *s, muga_error *err, const char *what) {
    if (!s->failed) {
        return MUGA_OK;
    }
    if (s->past_max) {
        return error_set(err, MUGA_E_LIMIT, "%s is longer than %zu bytes, the most that is taken", what, str_max(s));
    }
    return error_nomem(err, what);
}

span span_of_string(const char *s) {
    return span_of(s, strlen(s));
}

bool span_equal(span a, span b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool span_equal_string(span a, const char *s) {
    return span_equal(a, span_of_string(s));
}

bool string_ends_with(const char *s, const char *end) {
    size_t n = strlen(s), n_end = strlen(end);
    return n >= n_end && !strcmp(s + n - n_end, end);
}
