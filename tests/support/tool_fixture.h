/* One tool of an agent, as a test of its kind opens and calls it: through manifest, policy, executor and journal. */
#ifndef TESTS_TOOL_FIXTURE_H
#define TESTS_TOOL_FIXTURE_H

#include "support/agent_fixture.h"

extern const char tool_head[]; /* a manifest up to `tools:` */

/* An agent with the one tool `t`: `parameters` are its properties ("x: {type: string}"), `keys` its other lines, four
 * spaces in front of each. A session for customer 1 has begun. */
void tool_open(agent_fixture *f, const char *name, const char *parameters, const char *keys);
/* The same, in a folder that fixture_prepare has made. */
void tool_begin(agent_fixture *f, const char *parameters, const char *keys);
/* The manifest must be refused with `part` in the message. In a folder that fixture_prepare has made. */
void tool_expect_refusal(agent_fixture *f, const char *parameters, const char *keys, const char *part);

call_result tool_call_run(agent_fixture *f, const char *arguments); /* single quotes stand for double ones */
void tool_expect_failure(agent_fixture *f, const char *arguments, const char *part);
void tool_expect_result(agent_fixture *f, const char *arguments, const char *json);
#endif
