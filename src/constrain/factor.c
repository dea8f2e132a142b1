/* Common beginnings of many alternatives, written once. Owns nothing. Refuses nothing.
 *
 * Idea: ten thousand alternatives are ten thousand readings of every text until a byte tells them apart; as a trie they
 * are one. So at a node with many ways on, what an alternative wraps around its first byte is unwrapped (empty edges,
 * rules that are called once, from here), edges that say the same are led to one node, and so on from there. Nodes are
 * joined only where nothing else leads to them, so the texts stay the same. Few alternatives cost nothing: their edges
 * stay as they were built. */
#include "constrain/graph.h"

#define FACTOR_MIN_EDGES 64u
#define FACTOR_MAX_HOPS 64u /* empty edges in a row */

typedef enum { SAY_BYTES, SAY_NOTHING, SAY_CALL, SAY_CONTAINER } saying;

typedef struct way {
    edge e;
    uint32_t at; /* in graph.edges */
    saying says;
} way;

typedef struct factor {
    graph *g;
    uint32_t *in;           /* [n_nodes] edges that lead there */
    bool *fixed, *bytewise; /* [n_nodes] start or end of a rule; see graph.bytewise */
    uint32_t *uses;         /* [n_rules] calls of it; the root's count for two */
    uint32_t nowhere;       /* where rules begin and end that are no more */
    uint32_t *queue;        /* nodes to look at */
    size_t n_queue, cap_queue;
    uint32_t *todo; /* edges behind those of a node that was joined */
    size_t n_todo, cap_todo;
    way *ways; /* those of one node */
    size_t n_ways, cap_ways;
} factor;

static bool grow(graph *g, void **v, size_t n, size_t *cap, size_t size) {
    if (n < *cap)
        return true;
    size_t c = *cap ? *cap * 2 : 256;
    void *p = mem_resize_array(*v, c, size);
    g->nomem = g->nomem || !p;
    *v = p ? p : *v;
    *cap = p ? c : *cap;
    return p != NULL;
}

static bool push(graph *g, uint32_t **v, size_t *n, size_t *cap, uint32_t x) {
    void *p = *v;
    bool ok = grow(g, &p, *n, cap, sizeof x);
    *v = p;
    if (ok)
        (*v)[(*n)++] = x;
    return ok;
}

static bool broken(const graph *g) {
    return g->nomem || g->too_large;
}

/* `to` can be joined with `node`: one edge leads there and no rule begins or ends there; completions count alike. */
static bool is_private(const factor *x, uint32_t node, uint32_t to) {
    return to != node && x->in[to] == 1 && !x->fixed[to] && x->bytewise[node] == x->bytewise[to];
}

static bool is_only_call(const factor *x, const edge *e) {
    return e->kind == EDGE_CALL && e->min == 1 && e->max == 1 && e->extra == 0 && x->uses[e->rule] == 1;
}

/* The rule goes; its nodes stay, for others to use. */
static production dissolve(factor *x, uint32_t rule) {
    production r = x->g->rules[rule];
    x->fixed[r.start] = x->fixed[r.end] = false;
    x->uses[rule] = 0;
    x->g->rules[rule].start = x->g->rules[rule].end = x->nowhere;
    return r;
}

static void add_empty(factor *x, uint32_t from, uint32_t to) {
    graph_empty(x->g, from, to);
    x->in[to]++;
}

/* Past nodes from which an empty edge is all that leads on. */
static void skip_empty(factor *x, uint32_t at) {
    graph *g = x->g;
    for (uint32_t hops = 0; hops < FACTOR_MAX_HOPS; hops++) {
        uint32_t v = g->edges[at].to, only = g->first[v];
        if (x->fixed[v] || only == NO_EDGE || only == at || g->edges[only].next != NO_EDGE)
            return;
        const edge *e = &g->edges[only];
        if (e->kind != EDGE_EMPTY || e->to == v || x->bytewise[v] != x->bytewise[e->to])
            return;
        x->in[e->to]++;
        g->edges[at].to = e->to;
        if (--x->in[v] == 0) {
            x->in[e->to]--;
            g->first[v] = NO_EDGE;
        }
    }
}

