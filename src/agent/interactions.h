/* Turns kept to learn from. What a session did lies in its audit chain in any case; kept here, one row a turn, is what
 * may be learned of it: message, labels, calls, approvals, answer, outcome, and what people said of it later.
 *
 * Invariants
 *  1. Without the operator's consent nothing is kept. Consent is for one agent and one policy (manifest->data_policy):
 *     another policy, and nothing is kept until the operator says yes anew. Consent taken back ends it at once.
 *  2. A turn is kept only if its message came after the consent did, and at most once: a row that was dropped never
 *     comes back.
 *  3. A row is a function of the session's chain: what could not be kept (a full disk) is kept with the next turn, and
 *     a value that turns out to be personal later is masked in earlier turns, too.
 *  4. Every row's digest is in the audit chain, and every use of rows is a record there, before anyone gets them.
 *
 * A row's content (object; absent what there was none of):
 *   message                 what the person wrote
 *   labels, sure            what the loop took it for; [strings], whether it stood out
 *   given                   the label whose value the message gave, where that decided
 *   calls                   [{"tool", "arguments", "outcome", "result", "approval": "yes"|"no"}]
 *   escalation              [why, ...]
 *   answer, kind            what was said; answer | ask | escalate | refuse
 * Its correction (object or null): {"labels": [...]} | {"calls": [{"tool", "arguments"}]} | {"answer": "..."}.
 *
 * Outcomes: completed; corrected (by a person, afterwards); escalated; denied (a call, by a person or by policy);
 * asked (the agent asked back, and the session went no further: else the turn has the outcome of the one it led to);
 * open (waits for a person, or was broken off). docs/data.md. */
#ifndef MUGA_AGENT_INTERACTIONS_H
#define MUGA_AGENT_INTERACTIONS_H

#include "agent/agent.h"

enum { /* bits of interaction_filter.outcomes */
       OUTCOME_COMPLETED = 1,
       OUTCOME_CORRECTED = 2,
       OUTCOME_ESCALATED = 4,
       OUTCOME_DENIED = 8,
       OUTCOME_ASKED = 16,
       OUTCOME_OPEN = 32
};
#define N_OUTCOMES 6
extern const char *const interaction_outcomes[N_OUTCOMES]; /* names, in the order of the bits */

/* ---- consent (consent.c) ---- */

/* The operator `by` says yes, for `m` as it stands: audited. raw: also to exports that mask nothing. MUGA_E_POLICY: the
 * manifest has no learning:, or says consent: never. */
MUGA_MUST_USE muga_status consent_give(const agent_env *env, store *s, const manifest *m, bool raw, const char *by,
                                       muga_error *err);
/* And takes it back. Rows stay until they are dropped or too old; *n_kept says how many. MUGA_E_NOT_FOUND: there was
 * none. */
MUGA_MUST_USE muga_status consent_withdraw(const agent_env *env, store *s, const char *agent, const char *by,
                                           int64_t *n_kept, muga_error *err);
/* Array of {"agent", "consent": "on"|"off", "since_ms", "policy", "rows"}; new reference. */
MUGA_MUST_USE muga_status consent_list(store *s, json_t **out, muga_error *err);

/* ---- keeping (interactions.c) ---- */

typedef enum {
    RECORD_OFF,       /* no consent, or none needed: nothing is kept */
    RECORD_STALE,     /* consent was given to another policy than the manifest's: nothing is kept */
    RECORD_UP_TO_DATE /* every turn that may be kept is */
} record_outcome;
/* Bring a session's rows up to its chain; also ends what is older than keep_days. One transaction, outside any other.
 * `m` NULL: no new rows, only what became of those that are there. A failure leaves rows as they were, and the next
 * call makes up for it: callers go on with the turn. */
MUGA_MUST_USE muga_status interactions_record(const agent_env *env, store *s, const manifest *m, const char *session,
                                              record_outcome *out, muga_error *err);

/* ---- reading and changing rows (interactions_rows.c) ---- */

