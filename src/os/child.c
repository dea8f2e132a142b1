/* Child processes. Owns: the whole life of one child: start, input, output within bounds, time-out, end, reaping.
 * Refuses: a shell, a search in PATH, inherited descriptors, an inherited environment.
 *
 * Idea: stdin is a sealed memory file, so the parent never writes to a pipe (no SIGPIPE, no dead-lock between two full
 * pipes); stdout and stderr are pipes read in one poll loop against a deadline.
 *
 * Invariants:
 *  1. A child that was started is always reaped before os_children_run returns.
 *  2. Before it is reaped, its whole process group has been killed: nothing it left behind holds on. (While the leader
 *     is a zombie its number, and so the group's, can't belong to anyone else.)
 *  3. Between fork and exec the child calls only async-signal-safe functions.
 *  4. At most max_out_bytes of stdout and ERR_KEEP bytes of stderr are kept, however much is written. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, pipe2 */
#endif
#include "base/mem.h"
#include "os/os_private.h"
#include "os/sandbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERR_KEEP 4096 /* bytes of stderr */
#define TICK_MS 10    /* how often to look for the end where the kernel has no pidfd */
#define LAST_POSSIBLE_FD 65536
#define INNER_END_MS 5000 /* the longest wait for a killed sandbox to end by itself */

/* Every descriptor of one run; -1 = not open. */
typedef struct wires {
    int in;             /* memory file: the child's stdin */
    int out[2], err[2]; /* pipes: [0] ours, [1] the child's */
    int report[2];      /* pipe: errno of a failed exec; closed by a successful one */
    int pid_fd;         /* readable once the child has ended */
} wires;

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void wires_close(wires *w) {
    int *all[] = {&w->in, &w->out[0], &w->out[1], &w->err[0], &w->err[1], &w->report[0], &w->report[1], &w->pid_fd};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        close_fd(all[i]);
    }
}

/* Move a descriptor out of the first ones, which the child's dup2 overwrites. */
bool os_lift_fd(int *fd) {
    if (*fd >= OS_SANDBOX_END_FD) {
        return true;
    }
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, OS_SANDBOX_END_FD);
    if (high < 0) {
        return false;
    }
    close(*fd);
    *fd = high;
    return true;
}

bool os_open_pipe(int pair[2]) {
    return pipe2(pair, O_CLOEXEC) == 0 && os_lift_fd(&pair[0]) && os_lift_fd(&pair[1]);
}

static bool write_all(int fd, const char *p, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t put = write(fd, p + at, n - at);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        at += put > 0 ? (size_t)put : 0;
    }
    return true;
}

