/* A text's slots become values, its labels calls. In whatever way the values are written, the filled text must give
 * them back by the rules of grounded values; where it doesn't, they are written as they are. */
#include "agent/synth_internal.h"

#include "agent/normalise.h"

#define MAX_NAME 64u

typedef struct place {
    char name[MAX_NAME]; /* of the parameter */
    uint32_t turn;       /* {order_id} 0, {order_id2} 1, ... */
    size_t label, slot;
    json_t *value;
} place;

typedef struct filling {
    const intent *x;
    const synth_slots *slots;
    const synth_message *m;
    place places[SYNTH_MAX_SLOTS];
    size_t n;
} filling;

void synth_filled_release(synth_filled *f) {
    str_release(&f->text);
    for (size_t i = 0; i < f->n_calls; i++)
        json_decref(f->calls[i].arguments);
    *f = (synth_filled){.n_calls = 0};
}

/* ---- which slots there are ---- */

static bool find_in(const synth_slots *s, const char *name, size_t label, place *out) {
    for (size_t k = 0; k < s->n; k++)
        if (s->list[k].p.slot && strcmp(s->list[k].p.name, name) == 0) {
            out->label = label;
            out->slot = k;
            return true;
        }
    return false;
}

/* The parameter of that name: of the message's labels, or of another's, whose value is said here but calls nothing. */
static bool find_slot(const filling *f, const char *name, place *out) {
    for (size_t i = 0; i < f->m->n_labels; i++)
        if (find_in(&f->slots[f->m->labels[i]], name, f->m->labels[i], out))
            return true;
    for (size_t l = 0; l < intent_n_labels(f->x); l++)
        if (find_in(&f->slots[l], name, l, out))
            return true;
    return false;
}

/* "order_id2" is order_id, the second time, unless a parameter is called so. */
static bool read_slot(const filling *f, const char *p, size_t n, place *out) {
    if (n == 0 || n >= MAX_NAME)
        return false;
    memcpy(out->name, p, n);
    out->name[n] = 0;
    out->turn = 0;
    if (find_slot(f, out->name, out))
        return true;
    if (p[n - 1] < '2' || p[n - 1] > '9')
        return false;
    out->turn = (uint32_t)(p[n - 1] - '1');
    out->name[n - 1] = 0;
    return find_slot(f, out->name, out);
}

/* false: it isn't fit. */
static bool find_places(filling *f) {
    const char *p = f->m->text, *end = p + f->m->n;
    for (; p < end; p++) {
        if (*p == '}')
            return false;
        if (*p != '{')
            continue;
        const char *close = memchr(p, '}', (size_t)(end - p));
        if (!close || f->n == SYNTH_MAX_SLOTS || !read_slot(f, p + 1, (size_t)(close - p - 1), &f->places[f->n]))
            return false;
        for (size_t i = 0; i < f->n; i++) /* said twice: one value */
            if (f->places[i].turn == f->places[f->n].turn && f->places[i].slot == f->places[f->n].slot &&
                f->places[i].label == f->places[f->n].label)
                return false;
        f->n++;
        p = close;
    }
    return true;
}

/* Each value that a tool needs is there, once a call, or none is where it is missing. */
static bool is_whole(const filling *f) {
    for (size_t i = 0; i < f->m->n_labels; i++) {
        const synth_slots *s = &f->slots[f->m->labels[i]];
        uint32_t turns = 0; /* those of the first slot; the others must have the same */
        for (size_t k = 0; k < s->n; k++) {
            uint32_t have = 0;
            for (size_t j = 0; j < f->n; j++)
                if (f->places[j].label == f->m->labels[i] && f->places[j].slot == k)
                    have |= 1u << f->places[j].turn;
            if (!s->list[k].p.slot) {
                if (!f->m->missing && !json_object_get(f->m->values, s->list[k].p.name))
                    return false;
                continue;
            }
            if (f->m->missing ? have != 0 : have == 0 || (have & (have + 1)) != 0 || (turns && turns != have))
                return false;
            turns = have;
        }
    }
    return true;
}

