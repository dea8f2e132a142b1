/* Objects: from the lists of schema_keys.c to a rule. Owns nothing that lasts. Refuses by name: counts that need more
 * than MAX_COUNTED places.
 *
 * Layout of the rule, for declared keys 0..n-1, the count c of members so far (kept only as far as it matters: "none
 * yet" for the comma, exactly where minProperties or maxProperties is given) and the set m of conditions that were met:
 *
 *     {  P[0,0,0] --key 0--> P[1,1,m] ... P[n,c,m] --other member--> P[n,c+1,m'] ... }
 *
 * with an empty edge P[i,c,m] -> P[i+1,c,m] past an optional key. Behind the declared keys come others, and the
 * required ones that nobody declared: in any order while those are few (a place for each set of them that was written),
 * else in the order of `required`. */
#include "constrain/object.h"

#define MAX_COUNTED 20000u /* places */
#define MAX_FREE_ORDER 5u

typedef struct layout {
    object *o;
    front *f;
    size_t n_extra;      /* required keys that nobody declares */
    bool any_order;      /* of those */
    size_t n_places;     /* i */
    uint32_t top, n_met; /* counts 0..top and sets 0..n_met-1 are told apart */
    uint32_t *p;         /* [n_places * (top + 1) * n_met] */
    struct other {       /* one more member that nobody lists */
        uint32_t rule, meets;
        const uint32_t *bytes; /* of its class, or NULL */
    } * others;
    size_t n_others, cap_others;
} layout;

static uint32_t *at(const layout *x, size_t i, uint32_t c, uint32_t met) {
    return &x->p[(i * (x->top + 1) + c) * x->n_met + met];
}
static uint32_t counted(const layout *x, uint32_t c) {
    return MIN(c + 1, x->top);
}
static bool room_for_one(const layout *x, uint32_t c) {
    return x->o->max == UINT64_MAX || c < x->o->max;
}

static uint32_t comma(front *f, uint32_t from) {
    return front_space(f, front_literal(f, front_space(f, from), ","));
}

/* ---- what a member meets ---- */

/* The schemas of the conditions in `picks`; those that ask for no value are always met by a key they look at. */
static uint32_t picked_values(const object *o, uint32_t picks, const json_t **also) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < o->n_conditions; k++)
        if (picks >> k & 1 && o->conditions[k].value)
            also[n++] = o->conditions[k].value;
    return n;
}

static uint32_t always_met(const object *o, uint32_t conditions) {
    uint32_t bits = 0;
    for (uint32_t k = 0; k < o->n_conditions; k++)
        bits |= (uint32_t)(conditions >> k & 1 && !o->conditions[k].value) << k;
    return bits;
}

/* ---- other members ---- */

/* rule: "key":value, the key of the class. */
static muga_status build_class(layout *x, const key_class *class, uint32_t picks, uint32_t rule) {
    front *f = x->f;
    const json_t *also[MAX_KEY_CONDITIONS];
    uint32_t value, close = graph_node(&f->g), n = picked_values(x->o, picks, also);
    muga_status st = object_value(x->o, NULL, class->matches, also, n, &value);
    if (st != MUGA_OK || f->g.nomem || f->g.too_large)
        return st;
    production r = f->g.rules[rule];
    uint32_t first = f->g.n_nodes;
    graph_json_dfa(&f->g, front_literal(f, r.start, "\""), class->keys, true, close);
    uint32_t behind = front_space(f, front_literal(f, close, "\":"));
    graph_call(&f->g, behind, value, 1, 1, r.end);
    graph_bytewise(&f->g, first);
    return MUGA_OK;
}

static muga_status add_other(layout *x, struct other one) {
    if (x->n_others == x->cap_others) {
        size_t cap = x->cap_others ? x->cap_others * 2 : 8;
        struct other *v = mem_resize_array(x->others, cap, sizeof *v);
        if (!v)
            return error_nomem(x->f->err, "a schema");
        x->others = v;
        x->cap_others = cap;
    }
    x->others[x->n_others++] = one;
    return MUGA_OK;
}

