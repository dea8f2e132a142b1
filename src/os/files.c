/* The real files, and reading a whole one over any table (output.c writes them whole). Refuses: reading devices, FIFOs
 * and sockets (they may block or never end); writing through them is allowed, for output to a terminal or a pipe. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_TMPFILE */
#endif
#include "base/mem.h"
#include "os/os_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct os_file {
    int fd;
    char path[]; /* for messages */
};

static os_file_type type_of(mode_t mode) {
    return S_ISREG(mode) ? OS_TYPE_FILE : S_ISDIR(mode) ? OS_TYPE_DIR : OS_TYPE_OTHER;
}

static int64_t ns_of(struct timespec t) {
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

os_stat os_stat_of(const struct stat *info) {
    return (os_stat){.type = type_of(info->st_mode),
                     .size = (uint64_t)info->st_size,
                     .mtime_ns = ns_of(info->st_mtim),
                     .ctime_ns = ns_of(info->st_ctim),
                     .device = info->st_dev,
                     .inode = info->st_ino};
}

/* The path under which an open file can be linked to a name. */
static void path_of_descriptor(int fd, char out[32]) {
    snprintf(out, 32, "/proc/self/fd/%d", fd);
}

static bool can_be_named(int fd) {
    char path[32];
    path_of_descriptor(fd, path);
    return access(path, F_OK) == 0;
}

static int flags_of(os_mode mode) {
    switch (mode) {
    case OS_READ: break;
    case OS_WRITE_NEW: return O_WRONLY | O_CREAT | O_TRUNC;
    case OS_WRITE_UNNAMED: return O_WRONLY | O_TMPFILE;
    }
    /* O_NONBLOCK: opening a FIFO to read must not wait for a writer; for files and folders it means nothing. */
    return O_RDONLY | O_NONBLOCK;
}

int os_open(const char *path, int flags) {
    int fd;
    do { /* slow file systems (network, user space) can be interrupted */
        fd = open(path, flags | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

muga_status os_files_open(void *self, const char *path, os_mode mode, os_file **out, muga_error *err) {
    (void)self;
    *out = NULL;
    size_t n_path = strlen(path);
    os_file *f = calloc(1, sizeof *f + n_path + 1);
    if (!f) {
        return error_nomem(err, path);
    }
    memcpy(f->path, path, n_path);
    bool reading = mode == OS_READ;
    f->fd = os_open(path, flags_of(mode));
    muga_status st = MUGA_OK;
    struct stat info;
    if (f->fd < 0) {
        st = os_error(err, errno, reading ? "open" : "create", path);
    } else if (mode == OS_WRITE_UNNAMED && !can_be_named(f->fd)) {
        st = error_set(err, MUGA_E_ENV, "create '%s': /proc is not there to name it by; mount it", path);
    } else if (reading && fstat(f->fd, &info) != 0) {
        st = os_error(err, errno, "look at", path);
    } else if (reading && type_of(info.st_mode) == OS_TYPE_OTHER) {
        st = error_set(err, MUGA_E_INPUT, "open '%s': not a regular file; give the path of a file", path);
    }
    if (st == MUGA_OK) {
        *out = f;
    } else {
        os_files_close(NULL, f);
    }
    return st;
}

muga_status os_files_read(void *self, os_file *f, void *p, size_t n, size_t *n_read, muga_error *err) {
    (void)self;
    ssize_t got;
    do {
        got = read(f->fd, p, n);
    } while (got < 0 && errno == EINTR);
    *n_read = got > 0 ? (size_t)got : 0;
    return got < 0 ? os_error(err, errno, "read", f->path) : MUGA_OK;
}

muga_status os_files_write(void *self, os_file *f, const void *p, size_t n, muga_error *err) {
    (void)self;
    for (size_t at = 0; at < n;) {
        ssize_t put = write(f->fd, (const char *)p + at, n - at);
        if (put == 0 || (put < 0 && errno != EINTR)) {
            return os_error(err, put == 0 ? EIO : errno, "write", f->path);
        }
        at += put > 0 ? (size_t)put : 0;
    }
    return MUGA_OK;
}

muga_status os_files_sync(void *self, os_file *f, muga_error *err) {
    (void)self;
    int failed;
    do {
        failed = fsync(f->fd);
    } while (failed && errno == EINTR);
    /* EINVAL: a terminal, a pipe, or a file system without the notion; there is nothing to make durable */
    if (failed && errno != EINVAL) {
        return os_error(err, errno, "sync", f->path);
    }
    return MUGA_OK;
}

void os_files_close(void *self, os_file *f) {
    (void)self;
    if (f) {
        if (f->fd >= 0) {
            close(f->fd);
        }
        free(f);
    }
}

muga_status os_files_stat(void *self, const char *path, os_stat *out, muga_error *err) {
    (void)self;
    struct stat info;
    *out = (os_stat){.type = OS_TYPE_NONE};
    if (stat(path, &info) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? MUGA_OK : os_error(err, errno, "look at", path);
    }
    *out = os_stat_of(&info);
    return MUGA_OK;
}

muga_status os_files_link(void *self, os_file *f, const char *path, muga_error *err) {
    (void)self;
    char from[32];
    path_of_descriptor(f->fd, from);
    return linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? MUGA_OK
                                                                          : os_error(err, errno, "name", path);
}

muga_status os_files_rename(void *self, const char *from, const char *to, muga_error *err) {
    (void)self;
    return rename(from, to) == 0 ? MUGA_OK : os_error(err, errno, "rename to", to);
}

muga_status os_files_remove(void *self, const char *path, muga_error *err) {
    (void)self;
    return remove(path) == 0 ? MUGA_OK : os_error(err, errno, "remove", path);
}

static muga_status make_folder(const char *path, muga_error *err) {
    struct stat info;
    if (mkdir(path, 0700) == 0) {
        return os_sync_parent(&os_system()->files, path, err);
    }
    int number = errno;
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) {
            return MUGA_OK;
        }
        return error_set(err, MUGA_E_ENV, "create folder '%s': a file of that name is in the way; move it", path);
    }
    return os_error(err, number, "create folder", path);
}

muga_status os_files_mkdirs(void *self, const char *path, muga_error *err) {
    (void)self;
    char *prefix = mem_copy_string(path);
    if (!prefix) {
        return error_nomem(err, path);
    }
    muga_status st = MUGA_OK;
    for (char *c = prefix; *c && st == MUGA_OK; c++) {
        if (*c == '/' && c > prefix && c[-1] != '/') {
            *c = '\0';
            st = make_folder(prefix, err);
            *c = '/';
        }
    }
    if (st == MUGA_OK) {
        st = make_folder(prefix, err);
    }
    free(prefix);
    return st;
}

/* ---- listing ---- */

typedef struct name_list {
    char **names;
    size_t n, cap;
    arena text;
} name_list;

static bool name_list_add(name_list *l, const char *name) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 32;
        char **names = mem_resize_array(l->names, cap, sizeof *names);
        if (!names) {
            return false;
        }
        l->names = names;
        l->cap = cap;
    }
    l->names[l->n] = arena_copy_string(&l->text, name);
    return l->names[l->n++] != NULL;
}

