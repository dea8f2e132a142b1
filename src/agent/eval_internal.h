/* Private to the evaluation: a task's world (eval_world.c) and its play, driven in eval.c, judged in eval_judge.c. */
#ifndef MUGA_AGENT_EVAL_INTERNAL_H
#define MUGA_AGENT_EVAL_INTERNAL_H

#include "agent/eval.h"
#include "agent/internal.h"
#include "llm/meter.h"

typedef struct world {
    const eval_spec *spec;
    agent_env env; /* spec's, with this clock */
    os_clock clock;
    int64_t now_ms;
    char *data, *data_dir, *kept, *blank, *store_dir, *store_path; /* eval_world.c */
    manifest *m;
    intent *intent;
    store *store; /* the task's */
    llm_meter meter;
    llm *model; /* spec's, metered; NULL: it has none */
} world;
muga_status eval_world_open(const eval_spec *spec, world *w, muga_error *err);
/* As before any task: data, journal, state and memory, also those of agents within. */
muga_status eval_world_begin(world *w, muga_error *err);
void eval_world_close(world *w);

#define EVAL_MAX_YES 16 /* approvals given in one task */

typedef struct play {
    world *w;
    const json_t *task, *expect;
    agent_session *session;
    agent_loop *loop;
    const intent_label *always; /* of a baseline */
    json_t *history;            /* of the sessions that are over */
    json_t *outcomes;           /* of every turn */
    json_t *turns;              /* [us], one a message */
    json_t *calls;              /* proposed: [{"tool", "arguments"}] */
    json_t *within;             /* eval_judge: calls of agents within, as the journal has them */
    json_t *allowed;            /* of the listed calls, those that the approver may still say yes to */
    str answers;
    turn_outcome outcome;
    char yes[EVAL_MAX_YES][AGENT_ID_SIZE]; /* calls that were allowed */
    size_t n_yes;
    uint64_t n_tokens, us;
    size_t wrong, unapproved;
    double confidence; /* of the least sure decision that an expert took; 2: none did */
    char why[256];
} play;

/* "2026-09-14T10:30:00", with or without Z or an offset, or a date alone. */
bool eval_read_time(const char *text, int64_t *ms);
/* Is this call on the list (*i: where)? */
bool eval_is_listed(const json_t *calls, const char *tool, const json_t *arguments, size_t *i);
const char *eval_approver(const json_t *task); /* expected | deny | none */
/* The first reason why it is not done stands. */
void eval_fail(play *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Against all that the task expects. */
MUGA_MUST_USE muga_status eval_judge(play *p, muga_error *err);
#endif
