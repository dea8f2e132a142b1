/* JSON Schema to rules: goals. Owns: the list of goals, references, the split at anyOf and oneOf, the choice among
 * types. Refuses by name: what is no schema, and references that lead nowhere or never end.
 *
 * Idea: the rule of a goal is made when the goal's turn comes in the list, not by recursion, so a schema may nest and
 * refer as it likes; a goal that was met before is its rule already. */
#include "base/hash.h"
#include "constrain/front.h"

muga_status front_spend(front *f, uint64_t n) {
    if (f->work < n)
        return error_set(f->err, MUGA_E_LIMIT,
                         "schema: takes more work to compile than the budget of %u steps; simplify it", FRONT_MAX_WORK);
    f->work -= n;
    return MUGA_OK;
}

/* ---- messages ---- */

static bool find_pointer(const json_t *at, const json_t *target, int depth, str *out) {
    size_t len = out->len;
    if (at == target)
        return true;
    if (depth > JSON_MAX_DEPTH)
        return false;
    for (size_t i = 0; json_is_array(at) && i < json_array_size(at); i++) {
        str_printf(out, "/%zu", i);
        if (find_pointer(json_array_get(at, i), target, depth + 1, out))
            return true;
        str_truncate(out, len);
    }
    void *it = json_is_object(at) ? json_object_iter(json_borrow(at)) : NULL;
    for (; it; it = json_object_iter_next(json_borrow(at), it)) {
        str_append_c(out, '/');
        for (const char *p = json_object_iter_key(it); *p; p++) {
            if (*p == '~' || *p == '/')
                str_append_s(out, *p == '~' ? "~0" : "~1");
            else
                str_append_c(out, *p);
        }
        if (find_pointer(json_object_iter_value(it), target, depth + 1, out))
            return true;
        str_truncate(out, len);
    }
    return false;
}

muga_status front_refuse(front *f, const json_t *schema, const char *keyword, const char *why) {
    str p = STR_INIT;
    bool found = find_pointer(f->root, schema, 0, &p);
    muga_status st =
        error_set(f->err, MUGA_E_INPUT, "schema at \"%.120s\": \"%s\" %s", found ? str_get(&p) : "?", keyword, why);
    str_release(&p);
    return st;
}

/* ---- goals ---- */

void goal_list_release(goal_list *l) {
    free(l->e);
    memset(l, 0, sizeof *l);
}

/* A schema that is only scalars and lists of scalars, without its annotations, as text; false: it is more than that, or
 * its place matters ($ref, from). Twins of such a schema, the many {"type": "string"} of a tool list, are one goal. */
static bool leaf_text(const json_t *schema, str *out) {
    static const char *const annotations[] = {"title", "description", "default", "examples", "$comment"};
    void *it = json_object_iter(json_borrow(schema));
    for (; it; it = json_object_iter_next(json_borrow(schema), it)) {
        const char *key = json_object_iter_key(it);
        const json_t *v = json_object_iter_value(it);
        bool skip = false;
        for (size_t i = 0; i < ARRAY_LEN(annotations); i++)
            skip |= strcmp(key, annotations[i]) == 0;
        if (skip)
            continue;
        if (key[0] == '$' || strcmp(key, "from") == 0 || json_is_object(v) || out->len > 512)
            return false;
        for (size_t i = 0; i < json_array_size(v); i++)
            if (json_is_object(json_array_get(v, i)) || json_is_array(json_array_get(v, i)))
                return false;
        json_write_string(out, key, json_object_iter_key_len(it));
        json_write(v, out);
        str_append_c(out, json_is_real(v) ? 'r' : ',');
    }
    return !out->failed;
}

/* The first schema met that says the same as a leaf schema; itself otherwise. */
static const json_t *leaf_twin(front *f, const json_t *schema) {
    str text = STR_INIT;
    const json_t *twin = schema;
    if (json_is_object(schema) && json_object_size(schema) <= 8 && leaf_text(schema, &text)) {
        uint64_t h = hash64(str_get(&text), text.len,
                            schema_index_is_draft7(&f->index, schema_index_resource(&f->index, schema)));
        struct leaf *slot = &f->leaves[h % LEAF_SLOTS];
        if (slot->schema && slot->hash == h && span_equal_string(span_of(str_get(&text), text.len), slot->text)) {
            twin = slot->schema;
        } else if (!slot->schema && (slot->text = str_take(&text)) != NULL) {
            slot->schema = schema;
            slot->hash = h;
        }
    }
    str_release(&text);
    return twin;
}

