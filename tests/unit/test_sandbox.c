/* The sandbox of child programs. If this failed, a tool's program could read what is none of its business, change what
 * it was not given, reach the network, take the machine's memory, processes or time, or live on after its call; or a
 * machine that lacks a part of the sandbox would run programs without it.
 *
 * Every attempt to escape (tests/support/escape) runs three ways: outside, where it must succeed unless this user or
 * kernel can't do it at all; inside all layers; and inside namespaces and seccomp alone, where it must be blocked, too,
 * so that no attempt hangs on one layer unless its line says so. Where this machine has no Landlock only the last is
 * run, and that the whole sandbox is refused.
 *
 * ctest: slow (what an instrumented launcher says of the /proc that isn't there stands before the programs' words) */
#include "support/support.h"

#include "base/mem.h"
#include "os/os.h"
#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define LESS (OS_SANDBOX_NAMESPACES | OS_SANDBOX_SECCOMP)
#define OUT_BYTES ((size_t)64 << 10)
#define PATIENCE_MS 120000 /* for what ends by itself: a machine may be loaded */

static struct {
    char root[512], agent[600], tools[600], out[600], secret[600], outside[600], launcher[600];
    char port[16], udp_port[16], self[16], abstract[64], host[128];
    os_sandbox_mount mounts[2];
    os_sandbox sandbox;
} w;

/* ---- the world outside ---- */

static void write_text(const char *path, const char *text, mode_t mode) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void copy_file(const char *from, const char *to) {
    str bytes = STR_INIT;
    muga_error err;
    const os_files *f = &os_system()->files;
    assert_ok(os_read_file(f, from, (size_t)16 << 20, &bytes, &err), &err);
    assert_ok(os_write_file_atomic(f, to, str_get(&bytes), bytes.len, &err), &err);
    assert_int_equal(chmod(to, 0755), 0);
    str_release(&bytes);
}

static int listen_at(int type, char port[16]) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, type, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_true(type == SOCK_DGRAM || listen(fd, 64) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    snprintf(port, 16, "%d", ntohs(at.sin_port));
    return fd;
}

static void listen_unix(const char *name, bool is_abstract) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(at.sun_path + is_abstract, name, n);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(fd, 64), 0);
}

static void place(char *out, size_t size, const char *folder, const char *name) {
    assert_true((size_t)snprintf(out, size, "%s/%s", folder, name) < size);
}

static void make_tools(void) {
    char path[700], program[700];
    struct stat info;
    const char *build = getenv("MUGA_BUILD_DIR");
    snprintf(program, sizeof program, "%s/tests/support/escape_attempts", build ? build : "build");
    place(path, sizeof path, w.tools, "escape");
    copy_file(program, path);
    static const char *const files[] = {"other", "victim", "replaced"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        place(path, sizeof path, w.tools, files[i]);
        write_text(path, "a tool\n", 0644);
    }
    place(path, sizeof path, w.tools, "fifo");
    if (stat(path, &info) != 0) {
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_true(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) >= 0);
    }
}

static int set_up(void **state) {
    (void)state;
    char path[700], here[512];
    str real = STR_INIT;
    muga_error err;
    struct utsname u;
    assert_ok(os_real_path(scratch_path("."), &real, &err), &err);
    snprintf(w.root, sizeof w.root, "%s", str_get(&real));
    str_release(&real);
    place(w.agent, sizeof w.agent, w.root, "agent");
    place(w.tools, sizeof w.tools, w.root, "agent/tools");
    place(w.out, sizeof w.out, w.root, "agent/out");
    place(path, sizeof path, w.root, "home");
    const char *const folders[] = {w.agent, w.tools, w.out, path};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        assert_int_equal(mkdir(folders[i], 0755), 0);
    }
    place(w.secret, sizeof w.secret, w.root, "home/secret");
    write_text(w.secret, "the key\n", 0600);
    place(w.outside, sizeof w.outside, w.root, "home/new");
    place(path, sizeof path, w.agent, "agent.yaml");
    write_text(path, "version: 1\n", 0644);
    make_tools();
    close(open("/dev/null", O_RDONLY)); /* the lowest free number from here on */
    listen_at(SOCK_STREAM, w.port);
    listen_at(SOCK_DGRAM, w.udp_port);
    snprintf(w.self, sizeof w.self, "%d", (int)getpid());
    snprintf(w.abstract, sizeof w.abstract, "muga-escape-%d", (int)getpid());
    listen_unix(w.abstract, true);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(w.agent), 0);
    listen_unix("tools/socket", false);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(uname(&u), 0);
    snprintf(w.host, sizeof w.host, "%s", u.nodename);
    const char *program = getenv("MUGA_PROGRAM");
    snprintf(w.launcher, sizeof w.launcher, "%s", program ? program : "build/muga");
    w.mounts[0] = (os_sandbox_mount){w.tools, "/agent/tools", false};
    w.mounts[1] = (os_sandbox_mount){w.out, "/agent/out", true};
    w.sandbox = (os_sandbox){.launcher = w.launcher,
                             .layers = OS_SANDBOX_ALL,
                             .mounts = w.mounts,
                             .n_mount = 2,
                             .memory_bytes = (uint64_t)256 << 20,
                             .tmp_bytes = (uint64_t)8 << 20,
                             .file_bytes = (uint64_t)4 << 20,
                             .cpu_seconds = 1,
                             .n_process = 8,
                             .n_file = 64};
    return 0;
}

