/* Evaluation: tasks with checked end states, played to an agent on a fresh copy of its data. docs/evaluation.md. */
#ifndef MUGA_AGENT_EVAL_H
#define MUGA_AGENT_EVAL_H

#include "agent/loop.h"

typedef enum { EVAL_AGENT, EVAL_ALWAYS_ESCALATE, EVAL_ALWAYS_FIRST_TOOL } eval_who;

typedef struct eval_spec {
    const agent_env *env;       /* the clock is replaced by each task's `now` */
    const char *dir, *data_dir; /* the agent, and the data every task begins with */
    const char *scratch;        /* an empty folder; the caller removes it */
    llm *model;
    eval_who who;
    const learned *learned;       /* past successes that have a voice, too (learned.h); NULL: none */
    const atomic_bool *cancelled; /* once true, no task begins, and the model's answer ends; may be NULL */
    /* After each task; may be NULL. Return false to stop. */
    bool (*on_task)(void *ctx, size_t n_done, size_t n, const json_t *result);
    void *ctx;
} eval_spec;

typedef struct eval_report {
    size_t tasks, completed, wrong_effects, unapproved, escalated;
    uint64_t n_tokens, us, worst_us; /* the model read and wrote; of all tasks; of the slowest */
    /* One a task: {"id", "ok", "why", "outcome", "escalation": "must" | "may" | "no" | null, as the task has it,
     * "wrong_effects", "unapproved", "us", "turns_us": [one a message], "steps": calls proposed, "tokens", "asked": how
     * often the model was, "read", "cached": of those read, "written", "answer", "confidence"}; the last of a task's
     * least sure decision, null where no expert took one. */
    json_t *results;
} eval_report;
void eval_report_release(eval_report *r);

/* Tasks from JSON lines; MUGA_E_INPUT names `what` and the line. New reference. */
MUGA_MUST_USE muga_status eval_read_tasks(const char *text, size_t n, const char *what, json_t **out, muga_error *err);
/* MUGA_E_NEGATIVE: on_task stopped it; E_CANCELLED. */
MUGA_MUST_USE muga_status eval_run(const eval_spec *spec, const json_t *tasks, eval_report *out, muga_error *err);
#endif
