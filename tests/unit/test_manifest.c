/* agent.yaml: what is read, and what is refused with the line where it stands. If this failed, a slip in a manifest
 * would be a wrong or unguarded agent instead of one clear line. */
#include "support/support.h"

#include "agent/internal.h"
#include "support/agent_fixture.h"

#include <stdio.h>

/* ---- YAML as JSON ---- */

static void assert_yaml(const char *yaml, const char *json) {
    muga_error err;
    json_t *v, *want = fixture_json(json);
    assert_ok(yaml_parse(yaml, strlen(yaml), "t.yaml", &v, NULL, &err), &err);
    if (!json_equal(v, want)) {
        str text = STR_INIT;
        json_write(v, &text);
        fail_msg("%s gave %s, not %s", yaml, str_get(&text), json);
    }
    json_decref(v);
    json_decref(want);
}

static void assert_yaml_refused(const char *yaml, const char *part) {
    muga_error err = {0};
    json_t *v = NULL;
    assert_status(yaml_parse(yaml, strlen(yaml), "t.yaml", &v, NULL, &err), MUGA_E_INPUT, &err, part);
    assert_null(v);
}

static void scalars_follow_the_core_schema(void **state) {
    (void)state;
    assert_yaml("[null, Null, NULL, ~, '~', \"null\"]", "[null, null, null, null, '~', 'null']");
    assert_yaml("[true, True, FALSE, yes, no, on, off, y]", "[true, true, false, 'yes', 'no', 'on', 'off', 'y']");
    assert_yaml("[0, -7, +7, 007, 0o17, 0x1F, 1_000, 0b1, 12:30]", "[0, -7, 7, 7, 15, 31, '1_000', '0b1', '12:30']");
    assert_yaml("[1.5, .5, 5., -1e3, 1E-2, +.5e1, 1.e2, 0012.5]", "[1.5, 0.5, 5.0, -1000.0, 0.01, 5.0, 100.0, 12.5]");
    assert_yaml("[., -, +, e5, 1e, .e1, 0x, 2026-09-14, 1.2.3]",
                "['.', '-', '+', 'e5', '1e', '.e1', '0x', '2026-09-14', '1.2.3']");
    assert_yaml("a:\nb: ''\n", "{'a': null, 'b': ''}");
    assert_yaml("|\n  one\n  two\n", "'one\\ntwo\\n'");
}

static void what_json_cannot_say_is_refused(void **state) {
    (void)state;
    assert_yaml_refused("a: .inf", "t.yaml:1:4: infinity");
    assert_yaml_refused("a: 1\nb: .NaN", "t.yaml:2:4: ");
    assert_yaml_refused("a: 9223372036854775808", "past 64 bits");
    assert_yaml_refused("a: 1e999", "64-bit floating");
}

static void yaml_with_hidden_meaning_is_refused(void **state) {
    (void)state;
    assert_yaml_refused("a: &x 1\nb: *x", "t.yaml:1:4: anchors");
    assert_yaml_refused("a: 1\nb: *x", "t.yaml:2:");
    assert_yaml_refused("a: !!str 1", "t.yaml:1:4: tags");
    assert_yaml_refused("a: 1\nb: !local [1]", "t.yaml:2:4: tags");
    assert_yaml_refused("a: {<<: {b: 1}}", "merge keys");
    assert_yaml_refused("a: 1\nb: 2\na: 3\n", "t.yaml:3:1: key 'a' stands here twice");
    assert_yaml_refused("? [a]\n: 1\n", "a key must be text");
    assert_yaml_refused("1: x", "t.yaml:1:1: a key must be text; quote it");
    assert_yaml_refused("a: 1\n\"b\\0c\": 2", "t.yaml:2:1: NUL in a key");
    assert_yaml_refused("a: 1\n---\nb: 2\n", "t.yaml:2:1: a second document");
    assert_yaml_refused("%YAML 1.1\n---\na: yes\n", "directives");
    assert_yaml_refused("", "empty");
    assert_yaml_refused("# only a comment\n", "empty");
    assert_yaml_refused("a: [1, 2\nb: 3\n", "t.yaml:");
    assert_yaml_refused("a: \"\\xff\n", "t.yaml:");
    assert_yaml_refused("a: \xff\xfe\n", "UTF-8");
}

