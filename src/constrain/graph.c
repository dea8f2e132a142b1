/* Building of the pushdown automaton. Owns: nodes, edges, rules. Refuses: more than GRAPH_MAX_* of each.
 * Idea: a linked list of edges a node while building; one array sorted by node afterwards, with everything that can't
 * be completed taken out, so that no state is ever entered that can't be left. */
#include "constrain/graph.h"

#include <stdio.h>

static bool broken(const graph *g) {
    return g->nomem || g->too_large;
}

static bool reserve(graph *g, void **p, uint32_t n, uint32_t *cap, uint32_t max, size_t size) {
    if (n < *cap)
        return true;
    if (n >= max) {
        g->too_large = true;
        return false;
    }
    uint32_t c = *cap ? MIN(*cap * 2, max) : 64;
    void *v = mem_resize_array(*p, c, size);
    if (!v) {
        g->nomem = true;
        return false;
    }
    *p = v;
    *cap = c;
    return true;
}

uint32_t graph_node(graph *g) {
    void *p = g->first;
    if (broken(g) || !reserve(g, &p, g->n_nodes, &g->cap_nodes, GRAPH_MAX_NODES, sizeof *g->first))
        return 0;
    g->first = p;
    g->first[g->n_nodes] = NO_EDGE;
    return g->n_nodes++;
}

uint32_t graph_rule(graph *g) {
    uint32_t start = graph_node(g), end = graph_node(g);
    void *p = g->rules;
    if (broken(g) || !reserve(g, &p, g->n_rules, &g->cap_rules, GRAPH_MAX_RULES, sizeof *g->rules))
        return 0;
    g->rules = p;
    g->rules[g->n_rules] = (production){.start = start, .end = end};
    return g->n_rules++;
}

static void add_edge(graph *g, uint32_t from, edge e) {
    void *p = g->edges;
    if (broken(g) || !reserve(g, &p, g->n_edges, &g->cap_edges, GRAPH_MAX_EDGES, sizeof *g->edges))
        return;
    g->edges = p;
    e.next = g->first[from];
    g->edges[g->n_edges] = e;
    g->first[from] = g->n_edges++;
}

void graph_bytes(graph *g, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to) {
    add_edge(g, from, (edge){.kind = EDGE_BYTES, .lo = lo, .hi = hi, .to = to});
}

void graph_empty(graph *g, uint32_t from, uint32_t to) {
    add_edge(g, from, (edge){.kind = EDGE_EMPTY, .to = to});
}

void graph_call(graph *g, uint32_t from, uint32_t callee, uint32_t min, uint32_t max, uint32_t to) {
    if (max == 0)
        graph_empty(g, from, to);
    else if (min <= max)
        add_edge(g, from, (edge){.kind = EDGE_CALL, .to = to, .rule = callee, .min = min, .max = max});
}

void graph_call_at(graph *g, uint32_t from, uint32_t callee, uint32_t extra, uint32_t to) {
    add_edge(g, from, (edge){.kind = EDGE_CALL, .to = to, .rule = callee, .min = 1, .max = 1, .extra = extra});
}

void graph_bytewise(graph *g, uint32_t from) {
    void *p = g->bytewise;
    if (broken(g) || !reserve(g, &p, g->n_bytewise, &g->cap_bytewise, GRAPH_MAX_NODES, sizeof *g->bytewise))
        return;
    g->bytewise = p;
    g->bytewise[g->n_bytewise++] = (struct interval){from, g->n_nodes};
}

uint32_t graph_literal(graph *g, uint32_t from, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t to = graph_node(g);
        graph_bytes(g, from, (uint8_t)p[i], (uint8_t)p[i], to);
        from = to;
    }
    return from;
}

static bool reserve_many(graph *g, void **p, uint32_t n, uint32_t more, uint32_t *cap, uint32_t max, size_t size) {
    while (*cap - n < more)
        if (!reserve(g, p, *cap, cap, max, size))
            return false;
    return true;
}

