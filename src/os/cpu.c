/* Instruction sets, and the memory that this process takes. What it may take is in granted.c. */
#include "os/os_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

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
    os_read_kernel_file("/proc/self/status", text, sizeof text);
    const char *line = strstr(text, "VmHWM:");
    if (line) {
        return strtoull(line + strlen("VmHWM:"), NULL, 10) * 1024;
    }
    struct rusage use;
    return getrusage(RUSAGE_SELF, &use) == 0 ? (uint64_t)use.ru_maxrss * 1024 : 0;
}

/* Of /proc/self/statm the second and third number: resident pages, and how many of them are of files. */
static bool read_statm(unsigned long long *resident, unsigned long long *of_files) {
    char text[128];
    unsigned long long total = 0;
    os_read_kernel_file("/proc/self/statm", text, sizeof text);
    return sscanf(text, "%llu %llu %llu", &total, resident, of_files) == 3;
}

uint64_t os_resident_memory_bytes(void) {
    unsigned long long resident = 0, of_files = 0;
    return read_statm(&resident, &of_files) ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t os_own_memory_bytes(void) {
    unsigned long long resident = 0, of_files = 0;
    bool known = read_statm(&resident, &of_files) && resident >= of_files;
    return known ? (resident - of_files) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