static void yaml_is_bounded(void **state) {
    (void)state;
    str deep = STR_INIT;
    for (int i = 0; i < 33; i++) {
        str_append_c(&deep, '[');
    }
    assert_yaml_refused(str_get(&deep), "deeper than 32");
    str_release(&deep);
    str many = STR_INIT;
    str_append_c(&many, '[');
    for (int i = 0; i < 100001; i++) {
        str_append_s(&many, "1,");
    }
    str_append_c(&many, ']');
    assert_yaml_refused(str_get(&many), "more than 100000 values");
    while (many.len <= (size_t)1 << 20) {
        str_append_s(&many, "#################################################################\n");
    }
    assert_yaml_refused(str_get(&many), "at most 1048576");
    str_release(&many);
}

static void every_value_has_its_place(void **state) {
    (void)state;
    static const char yaml[] = "a: 1\nb:\n  - x\n  - {c/d: 2,\n     e~f: 3}\ng: |\n  text\n";
    static const struct {
        const char *pointer;
        int line, column;
    } expected[] = {{"", 1, 1},     {"/a", 1, 1},        {"/b", 2, 1},        {"/b/0", 3, 5},
                    {"/b/1", 4, 5}, {"/b/1/c~1d", 4, 6}, {"/b/1/e~0f", 5, 6}, {"/g", 6, 1}};
    muga_error err;
    json_t *v, *lines, *places;
    assert_ok(yaml_parse(yaml, strlen(yaml), "t.yaml", &v, &lines, &err), &err);
    json_decref(v);
    assert_ok(yaml_parse_places(yaml, strlen(yaml), "t.yaml", &v, &places, &err), &err);
    assert_int_equal(json_object_size(lines), ARRAY_LEN(expected));
    assert_int_equal(json_object_size(places), ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_int_equal(json_get_int(lines, expected[i].pointer, 0), expected[i].line);
        assert_int_equal(yaml_line(places, expected[i].pointer), expected[i].line);
        assert_int_equal(yaml_column(places, expected[i].pointer), expected[i].column);
    }
    assert_int_equal(yaml_line(places, "/nowhere"), 1);
    assert_int_equal(yaml_column(NULL, ""), 1);
    json_decref(v);
    json_decref(lines);
    json_decref(places);
}

/* ---- manifests ---- */

static const char head[] = "version: 1\nagent: test-shop\nkind: goal\nmodel: m\nsession: {customer: {type: integer}}\n"
                           "goal: {statement: Help.}\n"; /* 6 lines */

static void assert_refused(agent_fixture *f, const char *text, muga_status status, const char *part) {
    muga_error err = {0};
    manifest *m = NULL;
    fixture_write(f, "agent.yaml", text);
    assert_status(manifest_load(&f->env, f->dir, NULL, &m, &err), status, &err, part);
    assert_null(m);
}

/* `rest` behind the head. */
static void refuse(agent_fixture *f, const char *rest, const char *part) {
    str text = STR_INIT;
    str_printf(&text, "%s%s", head, rest);
    assert_refused(f, str_get(&text), MUGA_E_INPUT, part);
    str_release(&text);
}

static void refuse_tool(agent_fixture *f, const char *tool, const char *part) {
    str text = STR_INIT;
    str_printf(&text, "tools:\n  - name: t\n    description: d\n    %s\n", tool);
    refuse(f, str_get(&text), part);
    str_release(&text);
}

