/* Which keys an object may have. Owns: the lists of one object. Refuses by name: more combinations of patternProperties
 * than MAX_KEY_CLASSES, counts of keys that could run out.
 *
 * Idea: listed keys (declared, or required) are literals. All others are split into classes by what tells them apart:
 * which patternProperties they match, and which conditions look at them; a class is one automaton for the key and one
 * goal for the value. A condition is the opposite of additionalProperties, patternProperties or propertyNames: some
 * member must be there that doesn't do what they say. */
#include "constrain/object.h"

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
    o->n_declared += declared; /* they are collected before the others */
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

static muga_status collect_listed(object *o) {
    shape *s = o->s;
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++) {
        const json_t *v = shape_counts(s, i) ? json_object_get(s->all.e[i].schema, "properties") : NULL;
        if (v && !json_is_object(v))
            return front_refuse(o->f, s->all.e[i].schema, "properties", "must be an object");
        void *it = v ? json_object_iter(json_borrow(v)) : NULL;
        for (; it && st == MUGA_OK; it = json_object_iter_next(json_borrow(v), it))
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

static muga_status pattern_add(object *o, const json_t *schema, const char *text, size_t n) {
    key_patterns *p = &o->patterns;
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
    muga_status st = strings_pattern(o->f, text, n, REGEX_SEARCH, &p->d[p->n], &why);
    if (st != MUGA_OK)
        return front_relax_pattern(o->f, schema, "patternProperties", span_of(text, n), &why, true);
    p->text[p->n++] = text;
    return MUGA_OK;
}

static muga_status collect_patterns(object *o) {
    for (uint32_t i = 0; i < o->s->all.n; i++) {
        const json_t *schema = o->s->all.e[i].schema;
        const json_t *v = shape_counts(o->s, i) ? json_object_get(schema, "patternProperties") : NULL;
        if (v && !json_is_object(v))
            return front_refuse(o->f, schema, "patternProperties", "must be an object");
        void *it = v ? json_object_iter(json_borrow(v)) : NULL;
        for (; it; it = json_object_iter_next(json_borrow(v), it)) {
            muga_status st = pattern_add(o, schema, json_object_iter_key(it), json_object_iter_key_len(it));
            if (st != MUGA_OK)
                return st;
        }
    }
    return MUGA_OK;
}

uint64_t object_matching(const object *o, span key) {
    const key_patterns *p = &o->patterns;
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

/* Which keys this pattern matches is left to re-validation. */
static bool is_relaxed(const key_patterns *p, const char *text) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->text[i], text) == 0)
            return false;
    return true;
}

/* ---- values ---- */

muga_status object_value(object *o, const span *key, uint64_t bits, const json_t *const *also, uint32_t n,
                         uint32_t *rule) {
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
        void *it = patterns ? json_object_iter(json_borrow(patterns)) : NULL;
        for (; it && st == MUGA_OK; it = json_object_iter_next(json_borrow(patterns), it))
            if (is_relaxed(&o->patterns, json_object_iter_key(it))) {
                covered = true;
            } else if (matches_named(&o->patterns, bits, json_object_iter_key(it))) {
                covered = true;
                st = goal_list_add(o->f, &l, json_object_iter_value(it), 0, -1);
            }
        const json_t *others = json_object_get(schema, "additionalProperties");
        if (!covered && others && st == MUGA_OK)
            st = goal_list_add(o->f, &l, others, 0, -1);
    }
    for (uint32_t k = 0; k < n && st == MUGA_OK; k++)
        st = goal_list_add(o->f, &l, also[k], 0, -1);
    if (st == MUGA_OK)
        return front_goal(o->f, &l, rule);
    goal_list_release(&l);
    return st;
}

/* Some schema says that keys of the class have no value at all. */
static bool class_forbidden(const object *o, uint64_t bits) {
    for (uint32_t i = 0; i < o->s->all.n; i++) {
        const json_t *schema = o->s->all.e[i].schema;
        const json_t *patterns = json_object_get(schema, "patternProperties");
        bool covered = false, forbidden = false;
        if (!shape_counts(o->s, i))
            continue;
        void *it = patterns ? json_object_iter(json_borrow(patterns)) : NULL;
        for (; it; it = json_object_iter_next(json_borrow(patterns), it))
            if (is_relaxed(&o->patterns, json_object_iter_key(it))) {
                covered = true;
            } else if (matches_named(&o->patterns, bits, json_object_iter_key(it))) {
                covered = true;
                forbidden |= json_is_false(json_object_iter_value(it));
            }
        if (forbidden || (!covered && json_is_false(json_object_get(schema, "additionalProperties"))))
            return true;
    }
    return false;
}