/* Classes whose keys need not be counted and meet nothing are one rule together. */
static muga_status build_others(layout *x) {
    object *o = x->o;
    bool together = o->n_bytes == 0;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < o->n_classes && st == MUGA_OK; i++) {
        const key_class *class = &o->classes[i];
        uint32_t always = always_met(o, class->conditions), choice = class->conditions & ~always;
        for (uint32_t picks = choice;; picks = (picks - 1) & choice) { /* every subset of the choice */
            uint32_t rule = together && i > 0 ? x->others[0].rule : graph_rule(&x->f->g);
            st = graph_status(&x->f->g, x->f->err);
            if (st == MUGA_OK)
                st = build_class(x, class, picks, rule);
            if (st == MUGA_OK && !(together && i > 0))
                st = add_other(x, (struct other){rule, always | picks, class->bytes});
            if (picks == 0 || st != MUGA_OK)
                break;
        }
    }
    x->f->open_keys |= x->n_others > 0;
    return st;
}

/* One more member that nobody lists, if there is room for it; the way to the end may rely on it as far as its class has
 * keys enough. */
static void other_member(layout *x, size_t i, uint32_t c, uint32_t met) {
    front *f = x->f;
    if (x->n_others == 0 || !room_for_one(x, c))
        return;
    uint32_t from = c ? comma(f, *at(x, i, c, met)) : *at(x, i, c, met);
    for (size_t k = 0; k < x->n_others; k++) {
        const struct other *one = &x->others[k];
        uint32_t extra = 0;
        if (c < x->o->min)
            extra = one->bytes[c];
        else if (x->o->n_conditions)
            extra = one->bytes[x->o->n_bytes - 1];
        graph_call_at(&f->g, from, one->rule, MIN(extra, COST_INF), *at(x, i, counted(x, c), met | one->meets));
    }
}

/* ---- listed members ---- */

/* From `key` on: "key":value. */
static muga_status build_member(layout *x, const property *p, uint32_t value, uint32_t key, uint32_t to) {
    str text = STR_INIT;
    json_write_string(&text, p->key.p, p->key.n);
    str_append_c(&text, ':');
    muga_status st = str_status(&text, x->f->err, "a schema");
    if (st == MUGA_OK) {
        uint32_t end = front_space(x->f, graph_literal(&x->f->g, key, str_get(&text), text.len));
        graph_call(&x->f->g, end, value, 1, 1, to);
    }
    str_release(&text);
    return st;
}

/* The key of `p` at place i, to place `next`. Where counts 0 and 1 lead on to the same place, it is written once. */
static muga_status listed_member(layout *x, const property *p, size_t i, size_t next, uint32_t met, uint32_t meets,
                                 uint32_t value) {
    front *f = x->f;
    uint32_t shared = NO_RULE;
    muga_status st = MUGA_OK;
    for (uint32_t c = 0; c <= x->top && room_for_one(x, c) && st == MUGA_OK; c++) {
        bool first = shared == NO_RULE || x->top > 1;
        uint32_t from = *at(x, i, c, met), key = first ? graph_node(&f->g) : shared;
        graph_empty(&f->g, c ? comma(f, from) : from, key);
        shared = key;
        if (first)
            st = build_member(x, p, value, key, *at(x, next, counted(x, c), met | meets));
    }
    return st;
}

/* The key of `p` at place i, whatever has been met, meeting what it can. */
static muga_status build_step(layout *x, const property *p, size_t i, size_t next) {
    object *o = x->o;
    bool allowed;
    uint32_t conditions = object_conditions(o, p->key), always = always_met(o, conditions),
             choice = conditions & ~always;
    muga_status st = object_allowed(o, p->key, &allowed);
    if (st == MUGA_OK)
        st = front_spend(x->f, p->key.n + 10);
    for (uint32_t picks = choice; st == MUGA_OK && allowed; picks = (picks - 1) & choice) {
        const json_t *also[MAX_KEY_CONDITIONS];
        uint32_t value, n = picked_values(o, picks, also);
        st = object_value(o, &p->key, object_matching(o, p->key), also, n, &value);
        for (uint32_t met = 0; met < x->n_met && st == MUGA_OK; met++)
            st = listed_member(x, p, i, next, met, always | picks, value);
        if (picks == 0)
            break;
    }
    return st;
}

static void build_skip(layout *x, size_t i) {
    for (uint32_t c = 0; c <= x->top; c++)
        for (uint32_t met = 0; met < x->n_met; met++)
            graph_empty(&x->f->g, *at(x, i, c, met), *at(x, i + 1, c, met));
}

/* ---- the rule ---- */

