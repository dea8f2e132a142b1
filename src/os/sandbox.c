/* The outside of a sandbox. Owns: bwrap's command line, the descriptors between us and the inside, what a verdict
 * means, what this machine can do. Refuses: a mount that is reached through a link or lies where the kernel speaks
 * (/proc, /sys, /dev), a missing layer, a launcher nobody named.
 *
 * bwrap's root is a file system in memory that is read-only once everything is mounted: what is writable is /tmp,
 * which has a size, and the mounts that say so. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/mem.h"
#include "os/os_private.h"
#include "os/sandbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LAUNCHER_INSIDE "/launcher"
#define TRIAL_MS 60000
/* Of address space: the launcher's own libraries must fit, and a sanitizer's shadow, which is larger than memory. */
#ifdef __SANITIZE_ADDRESS__
#define TRIAL_BYTES ((uint64_t)1 << 62)
#else
#define TRIAL_BYTES ((uint64_t)1 << 30)
#endif

enum { MAX_ARGUMENTS = 1024, MAX_VERDICT = 128 };

/* ---- bwrap's command line ---- */

typedef struct arguments {
    char *item[MAX_ARGUMENTS + 1]; /* NULL-terminated */
    size_t n;
    bool failed; /* no memory, or too many */
} arguments;

static void add(arguments *a, const char *text) {
    char *copy = a->n < MAX_ARGUMENTS ? mem_copy_string(text) : NULL;
    a->failed = a->failed || !copy;
    if (copy) {
        a->item[a->n++] = copy;
    }
}

static void add_all(arguments *a, const char *const *texts) {
    for (; *texts; texts++) {
        add(a, *texts);
    }
}

static void add3(arguments *a, const char *option, const char *first, const char *second) {
    add_all(a, (const char *const[]){option, first, second, NULL});
}

static void add_number(arguments *a, const char *option, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    add_all(a, (const char *const[]){option, text, NULL});
}

static void arguments_release(arguments *a) {
    for (size_t i = 0; i < a->n; i++) {
        free(a->item[i]);
    }
}

static const char *const namespaces[] = {OS_SANDBOX_BWRAP,
                                         "--unshare-user",
                                         "--unshare-pid",
                                         "--unshare-net",
                                         "--unshare-ipc",
                                         "--unshare-uts",
                                         "--unshare-cgroup",
                                         "--disable-userns", /* no further ones inside */
                                         "--new-session",    /* no terminal to type into */
                                         "--die-with-parent",
                                         "--as-pid-1", /* the launcher, so that nothing outlives it */
                                         "--cap-drop",
                                         "ALL",
                                         "--clearenv",
                                         "--uid",
                                         "65534",
                                         "--gid",
                                         "65534",
                                         "--hostname",
                                         "sandbox",
                                         NULL};

