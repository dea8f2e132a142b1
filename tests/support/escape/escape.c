/* Attempts to get out of the sandbox, one a run: escape NAME [ARGUMENT]. Prints "escaped" when it did what a sandboxed
 * program must not, "blocked" and why when it couldn't. tests/unit/test_sandbox.c runs each of them inside, where it
 * must say "blocked", and outside, where it must say "escaped": an attempt that never succeeds tests nothing. So each
 * does something harmless: bombs are small, system calls that change the machine get arguments it refuses. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#define MB ((size_t)1 << 20)

/* ---- calls that must not reach the kernel: with arguments that it refuses itself, or that do nothing ---- */

typedef struct reach {
    const char *name;
    long number, arguments[5];
} reach;

static const reach reaches[] = {
    {"bpf", SYS_bpf, {-1, 0, 0}},
    {"perf", SYS_perf_event_open, {0, -1, -1, -1, 0}},
    {"userfaultfd", SYS_userfaultfd, {-1}},
    {"keyctl", SYS_keyctl, {-1}},
    {"add_key", SYS_add_key, {0, 0, 0, 0, 0}},
    {"request_key", SYS_request_key, {0, 0, 0, 0}},
    {"io_uring", SYS_io_uring_setup, {0, 0}},
    {"open_by_handle", SYS_open_by_handle_at, {-1, 0, 0}},
    {"name_to_handle", SYS_name_to_handle_at, {-1, 0, 0, 0, 0}},
    {"kexec", SYS_kexec_load, {0, 0, 0, -1}},
    {"reboot", SYS_reboot, {0, 0, 0, 0}},
    {"init_module", SYS_init_module, {0, 0, 0}},
    {"finit_module", SYS_finit_module, {-1, 0, 0}},
    {"delete_module", SYS_delete_module, {0, 0}},
    {"swapon", SYS_swapon, {0, 0}},
    {"syslog", SYS_syslog, {-1, 0, 0}},
    {"quotactl", SYS_quotactl, {-1, 0, 0, 0}},
    {"fanotify", SYS_fanotify_init, {-1, 0}},
    {"clock_settime", SYS_clock_settime, {0, 0}},
    {"settimeofday", SYS_settimeofday, {-1, 0}},
    {"adjtimex", SYS_adjtimex, {0}},
    {"sethostname", SYS_sethostname, {0, -1}},
    {"process_vm_readv", SYS_process_vm_readv, {0, 0, 0, 0, 0}},
    {"process_vm_writev", SYS_process_vm_writev, {0, 0, 0, 0, 0}},
    {"kcmp", SYS_kcmp, {0, 0, 0, 0, 0}},
    {"ptrace", SYS_ptrace, {16 /* attach */, -1, 0, 0}},
    {"mount", SYS_mount, {0, 0, 0, 0, 0}},
    {"umount", SYS_umount2, {0, 0}},
    {"pivot_root", SYS_pivot_root, {0, 0}},
    {"chroot", SYS_chroot, {0}},
    {"setns", SYS_setns, {-1, 0}},
    {"fsopen", SYS_fsopen, {0, -1}},
    {"open_tree", SYS_open_tree, {-1, 0, 0}},
    {"move_mount", SYS_move_mount, {-1, 0, -1, 0, 0}},
    {"mount_setattr", SYS_mount_setattr, {-1, 0, 0, 0, 0}},
    {"capset", SYS_capset, {0, 0}},
    {"setuid", SYS_setuid, {-1}},
    {"setgid", SYS_setgid, {-1}},
    {"setresuid", SYS_setresuid, {-1, -1, -1}},
    {"setgroups", SYS_setgroups, {-1, 0}},
    {"sched_setscheduler", SYS_sched_setscheduler, {0, -1, 0}},
    {"sched_setattr", SYS_sched_setattr, {0, 0, 0}},
    {"ioprio", SYS_ioprio_set, {0, 0, 0}},
    {"nice", SYS_setpriority, {-1, 0, 0}},
    {"memfd", SYS_memfd_create, {0, 0}},
    {"shm", SYS_shmget, {0, 0, 0}},
    {"message_queue", SYS_msgget, {1, 0}},
    {"semaphores", SYS_semget, {1, 0, 0}},
    {"mq_open", SYS_mq_open, {0, 0, 0, 0}},
    {"mlock", SYS_mlock, {0, 0}},
    {"mbind", SYS_mbind, {0, 0, 0, 0, 0}},
    {"move_pages", SYS_move_pages, {0, 0, 0, 0, 0}},
    {"vmsplice", SYS_vmsplice, {-1, 0, 0, 0}},
    {"clone3", SYS_clone3, {0, 0}},
    {"setxattr", SYS_setxattr, {0, 0, 0, 0, 0}},
    {"openat2", SYS_openat2, {-1, 0, 0, 0}},
    {"socket_tcp", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
    {"socket_udp", SYS_socket, {AF_INET, SOCK_DGRAM, 0}},
    {"socket_raw", SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_ICMP}},
    {"socket_tcp6", SYS_socket, {AF_INET6, SOCK_STREAM, 0}},
    {"socket_netlink", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}},
    {"socket_packet", SYS_socket, {AF_PACKET, SOCK_RAW, 0}},
    {"socket_vsock", SYS_socket, {40, SOCK_STREAM, 0}},
    {"socketpair_inet", SYS_socketpair, {AF_INET, SOCK_STREAM, 0, 0}},
    {"type_for_a_person", SYS_ioctl, {-1, TIOCSTI, 0}},
    {"console_paste", SYS_ioctl, {-1, TIOCLINUX, 0}},
    {"file_flags", SYS_ioctl, {-1, 0x40086602 /* FS_IOC_SETFLAGS */, 0}},
};

