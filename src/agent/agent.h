/* The agent folder's face: manifest, session, executor, approval, audit; and the loop over them.
 *
 *   manifest   agent.yaml, parsed, checked, immutable
 *   session    one conversation under a manifest: session values, typed state, history; journalled in muga.db
 *   executor   the only way to a tool: validate -> policy -> journal -> run -> journal. Nothing above it is trusted:
 *              a model that says anything at all can cause no effect that policy, or a person, has not allowed
 *   approval   a person's leave for one call with exactly these arguments, once, for a time
 *   audit      every decision as a hash-chained record, appended in the transaction of the change it tells of
 *
 * Threads: a session and its executor belong to one thread at a time. Processes: a session is driven by one at a time
 * (store_claim), approvals may be given by any. */
#ifndef MUGA_AGENT_H
#define MUGA_AGENT_H

#include "base/hash.h"
#include "base/json.h"
#include "constrain/constrain.h"
#include "llm/llm.h"
#include "model/template.h"
#include "os/os.h"
#include "store/store.h"

#include <stdatomic.h>

#define AGENT_ID_SIZE 24 /* any id below, with its NUL */

/* Texts to vectors, for search tools. One thread. */
typedef struct agent_embedder {
    /* The model (a name or a path), opened when it is first asked for: the length of its vectors, and what tells it
     * from others. */
    muga_status (*open)(void *self, const char *model, uint32_t *n_dim, char id[SHA256_HEX], muga_error *err);
    muga_status (*embed)(void *self, const char *model, span text, float *vector, muga_error *err); /* of length 1 */
    void *self;
    /* Is there a model of this name? Cheap, when a manifest is loaded. NULL: it shows at the first call. */
    muga_status (*find)(void *self, const char *model, muga_error *err);
} agent_embedder;

/* The seams an agent runs on; borrowed, must outlive what is made with them. */
typedef struct agent_env {
    const os_clock *clock;
    const os_files *files;
    const os_children *children;
    muga_status (*random)(void *self, void *p, size_t n, muga_error *err); /* ids and salts */
    void *random_self;
    const char *launcher; /* path of the program muga, which sandboxes need (os/sandbox.h); NULL: they are refused */
    atomic_bool *sandbox_tried;     /* a trial of the sandbox has passed in this process; NULL: one for each tool */
    const struct http_client *http; /* what http tools ask through (net/http.h); NULL: libcurl, loaded when one does */
    const struct agent_nest *nest;  /* agents around the one that is loaded or run on this (nested.h); NULL: none */
    const agent_embedder *embedder; /* NULL: a search tool that names a model is refused */
    const char *approvers; /* folder of the operator's approvers.yaml: who holds which role; NULL: nobody holds one */
    bool rehearses;        /* an evaluation: who decides holds every role, and nobody is notified */
    const char *tenant;    /* whose prompts they are (llm_request.tenant); NULL: nobody's in particular */
    /* May whoever asks have this tool called? Besides the policy, and asked for each call; NULL: all. */
    bool (*may_use)(void *self, const char *agent, const char *tool);
    void *may_use_self;
} agent_env;
agent_env agent_env_system(void); /* os_system() and getrandom; no launcher, no embedder */

/* ---- manifest ------------------------------------------------------------------------------------------------- */

typedef enum { MANIFEST_REFLEX, MANIFEST_MODEL, MANIFEST_GOAL } manifest_kind;
typedef struct tool_kind tool_kind; /* tool.h */
typedef enum { EFFECT_READ, EFFECT_WRITE } tool_effect;
typedef enum { APPROVAL_NEVER, APPROVAL_ALWAYS, APPROVAL_WHEN } tool_approval;
typedef enum { RATE_PER_SESSION, RATE_PER_SUBJECT, RATE_PER_AGENT } tool_rate_per;
typedef enum { SECRECY_PUBLIC, SECRECY_INTERNAL, SECRECY_SECRET } label_secrecy; /* labels.h */
typedef enum { OTHERWISE_ESCALATE, OTHERWISE_REFUSE, OTHERWISE_ASK } scope_otherwise;
enum { /* escalation.when */
       ESCALATE_OUT_OF_SCOPE = 1,
       ESCALATE_NO_PROGRESS = 2,
       ESCALATE_LOW_MARGIN = 4,
       ESCALATE_LIMITS = 8,
       ESCALATE_CUSTOMER_ASKS = 16,
       ESCALATE_TOOL_FAILED = 32
};

