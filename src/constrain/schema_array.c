/* Arrays. Owns nothing. Refuses by name: uniqueItems, contains, unevaluatedItems, where arrays are allowed and the
 * keyword would say anything.
 * Idea: a chain of states for the items that have a schema of their own, then one counted call for the rest. */
#include "constrain/front.h"

static muga_status refuse_unenforceable(shape *s, uint64_t max) {
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *schema = s->all.e[i].schema;
        bool draft7 = schema_index_is_draft7(&s->f->index, schema_index_resource(&s->f->index, schema));
        if (!shape_counts(s, i))
            continue;
        if (json_is_true(json_object_get(schema, "uniqueItems")) && max > 1)
            return front_refuse(s->f, schema, "uniqueItems", "can't be enforced while decoding");
        if (json_object_get(schema, "contains"))
            return front_refuse(s->f, schema, "contains", "can't be enforced while decoding");
        const json_t *v = json_object_get(schema, "unevaluatedItems");
        if (v && !json_is_true(v) && !draft7)
            return front_refuse(s->f, schema, "unevaluatedItems", "can't be enforced while decoding");
    }
    return MUGA_OK;
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

static muga_status item_rule(shape *s, size_t i, uint32_t *rule) {
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

muga_status arrays_build(shape *s, uint32_t from, uint32_t to) {
    front *f = s->f;
    uint64_t min, max;
    size_t n_prefix = 0;
    muga_status st = shape_limit(s, "minItems", false, &min);
    if (st == MUGA_OK)
        st = shape_limit(s, "maxItems", true, &max);
    if (st == MUGA_OK)
        st = refuse_unenforceable(s, max);
    for (uint32_t k = 0; k < s->all.n && st == MUGA_OK; k++) {
        const json_t *prefix, *rest;
        if (!shape_counts(s, k))
            continue;
        read_items(f, s->all.e[k].schema, &prefix, &rest);
        n_prefix = MAX(n_prefix, json_array_size(prefix));
    }
    uint32_t own = graph_rule(&f->g);
    if (st != MUGA_OK || min > max || f->g.nomem || f->g.too_large)
        return st;
    f->g.rules[own].container = true;
    production r = f->g.rules[own];
    graph_call(&f->g, from, own, 1, 1, to);
    uint32_t at = front_space(f, front_literal(f, r.start, "[")), close = graph_node(&f->g);
    if (f->g.nomem || f->g.too_large)
        return st;
    graph_bytes(&f->g, front_space(f, close), ']', ']', r.end);
    size_t i = 0;
    for (; i <= n_prefix && st == MUGA_OK; i++) { /* n_prefix items, and the first of the rest */
        uint32_t item, next = graph_node(&f->g);
        if (i >= min)
            graph_empty(&f->g, at, close);
        if (i >= max || (i == n_prefix && i > 0))
            break;
        st = item_rule(s, i, &item);
        if (st == MUGA_OK)
            st = front_spend(f, 8);
        graph_call(&f->g, i > 0 ? comma(f, at) : at, item, 1, 1, next);
        at = next;
    }
    if (i > n_prefix && i >= min)
        graph_empty(&f->g, at, close);
    if (st == MUGA_OK && i < max && i >= n_prefix) {
        uint32_t item;
        st = item_rule(s, n_prefix, &item);
        if (st == MUGA_OK)
            graph_call(&f->g, at, further_rule(f, item), call_count(min > i ? min - i : 0),
                       max == UINT64_MAX ? CALL_INF : call_count(max - i), close);
    }
    return st;
}
