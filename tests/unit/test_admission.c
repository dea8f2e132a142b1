/* Admission: turns, bounds, fairness, by a simulated clock. If this failed, one key could starve another, a request
 * could be lost or begun twice, a limit could be passed, or a client could be told to come again at the wrong time. */
#include "support/support.h"

#include "base/mem.h"
#include "base/rng.h"
#include "serve/admission.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

/* ---- a world whose clock only the test moves ---- */

typedef struct task {
    admission_job job;
    struct world *w;
    const char *key;
    enum { NEW, WAITS, RUNS, REFUSED, CANCELLED, DONE } state;
    admission_answer answer;
    uint64_t ends_us;
    int n_turns;
} task;

typedef struct world {
    uint64_t now_us, room;
    uint32_t spent_s;
    const char *spent_key;
    os_clock clock;
    admission *a;
    const task *last_begun;
} world;

static uint64_t monotonic_us(void *self) {
    return ((world *)self)->now_us;
}

static void on_turn(void *ctx, const admission_answer *answer) {
    task *t = ctx;
    assert_int_equal(t->state, WAITS);
    assert_true(answer->verdict != ADMISSION_WAIT);
    t->n_turns++;
    t->answer = *answer;
    t->state = answer->verdict == ADMISSION_RUN ? RUNS : REFUSED;
    t->w->last_begun = t->state == RUNS ? t : t->w->last_begun;
}

static uint64_t room(void *ctx) {
    return ((world *)ctx)->room;
}

static uint32_t spent(void *ctx, void *job_ctx) {
    const world *w = ctx;
    const task *t = job_ctx;
    return w->spent_key && strcmp(t->key, w->spent_key) == 0 ? w->spent_s : 0;
}

static void begin_world(world *w, uint32_t n_running, uint32_t n_waiting, uint32_t n_waiting_key) {
    muga_error err;
    *w = (world){.now_us = 1000000, .room = UINT64_MAX, .clock = {NULL, monotonic_us, NULL, w}};
    const admission_options o = {.clock = &w->clock,
                                 .n_running = n_running,
                                 .n_waiting = n_waiting,
                                 .n_waiting_key = n_waiting_key,
                                 .on_turn = on_turn,
                                 .room = room,
                                 .spent = spent,
                                 .ctx = w};
    assert_ok(admission_new(&o, &w->a, &err), &err);
}

static void ask_as(world *w, task *t, const admission_who *who, uint32_t tokens, uint64_t bytes) {
    *t = (task){.w = w, .key = who->key, .job = {.ctx = t, .tokens = tokens, .bytes = bytes}};
    t->state = WAITS; /* a turn may come from another thread before ask returns, and here from ask itself for others */
    t->answer = admission_ask(w->a, who, &t->job);
    t->state = t->answer.verdict == ADMISSION_RUN ? RUNS : t->answer.verdict == ADMISSION_WAIT ? WAITS : REFUSED;
}

static void ask(world *w, task *t, const char *key) {
    const admission_who who = {key, 0, 1, 0};
    ask_as(w, t, &who, 100, 0);
}

static void leave(world *w, task *t, uint64_t tokens) {
    assert_int_equal(t->state, RUNS);
    t->state = DONE;
    admission_leave(w->a, &t->job, tokens);
}

static void assert_refused(const task *t, int status, uint32_t least_s, uint32_t most_s) {
    assert_int_equal(t->state, REFUSED);
    assert_int_equal(t->answer.status, status);
    assert_in_range(t->answer.retry_s, least_s, most_s);
    assert_non_null(t->answer.why);
}

static void end_all(world *w, task *t, size_t n) {
    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < n; i++) {
            if (t[i].state == RUNS) {
                leave(w, &t[i], 100);
                any = true;
            }
        }
    }
    admission_counts c = admission_get_counts(w->a);
    assert_true(c.n_running == 0 && c.n_waiting == 0 && c.running_bytes == 0);
    admission_free(w->a);
}