#define NO_PARAMETERS "parameters: {type: object, properties: {}, additionalProperties: false}\n    "
#define ONE_PARAMETER_IN "parameters: {type: object, properties: {x: {type: string}}, additionalProperties: false},"
#define ONE_PARAMETER "parameters: {type: object, properties: {x: {type: string}}, additionalProperties: false}\n    "

static void a_manifest_is_read_whole(void **state) {
    (void)state;
    agent_fixture f;
    fixture_open(&f, "whole", NULL);
    const manifest *m = f.m;
    assert_string_equal(m->name, "test-shop");
    assert_string_equal(m->model, "scripted");
    assert_int_equal(m->kind, MANIFEST_GOAL);
    assert_int_equal(m->n_tools, 4);
    assert_int_equal(m->max_steps, 50);
    assert_int_equal(m->approval_ms, 86400000);
    assert_non_null(m->goal_done);
    const manifest_tool *t = manifest_tool_find(m, "refund");
    assert_int_equal(t->effect, EFFECT_WRITE);
    assert_int_equal(t->approval, APPROVAL_WHEN);
    assert_non_null(t->when);
    assert_int_equal(t->line, 26);
    assert_null(manifest_tool_find(m, "nothing"));
    json_t *defaults = fixture_json("{'resolution': null}");
    assert_true(json_equal(m->state_default, defaults));
    json_decref(defaults);
    fixture_close(&f);
}

/* One rule, or observation, behind a head with a percept, a state and one tool. */
static void refuse_rule(agent_fixture *f, const char *kind, const char *rest, const char *part) {
    str text = STR_INIT;
    str_printf(&text,
               "version: 1\nagent: a\nkind: %s\npercept: {type: object, properties: {n: {type: integer}}}\nstate: {s:"
               " {type: integer, default: 0}}\ntools:\n  - {name: t, description: d, effect: read, " ONE_PARAMETER_IN
               " sql: {database: shop.db, query: 'SELECT :x'}}\n%s\n",
               kind, rest);
    assert_refused(f, str_get(&text), MUGA_E_INPUT, part);
    str_release(&text);
}

static void faults_of_rules_are_named(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "rules", NULL);
    static const char *const rules[][2] = {
        {"{name: a}", "agent.yaml:9:5: key rules[0]: a rule needs one of tool, answer"},
        {"{name: a, answer: x, ask: y}", "one consequence, and this one has ask and answer"},
        {"{name: a, tool: u}", "no tool is called u"},
        {"{name: a, tool: t, arguments: {y: 1}}", "t has no parameter y"},
        {"{name: a, answer: x, held: y}", "held belongs to a rule with a tool"},
        {"{name: a, when: 'percept.n >', answer: x}", "expected an expression"},
        {"{name: a, when: 'range(3)', answer: '{% if %}'}", "agent.yaml:9:5: key rules[0]: template line 1"},
        {"{name: a, match: '(', answer: x}", "agent.yaml:9:5: key rules[0]: byte 1: missing closing"},
        {"{name: a, in: percept.n, answer: x}", "in says where match looks"},
        {"{name: a, intent: order, answer: x}", "no label of intent: is called order"},
        {"{name: a, on: percept, match: x, in: percept.s, nothing: false}", "rules[0].nothing"},
        {"{name: a, whem: x, answer: x}", "did you mean 'when'?"},
        {"{name: a, nothing: true}\n  - {name: a, nothing: true}", "agent.yaml:10:5: key rules[1]: another rule has"}};
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        str text = STR_INIT;
        str_printf(&text, "rules:\n  - %s", rules[i][0]);
        refuse_rule(&f, "reflex", str_get(&text), rules[i][1]);
        str_release(&text);
    }
    static const char *const observations[][2] = {
        {"{set: {x: 1}}", "agent.yaml:9:5: key observe[0]: state: has no x"},
        {"{set: {calls: 1}}", "state: has no calls"},
        {"{tool: u, set: {s: 1}}", "no tool is called u"},
        {"{tool: t, on: percept, set: {s: 1}}", "remove on or tool"},
        {"{outcome: [failed], set: {s: 1}}", "outcome belongs to an observation of a tool"},
        {"{set: {s: {at: x}}}", "{at: expression, to: expression}"},
        {"{set: {s: 'state.'}}", "expected"}};
    for (size_t i = 0; i < ARRAY_LEN(observations); i++) {
        str text = STR_INIT;
        str_printf(&text, "observe:\n  - %s\nrules: [{name: a, nothing: true}]", observations[i][0]);
        refuse_rule(&f, "model", str_get(&text), observations[i][1]);
        str_release(&text);
    }
    refuse_rule(&f, "reflex", "rules: [{name: a, nothing: true}]\nobserve: [{set: {s: 1}}]", "keeps no state between");
    refuse_rule(&f, "model", "observe: [{set: {s: 1}}]", "key 'rules' is missing");
    assert_refused(&f,
                   "version: 1\nagent: a\nkind: model\nstate: {calls: {type: integer, default: 0}}\nobserve: [{set:"
                   " {calls: 1}}]\nrules: [{name: a, nothing: true}]\n",
                   MUGA_E_INPUT, "agent.yaml:4:9: key state.calls: the loop itself keeps calls");
    assert_refused(&f,
                   "version: 1\nagent: a\nkind: model\nstate: {s: {type: integer, default: 0, scope: all}}\nobserve:"
                   " [{set: {s: 1}}]\nrules: [{name: a, nothing: true}]\n",
                   MUGA_E_INPUT, "agent.yaml:4:9: key state.s: scope is session, or agent");
    refuse(&f, "rules: [{name: a, nothing: true}]\n", "key rules: belongs to kind: reflex");
    refuse(&f, "state: {s: {type: integer, default: 0, scope: agent}}\n", "scope belongs to kind: model");
    fixture_close(&f);
}

