/* Files, mappings, randomness, the closed network. If these failed, a crash or a full disk could leave half a
 * manifest where a whole one was, and reading a device could hang the program. */
#include "support/support.h"

#include "base/mem.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A table of files that fails at its nth operation, over the real one: a disk that fills up at the worst moment. */
typedef struct failing {
    const os_files *real;
    int left;    /* operations until the failure */
    bool partly; /* a failing write leaves the first half */
} failing;

static bool fails_now(failing *f, muga_error *err) {
    if (f->left-- > 0) {
        return false;
    }
    error_set(err, MUGA_E_ENV, "the disk is full (of the test)");
    return true;
}

static muga_status failing_open(void *self, const char *path, os_mode mode, os_file **out, muga_error *err) {
    failing *f = self;
    *out = NULL;
    return fails_now(f, err) ? MUGA_E_ENV : f->real->open(f->real->self, path, mode, out, err);
}
static muga_status failing_read(void *self, os_file *file, void *p, size_t n, size_t *n_read, muga_error *err) {
    failing *f = self;
    return fails_now(f, err) ? MUGA_E_ENV : f->real->read(f->real->self, file, p, n, n_read, err);
}
static muga_status failing_write(void *self, os_file *file, const void *p, size_t n, muga_error *err) {
    failing *f = self;
    if (fails_now(f, err)) {
        if (f->partly) {
            assert_int_equal(f->real->write(f->real->self, file, p, n / 2, NULL), MUGA_OK);
        }
        return MUGA_E_ENV;
    }
    return f->real->write(f->real->self, file, p, n, err);
}
static muga_status failing_sync(void *self, os_file *file, muga_error *err) {
    failing *f = self;
    return fails_now(f, err) ? MUGA_E_ENV : f->real->sync(f->real->self, file, err);
}
static void failing_close(void *self, os_file *file) {
    failing *f = self;
    f->real->close(f->real->self, file);
}
static muga_status failing_stat(void *self, const char *path, os_stat *out, muga_error *err) {
    failing *f = self;
    return fails_now(f, err) ? MUGA_E_ENV : f->real->stat(f->real->self, path, out, err);
}
static muga_status failing_link(void *self, os_file *file, const char *path, muga_error *err) {
    failing *f = self;
    return fails_now(f, err) ? MUGA_E_ENV : f->real->link(f->real->self, file, path, err);
}
static muga_status failing_rename(void *self, const char *from, const char *to, muga_error *err) {
    failing *f = self;
    return fails_now(f, err) ? MUGA_E_ENV : f->real->rename(f->real->self, from, to, err);
}
static muga_status failing_remove(void *self, const char *path, muga_error *err) {
    failing *f = self;
    return f->real->remove(f->real->self, path, err);
}

/* unnamed: with files that have no name before they are whole. */
static os_files failing_table(failing *f, bool unnamed) {
    return (os_files){.open = failing_open,
                      .read = failing_read,
                      .write = failing_write,
                      .sync = failing_sync,
                      .close = failing_close,
                      .stat = failing_stat,
                      .link = unnamed ? failing_link : NULL,
                      .rename = failing_rename,
                      .remove = failing_remove,
                      .self = f};
}

static const os_files *files(void) {
    return &os_system()->files;
}

static muga_status count_entry(void *ctx, const char *name) {
    (void)name;
    ++*(int *)ctx;
    return MUGA_OK;
}

static int entries_in(const char *dir) {
    int n = 0;
    muga_error err;
    assert_ok(files()->list(files()->self, dir, count_entry, &n, &err), &err);
    return n;
}

static void make_folder(const char *path) {
    muga_error err;
    assert_ok(files()->mkdirs(files()->self, path, &err), &err);
}

/* Fail each operation of an atomic write in turn: the old text or the new one is there, whole, and nothing else. */
static void write_whole_or_not(bool unnamed) {
    make_folder(scratch_path("atomic"));
    const char *path = scratch_path("atomic/file");
    muga_error err;
    bool done = false;
    int n = 0;
    for (; !done; n++) {
        for (int partly = 0; partly <= 1; partly++) {
            assert_ok(os_write_file_atomic(files(), path, "old text", 8, &err), &err);
            failing f = {files(), n, partly};
            os_files table = failing_table(&f, unnamed);
            muga_status st = os_write_file_atomic(&table, path, "new text, longer", 16, &err);
            done = st == MUGA_OK;
            str now = STR_INIT;
            assert_ok(os_read_file(files(), path, 1000, &now, &err), &err);
            bool is_old = strcmp(str_get(&now), "old text") == 0;
            assert_true(is_old || strcmp(str_get(&now), "new text, longer") == 0);
            assert_true(!done || !is_old);
            str_release(&now);
            assert_int_equal(entries_in(scratch_path("atomic")), 1); /* no temporary file stays */
        }
    }
    assert_in_range(n, 6, 8); /* open, write, sync, (link,) rename, open folder, sync folder; then success */
}

