/* Operations on finished automata: match, prune, combine, limit the length, build from words.
 * Owns: dfa objects. Refuses: more than DFA_MAX_STATES states or DFA_MAX_CELLS cells, work past the caller's count.
 * Idea: every construction numbers pairs of states as it meets them; byte classes are refined first, so a table row
 * stays short. Invariant of a finished dfa: from every state some accepting state can be reached. */
#include "constrain/dfa.h"

#include "base/hash.h"
#include "base/mem.h"

void dfa_free(dfa *d) {
    if (!d)
        return;
    free(d->next);
    free(d->accept);
    free(d);
}

bool dfa_match(const dfa *d, const char *s, size_t n) {
    uint32_t at = d->start;
    for (size_t i = 0; i < n && at != DFA_DEAD; i++)
        at = d->next[(size_t)at * d->n_classes + d->class_of[(uint8_t)s[i]]];
    return at != DFA_DEAD && d->accept[at];
}

static muga_status too_large(muga_error *err) {
    return error_set(err, MUGA_E_LIMIT,
                     "a string's pattern and length together need more than %u states; simplify them", DFA_MAX_STATES);
}

/* Reverse edges by counting sort: of state t, from[first[t] .. first[t+1]). */
static bool reverse_edges(const dfa *d, uint32_t **first, uint32_t **from) {
    size_t cells = (size_t)d->n_states * d->n_classes;
    *first = mem_alloc_array((size_t)d->n_states + 2, sizeof **first);
    *from = mem_alloc_array(cells, sizeof **from);
    if (!*first || !*from)
        return false;
    uint32_t *count = *first + 1;
    for (size_t i = 0; i < cells; i++)
        if (d->next[i] != DFA_DEAD)
            count[d->next[i] + 1]++;
    for (uint32_t i = 1; i <= d->n_states; i++)
        count[i] += count[i - 1];
    for (size_t i = 0; i < cells; i++)
        if (d->next[i] != DFA_DEAD)
            (*from)[count[d->next[i]]++] = (uint32_t)(i / d->n_classes);
    return true;
}

static uint64_t row_hash(const dfa *d, uint32_t state) {
    return hash64(d->next + (size_t)state * d->n_classes, d->n_classes * sizeof *d->next, d->accept[state]);
}

/* States that lead to the same states are one. *merged: some were. table: [n_table], number: [n_states]. */
static void merge_once(dfa *d, uint32_t *table, uint32_t n_table, uint32_t *number, bool *merged) {
    uint32_t kept = 0;
    size_t row = d->n_classes * sizeof *d->next;
    memset(table, 0, n_table * sizeof *table);
    for (uint32_t i = 0; i < d->n_states; i++) {
        uint64_t h = row_hash(d, i);
        const uint32_t *mine = d->next + (size_t)i * d->n_classes;
        for (; table[h & (n_table - 1)]; h++) {
            uint32_t other = table[h & (n_table - 1)] - 1;
            if (d->accept[other] == d->accept[i] && memcmp(d->next + (size_t)other * d->n_classes, mine, row) == 0)
                break;
        }
        uint32_t *slot = &table[h & (n_table - 1)];
        if (!*slot) { /* the first of its kind moves down, and nothing below it is looked at as a state again */
            memmove(d->next + (size_t)kept * d->n_classes, mine, row);
            d->accept[kept] = d->accept[i];
            *slot = ++kept;
        }
        number[i] = *slot - 1;
    }
    *merged = kept < d->n_states;
    d->n_states = kept;
    for (size_t k = 0; k < (size_t)kept * d->n_classes && *merged; k++)
        d->next[k] = d->next[k] == DFA_DEAD ? DFA_DEAD : number[d->next[k]];
    d->start = d->start == DFA_DEAD ? DFA_DEAD : number[d->start];
}

#define MERGE_PASSES 8
#define MERGE_MAX_CELLS (1u << 18) /* larger ones stay as they are: it would take longer than it saves */

/* States that lead to the same states become one, again and again: not always the fewest there could be, but the ones
 * that texts meet are fewer, and with them the masks. */
static muga_status dfa_merge(dfa *d, muga_error *err) {
    uint32_t n_table = 64;
    if ((uint64_t)d->n_states * d->n_classes > MERGE_MAX_CELLS)
        return MUGA_OK;
    while (n_table / 2 <= d->n_states)
        n_table *= 2;
    uint32_t *table = mem_alloc_array(n_table, sizeof *table);
    uint32_t *number = mem_alloc_array((size_t)d->n_states + 1, sizeof *number);
    bool merged = table && number;
    for (int i = 0; i < MERGE_PASSES && merged && d->n_states > 1; i++)
        merge_once(d, table, n_table, number, &merged);
    muga_status st = table && number ? MUGA_OK : error_nomem(err, "an automaton");
    free(table);
    free(number);
    return st;
}

