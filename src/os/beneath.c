/* Files beneath a folder, by names that someone else chose. Owns: the walk from the folder to the file, one component
 * at a time, each opened from the one before and none through a link. Refuses: a name that leads out ("..", an absolute
 * one, a link anywhere in it), and to read or replace what is no regular file.
 *
 * The walk holds descriptors, not paths, so that nobody can swap a folder for a link between the look and the use.
 * The folder itself is the caller's: links in its own path are followed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_PATH, renameat2 */
#endif
#include "base/mem.h"
#include "os/os_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 1024 /* of a whole name */
#define COMPONENT_MAX_BYTES 255

/* Where a name leads: the folder that holds it, open, and its last component. */
typedef struct place {
    int folder;
    const char *last; /* in text; "." for the folder itself */
    char text[NAME_MAX_BYTES + 1];
    str shown; /* the whole path, for messages */
} place;

static int open_at(int folder, const char *name, int flags) {
    int fd;
    do {
        fd = openat(folder, name, flags | O_CLOEXEC | O_NOFOLLOW, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* A link shows as ELOOP, or as ENOTDIR where a folder was asked for. */
static muga_status refuse_link(int folder, const char *name, const place *p, const char *verb, int number,
                               muga_error *err) {
    struct stat info;
    if ((number == ELOOP || number == ENOTDIR) && fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(info.st_mode)) {
        return error_set(err, MUGA_E_POLICY, "%s '%s': '%.80s' is a link, and links are not followed; give its target",
                         verb, str_get(&p->shown), name);
    }
    return os_error(err, number, verb, str_get(&p->shown));
}

static bool is_plain(const char *part) {
    size_t n = strlen(part);
    return n > 0 && n <= COMPONENT_MAX_BYTES && strcmp(part, ".") != 0 && strcmp(part, "..") != 0;
}

static void place_close(place *p) {
    if (p->folder >= 0) {
        close(p->folder);
    }
    p->folder = -1;
    str_release(&p->shown);
}

static muga_status step_into(place *p, const char *part, const char *verb, muga_error *err) {
    int next = open_at(p->folder, part, O_PATH | O_DIRECTORY);
    if (next < 0) {
        return refuse_link(p->folder, part, p, verb, errno, err);
    }
    close(p->folder);
    p->folder = next;
    return MUGA_OK;
}

static muga_status walk(place *p, const char *name, const char *verb, muga_error *err) {
    if (strlen(name) >= sizeof p->text) {
        return error_set(err, MUGA_E_INPUT, "%s: the name is longer than %d bytes; shorten it", verb, NAME_MAX_BYTES);
    }
    memcpy(p->text, name, strlen(name) + 1);
    p->last = ".";
    if (!*name) {
        return MUGA_OK;
    }
    char *rest = p->text;
    for (char *part; (part = strsep(&rest, "/"));) {
        if (!is_plain(part)) {
            return error_set(err, MUGA_E_POLICY,
                             "%s '%.200s': the name leads out of the folder or is none; give one below it, without "
                             "'..'",
                             verb, str_get(&p->shown));
        }
        p->last = part;
        muga_status st = rest ? step_into(p, part, verb, err) : MUGA_OK;
        if (st != MUGA_OK) {
            return st;
        }
    }
    return MUGA_OK;
}

static muga_status place_open(const char *root, const char *name, const char *verb, place *p, muga_error *err) {
    *p = (place){.folder = -1};
    str_printf(&p->shown, "%s%s%s", root, *name ? "/" : "", name);
    muga_status st = str_status(&p->shown, err, root);
    if (st == MUGA_OK) {
        p->folder = os_open(root, O_PATH | O_DIRECTORY);
        st = p->folder < 0 ? os_error(err, errno, verb, root) : walk(p, name, verb, err);
    }
    if (st != MUGA_OK) {
        place_close(p);
    }
    return st;
}

/* ---- reading ---- */

static muga_status refuse_special(const place *p, const char *verb, muga_error *err) {
    return error_set(err, MUGA_E_INPUT, "%s '%s': not a regular file; give the name of a file", verb,
                     str_get(&p->shown));
}

static muga_status open_regular(const place *p, int *out, muga_error *err) {
    struct stat info;
    *out = -1;
    /* Looked at before it is opened: to open a device can be an act. */
    if (fstatat(p->folder, p->last, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return os_error(err, errno, "read", str_get(&p->shown));
    }
    if (S_ISLNK(info.st_mode)) {
        return refuse_link(p->folder, p->last, p, "read", ELOOP, err);
    }
    if (!S_ISREG(info.st_mode)) {
        return refuse_special(p, "read", err);
    }
    *out = open_at(p->folder, p->last, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (*out < 0) {
        return refuse_link(p->folder, p->last, p, "read", errno, err);
    }
    if (fstat(*out, &info) != 0) {
        return os_error(err, errno, "look at", str_get(&p->shown));
    }
    return S_ISREG(info.st_mode) ? MUGA_OK : refuse_special(p, "read", err);
}

static muga_status read_all(int fd, const place *p, size_t max, str *out, muga_error *err) {
    char chunk[16384];
    for (size_t total = 0;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? os_error(err, errno, "read", str_get(&p->shown)) : MUGA_OK;
        }
        if ((size_t)n > max - total) {
            return error_set(err, MUGA_E_LIMIT, "read '%s': longer than %zu bytes, the most that is taken",
                             str_get(&p->shown), max);
        }
        total += (size_t)n;
        str_append(out, chunk, (size_t)n);
    }
}

muga_status os_files_read_beneath(void *self, const char *root, const char *name, size_t max, str *out,
                                  muga_error *err) {
    (void)self;
    place p;
    int fd = -1;
    size_t len = out->len;
    muga_status st = place_open(root, name, "read", &p, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = open_regular(&p, &fd, err);
    if (st == MUGA_OK) {
        st = read_all(fd, &p, max, out, err);
    }
    if (st == MUGA_OK) {
        st = str_status(out, err, str_get(&p.shown));
    }
    if (fd >= 0) {
        close(fd);
    }
    place_close(&p);
    if (st != MUGA_OK && !out->failed) {
        str_truncate(out, len);
    }
    return st;
}

/* ---- listing ---- */

typedef struct entries {
    os_entry *list;
    size_t n, cap;
} entries;

static bool add_entry(entries *e, const char *name, const struct stat *info) {
    if (e->n == e->cap) {
        size_t cap = e->cap ? 2 * e->cap : 32;
        os_entry *list = mem_resize_array(e->list, cap, sizeof *list);
        if (!list) {
            return false;
        }
        e->list = list;
        e->cap = cap;
    }
    char *copy = mem_copy_string(name);
    if (copy) {
        e->list[e->n++] = (os_entry){copy, os_stat_of(info)};
    }
    return copy != NULL;
}

static muga_status read_entries(DIR *d, const place *p, size_t max, entries *e, muga_error *err) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry) {
            return errno ? os_error(err, errno, "list", str_get(&p->shown)) : MUGA_OK;
        }
        const char *name = entry->d_name;
        struct stat info;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            fstatat(dirfd(d), name, &info, AT_SYMLINK_NOFOLLOW) != 0) { /* gone meanwhile */
            continue;
        }
        if (e->n == max) {
            return error_set(err, MUGA_E_LIMIT, "list '%s': more than %zu entries, the most that is taken",
                             str_get(&p->shown), max);
        }
        if (!add_entry(e, name, &info)) {
            return error_nomem(err, str_get(&p->shown));
        }
    }
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const os_entry *)a)->name, ((const os_entry *)b)->name);
}

