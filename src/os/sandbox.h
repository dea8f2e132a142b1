/* The sandbox of child programs: namespaces made by bubblewrap, a seccomp filter, Landlock, limits, an empty
 * environment. It fails closed: a layer that is asked for and not there is an error that names it, before the program
 * starts. docs/sandbox.md says what each layer stops.
 *
 *   os_children_run -> bwrap (namespaces, mounts, filter) -> launcher, pid 1 inside: os_sandbox_launch
 *                                                               -> limits, Landlock -> the program
 *
 * The launcher is a program whose main() calls os_sandbox_launch first; muga does. */
#ifndef MUGA_OS_SANDBOX_H
#define MUGA_OS_SANDBOX_H

#include "os/os.h"

#include <stdatomic.h>

#define OS_SANDBOX_BWRAP "/usr/bin/bwrap" /* never searched for */
#define OS_SANDBOX_VERB "sandbox-launch"  /* argv[1] of a launcher */

enum { /* layers */
       OS_SANDBOX_NAMESPACES = 1,
       OS_SANDBOX_SECCOMP = 2,
       OS_SANDBOX_LANDLOCK = 4,
       OS_SANDBOX_ALL = 7
};

/* A folder or file of this machine, and its place inside. Both absolute, without links or "..". */
typedef struct os_sandbox_mount {
    const char *from, *to;
    bool write; /* else it can be read and run */
} os_sandbox_mount;

/* Inside there are /usr with its links (/bin, /lib ...), what a program needs of /etc and /dev, an empty /tmp in
 * memory, and the mounts; no /proc, no /sys, no network, no other process. */
typedef struct os_sandbox {
    const char *launcher; /* path of the program; NULL = none is known: refused */
    unsigned layers;      /* that must be there; NAMESPACES always */
    const os_sandbox_mount *mounts;
    size_t n_mount;
    uint64_t memory_bytes; /* address space of each process */
    uint64_t tmp_bytes;    /* /tmp as a whole */
    uint64_t file_bytes;   /* each file written */
    uint64_t cpu_seconds;  /* of each process */
    uint64_t n_process;    /* processes and threads that may be started besides the program itself */
    uint64_t n_file;       /* descriptors open at once, in each process */
    atomic_bool *tried;    /* set once a trial has passed, and no further one is run; NULL: each check runs one */
} os_sandbox;

/* The path without links and dots, appended: what a mount's `from` must be. */
MUGA_MUST_USE muga_status os_real_path(const char *path, str *out, muga_error *err);

/* Whether a program would run in `s`: each piece and each mount by itself, then a trial. MUGA_E_ENV names the missing
 * piece and the remedy. */
MUGA_MUST_USE muga_status os_sandbox_check(const os_children *children, const os_sandbox *s, muga_error *err);

/* One piece of the sandbox on this machine, for people. `missing`: "" when it is there. */
typedef struct os_sandbox_piece {
    const char *name;
    unsigned layer;
    char detail[96], missing[160];
} os_sandbox_piece;
enum { OS_SANDBOX_N_PIECE = 5 };
void os_sandbox_look(const char *launcher, os_sandbox_piece out[OS_SANDBOX_N_PIECE]);

/* main() of a launcher gives control here when argv[1] is OS_SANDBOX_VERB. Returns the exit code. Outside a sandbox it
 * takes rights from the program it starts and from nothing else. */
int os_sandbox_launch(int argc, char **argv);
#endif
