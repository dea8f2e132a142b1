/* What the files of os/ share. Not for other folders. */
#ifndef MUGA_OS_PRIVATE_H
#define MUGA_OS_PRIVATE_H

#include "os/os.h"

#include <sys/stat.h>

/* "VERB 'path': REASON; REMEDY" with the status that fits errno (not found, bad input, memory, environment). */
muga_status os_error(muga_error *err, int number, const char *verb, const char *path);

/* open(2) with close-on-exec, once more when a signal interrupts it; new files get mode 0666 less the mask. */
int os_open(const char *path, int flags);

/* clock.c */
int64_t os_clock_now_ms(void *self);
uint64_t os_clock_monotonic_us(void *self);
void os_clock_sleep_ms(void *self, int64_t ms);

/* files.c */
os_stat os_stat_of(const struct stat *info);
muga_status os_files_open(void *self, const char *path, os_mode mode, os_file **out, muga_error *err);
muga_status os_files_read(void *self, os_file *f, void *p, size_t n, size_t *n_read, muga_error *err);
muga_status os_files_write(void *self, os_file *f, const void *p, size_t n, muga_error *err);
muga_status os_files_sync(void *self, os_file *f, muga_error *err);
void os_files_close(void *self, os_file *f);
muga_status os_files_stat(void *self, const char *path, os_stat *out, muga_error *err);
muga_status os_files_link(void *self, os_file *f, const char *path, muga_error *err);
muga_status os_files_rename(void *self, const char *from, const char *to, muga_error *err);
muga_status os_files_remove(void *self, const char *path, muga_error *err);
muga_status os_files_mkdirs(void *self, const char *path, muga_error *err);
muga_status os_files_list(void *self, const char *dir, muga_status (*visit)(void *ctx, const char *name), void *ctx,
                          muga_error *err);

/* beneath.c */
muga_status os_files_read_beneath(void *self, const char *root, const char *name, size_t max, str *out,
                                  muga_error *err);
muga_status os_files_list_beneath(void *self, const char *root, const char *name, size_t max, os_entry **out, size_t *n,
                                  muga_error *err);
muga_status os_files_write_beneath(void *self, const os_beneath_write *w, bool *placed, muga_error *err);
muga_status os_files_look_beneath(void *self, const char *root, const char *name, os_stat *out, muga_error *err);

/* granted.c */
/* The first bytes of a small kernel file, terminated; "" when it is not there. No allocation. */
void os_read_kernel_file(const char *path, char *out, size_t size);
typedef struct os_cores {
    int threads, cores; /* hardware threads; cores, however many threads they have; at least 1 */
} os_cores;
/* Of the processors that may be used, with the quota, as the files under root say ("": this machine's). */
os_cores os_cores_under(const char *root, const bool *usable, int n_cpu);

/* child.c */
muga_status os_children_run(void *self, const os_child_spec *spec, os_child_result *out, muga_error *err);
void os_close_others_at_exec(void); /* every descriptor past stderr; async-signal-safe */

#endif
