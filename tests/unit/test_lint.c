/* What lint finds in an agent, where, and how a person silences it. If this failed, an agent that changes data without
 * asking, holds a key, or was never measured would look right; or a rule would cry where nothing is wrong. */
#include "support/support.h"

#include "agent/lint.h"
#include "base/mem.h"
#include "os/os.h"
#include "support/agent_fixture.h"

#include <stdio.h>
#include <string.h>

static void run(agent_fixture *f, const char *manifest_text, lint_report *r) {
    muga_error err;
    static int n;
    char name[32], data[1024];
    snprintf(name, sizeof name, "data-%d", n++);
    snprintf(data, sizeof data, "%s", scratch_path(name));
    fixture_write(f, "agent.yaml", manifest_text);
    assert_ok(f->env.files->mkdirs(f->env.files->self, data, &err), &err);
    assert_ok(lint_run(&f->env, f->dir, data, r, &err), &err);
}

static const json_t *find(const lint_report *r, const char *rule, int line) {
    for (size_t i = 0; i < json_array_size(r->findings); i++) {
        const json_t *f = json_array_get(r->findings, i);
        if (strcmp(json_get_string(f, "rule"), rule) == 0 && (line == 0 || json_get_int(f, "line", 0) == line)) {
            return f;
        }
    }
    return NULL;
}

static void dump(const lint_report *r) {
    str text = STR_INIT;
    json_write(r->findings, &text);
    fprintf(stderr, "%s\n", str_get(&text));
    str_release(&text);
}

#define HEAD                                                                                                           \
    "version: 1\nagent: a\ndescription: Does something.\nkind: goal\nmodel: m\nsession: {customer: {type: integer}}\n" \
    "goal: {statement: Help., done: state.resolution is not none}\n"                                                   \
    "state: {resolution: {type: [string, 'null'], default: null}}\n" /* 8 lines */
#define REST                                                                                                           \
    "guards: {input: {max_chars: 400}, output: {grounded: ids_and_numbers}}\nescalation: {to: human}\n"                \
    "limits: {steps: 8, tokens: 4096, seconds: 60}\nintent: {labels: {hi: {about: a greeting, answer: Hi.}},"          \
    " examples: examples.jsonl, unsure: Bearer of bad news? See https://example.org/sk-short, failed: env:X}\n"        \
    "tools:\n" /* line 13 */
#define TOOL(name, parameters, sql, more)                                                                              \
    "  - name: " name "\n    description: Does some work.\n    parameters: {type: object, properties: {" parameters    \
    "}, additionalProperties: false}\n    sql: {database: shop.db, " sql "}\n" more
#define QUERY "query: 'SELECT id FROM orders WHERE customer = :session_customer'"
#define EXEC "exec: 'INSERT INTO notes(customer) VALUES (:session_customer)'"
#define READ TOOL("look", "", QUERY, "    effect: read\n")
#define GOOD HEAD REST READ

