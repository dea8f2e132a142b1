/* How often a call may be made. Owns: the count of a tool's calls in a window of time, and of calls that go round in a
 * circle. Refuses: a call over its tool's `rate`; one that has given the same result limits.repeats times in this turn.
 *
 * Idea: the journal is the counter. It is durable, so a restart forgets nothing, and it is written in the transaction
 * that asks. A call counts from when it may first have run until `seconds` after its last change, which is never too
 * short; one that waits for a person is reserved, and counts as long as it waits. */
#include "agent/executor_internal.h"
#include "agent/interactions_internal.h"

#include <stdio.h>

/* ---- rate ---- */

/* Is a session, by its values, of the same person as this one? */
static bool is_same_subject(const agent_session *s, const json_t *values) {
    const json_t *names = json_object_get(s->m->learning, "subject");
    bool same = json_array_size(names) > 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        same = same && data_same_value(json_object_get(values, name), json_object_get(s->values, name));
    }
    return same;
}

static muga_status is_counted(const agent_session *s, const manifest_tool *t, store_row *r, bool *counted,
                              muga_error *err) {
    json_t *values = NULL;
    muga_status st = MUGA_OK;
    *counted = t->rate_per != RATE_PER_SESSION || strcmp(store_string(r, 0), s->id) == 0;
    if (*counted && t->rate_per == RATE_PER_SUBJECT) {
        st = store_json(r, 1, &values, err);
        *counted = st == MUGA_OK && is_same_subject(s, values);
        json_decref(values);
    }
    return st;
}

/* Calls that count, and when the first of them no longer will (0: one waits for a person). */
static muga_status count_calls(agent_session *s, const manifest_tool *t, int64_t since_ms, int64_t *n,
                               int64_t *oldest_ms, muga_error *err) {
    static const char sql[] =
        "SELECT c.session, x.session_values, c.state IN ('held', 'approved'), c.changed_ms FROM calls c JOIN sessions x"
        " ON x.id = c.session WHERE c.tool = ?1 AND x.agent = ?2 AND (c.state IN ('held', 'approved') OR (c.changed_ms"
        " > ?3 AND (c.state IN ('started', 'in_doubt', 'finished', 'failed') OR c.attempt > 1)))";
    store_row *r;
    *n = 0;
    *oldest_ms = INT64_MAX;
    muga_status st = store_query(s->store, &r, err, sql, "ssi", t->name, s->m->name, since_ms);
    for (bool has = true, counted = false; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = is_counted(s, t, r, &counted, err);
        if (counted) {
            ++*n;
            *oldest_ms = store_int(r, 2) ? *oldest_ms : MIN(*oldest_ms, store_int(r, 3));
        }
    }
    store_done(r);
    return st;
}

static muga_status check_rate(agent_session *s, const manifest_tool *t, bool *over, char reason[256], muga_error *err) {
    static const char *const whose[] = {"this session", "this person", "this agent"};
    int64_t n, oldest_ms, now = s->env.clock->now_ms(s->env.clock->self);
    if (t->rate_calls == 0) {
        return MUGA_OK;
    }
    muga_status st = count_calls(s, t, now - t->rate_ms, &n, &oldest_ms, err);
    *over = st == MUGA_OK && n >= t->rate_calls;
    if (*over) {
        int length = snprintf(reason, 256, "rate: %lld calls of %.64s in %lld s are all that %s may make",
                              (long long)t->rate_calls, t->name, (long long)(t->rate_ms / 1000), whose[t->rate_per]);
        if (oldest_ms != INT64_MAX && length > 0 && length < 200) {
            snprintf(reason + length, 256 - (size_t)length, "; again in %lld s",
                     (long long)(MAX(oldest_ms + t->rate_ms - now, 0) / 1000 + 1));
        }
    }
    return st;
}

/* ---- going round in a circle ---- */

static bool is_role(const json_t *entry, const char *role) {
    return strcmp(json_get_string(entry, "role"), role) == 0;
}

/* Of this turn's calls with this tool and these arguments: how many, from the newest back, gave the same. */
static int64_t count_same(const agent_session *s, const journal_call *c) {
    const json_t *result = NULL;
    int64_t n = 0;
    for (size_t i = json_array_size(s->history); i-- > 0;) {
        const json_t *entry = json_array_get(s->history, i);
        if (is_role(entry, "user")) {
            break;
        }
        if (!is_role(entry, "tool") || strcmp(json_get_string(entry, "tool"), c->tool) != 0 ||
            !json_equal(json_object_get(entry, "arguments"), c->arguments)) {
            continue;
        }
        const json_t *given = json_object_get(entry, "content");
        if (result && !long_result_same(result, given)) {
            break;
        }
        result = given;
        n++;
    }
    return n;
}

muga_status executor_limits(agent_session *s, const manifest_tool *t, const journal_call *c, bool *over,
                            char reason[256], muga_error *err) {
    int64_t n = count_same(s, c);
    *over = n >= s->m->max_repeats;
    if (*over) {
        snprintf(reason, 256,
                 "limits.repeats: this call gave the same result %lld times in this turn; do something else",
                 (long long)n);
        return MUGA_OK;
    }
    return check_rate(s, t, over, reason, err);
}
