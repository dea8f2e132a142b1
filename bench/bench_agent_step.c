/* What an agent costs besides its model: time a turn with the journal on disk, and memory an idle agent.
 *
 *   bench_agent_step DIR [TURNS [AGENTS]]
 *
 * DIR (made) gets a small agent, its database and muga.db; put it on the disk that is meant. The model is scripted and
 * answers at once, so all that is measured is ours: guards, the decision, the arguments' grammar, validation, policy,
 * journal, the tool, audit, the answer. A turn is one message, one decision, one call of an SQL tool, one answer. Syncs
 * are counted and timed apart (this program's fsync and fdatasync stand before the library's): how long they take is
 * the disk's doing. Memory: AGENTS sessions of one manifest, each with its loop, after two turns, in one process: at
 * rest (session_rest), and with both tools' connections open. */
#include "agent/loop.h"
#include "base/mem.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char manifest_text[] =
    "version: 1\nagent: step\nkind: goal\nmodel: scripted\nsession: {customer: {type: integer}}\n"
    "state: {resolution: {type: [string, 'null'], default: null}, pending: {type: [string, 'null'], default: null}}\n"
    "goal: {statement: Help., done: state.resolution is not none}\n"
    "guards: {input: {max_chars: 200}, output: {grounded: ids_and_numbers}}\n"
    "tools:\n"
    "  - name: order_status\n    description: Look up an order.\n"
    "    parameters: {type: object, properties: {order_id: {type: string, pattern: '^A[0-9]{5}$', from: conversation}},"
    " required: [order_id], additionalProperties: false}\n"
    "    sql: {database: shop.db, query: 'SELECT status FROM orders WHERE id = :order_id'}\n    effect: read\n"
    "  - name: note\n    description: Keep a note.\n"
    "    parameters: {type: object, properties: {order_id: {type: string, pattern: '^A[0-9]{5}$', from: conversation}},"
    " required: [order_id], additionalProperties: false}\n"
    "    sql: {database: shop.db, exec: 'INSERT INTO notes(id) VALUES (:order_id)'}\n    effect: write\n"
    "    approval: never\n"
    "limits: {steps: 20}\n"
    "intent:\n  examples: examples.jsonl\n  model_weight: 0\n  floor: 0.3\n  margin: 0.05\n"
    "  unsure: Order or note?\n  failed: A colleague will help.\n  labels:\n"
    "    order: {about: an order, tool: order_status, ask: 'Which order?', answer: 'Order {{ arguments.order_id }} is"
    " {{ result.rows[0].status }}.'}\n"
    "    note: {about: a note, tool: note, ask: 'Of which order?', answer: Noted.}\n";
static const char examples[] = "{\"text\": \"where is my order A10001\", \"labels\": [\"order\"]}\n"
                               "{\"text\": \"keep a note on A10001\", \"labels\": [\"note\"]}\n";
static const char answer[] = "{\"text\": \"{\\\"order_id\\\":\\\"A10001\\\"}\"}";

static void must(muga_status st, const muga_error *err) {
    if (st) {
        fprintf(stderr, "bench_agent_step: %s\n", err->message);
        exit(6);
    }
}

/* ---- syncs, counted apart ---- */

static uint64_t sync_us, n_syncs;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int timed(long number, int fd) {
    uint64_t from = now_us();
    int rc = (int)syscall(number, fd);
    sync_us += now_us() - from;
    n_syncs++;
    return rc;
}

__attribute__((visibility("default"))) int fsync(int fd) {
    return timed(SYS_fsync, fd);
}

__attribute__((visibility("default"))) int fdatasync(int fd) {
    return timed(SYS_fdatasync, fd);
}

/* ---- the agent ---- */

typedef struct bench {
    agent_env env;
    store *store;
    manifest *m;
    intent *intent;
    llm *model;
} bench;

typedef struct agent {
    agent_session *session;
    agent_loop *loop;
} agent;

static void write_file(const char *dir, const char *name, const char *text) {
    char path[1024];
    muga_error err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    must(os_write_file_atomic(&os_system()->files, path, text, strlen(text), &err), &err);
}

static void make_shop(const char *dir) {
    char path[1024];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/shop.db", dir);
    if (sqlite3_open(path, &db) || sqlite3_exec(db,
                                                "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS orders(id TEXT"
                                                " PRIMARY KEY, status TEXT); CREATE TABLE IF NOT EXISTS notes(id TEXT);"
                                                " INSERT OR IGNORE INTO orders VALUES ('A10001', 'shipped')",
                                                NULL, NULL, NULL)) {
        fprintf(stderr, "bench_agent_step: %s: %s\n", path, sqlite3_errmsg(db));
        exit(6);
    }
    sqlite3_close(db);
}

