/* Private to executor*.c: the steps of a call. executor.c has their order. */
#ifndef MUGA_AGENT_EXECUTOR_INTERNAL_H
#define MUGA_AGENT_EXECUTOR_INTERNAL_H

#include "agent/internal.h"

#define AT_ONCE_MAX 8 /* calls of one step that run at the same time */

/* ---- executor_check.c ---- */
/* *ok false: `c->reason` says why. places: an array, to which each grounded value adds where it stands. */
muga_status executor_check(agent_session *s, const manifest_tool *t, journal_call *c, json_t *places, bool *ok,
                           muga_error *err);

/* ---- executor_limits.c ---- */
/* Would this call be one too many: of its tool's rate, or of calls that gave the same again and again? Inside the
 * transaction that admits it, so of two who are the last one, one is told. *over: `reason` says why. */
muga_status executor_limits(agent_session *s, const manifest_tool *t, const journal_call *c, bool *over,
                            char reason[256], muga_error *err);

/* ---- executor_run.c ---- */
/* A call whose row says `started`, durably. */
typedef struct call_run {
    const manifest_tool *t;
    journal_call *c;
    uint64_t run_us; /* out: of the last attempt */
    tool_run waits;  /* out: .waits, .approval, .expires_ms of a call that stays `started`, since it waits */
} call_run;
/* Run them, at the same time when there are several (all of kinds that are `concurrent`), with the retries that their
 * tools allow, and settle them in their order. */
muga_status executor_run(agent_session *s, call_run *list, size_t n, muga_error *err);
tool_call executor_tool_call(agent_session *s, journal_call *c);
muga_status executor_open_tool(agent_session *s, const manifest_tool *t, void **out, muga_error *err);
/* started -> finished | failed, and its line of history. c->result is set. */
muga_status executor_settle(agent_session *s, journal_call *c, call_state to, uint64_t run_us, muga_error *err);
/* started -> in_doubt, with a new approval for the attempt that a person may allow, and who is told of it. */
muga_status executor_put_in_doubt(agent_session *s, journal_call *c, muga_error *err);
json_t *executor_error_result(const char *reason);
#endif
