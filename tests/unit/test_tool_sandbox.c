/* The sandbox of command tools, from the manifest's side. If this failed, a manifest's word about what a program may
 * read, write and use would not be what it gets, a folder could be opened that lets a program change the agent
 * itself, or a machine without the sandbox would run programs all the same. What the sandbox itself stops is
 * test_sandbox.c's. */
#include "support/agent_fixture.h"
#include "support/support.h"
#include "support/tool_fixture.h"

#include "agent/tool.h"
#include "base/mem.h"
#include "os/sandbox.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* An agent with a program ./tools/run that holds `script`, and the lines `keys` in its definition. Its data lie in the
 * folder `data` beside it. */
static void prepare(agent_fixture *f, const char *name, const char *script, const char *keys) {
    str text = STR_INIT;
    char path[1100];
    muga_error err;
    fixture_prepare(f, name, NULL);
    str_printf(&text,
               "%stools:\n  - name: t\n    description: d\n    approval: never\n    effect: read\n    parameters: "
               "{type: object, properties: {}, additionalProperties: false}\n    command: [./tools/run]\n%s",
               tool_head, keys);
    fixture_write(f, "agent.yaml", str_get(&text));
    snprintf(path, sizeof path, "%s/tools", f->dir);
    assert_ok(f->env.files->mkdirs(f->env.files->self, path, &err), &err);
    str_clear(&text);
    str_printf(&text, "#!/bin/sh\n%s\n", script);
    fixture_write(f, "tools/run", str_get(&text));
    fixture_write(f, "tools/helper", "a helper\n");
    fixture_write(f, "prices", "4 apples\n");
    str_release(&text);
    snprintf(path, sizeof path, "%s/tools/run", f->dir);
    assert_int_equal(chmod(path, 0755), 0);
}

static muga_status load(agent_fixture *f, muga_error *err) {
    char data[1100];
    snprintf(data, sizeof data, "%s/data", f->dir);
    muga_status st = f->env.files->mkdirs(f->env.files->self, data, err);
    return st == MUGA_OK ? manifest_load(&f->env, f->dir, data, &f->m, err) : st;
}

/* Where this machine has no sandbox, the manifest is refused: that is looked at, and the test is over. */
static void open_or_skip(agent_fixture *f) {
    muga_error err;
    muga_status st = load(f, &err);
    if (st == MUGA_E_ENV) {
        assert_non_null(strstr(err.message, "sandbox: "));
        printf("skipped: %s\n", err.message);
        fixture_close(f);
        skip();
    }
    assert_ok(st, &err);
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    fixture_begin(f, 1, "hi");
}

static size_t n_runs; /* of children */
static muga_status count_run(void *self, const os_child_spec *spec, os_child_result *out, muga_error *err) {
    n_runs++;
    return os_system()->children.run(self, spec, out, err);
}

static void one_trial_is_enough_for_a_process(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    atomic_bool tried = false;
    os_children children = os_system()->children;
    children.run = count_run;
    prepare(&f, "tried", "cat > /dev/null; echo 1", "    sandbox: {read: [./prices]}\n");
    open_or_skip(&f);
    n_runs = 0;
    for (int i = 0; i < 3; i++) {
        fixture_let_go(&f);
        f.env.children = &children;
        f.env.sandbox_tried = &tried;
        assert_ok(load(&f, &err), &err);
    }
    assert_int_equal(n_runs, 1);
    assert_true(atomic_load(&tried));
    fixture_close(&f);
    prepare(&f, "tried-else", "echo", "    sandbox: {read: [/no/such/place]}\n"); /* what it gets is looked at anyway */
    f.env.sandbox_tried = &tried;
    assert_status(load(&f, &err), MUGA_E_NOT_FOUND, &err, "/no/such/place");
    fixture_close(&f);
}