/* True when the kernel, and not the filter, answered. */
static bool reach_kernel(const reach *r) {
    errno = 0;
    const long *a = r->arguments;
    long got = syscall(r->number, a[0], a[1], a[2], a[3], a[4]);
    return got >= 0 || errno != ENOSYS;
}

/* ---- files ---- */

static bool can_open(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool can_read(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY);
    bool ok = fd >= 0 && read(fd, &byte, 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool can_list(const char *path) {
    DIR *d = opendir(path);
    bool ok = d && readdir(d);
    if (d) {
        closedir(d);
    }
    return ok;
}

static bool read_argument(const char *path) {
    return can_read(path);
}
static bool create_argument(const char *path) {
    return can_open(path, O_WRONLY | O_CREAT);
}
static bool read_shadow(const char *unused) {
    (void)unused;
    return can_read("/etc/shadow");
}
static bool read_passwords(const char *unused) {
    (void)unused;
    return can_read("/etc/passwd");
}
static bool write_program(const char *path) {
    (void)path;
    return can_open("/usr/bin/env", O_WRONLY);
}
static bool read_manifest(const char *unused) {
    (void)unused;
    return can_read("agent.yaml");
}
static bool write_tool(const char *unused) {
    (void)unused;
    return can_open("tools/other", O_WRONLY);
}
static bool make_in_agent(const char *unused) {
    (void)unused;
    return can_open("new-file", O_WRONLY | O_CREAT);
}
static bool remove_tool(const char *unused) {
    (void)unused;
    return unlink("tools/victim") == 0;
}
static bool replace_tool(const char *unused) {
    (void)unused;
    return can_open("out/new", O_WRONLY | O_CREAT) && rename("out/new", "tools/replaced") == 0;
}
static bool climb(const char *unused) {
    (void)unused;
    return can_read("../home/secret") || can_read("out/../../home/secret");
}
static bool follow_symlink(const char *path) {
    unlink("out/link");
    return symlink(path, "out/link") == 0 && can_read("out/link");
}
static bool hard_link(const char *unused) {
    (void)unused;
    unlink("out/hard");
    return link("tools/other", "out/hard") == 0 && can_open("out/hard", O_WRONLY);
}
static bool talk_to_fifo(const char *unused) {
    (void)unused;
    return can_open("tools/fifo", O_WRONLY);
}
/* Copies itself to where it may write, and runs that: what it says is this attempt's verdict. */
static bool run_written(const char *unused) {
    static char chunk[1 << 16];
    (void)unused;
    int from = open("tools/escape", O_RDONLY), to = open("out/copy", O_WRONLY | O_CREAT | O_TRUNC, 0700);
    ssize_t n;
    while (from >= 0 && to >= 0 && (n = read(from, chunk, sizeof chunk)) > 0) {
        if (write(to, chunk, (size_t)n) != n) {
            return false;
        }
    }
    close(to);
    execl("out/copy", "escape", "say", (char *)NULL);
    return false;
}
static bool say(const char *unused) {
    (void)unused;
    return true;
}
static bool set_user_id(const char *unused) {
    (void)unused;
    return can_open("out/rooted", O_WRONLY | O_CREAT) && chmod("out/rooted", 04755) == 0;
}
static bool make_set_user_id(const char *unused) {
    struct stat info;
    (void)unused;
    umask(0);
    unlink("out/born");
    int fd = open("out/born", O_WRONLY | O_CREAT, 04755);
    return fd >= 0 && fstat(fd, &info) == 0 && (info.st_mode & S_ISUID) != 0;
}
static bool device_node(const char *unused) {
    (void)unused;
    unlink("out/memory");
    bool ok = mknod("out/memory", S_IFCHR | 0600, (1 << 8) | 1) == 0;
    unlink("out/memory");
    return ok;
}
static bool open_terminal(const char *unused) {
    (void)unused;
    return can_open("/dev/ptmx", O_RDWR | O_NOCTTY);
}
static bool kernel_log(const char *unused) {
    (void)unused;
    return can_open("/dev/kmsg", O_RDONLY);
}
static bool shared_memory_folder(const char *unused) {
    (void)unused;
    bool ok = can_open("/dev/shm/muga-escape", O_WRONLY | O_CREAT);
    unlink("/dev/shm/muga-escape");
    return ok;
}
static bool list_sys(const char *unused) {
    (void)unused;
    return can_list("/sys");
}
static bool list_cgroups(const char *unused) {
    (void)unused;
    return can_list("/sys/fs/cgroup");
}
static bool write_sys(const char *unused) {
    (void)unused;
    return can_open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY);
}
static bool list_processes(const char *unused) {
    (void)unused;
    return can_list("/proc");
}
static bool own_program_by_proc(const char *unused) {
    char path[512];
    (void)unused;
    return readlink("/proc/self/exe", path, sizeof path) > 0;
}
static bool write_sysctl(const char *unused) {
    (void)unused;
    return can_open("/proc/sys/kernel/core_pattern", O_WRONLY);
}
static bool environment_of_parent(const char *number) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/environ", number);
    return can_read(path);
}
static bool root_by_proc(const char *number) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/%s", number, "root/usr");
    return can_list(path);
}
static bool list_homes(const char *unused) {
    (void)unused;
    return can_list("/home") || can_list("/root");
}
static bool list_run(const char *unused) {
    (void)unused;
    return can_list("/run") || can_list("/var/run");
}

