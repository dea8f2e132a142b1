/* The system calls that a sandboxed program may make. Owns: the list. Refuses: everything that is not on it, with
 * ENOSYS, so that a C library falls back to older calls and a call of a later kernel is refused unseen.
 *
 * Not on the list, and why:
 *   mount ... pivot_root, chroot, unshare, setns, clone3      other views of the system; clone3's flags lie in memory,
 *                                                             where a filter can't read them (libc falls back to clone)
 *   socket, bind, connect ...                                 there is no network, and a socket that lies in a mounted
 *                                                             folder must not be one (socketpair is allowed)
 *   ptrace, process_vm_*, kcmp, pidfd_getfd                   into other processes
 *   bpf, perf_event_open, userfaultfd, io_uring_*, keyctl     parts of the kernel that have been broken into most
 *   memfd_*, shmget, msgget, semget, mq_open, mlock           memory that the limits don't count
 *   open_by_handle_at, name_to_handle_at, fanotify_*          files past the mounts
 *   setxattr ..., modes with set-user-id bits, openat2        a program made in a mounted folder that others outside
 *                                                             run with our rights (openat2's mode lies in memory)
 *   set*id, capset, sched_set*, ioprio_set, nice              rights and precedence
 *   reboot, kexec_*, *_module, swapon, quotactl, syslog ...   the machine itself */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include "os/os_private.h"
#include "os/sandbox_private.h"

#include <errno.h>

#ifndef MUGA_HAVE_SECCOMP

bool os_sandbox_has_filter(void) {
    return false;
}
int os_sandbox_filter_open(void) {
    errno = ENOSYS;
    return -1;
}
int os_sandbox_listen(void) {
    errno = ENOSYS;
    return -1;
}

#else

#include "base/mem.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of headers older than the kernels that know them. */
#define WAIT_KILLABLE (1UL << 5)           /* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19 */
#define SET_FLAGS SECCOMP_IOW(4, uint64_t) /* SECCOMP_IOCTL_NOTIF_SET_FLAGS, Linux 6.6 */
#define SYNC_WAKE_UP 1UL                   /* SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP */
#define MAX_CODE 64

/* clang-format off */
static const char *const allowed[] = {
    /* files */
    "access", "chdir", "chown", "close", "close_range", "copy_file_range", "dup", "dup2", "dup3", "faccessat",
    "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fchdir", "fchown", "fchownat", "fcntl", "fcntl64",
    "fdatasync", "fgetxattr", "flistxattr", "flock", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64",
    "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "lchown",
    "lgetxattr", "link", "linkat", "listxattr", "llistxattr", "_llseek", "lseek", "lstat", "lstat64", "mkdir",
    "mkdirat", "newfstatat", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2",
    "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile",
    "sendfile64", "stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync_file_range",
    "truncate", "truncate64", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes",
    "write", "writev",
    /* waiting */
    "alarm", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
    "clock_nanosleep_time64", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "eventfd", "eventfd2", "getitimer", "gettimeofday", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "nanosleep", "_newselect", "pause", "poll", "ppoll", "ppoll_time64",
    "pselect6", "pselect6_time64", "select", "setitimer", "signalfd", "signalfd4", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
    "timerfd_settime", "times",
    /* memory */
    "brk", "madvise", "mincore", "mmap", "mmap2", "mprotect", "mremap", "msync", "munmap", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "membarrier",
    /* processes and threads of its own */
    "arch_prctl", "execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_time64", "futex_waitv",
    "get_robust_list", "get_thread_area", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrlimit",
    "getrusage", "getsid", "gettid", "kill", "pidfd_open", "pidfd_send_signal", "restart_syscall", "rseq",
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_getaffinity", "sched_getattr",
    "sched_getparam", "sched_get_priority_max", "sched_get_priority_min", "sched_getscheduler",
    "sched_rr_get_interval", "sched_setaffinity", "sched_yield", "set_robust_list", "set_thread_area",
    "set_tid_address", "setpgid", "setrlimit", "setsid", "sigaltstack", "sigreturn", "tgkill", "tkill", "ugetrlimit",
    "vfork", "wait4", "waitid", "waitpid",
    /* who and where */
    "capget", "getcpu", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32",
    "sysinfo", "uname",
    /* a socketpair's ends */
    "getpeername", "getsockname", "getsockopt", "recv", "recvfrom", "recvmmsg", "recvmsg", "send", "sendmmsg",
    "sendmsg", "sendto", "shutdown",
    /* more restrictions: the launcher's own, and whoever wants some on top */
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
};