static void a_program_is_sandboxed_unless_the_manifest_says_otherwise(void **state) {
    (void)state;
    agent_fixture f;
    prepare(
        &f, "default",
        "cat > /dev/null; pwd; cat tools/helper; ls /proc /home /sys agent.yaml prices data 2>&1 | wc -l; env | wc -l;"
        " echo x > tools/x; echo x > x; echo y > /tmp/y && cat /tmp/y",
        "");
    open_or_skip(&f);
    assert_false(f.m->tools[0].leaves_machine);
    assert_true(f.m->tools[0].untrusted);
    tool_expect_result(&f, "{}", "'/agent\\na helper\\n6\\n1\\ny'"); /* 1: the shell's own PWD */
    fixture_close(&f);
    prepare(&f, "otherwise", "cat > /dev/null; ls agent.yaml prices", "    unsandboxed: true\n");
    open_or_skip(&f);
    assert_true(f.m->tools[0].leaves_machine);
    tool_expect_result(&f, "{}", "'agent.yaml\\nprices'");
    fixture_close(&f);
}

static void a_program_gets_what_is_named(void **state) {
    (void)state;
    agent_fixture f;
    char path[1100];
    struct stat info;
    prepare(&f, "named",
            "cat > /dev/null; cat prices; echo kept > out/kept && cat out/kept; echo z > prices || echo no",
            "    sandbox: {read: [./prices], write: [out/], network: false}\n");
    open_or_skip(&f);
    tool_expect_result(&f, "{}", "'4 apples\\nkept\\nno'");
    snprintf(path, sizeof path, "%s/data/out/kept", f.dir); /* in the data, not in the agent's folder */
    assert_int_equal(stat(path, &info), 0);
    fixture_close(&f);
}

static void limits_are_the_manifests(void **state) {
    (void)state;
    agent_fixture f;
    prepare(&f, "limits", "cat > /dev/null; ulimit -v; ulimit -t; ulimit -f; ulimit -c; sh -c 'exit 3' || echo $?",
            "    sandbox: {memory_mb: 100, cpu_seconds: 7, file_mb: 2, processes: 0, tmp_mb: 1}\n");
    open_or_skip(&f);
    call_result r = tool_call_run(&f, "{}");
    assert_int_equal(r.outcome, CALL_FAILED);           /* `cat` is a process more than none */
    assert_true(SANITIZED || strstr(r.reason, "fork")); /* an instrumented launcher misses /proc, and says so first */
    call_result_release(&r);
    fixture_close(&f);
    prepare(&f, "limits-2", "cat > /dev/null; ulimit -v; ulimit -t; ulimit -f; ulimit -c",
            "    sandbox: {memory_mb: 100, cpu_seconds: 7, file_mb: 2, processes: 1}\n");
    open_or_skip(&f);
    tool_expect_result(&f, "{}", "'102400\\n7\\n4096\\n0'");
    fixture_close(&f);
}

static void a_write_that_was_cut_off_is_in_doubt_here_too(void **state) {
    (void)state;
    agent_fixture f;
    prepare(&f, "cut-off", "echo x > out/effect; exec sleep 100",
            "    sandbox: {write: [out]}\n    timeout_ms: 1500\n");
    str text = STR_INIT;
    muga_error err;
    char path[1100];
    snprintf(path, sizeof path, "%s/agent.yaml", f.dir);
    assert_ok(os_read_file(f.env.files, path, 1 << 20, &text, &err), &err);
    char *effect = strstr(text.data, "effect: read");
    assert_non_null(effect);
    memcpy(effect, "effect: write", strlen("effect: write")); /* over the line's end, which comes back below */
    str changed = STR_INIT;
    str_append(&changed, text.data, (size_t)(effect - text.data) + strlen("effect: write"));
    str_printf(&changed, "\n%s", effect + strlen("effect: write"));
    fixture_write(&f, "agent.yaml", str_get(&changed));
    str_release(&changed);
    str_release(&text);
    open_or_skip(&f);
    call_result r = tool_call_run(&f, "{}");
    assert_int_equal(r.outcome, CALL_IN_DOUBT);
    call_result_release(&r);
    fixture_close(&f);
}

/* ---- refusals ---- */

static void refuse(const char *keys, muga_status status, const char *part) {
    static int n;
    agent_fixture f;
    muga_error err;
    char name[32];
    snprintf(name, sizeof name, "refused-%d", n++);
    prepare(&f, name, "echo", keys);
    muga_status st = load(&f, &err);
    if (st != status || !strstr(err.message, part)) {
        fail_msg("%s: status %d, '%s' instead of '%s'", keys, st, st ? err.message : "", part);
    }
    fixture_close(&f);
}