static muga_status try_with(unsigned layers, muga_error *err) {
    os_sandbox s = w.sandbox;
    s.layers = layers;
    return os_sandbox_check(&os_system()->children, &s, err);
}

/* Where not even namespaces and seccomp are to be had, nothing can be tested but the refusal. */
static void need_less(void) {
    muga_error err;
    if (try_with(LESS, &err) != MUGA_OK) {
        printf("skipped: %s\n", err.message);
        assert_int_equal(try_with(OS_SANDBOX_ALL, &err), MUGA_E_ENV);
        skip();
    }
}

static bool has_all(void) {
    muga_error err;
    return try_with(OS_SANDBOX_ALL, &err) == MUGA_OK;
}

/* ---- running ---- */

static muga_status run_spec(unsigned layers, const char *const *argv, int64_t timeout_ms, os_child_result *r,
                            muga_error *err) {
    os_sandbox s = w.sandbox;
    s.layers = layers;
    os_child_spec spec = {.argv = argv,
                          .dir = "/agent",
                          .in = "hello",
                          .n_in = 5,
                          .max_out_bytes = OUT_BYTES,
                          .timeout_ms = timeout_ms,
                          .sandbox = &s};
    return os_system()->children.run(NULL, &spec, r, err);
}

static os_child_result run_inside(unsigned layers, const char *name, const char *argument, int64_t timeout_ms) {
    const char *const argv[] = {"/agent/tools/escape", name, argument, NULL};
    os_child_result r;
    muga_error err;
    assert_ok(run_spec(layers, argv, timeout_ms, &r, &err), &err);
    return r;
}

static void release(os_child_result *r) {
    str_release(&r->out);
    str_release(&r->err_out);
}

/* The same without a sandbox: with a variable and a descriptor that a sandboxed one must not see. */
static void run_outside(const char *name, const char *argument, char *out, size_t size) {
    char path[700], program[700];
    place(path, sizeof path, w.root, "said");
    place(program, sizeof program, w.tools, "escape");
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = {program, strdup(name), strdup(argument), NULL}, *envp[] = {strdup("SECRET=1"), NULL};
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        bool ok = fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, 77) >= 0 && chdir(w.agent) == 0;
        if (ok) {
            execve(program, argv, envp);
        }
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    if (!fgets(out, (int)size, f)) {
        snprintf(out, size, "nothing\n");
    }
    fclose(f);
}

/* ---- attempts ---- */

typedef enum {
    MUST,    /* outside everyone can do this */
    MAY,     /* outside it depends on the user, or on what the kernel has */
    LANDLOCK /* as MUST; inside, Landlock alone stops it */
} control;

typedef struct attempt {
    const char *name;
    control control;
    const char *argument;
} attempt;

/* Calls that must not reach the kernel; outside they do, unless it doesn't have them. */
static const char *const calls[] = {"bpf",
                                    "perf",
                                    "userfaultfd",
                                    "keyctl",
                                    "add_key",
                                    "request_key",
                                    "io_uring",
                                    "open_by_handle",
                                    "name_to_handle",
                                    "kexec",
                                    "reboot",
                                    "init_module",
                                    "finit_module",
                                    "delete_module",
                                    "swapon",
                                    "syslog",
                                    "quotactl",
                                    "fanotify",
                                    "clock_settime",
                                    "settimeofday",
                                    "adjtimex",
                                    "sethostname",
                                    "process_vm_readv",
                                    "process_vm_writev",
                                    "kcmp",
                                    "ptrace",
                                    "mount",
                                    "umount",
                                    "pivot_root",
                                    "chroot",
                                    "setns",
                                    "fsopen",
                                    "open_tree",
                                    "move_mount",
                                    "mount_setattr",
                                    "capset",
                                    "setuid",
                                    "setgid",
                                    "setresuid",
                                    "setgroups",
                                    "sched_setscheduler",
                                    "sched_setattr",
                                    "ioprio",
                                    "nice",
                                    "memfd",
                                    "shm",
                                    "message_queue",
                                    "semaphores",
                                    "mq_open",
                                    "mlock",
                                    "mbind",
                                    "move_pages",
                                    "vmsplice",
                                    "clone3",
                                    "setxattr",
                                    "openat2",
                                    "socket_tcp",
                                    "socket_udp",
                                    "socket_raw",
                                    "socket_tcp6",
                                    "socket_netlink",
                                    "socket_packet",
                                    "socket_vsock",
                                    "socketpair_inet",
                                    "type_for_a_person",
                                    "console_paste",
                                    "file_flags"};

