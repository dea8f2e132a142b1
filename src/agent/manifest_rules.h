/* What reflex and model-based agents add to a manifest: percept:, rules:, observe:, and states that all sessions share.
 * Private to agent/; manifest.c calls these in this order. */
#ifndef MUGA_AGENT_MANIFEST_RULES_H
#define MUGA_AGENT_MANIFEST_RULES_H

#include "agent/internal.h"

#define STATE_CALLS "calls" /* the member of the state in which the rule loop keeps what it has seen and what is held */

/* Does the class have what it needs, and nothing that belongs to another? Knows m->json, model and goal. */
MUGA_MUST_USE muga_status manifest_check_class(const check_place *at, const manifest *m, muga_error *err);
/* A member of state: without muga's own key, `scope`; new reference. Its name goes into m->shared for scope: agent. */
MUGA_MUST_USE muga_status manifest_take_scope(const check_place *at, manifest *m, const char *name,
                                              const json_t *schema, json_t **out, muga_error *err);
/* The compiled rules, and the loop's own member of the state. */
MUGA_MUST_USE muga_status manifest_read_rules(const check_place *at, manifest *m, muga_error *err);
#endif