/* A call of a rule that is called nowhere else: its edges instead. */
static void unwrap_call(factor *x, uint32_t at) {
    edge e = x->g->edges[at];
    production r = dissolve(x, e.rule);
    add_empty(x, r.end, e.to); /* this may move the edges */
    x->in[e.to]--;
    x->in[r.start]++;
    e.kind = EDGE_EMPTY;
    e.to = r.start;
    x->g->edges[at] = e;
}

/* What leads on from a node, unwrapped; the edges are then no longer its own. */
static void take_ways(factor *x, uint32_t node) {
    graph *g = x->g;
    x->n_ways = x->n_todo = 0;
    uint32_t at = g->first[node];
    g->first[node] = NO_EDGE;
    while (!broken(g) && (at != NO_EDGE || x->n_todo > 0)) {
        if (at == NO_EDGE) {
            at = x->todo[--x->n_todo];
            continue;
        }
        uint32_t next = g->edges[at].next;
        if (is_only_call(x, &g->edges[at]) && !g->rules[g->edges[at].rule].container)
            unwrap_call(x, at);
        skip_empty(x, at);
        edge e = g->edges[at];
        if (e.kind == EDGE_EMPTY && is_private(x, node, e.to)) {
            if (next != NO_EDGE)
                push(g, &x->todo, &x->n_todo, &x->cap_todo, next);
            next = g->first[e.to];
            g->first[e.to] = NO_EDGE;
            x->in[e.to] = 0;
        } else {
            void *v = x->ways;
            bool ok = grow(g, &v, x->n_ways, &x->cap_ways, sizeof *x->ways);
            x->ways = v;
            saying s = e.kind == EDGE_BYTES ? SAY_BYTES : e.kind == EDGE_EMPTY ? SAY_NOTHING : SAY_CALL;
            if (ok)
                x->ways[x->n_ways++] = (way){e, at, is_only_call(x, &e) ? SAY_CONTAINER : s};
        }
        at = next;
    }
}

static int compare(uint32_t a, uint32_t b) {
    return a < b ? -1 : a > b;
}

/* 0: they say the same. Containers: their rules can be one, if that is all that leads to the same place. */
static int saying_order(const way *a, const way *b) {
    int o = compare(a->says, b->says);
    if (o == 0 && a->says == SAY_BYTES)
        o = compare((uint32_t)a->e.lo << 8 | a->e.hi, (uint32_t)b->e.lo << 8 | b->e.hi);
    if (o == 0 && (a->says == SAY_NOTHING || a->says == SAY_CONTAINER))
        o = compare(a->e.to, b->e.to);
    if (o == 0 && a->says == SAY_CALL)
        o = compare(a->e.rule, b->e.rule);
    if (o == 0 && a->says == SAY_CALL)
        o = compare(a->e.min, b->e.min);
    if (o == 0 && a->says == SAY_CALL)
        o = compare(a->e.max, b->e.max);
    return o || a->says != SAY_CALL ? o : compare(a->e.extra, b->e.extra);
}

static int way_order(const void *a, const void *b) {
    const way *x = a, *y = b;
    int o = saying_order(x, y);
    return o ? o : compare(x->at, y->at);
}

/* The edges of `from`, which goes, become those of `to`. */
static void join(factor *x, uint32_t to, uint32_t from) {
    graph *g = x->g;
    uint32_t last = g->first[from];
    x->in[from] = 0;
    if (last == NO_EDGE)
        return;
    while (g->edges[last].next != NO_EDGE)
        last = g->edges[last].next;
    g->edges[last].next = g->first[to];
    g->first[to] = g->first[from];
    g->first[from] = NO_EDGE;
}

