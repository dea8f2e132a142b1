/* kill -9 at 200 random moments of a run, and before and behind each of its commits. If this failed, a crash could lose
 * a call that was acknowledged, run one twice, run one that was not recorded, break the audit chain, or leave a store
 * that does not open again at once.
 *
 * A child drives the executor with scripted decisions: reads, writes, writes that wait for a person, writes whose
 * database can't tell afterwards. It is killed, the parent looks, and starts another on the same store. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <strings.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_KILLS 200
#define RESTART_MAX_MS 2000
#define READY_TIMEOUT_MS 20000 /* a watchdog, not a bar */

static const char kill_manifest[] =
    "version: 1\nagent: test-shop\nkind: goal\nmodel: scripted\nsession: {customer: {type: integer}}\n"
    "goal: {statement: Help.}\n"
    "tools:\n"
    "  - name: look\n"
    "    description: Read.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT count(*) AS n FROM orders'}\n"
    "    effect: read\n"
    "  - name: once\n"
    "    description: Write.\n"
    "    parameters: {type: object, properties: {i: {type: integer}}, required: [i], additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO once(i) VALUES (:i)'}\n"
    "    effect: write\n"
    "    approval: never\n"
    "  - name: asked\n"
    "    description: Write with leave.\n"
    "    parameters: {type: object, properties: {i: {type: integer}}, required: [i], additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO asked(i) VALUES (:i)'}\n"
    "    effect: write\n"
    "    approval: always\n"
    "  - name: unsure\n"
    "    description: Write where nobody can look afterwards.\n"
    "    parameters: {type: object, properties: {i: {type: integer}}, required: [i], additionalProperties: false}\n"
    "    sql: {database: other.db, exec: 'INSERT INTO unsure(i) VALUES (:i)', exactly_once: false}\n"
    "    effect: write\n"
    "    approval: never\n";

/* ---- the child: dies at any instruction ---- */

static void must(muga_status st, const muga_error *err) {
    if (st != MUGA_OK) {
        fprintf(stderr, "child: %s\n", err->message);
        _exit(3);
    }
}

/* What waits is decided (yes to what was held, no to what is in doubt) and gone on with. */
static void settle_waiting(const agent_env *env, store *s, const manifest *m, agent_session *session) {
    muga_error err;
    json_t *waiting, *w;
    size_t i;
    must(executor_waiting(session, &waiting, &err), &err);
    json_array_foreach(waiting, i, w) {
        const char *state = json_get_string(w, "state");
        call_result r;
        if (strcmp(state, "approved") != 0) {
            must(approval_decide(env, s, m, json_get_string(w, "approval"), strcmp(state, "held") == 0, "test", &err),
                 &err);
        }
        must(executor_resume(session, json_get_string(w, "call"), &r, &err), &err);
        call_result_release(&r);
    }
    json_decref(waiting);
}

static int64_t count_calls(store *s) {
    muga_error err;
    store_row *r;
    bool has;
    must(store_query(s, &r, &err, "SELECT count(*) FROM calls", ""), &err);
    must(store_step(r, &has, &err), &err);
    int64_t n = store_int(r, 0);
    store_done(r);
    return n;
}

static void find_session(store *s, char id[AGENT_ID_SIZE]) {
    muga_error err;
    store_row *r;
    bool has;
    must(store_query(s, &r, &err, "SELECT id FROM sessions", ""), &err);
    must(store_step(r, &has, &err), &err);
    snprintf(id, AGENT_ID_SIZE, "%s", has ? store_string(r, 0) : "");
    store_done(r);
}

static agent_session *open_session(const agent_env *env, store *s, const manifest *m) {
    muga_error err;
    agent_session *session;
    char id[AGENT_ID_SIZE];
    find_session(s, id);
    if (id[0]) {
        must(session_open(env, s, m, id, &session, &err), &err);
    } else {
        json_t *values = json_pack("{s:i}", "customer", 1);
        must(session_new(env, s, m, values, NULL, &session, &err), &err);
        json_decref(values);
    }
    return session;
}

