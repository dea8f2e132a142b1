/* What the processor used, in joules, where the kernel tells (RAPL under /sys/class/powercap). docs/evaluation.md. */
#ifndef MUGA_AGENT_ENERGY_H
#define MUGA_AGENT_ENERGY_H

#include "os/os.h"

#define ENERGY_PLACE "/sys/class/powercap"
#define ENERGY_MAX_ZONES 16 /* processor packages */

typedef struct energy_zone {
    char path[160];
    uint64_t last_uj, wraps_uj; /* the counter, and where it begins anew; 0: unknown, and a fall ends the count */
} energy_zone;

/* Of the whole machine: all that ran meanwhile is in it. */
typedef struct energy {
    energy_zone zones[ENERGY_MAX_ZONES];
    size_t n_zones; /* 0: can't be measured */
    uint64_t total_uj;
    char why[200]; /* can't be measured */
} energy;

/* Begin to count. Never fails: without counters `why` says so. `place`: ENERGY_PLACE, but for tests. */
void energy_begin(energy *e, const os_files *files, const char *place);
/* Add what was used since. Call it now and then: a counter may begin anew once between two calls. */
void energy_sample(energy *e, const os_files *files);
#endif
