/* Rules and observations (rules.h). Owns: compiling them, trying a condition, computing values. Refuses, by line: what
 * doesn't compile, a tool or a part of the state that isn't there, two consequences, a condition that nothing can meet.
 *
 * Idea: a condition that can't be told (a member that isn't there, a comparison without an order) is an error and not
 * a no. What to do then is the loop's to say; passing a rule over in silence would be a decision nobody took. */
#include "agent/rules.h"

#include <stdio.h>

typedef struct observation {
    const char *name; /* or NULL */
    observe_event event;
    const char *tool;       /* OBSERVE_TOOL */
    const json_t *outcomes; /* OBSERVE_TOOL: names; NULL: finished */
    template_expression *when;
    rule_value *sets;
    size_t n_sets;
} observation;

struct rules {
    rule *list;
    size_t n;
    observation *observations;
    size_t n_observations;
};

typedef struct compiler {
    const check_place *at;
    const manifest *m;
    muga_error *err;
} compiler;

static muga_status fail_at(const compiler *c, const char *pointer, const char *what) {
    return check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "%s", what);
}

/* A lower part's message, with the place before it. */
static muga_status place_at(const compiler *c, muga_status st, const char *pointer) {
    if (st == MUGA_OK || st == MUGA_E_NOMEM || !c->err) {
        return st;
    }
    char text[256];
    snprintf(text, sizeof text, "%s", c->err->message);
    return check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "%s", text);
}

static muga_status compile_expression(const compiler *c, const char *source, const char *pointer,
                                      template_expression **out) {
    return source ? place_at(c, template_expression_compile(source, out, c->err), pointer) : MUGA_OK;
}

/* ---- rules ---- */

static const struct {
    const char *key;
    rule_act act;
} acts[] = {{"tool", RULE_TOOL}, {"escalate", RULE_ESCALATE}, {"refuse", RULE_REFUSE},
            {"ask", RULE_ASK},   {"nothing", RULE_NOTHING},   {"answer", RULE_ANSWER}};

/* One consequence; `answer` beside a tool is what is said of its result. */
static muga_status read_act(const compiler *c, const json_t *spec, const char *pointer, rule *r) {
    const char *words = NULL, *key = NULL;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        const json_t *v = json_object_get(spec, acts[i].key);
        if (v && key && !(acts[i].act == RULE_ANSWER && r->act == RULE_TOOL)) {
            return check_fail(c->at, MUGA_E_INPUT, pointer, c->err,
                              "a rule has one consequence, and this one has %s and %s; make two of it", key,
                              acts[i].key);
        }
        if (v) {
            r->act = key ? r->act : acts[i].act;
            key = key ? key : acts[i].key;
            words = acts[i].act == RULE_TOOL ? NULL : json_string_value(v);
        }
    }
    if (!key) {
        return fail_at(c, pointer, "a rule needs one of tool, answer, ask, escalate, refuse, or nothing: true");
    }
    if (r->act == RULE_TOOL) {
        r->tool = manifest_tool_find(c->m, json_get_string(spec, "tool"));
        if (!r->tool) {
            return check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "no tool is called %.60s",
                              json_get_string(spec, "tool"));
        }
    }
    static const char *const of_tools[] = {"arguments", "held", "denied", "failed"};
    for (size_t i = 0; r->act != RULE_TOOL && i < ARRAY_LEN(of_tools); i++) {
        if (json_object_get(spec, of_tools[i])) {
            return check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "%s belongs to a rule with a tool", of_tools[i]);
        }
    }
    return words ? place_at(c, template_compile(words, strlen(words), &r->words, c->err), pointer) : MUGA_OK;
}

/* {name: expression as text, or a literal of another type}. */
static muga_status read_arguments(const compiler *c, const json_t *spec, const char *pointer, rule *r) {
    json_t *arguments = json_object_get(spec, "arguments"), *v;
    const json_t *known = r->tool ? json_object_get(r->tool->parameters, "properties") : NULL;
    const char *name;
    r->arguments = mem_alloc_array(json_object_size(arguments), sizeof *r->arguments);
    muga_status st = r->arguments ? MUGA_OK : error_nomem(c->err, "arguments");
    json_object_foreach(arguments, name, v) {
        if (st == MUGA_OK && !json_object_get(known, name)) {
            st = check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "%s has no parameter %.60s", r->tool->name, name);
        }
        if (st == MUGA_OK) {
            rule_value *x = &r->arguments[r->n_arguments++];
            *x = (rule_value){.name = name, .literal = v};
            st = compile_expression(c, json_string_value(v), pointer, &x->to);
        }
    }
    return st;
}

