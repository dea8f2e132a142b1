/* The vocabulary as a byte trie, and what of it is plain text. Owns: constrain_trie.
 *
 * Idea: most tokens are a few whole characters that JSON writes as they are, and in most places of a string either all
 * such tokens may come or none, but for those along a few words. So the plain tokens stand as ready masks by their
 * number of characters, and where a state tells no plain character from another (plain_target), or only a few
 * (plain_find_most), no more than the rest of the trie is walked, and those few's. */
#include "base/hash.h"
#include "base/utf8.h"
#include "constrain/internal.h"

/* ---- the trie ---- */

typedef struct piece {
    const char *p;
    uint32_t n, id;
} piece;

static int piece_order(const void *x, const void *y) {
    const piece *a = x, *b = y;
    int o = memcmp(a->p, b->p, MIN(a->n, b->n));
    if (o)
        return o;
    return a->n != b->n ? (a->n < b->n ? -1 : 1) : a->id < b->id ? -1 : 1;
}

#define PIECE_MAX_BYTES 4096u /* longer pieces are never admitted */

/* Shorter than {"a":1,"a": no text both begins an object and finishes a key for the second time. */
static bool has_two_keys(const piece *x) {
    uint32_t quotes = 0;
    for (uint32_t i = 0; i < x->n; i++)
        quotes += x->p[i] == '"';
    return quotes >= 4 && memchr(x->p, '{', x->n);
}

static bool is_structural(const piece *x) {
    return memchr(x->p, '"', x->n) || memchr(x->p, ',', x->n);
}

static muga_status fill_structural(constrain_trie *t, const piece *v, uint32_t n, muga_error *err) {
    uint32_t n_bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        if (is_structural(&v[i])) {
            n_bytes += v[i].n;
            t->n_structural++;
        }
    t->structural = mem_alloc_array(t->n_structural, sizeof *t->structural);
    t->bytes = mem_alloc_array(n_bytes, 1);
    if (!t->structural || !t->bytes)
        return error_nomem(err, "a vocabulary");
    uint32_t at = 0, w = 0;
    for (uint32_t i = 0; i < n; i++)
        if (is_structural(&v[i])) {
            t->structural[w++] = (struct structural){v[i].id, at, v[i].n, has_two_keys(&v[i])};
            memcpy(t->bytes + at, v[i].p, v[i].n);
            at += v[i].n;
        }
    return MUGA_OK;
}

static muga_status fill_tree(trie_tree *t, const piece *v, uint32_t n, uint32_t *max_depth, muga_error *err) {
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        n_bytes += v[i].n;
    t->nodes = mem_alloc_array(n_bytes + 1, sizeof *t->nodes);
    t->ids = mem_alloc_array((size_t)n + 1, sizeof *t->ids);
    uint32_t *path = mem_alloc_array(PIECE_MAX_BYTES + 1, sizeof *path); /* node of each depth */
    if (!t->nodes || !t->ids || !path) {
        free(path);
        return error_nomem(err, "a vocabulary");
    }
    uint32_t depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t same = 0;
        while (i > 0 && same < v[i].n && same < v[i - 1].n && v[i].p[same] == v[i - 1].p[same])
            same++;
        for (; depth > same; depth--)
            t->nodes[path[depth]].after = t->n_nodes;
        for (; depth < v[i].n; depth++) {
            path[depth + 1] = t->n_nodes;
            t->nodes[t->n_nodes++] = (trie_node){.byte = (uint8_t)v[i].p[depth], .depth = (uint16_t)(depth + 1)};
        }
        *max_depth = MAX(*max_depth, depth);
        trie_node *x = &t->nodes[path[depth]];
        if (x->n_tokens++ == 0)
            x->tokens = i;
        t->ids[i] = v[i].id;
    }
    for (; depth > 0; depth--)
        t->nodes[path[depth]].after = t->n_nodes;
    free(path);
    return MUGA_OK;
}

/* What token i appends. A control token: its name between two marks; so no text may have that byte, which is part of no
 * character anyway. Nothing: it is never admitted. */
static span piece_of(const constrain_vocab *v, uint32_t i, arena *a) {
    span s = v->pieces[i], name = v->controls ? v->controls[i] : (span){0};
    char *marked = name.n > 0 ? arena_alloc(a, name.n + 2) : NULL;
    if (name.n > 0) {
        if (!marked)
            return (span){0};
        marked[0] = marked[name.n + 1] = CONSTRAIN_CONTROL;
        memcpy(marked + 1, name.p, name.n);
        return span_of(marked, memchr(name.p, CONSTRAIN_CONTROL, name.n) ? 0 : name.n + 2);
    }
    return span_of(s.p, s.n > 0 && memchr(s.p, CONSTRAIN_CONTROL, s.n) ? 0 : s.n);
}