static void atomic_write_is_whole_or_not_there(void **state) {
    (void)state;
    write_whole_or_not(false);
    write_whole_or_not(true);
}

static int write_slowly(void **state) {
    (void)state;
    os_output o;
    char piece[4096] = {0};
    muga_error err;
    if (os_output_open(files(), scratch_path("pieces/file"), &o, &err))
        return 1;
    for (int i = 0; i < 100; i++)
        if (os_output_write(&o, piece, sizeof piece, &err))
            return 1;
    raise(SIGKILL);
    return 1;
}

/* Killed in the midst of it, where the file system has unnamed files: then there is nothing to clean up after it. */
static void a_killed_writer_leaves_nothing(void **state) {
    make_folder(scratch_path("pieces"));
    int fd = open(scratch_path("pieces"), O_TMPFILE | O_WRONLY, 0600), how;
    if (fd < 0)
        skip();
    close(fd);
    (void)scratch_path("pieces/file");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(write_slowly(state));
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    assert_int_equal(entries_in(scratch_path("pieces")), 0);
}

static void an_output_that_is_not_committed_is_gone(void **state) {
    (void)state;
    make_folder(scratch_path("dropped"));
    muga_error err;
    os_output o;
    os_files named = *files();
    named.link = NULL;
    for (int i = 0; i < 2; i++) {
        assert_ok(os_output_open(i ? &named : files(), scratch_path("dropped/file"), &o, &err), &err);
        assert_ok(os_output_write(&o, "half", 4, &err), &err);
        os_output_close(&o);
        os_output_close(&o);
        assert_int_equal(entries_in(scratch_path("dropped")), 0);
    }
    assert_status(os_output_open(files(), scratch_path("nowhere/file"), &o, &err), MUGA_E_NOT_FOUND, &err, "nowhere");
    os_output_close(&o);
}

static void reading_gives_back_nothing_half(void **state) {
    (void)state;
    const char *path = scratch_path("twice.txt");
    muga_error err;
    assert_ok(os_write_file_atomic(files(), path, "0123456789", 10, &err), &err);
    for (int n = 0; n < 4; n++) { /* stat, open, read, read the end */
        failing f = {files(), n, false};
        os_files table = failing_table(&f, false);
        str text = STR_INIT;
        str_append_s(&text, "before");
        assert_status(os_read_file(&table, path, 100, &text, &err), MUGA_E_ENV, &err, "disk is full");
        assert_string_equal(str_get(&text), "before");
        str_release(&text);
    }
}

static void reading_is_bounded(void **state) {
    (void)state;
    const char *path = scratch_path("ten.txt");
    muga_error err;
    str text = STR_INIT;
    assert_ok(os_write_file_atomic(files(), path, "0123456789", 10, &err), &err);
    assert_ok(os_read_file(files(), path, 10, &text, &err), &err);
    assert_status(os_read_file(files(), path, 9, &text, &err), MUGA_E_LIMIT, &err, "ten.txt");
    assert_int_equal(text.len, 10);
    /* /proc says size 0 and gives more: what is read counts, not what was promised */
    assert_status(os_read_file(files(), "/proc/self/status", 5, &text, &err), MUGA_E_LIMIT, &err, "longer than 5");
    assert_int_equal(text.len, 10);
    str_release(&text);
}

static void what_is_not_a_file_is_refused_by_name(void **state) {
    (void)state;
    muga_error err;
    str text = STR_INIT;
    os_file *f;
    os_map m;
    const char *fifo = scratch_path("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *const odd[] = {fifo, "/dev/zero", "/dev/null"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        assert_status(os_read_file(files(), odd[i], 10, &text, &err), MUGA_E_INPUT, &err, odd[i]);
        assert_status(os_map_open(odd[i], &m, &err), MUGA_E_INPUT, &err, odd[i]);
        assert_status(files()->open(NULL, odd[i], OS_READ, &f, &err), MUGA_E_INPUT, &err, odd[i]);
        assert_null(f);
    }
    assert_status(os_read_file(files(), "/tmp", 10, &text, &err), MUGA_E_INPUT, &err, "regular file");
    assert_status(os_map_open("/tmp", &m, &err), MUGA_E_INPUT, &err, "regular file");
    assert_status(os_read_file(files(), scratch_path("none"), 10, &text, &err), MUGA_E_NOT_FOUND, &err, "none");
    assert_status(os_map_open(scratch_path("none"), &m, &err), MUGA_E_NOT_FOUND, &err, "none");
    assert_null(m.data);
    str_release(&text);
}

