/* Private to loop_rules*.c: a turn of an agent that decides by rules. */
#ifndef MUGA_AGENT_LOOP_RULES_H
#define MUGA_AGENT_LOOP_RULES_H

#include "agent/loop_kinds.h"
#include "agent/rules.h"

/* What state.calls holds (manifest_rules.h):
 *   seen  n                                  calls in the session's history that were observed
 *   held  [{"call", "rule", "expires_ms",    calls that wait for a person, with what their words may speak of
 *           "percept", "message", "match"}] */
#define RULES_MAX_HELD 64

#define RULES_PROBLEM_SIZE 256 /* why something could not be told; "" = nothing */

/* The context of rules.h, of an input; new reference. */
json_t *loop_context(const agent_loop *l, const json_t *percept, const json_t *message, muga_error *err);
/* It speaks of this call from now on. */
muga_status loop_context_set_call(json_t *context, const char *tool, const json_t *arguments, const char *outcome,
                                  const json_t *result, muga_error *err);

/* Inside a transaction, after session_refresh: what the event says of the world, into the state. *next: the state to
 * take once it is committed. A problem leaves the state as it was. `calls` (or NULL) is state.calls as it is to be. */
muga_status loop_observe(agent_loop *l, observe_event event, const char *tool, const char *outcome, json_t *context,
                         const json_t *calls, json_t *observed, char problem[RULES_PROBLEM_SIZE], json_t **next,
                         muga_error *err);

/* A call that is not in the history (held, refused, invalid); `entry`: as in held, to be kept there, or NULL: it is no
 * longer there. Audited, in a transaction of its own. */
muga_status loop_observe_call(agent_loop *l, const call_result *r, const char *tool, const json_t *arguments,
                              const json_t *entry, char problem[RULES_PROBLEM_SIZE], muga_error *err);
/* What came of a held call has been said. */
muga_status loop_forget_held(agent_loop *l, const char *call, muga_error *err);
/* Every call of the history that was not observed yet; a crash may have come before. */
muga_status loop_observe_history(agent_loop *l, char problem[RULES_PROBLEM_SIZE], muga_error *err);
#endif
