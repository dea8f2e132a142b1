/* Private to serve/: an agent that is opened to answer one request. */
#ifndef MUGA_SERVE_HOSTED_H
#define MUGA_SERVE_HOSTED_H

#include "agent/intent.h"
#include "agent/loop.h"
#include "agent/versions.h"
#include "llm/meter.h"
#include "serve/internal.h"

typedef struct hosted {
    call *c;
    agent_env env;
    char *dir, *data_dir;
    manifest *m;
    intent *intent;
    learned *learned;
    adapter_version version; /* what its model has learned; 0: nothing */
    pool_lent lent;          /* nothing where it acts by rules */
    llm_meter meter;         /* around it: what a turn used */
    llm *model;              /* the meter; NULL: none */
    store *store;
    agent_session *session;
    agent_loop *loop;
    loop_watch watch; /* the route's, behind what counts */
    bool ended;       /* the session has; when it is left */
    char tool[64];    /* of the call that runs */
} hosted;

/* The agent with its store; release it with hosted_close, after a failure, too. false: the error has gone out. */
bool hosted_open(call *c, const char *name, hosted *out);
/* Its model, with the adapter in use; for a session that there is already, with the one that it began with. NULL: a new
 * one. */
bool hosted_open_model(hosted *h, const char *session);
/* A new session, for these values; info says that it is the server's, and whose. Or one that there is: its tenant's,
 * else it isn't there; dry: only if it is a dry run. Then the loop over it. */
bool hosted_begin(hosted *h, const json_t *values, bool dry);
bool hosted_go_on(hosted *h, const char *session, bool dry);
/* Watched from its first turn on; what it does is counted, too. */
bool hosted_watch(hosted *h, const loop_watch *watch);
/* What the model read and wrote for it so far, into the call's numbers. */
void hosted_use(hosted *h);
/* The session is left before the answer goes out, so that the next request can go on with it. */
void hosted_count(hosted *h, const turn_result *r); /* a turn that has ended */
void hosted_leave(hosted *h);
/* What a turn failed with: a session that waits for an approval, or has ended, is a 409 that says what to do. Once
 * it is left. Always false. */
bool hosted_fail_turn(hosted *h, muga_status st, const turn_result *r, const muga_error *err);
void hosted_close(hosted *h);

/* muga.db, for as long as a request takes. false: the error has gone out. */
bool hosted_store(call *c, store **out);
/* By which name who asks decides approvals and begins sessions: "key:NAME", or "anonymous". */
void hosted_who(const call *c, char out[80]);

#endif
