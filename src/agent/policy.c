/* May this call run? Owns: the verdict. Refuses: to be talked to; it sees the tool's definition, the arguments, the
 * session, the state and the time, and no word of the model.
 *
 *   session ended                            deny
 *   a tool that whoever asks may not use     deny (env->may_use: the server's keys)
 *   more calls in a turn than limits.steps   deny
 *   approval: never                          allow
 *   approval: always                         ask
 *   approval: {when: E}   E is true          ask
 *                         E is false         allow
 *                         E can't be told    ask      a rule that fails is a rule that asks
 *   policy.rules, each that applies          its verdict
 *   policy.rules, one that can't be told     deny: deny   ask: ask   allow: nothing
 *   no allow rule applies                    policy.otherwise
 *   policy.budgets, one that it would be     ask or deny, as it says
 *   past, or that can't be told
 *   labels of what the session has read      ask or deny (labels.h)
 *
 * A write without `approval:` has been given `always` by the manifest, a read `never`. The strictest of all counts. An
 * allow rule takes away `otherwise` and nothing else. docs/policy.md is this table with its budgets and labels, and
 * tests/unit/test_policy.c tests each of its rows. */
#include "agent/internal.h"

#include <stdio.h>

const char *policy_verdict_name(policy_verdict v) {
    static const char *const names[] = {"allow", "ask", "deny"};
    return names[v];
}

typedef struct opinion {
    policy_verdict verdict;
    char *reason; /* [256], of the first that was as strict */
} opinion;

