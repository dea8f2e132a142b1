/* Texts of a definition with values in them: "customers/:session_customer/:name.txt". A colon and a name
 * ([A-Za-z_][A-Za-z0-9_]*) is a parameter of the tool, or with session_ before it a value of the session; any other
 * colon is itself. What a value may be, and how it is written, depends on where it stands, so the kind decides. */
#ifndef MUGA_AGENT_TOOL_TEXT_H
#define MUGA_AGENT_TOOL_TEXT_H

#include "agent/tool.h"

typedef struct tool_text_part {
    span literal;     /* before the value; borrowed from the definition */
    const char *name; /* of the parameter or session value; NULL: none, the last part */
    bool of_session;
} tool_text_part;

typedef struct tool_text {
    tool_text_part *parts;
    size_t n_parts;
    char *names; /* what the parts' names point into */
} tool_text;

/* `text` is borrowed from the definition. A name that is neither a parameter nor a session value is a fault at
 * `place`. Release after use, also after a failure. */
MUGA_MUST_USE muga_status tool_text_parse(tool_setup *s, const char *place, const char *text, tool_text *out,
                                          muga_error *err);
void tool_text_release(tool_text *x);
/* The text is one value and nothing else. */
bool tool_text_is_value(const tool_text *x);
/* The value of a part in this call; NULL: it was left out. Borrowed. */
const json_t *tool_text_value(const tool_text_part *p, const tool_call *c);
/* A text, number or truth value as text, appended; false and the reason for what is none or was left out. */
bool tool_text_write_value(const tool_text_part *p, const tool_call *c, str *out, tool_run *run);
#endif