static const struct {
    const char *text, *rule, *key;
    int line, column;
} cases[] = {
    {HEAD REST "  - name: x\n    efect: read\n", "manifest", "tools[0].efect", 15, 5},
    {"version: 1\nagent: a\n  b: 1\n", "manifest", "", 3, 4},
    {HEAD REST TOOL("look", "q: {type: strin}", QUERY, "    effect: read\n"), "manifest", "tools[0].parameters", 16, 5},
    {HEAD REST READ "# sk-\nx-key: sk-abcdefghijklmnopqrstuvwx\n", "secret", "x-key", 20, 1},
    {HEAD REST READ "x-a:\n  - url: https://me:hunter2@example.org/\n", "secret", "x-a[0].url", 20, 5},
    {HEAD REST READ "x-b: {password: correcthorse}\n", "secret", "x-b.password", 19, 7},
    {HEAD REST TOOL("look", "", EXEC, "    effect: read\n"), "read-writes", "tools[0].sql.exec", 17, 30},
    {HEAD REST TOOL("look", "", "query: 'DELETE FROM notes WHERE customer = :session_customer'", "    effect: read\n"),
     "read-writes", "tools[0].sql.query", 17, 30},
    {HEAD REST TOOL("do", "", EXEC, "    effect: write\n    approval: never\n"), "write-without-approval",
     "tools[0].approval", 19, 5},
    {HEAD REST READ TOOL("b", "", QUERY, "    effect: read\n") TOOL("c", "", QUERY, "    effect: read\n")
         TOOL("d", "", QUERY, "    effect: read\n") TOOL("e", "", QUERY, "    effect: read\n")
             TOOL("f", "", QUERY, "    effect: read\n"),
     "too-many-tools", "tools[5]", 39, 5},
    {HEAD "tools: []\n", "no-escalation", "kind", 4, 1},
    {HEAD "tools: []\n", "no-limits", "kind", 4, 1},
    {HEAD "tools: []\n", "no-input-guard", "kind", 4, 1},
    {HEAD "guards: {}\n", "no-output-guard", "guards", 9, 1},
    {HEAD "limits:\n  steps: 3\n", "no-limits", "limits", 9, 1},
    {"version: 1\nagent: a\nkind: goal\nmodel: m\ngoal: {statement: Help.}\n", "goal-without-check", "goal", 5, 1},
    {"version: 1\nagent: a\nkind: goal\nmodel: m\ngoal: {statement: Help.}\n", "missing-description", "agent", 2, 1},
    {HEAD REST TOOL("look", "q: {type: string, from: conversation, pattern: '^[a-z]+$'}", QUERY, "    effect: read\n"),
     "unbounded-grounded", "tools[0].parameters.properties.q", 16, 45},
    {HEAD REST TOOL("look", "q: {type: string, from: conversation, pattern: '[a-z]'}", QUERY, "    effect: read\n"),
     "unbounded-grounded", "tools[0].parameters.properties.q", 16, 45},
    {HEAD REST TOOL("do", "n: {type: integer}", EXEC, "    effect: write\n"), "ungrounded-argument",
     "tools[0].parameters.properties.n", 16, 45},
    {HEAD REST TOOL("do", "n: {type: integer}", EXEC, "    effect: write\n"), "missing-description",
     "tools[0].parameters.properties.n", 16, 45},
    {HEAD REST TOOL("look", "", "query: 'SELECT id FROM orders'", "    effect: read\n"), "session-not-bound",
     "tools[0].sql.query", 17, 30},
    {"version: 1\nagent: a\nkind: goal\nsession:\n  shop: {type: integer}\n", "unused-session", "session.shop", 5, 3},
    {"version: 1\nagent: a\nkind: goal\nstate:\n  mood: {type: integer, default: 1}\n", "unused-state", "state.mood", 5,
     3},
    {"version: 1\nagent: a\nkind: goal\ntools:\n  - name: t\n    command: [./t]\n    unsandboxed: true\n",
     "unsandboxed-command", "tools[0].unsandboxed", 7, 5},
    {GOOD "scope: {domain: orders}\n", "scope-without-effect", "scope", 19, 1},
    {"version: 1\nagent: a\nkind: reflex\nscope: {domain: heating}\n", "scope-without-effect", "scope", 4, 1},
    {GOOD, "no-evaluation", "agent", 2, 1}};

static void every_rule_finds_its_fault_and_its_place(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "faults", NULL);
    fixture_write(&f, "examples.jsonl", "{\"text\": \"hello\", \"labels\": [\"hi\"]}\n");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        lint_report r;
        run(&f, cases[i].text, &r);
        const json_t *found = find(&r, cases[i].rule, cases[i].line);
        if (!found || json_get_int(found, "column", 0) != cases[i].column ||
            strcmp(json_get_string(found, "key"), cases[i].key) != 0) {
            dump(&r);
            fail_msg("case %zu: no %s of '%s' at %d:%d", i, cases[i].rule, cases[i].key, cases[i].line,
                     cases[i].column);
        }
        lint_report_release(&r);
    }
    fixture_close(&f);
}

