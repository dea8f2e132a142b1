/* Values that are a choice from a list: enum, const, and grounded values. Owns nothing that lasts. Refuses by name: a
 * grounded parameter whose type has no pattern, enum or number to look for.
 * Idea: a finite list can be checked in advance. Every candidate goes through the validator with all schemas of the
 * goal, so whatever keywords stand beside an enum are enforced exactly. */
#include "constrain/front.h"
#include "constrain/grounded.h"

static const json_t *own_values(const json_t *schema, json_t **made) {
    const json_t *v = json_object_get(schema, "const");
    *made = NULL;
    if (!v)
        return json_object_get(schema, "enum");
    *made = json_array();
    if (*made && json_array_append(*made, json_borrow(v)) != 0) {
        json_decref(*made);
        *made = NULL;
    }
    return *made;
}

/* The candidates that every schema of the goal takes. An element whose only say is its type and the list itself, or
 * what the goal holds as elements of their own (references, allOf, the alternative chosen), needs no run of the
 * validator. */
static bool says_more(const json_t *schema, uint32_t done) {
    static const char *const simple[] = {"enum",     "const", "type",    "title",    "description", "default",
                                         "examples", "from",  "$schema", "$comment", "$defs",       "definitions"};
    static const struct {
        const char *keyword;
        uint32_t flag;
    } dealt_with[] = {{"$ref", DONE_REFS}, {"allOf", DONE_REFS}, {"anyOf", DONE_ANY}, {"oneOf", DONE_ONE}};
    void *it = json_object_iter(json_borrow(schema));
    for (; it; it = json_object_iter_next(json_borrow(schema), it)) {
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(simple); k++)
            known |= strcmp(json_object_iter_key(it), simple[k]) == 0;
        for (size_t k = 0; k < ARRAY_LEN(dealt_with); k++)
            known |= strcmp(json_object_iter_key(it), dealt_with[k].keyword) == 0 && done & dealt_with[k].flag;
        if (!known)
            return true;
    }
    return json_is_array(json_object_get(schema, "type"));
}

static bool fits_simple_type(const json_t *schema, const json_t *v) {
    const char *t = json_get_string(schema, "type");
    if (!t)
        return true;
    return (strcmp(t, "string") == 0 && json_is_string(v)) || (strcmp(t, "null") == 0 && json_is_null(v)) ||
           (strcmp(t, "boolean") == 0 && json_is_boolean(v)) || (strcmp(t, "number") == 0 && json_is_number(v)) ||
           (strcmp(t, "integer") == 0 && json_is_number(v) && number_is_integer(v)) ||
           (strcmp(t, "array") == 0 && json_is_array(v)) || (strcmp(t, "object") == 0 && json_is_object(v));
}

/* In the lists of an element; `own`: the candidate comes from there (from its const where it has both). */
static muga_status fits_lists(front *f, const json_t *schema, bool own, const json_t *v, bool *fits) {
    const json_t *constant = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    if (constant && !own)
        *fits &= json_same(constant, v);
    if (!list || (own && !constant))
        return MUGA_OK;
    size_t k = 0;
    while (k < json_array_size(list) && !json_same(json_array_get(list, k), v))
        k++;
    *fits &= k < json_array_size(list);
    return front_spend(f, k);
}

static muga_status fits_all(shape *s, uint32_t source, const json_t *v, bool *fits) {
    *fits = true;
    for (uint32_t i = 0; i < s->all.n && *fits; i++) {
        const json_t *schema = s->all.e[i].schema;
        if (!shape_counts(s, i))
            continue;
        muga_status st = front_spend(s->f, 1);
        if (st == MUGA_OK)
            st = fits_lists(s->f, schema, i == source, v, fits);
        if (st != MUGA_OK)
            return st;
        if (!says_more(schema, s->all.e[i].done)) {
            *fits &= fits_simple_type(schema, v);
            continue;
        }
        if (!*fits)
            break;
        uint32_t done = s->all.e[i].done | DONE_VALUES;
        if (schema_index_has(&s->f->index, schema) & HAS_UNEVALUATED)
            done &= ~(uint32_t)(DONE_REFS | DONE_ANY | DONE_ONE | DONE_IF | DONE_NOT | DONE_DEPENDENT);
        st = validate_candidate(&s->f->index, schema, done, v, &s->f->work, s->f->err);
        if (st != MUGA_OK && st != MUGA_E_NEGATIVE)
            return st;
        *fits = st == MUGA_OK;
    }
    return MUGA_OK;
}

static muga_status keep_fitting(shape *s, uint32_t source, const json_t *candidates, json_t *out) {
    for (size_t k = 0; k < json_array_size(candidates); k++) {
        bool fits;
        json_t *v = json_array_get(candidates, k);
        muga_status st = fits_all(s, source, v, &fits);
        if (st == MUGA_OK && fits && json_array_append(out, v) != 0)
            st = error_nomem(s->f->err, "a schema");
        if (st != MUGA_OK)
            return st;
    }
    return MUGA_OK;
}

