/* Who may say yes. If this failed, a person without the role, or the one who asked, could let a call run; or an agent's
 * folder could make its author an approver. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>

static const char manifest_format[] =
    "version: 1\n"
    "agent: till\n"
    "kind: goal\n"
    "model: scripted\n"
    "session: {customer: {type: integer}}\n"
    "goal: {statement: Help.}\n"
    "%s"
    "tools:\n"
    "  - name: reset\n"
    "    description: Reset the password.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO resets(customer) VALUES (:session_customer)'}\n"
    "    effect: write\n"
    "    approval: %s\n";

typedef struct world {
    agent_fixture f;
    char *folder; /* of the operator */
    call_result held;
} world;

static void say_who(const world *w, const char *name, const char *text) {
    char path[1024];
    muga_error err;
    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    assert_ok(os_write_file_atomic(w->f.env.files, path, text, strlen(text), &err), &err);
}

/* A held call of an agent with this section and this approval, in a session that `requester` (or nobody) began. */
static void open_held(world *w, const char *name, const char *section, const char *approval, const char *requester) {
    char folder[64];
    muga_error err;
    str text = STR_INIT;
    json_t *values = fixture_json("{'customer': 1}"), *info = json_pack("{s:s*}", "requester", requester),
           *none = json_object();
    snprintf(folder, sizeof folder, "%s-operator", name);
    str_printf(&text, manifest_format, section, approval);
    fixture_open(&w->f, name, str_get(&text));
    w->folder = mem_copy_string(scratch_path(folder));
    assert_ok(w->f.env.files->mkdirs(w->f.env.files->self, w->folder, &err), &err);
    w->f.env.approvers = w->folder;
    assert_ok(session_new(&w->f.env, w->f.store, w->f.m, values, info, &w->f.session, &err), &err);
    assert_ok(executor_call(w->f.session, "reset", none, &w->held, &err), &err);
    assert_int_equal(w->held.outcome, CALL_HELD);
    json_decref(none);
    json_decref(info);
    json_decref(values);
    str_release(&text);
}

static void close_held(world *w) {
    muga_error err;
    audit_report report;
    assert_ok(audit_verify(w->f.store, &report, &err), &err);
    call_result_release(&w->held);
    fixture_close(&w->f);
    free(w->folder);
}

static int64_t n_barred(const world *w) {
    return fixture_count(w->f.store_path, "SELECT count(*) FROM audit WHERE kind = 'note'");
}

/* Refused with this message, on the record, and nothing else changed. */
static void is_barred(world *w, const char *who, const char *message) {
    muga_error err = {0};
    int64_t before = n_barred(w);
    assert_status(approval_decide(&w->f.env, w->f.store, w->f.m, w->held.approval, true, who, &err), MUGA_E_POLICY,
                  &err, message);
    assert_int_equal(n_barred(w), before + 1);
    assert_int_equal(fixture_count(w->f.store_path, "SELECT count(*) FROM approvals WHERE state = 'pending'"), 1);
    call_result r;
    assert_ok(executor_resume(w->f.session, w->held.call, &r, &err), &err);
    assert_int_equal(r.outcome, CALL_HELD);
    call_result_release(&r);
}

static void may(world *w, const char *who) {
    muga_error err = {0};
    call_result r;
    assert_ok(approval_decide(&w->f.env, w->f.store, w->f.m, w->held.approval, true, who, &err), &err);
    assert_ok(executor_resume(w->f.session, w->held.call, &r, &err), &err);
    assert_int_equal(r.outcome, CALL_FINISHED);
    call_result_release(&r);
    assert_int_equal(fixture_count(w->f.shop_path, "SELECT count(*) FROM resets"), 1);
}

static void a_role_is_needed_where_one_is_named(void **state) {
    (void)state;
    world w;
    open_held(&w, "roles", "", "{by: [manager, owner]}", "eve");
    is_barred(&w, "ada", "approvers.yaml is not there");
    say_who(&w, "approvers.yaml", "ada: [cashier]\nbob: [cashier, owner]\n\"\": [manager]\n");
    is_barred(&w, "ada", "takes the role manager, owner");
    is_barred(&w, "eve", "can't approve reset");
    is_barred(&w, "bo", "can't approve reset");
    is_barred(&w, "manager", "can't approve reset");
    is_barred(&w, APPROVER_DEMO, "is nobody");
    w.f.env.approvers = NULL;
    is_barred(&w, "bob", "knows no file of approvers");
    w.f.env.approvers = w.folder;
    may(&w, "bob");
    close_held(&w);
}

static void the_file_is_the_operators(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *message;
    } rows[] = {{"approvers.yaml", "ada: manager\n", "must be a list of roles"},
                {"approvers.yaml", "- ada\n", "must say USER"},
                {"approvers.yaml", "ada: [1]\n", "must be a list of roles"},
                {"approvers.yaml", "ada: [manager\n", "approvers.yaml:"},
                {"approvers.yaml", "", "approvers.yaml"},
                {"approvers.json", "{\"ada\": [\"manager\"]}", "both approvers.yaml and"}};
    world w;
    open_held(&w, "file", "approvals: {by: [manager]}\n", "always", "eve");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        say_who(&w, rows[i].name, rows[i].text);
        is_barred(&w, "ada", rows[i].message);
    }
    fixture_write(&w.f, "approvers.yaml", "ada: [manager]\n");
    w.f.env.approvers = w.f.dir;
    is_barred(&w, "ada", "lies in the agent's own folder");
    w.f.env.approvers = w.folder;
    char path[1024];
    muga_error err;
    snprintf(path, sizeof path, "%s/approvers.yaml", w.folder);
    assert_ok(w.f.env.files->remove(w.f.env.files->self, path, &err), &err);
    may(&w, "ada"); /* approvers.json */
    close_held(&w);
}