/* ---- writing and checking ---- */

static void write_text(const filling *f, const uint32_t *ways, str *out) {
    const char *p = f->m->text, *end = p + f->m->n;
    size_t i = 0;
    while (p < end) {
        if (*p != '{') {
            str_append_c(out, *p++);
            continue;
        }
        synth_slot_write(f->places[i].value, ways[i], out);
        i++;
        p = (const char *)memchr(p, '}', (size_t)(end - p)) + 1;
    }
}

/* What the executor would look in: the text, and the values that ways of writing stand for. */
typedef struct said {
    json_t *derived;
    span texts[64];
    constrain_source source;
} said;

static muga_status said_init(const filling *f, const str *text, said *out, muga_error *err) {
    *out = (said){.derived = json_array()};
    size_t n = 0;
    out->texts[n++] = span_of(str_get(text), text->len);
    muga_status st = out->derived
                         ? normaliser_values(intent_normaliser(f->x), str_get(text), text->len, out->derived, err)
                         : error_nomem(err, "a text's values");
    for (size_t i = 0; !st && i < json_array_size(out->derived) && n < ARRAY_LEN(out->texts); i++) {
        const json_t *v = json_array_get(out->derived, i);
        out->texts[n++] = span_of(json_string_value(v), json_string_length(v));
    }
    out->source = (constrain_source){"conversation", out->texts, n};
    return st;
}

static bool is_grounded(const json_t *schema) {
    const char *from = json_get_string(schema, "from");
    return from && strcmp(from, "conversation") == 0;
}

/* Does the text give this value back? */
static muga_status is_said(const said *in, const json_t *schema, const json_t *value, bool *yes, muga_error *err) {
    constrain_place where;
    muga_status st = MUGA_OK;
    if (is_grounded(schema))
        st = constrain_grounded_place(schema, value, &in->source, 1, &where, err);
    else if (json_get_string(schema, "from")) /* only a tool can say it */
        st = MUGA_E_NEGATIVE;
    else if (json_is_string(value))
        st = strcasestr(in->texts[0].p, json_string_value(value)) ? MUGA_OK : MUGA_E_NEGATIVE;
    *yes = st == MUGA_OK;
    return st == MUGA_E_NEGATIVE ? MUGA_OK : st;
}

/* No other value for the parameter of one of the message's labels stands there: the call would be in doubt, or what is
 * missing wouldn't be. */
static muga_status no_other(const filling *f, const said *in, size_t label, size_t k, bool *yes, muga_error *err) {
    const json_t *schema = f->slots[label].list[k].p.schema;
    json_t *values = json_array();
    if (!values)
        return error_nomem(err, "a text's values");
    muga_status st = is_grounded(schema) && f->slots[label].list[k].p.slot
                         ? constrain_grounded_values(schema, &in->source, 1, values, err)
                         : MUGA_OK;
    for (size_t i = 0; i < json_array_size(values) && *yes; i++) {
        bool meant = false;
        for (size_t j = 0; j < f->n; j++)
            meant = meant || (f->places[j].label == label && f->places[j].slot == k &&
                              json_equal(f->places[j].value, json_array_get(values, i)));
        *yes = meant;
    }
    json_decref(values);
    return st == MUGA_E_NEGATIVE ? MUGA_OK : st;
}

static muga_status check_label(const filling *f, const said *in, size_t label, bool *yes, muga_error *err) {
    const synth_slots *s = &f->slots[label];
    muga_status st = MUGA_OK;
    for (size_t k = 0; k < s->n && *yes && !st; k++) {
        const json_t *v = s->list[k].p.slot || f->m->missing ? NULL : json_object_get(f->m->values, s->list[k].p.name);
        if (v)
            st = is_said(in, s->list[k].p.schema, v, yes, err);
        if (!st && *yes)
            st = no_other(f, in, label, k, yes, err);
    }
    return st;
}

