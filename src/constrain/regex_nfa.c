/* Patterns to deterministic automata. Owns: the byte NFA (Thompson) while it lives, and the subset construction.
 * Refuses: more than NFA_MAX_NODES nodes, DFA_MAX_STATES states, or work past the caller's count (MUGA_E_LIMIT).
 *
 * Idea: `^` is decided when a set of nodes is closed (it holds only at the start); `$`, `\b` and `\B` need to know what
 * follows, so their nodes stay in the set and are passed when the next byte, or the end, is known. A state is the set
 * plus what came before (start, word character, other), kept only where the pattern asks. */
#include "constrain/regex_nfa.h"

#include "base/hash.h"

static uint32_t nfa_add(nfa *f, nfa_kind kind, uint8_t lo, uint8_t hi, uint32_t a, uint32_t b) {
    if (f->n >= NFA_MAX_NODES)
        f->too_large = true;
    if (f->too_large || f->nomem)
        return 0;
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 64;
        nfa_node *v = mem_resize_array(f->v, cap, sizeof *v);
        if (!v) {
            f->nomem = true;
            return 0;
        }
        f->v = v;
        f->cap = cap;
    }
    f->v[f->n] = (nfa_node){(uint8_t)kind, lo, hi, a, b};
    return f->n++;
}

/* The number of a look-around; the same node is built again where it is repeated. */
static uint32_t look_number(nfa *f, const re_node *x) {
    uint32_t i = 0;
    while (i < f->n_looks && f->looks[i] != x)
        i++;
    if (i == NFA_MAX_LOOKS)
        f->too_many_looks = true;
    else if (i == f->n_looks)
        f->looks[f->n_looks++] = x;
    return i;
}

/* Everything is built backwards: build(x, to) gives the entry of "x, then to". */
typedef struct set_builder {
    nfa *f;
    uint32_t to, entry;
} set_builder;

static bool add_sequence(void *ctx, const utf8_seq *q) {
    set_builder *b = ctx;
    uint32_t at = b->to;
    for (int i = q->n - 1; i >= 0; i--)
        at = nfa_add(b->f, N_BYTES, q->lo[i], q->hi[i], at, NONE);
    b->entry = b->entry == NONE ? at : nfa_add(b->f, N_SPLIT, 0, 0, at, b->entry);
    return !b->f->too_large && !b->f->nomem;
}

static uint32_t build_set(nfa *f, const cp_set *s, uint32_t to) {
    set_builder b = {f, to, NONE};
    for (size_t i = 0; i < s->n; i++)
        if (!utf8_split(s->r[i].lo, s->r[i].hi, add_sequence, &b))
            break;
    return b.entry == NONE ? nfa_add(f, N_BYTES, 1, 0, to, NONE) : b.entry; /* empty set: a byte that never is */
}

static uint32_t build(nfa *f, const re_node *x, uint32_t to);

static uint32_t build_cat(nfa *f, const re_node *x, uint32_t to) {
    size_t n = 0;
    for (const re_node *c = x->first; c; c = c->next)
        n++;
    const re_node **kids = mem_alloc_array(n, sizeof *kids);
    if (!kids) {
        f->nomem = true;
        return 0;
    }
    size_t i = 0;
    for (const re_node *c = x->first; c; c = c->next)
        kids[i++] = c;
    while (i > 0)
        to = build(f, kids[--i], to);
    free(kids);
    return to;
}

static uint32_t build_repeat(nfa *f, const re_node *x, uint32_t to) {
    if (x->max == RE_INF) {
        uint32_t loop = nfa_add(f, N_SPLIT, 0, 0, to, NONE);
        uint32_t body = build(f, x->first, loop);
        if (!f->nomem && !f->too_large)
            f->v[loop].b = body;
        to = loop;
    } else {
        uint32_t out = to;
        for (uint32_t i = x->min; i < x->max && !f->too_large && !f->nomem; i++)
            to = nfa_add(f, N_SPLIT, 0, 0, build(f, x->first, to), out);
    }
    for (uint32_t i = 0; i < x->min && !f->too_large && !f->nomem; i++) {
        uint32_t before = f->n;
        to = build(f, x->first, to);
        if (f->n == before)
            break; /* the body adds nothing, so repeating it doesn't either */
    }
    return to;
}

