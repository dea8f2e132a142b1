/* Would break: a model is unloaded under a request that has it, two loads of one take its memory twice, the limit of
 * all models isn't kept, a request waits for ever, or one that was replaced in the store is served on. */
#include "base/mem.h"
#include "hub/hub.h"
#include "serve/pool.h"
#include "support/support.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MB ((uint64_t)1 << 20)
#define ONE_AT_A_TIME (24 * MB + 200000) /* what the pool thinks that such a model needs, and little more */

/* ---- a clock that is set ---- */

static _Atomic uint64_t clock_us = 1000000;

static uint64_t monotonic_us(void *self) {
    (void)self;
    return clock_us;
}

static int64_t now_ms(void *self) {
    (void)self;
    return (int64_t)(clock_us / 1000);
}

static void sleep_ms(void *self, int64_t ms) {
    (void)self;
    clock_us += (uint64_t)ms * 1000;
}

static const os_clock set_clock = {now_ms, monotonic_us, sleep_ms, NULL};

/* ---- a store of small models; each has a file of its own ---- */

static void add(const hub *h, const char *name, size_t padding) {
    const os_files *f = &os_system()->files;
    static const char zeros[4096];
    muga_error err;
    str bytes = STR_INIT;
    assert_ok(os_read_file(f, source_path("tests/data/tiny.gguf"), (size_t)16 << 20, &bytes, &err), &err);
    str_append(&bytes, zeros, padding);
    const char *path = scratch_path("model.gguf");
    assert_ok(os_write_file_atomic(f, path, str_get(&bytes), bytes.len, &err), &err);
    assert_ok(hub_add(h, name, path, "a test", &err), &err);
    str_release(&bytes);
}

typedef struct stage {
    hub h;
    pool *p;
} stage;

static stage open_stage(const char *folder, uint64_t memory_bytes) {
    stage s;
    muga_error err;
    assert_ok(hub_open(&os_system()->files, scratch_path(folder), &s.h, &err), &err);
    add(&s.h, "a", 32);
    add(&s.h, "b", 64);
    add(&s.h, "c", 96);
    static hub kept; /* the pool borrows it */
    kept = s.h;
    const pool_options o = {.hub = &kept,
                            .clock = &set_clock,
                            .memory_bytes = memory_bytes,
                            .all = {.n_threads = 1, .keep_alive_ms = 60000}};
    assert_ok(pool_new(&o, &s.p, &err), &err);
    return s;
}

static void close_stage(stage *s) {
    pool_free(s->p);
    hub_close(&s->h);
}

static size_t n_loaded(pool *p, const char *name) {
    json_t *list;
    muga_error err;
    size_t i, n = 0;
    const json_t *e;
    assert_ok(pool_list(p, &list, &err), &err);
    json_array_foreach(list, i, e) n += !name || !strcmp(json_get_string(e, "name"), name);
    json_decref(list);
    return n;
}

static pool_lent take(pool *p, const char *name) {
    pool_lent lent;
    muga_error err;
    assert_ok(pool_take(p, name, NULL, NULL, &lent, &err), &err);
    assert_non_null(lent.m);
    return lent;
}

/* ---- the tests ---- */

static void test_is_loaded_once_and_stays_for_its_time(void **state) {
    (void)state;
    stage s = open_stage("once", 1024 * MB);
    pool_lent x = take(s.p, "a"), y = take(s.p, "a:latest");
    assert_ptr_equal(x.m, y.m);
    assert_string_equal(x.name, "a:latest");
    pool_give(s.p, &x, -1);
    clock_us += 3600 * 1000000ull;
    (void)pool_sweep(s.p);
    assert_int_equal(n_loaded(s.p, NULL), 1); /* it is lent */
    pool_give(s.p, &y, -1);
    clock_us += 59 * 1000000ull;
    assert_true(pool_sweep(s.p) <= 1000);
    assert_int_equal(n_loaded(s.p, NULL), 1);
    clock_us += 2 * 1000000ull;
    (void)pool_sweep(s.p);
    assert_int_equal(n_loaded(s.p, NULL), 0);
    x = take(s.p, "a");
    pool_give(s.p, &x, 0); /* unloaded with its last user */
    assert_int_equal(n_loaded(s.p, NULL), 0);
    x = take(s.p, "a");
    pool_give(s.p, &x, POOL_FOREVER);
    clock_us += 100000 * 1000000ull;
    (void)pool_sweep(s.p);
    assert_int_equal(n_loaded(s.p, NULL), 1);
    close_stage(&s);
}

