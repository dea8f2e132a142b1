/* muga bench: tokens a second of prefill and decode, medians of 5 runs after one that isn't counted.
 *
 * Prefill feeds PROMPT tokens behind DEPTH tokens that are already there; decode then computes N single tokens behind
 * DEPTH, in BATCH sequences that step together. The depth is computed once and forked, so it isn't measured. */
#include "cmd/debug_engine.h"

#include "base/rng.h"

#define N_RUNS 5

typedef struct bench {
    debug_engine d;
    uint32_t n_prompt, n_gen, depth, batch;
    engine_session *base; /* DEPTH tokens */
    int32_t *ids;         /* random tokens, as many as the longest part needs */
    double load_ms;
    double prefill[N_RUNS], decode[N_RUNS]; /* tokens a second */
} bench;

static double now_s(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) / 1e6;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *runs) {
    double sorted[N_RUNS];
    memcpy(sorted, runs, sizeof sorted);
    qsort(sorted, N_RUNS, sizeof *sorted, compare_doubles);
    return sorted[N_RUNS / 2];
}

static muga_status run_prefill(const bench *b, double *speed, muga_error *err) {
    engine_session *s;
    muga_status st = engine_session_fork(b->base, &s, err);
    if (st)
        return st;
    st = engine_session_reserve(s, b->depth + b->n_prompt, err);
    double begin = now_s();
    if (!st)
        st = engine_session_feed(s, b->ids, b->n_prompt, err);
    *speed = b->n_prompt / (now_s() - begin);
    engine_session_free(s);
    return st;
}

static muga_status run_decode(const bench *b, double *speed, muga_error *err) {
    engine_item *items = mem_alloc_array(b->batch, sizeof *items);
    muga_status st = items ? MUGA_OK : error_nomem(err, "the batch");
    for (uint32_t i = 0; i < b->batch && !st; i++) {
        items[i] = (engine_item){.n = 1, .want = ENGINE_LOGITS_LAST};
        st = engine_session_fork(b->base, &items[i].session, err);
        if (!st)
            st = engine_session_reserve(items[i].session, b->depth + b->n_gen, err);
    }
    double begin = now_s();
    for (uint32_t n = 0; n < b->n_gen && !st; n++) {
        for (uint32_t i = 0; i < b->batch; i++)
            items[i].ids = &b->ids[(n + i) % b->n_gen];
        st = engine_step(b->d.engine, items, b->batch, err);
    }
    *speed = (double)b->n_gen * b->batch / (now_s() - begin);
    for (uint32_t i = 0; items && i < b->batch; i++)
        engine_session_free(items[i].session);
    free(items);
    return st;
}

static muga_status prepare(bench *b, muga_error *err) {
    uint32_t n_vocab = engine_params(b->d.engine)->n_vocab;
    size_t n = MAX(MAX(b->n_prompt, b->n_gen), MAX(b->depth, 1u));
    rng r = {1};
    b->ids = mem_alloc_array(n, sizeof *b->ids);
    if (!b->ids)
        return error_nomem(err, "the tokens");
    for (size_t i = 0; i < n; i++)
        b->ids[i] = (int32_t)rng_below(&r, n_vocab);
    b->base = b->d.session;
    b->d.session = NULL;
    return b->depth ? engine_session_feed(b->base, b->ids, b->depth, err) : MUGA_OK;
}

static muga_status measure(bench *b, muga_error *err) {
    muga_status st = prepare(b, err);
    for (int i = -1; i < N_RUNS && !st; i++) {
        if (cmd_interrupted())
            return error_set(err, MUGA_E_CANCELLED, "interrupted");
        if (b->n_prompt)
            st = run_prefill(b, &b->prefill[MAX(i, 0)], err);
        if (!st && b->n_gen)
            st = run_decode(b, &b->decode[MAX(i, 0)], err);
    }
    return st;
}

static json_t *runs_json(const double *runs) {
    json_t *a = json_array();
    for (int i = 0; a && i < N_RUNS; i++)
        (void)json_array_append_new(a, json_real(runs[i]));
    return a;
}

