/* Objects. Owns nothing that lasts. Refuses by name: unevaluatedProperties and dependencies where they would say
 * anything; more combinations of patternProperties than MAX_KEY_CLASSES.
 *
 * Layout of the rule, for declared keys 0..n-1 and the count c of members so far (kept only as far as it matters:
 * "none yet" for the comma, exactly where minProperties or maxProperties is given):
 *
 *     {  P[0,0] --key 0--> P[1,1] ... P[n,c] --other member--> P[n,c+1] ... }
 *
 * with an empty edge P[i,c] -> P[i+1,c] past an optional key. Required keys that no schema declares come after the
 * declared ones, in the order of `required`, and other members may stand between them.
 * Other members are split into classes of keys by which patternProperties they match; a class is one automaton for
 * the key and one goal for the value. */
#include "constrain/front.h"

#define MAX_KEY_CLASSES 64u
#define MAX_COUNTED 20000u /* P nodes */

typedef struct property {
    span key;
    bool required, declared;
} property;

typedef struct key_class {
    dfa *keys;
    uint64_t matches; /* bit k: pattern k */
} key_class;

typedef struct object {
    shape *s;
    front *f;
    property *props;
    size_t n_props, cap_props;
    uint32_t *table, n_table; /* of props by key */
    uint64_t min, max;
    uint32_t top;   /* counts 0..top are told apart */
    dfa *names;     /* what propertyNames says of other keys; NULL: nothing */
    json_t *owned;  /* names that came out of propertyNames */
    bool closed;    /* propertyNames lists all keys there are */
    uint32_t other; /* rule of one other member; NO_RULE: none allowed */
    struct {
        uint32_t rule;   /* of one other member of the class */
        uint32_t *bytes; /* [min] of the (c+1)th shortest of its keys; UINT32_MAX: it has not so many */
    } by_class[MAX_KEY_CLASSES];
    uint32_t n_classes; /* of by_class; 0 where minProperties asks for no other members */
    uint32_t *p;        /* [(n_props + 1) * (top + 1)] */
} object;

static muga_status refuse_unenforceable(shape *s) {
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *schema = s->all.e[i].schema, *v = json_object_get(schema, "unevaluatedProperties");
        bool draft7 = schema_index_is_draft7(&s->f->index, schema_index_resource(&s->f->index, schema));
        if (shape_counts(s, i) && v && !json_is_true(v) && !draft7)
            return front_refuse(s->f, schema, "unevaluatedProperties", "can't be enforced while decoding");
        if (shape_opposite(s, i) && !json_object_get(shape_opposite(s, i), "enum"))
            return front_refuse(s->f, schema, "not", "can't be enforced while decoding for this object");
    }
    return MUGA_OK;
}

/* ---- the list of keys ---- */

static uint64_t key_hash(span k) {
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < k.n; i++)
        h = (h ^ (uint8_t)k.p[i]) * 0x100000001B3u;
    return h;
}

static property *property_find(const object *o, span key) {
    if (!o->n_table)
        return NULL;
    uint64_t h = key_hash(key);
    for (; o->table[h & (o->n_table - 1)]; h++)
        if (span_equal(o->props[o->table[h & (o->n_table - 1)] - 1].key, key))
            return &o->props[o->table[h & (o->n_table - 1)] - 1];
    return NULL;
}

