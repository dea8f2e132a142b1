/* The manifest's plan: (plan.h). Owns: which agents plan, and where they keep what is left to do. */
#include "agent/internal.h"
#include "agent/plan.h"

#include <stdio.h>

/* state.pending outlives a hold; an agent that plans has it whether or not its author thought of it. Not among the
 * required ones: a state without it has nothing left to do. */
static muga_status declare_pending(manifest *m, muga_error *err) {
    json_t *properties = json_object_get(m->state_schema, "properties");
    if (json_object_get(properties, "pending")) {
        return MUGA_OK;
    }
    json_t *schema = json_pack("{s:[s, s]}", "type", "string", "null");
    bool ok = schema && json_object_set_new(properties, "pending", schema) == 0;
    return ok ? MUGA_OK : error_nomem(err, "a state");
}

void manifest_free_plan(manifest *m) {
    union {
        const plan_rules *in;
        plan_rules *out;
    } u = {m->plan};
    plan_rules_free(u.out);
}

muga_status manifest_read_plan(manifest *m, const check_place *at, muga_error *err) {
    const json_t *section = json_object_get(m->json, "plan");
    plan_rules *rules = NULL;
    if (m->kind != MANIFEST_GOAL && section) {
        return check_fail(at, MUGA_E_INPUT, "/plan", err, "belongs to agents of kind goal; remove it");
    }
    if (m->kind != MANIFEST_GOAL || (!section && m->intent)) {
        return MUGA_OK;
    }
    static const char *const by_labels[] = {"examples", "adapter"};
    for (size_t i = 0; i < ARRAY_LEN(by_labels); i++) {
        if (json_object_get(m->learning, by_labels[i])) {
            char pointer[32];
            snprintf(pointer, sizeof pointer, "/learning/%s", by_labels[i]);
            return check_fail(at, MUGA_E_INPUT, pointer, err,
                              "is learned from labels, and an agent that plans has none");
        }
    }
    muga_status st = plan_rules_new(section, at, &rules, err);
    m->plan = rules;
    return st == MUGA_OK ? declare_pending(m, err) : st;
}