typedef struct manifest_tool {
    const char *name, *description;
    const json_t *parameters; /* JSON Schema of an object; test-compiled, so constrain_compile_schema takes it */
    const tool_kind *kind;
    tool_effect effect;
    tool_approval approval;
    const template_expression *when; /* APPROVAL_WHEN: ask if true; sees arguments, session, state */
    bool idempotent;
    bool leaves_machine;                 /* its arguments may reach another machine */
    bool untrusted;                      /* its results may hold what strangers wrote */
    label_secrecy secrecy;               /* of its results */
    int64_t timeout_ms;                  /* of one attempt */
    int64_t retry_times, retry_first_ms; /* attempts after the first, and the wait before the first of them */
    int64_t rate_calls, rate_ms;         /* so many in so long a time; 0: as many as like */
    tool_rate_per rate_per;
    size_t max_result_bytes;      /* of the result as JSON: what is longer has failed */
    size_t shown_bytes;           /* and what is longer than this is shown as an extract (long: summary) */
    const json_t *json;           /* the whole definition */
    uint8_t digest[SHA256_BYTES]; /* of the definition, and of what else the tool is made of: a program's bytes */
    int line;                     /* in agent.yaml */
} manifest_tool;

typedef struct manifest {
    char *dir;      /* the agent's folder, as given (give an absolute one: approvals outlive the process) */
    char *data_dir; /* where sql databases are looked for; the folder itself unless overridden */
    json_t *json;   /* the whole manifest, as written */
    json_t *places; /* where things stand in agent.yaml (yaml_parse_places), for who reads more of it */
    uint8_t digest[SHA256_BYTES];        /* of json and the tools' digests */
    uint8_t policy_digest[SHA256_BYTES]; /* of all that policy depends on: session, guards, scope, tools, escalation,
                                            limits, policy, approvals */
    const char *name;                    /* agent: */
    manifest_kind kind;
    const char *model;                    /* NULL for a reflex agent that needs none */
    char *adapter;                        /* path of a LoRA adapter for it, owned; NULL without */
    double adapter_scale;                 /* 1 unless set */
    const char *kv;                       /* how keys and values are kept: "f16", "f32", "q8"; NULL = the model's way */
    json_t *session_schema;               /* object schema built from session: */
    json_t *state_schema;                 /* object schema built from state: */
    json_t *state_default;                /* object of the defaults */
    const char *goal_statement;           /* NULL without a goal */
    const template_expression *goal_done; /* NULL without; sees state, results (array of finished results), session */
    double goal_target;                   /* 0 when not given */
    struct guard_set *guards;             /* guards:, compiled (guard.h) */
    const char *scope_domain;             /* NULL without */
    scope_otherwise scope_otherwise;
    const char *scope_say; /* NULL without */
    double scope_margin;   /* nats below which the model isn't sure (loop_scope.c) */
    const manifest_tool *tools;
    size_t n_tools;
    const char *escalation_to;                               /* NULL without */
    unsigned escalation_when;                                /* ESCALATE_* */
    int64_t max_steps, max_tokens, max_seconds, approval_ms; /* limits:, with defaults */
    int64_t max_repeats;                                     /* the same call with the same result, in a turn */
    struct policy_section *policy;                           /* policy:, compiled (policy.h); NULL without */
    struct approval_hook *hook;    /* approvals.notify, as a tool (approval_notify.c); NULL: nobody is told */
    const json_t *intent;          /* the loop's own keys, as written: scored labels */
    const json_t *examples;        /* and examples; NULL without */
    const json_t *learning;        /* learning:, as written; NULL without */
    const struct plan_rules *plan; /* plan.h: the model plans; NULL: the agent decides in another way */
    const json_t *percept;         /* schema of the objects that rules act on; NULL: it takes text only */
    json_t *shared;                /* the members of state: with scope: agent; NULL: none */
    struct rules *rules;           /* rules: and observe:, compiled (rules.h); NULL: none */
    json_t *data_policy; /* what of it says how turns are kept (interactions.h), with defaults; NULL: never kept */
} manifest;

/* Load DIR/agent.yaml. Errors: "agent.yaml:LINE:COLUMN: key tools[1].effect: what is wrong; did you mean ...". A schema
 * that can't be enforced, SQL that doesn't prepare, binds an unknown name, or writes under `effect: read`, a database
 * that isn't there: refused here, with the place. `data_dir` NULL: databases lie in the folder. */
