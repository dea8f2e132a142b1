/* Policy: may this call run? The one place where allow, ask and deny are decided (policy.c), from the manifest's
 * `policy:` section (manifest_policy.c), the tools' `approval:`, budgets (policy_budget.c) and labels (labels.h).
 * docs/policy.md is the page for people. Private to agent/.
 *
 * Every part gives an opinion, and the strictest one counts: deny beats ask beats allow. So a rule that asks or denies
 * can only make a verdict stricter, wherever it stands. */
#ifndef MUGA_AGENT_POLICY_H
#define MUGA_AGENT_POLICY_H

#include "agent/agent.h"
#include "agent/zone.h"

typedef enum { POLICY_ALLOW, POLICY_ASK, POLICY_DENY } policy_verdict; /* in the order of strictness */
const char *policy_verdict_name(policy_verdict v);

/* ---- the section, compiled ---- */

/* Hours of the day and days of the week in one zone. A window over midnight belongs to the day on which it began. */
typedef struct policy_window {
    int32_t from_min, to_min; /* of the day: from <= t < to; to <= from: over midnight; 0..1440 when no hours are set */
    uint8_t days;             /* bit 0 = Monday; 0x7F when no days are set */
    zone *zone;               /* owned */
} policy_window;

typedef struct policy_rule {
    policy_verdict verdict;
    uint64_t tools; /* bit i = tool i of the manifest, which has at most 64 */
    const template_expression *when;
    const char *right, *without; /* the session must have, must not have this right; NULL: no condition */
    bool has_within, has_outside;
    policy_window within, outside;
} policy_rule;

typedef enum { BUDGET_CALLS, BUDGET_ROWS, BUDGET_SUM } policy_measure;
/* At most so much of what these tools do, counted by the journal. */
typedef struct policy_budget {
    policy_verdict verdict; /* ask or deny, of a call that would be past it */
    policy_measure measure;
    uint64_t tools;
    const char *argument; /* BUDGET_SUM: whose size is added up */
    double most;
    bool per_session, per_subject, per_day;
    zone *zone; /* of the day; owned */
} policy_budget;

/* Of a write, once an untrusted result lies in the session. */
typedef enum { AFTER_UNTRUSTED_PROVE, AFTER_UNTRUSTED_ASK, AFTER_UNTRUSTED_DENY } after_untrusted;

typedef struct policy_section {
    after_untrusted after_untrusted;
    policy_verdict otherwise; /* what no allow rule covers */
    const char *rights;       /* the session value that holds a list of rights; NULL: nobody has any */
    const json_t *subject; /* names of the session values that say whose session it is; NULL: nothing is per subject */
    policy_rule *rules;
    size_t n_rules;
    policy_budget *budgets;
    size_t n_budgets;
} policy_section;

extern const char policy_schema[]; /* of the section, as it stands in docs/schema/agent.schema.json */

struct check_place;
/* Reads m->json's policy: once the tools are there; *out NULL without a section. */
MUGA_MUST_USE muga_status policy_read(const agent_env *env, const manifest *m, const struct check_place *at,
                                      policy_section **out, muga_error *err);
void policy_free(policy_section *p);
/* "08:00-18:00", ["mon", ...]; each may be NULL. False: *what is the word at fault. The zone is the caller's to set. */
bool policy_window_read(const char *hours, const json_t *days, policy_window *out, const char **what);
bool policy_window_holds(const policy_window *w, int64_t now_ms);
int64_t policy_day_start(const zone *z, int64_t now_ms); /* when the day of now_ms began, there */

/* ---- deciding ---- */

typedef struct policy_context {
    const json_t *arguments, *session, *state;
    int64_t n_calls; /* made since the last message of the person, this one not counted */
    bool session_ended;
    int64_t now_ms;
    struct agent_session
        *owner; /* whose call it is: its journal counts for budgets. NULL: what they need can't be told */
} policy_context;
/* The first budget that this call would be past, or that can't be told: its verdict, or POLICY_ALLOW. Inside the
 * transaction that admits the call, so of two who are the last one, one is told (policy_budget.c). */
policy_verdict policy_budgets(const manifest *m, const manifest_tool *t, const policy_context *c, char reason[256]);
/* Never fails: of what can't be told, an ask rule asks, a deny rule denies and an allow rule allows nothing. `reason`:
 * one line. */
policy_verdict policy_decide(const manifest *m, const manifest_tool *t, const policy_context *c, char reason[256]);
#endif