muga_status goal_list_add(front *f, goal_list *l, const json_t *schema, uint32_t done, int32_t parent) {
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return front_refuse(f, schema, "schema", "must be an object or a boolean");
    muga_status st = front_spend(f, 4 + l->n / 4);
    if (st != MUGA_OK)
        return st;
    schema = leaf_twin(f, schema);
    for (uint32_t i = 0; i < l->n; i++)
        if (l->e[i].schema == schema && l->e[i].done == done)
            return MUGA_OK;
    if (l->n >= FRONT_MAX_ELEMENTS)
        return error_set(f->err, MUGA_E_LIMIT, "schema: more than %u schemas for one value", FRONT_MAX_ELEMENTS);
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 8;
        element *e = mem_resize_array(l->e, cap, sizeof *e);
        if (!e)
            return error_nomem(f->err, "a schema");
        l->e = e;
        l->cap = cap;
    }
    l->e[l->n++] = (element){schema, done, parent};
    return MUGA_OK;
}

static uint64_t goal_hash(const element *e, uint32_t n) {
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t key[2] = {(uint64_t)(uintptr_t)e[i].schema, e[i].done};
        h = hash64(key, sizeof key, h);
    }
    return h;
}

static bool goal_equal(const goal *x, const element *e, uint32_t n) {
    if (x->n != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (x->e[i].schema != e[i].schema || x->e[i].done != e[i].done)
            return false;
    return true;
}

static muga_status grow_goals(front *f) {
    if (f->n_goals == f->cap_goals) {
        uint32_t cap = f->cap_goals ? f->cap_goals * 2 : 32;
        goal *v = mem_resize_array(f->goals, cap, sizeof *v);
        if (!v)
            return error_nomem(f->err, "a schema");
        f->goals = v;
        f->cap_goals = cap;
    }
    if (f->n_goals * 2 < f->n_table)
        return MUGA_OK;
    uint32_t n = f->n_table ? f->n_table * 2 : 64;
    uint32_t *t = mem_alloc_array(n, sizeof *t);
    if (!t)
        return error_nomem(f->err, "a schema");
    for (uint32_t i = 0; i < f->n_goals; i++) {
        uint64_t h = goal_hash(f->goals[i].e, f->goals[i].n);
        while (t[h & (n - 1)])
            h++;
        t[h & (n - 1)] = i + 1;
    }
    free(f->table);
    f->table = t;
    f->n_table = n;
    return MUGA_OK;
}

muga_status front_goal(front *f, goal_list *l, uint32_t *rule) {
    *rule = 0;
    muga_status st = front_spend(f, 20 + 4 * (uint64_t)l->n);
    if (st == MUGA_OK)
        st = grow_goals(f);
    if (st == MUGA_OK && f->n_goals >= FRONT_MAX_GOALS)
        st =
            error_set(f->err, MUGA_E_LIMIT, "schema: its alternatives multiply to more than %u cases", FRONT_MAX_GOALS);
    if (st != MUGA_OK) {
        goal_list_release(l);
        return st;
    }
    uint64_t h = goal_hash(l->e, l->n);
    for (; f->table[h & (f->n_table - 1)]; h++) {
        const goal *x = &f->goals[f->table[h & (f->n_table - 1)] - 1];
        if (goal_equal(x, l->e, l->n)) {
            *rule = x->rule;
            goal_list_release(l);
            return MUGA_OK;
        }
    }
    *rule = graph_rule(&f->g);
    f->table[h & (f->n_table - 1)] = f->n_goals + 1;
    f->goals[f->n_goals++] = (goal){l->e, l->n, *rule};
    memset(l, 0, sizeof *l);
    return MUGA_OK;
}

muga_status front_schema_rule(front *f, const json_t *schema, uint32_t *rule) {
    goal_list l = {0};
    muga_status st = goal_list_add(f, &l, schema, 0, -1);
    if (st != MUGA_OK) {
        goal_list_release(&l);
        return st;
    }
    return front_goal(f, &l, rule);
}

/* ---- small pieces of text ---- */

uint32_t front_literal(front *f, uint32_t from, const char *text) {
    return graph_literal(&f->g, from, text, strlen(text));
}

#define MAX_SPACE 16 /* characters of white space in one place */
uint32_t front_space(front *f, uint32_t from) {
    if (!f->options->free_whitespace)
        return from;
    if (f->space_rule == NO_RULE) {
        f->space_rule = graph_rule(&f->g);
        static const char spaces[] = " \t\n\r";
        for (const char *p = spaces; *p && !f->g.nomem && !f->g.too_large; p++)
            graph_bytes(&f->g, f->g.rules[f->space_rule].start, (uint8_t)*p, (uint8_t)*p,
                        f->g.rules[f->space_rule].end);
    }
    uint32_t to = graph_node(&f->g);
    graph_call(&f->g, from, f->space_rule, 0, MAX_SPACE, to);
    return to;
}

/* ---- shape ---- */

bool shape_counts(const shape *s, uint32_t i) {
    return (s->all.e[i].done & ONLY_REF) == 0;
}

static muga_status expand_one(front *f, shape *s, const json_t *target, int32_t parent) {
    for (int32_t i = parent; i >= 0; i = s->all.e[i].parent)
        if (s->all.e[i].schema == target && json_is_object(target))
            return front_refuse(f, target, "$ref", "leads back to itself without end");
    return goal_list_add(f, &s->all, target, 0, parent);
}

muga_status front_follow(front *f, const json_t *x, schema_ref_kind kind, const json_t **out, bool *open) {
    const char *anchor;
    *open = false;
    muga_status st = schema_index_follow(&f->index, x, kind, out, &anchor, f->err);
    if (st != MUGA_OK || !*out || kind != SCHEMA_DYNAMIC_REF || !anchor)
        return st;
    for (uint32_t r = 0; r < f->index.n_resources; r++)
        if (schema_index_dynamic(&f->index, r, anchor) && schema_index_dynamic(&f->index, r, anchor) != *out) {
            *open = true;
            *out = NULL;
            return front_relax(f, x, "$dynamicRef", "has more than one meaning here", true);
        }
    return MUGA_OK;
}

static muga_status expand_refs(front *f, shape *s, uint32_t i) {
    const json_t *schema = s->all.e[i].schema;
    bool draft7 = schema_index_is_draft7(&f->index, schema_index_resource(&f->index, schema));
    for (schema_ref_kind k = SCHEMA_REF; k <= (draft7 ? SCHEMA_REF : SCHEMA_DYNAMIC_REF); k++) {
        const json_t *target;
        bool open;
        muga_status st = front_follow(f, schema, k, &target, &open);
        if (st != MUGA_OK)
            return st;
        if (!target)
            continue;
        if (draft7)
            s->all.e[i].done |= ONLY_REF;
        st = expand_one(f, s, target, (int32_t)i);
        if (st != MUGA_OK)
            return st;
    }
    const json_t *all = shape_counts(s, i) ? json_object_get(schema, "allOf") : NULL;
    if (all && !json_is_array(all))
        return front_refuse(f, schema, "allOf", "must be an array");
    for (size_t k = 0; k < json_array_size(all); k++) {
        muga_status st = expand_one(f, s, json_array_get(all, k), (int32_t)i);
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

/* e[n, l->n), which element at - 1 brought in, moves in front of e[at, n), which nothing refers to yet: elements, and
 * with them the keys they declare, stand in the order of the schema. */
static muga_status move_behind(front *f, goal_list *l, uint32_t at, uint32_t n) {
    uint32_t n_new = l->n - n;
    if (n_new == 0 || at == n)
        return MUGA_OK;
    element *moved = mem_alloc_array(n_new, sizeof *moved);
    if (!moved)
        return error_nomem(f->err, "a schema");
    memcpy(moved, l->e + n, n_new * sizeof *moved);
    memmove(l->e + at + n_new, l->e + at, (n - at) * sizeof *moved);
    memcpy(l->e + at, moved, n_new * sizeof *moved);
    free(moved);
    return MUGA_OK;
}

static muga_status expand_unevaluated(front *f, shape *s, uint32_t i) {
    const json_t *schema = s->all.e[i].schema, *limit = NULL;
    if (!f->index.unevaluated || s->all.e[i].done & (DONE_UNEVALUATED | ONLY_REF) || !json_is_object(schema))
        return MUGA_OK;
    muga_status st = relax_unevaluated(f, schema, &limit);
    s->all.e[i].done |= DONE_UNEVALUATED;
    return st == MUGA_OK && limit ? goal_list_add(f, &s->all, limit, DONE_REFS | DONE_UNEVALUATED, (int32_t)i) : st;
}

muga_status shape_expand(front *f, const goal *x, shape *s) {
    *s = (shape){.f = f, .types = T_ALL};
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < x->n && st == MUGA_OK; i++)
        st = goal_list_add(f, &s->all, x->e[i].schema, x->e[i].done, -1);
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++) {
        uint32_t n = s->all.n;
        st = front_spend(f, 1 + n / 16);
        if (json_is_boolean(s->all.e[i].schema))
            s->impossible |= json_is_false(s->all.e[i].schema);
        else if (st == MUGA_OK && !(s->all.e[i].done & DONE_REFS))
            st = expand_refs(f, s, i);
        s->all.e[i].done |= DONE_REFS;
        if (st == MUGA_OK)
            st = expand_unevaluated(f, s, i);
        if (st == MUGA_OK)
            st = move_behind(f, &s->all, i + 1, n);
    }
    uint32_t w = 0; /* `true` says nothing */
    for (uint32_t i = 0; i < s->all.n; i++)
        if (json_is_object(s->all.e[i].schema)) {
            s->all.e[w] = s->all.e[i];
            s->all.e[w++].parent = -1;
        }
    s->all.n = w;
    return st;
}

static uint32_t type_bit(const char *name) {
    static const struct {
        const char *name;
        uint32_t bits;
    } types[] = {{"null", T_NULL},     {"boolean", T_BOOLEAN}, {"integer", T_INTEGER}, {"number", T_NUMBER},
                 {"string", T_STRING}, {"array", T_ARRAY},     {"object", T_OBJECT},   {TYPE_FRACTION, T_FRACTION}};
    for (size_t i = 0; name && i < ARRAY_LEN(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].bits;
    return 0;
}

static muga_status shape_types(shape *s) {
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *v = shape_counts(s, i) ? json_object_get(s->all.e[i].schema, "type") : NULL;
        uint32_t bits = 0;
        if (!v)
            continue;
        for (size_t k = 0; k < (json_is_array(v) ? json_array_size(v) : 1); k++) {
            uint32_t bit = type_bit(json_string_value(json_is_array(v) ? json_array_get(v, k) : v));
            if (!bit)
                return front_refuse(s->f, s->all.e[i].schema, "type", "names no JSON type");
            bits |= bit;
        }
        s->types &= bits;
    }
    return MUGA_OK;
}

muga_status shape_limit(const shape *s, const char *keyword, bool is_max, uint64_t *out) {
    *out = is_max ? UINT64_MAX : 0;
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *v = shape_counts(s, i) ? json_object_get(s->all.e[i].schema, keyword) : NULL;
        if (!v)
            continue;
        double d = json_number_value(v);
        if (!json_is_number(v) || d < 0 || !number_is_integer(v))
            return front_refuse(s->f, s->all.e[i].schema, keyword, "must be a whole number, 0 or more");
        uint64_t n = d >= 1e15 ? UINT64_MAX : (uint64_t)d;
        *out = is_max ? MIN(*out, n) : MAX(*out, n);
    }
    return MUGA_OK;
}