MUGA_MUST_USE muga_status manifest_load(const agent_env *env, const char *dir, const char *data_dir, manifest **out,
                                        muga_error *err);
void manifest_free(manifest *m);
const manifest_tool *manifest_tool_find(const manifest *m, const char *name); /* NULL: not there */
/* docs/schema/agent.schema.json, as compiled in; appends. */
MUGA_MUST_USE muga_status manifest_schema_write(str *out, muga_error *err);

/* YAML 1.2 (core schema) as JSON; `lines` (may be NULL) receives an object of JSON pointer -> line, "" being the root.
 * Refused with file:line: aliases, tags, merge keys, duplicate keys, several documents, non-string keys, more than
 * 1 MiB, deeper than 32. */
MUGA_MUST_USE muga_status yaml_parse(const char *p, size_t n, const char *file, json_t **out, json_t **lines,
                                     muga_error *err);
/* The same; `places` receives an object of JSON pointer -> line and column, which the other two take apart: from 1 on,
 * 1 for what has no place. */
MUGA_MUST_USE muga_status yaml_parse_places(const char *p, size_t n, const char *file, json_t **out, json_t **places,
                                            muga_error *err);
int64_t yaml_line(const json_t *places, const char *pointer);
int64_t yaml_column(const json_t *places, const char *pointer); /* in characters; none past 65535 is told apart */

/* ---- session -------------------------------------------------------------------------------------------------- */

typedef struct agent_session agent_session;

/* Begin a session: `values` (object; borrowed) must satisfy manifest session:; audited as session_start with the
 * digests of manifest and policy and `info` (object or NULL: model, template, arithmetic, program version; `requester`,
 * who it is for, and `within`, the session that began it, are kept: approval and labels need them). With `"dry": true`
 * in info it is a dry run, for good: what only reads runs, every write is refused, and what would have become of it is
 * its reason and on the record. */
MUGA_MUST_USE muga_status session_new(const agent_env *env, store *s, const manifest *m, const json_t *values,
                                      const json_t *info, agent_session **out, muga_error *err);
/* What can be told before a model is there: would session_new take these values; is there a session of this id, of this
 * agent (*dry: a dry run)? As those functions say it; nothing is begun or settled. */
MUGA_MUST_USE muga_status session_check_values(const manifest *m, const json_t *values, muga_error *err);
MUGA_MUST_USE muga_status session_check_id(store *s, const manifest *m, const char *id, bool *dry, muga_error *err);
/* Go on with one, after a restart or a crash. Calls found `started` are settled (executor_recover is part of this):
 * finished where the tool's database proves it, in doubt otherwise. */
MUGA_MUST_USE muga_status session_open(const agent_env *env, store *s, const manifest *m, const char *id,
                                       agent_session **out, muga_error *err);
/* Nothing is to be done for a while: tools (connections, files) are closed, and opened again at the next call. */
void session_rest(agent_session *s);
void session_close(agent_session *s); /* the session stays open in the store, and can be opened again */
/* The last word: audited as session_end. `outcome`: answer | ask | escalate | refuse | limit | error. */
MUGA_MUST_USE muga_status session_end(agent_session *s, const char *outcome, muga_error *err);

const char *session_id(const agent_session *s);
bool session_ended(const agent_session *s);
bool session_is_dry(const agent_session *s);
const json_t *session_values(const agent_session *s);
const json_t *session_state(const agent_session *s);
/* Replaces the session's own state (what all sessions share, only observations change); validated against state:,
 * journalled, audited. */
MUGA_MUST_USE muga_status session_set_state(agent_session *s, const json_t *state, muga_error *err);

/* What happened so far, in order; borrowed, grows with the session:
 *   {"role": "user" | "assistant", "content": "..."}
 *   {"role": "tool", "call": id, "tool": name, "arguments": {...}, "outcome": "finished" | "failed", "content": result}
 */
const json_t *session_history(const agent_session *s);
/* What the person wrote. Durable and audited ("message") when it returns. */
MUGA_MUST_USE muga_status session_add_user(agent_session *s, const char *text, size_t n, muga_error *err);
/* What the agent tells the person ("answer"; kind: answer | ask | escalate | refuse). */
MUGA_MUST_USE muga_status session_add_answer(agent_session *s, const char *kind, const char *text, muga_error *err);

