/* A new agent's files, from templates that are compiled in (scaffold_parts.c): one that loads, that lint finds no fault
 * with, and that its evaluation can be played to at once. docs/new-agent.md. */
#ifndef MUGA_AGENT_SCAFFOLD_H
#define MUGA_AGENT_SCAFFOLD_H

#include "base/json.h"

typedef struct scaffold_spec {
    const char *name;  /* of the agent: small letters, digits and dashes */
    const char *dir;   /* where it will lie: an absolute path */
    const char *kind;  /* reflex | model | goal */
    const char *tools; /* names of scaffold_tools, with commas between; NULL: sql */
    const char *model; /* of kind goal */
} scaffold_spec;

/* Object of path in the folder -> text; new reference. A text that begins with #! is a program: make it executable.
 * MUGA_E_USAGE: a name, kind or tool that there isn't, and which there are. */
MUGA_MUST_USE muga_status scaffold_make(const scaffold_spec *spec, json_t **files, muga_error *err);
/* The tools that there are templates for, "sql, clock, ...". */
const char *scaffold_tools(void);
#endif
