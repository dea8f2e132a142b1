/* Reading what only some classes of agents have (manifest_rules.h). Owns: which keys go with which class. Refuses, by
 * line: a class without what it decides by, keys of another class, a name that the loop itself uses. */
#include "agent/manifest_rules.h"

#include "agent/rules.h"

#include <stdio.h>

muga_status manifest_check_class(const check_place *at, const manifest *m, muga_error *err) {
    static const char *const of_rules[] = {"rules", "observe", "percept"};
    bool has_rules = json_array_size(json_object_get(m->json, "rules")) > 0;
    for (size_t i = 0; m->kind == MANIFEST_GOAL && i < ARRAY_LEN(of_rules); i++) {
        if (json_object_get(m->json, of_rules[i])) {
            char pointer[16];
            snprintf(pointer, sizeof pointer, "/%s", of_rules[i]);
            return check_fail(at, MUGA_E_INPUT, pointer, err, "belongs to kind: reflex and kind: model; remove it");
        }
    }
    if (m->kind != MANIFEST_GOAL && m->goal_statement) {
        return check_fail(at, MUGA_E_INPUT, "/goal", err, "belongs to kind: goal; remove it");
    }
    if (m->kind == MANIFEST_GOAL && !m->model) {
        return check_fail(at, MUGA_E_INPUT, "", err, "key 'model' is missing; an agent of kind goal needs one");
    }
    if (m->kind == MANIFEST_GOAL && !m->goal_statement) {
        return check_fail(at, MUGA_E_INPUT, "", err, "key 'goal' is missing; an agent of kind goal needs one");
    }
    static const char *const of_labels[] = {"examples", "adapter"};
    for (size_t i = 0; m->kind != MANIFEST_GOAL && !m->intent && i < ARRAY_LEN(of_labels); i++) {
        if (json_object_get(m->learning, of_labels[i])) {
            char pointer[32];
            snprintf(pointer, sizeof pointer, "/learning/%s", of_labels[i]);
            return check_fail(at, MUGA_E_INPUT, pointer, err,
                              "is learned from labels, and without intent: there are none");
        }
    }
    if (m->kind == MANIFEST_REFLEX && !has_rules) {
        return check_fail(at, MUGA_E_INPUT, "", err, "key 'rules' is missing; an agent of kind reflex decides by them");
    }
    if (m->kind == MANIFEST_REFLEX && json_object_get(m->json, "observe")) {
        return check_fail(at, MUGA_E_INPUT, "/observe", err,
                          "a reflex agent keeps no state between percepts; say kind: model, or remove it");
    }
    if (m->kind == MANIFEST_MODEL && !json_object_get(m->json, "observe")) {
        return check_fail(at, MUGA_E_INPUT, "", err,
                          "key 'observe' is missing; it says what an agent of kind model learns of its world");
    }
    if (m->kind == MANIFEST_MODEL && !has_rules && !m->intent) {
        return check_fail(at, MUGA_E_INPUT, "", err,
                          "key 'rules' is missing; without it and intent nothing is decided");
    }
    return MUGA_OK;
}

muga_status manifest_take_scope(const check_place *at, manifest *m, const char *name, const json_t *schema,
                                json_t **out, muga_error *err) {
    const char *scope = json_get_string(schema, "scope");
    char pointer[256];
    snprintf(pointer, sizeof pointer, "/state/%.200s", name);
    *out = NULL;
    if (json_object_get(schema, "scope") &&
        (!scope || (strcmp(scope, "agent") != 0 && strcmp(scope, "session") != 0))) {
        return check_fail(at, MUGA_E_INPUT, pointer, err, "scope is session, or agent: one value for all its sessions");
    }
    if (scope && m->kind != MANIFEST_MODEL) {
        return check_fail(at, MUGA_E_INPUT, pointer, err, "scope belongs to kind: model; remove it");
    }
    if (m->kind != MANIFEST_GOAL && strcmp(name, STATE_CALLS) == 0) {
        return check_fail(at, MUGA_E_INPUT, pointer, err, "the loop itself keeps " STATE_CALLS "; take another name");
    }
    bool shared = scope && strcmp(scope, "agent") == 0;
    json_t *own = json_clone(schema);
    bool ok = own != NULL;
    if (shared) {
        m->shared = m->shared ? m->shared : json_object();
        ok = ok && m->shared && json_object_set_new(m->shared, name, json_true()) == 0;
    }
    if (!ok) {
        json_decref(own);
        return error_nomem(err, "a state");
    }
    json_object_del(own, "scope");
    *out = own;
    return MUGA_OK;
}

/* state.calls: {"seen": n, "held": [...]}, rules.h and loop_rules.c. */
static muga_status add_calls(manifest *m, muga_error *err) {
    json_t *required = json_object_get(m->state_schema, "required"),
           *properties = json_object_get(m->state_schema, "properties");
    bool ok = json_object_set_new(properties, STATE_CALLS, json_pack("{s:s}", "type", "object")) == 0 &&
              json_array_append_new(required, json_string(STATE_CALLS)) == 0 &&
              json_object_set_new(m->state_default, STATE_CALLS, json_pack("{s:i, s:[]}", "seen", 0, "held")) == 0;
    return ok ? MUGA_OK : error_nomem(err, "a state");
}

muga_status manifest_read_rules(const check_place *at, manifest *m, muga_error *err) {
    if (m->kind == MANIFEST_GOAL) {
        return MUGA_OK;
    }
    muga_status st = rules_new(at, m, &m->rules, err); /* before: rules can't set what the loop keeps */
    return st == MUGA_OK ? add_calls(m, err) : st;
}
