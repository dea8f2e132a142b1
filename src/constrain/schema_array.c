/* Arrays. Owns nothing. Refuses nothing; uniqueItems, and more counts of `contains` than MAX_GRID, are left to
 * re-validation.
 *
 * Idea: a chain of states for the items that have a schema of their own, then one counted call for the rest. Where
 * items are to be found (`contains`, or the opposite of `items`), the chain becomes a grid: a state for every number of
 * items and of those found, as far as they matter. An item that is found fits the condition too; where finds are
 * counted exactly (maxContains), one that isn't fits its opposite. */
#include "constrain/front.h"

#define MAX_CONDITIONS 4u
#define MAX_GRID 20000u

/* Between min and max items from the from-th on fit the schema. */
typedef struct condition {
    const json_t *schema, *opposite; /* opposite NULL: there is no maximum */
    uint64_t min, max;               /* max UINT64_MAX: none */
    size_t from;
} condition;

typedef struct conditions {
    condition v[MAX_CONDITIONS];
    uint32_t n;
} conditions;

static muga_status add_condition(shape *s, const json_t *schema, condition c, conditions *all) {
    if (c.min == 0 && c.max == UINT64_MAX)
        return MUGA_OK;
    if (all->n == MAX_CONDITIONS || c.min > MAX_GRID || (c.max != UINT64_MAX && c.max > MAX_GRID))
        return front_relax(s->f, schema, "contains", "asks for more, or counts further, than is kept while decoding",
                           true);
    muga_status st = c.max == UINT64_MAX ? MUGA_OK : opposite_wrap(s->f, c.schema, &c.opposite);
    all->v[all->n++] = c;
    return st;
}

/* A count of one schema; `otherwise` where it has none. */
static muga_status read_count(shape *s, const json_t *schema, const char *keyword, uint64_t otherwise, uint64_t *out) {
    const json_t *v = json_object_get(schema, keyword);
    *out = otherwise;
    if (!v)
        return MUGA_OK;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || !number_is_integer(v))
        return front_refuse(s->f, schema, keyword, "must be a whole number, 0 or more");
    *out = d >= 1e15 ? UINT64_MAX - 1 : (uint64_t)d;
    return MUGA_OK;
}

static muga_status collect_conditions(shape *s, conditions *all) {
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++) {
        const json_t *schema = s->all.e[i].schema, *opposite = shape_opposite(s, i);
        const json_t *v = json_object_get(schema, "contains"), *items = json_object_get(opposite, "items");
        bool draft7 = schema_index_is_draft7(&s->f->index, schema_index_resource(&s->f->index, schema));
        condition c = {.schema = v, .min = 1, .max = UINT64_MAX};
        if (!shape_counts(s, i))
            continue;
        if (v && !draft7)
            st = read_count(s, schema, "minContains", 1, &c.min);
        if (st == MUGA_OK && v && !draft7)
            st = read_count(s, schema, "maxContains", UINT64_MAX, &c.max);
        if (st == MUGA_OK && v)
            st = add_condition(s, schema, c, all);
        if (st != MUGA_OK || !items)
            continue;
        c = (condition){.min = 1, .max = UINT64_MAX, .from = json_array_size(json_object_get(opposite, "prefixItems"))};
        st = opposite_wrap(s->f, items, &c.schema);
        if (st == MUGA_OK)
            st = add_condition(s, schema, c, all);
    }
    return st;
}

static muga_status relax_unique(shape *s, uint64_t max) {
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++) {
        const json_t *schema = s->all.e[i].schema;
        if (!shape_counts(s, i))
            continue;
        if (json_is_true(json_object_get(schema, "uniqueItems")) && max > 1)
            st = front_relax(s->f, schema, "uniqueItems", "is known only of the whole array", false);
        else if (json_object_get(shape_opposite(s, i), "uniqueItems"))
            st = front_relax(s->f, schema, "not", "of \"uniqueItems\" is known only of the whole array", false);
    }
    return st;
}

/* How one element reads its array keywords: prefix (array or NULL) and rest (schema or NULL). */
static void read_items(const front *f, const json_t *schema, const json_t **prefix, const json_t **rest) {
    constrain_draft d = f->index.resources[schema_index_resource(&f->index, schema)].draft;
    *prefix = json_object_get(schema, "prefixItems");
    *rest = json_object_get(schema, "items");
    if (d == CONSTRAIN_DRAFT_7 || json_is_array(*rest)) {
        *prefix = json_is_array(*rest) ? *rest : NULL;
        *rest = *prefix ? json_object_get(schema, "additionalItems") : *rest;
    } else if (json_is_object(*prefix) && !*rest) { /* seen in the wild: one schema, meant for every item */
        *rest = *prefix;
        *prefix = NULL;
    }
}

