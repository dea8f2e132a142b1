/* Agents within agents: one asks another as a tool (`agent`), or hands its person over to it (`hand_off`). Private to
 * agent/.
 *
 * The other agent has a session of its own in the same store, whose id is that of the call with another letter in
 * front: so a call found `started` after a crash, or held, knows what it had begun. Its policy, approvals and limits
 * are its own; what it asks a person about comes back to the call that waits for it, by the approval's id. */
#ifndef MUGA_AGENT_NESTED_H
#define MUGA_AGENT_NESTED_H

#include "agent/internal.h"
#include "agent/loop.h"

#define NESTED_MAX_DEPTH 4 /* agents around the innermost one */

/* One more agent around those that are loaded or run on the agent_env that points here. */
typedef struct agent_nest {
    const char *dir; /* of the agent around, without "." and ".." */
    const struct agent_nest *around;
    size_t depth;
} agent_nest;

/* The tool of both kinds. */
typedef struct nested nested;
/* `own`: what stands under the kind's key: {"dir", "session"}. MUGA_E_INPUT, with setup->place: no such agent, one that
 * is around already, too deep, another model, a value of its session that isn't mapped, effect: read over writes. */
MUGA_MUST_USE muga_status nested_open(tool_setup *setup, const json_t *own, nested **out, muga_error *err);
void nested_close(nested *t);
const char *nested_name(const nested *t);

/* The id of the session that belongs to this call. */
void nested_id(const char *call, char out[AGENT_ID_SIZE]);
/* That session, which is begun when it isn't there. */
MUGA_MUST_USE muga_status nested_session(const nested *t, agent_session *outer, const char *call, bool is_asked,
                                         agent_session **out, muga_error *err);
/* A turn of the other agent in that session: what is said to it, or, where that was said before, what is left of it. */
MUGA_MUST_USE muga_status nested_turn(const nested *t, agent_session *inner, llm *model, const loop_watch *watch,
                                      const char *text, size_t n, turn_result *out, muga_error *err);
/* Can it run now? An agent that needs a model waits for a loop that has one. */
bool nested_is_ready(const nested *t, const agent_session *outer);

/* ---- handing off (loop_handed.c) ---- */
/* The newest call of `l`'s session that handed its person over, or NULL. */
const json_t *loop_handed(const agent_loop *l);
/* Is something left of the other agent's turn? */
bool loop_handed_unfinished(const agent_loop *l, const json_t *call);
/* The turn is the other agent's: it gets the text (NULL: what is left of its turn), and its answer is this one's. */
muga_status loop_handed_turn(agent_loop *l, const json_t *call, const char *text, size_t n, turn_result *out,
                             muga_error *err);
/* The call was made in this turn: *out is what was said so far; the other agent answers the person's message. */
muga_status loop_handed_first(agent_loop *l, const json_t *call, turn_result *out, muga_error *err);
#endif
