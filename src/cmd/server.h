/* A muga server that runs, asked over HTTP. */
#ifndef MUGA_CMD_SERVER_H
#define MUGA_CMD_SERVER_H

#include "cmd/cmd.h"

#define SERVER_DEFAULT_HOST "127.0.0.1:8484"

typedef struct cmd_server {
    const char *host, *key_file, *key_env; /* as given; NULL: not */
} cmd_server;
#define SERVER_OPTIONS(s)                                                                                              \
    {"--host",   0,         CMD_STRING,                                                                                \
     &(s)->host, "ADDRESS", "the server's, or unix:/path (default: $MUGA_HOST, else " SERVER_DEFAULT_HOST ")"},        \
        {"--key-file", 0, CMD_STRING, &(s)->key_file, "FILE", "the server's key, on the first line"}, {                \
        "--key-env", 0, CMD_STRING, &(s)->key_env, "NAME", "the environment's variable that holds it"                  \
    }

/* One request, its whole answer: *status as HTTP has it, *out the JSON of the body (NULL where it is none), new. body
 * NULL: none. MUGA_E_ENV: no server answers there. */
MUGA_MUST_USE muga_status cmd_server_ask(const cmd_server *s, const char *method, const char *path, const json_t *body,
                                         int *status, json_t **out, muga_error *err);
/* What an answer that is none of 2xx says, as an error. */
muga_status cmd_server_refused(int status, const json_t *body, muga_error *err);

#endif