static uint32_t build(nfa *f, const re_node *x, uint32_t to) {
    if (f->too_large || f->nomem)
        return 0;
    switch (x->kind) {
    case RE_EMPTY: return to;
    case RE_SET: return build_set(f, &x->set, to);
    case RE_CAT: return build_cat(f, x, to);
    case RE_ALT: {
        uint32_t entry = build(f, x->first, to);
        for (const re_node *c = x->first->next; c; c = c->next)
            entry = nfa_add(f, N_SPLIT, 0, 0, build(f, c, to), entry);
        return entry;
    }
    case RE_REPEAT: return build_repeat(f, x, to);
    case RE_GROUP: return build(f, x->first, to);
    case RE_BACK: break; /* refused before */
    case RE_LOOK: return nfa_add(f, N_LOOK, 0, 0, to, look_number(f, x));
    case RE_BEGIN: return nfa_add(f, N_BEGIN, 0, 0, to, NONE);
    case RE_END: return nfa_add(f, N_END, 0, 0, to, NONE);
    case RE_WORD: return nfa_add(f, N_WORD, 0, 0, to, NONE);
    case RE_NOT_WORD: return nfa_add(f, N_NOT_WORD, 0, 0, to, NONE);
    }
    return to;
}

/* [any]* in front of, or behind, the pattern. */
static uint32_t build_any_loop(nfa *f, uint32_t to) {
    cp_range all = {0, CP_MAX};
    cp_set any = {.r = &all, .n = 1, .cap = 1};
    uint32_t loop = nfa_add(f, N_SPLIT, 0, 0, to, NONE);
    uint32_t body = build_set(f, &any, loop);
    if (!f->nomem && !f->too_large)
        f->v[loop].b = body;
    return loop;
}

/* ---- subset construction ---- */

typedef enum { BEFORE_OTHER, BEFORE_WORD, BEFORE_START } before;
typedef enum { AFTER_OTHER, AFTER_WORD, AFTER_END, AFTER_UNKNOWN } after;

typedef struct subset {
    uint32_t at, n; /* in pool */
    uint32_t before;
} subset;
#define SEED_SLOTS 4096u
typedef struct maker {
    const nfa *f;
    bool words; /* \b or \B occurs */
    subset *sets;
    uint32_t n_sets, cap_sets;
    uint32_t *pool;
    size_t n_pool, cap_pool;
    uint32_t *table; /* open addressing: set + 1 */
    uint32_t n_table;
    uint32_t *mark, *stack, *found; /* [f->n] */
    struct seeded {
        uint32_t seed[2], set;
    } * seeded; /* [SEED_SLOTS]: which state one or two nodes close to; saves closing a large class again and again */
    uint32_t stamp, n_found;
    struct linked {
        uint32_t to, next;
    } * linked; /* successors by class: head[class], then next */
    uint32_t n_linked, cap_linked, head[256];
    uint8_t first_of[256]; /* a byte of each class */
    dfa *d;
    uint64_t *work;
    muga_error *err;
} maker;

muga_status nfa_spend(uint64_t *work, uint64_t n, muga_error *err) {
    if (*work < n)
        return error_set(err, MUGA_E_LIMIT, "pattern: takes more work to compile than the budget allows; simplify it");
    *work -= n;
    return MUGA_OK;
}

