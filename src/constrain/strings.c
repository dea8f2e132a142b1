/* Strings of a schema as automata. Owns: patterns, formats and lengths put together. Refuses by name: what is no
 * pattern. Left to re-validation: formats that the drafts define and no pattern here covers, patterns that no automaton
 * can have.
 * Idea: every condition is an automaton over the decoded text and their product is the string; the escapes of JSON
 * come in when the product is written as edges. A length alone is a counted call of one character. */
#include "constrain/format.h"
#include "constrain/front.h"

uint32_t strings_plain_rule(front *f) {
    if (f->string_rule == NO_RULE) {
        f->string_rule = graph_rule(&f->g);
        dfa *any = NULL;
        muga_error ignored;
        uint64_t work = 1u << 16; /* a few states; whatever is left to the schema */
        if (dfa_any(&any, &work, &ignored) != MUGA_OK)
            f->g.nomem = true;
        if (!f->g.nomem && !f->g.too_large) {
            production r = f->g.rules[f->string_rule];
            uint32_t end = graph_node(&f->g);
            graph_json_dfa(&f->g, front_literal(f, r.start, "\""), any, false, end);
            graph_bytes(&f->g, end, '"', '"', r.end);
        }
        dfa_free(any);
    }
    return f->string_rule;
}

static uint32_t character_rule(front *f) {
    if (f->character_rule == NO_RULE) {
        f->character_rule = graph_rule(&f->g);
        if (!f->g.nomem && !f->g.too_large)
            graph_json_character(&f->g, f->g.rules[f->character_rule].start, f->g.rules[f->character_rule].end);
    }
    return f->character_rule;
}

muga_status strings_combine(front *f, dfa **all, dfa *one, dfa_op op) {
    if (!*all && op == DFA_AND) {
        *all = one;
        return MUGA_OK;
    }
    dfa *both = NULL;
    muga_status st = *all ? MUGA_OK : dfa_any(all, &f->work, f->err);
    if (st == MUGA_OK)
        st = dfa_combine(*all, one, op, &f->work, &both, f->err);
    dfa_free(*all);
    dfa_free(one);
    *all = both;
    return st;
}

muga_status strings_pattern(front *f, const char *p, size_t n, regex_mode mode, dfa **out, muga_error *why) {
    if (mode == REGEX_SEARCH && front_left_out(f, span_of(p, n)))
        return error_set(why, MUGA_E_LIMIT, "pattern: too large for an automaton");
    uint64_t half = f->work / 2, given = half;
    muga_status st = regex_compile(p, n, mode, &half, out, why);
    f->work -= given - half;
    return st;
}

static muga_status add_pattern(front *f, const json_t *schema, const char *keyword, const char *p, size_t n,
                               regex_mode mode, dfa_op op, dfa **all) {
    dfa *one = NULL;
    muga_error why = {0};
    muga_status st = strings_pattern(f, p, n, mode, &one, &why);
    if (st != MUGA_OK)
        return front_relax_pattern(f, schema, keyword, span_of(p, n), &why, false);
    return strings_combine(f, all, one, op);
}

static muga_status add_format(front *f, const json_t *schema, const char *name, dfa_op op, dfa **all) {
    bool known;
    const char *pattern = format_pattern(name, &known);
    if (f->options->note_formats)
        known = known && f->index.resources[schema_index_resource(&f->index, schema)].asserts_formats;
    if (!known && op == DFA_AND)
        return MUGA_OK; /* a name the drafts don't define, or a note */
    if (!known)
        pattern = "[^]*";
    if (!pattern) {
        char why[80];
        snprintf(why, sizeof why, "\"%.40s\" is no regular language", name);
        return front_relax(f, schema, "format", why, false);
    }
    dfa *one = NULL, *less = NULL, *limited = NULL;
    muga_status st = regex_compile(pattern, strlen(pattern), REGEX_WHOLE, &f->work, &one, f->err);
    pattern = format_unsure(name);
    if (st == MUGA_OK && pattern)
        st = front_relax(f, schema, "format", "\"hostname\" has labels that only IDNA can judge", false);
    if (st == MUGA_OK && pattern && op == DFA_AND_NOT) { /* what may be one isn't forbidden */
        st = regex_compile(pattern, strlen(pattern), REGEX_SEARCH, &f->work, &less, f->err);
        if (st == MUGA_OK)
            st = strings_combine(f, &one, less, DFA_AND_NOT);
    }
    if (st == MUGA_OK && format_max_bytes(name) != SIZE_MAX) {
        st = dfa_limit_length(one, 0, format_max_bytes(name), &f->work, &limited, f->err);
        dfa_free(one);
        one = limited;
    }
    if (st == MUGA_OK)
        return strings_combine(f, all, one, op);
    dfa_free(one);
    return st;
}

static muga_status exclude_words(front *f, const json_t *values, dfa **all) {
    span *words = mem_alloc_array(json_array_size(values), sizeof *words);
    size_t n = 0;
    if (!words)
        return error_nomem(f->err, "a schema");
    for (size_t k = 0; k < json_array_size(values); k++) {
        const json_t *v = json_array_get(values, k);
        if (json_is_string(v))
            words[n++] = span_of(json_string_value(v), json_string_length(v));
    }
    dfa *one = NULL;
    muga_status st = n ? dfa_of_literals(words, n, &f->work, &one, f->err) : MUGA_OK;
    free(words);
    return st == MUGA_OK && n ? strings_combine(f, all, one, DFA_AND_NOT) : st;
}

