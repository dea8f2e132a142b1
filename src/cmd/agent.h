/* What the verbs of `muga agent` share: opening one, with the model that manifest and command line choose. */
#ifndef MUGA_CMD_AGENT_H
#define MUGA_CMD_AGENT_H

#include "agent/intent.h"
#include "cmd/cmd.h"

/* An agent opened for work: its manifest over its own copy of the data, its intentions, its model. */
typedef struct agent_opened {
    agent_env env;
    char *dir, *data_dir;
    manifest *m;
    intent *intent;
    llm *model;
} agent_opened;
/* All but the model, which takes longest: what is wrong before it is said at once. agent_close, after a failure, too.
 */
MUGA_MUST_USE muga_status agent_open(agent_opened *o, const char *name, muga_error *err);
void agent_close(agent_opened *o);

/* What the command line says of the model, over what the manifest says. */
typedef struct agent_choice {
    const char *name, *adapter, *kv;
    uint32_t threads;
    bool no_cache;
    char *adapter_path; /* parsed */
    float adapter_scale;
    kernel_kv_type kv_type;
} agent_choice;

#define AGENT_MODEL_OPTIONS(choice)                                                                                    \
    {"--model", 0, CMD_STRING, &(choice)->name, "MODEL", "another model than the manifest's, without its adapter"},    \
        ADAPTER_OPTION(&(choice)->adapter), KV_OPTION(&(choice)->kv), NO_CACHE_OPTION(&(choice)->no_cache), {          \
        "--threads", 't', CMD_U32, &(choice)->threads, "N", "threads (default: cores this process may use)"            \
    }

/* -1 to go on, or the exit code. */
int agent_parse_choice(agent_choice *c);
void agent_choice_release(agent_choice *c);
MUGA_MUST_USE muga_status agent_open_model(agent_opened *o, agent_choice *c, muga_error *err);

#endif