static void stat_tells_types_and_absence(void **state) {
    (void)state;
    muga_error err;
    os_stat s;
    assert_ok(os_write_file_atomic(files(), scratch_path("seven"), "seven..", 7, &err), &err);
    assert_ok(files()->stat(NULL, scratch_path("seven"), &s, &err), &err);
    assert_int_equal(s.type, OS_TYPE_FILE);
    assert_int_equal(s.size, 7);
    assert_true(s.mtime_ns > (int64_t)1600000000 * 1000000000);
    assert_ok(files()->stat(NULL, scratch_path("none"), &s, &err), &err);
    assert_int_equal(s.type, OS_TYPE_NONE);
    assert_ok(files()->stat(NULL, scratch_path("seven/below"), &s, &err), &err);
    assert_int_equal(s.type, OS_TYPE_NONE);
    assert_ok(files()->stat(NULL, "/dev/null", &s, &err), &err);
    assert_int_equal(s.type, OS_TYPE_OTHER);
}

static void folders_are_made_privately_and_once(void **state) {
    (void)state;
    muga_error err;
    struct stat info;
    make_folder(scratch_path("a//b/c/"));
    make_folder(scratch_path("a/b/c"));
    assert_int_equal(stat(scratch_path("a/b"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_ok(os_write_file_atomic(files(), scratch_path("a/file"), "x", 1, &err), &err);
    assert_status(files()->mkdirs(NULL, scratch_path("a/file"), &err), MUGA_E_ENV, &err, "in the way");
    assert_int_not_equal(files()->mkdirs(NULL, scratch_path("a/file/below"), &err), MUGA_OK);
}

static muga_status join(void *ctx, const char *name) {
    str_append_s(ctx, name);
    str_append_c(ctx, ' ');
    return strcmp(name, "stop") == 0 ? MUGA_E_CANCELLED : MUGA_OK;
}

static void listing_is_sorted_and_can_be_stopped(void **state) {
    (void)state;
    make_folder(scratch_path("list"));
    muga_error err;
    static const char *const names[] = {"list/b", "list/a", "list/.hidden", "list/c"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_ok(os_write_file_atomic(files(), scratch_path(names[i]), "", 0, &err), &err);
    }
    str all = STR_INIT;
    assert_ok(files()->list(NULL, scratch_path("list"), join, &all, &err), &err);
    assert_string_equal(str_get(&all), ".hidden a b c ");
    assert_ok(os_write_file_atomic(files(), scratch_path("list/stop"), "", 0, &err), &err);
    assert_ok(os_write_file_atomic(files(), scratch_path("list/z"), "", 0, &err), &err);
    str_clear(&all);
    assert_int_equal(files()->list(NULL, scratch_path("list"), join, &all, &err), MUGA_E_CANCELLED);
    assert_string_equal(str_get(&all), ".hidden a b c stop ");
    assert_status(files()->list(NULL, scratch_path("no-list"), join, &all, &err), MUGA_E_NOT_FOUND, &err, "no-list");
    str_release(&all);
}

static void errors_say_path_reason_and_remedy(void **state) {
    (void)state;
    muga_error err;
    os_file *f;
    assert_ok(files()->open(NULL, "/dev/full", OS_WRITE_NEW, &f, &err), &err);
    assert_status(files()->write(NULL, f, "x", 1, &err), MUGA_E_ENV, &err, "'/dev/full'");
    assert_non_null(strstr(err.message, "free disk space"));
    assert_ok(files()->sync(NULL, f, &err), &err); /* a device has nothing to sync: not a fault */
    files()->close(NULL, f);
    assert_status(files()->rename(NULL, scratch_path("x"), scratch_path("y"), &err), MUGA_E_NOT_FOUND, &err, "rename");
    assert_status(files()->remove(NULL, scratch_path("x"), &err), MUGA_E_NOT_FOUND, &err, "remove");
    assert_status(os_write_file_atomic(files(), scratch_path("no/folder/x"), "x", 1, &err), MUGA_E_NOT_FOUND, &err,
                  "check the path");
}

static void a_mapping_knows_when_its_file_was_written_to(void **state) {
    (void)state;
    muga_error err;
    os_map m;
    char path[512];
    const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    snprintf(path, sizeof path, "%s", scratch_path("changing"));
    assert_ok(os_write_file_atomic(files(), path, "before", 6, &err), &err);
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    assert_ok(os_map_open(path, &m, &err), &err);
    assert_ok(os_map_check(&m, path, &err), &err);
    assert_ok(os_write_file_atomic(files(), path, "another", 7, &err), &err); /* replaced: the mapping keeps the old */
    assert_ok(os_map_check(&m, path, &err), &err);
    assert_memory_equal(m.data, "before", 6);
    os_map_close(&m);
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    assert_ok(os_map_open(path, &m, &err), &err);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "A", 1, 0), 1);
    assert_status(os_map_check(&m, path, &err), MUGA_E_ENV, &err, path);
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    assert_ok(os_map_check(&m, path, &err), &err); /* the time of change and the size are all that is looked at */
    assert_int_equal(ftruncate(fd, 3), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    assert_status(os_map_check(&m, path, &err), MUGA_E_ENV, &err, "written to");
    assert_int_equal(close(fd), 0);
    os_map_close(&m);
}

static void mapping_shows_the_file_and_survives_forgetting(void **state) {
    (void)state;
    muga_error err;
    os_map m;
    size_t n = 3 * 65536 + 17;
    char *bytes = malloc(n);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)(i * 31 >> 3);
    }
    assert_ok(os_write_file_atomic(files(), scratch_path("map"), bytes, n, &err), &err);
    assert_ok(os_map_open(scratch_path("map"), &m, &err), &err);
    assert_int_equal(m.size, n);
    assert_memory_equal(m.data, bytes, n);
    os_map_forget(&m, 0, n);
    os_map_forget(&m, 5, 100000);
    os_map_forget(&m, n - 1, UINT64_MAX);
    os_map_forget(&m, UINT64_MAX, UINT64_MAX);
    assert_memory_equal(m.data, bytes, n);
    os_map_close(&m);
    assert_null(m.data);
    os_map_close(&m);
    assert_ok(os_write_file_atomic(files(), scratch_path("map"), "", 0, &err), &err);
    assert_ok(os_map_open(scratch_path("map"), &m, &err), &err);
    assert_null(m.data);
    assert_int_equal(m.size, 0);
    os_map_forget(&m, 0, 10);
    os_map_close(&m);
    free(bytes);
}

