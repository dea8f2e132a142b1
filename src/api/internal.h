/* Private to api/: what stands behind the handles of muga.h. */
#ifndef MUGA_API_INTERNAL_H
#define MUGA_API_INTERNAL_H

#include "llm/llm.h"

#include <pthread.h>

struct muga_model {
    llm *llm;
    pthread_mutex_t lock; /* held while the model computes: one turn at a time */
};

#endif
