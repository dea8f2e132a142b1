/* The operating system, behind tables. Ranks above call clock, files and children only through these seams, so that
 * tests can simulate time, a full disk, a dying child, or no network. Threads and mappings are direct.
 *
 * A `const os_*` table is borrowed and must outlive its users; os_system() returns the real ones. */
#ifndef MUGA_OS_H
#define MUGA_OS_H

#include "base/str.h"

/* ---- clock (seam) ---- */
typedef struct os_clock {
    int64_t (*now_ms)(void *self); /* wall clock, ms since 1970-01-01T00:00:00Z */
    uint64_t (*monotonic_us)(void *self);
    void (*sleep_ms)(void *self, int64_t ms);
    void *self;
} os_clock;

/* ---- files (seam) ---- */
typedef struct os_file os_file; /* opaque to users: owned by the table that opened it */
typedef enum {
    OS_READ,
    OS_WRITE_NEW,    /* create or truncate */
    OS_WRITE_UNNAMED /* a file without a name in the folder `path`; gone when closed, unless `link` gave it one */
} os_mode;
typedef enum { OS_TYPE_NONE, OS_TYPE_FILE, OS_TYPE_DIR, OS_TYPE_OTHER } os_file_type;
typedef struct os_stat {
    os_file_type type;
    uint64_t size;
    int64_t mtime_ns, ctime_ns; /* ctime: the last change of content or name, which nobody can set back */
    uint64_t device, inode;
} os_stat;
typedef struct os_entry { /* of a folder */
    char *name;
    os_stat info; /* of the entry itself: a link is OS_TYPE_OTHER */
} os_entry;
/* A file to write beneath a folder. Its content is whole and durable under the name `draft` in the file's own folder,
 * then `note` is told, then the draft takes the file's place in one step: so who knows that `note` was told can tell
 * after a crash whether that step was taken, since the draft is there before it and gone after it. */
typedef struct os_beneath_write {
    const char *root, *name;
    const void *bytes;
    size_t n;
    bool replace;
    const char *draft; /* one component that nobody else writes; what is left under it of a broken write is removed */
    /* true: the draft is about to take its place; not OK: it doesn't. false: it could not, and is about to be removed;
     * not OK: it stays. */
    muga_status (*note)(void *ctx, bool ready, muga_error *err);
    void *ctx;
} os_beneath_write;

typedef struct os_files {
    muga_status (*open)(void *self, const char *path, os_mode mode, os_file **out, muga_error *err);
    muga_status (*read)(void *self, os_file *f, void *p, size_t n, size_t *n_read, muga_error *err); /* 0 read = end */
    muga_status (*write)(void *self, os_file *f, const void *p, size_t n, muga_error *err);          /* all or error */
    muga_status (*sync)(void *self, os_file *f, muga_error *err);
    void (*close)(void *self, os_file *f);
    muga_status (*stat)(void *self, const char *path, os_stat *out, muga_error *err); /* absent: OK, OS_TYPE_NONE */
    /* Name a file of OS_WRITE_UNNAMED; nothing of that name may exist. NULL: this table has no unnamed files. */
    muga_status (*link)(void *self, os_file *f, const char *path, muga_error *err);
    muga_status (*rename)(void *self, const char *from, const char *to, muga_error *err);
    muga_status (*remove)(void *self, const char *path, muga_error *err);
    muga_status (*mkdirs)(void *self, const char *path, muga_error *err); /* like mkdir -p, mode 0700; durable */
    /* Calls visit(name) for each entry but "." and "..", sorted by name. */
    muga_status (*list)(void *self, const char *dir, muga_status (*visit)(void *ctx, const char *name), void *ctx,
                        muga_error *err);
    /* Beneath the folder `root`, by a name from outside: components are walked one by one, and none may be "..", "." or
     * a link (MUGA_E_POLICY), whoever changes the folder meanwhile; "" is the folder itself. Only regular files are
     * read and replaced. Links in `root` are followed.
     * read: at most max bytes (E_LIMIT past it); appends. list: the entries by name, at most max; os_entries_free.
     * write: the whole file at once, durable: it is as it was or as it shall be. What is there already is replaced only
     * where `replace` says so (else MUGA_E_POLICY). *placed: it has its new content, even if an error came later.
     * look: what is there, a link as OS_TYPE_OTHER; OS_TYPE_NONE where nothing is. */
    muga_status (*read_beneath)(void *self, const char *root, const char *name, size_t max, str *out, muga_error *err);
    muga_status (*list_beneath)(void *self, const char *root, const char *name, size_t max, os_entry **out, size_t *n,
                                muga_error *err);
    muga_status (*write_beneath)(void *self, const os_beneath_write *w, bool *placed, muga_error *err);
    muga_status (*look_beneath)(void *self, const char *root, const char *name, os_stat *out, muga_error *err);
    void *self;
} os_files;
void os_entries_free(os_entry *list, size_t n);

