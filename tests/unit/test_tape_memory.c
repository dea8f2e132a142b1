/* If this fails, a training run grows step by step until the machine is out of memory (samples make steps of many
 * sizes), or two tensors of a step share their bytes. */
#include "support/support.h"

#include "base/rng.h"
#include "train/memory.h"

#include <string.h>

enum { N_PIECES = 60, N_STEPS = 300 };

typedef struct piece {
    uint8_t *p;
    size_t n;
} piece;

/* Pieces of a step with their own bytes; parts of it are rewound as a layer is. Returns the most that was in use. */
static size_t step(tape_memory *m, rng *r, size_t largest) {
    piece all[N_PIECES];
    size_t in_use = 0, most = 0;
    tape_memory_reset(m);
    for (uint32_t i = 0; i < N_PIECES; i++) {
        bool is_large = rng_below(r, 8) == 0;
        size_t n = 1 + rng_below(r, (uint32_t)(is_large ? largest : largest / 100));
        all[i] = (piece){tape_memory_get(m, n, 1), n};
        assert_non_null(all[i].p);
        assert_int_equal((uintptr_t)all[i].p % 64, 0);
        memset(all[i].p, (int)(i + 1), n);
        in_use += n;
        if (i % 5 == 4) { /* what is needed only here */
            tape_mark mark = tape_memory_mark(m);
            size_t n_more = 1 + rng_below(r, (uint32_t)largest);
            memset(tape_memory_get(m, n_more, 1), 0xff, n_more);
            memset(tape_memory_get(m, n_more / 3 + 1, 1), 0xff, n_more / 3 + 1);
            tape_memory_rewind(m, mark);
            most = in_use + n_more * 4 / 3 > most ? in_use + n_more * 4 / 3 : most;
        }
    }
    for (uint32_t i = 0; i < N_PIECES; i++)
        assert_true(all[i].p[0] == i + 1 && all[i].p[all[i].n / 2] == i + 1 && all[i].p[all[i].n - 1] == i + 1);
    return in_use > most ? in_use : most;
}

static void steps_of_many_sizes_take_no_more_than_a_few_of_the_largest(void **state) {
    (void)state;
    tape_memory m = {0};
    rng r = {7};
    size_t most = 0, held = 0;
    for (uint32_t i = 0; i < N_STEPS; i++) {
        size_t n = step(&m, &r, ((size_t)1 << 20) * (1 + i % 7));
        most = n > most ? n : most;
        held = tape_memory_bytes(&m) > held ? tape_memory_bytes(&m) : held;
    }
    print_message("%.1f MB in use at most, %.1f MB held at most\n", (double)most / 1e6, (double)held / 1e6);
    assert_true(held < 4 * most);
    for (uint32_t i = 0; i < 3; i++)
        (void)step(&m, &r, 1000);
    assert_true(tape_memory_bytes(&m) < held / 4); /* small steps don't keep what large ones took */
    tape_memory_release(&m);
}

static void steps_that_are_alike_allocate_once(void **state) {
    (void)state;
    tape_memory m = {0};
    size_t held = 0;
    for (uint32_t i = 0; i < 20; i++) {
        rng r = {11};
        (void)step(&m, &r, 3 << 20);
        if (i == 1)
            held = tape_memory_bytes(&m);
        if (i > 1)
            assert_int_equal(tape_memory_bytes(&m), held);
    }
    tape_memory_release(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_of_many_sizes_take_no_more_than_a_few_of_the_largest),
                                       cmocka_unit_test(steps_that_are_alike_allocate_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
