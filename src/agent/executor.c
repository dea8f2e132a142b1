/* The only way to a tool. Owns: the order validate -> policy -> journal -> run -> journal, and what a crash in any gap
 * means. Refuses: arguments against the schema, values that nobody gave (grounding), what policy or a person denies.
 *
 * Idea: the caller is taken to be hijacked. It names a tool and hands over arguments; everything that decides (the
 * definition, the session's values, the sources of grounded values, the approval) is read from the manifest and the
 * store, never from the caller. journal.c has the states and the arrows this file walks. */
#include "agent/executor_internal.h"
#include "agent/trace.h"

#include <stdio.h>

#define TOOL_NAME_MAX 64 /* of an unknown tool, as recorded */

const char *call_outcome_name(call_outcome o) {
    static const char *const names[] = {"finished", "failed", "invalid", "refused", "held", "in doubt"};
    return names[o];
}

void call_result_release(call_result *r) {
    json_decref(r->result);
    *r = (call_result){.result = NULL};
}

/* ---- what the caller sees ---- */

/* `run`: of the call's run just now; zeros: it didn't. */
static muga_status report(agent_session *s, const journal_call *c, const call_run *run, call_result *out,
                          muga_error *err) {
    static const call_outcome outcomes[N_CALL_STATES] = {
        [STATE_PROPOSED] = CALL_REFUSED,  [STATE_VALIDATED] = CALL_REFUSED, [STATE_INVALID] = CALL_INVALID,
        [STATE_REFUSED] = CALL_REFUSED,   [STATE_DENIED] = CALL_REFUSED,    [STATE_EXPIRED] = CALL_REFUSED,
        [STATE_HELD] = CALL_HELD,         [STATE_APPROVED] = CALL_HELD,     [STATE_STARTED] = CALL_IN_DOUBT,
        [STATE_IN_DOUBT] = CALL_IN_DOUBT, [STATE_FINISHED] = CALL_FINISHED, [STATE_FAILED] = CALL_FAILED};
    out->outcome = run->waits.waits ? CALL_HELD : outcomes[c->state];
    out->run_us = run->run_us;
    snprintf(out->call, sizeof out->call, "%s", c->id);
    snprintf(out->reason, sizeof out->reason, "%s", c->reason);
    muga_status st = MUGA_OK;
    if (run->waits.waits) {
        snprintf(out->approval, sizeof out->approval, "%s", run->waits.approval);
        out->expires_ms = run->waits.expires_ms;
    } else if (c->state == STATE_HELD || c->state == STATE_IN_DOUBT) {
        approval_row a;
        st = approval_read(s->store, c, &a, err);
        if (st == MUGA_OK) {
            snprintf(out->approval, sizeof out->approval, "%s", a.id);
            out->expires_ms = a.expires_ms;
        }
    }
    if (st == MUGA_OK && c->result) {
        return journal_shown(s->m, c, &out->result, err);
    }
    out->result = st == MUGA_OK ? executor_error_result(c->reason) : NULL;
    return st != MUGA_OK ? st : out->result ? MUGA_OK : error_nomem(err, "a result");
}

/* ---- a new call ---- */

/* Keep what was proposed, whatever it is. Arguments that can't be kept leave a reason behind. */
static muga_status fill_call(agent_session *s, const manifest_tool *t, const char *tool, const json_t *arguments,
                             journal_call *c, muga_error *err) {
    str name = STR_INIT, text = STR_INIT;
    muga_status st = id_new(&s->env, "c-", c->id, err);
    json_write_canonical(arguments, &text);
    if (st == MUGA_OK && text.failed && !text.past_max) {
        st = error_nomem(err, "arguments");
    } else if (text.failed || text.len > AGENT_MAX_ARGUMENT_BYTES || json_is_deeper(arguments, AGENT_MAX_DEPTH)) {
        snprintf(c->reason, sizeof c->reason, "arguments: longer than %zu bytes or nested deeper than %d",
                 AGENT_MAX_ARGUMENT_BYTES, AGENT_MAX_DEPTH);
        c->arguments = json_null();
    } else {
        c->arguments = json_clone(arguments); /* the caller may go on changing its own */
    }
    if (t) {
        memcpy(c->tool_digest, t->digest, SHA256_BYTES);
        str_append_s(&name, t->name);
    } else {
        size_t n = strnlen(tool, TOOL_NAME_MAX + 1);
        str_append_s(&name, n > TOOL_NAME_MAX ? "(a name too long)" : tool);
        for (size_t i = 0; i < name.len; i++) { /* fit for a terminal and a record */
            name.data[i] = name.data[i] >= 0x20 && name.data[i] < 0x7F ? name.data[i] : '?';
        }
    }
    memcpy(c->policy_digest, s->m->policy_digest, SHA256_BYTES);
    snprintf(c->session, sizeof c->session, "%s", s->id);
    c->tool = str_take(&name);
    c->attempt = 1;
    str_release(&text);
    return st != MUGA_OK ? st : c->tool && c->arguments ? MUGA_OK : error_nomem(err, "a call");
}