/* Decision i is a function of i, and i is the number of calls in the journal: nothing else is remembered. */
static void decide(agent_session *session, int64_t i) {
    static const char *const tools[] = {"once", "asked", "look", "unsure"};
    const char *tool = tools[i % 4];
    muga_error err;
    call_result r;
    json_t *arguments = strcmp(tool, "look") == 0 ? json_object() : json_pack("{s:I}", "i", (json_int_t)i);
    must(session_add_user(session, "go on", 5, &err), &err);
    must(executor_call(session, tool, arguments, &r, &err), &err);
    json_decref(arguments);
    call_result_release(&r);
}

static int64_t n_commits_left = -1; /* statements that make a change last, until this process dies at one; -1: never */

static int at_statement(unsigned when, void *ctx, void *stmt, void *x) {
    (void)when; /* before it runs, or behind it */
    (void)ctx;
    (void)x;
    sqlite3 *db = sqlite3_db_handle(stmt);
    bool lasts = strncasecmp(sqlite3_sql(stmt), "COMMIT", 6) == 0 ||
                 (sqlite3_get_autocommit(db) && !sqlite3_stmt_readonly(stmt));
    if (lasts && n_commits_left >= 0 && n_commits_left-- == 0) {
        kill(getpid(), SIGKILL);
    }
    return 0;
}

static int watch(sqlite3 *db, char **message, const struct sqlite3_api_routines *api) {
    (void)message;
    (void)api;
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, at_statement, NULL);
}

static void run_child(const char *dir, const char *store_path, int ready_fd, int64_t n_decisions) {
    muga_error err;
    agent_env env = agent_env_system();
    manifest *m;
    store *s;
    must(manifest_load(&env, dir, NULL, &m, &err), &err);
    must(store_open(store_path, NULL, &s, &err), &err);
    agent_session *session = open_session(&env, s, m);
    if (write(ready_fd, "r", 1) != 1) {
        _exit(4);
    }
    for (int64_t i = count_calls(s), end = i + n_decisions; i < end; i++) {
        settle_waiting(&env, s, m, session);
        decide(session, count_calls(s));
    }
    settle_waiting(&env, s, m, session);
    session_close(session);
    store_close(s);
    manifest_free(m);
    _exit(0);
}

/* ---- the parent ---- */

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

typedef struct child {
    pid_t pid;
    int ready_fd;
    uint64_t started_us;
} child;

static child start(const agent_fixture *f, int64_t n_decisions) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    child c = {.started_us = now_us(), .ready_fd = fds[0]};
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        close(fds[0]);
        alarm(READY_TIMEOUT_MS / 1000);
        run_child(f->dir, f->store_path, fds[1], n_decisions);
    }
    close(fds[1]);
    return c;
}

/* Milliseconds from start to a session that goes on. */
static int64_t wait_ready(const child *c) {
    char byte;
    assert_int_equal(read(c->ready_fd, &byte, 1), 1); /* 0: it died by itself */
    return (int64_t)(now_us() - c->started_us) / 1000;
}

static int finish(const child *c) {
    int status = 0;
    char byte;
    while (read(c->ready_fd, &byte, 1) > 0) {} /* till its end */
    close(c->ready_fd);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    return status;
}

static void check(const agent_fixture *f) {
    muga_error err;
    store *s;
    audit_report report;
    assert_ok(store_open(f->store_path, NULL, &s, &err), &err);
    assert_ok(audit_verify(s, &report, &err), &err);
    store_close(s);
    assert_int_equal(fixture_count(f->shop_path, "SELECT count(*) - count(DISTINCT i) FROM once"), 0);
    assert_int_equal(fixture_count(f->shop_path, "SELECT count(*) - count(DISTINCT i) FROM asked"), 0);
}

static void prepare(agent_fixture *f, const char *name, char *other, size_t n_other) {
    fixture_prepare(f, name, kill_manifest);
    fixture_sql(f->shop_path, "CREATE TABLE once(i INTEGER); CREATE TABLE asked(i INTEGER)");
    snprintf(other, n_other, "%s/other.db", f->dir);
    fixture_sql(other, "CREATE TABLE unsure(i INTEGER)");
}

/* One decision of each kind, by a child that dies at commit number `at` and by another that goes on. False: the first
 * came to its end alive. */