static muga_status property_add(object *o, span key, bool declared, bool required) {
    property *have = property_find(o, key);
    if (have) {
        have->required |= required;
        return MUGA_OK;
    }
    if (o->n_props * 2 >= o->n_table) {
        uint32_t n = o->n_table ? o->n_table * 2 : 32;
        uint32_t *t = mem_alloc_array(n, sizeof *t);
        if (!t)
            return error_nomem(o->f->err, "a schema");
        for (size_t i = 0; i < o->n_props; i++) {
            uint64_t h = key_hash(o->props[i].key);
            while (t[h & (n - 1)])
                h++;
            t[h & (n - 1)] = (uint32_t)i + 1;
        }
        free(o->table);
        o->table = t;
        o->n_table = n;
    }
    if (o->n_props == o->cap_props) {
        size_t cap = o->cap_props ? o->cap_props * 2 : 16;
        property *v = mem_resize_array(o->props, cap, sizeof *v);
        if (!v)
            return error_nomem(o->f->err, "a schema");
        o->props = v;
        o->cap_props = cap;
    }
    uint64_t h = key_hash(key);
    while (o->table[h & (o->n_table - 1)])
        h++;
    o->table[h & (o->n_table - 1)] = (uint32_t)o->n_props + 1;
    o->props[o->n_props++] = (property){key, required, declared};
    return front_spend(o->f, 2);
}

static muga_status collect_keys(object *o) {
    shape *s = o->s;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++) {
        const json_t *v = shape_counts(s, i) ? json_object_get(s->all.e[i].schema, "properties") : NULL;
        if (v && !json_is_object(v))
            return front_refuse(o->f, s->all.e[i].schema, "properties", "must be an object");
        void *it = v ? json_object_iter((json_t *)(uintptr_t)v) : NULL;
        for (; it && st == MUGA_OK; it = json_object_iter_next((json_t *)(uintptr_t)v, it))
            st = property_add(o, span_of(json_object_iter_key(it), json_object_iter_key_len(it)), true, false);
    }
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++) {
        const json_t *v = shape_counts(s, i) ? json_object_get(s->all.e[i].schema, "required") : NULL;
        if (v && !json_is_array(v))
            return front_refuse(o->f, s->all.e[i].schema, "required", "must be an array of names");
        for (size_t k = 0; k < json_array_size(v) && st == MUGA_OK; k++) {
            const json_t *name = json_array_get(v, k);
            if (!json_is_string(name))
                return front_refuse(o->f, s->all.e[i].schema, "required", "must be an array of names");
            st = property_add(o, span_of(json_string_value(name), json_string_length(name)), false, true);
        }
    }
    return st;
}

/* ---- patterns of keys ---- */

typedef struct key_patterns {
    const char **text; /* distinct, borrowed */
    dfa **d;
    size_t n, cap;
} key_patterns;

static void patterns_release(key_patterns *p) {
    for (size_t i = 0; i < p->n; i++)
        dfa_free(p->d[i]);
    free(p->text);
    free(p->d);
}

static muga_status pattern_add(object *o, const json_t *schema, key_patterns *p, const char *text, size_t n) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->text[i], text) == 0)
            return MUGA_OK;
    if (p->n == 64)
        return error_set(o->f->err, MUGA_E_LIMIT, "schema: more than 64 patternProperties for one object");
    if (!p->text) {
        p->text = mem_alloc_array(64, sizeof *p->text);
        p->d = mem_alloc_array(64, sizeof *p->d);
    }
    if (!p->text || !p->d)
        return error_nomem(o->f->err, "a schema");
    muga_error why = {0};
    muga_status st = regex_compile(text, n, REGEX_SEARCH, &o->f->work, &p->d[p->n], &why);
    if (st != MUGA_OK) {
        char message[160];
        snprintf(message, sizeof message, "\"%.60s\": %.90s", text, why.message);
        (void)front_refuse(o->f, schema, "patternProperties", message);
        o->f->err->status = st;
        return st;
    }
    p->text[p->n++] = text;
    return MUGA_OK;
}

static muga_status collect_patterns(object *o, key_patterns *p) {
    for (uint32_t i = 0; i < o->s->all.n; i++) {
        const json_t *schema = o->s->all.e[i].schema;
        const json_t *v = shape_counts(o->s, i) ? json_object_get(schema, "patternProperties") : NULL;
        if (v && !json_is_object(v))
            return front_refuse(o->f, schema, "patternProperties", "must be an object");
        void *it = v ? json_object_iter((json_t *)(uintptr_t)v) : NULL;
        for (; it; it = json_object_iter_next((json_t *)(uintptr_t)v, it)) {
            muga_status st = pattern_add(o, schema, p, json_object_iter_key(it), json_object_iter_key_len(it));
            if (st != MUGA_OK)
                return st;
        }
    }
    return MUGA_OK;
}

