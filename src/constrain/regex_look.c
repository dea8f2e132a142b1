/* Look-around to a deterministic automaton. Owns: one automaton for each look-around, the threads, the subset
 * construction over them. Refuses by name: \b and \B beside look-around, look-behind with anything but plain terms in
 * it, look-ahead with `^` or \b in it that doesn't stand at the start of the text (all MUGA_E_INPUT).
 *
 * Idea: what stands before a place decides a look-behind, so its automaton simply runs along the text, and accepts or
 * not where it is asked. What follows decides a look-ahead: the thread that passes it goes on with a duty, the state of
 * an automaton that must accept the rest (or must not). A duty that can't be met ends its thread, one that is met is
 * dropped. Threads with their duties take the place of nodes; else this is the subset construction of regex_nfa.c. */
#include "base/hash.h"
#include "constrain/regex_nfa.h"

#define LOOK_MAX_DUTIES 64u /* of one thread */

typedef struct look {
    dfa *d;        /* ahead: texts that begin with a match; behind: texts that end with one */
    uint8_t *free; /* [n_states] ahead: whatever follows is accepted */
    bool behind, negated;
    bool from_start; /* what stands before it would count, which is known at the start alone */
} look;

typedef uint64_t duty;   /* look << 32 | state */
typedef uint64_t thread; /* node << 32 | duties */
typedef struct run {
    size_t at;
    uint32_t n;
} run;
/* Runs of numbers, each kept once. */
typedef struct runs {
    uint64_t *pool;
    size_t n_pool, cap_pool;
    run *v;
    uint32_t n, cap, *table, n_table;
} runs;

typedef struct looker {
    const nfa *f;
    look looks[NFA_MAX_LOOKS];
    uint32_t n_looks;
    runs duties;     /* 0: none */
    runs sets;       /* states: [is it the start, the look-behinds' states, the threads] */
    thread *todo;    /* to close over */
    uint64_t *found; /* the set under construction */
    thread *seen;    /* open addressing, with stamps */
    uint32_t *stamps;
    size_t n_todo, cap_todo, n_found, cap_found, n_seen, cap_seen;
    uint32_t stamp;
    bool misplaced; /* a look-ahead met somewhere else than it can be followed from */
    uint8_t first_of[256];
    dfa *d;
    size_t cap_states;
    uint64_t *work;
    muga_error *err;
} looker;

static muga_status append(looker *m, uint64_t **v, size_t *n, size_t *cap, uint64_t x) {
    if (*n == *cap) {
        size_t c = *cap ? *cap * 2 : 256;
        uint64_t *p = mem_resize_array(*v, c, sizeof *p);
        if (!p)
            return error_nomem(m->err, "a pattern");
        *v = p;
        *cap = c;
    }
    (*v)[(*n)++] = x;
    return MUGA_OK;
}

