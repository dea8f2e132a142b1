/* Calls that are `started`: run, retried where that is harmless, settled. Owns: the tools of a session, threads for the
 * calls of one step, the waits between attempts. Refuses: to repeat a call that may have had an effect.
 *
 * Idea: attempts go in rounds. In a round all calls that are due run at the same time, each on a tool of its own;
 * between rounds this thread alone writes the journal. So the journal never sees two threads, and what it says does not
 * depend on who was faster: retries are noted, and results settled, in the order of the calls.
 *
 *   open tools -> round: run -> note retries, wait -> round ... -> settle in order
 *
 * A retry is a step started -> started of the journal, with the reason of the attempt before it. */
#include "agent/executor_internal.h"

#include <stdio.h>

#define WAIT_MAX_MS 30000

typedef struct attempt {
    agent_session *s;
    call_run *of;
    void *tool;    /* NULL: could not be opened; run.reason says why */
    bool is_extra; /* not the session's own: closed afterwards */
    bool over;     /* no further attempt */
    int64_t n_retries;
    tool_run run;
} attempt;

json_t *executor_error_result(const char *reason) {
    return json_pack("{s:s}", "error", reason);
}

/* ---- tools ---- */

static muga_status make_tool(agent_session *s, const manifest_tool *t, void **out, muga_error *err) {
    tool_setup setup = {.env = &s->env, .m = s->m, .def = t};
    return t->kind->open(&setup, out, err);
}

muga_status executor_open_tool(agent_session *s, const manifest_tool *t, void **out, muga_error *err) {
    void **slot = &s->tools[t - s->m->tools];
    muga_status st = *slot ? MUGA_OK : make_tool(s, t, slot, err);
    *out = *slot;
    return st;
}

tool_call executor_tool_call(agent_session *s, journal_call *c) {
    return (tool_call){.id = c->id, .arguments = c->arguments, .values = s->values, .session = s, .row = c};
}

/* What was prepared came to nothing, or is not to be known. */
static void forget_prepared(journal_call *c) {
    json_decref(c->result);
    c->result = NULL;
}

static bool is_taken(const attempt *list, size_t n, const void *tool) {
    for (size_t i = 0; i < n; i++) {
        if (list[i].tool == tool) {
            return true;
        }
    }
    return false;
}

/* A tool for list[i]: the session's own, or one more where a call before it has that. */
static void give_tool(attempt *list, size_t i) {
    attempt *a = &list[i];
    muga_error why;
    muga_status st = executor_open_tool(a->s, a->of->t, &a->tool, &why);
    if (st == MUGA_OK && is_taken(list, i, a->tool)) {
        a->tool = NULL;
        st = make_tool(a->s, a->of->t, &a->tool, &why);
        a->is_extra = st == MUGA_OK;
    }
    if (st != MUGA_OK) {
        a->tool = NULL;
        tool_fail(&a->run, "%s", why.message);
    }
}

/* ---- a round ---- */

static void run_attempt(attempt *a) {
    const os_clock *clock = a->s->env.clock;
    tool_call call = executor_tool_call(a->s, a->of->c);
    if (a->tool) {
        uint64_t from_us = clock->monotonic_us(clock->self);
        a->run = (tool_run){.ok = false};
        a->of->t->kind->run(a->tool, &call, &a->run);
        a->of->run_us = clock->monotonic_us(clock->self) - from_us;
    }
}

typedef struct round {
    attempt *due[AT_ONCE_MAX];
    size_t n;
} round;

static void run_due(void *ctx, int i) {
    run_attempt(((round *)ctx)->due[i]);
}

static void run_round(attempt *list, size_t n) {
    round r = {.n = 0};
    os_pool *pool = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!list[i].over) {
            r.due[r.n++] = &list[i];
        }
    }
    if (r.n > 1 && os_pool_new((int)r.n, &pool, NULL) != MUGA_OK) {
        pool = NULL; /* one after the other, then */
    }
    os_pool_run(pool, (int)r.n, run_due, &r);
    os_pool_free(pool);
}

/* ---- retries ---- */

static bool may_retry(const attempt *a) {
    const manifest_tool *t = a->of->t;
    return !a->run.ok && !a->run.in_doubt && !a->run.final && !a->run.waits && !t->kind->resumes &&
           (t->effect == EFFECT_READ || t->idempotent) && a->n_retries < t->retry_times;
}

static muga_status note_retry(attempt *a, int64_t wait_ms, muga_error *err) {
    agent_session *s = a->s;
    journal_call *c = a->of->c;
    snprintf(c->reason, sizeof c->reason, "%s", a->run.reason);
    forget_prepared(c);
    json_t *detail = json_pack("{s:I, s:I}", "retry", (json_int_t)a->n_retries, "wait_ms", (json_int_t)wait_ms);
    muga_status st = detail ? store_begin(s->store, err) : error_nomem(err, "a retry");
    if (st == MUGA_OK) {
        st = journal_move(&s->env, s->store, c, STATE_STARTED, detail, err);
        store_end(s->store, &st, err);
    }
    json_decref(detail);
    return st;
}

/* first_ms, twice that, four times ... */
static int64_t wait_before(const attempt *a) {
    int64_t wait_ms = a->of->t->retry_first_ms;
    for (int64_t i = 1; i < a->n_retries && wait_ms < WAIT_MAX_MS; i++) {
        wait_ms *= 2;
    }
    return MIN(wait_ms, WAIT_MAX_MS);
}

