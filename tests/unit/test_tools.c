/* Tools at run time: bounds on rows, bytes, steps and time; values in and out; programs that hang, print garbage or a
 * gigabyte. If this failed, a tool could stall the agent, fill memory, or hand over something that only looks like
 * data. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/tool_fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>

/* ---- SQL ---- */

static void every_kind_of_value_goes_in_and_comes_out(void **state) {
    (void)state;
    agent_fixture f;
    tool_open(&f, "values",
              "s: {type: string}, i: {type: integer}, d: {type: number}, b: {type: boolean}, n: {type: 'null'},"
              " a: {type: array, items: {type: integer}}",
              "    effect: read\n"
              "    sql: {database: shop.db, query: 'SELECT :s AS s, :i AS i, :d AS d, :b AS b, :n AS n, :a AS a,"
              " :session_customer AS c, typeof(:i) AS ti'}\n");
    tool_expect_result(
        &f, "{'s': 'x\\u0000\\u00e4', 'i': 9223372036854775807, 'd': 0.5, 'b': true, 'n': null, 'a': [1, 2]}",
        "{'rows': [{'s': 'x\\u0000\\u00e4', 'i': 9223372036854775807, 'd': 0.5, 'b': 1, 'n': null, 'a': '[1,2]', 'c':"
        " 1, 'ti': 'integer'}]}");
    tool_expect_result(
        &f, "{}",
        "{'rows': [{'s': null, 'i': null, 'd': null, 'b': null, 'n': null, 'a': null, 'c': 1, 'ti': 'null'}]}");
    tool_expect_result(
        &f, "{'s': 'x; DROP TABLE notes; --', 'i': 1}",
        "{'rows': [{'s': 'x; DROP TABLE notes; --', 'i': 1, 'd': null, 'b': null, 'n': null, 'a': null, 'c': 1,"
        " 'ti': 'integer'}]}");
    fixture_close(&f);
}

static void what_json_cannot_hold_is_an_error(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"x'00'", "holds bytes"}, {"9e999", "infinite"}, {"CAST(x'FF' AS TEXT)", "not UTF-8"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        agent_fixture f;
        char keys[256], name[16];
        snprintf(name, sizeof name, "cell-%zu", i);
        snprintf(keys, sizeof keys, "    effect: read\n    sql: {database: shop.db, query: \"SELECT %s AS cell\"}\n",
                 cases[i][0]);
        tool_open(&f, name, "", keys);
        tool_expect_failure(&f, "{}", cases[i][1]);
        tool_expect_failure(&f, "{}", "cell");
        fixture_close(&f);
    }
}

#define COUNT_TO "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :max) "

static void rows_and_bytes_are_bounded(void **state) {
    (void)state;
    agent_fixture f;
    tool_open(
        &f, "rows", "max: {type: integer}",
        "    effect: read\n    max_result_bytes: 2000\n    sql: {database: shop.db, max_rows: 100, query: '" COUNT_TO
        "SELECT i FROM n'}\n");
    call_result r = tool_call_run(&f, "{'max': 100}");
    assert_int_equal(r.outcome, CALL_FINISHED);
    assert_int_equal(json_array_size(json_object_get(r.result, "rows")), 100);
    call_result_release(&r);
    tool_expect_failure(&f, "{'max': 101}", "more than 100 rows");
    fixture_close(&f);
    tool_open(&f, "bytes", "max: {type: integer}",
              "    effect: read\n    max_result_bytes: 2000\n"
              "    sql: {database: shop.db, query: 'SELECT hex(zeroblob(:max)) AS h'}\n");
    tool_expect_failure(&f, "{'max': 1000}", "longer than 2000 bytes");
    tool_expect_failure(&f, "{'max': 2000000000}", "too big"); /* refused before it is made */
    fixture_close(&f);
}

/* The fixture's clock stands still, so only the bound on steps can end this one. */
static void a_statement_that_never_ends_is_stopped(void **state) {
    (void)state;
    agent_fixture f;
    tool_open(&f, "steps", "max: {type: integer}",
              "    effect: read\n    sql: {database: shop.db, query: '" COUNT_TO "SELECT count(*) AS n FROM n'}\n");
    tool_expect_failure(&f, "{'max': 9000000000}", "stopped after 10000 ms");
    tool_expect_result(&f, "{'max': 3}", "{'rows': [{'n': 3}]}");
    fixture_close(&f);
}

static uint64_t tick(void *self) { /* a clock that runs: a millisecond a look */
    return ((fixture_world *)self)->monotonic_us += 1000;
}

static void time_is_bounded_and_a_write_is_undone(void **state) {
    (void)state;
    agent_fixture f;
    tool_open(&f, "time", "max: {type: integer}",
              "    effect: write\n    timeout_ms: 50\n    sql: {database: shop.db, exec: '" COUNT_TO
              "INSERT INTO notes SELECT 1, i FROM n'}\n");
    f.world.clock.monotonic_us = tick;
    tool_expect_failure(&f, "{'max': 9000000000}", "stopped after 50 ms");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 0);
    tool_expect_result(&f, "{'max': 3}", "{'changed': 3}");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 3);
    fixture_close(&f);
}