static const attempt attempts[] = {
    {"read", MUST, w.secret},
    {"create", MUST, w.outside},
    {"read_shadow", MAY, ""},
    {"read_passwords", MUST, ""},
    {"write_program", MAY, ""},
    {"read_manifest", MUST, ""},
    {"write_tool", MUST, ""},
    {"make_in_agent", MUST, ""},
    {"remove_tool", MUST, ""},
    {"replace_tool", MUST, ""},
    {"climb", MUST, ""},
    {"follow_symlink", MUST, w.secret},
    {"hard_link", MUST, ""},
    {"talk_to_fifo", LANDLOCK, ""},
    {"run_written", LANDLOCK, ""},
    {"set_user_id", MUST, ""},
    {"make_set_user_id", MUST, ""},
    {"device_node", MAY, ""},
    {"open_terminal", MAY, ""},
    {"kernel_log", MAY, ""},
    {"shared_memory_folder", MAY, ""},
    {"list_sys", MUST, ""},
    {"list_cgroups", MAY, ""},
    {"write_sys", MAY, ""},
    {"list_processes", MUST, ""},
    {"own_program_by_proc", MUST, ""},
    {"write_sysctl", MAY, ""},
    {"environment_of_parent", MAY, w.self},
    {"root_by_proc", MAY, w.self},
    {"list_homes", MUST, ""},
    {"list_run", MUST, ""},
    {"signal_outside", MUST, w.self},
    {"new_user_namespace", MAY, ""},
    {"clone_user_namespace", MAY, ""},
    {"fork_bomb", MUST, ""},
    {"fork_chain", MUST, ""},
    {"thread_bomb", MUST, ""},
    {"memory_bomb", MUST, ""},
    {"heap_bomb", MUST, ""},
    {"disk_bomb", MUST, ""},
    {"large_file", MUST, ""},
    {"many_files_open", MUST, ""},
    {"compute", MUST, ""},
    {"core_dump", MAY, ""},
    {"more_memory", MAY, ""},
    {"more_time", MAY, ""},
    {"new_privileges", MAY, ""},
    {"capabilities", MAY, ""},
    {"bounding_set", MAY, ""},
    {"change_personality", MUST, ""},
    {"trap_prctl", MUST, ""},
    {"other_entry", MAY, ""},
    {"connect_tcp", MUST, w.port},
    {"send_udp", MUST, w.udp_port},
    {"connect_abstract", MUST, w.abstract},
    {"connect_path", MUST, ""},
    {"look_up_host", MAY, ""},
    {"environment", MUST, ""},
    {"inherited_descriptor", MUST, ""},
    {"host_name", MUST, w.host},
    {"many_processes_seen", MUST, ""},
};

static void must_be_blocked(unsigned layers, const attempt *a) {
    make_tools();
    os_child_result r = run_inside(layers, a->name, a->argument, PATIENCE_MS);
    bool ended = r.end == OS_CHILD_EXITED && r.code == 0 && strncmp(str_get(&r.out), "blocked", 7) == 0;
    if (!ended && r.end != OS_CHILD_SIGNALLED) {
        fail_msg("%s (layers %u): end %d, code %d, said '%s' '%s'", a->name, layers, r.end, r.code, str_get(&r.out),
                 str_get(&r.err_out));
    }
    release(&r);
}

static void must_escape_outside(const attempt *a) {
    char said[256];
    make_tools();
    run_outside(a->name, a->argument, said, sizeof said);
    if (strcmp(said, "escaped\n") != 0) {
        printf("outside, too, %s is %s", a->name, said);
        assert_true(a->control == MAY);
    }
    unlink(w.outside);
}