static int print_result_json(const bench *b, const char *name) {
    const engine_options *o = engine_get_options(b->d.engine);
    json_t *v = json_pack(
        "{s:s, s:s, s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:o?, s:f, s:o?, s:I, s:I}", "model", name,
        "architecture", model_arch_name(engine_model(b->d.engine)), "isa", kernel_isa_name((kernel_isa)o->isa),
        "threads", o->n_threads, "act", o->exact ? "f32" : "int8", "kv", o->kv_f32 ? "f32" : "f16", "prompt",
        (json_int_t)b->n_prompt, "generate", (json_int_t)b->n_gen, "depth", (json_int_t)b->depth, "batch",
        (json_int_t)b->batch, "load_ms", b->load_ms, "prefill_tps", b->n_prompt ? median(b->prefill) : 0.0,
        "prefill_runs", runs_json(b->prefill), "decode_tps", b->n_gen ? median(b->decode) : 0.0, "decode_runs",
        runs_json(b->decode), "weight_bytes", (json_int_t)model_weight_bytes(engine_model(b->d.engine)), "peak_bytes",
        (json_int_t)os_peak_memory_bytes());
    if (!v)
        return cmd_error(MUGA_E_NOMEM, "out of memory for the result");
    cmd_print_json(v);
    json_decref(v);
    return cmd_finish_output(0);
}

static int print_result(const bench *b, const char *name) {
    const engine_options *o = engine_get_options(b->d.engine);
    char prefill[32] = "-", decode[32] = "-", threads[16], what[2][48], load[32], peak[16];
    if (b->n_prompt)
        snprintf(prefill, sizeof prefill, "%.1f", median(b->prefill));
    if (b->n_gen)
        snprintf(decode, sizeof decode, "%.1f", median(b->decode));
    snprintf(threads, sizeof threads, "%d", o->n_threads);
    snprintf(what[0], sizeof what[0], "prefill %u @ %u", b->n_prompt, b->depth);
    snprintf(what[1], sizeof what[1], "decode %u x %u @ %u", b->n_gen, b->batch, b->depth);
    snprintf(load, sizeof load, "%.0f ms", b->load_ms);
    cmd_format_bytes(os_peak_memory_bytes(), peak);
    const char *cells[] = {
        "MODEL", "ISA",   "THREADS", what[0], what[1], "LOAD", "PEAK MEMORY", name, kernel_isa_name((kernel_isa)o->isa),
        threads, prefill, decode,    load,    peak};
    cmd_print_table(cells, 2, 7);
    printf("tokens a second, medians of %d runs; @ tokens already in the context\n", N_RUNS);
    return cmd_finish_output(0);
}

int cmd_bench(int argc, char **argv) {
    bench b = {.n_prompt = 512, .n_gen = 128, .batch = 1};
    bool json = false;
    const cmd_option options[] = {
        {"--prompt", 'p', CMD_U32, &b.n_prompt, "N", "tokens of prefill (default 512; 0 = none)"},
        {"--generate", 'n', CMD_U32, &b.n_gen, "N", "tokens of decode (default 128; 0 = none)"},
        {"--depth", 'd', CMD_U32, &b.depth, "N", "tokens already in the context (default 0)"},
        {"--batch", 'b', CMD_U32, &b.batch, "N", "sequences that decode together (default 1)"},
        {"--threads", 't', CMD_U32, &b.d.threads, "N", "threads (default: the cores there are)"},
        {"--isa", 0, CMD_STRING, &b.d.isa, "NAME", "ref, avx2, avx512 or neon"},
        {"--kv", 0, CMD_STRING, &b.d.kv, "TYPE", "f16 (default) or f32"},
        {"--exact", 0, CMD_FLAG, &b.d.exact, NULL, "float activations instead of int8"},
        OVERRIDE_OPTION(&b.d.overrides),
        {"--json", 0, CMD_FLAG, &json, NULL, "one JSON object instead of a table"}};
    cmd_positional p = {.min = 1, .max = 1};
    int code = cmd_parse("bench", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    uint64_t need = (uint64_t)b.depth + MAX(MAX(b.n_prompt, b.n_gen), 1u);
    if (need > UINT32_MAX || b.batch < 1 || b.batch > 256)
        return cmd_error(MUGA_E_USAGE, "a batch is 1 to 256 sequences, and depth and tokens must fit a context");
    b.d.ctx = (uint32_t)need;
    double begin = now_s();
    code = debug_engine_open(&b.d, "bench", p.v[0], false);
    b.load_ms = (now_s() - begin) * 1e3;
    if (code < 0) {
        muga_error err = {0};
        cmd_catch_interrupt();
        code = measure(&b, &err) ? cmd_fail(&err) : json ? print_result_json(&b, p.v[0]) : print_result(&b, p.v[0]);
    }
    engine_session_free(b.base);
    free(b.ids);
    debug_engine_close(&b.d);
    return code;
}
