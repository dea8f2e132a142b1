/* Tools on the command line: what `muga run` is given, and how calls are shown. */
#ifndef MUGA_CMD_TOOLS_H
#define MUGA_CMD_TOOLS_H

#include "cmd/cmd.h"
#include "llm/llm.h"

typedef struct cmd_tools {
    const char *file, *choice, *format, *think; /* as given; NULL: not */
    bool one_call;
    uint32_t reasoning_tokens;
    json_t *list; /* read from the file */
} cmd_tools;

#define TOOL_OPTIONS(t)                                                                                                \
    {"--tools", 0, CMD_STRING, &(t)->file, "FILE", "a JSON array of functions that the model may call"},               \
        {"--tool-choice", 0,        CMD_STRING,                                                                        \
         &(t)->choice,    "CHOICE", "auto (default), required, none, or the name of the one to call"},                 \
        {"--tool-format", 0,        CMD_STRING,                                                                        \
         &(t)->format,    "FAMILY", "how this model writes calls (default: as its template shows)"},                   \
        {"--one-call", 0, CMD_FLAG, &(t)->one_call, NULL, "no more than one call in an answer"},                       \
        {"--think", 0, CMD_SWITCH, &(t)->think, "[on|off]", "tell the model to reason before it answers, or not to"},  \
    {                                                                                                                  \
        "--reasoning-tokens", 0, CMD_U32, &(t)->reasoning_tokens, "N", "most tokens of reasoning (default: no limit)"  \
    }

/* Reads the file, checks what goes together. -1 to go on, or the exit code. */
int cmd_tools_read(cmd_tools *t);
void cmd_tools_release(cmd_tools *t);
/* Asks the request for them; it borrows from t. */
void cmd_tools_apply(const cmd_tools *t, llm_request *q);
bool cmd_tools_split(const cmd_tools *t); /* the answer comes as events */
/* Each call a line: {"id", "name", "arguments"}. */
muga_status cmd_print_calls(const llm_reply *r, muga_error *err);
/* The assistant's message with content and calls, for the history. NULL: out of memory. */
json_t *cmd_calls_message(const llm_reply *r);

#endif
