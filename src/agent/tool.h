/* The tool table: what a kind of tool is. Private to agent/.
 *
 * A kind is one file, tool_NAME.c, that ends with a `const tool_kind`, and one line in tools.c. Its key in a tool's
 * definition is its name: `sql: {...}` makes the tool an SQL tool. Nothing else knows a kind by name: the manifest
 * takes its keys from here, the executor its functions, the policy what it says of itself.
 *
 *   manifest_load   open, close   every fault of the definition shows now, with its line
 *   a session       open at the first call, run for each, close at the end
 *   after a crash   open, settle: did the call found `started` take effect?
 *
 * Threads: those of the session, and for kinds that are `concurrent` others; one tool is used by one thread at a time.
 */
#ifndef MUGA_AGENT_TOOL_H
#define MUGA_AGENT_TOOL_H

#include "agent/agent.h"

/* What a tool is made from; borrowed, outlives the tool. */
typedef struct tool_setup {
    const agent_env *env;
    const manifest *m;        /* while it is being loaded: dir, data_dir, json and session_schema are there */
    const manifest_tool *def; /* its kind's own part: json_object_get(def->json, def->kind->keys[0].name) */
    /* Out of `open`. */
    char place[96];                 /* where a fault lies in the definition: a JSON pointer like "/sql/query" */
    uint8_t material[SHA256_BYTES]; /* what the tool is made of besides its definition, as of a program its bytes: goes
                                       into its digest, so into every approval; zeros: nothing */
    bool leaves_machine, untrusted; /* as the kind says; open may say otherwise of this tool */
} tool_setup;

/* One call. The executor has validated the arguments, policy has allowed it, and the journal says `started`. */
typedef struct tool_call {
    const char *id;          /* never given twice to calls that differ */
    const json_t *arguments; /* object */
    const json_t *values;    /* the session's, object */
    struct agent_session *session;
    struct journal_call *row; /* for tool_prepare */
} tool_call;

typedef struct tool_run {
    bool ok;
    json_t *result;               /* ok: what the tool gave; new reference */
    char reason[256];             /* not ok: one line, with what to do */
    bool in_doubt;                /* not ok: it was cut off, and may have done its work */
    bool final;                   /* not ok: asking again would give the same, so it is not retried */
    bool waits;                   /* not ok: of a kind that `resumes`: a person must agree to something within, first */
    char approval[AGENT_ID_SIZE]; /* waits: to that */
    int64_t expires_ms;
} tool_run;

typedef enum { SETTLED_RAN, SETTLED_NOT_RUN, SETTLED_UNKNOWN } tool_settled;

/* What a call that finished means for the turn: the loop acts on it. */
typedef enum {
    TOOL_GOES_ON,
    TOOL_ASKS,      /* the turn ends with tool_words, a question; what the person says next is the call's result */
    TOOL_ESCALATES, /* the turn ends with tool_words, and the session with it */
    TOOL_HANDS_OFF  /* another agent goes on with the person, from this turn on (nested.h) */
} tool_then;

/* A key of a tool's definition, with the JSON Schema of its value as it stands in docs/schema/agent.schema.json. */
typedef struct tool_key {
    const char *name, *schema;
} tool_key;

struct tool_kind {
    tool_key keys[4]; /* [0] is the kind's own, and its name; the others go with it only; {NULL} ends them */
    /* What policy must know of a tool of this kind: manifest_tool has it, where open may have changed it. */
    bool leaves_machine; /* arguments may reach another machine */
    bool untrusted;      /* a result may hold what strangers wrote */
    bool concurrent;     /* run uses nothing of the session but `values`: calls of one step may run at the same time, in
                            threads of their own, each with a tool that open made for it */

    bool resumes; /* run goes on with what was begun under the same call id: a call found `started` is no doubt,
                            executor_resume runs it again */
    tool_then then;

    /* Makes a tool, or says what is wrong with its definition; the message begins after the place, which is `place`
     * (the kind's own key, unless open sets it). */
    muga_status (*open)(tool_setup *s, void **tool, muga_error *err);
    /* Runs once. `out` is zero before. Bounds: timeout_ms, max_result_bytes (tool_give) and the kind's own. */
    void (*run)(void *tool, const tool_call *c, tool_run *out);
    /* Did a call found started after a crash take effect? `prepared`: what tool_prepare was given, NULL: it was not
     * called, or taken back. RAN: *result is what the call gave, new reference. NULL: this kind can't tell. */
    muga_status (*settle)(void *tool, const tool_call *c, const json_t *prepared, tool_settled *settled,
                          json_t **result, muga_error *err);
    void (*close)(void *tool); /* of NULL: nothing */
};

/* Every kind, in the order of their keys in the schema. */
const tool_kind *const *tool_kinds(size_t *n);
/* The kind whose own key the definition holds. MUGA_E_INPUT: none or several, or a key that goes with another kind;
 * *key (may come back NULL) is the key at fault. */
MUGA_MUST_USE muga_status tool_kind_of(const json_t *definition, const tool_kind **out, const char **key,
                                       muga_error *err);

/* A fault of the definition at `place` ("/sql/query"): sets s->place, the message, and returns MUGA_E_INPUT. */
muga_status tool_fault(tool_setup *s, const char *place, muga_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* out->reason; returns false. */
bool tool_fail(tool_run *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `result` (taken, NULL: out of memory) as the run's, if it is no deeper and no longer than a result may be. */
bool tool_give(tool_run *out, const manifest_tool *def, json_t *result);
/* Inside a transaction of the session's store: the call is about to take effect and will give `result`, or (NULL) will
 * not after all. Audited. For kinds whose `settle` can tell by it: the effect is in this very transaction, or follows
 * it and can be looked for. */
MUGA_MUST_USE muga_status tool_prepare(const tool_call *c, const json_t *result, muga_error *err);
/* What the person is told by a call of a kind that ends the turn. */
const char *tool_words(const manifest_tool *t, const json_t *arguments);
/* `settle` of a tool that changes nothing: whatever was interrupted can run again. */
muga_status tool_settle_read(void *tool, const tool_call *c, const json_t *prepared, tool_settled *settled,
                             json_t **result, muga_error *err);

/* One a line, as in tools.c. */
extern const tool_kind tool_kind_sql;
extern const tool_kind tool_kind_command;
extern const tool_kind tool_kind_clock;
extern const tool_kind tool_kind_files;
extern const tool_kind tool_kind_http;
extern const tool_kind tool_kind_memory;
extern const tool_kind tool_kind_results;
extern const tool_kind tool_kind_ask_person;
extern const tool_kind tool_kind_escalate;
extern const tool_kind tool_kind_agent;
extern const tool_kind tool_kind_hand_off;
extern const tool_kind tool_kind_search;
#endif
