/* Private to serve/: which route a request is for. */
#ifndef MUGA_SERVE_ROUTES_H
#define MUGA_SERVE_ROUTES_H

#include "serve/call.h"

/* The parts in braces of a pattern, borrowed from the path. */
typedef struct routes_match {
    const call_route *route; /* NULL: none */
    span arg[CALL_ARGS];
    char allow[48]; /* where only the method isn't the path's: those that are; "": there is no such path */
} routes_match;
routes_match routes_find(const char *method, const char *path);
/* Of a path that there isn't: the one that was meant, where a client's base URL has /v1 once too often or not at all,
 * or a slash too many. false: none. */
#define ROUTES_MEANT_BYTES 128
bool routes_meant(const char *method, const char *path, char out[ROUTES_MEANT_BYTES]);
/* Whose errors a path gets, also one that there isn't. */
call_family routes_family(const char *path);
size_t routes_count(void);
const call_route *routes_at(size_t i); /* for tables and tests */

#endif
