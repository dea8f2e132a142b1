/* Keys seen. Owns: the list, as a stack that shrinks when an object closes. Refuses nothing; says when a key repeats.
 * Idea: the grammar already guarantees JSON, so a handful of modes follow the text. Keys are compared as written: in a
 * key a character has one spelling in our output. */
#include "constrain/keys.h"

#include "base/hash.h"
#include "base/mem.h"

enum { M_PLAIN, M_STRING, M_STRING_ESCAPE, M_KEY, M_KEY_ESCAPE };

void keys_release(keys *k) {
    free(k->bytes);
    free(k->ends);
    memset(k, 0, sizeof *k);
}

static bool grow(void **p, uint32_t *cap, uint32_t n, size_t size) {
    if (n <= *cap)
        return true;
    uint32_t c = MAX(*cap * 2, MAX(n, 64u));
    void *v = mem_resize_array(*p, c, size);
    if (!v)
        return false;
    *p = v;
    *cap = c;
    return true;
}

static bool reserve(keys *k, uint32_t n_bytes, uint32_t n_keys) {
    void *b = k->bytes, *e = k->ends;
    bool ok = grow(&b, &k->cap_bytes, n_bytes, 1);
    k->bytes = b;
    ok = ok && grow(&e, &k->cap_keys, n_keys, sizeof *k->ends);
    k->ends = e;
    return ok;
}

bool keys_copy(keys *to, const keys *from) {
    if (!reserve(to, from->n_bytes + 1, from->n_keys + 1))
        return false;
    char *bytes = to->bytes;
    uint32_t *ends = to->ends, cap_bytes = to->cap_bytes, cap_keys = to->cap_keys;
    *to = *from;
    to->bytes = bytes;
    to->ends = ends;
    to->cap_bytes = cap_bytes;
    to->cap_keys = cap_keys;
    if (from->n_bytes)
        memcpy(bytes, from->bytes, from->n_bytes);
    if (from->n_keys)
        memcpy(ends, from->ends, from->n_keys * sizeof *ends);
    return true;
}

static uint32_t key_start(const keys *k, uint32_t i) {
    return i ? k->ends[i - 1] : 0;
}

static uint32_t first_key(const keys *k) {
    return k->depth ? k->level[k->depth - 1].first_key : 0;
}

uint64_t keys_hash(const keys *k) {
    uint64_t h = hash64(k->bytes, k->n_bytes, (uint64_t)k->mode * 2 + k->key_next + 8 * (uint64_t)k->depth);
    h = hash64(k->ends, k->n_keys * sizeof *k->ends, h);
    for (uint32_t i = 0; i < k->depth; i++)
        h = (h ^ (k->level[i].first_key * 2 + k->level[i].object)) * 0x9E3779B97F4A7C15u;
    return h;
}

bool keys_reader_begin(keys_reader *r, const keys *k) {
    *r = (keys_reader){.in_string = k->mode == M_STRING || k->mode == M_STRING_ESCAPE,
                       .escaped = k->mode == M_STRING_ESCAPE,
                       .key_next = k->key_next,
                       .object = k->depth > 0 && k->level[k->depth - 1].object};
    return k->mode < M_KEY;
}

bool keys_read(keys_reader *r, char c) {
    if (r->in_string) {
        bool escaped = r->escaped;
        r->escaped = !escaped && c == '\\';
        r->in_string = escaped || c != '"';
        return true;
    }
    if (c == ',')
        r->key_next = r->object;
    r->in_string = c == '"' && !r->key_next;
    return !strchr("{}[]", c) && (c != '"' || !r->key_next);
}

bool keys_read_end(const keys_reader *r) {
    return !r->in_string && r->key_next;
}

bool keys_inside(const keys *k) {
    return k->mode >= M_KEY;
}
bool keys_awaited(const keys *k) {
    return k->key_next && k->depth > 0 && k->n_keys > first_key(k);
}
uint32_t keys_count(const keys *k) {
    return k->n_keys - first_key(k);
}
span keys_finished(const keys *k, uint32_t i) {
    uint32_t key = first_key(k) + i, start = key_start(k, key);
    return span_of(k->bytes + start, k->ends[key] - start);
}
span keys_current(const keys *k) {
    uint32_t start = key_start(k, k->n_keys);
    return k->bytes ? span_of(k->bytes + start, k->n_bytes - start) : span_of("", 0);
}

static bool any_key(const keys *k, span p, bool whole) {
    for (uint32_t i = 0; i < keys_count(k); i++) {
        span have = keys_finished(k, i);
        if ((whole ? have.n == p.n : have.n >= p.n) && (p.n == 0 || memcmp(have.p, p.p, p.n) == 0))
            return true;
    }
    return false;
}
bool keys_begin_with(const keys *k, span p) {
    return any_key(k, p, false);
}
bool keys_have(const keys *k, span p) {
    return any_key(k, p, true);
}

static void open_container(keys *k, bool object) {
    if (k->depth < KEYS_MAX_DEPTH) {
        k->level[k->depth].object = object;
        k->level[k->depth++].first_key = k->n_keys;
    }
    k->key_next = object;
}

static void close_container(keys *k) {
    if (k->depth > 0) {
        k->n_keys = k->level[--k->depth].first_key;
        k->n_bytes = key_start(k, k->n_keys);
    }
    k->key_next = false;
}

static void plain(keys *k, char c) {
    switch (c) {
    case '{': open_container(k, true); break;
    case '[': open_container(k, false); break;
    case '}':
    case ']': close_container(k); break;
    case ',': k->key_next = k->depth > 0 && k->level[k->depth - 1].object; break;
    case '"':
        k->mode = k->key_next ? M_KEY : M_STRING;
        k->key_next = false;
        break;
    default: break;
    }
}

static keys_verdict close_key(keys *k) {
    bool twice = keys_have(k, keys_current(k));
    if (!reserve(k, k->n_bytes + 1, k->n_keys + 1))
        return KEYS_NOMEM;
    k->ends[k->n_keys++] = k->n_bytes;
    k->mode = M_PLAIN;
    return twice ? KEYS_TWICE : KEYS_FINE;
}

keys_verdict keys_feed(keys *k, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        switch (k->mode) {
        case M_PLAIN: plain(k, c); continue;
        case M_STRING: k->mode = c == '"' ? M_PLAIN : c == '\\' ? M_STRING_ESCAPE : M_STRING; continue;
        case M_STRING_ESCAPE: k->mode = M_STRING; continue;
        case M_KEY:
            if (c == '"') {
                keys_verdict v = close_key(k);
                if (v != KEYS_FINE)
                    return v;
                continue;
            }
            k->mode = c == '\\' ? M_KEY_ESCAPE : M_KEY;
            break;
        default: k->mode = M_KEY; break; /* the letter after the backslash; hex digits follow as they are */
        }
        if (!reserve(k, k->n_bytes + 1, k->n_keys))
            return KEYS_NOMEM;
        k->bytes[k->n_bytes++] = c;
    }
    return KEYS_FINE;
}
