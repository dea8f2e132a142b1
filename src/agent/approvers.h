/* Who may say yes to a held call: the roles that the manifest names, and the operator's file of who holds them.
 * Private to agent/.
 *
 *   agent.yaml      approvals: {by: [manager], not: requester}        of every tool that says nothing itself
 *                   tools: - approval: {when: ..., by: [cashier]}
 *   approvers.yaml  ada: [manager, cashier]                           in env->approvers, outside of the agent's folder
 */
#ifndef MUGA_AGENT_APPROVERS_H
#define MUGA_AGENT_APPROVERS_H

#include "agent/internal.h"

/* May `approver` say yes to this call of `m`'s tool? MUGA_E_POLICY: no, and why; so, too, when it can't be told. */
MUGA_MUST_USE muga_status approvers_check(const agent_env *env, store *s, const manifest *m, const journal_call *c,
                                          const char *approver, muga_error *err);

const json_t *approvers_roles(const manifest *m, const manifest_tool *t); /* NULL: none is named */

/* The part of docs/schema/agent.schema.json that is the section `approvals:`; appends. */
void approvals_schema_write(str *out);
#endif
