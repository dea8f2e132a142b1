#include "support/tool_fixture.h"

#include "support/support.h"

#include <string.h>

const char tool_head[] = "version: 1\nagent: test-shop\nkind: goal\nmodel: m\nsession: {customer: {type: integer}}\n"
                         "goal: {statement: Help.}\nlimits: {steps: 1000}\n";

static void write_manifest(agent_fixture *f, const char *parameters, const char *keys) {
    str text = STR_INIT;
    str_printf(
        &text,
        "%stools:\n  - name: t\n    description: d\n    approval: never\n    parameters: {type: object, properties:"
        " {%s}, additionalProperties: false}\n%s",
        tool_head, parameters, keys);
    fixture_write(f, "agent.yaml", str_get(&text));
    str_release(&text);
}

void tool_begin(agent_fixture *f, const char *parameters, const char *keys) {
    muga_error err;
    write_manifest(f, parameters, keys);
    assert_ok(manifest_load(&f->env, f->dir, NULL, &f->m, &err), &err);
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    fixture_begin(f, 1, "hi");
}

void tool_open(agent_fixture *f, const char *name, const char *parameters, const char *keys) {
    fixture_prepare(f, name, NULL);
    tool_begin(f, parameters, keys);
}

void tool_expect_refusal(agent_fixture *f, const char *parameters, const char *keys, const char *part) {
    muga_error err;
    manifest *m = NULL;
    write_manifest(f, parameters, keys);
    muga_status st = manifest_load(&f->env, f->dir, NULL, &m, &err);
    manifest_free(m);
    if (st == MUGA_OK || !strstr(err.message, part)) {
        fail_msg("%s: %s; expected a refusal with: %s", keys, st == MUGA_OK ? "taken" : err.message, part);
    }
}

call_result tool_call_run(agent_fixture *f, const char *arguments) {
    muga_error err;
    call_result r;
    json_t *v = fixture_json(arguments);
    assert_ok(executor_call(f->session, "t", v, &r, &err), &err);
    json_decref(v);
    return r;
}

void tool_expect_failure(agent_fixture *f, const char *arguments, const char *part) {
    call_result r = tool_call_run(f, arguments);
    if (r.outcome != CALL_FAILED || !strstr(r.reason, part)) {
        fail_msg("%s: %s: %s; expected a failure with: %s", arguments, call_outcome_name(r.outcome), r.reason, part);
    }
    assert_string_equal(json_get_string(r.result, "error"), r.reason);
    call_result_release(&r);
}

void tool_expect_result(agent_fixture *f, const char *arguments, const char *json) {
    call_result r = tool_call_run(f, arguments);
    if (r.outcome != CALL_FINISHED) {
        fail_msg("%s: %s: %s", arguments, call_outcome_name(r.outcome), r.reason);
    }
    json_t *want = fixture_json(json);
    if (!json_equal(r.result, want)) {
        str got = STR_INIT;
        json_write(r.result, &got);
        fail_msg("got %s, not %s", str_get(&got), json);
    }
    json_decref(want);
    call_result_release(&r);
}