static void a_write_without_a_word_on_approval_asks(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    str text = STR_INIT;
    fixture_prepare(&f, "careful", NULL);
    str_printf(&text,
               "%stools:\n  - name: w\n    description: d\n    " NO_PARAMETERS
               "sql: {database: shop.db, exec: DELETE FROM"
               " notes}\n    effect: write\n  - name: r\n    description: d\n    " NO_PARAMETERS
               "sql: {database: shop.db, query: SELECT 1 AS one}\n    effect: read\n",
               head);
    fixture_write(&f, "agent.yaml", str_get(&text));
    assert_ok(manifest_load(&f.env, f.dir, NULL, &f.m, &err), &err);
    assert_int_equal(f.m->tools[0].approval, APPROVAL_ALWAYS);
    assert_int_equal(f.m->tools[1].approval, APPROVAL_NEVER);
    str_release(&text);
    fixture_close(&f);
}

static void faults_are_named_with_line_and_key(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "faults", NULL);
    refuse(&f, "tolls: []\n", "agent.yaml:7:1: key tolls: unknown key; did you mean 'tools'?");
    refuse(&f, "zebra: 1\n", "agent.yaml:7:1: key zebra: unknown key; remove it");
    refuse(&f, "limits: {steps: many}\n", "agent.yaml:7:10: key limits.steps: text; must be a whole number");
    refuse(&f, "limits: {steps: 0}\n", "agent.yaml:7:10: key limits.steps: 0 is out of range; must be 1 to");
    refuse(&f, "description: ''\nguards: {input: {max_chars: 0}}\n",
           "agent.yaml:8:18: key guards.input.max_chars: 0 is out of range; must be 1 to 1000000");
    refuse(&f, "scope: {domain: ''}\n", "agent.yaml:7:9: key scope.domain: 0 characters; must be 1 to 2000");
    refuse(&f, "limits:\n  steps: 8\n  token: 5\n",
           "agent.yaml:9:3: key limits.token: unknown key; did you mean 'tokens'?");
    refuse(&f, "tools:\n  - description: d\n", "agent.yaml:8:5: key tools[0]: key 'name' is missing");
    refuse(&f, "escalation: {to: human, when: [limits, low_margn]}\n",
           "agent.yaml:7:40: key escalation.when[1]: 'low_margn' is none of");
    refuse(&f, "escalation: {to: human, when: [low_margn]}\n", "did you mean 'low_margin'?");
    refuse(&f, "scope: {domain: x, otherwise: 3}\n", "key scope.otherwise");
    refuse(&f, "model: x\n", "agent.yaml:7:1: key 'model' stands here twice");
    assert_refused(&f, "version: 2\nagent: a\nkind: goal\n", MUGA_E_INPUT,
                   "agent.yaml:1:1: key version: does not fit: must be 1");
    assert_refused(&f, "version: 1\nagent: A B\nkind: goal\n", MUGA_E_INPUT,
                   "agent.yaml:2:1: key agent: does not fit: the agent's name");
    assert_refused(&f, "version: 1\nagent: a\nkind: gaol\n", MUGA_E_INPUT,
                   "agent.yaml:3:1: key kind: 'gaol' is none of");
    assert_refused(&f, "version: 1\nagent: a\nkind: reflex\n", MUGA_E_INPUT, "key 'rules' is missing");
    assert_refused(&f, "version: 1\nagent: a\nkind: model\n", MUGA_E_INPUT, "key 'observe' is missing");
    assert_refused(&f, "version: 1\nagent: a\nkind: goal\n", MUGA_E_INPUT, "key 'model' is missing");
    assert_refused(&f, "- 1\n", MUGA_E_INPUT, "agent.yaml:1:1: a list; must be a mapping");
    assert_refused(&f, "version: 1\nagent: a\nkind: goal\nmodel: m\ngoal: {statement: s, done: '1 +'}\n", MUGA_E_INPUT,
                   "agent.yaml:5:22: key goal.done");
    fixture_close(&f);
}