const json_t *shape_opposite(const shape *s, uint32_t i) {
    const json_t *schema = s->all.e[i].schema;
    return json_object_get(schema, KEY_OPPOSITE) ? json_object_get(schema, "not") : NULL;
}

muga_status front_keep(front *f, json_t *made, const json_t **out) {
    *out = NULL;
    if (!made || json_array_append_new(f->synthetic, made) != 0)
        return error_nomem(f->err, "a schema");
    muga_status st = schema_index_adopt(&f->index, made, f->err);
    const json_t *cases = json_object_get(made, "anyOf");
    for (size_t i = 0; i < json_array_size(cases) && st == MUGA_OK; i++) {
        const json_t *one = json_array_get(cases, i);
        st = schema_index_adopt(&f->index, one, f->err);
        if (st == MUGA_OK && json_object_get(one, KEY_OPPOSITE))
            st = schema_index_adopt(&f->index, json_object_get(one, "not"), f->err);
    }
    if (st == MUGA_OK)
        *out = made;
    return st;
}

/* ---- splitting ---- */

/* No value of the goal's types fits x, as its own `type` says. */
static bool no_type_fits(const shape *s, const json_t *x) {
    return json_is_false(x) || (!logic_only_ref(s->f, x) && (logic_types(x) & s->types) == 0);
}

