/* The sessions in the store, from outside of them: listing, reading, exporting, deleting. None of it needs the agent:
 * its folder may be gone. */
#ifndef MUGA_AGENT_SESSIONS_H
#define MUGA_AGENT_SESSIONS_H

#include "agent/agent.h"

/* How a session stands, by what needs a person first:
 *   erased       what it said was deleted
 *   ended        its last word is said; `outcome` says how
 *   running      a process drives it now
 *   interrupted  a call was running when its process died; opening the session settles it
 *   in_doubt     such a call may have run: a person decides
 *   held         a call waits for a person
 *   approved     a call was allowed and has not run yet
 *   broken_off   the last message has no answer; resuming gives it
 *   open         can be gone on with */
typedef struct sessions_filter {
    const char *agent, *state; /* NULL: any */
    const json_t *subject;     /* object of session values, such as {"customer": 7}; NULL: anyone */
    int64_t max;               /* the newest; 0: all */
    const char *tenant;        /* of the server's key that began it; "" begun without one; NULL: any */
} sessions_filter;

/* Array, newest first, of {"session", "agent", "state", "outcome", "created_ms", "changed_ms", "messages", "calls",
 * "dry", "values"}; new reference. */
MUGA_MUST_USE muga_status sessions_list(store *s, const sessions_filter *f, json_t **out, muga_error *err);

/* Did this tenant begin it? false: there is no such session, or it is another's. */
MUGA_MUST_USE muga_status sessions_is_of(store *s, const char *session, const char *tenant, bool *is, muga_error *err);

/* {"session": {as listed, and "dir", "data_dir", "manifest", "policy", "current": its typed state, "within": the
 * session that began it or null, "nested": [{"session", "agent"} that it began]}, "history": [{"n",
 * "at_ms", "role", "content" | "call"}], "calls": [{"call", "n", "tool", "arguments", "state", "attempt", "result",
 * "reason", "created_ms", "changed_ms", "approvals": [...]}],
 * "facts": [what it remembered]}; new reference. MUGA_E_NOT_FOUND: no such session. */
MUGA_MUST_USE muga_status sessions_read(store *s, const char *session, json_t **out, muga_error *err);

/* All that the store holds of a session: as sessions_read, with "kept" (what `muga data` keeps of its turns, masked)
 * and "audit" (its records, evidence included). That it was exported, and by whom, is a record of its own, the last. */
MUGA_MUST_USE muga_status sessions_export(const agent_env *env, store *s, const char *session, const char *by,
                                          json_t **out, muga_error *err);

/* audit_erase of every session of the person (f->subject, f->agent), with those within it. One that a process drives
 * now is left, the rest goes on, and the status says so. *n: erased now, those within counted. */
MUGA_MUST_USE muga_status sessions_delete_subject(const agent_env *env, store *s, const sessions_filter *f, int64_t *n,
                                                  muga_error *err);
#endif