muga_status dfa_prune(dfa *d, muga_error *err) {
    uint32_t *first = NULL, *from = NULL;
    uint32_t *number = mem_alloc_array((size_t)d->n_states + 1, sizeof *number);
    uint32_t *queue = mem_alloc_array((size_t)d->n_states + 1, sizeof *queue);
    muga_status st = MUGA_OK;
    if (!number || !queue || !reverse_edges(d, &first, &from)) {
        st = error_nomem(err, "an automaton");
        goto out;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n_states; i++)
        if (d->accept[i]) {
            number[i] = 1;
            queue[n++] = i;
        }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = first[queue[i]]; k < first[queue[i] + 1]; k++)
            if (!number[from[k]]) {
                number[from[k]] = 1;
                queue[n++] = from[k];
            }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->n_states; i++)
        number[i] = number[i] ? kept++ : DFA_DEAD;
    for (uint32_t i = 0; i < d->n_states; i++) {
        if (number[i] == DFA_DEAD)
            continue;
        for (uint32_t k = 0; k < d->n_classes; k++) {
            uint32_t to = d->next[(size_t)i * d->n_classes + k];
            d->next[(size_t)number[i] * d->n_classes + k] = to == DFA_DEAD ? DFA_DEAD : number[to];
        }
        d->accept[number[i]] = d->accept[i];
    }
    d->start = d->start == DFA_DEAD ? DFA_DEAD : number[d->start];
    d->n_states = kept;
    st = dfa_merge(d, err);
out:
    free(first);
    free(from);
    free(number);
    free(queue);
    return st;
}

/* ---- pairs of states, numbered as met ---- */
typedef struct pair_map {
    uint64_t *pairs; /* [n] in order of number */
    uint32_t *table;
    uint32_t n, cap, n_table;
} pair_map;

static void pair_map_release(pair_map *m) {
    free(m->pairs);
    free(m->table);
}

static uint64_t mix(uint64_t x) {
    x ^= x >> 31;
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
}

static bool pair_number(pair_map *m, uint64_t pair, uint32_t *out) {
    if (m->n * 2 >= m->n_table) {
        uint32_t n = m->n_table ? m->n_table * 2 : 64;
        uint32_t *t = mem_alloc_array(n, sizeof *t);
        if (!t)
            return false;
        for (uint32_t i = 0; i < m->n; i++) {
            uint64_t h = mix(m->pairs[i]);
            while (t[h & (n - 1)])
                h++;
            t[h & (n - 1)] = i + 1;
        }
        free(m->table);
        m->table = t;
        m->n_table = n;
    }
    uint64_t h = mix(pair);
    for (; m->table[h & (m->n_table - 1)]; h++)
        if (m->pairs[m->table[h & (m->n_table - 1)] - 1] == pair) {
            *out = m->table[h & (m->n_table - 1)] - 1;
            return true;
        }
    if (m->n == m->cap) {
        uint32_t cap = m->cap ? m->cap * 2 : 32;
        uint64_t *p = mem_resize_array(m->pairs, cap, sizeof *p);
        if (!p)
            return false;
        m->pairs = p;
        m->cap = cap;
    }
    m->table[h & (m->n_table - 1)] = m->n + 1;
    m->pairs[m->n] = pair;
    *out = m->n++;
    return true;
}

/* Row `state` of d->next and accept, grown by doubling. */
static bool row_reserve(dfa *d, uint32_t *cap, uint32_t n_states) {
    if (n_states <= *cap)
        return true;
    uint32_t c = MAX(*cap * 2, MAX(n_states, 32u));
    uint32_t *next = mem_resize_array(d->next, (size_t)c * d->n_classes, sizeof *next);
    if (!next)
        return false;
    d->next = next;
    uint8_t *accept = mem_resize_array(d->accept, c, 1);
    if (!accept)
        return false;
    d->accept = accept;
    *cap = c;
    return true;
}

