/* Token masks. Owns: the costs of a grammar in tokens of a vocabulary, the masks of state sets.
 * Refuses: a budget below the shortest completion (MUGA_E_LIMIT).
 *
 * Idea: the trie lies in depth-first order, so a walk is one loop over an array that skips a whole subtree as soon as
 * its byte doesn't fit. The mask of a state set is kept with it; beside it stands the dearest completion behind any of
 * its tokens, and only a budget below that needs a walk of its own.
 *
 * Why the value can always be closed: cost(u) of a node is the least number of tokens to its rule's end over steps
 * that exist in this vocabulary, and of a set the least over its readings. A token is admitted only if the set behind
 * it costs at most tokens_left - 1; the cheapest reading of that set then begins with a token to a node that costs one
 * less, and that token is admitted next time. */
#include "constrain/internal.h"

#include <assert.h>

/* ---- costs in tokens ---- */

/* The node behind edges that need no byte, as long as nothing else leaves. */
static uint32_t skip_empty(const graph *g, uint32_t node) {
    while (g->first[node + 1] - g->first[node] == 1 && !g->rule_of_end[node] &&
           g->edges[g->first[node]].kind == EDGE_EMPTY && g->edges[g->first[node]].to != node)
        node = g->edges[g->first[node]].to;
    return node;
}

/* The one byte that leaves a node, if its only edge is that; -1 otherwise. */
static int chain_byte(const graph *g, uint32_t node, uint32_t *to) {
    if (g->first[node + 1] - g->first[node] != 1 || g->rule_of_end[node])
        return -1;
    const edge *e = &g->edges[g->first[node]];
    *to = e->to;
    return e->kind == EDGE_BYTES && e->lo == e->hi ? e->lo : -1;
}

typedef struct cuts {
    shortcut *v;
    size_t n, cap;
} cuts;
#define MAX_SHORTCUTS ((size_t)4 << 20)

/* The pieces of two bytes and more that lie along the chain from `node`. */
static bool add_shortcuts(const graph *g, const constrain_trie *t, uint32_t node, const bool *bytewise, cuts *c) {
    uint32_t at = node, to = 0, i = 0, end = t->all.n_nodes;
    for (uint32_t depth = 0;; depth++) {
        at = skip_empty(g, at);
        int byte = bytewise[at] ? -1 : chain_byte(g, at, &to);
        if (byte < 0)
            break;
        while (i < end && t->all.nodes[i].byte != byte)
            i = t->all.nodes[i].after;
        if (i >= end)
            break;
        at = to;
        if (depth > 0 && t->all.nodes[i].n_tokens > 0 && c->n < MAX_SHORTCUTS) {
            if (c->n == c->cap) {
                size_t cap = c->cap ? c->cap * 2 : 256;
                shortcut *v = mem_resize_array(c->v, cap, sizeof *v);
                if (!v)
                    return false;
                c->v = v;
                c->cap = cap;
            }
            c->v[c->n++] = (shortcut){node, at};
        }
        end = t->all.nodes[i].after;
        i++;
    }
    return true;
}

muga_status trie_bind(constrain_grammar *g, const constrain_trie *t, muga_error *err) {
    if (g->serial == t->serial)
        return MUGA_OK;
    const graph *x = &g->graph;
    cuts c = {0};
    cost fresh = {0};
    bool *bytewise = mem_alloc_array(x->n_nodes, sizeof *bytewise);
    muga_status st = bytewise ? MUGA_OK : error_nomem(err, "a constraint");
    for (uint32_t i = 0; i < x->n_bytewise && bytewise; i++)
        memset(bytewise + x->bytewise[i].lo, true, x->bytewise[i].hi - x->bytewise[i].lo);
    for (uint32_t i = 0; i < x->n_nodes && st == MUGA_OK; i++)
        if (!add_shortcuts(x, t, i, bytewise, &c))
            st = error_nomem(err, "a constraint");
    free(bytewise);
    if (st == MUGA_OK)
        st = cost_compute(&g->graph, t->single, c.v, c.n, &fresh, err);
    free(c.v);
    if (st != MUGA_OK)
        return st;
    cost old = g->tokens;
    uint64_t old_serial = g->serial;
    g->tokens = fresh;
    g->serial = t->serial;
    st = run_collect(g, true, err); /* costs stand in frames and sets: number them anew */
    if (st != MUGA_OK) {
        cost_release(&g->tokens);
        g->tokens = old;
        g->serial = old_serial;
        return st;
    }
    cost_release(&old);
    return MUGA_OK;
}

