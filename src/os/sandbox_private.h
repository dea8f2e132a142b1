/* What the files of the sandbox share. Not for other folders. */
#ifndef MUGA_OS_SANDBOX_PRIVATE_H
#define MUGA_OS_SANDBOX_PRIVATE_H

#include "os/sandbox.h"

#define OS_SANDBOX_TRIAL "trial" /* argv[2] of a launcher that is the program, too */

/* sandbox_filter.c. Both -1 and errno on failure. */
bool os_sandbox_has_filter(void); /* was libseccomp there when this was built? */
int os_sandbox_filter_open(void); /* a file that holds the filter's program, to be given to bwrap */
int os_sandbox_listen(void);      /* from here on every start of a process asks this descriptor */

/* sandbox_landlock.c */
int os_landlock_abi(void); /* what the kernel offers; 0: nothing */
enum { OS_MAX_PATHS = 64 };
typedef struct os_path_list {
    const char *path[OS_MAX_PATHS];
    size_t n;
} os_path_list;
/* Restrict this thread, and what it starts, to listing folders below `list`, reading and running below `read`, reading
 * and writing below `write`; no TCP, no signals to others. Paths that aren't there are left out. -1 and errno. */
int os_landlock_restrict(const os_path_list *list, const os_path_list *read, const os_path_list *write);

/* child.c: descriptors that the child of a sandbox gets besides the usual three; and how it is ended. */
enum {
    OS_SANDBOX_VERDICT_FD = 3, /* where the launcher says how it went */
    OS_SANDBOX_FILTER_FD = 4,  /* the filter, for bwrap */
    OS_SANDBOX_INFO_FD = 5,    /* where bwrap says its child's number */
    OS_SANDBOX_END_FD = 6,
    OS_SANDBOX_N_FD = OS_SANDBOX_END_FD - OS_SANDBOX_VERDICT_FD
};
typedef struct os_child_extra {
    int fd[OS_SANDBOX_N_FD]; /* in that order; -1: none; closed once the child has them */
    int info;                /* our end of INFO */
} os_child_extra;
/* `extra` NULL: as os_children_run without a sandbox, but spec and out are set up already. */
muga_status os_child_run(const os_child_spec *spec, os_child_extra *extra, os_child_result *out, muga_error *err);
bool os_lift_fd(int *fd);       /* past the places above; close-on-exec; *fd is -1 where it can't be */
bool os_open_pipe(int pair[2]); /* both ends lifted; close-on-exec */

/* sandbox.c */
muga_status os_sandbox_run(const os_child_spec *spec, os_child_result *out, muga_error *err);
#endif