/* Whole file, at most max bytes (E_LIMIT past it). Regular files only. Appends to out. */
MUGA_MUST_USE muga_status os_read_file(const os_files *f, const char *path, size_t max, str *out, muga_error *err);

/* A file written piece by piece that is whole or not there: it has no name (or a temporary one beside `path`, where the
 * file system or the table knows no unnamed files) until os_output_commit syncs it, names it and syncs the folder. So
 * an interrupted run, even a killed one, leaves nothing behind. One thread. */
typedef struct os_output {
    const os_files *files;
    os_file *file; /* NULL when closed */
    char *path, *temporary;
    bool named; /* something of the name `temporary` exists */
} os_output;
MUGA_MUST_USE muga_status os_output_open(const os_files *f, const char *path, os_output *out, muga_error *err);
MUGA_MUST_USE muga_status os_output_write(os_output *o, const void *p, size_t n, muga_error *err);
MUGA_MUST_USE muga_status os_output_commit(os_output *o, muga_error *err);
/* The same under another name in the same folder, which could not be known before. */
MUGA_MUST_USE muga_status os_output_commit_as(os_output *o, const char *path, muga_error *err);
void os_output_close(os_output *o); /* drops what wasn't committed; harmless after a failed open and twice */
/* All of it at once. */
MUGA_MUST_USE muga_status os_write_file_atomic(const os_files *f, const char *path, const void *p, size_t n,
                                               muga_error *err);

/* Make the name of `path` durable, after it was made or renamed to: a name lasts only when its folder is synced. */
MUGA_MUST_USE muga_status os_sync_parent(const os_files *f, const char *path, muga_error *err);

/* ---- mapping (direct) ---- */
typedef struct os_map {
    const uint8_t *data;
    uint64_t size;
    int fd;       /* private to os/ */
    os_stat info; /* of the file when it was mapped */
} os_map;
/* Read-only private mapping of a regular file; anything else (folder, device, FIFO) is E_INPUT. Size 0: data NULL.
 * Whoever writes to the file changes the bytes, and whoever cuts it short makes the lost pages a SIGBUS at the next
 * touch; replacing it (rename) does neither. os_map_check tells. */
MUGA_MUST_USE muga_status os_map_open(const char *path, os_map *out, muga_error *err);
void os_map_close(os_map *m);
/* MUGA_E_ENV when the mapped file was written to or cut short since os_map_open; `path` is for the message. */
MUGA_MUST_USE muga_status os_map_check(const os_map *m, const char *path, muga_error *err);
/* Hint that all of it is read soon, and again and again: it may be kept in large pages. */
void os_map_will_need(const os_map *m);
/* Hint that [from, from+n) will not be read again soon: resident pages may go (page cache keeps them). */
void os_map_forget(const os_map *m, uint64_t from, uint64_t n);

/* ---- memory (direct): hints, which the system may leave aside ---- */
void os_memory_prefer_huge(void *p, size_t n); /* back it with large pages, where it is touched at all */
/* Give whole pages inside [p, p + n) back to the system; they are zero or as they were when next read. */
void os_memory_forget(void *p, size_t n);