static uint64_t patterns_matching(const key_patterns *p, span key) {
    uint64_t bits = 0;
    for (size_t i = 0; i < p->n; i++)
        if (dfa_match(p->d[i], key.p, key.n))
            bits |= (uint64_t)1 << i;
    return bits;
}

static bool matches_named(const key_patterns *p, uint64_t bits, const char *text) {
    for (size_t i = 0; i < p->n; i++)
        if (bits >> i & 1 && strcmp(p->text[i], text) == 0)
            return true;
    return false;
}

/* The goal of the value under a key: declared (key not NULL) or of a class; `bits` are the patterns it matches. */
static muga_status value_rule(object *o, const key_patterns *p, const span *key, uint64_t bits, uint32_t *rule) {
    goal_list l = {0};
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < o->s->all.n && st == MUGA_OK; i++) {
        const json_t *schema = o->s->all.e[i].schema;
        if (!shape_counts(o->s, i))
            continue;
        const json_t *own = key ? json_object_getn(json_object_get(schema, "properties"), key->p, key->n) : NULL;
        const json_t *patterns = json_object_get(schema, "patternProperties");
        bool covered = own != NULL;
        if (own)
            st = goal_list_add(o->f, &l, own, 0, -1);
        void *it = patterns ? json_object_iter((json_t *)(uintptr_t)patterns) : NULL;
        for (; it && st == MUGA_OK; it = json_object_iter_next((json_t *)(uintptr_t)patterns, it))
            if (matches_named(p, bits, json_object_iter_key(it))) {
                covered = true;
                st = goal_list_add(o->f, &l, json_object_iter_value(it), 0, -1);
            }
        const json_t *others = json_object_get(schema, "additionalProperties");
        if (!covered && others && st == MUGA_OK)
            st = goal_list_add(o->f, &l, others, 0, -1);
    }
    if (st == MUGA_OK)
        return front_goal(o->f, &l, rule);
    goal_list_release(&l);
    return st;
}

/* Some schema says that keys of the class have no value at all. */
static bool class_forbidden(const object *o, const key_patterns *p, uint64_t bits) {
    for (uint32_t i = 0; i < o->s->all.n; i++) {
        const json_t *schema = o->s->all.e[i].schema;
        const json_t *patterns = json_object_get(schema, "patternProperties");
        bool covered = false, forbidden = false;
        if (!shape_counts(o->s, i))
            continue;
        void *it = patterns ? json_object_iter((json_t *)(uintptr_t)patterns) : NULL;
        for (; it; it = json_object_iter_next((json_t *)(uintptr_t)patterns, it))
            if (matches_named(p, bits, json_object_iter_key(it))) {
                covered = true;
                forbidden |= json_is_false(json_object_iter_value(it));
            }
        if (forbidden || (!covered && json_is_false(json_object_get(schema, "additionalProperties"))))
            return true;
    }
    return false;
}

/* ---- other members ---- */

static muga_status refuse_names_logic(object *o, const shape *names) {
    static const char *const logic[] = {"anyOf", "oneOf", "not", "if"};
    for (uint32_t i = 0; i < names->all.n; i++) {
        const json_t *schema = names->all.e[i].schema;
        const char *type = json_get_string(schema, "type");
        if (!shape_counts(names, i))
            continue;
        for (size_t k = 0; k < ARRAY_LEN(logic); k++)
            if (json_object_get(schema, logic[k]))
                return front_refuse(o->f, schema, logic[k], "can't be enforced while decoding inside propertyNames");
        if (json_object_get(schema, "type") && !(type && strcmp(type, "string") == 0))
            return front_refuse(o->f, schema, "type", "inside propertyNames must be \"string\"");
    }
    return MUGA_OK;
}