/* ---- turns and bounds ---- */

static void one_key_is_served_in_order(void **state) {
    (void)state;
    world w;
    task t[10];
    begin_world(&w, 2, 0, 0);
    for (int i = 0; i < 10; i++) {
        ask(&w, &t[i], "a");
        assert_int_equal(t[i].state, i < 2 ? RUNS : WAITS);
    }
    for (int i = 0; i < 8; i++) {
        leave(&w, &t[i], 100);
        assert_int_equal(t[i + 2].state, RUNS);
        assert_true(i == 7 || t[i + 3].state == WAITS);
    }
    end_all(&w, t, 10);
}

static void more_than_may_wait_are_refused(void **state) {
    (void)state;
    world w;
    task t[10];
    begin_world(&w, 2, 5, 0);
    for (int i = 0; i < 10; i++) {
        ask(&w, &t[i], "a");
        assert_int_equal(t[i].state, i < 2 ? RUNS : i < 7 ? WAITS : REFUSED);
    }
    assert_refused(&t[7], 503, 1, 60);
    admission_counts c = admission_get_counts(w.a);
    assert_true(c.n_running == 2 && c.n_waiting == 5 && c.n_503 == 3 && c.n_429 == 0);
    end_all(&w, t, 10);
}

static void a_key_at_its_limit_waits_and_then_gets_429(void **state) {
    (void)state;
    world w;
    task t[8], other;
    const admission_who a = {"a", 2, 1, 0};
    begin_world(&w, 100, 100, 3);
    for (int i = 0; i < 8; i++) {
        ask_as(&w, &t[i], &a, 100, 0);
        assert_int_equal(t[i].state, i < 2 ? RUNS : i < 5 ? WAITS : REFUSED);
    }
    assert_refused(&t[7], 429, 1, 60);
    ask(&w, &other, "b"); /* and nobody else is concerned */
    assert_int_equal(other.state, RUNS);
    leave(&w, &other, 1);
    assert_int_equal(t[2].state, WAITS);
    leave(&w, &t[0], 100);
    assert_int_equal(t[2].state, RUNS);
    end_all(&w, t, 8);
}

static void who_floods_crowds_out_himself(void **state) {
    (void)state;
    world w;
    task flood[20], quiet[3];
    begin_world(&w, 1, 10, 0);
    for (int i = 0; i < 20; i++) {
        ask(&w, &flood[i], "flood");
    }
    for (int i = 0; i < 3; i++) {
        ask(&w, &quiet[i], "quiet");
        assert_int_equal(quiet[i].state, WAITS);
        assert_refused(&flood[10 - i], 503, 1, 60); /* the newest of those that waited */
        assert_int_equal(flood[10 - i].n_turns, 1);
    }
    leave(&w, &flood[0], 100);
    assert_true(w.last_begun->w && strcmp(w.last_begun->key, "quiet") == 0);
    for (bool any = true; any;) {
        any = false;
        for (int i = 0; i < 23; i++) {
            task *t = i < 20 ? &flood[i] : &quiet[i - 20];
            if (t->state == RUNS) {
                leave(&w, t, 100);
                any = true;
            }
        }
    }
    admission_free(w.a);
}

static void tokens_that_are_used_up_give_429_until_midnight(void **state) {
    (void)state;
    world w;
    task t[4];
    begin_world(&w, 1, 0, 0);
    ask(&w, &t[0], "b");
    ask(&w, &t[1], "a"); /* waits, and then the key runs out */
    w.spent_key = "a";
    w.spent_s = 7200;
    ask(&w, &t[2], "a");
    assert_refused(&t[2], 429, 7200, 7200);
    ask(&w, &t[3], "b");
    leave(&w, &t[0], 1);
    assert_refused(&t[1], 429, 7200, 7200);
    assert_int_equal(t[3].state, RUNS);
    end_all(&w, t, 4);
}