/* Closes the nodes in stack[0, n) into found; sorted is up to the caller. */
static void close_over(maker *m, uint32_t n, before b, after a, uint32_t *visits) {
    m->stamp++;
    m->n_found = 0;
    uint32_t kept = 0; /* seeds seen twice are dropped */
    for (uint32_t i = 0; i < n; i++)
        if (m->mark[m->stack[i]] != m->stamp) {
            m->mark[m->stack[i]] = m->stamp;
            m->stack[kept++] = m->stack[i];
        }
    n = kept;
    while (n > 0) {
        uint32_t i = m->stack[--n];
        const nfa_node *x = &m->f->v[i];
        uint32_t next[2] = {NONE, NONE};
        bool boundary = (b == BEFORE_WORD) != (a == AFTER_WORD);
        ++*visits;
        switch ((nfa_kind)x->kind) {
        case N_BYTES:
        case N_MATCH: m->found[m->n_found++] = i; break;
        case N_ALL:
            m->found[0] = i; /* everything matches from here on: nothing else counts */
            m->n_found = 1;
            return;
        case N_SPLIT: next[0] = x->a, next[1] = x->b; break;
        case N_BEGIN:
            if (b == BEFORE_START)
                next[0] = x->a;
            break;
        case N_END:
            if (a == AFTER_END)
                next[0] = x->a;
            else if (a == AFTER_UNKNOWN)
                m->found[m->n_found++] = i;
            break;
        case N_WORD:
        case N_NOT_WORD:
            if (a == AFTER_UNKNOWN)
                m->found[m->n_found++] = i;
            else if (boundary == (x->kind == N_WORD))
                next[0] = x->a;
            break;
        case N_LOOK: break; /* regex_look.c */
        }
        for (int k = 0; k < 2; k++)
            if (next[k] != NONE && m->mark[next[k]] != m->stamp) {
                m->mark[next[k]] = m->stamp;
                m->stack[n++] = next[k];
            }
    }
}

static int u32_compare(const void *x, const void *y) {
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static muga_status grow_table(maker *m) {
    uint32_t n = m->n_table ? m->n_table * 2 : 64;
    uint32_t *t = mem_alloc_array(n, sizeof *t);
    if (!t)
        return error_nomem(m->err, "a pattern");
    for (uint32_t i = 0; i < m->n_sets; i++) {
        uint64_t h = hash64(m->pool + m->sets[i].at, m->sets[i].n * sizeof *m->pool, m->sets[i].before);
        while (t[h & (n - 1)])
            h++;
        t[h & (n - 1)] = i + 1;
    }
    free(m->table);
    m->table = t;
    m->n_table = n;
    return MUGA_OK;
}

static muga_status grow_states(maker *m) {
    if (m->n_sets == m->cap_sets) {
        uint32_t cap = m->cap_sets ? m->cap_sets * 2 : 32;
        subset *s = mem_resize_array(m->sets, cap, sizeof *s);
        if (!s)
            return error_nomem(m->err, "a pattern");
        m->sets = s;
        uint32_t *next = mem_resize_array(m->d->next, (size_t)cap * m->d->n_classes, sizeof *next);
        if (!next)
            return error_nomem(m->err, "a pattern");
        m->d->next = next;
        uint8_t *accept = mem_resize_array(m->d->accept, cap, 1);
        if (!accept)
            return error_nomem(m->err, "a pattern");
        m->d->accept = accept;
        m->cap_sets = cap;
    }
    if (m->n_pool + m->n_found > m->cap_pool) {
        size_t cap = MAX(m->cap_pool * 2, m->n_pool + m->n_found + 256);
        uint32_t *p = mem_resize_array(m->pool, cap, sizeof *p);
        if (!p)
            return error_nomem(m->err, "a pattern");
        m->pool = p;
        m->cap_pool = cap;
    }
    return m->n_sets * 2 >= m->n_table ? grow_table(m) : MUGA_OK;
}

/* The state of `found` (sorted here); a new one is numbered and waits for its transitions. */
static muga_status intern(maker *m, before b, uint32_t *out) {
    if (m->n_found == 0) {
        *out = DFA_DEAD;
        return MUGA_OK;
    }
    qsort(m->found, m->n_found, sizeof *m->found, u32_compare);
    muga_status st = grow_states(m);
    if (st != MUGA_OK)
        return st;
    uint64_t h = hash64(m->found, m->n_found * sizeof *m->found, b);
    for (; m->table[h & (m->n_table - 1)]; h++) {
        const subset *s = &m->sets[m->table[h & (m->n_table - 1)] - 1];
        if (s->before == (uint32_t)b && s->n == m->n_found &&
            memcmp(m->pool + s->at, m->found, s->n * sizeof *m->found) == 0) {
            *out = m->table[h & (m->n_table - 1)] - 1;
            return MUGA_OK;
        }
    }
    if (m->n_sets >= DFA_MAX_STATES || (uint64_t)m->n_sets * m->d->n_classes > DFA_MAX_CELLS ||
        m->n_pool > DFA_MAX_CELLS)
        return error_set(m->err, MUGA_E_LIMIT, "pattern: needs more than %u states; simplify it", m->n_sets);
    m->table[h & (m->n_table - 1)] = m->n_sets + 1;
    m->sets[m->n_sets] = (subset){(uint32_t)m->n_pool, m->n_found, (uint32_t)b};
    memcpy(m->pool + m->n_pool, m->found, m->n_found * sizeof *m->found);
    m->n_pool += m->n_found;
    *out = m->n_sets++;
    return MUGA_OK;
}

static bool is_word(uint32_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= 'a' && c <= 'z');
}

