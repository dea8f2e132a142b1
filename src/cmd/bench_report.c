/* The results of muga bench: a table, CSV or JSON. Next to each speed stands which limit of the machine bounds it, and
 * what share of that limit it reaches. */
#include "cmd/bench.h"

typedef enum { LIMIT_NONE, LIMIT_MEMORY, LIMIT_INTEGER } limit_kind;

static double median(const bench_row *r) {
    uint32_t half = r->n_runs / 2;
    return r->n_runs % 2 ? r->runs[half] : (r->runs[half - 1] + r->runs[half]) / 2;
}

static double seconds(const bench_row *r) {
    return (double)r->tokens * r->batch / median(r);
}

/* What takes longer at the machine's limits, reading the bytes or multiplying; *share of it that is reached. */
static limit_kind find_limit(const bench_row *r, double *share) {
    double memory = r->bandwidth > 0 ? r->bytes / r->bandwidth : 0, integer = r->peak > 0 ? r->macs / r->peak : 0;
    *share = MAX(memory, integer) / seconds(r);
    if (memory <= 0 || (integer <= 0 && !r->decode)) /* without the integer peak nothing is known about prefill */
        return LIMIT_NONE;
    return memory >= integer ? LIMIT_MEMORY : LIMIT_INTEGER;
}

static void name_test(const bench_row *r, char out[64]) {
    if (r->decode)
        snprintf(out, 64, "decode %u x %u @ %u", r->tokens, r->batch, r->depth);
    else
        snprintf(out, 64, "prefill %u @ %u", r->tokens, r->depth);
}

enum { N_COLUMNS = 5 };

static void write_cells(const bench_row *r, char cells[N_COLUMNS][64]) {
    double share, speed = median(r);
    name_test(r, cells[0]);
    snprintf(cells[1], 64, "%d", r->threads);
    snprintf(cells[2], 64, "%.*f", speed < 1000 ? 1 : 0, speed);
    snprintf(cells[3], 64, "%.0f %%", 100 * (r->runs[r->n_runs - 1] - r->runs[0]) / speed);
    switch (find_limit(r, &share)) {
    case LIMIT_NONE: snprintf(cells[4], 64, "-"); break;
    case LIMIT_MEMORY: snprintf(cells[4], 64, "%.0f %% of %.1f GB/s", 100 * share, r->bandwidth * 1e-9); break;
    case LIMIT_INTEGER: snprintf(cells[4], 64, "%.0f %% of %.0f Gmac/s", 100 * share, r->peak * 1e-9); break;
    }
}

static int print_table(const bench_report *b) {
    static const char *const head[N_COLUMNS] = {"TEST", "THREADS", "TOKENS/S", "SPREAD", "OF THE LIMIT"};
    char weights[16], peak[16], (*texts)[N_COLUMNS][64] = mem_alloc_array(b->n_rows, sizeof *texts);
    const char **cells = mem_alloc_array((b->n_rows + 1) * N_COLUMNS, sizeof *cells);
    if (!texts || !cells) {
        free(texts);
        free(cells);
        return cmd_error(MUGA_E_NOMEM, "out of memory for the table");
    }
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < b->n_rows; i++) {
        write_cells(&b->rows[i], texts[i]);
        for (size_t c = 0; c < N_COLUMNS; c++)
            cells[(i + 1) * N_COLUMNS + c] = texts[i][c];
    }
    cmd_format_bytes(b->weight_bytes, weights);
    cmd_format_bytes(b->peak_bytes, peak);
    printf("%s: %s, %s of weights, %s, %s activations, %s cache\n", b->model, b->architecture, weights, b->isa, b->act,
           b->kv);
    printf("loaded in %.0f ms; peak memory %s\n\n", b->load_ms, peak);
    cmd_print_table(cells, b->n_rows + 1, N_COLUMNS);
    printf("\n@: tokens already in the context. Speeds are medians, spread is from the slowest run to the fastest.\n"
           "The limit: memory read, weights and cache, or 8-bit multiply-adds, whichever takes longer.\n");
    free(texts);
    free(cells);
    return cmd_finish_output(0);
}

static const char *const limit_names[] = {"", "memory", "integer"};

static int print_csv(const bench_report *b) {
    printf("model,architecture,isa,act,kv,threads,test,tokens,depth,batch,runs,tps,tps_min,tps_max,read_gbps,gmacs,"
           "bandwidth_gbps,peak_gmacs,limit,share\n");
    for (size_t i = 0; i < b->n_rows; i++) {
        const bench_row *r = &b->rows[i];
        double share, s = seconds(r);
        limit_kind kind = find_limit(r, &share);
        putchar('"');
        for (const char *p = b->model; *p; p++)
            printf(*p == '"' ? "\"\"" : "%c", *p);
        printf("\",%s,%s,%s,%s,%d,%s,%u,%u,%u,%u,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%s,", b->architecture, b->isa,
               b->act, b->kv, r->threads, r->decode ? "decode" : "prefill", r->tokens, r->depth, r->batch, r->n_runs,
               median(r), r->runs[0], r->runs[r->n_runs - 1], r->bytes / s * 1e-9, r->macs / s * 1e-9,
               r->bandwidth * 1e-9, r->peak * 1e-9, limit_names[kind]);
        printf(kind == LIMIT_NONE ? "\n" : "%.4f\n", share);
    }
    return cmd_finish_output(0);
}

static json_t *row_json(const bench_row *r) {
    double share, s = seconds(r);
    limit_kind kind = find_limit(r, &share);
    json_t *runs = json_array();
    for (uint32_t i = 0; runs && i < r->n_runs; i++)
        (void)json_array_append_new(runs, json_real(r->runs[i]));
    return json_pack("{s:s, s:i, s:I, s:I, s:I, s:f, s:o?, s:f, s:f, s:f, s:f, s:s*, s:o*}", "test",
                     r->decode ? "decode" : "prefill", "threads", r->threads, "tokens", (json_int_t)r->tokens, "depth",
                     (json_int_t)r->depth, "batch", (json_int_t)r->batch, "tps", median(r), "runs", runs, "read_gbps",
                     r->bytes / s * 1e-9, "gmacs", r->macs / s * 1e-9, "bandwidth_gbps", r->bandwidth * 1e-9,
                     "peak_gmacs", r->peak * 1e-9, "limit", kind ? limit_names[kind] : NULL, "share",
                     kind ? json_real(share) : NULL);
}

static int print_json(const bench_report *b) {
    json_t *rows = json_array();
    for (size_t i = 0; rows && i < b->n_rows; i++)
        if (json_array_append_new(rows, row_json(&b->rows[i]))) {
            json_decref(rows);
            rows = NULL;
        }
    json_t *v = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:o?}", "model", b->model, "architecture",
                          b->architecture, "isa", b->isa, "act", b->act, "kv", b->kv, "weight_bytes",
                          (json_int_t)b->weight_bytes, "peak_bytes", (json_int_t)b->peak_bytes, "load_ms", b->load_ms,
                          "results", rows);
    if (!v || !rows)
        return cmd_error(MUGA_E_NOMEM, "out of memory for the result");
    cmd_print_json(v);
    json_decref(v);
    return cmd_finish_output(0);
}

int bench_print(const bench_report *r, bench_form form) {
    switch (form) {
    case BENCH_TABLE: return print_table(r);
    case BENCH_CSV: return print_csv(r);
    case BENCH_JSON: return print_json(r);
    }
    return 6;
}