static bool open_input(int *fd, const void *p, size_t n) {
    *fd = memfd_create("stdin", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return *fd >= 0 && os_lift_fd(fd) && write_all(*fd, p, n) && lseek(*fd, 0, SEEK_SET) == 0 &&
           fcntl(*fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0;
}

static bool wires_open(wires *w, const os_child_spec *spec) {
    *w = (wires){-1, {-1, -1}, {-1, -1}, {-1, -1}, -1};
    return open_input(&w->in, spec->in, spec->n_in) && os_open_pipe(w->out) && os_open_pipe(w->err) &&
           os_open_pipe(w->report) && fcntl(w->out[0], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(w->err[0], F_SETFL, O_NONBLOCK) == 0;
}

/* ---- in the child, between fork and exec ---- */

/* Ours, and whatever the host program left open. */
void os_close_others_at_exec(void) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) == 0) {
        return;
    }
#endif
    struct rlimit limit;
    int end = LAST_POSSIBLE_FD;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < LAST_POSSIBLE_FD) {
        end = (int)limit.rlim_cur;
    }
    for (int fd = STDERR_FILENO + 1; fd < end; fd++) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static void default_signals(void) {
    struct sigaction usual = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        sigaction(number, &usual, NULL); /* refused for SIGKILL and SIGSTOP, which nobody changes */
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What a sandbox gets; they are past all of their places (os_lift_fd). */
static bool place_extra(const os_child_extra *extra) {
    bool ok = true;
    for (int i = 0; extra && i < OS_SANDBOX_N_FD; i++) {
        ok = ok && (extra->fd[i] < 0 || dup2(extra->fd[i], OS_SANDBOX_VERDICT_FD + i) >= 0);
    }
    return ok;
}

static _Noreturn void become(const os_child_spec *spec, const os_child_extra *extra, const wires *w, pid_t parent) {
    static const char *const nothing[] = {NULL};
    bool ok = setsid() >= 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    if (getppid() != parent) { /* it died before the line above took hold */
        _exit(127);
    }
    ok = ok && dup2(w->in, STDIN_FILENO) >= 0 && dup2(w->out[1], STDOUT_FILENO) >= 0 &&
         dup2(w->err[1], STDERR_FILENO) >= 0 && (!spec->dir || chdir(spec->dir) == 0);
    if (ok) {
        os_close_others_at_exec();
        default_signals();
        ok = place_extra(extra);
    }
    if (ok) {
        union { /* exec's types are older than const */
            const char *const *in;
            char *const *out;
        } argv = {spec->argv}, envp = {spec->envp ? spec->envp : nothing};
        execve(argv.out[0], argv.out, envp.out);
    }
    int number = errno;
    write_all(w->report[1], (const char *)&number, sizeof number);
    _exit(127);
}

/* ---- in the parent ---- */

/* Signals stay blocked across fork, so that no handler of the host runs in the child. */
static pid_t start(const os_child_spec *spec, os_child_extra *extra, wires *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        become(spec, extra, w, parent);
    }
    int number = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = number;
    if (pid > 0) {
        close_fd(&w->in);
        close_fd(&w->out[1]);
        close_fd(&w->err[1]);
        close_fd(&w->report[1]);
        for (int i = 0; extra && i < OS_SANDBOX_N_FD; i++) {
            close_fd(&extra->fd[i]);
        }
#ifdef SYS_pidfd_open
        w->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
#endif
    }
    return pid;
}

