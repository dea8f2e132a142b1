/* A small agent with intentions, on a scripted model: what tests of the loop and of the evaluation share. */
#ifndef TESTS_LOOP_FIXTURE_H
#define TESTS_LOOP_FIXTURE_H

#include "agent/eval.h"
#include "support/agent_fixture.h"
#include "support/support.h"

#include <string.h>

/* more: of the parameters of order_status. */
#define LOOP_MANIFEST(more)                                                                                            \
    "version: 1\n"                                                                                                     \
    "agent: test-shop\n"                                                                                               \
    "kind: goal\n"                                                                                                     \
    "model: scripted\n"                                                                                                \
    "session: {customer: {type: integer}}\n"                                                                           \
    "state: {resolution: {type: [string, 'null'], default: null}, pending: {type: [string, 'null'],"                   \
    " default: null}}\n"                                                                                               \
    "goal: {statement: Help., done: state.resolution is not none}\n"                                                   \
    "guards: {input: {max_chars: 200}, output: {grounded: ids_and_numbers}}\n"                                         \
    "tools:\n"                                                                                                         \
    "  - name: order_status\n"                                                                                         \
    "    description: Look up an order.\n"                                                                             \
    "    parameters: {type: object, properties: {order_id: {type: string, pattern: '^A[0-9]{5}$',"                     \
    " from: conversation,"                                                                                             \
    " normalise: {match: '(?i)(?<![a-z0-9])a?-?([0-9]{5})(?![a-z0-9])', value: 'A$1'}}" more "},"                      \
    " required: [order_id], additionalProperties: false}\n"                                                            \
    "    sql: {database: shop.db, query: 'SELECT status, note FROM orders WHERE id = :order_id AND customer ="         \
    " :session_customer'}\n"                                                                                           \
    "    effect: read\n"                                                                                               \
    "  - name: latest\n"                                                                                               \
    "    description: Look up the latest order.\n"                                                                     \
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"                                    \
    "    sql: {database: shop.db, query: 'SELECT max(id) AS id FROM orders WHERE customer ="                           \
    " :session_customer'}\n"                                                                                           \
    "    effect: read\n"                                                                                               \
    "  - name: reset\n"                                                                                                \
    "    description: Reset the password.\n"                                                                           \
    "    parameters: {type: object, properties: {}, additionalProperties: false}\n"                                    \
    "    sql: {database: shop.db, exec: 'INSERT INTO resets(customer) VALUES (:session_customer)'}\n"                  \
    "    effect: write\n"                                                                                              \
    "    approval: always\n"                                                                                           \
    "escalation: {to: human, when: [no_progress, low_margin, limits, tool_failed]}\n"                                  \
    "learning: {subject: [customer]}\n"                                                                                \
    "limits: {steps: 20, approval_seconds: 60}\n"                                                                      \
    "intent:\n"                                                                                                        \
    "  examples: examples.jsonl\n"                                                                                     \
    "  model_weight: 0\n"                                                                                              \
    "  floor: 0.3\n"                                                                                                   \
    "  margin: 0.05\n"                                                                                                 \
    "  second: 0.4\n"                                                                                                  \
    "  split: [and]\n"                                                                                                 \
    "  unsure: Order or password?\n"                                                                                   \
    "  failed: A colleague will help.\n"                                                                               \
    "  labels:\n"                                                                                                      \
    "    order: {about: an order, tool: order_status, ask: 'Which order?', answer: '{% for o in"                       \
    " result.rows %}Order"                                                                                             \
    " {{ arguments.order_id }} is {{ o.status }}.{% else %}No order {{ arguments.order_id }}.{% endfor %}'}\n"         \
    "    latest: {about: the latest order, tool: latest, excludes: [order], answer: 'It is {{"                         \
    " result.rows[0].id }}.'}\n"                                                                                       \
    "    lucky: {about: a lucky number, tool: order_status, ask: 'Of which order?', answer: 'Your"                     \
    " number is 4711.'}\n"                                                                                             \
    "    reset: {about: a password, tool: reset, answer: Done., held: Please wait., denied: Not allowed.}\n"           \
    "    person: {about: a human, escalate: A colleague takes over.}\n"                                                \
    "    hello: {about: a greeting, ask: What can I do?}\n"