/* Terminal questions, and the launcher's talk with the kernel. TIOCSTI and TIOCLINUX, which type for a person, and
 * what devices and file systems offer are left out. */
static const unsigned long ioctls[] = {
    FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, TCGETS, TIOCGWINSZ, TIOCGPGRP,
    SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND, SET_FLAGS, SECCOMP_IOCTL_NOTIF_ID_VALID,
};

static const unsigned long prctls[] = {
    PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP,
    PR_CAPBSET_READ, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_THP_DISABLE, PR_GET_THP_DISABLE,
    0x53564d41 /* PR_SET_VMA: names of mappings */, PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER,
};
/* clang-format on */

/* Every flag of clone that makes a namespace: a process may start others, in its own view of the system. */
#define NEW_NAMESPACES                                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

bool os_sandbox_has_filter(void) {
    return true;
}

/* 0 or a negative errno, as libseccomp has it. A call that this processor, or this libseccomp, doesn't know stays
 * refused. */
static int allow(scmp_filter_ctx c, const char *name, unsigned n, struct scmp_arg_cmp arg) {
    int number = seccomp_syscall_resolve_name(name);
    return number < 0 ? 0 : seccomp_rule_add_array(c, SCMP_ACT_ALLOW, number, n, &arg);
}

/* The argument at `index` must be one of the values. */
static int allow_one_of(scmp_filter_ctx c, const char *name, unsigned index, const unsigned long *values, size_t n) {
    int fault = 0;
    for (size_t i = 0; i < n && fault == 0; i++) {
        fault = allow(c, name, 1, SCMP_CMP(index, SCMP_CMP_EQ, values[i]));
    }
    return fault;
}

/* The mode at `index` must not hold set-user-id or set-group-id: the folder's owner is the one who runs muga. */
static int allow_mode(scmp_filter_ctx c, const char *name, unsigned index) {
    return allow(c, name, 1, SCMP_CMP(index, SCMP_CMP_MASKED_EQ, S_ISUID | S_ISGID, 0));
}

static int add_mode_rules(scmp_filter_ctx c) {
    enum { CREATES = O_CREAT | (O_TMPFILE & ~O_DIRECTORY) }; /* else the mode's register holds anything */
    int fault = allow_mode(c, "chmod", 1);
    fault = fault ? fault : allow_mode(c, "fchmod", 1);
    fault = fault ? fault : allow_mode(c, "fchmodat", 2);
    fault = fault ? fault : allow_mode(c, "fchmodat2", 2);
    fault = fault ? fault : allow_mode(c, "creat", 1);
    fault = fault ? fault : allow_mode(c, "open", 2);
    fault = fault ? fault : allow(c, "open", 1, SCMP_A1(SCMP_CMP_MASKED_EQ, CREATES, 0));
    fault = fault ? fault : allow_mode(c, "openat", 3);
    return fault ? fault : allow(c, "openat", 1, SCMP_A2(SCMP_CMP_MASKED_EQ, CREATES, 0));
}