static void memory_holds_back_and_refuses(void **state) {
    (void)state;
    world w;
    task t[6];
    const admission_who a = {"a", 0, 1, 0}, b = {"b", 0, 1, 0};
    begin_world(&w, 0, 0, 0);
    w.room = 100;
    ask_as(&w, &t[0], &a, 1, 60);
    ask_as(&w, &t[1], &a, 1, 50); /* waits for the first */
    ask_as(&w, &t[2], &a, 1, 10); /* would fit, but then the larger one might wait for ever */
    assert_true(t[0].state == RUNS && t[1].state == WAITS && t[2].state == WAITS);
    ask_as(&w, &t[3], &a, 1, 101);
    assert_refused(&t[3], 503, 1, 60);
    leave(&w, &t[0], 1);
    assert_true(t[1].state == RUNS && t[2].state == RUNS);
    w.room = 0; /* at risk */
    ask_as(&w, &t[4], &b, 1, 0);
    assert_refused(&t[4], 503, 1, 60);
    w.room = 70;
    ask_as(&w, &t[5], &a, 1, 65);
    assert_int_equal(t[5].state, WAITS);
    w.room = 20; /* less by the time of its turn: nothing will make room */
    leave(&w, &t[1], 1);
    leave(&w, &t[2], 1);
    assert_refused(&t[5], 503, 1, 60);
    end_all(&w, t, 6);
}

static void a_tick_sees_that_there_is_room_again(void **state) {
    (void)state;
    world w;
    task t[2];
    const admission_who a = {"a", 0, 1, 0};
    begin_world(&w, 0, 0, 0);
    w.room = 100;
    ask_as(&w, &t[0], &a, 1, 60);
    ask_as(&w, &t[1], &a, 1, 60);
    assert_int_equal(t[1].state, WAITS);
    w.room = 120;
    admission_tick(w.a);
    assert_int_equal(t[1].state, RUNS);
    end_all(&w, t, 2);
}

static void cancelled_while_waiting_or_not(void **state) {
    (void)state;
    world w;
    task t[5];
    begin_world(&w, 1, 0, 0);
    for (int i = 0; i < 5; i++) {
        ask(&w, &t[i], "a");
    }
    assert_false(admission_cancel(w.a, &t[0].job)); /* it runs */
    assert_true(admission_cancel(w.a, &t[2].job));
    assert_false(admission_cancel(w.a, &t[2].job));
    t[2].state = CANCELLED;
    assert_true(admission_cancel(w.a, &t[4].job)); /* the last */
    t[4].state = CANCELLED;
    leave(&w, &t[0], 1);
    assert_int_equal(t[1].state, RUNS);
    leave(&w, &t[1], 1);
    assert_int_equal(t[3].state, RUNS);
    assert_true(t[2].n_turns == 0 && t[4].n_turns == 0);
    assert_int_equal(admission_get_counts(w.a).n_cancelled, 2);
    end_all(&w, t, 5);
}

static void draining_refuses_all_but_what_runs(void **state) {
    (void)state;
    world w;
    task t[4];
    begin_world(&w, 1, 0, 0);
    for (int i = 0; i < 3; i++) {
        ask(&w, &t[i], i == 2 ? "b" : "a");
    }
    admission_drain(w.a);
    assert_int_equal(t[0].state, RUNS);
    assert_refused(&t[1], 503, 1, 60);
    assert_refused(&t[2], 503, 1, 60);
    ask(&w, &t[3], "c");
    assert_refused(&t[3], 503, 1, 60);
    end_all(&w, t, 4);
}

static void more_room_by_configuration_is_used_at_once(void **state) {
    (void)state;
    world w;
    task t[4];
    begin_world(&w, 1, 0, 0);
    for (int i = 0; i < 4; i++) {
        ask(&w, &t[i], "a");
    }
    admission_set_bounds(w.a, 3, 0, 0);
    assert_true(t[1].state == RUNS && t[2].state == RUNS && t[3].state == WAITS);
    end_all(&w, t, 4);
}

