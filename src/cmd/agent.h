/* What the verbs of `muga agent` share: opening one, with the model that manifest and command line choose. */
#ifndef MUGA_CMD_AGENT_H
#define MUGA_CMD_AGENT_H

#include "agent/eval.h"
#include "agent/learning.h"
#include "agent/versions.h"
#include "cmd/cmd.h"

/* An agent opened for work: its manifest over its own copy of the data, its intentions, its model. */
typedef struct agent_opened {
    agent_env env;
    char *dir, *data_dir;
    manifest *m;
    intent *intent;
    llm *model;
    learned *learned;        /* past successes that have a voice; NULL: none */
    adapter_version version; /* what the model has learned; version 0: nothing, or another adapter was asked for */
} agent_opened;
/* All but the model, which takes longest: what is wrong before it is said at once. agent_close, after a failure, too.
 */
MUGA_MUST_USE muga_status agent_open(agent_opened *o, const char *name, muga_error *err);
/* The same, of an agent that decides by labels: E_INPUT where it decides in another way. */
MUGA_MUST_USE muga_status agent_open_intent(agent_opened *o, const char *name, muga_error *err);
void agent_close(agent_opened *o);

/* What the command line says of the model, over what the manifest says. */
typedef struct agent_choice {
    const char *name, *adapter, *kv;
    uint32_t threads;
    bool no_cache, any_base;
    char *adapter_path; /* parsed */
    float adapter_scale;
    kernel_kv_type kv_type;
    int64_t version; /* of what was learned; VERSIONS_IN_USE unless a session began with another */
} agent_choice;

#define AGENT_MODEL_OPTIONS(choice)                                                                                    \
    {"--model", 0, CMD_STRING, &(choice)->name, "MODEL", "another model than the manifest's, without its adapter"},    \
        ADAPTER_OPTION(&(choice)->adapter), ANY_BASE_OPTION(&(choice)->any_base), KV_OPTION(&(choice)->kv),            \
        NO_CACHE_OPTION(&(choice)->no_cache), {                                                                        \
        "--threads", 't', CMD_U32, &(choice)->threads, "N", "threads (default: cores this process may use)"            \
    }

/* -1 to go on, or the exit code. */
int agent_parse_choice(agent_choice *c);
void agent_choice_release(agent_choice *c);
MUGA_MUST_USE muga_status agent_open_model(agent_opened *o, agent_choice *c, muga_error *err);

/* ---- what it has learned (agent_learned.c) ---- */

/* SHA-256 of the file of a model, by name in the store or path. */
MUGA_MUST_USE muga_status agent_base_digest(const char *model, char hex[SHA256_HEX], muga_error *err);
/* The version as it is in the store, its file and base checked; where the manifest has no learning:, or nothing was
 * learned, version 0. */
MUGA_MUST_USE muga_status agent_find_version(const manifest *m, int64_t version, adapter_version *out, muga_error *err);
/* Past successes have a voice from now on, where learning.examples and the operator's consent say so. */
MUGA_MUST_USE muga_status agent_listen(agent_opened *o, store *s, muga_error *err);
/* For session_start: {"version", "sha256"}; new reference. NULL: nothing was learned. */
json_t *agent_version_record(const agent_opened *o);

/* ---- percepts (agent_percepts.c) ---- */

/* A file of JSON lines, or standard input ("-"), open and readable; for agent_close_percepts, which takes NULL, too. */
MUGA_MUST_USE muga_status agent_open_percepts(const char *path, FILE **out, muga_error *err);
void agent_close_percepts(FILE *f);
/* Each line of f that is a JSON object; `bad` gets the others, and the next one is read. path names f in errors. */
typedef muga_status (*agent_take_percept)(void *ctx, size_t line, const json_t *percept, muga_error *err);
typedef void (*agent_bad_percept)(void *ctx, size_t line, const muga_error *why);
MUGA_MUST_USE muga_status agent_each_percept(FILE *f, const char *path, agent_take_percept take, agent_bad_percept bad,
                                             void *ctx, muga_error *err);

/* ---- the event "trace" of a loop (agent_trace.c): a table, or a line of JSON a step and one of the turn ---- */
void agent_print_trace(const json_t *d, bool as_json);

/* ---- tasks (agent_tasks.c) ---- */

/* Appends to tasks those of a file or of a folder's *.jsonl; from NULL: of the folder eval in `dir`. */
MUGA_MUST_USE muga_status agent_read_tasks(const char *dir, const char *from, json_t *tasks, muga_error *err);
/* Play tasks to the agent in `dir` with this model and these past successes (or NULL), each on data as the agent brings
 * them along. */
MUGA_MUST_USE muga_status agent_evaluate(const agent_env *env, const char *dir, llm *model, const learned *past,
                                         eval_who who, const json_t *tasks,
                                         bool (*on_task)(void *ctx, size_t n_done, size_t n, const json_t *result),
                                         void *ctx, eval_report *out, muga_error *err);

#endif
