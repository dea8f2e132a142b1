/* muga.db: opening, migrating, refusing, transactions, claims. If this failed, what was acknowledged could be lost, or
 * a locked, full, read-only or damaged file would end in a riddle instead of one line with a remedy. */
#include "support/support.h"

#include "base/mem.h"
#include "store/schema.h"
#include "store/store.h"
#include "support/agent_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static store *open_ok(const char *path) {
    muga_error err;
    store *s;
    assert_ok(store_open(path, NULL, &s, &err), &err);
    return s;
}

static void open_refused(const char *path, const store_options *o, muga_status status, const char *part) {
    muga_error err = {0};
    store *s = NULL;
    assert_status(store_open(path, o, &s, &err), status, &err, part);
    assert_null(s);
    assert_true(status == MUGA_E_NOMEM || strstr(err.message, path));
}

static int64_t pragma(const char *path, const char *what) {
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA %s", what);
    return fixture_count(path, sql);
}

static void a_new_store_is_migrated_and_stays(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("new.db"));
    store_close(open_ok(path));
    assert_int_equal(pragma(path, "user_version"), store_n_migrations);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600); /* it holds what people said */
    assert_int_equal(pragma(path, "application_id"), STORE_APPLICATION_ID);
    store_close(open_ok(path));
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM audit_head"), 1);
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1);
}

static void what_is_not_ours_is_refused(void **state) {
    (void)state;
    char path[512];
    store_options must_exist = {.must_exist = true};
    snprintf(path, sizeof path, "%s", scratch_path("absent.db"));
    open_refused(path, &must_exist, MUGA_E_NOT_FOUND, "not there");
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof path, "%s", scratch_path("other.db"));
    fixture_sql(path, "CREATE TABLE theirs(x)");
    open_refused(path, NULL, MUGA_E_ENV, "another program");
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM sqlite_schema"), 1); /* and was left alone */
    snprintf(path, sizeof path, "%s", scratch_path("newer.db"));
    store_close(open_ok(path));
    fixture_sql(path, "PRAGMA user_version = 9999");
    open_refused(path, NULL, MUGA_E_ENV, "newer muga (schema 9999");
    fixture_sql(path, "PRAGMA user_version = 0");
    open_refused(path, NULL, MUGA_E_ENV, "damaged (schema 0 with");
    fixture_sql(path, "PRAGMA user_version = -1");
    open_refused(path, NULL, MUGA_E_ENV, "damaged (schema -1 with");
    assert_int_equal(pragma(path, "user_version"), -1); /* and was not stamped */
    snprintf(path, sizeof path, "%s", scratch_path("text.db"));
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "This is no database at all, only a long enough text.\n", 53), 53);
    close(fd);
    open_refused(path, NULL, MUGA_E_ENV, "damaged or not a database");
    open_refused(scratch_path("no/such/folder/muga.db"), NULL, MUGA_E_ENV, "can't be opened");
}

