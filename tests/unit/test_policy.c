/* The policy: every row of its table. If this failed, a rule that was to ask or deny would allow. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

static void every_row_of_the_table(void **state) {
    (void)state;
    static const struct {
        tool_approval approval;
        const char *when, *arguments;
        int64_t n_calls;
        bool ended;
        policy_verdict verdict;
        const char *reason;
    } rows[] = {
        {APPROVAL_NEVER, NULL, "{}", 0, false, POLICY_ALLOW, "never"},
        {APPROVAL_ALWAYS, NULL, "{}", 0, false, POLICY_ASK, "always"},
        {APPROVAL_WHEN, "arguments.amount > 50", "{'amount': 51}", 0, false, POLICY_ASK, "is true"},
        {APPROVAL_WHEN, "arguments.amount > 50", "{'amount': 50}", 0, false, POLICY_ALLOW, "is false"},
        {APPROVAL_WHEN, "arguments.amount > 50", "{}", 0, false, POLICY_ASK, "can't be told"},
        {APPROVAL_WHEN, "arguments.amount > 50", "{'amount': 'much'}", 0, false, POLICY_ASK, "can't be told"},
        {APPROVAL_WHEN, "session.vip", "{}", 0, false, POLICY_ASK, "is true"},
        {APPROVAL_WHEN, "not session.vip", "{}", 0, false, POLICY_ALLOW, "is false"},
        {APPROVAL_WHEN, "state.refunds >= 1", "{}", 0, false, POLICY_ASK, "is true"},
        {APPROVAL_NEVER, NULL, "{}", 7, false, POLICY_ALLOW, "never"},
        {APPROVAL_NEVER, NULL, "{}", 8, false, POLICY_DENY, "limits.steps"},
        {APPROVAL_ALWAYS, NULL, "{}", 8, false, POLICY_DENY, "limits.steps"},
        {APPROVAL_NEVER, NULL, "{}", 0, true, POLICY_DENY, "session has ended"},
        {APPROVAL_WHEN, "arguments.amount > 50", "{'amount': 1}", 0, true, POLICY_DENY, "session has ended"},
    };
    const manifest m = {.max_steps = 8};
    json_t *session = fixture_json("{'vip': true}"), *values = fixture_json("{'refunds': 1}");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        muga_error err;
        char reason[256] = "";
        template_expression *when = NULL;
        if (rows[i].when) {
            assert_ok(template_expression_compile(rows[i].when, &when, &err), &err);
        }
        const manifest_tool t = {.name = "t", .effect = EFFECT_WRITE, .approval = rows[i].approval, .when = when};
        json_t *arguments = fixture_json(rows[i].arguments);
        policy_context c = {arguments, session, values, rows[i].n_calls, rows[i].ended};
        policy_verdict verdict = policy_decide(&m, &t, &c, reason);
        if (verdict != rows[i].verdict || !strstr(reason, rows[i].reason)) {
            fail_msg("row %zu: verdict %d (%s)", i, (int)verdict, reason);
        }
        json_decref(arguments);
        template_expression_free(when);
    }
    json_decref(session);
    json_decref(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_row_of_the_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