/* ---- grounded ---- */

static const constrain_source *source_named(const constrain_options *o, const char *name) {
    for (size_t i = 0; i < o->n_sources; i++)
        if (strcmp(o->sources[i].name, name) == 0)
            return &o->sources[i];
    return NULL;
}

static bool names_type(const shape *s, const char *name) {
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *v = shape_counts(s, i) ? json_object_get(s->all.e[i].schema, "type") : NULL;
        for (size_t k = 0; k < (json_is_array(v) ? json_array_size(v) : v != NULL); k++) {
            const char *t = json_string_value(json_is_array(v) ? json_array_get(v, k) : v);
            if (t && strcmp(t, name) == 0)
                return true;
        }
    }
    return false;
}

/* `^` and `$` around the whole pattern say nothing of a value that is cut out of a text; a pattern is taken as what
 * the value is, from end to end. */
static muga_status grounded_text(shape *s, dfa **out) {
    *out = NULL;
    uint64_t min, max;
    muga_status st = shape_limit(s, "minLength", false, &min);
    if (st == MUGA_OK)
        st = shape_limit(s, "maxLength", true, &max);
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++) {
        const json_t *v = shape_counts(s, i) ? json_object_get(s->all.e[i].schema, "pattern") : NULL;
        if (!json_is_string(v))
            continue;
        dfa *one = NULL, *both = NULL;
        st = regex_compile(json_string_value(v), json_string_length(v), REGEX_WHOLE, &s->f->work, &one, s->f->err);
        if (st != MUGA_OK)
            return error_prefix(s->f->err, st, "schema: \"%.60s\"", json_string_value(v));
        if (*out)
            st = dfa_combine(*out, one, DFA_AND, &s->f->work, &both, s->f->err);
        if (*out) {
            dfa_free(*out);
            dfa_free(one);
            one = both;
        }
        *out = one;
    }
    if (st == MUGA_OK && !*out) { /* a format is as good as a pattern */
        bool plain;
        bool has_format = false;
        for (uint32_t i = 0; i < s->all.n; i++)
            has_format |= shape_counts(s, i) && json_get_string(s->all.e[i].schema, "format") != NULL;
        if (has_format)
            st = strings_dfa(s, out, &plain);
    }
    return st;
}

static bool fold_bit(const json_t *v, unsigned *fold) {
    const char *name = json_string_value(v);
    unsigned bit = !name                        ? 0
                   : strcmp(name, "case") == 0  ? GROUNDED_FOLD_CASE
                   : strcmp(name, "space") == 0 ? GROUNDED_FOLD_SPACE
                                                : 0;
    *fold |= bit;
    return bit != 0;
}

static muga_status read_fold(front *f, const json_t *schema, unsigned *fold) {
    const json_t *v = json_object_get(schema, "fold");
    bool ok = !v || json_is_array(v) || fold_bit(v, fold);
    for (size_t i = 0; ok && i < json_array_size(v); i++)
        ok = fold_bit(json_array_get(v, i), fold);
    return ok ? MUGA_OK : front_refuse(f, schema, "fold", "must be \"case\", \"space\" or an array of these");
}

static muga_status find_grounded(shape *s, uint32_t from, const json_t *words, json_t *out) {
    front *f = s->f;
    const json_t *schema = s->all.e[from].schema, *name = json_object_get(schema, "from");
    if (!json_is_string(name))
        return front_refuse(f, schema, "from", "must be the name of a source: \"conversation\" or \"tools\"");
    const constrain_source *source = source_named(f->options, json_string_value(name));
    grounded_query q = {.words = words,
                        .integers = names_type(s, "integer"),
                        .fractions = names_type(s, "number"),
                        .wanted = f->wanted,
                        .place = f->place,
                        .placed = &f->placed};
    dfa *text = NULL;
    muga_status st = read_fold(f, schema, &q.fold);
    if (st == MUGA_OK && !words)
        st = grounded_text(s, &text);
    q.text = text;
    if (st == MUGA_OK && !words && !text && !q.integers && !q.fractions)
        st = front_refuse(f, schema, "from", "needs a pattern, format or enum, or a numeric type, to look for");
    if (st == MUGA_OK && source && f->place && !f->placed)
        f->place->source = (size_t)(source - f->options->sources);
    if (st == MUGA_OK && source)
        st = grounded_find(&q, source, &f->work, out, f->err);
    dfa_free(text);
    return st;
}