/* What propertyNames says of keys. A list of names becomes declared keys, and no others are left; anything else is
 * the automaton o->names. */
static muga_status collect_names(object *o) {
    goal_list l = {0};
    shape names = {0};
    json_t *values = NULL;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < o->s->all.n && st == MUGA_OK; i++) {
        const json_t *v = shape_counts(o->s, i) ? json_object_get(o->s->all.e[i].schema, "propertyNames") : NULL;
        if (v)
            st = goal_list_add(o->f, &l, v, 0, -1);
    }
    if (st != MUGA_OK || l.n == 0)
        goto out;
    goal x = {l.e, l.n, 0};
    st = shape_expand(o->f, &x, &names);
    if (st == MUGA_OK && !names.impossible)
        st = values_collect(&names, &values);
    if (st != MUGA_OK)
        goto out;
    o->closed = names.impossible || values;
    for (size_t k = 0; k < json_array_size(values) && st == MUGA_OK; k++) {
        const json_t *name = json_array_get(values, k);
        if (json_is_string(name) && (o->owned || (o->owned = json_array())) &&
            json_array_append(o->owned, (json_t *)(uintptr_t)name) == 0)
            st = property_add(o, span_of(json_string_value(name), json_string_length(name)), true, false);
        else if (json_is_string(name))
            st = error_nomem(o->f->err, "a schema");
    }
    if (st == MUGA_OK && !o->closed)
        st = refuse_names_logic(o, &names);
    if (st == MUGA_OK && !o->closed) {
        bool plain;
        st = strings_dfa(&names, &o->names, &plain);
    }
out:
    json_decref(values);
    goal_list_release(&names.all);
    goal_list_release(&l);
    return st;
}

static const char no_nul[] = "[\\u0001-\\u{10FFFF}]*";

/* Every key but the listed ones, as one class that matches no pattern yet. */
static muga_status first_class(object *o, key_class *out) {
    span *words = mem_alloc_array(o->n_props, sizeof *words);
    dfa *any = NULL, *listed = NULL, *rest = NULL;
    muga_status st = words ? MUGA_OK : error_nomem(o->f->err, "a schema");
    for (size_t i = 0; words && i < o->n_props; i++)
        words[i] = o->props[i].key;
    if (st == MUGA_OK) /* JSON readers take no NUL in a key */
        st = regex_compile(no_nul, strlen(no_nul), REGEX_WHOLE, &o->f->work, &any, o->f->err);
    if (st == MUGA_OK && o->names) {
        st = dfa_combine(o->names, any, DFA_AND, &o->f->work, &rest, o->f->err);
        dfa_free(any);
        any = rest;
        rest = NULL;
    }
    if (st == MUGA_OK && o->n_props > 0) {
        st = dfa_of_literals(words, o->n_props, &o->f->work, &listed, o->f->err);
        if (st == MUGA_OK)
            st = dfa_combine(any, listed, DFA_AND_NOT, &o->f->work, &rest, o->f->err);
        dfa_free(any);
        any = rest;
    }
    dfa_free(listed);
    free(words);
    *out = (key_class){st == MUGA_OK ? any : NULL, 0};
    return st;
}

static muga_status split_classes(object *o, const key_patterns *p, key_class *classes, uint32_t *n) {
    muga_status st = MUGA_OK;
    for (size_t k = 0; k < p->n; k++) {
        uint32_t before = *n;
        for (uint32_t i = 0; i < before && st == MUGA_OK; i++) {
            dfa *in = NULL, *out = NULL;
            st = dfa_combine(classes[i].keys, p->d[k], DFA_AND, &o->f->work, &in, o->f->err);
            if (st == MUGA_OK)
                st = dfa_combine(classes[i].keys, p->d[k], DFA_AND_NOT, &o->f->work, &out, o->f->err);
            if (st == MUGA_OK && *n == MAX_KEY_CLASSES && in->start != DFA_DEAD)
                st = error_set(o->f->err, MUGA_E_LIMIT, "schema: patternProperties overlap in more than %u ways",
                               MAX_KEY_CLASSES);
            if (st != MUGA_OK) {
                dfa_free(in);
                dfa_free(out);
                return st;
            }
            dfa_free(classes[i].keys);
            classes[i].keys = out;
            if (in->start != DFA_DEAD)
                classes[(*n)++] = (key_class){in, classes[i].matches | (uint64_t)1 << k};
            else
                dfa_free(in);
        }
    }
    return st;
}

