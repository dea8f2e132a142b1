/* File operations in front of the C library's own. Idea: count, fail when told, else make the system call. */
#include "support/faultfiles.h"
#include "support/faultmalloc.h"
#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t n_asked, fail_at;
static int number;
static bool keep_failing, hit, dribble;
static const char *which = "";

static void arm(size_t n, int error, bool keep) {
    n_asked = 0;
    fail_at = n;
    number = error;
    keep_failing = keep;
    hit = false;
    which = "";
}

void faultfiles_fail_at(size_t n, int error) {
    arm(n, error, false);
}

void faultfiles_dribble(bool on) {
    dribble = on;
}

void faultfiles_disarm(void) {
    fail_at = 0;
}

bool faultfiles_hit(void) {
    return hit;
}

const char *faultfiles_which(void) {
    return which;
}

static bool must_fail(const char *name) {
    n_asked++;
    if (fail_at == 0 || n_asked < fail_at || (n_asked > fail_at && !keep_failing))
        return false;
    if (!hit)
        which = name;
    hit = true;
    errno = number;
    return true;
}

/* The libraries must find these, also in a program built with hidden symbols. */
#pragma GCC visibility push(default)

int openat(int folder, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
    va_end(args);
    return must_fail("openat") ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return must_fail("renameat2") ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
    va_end(args);
    return must_fail("open") ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t read(int fd, void *p, size_t n) {
    return must_fail("read") ? -1 : syscall(SYS_read, fd, p, dribble && n > 1 ? 1 : n);
}

ssize_t write(int fd, const void *p, size_t n) {
    if (fd <= STDERR_FILENO)
        return syscall(SYS_write, fd, p, n);
    return must_fail("write") ? -1 : syscall(SYS_write, fd, p, dribble && n > 1 ? 1 : n);
}

int fsync(int fd) {
    return must_fail("fsync") ? -1 : (int)syscall(SYS_fsync, fd);
}

int fstat(int fd, struct stat *out) {
    return must_fail("fstat") ? -1 : fstatat(fd, "", out, AT_EMPTY_PATH);
}

int stat(const char *path, struct stat *out) {
    return must_fail("stat") ? -1 : fstatat(AT_FDCWD, path, out, 0);
}

int access(const char *path, int mode) {
    return must_fail("access") ? -1 : faccessat(AT_FDCWD, path, mode, 0);
}

int rename(const char *from, const char *to) {
    return must_fail("rename") ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    return must_fail("linkat") ? -1 : (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    return must_fail("mkdir") ? -1 : mkdirat(AT_FDCWD, path, mode);
}

void *mmap(void *at, size_t n, int rights, int flags, int fd, off_t from) {
    if (fd >= 0 && must_fail("mmap"))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, n, rights, flags, fd, from);
}

#pragma GCC visibility pop

/* ---- a run with one failure ---- */

void faultfiles_begin(faultfiles_trial *t, size_t n, int error, bool for_good) {
    t->n_open = count_entries("/proc/self/fd");
    t->live = fault_live();
    snprintf(t->what, sizeof t->what, "operation %zu, %s%s", n, strerror(error), for_good ? " for good" : "");
    arm(n, error, for_good);
}

void faultfiles_end(faultfiles_trial *t) {
    size_t len = strlen(t->what);
    t->reached = hit;
    snprintf(t->what + len, sizeof t->what - len, " (%s)", which);
    faultfiles_disarm();
}

void faultfiles_check(const faultfiles_trial *t) {
    if (fault_live() != t->live)
        fail_msg("%s: %ld blocks leaked", t->what, fault_live() - t->live);
    if (count_entries("/proc/self/fd") != t->n_open)
        fail_msg("%s: a file stayed open", t->what);
}
