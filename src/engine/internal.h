/* Private to engine/. */
#ifndef MUGA_ENGINE_INTERNAL_H
#define MUGA_ENGINE_INTERNAL_H

#include "base/mem.h"
#include "engine/engine.h"

#include <pthread.h>

struct engine {
    gguf_file *file;
    model *model;
    tokenizer *tok;   /* NULL: works on ids only */
    engine_options o; /* as chosen */
    const kernel_table *kernels;
    os_pool *pool;
    kernel_kv_type kv;
    char *template_text;  /* the file's, copied: it is compiled later; NULL where there is none */
    span template_source; /* that, or the fallback */
    bool template_fallback;

    pthread_mutex_t lazy_lock; /* guards the next two */
    template *template;
    constrain_trie *trie;

    /* Guards the run, the pool, the arrays below, and the reference counts of all pages. */
    pthread_mutex_t step_lock;
    model_run *run;
    int32_t *ids;          /* [n_batch] of the batch being built */
    uint32_t *pos, *i_seq; /* [n_batch] */
    bool *wanted;          /* [n_batch] */
    void *const **pages;   /* [n_batch] */
    uint32_t *n_ctx;       /* [n_batch] */
    uint32_t *i_item;      /* [n_batch] item that each sequence of the batch belongs to */
};

#endif