/* The texts that grounded values may come from: "conversation" = user messages; "tools" = results of finished calls.
 * Read from the journal's own copy, and the executor checks against the same. Release after use. */
typedef struct session_sources {
    constrain_source list[2];
    span *texts;
    json_t *owner;
} session_sources;
MUGA_MUST_USE muga_status session_get_sources(const agent_session *s, session_sources *out, muga_error *err);
void session_sources_release(session_sources *x);

/* ---- executor ------------------------------------------------------------------------------------------------- */

typedef enum {
    CALL_FINISHED, /* ran; result */
    CALL_FAILED,   /* ran, or tried to; result is {"error": ...}; had no effect or the tool says so itself */
    CALL_INVALID,  /* no such tool, arguments against the schema, a value not grounded: nothing ran */
    CALL_REFUSED,  /* policy, a person's no, an expired or changed approval: nothing ran */
    CALL_HELD,     /* waits for a person: approval */
    CALL_IN_DOUBT  /* was started before a crash and may have run; waits for a person: approval */
} call_outcome;
const char *call_outcome_name(call_outcome o);

typedef struct call_result {
    call_outcome outcome;
    char call[AGENT_ID_SIZE];
    char approval[AGENT_ID_SIZE]; /* HELD, IN_DOUBT */
    int64_t expires_ms;           /* of the approval */
    json_t *result;               /* FINISHED: what the tool gave; else {"error": "..."}; new reference */
    char reason[256];             /* all but FINISHED: one line for a person */
    uint64_t run_us;
} call_result;
void call_result_release(call_result *r);

/* Propose a call and take it as far as policy lets it go. A verdict about the call is in `out` with MUGA_OK; a status
 * other than MUGA_OK means the journal itself could not be kept (store full, locked ...): then nothing ran that is not
 * in the journal, and the agent must stop. `arguments`: any JSON, straight from the model. */
MUGA_MUST_USE muga_status executor_call(agent_session *s, const char *tool, const json_t *arguments, call_result *out,
                                        muga_error *err);
/* The same for the calls of one step, in their order; neighbours that only read run at the same time. Each is
 * validated before the first of its neighbours has run, so none can take a value from another's result. out: [n] */
typedef struct call_request {
    const char *tool;
    const json_t *arguments;
} call_request;
MUGA_MUST_USE muga_status executor_call_many(agent_session *s, const call_request *list, size_t n, call_result *out,
                                             muga_error *err);
/* Go on with a held call after approval_decide: runs it when approved (once), REFUSED when denied, expired or changed,
 * HELD when still undecided. A finished call gives its stored result again; it never runs twice. */
MUGA_MUST_USE muga_status executor_resume(agent_session *s, const char *call, call_result *out, muga_error *err);
/* A piece of a finished call's whole result, from `offset` on (long_result.c has its form), at most max_bytes long as
 * JSON. MUGA_E_NOT_FOUND: no such call in this session, or it gave nothing. */
MUGA_MUST_USE muga_status executor_read_result(agent_session *s, const char *call, int64_t offset, size_t max_bytes,
                                               json_t **out, muga_error *err);
/* Calls of this session that wait: array of {"call", "tool", "arguments", "state": "held"|"approved"|"in_doubt",
 * "approval", "expires_ms"}; also "started", with approval "", of a call that waits for something within (`agent`),
 * which executor_resume names. New reference. */
MUGA_MUST_USE muga_status executor_waiting(agent_session *s, json_t **out, muga_error *err);

/* ---- approval ------------------------------------------------------------------------------------------------- */

/* Every undecided approval: array of {"approval", "call", "session", "agent", "dir", "data_dir", "tool", "arguments",
 * "values", "state": "held"|"in_doubt", "created_ms", "expires_ms"}; expired ones are marked expired first. New
 * reference. */
MUGA_MUST_USE muga_status approval_list(const agent_env *env, store *s, json_t **out, muga_error *err);
/* Who may say yes to a call of this tool in this session: {"roles": [...], "users": [...], "not": [...]}, as far as the
 * manifest says so; "problem" where the operator's file can't be read. *out NULL: anyone may. New reference. */
MUGA_MUST_USE muga_status approval_who(const agent_env *env, store *s, const manifest *m, const char *tool,
                                       const char *session, json_t **out, muga_error *err);
