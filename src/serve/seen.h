/* Private to serve/: what is told of requests and of the server: log lines, metrics. */
#ifndef MUGA_SERVE_SEEN_H
#define MUGA_SERVE_SEEN_H

#include "serve/internal.h"

/* A request that has a call has ended; before the call goes. */
void seen_call(call *c);
/* One that was refused with its headers: no such route, no key, no right. */
void seen_refused(serve *s, const server_request *q, const char *route, int status, const char *reason);
/* The gauges as they are now; may wait for the disk. */
void seen_sample(serve *s);
/* GET /metrics */
void seen_metrics(call *c);
bool seen_is_open(serve *s); /* /metrics needs no key */

#endif