/* Classes of bytes that neither automaton tells apart; ca and cb give the class in each. */
static void refine_classes(const dfa *a, const dfa *b, dfa *d, uint8_t ca[256], uint8_t cb[256]) {
    int16_t seen[256][2];
    d->n_classes = 0;
    for (int c = 0; c < 256; c++) {
        uint32_t k = 0;
        while (k < d->n_classes && (seen[k][0] != a->class_of[c] || seen[k][1] != b->class_of[c]))
            k++;
        if (k == d->n_classes) {
            seen[k][0] = a->class_of[c];
            seen[k][1] = b->class_of[c];
            ca[k] = a->class_of[c];
            cb[k] = b->class_of[c];
            d->n_classes++;
        }
        d->class_of[c] = (uint8_t)k;
    }
}

/* Can a text go on from this pair, DFA_DEAD where an automaton has given up? */
static bool pair_lives(uint32_t p, uint32_t q, dfa_op op) {
    if (op == DFA_OR)
        return p != DFA_DEAD || q != DFA_DEAD;
    return p != DFA_DEAD && (op == DFA_AND_NOT || q != DFA_DEAD);
}

static bool pair_accepts(const dfa *a, const dfa *b, uint32_t p, uint32_t q, dfa_op op) {
    bool in_a = p != DFA_DEAD && a->accept[p], in_b = q != DFA_DEAD && b->accept[q];
    return op == DFA_OR ? in_a || in_b : in_a && (op == DFA_AND ? in_b : !in_b);
}

static uint32_t next_of(const dfa *d, uint32_t state, uint8_t class) {
    return state == DFA_DEAD ? DFA_DEAD : d->next[(size_t)state * d->n_classes + class];
}

muga_status dfa_combine(const dfa *a, const dfa *b, dfa_op op, uint64_t *work, dfa **out, muga_error *err) {
    *out = NULL;
    pair_map m = {0};
    uint8_t ca[256], cb[256];
    uint32_t cap = 0;
    muga_status st = MUGA_OK;
    dfa *d = mem_alloc_array(1, sizeof *d);
    if (!d)
        return error_nomem(err, "an automaton");
    refine_classes(a, b, d, ca, cb);
    d->start = DFA_DEAD;
    if (pair_lives(a->start, b->start, op) && !pair_number(&m, (uint64_t)a->start << 32 | b->start, &d->start))
        goto nomem;
    for (uint32_t i = 0; i < m.n; i++) {
        uint32_t p = (uint32_t)(m.pairs[i] >> 32), q = (uint32_t)m.pairs[i];
        if (!row_reserve(d, &cap, i + 1))
            goto nomem;
        if (*work < 4u * d->n_classes || i >= DFA_MAX_STATES || (uint64_t)i * d->n_classes > DFA_MAX_CELLS) {
            st = too_large(err);
            goto out;
        }
        *work -= 4u * d->n_classes; /* a pair looked up and a cell written */
        d->accept[i] = pair_accepts(a, b, p, q, op);
        for (uint32_t k = 0; k < d->n_classes; k++) {
            uint32_t np = next_of(a, p, ca[k]), nq = next_of(b, q, cb[k]), to = DFA_DEAD;
            if (pair_lives(np, nq, op) && !pair_number(&m, (uint64_t)np << 32 | nq, &to))
                goto nomem;
            d->next[(size_t)i * d->n_classes + k] = to;
        }
    }
    d->n_states = m.n;
    st = dfa_prune(d, err);
    goto out;
nomem:
    st = error_nomem(err, "an automaton");
out:
    pair_map_release(&m);
    if (st != MUGA_OK)
        dfa_free(d);
    else
        *out = d;
    return st;
}

static bool begins_character(uint32_t c) {
    return (c & 0xC0) != 0x80;
}