/* JSON Schema passes over what it does not know; in a manifest a slip would be a rule that is not there. */
static void a_misspelt_rule_of_a_schema_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *schema, *part;
    } cases[] = {
        {"{x: {type: string, form: conversation}}", "properties.x.form: unknown key; did you mean 'from'?"},
        {"{x: {type: string, maxLenght: 5}}", "properties.x.maxLenght: unknown key; did you mean 'maxLength'?"},
        {"{x: {anyOf: [{type: string}, {typ: integer}]}}",
         "properties.x.anyOf[1].typ: unknown key; did you mean 'type'?"},
        {"{x: {type: array, items: {enumm: [a]}}}", "properties.x.items.enumm: unknown key"},
        {"{x: {type: string, sensitive: true}}", "no key of JSON Schema; remove it, or begin it with x-"},
        {"{x: {type: array, items: {type: string, from: conversation, normalise: {match: a, value: b}}}}",
         "items.normalise: is read on a tool's own parameters only"},
    };
    agent_fixture f;
    char tool[600];
    fixture_prepare(&f, "misspelt", NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(tool, sizeof tool,
                 "parameters: {type: object, properties: %s, additionalProperties: false}\n    effect: read\n"
                 "    sql: {database: shop.db, query: SELECT 1 AS a}",
                 cases[i].schema);
        refuse_tool(&f, tool, cases[i].part);
    }
    refuse_tool(&f,
                "parameters: {type: object, properties: {}, require: [x], additionalProperties: false}\n"
                "    effect: read\n    sql: {database: shop.db, query: SELECT 1 AS a}",
                "agent.yaml:10:48: key tools[0].parameters.require: unknown key; did you mean 'required'?");
    refuse(&f, "state: {a: {type: integer, defualt: 1}}\n",
           "key state.a.defualt: unknown key; did you mean 'default'?");
    refuse(&f, "state: {a: {type: string, normalise: {match: a, value: b}}}\n", "key state.a.normalise: is read on");
    fixture_close(&f);
}

