/* Private to plan*.c: what the states of the goal loop share. */
#ifndef MUGA_AGENT_PLAN_INTERNAL_H
#define MUGA_AGENT_PLAN_INTERNAL_H

#include "agent/loop_kinds.h"
#include "agent/plan.h"

/* l->work of this loop; what outlives the process stands in state.pending:
 *   from     n                                 the history's entry with which the work began
 *   turn     n                                 that of the person's newest message
 *   steps    [{"tool", "why"}]                 what is left of the plan
 *   open     true | false                      the goal's check did not hold when it was made
 *   notes    [{"at": n, "messages": [...]}]    what was said to and by the model besides the history, before entry `at`
 *   tried    {digest: n}                       calls with their results, and how often each came
 *   stale    {tool: true}                      tools that were wanted again for what they had just done
 *   last     digest | absent                   the call that was made last
 *   replans  n                                 of this message
 *   asks     n                                 questions to the person in a row
 *   refused  TEXT | absent                     why a call was not allowed
 *   held     {"call", "approval", "tool", "arguments", "expires_ms"} | absent
 *   until    n                                 entries the history had when this was kept */
typedef struct plan_turn {
    agent_loop *l;
    const plan_rules *rules;
    const char *text;
    size_t n;
    uint32_t n_read; /* tokens of the longest prompt so far: what was read once is counted once */
    const manifest_tool *tool;
    json_t *arguments;
    call_result called; /* a result to observe, when resumed */
    bool resumed;
    bool reworded;     /* the model was asked once to word its answer anew */
    str said;          /* the model's answer, or the rules' */
    turn_outcome kind; /* how the turn ends */
    turn_result *out;
} plan_turn;

/* ---- the prompt (plan_prompt.c) ---- */
/* The conversation as chat messages: the author's words, the history from entry `first` on, the notes. A new array. */
MUGA_MUST_USE muga_status plan_messages(const plan_turn *t, size_t first, json_t **out, muga_error *err);
/* The tools as chat clients write them; a new array. */
MUGA_MUST_USE muga_status plan_tools(const manifest *m, json_t **out, muga_error *err);
/* Notes, at the end of the history as it is. After each the next word is the model's. */
muga_status plan_note_plan(plan_turn *t, const json_t *steps, muga_error *err);
muga_status plan_note_call(plan_turn *t, const char *tool, const json_t *arguments, const char *call,
                           const json_t *result, muga_error *err);
muga_status plan_note_words(plan_turn *t, const char *said, const char *reply, muga_error *err);

/* ---- the model (plan_ask.c): every answer is audited, with its evidence, before it returns ---- */
typedef enum {
    ASKED_OK,
    ASKED_MISSING, /* nothing can be called: a value that only the person or a tool can give isn't there */
    ASKED_BAD,     /* an answer that is of no use; it has been noted */
    ASKED_OVER     /* the turn's tokens or seconds are used up */
} plan_asked;
/* A plan of `least` to `most` steps into the work, without the stale tools. */
muga_status plan_ask_plan(plan_turn *t, size_t least, size_t most, plan_asked *asked, muga_error *err);
/* The answer in words, when nothing is left to do, into t->said. */
muga_status plan_ask_answer(plan_turn *t, plan_asked *asked, muga_error *err);
/* The next call, into t->tool and t->arguments; or, unless it must call, the answer, into t->said. */
muga_status plan_ask_pick(plan_turn *t, bool must_call, plan_asked *asked, muga_error *err);
/* Arguments for t->tool. */
muga_status plan_ask_arguments(plan_turn *t, plan_asked *asked, muga_error *err);

/* ---- goal and answer (plan_say.c) ---- */
/* Would the goal's check hold if the work ended here? *why: what it can't be told for, or "". Without a check: true. */
muga_status plan_goal_holds(const plan_turn *t, bool *holds, char why[256], muga_error *err);
/* Does every id and number of t->said stand in what was given? Audited where not. */
muga_status plan_is_grounded(const plan_turn *t, const char *text, bool *ok, muga_error *err);
/* The results in words, by plan.answer or plainly. Appended. */
muga_status plan_say_results(const plan_turn *t, str *out, muga_error *err);
/* What only the person can give for a tool: the question for it. Appended. */
muga_status plan_say_missing(const plan_turn *t, const manifest_tool *tool, str *out, muga_error *err);
/* The first tool that can't be called for want of a value of the person's; NULL: none. */
muga_status plan_wanting(const plan_turn *t, const manifest_tool **tool, muga_error *err);
/* Does this one want such a value? */
muga_status plan_wants(const plan_turn *t, const manifest_tool *tool, bool *wants, muga_error *err);

const char *plan_role(const json_t *entry); /* of the history; never NULL */
#endif