static void test_makes_room_of_what_was_used_longest_ago(void **state) {
    (void)state;
    stage s = open_stage("room", ONE_AT_A_TIME);
    pool_lent x = take(s.p, "a");
    pool_give(s.p, &x, -1);
    x = take(s.p, "b");
    pool_give(s.p, &x, -1);
    assert_int_equal(n_loaded(s.p, "a:latest"), 0);
    assert_int_equal(n_loaded(s.p, "b:latest"), 1);
    close_stage(&s);
}

static void test_too_large_and_pinned(void **state) {
    (void)state;
    stage s = open_stage("pinned", ONE_AT_A_TIME);
    muga_error err;
    pool_lent x, y;
    const pool_settings pinned = {.n_threads = 1, .keep_alive_ms = 0, .pinned = true};
    assert_ok(pool_set(s.p, "a", &pinned, &err), &err);
    x = take(s.p, "a");
    pool_give(s.p, &x, 0);
    assert_int_equal(n_loaded(s.p, "a:latest"), 1);
    assert_status(pool_take(s.p, "b", NULL, NULL, &y, &err), MUGA_E_LIMIT, &err, "raise the limit");
    assert_int_equal(n_loaded(s.p, NULL), 1);
    close_stage(&s);
}

typedef struct waiter {
    pthread_t thread;
    pool *p;
    const char *name;
    int first; /* of a, b, c */
    atomic_bool gone, done;
    muga_status status;
    pool_lent lent;
} waiter;

static void *wait_for_model(void *arg) {
    waiter *w = arg;
    muga_error err;
    w->status = pool_take(w->p, w->name, NULL, &w->gone, &w->lent, &err);
    atomic_store(&w->done, true);
    return NULL;
}

static void test_waits_for_room_or_leaves(void **state) {
    (void)state;
    stage s = open_stage("waits", ONE_AT_A_TIME);
    pool_lent x = take(s.p, "a");
    waiter stays = {.p = s.p, .name = "b"}, leaves = {.p = s.p, .name = "c"};
    pthread_create(&stays.thread, NULL, wait_for_model, &stays);
    pthread_create(&leaves.thread, NULL, wait_for_model, &leaves);
    atomic_store(&leaves.gone, true);
    pthread_join(leaves.thread, NULL);
    assert_int_equal(leaves.status, MUGA_E_CANCELLED);
    assert_false(atomic_load(&stays.done));
    pool_give(s.p, &x, -1);
    pthread_join(stays.thread, NULL);
    assert_int_equal(stays.status, MUGA_OK);
    pool_give(s.p, &stays.lent, -1);
    assert_int_equal(n_loaded(s.p, NULL), 1);
    close_stage(&s);
}

/* Until it is being loaded, or waits for room to be. */
static void wait_until_asked(pool *p, const char *name) {
    bool is = false;
    while (!is) {
        json_t *list;
        muga_error err;
        size_t i;
        const json_t *e;
        assert_ok(pool_list(p, &list, &err), &err);
        json_array_foreach(list, i, e)
            is = is || (json_get_bool(e, "loading", false) && !strcmp(json_get_string(e, "name"), name));
        json_decref(list);
        sched_yield();
    }
}