/* With this one, the arguments are not settled by the order's number: the model is asked. */
#define LOOP_DETAIL ", detail: {enum: [short, long]}"

static const char loop_manifest[] = LOOP_MANIFEST("");

static const char loop_examples[] = "{\"text\": \"where is my order A10001\", \"labels\": [\"order\"]}\n"
                                    "{\"text\": \"status of A10005\", \"labels\": [\"order\"]}\n"
                                    "{\"text\": \"where is my order\", \"labels\": [\"order\"]}\n"
                                    "{\"text\": \"has my parcel been sent\", \"labels\": [\"order\"]}\n"
                                    "{\"text\": \"the latest one I ordered\", \"labels\": [\"latest\"]}\n"
                                    "{\"text\": \"lucky number of A10001\", \"labels\": [\"lucky\"]}\n"
                                    "{\"text\": \"reset my password\", \"labels\": [\"reset\"]}\n"
                                    "{\"text\": \"I forgot my password\", \"labels\": [\"reset\"]}\n"
                                    "{\"text\": \"let me talk to a human\", \"labels\": [\"person\"]}\n"
                                    "{\"text\": \"hello there\", \"labels\": [\"hello\"]}\n";

typedef struct loop_fixture {
    agent_fixture f;
    intent *intent;
    llm *model;
    agent_loop *loop;
} loop_fixture;

static inline void loop_begin(loop_fixture *x) {
    muga_error err;
    const loop_parts parts = {&x->f.env, x->f.m, x->intent, x->model, x->f.session, {NULL, NULL}, NULL};
    assert_ok(loop_new(&parts, &x->loop, &err), &err);
}

/* Entries of a script: the model, where it is asked (LOOP_DETAIL), answers with these arguments; with RAW_ID past every
 * constraint. */
#define GIVES_ID(id) "{\"text\": \"{\\\"order_id\\\":\\\"" id "\\\"}\"}"
#define RAW_ID(id) "{\"text\": \"{\\\"order_id\\\":\\\"" id "\\\"}\", \"raw\": true}"

/* `script`: the model's answers, as JSON. */
static inline void loop_open_as(loop_fixture *x, const char *name, const char *yaml, const char *script) {
    muga_error err;
    fixture_open(&x->f, name, yaml);
    fixture_write(&x->f, "examples.jsonl", loop_examples);
    assert_ok(intent_new(&x->f.env, x->f.m, &x->intent, &err), &err);
    json_t *list = NULL, *values = fixture_json("{'customer': 1}");
    assert_ok(json_parse(script, strlen(script), "script", &list, &err), &err);
    assert_ok(llm_scripted_new(list, &x->model, &err), &err);
    assert_ok(session_new(&x->f.env, x->f.store, x->f.m, values, NULL, &x->f.session, &err), &err);
    json_decref(list);
    json_decref(values);
    loop_begin(x);
}

static inline void loop_open(loop_fixture *x, const char *name, const char *script) {
    loop_open_as(x, name, loop_manifest, script);
}

/* A turn that ends so, with `part` in the answer. */
static inline void loop_say(loop_fixture *x, const char *text, turn_outcome outcome, const char *part) {
    turn_result r;
    muga_error err;
    assert_ok(loop_turn(x->loop, text, strlen(text), &r, &err), &err);
    if (r.outcome != outcome || !strstr(str_get(&r.text), part)) {
        fail_msg("\"%s\" gave %s \"%s\", not %s \"%s\"", text, turn_outcome_name(r.outcome), str_get(&r.text),
                 turn_outcome_name(outcome), part);
    }
    turn_result_release(&r);
}

static inline void loop_close(loop_fixture *x) {
    loop_free(x->loop);
    llm_free(x->model);
    intent_free(x->intent);
    fixture_close(&x->f);
}
#endif
