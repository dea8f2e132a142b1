/* kill -9 at every step of the journal. If this failed, a crash could lose a call that was acknowledged, run one twice,
 * run one that was not recorded, break the audit chain, or leave a store that does not open again at once.
 *
 * A child drives the executor with scripted decisions, which take every arrow of journal.c. It counts the places it
 * passes, which are the moments before and behind each statement that writes a call's state, and before and behind each
 * commit; at the place it was told it kills itself. No clock is in it: the same place is the same place in every run.
 * The parent looks at what is left, and lets another child go on with it. In make check a child dies once at each place
 * that has a name of its own (which state, which side of which statement); in make check-long at every place, and then
 * again and again until there have been 1,000 deaths. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_DEATHS_LONG 1000
#define N_DEATHS_SHORT 40 /* of the run that goes on and on */
#define WATCHDOG_SECONDS 300
#define DAY_MS INT64_C(86400000)
#define N_DECISIONS 15

#define TAKES_I                                                                                                        \
    "    description: d\n    parameters: {type: object, properties: {i: {type: integer}}, required: [i],"              \
    " additionalProperties: false}\n"

static const char kill_manifest[] =
    "version: 1\nagent: test-shop\nkind: goal\nmodel: scripted\nsession: {customer: {type: integer}}\n"
    "goal: {statement: Help.}\nlimits: {approval_seconds: 3600}\ntools:\n"
    "  - name: look\n" TAKES_I "    sql: {database: shop.db, query: 'SELECT count(*) AS n FROM orders WHERE :i > 0'}\n"
    "    effect: read\n"
    "  - name: rated\n" TAKES_I "    sql: {database: shop.db, query: 'SELECT count(*) AS n FROM orders WHERE :i > 0'}\n"
    "    effect: read\n    rate: {calls: 1, seconds: 31536000}\n"
    "  - name: once\n" TAKES_I "    sql: {database: shop.db, exec: 'INSERT INTO once(i) VALUES (:i)'}\n"
    "    effect: write\n    approval: never\n"
    "  - name: asked\n" TAKES_I "    sql: {database: shop.db, exec: 'INSERT INTO asked(i) VALUES (:i)'}\n"
    "    effect: write\n    approval: always\n"
    "  - name: broken\n" TAKES_I "    sql: {database: shop.db, exec: 'INSERT INTO never(i) VALUES (:i)'}\n"
    "    effect: write\n    approval: never\n"
    "  - name: tries\n" TAKES_I "    command: [./program]\n    unsandboxed: true\n    effect: read\n"
    "    labels: {trust: trusted}\n"
    "    retry: {times: 1, first_ms: 1}\n"
    "  - name: cut\n" TAKES_I
    "    command: [./program]\n    unsandboxed: true\n    effect: write\n    approval: never\n"
    "    labels: {trust: trusted}\n"
    "  - name: unsure\n" TAKES_I
    "    sql: {database: other.db, exec: 'INSERT INTO unsure(i) VALUES (:i)', exactly_once: false}\n"
    "    effect: write\n    approval: never\n"
    "  - name: put\n" TAKES_I "    files: {folder: out, op: write, path: ':i.txt', content: ':i'}\n"
    "    effect: write\n    approval: never\n"
    "  - name: over\n" TAKES_I "    files: {folder: out, op: write, path: 'over.txt', content: ':i', replace: true}\n"
    "    effect: write\n    approval: never\n"
    "  - name: keep\n" TAKES_I
    "    memory: {op: remember, subject: [customer], about: ':i', fact: 'fact :i', max_facts: 10000}\n"
    "    effect: write\n    approval: never\n";

/* Decision i is this one of i % 15, and i is the number of calls in the journal: nothing else is remembered. */
static const char *const tools[N_DECISIONS] = {"once",   "asked", "asked", "asked",  "look", "once", "rated", "rated",
                                               "broken", "tries", "cut",   "unsure", "put",  "over", "keep"};
enum { SAYS_YES = 1, SAYS_NO, SAYS_NOTHING, BAD_ARGUMENTS = 5, PUTS = 12, OVERS, KEEPS };

/* ---- the child: dies where it is told ---- */

typedef struct world {
    int64_t ahead_ms; /* of the system's clock */
    os_clock clock;
    os_children children;
    int n_tries;
    char cut_path[1100];
} world;