muga_status dfa_limit_length(const dfa *a, uint64_t lo, uint64_t hi, uint64_t *work, dfa **out, muga_error *err) {
    *out = NULL;
    pair_map m = {0};
    uint32_t cap = 0;
    uint64_t top = hi == UINT64_MAX ? lo : hi; /* a count past it is the same count, or too long */
    muga_status st = MUGA_OK;
    dfa *d = mem_alloc_array(1, sizeof *d);
    if (!d)
        return error_nomem(err, "an automaton");
    /* Lead bytes and continuation bytes must not share a class: split by refining with a two-class automaton. */
    uint8_t ca[256], cb[256];
    dfa lead = {.n_classes = 2};
    for (uint32_t c = 0; c < 256; c++)
        lead.class_of[c] = begins_character(c);
    refine_classes(a, &lead, d, ca, cb);
    d->start = DFA_DEAD;
    if (top > DFA_MAX_STATES) {
        st = too_large(err);
        goto out;
    }
    if (a->start != DFA_DEAD && !pair_number(&m, (uint64_t)a->start << 32, &d->start))
        goto nomem;
    for (uint32_t i = 0; i < m.n; i++) {
        uint32_t p = (uint32_t)(m.pairs[i] >> 32), count = (uint32_t)m.pairs[i];
        if (!row_reserve(d, &cap, i + 1))
            goto nomem;
        if (*work < 4u * d->n_classes || i >= DFA_MAX_STATES || (uint64_t)i * d->n_classes > DFA_MAX_CELLS) {
            st = too_large(err);
            goto out;
        }
        *work -= 4u * d->n_classes; /* a pair looked up and a cell written */
        d->accept[i] = a->accept[p] && count >= lo;
        for (uint32_t k = 0; k < d->n_classes; k++) {
            uint32_t np = a->next[(size_t)p * a->n_classes + ca[k]], to = DFA_DEAD;
            uint64_t nc = (uint64_t)count + cb[k];
            bool fits = nc <= top || hi == UINT64_MAX;
            if (np != DFA_DEAD && fits && !pair_number(&m, (uint64_t)np << 32 | MIN(nc, top), &to))
                goto nomem;
            d->next[(size_t)i * d->n_classes + k] = to;
        }
    }
    d->n_states = m.n;
    st = dfa_prune(d, err);
    goto out;
nomem:
    st = error_nomem(err, "an automaton");
out:
    pair_map_release(&m);
    if (st != MUGA_OK)
        dfa_free(d);
    else
        *out = d;
    return st;
}

static int span_compare(const void *x, const void *y) {
    const span *a = x, *b = y;
    int c = memcmp(a->p, b->p, MIN(a->n, b->n));
    return c ? c : a->n < b->n ? -1 : a->n > b->n;
}

muga_status dfa_of_literals(const span *words, size_t n, uint64_t *work, dfa **out, muga_error *err) {
    *out = NULL;
    uint64_t total = 1; /* states: one for each byte that isn't shared with the word before */
    bool used[256] = {false};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < words[i].n; k++)
            used[(uint8_t)words[i].p[k]] = true;
    dfa *d = mem_alloc_array(1, sizeof *d);
    span *sorted = mem_alloc_array(n, sizeof *sorted);
    muga_status st = MUGA_OK;
    if (!d || !sorted) {
        st = error_nomem(err, "an automaton");
        goto out;
    }
    if (n)
        memcpy(sorted, words, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, span_compare);
    for (size_t i = 0; i < n; i++) {
        size_t same = 0;
        while (i > 0 && same < sorted[i].n && same < sorted[i - 1].n && sorted[i].p[same] == sorted[i - 1].p[same])
            same++;
        total += sorted[i].n - same;
    }
    d->n_classes = 1; /* class 0: bytes of no word */
    for (int c = 0; c < 256; c++)
        if (used[c])
            d->class_of[c] = (uint8_t)d->n_classes, d->n_classes += d->n_classes < 255;
    if (total > DFA_MAX_STATES || total * d->n_classes > DFA_MAX_CELLS * 4ull || *work < total) {
        st = error_set(err, MUGA_E_LIMIT, "too many property names or values for one automaton");
        goto out;
    }
    *work -= total;
    d->next = mem_alloc_array(total * d->n_classes, sizeof *d->next);
    d->accept = mem_alloc_array(total, 1);
    if (!d->next || !d->accept) {
        st = error_nomem(err, "an automaton");
        goto out;
    }
    memset(d->next, 0xFF, total * d->n_classes * sizeof *d->next);
    d->n_states = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t at = 0;
        for (size_t k = 0; k < sorted[i].n; k++) {
            uint32_t *cell = &d->next[(size_t)at * d->n_classes + d->class_of[(uint8_t)sorted[i].p[k]]];
            if (*cell == DFA_DEAD)
                *cell = d->n_states++;
            at = *cell;
        }
        d->accept[at] = true;
    }
    d->start = n ? 0 : DFA_DEAD;
    d->n_states = n ? d->n_states : 0;
out:
    free(sorted);
    if (st != MUGA_OK)
        dfa_free(d);
    else
        *out = d;
    return st;
}

