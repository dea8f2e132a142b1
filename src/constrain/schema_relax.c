/* What no mask can say, and who says it then: the validator, over the whole answer. Owns: the note that an answer must
 * be validated. Refuses by name: keywords that not even that could enforce.
 *
 * Idea: a keyword that is left out makes the automaton take more texts, never fewer; so whatever the schema allows can
 * still be written, and what it doesn't is found before the answer leaves. Of unevaluated* most needs no validator:
 * which members and items a schema can evaluate at all stands in it, and without alternatives those are the ones that
 * it does evaluate. */
#include "base/hash.h"
#include "constrain/front.h"
#include "constrain/matcher.h"

#define MAX_EVALUATORS 256u /* schemas that one unevaluated* looks at */

/* jansson takes no const, and only counts. */
static json_t *shared(const json_t *v) {
    return json_borrow(v);
}

/* ---- leaving out ---- */

/* A "from" that could be a keyword stands anywhere in v. Recursion as deep as the JSON reader goes. */
static bool mentions_from(const json_t *v) {
    bool found = json_get_string(v, "from") != NULL;
    for (size_t i = 0; !found && json_is_array(v) && i < json_array_size(v); i++)
        found = mentions_from(json_array_get(v, i));
    void *it = !found && json_is_object(v) ? json_object_iter(shared(v)) : NULL;
    for (; it && !found; it = json_object_iter_next(shared(v), it))
        found = mentions_from(json_object_iter_value(it));
    return found;
}

muga_status front_relax(front *f, const json_t *schema, const char *keyword, const char *why, bool subschemas) {
    if (subschemas && (mentions_from(f->root) || mentions_from(f->options->documents)))
        return front_refuse(
            f, schema, keyword,
            "can't be enforced while decoding, nor afterwards beside \"from\", which validation ignores");
    f->n_relaxed++;
    if (f->recheck.status != MUGA_OK)
        return MUGA_OK;
    muga_error *err = f->err;
    f->err = &f->recheck;
    (void)front_refuse(f, schema, keyword, why);
    f->err = err;
    return MUGA_OK;
}

bool front_left_out(const front *f, span pattern) {
    const front_budget *b = f->budget;
    uint64_t h = b->n_left > 0 ? hash64(pattern.p, pattern.n, 1) : 0;
    for (uint32_t i = 0; i < b->n_left; i++)
        if (b->left[i] == h)
            return true;
    return false;
}

/* The validator can evaluate the pattern. One that is too large counts once, however many schemas have it. */
static muga_status check_pattern(front *f, span pattern, bool large, muga_error *err) {
    front_budget *b = f->budget;
    if (front_left_out(f, pattern))
        return MUGA_OK;
    muga_status st = matcher_can(pattern.p, pattern.n, REGEX_SEARCH, &b->checks, err);
    if (st == MUGA_OK && large && b->n_left < FRONT_MAX_LEFT)
        b->left[b->n_left++] = hash64(pattern.p, pattern.n, 1);
    return st;
}

muga_status front_relax_pattern(front *f, const json_t *schema, const char *keyword, span pattern,
                                const muga_error *reason, bool subschemas) {
    muga_error other = {0};
    char text[160];
    muga_status st = reason->status;
    if (st != MUGA_E_INPUT && st != MUGA_E_LIMIT)
        return error_set(f->err, st, "%s", reason->message);
    snprintf(text, sizeof text, "\"%.60s\": %.90s", pattern.p, reason->message);
    if (f->work > 0 && check_pattern(f, pattern, st == MUGA_E_LIMIT, &other) == MUGA_OK)
        return front_relax(f, schema, keyword, text, subschemas);
    if (other.status == MUGA_E_NOMEM)
        return error_nomem(f->err, "a pattern");
    (void)front_refuse(f, schema, keyword, text);
    f->err->status = st;
    return st;
}

/* ---- unevaluated ---- */

/* What the schemas that share a value with x can evaluate of it. */
typedef struct evaluators {
    front *f;
    const json_t *seen[MAX_EVALUATORS];
    bool maybe[MAX_EVALUATORS]; /* it holds only of some values */
    uint32_t n;
    json_t *properties, *patterns; /* key -> true */
    size_t n_prefix;
    bool members, items; /* false: only those; true: any */
    bool inexact;        /* more than what is evaluated for sure */
    bool nomem;
} evaluators;

