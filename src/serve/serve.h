/* The server: models and agents over HTTP, for programs that were written for OpenAI's, Anthropic's and Ollama's.
 *
 *     serve_open -> serve_run (in the calling thread, until serve_stop or a signal) -> serve_close */
#ifndef MUGA_SERVE_SERVE_H
#define MUGA_SERVE_SERVE_H

#include "agent/agent.h"
#include "hub/hub.h"
#include "net/server.h"
#include "serve/config.h"

typedef struct serve serve;

/* Where agents are, and what they run on. find: the folder of one, malloc'ed; MUGA_E_NOT_FOUND. visit: each one's name
 * and folder. env's embedder is used by one request at a time. */
typedef struct serve_agents {
    const agent_env *env;
    muga_status (*find)(void *ctx, const char *name, char **dir, muga_error *err);
    muga_status (*each)(void *ctx, muga_status (*visit)(void *visit_ctx, const char *name, const char *dir),
                        void *visit_ctx, muga_error *err);
    void *ctx;
} serve_agents;

typedef struct serve_options {
    const hub *hub;               /* borrowed while it lives, as all here */
    const serve_agents *agents;   /* NULL: none are served */
    const char *home;             /* $MUGA_HOME: agents' data, what they learned */
    const char *version;          /* of the program */
    const char *database;         /* muga.db: keys, sessions, approvals, audit */
    const server_address *listen; /* [n_listen], at least one */
    size_t n_listen;
    uint32_t n_jobs;       /* requests that are answered at the same time; 0: 512 */
    uint32_t n_running;    /* of them, those that generate; 0: 512 */
    uint32_t n_waiting;    /* for their turn to generate; 0: 512 */
    uint32_t n_shared;     /* requests that keys share by weight (admission.h); 0: 64 */
    const char *anonymous; /* what goes without keys while there are none: scopes (keys.h); NULL: all */
    uint32_t drain_ms;     /* 0: 30000 */
    uint64_t memory_bytes; /* of all models; 0: three quarters of what this process may use */
    int64_t keep_alive_ms; /* of models that nobody says otherwise of; -1: 5 minutes */
    uint32_t n_ctx;
    int n_threads;
    int kv;
    bool packed;
    const serve_config
        *config;    /* limits, lists of who may come in, options of models, what is served; NULL: defaults */
    serve_log *log; /* NULL: nothing is logged */
    /* On SIGHUP, by a job: config_reload's arguments. NULL: the signal does nothing. */
    muga_status (*reload)(void *ctx, const serve_config *now, serve_config **out, json_t **changes, muga_error *err);
    /* "READY=1", "RELOADING=1", "STOPPING=1": sd_notify(3). From any thread. May be NULL. */
    void (*notify)(void *ctx, const char *state);
    /* Once, in the server's thread, when it listens: the ports that were taken, in order. May be NULL. */
    void (*on_ready)(void *ctx, const uint16_t *ports, size_t n);
    void *ctx;
} serve_options;

MUGA_MUST_USE muga_status serve_open(const serve_options *o, serve **out, muga_error *err);
MUGA_MUST_USE muga_status serve_run(serve *s, muga_error *err);
void serve_stop(serve *s); /* from any thread: a graceful stop, as SIGINT and SIGTERM are */
void serve_close(serve *s);

#endif
