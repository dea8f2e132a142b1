/* Plans (plan.h). Owns: the defaults of plan:, the schema that a plan is written under, and its reading. Refuses: a
 * plan that is longer than the manifest allows, or names a tool that it doesn't have.
 *
 * The schema is the one truth: the model writes under it, and what a model wrote is read under it again, since a model
 * behind an endpoint, or a hijacked one, is held by nothing. */
#include "agent/plan.h"

#include "agent/internal.h"

#define STEPS_DEFAULT 6
#define REPLANS_DEFAULT 2

/* ---- rules ---- */

static const char *words(const json_t *section, const char *key, const char *otherwise) {
    const char *text = json_get_string(section, key);
    return text ? text : otherwise;
}

muga_status plan_rules_new(const json_t *section, const check_place *at, plan_rules **out, muga_error *err) {
    plan_rules *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) {
        return error_nomem(err, "a plan's rules");
    }
    const char *mode = json_get_string(section, "mode"), *answer = json_get_string(section, "answer");
    r->by_step = mode && strcmp(mode, "step") == 0;
    r->max_steps = MIN(json_get_int(section, "steps", STEPS_DEFAULT), PLAN_MAX_STEPS);
    r->max_replans = json_get_int(section, "replans", REPLANS_DEFAULT);
    r->reasoning_tokens = json_get_int(section, "reasoning_tokens", 0);
    r->answer_tokens = json_get_int(section, "answer_tokens", PLAN_ANSWER_TOKENS);
    r->instructions = json_get_string(section, "instructions");
    r->failed = words(section, "failed", "I could not finish this.");
    r->held = words(section, "held", "This waits for a person's approval.");
    r->ask = words(section, "ask", "To go on I need this from you:");
    muga_error why;
    muga_status st = answer ? template_compile(answer, strlen(answer), &r->answer, &why) : MUGA_OK;
    if (st != MUGA_OK) {
        plan_rules_free(r);
        return check_fail(at, st, "/plan/answer", err, "%s", why.message);
    }
    *out = r;
    return MUGA_OK;
}

void plan_rules_free(plan_rules *r) {
    if (r) {
        template_free(r->answer);
        free(r);
    }
}

/* ---- the schema ---- */

size_t plan_n_tools(const plan_bounds *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->m->n_tools; i++) {
        n += json_object_get(b->without, b->m->tools[i].name) == NULL;
    }
    return n;
}

static json_t *tool_names(const plan_bounds *b) {
    json_t *names = json_array();
    for (size_t i = 0; names && i < b->m->n_tools; i++) {
        const char *name = b->m->tools[i].name;
        if (!json_object_get(b->without, name) && json_array_append_new(names, json_string(name)) != 0) {
            json_decref(names);
            return NULL;
        }
    }
    return names;
}

muga_status plan_schema(const plan_bounds *b, json_t **out, muga_error *err) {
    json_t *names = tool_names(b);
    size_t most = plan_n_tools(b) > 0 ? MIN(b->most, PLAN_MAX_STEPS) : 0;
    json_t *step = names ? json_pack("{s:s, s:{s:{s:o}, s:{s:s, s:i}}, s:[s, s], s:b}", "type", "object", "properties",
                                     "tool", "enum", names, "why", "type", "string", "maxLength", PLAN_MAX_WHY,
                                     "required", "tool", "why", "additionalProperties", 0)
                         : NULL;
    json_t *steps = json_pack("{s:s, s:I, s:I}", "type", "array", "minItems", (json_int_t)MIN(b->least, most),
                              "maxItems", (json_int_t)most);
    bool ok = step && steps && (most == 0 || json_object_set(steps, "items", step) == 0);
    json_decref(step);
    *out = ok ? json_pack("{s:s, s:{s:O}, s:[s], s:b}", "type", "object", "properties", "steps", steps, "required",
                          "steps", "additionalProperties", 0)
              : NULL;
    json_decref(steps);
    return *out ? MUGA_OK : error_nomem(err, "a plan's schema");
}

/* ---- reading ---- */

muga_status plan_parse(const plan_bounds *b, const char *text, size_t n, json_t **steps, muga_error *err) {
    json_t *plan = NULL, *schema = NULL;
    muga_error why;
    *steps = NULL;
    if (n > PLAN_MAX_BYTES) {
        return error_set(err, MUGA_E_NEGATIVE, "a plan of %zu bytes; at most %u are read", n, PLAN_MAX_BYTES);
    }
    muga_status st = json_parse(text, n, "the plan", &plan, &why);
    if (st == MUGA_OK) {
        st = plan_schema(b, &schema, &why);
    }
    if (st == MUGA_OK) {
        st = constrain_validate(schema, plan, NULL, &why);
    }
    if (st == MUGA_OK) {
        *steps = json_incref(json_object_get(plan, "steps"));
    }
    json_decref(schema);
    json_decref(plan);
    if (st == MUGA_OK || st == MUGA_E_NOMEM) {
        return st == MUGA_OK ? st : error_nomem(err, "a plan");
    }
    return error_set(err, MUGA_E_NEGATIVE, "not a plan: %.200s", why.message);
}