static void what_is_right_is_left_alone(void **state) {
    (void)state;
    static const char good[] = HEAD "# the word lint alone silences nothing\n" REST TOOL(
        "do",
        "w: {type: string, enum: [on, off], description: which}, id: {type: string, description: which,"
        " from: conversation, pattern: '^A[0-9+*]{5}\\+$'}, b: {type: boolean, description: whether}",
        EXEC, "    effect: write\n    approval: {when: session.customer > 1}\n") READ;
    agent_fixture f;
    lint_report r;
    muga_error err;
    str tasks = STR_INIT;
    char eval[1024];
    fixture_prepare(&f, "right", NULL);
    fixture_write(&f, "examples.jsonl", "{\"text\": \"hello\", \"labels\": [\"hi\"]}\n");
    snprintf(eval, sizeof eval, "%s/eval", f.dir);
    assert_ok(f.env.files->mkdirs(f.env.files->self, eval, &err), &err);
    for (int i = 0; i < 20; i++) {
        str_append_s(&tasks,
                     "{\"id\": \"t\", \"messages\": [\"x\"], \"expect\": {\"calls\": [{\"tool\": \"do\"}]}}\n\n");
    }
    fixture_write(&f, "eval/a.jsonl", str_get(&tasks));
    run(&f, good, &r);
    if (json_array_size(r.findings) > 0) {
        dump(&r);
    }
    assert_int_equal(json_array_size(r.findings), 0);
    lint_report_release(&r);
    str_release(&tasks);
    fixture_close(&f);
}

static void tasks_are_checked_by_line(void **state) {
    (void)state;
    agent_fixture f;
    lint_report r;
    muga_error err;
    char eval[1024];
    fixture_prepare(&f, "tasks", NULL);
    snprintf(eval, sizeof eval, "%s/eval", f.dir);
    assert_ok(f.env.files->mkdirs(f.env.files->self, eval, &err), &err);
    fixture_write(&f, "eval/b.jsonl",
                  "{\"id\": \"t\", \"messages\": [\"x\"], \"expect\": {}}\n\n{\"id\": 1}\n"
                  "{\"id\": \"t\", \"messages\": [\"x\"], \"expect\": {\"calls\": [{\"tool\": \"nosuch\"}]}}\n");
    fixture_write(&f, "eval/readme.txt", "no tasks");
    run(&f, GOOD, &r);
    assert_non_null(find(&r, "bad-evaluation", 3));
    assert_non_null(strstr(json_get_string(find(&r, "bad-evaluation", 4), "message"), "nosuch"));
    assert_string_equal(json_get_string(find(&r, "bad-evaluation", 4), "file"), "eval/b.jsonl");
    assert_non_null(find(&r, "few-tasks", 0));
    assert_null(find(&r, "no-evaluation", 0));
    lint_report_release(&r);
    fixture_close(&f);
}

