/* Would break: a model is unloaded under a request that has it, two loads of one take its memory twice, the limit of
 * all models isn't kept, a request waits for ever, or one that was replaced in the store is served on. */
#include "base/mem.h"
#include "hub/hub.h"
#include "serve/pool.h"
#include "support/support.h"

#include <pthread.h>
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
        cmocka_unit_test(test_what_the_store_has_now_is_served),
        cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_many_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
