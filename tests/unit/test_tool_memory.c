/* The tool that keeps facts. If this failed, one customer would be told what another said, a fact would outlive its day
 * or the erasure of the person it is about, or the table would grow without end. */
#include "support/support.h"

#include "support/tool_fixture.h"

#include <stdio.h>
#include <string.h>

#define P "about: {type: string}, fact: {type: string}"
#define SUBJECT "subject: [customer]"

static const char tools[] =
    "tools:\n"
    "  - {name: keep, description: d, approval: never, parameters: {type: object, properties: {" P "},"
    " additionalProperties: false}, memory: {op: remember, " SUBJECT ", about: ':about', fact: ':fact', days: 10,"
    " max_facts: 3}, effect: write}\n"
    "  - {name: all, description: d, parameters: {type: object, properties: {}, additionalProperties: false}, memory:"
    " {op: recall, " SUBJECT "}, labels: {trust: trusted}, effect: read}\n"
    "  - {name: one, description: d, parameters: {type: object, properties: {" P "}, additionalProperties: false},"
    " memory: {op: recall, " SUBJECT ", about: ':about'}, labels: {trust: trusted}, effect: read}\n"
    "  - {name: drop, description: d, approval: never, parameters: {type: object, properties: {" P "},"
    " additionalProperties: false}, memory: {op: forget, " SUBJECT ", about: ':about'}, effect: write}\n";

static void open_agent(agent_fixture *f, const char *name) {
    str text = STR_INIT;
    str_printf(&text, "%s%s", tool_head, tools);
    fixture_open(f, name, str_get(&text));
    str_release(&text);
    f->world.now_ms = INT64_C(1795680180000); /* 2026-11-26 */
    fixture_begin(f, 1, "hi");
}

static void serve(agent_fixture *f, int64_t customer) {
    session_close(f->session);
    f->session = NULL;
    fixture_begin(f, customer, "hi");
}

static call_result call(agent_fixture *f, const char *tool, const char *arguments) {
    muga_error err;
    call_result r;
    json_t *v = fixture_json(arguments);
    assert_ok(executor_call(f->session, tool, v, &r, &err), &err);
    json_decref(v);
    return r;
}

static void expect(agent_fixture *f, const char *tool, const char *arguments, const char *part) {
    call_result r = call(f, tool, arguments);
    str got = STR_INIT;
    json_write(r.result, &got);
    if (!strstr(str_get(&got), part)) {
        fail_msg("%s %s: %s; expected %s in it", tool, arguments, str_get(&got), part);
    }
    str_release(&got);
    call_result_release(&r);
}

static void a_fact_is_kept_replaced_found_and_forgotten(void **state) {
    (void)state;
    agent_fixture f;
    open_agent(&f, "kept");
    expect(&f, "all", "{}", "{\"facts\":[]}");
    call_result r = call(&f, "keep", "{'about': 'size', 'fact': 'wears 42'}");
    assert_int_equal(r.outcome, CALL_FINISHED);
    json_t *found = json_pack("{s:[{s:s, s:s, s:s, s:s, s:s}]}", "facts", "about", "size", "fact", "wears 42", "source",
                              r.call, "since", "2026-11-26", "until", "2026-12-06");
    call_result all = call(&f, "all", "{}");
    assert_true(json_equal(all.result, found));
    json_decref(found);
    call_result_release(&all);
    call_result_release(&r);
    expect(&f, "keep", "{'about': 'size', 'fact': 'wears 43'}", "{\"remembered\":true}");
    expect(&f, "keep", "{'about': 'pet', 'fact': 'a cat'}", "{\"remembered\":true}");
    expect(&f, "one", "{'about': 'size'}", "[{\"about\":\"size\",\"fact\":\"wears 43\"");
    expect(&f, "one", "{'about': 'pe'}", "{\"facts\":[]}");
    fixture_reopen(&f);
    expect(&f, "drop", "{'about': 'size'}", "{\"forgotten\":1}");
    expect(&f, "drop", "{'about': 'size'}", "{\"forgotten\":0}");
    expect(&f, "all", "{}", "[{\"about\":\"pet\"");
    fixture_close(&f);
}

