/* Read-only mappings of regular files, and hints about memory. Owns: the mapping of a model's weights. Refuses:
 * folders, devices, FIFOs, and files too large for the address space.
 *
 * The bytes are outside input for as long as the mapping lives: whoever writes to the file changes them, and whoever
 * cuts it short turns the lost pages into SIGBUS. So readers hold their bounds against the mapping's size and not
 * against what they read before, the file's size and time of change are kept to be compared (os_map_check), and the
 * program turns the signal into a message (cmd/fault.c). Blobs of the store are never rewritten in place. */
#include "os/os_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static muga_status map_descriptor(int fd, const char *path, os_map *out, muga_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return os_error(err, errno, "look at", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return error_set(err, MUGA_E_INPUT, "open '%s': not a regular file; give the path of a file", path);
    }
    out->info = os_stat_of(&info);
    if (info.st_size == 0) {
        return MUGA_OK;
    }
    if ((uint64_t)info.st_size > SIZE_MAX / 2) {
        return error_set(err, MUGA_E_INPUT, "open '%s': too large for this machine's address space", path);
    }
    void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        return os_error(err, errno, "map", path);
    }
    out->data = p;
    out->size = (uint64_t)info.st_size;
    return MUGA_OK;
}

muga_status os_map_open(const char *path, os_map *out, muga_error *err) {
    *out = (os_map){.fd = -1};
    int fd = os_open(path, O_RDONLY | O_NONBLOCK); /* a FIFO must not block before it is refused */
    if (fd < 0) {
        return os_error(err, errno, "open", path);
    }
    muga_status st = map_descriptor(fd, path, out, err);
    if (st) {
        close(fd);
        return st;
    }
    out->fd = fd;
    return MUGA_OK;
}

muga_status os_map_check(const os_map *m, const char *path, muga_error *err) {
    struct stat info;
    if (fstat(m->fd, &info) != 0) {
        return os_error(err, errno, "look at", path);
    }
    if ((uint64_t)info.st_size != m->size || os_stat_of(&info).mtime_ns != m->info.mtime_ns) {
        return error_set(err, MUGA_E_ENV,
                         "'%s' was written to while it was in use; start again, and put a new file in its place by "
                         "renaming",
                         path);
    }
    return MUGA_OK;
}

/* munmap and madvise want void *, though they don't write. */
static void *address_of(const uint8_t *p) {
    return (void *)(uintptr_t)p;
}

void os_map_close(os_map *m) {
    if (m->data) {
        munmap(address_of(m->data), (size_t)m->size);
    }
    if (m->fd >= 0) {
        close(m->fd);
    }
    *m = (os_map){.fd = -1};
}

void os_map_will_need(const os_map *m) {
    if (m->data) {
        madvise(address_of(m->data), (size_t)m->size, MADV_HUGEPAGE);
        madvise(address_of(m->data), (size_t)m->size, MADV_WILLNEED);
    }
}

void os_map_forget(const os_map *m, uint64_t from, uint64_t n) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!m->data || from >= m->size || n == 0) {
        return;
    }
    uint64_t end = n > m->size - from ? m->size : from + n;
    uint64_t first = (from + page - 1) / page * page; /* whole pages only: a neighbour may still be read */
    uint64_t last = end == m->size ? end : end / page * page;
    if (first < last) {
        madvise(address_of(m->data + first), (size_t)(last - first), MADV_DONTNEED);
    }
}

void os_memory_prefer_huge(void *p, size_t n) {
#ifdef MADV_HUGEPAGE
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)p + page - 1) / page * page;
    uintptr_t last = ((uintptr_t)p + n) / page * page;
    if (first < last)
        madvise((void *)first, last - first, MADV_HUGEPAGE);
#else
    (void)p;
    (void)n;
#endif
}

void os_memory_forget(void *p, size_t n) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)p + page - 1) / page * page;
    uintptr_t last = ((uintptr_t)p + n) / page * page;
    if (first < last)
        madvise((void *)first, last - first, MADV_DONTNEED);
}
