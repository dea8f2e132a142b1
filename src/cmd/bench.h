/* What muga bench measures (bench.c) and how it is shown (bench_report.c). */
#ifndef MUGA_CMD_BENCH_H
#define MUGA_CMD_BENCH_H

#include "cmd/debug_engine.h"

#define BENCH_MAX_RUNS 100

/* One measurement: PROMPT tokens of prefill, or steps of decode in `batch` sequences, behind `depth` tokens. */
typedef struct bench_row {
    bool decode;
    int threads;
    uint32_t tokens, depth, batch; /* tokens: of the prompt, or of each sequence */
    uint32_t n_runs;
    double runs[BENCH_MAX_RUNS]; /* tokens a second, all sequences together, ascending */
    double bytes, macs;          /* of a run: read from memory at least; int8 multiply-adds of the products */
    double bandwidth, peak;      /* the machine's limits with these threads: bytes/s, multiply-adds/s; 0 = unknown */
} bench_row;

typedef struct bench_report {
    const char *model;
    char architecture[32], isa[16], kv[8], act[8]; /* as the engine chose them */
    uint64_t weight_bytes, peak_bytes;             /* packed; resident set of this process at its largest */
    double load_ms;                                /* of the last engine that was opened */
    bench_row *rows;
    size_t n_rows;
} bench_report;

typedef enum { BENCH_TABLE, BENCH_CSV, BENCH_JSON } bench_form;
/* Returns the exit code: 0, or 6 when output was lost. */
int bench_print(const bench_report *r, bench_form form);

#endif
