/* URI references (RFC 3986, section 5.2), without fragments. Owns nothing. Refuses nothing: what has no form is a path.
 */
#include "constrain/uri.h"

typedef struct uri_parts {
    span scheme, authority, path, query;
    bool has_scheme, has_authority, has_query;
} uri_parts;

static uri_parts uri_split(span s) {
    uri_parts u = {0};
    size_t i = 0;
    while (i < s.n && s.p[i] != ':' && s.p[i] != '/' && s.p[i] != '?')
        i++;
    if (i < s.n && s.p[i] == ':' && i > 0) {
        u.scheme = span_of(s.p, i);
        u.has_scheme = true;
        s = span_of(s.p + i + 1, s.n - i - 1);
    }
    if (s.n >= 2 && s.p[0] == '/' && s.p[1] == '/') {
        i = 2;
        while (i < s.n && s.p[i] != '/' && s.p[i] != '?')
            i++;
        u.authority = span_of(s.p + 2, i - 2);
        u.has_authority = true;
        s = span_of(s.p + i, s.n - i);
    }
    i = 0;
    while (i < s.n && s.p[i] != '?')
        i++;
    u.path = span_of(s.p, i);
    if (i < s.n) {
        u.has_query = true;
        u.query = span_of(s.p + i + 1, s.n - i - 1);
    }
    return u;
}

/* RFC 3986, 5.2.4, on whole segments. */
static void append_without_dots(str *out, const char *p, size_t n) {
    size_t base = out->len;
    for (size_t i = 0; i < n;) {
        size_t k = i + (p[i] == '/');
        size_t end = k;
        while (end < n && p[end] != '/')
            end++;
        span seg = span_of(p + k, end - k);
        bool last = end >= n;
        if (span_equal_string(seg, ".") || span_equal_string(seg, "..")) {
            if (seg.n == 2) {
                while (out->len > base && out->data[out->len - 1] != '/')
                    str_truncate(out, out->len - 1);
                if (out->len > base)
                    str_truncate(out, out->len - 1);
            }
            if (last)
                str_append_c(out, '/');
        } else {
            str_append(out, p + i, end - i);
        }
        i = end;
    }
}

void uri_resolve(span base, span ref, str *out) {
    uri_parts b = uri_split(base), r = uri_split(ref), t = r;
    str path = STR_INIT;
    if (!r.has_scheme) {
        t.scheme = b.scheme;
        t.has_scheme = b.has_scheme;
        if (!r.has_authority) {
            t.authority = b.authority;
            t.has_authority = b.has_authority;
            if (r.path.n == 0) {
                str_append(&path, b.path.p, b.path.n);
                if (!r.has_query)
                    t.query = b.query, t.has_query = b.has_query;
            } else if (r.path.p[0] != '/') {
                size_t slash = b.path.n;
                while (slash > 0 && b.path.p[slash - 1] != '/')
                    slash--;
                str_append(&path, b.path.p, slash);
                if (slash == 0 && b.has_authority)
                    str_append_c(&path, '/');
                str_append(&path, r.path.p, r.path.n);
            } else {
                str_append(&path, r.path.p, r.path.n);
            }
        } else {
            str_append(&path, r.path.p, r.path.n);
        }
    } else {
        str_append(&path, r.path.p, r.path.n);
    }
    if (t.has_scheme) {
        str_append(out, t.scheme.p, t.scheme.n);
        str_append_c(out, ':');
    }
    if (t.has_authority) {
        str_append_s(out, "//");
        str_append(out, t.authority.p, t.authority.n);
    }
    append_without_dots(out, str_get(&path), path.len);
    if (t.has_query) {
        str_append_c(out, '?');
        str_append(out, t.query.p, t.query.n);
    }
    out->failed |= path.failed;
    str_release(&path);
}
