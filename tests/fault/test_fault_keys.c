/* Every allocation failed in turn while keys are made, listed, rotated, revoked, read and counted, and while requests
 * are admitted. If this failed, a machine short of memory could let in who has no key, keep half a key, forget what was
 * used, lose a request, crash or leak. */
#include "support/support.h"

#include "base/mem.h"
#include "serve/admission.h"
#include "serve/keys.h"
#include "support/agent_fixture.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <string.h>

#define NOW_MS INT64_C(1728000001000)

static char path[512], front[KEY_TEXT_SIZE];
static store *s;         /* of the operations on rows */
static struct keys *k;   /* of those of the server */
static uint64_t charged; /* to `front`, in all */

static int64_t now_ms(void *self) {
    (void)self;
    return NOW_MS;
}

static uint64_t monotonic_us(void *self) {
    (void)self;
    return NOW_MS * 1000;
}

static const os_clock clock_table = {now_ms, monotonic_us, NULL, NULL};
static agent_env env;
static const key_operator by = {&env, "operator"};

/* ---- what is done ---- */

static muga_status create(size_t n, muga_error *err) {
    char id[KEY_ID_SIZE], text[KEY_TEXT_SIZE], name[32];
    snprintf(name, sizeof name, "made-%zu", n);
    const key_spec spec = {.name = name, .scopes = "models:*,agents:shop", .tenant = "t", .concurrency = 1};
    return keys_create(s, &by, &spec, id, text, err);
}

static muga_status list(size_t n, muga_error *err) {
    json_t *all;
    (void)n;
    muga_status st = keys_list(s, NOW_MS, &all, err);
    json_decref(all);
    return st;
}

static muga_status usage(size_t n, muga_error *err) {
    json_t *all;
    (void)n;
    muga_status st = keys_usage(s, "front", 2, NOW_MS, &all, err);
    json_decref(all);
    return st;
}

static muga_status rotate(size_t n, muga_error *err) {
    char id[KEY_ID_SIZE], text[KEY_TEXT_SIZE];
    (void)n;
    return keys_rotate(s, &by, "turned", 0, id, text, err);
}

static muga_status revoke(size_t n, muga_error *err) {
    (void)n;
    return keys_revoke(s, &by, "victim", false, err);
}

static muga_status open_close(size_t n, muga_error *err) {
    const keys_options o = {path, &clock_table, "models:*,agents:a"};
    struct keys *other;
    (void)n;
    muga_status st = keys_open(&o, &other, err);
    keys_close(other);
    return st;
}

static muga_status serve(size_t n, muga_error *err) {
    const struct key *who;
    (void)n;
    muga_status st = keys_reload(k, err);
    assert_int_equal(keys_check(k, "sk-dummy", &who), KEYS_UNKNOWN);
    assert_int_equal(keys_check(k, front, &who), KEYS_GOOD);
    keys_charge(k, who, 2, 1);
    charged += 3;
    assert_int_equal(keys_used_today(k, who), charged);
    key_release(who);
    return st;
}

static void on_turn(void *job, const admission_answer *a) {
    *(admission_verdict *)job = a->verdict;
}

/* Seventy keys, so that tables grow; half of the requests wait. A request that can't be remembered gets 503. */
static muga_status admit(size_t n, muga_error *err) {
    enum { n_jobs = 70 };
    static admission_job jobs[n_jobs];
    static admission_verdict verdicts[n_jobs];
    admission *a;
    bool refused = false;
    const admission_options o = {.clock = &clock_table, .n_running = 35, .on_turn = on_turn};
    (void)n;
    if (admission_new(&o, &a, err) != MUGA_OK) {
        return MUGA_E_NOMEM;
    }
    for (size_t i = 0; i < n_jobs; i++) {
        char name[8];
        snprintf(name, sizeof name, "k%zu", i);
        const admission_who who = {name, 0, 1, 0};
        jobs[i] = (admission_job){.ctx = &verdicts[i], .tokens = 1};
        admission_answer answer = admission_ask(a, &who, &jobs[i]);
        verdicts[i] = answer.verdict;
        refused = refused || answer.verdict == ADMISSION_REFUSED;
        assert_true(answer.verdict != ADMISSION_REFUSED || answer.status == 503);
    }
    for (size_t i = 0; i < n_jobs; i++) {
        assert_true(verdicts[i] != ADMISSION_WAIT);
        if (verdicts[i] == ADMISSION_RUN) {
            admission_leave(a, &jobs[i], 1);
        }
    }
    admission_free(a);
    return refused ? error_nomem(err, "a request") : MUGA_OK;
}

/* ---- each with its nth allocation failed ---- */

static void make(const char *name, char text[KEY_TEXT_SIZE]) {
    muga_error err;
    char id[KEY_ID_SIZE];
    store *own;
    assert_ok(store_open(path, NULL, &own, &err), &err);
    assert_ok(keys_create(own, &by, &(key_spec){.name = name}, id, text, &err), &err);
    store_close(own);
}

static void assert_whole(const char *what, size_t n) {
    int64_t bare = fixture_count(path, "SELECT count(*) FROM api_keys WHERE id NOT IN (SELECT key FROM"
                                       " api_key_secrets)");
    if (bare != 0) {
        fail_msg("%s, allocation %zu: a key without a secret", what, n);
    }
}

static void fail_each(const char *what, muga_status (*op)(size_t n, muga_error *err), bool has_store, size_t least) {
    bool hit = true;
    size_t n = 0;
    while (hit) {
        muga_error err = {0};
        n++;
        long live = fault_live();
        if (has_store) {
            assert_ok(store_open(path, NULL, &s, &err), &err);
        }
        fault_fail_at(n);
        muga_status st = op(n, &err);
        hit = fault_hit();
        fault_fail_at(0);
        if (has_store) {
            store_close(s);
        }
        if (op != serve && fault_live() != live) {
            fail_msg("%s, allocation %zu (status %d): %ld blocks leaked", what, n, st, fault_live() - live);
        }
        if (st != MUGA_OK && (!hit || st != MUGA_E_NOMEM || !*err.message)) {
            fail_msg("%s, allocation %zu: status %d: %s", what, n, st, err.message);
        }
        if (op == revoke && st == MUGA_OK) {
            char text[KEY_TEXT_SIZE];
            make("victim", text); /* the name is free again */
        }
        assert_whole(what, n);
    }
    print_message("%s: %zu allocations\n", what, n - 1);
    assert_true(n > least);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char text[KEY_TEXT_SIZE];
    muga_error err;
    const keys_options o = {path, &clock_table, NULL};
    snprintf(path, sizeof path, "%s", scratch_path("keys.db"));
    env = agent_env_system();
    env.clock = &clock_table;
    make("front", front);
    make("turned", text);
    make("victim", text);
    fail_each("create", create, true, 20);
    fail_each("list", list, true, 20);
    fail_each("rotate", rotate, true, 20);
    fail_each("revoke", revoke, true, 10);
    fail_each("open and close", open_close, false, 50);
    long live = fault_live();
    assert_ok(keys_open(&o, &k, &err), &err);
    fail_each("serve", serve, false, 20);
    assert_ok(keys_reload(k, &err), &err);
    keys_close(k);
    assert_int_equal(fault_live(), live);
    assert_int_equal(fixture_count(path, "SELECT sum(prompt_tokens + answer_tokens) FROM api_key_usage"), charged);
    fail_each("usage", usage, true, 20);
    fail_each("admit", admit, false, 70);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