/* One that is used all the time doesn't keep another out: after a while who comes anew waits behind who waited. */
static void test_room_comes_in_turn(void **state) {
    (void)state;
    stage s = open_stage("turn", ONE_AT_A_TIME);
    pool_lent x = take(s.p, "a");
    waiter other = {.p = s.p, .name = "b"}, again = {.p = s.p, .name = "a"};
    pthread_create(&other.thread, NULL, wait_for_model, &other);
    wait_until_asked(s.p, "b:latest");
    pool_lent y = take(s.p, "a"); /* at first it is shared */
    assert_ptr_equal(y.m, x.m);
    while (n_loaded(s.p, "a:latest") > 0) {
        clock_us += 10 * 1000000ull;
        sched_yield();
    }
    pthread_create(&again.thread, NULL, wait_for_model, &again);
    wait_until_asked(s.p, "a:latest");
    pool_give(s.p, &x, -1);
    assert_false(atomic_load(&other.done));
    pool_give(s.p, &y, -1);
    pthread_join(other.thread, NULL);
    assert_int_equal(other.status, MUGA_OK);
    assert_false(atomic_load(&again.done));
    pool_give(s.p, &other.lent, -1);
    pthread_join(again.thread, NULL);
    assert_int_equal(again.status, MUGA_OK);
    pool_give(s.p, &again.lent, -1);
    close_stage(&s);
}

/* Two names of one file that wait for room are one load: what the first has is the second's, too. */
static void test_names_of_one_file_wait_for_one_room(void **state) {
    (void)state;
    stage s = open_stage("names", ONE_AT_A_TIME);
    muga_error err;
    pool_lent x = take(s.p, "a");
    waiter w[2] = {{.p = s.p, .name = "b"}, {.p = s.p, .name = "b2"}};
    assert_ok(hub_copy(&s.h, "b", "b2", &err), &err);
    for (int i = 0; i < 2; i++) {
        pthread_create(&w[i].thread, NULL, wait_for_model, &w[i]);
        wait_until_asked(s.p, i ? "b2:latest" : "b:latest");
    }
    pool_give(s.p, &x, -1);
    for (int i = 0; i < 2; i++) { /* both are lent at a time */
        pthread_join(w[i].thread, NULL);
        assert_int_equal(w[i].status, MUGA_OK);
    }
    assert_string_equal(w[0].lent.stored->path, w[1].lent.stored->path);
    for (int i = 0; i < 2; i++)
        pool_give(s.p, &w[i].lent, -1);
    close_stage(&s);
}

/* A few long prompts with nothing in common: their keys and values are kept. */
static void ask_long(pool *p, const char *name) {
    pool_lent x = take(p, name);
    for (int i = 0; i < 6; i++) {
        str text = STR_INIT;
        muga_error err;
        llm_reply reply;
        for (int k = 0; k < 480; k++)
            str_printf(&text, "%d ", i + k);
        json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", str_get(&text));
        const llm_request r = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 1};
        assert_ok(llm_complete(x.m, &r, &reply, &err), &err);
        llm_reply_release(&reply);
        json_decref(messages);
        str_release(&text);
    }
    pool_give(p, &x, -1);
}

static uint64_t bytes_loaded(pool *p) {
    json_t *list;
    muga_error err;
    size_t i;
    const json_t *e;
    uint64_t sum = 0;
    assert_ok(pool_list(p, &list, &err), &err);
    json_array_foreach(list, i, e) sum += (uint64_t)json_get_int(e, "bytes", 0);
    json_decref(list);
    return sum;
}

/* What models keep of prompts counts, too: past the limit those that were used longest ago go, but never all. */
static void test_what_is_kept_of_prompts_counts(void **state) {
    (void)state;
    enum { N = 24 };
    const uint64_t limit = 28 * MB; /* all fit before anything was asked */
    stage s = open_stage("kept", limit);
    char names[N][16];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "m%d", i);
        add(&s.h, names[i], 1000 + (size_t)i * 32);
        pool_lent x = take(s.p, names[i]);
        pool_give(s.p, &x, -1);
    }
    (void)pool_sweep(s.p);
    assert_int_equal(n_loaded(s.p, NULL), N);
    for (int i = 0; i < N; i++) {
        clock_us += 1000000;
        ask_long(s.p, names[i]);
    }
    assert_true(bytes_loaded(s.p) > limit);
    (void)pool_sweep(s.p);
    size_t left = n_loaded(s.p, NULL);
    assert_true(bytes_loaded(s.p) <= limit);
    assert_in_range(left, N / 2, N - 1);
    assert_int_equal(n_loaded(s.p, "m0:latest"), 0);
    assert_int_equal(n_loaded(s.p, "m23:latest"), 1);
    close_stage(&s);
}

