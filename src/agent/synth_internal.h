/* Private to synth*.c. */
#ifndef MUGA_AGENT_SYNTH_INTERNAL_H
#define MUGA_AGENT_SYNTH_INTERNAL_H

#include "agent/internal.h"
#include "agent/synth.h"
#include "agent/wording.h"

#define SYNTH_MAX_SLOTS 8u

/* ---- synth_slots.c ---- */
typedef struct synth_slot {
    synth_parameter p;
    constrain_grammar *grammar; /* of its values, where a slot */
} synth_slot;
typedef struct synth_slots { /* of one label */
    synth_slot list[SYNTH_MAX_SLOTS];
    size_t n;
} synth_slots;
MUGA_MUST_USE muga_status synth_slots_init(const intent_label *l, synth_slots *out, muga_error *err);
void synth_slots_release(synth_slots *s);
/* A value by lot. New. E_INPUT: none of at most 64 characters was found. */
MUGA_MUST_USE muga_status synth_slot_make(const synth_slot *s, rng *r, json_t **out, muga_error *err);
/* The value as text, in one of the ways in which people write such a thing; way 0: as it is. Appended. */
void synth_slot_write(const json_t *value, uint32_t way, str *out);
#define SYNTH_WAYS 6u

/* ---- synth_fill.c ---- */
typedef struct synth_call {
    size_t label;
    json_t *arguments;
} synth_call;
typedef struct synth_filled {
    str text;
    synth_call calls[SYNTH_MAX_SLOTS];
    size_t n_calls;
} synth_filled;
void synth_filled_release(synth_filled *f);
/* *fits false: it doesn't (SYNTH_UNFIT). */
MUGA_MUST_USE muga_status synth_fill(const intent *x, const synth_slots *slots, const synth_message *m, rng *r,
                                     synth_filled *out, bool *fits, muga_error *err);

/* ---- synth_line.c ---- */
typedef struct synth_form {
    synth_target target;
    json_t *system; /* string: of the chats */
    json_t *tools;
    const char *instruction, *mask; /* of LABEL */
} synth_form;
MUGA_MUST_USE muga_status synth_form_init(const agent_env *env, const manifest *m, const intent *x, synth_target target,
                                          synth_form *out, muga_error *err);
void synth_form_release(synth_form *f);
MUGA_MUST_USE muga_status synth_line(const synth_form *f, const manifest *m, const intent *x, const synth_message *q,
                                     const synth_filled *filled, const json_t *by, json_t **out, muga_error *err);
/* What the person wrote, of a line of any target; NULL: it isn't one. */
const char *synth_line_text(const json_t *line, size_t *n);

/* ---- synth_tasks.c ---- */
/* The wording of what a person wrote: every way to write a grounded value is the same word. */
MUGA_MUST_USE muga_status synth_wording(const intent *x, const char *text, size_t n, wording *out, muga_error *err);
typedef struct synth_tasks {
    wording *list; /* [n] messages of the evaluation that have words */
    size_t n, cap;
    wording_set *set;
} synth_tasks;
MUGA_MUST_USE muga_status synth_tasks_read(const agent_env *env, const intent *x, const char *dir, synth_tasks *out,
                                           muga_error *err);
void synth_tasks_release(synth_tasks *t);

#endif
