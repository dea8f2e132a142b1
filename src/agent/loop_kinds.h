/* Private to loop*.c: how an agent decides, a table for each way. loop_kinds.c chooses one by the manifest and does
 * what all share: the turn's clock and count of tokens, what is kept of it to learn from.
 *
 *   loop.c         a message is scored against labels, each with its consequence (intent:)
 *   loop_rules.c   condition-action rules over percepts, messages and what is known (rules:, observe:)
 *   plan_loop.c    the model plans, under constraints, until the goal's check holds (plan:)
 *
 * Whatever the way, a tool is reached by executor_call alone, and a decision is audited before it is acted on. */
#ifndef MUGA_AGENT_LOOP_KINDS_H
#define MUGA_AGENT_LOOP_KINDS_H

#include "agent/loop_internal.h"

typedef struct loop_kind {
    muga_status (*open)(agent_loop *l, muga_error *err); /* l->p is set; close follows, after a failure, too */
    void (*close)(agent_loop *l);
    /* *out is empty; n_tokens and us are filled in afterwards, from l->n_tokens. */
    muga_status (*turn)(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err);
    muga_status (*resume)(agent_loop *l, turn_result *out, muga_error *err);
    muga_status (*percept)(agent_loop *l, const json_t *percept, turn_result *out, muga_error *err); /* NULL: none */
    bool (*unfinished)(const agent_loop *l); /* NULL: loop_unanswered */
} loop_kind;

extern const loop_kind loop_kind_intent; /* loop.c */
extern const loop_kind loop_kind_plan;   /* plan_loop.c */
extern const loop_kind loop_kind_rules;  /* loop_rules.c */

/* For a loop of another kind that leaves some messages to intent: what the session kept of it; a message that lies in
 * the session already. */
muga_status loop_intent_begin(agent_loop *l, muga_error *err);
muga_status loop_intent_take(agent_loop *l, const char *text, size_t n, turn_result *out, muga_error *err);
#endif