/* ---- masks ---- */

/* One walk: what may come behind `s` for at most `budget`. */
typedef struct walk {
    constrain_grammar *g;
    const constrain_trie *t;
    uint32_t budget, dearest; /* dearest: the largest cost behind a token that may come */
    uint32_t *sets;           /* [max_depth + 1] on the way down */
    uint64_t *mask;
    muga_error *err;
} walk;

/* mask |= tokens of more than `from` and at most `to` plain characters. */
static void add_plain(const constrain_trie *t, uint32_t from, uint32_t to, uint64_t *mask) {
    const uint64_t *more = trie_plain(t, to), *less = trie_plain(t, from);
    for (uint32_t i = 0; i < t->n_words; i++)
        mask[i] |= more[i] & ~less[i];
}

/* The plain tokens, as long as no plain character is told from another. *all: that went as far as plain tokens go. */
static muga_status walk_plain(walk *w, uint32_t set, bool *all) {
    uint32_t from = 0; /* those of more than `from` characters, up to `n`, are admitted and not added yet */
    *all = true;
    for (uint32_t n = 0; n < PLAIN_MAX; n++) {
        uint32_t to;
        muga_status st = plain_target(w->g, set, &to, w->err);
        if (st != MUGA_OK)
            return st;
        if (to == SET_DEAD || to == PLAIN_MIXED) {
            add_plain(w->t, from, n, w->mask);
            *all = to == SET_DEAD;
            return MUGA_OK;
        }
        uint32_t c = w->g->run.sets[to].cost;
        bool fits = c < COST_INF && c <= w->budget;
        w->dearest = fits ? MAX(w->dearest, c) : w->dearest;
        if (!fits) {
            add_plain(w->t, from, n, w->mask);
            from = n + 1;
        }
        if (to == set) {
            from = fits ? from : PLAIN_MAX; /* and so on */
            break;
        }
        set = to;
    }
    add_plain(w->t, from, PLAIN_MAX, w->mask);
    return MUGA_OK;
}

/* The nodes [i, end) of a tree, children of where sets[] stands. */
static muga_status walk_nodes(walk *w, const trie_tree *tree, uint32_t i, uint32_t end) {
    constrain_grammar *g = w->g;
    const uint8_t *class_of = g->graph.class_of;
    while (i < end) {
        const trie_node *x = &tree->nodes[i];
        uint32_t from = w->sets[x->depth - 1], to;
        const uint32_t *row = g->run.sets[from].row;
        uint32_t known = row ? row[class_of[x->byte]] : 0;
        if (known == 1) {
            i = x->after;
            continue;
        }
        to = known - 2;
        if (!known) {
            muga_status st = run_step(g, from, x->byte, &to, w->err);
            if (st != MUGA_OK)
                return st;
            if (to == SET_DEAD) {
                i = x->after;
                continue;
            }
        }
        w->sets[x->depth] = to;
        i++;
        uint32_t c = g->run.sets[to].cost;
        if (!x->n_tokens || c >= COST_INF || c > w->budget)
            continue;
        w->dearest = MAX(w->dearest, c);
        for (uint32_t k = 0; k < x->n_tokens; k++) {
            uint32_t id = tree->ids[x->tokens + k];
            w->mask[id / 64] |= (uint64_t)1 << id % 64;
        }
    }
    return MUGA_OK;
}

static void clear_nodes(walk *w, uint32_t i, uint32_t end) {
    for (; i < end; i++) {
        const trie_node *x = &w->t->all.nodes[i];
        for (uint32_t k = 0; k < x->n_tokens; k++) {
            uint32_t id = w->t->all.ids[x->tokens + k];
            w->mask[id / 64] &= ~((uint64_t)1 << id % 64);
        }
    }
}

/* All plain tokens below the nodes [i, end) are set, as if every character led to `home`. Sets right those that begin
 * with a character that leads elsewhere. Recursion as deep as a piece is long, along words that the grammar has. */