static muga_status all_said(const filling *f, const str *text, bool *yes, muga_error *err) {
    said in;
    muga_status st = said_init(f, text, &in, err);
    *yes = !st;
    for (size_t i = 0; i < f->n && *yes && !st; i++)
        st = is_said(&in, f->slots[f->places[i].label].list[f->places[i].slot].p.schema, f->places[i].value, yes, err);
    for (size_t i = 0; i < f->m->n_labels && *yes && !st; i++)
        st = check_label(f, &in, f->m->labels[i], yes, err);
    json_decref(in.derived);
    return st;
}

static muga_status make_values(filling *f, rng *r, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < f->n && !st; i++)
        st = synth_slot_make(&f->slots[f->places[i].label].list[f->places[i].slot], r, &f->places[i].value, err);
    return st;
}

static muga_status write_checked(const filling *f, rng *r, synth_filled *out, bool *fits, muga_error *err) {
    uint32_t ways[SYNTH_MAX_SLOTS] = {0};
    static const uint32_t often[] = {0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 5};
    for (size_t i = 0; i < f->n; i++)
        ways[i] = often[rng_below(r, ARRAY_LEN(often))];
    for (int plain = 0; plain < 2; plain++) {
        str_clear(&out->text);
        if (plain)
            memset(ways, 0, sizeof ways);
        write_text(f, ways, &out->text);
        muga_status st = str_status(&out->text, err, "a text");
        if (!st)
            st = all_said(f, &out->text, fits, err);
        if (st || *fits)
            return st;
    }
    return MUGA_OK;
}

/* ---- calls ---- */

static muga_status add_call(const filling *f, size_t label, uint32_t turn, synth_filled *out, muga_error *err) {
    const synth_slots *s = &f->slots[label];
    json_t *a = json_object();
    bool ok = a && out->n_calls < SYNTH_MAX_SLOTS;
    for (size_t k = 0; ok && k < s->n; k++) {
        const json_t *v = s->list[k].p.slot ? NULL : json_object_get(f->m->values, s->list[k].p.name);
        for (size_t i = 0; i < f->n; i++)
            if (f->places[i].label == label && f->places[i].slot == k && f->places[i].turn == turn)
                v = f->places[i].value;
        ok = json_object_set_new(a, s->list[k].p.name, json_clone(v)) == 0;
    }
    if (!ok) {
        json_decref(a);
        return error_nomem(err, "a call");
    }
    out->calls[out->n_calls++] = (synth_call){label, a};
    return MUGA_OK;
}

/* In the message's order of labels, and then of turns. */
static muga_status make_calls(const filling *f, synth_filled *out, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < f->m->n_labels && !st; i++) {
        size_t label = f->m->labels[i];
        uint32_t n_turns = 1;
        if (intent_get_label(f->x, label)->act != ACT_TOOL || (f->m->missing && f->slots[label].n > 0))
            continue;
        for (size_t k = 0; k < f->n; k++)
            n_turns = f->places[k].label == label ? MAX(n_turns, f->places[k].turn + 1) : n_turns;
        for (uint32_t t = 0; t < n_turns && !st; t++)
            st = add_call(f, label, t, out, err);
    }
    return st;
}

muga_status synth_fill(const intent *x, const synth_slots *slots, const synth_message *m, rng *r, synth_filled *out,
                       bool *fits, muga_error *err) {
    filling f = {.x = x, .slots = slots, .m = m};
    *out = (synth_filled){.n_calls = 0};
    *fits = m->n > 0 && m->n <= SYNTH_MAX_TEXT && find_places(&f) && is_whole(&f);
    muga_status st = MUGA_OK;
    if (*fits)
        st = make_values(&f, r, err);
    if (!st && *fits)
        st = write_checked(&f, r, out, fits, err);
    if (!st && *fits)
        st = make_calls(&f, out, err);
    for (size_t i = 0; i < f.n; i++)
        json_decref(f.places[i].value);
    return st;
}