/* The system's folders beside /usr: links into it, or folders of their own. */
static const char *const system_folders[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", NULL};
static const char *const settings[] = {"/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", NULL};
static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", NULL};

static void add_system(arguments *a) {
    add3(a, "--ro-bind", "/usr", "/usr");
    for (const char *const *f = system_folders; *f; f++) {
        char target[256];
        ssize_t n = readlink(*f, target, sizeof target - 1);
        if (n > 0) {
            target[n] = '\0';
            add3(a, "--symlink", target, *f);
        } else {
            add3(a, "--ro-bind-try", *f, *f);
        }
    }
    for (const char *const *f = settings; *f; f++) {
        add3(a, "--ro-bind-try", *f, *f);
    }
    for (const char *const *f = devices; *f; f++) {
        add3(a, "--dev-bind", *f, *f);
    }
}

static void add_mounts(arguments *a, const os_child_spec *spec) {
    const os_sandbox *s = spec->sandbox;
    add_number(a, "--size", s->tmp_bytes);
    add_all(a, (const char *const[]){"--tmpfs", "/tmp", NULL});
    add3(a, "--ro-bind", s->launcher, LAUNCHER_INSIDE);
    if (spec->dir) {
        add_all(a, (const char *const[]){"--dir", spec->dir, NULL});
    }
    for (size_t i = 0; i < s->n_mount; i++) {
        add3(a, s->mounts[i].write ? "--bind" : "--ro-bind", s->mounts[i].from, s->mounts[i].to);
    }
    add_all(a, (const char *const[]){"--remount-ro", "/", "--chdir", spec->dir ? spec->dir : "/", NULL});
}

static void add_path(arguments *a, char kind, const char *path) {
    str s = STR_INIT;
    str_printf(&s, "%c:%s", kind, path);
    add(a, s.failed ? NULL : str_get(&s));
    str_release(&s);
}

/* The launcher's part: limits, what Landlock allows, the program. */
static void add_launcher(arguments *a, const os_child_spec *spec) {
    const os_sandbox *s = spec->sandbox;
    char limits[160];
    snprintf(limits, sizeof limits, "%u,%llu,%llu,%llu,%llu,%llu", s->layers, (unsigned long long)s->memory_bytes,
             (unsigned long long)s->cpu_seconds, (unsigned long long)s->file_bytes, (unsigned long long)s->n_process,
             (unsigned long long)s->n_file);
    add_all(a, (const char *const[]){"--", LAUNCHER_INSIDE, OS_SANDBOX_VERB, limits, "r:/usr", "r:/etc", "w:/tmp",
                                     "r:" LAUNCHER_INSIDE, NULL});
    for (const char *const *f = system_folders; *f; f++) {
        add_path(a, 'r', *f);
    }
    for (const char *const *f = devices; *f; f++) {
        add_path(a, 'w', *f);
    }
    if (spec->dir) {
        add_path(a, 'l', spec->dir);
    }
    for (size_t i = 0; i < s->n_mount; i++) {
        add_path(a, s->mounts[i].write ? 'w' : 'r', s->mounts[i].to);
    }
    add(a, "--");
    add_all(a, spec->argv);
}

static muga_status write_arguments(arguments *a, const os_child_spec *spec, bool filtered, muga_error *err) {
    add_all(a, namespaces);
    add_number(a, "--info-fd", OS_SANDBOX_INFO_FD);
    if (filtered) {
        add_number(a, "--seccomp", OS_SANDBOX_FILTER_FD);
    }
    add_system(a);
    add_mounts(a, spec);
    add_launcher(a, spec);
    return a->failed ? error_nomem(err, "a sandbox's command line") : MUGA_OK;
}

/* ---- mounts ---- */

static bool is_below(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

muga_status os_real_path(const char *path, str *out, muga_error *err) {
    char *real = realpath(path, NULL);
    if (!real) {
        return os_error(err, errno, "resolve", path);
    }
    str_append_s(out, real);
    free(real);
    return str_status(out, err, "a path");
}

/* Links are refused, not followed: one that a program made in a folder it may write would lead the next call out. */
static muga_status check_mount(const os_sandbox_mount *m, muga_error *err) {
    static const char *const kernel[] = {"/proc", "/sys", "/dev"};
    for (size_t i = 0; i < ARRAY_LEN(kernel); i++) {
        if (is_below(m->from, kernel[i])) {
            return error_set(err, MUGA_E_INPUT, "sandbox: '%s' is the kernel's, not a folder of files", m->from);
        }
    }
    if (strcmp(m->from, "/") == 0) {
        return error_set(err, MUGA_E_INPUT, "sandbox: '/' is everything; name the folders that are needed");
    }
    str real = STR_INIT;
    muga_status st = os_real_path(m->from, &real, err);
    if (st == MUGA_OK && strcmp(str_get(&real), m->from) != 0) {
        st = error_set(err, MUGA_E_INPUT, "sandbox: '%.90s' leads to '%.90s'; links are not followed, name that path",
                       m->from, str_get(&real));
    }
    str_release(&real);
    return st;
}

/* ---- pieces ---- */

static bool kernel_has_listeners(void) {
    uint32_t action = SECCOMP_RET_USER_NOTIF;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0u, &action) == 0;
}

static void look_bwrap(os_sandbox_piece *p) {
    *p = (os_sandbox_piece){.name = "bubblewrap", .layer = OS_SANDBOX_NAMESPACES, .detail = OS_SANDBOX_BWRAP};
    if (access(OS_SANDBOX_BWRAP, X_OK) != 0) {
        snprintf(p->missing, sizeof p->missing, "no program " OS_SANDBOX_BWRAP "; install the package bubblewrap");
    }
}

static void look_launcher(os_sandbox_piece *p, const char *launcher) {
    *p = (os_sandbox_piece){.name = "launcher", .layer = OS_SANDBOX_NAMESPACES};
    if (!launcher) {
        snprintf(p->missing, sizeof p->missing, "nobody said where the program muga is; name it as the launcher");
    } else if (access(launcher, X_OK) != 0) {
        snprintf(p->missing, sizeof p->missing, "no program '%.90s'; install muga there", launcher);
    } else {
        snprintf(p->detail, sizeof p->detail, "%.90s", launcher);
    }
}

static void look_seccomp(os_sandbox_piece *p) {
    *p = (os_sandbox_piece){.name = "seccomp", .layer = OS_SANDBOX_SECCOMP, .detail = "filter and listener"};
    if (!os_sandbox_has_filter()) {
        snprintf(p->missing, sizeof p->missing,
                 "this build has no libseccomp; install libseccomp-dev (scripts/setup --build) and build again");
    } else if (!kernel_has_listeners()) {
        snprintf(p->missing, sizeof p->missing, "the kernel has no seccomp listener; it needs Linux 5.5 with seccomp");
    }
}

static void look_landlock(os_sandbox_piece *p) {
    *p = (os_sandbox_piece){.name = "Landlock", .layer = OS_SANDBOX_LANDLOCK};
    int abi = os_landlock_abi();
    if (abi > 0) {
        snprintf(p->detail, sizeof p->detail, "version %d of its interface", abi);
    } else {
        snprintf(p->missing, sizeof p->missing,
                 "the kernel has no Landlock; it needs Linux 5.13 with landlock among its security modules (lsm=)");
    }
}

enum { N_LOOKED = OS_SANDBOX_N_PIECE - 1 }; /* without the trial */
static void look(const char *launcher, os_sandbox_piece out[N_LOOKED]) {
    look_bwrap(&out[0]);
    look_launcher(&out[1], launcher);
    look_seccomp(&out[2]);
    look_landlock(&out[3]);
}

static muga_status check_pieces(const os_sandbox *s, muga_error *err) {
    os_sandbox_piece pieces[N_LOOKED];
    look(s->launcher, pieces);
    for (size_t i = 0; i < N_LOOKED; i++) {
        if (pieces[i].missing[0] && ((s->layers | OS_SANDBOX_NAMESPACES) & pieces[i].layer)) {
            return error_set(err, MUGA_E_ENV, "sandbox: %s is missing: %s", pieces[i].name, pieces[i].missing);
        }
    }
    return MUGA_OK;
}

static muga_status check_all(const os_sandbox *s, muga_error *err) {
    muga_status st = check_pieces(s, err);
    for (size_t i = 0; i < s->n_mount && st == MUGA_OK; i++) {
        st = check_mount(&s->mounts[i], err);
    }
    return st;
}

/* ---- a run ---- */

/* Our ends of what the child of a sandbox gets. */
typedef struct inside {
    int verdict[2], info[2], filter;
} inside;

static void inside_close(inside *w) {
    int all[] = {w->verdict[0], w->verdict[1], w->info[0], w->info[1], w->filter};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i] >= 0) {
            close(all[i]);
        }
    }
}