static int add_rules(scmp_filter_ctx c) {
    static const unsigned long queries[] = {0, 0xFFFFFFFF}; /* personality: the usual one, or: which is it? */
    int fault = 0;
    for (size_t i = 0; i < ARRAY_LEN(allowed) && fault == 0; i++) {
        fault = allow(c, allowed[i], 0, SCMP_A0(SCMP_CMP_EQ, 0));
    }
    fault = fault ? fault : add_mode_rules(c);
    fault = fault ? fault : allow_one_of(c, "ioctl", 1, ioctls, ARRAY_LEN(ioctls));
    fault = fault ? fault : allow_one_of(c, "prctl", 0, prctls, ARRAY_LEN(prctls));
    fault = fault ? fault : allow_one_of(c, "personality", 0, queries, ARRAY_LEN(queries));
    fault = fault ? fault : allow(c, "clone", 1, SCMP_A0(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0));
    fault = fault ? fault : allow(c, "socketpair", 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    fault = fault ? fault : allow(c, "prlimit64", 1, SCMP_A0(SCMP_CMP_EQ, 0)); /* its own, which only go down */
    fault = fault ? fault : allow(c, "mknod", 1, SCMP_A1(SCMP_CMP_MASKED_EQ, S_IFMT, S_IFIFO));
    fault = fault ? fault : allow(c, "mknodat", 1, SCMP_A2(SCMP_CMP_MASKED_EQ, S_IFMT, S_IFIFO));
    return fault;
}

int os_sandbox_filter_open(void) {
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int fd = memfd_create("filter", MFD_CLOEXEC);
    int fault = !c ? -ENOMEM : fd < 0 ? -errno : seccomp_attr_set(c, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    fault = fault ? fault : add_rules(c);
    fault = fault ? fault : seccomp_export_bpf(c, fd);
    if (c) {
        seccomp_release(c);
    }
    if (fault == 0 && lseek(fd, 0, SEEK_SET) != 0) {
        fault = -errno;
    }
    if (fault != 0 && fd >= 0) {
        close(fd);
    }
    errno = -fault;
    return fault == 0 ? fd : -1;
}

/* The filter as the kernel takes it; false: errno. A pipe holds it, since the other filter allows no memfd. */
static bool export_filter(scmp_filter_ctx c, struct sock_filter code[MAX_CODE], unsigned short *n) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    int fault = seccomp_export_bpf(c, ends[1]);
    ssize_t got = fault == 0 ? read(ends[0], code, MAX_CODE * sizeof *code) : -1;
    errno = fault ? -fault : errno;
    close(ends[0]);
    close(ends[1]);
    *n = (unsigned short)(got > 0 ? (size_t)got / sizeof *code : 0);
    return got > 0;
}

/* A signal that comes while a process waits for the launcher's yes would end its fork with EINTR, which no program
 * reckons with: a shell whose first child of a pipe has ended says "Cannot fork". From Linux 5.19 on only a fatal one
 * does so once the launcher has read the question; from 6.6 on it is woken for it at once. */
static int listen_with(const struct sock_filter *code, unsigned short n) {
    struct sock_fprog program = {n, (struct sock_filter *)(uintptr_t)code};
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | WAIT_KILLABLE, &program);
    if (fd < 0 && errno == EINVAL) {
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    }
    if (fd >= 0) {
        ioctl((int)fd, SET_FLAGS, SYNC_WAKE_UP); /* an older kernel wakes the launcher a little later */
    }
    return (int)fd;
}

int os_sandbox_listen(void) {
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
    static const char *const starts[] = {"clone", "fork", "vfork"};
    struct sock_filter code[MAX_CODE];
    unsigned short n = 0;
    int fault = c ? 0 : -ENOMEM;
    for (size_t i = 0; i < ARRAY_LEN(starts) && fault == 0; i++) {
        int number = seccomp_syscall_resolve_name(starts[i]);
        fault = number < 0 ? 0 : seccomp_rule_add_array(c, SCMP_ACT_NOTIFY, number, 0, NULL);
    }
    fault = fault || export_filter(c, code, &n) ? fault : -errno;
    int listener = fault ? -1 : listen_with(code, n);
    fault = fault == 0 && listener < 0 ? -errno : fault;
    int fd = fault ? -1 : fcntl(listener, F_DUPFD_CLOEXEC, OS_SANDBOX_END_FD);
    fault = fault == 0 && fd < 0 ? -errno : fault;
    if (listener >= 0) {
        close(listener);
    }
    if (c) {
        seccomp_release(c);
    }
    errno = -fault;
    return fd;
}
#endif