/* ---- conditions ---- */

static muga_status listed_dfa(object *o, const json_t *names, dfa **out) {
    size_t n = 0;
    span *words = mem_alloc_array(names ? json_object_size(names) : o->n_props, sizeof *words);
    if (!words)
        return error_nomem(o->f->err, "a schema");
    void *it = names ? json_object_iter(json_borrow(names)) : NULL;
    for (; it; it = json_object_iter_next(json_borrow(names), it))
        words[n++] = span_of(json_object_iter_key(it), json_object_iter_key_len(it));
    for (; !names && n < o->n_props; n++)
        words[n] = o->props[n].key;
    muga_status st = dfa_of_literals(words, n, &o->f->work, out, o->f->err);
    free(words);
    return st;
}

/* *out NULL: which keys the pattern matches is left to re-validation. */
static muga_status pattern_dfa(object *o, const json_t *x, const char *pattern, dfa **out) {
    muga_error why = {0};
    muga_status st = strings_pattern(o->f, pattern, strlen(pattern), REGEX_SEARCH, out, &why);
    return st == MUGA_OK ? st : front_relax_pattern(o->f, x, "patternProperties", span_of_string(pattern), &why, true);
}

/* Keys that `x` neither lists nor matches, or, where a pattern is left to re-validation, may not match. */
static muga_status unlisted_dfa(object *o, const json_t *x, dfa **out) {
    const json_t *patterns = json_object_get(x, "patternProperties");
    dfa *one = NULL;
    *out = NULL;
    muga_status st = listed_dfa(o, json_object_get(x, "properties"), &one);
    if (st == MUGA_OK)
        st = strings_combine(o->f, out, one, DFA_AND_NOT);
    void *it = json_object_iter(json_borrow(patterns));
    for (; it && st == MUGA_OK; it = json_object_iter_next(json_borrow(patterns), it)) {
        st = pattern_dfa(o, x, json_object_iter_key(it), &one);
        if (st == MUGA_OK && one)
            st = strings_combine(o->f, out, one, DFA_AND_NOT);
    }
    return st;
}

static muga_status add_condition(object *o, const json_t *opposite) {
    const json_t *names = json_object_get(opposite, "propertyNames"),
                 *value = json_object_get(opposite, "additionalProperties");
    const json_t *patterns = json_object_get(opposite, "patternProperties");
    dfa *fits = NULL, *one = NULL;
    muga_status st = MUGA_OK;
    if (o->too_few || (!names && !value && json_object_size(patterns) == 0))
        return MUGA_OK;
    if (o->n_conditions == MAX_KEY_CONDITIONS)
        return front_relax(o->f, opposite, "not", "asks for more conditions on members than are kept while decoding",
                           true);
    if (names) {
        st = names_dfa(o->f, names, &one);
        if (st == MUGA_OK && one)
            st = strings_combine(o->f, &fits, one, DFA_AND_NOT);
    } else if (value) {
        st = unlisted_dfa(o, opposite, &fits);
    } else {
        void *it = json_object_iter(json_borrow(patterns));
        value = json_object_iter_value(it);
        st = pattern_dfa(o, opposite, json_object_iter_key(it), &fits);
    }
    if (st == MUGA_OK && !fits) /* any key may be the one */
        st = dfa_any(&fits, &o->f->work, o->f->err);
    key_condition *c = &o->conditions[o->n_conditions++];
    c->keys = fits;
    return st == MUGA_OK && value ? opposite_wrap(o->f, value, &c->value) : st;
}

uint32_t object_conditions(const object *o, span key) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < o->n_conditions; i++)
        bits |= (uint32_t)dfa_match(o->conditions[i].keys, key.p, key.n) << i;
    return bits;
}