static muga_status hold(agent_session *s, journal_call *c, const json_t *why, muga_error *err) {
    approval_row a;
    json_t *detail = json_clone(why);
    muga_status st = detail ? MUGA_OK : error_nomem(err, "an approval");
    if (st == MUGA_OK) {
        st = approval_create(&s->env, s->store, c, s->env.clock->now_ms(s->env.clock->self) + s->m->approval_ms, &a,
                             err);
    }
    if (st == MUGA_OK && (json_object_set_new(detail, "approval", json_string(a.id)) != 0 ||
                          json_object_set_new(detail, "expires_ms", json_integer(a.expires_ms)) != 0)) {
        st = error_nomem(err, "an approval");
    }
    if (st == MUGA_OK) {
        st = journal_move(&s->env, s->store, c, STATE_HELD, detail, err);
    }
    json_decref(detail);
    return st;
}

/* proposed -> validated -> refused | held | started, inside one transaction. */
static muga_status admit(agent_session *s, const manifest_tool *t, journal_call *c, const json_t *places,
                         muga_error *err) {
    policy_context context = {.arguments = c->arguments,
                              .session = s->values,
                              .state = s->state,
                              .n_calls = s->n_calls_in_turn,
                              .session_ended = s->ended,
                              .now_ms = s->env.clock->now_ms(s->env.clock->self),
                              .owner = s};
    char reason[256];
    trace_enter(s->trace, TRACE_POLICY, t->name);
    policy_verdict verdict = policy_decide(s->m, t, &context, reason);
    bool over = false;
    muga_status st = verdict == POLICY_DENY ? MUGA_OK : executor_limits(s, t, c, &over, reason, err);
    trace_leave(s->trace);
    verdict = over ? POLICY_DENY : verdict;
    if (st != MUGA_OK) {
        return st;
    }
    json_t *why = json_pack("{s:s}", "policy", reason), *grounded = NULL;
    bool any = json_array_size(places) > 0;
    if (any) {
        grounded = json_pack("{s:O}", "grounded", places);
    }
    st = why && (grounded || !any) ? journal_move(&s->env, s->store, c, STATE_VALIDATED, grounded, err)
                                   : error_nomem(err, "a call");
    json_decref(grounded);
    if (st == MUGA_OK && verdict != POLICY_DENY && s->dry && t->effect == EFFECT_WRITE) {
        snprintf(c->reason, sizeof c->reason, "dry run: it would %s (%.200s)",
                 verdict == POLICY_ASK ? "wait for a person" : "run", reason);
        st = json_object_set_new(why, "dry", json_string(verdict == POLICY_ASK ? "ask" : "run")) == 0
                 ? journal_move(&s->env, s->store, c, STATE_REFUSED, why, err)
                 : error_nomem(err, "a call");
    } else if (st == MUGA_OK && verdict == POLICY_DENY) {
        snprintf(c->reason, sizeof c->reason, "%s", reason);
        st = journal_move(&s->env, s->store, c, STATE_REFUSED, why, err);
    } else if (st == MUGA_OK && verdict == POLICY_ASK) {
        st = hold(s, c, why, err);
        snprintf(c->reason, sizeof c->reason, "waits for approval (%.200s)", reason);
    } else if (st == MUGA_OK) {
        st = journal_move(&s->env, s->store, c, STATE_STARTED, why, err);
    }
    json_decref(why);
    return st;
}