/* The successors of a state's nodes, by class of the byte: one pass over the nodes instead of one a class. With \b in
 * the pattern a node's successors depend on the byte, so then the pass is over the nodes that `after` lets through. */
static muga_status sort_successors(maker *m, const uint32_t *nodes, uint32_t n, after a) {
    m->n_linked = 0;
    for (uint32_t k = 0; k < m->d->n_classes; k++)
        m->head[k] = NONE;
    for (uint32_t i = 0; i < n; i++) {
        const nfa_node *x = &m->f->v[nodes[i]];
        if (x->kind != N_BYTES || x->lo > x->hi)
            continue;
        for (uint32_t k = m->d->class_of[x->lo]; k <= m->d->class_of[x->hi]; k++) {
            if (m->words && is_word(m->first_of[k]) != (a == AFTER_WORD))
                continue;
            if (m->n_linked == m->cap_linked) {
                uint32_t cap = m->cap_linked ? m->cap_linked * 2 : 256;
                struct linked *v = mem_resize_array(m->linked, cap, sizeof *v);
                if (!v)
                    return error_nomem(m->err, "a pattern");
                m->linked = v;
                m->cap_linked = cap;
            }
            m->linked[m->n_linked] = (struct linked){x->a, m->head[k]};
            m->head[k] = m->n_linked++;
        }
    }
    return nfa_spend(m->work, n + m->n_linked, m->err);
}

/* Where class k leads, by the successors sorted before. */
static muga_status step(maker *m, uint32_t k, uint32_t *out) {
    uint32_t n = 0, visits = 0;
    for (uint32_t i = m->head[k]; i != NONE; i = m->linked[i].next)
        m->stack[n++] = m->linked[i].to;
    before nb = m->words && is_word(m->first_of[k]) ? BEFORE_WORD : BEFORE_OTHER;
    uint32_t a = n > 0 ? m->stack[0] : NONE, b = n > 1 ? m->stack[1] : a;
    bool cached = n >= 1 && n <= 2 && !m->words;
    struct seeded *slot = &m->seeded[(a * 31u + b) & (SEED_SLOTS - 1)];
    if (cached && slot->seed[0] == a && slot->seed[1] == b && slot->set != NONE) {
        *out = slot->set;
        return nfa_spend(m->work, 1, m->err);
    }
    close_over(m, n, nb, AFTER_UNKNOWN, &visits);
    muga_status st = nfa_spend(m->work, 2 * (uint64_t)visits + 4 * (uint64_t)m->n_found + 2, m->err);
    if (st == MUGA_OK)
        st = intern(m, nb, out);
    if (st == MUGA_OK && cached)
        *slot = (struct seeded){{a, b}, *out};
    return st;
}