static bool others_forbidden(const object *o) {
    bool forbidden = false;
    for (uint32_t i = 0; i < o->s->all.n && !forbidden; i++) {
        const json_t *schema = o->s->all.e[i].schema;
        forbidden = shape_counts(o->s, i) && json_is_false(json_object_get(schema, "additionalProperties")) &&
                    json_object_size(json_object_get(schema, "patternProperties")) == 0;
    }
    return forbidden;
}

/* rule: "key":value, the key of class i. */
static muga_status build_class(object *o, const key_patterns *p, const key_class *class, uint32_t rule) {
    front *f = o->f;
    uint32_t value, close = graph_node(&f->g);
    muga_status st = value_rule(o, p, NULL, class->matches, &value);
    if (st != MUGA_OK || f->g.nomem || f->g.too_large)
        return st;
    production r = f->g.rules[rule];
    uint32_t first = f->g.n_nodes;
    graph_json_dfa(&f->g, front_literal(f, r.start, "\""), class->keys, true, close);
    uint32_t at = front_space(f, front_literal(f, close, "\":"));
    graph_call(&f->g, at, value, 1, 1, r.end);
    graph_bytewise(&f->g, first);
    return MUGA_OK;
}

/* Where minProperties asks for keys that nobody lists, each class is a rule of its own, and what its keys cost is
 * known: behind c members its c+1 shortest keys hold a new one. */
static muga_status cost_classes(object *o, const key_class *classes, uint32_t n) {
    bool enough = o->n_props >= o->min;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < n && o->min > 0 && st == MUGA_OK; i++) {
        uint32_t *bytes = o->by_class[i].bytes = mem_alloc_array(o->min, sizeof *bytes);
        if (!bytes)
            return error_nomem(o->f->err, "a schema");
        o->n_classes = i + 1;
        st = dfa_shortest_words(classes[i].keys, (uint32_t)o->min, &o->f->work, bytes, o->f->err);
        enough |= st == MUGA_OK && bytes[o->min - 1] != UINT32_MAX;
    }
    if (st == MUGA_OK && o->min > 0 && !enough)
        st = error_set(o->f->err, MUGA_E_INPUT,
                       "schema: \"minProperties\" asks for more keys than can be told apart while decoding");
    return st;
}

/* Rule of `"key":value` for every key that isn't listed. */
static muga_status build_other(object *o, const key_patterns *p) {
    front *f = o->f;
    key_class classes[MAX_KEY_CLASSES];
    uint32_t n = 0;
    o->other = NO_RULE;
    if (o->closed || others_forbidden(o))
        return MUGA_OK;
    muga_status st = first_class(o, &classes[0]);
    if (st == MUGA_OK) {
        n = 1;
        st = split_classes(o, p, classes, &n);
    }
    for (uint32_t i = 0; i < n;) {
        if (class_forbidden(o, p, classes[i].matches)) {
            dfa_free(classes[i].keys);
            classes[i] = classes[--n];
        } else {
            i++;
        }
    }
    if (st == MUGA_OK)
        st = cost_classes(o, classes, n);
    if (st != MUGA_OK || n == 0)
        goto out;
    o->other = graph_rule(&f->g);
    f->open_keys = true;
    for (uint32_t i = 0; i < n && st == MUGA_OK && !f->g.nomem && !f->g.too_large; i++) {
        uint32_t rule = o->other;
        if (o->n_classes > 0) {
            rule = o->by_class[i].rule = graph_rule(&f->g);
            if (!f->g.nomem && !f->g.too_large)
                graph_call(&f->g, f->g.rules[o->other].start, rule, 1, 1, f->g.rules[o->other].end);
        }
        st = build_class(o, p, &classes[i], rule);
    }
out:
    for (uint32_t i = 0; i < n; i++)
        dfa_free(classes[i].keys);
    return st;
}

