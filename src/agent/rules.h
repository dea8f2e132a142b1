/* The rules of reflex and model-based agents: the manifest's `rules:` and `observe:`. Private to agent/.
 *
 * A rule is a condition and what follows from it; an observation is a condition and what it changes in the state. Both
 * are expressions over one context:
 *
 *   percept    object or null        what came in, where it is an object
 *   message    text or null          what came in, where it is text
 *   match      object                the named groups of the rule's pattern
 *   session, state                   the session's values; the state as it is by now
 *   tool, arguments, outcome, result of the call that is observed, or null (words of a rule: of its own call)
 *   now        integer               seconds since 1970, by the agent's clock
 *
 * Pure: nothing here knows a session, a store or a model. Immutable once made. */
#ifndef MUGA_AGENT_RULES_H
#define MUGA_AGENT_RULES_H

#include "agent/internal.h"
#include "agent/pattern.h"

typedef struct rules rules;
typedef enum { RULE_NOTHING, RULE_TOOL, RULE_ANSWER, RULE_ASK, RULE_ESCALATE, RULE_REFUSE } rule_act;

/* A member and the expression, or the literal, that gives its value. */
typedef struct rule_value {
    const char *name;
    template_expression *at; /* observations: which member of state.name; or NULL */
    template_expression *to; /* NULL: literal */
    const json_t *literal;
} rule_value;

typedef struct rule {
    const char *name;
    int64_t priority;
    bool on_message;           /* it is tried on messages; else on percepts */
    const char *intent;        /* a label of intent:, which the message must be taken for; or NULL */
    pattern *match;            /* or NULL */
    template_expression *in;   /* the text to match; NULL: the message */
    template_expression *when; /* or NULL: always */
    rule_act act;
    const manifest_tool *tool; /* RULE_TOOL */
    rule_value *arguments;
    size_t n_arguments;
    template *words;                    /* of the answer; NULL: none */
    const char *held, *denied, *failed; /* RULE_TOOL: said then; or NULL */
} rule;

typedef enum { OBSERVE_PERCEPT, OBSERVE_MESSAGE, OBSERVE_TOOL } observe_event;

/* Compile both sections. `at` and the manifest's tools and state schema are there already. *out NULL: the manifest has
 * neither. */
MUGA_MUST_USE muga_status rules_new(const check_place *at, const manifest *m, rules **out, muga_error *err);
void rules_free(rules *r);
size_t rules_n(const rules *r);
const rule *rules_get(const rules *r, size_t i); /* in the order in which they are tried */

/* Does the condition hold, its `intent` and `on` apart? The context gets `match`. An error: it can't be told. */
MUGA_MUST_USE muga_status rules_test(const rule *r, json_t *context, bool *holds, muga_error *err);
/* The arguments of its tool, as an object; new reference. */
MUGA_MUST_USE muga_status rules_arguments(const rule *r, const json_t *context, json_t **out, muga_error *err);
/* Every observation of this event whose condition holds, in order, each on what the ones before it left: `state` and
 * context.state are changed, `applied` (an array) gets their names. `tool` and `outcome`: OBSERVE_TOOL. The result is
 * not yet checked against the schema. An error leaves `state` half changed. */
MUGA_MUST_USE muga_status rules_observe(const rules *r, observe_event event, const char *tool, const char *outcome,
                                        json_t *context, json_t *state, json_t *applied, muga_error *err);
#endif
