/* If this fails, a long prompt that is read beside the scheduler (to score labels, to go on with a saved session) holds
 * every running answer up until it is read, or the turns change what it computes. */
#include "support/engine_fixture.h"

#include "base/rng.h"
#include "engine/internal.h"

#include <pthread.h>
#include <sched.h>

#define N_IDS 100

static int32_t ids[N_IDS];

static int make_ids(void **state) {
    (void)state;
    rng r = {7};
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)rng_below(&r, 400);
    return 0;
}

static void *feed_all(void *ctx) {
    muga_error err = {0};
    assert_ok(engine_session_feed(ctx, ids, N_IDS, &err), &err);
    return NULL;
}

typedef struct visitor {
    turns *t;
    engine_session *s;
    uint32_t n_seen;
} visitor;

static void *visit(void *ctx) {
    visitor *v = ctx;
    turns_take(v->t);
    v->n_seen = engine_session_count(v->s);
    turns_give(v->t);
    return NULL;
}

static void wait_for_asked(turns *t, uint64_t n) {
    for (uint64_t asked = 0; asked < n; sched_yield()) {
        pthread_mutex_lock(&t->lock);
        asked = t->n_asked;
        pthread_mutex_unlock(&t->lock);
    }
}

/* The test has the turn; the feeding thread waits for it, and behind that one somebody else. */
static void a_long_prompt_lets_others_in_after_a_few_rows(void **state) {
    (void)state;
    engine *e = open_plain();
    engine_session *alone = session_of(e, 256), *s = session_of(e, 256);
    feed_all(alone);
    turns *t = &e->step_turns;
    visitor v = {.t = t, .s = s};
    pthread_t feeder, visiting;
    turns_take(t);
    uint64_t n = t->n_asked;
    assert_int_equal(pthread_create(&feeder, NULL, feed_all, s), 0);
    wait_for_asked(t, n + 1);
    assert_int_equal(pthread_create(&visiting, NULL, visit, &v), 0);
    wait_for_asked(t, n + 2);
    turns_give(t);
    pthread_join(visiting, NULL);
    pthread_join(feeder, NULL);
    assert_int_equal(v.n_seen, ENGINE_ROWS_BESIDE);
    assert_int_equal(engine_session_count(s), N_IDS);
    assert_memory_equal(engine_session_logits(s), engine_session_logits(alone),
                        engine_params(e)->n_vocab * sizeof(float));
    assert_false(turns_busy(t));
    engine_session_free(s);
    engine_session_free(alone);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_prompt_lets_others_in_after_a_few_rows),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