/* ---- the rule ---- */

static uint32_t *at(object *o, size_t i, uint32_t c) {
    return &o->p[i * (o->top + 1) + c];
}
static uint32_t counted(const object *o, uint32_t c) {
    return MIN(c + 1, o->top);
}
static bool room_for_one(const object *o, uint32_t c) {
    return o->max == UINT64_MAX || c < o->max;
}

static uint32_t comma(front *f, uint32_t from) {
    return front_space(f, front_literal(f, front_space(f, from), ","));
}

/* One more member that nobody lists, behind c others, if there is room for it. */
static void build_other_member(object *o, size_t i, uint32_t c) {
    front *f = o->f;
    if (o->other == NO_RULE || !room_for_one(o, c))
        return;
    uint32_t from = c ? comma(f, *at(o, i, c)) : *at(o, i, c), to = *at(o, i, counted(o, c));
    if (c >= o->min)
        graph_call(&f->g, from, o->other, 1, 1, to);
    for (uint32_t k = 0; k < o->n_classes && c < o->min; k++)
        graph_call_at(&f->g, from, o->by_class[k].rule, MIN(o->by_class[k].bytes[c], COST_INF), to);
}

/* From `key` on: "key":value, to P[i+1, c+1]. */
static muga_status build_property(object *o, size_t i, uint32_t value, uint32_t key, uint32_t to) {
    str text = STR_INIT;
    json_write_string(&text, o->props[i].key.p, o->props[i].key.n);
    str_append_c(&text, ':');
    muga_status st = str_status(&text, o->f->err, "a schema");
    if (st == MUGA_OK) {
        uint32_t end = front_space(o->f, graph_literal(&o->f->g, key, str_get(&text), text.len));
        graph_call(&o->f->g, end, value, 1, 1, to);
    }
    str_release(&text);
    return st;
}

static muga_status name_allowed(object *o, span key, bool *allowed) {
    *allowed = true;
    for (uint32_t i = 0; i < o->s->all.n; i++) {
        const json_t *v = shape_counts(o->s, i) ? json_object_get(o->s->all.e[i].schema, "propertyNames") : NULL;
        if (!v)
            continue;
        json_t *name = json_stringn(key.p, key.n);
        muga_error ignored;
        muga_status st = name ? validate_candidate(&o->f->index, v, 0, name, &o->f->work, &ignored) : MUGA_E_NOMEM;
        json_decref(name);
        if (st == MUGA_E_NEGATIVE)
            *allowed = false;
        else if (st != MUGA_OK)
            return error_set(o->f->err, st, "%s", name ? ignored.message : "out of memory for a schema");
    }
    return MUGA_OK;
}

static muga_status build_step(object *o, const key_patterns *p, size_t i) {
    front *f = o->f;
    uint32_t value, shared = NO_RULE;
    bool allowed;
    muga_status st = value_rule(o, p, &o->props[i].key, patterns_matching(p, o->props[i].key), &value);
    if (st == MUGA_OK)
        st = name_allowed(o, o->props[i].key, &allowed);
    if (st == MUGA_OK)
        st = front_spend(f, o->props[i].key.n + 10);
    for (uint32_t c = 0; c <= o->top && st == MUGA_OK; c++) {
        if (!o->props[i].required)
            graph_empty(&f->g, *at(o, i, c), *at(o, i + 1, c));
        if (!o->props[i].declared)
            build_other_member(o, i, c);
        if (!allowed || !room_for_one(o, c))
            continue;
        /* Where counts 0 and 1 lead on to the same place, the key is written once. */
        bool first = shared == NO_RULE || o->top > 1;
        uint32_t key = first ? graph_node(&f->g) : shared;
        graph_empty(&f->g, c ? comma(f, *at(o, i, c)) : *at(o, i, c), key);
        shared = key;
        if (first)
            st = build_property(o, i, value, key, *at(o, i + 1, counted(o, c)));
    }
    return st;
}

