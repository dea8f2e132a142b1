/* Every allocation of a run failed in turn, where the run writes a file. Linked into tests/fault. */
#ifndef TESTS_FAULTRUN_H
#define TESTS_FAULTRUN_H

#include "support/support.h"

#include <stdbool.h>

typedef struct fault_run {
    const char *out; /* the file it writes */
    muga_status (*run)(void *ctx, muga_error *err);
    bool (*is_same)(void *ctx); /* NULL, or: a run that ended well gave the first one's other results, too */
    void *ctx;
    size_t least; /* allocations that a run makes at least, so that a run that does nothing is seen */
} fault_run;

/* Runs it twice to know what it gives and how many allocations it makes, then once for each of them. Fails the test
 * where a block leaks, a failure isn't that of memory, or a file that is there isn't the first run's. */
void fault_every_allocation(const fault_run *f);

#endif