/* Whether what a person typed names this approval: case, dashes, o for 0, i and l for 1 don't matter. */
bool approval_same_id(const char *approval, const char *typed);
/* That entry of approval_list, borrowed; NULL: nothing waits under what was typed. */
const json_t *approval_find(const json_t *list, const char *typed);
/* A person's yes or no. `m`: the manifest as it stands now, against which the binding is checked (a no needs none:
 * NULL). MUGA_E_NOT_FOUND: no such id. MUGA_E_POLICY: expired, already decided or used, or tool, policy or arguments
 * are not what was held, or the approver may not say yes to it (approvers.h; audited, and it goes on waiting).
 * `approver`: the person's name, of which the caller is sure. Durable and audited on its own. */
#define APPROVER_DEMO "the demo's approver" /* is no person: says yes where anyone may */
MUGA_MUST_USE muga_status approval_decide(const agent_env *env, store *s, const manifest *m, const char *approval,
                                          bool yes, const char *approver, muga_error *err);

/* The same, of an approval of this agent or of one within it (nested.h), which is checked against its own manifest. */
MUGA_MUST_USE muga_status approval_decide_within(const agent_env *env, store *s, const manifest *m,
                                                 const char *approval, bool yes, const char *approver, muga_error *err);

/* ---- audit ---------------------------------------------------------------------------------------------------- */

/* Append a record. `kind`: decision | guard | escalation | note (the other kinds are written by the functions above).
 * `payload` (object) may be erased one day; `evidence` (from llm/, or NULL) lies in it under "evidence".
 * In a decision's payload the loop puts: step, what was decided, model, template, tokens, latency_us, margin ... */
MUGA_MUST_USE muga_status audit_append(agent_session *s, const char *kind, const json_t *payload,
                                       const json_t *evidence, muga_error *err);

/* What became of a key of the server (serve/keys.h), inside the transaction that did it: create, revoke, rotate, when
 * its rows are as they shall be, or forget, before they go. by: whoever did it. */
MUGA_MUST_USE muga_status audit_key(const agent_env *env, store *s, const char *id, const char *action, const char *by,
                                    muga_error *err);

typedef struct audit_filter {
    const char *session;
    int64_t from, max;
} audit_filter; /* NULL, 1, 0 = everything */
/* Array of {"n", "at_ms", "kind", "session", "hash", "payload" | "erased": true}; new reference. */
MUGA_MUST_USE muga_status audit_log(store *s, const audit_filter *f, json_t **out, muga_error *err);
typedef struct audit_report {
    int64_t n_records, n_erased, n_evidence, n_replayed; /* n_evidence, n_replayed: audit_replay only */
    int64_t broken;                                      /* first broken record, or 0 */
    char head[SHA256_HEX];                               /* hash of the last record */
} audit_report;
/* Walk the whole chain. MUGA_E_NEGATIVE: err names the first broken record and what is wrong with it. */
MUGA_MUST_USE muga_status audit_verify(store *s, audit_report *out, muga_error *err);
/* Is the record with this hash (hex) in the chain? What a head that was kept elsewhere is good for: MUGA_E_NEGATIVE
 * when it isn't, so records that were there have been cut off or written anew. 64 zeros, the head of an empty chain,
 * are in every one. MUGA_E_USAGE: no hash. */
MUGA_MUST_USE muga_status audit_check_head(store *s, const char *hex, muga_error *err);
/* audit_verify, then `replay` for each evidence (normally llm_replay on the model it names). E_NEGATIVE as soon as one
 * differs. */
typedef muga_status (*audit_replay_fn)(void *ctx, int64_t n, const json_t *payload, const json_t *evidence,
                                       muga_error *err);
MUGA_MUST_USE muga_status audit_replay(store *s, const audit_filter *f, audit_replay_fn replay, void *ctx,
                                       audit_report *out, muga_error *err);
/* Forget what the records say about a person, of a session and of all that it began within itself: payloads and salts,
 * history, state, arguments, results, and what was kept to learn from. All of them or, while a process drives one, none
 * (MUGA_E_ENV). *n (may be NULL): sessions that had something to forget; erasing again finds none. */
MUGA_MUST_USE muga_status audit_erase(const agent_env *env, store *s, const char *session, int64_t *n, muga_error *err);

/* ---- the loop (loop.c, intent.c, retrieve.c, eval.c) ------------------------------------------------------------ */

#endif