/* ---- processes and limits ---- */

static bool signal_outside(const char *number) {
    return kill((pid_t)atoi(number), 0) == 0;
}

static bool new_user_namespace(const char *unused) {
    (void)unused;
    return unshare(CLONE_NEWUSER) == 0;
}

static bool clone_user_namespace(const char *unused) {
    (void)unused;
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(0);
    }
    return pid > 0;
}

static bool fork_bomb(const char *unused) {
    pid_t all[24];
    int n = 0;
    (void)unused;
    for (; n < 24; n++) {
        all[n] = fork();
        if (all[n] == 0) {
            pause();
            _exit(0);
        }
        if (all[n] < 0) {
            break;
        }
    }
    for (int i = 0; i < n; i++) {
        kill(all[i], SIGKILL);
        waitpid(all[i], NULL, 0);
    }
    return n == 24;
}

/* One after the other: the count is of starts, so ending the earlier ones buys nothing. */
static bool fork_chain(const char *unused) {
    (void)unused;
    for (int i = 0; i < 24; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
            return false;
        }
    }
    return true;
}

static void *sleep_on(void *unused) {
    pause();
    return unused;
}
static bool thread_bomb(const char *unused) {
    pthread_attr_t small;
    pthread_t t;
    (void)unused;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    for (int i = 0; i < 24; i++) {
        if (pthread_create(&t, &small, sleep_on, NULL) != 0) {
            return false;
        }
    }
    return true;
}