static void a_missing_folder_is_not_found(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    manifest *m;
    fixture_prepare(&f, "missing", NULL);
    assert_status(manifest_load(&f.env, scratch_path("nowhere"), NULL, &m, &err), MUGA_E_NOT_FOUND, &err, "agent.yaml");
    fixture_close(&f);
}

static void tools_that_could_not_run_are_refused(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "tools", NULL);
    refuse_tool(&f, NO_PARAMETERS "effect: read", "key tools[0]: needs sql, ");
    refuse_tool(&f, "parameters: {type: string}\n    effect: read\n    sql: {database: shop.db, query: SELECT 1 AS a}",
                "agent.yaml:10:5: key tools[0].parameters: must be a schema of type: object");
    refuse_tool(&f, "parameters: {type: object}\n    effect: read\n    sql: {database: shop.db, query: SELECT 1 AS a}",
                "additionalProperties: false");
    refuse_tool(
        &f,
        "parameters: {type: object, properties: {session_customer: {type: integer}}, additionalProperties: false}\n"
        "    effect: read\n    sql: {database: shop.db, query: SELECT 1 AS a}",
        "begin with session_");
    refuse_tool(
        &f,
        "parameters: {type: object, properties: {x: {type: string, from: model}}, additionalProperties: false}\n"
        "    effect: read\n    sql: {database: shop.db, query: SELECT 1 AS a}",
        "from must be conversation or tools");
    refuse_tool(
        &f,
        "parameters: {type: object, properties: {x: {anyOf: [{type: string, from: tools}]}}, additionalProperties:"
        " false}\n    effect: read\n    sql: {database: shop.db, query: SELECT 1 AS a}",
        "properties and items only");
    refuse_tool(&f, NO_PARAMETERS "effect: read\n    sql: {database: ../shop.db, query: SELECT 1 AS a}", "must lie in");
    refuse_tool(&f, NO_PARAMETERS "effect: read\n    sql: {database: shop.db}", "needs either query or exec");
    refuse_tool(&f, NO_PARAMETERS "effect: read\n    unsandboxed: true\n    sandbox: {}\n    command: [/bin/true]",
                "key tools[0].sandbox: says nothing beside unsandboxed: true");
    refuse_tool(&f, NO_PARAMETERS "effect: read\n    unsandboxed: true\n    command: [sh]", "must be a path");
    refuse_tool(&f, NO_PARAMETERS "effect: read\n    unsandboxed: true\n    command: [../sh]", "'..'");
    refuse_tool(&f,
                NO_PARAMETERS
                "effect: write\n    approval: {when: 'x = 1'}\n    sql: {database: shop.db, exec: DELETE FROM notes}",
                "agent.yaml:12:16: key tools[0].approval.when");
    refuse_tool(&f,
                NO_PARAMETERS
                "effect: write\n    approval: sometimes\n    sql: {database: shop.db, exec: DELETE FROM notes}",
                "key tools[0].approval: does not fit: never, always, or");
    refuse(
        &f,
        "tools:\n  - {name: ask, description: d, parameters: {type: object, additionalProperties: false}, effect: read,"
        " sql: {database: shop.db, query: SELECT 1 AS a}}\n",
        "words of the loop");
    refuse(
        &f,
        "tools:\n  - {name: t, description: d, parameters: {type: object, additionalProperties: false}, effect: read,"
        " sql: {database: shop.db, query: SELECT 1 AS a}}\n"
        "  - {name: t, description: d, parameters: {type: object, additionalProperties: false}, effect: read,"
        " sql: {database: shop.db, query: SELECT 1 AS a}}\n",
        "agent.yaml:9:5: key tools[1]: another tool has this name");
    fixture_close(&f);
}