static int64_t now_ms(void *self) {
    const os_clock *c = &os_system()->clock;
    return c->now_ms(c->self) + ((world *)self)->ahead_ms;
}

static uint64_t monotonic_us(void *self) {
    (void)self;
    const os_clock *c = &os_system()->clock;
    return c->monotonic_us(c->self);
}

static void no_sleep(void *self, int64_t ms) {
    (void)self;
    (void)ms;
}

static void must(muga_status st, const muga_error *err) {
    if (st != MUGA_OK) {
        fprintf(stderr, "child: %s\n", err->message);
        _exit(3);
    }
}

/* `tries` fails every other time; `cut` has its effect and is cut off. */
static muga_status run_program(void *self, const os_child_spec *spec, os_child_result *out, muga_error *err) {
    world *w = self;
    json_t *in = NULL;
    *out = (os_child_result){.end = OS_CHILD_EXITED, .out = STR_INIT, .err_out = STR_INIT};
    muga_status st = json_parse(spec->in, spec->n_in, "in", &in, err);
    if (strcmp(json_get_string(in, "tool"), "cut") == 0) {
        FILE *f = fopen(w->cut_path, "a");
        if (!f || fprintf(f, "%s\n", json_get_string(in, "call")) < 0 || fclose(f) != 0) {
            _exit(5);
        }
        out->end = OS_CHILD_TIMEOUT;
    } else {
        out->code = w->n_tries++ % 2 == 0;
        str_append_s(&out->out, "1");
    }
    json_decref(in);
    return st;
}

static int64_t attempt_of(store *s, const char *call) {
    muga_error err;
    journal_call c;
    must(journal_read(s, call, &c, &err), &err);
    int64_t attempt = c.attempt;
    journal_call_release(&c);
    return attempt;
}

/* What a person does about a call that waits: by its number. What was cut off is run again once. */
static void answer(const agent_env *env, world *w, store *s, const manifest *m, const json_t *waiting) {
    muga_error err;
    int64_t i = json_get_int(json_object_get(waiting, "arguments"), "i", 0) % N_DECISIONS;
    const char *state = json_get_string(waiting, "state"), *tool = json_get_string(waiting, "tool");
    bool held = strcmp(state, "held") == 0;
    bool yes = held ? i == SAYS_YES : strcmp(tool, "cut") == 0 && attempt_of(s, json_get_string(waiting, "call")) == 2;
    if (held && i == SAYS_NOTHING) {
        w->ahead_ms = DAY_MS;
    } else if (strcmp(state, "approved") != 0) {
        must(approval_decide(env, s, m, json_get_string(waiting, "approval"), yes, "test", &err), &err);
    }
}

