/* Private to engine/: a lock that is given in the order in which it was asked for. A mutex goes to whoever comes first
 * when it is let go, which is nearly always the thread that just had it: one that takes step after step would keep
 * others from theirs. */
#ifndef MUGA_ENGINE_TURNS_H
#define MUGA_ENGINE_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct turns {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t next;
    uint64_t n_asked, n_over; /* whose number is n_over has it */
} turns;

void turns_init(turns *t);
void turns_destroy(turns *t);
bool turns_take(turns *t); /* whether somebody had it, or waited, when it was asked for */
void turns_give(turns *t);
bool turns_busy(turns *t); /* somebody has it or waits for it */

#endif