static void nobody_sees_another_s_facts(void **state) {
    (void)state;
    agent_fixture f;
    open_agent(&f, "apart");
    expect(&f, "keep", "{'about': 'size', 'fact': 'of one'}", "true");
    serve(&f, 2);
    expect(&f, "all", "{}", "{\"facts\":[]}");
    expect(&f, "one", "{'about': 'size'}", "{\"facts\":[]}");
    expect(&f, "drop", "{'about': 'size'}", "{\"forgotten\":0}");
    expect(&f, "keep", "{'about': 'size', 'fact': 'of two'}", "true");
    serve(&f, 1);
    expect(&f, "all", "{}", "\"fact\":\"of one\"");
    fixture_close(&f);
}

static void facts_are_few_short_and_end(void **state) {
    (void)state;
    agent_fixture f;
    char text[5000];
    open_agent(&f, "bounded");
    expect(&f, "keep", "{'about': 'a', 'fact': 'x'}", "true");
    expect(&f, "keep", "{'about': 'b', 'fact': 'x'}", "true");
    f.world.now_ms += INT64_C(5) * 86400000;
    expect(&f, "keep", "{'about': 'c', 'fact': 'x'}", "true");
    expect(&f, "keep", "{'about': 'd', 'fact': 'x'}", "3 facts are kept already (memory.max_facts); forget one first");
    expect(&f, "keep", "{'about': 'c', 'fact': 'y'}", "true"); /* another word on the same is no further fact */
    f.world.now_ms += INT64_C(5) * 86400000;
    expect(&f, "all", "{}", "{\"facts\":[{\"about\":\"c\",\"fact\":\"y\"");
    expect(&f, "keep", "{'about': 'd', 'fact': 'x'}", "true"); /* a and b have ended */
    expect(&f, "keep", "{'about': '', 'fact': 'x'}", "about has 0 bytes; give 1 to 200");
    expect(&f, "keep", "{'about': 'a\\u0000b', 'fact': 'x'}", "about holds a NUL");
    expect(&f, "keep", "{'about': 'a'}", "fact was left out");
    snprintf(text, sizeof text, "{'about': 'a', 'fact': '%04001d'}", 0);
    expect(&f, "keep", text, "the fact has 4001 bytes");
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM facts"), 2);
    fixture_close(&f);
}

static void erasing_a_person_s_session_erases_the_facts_from_it(void **state) {
    (void)state;
    agent_fixture f;
    char id[AGENT_ID_SIZE];
    muga_error err;
    open_agent(&f, "erased");
    expect(&f, "keep", "{'about': 'size', 'fact': 'secret-size'}", "true");
    snprintf(id, sizeof id, "%s", session_id(f.session));
    serve(&f, 2);
    expect(&f, "keep", "{'about': 'size', 'fact': 'x'}", "true");
    assert_ok(audit_erase(&f.env, f.store, id, NULL, &err), &err);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM facts"), 1);
    assert_int_equal(fixture_count(f.store_path, "SELECT count(*) FROM facts WHERE fact LIKE 'secret%'"), 0);
    serve(&f, 1);
    expect(&f, "all", "{}", "{\"facts\":[]}");
    audit_report report;
    assert_ok(audit_verify(f.store, &report, &err), &err);
    fixture_close(&f);
}

static void definitions_without_a_person_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *keys, *part;
    } cases[] = {
        {"effect: read\n    memory: {op: recall}", "'subject' is missing"},
        {"effect: read\n    memory: {op: recall, subject: []}", "memory.subject"},
        {"effect: read\n    memory: {op: recall, subject: [name]}", "'name' is no value of session:"},
        {"effect: write\n    memory: {op: recall, subject: [customer]}", "effect: op: recall changes nothing"},
        {"effect: read\n    memory: {op: forget, subject: [customer], about: x}", "say effect: write"},
        {"effect: write\n    memory: {op: forget, subject: [customer]}", "key 'about' is missing"},
        {"effect: write\n    memory: {op: remember, subject: [customer], about: x}", "key 'fact' is missing"},
        {"effect: read\n    memory: {op: recall, subject: [customer], days: 3}", "belongs to op: remember"},
        {"effect: read\n    memory: {op: recall, subject: [customer], about: ':x'}", ":x is neither a parameter"},
    };
    agent_fixture f;
    fixture_prepare(&f, "refused", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char keys[200];
        snprintf(keys, sizeof keys, "    %s\n", cases[i].keys);
        tool_expect_refusal(&f, P, keys, cases[i].part);
    }
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fact_is_kept_replaced_found_and_forgotten),
        cmocka_unit_test(nobody_sees_another_s_facts),
        cmocka_unit_test(facts_are_few_short_and_end),
        cmocka_unit_test(erasing_a_person_s_session_erases_the_facts_from_it),
        cmocka_unit_test(definitions_without_a_person_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