static void retry_after_grows_with_what_is_before(void **state) {
    (void)state;
    world w;
    task t[200];
    begin_world(&w, 1, 100, 0);
    for (int i = 0; i < 60; i++) { /* requests take 2 s */
        ask(&w, &t[0], "a");
        w.now_us += 2000000;
        leave(&w, &t[0], 100);
    }
    admission_set_bounds(w.a, 1, 4, 0);
    for (int i = 0; i < 6; i++) {
        ask(&w, &t[i], "a");
    }
    assert_refused(&t[5], 503, 9, 12); /* five of two seconds */
    end_all(&w, t, 6);
}

/* ---- fairness ---- */

static void a_quiet_key_goes_before_the_hundred_of_a_busy_one(void **state) {
    (void)state;
    world w;
    static task busy[100];
    task quiet;
    begin_world(&w, 1, 0, 0);
    for (int i = 0; i < 100; i++) {
        ask(&w, &busy[i], "busy");
    }
    for (int i = 0; i < 10; i++) {
        leave(&w, &busy[i], 100);
    }
    ask(&w, &quiet, "quiet");
    assert_int_equal(quiet.state, WAITS);
    leave(&w, &busy[10], 100);
    assert_int_equal(quiet.state, RUNS);
    leave(&w, &quiet, 100);
    ask(&w, &quiet, "quiet"); /* but it doesn't get the rest of the hour, too */
    leave(&w, &busy[11], 100);
    assert_int_equal(quiet.state, RUNS);
    leave(&w, &quiet, 100);
    end_all(&w, busy, 100);
}

/* Keys that always have some waiting, requests of random sizes, estimates that are off by up to twice: what each gets
 * in 20,000 requests. */
typedef struct contender {
    admission_who who;
    task t[8];
    uint64_t tokens;
} contender;

static void compete(contender *c, size_t n, uint32_t n_running, uint64_t n_rounds) {
    world w;
    rng r = {n_running};
    begin_world(&w, n_running, 0, 0);
    for (size_t i = 0; i < n; i++) {
        c[i].tokens = 0;
        for (size_t j = 0; j < ARRAY_LEN(c[i].t); j++) {
            ask_as(&w, &c[i].t[j], &c[i].who, 50 + rng_below(&r, 100), 0);
        }
    }
    for (uint64_t round = 0; round < n_rounds; round++) {
        w.now_us += 1000;
        task *ends = NULL; /* the one that has run longest */
        contender *of = NULL;
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < ARRAY_LEN(c[i].t); j++) {
                task *t = &c[i].t[j];
                if (t->state == RUNS && (!ends || t->job.begun_us < ends->job.begun_us)) {
                    ends = t;
                    of = &c[i];
                }
            }
        }
        assert_non_null(ends);
        uint64_t took = ends->job.tokens / 2 + rng_below(&r, ends->job.tokens);
        of->tokens += took;
        leave(&w, ends, took);
        ask_as(&w, ends, &of->who, 50 + rng_below(&r, 100), 0);
    }
    admission_drain(w.a);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < ARRAY_LEN(c[i].t); j++) {
            if (c[i].t[j].state == RUNS) {
                leave(&w, &c[i].t[j], 1);
            }
        }
    }
    admission_free(w.a);
}

static void weights_give_shares_within_ten_percent(void **state) {
    (void)state;
    static contender c[4];
    for (uint32_t n_running = 1; n_running <= 8; n_running *= 2) {
        const uint32_t weights[] = {1, 3, 1, 5};
        static const char *const names[] = {"one", "three", "one more", "five"};
        uint64_t all = 0;
        for (size_t i = 0; i < 4; i++) {
            c[i] = (contender){.who = {names[i], 0, weights[i], 0}};
        }
        compete(c, 4, n_running, 20000);
        for (size_t i = 0; i < 4; i++) {
            all += c[i].tokens;
        }
        for (size_t i = 0; i < 4; i++) {
            uint64_t fair = all * weights[i] / 10;
            assert_in_range(c[i].tokens, fair * 90 / 100, fair * 110 / 100);
        }
    }
}

