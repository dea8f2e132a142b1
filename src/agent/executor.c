/* The only way to a tool. Owns: the order validate -> policy -> journal -> run -> journal, and what a crash in any gap
 * means. Refuses: arguments against the schema, values that nobody gave (grounding), what policy or a person denies.
 *
 * Idea: the caller is taken to be hijacked. It names a tool and hands over arguments; everything that decides (the
 * definition, the session's values, the sources of grounded values, the approval) is read from the manifest and the
 * store, never from the caller. journal.c has the states and the arrows this file walks. */
#include "agent/internal.h"

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

/* ---- validation ---- */

typedef struct grounding {
    const session_sources *sources;
    json_t *places; /* where each value stands: {"argument", "source", "text", "from", "to"} */
    char *reason;
    size_t reason_size;
} grounding;

static muga_status check_value(const grounding *g, const char *name, const json_t *schema, const json_t *value,
                               bool *ok, muga_error *err) {
    constrain_place at;
    const constrain_source *list = g->sources->list;
    muga_status st = constrain_grounded_place(schema, value, list, ARRAY_LEN(g->sources->list), &at, err);
    if (st == MUGA_E_NEGATIVE) {
        *ok = false;
        snprintf(g->reason, g->reason_size, "%.80s: this value was not given by the %s", name,
                 strcmp(json_get_string(schema, "from"), "tools") == 0 ? "tools" : "person");
        return MUGA_OK;
    }
    if (st != MUGA_OK) {
        return st;
    }
    json_t *place = json_pack("{s:s, s:s, s:I, s:I, s:I}", "argument", name, "source", list[at.source].name, "text",
                              (json_int_t)at.text, "from", (json_int_t)at.from, "to", (json_int_t)at.to);
    return place && json_array_append_new(g->places, place) == 0 ? MUGA_OK : error_nomem(err, "grounded values");
}

/* Every value whose subschema says `from`, through properties and items: manifest.c lets it stand nowhere else. */
static muga_status check_grounded(const grounding *g, const char *name, const json_t *schema, const json_t *value,
                                  bool *ok, muga_error *err) {
    muga_status st = MUGA_OK;
    if (json_object_get(schema, "from") && !json_is_array(value)) {
        return check_value(g, name, schema, value, ok, err);
    }
    const char *key;
    json_t *sub;
    json_object_foreach(json_object_get(schema, "properties"), key, sub) {
        const json_t *member = json_object_get(value, key);
        if (st == MUGA_OK && *ok && member) {
            st = check_grounded(g, key, sub, member, ok, err);
        }
    }
    for (size_t i = 0; st == MUGA_OK && *ok && i < json_array_size(value); i++) {
        st = check_grounded(g, name, json_object_get(schema, "items"), json_array_get(value, i), ok, err);
    }
    return st;
}

/* *ok false: `c->reason` says why. places: an array, to which each grounded value adds where it stands. */
static muga_status check_call(agent_session *s, const manifest_tool *t, journal_call *c, json_t *places, bool *ok,
                              muga_error *err) {
    *ok = false;
    if (!t) {
        snprintf(c->reason, sizeof c->reason, "no tool is called %.64s", c->tool);
        return MUGA_OK;
    }
    if (c->reason[0]) {
        return MUGA_OK; /* the arguments could not even be kept */
    }
    muga_error verdict;
    muga_status st = constrain_validate(t->parameters, c->arguments, NULL, &verdict);
    if (st == MUGA_E_NEGATIVE) {
        snprintf(c->reason, sizeof c->reason, "arguments: %.230s", verdict.message);
        return MUGA_OK;
    }
    if (st != MUGA_OK) {
        return error_set(err, st, "%s", verdict.message);
    }
    session_sources sources;
    st = session_get_sources(s, &sources, err);
    if (st == MUGA_OK) {
        grounding g = {&sources, places, c->reason, sizeof c->reason};
        *ok = true;
        st = check_grounded(&g, "arguments", t->parameters, c->arguments, ok, err);
        session_sources_release(&sources);
    }
    return st;
}

/* ---- running ---- */

static muga_status open_tool(agent_session *s, const manifest_tool *t, void **out, muga_error *err) {
    void **slot = &s->tools[t - s->m->tools];
    tool_setup setup = {.env = &s->env, .m = s->m, .def = t};
    muga_status st = *slot ? MUGA_OK : t->kind->open(&setup, slot, err);
    *out = *slot;
    return st;
}

static void run_tool(agent_session *s, const manifest_tool *t, const journal_call *c, tool_run *out) {
    void *tool = NULL;
    muga_error why;
    tool_call call = {.id = c->id, .arguments = c->arguments, .values = s->values, .session = s};
    *out = (tool_run){.ok = false};
    if (open_tool(s, t, &tool, &why) == MUGA_OK) {
        t->kind->run(tool, &call, out);
    } else {
        tool_fail(out, "%s", why.message);
    }
}

