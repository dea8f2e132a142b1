/* How many threads a model runs on when nobody says. Were this to fail, two threads would share a core and get in each
 * other's way, or a container would start as many as the machine has and be throttled. Trees of files stand for other
 * machines. */
#include "support/support.h"

#include "base/mem.h"
#include "os/os_private.h"

#include <stdio.h>

enum { N_CPU = 8 };

static char folder[256]; /* the machine's root: another for each test */

static void put(const char *path, const char *text) {
    char full[600], parent[600];
    muga_error err;
    snprintf(full, sizeof full, "%s%s", folder, path);
    snprintf(parent, sizeof parent, "%s", full);
    *strrchr(parent, '/') = '\0';
    const os_files *files = &os_system()->files;
    assert_ok(files->mkdirs(files->self, parent, &err), &err);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int new_machine(void **state) {
    static int n;
    char name[16];
    (void)state;
    snprintf(name, sizeof name, "m%d", n++);
    return snprintf(folder, sizeof folder, "%s", scratch_path(name)) < (int)sizeof folder ? 0 : -1;
}

/* Eight processors; pairs: 4 cores, thread i and i + 4 of one. */
static void put_pairs(const char *name) {
    for (int c = 0; c < N_CPU; c++) {
        char path[128], list[32];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", c, name);
        snprintf(list, sizeof list, "%d,%d\n", c % 4, c % 4 + 4);
        put(path, list);
    }
}

static void expect(const char *usable, int threads, int cores) {
    bool may[N_CPU];
    for (int c = 0; c < N_CPU; c++)
        may[c] = usable[c] == '1';
    os_cores n = os_cores_under(folder, may, N_CPU);
    assert_int_equal(n.threads, threads);
    assert_int_equal(n.cores, cores);
}

static void without_files_all_that_may_be_used_count(void **state) {
    (void)state;
    expect("11111111", 8, 8);
    expect("01010000", 2, 2);
    expect("00000000", 1, 1);
}

static void threads_of_one_core_count_once(void **state) {
    (void)state;
    put_pairs("core_cpus_list");
    expect("11111111", 8, 4);
    expect("11000000", 2, 2);
    expect("10001000", 2, 1);
    expect("00001111", 4, 4); /* the second threads, alone on their cores */
}

static void older_kernels_and_ranges_are_read(void **state) {
    (void)state;
    put_pairs("thread_siblings_list");
    put("/sys/devices/system/cpu/cpu5/topology/thread_siblings_list", "4-5\n");
    put("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "garbage");
    expect("11111111", 8, 4);
    expect("00001100", 2, 1);
    expect("00010001", 2, 1);
}

static void the_tightest_quota_of_version_2_holds(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    expect("11111111", 3, 3);
    expect("11000000", 2, 2);
    put("/sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    expect("11111111", 1, 1);
}

static void a_quota_of_version_1_holds(void **state) {
    (void)state;
    put("/proc/self/cgroup", "9:cpuset:/x\n4:cpu,cpuacct:/docker/0123\n1:name=systemd:/\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    expect("11111111", 8, 8);
    put("/sys/fs/cgroup/cpu/docker/0123/cpu.cfs_quota_us", "400000\n");
    put("/sys/fs/cgroup/cpu/docker/0123/cpu.cfs_period_us", "100000\n");
    expect("11111111", 4, 4);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"); /* the container's own, seen as the root */
    expect("11111111", 2, 2);
}

static void nonsense_limits_nothing(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::\n::\nx\n0:cpu\n0::/c\n");
    put("/sys/fs/cgroup/c/cpu.max", "-5 0\n");
    put("/sys/fs/cgroup/cpu.max", "9999999999999999 1\n");
    expect("11111111", 8, 8);
}

static void this_machine_has_some(void **state) {
    (void)state;
    assert_in_range(os_cpu_count(), 1, os_cpu_threads());
}

#define TEST(name) cmocka_unit_test_setup(name, new_machine)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(without_files_all_that_may_be_used_count),
        TEST(threads_of_one_core_count_once),
        TEST(older_kernels_and_ranges_are_read),
        TEST(the_tightest_quota_of_version_2_holds),
        TEST(a_quota_of_version_1_holds),
        TEST(nonsense_limits_nothing),
        TEST(this_machine_has_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
