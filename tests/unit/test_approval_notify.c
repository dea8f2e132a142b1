/* The program that is told of held calls. If this failed, nobody would be told, a program that fails would change what
 * waits, see more than it was given, or be told of an evaluation or a dry run. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>
#include <sys/stat.h>

/* What the hook does: its folder is the agent's. */
static const char tells[] = "#!/bin/sh\ncat >>told\n";

static void write_hook(const agent_fixture *f, const char *text) {
    char path[1024];
    snprintf(path, sizeof path, "%s/hook", f->dir);
    fixture_write(f, "hook", text);
    assert_int_equal(chmod(path, 0700), 0);
}

static void open_told(agent_fixture *f, const char *name, const char *hook) {
    muga_error err;
    str text = STR_INIT;
    str_printf(&text, "%sapprovals: {notify: [./hook], unsandboxed: true}\n", fixture_manifest);
    fixture_prepare(f, name, str_get(&text));
    write_hook(f, hook);
    assert_ok(manifest_load(&f->env, f->dir, NULL, &f->m, &err), &err);
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    str_release(&text);
}

static void hold(agent_fixture *f, call_result *r) {
    muga_error err;
    json_t *v = json_object();
    assert_ok(executor_call(f->session, "reset", v, r, &err), &err);
    assert_int_equal(r->outcome, CALL_HELD);
    json_decref(v);
}

static int64_t n_notes(const agent_fixture *f, const char *what) {
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM audit_payload WHERE json_extract(payload, '$.notify') = '%s'",
             what);
    return fixture_count(f->store_path, sql);
}

static bool read_told(const agent_fixture *f, str *out) {
    char path[1024];
    snprintf(path, sizeof path, "%s/told", f->dir);
    return os_read_file(f->env.files, path, 65536, out, NULL) == MUGA_OK;
}

static void one_line_tells_of_a_held_call(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    call_result r;
    str told = STR_INIT;
    json_t *line = NULL;
    open_told(&f, "told", tells);
    fixture_begin(&f, 1, "reset");
    hold(&f, &r);
    assert_true(read_told(&f, &told));
    assert_ok(json_parse(str_get(&told), told.len, "told", &line, &err), &err);
    assert_string_equal(json_get_string(line, "approval"), r.approval);
    assert_string_equal(json_get_string(line, "agent"), "test-shop");
    assert_string_equal(json_get_string(line, "session"), session_id(f.session));
    assert_string_equal(json_get_string(line, "tool"), "reset");
    assert_string_equal(json_get_string(line, "state"), "held");
    assert_int_equal(json_get_int(line, "expires_ms", 0), r.expires_ms);
    assert_int_equal(n_notes(&f, "done"), 1);
    json_decref(line);
    str_release(&told);
    call_result_release(&r);
    fixture_close(&f);
}

/* It fails, prints too much, was changed: the call waits, and can be approved. */
static void a_hook_that_fails_changes_nothing(void **state) {
    (void)state;
    static const char *const hooks[] = {"#!/bin/sh\nexit 3\n", "#!/bin/sh\nhead -c 100000 /dev/zero\n",
                                        "#!/bin/sh\nkill -9 $$\n", tells};
    for (size_t i = 0; i < ARRAY_LEN(hooks); i++) {
        agent_fixture f;
        muga_error err;
        call_result r, done;
        char name[32];
        snprintf(name, sizeof name, "fails-%zu", i);
        open_told(&f, name, hooks[i]);
        fixture_begin(&f, 1, "reset");
        if (hooks[i] == tells) {
            write_hook(&f, "#!/bin/sh\n# another program\ncat >>told\n");
        }
        hold(&f, &r);
        assert_int_equal(n_notes(&f, "failed"), 1);
        assert_int_equal(n_notes(&f, "done"), 0);
        assert_ok(approval_decide(&f.env, f.store, f.m, r.approval, true, "ada", &err), &err);
        assert_ok(executor_resume(f.session, r.call, &done, &err), &err);
        assert_int_equal(done.outcome, CALL_FINISHED);
        audit_report report;
        assert_ok(audit_verify(f.store, &report, &err), &err);
        call_result_release(&done);
        call_result_release(&r);
        fixture_close(&f);
    }
}

static void a_rehearsal_tells_nobody(void **state) {
    (void)state;
    agent_fixture f;
    call_result r;
    str told = STR_INIT;
    open_told(&f, "rehearsal", tells);
    f.env.rehearses = true;
    fixture_begin(&f, 1, "reset");
    hold(&f, &r);
    assert_false(read_told(&f, &told));
    assert_int_equal(n_notes(&f, "done"), 0);
    str_release(&told);
    call_result_release(&r);
    fixture_close(&f);
}

/* A read waits for a person in a dry run, too; but what came of it would be thrown away, so nobody is called to it. */
static void a_dry_run_tells_nobody(void **state) {
    (void)state;
    for (int dry = 0; dry < 2; dry++) {
        agent_fixture f;
        muga_error err;
        call_result r;
        str text = STR_INIT, told = STR_INIT;
        const char *effect = strstr(fixture_manifest, "    effect: read\n");
        fixture_prepare(&f, dry ? "dry" : "not-dry", NULL);
        write_hook(&f, tells);
        str_printf(&text, "%.*s    approval: always\n%sapprovals: {notify: [./hook], unsandboxed: true}\n",
                   (int)(effect - fixture_manifest), fixture_manifest, effect);
        fixture_write(&f, "agent.yaml", str_get(&text));
        assert_ok(manifest_load(&f.env, f.dir, NULL, &f.m, &err), &err);
        assert_ok(store_open(f.store_path, NULL, &f.store, &err), &err);
        json_t *values = fixture_json("{'customer': 1}"), *info = fixture_json(dry ? "{'dry': true}" : "{}"),
               *arguments = fixture_json("{'order_id': 'A10001'}");
        assert_ok(session_new(&f.env, f.store, f.m, values, info, &f.session, &err), &err);
        assert_ok(session_add_user(f.session, "where is A10001", 15, &err), &err);
        assert_ok(executor_call(f.session, "order_status", arguments, &r, &err), &err);
        assert_int_equal(r.outcome, CALL_HELD);
        assert_int_equal(read_told(&f, &told), !dry);
        assert_int_equal(n_notes(&f, "done"), !dry);
        call_result_release(&r);
        json_decref(arguments);
        json_decref(values);
        json_decref(info);
        str_release(&told);
        str_release(&text);
        fixture_close(&f);
    }
}

