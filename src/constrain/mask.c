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

/* mask |= tokens of more than `from` and at most `to` plain characters. */
static void add_plain(const constrain_trie *t, uint32_t from, uint32_t to, uint64_t *mask) {
    const uint64_t *more = trie_plain(t, to), *less = trie_plain(t, from);
    for (uint32_t i = 0; i < t->n_words; i++)
        mask[i] |= more[i] & ~less[i];
}

/* The plain tokens, as long as no plain character is told from another. *all: that went as far as plain tokens go. */
static muga_status walk_plain(constrain_state *s, const constrain_trie *t, uint32_t budget, uint64_t *mask,
                              uint32_t *dearest, bool *all, muga_error *err) {
    constrain_grammar *g = s->grammar;
    uint32_t set = s->set,
             from = 0; /* those of more than `from` characters, up to `n`, are admitted and not added yet */
    *all = true;
    for (uint32_t n = 0; n < PLAIN_MAX; n++) {
        uint32_t to;
        muga_status st = plain_target(g, set, &to, err);
        if (st != MUGA_OK)
            return st;
        if (to == SET_DEAD || to == PLAIN_MIXED) {
            add_plain(t, from, n, mask);
            *all = to == SET_DEAD;
            return MUGA_OK;
        }
        uint32_t c = g->run.sets[to].cost;
        bool fits = c < COST_INF && c <= budget;
        *dearest = fits ? MAX(*dearest, c) : *dearest;
        if (!fits) {
            add_plain(t, from, n, mask);
            from = n + 1;
        }
        if (to == set) {
            from = fits ? from : PLAIN_MAX; /* and so on */
            break;
        }
        set = to;
    }
    add_plain(t, from, PLAIN_MAX, mask);
    return MUGA_OK;
}

/* Sets the bit of every token behind which the text can be completed for at most `budget`; *dearest: the largest such
 * cost. sets: [max_depth + 1], the sets on the way down. */
static muga_status walk(constrain_state *s, const constrain_trie *t, uint32_t budget, uint32_t *sets, uint64_t *mask,
                        uint32_t *dearest, muga_error *err) {
    constrain_grammar *g = s->grammar;
    bool plain;
    sets[0] = s->set;
    *dearest = 0;
    memset(mask, 0, t->n_words * sizeof *mask);
    muga_status st = walk_plain(s, t, budget, mask, dearest, &plain, err);
    if (st != MUGA_OK)
        return st;
    const trie_tree *tree = plain ? &t->rest : &t->all;
    const uint8_t *class_of = g->graph.class_of;
    for (uint32_t i = 0; i < tree->n_nodes;) {
        const trie_node *x = &tree->nodes[i];
        uint32_t from = sets[x->depth - 1], to;
        const uint32_t *row = g->run.sets[from].row;
        uint32_t known = row ? row[class_of[x->byte]] : 0;
        if (known == 1) {
            i = x->after;
            continue;
        }
        to = known - 2;
        if (!known) {
            st = run_step(g, from, x->byte, &to, err);
            if (st != MUGA_OK)
                return st;
            if (to == SET_DEAD) {
                i = x->after;
                continue;
            }
        }
        sets[x->depth] = to;
        i++;
        uint32_t c = g->run.sets[to].cost;
        if (!x->n_tokens || c >= COST_INF || c > budget)
            continue;
        *dearest = MAX(*dearest, c);
        for (uint32_t k = 0; k < x->n_tokens; k++) {
            uint32_t id = tree->ids[x->tokens + k];
            mask[id / 64] |= (uint64_t)1 << id % 64;
        }
    }
    return MUGA_OK;
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
    muga_status st = walk(s, t, COST_INF, sets, mask, dearest, err);
    uint64_t *kept = st == MUGA_OK ? arena_alloc(&g->run.rows, t->n_words * sizeof *kept) : NULL;
    if (kept) { /* not kept for want of room: computed again next time */
        memcpy(kept, mask, t->n_words * sizeof *kept);
        g->run.sets[s->set].mask = kept;
        g->run.sets[s->set].mask_cost = *dearest;
    }
    return st;
}

