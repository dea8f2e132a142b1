/* How many cores and how much memory this process may use. Owns: affinity, threads that share a core, control groups
 * (v1 and v2). Refuses: to trust the machine's numbers where a container grants less. What can't be read limits
 * nothing. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "base/mem.h"
#include "os/os_private.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void os_read_kernel_file(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;
    out[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

/* ---- control groups ---- */
enum { FOLDER = 1300 };
typedef uint64_t limit_fn(const char *folder); /* what a group's folder says; UINT64_MAX: no limit */

/* Whole cores that a quota grants, rounded up. */
static uint64_t cores_of_quota(long long quota, long long period) {
    return quota > 0 && period > 0 ? ((uint64_t)quota - 1) / (uint64_t)period + 1 : UINT64_MAX;
}

static uint64_t cores_v2(const char *folder) {
    char path[FOLDER + 32], text[64];
    long long quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    os_read_kernel_file(path, text, sizeof text); /* or "max 100000" */
    return sscanf(text, "%lld %lld", &quota, &period) == 2 ? cores_of_quota(quota, period) : UINT64_MAX;
}

static uint64_t cores_v1(const char *folder) {
    char path[FOLDER + 32], quota[32], period[32];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    os_read_kernel_file(path, quota, sizeof quota);
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    os_read_kernel_file(path, period, sizeof period);
    return cores_of_quota(atoll(quota), atoll(period));
}

static uint64_t bytes_in(const char *folder, const char *name) {
    char path[FOLDER + 32], text[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    os_read_kernel_file(path, text, sizeof text);
    unsigned long long bytes = strtoull(text, NULL, 10); /* "max" has no number */
    return bytes > 0 ? bytes : UINT64_MAX;
}
static uint64_t bytes_v2(const char *folder) {
    return bytes_in(folder, "memory.max");
}
static uint64_t bytes_v1(const char *folder) {
    return bytes_in(folder, "memory.limit_in_bytes");
}

/* The tightest limit from a group up to the root of its hierarchy, mounted at `mount`. */
static uint64_t limit_upwards(const char *root, const char *mount, char *group, limit_fn *limit) {
    uint64_t least = UINT64_MAX;
    for (;;) {
        char folder[FOLDER];
        snprintf(folder, sizeof folder, "%s%s%s", root, mount, group);
        uint64_t here = limit(folder);
        least = MIN(least, here);
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* Is the controller among the comma-separated ones? */
static bool has_controller(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *c = list; c; c = strchr(c, ',')) {
        c += *c == ',';
        if (strncmp(c, name, n) == 0 && (c[n] == ',' || c[n] == '\0'))
            return true;
    }
    return false;
}

/* /proc/self/cgroup: lines "0::GROUP" (v2) and "N:CONTROLLERS:GROUP" (v1). A container may see its own group as the
 * root of the mount while the line names it from outside; then only the root can be read, which is its group. */
static uint64_t limit_of_groups(const char *root, const char *controller, limit_fn *v2, limit_fn *v1) {
    char path[256], mount[64], groups[8192], *next = groups;
    uint64_t least = UINT64_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller);
    os_read_kernel_file(path, groups, sizeof groups);
    for (char *line; (line = strsep(&next, "\n"));) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group || strlen(group) > 1000)
            continue;
        controllers++;
        *group++ = '\0';
        uint64_t here = UINT64_MAX;
        if (*controllers == '\0')
            here = limit_upwards(root, "/sys/fs/cgroup", group, v2);
        else if (has_controller(controllers, controller))
            here = limit_upwards(root, mount, group, v1);
        least = MIN(least, here);
    }
    return least;
}

/* ---- memory ---- */

uint64_t os_memory_bytes(void) {
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t granted = limit_of_groups("", "memory", bytes_v2, bytes_v1);
    return MIN(machine, granted);
}

/* ---- cores ---- */

/* Does a list like "0-3,8" hold one of the processors below `below` that may be used? */
static bool holds_usable_below(const char *list, const bool *usable, int below) {
    while (*list >= '0' && *list <= '9') {
        char *end;
        long from = strtol(list, &end, 10), to = *end == '-' ? strtol(end + 1, &end, 10) : from;
        for (long c = MAX(from, 0L); c <= to && c < below; c++)
            if (usable[c])
                return true;
        list = *end == ',' ? end + 1 : end;
    }
    return false;
}

/* A core counts once, by the first of its threads that may be used. */
static bool is_first_of_core(const char *root, const bool *usable, int cpu) {
    char path[256], list[256];
    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/core_cpus_list", root, cpu);
    os_read_kernel_file(path, list, sizeof list);
    if (!list[0]) { /* its name before Linux 5.10 */
        snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", root, cpu);
        os_read_kernel_file(path, list, sizeof list);
    }
    return !holds_usable_below(list, usable, cpu);
}

os_cores os_cores_under(const char *root, const bool *usable, int n_cpu) {
    os_cores n = {0, 0};
    for (int c = 0; c < n_cpu; c++) {
        n.threads += usable[c];
        n.cores += usable[c] && is_first_of_core(root, usable, c);
    }
    uint64_t granted = limit_of_groups(root, "cpu", cores_v2, cores_v1);
    int limit = (int)MIN(granted, (uint64_t)INT32_MAX);
    n.threads = MAX(MIN(n.threads, limit), 1);
    n.cores = MAX(MIN(n.cores, limit), 1);
    return n;
}

static os_cores cores_here(void) {
    bool usable[CPU_SETSIZE] = {false};
    cpu_set_t set;
    bool known = sched_getaffinity(0, sizeof set, &set) == 0;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    for (int c = 0; c < CPU_SETSIZE; c++)
        usable[c] = known ? CPU_ISSET((size_t)c, &set) : c < online;
    return os_cores_under("", usable, CPU_SETSIZE);
}

int os_cpu_threads(void) {
    return cores_here().threads;
}

int os_cpu_count(void) {
    return cores_here().cores;
}
