/* Child processes. If this failed, a tool that hangs, floods or dies could take the agent with it, see descriptors and
 * variables that are none of its business, or live on after its time. */
#include "support/support.h"

#include "base/mem.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 120000 /* for what ends by itself: a machine may be loaded */

static os_child_result run_shell(const char *script, const char *in, int64_t timeout_ms, size_t max_out_bytes) {
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    os_child_spec spec = {
        .argv = argv, .in = in, .n_in = in ? strlen(in) : 0, .timeout_ms = timeout_ms, .max_out_bytes = max_out_bytes};
    os_child_result r;
    muga_error err;
    const os_children *c = &os_system()->children;
    assert_ok(c->run(c->self, &spec, &r, &err), &err);
    return r;
}

static void release(os_child_result *r) {
    str_release(&r->out);
    str_release(&r->err_out);
}

static void input_output_and_exit_code_pass_through(void **state) {
    (void)state;
    os_child_result r = run_shell("cat; printf oops >&2; exit 7", "{\"a\": 1}", PATIENCE_MS, 1000);
    assert_int_equal(r.end, OS_CHILD_EXITED);
    assert_int_equal(r.code, 7);
    assert_string_equal(str_get(&r.out), "{\"a\": 1}");
    assert_string_equal(str_get(&r.err_out), "oops");
    release(&r);
}

static void garbage_passes_through_byte_by_byte(void **state) {
    (void)state;
    os_child_result r = run_shell("printf '\\000\\377\\300\\200\\n'", NULL, PATIENCE_MS, 1000);
    assert_int_equal(r.out.len, 5);
    assert_memory_equal(r.out.data, "\0\xFF\xC0\x80\n", 5);
    release(&r);
}

/* More than any pipe holds, both ways, with a child that reads late: neither side may wait for the other. */
static void large_input_and_output_do_not_deadlock(void **state) {
    (void)state;
    size_t n = 4 << 20;
    char *in = malloc(n + 1);
    assert_non_null(in);
    memset(in, 'x', n);
    in[n] = '\0';
    os_child_result r = run_shell("head -c 1000000 /dev/zero; cat", in, PATIENCE_MS, n + 1000000);
    assert_int_equal(r.end, OS_CHILD_EXITED);
    assert_int_equal(r.code, 0);
    assert_int_equal(r.out.len, n + 1000000);
    assert_memory_equal(r.out.data + 1000000, in, n);
    release(&r);
    r = run_shell("exit 0", in, PATIENCE_MS, 10); /* never reads: not an error, and no signal for us */
    assert_int_equal(r.code, 0);
    release(&r);
    free(in);
}

static void a_gigabyte_of_output_is_cut_off(void **state) {
    (void)state;
    uint64_t before = os_peak_memory_bytes();
    os_child_result r = run_shell("head -c 1073741824 /dev/zero; exit 0", NULL, PATIENCE_MS, 65536);
    assert_int_equal(r.end, OS_CHILD_OUTPUT);
    assert_int_equal(r.out.len, 65536);
    release(&r);
    assert_true(os_peak_memory_bytes() < before + (8 << 20));
}

static void output_at_the_limit_is_not_past_it(void **state) {
    (void)state;
    os_child_result r = run_shell("printf 12345", NULL, PATIENCE_MS, 5);
    assert_int_equal(r.end, OS_CHILD_EXITED);
    assert_string_equal(str_get(&r.out), "12345");
    release(&r);
    r = run_shell("printf 123456", NULL, PATIENCE_MS, 5);
    assert_int_equal(r.end, OS_CHILD_OUTPUT);
    assert_string_equal(str_get(&r.out), "12345");
    release(&r);
    r = run_shell("printf 1", NULL, PATIENCE_MS, 0);
    assert_int_equal(r.end, OS_CHILD_OUTPUT);
    release(&r);
}

static void a_flood_of_errors_keeps_its_beginning_and_harms_nothing(void **state) {
    (void)state;
    os_child_result r =
        run_shell("printf begin >&2; head -c 5000000 /dev/zero >&2; printf fine", NULL, PATIENCE_MS, 100);
    assert_int_equal(r.end, OS_CHILD_EXITED);
    assert_string_equal(str_get(&r.out), "fine");
    assert_int_equal(r.err_out.len, 4096);
    assert_memory_equal(r.err_out.data, "begin", 5);
    release(&r);
    r = run_shell("while :; do echo flood >&2; done", NULL, 200, 100); /* must not keep us from the deadline */
    assert_int_equal(r.end, OS_CHILD_TIMEOUT);
    release(&r);
}