/* ---- masks where keys are open ---- */

static void drop(uint64_t *mask, uint32_t id) {
    mask[id / 64] &= ~((uint64_t)1 << id % 64);
}

/* The token spelt p leads the keys in s->scratch, and the text from the state's set, to where it must still be possible
 * to finish for at most `budget` with keys that the object doesn't have. */
static muga_status may_come(constrain_state *s, span p, uint32_t budget, bool *yes, muga_error *err) {
    keys_verdict v = KEYS_NOMEM;
    uint32_t set = s->set, needed = 0;
    muga_status st = keys_copy(&s->scratch, &s->keys) ? MUGA_OK : error_nomem(err, "a mask");
    if (st == MUGA_OK)
        st = run_feed_keys(s->grammar, set, &s->scratch, p.p, p.n, &v, err);
    *yes = v == KEYS_FINE;
    if (st != MUGA_OK || !*yes || !(keys_inside(&s->scratch) || keys_awaited(&s->scratch)))
        return st;
    for (size_t i = 0; i < p.n && st == MUGA_OK && set != SET_DEAD; i++)
        st = run_step(s->grammar, set, (uint8_t)p.p[i], &set, err);
    if (st == MUGA_OK)
        st = fresh_cost(s->grammar, set, &s->scratch, &needed, err);
    *yes = needed <= budget;
    return st;
}

/* While a key is written: the tokens along a finished key, which lead to where only some ways are left. */
static muga_status filter_along(constrain_state *s, const constrain_trie *t, span key, uint32_t budget, uint64_t *mask,
                                muga_error *err) {
    uint32_t i = 0, end = t->all.n_nodes;
    for (size_t k = 0; k < key.n; k++) {
        while (i < end && t->all.nodes[i].byte != (uint8_t)key.p[k])
            i = t->all.nodes[i].after;
        if (i >= end)
            return MUGA_OK;
        const trie_node *x = &t->all.nodes[i];
        bool yes = true;
        muga_status st = x->n_tokens ? may_come(s, span_of(key.p, k + 1), budget, &yes, err) : MUGA_OK;
        if (st != MUGA_OK)
            return st;
        for (uint32_t n = 0; n < x->n_tokens && !yes; n++)
            drop(mask, t->all.ids[x->tokens + n]);
        end = x->after;
        i++;
    }
    return MUGA_OK;
}

/* Takes out the tokens that would finish a key for the second time, or could not but do so. */
static muga_status filter_keys(constrain_state *s, const constrain_trie *t, uint32_t budget, uint64_t *mask,
                               muga_error *err) {
    muga_status st = MUGA_OK;
    bool inside = !s->grammar->embedded || s->grammar->run.sets[s->set].value;
    for (uint32_t i = 0; i < t->n_structural && st == MUGA_OK; i++) {
        const struct structural *q = &t->structural[i];
        bool yes;
        if (!inside && !q->two_keys)
            continue;
        if (!(mask[q->id / 64] >> q->id % 64 & 1))
            continue;
        st = may_come(s, span_of(t->bytes + q->at, q->n), budget, &yes, err);
        if (st == MUGA_OK && !yes)
            drop(mask, q->id);
    }
    if (!keys_inside(&s->keys))
        return st;
    span current = keys_current(&s->keys);
    for (uint32_t i = 0; i < keys_count(&s->keys) && st == MUGA_OK; i++) {
        span key = keys_finished(&s->keys, i);
        if (key.n >= current.n && memcmp(key.p, current.p, current.n) == 0)
            st = filter_along(s, t, span_of(key.p + current.n, key.n - current.n), budget, mask, err);
    }
    return st;
}

static muga_status mask_within(constrain_state *s, const constrain_trie *t, uint32_t budget, uint32_t *sets,
                               uint64_t *mask, muga_error *err) {
    uint32_t dearest;
    muga_status st = set_mask(s, t, sets, mask, &dearest, err);
    if (st == MUGA_OK && dearest > budget)
        st = walk(s, t, budget, sets, mask, &dearest, err);
    return st == MUGA_OK && s->grammar->open_keys ? filter_keys(s, t, budget, mask, err) : st;
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