/* The row of state i, which has the moves of state `from` (itself, but for the state that matches everything). */
static muga_status fill_row(maker *m, uint32_t i, uint32_t from) {
    muga_status st = MUGA_OK;
    for (uint32_t pass = 0; pass < (m->words ? 2u : 1u) && st == MUGA_OK; pass++) {
        const subset s = m->sets[from];
        const uint32_t *nodes = m->pool + s.at;
        uint32_t n = s.n, visits = 0;
        after a = pass ? AFTER_WORD : AFTER_OTHER;
        if (m->words) { /* pass the assertions that the byte decides */
            memcpy(m->stack, nodes, n * sizeof *nodes);
            close_over(m, n, (before)s.before, a, &visits);
            if (m->n_found > 0 && m->f->v[m->found[0]].kind == N_ALL) { /* they let everything through */
                m->stack[0] = m->f->v[m->found[0]].a;
                close_over(m, 1, (before)s.before, a, &visits);
            }
            nodes = m->found;
            n = m->n_found;
        }
        st = sort_successors(m, nodes, n, a);
        for (uint32_t k = 0; k < m->d->n_classes && st == MUGA_OK; k++) {
            uint32_t to = DFA_DEAD;
            if (m->words && is_word(m->first_of[k]) != (a == AFTER_WORD))
                continue;
            if (m->head[k] != NONE)
                st = step(m, k, &to);
            m->d->next[(size_t)i * m->d->n_classes + k] = to;
        }
    }
    return st;
}

static bool accepts(maker *m, uint32_t i) {
    uint32_t visits = 0;
    const subset *s = &m->sets[i];
    memcpy(m->stack, m->pool + s->at, s->n * sizeof *m->stack);
    close_over(m, s->n, (before)s->before, AFTER_END, &visits);
    for (uint32_t k = 0; k < m->n_found; k++)
        if (m->f->v[m->found[k]].kind == N_MATCH || m->f->v[m->found[k]].kind == N_ALL)
            return true;
    return false;
}

static void find_classes(const nfa *f, bool words, dfa *d) {
    bool edge[257] = {false};
    edge[0] = true;
    for (uint32_t i = 0; i < f->n; i++)
        if (f->v[i].kind == N_BYTES && f->v[i].lo <= f->v[i].hi) {
            edge[f->v[i].lo] = true;
            edge[f->v[i].hi + 1] = true;
        }
    for (uint32_t c = 1; c < 256 && words; c++)
        if (is_word(c) != is_word(c - 1))
            edge[c] = true;
    d->n_classes = 0;
    for (int c = 0; c < 256; c++) {
        d->n_classes += edge[c];
        d->class_of[c] = (uint8_t)(d->n_classes - 1);
    }
}

static muga_status determinise(maker *m, uint32_t entry) {
    for (int c = 255; c >= 0; c--)
        m->first_of[m->d->class_of[c]] = (uint8_t)c;
    uint32_t visits = 0;
    m->stack[0] = entry;
    close_over(m, 1, BEFORE_START, AFTER_UNKNOWN, &visits);
    muga_status st = intern(m, BEFORE_START, &m->d->start);
    for (uint32_t i = 0; st == MUGA_OK && i < m->n_sets; i++) {
        uint32_t from = i, first = m->pool[m->sets[i].at];
        bool all = m->f->v[first].kind == N_ALL;
        if (all) { /* the set held only it, so that everything else was pruned; its moves are those of its loop */
            m->stack[0] = m->f->v[first].a;
            close_over(m, 1, BEFORE_OTHER, AFTER_UNKNOWN, &visits);
            st = intern(m, BEFORE_OTHER, &from);
        }
        if (st == MUGA_OK)
            st = fill_row(m, i, from);
        if (st == MUGA_OK)
            m->d->accept[i] = all || accepts(m, i);
    }
    m->d->n_states = m->n_sets;
    return st;
}

