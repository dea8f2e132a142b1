/* Values for slots. The automaton that masks a model's tokens is walked by lot, so a value is valid by construction
 * whatever its schema says; how people write it is another matter, tried here and checked where it is filled in. */
#include "agent/synth_internal.h"

#define MAX_VALUE 64u

/* A value that can be made up without knowing the world: its form says all. */
static bool is_made(const json_t *schema) {
    const char *type = json_get_string(schema, "type"), *format = json_get_string(schema, "format");
    return json_object_get(schema, "enum") || json_object_get(schema, "const") || json_object_get(schema, "pattern") ||
           (type && (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0)) ||
           (format && (strcmp(format, "date") == 0 || strcmp(format, "uuid") == 0));
}

/* Without what the agent's executor adds to JSON Schema; numbers within what people say. New; NULL: out of memory. */
static json_t *schema_of_values(const json_t *schema) {
    const char *type = json_get_string(schema, "type");
    json_t *o = json_clone(schema);
    static const char *const ours[] = {"from", "fold", "normalise"};
    for (size_t i = 0; o && i < ARRAY_LEN(ours); i++)
        (void)json_object_del(o, ours[i]);
    bool number = type && (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0);
    if (!o || !number || json_object_get(o, "enum") || json_object_get(o, "const"))
        return o;
    double least = json_get_number(o, "minimum", 1);
    bool ok = json_object_set_new(o, "type", json_string("integer")) == 0;
    if (!json_object_get(o, "minimum") && !json_object_get(o, "exclusiveMinimum"))
        ok = ok && json_object_set_new(o, "minimum", json_integer(1)) == 0;
    if (!json_object_get(o, "maximum") && !json_object_get(o, "exclusiveMaximum"))
        ok = ok && json_object_set_new(o, "maximum", json_integer((json_int_t)MIN(MAX(least, 0), 1e15) + 999)) == 0;
    if (!ok) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static muga_status add(const intent_label *l, const char *name, synth_slots *out, muga_error *err) {
    const json_t *schema = json_object_get(json_object_get(l->tool->parameters, "properties"), name);
    if (out->n == SYNTH_MAX_SLOTS)
        return error_set(err, MUGA_E_LIMIT, "tool %.60s needs more than %u parameters", l->tool->name, SYNTH_MAX_SLOTS);
    synth_slot *s = &out->list[out->n++];
    s->p = (synth_parameter){name, schema, is_made(schema)};
    if (!s->p.slot)
        return MUGA_OK;
    json_t *of = schema_of_values(schema);
    muga_status st = of ? constrain_compile_schema(of, NULL, &s->grammar, err) : error_nomem(err, "a schema");
    json_decref(of);
    return st;
}

muga_status synth_slots_init(const intent_label *l, synth_slots *out, muga_error *err) {
    *out = (synth_slots){.n = 0};
    const json_t *required = l->tool ? json_object_get(l->tool->parameters, "required") : NULL;
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < json_array_size(required) && !st; i++)
        st = add(l, json_string_value(json_array_get(required, i)), out, err);
    return st;
}

void synth_slots_release(synth_slots *s) {
    for (size_t i = 0; i < s->n; i++)
        constrain_grammar_free(s->list[i].grammar);
    *s = (synth_slots){.n = 0};
}

/* One more character of those that may come: *more false when none may. */
static muga_status step(constrain_state *state, rng *r, str *text, bool *more, muga_error *err) {
    char may[96];
    uint32_t n = 0;
    for (char c = ' '; c < 0x7F; c++) {
        constrain_state *next = NULL;
        bool accepted = false;
        if (c == '\\')
            continue;
        muga_status st = constrain_state_copy(state, &next, err);
        if (!st)
            st = constrain_advance(next, &c, 1, &accepted, err);
        constrain_state_free(next);
        if (st)
            return st;
        if (accepted)
            may[n++] = c;
    }
    *more = n > 0;
    if (n == 0)
        return MUGA_OK;
    char c = may[rng_below(r, n)];
    str_append_c(text, c);
    bool accepted;
    return constrain_advance(state, &c, 1, &accepted, err);
}

static muga_status walk(const synth_slot *s, rng *r, str *text, bool *whole, muga_error *err) {
    constrain_state *state = NULL;
    muga_status st = constrain_state_new(s->grammar, &state, err);
    bool more = true;
    while (!st && more && text->len < MAX_VALUE) {
        if (constrain_is_complete(state) && (!constrain_can_continue(state) || rng_below(r, 2)))
            break;
        st = step(state, r, text, &more, err);
    }
    *whole = !st && constrain_is_complete(state);
    constrain_state_free(state);
    return st ? st : str_status(text, err, "a value");
}

muga_status synth_slot_make(const synth_slot *s, rng *r, json_t **out, muga_error *err) {
    muga_status st = MUGA_OK;
    bool whole = false;
    str text = STR_INIT;
    for (int i = 0; i < 20 && !st && !whole; i++) {
        str_clear(&text);
        st = walk(s, r, &text, &whole, err);
    }
    if (!st && !whole)
        st = error_set(err, MUGA_E_INPUT, "no value of at most %u characters was found for the parameter %.60s",
                       MAX_VALUE, s->p.name);
    if (!st)
        st = json_parse(str_get(&text), text.len, "a value", out, err);
    str_release(&text);
    return st;
}

/* ---- ways to write it ---- */

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void synth_slot_write(const json_t *value, uint32_t way, str *out) {
    if (!json_is_string(value)) {
        json_write(value, out);
        return;
    }
    const char *p = json_string_value(value);
    size_t n_letters = 0;
    while (is_letter(p[n_letters]))
        n_letters++;
    if (way == 2)
        str_append_c(out, '#');
    for (size_t i = 0; p[i]; i++) {
        char c = p[i];
        if (i == n_letters && i > 0 && (way == 3 || way == 4))
            str_append_c(out, way == 3 ? '-' : ' ');
        if (way == 5 && i < n_letters)
            continue;
        str_append_c(out, (char)(way == 1 && c >= 'A' && c <= 'Z' ? c + 32 : c));
    }
}