/* pattern and format of `schema`: they must hold, or (DFA_AND_NOT) must not. */
static muga_status add_keywords(front *f, const json_t *schema, dfa_op op, dfa **all) {
    const json_t *pattern = json_object_get(schema, "pattern");
    const char *format = json_get_string(schema, "format");
    muga_status st = MUGA_OK;
    if (pattern && !json_is_string(pattern))
        return front_refuse(f, schema, "pattern", "must be a string");
    if (pattern)
        st = add_pattern(f, schema, "pattern", json_string_value(pattern), json_string_length(pattern), REGEX_SEARCH,
                         op, all);
    return st == MUGA_OK && format ? add_format(f, schema, format, op, all) : st;
}

static muga_status add_conditions(shape *s, uint32_t i, dfa **all) {
    const json_t *opposite = shape_opposite(s, i);
    muga_status st = add_keywords(s->f, s->all.e[i].schema, DFA_AND, all);
    if (st == MUGA_OK && opposite)
        st = add_keywords(s->f, opposite, DFA_AND_NOT, all);
    if (st == MUGA_OK && opposite)
        st = exclude_words(s->f, json_object_get(opposite, "enum"), all);
    return st;
}

static muga_status limit_length(front *f, const json_t *schema, dfa **all, uint64_t min, uint64_t max) {
    uint64_t shortest, longest;
    dfa *limited;
    if (dfa_lengths(*all, &shortest, &longest) && shortest >= min && longest <= max)
        return MUGA_OK; /* the pattern says it already */
    muga_error why = {0};
    muga_status st = dfa_limit_length(*all, min, max, &f->work, &limited, &why);
    if (st == MUGA_E_LIMIT && f->work > 0) /* the pattern alone is decoded */
        return front_relax(f, schema, max != UINT64_MAX ? "maxLength" : "minLength", "is too long beside a pattern",
                           false);
    dfa_free(*all);
    *all = limited;
    return st == MUGA_OK ? st : error_set(f->err, st, "%s", why.message);
}

muga_status strings_add(front *f, const json_t *schema, dfa **all) {
    element one = {schema, 0, -1};
    const shape s = {.f = f, .all = {&one, 1, 1}};
    uint64_t min, max;
    muga_status st = shape_limit(&s, "minLength", false, &min);
    if (st == MUGA_OK)
        st = shape_limit(&s, "maxLength", true, &max);
    if (st == MUGA_OK)
        st = add_keywords(f, schema, DFA_AND, all);
    if (st == MUGA_OK && (min > 0 || max != UINT64_MAX) && !*all)
        st = dfa_any(all, &f->work, f->err);
    return st == MUGA_OK && (min > 0 || max != UINT64_MAX) ? limit_length(f, schema, all, min, max) : st;
}

muga_status strings_dfa(shape *s, dfa **out, bool *plain) {
    uint64_t min, max;
    *out = NULL;
    muga_status st = shape_limit(s, "minLength", false, &min);
    if (st == MUGA_OK)
        st = shape_limit(s, "maxLength", true, &max);
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++)
        if (shape_counts(s, i))
            st = add_conditions(s, i, out);
    bool limited = st == MUGA_OK && (min > 0 || max != UINT64_MAX);
    *plain = !*out && !limited;
    if (limited && !*out)
        st = dfa_any(out, &s->f->work, s->f->err);
    if (limited && st == MUGA_OK)
        st = limit_length(s->f, s->all.e[0].schema, out, min, max);
    if (st != MUGA_OK) {
        dfa_free(*out);
        *out = NULL;
    }
    return st;
}

muga_status strings_build(shape *s, uint32_t from, uint32_t to) {
    front *f = s->f;
    dfa *d = NULL;
    uint64_t min, max;
    muga_status st = shape_limit(s, "minLength", false, &min);
    if (st == MUGA_OK)
        st = shape_limit(s, "maxLength", true, &max);
    for (uint32_t i = 0; i < s->all.n && st == MUGA_OK; i++)
        if (shape_counts(s, i))
            st = add_conditions(s, i, &d);
    if (st == MUGA_OK && d)
        st = limit_length(f, s->all.e[0].schema, &d, min, max);
    if (st != MUGA_OK || min > max) {
        dfa_free(d);
        return st;
    }
    if (!d && min == 0 && max == UINT64_MAX) {
        graph_call(&f->g, from, strings_plain_rule(f), 1, 1, to);
        return MUGA_OK;
    }
    uint32_t open = front_literal(f, from, "\""), close = graph_node(&f->g);
    if (d)
        graph_json_dfa(&f->g, open, d, false, close);
    else
        graph_call(&f->g, open, character_rule(f), (uint32_t)MIN(min, (uint64_t)CALL_INF - 1),
                   max >= CALL_INF ? CALL_INF : (uint32_t)max, close);
    graph_bytes(&f->g, close, '"', '"', to);
    dfa_free(d);
    return MUGA_OK;
}