static void the_network_is_closed(void **state) {
    (void)state;
    muga_error err;
    os_file *f;
    const os_network *net = &os_system()->network;
    assert_status(net->connect(net->self, "example.org", 443, &f, &err), MUGA_E_POLICY, &err, "example.org:443");
    assert_null(f);
}

static void clock_runs_and_randomness_differs(void **state) {
    (void)state;
    const os_clock *c = &os_system()->clock;
    uint64_t before = c->monotonic_us(c->self);
    c->sleep_ms(c->self, 20);
    c->sleep_ms(c->self, -5);
    assert_true(c->monotonic_us(c->self) - before >= 20000);
    assert_true(c->now_ms(c->self) > (int64_t)1600000000 * 1000);
    uint8_t a[32] = {0}, b[32] = {0};
    muga_error err;
    assert_ok(os_random(a, sizeof a, &err), &err);
    assert_ok(os_random(b, sizeof b, &err), &err);
    assert_memory_not_equal(a, b, sizeof a);
}

static void machine_is_described_sensibly(void **state) {
    (void)state;
    assert_in_range(os_cpu_count(), 1, 100000);
    os_cpu c = os_cpu_detect();
    assert_true(!c.avx512_vnni || c.avx512);
    assert_true(!c.avx512 || c.avx2_fma);
    assert_true(os_resident_memory_bytes() > 100000);
    assert_true(os_own_memory_bytes() > 100000 && os_own_memory_bytes() < os_resident_memory_bytes());
    uint64_t peak = os_peak_memory_bytes();
    size_t n = (size_t)64 << 20;
    volatile char *p = malloc(n);
    assert_non_null((void *)(uintptr_t)p);
    for (size_t i = 0; i < n; i += 4096) {
        p[i] = 1;
    }
    assert_true(os_peak_memory_bytes() >= peak + n / 2);
    free((void *)(uintptr_t)p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(atomic_write_is_whole_or_not_there),
        cmocka_unit_test(a_killed_writer_leaves_nothing),
        cmocka_unit_test(an_output_that_is_not_committed_is_gone),
        cmocka_unit_test(reading_gives_back_nothing_half),
        cmocka_unit_test(reading_is_bounded),
        cmocka_unit_test(what_is_not_a_file_is_refused_by_name),
        cmocka_unit_test(stat_tells_types_and_absence),
        cmocka_unit_test(folders_are_made_privately_and_once),
        cmocka_unit_test(listing_is_sorted_and_can_be_stopped),
        cmocka_unit_test(errors_say_path_reason_and_remedy),
        cmocka_unit_test(a_mapping_knows_when_its_file_was_written_to),
        cmocka_unit_test(mapping_shows_the_file_and_survives_forgetting),
        cmocka_unit_test(the_network_is_closed),
        cmocka_unit_test(clock_runs_and_randomness_differs),
        cmocka_unit_test(machine_is_described_sensibly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
