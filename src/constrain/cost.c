/* Cheapest ways to a rule's end. Owns: the cost tables. Refuses nothing.
 *
 * Idea: Knuth's generalisation of Dijkstra's algorithm (1977, "A generalization of Dijkstra's algorithm"): nodes are
 * settled in order of cost, from the ends of rules backwards; a call costs min times its rule plus what follows, so
 * it is weighed as soon as both are settled. The result obeys cost(u) = 1 + cost(v) for some step u -> v that a token
 * can take, which is what makes "close within n tokens" hold step after step. */
#include "constrain/graph.h"

typedef struct incoming {
    uint32_t from, edge; /* edge NO_EDGE: a shortcut */
} incoming;

typedef struct settle {
    const graph *g;
    cost *c;
    incoming *in; /* by node: in[first[i] .. first[i+1]) */
    uint32_t *first;
    uint64_t *heap; /* cost << 32 | node */
    size_t n_heap, cap_heap;
    uint32_t *calls, *containers; /* [n_nodes] depth of the cheapest way from the node */
    uint8_t *settled;
    uint32_t *rule_of_start; /* [n_nodes] rule + 1 */
    bool nomem;
} settle;

static void heap_push(settle *s, uint64_t v) {
    if (s->n_heap == s->cap_heap) {
        size_t cap = s->cap_heap ? s->cap_heap * 2 : 256;
        uint64_t *h = mem_resize_array(s->heap, cap, sizeof *h);
        if (!h) {
            s->nomem = true;
            return;
        }
        s->heap = h;
        s->cap_heap = cap;
    }
    size_t i = s->n_heap++;
    for (; i > 0 && s->heap[(i - 1) / 2] > v; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = v;
}

static uint64_t heap_pop(settle *s) {
    uint64_t top = s->heap[0], v = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < s->n_heap; i = k) {
        if (k + 1 < s->n_heap && s->heap[k + 1] < s->heap[k])
            k++;
        if (s->heap[k] >= v)
            break;
        s->heap[i] = s->heap[k];
    }
    s->heap[i] = v;
    return top;
}

static void offer(settle *s, uint32_t node, uint32_t value, uint32_t calls, uint32_t containers) {
    if (s->settled[node] || value >= s->c->node[node])
        return;
    s->c->node[node] = value;
    s->calls[node] = calls;
    s->containers[node] = containers;
    heap_push(s, (uint64_t)value << 32 | node);
}

static void weigh(settle *s, const incoming *in, uint32_t to, const bool *usable) {
    if (in->edge == NO_EDGE) {
        offer(s, in->from, cost_add(s->c->node[to], 1), s->calls[to], s->containers[to]);
        return;
    }
    const edge *e = &s->g->edges[in->edge];
    uint32_t behind = s->c->node[e->to];
    if (e->kind == EDGE_EMPTY || (e->kind == EDGE_CALL && e->min == 0)) {
        if (s->settled[e->to])
            offer(s, in->from, behind, s->calls[e->to], s->containers[e->to]);
    } else if (e->kind == EDGE_BYTES) {
        bool can = usable == NULL;
        for (int b = e->lo; b <= e->hi && !can; b++)
            can = usable[b];
        if (can)
            offer(s, in->from, cost_add(behind, 1), s->calls[e->to], s->containers[e->to]);
    } else {
        const production *r = &s->g->rules[e->rule];
        if (s->settled[e->to] && s->settled[r->start])
            offer(s, in->from, cost_add(cost_add(cost_times(s->c->node[r->start], e->min), behind), e->extra),
                  MAX(s->calls[e->to], s->c->calls[e->rule]), MAX(s->containers[e->to], s->c->containers[e->rule]));
    }
}

/* Edges by the node whose settling makes them worth weighing: a call by its target and by its rule's start. */
static bool collect_incoming(settle *s, const shortcut *cuts, size_t n_cuts) {
    const graph *g = s->g;
    uint32_t *count = s->first + 1;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < g->n_nodes; i++)
            for (uint32_t k = g->first[i]; k < g->first[i + 1]; k++) {
                const edge *e = &g->edges[k];
                uint32_t keys[2] = {e->to, e->kind == EDGE_CALL && e->min > 0 ? g->rules[e->rule].start : NO_EDGE};
                for (int j = 0; j < 2 && keys[j] != NO_EDGE; j++) {
                    if (pass == 0)
                        count[keys[j] + 1]++;
                    else
                        s->in[count[keys[j]]++] = (incoming){i, k};
                }
            }
        for (size_t i = 0; i < n_cuts; i++) {
            if (pass == 0)
                count[cuts[i].to + 1]++;
            else
                s->in[count[cuts[i].to]++] = (incoming){cuts[i].from, NO_EDGE};
        }
        if (pass == 0) {
            for (uint32_t i = 1; i <= g->n_nodes; i++)
                count[i] += count[i - 1];
            s->in = mem_alloc_array((size_t)count[g->n_nodes] + 1, sizeof *s->in);
            if (!s->in)
                return false;
        }
    }
    return true;
}

static void settle_all(settle *s, const bool *usable) {
    const graph *g = s->g;
    for (uint32_t i = 0; i < g->n_rules; i++)
        offer(s, g->rules[i].end, 0, 0, 0);
    while (s->n_heap > 0 && !s->nomem) {
        uint32_t node = (uint32_t)heap_pop(s);
        if (s->settled[node])
            continue;
        s->settled[node] = true;
        if (s->rule_of_start[node]) {
            uint32_t r = s->rule_of_start[node] - 1;
            s->c->calls[r] = s->calls[node] + 1;
            s->c->containers[r] = s->containers[node] + g->rules[r].container;
        }
        for (uint32_t k = s->first[node]; k < s->first[node + 1]; k++)
            weigh(s, &s->in[k], node, usable);
    }
}

muga_status cost_compute(const graph *g, const bool *usable, const shortcut *shortcuts, size_t n_shortcuts, cost *out,
                         muga_error *err) {
    settle s = {.g = g, .c = out};
    out->node = mem_alloc_array(g->n_nodes, sizeof *out->node);
    out->calls = mem_alloc_array(g->n_rules, sizeof *out->calls);
    out->containers = mem_alloc_array(g->n_rules, sizeof *out->containers);
    s.first = mem_alloc_array((size_t)g->n_nodes + 2, sizeof *s.first);
    s.calls = mem_alloc_array(g->n_nodes, sizeof *s.calls);
    s.containers = mem_alloc_array(g->n_nodes, sizeof *s.containers);
    s.settled = mem_alloc_array(g->n_nodes, 1);
    s.rule_of_start = mem_alloc_array(g->n_nodes, sizeof *s.rule_of_start);
    s.nomem = !out->node || !out->calls || !out->containers || !s.first || !s.calls || !s.containers || !s.settled ||
              !s.rule_of_start || !collect_incoming(&s, shortcuts, n_shortcuts);
    for (uint32_t i = 0; i < g->n_nodes && !s.nomem; i++)
        out->node[i] = COST_INF;
    for (uint32_t i = 0; i < g->n_rules && !s.nomem; i++)
        s.rule_of_start[g->rules[i].start] = i + 1;
    if (!s.nomem)
        settle_all(&s, usable);
    free(s.in);
    free(s.first);
    free(s.heap);
    free(s.calls);
    free(s.containers);
    free(s.settled);
    free(s.rule_of_start);
    if (s.nomem) {
        cost_release(out);
        return error_nomem(err, "a grammar");
    }
    return MUGA_OK;
}

void cost_release(cost *c) {
    free(c->node);
    free(c->calls);
    free(c->containers);
    memset(c, 0, sizeof *c);
}
