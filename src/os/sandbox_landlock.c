/* Landlock: which files a process, and all it starts, may touch; the kernel's second opinion on the mounts. Owns: the
 * system calls (C libraries have none), and what each version of the interface knows. Refuses: nothing by itself; a
 * kernel without Landlock is version 0, and who asked for it must refuse.
 *
 * Source: the kernel's documentation, userspace-api/landlock; the constants are its interface. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_PATH, syscall */
#endif
#include "base/mem.h"
#include "os/sandbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset /* the same number on every processor */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_MAKE_SOCK = 1 << 9,
    FS_MAKE_FIFO = 1 << 10,
    FS_MAKE_SYM = 1 << 12,
    FS_ALL_1 = (1 << 13) - 1, /* the first version; with it links and renames across folders are always refused */
    FS_REFER = 1 << 13,       /* version 2 */
    FS_TRUNCATE = 1 << 14,    /* 3 */
    FS_IOCTL_DEV = 1 << 15,   /* 5 */
    FS_OF_A_FILE = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
    NET_BIND_CONNECT_TCP = 3, /* 4 */
    SCOPE_SOCKET_SIGNAL = 3   /* 6: abstract sockets and signals of others */
};

/* Devices and programs can't be made where one may write: what was written is not run. */
enum {
    READ_RIGHTS = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
    WRITE_RIGHTS = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR |
                   FS_MAKE_REG | FS_MAKE_SOCK | FS_MAKE_FIFO | FS_MAKE_SYM | FS_REFER | FS_TRUNCATE
};

typedef struct ruleset_attr {
    uint64_t handled_fs, handled_net, scoped;
} ruleset_attr;

typedef struct __attribute__((packed)) path_rule {
    uint64_t allowed;
    int32_t fd;
} path_rule;

int os_landlock_abi(void) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, 1u /* ask for the version */);
    return abi > 0 ? (int)abi : 0;
}

static ruleset_attr attr_of(int abi) {
    ruleset_attr a = {.handled_fs = FS_ALL_1};
    a.handled_fs |= abi >= 2 ? FS_REFER : 0;
    a.handled_fs |= abi >= 3 ? FS_TRUNCATE : 0;
    a.handled_fs |= abi >= 5 ? FS_IOCTL_DEV : 0;
    a.handled_net = abi >= 4 ? NET_BIND_CONNECT_TCP : 0;
    a.scoped = abi >= 6 ? SCOPE_SOCKET_SIGNAL : 0;
    return a;
}

static bool add_path(int ruleset, uint64_t handled, const char *path, uint64_t rights) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT;
    }
    struct stat info;
    bool ok = fstat(fd, &info) == 0;
    path_rule rule = {rights & handled, fd};
    if (ok && !S_ISDIR(info.st_mode)) {
        rule.allowed &= FS_OF_A_FILE;
    }
    ok = ok && syscall(SYS_landlock_add_rule, ruleset, 1 /* a path */, &rule, 0u) == 0;
    int number = errno;
    close(fd);
    errno = number;
    return ok;
}

static bool add_paths(int ruleset, uint64_t handled, const os_path_list *list, uint64_t rights) {
    bool ok = true;
    for (size_t i = 0; i < list->n && ok; i++) {
        ok = add_path(ruleset, handled, list->path[i], rights);
    }
    return ok;
}

int os_landlock_restrict(const os_path_list *list, const os_path_list *read, const os_path_list *write) {
    int abi = os_landlock_abi();
    ruleset_attr attr = attr_of(abi);
    size_t size = abi >= 6 ? sizeof attr : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0u);
    if (ruleset < 0) {
        return -1;
    }
    bool ok = add_paths(ruleset, attr.handled_fs, list, FS_READ_DIR) &&
              add_paths(ruleset, attr.handled_fs, read, READ_RIGHTS) &&
              add_paths(ruleset, attr.handled_fs, write, WRITE_RIGHTS);
    ok = ok && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0u) == 0;
    int number = errno;
    close(ruleset);
    errno = number;
    return ok ? 0 : -1;
}
