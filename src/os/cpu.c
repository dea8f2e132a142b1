/* What this process may use of the machine: cores, instruction sets, memory so far. Owns: reading /proc and the cgroup
 * quota. Refuses: to trust the core count of the machine where a container grants less. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "os/os_private.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

/* The first bytes of a small kernel file, terminated; "" when it is not there. No allocation. */
static void read_kernel_file(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;
    out[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

#define NO_QUOTA (1 << 20) /* cores */

/* Whole cores that a quota grants, rounded up. */
static int quota_cores(long long quota, long long period) {
    if (quota <= 0 || period <= 0 || quota / period >= NO_QUOTA) {
        return NO_QUOTA;
    }
    return (int)((quota + period - 1) / period);
}

/* cgroup v2: `each` sees the file `name` of this process's group and of those above it, up to the root. */
static void read_groups_v2(const char *name, void (*each)(void *ctx, const char *text), void *ctx) {
    char groups[1024], path[1200], text[64];
    read_kernel_file("/proc/self/cgroup", groups, sizeof groups);
    char *group = strstr(groups, "0::/");
    if (!group) {
        return;
    }
    group += 3;
    group[strcspn(group, "\n")] = '\0';
    for (char *slash = group; slash; *slash = '\0') {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, name);
        read_kernel_file(path, text, sizeof text);
        each(ctx, text);
        slash = strrchr(group, '/');
        if (!slash) {
            return;
        }
    }
}

static void see_quota(void *ctx, const char *text) {
    int *cores = ctx;
    long long quota, period;
    if (sscanf(text, "%lld %lld", &quota, &period) == 2) { /* "max 100000" has no number first */
        int here = quota_cores(quota, period);
        *cores = here < *cores ? here : *cores;
    }
}

/* The tightest cpu.max. */
static int quota_v2(void) {
    int cores = NO_QUOTA;
    read_groups_v2("cpu.max", see_quota, &cores);
    return cores;
}

static int quota_v1(void) {
    char quota[32], period[32];
    read_kernel_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota);
    read_kernel_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period);
    return quota_cores(atoll(quota), atoll(period));
}

int os_cpu_count(void) {
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    int v1 = quota_v1(), v2 = quota_v2();
    cores = v1 < cores ? v1 : cores;
    cores = v2 < cores ? v2 : cores;
    return cores > 0 ? cores : 1;
}

static void see_memory(void *ctx, const char *text) {
    uint64_t *bytes = ctx, here = strtoull(text, NULL, 10); /* "max" has no number */
    *bytes = here > 0 && here < *bytes ? here : *bytes;
}

uint64_t os_memory_bytes(void) {
    char text[64];
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    read_kernel_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", text, sizeof text); /* cgroup v1 */
    see_memory(&bytes, text);
    read_groups_v2("memory.max", see_memory, &bytes);
    return bytes;
}

#if defined(__x86_64__)
/* The compiler's run-time support also asks whether the system saves the wide registers (XGETBV). */
os_cpu os_cpu_detect(void) {
    __builtin_cpu_init();
    os_cpu c = {0};
    c.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    c.avx512 = c.avx2_fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    c.avx512_vnni = c.avx512 && __builtin_cpu_supports("avx512vnni");
    c.avx_vnni = c.avx2_fma && __builtin_cpu_supports("avxvnni");
    return c;
}
#elif defined(__aarch64__)
os_cpu os_cpu_detect(void) {
    os_cpu c = {.neon = true};
    c.dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    c.i8mm = (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
    return c;
}
#else
os_cpu os_cpu_detect(void) {
    return (os_cpu){0};
}
#endif

/* VmHWM rather than getrusage: the latter starts at the size of the process that ran exec. */
uint64_t os_peak_memory_bytes(void) {
    char text[4096];
    read_kernel_file("/proc/self/status", text, sizeof text);
    const char *line = strstr(text, "VmHWM:");
    if (line) {
        return strtoull(line + strlen("VmHWM:"), NULL, 10) * 1024;
    }
    struct rusage use;
    return getrusage(RUSAGE_SELF, &use) == 0 ? (uint64_t)use.ru_maxrss * 1024 : 0;
}

uint64_t os_resident_memory_bytes(void) {
    char text[128];
    unsigned long long total = 0, resident = 0;
    read_kernel_file("/proc/self/statm", text, sizeof text);
    if (sscanf(text, "%llu %llu", &total, &resident) != 2) {
        return 0;
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