bool dfa_lengths(const dfa *a, uint64_t *shortest, uint64_t *longest) {
    *shortest = 0;
    *longest = UINT64_MAX;
    if (a->start == DFA_DEAD)
        return false;
    /* Breadth first by character: bytes that continue a character cost nothing. */
    uint64_t *dist = mem_alloc_array(a->n_states, sizeof *dist);
    uint32_t *queue = mem_alloc_array((size_t)a->n_states * 2 + 2, sizeof *queue);
    uint8_t *waiting = mem_alloc_array(a->n_states, 1);
    uint8_t lead_class[256] = {0};
    bool known = false;
    if (!dist || !queue || !waiting)
        goto out;
    for (uint32_t c = 0; c < 256; c++)
        if (begins_character(c))
            lead_class[a->class_of[c]] = 1;
    for (uint32_t i = 0; i < a->n_states; i++)
        dist[i] = UINT64_MAX;
    dist[a->start] = 0;
    /* Relax until nothing changes. */
    uint32_t head = 0, tail = 0, cap = a->n_states * 2 + 2;
    queue[tail++] = a->start;
    *shortest = UINT64_MAX;
    while (head != tail) {
        uint32_t i = queue[head];
        head = (head + 1) % cap;
        waiting[i] = false;
        if (a->accept[i])
            *shortest = MIN(*shortest, dist[i]);
        for (uint32_t k = 0; k < a->n_classes; k++) {
            uint32_t to = a->next[(size_t)i * a->n_classes + k];
            if (to != DFA_DEAD && dist[i] + lead_class[k] < dist[to]) {
                if (!waiting[to]) {
                    waiting[to] = true;
                    queue[tail] = to;
                    tail = (tail + 1) % cap;
                }
                dist[to] = dist[i] + lead_class[k];
            }
        }
    }
    known = true;
    /* Longest: topological order; a cycle means unbounded. */
    uint32_t *degree = queue; /* [n_states] in-degrees, then the order behind it */
    uint32_t *order = queue + a->n_states;
    memset(queue, 0, ((size_t)a->n_states * 2 + 2) * sizeof *queue);
    for (size_t i = 0; i < (size_t)a->n_states * a->n_classes; i++)
        if (a->next[i] != DFA_DEAD)
            degree[a->next[i]]++;
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_states; i++) {
        dist[i] = 0;
        if (degree[i] == 0)
            order[n++] = i;
    }
    uint64_t most = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < a->n_classes; k++) {
            uint32_t to = a->next[(size_t)order[i] * a->n_classes + k];
            if (to == DFA_DEAD)
                continue;
            dist[to] = MAX(dist[to], dist[order[i]] + lead_class[k]);
            most = MAX(most, dist[to]);
            if (--degree[to] == 0)
                order[n++] = to;
        }
    *longest = n == a->n_states ? most : UINT64_MAX;
out:
    free(dist);
    free(queue);
    free(waiting);
    return known;
}

/* How many texts of each length lead to a state, up to n of them. */
muga_status dfa_shortest_words(const dfa *a, uint32_t n, uint64_t *work, uint32_t *out, muga_error *err) {
    uint32_t raw[256] = {0}, found = 0;
    uint64_t *here = mem_alloc_array(a->n_states, sizeof *here), *next = mem_alloc_array(a->n_states, sizeof *next);
    muga_status st = here && next ? MUGA_OK : error_nomem(err, "an automaton");
    for (uint32_t c = 0x20; c < 256; c++)
        raw[a->class_of[c]] += c != '"' && c != '\\';
    if (st == MUGA_OK && a->start != DFA_DEAD)
        here[a->start] = 1;
    for (uint32_t length = 0; st == MUGA_OK && length <= DFA_WORD_BYTES && found < n; length++) {
        if (*work < (uint64_t)a->n_states * a->n_classes) {
            st = too_large(err);
            break;
        }
        *work -= (uint64_t)a->n_states * a->n_classes;
        memset(next, 0, a->n_states * sizeof *next);
        bool any = false;
        for (uint32_t i = 0; i < a->n_states; i++) {
            for (uint64_t k = a->accept[i] ? here[i] : 0; k > 0 && found < n; k--)
                out[found++] = length;
            for (uint32_t k = 0; k < a->n_classes && here[i]; k++) {
                uint32_t to = a->next[(size_t)i * a->n_classes + k];
                if (to == DFA_DEAD || !raw[k])
                    continue;
                next[to] = MIN(next[to] + here[i] * raw[k], (uint64_t)n);
                any = true;
            }
        }
        uint64_t *was = here;
        here = next;
        next = was;
        if (!any)
            break;
    }
    while (st == MUGA_OK && found < n)
        out[found++] = UINT32_MAX;
    free(here);
    free(next);
    return st;
}