muga_status object_allowed(object *o, span key, bool *allowed) {
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

muga_status object_collect(object *o) {
    muga_status st = collect_listed(o);
    if (st == MUGA_OK)
        st = collect_patterns(o);
    for (uint32_t i = 0; i < o->s->all.n && st == MUGA_OK; i++) {
        const json_t *opposite = shape_counts(o->s, i) ? shape_opposite(o->s, i) : NULL;
        if (opposite)
            st = add_condition(o, opposite);
    }
    return st;
}

/* ---- classes ---- */

static const char no_nul[] = "[\\u0001-\\u{10FFFF}]*";

/* Every key but the listed ones, as one class that matches no pattern yet. */
static muga_status first_class(object *o) {
    front *f = o->f;
    dfa *all = NULL, *one = NULL;
    /* JSON readers take no NUL in a key */
    muga_status st = regex_compile(no_nul, strlen(no_nul), REGEX_WHOLE, &f->work, &all, f->err);
    for (uint32_t i = 0; i < o->s->all.n && st == MUGA_OK; i++) {
        const json_t *v = shape_counts(o->s, i) ? json_object_get(o->s->all.e[i].schema, "propertyNames") : NULL;
        if (!v)
            continue;
        st = names_dfa(f, v, &one);
        if (st == MUGA_OK && one)
            st = strings_combine(f, &all, one, DFA_AND);
    }
    if (st == MUGA_OK && o->n_props > 0) {
        st = listed_dfa(o, NULL, &one);
        if (st == MUGA_OK)
            st = strings_combine(f, &all, one, DFA_AND_NOT);
    }
    o->classes[0] = (key_class){.keys = all};
    o->n_classes = 1;
    return st;
}

/* Splits every class by an automaton; those inside it get the bits. */
static muga_status split_classes(object *o, const dfa *by, uint64_t matches, uint32_t conditions) {
    front *f = o->f;
    uint32_t before = o->n_classes;
    for (uint32_t i = 0; i < before; i++) {
        key_class *x = &o->classes[i];
        dfa *in = NULL, *out = NULL;
        muga_status st = dfa_combine(x->keys, by, DFA_AND, &f->work, &in, f->err);
        if (st == MUGA_OK)
            st = dfa_combine(x->keys, by, DFA_AND_NOT, &f->work, &out, f->err);
        if (st == MUGA_OK && o->n_classes == MAX_KEY_CLASSES && in->start != DFA_DEAD)
            st = error_set(f->err, MUGA_E_LIMIT, "schema: patternProperties overlap in more than %u ways",
                           MAX_KEY_CLASSES);
        if (st != MUGA_OK) {
            dfa_free(in);
            dfa_free(out);
            return st;
        }
        dfa_free(x->keys);
        x->keys = out;
        if (in->start != DFA_DEAD)
            o->classes[o->n_classes++] = (key_class){in, x->matches | matches, x->conditions | conditions, NULL};
        else
            dfa_free(in);
    }
    return MUGA_OK;
}

/* What the keys of each class cost: behind c members its c+1 shortest keys hold a new one. */
static muga_status measure_classes(object *o) {
    bool enough = o->min == 0 || o->n_props >= o->min;
    o->n_bytes = o->n_conditions ? MAX((uint32_t)o->min, MANY_KEYS) : (uint32_t)o->min;
    for (uint32_t i = 0; i < o->n_classes && o->n_bytes > 0; i++) {
        key_class *x = &o->classes[i];
        x->bytes = mem_alloc_array(o->n_bytes, sizeof *x->bytes);
        if (!x->bytes)
            return error_nomem(o->f->err, "a schema");
        muga_status st = dfa_shortest_words(x->keys, o->n_bytes, &o->f->work, x->bytes, o->f->err);
        if (st != MUGA_OK)
            return st;
        enough |= o->min > 0 && x->bytes[o->min - 1] != UINT32_MAX;
        o->too_few |= x->conditions && x->bytes[o->n_bytes - 1] == UINT32_MAX;
    }
    if (!enough)
        return error_set(o->f->err, MUGA_E_INPUT,
                         "schema: \"minProperties\" asks for more keys than can be told apart while decoding");
    return MUGA_OK;
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

muga_status object_classify(object *o) {
    if (others_forbidden(o))
        return MUGA_OK;
    muga_status st = first_class(o);
    for (size_t k = 0; k < o->patterns.n && st == MUGA_OK; k++)
        st = split_classes(o, o->patterns.d[k], (uint64_t)1 << k, 0);
    for (uint32_t k = 0; k < o->n_conditions && st == MUGA_OK; k++)
        st = split_classes(o, o->conditions[k].keys, 0, 1u << k);
    for (uint32_t i = 0; i < o->n_classes && st == MUGA_OK;) {
        if (o->classes[i].keys->start == DFA_DEAD || class_forbidden(o, o->classes[i].matches)) {
            dfa_free(o->classes[i].keys);
            o->classes[i] = o->classes[--o->n_classes];
        } else {
            i++;
        }
    }
    return st == MUGA_OK ? measure_classes(o) : st;
}

void object_free(object *o) {
    for (size_t i = 0; i < o->patterns.n; i++)
        dfa_free(o->patterns.d[i]);
    for (uint32_t i = 0; i < o->n_conditions; i++)
        dfa_free(o->conditions[i].keys);
    for (uint32_t i = 0; i < o->n_classes; i++) {
        dfa_free(o->classes[i].keys);
        free(o->classes[i].bytes);
    }
    free(o->patterns.text);
    free(o->patterns.d);
    free(o->props);
    free(o->table);
}
