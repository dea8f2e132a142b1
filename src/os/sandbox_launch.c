/* The inside of a sandbox: the launcher, process 1 there. Owns: the limits, Landlock, the count of processes, the
 * verdict on how the program ended. Refuses: to start the program when any of it fails.
 *
 *   bwrap -> launcher (1) -> fork -> limits, Landlock, listener -> exec of the program
 *               |                                    |
 *               |<----- may a process be started? ---+   (every clone and fork of the program's)
 *               `-> verdict: "S" started, then "C<code>" or "K<signal>"; "E<errno> <step>" when it could not be
 *
 * When the launcher ends, the kernel ends all that is left of its namespace, so nothing outlives a call.
 *
 * Why processes are counted here: RLIMIT_NPROC doesn't bind the user root, and up to Linux 5.13 counts all processes of
 * a user, in whatever sandbox. The listener binds everyone. It decides on the call's number alone, never on memory that
 * the program could change meanwhile. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pipe2 */
#endif
#include "base/mem.h"
#include "os/os_private.h"
#include "os/sandbox_private.h"

#include <errno.h>
#include <fcntl.h> /* O_CLOEXEC */
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the command line asks for: LAYERS,MEMORY,CPU,FILE,PROCESSES,FILES l:PATH r:PATH w:PATH ... -- PROGRAM ... */
typedef struct launch {
    unsigned layers;
    unsigned long long memory_bytes, cpu_seconds, file_bytes, n_process, n_file;
    os_path_list list, read, write;
    char **argv;
} launch;

static bool read_arguments(int argc, char **argv, launch *l) {
    *l = (launch){0};
    if (argc < 3 || sscanf(argv[2], "%u,%llu,%llu,%llu,%llu,%llu", &l->layers, &l->memory_bytes, &l->cpu_seconds,
                           &l->file_bytes, &l->n_process, &l->n_file) != 6) {
        return false;
    }
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            l->argv = argv + i + 1;
            return l->argv[0] != NULL;
        }
        char kind = argv[i][0];
        os_path_list *to = kind == 'l' ? &l->list : kind == 'r' ? &l->read : kind == 'w' ? &l->write : NULL;
        if (!to || argv[i][1] != ':' || to->n == OS_MAX_PATHS) {
            return false;
        }
        to->path[to->n++] = argv[i] + 2;
    }
    return false;
}

/* ---- in the child ---- */

static bool limit(int what, unsigned long long value) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)what, &r) != 0) {
        return false;
    }
    r.rlim_max = MIN(r.rlim_max, (rlim_t)value); /* what is tighter already stays */
    r.rlim_cur = r.rlim_max;
    return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

static bool set_limits(const launch *l) {
    return limit(RLIMIT_CORE, 0) && limit(RLIMIT_CPU, l->cpu_seconds) && limit(RLIMIT_FSIZE, l->file_bytes) &&
           limit(RLIMIT_NOFILE, l->n_file) && limit(RLIMIT_MEMLOCK, 0) && limit(RLIMIT_MSGQUEUE, 0) &&
           limit(RLIMIT_NICE, 0) && limit(RLIMIT_RTPRIO, 0) && limit(RLIMIT_SIGPENDING, 256) &&
           limit(RLIMIT_AS, l->memory_bytes);
}

/* One descriptor over a socket. */
typedef union fd_message {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
} fd_message;

static struct msghdr message_of(struct iovec *byte, fd_message *m) {
    return (struct msghdr){.msg_iov = byte, .msg_iovlen = 1, .msg_control = m, .msg_controllen = sizeof *m};
}

static bool send_fd(int to, int fd) {
    char nothing = 0;
    struct iovec byte = {&nothing, 1};
    fd_message m = {0};
    struct msghdr h = message_of(&byte, &m);
    m.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&m.header), &fd, sizeof fd);
    return sendmsg(to, &h, 0) == 1;
}

static int receive_fd(int from) {
    char nothing;
    int fd = -1;
    struct iovec byte = {&nothing, 1};
    fd_message m = {0};
    struct msghdr h = message_of(&byte, &m);
    if (recvmsg(from, &h, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&h)) {
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof fd);
    }
    return fd;
}

typedef struct failure {
    int number;
    char step[32];
} failure;

static _Noreturn void give_up(int report, const char *step) {
    failure f = {.number = errno};
    snprintf(f.step, sizeof f.step, "%s", step);
    ssize_t put = write(report, &f, sizeof f);
    _exit(put == (ssize_t)sizeof f ? 126 : 125);
}