static bool memory_bomb(const char *unused) {
    (void)unused;
    return mmap(NULL, 400 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}
static bool heap_bomb(const char *unused) {
    (void)unused;
    for (int i = 0; i < 400; i++) {
        if (!malloc(MB)) {
            return false;
        }
    }
    return true;
}

static bool fill(const char *format, int n_file, size_t bytes) {
    static char chunk[1 << 20];
    bool ok = true;
    char path[256];
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < n_file; i++) {
        snprintf(path, sizeof path, format, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        for (size_t put = 0; ok && put < bytes; put += sizeof chunk) {
            ok = fd >= 0 && write(fd, chunk, sizeof chunk) == (ssize_t)sizeof chunk;
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    for (int i = 0; i < n_file; i++) {
        snprintf(path, sizeof path, format, i);
        unlink(path);
    }
    return ok;
}
static bool disk_bomb(const char *unused) {
    (void)unused;
    return fill("/tmp/muga-escape-%d", 6, 3 * MB);
}
static bool large_file(const char *unused) {
    (void)unused;
    return fill("out/large-%d", 1, 8 * MB);
}
static bool many_files_open(const char *unused) {
    (void)unused;
    for (int i = 0; i < 200; i++) {
        if (open("/dev/null", O_RDONLY) < 0) {
            return false;
        }
    }
    return true;
}

/* A second and a half of computing; the limit is one. A blocked one is killed by the kernel and says nothing. */
static bool compute(const char *unused) {
    (void)unused;
    volatile unsigned n = 0;
    while (clock() < 3 * CLOCKS_PER_SEC / 2) {
        n++;
    }
    return true;
}

static bool raise_limit(int what) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)what, &r) != 0) {
        return false;
    }
    if (r.rlim_max == RLIM_INFINITY) {
        return true;
    }
    r.rlim_max = RLIM_INFINITY;
    return setrlimit((__rlimit_resource_t)what, &r) == 0;
}
static bool core_dump(const char *unused) {
    (void)unused;
    return raise_limit(RLIMIT_CORE);
}
static bool more_memory(const char *unused) {
    (void)unused;
    return raise_limit(RLIMIT_AS);
}
static bool more_time(const char *unused) {
    (void)unused;
    return raise_limit(RLIMIT_CPU);
}

static bool new_privileges(const char *unused) {
    (void)unused;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0;
}
static bool capabilities(const char *unused) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}};
    (void)unused;
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective | data[1].effective) != 0;
}
static bool bounding_set(const char *unused) {
    (void)unused;
    return prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 1;
}
static bool change_personality(const char *unused) {
    (void)unused;
    return personality(ADDR_NO_RANDOMIZE) != -1;
}
static bool trap_prctl(const char *unused) {
    (void)unused;
    return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0;
}

/* The old way into the kernel, whose numbers mean other calls. */
static bool other_entry(const char *unused) {
    (void)unused;
#ifdef __x86_64__
    long got;
    __asm__ volatile("int $0x80" : "=a"(got) : "a"(20L /* getpid */) : "memory", "r8", "r9", "r10", "r11");
    return got > 0;
#else
    return false;
#endif
}

/* Leaves a process behind that holds a lock, which the test then asks for. */
static bool outlive(const char *unused) {
    int both[2];
    char ready = 0;
    (void)unused;
    if (pipe(both) != 0) {
        return false;
    }
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            int fd = open("out/lock", O_RDWR | O_CREAT, 0600);
            char text[32];
            int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
            ready = fd >= 0 && flock(fd, LOCK_EX) == 0 && write(fd, text, (size_t)n) == n;
            if (write(both[1], &ready, 1) != 1) {
                _exit(1);
            }
            close(STDIN_FILENO);
            close(STDOUT_FILENO);
            close(STDERR_FILENO);
            sleep(30);
        }
        _exit(0);
    }
    return read(both[0], &ready, 1) == 1 && ready;
}

static bool hang(const char *unused) {
    outlive(unused);
    pause();
    return true;
}
static bool flood(const char *unused) {
    (void)unused;
    for (int i = 0; i < 100000; i++) {
        puts("and again, and again, and again");
    }
    return true;
}

/* ---- network, environment ---- */