/* ---- shares of what runs ---- */

enum { CROWD = 150 };
typedef struct crowd {
    admission_who who;
    task t[CROWD];
    uint32_t left[CROWD]; /* tokens until it ends */
    uint64_t tokens;
    bool comes_again;
} crowd;

static uint32_t n_running(const crowd *c) {
    uint32_t n = 0;
    for (int i = 0; i < CROWD; i++) {
        n += c->t[i].state == RUNS;
    }
    return n;
}

static void come(world *w, crowd *c) {
    for (int i = 0; i < CROWD; i++) {
        c->left[i] = 20 + (uint32_t)i % 17;
        ask_as(w, &c->t[i], &c->who, c->left[i], 0);
    }
}

/* A step of the model: a token for each answer that runs. Who has its last one goes, and comes again. */
static void step(world *w, crowd *c, size_t n) {
    w->now_us += 1000;
    for (size_t k = 0; k < n * CROWD; k++) {
        crowd *of = &c[k / CROWD];
        size_t i = k % CROWD;
        if (of->t[i].state != RUNS) {
            continue;
        }
        of->tokens++;
        if (--of->left[i] == 0) {
            leave(w, &of->t[i], 20 + i % 17);
            of->left[i] = 20 + (uint32_t)i % 17;
            if (of->comes_again) {
                ask_as(w, &of->t[i], &of->who, of->left[i], 0);
            }
        }
    }
}

static void keys_that_compete_share_what_a_step_computes(void **state) {
    (void)state;
    world w;
    crowd *c = mem_alloc_array(2, sizeof *c);
    task quiet;
    assert_non_null(c);
    begin_world(&w, 512, 512, 0);
    c[0].who = (admission_who){"one", 0, 1, 0};
    c[1].who = (admission_who){"three", 0, 3, 0};
    c[0].comes_again = c[1].comes_again = true;
    come(&w, &c[0]);
    assert_int_equal(n_running(&c[0]), CROWD); /* nobody else is there */
    come(&w, &c[1]);
    assert_int_equal(n_running(&c[1]), 48);
    for (int i = 0; i < 200; i++) {
        step(&w, c, 2);
    }
    c[0].tokens = c[1].tokens = 0;
    for (int i = 0; i < 1000; i++) {
        step(&w, c, 2);
        assert_in_range(n_running(&c[0]) + n_running(&c[1]), 64, 68);
    }
    assert_in_range(c[0].tokens, 15200, 16800);
    assert_in_range(c[1].tokens, 45600, 50400);
    ask(&w, &quiet, "quiet"); /* who has less than its part waits for nobody */
    assert_int_equal(quiet.state, RUNS);
    leave(&w, &quiet, 1);
    c[1].comes_again = false;
    for (int i = 0; i < 300; i++) {
        step(&w, c, 2);
    }
    assert_int_equal(n_running(&c[1]), 0);
    assert_int_equal(n_running(&c[0]), CROWD); /* alone again */
    admission_drain(w.a);
    end_all(&w, c[0].t, CROWD);
    free(c);
}