static void a_database_that_is_missing_is_not_found(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "no-database", NULL);
    str text = STR_INIT;
    str_printf(&text,
               "%stools:\n  - name: t\n    description: d\n    " NO_PARAMETERS
               "effect: read\n    sql: {database: nowhere.db, query: SELECT 1 AS a}\n",
               head);
    assert_refused(&f, str_get(&text), MUGA_E_NOT_FOUND, "nowhere.db is not there; make it first");
    str_release(&text);
    fixture_close(&f);
}

static void sql_that_could_harm_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *effect, *sql, *part;
    } cases[] = {
        {"read", "query: DELETE FROM notes", "effect: read"},
        {"read", "exec: DELETE FROM notes", "say effect: write"},
        {"read", "query: SELECT * FROM absent", "no such table"},
        {"read", "query: SELEC 1", "syntax error"},
        {"read", "query: SELECT 1 AS a; SELECT 2 AS b", "more than one statement"},
        {"write", "exec: DELETE FROM notes; DROP TABLE orders", "more than one statement"},
        {"write", "exec: DROP TABLE orders", "a tool works on rows"},
        {"write", "exec: CREATE TABLE x(y)", "a tool works on rows"},
        {"write", "exec: ATTACH 'other.db' AS o", "a tool works on rows"},
        {"write", "exec: PRAGMA journal_mode = OFF", "a tool works on rows"},
        {"write", "exec: VACUUM", "a tool"},
        {"write", "exec: BEGIN", "a tool works on rows"},
        {"write", "exec: DELETE FROM muga_calls", "a tool works on rows"},
        {"read", "query: SELECT call FROM muga_calls", "muga_calls"},
        {"read", "query: 'SELECT load_extension(''x'') AS a'", "load_extension"},
        {"read", "query: EXPLAIN SELECT 1", "EXPLAIN"},
        {"read", "query: 'SELECT :y AS a'", ":y is neither a parameter"},
        {"read", "query: 'SELECT :session_admin AS a'", ":session_admin is neither"},
        {"read", "query: SELECT ? AS a", "has no name"},
        {"read", "query: SELECT @x AS a", "has no name"},
        {"read", "query: SELECT $x AS a", "has no name"},
        {"read", "query: 'SELECT 1 AS a, 2 AS a'", "two columns are called a"},
        {"write", "query: DELETE FROM notes", "gives no rows"},
        {"read", "query: '-- nothing'", "no statement"},
    };
    agent_fixture f;
    fixture_prepare(&f, "sql", NULL);
    fixture_sql(f.shop_path, "CREATE TABLE muga_calls(call TEXT PRIMARY KEY NOT NULL, result TEXT NOT NULL)");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char tool[512];
        snprintf(tool, sizeof tool, ONE_PARAMETER "effect: %s\n    sql:\n      database: shop.db\n      %s",
                 cases[i].effect, cases[i].sql);
        refuse_tool(&f, tool, cases[i].part);
    }
    refuse_tool(&f, ONE_PARAMETER "effect: read\n    sql:\n      database: shop.db\n      query: SELEC 1",
                "agent.yaml:14:7: key tools[0].sql.query: ");
    fixture_close(&f);
}

static void the_store_itself_is_no_tools_database(void **state) {
    (void)state;
    agent_fixture f;
    muga_error err;
    fixture_prepare(&f, "own", NULL);
    assert_ok(store_open(f.store_path, NULL, &f.store, &err), &err);
    refuse_tool(&f, NO_PARAMETERS "effect: read\n    sql: {database: muga.db, query: SELECT id FROM sessions}",
                "muga's own record");
    fixture_close(&f);
}

static void state_and_session_are_checked(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "state", NULL);
    refuse(&f, "state: {a: {type: string}}\n", "agent.yaml:7:9: key state.a: a state needs a default");
    refuse(&f, "state: {a: {type: string, default: 1}}\n", "agent.yaml:7:9: key state.a: ");
    refuse(&f, "state: {A: {type: string, default: x}}\n", "names are small letters");
    refuse(&f, "state: {a: {type: string, default: x, from: tools}}\n", "from belongs to a tool's parameters");
    fixture_close(&f);
}

