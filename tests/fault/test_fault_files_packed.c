/* Every operation on files failed in turn while a model is opened with a packed file, to be written or to be mapped. If
 * this failed, a full or dying disk could stop a start that needs no disk but the model's, leave half a file that the
 * next start believes, or leak a file. What fails on the model is an error that names it; what fails on the packed file
 * is none. */
#include "support/packed_fixture.h"

#include "support/faultfiles.h"
#include "support/faultmalloc.h"

#include "base/mem.h"

#include <errno.h>
#include <unistd.h>

static char packed[512];
static const char *model_file;

static muga_status start(engine **out, muga_error *err) {
    engine_options o = {.isa = -1, .n_threads = 1, .packed = packed, .packed_source = model_file};
    *out = NULL;
    return engine_open(model_file, &o, out, err);
}

static void check_after(const char *what) {
    muga_error err = {0};
    if (access(packed, F_OK) == 0 && packed_check(packed, &err))
        fail_msg("%s: a file that isn't whole: %s", what, err.message);
    if (count_entries(scratch_path("kept")) > 3) /* ".", "..", the file */
        fail_msg("%s: something was left beside the file", what);
}

/* One start with its nth operation failing; false when there is no nth. */
static bool start_with_failure(bool mapped, const uint8_t *expected, size_t n, int number, bool for_good) {
    muga_error err = {0};
    engine *e;
    faultfiles_trial t;
    uint8_t got[SHA256_BYTES];
    if (!mapped)
        (void)unlink(packed);
    faultfiles_begin(&t, n, number, for_good);
    muga_status st = start(&e, &err);
    faultfiles_end(&t);
    if (st == MUGA_OK) {
        digest(e, got);
        if (memcmp(got, expected, sizeof got) != 0)
            fail_msg("%s: something else is computed", t.what);
    } else if (!t.reached || !strstr(err.message, "tiny.gguf")) {
        fail_msg("%s: status %d: %s", t.what, st, err.message);
    }
    engine_free(e);
    faultfiles_check(&t);
    if (for_good && access(packed, F_OK) != 0)
        assert_true(count_entries(scratch_path("kept")) <= 3);
    else
        check_after(t.what);
    return t.reached;
}

static void fail_each(bool mapped) {
    static const int numbers[] = {EIO, ENOSPC, EACCES, EROFS, ENOMEM};
    muga_error err = {0};
    engine *e;
    uint8_t expected[SHA256_BYTES];
    for (int i = 0; i < 2; i++) { /* what libraries allocate once is no leak */
        assert_ok(start(&e, &err), &err);
        digest(e, expected);
        engine_free(e);
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        for (int for_good = 0; for_good < 2; for_good++) {
            size_t n = 1;
            while (start_with_failure(mapped, expected, n, numbers[i], for_good)) {
                n++;
                if (mapped && access(packed, F_OK) != 0) /* given up and not written again */
                    assert_ok(start(&e, &err), &err), engine_free(e);
            }
            assert_in_range(n, 5, 1000);
        }
}

static void writing_it_survives_any_failed_operation(void **state) {
    (void)state;
    fail_each(false);
}

static void mapping_it_survives_any_failed_operation(void **state) {
    (void)state;
    fail_each(true);
}

static void reads_and_writes_may_be_short_or_interrupted(void **state) {
    (void)state;
    muga_error err = {0};
    engine *e;
    (void)unlink(packed);
    faultfiles_dribble(true);
    assert_ok(start(&e, &err), &err);
    faultfiles_dribble(false);
    engine_free(e);
    assert_ok(packed_check(packed, &err), &err);
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        (void)unlink(packed);
        faultfiles_fail_at(n, EINTR);
        muga_status st = start(&e, &err);
        reached = faultfiles_hit();
        faultfiles_disarm();
        if (!st)
            engine_free(e);
        check_after("interrupted");
    }
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* hundreds of synced writes */
        setenv("TMPDIR", "/dev/shm", 1);
    snprintf(packed, sizeof packed, "%s", scratch_path("kept/packed"));
    model_file = source_path("tests/data/tiny.gguf");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_it_survives_any_failed_operation),
        cmocka_unit_test(mapping_it_survives_any_failed_operation),
        cmocka_unit_test(reads_and_writes_may_be_short_or_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