/* The script writes the numbers of its group's processes; all must be gone (or be zombies of whoever adopted them). */
static bool still_runs(long pid) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f) {
        return false;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    const char *after_name = strrchr(text, ')');
    return after_name && after_name[2] != 'Z' && after_name[2] != 'X';
}

static void assert_dies_soon(long pid) {
    for (int i = 0; i < 6000 && still_runs(pid); i++) {
        os_system()->clock.sleep_ms(NULL, 10);
    }
    assert_false(still_runs(pid));
}

static void a_hanging_child_is_killed_with_all_its_own(void **state) {
    (void)state;
    long grandchild = 0, child = 0;
    os_child_result r = {.out = STR_INIT};
    for (int64_t ms = 500; ms <= 64000 && !child; ms *= 2) { /* until it had the time to say who it is */
        release(&r);
        r = run_shell("trap '' TERM INT HUP; sleep 1000 & echo $! $$; wait", NULL, ms, 1000);
        assert_int_equal(r.end, OS_CHILD_TIMEOUT);
        if (sscanf(str_get(&r.out), "%ld %ld", &grandchild, &child) != 2)
            child = 0;
    }
    assert_true(child > 0);
    assert_dies_soon(child);
    assert_dies_soon(grandchild);
    release(&r);
}

/* It keeps stdout open; waiting for end of file would be waiting for it. */
static void what_a_child_leaves_behind_is_killed_and_not_waited_for(void **state) {
    (void)state;
    os_child_result r = run_shell("sleep 1000 & echo $!", NULL, PATIENCE_MS, 1000);
    assert_int_equal(r.end, OS_CHILD_EXITED); /* and not at its deadline */
    assert_int_equal(r.code, 0);
    long left = 0;
    assert_int_equal(sscanf(str_get(&r.out), "%ld", &left), 1);
    assert_dies_soon(left);
    release(&r);
}

static void a_signal_is_reported_as_one(void **state) {
    (void)state;
    os_child_result r = run_shell("kill -SEGV $$", NULL, PATIENCE_MS, 10);
    assert_int_equal(r.end, OS_CHILD_SIGNALLED);
    assert_int_equal(r.code, SIGSEGV);
    release(&r);
}

static void closing_output_early_is_not_the_end(void **state) {
    (void)state;
    os_child_result r = run_shell("exec >&- 2>&-; sleep 0.2; exit 4", NULL, PATIENCE_MS, 10);
    assert_int_equal(r.end, OS_CHILD_EXITED);
    assert_int_equal(r.code, 4);
    release(&r);
}

static void environment_descriptors_and_signals_are_not_inherited(void **state) {
    (void)state;
    assert_int_equal(setenv("MUGA_TEST_SECRET", "leak", 1), 0);
    int open_file = open(scratch_path("secret-file"), O_RDWR | O_CREAT, 0600); /* no CLOEXEC: a careless host */
    assert_true(open_file >= 3);
    assert_ptr_not_equal(signal(SIGPIPE, SIG_IGN), SIG_ERR);
    sigset_t usr1, before;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, &before);
    os_child_result r = run_shell("echo \"[$MUGA_TEST_SECRET]\"; for f in /proc/$$/fd/*; do readlink \"$f\"; done;"
                                  "exec grep -E 'Sig(Blk|Ign)' /proc/self/status",
                                  NULL, PATIENCE_MS, 4000);
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    close(open_file);
    unsetenv("MUGA_TEST_SECRET");
    assert_memory_equal(str_get(&r.out), "[]\n", 3);
    assert_non_null(strstr(str_get(&r.out), "memfd:stdin"));
    assert_null(strstr(str_get(&r.out), "secret-file"));
    assert_non_null(strstr(str_get(&r.out), "SigBlk:\t0000000000000000"));
    /* Signals 32 and 33 are the C library's own: nobody can set them, and make's children find them ignored. */
    const char *ignored = strstr(str_get(&r.out), "SigIgn:\t");
    assert_non_null(ignored);
    assert_int_equal(strtoull(ignored + 8, NULL, 16) & ~0x180000000ull, 0);
    release(&r);
}