static muga_status inside_open(inside *w, bool filtered, muga_error *err) {
    *w = (inside){{-1, -1}, {-1, -1}, -1};
    bool ok = os_open_pipe(w->verdict) && os_open_pipe(w->info) && fcntl(w->verdict[0], F_SETFL, O_NONBLOCK) == 0 &&
              fcntl(w->info[0], F_SETFL, O_NONBLOCK) == 0;
    if (!ok) {
        return os_error(err, errno, "open", "a pipe to a sandbox");
    }
    w->filter = filtered ? os_sandbox_filter_open() : -1;
    if (filtered && (w->filter < 0 || !os_lift_fd(&w->filter))) {
        return os_error(err, errno, "make", "a sandbox's filter");
    }
    return MUGA_OK;
}

/* What the launcher said, and what the end of bwrap itself means. */
static muga_status judge(const os_child_spec *spec, const char *verdict, os_child_result *r, muga_error *err) {
    char end, step[32] = "";
    int number;
    if (sscanf(verdict, "E%d %31[^\n]", &number, step) == 2) {
        if (strcmp(step, "start") == 0) {
            return os_error(err, number, "start", spec->argv[0]);
        }
        return error_set(err, MUGA_E_ENV, "sandbox: %s: %s; `muga doctor` looks at each piece", step, strerror(number));
    }
    if (r->end == OS_CHILD_TIMEOUT || r->end == OS_CHILD_OUTPUT) {
        return MUGA_OK;
    }
    if (verdict[0] != 'S') { /* bwrap gave up, or could not start the launcher */
        const char *said = str_get(&r->err_out);
        return error_set(err, MUGA_E_ENV, "sandbox: %.*s; check that user namespaces are allowed here (muga doctor)",
                         (int)MIN(strcspn(said, "\r\n"), (size_t)150), *said ? said : OS_SANDBOX_BWRAP " ended early");
    }
    if (sscanf(verdict, "S%c%d", &end, &number) == 2) {
        r->end = end == 'C' ? OS_CHILD_EXITED : OS_CHILD_SIGNALLED;
        r->code = number;
    } else { /* started, and then everything inside was killed from outside */
        r->end = OS_CHILD_SIGNALLED;
    }
    return MUGA_OK;
}