static void a_write_too_long_to_report_is_undone(void **state) {
    (void)state;
    agent_fixture f;
    tool_open(&f, "undone", "max: {type: integer}",
              "    effect: write\n    sql: {database: shop.db, max_rows: 5, query: '" COUNT_TO
              "INSERT INTO notes SELECT 1, i FROM n RETURNING text'}\n");
    tool_expect_failure(&f, "{'max': 6}", "more than 5 rows");
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM notes"), 0);
    tool_expect_result(&f, "{'max': 2}", "{'changed': 2, 'rows': [{'text': '1'}, {'text': '2'}]}");
    fixture_close(&f);
}

static void a_call_id_takes_effect_once(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    void *t;
    tool_settled settled;
    json_t *result, *none = json_object();
    fixture_open(&f, "once", NULL);
    json_t *session = fixture_json("{'customer': 1}");
    const tool_call call = {.id = "c-1", .arguments = none, .values = session};
    tool_setup setup = {.env = &f.env, .m = f.m, .def = manifest_tool_find(f.m, "reset")};
    const tool_kind *kind = setup.def->kind;
    assert_ok(kind->open(&setup, &t, &err), &err);
    assert_ok(kind->settle(t, &call, NULL, &settled, &result, &err), &err);
    assert_int_equal(settled, SETTLED_NOT_RUN); /* not even the table is there */
    for (int i = 0; i < 3; i++) {
        tool_run r = {.ok = false};
        kind->run(t, &call, &r);
        assert_true(r.ok);
        assert_int_equal(json_get_int(r.result, "changed", 0), 1);
        json_decref(r.result);
    }
    assert_int_equal(fixture_count(f.shop_path, "SELECT count(*) FROM resets"), 1);
    assert_ok(kind->settle(t, &call, NULL, &settled, &result, &err), &err);
    assert_int_equal(settled, SETTLED_RAN);
    assert_int_equal(json_get_int(result, "changed", 0), 1);
    json_decref(result);
    kind->close(t);
    json_decref(none);
    json_decref(session);
    fixture_close(&f);
}