static muga_status record_call(agent_session *s, const manifest_tool *t, journal_call *c, const json_t *places, bool ok,
                               muga_error *err) {
    muga_status st = store_begin(s->store, err);
    if (st != MUGA_OK) {
        return st;
    }
    char reason[sizeof c->reason]; /* belongs to the verdict, not to the proposal */
    memcpy(reason, c->reason, sizeof reason);
    c->reason[0] = '\0';
    st = journal_propose(&s->env, s->store, c, err);
    if (st == MUGA_OK) {
        c->state = STATE_PROPOSED;
        memcpy(c->reason, reason, sizeof reason);
        st = ok ? admit(s, t, c, places, err) : journal_move(&s->env, s->store, c, STATE_INVALID, NULL, err);
    }
    store_end(s->store, &st, err);
    return st;
}

/* A call on its way through one step. */
typedef struct proposal {
    const manifest_tool *t;
    journal_call c;
    call_run run;
} proposal;

/* Take it as far as it goes without running. */
static muga_status propose(agent_session *s, const call_request *r, proposal *p, muga_error *err) {
    bool ok = false;
    json_t *places = json_array();
    p->t = manifest_tool_find(s->m, r->tool);
    muga_status st = fill_call(s, p->t, r->tool, r->arguments, &p->c, err);
    if (st == MUGA_OK && !places) {
        st = error_nomem(err, "a call");
    }
    if (st == MUGA_OK) {
        st = executor_check(s, p->t, &p->c, places, &ok, err);
    }
    if (st == MUGA_OK) {
        st = record_call(s, p->t, &p->c, places, ok, err);
    }
    if (st == MUGA_OK && p->c.state == STATE_HELD) {
        approval_notify(s, &p->c);
    }
    json_decref(places);
    s->n_calls_in_turn += st == MUGA_OK;
    return st;
}

/* Run those of a step that are `started`. */
static muga_status run_proposals(agent_session *s, proposal *list, size_t n, muga_error *err) {
    call_run runs[AT_ONCE_MAX];
    proposal *of[AT_ONCE_MAX];
    size_t n_runs = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].c.state == STATE_STARTED) {
            runs[n_runs] = (call_run){.t = list[i].t, .c = &list[i].c};
            of[n_runs++] = &list[i];
        }
    }
    trace_enter(s->trace, TRACE_TOOL, n_runs > 0 ? runs[0].t->name : NULL);
    muga_status st = executor_run(s, runs, n_runs, err);
    trace_leave(s->trace);
    for (size_t i = 0; i < n_runs; i++) {
        of[i]->run = runs[i];
    }
    return st;
}

static muga_status call_together(agent_session *s, const call_request *list, size_t n, call_result *out,
                                 muga_error *err) {
    proposal proposals[AT_ONCE_MAX] = {{.t = NULL}};
    muga_status st = MUGA_OK;
    for (size_t i = 0; st == MUGA_OK && i < n; i++) {
        st = propose(s, &list[i], &proposals[i], err);
    }
    st = st == MUGA_OK ? run_proposals(s, proposals, n, err) : st;
    for (size_t i = 0; i < n; i++) {
        st = st == MUGA_OK ? report(s, &proposals[i].c, &proposals[i].run, &out[i], err) : st;
        journal_call_release(&proposals[i].c);
    }
    return st;
}

static bool may_run_beside(const agent_session *s, const call_request *r) {
    const manifest_tool *t = manifest_tool_find(s->m, r->tool);
    return t && t->effect == EFFECT_READ && t->kind->concurrent;
}

muga_status executor_call_many(agent_session *s, const call_request *list, size_t n, call_result *out,
                               muga_error *err) {
    muga_status st = MUGA_OK;
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0, n_together; st == MUGA_OK && i < n; i += n_together) {
        n_together = 1;
        while (may_run_beside(s, &list[i]) && n_together < AT_ONCE_MAX && i + n_together < n &&
               may_run_beside(s, &list[i + n_together])) {
            n_together++;
        }
        st = call_together(s, &list[i], n_together, &out[i], err);
    }
    for (size_t i = 0; st != MUGA_OK && i < n; i++) {
        call_result_release(&out[i]);
    }
    return st;
}

muga_status executor_call(agent_session *s, const char *tool, const json_t *arguments, call_result *out,
                          muga_error *err) {
    return executor_call_many(s, &(call_request){tool, arguments}, 1, out, err);
}

static muga_status run_one(agent_session *s, const manifest_tool *t, journal_call *c, call_run *run, muga_error *err) {
    *run = (call_run){.t = t, .c = c};
    trace_enter(s->trace, TRACE_TOOL, t->name);
    muga_status st = executor_run(s, run, 1, err);
    trace_leave(s->trace);
    return st;
}

/* ---- going on with a held call ---- */