static void look_at(evaluators *e, const json_t *x, bool maybe) {
    for (uint32_t i = 0; i < e->n; i++)
        if (e->seen[i] == x && e->maybe[i] <= maybe)
            return;
    if (!json_is_object(x))
        return;
    if (e->n == MAX_EVALUATORS) {
        e->members = e->items = e->inexact = true;
        return;
    }
    e->maybe[e->n] = maybe;
    e->seen[e->n++] = x;
}

/* What the element at - 1 looks at comes right behind it, as in the schema. */
static void move_behind(evaluators *e, uint32_t at, uint32_t n) {
    const json_t *seen[MAX_EVALUATORS];
    bool maybe[MAX_EVALUATORS];
    uint32_t n_new = e->n - n;
    memcpy(seen, e->seen + n, n_new * sizeof *seen);
    memcpy(maybe, e->maybe + n, n_new);
    memmove(e->seen + at + n_new, e->seen + at, (n - at) * sizeof *seen);
    memmove(e->maybe + at + n_new, e->maybe + at, n - at);
    memcpy(e->seen + at, seen, n_new * sizeof *seen);
    memcpy(e->maybe + at, maybe, n_new);
}

static void look_at_all(evaluators *e, const json_t *list, bool maybe) {
    for (size_t i = 0; i < json_array_size(list); i++)
        look_at(e, json_array_get(list, i), maybe);
}

static muga_status look_beyond(evaluators *e, const json_t *x, bool maybe, bool draft7) {
    for (schema_ref_kind k = SCHEMA_REF; k <= (draft7 ? SCHEMA_REF : SCHEMA_DYNAMIC_REF); k++) {
        const json_t *target;
        bool open;
        muga_status st = front_follow(e->f, x, k, &target, &open);
        if (st != MUGA_OK)
            return st;
        if (open)
            e->members = e->items = e->inexact = true;
        look_at(e, target, maybe);
    }
    if (logic_only_ref(e->f, x))
        return MUGA_OK;
    look_at_all(e, json_object_get(x, "allOf"), maybe);
    look_at_all(e, json_object_get(x, "anyOf"), true);
    look_at_all(e, json_object_get(x, "oneOf"), true);
    static const char *const branches[] = {"if", "then", "else"};
    for (size_t i = 0; i < ARRAY_LEN(branches) && json_object_get(x, "if"); i++)
        look_at(e, json_object_get(x, branches[i]), true);
    static const char *const dependent[] = {"dependentSchemas", "dependencies"};
    for (size_t i = 0; i < ARRAY_LEN(dependent); i++) {
        const json_t *v = json_object_get(x, dependent[i]);
        void *it = json_is_object(v) ? json_object_iter(shared(v)) : NULL;
        for (; it; it = json_object_iter_next(shared(v), it))
            look_at(e, json_object_iter_value(it), true);
    }
    return MUGA_OK;
}

static void add_keys(evaluators *e, const json_t *of, json_t *to, bool maybe) {
    void *it = json_is_object(of) ? json_object_iter(shared(of)) : NULL;
    for (; it; it = json_object_iter_next(shared(of), it)) {
        const char *key = json_object_iter_key(it);
        size_t n = json_object_iter_key_len(it);
        if (json_object_getn(to, key, n))
            continue; /* what is evaluated for sure comes first */
        e->inexact |= maybe;
        e->nomem |= json_object_setn_new(to, key, n, json_true()) != 0;
    }
}

static void evaluate(evaluators *e, const json_t *x, bool outermost, bool maybe, bool draft7) {
    const json_t *items = json_object_get(x, "items"), *prefix = json_object_get(x, "prefixItems");
    bool list = json_is_array(items);
    if (list) {
        prefix = items;
        items = json_object_get(x, "additionalItems");
    } else if (json_is_object(prefix) && !items) {
        items = prefix; /* as arrays read it (schema_array.c) */
    }
    add_keys(e, json_object_get(x, "properties"), e->properties, maybe);
    add_keys(e, json_object_get(x, "patternProperties"), e->patterns, maybe);
    if (json_object_get(x, "additionalProperties") || (!outermost && json_object_get(x, "unevaluatedProperties"))) {
        e->inexact |= maybe && !e->members;
        e->members = true;
    }
    if (items || (!outermost && json_object_get(x, "unevaluatedItems"))) {
        e->inexact |= maybe && !e->items;
        e->items = true;
    }
    if (json_object_get(x, "contains") && !draft7 && !e->items)
        e->items = e->inexact = true; /* evaluates the items that fit it, wherever they stand */
    if (json_array_size(prefix) > e->n_prefix) {
        e->inexact |= maybe;
        e->n_prefix = json_array_size(prefix);
    }
}

