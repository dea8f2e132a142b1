/* The thread pool. If this failed, a chunk of a matrix product would be computed twice, or never, or read what another
 * thread had not finished writing: logits would differ from run to run. Meant to run under the thread sanitizer too. */
#include "support/support.h"

#include "base/mem.h"
#include "os/os.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_CHUNK = 5000 };

typedef struct job {
    int runs[MAX_CHUNK]; /* plain, not atomic: each chunk belongs to one thread at a time */
} job;

static void count_run(void *ctx, int i_chunk) {
    ((job *)ctx)->runs[i_chunk]++;
}

static os_pool *new_pool(int n_thread) {
    os_pool *p;
    muga_error err;
    assert_ok(os_pool_new(n_thread, &p, &err), &err);
    assert_int_equal(os_pool_threads(p), n_thread);
    return p;
}

static void every_chunk_runs_exactly_once(void **state) {
    (void)state;
    static const int counts[] = {0, 1, 2, 3, 7, 8, 17, 64, 1000, MAX_CHUNK};
    for (int n_thread = 1; n_thread <= 9; n_thread += 2) {
        os_pool *p = new_pool(n_thread);
        for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
            job *j = calloc(1, sizeof *j);
            assert_non_null(j);
            os_pool_run(p, counts[i], count_run, j);
            for (int k = 0; k < MAX_CHUNK; k++) {
                assert_int_equal(j->runs[k], k < counts[i]);
            }
            free(j);
        }
        os_pool_free(p);
    }
}

/* What one job wrote is what the next job, on other threads, reads. */
static void copy_neighbour(void *ctx, int i_chunk) {
    int(*rows)[64] = ctx;
    rows[1][i_chunk] = rows[0][(i_chunk + 1) % 64] + 1;
}
static void copy_back(void *ctx, int i_chunk) {
    int(*rows)[64] = ctx;
    rows[0][i_chunk] = rows[1][(i_chunk + 3) % 64] + 1;
}

static void jobs_follow_each_other_in_order(void **state) {
    (void)state;
    os_pool *p = new_pool(4);
    static int rows[2][64];
    for (int round = 0; round < 2000; round++) {
        os_pool_run(p, 64, copy_neighbour, rows);
        os_pool_run(p, 64, copy_back, rows);
        assert_int_equal(rows[0][round % 64], 2 * (round + 1));
    }
    os_pool_free(p);
}

/* Addresses are for fetching ahead only: of nothing, of nobody, of too much, they change no job and fault nowhere. */
static void what_is_read_ahead_changes_nothing(void **state) {
    (void)state;
    static int rows[2][64];
    os_pool *p = new_pool(3);
    const void *const from[] = {rows, NULL, (const void *)(uintptr_t)64, (const void *)(UINTPTR_MAX - 63)};
    const size_t bytes[] = {sizeof rows, SIZE_MAX, 63, 0};
    for (int round = 0; round < 2000; round++) {
        for (int t = 0; t < 3; t++)
            os_pool_read_ahead(p, t, from[(round + t) % 4], bytes[round / 4 % 4]);
        os_pool_run(p, 64, copy_neighbour, rows);
        os_pool_run(p, 64, copy_back, rows);
        assert_int_equal(rows[0][round % 64], 2 * (round + 1));
    }
    os_pool_free(p);
}

static void workers_wake_after_sleeping(void **state) {
    (void)state;
    os_pool *p = new_pool(3);
    static job j;
    for (int round = 0; round < 30; round++) {
        os_system()->clock.sleep_ms(NULL, round % 3); /* past the spinning, and not */
        os_pool_run(p, 50, count_run, &j);
    }
    for (int k = 0; k < 50; k++) {
        assert_int_equal(j.runs[k], 30);
    }
    os_pool_free(p);
}

/* Chunk 0 blocks until all the others are done: only dynamic hand-out gets past that. */
typedef struct stall {
    _Atomic int n_done;
    int n_chunk;
    _Atomic bool gave_up;
} stall;

static void stall_on_first(void *ctx, int i_chunk) {
    stall *s = ctx;
    if (i_chunk == 0) {
        for (int i = 0; i < 60000 && atomic_load(&s->n_done) < s->n_chunk - 1; i++) {
            os_system()->clock.sleep_ms(NULL, 1);
        }
        atomic_store(&s->gave_up, atomic_load(&s->n_done) < s->n_chunk - 1);
    }
    atomic_fetch_add(&s->n_done, 1);
}

static void a_stalled_chunk_does_not_stall_the_rest(void **state) {
    (void)state;
    os_pool *p = new_pool(2);
    stall s = {.n_chunk = 100};
    os_pool_run(p, 100, stall_on_first, &s);
    assert_int_equal(atomic_load(&s.n_done), 100);
    assert_false(atomic_load(&s.gave_up));
    os_pool_free(p);
}

static void note_thread(void *ctx, int i_chunk) {
    ((pthread_t *)ctx)[i_chunk] = pthread_self();
}

static void one_thread_and_no_pool_run_inline(void **state) {
    (void)state;
    pthread_t who[8];
    os_pool *p = new_pool(1);
    os_pool_run(p, 8, note_thread, who);
    for (int i = 0; i < 8; i++) {
        assert_true(pthread_equal(who[i], pthread_self()));
    }
    os_pool_free(p);
    memset(who, 0, sizeof who);
    os_pool_run(NULL, 8, note_thread, who);
    for (int i = 0; i < 8; i++) {
        assert_true(pthread_equal(who[i], pthread_self()));
    }
    assert_int_equal(os_pool_threads(NULL), 1);
    os_pool_free(NULL);
}

static void impossible_thread_counts_are_refused(void **state) {
    (void)state;
    static const int wrong[] = {0, -1, 1025, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        os_pool *p;
        muga_error err;
        assert_status(os_pool_new(wrong[i], &p, &err), MUGA_E_USAGE, &err, "threads");
        assert_null(p);
    }
}

static void pools_come_and_go(void **state) {
    (void)state;
    static job j;
    for (int i = 0; i < 100; i++) {
        os_pool *p = new_pool(1 + i % 5);
        if (i % 3) {
            os_pool_run(p, 10, count_run, &j);
        }
        os_pool_free(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_runs_exactly_once),           cmocka_unit_test(jobs_follow_each_other_in_order),
        cmocka_unit_test(what_is_read_ahead_changes_nothing),      cmocka_unit_test(workers_wake_after_sleeping),
        cmocka_unit_test(a_stalled_chunk_does_not_stall_the_rest), cmocka_unit_test(one_thread_and_no_pool_run_inline),
        cmocka_unit_test(impossible_thread_counts_are_refused),    cmocka_unit_test(pools_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
