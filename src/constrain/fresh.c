/* Keys that an object doesn't have yet. Owns nothing. Refuses nothing.
 *
 * Idea: the finished keys are the paths of a trie. A key is new as soon as it leaves that trie, and what it costs from
 * there is the set's own cost; so the cheapest new key is found by looking once at every place where the trie can be
 * left. One byte counts as one token, there and in the costs of such objects (graph_bytewise), so that a way that
 * was promised is still there when the text comes to it. */
#include "constrain/internal.h"

typedef struct search {
    constrain_grammar *g;
    const keys *k;
    uint32_t best;
    muga_error *err;
} search;

/* The bytes that finished keys go on with behind `prefix`; *whole: one of them is the prefix itself. */
static void used_bytes(const keys *k, span prefix, bool used[256], bool *whole) {
    memset(used, 0, 256 * sizeof *used);
    *whole = false;
    for (uint32_t i = 0; i < keys_count(k); i++) {
        span have = keys_finished(k, i);
        if (have.n < prefix.n || (prefix.n && memcmp(have.p, prefix.p, prefix.n) != 0))
            continue;
        if (have.n == prefix.n)
            *whole = true;
        else
            used[(uint8_t)have.p[prefix.n]] = true;
    }
}

/* Leaves the trie at `prefix`, `spent` bytes from where the search began. */
static muga_status leave(search *x, uint32_t set, span prefix, uint32_t spent) {
    bool used[256], whole;
    used_bytes(x->k, prefix, used, &whole);
    for (uint32_t b = 0; b < 256; b++) {
        const uint32_t *row = x->g->run.sets[set].row;
        uint32_t to, known = row ? row[x->g->graph.class_of[b]] : 0;
        if (b == '"' ? whole : used[b] || known == 1)
            continue;
        muga_status st = run_step(x->g, set, (uint8_t)b, &to, x->err);
        if (st != MUGA_OK)
            return st;
        if (to != SET_DEAD)
            x->best = MIN(x->best, cost_add(x->g->run.sets[to].cost, spent + 1));
    }
    return MUGA_OK;
}

/* Another finished key before the i-th has the first n bytes of it too: that place has been looked at. */
static bool seen_before(const keys *k, uint32_t i, size_t n) {
    span key = keys_finished(k, i);
    for (uint32_t j = 0; j < i; j++) {
        span other = keys_finished(k, j);
        if (other.n >= n && memcmp(other.p, key.p, n) == 0)
            return true;
    }
    return false;
}

static muga_status leave_along(search *x, uint32_t set, span current, uint32_t i, uint32_t spent) {
    span key = keys_finished(x->k, i);
    muga_status st = MUGA_OK;
    if (key.n < current.n || (current.n && memcmp(key.p, current.p, current.n) != 0))
        return MUGA_OK;
    for (size_t n = current.n; n <= key.n && set != SET_DEAD && st == MUGA_OK && spent < x->best; n++, spent++) {
        if (!seen_before(x->k, i, n))
            st = leave(x, set, span_of(key.p, n), spent);
        if (st == MUGA_OK && n < key.n)
            st = run_step(x->g, set, (uint8_t)key.p[n], &set, x->err);
    }
    return st;
}

/* The least cost of a reading in which the object lists its keys: those can't repeat. */
static uint32_t listed_cost(const constrain_grammar *g, uint32_t set) {
    const state_set *s = &g->run.sets[set];
    uint32_t least = COST_INF;
    for (uint32_t i = 0; i < s->n; i++) {
        config c = g->run.configs[s->at + i];
        const frame *f = &g->run.frames[c.frame];
        if (!f->open)
            least = MIN(least, cost_add(run_cost(g)->node[c.node], f->rest));
    }
    return least;
}

muga_status fresh_cost(constrain_grammar *g, uint32_t set, const keys *k, uint32_t *out, muga_error *err) {
    search x = {.g = g, .k = k, .err = err};
    bool awaited = keys_awaited(k);
    span current = awaited ? span_of("", 0) : keys_current(k);
    muga_status st = MUGA_OK;
    *out = set == SET_DEAD ? COST_INF : g->run.sets[set].cost;
    if (set == SET_DEAD || !(awaited || keys_inside(k)) || !keys_begin_with(k, current))
        return MUGA_OK;
    x.best = listed_cost(g, set);
    if (awaited)
        st = run_step(g, set, '"', &set, err);
    for (uint32_t i = 0; i < keys_count(k) && st == MUGA_OK && set != SET_DEAD; i++)
        st = leave_along(&x, set, current, i, awaited);
    *out = x.best;
    return st;
}