typedef struct interaction {
    const char *session, *agent, *outcome, *note; /* note: NULL without */
    const char *subject;                          /* a name for whose turn it is: one a person, told to nobody else */
    int64_t turn, at_ms;                          /* turn: from 1 */
    int rating;                                   /* -1, 0 (nobody rated), 1 */
    bool masked, redacted;
    json_t *content, *correction; /* correction: NULL without */
} interaction;

/* All that is given must hold; all zero = every row. */
typedef struct interaction_filter {
    const char *agent, *session;
    int64_t turn;          /* 0 = any */
    const json_t *subject; /* object of session values, such as {"customer": 7}, or NULL */
    unsigned outcomes;     /* OUTCOME_* bits; 0 = any */
    bool not_rated_down;   /* leave out rows that were rated down and not corrected */
    bool raw;              /* as they lie, not masked: interactions_read only, by consent with raw */
    int64_t before_ms;     /* at_ms below it; 0 = any */
    int64_t max;           /* the newest `max` rows; 0 = all */
    bool by_session;       /* in order of session and turn, not of time */
} interaction_filter;

/* Where a session's agent lies, as when it began: for checking corrections against its manifest. malloc'ed; all NULL
 * after a failure. */
typedef struct session_place {
    char *agent, *dir, *data_dir;
} session_place;
void session_place_release(session_place *p);
MUGA_MUST_USE muga_status session_place_get(store *s, const char *session, session_place *out, muga_error *err);

typedef muga_status (*interaction_fn)(void *ctx, const interaction *row, muga_error *err);
/* Rows in order of time, masked unless f->raw. `use` ("listed", "exported", "trained" ...) is audited
 * first, with how many rows there are, a digest over theirs, and `detail` (object or NULL); no audit, no rows. What is
 * too old is dropped before. MUGA_E_ENV: a row is not what was kept, or was changed meanwhile; it is not handed out.
 * MUGA_E_POLICY: raw, and an agent's consent does not go so far. MUGA_E_NOT_FOUND: subject names that no agent with
 * consent declares. *n: rows handed out. */
MUGA_MUST_USE muga_status interactions_read(const agent_env *env, store *s, const interaction_filter *f,
                                            const char *use, const json_t *detail, interaction_fn fn, void *ctx,
                                            int64_t *n, muga_error *err);

/* The record of a use that the caller made of rows it read ("exported_file", "trained" ...); `detail`: an object. */
MUGA_MUST_USE muga_status interactions_tell(const agent_env *env, store *s, const char *use, const json_t *detail,
                                            muga_error *err);

/* A person's word on one turn (turn 0: on every turn of the session). E_NOT_FOUND: no such row. */
MUGA_MUST_USE muga_status interactions_rate(const agent_env *env, store *s, const char *session, int64_t turn,
                                            int rating, const char *note, int64_t *n, muga_error *err);
/* What it should have been; the outcome becomes `corrected`. `m` (may be NULL): its labels and tools are checked
 * against. MUGA_E_INPUT: no correction. */
MUGA_MUST_USE muga_status interactions_correct(const agent_env *env, store *s, const manifest *m, const char *session,
                                               int64_t turn, const json_t *correction, const char *note,
                                               muga_error *err);
/* Mask rows as they lie, and take out `values` (array of strings, or NULL) wherever they stand in them. They stay so:
 * the chain no longer changes their content. */
MUGA_MUST_USE muga_status interactions_redact(const agent_env *env, store *s, const interaction_filter *f,
                                              const json_t *values, int64_t *n, muga_error *err);
/* Remove rows, bytes and all. `why`: subject | session | age | ... for the record. */
MUGA_MUST_USE muga_status interactions_drop(const agent_env *env, store *s, const interaction_filter *f,
                                            const char *why, int64_t *n, muga_error *err);
/* Remove what is older than its agent's keep_days. */
MUGA_MUST_USE muga_status interactions_expire(const agent_env *env, store *s, int64_t *n, muga_error *err);

#endif
