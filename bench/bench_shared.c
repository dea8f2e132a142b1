/* Clients that ask at once behind one system prompt, through the library: what a server over it will have to serve.
 *
 *   bench_shared MODEL [-t THREADS] [-c CLIENTS] [-p PROMPT] [-q QUESTION] [-n ANSWER]
 *
 * From an empty cache: the prompt is computed once, every client's session adopts its pages and adds its own question,
 * and all decode together, greedily, to the same length. One JSON object: tokens a second over everything, and
 * milliseconds until each client had its first token (median). bench/shared measures llama-server beside it. */
#include "engine/engine.h"

#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CLIENTS = 256 };

typedef struct shared {
    engine *e;
    uint32_t threads, clients, prompt, question, answer;
    int32_t *ids; /* [prompt + question] of one client */
    engine_session *sessions[MAX_CLIENTS];
    int32_t next[MAX_CLIENTS];
} shared;

static double now_s(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) / 1e6;
}

static void check(muga_status st, const muga_error *err) {
    if (!st)
        return;
    fprintf(stderr, "bench_shared: %s\n", err->message);
    exit(6);
}

static void draw(shared *s, uint32_t from, uint64_t seed) {
    rng r = {seed};
    for (uint32_t i = from; i < s->prompt + s->question; i++)
        s->ids[i] = (int32_t)rng_below(&r, engine_params(s->e)->n_vocab);
}

static int32_t greedy(const shared *s, uint32_t i) {
    bool finite;
    uint32_t n_vocab = engine_params(s->e)->n_vocab;
    return (int32_t)engine_kernels(s->e)->argmax(engine_session_logits(s->sessions[i]), n_vocab, &finite);
}

/* A client's session: the first computes the prompt, the others find it in the cache. */
static void join(shared *s, uint32_t i) {
    muga_error err = {0};
    uint32_t n = s->prompt + s->question;
    draw(s, s->prompt, 1000 + i);
    check(engine_session_new(s->e, n + s->answer, &s->sessions[i], &err), &err);
    check(engine_session_share(s->sessions[i], "bench", &err), &err);
    uint32_t have = engine_session_adopt(s->sessions[i], s->ids, n);
    check(engine_session_feed(s->sessions[i], s->ids + have, n - have, &err), &err);
    s->next[i] = greedy(s, i);
}

static void decode(shared *s) {
    muga_error err = {0};
    engine_item items[MAX_CLIENTS];
    for (uint32_t n = 1; n < s->answer; n++) {
        for (uint32_t i = 0; i < s->clients; i++)
            items[i] = (engine_item){.session = s->sessions[i], .ids = &s->next[i], .n = 1, .want = ENGINE_LOGITS_LAST};
        check(engine_step(s->e, items, s->clients, &err), &err);
        for (uint32_t i = 0; i < s->clients; i++)
            s->next[i] = greedy(s, i);
    }
}

static bool parse(int argc, char **argv, shared *s) {
    const struct {
        const char *name;
        uint32_t *to, max;
    } options[] = {{"-t", &s->threads, 1024},
                   {"-c", &s->clients, MAX_CLIENTS},
                   {"-p", &s->prompt, 1 << 20},
                   {"-q", &s->question, 1 << 20},
                   {"-n", &s->answer, 1 << 20}};
    for (int i = 2; i < argc; i += 2) {
        bool found = false;
        for (size_t k = 0; k < ARRAY_LEN(options) && i + 1 < argc; k++)
            if (!strcmp(argv[i], options[k].name)) {
                char *end;
                unsigned long v = strtoul(argv[i + 1], &end, 10);
                found = argv[i + 1][0] >= '0' && argv[i + 1][0] <= '9' && !*end && v >= 1 && v <= options[k].max;
                *options[k].to = (uint32_t)v;
            }
        if (!found)
            return false;
    }
    return argc >= 2 && argv[1][0] != '-';
}

int main(int argc, char **argv) {
    static shared s = {.clients = 32, .prompt = 1024, .question = 32, .answer = 64};
    muga_error err = {0};
    if (!parse(argc, argv, &s)) {
        fprintf(stderr, "usage: bench_shared MODEL [-t THREADS] [-c CLIENTS] [-p PROMPT] [-q QUESTION] [-n ANSWER]\n");
        return 2;
    }
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    o.n_threads = (int)s.threads;
    o.ids_only = true;
    check(engine_open(argv[1], &o, &s.e, &err), &err);
    s.ids = mem_alloc_array((size_t)s.prompt + s.question, sizeof *s.ids);
    if (!s.ids)
        check(error_nomem(&err, "the tokens"), &err);
    draw(&s, 0, 1);
    double begin = now_s(), first[MAX_CLIENTS]; /* ascending: one joins after the other */
    for (uint32_t i = 0; i < s.clients; i++) {
        join(&s, i);
        first[i] = now_s() - begin;
    }
    decode(&s);
    double seconds = now_s() - begin;
    engine_kv_counts kv = engine_get_kv_counts(s.e);
    printf("{\"clients\":%u,\"tps\":%.2f,\"first_ms\":%.2f,\"last_first_ms\":%.2f,\"adopted\":%llu}\n", s.clients,
           (double)s.clients * s.answer / seconds, first[s.clients / 2] * 1e3, first[s.clients - 1] * 1e3,
           (unsigned long long)kv.n_adopted);
    for (uint32_t i = 0; i < s.clients; i++)
        engine_session_free(s.sessions[i]);
    engine_free(s.e);
    free(s.ids);
    return 0;
}
