/* Private to agent/: what the files of the executor share. agent.h is the face. */
#ifndef MUGA_AGENT_INTERNAL_H
#define MUGA_AGENT_INTERNAL_H

#include "agent/agent.h"
#include "agent/check.h"
#include "agent/labels.h"
#include "agent/policy.h"
#include "agent/tool.h"

#include "base/mem.h"

#define AGENT_MAX_ARGUMENT_BYTES ((size_t)64 << 10) /* of one call, as canonical JSON */
#define AGENT_MAX_DEPTH 64 /* of arguments, results, session values: a record that wraps them can be read again */
#define AGENT_MAX_MESSAGE_BYTES ((size_t)1 << 20) /* of one message */

/* ---- ids (ids.c): Crockford's base 32, small letters ---- */
muga_status id_new(const agent_env *env, const char *prefix, char out[AGENT_ID_SIZE], muga_error *err);
void id_of_binding(const uint8_t binding[SHA256_BYTES], char out[AGENT_ID_SIZE]); /* "h4kd-9t2m": the first 40 bits */
/* What a person typed -> the id's form: case, a missing dash, o for 0, i and l for 1 don't matter. False: not an id. */
bool id_read(const char *typed, char out[AGENT_ID_SIZE]);

/* ---- sections of the manifest with a file of their own ---- */
/* After state_schema and tools; sets m->plan (manifest_plan.c). */
muga_status manifest_read_plan(manifest *m, const check_place *at, muga_error *err);
void manifest_free_plan(manifest *m);
/* After policy; sets m->hook (approval_notify.c). */
muga_status manifest_read_approvals(const agent_env *env, manifest *m, const check_place *at, muga_error *err);
void manifest_free_approvals(manifest *m);
/* The keys of a tool that say how its calls are run (manifest_run.c): retry, rate. */
muga_status manifest_read_run(const check_place *at, const json_t *learning, manifest_tool *t, const char *pointer,
                              muga_error *err);

/* ---- audit (audit.c) ---- */
/* Append inside the caller's transaction. `session` NULL: of the store itself. */
muga_status audit_write(const agent_env *env, store *s, const char *session, const char *kind, const json_t *payload,
                        muga_error *err);

/* Do sessions, history, calls and approvals say what the chain says (audit_tables.c)? MUGA_E_NEGATIVE: err names the
 * first place that does not. The chain itself has been walked before. */
muga_status audit_check_tables(store *s, muga_error *err);
muga_status audit_check_keys(store *s, muga_error *err); /* the same of the server's keys (audit_keys.c) */

/* ---- journal (journal.c) ---- */
typedef enum {
    STATE_PROPOSED,
    STATE_INVALID,
    STATE_VALIDATED,
    STATE_REFUSED,
    STATE_HELD,
    STATE_APPROVED,
    STATE_DENIED,
    STATE_EXPIRED,
    STATE_STARTED,
    STATE_IN_DOUBT,
    STATE_FINISHED,
    STATE_FAILED
} call_state;
#define N_CALL_STATES 12
const char *call_state_name(call_state s);
bool call_state_may_follow(call_state from, call_state to);

/* One row of calls, in memory. */
typedef struct journal_call {
    char id[AGENT_ID_SIZE], session[AGENT_ID_SIZE];
    char *tool;
    uint8_t tool_digest[SHA256_BYTES], policy_digest[SHA256_BYTES];
    json_t *arguments;
    call_state state;
    int64_t attempt;
    json_t *result; /* NULL until there is one */
    char label[24]; /* of the result (labels.h); "" until there is one */
    char reason[256];
} journal_call;
void journal_call_release(journal_call *c);
muga_status journal_read(store *s, const char *id, journal_call *out, muga_error *err);
/* Inside a transaction. Insert in STATE_PROPOSED, with its audit record. */
muga_status journal_propose(const agent_env *env, store *s, const journal_call *c, muga_error *err);
/* Inside a transaction. The row must be in c->state, which moves to `to`; audited with `detail` (object or NULL).
 * c->result, c->reason and c->attempt are written as they stand. MUGA_E_POLICY: someone else moved it first. */
muga_status journal_move(const agent_env *env, store *s, journal_call *c, call_state to, const json_t *detail,
                         muga_error *err);

/* ---- long results (long_result.c) ---- */
#define LONG_RESULT_MAX_BYTES ((size_t)4 << 20) /* kept of one */
#define LONG_RESULT_MIN_SHOWN 512
/* What is read of a result: itself, or where it is longer an extract by rule; new reference. */
muga_status long_result_extract(const json_t *result, const char *call, size_t max_bytes, json_t **out,
                                muga_error *err);
muga_status long_result_piece(const json_t *result, const char *call, int64_t offset, size_t max_bytes, json_t **out,
                              muga_error *err);
