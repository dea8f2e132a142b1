/* Answers while a long prompt is read beside them, through the library's scheduler.
 *
 *   bench_beside MODEL [-t THREADS] [-s STREAMS] [-p PROMPT] [-n TOKENS] [-r ROWS]
 *
 * The prompt is read alone; then STREAMS answers run for TOKENS tokens each, then another prompt of the same length is
 * read beside them, then they run for as many tokens again, since they have become longer. One JSON object:
 * milliseconds between two tokens of an answer without the prompt (median) and beside it (median, 99th percentile,
 * most), how many times as long the 99th is, tokens a second of the prompt, alone and beside, the share of its own
 * speed that it keeps, and its rows in a step. -r: rows of prompts in a step, for ever; else the scheduler chooses. */
#include "bench.h"

#include "engine/sched.h"

#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STREAMS = 64, MAX_GAPS = 1 << 16, PROMPT_OF_STREAM = 32 };

typedef struct gaps {
    double ms[MAX_GAPS];
    uint32_t n;
} gaps;

typedef struct stream {
    double last; /* seconds, of its last token; 0 = none yet */
    uint32_t n;  /* tokens */
    gaps *to;    /* NULL: nobody counts */
} stream;

typedef struct beside {
    engine *e;
    sched *queue;
    uint32_t threads, streams, prompt, tokens, rows;
    stream stream[MAX_STREAMS];
    uint64_t seed;
} beside;

static gaps without, with;

static double now_s(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) / 1e6;
}

static void on_choice(void *ctx, uint32_t pos, const float *logits) {
    stream *s = ctx;
    double now = now_s();
    (void)pos;
    (void)logits;
    if (s->to && s->last > 0 && s->to->n < MAX_GAPS)
        s->to->ms[s->to->n++] = (now - s->last) * 1e3;
    s->last = now;
    s->n++;
}

static void on_done(void *ctx, const sched_result *r) {
    bool *over = ctx;
    if (r->status)
        fprintf(stderr, "bench_beside: %s\n", r->message);
    *over = true;
}

/* A prompt that nobody has computed. */
static void submit(beside *b, uint32_t n, uint32_t n_answer, stream *s, bool *over) {
    static const sampler_settings greedy = SAMPLER_GREEDY;
    muga_error err = {0};
    rng r = {++b->seed};
    int32_t *ids = mem_alloc_array(n, sizeof *ids); /* borrowed to the end */
    if (!ids)
        check(error_nomem(&err, "the tokens"), &err);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(&r, engine_params(b->e)->n_vocab);
    sched_request q = {.generate = {.prompt = ids,
                                    .n_prompt = n,
                                    .sampling = &greedy,
                                    .max_tokens = n_answer,
                                    .ignore_end = true,
                                    .on_choice = s ? on_choice : NULL,
                                    .on_choice_ctx = s},
                       .n_ctx = n + n_answer,
                       .tenant = "bench",
                       .on_done = on_done,
                       .on_done_ctx = over};
    check(sched_submit(b->queue, &q, NULL, &err), &err);
}

/* Seconds until it is read. */
static double read_prompt(beside *b) {
    bool over = false;
    double begin = now_s();
    submit(b, b->prompt, 1, NULL, &over);
    while (!over && sched_step(b->queue)) {}
    return now_s() - begin;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(gaps *g, double share) {
    qsort(g->ms, g->n, sizeof *g->ms, by_value);
    return g->n ? g->ms[(uint32_t)((double)(g->n - 1) * share)] : 0;
}

static void count_into(beside *b, gaps *to) {
    for (uint32_t i = 0; i < b->streams; i++)
        b->stream[i].to = to;
}

static void run_alone(beside *b) {
    const stream *last = &b->stream[b->streams - 1];
    uint32_t end = last->n + b->tokens;
    count_into(b, &without);
    while (last->n < end && sched_step(b->queue)) {}
}

static void run(beside *b) {
    static bool ended;
    for (int i = 0; i < 3; i++)
        (void)read_prompt(b);
    double alone = read_prompt(b);
    for (uint32_t i = 0; i < b->streams; i++)
        submit(b, PROMPT_OF_STREAM, 4096, &b->stream[i], &ended);
    while (b->stream[b->streams - 1].n < 8 && sched_step(b->queue)) {}
    count_into(b, &without);
    while (b->stream[b->streams - 1].n < 8 + b->tokens && sched_step(b->queue)) {}
    count_into(b, &with);
    sched_counts before = sched_get_counts(b->queue);
    double beside_s = read_prompt(b);
    sched_counts after = sched_get_counts(b->queue);
    run_alone(b);
    double median = percentile(&without, 0.5), p99 = percentile(&with, 0.99);
    printf("{\"streams\": %u, \"threads\": %u, \"prompt\": %u, \"gap_ms\": %.2f, \"p99_beside_ms\": %.2f, "
           "\"most_ms\": %.2f, \"times\": %.2f, \"prompt_per_s\": %.0f, \"beside_per_s\": %.0f, \"share\": %.2f, "
           "\"median_beside_ms\": %.2f, \"rows_a_step\": %.1f}\n",
           b->streams, b->threads, b->prompt, median, p99, percentile(&with, 1.0), p99 / median, b->prompt / alone,
           b->prompt / beside_s, alone / beside_s, percentile(&with, 0.5),
           (double)b->prompt / (double)(after.n_steps - before.n_steps));
}

/* With room for two prompts and the answers: after the third, pages are those of earlier prompts, as in a server that
 * has run for a while, and the system needn't find memory for them. */
static void open_engine(beside *b, const char *path) {
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    muga_error err = {0};
    o.n_threads = (int)b->threads;
    check(engine_open(path, &o, &b->e, &err), &err);
    o.kv_bytes = engine_get_kv_counts(b->e).page_bytes * (2 * b->prompt / 64 + 32 * b->streams);
    o.cache_bytes = o.kv_bytes;
    engine_free(b->e);
    check(engine_open(path, &o, &b->e, &err), &err);
}

int main(int argc, char **argv) {
    static beside b = {.threads = 2, .streams = 4, .prompt = 4000, .tokens = 100};
    muga_error err = {0};
    if (argc < 2 || argc % 2) {
        fprintf(stderr, "usage: bench_beside MODEL [-t THREADS] [-s STREAMS] [-p PROMPT] [-n TOKENS] [-r ROWS]\n");
        return 2;
    }
    for (int i = 2; i + 1 < argc; i += 2) {
        uint32_t v = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        switch (argv[i][1]) {
        case 't': b.threads = v; break;
        case 's': b.streams = MIN(v, (uint32_t)MAX_STREAMS); break;
        case 'p': b.prompt = v; break;
        case 'n': b.tokens = v; break;
        case 'r': b.rows = v; break;
        default: fprintf(stderr, "bench_beside: %s is no option\n", argv[i]); return 2;
        }
    }
    open_engine(&b, argv[1]);
    sched_options so = {.prefill_rows = b.rows, .clock = b.rows ? NULL : &os_system()->clock};
    check(sched_new(b.e, &so, &b.queue, &err), &err);
    run(&b);
    sched_free(b.queue);
    engine_free(b.e);
    return 0;
}