static void every_attempt_is_blocked_by_each_set_of_layers(void **state) {
    (void)state;
    need_less();
    size_t n = 0;
    bool all = has_all();
    for (size_t i = 0; i < ARRAY_LEN(attempts) + ARRAY_LEN(calls); i++, n++) {
        attempt a = i < ARRAY_LEN(attempts) ? attempts[i] : (attempt){calls[i - ARRAY_LEN(attempts)], MAY, ""};
        if (all) {
            must_be_blocked(OS_SANDBOX_ALL, &a);
        }
        if (a.control != LANDLOCK) {
            must_be_blocked(LESS, &a);
        }
    }
    assert_true(n >= 50);
    printf("%zu attempts blocked%s\n", n, all ? "" : "; without Landlock");
}

static void every_attempt_succeeds_outside(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
        must_escape_outside(&attempts[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        must_escape_outside(&(attempt){calls[i], MAY, ""});
    }
}

/* Who holds the lock that an attempt took: 0 when nobody does. */
static pid_t holder(void) {
    char path[700], text[32] = "";
    place(path, sizeof path, w.out, "lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    bool free = flock(fd, LOCK_EX | LOCK_NB) == 0;
    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    unlink(path);
    return free ? 0 : (pid_t)atoi(text);
}

static void nothing_outlives_a_call(void **state) {
    (void)state;
    char said[64];
    need_less();
    unsigned layers = has_all() ? OS_SANDBOX_ALL : LESS;
    run_outside("outlive", "", said, sizeof said);
    assert_string_equal(said, "escaped\n");
    pid_t left = holder();
    assert_true(left > 1); /* outside it goes on */
    kill(left, SIGKILL);
    os_child_result r = run_inside(layers, "outlive", "", PATIENCE_MS);
    assert_string_equal(str_get(&r.out), "escaped\n"); /* it did start, and hold the lock */
    assert_int_equal(holder(), 0);
    release(&r);
}

static void an_endless_run_is_ended_with_all_it_started(void **state) {
    (void)state;
    char path[700];
    struct stat info = {0};
    need_less();
    place(path, sizeof path, w.out, "lock");
    for (int64_t ms = 1000; ms <= 64000 && info.st_size == 0; ms *= 2) { /* until it had the time to take the lock */
        os_child_result r = run_inside(has_all() ? OS_SANDBOX_ALL : LESS, "hang", "", ms);
        assert_int_equal(r.end, OS_CHILD_TIMEOUT);
        release(&r);
        if (stat(path, &info) != 0)
            info.st_size = 0;
    }
    assert_int_equal(holder(), 0);
}

static void endless_output_is_cut_off(void **state) {
    (void)state;
    need_less();
    os_child_result r = run_inside(has_all() ? OS_SANDBOX_ALL : LESS, "flood", "", PATIENCE_MS);
    assert_int_equal(r.end, OS_CHILD_OUTPUT);
    assert_int_equal(r.out.len, OUT_BYTES);
    release(&r);
}

/* ---- what a program can do inside ---- */

static os_child_result run_script(const char *script) {
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    os_child_result r;
    muga_error err;
    assert_ok(run_spec(has_all() ? OS_SANDBOX_ALL : LESS, argv, PATIENCE_MS, &r, &err), &err);
    return r;
}

static void a_program_reads_writes_and_ends_as_it_does_outside(void **state) {
    (void)state;
    char path[700];
    struct stat info;
    need_less();
    os_child_result r = run_script("cat; echo oops >&2; echo kept > out/kept; echo t > /tmp/t && cat /tmp/t; pwd;"
                                   " cat tools/other; echo | (wc -l); exit 7");
    assert_int_equal(r.end, OS_CHILD_EXITED);
    assert_int_equal(r.code, 7);
    assert_string_equal(str_get(&r.out), "hellot\n/agent\na tool\n1\n");
    assert_string_equal(str_get(&r.err_out), "oops\n");
    release(&r);
    place(path, sizeof path, w.out, "kept");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_uid, getuid());
    r = run_script("kill -TERM $$");
    assert_int_equal(r.end, OS_CHILD_SIGNALLED);
    assert_int_equal(r.code, SIGTERM);
    release(&r);
    r = run_script("exit 143"); /* as bwrap would report a signal */
    assert_int_equal(r.end, OS_CHILD_EXITED);
    assert_int_equal(r.code, 143);
    release(&r);
}

static void a_program_that_is_not_there_is_an_error_by_name(void **state) {
    (void)state;
    const char *const argv[] = {"/agent/tools/none", NULL};
    os_child_result r;
    muga_error err;
    need_less();
    assert_status(run_spec(LESS, argv, PATIENCE_MS, &r, &err), MUGA_E_NOT_FOUND, &err, "/agent/tools/none");
    release(&r);
}

/* ---- refusals ---- */

static void refuse_mount(const char *from, const char *part) {
    os_sandbox_mount m = {from, "/agent/x", true};
    os_sandbox s = w.sandbox;
    s.mounts = &m;
    s.n_mount = 1;
    s.layers = LESS;
    muga_error err;
    muga_status st = os_sandbox_check(&os_system()->children, &s, &err);
    if (st == MUGA_OK || !strstr(err.message, part)) {
        fail_msg("mounting %s: status %d, '%s' instead of '%s'", from, st, st ? err.message : "", part);
    }
}

static void a_mount_that_leads_elsewhere_is_refused(void **state) {
    (void)state;
    char link[700], below[720];
    need_less();
    place(link, sizeof link, w.out, "way-out");
    assert_int_equal(symlink(w.root, link), 0);
    refuse_mount(link, "links are not followed");
    place(below, sizeof below, link, "home");
    refuse_mount(below, "links are not followed");
    snprintf(below, sizeof below, "%s/../home", w.agent);
    refuse_mount(below, "links are not followed");
    refuse_mount("/", "everything");
    refuse_mount("/proc/self", "kernel's");
    refuse_mount("/dev", "kernel's");
    refuse_mount("/sys/fs", "kernel's");
    place(below, sizeof below, w.root, "none");
    refuse_mount(below, "none");
}

/* In a child of ours that system call fails with `number`, as on a machine that lacks it: the check must refuse, and
 * say `part`. */
static void refuse_without(long call, int number, const char *part) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)number),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {ARRAY_LEN(program), program};
    pid_t pid = fork();
    if (pid == 0) {
        muga_error err = {0};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
            _exit(3);
        }
        muga_status st = try_with(OS_SANDBOX_ALL, &err);
        fprintf(stderr, "refused (%d): %s\n", st, err.message);
        bool ok = st == MUGA_E_ENV && strstr(err.message, part);
        const char *const argv[] = {"/bin/true", NULL};
        os_child_result r;
        ok = ok &&
             run_spec(OS_SANDBOX_ALL, argv, PATIENCE_MS, &r, &err) == MUGA_E_ENV; /* unchecked it doesn't run either */
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_missing_piece_is_named_and_nothing_runs(void **state) {
    (void)state;
    muga_error err;
    os_sandbox s = w.sandbox;
    s.launcher = NULL;
    s.layers = LESS;
    need_less();
    assert_status(os_sandbox_check(&os_system()->children, &s, &err), MUGA_E_ENV, &err, "launcher is missing");
    s.launcher = "/usr/bin/no-such-muga";
    assert_status(os_sandbox_check(&os_system()->children, &s, &err), MUGA_E_ENV, &err, "no-such-muga");
    s.launcher = "/bin/false"; /* starts, and says nothing */
    assert_status(os_sandbox_check(&os_system()->children, &s, &err), MUGA_E_ENV, &err, "sandbox: ");
    refuse_without(444 /* landlock_create_ruleset */, EOPNOTSUPP, "Landlock is missing");
    if (has_all()) {
        refuse_without(446 /* landlock_restrict_self */, EPERM, "Landlock");
        refuse_without(SYS_seccomp, ENOSYS, "seccomp is missing");
        refuse_without(SYS_unshare, EPERM, "sandbox: ");
#ifdef SYS_access
        refuse_without(SYS_access, ENOENT, "bubblewrap is missing");
#endif
    }
}

static void each_piece_is_shown(void **state) {
    (void)state;
    os_sandbox_piece pieces[OS_SANDBOX_N_PIECE];
    os_sandbox_look(w.launcher, pieces);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        assert_true(pieces[i].name && (pieces[i].missing[0] || pieces[i].detail[0]));
    }
    need_less();
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        if (pieces[i].layer != OS_SANDBOX_LANDLOCK) {
            assert_string_equal(pieces[i].missing, "");
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_attempt_succeeds_outside),
        cmocka_unit_test(every_attempt_is_blocked_by_each_set_of_layers),
        cmocka_unit_test(nothing_outlives_a_call),
        cmocka_unit_test(an_endless_run_is_ended_with_all_it_started),
        cmocka_unit_test(endless_output_is_cut_off),
        cmocka_unit_test(a_program_reads_writes_and_ends_as_it_does_outside),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error_by_name),
        cmocka_unit_test(a_mount_that_leads_elsewhere_is_refused),
        cmocka_unit_test(a_missing_piece_is_named_and_nothing_runs),
        cmocka_unit_test(each_piece_is_shown),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