uint32_t graph_append(graph *g, const graph *part) {
    uint32_t nodes = g->n_nodes, edges = g->n_edges, rules = g->n_rules, areas = g->n_bytewise;
    void *n = g->first, *e = g->edges, *r = g->rules, *b = g->bytewise;
    g->nomem = g->nomem || part->nomem;
    g->too_large = g->too_large || part->too_large;
    bool ok = !broken(g) && reserve_many(g, &n, nodes, part->n_nodes, &g->cap_nodes, GRAPH_MAX_NODES, sizeof *g->first);
    g->first = n;
    ok = ok && reserve_many(g, &e, edges, part->n_edges, &g->cap_edges, GRAPH_MAX_EDGES, sizeof *g->edges);
    g->edges = e;
    ok = ok && reserve_many(g, &r, rules, part->n_rules, &g->cap_rules, GRAPH_MAX_RULES, sizeof *g->rules);
    g->rules = r;
    ok = ok && reserve_many(g, &b, areas, part->n_bytewise, &g->cap_bytewise, GRAPH_MAX_NODES, sizeof *g->bytewise);
    g->bytewise = b;
    if (!ok)
        return 0;
    for (uint32_t i = 0; i < part->n_nodes; i++)
        g->first[nodes + i] = part->first[i] == NO_EDGE ? NO_EDGE : part->first[i] + edges;
    for (uint32_t i = 0; i < part->n_edges; i++) {
        edge x = part->edges[i];
        x.to += nodes;
        x.rule += x.kind == EDGE_CALL ? rules : 0;
        x.next = x.next == NO_EDGE ? NO_EDGE : x.next + edges;
        g->edges[edges + i] = x;
    }
    for (uint32_t i = 0; i < part->n_rules; i++) {
        production x = part->rules[i];
        x.start += nodes;
        x.end += nodes;
        g->rules[rules + i] = x;
    }
    for (uint32_t i = 0; i < part->n_bytewise; i++)
        g->bytewise[areas + i] = (struct interval){part->bytewise[i].lo + nodes, part->bytewise[i].hi + nodes};
    g->n_nodes += part->n_nodes;
    g->n_edges += part->n_edges;
    g->n_rules += part->n_rules;
    g->n_bytewise += part->n_bytewise;
    return rules;
}

typedef struct set_edges {
    graph *g;
    uint32_t from, to;
} set_edges;

static bool add_sequence(void *ctx, const utf8_seq *q) {
    set_edges *s = ctx;
    uint32_t at = s->from;
    for (int i = 0; i < q->n; i++) {
        uint32_t next = i + 1 == q->n ? s->to : graph_node(s->g);
        graph_bytes(s->g, at, q->lo[i], q->hi[i], next);
        at = next;
    }
    return !broken(s->g);
}

void graph_code_points(graph *g, uint32_t from, const cp_set *set, uint32_t to) {
    set_edges s = {g, from, to};
    for (size_t i = 0; i < set->n; i++)
        if (!utf8_split(set->r[i].lo, set->r[i].hi, add_sequence, &s))
            return;
}

/* ---- automata as edges ---- */

/* Edges of one state for the raw bytes lo..hi, as few ranges as its targets allow. */
static void dfa_edges(graph *g, const dfa *d, uint32_t state, uint32_t base, uint32_t lo, uint32_t hi) {
    const uint32_t *row = d->next + (size_t)state * d->n_classes;
    for (uint32_t c = lo; c <= hi;) {
        uint32_t to = row[d->class_of[c]], from = c;
        while (c <= hi && row[d->class_of[c]] == to)
            c++;
        if (to != DFA_DEAD)
            graph_bytes(g, base + state, (uint8_t)from, (uint8_t)(c - 1), base + to);
    }
}

static uint32_t dfa_nodes(graph *g, uint32_t from, const dfa *d, uint32_t to) {
    uint32_t base = g->n_nodes;
    if (d->start == DFA_DEAD)
        return base;
    for (uint32_t i = 0; i < d->n_states; i++)
        (void)graph_node(g);
    if (broken(g))
        return base;
    graph_empty(g, from, base + d->start);
    for (uint32_t i = 0; i < d->n_states; i++)
        if (d->accept[i])
            graph_empty(g, base + i, to);
    return base;
}