static muga_status make_dfa(const nfa *f, uint32_t entry, uint64_t *work, dfa **out, muga_error *err) {
    maker m = {.f = f, .work = work, .err = err, .d = mem_alloc_array(1, sizeof *m.d)};
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < f->n; i++)
        m.words |= f->v[i].kind == N_WORD || f->v[i].kind == N_NOT_WORD;
    m.mark = mem_alloc_array(f->n, sizeof *m.mark);
    m.stack = mem_alloc_array((size_t)f->n * 2 + 2, sizeof *m.stack);
    m.found = mem_alloc_array((size_t)f->n + 1, sizeof *m.found);
    m.seeded = mem_alloc_array(SEED_SLOTS, sizeof *m.seeded);
    for (uint32_t i = 0; i < SEED_SLOTS && m.seeded; i++)
        m.seeded[i].set = NONE;
    if (!m.d || !m.mark || !m.stack || !m.found || !m.seeded) {
        st = error_nomem(err, "a pattern");
        goto out;
    }
    find_classes(f, m.words, m.d);
    st = determinise(&m, entry);
    if (st == MUGA_OK)
        st = dfa_prune(m.d, err);
    if (st == MUGA_OK) {
        *out = m.d;
        m.d = NULL;
    }
out:
    free(m.mark);
    free(m.stack);
    free(m.found);
    free(m.seeded);
    free(m.linked);
    free(m.sets);
    free(m.pool);
    free(m.table);
    dfa_free(m.d);
    return st;
}

/* Every match begins at the start, so nothing can stand before it. */
static bool is_anchored(const re_node *x) {
    switch (x->kind) {
    case RE_BEGIN: return true;
    case RE_CAT: return x->first && is_anchored(x->first);
    case RE_REPEAT: return x->min > 0 && is_anchored(x->first);
    case RE_GROUP: return is_anchored(x->first);
    case RE_ALT:
        for (const re_node *c = x->first; c; c = c->next)
            if (!is_anchored(c))
                return false;
        return true;
    default: return false;
    }
}

muga_status regex_tree_dfa(const re_node *x, regex_around around, uint64_t *work, dfa **out, muga_error *err) {
    nfa f = {0};
    uint32_t entry = nfa_add(&f, N_MATCH, 0, 0, NONE, NONE);
    muga_status st;
    *out = NULL;
    if (around & REGEX_ANY_BEHIND)
        entry = nfa_add(&f, N_ALL, 0, 0, build_any_loop(&f, entry), NONE);
    entry = build(&f, x, entry);
    if (around & REGEX_ANY_BEFORE && !is_anchored(x))
        entry = build_any_loop(&f, entry);
    if (f.nomem)
        st = error_nomem(err, "a pattern");
    else if (f.too_large)
        st = error_set(err, MUGA_E_LIMIT, "pattern: its repetitions unfold to more than %u nodes; lower the counts",
                       NFA_MAX_NODES);
    else if (f.too_many_looks)
        st = error_set(err, MUGA_E_INPUT, "pattern: more than %u look-arounds", NFA_MAX_LOOKS);
    else if (*work < f.n)
        st = error_set(err, MUGA_E_LIMIT, "pattern: takes more work to compile than the budget allows; simplify it");
    else
        st = MUGA_OK;
    *work -= MIN(*work, f.n);
    if (st == MUGA_OK)
        st = f.n_looks ? regex_look_dfa(&f, entry, work, out, err) : make_dfa(&f, entry, work, out, err);
    free(f.v);
    return st;
}

muga_status regex_compile(const char *p, size_t n, regex_mode mode, uint64_t *work, dfa **out, muga_error *err) {
    *out = NULL;
    re_tree t;
    muga_status st = regex_parse(p, n, work, &t, err);
    if (st != MUGA_OK)
        return st;
    /* `^` and `$` at the ends of a whole match say nothing; inside they hold as ever. */
    if (t.irregular)
        st = error_set(err, MUGA_E_INPUT, "pattern, byte %zu: %s", t.irregular_at, t.irregular);
    else
        st = regex_tree_dfa(t.root, mode == REGEX_SEARCH ? REGEX_ANY_BEFORE | REGEX_ANY_BEHIND : 0, work, out, err);
    regex_tree_release(&t);
    return st;
}

muga_status dfa_any(dfa **out, uint64_t *work, muga_error *err) {
    *out = NULL;
    nfa f = {0};
    uint32_t entry = build_any_loop(&f, nfa_add(&f, N_MATCH, 0, 0, NONE, NONE));
    muga_status st = f.nomem ? error_nomem(err, "an automaton") : make_dfa(&f, entry, work, out, err);
    free(f.v);
    return st;
}