/* approved -> started under its approval; or expired; or refused, when it is not what was approved. */
static muga_status start_approved(agent_session *s, journal_call *c, muga_error *err) {
    bool expired = false;
    muga_error why;
    muga_status st = store_begin(s->store, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = approval_expire(&s->env, s->store, c, &expired, err);
    if (st == MUGA_OK && !expired) {
        muga_status leave = approval_use(&s->env, s->store, s->m, c, &why);
        if (leave == MUGA_OK) {
            c->reason[0] = '\0';
            st = journal_move(&s->env, s->store, c, STATE_STARTED, NULL, err);
        } else if (leave == MUGA_E_POLICY) {
            snprintf(c->reason, sizeof c->reason, "%s", why.message);
            st = journal_move(&s->env, s->store, c, STATE_REFUSED, NULL, err);
        } else {
            st = error_set(err, leave, "%s", why.message);
        }
    }
    store_end(s->store, &st, err);
    return st;
}

static muga_status expire_if_over(agent_session *s, journal_call *c, muga_error *err) {
    bool expired;
    muga_status st = store_begin(s->store, err);
    if (st == MUGA_OK) {
        st = approval_expire(&s->env, s->store, c, &expired, err);
        store_end(s->store, &st, err);
    }
    return st;
}

/* A tool that is not what it was can't go on with what was begun. */
static bool is_resumable(const manifest_tool *t, const journal_call *c) {
    return t && t->kind->resumes && memcmp(t->digest, c->tool_digest, SHA256_BYTES) == 0;
}

muga_status executor_resume(agent_session *s, const char *call, call_result *out, muga_error *err) {
    *out = (call_result){.result = NULL};
    journal_call c;
    call_run run = {.t = NULL};
    muga_status st = journal_read(s->store, call, &c, err);
    if (st != MUGA_OK) {
        return st;
    }
    const manifest_tool *t = manifest_tool_find(s->m, c.tool);
    if (strcmp(c.session, s->id) != 0) {
        st = error_set(err, MUGA_E_NOT_FOUND, "call %s belongs to another session", c.id);
    } else if (c.state == STATE_APPROVED) {
        st = start_approved(s, &c, err);
        if (st == MUGA_OK && c.state == STATE_STARTED) {
            st = run_one(s, t, &c, &run, err);
        }
    } else if (c.state == STATE_STARTED && is_resumable(t, &c)) {
        st = run_one(s, t, &c, &run, err);
    } else if (c.state == STATE_HELD || c.state == STATE_IN_DOUBT) {
        st = expire_if_over(s, &c, err);
    }
    if (st == MUGA_OK) {
        st = report(s, &c, &run, out, err);
    }
    journal_call_release(&c);
    if (st != MUGA_OK) {
        call_result_release(out);
    }
    return st;
}

/* ---- reading on in a result ---- */

muga_status executor_read_result(agent_session *s, const char *call, int64_t offset, size_t max_bytes, json_t **out,
                                 muga_error *err) {
    journal_call c;
    *out = NULL;
    muga_status st = journal_read(s->store, call, &c, err);
    if (st == MUGA_OK && strcmp(c.session, s->id) != 0) {
        st = error_set(err, MUGA_E_NOT_FOUND, "call %s belongs to another session", c.id);
    } else if (st == MUGA_OK && c.state != STATE_FINISHED) {
        st = error_set(err, MUGA_E_NOT_FOUND, "call %s gave no result", c.id);
    } else if (st == MUGA_OK) {
        st = long_result_piece(c.result, c.id, offset, max_bytes, out, err);
    }
    journal_call_release(&c);
    return st;
}

/* ---- after a crash ---- */

/* Run again what is proven not to have run, or harmless to repeat; the approval it had is the same use. */
static muga_status run_again(agent_session *s, const manifest_tool *t, journal_call *c, const char *why,
                             muga_error *err) {
    call_run run;
    json_t *detail = json_pack("{s:s}", "again", why);
    muga_status st = detail ? store_begin(s->store, err) : error_nomem(err, "a call");
    if (st == MUGA_OK) {
        st = journal_move(&s->env, s->store, c, STATE_STARTED, detail, err);
        store_end(s->store, &st, err);
    }
    json_decref(detail);
    return st == MUGA_OK ? run_one(s, t, c, &run, err) : st;
}

/* What became of a call found `started`. A tool that is not what it was can't be asked. */
static tool_settled settle_by_looking(agent_session *s, const manifest_tool *t, journal_call *c) {
    void *tool = NULL;
    json_t *prepared = c->result, *result = NULL;
    tool_settled settled = SETTLED_UNKNOWN;
    const tool_call call = executor_tool_call(s, c);
    if (t->kind->settle && executor_open_tool(s, t, &tool, NULL) == MUGA_OK &&
        t->kind->settle(tool, &call, prepared, &settled, &result, NULL) != MUGA_OK) {
        settled = SETTLED_UNKNOWN;
    }
    c->result = result;
    json_decref(prepared);
    return settled;
}

static muga_status recover_call(agent_session *s, journal_call *c, muga_error *err) {
    const manifest_tool *t = manifest_tool_find(s->m, c->tool);
    if (is_resumable(t, c)) {
        return MUGA_OK;
    }
    bool same = t && memcmp(t->digest, c->tool_digest, SHA256_BYTES) == 0;
    tool_settled settled = same ? settle_by_looking(s, t, c) : SETTLED_UNKNOWN;
    if (settled == SETTLED_RAN) {
        return executor_settle(s, c, STATE_FINISHED, 0, err);
    }
    if (settled == SETTLED_NOT_RUN) {
        return run_again(s, t, c, "interrupted before it took effect", err);
    }
    if (same && t->idempotent) {
        return run_again(s, t, c, "interrupted; idempotent", err);
    }
    snprintf(c->reason, sizeof c->reason, "interrupted while running; it may have taken effect");
    return executor_put_in_doubt(s, c, err);
}

static muga_status list_calls(agent_session *s, const char *sql, json_t *out, muga_error *err) {
    store_row *r;
    muga_status st = store_query(s->store, &r, err, sql, "s", s->id);
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = json_array_append_new(out, json_string(store_string(r, 0))) == 0 ? MUGA_OK : error_nomem(err, "calls");
    }
    store_done(r);
    return st;
}

