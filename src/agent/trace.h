/* Where a turn's time goes. Private to agent/. Off (NULL) it costs a comparison a step.
 *
 * Time is counted once: what a step spends inside another is the inner one's. So the parts of a turn add up to the
 * turn, and what nothing claims is "loop". One thread's, as the session is. */
#ifndef MUGA_AGENT_TRACE_H
#define MUGA_AGENT_TRACE_H

#include "llm/llm.h"
#include "os/os.h"
#include "store/store.h"

typedef enum {
    TRACE_LOOP,    /* the rest */
    TRACE_GUARD,   /* looking at a message or an answer */
    TRACE_DECIDE,  /* the model gives labels their probability */
    TRACE_WRITE,   /* the model writes: arguments, a plan, an answer */
    TRACE_POLICY,  /* may the call run? */
    TRACE_TOOL,    /* it runs */
    TRACE_RENDER,  /* an answer's template */
    TRACE_JOURNAL, /* rows and records of a transaction */
    TRACE_FSYNC    /* its commit, until it is on the disk */
} trace_kind;

typedef struct trace trace;
MUGA_MUST_USE muga_status trace_new(const os_clock *clock, trace **out, muga_error *err);
void trace_free(trace *t);
/* The model, with its questions counted; lives as long as the trace. And the store's transactions; NULL ends that. */
llm *trace_model(trace *t, llm *inner);
void trace_store(trace *t, store *s);

/* t NULL: nothing. `what` (may be NULL) is kept as it stands until the turn's end. Every enter has its leave. */
void trace_enter(trace *t, trace_kind kind, const char *what);
void trace_leave(trace *t);
void trace_begin_turn(trace *t);
/* {"total_us", "steps": [{"step", "what", "us" [, "read", "cached", "written"]}], "sums": [{"step", "times", "us"}]}:
 * tokens read newly, taken from the cache, written. NULL: t is, or there is no memory. */
json_t *trace_end_turn(trace *t);
#endif