/* The digests are what approvals and the audit hang on. */
static void digests_follow_every_change(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
        bool tool, policy;
    } changes[] = {
        {"Pay money back.", "Pay more back.", true, true},
        {"arguments.amount > 50", "arguments.amount > 5000", true, true},
        {"limits: {steps: 50}", "limits: {steps: 51}", false, true},
        {"{statement: Help.,", "{statement: Hurt.,", false, false},
    };
    agent_fixture f;
    muga_error err;
    fixture_open(&f, "digests", NULL);
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        manifest *m;
        str text = STR_INIT;
        const char *at = strstr(fixture_manifest, changes[i].from);
        str_append(&text, fixture_manifest, (size_t)(at - fixture_manifest));
        str_append_s(&text, changes[i].to);
        str_append_s(&text, at + strlen(changes[i].from));
        fixture_write(&f, "agent.yaml", str_get(&text));
        assert_ok(manifest_load(&f.env, f.dir, NULL, &m, &err), &err);
        assert_memory_not_equal(m->digest, f.m->digest, SHA256_BYTES);
        assert_int_equal(memcmp(manifest_tool_find(m, "refund")->digest, manifest_tool_find(f.m, "refund")->digest,
                                SHA256_BYTES) != 0,
                         changes[i].tool);
        assert_memory_equal(manifest_tool_find(m, "note")->digest, manifest_tool_find(f.m, "note")->digest,
                            SHA256_BYTES);
        assert_int_equal(memcmp(m->policy_digest, f.m->policy_digest, SHA256_BYTES) != 0, changes[i].policy);
        manifest_free(m);
        str_release(&text);
    }
    fixture_write(&f, "agent.yaml", fixture_manifest);
    manifest *same;
    assert_ok(manifest_load(&f.env, f.dir, NULL, &same, &err), &err);
    assert_memory_equal(same->digest, f.m->digest, SHA256_BYTES);
    manifest_free(same);
    fixture_close(&f);
}

static void the_shipped_schema_is_the_compiled_one(void **state) {
    (void)state;
    str text = STR_INIT;
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, source_path("docs/schema/agent.schema.json"), 1 << 20, &text, &err),
              &err);
    str compiled = STR_INIT;
    assert_ok(manifest_schema_write(&compiled, &err), &err);
    const char *a = str_get(&text), *b = str_get(&compiled);
    int line = 1;
    for (; *a && *a == *b; a++, b++) {
        line += *a == '\n';
    }
    if (*a != *b) {
        fail_msg("docs/schema/agent.schema.json and the compiled text (manifest_schema.c, tool_*.c) differ at line %d",
                 line);
    }
    str_release(&compiled);
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_follow_the_core_schema),
        cmocka_unit_test(what_json_cannot_say_is_refused),
        cmocka_unit_test(yaml_with_hidden_meaning_is_refused),
        cmocka_unit_test(yaml_is_bounded),
        cmocka_unit_test(every_value_has_its_place),
        cmocka_unit_test(a_manifest_is_read_whole),
        cmocka_unit_test(faults_of_rules_are_named),
        cmocka_unit_test(a_write_without_a_word_on_approval_asks),
        cmocka_unit_test(faults_are_named_with_line_and_key),
        cmocka_unit_test(a_misspelt_rule_of_a_schema_is_refused),
        cmocka_unit_test(a_missing_folder_is_not_found),
        cmocka_unit_test(tools_that_could_not_run_are_refused),
        cmocka_unit_test(a_database_that_is_missing_is_not_found),
        cmocka_unit_test(sql_that_could_harm_is_refused),
        cmocka_unit_test(the_store_itself_is_no_tools_database),
        cmocka_unit_test(state_and_session_are_checked),
        cmocka_unit_test(digests_follow_every_change),
        cmocka_unit_test(the_shipped_schema_is_the_compiled_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