/* The goal of item i, for which also[0, n) hold too. */
static muga_status item_rule(shape *s, size_t i, const json_t *const *also, uint32_t n, uint32_t *rule) {
    goal_list l = {0};
    muga_status st = MUGA_OK;
    for (uint32_t k = 0; k < s->all.n && st == MUGA_OK; k++) {
        const json_t *prefix, *rest;
        if (!shape_counts(s, k))
            continue;
        read_items(s->f, s->all.e[k].schema, &prefix, &rest);
        const json_t *v = i < json_array_size(prefix) ? json_array_get(prefix, i) : rest;
        if (v)
            st = goal_list_add(s->f, &l, v, 0, -1);
    }
    for (uint32_t k = 0; k < n && st == MUGA_OK; k++)
        st = goal_list_add(s->f, &l, also[k], 0, -1);
    if (st != MUGA_OK) {
        goal_list_release(&l);
        return st;
    }
    return front_goal(s->f, &l, rule);
}

static uint32_t comma(front *f, uint32_t from) {
    return front_space(f, front_literal(f, front_space(f, from), ","));
}

/* "," item, as a rule of its own so that it can be counted. */
static uint32_t further_rule(front *f, uint32_t item) {
    uint32_t r = graph_rule(&f->g);
    if (f->g.nomem || f->g.too_large)
        return r;
    production x = f->g.rules[r];
    graph_call(&f->g, comma(f, x.start), item, 1, 1, x.end);
    return r;
}

static uint32_t call_count(uint64_t n) {
    return n >= CALL_INF ? CALL_INF : (uint32_t)n;
}

/* The items of one array: how many have a schema of their own, and how many there may be. */
typedef struct list {
    shape *s;
    size_t n_prefix;
    uint64_t min, max;
    uint32_t at, close; /* behind "[", before "]" */
} list;

static muga_status build_chain(const list *x) {
    front *f = x->s->f;
    muga_status st = MUGA_OK;
    uint32_t at = x->at;
    size_t i = 0;
    for (; i <= x->n_prefix && st == MUGA_OK; i++) { /* n_prefix items, and the first of the rest */
        uint32_t item, next = graph_node(&f->g);
        if (i >= x->min)
            graph_empty(&f->g, at, x->close);
        if (i >= x->max || (i == x->n_prefix && i > 0))
            break;
        st = item_rule(x->s, i, NULL, 0, &item);
        if (st == MUGA_OK)
            st = front_spend(f, 8);
        graph_call(&f->g, i > 0 ? comma(f, at) : at, item, 1, 1, next);
        at = next;
    }
    if (i > x->n_prefix && i >= x->min)
        graph_empty(&f->g, at, x->close);
    if (st == MUGA_OK && i < x->max && i >= x->n_prefix) {
        uint32_t item;
        st = item_rule(x->s, x->n_prefix, NULL, 0, &item);
        if (st == MUGA_OK)
            graph_call(&f->g, at, further_rule(f, item), call_count(x->min > i ? x->min - i : 0),
                       x->max == UINT64_MAX ? CALL_INF : call_count(x->max - i), x->close);
    }
    return st;
}

/* ---- the grid ---- */

typedef struct grid {
    const list *x;
    const conditions *all;
    uint32_t n_items;                  /* numbers of items 0..n_items are told apart */
    uint32_t n_counts[MAX_CONDITIONS]; /* and finds 0..n_counts - 1 of each condition */
    uint32_t n_found;                  /* product of n_counts */
    uint32_t *nodes;                   /* [(n_items + 1) * n_found] */
} grid;

static uint32_t found_count(const grid *g, uint32_t found, uint32_t k) {
    for (uint32_t j = 0; j < k; j++)
        found /= g->n_counts[j];
    return found % g->n_counts[k];
}

static uint32_t find_one_more(const grid *g, uint32_t found, uint32_t k) {
    uint32_t weight = 1;
    for (uint32_t j = 0; j < k; j++)
        weight *= g->n_counts[j];
    return found + weight;
}

/* What the next item may be behind i of them: bit k of `picks` for a find of condition k. also: what must hold of it
 * then. false: no such item. */
static bool next_item(const grid *g, size_t i, uint32_t found, uint32_t picks, const json_t **also, uint32_t *n,
                      uint32_t *then) {
    *n = 0;
    *then = found;
    for (uint32_t k = 0; k < g->all->n; k++) {
        const condition *c = &g->all->v[k];
        uint32_t count = found_count(g, found, k);
        bool pick = picks >> k & 1, full = count + 1 == g->n_counts[k];
        if (pick && (i < c->from || full))
            return false; /* not looked at; or no more may be found, or need be told apart */
        if (pick) {
            also[(*n)++] = c->schema;
            *then = find_one_more(g, *then, k);
        } else if (c->opposite && i >= c->from) {
            also[(*n)++] = c->opposite;
        }
    }
    return true;
}