void os_entries_free(os_entry *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free(list[i].name);
    }
    free(list);
}

muga_status os_files_list_beneath(void *self, const char *root, const char *name, size_t max, os_entry **out,
                                  size_t *n_out, muga_error *err) {
    (void)self;
    place p;
    entries e = {0};
    *out = NULL;
    *n_out = 0;
    muga_status st = place_open(root, name, "list", &p, err);
    if (st != MUGA_OK) {
        return st;
    }
    int fd = open_at(p.folder, p.last, O_RDONLY | O_DIRECTORY);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        st = refuse_link(p.folder, p.last, &p, "list", errno, err);
        if (fd >= 0) {
            close(fd);
        }
    } else {
        st = read_entries(d, &p, max, &e, err);
        closedir(d);
    }
    place_close(&p);
    if (st != MUGA_OK) {
        os_entries_free(e.list, e.n);
        return st;
    }
    if (e.n > 0) {
        qsort(e.list, e.n, sizeof *e.list, compare_entries);
    }
    *out = e.list;
    *n_out = e.n;
    return MUGA_OK;
}

/* ---- looking ---- */

muga_status os_files_look_beneath(void *self, const char *root, const char *name, os_stat *out, muga_error *err) {
    (void)self;
    place p;
    struct stat info;
    *out = (os_stat){.type = OS_TYPE_NONE};
    muga_status st = place_open(root, name, "look at", &p, err);
    if (st != MUGA_OK) {
        return st;
    }
    if (fstatat(p.folder, p.last, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        *out = os_stat_of(&info);
    } else if (errno != ENOENT) {
        st = os_error(err, errno, "look at", str_get(&p.shown));
    }
    place_close(&p);
    return st;
}

/* ---- writing ----
 *
 *   draft, empty -> whole, durable -> note(true) -> in its place        -> folder synced
 *                                                -> note(false) -> gone    it could not
 *
 * A crash before the last step of the first line leaves a draft; nothing else removes one. */

static bool sync_descriptor(int fd) {
    int failed;
    do {
        failed = fsync(fd);
    } while (failed && errno == EINTR);
    return !failed || errno == EINVAL; /* EINVAL: a file system without the notion */
}

/* A name lasts only when its folder is synced. The walk's descriptor can't be (O_PATH). */
static muga_status sync_folder(const place *p, muga_error *err) {
    int fd = open_at(p->folder, ".", O_RDONLY | O_DIRECTORY);
    muga_status st = fd >= 0 && sync_descriptor(fd) ? MUGA_OK : os_error(err, errno, "sync", str_get(&p->shown));
    if (fd >= 0) {
        close(fd);
    }
    return st;
}

static muga_status fill(const place *p, int fd, const os_beneath_write *w, muga_error *err) {
    for (size_t at = 0; at < w->n;) {
        ssize_t put = write(fd, (const char *)w->bytes + at, w->n - at);
        if (put == 0 || (put < 0 && errno != EINTR)) {
            return os_error(err, put == 0 ? EIO : errno, "write", str_get(&p->shown));
        }
        at += put > 0 ? (size_t)put : 0;
    }
    return sync_descriptor(fd) ? MUGA_OK : os_error(err, errno, "sync", str_get(&p->shown));
}

static void remove_draft(const place *p, const os_beneath_write *w) {
    int number = errno;
    unlinkat(p->folder, w->draft, 0);
    errno = number;
}

static muga_status make_draft(const place *p, const os_beneath_write *w, muga_error *err) {
    remove_draft(p, w);
    int fd = open_at(p->folder, w->draft, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0) {
        return os_error(err, errno, "create", str_get(&p->shown));
    }
    muga_status st = fill(p, fd, w, err);
    close(fd);
    st = st == MUGA_OK ? sync_folder(p, err) : st;
    if (st != MUGA_OK) {
        remove_draft(p, w);
    }
    return st;
}

static muga_status refuse_taken(const place *p, muga_error *err) {
    return error_set(err, MUGA_E_POLICY, "write '%s': something of this name is there; take another name",
                     str_get(&p->shown));
}

/* What can be told before anything is made. */
static muga_status check_target(const place *p, bool replace, muga_error *err) {
    struct stat info;
    if (fstatat(p->folder, p->last, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return MUGA_OK; /* not there; or it shows soon enough */
    }
    return !replace                ? refuse_taken(p, err)
           : S_ISREG(info.st_mode) ? MUGA_OK
           : S_ISLNK(info.st_mode) ? refuse_link(p->folder, p->last, p, "write", ELOOP, err)
                                   : refuse_special(p, "write", err);
}

/* The old file, whole, until the moment it is the new one, whole; or nothing until then, and never what came between.
 * A file system that can't do the latter in one step is refused: after a crash nobody could tell. */
static muga_status put_in_place(const place *p, const os_beneath_write *w, muga_error *err) {
    if (renameat2(p->folder, w->draft, p->folder, p->last, w->replace ? 0 : RENAME_NOREPLACE) == 0) {
        return MUGA_OK;
    }
    return errno == EEXIST   ? refuse_taken(p, err)
           : errno != EINVAL ? os_error(err, errno, "rename to", str_get(&p->shown))
                             : error_set(err, MUGA_E_ENV,
                                         "write '%s': this file system can't name a file without replacing one; say "
                                         "replace: true, or take a folder on another",
                                         str_get(&p->shown));
}

static muga_status write_noted(const place *p, const os_beneath_write *w, bool *placed, muga_error *err) {
    muga_error why;
    muga_status st = check_target(p, w->replace, err);
    st = st == MUGA_OK ? make_draft(p, w, err) : st;
    if (st != MUGA_OK) {
        return st;
    }
    st = w->note(w->ctx, true, err);
    if (st != MUGA_OK) {
        remove_draft(p, w);
        return st;
    }
    st = put_in_place(p, w, err);
    *placed = st == MUGA_OK;
    if (st != MUGA_OK && w->note(w->ctx, false, &why) == MUGA_OK) {
        remove_draft(p, w);
    }
    return st == MUGA_OK ? sync_folder(p, err) : st;
}

muga_status os_files_write_beneath(void *self, const os_beneath_write *w, bool *placed, muga_error *err) {
    (void)self;
    place p;
    *placed = false;
    muga_status st = place_open(w->root, w->name, "write", &p, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = *w->name ? write_noted(&p, w, placed, err) : refuse_special(&p, "write", err);
    place_close(&p);
    return st;
}
