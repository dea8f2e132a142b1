/* Are the arguments of a call what its tool takes, and was every grounded value given by somebody? Nothing runs, and no
 * person is asked, before this has said yes. */
#include "agent/executor_internal.h"

#include <stdio.h>

typedef struct grounding {
    const session_sources *sources;
    json_t *places; /* where each value stands: {"argument", "source", "text", "from", "to"} */
    char *reason;
    size_t reason_size;
} grounding;

static muga_status check_value(const grounding *g, const char *name, const json_t *schema, const json_t *value,
                               bool *ok, muga_error *err) {
    constrain_place at;
    const constrain_source *list = g->sources->list;
    muga_status st = constrain_grounded_place(schema, value, list, ARRAY_LEN(g->sources->list), &at, err);
    if (st == MUGA_E_NEGATIVE) {
        *ok = false;
        snprintf(g->reason, g->reason_size, "%.80s: this value was not given by the %s", name,
                 strcmp(json_get_string(schema, "from"), "tools") == 0 ? "tools" : "person");
        return MUGA_OK;
    }
    if (st != MUGA_OK) {
        return st;
    }
    json_t *place = json_pack("{s:s, s:s, s:I, s:I, s:I}", "argument", name, "source", list[at.source].name, "text",
                              (json_int_t)at.text, "from", (json_int_t)at.from, "to", (json_int_t)at.to);
    return place && json_array_append_new(g->places, place) == 0 ? MUGA_OK : error_nomem(err, "grounded values");
}

/* Every value whose subschema says `from`, through properties and items: manifest.c lets it stand nowhere else. */
static muga_status check_grounded(const grounding *g, const char *name, const json_t *schema, const json_t *value,
                                  bool *ok, muga_error *err) {
    muga_status st = MUGA_OK;
    if (json_object_get(schema, "from") && !json_is_array(value)) {
        return check_value(g, name, schema, value, ok, err);
    }
    const char *key;
    json_t *sub;
    json_object_foreach(json_object_get(schema, "properties"), key, sub) {
        const json_t *member = json_object_get(value, key);
        if (st == MUGA_OK && *ok && member) {
            st = check_grounded(g, key, sub, member, ok, err);
        }
    }
    for (size_t i = 0; st == MUGA_OK && *ok && i < json_array_size(value); i++) {
        st = check_grounded(g, name, json_object_get(schema, "items"), json_array_get(value, i), ok, err);
    }
    return st;
}

muga_status executor_check(agent_session *s, const manifest_tool *t, journal_call *c, json_t *places, bool *ok,
                           muga_error *err) {
    *ok = false;
    if (!t) {
        snprintf(c->reason, sizeof c->reason, "no tool is called %.64s", c->tool);
        return MUGA_OK;
    }
    if (c->reason[0]) {
        return MUGA_OK; /* the arguments could not even be kept */
    }
    muga_error verdict;
    muga_status st = constrain_validate(t->parameters, c->arguments, NULL, &verdict);
    if (st == MUGA_E_NEGATIVE) {
        snprintf(c->reason, sizeof c->reason, "arguments: %.230s", verdict.message);
        return MUGA_OK;
    }
    if (st != MUGA_OK) {
        return error_set(err, st, "%s", verdict.message);
    }
    session_sources sources;
    st = session_get_sources(s, &sources, err);
    if (st == MUGA_OK) {
        grounding g = {&sources, places, c->reason, sizeof c->reason};
        *ok = true;
        st = check_grounded(&g, "arguments", t->parameters, c->arguments, ok, err);
        session_sources_release(&sources);
    }
    return st;
}