static muga_status read_condition(const compiler *c, const json_t *spec, const char *pointer, rule *r) {
    const char *match = json_get_string(spec, "match"), *in = json_get_string(spec, "in"),
               *on = json_get_string(spec, "on");
    r->intent = json_get_string(spec, "intent");
    r->on_message = on ? strcmp(on, "message") == 0 : r->intent || (match && !in) || !c->m->percept;
    if (in && !match) {
        return fail_at(c, pointer, "in says where match looks; add match, or remove it");
    }
    if (!r->on_message && !c->m->percept) {
        return fail_at(c, pointer, "is on percepts, and the manifest has no percept:");
    }
    if (!r->on_message && r->intent) {
        return fail_at(c, pointer, "intent is of messages; remove on, or say on: message");
    }
    const json_t *labels = json_object_get(c->m->intent, "labels");
    if (r->intent && !json_object_get(labels, r->intent)) {
        return check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "no label of intent: is called %.60s", r->intent);
    }
    muga_status st = match ? place_at(c, pattern_new(match, &r->match, c->err), pointer) : MUGA_OK;
    st = st == MUGA_OK ? compile_expression(c, in, pointer, &r->in) : st;
    return st == MUGA_OK ? compile_expression(c, json_get_string(spec, "when"), pointer, &r->when) : st;
}

static muga_status read_rule(const compiler *c, size_t i, rule *r) {
    char pointer[32];
    const json_t *spec = json_array_get(json_object_get(c->m->json, "rules"), i);
    snprintf(pointer, sizeof pointer, "/rules/%zu", i);
    *r = (rule){.name = json_get_string(spec, "name"),
                .priority = json_get_int(spec, "priority", 0),
                .held = json_get_string(spec, "held"),
                .denied = json_get_string(spec, "denied"),
                .failed = json_get_string(spec, "failed")};
    for (size_t k = 0; k < i; k++) {
        if (strcmp(json_get_string(json_array_get(json_object_get(c->m->json, "rules"), k), "name"), r->name) == 0) {
            return fail_at(c, pointer, "another rule has this name; the record tells them apart by it");
        }
    }
    muga_status st = read_condition(c, spec, pointer, r);
    st = st == MUGA_OK ? read_act(c, spec, pointer, r) : st;
    return st == MUGA_OK ? read_arguments(c, spec, pointer, r) : st;
}

/* The higher priority first; among equals as written. */
static void sort_rules(rules *r) {
    for (size_t i = 1; i < r->n; i++) {
        rule x = r->list[i];
        size_t k = i;
        for (; k > 0 && r->list[k - 1].priority < x.priority; k--) {
            r->list[k] = r->list[k - 1];
        }
        r->list[k] = x;
    }
}

/* ---- observations ---- */

static muga_status read_set(const compiler *c, const char *name, const json_t *v, const char *pointer, rule_value *x) {
    *x = (rule_value){.name = name, .literal = v};
    if (!json_object_get(json_object_get(c->m->state_schema, "properties"), name)) {
        return check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "state: has no %.60s", name);
    }
    if (!json_is_object(v)) {
        return compile_expression(c, json_string_value(v), pointer, &x->to);
    }
    const char *at = json_get_string(v, "at");
    x->literal = json_object_get(v, "to");
    if (!at || !x->literal || json_object_size(v) != 2) {
        return fail_at(c, pointer, "set gives an expression, a literal, or {at: expression, to: expression}");
    }
    muga_status st = compile_expression(c, at, pointer, &x->at);
    return st == MUGA_OK ? compile_expression(c, json_string_value(x->literal), pointer, &x->to) : st;
}