static void settle_waiting(const agent_env *env, world *w, store *s, const manifest *m, agent_session *session) {
    muga_error err;
    json_t *waiting = NULL, *entry;
    for (bool any = true; any;) {
        size_t i;
        json_decref(waiting);
        must(executor_waiting(session, &waiting, &err), &err);
        json_array_foreach(waiting, i, entry) {
            call_result r;
            answer(env, w, s, m, entry);
            must(executor_resume(session, json_get_string(entry, "call"), &r, &err), &err);
            call_result_release(&r);
            w->ahead_ms = 0;
        }
        any = json_array_size(waiting) > 0;
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

static agent_session *open_session(const agent_env *env, store *s, const manifest *m) {
    muga_error err;
    agent_session *session;
    store_row *r;
    bool has;
    char id[AGENT_ID_SIZE];
    must(store_query(s, &r, &err, "SELECT id FROM sessions", ""), &err);
    must(store_step(r, &has, &err), &err);
    snprintf(id, sizeof id, "%s", has ? store_string(r, 0) : "");
    store_done(r);
    if (has) {
        must(session_open(env, s, m, id, &session, &err), &err);
    } else {
        json_t *values = json_pack("{s:i}", "customer", 1);
        must(session_new(env, s, m, values, NULL, &session, &err), &err);
        json_decref(values);
    }
    return session;
}

static void decide(agent_session *session, int64_t i) {
    muga_error err;
    call_result r;
    json_t *arguments = i % N_DECISIONS == BAD_ARGUMENTS ? json_pack("{s:s}", "i", "one")
                                                         : json_pack("{s:I}", "i", (json_int_t)i);
    must(session_add_user(session, "go on", 5, &err), &err);
    must(executor_call(session, tools[i % N_DECISIONS], arguments, &r, &err), &err);
    json_decref(arguments);
    call_result_release(&r);
}

/* ---- places ---- */

static struct {
    int64_t n_left; /* places to pass before the one to die at; -1: live on */
    int fd;         /* where the names of the places passed go */
    char state[16]; /* written in the transaction under way */
} places = {.n_left = -1};

static void pass(const char *side, const char *what) {
    char name[64];
    int n = snprintf(name, sizeof name, "%s %s %s\n", side, what, places.state[0] ? places.state : "other");
    if (write(places.fd, name, (size_t)n) != n) {
        _exit(4);
    }
    if (places.n_left >= 0 && places.n_left-- == 0) {
        kill(getpid(), SIGKILL);
    }
}

/* The state that a statement on the journal writes: the first quoted word of it. */
static void read_state(sqlite3_stmt *stmt) {
    char *text = sqlite3_expanded_sql(stmt);
    const char *quote = text ? strstr(text, "state = '") : NULL;
    snprintf(places.state, sizeof places.state, "proposed");
    if (quote) {
        snprintf(places.state, sizeof places.state, "%.*s", (int)strcspn(quote + 9, "'"), quote + 9);
    }
    sqlite3_free(text);
}

static int at_statement(unsigned when, void *ctx, void *of, void *x) {
    sqlite3_stmt *stmt = of;
    const char *side = when == SQLITE_TRACE_STMT ? "before" : "behind", *sql = sqlite3_sql(stmt);
    sqlite3 *db = sqlite3_db_handle(stmt);
    (void)ctx;
    (void)x;
    if (strncmp(sql, "INSERT INTO calls(", 18) == 0 || strncmp(sql, "UPDATE calls SET state", 22) == 0) {
        read_state(stmt);
        pass(side, "write");
    } else if (strncasecmp(sql, "COMMIT", 6) == 0 || (sqlite3_get_autocommit(db) && !sqlite3_stmt_readonly(stmt))) {
        pass(side, "commit");
        if (when == SQLITE_TRACE_PROFILE) {
            places.state[0] = '\0';
        }
    }
    return 0;
}

static int watch(sqlite3 *db, char **message, const struct sqlite3_api_routines *api) {
    (void)message;
    (void)api;
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, at_statement, NULL);
}

static void run_child(const agent_fixture *f, int64_t n_decisions) {
    muga_error err;
    world w = {.n_tries = 0};
    manifest *m;
    store *s;
    agent_env env = agent_env_system();
    w.clock = (os_clock){now_ms, monotonic_us, no_sleep, &w};
    w.children = (os_children){run_program, &w};
    env.clock = &w.clock;
    env.children = &w.children;
    snprintf(w.cut_path, sizeof w.cut_path, "%s/cut.log", f->dir);
    sqlite3_auto_extension((void (*)(void))watch);
    must(manifest_load(&env, f->dir, NULL, &m, &err), &err);
    must(store_open(f->store_path, NULL, &s, &err), &err);
    agent_session *session = open_session(&env, s, m);
    for (int64_t n = count_calls(s); n < n_decisions; n = count_calls(s)) {
        settle_waiting(&env, &w, s, m, session);
        decide(session, n);
    }
    settle_waiting(&env, &w, s, m, session);
    session_close(session);
    store_close(s);
    manifest_free(m);
    _exit(0);
}

/* ---- the parent ---- */

/* A child that goes on until there are n_decisions calls, or dies at place `at` (-1: lives). `passed` (or NULL) gets
 * the names of the places, a line each. True: it died. */
static bool run(const agent_fixture *f, int64_t n_decisions, int64_t at, str *passed) {
    int fds[2], status = 0;
    char text[4096];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        alarm(WATCHDOG_SECONDS);
        places.n_left = at;
        places.fd = fds[1];
        run_child(f, n_decisions);
    }
    close(fds[1]);
    for (ssize_t n; (n = read(fds[0], text, sizeof text)) > 0;) {
        if (passed) {
            str_append(passed, text, (size_t)n);
        }
    }
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!died && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        fail_msg("the child ended with status %d: see %s", status, f->dir);
    }
    return died;
}

