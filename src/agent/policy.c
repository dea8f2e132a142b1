/* May this call run? Owns: the one place where allow, ask and deny are decided. Refuses: to be talked to; it sees the
 * tool's definition, the arguments, the session and the state, and no word of the model.
 *
 *   session ended                          deny
 *   more calls in a turn than limits.steps deny
 *   approval: never                        allow
 *   approval: always                       ask
 *   approval: {when: E}   E is true        ask
 *                         E is false       allow
 *                         E can't be told  ask      a rule that fails is a rule that asks
 * A write without `approval:` has been given `always` by the manifest, a read `never`. */
#include "agent/internal.h"

#include <stdio.h>

static policy_verdict decide_when(const manifest_tool *t, const policy_context *c, char reason[256]) {
    json_t *context = json_pack("{s:O, s:O, s:O}", "arguments", c->arguments, "session", c->session, "state", c->state);
    muga_error why = {MUGA_E_NOMEM, "out of memory"};
    bool ask = true;
    muga_status st = context ? template_expression_test(t->when, context, &ask, &why) : MUGA_E_NOMEM;
    json_decref(context);
    if (st != MUGA_OK) {
        snprintf(reason, 256, "approval.when can't be told (%.180s), so a person is asked", why.message);
        return POLICY_ASK;
    }
    snprintf(reason, 256, "approval.when is %s", ask ? "true" : "false");
    return ask ? POLICY_ASK : POLICY_ALLOW;
}

policy_verdict policy_decide(const manifest *m, const manifest_tool *t, const policy_context *c, char reason[256]) {
    if (c->session_ended) {
        snprintf(reason, 256, "the session has ended");
        return POLICY_DENY;
    }
    if (c->n_calls >= m->max_steps) {
        snprintf(reason, 256, "limits.steps: %lld calls were made since the last message", (long long)c->n_calls);
        return POLICY_DENY;
    }
    switch (t->approval) {
    case APPROVAL_NEVER: snprintf(reason, 256, "approval: never"); return POLICY_ALLOW;
    case APPROVAL_WHEN: return decide_when(t, c, reason);
    case APPROVAL_ALWAYS: break;
    }
    snprintf(reason, 256, "approval: always");
    return POLICY_ASK;
}