/* from --a value of the goal for which x[0, n) hold too--> to. `flag`: what of element i this deals with. */
static muga_status split_into(shape *s, uint32_t i, uint32_t flag, const json_t *const *x, size_t n, uint32_t from,
                              uint32_t to) {
    goal_list l = {0};
    uint32_t rule;
    muga_status st = MUGA_OK;
    for (size_t k = 0; k < n; k++)
        if (x[k] && no_type_fits(s, x[k]))
            return MUGA_OK;
    for (uint32_t k = 0; k < s->all.n && st == MUGA_OK; k++) {
        st = goal_list_add(s->f, &l, s->all.e[k].schema, s->all.e[k].done | (k == i ? flag : 0), -1);
        for (size_t j = 0; j < n && k == i && st == MUGA_OK; j++)
            if (x[j])
                st = goal_list_add(s->f, &l, x[j], 0, -1);
    }
    if (st != MUGA_OK) {
        goal_list_release(&l);
        return st;
    }
    st = front_goal(s->f, &l, &rule);
    if (st == MUGA_OK)
        graph_call(&s->f->g, from, rule, 1, 1, to);
    return st;
}

/* Alternative a of a oneOf, and none of those that could hold with it. */
static muga_status split_one(shape *s, uint32_t i, const json_t *v, size_t a, uint32_t from, uint32_t to) {
    size_t n = json_array_size(v), w = 1;
    const json_t **x = mem_alloc_array(n + 1, sizeof *x);
    muga_status st = x ? MUGA_OK : error_nomem(s->f->err, "a schema");
    for (size_t b = 0; b < n && st == MUGA_OK; b++) {
        x[0] = json_array_get(v, a);
        if (b == a || no_type_fits(s, json_array_get(v, b)))
            continue;
        st = front_spend(s->f, 80);
        if (st == MUGA_OK && !logic_disjoint(s->f, x[0], json_array_get(v, b), 0))
            st = opposite_wrap(s->f, json_array_get(v, b), &x[w++]);
    }
    if (st == MUGA_OK)
        st = split_into(s, i, DONE_ONE, x, w, from, to);
    free(x);
    return st;
}