static void a_sandbox_that_would_say_too_much_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *keys, *part;
    } cases[] = {
        {"    sandbox: {}\n    unsandboxed: true\n", "beside unsandboxed: true"},
        {"    sandbox: {network: true}\n", "network"},
        {"    sandbox: {reed: [x]}\n", "did you mean 'read'"},
        {"    sandbox: {memory_mb: 1}\n", "memory_mb"},
        {"    sandbox: {read: [.]}\n", "no folder by itself"},
        {"    sandbox: {read: [./]}\n", "no folder by itself"},
        {"    sandbox: {read: [../x]}\n", "no folder by itself"},
        {"    sandbox: {read: [a/../../x]}\n", "no folder by itself"},
        {"    sandbox: {write: [a//b]}\n", "no folder by itself"},
        {"    sandbox: {write: [tools]}\n", "overlaps with /agent/tools"},
        {"    sandbox: {write: [tools/out]}\n", "overlaps with /agent/tools"},
        {"    sandbox: {read: [prices], write: [prices]}\n", "overlaps with /agent/prices"},
        {"    sandbox: {write: [out, out/sub]}\n", "links there could lead anywhere"},
        {"    sandbox: {read: [/]}\n", "no folder by itself"},
        {"    sandbox: {read: [/tmp]}\n", "agent or its data"},
        {"    sandbox: {write: [/proc/self]}\n", "kernel's"},
        {"    sandbox: {read: [none]}\n", "none"},
        {"  - name: u\n    description: d\n    effect: read\n    approval: never\n    parameters: {type: object, "
         "properties: {}, additionalProperties: false}\n    command: [./tools/run]\n    sandbox: {write: [out]}\n"
         "  - name: v\n    description: d\n    effect: read\n    approval: never\n    parameters: {type: object, "
         "properties: {}, additionalProperties: false}\n    command: [./tools/run]\n    sandbox: {read: [out/x]}\n",
         "below a folder that u may write"},
    };
    agent_fixture f;
    prepare(&f, "possible", "echo", "");
    open_or_skip(&f);
    fixture_close(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool missing = strstr(cases[i].part, "none") != NULL;
        refuse(cases[i].keys, missing ? MUGA_E_NOT_FOUND : MUGA_E_INPUT, cases[i].part);
    }
}

static void a_machine_without_the_sandbox_refuses_the_manifest(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    prepare(&f, "no-launcher", "echo", "");
    f.env.launcher = NULL;
    assert_status(load(&f, &err), MUGA_E_ENV, &err, "agent.yaml:");
    assert_non_null(strstr(err.message, " is missing: "));
    fixture_close(&f);
}

/* A folder that becomes a link between loading and calling is not followed. */
static void a_folder_that_became_a_link_is_not_mounted(void **state) {
    (void)state;
    agent_fixture f;
    char out[1100], moved[1110];
    prepare(&f, "became-link", "cat > /dev/null; ls out", "    sandbox: {write: [out]}\n");
    open_or_skip(&f);
    tool_expect_result(&f, "{}", "''");
    snprintf(out, sizeof out, "%s/data/out", f.dir);
    snprintf(moved, sizeof moved, "%s.moved", out);
    assert_int_equal(rename(out, moved), 0);
    assert_int_equal(symlink(f.dir, out), 0);
    tool_expect_failure(&f, "{}", "links are not followed");
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_sandboxed_unless_the_manifest_says_otherwise),
        cmocka_unit_test(one_trial_is_enough_for_a_process),
        cmocka_unit_test(a_program_gets_what_is_named),
        cmocka_unit_test(limits_are_the_manifests),
        cmocka_unit_test(a_write_that_was_cut_off_is_in_doubt_here_too),
        cmocka_unit_test(a_sandbox_that_would_say_too_much_is_refused),
        cmocka_unit_test(a_machine_without_the_sandbox_refuses_the_manifest),
        cmocka_unit_test(a_folder_that_became_a_link_is_not_mounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
