/* The loop: from a message to an answer, over decisions, calls and holds. The loop proposes; the executor disposes. How
 * it decides is a table chosen by the manifest (loop_kinds.h).
 *
 * One loop drives one session. Everything it decides is audited with the model's evidence before it acts on it; what it
 * still has to do when a call waits for a person is kept in the session's state (key `pending`, where the manifest
 * declares it), so that another process can go on. */
#ifndef MUGA_AGENT_LOOP_H
#define MUGA_AGENT_LOOP_H

#include "agent/agent.h"
#include "agent/intent.h"

/* What happens, as it happens; for people who watch. kind: message | percept | decision | rule | plan | call | result |
 * held | guard | escalation | answer | not_kept (the turn was not kept to learn from, though it should be: why). */
typedef struct loop_watch {
    void (*event)(void *ctx, const char *kind, const json_t *data);
    void *ctx;
} loop_watch;

/* All borrowed; must outlive the loop. */
typedef struct loop_parts {
    const agent_env *env;
    const manifest *manifest;
    const intent *intent; /* NULL: the manifest has none, and decides by rules */
    llm *model;           /* NULL: it needs none */
    agent_session *session;
    loop_watch watch;           /* .event NULL: nobody watches */
    const intent_label *always; /* a baseline: every message gets this label, and nobody decides; else NULL */
} loop_parts;

typedef enum { TURN_ANSWER, TURN_ASK, TURN_REFUSE, TURN_ESCALATE, TURN_HELD } turn_outcome;
const char *turn_outcome_name(turn_outcome o);

typedef struct turn_result {
    turn_outcome outcome;
    str text;                                          /* what the person is told; with TURN_HELD: so far */
    char call[AGENT_ID_SIZE], approval[AGENT_ID_SIZE]; /* TURN_HELD, and where that is why a message wasn't taken */
    bool done;                                         /* the goal's check holds */
    uint32_t n_tokens;                                 /* the model read and wrote */
    uint64_t us;
} turn_result;
void turn_result_release(turn_result *r);

typedef struct agent_loop agent_loop;
/* Does the model look whether messages are within scope:? Then an agent by rules has a use for its model, too. */
bool loop_scope_is_scored(const manifest *m);
MUGA_MUST_USE muga_status loop_new(const loop_parts *parts, agent_loop **out, muga_error *err);
/* From now on each turn ends with the event "trace" (trace.h): where its time went. */
MUGA_MUST_USE muga_status loop_trace(agent_loop *l, muga_error *err);
void loop_free(agent_loop *l);
/* A message of the person. A status other than MUGA_OK: the journal or the model failed; the session stays as it was
 * before the step that failed, and of out only what it used counts. MUGA_E_POLICY with out->approval: the session waits
 * for that to be decided, and takes nothing before. MUGA_E_POLICY without: it has ended. */
MUGA_MUST_USE muga_status loop_turn(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err);
/* A percept, of an agent that acts by rules: a JSON object, checked against the manifest's percept:. TURN_ANSWER
 * without text: nothing was to be said. A call that is held does not keep the next percept from coming. */
MUGA_MUST_USE muga_status loop_percept(agent_loop *l, const json_t *percept, turn_result *out, muga_error *err);
/* Is there something for loop_resume to do? */
bool loop_is_unfinished(const agent_loop *l);
/* Go on after a hold (approval_decide): TURN_HELD again while nobody decided. Or take up a turn that a crash broke off:
 * it is decided anew, and calls that it has made are not made again. MUGA_E_NOT_FOUND: there is neither. */
MUGA_MUST_USE muga_status loop_resume(agent_loop *l, turn_result *out, muga_error *err);
#endif