static muga_status read_observation(const compiler *c, size_t i, observation *o) {
    char pointer[32];
    const json_t *spec = json_array_get(json_object_get(c->m->json, "observe"), i);
    const char *on = json_get_string(spec, "on");
    snprintf(pointer, sizeof pointer, "/observe/%zu", i);
    *o = (observation){.name = json_get_string(spec, "name"),
                       .tool = json_get_string(spec, "tool"),
                       .outcomes = json_object_get(spec, "outcome")};
    o->event = o->tool ? OBSERVE_TOOL : strcmp(on ? on : "percept", "message") == 0 ? OBSERVE_MESSAGE : OBSERVE_PERCEPT;
    if (o->tool && on) {
        return fail_at(c, pointer, "is of a tool or on what comes in; remove on or tool");
    }
    if (o->outcomes && !o->tool) {
        return fail_at(c, pointer, "outcome belongs to an observation of a tool");
    }
    if (o->tool && !manifest_tool_find(c->m, o->tool)) {
        return check_fail(c->at, MUGA_E_INPUT, pointer, c->err, "no tool is called %.60s", o->tool);
    }
    muga_status st = compile_expression(c, json_get_string(spec, "when"), pointer, &o->when);
    json_t *set = json_object_get(spec, "set"), *v;
    const char *name;
    o->sets = mem_alloc_array(json_object_size(set), sizeof *o->sets);
    st = st == MUGA_OK && !o->sets ? error_nomem(c->err, "observations") : st;
    json_object_foreach(set, name, v) {
        st = st == MUGA_OK ? read_set(c, name, v, pointer, &o->sets[o->n_sets++]) : st;
    }
    return st;
}

/* ---- life ---- */

muga_status rules_new(const check_place *at, const manifest *m, rules **out, muga_error *err) {
    const compiler c = {at, m, err};
    size_t n = json_array_size(json_object_get(m->json, "rules")),
           n_observations = json_array_size(json_object_get(m->json, "observe"));
    *out = NULL;
    if (n + n_observations == 0) {
        return MUGA_OK;
    }
    rules *r = calloc(1, sizeof *r);
    if (!r) {
        return error_nomem(err, "rules");
    }
    r->list = mem_alloc_array(n, sizeof *r->list);
    r->observations = mem_alloc_array(n_observations, sizeof *r->observations);
    muga_status st = r->list && r->observations ? MUGA_OK : error_nomem(err, "rules");
    while (st == MUGA_OK && r->n < n) {
        st = read_rule(&c, r->n, &r->list[r->n]);
        r->n++; /* so that what was compiled is freed */
    }
    while (st == MUGA_OK && r->n_observations < n_observations) {
        st = read_observation(&c, r->n_observations, &r->observations[r->n_observations]);
        r->n_observations++;
    }
    if (st == MUGA_OK) {
        sort_rules(r);
        *out = r;
    } else {
        rules_free(r);
    }
    return st;
}

static void free_values(rule_value *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        template_expression_free(list[i].at);
        template_expression_free(list[i].to);
    }
    free(list);
}

void rules_free(rules *r) {
    if (!r) {
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        rule *x = &r->list[i];
        pattern_free(x->match);
        template_expression_free(x->in);
        template_expression_free(x->when);
        template_free(x->words);
        free_values(x->arguments, x->n_arguments);
    }
    for (size_t i = 0; i < r->n_observations; i++) {
        template_expression_free(r->observations[i].when);
        free_values(r->observations[i].sets, r->observations[i].n_sets);
    }
    free(r->list);
    free(r->observations);
    free(r);
}

size_t rules_n(const rules *r) {
    return r->n;
}

const rule *rules_get(const rules *r, size_t i) {
    return &r->list[i];
}

/* ---- at work ---- */

/* *text NULL: there is none to match. `owner` keeps it. */
static muga_status text_to_match(const rule *r, const json_t *context, json_t **owner, muga_error *err) {
    if (!r->in) {
        *owner = json_incref(json_object_get(context, "message"));
        return MUGA_OK;
    }
    return template_expression_value(r->in, context, owner, err);
}

muga_status rules_test(const rule *r, json_t *context, bool *holds, muga_error *err) {
    *holds = true;
    if (r->match) {
        json_t *text = NULL, *groups = NULL;
        muga_status st = text_to_match(r, context, &text, err);
        if (st == MUGA_OK && json_is_string(text)) {
            st = pattern_match(r->match, json_string_value(text), json_string_length(text), &groups, err);
        }
        *holds = groups != NULL;
        json_decref(text);
        if (st == MUGA_OK && groups && json_object_set(context, "match", groups) != 0) {
            st = error_nomem(err, "a match");
        }
        json_decref(groups);
        if (st != MUGA_OK || !*holds) {
            return st;
        }
    }
    return r->when ? template_expression_test(r->when, context, holds, err) : MUGA_OK;
}