static _Noreturn void become_program(const launch *l, int report, int to_parent) {
    static char *const nothing[] = {NULL};
    sigset_t none;
    sigemptyset(&none);
    os_close_others_at_exec();
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        give_up(report, "signals");
    }
    if ((l->layers & OS_SANDBOX_LANDLOCK) != 0 && os_landlock_restrict(&l->list, &l->read, &l->write) != 0) {
        give_up(report, "Landlock");
    }
    if ((l->layers & OS_SANDBOX_SECCOMP) != 0) {
        int listener = os_sandbox_listen();
        if (listener < 0 || !send_fd(to_parent, listener)) {
            give_up(report, "seccomp listener");
        }
        close(listener);
    }
    if (!set_limits(l)) {
        give_up(report, "limits");
    }
    execve(l->argv[0], l->argv, nothing);
    give_up(report, "start");
}

/* ---- in the launcher ---- */

static void say(const char *text) {
    size_t n = strlen(text);
    if (write(OS_SANDBOX_VERDICT_FD, text, n) != (ssize_t)n) {
        _exit(125); /* nobody listens any more */
    }
}

/* Yes, as long as fewer than the maximum were started. */
static void answer_start(int listener, unsigned long long *left) {
    struct seccomp_notif asked = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) {
        return; /* the one that asked is gone */
    }
    struct seccomp_notif_resp yes = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    struct seccomp_notif_resp no = {.id = asked.id, .error = -EAGAIN};
    bool heard = ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, *left > 0 ? &yes : &no) == 0; /* else a signal came first */
    *left -= heard && *left > 0;
}

/* Reap what ended; true and its status when the program did. */
static bool reap_program(pid_t program, int *status) {
    pid_t got;
    int each;
    while ((got = waitpid(-1, &each, WNOHANG)) > 0) {
        if (got == program) {
            *status = each;
            return true;
        }
    }
    return false;
}

static int supervise(pid_t program, int listener, int children, unsigned long long n_process) {
    struct pollfd watched[2] = {{children, POLLIN, 0}, {listener, POLLIN, 0}};
    int status = 0;
    while (!reap_program(program, &status)) {
        struct signalfd_siginfo news;
        poll(watched, ARRAY_LEN(watched), -1);
        if ((watched[0].revents & POLLIN) && read(children, &news, sizeof news) < 0) {
            continue;
        }
        if (watched[1].revents & POLLIN) {
            answer_start(listener, &n_process);
        } else if (watched[1].revents != 0) {
            watched[1].fd = -1; /* nobody is left to ask */
        }
    }
    return status;
}

/* Waits for the exec, which closes the pipe. False, and the verdict said, when it failed. */
static bool started(int report) {
    failure f;
    char text[64];
    ssize_t n;
    do {
        n = read(report, &f, sizeof f);
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        return true;
    }
    snprintf(text, sizeof text, "E%d %.31s", n == (ssize_t)sizeof f ? f.number : EIO,
             n == (ssize_t)sizeof f ? f.step : "start");
    say(text);
    return false;
}

static int fail_launch(const char *step) {
    char text[64];
    snprintf(text, sizeof text, "E%d %s", errno, step);
    say(text);
    return 125;
}

int os_sandbox_launch(int argc, char **argv) {
    launch l;
    int report[2], pair[2], listener = -1, status;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (argc == 3 && strcmp(argv[2], OS_SANDBOX_TRIAL) == 0) {
        _exit(0); /* as the program of a trial: it could be started, and no library's end may spoil that */
    }
    if (!read_arguments(argc, argv, &l)) {
        fprintf(stderr, "%s: for muga's own use\n", OS_SANDBOX_VERB);
        return 2;
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || sigprocmask(SIG_BLOCK, &child, NULL) != 0) {
        return fail_launch("signals");
    }
    int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (children < 0 || pipe2(report, O_CLOEXEC) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return fail_launch("descriptors");
    }
    pid_t program = fork();
    if (program == 0) {
        become_program(&l, report[1], pair[1]);
    }
    close(report[1]);
    close(pair[1]);
    if (program < 0) {
        return fail_launch("fork");
    }
    if ((l.layers & OS_SANDBOX_SECCOMP) != 0) {
        listener = receive_fd(pair[0]); /* -1: the child says why in its report */
    }
    if (!started(report[0])) {
        return 125;
    }
    say("S");
    status = supervise(program, listener, children, l.n_process);
    char text[32];
    snprintf(text, sizeof text, "%c%d", WIFSIGNALED(status) ? 'K' : 'C',
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    say(text);
    _exit(0); /* a sanitizer would look for leaks now, for which it needs /proc */
}
