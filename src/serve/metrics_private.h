/* Private to metrics*.c: series, and the text of them. */
#ifndef MUGA_SERVE_METRICS_PRIVATE_H
#define MUGA_SERVE_METRICS_PRIVATE_H

#include "serve/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

#define METRICS_SLOTS (2 * METRICS_MAX_SERIES)

typedef struct series {
    char *values[METRICS_MAX_LABELS]; /* "" where the family has no such label */
    atomic_bool shown;
    _Atomic uint64_t value;       /* counter: itself; gauge: the bits of a double; histogram: the sum, in its unit */
    _Atomic uint64_t in_bucket[]; /* of a histogram: [n_buckets + 1], not cumulated; the last is +Inf */
} series;

typedef struct family {
    series **list;   /* [n], in the order they came; room for METRICS_MAX_SERIES + 1, NULL before the first */
    uint16_t *slots; /* [METRICS_SLOTS]: open addressing by the hash of the values; index + 1, 0 is free */
    uint32_t n;
    uint64_t *bounds; /* of a histogram: its buckets, in its unit */
} family;

struct metrics_model { /* the series of one model's requests, looked up once */
    char *name;
    series *of[N_METRICS];
    struct metrics_model *next;
};

struct metrics {
    pthread_mutex_t lock; /* of families' lists and models; not of values */
    family families[N_METRICS];
    struct metrics_model *models;
    uint32_t n_models;
};

size_t metric_n_labels(const metric_row *row);

#endif