static int name_compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static muga_status read_names(const char *dir, DIR *d, name_list *l, muga_error *err) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry) {
            return errno ? os_error(err, errno, "list", dir) : MUGA_OK;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && !name_list_add(l, entry->d_name)) {
            return error_nomem(err, dir);
        }
    }
}

muga_status os_files_list(void *self, const char *dir, muga_status (*visit)(void *ctx, const char *name), void *ctx,
                          muga_error *err) {
    (void)self;
    name_list l = {0};
    arena_init(&l.text, 0);
    DIR *d = opendir(dir);
    if (!d) {
        return os_error(err, errno, "list", dir);
    }
    muga_status st = read_names(dir, d, &l, err);
    closedir(d);
    if (st == MUGA_OK && l.n > 0) {
        qsort(l.names, l.n, sizeof *l.names, name_compare);
    }
    for (size_t i = 0; i < l.n && st == MUGA_OK; i++) {
        st = visit(ctx, l.names[i]);
    }
    arena_release(&l.text);
    free(l.names);
    return st;
}

/* ---- whole files, over any table ---- */

static muga_status read_rest(const os_files *t, os_file *f, const char *path, size_t max, str *out, muga_error *err) {
    char chunk[16384];
    for (size_t total = 0;;) {
        size_t n;
        muga_status st = t->read(t->self, f, chunk, sizeof chunk, &n, err);
        if (st != MUGA_OK || n == 0) {
            return st;
        }
        if (n > max - total) {
            return error_set(err, MUGA_E_LIMIT, "read '%s': longer than %zu bytes, the most that is taken", path, max);
        }
        total += n;
        str_append(out, chunk, n);
        st = str_status(out, err, path);
        if (st != MUGA_OK) {
            return st;
        }
    }
}

muga_status os_read_file(const os_files *t, const char *path, size_t max, str *out, muga_error *err) {
    size_t len = out->len;
    os_stat info;
    muga_status st = t->stat(t->self, path, &info, err);
    if (st != MUGA_OK) {
        return st;
    }
    if (info.type == OS_TYPE_NONE) {
        return os_error(err, ENOENT, "read", path);
    }
    if (info.type != OS_TYPE_FILE) {
        return error_set(err, MUGA_E_INPUT, "read '%s': not a regular file; give the path of a file", path);
    }
    if (info.size > max) {
        return error_set(err, MUGA_E_LIMIT, "read '%s': longer than %zu bytes, the most that is taken", path, max);
    }
    os_file *f;
    st = t->open(t->self, path, OS_READ, &f, err);
    if (st != MUGA_OK) {
        return st;
    }
    st = read_rest(t, f, path, max, out, err);
    t->close(t->self, f);
    if (st != MUGA_OK) {
        str_truncate(out, len);
    }
    return st;
}