static int order(const void *x, const void *y) {
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

/* ---- runs ---- */

static uint64_t *run_get(const runs *r, uint32_t i) {
    return r->pool + r->v[i].at;
}

static muga_status runs_grow(looker *m, runs *r) {
    uint32_t n = r->n_table ? r->n_table * 2 : 64;
    uint32_t *t = mem_alloc_array(n, sizeof *t);
    if (!t)
        return error_nomem(m->err, "a pattern");
    for (uint32_t i = 0; i < r->n; i++) {
        uint64_t h = hash64(run_get(r, i), r->v[i].n * sizeof(uint64_t), r->v[i].n);
        while (t[h & (n - 1)])
            h++;
        t[h & (n - 1)] = i + 1;
    }
    free(r->table);
    r->table = t;
    r->n_table = n;
    return MUGA_OK;
}

static muga_status runs_intern(looker *m, runs *r, const uint64_t *x, uint32_t n, uint32_t *out) {
    muga_status st = r->n * 2 >= r->n_table ? runs_grow(m, r) : MUGA_OK;
    if (st != MUGA_OK)
        return st;
    uint64_t h = hash64(x, n * sizeof *x, n);
    for (; r->table[h & (r->n_table - 1)]; h++) {
        uint32_t i = r->table[h & (r->n_table - 1)] - 1;
        if (r->v[i].n == n && (n == 0 || memcmp(run_get(r, i), x, n * sizeof *x) == 0)) {
            *out = i;
            return MUGA_OK;
        }
    }
    if (r->n >= DFA_MAX_STATES || r->n_pool + n > DFA_MAX_CELLS)
        return error_set(m->err, MUGA_E_LIMIT, "pattern: its look-around needs more than %u states; simplify it", r->n);
    if (r->n == r->cap) {
        uint32_t cap = r->cap ? r->cap * 2 : 64;
        run *v = mem_resize_array(r->v, cap, sizeof *v);
        if (!v)
            return error_nomem(m->err, "a pattern");
        r->v = v;
        r->cap = cap;
    }
    r->table[h & (r->n_table - 1)] = r->n + 1;
    r->v[r->n] = (run){r->n_pool, n};
    for (uint32_t i = 0; i < n && st == MUGA_OK; i++)
        st = append(m, &r->pool, &r->n_pool, &r->cap_pool, x[i]);
    *out = r->n++;
    return st;
}

static void runs_release(runs *r) {
    free(r->pool);
    free(r->v);
    free(r->table);
}

/* ---- look-arounds ---- */

typedef struct walk {
    const dfa *d;
    uint32_t from;
    bool back; /* so far every character leads back */
} walk;

static void follow(walk *w, const utf8_seq *q, int i, uint32_t state) {
    int last = -1;
    for (uint32_t b = q->lo[i]; b <= q->hi[i] && w->back; b++) {
        if (w->d->class_of[b] == last)
            continue;
        last = w->d->class_of[b];
        uint32_t next = w->d->next[(size_t)state * w->d->n_classes + w->d->class_of[b]];
        if (i + 1 == q->n || next == DFA_DEAD)
            w->back = next == w->from;
        else
            follow(w, q, i + 1, next);
    }
}

static bool follow_sequence(void *ctx, const utf8_seq *q) {
    walk *w = ctx;
    follow(w, q, 0, w->from);
    return w->back;
}

/* States that accept and that no character leaves: equal states are one, so there is no other kind of "whatever". */
static muga_status find_free(looker *m, look *x) {
    x->free = mem_alloc_array(x->d->n_states, 1);
    if (!x->free)
        return error_nomem(m->err, "a pattern");
    for (uint32_t s = 0; s < x->d->n_states; s++) {
        walk w = {x->d, s, x->d->accept[s]};
        x->free[s] = w.back && utf8_split(0, CP_MAX, follow_sequence, &w) && w.back;
    }
    return nfa_spend(m->work, x->d->n_states, m->err);
}

typedef struct census {
    bool begins, ends, words, looks, behinds;
} census;

/* Recursion as deep as the pattern's groups. */
static void take_census(const re_node *x, census *c) {
    c->begins |= x->kind == RE_BEGIN;
    c->ends |= x->kind == RE_END;
    c->words |= x->kind == RE_WORD || x->kind == RE_NOT_WORD;
    c->looks |= x->kind == RE_LOOK;
    c->behinds |= x->kind == RE_LOOK && x->behind;
    for (const re_node *k = x->first; k; k = k->next)
        take_census(k, c);
}

static muga_status look_init(looker *m, look *x, const re_node *node) {
    census c = {0};
    take_census(node->first, &c);
    x->behind = node->behind;
    x->negated = node->negated;
    x->from_start = !x->behind && (c.begins || c.words);
    if (x->behind && (c.ends || c.words || c.looks))
        return error_set(m->err, MUGA_E_INPUT, "pattern: look-behind with $, \\b or look-around in it");
    if (c.behinds)
        return error_set(m->err, MUGA_E_INPUT, "pattern: look-behind inside look-ahead");
    muga_status st =
        regex_tree_dfa(node->first, x->behind ? REGEX_ANY_BEFORE : REGEX_ANY_BEHIND, m->work, &x->d, m->err);
    return st == MUGA_OK && !x->behind ? find_free(m, x) : st;
}

/* ---- threads ---- */

static muga_status grow_seen(looker *m) {
    size_t cap = m->cap_seen ? m->cap_seen * 2 : 256;
    thread *v = mem_alloc_array(cap, sizeof *v);
    uint32_t *stamps = mem_alloc_array(cap, sizeof *stamps);
    if (!v || !stamps) {
        free(v);
        free(stamps);
        return error_nomem(m->err, "a pattern");
    }
    for (size_t i = 0; i < m->cap_seen; i++)
        if (m->stamps[i] == m->stamp) {
            uint64_t h = hash64(&m->seen[i], sizeof m->seen[i], 0);
            while (stamps[h & (cap - 1)] == m->stamp)
                h++;
            v[h & (cap - 1)] = m->seen[i];
            stamps[h & (cap - 1)] = m->stamp;
        }
    free(m->seen);
    free(m->stamps);
    m->seen = v;
    m->stamps = stamps;
    m->cap_seen = cap;
    return MUGA_OK;
}

/* Puts a thread on the list unless it was there. */
static muga_status visit(looker *m, uint32_t node, uint32_t duties) {
    thread t = (uint64_t)node << 32 | duties;
    muga_status st = m->n_seen * 2 >= m->cap_seen ? grow_seen(m) : nfa_spend(m->work, 2, m->err);
    if (st != MUGA_OK)
        return st;
    uint64_t h = hash64(&t, sizeof t, 0);
    for (; m->stamps[h & (m->cap_seen - 1)] == m->stamp; h++)
        if (m->seen[h & (m->cap_seen - 1)] == t)
            return MUGA_OK;
    m->seen[h & (m->cap_seen - 1)] = t;
    m->stamps[h & (m->cap_seen - 1)] = m->stamp;
    m->n_seen++;
    return append(m, &m->todo, &m->n_todo, &m->cap_todo, t);
}

/* The number of these duties; met ones are left out. *met false: one can't be met any more. */
static muga_status duties_number(looker *m, duty *v, uint32_t n, uint32_t *out, bool *met) {
    uint32_t kept = 0;
    *met = true;
    for (uint32_t i = 0; i < n; i++) {
        const look *x = &m->looks[v[i] >> 32];
        uint32_t state = (uint32_t)v[i];
        bool settled = state == DFA_DEAD || x->free[state];
        if (!settled)
            v[kept++] = v[i];
        else if ((state == DFA_DEAD) != x->negated)
            *met = false;
    }
    if (!*met)
        return MUGA_OK;
    if (kept > 1)
        qsort(v, kept, sizeof *v, order);
    uint32_t w = 0;
    for (uint32_t i = 0; i < kept; i++)
        if (i == 0 || v[i] != v[i - 1])
            v[w++] = v[i];
    muga_status st = nfa_spend(m->work, 2 * (uint64_t)n + 1, m->err);
    if (st == MUGA_OK && w >= LOOK_MAX_DUTIES)
        st = error_set(m->err, MUGA_E_LIMIT, "pattern: more than %u look-aheads to follow at once", LOOK_MAX_DUTIES);
    return st == MUGA_OK ? runs_intern(m, &m->duties, v, w, out) : st;
}

static muga_status pass_look(looker *m, const nfa_node *node, uint32_t duties, const uint64_t *set) {
    const look *x = &m->looks[node->b];
    duty v[LOOK_MAX_DUTIES + 1];
    uint32_t n = m->duties.v[duties].n;
    bool met;
    if (x->behind) {
        uint32_t state = (uint32_t)set[1 + node->b];
        return (state != DFA_DEAD && x->d->accept[state]) != x->negated ? visit(m, node->a, duties) : MUGA_OK;
    }
    m->misplaced |= x->from_start && !set[0];
    if (n > 0)
        memcpy(v, run_get(&m->duties, duties), n * sizeof *v);
    v[n] = (uint64_t)node->b << 32 | x->d->start;
    muga_status st = duties_number(m, v, n + 1, &duties, &met);
    return st == MUGA_OK && met ? visit(m, node->a, duties) : st;
}

static bool duties_done(const looker *m, uint32_t duties) {
    const duty *v = run_get(&m->duties, duties);
    for (uint32_t i = 0; i < m->duties.v[duties].n; i++) {
        const look *x = &m->looks[v[i] >> 32];
        if ((x->d->accept[(uint32_t)v[i]] != 0) == x->negated)
            return false;
    }
    return true;
}

/* Follows what needs no byte from the list on; found gets the threads that wait for one behind its first entries, the
 * place. *accepted: at the end of the text, one is through. */
static muga_status close_over(looker *m, bool at_end, bool *accepted) {
    muga_status st = MUGA_OK;
    *accepted = false;
    while (m->n_todo > 0 && st == MUGA_OK) {
        thread t = m->todo[--m->n_todo];
        uint32_t duties = (uint32_t)t;
        const nfa_node *x = &m->f->v[t >> 32];
        bool waits = false;
        switch ((nfa_kind)x->kind) {
        case N_BYTES: waits = !at_end; break;
        case N_MATCH:
            waits = !at_end;
            *accepted |= at_end && duties_done(m, duties);
            break;
        case N_ALL: st = visit(m, x->a, duties); break;
        case N_SPLIT:
            st = visit(m, x->a, duties);
            if (st == MUGA_OK && x->b != NONE)
                st = visit(m, x->b, duties);
            break;
        case N_BEGIN: st = m->found[0] ? visit(m, x->a, duties) : MUGA_OK; break;
        case N_END:
            waits = !at_end;
            st = at_end ? visit(m, x->a, duties) : MUGA_OK;
            break;
        case N_LOOK: st = pass_look(m, x, duties, m->found); break;
        case N_WORD:
        case N_NOT_WORD: break; /* refused before */
        }
        if (st == MUGA_OK && waits)
            st = append(m, &m->found, &m->n_found, &m->cap_found, t);
    }
    if (st == MUGA_OK && m->misplaced)
        st = error_set(m->err, MUGA_E_INPUT, "pattern: look-ahead with ^ or \\b in it behind the start of the text");
    return st;
}

static muga_status begin_set(looker *m, bool start) {
    m->n_found = m->n_todo = m->n_seen = 0;
    if (++m->stamp == 0) {
        if (m->cap_seen)
            memset(m->stamps, 0, m->cap_seen * sizeof *m->stamps);
        m->stamp = 1;
    }
    return append(m, &m->found, &m->n_found, &m->cap_found, start);
}

/* The state of `found`; a new one is numbered and waits for its transitions. */
static muga_status intern_set(looker *m, uint32_t *out) {
    size_t head = 1 + m->n_looks, n = m->n_found - head;
    if (n == 0) {
        *out = DFA_DEAD;
        return MUGA_OK;
    }
    qsort(m->found + head, n, sizeof *m->found, order);
    muga_status st = nfa_spend(m->work, 4 * (uint64_t)n, m->err);
    if (st == MUGA_OK)
        st = runs_intern(m, &m->sets, m->found, (uint32_t)m->n_found, out);
    if (st == MUGA_OK && (uint64_t)m->sets.n * m->d->n_classes > DFA_MAX_CELLS)
        st = error_set(m->err, MUGA_E_LIMIT, "pattern: needs more than %u states; simplify it", m->sets.n);
    return st;
}

static muga_status start_set(looker *m, uint32_t entry, uint32_t *out) {
    bool ignored;
    muga_status st = begin_set(m, true);
    for (uint32_t i = 0; i < m->n_looks && st == MUGA_OK; i++)
        st = append(m, &m->found, &m->n_found, &m->cap_found, m->looks[i].behind ? m->looks[i].d->start : 0);
    if (st == MUGA_OK)
        st = visit(m, entry, 0);
    if (st == MUGA_OK)
        st = close_over(m, false, &ignored);
    return st == MUGA_OK ? intern_set(m, out) : st;
}

static uint32_t dfa_step(const dfa *d, uint32_t state, uint8_t byte) {
    return state == DFA_DEAD ? DFA_DEAD : d->next[(size_t)state * d->n_classes + d->class_of[byte]];
}

static muga_status step(looker *m, uint32_t from, uint8_t byte, uint32_t *out) {
    uint32_t n = m->sets.v[from].n;
    bool ignored;
    muga_status st = begin_set(m, false);
    for (uint32_t i = 0; i < m->n_looks && st == MUGA_OK; i++) {
        uint32_t state = (uint32_t)run_get(&m->sets, from)[1 + i];
        st = append(m, &m->found, &m->n_found, &m->cap_found,
                    m->looks[i].behind ? dfa_step(m->looks[i].d, state, byte) : 0);
    }
    for (uint32_t i = 1 + m->n_looks; i < n && st == MUGA_OK; i++) {
        thread t = run_get(&m->sets, from)[i];
        const nfa_node *x = &m->f->v[t >> 32];
        duty v[LOOK_MAX_DUTIES + 1];
        uint32_t duties = (uint32_t)t, n_duties = m->duties.v[duties].n;
        bool met = true;
        if (x->kind != N_BYTES || byte < x->lo || byte > x->hi)
            continue;
        for (uint32_t k = 0; k < n_duties; k++) {
            duty one = run_get(&m->duties, duties)[k];
            v[k] = (one >> 32 << 32) | dfa_step(m->looks[one >> 32].d, (uint32_t)one, byte);
        }
        if (n_duties > 0)
            st = duties_number(m, v, n_duties, &duties, &met);
        if (st == MUGA_OK && met)
            st = visit(m, x->a, duties);
    }
    if (st == MUGA_OK)
        st = nfa_spend(m->work, n / 8 + 1, m->err);
    if (st == MUGA_OK)
        st = close_over(m, false, &ignored);
    return st == MUGA_OK ? intern_set(m, out) : st;
}

static muga_status accepts(looker *m, uint32_t set, bool *yes) {
    uint32_t head = 1 + m->n_looks;
    muga_status st = begin_set(m, run_get(&m->sets, set)[0]);
    for (uint32_t i = 1; i < m->sets.v[set].n && st == MUGA_OK; i++) {
        uint64_t x = run_get(&m->sets, set)[i];
        st = i < head ? append(m, &m->found, &m->n_found, &m->cap_found, x)
                      : visit(m, (uint32_t)(x >> 32), (uint32_t)x);
    }
    return st == MUGA_OK ? close_over(m, true, yes) : st;
}

/* ---- the whole ---- */

static void find_classes(looker *m) {
    bool edge[257] = {true};
    for (uint32_t i = 0; i < m->f->n; i++)
        if (m->f->v[i].kind == N_BYTES && m->f->v[i].lo <= m->f->v[i].hi) {
            edge[m->f->v[i].lo] = true;
            edge[m->f->v[i].hi + 1] = true;
        }
    for (uint32_t i = 0; i < m->n_looks; i++)
        for (int c = 1; c < 256; c++)
            edge[c] |= m->looks[i].d->class_of[c] != m->looks[i].d->class_of[c - 1];
    for (int c = 0; c < 256; c++) {
        m->d->n_classes += edge[c];
        m->d->class_of[c] = (uint8_t)(m->d->n_classes - 1);
        if (edge[c])
            m->first_of[m->d->n_classes - 1] = (uint8_t)c;
    }
}

static muga_status room_for_state(looker *m, uint32_t i) {
    if (i < m->cap_states)
        return MUGA_OK;
    size_t cap = m->cap_states ? m->cap_states * 2 : 32;
    uint32_t *next = mem_resize_array(m->d->next, cap * m->d->n_classes, sizeof *next);
    if (!next)
        return error_nomem(m->err, "a pattern");
    m->d->next = next;
    uint8_t *accept = mem_resize_array(m->d->accept, cap, 1);
    if (!accept)
        return error_nomem(m->err, "a pattern");
    m->d->accept = accept;
    m->cap_states = cap;
    return MUGA_OK;
}

static muga_status determinise(looker *m, uint32_t entry) {
    uint32_t none;
    m->d->n_classes = 0;
    find_classes(m);
    muga_status st = runs_intern(m, &m->duties, NULL, 0, &none);
    if (st == MUGA_OK)
        st = start_set(m, entry, &m->d->start);
    for (uint32_t i = 0; i < m->sets.n && st == MUGA_OK; i++) {
        bool yes = false;
        st = room_for_state(m, i);
        for (uint32_t k = 0; k < m->d->n_classes && st == MUGA_OK; k++)
            st = step(m, i, m->first_of[k], &m->d->next[(size_t)i * m->d->n_classes + k]);
        if (st == MUGA_OK)
            st = accepts(m, i, &yes);
        if (st == MUGA_OK)
            m->d->accept[i] = yes;
    }
    m->d->n_states = m->sets.n;
    return st == MUGA_OK ? dfa_prune(m->d, m->err) : st;
}

static muga_status refuse_words(const nfa *f, muga_error *err) {
    for (uint32_t i = 0; i < f->n; i++)
        if (f->v[i].kind == N_WORD || f->v[i].kind == N_NOT_WORD)
            return error_set(err, MUGA_E_INPUT, "pattern: look-around beside \\b or \\B");
    return MUGA_OK;
}

muga_status regex_look_dfa(const nfa *f, uint32_t entry, uint64_t *work, dfa **out, muga_error *err) {
    looker m = {.f = f, .n_looks = f->n_looks, .work = work, .err = err, .d = mem_alloc_array(1, sizeof *m.d)};
    muga_status st = m.d ? refuse_words(f, err) : error_nomem(err, "a pattern");
    for (uint32_t i = 0; i < f->n_looks && st == MUGA_OK; i++)
        st = look_init(&m, &m.looks[i], f->looks[i]);
    if (st == MUGA_OK)
        st = determinise(&m, entry);
    if (st == MUGA_OK) {
        *out = m.d;
        m.d = NULL;
    }
    for (uint32_t i = 0; i < f->n_looks; i++) {
        dfa_free(m.looks[i].d);
        free(m.looks[i].free);
    }
    runs_release(&m.duties);
    runs_release(&m.sets);
    free(m.todo);
    free(m.found);
    free(m.seen);
    free(m.stamps);
    dfa_free(m.d);
    return st;
}