static void a_locked_database_is_a_failure_that_says_so(void **state) {
    (void)state;
    agent_fixture f;
    tool_open(&f, "locked", "",
              "    effect: write\n    timeout_ms: 50\n    sql: {database: shop.db, exec: DELETE FROM notes}\n");
    sqlite3 *other;
    assert_int_equal(sqlite3_open(f.shop_path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    tool_expect_failure(&f, "{}", "locked by another program");
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    tool_expect_result(&f, "{}", "{'changed': 0}");
    fixture_close(&f);
}

/* ---- programs ---- */

static void open_program(agent_fixture *f, const char *name, const char *script, const char *keys) {
    str text = STR_INIT;
    char path[1100];
    fixture_prepare(f, name, NULL);
    str_printf(
        &text,
        "%stools:\n  - name: t\n    description: d\n    approval: never\n    parameters: {type: object, properties:"
        " {x: {type: string}}, additionalProperties: false}\n    command: [./tool, one, '$HOME']\n    unsandboxed:"
        " true\n%s",
        tool_head, keys);
    fixture_write(f, "agent.yaml", str_get(&text));
    str_clear(&text);
    str_printf(&text, "#!/bin/sh\n%s\n", script);
    fixture_write(f, "tool", str_get(&text));
    str_release(&text);
    snprintf(path, sizeof path, "%s/tool", f->dir);
    assert_int_equal(chmod(path, 0755), 0);
    muga_error err;
    assert_ok(manifest_load(&f->env, f->dir, NULL, &f->m, &err), &err);
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    fixture_begin(f, 1, "hi");
}

static void a_program_gets_json_and_gives_json_or_text(void **state) {
    (void)state;
    agent_fixture f;
    open_program(&f, "json", "cat", "    effect: read\n");
    call_result r = tool_call_run(&f, "{'x': 'y'}");
    assert_int_equal(r.outcome, CALL_FINISHED);
    assert_string_equal(json_get_string(r.result, "tool"), "t");
    assert_string_equal(json_get_string(r.result, "call"), r.call);
    assert_string_equal(json_get_string(json_object_get(r.result, "arguments"), "x"), "y");
    assert_int_equal(json_get_int(json_object_get(r.result, "session"), "customer", 0), 1);
    call_result_release(&r);
    fixture_close(&f);
    open_program(&f, "text", "echo \"$# $1 $2 $HOME\"; /bin/pwd | /usr/bin/grep -c text", "    effect: read\n");
    tool_expect_result(&f, "{}",
                       "'2 one $HOME \\n1'"); /* no shell between, nothing in the environment, in its folder */
    fixture_close(&f);
}

static void programs_that_misbehave_are_failures(void **state) {
    (void)state;
    static const struct {
        const char *script, *part; /* "stopped ...": it goes on until its time is over */
    } cases[] = {
        {"echo 'no such\tcustomer' >&2; echo more >&2; exit 3", "ended with code 3: no such customer"},
        {"kill -SEGV $$", "killed by signal 11"},
        {"while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
         "printed more than 500 bytes"},
        {"printf '\\377\\376'", "not text"},
        {"i=0; while [ $i -lt 70 ]; do printf '['; i=$((i+1)); done;"
         " while [ $i -gt 0 ]; do printf ']'; i=$((i-1)); done",
         "nested deeper than 64"},
        {"exec >&-; exec 2>&-; exec /bin/sleep 100", "stopped after 300 ms"},
        {"exec /bin/sleep 100", "stopped after 300 ms"},
        {"/bin/sleep 100 & /bin/sleep 100", "stopped after 300 ms"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        agent_fixture f;
        char name[16];
        snprintf(name, sizeof name, "program-%zu", i);
        open_program(&f, name, cases[i].script,
                     strncmp(cases[i].part, "stopped", 7) == 0
                         ? "    effect: read\n    timeout_ms: 300\n    max_result_bytes: 500\n"
                         : "    effect: read\n    timeout_ms: 100000\n    max_result_bytes: 500\n");
        f.env.clock = &os_system()->clock;
        tool_expect_failure(&f, "{}", cases[i].part);
        fixture_close(&f);
    }
}

/* It was cut off in the middle of a write: nobody can tell, so nobody repeats it unasked. */
static void a_write_that_was_cut_off_is_in_doubt(void **state) {
    (void)state;
    agent_fixture f;
    open_program(&f, "cut-off", "echo x >> effect; exec /bin/sleep 100", "    effect: write\n    timeout_ms: 300\n");
    call_result r = tool_call_run(&f, "{}");
    assert_int_equal(r.outcome, CALL_IN_DOUBT);
    assert_int_equal(strlen(r.approval), 9);
    call_result_release(&r);
    fixture_close(&f);
    open_program(&f, "said-so", "exit 1", "    effect: write\n");
    tool_expect_failure(&f, "{}", "code 1"); /* it says itself that it failed */
    fixture_close(&f);
    open_program(&f, "harmless", "exec /bin/sleep 100",
                 "    effect: write\n    idempotent: true\n    timeout_ms: 300\n");
    tool_expect_failure(&f, "{}", "stopped");
    fixture_close(&f);
}

static void a_program_changed_since_loading_does_not_run(void **state) {
    (void)state;
    agent_fixture f;
    open_program(&f, "swapped", "echo good", "    effect: read\n");
    tool_expect_result(&f, "{}", "'good'");
    fixture_write(&f, "tool", "#!/bin/sh\necho evil\n");
    tool_expect_failure(&f, "{}", "changed since the manifest was loaded");
    fixture_close(&f);
}

/* ---- the table ---- */

static void a_tool_is_of_one_kind_with_its_own_keys(void **state) {
    (void)state;
    static const struct {
        const char *definition, *key, *part;
    } cases[] = {{"{'name': 't'}", NULL, "needs sql"},
                 {"{'sql': {}, 'command': []}", NULL, "has both sql and command"},
                 {"{'sql': {}, 'unsandboxed': true}", "unsandboxed", "belongs to command tools; remove it"}};
    const tool_kind *kind;
    const char *key;
    muga_error err;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *v = fixture_json(cases[i].definition);
        assert_status(tool_kind_of(v, &kind, &key, &err), MUGA_E_INPUT, &err, cases[i].part);
        assert_int_equal(key != NULL, cases[i].key != NULL);
        assert_true(!key || strcmp(key, cases[i].key) == 0);
        json_decref(v);
    }
    size_t n;
    const tool_kind *const *all = tool_kinds(&n);
    for (size_t i = 0; i < n; i++) {
        json_t *v = json_pack("{s:{}}", all[i]->keys[0].name);
        assert_ok(tool_kind_of(v, &kind, &key, &err), &err);
        assert_ptr_equal(kind, all[i]);
        assert_true(kind->open && kind->run && kind->close);
        json_decref(v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tool_is_of_one_kind_with_its_own_keys),
        cmocka_unit_test(every_kind_of_value_goes_in_and_comes_out),
        cmocka_unit_test(what_json_cannot_hold_is_an_error),
        cmocka_unit_test(rows_and_bytes_are_bounded),
        cmocka_unit_test(a_statement_that_never_ends_is_stopped),
        cmocka_unit_test(time_is_bounded_and_a_write_is_undone),
        cmocka_unit_test(a_write_too_long_to_report_is_undone),
        cmocka_unit_test(a_call_id_takes_effect_once),
        cmocka_unit_test(a_locked_database_is_a_failure_that_says_so),
        cmocka_unit_test(a_program_gets_json_and_gives_json_or_text),
        cmocka_unit_test(programs_that_misbehave_are_failures),
        cmocka_unit_test(a_write_that_was_cut_off_is_in_doubt),
        cmocka_unit_test(a_program_changed_since_loading_does_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
