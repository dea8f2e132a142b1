/* Private to serve/: the models in memory, under one limit.
 *
 * A model is loaded when it is first wanted, by whoever wants it; others that want it meanwhile wait for the same load.
 * While it is lent it stays. What nobody has used for its keep-alive is unloaded; when room is needed for another, the
 * one that was used longest ago goes first, and where all are lent the taker waits until one is given back. Pinned ones
 * stay.
 *
 * Names of one file with the same options share its weights, caches and steps: a model with an adapter is another
 * handle over its base (llm_local_adapt).
 *
 * Threads: all of it from any thread; pool_take blocks. */
#ifndef MUGA_SERVE_POOL_H
#define MUGA_SERVE_POOL_H

#include "hub/hub.h"
#include "llm/llm.h"

#include <stdatomic.h>

typedef struct pool pool;
typedef struct hub_model hub_model;

#define POOL_FOREVER INT64_MAX

typedef struct pool_settings { /* of one model, or all */
    uint32_t n_ctx;            /* 0: what its Modelfile says, else the model's own, at most 32768 */
    int n_threads;
    int kv; /* kernel_kv_type */
    bool exact;
    llm_drafts drafts;
    int64_t keep_alive_ms; /* POOL_FOREVER: never unloaded for it */
    bool pinned;
} pool_settings;

typedef struct pool_options {
    const hub *hub;        /* borrowed */
    const os_clock *clock; /* borrowed */
    uint64_t memory_bytes; /* of all models' weights, keys and values; 0: three quarters of os_memory_bytes */
    pool_settings all;     /* unless pool_set says something else of a model */
    uint32_t n_waiting;    /* takers that wait for a load or room; past it MUGA_E_ENV. 0: 512 */
    bool packed;           /* packed files are used and made */
    /* A model was loaded, or couldn't be; under the pool's lock, so short. May be NULL. */
    void (*on_load)(void *ctx, const char *name, uint64_t us, muga_status st);
    void *ctx;
} pool_options;

typedef struct pool_lent {
    llm *m;
    const hub_model *stored; /* what the store says of it: parameters, system, messages, ... ; while it is lent */
    const char *name;        /* as the store has it, with its tag */
    uint64_t load_us;        /* it took to load for this taker; 0: it was there */
    struct pool_entry *entry;
} pool_lent;

MUGA_MUST_USE muga_status pool_new(const pool_options *o, pool **out, muga_error *err);
void pool_free(pool *p); /* nothing is lent */
/* Settings for a model, before it is loaded next; name as in the store. */
MUGA_MUST_USE muga_status pool_set(pool *p, const char *name, const pool_settings *s, muga_error *err);
/* What an agent wants of a model besides its name; zeroed: nothing. */
typedef struct pool_variant {
    const char *adapter; /* path of a LoRA adapter instead of the stored one; borrowed for the call */
    float scale;
    bool has_kv;
    int kv; /* kernel_kv_type */
} pool_variant;
/* variant may be NULL. MUGA_E_NOT_FOUND: the store has no such model. E_LIMIT: it is larger than the limit alone.
 * E_ENV: too many wait, or the pool is closing. E_CANCELLED: `gone` became true. What the model's file does wrong:
 * E_INPUT. */
MUGA_MUST_USE muga_status pool_take(pool *p, const char *name, const pool_variant *variant, const atomic_bool *gone,
                                    pool_lent *out, muga_error *err);
/* keep_alive_ms: from now on for this model, as the request said; -1: it said nothing. 0: unloaded once nobody has it.
 */
void pool_give(pool *p, pool_lent *lent, int64_t keep_alive_ms);
/* Unload what has not been used for its keep-alive; how long until there may be something to do, at most a minute.
 * Called from a timer by a job, since unloading takes a while. */
uint32_t pool_sweep(pool *p);
/* Unloaded as soon as nobody has it; MUGA_E_NOT_FOUND: it isn't loaded. */
MUGA_MUST_USE muga_status pool_unload(pool *p, const char *name, muga_error *err);
/* The loaded ones: array of {"name", "bytes", "n_ctx", "expires_ms" (wall clock; absent: never), "lent", "loading"};
 * new. */
MUGA_MUST_USE muga_status pool_list(pool *p, json_t **out, muga_error *err);
/* Visits each loaded model's handle with its name while the pool can't unload it: for metrics. Must not call the pool.
 */
void pool_visit(pool *p, void (*visit)(void *ctx, const char *name, llm *m), void *ctx);
/* No one is lent anything any more: takers fail with MUGA_E_ENV. */
void pool_close(pool *p);

#endif