static json_t *error_result(const char *reason) {
    return json_pack("{s:s}", "error", reason);
}

/* started -> in_doubt, with a new approval for the attempt that a person may allow. Inside a transaction. */
static muga_status put_in_doubt(agent_session *s, journal_call *c, muga_error *err) {
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

/* started -> finished | failed, and its line of history. c->result is set. */
static muga_status settle(agent_session *s, journal_call *c, call_state to, uint64_t run_us, muga_error *err) {
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
    return st == MUGA_OK ? session_remember_call(s, c, err) : st;
}

/* The row says `started`, durably. */
static muga_status run_started(agent_session *s, const manifest_tool *t, journal_call *c, uint64_t *run_us,
                               muga_error *err) {
    const os_clock *clock = s->env.clock;
    tool_run run;
    uint64_t from_us = clock->monotonic_us(clock->self);
    run_tool(s, t, c, &run);
    *run_us = clock->monotonic_us(clock->self) - from_us;
    snprintf(c->reason, sizeof c->reason, "%s", run.ok ? "" : run.reason);
    if (run.in_doubt) {
        muga_status st = store_begin(s->store, err);
        if (st == MUGA_OK) {
            st = put_in_doubt(s, c, err);
            store_end(s->store, &st, err);
        }
        return st;
    }
    c->result = run.ok ? run.result : error_result(run.reason);
    if (!c->result) {
        return error_nomem(err, "a result"); /* the row stays `started`: in doubt, which it is */
    }
    return settle(s, c, run.ok ? STATE_FINISHED : STATE_FAILED, *run_us, err);
}

/* ---- what the caller sees ---- */

static muga_status report(agent_session *s, const journal_call *c, uint64_t run_us, call_result *out, muga_error *err) {
    static const call_outcome outcomes[N_CALL_STATES] = {
        [STATE_PROPOSED] = CALL_REFUSED,  [STATE_VALIDATED] = CALL_REFUSED, [STATE_INVALID] = CALL_INVALID,
        [STATE_REFUSED] = CALL_REFUSED,   [STATE_DENIED] = CALL_REFUSED,    [STATE_EXPIRED] = CALL_REFUSED,
        [STATE_HELD] = CALL_HELD,         [STATE_APPROVED] = CALL_HELD,     [STATE_STARTED] = CALL_IN_DOUBT,
        [STATE_IN_DOUBT] = CALL_IN_DOUBT, [STATE_FINISHED] = CALL_FINISHED, [STATE_FAILED] = CALL_FAILED};
    out->outcome = outcomes[c->state];
    out->run_us = run_us;
    snprintf(out->call, sizeof out->call, "%s", c->id);
    snprintf(out->reason, sizeof out->reason, "%s", c->reason);
    muga_status st = MUGA_OK;
    if (c->state == STATE_HELD || c->state == STATE_IN_DOUBT) {
        approval_row a;
        st = approval_read(s->store, c, &a, err);
        if (st == MUGA_OK) {
            snprintf(out->approval, sizeof out->approval, "%s", a.id);
            out->expires_ms = a.expires_ms;
        }
    }
    out->result = c->result ? json_incref(c->result) : error_result(c->reason);
    return st != MUGA_OK ? st : out->result ? MUGA_OK : error_nomem(err, "a result");
}

/* ---- a new call ---- */

/* Keep what was proposed, whatever it is. Arguments that can't be kept leave a reason behind. */
static muga_status fill_call(agent_session *s, const manifest_tool *t, const char *tool, const json_t *arguments,
                             journal_call *c, muga_error *err) {
    str name = STR_INIT, text = STR_INIT;
    muga_status st = id_new(&s->env, "c-", c->id, err);
    json_write_canonical(arguments, &text);
    if (text.failed || text.len > AGENT_MAX_ARGUMENT_BYTES || json_is_deeper(arguments, AGENT_MAX_DEPTH)) {
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
    policy_context context = {c->arguments, s->values, s->state, s->n_calls_in_turn, s->ended};
    char reason[256];
    policy_verdict verdict = policy_decide(s->m, t, &context, reason);
    json_t *why = json_pack("{s:s}", "policy", reason), *grounded = NULL;
    bool any = json_array_size(places) > 0;
    if (any) {
        grounded = json_pack("{s:O}", "grounded", places);
    }
    muga_status st = why && (grounded || !any) ? journal_move(&s->env, s->store, c, STATE_VALIDATED, grounded, err)
                                               : error_nomem(err, "a call");
    json_decref(grounded);
    if (st == MUGA_OK && verdict == POLICY_DENY) {
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

muga_status executor_call(agent_session *s, const char *tool, const json_t *arguments, call_result *out,
                          muga_error *err) {
    *out = (call_result){.result = NULL};
    const manifest_tool *t = manifest_tool_find(s->m, tool);
    journal_call c = {.tool = NULL};
    uint64_t run_us = 0;
    bool ok = false;
    json_t *places = json_array();
    muga_status st = fill_call(s, t, tool, arguments, &c, err);
    if (st == MUGA_OK && !places) {
        st = error_nomem(err, "a call");
    }
    if (st == MUGA_OK) {
        st = check_call(s, t, &c, places, &ok, err);
    }
    if (st == MUGA_OK) {
        st = record_call(s, t, &c, places, ok, err);
    }
    json_decref(places);
    if (st == MUGA_OK) {
        s->n_calls_in_turn++;
        if (c.state == STATE_STARTED) {
            st = run_started(s, t, &c, &run_us, err);
        }
    }
    if (st == MUGA_OK) {
        st = report(s, &c, run_us, out, err);
    }
    journal_call_release(&c);
    if (st != MUGA_OK) {
        call_result_release(out);
    }
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

muga_status executor_resume(agent_session *s, const char *call, call_result *out, muga_error *err) {
    *out = (call_result){.result = NULL};
    journal_call c;
    uint64_t run_us = 0;
    muga_status st = journal_read(s->store, call, &c, err);
    if (st != MUGA_OK) {
        return st;
    }
    if (strcmp(c.session, s->id) != 0) {
        st = error_set(err, MUGA_E_NOT_FOUND, "call %s belongs to another session", c.id);
    } else if (c.state == STATE_APPROVED) {
        st = start_approved(s, &c, err);
        if (st == MUGA_OK && c.state == STATE_STARTED) {
            st = run_started(s, manifest_tool_find(s->m, c.tool), &c, &run_us, err);
        }
    } else if (c.state == STATE_HELD || c.state == STATE_IN_DOUBT) {
        st = expire_if_over(s, &c, err);
    }
    if (st == MUGA_OK) {
        st = report(s, &c, run_us, out, err);
    }
    journal_call_release(&c);
    if (st != MUGA_OK) {
        call_result_release(out);
    }
    return st;
}

/* ---- after a crash ---- */

/* Run again what is proven not to have run, or harmless to repeat; the approval it had is the same use. */
static muga_status run_again(agent_session *s, const manifest_tool *t, journal_call *c, const char *why,
                             muga_error *err) {
    uint64_t run_us;
    json_t *detail = json_pack("{s:s}", "again", why);
    muga_status st = detail ? store_begin(s->store, err) : error_nomem(err, "a call");
    if (st == MUGA_OK) {
        st = journal_move(&s->env, s->store, c, STATE_STARTED, detail, err);
        store_end(s->store, &st, err);
    }
    json_decref(detail);
    return st == MUGA_OK ? run_started(s, t, c, &run_us, err) : st;
}

/* What became of a call found `started`. A tool that is not what it was can't be asked. */
static tool_settled settle_by_looking(agent_session *s, const manifest_tool *t, journal_call *c) {
    void *tool = NULL;
    tool_settled settled = SETTLED_UNKNOWN;
    if (t->kind->settle && open_tool(s, t, &tool, NULL) == MUGA_OK &&
        t->kind->settle(tool, c->id, &settled, &c->result, NULL) != MUGA_OK) {
        settled = SETTLED_UNKNOWN;
    }
    return settled;
}

static muga_status recover_call(agent_session *s, journal_call *c, muga_error *err) {
    const manifest_tool *t = manifest_tool_find(s->m, c->tool);
    bool same = t && memcmp(t->digest, c->tool_digest, SHA256_BYTES) == 0;
    tool_settled settled = same ? settle_by_looking(s, t, c) : SETTLED_UNKNOWN;
    if (settled == SETTLED_RAN) {
        return settle(s, c, STATE_FINISHED, 0, err);
    }
    if (settled == SETTLED_NOT_RUN) {
        return run_again(s, t, c, "interrupted before it took effect", err);
    }
    if (same && t->idempotent) {
        return run_again(s, t, c, "interrupted; idempotent", err);
    }
    snprintf(c->reason, sizeof c->reason, "interrupted while running; it may have taken effect");
    muga_status st = store_begin(s->store, err);
    if (st == MUGA_OK) {
        st = put_in_doubt(s, c, err);
        store_end(s->store, &st, err);
    }
    return st;
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
    st = approval_read(s->store, &c, &a, err);
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
        st = list_calls(
            s, "SELECT id FROM calls WHERE session = ? AND state IN ('held', 'approved', 'in_doubt') ORDER BY n", calls,
            err);
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
