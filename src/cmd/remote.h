/* A model behind an HTTP endpoint, on the command line: where it is, how it is trusted, whose key it gets. */
#ifndef MUGA_CMD_REMOTE_H
#define MUGA_CMD_REMOTE_H

#include "cmd/cmd.h"
#include "llm/remote.h"

typedef struct cmd_remote {
    const char *url, *key_file, *key_env, *ca_file, *proxy; /* as given; NULL: not */
    uint32_t timeout_s, retries;                            /* 0: the default; retries from REMOTE_OPTIONS */
    http_client http;
} cmd_remote;
#define CMD_REMOTE_DEFAULT ((cmd_remote){.retries = 4})

#define REMOTE_OPTIONS(r)                                                                                              \
    {"--remote", 0, CMD_STRING, &(r)->url, "URL", "MODEL is one of this server (OpenAI's chat completions)"},          \
        {"--key-file", 0, CMD_STRING, &(r)->key_file, "FILE", "the server's key, on the first line"},                  \
        {"--key-env", 0, CMD_STRING, &(r)->key_env, "NAME", "the environment's variable that holds it"},               \
        {"--ca-file", 0, CMD_STRING, &(r)->ca_file, "FILE", "certificates to trust instead of the system's"},          \
        {"--proxy", 0, CMD_STRING, &(r)->proxy, "URL", "go through this proxy (the environment's are not used)"},      \
        {"--timeout", 0, CMD_U32, &(r)->timeout_s, "S", "most seconds of one answer (default 600)"}, {                 \
        "--retries", 0, CMD_U32, &(r)->retries, "N", "after failures that may pass (default 4)"                        \
    }

/* What goes together. -1 to go on, or the exit code. */
int cmd_remote_check(const cmd_remote *r);
/* The model, asked of that server; its texts leave this machine, which is said where it isn't this one. Free *out with
 * llm_free before cmd_remote_release. */
MUGA_MUST_USE muga_status cmd_remote_open(cmd_remote *r, const char *model, llm **out, muga_error *err);
void cmd_remote_release(cmd_remote *r);
/* A key from the first line of a file, or where that is NULL from a variable of the environment; appended. Whoever has
 * it wipes it. */
MUGA_MUST_USE muga_status cmd_read_key(const char *file, const char *variable, str *out, muga_error *err);

#endif
