/* Steps of LoRA training, next to what the machine could do: tokens and multiply-adds a second beside the measured peak
 * of f32 fused multiply-adds, in the same run on the same threads. bench/train runs it and makes the table.
 *
 *   bench_train MODEL [-t THREADS] [-n SAMPLES] [-l TOKENS] [-a TARGETS] [-p SHARED] [-r RANK] [-s STEPS] [-k MB]
 *               [-w FILE]
 *
 * Samples are of random tokens, of which the last TARGETS (a quarter) are predicted and the first SHARED (0) are the
 * same in all. MB (400) of activations are kept, -1 = all; -w writes the ids, a line a sample. The median of STEPS
 * steps after one that isn't counted, whose loss is the base's. A line of JSON. */
#include "bench.h"

#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "kernel/probe.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_STEPS = 100 };

typedef struct settings {
    int threads, n_samples, n_tok, n_target, n_shared, rank, n_steps;
    long keep;       /* MB; below 0 = all */
    const char *ids; /* where they are written; NULL = nowhere */
} settings;

static void *need(void *p) {
    muga_error err;
    check(p ? MUGA_OK : error_nomem(&err, "the samples"), &err);
    return p;
}

static double now_s(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) * 1e-6;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static train_sample *make_samples(const settings *s, uint32_t n_vocab) {
    train_sample *all = need(mem_alloc_array((size_t)s->n_samples, sizeof *all));
    size_t n = (size_t)s->n_tok;
    int32_t *ids = need(mem_alloc_array((size_t)s->n_samples * n, sizeof *ids));
    uint8_t *target = need(mem_alloc_array(n, sizeof *target));
    rng r = {11};
    for (size_t i = 0; i < n; i++)
        target[i] = i >= n - (size_t)s->n_target;
    for (size_t i = 0; i < (size_t)s->n_samples * n; i++)
        ids[i] = (int32_t)(i >= n && i % n < (size_t)s->n_shared ? (uint32_t)ids[i % n] : rng_below(&r, n_vocab));
    for (size_t i = 0; i < (size_t)s->n_samples; i++)
        all[i] = (train_sample){.ids = ids + i * n, .target = target, .n = (uint32_t)n, .id = i};
    return all;
}

static void write_ids(const settings *s, const train_sample *samples) {
    FILE *f = fopen(s->ids, "w");
    bool ok = f != NULL;
    for (int i = 0; ok && i < s->n_samples; i++)
        for (int k = 0; ok && k < s->n_tok; k++)
            ok = fprintf(f, "%d%c", samples[i].ids[k], k + 1 < s->n_tok ? ' ' : '\n') > 0;
    if (!f || fclose(f) || !ok) {
        fprintf(stderr, "bench_train: can't write %s\n", s->ids);
        exit(6);
    }
}

static void measure(const settings *s, const char *path) {
    muga_error err;
    engine *e;
    trainer *t;
    engine_options eo = ENGINE_OPTIONS_DEFAULT;
    train_options o = train_options_default();
    double seconds[MAX_STEPS];
    train_work work;
    train_result result = {0};
    double first_loss = 0;
    eo.n_threads = 1;
    check(engine_open(path, &eo, &e, &err), &err);
    check(os_pool_new(s->threads, &o.pool, &err), &err);
    o.rank = (uint32_t)s->rank;
    o.alpha = 2 * (float)s->rank;
    o.keep_bytes = s->keep < 0 ? UINT64_MAX : (uint64_t)s->keep << 20;
    o.max_tok = 65536;
    check(train_new(engine_model(e), &o, &t, &err), &err);
    train_sample *samples = make_samples(s, engine_params(e)->n_vocab);
    if (s->ids)
        write_ids(s, samples);
    check(train_count(t, samples, (uint32_t)s->n_samples, &work, &err), &err);
    for (int i = -1; i < s->n_steps; i++) {
        double begin = now_s();
        check(train_step(t, samples, (uint32_t)s->n_samples, &result, &err), &err);
        if (i < 0)
            first_loss = result.loss;
        else
            seconds[i] = now_s() - begin;
    }
    qsort(seconds, (size_t)s->n_steps, sizeof *seconds, compare_doubles);
    double macs = work.macs + result.again * work.forward_macs;
    double median = seconds[s->n_steps / 2], peak = kernel_probe_float_peak(kernel_isa_best(), o.pool);
    printf("{\"tokens\": %llu, \"computed\": %llu, \"seconds\": %.4f, \"tokens_per_s\": %.1f, \"gmacs\": %.1f, "
           "\"gmacs_once\": %.1f, \"peak_gmacs\": %.1f, \"share\": %.3f, \"loss\": %.6f, \"peak_mb\": %.0f}\n",
           (unsigned long long)result.n_tok, (unsigned long long)result.n_row, median, (double)result.n_tok / median,
           macs * 1e-9 / median, work.macs * 1e-9 / median, peak * 1e-9, peak > 0 ? macs / median / peak : 0,
           first_loss, (double)os_peak_memory_bytes() / 1e6);
    free((void *)(uintptr_t)samples[0].ids);
    free((void *)(uintptr_t)samples[0].target);
    free(samples);
    train_free(t);
    os_pool_free(o.pool);
    engine_free(e);
}

int main(int argc, char **argv) {
    settings s = {
        .threads = os_cpu_count(), .n_samples = 4, .n_tok = 128, .rank = 16, .n_steps = 3, .n_target = -1, .keep = 400};
    for (int c; (c = getopt(argc, argv, "t:n:l:a:p:r:s:k:w:")) != -1;)
        switch (c) {
        case 't': s.threads = atoi(optarg); break;
        case 'n': s.n_samples = atoi(optarg); break;
        case 'l': s.n_tok = atoi(optarg); break;
        case 'a': s.n_target = atoi(optarg); break;
        case 'p': s.n_shared = atoi(optarg); break;
        case 'r': s.rank = atoi(optarg); break;
        case 's': s.n_steps = atoi(optarg); break;
        case 'w': s.ids = optarg; break;
        case 'k': s.keep = atol(optarg); break;
        default: s.n_steps = 0;
        }
    s.n_target = s.n_target < 0 ? s.n_tok / 4 : s.n_target;
    if (optind + 1 != argc || s.threads < 1 || s.n_samples < 1 || s.n_tok < 4 || s.n_shared < 0 || s.n_target < 1 ||
        s.n_target >= s.n_tok || s.rank < 1 || s.n_steps < 1 || s.n_steps > MAX_STEPS) {
        fprintf(stderr,
                "usage: bench_train MODEL [-t THREADS] [-n SAMPLES] [-l TOKENS] [-p SHARED] [-r RANK] "
                "[-s STEPS, at most %d] [-k]\n",
                MAX_STEPS);
        return 2;
    }
    measure(&s, argv[optind]);
    return 0;
}
