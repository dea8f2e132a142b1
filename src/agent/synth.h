/* Training messages for an agent that nobody has written to yet: texts come from a larger model (synth_ask.h) or a
 * grammar (phrases.h); here they become lines for `muga train`, or are refused. docs/synth.md.
 *
 * What holds of every line:
 *   1. Arguments are right by construction: a text says {order_id}, the value is made from the parameter's schema, and
 *      the filled text is asked, by the rules that the executor goes by, whether the value stands in it.
 *   2. No text has the words of another, or nearly (`near`); none is a task of the agent's evaluation, or near to one.
 *   3. It says who wrote it.
 * One thread. */
#ifndef MUGA_AGENT_SYNTH_H
#define MUGA_AGENT_SYNTH_H

#include "agent/intent.h"
#include "base/rng.h"

#define SYNTH_MAX_TEXT 2000u /* bytes */
#define SYNTH_MAX_LABELS 8u

typedef enum { SYNTH_CALLS, SYNTH_LABEL, SYNTH_TEXT } synth_target;

typedef struct synth_options {
    synth_target target; /* chats with calls; the loop's own prompt answered by a label; {"text", "labels"} */
    double near;         /* likeness (wording.h) from which a text is too near to another; above 1: none is */
    uint64_t seed;
    const json_t *by; /* who writes, an object; borrowed */
} synth_options;

typedef enum {
    SYNTH_NEW,
    SYNTH_SAME,    /* the words of a text that is there */
    SYNTH_NEAR,    /* nearly */
    SYNTH_OF_TASK, /* of the evaluation's, or near to it */
    SYNTH_UNFIT,   /* a slot is missing, unknown, or where none may be; too long; a value that isn't said, or one
                      * that is said and isn't meant; the same words over and over */
    SYNTH_N_VERDICTS
} synth_verdict;
const char *synth_verdict_name(synth_verdict v);

typedef struct synth_message {
    size_t labels[SYNTH_MAX_LABELS]; /* of the intent */
    size_t n_labels;
    const char *voice; /* or NULL */
    const char *text;  /* with {slots}; not terminated */
    size_t n;
    bool missing;         /* what the tool needs is not said: it is to be asked for */
    const json_t *values; /* parameter -> value, of those that no slot fills; or NULL */
    int64_t request;      /* which request it came from */
} synth_message;

typedef struct synth synth;
/* Reads train/chat.json (system message and tools of the chats; made from the manifest where it isn't there) and every
 * task in eval/. All borrowed. */
MUGA_MUST_USE muga_status synth_new(const agent_env *env, const manifest *m, const intent *x, const synth_options *o,
                                    synth **out, muga_error *err);
void synth_free(synth *s);

/* NEW: *line is a new reference. Else NULL. */
MUGA_MUST_USE muga_status synth_add(synth *s, const synth_message *m, json_t **line, synth_verdict *verdict,
                                    muga_error *err);
/* A line that an earlier run wrote: counted, and no text may be near to it. *request: which one it came from. E_INPUT:
 * it is none. */
MUGA_MUST_USE muga_status synth_recall(synth *s, const json_t *line, int64_t *request, muga_error *err);

size_t synth_n_lines(const synth *s);
size_t synth_n_of(const synth *s, size_t label);          /* lines of that label */
size_t synth_n_verdicts(const synth *s, synth_verdict v); /* since synth_new */

/* Parameters of a label's tool. slot: its value is made here. */
typedef struct synth_parameter {
    const char *name;
    const json_t *schema;
    bool slot;
} synth_parameter;
size_t synth_n_parameters(const synth *s, size_t label); /* required ones; 0: no tool, or none */
synth_parameter synth_get_parameter(const synth *s, size_t label, size_t i);

/* The lines' wording beside the evaluation's, as agents' pages state it: an object with tasks, same, grams, gram_share,
 * near, nearest_mean. New. */
MUGA_MUST_USE muga_status synth_overlap(synth *s, json_t **out, muga_error *err);
size_t synth_n_tasks(const synth *s);

#endif