void graph_dfa(graph *g, uint32_t from, const dfa *d, uint32_t to) {
    uint32_t base = dfa_nodes(g, from, d, to);
    for (uint32_t i = 0; i < d->n_states && !broken(g); i++)
        dfa_edges(g, d, i, base, 0, 255);
}

static const struct {
    uint8_t byte;
    char letter;
} short_escapes[] = {{'"', '"'}, {'\\', '\\'}, {8, 'b'}, {9, 't'}, {10, 'n'}, {12, 'f'}, {13, 'r'}};

static bool has_short_escape(uint32_t c) {
    for (size_t i = 0; i < ARRAY_LEN(short_escapes); i++)
        if (short_escapes[i].byte == c)
            return true;
    return false;
}

/* Where the escaped characters of a state lead: at[34]. States that agree share one escape tree. */
#define N_ESCAPED 34
static void escape_targets(const dfa *d, uint32_t state, uint32_t at[N_ESCAPED]) {
    const uint32_t *row = d->next + (size_t)state * d->n_classes;
    for (uint32_t c = 0; c < 32; c++)
        at[c] = row[d->class_of[c]];
    at[32] = row[d->class_of['"']];
    at[33] = row[d->class_of['\\']];
}

static uint32_t escape_target(const uint32_t at[N_ESCAPED], uint32_t c) {
    return c < 32 ? at[c] : c == '"' ? at[32] : at[33];
}

static uint32_t escape_tree(graph *g, const uint32_t at[N_ESCAPED], bool upper, uint32_t base) {
    uint32_t root = graph_node(g), tens[2] = {NO_EDGE, NO_EDGE};
    for (size_t i = 0; i < ARRAY_LEN(short_escapes); i++) {
        uint32_t to = escape_target(at, short_escapes[i].byte);
        if (to != DFA_DEAD)
            graph_bytes(g, root, (uint8_t)short_escapes[i].letter, (uint8_t)short_escapes[i].letter, base + to);
    }
    uint32_t zeros = NO_EDGE;
    for (uint32_t c = 0; c < 32; c++) {
        if (has_short_escape(c) || at[c] == DFA_DEAD)
            continue;
        if (zeros == NO_EDGE)
            zeros = graph_literal(g, root, "u00", 3);
        if (tens[c >> 4] == NO_EDGE) {
            tens[c >> 4] = graph_node(g);
            graph_bytes(g, zeros, (uint8_t)('0' + (c >> 4)), (uint8_t)('0' + (c >> 4)), tens[c >> 4]);
        }
        uint32_t low = c & 15;
        uint8_t digit = (uint8_t)(low < 10 ? '0' + low : 'a' + low - 10);
        graph_bytes(g, tens[c >> 4], digit, digit, base + at[c]);
        if (low >= 10 && upper)
            graph_bytes(g, tens[c >> 4], (uint8_t)(digit - 32), (uint8_t)(digit - 32), base + at[c]);
    }
    return root;
}

void graph_json_dfa(graph *g, uint32_t from, const dfa *d, bool for_key, uint32_t to) {
    uint32_t base = dfa_nodes(g, from, d, to);
    uint32_t last[N_ESCAPED], last_root = NO_EDGE;
    memset(last, 0xFF, sizeof last);
    for (uint32_t i = 0; i < d->n_states && !broken(g); i++) {
        uint32_t at[N_ESCAPED];
        bool any = false;
        dfa_edges(g, d, i, base, 0x20, '"' - 1);
        dfa_edges(g, d, i, base, '"' + 1, '\\' - 1);
        dfa_edges(g, d, i, base, '\\' + 1, 255);
        escape_targets(d, i, at);
        for (int k = 0; k < N_ESCAPED; k++)
            any |= at[k] != DFA_DEAD;
        if (!any)
            continue;
        if (last_root == NO_EDGE || memcmp(at, last, sizeof at) != 0) {
            last_root = escape_tree(g, at, !for_key, base);
            memcpy(last, at, sizeof at);
        }
        graph_bytes(g, base + i, '\\', '\\', last_root);
    }
}

