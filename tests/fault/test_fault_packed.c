/* Every allocation failed in turn while a model is opened with a packed file, to be written or to be mapped. If this
 * failed, a machine short of memory would crash, leak, keep half a file, or compute something else; a start must say
 * that memory is out, or do without the file and be right. */
#include "support/packed_fixture.h"

#include "support/faultmalloc.h"

#include "base/mem.h"

#include <unistd.h>

static char packed[512];
static const char *model_file;

static muga_status start(engine **out, muga_error *err) {
    engine_options o = {.isa = -1, .n_threads = 1, .packed = packed, .packed_source = model_file};
    *out = NULL;
    return engine_open(model_file, &o, out, err);
}

/* One start with its nth allocation failing; false when there is no nth. */
static bool start_with_failure(bool mapped, const uint8_t *expected, size_t n) {
    muga_error err = {0};
    engine *e;
    uint8_t got[SHA256_BYTES];
    if (!mapped)
        (void)unlink(packed);
    long live = fault_live();
    fault_fail_at(n);
    muga_status st = start(&e, &err);
    bool reached = fault_hit();
    fault_fail_at(0);
    if (st == MUGA_OK) {
        digest(e, got);
        if (memcmp(got, expected, sizeof got) != 0)
            fail_msg("allocation %zu: something else is computed", n);
    } else if (!reached || st != MUGA_E_NOMEM || !*err.message) {
        fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    }
    engine_free(e);
    if (fault_live() != live)
        fail_msg("allocation %zu (status %d): %ld blocks leaked", n, st, fault_live() - live);
    if (access(packed, F_OK) == 0)
        assert_ok(packed_check(packed, &err), &err);
    if (count_entries(scratch_path("kept")) > 3) /* ".", "..", the file */
        fail_msg("allocation %zu: something was left beside the file", n);
    return reached;
}

static void fail_each(bool mapped) {
    muga_error err = {0};
    engine *e;
    uint8_t expected[SHA256_BYTES];
    for (int i = 0; i < 2; i++) { /* what libraries allocate once is no leak */
        assert_ok(start(&e, &err), &err);
        digest(e, expected);
        engine_free(e);
    }
    size_t n = 1;
    while (start_with_failure(mapped, expected, n))
        n++;
    print_message("a start makes %zu allocations\n", n - 1);
    assert_in_range(n, 40, 100000);
}

static void writing_it_survives_any_failed_allocation(void **state) {
    (void)state;
    fail_each(false);
}

static void mapping_it_survives_any_failed_allocation(void **state) {
    (void)state;
    fail_each(true);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* hundreds of synced writes */
        setenv("TMPDIR", "/dev/shm", 1);
    snprintf(packed, sizeof packed, "%s", scratch_path("kept/packed"));
    model_file = source_path("tests/data/tiny.gguf");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_it_survives_any_failed_allocation),
        cmocka_unit_test(mapping_it_survives_any_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
