/* What a step of an agent that acts by rules takes, in microseconds: docs/rules.md has the numbers.
 *
 *   bench_rules AGENT DATA STORE N < PERCEPTS
 *
 * AGENT: its folder; DATA: where its databases are made; STORE: a new file (on /dev/shm, a commit costs no disk).
 * PERCEPTS: JSON lines, taken in turn. For each of N percepts: `decide` is the schema, the context and the rules alone,
 * as the loop runs them; `turn` is the whole turn with state, journal, audit and tools. One line of JSON each, with the
 * median and the 99th percentile. */
#include "bench.h"

#include "agent/dataset.h"
#include "agent/loop_rules.h"

#include <stdio.h>
#include <time.h>

enum { MAX_PERCEPTS = 100000 };
#define MAX_BYTES ((size_t)1 << 26)

static json_t *read_percepts(void) {
    json_t *list = json_array();
    char *line = NULL;
    size_t cap = 0;
    muga_error err;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0 && json_array_size(list) < MAX_PERCEPTS;) {
        json_t *v = NULL;
        check(json_parse(line, (size_t)n, "percept", &v, &err), &err);
        json_array_append_new(list, v);
    }
    free(line);
    if (json_array_size(list) == 0) {
        fprintf(stderr, "bench_rules: no percepts on standard input\n");
        exit(2);
    }
    return list;
}

static int compare(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void print_times(const char *what, uint64_t *ns, size_t n) {
    qsort(ns, n, sizeof *ns, compare);
    printf("{\"what\": \"%s\", \"n\": %zu, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", what, n, (double)ns[n / 2] / 1000,
           (double)ns[n - 1 - n / 100] / 1000);
}

/* What the loop does between a percept and its action, without the store. */
static void decide(const agent_loop *l, const json_t *percept) {
    const manifest *m = l->p.manifest;
    muga_error err = {0};
    bool holds = false;
    json_t *arguments = NULL, *context = NULL;
    check(constrain_validate(m->percept, percept, NULL, &err), &err);
    context = loop_context(l, percept, NULL, &err);
    for (size_t i = 0; i < rules_n(m->rules) && !holds; i++) {
        const rule *r = rules_get(m->rules, i);
        if (r->on_message)
            continue;
        check(rules_test(r, context, &holds, &err), &err);
        if (holds)
            check(rules_arguments(r, context, &arguments, &err), &err);
    }
    json_decref(arguments);
    json_decref(context);
}

static void turn(agent_loop *l, const json_t *percept) {
    muga_error err = {0};
    turn_result r;
    check(loop_percept(l, percept, &r, &err), &err);
    turn_result_release(&r);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "bench_rules AGENT DATA STORE N < PERCEPTS\n");
        return 2;
    }
    size_t n = strtoul(argv[4], NULL, 10);
    agent_env env = agent_env_system();
    muga_error err = {0};
    manifest *m = NULL;
    store *s = NULL;
    agent_session *session = NULL;
    agent_loop *l = NULL;
    json_t *percepts = read_percepts();
    uint64_t *ns = mem_alloc_array(n, sizeof *ns);
    check(n > 0 && ns ? MUGA_OK : error_set(&err, MUGA_E_USAGE, "N must be a number above 0"), &err);
    check(dataset_prepare(&env, argv[1], argv[2], &err), &err);
    check(manifest_load(&env, argv[1], argv[2], &m, &err), &err);
    check(store_open(argv[3], NULL, &s, &err), &err);
    check(session_new(&env, s, m, NULL, NULL, &session, &err), &err);
    const loop_parts parts = {&env, m, NULL, NULL, session, {NULL, NULL}, NULL};
    check(loop_new(&parts, &l, &err), &err);
    for (int whole = 0; whole < 2; whole++) {
        for (size_t i = 0; i < n; i++) {
            const json_t *percept = json_array_get(percepts, i % json_array_size(percepts));
            uint64_t from = now_ns();
            if (whole)
                turn(l, percept);
            else
                decide(l, percept);
            ns[i] = now_ns() - from;
        }
        print_times(whole ? "turn" : "decide", ns, n);
    }
    loop_free(l);
    session_close(session);
    store_close(s);
    manifest_free(m);
    json_decref(percepts);
    free(ns);
    return 0;
}