/* Each needs a reason, a rule that there is, and a place that it is meant for. */
static void a_comment_silences_its_rule_with_a_reason(void **state) {
    (void)state;
#define WRITE "    effect: write\n"
    agent_fixture f;
    lint_report r;
    fixture_prepare(&f, "allow", NULL);
    fixture_write(&f, "examples.jsonl", "{\"text\": \"hello\", \"labels\": [\"hi\"]}\n");
    static const struct {
        const char *text;
        bool silenced;
        const char *other; /* a finding about the comment, or NULL */
    } comments[] = {
        {HEAD REST TOOL("do", "", EXEC, WRITE "    approval: never # lint: allow write-without-approval: it's a toy\n"),
         true, NULL},
        {HEAD REST TOOL("do", "", EXEC,
                        WRITE "    # lint: allow write-without-approval: it's a toy\n    # and more\n    approval:"
                              " never\n"),
         true, NULL},
        {"# lint: allow write-without-approval: all of it is a toy\n" HEAD REST TOOL("do", "", EXEC,
                                                                                     WRITE "    approval: never\n"),
         true, NULL},
        {HEAD REST TOOL("do", "", EXEC, WRITE "    approval: never # lint: allow write-without-approval\n"), false,
         "allow-without-reason"},
        {HEAD REST TOOL("do", "", EXEC, WRITE "    approval: never # lint: allow write-without-approval:  \n"), false,
         "allow-without-reason"},
        {HEAD REST TOOL("do", "", EXEC, WRITE "    approval: never # lint: allow write-without-aproval: x\n"), false,
         "unknown-rule"},
        {HEAD REST TOOL("do", "", EXEC, WRITE "    approval: never # lint: allow manifest: x\n"), false,
         "unknown-rule"},
        {HEAD REST TOOL("do", "", EXEC, "    # lint: allow write-without-approval: x\n" WRITE "    approval: never\n"),
         false, "unused-allow"},
        {HEAD REST TOOL("do", "", EXEC, WRITE "    approval: never # lint: allow secret: x\n"), false, "unused-allow"}};
    for (size_t i = 0; i < ARRAY_LEN(comments); i++) {
        run(&f, comments[i].text, &r);
        const json_t *found = find(&r, "write-without-approval", 0);
        assert_non_null(found);
        if ((json_get_string(found, "allowed") != NULL) != comments[i].silenced ||
            r.n_allowed != (size_t)comments[i].silenced || (r.n_errors == 0) != comments[i].silenced ||
            (comments[i].other && !find(&r, comments[i].other, 0))) {
            dump(&r);
            fail_msg("comment %zu", i);
        }
        lint_report_release(&r);
    }
    fixture_close(&f);
}

static void files_that_are_no_manifest(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "- 1\n",
                                        "x",
                                        "tools: 1\nsession: [1]\nstate: x\nlimits: 3\n",
                                        "tools: [1, {name: [], parameters: {properties: [1]}, sql: x}]\n",
                                        "tools: [{parameters: {properties: {a: 1, b: {from: 1, type: [1]}}}}]\n",
                                        "kind: goal\ngoal: {}\nguards: 1\nescalation: null\n",
                                        "\xff"};
    agent_fixture f;
    fixture_prepare(&f, "none", NULL);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        lint_report r;
        run(&f, texts[i], &r);
        assert_non_null(find(&r, "manifest", 0));
        assert_true(r.n_errors > 0);
        lint_report_release(&r);
    }
    lint_report r;
    muga_error err;
    assert_status(lint_run(&f.env, "/nosuch", "/nosuch", &r, &err), MUGA_E_NOT_FOUND, &err, "agent.yaml");
    fixture_close(&f);
}

static void every_rule_is_in_the_docs_and_in_this_test(void **state) {
    (void)state;
    static const char *const elsewhere[] = {"bad-evaluation", "few-tasks", "unknown-rule", "allow-without-reason",
                                            "unused-allow"};
    str text = STR_INIT;
    muga_error err;
    size_t n;
    const lint_rule *rules = lint_rules(&n);
    assert_ok(os_read_file(&os_system()->files, source_path("docs/lint.md"), 1 << 20, &text, &err), &err);
    for (size_t i = 0; i < n; i++) {
        char quoted[80];
        bool tested = false;
        snprintf(quoted, sizeof quoted, "`%s`", rules[i].name);
        if (!strstr(str_get(&text), quoted)) {
            fail_msg("docs/lint.md doesn't list %s", rules[i].name);
        }
        for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
            tested = tested || strcmp(cases[k].rule, rules[i].name) == 0;
        }
        for (size_t k = 0; k < ARRAY_LEN(elsewhere); k++) {
            tested = tested || strcmp(elsewhere[k], rules[i].name) == 0;
        }
        if (!tested) {
            fail_msg("no case for %s", rules[i].name);
        }
    }
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_rule_finds_its_fault_and_its_place),
                                       cmocka_unit_test(what_is_right_is_left_alone),
                                       cmocka_unit_test(tasks_are_checked_by_line),
                                       cmocka_unit_test(a_comment_silences_its_rule_with_a_reason),
                                       cmocka_unit_test(files_that_are_no_manifest),
                                       cmocka_unit_test(every_rule_is_in_the_docs_and_in_this_test)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
