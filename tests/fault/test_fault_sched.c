/* Every allocation failed in turn while four requests, and a fork of the first, share an engine, their prefixes and too
 * few pages. If this failed, one request short of memory would take others with it, leave pages held, or answer
 * otherwise; it must be told that memory is out, and the rest must answer as alone. */
#include "support/engine_fixture.h"

#include "support/faultmalloc.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/internal.h"
#include "engine/sched.h"

enum { N_ASKS = 5, FORK = 4, N_PROMPT = 150, N_OUT = 30 };

typedef struct ask {
    int32_t prompt[N_PROMPT], out[N_OUT];
    uint32_t n_done, n_out;
    muga_status status;
} ask;

/* What comes out is kept in fixed places, so that it is no allocation. */
static void on_done(void *ctx, const sched_result *r) {
    ask *a = ctx;
    a->n_done++;
    a->status = r->status;
    a->n_out = (uint32_t)r->answer->ids.n;
    assert_true(a->n_out <= N_OUT);
    if (a->n_out > 0)
        memcpy(a->out, r->answer->ids.ids, a->n_out * sizeof *a->out);
}

/* By which everything takes a millisecond: prompts beside answers are read in pieces. */
static uint64_t slow_us(void *self) {
    uint64_t *us = self;
    return *us += 1000;
}

static muga_status ask_all(engine *e, ask *asks, uint64_t *n_preempted) {
    static const sampler_settings greedy = SAMPLER_GREEDY;
    sched *s = NULL;
    uint64_t us = 0;
    const os_clock clock = {.monotonic_us = slow_us, .self = &us};
    sched_options o = {.max_running = 3, .max_waiting = 8, .clock = &clock};
    uint64_t ids[N_ASKS] = {0};
    muga_error err;
    muga_status st = sched_new(e, &o, &s, &err);
    for (int i = 0; i < N_ASKS && !st; i++) {
        sched_request r = {.generate = {.prompt = asks[i].prompt,
                                        .n_prompt = N_PROMPT,
                                        .sampling = &greedy,
                                        .max_tokens = N_OUT,
                                        .ignore_end = true},
                           .n_ctx = 200,
                           .tenant = "t",
                           .priority = i == 3,
                           .on_done = on_done,
                           .on_done_ctx = &asks[i]};
        if (i == FORK) {
            r.generate.n_prompt = r.n_ctx = 0;
            r.tenant = NULL;
        }
        if (i == FORK ? sched_fork(s, ids[0], SCHED_FORK_PROMPT, &r, NULL, &err)
                      : sched_submit(s, &r, &ids[i], &err)) { /* or what it forks was out of memory */
            asks[i].n_done++;
            asks[i].status = MUGA_E_NOMEM;
        }
        if (i == 2)
            for (int k = 0; k < 6; k++)
                (void)sched_step(s);
    }
    while (!st && sched_step(s)) {}
    if (!st)
        *n_preempted = sched_get_counts(s).n_preempted;
    sched_free(s);
    return st;
}

static void make_prompts(ask *asks) {
    for (int i = 0; i < N_ASKS; i++) {
        rng r = {7};
        asks[i] = (ask){0};
        for (uint32_t k = 0; k < N_PROMPT; k++) {
            if (k == 80) /* in common up to here */
                r.state = (uint64_t)i + 20;
            asks[i].prompt[k] = (int32_t)rng_below(&r, 400);
        }
    }
}

/* Blocks alive once the cache is empty, but for the slabs that pages lie in. */
static long live(engine *e) {
    while (prefix_evict(e->prefix)) {}
    assert_int_equal(engine_get_kv_counts(e).in_use, 0);
    assert_true(pages_check(&e->pages) && prefix_check(e->prefix));
    long n_slab = 0;
    for (void *slab = e->pages.slabs; slab; n_slab++)
        memcpy(&slab, slab, sizeof slab);
    return fault_live() - n_slab;
}

static void each_failure_is_one_requests_own(void **state) {
    (void)state;
    engine *e = open_plain();
    uint64_t page = engine_get_kv_counts(e).page_bytes, n_preempted = 0;
    engine_free(e);
    ask want[N_ASKS], got[N_ASKS];
    bool hit = true;
    size_t n_ok = 0, n_failed = 0;
    make_prompts(want);
    e = open_with((engine_options){.isa = -1, .n_threads = 1, .kv_bytes = 7 * page, .cache_bytes = 2 * page});
    long before = live(e);
    assert_int_equal(ask_all(e, want, &n_preempted), MUGA_OK);
    assert_true(n_preempted > 0);
    for (int i = 0; i < N_ASKS; i++)
        assert_int_equal(want[i].n_out, N_OUT);
    assert_memory_equal(want[FORK].out, want[0].out, sizeof want[0].out);
    for (size_t n = 1; hit; n++) {
        make_prompts(got);
        fault_fail_at(n);
        muga_status st = ask_all(e, got, &n_preempted);
        hit = fault_hit();
        fault_fail_at(0);
        for (int i = 0; i < N_ASKS && !st; i++) {
            assert_int_equal(got[i].n_done, 1);
            assert_true(got[i].status == MUGA_OK || got[i].status == MUGA_E_NOMEM);
            n_failed += got[i].status == MUGA_E_NOMEM;
            n_ok += got[i].status == MUGA_OK;
            if (!got[i].status)
                assert_memory_equal(got[i].out, want[i].out, sizeof got[i].out);
        }
        assert_int_equal(live(e), before);
    }
    assert_true(n_failed > 10 && n_ok > 3 * n_failed);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_failure_is_one_requests_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