muga_status executor_recover(agent_session *s, muga_error *err) {
    json_t *calls = json_array();
    muga_status st =
        calls ? list_calls(s, "SELECT id FROM calls WHERE session = ? AND state = 'started' ORDER BY n", calls, err)
              : error_nomem(err, "calls");
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(calls); i++) {
        journal_call c;
        st = journal_read(s->store, json_string_value(json_array_get(calls, i)), &c, err);
        st = st == MUGA_OK ? recover_call(s, &c, err) : st;
        journal_call_release(&c);
    }
    json_decref(calls);
    return st;
}

static muga_status describe_waiting(agent_session *s, const char *id, json_t *out, muga_error *err) {
    journal_call c;
    approval_row a;
    muga_status st = journal_read(s->store, id, &c, err);
    if (st != MUGA_OK) {
        return st;
    }
    a = (approval_row){.id = ""};
    if (c.state != STATE_STARTED) {
        st = approval_read(s->store, &c, &a, err);
    } else if (!is_resumable(manifest_tool_find(s->m, c.tool), &c)) {
        journal_call_release(&c);
        return MUGA_OK;
    }
    if (st == MUGA_OK) {
        json_t *entry = json_pack("{s:s, s:s, s:O, s:s, s:s, s:I}", "call", c.id, "tool", c.tool, "arguments",
                                  c.arguments, "state", call_state_name(c.state), "approval", a.id, "expires_ms",
                                  (json_int_t)a.expires_ms);
        st = entry && json_array_append_new(out, entry) == 0 ? MUGA_OK : error_nomem(err, "calls");
    }
    journal_call_release(&c);
    return st;
}

muga_status executor_waiting(agent_session *s, json_t **out, muga_error *err) {
    json_t *calls = json_array(), *list = json_array();
    muga_status st = calls && list ? MUGA_OK : error_nomem(err, "calls");
    if (st == MUGA_OK) {
        st =
            list_calls(s,
                       "SELECT id FROM calls WHERE session = ? AND state IN ('held', 'approved', 'in_doubt', 'started')"
                       " ORDER BY n",
                       calls, err);
    }
    for (size_t i = 0; st == MUGA_OK && i < json_array_size(calls); i++) {
        st = describe_waiting(s, json_string_value(json_array_get(calls, i)), list, err);
    }
    json_decref(calls);
    if (st == MUGA_OK) {
        *out = list;
    } else {
        json_decref(list);
        *out = NULL;
    }
    return st;
}