static muga_status value_of(const rule_value *x, const json_t *context, json_t **out, muga_error *err) {
    if (x->to) {
        muga_status st = template_expression_value(x->to, context, out, err);
        return st == MUGA_E_NOMEM || st == MUGA_OK ? st : error_prefix(err, st, "%.60s", x->name);
    }
    *out = json_clone(x->literal);
    return *out ? MUGA_OK : error_nomem(err, "a value");
}

muga_status rules_arguments(const rule *r, const json_t *context, json_t **out, muga_error *err) {
    json_t *arguments = json_object();
    muga_status st = arguments ? MUGA_OK : error_nomem(err, "arguments");
    for (size_t i = 0; st == MUGA_OK && i < r->n_arguments; i++) {
        json_t *v = NULL;
        st = value_of(&r->arguments[i], context, &v, err);
        if (st == MUGA_OK && json_object_set_new(arguments, r->arguments[i].name, v) != 0) {
            st = error_nomem(err, "arguments");
        }
    }
    if (st == MUGA_OK) {
        *out = arguments;
    } else {
        json_decref(arguments);
    }
    return st;
}

/* One member of the state, or one of its own members; null takes the latter away. */
static muga_status set_value(const rule_value *x, const json_t *context, json_t *state, muga_error *err) {
    json_t *to = NULL, *at = NULL, *whole = json_object_get(state, x->name);
    muga_status st = value_of(x, context, &to, err);
    st = st == MUGA_OK && x->at ? template_expression_value(x->at, context, &at, err) : st;
    if (st == MUGA_OK && x->at && (!json_is_string(at) || !json_is_object(whole))) {
        st = error_set(err, MUGA_E_INPUT, "%.60s: at names no member (text) of an object", x->name);
    }
    if (st == MUGA_OK && !x->at) {
        st = json_object_set(state, x->name, to) == 0 ? MUGA_OK : error_nomem(err, "a state");
    } else if (st == MUGA_OK && json_is_null(to)) {
        json_object_deln(whole, json_string_value(at), json_string_length(at));
    } else if (st == MUGA_OK) {
        st = json_object_setn(whole, json_string_value(at), json_string_length(at), to) == 0
                 ? MUGA_OK
                 : error_nomem(err, "a state");
    }
    json_decref(to);
    json_decref(at);
    return st;
}

static bool is_of(const observation *o, observe_event event, const char *tool, const char *outcome) {
    if (o->event != event || event != OBSERVE_TOOL) {
        return o->event == event;
    }
    bool listed = !o->outcomes && strcmp(outcome, "finished") == 0;
    for (size_t i = 0; i < json_array_size(o->outcomes); i++) {
        listed = listed || strcmp(json_string_value(json_array_get(o->outcomes, i)), outcome) == 0;
    }
    return listed && strcmp(o->tool, tool) == 0;
}

/* Each of its values is computed from the state as it was before all of them. */
static muga_status apply(const observation *o, json_t *context, json_t *state, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < o->n_sets; i++) {
        st = set_value(&o->sets[i], context, state, err);
    }
    json_t *seen = st == MUGA_OK ? json_clone(state) : NULL;
    if (st == MUGA_OK && (!seen || json_object_set(context, "state", seen) != 0)) {
        st = error_nomem(err, "a state");
    }
    json_decref(seen);
    return st;
}

muga_status rules_observe(const rules *r, observe_event event, const char *tool, const char *outcome, json_t *context,
                          json_t *state, json_t *applied, muga_error *err) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < r->n_observations; i++) {
        const observation *o = &r->observations[i];
        bool holds = is_of(o, event, tool, outcome);
        char number[32];
        snprintf(number, sizeof number, "observe[%zu]", i);
        const char *name = o->name ? o->name : number;
        if (holds && o->when) {
            st = template_expression_test(o->when, context, &holds, err);
        }
        if (st == MUGA_OK && holds) {
            st = apply(o, context, state, err);
            st = st == MUGA_OK && json_array_append_new(applied, json_string(name)) != 0 ? error_nomem(err, "a record")
                                                                                         : st;
        }
        if (st != MUGA_OK && st != MUGA_E_NOMEM) {
            st = error_prefix(err, st, "%.60s", name);
        }
    }
    return st;
}
