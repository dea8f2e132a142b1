/* What an evaluation says, as one JSON document; and two of them beside each other. docs/evaluation.md. */
#ifndef MUGA_AGENT_REPORT_H
#define MUGA_AGENT_REPORT_H

#include "agent/energy.h"
#include "agent/eval.h"

typedef struct report_parts {
    const json_t *results; /* eval_report's, of all runs, one run after another; each has "run" from 1 on */
    size_t n_tasks, n_runs;
    const energy *energy;       /* NULL: not asked for */
    const json_t *prices;       /* report_read_prices's; NULL: none */
    const json_t *satisfaction; /* report_satisfaction's; NULL: none */
} report_parts;

/* The numbers (an object, new reference):
 *   completion {"rate", "low", "high"}       of plays; the interval counts tasks, whatever the number of runs
 *   pass       [{"k", "rate"}]               pass^k, k = 1 .. runs
 *   wrong_effects, unapproved {"effects", "tasks", "at_most"}   tasks: with one in any run
 *   escalation {"escalated", "right", "wanted", "found", "precision", "recall": {"rate", "low", "high"} | null}
 *   steps, asked, read, cached, written {"mean", "p50", "p90", "p99", "max"}   a play
 *   turn_ms, task_ms                          the same
 *   energy {"joules", "joules_a_task"} | {"why"}
 *   cost {"currency", "as_of", "list": whence, "models": [{..., "a_task", "a_1000", "a_1000_cached": with the tokens
 *     that this machine's cache had at the price `cached`, where the row has one}]} | {"why"}
 *   satisfaction {"up", "down", "rate", "low", "high"} | null */
MUGA_MUST_USE muga_status report_make(const report_parts *p, json_t **out, muga_error *err);

/* Two documents with "tasks", "runs", "tasks_sha256" and "results", over the same tasks: `a` beside `b`, which it is
 * held against. Object, new reference: {"tasks", "runs": [a's, b's], "a", "b": completion rates, "won": tasks that `a`
 * does more often, "lost", "difference", "low", "high", "p": exact, two-sided, "differences": [{"id", "a", "b",
 * "why"}], "means": [{"what", "a", "b"}]}. MUGA_E_INPUT: not of the same tasks, or no such document; `name_a`,
 * `name_b` name them. */
MUGA_MUST_USE muga_status report_compare(const json_t *a, const char *name_a, const json_t *b, const char *name_b,
                                         json_t **out, muga_error *err);

/* A price list in YAML or JSON: {"currency", "as_of", "models": [{"model", "input", "cached", "output", "as_of",
 * "source"}]}, prices a million tokens; `cached` and the list's own `as_of` (then the newest row's) may be left out.
 * `list` is added, which is `what`. MUGA_E_INPUT names `what`, line and column. New reference. */
MUGA_MUST_USE muga_status report_read_prices(const char *text, size_t n, const char *what, json_t **out,
                                             muga_error *err);
/* How an agent's kept turns were rated (interactions.h): {"up", "down"}; *out NULL: none was. A count alone, of nobody
 * and no text. */
MUGA_MUST_USE muga_status report_satisfaction(store *s, const char *agent, json_t **out, muga_error *err);
#endif