static muga_status split_alternatives(shape *s, uint32_t i, const char *keyword, uint32_t from, uint32_t to) {
    const json_t *v = json_object_get(s->all.e[i].schema, keyword), *merged = NULL;
    bool one = strcmp(keyword, "oneOf") == 0;
    uint32_t flag = one ? DONE_ONE : DONE_ANY;
    if (!json_is_array(v))
        return front_refuse(s->f, s->all.e[i].schema, keyword, "must be an array");
    bool overlap = one && !logic_lists_disjoint(s->f, v);
    if (overlap && logic_many_cases(s->f, v, s->types)) {
        muga_status st = front_relax(s->f, s->all.e[i].schema, keyword, "has too many alternatives that overlap", true);
        if (st != MUGA_OK && st != MUGA_E_INPUT)
            return st;
        overlap = st != MUGA_OK; /* beside "from" it is written down, as far as that goes */
    }
    muga_status st = overlap ? MUGA_OK : logic_merge_lists(s->f, v, &merged);
    if (st == MUGA_OK && merged)
        return split_into(s, i, flag, &merged, 1, from, to);
    for (size_t k = 0; k < json_array_size(v) && st == MUGA_OK; k++) {
        const json_t *x = json_array_get(v, k);
        st = overlap ? split_one(s, i, v, k, from, to) : split_into(s, i, flag, &x, 1, from, to);
    }
    return st;
}

/* if x then y else z: (x and y) or (not x and z). */
static muga_status split_condition(shape *s, uint32_t i, uint32_t from, uint32_t to) {
    const json_t *schema = s->all.e[i].schema, *otherwise;
    const json_t *cond = json_object_get(schema, "if");
    muga_status st = opposite_wrap(s->f, cond, &otherwise);
    const json_t *yes[2] = {cond, json_object_get(schema, "then")},
                 *no[2] = {otherwise, json_object_get(schema, "else")};
    if (st == MUGA_OK)
        st = split_into(s, i, DONE_IF, yes, 2, from, to);
    return st == MUGA_OK ? split_into(s, i, DONE_IF, no, 2, from, to) : st;
}

