/* The compiled grammar: rules of byte edges and calls, a pushdown automaton over bytes.
 *
 *   node --bytes lo..hi--> node      one byte of the range
 *   node --empty--> node
 *   node --call R{min,max}--> node   rule R, min to max times in a row
 *
 * A rule has one start node and one end node. Building never fails half-way: the first failure is kept in the graph
 * and turns every later call into a no-op, so a builder checks once (graph_finish). */
#ifndef MUGA_CONSTRAIN_GRAPH_H
#define MUGA_CONSTRAIN_GRAPH_H

#include "base/mem.h"
#include "base/str.h"
#include "constrain/dfa.h"

typedef enum { EDGE_BYTES, EDGE_EMPTY, EDGE_CALL } edge_kind;
#define CALL_INF UINT32_MAX
#define NO_EDGE UINT32_MAX
typedef struct edge {
    uint8_t kind, lo, hi;
    uint32_t to;
    uint32_t rule, min, max; /* EDGE_CALL */
    uint32_t extra;          /* EDGE_CALL: cost beyond its rule's, where the way to the end leads through it */
    uint32_t next;           /* while building: next edge of the node */
} edge;

typedef struct production {
    uint32_t start, end;
    bool container; /* an array or object: counts against the depth of the value */
    bool open;      /* an object that may have keys which nobody lists */
} production;

#define GRAPH_MAX_NODES 600000u
#define GRAPH_MAX_EDGES 1200000u
#define GRAPH_MAX_RULES 100000u
/* Depths of a text: containers as the JSON reader allows, calls so that the stack of a state stays small. */
#define GRAPH_MAX_CONTAINERS 128u
#define GRAPH_MAX_CALLS 4096u

typedef struct graph {
    uint32_t *first; /* [n_nodes], while building; [n_nodes + 1] offsets into edges once finished */
    edge *edges;
    production *rules;
    uint32_t n_nodes, cap_nodes, n_edges, cap_edges, n_rules, cap_rules;
    uint32_t *rule_of_end; /* [n_nodes] rule + 1 at the end node of a rule, else 0; once finished */
    uint32_t root;         /* rule */
    struct interval {
        uint32_t lo, hi; /* nodes [lo, hi) */
    } * bytewise; /* where completions are counted in single bytes: keys that must differ from others (fresh.c) */
    uint32_t n_bytewise, cap_bytewise;
    uint8_t class_of[256], byte_of[256]; /* bytes that no edge tells apart; one byte of each class */
    uint32_t n_classes;
    bool nomem, too_large;
} graph;

uint32_t graph_node(graph *g);
uint32_t graph_rule(graph *g); /* with fresh start and end */
void graph_bytes(graph *g, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to);
void graph_empty(graph *g, uint32_t from, uint32_t to);
void graph_call(graph *g, uint32_t from, uint32_t rule, uint32_t min, uint32_t max, uint32_t to);
/* One call that isn't always as cheap as its rule: `extra` is the difference; COST_INF: nothing may rely on it. */
void graph_call_at(graph *g, uint32_t from, uint32_t rule, uint32_t extra, uint32_t to);
void graph_bytewise(graph *g, uint32_t from);                             /* the nodes made since n_nodes was `from` */
uint32_t graph_literal(graph *g, uint32_t from, const char *p, size_t n); /* the node behind the text */
void graph_code_points(graph *g, uint32_t from, const cp_set *set, uint32_t to);
void graph_dfa(graph *g, uint32_t from, const dfa *d, uint32_t to); /* its texts as they are */
/* Its texts as the inside of a JSON string: characters raw where JSON allows it, else their short escapes, else
 * \u00xx (for_key: in lower case, else in either). No quotes. */
void graph_json_dfa(graph *g, uint32_t from, const dfa *d, bool for_key, uint32_t to);
/* Any one character of a JSON string, spelled so. */
void graph_json_character(graph *g, uint32_t from, uint32_t to);
/* factor.c: alternatives of many that begin alike begin as one. Before graph_finish; g->root is set. */
void graph_factor(graph *g);
/* The rules of `part`, which isn't finished, join g: its rule i is g's rule (result + i). */
uint32_t graph_append(graph *g, const graph *part);
muga_status graph_status(const graph *g, muga_error *err);

/* What it costs to get from a node to its rule's end, and how deep that cheapest way goes. */
#define COST_INF (UINT32_MAX / 4)
typedef struct cost {
    uint32_t *node;               /* [n_nodes] tokens (bytes where no vocabulary is known) */
    uint32_t *calls, *containers; /* [n_rules] depth of the cheapest way through the rule, itself included */
} cost;
static inline uint32_t cost_add(uint32_t a, uint32_t b) {
    return a + b > COST_INF ? COST_INF : a + b;
}
static inline uint32_t cost_times(uint32_t a, uint32_t n) {
    uint64_t x = (uint64_t)a * n;
    return x > COST_INF ? COST_INF : (uint32_t)x;
}
/* A step of more than one byte along a chain of single bytes: a vocabulary piece. */
typedef struct shortcut {
    uint32_t from, to;
} shortcut;
/* usable: the bytes that exist as a piece of their own (NULL: all). */
MUGA_MUST_USE muga_status cost_compute(const graph *g, const bool *usable, const shortcut *shortcuts,
                                       size_t n_shortcuts, cost *out, muga_error *err);
void cost_release(cost *c);

/* Sorts edges by node, removes what leads nowhere, finds the byte classes. *closable false: no text at all fits
 * (the graph is then not usable). */
MUGA_MUST_USE muga_status graph_finish(graph *g, cost *out, bool *closable, muga_error *err);
void graph_release(graph *g);

#endif