/* Are these, results or extracts of them, of the same result? */
bool long_result_same(const json_t *a, const json_t *b);
/* What the agent reads of a call's result: by its tool's `long`; new reference, JSON null where there is none. */
muga_status journal_shown(const manifest *m, const journal_call *c, json_t **out, muga_error *err);

/* ---- approval (approval.c) ---- */
typedef struct approval_row {
    char id[AGENT_ID_SIZE];
    uint8_t binding[SHA256_BYTES];
    char state[12];
    int64_t expires_ms;
} approval_row;
muga_status approval_bind(const journal_call *c, int64_t expires_ms, uint8_t out[SHA256_BYTES], muga_error *err);
/* Inside a transaction: a pending approval for the call's current attempt. */
muga_status approval_create(const agent_env *env, store *s, const journal_call *c, int64_t expires_ms,
                            approval_row *out, muga_error *err);
/* The approval of the call's current attempt. MUGA_E_NOT_FOUND: none. */
muga_status approval_read(store *s, const journal_call *c, approval_row *out, muga_error *err);
/* Inside a transaction: approved -> used, if bound to this call as it stands, under `m` as it stands, and not expired;
 * else MUGA_E_POLICY and why. */
muga_status approval_use(const agent_env *env, store *s, const manifest *m, const journal_call *c, muga_error *err);
/* Inside a transaction: pending or approved -> expired, and the call with it, when its time is over. */
muga_status approval_expire(const agent_env *env, store *s, journal_call *c, bool *expired, muga_error *err);

/* Tell the manifest's program, if it names one, of this call, which waits (approval_notify.c). Outside of a
 * transaction. Nothing that goes wrong comes back: it is noted in the audit. */
void approval_notify(agent_session *s, const journal_call *c);

/* ---- session ---- */
struct agent_session {
    agent_env env;
    store *store;
    const manifest *m;
    char id[AGENT_ID_SIZE];
    json_t *values, *state, *history;
    bool ended, dry, has_shared; /* has_shared: state has what all sessions of the agent share */
    int64_t n_calls_in_turn;
    store_claim *claim;
    void **tools;               /* [m->n_tools], opened at first use */
    llm *model;                 /* of the loop that drives it, for agents within; NULL: none */
    int64_t n_nested_tokens;    /* that agents within used in this turn */
    const agent_session *outer; /* of the agent around this one (nested.h); NULL: none */
    bool is_asked;              /* its messages are that agent's, not the person's */
    struct trace *trace;        /* NULL: off */
};
/* session_new with an id that is new (nested.h). */
muga_status session_new_as(const agent_env *env, store *s, const manifest *m, const char *id, const json_t *values,
                           const json_t *info, agent_session **out, muga_error *err);
/* Add a row to the stored history, inside a transaction; and, once it is committed, the entry in memory;
 * `found` (array or NULL) receives what guards found in a result (guard_result). */
muga_status session_store_row(agent_session *s, const char *role, const char *content, size_t n, const char *call,
                              muga_error *err);
muga_status session_remember_call(agent_session *s, const journal_call *c, json_t *found, muga_error *err);
/* May this be said in the session? UTF-8, not too long, and it has not ended. */
muga_status session_check_text(const agent_session *s, const char *text, size_t n, muga_error *err);
muga_status session_remember_message(agent_session *s, const char *role, const char *text, size_t n, muga_error *err);
/* session_state.c. `state` without what all sessions of the agent share; new reference, NULL: no memory. */
json_t *session_own_state(const agent_session *s, const json_t *state);
/* What the agent's sessions share, as the store has it now, into s->state. */
muga_status session_refresh(agent_session *s, muga_error *err);
/* Inside a transaction, after session_refresh: a whole state, checked against the manifest, each part where it belongs
 * and audited if it changed. Once it is committed, session_take_state has it in memory, too. */
muga_status session_write_state(agent_session *s, const json_t *state, muga_error *err);
void session_take_state(agent_session *s, json_t *state);
/* Is agent_state what the chain says? MUGA_E_NEGATIVE: whose is not. */
muga_status session_check_shared(store *s, muga_error *err);
/* A guard's record (loop_guard.c): `found` as guard_check gives it, the first of them; *out (may be NULL) receives it.
 */
muga_status session_audit_guard(agent_session *s, const char *side, const char *action, const char *why,
                                const json_t *found, json_t **out, muga_error *err);
/* Of history[0, until), what is still read of it when it has outgrown the context, in at most max_bytes of JSON
 * (session_digest.c); new reference. */
muga_status session_digest(const json_t *history, size_t until, size_t max_bytes, json_t **out, muga_error *err);
muga_status executor_recover(agent_session *s, muga_error *err);
#endif