static bool is_draft7(const evaluators *e, uint32_t i) {
    return schema_index_is_draft7(&e->f->index, schema_index_resource(&e->f->index, e->seen[i]));
}

/* First all that holds for sure, then what may: so that only what the latter adds is inexact. */
static muga_status collect_evaluators(evaluators *e, const json_t *x) {
    muga_status st = MUGA_OK;
    look_at(e, x, false);
    for (uint32_t i = 0; i < e->n && st == MUGA_OK; i++) {
        uint32_t n = e->n;
        st = front_spend(e->f, 10 + n);
        if (st == MUGA_OK)
            st = look_beyond(e, e->seen[i], e->maybe[i], is_draft7(e, i));
        move_behind(e, i + 1, n);
    }
    for (int maybe = 0; maybe <= 1; maybe++)
        for (uint32_t i = 0; i < e->n && st == MUGA_OK; i++)
            if (e->maybe[i] == maybe && !logic_only_ref(e->f, e->seen[i]))
                evaluate(e, e->seen[i], i == 0, maybe, is_draft7(e, i));
    return st == MUGA_OK && e->nomem ? error_nomem(e->f->err, "a schema") : st;
}

static json_t *nothing_more(const evaluators *e, const json_t *members, const json_t *items) {
    json_t *made = json_object();
    bool ok = made != NULL;
    if (ok && members && !e->members)
        ok = json_object_set(made, "properties", e->properties) == 0 &&
             json_object_set(made, "patternProperties", e->patterns) == 0 &&
             json_object_set(made, "additionalProperties", shared(members)) == 0;
    if (ok && items && !e->items) {
        json_t *prefix = json_array();
        ok = prefix != NULL;
        for (size_t i = 0; ok && i < e->n_prefix; i++)
            ok = json_array_append_new(prefix, json_true()) == 0;
        ok = ok && json_object_set(made, "prefixItems", prefix) == 0 &&
             json_object_set(made, "items", shared(items)) == 0;
        json_decref(prefix);
    }
    if (!ok) {
        json_decref(made);
        made = NULL;
    }
    return made;
}

muga_status relax_unevaluated(front *f, const json_t *x, const json_t **out) {
    const json_t *members = json_object_get(x, "unevaluatedProperties"),
                 *items = json_object_get(x, "unevaluatedItems");
    *out = NULL;
    members = json_is_true(members) ? NULL : members;
    items = json_is_true(items) ? NULL : items;
    if ((!members && !items) || schema_index_is_draft7(&f->index, schema_index_resource(&f->index, x)))
        return MUGA_OK;
    struct negation *made;
    muga_status st = opposite_note(f, x, &made);
    if (st != MUGA_OK || made->limit) {
        *out = st == MUGA_OK ? made->limit : NULL;
        return st;
    }
    evaluators *e = mem_alloc_array(1, sizeof *e);
    if (!e)
        return error_nomem(f->err, "a schema");
    e->f = f;
    e->properties = json_object();
    e->patterns = json_object();
    st = e->properties && e->patterns ? collect_evaluators(e, x) : error_nomem(f->err, "a schema");
    if (st == MUGA_OK && e->inexact)
        st = front_relax(f, x, members ? "unevaluatedProperties" : "unevaluatedItems",
                         "depends on which alternatives hold, which is known only of the whole value", true);
    if (st == MUGA_OK)
        st = front_keep(f, nothing_more(e, members, items), out);
    if (st == MUGA_OK)
        st = opposite_note(f, x, &made); /* the table may have grown */
    if (st == MUGA_OK)
        made->limit = *out;
    json_decref(e->properties);
    json_decref(e->patterns);
    free(e);
    return st;
}

/* ---- the whole answer ---- */

const char *constrain_rechecks(const constrain_grammar *g) {
    return g->rechecks[0] ? g->rechecks : NULL;
}

muga_status constrain_recheck(const constrain_grammar *g, const char *text, size_t n, muga_error *err) {
    constrain_validate_options o = {.draft = g->draft, .formats = !g->note_formats, .documents = g->documents};
    json_t *v = NULL;
    if (g->embedded && g->rechecks[0])
        return error_set(err, MUGA_E_USAGE, "the values in an answer are validated by their own schemas");
    if (!g->schema)
        return MUGA_OK;
    muga_status st = json_parse(text, n, "the answer", &v, err);
    if (st == MUGA_OK)
        st = constrain_validate(g->schema, v, &o, err);
    json_decref(v);
    return st;
}
