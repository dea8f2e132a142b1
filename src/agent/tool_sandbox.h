/* What a command tool's program gets of this machine: its definition's `sandbox:`, as os/sandbox.h wants it. Private to
 * agent/. Inside, the agent's folder is /agent; in it are the program's own folder and what the definition names. */
#ifndef MUGA_AGENT_TOOL_SANDBOX_H
#define MUGA_AGENT_TOOL_SANDBOX_H

#include "agent/tool.h"

#include "os/sandbox.h"

#define TOOL_SANDBOX_DIR "/agent"

extern const char tool_sandbox_schema[]; /* of the key `sandbox` */

typedef struct tool_sandbox {
    os_sandbox os;
    os_sandbox_mount *mounts; /* os.mounts; the paths are owned */
} tool_sandbox;

/* Of s->def. Every path is checked, the folders to write are made where they lie
 * in the agent's data, and a trial is run: a machine that can't keep to all of it refuses here. Release after success
 * and failure. */
MUGA_MUST_USE muga_status tool_sandbox_open(tool_setup *s, tool_sandbox *out, muga_error *err);
void tool_sandbox_release(tool_sandbox *x);
#endif