static muga_status correct(walk *w, uint32_t i, uint32_t end, const plain_most *most, uint32_t home) {
    for (uint32_t after; i < end; i = after) {
        const trie_node *x = &w->t->all.nodes[i];
        uint32_t to;
        const plain_most *next = NULL;
        after = x->after;
        if (!most->other[x->byte])
            continue;
        muga_status st = run_step(w->g, w->sets[x->depth - 1], x->byte, &to, w->err);
        if (st == MUGA_OK && to != SET_DEAD)
            st = plain_find_most(w->g, to, &next, w->err);
        if (st != MUGA_OK)
            return st;
        bool goes_home = next && next->to == home;
        clear_nodes(w, i, goes_home ? i + 1 : after);
        if (to == SET_DEAD)
            continue;
        st = walk_nodes(w, &w->t->all, i, goes_home ? i + 1 : after);
        if (st == MUGA_OK && goes_home)
            st = correct(w, i + 1, after, next, home);
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

/* The plain tokens where nearly all characters lead to one place and stay there; *all as with walk_plain. */
static muga_status walk_most(walk *w, uint32_t set, bool *all) {
    const plain_most *most;
    *all = false;
    muga_status st = plain_find_most(w->g, set, &most, w->err);
    if (st != MUGA_OK || most->to == PLAIN_MIXED)
        return st;
    uint32_t c = w->g->run.sets[most->to].cost;
    if (c >= COST_INF || c > w->budget)
        return MUGA_OK;
    *all = true;
    w->dearest = MAX(w->dearest, c);
    add_plain(w->t, 0, PLAIN_MAX, w->mask);
    return correct(w, 0, w->t->all.n_nodes, most, most->to);
}

/* Sets the bit of every token behind which the text can be completed for at most `budget`; *dearest: the largest such
 * cost. sets: [max_depth + 1]. */
static muga_status walk_all(constrain_state *s, const constrain_trie *t, uint32_t budget, uint32_t *sets,
                            uint64_t *mask, uint32_t *dearest, muga_error *err) {
    walk w = {s->grammar, t, budget, 0, sets, mask, err};
    bool plain;
    sets[0] = s->set;
    memset(mask, 0, t->n_words * sizeof *mask);
    muga_status st = walk_plain(&w, s->set, &plain);
    if (st == MUGA_OK && !plain)
        st = walk_most(&w, s->set, &plain);
    const trie_tree *tree = plain ? &t->rest : &t->all;
    if (st == MUGA_OK)
        st = walk_nodes(&w, tree, 0, tree->n_nodes);
    *dearest = w.dearest;
    return st;
}

static bool any_bit(const uint64_t *mask, uint32_t n_words) {
    for (uint32_t i = 0; i < n_words; i++)
        if (mask[i])
            return true;
    return false;
}

/* The mask of the set, kept with it. */
static muga_status set_mask(constrain_state *s, const constrain_trie *t, uint32_t *sets, uint64_t *mask,
                            uint32_t *dearest, muga_error *err) {
    constrain_grammar *g = s->grammar;
    if (g->run.sets[s->set].mask) {
        memcpy(mask, g->run.sets[s->set].mask, t->n_words * sizeof *mask);
        *dearest = g->run.sets[s->set].mask_cost;
        return MUGA_OK;
    }
    muga_status st = walk_all(s, t, COST_INF, sets, mask, dearest, err);
    uint64_t *kept = st == MUGA_OK ? arena_alloc(&g->run.rows, t->n_words * sizeof *kept) : NULL;
    if (kept) { /* not kept for want of room: computed again next time */
        memcpy(kept, mask, t->n_words * sizeof *kept);
        g->run.sets[s->set].mask = kept;
        g->run.sets[s->set].mask_cost = *dearest;
    }
    return st;
}

static muga_status mask_within(constrain_state *s, const constrain_trie *t, uint32_t budget, uint32_t *sets,
                               uint64_t *mask, muga_error *err) {
    uint32_t dearest;
    muga_status st = set_mask(s, t, sets, mask, &dearest, err);
    if (st == MUGA_OK && dearest > budget)
        st = walk_all(s, t, budget, sets, mask, &dearest, err);
    return st == MUGA_OK && s->grammar->open_keys ? mask_filter_keys(s, t, budget, mask, err) : st;
}

/* Inside the section only so much may be spent that the section can still be closed within its limit. What stands
 * behind it costs the same from everywhere inside, so the limit is one on the whole. */
static muga_status limit_section(const constrain_state *s, uint32_t *tokens_left, muga_error *err) {
    const constrain_grammar *g = s->grammar;
    if (!g->section_limit)
        return MUGA_OK;
    uint32_t close = run_cost(g)->node[g->graph.rules[g->section_rule - 1].start];
    if (close > g->section_limit)
        return error_set(err, MUGA_E_LIMIT, "constraint: reasoning is limited to %u tokens, and to end it takes %u",
                         g->section_limit, close);
    uint32_t behind = g->run.sets[s->set].behind, left = g->section_limit - MIN(s->n_section, g->section_limit);
    if (behind < COST_INF)
        *tokens_left = MIN(*tokens_left, cost_add(behind, left));
    return MUGA_OK;
}

static muga_status mask_locked(constrain_state *s, const constrain_trie *t, uint32_t tokens_left, uint64_t *mask,
                               bool *may_end, muga_error *err) {
    constrain_grammar *g = s->grammar;
    muga_status st = trie_bind(g, t, err);
    if (st == MUGA_OK)
        st = run_collect(g, false, err);
    if (st == MUGA_OK)
        st = limit_section(s, &tokens_left, err);
    if (st != MUGA_OK)
        return st;
    *may_end = g->run.sets[s->set].complete;
    memset(mask, 0, t->n_words * sizeof *mask);
    if (tokens_left > 0 && g->run.sets[s->set].n > 0) {
        uint32_t *sets = mem_alloc_array((size_t)t->max_depth + 1, sizeof *sets);
        st = sets ? mask_within(s, t, tokens_left - 1, sets, mask, err) : error_nomem(err, "a mask");
        free(sets);
    }
    if (st == MUGA_OK && !*may_end && !any_bit(mask, t->n_words)) {
        uint32_t need = g->run.sets[s->set].cost;
        st = need >= COST_INF
                 ? error_set(err, MUGA_E_INPUT, "constraint: this vocabulary lacks bytes that every completion needs")
                 : error_set(
                       err, MUGA_E_LIMIT,
                       "constraint: the token limit leaves %u tokens, the shortest valid value needs up to %u more",
                       tokens_left, need);
    }
    return st;
}

muga_status constrain_mask(constrain_state *s, const constrain_trie *t, uint32_t tokens_left, uint64_t *mask,
                           bool *may_end, muga_error *err) {
    pthread_mutex_lock(&s->grammar->lock);
    muga_status st = mask_locked(s, t, tokens_left, mask, may_end, err);
    pthread_mutex_unlock(&s->grammar->lock);
    return st;
}

static muga_status admits_locked(const constrain_state *s, const constrain_trie *t, uint32_t tokens_left, span piece,
                                 bool *admits, muga_error *err) {
    constrain_grammar *g = s->grammar;
    muga_status st = trie_bind(g, t, err);
    if (st == MUGA_OK)
        st = run_collect(g, false, err);
    if (st == MUGA_OK)
        st = limit_section(s, &tokens_left, err);
    uint32_t at = s->set;
    for (size_t i = 0; i < piece.n && st == MUGA_OK && at != SET_DEAD; i++)
        st = run_step(g, at, (uint8_t)piece.p[i], &at, err);
    if (st == MUGA_OK && piece.n > 0 && at != SET_DEAD) {
        uint32_t c = g->run.sets[at].cost;
        *admits = c < COST_INF && c < tokens_left;
    }
    return st;
}

bool constrain_tells_tokens(const constrain_state *s) {
    return !s->grammar->open_keys;
}

muga_status constrain_admits(constrain_state *s, const constrain_trie *t, uint32_t tokens_left, span piece,
                             bool *admits, muga_error *err) {
    assert(constrain_tells_tokens(s));
    *admits = false;
    pthread_mutex_lock(&s->grammar->lock);
    muga_status st = admits_locked(s, t, tokens_left, piece, admits, err);
    pthread_mutex_unlock(&s->grammar->lock);
    return st;
}

uint32_t constrain_tokens_to_close(constrain_state *s, const constrain_trie *t) {
    constrain_grammar *g = s->grammar;
    pthread_mutex_lock(&g->lock);
    muga_error ignored;
    uint32_t n = COST_INF;
    if (trie_bind(g, t, &ignored) == MUGA_OK) {
        n = g->run.sets[s->set].cost;
        if (g->open_keys && fresh_cost(g, s->set, &s->keys, &n, &ignored) != MUGA_OK)
            n = COST_INF;
    }
    pthread_mutex_unlock(&g->lock);
    return n;
}
