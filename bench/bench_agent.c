/* Tasks of an agent, one session each, as a program that embeds agents runs them: what each takes end to end.
 *
 *   bench_agent MODEL FOLDER FILE [-t THREADS]
 *
 * FOLDER holds the agent, its databases made. FILE: {"template": "...", "session": {...}, "tasks": [["message", ...],
 * ...]}; "template" stands in for the model's own. The first task is also run once before, uncounted. Journal, history
 * and audit are kept in FOLDER/home, durably, as always. One JSON object a task: microseconds, tokens, the calls that
 * were finished, the answers. bench/agent measures a peer beside it. */
#include "bench.h"

#include "agent/agent.h"
#include "agent/loop.h"
#include "llm/llm.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    agent_env env;
    manifest *manifest;
    store *store;
    llm *model;
    const json_t *values;
    json_t *calls; /* of the task: [{"name", "arguments"}] */
} bench;

static uint64_t now_us(const bench *b) {
    return b->env.clock->monotonic_us(b->env.clock->self);
}

static void on_event(void *ctx, const char *kind, const json_t *data) {
    const bench *b = ctx;
    if (strcmp(kind, "call") == 0)
        json_array_append_new(b->calls, json_pack("{s:O?, s:O?}", "name", json_object_get(data, "tool"), "arguments",
                                                  json_object_get(data, "arguments")));
}

static void run_task(bench *b, const json_t *messages, bool print) {
    muga_error err = {0};
    agent_session *session = NULL;
    agent_loop *loop = NULL;
    json_t *answers = json_array(), *turns = json_array();
    uint32_t n_tok = 0;
    b->calls = json_array();
    uint64_t begin = now_us(b);
    check(session_new(&b->env, b->store, b->manifest, b->values, NULL, &session, &err), &err);
    loop_parts parts = {
        .env = &b->env, .manifest = b->manifest, .model = b->model, .session = session, .watch = {on_event, b}};
    check(loop_new(&parts, &loop, &err), &err);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        turn_result r;
        const json_t *m = json_array_get(messages, i);
        check(loop_turn(loop, json_string_value(m), json_string_length(m), &r, &err), &err);
        n_tok += r.n_tokens;
        json_array_append_new(answers, json_stringn(str_get(&r.text), r.text.len));
        json_array_append_new(turns, json_string(turn_outcome_name(r.outcome)));
        turn_result_release(&r);
    }
    uint64_t us = now_us(b) - begin;
    loop_free(loop);
    session_close(session);
    json_t *v = json_pack("{s:I, s:i, s:o, s:o, s:o}", "us", (json_int_t)us, "tokens", (int)n_tok, "calls", b->calls,
                          "answers", answers, "outcomes", turns);
    put_line(v, print);
}

int main(int argc, char **argv) {
    bench b = {.env = agent_env_system()};
    muga_error err = {0};
    int n_threads = argc == 6 && strcmp(argv[4], "-t") == 0 ? atoi(argv[5]) : 0;
    if (argc != 4 && n_threads < 1) {
        fprintf(stderr, "usage: bench_agent MODEL FOLDER FILE [-t THREADS]\n");
        return 2;
    }
    json_t *file = read_json(argv[3]);
    const json_t *tasks = json_object_get(file, "tasks");
    b.values = json_object_get(file, "session");
    str override = STR_INIT, path = STR_INIT;
    str_printf(&override, "tokenizer.chat_template=str:%s", json_get_string(file, "template"));
    const char *overrides = str_get(&override);
    llm_local_options o = {.n_threads = n_threads, .isa = -1, .overrides = &overrides, .n_overrides = 1};
    check(llm_local_open(argv[1], "bench", &o, &b.model, &err), &err);
    str_printf(&path, "%s/home", argv[2]);
    check(b.env.files->mkdirs(b.env.files->self, str_get(&path), &err), &err);
    str_printf(&path, "/muga.db");
    check(store_open(str_get(&path), NULL, &b.store, &err), &err);
    check(manifest_load(&b.env, argv[2], NULL, &b.manifest, &err), &err);
    run_task(&b, json_array_get(tasks, 0), false);
    for (size_t i = 0; i < json_array_size(tasks); i++)
        run_task(&b, json_array_get(tasks, i), true);
    manifest_free(b.manifest);
    store_close(b.store);
    llm_free(b.model);
    str_release(&override);
    str_release(&path);
    json_decref(file);
    return 0;
}
