/* The table of real things, and what is too small for a file of its own: errno into words, random bytes, the closed
 * network. Owns: the remedy that goes with each errno. Refuses: every connection, by name, until there is a policy
 * for them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strerror_r that returns the text */
#endif
#include "os/os_private.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* The status and the remedy of an errno; the words for it are the C library's. */
static muga_status judge(int number, const char **remedy) {
    switch (number) {
    case ENOENT:
    case ENOTDIR: *remedy = "check the path"; return MUGA_E_NOT_FOUND;
    case ENOMEM: *remedy = "free memory"; return MUGA_E_NOMEM;
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP: *remedy = "give the path of a file"; return MUGA_E_INPUT;
    case EACCES:
    case EPERM: *remedy = "check the permissions and the user"; return MUGA_E_ENV;
    case EROFS: *remedy = "choose a folder that can be written"; return MUGA_E_ENV;
    case ENOSPC:
    case EDQUOT: *remedy = "free disk space"; return MUGA_E_ENV;
    case EFBIG: *remedy = "raise the file size limit"; return MUGA_E_ENV;
    case EMFILE:
    case ENFILE: *remedy = "close files or raise the limit (ulimit -n)"; return MUGA_E_ENV;
    case EAGAIN: *remedy = "too many processes or threads; raise the limit (ulimit -u)"; return MUGA_E_ENV;
    case EIO: *remedy = "check the disk"; return MUGA_E_ENV;
    default: *remedy = "check the system log"; return MUGA_E_ENV;
    }
}

muga_status os_error(muga_error *err, int number, const char *verb, const char *path) {
    const char *remedy;
    char text[96];
    muga_status st = judge(number, &remedy);
    return error_set(err, st, "%s '%s': %s; %s", verb, path, strerror_r(number, text, sizeof text), remedy);
}

muga_status os_random(void *p, size_t n, muga_error *err) {
    for (size_t at = 0; at < n;) {
        ssize_t got = getrandom((char *)p + at, n - at, 0);
        if (got < 0 && errno != EINTR) {
            return os_error(err, errno, "read random bytes from", "the kernel");
        }
        at += got > 0 ? (size_t)got : 0;
    }
    return MUGA_OK;
}

static muga_status network_refuse(void *self, const char *host, uint16_t port, os_file **out, muga_error *err) {
    (void)self;
    *out = NULL;
    return error_set(err, MUGA_E_POLICY, "connect to %s:%u: refused; this version opens no network connection", host,
                     (unsigned)port);
}

const os_system_table *os_system(void) {
    static const os_system_table system_table = {
        .clock = {os_clock_now_ms, os_clock_monotonic_us, os_clock_sleep_ms, NULL},
        .files = {.open = os_files_open,
                  .read = os_files_read,
                  .write = os_files_write,
                  .sync = os_files_sync,
                  .close = os_files_close,
                  .stat = os_files_stat,
                  .link = os_files_link,
                  .rename = os_files_rename,
                  .remove = os_files_remove,
                  .mkdirs = os_files_mkdirs,
                  .list = os_files_list,
                  .read_beneath = os_files_read_beneath,
                  .list_beneath = os_files_list_beneath,
                  .write_beneath = os_files_write_beneath,
                  .look_beneath = os_files_look_beneath},
        .children = {os_children_run, NULL},
        .network = {network_refuse, NULL},
    };
    return &system_table;
}