static void a_damaged_file_is_named(void **state) {
    (void)state;
    char path[512];
    muga_error err;
    snprintf(path, sizeof path, "%s", scratch_path("damaged.db"));
    store_close(open_ok(path));
    fixture_sql(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    int fd = open(path, O_WRONLY);
    char junk[4096];
    memset(junk, 0xA5, sizeof junk);
    off_t size = lseek(fd, 0, SEEK_END);
    for (off_t at = 4096; at < size; at += 4096) {
        assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
    }
    close(fd);
    store *s = NULL; /* the head is whole; the tables are not, nor may all of the schema be */
    store_row *r = NULL;
    bool has;
    muga_status st = store_open(path, NULL, &s, &err);
    st = st == MUGA_OK ? store_query(s, &r, &err, "SELECT * FROM audit_head", "") : st;
    st = st == MUGA_OK ? store_step(r, &has, &err) : st;
    assert_status(st, MUGA_E_ENV, &err, "damaged");
    store_done(r);
    store_close(s);
}

static void a_locked_store_says_so(void **state) {
    (void)state;
    char path[512];
    muga_error err;
    snprintf(path, sizeof path, "%s", scratch_path("locked.db"));
    store *first = open_ok(path), *second;
    store_options quick = {.busy_ms = 30};
    assert_ok(store_open(path, &quick, &second, &err), &err);
    assert_ok(store_begin(first, &err), &err);
    assert_status(store_begin(second, &err), MUGA_E_ENV, &err, "locked by another program");
    assert_false(store_in_transaction(second));
    muga_status st = MUGA_OK;
    store_end(first, &st, &err);
    assert_ok(st, &err);
    assert_ok(store_begin(second, &err), &err);
    store_end(second, &st, &err);
    store_close(first);
    store_close(second);
}

static void expect_begin(store *s, muga_status status) {
    muga_error err;
    muga_status st = store_begin(s, &err);
    if (status != MUGA_OK) {
        assert_status(st, status, &err, "moved or removed while it was open");
        assert_false(store_in_transaction(s));
        return;
    }
    assert_ok(st, &err);
    store_end(s, &st, &err);
    assert_ok(st, &err);
}

/* What is written to a file that has no name any more would be acknowledged and lost. */
static void a_store_that_is_gone_takes_nothing(void **state) {
    (void)state;
    char path[512], aside[512];
    snprintf(path, sizeof path, "%s", scratch_path("gone.db"));
    snprintf(aside, sizeof aside, "%s", scratch_path("aside.db"));
    store *s = open_ok(path);
    expect_begin(s, MUGA_OK);
    assert_int_equal(rename(path, aside), 0);
    expect_begin(s, MUGA_E_ENV);
    int fd = open(path, O_WRONLY | O_CREAT, 0600); /* another file of that name isn't it */
    assert_true(fd >= 0);
    close(fd);
    expect_begin(s, MUGA_E_ENV);
    assert_int_equal(rename(aside, path), 0);
    expect_begin(s, MUGA_OK);
    assert_int_equal(unlink(path), 0);
    expect_begin(s, MUGA_E_ENV);
    store_close(s);
}

static void a_read_only_store_is_refused(void **state) {
    (void)state;
    char path[512];
    if (geteuid() == 0) { /* root may write anything: drop the right in a child */
        snprintf(path, sizeof path, "%s", scratch_path("read-only.db"));
        store_close(open_ok(path));
        char folder[512];
        snprintf(folder, sizeof folder, "%s", scratch_path(""));
        for (char *c = folder + 1; *c; c++) { /* the way to it must be open to the other user */
            if (*c == '/') {
                *c = '\0';
                struct stat info;
                assert_int_equal(stat(folder, &info), 0);
                if (!(info.st_mode & S_IXOTH)) {
                    chmod(folder, info.st_mode | S_IXOTH | S_IROTH);
                }
                *c = '/';
            }
        }
        chmod(path, 0444);
        pid_t child = fork();
        if (child == 0) {
            muga_error err = {0};
            store *s = NULL;
            if (setreuid(65534, 65534) != 0) {
                _exit(2);
            }
            muga_status st = store_open(path, NULL, &s, &err);
            _exit(st == MUGA_E_ENV && strstr(err.message, "read-only") ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        return;
    }
    snprintf(path, sizeof path, "%s", scratch_path("read-only.db"));
    store_close(open_ok(path));
    chmod(path, 0444);
    open_refused(path, NULL, MUGA_E_ENV, "read-only");
}

/* A file-size limit stands for a full disk: the write fails in the same place. */
static void a_full_disk_loses_nothing(void **state) {
    (void)state;
    char path[512];
    muga_error err;
    snprintf(path, sizeof path, "%s", scratch_path("full.db"));
    store *s = open_ok(path);
    fixture_sql(path, "CREATE TABLE filler(x TEXT)");
    assert_ok(store_exec(s, NULL, &err, "INSERT INTO filler VALUES ('kept')", ""), &err);
    assert_ok(store_checkpoint(s, &err), &err);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 256 << 10;
    setrlimit(RLIMIT_FSIZE, &small);
    muga_status st = store_begin(s, &err);
    for (int i = 0; i < 300 && st == MUGA_OK; i++) {
        st = store_exec(s, NULL, &err, "INSERT INTO filler VALUES (hex(zeroblob(4000)))", "");
    }
    store_end(s, &st, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_status(st, MUGA_E_ENV, &err, "the disk is full");
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM filler"), 1);
    assert_ok(store_exec(s, NULL, &err, "INSERT INTO filler VALUES ('and again')", ""), &err);
    store_close(s);
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM filler"), 2);
}

static void a_failed_transaction_leaves_nothing(void **state) {
    (void)state;
    char path[512];
    muga_error err;
    snprintf(path, sizeof path, "%s", scratch_path("rollback.db"));
    store *s = open_ok(path);
    static const char insert[] =
        "INSERT INTO sessions VALUES (?, 'a', 'd', 'd', x'', x'', 1, NULL, NULL, '{}', '{}', 0)";
    assert_ok(store_begin(s, &err), &err);
    muga_status st = store_exec(s, NULL, &err, insert, "s", "one");
    assert_ok(st, &err);
    st = MUGA_E_POLICY;
    store_end(s, &st, &err);
    assert_int_equal(st, MUGA_E_POLICY);
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM sessions"), 0);
    assert_ok(store_begin(s, &err), &err);
    st = store_exec(s, NULL, &err, insert, "s", "two");
    store_end(s, &st, &err);
    assert_ok(st, &err);
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM sessions"), 1);
    store_close(s);
}

static void values_come_back_as_they_went(void **state) {
    (void)state;
    char path[512];
    muga_error err;
    snprintf(path, sizeof path, "%s", scratch_path("values.db"));
    store *s = open_ok(path);
    json_t *v = fixture_json("{'a': [1, null, '\\u00e4']}"), *back;
    store_row *r;
    bool has;
    assert_ok(store_query(s, &r, &err, "SELECT ?, ?, ?, ?, ?, ?, ?", "idstbjn", INT64_MIN, 0.5, "text", "a\0b",
                          (size_t)3, "\xff\x00", (size_t)2, v),
              &err);
    assert_ok(store_step(r, &has, &err), &err);
    assert_true(has);
    assert_true(store_int(r, 0) == INT64_MIN);
    assert_true(store_double(r, 1) == 0.5);
    assert_string_equal(store_string(r, 2), "text");
    assert_int_equal(store_text(r, 3).n, 3);
    assert_memory_equal(store_blob(r, 4).p, "\xff\x00", 2);
    assert_ok(store_json(r, 5, &back, &err), &err);
    assert_true(json_equal(v, back));
    assert_true(store_is_null(r, 6) && !store_is_null(r, 0));
    assert_null(store_string(r, 6));
    json_decref(back);
    assert_ok(store_step(r, &has, &err), &err);
    assert_false(has);
    store_done(r);
    json_decref(v);
    store_close(s);
}

/* A statement in use is not handed out twice. */
static void statements_nest(void **state) {
    (void)state;
    char path[512];
    muga_error err;
    snprintf(path, sizeof path, "%s", scratch_path("nest.db"));
    store *s = open_ok(path);
    static const char sql[] = "SELECT ? UNION ALL SELECT 7";
    for (int round = 0; round < 100; round++) {
        store_row *a, *b;
        bool has;
        assert_ok(store_query(s, &a, &err, sql, "i", INT64_C(1)), &err);
        assert_ok(store_query(s, &b, &err, sql, "i", INT64_C(2)), &err);
        assert_ok(store_step(a, &has, &err), &err);
        assert_ok(store_step(b, &has, &err), &err);
        assert_int_equal(store_int(a, 0), 1);
        assert_int_equal(store_int(b, 0), 2);
        store_done(a);
        store_done(b);
    }
    store_close(s);
}

static void audit_records_cannot_be_changed_by_accident(void **state) {
    (void)state;
    char path[512];
    muga_error err;
    snprintf(path, sizeof path, "%s", scratch_path("trigger.db"));
    store *s = open_ok(path);
    assert_ok(store_exec(s, NULL, &err, "INSERT INTO audit VALUES (1, '{}', x'', 0, 'k', NULL)", ""), &err);
    assert_status(store_exec(s, NULL, &err, "UPDATE audit SET kind = 'x'", ""), MUGA_E_INTERNAL, &err, "never changed");
    assert_status(store_exec(s, NULL, &err, "DELETE FROM audit", ""), MUGA_E_INTERNAL, &err, "never removed");
    store_close(s);
}

static void a_claim_ends_with_its_process(void **state) {
    (void)state;
    char path[512], byte;
    muga_error err;
    int fds[2];
    store_claim *c, *other;
    snprintf(path, sizeof path, "%s", scratch_path("claims.db"));
    store *s = open_ok(path);
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        store *mine;
        if (store_open(path, NULL, &mine, &err) != MUGA_OK || store_claim_take(mine, "s-one", &c, &err) != MUGA_OK ||
            write(fds[1], "x", 1) != 1) {
            _exit(1);
        }
        alarm(300);
        for (;;) {
            pause();
        }
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    assert_status(store_claim_take(s, "s-one", &c, &err), MUGA_E_ENV, &err, "in use by another muga");
    assert_ok(store_claim_take(s, "s-two", &other, &err), &err);
    kill(child, SIGKILL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_ok(store_claim_take(s, "s-one", &c, &err), &err);
    store_claim_release(c);
    store_claim_release(other);
    store_close(s);
}

/* Is the name free to another process? */
static bool is_free_elsewhere(const char *path, const char *name) {
    pid_t child = fork();
    if (child == 0) {
        store *mine;
        store_claim *c;
        muga_error err;
        bool took = store_open(path, NULL, &mine, &err) == MUGA_OK && store_claim_take(mine, name, &c, &err) == MUGA_OK;
        _exit(took);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* A thousand idle sessions: more than a process may have files open. */
static void a_thousand_claims_share_a_descriptor(void **state) {
    (void)state;
    enum { N = 1000 };
    char path[512], name[32];
    muga_error err;
    struct rlimit before, few;
    store_claim *c[N], *again;
    snprintf(path, sizeof path, "%s", scratch_path("thousand.db"));
    store *s = open_ok(path), *other = open_ok(path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "s-%d", i);
        assert_ok(store_claim_take(s, name, &c[i], &err), &err);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < N; i += 333) {
        snprintf(name, sizeof name, "s-%d", i);
        assert_status(store_claim_take(s, name, &again, &err), MUGA_E_ENV, &err, "in use"); /* by this very store */
        assert_null(again);
        assert_status(store_claim_take(other, name, &again, &err), MUGA_E_ENV, &err, "in use");
        assert_false(is_free_elsewhere(path, name));
    }
    store_claim_release(c[333]); /* this one alone is free then */
    assert_true(is_free_elsewhere(path, "s-333"));
    assert_false(is_free_elsewhere(path, "s-332"));
    assert_ok(store_claim_take(other, "s-333", &again, &err), &err);
    assert_status(store_claim_take(s, "s-333", &c[333], &err), MUGA_E_ENV, &err, "in use");
    store_close(other);
    assert_false(is_free_elsewhere(path, "s-333")); /* a claim outlives its store */
    store_claim_release(again);
    assert_ok(store_claim_take(s, "s-333", &c[333], &err), &err);
    store_close(s);
    for (int i = 0; i < N; i++) {
        assert_true(i % 500 || !is_free_elsewhere(path, i ? "s-500" : "s-0"));
        store_claim_release(c[i]);
    }
    assert_true(is_free_elsewhere(path, "s-0"));
}

/* Eight processes open a store that is not there yet: one migrates, all find it whole. */
static void many_may_be_first(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("race.db"));
    pid_t children[8];
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        children[i] = fork();
        if (children[i] == 0) {
            store *s;
            muga_error err;
            muga_status st = store_open(path, NULL, &s, &err);
            if (st != MUGA_OK) {
                fprintf(stderr, "%s\n", err.message);
            }
            _exit(st != MUGA_OK);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM audit_head"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_is_migrated_and_stays),
        cmocka_unit_test(what_is_not_ours_is_refused),
        cmocka_unit_test(a_damaged_file_is_named),
        cmocka_unit_test(a_locked_store_says_so),
        cmocka_unit_test(a_store_that_is_gone_takes_nothing),
        cmocka_unit_test(a_read_only_store_is_refused),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_failed_transaction_leaves_nothing),
        cmocka_unit_test(values_come_back_as_they_went),
        cmocka_unit_test(statements_nest),
        cmocka_unit_test(audit_records_cannot_be_changed_by_accident),
        cmocka_unit_test(a_claim_ends_with_its_process),
        cmocka_unit_test(a_thousand_claims_share_a_descriptor),
        cmocka_unit_test(many_may_be_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