static void folder_and_environment_are_those_given(void **state) {
    (void)state;
    muga_error err;
    const char *tool = scratch_path("tool");
    assert_ok(os_write_file_atomic(&os_system()->files, tool, "#!/bin/sh\npwd; echo \"$X$Y$1\"\n", 29, &err), &err);
    assert_int_equal(chmod(tool, 0700), 0);
    const char *const argv[] = {"./tool", "a b;c", NULL};
    const char *const envp[] = {"X=1", "Y=$(2)", NULL};
    os_child_spec spec = {
        .argv = argv, .dir = scratch_path(""), .envp = envp, .max_out_bytes = 1000, .timeout_ms = PATIENCE_MS};
    os_child_result r;
    assert_ok(os_system()->children.run(NULL, &spec, &r, &err), &err);
    assert_non_null(strstr(str_get(&r.out), "muga-scratch-"));
    assert_non_null(strstr(str_get(&r.out), "\n1$(2)a b;c\n")); /* no shell has looked at it */
    release(&r);
}

static void what_cannot_start_is_named(void **state) {
    (void)state;
    muga_error err;
    os_child_result r;
    const char *plain = scratch_path("plain");
    assert_ok(os_write_file_atomic(&os_system()->files, plain, "x", 1, &err), &err);
    const char *argv[] = {"/nonexistent/tool", NULL};
    os_child_spec spec = {.argv = argv, .max_out_bytes = 10, .timeout_ms = 1000};
    const os_children *c = &os_system()->children;
    assert_status(c->run(NULL, &spec, &r, &err), MUGA_E_NOT_FOUND, &err, "/nonexistent/tool");
    argv[0] = "sh"; /* PATH is never searched */
    assert_status(c->run(NULL, &spec, &r, &err), MUGA_E_NOT_FOUND, &err, "'sh'");
    argv[0] = plain;
    assert_status(c->run(NULL, &spec, &r, &err), MUGA_E_ENV, &err, "permissions");
    argv[0] = "/bin/true";
    spec.dir = "/nonexistent";
    assert_status(c->run(NULL, &spec, &r, &err), MUGA_E_NOT_FOUND, &err, "/bin/true");
    spec.dir = NULL;
    spec.timeout_ms = 0;
    assert_status(c->run(NULL, &spec, &r, &err), MUGA_E_USAGE, &err, "time limit");
    argv[0] = NULL;
    spec.timeout_ms = 1000;
    assert_status(c->run(NULL, &spec, &r, &err), MUGA_E_USAGE, &err, "program");
    assert_int_equal(r.out.len, 0);
}

static int open_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void no_descriptor_or_zombie_stays(void **state) {
    (void)state;
    int before = open_descriptors();
    for (int i = 0; i < 20; i++) {
        os_child_result r = run_shell(i % 2 ? "exit 1" : "sleep 100", NULL, i % 2 ? PATIENCE_MS : 1, 10);
        release(&r);
    }
    assert_int_equal(open_descriptors(), before);
    siginfo_t info;
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
    assert_int_equal(errno, ECHILD);
}

/* A host may have closed its standard descriptors; the pipes then get their numbers. */
static void closed_standard_descriptors_are_no_trouble(void **state) {
    (void)state;
    int in = dup(0);
    close(0);
    os_child_result r = run_shell("cat; echo e >&2", "in", PATIENCE_MS, 10);
    if (in >= 0) {
        dup2(in, 0);
        close(in);
    }
    assert_string_equal(str_get(&r.out), "in");
    assert_string_equal(str_get(&r.err_out), "e\n");
    release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_output_and_exit_code_pass_through),
        cmocka_unit_test(garbage_passes_through_byte_by_byte),
        cmocka_unit_test(large_input_and_output_do_not_deadlock),
        cmocka_unit_test(a_gigabyte_of_output_is_cut_off),
        cmocka_unit_test(output_at_the_limit_is_not_past_it),
        cmocka_unit_test(a_flood_of_errors_keeps_its_beginning_and_harms_nothing),
        cmocka_unit_test(a_hanging_child_is_killed_with_all_its_own),
        cmocka_unit_test(what_a_child_leaves_behind_is_killed_and_not_waited_for),
        cmocka_unit_test(a_signal_is_reported_as_one),
        cmocka_unit_test(closing_output_early_is_not_the_end),
        cmocka_unit_test(environment_descriptors_and_signals_are_not_inherited),
        cmocka_unit_test(folder_and_environment_are_those_given),
        cmocka_unit_test(what_cannot_start_is_named),
        cmocka_unit_test(no_descriptor_or_zombie_stays),
        cmocka_unit_test(closed_standard_descriptors_are_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