/* What a round gave: who is over, who tries again. *any: somebody does. */
static muga_status look_after_round(attempt *list, size_t n, bool *any, muga_error *err) {
    const os_clock *clock = list[0].s->env.clock;
    int64_t longest_ms = 0;
    muga_status st = MUGA_OK;
    *any = false;
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        attempt *a = &list[i];
        if (a->over || !may_retry(a)) {
            a->over = true;
            continue;
        }
        a->n_retries++;
        *any = true;
        longest_ms = MAX(longest_ms, wait_before(a));
        st = note_retry(a, wait_before(a), err);
        if (st == MUGA_OK && !a->tool) {
            give_tool(list, i);
        }
    }
    if (st == MUGA_OK && *any) {
        clock->sleep_ms(clock->self, longest_ms);
    }
    return st;
}

/* ---- settling ---- */

static muga_status move_in_doubt(agent_session *s, journal_call *c, muga_error *err) {
    int64_t expires_ms = s->env.clock->now_ms(s->env.clock->self) + s->m->approval_ms;
    approval_row a;
    c->attempt++;
    muga_status st = approval_create(&s->env, s->store, c, expires_ms, &a, err);
    if (st == MUGA_OK) {
        json_t *detail = json_pack("{s:s, s:I}", "approval", a.id, "expires_ms", (json_int_t)a.expires_ms);
        st = detail ? journal_move(&s->env, s->store, c, STATE_IN_DOUBT, detail, err) : error_nomem(err, "an approval");
        json_decref(detail);
    }
    return st;
}

muga_status executor_put_in_doubt(agent_session *s, journal_call *c, muga_error *err) {
    forget_prepared(c);
    muga_status st = store_begin(s->store, err);
    if (st == MUGA_OK) {
        st = move_in_doubt(s, c, err);
        store_end(s->store, &st, err);
    }
    if (st == MUGA_OK) {
        approval_notify(s, c);
    }
    return st;
}

/* As its tool says, and as strict as what another agent's session has read for it (nested.h names that so). */
static muga_status label_call(const agent_session *s, journal_call *c, muga_error *err) {
    char within[AGENT_ID_SIZE];
    data_label nested;
    snprintf(within, sizeof within, "s%s", c->id + 1);
    muga_status st = label_of_session(s->store, within, &nested, err);
    if (st == MUGA_OK) {
        label_write(label_join(label_of_tool(manifest_tool_find(s->m, c->tool)), nested), c->label);
    }
    return st;
}

muga_status executor_settle(agent_session *s, journal_call *c, call_state to, uint64_t run_us, muga_error *err) {
    muga_status known = label_call(s, c, err);
    if (known != MUGA_OK) {
        return known;
    }
    json_t *detail = json_pack("{s:I}", "run_us", (json_int_t)run_us);
    muga_status st = detail ? store_begin(s->store, err) : error_nomem(err, "a result");
    if (st == MUGA_OK) {
        st = journal_move(&s->env, s->store, c, to, detail, err);
        if (st == MUGA_OK) {
            st = session_store_row(s, "tool", "", 0, c->id, err);
        }
        store_end(s->store, &st, err);
    }
    json_decref(detail);
    json_t *found = json_array();
    st = st == MUGA_OK && !found ? error_nomem(err, "a result") : st;
    st = st == MUGA_OK ? session_remember_call(s, c, found, err) : st;
    if (st == MUGA_OK && json_array_size(found) > 0) {
        st = session_audit_guard(s, "results", "mask", c->id, found, NULL, err);
    }
    json_decref(found);
    return st;
}

static muga_status settle_attempt(attempt *a, muga_error *err) {
    agent_session *s = a->s;
    journal_call *c = a->of->c;
    snprintf(c->reason, sizeof c->reason, "%s", a->run.ok ? "" : a->run.reason);
    if (a->run.waits) {
        a->of->waits = a->run;
        return MUGA_OK;
    }
    if (a->run.in_doubt) {
        return executor_put_in_doubt(s, c, err);
    }
    forget_prepared(c);
    c->result = a->run.ok ? a->run.result : executor_error_result(a->run.reason);
    a->run.result = NULL;
    if (!c->result) {
        return error_nomem(err, "a result"); /* the row stays `started`: in doubt, which it is */
    }
    return executor_settle(s, c, a->run.ok ? STATE_FINISHED : STATE_FAILED, a->of->run_us, err);
}

muga_status executor_run(agent_session *s, call_run *list, size_t n, muga_error *err) {
    attempt attempts[AT_ONCE_MAX] = {{.s = NULL}};
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < n; i++) {
        attempts[i].s = s;
        attempts[i].of = &list[i];
        give_tool(attempts, i);
    }
    for (bool any = n > 0; st == MUGA_OK && any;) {
        run_round(attempts, n);
        st = look_after_round(attempts, n, &any, err);
    }
    for (size_t i = 0; i < n; i++) {
        st = st == MUGA_OK ? settle_attempt(&attempts[i], err) : st;
        json_decref(attempts[i].run.result);
        if (attempts[i].is_extra) {
            list[i].t->kind->close(attempts[i].tool);
        }
    }
    return st;
}
