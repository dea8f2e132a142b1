/* The matrix product with several threads. Were this to fail, an answer would depend on how many threads computed it,
 * or two of them would write the same place. Apart from test_matmul.c so that the thread sanitizer runs just this. */
#include "product.h"

/* Each type with one number of threads. 150 tokens: enough that quantising, too, is spread over the pool. */
static void threads_do_not_change_a_bit(void **state) {
    (void)state;
    static const uint64_t sizes[][2] = {{333, 1}, {133, 24}, {133, 47}, {40, 150}}; /* rows, tokens */
    muga_error err;
    for (int n_thread = 2; n_thread <= 4; n_thread++) {
        os_pool *pool;
        assert_ok(os_pool_new(n_thread, &pool, &err), &err);
        for (int i = n_thread - 2; i < WEIGHTS_N_TYPE; i += 3)
            for (size_t n = 0; n < ARRAY_LEN(sizes); n++) {
                product p;
                product_init(&p, &weights_all[i], sizes[n][0], many_columns(weights_all[i].type), sizes[n][1],
                             WEIGHTS_RANDOM, X_NORMAL);
                same_as_ref(&p, KERNEL_ACT_INT8, pool);
                if (n == 2)
                    same_as_ref(&p, KERNEL_ACT_F32, pool);
                product_release(&p);
            }
        os_pool_free(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_do_not_change_a_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
