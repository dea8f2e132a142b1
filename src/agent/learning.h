/* The manifest's `learning:`, read. docs/learning.md. */
#ifndef MUGA_AGENT_LEARNING_H
#define MUGA_AGENT_LEARNING_H

#include "agent/agent.h"
#include "agent/gate.h"
#include "agent/learned.h"

/* learning.gate: paths are of task files, or folders of such, in the agent's folder. All borrowed from the manifest. */
typedef struct learning_gate {
    const char *held_out;
    const json_t *regression, *safety; /* arrays of paths, or NULL */
    const json_t *others;              /* array of agents' names; NULL: every installed agent over the same model */
    gate_levels levels;
} learning_gate;
/* MUGA_E_INPUT names agent.yaml and the line: no gate, or a path that leads out of the folder. */
MUGA_MUST_USE muga_status learning_read_gate(const manifest *m, learning_gate *out, muga_error *err);

/* learning.examples */
bool learning_has_examples(const manifest *m);
learned_options learning_examples(const manifest *m);
/* Of the newest `most` turns (0: of all) those that may be learned from, in order of time: those that a person
 * corrected, and those that were completed, clearly decided and not rated down; while the operator's consent is on.
 * Personal data is masked. The reading is audited as `use` with `detail` (object or NULL). Array of {"text", "labels",
 * "id", "source", "corrected"}; new reference. `source` tells people apart and nothing of them. */
MUGA_MUST_USE muga_status learning_read_turns(const agent_env *env, store *s, const manifest *m, size_t most,
                                              const char *use, const json_t *detail, json_t **out, muga_error *err);
/* What intent_listen takes, of the turns that there are now. *out NULL: the manifest has no learning.examples, or
 * there is no consent. */
MUGA_MUST_USE muga_status learning_load_examples(const agent_env *env, store *s, const intent *x, const manifest *m,
                                                 learned **out, muga_error *err);

/* learning.adapter: what `muga agent learn` trains on. */
#define LEARNING_AT_LEAST 200 /* turns, unless learning.adapter.at_least says otherwise */
typedef struct learning_data {
    str lines;               /* JSON lines (llm/dataset.h); release it, on failure too */
    size_t n_beside;         /* lines that learning.adapter.beside brought along; the first */
    size_t n_turns;          /* lines made of turns */
    size_t n_kept_out;       /* turns that say the words of a task on which the candidate will be measured */
    size_t n_repeated;       /* turns that say what another one said */
    size_t n_unsayable;      /* turns whose labels the manifest no longer has, or no answer says */
    size_t n_labels;         /* different answers among the turns' */
    char sha256[SHA256_HEX]; /* of the lines */
} learning_data;
/* `tasks` (array): of the gate; their messages are kept out of the data. Of turns that say the same words one counts: a
 * correction, else the newest. MUGA_E_INPUT: fewer turns than at_least, or all with one answer and nothing beside. */
MUGA_MUST_USE muga_status learning_make_data(const agent_env *env, store *s, const intent *x, const manifest *m,
                                             const json_t *tasks, learning_data *out, muga_error *err);
#endif