static void a_tools_own_word_comes_before_the_default(void **state) {
    (void)state;
    world w;
    open_held(&w, "own", "approvals: {by: [manager], not: requester}\n", "{by: [cashier], when: 1 == 1}", "eve");
    say_who(&w, "approvers.yaml", "ada: [manager]\nbob: [cashier]\neve: [cashier]\n");
    is_barred(&w, "ada", "takes the role cashier");
    is_barred(&w, "eve", "eve began the session");
    may(&w, "bob");
    close_held(&w);
}

static void who_asked_can_be_kept_from_approving(void **state) {
    (void)state;
    world w;
    open_held(&w, "not", "", "{not: requester}", "eve");
    is_barred(&w, "eve", "another must approve");
    is_barred(&w, APPROVER_DEMO, "is nobody");
    may(&w, "ada");
    close_held(&w);
    open_held(&w, "unknown", "", "{not: requester}", NULL);
    is_barred(&w, "ada", "is not known");
    close_held(&w);
}

/* An agent within has a session of its own, which is the outer one's person's. */
static void who_asked_is_whoever_began_the_outermost_session(void **state) {
    (void)state;
    world w;
    muga_error err;
    agent_session *inner = NULL;
    open_held(&w, "line", "", "{not: requester}", "eve");
    json_t *values = fixture_json("{'customer': 1}"), *none = json_object(),
           *info = json_pack("{s:s}", "within", session_id(w.f.session));
    assert_ok(session_new(&w.f.env, w.f.store, w.f.m, values, info, &inner, &err), &err);
    call_result r;
    assert_ok(executor_call(inner, "reset", none, &r, &err), &err);
    assert_status(approval_decide_within(&w.f.env, w.f.store, w.f.m, r.approval, true, "eve", &err), MUGA_E_POLICY,
                  &err, "eve began the session");
    assert_ok(approval_decide_within(&w.f.env, w.f.store, w.f.m, r.approval, true, "ada", &err), &err);
    call_result_release(&r);
    session_close(inner);
    json_decref(info);
    json_decref(none);
    json_decref(values);
    close_held(&w);
}

static void no_needs_no_role_and_a_rehearsal_neither(void **state) {
    (void)state;
    world w;
    muga_error err;
    open_held(&w, "no", "approvals: {by: [manager], not: requester}\n", "always", "eve");
    assert_ok(approval_decide(&w.f.env, w.f.store, w.f.m, w.held.approval, false, "eve", &err), &err);
    close_held(&w);
    open_held(&w, "rehearsal", "approvals: {by: [manager], not: requester}\n", "always", NULL);
    w.f.env.rehearses = true;
    may(&w, "evaluation");
    close_held(&w);
}

/* Roles are policy: to change them voids what was held. */
static void the_binding_covers_the_roles(void **state) {
    (void)state;
    static const struct {
        const char *section, *approval;
    } changes[] = {{"approvals: {by: [cashier]}\n", "{by: [manager]}"},
                   {"", "{by: [manager, cashier]}"},
                   {"", "always"},
                   {"approvals: {not: requester}\n", "{by: [manager]}"}};
    world w;
    muga_error err;
    open_held(&w, "binding", "", "{by: [manager]}", "eve");
    say_who(&w, "approvers.yaml", "ada: [manager, cashier]\n");
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        manifest *other;
        str text = STR_INIT;
        str_printf(&text, manifest_format, changes[i].section, changes[i].approval);
        fixture_write(&w.f, "agent.yaml", str_get(&text));
        assert_ok(manifest_load(&w.f.env, w.f.dir, NULL, &other, &err), &err);
        assert_status(approval_decide(&w.f.env, w.f.store, other, w.held.approval, true, "ada", &err), MUGA_E_POLICY,
                      &err, "changed since");
        manifest_free(other);
        str_release(&text);
    }
    may(&w, "ada");
    close_held(&w);
}

static void it_can_be_asked_who_may(void **state) {
    (void)state;
    world w;
    muga_error err;
    json_t *who, *want;
    open_held(&w, "who", "approvals: {by: [manager], not: requester}\n", "always", "eve");
    assert_ok(approval_who(&w.f.env, w.f.store, w.f.m, "reset", session_id(w.f.session), &who, &err), &err);
    assert_non_null(strstr(json_get_string(who, "problem"), "approvers.yaml is not there"));
    json_decref(who);
    say_who(&w, "approvers.yaml", "ada: [manager]\nbob: [cashier]\neve: [manager]\n");
    assert_ok(approval_who(&w.f.env, w.f.store, w.f.m, "reset", session_id(w.f.session), &who, &err), &err);
    want = fixture_json("{'not': ['eve'], 'roles': ['manager'], 'users': ['ada']}");
    assert_true(json_equal(who, want));
    json_decref(want);
    json_decref(who);
    close_held(&w);
    open_held(&w, "anyone", "", "always", "eve");
    assert_ok(approval_who(&w.f.env, w.f.store, w.f.m, "reset", session_id(w.f.session), &who, &err), &err);
    assert_null(who);
    may(&w, "eve");
    close_held(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_role_is_needed_where_one_is_named),
        cmocka_unit_test(the_file_is_the_operators),
        cmocka_unit_test(a_tools_own_word_comes_before_the_default),
        cmocka_unit_test(who_asked_can_be_kept_from_approving),
        cmocka_unit_test(who_asked_is_whoever_began_the_outermost_session),
        cmocka_unit_test(no_needs_no_role_and_a_rehearsal_neither),
        cmocka_unit_test(the_binding_covers_the_roles),
        cmocka_unit_test(it_can_be_asked_who_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