/* A key that asks for little leaves the rest to the others, and a lower priority takes no part of a higher one's. */
static void what_a_key_does_not_use_is_the_others(void **state) {
    (void)state;
    world w;
    crowd *c = mem_alloc_array(2, sizeof *c);
    task few[4];
    assert_non_null(c);
    begin_world(&w, 512, 512, 0);
    for (int i = 0; i < 4; i++) {
        ask(&w, &few[i], "few");
    }
    c[0].who = (admission_who){"many", 0, 1, 0};
    come(&w, &c[0]);
    assert_int_equal(n_running(&c[0]), 60);
    c[1].who = (admission_who){"high", 0, 1, 1};
    come(&w, &c[1]);
    assert_int_equal(n_running(&c[1]), CROWD);
    leave(&w, &few[0], 100);
    assert_int_equal(n_running(&c[0]), 60); /* it has more than its 32, and 64 and more run */
    for (int i = 1; i < 4; i++) {
        leave(&w, &few[i], 100);
    }
    assert_int_equal(n_running(&c[0]), CROWD); /* nobody of its priority is left */
    admission_drain(w.a);
    for (int i = 0; i < CROWD; i++) {
        leave(&w, &c[1].t[i], 1);
    }
    end_all(&w, c[0].t, CROWD);
    free(c);
}

/* A key whose requests are ten times as long gets as many tokens, not ten times as many. */
static void shares_are_of_tokens_not_of_requests(void **state) {
    (void)state;
    world w;
    task t[2][4];
    uint64_t tokens[2] = {0, 0};
    static const uint32_t size[2] = {1000, 100};
    static const admission_who who[2] = {{"long", 0, 1, 0}, {"short", 0, 1, 0}};
    begin_world(&w, 1, 0, 0);
    for (int i = 0; i < 8; i++) {
        ask_as(&w, &t[i % 2][i / 2], &who[i % 2], size[i % 2], 0);
    }
    for (int round = 0; round < 2000; round++) {
        w.now_us += 1000;
        for (int i = 0; i < 8; i++) {
            task *x = &t[i % 2][i / 2];
            if (x->state == RUNS) {
                tokens[i % 2] += size[i % 2];
                leave(&w, x, size[i % 2]);
                ask_as(&w, x, &who[i % 2], size[i % 2], 0);
                break;
            }
        }
    }
    assert_in_range(tokens[0], tokens[1] * 9 / 10, tokens[1] * 11 / 10);
    admission_drain(w.a);
    end_all(&w, &t[0][0], 8);
}

static void a_higher_priority_goes_first_and_leaves_what_it_cannot_use(void **state) {
    (void)state;
    world w;
    task low[4], high[4];
    const admission_who l = {"low", 0, 1, -1}, h = {"high", 1, 1, 1};
    begin_world(&w, 1, 0, 0);
    for (int i = 0; i < 4; i++) {
        ask_as(&w, &low[i], &l, 1, 0);
    }
    for (int i = 0; i < 4; i++) {
        ask_as(&w, &high[i], &h, 1000, 0);
    }
    leave(&w, &low[0], 1);
    for (int i = 0; i < 4; i++) {
        assert_true(high[i].state == RUNS && low[1].state == WAITS);
        if (i == 0) {
            admission_set_bounds(w.a, 2, 0, 0); /* the high one's own limit is 1, so the low one gets the other */
            assert_int_equal(low[1].state, RUNS);
            assert_int_equal(high[1].state, WAITS);
            admission_set_bounds(w.a, 1, 0, 0);
            leave(&w, &low[1], 1);
            low[1] = low[2];
            assert_int_equal(low[2].state, WAITS);
        }
        leave(&w, &high[i], 1000);
        if (i < 3) {
            assert_int_equal(high[i + 1].state, RUNS);
        }
    }
    low[1].state = DONE;
    assert_int_equal(low[2].state, RUNS);
    end_all(&w, low, 4);
}

static void keys_that_are_away_are_forgotten(void **state) {
    (void)state;
    world w;
    task t, held;
    char key[16];
    begin_world(&w, 0, 0, 0);
    ask(&w, &held, "held");
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        ask(&w, &t, key);
        leave(&w, &t, 1);
    }
    leave(&w, &held, 1);
    admission_tick(w.a);
    assert_int_equal(admission_get_counts(w.a).n_keys, 0);
    admission_free(w.a);
}

/* ---- no job is lost ---- */