/* Plain characters of a piece; 0: it has others, or too many, or no whole ones. */
static uint32_t count_plain(const piece *x) {
    uint32_t n = 0, cp;
    for (uint32_t i = 0; i < x->n; n++) {
        size_t k = utf8_decode(x->p + i, x->n - i, &cp);
        if (k == 0 || n == PLAIN_MAX || cp < 0x20 || cp == '"' || cp == '\\')
            return 0;
        i += (uint32_t)k;
    }
    return n;
}

static muga_status fill_plain(constrain_trie *t, const piece *v, uint32_t n, muga_error *err) {
    piece *rest = mem_alloc_array(n, sizeof *rest);
    uint32_t n_rest = 0, ignored = 0;
    t->plain = mem_alloc_array((size_t)t->n_words * (PLAIN_MAX + 1), sizeof *t->plain);
    if (!rest || !t->plain) {
        free(rest);
        return error_nomem(err, "a vocabulary");
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t n_chars = count_plain(&v[i]);
        if (n_chars)
            trie_plain(t, n_chars)[v[i].id / 64] |= (uint64_t)1 << v[i].id % 64;
        else
            rest[n_rest++] = v[i];
    }
    for (uint32_t k = 1; k <= PLAIN_MAX; k++)
        for (uint32_t i = 0; i < t->n_words; i++)
            trie_plain(t, k)[i] |= trie_plain(t, k - 1)[i];
    muga_status st = fill_tree(&t->rest, rest, n_rest, &ignored, err);
    free(rest);
    return st;
}

muga_status constrain_trie_new(const constrain_vocab *v, constrain_trie **out, muga_error *err) {
    *out = NULL;
    constrain_trie *t = mem_alloc_array(1, sizeof *t);
    piece *pieces = mem_alloc_array(v->n, sizeof *pieces);
    muga_status st = t && pieces ? MUGA_OK : error_nomem(err, "a vocabulary");
    size_t n_bytes = 0;
    uint32_t n = 0;
    arena marked;
    arena_init(&marked, 0);
    for (uint32_t i = 0; i < v->n && st == MUGA_OK; i++) {
        span s = piece_of(v, i, &marked);
        if (v->controls && v->controls[i].n > 0 && !s.p)
            st = error_nomem(err, "a vocabulary");
        if (s.n == 0 || s.n > PIECE_MAX_BYTES)
            continue;
        pieces[n++] = (piece){s.p, (uint32_t)s.n, i};
        n_bytes += s.n;
        t->serial = hash64(s.p, s.n, t->serial * 31 + i);
        if (s.n == 1)
            t->single[(uint8_t)s.p[0]] = true;
    }
    if (st == MUGA_OK && n_bytes >= UINT32_MAX / 2)
        st = error_set(err, MUGA_E_LIMIT, "vocabulary: more than 2 GB of pieces");
    if (st == MUGA_OK) {
        qsort(pieces, n, sizeof *pieces, piece_order);
        t->n_tokens = v->n;
        t->n_words = v->n / 64 + (v->n % 64 != 0);
        t->serial |= 1; /* 0 means none */
        st = fill_tree(&t->all, pieces, n, &t->max_depth, err);
        if (st == MUGA_OK)
            st = fill_structural(t, pieces, n, err);
        if (st == MUGA_OK)
            st = fill_plain(t, pieces, n, err);
    }
    free(pieces);
    arena_release(&marked);
    if (st != MUGA_OK)
        constrain_trie_free(t);
    else
        *out = t;
    return st;
}

void constrain_trie_free(constrain_trie *t) {
    if (!t)
        return;
    free(t->all.nodes);
    free(t->all.ids);
    free(t->rest.nodes);
    free(t->rest.ids);
    free(t->plain);
    free(t->structural);
    free(t->bytes);
    free(t);
}

/* ---- what states make of plain text ---- */

static bool add_sequence(void *ctx, const utf8_seq *q) {
    plain_text *p = ctx;
    struct plain_sequence *x = &p->v[p->n++];
    *x = (struct plain_sequence){.n = q->n, .lo = q->lo[0], .hi = q->hi[0]};
    for (uint32_t i = 0; i < q->n; i++) {
        bool seen[256] = {false};
        for (uint32_t b = q->lo[i]; b <= q->hi[i]; b++) {
            if (seen[p->class_of[b]])
                continue;
            seen[p->class_of[b]] = true;
            x->bytes[i][x->n_bytes[i]++] = (uint8_t)b;
        }
    }
    return p->n < ARRAY_LEN(p->v);
}

void plain_prepare(plain_text *p, const uint8_t class_of[256]) {
    p->n = 0;
    p->class_of = class_of;
    if (utf8_split(0x20, '"' - 1, add_sequence, p) && utf8_split('"' + 1, '\\' - 1, add_sequence, p))
        (void)utf8_split('\\' + 1, CP_MAX, add_sequence, p);
}