static muga_status build_rule(object *o, const key_patterns *p, uint32_t from, uint32_t to) {
    front *f = o->f;
    uint64_t n_nodes = (o->n_props + 1) * ((uint64_t)o->top + 1);
    if (n_nodes * MAX(o->n_classes, 1) > MAX_COUNTED + 2 * o->n_props + 2)
        return error_set(f->err, MUGA_E_LIMIT, "schema: minProperties or maxProperties is too large to count");
    uint32_t own = graph_rule(&f->g);
    if (f->g.nomem || f->g.too_large)
        return MUGA_OK;
    f->g.rules[own].container = true;
    f->g.rules[own].open = o->other != NO_RULE;
    production r = f->g.rules[own];
    uint32_t first = f->g.n_nodes;
    graph_call(&f->g, from, own, 1, 1, to);
    o->p = mem_alloc_array(n_nodes, sizeof *o->p);
    if (!o->p)
        return error_nomem(f->err, "a schema");
    for (size_t i = 0; i < n_nodes; i++)
        o->p[i] = graph_node(&f->g);
    if (f->g.nomem || f->g.too_large)
        return MUGA_OK;
    graph_empty(&f->g, front_space(f, front_literal(f, r.start, "{")), *at(o, 0, 0));
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < o->n_props && st == MUGA_OK; i++)
        st = build_step(o, p, i);
    uint32_t close = graph_node(&f->g);
    graph_bytes(&f->g, front_space(f, close), '}', '}', r.end);
    for (uint32_t c = 0; c <= o->top && st == MUGA_OK; c++) {
        uint32_t last = *at(o, o->n_props, c);
        if (c >= o->min)
            graph_empty(&f->g, last, close);
        build_other_member(o, o->n_props, c);
    }
    if (o->other != NO_RULE)
        graph_bytewise(&f->g, first);
    return st;
}

muga_status objects_build(shape *s, uint32_t from, uint32_t to) {
    object o = {.s = s, .f = s->f};
    key_patterns p = {0};
    muga_status st = refuse_unenforceable(s);
    if (st == MUGA_OK)
        st = shape_limit(s, "minProperties", false, &o.min);
    if (st == MUGA_OK)
        st = shape_limit(s, "maxProperties", true, &o.max);
    if (st == MUGA_OK)
        st = collect_keys(&o);
    if (st == MUGA_OK)
        st = collect_names(&o);
    if (st == MUGA_OK)
        st = collect_patterns(&o, &p);
    if (st == MUGA_OK && o.min <= o.max) {
        uint64_t n_required = 0, top = 1;
        for (size_t i = 0; i < o.n_props; i++)
            n_required += o.props[i].required;
        if (o.min > n_required)
            top = MAX(top, o.min);
        else
            o.min = 0;
        if (o.max != UINT64_MAX)
            top = MAX(top, o.max);
        o.top = (uint32_t)MIN(top, (uint64_t)MAX_COUNTED + 1);
        if (top > MAX_COUNTED)
            st = error_set(s->f->err, MUGA_E_LIMIT, "schema: minProperties or maxProperties is too large to count");
        if (st == MUGA_OK)
            st = build_other(&o, &p);
        if (st == MUGA_OK)
            st = build_rule(&o, &p, from, to);
    }
    patterns_release(&p);
    dfa_free(o.names);
    json_decref(o.owned);
    for (uint32_t i = 0; i < o.n_classes; i++)
        free(o.by_class[i].bytes);
    free(o.props);
    free(o.table);
    free(o.p);
    return st;
}