/* ---- children (seam) ---- */
typedef struct os_child_spec {
    const char *const *argv; /* NULL-terminated; argv[0] is a path, never searched in PATH, never a shell */
    const char *dir;         /* working folder, also of a relative argv[0]; NULL = unchanged */
    const char *const *envp; /* NULL-terminated; NULL = empty environment */
    const void *in;          /* bytes for stdin */
    size_t n_in;
    size_t max_out_bytes; /* below 1 GiB; stdout past it: child killed, OS_CHILD_OUTPUT */
    int64_t timeout_ms;   /* above 0; past it: the child's process group is killed, OS_CHILD_TIMEOUT */
    /* NULL: all rights of this process. Else argv[0] and dir are places inside the sandbox (os/sandbox.h), and the
     * environment is empty whatever envp says. */
    const struct os_sandbox *sandbox;
} os_child_spec;
typedef enum { OS_CHILD_EXITED, OS_CHILD_SIGNALLED, OS_CHILD_TIMEOUT, OS_CHILD_OUTPUT } os_child_end;
typedef struct os_child_result {
    os_child_end end;
    int code;         /* exit code, or signal number */
    str out, err_out; /* stdout (at most max_out_bytes) and the first 4 KiB of stderr; release both */
} os_child_result;
typedef struct os_children {
    muga_status (*run)(void *self, const os_child_spec *spec, os_child_result *out, muga_error *err);
    void *self;
} os_children;

/* ---- network (seam): nothing above opens a socket but through this; every connect is refused by name, so an agent
 * cannot reach the network at all. A remote model is asked through net/http.h, where a command names one. ---- */
typedef struct os_network {
    muga_status (*connect)(void *self, const char *host, uint16_t port, os_file **out, muga_error *err);
    void *self;
} os_network;

typedef struct os_system_table {
    os_clock clock;
    os_files files;
    os_children children;
    os_network network;
} os_system_table;
const os_system_table *os_system(void);

MUGA_MUST_USE muga_status os_random(void *p, size_t n, muga_error *err); /* getrandom(2) */

/* ---- threads (direct) ----
 * A pool of n_thread workers, the caller being one of them. os_pool_run calls fn(ctx, i) once for every i in
 * [0, n_chunk), chunks handed out dynamically; returns when all are done. Workers spin briefly, then sleep.
 * One os_pool_run at a time per pool. n_thread 1 runs inline. */
typedef struct os_pool os_pool;
MUGA_MUST_USE muga_status os_pool_new(int n_thread, os_pool **out, muga_error *err);
void os_pool_free(os_pool *p);
int os_pool_threads(const os_pool *p);
void os_pool_run(os_pool *p, int n_chunk, void (*fn)(void *ctx, int i_chunk), void *ctx); /* p NULL: inline */
/* What thread i_thread (0 = the caller) will read first in a job to come: while it waits for work it fetches that into
 * its core's cache. Nothing is read through `from`, so a wrong guess costs time only. */
void os_pool_read_ahead(os_pool *p, int i_thread, const void *from, size_t bytes);
int os_cpu_count(void);   /* cores this process may use: affinity and cgroup quota, at least 1 */
int os_cpu_threads(void); /* their hardware threads: more where cores have two */
/* Memory this process may use: the machine's or the cgroup's, whichever is less. Not what is free now: that changes. */
uint64_t os_memory_bytes(void);

/* ---- processor features ---- */
typedef struct os_cpu {
    bool avx2_fma, avx512, avx512_vnni, avx_vnni, neon, dotprod, i8mm;
} os_cpu; /* avx512 = F BW DQ VL */
os_cpu os_cpu_detect(void);
uint64_t os_peak_memory_bytes(void);     /* peak resident set of this process */
uint64_t os_resident_memory_bytes(void); /* resident set now */
uint64_t os_own_memory_bytes(void);      /* of it, all but pages of mapped files, which the system can take back */
#endif
