/* Budgets: at most so many calls, changed rows, or so much of an argument, per session, person, day. Refuses: to count
 * anywhere but in the journal, which is durable and written in the transaction that asks.
 *
 * A call counts from when it may first have run. One that waits for a person is reserved and counts as long as it
 * waits, on whatever day it may run; so what was approved never has to be counted again at its start. Sums are of
 * sizes: a negative amount makes no room. A clock that is set back lets nothing go uncounted. */
#include "agent/interactions_internal.h"
#include "agent/internal.h"

#include <math.h>
#include <stdio.h>

typedef struct tally {
    const manifest *m;
    const policy_budget *b;
    const policy_context *c;
    double sum;
} tally;

static bool is_same_subject(const tally *x, const json_t *values) {
    const json_t *names = x->m->policy->subject;
    bool same = json_array_size(names) > 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        same = same && data_same_value(json_object_get(values, name), json_object_get(x->c->session, name));
    }
    return same;
}

/* What one call takes of the budget: `arguments` and `result` as far as they are there. */
static double taken_by(const policy_budget *b, const json_t *arguments, const json_t *result) {
    switch (b->measure) {
    case BUDGET_CALLS: return 1;
    case BUDGET_SUM: return fabs(json_number_value(json_object_get(arguments, b->argument)));
    case BUDGET_ROWS: break;
    }
    const json_t *changed = json_object_get(result, "changed");
    return json_is_number(changed) ? fabs(json_number_value(changed)) : result ? 0 : 1; /* it may have changed one */
}

static muga_status add_row(tally *x, store_row *r, muga_error *err) {
    json_t *values = NULL, *arguments = NULL, *result = NULL;
    bool counted = true;
    muga_status st = MUGA_OK;
    if (x->b->per_subject) {
        st = store_json(r, 0, &values, err);
        counted = st == MUGA_OK && is_same_subject(x, values);
        json_decref(values);
    }
    if (st == MUGA_OK && counted && x->b->measure == BUDGET_SUM) {
        st = store_json(r, 1, &arguments, err);
    }
    if (st == MUGA_OK && counted && x->b->measure == BUDGET_ROWS && !store_is_null(r, 2)) {
        st = store_json(r, 2, &result, err);
    }
    x->sum += st == MUGA_OK && counted ? taken_by(x->b, arguments, result) : 0;
    json_decref(arguments);
    json_decref(result);
    return st;
}

/* The calls of one tool: of this session, or of all sessions of this agent. */
static muga_status add_tool(tally *x, const manifest_tool *t, int64_t since_ms, muga_error *err) {
#define COUNTED                                                                                                        \
    " AND (c.state IN ('held', 'approved') OR (c.changed_ms >= ?3 AND (c.state IN ('started', 'in_doubt', 'finished'," \
    " 'failed') OR c.attempt > 1)))"
    static const char of_session[] = "SELECT x.session_values, c.arguments, c.result FROM calls c JOIN sessions x ON"
                                     " x.id = c.session WHERE c.tool = ?1 AND c.session = ?2" COUNTED;
    static const char of_agent[] = "SELECT x.session_values, c.arguments, c.result FROM calls c JOIN sessions x ON"
                                   " x.id = c.session WHERE c.tool = ?1 AND x.agent = ?2" COUNTED;
#undef COUNTED
    const struct agent_session *s = x->c->owner;
    bool one = x->b->per_session;
    store_row *r;
    muga_status st =
        store_query(s->store, &r, err, one ? of_session : of_agent, "ssi", t->name, one ? s->id : s->m->name, since_ms);
    for (bool has = true; st == MUGA_OK;) {
        st = store_step(r, &has, err);
        if (st != MUGA_OK || !has) {
            break;
        }
        st = add_row(x, r, err);
    }
    store_done(r);
    return st;
}

static void describe(const policy_budget *b, size_t i, char out[200]) {
    static const char *const measures[] = {"calls", "changed rows", "of"};
    snprintf(out, 200, "policy.budgets[%zu]: at most %.15g %s%s%.48s%s%s%s", i, b->most, measures[b->measure],
             b->argument ? " " : "", b->argument ? b->argument : "", b->per_session ? " a session" : "",
             b->per_subject ? " a person" : "", b->per_day ? " a day" : "");
}

/* Would this call be past it? *told false: that can't be told. */
static bool is_past(const manifest *m, const policy_budget *b, const policy_context *c, double *sum, bool *told) {
    tally x = {m, b, c, 0};
    muga_error why;
    const json_t *own = json_object_get(c->arguments, b->argument ? b->argument : "");
    *told = c->owner && (b->measure != BUDGET_SUM || json_is_number(own));
    int64_t since_ms = b->per_day ? policy_day_start(b->zone, c->now_ms) : INT64_MIN;
    for (size_t i = 0; *told && i < m->n_tools; i++) {
        *told = !(b->tools >> i & 1) || add_tool(&x, &m->tools[i], since_ms, &why) == MUGA_OK;
    }
    *sum = x.sum;
    double with = x.sum + taken_by(b, c->arguments, NULL);
    return !*told || !(with <= b->most);
}

policy_verdict policy_budgets(const manifest *m, const manifest_tool *t, const policy_context *c, char reason[256]) {
    const policy_section *p = m->policy;
    policy_verdict verdict = POLICY_ALLOW;
    reason[0] = '\0';
    for (size_t i = 0; p && i < p->n_budgets && verdict < POLICY_DENY; i++) {
        const policy_budget *b = &p->budgets[i];
        double sum = 0;
        bool told = true;
        char text[200];
        if ((b->tools >> (t - m->tools) & 1) && b->verdict > verdict && is_past(m, b, c, &sum, &told)) {
            describe(b, i, text);
            verdict = b->verdict;
            snprintf(reason, 256, told ? "%s; %.15g so far" : "%s can't be told", text, sum);
        }
    }
    return verdict;
}
