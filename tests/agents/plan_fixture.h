/* A small agent that plans, on a scripted model. */
#ifndef TESTS_PLAN_FIXTURE_H
#define TESTS_PLAN_FIXTURE_H

#include "agent/loop.h"
#include "base/mem.h"
#include "support/agent_fixture.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static const char plan_manifest[] =
    "version: 1\n"
    "agent: test-planner\n"
    "kind: goal\n"
    "model: scripted\n"
    "session: {customer: {type: integer}}\n"
    "guards: {input: {max_chars: 200}, output: {grounded: ids_and_numbers}}\n"
    "tools:\n"
    "  - name: order_status\n"
    "    description: Look up an order.\n"
    "    parameters: {type: object, properties: {order_id: {type: string, pattern: '^A[0-9]{5}$', from: conversation}},"
    " required: [order_id], additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT status, note FROM orders WHERE id = :order_id AND customer ="
    " :session_customer'}\n"
    "    effect: read\n"
    "  - name: latest\n"
    "    description: Look up the latest order.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT max(id) AS id FROM orders WHERE customer = :session_customer'}\n"
    "    effect: read\n"
    "  - name: broken\n"
    "    description: Does not work.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT abs(min(-9223372036854775807 - 1)) FROM orders'}\n"
    "    effect: read\n"
    "  - name: note\n"
    "    description: Keep a note.\n"
    "    parameters: {type: object, properties: {text: {type: string, maxLength: 200}}, required: [text],"
    " additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO notes(customer, text) VALUES (:session_customer, :text)'}\n"
    "    effect: write\n"
    "    approval: never\n"
    "  - name: reset\n"
    "    description: Reset the password.\n"
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO resets(customer) VALUES (:session_customer)'}\n"
    "    effect: write\n"
    "    approval: always\n"
    "  - name: ask_which\n"
    "    description: Ask the customer something.\n"
    "    parameters: {type: object, properties: {question: {type: string, maxLength: 200}}, required: [question],"
    " additionalProperties: false}\n"
    "    ask_person: {}\n"
    "    effect: read\n"
    "  - name: hand_over\n"
    "    description: A person takes over.\n"
    "    parameters: {type: object, properties: {reason: {type: string, maxLength: 200}}, required: [reason],"
    " additionalProperties: false}\n"
    "    escalate: {say: A colleague is coming.}\n"
    "    effect: read\n";

/* What the manifest ends with. */
#define PLANS "plan: {failed: A colleague will help.}\nlimits: {steps: 12, tokens: 100000}\n"
#define BY_STEP "plan: {mode: step, failed: A colleague will help.}\n"

/* Entries of a script. */
#define SAYS(text) "{\"text\": \"" text "\"}"
#define ANSWERS(text) SAYS("{\\\"answer\\\":\\\"" text "\\\"}")
#define RAW(text) "{\"text\": \"" text "\", \"raw\": true}"
#define STEP_OF(tool) "{\\\"tool\\\":\\\"" tool "\\\",\\\"why\\\":\\\"needed\\\"}"
#define PLAN(tool) SAYS("{\\\"steps\\\":[" STEP_OF(tool) "]}")
#define PLAN2(a, b) SAYS("{\\\"steps\\\":[" STEP_OF(a) "," STEP_OF(b) "]}")
#define PLAN3(a, b, c) SAYS("{\\\"steps\\\":[" STEP_OF(a) "," STEP_OF(b) "," STEP_OF(c) "]}")
#define CALLS(tool, arguments) "{\"calls\": [{\"name\": \"" tool "\", \"arguments\": \"" arguments "\"}]}"
#define RAW_CALLS(tool, arguments)                                                                                     \
    "{\"calls\": [{\"name\": \"" tool "\", \"arguments\": \"" arguments "\"}], \"raw\": true}"
#define NOTES(text) CALLS("note", "{\\\"text\\\":\\\"" text "\\\"}")
#define ASKS(text) CALLS("ask_which", "{\\\"question\\\":\\\"" text "\\\"}")
#define CALLS_ID(id) CALLS("order_status", "{\\\"order_id\\\":\\\"" id "\\\"}")
#define RAW_CALLS_ID(id) RAW_CALLS("order_status", "{\\\"order_id\\\":\\\"" id "\\\"}")

typedef struct plan_fixture {
    agent_fixture f;
    llm *model;
    agent_loop *loop;
} plan_fixture;

static inline void plan_begin(plan_fixture *x) {
    muga_error err;
    const loop_parts parts = {.env = &x->f.env, .manifest = x->f.m, .model = x->model, .session = x->f.session};
    assert_ok(loop_new(&parts, &x->loop, &err), &err);
}

/* `tail` ends the manifest; `done`: the goal's check or NULL; `script`: the model's answers, as JSON. Unless the tail
 * says otherwise, a person takes over and 12 calls are the limit. */
static inline void plan_open(plan_fixture *x, const char *name, const char *tail, const char *done,
                             const char *script) {
    muga_error err;
    str text = STR_INIT;
    json_t *list = NULL, *values = fixture_json("{'customer': 1}");
    str_append_s(&text, plan_manifest);
    str_printf(&text, "goal: {statement: Help the customer.%s%s%s}\n", done ? ", done: '" : "", done ? done : "",
               done ? "'" : "");
    str_append_s(&text, tail);
    str_append_s(&text, strstr(tail, "escalation:") ? "" : "escalation: {to: human}\n");
    str_append_s(&text, strstr(tail, "limits:") ? "" : "limits: {steps: 12, tokens: 100000}\n");
    fixture_open(&x->f, name, str_get(&text));
    assert_ok(json_parse(script, strlen(script), "script", &list, &err), &err);
    assert_ok(llm_scripted_new(list, &x->model, &err), &err);
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    json_decref(list);
    json_decref(values);
    str_release(&text);
    plan_begin(x);
}

/* A turn that ends so, with `part` in the answer. Release the result. */
static inline turn_result plan_say(plan_fixture *x, const char *text, turn_outcome outcome, const char *part) {
    turn_result r;
    muga_error err;
    assert_ok(loop_turn(x->loop, text, strlen(text), &r, &err), &err);
    if (r.outcome != outcome || !strstr(str_get(&r.text), part)) {
        fail_msg("\"%s\" gave %s \"%s\", not %s \"%s\"", text, turn_outcome_name(r.outcome), str_get(&r.text),
                 turn_outcome_name(outcome), part);
    }
    return r;
}

static inline void plan_say_only(plan_fixture *x, const char *text, turn_outcome outcome, const char *part) {
    turn_result r = plan_say(x, text, outcome, part);
    turn_result_release(&r);
}

/* Records of decisions of this kind. */
static inline size_t plan_n_decisions(const plan_fixture *x, const char *decided) {
    json_t *log = NULL;
    muga_error err;
    size_t n = 0;
    assert_ok(audit_log(x->f.store, NULL, &log, &err), &err);
    for (size_t i = 0; i < json_array_size(log); i++) {
        const char *what = json_get_string(json_object_get(json_array_get(log, i), "payload"), "decided");
        n += what && strcmp(what, decided) == 0;
    }
    json_decref(log);
    return n;
}

static inline muga_status plan_replay(void *ctx, int64_t n, const json_t *payload, const json_t *evidence,
                                      muga_error *err) {
    (void)n;
    (void)payload;
    return llm_replay(ctx, evidence, err);
}

static inline void plan_close(plan_fixture *x) {
    loop_free(x->loop);
    llm_free(x->model);
    fixture_close(&x->f);
}
#endif
