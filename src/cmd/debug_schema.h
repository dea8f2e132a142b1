/* What `debug accepts` and `debug validate` share: the draft, and the documents that a schema refers to. */
#ifndef MUGA_CMD_DEBUG_SCHEMA_H
#define MUGA_CMD_DEBUG_SCHEMA_H

#include "cmd/cmd.h"
#include "constrain/constrain.h"

/* The option --remotes FILE; `target`: a const char *. */
#define DEBUG_SCHEMA_REMOTES(target)                                                                                   \
    { "--remotes", 0, CMD_STRING, (target), "FILE", "a JSON object, address -> schema: where $ref may lead" }

/* The option --formats MODE; `target`: a const char *. */
#define DEBUG_SCHEMA_FORMATS(target)                                                                                   \
    { "--formats", 0, CMD_STRING, (target), "MODE", "assert or annotate, for lines without \"formats\": true or false" }
/* NULL: *asserts stays. */
MUGA_MUST_USE muga_status debug_schema_formats(const char *mode, bool *asserts, muga_error *err);

/* The file's object into *out (new reference); path NULL: *out is NULL. */
MUGA_MUST_USE muga_status debug_schema_load(const char *path, json_t **out, muga_error *err);
/* A line's "draft", and its "remotes" (an object); `documents` where it has none. Borrowed from both. */
MUGA_MUST_USE muga_status debug_schema_options(const json_t *in, const json_t *documents, constrain_draft *draft,
                                               const json_t **out, muga_error *err);
#endif