static void open_bench(bench *b, const char *dir, size_t n_answers) {
    char path[1024];
    muga_error err;
    b->env = agent_env_system();
    must(b->env.files->mkdirs(b->env.files->self, dir, &err), &err);
    write_file(dir, "agent.yaml", manifest_text);
    write_file(dir, "examples.jsonl", examples);
    make_shop(dir);
    snprintf(path, sizeof path, "%s/muga.db", dir);
    must(manifest_load(&b->env, dir, NULL, &b->m, &err), &err);
    must(intent_new(&b->env, b->m, &b->intent, &err), &err);
    must(store_open(path, NULL, &b->store, &err), &err);
    json_t *script = json_array(), *one = NULL;
    must(json_parse(answer, strlen(answer), "script", &one, &err), &err);
    for (size_t i = 0; i < n_answers; i++) {
        json_array_append(script, one);
    }
    must(llm_scripted_new(script, &b->model, &err), &err);
    json_decref(one);
    json_decref(script);
}

static agent open_agent(bench *b) {
    agent a;
    muga_error err;
    json_t *values = json_pack("{s:i}", "customer", 1);
    must(session_new(&b->env, b->store, b->m, values, NULL, &a.session, &err), &err);
    json_decref(values);
    const loop_parts parts = {
        .env = &b->env, .manifest = b->m, .intent = b->intent, .model = b->model, .session = a.session};
    must(loop_new(&parts, &a.loop, &err), &err);
    return a;
}

static void close_agent(agent *a) {
    loop_free(a->loop);
    session_close(a->session);
}

static void turn(agent *a, const char *text) {
    turn_result r;
    muga_error err;
    must(loop_turn(a->loop, text, strlen(text), &r, &err), &err);
    if (r.outcome != TURN_ANSWER) {
        fprintf(stderr, "bench_agent_step: \"%s\" gave \"%s\"\n", text, str_get(&r.text));
        exit(1);
    }
    turn_result_release(&r);
}

/* ---- time ---- */

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* A session a turn: a conversation is short, and the history's length is not what is measured. */
static void measure(bench *b, const char *what, const char *text, size_t n) {
    uint64_t *own = mem_alloc_array(n, sizeof *own), all_sync = 0, all_syncs = 0;
    for (size_t i = 0; own && i < n; i++) {
        agent a = open_agent(b);
        turn(&a, text); /* opens the tool */
        sync_us = n_syncs = 0;
        uint64_t from = now_us();
        turn(&a, text);
        own[i] = now_us() - from - sync_us;
        all_sync += sync_us;
        all_syncs += n_syncs;
        close_agent(&a);
    }
    if (!own) {
        exit(6);
    }
    qsort(own, n, sizeof *own, by_size);
    printf("%-6s %8.3f %8.3f %8.3f %10.1f %10.3f\n", what, (double)own[n / 2] / 1000, (double)own[n * 9 / 10] / 1000,
           (double)own[n - 1] / 1000, (double)all_syncs / (double)n, (double)all_sync / 1000 / (double)n);
    free(own);
}

/* ---- memory ---- */

static double mib(uint64_t bytes) {
    return (double)bytes / (1 << 20);
}

static void count_memory(bench *b, size_t n, bool rest) {
    agent *list = mem_alloc_array(n, sizeof *list);
    uint64_t before = os_resident_memory_bytes();
    for (size_t i = 0; list && i < n; i++) {
        list[i] = open_agent(b);
        turn(&list[i], "where is my order A10001");
        turn(&list[i], "keep a note on A10001");
        if (rest) {
            session_rest(list[i].session);
        }
    }
    uint64_t behind = os_resident_memory_bytes();
    printf("%zu idle agents, %s: %.1f MiB, %.1f KiB each; the process %.1f MiB\n", n,
           rest ? "at rest" : "two tools open", mib(behind - before), (double)(behind - before) / 1024 / (double)n,
           mib(behind));
    for (size_t i = 0; list && i < n; i++) {
        close_agent(&list[i]);
    }
    free(list);
}

int main(int argc, char **argv) {
    size_t n_turns = argc > 2 ? strtoul(argv[2], NULL, 10) : 200,
           n_agents = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;
    bench b;
    if (argc < 2 || n_turns == 0) {
        fprintf(stderr, "usage: bench_agent_step DIR [TURNS [AGENTS]]\n");
        return 2;
    }
    open_bench(&b, argv[1], n_turns * 4 + n_agents * 4);
    printf("%-6s %8s %8s %8s %10s %10s   ms a turn; syncs are not in the first three\n", "call", "median", "90 %",
           "most", "syncs", "sync ms");
    measure(&b, "read", "where is my order A10001", n_turns);
    measure(&b, "write", "keep a note on A10001", n_turns);
    count_memory(&b, n_agents, true);
    count_memory(&b, n_agents, false);
    llm_free(b.model);
    store_close(b.store);
    intent_free(b.intent);
    manifest_free(b.m);
    return 0;
}