static muga_status split_not(shape *s, uint32_t i, uint32_t from, uint32_t to) {
    const json_t *cases;
    muga_status st = opposite_cases(s->f, json_object_get(s->all.e[i].schema, "not"), &cases);
    return st == MUGA_OK ? split_into(s, i, DONE_NOT, &cases, 1, from, to) : st;
}

/* *split: the goal's rule is the union of other goals' rules. */
static muga_status shape_split(shape *s, uint32_t from, uint32_t to, bool *split) {
    *split = true;
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *schema = s->all.e[i].schema, *dependencies = NULL;
        uint32_t done = s->all.e[i].done;
        if (!shape_counts(s, i))
            continue;
        if (json_object_get(schema, "not") && !(done & DONE_NOT) && !shape_opposite(s, i))
            return split_not(s, i, from, to);
        if (json_object_get(schema, "anyOf") && !(done & DONE_ANY))
            return split_alternatives(s, i, "anyOf", from, to);
        if (json_object_get(schema, "oneOf") && !(done & DONE_ONE))
            return split_alternatives(s, i, "oneOf", from, to);
        if (json_object_get(schema, "if") && !(done & DONE_IF) &&
            (json_object_get(schema, "then") || json_object_get(schema, "else")))
            return split_condition(s, i, from, to);
        if (!(done & DONE_DEPENDENT) && s->types & T_OBJECT) {
            muga_status st = opposite_dependencies(s->f, schema, &dependencies);
            if (st != MUGA_OK || dependencies)
                return st == MUGA_OK ? split_into(s, i, DONE_DEPENDENT, &dependencies, 1, from, to) : st;
        }
    }
    *split = false;
    return MUGA_OK;
}

/* ---- one goal ---- */

static void exclude_values(shape *s) {
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *v = json_object_get(shape_opposite(s, i), "enum");
        for (size_t k = 0; k < json_array_size(v); k++) {
            const json_t *x = json_array_get(v, k);
            if (json_is_null(x))
                s->types &= ~(uint32_t)T_NULL;
            s->no_true |= json_is_true(x);
            s->no_false |= json_is_false(x);
        }
    }
}

static muga_status build_types(shape *s, uint32_t from, uint32_t to) {
    graph *g = &s->f->g;
    muga_status st = MUGA_OK;
    exclude_values(s);
    if (s->types & T_NULL)
        graph_empty(g, front_literal(s->f, from, "null"), to);
    if (s->types & T_BOOLEAN && !s->no_true)
        graph_empty(g, front_literal(s->f, from, "true"), to);
    if (s->types & T_BOOLEAN && !s->no_false)
        graph_empty(g, front_literal(s->f, from, "false"), to);
    if (st == MUGA_OK && s->types & T_NUMBER)
        st = numbers_build(s, from, to);
    if (st == MUGA_OK && s->types & T_STRING)
        st = strings_build(s, from, to);
    if (st == MUGA_OK && s->types & T_ARRAY)
        st = arrays_build(s, from, to);
    if (st == MUGA_OK && s->types & T_OBJECT)
        st = objects_build(s, from, to);
    return st;
}

/* Every keyword is asked of every schema of a goal, so a product of alternatives costs by its factors. */
#define STEPS_ELEMENT 128u

static muga_status build_goal(front *f, uint32_t i) {
    goal x = f->goals[i]; /* the list may move; its elements don't */
    uint32_t from = f->g.rules ? f->g.rules[x.rule].start : 0, to = f->g.rules ? f->g.rules[x.rule].end : 0;
    shape s;
    json_t *values = NULL;
    bool split = false;
    muga_status st = shape_expand(f, &x, &s);
    if (st == MUGA_OK && s.all.n > 1)
        st = front_spend(f, STEPS_ELEMENT * (uint64_t)s.all.n);
    if (st == MUGA_OK && s.impossible)
        goto out;
    if (st == MUGA_OK)
        st = values_collect(&s, &values);
    if (st == MUGA_OK && values) {
        st = values_build(&s, values, from, to);
        goto out;
    }
    if (st == MUGA_OK)
        st = shape_types(&s);
    if (st == MUGA_OK)
        st = shape_split(&s, from, to, &split);
    if (st == MUGA_OK && !split)
        st = build_types(&s, from, to);
    if (st == MUGA_OK)
        st = graph_status(&f->g, f->err);
out:
    json_decref(values);
    goal_list_release(&s.all);
    return st;
}