void graph_json_character(graph *g, uint32_t from, uint32_t to) {
    static const cp_range raw[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, CP_MAX}};
    uint32_t at[N_ESCAPED] = {0}; /* every escape leads to `to` */
    for (size_t i = 0; i < ARRAY_LEN(raw); i++) {
        cp_range one = raw[i];
        cp_set s = {.r = &one, .n = 1, .cap = 1};
        graph_code_points(g, from, &s, to);
    }
    graph_bytes(g, from, '\\', '\\', escape_tree(g, at, true, to));
}

/* ---- finishing ---- */

muga_status graph_status(const graph *g, muga_error *err) {
    if (g->nomem)
        return error_nomem(err, "a grammar");
    if (g->too_large)
        return error_set(err, MUGA_E_LIMIT, "grammar: more than %u nodes, %u edges or %u rules; make it smaller",
                         GRAPH_MAX_NODES, GRAPH_MAX_EDGES, GRAPH_MAX_RULES);
    return MUGA_OK;
}

static bool edge_is_alive(const graph *g, const cost *c, const edge *e) {
    if (c->node[e->to] >= COST_INF)
        return false;
    return e->kind != EDGE_CALL || c->node[g->rules[e->rule].start] < COST_INF;
}

/* Sorts edges by node, keeping those that `c` (NULL: all) says can be completed. A call that may be left out, of a
 * rule that can't be completed, becomes an empty edge. */
static muga_status sort_edges(graph *g, const uint32_t *first, const cost *c, bool linked, muga_error *err) {
    uint32_t *offsets = mem_alloc_array((size_t)g->n_nodes + 1, sizeof *offsets);
    edge *sorted = mem_alloc_array(g->n_edges, sizeof *sorted);
    if (!offsets || !sorted) {
        free(offsets);
        free(sorted);
        return error_nomem(err, "a grammar");
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        uint32_t k = first[i], end = linked ? NO_EDGE : first[i + 1];
        offsets[i] = n;
        for (; k != end; k = linked ? g->edges[k].next : k + 1) {
            edge e = g->edges[k];
            if (c && e.kind == EDGE_CALL && e.min == 0 && c->node[g->rules[e.rule].start] >= COST_INF)
                e = (edge){.kind = EDGE_EMPTY, .to = e.to};
            if (!c || edge_is_alive(g, c, &e))
                sorted[n++] = e;
        }
    }
    offsets[g->n_nodes] = n;
    free(g->first);
    free(g->edges);
    g->first = offsets;
    g->edges = sorted;
    g->n_edges = g->cap_edges = n;
    g->cap_nodes = g->n_nodes;
    return MUGA_OK;
}

static void find_classes(graph *g) {
    bool starts[257] = {true};
    for (uint32_t i = 0; i < g->n_edges; i++)
        if (g->edges[i].kind == EDGE_BYTES) {
            starts[g->edges[i].lo] = true;
            starts[g->edges[i].hi + 1] = true;
        }
    g->n_classes = 0;
    for (int b = 0; b < 256; b++) {
        if (starts[b])
            g->byte_of[g->n_classes++] = (uint8_t)b;
        g->class_of[b] = (uint8_t)(g->n_classes - 1);
    }
}

muga_status graph_finish(graph *g, cost *out, bool *closable, muga_error *err) {
    memset(out, 0, sizeof *out);
    muga_status st = graph_status(g, err);
    if (st == MUGA_OK)
        st = sort_edges(g, g->first, NULL, true, err);
    if (st == MUGA_OK)
        st = cost_compute(g, NULL, NULL, 0, out, err);
    if (st == MUGA_OK)
        st = sort_edges(g, g->first, out, false, err);
    if (st != MUGA_OK)
        return st;
    g->rule_of_end = mem_alloc_array(g->n_nodes, sizeof *g->rule_of_end);
    if (!g->rule_of_end)
        return error_nomem(err, "a grammar");
    for (uint32_t i = 0; i < g->n_rules; i++)
        g->rule_of_end[g->rules[i].end] = i + 1;
    find_classes(g);
    *closable = out->node[g->rules[g->root].start] < COST_INF;
    return MUGA_OK;
}

void graph_release(graph *g) {
    free(g->first);
    free(g->edges);
    free(g->rules);
    free(g->rule_of_end);
    free(g->bytewise);
    memset(g, 0, sizeof *g);
}