muga_status os_sandbox_run(const os_child_spec *spec, os_child_result *out, muga_error *err) {
    const os_sandbox *s = spec->sandbox;
    bool filtered = (s->layers & OS_SANDBOX_SECCOMP) != 0;
    inside w = {{-1, -1}, {-1, -1}, -1};
    arguments *a = calloc(1, sizeof *a);
    muga_status st = a ? check_all(s, err) : error_nomem(err, "a sandbox");
    if (st == MUGA_OK) {
        st = write_arguments(a, spec, filtered, err);
    }
    if (st == MUGA_OK) {
        st = inside_open(&w, filtered, err);
    }
    if (st == MUGA_OK) {
        union { /* an argument vector is older than const */
            char **in;
            const char *const *out;
        } argv = {a->item};
        os_child_spec outer = *spec;
        outer.argv = argv.out;
        outer.dir = NULL;
        outer.envp = NULL;
        os_child_extra extra = {{w.verdict[1], w.filter, w.info[1]}, w.info[0]};
        st = os_child_run(&outer, &extra, out, err);
        w.verdict[1] = extra.fd[0];
        w.filter = extra.fd[1];
        w.info[1] = extra.fd[2];
    }
    if (st == MUGA_OK) {
        char verdict[MAX_VERDICT] = "";
        ssize_t n = read(w.verdict[0], verdict, sizeof verdict - 1);
        verdict[n > 0 ? n : 0] = '\0';
        st = judge(spec, verdict, out, err);
    }
    inside_close(&w);
    if (a) {
        arguments_release(a);
    }
    free(a);
    return st;
}

/* ---- what is here ---- */

static muga_status try(const os_children *children, const os_sandbox *s, muga_error *err) {
    static const char *const argv[] = {LAUNCHER_INSIDE, OS_SANDBOX_VERB, OS_SANDBOX_TRIAL, NULL};
    os_sandbox roomy = *s;
    roomy.memory_bytes = MAX(s->memory_bytes, TRIAL_BYTES);
    os_child_spec spec = {.argv = argv, .max_out_bytes = 4096, .timeout_ms = TRIAL_MS, .sandbox = &roomy};
    os_child_result r = {0};
    muga_status st = children->run(children->self, &spec, &r, err);
    if (st == MUGA_OK && (r.end != OS_CHILD_EXITED || r.code != 0)) {
        const char *said = str_get(&r.err_out);
        st = error_set(err, MUGA_E_ENV, "sandbox: a trial ended with %d (%.*s); check that %.60s runs by itself",
                       r.code, (int)MIN(strcspn(said, "\r\n"), (size_t)100), said, s->launcher);
    }
    str_release(&r.out);
    str_release(&r.err_out);
    return st;
}

muga_status os_sandbox_check(const os_children *children, const os_sandbox *s, muga_error *err) {
    muga_status st = check_all(s, err);
    if (st == MUGA_OK && !(s->tried && atomic_load(s->tried))) {
        st = try(children, s, err);
        if (st == MUGA_OK && s->tried) {
            atomic_store(s->tried, true);
        }
    }
    return st;
}

void os_sandbox_look(const char *launcher, os_sandbox_piece out[OS_SANDBOX_N_PIECE]) {
    muga_error err;
    os_sandbox_piece *last = &out[N_LOOKED];
    os_sandbox least = {.launcher = launcher,
                        .layers = OS_SANDBOX_NAMESPACES,
                        .tmp_bytes = 1 << 20,
                        .file_bytes = 1 << 20,
                        .cpu_seconds = 10,
                        .n_file = 64};
    look(launcher, out);
    *last = (os_sandbox_piece){
        .name = "namespaces", .layer = OS_SANDBOX_NAMESPACES, .detail = "user, mount, pid, net, ipc, uts, cgroup"};
    if (os_sandbox_check(&os_system()->children, &least, &err) != MUGA_OK) {
        snprintf(last->missing, sizeof last->missing, "%.158s", err.message);
    }
}