/* The strictest so far. */
static void weigh(opinion *o, policy_verdict v, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void weigh(opinion *o, policy_verdict v, const char *format, ...) {
    if (v > o->verdict || !o->reason[0]) {
        va_list args;
        va_start(args, format);
        vsnprintf(o->reason, 256, format, args);
        va_end(args);
        o->verdict = v;
    }
}

static json_t *expression_context(const policy_context *c) {
    return json_pack("{s:O, s:O, s:O}", "arguments", c->arguments, "session", c->session, "state", c->state);
}

/* ---- the tool's own approval: ---- */

static void weigh_approval(opinion *o, const manifest_tool *t, const policy_context *c) {
    if (t->approval != APPROVAL_WHEN) {
        bool always = t->approval == APPROVAL_ALWAYS;
        weigh(o, always ? POLICY_ASK : POLICY_ALLOW, "approval: %s", always ? "always" : "never");
        return;
    }
    json_t *context = expression_context(c);
    muga_error why = {MUGA_E_NOMEM, "out of memory"};
    bool ask = true;
    muga_status st = context ? template_expression_test(t->when, context, &ask, &why) : MUGA_E_NOMEM;
    json_decref(context);
    if (st != MUGA_OK) {
        weigh(o, POLICY_ASK, "approval.when can't be told (%.180s), so a person is asked", why.message);
    } else {
        weigh(o, ask ? POLICY_ASK : POLICY_ALLOW, "approval.when is %s", ask ? "true" : "false");
    }
}

/* ---- rules ---- */

typedef enum { HOLDS_NO, HOLDS_YES, HOLDS_UNKNOWN } holds;

/* Only true and false count: what an undefined or misshapen value would be taken for is no basis for a verdict. */
static holds expression_holds(const template_expression *e, const policy_context *c, muga_error *why) {
    json_t *context = expression_context(c), *value = NULL;
    muga_error fault = {MUGA_E_NOMEM, "out of memory"};
    muga_status st = context ? template_expression_value(e, context, &value, &fault) : MUGA_E_NOMEM;
    holds h = json_is_true(value) ? HOLDS_YES : json_is_false(value) ? HOLDS_NO : HOLDS_UNKNOWN;
    if (h == HOLDS_UNKNOWN) {
        snprintf(why->message, sizeof why->message, "%s",
                 st != MUGA_OK ? fault.message : "it gives neither true nor false");
    }
    json_decref(value);
    json_decref(context);
    return h;
}

/* The session's rights: a list of texts, one text, or none. */
static holds has_right(const policy_section *p, const json_t *session, const char *right) {
    const json_t *v = p->rights ? json_object_get(session, p->rights) : NULL;
    if (!v || json_is_null(v)) {
        return HOLDS_NO;
    }
    if (json_is_string(v)) {
        return strcmp(json_string_value(v), right) == 0 ? HOLDS_YES : HOLDS_NO;
    }
    if (!json_is_array(v)) {
        return HOLDS_UNKNOWN;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *one = json_string_value(json_array_get(v, i));
        if (!one) {
            return HOLDS_UNKNOWN;
        }
        if (strcmp(one, right) == 0) {
            return HOLDS_YES;
        }
    }
    return HOLDS_NO;
}

static holds both(holds a, holds b) {
    return a == HOLDS_NO || b == HOLDS_NO ? HOLDS_NO : a == HOLDS_YES ? b : HOLDS_UNKNOWN;
}

static holds negate(holds h) {
    return h == HOLDS_UNKNOWN ? h : h == HOLDS_YES ? HOLDS_NO : HOLDS_YES;
}

static holds rule_applies(const policy_section *p, const policy_rule *r, const policy_context *c, muga_error *why) {
    holds h = HOLDS_YES;
    if (r->has_within) {
        h = policy_window_holds(&r->within, c->now_ms) ? HOLDS_YES : HOLDS_NO;
    }
    if (r->has_outside) {
        h = both(h, policy_window_holds(&r->outside, c->now_ms) ? HOLDS_NO : HOLDS_YES);
    }
    snprintf(why->message, sizeof why->message, "the session's rights are no list of texts");
    if (r->right) {
        h = both(h, has_right(p, c->session, r->right));
    }
    if (r->without) {
        h = both(h, negate(has_right(p, c->session, r->without)));
    }
    return h != HOLDS_NO && r->when ? both(h, expression_holds(r->when, c, why)) : h;
}

static void weigh_rules(opinion *o, const manifest *m, const manifest_tool *t, const policy_context *c) {
    const policy_section *p = m->policy;
    size_t i_tool = (size_t)(t - m->tools);
    bool allowed = false;
    for (size_t i = 0; p && i < p->n_rules; i++) {
        const policy_rule *r = &p->rules[i];
        muga_error why;
        holds h = r->tools >> i_tool & 1 ? rule_applies(p, r, c, &why) : HOLDS_NO;
        if (r->verdict == POLICY_ALLOW) {
            allowed = allowed || h == HOLDS_YES;
        } else if (h == HOLDS_UNKNOWN) {
            weigh(o, r->verdict, "policy.rules[%zu] can't be told (%.160s)", i, why.message);
        } else if (h == HOLDS_YES) {
            weigh(o, r->verdict, "policy.rules[%zu] says %s", i, policy_verdict_name(r->verdict));
        }
    }
    if (p && !allowed) {
        weigh(o, p->otherwise, "policy.otherwise: no rule allows %s", t->name);
    }
}

policy_verdict policy_decide(const manifest *m, const manifest_tool *t, const policy_context *c, char reason[256]) {
    opinion o = {POLICY_ALLOW, reason};
    reason[0] = '\0';
    if (c->session_ended) {
        weigh(&o, POLICY_DENY, "the session has ended");
        return o.verdict;
    }
    const agent_env *env = c->owner ? &c->owner->env : NULL;
    if (env && env->may_use && !env->may_use(env->may_use_self, m->name, t->name)) {
        weigh(&o, POLICY_DENY, "whoever asks has no right to %s", t->name);
        return o.verdict;
    }
    if (c->n_calls >= m->max_steps) {
        weigh(&o, POLICY_DENY, "limits.steps: %lld calls were made since the last message", (long long)c->n_calls);
        return o.verdict;
    }
    weigh_approval(&o, t, c);
    weigh_rules(&o, m, t, c);
    char past[256];
    policy_verdict v = policy_budgets(m, t, c, past);
    weigh(&o, v, "%s", past);
    v = labels_decide(m, t, c, past);
    weigh(&o, v, "%s", past);
    return o.verdict;
}
