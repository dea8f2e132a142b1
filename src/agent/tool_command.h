/* A command tool's program, run with another line than a call's (approval_notify.c). Private to agent/. */
#ifndef MUGA_AGENT_TOOL_COMMAND_H
#define MUGA_AGENT_TOOL_COMMAND_H

#include "agent/tool.h"

/* `tool`: as open of tool_kind_command made it. `out` is zero before. */
void tool_command_run(const void *tool, const str *line, tool_run *out);
#endif
