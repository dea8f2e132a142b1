/* Would break: a server whose threads are all busy with requests no longer sees that a key was revoked, or a job is
 * lost or run twice. */
#include "serve/jobs.h"
#include "support/support.h"

#include <semaphore.h>
#include <stdatomic.h>

typedef struct stage {
    jobs *j;
    sem_t go, ran;
    atomic_int n_run, n_first;
} stage;

static void wait_to_go(void *ctx) {
    stage *s = ctx;
    sem_post(&s->ran);
    sem_wait(&s->go);
    atomic_fetch_add(&s->n_run, 1);
}

static void count_first(void *ctx) {
    stage *s = ctx;
    atomic_fetch_add(&s->n_first, 1);
    sem_post(&s->ran);
}

static void test_own_work_goes_before_requests(void **state) {
    (void)state;
    enum { THREADS = 2, REQUESTS = 20 };
    stage s = {0};
    muga_error err;
    sem_init(&s.go, 0, 0);
    sem_init(&s.ran, 0, 0);
    assert_ok(jobs_new(THREADS, &s.j, &err), &err);
    for (int i = 0; i < REQUESTS; i++)
        assert_ok(jobs_run(s.j, wait_to_go, &s, &err), &err);
    for (int i = 0; i < THREADS; i++)
        sem_wait(&s.ran); /* all threads are busy, and the rest waits */
    for (int i = 0; i < 3; i++) {
        assert_ok(jobs_run_first(s.j, count_first, &s, &err), &err);
        sem_wait(&s.ran);
        assert_int_equal(atomic_load(&s.n_first), i + 1);
        assert_int_equal(atomic_load(&s.n_run), 0);
    }
    for (int i = 0; i < REQUESTS; i++)
        sem_post(&s.go);
    jobs_wait(s.j);
    assert_int_equal(atomic_load(&s.n_run), REQUESTS);
    jobs_free(s.j);
    sem_destroy(&s.go);
    sem_destroy(&s.ran);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_work_goes_before_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