/* errno of the failed exec, or 0. Waits for exec, which is soon: nothing before it blocks. */
static int exec_failure(const wires *w) {
    int number = 0;
    ssize_t n;
    do {
        n = read(w->report[0], &number, sizeof number);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof number ? number : 0;
}

static uint64_t now_ms(void) {
    return os_clock_monotonic_us(NULL) / 1000;
}

/* Read what is there now. *fd is closed at its end. False when the loop must stop: past the maximum, or no memory. */
static bool drain(int *fd, str *into, size_t max, bool drop_rest) {
    char chunk[16384];
    while (*fd >= 0) {
        ssize_t n = read(*fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return true;
        }
        if (n <= 0) {
            close_fd(fd);
            return true;
        }
        size_t room = max - into->len;
        str_append(into, chunk, MIN((size_t)n, room));
        if (into->failed || ((size_t)n > room && !drop_rest)) {
            return false;
        }
        if (drop_rest && into->len == max) {
            return true; /* a flood on stderr must not keep the loop from the deadline */
        }
    }
    return true;
}

static bool has_ended(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

static void wait_for_news(const wires *w, uint64_t left_ms) {
    struct pollfd watched[3] = {{w->out[0], POLLIN, 0}, {w->err[0], POLLIN, 0}, {w->pid_fd, POLLIN, 0}};
    int timeout = (int)MIN(left_ms, w->pid_fd >= 0 ? (uint64_t)60000 : TICK_MS);
    poll(watched, ARRAY_LEN(watched), timeout); /* negative descriptors are passed over; EINTR is news too */
}

/* Read until the child has ended, or must. On OS_CHILD_EXITED the reason is still to be asked of waitpid. */
static os_child_end follow(pid_t pid, wires *w, const os_child_spec *spec, os_child_result *r) {
    uint64_t start_ms = now_ms();
    for (;;) {
        bool ended = has_ended(pid); /* before reading: what it wrote last is in the pipe by then */
        if (!drain(&w->out[0], &r->out, spec->max_out_bytes, false)) {
            return OS_CHILD_OUTPUT;
        }
        if (!drain(&w->err[0], &r->err_out, ERR_KEEP, true)) {
            return OS_CHILD_OUTPUT;
        }
        if (ended) {
            return OS_CHILD_EXITED;
        }
        uint64_t passed_ms = now_ms() - start_ms;
        if (passed_ms >= (uint64_t)spec->timeout_ms) {
            return OS_CHILD_TIMEOUT;
        }
        wait_for_news(w, (uint64_t)spec->timeout_ms - passed_ms);
    }
}

static bool reap(pid_t pid, int *status) {
    pid_t got;
    do {
        got = waitpid(pid, status, 0);
    } while (got < 0 && errno == EINTR);
    return got == pid;
}

/* In a sandbox the process to end is the first one inside: once it is dead, all in there are, and bwrap, which waits
 * for it, ends by itself. Killing bwrap alone would leave them some moments more. */
static void end_inner(const os_child_extra *extra, const wires *w) {
    char said[512];
    int inner = 0;
    ssize_t n = read(extra->info, said, sizeof said - 1);
    said[n > 0 ? n : 0] = '\0';
    const char *at = strstr(said, "\"child-pid\":");
    if (at && sscanf(at + strlen("\"child-pid\":"), "%d", &inner) == 1 && inner > 1 && kill(inner, SIGKILL) == 0) {
        struct pollfd ended = {w->pid_fd, POLLIN, 0};
        poll(&ended, w->pid_fd >= 0, INNER_END_MS);
    }
}

static muga_status finish(pid_t pid, os_child_end end, const os_child_spec *spec, os_child_result *r, muga_error *err) {
    int status = 0;
    kill(-pid, SIGKILL);
    if (!reap(pid, &status)) {
        return error_set(err, MUGA_E_ENV, "run '%s': its exit status was taken elsewhere; don't ignore SIGCHLD",
                         spec->argv[0]);
    }
    r->end = end;
    if (WIFSIGNALED(status)) {
        r->code = WTERMSIG(status);
        r->end = end == OS_CHILD_EXITED ? OS_CHILD_SIGNALLED : end;
    } else {
        r->code = WEXITSTATUS(status);
    }
    return r->out.failed || r->err_out.failed ? error_nomem(err, "a tool's output") : MUGA_OK;
}

muga_status os_child_run(const os_child_spec *spec, os_child_extra *extra, os_child_result *out, muga_error *err) {
    wires w;
    muga_status st = MUGA_OK;
    pid_t pid = wires_open(&w, spec) ? start(spec, extra, &w) : -1;
    if (pid < 0) {
        st = os_error(err, errno, "start", spec->argv[0]);
    } else {
        int number = exec_failure(&w);
        os_child_end end = number == 0 ? follow(pid, &w, spec, out) : OS_CHILD_EXITED;
        if (extra && end != OS_CHILD_EXITED) {
            end_inner(extra, &w);
        }
        st = finish(pid, end, spec, out, err);
        if (st == MUGA_OK && number != 0) {
            st = os_error(err, number, "start", spec->argv[0]);
        }
    }
    wires_close(&w);
    return st;
}

muga_status os_children_run(void *self, const os_child_spec *spec, os_child_result *out, muga_error *err) {
    (void)self;
    *out = (os_child_result){0};
    str_init(&out->out, 0);
    str_init(&out->err_out, 0);
    if (!spec->argv || !spec->argv[0] || spec->timeout_ms <= 0 || spec->max_out_bytes >= STR_DEFAULT_MAX) {
        return error_set(err, MUGA_E_USAGE,
                         "run a child: needs a program, a time limit above 0, an output limit "
                         "below 1 GiB");
    }
    return spec->sandbox ? os_sandbox_run(spec, out, err) : os_child_run(spec, NULL, out, err);
}
