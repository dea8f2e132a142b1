/* An agent to write training messages for: a tool whose number a slot fills, one whose note the writer chooses, an
 * answer, a hand-over; and an evaluation of three messages. */
#ifndef TESTS_SYNTH_AGENT_H
#define TESTS_SYNTH_AGENT_H

#include "agent/intent.h"
#include "support/support.h"

#include <stdio.h>
#include <sys/stat.h>

static const char synth_agent_yaml[] =
    "version: 1\nagent: shop\ndescription: A shop's agent.\nkind: goal\nmodel: tiny\nsession: {}\n"
    "goal: {statement: Help., done: \"true\"}\nscope: {domain: orders, otherwise: escalate}\n"
    "tools:\n"
    "  - name: order_status\n    description: Look up an order.\n"
    "    parameters:\n      type: object\n      properties:\n        order_id:\n          type: string\n"
    "          pattern: \"^A[0-9]{5}$\"\n          from: conversation\n"
    "          normalise: {match: \"(?i)(?<![a-z0-9])a?[- ]?([0-9]{5})(?![0-9])\", value: \"A$1\"}\n"
    "      required: [order_id]\n      additionalProperties: false\n"
    "    command: [./tools/look]\n    unsandboxed: true\n    effect: read\n"
    "  - name: change_city\n    description: Change the city.\n"
    "    parameters:\n      type: object\n      properties:\n        city: {type: string, from: conversation,\n"
    "          pattern: \"^[A-Z][a-z]+$\"}\n        note: {type: string, maxLength: 20}\n"
    "      required: [note]\n      additionalProperties: false\n"
    "    command: [./tools/look]\n    unsandboxed: true\n    effect: read\n"
    "escalation: {to: human, when: [out_of_scope]}\n"
    "intent:\n  examples: examples.jsonl\n  instruction: Sort the message.\n  unsure: What is it?\n  failed: Sorry.\n"
    "  labels:\n"
    "    order: {about: where an order is, tool: order_status, answer: Done., ask: Which number?}\n"
    "    note: {about: a note to be kept, tool: change_city, answer: Done., ask: Which note?}\n"
    "    thanks: {about: thanks, answer: You are welcome.}\n"
    "    angry: {about: complaints, escalate: A person comes.}\n";

enum { ORDER, NOTE, THANKS, ANGRY }; /* its labels */

static inline void synth_agent_put(const char *path, const char *text) {
    FILE *f = fopen(scratch_path(path), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void synth_agent_open(const agent_env *env, manifest **m, intent **x) {
    muga_error err = {0};
    char dir[512];
    mkdir(scratch_path("shop"), 0700);
    mkdir(scratch_path("shop/eval"), 0700);
    mkdir(scratch_path("shop/eval/more"), 0700);
    mkdir(scratch_path("shop/tools"), 0700);
    synth_agent_put("shop/agent.yaml", synth_agent_yaml);
    synth_agent_put("shop/tools/look", "#!/bin/sh\necho {}\n");
    chmod(scratch_path("shop/tools/look"), 0700);
    synth_agent_put("shop/examples.jsonl", "{\"text\": \"where is A10000\", \"labels\": [\"order\"]}\n"
                                           "{\"text\": \"thanks\", \"labels\": [\"thanks\"]}\n");
    synth_agent_put("shop/eval/tasks.jsonl",
                    "{\"messages\": [\"tell me how far along A55555 is today\", \"bye now\"]}\n");
    synth_agent_put("shop/eval/more/others.jsonl", "{\"messages\": [\"I want a refund\"]}\n\n");
    snprintf(dir, sizeof dir, "%s", scratch_path("shop"));
    assert_ok(manifest_load(env, dir, NULL, m, &err), &err);
    assert_ok(intent_new(env, *m, x, &err), &err);
}

#endif