void front_release(front *f) {
    for (uint32_t i = 0; i < f->n_goals; i++)
        free(f->goals[i].e);
    free(f->goals);
    free(f->table);
    json_decref(f->synthetic);
    for (uint32_t i = 0; i < LEAF_SLOTS && f->leaves; i++)
        free(f->leaves[i].text);
    free(f->leaves);
    free(f->negations);
    schema_index_release(&f->index);
    graph_release(&f->g);
}

/* Where a vocabulary leaves validation out, keywords don't mean what they mean elsewhere: any value may be written, and
 * validation has the say. */
static muga_status relax_vocabularies(front *f, uint32_t *root) {
    for (uint32_t i = 0; i < f->index.n_resources; i++) {
        if (!f->index.resources[i].asserts_nothing)
            continue;
        uint32_t first = f->n_goals;
        muga_status st = front_relax(f, f->root, "$vocabulary", "leaves validation out", true);
        if (st == MUGA_OK)
            st = front_schema_rule(f, json_true(), root);
        return st == MUGA_OK && first < f->n_goals ? build_goal(f, first) : st;
    }
    return MUGA_OK;
}

muga_status front_compile(const json_t *schema, const constrain_options *options, front_product *out,
                          front_budget *budget, muga_error *err) {
    static const constrain_options none = {0};
    front f = {.root = schema,
               .options = options ? options : &none,
               .work = budget->work,
               .budget = budget,
               .err = err,
               .string_rule = NO_RULE,
               .character_rule = NO_RULE,
               .number_rule = NO_RULE,
               .space_rule = NO_RULE,
               .any_key_rule = NO_RULE,
               .synthetic = json_array()};
    if (!json_is_object(schema) && !json_is_boolean(schema)) {
        json_decref(f.synthetic);
        return error_set(err, MUGA_E_INPUT, "schema: must be an object or a boolean");
    }
    uint32_t root = 0;
    f.leaves = mem_alloc_array(LEAF_SLOTS, sizeof *f.leaves);
    muga_status st = f.synthetic && f.leaves ? MUGA_OK : error_nomem(err, "a schema");
    if (st == MUGA_OK)
        st = schema_index_init(&f.index, schema, f.options->draft, f.options->documents, err);
    f.index.note_formats = f.options->note_formats;
    if (st == MUGA_OK)
        st = front_schema_rule(&f, schema, &root);
    for (uint32_t i = 0; i < f.n_goals && st == MUGA_OK; i++)
        st = build_goal(&f, i);
    if (st == MUGA_OK)
        st = relax_vocabularies(&f, &root);
    if (st == MUGA_OK) {
        *out = (front_product){.g = f.g, .open_keys = f.open_keys, .grounding = f.grounding, .recheck = f.recheck};
        out->g.root = root;
        graph_factor(&out->g);
        f.g = (graph){0};
    }
    budget->work = f.work;
    front_release(&f);
    return st;
}

static muga_status keep_for_recheck(const json_t *schema, const constrain_options *o, const front_product *p,
                                    constrain_grammar *g, muga_error *err) {
    const json_t *documents = o ? o->documents : NULL;
    g->schema = json_clone(schema);
    g->documents = documents ? json_clone(documents) : NULL;
    g->draft = o ? o->draft : CONSTRAIN_DRAFT_AUTO;
    g->note_formats = o && o->note_formats;
    memcpy(g->rechecks, p->recheck.message, sizeof g->rechecks);
    return g->schema && (g->documents || !documents) ? MUGA_OK : error_nomem(err, "a schema");
}

muga_status constrain_compile_schema(const json_t *schema, const constrain_options *options, constrain_grammar **out,
                                     muga_error *err) {
    muga_error own = {0};
    front_product p;
    front_budget budget = FRONT_BUDGET;
    *out = NULL;
    muga_status st = front_compile(schema, options, &p, &budget, &own);
    if (st == MUGA_OK) {
        st = grammar_new(&p.g, NULL, out, &own);
        if (st == MUGA_OK)
            (*out)->open_keys = p.open_keys;
        if (st == MUGA_OK && p.recheck.status != MUGA_OK)
            st = keep_for_recheck(schema, options, &p, *out, &own);
        if (st != MUGA_OK) {
            constrain_grammar_free(*out);
            *out = NULL;
        }
        if (st == MUGA_E_INPUT && p.grounding.status != MUGA_OK) {
            own = p.grounding;
            st = own.status;
        }
    }
    if (st != MUGA_OK && err)
        *err = own;
    return st;
}