/* ---- in the sandbox ---- */

/* It keeps the line in the folder that it may write, and tries what it was not given. */
static const char tries[] = "#!/bin/sh\n"
                            "cat >told/line\n"
                            "cat agent.yaml shop.db muga.db hook >told/seen 2>told/refused\n"
                            "echo x >hook\n"
                            "echo x >agent.yaml\n"
                            "exit 0\n";

static bool read_data(const agent_fixture *f, const char *name, str *out) {
    char path[1200];
    snprintf(path, sizeof path, "%s/data/%s", f->dir, name);
    str_clear(out);
    return os_read_file(f->env.files, path, 65536, out, NULL) == MUGA_OK;
}

static void a_sandboxed_hook_is_told_and_gets_no_more(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    call_result r;
    char data[1100], tool[1100];
    str text = STR_INIT, before = STR_INIT, now = STR_INIT;
    json_t *line = NULL;
    fixture_prepare(&f, "sandboxed", NULL);
    snprintf(data, sizeof data, "%s/data", f.dir);
    snprintf(tool, sizeof tool, "%s/tools", f.dir);
    assert_ok(f.env.files->mkdirs(f.env.files->self, data, &err), &err);
    assert_ok(f.env.files->mkdirs(f.env.files->self, tool, &err), &err);
    snprintf(tool, sizeof tool, "%s/data/shop.db", f.dir);
    fixture_sql(tool, fixture_shop);
    fixture_write(&f, "tools/tell", tries);
    snprintf(tool, sizeof tool, "%s/tools/tell", f.dir);
    assert_int_equal(chmod(tool, 0700), 0);
    str_printf(&before, "%sapprovals: {notify: [./tools/tell], sandbox: {write: [told]}}\n", fixture_manifest);
    fixture_write(&f, "agent.yaml", str_get(&before));
    muga_status st = manifest_load(&f.env, f.dir, data, &f.m, &err);
    if (st == MUGA_E_ENV) {
        assert_non_null(strstr(err.message, "sandbox: "));
        printf("skipped: %s\n", err.message);
        str_release(&before);
        fixture_close(&f);
        skip();
    }
    assert_ok(st, &err);
    assert_ok(store_open(f.store_path, NULL, &f.store, &err), &err);
    fixture_begin(&f, 1, "reset");
    hold(&f, &r);
    assert_int_equal(n_notes(&f, "failed"), 0);
    assert_int_equal(n_notes(&f, "done"), 1);
    assert_true(read_data(&f, "told/line", &text));
    assert_ok(json_parse(str_get(&text), text.len, "told", &line, &err), &err);
    assert_string_equal(json_get_string(line, "approval"), r.approval);
    assert_true(read_data(&f, "told/seen", &text));
    assert_string_equal(str_get(&text), "");
    snprintf(tool, sizeof tool, "%s/agent.yaml", f.dir);
    assert_ok(os_read_file(f.env.files, tool, 65536, &now, &err), &err);
    assert_string_equal(str_get(&now), str_get(&before)); /* the manifest is as it was */
    json_decref(line);
    str_release(&text);
    str_release(&before);
    str_release(&now);
    call_result_release(&r);
    fixture_close(&f);
}

static void its_faults_show_when_the_manifest_is_loaded(void **state) {
    (void)state;
    static const struct {
        const char *section;
        muga_status status;
        const char *message;
    } rows[] = {{"{notify: [hook], unsandboxed: true}", MUGA_E_INPUT, "approvals.notify"},
                {"{notify: [./absent], unsandboxed: true}", MUGA_E_NOT_FOUND, "approvals.notify"},
                {"{unsandboxed: true}", MUGA_E_INPUT, "unsandboxed is of notify"},
                {"{notify: [./hook], unsandboxed: true, sandbox: {}}", MUGA_E_INPUT, "approvals.sandbox"}};
    agent_fixture f;
    fixture_prepare(&f, "faults", NULL);
    write_hook(&f, tells);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        muga_error err;
        manifest *m;
        str text = STR_INIT;
        str_printf(&text, "%sapprovals: %s\n", fixture_manifest, rows[i].section);
        fixture_write(&f, "agent.yaml", str_get(&text));
        assert_status(manifest_load(&f.env, f.dir, NULL, &m, &err), rows[i].status, &err, rows[i].message);
        str_release(&text);
    }
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_tells_of_a_held_call),
        cmocka_unit_test(a_hook_that_fails_changes_nothing),
        cmocka_unit_test(a_rehearsal_tells_nobody),
        cmocka_unit_test(a_dry_run_tells_nobody),
        cmocka_unit_test(a_sandboxed_hook_is_told_and_gets_no_more),
        cmocka_unit_test(its_faults_show_when_the_manifest_is_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
