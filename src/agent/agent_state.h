/* The state that all sessions of an agent share (members of state: with scope: agent), from outside of them. */
#ifndef MUGA_AGENT_AGENT_STATE_H
#define MUGA_AGENT_AGENT_STATE_H

#include "agent/agent.h"

/* What is kept, *changed_ms when it last changed; *out NULL: nothing yet, so a session begins with the defaults. New
 * reference. */
MUGA_MUST_USE muga_status agent_state_read(store *s, const char *agent, json_t **out, int64_t *changed_ms,
                                           muga_error *err);
/* Forget it: sessions, open ones with their next turn, go on with the manifest's defaults. Durable, and audited with
 * who asked for it. *had false: there was nothing, and nothing is recorded. */
MUGA_MUST_USE muga_status agent_state_reset(const agent_env *env, store *s, const char *agent, const char *by,
                                            bool *had, muga_error *err);

#endif
