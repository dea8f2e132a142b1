/* What is wrong with an agent's folder, or likely to be, before it runs. docs/lint.md lists the rules.
 *
 * A rule is silenced, with a reason, by a comment in agent.yaml on the line of what it finds, or in the comment lines
 * right above it; one above the first key silences it in the whole file:
 *
 *     # lint: allow write-without-approval: the heater may be switched by rule */
#ifndef MUGA_AGENT_LINT_H
#define MUGA_AGENT_LINT_H

#include "agent/agent.h"

typedef enum { LINT_ERROR, LINT_WARNING, LINT_NOTE } lint_level;
const char *lint_level_name(lint_level l);

typedef struct lint_rule {
    const char *name;
    lint_level level;
    const char *suggestion; /* what to do; NULL: the message says it */
} lint_rule;
const lint_rule *lint_rules(size_t *n);

typedef struct lint_report {
    /* In the order of the file: [{"file", "line", "column", "level", "rule", "key", "message", "suggestion", "allowed":
     * the reason why it is silenced | null}] */
    json_t *findings;
    size_t n_errors, n_warnings, n_notes, n_allowed; /* the allowed ones are in no other count */
} lint_report;
void lint_report_release(lint_report *r);

/* `data_dir`: an empty folder, for the agent's databases. MUGA_E_NOT_FOUND: there is no agent.yaml. What is wrong with
 * the agent is in the report, with MUGA_OK. */
MUGA_MUST_USE muga_status lint_run(const agent_env *env, const char *dir, const char *data_dir, lint_report *out,
                                   muga_error *err);
#endif