enum { N_TASKS = 400, N_KEYS = 12 };

static void a_hundred_thousand_random_steps_lose_nothing(void **state) {
    (void)state;
    world w;
    rng r = {4};
    static task t[N_TASKS];
    static const char *const names[N_KEYS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    uint64_t n_asked = 0, n_left = 0, n_cancelled = 0, n_refused = 0;
    begin_world(&w, 20, 60, 10);
    w.room = 500;
    memset(t, 0, sizeof t);
    for (int step = 0; step < 100000; step++) {
        w.now_us += rng_below(&r, 5000);
        task *x = &t[rng_below(&r, N_TASKS)];
        uint32_t k = rng_below(&r, N_KEYS);
        if (x->state == RUNS) {
            leave(&w, x, rng_below(&r, 300));
            n_left++;
        } else if (x->state == WAITS) {
            if (rng_below(&r, 4) == 0) {
                assert_true(admission_cancel(w.a, &x->job));
                x->state = CANCELLED;
                n_cancelled++;
            }
        } else {
            n_refused += x->state == REFUSED;
            const admission_who who = {names[k], k % 4 == 0 ? 3 : 0, 1 + k % 5, (int)(k % 3) - 1};
            ask_as(&w, x, &who, rng_below(&r, 500), rng_below(&r, 100));
            n_asked++;
        }
        if (rng_below(&r, 100) == 0) {
            w.room = rng_below(&r, 10) == 0 ? 0 : 100 + rng_below(&r, 600);
            admission_tick(w.a);
        }
        uint32_t n_running = 0, n_waiting = 0;
        if (step % 97 == 0) {
            for (size_t i = 0; i < N_TASKS; i++) {
                n_running += t[i].state == RUNS;
                n_waiting += t[i].state == WAITS;
                assert_true(t[i].n_turns <= 1);
            }
            admission_counts c = admission_get_counts(w.a);
            assert_int_equal(c.n_running, n_running);
            assert_int_equal(c.n_waiting, n_waiting);
            assert_true(n_running <= 20 && n_waiting <= 60);
        }
    }
    w.room = UINT64_MAX;
    admission_tick(w.a);
    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < N_TASKS; i++) {
            if (t[i].state == RUNS) {
                leave(&w, &t[i], 1);
                n_left++;
                any = true;
            }
        }
    }
    for (size_t i = 0; i < N_TASKS; i++) {
        assert_true(t[i].state != WAITS);
        n_refused += t[i].state == REFUSED;
    }
    assert_int_equal(n_asked, n_left + n_cancelled + n_refused);
    admission_counts c = admission_get_counts(w.a);
    assert_int_equal(c.n_admitted, n_left);
    assert_int_equal(c.n_429 + c.n_503, n_refused);
    assert_true(c.n_429 > 0 && c.n_503 > 0 && c.n_cancelled > 0);
    assert_int_equal(c.running_bytes, 0);
    admission_free(w.a);
}

/* ---- threads ---- */

enum { N_THREADS = 4, N_EACH = 3000 };

typedef struct shared {
    admission *a;
    atomic_int n_running, n_most;
    atomic_uint n_run, n_refused, n_cancelled;
} shared;

typedef struct threaded_task {
    admission_job job;
    shared *s;
    atomic_int turn; /* 0: none yet, 1: run, 2: refused */
} threaded_task;

static void on_threaded_turn(void *ctx, const admission_answer *answer) {
    threaded_task *t = ctx;
    atomic_store(&t->turn, answer->verdict == ADMISSION_RUN ? 1 : 2);
}