static void test_what_the_store_has_now_is_served(void **state) {
    (void)state;
    stage s = open_stage("changed", 1024 * MB);
    muga_error err;
    pool_lent old = take(s.p, "a"), copy, fresh;
    assert_ok(hub_copy(&s.h, "a", "alias", &err), &err);
    copy = take(s.p, "alias"); /* over the same weights */
    assert_ptr_not_equal(copy.m, old.m);
    assert_string_equal(copy.stored->path, old.stored->path);
    add(&s.h, "a", 128);
    fresh = take(s.p, "a");
    assert_ptr_not_equal(fresh.m, old.m);
    assert_string_not_equal(fresh.stored->path, old.stored->path);
    assert_string_equal(old.name, "a:latest"); /* who has it keeps it */
    pool_give(s.p, &old, -1);
    pool_give(s.p, &copy, -1);
    pool_give(s.p, &fresh, -1);
    assert_int_equal(n_loaded(s.p, "a:latest"), 1);
    assert_ok(pool_unload(s.p, "a", &err), &err);
    assert_status(pool_unload(s.p, "a", &err), MUGA_E_NOT_FOUND, &err, "isn't loaded");
    close_stage(&s);
}

static void test_names_that_are_none(void **state) {
    (void)state;
    stage s = open_stage("names", 1024 * MB);
    static const char *const names[] = {"none", "../a", "/etc/passwd", "a:none", "A B", "", "tests/data/tiny.gguf"};
    pool_lent x;
    muga_error err;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(pool_take(s.p, names[i], NULL, NULL, &x, &err), MUGA_E_NOT_FOUND);
    pool_close(s.p);
    assert_status(pool_take(s.p, "a", NULL, NULL, &x, &err), MUGA_E_ENV, &err, "stopping");
    close_stage(&s);
}

#define THREADS 6
#define ROUNDS 40

static void *come_and_go(void *arg) {
    waiter *w = arg;
    static const char *const names[] = {"a", "b", "c"};
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hi");
    for (int i = 0; i < ROUNDS && !w->status; i++) {
        pool_lent x;
        llm_reply r;
        muga_error err;
        w->status = pool_take(w->p, names[(i + w->first) % 3], NULL, NULL, &x, &err);
        if (w->status)
            break;
        llm_request q = {.messages = messages, .sampling = LLM_SAMPLING_GREEDY, .max_tokens = 3};
        w->status = llm_complete(x.m, &q, &r, &err);
        llm_reply_release(&r);
        pool_give(w->p, &x, i % 7 == 0 ? 0 : -1);
        if (i % 5 == 0)
            (void)pool_sweep(w->p);
        if (i % 11 == 0 && pool_unload(w->p, "b", &err) == MUGA_E_INTERNAL)
            w->status = MUGA_E_INTERNAL;
    }
    json_decref(messages);
    return NULL;
}

static void test_many_come_and_go(void **state) {
    (void)state;
    stage s = open_stage("many", ONE_AT_A_TIME);
    waiter all[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        all[i] = (waiter){.p = s.p, .first = i};
        pthread_create(&all[i].thread, NULL, come_and_go, &all[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(all[i].thread, NULL);
        assert_int_equal(all[i].status, MUGA_OK);
    }
    close_stage(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_loaded_once_and_stays_for_its_time),
        cmocka_unit_test(test_makes_room_of_what_was_used_longest_ago),
        cmocka_unit_test(test_too_large_and_pinned),
        cmocka_unit_test(test_waits_for_room_or_leaves),
        cmocka_unit_test(test_room_comes_in_turn),
        cmocka_unit_test(test_names_of_one_file_wait_for_one_room),
        cmocka_unit_test(test_what_is_kept_of_prompts_counts),
        cmocka_unit_test(test_what_the_store_has_now_is_served),
        cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_many_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
