/* Private to loop*.c: what the states share. */
#ifndef MUGA_AGENT_LOOP_INTERNAL_H
#define MUGA_AGENT_LOOP_INTERNAL_H

#include "agent/internal.h"
#include "agent/loop.h"

/* `work` outlives the process (state.pending):
 *   queue  [{"label", "text", "values": [...]}]   requests still to do; values: what is left to call the tool with
 *   parts  ["..."]                                what is already known to be said
 *   kind   0..3                                   the turn_outcome so far
 *   open   {"label", "times"} | absent            whose value was asked for, and how often
 *   unsure n                                      messages in a row that were not understood
 *   doubt  true | absent                          the answer ends with a question back (intent.expert.doubt)
 *   held   {"call", "label", "approval"} | absent */
struct agent_loop {
    loop_parts p;
    const struct loop_kind *kind; /* loop_kinds.h */
    json_t *work;                 /* of the intent loop */
    json_t *made;                 /* calls that a turn which is taken up again has made already; NULL: none */
    struct trace *trace;          /* NULL: off */
    int64_t n_tokens;             /* of this turn */
    size_t i_history;             /* of the rule loop: how much of the history was looked at, */
    int64_t n_calls;              /* and the calls in that */
    bool scope_known;             /* scope_bias is (loop_scope.c) */
    double scope_bias;
    uint64_t began_us;
};

typedef struct request {
    const intent_label *label;
    const char *text; /* the clause */
    json_t *values;   /* array or NULL: for the one grounded parameter */
} request;

/* ---- a turn that was broken off (loop_redo.c) ---- */
/* The message that has no answer yet: a string, or NULL. */
const json_t *loop_unanswered(const agent_loop *l);
/* Fill l->made. */
muga_status loop_find_made(agent_loop *l, muga_error *err);
/* executor_call, unless l->made has this very call: then executor_resume of that. */
muga_status loop_call_once(agent_loop *l, const char *tool, const json_t *arguments, call_result *out, muga_error *err);
/* A crash may have come between the executor's hold and the loop's. Where the loop has none, the first call that waits
 * in the journal: {"call", "tool", "arguments", "approval", "expires_ms"}, a new reference; else NULL. */
muga_status loop_find_waiting(const agent_loop *l, json_t **out, muga_error *err);
/* Was it refused because nobody decided in time? Then every loop hands over, with approval_expired on the record. */
muga_status loop_call_expired(const agent_loop *l, const call_result *r, bool *expired, muga_error *err);

/* A message while `held` (of work) waits: MUGA_E_POLICY, which names the approval and where it is decided. */
muga_status loop_refuse_held(const json_t *held, turn_result *out, muga_error *err);

/* How a turn ends whose last call, of this tool, finished: by asking or handing over, where that is what it does. */
turn_outcome loop_outcome_of(const manifest_tool *t);

/* ---- guards (loop_guard.c) ---- */
/* loop_kinds.c calls it before a way to decide sees a message. `kept` (empty) receives the message as it goes on;
 * *stopped: a guard ended the turn, `out` says how. */
muga_status loop_guard_message(agent_loop *l, const char *text, size_t n, str *kept, turn_result *out, bool *stopped,
                               muga_error *err);
/* Is it about what the agent is for (loop_scope.c)? As loop_guard_message, which calls it; *stopped: `out` has the
 * words and *kind how the turn ends. */
muga_status loop_scope_message(agent_loop *l, const char *text, size_t n, str *out, turn_outcome *kind, bool *stopped,
                               muga_error *err);
/* The record of a message that was taken for out_of_scope; nothing for other labels. */
muga_status loop_scope_label(const agent_loop *l, const intent_label *label, muga_error *err);
/* Every way to decide calls it on what it will say: masks in `text`, or puts other words there and changes *kind to
 * refuse or escalate (audited; the caller ends the session, as after any escalation). */
muga_status loop_guard_answer(agent_loop *l, turn_outcome *kind, str *text, muga_error *err);
/* Does every id and number of `text` stand in one of `texts`? What does not is audited. */
muga_status loop_is_grounded(const agent_loop *l, const char *text, const json_t *texts, bool *ok, muga_error *err);
/* The strings and numbers of a value and its keys, each by itself, for `texts`: in JSON text an escape would stand
 * beside a number. False: no memory. */
bool loop_add_scalars(json_t *list, const json_t *v);
/* state.KEY = text (NULL: null), where the manifest declares it. */
muga_status loop_set_state(agent_loop *l, const char *key, const char *text, muga_error *err);

void loop_watch_event(const agent_loop *l, const char *kind, json_t *data); /* takes data; NULL is passed over */
/* Has this turn used up its tokens or seconds? */
bool loop_is_over(const agent_loop *l);

typedef enum { ARGUE_OK, ARGUE_MISSING, ARGUE_OVER } argue_outcome;
/* Arguments for the request's tool, by the model under the tool's schema with grounded values: from the clause, or else
 * from the newest message that has any. Takes one of several values and leaves the others in r->values. */
muga_status loop_argue(agent_loop *l, request *r, json_t **arguments, argue_outcome *outcome, muga_error *err);
/* Where the tool's schema and the texts leave one value for its arguments, it is taken, and no model is asked; audited
 * as `only_value`, with evidence that replays. *arguments NULL: they leave more. MUGA_E_NEGATIVE: they leave none. */
muga_status loop_take_only(agent_loop *l, const manifest_tool *t, const constrain_source *sources, size_t n_sources,
                           json_t **arguments, muga_error *err);
/* Does `text` give a value for each grounded parameter that the tool requires? False where it requires none. */
muga_status loop_text_gives(const agent_loop *l, const manifest_tool *t, const char *text, bool *gives,
                            muga_error *err);
/* The label's words over a call's result (or over nothing), as a sentence; checked by the output guard. *ok false: a
 * value in it was given by nobody. */
muga_status loop_render(const agent_loop *l, const intent_label *label, const json_t *arguments, const json_t *result,
                        str *out, bool *ok, muga_error *err);
#endif