/* Way w says the same as `first`: true where it is part of that now. */
static bool absorb(factor *x, uint32_t node, const way *first, const way *w) {
    graph *g = x->g;
    if (first->says == SAY_CONTAINER) {
        const production *a = &g->rules[first->e.rule], *b = &g->rules[w->e.rule];
        if (a->open != b->open || x->bytewise[a->start] != x->bytewise[b->start])
            return false;
        production one = *a, other = dissolve(x, w->e.rule);
        add_empty(x, one.start, other.start);
        add_empty(x, other.end, one.end);
        x->in[w->e.to]--;
        return true;
    }
    if (first->e.to == w->e.to) {
        x->in[w->e.to]--;
    } else {
        if (first->says == SAY_NOTHING || !is_private(x, node, first->e.to) || !is_private(x, first->e.to, w->e.to))
            return false;
        join(x, first->e.to, w->e.to);
    }
    if (first->says == SAY_CALL)
        x->uses[w->e.rule]--;
    return true;
}

static void factor_node(factor *x, uint32_t node) {
    graph *g = x->g;
    take_ways(x, node);
    if (broken(g))
        return;
    if (x->n_ways > 1)
        qsort(x->ways, x->n_ways, sizeof *x->ways, way_order);
    for (size_t i = 0, first = 0; i < x->n_ways; i++) {
        way *w = &x->ways[i];
        if (i == 0 || saying_order(&x->ways[first], w) != 0) {
            first = i;
        } else if (absorb(x, node, &x->ways[first], w)) {
            uint32_t grown = w->says == SAY_CONTAINER ? g->rules[x->ways[first].e.rule].start : x->ways[first].e.to;
            if (w->says != SAY_NOTHING && (x->n_queue == 0 || x->queue[x->n_queue - 1] != grown))
                push(g, &x->queue, &x->n_queue, &x->cap_queue, grown);
            continue;
        }
        g->edges[w->at].next = g->first[node];
        g->first[node] = w->at;
    }
}

/* More than a few edges lead on from there. */
static bool has_many(const graph *g, uint32_t node) {
    uint32_t n = 0;
    for (uint32_t at = g->first[node]; at != NO_EDGE && n <= FACTOR_MIN_EDGES; at = g->edges[at].next)
        n++;
    return n > FACTOR_MIN_EDGES;
}

static void look(factor *x) {
    const graph *g = x->g;
    for (uint32_t i = 0; i < g->n_rules; i++) {
        x->fixed[g->rules[i].end] = true;
        x->uses[i] = i == g->root ? 2 : 0;
    }
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t at = g->first[i]; at != NO_EDGE; at = g->edges[at].next) {
            x->in[g->edges[at].to]++;
            if (g->edges[at].kind == EDGE_CALL)
                x->uses[g->edges[at].rule]++;
        }
    for (uint32_t i = 0; i < g->n_rules; i++)
        x->fixed[g->rules[i].start] |= x->uses[i] > 0;
    for (uint32_t i = 0; i < g->n_bytewise; i++)
        memset(x->bytewise + g->bytewise[i].lo, true, g->bytewise[i].hi - g->bytewise[i].lo);
}

void graph_factor(graph *g) {
    factor x = {.g = g};
    bool any = false;
    for (uint32_t i = 0; i < g->n_nodes && !any && !broken(g); i++)
        any = has_many(g, i);
    if (!any)
        return;
    x.nowhere = graph_node(g);
    x.in = mem_alloc_array(g->n_nodes, sizeof *x.in);
    x.fixed = mem_alloc_array(g->n_nodes, sizeof *x.fixed);
    x.bytewise = mem_alloc_array(g->n_nodes, sizeof *x.bytewise);
    x.uses = mem_alloc_array(g->n_rules, sizeof *x.uses);
    g->nomem = g->nomem || !x.in || !x.fixed || !x.bytewise || !x.uses;
    if (!broken(g))
        look(&x);
    for (uint32_t i = 0; i < g->n_nodes && !broken(g); i++) {
        if (has_many(g, i))
            push(g, &x.queue, &x.n_queue, &x.cap_queue, i);
        while (x.n_queue > 0 && !broken(g))
            factor_node(&x, x.queue[--x.n_queue]);
    }
    free(x.in);
    free(x.fixed);
    free(x.bytewise);
    free(x.uses);
    free(x.queue);
    free(x.todo);
    free(x.ways);
}
