/* Private to serve/: threads that may block, one a request that is being answered. They are started as they are needed
 * and stay for a while; one waits for nobody's job but its own. */
#ifndef MUGA_SERVE_JOBS_H
#define MUGA_SERVE_JOBS_H

#include "base/error.h"

typedef struct jobs jobs;
MUGA_MUST_USE muga_status jobs_new(uint32_t n_threads, jobs **out, muga_error *err);
/* run(ctx) on a thread, in turn where all are busy. From any thread. MUGA_E_NOMEM, MUGA_E_ENV (no thread at all). */
MUGA_MUST_USE muga_status jobs_run(jobs *j, void (*run)(void *ctx), void *ctx, muga_error *err);
/* The same for the server's own short work, of which there is little: before what waits, and on one thread more than
 * n_threads where all are busy, so that a server full of requests still sees a key that was revoked. */
MUGA_MUST_USE muga_status jobs_run_first(jobs *j, void (*run)(void *ctx), void *ctx, muga_error *err);
void jobs_wait(jobs *j); /* until nothing runs and nothing waits */
void jobs_free(jobs *j); /* after jobs_wait */

#endif