static void prepare(agent_fixture *f, const char *name) {
    char other[1100];
    fixture_prepare(f, name, kill_manifest);
    fixture_write(f, "program", "#!/bin/false\n");
    snprintf(other, sizeof other, "%s/out", f->dir);
    assert_int_equal(mkdir(other, 0755), 0);
    fixture_sql(f->shop_path,
                "CREATE TABLE once(i INTEGER); CREATE TABLE asked(i INTEGER); CREATE TABLE never(i INTEGER"
                " CHECK(i < 0))");
    snprintf(other, sizeof other, "%s/other.db", f->dir);
    fixture_sql(other, "CREATE TABLE unsure(i INTEGER)");
}

static void assert_none(const agent_fixture *f, const char *path, const char *sql) {
    if (fixture_count(path, sql) != 0) {
        fail_msg("%s: see %s", sql, f->dir);
    }
}

/* What holds after every death. */
static void check_always(const agent_fixture *f) {
    muga_error err;
    store *s;
    audit_report report;
    if (access(f->store_path, F_OK) == 0) {
        assert_ok(store_open(f->store_path, NULL, &s, &err), &err);
        assert_ok(audit_verify(s, &report, &err), &err);
        store_close(s);
    }
    assert_none(f, f->shop_path, "SELECT count(*) - count(DISTINCT i) FROM once");
    assert_none(f, f->shop_path, "SELECT count(*) - count(DISTINCT i) FROM asked");
}

/* The lines of cut.log: never more than the permissions to run that are on the chain. */
static void check_cut(const agent_fixture *f) {
    char path[1100];
    str text = STR_INIT;
    muga_error err;
    snprintf(path, sizeof path, "%s/cut.log", f->dir);
    assert_ok(os_read_file(&os_system()->files, path, (size_t)16 << 20, &text, &err), &err);
    int64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        n += text.data[i] == '\n';
    }
    str_release(&text);
    int64_t n_allowed = fixture_count(f->store_path, "SELECT count(*) FROM audit_payload WHERE json_extract(payload,"
                                                     " '$.state') = 'started' AND json_extract(payload, '$.tool') ="
                                                     " 'cut'");
    if (n > n_allowed) {
        fail_msg("%lld effects of %lld permissions: see %s", (long long)n, (long long)n_allowed, f->dir);
    }
}

/* Files and facts: each once, nothing left beside them, and nobody had to be asked. */
static void check_written(const agent_fixture *f, int64_t n) {
    char path[1100], sql[160], text[24];
    int64_t n_files = (n + N_DECISIONS - 1 - PUTS) / N_DECISIONS, n_over = (n + N_DECISIONS - 1 - OVERS) / N_DECISIONS;
    for (int64_t i = 0; i < n_files; i++) {
        str got = STR_INIT;
        muga_error err;
        snprintf(path, sizeof path, "%s/out/%lld.txt", f->dir, (long long)(i * N_DECISIONS + PUTS));
        snprintf(text, sizeof text, "%lld", (long long)(i * N_DECISIONS + PUTS));
        assert_ok(os_read_file(&os_system()->files, path, 100, &got, &err), &err);
        assert_string_equal(str_get(&got), text);
        str_release(&got);
    }
    snprintf(path, sizeof path, "%s/out", f->dir);
    assert_int_equal(count_entries(path), 2 + n_files + (n_over > 0)); /* ".", "..", and no draft */
    snprintf(sql, sizeof sql, "SELECT count(*) - %lld FROM facts WHERE about %% 15 = 14 AND fact = 'fact ' || about",
             (long long)((n + N_DECISIONS - 1 - KEEPS) / N_DECISIONS));
    assert_none(f, f->store_path, sql);
    assert_none(f, f->store_path,
                "SELECT count(*) FROM calls WHERE tool IN ('put', 'over', 'keep') AND state <> 'finished'");
    assert_none(f, f->store_path,
                "SELECT count(*) FROM audit_payload WHERE json_extract(payload, '$.tool') IN ('put',"
                " 'over', 'keep') AND json_extract(payload, '$.state') = 'in_doubt'");
}

