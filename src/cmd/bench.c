/* muga bench: tokens a second of prefill and decode, next to what the machine could do.
 *
 * Prefill feeds a prompt behind DEPTH tokens that are already there; decode computes single tokens behind DEPTH, in
 * BATCH sequences that step together. The depth is computed once and forked, so it isn't measured, and the sequences of
 * a batch share its pages. Each measurement runs once without being counted, then N times, or fewer where three have
 * taken LONG_S already. The limits are measured last, because the buffer they read counts as this process's memory. */
#include "cmd/bench.h"

#include "base/rng.h"
#include "kernel/probe.h"

enum { MAX_LIST = 8, LONG_S = 10, ENOUGH_RUNS = 3, PROBE_MAX = 1 << 30 };

typedef struct list {
    const char *text; /* as given */
    uint32_t v[MAX_LIST];
    uint32_t n;
} list;

typedef struct bench {
    debug_engine d;
    list prompts, depths, batches, threads;
    uint32_t n_gen, n_runs;
    engine_session *base; /* holds the depth */
    int32_t *ids;         /* random tokens, as many as the longest part needs */
    cmd_progress progress;
    size_t n_planned, cap; /* rows */
    bench_report r;
} bench;

static double now_s(void) {
    const os_clock *c = &os_system()->clock;
    return (double)c->monotonic_us(c->self) / 1e6;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint32_t largest(const list *l) {
    uint32_t max = 0;
    for (uint32_t i = 0; i < l->n; i++)
        max = MAX(max, l->v[i]);
    return max;
}

/* ---- running ---- */

/* Feed n ids in steps, so that Ctrl-C is heard between them; logits of the last where wanted. */
static muga_status feed(const bench *b, engine_session *s, uint32_t n, engine_logits want, muga_error *err) {
    uint32_t step = engine_get_options(b->d.engine)->n_batch;
    muga_status st = MUGA_OK;
    for (uint32_t at = 0; at < n && !st; at += step) {
        uint32_t part = MIN(step, n - at);
        engine_item item = {
            .session = s, .ids = b->ids + at, .n = part, .want = at + part == n ? want : ENGINE_LOGITS_NONE};
        st = engine_step(b->d.engine, &item, 1, err);
        if (!st && cmd_interrupted())
            st = error_set(err, MUGA_E_CANCELLED, "interrupted");
    }
    return st;
}

static muga_status run_prefill(const bench *b, const bench_row *r, double *speed, muga_error *err) {
    engine_session *s;
    muga_status st = engine_session_fork(b->base, &s, err);
    if (st)
        return st;
    st = engine_session_reserve(s, r->depth + r->tokens, err);
    double begin = now_s();
    if (!st)
        st = feed(b, s, r->tokens, ENGINE_LOGITS_LAST, err);
    *speed = r->tokens / MAX(now_s() - begin, 1e-6);
    engine_session_free(s);
    return st;
}

static muga_status run_decode(const bench *b, const bench_row *r, double *speed, muga_error *err) {
    engine_item *items = mem_alloc_array(r->batch, sizeof *items);
    muga_status st = items ? MUGA_OK : error_nomem(err, "the batch");
    for (uint32_t i = 0; i < r->batch && !st; i++) {
        items[i] = (engine_item){.n = 1, .want = ENGINE_LOGITS_LAST};
        st = engine_session_fork(b->base, &items[i].session, err);
        if (!st)
            st = engine_session_reserve(items[i].session, r->depth + r->tokens, err);
    }
    double begin = now_s();
    for (uint32_t n = 0; n < r->tokens && !st; n++) {
        for (uint32_t i = 0; i < r->batch; i++)
            items[i].ids = &b->ids[(n + i) % r->tokens];
        st = engine_step(b->d.engine, items, r->batch, err);
        if (!st && cmd_interrupted())
            st = error_set(err, MUGA_E_CANCELLED, "interrupted");
    }
    *speed = (double)r->tokens * r->batch / MAX(now_s() - begin, 1e-6);
    for (uint32_t i = 0; items && i < r->batch; i++)
        engine_session_free(items[i].session);
    free(items);
    return st;
}

/* ---- what a run costs at least ---- */

/* Bytes of keys and values that a token at position pos reads: layers with a window see no more than that. */
static double cache_bytes(const engine *e, double pos) {
    kernel_kv_type kv = engine_get_options(e)->kv;
    double sum = 0;
    for (uint32_t kind = 0; kind < model_kinds(engine_model(e)); kind++) {
        uint32_t window = model_window(engine_model(e), kind);
        sum += (double)model_page_bytes(engine_model(e), kv, kind) / KERNEL_KV_BLOCK *
               (window ? MIN(pos, (double)window) : pos);
    }
    return sum;
}

static void count_work(const engine *e, bench_row *r) {
    const model_params *p = engine_params(e);
    double weights = (double)model_weight_bytes(engine_model(e)), step = (double)model_step_macs(engine_model(e));
    double projection = (double)p->n_vocab * p->n_embd;
    if (r->decode) {
        /* The depth's pages are one sequence's, however many share them. */
        double depth = cache_bytes(e, r->depth), own = cache_bytes(e, r->depth + r->tokens / 2.0) - depth;
        r->bytes = r->tokens * (weights + depth + r->batch * own);
        r->macs = step * r->tokens * r->batch;
    } else {
        r->bytes = weights;
        r->macs = (step - projection) * r->tokens + projection; /* only the last token meets the vocabulary */
    }
    if (engine_get_options(e)->exact)
        r->macs = 0; /* of int8 there are none */
}

/* ---- measuring ---- */

static muga_status measure(bench *b, bench_row row, muga_error *err) {
    if (b->r.n_rows == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 16;
        bench_row *more = mem_resize_array(b->r.rows, cap, sizeof *more);
        if (!more)
            return error_nomem(err, "the results");
        b->r.rows = more;
        b->cap = cap;
    }
    muga_status st = MUGA_OK;
    double speed = 0, begin = 0;
    for (uint32_t i = 0; i <= b->n_runs && !st; i++) {
        st = row.decode ? run_decode(b, &row, &speed, err) : run_prefill(b, &row, &speed, err);
        if (i == 0)
            begin = now_s();
        else if (!st)
            row.runs[row.n_runs++] = speed;
        if (row.n_runs >= ENOUGH_RUNS && now_s() - begin > LONG_S)
            break;
    }
    if (row.n_runs == 0)
        return st;
    qsort(row.runs, row.n_runs, sizeof row.runs[0], compare_doubles);
    count_work(b->d.engine, &row);
    b->r.rows[b->r.n_rows++] = row;
    cmd_progress_show(&b->progress, (double)b->r.n_rows / (double)b->n_planned);
    return st;
}

/* Of the lengths that nobody asked for, those that the model has no room for are left out. */
static bool is_too_long(const bench *b, const list *l, uint64_t tokens) {
    return !l->text && tokens > engine_params(b->d.engine)->n_ctx_train;
}

static muga_status measure_depth(bench *b, bench_row row, muga_error *err) {
    uint64_t need = MAX(b->n_gen, 1u);
    for (uint32_t i = 0; i < b->prompts.n; i++)
        if (!is_too_long(b, &b->prompts, (uint64_t)row.depth + b->prompts.v[i]))
            need = MAX(need, b->prompts.v[i]);
    if (row.depth && is_too_long(b, &b->depths, row.depth + need))
        return MUGA_OK;
    if (row.depth + need > UINT32_MAX)
        return error_set(err, MUGA_E_USAGE, "a depth of %u tokens and %llu more don't fit a context", row.depth,
                         (unsigned long long)need);
    muga_status st = engine_session_new(b->d.engine, (uint32_t)(row.depth + need), &b->base, err);
    if (!st)
        st = engine_session_set_adapter(b->base, b->d.adapter, b->d.adapter_scale, err);
    if (!st)
        st = feed(b, b->base, row.depth, ENGINE_LOGITS_LAST, err);
    for (uint32_t i = 0; i < b->prompts.n && !st; i++) {
        row.tokens = b->prompts.v[i];
        if (row.tokens && !is_too_long(b, &b->prompts, (uint64_t)row.depth + row.tokens))
            st = measure(b, row, err);
    }
    row.decode = true;
    row.tokens = b->n_gen;
    for (uint32_t i = 0; i < b->batches.n && b->n_gen && !st; i++) {
        row.batch = b->batches.v[i];
        st = measure(b, row, err);
    }
    engine_session_free(b->base);
    b->base = NULL;
    return st;
}

static muga_status draw_ids(bench *b, muga_error *err) {
    uint32_t n_vocab = engine_params(b->d.engine)->n_vocab;
    size_t n = MAX(MAX(largest(&b->prompts), largest(&b->depths)), MAX(b->n_gen, 1u));
    rng r = {1};
    b->ids = mem_alloc_array(n, sizeof *b->ids);
    if (!b->ids)
        return error_nomem(err, "the tokens");
    for (size_t i = 0; i < n; i++)
        b->ids[i] = (int32_t)rng_below(&r, n_vocab);
    return MUGA_OK;
}

static void describe_engine(bench *b) {
    const engine_options *o = engine_get_options(b->d.engine);
    snprintf(b->r.architecture, sizeof b->r.architecture, "%s", model_arch_name(engine_model(b->d.engine)));
    snprintf(b->r.isa, sizeof b->r.isa, "%s", kernel_isa_name((kernel_isa)o->isa));
    snprintf(b->r.act, sizeof b->r.act, "%s", o->exact ? "f32" : "int8");
    snprintf(b->r.kv, sizeof b->r.kv, "%s", kernel_kv_name(o->kv));
    b->r.weight_bytes = model_weight_bytes(engine_model(b->d.engine));
}

/* Everything with one number of threads. -1 to go on, or the exit code. */
static int measure_threads(bench *b, const char *name, uint32_t threads) {
    muga_error err = {0};
    b->d.threads = threads;
    double begin = now_s();
    int code = debug_engine_open(&b->d, "bench", name, false);
    b->r.load_ms = (now_s() - begin) * 1e3;
    if (code < 0) {
        describe_engine(b);
        engine_session_free(b->d.session); /* each depth has its own */
        b->d.session = NULL;
        muga_status st = b->ids ? MUGA_OK : draw_ids(b, &err);
        for (uint32_t i = 0; i < b->depths.n && !st; i++) {
            bench_row row = {
                .threads = engine_get_options(b->d.engine)->n_threads, .depth = b->depths.v[i], .batch = 1};
            st = measure_depth(b, row, &err);
        }
        cmd_progress_finish(&b->progress);
        code = st ? cmd_fail(&err) : -1;
    }
    engine_session_free(b->base);
    b->base = NULL;
    debug_engine_close(&b->d);
    b->d.session = NULL;
    b->d.engine = NULL;
    b->d.adapter = NULL;
    return code;
}

/* ---- limits ---- */

/* The machine's limits with one number of threads, for every row that has it. What is read for a token is about as much
 * for several rows; for those the memory is measured once. */
static muga_status probe(bench *b, int threads, kernel_isa isa, muga_error *err) {
    os_pool *pool = NULL;
    double done = 0, bandwidth = 0;
    muga_status st = os_pool_new(threads, &pool, err);
    double peak = st ? 0 : kernel_probe_integer_peak(isa, pool);
    for (size_t i = 0; i < b->r.n_rows && !st; i++) {
        bench_row *r = &b->r.rows[i];
        double bytes = MIN(r->decode ? r->bytes / r->tokens : r->bytes, (double)PROBE_MAX);
        if (r->threads != threads)
            continue;
        if (bytes < 0.9 * done || bytes > 1.1 * done) {
            st = cmd_interrupted() ? error_set(err, MUGA_E_CANCELLED, "interrupted")
                                   : kernel_probe_bandwidth((size_t)bytes, pool, &bandwidth, err);
            done = bytes;
        }
        r->bandwidth = st ? 0 : bandwidth;
        r->peak = peak;
    }
    os_pool_free(pool);
    return st;
}

static muga_status probe_all(bench *b, muga_error *err) {
    kernel_isa isa;
    muga_status st = MUGA_OK;
    if (!kernel_isa_parse(b->r.isa, &isa))
        return MUGA_OK;
    for (size_t i = 0; i < b->r.n_rows && !st; i++)
        if (b->r.rows[i].bandwidth <= 0)
            st = probe(b, b->r.rows[i].threads, isa, err);
    return st;
}

/* ---- options ---- */

static int parse_list(const char *name, uint32_t min, uint32_t max, list *l) {
    const char *p = l->text;
    if (!p)
        return -1;
    for (l->n = 0;; p++) {
        size_t digits = strspn(p, "0123456789");
        unsigned long long v = digits && digits < 11 ? strtoull(p, NULL, 10) : (unsigned long long)max + 1;
        if (l->n == MAX_LIST || v < min || v > max || (p[digits] && p[digits] != ','))
            return cmd_error(MUGA_E_USAGE,
                             "bench: %s takes up to %d whole numbers from %u to %u, such as 1,2; not \"%.40s\"", name,
                             MAX_LIST, min, max, l->text);
        l->v[l->n++] = (uint32_t)v;
        p += digits;
        if (!*p)
            return -1;
    }
}

static int parse_lists(bench *b) {
    int code = parse_list("--prompt", 0, INT32_MAX, &b->prompts);
    if (code < 0)
        code = parse_list("--depth", 0, INT32_MAX, &b->depths);
    if (code < 0)
        code = parse_list("--batch", 1, 256, &b->batches);
    if (code < 0)
        code = parse_list("--threads", 1, 1024, &b->threads);
    if (code < 0 && (b->n_runs < 1 || b->n_runs > BENCH_MAX_RUNS))
        code = cmd_error(MUGA_E_USAGE, "bench: --runs is 1 to %d", BENCH_MAX_RUNS);
    if (code < 0 && b->n_gen > INT32_MAX)
        code = cmd_error(MUGA_E_USAGE, "bench: --generate is at most %d", INT32_MAX);
    if (code < 0 && b->n_gen == 0 && largest(&b->prompts) == 0)
        code = cmd_error(MUGA_E_USAGE, "bench: neither prefill nor decode is left to measure");
    return code;
}

static int run(bench *b, const char *name, bench_form form, bool limits) {
    int code = -1;
    muga_error err = {0};
    b->r.model = name;
    b->progress.what = "measuring";
    b->n_planned = (size_t)b->threads.n * b->depths.n * (b->prompts.n + b->batches.n);
    for (uint32_t i = 0; i < b->threads.n && code < 0; i++)
        code = measure_threads(b, name, b->threads.v[i]);
    b->r.peak_bytes = os_peak_memory_bytes();
    if (code < 0 && limits && probe_all(b, &err))
        code = cmd_fail(&err);
    if (b->r.n_rows || code < 0) { /* what was measured before Ctrl-C is shown */
        int printed = bench_print(&b->r, form);
        code = code < 0 ? printed : code;
    }
    return code;
}

int cmd_bench(int argc, char **argv) {
    bench b = {.prompts = {.v = {128, 512}, .n = 2},
               .depths = {.v = {0, 1024, 4096}, .n = 3},
               .batches = {.v = {1}, .n = 1},
               .threads = {.v = {0}, .n = 1},
               .n_gen = 64,
               .n_runs = 5};
    bool json = false, csv = false, no_limits = false;
    const cmd_option options[] = {
        {"--prompt", 'p', CMD_STRING, &b.prompts.text, "LIST", "tokens of prefill (default 128,512; 0 = none)"},
        {"--generate", 'n', CMD_U32, &b.n_gen, "N", "tokens of decode (default 64; 0 = none)"},
        {"--depth", 'd', CMD_STRING, &b.depths.text, "LIST", "tokens already in the context (default 0,1024,4096)"},
        {"--batch", 'b', CMD_STRING, &b.batches.text, "LIST", "sequences that decode together (default 1)"},
        {"--threads", 't', CMD_STRING, &b.threads.text, "LIST", "threads (default: the cores there are)"},
        {"--runs", 'r', CMD_U32, &b.n_runs, "N", "runs of each (default 5; 3 where those take 10 seconds)"},
        {"--isa", 0, CMD_STRING, &b.d.isa, "NAME", "ref, avx2, avx-vnni, avx512 or neon"},
        KV_OPTION(&b.d.kv),
        {"--exact", 0, CMD_FLAG, &b.d.exact, NULL, "float activations instead of int8"},
        {"--no-limits", 0, CMD_FLAG, &no_limits, NULL, "don't measure the machine's limits"},
        OVERRIDE_OPTION(&b.d.overrides),
        ADAPTER_OPTION(&b.d.adapter_text),
        {"--csv", 0, CMD_FLAG, &csv, NULL, "comma-separated lines instead of a table"},
        {"--json", 0, CMD_FLAG, &json, NULL, "one JSON object instead of a table"}};
    cmd_positional p = {.min = 1, .max = 1};
    int code = cmd_parse("bench", options, ARRAY_LEN(options), argc, argv, &p);
    if (code < 0)
        code = csv && json ? cmd_error(MUGA_E_USAGE, "bench: --csv and --json exclude each other") : parse_lists(&b);
    if (code >= 0)
        return code;
    cmd_catch_interrupt();
    code = run(&b, p.v[0], json ? BENCH_JSON : csv ? BENCH_CSV : BENCH_TABLE, !no_limits);
    free(b.r.rows);
    free(b.ids);
    return code;
}