static muga_status build_places(layout *x) {
    object *o = x->o;
    size_t n = o->n_declared;
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < n && st == MUGA_OK; i++) {
        if (!o->props[i].required)
            build_skip(x, i);
        st = build_step(x, &o->props[i], i, i + 1);
    }
    for (size_t i = n; i < x->n_places && st == MUGA_OK;
         i++) { /* i - n: those that were written, as a set or a number */
        for (uint32_t c = 0; c <= x->top; c++)
            for (uint32_t met = 0; met < x->n_met; met++)
                other_member(x, i, c, met);
        for (size_t k = 0; k < x->n_extra && st == MUGA_OK; k++)
            if (x->any_order ? !((i - n) >> k & 1) : k == i - n)
                st = build_step(x, &o->props[n + k], i, x->any_order ? i + ((size_t)1 << k) : i + 1);
    }
    return st;
}

static muga_status build_rule(layout *x, uint32_t from, uint32_t to) {
    front *f = x->f;
    object *o = x->o;
    size_t n_nodes = x->n_places * (x->top + 1) * x->n_met;
    uint32_t own = graph_rule(&f->g);
    if (f->g.nomem || f->g.too_large)
        return MUGA_OK;
    f->g.rules[own].container = true;
    f->g.rules[own].open = x->n_others > 0;
    production r = f->g.rules[own];
    uint32_t first = f->g.n_nodes;
    graph_call(&f->g, from, own, 1, 1, to);
    x->p = mem_alloc_array(n_nodes, sizeof *x->p);
    if (!x->p)
        return error_nomem(f->err, "a schema");
    for (size_t i = 0; i < n_nodes; i++)
        x->p[i] = graph_node(&f->g);
    if (f->g.nomem || f->g.too_large)
        return MUGA_OK;
    graph_empty(&f->g, front_space(f, front_literal(f, r.start, "{")), *at(x, 0, 0, 0));
    muga_status st = build_places(x);
    uint32_t close = graph_node(&f->g);
    graph_bytes(&f->g, front_space(f, close), '}', '}', r.end);
    for (uint32_t c = 0; c <= x->top; c++)
        if (c >= o->min)
            graph_empty(&f->g, *at(x, x->n_places - 1, c, x->n_met - 1), close);
    if (x->n_others > 0)
        graph_bytewise(&f->g, first);
    return st;
}

static muga_status plan(layout *x) {
    object *o = x->o;
    uint64_t top = 1, n_required = 0;
    for (size_t i = 0; i < o->n_props; i++)
        n_required += o->props[i].required;
    o->min = o->min > n_required ? o->min : 0; /* else they are enough */
    top = MAX(top, o->min);
    if (o->max != UINT64_MAX)
        top = MAX(top, o->max);
    x->n_extra = o->n_props - o->n_declared;
    x->any_order = x->n_extra <= MAX_FREE_ORDER;
    x->n_places = o->n_declared + (x->any_order ? (size_t)1 << x->n_extra : x->n_extra + 1);
    x->n_met = 1u << o->n_conditions;
    if (top > MAX_COUNTED || (top > 1 && x->n_places * (top + 1) * x->n_met > MAX_COUNTED + 2 * x->n_places))
        return error_set(x->f->err, MUGA_E_LIMIT, "schema: minProperties or maxProperties is too large to count");
    x->top = (uint32_t)top;
    return MUGA_OK;
}

/* *too_few: of keys for the conditions; nothing was built. Set by the caller: build without them. */
static muga_status build_object(shape *s, uint32_t from, uint32_t to, bool *too_few) {
    bool without = *too_few;
    object o = {.s = s, .f = s->f, .too_few = without};
    layout x = {.o = &o, .f = s->f};
    muga_status st = shape_limit(s, "minProperties", false, &o.min);
    if (st == MUGA_OK)
        st = shape_limit(s, "maxProperties", true, &o.max);
    if (st == MUGA_OK)
        st = object_collect(&o);
    if (st == MUGA_OK && o.min <= o.max) {
        st = plan(&x);
        if (st == MUGA_OK)
            st = object_classify(&o);
        *too_few = o.too_few;
        if (st == MUGA_OK && *too_few == without)
            st = build_others(&x);
        if (st == MUGA_OK && *too_few == without)
            st = build_rule(&x, from, to);
    }
    object_free(&o);
    free(x.p);
    free(x.others);
    return st;
}

muga_status objects_build(shape *s, uint32_t from, uint32_t to) {
    bool too_few = false;
    muga_status st = build_object(s, from, to, &too_few);
    if (st != MUGA_OK || !too_few)
        return st;
    st = front_relax(s->f, s->all.e[0].schema, "not", "asks for keys of which there are few, which can't be counted on",
                     true);
    return st == MUGA_OK ? build_object(s, from, to, &too_few) : st;
}
