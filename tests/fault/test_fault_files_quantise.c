/* Every operation on files failed in turn while a model is quantised. If this failed, a full or dying disk could leave
 * a part of a model under the name of a whole one, or beside it; what was there before must stay until the new one is.
 */
#include "support/support.h"

#include "support/faultfiles.h"
#include "support/faultmalloc.h"

#include "base/mem.h"
#include "convert/quantise_file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static char folder[400], out[420], source[400];

static muga_status run(muga_error *err) {
    gguf_file *in = NULL;
    quantise_report report;
    quantise_options o = {.kind = mixture_find("Q5_K_M"), .files = &os_system()->files};
    muga_status st = gguf_open(source, &in, err);
    if (!st)
        st = quantise_file(in, out, &o, &report, err);
    gguf_close(in);
    return st;
}

static void write_old(void) {
    FILE *f = fopen(out, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite("old", 1, 3, f), 3);
    assert_int_equal(fclose(f), 0);
}

static str read_out(void) {
    str s = STR_INIT;
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, out, 1 << 28, &s, &err), &err);
    return s;
}

/* false when there is no nth operation. */
static bool run_with_failure(const str *whole, size_t n, int number, bool for_good) {
    muga_error err = {0};
    faultfiles_trial t;
    write_old();
    faultfiles_begin(&t, n, number, for_good);
    muga_status st = run(&err);
    faultfiles_end(&t);
    faultfiles_check(&t);
    if (count_entries(folder) != 3)
        fail_msg("%s: something was left beside the file", t.what);
    str now = read_out();
    bool is_whole = now.len == whole->len && memcmp(now.data, whole->data, now.len) == 0;
    bool is_old = now.len == 3 && memcmp(now.data, "old", 3) == 0;
    if (!is_whole && (st == MUGA_OK || !is_old))
        fail_msg("%s: status %d, and a file of %zu bytes", t.what, st, now.len);
    if (st != MUGA_OK && (!t.reached || strlen(err.message) < 20 || !strchr(err.message, '/')))
        fail_msg("%s: status %d: %s", t.what, st, err.message);
    str_release(&now);
    return t.reached;
}

static void every_operation_may_fail(void **state) {
    (void)state;
    static const int numbers[] = {EIO, ENOSPC, EACCES, ENOMEM, EOPNOTSUPP};
    muga_error err = {0};
    snprintf(folder, sizeof folder, "%s", scratch_path("quantised"));
    snprintf(out, sizeof out, "%s/out.gguf", folder);
    snprintf(source, sizeof source, "%s", source_path("tests/data/tiny.gguf"));
    assert_ok(os_system()->files.mkdirs(NULL, folder, &err), &err);
    assert_ok(run(&err), &err);
    str whole = read_out();
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        for (int for_good = 0; for_good < 2; for_good++) {
            size_t n = 1;
            while (run_with_failure(&whole, n, numbers[i], for_good))
                n++;
            assert_in_range(n, 20, 1000);
        }
    str_release(&whole);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* a few hundred runs, each with synced writes */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_operation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
