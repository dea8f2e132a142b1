/* The measures of the machine. Were this to fail, a share of the limit that muga bench shows would be of nothing: the
 * reading loop would run past its buffer, or a speed would be no number. How fast is never a test. */
#include "support/support.h"

#include "base/mem.h"
#include "kernel/probe.h"

#include <math.h>

static void any_number_of_bytes_is_read(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 257, ((size_t)5 << 20) + 77};
    os_pool *pool;
    muga_error err;
    assert_ok(os_pool_new(2, &pool, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        double alone = 0, shared = 0;
        assert_ok(kernel_probe_bandwidth(sizes[i], NULL, &alone, &err), &err);
        assert_ok(kernel_probe_bandwidth(sizes[i], pool, &shared, &err), &err);
        assert_true(isfinite(alone) && alone > 0);
        assert_true(isfinite(shared) && shared > 0);
    }
    os_pool_free(pool);
}

static void too_much_to_allocate_is_an_error(void **state) {
    (void)state;
    double speed = 1;
    muga_error err;
    assert_int_equal(kernel_probe_bandwidth(SIZE_MAX / 2, NULL, &speed, &err), MUGA_E_NOMEM);
    assert_true(speed == 0);
}

static void the_peak_is_known_where_the_set_is_there(void **state) {
    (void)state;
    assert_true(kernel_probe_integer_peak(KERNEL_ISA_REF, NULL) == 0);
    static const kernel_isa sets[] = {KERNEL_ISA_AVX2, KERNEL_ISA_AVX_VNNI, KERNEL_ISA_AVX512};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        double peak = kernel_probe_integer_peak(sets[i], NULL);
        assert_true(kernel_isa_available(sets[i]) ? isfinite(peak) && peak > 0 : peak == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_number_of_bytes_is_read),
                                       cmocka_unit_test(too_much_to_allocate_is_an_error),
                                       cmocka_unit_test(the_peak_is_known_where_the_set_is_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