#define NOT_MET (SET_DEAD - 2)

/* *to: where the characters looked at so far lead, NOT_MET or PLAIN_MIXED. */
static muga_status follow(constrain_grammar *g, uint32_t set, const struct plain_sequence *x, uint32_t at, uint32_t *to,
                          muga_error *err) {
    uint32_t last = NOT_MET;
    for (uint32_t i = 0; i < x->n_bytes[at] && *to != PLAIN_MIXED; i++) {
        uint32_t next;
        muga_status st = run_step(g, set, x->bytes[at][i], &next, err);
        if (st != MUGA_OK)
            return st;
        if (next == last)
            continue;
        last = next;
        if (at + 1u < x->n && next != SET_DEAD) {
            st = follow(g, next, x, at + 1, to, err);
            if (st != MUGA_OK)
                return st;
        } else {
            *to = *to == NOT_MET || *to == next ? next : PLAIN_MIXED;
        }
    }
    return MUGA_OK;
}

muga_status plain_target(constrain_grammar *g, uint32_t set, uint32_t *out, muga_error *err) {
    uint32_t known = g->run.sets[set].plain;
    if (known) {
        *out = known - 1;
        return MUGA_OK;
    }
    *out = NOT_MET;
    for (uint32_t i = 0; i < g->plain.n && *out != PLAIN_MIXED; i++) {
        muga_status st = follow(g, set, &g->plain.v[i], 0, out, err);
        if (st != MUGA_OK)
            return st;
    }
    g->run.sets[set].plain = *out + 1;
    return MUGA_OK;
}

#define MOST_OTHERS 48u /* first bytes; with more it is as well to walk */
#define MOST_TARGETS 8u

typedef struct tally {
    struct {
        uint32_t to, n;
    } v[MOST_TARGETS];
    uint32_t n;
    uint32_t by_byte[256]; /* where each first byte leads; NOT_MET: it begins no plain character */
} tally;

static void count_target(tally *c, uint32_t to) {
    uint32_t i = 0;
    while (i < c->n && c->v[i].to != to)
        i++;
    if (i == c->n && c->n < MOST_TARGETS) {
        c->v[c->n].to = to;
        c->v[c->n++].n = 0;
    }
    if (i < c->n)
        c->v[i].n++;
}

static muga_status count_targets(constrain_grammar *g, uint32_t set, tally *c, muga_error *err) {
    for (uint32_t b = 0; b < 256; b++)
        c->by_byte[b] = NOT_MET;
    for (uint32_t i = 0; i < g->plain.n; i++) {
        const struct plain_sequence *x = &g->plain.v[i];
        for (uint32_t k = 0; k < x->n_bytes[0]; k++) {
            uint32_t next, to = NOT_MET;
            muga_status st = run_step(g, set, x->bytes[0][k], &next, err);
            if (st == MUGA_OK && x->n > 1 && next != SET_DEAD)
                st = follow(g, next, x, 1, &to, err);
            else
                to = next;
            if (st != MUGA_OK)
                return st;
            for (uint32_t b = x->lo; b <= x->hi; b++)
                if (g->plain.class_of[b] == g->plain.class_of[x->bytes[0][k]]) {
                    c->by_byte[b] = to;
                    count_target(c, to);
                }
        }
    }
    return MUGA_OK;
}

muga_status plain_find_most(constrain_grammar *g, uint32_t set, const plain_most **out, muga_error *err) {
    static const plain_most none = {.to = PLAIN_MIXED};
    *out = g->run.sets[set].most;
    if (*out)
        return MUGA_OK;
    tally c = {.n = 0};
    uint32_t best = 0, beyond = PLAIN_MIXED, n_others = 0;
    muga_status st = count_targets(g, set, &c, err);
    for (uint32_t i = 1; i < c.n; i++)
        best = c.v[i].n > c.v[best].n ? i : best;
    uint32_t to = c.n ? c.v[best].to : PLAIN_MIXED;
    if (st == MUGA_OK && to != PLAIN_MIXED && to != SET_DEAD)
        st = plain_target(g, to, &beyond, err);
    if (st != MUGA_OK)
        return st;
    plain_most *made = arena_alloc(&g->run.rows, sizeof *made);
    *out = made ? made : &none; /* for want of room: looked for again next time */
    if (!made)
        return MUGA_OK;
    *made = none;
    for (uint32_t b = 0; b < 256; b++) {
        made->other[b] = c.by_byte[b] != NOT_MET && c.by_byte[b] != to;
        n_others += made->other[b];
    }
    if (beyond == to && n_others <= MOST_OTHERS)
        made->to = to;
    g->run.sets[set].most = made;
    return MUGA_OK;
}