static muga_status build_place(const grid *g, uint32_t i, uint32_t found) {
    front *f = g->x->s->f;
    const list *x = g->x;
    uint32_t node = g->nodes[i * g->n_found + found], behind = NO_RULE;
    bool enough = i >= x->min;
    muga_status st = MUGA_OK;
    for (uint32_t k = 0; k < g->all->n; k++)
        enough = enough && found_count(g, found, k) >= g->all->v[k].min;
    if (enough)
        graph_empty(&f->g, node, x->close);
    if (x->max != UINT64_MAX && i >= x->max)
        return MUGA_OK;
    for (uint32_t picks = 0; picks < 1u << g->all->n && st == MUGA_OK; picks++) {
        const json_t *also[MAX_CONDITIONS];
        uint32_t n, then, item;
        if (!next_item(g, i, found, picks, also, &n, &then))
            continue;
        st = item_rule(x->s, MIN(i, x->n_prefix), also, n, &item);
        if (st == MUGA_OK)
            st = front_spend(f, 20);
        if (behind == NO_RULE)
            behind = i > 0 ? comma(f, node) : node;
        graph_call(&f->g, behind, item, 1, 1, g->nodes[MIN(i + 1, g->n_items) * g->n_found + then]);
    }
    return st;
}

/* *too_large: nothing was built. */
static muga_status build_grid(const list *x, const conditions *all, bool *too_large) {
    front *f = x->s->f;
    grid g = {.x = x, .all = all, .n_found = 1};
    uint64_t n_items = MAX(MAX(x->n_prefix, 1), x->max != UINT64_MAX ? x->max : x->min), n = n_items + 1;
    for (uint32_t k = 0; k < all->n; k++) {
        const condition *c = &all->v[k];
        n_items = x->max != UINT64_MAX ? n_items : MAX(n_items, c->from);
        n = n_items + 1;
        g.n_counts[k] = (uint32_t)(c->max != UINT64_MAX ? c->max : c->min) + 1;
        g.n_found = g.n_found > MAX_GRID ? g.n_found : g.n_found * g.n_counts[k];
    }
    *too_large = n > MAX_GRID || n * g.n_found > MAX_GRID;
    if (*too_large)
        return MUGA_OK;
    g.n_items = (uint32_t)n_items;
    g.nodes = mem_alloc_array((size_t)n * g.n_found, sizeof *g.nodes);
    muga_status st = g.nodes ? MUGA_OK : error_nomem(f->err, "a schema");
    for (uint32_t i = 0; i < n * g.n_found && st == MUGA_OK; i++)
        g.nodes[i] = i ? graph_node(&f->g) : x->at;
    if (st == MUGA_OK)
        st = graph_status(&f->g, f->err);
    for (uint32_t i = 0; i <= g.n_items && st == MUGA_OK; i++)
        for (uint32_t found = 0; found < g.n_found && st == MUGA_OK; found++)
            st = build_place(&g, i, found);
    free(g.nodes);
    return st;
}

muga_status arrays_build(shape *s, uint32_t from, uint32_t to) {
    front *f = s->f;
    list x = {.s = s};
    conditions all = {.n = 0};
    muga_status st = shape_limit(s, "minItems", false, &x.min);
    if (st == MUGA_OK)
        st = shape_limit(s, "maxItems", true, &x.max);
    if (st == MUGA_OK)
        st = relax_unique(s, x.max);
    if (st == MUGA_OK)
        st = collect_conditions(s, &all);
    for (uint32_t k = 0; k < s->all.n && st == MUGA_OK; k++) {
        const json_t *prefix, *rest;
        if (!shape_counts(s, k))
            continue;
        read_items(f, s->all.e[k].schema, &prefix, &rest);
        x.n_prefix = MAX(x.n_prefix, json_array_size(prefix));
    }
    uint32_t own = graph_rule(&f->g);
    if (st != MUGA_OK || x.min > x.max || f->g.nomem || f->g.too_large)
        return st;
    f->g.rules[own].container = true;
    production r = f->g.rules[own];
    graph_call(&f->g, from, own, 1, 1, to);
    x.at = front_space(f, front_literal(f, r.start, "["));
    x.close = graph_node(&f->g);
    if (f->g.nomem || f->g.too_large)
        return st;
    graph_bytes(&f->g, front_space(f, x.close), ']', ']', r.end);
    bool too_large = false;
    if (all.n)
        st = build_grid(&x, &all, &too_large);
    if (too_large)
        st = front_relax(f, s->all.e[0].schema, "contains", "and the counts of items need more states than are kept",
                         true);
    return st == MUGA_OK && (!all.n || too_large) ? build_chain(&x) : st;
}
