/* Labels of data: how far a result is trusted, and how secret it is. Declared by the tool (labels:, else by its kind),
 * stored with the call in the journal, looked at by policy. Private to agent/.
 *
 *   a write whose arguments can't be shown to come from the person, from trusted results or from the manifest, once an
 *   untrusted result lies in the session                                                  policy.after_untrusted
 *   a call that leaves the machine with a value of a secret result, however it is spelt     deny
 *   a call that leaves the machine, once a secret result lies in the session, with arguments that can't be shown to
 *   come from elsewhere                                                                   ask
 *
 * A session that another one began (a hand-off, an agent as a tool) has that one's results in its context, too, and
 * what it is told is the other agent's words, not a person's: `info.within` of session_new says which one that was. */
#ifndef MUGA_AGENT_LABELS_H
#define MUGA_AGENT_LABELS_H

#include "agent/policy.h"

typedef struct data_label {
    bool untrusted;
    label_secrecy secrecy;
} data_label;

data_label label_join(data_label a, data_label b); /* the stricter of both */
data_label label_of_tool(const manifest_tool *t);
#define LABEL_SIZE 24
void label_write(data_label l, char out[LABEL_SIZE]); /* "untrusted secret" */
/* NULL or something else: untrusted, internal. */
data_label label_parse(const char *text);

/* What a result that sums the session up must be labelled: the strictest of all its results and of those it inherited.
 * An agent that is a tool gives it to its result. */
MUGA_MUST_USE muga_status label_of_session(store *s, const char *session, data_label *out, muga_error *err);

/* The label rules' opinion of this call; POLICY_ALLOW where they have none. */
policy_verdict labels_decide(const manifest *m, const manifest_tool *t, const policy_context *c, char reason[256]);

struct check_place;
/* Reads a tool's labels: and leaves_machine:, over what its kind says. */
MUGA_MUST_USE muga_status labels_read(const struct check_place *at, manifest_tool *t, const char *pointer,
                                      muga_error *err);
#endif