static bool connect_tcp(const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}
static bool send_udp(const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd >= 0 && sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to) == 1;
}
static bool connect_unix(const char *name, bool is_abstract) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    if (n + 1 >= sizeof to.sun_path) {
        return false;
    }
    memcpy(to.sun_path + is_abstract, name, n);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, size) == 0;
}
static bool connect_abstract(const char *name) {
    return connect_unix(name, true);
}
static bool connect_path(const char *unused) {
    (void)unused;
    return connect_unix("tools/socket", false);
}
static bool look_up_host(const char *unused) {
    struct addrinfo *found = NULL;
    (void)unused;
    return getaddrinfo("localhost", NULL, NULL, &found) == 0;
}
static bool environment(const char *unused) {
    (void)unused;
    return environ && environ[0];
}
static bool inherited_descriptor(const char *unused) {
    (void)unused;
    for (int fd = 3; fd < 256; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            return true;
        }
    }
    return false;
}
static bool host_name(const char *name) {
    struct utsname u;
    return uname(&u) == 0 && strcmp(u.nodename, name) == 0;
}
static bool many_processes_seen(const char *unused) {
    (void)unused;
    return getppid() > 1; /* inside, the parent is process 1 */
}

/* ---- the table ---- */

typedef struct attempt {
    const char *name;
    bool (*run)(const char *argument);
} attempt;

static const attempt attempts[] = {
    {"read", read_argument},
    {"create", create_argument},
    {"read_shadow", read_shadow},
    {"read_passwords", read_passwords},
    {"write_program", write_program},
    {"read_manifest", read_manifest},
    {"write_tool", write_tool},
    {"make_in_agent", make_in_agent},
    {"remove_tool", remove_tool},
    {"replace_tool", replace_tool},
    {"climb", climb},
    {"follow_symlink", follow_symlink},
    {"hard_link", hard_link},
    {"talk_to_fifo", talk_to_fifo},
    {"run_written", run_written},
    {"say", say},
    {"set_user_id", set_user_id},
    {"make_set_user_id", make_set_user_id},
    {"device_node", device_node},
    {"open_terminal", open_terminal},
    {"kernel_log", kernel_log},
    {"shared_memory_folder", shared_memory_folder},
    {"list_sys", list_sys},
    {"list_cgroups", list_cgroups},
    {"write_sys", write_sys},
    {"list_processes", list_processes},
    {"own_program_by_proc", own_program_by_proc},
    {"write_sysctl", write_sysctl},
    {"environment_of_parent", environment_of_parent},
    {"root_by_proc", root_by_proc},
    {"list_homes", list_homes},
    {"list_run", list_run},
    {"signal_outside", signal_outside},
    {"new_user_namespace", new_user_namespace},
    {"clone_user_namespace", clone_user_namespace},
    {"fork_bomb", fork_bomb},
    {"fork_chain", fork_chain},
    {"thread_bomb", thread_bomb},
    {"memory_bomb", memory_bomb},
    {"heap_bomb", heap_bomb},
    {"disk_bomb", disk_bomb},
    {"large_file", large_file},
    {"many_files_open", many_files_open},
    {"compute", compute},
    {"core_dump", core_dump},
    {"more_memory", more_memory},
    {"more_time", more_time},
    {"new_privileges", new_privileges},
    {"capabilities", capabilities},
    {"bounding_set", bounding_set},
    {"change_personality", change_personality},
    {"trap_prctl", trap_prctl},
    {"other_entry", other_entry},
    {"outlive", outlive},
    {"hang", hang},
    {"flood", flood},
    {"connect_tcp", connect_tcp},
    {"send_udp", send_udp},
    {"connect_abstract", connect_abstract},
    {"connect_path", connect_path},
    {"look_up_host", look_up_host},
    {"environment", environment},
    {"inherited_descriptor", inherited_descriptor},
    {"host_name", host_name},
    {"many_processes_seen", many_processes_seen},
};

static int report(bool escaped) {
    int number = errno;
    printf(escaped ? "escaped\n" : "blocked: %s\n", strerror(number));
    return 0;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : "";
    if (strcmp(name, "--list-calls") == 0) {
        for (size_t i = 0; i < sizeof reaches / sizeof *reaches; i++) {
            puts(reaches[i].name);
        }
        return 0;
    }
    for (size_t i = 0; i < sizeof reaches / sizeof *reaches; i++) {
        if (strcmp(name, reaches[i].name) == 0) {
            return report(reach_kernel(&reaches[i]));
        }
    }
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        if (strcmp(name, attempts[i].name) == 0) {
            errno = 0;
            return report(attempts[i].run(argument));
        }
    }
    fprintf(stderr, "escape: no attempt '%s'\n", name);
    return 2;
}