static muga_status note_missing(shape *s, uint32_t from) {
    front *f = s->f;
    if (f->grounding.status != MUGA_OK)
        return MUGA_OK; /* the first is named */
    const json_t *schema = s->all.e[from].schema;
    muga_error *keep = f->err;
    f->err = &f->grounding;
    (void)front_refuse(f, schema, json_get_string(schema, "from"),
                       "holds no value that fits: nothing the user wrote or a tool returned matches");
    f->grounding.status = MUGA_E_NEGATIVE;
    f->err = keep;
    return MUGA_OK;
}

muga_status values_collect(shape *s, json_t **out) {
    uint32_t lists = UINT32_MAX, from = UINT32_MAX;
    *out = NULL;
    for (uint32_t i = 0; i < s->all.n; i++) {
        const json_t *schema = s->all.e[i].schema;
        if (!shape_counts(s, i))
            continue;
        if (json_object_get(schema, "enum") && !json_is_array(json_object_get(schema, "enum")))
            return front_refuse(s->f, schema, "enum", "must be an array");
        if (lists == UINT32_MAX && (json_object_get(schema, "enum") || json_object_get(schema, "const")))
            lists = i;
        if (from == UINT32_MAX && json_object_get(schema, "from"))
            from = i;
    }
    if (lists == UINT32_MAX && from == UINT32_MAX)
        return MUGA_OK;
    json_t *made = NULL, *found = NULL;
    const json_t *candidates = lists != UINT32_MAX ? own_values(s->all.e[lists].schema, &made) : NULL;
    *out = json_array();
    muga_status st = *out && (candidates || lists == UINT32_MAX) ? MUGA_OK : error_nomem(s->f->err, "a schema");
    if (st == MUGA_OK && from != UINT32_MAX) {
        found = json_array();
        st = found ? find_grounded(s, from, candidates, found) : error_nomem(s->f->err, "a schema");
        candidates = found;
    }
    if (st == MUGA_OK)
        st = keep_fitting(s, lists, candidates, *out);
    if (st == MUGA_OK && from != UINT32_MAX && json_array_size(*out) == 0)
        st = note_missing(s, from);
    json_decref(made);
    json_decref(found);
    if (st != MUGA_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

/* ---- as edges ---- */

/* Written with ".0" it is read as a double, which must be the same number. */
static bool plain_integer(const json_t *v, span text) {
    if (!json_is_number(v) || !number_is_integer(v) || memchr(text.p, 'e', text.n))
        return false;
    json_int_t i = json_integer_value(v);
    return json_is_real(v) || (i < (json_int_t)1 << 62 && i > -((json_int_t)1 << 62) && (json_int_t)(double)i == i);
}

/* What no JSON text holds: where white space may stand, and where an integer may go on with ".0". */
#define MAY_SPACE '\x01'
#define MAY_POINT '\x02'

/* The texts of a value with the marks above, member by member. Recursion as deep as the JSON reader goes. */
static muga_status value_text(front *f, const json_t *v, str *out) {
    muga_status st = front_spend(f, 1);
    bool first = true;
    if (json_is_array(v)) {
        str_append_s(out, "[\x01");
        for (size_t i = 0; i < json_array_size(v) && st == MUGA_OK; i++) {
            str_append_s(out, i > 0 ? "\x01,\x01" : "");
            st = value_text(f, json_array_get(v, i), out);
        }
        str_append_s(out, "\x01]");
        return st;
    }
    if (json_is_object(v)) {
        str_append_s(out, "{\x01");
        void *it = json_object_iter(json_borrow(v));
        for (; it && st == MUGA_OK; it = json_object_iter_next(json_borrow(v), it), first = false) {
            str_append_s(out, first ? "" : "\x01,\x01");
            json_write_string(out, json_object_iter_key(it), json_object_iter_key_len(it));
            str_append_s(out, ":\x01");
            st = value_text(f, json_object_iter_value(it), out);
        }
        str_append_s(out, "\x01}");
        return st;
    }
    size_t at = out->len;
    json_write(v, out);
    if (!f->options->plain_integers && plain_integer(v, span_of(str_get(out) + at, out->len - at)))
        str_append_c(out, MAY_POINT);
    return st;
}

static uint32_t value_step(front *f, uint32_t from, char c) {
    uint32_t to;
    if (c == MAY_SPACE)
        return front_space(f, from);
    if (c != MAY_POINT)
        return graph_literal(&f->g, from, &c, 1);
    to = graph_node(&f->g);
    graph_empty(&f->g, from, to);
    graph_empty(&f->g, graph_literal(&f->g, from, ".0", 2), to);
    return to;
}

static int span_order(const void *x, const void *y) {
    const span *a = x, *b = y;
    int o = memcmp(a->p, b->p, MIN(a->n, b->n));
    return o ? o : a->n < b->n ? -1 : a->n > b->n;
}

/* from --any of the words--> to, as a trie; words are sorted in place. */
static void value_words(front *f, uint32_t from, span *words, size_t n, uint32_t to) {
    size_t longest = 0;
    for (size_t i = 0; i < n; i++)
        longest = MAX(longest, words[i].n);
    uint32_t *path = mem_alloc_array(longest + 1, sizeof *path); /* node behind the first k bytes of the last word */
    if (!path) {
        f->g.nomem = true;
        return;
    }
    qsort(words, n, sizeof *words, span_order);
    path[0] = from;
    for (size_t i = 0; i < n; i++) {
        size_t same = 0;
        while (i > 0 && same < words[i].n && same < words[i - 1].n && words[i].p[same] == words[i - 1].p[same])
            same++;
        if (i > 0 && same == words[i].n && same == words[i - 1].n)
            continue; /* a duplicate */
        for (size_t k = same; k < words[i].n; k++)
            path[k + 1] = value_step(f, path[k], words[i].p[k]);
        graph_empty(&f->g, path[words[i].n], to);
    }
    free(path);
}

/* As one trie, arrays and objects too: a choice among ten thousand is still one step a byte. */
muga_status values_build(shape *s, const json_t *values, uint32_t from, uint32_t to) {
    front *f = s->f;
    size_t n = json_array_size(values);
    str text = STR_INIT;
    size_t *offset = mem_alloc_array(n + 1, sizeof *offset);
    span *words = mem_alloc_array(n, sizeof *words);
    muga_status st = offset && words ? MUGA_OK : error_nomem(f->err, "a schema");
    for (size_t i = 0; i < n && st == MUGA_OK; i++) {
        offset[i] = text.len;
        st = value_text(f, json_array_get(values, i), &text);
    }
    if (st == MUGA_OK)
        st = str_status(&text, f->err, "a schema");
    if (st == MUGA_OK)
        st = front_spend(f, text.len + 1);
    if (st == MUGA_OK) {
        offset[n] = text.len;
        for (size_t i = 0; i < n; i++)
            words[i] = span_of(str_get(&text) + offset[i], offset[i + 1] - offset[i]);
        value_words(f, from, words, n, to);
    }
    str_release(&text);
    free(offset);
    free(words);
    return st;
}

static muga_status take_values(const json_t *subschema, const constrain_source *sources, size_t n_sources,
                               const json_t *wanted, constrain_place *place, json_t *out, muga_error *err) {
    constrain_options options = {.sources = sources, .n_sources = n_sources};
    muga_error own = {0};
    front_budget budget = FRONT_BUDGET;
    front f = {.root = subschema,
               .options = &options,
               .work = budget.work,
               .budget = &budget,
               .err = &own,
               .wanted = wanted,
               .place = place,
               .leaves = mem_alloc_array(LEAF_SLOTS, sizeof *f.leaves)};
    muga_status st = MUGA_OK;
    if (!f.leaves)
        st = error_nomem(&own, "grounded values");
    else if (!json_is_object(subschema) || !json_object_get(subschema, "from"))
        st = error_set(&own, MUGA_E_USAGE, "grounded values: the schema has no \"from\"");
    if (st == MUGA_OK)
        st = schema_index_init(&f.index, subschema, CONSTRAIN_DRAFT_AUTO, NULL, &own);
    shape s = {0};
    json_t *values = NULL;
    if (st == MUGA_OK) {
        element e = {subschema, 0, -1};
        goal x = {&e, 1, 0};
        st = shape_expand(&f, &x, &s);
        if (st == MUGA_OK && !s.impossible)
            st = values_collect(&s, &values);
        if (st == MUGA_OK && values && json_array_extend(out, values) != 0)
            st = error_nomem(&own, "grounded values");
        json_decref(values);
        goal_list_release(&s.all);
    }
    front_release(&f);
    if (st != MUGA_OK && err)
        *err = own;
    return st;
}

muga_status constrain_grounded_values(const json_t *subschema, const constrain_source *sources, size_t n_sources,
                                      json_t *out, muga_error *err) {
    return take_values(subschema, sources, n_sources, NULL, NULL, out, err);
}

muga_status constrain_grounded_place(const json_t *subschema, const json_t *value, const constrain_source *sources,
                                     size_t n_sources, constrain_place *out, muga_error *err) {
    constrain_place place = {.to = 0};
    json_t *values = json_array();
    bool taken = false;
    muga_status st = values ? take_values(subschema, sources, n_sources, value, &place, values, err)
                            : error_nomem(err, "grounded values");
    for (size_t i = 0; st == MUGA_OK && !taken && i < json_array_size(values); i++)
        taken = json_same(json_array_get(values, i), value);
    json_decref(values);
    *out = place;
    return st != MUGA_OK || taken ? st : error_set(err, MUGA_E_NEGATIVE, "the value stands in no text of its source");
}
