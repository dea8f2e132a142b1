/* The manifest's `learning:`, read. docs/learning.md. */
#ifndef MUGA_AGENT_LEARNING_H
#define MUGA_AGENT_LEARNING_H

#include "agent/agent.h"
#include "agent/gate.h"

/* learning.gate: paths are of task files, or folders of such, in the agent's folder. All borrowed from the manifest. */
typedef struct learning_gate {
    const char *held_out;
    const json_t *regression, *safety; /* arrays of paths, or NULL */
    const json_t *others;              /* array of agents' names; NULL: every installed agent over the same model */
    gate_levels levels;
} learning_gate;
/* MUGA_E_INPUT names agent.yaml and the line: no gate, or a path that leads out of the folder. */
MUGA_MUST_USE muga_status learning_read_gate(const manifest *m, learning_gate *out, muga_error *err);
#endif