/* What holds when a child came to its end: every decision was taken, once, and took effect once where it should. */
static void check_end(const agent_fixture *f, int64_t n) {
    char other[1100], sql[256];
    check_always(f);
    check_cut(f);
    snprintf(other, sizeof other, "%s/other.db", f->dir);
    static const char *const counts[] = {"once WHERE i % 15 = 0", "asked WHERE i % 15 = 1"};
    for (int k = 0; k < 2; k++) {
        snprintf(sql, sizeof sql, "SELECT count(*) - %lld FROM %s",
                 (long long)((n + N_DECISIONS - 1 - k) / N_DECISIONS), counts[k]);
        assert_none(f, f->shop_path, sql);
    }
    check_written(f, n);
    assert_none(f, f->shop_path, "SELECT count(*) FROM asked WHERE i % 15 <> 1");
    assert_none(f, f->shop_path, "SELECT count(*) FROM once WHERE i % 15 <> 0");
    assert_none(f, f->shop_path, "SELECT count(*) FROM never");
    assert_none(f, other, "SELECT count(*) - count(DISTINCT i) FROM unsure");
    snprintf(sql, sizeof sql, "SELECT count(*) - %lld FROM calls", (long long)n);
    assert_none(f, f->store_path, sql);
    assert_none(f, f->store_path,
                "SELECT count(*) FROM calls WHERE state NOT IN ('invalid', 'refused', 'denied',"
                " 'expired', 'finished', 'failed')");
}

/* Die at place `at`, once; then go on to the end. */
static void die_once(int64_t at) {
    agent_fixture f;
    char name[32];
    snprintf(name, sizeof name, "place-%lld", (long long)at);
    prepare(&f, name);
    assert_true(run(&f, N_DECISIONS, at, NULL));
    check_always(&f);
    assert_false(run(&f, N_DECISIONS, -1, NULL));
    check_end(&f, N_DECISIONS);
    fixture_close(&f);
}

/* Does the line that begins at `from` stand in the text before it? */
static bool is_known(const str *text, size_t from, size_t n) {
    for (size_t i = 0; i < from; i += strcspn(text->data + i, "\n") + 1) {
        if (strncmp(text->data + i, text->data + from, n + 1) == 0) {
            return true;
        }
    }
    return false;
}

static void a_death_at_any_place_changes_nothing(void **state) {
    (void)state;
    agent_fixture f;
    str passed = STR_INIT;
    bool all = getenv("MUGA_LONG") != NULL;
    int64_t at = 0, n = 0;
    prepare(&f, "all-places");
    assert_false(run(&f, N_DECISIONS, -1, &passed));
    check_end(&f, N_DECISIONS);
    fixture_close(&f);
    for (int s = 0; s < N_CALL_STATES; s++) {
        static const char *const sides[] = {"before write", "behind write", "before commit", "behind commit"};
        for (size_t k = 0; k < ARRAY_LEN(sides); k++) {
            char line[64]; /* proposed and validated are never durable by themselves: what commits them is the next */
            snprintf(line, sizeof line, "%s %s\n", sides[k], call_state_name((call_state)s));
            bool passing = s == STATE_PROPOSED || s == STATE_VALIDATED;
            if (!strstr(str_get(&passed), line) && !(passing && k >= 2)) {
                fail_msg("no run passes \"%s\"", line);
            }
        }
    }
    for (size_t i = 0; i < passed.len; at++) {
        size_t length = strcspn(passed.data + i, "\n");
        if (all || !is_known(&passed, i, length)) {
            die_once(at);
            n++;
        }
        i += length + 1;
    }
    print_message("%lld deaths at %lld places\n", (long long)n, (long long)at);
    str_release(&passed);
}

/* One store, death upon death, also while what the last one left is picked up. The places are a fixed stream. */
static void death_upon_death_loses_nothing(void **state) {
    (void)state;
    agent_fixture f;
    rng random = {9};
    int n_deaths = getenv("MUGA_LONG") ? N_DEATHS_LONG : N_DEATHS_SHORT;
    prepare(&f, "again-and-again");
    for (int i = 0; i < n_deaths; i++) {
        assert_true(run(&f, INT64_MAX, (int64_t)rng_below(&random, 60), NULL));
        check_always(&f);
    }
    int64_t n = fixture_count(f.store_path, "SELECT count(*) FROM calls") + N_DECISIONS;
    assert_false(run(&f, n, -1, NULL));
    check_end(&f, n);
    print_message("%d deaths, %lld calls, %lld of them interrupted\n", n_deaths, (long long)n,
                  (long long)fixture_count(f.store_path, "SELECT count(*) FROM audit_payload WHERE"
                                                         " json_extract(payload, '$.again') IS NOT NULL"));
    fixture_close(&f);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_death_at_any_place_changes_nothing),
                                       cmocka_unit_test(death_upon_death_loses_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