static bool die_at(int64_t at) {
    agent_fixture f;
    char name[32], other[1100];
    snprintf(name, sizeof name, "commit-%lld", (long long)at);
    prepare(&f, name, other, sizeof other);
    n_commits_left = at;
    child c = start(&f, 4);
    n_commits_left = -1;
    int status = finish(&c);
    bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    assert_true(died || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    if (died) {
        int64_t n = access(f.store_path, F_OK) == 0
                        ? fixture_count(f.store_path, "SELECT count(*) FROM sqlite_schema WHERE name = 'calls'")
                        : 0;
        n = n ? fixture_count(f.store_path, "SELECT count(*) FROM calls") : 0;
        c = start(&f, 4 - n);
        status = finish(&c);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    check(&f);
    if (fixture_count(f.store_path, "SELECT count(*) FROM calls") != 4 ||
        fixture_count(f.shop_path, "SELECT count(*) FROM once") != 1 ||
        fixture_count(f.shop_path, "SELECT count(*) FROM asked") != 1 ||
        fixture_count(other, "SELECT count(*) FROM unsure") > 1 ||
        fixture_count(f.store_path, "SELECT count(*) FROM calls WHERE state NOT IN ('finished', 'denied')") != 0) {
        fail_msg("died at commit %lld: see %s", (long long)at, f.dir);
    }
    fixture_close(&f);
    return died;
}

static void a_death_before_or_behind_any_commit_changes_nothing(void **state) {
    (void)state;
    int64_t n = 0;
    sqlite3_auto_extension((void (*)(void))watch);
    while (die_at(n)) {
        n++;
    }
    sqlite3_reset_auto_extension();
    print_message("%lld places to die at\n", (long long)n);
    assert_true(n > 40);
}

static void nothing_is_lost_and_nothing_runs_twice(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    rng random;
    char other[1100];
    assert_ok(os_random(&random, sizeof random, &err), &err);
    prepare(&f, "kill9", other, sizeof other);
    int64_t slowest_ms = 0;
    for (int i = 0; i < N_KILLS; i++) {
        child c = start(&f, 1000000);
        if (i % 4 != 0) { /* one in four dies before or while it picks up what the last one left */
            int64_t ms = wait_ready(&c);
            slowest_ms = MAX(slowest_ms, ms);
        }
        usleep(rng_below(&random, 25000));
        kill(c.pid, SIGKILL);
        int status = finish(&c);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        check(&f);
    }
    child c = start(&f, 4);
    wait_ready(&c);
    int status = finish(&c);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check(&f);
    /* every decision in the journal took effect exactly once, where the database can tell; else at most once */
    int64_t n = fixture_count(f.store_path, "SELECT count(*) FROM calls");
    int64_t n_asked =
        fixture_count(f.store_path, "SELECT count(*) FROM calls WHERE tool = 'asked' AND state = 'finished'");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM once"), (n + 3) / 4);
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM asked"), n_asked);
    assert_int_equal(n_asked, (n + 2) / 4);
    assert_int_equal(fixture_count(other, "SELECT count(*) - count(DISTINCT i) FROM unsure"), 0);
    assert_int_equal(fixture_count(f.store_path,
                                   "SELECT count(*) FROM calls WHERE state IN ('proposed', 'validated', 'held',"
                                   " 'approved', 'started', 'in_doubt')"),
                     0);
    print_message(
        "%lld calls, %lld of them interrupted, %lld in doubt; slowest restart %lld ms\n", (long long)n,
        (long long)fixture_count(f.store_path, "SELECT count(*) FROM audit_payload WHERE json_extract(payload,"
                                               " '$.again') IS NOT NULL"),
        (long long)fixture_count(f.store_path, "SELECT count(*) FROM calls WHERE attempt > 1"), (long long)slowest_ms);
    assert_true(n > N_KILLS / 4); /* else the kills met nothing */
    assert_true(slowest_ms < RESTART_MAX_MS);
    fixture_close(&f);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_death_before_or_behind_any_commit_changes_nothing),
                                       cmocka_unit_test(nothing_is_lost_and_nothing_runs_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
