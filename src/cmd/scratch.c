/* Folders for a while (cmd.h). Owns: making, removing, and the removal of those that killed processes left.
 *
 * A folder in use holds a file `lock` under flock(2), which ends with its process however that dies. So whoever gets
 * the lock of a folder knows that nobody uses it. Between making a folder and locking it another process may get there
 * first; the maker sees that by its lock, and makes another. */
#define _GNU_SOURCE /* nftw */
#include "cmd/cmd.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRIES 8
#define UNLOCKED_SECONDS 86400 /* a folder without a lock that is older is nobody's */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void cmd_remove_all(const char *path) {
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* The lock of the folder at `path`, or -1: it is another's, or has none. */
static int take_lock(const char *path, int flags) {
    char name[280];
    struct stat st;
    snprintf(name, sizeof name, "%s/lock", path);
    int fd = open(name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &st) || st.st_nlink == 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

typedef struct sweep {
    const char *base, *prefix;
} sweep;

static muga_status sweep_one(void *ctx, const char *name) {
    const sweep *s = ctx;
    struct stat st;
    char path[256], lock[280];
    size_t n = strlen(s->prefix);
    if (strncmp(name, s->prefix, n) != 0 || strlen(name) != n + 6)
        return MUGA_OK;
    int len = snprintf(path, sizeof path, "%s/%s", s->base, name);
    if (len < 0 || (size_t)len >= sizeof path || lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return MUGA_OK;
    snprintf(lock, sizeof lock, "%s/lock", path);
    if (access(lock, F_OK)) {
        if (st.st_mtime + UNLOCKED_SECONDS < time(NULL))
            cmd_remove_all(path);
        return MUGA_OK;
    }
    int fd = take_lock(path, 0);
    if (fd >= 0) {
        cmd_remove_all(path);
        close(fd);
    }
    return MUGA_OK;
}

muga_status cmd_scratch_open(cmd_scratch *out, const char *what, muga_error *err) {
    const char *tmp = getenv("TMPDIR"), *base = tmp && *tmp ? tmp : "/tmp";
    char prefix[32];
    const os_files *files = &os_system()->files;
    snprintf(prefix, sizeof prefix, "muga-%.20s-", what);
    sweep s = {base, prefix};
    muga_status swept = files->list(files->self, base, sweep_one, &s, NULL);
    (void)swept; /* what can't be listed may still be written to */
    for (int i = 0; i < TRIES; i++) {
        int len = snprintf(out->path, sizeof out->path, "%s/%sXXXXXX", base, prefix);
        if (len < 0 || (size_t)len >= sizeof out->path || !mkdtemp(out->path))
            break;
        out->lock = take_lock(out->path, O_CREAT | O_EXCL);
        if (out->lock >= 0)
            return MUGA_OK;
        cmd_remove_all(out->path);
    }
    return error_set(err, MUGA_E_ENV, "no folder for temporary files can be made in %.160s; set TMPDIR", base);
}

void cmd_scratch_close(cmd_scratch *s) {
    cmd_remove_all(s->path);
    close(s->lock);
}