static void *drive(void *p) {
    shared *s = ((void **)p)[0];
    const char *key = ((void **)p)[1];
    const admission_who who = {key, 2, 1, 0};
    enum { at_once = 6 };
    static _Thread_local threaded_task t[at_once];
    for (int i = 0; i < N_EACH; i += at_once) {
        for (int j = 0; j < at_once; j++) {
            t[j].s = s;
            t[j].job = (admission_job){.ctx = &t[j], .tokens = 10};
            atomic_store(&t[j].turn, 0);
            admission_answer a = admission_ask(s->a, &who, &t[j].job);
            if (a.verdict != ADMISSION_WAIT) {
                atomic_store(&t[j].turn, a.verdict == ADMISSION_RUN ? 1 : 2);
            } else if (j == 4 && admission_cancel(s->a, &t[j].job)) {
                atomic_store(&t[j].turn, 3);
                atomic_fetch_add(&s->n_cancelled, 1);
            }
        }
        for (int j = 0; j < at_once; j++) {
            int turn;
            while ((turn = atomic_load(&t[j].turn)) == 0) {
                sched_yield();
            }
            if (turn == 1) {
                int n = atomic_fetch_add(&s->n_running, 1) + 1, most = atomic_load(&s->n_most);
                while (n > most && !atomic_compare_exchange_weak(&s->n_most, &most, n)) {}
                atomic_fetch_add(&s->n_run, 1);
                atomic_fetch_sub(&s->n_running, 1);
                admission_leave(s->a, &t[j].job, 10);
            } else if (turn == 2) {
                atomic_fetch_add(&s->n_refused, 1);
            }
        }
    }
    return NULL;
}

static void threads_lose_nothing(void **state) {
    (void)state;
    muga_error err;
    shared s = {.a = NULL};
    pthread_t threads[N_THREADS];
    void *args[N_THREADS][2];
    static char keys[N_THREADS][2] = {"a", "b", "c", "c"};
    const admission_options o = {
        .clock = &os_system()->clock, .n_running = 3, .n_waiting = 12, .n_waiting_key = 4, .on_turn = on_threaded_turn};
    assert_ok(admission_new(&o, &s.a, &err), &err);
    for (int i = 0; i < N_THREADS; i++) {
        args[i][0] = &s;
        args[i][1] = keys[i];
        assert_int_equal(pthread_create(&threads[i], NULL, drive, args[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&s.n_run) + atomic_load(&s.n_refused) + atomic_load(&s.n_cancelled),
                     N_THREADS * N_EACH);
    assert_true(atomic_load(&s.n_most) <= 3);
    admission_counts c = admission_get_counts(s.a);
    assert_true(c.n_running == 0 && c.n_waiting == 0 && c.n_admitted == atomic_load(&s.n_run));
    admission_free(s.a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key_is_served_in_order),
        cmocka_unit_test(more_than_may_wait_are_refused),
        cmocka_unit_test(a_key_at_its_limit_waits_and_then_gets_429),
        cmocka_unit_test(who_floods_crowds_out_himself),
        cmocka_unit_test(tokens_that_are_used_up_give_429_until_midnight),
        cmocka_unit_test(memory_holds_back_and_refuses),
        cmocka_unit_test(a_tick_sees_that_there_is_room_again),
        cmocka_unit_test(cancelled_while_waiting_or_not),
        cmocka_unit_test(draining_refuses_all_but_what_runs),
        cmocka_unit_test(more_room_by_configuration_is_used_at_once),
        cmocka_unit_test(retry_after_grows_with_what_is_before),
        cmocka_unit_test(a_quiet_key_goes_before_the_hundred_of_a_busy_one),
        cmocka_unit_test(weights_give_shares_within_ten_percent),
        cmocka_unit_test(keys_that_compete_share_what_a_step_computes),
        cmocka_unit_test(what_a_key_does_not_use_is_the_others),
        cmocka_unit_test(shares_are_of_tokens_not_of_requests),
        cmocka_unit_test(a_higher_priority_goes_first_and_leaves_what_it_cannot_use),
        cmocka_unit_test(keys_that_are_away_are_forgotten),
        cmocka_unit_test(a_hundred_thousand_random_steps_lose_nothing),
        cmocka_unit_test(threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
