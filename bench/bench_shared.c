/* Clients that ask at once behind one system prompt, through the library's scheduler: what a server has to serve.
 *
 *   bench_shared MODEL [-t THREADS] [-c CLIENTS] [-p PROMPT] [-q QUESTION] [-n ANSWER]
 *
 * From an empty cache: all are submitted, then steps are done until all are answered, greedily, to the same length. One
 * JSON object: tokens a second over everything, and milliseconds until each client had its first token (median, last).
 * bench/shared measures llama-server beside it. */
#include "bench.h"

#include "engine/sched.h"

#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CLIENTS = 256 };

typedef struct client {
    int32_t *ids; /* [prompt + question] */
    double first; /* seconds since the program's begin, of its first token; 0 = none yet */
    bool failed;
} client;

typedef struct shared {
    engine *e;
    uint32_t threads, clients, prompt, question, answer;
    client client[MAX_CLIENTS];
} shared;

static double now_s(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) / 1e6;
}

static void on_choice(void *ctx, uint32_t pos, const float *logits) {
    client *c = ctx;
    (void)pos;
    (void)logits;
    if (c->first == 0)
        c->first = now_s();
}

static void on_done(void *ctx, const sched_result *r) {
    client *c = ctx;
    c->failed = r->status != MUGA_OK;
    if (c->failed)
        fprintf(stderr, "bench_shared: %s\n", r->message);
}

static void draw(const shared *s, int32_t *to, uint32_t n, uint64_t seed) {
    rng r = {seed};
    for (uint32_t i = 0; i < n; i++)
        to[i] = (int32_t)rng_below(&r, engine_params(s->e)->n_vocab);
}

static void submit(shared *s, sched *queue, uint32_t i) {
    static const sampler_settings greedy = SAMPLER_GREEDY;
    muga_error err = {0};
    client *c = &s->client[i];
    uint32_t n = s->prompt + s->question;
    c->ids = mem_alloc_array(n, sizeof *c->ids);
    if (!c->ids)
        check(error_nomem(&err, "the tokens"), &err);
    draw(s, c->ids, s->prompt, 1);
    draw(s, c->ids + s->prompt, s->question, 1000 + i);
    sched_request r = {.generate = {.prompt = c->ids,
                                    .n_prompt = n,
                                    .sampling = &greedy,
                                    .max_tokens = s->answer,
                                    .ignore_end = true,
                                    .on_choice = on_choice,
                                    .on_choice_ctx = c},
                       .n_ctx = n + s->answer,
                       .tenant = "bench",
                       .on_done = on_done,
                       .on_done_ctx = c};
    check(sched_submit(queue, &r, NULL, &err), &err);
}

static int by_time(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
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
    sched_options so = {.max_running = MAX_CLIENTS, .max_waiting = MAX_CLIENTS, .clock = &os_system()->clock};
    sched *queue = NULL;
    check(sched_new(s.e, &so, &queue, &err), &err);
    for (uint32_t i = 0; i < s.clients; i++)
        submit(&s, queue, i);
    double begin = now_s(), first[MAX_CLIENTS];
    while (sched_step(queue)) {}
    double seconds = now_s() - begin;
    bool failed = false;
    for (uint32_t i = 0; i < s.clients; i++) {
        first[i] = (s.client[i].first - begin) * 1e3;
        failed = failed || s.client[i].failed;
        free(s.client[i].ids);
    }
    qsort(first, s.clients, sizeof *first, by_time);
    sched_counts n = sched_get_counts(queue);
    if (!failed)
        printf("{\"clients\":%u,\"tps\":%.2f,\"first_ms\":%.2f,\"last_first_ms\":%.2f,\"steps\":%llu,"
               "\"prefill_rows\":%llu,\"adopted\":%llu}\n",
               s.clients, (double)s.clients * s.answer / seconds, first[s.clients / 2], first[s.clients - 1],
               (unsigned long long)n.n_steps, (unsigned long long)n.n_prefill_rows, (unsigned long long)n.n_adopted);
    sched_free(queue);
    engine_free(s.e);
    return failed ? 6 : 0;
}
